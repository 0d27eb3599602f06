//! Family e, high match: equality on attributes of few values.
//!
//! - 40 attributes of 4 to 8 strings (the counts take turns), uniform; an event carries all.
//! - A subscription has 1 or 2 equalities, evenly, on different attributes. There are 240 single
//!   predicates and some 28,000 pairs, so that large workloads repeat filters.

use std::sync::Arc;

use fanal_matching::{Topic, TopicFilter};

use crate::matching::asked::{Asked, Predicate, Test};
use crate::matching::event::{AttributeIndex, AttributeKind, Code, Event, Schema};
use crate::matching::random::Random;

use super::{TOPIC, Workload, draw_distinct, topic, topic_filter};

const ATTRIBUTES: AttributeIndex = 40;

/// See the module.
pub(super) struct HighMatch {
    schema: Arc<Schema>,
    topic: Topic,
    topic_filter: TopicFilter,
}

impl HighMatch {
    pub(super) fn new() -> HighMatch {
        let attributes =
            (0..ATTRIBUTES).map(|index| AttributeKind::string(&format!("flag{index:02}"), "is-"));
        let schema = Schema::new(attributes.collect());
        HighMatch { schema, topic: topic(), topic_filter: topic_filter(TOPIC) }
    }
}

fn value(attribute: AttributeIndex, random: &mut Random) -> Code {
    Code::Str(random.below(4 + u64::from(attribute % 5)) as u32)
}

impl Workload for HighMatch {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn asked(&self, random: &mut Random) -> Asked {
        let count = 1 + random.below(2) as usize;
        let attributes = draw_distinct(count, || random.below(u64::from(ATTRIBUTES)) as AttributeIndex);
        let equal = |attribute| Predicate::new(attribute, Test::Equal(value(attribute, random)));
        Asked::conjunction(&self.schema, &self.topic_filter, attributes.into_iter().map(equal).collect())
    }

    fn event(&self, random: &mut Random) -> Event {
        let values: Vec<Code> = (0..ATTRIBUTES).map(|attribute| value(attribute, random)).collect();
        self.schema.event(self.topic.clone(), |attribute| Some(values[usize::from(attribute)]))
    }
}
