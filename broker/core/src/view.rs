//! An event as a filter sees it: the core fields and the attributes of its body.
//!
//! 1. Made once per event and shared by all candidates.
//! 2. The payload is read once, and only when a filter asks for a path into it; a payload whose
//!    content type is not JSON's is never read (PROTOCOL.md 4.2).
//! 3. The id is derived only when a filter asks for it.

use std::cell::OnceCell;

use fanal_matching::json::is_json;
use fanal_matching::{Attributes, JsonPayload, JsonValue, Path, Value};
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
    /// `None` for what is not read as JSON.
    payload: Option<JsonPayload<'a>>,
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
        let payload = is_json(body.content_type).then(|| JsonPayload::new(body.payload));
        EventView { topic, origin, sequence, body, attributes, derived_id: OnceCell::new(), payload }
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

    fn data(&self, path: &Path) -> Option<Value<'_>> {
        self.payload.as_ref()?.get(path)
    }

    fn payload(&self) -> Option<JsonValue<'_>> {
        self.payload.as_ref()?.root()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanal_matching::{Filter, Truth};
    use fanal_protocol::{Body, BodyBuilder, Epoch, Fingerprint, PublisherId, StoreId};

    fn origin() -> Origin {
        let publisher = PublisherId { name: "till".into(), authority: Fingerprint([7; 32]) };
        Origin { publisher, epoch: Epoch { store: StoreId([1; 16]), recovery_epoch: 2, counter: 3 } }
    }

    fn body(content_type: Option<&str>) -> Body {
        let body =
            BodyBuilder::new().attribute("n", AttributeValue::Int(5)).payload(r#"{"s": "a\n", "n": 7}"#);
        match content_type {
            None => body.build().unwrap(),
            Some(content_type) => body.content_type(content_type).build().unwrap(),
        }
    }

    fn says(view: &EventView<'_>, filter: &str) -> Truth {
        Filter::parse(filter).unwrap().evaluate(view)
    }

    #[test]
    fn a_payload_that_no_filter_asks_for_is_never_read() {
        let (origin, body) = (origin(), body(Some("application/json")));
        let view = EventView::new("t", &origin, 1, body.bytes()).unwrap();
        for filter in ["n = 5", "gone IS NULL", "topic = 't' AND id LIKE '%'", "EXISTS data"] {
            says(&view, filter);
        }
        view.visit(&mut |_, _| {});
        assert!(!view.payload.as_ref().unwrap().is_read());
    }

    /// A string with an escape is kept decoded: were the payload read again, it would lie elsewhere.
    #[test]
    fn a_payload_is_read_once_however_often_it_is_asked_for() {
        let (origin, body) = (origin(), body(None));
        let view = EventView::new("t", &origin, 1, body.bytes()).unwrap();
        let path = Path::parse("data.s").unwrap();
        let place = |value: Option<Value<'_>>| match value {
            Some(Value::Str(text)) => text.as_ptr(),
            other => panic!("{other:?}"),
        };
        let first = place(view.data(&path));
        assert!(view.payload.as_ref().unwrap().is_read());
        assert_eq!(place(view.data(&path)), first);
        assert_eq!(view.data(&Path::parse("data.n").unwrap()), Some(Value::Int(7)));
    }

    #[test]
    fn a_payload_of_another_content_type_has_no_values() {
        let origin = origin();
        for (content_type, expected) in [
            (Some("text/plain"), None),
            (Some("application/ld+json"), Some(Value::Int(7))),
            (None, Some(Value::Int(7))),
        ] {
            let body = body(content_type);
            let view = EventView::new("t", &origin, 1, body.bytes()).unwrap();
            assert_eq!(view.data(&Path::parse("data.n").unwrap()), expected);
        }
    }
}
