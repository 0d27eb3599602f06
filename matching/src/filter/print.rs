//! The canonical text of a filter.
//!
//! 1. It parses to a filter with the same canonical text.
//! 2. Its parentheses are a subset of those that were read, so that it nests no deeper.

use std::fmt::{self, Write};
use std::ops::Range;

use super::arithmetic::{Level, Operator};
use super::tree::{Comparison, Connective, Literal, Node, NodeId, Span, Tree};

/// The text of one node of `tree` with all below it.
pub(super) fn print(tree: &Tree, id: NodeId) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = Printer { tree, out: &mut text, places: None }.node(id);
    text
}

/// Where the text of each node stands in the canonical text of `tree`, in bytes, operands before
/// what they belong to.
pub(super) fn places(tree: &Tree) -> Vec<(NodeId, Range<usize>)> {
    let (mut text, mut places) = (String::new(), Vec::new());
    let _ = Printer { tree, out: &mut text, places: Some(&mut places) }.node(tree.root());
    places
}

struct Printer<'p> {
    tree: &'p Tree,
    out: &'p mut String,
    /// Collects where nodes stand, if that is asked for.
    places: Option<&'p mut Vec<(NodeId, Range<usize>)>>,
}

impl Printer<'_> {
    fn node(&mut self, id: NodeId) -> fmt::Result {
        let start = self.out.len();
        self.bare(id)?;
        if let Some(places) = &mut self.places {
            places.push((id, start..self.out.len()));
        }
        Ok(())
    }

    fn bare(&mut self, id: NodeId) -> fmt::Result {
        match self.tree.node(id) {
            Node::Literal(literal) => self.literal(literal),
            Node::Name(name) => self.out.write_str(self.tree.text(name)),
            Node::Exists(name) => write!(self.out, "EXISTS {}", self.tree.text(name)),
            Node::IsNull { name, negated } => {
                let not = if negated { "NOT " } else { "" };
                write!(self.out, "{} IS {not}NULL", self.tree.text(name))
            }
            Node::Is { condition, wanted, negated } => {
                self.operand(condition)?;
                let (not, wanted) =
                    (if negated { "NOT " } else { "" }, if wanted { "TRUE" } else { "FALSE" });
                write!(self.out, " IS {not}{wanted}")
            }
            Node::Embedded(index) => write!(self.out, "{}", self.tree.embedded(index)),
            Node::Not(operand) => self.not(operand),
            Node::Compare { comparison, left, right } => {
                self.sum(left)?;
                write!(self.out, " {comparison} ")?;
                self.sum(right)
            }
            Node::Between { value, low, high, negated } => {
                self.sum(value)?;
                self.keyword(negated, "BETWEEN")?;
                self.sum(low)?;
                self.out.write_str(" AND ")?;
                self.sum(high)
            }
            Node::In { value, list, negated } => {
                self.operand(value)?;
                self.keyword(negated, "IN")?;
                self.list(list)
            }
            Node::Like { value, pattern, negated } => {
                self.operand(value)?;
                self.keyword(negated, "LIKE")?;
                write!(self.out, "'{}'", self.tree.pattern(pattern))
            }
            Node::Chain { connective, operands } => self.chain(connective, operands),
            Node::Path(path) => write!(self.out, "{}", self.tree.path(path)),
            Node::PathExists(path) => write!(self.out, "EXISTS {}", self.tree.path(path)),
            Node::PathIsNull { path, negated } => {
                let not = if negated { "NOT " } else { "" };
                write!(self.out, "{} IS {not}NULL", self.tree.path(path))
            }
            Node::Duration(length) => write!(self.out, "DURATION('{length}')"),
            Node::Negate(operand) => self.negate(operand),
            Node::Arithmetic { first, steps } => self.arithmetic(id, first, steps),
            Node::Call { function, arguments } => {
                self.out.write_str(function.name())?;
                self.arguments(arguments)
            }
        }
    }

    fn keyword(&mut self, negated: bool, keyword: &str) -> fmt::Result {
        let not = if negated { "NOT " } else { "" };
        write!(self.out, " {not}{keyword} ")
    }

    fn not(&mut self, operand: NodeId) -> fmt::Result {
        self.out.write_str("NOT ")?;
        match self.tree.node(operand) {
            Node::Not(_) => self.node(operand),
            _ => self.operand(operand),
        }
    }

    /// A minus and its operand; of two minuses the canonical text keeps a space between them.
    fn negate(&mut self, operand: NodeId) -> fmt::Result {
        self.out.write_str("-")?;
        if let Node::Negate(_) = self.tree.node(operand) {
            self.out.write_str(" ")?;
        }
        self.operand(operand)
    }

    fn arithmetic(&mut self, id: NodeId, first: NodeId, steps: Span) -> fmt::Result {
        let level = self.tree.level(id);
        self.factor(first, level)?;
        for step in self.tree.steps(steps) {
            write!(self.out, " {} ", step.operator)?;
            self.factor(step.operand, level)?;
        }
        Ok(())
    }

    /// An operand of arithmetic of such a level: a product needs no parentheses within a sum.
    fn factor(&mut self, id: NodeId, level: Option<Level>) -> fmt::Result {
        match (level, self.tree.level(id)) {
            (Some(Level::Sum), Some(Level::Product)) => self.node(id),
            _ => self.operand(id),
        }
    }

    fn arguments(&mut self, arguments: Span) -> fmt::Result {
        self.out.write_str("(")?;
        for (index, argument) in self.tree.operands(arguments).iter().enumerate() {
            if index > 0 {
                self.out.write_str(", ")?;
            }
            self.node(*argument)?;
        }
        self.out.write_str(")")
    }

    /// A node beside a comparison or BETWEEN, which bind less than arithmetic.
    fn sum(&mut self, id: NodeId) -> fmt::Result {
        match self.tree.node(id) {
            Node::Arithmetic { .. } => self.node(id),
            _ => self.operand(id),
        }
    }

    /// A node where a value is asked for: in parentheses unless it is one word, a call, EXISTS or
    /// has a minus.
    fn operand(&mut self, id: NodeId) -> fmt::Result {
        match self.tree.node(id) {
            Node::Literal(_)
            | Node::Name(_)
            | Node::Exists(_)
            | Node::Path(_)
            | Node::PathExists(_)
            | Node::Duration(_)
            | Node::Negate(_)
            | Node::Embedded(_)
            | Node::Call { .. } => self.node(id),
            _ => self.parenthesised(id),
        }
    }

    fn parenthesised(&mut self, id: NodeId) -> fmt::Result {
        self.out.write_str("(")?;
        self.node(id)?;
        self.out.write_str(")")
    }

    fn chain(&mut self, connective: Connective, operands: Span) -> fmt::Result {
        for (index, operand) in self.tree.operands(operands).iter().enumerate() {
            if index > 0 {
                write!(self.out, " {connective} ")?;
            }
            match self.tree.node(*operand) {
                Node::Chain { .. } => self.parenthesised(*operand)?,
                _ => self.node(*operand)?,
            }
        }
        Ok(())
    }

    fn list(&mut self, list: Span) -> fmt::Result {
        for (index, literal) in self.tree.literals(list).iter().enumerate() {
            self.out.write_str(if index == 0 { "(" } else { ", " })?;
            self.literal(*literal)?;
        }
        self.out.write_str(")")
    }

    fn literal(&mut self, literal: Literal) -> fmt::Result {
        match literal {
            Literal::Bool(true) => self.out.write_str("TRUE"),
            Literal::Bool(false) => self.out.write_str("FALSE"),
            Literal::Int(number) => write!(self.out, "{number}"),
            // `{:?}` is the shortest text that reads back the same, with a `.` or an `e`.
            Literal::Float(number) => write!(self.out, "{number:?}"),
            Literal::Str(text) => put_string(self.out, self.tree.text(text)),
            Literal::Timestamp(timestamp) => write!(self.out, "TIMESTAMP('{timestamp}')"),
        }
    }
}

/// A text as a filter writes it.
pub(super) fn put_string(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('\'')?;
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(character)?;
    }
    out.write_char('\'')
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char(self.symbol())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Equal => "=",
            Comparison::Unequal => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        })
    }
}

impl Connective {
    pub(super) fn keyword(self) -> &'static str {
        match self {
            Connective::And => "AND",
            Connective::Or => "OR",
            Connective::Xor => "XOR",
        }
    }
}

impl fmt::Display for Connective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())
    }
}
