//! Answers with one thing wrong, made from a real one and its schema.
//!
//! Each must be refused: what is accepted all the same is described too loosely, or the validator
//! does not run. Only what the schema describes is changed.

use serde_json::{Value, json};

/// A member that no schema describes.
pub const STRANGER: &str = "not_described";

/// One wrong answer.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// What was done to it.
    pub what: String,
    /// The answer.
    pub answer: Value,
}

/// A change at one place of an answer.
struct Change {
    place: String,
    what: &'static str,
    /// `None`: taken out.
    value: Option<Value>,
}

/// Wrong answers: a required member is missing, or a value is of the wrong kind or out of range.
pub fn wrong(schema: &Value, answer: &Value) -> Vec<Mutant> {
    let mut changes = Vec::new();
    collect(schema, answer, "", &mut changes);
    changes.iter().map(|change| mutant(answer, change)).collect()
}

/// Answers that have one more member, in each object whose members are described.
pub fn extended(schema: &Value, answer: &Value) -> Vec<Mutant> {
    let mut objects = Vec::new();
    each(schema, answer, "", &mut |schema, value, place| {
        if schema.get("properties").is_some() && value.is_object() {
            objects.push(place.to_owned());
        }
    });
    let add = |place: &String| {
        let change =
            Change { place: format!("{place}/{STRANGER}"), what: "added", value: Some(Value::Bool(true)) };
        mutant(answer, &change)
    };
    objects.iter().map(add).collect()
}

fn collect(schema: &Value, answer: &Value, place: &str, out: &mut Vec<Change>) {
    each(schema, answer, place, &mut |schema, value, place| {
        let mut push = |place: String, what, value| out.push(Change { place, what, value });
        if value.is_object() {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                push(format!("{place}/{name}"), "missing", None);
            }
        }
        if is_bound(schema) {
            push(place.to_owned(), "of the wrong kind", Some(json!([[[]]])));
        }
        let branches = schema["anyOf"].as_array().into_iter().flatten();
        for schema in branches.chain([schema]) {
            if schema.get("minimum").is_some() && value.is_number() {
                push(place.to_owned(), "below the range", Some(json!(-1)));
            }
            let is_form = ["pattern", "minLength"].iter().any(|keyword| schema.get(*keyword).is_some());
            if is_form && value.is_string() {
                push(place.to_owned(), "without form", Some(json!("")));
            }
            if schema.get("enum").is_some() {
                push(place.to_owned(), "of no known word", Some(json!("no such word")));
            }
        }
    });
}

/// Whether a schema says anything about the value.
fn is_bound(schema: &Value) -> bool {
    ["type", "enum", "const", "anyOf"].iter().any(|keyword| schema.get(*keyword).is_some())
}

/// Visits every value that is described, with its schema and place.
fn each(schema: &Value, value: &Value, place: &str, visit: &mut impl FnMut(&Value, &Value, &str)) {
    visit(schema, value, place);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            each(member, value, &format!("{place}/{name}"), visit);
        }
    }
    if let (Some(item), Some(values)) = (schema.get("items"), value.as_array()) {
        for (at, value) in values.iter().enumerate() {
            each(item, value, &format!("{place}/{at}"), visit);
        }
    }
}

fn mutant(answer: &Value, change: &Change) -> Mutant {
    let Change { place, what, value } = change;
    let what = format!("`{place}` {what}");
    let (parent, name) = place.rsplit_once('/').unwrap_or_default();
    let mut answer = answer.clone();
    match (answer.pointer_mut(parent), value) {
        _ if place.is_empty() => answer = value.clone().unwrap_or_default(),
        (Some(Value::Object(members)), Some(value)) => drop(members.insert(name.to_owned(), value.clone())),
        (Some(Value::Object(members)), None) => drop(members.remove(name)),
        (Some(Value::Array(items)), Some(value)) => match name.parse::<usize>().map(|at| &mut items[at]) {
            Ok(item) => *item = value.clone(),
            Err(_) => panic!("{what}: there is no such item"),
        },
        _ => panic!("{what}: there is no such place"),
    }
    Mutant { what, answer }
}
