//! Family b, sparse: 1,000 possible attributes, of which an event carries 20.
//!
//! - Attributes by Zipf(1.0), in events and subscriptions alike; two of three hold one of 50
//!   strings, every third an integer from 0 to 999; values are uniform.
//! - A subscription has 3 to 5 predicates on different attributes; each is, with two chances in
//!   three, equality on a string attribute, else a BETWEEN on an integer attribute, whose width is
//!   uniform from 1 to 800, so that it holds for about 40 % of the values.

use std::sync::Arc;

use fanal_matching::{Topic, TopicFilter};

use crate::matching::asked::{Asked, Predicate, Test};
use crate::matching::event::{AttributeIndex, AttributeKind, Code, Event, Schema};
use crate::matching::random::{Random, Zipf};

use super::{TOPIC, Workload, draw_distinct, topic, topic_filter};

const ATTRIBUTES: u32 = 1_000;
const PER_EVENT: usize = 20;
const STRINGS: u64 = 50;
const INTEGER_MAX: i64 = 999;
const WIDTH_MAX: i64 = 800;

/// See the module.
pub(super) struct Sparse {
    schema: Arc<Schema>,
    topic: Topic,
    topic_filter: TopicFilter,
    zipf: Zipf,
}

impl Sparse {
    pub(super) fn new() -> Sparse {
        let attributes = (0..ATTRIBUTES as AttributeIndex).map(|index| match is_string(index) {
            true => AttributeKind::string(&format!("tag{index:03}"), "v"),
            false => AttributeKind::integer(&format!("num{index:03}")),
        });
        Sparse {
            schema: Schema::new(attributes.collect()),
            topic: topic(),
            topic_filter: topic_filter(TOPIC),
            zipf: Zipf::new(ATTRIBUTES, 1.0),
        }
    }

    fn attribute(&self, random: &mut Random) -> AttributeIndex {
        self.zipf.draw(random) as AttributeIndex
    }

    fn predicate(&self, random: &mut Random) -> Predicate {
        let wants_string = random.below(3) < 2;
        let mut attribute = self.attribute(random);
        while is_string(attribute) != wants_string {
            attribute = self.attribute(random);
        }
        Predicate::new(attribute, if wants_string { equality(random) } else { interval(random) })
    }
}

fn is_string(index: AttributeIndex) -> bool {
    index % 3 != 1
}

fn equality(random: &mut Random) -> Test {
    Test::Equal(Code::Str(random.below(STRINGS) as u32))
}

fn interval(random: &mut Random) -> Test {
    let width = random.within(1, WIDTH_MAX);
    let low = random.within(0, INTEGER_MAX + 1 - width);
    Test::Between(low, low + width - 1)
}

impl Workload for Sparse {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn asked(&self, random: &mut Random) -> Asked {
        let count = 3 + random.below(3) as usize;
        let mut predicates: Vec<Predicate> = Vec::with_capacity(count);
        while predicates.len() < count {
            let next = self.predicate(random);
            if predicates.iter().all(|predicate| predicate.attribute != next.attribute) {
                predicates.push(next);
            }
        }
        Asked::conjunction(&self.schema, &self.topic_filter, predicates)
    }

    fn event(&self, random: &mut Random) -> Event {
        let mut values = vec![None; ATTRIBUTES as usize];
        for attribute in draw_distinct(PER_EVENT, || self.attribute(random)) {
            values[usize::from(attribute)] = Some(match is_string(attribute) {
                true => Code::Str(random.below(STRINGS) as u32),
                false => Code::Int(random.within(0, INTEGER_MAX)),
            });
        }
        self.schema.event(self.topic.clone(), |attribute| values[usize::from(attribute)])
    }
}
