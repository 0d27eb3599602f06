//! The workload families a to f.
//!
//! 1. A family, a seed and a number give one subscription or event, the same everywhere and for
//!    ever; a workload of n subscriptions is the first n of one stream, made lazily.
//! 2. Values of events and of subscriptions come from the same distributions, drawn independently:
//!    what is frequent in events is asked for more often.
//! 3. The parameters were set once, for matches per event (below), before there was an index.
//!
//! Parameters stand in each family's file. Matches per event that they give at 1,000,000
//! subscriptions, by the oracle over 200 events of seed 1 (a tenth of it at 100,000): a 688, b 9.1,
//! c 9,677, d 27,647, e 104,046, f 2.1.

use std::fmt;
use std::sync::Arc;

use fanal_matching::Selector;

use super::asked::Asked;
use super::event::{Event, Schema};
use super::random::Random;

mod boolean;
mod high_match;
mod orders;
mod ranges;
mod sparse;
mod topics;

/// A workload family; `fanal-bench match --family` takes the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Family {
    /// Orders: 3 to 5 predicates in conjunction on 20 attributes, Zipf values, a selective anchor.
    A,
    /// Sparse: 1,000 possible attributes, of which an event carries 20.
    B,
    /// Ranges: 2 to 4 intervals on 10 numeric attributes.
    C,
    /// Boolean: trees of AND, OR and NOT that share predicates and inner expressions.
    D,
    /// High match: 1 or 2 equalities on 40 attributes of few values.
    E,
    /// Topics: topic filters over a tree of 6 levels, half of them with a predicate of family a.
    F,
}

/// Draws subscriptions and events of one family.
trait Workload: Send + Sync {
    fn schema(&self) -> &Arc<Schema>;
    fn asked(&self, random: &mut Random) -> Asked;
    fn event(&self, random: &mut Random) -> Event;
}

/// Streams of randomness under a seed.
const SUBSCRIPTIONS: u64 = 1;
const EVENTS: u64 = 2;
const POOLS: u64 = 3;

impl Family {
    /// All families in the order of their letters.
    pub const ALL: [Family; 6] = [Family::A, Family::B, Family::C, Family::D, Family::E, Family::F];

    /// The letter.
    pub fn letter(self) -> char {
        match self {
            Family::A => 'a',
            Family::B => 'b',
            Family::C => 'c',
            Family::D => 'd',
            Family::E => 'e',
            Family::F => 'f',
        }
    }

    /// Letter and name.
    pub fn title(self) -> &'static str {
        match self {
            Family::A => "a orders",
            Family::B => "b sparse",
            Family::C => "c ranges",
            Family::D => "d boolean",
            Family::E => "e high match",
            Family::F => "f topics",
        }
    }

    /// The subscriptions without end: topic filter and predicate, parsed. A million take seconds.
    pub fn subscriptions(self, seed: u64) -> impl Iterator<Item = Selector> + Send {
        self.asked(seed).map(|asked| asked.selector())
    }

    /// The subscriptions as they are drawn, before they become text.
    pub fn asked(self, seed: u64) -> impl Iterator<Item = Asked> + Send {
        let (workload, mut random) = (self.workload(seed), Random::new(seed, SUBSCRIPTIONS));
        std::iter::repeat_with(move || workload.asked(&mut random))
    }

    /// The events without end.
    pub fn events(self, seed: u64) -> impl Iterator<Item = Event> + Send {
        let (workload, mut random) = (self.workload(seed), Random::new(seed, EVENTS));
        std::iter::repeat_with(move || workload.event(&mut random))
    }

    /// The attributes that its filters and events name.
    pub fn schema(self) -> Arc<Schema> {
        Arc::clone(self.workload(0).schema())
    }

    fn workload(self, seed: u64) -> Box<dyn Workload> {
        match self {
            Family::A => Box::new(orders::Orders::new()),
            Family::B => Box::new(sparse::Sparse::new()),
            Family::C => Box::new(ranges::Ranges::new()),
            Family::D => Box::new(boolean::Boolean::new(Random::new(seed, POOLS))),
            Family::E => Box::new(high_match::HighMatch::new()),
            Family::F => Box::new(topics::Topics::new()),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.letter().encode_utf8(&mut [0; 4]))
    }
}

/// Draws until `count` different ones came, in the order of their coming.
fn draw_distinct<T: PartialEq>(count: usize, mut draw: impl FnMut() -> T) -> Vec<T> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let one = draw();
        if !drawn.contains(&one) {
            drawn.push(one);
        }
    }
    drawn
}

/// The one topic of the families without topics, and a filter for it.
const TOPIC: &str = "events";

fn topic() -> fanal_matching::Topic {
    fanal_matching::Topic::parse(TOPIC).unwrap_or_else(|_| unreachable!("a constant without wildcards"))
}

fn topic_filter(text: &str) -> fanal_matching::TopicFilter {
    fanal_matching::TopicFilter::parse(text).unwrap_or_else(|_| unreachable!("levels are words or wildcards"))
}
