//! Predicates in JSON: filters of CloudEvents, patterns of EventBridge.
//!
//! 1. What JSON is translated to is true exactly where the JSON itself, as an embedded condition, is;
//!    that is never unknown.
//! 2. The canonical text parses to the same canonical text, and says the same of every event.
//! 3. A refusal's place lies within the text, at a character; JSON that serde_json refuses is refused.
//!
//! The input is eight bytes that make the events and choose a payload, and the text of a predicate.
#![no_main]

use fanal_fuzz::Choices;
use fanal_fuzz::filters::{Event, check_refusal};
use fanal_matching::{Filter, JsonPayload, Truth};

const PAYLOADS: [&str; 6] = [
    r#"{"a": "x", "b": [1, "xy", null], "items": [{"sku": "a", "count": 1}, {"sku": "b"}]}"#,
    r#"{"a": {"b": ["x", ["y"]]}, "state": "running", "tags": [], "n": 5.0}"#,
    r#"[{"a": "x"}, {"b": true, "ip": "10.1.2.3"}, [{"a": 60}]]"#,
    r#"{"p": [{"q": [{"r": "x"}, {"r": 0, "s": null}]}, {"q": {"s": -1}}], "items": {}}"#,
    "\"x\"",
    "no JSON",
];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (seed, text) = input.split_at(input.len().min(8));
    let Ok(text) = std::str::from_utf8(text) else { return };
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with(['{', '[']) {
        return;
    }
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(error) => return check_refusal(text, &error),
    };
    assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
    let again = Filter::parse(filter.as_str()).expect("canonical text parses");
    assert_eq!(filter.as_str(), again.as_str());
    let embedded = embedded(text);
    let seed = Choices(seed).number(8);
    for seed in [seed, seed.wrapping_add(0x9e37_79b9_7f4a_7c15), 0] {
        let payload = JsonPayload::new(PAYLOADS[(seed % 6) as usize].as_bytes());
        let event = (Event(seed), payload);
        let truth = filter.evaluate(&event);
        assert_eq!(truth, again.evaluate(&event), "{filter}");
        if let Some(embedded) = &embedded {
            let expected = embedded.evaluate(&event);
            assert_ne!(expected, Truth::Unknown, "{embedded}");
            assert_eq!(truth.is_true(), expected.is_true(), "{text} as {filter}");
        }
    }
});

/// The JSON as a condition, read by the language that takes it; `None` if escapes make it too long.
fn embedded(text: &str) -> Option<Filter> {
    let quoted = text.replace('\\', "\\\\").replace('\'', "\\'");
    let parse = |language: &str| Filter::parse(&format!("{language}('{quoted}')"));
    match (parse("CLOUDEVENTS"), parse("EVENTBRIDGE")) {
        (Ok(_), Ok(_)) => panic!("both read {text}"),
        (Ok(filter), Err(_)) | (Err(_), Ok(filter)) => Some(filter),
        (Err(_), Err(_)) => {
            assert!(quoted.len() > 4_000, "none reads {text}");
            None
        }
    }
}
