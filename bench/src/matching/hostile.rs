//! What filters cost that are made to hurt, or that no index can help with, beside others.
//!
//! 1. Beside [`BESIDE`] subscriptions of family a, on events that carry a long text as well.
//! 2. The ids that are found are those that plain evaluation gives, for each kind.
//! 3. What a kind adds to an event stands beside what evaluating its filters one by one takes: an
//!    index that is hurt adds more than that, or makes inserts long.

use std::time::Duration;

use fanal_matching::{Attributes, EntryId, Filter, Index, Route, Selector, TopicFilter, Value};

use super::clock::{Clock, Samples, micros};
use super::engine::Refusal;
use super::event::Event;
use super::family::Family;

/// Subscriptions that are not hostile.
const BESIDE: usize = 100_000;
const EVENTS: usize = 400;
const TEXT_BYTES: usize = 4_096;

/// Filters of one kind.
struct Kind {
    name: &'static str,
    count: usize,
    filter: fn(usize) -> String,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "OR of 1,000 values",
        count: 20,
        filter: |n| branches(|i| format!("price = {}", n * 41 + i)),
    },
    Kind { name: "OR of 1,000 tests", count: 20, filter: |n| branches(|i| any_test(n, i)) },
    Kind {
        name: "LIKE '%_%_%…', 1,000 times",
        count: 20,
        filter: |n| format!("note LIKE '{}{n}'", "%_".repeat(1_000)),
    },
    Kind {
        name: "LIKE '%a%a%…b', 1,000 times",
        count: 20,
        filter: |n| format!("note LIKE '{}b{n}'", "%a".repeat(1_000)),
    },
    Kind { name: "two names compared", count: 1_000, filter: |n| format!("price > quantity + {n}") },
    Kind { name: "function", count: 1_000, filter: |n| format!("LENGTH(account) > {}", n % 40) },
    Kind { name: "XOR", count: 1_000, filter: |n| format!("(price > {n}) XOR urgent") },
    Kind { name: "NOT of a value", count: 1_000, filter: |n| format!("NOT (account = 'acc-{n}')") },
];

/// 1,000 of them, as long as the text stays within its bound.
fn branches(branch: impl Fn(usize) -> String) -> String {
    (0..1_000).map(branch).collect::<Vec<_>>().join(" OR ")
}

/// Tests of many attributes and operators, of few letters.
fn any_test(n: usize, i: usize) -> String {
    match i % 4 {
        0 => format!("sku > 's{i}'"),
        1 => format!("desk = 'd{n}'"),
        2 => format!("price < -{i}"),
        _ => format!("kind = '{i}'"),
    }
}

/// An event of family a with a long text, `note`.
struct WithNote<'e> {
    event: &'e Event,
    note: &'e str,
}

impl Attributes for WithNote<'_> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        if name == "note" { Some(Value::Str(self.note)) } else { self.event.get(name) }
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.event.visit(see);
        see("note", Value::Str(self.note));
    }
}

/// What one kind costs.
pub(super) struct Cost {
    pub(super) name: &'static str,
    pub(super) count: usize,
    /// Of one filter.
    pub(super) text_bytes: usize,
    /// The longest.
    pub(super) insert_us: f64,
    /// An event without them.
    pub(super) before_us: f64,
    /// An event with all of them.
    pub(super) with_us: f64,
    /// All of them one by one, by plain evaluation.
    pub(super) plain_us: f64,
    pub(super) matches_per_event: f64,
}

/// Measures all kinds.
pub(super) fn measure(seed: u64) -> Result<Vec<Cost>, Refusal> {
    let index = Index::new();
    for selector in Family::A.subscriptions(seed).take(BESIDE) {
        index.insert(selector, ());
    }
    let events: Vec<Event> = Family::A.events(seed).take(EVENTS).collect();
    let note = "a".repeat(TEXT_BYTES);
    let events: Vec<WithNote<'_>> = events.iter().map(|event| WithNote { event, note: &note }).collect();
    let beside = Beside { clock: Clock::new(), index, events };
    KINDS.iter().map(|kind| beside.cost(kind)).collect()
}

struct Beside<'e> {
    clock: Clock,
    index: Index<()>,
    events: Vec<WithNote<'e>>,
}

impl Beside<'_> {
    fn cost(&self, kind: &Kind) -> Result<Cost, Refusal> {
        let selectors =
            (0..kind.count).map(|n| selector(&(kind.filter)(n))).collect::<Result<Vec<_>, _>>()?;
        let text_bytes =
            selectors.iter().filter_map(|one| one.predicate.as_ref()).map(|one| one.as_str().len());
        let text_bytes = text_bytes.max().unwrap_or(0);
        let before_us = self.event_us();
        let mut longest = Duration::ZERO;
        let mut entries = Vec::new();
        for selector in &selectors {
            let given = selector.clone();
            let (entry, took) = self.clock.measure(|| self.index.insert(given, ()));
            entries.push(entry);
            longest = longest.max(took.processor);
        }
        let with_us = self.event_us();
        let (plain_us, matches) = self.plain(&selectors, &entries, kind.name)?;
        for entry in entries {
            self.index.remove(entry);
        }
        Ok(Cost {
            name: kind.name,
            count: kind.count,
            text_bytes,
            insert_us: micros(longest),
            before_us,
            with_us,
            plain_us,
            matches_per_event: matches as f64 / self.events.len() as f64,
        })
    }

    fn route(&self) -> Option<Route<()>> {
        self.events.first().map(|first| self.index.route(&first.event.topic))
    }

    /// The median.
    fn event_us(&self) -> f64 {
        let Some(mut route) = self.route() else { return 0.0 };
        let (mut samples, mut found) = (Samples::default(), Vec::new());
        for round in 0..2 {
            for event in &self.events {
                found.clear();
                let (_, took) = self.clock.measure(|| self.index.collect(&mut route, event, &mut found));
                std::hint::black_box(&found);
                if round > 0 {
                    samples.push(took.processor);
                }
            }
        }
        samples.per_mille(500)
    }

    /// The median of an event's plain evaluation, and all matches; refuses where the index finds
    /// others.
    fn plain(
        &self,
        selectors: &[Selector],
        entries: &[EntryId],
        name: &str,
    ) -> Result<(f64, usize), Refusal> {
        let Some(mut route) = self.route() else { return Ok((0.0, 0)) };
        let (mut samples, mut matches, mut found) = (Samples::default(), 0, Vec::new());
        for event in &self.events {
            let topic = &event.event.topic;
            let plain = || selectors.iter().map(|one| one.matches(topic, event)).collect::<Vec<bool>>();
            let (wanted, took) = self.clock.measure(plain);
            samples.push(took.processor);
            found.clear();
            self.index.collect(&mut route, event, &mut found);
            found.sort_unstable();
            let right = |(entry, wanted): (&EntryId, &bool)| found.binary_search(entry).is_ok() == *wanted;
            if !entries.iter().zip(&wanted).all(right) {
                return Err(format!("{name}: the index finds others than plain evaluation"));
            }
            matches += wanted.iter().filter(|wanted| **wanted).count();
        }
        Ok((samples.per_mille(500), matches))
    }
}

fn selector(text: &str) -> Result<Selector, Refusal> {
    let topic = TopicFilter::parse("#").map_err(|error| error.to_string())?;
    let mut selector = Selector::new(topic);
    selector.predicate = Some(Filter::parse(text).map_err(|error| error.to_string())?);
    Ok(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_filter_of_the_default_mode() {
        for kind in &KINDS {
            for n in [0, kind.count - 1] {
                let text = (kind.filter)(n);
                assert!(selector(&text).is_ok(), "{}: {:?}", kind.name, selector(&text));
            }
        }
    }
}
