//! What an expression gives while a filter is evaluated: a value of the event, or one that was
//! computed, a duration among them.
//!
//! Invariant: two of them compare as [`Value`]s do, durations by their length, and a duration with
//! nothing else.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::value::{Duration, Timestamp, Value};

/// A value, borrowed from the event or the filter as far as it was not made.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum<'e> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'e, str>),
    /// What is neither text nor number: it exists and fits nothing.
    Opaque,
    Timestamp(Timestamp),
    Duration(Duration),
}

impl<'e> Datum<'e> {
    pub(super) fn borrowed(text: &'e str) -> Datum<'e> {
        Datum::Text(Cow::Borrowed(text))
    }

    /// The same, borrowed from nothing.
    pub(super) fn into_owned(self) -> Datum<'static> {
        match self {
            Datum::Bool(known) => Datum::Bool(known),
            Datum::Int(number) => Datum::Int(number),
            Datum::Float(number) => Datum::Float(number),
            Datum::Text(text) => Datum::Text(Cow::Owned(text.into_owned())),
            Datum::Opaque => Datum::Opaque,
            Datum::Timestamp(timestamp) => Datum::Timestamp(timestamp),
            Datum::Duration(length) => Datum::Duration(length),
        }
    }

    /// As what events hold, or `None` for a duration.
    pub(super) fn value(&self) -> Option<Value<'_>> {
        Some(match self {
            Datum::Bool(known) => Value::Bool(*known),
            Datum::Int(number) => Value::Int(*number),
            Datum::Float(number) => Value::Float(*number),
            Datum::Text(text) => Value::Str(text),
            Datum::Opaque => Value::Bytes(&[]),
            Datum::Timestamp(timestamp) => Value::Timestamp(*timestamp),
            Datum::Duration(_) => return None,
        })
    }

    /// As [`Value::compare`].
    pub(super) fn compare(&self, other: &Datum<'_>) -> Option<Ordering> {
        match (self, other) {
            (Datum::Duration(a), Datum::Duration(b)) => Some(a.cmp(b)),
            _ => self.value()?.compare(&other.value()?),
        }
    }

    /// As [`Value::equals`].
    pub(super) fn equals(&self, other: &Datum<'_>) -> Option<bool> {
        match (self, other) {
            (Datum::Duration(a), Datum::Duration(b)) => Some(a == b),
            _ => self.value()?.equals(&other.value()?),
        }
    }
}

impl<'e> From<Value<'e>> for Datum<'e> {
    fn from(value: Value<'e>) -> Datum<'e> {
        match value {
            Value::Bool(known) => Datum::Bool(known),
            Value::Int(number) => Datum::Int(number),
            Value::Float(number) => Datum::Float(number),
            Value::Str(text) => Datum::borrowed(text),
            Value::Bytes(_) => Datum::Opaque,
            Value::Timestamp(timestamp) => Datum::Timestamp(timestamp),
        }
    }
}
