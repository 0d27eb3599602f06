//! Why an expression gives what it gives for one event: the clauses that connectives join.
//!
//! 1. A clause is what stands beside AND, OR, XOR or behind NOT, cast to a truth value as there
//!    (section 3.7); the whole is not cast (section 1.2).
//! 2. Each is evaluated by itself, with the bounds of a whole evaluation.

use std::ops::Range;

use super::super::explain::{Clause, Explanation, Reading};
use super::super::tree::Connective;
use super::evaluate::{evaluate, evaluate_bool, read};
use super::print::{Places, places};
use super::tree::{Name, Node, Operator, TestKind, Value};
use super::{ErrorKind, Expression, Truth};
use crate::value::Attributes;

/// What a clause gave.
type Given = Result<bool, ErrorKind>;

impl Expression {
    /// What the expression says about `event`, clause by clause.
    pub(in super::super) fn explain<'a, A: Attributes + ?Sized>(&'a self, event: &'a A) -> Explanation<'a> {
        let mut walk = Walk { text: &self.canonical, event, places: places(&self.root), clauses: Vec::new() };
        let (truth, error) = match evaluate(&self.root, event) {
            Ok(Value::Bool(known)) => (Truth::from(known), None),
            Ok(_) => (Truth::Unknown, None),
            Err(failure) => (Truth::Unknown, Some(failure.kind)),
        };
        walk.clause(&self.root, 0, true, (truth, error));
        Explanation { truth, clauses: walk.clauses }
    }
}

impl Expression {
    /// What the expression reads of the event, in the order of the text.
    pub(in super::super) fn read_into<'a, A: Attributes + ?Sized>(
        &'a self,
        event: &'a A,
        readings: &mut Vec<Reading<'a>>,
    ) {
        read_node(&self.root, event, readings);
    }
}

fn read_node<'a, A: Attributes + ?Sized>(node: &'a Node, event: &'a A, readings: &mut Vec<Reading<'a>>) {
    if let Node::Name(name) | Node::Exists(name) = node {
        reading(name, event).put_into(readings);
    }
    for_each_operand(node, &mut |operand| read_node(operand, event, readings));
}

fn reading<'a, A: Attributes + ?Sized>(name: &'a Name, event: &'a A) -> Reading<'a> {
    Reading { name: (&*name.written).into(), value: read(name, event) }
}

/// Collects the clauses of one expression.
struct Walk<'a, A: ?Sized> {
    text: &'a str,
    event: &'a A,
    places: Places,
    clauses: Vec<Clause<'a>>,
}

impl<'a, A: Attributes + ?Sized> Walk<'a, A> {
    fn clause(&mut self, node: &'a Node, depth: usize, decisive: bool, gave: (Truth, Option<ErrorKind>)) {
        let span: Range<usize> = self.places.of(node);
        let (truth, error) = gave;
        let operator = operator(node);
        let (mut readings, mut within) = (Vec::new(), Vec::new());
        self.take_apart(node, &mut readings, &mut within);
        let text = &self.text[span.clone()];
        self.clauses.push(Clause { text, span, depth, operator, truth, error, decisive, readings });
        let given: Vec<Given> = within.iter().map(|inner| evaluate_bool(inner, self.event)).collect();
        let deciding = deciding(node, &given);
        for (index, (inner, given)) in within.into_iter().zip(&given).enumerate() {
            let truth = given.map_or(Truth::Unknown, Truth::from);
            self.clause(inner, depth + 1, decisive && deciding.contains(&index), (truth, given.err()));
        }
    }

    /// What a node reads itself, and the clauses within it.
    fn take_apart(&self, node: &'a Node, readings: &mut Vec<Reading<'a>>, within: &mut Vec<&'a Node>) {
        if let Node::Name(name) | Node::Exists(name) = node {
            reading(name, self.event).put_into(readings);
        }
        let is_compound = operator(node).is_some();
        for_each_operand(node, &mut |operand| match is_compound || is_condition(operand) {
            true => within.push(operand),
            false => self.take_apart(operand, readings, within),
        });
    }
}

/// The clauses that a node's answer comes from, by index.
fn deciding(node: &Node, given: &[Given]) -> Vec<usize> {
    let Some(rest) = connected(node) else { return (0..given.len()).collect() };
    let mut deciding = vec![0];
    let Some(Ok(mut joined)) = given.first().copied() else { return deciding };
    for (index, (operator, given)) in rest.iter().zip(&given[1..]).enumerate() {
        let index = index + 1;
        let neutral = match operator {
            Operator::Connective(Connective::And) => Some(true),
            Operator::Connective(Connective::Or) => Some(false),
            _ => None,
        };
        match (neutral, given) {
            // Not evaluated.
            (Some(neutral), _) if joined != neutral => {}
            (_, Err(_)) => return vec![index],
            (Some(neutral), Ok(given)) => {
                if *given != neutral {
                    deciding.clear();
                }
                deciding.push(index);
                joined = *given;
            }
            (None, Ok(given)) => {
                deciding.push(index);
                joined = joined != *given;
            }
        }
    }
    deciding
}

/// The connectives of a chain.
fn connected(node: &Node) -> Option<Vec<Operator>> {
    match node {
        Node::Chain { rest, .. } if matches!(rest.first(), Some((Operator::Connective(_), _))) => {
            Some(rest.iter().map(|(operator, _)| *operator).collect())
        }
        _ => None,
    }
}

/// What joins or negates clauses; several connectives are read from left to right.
fn operator(node: &Node) -> Option<&'static str> {
    let keyword = |operator: &Operator| match operator {
        Operator::Connective(connective) => connective.keyword(),
        _ => "",
    };
    match (node, connected(node)) {
        (Node::Not(_), _) => Some("NOT"),
        (_, Some(rest)) => {
            let first = rest.first().map_or("", keyword);
            Some(if rest.iter().all(|operator| keyword(operator) == first) { first } else { "AND/OR/XOR" })
        }
        _ => None,
    }
}

/// Whether a value of another clause is a clause itself.
fn is_condition(node: &Node) -> bool {
    match node {
        Node::Not(_) | Node::Exists(_) | Node::Tested { .. } => true,
        Node::Chain { rest, .. } => !matches!(rest.first(), Some((Operator::Arithmetic(_), _))),
        _ => false,
    }
}

/// Calls `see` with each node that `node` is directly made of, in the order of the text.
fn for_each_operand<'a>(node: &'a Node, see: &mut dyn FnMut(&'a Node)) {
    match node {
        Node::Bool(_) | Node::Int(_) | Node::Str(_) | Node::Name(_) | Node::Exists(_) => {}
        Node::Not(operand) | Node::Minus(operand) => see(operand),
        Node::Chain { first, rest } => {
            see(first);
            rest.iter().for_each(|(_, operand)| see(operand));
        }
        Node::Tested { value, tests } => {
            see(value);
            for test in tests {
                if let TestKind::In(set) = &test.kind {
                    set.iter().for_each(&mut *see);
                }
            }
        }
        Node::Call { arguments, .. } | Node::Unknown { arguments, .. } => arguments.iter().for_each(see),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filter;
    use crate::value;

    type Row = (String, usize, String, bool, String);

    fn rows(text: &str, event: &[(&str, value::Value<'_>)]) -> Vec<Row> {
        let filter = Filter::parse_strict(text).unwrap();
        let explanation = filter.explain(event);
        assert_eq!(explanation.truth, filter.evaluate(event), "{text}");
        let row = |clause: &Clause<'_>| {
            assert_eq!(clause.text, &filter.as_str()[clause.span.clone()]);
            let gave = clause.error.map_or_else(|| format!("{:?}", clause.truth), |error| error.to_string());
            let readings: Vec<String> = clause.readings.iter().map(ToString::to_string).collect();
            let text = clause.operator.unwrap_or(clause.text).to_owned();
            (text, clause.depth, gave, clause.decisive, readings.join(", "))
        };
        explanation.clauses.iter().map(row).collect()
    }

    fn row(text: &str, depth: usize, gave: &str, decisive: bool, readings: &str) -> Row {
        (text.to_owned(), depth, gave.to_owned(), decisive, readings.to_owned())
    }

    #[test]
    fn clauses_are_read_from_left_to_right_and_the_first_error_decides() {
        let event = [("n", value::Value::Int(12)), ("t", value::Value::Bool(true))];
        assert_eq!(
            rows("n > 100 OR N + 1 = 13 AND missing = 1 XOR t", &event),
            [
                row("AND/OR/XOR", 0, "missingAttribute", true, ""),
                row("n > 100", 1, "False", false, "n = 12"),
                row("N + 1 = 13", 1, "True", false, "N = 12"),
                row("missing = 1", 1, "missingAttribute", true, "missing is missing"),
                row("t", 1, "True", false, "t = TRUE"),
            ]
        );
    }

    #[test]
    fn what_is_not_evaluated_decides_nothing() {
        let decisive = |text: &str| {
            let rows = rows(text, &[]).into_iter().filter(|row| row.3 && row.1 > 0);
            rows.map(|row| row.0).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(decisive("FALSE AND gone"), "FALSE");
        assert_eq!(decisive("TRUE OR gone"), "TRUE");
        assert_eq!(decisive("TRUE AND FALSE"), "FALSE");
        assert_eq!(decisive("TRUE AND TRUE OR gone"), "TRUE TRUE");
        assert_eq!(decisive("FALSE OR TRUE AND FALSE OR FALSE"), "FALSE FALSE");
        assert_eq!(decisive("gone AND FALSE"), "gone");
        assert_eq!(decisive("TRUE XOR gone"), "gone");
        assert_eq!(decisive("NOT (FALSE AND gone)"), "AND FALSE");
    }

    #[test]
    fn a_clause_is_cast_and_the_whole_is_not() {
        assert_eq!(
            rows("n AND 'no'", &[("n", value::Value::Int(2))]),
            [
                row("AND", 0, "cast", true, ""),
                row("n", 1, "True", false, "n = 2"),
                row("'no'", 1, "cast", true, ""),
            ]
        );
        assert_eq!(rows("n", &[("n", value::Value::Int(2))]), [row("n", 0, "Unknown", true, "n = 2")]);
    }

    #[test]
    fn a_clause_within_a_comparison_is_one() {
        assert_eq!(
            rows("(a IN ('x', b)) = LENGTH(a)", &[("a", value::Value::Str("x"))]),
            [
                row("a IN ('x', b) = LENGTH(a)", 0, "True", true, "a = 'x'"),
                row("a IN ('x', b)", 1, "True", true, "a = 'x', b is missing"),
            ]
        );
    }
}
