//! Family a, orders: conjunctions over 20 attributes with a selective anchor.
//!
//! - 14 strings, of which one (`reference`) is matched by prefix, 4 integers, 2 booleans; an event
//!   carries all 20.
//! - Strings and integers by Zipf(1.0) over the counts in `STRINGS` and `INTEGERS`, except
//!   `reference`, whose digits are uniform; `urgent` is true in 10 % of events, `margin` in 40 %.
//! - A subscription has an anchor, equality on `account` (40 %), `symbol` (25 %), `customer` (20 %)
//!   or `sku` (15 %), and 2 to 4 further predicates on different attributes: 20 % equality, 25 % IN
//!   of 2 to 4 values, 35 % range, 10 % boolean, 10 % prefix.
//! - A range is `>=`, `<=` or BETWEEN, with bounds that are drawn as the events' values are.

use std::sync::Arc;

use fanal_matching::{Topic, TopicFilter};

use crate::matching::asked::{Asked, Predicate, Test};
use crate::matching::event::{AttributeIndex, AttributeKind, Code, Event, PATH_DIGITS, Schema};
use crate::matching::random::{Random, Zipf};

use super::{TOPIC, Workload, draw_distinct, topic, topic_filter};

/// Names of the strings, what they begin with, and how many values they have.
const STRINGS: [(&str, &str, u32); 13] = [
    ("account", "acc-", 50_000),
    ("symbol", "SYM", 5_000),
    ("customer", "cust-", 20_000),
    ("sku", "sku-", 10_000),
    ("counterparty", "cp-", 2_000),
    ("strategy", "strat-", 300),
    ("country", "country-", 200),
    ("desk", "desk-", 100),
    ("venue", "venue-", 50),
    ("currency", "CUR", 30),
    ("channel", "channel-", 12),
    ("status", "status-", 8),
    ("kind", "kind-", 6),
];
const ANCHOR_ACCOUNT: AttributeIndex = 0;
const ANCHOR_SYMBOL: AttributeIndex = 1;
const ANCHOR_CUSTOMER: AttributeIndex = 2;
const ANCHOR_SKU: AttributeIndex = 3;
/// The first string that is no anchor.
const PLAIN_STRINGS: AttributeIndex = 4;
const REFERENCE: AttributeIndex = 13;
/// Names of the integers and how many values they have.
const INTEGERS: [(&str, u32); 4] =
    [("quantity", 10_000), ("price", 100_000), ("age_ms", 60_000), ("priority", 100)];
const INTEGERS_START: AttributeIndex = 14;
/// Names of the booleans and in how many events of 100 they are true.
const BOOLEANS: [(&str, u64); 2] = [("urgent", 10), ("margin", 40)];
const BOOLEANS_START: AttributeIndex = 18;

/// See the module.
pub(super) struct Orders {
    schema: Arc<Schema>,
    topic: Topic,
    topic_filter: TopicFilter,
    /// Of strings and integers, by attribute; `reference` has none.
    zipf: Vec<Option<Zipf>>,
}

impl Orders {
    pub(super) fn new() -> Orders {
        let strings = STRINGS.map(|(name, stem, _)| AttributeKind::string(name, stem));
        let mut attributes = Vec::from(strings);
        attributes.push(AttributeKind::path());
        attributes.extend(INTEGERS.map(|(name, _)| AttributeKind::integer(name)));
        attributes.extend(BOOLEANS.map(|(name, _)| AttributeKind::boolean(name)));
        let mut zipf = Vec::from(STRINGS.map(|(_, _, count)| Some(Zipf::new(count, 1.0))));
        zipf.push(None);
        zipf.extend(INTEGERS.map(|(_, count)| Some(Zipf::new(count, 1.0))));
        Orders { schema: Schema::new(attributes), topic: topic(), topic_filter: topic_filter(TOPIC), zipf }
    }

    /// The predicates of one subscription, the anchor first.
    pub(super) fn predicates(&self, random: &mut Random) -> Vec<Predicate> {
        let mut predicates = vec![self.equality(draw_anchor(random), random)];
        let count = 3 + random.below(3) as usize;
        while predicates.len() < count {
            let next = self.predicate(random);
            if predicates.iter().all(|predicate| predicate.attribute != next.attribute) {
                predicates.push(next);
            }
        }
        predicates
    }

    fn predicate(&self, random: &mut Random) -> Predicate {
        match random.below(100) {
            0..20 => self.equality(draw_string(random), random),
            20..45 => self.membership(draw_string(random), random),
            45..80 => self.range(INTEGERS_START + random.below(INTEGERS.len() as u64) as u16, random),
            80..90 => {
                let attribute = BOOLEANS_START + random.below(BOOLEANS.len() as u64) as u16;
                Predicate::new(attribute, Test::Equal(Code::Bool(random.percent(50))))
            }
            _ => {
                let digits = 1 + random.below(3) as u32;
                let code = random.below(1 << (4 * digits)) as u32;
                Predicate::new(REFERENCE, Test::Prefix { digits, code })
            }
        }
    }

    fn equality(&self, attribute: AttributeIndex, random: &mut Random) -> Predicate {
        Predicate::new(attribute, Test::Equal(Code::Str(self.rank(attribute, random))))
    }

    fn membership(&self, attribute: AttributeIndex, random: &mut Random) -> Predicate {
        let count = 2 + random.below(3) as usize;
        let list = draw_distinct(count, || self.rank(attribute, random));
        Predicate::new(attribute, Test::In(list.into()))
    }

    fn range(&self, attribute: AttributeIndex, random: &mut Random) -> Predicate {
        let mut bound = || i64::from(self.rank(attribute, random));
        let (one, other) = (bound(), bound());
        let test = match random.below(3) {
            0 => Test::AtLeast(one),
            1 => Test::AtMost(one),
            _ => Test::Between(one.min(other), one.max(other)),
        };
        Predicate::new(attribute, test)
    }

    fn rank(&self, attribute: AttributeIndex, random: &mut Random) -> u32 {
        match &self.zipf[usize::from(attribute)] {
            Some(zipf) => zipf.draw(random),
            None => random.below(1 << (4 * PATH_DIGITS)) as u32,
        }
    }

    /// The values of one event, by attribute.
    pub(super) fn values(&self, random: &mut Random) -> Vec<Code> {
        let strings = (0..INTEGERS_START).map(|_| true);
        let mut codes: Vec<Code> = strings
            .chain(INTEGERS.iter().map(|_| false))
            .zip(0..)
            .map(|(is_string, attribute)| match self.rank(attribute, random) {
                rank if is_string => Code::Str(rank),
                rank => Code::Int(i64::from(rank)),
            })
            .collect();
        codes.extend(BOOLEANS.map(|(_, share)| Code::Bool(random.percent(share))));
        codes
    }
}

fn draw_anchor(random: &mut Random) -> AttributeIndex {
    match random.below(100) {
        0..40 => ANCHOR_ACCOUNT,
        40..65 => ANCHOR_SYMBOL,
        65..85 => ANCHOR_CUSTOMER,
        _ => ANCHOR_SKU,
    }
}

/// A string that is neither an anchor nor matched by prefix.
fn draw_string(random: &mut Random) -> AttributeIndex {
    PLAIN_STRINGS + random.below(u64::from(REFERENCE - PLAIN_STRINGS)) as u16
}

impl Workload for Orders {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn asked(&self, random: &mut Random) -> Asked {
        Asked::conjunction(&self.schema, &self.topic_filter, self.predicates(random))
    }

    fn event(&self, random: &mut Random) -> Event {
        let values = self.values(random);
        self.schema.event(self.topic.clone(), |attribute| Some(values[usize::from(attribute)]))
    }
}
