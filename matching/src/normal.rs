//! The normal form of a filter: what must hold for it to be *true*, without NOT.
//!
//! A [`Condition`] has two values where a filter has three: what is unknown does not hold.
//!
//! 1. `Condition::of(f)` holds for an event exactly when `f` is true of it.
//! 2. [`Condition::All`] and [`Condition::Any`] have two parts or more, flattened, sorted and
//!    distinct; neither holds [`Condition::Always`] or [`Condition::Never`].
//! 3. What the tests of one part list say about one field is merged where that is exact: in an
//!    `All` there is at most one range per field, and no two tests that contradict each other in
//!    type; in an `Any` at most one set per field, and no two ranges that meet.
//! 4. The size is linear in the filter's: nothing is multiplied out, and XOR is not opened.
//! 5. Names and texts are borrowed from the filter, as long as none has to be made.
//!
//! How a tree becomes a condition stands in `filter/lower.rs`, what is merged in `merge`.

#![allow(dead_code, reason = "the index evaluates conditions, covering and summaries compare them")]

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;

use crate::filter::{Filter, Pattern};
use crate::value::{Attributes, Timestamp, Value};

pub(crate) use text::Text;

mod hull;
mod merge;
mod owned;
mod text;

#[cfg(test)]
mod tests;

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Condition<'f> {
    /// Holds for each event.
    Always,
    /// Holds for none.
    Never,
    /// One field fulfils one check.
    Test(Test<'f>),
    /// A part that the form does not know: the filter is true.
    Other(Filter),
    /// Each of them holds.
    All(Vec<Condition<'f>>),
    /// One of them holds, or more.
    Any(Vec<Condition<'f>>),
}

/// A check of one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test<'f> {
    pub(crate) field: Field<'f>,
    pub(crate) check: Check<'f>,
}

/// What of an event is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Field<'f> {
    /// An attribute or a core field.
    Name(Text<'f>),
}

/// What a field's value must be like. None but [`Check::Absent`] holds for a field that is
/// missing, none but [`Check::Present`] for a NaN or bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Check<'f> {
    /// Equal to one of these; sorted, distinct, not empty, of any kinds.
    OneOf(Set<'f>),
    /// Of the kind of these, which they have in common, and equal to none; sorted, distinct, not
    /// empty, never booleans (what is not TRUE is FALSE).
    NoneOf(Set<'f>),
    /// Of the kind of the bounds and between them. One bound may be open, never both; there is
    /// more than one point between them. Never booleans.
    Range {
        /// Where it begins.
        low: Bound<'f>,
        /// Where it ends.
        high: Bound<'f>,
    },
    /// A text that begins with this, which is not empty.
    Prefix(Text<'f>),
    /// A text that ends with this, which is not empty.
    Suffix(Text<'f>),
    /// A text that the pattern matches, or that it does not match. Only patterns that are none of
    /// the checks above; negated ones may be a prefix or a suffix.
    Like {
        /// The pattern.
        pattern: Pattern,
        /// Whether it must not match.
        negated: bool,
    },
    /// There is a value.
    Present,
    /// There is none.
    Absent,
}

/// Constants, mostly one: that one without memory of its own.
pub(crate) type Set<'f> = SmallVec<[Constant<'f>; 1]>;

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Bound<'f> {
    /// None.
    Open,
    /// This value is in the range.
    Included(Constant<'f>),
    /// This value is not, those beyond it are.
    Excluded(Constant<'f>),
}

/// A value to compare with. Equal constants are equal values: an integral number in the range of
/// i64 is an `Int`, however it was written. Ordered by kind, then by value.
#[derive(Clone, Debug)]
pub(crate) enum Constant<'f> {
    Bool(bool),
    Int(i64),
    /// Finite, and not an `Int`.
    Float(f64),
    Str(Text<'f>),
    Timestamp(Timestamp),
}

/// The kinds of values: those of one kind compare, those of two do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Bool,
    Number,
    Str,
    Timestamp,
}

impl<'f> Condition<'f> {
    /// What must hold for `filter` to be true. `O(filter)`, but for sorting and for merging a set
    /// with patterns on the same field, which is bounded as well.
    pub(crate) fn of(filter: &'f Filter) -> Condition<'f> {
        filter.lower()
    }

    /// Whether it holds for `event`: the plain evaluation. Allocates nothing.
    pub(crate) fn holds<A: Attributes + ?Sized>(&self, event: &A) -> bool {
        match self {
            Condition::Always => true,
            Condition::Never => false,
            Condition::Test(test) => test.holds(event),
            Condition::Other(filter) => filter.evaluate(event).is_true(),
            Condition::All(parts) => parts.iter().all(|part| part.holds(event)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(event)),
        }
    }

    /// Holds always or never.
    pub(crate) fn constant(known: bool) -> Condition<'f> {
        if known { Condition::Always } else { Condition::Never }
    }

    /// `check` on `field`, in the one form that it has.
    #[inline]
    pub(crate) fn test(field: Field<'f>, check: Check<'f>) -> Condition<'f> {
        if check.is_plain() {
            return Condition::Test(Test { field, check });
        }
        check.normal().map_or(Condition::Never, |check| Condition::Test(Test { field, check }))
    }
}

impl Test<'_> {
    /// Whether the field of `event` fulfils the check.
    pub(crate) fn holds<A: Attributes + ?Sized>(&self, event: &A) -> bool {
        self.check.holds(self.field.read(event))
    }
}

/// In as few words as tell tests apart: filters are told apart by what is hashed here, and most of
/// that is tests.
impl Hash for Test<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Field::Name(name) = &self.field;
        let (tag, count) = match &self.check {
            Check::OneOf(set) => (0, set.len()),
            Check::NoneOf(set) => (1, set.len()),
            Check::Range { .. } => (2, 0),
            Check::Prefix(_) => (3, 0),
            Check::Suffix(_) => (4, 0),
            Check::Like { .. } => (5, 0),
            Check::Present => (6, 0),
            Check::Absent => (7, 0),
        };
        // A filter has fewer bytes than either may be.
        state.write_u64(tag | (count as u64) << 8 | (name.len() as u64) << 36);
        state.write(name.as_bytes());
        match &self.check {
            Check::OneOf(set) | Check::NoneOf(set) => set.iter().for_each(|constant| constant.hash(state)),
            Check::Range { low, high } => (low, high).hash(state),
            Check::Prefix(text) | Check::Suffix(text) => text.hash(state),
            Check::Like { pattern, negated } => (pattern, negated).hash(state),
            Check::Present | Check::Absent => {}
        }
    }
}

impl Field<'_> {
    /// The value that `event` has there.
    pub(crate) fn read<'e, A: Attributes + ?Sized>(&self, event: &'e A) -> Option<Value<'e>> {
        match self {
            Field::Name(name) => event.get(name),
        }
    }
}

impl Check<'_> {
    /// Whether a field with this value fulfils the check; `None` is a field that is missing.
    pub(crate) fn holds(&self, value: Option<Value<'_>>) -> bool {
        let Some(value) = value else {
            return *self == Check::Absent;
        };
        match self {
            Check::Present => true,
            Check::Absent => false,
            Check::OneOf(set) => find(set, &value).is_ok(),
            Check::NoneOf(set) => self.kind() == Kind::of(&value) && find(set, &value).is_err(),
            Check::Range { low, high } => low.is_below(&value) && high.is_above(&value),
            Check::Prefix(prefix) => text(value).is_some_and(|text| text.starts_with(&**prefix)),
            Check::Suffix(suffix) => text(value).is_some_and(|text| text.ends_with(&**suffix)),
            Check::Like { pattern, negated } => {
                text(value).is_some_and(|text| pattern.matches(text) != *negated)
            }
        }
    }

    /// The one kind of all values that fulfil the check; `None` for sets of several kinds and for
    /// presence.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Check::OneOf(set) => {
                let (first, last) = (set.first()?.kind(), set.last()?.kind());
                (first == last).then_some(first)
            }
            Check::NoneOf(set) => set.first().map(Constant::kind),
            Check::Range { low, high } => low.constant().or(high.constant()).map(Constant::kind),
            Check::Prefix(_) | Check::Suffix(_) | Check::Like { .. } => Some(Kind::Str),
            Check::Present | Check::Absent => None,
        }
    }
}

impl<'f> Bound<'f> {
    /// Its value.
    pub(crate) fn constant(&self) -> Option<&Constant<'f>> {
        match self {
            Bound::Open => None,
            Bound::Included(constant) | Bound::Excluded(constant) => Some(constant),
        }
    }

    /// Whether `value` is on the inner side of this low bound.
    fn is_below(&self, value: &Value<'_>) -> bool {
        match self {
            Bound::Open => true,
            Bound::Included(low) => low.compare(value).is_some_and(Ordering::is_le),
            Bound::Excluded(low) => low.compare(value).is_some_and(Ordering::is_lt),
        }
    }

    /// Whether `value` is on the inner side of this high bound.
    fn is_above(&self, value: &Value<'_>) -> bool {
        match self {
            Bound::Open => true,
            Bound::Included(high) => high.compare(value).is_some_and(Ordering::is_ge),
            Bound::Excluded(high) => high.compare(value).is_some_and(Ordering::is_gt),
        }
    }
}

/// 2^63, the first float above every i64.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

impl<'f> Constant<'f> {
    /// The constant of a number, in its one form.
    pub(crate) fn float(number: f64) -> Constant<'f> {
        if number.trunc() == number && (-INT_END..INT_END).contains(&number) {
            Constant::Int(number as i64)
        } else {
            Constant::Float(number)
        }
    }

    /// The set of this one.
    pub(crate) fn alone(self) -> Set<'f> {
        SmallVec::from_buf([self])
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Constant::Bool(_) => Kind::Bool,
            Constant::Int(_) | Constant::Float(_) => Kind::Number,
            Constant::Str(_) => Kind::Str,
            Constant::Timestamp(_) => Kind::Timestamp,
        }
    }

    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Constant::Bool(known) => Value::Bool(*known),
            Constant::Int(number) => Value::Int(*number),
            Constant::Float(number) => Value::Float(*number),
            Constant::Str(text) => Value::Str(text),
            Constant::Timestamp(timestamp) => Value::Timestamp(*timestamp),
        }
    }

    /// How it stands to a value of its kind; FALSE is less than TRUE. `None` for another kind.
    pub(crate) fn compare(&self, value: &Value<'_>) -> Option<Ordering> {
        match (self, value) {
            (Constant::Bool(own), Value::Bool(other)) => Some(own.cmp(other)),
            _ => self.value().compare(value),
        }
    }
}

impl Kind {
    /// The kind of a value; `None` for a NaN and for bytes, which are like no constant.
    pub(crate) fn of(value: &Value<'_>) -> Option<Kind> {
        match value {
            Value::Bool(_) => Some(Kind::Bool),
            Value::Int(_) => Some(Kind::Number),
            Value::Float(number) => (!number.is_nan()).then_some(Kind::Number),
            Value::Str(_) => Some(Kind::Str),
            Value::Timestamp(_) => Some(Kind::Timestamp),
            Value::Bytes(_) => None,
        }
    }
}

impl Ord for Constant<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Constant::Str(own), Constant::Str(other)) => own.cmp(other),
            (Constant::Int(own), Constant::Int(other)) => own.cmp(other),
            // Constants of one kind compare: none is a NaN.
            _ => {
                let by_value = || self.compare(&other.value()).unwrap_or(Ordering::Equal);
                self.kind().cmp(&other.kind()).then_with(by_value)
            }
        }
    }
}

impl PartialOrd for Constant<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Constant<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Constant<'_> {}

impl Hash for Constant<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A quick hasher takes TRUE, 1 and 5e-324 for the same word.
        let (tag, more) = match self {
            Constant::Bool(known) => (0, usize::from(*known)),
            Constant::Int(_) => (1, 0),
            Constant::Float(_) => (2, 0),
            Constant::Str(text) => (3, text.len()),
            Constant::Timestamp(_) => (4, 0),
        };
        state.write_u64(tag | (more as u64) << 8);
        match self {
            Constant::Bool(_) => {}
            Constant::Int(number) => state.write_u64(number.cast_unsigned()),
            Constant::Float(number) => state.write_u64(number.to_bits()),
            Constant::Str(text) => state.write(text.as_bytes()),
            Constant::Timestamp(timestamp) => timestamp.hash(state),
        }
    }
}

/// The place of `value` in a sorted set. `O(log set)`.
fn find(set: &[Constant], value: &Value<'_>) -> Result<usize, usize> {
    let Some(kind) = Kind::of(value) else { return Err(0) };
    set.binary_search_by(|constant| {
        constant.kind().cmp(&kind).then_with(|| constant.compare(value).unwrap_or(Ordering::Less))
    })
}

fn text(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Str(text) => Some(text),
        _ => None,
    }
}
