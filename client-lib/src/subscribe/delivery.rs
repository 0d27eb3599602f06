//! What a subscription's stream gives: deliveries and gaps.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use fanal_protocol::body::Attributes;
use fanal_protocol::control::{GAP_AT_MOST, GAP_EXACT, Gap as GapFrame};
use fanal_protocol::stream::Origin;
use fanal_protocol::{AttributeValue, BodyView, Class, Epoch, PublisherId, Timestamp};

use super::queue::Queue;
use crate::error::AckError;

/// One item of a subscription's stream.
#[derive(Debug)]
pub enum Item {
    /// An event.
    Delivery(Delivery),
    /// Events are missing here.
    Gap(Gap),
}

impl Item {
    /// The delivery, if it is one.
    pub fn delivery(self) -> Option<Delivery> {
        match self {
            Item::Delivery(delivery) => Some(delivery),
            Item::Gap(_) => None,
        }
    }
}

/// How many events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCount {
    /// So many.
    Exact(u64),
    /// Not more than so many.
    AtMost(u64),
    /// Nobody can tell; perhaps none.
    Unknown,
}

/// Events are missing at this place of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub count: GapCount,
    /// `slow_consumer`, `link_lost`, `connection_lost`, `memory`, or `mailbox_replaced` (a durable
    /// subscription was removed and made again while the connection was lost, or its home's store was
    /// repaired or put back from a backup: what comes next may have come before).
    pub reason: String,
    /// The broker between which and the home it happened; `None`: between home and client.
    pub broker: Option<String>,
}

impl Gap {
    pub(crate) fn local(reason: &str) -> Self {
        Gap { count: GapCount::Unknown, reason: reason.to_owned(), broker: None }
    }
}

impl From<GapFrame> for Gap {
    fn from(frame: GapFrame) -> Self {
        let count = match frame.kind {
            GAP_EXACT => GapCount::Exact(frame.count),
            GAP_AT_MOST => GapCount::AtMost(frame.count),
            _ => GapCount::Unknown,
        };
        Gap { count, reason: frame.reason, broker: Some(frame.broker).filter(|name| !name.is_empty()) }
    }
}

/// An event for one subscription.
///
/// Its body shares memory with the deliveries that came beside it; a program that keeps a few of
/// many for long should copy what it keeps. Field accessors parse the body's head each time:
/// some 50 ns; [`Delivery::payload`] does not parse.
pub struct Delivery {
    pub(crate) topic: Arc<str>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) sequence: u64,
    pub(crate) accepted_at_ms: u64,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) mailbox_sequence: Option<u64>,
    pub(crate) attempt: u32,
    pub(crate) class: Class,
    pub(crate) body: Bytes,
    pub(crate) payload: Range<u32>,
    /// Durable deliveries only.
    pub(crate) queue: Option<Arc<Queue>>,
    /// Which mailbox the mailbox sequence belongs to, should the subscription be made anew.
    pub(crate) mailbox_life: u32,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Delivery");
        out.field("topic", &self.topic).field("id", &self.id());
        out.field("mailbox_sequence", &self.mailbox_sequence).field("bytes", &self.body.len());
        out.finish_non_exhaustive()
    }
}

impl Delivery {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Who published it.
    pub fn publisher(&self) -> &PublisherId {
        &self.origin.publisher
    }

    /// Under which epoch.
    pub fn epoch(&self) -> Epoch {
        self.origin.epoch
    }

    /// The publisher's sequence within epoch and class.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// In which class it was published.
    pub fn class(&self) -> Class {
        self.class
    }

    /// When the publisher's home accepted it, in milliseconds since the Unix epoch.
    pub fn accepted_at_ms(&self) -> u64 {
        self.accepted_at_ms
    }

    /// What remained of its TTL when the broker sent it, in milliseconds.
    pub fn ttl_ms(&self) -> Option<u64> {
        self.ttl_ms
    }

    /// Its number in the mailbox of a durable subscription.
    pub fn mailbox_sequence(&self) -> Option<u64> {
        self.mailbox_sequence
    }

    /// From 1: how often the broker has tried to deliver it.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// It may have been delivered before, to this program in an earlier life or to another.
    pub fn redelivered(&self) -> bool {
        self.attempt > 1
    }

    /// The id: as its publisher gave it, or `publisher:epoch:sequence`.
    pub fn id(&self) -> Cow<'_, str> {
        match self.view().id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(crate::derived_id(&self.origin, self.sequence)),
        }
    }

    /// Where it comes from, as its publisher says.
    pub fn source(&self) -> Option<&str> {
        self.view().source
    }

    /// When it happened, as its publisher says.
    pub fn time(&self) -> Option<Timestamp> {
        self.view().time
    }

    /// The ordering key.
    pub fn key(&self) -> Option<&str> {
        self.view().ordering_key
    }

    /// Media type of the payload.
    pub fn content_type(&self) -> Option<&str> {
        self.view().content_type
    }

    /// Topic for a reply.
    pub fn reply_to(&self) -> Option<&str> {
        self.view().reply_to
    }

    /// Joins a reply to its request.
    pub fn correlation(&self) -> Option<&str> {
        self.view().correlation
    }

    /// The attributes in the publisher's order.
    pub fn attributes(&self) -> Attributes<'_> {
        self.view().attributes()
    }

    /// One attribute. O(attributes).
    pub fn attribute(&self, name: &str) -> Option<AttributeValue<'_>> {
        self.attributes().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The payload, sharing the body's memory. O(1).
    pub fn payload(&self) -> Bytes {
        self.body.slice(self.payload.start as usize..self.payload.end as usize)
    }

    /// All fields at once. O(keys + attributes).
    pub fn view(&self) -> BodyView<'_> {
        // Checked when it came in; an empty view is the harmless answer otherwise.
        BodyView::parse(&self.body).unwrap_or_default()
    }

    /// The body as it travelled.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Tells the home that the program is done with it, so that it is not delivered again.
    ///
    /// Cheap and synchronous: acks travel in batches, at most about a millisecond later. Nothing
    /// to do for a live delivery.
    pub fn ack(&self) {
        if let (Some(queue), Some(sequence)) = (&self.queue, self.mailbox_sequence) {
            queue.ack(sequence, self.mailbox_life, false);
        }
    }

    /// As [`ack`](Delivery::ack), and waits until the home has flushed it: from then on it is
    /// not delivered again, whatever is restarted. Returns at once for a live delivery.
    ///
    /// # Errors
    /// [`AckError`] when the subscription ended first.
    pub async fn ack_confirmed(&self) -> Result<(), AckError> {
        let (Some(queue), Some(sequence)) = (&self.queue, self.mailbox_sequence) else { return Ok(()) };
        queue.ack(sequence, self.mailbox_life, true);
        queue.confirmed(|acks| !acks.unconfirmed().contains(sequence)).await
    }
}
