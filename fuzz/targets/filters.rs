//! Predicates: parsing, printing, evaluation.
//!
//! 1. A filter's canonical text parses to the same canonical text, and says the same of every
//!    event.
//! 2. A refusal's place lies within the text, at a character.
//! 3. Nothing panics, whatever an event and its payload hold.
//!
//! The input is eight bytes that make the events, and the text of a predicate.
#![no_main]

use fanal_fuzz::Choices;
use fanal_matching::{Attributes, Filter, FilterError, Path, Timestamp, Truth, Value};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (seed, text) = input.split_at(input.len().min(8));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(error) => return check_refusal(text, &error),
    };
    let again = Filter::parse(filter.as_str()).expect("canonical text parses");
    assert_eq!(filter.as_str(), again.as_str());
    let seed = Choices(seed).number(8);
    for event in [Event(seed), Event(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), Event(0)] {
        assert_eq!(filter.evaluate(&event), again.evaluate(&event), "{filter}");
    }
    // Of an event without attributes only what asks for absence is true.
    if filter.evaluate(&()) == Truth::True {
        let text = filter.as_str();
        let has_reason = ["NULL", "EXISTS", "TRUE", "FALSE"].iter().any(|word| text.contains(word));
        assert!(
            has_reason || text.contains(['\'', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
            "{text}"
        );
    }
});

fn check_refusal(text: &str, error: &FilterError) {
    assert!(text.is_char_boundary(error.position), "{} in {text:?}", error.position);
    let before = &text[..error.position];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    assert_eq!(error.line, before.matches('\n').count() + 1);
    assert_eq!(error.column, before[line_start..].chars().count() + 1);
    let shown = error.to_string();
    assert!(shown.starts_with(&format!("{}:{}: ", error.line, error.column)), "{shown}");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

/// An event made of a number: which names it has and what they hold.
struct Event(u64);

const TEXTS: [&str; 10] =
    ["", "x", "xy", "it's", "é%_", "orders/eu", "5", "-2.5e3", "true", "2024-05-01T00:00:00Z"];
const FLOATS: [f64; 8] =
    [0.0, -0.0, 0.5, 1.0, 9_007_199_254_740_992.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
const INTEGERS: [i64; 6] = [0, 1, -1, 60, i64::MIN, i64::MAX];

impl Event {
    fn mixed(&self, name: &str) -> u64 {
        name.bytes().fold(self.0, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        })
    }
}

impl Attributes for Event {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let mixed = self.mixed(name);
        let pick = (mixed >> 8) as usize;
        let time = Timestamp { seconds: (pick % 3) as i64 - 1, nanos: 999_999_999 };
        match (name, mixed % 8) {
            (_, 0) => None,
            ("id" | "source" | "topic", _) => Some(Value::Str(TEXTS[pick % TEXTS.len()])),
            ("time", _) => Some(Value::Timestamp(time)),
            (_, 1) => Some(Value::Timestamp(time)),
            (_, 2) => Some(Value::Bool(pick.is_multiple_of(2))),
            (_, 3) => Some(Value::Float(FLOATS[pick % FLOATS.len()])),
            (_, 4) => Some(Value::Bytes(b"x")),
            (_, 5 | 6) => Some(Value::Int(INTEGERS[pick % INTEGERS.len()])),
            _ => Some(Value::Str(TEXTS[pick % TEXTS.len()])),
        }
    }

    /// As `get`, without timestamps, which JSON has not.
    fn data(&self, path: &Path) -> Option<Value<'_>> {
        self.get(path.as_str()).filter(|value| !matches!(value, Value::Timestamp(_)))
    }

    /// Every name is an attribute of this event: none is listed.
    fn visit<'s>(&'s self, _see: &mut dyn FnMut(&'s str, Value<'s>)) {}
}
