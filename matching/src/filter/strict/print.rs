//! The canonical text of an expression.
//!
//! 1. It parses to an expression with the same canonical text.
//! 2. Its parentheses are a subset of those that were read, so that it nests no deeper.

use std::fmt::{self, Display, Write};
use std::ops::Range;

use super::lexer::unquoted;
use super::tree::{Arithmetic, Level, Node, Operator, Test, TestKind};

/// The text of `node` with all below it.
pub(super) fn print(node: &Node) -> String {
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = Printer { out: &mut text, places: None }.node(node, Level::Connectives);
    text
}

/// Where the text of each node below `root` stands in its canonical text, in bytes.
pub(super) fn places(root: &Node) -> Places {
    let (mut text, mut places) = (String::new(), Vec::new());
    let _ = Printer { out: &mut text, places: Some(&mut places) }.node(root, Level::Connectives);
    places.sort_unstable_by_key(|(node, _)| *node);
    Places(places)
}

/// Places by the address of the node, which stays where it is as long as the tree lives.
pub(super) struct Places(Vec<(usize, Range<usize>)>);

impl Places {
    /// Where the node stands. `O(log nodes)`.
    pub(super) fn of(&self, node: &Node) -> Range<usize> {
        let at = self.0.binary_search_by_key(&address(node), |(node, _)| *node);
        at.map_or(0..0, |at| self.0[at].1.clone())
    }
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

struct Printer<'p> {
    out: &'p mut String,
    /// Collects where nodes stand, if that is asked for.
    places: Option<&'p mut Vec<(usize, Range<usize>)>>,
}

impl Printer<'_> {
    /// Prints `node` where something binds as tightly as `level`, or tighter.
    fn node(&mut self, node: &Node, level: Level) -> fmt::Result {
        if node.level() >= level {
            return self.bare(node);
        }
        self.out.write_char('(')?;
        self.bare(node)?;
        self.out.write_char(')')
    }

    fn bare(&mut self, node: &Node) -> fmt::Result {
        let start = self.out.len();
        self.words(node)?;
        if let Some(places) = &mut self.places {
            places.push((address(node), start..self.out.len()));
        }
        Ok(())
    }

    fn words(&mut self, node: &Node) -> fmt::Result {
        match node {
            Node::Bool(known) => self.out.write_str(if *known { "TRUE" } else { "FALSE" }),
            Node::Int(number) => write!(self.out, "{number}"),
            Node::Str(text) => self.string(text),
            Node::Name(name) => self.out.write_str(&name.written),
            Node::Exists(name) => write!(self.out, "EXISTS {}", name.written),
            Node::Not(operand) => self.unary("NOT ", operand),
            Node::Minus(operand) => self.unary("-", operand),
            Node::Chain { first, rest } => self.chain(first, rest),
            Node::Tested { value, tests } => self.tested(value, tests),
            Node::Call { function, arguments } => self.call(function.name(), arguments),
            Node::Unknown { name, arguments } => self.call(name, arguments),
        }
    }

    fn unary(&mut self, operator: &str, operand: &Node) -> fmt::Result {
        self.out.write_str(operator)?;
        self.node(operand, Level::Unary)
    }

    fn chain(&mut self, first: &Node, rest: &[(Operator, Node)]) -> fmt::Result {
        let tighter = rest.first().map_or(Level::Atoms, |(operator, _)| operator.level().tighter());
        self.node(first, tighter)?;
        rest.iter().try_for_each(|(operator, operand)| {
            write!(self.out, " {operator} ")?;
            self.node(operand, tighter)
        })
    }

    fn tested(&mut self, value: &Node, tests: &[Test]) -> fmt::Result {
        self.node(value, Level::Unary)?;
        tests.iter().try_for_each(|test| self.test(test))
    }

    fn test(&mut self, test: &Test) -> fmt::Result {
        self.out.write_str(if test.negated { " NOT" } else { "" })?;
        match &test.kind {
            TestKind::Like(_, text) => {
                self.out.write_str(" LIKE ")?;
                self.string(text)
            }
            TestKind::In(set) => self.call(" IN ", set),
        }
    }

    fn call(&mut self, name: &str, arguments: &[Node]) -> fmt::Result {
        write!(self.out, "{name}(")?;
        for (index, argument) in arguments.iter().enumerate() {
            self.out.write_str(if index == 0 { "" } else { ", " })?;
            self.node(argument, Level::Connectives)?;
        }
        self.out.write_char(')')
    }

    /// In single quotes, unless a backslash stands before one: `"\'"` is two characters, which no
    /// string in single quotes can say.
    fn string(&mut self, text: &str) -> fmt::Result {
        let single = quoted(text, '\'');
        let says_the_same = ends_where_it_should(&single) && unquoted(&single) == text;
        self.out.write_str(&if says_the_same { single } else { quoted(text, '"') })
    }
}

fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for character in text.chars() {
        if character == quote {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push(quote);
    quoted
}

/// Whether the last character of a text in quotes is its first quote without a backslash before.
fn ends_where_it_should(quoted: &str) -> bool {
    let mut escaped = false;
    let end = quoted.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '\'' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.is_some_and(|(index, _)| index + 1 == quoted.len())
}

impl Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operator::Connective(connective) => connective.fmt(f),
            Operator::Comparison(comparison) => comparison.fmt(f),
            Operator::Arithmetic(arithmetic) => f.write_str(match arithmetic {
                Arithmetic::Add => "+",
                Arithmetic::Subtract => "-",
                Arithmetic::Multiply => "*",
                Arithmetic::Divide => "/",
                Arithmetic::Remainder => "%",
            }),
        }
    }
}
