//! The client library of Fanal: publish with receipts, subscribe as a stream, reconnect and resume.
//!
//! ```no_run
//! use fanal_client::{Client, Credentials, Error, Item};
//!
//! # async fn run() -> Result<(), Error> {
//! let credentials = Credentials::from_file("credentials.json")?;
//! let client = Client::connect(&credentials).await?;
//!
//! let mut late = client.subscribe("orders/#").filter("amount > 100").durable("late").await?;
//! println!("publishes match at {:?}", late.receipt().installed);
//!
//! let receipt = client.publish("orders/eu/created").attr("amount", 120i64).payload("…").await?;
//! println!("{} for {} durable destinations", receipt.code, receipt.destinations);
//!
//! while let Some(item) = late.next().await {
//!     match item? {
//!         Item::Delivery(delivery) => {
//!             println!("{} {}", delivery.topic(), delivery.id());
//!             delivery.ack();
//!         }
//!         Item::Gap(gap) => println!("missed {:?}: {}", gap.count, gap.reason),
//!     }
//!     break;
//! }
//! late.flush_acks().await?;
//! client.close().await?;
//! # Ok(()) }
//! ```
//!
//! What holds:
//! - A receipt tells the truth: see [`Receipt`]. An error says whether the event is certainly not
//!   stored, or whether nobody can tell ([`PublishError::Unknown`]).
//! - Publishes of one [`Publisher`] arrive in the order of their calls, per class, across refusals
//!   and lost connections, each once.
//! - A durable delivery is handed to the program once while the client lives, in mailbox order;
//!   across a restart of the program if its ack was confirmed
//!   ([`Delivery::ack_confirmed`], [`Subscription::flush_acks`]).
//! - Nothing here buffers without a bound: publishers wait in `send`, subscriptions are bounded by
//!   credit.
//!
//! How it is built: [`Client`] and its handles share one registry (`shared`); `connection` holds
//! one connection after another; `publish` and `subscribe` hold the state that outlives them, with
//! the go-back-N window and the ack tracker as plain structures without IO.

mod client;
mod connection;
mod credentials;
mod dead_letters;
mod error;
mod publish;
mod shared;
mod subscribe;
mod sync;

pub use client::{Client, ClientBuilder};
pub use credentials::Credentials;
pub use dead_letters::{DeadEvent, DeadLetter, DeadLetterDestination, DeadLetterReader, DeadLetters};
pub use error::{
    AckError, CloseError, ConnectError, CredentialsError, Error, PublishError, Refused, RequestError,
    SubscribeError, SubscriptionError,
};
pub use publish::{IntoAttribute, PendingReceipt, PublishBuilder, Publisher, PublisherStats, Receipt};
pub use subscribe::{
    Delivery, Gap, GapCount, InterestReceipt, Item, MailboxLimits, SubscribeBuilder, Subscription, WaitFor,
    WhenFull,
};

pub use fanal_protocol::control::{Pending, Welcome};
pub use fanal_protocol::{AttributeValue, Body, BodyBuilder, Class, Code, Epoch, PublisherId, Timestamp};

use fanal_protocol::stream::Origin;

/// The id of an event whose publisher gave none.
fn derived_id(origin: &Origin, sequence: u64) -> String {
    format!("{}:{}:{sequence}", origin.publisher, origin.epoch)
}
