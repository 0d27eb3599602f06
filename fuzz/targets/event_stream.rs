//! Event streams with their state: aliases, clock, deltas.
//!
//! 1. Each frame that decodes encodes, and decodes again to the same.
//! 2. The events that a reader makes of a stream, written by a writer, are read back the same.
//!
//! The input is a stream of any kind, from its first byte.
#![no_main]

use std::sync::Arc;

use fanal_fuzz::{each_frame, only_frame};
use fanal_protocol::control::STREAM_LIVE;
use fanal_protocol::event::{Class, EventHeader, StreamFrame, encode_clock};
use fanal_protocol::stream::{EventStreamReader, EventStreamWriter, Origin, Outgoing};
use fanal_protocol::{BODY_BYTES_MAX, EVENT_OVERHEAD_BYTES_MAX};

const LIMIT: usize = BODY_BYTES_MAX + EVENT_OVERHEAD_BYTES_MAX;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| {
    each_frame(stream, LIMIT, |frame| {
        if let Ok(decoded) = StreamFrame::decode(frame) {
            check_round_trip(frame, &decoded);
        }
        true
    });
    let events = read(stream);
    assert_eq!(events, read(&write(&events)));
});

fn check_round_trip(frame: &[u8], decoded: &StreamFrame<'_>) {
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    let body = match decoded {
        StreamFrame::Publish(_, body) | StreamFrame::Event(_, body) => &frame[body.clone()],
        _ => &[],
    };
    match decoded {
        StreamFrame::Open(open) => open.encode(&mut out),
        StreamFrame::Topic(alias) => alias.encode(&mut out),
        StreamFrame::Publisher(alias) => alias.encode(&mut out),
        StreamFrame::Clock(base) => encode_clock(*base, &mut scratch, &mut out),
        StreamFrame::Publish(header, _) => header.encode(body, &mut scratch, &mut out),
        StreamFrame::Event(header, _) => {
            header.encode_head(body.len(), &mut scratch, &mut out);
            out.extend_from_slice(body);
        }
        StreamFrame::Skip(skip) => skip.encode(&mut out),
        StreamFrame::Gap(gap) => gap.encode(&mut out),
        StreamFrame::Hole(hole) => hole.encode(&mut out),
    }
    let again = only_frame(&out);
    match (decoded, StreamFrame::decode(again).expect("what was encoded decodes")) {
        (StreamFrame::Publish(header, _), StreamFrame::Publish(read, range)) => {
            assert_eq!((header, body), (&read, &again[range]));
        }
        (StreamFrame::Event(header, _), StreamFrame::Event(read, range)) => {
            assert_eq!((header, body), (&read, &again[range]));
        }
        (decoded, read) => assert_eq!(decoded, &read),
    }
}

/// An event with all that its header stands for.
#[derive(Debug, PartialEq)]
struct Event {
    header: Header,
    topic: Arc<str>,
    origin: Arc<Origin>,
    sequence: u64,
    accepted_at_ms: u64,
    body: Vec<u8>,
}

/// What of a header does not depend on the stream.
#[derive(Debug, PartialEq)]
struct Header {
    channel: u32,
    class: Class,
    ttl_ms: Option<u64>,
    mailbox_sequence: Option<u64>,
    attempt: Option<u32>,
}

impl From<&EventHeader> for Header {
    fn from(header: &EventHeader) -> Self {
        let EventHeader { channel, class, ttl_ms, mailbox_sequence, attempt, .. } = *header;
        Header { channel, class, ttl_ms, mailbox_sequence, attempt }
    }
}

/// The events of a stream up to the first violation.
fn read(stream: &[u8]) -> Vec<Event> {
    let (mut state, mut events) = (EventStreamReader::<Arc<str>>::default(), Vec::new());
    each_frame(stream, LIMIT, |frame| {
        let followed = match StreamFrame::decode(frame) {
            Ok(StreamFrame::Topic(alias)) => state.on_topic(alias.alias, alias.topic.into()),
            Ok(StreamFrame::Publisher(alias)) => state.on_publisher(&alias),
            Ok(StreamFrame::Clock(base)) => {
                state.on_clock(base);
                Ok(())
            }
            Ok(StreamFrame::Event(header, body)) => state.resolve(&header).map(|resolved| {
                events.push(Event {
                    header: Header::from(&header),
                    topic: Arc::clone(resolved.topic),
                    origin: resolved.origin,
                    sequence: resolved.sequence,
                    accepted_at_ms: resolved.accepted_at_ms,
                    body: frame[body].to_vec(),
                });
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        followed.is_ok()
    });
    events
}

fn write(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = EventStreamWriter::open(STREAM_LIVE, &mut out);
    for event in events {
        let Header { channel, class, ttl_ms, mailbox_sequence, attempt } = event.header;
        let outgoing = Outgoing {
            channel,
            class,
            topic: &event.topic,
            origin: &event.origin,
            sequence: event.sequence,
            accepted_at_ms: event.accepted_at_ms,
            ttl_ms,
            mailbox_sequence,
            attempt,
        };
        writer.event_head(&outgoing, event.body.len(), &mut out);
        out.extend_from_slice(&event.body);
    }
    out
}
