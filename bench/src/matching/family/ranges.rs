//! Family c, ranges: intervals on numeric attributes.
//!
//! - 10 integers, uniform from 0 to 1,000,000; an event carries all.
//! - A subscription has 2 to 4 BETWEENs on different attributes, with a width uniform from 1 % to
//!   30 % of the range, anywhere within it.

use std::sync::Arc;

use fanal_matching::{Topic, TopicFilter};

use crate::matching::asked::{Asked, Predicate, Test};
use crate::matching::event::{AttributeIndex, AttributeKind, Code, Event, Schema};
use crate::matching::random::Random;

use super::{TOPIC, Workload, draw_distinct, topic, topic_filter};

const ATTRIBUTES: AttributeIndex = 10;
const VALUE_MAX: i64 = 1_000_000;
const WIDTH_MIN: i64 = 10_000;
const WIDTH_MAX: i64 = 300_000;

/// See the module.
pub(super) struct Ranges {
    schema: Arc<Schema>,
    topic: Topic,
    topic_filter: TopicFilter,
}

impl Ranges {
    pub(super) fn new() -> Ranges {
        let attributes = (0..ATTRIBUTES).map(|index| AttributeKind::integer(&format!("x{index}"))).collect();
        Ranges { schema: Schema::new(attributes), topic: topic(), topic_filter: topic_filter(TOPIC) }
    }
}

fn interval(random: &mut Random) -> Test {
    let width = random.within(WIDTH_MIN, WIDTH_MAX);
    let low = random.within(0, VALUE_MAX - width);
    Test::Between(low, low + width)
}

impl Workload for Ranges {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn asked(&self, random: &mut Random) -> Asked {
        let count = 2 + random.below(3) as usize;
        let attributes = draw_distinct(count, || random.below(u64::from(ATTRIBUTES)) as AttributeIndex);
        let predicates = attributes.into_iter().map(|attribute| Predicate::new(attribute, interval(random)));
        Asked::conjunction(&self.schema, &self.topic_filter, predicates.collect())
    }

    fn event(&self, random: &mut Random) -> Event {
        let values: Vec<Code> = (0..ATTRIBUTES).map(|_| Code::Int(random.within(0, VALUE_MAX))).collect();
        self.schema.event(self.topic.clone(), |attribute| Some(values[usize::from(attribute)]))
    }
}
