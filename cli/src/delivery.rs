//! One delivery on stdout: as JSON, as a readable line, or its payload alone.
//!
//! Invariants:
//! 1. The JSON form is one line whatever the payload holds, with the keys of protocol/schemas/delivery.json in
//!    their order; what an event does not have is null.
//! 2. The readable form lets no control character through.

use std::fmt::Write as _;
use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal_broker::offline::EventLine;
use fanal_client::{DeadLetter, Delivery, Gap, GapCount};
use fanal_matching::json::is_json;
use fanal_protocol::{AttributeValue, BodyView};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::args::Output;
use crate::attribute::show_time;
use crate::exit::{Failure, Outcome};
use crate::output::{Out, clean, note};

/// Longest payload that the readable form shows, in characters.
const SHOWN_MAX: usize = 200;

/// Prints a delivery.
pub(crate) fn write(out: &mut Out, form: Output, delivery: &Delivery) -> Outcome {
    match form {
        Output::Json => out.json(&line(delivery)),
        Output::Text => out.line(format_args!("{}", text(&line(delivery)))),
        Output::Payload => {
            out.bytes(&delivery.payload())?;
            out.bytes(b"\n")
        }
    }
}

/// Prints an event out of a store, as a delivery of it would be printed.
pub(crate) fn write_stored(out: &mut Out, form: Output, line: &EventLine) -> Outcome {
    let event = &line.event;
    // The broker checked it before it was stored.
    let view = BodyView::parse(&event.body).map_err(|error| {
        Failure::failed(format!("an event on {} cannot be read: {error}", clean(&event.topic)))
    })?;
    let shown = Shown {
        id: view.id.unwrap_or(&line.derived_id).into(),
        topic: &event.topic,
        publisher: event.origin.publisher.to_string(),
        sequence: event.sequence,
        view,
        redelivered: false,
        dead: None,
    };
    match form {
        Output::Json => out.json(&shown),
        Output::Text => out.line(format_args!("{}", text(&shown))),
        Output::Payload => {
            out.bytes(shown.view.payload)?;
            Ok(())
        }
    }
}

/// Prints a dead letter as the delivery that it might have been.
pub(crate) fn write_dead(out: &mut Out, form: Output, letter: &DeadLetter) -> Outcome {
    let event = match &letter.event {
        Ok(event) => event,
        Err(problem) => {
            note(format_args!("dead letter {} cannot be read: {}", letter.number, clean(problem)));
            return Ok(());
        }
    };
    let view = event.view();
    let payload = view.payload;
    let shown = Shown {
        id: event.id().into(),
        topic: &event.topic,
        publisher: event.publisher.to_string(),
        sequence: event.sequence,
        view,
        redelivered: letter.attempts > 0,
        dead: Some(Dead(letter)),
    };
    match form {
        Output::Json => out.json(&shown),
        Output::Text => {
            let (destination, reason) = (&letter.destination, clean(&letter.reason));
            let whom = format!("{} {}", destination.kind, clean(&destination.name));
            out.line(format_args!("{}  {}  ({whom}: {reason})", letter.number, text(&shown)))
        }
        Output::Payload => {
            out.bytes(payload)?;
            out.bytes(b"\n")
        }
    }
}

/// What is known of a dead letter beside its event.
struct Dead<'a>(&'a DeadLetter);

impl Serialize for Dead<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let letter = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &letter.number)?;
        map.serialize_entry("kind", &letter.destination.kind)?;
        map.serialize_entry("name", &letter.destination.name)?;
        map.serialize_entry("principal", &letter.destination.principal)?;
        map.serialize_entry("reason", &letter.reason)?;
        map.serialize_entry("attempts", &letter.attempts)?;
        map.serialize_entry("since", &letter.since)?;
        map.serialize_entry("until", &letter.until)?;
        map.end()
    }
}

/// What a delivery shows.
struct Shown<'a> {
    id: std::borrow::Cow<'a, str>,
    topic: &'a str,
    publisher: String,
    sequence: u64,
    view: BodyView<'a>,
    redelivered: bool,
    dead: Option<Dead<'a>>,
}

fn line(delivery: &Delivery) -> Shown<'_> {
    Shown {
        id: delivery.id(),
        topic: delivery.topic(),
        publisher: delivery.publisher().to_string(),
        sequence: delivery.sequence(),
        view: delivery.view(),
        redelivered: delivery.redelivered(),
        dead: None,
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("topic", self.topic)?;
        map.serialize_entry("time", &self.view.time.map(show_time))?;
        map.serialize_entry("source", &self.view.source)?;
        map.serialize_entry("publisher", &self.publisher)?;
        map.serialize_entry("sequence", &self.sequence)?;
        map.serialize_entry("attributes", &Attributes(&self.view))?;
        map.serialize_entry("content_type", &self.view.content_type)?;
        match data(self.view.content_type, self.view.payload) {
            Data::None => map.serialize_entry("data", &())?,
            Data::Json(json) => map.serialize_entry("data", &json)?,
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Bytes(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
        }
        map.serialize_entry("redelivered", &self.redelivered)?;
        if let Some(dead) = &self.dead {
            map.serialize_entry("dead_letter", dead)?;
        }
        map.end()
    }
}

struct Attributes<'a>(&'a BodyView<'a>);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.attributes() {
            map.serialize_key(name)?;
            match value {
                AttributeValue::Bool(value) => map.serialize_value(&value)?,
                AttributeValue::Int(value) => map.serialize_value(&value)?,
                // JSON has no word for infinities and not-a-number.
                AttributeValue::Float(value) if !value.is_finite() => {
                    map.serialize_value(&value.to_string())?
                }
                AttributeValue::Float(value) => map.serialize_value(&value)?,
                AttributeValue::Str(value) => map.serialize_value(value)?,
                AttributeValue::Bytes(value) => map.serialize_value(&STANDARD.encode(value))?,
                AttributeValue::Timestamp(value) => map.serialize_value(&show_time(value))?,
            }
        }
        map.end()
    }
}

enum Data<'a> {
    None,
    Json(Box<RawValue>),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// JSON where the content type says so and it is; else text where it is UTF-8; else bytes.
fn data<'a>(content_type: Option<&str>, payload: &'a [u8]) -> Data<'a> {
    if payload.is_empty() {
        return Data::None;
    }
    let Ok(text) = str::from_utf8(payload) else { return Data::Bytes(payload) };
    if content_type.is_some_and(|given| is_json(Some(given))) {
        // A newline in JSON can only stand between values: a blank there means the same.
        let is_one_line = !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        let one_line = if is_one_line { text.to_owned() } else { text.replace(['\n', '\r'], " ") };
        if let Ok(json) = RawValue::from_string(one_line) {
            return Data::Json(json);
        }
    }
    Data::Text(text)
}

/// Time, topic, attributes and payload; a JSON payload beside attributes says the same twice and is
/// left out.
fn text(shown: &Shown<'_>) -> String {
    let view = &shown.view;
    let time = view.time.map_or_else(|| "-".to_owned(), show_time);
    let mut out = format!("{time}  {}", clean(shown.topic));
    let mut has_attributes = false;
    for (name, value) in view.attributes() {
        let gap = if has_attributes { " " } else { "  " };
        has_attributes = true;
        // Writing into a string cannot fail.
        let _ = write!(out, "{gap}{}={}", clean(name), attribute_text(value));
    }
    let says_it_twice = has_attributes && view.content_type.is_some_and(|given| is_json(Some(given)));
    if !says_it_twice && !view.payload.is_empty() {
        let _ = write!(out, "  {}", payload_text(view.payload));
    }
    if shown.redelivered {
        out.push_str("  (redelivered)");
    }
    out
}

fn attribute_text(value: AttributeValue<'_>) -> String {
    match value {
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::Int(value) => value.to_string(),
        AttributeValue::Float(value) => value.to_string(),
        AttributeValue::Str(value) if value.is_empty() || value.contains([' ', '"', '=']) => {
            format!("\"{}\"", clean(&value.replace('"', "\\\"")))
        }
        AttributeValue::Str(value) => clean(value).into_owned(),
        AttributeValue::Bytes(value) => format!("<{} bytes>", value.len()),
        AttributeValue::Timestamp(value) => show_time(value),
    }
}

fn payload_text(payload: &[u8]) -> String {
    let Ok(text) = str::from_utf8(payload) else { return format!("<{} bytes>", payload.len()) };
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}… <{} bytes>", clean(&text[..end]), payload.len()),
        None => clean(text).into_owned(),
    }
}

/// Prints that events are missing here.
pub(crate) fn write_gap(out: &mut Out, form: Output, gap: &Gap) -> Outcome {
    let (kind, count) = match gap.count {
        GapCount::Exact(count) => ("exact", Some(count)),
        GapCount::AtMost(count) => ("at_most", Some(count)),
        GapCount::Unknown => ("unknown", None),
    };
    if form == Output::Json {
        let (reason, broker) = (&gap.reason, &gap.broker);
        let gap = serde_json::json!({ "kind": kind, "count": count, "reason": reason, "broker": broker });
        return out.json(&serde_json::json!({ "gap": gap }));
    }
    let how_many = match gap.count {
        GapCount::Exact(count) => format!("{count} events are missing here"),
        GapCount::AtMost(count) => format!("at most {count} events are missing here"),
        GapCount::Unknown => "events may be missing here".to_owned(),
    };
    let at = gap.broker.as_ref().map(|name| format!(", on the way from {}", clean(name))).unwrap_or_default();
    let line = format!("-- {how_many}: {}{at}", clean(&gap.reason).replace('_', " "));
    match form {
        // Nothing but payloads goes to stdout.
        Output::Payload => {
            note(format_args!("{line}"));
            Ok(())
        }
        _ => out.line(format_args!("{line}")),
    }
}

#[cfg(test)]
mod tests {
    use fanal_protocol::{Body, BodyBuilder, Timestamp};

    use super::*;

    fn shown(body: &Body) -> Shown<'_> {
        Shown {
            id: "i".into(),
            topic: "a/b",
            publisher: "p@f".into(),
            sequence: 7,
            view: body.view(),
            redelivered: false,
            dead: None,
        }
    }

    fn json(body: BodyBuilder) -> String {
        serde_json::to_string(&shown(&body.build().unwrap())).unwrap()
    }

    #[test]
    fn the_json_line_is_that_of_the_design() {
        let body = BodyBuilder::new()
            .source("/s")
            .time(Timestamp { seconds: 0, nanos: 0 })
            .attribute("z", AttributeValue::Int(1))
            .attribute("a", AttributeValue::Float(5.0))
            .attribute("n", AttributeValue::Float(f64::NAN))
            .content_type("application/json; charset=utf-8")
            .payload("{\"k\":\n12345678901234567890123}");
        assert_eq!(
            json(body),
            r#"{"id":"i","topic":"a/b","time":"1970-01-01T00:00:00Z","source":"/s","publisher":"p@f","sequence":7,"attributes":{"z":1,"a":5.0,"n":"NaN"},"content_type":"application/json; charset=utf-8","data":{"k": 12345678901234567890123},"redelivered":false}"#
        );
    }

    #[test]
    fn data_is_json_text_or_base64() {
        let payload = |body: BodyBuilder| {
            let json: serde_json::Value = serde_json::from_str(&json(body)).unwrap();
            (json["data"].clone(), json["data_base64"].clone())
        };
        let null = serde_json::Value::Null;
        assert_eq!(payload(BodyBuilder::new()), (null.clone(), null.clone()));
        assert_eq!(payload(BodyBuilder::new().payload("{}")).0, "{}");
        let not_json = BodyBuilder::new().payload("{").content_type("application/json");
        assert_eq!(payload(not_json).0, "{");
        let ld = BodyBuilder::new().payload("[1]").content_type("application/ld+JSON");
        assert_eq!(payload(ld).0, serde_json::json!([1]));
        assert_eq!(payload(BodyBuilder::new().payload(&b"\xff\x00"[..])), (null, "/wA=".into()));
    }

    #[test]
    fn the_readable_line_is_safe_for_a_terminal() {
        let body = BodyBuilder::new().payload("\u{1b}[2Jhi\n").build().unwrap();
        assert_eq!(text(&shown(&body)), "-  a/b  \\u{1b}[2Jhi\\n");
        let body = BodyBuilder::new()
            .attribute("carrier", AttributeValue::Str("UA"))
            .attribute("airline", AttributeValue::Str("United Air Lines"))
            .payload("{}")
            .build()
            .unwrap();
        assert_eq!(text(&shown(&body)), "-  a/b  carrier=UA airline=\"United Air Lines\"  {}");
        let json = BodyBuilder::new().content_type("application/json").payload("{\"carrier\":\"UA\"}");
        let json = json.attribute("carrier", AttributeValue::Str("UA")).build().unwrap();
        assert_eq!(text(&shown(&json)), "-  a/b  carrier=UA");
        let long = BodyBuilder::new().payload("é".repeat(300)).build().unwrap();
        assert!(text(&shown(&long)).ends_with("é… <600 bytes>"));
    }
}
