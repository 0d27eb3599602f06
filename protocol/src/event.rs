//! The frames of event streams: aliases, publish, event, skip, gap, hole (PROTOCOL.md 5).
//!
//! These are the hot frames: a MessagePack sequence in fixed order instead of a map,
//! written and read by hand. Invariants:
//! 1. On an established stream an event without attributes costs at most 24 bytes
//!    beyond its payload (a test holds this).
//! 2. Decoding copies nothing: the body is given as a range of the frame.

use std::ops::Range;

use crate::control::{Gap, Hole, PublisherAlias, Skip, StreamOpen, TopicAlias};
use crate::error::WireError;
use crate::frame::put_prefix;
use crate::msgpack::{Reader, put_int, put_str, put_uint};

/// Type of the publish frame.
pub const TYPE_PUBLISH: u64 = 52;
/// Type of the event frame.
pub const TYPE_EVENT: u64 = 53;
/// Type of the clock frame.
pub const TYPE_CLOCK: u64 = 51;

mod flag {
    pub(super) const BEST_EFFORT: u64 = 1;
    pub(super) const TTL: u64 = 2;
    pub(super) const RECEIPT: u64 = 4;
    pub(super) const MAILBOX: u64 = 8;
    pub(super) const ATTEMPT: u64 = 16;
}

/// How an event is published (PROTOCOL.md 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Class {
    /// Stored for durable destinations and flushed before the receipt.
    #[default]
    AtLeastOnce,
    /// Never stored.
    BestEffort,
}

/// A topic as a publish frame names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// Defined earlier on this stream.
    Alias(u32),
    /// Spelled out.
    Text(&'a str),
}

/// Everything in a publish frame but the body (PROTOCOL.md 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishHeader<'a> {
    /// The publish channel.
    pub channel: u32,
    /// The class; sequences count per (channel, class).
    pub class: Class,
    /// Where it goes.
    pub topic: TopicRef<'a>,
    /// From 1.
    pub sequence: u64,
    /// How long the event is of use, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Best effort only: a receipt (202) is wanted.
    pub wants_receipt: bool,
}

/// Everything in an event frame but the body (PROTOCOL.md 5.4): the envelope of one hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// The subscription's channel; 0 on a link.
    pub channel: u32,
    /// The class that it was published in.
    pub class: Class,
    /// Alias of the topic on this stream.
    pub topic: u32,
    /// Alias of (publisher, epoch) on this stream.
    pub publisher: u32,
    /// The publisher's sequence minus the one before on this stream under the same alias (wrapping; the
    /// first after the alias was defined counts from 0).
    pub sequence_delta: i64,
    /// Milliseconds between the stream's clock frame and the acceptance at the publisher's home.
    pub accepted_delta_ms: i64,
    /// What remains of its TTL, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Durable copies only: the number in the destination's mailbox.
    pub mailbox_sequence: Option<u64>,
    /// Present from the second attempt on.
    pub attempt: Option<u32>,
}

/// One frame of an event stream.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamFrame<'a> {
    /// First frame: what the stream carries.
    Open(StreamOpen),
    /// Defines a topic alias.
    Topic(TopicAlias),
    /// Defines a publisher alias.
    Publisher(PublisherAlias),
    /// Base for accepted-at, in milliseconds since the Unix epoch.
    Clock(u64),
    /// From a client; the range is the body's within the frame.
    Publish(PublishHeader<'a>, Range<usize>),
    /// From a broker; the range is the body's within the frame.
    Event(EventHeader, Range<usize>),
    /// A publisher gives up sequences.
    Skip(Skip),
    /// A live subscription missed events.
    Gap(Gap),
    /// A peer mailbox passes over sequences.
    Hole(Hole),
}

impl<'a> StreamFrame<'a> {
    /// Decodes one frame (without its length prefix).
    ///
    /// # Errors
    /// [`WireError`] for an unknown type or a malformed frame.
    pub fn decode(frame: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(frame);
        if frame.is_empty() {
            return Err(WireError::EmptyFrame);
        }
        let kind = reader.uint().map_err(|bad| WireError::malformed("frame type", bad.text()))?;
        match kind {
            TYPE_EVENT => decode_event(reader, frame.len()),
            TYPE_PUBLISH => decode_publish(reader, frame.len()),
            TYPE_CLOCK => decode_clock(reader),
            _ => crate::control::decode_stream_frame(kind, &frame[reader.position()..]),
        }
    }
}

fn decode_clock(mut reader: Reader<'_>) -> Result<StreamFrame<'_>, WireError> {
    let base = reader.uint().map_err(|bad| WireError::malformed("clock frame", bad.text()))?;
    if !reader.is_at_end() {
        return Err(WireError::malformed("clock frame", "bytes after the number"));
    }
    Ok(StreamFrame::Clock(base))
}

fn decode_publish(mut reader: Reader<'_>, len: usize) -> Result<StreamFrame<'_>, WireError> {
    let mut read = || {
        let channel = alias(reader.uint()?);
        let flags = reader.uint()?;
        let topic = match reader.peek()? {
            rmp::Marker::FixStr(_) | rmp::Marker::Str8 | rmp::Marker::Str16 | rmp::Marker::Str32 => {
                TopicRef::Text(reader.str()?)
            }
            _ => TopicRef::Alias(alias(reader.uint()?)),
        };
        Ok(PublishHeader {
            channel,
            class: class_of(flags),
            topic,
            sequence: reader.uint()?,
            ttl_ms: optional(flags, flag::TTL, &mut reader)?,
            wants_receipt: flags & flag::RECEIPT != 0,
        })
    };
    let header =
        read().map_err(|bad: crate::msgpack::Bad| WireError::malformed("publish frame", bad.text()))?;
    Ok(StreamFrame::Publish(header, reader.position()..len))
}

fn decode_event(mut reader: Reader<'_>, len: usize) -> Result<StreamFrame<'_>, WireError> {
    let mut read = || {
        let channel = alias(reader.uint()?);
        let flags = reader.uint()?;
        Ok(EventHeader {
            channel,
            class: class_of(flags),
            topic: alias(reader.uint()?),
            publisher: alias(reader.uint()?),
            sequence_delta: reader.int()?,
            accepted_delta_ms: reader.int()?,
            ttl_ms: optional(flags, flag::TTL, &mut reader)?,
            mailbox_sequence: optional(flags, flag::MAILBOX, &mut reader)?,
            attempt: optional(flags, flag::ATTEMPT, &mut reader)?.map(alias),
        })
    };
    let header =
        read().map_err(|bad: crate::msgpack::Bad| WireError::malformed("event frame", bad.text()))?;
    Ok(StreamFrame::Event(header, reader.position()..len))
}

/// Numbers above `u32::MAX` name nothing, so they may all become the one that is never used.
fn alias(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn class_of(flags: u64) -> Class {
    if flags & flag::BEST_EFFORT != 0 { Class::BestEffort } else { Class::AtLeastOnce }
}

fn optional(flags: u64, flag: u64, reader: &mut Reader<'_>) -> Result<Option<u64>, crate::msgpack::Bad> {
    if flags & flag == 0 { Ok(None) } else { reader.uint().map(Some) }
}

fn set(flags: u64, present: bool, flag: u64) -> u64 {
    if present { flags | flag } else { flags }
}

impl PublishHeader<'_> {
    /// Appends prefix, header and body. `scratch` is cleared and reused. O(bytes).
    pub fn encode(&self, body: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        put_uint(scratch, TYPE_PUBLISH);
        put_uint(scratch, u64::from(self.channel));
        let flags = set(0, self.class == Class::BestEffort, flag::BEST_EFFORT);
        let flags = set(flags, self.ttl_ms.is_some(), flag::TTL);
        put_uint(scratch, set(flags, self.wants_receipt, flag::RECEIPT));
        match self.topic {
            TopicRef::Alias(alias) => put_uint(scratch, u64::from(alias)),
            TopicRef::Text(text) => put_str(scratch, text),
        }
        put_uint(scratch, self.sequence);
        if let Some(ttl) = self.ttl_ms {
            put_uint(scratch, ttl);
        }
        put_prefix(out, scratch.len() + body.len());
        out.extend_from_slice(scratch);
        out.extend_from_slice(body);
    }
}

impl EventHeader {
    /// Appends prefix and header; the caller appends `body_len` bytes of body. O(1).
    pub fn encode_head(&self, body_len: usize, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        put_uint(scratch, TYPE_EVENT);
        put_uint(scratch, u64::from(self.channel));
        let flags = set(0, self.class == Class::BestEffort, flag::BEST_EFFORT);
        let flags = set(flags, self.ttl_ms.is_some(), flag::TTL);
        let flags = set(flags, self.mailbox_sequence.is_some(), flag::MAILBOX);
        put_uint(scratch, set(flags, self.attempt.is_some(), flag::ATTEMPT));
        put_uint(scratch, u64::from(self.topic));
        put_uint(scratch, u64::from(self.publisher));
        put_int(scratch, self.sequence_delta);
        put_int(scratch, self.accepted_delta_ms);
        let rest = [self.ttl_ms, self.mailbox_sequence, self.attempt.map(u64::from)];
        rest.into_iter().flatten().for_each(|number| put_uint(scratch, number));
        put_prefix(out, scratch.len() + body_len);
        out.extend_from_slice(scratch);
    }
}

/// Appends a clock frame.
pub fn encode_clock(now_ms: u64, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
    scratch.clear();
    put_uint(scratch, TYPE_CLOCK);
    put_uint(scratch, now_ms);
    put_prefix(out, scratch.len());
    out.extend_from_slice(scratch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::BodyBuilder;
    use crate::frame::frames;

    fn event() -> EventHeader {
        EventHeader {
            channel: 7,
            class: Class::AtLeastOnce,
            topic: 300,
            publisher: 3,
            sequence_delta: 1_000,
            accepted_delta_ms: 2_000,
            ttl_ms: None,
            mailbox_sequence: Some(100_000_000),
            attempt: None,
        }
    }

    #[test]
    fn an_event_without_attributes_costs_at_most_24_bytes_beyond_its_payload() {
        for (class, mailbox_sequence) in [(Class::AtLeastOnce, Some(100_000_000)), (Class::BestEffort, None)]
        {
            let body = BodyBuilder::new().payload(vec![1u8; 128]).build().unwrap();
            let (mut scratch, mut out) = (Vec::new(), Vec::new());
            EventHeader { class, mailbox_sequence, ..event() }.encode_head(
                body.bytes().len(),
                &mut scratch,
                &mut out,
            );
            let overhead = out.len() + body.bytes().len() - 128;
            assert!(overhead <= 24, "{class:?}: {overhead} bytes");
        }
    }

    #[test]
    fn headers_read_back_as_written() {
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        let variants = [
            event(),
            EventHeader { ttl_ms: Some(5000), attempt: Some(2), ..event() },
            EventHeader {
                class: Class::BestEffort,
                mailbox_sequence: None,
                accepted_delta_ms: 70_000,
                ..event()
            },
        ];
        for header in variants {
            out.clear();
            header.encode_head(3, &mut scratch, &mut out);
            out.extend_from_slice(b"abc");
            let range = frames(&out).next().unwrap();
            let frame = &out[range];
            let StreamFrame::Event(read, body) = StreamFrame::decode(frame).unwrap() else {
                panic!("not an event")
            };
            assert_eq!((read, &frame[body]), (header, &b"abc"[..]));
        }
        let publish = PublishHeader {
            channel: 1,
            class: Class::BestEffort,
            topic: TopicRef::Text("orders/eu"),
            sequence: 9,
            ttl_ms: Some(1),
            wants_receipt: true,
        };
        for header in [publish, PublishHeader { topic: TopicRef::Alias(0), ttl_ms: None, ..publish }] {
            out.clear();
            header.encode(b"xy", &mut scratch, &mut out);
            let range = frames(&out).next().unwrap();
            let frame = &out[range];
            let StreamFrame::Publish(read, body) = StreamFrame::decode(frame).unwrap() else {
                panic!("not a publish")
            };
            assert_eq!((read, &frame[body]), (header, &b"xy"[..]));
        }
    }

    #[test]
    fn integers_are_taken_in_every_form_that_holds_the_value() {
        // Channel, flags, alias and sequence as int8, int16, int64 and int32: some encoders write no others.
        let frame =
            [52, 0xd0, 1, 0xd1, 0, 0, 0xd3, 0, 0, 0, 0, 0, 0, 0, 7, 0xd2, 0, 0, 1, 0, 0x80].as_slice();
        let StreamFrame::Publish(header, body) = StreamFrame::decode(frame).unwrap() else {
            panic!("not a publish")
        };
        assert_eq!((header.channel, header.topic, header.sequence), (1, TopicRef::Alias(7), 256));
        assert_eq!(&frame[body], [0x80]);
        assert!(StreamFrame::decode(&[51, 0xd0, 0xff]).is_err());
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        assert_eq!(StreamFrame::decode(&[]), Err(WireError::EmptyFrame));
        assert!(matches!(StreamFrame::decode(&[99]), Err(WireError::UnknownFrame { got: 99, .. })));
        assert!(matches!(StreamFrame::decode(&[51, 1, 2]), Err(WireError::Malformed { .. })));
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..16)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 33) as u8
                })
                .collect();
            let typed = [&[48 + (state >> 60) as u8 % 10][..], &bytes].concat();
            let _ = StreamFrame::decode(&bytes);
            let _ = StreamFrame::decode(&typed);
        }
    }
}
