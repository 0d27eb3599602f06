use std::collections::BTreeSet;

use super::*;
use crate::filter::Filter;
use crate::index::arena::Handle;
use crate::index::blocks::{Kind, NEXT, REST, meta};
use crate::index::children::Children;
use crate::index::seen::{SAMPLED, Seen};
use crate::index::writer::chains;
use crate::index::{EntryId, Index, trie};
use crate::selector::Selector;
use crate::topic::{Topic, TopicFilter};
use crate::value::Value;

fn is_near(chance: f32, wanted: f32) -> bool {
    (chance - wanted).abs() < 0.02
}

#[test]
fn what_is_thought_decides_without_traffic_and_gives_way_to_it() {
    let traffic = Traffic::new();
    let since = traffic.begin(CodeKind::Constant, 1);
    assert!(is_near(traffic.chance(CodeKind::Constant, 1, since, 0.3), 0.3));
    for event in 0..2_000 {
        traffic.note(CodeKind::Constant, (event % 10 == 0).then_some(1).into_iter());
    }
    assert!(
        is_near(traffic.chance(CodeKind::Constant, 1, since, 0.3), 0.1),
        "{}",
        traffic.chance(CodeKind::Constant, 1, since, 0.3)
    );
}

#[test]
fn counts_follow_the_traffic() {
    let traffic = Traffic::new();
    let since = traffic.begin(CodeKind::Constant, 1);
    (0..20 * ERA).for_each(|_| traffic.note(CodeKind::Constant, [1].into_iter()));
    assert!(is_near(traffic.chance(CodeKind::Constant, 1, since, 0.0), 1.0));
    (0..10 * ERA).for_each(|_| traffic.note(CodeKind::Constant, [].into_iter()));
    assert!(
        traffic.chance(CodeKind::Constant, 1, since, 0.0) < 0.002,
        "{}",
        traffic.chance(CodeKind::Constant, 1, since, 0.0)
    );
    (0..10 * ERA).for_each(|_| traffic.note(CodeKind::Constant, [1].into_iter()));
    assert!(is_near(traffic.chance(CodeKind::Constant, 1, since, 0.0), 1.0));
}

#[test]
fn a_code_is_not_rare_for_the_time_before_it_was_there() {
    let traffic = Traffic::new();
    let old = traffic.begin(CodeKind::Constant, 1);
    (0..3 * ERA).for_each(|_| traffic.note(CodeKind::Constant, [].into_iter()));
    let new = traffic.begin(CodeKind::Constant, 2);
    assert!(traffic.chance(CodeKind::Constant, 1, old, 0.5) < 0.02);
    assert!(is_near(traffic.chance(CodeKind::Constant, 2, new, 0.5), 0.5));
    (0..2_000).for_each(|_| traffic.note(CodeKind::Constant, [2].into_iter()));
    assert!(is_near(traffic.chance(CodeKind::Constant, 2, new, 0.5), 1.0));
    // A number that is used again begins anew.
    let new = traffic.begin(CodeKind::Constant, 2);
    assert!(is_near(traffic.chance(CodeKind::Constant, 2, new, 0.1), 0.1));
}

#[test]
fn counts_halve_with_the_eras_also_where_their_number_wraps() {
    for first in [0, 7, u16::MAX - 1, u16::MAX] {
        let count = Count::new(first, 1_000);
        assert_eq!(
            [0, 1, 3, 15, 16, 300].map(|passed| count.at(first.wrapping_add(passed))),
            [1_000, 500, 125, 0, 0, 0]
        );
        assert_eq!(count.at(first.wrapping_sub(1)), 1_000);
        assert_eq!(count.one_more(first.wrapping_sub(1)).0, Count::new(first, 1_001).0);
        let second = first.wrapping_add(1);
        assert_eq!(count.one_more(second).0, Count::new(second, 501).0);
    }
    let wrapped = events_between(u32::MAX - 99, 100);
    assert!((100.0..=200.0).contains(&wrapped), "{wrapped}");
}

const ATTRIBUTES: usize = 40;

type Event = Vec<(String, Value<'static>)>;

/// Every attribute says `0`, as nearly always; customers are as many as there are events.
fn event(customer: i64) -> Event {
    let attributes = (0..ATTRIBUTES).map(|n| (format!("a{n}"), Value::Int(0)));
    attributes.chain([("customer".to_owned(), Value::Int(customer))]).collect()
}

const CUSTOMERS: usize = 12;

/// Filters ask evenly: a value of an attribute is in one of 25 that ask about the attribute, a
/// customer in one of 12.
fn filters() -> impl Iterator<Item = String> {
    let pairs = (0..25).flat_map(|value| (0..ATTRIBUTES).map(move |n| (n, value)));
    (0..10).flat_map(move |k| {
        pairs.clone().map(move |(n, value)| {
            let customer = (n * 7 + value * 3 + k * 5) % CUSTOMERS;
            format!("a{n} = {value} AND customer = {customer} AND x > {k}")
        })
    })
}

fn insert_all(index: &Index<usize>) -> Vec<(EntryId, Selector)> {
    let topic = TopicFilter::parse("t").unwrap();
    let selectors = filters().map(|filter| Selector {
        predicate: Some(Filter::parse(&filter).unwrap()),
        ..Selector::new(topic.clone())
    });
    selectors.map(|selector| (index.insert(selector.clone(), 0), selector)).collect()
}

/// How many entries an event is held against.
fn met(index: &Index<usize>, event: &Event) -> usize {
    let mut seen = Seen::new();
    index.view.vocabulary.read(&index.view.common.arena, event, &mut seen);
    let mut met = 0;
    trie::visit(&index.view, index.root, &Topic::parse("t").unwrap(), &mut |slot| {
        met += met_below(index, slot.load(&index.view.common.arena), &seen);
    });
    met
}

fn met_below(index: &Index<usize>, block: Handle, seen: &Seen) -> usize {
    let arena = &index.view.common.arena;
    if block == 0 {
        return 0;
    }
    if meta(arena, block).kind() == Kind::Inner {
        let child = |code| Children::of(arena, block).find(&index.view, code);
        let children = seen.codes().iter().map(|set| met_below(index, child(set.code), seen));
        return children.sum::<usize>() + met_below(index, arena.load(block, REST), seen);
    }
    chains::count(arena, block) + met_below(index, arena.load(block, NEXT), seen)
}

#[test]
fn entries_that_come_after_traffic_are_placed_by_what_is_rare_in_it() {
    let topic = Topic::parse("t").unwrap();
    let (fresh, seasoned) = (Index::divided_early(0), Index::divided_early(0));
    let mut all = insert_all(&fresh);
    let first = insert_all(&seasoned);
    let mut route = seasoned.route(&topic);
    for n in 0..i64::from(300 * SAMPLED) {
        seasoned.collect(&mut route, &event(n), &mut Vec::new());
    }
    // All but a few come anew: codes that nobody asks for any more are not counted.
    for (n, (id, _)) in first.iter().enumerate() {
        if n % 10 > 0 {
            seasoned.remove(*id);
        }
    }
    let again = insert_all(&seasoned);
    let (before, after) = (met(&fresh, &event(1_000_000)), met(&seasoned, &event(1_000_000)));
    assert!(after * 5 < before, "{before} entries before there was traffic, {after} after");
    // Whatever stands where, the same is found.
    let mut seasoned_all: Vec<(EntryId, Selector)> = first.into_iter().step_by(10).collect();
    seasoned_all.extend(again);
    for customer in 0..20 {
        let mut event = event(customer as i64);
        event.push(("x".to_owned(), Value::Int(5)));
        for (index, all) in [(&fresh, &mut all), (&seasoned, &mut seasoned_all)] {
            let wanted = all.iter().filter(|(_, selector)| selector.matches(&topic, &event));
            let wanted: BTreeSet<EntryId> = wanted.map(|(id, _)| *id).collect();
            let mut found = Vec::new();
            index.collect(&mut index.route(&topic), &event, &mut found);
            assert_eq!(found.len(), wanted.len());
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
            assert_eq!(wanted.is_empty(), customer >= CUSTOMERS);
        }
    }
}
