//! A parsed filter: its nodes in one vector, addressed by index.
//!
//! 1. Operands come before the node that uses them, so that the tree is finite by construction.
//! 2. A chain has two operands or more, none of which is a chain of the same connective.
//! 3. An IN list is sorted by [`Literal::order`] and holds no value twice.
//! 4. A [`Text`], [`Span`] or [`NodeId`] is used with the tree that made it only.
//! 5. The first operand of arithmetic is not arithmetic of the same level, so that a long sum is
//!    no deeper than a short one; what is constant was computed.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::arithmetic::{Level, Operator};
use super::dialect::Embedded;
use super::function::Function;
use super::pattern::Pattern;
use crate::path::Path;
use crate::simd;
use crate::value::{Duration, Timestamp, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(u32);

/// Some text of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text(Span);

/// Consecutive elements of one of the tree's vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connective {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Literal {
    Bool(bool),
    Int(i64),
    /// Finite, and not negative zero.
    Float(f64),
    Str(Text),
    Timestamp(Timestamp),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    Literal(Literal),
    Name(Text),
    Exists(Text),
    IsNull {
        name: Text,
        negated: bool,
    },
    Is {
        condition: NodeId,
        wanted: bool,
        negated: bool,
    },
    /// A condition in another language, by its place among those.
    Embedded(u32),
    Not(NodeId),
    Compare {
        comparison: Comparison,
        left: NodeId,
        right: NodeId,
    },
    Between {
        value: NodeId,
        low: NodeId,
        high: NodeId,
        negated: bool,
    },
    In {
        value: NodeId,
        list: Span,
        negated: bool,
    },
    Like {
        value: NodeId,
        pattern: u32,
        negated: bool,
    },
    Chain {
        connective: Connective,
        operands: Span,
    },
    /// A path, by its place among [`Tree::paths`].
    Path(u32),
    PathExists(u32),
    PathIsNull {
        path: u32,
        negated: bool,
    },
    Duration(Duration),
    /// The minus before a value.
    Negate(NodeId),
    /// From left to right: the first operand, then one step after the other, all of one level.
    Arithmetic {
        first: NodeId,
        steps: Span,
    },
    Call {
        function: Function,
        arguments: Span,
    },
}

/// An operator of arithmetic and what stands on its right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) operator: Operator,
    pub(super) operand: NodeId,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Those of most filters without memory of their own.
    operands: SmallVec<[NodeId; 4]>,
    literals: Vec<Literal>,
    patterns: Vec<Pattern>,
    paths: Vec<Path>,
    steps: Vec<Step>,
    embedded: Vec<Embedded>,
    text: String,
    /// How many calls there are of functions that make text.
    makers: usize,
    /// Whether flattening or computing left something behind that nothing refers to.
    has_unused: bool,
}

impl Tree {
    /// The node that was added last.
    pub(super) fn root(&self) -> NodeId {
        NodeId(self.nodes.len().saturating_sub(1) as u32)
    }

    /// Asks the memory for all that the filter is made of, at the same time.
    pub(super) fn fetch(&self) {
        fn each_line<T>(all: &[T]) {
            all.iter().step_by((simd::LINE_BYTES / size_of::<T>()).max(1)).for_each(simd::prefetch_any);
        }
        each_line(&self.nodes);
        each_line(self.text.as_bytes());
        each_line(&self.literals);
        each_line(&self.patterns);
    }

    /// How many nodes and elements of lists were added, those included that flattening a chain
    /// left unused.
    pub(super) fn size(&self) -> usize {
        self.nodes.len() + self.literals.len()
    }

    /// What evaluating costs at most, in units of [`super::COST_MAX`].
    pub(super) fn cost(&self) -> usize {
        self.size() + (self.makers + self.embedded.len()) * (super::MAKING_COST - 1)
    }

    /// Whether the tree holds more than its canonical text would need.
    pub(super) fn has_unused(&self) -> bool {
        self.has_unused
    }

    pub(super) fn node(&self, id: NodeId) -> Node {
        self.nodes[id.0 as usize]
    }

    /// Calls `see` with each node that `id` is directly made of, in the order of the text.
    pub(super) fn for_each_operand(&self, id: NodeId, mut see: impl FnMut(NodeId)) {
        match self.node(id) {
            Node::Literal(_) | Node::Name(_) | Node::Exists(_) | Node::IsNull { .. } => {}
            Node::Path(_) | Node::PathExists(_) | Node::PathIsNull { .. } | Node::Duration(_) => {}
            Node::Embedded(_) => {}
            Node::Not(operand) | Node::Negate(operand) | Node::Is { condition: operand, .. } => see(operand),
            Node::Arithmetic { first, steps } => {
                see(first);
                self.steps(steps).iter().for_each(|step| see(step.operand));
            }
            Node::Call { arguments: operands, .. } => self.operands(operands).iter().copied().for_each(see),
            Node::Compare { left, right, .. } => [left, right].into_iter().for_each(see),
            Node::Between { value, low, high, .. } => [value, low, high].into_iter().for_each(see),
            Node::In { value, .. } | Node::Like { value, .. } => see(value),
            Node::Chain { operands, .. } => self.operands(operands).iter().copied().for_each(see),
        }
    }

    pub(super) fn text(&self, text: Text) -> &str {
        let Span { start, count } = text.0;
        &self.text[start as usize..(start + count) as usize]
    }

    pub(super) fn operands(&self, span: Span) -> &[NodeId] {
        &self.operands[span.range()]
    }

    pub(super) fn literals(&self, span: Span) -> &[Literal] {
        &self.literals[span.range()]
    }

    pub(super) fn pattern(&self, index: u32) -> &Pattern {
        &self.patterns[index as usize]
    }

    pub(super) fn path(&self, index: u32) -> &Path {
        &self.paths[index as usize]
    }

    /// All paths that are mentioned, each as often as it is.
    pub(super) fn paths(&self) -> &[Path] {
        &self.paths
    }

    pub(super) fn steps(&self, span: Span) -> &[Step] {
        &self.steps[span.range()]
    }

    /// The level of the node's operators, if it is arithmetic.
    pub(super) fn level(&self, id: NodeId) -> Option<Level> {
        match self.node(id) {
            Node::Arithmetic { steps, .. } => self.steps(steps).first().map(|step| step.operator.level()),
            _ => None,
        }
    }

    pub(super) fn embedded(&self, index: u32) -> &Embedded {
        &self.embedded[index as usize]
    }

    pub(super) fn value(&self, literal: Literal) -> Value<'_> {
        match literal {
            Literal::Bool(known) => Value::Bool(known),
            Literal::Int(number) => Value::Int(number),
            Literal::Float(number) => Value::Float(number),
            Literal::Str(text) => Value::Str(self.text(text)),
            Literal::Timestamp(timestamp) => Value::Timestamp(timestamp),
        }
    }

    pub(super) fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.root()
    }

    pub(super) fn push_text(&mut self, text: &str) -> Text {
        let start = self.text.len();
        self.text.push_str(text);
        Text(Span::new(start, text.len()))
    }

    pub(super) fn push_pattern(&mut self, pattern: Pattern) -> u32 {
        self.patterns.push(pattern);
        self.patterns.len() as u32 - 1
    }

    pub(super) fn push_path(&mut self, path: Path) -> u32 {
        self.paths.push(path);
        self.paths.len() as u32 - 1
    }

    /// Adds arithmetic of one level; a first operand of the same level becomes part of it.
    pub(super) fn push_arithmetic(&mut self, first: NodeId, steps: &[Step]) -> NodeId {
        let start = self.steps.len();
        let mut innermost = first;
        let level = steps.first().map(|step| step.operator.level());
        if let Node::Arithmetic { first: inner, steps: before } = self.node(first)
            && self.level(first) == level
        {
            innermost = inner;
            self.steps.extend_from_within(before.range());
            self.has_unused = true;
        }
        self.steps.extend_from_slice(steps);
        let steps = Span::new(start, self.steps.len() - start);
        self.push(Node::Arithmetic { first: innermost, steps })
    }

    pub(super) fn push_call(&mut self, function: Function, arguments: &[NodeId]) -> NodeId {
        self.makers += usize::from(function.makes_text());
        let start = self.operands.len();
        self.operands.extend_from_slice(arguments);
        self.push(Node::Call { function, arguments: Span::new(start, arguments.len()) })
    }

    /// Adds what the node added last was computed to; that node is left unused.
    pub(super) fn push_computed(&mut self, node: Node) -> NodeId {
        if let Some(Node::Call { function, .. }) = self.nodes.last() {
            self.makers -= usize::from(function.makes_text());
        }
        self.has_unused = true;
        self.push(node)
    }

    pub(super) fn push_embedded(&mut self, embedded: Embedded) -> u32 {
        self.embedded.push(embedded);
        self.embedded.len() as u32 - 1
    }

    /// Adds an IN list, sorted and without repetition.
    pub(super) fn push_list(&mut self, mut list: Vec<Literal>) -> Span {
        list.sort_by(|a, b| self.order(*a, *b).then(a.spelling().cmp(&b.spelling())));
        list.dedup_by(|b, a| self.order(*a, *b).is_eq());
        let start = self.literals.len();
        self.literals.extend_from_slice(&list);
        Span::new(start, list.len())
    }

    /// Adds a chain; operands that are chains of the same connective give it their operands.
    pub(super) fn push_chain(&mut self, connective: Connective, operands: &[NodeId]) -> NodeId {
        let start = self.operands.len();
        for operand in operands {
            match self.node(*operand) {
                Node::Chain { connective: inner, operands } if inner == connective => {
                    operands.range().for_each(|at| self.operands.push(self.operands[at]));
                    self.has_unused = true;
                }
                _ => self.operands.push(*operand),
            }
        }
        let operands = Span::new(start, self.operands.len() - start);
        self.push(Node::Chain { connective, operands })
    }

    /// Makes `root` the node that was added last, and gives back unused memory.
    pub(super) fn finish(&mut self, root: NodeId) {
        if root != self.root() {
            self.push(self.node(root));
        }
        self.nodes.shrink_to_fit();
        self.operands.shrink_to_fit();
        self.literals.shrink_to_fit();
        self.patterns.shrink_to_fit();
        self.paths.shrink_to_fit();
        self.steps.shrink_to_fit();
        self.embedded.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    fn order(&self, a: Literal, b: Literal) -> Ordering {
        order(&self.value(a), &self.value(b)).unwrap_or(Ordering::Equal)
    }
}

impl Span {
    fn new(start: usize, count: usize) -> Span {
        // Both are below TEXT_BYTES_MAX times a small factor.
        Span { start: start as u32, count: count as u32 }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..(self.start + self.count) as usize
    }
}

impl Literal {
    /// Orders equal numbers by their spelling, 1 before 1.0.
    fn spelling(&self) -> bool {
        matches!(self, Literal::Float(_))
    }
}

/// An order over all values that a literal can have: by type first. `None` for a NaN and for
/// bytes, which are like no literal.
pub(super) fn order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match rank(a)?.cmp(&rank(b)?) {
        Ordering::Equal => match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => a.compare(b),
        },
        unequal => Some(unequal),
    }
}

/// The place of a value's type in [`order`]: equal for types that compare.
pub(super) fn rank(value: &Value<'_>) -> Option<u8> {
    match value {
        Value::Bool(_) => Some(0),
        Value::Int(_) => Some(1),
        Value::Float(number) => (!number.is_nan()).then_some(1),
        Value::Str(_) => Some(2),
        Value::Timestamp(_) => Some(3),
        Value::Bytes(_) => None,
    }
}
