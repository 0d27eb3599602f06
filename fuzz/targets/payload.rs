//! Paths and JSON payloads.
//!
//! 1. A path's canonical text parses to the same path; a refusal's place lies within the text, at a
//!    character.
//! 2. A payload holds at a path what serde_json's own tree of it holds there; one that serde_json
//!    refuses holds nothing.
//!
//! The input is a path, a line feed, and a payload.
#![no_main]

use fanal_matching::path::Segment;
use fanal_matching::{JsonPayload, Path, Value};

type Json = serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (Some(path), Some(payload)) = (parts.next(), parts.next()) else { return };
    let Ok(path) = std::str::from_utf8(path) else { return };
    match Path::parse(path) {
        Err(error) => assert!(path.is_char_boundary(error.position), "{} in {path:?}", error.position),
        Ok(path) => {
            assert_eq!(Path::parse(path.as_str()), Ok(path.clone()));
            let read = JsonPayload::new(payload);
            check(read.get(&path), serde_json::from_slice(payload).ok().as_ref(), &path);
        }
    }
});

/// The payload may also be nothing where it nests deeper than paths go.
fn check(value: Option<Value<'_>>, tree: Option<&Json>, path: &Path) {
    let is_too_deep = tree.is_some_and(|tree| depth(tree) > fanal_matching::path::PATH_SEGMENTS_MAX);
    let place = tree.filter(|_| !is_too_deep).and_then(|tree| {
        path.segments().iter().try_fold(tree, |tree, segment| match segment {
            Segment::Member(name) => tree.as_object()?.get(&**name),
            Segment::Element(index) => tree.as_array()?.get(*index as usize),
        })
    });
    match (place, value) {
        (None | Some(Json::Null), None) => {}
        (Some(Json::Bool(known)), Some(Value::Bool(got))) => assert_eq!(*known, got),
        (Some(Json::String(text)), Some(Value::Str(got))) => assert_eq!(text, got),
        (Some(Json::Array(_) | Json::Object(_)), Some(Value::Bytes(_))) => {}
        (Some(Json::Number(number)), Some(Value::Int(got))) => {
            assert!(
                number.as_i64() == Some(got) || number.as_f64() == Some(0.0) && got == 0,
                "{number} {got}"
            );
        }
        (Some(Json::Number(number)), Some(Value::Float(got))) => {
            assert!(number.as_i64().is_none() && number.as_f64() == Some(got), "{number} {got}");
        }
        (place, value) => panic!("{path}: {place:?} {value:?}"),
    }
}

fn depth(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
