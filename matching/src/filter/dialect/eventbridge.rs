//! Event patterns of Amazon EventBridge, as event-ruler documents them.
//!
//! A pattern is a JSON object. Each of its members names a field and holds an array of what its value
//! may be, or an object of members within it. All members must match, and of an array one element;
//! `$or` is an array of objects one of which must match.
//!
//! 1. A member of the pattern is an attribute or a core field; `data`, or `detail` as its other name,
//!    with an object leads into the JSON payload.
//! 2. A pattern is true or false of an event; unknown only where the answer would take more than
//!    [`WORK_MAX`].
//! 3. Of a value that is an array, one element must match; the members of one object of the pattern
//!    are looked for in the same element. A member that must not exist is looked for in that element
//!    if another member was found there, else in all of them (event-ruler decides the latter by the
//!    alphabet).
//! 4. Strings compare case by case, numbers as the numbers they are. A timestamp is its RFC 3339 text
//!    in UTC, and equal to a text that means the same instant. Bytes exist and match nothing but
//!    `anything-but`.
//! 5. [`Pattern::translate`] says the same in the filter language, as far as `true` goes; what that
//!    cannot say stays as it is, within `EVENTBRIDGE('…')`.
//!
//! `read` takes a pattern from JSON, `evaluate` asks it, `write` prints and translates it.

use std::net::IpAddr;

use super::super::pattern;
use super::json::Number;

mod evaluate;
mod explain;
mod read;
mod write;

/// The most values of a payload and bytes of text that one evaluation looks at. What a pattern that would
/// need more says of the event is unknown.
const WORK_MAX: usize = 4 << 20;

/// Names of the payload.
const PAYLOAD: &[&str] = &["data", "detail"];

/// A pattern.
#[derive(Debug)]
pub(in super::super) struct Pattern(Members);

/// The members of one object. There is one or more of either kind.
#[derive(Debug, Default)]
struct Members {
    fields: Vec<Field>,
    /// Of each list one must match.
    choices: Vec<Vec<Members>>,
}

#[derive(Debug)]
struct Field {
    name: String,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    /// One of these.
    Value(Vec<Match>),
    Members(Members),
}

#[derive(Debug)]
enum Match {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    /// None of these, whatever else; the value must exist.
    AnythingBut(Refused),
    Range(Range),
    Exists(bool),
    Network(Network),
}

/// A test of a string.
#[derive(Debug)]
struct Text {
    how: How,
    ignores_case: bool,
    /// As given; of a wildcard with its escapes.
    text: String,
}

#[derive(Debug)]
enum How {
    Exact,
    Prefix,
    Suffix,
    /// `*` stands for any text.
    Wildcard(pattern::Pattern),
}

#[derive(Debug)]
enum Refused {
    Numbers(Vec<Number>),
    /// All of one kind.
    Texts(Vec<Text>),
}

/// One bound or two; a number equal to `equal` otherwise.
#[derive(Debug, Default)]
struct Range {
    equal: Option<Number>,
    low: Option<Bound>,
    high: Option<Bound>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    number: Number,
    is_included: bool,
}

/// Addresses that begin with the same bits.
#[derive(Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Wanted {
    fn is_payload(&self, name: &str) -> bool {
        matches!(self, Wanted::Members(_)) && PAYLOAD.contains(&name)
    }
}
