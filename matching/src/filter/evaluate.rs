//! What a filter says about one event.
//!
//! 1. Nothing is allocated; the recursion is as deep as the filter nests.
//! 2. A chain ends at the first operand that decides it, which changes no answer.
//!
//! Depends on the tree and on the event's [`Attributes`] alone.

use std::cmp::Ordering;

use super::Truth;
use super::tree::{Comparison, Connective, Literal, Node, NodeId, Span, Text, Tree, order, rank};
use crate::value::{Attributes, Value};

pub(super) fn evaluate<A: Attributes + ?Sized>(tree: &Tree, event: &A) -> Truth {
    Evaluation { tree, event }.truth(tree.root())
}

struct Evaluation<'e, A: ?Sized> {
    tree: &'e Tree,
    event: &'e A,
}

impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    fn truth(&self, id: NodeId) -> Truth {
        match self.tree.node(id) {
            Node::Literal(Literal::Bool(known)) => Truth::from(known),
            Node::Literal(_) => Truth::Unknown,
            Node::Name(name) => truth_of(self.get(name)),
            Node::Exists(name) => Truth::from(self.get(name).is_some()),
            Node::IsNull { name, negated } => Truth::from(self.get(name).is_none() != negated),
            Node::Not(operand) => !self.truth(operand),
            Node::Compare { comparison, left, right } => {
                compare(comparison, self.value(left), self.value(right))
            }
            Node::Between { value, low, high, negated } => self.between(value, low, high).negate_if(negated),
            Node::In { value, list, negated } => self.is_in(value, list).negate_if(negated),
            Node::Like { value, pattern, negated } => self.is_like(value, pattern).negate_if(negated),
            Node::Chain { connective, operands } => self.chain(connective, operands),
        }
    }

    fn value(&self, id: NodeId) -> Option<Value<'e>> {
        match self.tree.node(id) {
            Node::Literal(literal) => Some(self.tree.value(literal)),
            Node::Name(name) => self.get(name),
            _ => match self.truth(id) {
                Truth::True => Some(Value::Bool(true)),
                Truth::False => Some(Value::Bool(false)),
                Truth::Unknown => None,
            },
        }
    }

    fn get(&self, name: Text) -> Option<Value<'e>> {
        self.event.get(self.tree.text(name))
    }

    fn chain(&self, connective: Connective, operands: Span) -> Truth {
        let operands = self.tree.operands(operands);
        match connective {
            Connective::And => self.until(Truth::False, operands),
            Connective::Or => self.until(Truth::True, operands),
            Connective::Xor => self.parity(operands),
        }
    }

    /// `decisive` if an operand is, else unknown if one is, else the opposite.
    fn until(&self, decisive: Truth, operands: &[NodeId]) -> Truth {
        let mut result = !decisive;
        for operand in operands {
            match self.truth(*operand) {
                truth if truth == decisive => return decisive,
                Truth::Unknown => result = Truth::Unknown,
                _ => {}
            }
        }
        result
    }

    /// Unknown if an operand is, else whether an odd number of them is true.
    fn parity(&self, operands: &[NodeId]) -> Truth {
        let mut odd = false;
        for operand in operands {
            match self.truth(*operand) {
                Truth::True => odd = !odd,
                Truth::False => {}
                Truth::Unknown => return Truth::Unknown,
            }
        }
        Truth::from(odd)
    }

    /// `low <= value AND value <= high`, so that one bound may decide without the other.
    fn between(&self, value: NodeId, low: NodeId, high: NodeId) -> Truth {
        let value = self.value(value);
        let above = compare(Comparison::GreaterOrEqual, value, self.value(low));
        above.and(compare(Comparison::LessOrEqual, value, self.value(high)))
    }

    /// `value = first OR value = second OR …`: unknown if not found and some literal is of
    /// another type, which in a sorted list shows at one of its ends. `O(log literals)`.
    fn is_in(&self, value: NodeId, list: Span) -> Truth {
        let Some((value, kind)) = self.value(value).and_then(|v| Some((v, rank(&v)?))) else {
            return Truth::Unknown;
        };
        let list = self.tree.literals(list);
        let order = |literal: &Literal| order(&self.tree.value(*literal), &value).unwrap_or(Ordering::Less);
        if list.binary_search_by(order).is_ok() {
            return Truth::True;
        }
        let fits = |literal: Option<&Literal>| {
            literal.is_some_and(|literal| rank(&self.tree.value(*literal)) == Some(kind))
        };
        if fits(list.first()) && fits(list.last()) { Truth::False } else { Truth::Unknown }
    }

    fn is_like(&self, value: NodeId, pattern: u32) -> Truth {
        match self.value(value) {
            Some(Value::Str(text)) => Truth::from(self.tree.pattern(pattern).matches(text)),
            _ => Truth::Unknown,
        }
    }
}

fn truth_of(value: Option<Value<'_>>) -> Truth {
    match value {
        Some(Value::Bool(known)) => Truth::from(known),
        _ => Truth::Unknown,
    }
}

fn compare(comparison: Comparison, left: Option<Value<'_>>, right: Option<Value<'_>>) -> Truth {
    let (Some(left), Some(right)) = (left, right) else {
        return Truth::Unknown;
    };
    Truth::from_option(match comparison {
        Comparison::Equal => left.equals(&right),
        Comparison::Unequal => left.equals(&right).map(|equal| !equal),
        Comparison::Less => left.compare(&right).map(Ordering::is_lt),
        Comparison::LessOrEqual => left.compare(&right).map(Ordering::is_le),
        Comparison::Greater => left.compare(&right).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => left.compare(&right).map(Ordering::is_ge),
    })
}
