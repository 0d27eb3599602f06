//! The filter language: what a subscription's predicate says about an event.
//!
//! CloudEvents SQL (CESQL 1.0) in the default mode (PROTOCOL.md 4.2), with what events need beyond
//! it:
//!
//! ```text
//! filter     = term, { "AND" term } | term, { "OR" term } | term, { "XOR" term }
//! term       = "NOT" term | sum [ predicate ]
//! predicate  = ( "=" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) sum
//!            | [ "NOT" ] "IN" "(" literal { "," literal } ")"
//!            | [ "NOT" ] "LIKE" string              (* % any text, _ one character, \ escapes *)
//!            | [ "NOT" ] "BETWEEN" sum "AND" sum
//!            | "IS" [ "NOT" ] "NULL"                (* after a name or a path *)
//!            | "IS" [ "NOT" ] ( "TRUE" | "FALSE" )  (* after a condition; never unknown *)
//! sum        = product { ( "+" | "-" ) product }
//! product    = factor { ( "*" | "/" | "%" ) factor }
//! factor     = "-" factor | value
//! value      = literal | name | path | "EXISTS" ( name | path ) | "(" filter ")"
//!            | function "(" [ filter { "," filter } ] ")"
//!            | ( "CESQL" | "CLOUDEVENTS" | "EVENTBRIDGE" ) "(" string ")"
//! path       = "data" member { member }           (* without space *)
//! member     = "." name | "[" string "]" | "[" digits "]"
//! literal    = [ "-" ] number | string | "TRUE" | "FALSE" | "TIMESTAMP" "(" string ")"
//! ```
//!
//! 1. Three-valued and order-free (Kleene, as in SQL): what is missing, does not fit or fails is
//!    unknown, and no rewriting of AND, OR, XOR and NOT changes an answer.
//! 2. No implicit casts; i64 and f64 compare exactly; a NaN compares with nothing. Arithmetic
//!    rounds a result at most, never an operand.
//! 3. What CESQL and SQL would read differently is refused, with both readings.
//! 4. A [`Filter`] that exists is bounded by [`TEXT_BYTES_MAX`], [`DEPTH_MAX`], [`NODES_MAX`] and
//!    [`COST_MAX`]; its canonical text is within the bounds as well and parses to an equal filter.
//! 5. Evaluation takes time linear in the filter and in the texts compared. It allocates nothing
//!    but the texts that CONCAT, CONCAT_WS, LOWER, STRING and UPPER make: at most
//!    [`COST_MAX`] / [`MAKING_COST`] of [`MADE_TEXT_BYTES_MAX`] each, 1 MiB; conditions in other
//!    languages have bounds of their own.
//! 6. What is constant is computed once, when the filter is read: `60 * 60` is `3600`.
//!
//! Keywords and function names are read in any case, names of attributes exactly. The stages, in
//! order: `lexer`, `parser` (with `types`), `tree`, `print`, `evaluate` (with `datum`,
//! `arithmetic`, `function`).
//! Strict mode is CESQL to the letter and stands apart in [`strict`]. Filters in JSON, of CloudEvents
//! and of EventBridge, are translated in `dialect`.
//! Not here: reading a payload (`crate::json`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Not;
use std::str::FromStr;
use std::sync::Arc;

use crate::path::Path;
use crate::value::Attributes;

pub use error::{Dialect, Expected, FilterError, FilterErrorReason};
pub use explain::{Clause, Explanation, Reading};
pub use function::MADE_TEXT_BYTES_MAX;
pub use types::{Type, Types};

pub(crate) use pattern::{Element as PatternElement, Pattern};

mod arithmetic;
mod datum;
mod dialect;
mod error;
mod evaluate;
mod explain;
mod function;
mod lexer;
mod lower;
mod near;
mod parser;
mod pattern;
mod print;
pub mod strict;
mod tree;
mod types;

#[cfg(test)]
mod tests;

/// The longest filter in bytes, as given and in canonical form.
pub const TEXT_BYTES_MAX: usize = 16 * 1_024;

/// The deepest nesting of parentheses, NOT and minus.
pub const DEPTH_MAX: usize = 64;

/// The most names, literals and operators in a filter.
pub const NODES_MAX: usize = 4_096;

/// The most that evaluating a filter may cost: [`MAKING_COST`] for each call of a function that
/// makes a text (CONCAT, CONCAT_WS, LOWER, STRING, UPPER) and for each condition in another
/// language, 1 for all else that [`NODES_MAX`] counts.
pub const COST_MAX: usize = 8_192;

/// What a call that makes a text costs, and a condition in another language.
pub const MAKING_COST: usize = 128;

/// A predicate: parsed, checked and bounded. Cheap to clone.
///
/// Displays its canonical text. Equal, ordered and hashed by it and by the mode: filters that differ
/// in spacing, case of keywords, quotes, needless parentheses, spelling of numbers, the order of an
/// IN list or constants not yet computed are equal. A filter in strict mode equals none in default
/// mode.
#[derive(Clone)]
pub struct Filter(Arc<Parsed>);

enum Parsed {
    Default { canonical: Box<str>, tree: tree::Tree },
    Strict(strict::Expression),
}

impl Filter {
    /// Reads and checks a filter. `O(bytes)`, but for sorting IN lists.
    ///
    /// A text that begins with `{` or `[` is a filter of the CloudEvents Subscriptions API or a pattern
    /// of Amazon EventBridge, in JSON, and is translated.
    ///
    /// # Errors
    /// The first mistake, with its place and what was expected there; a filter over a bound is
    /// refused with the bound's name.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if !dialect::is_json(text) {
            return Filter::parse_default(text);
        }
        if text.len() > TEXT_BYTES_MAX {
            let reason = FilterErrorReason::TooLong { got: text.len(), limit: TEXT_BYTES_MAX };
            return Err(FilterError::new(text, 0, reason));
        }
        // What is translated is refused for nothing but its size, which has no place in the JSON.
        Filter::parse_default(&dialect::translate(text)?)
            .map_err(|error| FilterError::new(text, 0, error.reason))
    }

    fn parse_default(text: &str) -> Result<Filter, FilterError> {
        let mut tree = parser::parse(text)?;
        let canonical = print::print(&tree, tree.root());
        if canonical.len() > TEXT_BYTES_MAX {
            let reason = FilterErrorReason::CanonicalTooLong { got: canonical.len(), limit: TEXT_BYTES_MAX };
            return Err(FilterError::new(text, 0, reason));
        }
        // Nested chains of one connective leave up to DEPTH_MAX copies of their operands behind;
        // the canonical text has none to flatten.
        if tree.has_unused() {
            tree = parser::parse(&canonical)?;
        }
        Ok(Filter(Arc::new(Parsed::Default { canonical: canonical.into(), tree })))
    }

    /// Reads and checks a filter in strict mode: CESQL 1.0 and nothing else. `O(bytes)`.
    ///
    /// # Errors
    /// As [`Filter::parse`]; an expression that is never a truth value, and a function that CESQL
    /// does not have, are refused too.
    pub fn parse_strict(text: &str) -> Result<Filter, FilterError> {
        let expression = strict::Expression::parse_filter(text)?;
        Ok(Filter(Arc::new(Parsed::Strict(expression))))
    }

    /// Whether this is a filter in strict mode, whose text only [`Filter::parse_strict`] reads.
    pub fn is_strict(&self) -> bool {
        matches!(*self.0, Parsed::Strict(_))
    }

    /// What the filter says about `event`; only [`Truth::True`] is a match. `O(nodes)` calls of
    /// [`Attributes::get`] and comparisons; allocates texts that functions make and nothing else.
    ///
    /// In strict mode an error and a value that is no truth value are [`Truth::Unknown`], and at
    /// most [`strict::WORK_BYTES_MAX`] of text are built.
    pub fn evaluate<A: Attributes + ?Sized>(&self, event: &A) -> Truth {
        match &*self.0 {
            Parsed::Default { tree, .. } => evaluate::evaluate(tree, event),
            Parsed::Strict(expression) => expression.truth(event),
        }
    }

    /// What evaluating costs at most, up to [`COST_MAX`]; in strict mode 0, its bounds being others.
    pub fn cost(&self) -> usize {
        self.tree().map_or(0, tree::Tree::cost)
    }

    /// The paths into the payload that it mentions, each as often as it does; without any,
    /// evaluating never asks for [`Attributes::data`].
    pub fn paths(&self) -> &[Path] {
        self.tree().map_or(&[], tree::Tree::paths)
    }

    /// The canonical text: parses, in the same mode, to an equal filter; equal filters have the same.
    pub fn as_str(&self) -> &str {
        match &*self.0 {
            Parsed::Default { canonical, .. } => canonical,
            Parsed::Strict(expression) => expression.as_str(),
        }
    }

    /// The parsed filter; `None` in strict mode.
    fn tree(&self) -> Option<&tree::Tree> {
        match &*self.0 {
            Parsed::Default { tree, .. } => Some(tree),
            Parsed::Strict(_) => None,
        }
    }

    fn identity(&self) -> (bool, &str) {
        (self.is_strict(), self.as_str())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_strict() { "Filter::Strict" } else { "Filter" };
        f.debug_tuple(name).field(&self.as_str()).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.identity() == other.identity()
    }
}

impl Eq for Filter {}

impl PartialOrd for Filter {
    fn partial_cmp(&self, other: &Filter) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Filter {
    fn cmp(&self, other: &Filter) -> std::cmp::Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for Filter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Filter, FilterError> {
        Filter::parse(text)
    }
}

/// The truth values of Kleene's three-valued logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    /// The event matches.
    True,
    /// The event does not match.
    False,
    /// Something was missing or did not fit; not a match.
    Unknown,
}

impl Truth {
    /// Whether this is [`Truth::True`].
    pub fn is_true(self) -> bool {
        self == Truth::True
    }

    /// True if `known` is, unknown without it.
    pub(crate) fn from_option(known: Option<bool>) -> Truth {
        match known {
            Some(true) => Truth::True,
            Some(false) => Truth::False,
            None => Truth::Unknown,
        }
    }

    /// The opposite if `negated`.
    pub(crate) fn negate_if(self, negated: bool) -> Truth {
        if negated { !self } else { self }
    }

    /// False if one is, else unknown if one is.
    pub(crate) fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::True, Truth::True) => Truth::True,
            _ => Truth::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(known: bool) -> Truth {
        if known { Truth::True } else { Truth::False }
    }
}

impl Not for Truth {
    type Output = Truth;

    fn not(self) -> Truth {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
        }
    }
}
