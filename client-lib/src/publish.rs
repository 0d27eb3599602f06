//! Publishing: a channel with its window, the builder of one publish, receipts, the writer.
//!
//! An event goes: [`PublishBuilder`] → `channel` (one lock: window or best-effort queue) →
//! `writer` (one task per connection encodes what all channels hold, many frames per write) →
//! receipts come on the control stream and are resolved per frame under one lock.

pub(crate) mod best_effort;
mod builder;
pub(crate) mod channel;
mod receipt;
pub(crate) mod slots;
pub(crate) mod window;
pub(crate) mod writer;

pub use builder::{IntoAttribute, PublishBuilder};
pub use channel::{Publisher, PublisherStats};
pub use receipt::{PendingReceipt, Receipt};
