//! What is known of types before an event is seen.
//!
//! 1. A filter is refused only for what could never be other than unknown: `a + TRUE`,
//!    `time > '2024'`.
//! 2. Attributes have no known type, but none holds a duration; the core fields have one, because
//!    no attribute may take their names (PROTOCOL.md 4.2); JSON has no timestamps.
//!
//! Binary data is no type here: it fits nothing.

use std::fmt;
use std::ops::BitAnd;

use super::tree::Literal;

/// The types that compare with themselves and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// TRUE, FALSE and conditions.
    Bool,
    /// Integers and floats.
    Number,
    /// Texts.
    Str,
    /// Points in time.
    Timestamp,
    /// Lengths of time.
    Duration,
}

const ALL: [Type; 5] = [Type::Bool, Type::Number, Type::Str, Type::Timestamp, Type::Duration];

/// The types that something may have, depending on the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    pub(super) const NONE: Types = Types(0);
    pub(super) const BOOL: Types = Types::of(&[Type::Bool]);
    pub(super) const NUMBER: Types = Types::of(&[Type::Number]);
    pub(super) const STR: Types = Types::of(&[Type::Str]);
    pub(super) const TIMESTAMP: Types = Types::of(&[Type::Timestamp]);
    pub(super) const DURATION: Types = Types::of(&[Type::Duration]);
    pub(super) const ANY: Types = Types::of(&ALL);
    /// Those of an attribute.
    pub(super) const ATTRIBUTE: Types = Types::of(&[Type::Bool, Type::Number, Type::Str, Type::Timestamp]);
    /// Those of a value in a payload.
    pub(super) const JSON: Types = Types::of(&[Type::Bool, Type::Number, Type::Str]);

    pub(super) const fn of(types: &[Type]) -> Types {
        let mut bits = 0;
        let mut index = 0;
        while index < types.len() {
            bits |= 1 << types[index] as u8;
            index += 1;
        }
        Types(bits)
    }

    /// Whether `one` is among them.
    pub fn contains(self, one: Type) -> bool {
        self.0 & 1 << one as u8 != 0
    }

    /// The type, if there is exactly one.
    pub fn only(self) -> Option<Type> {
        let mut each = self.each();
        each.next().filter(|_| each.next().is_none())
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(super) fn with(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    pub(super) fn each(self) -> impl Iterator<Item = Type> {
        ALL.into_iter().filter(move |one| self.contains(*one))
    }

    pub(super) fn of_literal(literal: Literal) -> Types {
        match literal {
            Literal::Bool(_) => Types::BOOL,
            Literal::Int(_) | Literal::Float(_) => Types::NUMBER,
            Literal::Str(_) => Types::STR,
            Literal::Timestamp(_) => Types::TIMESTAMP,
        }
    }

    pub(super) fn of_name(name: &str) -> Types {
        match name {
            "id" | "source" | "topic" => Types::STR,
            "time" => Types::TIMESTAMP,
            _ => Types::ATTRIBUTE,
        }
    }
}

/// The types in both.
impl BitAnd for Types {
    type Output = Types;

    fn bitand(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }
}

impl From<Type> for Types {
    fn from(one: Type) -> Types {
        Types::of(&[one])
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "a truth value",
            Type::Number => "a number",
            Type::Str => "a string",
            Type::Timestamp => "a timestamp",
            Type::Duration => "a duration",
        })
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Types::ATTRIBUTE => return f.write_str("an attribute"),
            Types::ANY => return f.write_str("a value"),
            _ => {}
        }
        let count = self.each().count();
        for (index, one) in self.each().enumerate() {
            match index {
                0 => {}
                _ if index + 1 == count => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            write!(f, "{one}")?;
        }
        Ok(())
    }
}
