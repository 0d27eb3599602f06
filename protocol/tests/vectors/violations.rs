//! `violations.json`, as far as a decoder can tell: the rest needs to know who speaks and when.

use bytes::BytesMut;
use fanal_protocol::event::{StreamFrame, TopicRef};
use fanal_protocol::stream::{Aliases, EventStreamReader};
use fanal_protocol::{
    BODY_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, Control, EVENT_OVERHEAD_BYTES_MAX, WireError, frame,
};

use super::json::{hex, text, vectors};

#[derive(Debug, PartialEq)]
enum Refused {
    Framing(u16),
    Frame,
    Stream,
}

/// What is wrong with the bytes of a stream, for a receiver that knows no more than them.
fn read(bytes: &[u8], is_control: bool) -> Result<(), Refused> {
    let limit = if is_control { CONTROL_FRAME_BYTES_MAX } else { BODY_BYTES_MAX + EVENT_OVERHEAD_BYTES_MAX };
    let mut buffer = BytesMut::from(bytes);
    let mut state = State { events: EventStreamReader::default(), topics: Aliases::new("topic") };
    let too_large = |error| match error {
        WireError::FrameTooLarge { .. } => Refused::Framing(413),
        other => panic!("{other}"),
    };
    while let Some(block) = frame::take_whole(&mut buffer, limit).map_err(too_large)? {
        for range in frame::frames(&block) {
            match is_control {
                true => drop(Control::decode(&block[range]).map_err(|_| Refused::Frame)?),
                false => follow(&mut state, &block[range])?,
            }
        }
    }
    if buffer.is_empty() { Ok(()) } else { Err(Refused::Framing(400)) }
}

/// What a receiver keeps of an event stream, whichever side it is.
struct State {
    events: EventStreamReader<()>,
    topics: Aliases<()>,
}

fn follow(state: &mut State, frame: &[u8]) -> Result<(), Refused> {
    let frame = StreamFrame::decode(frame).map_err(|_| Refused::Frame)?;
    let followed = match frame {
        StreamFrame::Topic(alias) => {
            state.topics.define(alias.alias, ()).and_then(|()| state.events.on_topic(alias.alias, ()))
        }
        StreamFrame::Publisher(alias) => state.events.on_publisher(&alias),
        StreamFrame::Event(header, _) => state.events.resolve(&header).map(drop),
        StreamFrame::Publish(header, _) => match header.topic {
            TopicRef::Alias(alias) => state.topics.get(alias).map(drop),
            TopicRef::Text(_) => Ok(()),
        },
        _ => Ok(()),
    };
    followed.map_err(|_| Refused::Stream)
}

#[test]
fn bytes_are_refused_where_the_file_says() {
    for (name, vector) in vectors("violations.json", "vectors") {
        println!("{name}"); // shown when one fails
        let found = read(&hex(&vector), vector["stream"] == "control");
        let code = vector["code"].as_u64().unwrap() as u16;
        let expected = match text(&vector["found_by"]) {
            "framing" => Err(Refused::Framing(code)),
            "frame" => Err(Refused::Frame),
            "stream" => Err(Refused::Stream),
            "place" => Ok(()),
            other => panic!("found by {other}?"),
        };
        assert_eq!(found, expected);
        assert!(code == 400 || code == 413 || code == 426);
    }
}
