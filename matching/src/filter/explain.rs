//! Why a filter says what it says about one event.
//!
//! 1. The explanation is of the canonical text: clauses are parts of it, in its order.
//! 2. Every clause is evaluated by itself, also where evaluation would stop before it.
//! 3. The answers are those of [`Filter::evaluate`], by the same code.
//!
//! Made for people and tools: it allocates, and takes time in the number of clauses times their
//! depth.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::evaluate::evaluate_node;
use super::print::{places, put_string};
use super::strict::ErrorKind;
use super::tree::{Connective, Node, NodeId, Tree};
use super::{Filter, Parsed, Truth};
use crate::value::{Attributes, Value};

/// What a filter says about one event, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation<'a> {
    /// The answer; only [`Truth::True`] is a match.
    pub truth: Truth,
    /// The whole filter, and behind each clause those that it is made of.
    pub clauses: Vec<Clause<'a>>,
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause<'a> {
    /// Its text.
    pub text: &'a str,
    /// Where that stands in the filter's canonical text, in bytes.
    pub span: Range<usize>,
    /// How many clauses it stands within.
    pub depth: usize,
    /// What joins or negates the clauses that it is made of; `None`: it compares, or is a name.
    pub operator: Option<&'static str>,
    /// What it says about the event.
    pub truth: Truth,
    /// Why it is unknown, in strict mode.
    pub error: Option<ErrorKind>,
    /// Whether the filter's answer comes from it: of an AND or OR the clauses that gave the same
    /// answer as the whole, of an XOR the unknown ones or else all. Strict mode reads from left to
    /// right: what is not evaluated there decides nothing, and the first error decides alone.
    pub decisive: bool,
    /// What it reads of the event itself, in the order of the text, each name once.
    pub readings: Vec<Reading<'a>>,
}

/// What a filter found under a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// What the event has; `None`: it has none of this name.
    pub value: Option<Value<'a>>,
}

impl Clause<'_> {
    /// Whether it is made of clauses that follow and says nothing by itself.
    pub fn is_compound(&self) -> bool {
        self.operator.is_some()
    }
}

impl<'a> Reading<'a> {
    /// Each name once.
    pub(super) fn put_into(self, readings: &mut Vec<Reading<'a>>) {
        if readings.iter().all(|known| known.name != self.name) {
            readings.push(self);
        }
    }
}

/// `amount = 12`, or `region is missing`.
impl fmt::Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}", self.name),
            None => write!(f, "{} is missing", self.name),
        }
    }
}

/// As a filter writes it; bytes, which no filter can write, as their number.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(known) => f.write_str(if *known { "TRUE" } else { "FALSE" }),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Str(text) => put_string(f, text),
            Value::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Value::Timestamp(timestamp) => write!(f, "TIMESTAMP('{timestamp}')"),
        }
    }
}

impl Filter {
    /// What the filter says about `event`, clause by clause. `O(clauses × depth)`.
    pub fn explain<'a, A: Attributes + ?Sized>(&'a self, event: &'a A) -> Explanation<'a> {
        match &*self.0 {
            Parsed::Default { canonical, tree } => explain(canonical, tree, event),
            Parsed::Strict(expression) => expression.explain(event),
        }
    }
}

fn explain<'a, A: Attributes + ?Sized>(text: &'a str, tree: &'a Tree, event: &'a A) -> Explanation<'a> {
    let mut places = places(tree);
    places.sort_unstable_by_key(|(id, _)| *id);
    let mut walk = Walk { text, tree, event, places, clauses: Vec::new() };
    let truth = walk.clause(tree.root(), 0, true);
    Explanation { truth, clauses: walk.clauses }
}

/// Collects the clauses of one tree.
struct Walk<'a, A: ?Sized> {
    text: &'a str,
    tree: &'a Tree,
    event: &'a A,
    /// By node.
    places: Vec<(NodeId, Range<usize>)>,
    clauses: Vec<Clause<'a>>,
}

impl<'a, A: Attributes + ?Sized> Walk<'a, A> {
    /// Adds the clause and those within it.
    fn clause(&mut self, id: NodeId, depth: usize, decisive: bool) -> Truth {
        let truth = evaluate_node(self.tree, id, self.event);
        let span = self.place(id);
        let operator = operator(self.tree.node(id));
        let (mut readings, mut within) = (Vec::new(), Vec::new());
        self.take_apart(id, &mut readings, &mut within);
        let text = &self.text[span.clone()];
        self.clauses.push(Clause { text, span, depth, operator, truth, error: None, decisive, readings });
        let decides = self.decides(id, truth);
        for inner in within {
            let decisive = decisive && decides(evaluate_node(self.tree, inner, self.event));
            self.clause(inner, depth + 1, decisive);
        }
        truth
    }

    /// What a node reads itself, and the clauses within it.
    fn take_apart(&self, id: NodeId, readings: &mut Vec<Reading<'a>>, within: &mut Vec<NodeId>) {
        if let Node::Embedded(embedded) = self.tree.node(id) {
            self.tree.embedded(embedded).read_into(self.event, readings);
        }
        if let Some(reading) = self.reading(id) {
            reading.put_into(readings);
        }
        let is_compound = operator(self.tree.node(id)).is_some();
        self.tree.for_each_operand(id, |operand| {
            match is_compound || is_condition(self.tree.node(operand)) {
                true => within.push(operand),
                false => self.take_apart(operand, readings, within),
            }
        });
    }

    fn reading(&self, id: NodeId) -> Option<Reading<'a>> {
        match self.tree.node(id) {
            Node::Name(name) | Node::Exists(name) | Node::IsNull { name, .. } => {
                let name = self.tree.text(name);
                Some(Reading { name: name.into(), value: self.event.get(name) })
            }
            Node::Path(path) | Node::PathExists(path) | Node::PathIsNull { path, .. } => {
                let path = self.tree.path(path);
                Some(Reading { name: path.as_str().into(), value: self.event.data(path) })
            }
            _ => None,
        }
    }

    /// Which answers of the clauses within `id` give it its own.
    fn decides(&self, id: NodeId, truth: Truth) -> impl Fn(Truth) -> bool + use<A> {
        let connective = match self.tree.node(id) {
            Node::Chain { connective, .. } => Some(connective),
            _ => None,
        };
        move |inner| match connective {
            Some(Connective::And | Connective::Or) => inner == truth,
            Some(Connective::Xor) => (inner == Truth::Unknown) == (truth == Truth::Unknown),
            None => true,
        }
    }

    fn place(&self, id: NodeId) -> Range<usize> {
        let at = self.places.binary_search_by_key(&id, |(id, _)| *id);
        at.map_or(0..0, |at| self.places[at].1.clone())
    }
}

/// What joins or negates clauses.
fn operator(node: Node) -> Option<&'static str> {
    match node {
        Node::Not(_) => Some("NOT"),
        Node::Chain { connective, .. } => Some(connective.keyword()),
        Node::Is { wanted: true, negated: false, .. } => Some("IS TRUE"),
        Node::Is { wanted: true, negated: true, .. } => Some("IS NOT TRUE"),
        Node::Is { wanted: false, negated: false, .. } => Some("IS FALSE"),
        Node::Is { wanted: false, negated: true, .. } => Some("IS NOT FALSE"),
        _ => None,
    }
}

/// Whether a value of another clause is a clause itself.
fn is_condition(node: Node) -> bool {
    match node {
        Node::Not(_)
        | Node::Chain { .. }
        | Node::Exists(_)
        | Node::IsNull { .. }
        | Node::Is { .. }
        | Node::Embedded(_)
        | Node::Compare { .. }
        | Node::Between { .. }
        | Node::In { .. }
        | Node::PathExists(_)
        | Node::PathIsNull { .. }
        | Node::Like { .. } => true,
        Node::Literal(_)
        | Node::Name(_)
        | Node::Path(_)
        | Node::Duration(_)
        | Node::Negate(_)
        | Node::Arithmetic { .. }
        | Node::Call { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (String, usize, Truth, bool, String);

    fn rows(text: &str, event: &[(&str, Value<'_>)]) -> Vec<Row> {
        let filter = Filter::parse(text).unwrap();
        let explanation = filter.explain(event);
        assert_eq!(explanation.truth, filter.evaluate(event), "{text}");
        let row = |clause: &Clause<'_>| {
            assert_eq!(clause.text, &filter.as_str()[clause.span.clone()]);
            let readings: Vec<String> = clause.readings.iter().map(ToString::to_string).collect();
            let text = clause.operator.unwrap_or(clause.text).to_owned();
            (text, clause.depth, clause.truth, clause.decisive, readings.join(", "))
        };
        explanation.clauses.iter().map(row).collect()
    }

    fn row(text: &str, depth: usize, truth: Truth, decisive: bool, readings: &str) -> Row {
        (text.to_owned(), depth, truth, decisive, readings.to_owned())
    }

    const FALSE: Truth = Truth::False;
    const TRUE: Truth = Truth::True;
    const UNKNOWN: Truth = Truth::Unknown;

    #[test]
    fn a_false_clause_decides_and_an_unknown_one_beside_it_does_not() {
        assert_eq!(
            rows(
                "amount>100 and (region = 'eu' or not gift)",
                &[("amount", Value::Int(12)), ("gift", Value::Bool(false))]
            ),
            [
                row("AND", 0, FALSE, true, ""),
                row("amount > 100", 1, FALSE, true, "amount = 12"),
                row("OR", 1, TRUE, false, ""),
                row("region = 'eu'", 2, UNKNOWN, false, "region is missing"),
                row("NOT", 2, TRUE, false, ""),
                row("gift", 3, FALSE, false, "gift = FALSE"),
            ]
        );
    }

    #[test]
    fn what_gave_the_whole_its_answer_is_decisive() {
        let event = [("t", Value::Bool(true)), ("f", Value::Bool(false))];
        let decisive = |text: &str| {
            let rows = rows(text, &event).into_iter().filter(|row| row.3);
            rows.map(|row| row.0).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(decisive("t AND f AND u AND f"), "AND f f");
        assert_eq!(decisive("t AND u"), "AND u");
        assert_eq!(decisive("f OR t OR u"), "OR t");
        assert_eq!(decisive("f OR u"), "OR u");
        assert_eq!(decisive("t XOR f"), "XOR t f");
        assert_eq!(decisive("t XOR u"), "XOR u");
        assert_eq!(decisive("NOT (t AND f)"), "NOT AND f");
    }

    #[test]
    fn readings_are_the_values_of_all_types() {
        let time = crate::Timestamp { seconds: 0, nanos: 0 };
        let event = [
            ("s", Value::Str("it's")),
            ("x", Value::Float(2.0)),
            ("y", Value::Bytes(b"123")),
            ("time", Value::Timestamp(time)),
        ];
        let readings = |text: &str| rows(text, &event).remove(0).4;
        assert_eq!(readings("s LIKE '%'"), "s = 'it\\'s'");
        assert_eq!(readings("x BETWEEN x AND n"), "x = 2.0, n is missing");
        assert_eq!(readings("EXISTS y"), "y = <3 bytes>");
        assert_eq!(readings("time IS NOT NULL"), "time = TIMESTAMP('1970-01-01T00:00:00Z')");
    }

    #[test]
    fn a_condition_in_another_language_says_what_it_reads() {
        let event = [("a", Value::Int(5)), ("type", Value::Str("com.x"))];
        let readings = |text: &str| rows(text, &event).pop().unwrap().4;
        assert_eq!(readings("CESQL('A > 4 AND UPPER(type) = b')"), "A = 5, type = 'com.x', b is missing");
        let cloud = r#"CLOUDEVENTS('{"any":[{"not":{"prefix":{"type":"x"}}},{"sql":"a = 1"}]}')"#;
        assert_eq!(readings(cloud), "type = 'com.x', a = 5");
        let pattern = r#"EVENTBRIDGE('{"a":[5],"$or":[{"b":[1]},{"data":{"c":{"d e":[2]}}}]}')"#;
        assert_eq!(readings(pattern), "a = 5, b is missing, data.c['d e'] is missing");
    }

    #[test]
    fn a_condition_in_another_language_is_one_clause_with_all_that_it_reads() {
        let event = [("hop", Value::Str("4")), ("ip", Value::Str("10.0.0.1"))];
        let cesql = "CESQL('INT(hop) < 5 AND EXISTS none AND hop != 7')";
        let pattern = r#"EVENTBRIDGE('{"ip":[{"cidr":"10.0.0.0/8"}],"data":{"a":["x"]}}')"#;
        let canonical = r#"EVENTBRIDGE('{"data":{"a":["x"]},"ip":[{"cidr":"10.0.0.0/8"}]}')"#;
        assert_eq!(
            rows(&format!("({cesql}) IS NOT TRUE OR {pattern}"), &event),
            [
                row("OR", 0, TRUE, true, ""),
                row("IS NOT TRUE", 1, TRUE, true, ""),
                row(cesql, 2, FALSE, true, "hop = '4', none is missing"),
                row(canonical, 1, FALSE, false, "data.a is missing, ip = '10.0.0.1'"),
            ]
        );
        let filter = r#"CLOUDEVENTS('{"any":[{"not":{"exact":{"hop":"4"}}},{"sql":"ip = hop"}]}')"#;
        assert_eq!(rows(filter, &event), [row(filter, 0, FALSE, true, "hop = '4', ip = '10.0.0.1'")]);
    }

    #[test]
    fn a_comparison_of_conditions_has_clauses_within() {
        assert_eq!(
            rows("a = (b IN (1, 2))", &[("a", Value::Bool(true)), ("b", Value::Int(3))]),
            [
                row("a = (b IN (1, 2))", 0, FALSE, true, "a = TRUE"),
                row("b IN (1, 2)", 1, FALSE, true, "b = 3"),
            ]
        );
    }
}
