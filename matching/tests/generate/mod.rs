//! Random filters, events, topics and selectors, the same for the same seed.
//!
//! 1. Names, values and texts come from small pools full of edges, so that filters meet each
//!    other and events: both zeros, NaN, 2^53 and 2^63 and their neighbours, texts that begin or
//!    end alike, names of the wrong kind or missing.
//! 2. A generator is one word of state: a failing case is repeated from its seed alone.
//!
//! Shared by tests of this directory and, by path, by tests inside the crate.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part, and tests of two sorts use it")]

use fanal_matching::{Filter, Index, Selector, Timestamp, Topic, TopicFilter, Value};

/// An index that divides entries as it does, or few of them already.
pub fn any_index<D>(seed: u64) -> Index<D> {
    match seed % 2 {
        0 => Index::divided_early(seed),
        _ => Index::with_seed(seed),
    }
}

/// Attributes of a random event: names and values, none twice.
pub type Event = Vec<(&'static str, Value<'static>)>;

/// Numbers, texts, truth values and timestamps are mostly found under names of their kind.
pub const NAMES: [&str; 7] = ["n", "m", "s", "t", "b", "w", "none"];

const TEXTS: [&str; 14] =
    ["", "a", "ab", "abc", "b", "ba", "abab", "aba", "é", "éa", "%", "it's", "\\_", "\u{10ffff}"];

const FLOATS: [f64; 14] = [
    0.0,
    0.5,
    1.0,
    1.5,
    -0.5,
    2.5,
    1e300,
    -1e300,
    5e-324,
    9_007_199_254_740_992.0,
    9_223_372_036_854_774_784.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_775_808.0,
    -9_223_372_036_854_777_856.0,
];

const INTS: [i64; 13] =
    [0, 1, -1, 2, 3, 4, 5, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, i64::MAX - 1, i64::MAX, i64::MIN];

const LEVELS: [&str; 6] = ["a", "b", "c", "", "$a", "é"];

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Generator {
    state: u64,
    /// The name that all conditions of the present chain speak of.
    focus: Option<&'static str>,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { state: seed, focus: None }
    }

    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end as u64) as usize
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Events.
impl Generator {
    pub fn event(&mut self) -> Event {
        let mut event = Vec::new();
        for name in &NAMES[..6] {
            if self.percent(88) {
                event.push((*name, self.value(name)));
            }
        }
        event
    }

    /// A value, mostly of the kind that `name` speaks of.
    pub fn value(&mut self, name: &str) -> Value<'static> {
        match (name, self.below(12)) {
            (_, 0) => self.odd_value(),
            ("n" | "m", 1..=7) => Value::Int(self.pick(&INTS)),
            ("n" | "m", _) => Value::Float(self.pick(&FLOATS)),
            ("s" | "t", _) => Value::Str(self.pick(&TEXTS)),
            ("b", _) => Value::Bool(self.percent(50)),
            ("w", _) => Value::Timestamp(self.timestamp()),
            _ => self.odd_value(),
        }
    }

    fn odd_value(&mut self) -> Value<'static> {
        match self.below(9) {
            0 => Value::Float(f64::NAN),
            1 => Value::Float(f64::INFINITY),
            2 => Value::Float(f64::NEG_INFINITY),
            3 => Value::Float(-0.0),
            4 => Value::Bytes(b"ab"),
            5 => Value::Bool(true),
            6 => Value::Str("1"),
            7 => Value::Timestamp(Timestamp { seconds: i64::MAX, nanos: 0 }),
            _ => Value::Int(1),
        }
    }

    fn timestamp(&mut self) -> Timestamp {
        Timestamp { seconds: self.below(4) as i64, nanos: self.pick(&[0, 1, 500_000_000]) }
    }

    pub fn topic(&mut self) -> Topic {
        let count = 1 + self.below(4);
        let levels: Vec<&str> = (0..count).map(|_| self.level()).collect();
        Topic::parse(&levels.join("/")).unwrap_or_else(|_| self.topic())
    }

    fn level(&mut self) -> &'static str {
        if self.percent(70) { self.pick(&LEVELS[..3]) } else { self.pick(&LEVELS) }
    }
}

/// Selectors.
impl Generator {
    pub fn topic_filter(&mut self) -> TopicFilter {
        let count = 1 + self.below(4);
        let mut levels: Vec<&str> =
            (0..count).map(|_| if self.percent(25) { "+" } else { self.level() }).collect();
        if self.percent(35) {
            levels.pop();
            levels.push("#");
        }
        TopicFilter::parse(&levels.join("/")).unwrap_or_else(|_| self.topic_filter())
    }

    pub fn selector(&mut self) -> Selector {
        let exclusions = self.pick(&[0, 0, 0, 1, 2]);
        Selector {
            topic: self.topic_filter(),
            except: (0..exclusions).map(|_| self.topic_filter()).collect(),
            predicate: self.percent(70).then(|| self.filter(2)),
        }
    }

    /// A filter that nests at most `depth` deep.
    pub fn filter(&mut self, depth: usize) -> Filter {
        loop {
            self.focus = None;
            // What is refused for its types is refused by the parser: try another one.
            if let Ok(filter) = Filter::parse(&self.condition(depth)) {
                return filter;
            }
        }
    }

    /// One condition on one name and literals, or two.
    pub fn filter_on(&mut self, name: &'static str) -> Filter {
        loop {
            self.focus = Some(name);
            let text = match self.below(4) {
                0 => format!("({}) AND ({})", self.leaf(), self.leaf()),
                1 => format!("({}) OR ({})", self.leaf(), self.leaf()),
                _ => self.leaf(),
            };
            let others = NAMES.iter().filter(|other| **other != name);
            let speaks_of = |other: &str| text.split([' ', '(', ')', ',']).any(|word| word == other);
            if let (Ok(filter), false) =
                (Filter::parse(&text), others.into_iter().any(|other| speaks_of(other)))
            {
                return filter;
            }
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return if self.percent(10) { self.computed() } else { self.leaf() };
        }
        match self.below(20) {
            0..=6 => self.chain("AND", depth),
            7..=12 => self.chain("OR", depth),
            13 => self.chain("XOR", depth),
            14..=16 => format!("NOT ({})", self.condition(depth - 1)),
            17 => self.compared(depth),
            _ => self.leaf(),
        }
    }

    fn chain(&mut self, connective: &str, depth: usize) -> String {
        let held = self.focus;
        if self.percent(50) {
            self.focus = Some(self.pick(&NAMES));
        }
        let count = 2 + self.below(3);
        let parts: Vec<String> = (0..count).map(|_| format!("({})", self.condition(depth - 1))).collect();
        self.focus = held;
        parts.join(&format!(" {connective} "))
    }

    /// A condition as a value.
    fn compared(&mut self, depth: usize) -> String {
        let inner = self.condition(depth - 1);
        match self.below(9) {
            0 => format!("({inner}) = TRUE"),
            1 => format!("FALSE = ({inner})"),
            2 => format!("({inner}) != TRUE"),
            3 => format!("({inner}) = b"),
            4 => format!("({inner}) IN (TRUE)"),
            5 => format!("({inner}) IS TRUE"),
            6 => format!("({inner}) IS NOT TRUE"),
            7 => format!("({inner}) IS FALSE"),
            _ => format!("({inner}) NOT IN (FALSE, TRUE)"),
        }
    }

    fn leaf(&mut self) -> String {
        let name = self.focus.unwrap_or_else(|| self.pick(&NAMES));
        let not = self.pick(&["", "NOT "]);
        match self.below(24) {
            0..=7 => format!("{name} {} {}", self.comparison(), self.literal(name)),
            8 => format!("{} {} {name}", self.literal(name), self.comparison()),
            9 => format!("{name} {} {}", self.comparison(), self.pick(&NAMES)),
            10 => format!("{} {} {}", self.literal(name), self.comparison(), self.literal(name)),
            11..=12 => format!("{name} {not}BETWEEN {} AND {}", self.literal(name), self.literal(name)),
            13 => self.odd_between(name, not),
            14..=17 => self.list(name, not),
            18..=20 => format!("{name} {not}LIKE '{}'", self.pattern()),
            21 => format!("EXISTS {name}"),
            22 => format!("{name} IS {not}NULL"),
            _ => name.to_owned(),
        }
    }

    /// A condition on what is computed, or on the payload.
    fn computed(&mut self) -> String {
        let name = self.focus.unwrap_or_else(|| self.pick(&NAMES));
        let (other, not) = (self.pick(&NAMES), self.pick(&["", "NOT "]));
        let comparison = self.comparison();
        match self.below(14) {
            0 => format!("{name} + 1 {comparison} {}", self.literal(name)),
            1 => format!("{name} * {other} {comparison} 2 - {other}"),
            2 => format!("-{name} {not}BETWEEN -2 AND {other}"),
            3 => format!("{name} - {other} {comparison} DURATION('0.5s')"),
            4 => format!("LENGTH({name}) {comparison} 2"),
            5 => format!("UPPER({name}) {not}IN ('A', 'AB')"),
            6 => format!("LOWER({name}) {not}LIKE '{}'", self.pattern()),
            7 => format!("IS_INT({name})"),
            8 => format!("BOOL({name}) {comparison} {other}"),
            9 => format!("data.x {comparison} {}", self.literal(name)),
            10 => format!("data.x[0] IS {not}NULL"),
            11 => format!("CESQL('{name} {not}IN (1, \\'a\\')')"),
            12 => format!("EVENTBRIDGE('{{\"{name}\":[{{\"anything-but\":\"a\"}}]}}')"),
            _ => "EXISTS data['y']".to_owned(),
        }
    }

    fn odd_between(&mut self, name: &str, not: &str) -> String {
        let other = self.pick(&NAMES);
        match self.below(3) {
            0 => format!("{} {not}BETWEEN {name} AND {other}", self.literal(name)),
            1 => format!("{name} {not}BETWEEN {other} AND {}", self.literal(name)),
            _ => format!("{} {not}BETWEEN {} AND {name}", self.literal(name), self.literal(name)),
        }
    }

    fn list(&mut self, name: &str, not: &str) -> String {
        let count = 1 + self.below(5);
        let literals: Vec<String> = (0..count).map(|_| self.literal(name)).collect();
        let value = if self.percent(90) { name.to_owned() } else { self.literal(name) };
        format!("{value} {not}IN ({})", literals.join(", "))
    }

    fn comparison(&mut self) -> &'static str {
        self.pick(&["=", "=", "!=", "<", "<=", ">", ">="])
    }

    /// A literal, mostly of the kind that `name` speaks of.
    fn literal(&mut self, name: &str) -> String {
        let name = if self.percent(6) { self.pick(&NAMES) } else { name };
        match name {
            "n" | "m" if self.percent(70) => self.pick(&INTS).to_string(),
            "n" | "m" => format!("{:?}", self.pick(&FLOATS)),
            "s" | "t" => quoted(self.pick(&TEXTS)),
            "w" => format!("TIMESTAMP('{}')", self.timestamp()),
            _ => self.pick(&["TRUE", "FALSE"]).to_owned(),
        }
    }

    fn pattern(&mut self) -> String {
        let pieces = ["%", "%", "_", "a", "b", "ab", "abc", "é", "\\%", "\\\\"];
        let count = self.below(5);
        (0..count).map(|_| self.pick(&pieces)).collect()
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
