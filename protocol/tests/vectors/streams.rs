//! `streams.json`: whole event streams, and what a receiver makes of them.

use std::sync::Arc;

use fanal_protocol::control::{
    Gap, Hole, STREAM_DURABLE, STREAM_LIVE, STREAM_PUBLISH, Skip, StreamOpen, TopicAlias,
};
use fanal_protocol::event::{Class, PublishHeader, StreamFrame, TopicRef};
use fanal_protocol::stream::{
    Aliases, EventStreamReader, EventStreamWriter, Origin, Outgoing, PublishStreamWriter,
};
use fanal_protocol::{Epoch, frame};
use serde_json::Value;

use super::json::{FromJson, Hex, hex, object, text, vectors};

/// What a stream brings besides its state.
#[derive(Debug, PartialEq)]
enum Item {
    Publish(Publish),
    Event(Event),
    Skip(Skip),
    Gap(Gap),
    Hole(Hole),
}

#[derive(Debug, Default, PartialEq)]
struct Publish {
    channel: u32,
    best_effort: bool,
    receipt: bool,
    topic: String,
    sequence: u64,
    ttl: Option<u64>,
    body: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
struct Event {
    channel: u32,
    best_effort: bool,
    topic: String,
    publisher: String,
    epoch: Epoch,
    sequence: u64,
    accepted_at: u64,
    ttl: Option<u64>,
    mailbox_sequence: Option<u64>,
    attempt: Option<u32>,
    body: Vec<u8>,
}

impl FromJson for Item {
    fn from_json(value: &Value) -> Self {
        let (kind, value) = value.as_object().and_then(|members| members.iter().next()).expect("one member");
        match kind.as_str() {
            "skip" => Item::Skip(Skip::from_json(value)),
            "gap" => Item::Gap(Gap::from_json(value)),
            "hole" => Item::Hole(Hole::from_json(value)),
            "publish" => object(value, |fields| {
                Item::Publish(Publish {
                    channel: fields.get("channel"),
                    best_effort: fields.get("best_effort"),
                    receipt: fields.get("receipt"),
                    topic: fields.get("topic"),
                    sequence: fields.get("sequence"),
                    ttl: fields.get("ttl"),
                    body: fields.get::<Hex>("body").0,
                })
            }),
            "event" => object(value, |fields| {
                Item::Event(Event {
                    channel: fields.get("channel"),
                    best_effort: fields.get("best_effort"),
                    topic: fields.get("topic"),
                    publisher: fields.get("publisher"),
                    epoch: fields.get("epoch"),
                    sequence: fields.get("sequence"),
                    accepted_at: fields.get("accepted_at"),
                    ttl: fields.get("ttl"),
                    mailbox_sequence: fields.get("mailbox_sequence"),
                    attempt: fields.get("attempt"),
                    body: fields.get::<Hex>("body").0,
                })
            }),
            other => panic!("no item is called {other}"),
        }
    }
}

fn kind_of(stream: &str) -> u8 {
    match stream {
        "publish" => STREAM_PUBLISH,
        "durable" => STREAM_DURABLE,
        "live" => STREAM_LIVE,
        other => panic!("no stream is called {other}"),
    }
}

/// What the crate makes of a stream.
fn read(bytes: &[u8], kind: u8) -> Vec<Item> {
    let mut items = Vec::new();
    let mut topics = Aliases::new("topic");
    let mut state = EventStreamReader::default();
    let mut end = 0;
    for range in frame::frames(bytes) {
        end = range.end;
        let frame = &bytes[range];
        match StreamFrame::decode(frame).expect("decodes") {
            StreamFrame::Open(open) => assert_eq!(open, StreamOpen { kind }),
            StreamFrame::Topic(TopicAlias { alias, topic }) => {
                topics.define(alias, topic.clone()).unwrap();
                state.on_topic(alias, topic).unwrap();
            }
            StreamFrame::Publisher(alias) => state.on_publisher(&alias).unwrap(),
            StreamFrame::Clock(base) => state.on_clock(base),
            StreamFrame::Skip(skip) => items.push(Item::Skip(skip)),
            StreamFrame::Gap(gap) => items.push(Item::Gap(gap)),
            StreamFrame::Hole(hole) => items.push(Item::Hole(hole)),
            StreamFrame::Publish(header, body) => items.push(Item::Publish(Publish {
                channel: header.channel,
                best_effort: header.class == Class::BestEffort,
                receipt: header.wants_receipt,
                topic: match header.topic {
                    TopicRef::Alias(alias) => topics.get(alias).unwrap().clone(),
                    TopicRef::Text(text) => text.to_owned(),
                },
                sequence: header.sequence,
                ttl: header.ttl_ms,
                body: frame[body].to_vec(),
            })),
            StreamFrame::Event(header, body) => {
                let resolved = state.resolve(&header).unwrap();
                items.push(Item::Event(Event {
                    channel: header.channel,
                    best_effort: header.class == Class::BestEffort,
                    topic: resolved.topic.clone(),
                    publisher: resolved.origin.publisher.to_string(),
                    epoch: resolved.origin.epoch,
                    sequence: resolved.sequence,
                    accepted_at: resolved.accepted_at_ms,
                    ttl: header.ttl_ms,
                    mailbox_sequence: header.mailbox_sequence,
                    attempt: header.attempt,
                    body: frame[body].to_vec(),
                }));
            }
        }
    }
    assert_eq!(end, bytes.len(), "bytes behind the last frame");
    items
}

fn write_publishes(items: &[Item]) -> Vec<u8> {
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    let mut writer = PublishStreamWriter::open(&mut out);
    for item in items {
        match item {
            Item::Publish(publish) => {
                let alias = writer.topic(&Arc::from(publish.topic.as_str()), &mut out);
                let header = PublishHeader {
                    channel: publish.channel,
                    class: class(publish.best_effort),
                    topic: TopicRef::Alias(alias),
                    sequence: publish.sequence,
                    ttl_ms: publish.ttl,
                    wants_receipt: publish.receipt,
                };
                header.encode(&publish.body, &mut scratch, &mut out);
            }
            Item::Skip(skip) => skip.encode(&mut out),
            other => panic!("{other:?} on a publish stream"),
        }
    }
    out
}

fn write_events(items: &[Item], kind: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = EventStreamWriter::open(kind, &mut out);
    for item in items {
        match item {
            Item::Event(event) => {
                let origin = Origin { publisher: event.publisher.parse().unwrap(), epoch: event.epoch };
                let outgoing = Outgoing {
                    channel: event.channel,
                    class: class(event.best_effort),
                    topic: &Arc::from(event.topic.as_str()),
                    origin: &Arc::new(origin),
                    sequence: event.sequence,
                    accepted_at_ms: event.accepted_at,
                    ttl_ms: event.ttl,
                    mailbox_sequence: event.mailbox_sequence,
                    attempt: event.attempt,
                };
                writer.event_head(&outgoing, event.body.len(), &mut out);
                out.extend_from_slice(&event.body);
            }
            Item::Gap(gap) => gap.encode(&mut out),
            Item::Hole(hole) => hole.encode(&mut out),
            other => panic!("{other:?} on a stream of events"),
        }
    }
    out
}

fn class(best_effort: bool) -> Class {
    if best_effort { Class::BestEffort } else { Class::AtLeastOnce }
}

#[test]
fn streams_bring_their_items_and_items_make_their_streams() {
    for (name, vector) in vectors("streams.json", "vectors") {
        println!("{name}"); // shown when one fails
        let (bytes, kind) = (hex(&vector), kind_of(text(&vector["stream"])));
        let items = Vec::<Item>::from_json(&vector["items"]);
        assert_eq!(read(&bytes, kind), items);
        let written =
            if kind == STREAM_PUBLISH { write_publishes(&items) } else { write_events(&items, kind) };
        assert_eq!(read(&written, kind), items, "what is written reads back");
        if vector["encodes"] == true {
            assert_eq!(written, bytes, "encodes to other bytes");
        }
    }
}
