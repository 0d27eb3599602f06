//! Events and asks by chance, and the oracle's own idea of which fits which.
//!
//! Invariant: nothing here uses the code under test. Predicates are trees of which the text for
//! the broker is written; what they mean is decided on the tree, by three-valued logic.

use crate::random::Random;

/// What an event says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its topic.
    pub topic: &'static str,
    /// Attribute `n`.
    pub n: Option<i64>,
    /// Attribute `s`.
    pub s: Option<&'static str>,
}

const TOPICS: [&str; 8] = ["a", "b", "a/b", "a/c", "b/c", "a/b/c", "a/b/d", "b/b/b/b"];
const FILTERS: [&str; 12] =
    ["#", "a/#", "a/+", "+/b", "b", "a/b/c", "a/b/#", "+/+/+", "+", "b/#", "a/+/d", "#"];
const EXCEPTS: [&str; 4] = ["a/b", "b/#", "+/c", "a/b/+"];
const TEXTS: [&str; 3] = ["x", "y", "zebra"];

impl Facts {
    /// An event by chance.
    pub fn draw(random: &mut Random) -> Facts {
        Facts {
            topic: random.pick::<&str>(&TOPICS),
            n: random.chance(800).then(|| random.below(10) as i64),
            s: random.chance(700).then(|| *random.pick(&TEXTS)),
        }
    }
}

/// A predicate as a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Above(i64),
    AtMost(i64),
    Within(i64, i64),
    Text(&'static str),
    NoText,
    Not(Box<Test>),
    Both(Box<Test>, Box<Test>),
    Either(Box<Test>, Box<Test>),
}

impl Test {
    fn draw(random: &mut Random, depth: u64) -> Test {
        let kinds = if depth == 0 { 5 } else { 8 };
        let n = random.below(9) as i64;
        match random.below(kinds) {
            0 => Test::Above(n),
            1 => Test::AtMost(n),
            2 => Test::Within(n, n + random.below(4) as i64),
            3 => Test::Text(random.pick::<&str>(&TEXTS)),
            4 => Test::NoText,
            5 => Test::Not(Box::new(Test::draw(random, depth - 1))),
            6 => Test::Both(Box::new(Test::draw(random, depth - 1)), Box::new(Test::draw(random, depth - 1))),
            _ => {
                Test::Either(Box::new(Test::draw(random, depth - 1)), Box::new(Test::draw(random, depth - 1)))
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Test::Above(n) => format!("n > {n}"),
            Test::AtMost(n) => format!("n <= {n}"),
            Test::Within(from, through) => format!("n BETWEEN {from} AND {through}"),
            Test::Text(text) => format!("s = '{text}'"),
            Test::NoText => "s IS NULL".into(),
            Test::Not(test) => format!("NOT ({})", test.text()),
            Test::Both(one, two) => format!("({}) AND ({})", one.text(), two.text()),
            Test::Either(one, two) => format!("({}) OR ({})", one.text(), two.text()),
        }
    }

    /// `None`: unknown.
    fn holds(&self, facts: &Facts) -> Option<bool> {
        match self {
            Test::Above(n) => facts.n.map(|value| value > *n),
            Test::AtMost(n) => facts.n.map(|value| value <= *n),
            Test::Within(from, through) => facts.n.map(|value| (*from..=*through).contains(&value)),
            Test::Text(text) => facts.s.map(|value| value == *text),
            Test::NoText => Some(facts.s.is_none()),
            Test::Not(test) => test.holds(facts).map(|value| !value),
            Test::Both(one, two) => match (one.holds(facts), two.holds(facts)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Test::Either(one, two) => match (one.holds(facts), two.holds(facts)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

/// What a subscription asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Topic filter.
    pub filter: &'static str,
    /// Topics left out.
    pub except: Option<&'static str>,
    test: Option<Test>,
}

impl Wish {
    /// A wish by chance.
    pub fn draw(random: &mut Random) -> Wish {
        Wish {
            filter: random.pick::<&str>(&FILTERS),
            except: random.chance(150).then(|| *random.pick(&EXCEPTS)),
            test: random.chance(450).then(|| Test::draw(random, 2)),
        }
    }

    /// The predicate for the broker, in default mode or in strict mode. A comparison of one number says
    /// the same in both, so that wishes of both kinds are about without another draw.
    pub fn predicates(&self) -> (Option<String>, Option<String>) {
        match &self.test {
            Some(test @ Test::Above(_)) => (None, Some(test.text())),
            test => (test.as_ref().map(Test::text), None),
        }
    }

    /// Whether an event is wanted.
    pub fn matches(&self, facts: &Facts) -> bool {
        topic_fits(self.filter, facts.topic)
            && !self.except.is_some_and(|except| topic_fits(except, facts.topic))
            && self.test.as_ref().is_none_or(|test| test.holds(facts) == Some(true))
    }
}

/// Whether a filter fits a topic.
pub(crate) fn topic_fits(filter: &str, topic: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    levels_fit(&filter, &topic)
}

fn levels_fit(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([one, filter @ ..], [level, topic @ ..]) => {
            (*one == "+" || one == level) && levels_fit(filter, topic)
        }
        ([], []) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_as_in_mqtt() {
        for (filter, topic, fits) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("+", "a/b", false),
            ("+/b", "a/b", true),
            ("a", "b", false),
        ] {
            assert_eq!(topic_fits(filter, topic), fits, "{filter} {topic}");
        }
    }

    #[test]
    fn what_is_missing_is_unknown_and_stays_so_under_not() {
        let facts = Facts { topic: "a", n: None, s: Some("x") };
        let test = Test::Not(Box::new(Test::Above(3)));
        assert_eq!(test.holds(&facts), None);
        assert_eq!(Test::Either(Box::new(test), Box::new(Test::Text("x"))).holds(&facts), Some(true));
    }
}
