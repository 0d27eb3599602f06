//! Family f, topics: topic filters over a tree, half of them with a predicate.
//!
//! - A tree of 6 levels with 20 × 10 × 10 × 10 × 10 × 10 = 2,000,000 leaves; an event is published
//!   at one of the leaves (uniform), so that topics seldom come again, with the attributes of
//!   family a.
//! - A subscription asks for a leaf (70 %), for a leaf with one level replaced by `+` (20 %, any of
//!   the six levels), or for what is below the fourth or fifth level by `#` (10 %).
//! - Every second one, by chance, has a predicate of family a.

use std::sync::Arc;

use fanal_matching::{Topic, TopicFilter};

use crate::matching::asked::{Asked, Levels, ONE, REST};
use crate::matching::event::{Event, Schema};
use crate::matching::random::Random;

use super::orders::Orders;
use super::{Workload, topic_filter};

/// Names of the levels and how many children a node has there.
const LEVELS: [(&str, u64); 6] =
    [("region", 20), ("site", 10), ("line", 10), ("cell", 10), ("device", 10), ("signal", 10)];

/// See the module.
pub(super) struct Topics {
    orders: Orders,
}

impl Topics {
    pub(super) fn new() -> Topics {
        Topics { orders: Orders::new() }
    }
}

fn leaf(random: &mut Random) -> Levels {
    LEVELS.map(|(_, children)| random.below(children) as u8)
}

fn filter(random: &mut Random) -> Levels {
    let mut levels = leaf(random);
    match random.below(10) {
        0..7 => {}
        7..9 => levels[random.below(6) as usize] = ONE,
        _ => levels[4 + random.below(2) as usize] = REST,
    }
    levels
}

/// Wildcards as they are, literals by name and number; `#` is the last.
fn text(levels: &Levels) -> String {
    let mut text = String::new();
    for ((name, _), level) in LEVELS.iter().zip(levels) {
        let separator = if text.is_empty() { "" } else { "/" };
        match *level {
            REST => return text + "/#",
            ONE => text = text + separator + "+",
            number => text = format!("{text}{separator}{name}{number}"),
        }
    }
    text
}

impl Workload for Topics {
    fn schema(&self) -> &Arc<Schema> {
        self.orders.schema()
    }

    fn asked(&self, random: &mut Random) -> Asked {
        let levels = filter(random);
        let topic: TopicFilter = topic_filter(&text(&levels));
        let mut asked = match random.percent(50) {
            true => Asked::conjunction(self.schema(), &topic, self.orders.predicates(random)),
            false => Asked::new(self.schema(), &topic, None),
        };
        asked.levels = Some(levels);
        asked
    }

    fn event(&self, random: &mut Random) -> Event {
        let levels = leaf(random);
        let topic = Topic::parse(&text(&levels)).unwrap_or_else(|_| unreachable!("levels are words"));
        let values = self.orders.values(random);
        let mut event = self.schema().event(topic, |attribute| Some(values[usize::from(attribute)]));
        event.levels = Some(levels);
        event
    }
}
