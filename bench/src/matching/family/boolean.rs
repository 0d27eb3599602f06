//! Family d, boolean: trees of AND, OR and NOT that share predicates and inner expressions.
//!
//! - 30 attributes: 18 strings of 100 values by Zipf(1.0), 12 integers uniform from 0 to 9,999; an
//!   event carries each with 95 %, so that NOT meets the unknown.
//! - 5,000 distinct predicates, drawn once from the seed: 25 % equality, 25 % IN of 2 to 4 values,
//!   50 % ranges (BETWEEN, `>=`, `<=`, evenly) that hold for 1 to 15 % of the values.
//! - 20,000 shared inner expressions: AND or OR, evenly, of 2 or 3 of these predicates.
//! - A subscription is AND or OR, evenly, of 2 or 3 inner expressions of the other connective, so
//!   that the tree stays three deep; 75 % of them are shared (uniform), the others private.
//! - NOT excludes, so it stands under AND: 5 % of the operands there are negated.

use std::collections::HashSet;
use std::sync::Arc;

use fanal_matching::{Topic, TopicFilter};

use crate::matching::asked::{Asked, Condition, Predicate, Test};
use crate::matching::event::{AttributeIndex, AttributeKind, Code, Event, Schema};
use crate::matching::random::{Random, Zipf};

use super::{TOPIC, Workload, draw_distinct, topic, topic_filter};

const STRINGS: AttributeIndex = 18;
const STRING_VALUES: u32 = 100;
const INTEGERS: AttributeIndex = 12;
const INTEGER_MAX: i64 = 9_999;
const WIDTH_MIN: i64 = 100;
const WIDTH_MAX: i64 = 1_500;
const PREDICATES: usize = 5_000;
const INNER_EACH: usize = 10_000;
const PRESENT: u64 = 95;
const SHARED: u64 = 75;
const NEGATED: u64 = 5;

/// See the module.
pub(super) struct Boolean {
    schema: Arc<Schema>,
    topic: Topic,
    topic_filter: TopicFilter,
    zipf: Zipf,
    predicates: Vec<Predicate>,
    /// Shared conjunctions and disjunctions.
    inner_all: Vec<Condition>,
    inner_any: Vec<Condition>,
}

impl Boolean {
    /// Predicates and shared expressions are drawn from `random`.
    pub(super) fn new(mut random: Random) -> Boolean {
        let strings = (0..STRINGS).map(|index| AttributeKind::string(&format!("word{index:02}"), "w"));
        let integers = (0..INTEGERS).map(|index| AttributeKind::integer(&format!("number{index:02}")));
        let mut boolean = Boolean {
            schema: Schema::new(strings.chain(integers).collect()),
            topic: topic(),
            topic_filter: topic_filter(TOPIC),
            zipf: Zipf::new(STRING_VALUES, 1.0),
            predicates: Vec::new(),
            inner_all: Vec::new(),
            inner_any: Vec::new(),
        };
        let predicates = boolean.distinct(PREDICATES, || Condition::Is(boolean.predicate(&mut random)));
        boolean.predicates = predicates.into_iter().filter_map(predicate_of).collect();
        boolean.inner_all = boolean.distinct(INNER_EACH, || boolean.all(&mut random));
        boolean.inner_any = boolean.distinct(INNER_EACH, || boolean.any(&mut random));
        boolean
    }

    /// Draws until there are `count` that differ in their text.
    fn distinct(&self, count: usize, mut draw: impl FnMut() -> Condition) -> Vec<Condition> {
        let mut seen = HashSet::new();
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            let condition = draw();
            if seen.insert(condition.text(&self.schema)) {
                drawn.push(condition);
            }
        }
        drawn
    }

    fn predicate(&self, random: &mut Random) -> Predicate {
        let string = random.below(u64::from(STRINGS)) as AttributeIndex;
        let integer = STRINGS + random.below(u64::from(INTEGERS)) as AttributeIndex;
        match random.below(4) {
            0 => Predicate::new(string, Test::Equal(Code::Str(self.zipf.draw(random)))),
            1 => {
                let count = 2 + random.below(3) as usize;
                Predicate::new(string, Test::In(draw_distinct(count, || self.zipf.draw(random)).into()))
            }
            _ => Predicate::new(integer, range(random)),
        }
    }

    /// 2 or 3 of the predicates.
    fn operands(&self, random: &mut Random) -> Vec<Condition> {
        let count = 2 + random.below(2) as usize;
        let places = draw_distinct(count, || random.below(PREDICATES as u64) as usize);
        places.into_iter().map(|place| Condition::Is(self.predicates[place].clone())).collect()
    }

    fn all(&self, random: &mut Random) -> Condition {
        let operands = self.operands(random);
        Condition::All(operands.into_iter().map(|operand| excluding(operand, random)).collect())
    }

    fn any(&self, random: &mut Random) -> Condition {
        Condition::Any(self.operands(random))
    }

    fn inner_all(&self, random: &mut Random) -> Condition {
        if random.percent(SHARED) { random.pick(&self.inner_all).clone() } else { self.all(random) }
    }

    fn inner_any(&self, random: &mut Random) -> Condition {
        if random.percent(SHARED) { random.pick(&self.inner_any).clone() } else { self.any(random) }
    }

    fn tree(&self, random: &mut Random) -> Condition {
        let count = 2 + random.below(2);
        if random.percent(50) {
            return Condition::Any((0..count).map(|_| self.inner_all(random)).collect());
        }
        let inner = (0..count).map(|_| self.inner_any(random)).collect::<Vec<_>>();
        Condition::All(inner.into_iter().map(|operand| excluding(operand, random)).collect())
    }
}

/// Negates some operands of an AND.
fn excluding(operand: Condition, random: &mut Random) -> Condition {
    if random.percent(NEGATED) { Condition::Not(Box::new(operand)) } else { operand }
}

fn range(random: &mut Random) -> Test {
    let width = random.within(WIDTH_MIN, WIDTH_MAX);
    match random.below(3) {
        0 => Test::AtLeast(INTEGER_MAX + 1 - width),
        1 => Test::AtMost(width - 1),
        _ => {
            let low = random.within(0, INTEGER_MAX + 1 - width);
            Test::Between(low, low + width - 1)
        }
    }
}

fn predicate_of(condition: Condition) -> Option<Predicate> {
    match condition {
        Condition::Is(predicate) => Some(predicate),
        _ => None,
    }
}

impl Workload for Boolean {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn asked(&self, random: &mut Random) -> Asked {
        Asked::new(&self.schema, &self.topic_filter, Some(self.tree(random)))
    }

    fn event(&self, random: &mut Random) -> Event {
        let draw = |index: AttributeIndex| {
            let code = match index < STRINGS {
                true => Code::Str(self.zipf.draw(random)),
                false => Code::Int(random.within(0, INTEGER_MAX)),
            };
            random.percent(PRESENT).then_some(code)
        };
        let values: Vec<Option<Code>> = (0..STRINGS + INTEGERS).map(draw).collect();
        self.schema.event(self.topic.clone(), |attribute| values[usize::from(attribute)])
    }
}
