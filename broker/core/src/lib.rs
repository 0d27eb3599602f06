//! The broker's decisions: what is accepted, who gets it, what must be durable before whom.
//!
//! Invariants:
//! 1. No IO, clock, thread or randomness: time comes as a parameter, and a test holds the
//!    dependencies to that.
//! 2. [`Home`] is a function of the state records that it emitted: replaying them in order gives
//!    the same home. Nothing of it may be told to anybody before its records are flushed.
//! 3. Nothing here panics on input; a refusal leaves no trace.
//! 4. What reaches an output is ordered: ordered maps only.
//!
//! Not here: the log (`fanal-store`), sockets and tasks (`fanal-broker`), topics and filters
//! (`fanal-matching`).

pub mod age;
pub mod ask;
pub mod credit;
pub mod delivery;
pub mod event;
pub mod home;
pub mod interest;
pub mod limits;
pub mod link;
pub mod live;
mod publisher;
mod record;
pub mod route;
pub mod told;
pub mod view;

pub use credit::Credit;
pub use delivery::Delivery;
pub use event::{Event, EventRecordError};
pub use home::{Effect, Home, MailboxId, Subscription};
pub use publisher::Verdict;
pub use view::EventView;
