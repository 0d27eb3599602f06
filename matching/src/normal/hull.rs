//! The hull of conditions: tests that hold wherever one of several conditions does, and the text
//! of such tests as a filter.
//!
//! 1. A hull holds for every event for which one of its parts does, and for others.
//! 2. It is no larger than its parts: sets are joined up to [`SET_MAX`] members and become ranges
//!    beyond, ranges become the range around them, prefixes their common beginning.
//! 3. What is not asked by all parts is dropped.

use std::collections::BTreeMap;

use super::merge::any_text;
use super::{Bound, Check, Condition, Constant, Field, Kind};
use crate::cover::end_of_prefix;
use crate::filter::Filter;

/// The most members of a set in a hull.
const SET_MAX: usize = 32;

/// The most cases of a disjunction that are looked at.
const CASES_MAX: usize = 64;

/// The most checks of one field that are kept of a hull: dropping one only widens it.
const CHECKS_MAX: usize = 8;

/// What is asked of each field.
type Facts<'f> = BTreeMap<Field<'f>, Vec<Check<'f>>>;

impl<'f> Condition<'f> {
    /// Tests, all of which hold wherever one of the two conditions does: a test, all of several
    /// tests, always or never.
    pub(crate) fn hull(&self, other: &Condition<'f>) -> Condition<'f> {
        let facts = match (facts(self), facts(other)) {
            (Some(one), Some(other)) => join(one, &other),
            (Some(facts), None) | (None, Some(facts)) => facts,
            (None, None) => return Condition::Never,
        };
        let tests = facts.into_iter().flat_map(|(field, checks)| {
            checks.into_iter().map(move |check| Condition::test(field.clone(), check))
        });
        Condition::all(tests.collect())
    }

    /// Whether some test says more of a field than that it is there or not.
    pub(crate) fn tells_values_apart(&self) -> bool {
        let tells = |part: &Condition| match part {
            Condition::Test(test) => !matches!(test.check, Check::Present | Check::Absent),
            _ => false,
        };
        match self {
            Condition::All(parts) => parts.iter().any(tells),
            part => tells(part),
        }
    }

    /// Tests as a filter. `None` for other conditions, and for what is over a bound of filters.
    pub(crate) fn to_filter(&self) -> Option<Filter> {
        let text = match self {
            Condition::Always => "TRUE".to_owned(),
            Condition::Never => "FALSE".to_owned(),
            Condition::Test(test) => print(&test.field, &test.check),
            Condition::All(parts) => {
                let tests = parts.iter().map(|part| match part {
                    Condition::Test(test) => Some(print(&test.field, &test.check)),
                    _ => None,
                });
                tests.collect::<Option<Vec<_>>>()?.join(" AND ")
            }
            Condition::Any(_) | Condition::Other(_) => return None,
        };
        Filter::parse(&text).ok()
    }
}

/// What surely is asked wherever the condition holds; `None`: it never does.
fn facts<'f>(condition: &Condition<'f>) -> Option<Facts<'f>> {
    match condition {
        Condition::Never => None,
        Condition::Always | Condition::Other(_) => Some(Facts::new()),
        Condition::Test(test) => Some(Facts::from([(test.field.clone(), vec![test.check.clone()])])),
        Condition::All(parts) => {
            let mut all = Facts::new();
            for part in parts {
                for (field, checks) in facts(part)? {
                    all.entry(field).or_default().extend(checks);
                }
            }
            Some(all)
        }
        Condition::Any(cases) if cases.len() > CASES_MAX => Some(Facts::new()),
        Condition::Any(cases) => cases.iter().filter_map(facts).reduce(|one, other| join(one, &other)),
    }
}

/// What is asked by both.
fn join<'f>(one: Facts<'f>, other: &Facts<'f>) -> Facts<'f> {
    let joined = one.into_iter().filter_map(|(field, checks)| {
        let others = other.get(&field)?;
        let pairs = checks.iter().flat_map(|check| others.iter().map(move |other| (check, other)));
        let mut joined: Vec<Check<'f>> = pairs.filter_map(|(one, other)| join_checks(one, other)).collect();
        joined.sort_unstable();
        joined.dedup();
        joined.truncate(CHECKS_MAX);
        Some((field, joined)).filter(|(_, joined)| !joined.is_empty())
    });
    joined.collect()
}

/// A check that holds wherever one of the two does.
fn join_checks<'f>(one: &Check<'f>, other: &Check<'f>) -> Option<Check<'f>> {
    let joined = match (one, other) {
        _ if one == other => return Some(one.clone()),
        (Check::Absent, _) | (_, Check::Absent) => return None,
        (Check::OneOf(one), Check::OneOf(other)) => union(one, other),
        (Check::NoneOf(one), Check::NoneOf(other)) => {
            let common: Vec<_> = one.iter().filter(|c| other.binary_search(c).is_ok()).cloned().collect();
            (!common.is_empty()).then(|| Check::NoneOf(common.into()))
        }
        (Check::Suffix(one), Check::Suffix(other)) => {
            let common: Vec<char> = common(one.chars().rev(), other.chars().rev());
            (!common.is_empty()).then(|| Check::Suffix(common.into_iter().rev().collect::<String>().into()))
        }
        (Check::Prefix(one), Check::Prefix(other)) => {
            let common: String = common(one.chars(), other.chars());
            (!common.is_empty()).then(|| Check::Prefix(common.into()))
        }
        _ => None,
    };
    joined.or_else(|| span_both(one, other)).or_else(|| match (one.kind(), other.kind()) {
        (Some(Kind::Str), Some(Kind::Str)) => Some(any_text()),
        _ => Some(Check::Present),
    })
}

fn union<'f>(one: &[Constant<'f>], other: &[Constant<'f>]) -> Option<Check<'f>> {
    let mut all = [one, other].concat();
    all.sort_unstable();
    all.dedup();
    (all.len() <= SET_MAX).then(|| Check::OneOf(all.into()))
}

fn common<C: FromIterator<char>>(one: impl Iterator<Item = char>, other: impl Iterator<Item = char>) -> C {
    one.zip(other).take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
}

/// The range around both.
fn span_both<'f>(one: &Check<'f>, other: &Check<'f>) -> Option<Check<'f>> {
    if one.kind() != other.kind() {
        return None;
    }
    let ((one_low, one_high), (other_low, other_high)) = (span(one)?, span(other)?);
    let low = if one_low.is_tighter_low_than(&other_low) { other_low } else { one_low };
    let high = if one_high.is_tighter_high_than(&other_high) { other_high } else { one_high };
    // A range that is open at both ends has no kind.
    (low != Bound::Open || high != Bound::Open).then_some(Check::Range { low, high })
}

/// The bounds of what fulfils a check, if it has any.
fn span<'f>(check: &Check<'f>) -> Option<(Bound<'f>, Bound<'f>)> {
    match check {
        Check::OneOf(set) if !matches!(check.kind(), None | Some(Kind::Bool)) => {
            let (first, last) = (set.first()?.clone(), set.last()?.clone());
            Some((Bound::Included(first), Bound::Included(last)))
        }
        Check::Range { low, high } => Some((low.clone(), high.clone())),
        Check::Prefix(prefix) => {
            Some((Bound::Included(Constant::Str(prefix.clone())), end_of_prefix(prefix)))
        }
        _ => None,
    }
}

fn print(field: &Field, check: &Check) -> String {
    let Field::Name(name) = field;
    match check {
        Check::OneOf(set) => match &set[..] {
            [one] => format!("{name} = {}", literal(one)),
            _ => format!("{name} IN ({})", list(set)),
        },
        Check::NoneOf(set) => match &set[..] {
            [one] => format!("{name} != {}", literal(one)),
            _ => format!("{name} NOT IN ({})", list(set)),
        },
        Check::Range { low, high } => {
            let low = match low {
                Bound::Open => None,
                Bound::Included(low) => Some(format!("{name} >= {}", literal(low))),
                Bound::Excluded(low) => Some(format!("{name} > {}", literal(low))),
            };
            let high = match high {
                Bound::Open => None,
                Bound::Included(high) => Some(format!("{name} <= {}", literal(high))),
                Bound::Excluded(high) => Some(format!("{name} < {}", literal(high))),
            };
            low.into_iter().chain(high).collect::<Vec<_>>().join(" AND ")
        }
        Check::Prefix(prefix) => format!("{name} LIKE '{}%'", escaped(prefix, &['\'', '\\', '%', '_'])),
        Check::Suffix(suffix) => format!("{name} LIKE '%{}'", escaped(suffix, &['\'', '\\', '%', '_'])),
        Check::Like { pattern, negated } => {
            format!("{name} {}LIKE '{pattern}'", if *negated { "NOT " } else { "" })
        }
        Check::Present => format!("EXISTS {name}"),
        Check::Absent => format!("{name} IS NULL"),
    }
}

fn list(set: &[Constant]) -> String {
    set.iter().map(literal).collect::<Vec<_>>().join(", ")
}

fn literal(constant: &Constant) -> String {
    match constant {
        Constant::Bool(true) => "TRUE".to_owned(),
        Constant::Bool(false) => "FALSE".to_owned(),
        Constant::Int(number) => number.to_string(),
        // The shortest text that reads back the same, with a `.` or an `e`.
        Constant::Float(number) => format!("{number:?}"),
        Constant::Str(text) => format!("'{}'", escaped(text, &['\'', '\\'])),
        Constant::Timestamp(timestamp) => format!("TIMESTAMP('{timestamp}')"),
    }
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
