//! Values that an event carries, and how a filter reads them.
//!
//! 1. Nothing is cast: a comparison is defined between two numbers, two strings, two booleans or
//!    two timestamps, and undefined otherwise.
//! 2. i64 and f64 compare as the numbers that they are, never through a conversion that rounds.
//! 3. A NaN compares with nothing, itself included.
//!
//! Byte strings exist (`EXISTS`, `IS NULL`) but compare with nothing; JSON objects and arrays are
//! seen as empty ones.

use std::cmp::Ordering;

use crate::json::JsonValue;
use crate::path::Path;

pub use duration::{Duration, DurationError};
pub use timestamp::{Timestamp, TimestampError};

mod duration;
mod timestamp;

/// The value of one attribute or core field, borrowed from the event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A 64-bit float.
    Float(f64),
    /// UTF-8 text, compared by bytes.
    Str(&'a str),
    /// Bytes that are not text.
    Bytes(&'a [u8]),
    /// A point in time.
    Timestamp(Timestamp),
}

impl Value<'_> {
    /// How `self` stands to `other`, or `None` if the two have no order: types that do not fit, a
    /// NaN, booleans that differ, byte strings. `O(shorter text)`.
    pub fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Value::Int(a), Value::Float(b)) => compare_int_float(*a, *b),
            (Value::Float(a), Value::Int(b)) => compare_int_float(*b, *a).map(Ordering::reverse),
            (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Whether `self` and `other` are the same, or `None` if they cannot be compared.
    pub fn equals(&self, other: &Value<'_>) -> Option<bool> {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => Some(a == b),
            (Value::Str(a), Value::Str(b)) => Some(a == b),
            _ => self.compare(other).map(Ordering::is_eq),
        }
    }
}

/// 2^63: the first float above every i64, and negated the least i64.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// Compares exactly: the float is cut to its whole part, which fits an i64 within the bounds that
/// are tested first, and its fraction decides between equal whole parts.
fn compare_int_float(int: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= INT_END {
        return Some(Ordering::Less);
    }
    if float < -INT_END {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    let fraction = float - whole;
    Some(int.cmp(&(whole as i64)).then_with(|| 0.0_f64.total_cmp(&fraction)))
}

/// An event as a filter sees it: names and values.
///
/// `get` is called once for each mention of a name that evaluation reaches. A name that the event
/// does not have is `None`. The core fields `id`, `source`, `topic` (strings) and `time` (a
/// timestamp) are asked for by these names (PROTOCOL.md 4.2).
pub trait Attributes {
    /// The value of `name`, compared case by case.
    fn get(&self, name: &str) -> Option<Value<'_>>;

    /// Calls `see` once for each attribute that `get` knows, in any order. Core fields may be left
    /// out: they are asked for by name, and only where a filter mentions them.
    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>));

    /// The value at `path` in the JSON payload, or `None` where there is none or it is null.
    /// Called only for paths that a filter mentions; see `crate::json` for what the values are.
    /// An event without a JSON payload has none.
    fn data(&self, _path: &Path) -> Option<Value<'_>> {
        None
    }

    /// The whole JSON payload, or `None` where [`Attributes::data`] has nothing either. Called only
    /// for patterns that look into it.
    fn payload(&self) -> Option<JsonValue<'_>> {
        None
    }
}

impl<T: Attributes + ?Sized> Attributes for &T {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        (**self).get(name)
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        (**self).visit(see);
    }

    fn data(&self, path: &Path) -> Option<Value<'_>> {
        (**self).data(path)
    }

    fn payload(&self) -> Option<JsonValue<'_>> {
        (**self).payload()
    }
}

/// The first pair of that name: for tests and small tools. `O(pairs)`.
impl<N: AsRef<str>> Attributes for [(N, Value<'_>)] {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.iter().find(|(key, _)| key.as_ref() == name).map(|(_, value)| *value)
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.iter().for_each(|(key, value)| see(key.as_ref(), *value));
    }
}

impl<N: AsRef<str>, const COUNT: usize> Attributes for [(N, Value<'_>); COUNT] {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        Attributes::get(self.as_slice(), name)
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        Attributes::visit(self.as_slice(), see);
    }
}

impl<N: AsRef<str>> Attributes for Vec<(N, Value<'_>)> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        Attributes::get(self.as_slice(), name)
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        Attributes::visit(self.as_slice(), see);
    }
}

/// An event without attributes.
impl Attributes for () {
    fn get(&self, _name: &str) -> Option<Value<'_>> {
        None
    }

    fn visit<'s>(&'s self, _see: &mut dyn FnMut(&'s str, Value<'s>)) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compare(a: i64, b: f64) -> Option<Ordering> {
        Value::Int(a).compare(&Value::Float(b))
    }

    #[test]
    fn integers_and_floats_compare_exactly() {
        let big = 9_007_199_254_740_992.0;
        assert_eq!(compare(9_007_199_254_740_993, big), Some(Ordering::Greater));
        assert_eq!(compare(9_007_199_254_740_992, big), Some(Ordering::Equal));
        assert_eq!(compare(i64::MAX, 9_223_372_036_854_775_807.0), Some(Ordering::Less));
        assert_eq!(compare(i64::MIN, -9_223_372_036_854_775_808.0), Some(Ordering::Equal));
        assert_eq!(compare(i64::MIN, f64::NEG_INFINITY), Some(Ordering::Greater));
        assert_eq!(compare(0, -0.0), Some(Ordering::Equal));
        assert_eq!(compare(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(compare(1, 1.5), Some(Ordering::Less));
        assert_eq!(compare(0, -0.5), Some(Ordering::Greater));
        assert_eq!(compare(1, f64::NAN), None);
    }

    #[test]
    fn types_that_do_not_fit_are_not_compared() {
        let values = [
            Value::Bool(true),
            Value::Int(1),
            Value::Str("1"),
            Value::Bytes(b"1"),
            Value::Timestamp(Timestamp { seconds: 1, nanos: 0 }),
        ];
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                let fits = i == j && !matches!(a, Value::Bytes(_));
                assert_eq!(a.equals(b), fits.then_some(true), "{a:?} {b:?}");
            }
        }
    }

    proptest! {
        /// The oracle compares in i128 scaled by 2^64, which is exact for floats of this range.
        #[test]
        fn exact_comparison_agrees_with_wide_integers(
            int in (-(1_i64 << 55)..(1_i64 << 55)),
            delta in -4_i64..=4,
            eighths in 0_u8..8,
        ) {
            let float = int as f64 + delta as f64 + f64::from(eighths) / 8.0;
            let scaled = (float * 8.0) as i128;
            prop_assert_eq!(compare(int, float), Some((i128::from(int) * 8).cmp(&scaled)));
        }
    }
}
