//! The vectors of topics and predicates beside PROTOCOL.md, held against this crate.
//!
//! The files are read by their path: this crate does not depend on fanal-protocol. Their format
//! is described in `protocol/vectors/README.md`. They say what is refused and where, not in which
//! words.

#![allow(clippy::unwrap_used, reason = "a file that is not as described fails the test")]

use std::path::Path;

use fanal_matching::json::is_json;
use fanal_matching::{
    Attributes, Filter, FilterError, Index, JsonPayload, Selector, Timestamp, Topic, TopicFilter, Truth,
    Value,
};

type Json = serde_json::Value;

fn list(file: &str, key: &str) -> Vec<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let json: Json = serde_json::from_str(&text).unwrap();
    let list = json[key].as_array().expect("a list").clone();
    assert!(list.len() > 20, "{} {key} in {file}", list.len());
    list
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

#[test]
fn topics_and_topic_filters_are_taken_or_refused() {
    for vector in list("topics.json", "topics") {
        assert_eq!(Topic::parse(text(&vector["text"])).is_ok(), vector["valid"] == true, "{vector}");
    }
    for vector in list("topics.json", "filters") {
        assert_eq!(TopicFilter::parse(text(&vector["text"])).is_ok(), vector["valid"] == true, "{vector}");
    }
}

#[test]
fn topic_filters_match_their_topics_and_no_others() {
    for vector in list("topics.json", "matches") {
        let filter = TopicFilter::parse(text(&vector["filter"])).unwrap();
        let topic = Topic::parse(text(&vector["topic"])).unwrap();
        assert_eq!(filter.matches(&topic), vector["matches"] == true, "{vector}");
    }
}

/// An attribute's value; bytes are kept in `bytes`, which the value borrows.
fn value<'a>(json: &'a Json, bytes: &'a [u8]) -> Value<'a> {
    match json {
        Json::Bool(known) => Value::Bool(*known),
        Json::Number(number) => Value::Int(number.as_i64().expect("an i64")),
        Json::String(text) => Value::Str(text),
        _ if json.get("float").is_some() => Value::Float(text(&json["float"]).parse().expect("a float")),
        _ if json.get("timestamp").is_some() => Value::Timestamp(Timestamp {
            seconds: json["timestamp"]["seconds"].as_i64().unwrap(),
            nanos: u32::try_from(json["timestamp"]["nanos"].as_u64().unwrap()).unwrap(),
        }),
        _ => Value::Bytes(bytes),
    }
}

fn bytes(json: &Json) -> Vec<u8> {
    let digits = json.get("hex").and_then(Json::as_str).unwrap_or_default();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The payload of an event whose content type is JSON's; without the member it is empty.
fn payload(event: &Json) -> Option<JsonPayload<'_>> {
    let content_type = event.get("content_type").map(text);
    is_json(content_type).then(|| JsonPayload::new(event.get("payload").map_or("", text).as_bytes()))
}

fn truth(json: &Json) -> Truth {
    match text(json) {
        "true" => Truth::True,
        "false" => Truth::False,
        "unknown" => Truth::Unknown,
        other => panic!("no truth value: {other}"),
    }
}

/// An event of a vector, for `see`.
fn with_event<R>(event: &Json, see: impl FnOnce(&dyn Attributes) -> R) -> R {
    let members = event["attributes"].as_object().unwrap();
    let held: Vec<Vec<u8>> = members.values().map(bytes).collect();
    let attributes: Vec<(&String, Value<'_>)> =
        members.iter().zip(&held).map(|((name, json), held)| (name, value(json, held))).collect();
    match payload(event) {
        Some(payload) => see(&(&attributes as &dyn Attributes, payload)),
        None => see(&attributes),
    }
}

/// All predicates at once, every event of each.
#[test]
fn predicates_say_the_same_through_the_index() {
    let index = Index::new();
    let mut filters = Vec::new();
    let mut events = Vec::new();
    for (file, parse, _) in PREDICATES {
        for vector in list(file, "vectors") {
            filters.push(parse(text(&vector["text"])).unwrap());
            events.extend(vector["events"].as_array().unwrap().iter().cloned());
        }
    }
    for (number, filter) in filters.iter().enumerate() {
        let topic = TopicFilter::parse("#").unwrap();
        index.insert(Selector { predicate: Some(filter.clone()), ..Selector::new(topic) }, number);
    }
    let mut route = index.route(&Topic::parse("a").unwrap());
    for event in &events {
        with_event(event, |event| {
            let mut found = Vec::new();
            index.visit(&mut route, event, |_, number| found.push(*number));
            found.sort_unstable();
            let wanted = (0..filters.len()).filter(|number| filters[*number].evaluate(event).is_true());
            assert_eq!(found, wanted.collect::<Vec<_>>());
        });
    }
}

/// How a file's predicates are read.
type Parse = fn(&str) -> Result<Filter, FilterError>;

const PREDICATES: [(&str, Parse, usize); 3] = [
    ("predicates.json", Filter::parse, 100),
    ("strict.json", Filter::parse_strict, 50),
    ("dialects.json", Filter::parse, 60),
];

#[test]
fn predicates_have_their_canonical_text_and_say_what_they_should() {
    for (file, parse, events_min) in PREDICATES {
        let vectors = list(file, "vectors");
        let events: usize = vectors.iter().map(|vector| check_predicate(vector, parse)).sum();
        assert!(events > events_min, "{events} events in {file}");
    }
}

/// Returns how many events there were.
fn check_predicate(vector: &Json, parse: Parse) -> usize {
    let name = text(&vector["name"]);
    let filter = parse(text(&vector["text"])).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(filter.as_str(), text(&vector["canonical"]), "{name}");
    assert_eq!(parse(filter.as_str()).unwrap().as_str(), filter.as_str(), "{name}");
    let events = vector["events"].as_array().unwrap();
    for event in events {
        let says = with_event(event, |event| filter.evaluate(event));
        assert_eq!(says, truth(&event["result"]), "{name}: {event}");
    }
    events.len()
}

#[test]
fn refused_predicates_are_refused_at_their_place() {
    for (file, parse, _) in PREDICATES {
        for vector in list(file, "refused") {
            let name = text(&vector["name"]);
            let error = match parse(text(&vector["text"])) {
                Err(error) => error,
                Ok(filter) => panic!("{name} was read as {filter}"),
            };
            let place = [error.line, error.column, error.position].map(|number| number as u64);
            let expected = ["line", "column", "position"].map(|part| vector[part].as_u64().unwrap());
            assert_eq!(place, expected, "{name}: {error}");
            assert_eq!(vector["code"], 422);
        }
    }
}

/// TRUE, 1 and the float with the bits of 1 had one hash, and the index took their filters for one.
#[test]
fn constants_of_one_hash_are_not_one_filter() {
    let index = Index::new();
    for (number, filter) in ["a = TRUE", "a = 1", "a = 5e-324", "a = FALSE", "a = 0"].iter().enumerate() {
        let predicate = Some(Filter::parse(filter).unwrap());
        index.insert(Selector { predicate, ..Selector::new(TopicFilter::parse("#").unwrap()) }, number);
    }
    let mut route = index.route(&Topic::parse("a").unwrap());
    let values = [Value::Bool(true), Value::Int(1), Value::Float(5e-324), Value::Bool(false), Value::Int(0)];
    for (number, value) in values.into_iter().enumerate() {
        let mut found = Vec::new();
        index.visit(&mut route, &[("a", value)], |_, number| found.push(*number));
        assert_eq!(found, [number], "{value:?}");
    }
}
