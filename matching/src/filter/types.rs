//! What is known of types before an event is seen.
//!
//! 1. A filter is refused only for what could never be other than unknown: `name > TRUE`,
//!    `time > '2024'`.
//! 2. Attributes have no known type; the core fields do, because no attribute may take their
//!    names (PROTOCOL.md 4.2).

use std::fmt;

use super::tree::{Literal, Node, NodeId, Tree};

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
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "a truth value",
            Type::Number => "a number",
            Type::Str => "a string",
            Type::Timestamp => "a timestamp",
        })
    }
}

/// The type that the node has in every event in which it has a value, if it is known.
pub(super) fn type_of(tree: &Tree, id: NodeId) -> Option<Type> {
    match tree.node(id) {
        Node::Literal(literal) => Some(type_of_literal(literal)),
        Node::Name(name) => type_of_name(tree.text(name)),
        _ => Some(Type::Bool),
    }
}

pub(super) fn type_of_literal(literal: Literal) -> Type {
    match literal {
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) | Literal::Float(_) => Type::Number,
        Literal::Str(_) => Type::Str,
        Literal::Timestamp(_) => Type::Timestamp,
    }
}

fn type_of_name(name: &str) -> Option<Type> {
    match name {
        "id" | "source" | "topic" => Some(Type::Str),
        "time" => Some(Type::Timestamp),
        _ => None,
    }
}
