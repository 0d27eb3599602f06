//! State of one event stream: aliases and the clock, on both sides (PROTOCOL.md 5.2).
//!
//! Invariants:
//! 1. An alias is defined on the stream before its first use; when all numbers are taken the
//!    oldest is redefined, so memory is bounded on both sides.
//! 2. A writer emits a clock frame when an event's accepted-at is too far from the base.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::ALIASES_MAX;
use crate::control::{PublisherAlias, StreamOpen, TopicAlias};
use crate::error::WireError;
use crate::event::{Class, EventHeader, encode_clock};
use crate::identity::{Epoch, PublisherId};

/// A publisher and its epoch, shared by all events of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Who published.
    pub publisher: PublisherId,
    /// Under which epoch.
    pub epoch: Epoch,
}

/// What a writer needs of an event; the body is handed over beside it.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The subscription's channel; 0 on a link.
    pub channel: u32,
    /// The class that it was published in.
    pub class: Class,
    /// The topic.
    pub topic: &'a Arc<str>,
    /// Who published it.
    pub origin: &'a Arc<Origin>,
    /// The publisher's sequence.
    pub sequence: u64,
    /// Acceptance at the publisher's home, in milliseconds since the Unix epoch.
    pub accepted_at_ms: u64,
    /// What remains of its TTL, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Durable copies only.
    pub mailbox_sequence: Option<u64>,
    /// From the second attempt on.
    pub attempt: Option<u32>,
}

/// Sender's half of an alias table. A hit on the value used last costs a pointer comparison.
#[derive(Debug)]
struct SenderAliases<K: ?Sized> {
    numbers: HashMap<Arc<K>, u32>,
    order: Vec<Arc<K>>,
    next: u32,
    last: Option<(Arc<K>, u32)>,
}

impl<K: ?Sized + Hash + Eq> SenderAliases<K> {
    fn new() -> Self {
        SenderAliases { numbers: HashMap::new(), order: Vec::new(), next: 0, last: None }
    }

    /// The alias of a value, and whether it has to be defined first.
    fn get(&mut self, value: &Arc<K>) -> (u32, bool) {
        if let Some((last, alias)) = &self.last
            && Arc::ptr_eq(last, value)
        {
            return (*alias, false);
        }
        let (alias, is_new) = match self.numbers.get(value) {
            Some(&alias) => (alias, false),
            None => (self.define(value), true),
        };
        self.last = Some((Arc::clone(value), alias));
        (alias, is_new)
    }

    fn define(&mut self, value: &Arc<K>) -> u32 {
        let alias = self.next;
        self.next = (self.next + 1) % ALIASES_MAX;
        match self.order.get_mut(alias as usize) {
            Some(slot) => {
                self.numbers.remove(slot);
                *slot = Arc::clone(value);
            }
            None => self.order.push(Arc::clone(value)),
        }
        self.numbers.insert(Arc::clone(value), alias);
        alias
    }
}

/// Largest distance between clock and accepted-at before a new clock frame, in milliseconds.
const CLOCK_DRIFT_MS_MAX: i64 = 30_000;

/// Encodes events onto one stream.
#[derive(Debug)]
pub struct EventStreamWriter {
    topics: SenderAliases<str>,
    origins: SenderAliases<Origin>,
    last_sequences: Vec<u64>,
    clock_ms: Option<u64>,
    scratch: Vec<u8>,
}

impl EventStreamWriter {
    /// Starts a stream of a kind, appending its first frame.
    pub fn open(kind: u8, out: &mut Vec<u8>) -> Self {
        StreamOpen { kind }.encode(out);
        EventStreamWriter {
            topics: SenderAliases::new(),
            origins: SenderAliases::new(),
            last_sequences: Vec::new(),
            clock_ms: None,
            scratch: Vec::with_capacity(64),
        }
    }

    /// Appends what the event needs before its body: definitions, clock, prefix and header.
    /// The caller appends the `body_len` bytes of the body right after. O(1) amortised.
    pub fn event_head(&mut self, event: &Outgoing<'_>, body_len: usize, out: &mut Vec<u8>) {
        let (topic, is_new) = self.topics.get(event.topic);
        if is_new {
            TopicAlias { alias: topic, topic: event.topic.as_ref().to_owned() }.encode(out);
        }
        let (publisher, is_new) = self.origins.get(event.origin);
        if is_new {
            let Origin { publisher: id, epoch } = event.origin.as_ref();
            PublisherAlias { alias: publisher, publisher: id.to_string(), epoch: *epoch }.encode(out);
            self.forget_sequence(publisher);
        }
        let header = EventHeader {
            channel: event.channel,
            class: event.class,
            topic,
            publisher,
            sequence_delta: self.sequence_delta(publisher, event.sequence),
            accepted_delta_ms: self.clock_delta(event.accepted_at_ms, out),
            ttl_ms: event.ttl_ms,
            mailbox_sequence: event.mailbox_sequence,
            attempt: event.attempt,
        };
        header.encode_head(body_len, &mut self.scratch, out);
    }

    fn forget_sequence(&mut self, publisher: u32) {
        let slot = publisher as usize;
        if self.last_sequences.len() <= slot {
            self.last_sequences.resize(slot + 1, 0);
        }
        self.last_sequences[slot] = 0;
    }

    fn sequence_delta(&mut self, publisher: u32, sequence: u64) -> i64 {
        let Some(last) = self.last_sequences.get_mut(publisher as usize) else { return sequence as i64 };
        let delta = sequence.wrapping_sub(*last) as i64;
        *last = sequence;
        delta
    }

    fn clock_delta(&mut self, accepted_at_ms: u64, out: &mut Vec<u8>) -> i64 {
        let delta = |base: u64| accepted_at_ms.wrapping_sub(base) as i64;
        match self.clock_ms {
            Some(base) if (-CLOCK_DRIFT_MS_MAX..=CLOCK_DRIFT_MS_MAX).contains(&delta(base)) => delta(base),
            _ => {
                encode_clock(accepted_at_ms, &mut self.scratch, out);
                self.clock_ms = Some(accepted_at_ms);
                0
            }
        }
    }
}

/// Publisher's half: topic aliases of a publish stream.
#[derive(Debug)]
pub struct PublishStreamWriter {
    topics: SenderAliases<str>,
}

impl PublishStreamWriter {
    /// Starts the stream, appending its first frame.
    pub fn open(out: &mut Vec<u8>) -> Self {
        StreamOpen { kind: crate::control::STREAM_PUBLISH }.encode(out);
        PublishStreamWriter { topics: SenderAliases::new() }
    }

    /// The alias of a topic, defining it on the stream first where needed. O(1) amortised.
    pub fn topic(&mut self, topic: &Arc<str>, out: &mut Vec<u8>) -> u32 {
        let (alias, is_new) = self.topics.get(topic);
        if is_new {
            TopicAlias { alias, topic: topic.as_ref().to_owned() }.encode(out);
        }
        alias
    }
}

/// Receiver's half of an alias table: number → what the receiver made of the value.
#[derive(Debug)]
pub struct Aliases<T> {
    kind: &'static str,
    values: Vec<Option<T>>,
}

impl<T> Aliases<T> {
    /// An empty table; `kind` is `topic` or `publisher`, for messages.
    pub fn new(kind: &'static str) -> Self {
        Aliases { kind, values: Vec::new() }
    }

    /// Defines or redefines an alias.
    ///
    /// # Errors
    /// [`WireError::AliasTooLarge`].
    pub fn define(&mut self, alias: u32, value: T) -> Result<(), WireError> {
        if alias >= ALIASES_MAX {
            return Err(WireError::AliasTooLarge {
                kind: self.kind,
                alias: alias.into(),
                limit: ALIASES_MAX,
            });
        }
        let slot = alias as usize;
        if self.values.len() <= slot {
            self.values.resize_with(slot + 1, || None);
        }
        self.values[slot] = Some(value);
        Ok(())
    }

    /// What an alias stands for. O(1).
    ///
    /// # Errors
    /// [`WireError::UnknownAlias`].
    pub fn get(&self, alias: u32) -> Result<&T, WireError> {
        let value = self.values.get(alias as usize).and_then(Option::as_ref);
        value.ok_or(WireError::UnknownAlias { kind: self.kind, alias: alias.into() })
    }

    /// As [`Aliases::get`], to change it.
    ///
    /// # Errors
    /// [`WireError::UnknownAlias`].
    pub fn get_mut(&mut self, alias: u32) -> Result<&mut T, WireError> {
        let value = self.values.get_mut(alias as usize).and_then(Option::as_mut);
        value.ok_or(WireError::UnknownAlias { kind: self.kind, alias: alias.into() })
    }
}

/// Follows the state of an incoming event stream; `T` is what the receiver makes of a topic.
#[derive(Debug)]
pub struct EventStreamReader<T> {
    topics: Aliases<T>,
    origins: Aliases<(Arc<Origin>, u64)>,
    clock_ms: u64,
}

/// The values that an event's header stands for.
#[derive(Debug)]
pub struct Resolved<'a, T> {
    /// What the receiver made of the topic.
    pub topic: &'a mut T,
    /// Who published it.
    pub origin: Arc<Origin>,
    /// The publisher's sequence.
    pub sequence: u64,
    /// Acceptance at the publisher's home, in milliseconds since the Unix epoch.
    pub accepted_at_ms: u64,
}

impl<T> Default for EventStreamReader<T> {
    fn default() -> Self {
        EventStreamReader { topics: Aliases::new("topic"), origins: Aliases::new("publisher"), clock_ms: 0 }
    }
}

impl<T> EventStreamReader<T> {
    /// Takes a topic alias.
    ///
    /// # Errors
    /// [`WireError::AliasTooLarge`].
    pub fn on_topic(&mut self, alias: u32, topic: T) -> Result<(), WireError> {
        self.topics.define(alias, topic)
    }

    /// Takes a publisher alias.
    ///
    /// # Errors
    /// [`WireError::AliasTooLarge`], or [`WireError::Malformed`] for a bad publisher id.
    pub fn on_publisher(&mut self, frame: &PublisherAlias) -> Result<(), WireError> {
        let publisher = frame.publisher.parse();
        let publisher = publisher.map_err(|error: crate::identity::IdentityError| {
            WireError::malformed("PublisherAlias", error.to_string())
        })?;
        let origin = Arc::new(Origin { publisher, epoch: frame.epoch });
        self.origins.define(frame.alias, (origin, 0))
    }

    /// Takes a clock frame.
    pub fn on_clock(&mut self, base_ms: u64) {
        self.clock_ms = base_ms;
    }

    /// Resolves an event's header and moves the sequence of its publisher on. O(1).
    ///
    /// # Errors
    /// [`WireError::UnknownAlias`].
    pub fn resolve(&mut self, header: &EventHeader) -> Result<Resolved<'_, T>, WireError> {
        let topic = self.topics.get_mut(header.topic)?;
        let (origin, last) = self.origins.get_mut(header.publisher)?;
        *last = last.wrapping_add_signed(header.sequence_delta);
        Ok(Resolved {
            topic,
            origin: Arc::clone(origin),
            sequence: *last,
            accepted_at_ms: self.clock_ms.wrapping_add_signed(header.accepted_delta_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StreamFrame;
    use crate::frame::frames;

    #[test]
    fn a_reader_follows_a_writer_through_more_topics_than_aliases() {
        let mut out = Vec::new();
        let mut writer = EventStreamWriter::open(crate::control::STREAM_LIVE, &mut out);
        let origin = Arc::new(Origin {
            publisher: PublisherId { name: "p".into(), ..Default::default() },
            epoch: Epoch::default(),
        });
        let topics: Vec<Arc<str>> = (0..ALIASES_MAX + 50).map(|i| Arc::from(format!("t/{i}"))).collect();
        let order: Vec<usize> = (0..topics.len()).chain([0, 60, 0, topics.len() - 1]).collect();
        for (n, &i) in order.iter().enumerate() {
            let event = Outgoing {
                channel: 1,
                class: Class::BestEffort,
                topic: &topics[i],
                origin: &origin,
                sequence: n as u64,
                accepted_at_ms: 1_000_000 + 20 * n as u64,
                ttl_ms: None,
                mailbox_sequence: None,
                attempt: None,
            };
            writer.event_head(&event, 1, &mut out);
            out.push(0x80);
        }
        let (mut reader, mut count) = (EventStreamReader::default(), 0usize);
        for range in frames(&out) {
            match StreamFrame::decode(&out[range]).unwrap() {
                StreamFrame::Topic(TopicAlias { alias, topic }) => reader.on_topic(alias, topic).unwrap(),
                StreamFrame::Publisher(alias) => reader.on_publisher(&alias).unwrap(),
                StreamFrame::Clock(base) => reader.on_clock(base),
                StreamFrame::Event(header, _) => {
                    let event = reader.resolve(&header).unwrap();
                    assert_eq!(event.accepted_at_ms, 1_000_000 + 20 * count as u64);
                    assert_eq!(event.sequence, count as u64);
                    assert_eq!(event.topic.as_str(), &*topics[order[count]]);
                    count += 1;
                }
                _ => {}
            }
        }
        assert_eq!(count, order.len());
    }
}
