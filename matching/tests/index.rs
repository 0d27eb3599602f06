//! The index against a plain scan, and its promise to threads that insert and route at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fanal_matching::{EntryId, Filter, Index, Route, Selector, Topic, TopicFilter, Value};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Insert(Selector),
    Remove(usize),
    Replace(usize, Selector),
    Route(Topic),
}

fn topic() -> impl Strategy<Value = Topic> {
    proptest::collection::vec("[abc]|\\$a|", 1..5)
        .prop_map(|levels| Topic::parse(&levels.join("/")).unwrap_or_else(|_| parse_topic("a")))
}

fn topic_filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![4 => "[abc]", 2 => Just("+".to_owned()), 1 => "\\$a|"];
    (proptest::collection::vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, rest)| {
        levels.extend((rest || levels.concat().is_empty()).then(|| "#".to_owned()));
        TopicFilter::parse(&levels.join("/")).expect("a valid topic filter")
    })
}

fn predicate() -> impl Strategy<Value = Option<Filter>> {
    proptest::option::of((0..3_i64).prop_map(|n| filter(&format!("n > {n}"))))
}

fn selector() -> impl Strategy<Value = Selector> {
    (topic_filter(), proptest::collection::vec(topic_filter(), 0..2), predicate())
        .prop_map(|(topic, except, predicate)| Selector { topic, except, predicate })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => selector().prop_map(Operation::Insert),
        1 => any::<usize>().prop_map(Operation::Remove),
        1 => (any::<usize>(), selector()).prop_map(|(at, s)| Operation::Replace(at, s)),
        4 => topic().prop_map(Operation::Route),
    ]
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).expect("a valid filter")
}

fn parse_topic(text: &str) -> Topic {
    Topic::parse(text).expect("a valid topic")
}

fn selector_of(text: &str) -> Selector {
    Selector::new(TopicFilter::parse(text).expect("a valid topic filter"))
}

/// The plain scan, and every id that ever was.
#[derive(Default)]
struct Model {
    entries: BTreeMap<EntryId, (Selector, usize)>,
    ids: Vec<EntryId>,
}

impl Model {
    fn pick(&self, at: usize) -> Option<EntryId> {
        self.ids.get(at % self.ids.len().max(1)).copied()
    }

    /// Destinations whose selector matches the topic and an event with `n`.
    fn scan(&self, topic: &Topic, n: i64) -> Vec<(EntryId, usize)> {
        let matching = self.entries.iter().filter(|(_, (s, _))| s.matches(topic, &[("n", Value::Int(n))]));
        matching.map(|(id, (_, destination))| (*id, *destination)).collect()
    }
}

fn routed(route: &Route<usize>, n: i64) -> Vec<(EntryId, usize)> {
    let candidates = route.candidates().iter();
    let matching = candidates.filter(|candidate| candidate.matches(&[("n", Value::Int(n))]));
    matching.map(|candidate| (candidate.id, candidate.destination)).collect()
}

/// Does the operation to both and returns whether it changed something.
fn apply(index: &Index<usize>, model: &mut Model, operation: &Operation) -> bool {
    match operation {
        Operation::Insert(selector) => {
            let destination = model.ids.len();
            let id = index.insert(selector.clone(), destination);
            assert!(model.ids.last().is_none_or(|last| *last < id));
            model.ids.push(id);
            model.entries.insert(id, (selector.clone(), destination));
            true
        }
        Operation::Remove(at) => {
            let Some(id) = model.pick(*at) else { return false };
            let removed = model.entries.remove(&id).map(|(_, destination)| destination);
            assert_eq!(index.remove(id), removed);
            removed.is_some()
        }
        Operation::Replace(at, selector) => {
            let Some(id) = model.pick(*at) else { return false };
            let place = model.entries.get_mut(&id);
            assert_eq!(index.replace(id, selector.clone()), place.is_some());
            place.is_some_and(|place| {
                place.0 = selector.clone();
                true
            })
        }
        Operation::Route(topic) => {
            let route = index.route(topic);
            for n in 0..4 {
                assert_eq!(routed(&route, n), model.scan(topic, n), "{topic}");
            }
            let needs = route.candidates().iter().any(|c| c.predicate.is_some());
            assert_eq!(route.needs_attributes(), needs);
            assert_eq!(route.is_empty(), route.candidates().is_empty());
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn routes_agree_with_a_plain_scan(operations in proptest::collection::vec(operation(), 1..60)) {
        let index = Index::new();
        let mut model = Model::default();
        let probe = parse_topic("a");
        for operation in &operations {
            let before = index.route(&probe);
            let changed = apply(&index, &mut model, operation);
            prop_assert_eq!(before.is_current(&index), !changed);
            prop_assert_eq!(index.len(), model.entries.len());
            prop_assert_eq!(index.is_empty(), model.entries.is_empty());
        }
        for id in &model.ids {
            index.remove(*id);
        }
        prop_assert!(index.is_empty() && index.route(&probe).is_empty());
    }
}

#[test]
fn an_entry_keeps_its_place_when_it_is_replaced() {
    let index = Index::new();
    let first = index.insert(selector_of("a"), "first");
    index.insert(selector_of("a"), "second");
    assert!(index.replace(first, selector_of("#")));
    let route = index.route(&parse_topic("a"));
    let destinations: Vec<_> = route.candidates().iter().map(|c| c.destination).collect();
    assert_eq!(destinations, ["first", "second"]);
    assert!(!index.replace(first, selector_of("b")) || index.len() == 2);
    assert_eq!(index.remove(first), Some("first"));
    assert_eq!(index.remove(first), None);
    assert!(!index.replace(first, selector_of("a")));
}

/// Writers announce an entry after `insert` returned. Whatever a reader saw announced must be in
/// the route that it makes, and in every older route that still says it is current.
#[test]
fn an_entry_is_routed_once_insert_has_returned() {
    const WRITERS: usize = 2;
    const INSERTS: usize = 400;
    let index = Index::new();
    let announced = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let topic = parse_topic("a/b");
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    for insert in 0..INSERTS {
                        let filter = ["a/b", "a/+", "a/#", "#"][insert % 4];
                        let id = index.insert(selector_of(filter), insert);
                        announced.fetch_add(1, Ordering::Release);
                        let route = index.route(&topic);
                        assert!(route.candidates().iter().any(|c| c.id == id));
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = index.route(&topic);
                while !done.load(Ordering::Relaxed) {
                    let least = announced.load(Ordering::Acquire);
                    if held.is_current(&index) {
                        assert!(held.candidates().len() >= least);
                    } else {
                        held = index.route(&topic);
                        assert!(held.candidates().len() >= least);
                    }
                }
            });
        }
        for writer in writers {
            writer.join().expect("a writer failed");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(index.route(&topic).candidates().len(), WRITERS * INSERTS);
}

#[test]
fn routes_never_hold_a_replaced_entry_twice_or_not_at_all() {
    let index = Index::new();
    let id = index.insert(selector_of("a/#"), 0);
    let topic = parse_topic("a/b");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(index.route(&topic).candidates().len(), 1);
            }
        });
        for round in 0..5_000 {
            assert!(index.replace(id, selector_of(["a/b", "a/+", "#", "a/#"][round % 4])));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_deep_filter_is_inserted_and_removed() {
    let index = Index::new();
    let text = vec!["+"; 64].join("/");
    let id = index.insert(selector_of(&text), ());
    let topic = parse_topic(&vec!["x"; 64].join("/"));
    assert_eq!(index.route(&topic).candidates().len(), 1);
    assert_eq!(index.remove(id), Some(()));
    assert!(index.route(&topic).is_empty());
}
