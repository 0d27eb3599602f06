//! Events to try a filter on, in each of the forms in which people have them.
//!
//! An object with
//! 1. a `specversion` is a CloudEvent in JSON: its members but `data` and `data_base64` are attributes;
//! 2. a `topic`, or an object under `attributes`, is a line of `fanal subscribe --output json`;
//! 3. anything else is a line of `fanal publish --ndjson`: its scalars are attributes.
//!
//! The payload is `data` or `data_base64`; in the third form the object itself.
//!
//! Nothing is guessed beyond that: what `fanal publish` would refuse is refused here.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal_matching::json::is_json;
use fanal_matching::{Attributes, JsonPayload, JsonValue, Path, Value};
use fanal_protocol::BodyBuilder;
use fanal_protocol::body::CORE_NAMES;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::attribute::{self, parse_time};
use crate::ndjson::Fields;

/// What stands for the id that a broker derives where an event has none: there it is never missing.
const DERIVED_ID: &str = "filter-test:1:1";

/// An event, as a filter sees it.
#[derive(Default)]
pub(crate) struct Event<'a> {
    pub(crate) topic: Option<String>,
    pub(crate) id: Option<String>,
    source: Option<String>,
    time: Option<fanal_matching::Timestamp>,
    attributes: Vec<(String, attribute::Value)>,
    payload: Option<JsonPayload<'a>>,
}

/// In which form an object is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    CloudEvent,
    Delivery,
    /// What `fanal subscribe` tells between deliveries.
    Gap,
    Flat,
}

/// What tells the forms apart, and the payload.
#[derive(Default, Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow)]
    gap: Option<&'a RawValue>,
    #[serde(borrow)]
    content_type: Option<&'a RawValue>,
    #[serde(borrow)]
    datacontenttype: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<&'a RawValue>,
}

/// A line of `fanal subscribe --output json`, as far as attributes go.
#[derive(Deserialize)]
struct Delivery<'a> {
    topic: Option<String>,
    id: Option<String>,
    source: Option<String>,
    time: Option<String>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
}

impl Outline<'_> {
    fn form(&self) -> Form {
        let is_object = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get().starts_with('{'));
        match self {
            _ if self.specversion.is_some() => Form::CloudEvent,
            _ if self.topic.is_some() || is_object(self.attributes) => Form::Delivery,
            _ if is_object(self.gap) => Form::Gap,
            _ => Form::Flat,
        }
    }
}

/// The bytes of an object's payload.
pub(crate) struct Payload<'a>(Option<Cow<'a, [u8]>>);

impl<'a> Payload<'a> {
    /// Finds it; what is wrong with the object [`Event::read`] says. O(bytes).
    pub(crate) fn of(object: &'a [u8]) -> Payload<'a> {
        let outline: Outline<'a> = serde_json::from_slice(object).unwrap_or_default();
        Payload(match outline.form() {
            Form::CloudEvent => data(&outline, outline.datacontenttype, false),
            Form::Delivery => data(&outline, outline.content_type, true),
            Form::Gap | Form::Flat => Some(object.into()),
        })
    }
}

/// `data` or `data_base64`, where the content type is that of JSON. Without one, `fanal subscribe`
/// prints the payload as text (`plain_is_text`), while in a CloudEvent it is JSON.
fn data<'a>(
    outline: &Outline<'a>,
    content_type: Option<&RawValue>,
    plain_is_text: bool,
) -> Option<Cow<'a, [u8]>> {
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    let content_type = content_type.and_then(text);
    if !is_json(content_type.as_deref()) {
        return None;
    }
    if let Some(bytes) = outline.data_base64.and_then(text) {
        return STANDARD.decode(bytes).ok().map(Cow::Owned);
    }
    let raw = outline.data?;
    let printed = if plain_is_text && content_type.is_none() { text(raw) } else { None };
    Some(printed.map_or(Cow::Borrowed(raw.get().as_bytes()), |text| text.into_bytes().into()))
}

impl<'a> Event<'a> {
    /// Reads one object; `None`: a gap that `fanal subscribe` told between its deliveries.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub(crate) fn read(object: &[u8], payload: &'a Payload<'_>) -> Result<Option<Event<'a>>, String> {
        // What is no object is told by the reader of lines, in words for people.
        let outline: Outline<'_> = serde_json::from_slice(object).unwrap_or_default();
        let mut event = match outline.form() {
            Form::Gap => return Ok(None),
            Form::Delivery => Event::delivery(object)?,
            Form::Flat | Form::CloudEvent => Event::flat(object)?,
        };
        if outline.form() == Form::CloudEvent {
            event.attributes.retain(|(name, _)| name != "data" && name != "data_base64");
        }
        event.payload = payload.0.as_deref().map(JsonPayload::new);
        Ok(Some(event))
    }

    fn flat(line: &[u8]) -> Result<Event<'a>, String> {
        let fields = Fields::read(line).map_err(|refusal| refusal.reason)?;
        fields.check().map_err(|refusal| refusal.reason)?;
        let attributes: Vec<(String, attribute::Value)> = fields
            .attributes
            .iter()
            .map(|(name, value)| (name.as_ref().to_owned(), value.to_value()))
            .collect();
        check(&attributes)?;
        Ok(Event {
            topic: None,
            id: fields.id.map(String::from),
            source: fields.source.map(String::from),
            time: fields.time.map(|(_, time)| timestamp(time)),
            attributes,
            payload: None,
        })
    }

    fn delivery(line: &[u8]) -> Result<Event<'a>, String> {
        let delivery: Delivery<'_> = serde_json::from_slice(line)
            .map_err(|error| format!("not as `fanal subscribe --output json` prints events: {error}"))?;
        let attributes = match delivery.attributes.map(RawValue::get) {
            None | Some("null") => Vec::new(),
            Some(attributes) => Event::attributes(attributes)?,
        };
        let time = delivery.time.map(|time| parse_time(&time)).transpose()?;
        let Delivery { topic, id, source, .. } = delivery;
        Ok(Event { topic, id, source, time: time.map(timestamp), attributes, payload: None })
    }

    /// The attributes alone, which hold none of the names that every event has.
    fn attributes(text: &str) -> Result<Vec<(String, attribute::Value)>, String> {
        let event = Event::flat(text.as_bytes()).map_err(|reason| format!("attributes: {reason}"))?;
        match CORE_NAMES.iter().find(|name| event.names(name)) {
            Some(name) => {
                Err(format!("attributes: `{name}` is a field of every event: it stands beside them"))
            }
            None => Ok(event.attributes),
        }
    }
}

impl Attributes for Event<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "topic" => self.topic.as_deref().map(Value::Str),
            "id" => Some(Value::Str(self.id.as_deref().unwrap_or(DERIVED_ID))),
            "source" => self.source.as_deref().map(Value::Str),
            "time" => self.time.map(Value::Timestamp),
            _ => self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| view(value)),
        }
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.attributes.iter().for_each(|(name, value)| see(name, view(value)));
    }

    fn data(&self, path: &Path) -> Option<Value<'_>> {
        self.payload.as_ref()?.get(path)
    }

    fn payload(&self) -> Option<JsonValue<'_>> {
        self.payload.as_ref()?.root()
    }
}

impl Event<'_> {
    /// Whether the event itself has a core field.
    fn names(&self, name: &str) -> bool {
        if name == "id" { self.id.is_some() } else { self.get(name).is_some() }
    }
}

/// What holds for the attributes of every event: number, names, none twice.
fn check(attributes: &[(String, attribute::Value)]) -> Result<(), String> {
    let body =
        attributes.iter().fold(BodyBuilder::new(), |body, (name, value)| body.attribute(name, value.view()));
    body.build().map(drop).map_err(|error| error.to_string())
}

fn view(value: &attribute::Value) -> Value<'_> {
    match value {
        attribute::Value::Bool(value) => Value::Bool(*value),
        attribute::Value::Int(value) => Value::Int(*value),
        attribute::Value::Float(value) => Value::Float(*value),
        attribute::Value::Text(value) => Value::Str(value),
    }
}

fn timestamp(time: fanal_protocol::Timestamp) -> fanal_matching::Timestamp {
    fanal_matching::Timestamp { seconds: time.seconds, nanos: time.nanos }
}
