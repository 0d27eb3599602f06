//! Random filters against a second, naive reading of the language: its own syntax tree, its own
//! printer in every spelling, its own evaluation. And random text, which must never do harm.

use std::cmp::Ordering;

use fanal_matching::{Attributes, Filter, FilterErrorReason, Timestamp, Truth, Value};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Literal {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'static str),
    Time(i64),
}

#[derive(Clone, Debug)]
enum Operand {
    Literal(Literal),
    Name(&'static str),
    Condition(Box<Condition>),
}

#[derive(Clone, Debug)]
enum Condition {
    Constant(bool),
    Name(&'static str),
    Exists(&'static str),
    IsNull(&'static str, bool),
    /// Whether TRUE or FALSE is asked for, and whether NOT.
    Is(Box<Condition>, bool, bool),
    Not(Box<Condition>),
    Compare(Operand, &'static str, Operand),
    Between(Operand, Operand, Operand, bool),
    In(Operand, Vec<Literal>, bool),
    Like(Operand, String, bool),
    Chain(&'static str, Vec<Condition>),
}

type Event = Vec<(&'static str, Value<'static>)>;

const NAMES: [&str; 4] = ["a", "b2", "_c", "source"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..3])
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        any::<bool>().prop_map(Literal::Bool),
        prop::sample::select(vec![0, 1, -1, 2, i64::MIN, i64::MAX, (1 << 53) + 1]).prop_map(Literal::Int),
        prop::sample::select(vec![0.0, 0.5, 1.0, -1.0, 9_007_199_254_740_992.0, 1e300, 1e-9])
            .prop_map(Literal::Float),
        prop::sample::select(vec!["", "x", "xy", "it's", "\"\\", "é%_"]).prop_map(Literal::Str),
        (0..3_i64).prop_map(Literal::Time),
    ]
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let of_literal = literal().prop_map(|literal| literal.value());
    prop_oneof![
        8 => of_literal,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0])
            .prop_map(Value::Float),
        1 => Just(Value::Bytes(b"x")),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let attribute = |name| proptest::option::weighted(0.8, value().prop_map(move |v| (name, v)));
    (attribute(NAMES[0]), attribute(NAMES[1]), attribute(NAMES[2]))
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
}

fn pattern() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop::sample::select(vec!["%", "_", "\\%", "\\_", "\\\\", "\\'", "x", "y", "é"]),
        0..5,
    )
    .prop_map(|parts| parts.concat())
}

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Condition::Constant),
        name().prop_map(Condition::Name),
        name().prop_map(Condition::Exists),
        (name(), any::<bool>()).prop_map(|(name, negated)| Condition::IsNull(name, negated)),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let operand = prop_oneof![
            4 => name().prop_map(Operand::Name),
            3 => literal().prop_map(Operand::Literal),
            1 => inner.clone().prop_map(|condition| Operand::Condition(Box::new(condition))),
        ]
        .boxed();
        let comparison = prop::sample::select(vec!["=", "!=", "<>", "<", "<=", ">", ">="]);
        let list = proptest::collection::vec(literal(), 1..5);
        let connective = prop::sample::select(vec!["AND", "OR", "XOR"]);
        let (o, n) = (operand.clone(), any::<bool>());
        prop_oneof![
            3 => (name(), comparison.clone(), literal())
                .prop_map(|(a, c, b)| Condition::Compare(Operand::Name(a), c, Operand::Literal(b))),
            2 => (o.clone(), comparison, o.clone()).prop_map(|(a, c, b)| Condition::Compare(a, c, b)),
            1 => (o.clone(), o.clone(), o.clone(), n)
                .prop_map(|(v, l, h, n)| Condition::Between(v, l, h, n)),
            2 => (o.clone(), list, n).prop_map(|(v, list, n)| Condition::In(v, list, n)),
            2 => (o, pattern(), n).prop_map(|(v, pattern, n)| Condition::Like(v, pattern, n)),
            1 => inner.clone().prop_map(|condition| Condition::Not(Box::new(condition))),
            1 => (inner.clone(), any::<bool>(), any::<bool>())
                .prop_map(|(condition, wanted, negated)| Condition::Is(Box::new(condition), wanted, negated)),
            4 => (connective, proptest::collection::vec(inner, 2..4))
                .prop_map(|(connective, all)| Condition::Chain(connective, all)),
        ]
    })
}

impl Literal {
    fn value(&self) -> Value<'static> {
        match self {
            Literal::Bool(known) => Value::Bool(*known),
            Literal::Int(number) => Value::Int(*number),
            Literal::Float(number) => Value::Float(*number),
            Literal::Str(text) => Value::Str(text),
            Literal::Time(seconds) => Value::Timestamp(Timestamp { seconds: *seconds, nanos: 0 }),
        }
    }
}

/// The naive evaluation: no short cuts, no sharing, every operand each time.
mod naive {
    use super::*;

    pub(super) fn truth(condition: &Condition, event: &Event) -> Truth {
        match condition {
            Condition::Constant(known) => known_truth(*known),
            Condition::Name(name) => match get(event, name) {
                Some(Value::Bool(known)) => known_truth(known),
                _ => Truth::Unknown,
            },
            Condition::Exists(name) => known_truth(get(event, name).is_some()),
            Condition::IsNull(name, negated) => known_truth(get(event, name).is_none() ^ negated),
            Condition::Is(inner, wanted, negated) => {
                let is_it =
                    matches!((truth(inner, event), wanted), (Truth::True, true) | (Truth::False, false));
                known_truth(is_it ^ negated)
            }
            Condition::Not(inner) => not(truth(inner, event)),
            Condition::Compare(left, operator, right) => {
                compare(operand(left, event), operator, operand(right, event))
            }
            Condition::Between(value, low, high, negated) => {
                let value = operand(value, event);
                let above = compare(value, ">=", operand(low, event));
                let below = compare(value, "<=", operand(high, event));
                negate(and(above, below), *negated)
            }
            Condition::In(value, list, negated) => {
                let value = operand(value, event);
                let equal = list.iter().map(|literal| compare(value, "=", Some(literal.value())));
                negate(equal.fold(Truth::False, or), *negated)
            }
            Condition::Like(value, pattern, negated) => match operand(value, event) {
                Some(Value::Str(text)) => {
                    let (pattern, text) = (elements(pattern), text.chars().collect::<Vec<_>>());
                    negate(known_truth(like(&pattern, &text)), *negated)
                }
                _ => Truth::Unknown,
            },
            Condition::Chain(connective, all) => {
                let all: Vec<Truth> = all.iter().map(|one| truth(one, event)).collect();
                let join = match *connective {
                    "AND" => and,
                    "OR" => or,
                    _ => xor,
                };
                all.into_iter().reduce(join).expect("two or more")
            }
        }
    }

    fn get(event: &Event, name: &str) -> Option<Value<'static>> {
        event.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn operand(operand: &Operand, event: &Event) -> Option<Value<'static>> {
        match operand {
            Operand::Literal(literal) => Some(literal.value()),
            Operand::Name(name) => get(event, name),
            Operand::Condition(condition) => value_of(condition, event),
        }
    }

    /// A name in parentheses is the attribute, whatever its type.
    fn value_of(condition: &Condition, event: &Event) -> Option<Value<'static>> {
        match condition {
            Condition::Name(name) => get(event, name),
            condition => match truth(condition, event) {
                Truth::True => Some(Value::Bool(true)),
                Truth::False => Some(Value::Bool(false)),
                Truth::Unknown => None,
            },
        }
    }

    fn compare(left: Option<Value<'_>>, operator: &str, right: Option<Value<'_>>) -> Truth {
        let (Some(left), Some(right)) = (left, right) else { return Truth::Unknown };
        if let (Value::Bool(left), Value::Bool(right)) = (left, right) {
            return match operator {
                "=" => known_truth(left == right),
                "!=" | "<>" => known_truth(left != right),
                _ => Truth::Unknown,
            };
        }
        let Some(order) = order(left, right) else { return Truth::Unknown };
        known_truth(match operator {
            "=" => order == Ordering::Equal,
            "!=" | "<>" => order != Ordering::Equal,
            "<" => order == Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })
    }

    fn order(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
        match (left, right) {
            (Value::Str(left), Value::Str(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Value::Timestamp(left), Value::Timestamp(right)) => {
                Some((left.seconds, left.nanos).cmp(&(right.seconds, right.nanos)))
            }
            _ => number(left)?.partial_cmp(&number(right)?),
        }
    }

    /// A number as (infinity's sign, whole part, fraction), which compares lexicographically.
    fn number(value: Value<'_>) -> Option<(f64, i128, f64)> {
        match value {
            Value::Int(number) => Some((0.0, i128::from(number), 0.0)),
            Value::Float(number) if number.is_nan() => None,
            Value::Float(number) if number.abs() > 1e30 => Some((number, 0, 0.0)),
            Value::Float(number) => Some((0.0, number.floor() as i128, number - number.floor())),
            _ => None,
        }
    }

    fn elements(pattern: &str) -> Vec<(char, bool)> {
        let mut characters = pattern.chars();
        let mut elements = Vec::new();
        while let Some(character) = characters.next() {
            match character {
                '\\' => elements.push((characters.next().expect("an escape"), true)),
                character => elements.push((character, false)),
            }
        }
        elements
    }

    fn like(pattern: &[(char, bool)], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([('%', false), rest @ ..], text) => (0..=text.len()).any(|at| like(rest, &text[at..])),
            ([('_', false), rest @ ..], [_, text @ ..]) => like(rest, text),
            ([(wanted, _), rest @ ..], [given, text @ ..]) => wanted == given && like(rest, text),
            (_, []) => false,
        }
    }

    fn known_truth(known: bool) -> Truth {
        if known { Truth::True } else { Truth::False }
    }

    fn not(truth: Truth) -> Truth {
        from_number(2 - number_of(truth))
    }

    fn negate(truth: Truth, negated: bool) -> Truth {
        if negated { not(truth) } else { truth }
    }

    /// Kleene's logic is the minimum and the maximum of false < unknown < true.
    fn and(a: Truth, b: Truth) -> Truth {
        from_number(number_of(a).min(number_of(b)))
    }

    fn or(a: Truth, b: Truth) -> Truth {
        from_number(number_of(a).max(number_of(b)))
    }

    fn xor(a: Truth, b: Truth) -> Truth {
        or(and(a, not(b)), and(not(a), b))
    }

    fn number_of(truth: Truth) -> u8 {
        match truth {
            Truth::False => 0,
            Truth::Unknown => 1,
            Truth::True => 2,
        }
    }

    fn from_number(number: u8) -> Truth {
        [Truth::False, Truth::Unknown, Truth::True][usize::from(number)]
    }
}

/// Prints with spellings chosen by the bits of a seed.
struct Speller {
    seed: u64,
    out: String,
}

impl Speller {
    fn spell(condition: &Condition, seed: u64) -> String {
        let mut speller = Speller { seed, out: String::new() };
        speller.condition(condition);
        speller.out
    }

    fn coin(&mut self) -> bool {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.seed >> 63 == 1
    }

    fn word(&mut self, word: &str) {
        let word = if self.coin() { word.to_lowercase() } else { word.to_owned() };
        self.out.push_str(&word);
        let space = if self.coin() { " " } else { "\n " };
        self.out.push_str(space);
    }

    fn symbol(&mut self, symbol: &str) {
        self.out.push_str(symbol);
        if self.coin() {
            self.out.push(' ');
        }
    }

    fn negation(&mut self, negated: bool) {
        if negated {
            self.word("NOT");
        }
    }

    fn name(&mut self, name: &str) {
        self.out.push_str(name);
        self.out.push(' ');
    }

    fn parenthesised(&mut self, condition: &Condition) {
        self.symbol("(");
        self.condition(condition);
        self.symbol(")");
    }

    /// A condition where an operator is beside it.
    fn member(&mut self, condition: &Condition) {
        let needed = matches!(condition, Condition::Chain(..));
        if needed || self.coin() { self.parenthesised(condition) } else { self.condition(condition) }
    }

    fn operand(&mut self, operand: &Operand) {
        match operand {
            Operand::Literal(literal) => self.literal(literal),
            Operand::Name(name) => self.name(name),
            Operand::Condition(condition) => self.parenthesised(condition),
        }
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::Bool(known) => self.word(if *known { "TRUE" } else { "FALSE" }),
            Literal::Int(number) => self.symbol(&format!("{number} ")),
            Literal::Float(number) if self.coin() => self.symbol(&format!("{number:e} ")),
            Literal::Float(number) => self.symbol(&format!("{number:?} ")),
            Literal::Str(text) => self.string(text),
            Literal::Time(seconds) => {
                self.word("TIMESTAMP");
                self.symbol("(");
                self.symbol(&format!("'1970-01-01T00:00:0{seconds}Z'"));
                self.symbol(")");
            }
        }
    }

    fn string(&mut self, text: &str) {
        let quote = if self.coin() { '"' } else { '\'' };
        let escaped = text.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
        self.symbol(&format!("{quote}{escaped}{quote}"));
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Constant(known) => self.word(if *known { "TRUE" } else { "FALSE" }),
            Condition::Name(name) => self.name(name),
            Condition::Exists(name) => {
                self.word("EXISTS");
                self.name(name);
            }
            Condition::IsNull(name, negated) => {
                self.name(name);
                self.word("IS");
                self.negation(*negated);
                self.word("NULL");
            }
            Condition::Is(inner, wanted, negated) => {
                self.parenthesised(inner);
                self.word("IS");
                self.negation(*negated);
                self.word(if *wanted { "TRUE" } else { "FALSE" });
            }
            Condition::Not(inner) => {
                self.word("NOT");
                self.parenthesised(inner);
            }
            Condition::Compare(left, operator, right) => {
                self.operand(left);
                self.symbol(operator);
                self.operand(right);
            }
            Condition::Between(value, low, high, negated) => {
                self.operand(value);
                self.negation(*negated);
                self.word("BETWEEN");
                self.operand(low);
                self.word("AND");
                self.operand(high);
            }
            Condition::In(value, list, negated) => {
                self.operand(value);
                self.negation(*negated);
                self.word("IN");
                self.list(list);
            }
            Condition::Like(value, pattern, negated) => {
                self.operand(value);
                self.negation(*negated);
                self.word("LIKE");
                self.symbol(&format!("'{pattern}'"));
            }
            Condition::Chain(connective, all) => self.chain(connective, all),
        }
    }

    fn list(&mut self, list: &[Literal]) {
        self.symbol("(");
        for (index, literal) in list.iter().enumerate() {
            if index > 0 {
                self.symbol(",");
            }
            self.literal(literal);
        }
        self.symbol(")");
    }

    fn chain(&mut self, connective: &str, all: &[Condition]) {
        for (index, one) in all.iter().enumerate() {
            if index > 0 {
                self.out.push(' ');
                self.word(connective);
            }
            self.member(one);
        }
    }
}

/// Reads a filter that is right but for types that could never fit, which are refused.
fn read(text: &str) -> Option<Filter> {
    use FilterErrorReason::{LikeWithoutString, NoOrder, TypesDiffer};
    match Filter::parse(text) {
        Ok(filter) => Some(filter),
        Err(error) => match error.reason {
            TypesDiffer { .. } | NoOrder | LikeWithoutString { .. } => None,
            _ => panic!("{error}"),
        },
    }
}

fn assert_survives_printing(filter: &Filter) {
    let printed = filter.to_string();
    let again = Filter::parse(&printed).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(&again, filter);
    assert_eq!(again.to_string(), printed);
}

/// Each clause of an explanation is a filter that says by itself what it says within the whole.
fn assert_explains(filter: &Filter, event: &Event) {
    let explanation = filter.explain(event);
    assert_eq!(explanation.truth, filter.evaluate(event), "{filter}");
    assert_eq!(explanation.clauses[0].text, filter.as_str());
    for clause in &explanation.clauses {
        let alone = read(clause.text).map(|alone| alone.evaluate(event));
        assert_eq!(alone, Some(clause.truth), "{} of {filter}", clause.text);
        for reading in &clause.readings {
            // As text, since a NaN equals nothing.
            let value = Attributes::get(event, &reading.name).map(|value| value.to_string());
            assert_eq!(reading.value.map(|value| value.to_string()), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000, max_global_rejects: 100_000, ..ProptestConfig::default()
    })]

    #[test]
    fn evaluation_agrees_with_the_naive_one_in_every_spelling(
        condition in condition(),
        events in proptest::collection::vec(event(), 1..6),
        seeds in any::<[u64; 2]>(),
    ) {
        let Some(filter) = read(&Speller::spell(&condition, seeds[0])) else {
            return Err(TestCaseError::reject("types never fit"));
        };
        let respelt = read(&Speller::spell(&condition, seeds[1]));
        prop_assert_eq!(Some(&filter), respelt.as_ref());
        assert_survives_printing(&filter);
        for event in &events {
            prop_assert_eq!(
                filter.evaluate(event), naive::truth(&condition, event), "{} {:?}", filter, event
            );
        }
        assert_explains(&filter, &events[0]);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(text.is_char_boundary(error.position));
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_words_are_read_or_refused(
        words in proptest::collection::vec(prop::sample::select(WORDS), 0..12),
        space in any::<bool>(),
    ) {
        let text = words.join(if space { " " } else { "" });
        match Filter::parse(&text) {
            Ok(filter) => {
                assert_survives_printing(&filter);
                let _ = filter.evaluate(&[("a", Value::Int(1)), ("b", Value::Bool(true))]);
            }
            Err(error) => {
                let shown = error.to_string();
                prop_assert_eq!(shown.lines().count(), 3, "{}", shown);
                let place = format!("{}:{}: ", error.line, error.column);
                prop_assert!(shown.starts_with(&place), "{}", shown);
            }
        }
    }
}

const WORDS: &[&str] = &[
    "a",
    "b",
    "time",
    "AND",
    "OR",
    "XOR",
    "NOT",
    "IN",
    "LIKE",
    "BETWEEN",
    "IS",
    "NULL",
    "EXISTS",
    "TRUE",
    "(",
    ")",
    "(",
    ")",
    ",",
    "=",
    "!=",
    "<",
    ">=",
    "-",
    "1",
    "2.5",
    "'x%'",
    "'",
    "\"",
    "\\",
    "TIMESTAMP",
    "'2024-05-01T00:00:00Z'",
    "9223372036854775808",
    "1e400",
    "é",
    "%",
    "==",
    ".",
    "\n",
];
