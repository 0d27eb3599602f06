//! Arrays that come and go while readers are at them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::filter::Filter;
use crate::generate::Generator;
use crate::index::blocks::{Kind, meta};
use crate::index::seen::Seen;
use crate::index::{EntryId, Index, trie};
use crate::selector::Selector;
use crate::topic::{Topic, TopicFilter};
use crate::value::Value;

/// How often arrays come and go.
const ROUNDS: usize = 200;

type Event = Vec<(String, Value<'static>)>;

fn selector(filter: &str) -> Selector {
    Selector {
        predicate: Some(Filter::parse(filter).unwrap()),
        ..Selector::new(TopicFilter::parse("t").unwrap())
    }
}

/// An entry that asks for one code and something that no code says.
fn asks(value: usize) -> Selector {
    selector(&format!("a = {value} AND x > 0"))
}

fn event(value: usize) -> Event {
    vec![("a".to_owned(), Value::Int(value as i64)), ("x".to_owned(), Value::Int(1))]
}

/// What the topic leads to.
fn root(index: &Index<usize>) -> Handle {
    let mut root = 0;
    let load = &mut |slot: trie::Slot| root = slot.load(&index.view.common.arena);
    trie::visit(&index.view, index.root, &Topic::parse("t").unwrap(), load);
    root
}

/// The array of the one inner block.
fn array(index: &Index<usize>) -> Option<Handle> {
    let (arena, root) = (&index.view.common.arena, root(index));
    let is_inner = root != 0 && meta(arena, root).kind() == Kind::Inner;
    is_inner.then(|| arena.load(root, ARRAY))
}

fn count(index: &Index<usize>) -> usize {
    array(index).map_or(0, |array| index.view.common.arena.load(array, COUNT) as usize)
}

fn found(index: &Index<usize>, value: usize) -> Vec<EntryId> {
    let mut found = Vec::new();
    index.collect(&mut index.route(&Topic::parse("t").unwrap()), &event(value), &mut found);
    found
}

#[test]
fn an_array_is_made_where_codes_are_dense_and_given_up_where_they_are_not() {
    let index: Index<usize> = Index::divided_early(0);
    let ids: Vec<EntryId> = (0..40).map(|value| index.insert(asks(value), value)).collect();
    assert!(count(&index) >= 40, "{}", count(&index));
    (0..40).for_each(|value| assert_eq!(found(&index, value), [ids[value]]));
    // It grows with what is beside it.
    let more: Vec<EntryId> = (40..400).map(|value| index.insert(asks(value), value)).collect();
    assert!((400..=500).contains(&count(&index)), "{}", count(&index));
    for (value, id) in more.iter().enumerate().filter(|(value, _)| *value > 2) {
        assert_eq!(found(&index, value + 40), [*id]);
        index.remove(*id);
    }
    assert!(count(&index) >= 400, "a tenth is left: {}", count(&index));
    ids.iter().skip(3).for_each(|id| assert!(index.remove(*id).is_some()));
    assert_eq!((array(&index).is_some(), count(&index)), (true, 0));
    for (value, id) in ids.iter().chain(&more).enumerate() {
        let expected = if value < 3 || (40..43).contains(&value) { vec![*id] } else { Vec::new() };
        assert_eq!(found(&index, value), expected, "{value}");
    }
}

#[test]
fn one_code_far_away_stays_in_the_table() {
    let index: Index<usize> = Index::divided_early(0);
    let first = index.insert(asks(0), 0);
    // Codes of another topic are between.
    for value in 1_000..3_000 {
        let selector = Selector { topic: TopicFilter::parse("u").unwrap(), ..asks(value) };
        index.insert(selector, 0);
    }
    let ids: Vec<EntryId> = (1..60).map(|value| index.insert(asks(value), value)).collect();
    assert_eq!(count(&index), 0, "as a whole they are not dense");
    assert_eq!(found(&index, 0), [first]);
    ids.iter().enumerate().for_each(|(at, id)| assert_eq!(found(&index, at + 1), [*id]));
}

#[test]
fn one_code_far_from_an_array_stays_in_the_table_beside_it() {
    let index: Index<usize> = Index::divided_early(0);
    let ids: Vec<EntryId> = (0..60).map(|value| index.insert(asks(value), value)).collect();
    let others =
        (1_000..3_000).map(|value| Selector { topic: TopicFilter::parse("u").unwrap(), ..asks(value) });
    others.for_each(|selector| assert!(index.insert(selector, 0).number() > 0));
    let far = index.insert(asks(5_000), 0);
    let codes = count(&index);
    assert!((60..200).contains(&codes), "{codes}");
    for round in 0..2 {
        assert_eq!(found(&index, 5_000), [far][round..]);
        ids.iter().enumerate().for_each(|(value, id)| assert_eq!(found(&index, value), [*id]));
        assert_eq!(index.remove(far).is_some(), round == 0);
    }
    assert_eq!(count(&index), codes);
}

/// Looks for the child that an event leads to, again and again with what was once known.
fn look_for_long(index: &Index<usize>, event: &Event) {
    let (arena, mut seen) = (&index.view.common.arena, Seen::new());
    index.view.vocabulary.read(arena, event, &mut seen);
    let root = root(index);
    if root != 0 && meta(arena, root).kind() == Kind::Inner {
        let children = Children::of(arena, root);
        for _ in 0..20 {
            assert!(seen.codes().iter().any(|set| children.find(&index.view, set.code) != 0));
        }
    }
}

/// What is always there is found exactly once in every match, whatever comes and goes beside it.
#[test]
fn readers_find_what_stays_while_arrays_come_and_go() {
    const KEPT: [usize; 4] = [0, 70, 150, 299];
    let index: Index<usize> = Index::divided_early(0);
    // All codes are known for as long as it takes.
    let other = |value| Selector { topic: TopicFilter::parse("u").unwrap(), ..asks(value) };
    let _others: Vec<EntryId> = (0..300).map(|value| index.insert(other(value), 0)).collect();
    let kept = KEPT.map(|value| index.insert(asks(value), value));
    let (done, matches) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let topic = Topic::parse("t").unwrap();
                let events = KEPT.map(event);
                while !done.load(Ordering::Relaxed) {
                    let mut route = index.route(&topic);
                    for (event, id) in events.iter().zip(kept) {
                        let mut found = Vec::new();
                        index.collect(&mut route, event, &mut found);
                        assert_eq!(
                            found.iter().filter(|found| **found == id).count(),
                            1,
                            "{id} in {found:?}"
                        );
                        index.reading(|_| look_for_long(&index, event));
                    }
                    matches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut generator = Generator::new(7);
        let (mut arrays, mut empty) = (BTreeSet::new(), 0);
        let mut before = array(&index);
        for _ in 0..ROUNDS {
            let mut ids = Vec::new();
            let step = 1 + generator.below(3);
            for value in (1..299).step_by(step).filter(|value| !KEPT.contains(value)) {
                ids.push(index.insert(asks(value), value));
            }
            arrays.extend(array(&index));
            ids.into_iter().for_each(|id| assert!(index.remove(id).is_some()));
            empty += usize::from(count(&index) == 0 && array(&index) != before);
            before = array(&index);
        }
        done.store(true, Ordering::Relaxed);
        assert!(arrays.len() > 2 && empty > ROUNDS / 2, "{arrays:?} {empty}");
    });
    assert!(matches.into_inner() > ROUNDS);
}
