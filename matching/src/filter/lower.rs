//! From the tree to the normal form (`crate::normal`).
//!
//! 1. NOT is carried to the leaves by Kleene's rules: a leaf is lowered to what makes it true, or
//!    negated to what makes it *false*; unknown is neither.
//! 2. What has no form of its own becomes a filter by itself: comparisons of two names,
//!    conditions as values, XOR. New kinds of nodes do until they are given one.

use super::tree::{Comparison, Connective, Literal, Node, NodeId, Span, Text, Tree};
use super::{Filter, print};
use crate::normal::{Bound, Check, Condition, Constant, Field, Kind, Set};

impl Filter {
    /// Asks the memory for what `lower` reads.
    pub(crate) fn fetch(&self) {
        if let Some(tree) = self.tree() {
            tree.fetch();
        }
    }

    /// What must hold for the filter to be true. A filter in strict mode is evaluated as a whole.
    pub(crate) fn lower(&self) -> Condition<'_> {
        let Some(tree) = self.tree() else { return Condition::Other(self.clone()) };
        // A part within the bounds of the whole is within them by itself, but for a NOT that
        // takes the place of `= FALSE`: at the very bound of depth the whole is kept as it is.
        Lowering { filter: self, tree }
            .lower(tree.root(), false)
            .unwrap_or_else(|| Condition::Other(self.clone()))
    }
}

struct Lowering<'f> {
    filter: &'f Filter,
    tree: &'f Tree,
}

/// What stands on one side of an operator.
enum Operand<'f> {
    Field(Field<'f>),
    Constant(Constant<'f>),
    Condition,
}

impl<'f> Lowering<'f> {
    /// What makes the node true, or false if `negated`. `None` if a part is no filter by itself.
    fn lower(&self, id: NodeId, negated: bool) -> Option<Condition<'f>> {
        match self.tree.node(id) {
            Node::Not(operand) => self.lower(operand, !negated),
            Node::Is { condition, wanted, negated: false } if !negated => self.lower(condition, !wanted),
            Node::Chain { connective: connective @ (Connective::And | Connective::Or), operands } => {
                self.chain(connective, operands, negated)
            }
            Node::Compare { comparison, left, right } => match self.equals_bool(comparison, left, right) {
                Some((operand, equal)) => self.lower(operand, equal == negated),
                None => self.leaf(id, negated),
            },
            _ => self.leaf(id, negated),
        }
    }

    #[inline]
    fn leaf(&self, id: NodeId, negated: bool) -> Option<Condition<'f>> {
        let known = match self.tree.node(id) {
            Node::Literal(Literal::Bool(known)) => Some(Condition::constant(known != negated)),
            Node::Literal(_) => Some(Condition::Never),
            Node::Name(name) => Some(self.is_bool(name, !negated)),
            Node::Exists(name) => Some(self.presence(name, !negated)),
            Node::IsNull { name, negated: present } => Some(self.presence(name, present != negated)),
            Node::Compare { comparison, left, right } => self.compare(comparison, left, right, negated),
            Node::Between { value, low, high, negated: outside } => {
                self.between(value, low, high, outside != negated)
            }
            Node::In { value, list, negated: outside } => self.is_in(value, list, outside != negated),
            Node::Like { value, pattern, negated: outside } => self.like(value, pattern, outside != negated),
            _ => None,
        };
        known.or_else(|| self.other(id, negated))
    }

    /// The node, or its negation, as a filter by itself.
    fn other(&self, id: NodeId, negated: bool) -> Option<Condition<'f>> {
        if id == self.tree.root() && !negated {
            return Some(Condition::Other(self.filter.clone()));
        }
        let text = print::print(self.tree, id);
        let text = if negated { format!("NOT ({text})") } else { text };
        Filter::parse(&text).ok().map(Condition::Other)
    }

    fn chain(&self, connective: Connective, operands: Span, negated: bool) -> Option<Condition<'f>> {
        let operands = self.tree.operands(operands);
        let mut parts = Vec::with_capacity(operands.len());
        for operand in operands {
            parts.push(self.lower(*operand, negated)?);
        }
        let is_and = (connective == Connective::And) != negated;
        Some(if is_and { Condition::all(parts) } else { Condition::any(parts) })
    }

    fn is_bool(&self, name: Text, wanted: bool) -> Condition<'f> {
        Condition::test(self.field(name), Check::OneOf(Constant::Bool(wanted).alone()))
    }

    fn presence(&self, name: Text, present: bool) -> Condition<'f> {
        Condition::test(self.field(name), if present { Check::Present } else { Check::Absent })
    }

    /// A condition compared with TRUE or FALSE is the condition or its negation: which one, and
    /// whether it must be true.
    fn equals_bool(&self, comparison: Comparison, left: NodeId, right: NodeId) -> Option<(NodeId, bool)> {
        let wanted = match comparison {
            Comparison::Equal => true,
            Comparison::Unequal => false,
            _ => return None,
        };
        match (self.tree.node(left), self.tree.node(right)) {
            (_, Node::Literal(Literal::Bool(known))) if self.is_condition(left) => {
                Some((left, known == wanted))
            }
            (Node::Literal(Literal::Bool(known)), _) if self.is_condition(right) => {
                Some((right, known == wanted))
            }
            _ => None,
        }
    }

    fn is_condition(&self, id: NodeId) -> bool {
        !matches!(self.tree.node(id), Node::Name(_) | Node::Literal(_))
    }

    /// `None` unless a field or a constant is compared with a constant.
    #[inline]
    fn compare(
        &self,
        comparison: Comparison,
        left: NodeId,
        right: NodeId,
        negated: bool,
    ) -> Option<Condition<'f>> {
        let comparison = if negated { comparison.negated() } else { comparison };
        // What nearly all are.
        if let (Node::Name(name), Node::Literal(literal)) = (self.tree.node(left), self.tree.node(right)) {
            return Some(Condition::compare(self.field(name), comparison, self.constant(literal)));
        }
        match (self.operand(left), self.operand(right)) {
            (Operand::Field(field), Operand::Constant(constant)) => {
                Some(Condition::compare(field, comparison, constant))
            }
            (Operand::Constant(constant), Operand::Field(field)) => {
                Some(Condition::compare(field, comparison.swapped(), constant))
            }
            (Operand::Constant(left), Operand::Constant(right)) => {
                Some(Condition::constant(Check::compare(comparison, right)?.holds(Some(left.value()))))
            }
            _ => None,
        }
    }

    /// `low <= value AND value <= high`, and by De Morgan the negation.
    fn between(&self, value: NodeId, low: NodeId, high: NodeId, negated: bool) -> Option<Condition<'f>> {
        if let (false, Operand::Field(field), Operand::Constant(low), Operand::Constant(high)) =
            (negated, self.operand(value), self.operand(low), self.operand(high))
            && low.kind() == high.kind()
            && low.kind() != Kind::Bool
        {
            let check = Check::Range { low: Bound::Included(low), high: Bound::Included(high) };
            return Some(Condition::test(field, check));
        }
        let above = self.compare(Comparison::GreaterOrEqual, value, low, negated)?;
        let below = self.compare(Comparison::LessOrEqual, value, high, negated)?;
        let parts = vec![above, below];
        Some(if negated { Condition::any(parts) } else { Condition::all(parts) })
    }

    /// A list of several kinds is never unknown and never false at once: of it, no value is known
    /// not to be a member.
    fn is_in(&self, value: NodeId, list: Span, negated: bool) -> Option<Condition<'f>> {
        let set: Set = self.tree.literals(list).iter().map(|literal| self.constant(*literal)).collect();
        let kinds_differ = set.first().map(Constant::kind) != set.last().map(Constant::kind);
        if negated && kinds_differ {
            return Some(Condition::Never);
        }
        let check = if negated { Check::NoneOf(set) } else { Check::OneOf(set) };
        self.check(value, check)
    }

    fn like(&self, value: NodeId, pattern: u32, negated: bool) -> Option<Condition<'f>> {
        match Check::like(self.tree.pattern(pattern), negated) {
            Some(check) => self.check(value, check),
            None => Some(Condition::Never),
        }
    }

    /// `check` of a field or a constant.
    #[inline]
    fn check(&self, value: NodeId, check: Check<'f>) -> Option<Condition<'f>> {
        match self.operand(value) {
            Operand::Field(field) => Some(Condition::test(field, check)),
            Operand::Constant(constant) => Some(Condition::constant(check.holds(Some(constant.value())))),
            Operand::Condition => None,
        }
    }

    #[inline]
    fn operand(&self, id: NodeId) -> Operand<'f> {
        match self.tree.node(id) {
            Node::Name(name) => Operand::Field(self.field(name)),
            Node::Literal(literal) => Operand::Constant(self.constant(literal)),
            _ => Operand::Condition,
        }
    }

    #[inline]
    fn field(&self, name: Text) -> Field<'f> {
        Field::Name(self.tree.text(name).into())
    }

    #[inline]
    fn constant(&self, literal: Literal) -> Constant<'f> {
        match literal {
            Literal::Bool(known) => Constant::Bool(known),
            Literal::Int(number) => Constant::Int(number),
            Literal::Float(number) => Constant::float(number),
            Literal::Str(text) => Constant::Str(self.tree.text(text).into()),
            Literal::Timestamp(timestamp) => Constant::Timestamp(timestamp),
        }
    }
}

impl<'f> Condition<'f> {
    /// What makes `field comparison constant` true.
    #[inline]
    fn compare(field: Field<'f>, comparison: Comparison, constant: Constant<'f>) -> Condition<'f> {
        match Check::compare(comparison, constant) {
            Some(check) => Condition::test(field, check),
            None => Condition::Never,
        }
    }
}

impl<'f> Check<'f> {
    /// What makes `value comparison constant` true; `None` if nothing does: booleans have no
    /// order.
    #[inline]
    fn compare(comparison: Comparison, constant: Constant<'f>) -> Option<Check<'f>> {
        let is_bool = matches!(constant, Constant::Bool(_));
        Some(match comparison {
            Comparison::Equal => Check::OneOf(constant.alone()),
            Comparison::Unequal => Check::NoneOf(constant.alone()),
            _ if is_bool => return None,
            Comparison::Less => Check::Range { low: Bound::Open, high: Bound::Excluded(constant) },
            Comparison::LessOrEqual => Check::Range { low: Bound::Open, high: Bound::Included(constant) },
            Comparison::Greater => Check::Range { low: Bound::Excluded(constant), high: Bound::Open },
            Comparison::GreaterOrEqual => Check::Range { low: Bound::Included(constant), high: Bound::Open },
        })
    }
}

impl Comparison {
    /// True where this is false; unknown where this is.
    fn negated(self) -> Comparison {
        match self {
            Comparison::Equal => Comparison::Unequal,
            Comparison::Unequal => Comparison::Equal,
            Comparison::Less => Comparison::GreaterOrEqual,
            Comparison::LessOrEqual => Comparison::Greater,
            Comparison::Greater => Comparison::LessOrEqual,
            Comparison::GreaterOrEqual => Comparison::Less,
        }
    }

    /// The same with its sides swapped.
    fn swapped(self) -> Comparison {
        match self {
            Comparison::Equal | Comparison::Unequal => self,
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        }
    }
}
