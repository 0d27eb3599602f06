//! The program's handle on a subscription: a stream of items.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use fanal_protocol::control::{Pending, Subscribed};
use futures::Stream;

use super::delivery::Item;
use super::queue::Queue;
use crate::error::{AckError, SubscriptionError};
use crate::shared::Keepalive;

/// The answer to a subscription: whose publishes match from now on.
///
/// An event whose publish began, at a broker that is named here as installed, after this receipt
/// was seen, is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterestReceipt {
    /// The home's name.
    pub home: String,
    /// Brokers that match, the home among them.
    pub installed: Vec<String>,
    /// Brokers that have not confirmed, with the reason.
    pub pending: Vec<Pending>,
    /// A durable subscription of this name existed and was resumed.
    pub resumed: bool,
}

impl From<Subscribed> for InterestReceipt {
    fn from(frame: Subscribed) -> Self {
        let Subscribed { home, installed, pending, resumed, .. } = frame;
        InterestReceipt { home, installed, pending, resumed }
    }
}

/// Detaches the subscription when the program lets go of it.
pub(crate) struct Attachment {
    pub(crate) queue: Arc<Queue>,
    pub(crate) keepalive: Keepalive,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.keepalive.shared().forget_subscription(&self.queue);
    }
}

/// A stream of deliveries and gaps. It goes on across lost connections; it ends with an error
/// when the broker ends it, or when the client is closed.
///
/// Dropping it detaches: what was acked by then is told to the home, later acks of its deliveries
/// have no effect. A durable subscription stays at its home and goes on storing.
pub struct Subscription {
    attachment: Attachment,
    receipt: InterestReceipt,
    batch: std::vec::IntoIter<Item>,
    /// Events and bytes handed out that the queue does not know of yet.
    taken: (u64, u64),
}

impl Subscription {
    pub(crate) fn new(attachment: Attachment, receipt: InterestReceipt) -> Self {
        Subscription { attachment, receipt, batch: Vec::new().into_iter(), taken: (0, 0) }
    }

    /// The interest receipt of the first attach.
    pub fn receipt(&self) -> &InterestReceipt {
        &self.receipt
    }

    /// The next item; `None` after the stream has ended. Cancel-safe. Most calls take from a batch
    /// without a lock.
    pub async fn next(&mut self) -> Option<Result<Item, SubscriptionError>> {
        std::future::poll_fn(|cx| self.poll_item(cx)).await
    }

    /// An item that is here already.
    pub fn try_next(&mut self) -> Option<Result<Item, SubscriptionError>> {
        match self.poll_item(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    /// Waits until the home has flushed every ack made so far.
    ///
    /// # Errors
    /// [`AckError`] when the subscription ended first.
    pub async fn flush_acks(&self) -> Result<(), AckError> {
        self.attachment.queue.flush_acks().await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item, SubscriptionError>>> {
        let queue = &self.attachment.queue;
        if queue.has_ended() && queue.is_durable() {
            self.batch = Vec::new().into_iter(); // another program may have them by now
        }
        loop {
            if let Some(item) = self.batch.next() {
                self.count(&item);
                return Poll::Ready(Some(Ok(item)));
            }
            let taken = std::mem::take(&mut self.taken);
            match ready!(self.attachment.queue.poll_batch(taken, cx)) {
                Some(Ok(batch)) => self.batch = batch.into_iter(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn count(&mut self, item: &Item) {
        let Item::Delivery(delivery) = item else { return };
        self.taken.0 += 1;
        self.taken.1 += delivery.body.len() as u64;
        let window = self.attachment.queue.window();
        if self.taken.0 >= window.events.div_ceil(4) || self.taken.1 >= window.bytes.div_ceil(4) {
            self.attachment.queue.on_taken(std::mem::take(&mut self.taken));
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Item, SubscriptionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}
