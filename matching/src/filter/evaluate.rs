//! What a filter says about one event.
//!
//! 1. Nothing is allocated but the texts that functions make, which `super::COST_MAX` and
//!    `super::MADE_TEXT_BYTES_MAX` bound; the recursion is as deep as the filter nests.
//! 2. A chain ends at the first operand that decides it, which changes no answer.
//!
//! Depends on the tree and on the event's [`Attributes`] alone.

use std::cmp::Ordering;

use super::Truth;
use super::arithmetic::{apply, negate};
use super::datum::Datum;
use super::function::{Function, call};
use super::tree::{Comparison, Connective, Literal, Node, NodeId, Span, Text, Tree, order, rank};
use crate::value::{Attributes, Value};

pub(super) fn evaluate<A: Attributes + ?Sized>(tree: &Tree, event: &A) -> Truth {
    evaluate_node(tree, tree.root(), event)
}

/// What one node says.
pub(super) fn evaluate_node<A: Attributes + ?Sized>(tree: &Tree, id: NodeId, event: &A) -> Truth {
    Evaluation { tree, event }.truth(id)
}

/// What a node without names gives, for every event.
pub(super) fn constant(tree: &Tree, id: NodeId) -> Option<Datum<'static>> {
    Evaluation { tree, event: &() }.datum(id).map(Datum::into_owned)
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
            Node::Is { condition, wanted, negated } => {
                Truth::from((self.truth(condition) == Truth::from(wanted)) != negated)
            }
            Node::Embedded(index) => self.tree.embedded(index).truth(self.event),
            Node::Not(operand) => !self.truth(operand),
            Node::Compare { comparison, left, right } => self.compare(comparison, left, right),
            Node::Between { value, low, high, negated } => self.between(value, low, high).negate_if(negated),
            Node::In { value, list, negated } => self.is_in(value, list).negate_if(negated),
            Node::Like { value, pattern, negated } => self.is_like(value, pattern).negate_if(negated),
            Node::Chain { connective, operands } => self.chain(connective, operands),
            Node::Path(path) => truth_of(self.data(path)),
            Node::PathExists(path) => Truth::from(self.data(path).is_some()),
            Node::PathIsNull { path, negated } => Truth::from(self.data(path).is_none() != negated),
            Node::Call { .. } => match self.datum(id) {
                Some(Datum::Bool(known)) => Truth::from(known),
                _ => Truth::Unknown,
            },
            Node::Duration(_) | Node::Negate(_) | Node::Arithmetic { .. } => Truth::Unknown,
        }
    }

    /// What was not computed: a literal, a name, a path, or the truth of a condition.
    fn value(&self, id: NodeId) -> Option<Value<'e>> {
        match self.tree.node(id) {
            Node::Literal(literal) => Some(self.tree.value(literal)),
            Node::Name(name) => self.get(name),
            Node::Path(path) => self.data(path),
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

    fn data(&self, path: u32) -> Option<Value<'e>> {
        self.event.data(self.tree.path(path))
    }

    /// Whether the node gives what [`Evaluation::datum`] alone can say.
    fn is_computed(&self, id: NodeId) -> bool {
        matches!(
            self.tree.node(id),
            Node::Duration(_) | Node::Negate(_) | Node::Arithmetic { .. } | Node::Call { .. }
        )
    }

    fn datum(&self, id: NodeId) -> Option<Datum<'e>> {
        match self.tree.node(id) {
            Node::Duration(length) => Some(Datum::Duration(length)),
            Node::Negate(operand) => negate(&self.datum(operand)?),
            Node::Arithmetic { first, steps } => self.arithmetic(first, steps),
            Node::Call { function, arguments } => self.call(function, arguments),
            _ => self.value(id).map(Datum::from),
        }
    }

    fn arithmetic(&self, first: NodeId, steps: Span) -> Option<Datum<'e>> {
        let first = self.datum(first)?;
        self.tree
            .steps(steps)
            .iter()
            .try_fold(first, |left, step| apply(&left, step.operator, &self.datum(step.operand)?))
    }

    fn call(&self, function: Function, arguments: Span) -> Option<Datum<'e>> {
        let arguments = self.tree.operands(arguments);
        call(function, arguments.len(), &|index| self.datum(*arguments.get(index)?))
    }

    /// Shows the node's value, borrowed from what it was computed to if it was.
    fn with_value<R>(&self, id: NodeId, see: impl FnOnce(Option<Value<'_>>) -> R) -> R {
        if self.is_computed(id) {
            see(self.datum(id).as_ref().and_then(Datum::value))
        } else {
            see(self.value(id))
        }
    }

    fn compare(&self, comparison: Comparison, left: NodeId, right: NodeId) -> Truth {
        if self.is_computed(left) || self.is_computed(right) {
            return compare_data(comparison, self.datum(left).as_ref(), self.datum(right).as_ref());
        }
        compare(comparison, self.value(left), self.value(right))
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
        if [value, low, high].into_iter().any(|id| self.is_computed(id)) {
            return self.between_data(value, low, high);
        }
        let value = self.value(value);
        let above = compare(Comparison::GreaterOrEqual, value, self.value(low));
        above.and(compare(Comparison::LessOrEqual, value, self.value(high)))
    }

    fn between_data(&self, value: NodeId, low: NodeId, high: NodeId) -> Truth {
        let value = self.datum(value);
        let compare = |comparison, id| compare_data(comparison, value.as_ref(), self.datum(id).as_ref());
        compare(Comparison::GreaterOrEqual, low).and(compare(Comparison::LessOrEqual, high))
    }

    /// `value = first OR value = second OR …`: unknown if not found and some literal is of
    /// another type, which in a sorted list shows at one of its ends. `O(log literals)`.
    fn is_in(&self, value: NodeId, list: Span) -> Truth {
        self.with_value(value, |value| value.map_or(Truth::Unknown, |value| self.is_among(&value, list)))
    }

    fn is_among(&self, value: &Value<'_>, list: Span) -> Truth {
        let Some(kind) = rank(value) else {
            return Truth::Unknown;
        };
        let list = self.tree.literals(list);
        let order = |literal: &Literal| order(&self.tree.value(*literal), value).unwrap_or(Ordering::Less);
        if list.binary_search_by(order).is_ok() {
            return Truth::True;
        }
        let fits = |literal: Option<&Literal>| {
            literal.is_some_and(|literal| rank(&self.tree.value(*literal)) == Some(kind))
        };
        if fits(list.first()) && fits(list.last()) { Truth::False } else { Truth::Unknown }
    }

    fn is_like(&self, value: NodeId, pattern: u32) -> Truth {
        self.with_value(value, |value| match value {
            Some(Value::Str(text)) => Truth::from(self.tree.pattern(pattern).matches(text)),
            _ => Truth::Unknown,
        })
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
    decide(comparison, || left.equals(&right), || left.compare(&right))
}

fn compare_data(comparison: Comparison, left: Option<&Datum<'_>>, right: Option<&Datum<'_>>) -> Truth {
    let (Some(left), Some(right)) = (left, right) else {
        return Truth::Unknown;
    };
    decide(comparison, || left.equals(right), || left.compare(right))
}

fn decide(
    comparison: Comparison,
    equal: impl FnOnce() -> Option<bool>,
    order: impl FnOnce() -> Option<Ordering>,
) -> Truth {
    Truth::from_option(match comparison {
        Comparison::Equal => equal(),
        Comparison::Unequal => equal().map(|equal| !equal),
        Comparison::Less => order().map(Ordering::is_lt),
        Comparison::LessOrEqual => order().map(Ordering::is_le),
        Comparison::Greater => order().map(Ordering::is_gt),
        Comparison::GreaterOrEqual => order().map(Ordering::is_ge),
    })
}
