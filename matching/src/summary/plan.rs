//! What to do when the budget is exceeded: a list of steps, each of which frees an entry or more.
//!
//! 1. A plan uses one means, the mildest that offers a step.
//! 2. A plan is made of the entries as they are, and used up by and by: each step looks again
//!    whether it still fits.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use super::cells::{Shape, beginnings};
use super::{Ask, Place, Summary};
use crate::topic::TopicFilter;

/// One thing that frees entries.
#[derive(Debug)]
pub(super) enum Step {
    /// Joins two neighbours of one topic filter, and what each is joined with already.
    Pair(Arc<Ask>, Arc<Ask>),
    /// One entry for a topic filter.
    Topic(u8, TopicFilter),
    /// One entry for all that begins with these levels.
    Beginning(u8, Box<str>),
}

/// A plan should free one of so many entries.
const FREED_PART: usize = 32;

/// A step, and about how many entries it frees.
type Offer = (Step, usize);

/// The means, the mildest first.
const COVERED: usize = 0;
const PAIRS: usize = 1;
pub(super) const TOPICS: usize = 2;
const BEGINNINGS: usize = 3;

/// What now has one entry: an exact ask, or a cell by one of its asks.
struct Unit {
    ask: Arc<Ask>,
    /// How many asks share it.
    asks: usize,
    /// Whether it is a cell that nothing but a wider topic filter can take in.
    is_whole: bool,
}

/// The units of one topic filter and class. A cell of a beginning is in it by its entry.
struct Group {
    units: Vec<Unit>,
}

impl Group {
    fn class(&self) -> u8 {
        self.units.first().map_or(0, |unit| unit.ask.class())
    }

    fn topic(&self) -> Option<&TopicFilter> {
        self.units.first().map(|unit| unit.ask.topic())
    }
}

impl Summary {
    /// Plans with the first means from `stage` on that offers a step, and with harsher ones behind
    /// it as long as the plan frees few entries: making a plan costs more than to use a step. A whole
    /// plan has all that they offer. Which one was the first; `None` if none offers any.
    pub(super) fn make_plan(&mut self, stage: usize, is_whole: bool) -> Option<usize> {
        let groups = self.groups();
        let wanted = if is_whole { usize::MAX } else { self.len() / FREED_PART + 1 };
        let (mut first, mut freed) = (None, 0);
        self.has_many_pairs = false;
        for stage in stage..=BEGINNINGS {
            let steps = match stage {
                COVERED => covered(&groups),
                PAIRS => pairs(&groups),
                TOPICS => topics(&groups),
                _ => by_beginning(&groups),
            };
            for (step, frees) in steps {
                // No more than is wanted of what is harsh: milder steps may be there by then.
                if stage >= TOPICS && freed >= wanted {
                    break;
                }
                first = first.or(Some(stage));
                freed += frees;
                self.plan.push_back(step);
            }
            if freed >= wanted {
                self.has_many_pairs = stage == PAIRS;
                break;
            }
        }
        first
    }

    /// Leaves out what real asks cover, as far as it is found.
    pub(super) fn leave_covered_out(&mut self) {
        let groups = self.groups();
        let pairs = pairs(&groups).into_iter().filter(|(step, _)| match step {
            Step::Pair(one, other) => one.covers_predicate(other) || other.covers_predicate(one),
            _ => false,
        });
        for (step, _) in covered(&groups).into_iter().chain(pairs) {
            self.take_step(step);
        }
    }

    /// Does a step if it still frees an entry.
    pub(super) fn take_step(&mut self, step: Step) -> bool {
        match step {
            Step::Pair(one, other) => self.join_pair(&one, &other),
            Step::Topic(class, topic) => self.gather(Ask::all_of(class, topic.clone()), Shape::Topic(topic)),
            Step::Beginning(class, levels) => {
                let text = if levels.is_empty() { "#".to_owned() } else { format!("{levels}/#") };
                // The levels may be as many as a topic filter can have.
                let Ok(topic) = TopicFilter::parse(&text) else { return false };
                self.gather(Ask::all_of(class, topic), Shape::Beginning(levels))
            }
        }
    }

    /// All entries by class and topic filter. What shares a cell of a beginning or of a topic
    /// filter is stepped over. `O(entries log asks)`.
    fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut from = Some(Ask::least(0, ""));
        while let Some(start) = from.take() {
            for (ask, held) in self.asks.range::<Ask, _>((Included(&start), Unbounded)) {
                let (unit, next) = self.unit(ask, held.place);
                if let Some(unit) = unit {
                    push(&mut groups, unit);
                }
                if next.is_some() {
                    from = next;
                    break;
                }
            }
        }
        groups
    }

    /// The unit that an ask begins, and from where to go on if not from the next one.
    fn unit(&self, ask: &Arc<Ask>, place: Place) -> (Option<Unit>, Option<Ask>) {
        let exact = Unit { ask: Arc::clone(ask), asks: 1, is_whole: false };
        let Place::In(id) = place else { return (Some(exact), None) };
        let is_opening = self.opening.as_ref().is_some_and(|opening| opening.cell == id);
        let Some(cell) = self.cells.get(id).filter(|_| !is_opening) else { return (None, None) };
        if cell.is_hull() {
            let is_first = self.is_first_of_hull(ask, id);
            return (is_first.then_some(Unit { asks: cell.asks(), ..exact }), None);
        }
        let (class, topic) = (ask.class(), ask.topic().as_str());
        let whole = Unit { ask: Arc::clone(&cell.entry), asks: cell.asks(), is_whole: true };
        let after_topic = Ask::least(class, &format!("{topic}\0"));
        match cell.beginning() {
            None => (Some(whole), Some(after_topic)),
            Some("") if topic < "$" => (Some(whole), Some(Ask::least(class, "$"))),
            Some("") => (Some(whole), class.checked_add(1).map(|class| Ask::least(class, ""))),
            Some(levels) if topic == levels => (Some(whole), Some(after_topic)),
            // `0` comes after `/`.
            Some(levels) => (Some(whole), Some(Ask::least(class, &format!("{levels}0")))),
        }
    }

    fn is_first_of_hull(&self, ask: &Arc<Ask>, id: super::CellId) -> bool {
        self.cells.get(id).and_then(|cell| cell.first_of_hull()).is_some_and(|first| first == ask)
    }
}

fn push(groups: &mut Vec<Group>, unit: Unit) {
    match groups.last_mut() {
        Some(group) if (group.class(), group.topic()) == (unit.ask.class(), Some(unit.ask.topic())) => {
            // A cell of a beginning is met at most twice: at its own levels, and below.
            if !unit.is_whole || group.units.last().is_none_or(|last| last.ask != unit.ask) {
                group.units.push(unit);
            }
        }
        _ => groups.push(Group { units: vec![unit] }),
    }
}

/// Everything that somebody asks for without a condition, where others ask for parts of it.
fn covered(groups: &[Group]) -> Vec<Offer> {
    let mut counts = None;
    let mut steps = Vec::new();
    let all = groups.iter().flat_map(|group| group.units.iter().map(move |unit| (group, unit)));
    for (group, unit) in all.filter(|(_, unit)| unit.ask.is_unconditional() && !unit.is_whole) {
        let (class, topic) = (unit.ask.class(), unit.ask.topic());
        let levels = if topic.as_str() == "#" { Some("") } else { topic.as_str().strip_suffix("/#") };
        match levels {
            Some(levels) => {
                let counts = counts.get_or_insert_with(|| count_by_beginning(groups));
                let count = counts.get(&(class, levels)).copied().unwrap_or(0);
                if count > 1 {
                    steps.push((Step::Beginning(class, levels.into()), count - 1));
                }
            }
            None if group.units.len() > 1 => {
                steps.push((Step::Topic(class, topic.clone()), group.units.len() - 1));
            }
            None => {}
        }
    }
    steps
}

/// Neighbours that differ in the predicate alone and begin to speak of the same name, those of
/// few asks first.
fn pairs(groups: &[Group]) -> Vec<Offer> {
    let mut pairs = Vec::new();
    for group in groups {
        let mut units = group.units.iter().filter(|unit| !unit.is_whole).peekable();
        while let Some(one) = units.next() {
            if let Some(other) = units.next_if(|other| are_alike(&one.ask, &other.ask)) {
                pairs.push((one.asks + other.asks, &one.ask, &other.ask));
            }
        }
    }
    pairs.sort_by_key(|(asks, ..)| *asks);
    let step = |one: &Arc<Ask>, other: &Arc<Ask>| Step::Pair(Arc::clone(one), Arc::clone(other));
    pairs.into_iter().map(|(_, one, other)| (step(one, other), 1)).collect()
}

/// Whether joining two asks promises to leave something of their predicates.
pub(super) fn are_alike(one: &Ask, other: &Ask) -> bool {
    let word = |ask: &Ask| ask.predicate().and_then(|text| text.split(' ').next()).map(str::to_owned);
    let is_opaque = one.is_strict() || other.is_strict();
    !is_opaque && one.differs_by_predicate(other) && word(one) == word(other)
}

/// Topic filters with two entries or more, those with most first: the fewest are widened.
fn topics(groups: &[Group]) -> Vec<Offer> {
    let mut many: Vec<&Group> = groups.iter().filter(|group| group.units.len() > 1).collect();
    many.sort_by_key(|group| std::cmp::Reverse(group.units.len()));
    let step = |group: &Group| Some(Step::Topic(group.class(), group.topic()?.clone()));
    many.into_iter().filter_map(|group| Some((step(group)?, group.units.len() - 1))).collect()
}

/// Beginnings with two entries or more, the longest first, and those with most of them.
fn by_beginning(groups: &[Group]) -> Vec<Offer> {
    let depth = |levels: &str| if levels.is_empty() { 0 } else { 1 + levels.matches('/').count() };
    let mut many: Vec<_> = count_by_beginning(groups).into_iter().filter(|(_, count)| *count > 1).collect();
    many.sort_by_key(|((_, levels), count)| std::cmp::Reverse((depth(levels), *count)));
    let step = |class, levels: &str| Step::Beginning(class, levels.into());
    many.into_iter().map(|((class, levels), count)| (step(class, levels), count - 1)).collect()
}

fn count_by_beginning(groups: &[Group]) -> BTreeMap<(u8, &str), usize> {
    let mut counts = BTreeMap::new();
    for group in groups {
        let Some(topic) = group.topic() else { continue };
        for levels in beginnings(topic.as_str()) {
            *counts.entry((group.class(), levels)).or_insert(0) += group.units.len();
        }
    }
    counts
}
