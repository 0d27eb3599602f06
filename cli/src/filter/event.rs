//! Events to try a filter on, in each of the forms in which people have them.
//!
//! An object with
//! 1. a `specversion` is a CloudEvent in JSON: its members but `data` and `data_base64` are attributes;
//! 2. a `topic`, or an object under `attributes`, is a line of `fanal subscribe --output json`;
//! 3. anything else is a line of `fanal publish --ndjson`: its scalars are attributes.
//!
//! Nothing is guessed beyond that: what `fanal publish` would refuse is refused here.

use fanal_matching::{Attributes, Value};
use fanal_protocol::BodyBuilder;
use fanal_protocol::body::CORE_NAMES;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::attribute::{self, parse_time};
use crate::ndjson::Fields;

/// An event, as a filter sees it.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) topic: Option<String>,
    pub(crate) id: Option<String>,
    source: Option<String>,
    time: Option<fanal_matching::Timestamp>,
    attributes: Vec<(String, attribute::Value)>,
}

/// What tells the forms apart.
#[derive(Deserialize)]
struct Form<'a> {
    #[serde(borrow)]
    specversion: Option<&'a RawValue>,
    #[serde(borrow)]
    topic: Option<&'a RawValue>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow)]
    gap: Option<&'a RawValue>,
}

/// A line of `fanal subscribe --output json`, as far as a filter sees it.
#[derive(Deserialize)]
struct Delivery<'a> {
    topic: Option<String>,
    id: Option<String>,
    source: Option<String>,
    time: Option<String>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
}

impl Event {
    /// Reads one object; `None`: a gap that `fanal subscribe` told between its deliveries.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub(crate) fn read(line: &[u8]) -> Result<Option<Event>, String> {
        let form: Form<'_> = match serde_json::from_slice(line) {
            Ok(form) => form,
            // Said by the reader of lines, in words for people.
            Err(_) => return Event::flat(line).map(Some),
        };
        let is_object = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get().starts_with('{'));
        if form.specversion.is_none() && (form.topic.is_some() || is_object(form.attributes)) {
            return Event::delivery(line).map(Some);
        }
        if is_object(form.gap) {
            return Ok(None);
        }
        let mut event = Event::flat(line)?;
        if form.specversion.is_some() {
            event.attributes.retain(|(name, _)| name != "data" && name != "data_base64");
        }
        Ok(Some(event))
    }

    fn flat(line: &[u8]) -> Result<Event, String> {
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
        })
    }

    fn delivery(line: &[u8]) -> Result<Event, String> {
        let delivery: Delivery<'_> = serde_json::from_slice(line)
            .map_err(|error| format!("not as `fanal subscribe --output json` prints events: {error}"))?;
        let attributes = match delivery.attributes.map(RawValue::get) {
            None | Some("null") => Vec::new(),
            Some(attributes) => Event::attributes(attributes)?,
        };
        let time = delivery.time.map(|time| parse_time(&time)).transpose()?;
        let Delivery { topic, id, source, .. } = delivery;
        Ok(Event { topic, id, source, time: time.map(timestamp), attributes })
    }

    /// The attributes alone, which hold none of the names that every event has.
    fn attributes(text: &str) -> Result<Vec<(String, attribute::Value)>, String> {
        let event = Event::flat(text.as_bytes()).map_err(|reason| format!("attributes: {reason}"))?;
        match CORE_NAMES.iter().find(|name| event.get(name).is_some()) {
            Some(name) => {
                Err(format!("attributes: `{name}` is a field of every event: it stands beside them"))
            }
            None => Ok(event.attributes),
        }
    }
}

impl Attributes for Event {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "topic" => self.topic.as_deref().map(Value::Str),
            "id" => self.id.as_deref().map(Value::Str),
            "source" => self.source.as_deref().map(Value::Str),
            "time" => self.time.map(Value::Timestamp),
            _ => self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| view(value)),
        }
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.attributes.iter().for_each(|(name, value)| see(name, view(value)));
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
