//! CloudEvents SQL 1.0 to the letter, and nothing else: the strict mode of the filter language.
//!
//! 1. The text of the specification holds; where its grammar file differs (`''` within a string,
//!    AND, OR and XOR from right to left) the text is followed. AND, OR and XOR stand on one level
//!    and are read from left to right, NOT and `-` bind tightest.
//! 2. Evaluation is total: it gives a value and at most one error, the first, in the order in which
//!    operands are evaluated (section 4.1, "fail fast"). What depends on a failed operand gives
//!    the zero value of its own type.
//! 3. An [`Expression`] that exists is bounded by [`super::TEXT_BYTES_MAX`], [`super::DEPTH_MAX`]
//!    and [`super::NODES_MAX`]; an evaluation works on at most [`WORK_BYTES_MAX`] bytes.
//! 4. The canonical text parses to an equal expression.
//!
//! Integers have 32 bits; one that overflows gives 0 and a math error. An attribute that is no
//! truth value, 32-bit integer or text is read as text (section 3.2): other numbers in digits, whole ones without a point,
//! timestamps as RFC 3339 in UTC, bytes as Base64. The stages: `lexer`, `parser`, `tree`, `print`,
//! `functions`, `evaluate`.
//! Not here: what the default mode adds to the language or refuses.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::error::{FilterError, FilterErrorReason};
use super::{TEXT_BYTES_MAX, Truth, types};
use crate::value::Attributes;

mod evaluate;
mod explain;
mod functions;
mod lexer;
mod parser;
mod print;
mod tree;

#[cfg(test)]
mod tests;

/// The most bytes of text that one evaluation builds, searches, compares and casts to integers.
pub const WORK_BYTES_MAX: usize = 4 << 20;

/// An expression of CESQL: parsed and bounded.
///
/// Displays its canonical text. Equal and hashed by it: expressions that differ in spacing, case of
/// keywords, quotes or needless parentheses are equal.
pub struct Expression {
    canonical: Box<str>,
    root: tree::Node,
    unknown: Option<parser::UnknownFunction>,
}

impl Expression {
    /// Reads an expression. `O(bytes)`. A function that CESQL does not have is no mistake here: it
    /// gives an error when it is called (section 3.5).
    ///
    /// # Errors
    /// The first mistake, with its place and what was expected there; an expression over a bound is
    /// refused with the bound's name. [`ErrorKind::of`] tells the two apart.
    pub fn parse(text: &str) -> Result<Expression, FilterError> {
        let parser::Parsed { root, unknown } = parser::parse(text)?;
        let canonical = print::print(&root);
        if canonical.len() > TEXT_BYTES_MAX {
            let reason = FilterErrorReason::CanonicalTooLong { got: canonical.len(), limit: TEXT_BYTES_MAX };
            return Err(FilterError::new(text, 0, reason));
        }
        Ok(Expression { canonical: canonical.into(), root, unknown })
    }

    /// Reads an expression that is to decide about events.
    ///
    /// # Errors
    /// As [`Expression::parse`]; and what could never be true: an expression that is always a number
    /// or a string (section 1.2). A function that CESQL does not have is refused as well.
    pub fn parse_filter(text: &str) -> Result<Expression, FilterError> {
        let expression = Expression::parse(text)?;
        if let Some(unknown) = expression.unknown {
            return Err(FilterError::new(text, unknown.position, unknown.reason));
        }
        match functions::type_of(&expression.root) {
            None | Some(tree::Type::Bool) => Ok(expression),
            Some(found) => {
                let position = text.len() - text.trim_start().len();
                let reason = FilterErrorReason::NotACondition { found: types::Type::from(found).into() };
                Err(FilterError::new(text, position, reason))
            }
        }
    }

    /// The value for `event`, and the first error if there was one. Takes time linear in the nodes,
    /// and at most [`WORK_BYTES_MAX`] bytes of text.
    pub fn evaluate<A: Attributes + ?Sized>(&self, event: &A) -> Outcome {
        match evaluate::evaluate(&self.root, event) {
            Ok(value) => Outcome { value: value.into(), error: None },
            Err(failure) => Outcome { value: failure.value.into(), error: Some(failure.kind) },
        }
    }

    /// What the expression says as a filter (section 1.2): unknown on any error and for any value
    /// that is no truth value. It is not cast.
    pub fn truth<A: Attributes + ?Sized>(&self, event: &A) -> Truth {
        match evaluate::evaluate(&self.root, event) {
            Ok(tree::Value::Bool(known)) => Truth::from(known),
            _ => Truth::Unknown,
        }
    }

    /// The canonical text: parses to an equal expression, equal expressions have the same.
    pub fn as_str(&self) -> &str {
        &self.canonical
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.as_str()).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// What an evaluation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The value; with an error the one that section 3 sets for it.
    pub value: Primitive,
    /// The first error.
    pub error: Option<ErrorKind>,
}

/// A value of one of CESQL's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// True or false.
    Bool(bool),
    /// A 32-bit integer.
    Int(i32),
    /// Text.
    Str(String),
}

impl From<tree::Value<'_>> for Primitive {
    fn from(value: tree::Value<'_>) -> Primitive {
        match value {
            tree::Value::Bool(known) => Primitive::Bool(known),
            tree::Value::Int(number) => Primitive::Int(number),
            tree::Value::Str(text) => Primitive::Str(text.into_owned()),
        }
    }
}

/// The errors of CESQL (section 3.3). Displays the name that its test kit has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is no expression.
    Parse,
    /// Division by 0, or a result that is no 32-bit integer.
    Math,
    /// A text that spells no value of the type that is needed.
    Cast,
    /// A function that there is not, or not with so many arguments.
    MissingFunction,
    /// An argument that a function does not take.
    FunctionEvaluation,
    /// An attribute that the event does not have.
    MissingAttribute,
    /// A bound: of the text, or [`WORK_BYTES_MAX`].
    Generic,
}

impl ErrorKind {
    /// The kind of an error that [`Expression::parse`] gave: [`ErrorKind::Generic`] for a bound, else
    /// [`ErrorKind::Parse`].
    pub fn of(error: &FilterError) -> ErrorKind {
        match error.reason {
            FilterErrorReason::TooLong { .. }
            | FilterErrorReason::CanonicalTooLong { .. }
            | FilterErrorReason::TooDeep { .. }
            | FilterErrorReason::TooManyNodes { .. }
            | FilterErrorReason::PatternTooLong { .. } => ErrorKind::Generic,
            _ => ErrorKind::Parse,
        }
    }

    /// The name, as the test kit spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Parse => "parse",
            ErrorKind::Math => "math",
            ErrorKind::Cast => "cast",
            ErrorKind::MissingFunction => "missingFunction",
            ErrorKind::FunctionEvaluation => "functionEvaluation",
            ErrorKind::MissingAttribute => "missingAttribute",
            ErrorKind::Generic => "generic",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
