//! What a publish ends with.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use fanal_protocol::stream::Origin;
use fanal_protocol::{Code, Epoch, PublisherId};

use super::channel::Channel;
use super::slots::SlotId;
use crate::error::PublishError;
use crate::sync::lock;

/// Proof of what the home did with an event.
///
/// `code` says how strong the proof is:
/// - [`Code::Durable`] (200): flushed at the home;
/// - [`Code::Duplicate`] (208): was flushed before, for instance on the connection before this one;
///   then `destinations` is not known and 0;
/// - [`Code::Accepted`] (202): best effort, taken by the broker;
/// - [`Code::NothingToDo`] (204): best effort without a wish for a receipt: handed to the
///   connection, and nothing more is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// See above.
    pub code: Code,
    /// Durable destinations, a peer with matching durable interest being one.
    pub destinations: u64,
    /// The sequence within the epoch and class.
    pub sequence: u64,
    pub(crate) origin: Arc<Origin>,
    pub(crate) id: Option<String>,
}

impl Receipt {
    /// Who published: this client at its CA.
    pub fn publisher(&self) -> &PublisherId {
        &self.origin.publisher
    }

    /// The epoch of the publish channel.
    pub fn epoch(&self) -> Epoch {
        self.origin.epoch
    }

    /// The event's id: as given, or `publisher:epoch:sequence`.
    pub fn id(&self) -> Cow<'_, str> {
        match &self.id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(crate::derived_id(&self.origin, self.sequence)),
        }
    }
}

/// A receipt under way. Dropping it does not take the event back.
#[must_use = "a receipt that nobody awaits hides refusals: await it, drop it on purpose, or use .post()"]
pub struct PendingReceipt {
    pub(crate) channel: Arc<Channel>,
    pub(crate) slot: SlotId,
    pub(crate) id: Option<String>,
    pub(crate) is_done: bool,
}

impl Future for PendingReceipt {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = lock(&self.channel.state).slots.poll(self.slot, cx);
        let Poll::Ready(outcome) = polled else { return Poll::Pending };
        self.is_done = true;
        Poll::Ready(match outcome {
            Some(Ok(receipt)) => Ok(Receipt { id: self.id.take(), ..receipt }),
            Some(Err(error)) => Err(*error),
            None => Err(PublishError::Closed),
        })
    }
}

impl Drop for PendingReceipt {
    fn drop(&mut self) {
        if !self.is_done {
            lock(&self.channel.state).slots.detach(self.slot);
        }
    }
}
