//! Walks through schemas and answers: the strict form, references, which members there are.
//!
//! Paths are written as jq would: `peers[].rtt_ms`; `[]` is every item of a list.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords whose value is a schema.
pub const ONE: [&str; 6] = ["items", "additionalProperties", "not", "if", "then", "else"];
/// Keywords whose value is a list of schemas.
pub const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords whose value is a map of schemas.
pub const MAPS: [&str; 2] = ["properties", "$defs"];

/// The schema with everything below it changed by `change`, the innermost first.
fn rebuilt(schema: &Value, change: &impl Fn(Map<String, Value>) -> Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (keyword, value) in members {
        let keyword_is = |list: &[&str]| list.contains(&keyword.as_str());
        let value = match value {
            value if keyword_is(&ONE) => rebuilt(value, change),
            Value::Array(list) if keyword_is(&LISTS) => {
                list.iter().map(|schema| rebuilt(schema, change)).collect()
            }
            Value::Object(map) if keyword_is(&MAPS) => {
                let rebuilt = map.iter().map(|(name, schema)| (name.clone(), rebuilt(schema, change)));
                Value::Object(rebuilt.collect())
            }
            value => value.clone(),
        };
        out.insert(keyword.clone(), value);
    }
    change(out)
}

/// Whether a schema describes the members of an object, and not only a condition on some of them.
fn describes_members(schema: &Map<String, Value>) -> bool {
    schema.contains_key("properties") && schema.get("type").is_some_and(|kind| kind == "object")
}

/// The schema in which no object may have a member that is not described.
pub fn strict(schema: &Value) -> Value {
    rebuilt(schema, &|mut schema| {
        if describes_members(&schema) {
            schema.insert("unevaluatedProperties".into(), Value::Bool(false));
        }
        Value::Object(schema)
    })
}

/// The schema with what it refers to in `common` in place of the references.
///
/// # Panics
/// When a reference leads nowhere.
pub fn without_references(schema: &Value, common: &Value) -> Value {
    rebuilt(schema, &|mut schema| {
        let Some(reference) = schema.remove("$ref") else { return Value::Object(schema) };
        let pointer = reference.as_str().and_then(|text| text.strip_prefix("common.json#"));
        let target = pointer.and_then(|pointer| common.pointer(pointer)).and_then(Value::as_object);
        let mut out = target.unwrap_or_else(|| panic!("{reference} leads nowhere")).clone();
        out.extend(schema);
        Value::Object(out)
    })
}

/// Paths of the members, and of the items of lists, that a schema without references describes.
pub fn described(schema: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    describe(schema, "", &mut out);
    out
}

fn describe(schema: &Value, path: &str, out: &mut BTreeSet<String>) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let path = member_path(path, name);
        describe(member, &path, out);
        out.insert(path);
    }
    if let Some(item) = schema.get("items") {
        let path = format!("{path}[]");
        describe(item, &path, out);
        out.insert(path);
    }
    for keyword in LISTS {
        let branches = schema[keyword].as_array().into_iter().flatten();
        branches.for_each(|branch| describe(branch, path, out));
    }
}

/// Paths of the members and items of an answer that are not null.
pub fn seen(answer: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    see(answer, "", &mut out);
    out
}

fn see(answer: &Value, path: &str, out: &mut BTreeSet<String>) {
    match answer {
        Value::Null => return,
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| see(value, &member_path(path, name), out));
        }
        Value::Array(items) => items.iter().for_each(|item| see(item, &format!("{path}[]"), out)),
        _ => {}
    }
    out.insert(path.to_owned());
}

fn member_path(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Every schema in a schema, itself first, with its place as a JSON pointer.
pub fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let mut out = Vec::new();
    part(schema, String::new(), &mut out);
    out
}

fn part<'a>(schema: &'a Value, place: String, out: &mut Vec<(String, &'a Value)>) {
    out.push((place.clone(), schema));
    for keyword in ONE {
        schema.get(keyword).into_iter().for_each(|inner| part(inner, format!("{place}/{keyword}"), out));
    }
    for keyword in LISTS {
        for (at, inner) in schema[keyword].as_array().into_iter().flatten().enumerate() {
            part(inner, format!("{place}/{keyword}/{at}"), out);
        }
    }
    for keyword in MAPS {
        for (name, inner) in schema[keyword].as_object().into_iter().flatten() {
            part(inner, format!("{place}/{keyword}/{name}"), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strictness_is_for_objects_whose_members_are_described() {
        let schema = json!({
            "type": "object",
            "properties": {
                "row": { "type": "object", "properties": {} },
                "free": { "type": "object", "additionalProperties": { "type": "string" } },
            },
            "allOf": [{ "if": { "properties": { "row": true } } }],
        });
        let places = |schema: &Value| -> Vec<String> {
            let strict = strict(schema);
            let parts = parts(&strict);
            let is_strict = |(_, part): &&(String, &Value)| part.get("unevaluatedProperties").is_some();
            parts.iter().filter(is_strict).map(|(place, _)| place.clone()).collect()
        };
        assert_eq!(places(&schema), ["", "/properties/row"]);
    }

    #[test]
    fn what_is_described_and_what_is_seen_have_the_same_paths() {
        let common = json!({ "$defs": { "row": { "type": "object", "properties": { "a": {}, "b": {} } } } });
        let schema = json!({ "properties": {
            "rows": { "type": "array", "items": { "$ref": "common.json#/$defs/row" } },
            "one": { "anyOf": [{ "$ref": "common.json#/$defs/row" }, { "type": "null" }] },
        } });
        let described = described(&without_references(&schema, &common));
        let all = ["one", "one.a", "one.b", "rows", "rows[]", "rows[].a", "rows[].b"].map(str::to_owned);
        assert_eq!(described, BTreeSet::from(all));
        let seen = seen(&json!({ "rows": [{ "a": 1, "b": null }, { "b": [] }], "one": null }));
        let unseen: Vec<_> = described.difference(&seen).collect();
        assert_eq!(unseen, ["one", "one.a", "one.b"]);
    }
}
