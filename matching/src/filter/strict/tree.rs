//! A parsed expression of CESQL, and the values that it computes with.
//!
//! 1. Operators of one level stand in one [`Node::Chain`], read from left to right, and what is said
//!    about one value by LIKE and IN in one [`Node::Tested`]: the tree is as deep as parentheses,
//!    unary operators and calls nest.
//! 2. The first operand of a chain is no chain of the same level; a minus before an integer is part
//!    of the integer, unless that does not fit 32 bits.

use std::borrow::Cow;

use super::super::pattern::Pattern;
use super::super::tree::{Comparison, Connective};
use super::super::types;
use super::functions::Function;

#[derive(Debug)]
pub(super) enum Node {
    Bool(bool),
    Int(i32),
    Str(Box<str>),
    Name(Name),
    Exists(Name),
    Not(Box<Node>),
    Minus(Box<Node>),
    Chain {
        first: Box<Node>,
        rest: Vec<(Operator, Node)>,
    },
    Tested {
        value: Box<Node>,
        tests: Vec<Test>,
    },
    Call {
        function: Function,
        arguments: Vec<Node>,
    },
    /// A call that no function takes.
    Unknown {
        name: Box<str>,
        arguments: Vec<Node>,
    },
}

/// A name as it was written, and in small letters if that is something else.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) written: Box<str>,
    pub(super) lower: Option<Box<str>>,
}

impl Name {
    pub(super) fn new(written: &str) -> Name {
        let lower = written.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = lower.then(|| written.to_ascii_lowercase().into());
        Name { written: written.into(), lower }
    }
}

/// LIKE or IN, with what follows it.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) negated: bool,
    pub(super) kind: TestKind,
}

#[derive(Debug)]
pub(super) enum TestKind {
    /// The pattern, and its text for printing.
    Like(Pattern, Box<str>),
    In(Vec<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Connective(Connective),
    Comparison(Comparison),
    Arithmetic(Arithmetic),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// How tightly something binds, the loosest first (section 3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Connectives,
    Comparisons,
    Sums,
    Products,
    Tests,
    Unary,
    Atoms,
}

impl Level {
    /// The next tighter level.
    pub(super) fn tighter(self) -> Level {
        match self {
            Level::Connectives => Level::Comparisons,
            Level::Comparisons => Level::Sums,
            Level::Sums => Level::Products,
            Level::Products => Level::Tests,
            Level::Tests => Level::Unary,
            Level::Unary | Level::Atoms => Level::Atoms,
        }
    }
}

impl Operator {
    pub(super) fn level(self) -> Level {
        match self {
            Operator::Connective(_) => Level::Connectives,
            Operator::Comparison(_) => Level::Comparisons,
            Operator::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => Level::Sums,
            Operator::Arithmetic(_) => Level::Products,
        }
    }
}

impl Node {
    pub(super) fn level(&self) -> Level {
        match self {
            Node::Chain { rest, .. } => rest.first().map_or(Level::Atoms, |(operator, _)| operator.level()),
            Node::Tested { .. } => Level::Tests,
            Node::Not(_) | Node::Minus(_) | Node::Exists(_) => Level::Unary,
            _ => Level::Atoms,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Str,
}

impl Type {
    /// The value of the type that stands where there is none (section 3.1).
    pub(super) fn zero(self) -> Value<'static> {
        match self {
            Type::Bool => Value::Bool(false),
            Type::Int => Value::Int(0),
            Type::Str => Value::Str(Cow::Borrowed("")),
        }
    }
}

impl From<Type> for types::Type {
    fn from(kind: Type) -> types::Type {
        match kind {
            Type::Bool => types::Type::Bool,
            Type::Int => types::Type::Number,
            Type::Str => types::Type::Str,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'e> {
    Bool(bool),
    Int(i32),
    Str(Cow<'e, str>),
}

impl Value<'_> {
    pub(super) fn kind(&self) -> Type {
        match self {
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Str(_) => Type::Str,
        }
    }
}
