//! An event inside a broker, and its record in the log.
//!
//! Invariants: the body is the publisher's bytes; a record read back gives an equal event.
//! The record is self-contained, so that one event can be read without any other.
//!
//! Layout of a record (version 1), integers as unsigned LEB128:
//! version, class, sequence, accepted-at ms, deadline ms + 1 (0: none), recovery epoch, counter,
//! store id (16 bytes), CA fingerprint (32 bytes), length and name of the publisher, length and
//! topic, and the body to the end.

use std::sync::Arc;

use bytes::Bytes;
use fanal_protocol::identity::PublisherId;
use fanal_protocol::stream::{Origin, Outgoing};
use fanal_protocol::{Class, Epoch, Fingerprint, StoreId};
use thiserror::Error;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// An accepted event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The topic, checked.
    pub topic: Arc<str>,
    /// Who published it under which epoch.
    pub origin: Arc<Origin>,
    /// The publisher's number for it.
    pub sequence: u64,
    /// The class that it was published in.
    pub class: Class,
    /// When the publisher's home accepted it.
    pub accepted_at: Millis,
    /// When it is of no use any more, on this broker's clock.
    pub deadline: Option<Millis>,
    /// The body as it came.
    pub body: Bytes,
}

/// A record that is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EventRecordError {
    /// Written by a later version.
    #[error("event record of version {got}: this broker reads version 1")]
    Version {
        /// The version found.
        got: u64,
    },
    /// The bytes end early or hold no text where text must be.
    #[error("event record is malformed")]
    Malformed,
}

const RECORD_VERSION: u64 = 1;

impl Event {
    /// Whether its time is over. O(1).
    pub fn is_expired(&self, now: Millis) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// What remains of its TTL.
    pub fn remaining_ttl(&self, now: Millis) -> Option<u64> {
        self.deadline.map(|deadline| deadline.saturating_sub(now))
    }

    /// As it is written to a stream: on a channel, and with mailbox sequence and attempt where it is a
    /// durable copy.
    pub fn outgoing(&self, channel: u32, now: Millis, mailbox: Option<(u64, Option<u32>)>) -> Outgoing<'_> {
        Outgoing {
            channel,
            class: self.class,
            topic: &self.topic,
            origin: &self.origin,
            sequence: self.sequence,
            accepted_at_ms: self.accepted_at,
            ttl_ms: self.remaining_ttl(now),
            mailbox_sequence: mailbox.map(|(sequence, _)| sequence),
            attempt: mailbox.and_then(|(_, attempt)| attempt),
        }
    }

    /// The same event in memory of its own, so that a waiting event does not keep alive the read
    /// buffer that it came in. O(body).
    pub fn detached(&self) -> Event {
        Event { body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }

    /// Appends the record up to the body; the body follows. O(topic).
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        put_number(out, RECORD_VERSION);
        put_number(out, u64::from(self.class == Class::BestEffort));
        put_number(out, self.sequence);
        put_number(out, self.accepted_at);
        put_number(out, self.deadline.map_or(0, |deadline| deadline.saturating_add(1)));
        put_number(out, self.origin.epoch.recovery_epoch);
        put_number(out, self.origin.epoch.counter);
        out.extend_from_slice(&self.origin.epoch.store.0);
        out.extend_from_slice(&self.origin.publisher.authority.0);
        put_text(out, &self.origin.publisher.name);
        put_text(out, &self.topic);
    }

    /// Reads a record; the body shares its memory. O(topic).
    ///
    /// # Errors
    /// [`EventRecordError`].
    pub fn decode(record: &Bytes) -> Result<Event, EventRecordError> {
        Event::decode_after(record, None)
    }

    /// As [`Event::decode`]; topic and origin are shared with the event read before where they are the
    /// same, as they mostly are in a backlog.
    ///
    /// # Errors
    /// [`EventRecordError`].
    pub fn decode_after(record: &Bytes, before: Option<&Event>) -> Result<Event, EventRecordError> {
        let mut cursor = Cursor { bytes: record, at: 0 };
        match cursor.number()? {
            RECORD_VERSION => {}
            got => return Err(EventRecordError::Version { got }),
        }
        let class = if cursor.number()? == 0 { Class::AtLeastOnce } else { Class::BestEffort };
        let (sequence, accepted_at) = (cursor.number()?, cursor.number()?);
        let deadline = cursor.number()?.checked_sub(1);
        let (recovery_epoch, counter) = (cursor.number()?, cursor.number()?);
        let epoch = Epoch { store: StoreId(cursor.array()?), recovery_epoch, counter };
        let authority = Fingerprint(cursor.array()?);
        let (name, topic) = (cursor.text()?, cursor.text()?);
        let origin = before.map(|event| &event.origin).filter(|origin| {
            let publisher = &origin.publisher;
            origin.epoch == epoch && publisher.authority == authority && publisher.name == name
        });
        let origin = origin.map_or_else(
            || Arc::new(Origin { publisher: PublisherId { name: name.to_owned(), authority }, epoch }),
            Arc::clone,
        );
        let shared = before.map(|event| &event.topic).filter(|before| &***before == topic);
        let topic = shared.map_or_else(|| Arc::from(topic), Arc::clone);
        let body = record.slice(cursor.at..);
        Ok(Event { topic, origin, sequence, class, accepted_at, deadline, body })
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], EventRecordError> {
        let end = self.at.checked_add(len).ok_or(EventRecordError::Malformed)?;
        let out = self.bytes.get(self.at..end).ok_or(EventRecordError::Malformed)?;
        self.at = end;
        Ok(out)
    }

    fn number(&mut self) -> Result<u64, EventRecordError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(EventRecordError::Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventRecordError> {
        self.take(N)?.try_into().map_err(|_| EventRecordError::Malformed)
    }

    fn text(&mut self) -> Result<&'a str, EventRecordError> {
        let len = usize::try_from(self.number()?).map_err(|_| EventRecordError::Malformed)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| EventRecordError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let publisher = PublisherId { name: "till".into(), authority: Fingerprint([9; 32]) };
        let epoch = Epoch { store: StoreId([1; 16]), recovery_epoch: 2, counter: 300 };
        Event {
            topic: "orders/eu".into(),
            origin: Arc::new(Origin { publisher, epoch }),
            sequence: 70_000,
            class: Class::AtLeastOnce,
            accepted_at: 1_700_000_000_000,
            deadline: Some(0),
            body: Bytes::from_static(b"\x80"),
        }
    }

    fn record(event: &Event) -> Vec<u8> {
        let mut out = Vec::new();
        event.encode_head(&mut out);
        out.extend_from_slice(&event.body);
        out
    }

    #[test]
    fn a_record_reads_back_equal() {
        for event in [event(), Event { deadline: None, class: Class::BestEffort, ..event() }] {
            assert_eq!(Event::decode(&record(&event).into()).unwrap(), event);
        }
    }

    #[test]
    fn what_is_shared_with_the_event_before_is_equal() {
        let before = event();
        let other = |change: fn(&mut Event)| {
            let mut event = event();
            change(&mut event);
            event
        };
        let renamed = |event: &mut Event| {
            let publisher = PublisherId { name: "tills".into(), ..event.origin.publisher.clone() };
            event.origin = Arc::new(Origin { publisher, epoch: event.origin.epoch });
        };
        let reopened = |event: &mut Event| {
            let epoch = Epoch { counter: 301, ..event.origin.epoch };
            event.origin = Arc::new(Origin { publisher: event.origin.publisher.clone(), epoch });
        };
        for (event, topic, origin) in [
            (other(|event| event.sequence = 1), true, true),
            (other(|event| event.topic = "orders/us".into()), false, true),
            (other(renamed), true, false),
            (other(reopened), true, false),
        ] {
            let read = Event::decode_after(&record(&event).into(), Some(&before)).unwrap();
            assert_eq!(read, event);
            assert_eq!(Arc::ptr_eq(&read.topic, &before.topic), topic);
            assert_eq!(Arc::ptr_eq(&read.origin, &before.origin), origin);
        }
    }

    #[test]
    fn every_prefix_is_refused_or_shorter_in_its_body_only() {
        let event = event();
        let bytes = record(&event);
        let head = bytes.len() - event.body.len();
        for len in 0..head {
            assert!(Event::decode(&Bytes::copy_from_slice(&bytes[..len])).is_err(), "{len}");
        }
    }
}
