//! Subscribing: the builder, the queue between connection and program, deliveries, acks.
//!
//! Deliveries go: reader of an incoming stream → `queue` (a batch per lock) → [`Subscription`]
//! (takes the whole batch) → the program. The queue's bound is the credit that the broker was
//! given, so a reader never waits for a slow program.

pub(crate) mod acks;
mod builder;
mod delivery;
mod limits;
pub(crate) mod queue;
pub(crate) mod ranges;
mod subscription;

pub use builder::{SubscribeBuilder, WaitFor};
pub use delivery::{Delivery, Gap, GapCount, Item};
pub use limits::{MailboxLimits, WhenFull};
pub use subscription::{InterestReceipt, Subscription};
