//! `frames.json`: single frames of both kinds of stream.

use fanal_protocol::event::{Class, EventHeader, PublishHeader, StreamFrame, TopicRef, encode_clock};
use fanal_protocol::{Control, frame};
use serde_json::Value;

use super::json::{FromJson, Hex, bytes, control, hex, object, text, vectors};

/// The one frame in `bytes`, without its length.
fn only_frame(bytes: &[u8]) -> &[u8] {
    let (len, prefix) = frame::read_prefix(bytes).expect("a length");
    assert_eq!(bytes.len() - prefix, len as usize, "bytes behind the length");
    &bytes[prefix..]
}

/// A topic as publish frames name it: `{"alias": n}` or `{"text": "…"}`.
#[derive(Default)]
struct Topic {
    alias: Option<u32>,
    text: Option<String>,
}

impl FromJson for Topic {
    fn from_json(value: &Value) -> Self {
        object(value, |fields| Topic { alias: fields.get("alias"), text: fields.get("text") })
    }
}

impl Topic {
    fn as_ref(&self) -> TopicRef<'_> {
        match (self.alias, &self.text) {
            (Some(alias), None) => TopicRef::Alias(alias),
            (None, Some(text)) => TopicRef::Text(text),
            _ => panic!("a topic is an alias or a text"),
        }
    }
}

fn class(best_effort: bool) -> Class {
    if best_effort { Class::BestEffort } else { Class::AtLeastOnce }
}

fn check_control(vector: &Value, bytes: &[u8]) {
    let expected = control(text(&vector["frame"]), &vector["value"]);
    assert_eq!(Control::decode(only_frame(bytes)).as_ref(), Ok(&expected));
    let mut out = Vec::new();
    expected.encode(&mut out);
    if vector["encodes"] == true {
        assert_eq!(out, bytes, "encodes to other bytes");
    }
    assert_eq!(Control::decode(only_frame(&out)).as_ref(), Ok(&expected));
}

/// What a frame of an event stream says, and the crate's encoding of that.
fn encode_event_frame(name: &str, value: &Value, frame: &StreamFrame<'_>, bytes: &[u8]) -> Vec<u8> {
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    macro_rules! same {
        ($type:ty, $found:expr) => {{
            let expected = <$type>::from_json(value);
            assert_eq!($found, &expected);
            expected.encode(&mut out);
        }};
    }
    match (name, frame) {
        ("StreamOpen", StreamFrame::Open(found)) => same!(fanal_protocol::control::StreamOpen, found),
        ("TopicAlias", StreamFrame::Topic(found)) => same!(fanal_protocol::control::TopicAlias, found),
        ("PublisherAlias", StreamFrame::Publisher(found)) => {
            same!(fanal_protocol::control::PublisherAlias, found)
        }
        ("Skip", StreamFrame::Skip(found)) => same!(fanal_protocol::control::Skip, found),
        ("Gap", StreamFrame::Gap(found)) => same!(fanal_protocol::control::Gap, found),
        ("Hole", StreamFrame::Hole(found)) => same!(fanal_protocol::control::Hole, found),
        ("clock", StreamFrame::Clock(found)) => {
            let base: u64 = object(value, |fields| fields.get("base"));
            assert_eq!(*found, base);
            encode_clock(base, &mut scratch, &mut out);
        }
        ("publish", StreamFrame::Publish(found, body)) => object(value, |fields| {
            let (topic, Hex(expected_body)): (Topic, Hex) = (fields.get("topic"), fields.get("body"));
            let expected = PublishHeader {
                channel: fields.get("channel"),
                class: class(fields.get("best_effort")),
                topic: topic.as_ref(),
                sequence: fields.get("sequence"),
                ttl_ms: fields.get("ttl"),
                wants_receipt: fields.get("receipt"),
            };
            assert_eq!((found, &bytes[body.clone()]), (&expected, &expected_body[..]));
            expected.encode(&expected_body, &mut scratch, &mut out);
        }),
        ("event", StreamFrame::Event(found, body)) => object(value, |fields| {
            let Hex(expected_body) = fields.get("body");
            let expected = EventHeader {
                channel: fields.get("channel"),
                class: class(fields.get("best_effort")),
                topic: fields.get("topic"),
                publisher: fields.get("publisher"),
                sequence_delta: fields.get("sequence_delta"),
                accepted_delta_ms: fields.get("accepted_delta"),
                ttl_ms: fields.get("ttl"),
                mailbox_sequence: fields.get("mailbox_sequence"),
                attempt: fields.get("attempt"),
            };
            assert_eq!((found, &bytes[body.clone()]), (&expected, &expected_body[..]));
            expected.encode_head(expected_body.len(), &mut scratch, &mut out);
            out.extend_from_slice(&expected_body);
        }),
        _ => panic!("{name} decodes to {frame:?}"),
    }
    out
}

fn check_event_frame(vector: &Value, bytes: &[u8]) {
    let frame = only_frame(bytes);
    let decoded = StreamFrame::decode(frame).expect("decodes");
    let out = encode_event_frame(text(&vector["frame"]), &vector["value"], &decoded, frame);
    if vector["encodes"] == true {
        assert_eq!(out, bytes, "encodes to other bytes");
    }
}

#[test]
fn frames_decode_to_their_values_and_encode_to_their_bytes() {
    for (name, vector) in vectors("frames.json", "vectors") {
        let bytes = hex(&vector);
        println!("{name}"); // shown when one fails
        match text(&vector["stream"]) {
            "control" => check_control(&vector, &bytes),
            "publish" | "durable" | "live" => check_event_frame(&vector, &bytes),
            other => panic!("no stream is called {other}"),
        }
    }
}

#[test]
fn the_type_of_a_vector_is_what_its_bytes_begin_with() {
    for (name, vector) in vectors("frames.json", "vectors") {
        let bytes = hex(&vector);
        if vector["encodes"] == true {
            assert_eq!(
                vector["type"].as_u64(),
                only_frame(&bytes).first().map(|&byte| byte.into()),
                "{name}"
            );
        }
    }
}

#[test]
fn bytes_are_read_as_the_files_write_them() {
    assert_eq!(bytes("00 ff\n7A"), [0, 255, 0x7a]);
}
