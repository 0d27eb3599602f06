//! Joining conditions: flattening, and merging what is said of one field.
//!
//! 1. Merging is exact: the joined condition holds for the same events as its parts together.
//! 2. No merge makes the condition larger.
//! 3. A set meets the other checks of its field value by value, as long as that takes at most
//!    [`SET_CHECKS_MAX`] checks; beyond, both stay.

use std::collections::BTreeMap;

use super::{Bound, Check, Condition, Constant, Field, Kind, Set, Test, Text};
use crate::filter::Pattern;

/// The most checks that cutting a set down may take.
const SET_CHECKS_MAX: usize = 1 << 16;

impl<'f> Condition<'f> {
    /// All of `parts` hold.
    pub(crate) fn all(mut parts: Vec<Condition<'f>>) -> Condition<'f> {
        if is_open(&mut parts, Join::All) {
            return Condition::All(parts);
        }
        let Some(mut parts) = open(parts, Join::All) else { return Condition::Never };
        if asks_twice(&parts) {
            let (checks, rest) = by_field(parts);
            parts = rest;
            for (field, checks) in checks {
                let Some(checks) = meet(checks) else { return Condition::Never };
                parts.extend(tests(field, checks));
            }
            order(&mut parts);
        }
        whole(parts, Condition::Always, Condition::All)
    }

    /// One of `parts` holds, or more.
    pub(crate) fn any(mut parts: Vec<Condition<'f>>) -> Condition<'f> {
        if is_open(&mut parts, Join::Any) {
            return Condition::Any(parts);
        }
        let Some(mut parts) = open(parts, Join::Any) else { return Condition::Always };
        if asks_twice(&parts) {
            let (checks, rest) = by_field(parts);
            parts = rest;
            for (field, checks) in checks {
                let Some(checks) = unite(checks) else { return Condition::Always };
                parts.extend(tests(field, checks));
            }
            order(&mut parts);
        }
        whole(parts, Condition::Never, Condition::Any)
    }
}

#[derive(Clone, Copy)]
enum Join {
    All,
    Any,
}

/// Whether the parts, once in order, are such as the joined condition has, so that there is nothing
/// more to do.
fn is_open<'f>(parts: &mut [Condition<'f>], join: Join) -> bool {
    let stays = |part: &Condition| match part {
        Condition::Test(_) | Condition::Other(_) => true,
        Condition::All(_) => matches!(join, Join::Any),
        Condition::Any(_) => matches!(join, Join::All),
        Condition::Always | Condition::Never => false,
    };
    // The names of tests mostly say it.
    let by_field = |one: &Condition<'f>, other: &Condition<'f>| match (one, other) {
        (Condition::Test(one), Condition::Test(other)) => one.field.cmp(&other.field),
        (one, other) => one.cmp(other),
    };
    if parts.len() < 2 || !parts.iter().all(stays) {
        return false;
    }
    parts.sort_unstable_by(by_field);
    parts.windows(2).all(|two| by_field(&two[0], &two[1]).is_lt())
}

/// The parts, those of nested joins of the same sort with them: sorted, distinct, and without such
/// as decide nothing. `None` if one decides the whole.
fn open<'f>(mut parts: Vec<Condition<'f>>, join: Join) -> Option<Vec<Condition<'f>>> {
    let mut at = 0;
    while let Some(part) = parts.get_mut(at) {
        match (part, join) {
            (Condition::All(inner), Join::All) | (Condition::Any(inner), Join::Any) => {
                let inner = std::mem::take(inner);
                parts.swap_remove(at);
                parts.extend(inner);
            }
            (Condition::Always, Join::All) | (Condition::Never, Join::Any) => drop(parts.swap_remove(at)),
            (Condition::Never, Join::All) | (Condition::Always, Join::Any) => return None,
            _ => at += 1,
        }
    }
    order(&mut parts);
    Some(parts)
}

fn order(parts: &mut Vec<Condition>) {
    parts.sort_unstable();
    parts.dedup();
}

/// Whether two of the sorted parts are tests of one field.
fn asks_twice(parts: &[Condition]) -> bool {
    parts.windows(2).any(|two| match two {
        [Condition::Test(one), Condition::Test(other)] => one.field == other.field,
        _ => false,
    })
}

/// What is said of each field.
type ByField<'f> = BTreeMap<Field<'f>, Vec<Check<'f>>>;

/// What is said of each field, and the rest.
fn by_field<'f>(parts: Vec<Condition<'f>>) -> (ByField<'f>, Vec<Condition<'f>>) {
    let mut checks: ByField<'f> = BTreeMap::new();
    let mut rest = Vec::new();
    for part in parts {
        match part {
            Condition::Test(test) => checks.entry(test.field).or_default().push(test.check),
            other => rest.push(other),
        }
    }
    (checks, rest)
}

fn tests<'f>(field: Field<'f>, checks: Vec<Check<'f>>) -> impl Iterator<Item = Condition<'f>> {
    checks.into_iter().map(move |check| Condition::Test(Test { field: field.clone(), check }))
}

/// The whole of sorted, distinct parts: bare if there is one only.
fn whole<'f>(
    mut parts: Vec<Condition<'f>>,
    empty: Condition<'f>,
    joined: fn(Vec<Condition<'f>>) -> Condition<'f>,
) -> Condition<'f> {
    match parts.len() {
        0 => empty,
        1 => parts.pop().unwrap_or(empty),
        _ => joined(parts),
    }
}

impl<'f> Check<'f> {
    /// Whether the check is such that it has no other form.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        match self {
            Check::OneOf(set) => set.len() == 1,
            Check::NoneOf(set) => set.len() == 1 && set[0].kind() != Kind::Bool,
            Check::Range { low, high } => (*low == Bound::Open) != (*high == Bound::Open),
            Check::Prefix(_) | Check::Suffix(_) | Check::Like { .. } => true,
            Check::Present | Check::Absent => true,
        }
    }

    /// A text that the pattern matches, or that it does not match; `None` if there is none.
    pub(crate) fn like(pattern: &'f Pattern, negated: bool) -> Option<Check<'f>> {
        match (pattern.as_exact(), pattern.as_ends()) {
            (Some(text), _) if negated => Some(Check::NoneOf(Constant::Str(text.into()).alone())),
            (Some(text), _) => Some(Check::OneOf(Constant::Str(text.into()).alone())),
            (_, Some(("", ""))) => (!negated).then(any_text),
            (_, Some((prefix, ""))) if !negated => Some(Check::Prefix(prefix.into())),
            (_, Some(("", suffix))) if !negated => Some(Check::Suffix(suffix.into())),
            _ => Some(Check::Like { pattern: pattern.clone(), negated }),
        }
    }

    /// The check in its one form; `None` if no value fulfils it.
    pub(super) fn normal(self) -> Option<Check<'f>> {
        match self {
            Check::OneOf(set) => Some(sorted(set)).filter(|set| !set.is_empty()).map(Check::OneOf),
            Check::NoneOf(set) => match sorted(set) {
                // Of two values, what is not the one is the other.
                set if set.first().map(Constant::kind) == Some(Kind::Bool) => match set[..] {
                    [Constant::Bool(known)] => Some(Check::OneOf(Constant::Bool(!known).alone())),
                    _ => None,
                },
                set => Some(Check::NoneOf(set)),
            },
            Check::Range { low, high } => range(low, high),
            check => Some(check),
        }
    }
}

fn sorted(mut set: Set<'_>) -> Set<'_> {
    // As it comes from a list of the filter.
    if !set.is_sorted_by(|one, other| one < other) {
        set.sort_unstable();
        set.dedup();
    }
    set
}

/// Each text, and nothing else: the empty one comes first.
pub(super) fn any_text<'f>() -> Check<'f> {
    Check::Range { low: Bound::Included(Constant::Str("".into())), high: Bound::Open }
}

/// What lies between two bounds of one kind; `None` if nothing does.
fn range<'f>(low: Bound<'f>, high: Bound<'f>) -> Option<Check<'f>> {
    match (low, high) {
        (Bound::Included(first), Bound::Included(last)) if first == last => Some(Check::OneOf(first.alone())),
        (low, high) => match (low.constant(), high.constant()) {
            (Some(first), Some(last)) if first >= last => None,
            _ => Some(Check::Range { low, high }),
        },
    }
}

/// The checks that hold together when all of `checks` do; `None` if they never do.
fn meet(mut checks: Vec<Check<'_>>) -> Option<Vec<Check<'_>>> {
    checks.sort_unstable();
    checks.dedup();
    if checks.contains(&Check::Absent) {
        return (checks.len() == 1).then_some(checks);
    }
    if checks.len() > 1 {
        checks.retain(|check| *check != Check::Present);
    }
    if checks.len() < 2 {
        return Some(checks);
    }
    Facts::of(checks)?.into_checks()
}

/// What is known of one field that is present.
#[derive(Default)]
struct Facts<'f> {
    one_of: Option<Set<'f>>,
    none_of: Set<'f>,
    range: Option<Range<'f>>,
    prefix: Option<Text<'f>>,
    suffix: Option<Text<'f>>,
    likes: Vec<Check<'f>>,
}

type Range<'f> = (Bound<'f>, Bound<'f>);

impl<'f> Facts<'f> {
    /// `None` if the checks ask for values of two kinds, or for two beginnings or ends.
    fn of(checks: Vec<Check<'f>>) -> Option<Facts<'f>> {
        let mut kinds = checks.iter().filter(|check| !matches!(check, Check::OneOf(_))).map(Check::kind);
        let first = kinds.next();
        if kinds.any(|kind| Some(kind) != first) {
            return None;
        }
        checks.into_iter().try_fold(Facts::default(), Facts::and)
    }

    fn and(mut self, check: Check<'f>) -> Option<Facts<'f>> {
        match check {
            Check::OneOf(set) => {
                self.one_of = Some(match self.one_of {
                    None => set,
                    Some(held) => common(held, &set),
                });
            }
            Check::NoneOf(set) => self.none_of.extend(set),
            Check::Range { low, high } => {
                self.range = Some(match self.range {
                    None => (low, high),
                    Some((l, h)) => (tighter_low(l, low), tighter_high(h, high)),
                });
            }
            Check::Prefix(text) => {
                self.prefix = Some(longer(self.prefix, text, |t, part| t.starts_with(part))?)
            }
            Check::Suffix(text) => {
                self.suffix = Some(longer(self.suffix, text, |t, part| t.ends_with(part))?)
            }
            check @ Check::Like { .. } => self.likes.push(check),
            Check::Present | Check::Absent => {}
        }
        Some(self)
    }

    fn into_checks(mut self) -> Option<Vec<Check<'f>>> {
        self.none_of = sorted(self.none_of);
        let range = match self.range.take() {
            Some((low, high)) => Some(range(shut(low, &mut self.none_of), shut(high, &mut self.none_of))?),
            None => None,
        };
        let Facts { mut one_of, none_of, prefix, suffix, likes: mut checks, .. } = self;
        checks.extend(prefix.map(Check::Prefix));
        checks.extend(suffix.map(Check::Suffix));
        match range {
            Some(Check::OneOf(point)) => {
                one_of = Some(one_of.map_or(point.clone(), |set| common(set, &point)))
            }
            range => checks.extend(range),
        }
        let none_of = restrict(none_of, &checks).unwrap_or_else(|set| set);
        checks.extend((!none_of.is_empty()).then_some(Check::NoneOf(none_of)));
        match one_of.map(|set| restrict(set, &checks)) {
            None => Some(without_any_text(checks)),
            Some(Ok(set)) => Some(vec![Check::OneOf(set).normal()?]),
            Some(Err(set)) => {
                checks.push(Check::OneOf(set));
                Some(checks)
            }
        }
    }
}

/// The members of `set` that fulfil all of `checks`; the set itself if there is too much to ask.
fn restrict<'f>(mut set: Set<'f>, checks: &[Check]) -> Result<Set<'f>, Set<'f>> {
    if set.len() * checks.len() > SET_CHECKS_MAX {
        return Err(set);
    }
    set.retain(|constant| checks.iter().all(|check| check.holds(Some(constant.value()))));
    Ok(set)
}

/// Whatever is a text already needs no check that it is one.
fn without_any_text(mut checks: Vec<Check<'_>>) -> Vec<Check<'_>> {
    if checks.len() > 1 {
        let any_text = any_text();
        checks.retain(|check| *check != any_text);
    }
    checks
}

fn common<'f>(mut held: Set<'f>, other: &[Constant]) -> Set<'f> {
    held.retain(|constant| other.binary_search(constant).is_ok());
    held
}

/// The longer of two texts, if it has the shorter as a part.
fn longer<'f>(held: Option<Text<'f>>, text: Text<'f>, has: fn(&str, &str) -> bool) -> Option<Text<'f>> {
    let Some(held) = held else { return Some(text) };
    let (long, short) = if held.len() < text.len() { (text, held) } else { (held, text) };
    has(&long, &short).then_some(long)
}

/// A bound whose value is excluded anyway excludes it itself; the value leaves the set.
fn shut<'f>(bound: Bound<'f>, none_of: &mut Set<'f>) -> Bound<'f> {
    match bound {
        Bound::Included(constant) => match none_of.binary_search(&constant) {
            Ok(at) => Bound::Excluded(none_of.remove(at)),
            Err(_) => Bound::Included(constant),
        },
        bound => bound,
    }
}

impl Bound<'_> {
    /// Whether a range with this low bound begins no earlier.
    pub(crate) fn is_tighter_low_than(&self, other: &Bound) -> bool {
        low_key(self) >= low_key(other)
    }

    /// Whether a range with this high bound ends no later.
    pub(crate) fn is_tighter_high_than(&self, other: &Bound) -> bool {
        high_key(self) <= high_key(other)
    }
}

/// Orders low bounds: the tighter is the greater.
fn low_key<'a, 'f>(bound: &'a Bound<'f>) -> (Option<&'a Constant<'f>>, bool) {
    (bound.constant(), matches!(bound, Bound::Excluded(_)))
}

/// Orders high bounds: the tighter is the less.
fn high_key<'a, 'f>(bound: &'a Bound<'f>) -> (bool, Option<&'a Constant<'f>>, bool) {
    (*bound == Bound::Open, bound.constant(), matches!(bound, Bound::Included(_)))
}

fn tighter_low<'f>(a: Bound<'f>, b: Bound<'f>) -> Bound<'f> {
    if a.is_tighter_low_than(&b) { a } else { b }
}

fn tighter_high<'f>(a: Bound<'f>, b: Bound<'f>) -> Bound<'f> {
    if a.is_tighter_high_than(&b) { a } else { b }
}

fn wider_high<'f>(a: Bound<'f>, b: Bound<'f>) -> Bound<'f> {
    if b.is_tighter_high_than(&a) { a } else { b }
}

/// The checks one of which holds when one of `checks` does; `None` if one always does.
fn unite(mut checks: Vec<Check<'_>>) -> Option<Vec<Check<'_>>> {
    checks.sort_unstable();
    checks.dedup();
    match (checks.contains(&Check::Present), checks.contains(&Check::Absent)) {
        (true, true) => return None,
        (true, false) => return Some(vec![Check::Present]),
        _ => {}
    }
    let (mut set, mut ranges, mut others) = (Set::new(), Vec::new(), Vec::new());
    for check in checks {
        match check {
            Check::OneOf(constants) => set.extend(constants),
            Check::Range { low, high } => ranges.push((low, high)),
            other => others.push(other),
        }
    }
    let mut set = sorted(set);
    let ranges = join_ranges(ranges, &set);
    set.retain(|constant| !is_in_ranges(constant, &ranges));
    others.extend(ranges.into_iter().map(|(low, high)| Check::Range { low, high }));
    others.extend((!set.is_empty()).then_some(Check::OneOf(set)));
    Some(others)
}

/// Joins ranges that overlap or touch, where they touch at a value of `set` too. Sorted.
fn join_ranges<'f>(ranges: Vec<Range<'f>>, set: &[Constant]) -> Vec<Range<'f>> {
    let mut ranges: Vec<Range<'f>> =
        ranges.into_iter().map(|(low, high)| (opened(low, set), opened(high, set))).collect();
    ranges.sort_by(|a, b| (kind(a), low_key(&a.0)).cmp(&(kind(b), low_key(&b.0))));
    let mut joined: Vec<Range<'f>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if can_join(last, &range) => {
                let end = std::mem::replace(&mut last.1, Bound::Open);
                last.1 = wider_high(end, range.1);
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn kind((low, high): &Range) -> Option<Kind> {
    low.constant().or(high.constant()).map(Constant::kind)
}

/// A bound takes its value in if `set` holds it.
fn opened<'f>(bound: Bound<'f>, set: &[Constant]) -> Bound<'f> {
    match bound {
        Bound::Excluded(constant) if set.binary_search(&constant).is_ok() => Bound::Included(constant),
        bound => bound,
    }
}

/// Whether nothing lies between two ranges of one kind, of which `next` does not begin before
/// `last`, and one end of what they make stays shut: open at both it would be of no kind.
fn can_join(last: &Range, next: &Range) -> bool {
    let open_low = last.0 == Bound::Open;
    let open_high = last.1 == Bound::Open || next.1 == Bound::Open;
    kind(last) == kind(next) && meets(&last.1, &next.0) && !(open_low && open_high)
}

fn meets(end: &Bound, low: &Bound) -> bool {
    match (end.constant(), low.constant()) {
        (Some(last), Some(first)) if last == first => {
            matches!(end, Bound::Included(_)) || matches!(low, Bound::Included(_))
        }
        (Some(last), Some(first)) => last > first,
        _ => true,
    }
}

/// Whether one of the joined ranges holds `constant`. `O(log ranges)`.
fn is_in_ranges(constant: &Constant, ranges: &[Range]) -> bool {
    let value = constant.value();
    let at = ranges.partition_point(|range| {
        kind(range) < Some(constant.kind())
            || (kind(range) == Some(constant.kind()) && range.0.is_below(&value))
    });
    // Two, because two that are open at either end are not joined.
    let near = &ranges[at.saturating_sub(2)..at];
    near.iter().any(|(low, high)| low.is_below(&value) && high.is_above(&value))
}
