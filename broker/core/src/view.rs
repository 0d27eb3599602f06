//! An event as a filter sees it: the core fields and the attributes of its body.
//!
//! Invariant: made once per event and shared by all candidates; the payload is not read.
//! The id is derived only when a filter asks for it.

use std::cell::OnceCell;

use fanal_matching::{Attributes, Value};
use fanal_protocol::stream::Origin;
use fanal_protocol::{AttributeValue, BodyView, WireError};
use smallvec::SmallVec;

/// Read access to one event for matching.
pub struct EventView<'a> {
    topic: &'a str,
    origin: &'a Origin,
    sequence: u64,
    body: BodyView<'a>,
    attributes: SmallVec<[(&'a str, Value<'a>); 16]>,
    derived_id: OnceCell<String>,
}

impl<'a> EventView<'a> {
    /// Checks the body and reads its attributes. O(attributes).
    ///
    /// # Errors
    /// [`WireError::Body`] when the body breaks PROTOCOL.md 4.
    pub fn new(topic: &'a str, origin: &'a Origin, sequence: u64, body: &'a [u8]) -> Result<Self, WireError> {
        Ok(Self::of_body(topic, origin, sequence, BodyView::parse(body)?))
    }

    /// As [`EventView::new`] for a body that was read already. O(attributes).
    pub fn of_body(topic: &'a str, origin: &'a Origin, sequence: u64, body: BodyView<'a>) -> Self {
        let attributes = body.attributes().map(|(name, found)| (name, value(found))).collect();
        EventView { topic, origin, sequence, body, attributes, derived_id: OnceCell::new() }
    }

    fn id(&self) -> &str {
        self.body.id.unwrap_or_else(|| self.derived_id.get_or_init(|| derived_id(self.origin, self.sequence)))
    }
}

/// The id of an event that brings none: `publisher:epoch:sequence`.
pub fn derived_id(origin: &Origin, sequence: u64) -> String {
    format!("{}:{}:{sequence}", origin.publisher, origin.epoch)
}

fn value(value: AttributeValue<'_>) -> Value<'_> {
    match value {
        AttributeValue::Bool(value) => Value::Bool(value),
        AttributeValue::Int(value) => Value::Int(value),
        AttributeValue::Float(value) => Value::Float(value),
        AttributeValue::Str(value) => Value::Str(value),
        AttributeValue::Bytes(value) => Value::Bytes(value),
        AttributeValue::Timestamp(value) => Value::Timestamp(timestamp(value)),
    }
}

fn timestamp(time: fanal_protocol::Timestamp) -> fanal_matching::Timestamp {
    fanal_matching::Timestamp { seconds: time.seconds, nanos: time.nanos }
}

impl Attributes for EventView<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "topic" => Some(Value::Str(self.topic)),
            "id" => Some(Value::Str(self.id())),
            "source" => self.body.source.map(Value::Str),
            "time" => self.body.time.map(|time| Value::Timestamp(timestamp(time))),
            _ => self.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value),
        }
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.attributes.iter().for_each(|(name, value)| see(name, *value));
    }
}
