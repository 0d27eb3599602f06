//! Whether one filter, topic filter or selector covers another: whatever the other matches, it
//! matches too.
//!
//! 1. Sound: a yes holds for every event there can be. A no means no, or that it is not known.
//! 2. Topic filters are decided exactly; conditions by rules that find what is plain (ranges,
//!    sets, prefixes, patterns, conjunctions, disjunctions).
//! 3. Bounded: [`STEPS_MAX`] comparisons of checks, then the answer is no. Whatever the filters,
//!    an answer takes about a millisecond at most.
//!
//! Works on the normal form (`crate::normal`); looks at no event.

use crate::filter::{Filter, PatternElement};
use crate::normal::{Bound, Check, Condition, Constant, Kind, Test};
use crate::selector::Selector;
use crate::topic::TopicFilter;

#[cfg(test)]
mod tests;

/// The most comparisons of two checks, or of a constant with a check, in one answer.
const STEPS_MAX: usize = 1 << 14;

/// The most elements of one pattern times those of another in one comparison.
const PATTERN_STEPS_MAX: usize = 1 << 16;

impl Filter {
    /// Whether each event of which `other` is true makes this filter true. Surely so if true;
    /// false says no, or not known. Bounded, see the module.
    pub fn covers(&self, other: &Filter) -> bool {
        self == other || Condition::of(self).covers(&Condition::of(other))
    }
}

impl Selector {
    /// Whether each event that `other` wants is wanted by this selector. Surely so if true; false
    /// says no, or not known. Bounded, see the module.
    pub fn covers(&self, other: &Selector) -> bool {
        other.leaves_out(&other.topic) || (self.covers_topics(other) && self.covers_attributes(other))
    }

    /// Whether the topics are: what is left out here, `other` leaves out or does not ask for.
    fn covers_topics(&self, other: &Selector) -> bool {
        let is_missed = |except: &TopicFilter| {
            except.intersection(&other.topic).is_some_and(|both| !other.leaves_out(&both))
        };
        self.topic.covers(&other.topic) && !self.except.iter().any(is_missed)
    }

    /// Whether one exclusion leaves all of `topics` out.
    fn leaves_out(&self, topics: &TopicFilter) -> bool {
        self.except.iter().any(|except| except.covers(topics))
    }

    fn covers_attributes(&self, other: &Selector) -> bool {
        match (&self.predicate, &other.predicate) {
            (None, _) => true,
            (Some(own), None) => Condition::of(own) == Condition::Always,
            (Some(own), Some(other)) => own.covers(other),
        }
    }
}

impl<'f> Condition<'f> {
    /// Whether this holds wherever `other` does. Bounded, see the module.
    pub(crate) fn covers(&self, other: &Condition<'f>) -> bool {
        Proof { steps: STEPS_MAX }.implies(other, self)
    }
}

/// A search for the proof that one condition implies another.
struct Proof {
    /// How many more comparisons it may make.
    steps: usize,
}

impl Proof {
    fn implies<'f>(&mut self, given: &Condition<'f>, wanted: &Condition<'f>) -> bool {
        match (given, wanted) {
            _ if given == wanted => true,
            (Condition::Never, _) | (_, Condition::Always) => true,
            (Condition::Always, _) | (_, Condition::Never) => false,
            (Condition::Any(given), _) => self.each(given, |proof, part| proof.implies(part, wanted)),
            (_, Condition::All(wanted)) => self.each(wanted, |proof, part| proof.implies(given, part)),
            (_, Condition::Any(parts)) => self.implies_any(given, parts),
            (Condition::All(parts), _) => self.all_imply(parts, wanted),
            (Condition::Test(given), Condition::Test(wanted)) => self.test_implies(given, wanted),
            _ => false,
        }
    }

    fn each<'f>(
        &mut self,
        parts: &[Condition<'f>],
        mut holds: impl FnMut(&mut Proof, &Condition<'f>) -> bool,
    ) -> bool {
        parts.iter().all(|part| self.step() && holds(self, part))
    }

    fn some<'f>(
        &mut self,
        parts: &[Condition<'f>],
        mut holds: impl FnMut(&mut Proof, &Condition<'f>) -> bool,
    ) -> bool {
        parts.iter().any(|part| self.step() && holds(self, part))
    }

    /// Takes one step, or gives up.
    fn step(&mut self) -> bool {
        self.take(1)
    }

    fn take(&mut self, steps: usize) -> bool {
        let (left, is_over) = self.steps.overflowing_sub(steps);
        self.steps = if is_over { 0 } else { left };
        !is_over
    }

    /// One of `parts` follows, from the whole or from a part of it, or from each case of it
    /// another one.
    fn implies_any<'f>(&mut self, given: &Condition<'f>, parts: &[Condition<'f>]) -> bool {
        parts.binary_search(given).is_ok()
            || self.some(parts, |proof, part| proof.implies(given, part))
            || match given {
                Condition::Test(test) => self.cases_imply(test, parts),
                Condition::All(all) => {
                    self.some(all, |proof, one| proof.implies_any(one, parts))
                        || self.splits_imply(all, parts)
                }
                _ => false,
            }
    }

    /// Each value of a set makes one of `parts` true.
    fn cases_imply<'f>(&mut self, test: &Test<'f>, parts: &[Condition<'f>]) -> bool {
        let Check::OneOf(set) = &test.check else { return false };
        set.len() > 1
            && set.iter().all(|constant| {
                let check = Check::OneOf(constant.clone().alone());
                let case = Condition::Test(Test { field: test.field.clone(), check });
                self.some(parts, |proof, part| proof.implies(&case, part))
            })
    }

    /// The first disjunction among `all`, or the first small set, case by case beside the rest.
    fn splits_imply<'f>(&mut self, all: &[Condition<'f>], parts: &[Condition<'f>]) -> bool {
        let Some((at, cases)) = all.iter().enumerate().find_map(|(at, part)| Some((at, cases(part)?))) else {
            return false;
        };
        cases.into_iter().all(|case| {
            self.take(all.len() + parts.len()) && {
                let rest = all.iter().enumerate().filter(|(other, _)| *other != at);
                let case = Condition::all(rest.map(|(_, part)| part.clone()).chain([case]).collect());
                self.implies(&case, &Condition::Any(parts.to_vec()))
            }
        })
    }

    /// One of `parts` alone implies it.
    fn all_imply<'f>(&mut self, parts: &[Condition<'f>], wanted: &Condition<'f>) -> bool {
        parts.binary_search(wanted).is_ok() || self.some(parts, |proof, part| proof.implies(part, wanted))
    }

    fn test_implies<'f>(&mut self, given: &Test<'f>, wanted: &Test<'f>) -> bool {
        given.field == wanted.field && self.check_implies(&given.check, &wanted.check)
    }

    fn check_implies<'f>(&mut self, given: &Check<'f>, wanted: &Check<'f>) -> bool {
        match (given, wanted) {
            (Check::Absent, _) | (_, Check::Absent) => given == wanted,
            (_, Check::Present) => true,
            (Check::Present, _) => false,
            (Check::OneOf(set), _) => {
                self.take(set.len()) && set.iter().all(|constant| wanted.holds(Some(constant.value())))
            }
            // A given check that is no set holds for endlessly many values.
            (_, Check::OneOf(_)) => false,
            _ if given.kind() != wanted.kind() => false,
            (_, Check::NoneOf(set)) => {
                self.take(set.len()) && set.iter().all(|constant| !given.holds(Some(constant.value())))
            }
            (_, Check::Range { low, high }) => is_within(given, low, high),
            (Check::Range { low, high }, Check::Prefix(prefix)) => range_begins_with(low, high, prefix),
            (_, Check::Like { pattern, negated: true }) => {
                self.excludes(given, &Check::Like { pattern: pattern.clone(), negated: false })
            }
            _ => match (elements(given), elements(wanted)) {
                (Some(given), Some(wanted)) => is_special_case(&given, &wanted),
                _ => false,
            },
        }
    }

    /// Whether no text fulfils both checks.
    fn excludes<'f>(&mut self, given: &Check<'f>, other: &Check<'f>) -> bool {
        let Some(other_elements) = elements(other) else { return false };
        match given {
            // What does not match the wider pattern does not match the narrower one.
            Check::Like { pattern, negated: true } => is_special_case(&other_elements, &pattern.elements()),
            _ => elements(given).is_some_and(|elements| ends_differ(&elements, &other_elements)),
        }
    }
}

/// The most members of a set that are looked at one by one beside other conditions.
const CASES_MAX: usize = 16;

/// The cases of a disjunction, or of a small set.
fn cases<'f>(condition: &Condition<'f>) -> Option<Vec<Condition<'f>>> {
    match condition {
        Condition::Any(cases) => Some(cases.clone()),
        Condition::Test(Test { field, check: Check::OneOf(set) }) if (2..=CASES_MAX).contains(&set.len()) => {
            let case = |constant: &Constant<'f>| Check::OneOf(constant.clone().alone());
            Some(
                set.iter()
                    .map(|one| Condition::Test(Test { field: field.clone(), check: case(one) }))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// Whether every value that fulfils `given` lies between the bounds, whose kind it has.
fn is_within(given: &Check, low: &Bound, high: &Bound) -> bool {
    let is_first =
        |bound: &Bound| *bound == Bound::Open || *bound == Bound::Included(Constant::Str("".into()));
    if given.kind() == Some(Kind::Str) && is_first(low) && *high == Bound::Open {
        return true;
    }
    match given {
        Check::Range { low: first, high: last } => {
            (is_first(low) || first.is_tighter_low_than(low)) && last.is_tighter_high_than(high)
        }
        _ => {
            let prefix = elements(given).map(|elements| literal_prefix(&elements)).unwrap_or_default();
            !prefix.is_empty() && {
                let first = Bound::Included(Constant::Str(prefix.as_str().into()));
                (is_first(low) || first.is_tighter_low_than(low))
                    && end_of_prefix(&prefix).is_tighter_high_than(high)
            }
        }
    }
}

/// Whether all texts between the bounds begin with `prefix`.
fn range_begins_with(low: &Bound, high: &Bound, prefix: &str) -> bool {
    let begins = |bound: &Bound| match bound.constant() {
        Some(Constant::Str(text)) => text.starts_with(prefix),
        _ => false,
    };
    begins(low) && (begins(high) || high.is_tighter_high_than(&end_of_prefix(prefix)))
}

/// The end of the texts that begin with `prefix`: the least text above them all, excluded.
/// Texts are ordered as their characters are, since UTF-8 keeps that order.
pub(crate) fn end_of_prefix<'f>(prefix: &str) -> Bound<'f> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        if last != char::MAX {
            // A range of characters steps over the surrogates.
            characters.extend((last..=char::MAX).nth(1));
            return Bound::Excluded(Constant::Str(characters.into_iter().collect::<String>().into()));
        }
    }
    Bound::Open
}

/// The texts that fulfil the check as a pattern, if they are one.
fn elements(check: &Check) -> Option<Vec<PatternElement>> {
    let exact = |text: &str| text.chars().map(PatternElement::Exact).collect::<Vec<_>>();
    match check {
        Check::Prefix(prefix) => Some([exact(prefix), vec![PatternElement::AnyText]].concat()),
        Check::Suffix(suffix) => Some([vec![PatternElement::AnyText], exact(suffix)].concat()),
        Check::Like { pattern, negated: false } => Some(pattern.elements()),
        _ => None,
    }
}

/// What each text that matches begins with.
fn literal_prefix(elements: &[PatternElement]) -> String {
    elements.iter().map_while(exact).collect()
}

fn exact(element: &PatternElement) -> Option<char> {
    match element {
        PatternElement::Exact(character) => Some(*character),
        _ => None,
    }
}

/// Whether no text matches both, because they begin or end with different characters.
fn ends_differ(a: &[PatternElement], b: &[PatternElement]) -> bool {
    fn differ<'e>(
        a: impl Iterator<Item = &'e PatternElement>,
        b: impl Iterator<Item = &'e PatternElement>,
    ) -> bool {
        a.zip(b)
            .take_while(|(a, b)| **a != PatternElement::AnyText && **b != PatternElement::AnyText)
            .any(|(a, b)| matches!((exact(a), exact(b)), (Some(a), Some(b)) if a != b))
    }
    differ(a.iter(), b.iter()) || differ(a.iter().rev(), b.iter().rev())
}

/// Whether each text that matches `narrow` matches `wide`: `wide` matches `narrow` itself, its
/// `_` read as one character and its `%` as any text. Greedy with one place to go back to.
fn is_special_case(narrow: &[PatternElement], wide: &[PatternElement]) -> bool {
    if narrow.len().saturating_mul(wide.len()) > PATTERN_STEPS_MAX {
        return false;
    }
    let (mut n, mut w) = (0, 0);
    let mut retry = None;
    while n < narrow.len() {
        match wide.get(w) {
            Some(PatternElement::AnyText) => {
                w += 1;
                retry = Some((n, w));
            }
            Some(element) if fits(narrow[n], *element) => {
                n += 1;
                w += 1;
            }
            _ => match &mut retry {
                Some((from, after)) => {
                    *from += 1;
                    (n, w) = (*from, *after);
                }
                None => return false,
            },
        }
    }
    wide[w..].iter().all(|element| *element == PatternElement::AnyText)
}

fn fits(narrow: PatternElement, wide: PatternElement) -> bool {
    narrow == wide || (wide == PatternElement::AnyOne && narrow != PatternElement::AnyText)
}
