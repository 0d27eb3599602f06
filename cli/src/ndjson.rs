//! One JSON object a line becomes one event.
//!
//! Invariants:
//! 1. The payload is the line without its newline, byte for byte.
//! 2. Scalar fields become attributes, typed as [`crate::attribute`] says; `null` is absent;
//!    nested values stay in the payload only.
//! 3. String `id`, `source` and RFC 3339 `time` become the event's own fields; in another form,
//!    and with a scalar `topic`, the line is refused. So is a line that is not one JSON object.
//! 4. A refused line never stops the ones after it.
//!
//! Values are borrowed from the line where JSON allows it: O(bytes of the line).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use fanal_protocol::{AttributeValue, Body, BodyBuilder, Code, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::attribute::{self, Value};

/// Media type of an NDJSON line's event.
const CONTENT_TYPE: &str = "application/json";

/// Why a line is not published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// What is wrong and what to do.
    pub(crate) reason: String,
    /// The event's id, as far as it was read.
    pub(crate) id: Option<String>,
}

impl Refusal {
    /// A refusal of the line's form.
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Refusal { code: Code::Malformed, reason: reason.into(), id: None }
    }
}

/// An event made of a line.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) topic: String,
    /// The event's own id, if the line has one.
    pub(crate) id: Option<String>,
    pub(crate) body: Body,
}

/// Makes events of lines.
#[derive(Debug, Clone)]
pub(crate) struct LineReader {
    topic: Template,
    key: Option<String>,
}

impl LineReader {
    /// With the topic's template and one ordering key for all.
    pub(crate) fn new(topic: Template, key: Option<String>) -> Self {
        LineReader { topic, key }
    }

    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`Refusal`] with what is wrong with the line.
    pub(crate) fn read(&self, line: &[u8]) -> Result<Event, Refusal> {
        let fields = Fields::read(line)?;
        self.make(&fields, line).map_err(|mut refusal| {
            refusal.id = fields.id.as_ref().map(|id| id.clone().into_owned());
            refusal
        })
    }

    fn make(&self, fields: &Fields<'_>, line: &[u8]) -> Result<Event, Refusal> {
        fields.check()?;
        let topic = self.topic.fill(fields).map_err(Refusal::malformed)?;
        let mut body = BodyBuilder::new().content_type(CONTENT_TYPE).payload(Bytes::copy_from_slice(line));
        if let Some(id) = &fields.id {
            body = body.id(id.as_ref());
        }
        if let Some(source) = &fields.source {
            body = body.source(source.as_ref());
        }
        if let Some((_, time)) = &fields.time {
            body = body.time(*time);
        }
        if let Some(key) = &self.key {
            body = body.ordering_key(key);
        }
        for (name, scalar) in &fields.attributes {
            body = body.attribute(name, scalar.view());
        }
        let body = body.build().map_err(|error| Refusal::malformed(error.to_string()))?;
        Ok(Event { topic, id: fields.id.as_ref().map(|id| id.clone().into_owned()), body })
    }
}

/// A scalar of a line, borrowed from it where possible.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    /// With its text, as a topic takes it.
    Float(f64, &'a str),
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    fn view(&self) -> AttributeValue<'_> {
        match self {
            Scalar::Bool(value) => AttributeValue::Bool(*value),
            Scalar::Int(value) => AttributeValue::Int(*value),
            Scalar::Float(value, _) => AttributeValue::Float(*value),
            Scalar::Text(value) => AttributeValue::Str(value),
        }
    }

    /// The same, with its own text.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Scalar::Bool(value) => Value::Bool(*value),
            Scalar::Int(value) => Value::Int(*value),
            Scalar::Float(value, _) => Value::Float(*value),
            Scalar::Text(text) => Value::Text(text.as_ref().to_owned()),
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Scalar::Bool(value) => if *value { "true" } else { "false" }.into(),
            Scalar::Int(value) => value.to_string().into(),
            Scalar::Float(_, text) => (*text).into(),
            Scalar::Text(text) => text.as_ref().into(),
        }
    }
}

/// The top level of a line.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) source: Option<Cow<'a, str>>,
    /// With its text.
    pub(crate) time: Option<(Cow<'a, str>, Timestamp)>,
    pub(crate) attributes: Vec<(Cow<'a, str>, Scalar<'a>)>,
    /// The first thing that is wrong with a field; kept so that the id is known all the same.
    fault: Option<String>,
}

impl<'a> Fields<'a> {
    /// Reads an object; what is wrong with single fields [`Fields::check`] says.
    ///
    /// # Errors
    /// [`Refusal`] of what is no object.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(line).map_err(|error| {
            Refusal::malformed(format!("not UTF-8 from byte {} of the line on", error.valid_up_to() + 1))
        })?;
        if text.trim_ascii().is_empty() {
            return Err(Refusal::malformed("an empty line: each line must be one JSON object"));
        }
        serde_json::from_str(text).map_err(|error| {
            Refusal::malformed(format!("not one JSON object: column {}: {}", error.column(), plain(&error)))
        })
    }

    /// Whether every field is as it must be.
    ///
    /// # Errors
    /// [`Refusal`] for the first that is not.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        self.fault.clone().map_or(Ok(()), |fault| Err(Refusal::malformed(fault)))
    }

    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "id" => self.id.as_deref().map(Cow::from),
            "source" => self.source.as_deref().map(Cow::from),
            "time" => self.time.as_ref().map(|(text, _)| text.as_ref().into()),
            _ => self.attributes.iter().find(|(known, _)| known == name).map(|(_, scalar)| scalar.text()),
        }
    }

    fn put(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        let put = match name.as_ref() {
            "id" => put_core(&mut self.id, &name, value, Ok),
            "source" => put_core(&mut self.source, &name, value, Ok),
            "time" => put_core(&mut self.time, &name, value, |text| {
                let time = attribute::parse_time(&text)?;
                Ok((text, time))
            }),
            _ => self.put_attribute(name, value),
        };
        if let (Err(fault), None) = (put, &self.fault) {
            self.fault = Some(fault);
        }
    }

    fn put_attribute(&mut self, name: Cow<'a, str>, value: &'a RawValue) -> Result<(), String> {
        let Some(scalar) = scalar(value.get()).map_err(|reason| format!("field `{name}`: {reason}"))? else {
            return Ok(());
        };
        if name == "topic" {
            return Err("field `topic` has the name of a field that every event has: rename it".into());
        }
        self.attributes.push((name, scalar));
        Ok(())
    }
}

/// A core field: a string, or null for none.
fn put_core<'a, T>(
    slot: &mut Option<T>,
    name: &str,
    value: &'a RawValue,
    read: impl Fn(Cow<'a, str>) -> Result<T, String>,
) -> Result<(), String> {
    let raw = value.get();
    let text = match raw.as_bytes().first() {
        Some(b'"') => string(raw).map_err(|reason| format!("field `{name}`: {reason}"))?,
        Some(b'n') => return Ok(()),
        _ => return Err(format!("field `{name}` must be a string, it is {}", kind(raw))),
    };
    if text.is_empty() {
        return Err(format!("field `{name}` is empty: leave it out, or give it a value"));
    }
    if slot.is_some() {
        return Err(format!("field `{name}` stands twice: only one can count"));
    }
    *slot = Some(read(text).map_err(|reason| format!("field `{name}`: {reason}"))?);
    Ok(())
}

fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

/// The scalar that a JSON text stands for; none for null and for nested values.
fn scalar(raw: &str) -> Result<Option<Scalar<'_>>, String> {
    Ok(Some(match raw.as_bytes().first() {
        Some(b'"') => Scalar::Text(string(raw)?),
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        Some(b'-' | b'0'..=b'9') => match attribute::number(raw)? {
            Value::Int(value) => Scalar::Int(value),
            Value::Float(value) => Scalar::Float(value, raw),
            Value::Bool(value) => Scalar::Bool(value),
            Value::Text(text) => Scalar::Text(text.into()),
        },
        _ => return Ok(None),
    }))
}

/// A JSON string that was scanned before: borrowed unless it holds escapes.
fn string(raw: &str) -> Result<Cow<'_, str>, String> {
    match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Ok(inner.into()),
        _ => serde_json::from_str::<String>(raw).map(Cow::Owned).map_err(|error| bare(&error)),
    }
}

/// serde_json's text without the position, which counts lines of one line.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map(|(what, _)| what.to_owned()).unwrap_or(text)
}

/// The same in the words of people who write JSON rather than parsers of it.
fn plain(error: &serde_json::Error) -> String {
    match bare(error) {
        _ if error.is_eof() => "the line ends before the object does".to_owned(),
        text if text.starts_with("expected ident") || text == "expected value" => {
            "neither a value in quotes, nor a number, true, false, null, list or object".to_owned()
        }
        text => text,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields { attributes: Vec::with_capacity(16), ..Fields::default() };
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            fields.put(name, value);
        }
        Ok(fields)
    }
}

/// A field's name, borrowed unless it holds escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor).map(Name)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(text.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.to_owned().into())
    }
}

/// A topic with `{field}` in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Segment>);

#[derive(Debug, Clone, PartialEq)]
enum Segment {
    Literal(String),
    Field(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = |what: &str| format!("--topic '{text}': {what}, as in 'flights/{{origin}}/{{dest}}'");
        if text.is_empty() {
            return Err(bad("is empty; write a topic, with {field} where a field of the line is wanted"));
        }
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, field) = match rest.split_once('{') {
                None => (rest, None),
                Some((literal, tail)) => {
                    let (field, tail) = tail.split_once('}').ok_or_else(|| bad("a `{` is not closed"))?;
                    rest = tail;
                    (literal, Some(field))
                }
            };
            if let Some(wrong) = literal.chars().find(|c| matches!(c, '+' | '#' | '}')) {
                return Err(bad(&format!("`{wrong}` cannot stand in a topic")));
            }
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.to_owned()));
            }
            let Some(field) = field else { break };
            if field.is_empty() || field.contains('{') {
                return Err(bad("braces hold the name of one field"));
            }
            segments.push(Segment::Field(field.to_owned()));
        }
        Ok(Template(segments))
    }

    fn fill(&self, fields: &Fields<'_>) -> Result<String, String> {
        let mut topic = String::with_capacity(64);
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => topic.push_str(text),
                Segment::Field(name) => topic.push_str(&level(name, fields)?),
            }
        }
        Ok(topic)
    }
}

fn level<'f>(name: &str, fields: &'f Fields<'_>) -> Result<Cow<'f, str>, String> {
    let Some(value) = fields.get(name) else {
        return Err(format!("the topic needs field `{name}`, which this line does not have as a scalar"));
    };
    if value.is_empty() {
        return Err(format!("the topic needs field `{name}`, which is empty on this line"));
    }
    if let Some(wrong) = value.chars().find(|c| matches!(c, '/' | '+' | '#')) {
        return Err(format!("field `{name}` holds `{wrong}`, which cannot stand in a level of a topic"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(topic: &str) -> LineReader {
        LineReader::new(Template::parse(topic).unwrap(), None)
    }

    fn event(line: &str) -> Event {
        reader("t").read(line.as_bytes()).unwrap()
    }

    fn reason(topic: &str, line: &str) -> String {
        let refusal = reader(topic).read(line.as_bytes()).unwrap_err();
        assert_eq!(refusal.code, Code::Malformed);
        refusal.reason
    }

    #[test]
    fn a_flight_becomes_an_event() {
        let line = r#"{"time":"2013-01-01T10:00:00Z","carrier":"UA","flight":1545,"origin":"EWR","dest":"IAH","dep_delay":-2,"cancelled":false,"ratio":0.5}"#;
        let event = reader("flights/{origin}/{dest}").read(line.as_bytes()).unwrap();
        assert_eq!(event.topic, "flights/EWR/IAH");
        assert_eq!(event.id, None);
        let view = event.body.view();
        assert_eq!(view.payload, line.as_bytes());
        assert_eq!(view.content_type, Some("application/json"));
        assert_eq!(view.time, Some(Timestamp { seconds: 1_357_034_400, nanos: 0 }));
        let attributes: Vec<_> = view.attributes().collect();
        assert_eq!(
            attributes,
            [
                ("carrier", AttributeValue::Str("UA")),
                ("flight", AttributeValue::Int(1545)),
                ("origin", AttributeValue::Str("EWR")),
                ("dest", AttributeValue::Str("IAH")),
                ("dep_delay", AttributeValue::Int(-2)),
                ("cancelled", AttributeValue::Bool(false)),
                ("ratio", AttributeValue::Float(0.5)),
            ]
        );
    }

    #[test]
    fn null_is_absent_and_nested_values_stay_in_the_payload() {
        let line = r#" {"a":null,"b":{"x":1},"c":[1,{"y":null}],"d":"\u0061\n","id":null} "#;
        let event = event(line);
        let view = event.body.view();
        assert_eq!(view.attributes().collect::<Vec<_>>(), [("d", AttributeValue::Str("a\n"))]);
        assert_eq!((view.id, view.payload), (None, line.as_bytes()));
    }

    #[test]
    fn core_fields_are_taken_from_strings_only() {
        let taken = event(r#"{"id":"7","source":"/s","time":"2024-01-01T00:00:00+01:00"}"#);
        let view = taken.body.view();
        assert_eq!((view.id, view.source), (Some("7"), Some("/s")));
        assert_eq!(view.time.map(|time| time.seconds), Some(1_704_063_600));
        assert_eq!(view.attributes().count(), 0);
        assert_eq!(taken.id.as_deref(), Some("7"));
        for (line, expected) in [
            (r#"{"id":7}"#, "`id` must be a string, it is a number"),
            (r#"{"source":{}}"#, "`source` must be a string, it is an object"),
            (r#"{"time":1704063600}"#, "`time` must be a string"),
            (r#"{"time":"noon"}"#, "not an RFC 3339 time"),
            (r#"{"id":""}"#, "`id` is empty"),
            (r#"{"id":"a","id":"b"}"#, "`id` stands twice"),
            (r#"{"topic":"x"}"#, "`topic`"),
        ] {
            assert!(reason("t", line).contains(expected), "{line}: {}", reason("t", line));
        }
        assert_eq!(event(r#"{"topic":{"nested":1},"a":1}"#).body.view().attributes().count(), 1);
    }

    #[test]
    fn no_digits_are_lost_in_silence() {
        for (text, value) in [
            ("9223372036854775807", AttributeValue::Int(i64::MAX)),
            ("-9223372036854775808", AttributeValue::Int(i64::MIN)),
            ("5.0", AttributeValue::Float(5.0)),
            ("1e3", AttributeValue::Float(1000.0)),
        ] {
            let event = event(&format!("{{\"n\":{text}}}"));
            assert_eq!(event.body.view().attributes().next(), Some(("n", value)));
        }
        for text in ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "1e999"] {
            assert!(reason("t", &format!("{{\"n\":{text}}}")).contains("does not fit"), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for line in [
            "",
            "  ",
            "7",
            "[1]",
            "\"x\"",
            "{",
            "{\"a\":1}}",
            "{\"a\":1} {\"b\":2}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
        ] {
            let reason = reason("t", line);
            assert!(!reason.contains("at line"), "{line}: {reason}");
        }
        let refusal = reader("t").read(b"{\"a\":\"\xff\"}").unwrap_err();
        assert!(refusal.reason.contains("not UTF-8 from byte 7"), "{}", refusal.reason);
    }

    #[test]
    fn the_same_attribute_twice_is_refused() {
        assert!(reason("t", r#"{"a":1,"a":2}"#).contains('a'));
    }

    #[test]
    fn a_refused_line_tells_its_id() {
        let refusal = reader("t/{x}").read(br#"{"id":"e1","y":1}"#).unwrap_err();
        assert_eq!(refusal.id.as_deref(), Some("e1"));
        let refusal = reader("t").read(br#"{"n":99999999999999999999,"id":"e2"}"#).unwrap_err();
        assert_eq!(refusal.id.as_deref(), Some("e2"));
    }

    #[test]
    fn topics_are_filled_from_scalar_fields() {
        let topic = |template: &str, line: &str| reader(template).read(line.as_bytes()).unwrap().topic;
        assert_eq!(topic("a/{b}-{c}/{d}", r#"{"b":1,"c":true,"d":1.50}"#), "a/1-true/1.50");
        assert_eq!(
            topic("{id}/{time}", r#"{"id":"x","time":"2024-01-01T00:00:00Z"}"#),
            "x/2024-01-01T00:00:00Z"
        );
        for (line, expected) in [
            (r#"{"a":1}"#, "needs field `b`"),
            (r#"{"b":null}"#, "needs field `b`"),
            (r#"{"b":[1]}"#, "needs field `b`"),
            (r#"{"b":""}"#, "is empty on this line"),
            (r#"{"b":"x/y"}"#, "holds `/`"),
            (r#"{"b":"x+"}"#, "holds `+`"),
            (r##"{"b":"#"}"##, "holds `#`"),
        ] {
            assert!(reason("t/{b}", line).contains(expected), "{line}: {}", reason("t/{b}", line));
        }
    }

    #[test]
    fn bad_templates_are_refused_before_anything_is_read() {
        for (template, expected) in [
            ("", "is empty"),
            ("a/{b", "not closed"),
            ("a/{}", "name of one field"),
            ("a/b}", "cannot stand"),
            ("a/+/b", "cannot stand"),
            ("#", "cannot stand"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }
}
