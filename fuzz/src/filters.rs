//! What the targets of filters share: events made of a number, and what holds of each refusal.

use fanal_matching::{Attributes, FilterError, Path, Timestamp, Value};

/// Fails if a refusal's place does not lie within the text, at a character, or its message would do
/// harm to a terminal.
pub fn check_refusal(text: &str, error: &FilterError) {
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
pub struct Event(pub u64);

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
