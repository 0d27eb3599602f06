//! Entries with alternatives of one code each, of which an event has several: each entry is found
//! once, alone or equal to others, while more come and go.

use std::collections::BTreeMap;

use fanal_matching::{EntryId, Filter, Index, Selector, Topic, TopicFilter, Value};

use generate::{Event, Generator};
use ways::{STAYING, are_found_once, found};

mod generate;
mod ways;

const NAMES: [&str; 5] = ["p", "q", "r", "u", "v"];
const VALUES: usize = 3;

/// An alternative: mostly one equality, else a conjunction, which others share, or a set or a range.
fn part(generator: &mut Generator, name: &str) -> String {
    let value = generator.below(VALUES);
    match generator.below(8) {
        0 => format!("({name} = {value} AND w > {})", generator.below(3)),
        1 => format!("({name} = {value} AND w = {})", generator.below(3)),
        2 => format!("{name} IN ({value}, {})", value + 1),
        _ => format!("{name} = {value}"),
    }
}

/// Two alternatives or more; some filters ask for no value, so that codes are born meanwhile.
fn selector(generator: &mut Generator) -> Selector {
    let count = [1, 2, 2, 2, 3, 3, 4, 5][generator.below(8)];
    let first = generator.below(NAMES.len());
    let names = (0..count).map(|at| NAMES[(first + at) % NAMES.len()]);
    let mut parts: Vec<String> = names.map(|name| part(generator, name)).collect();
    if generator.percent(5) {
        parts.push(format!("({} != {} AND w = 1)", NAMES[first], generator.below(VALUES)));
    }
    let predicate = Filter::parse(&parts.join(" OR ")).expect("a valid filter");
    let topic = TopicFilter::parse("a/#").expect("a valid topic filter");
    Selector { predicate: Some(predicate), ..Selector::new(topic) }
}

fn event(generator: &mut Generator) -> Event {
    let names = NAMES.iter().chain(&["w"]).filter(|_| generator.percent(90)).collect::<Vec<_>>();
    names.into_iter().map(|name| (*name, Value::Int(generator.below(VALUES) as i64))).collect()
}

fn topic() -> Topic {
    Topic::parse("a/b").expect("a valid topic")
}

/// Rises to thousands of entries and falls to none, again and again.
#[test]
fn they_are_found_once_while_they_rise_and_fall() {
    let mut generator = Generator::new(41);
    let index = Index::divided_early(0);
    let mut present: BTreeMap<EntryId, Selector> = BTreeMap::new();
    let mut order: Vec<EntryId> = Vec::new();
    let mut route = index.route(&topic());
    let mut matches = 0;
    let mut least_bytes = Vec::new();
    for wave in 0..8 {
        for step in 0..6_000 {
            if generator.percent(if step < 2_500 { 95 } else { 10 }) {
                let selector = selector(&mut generator);
                let id = index.insert(selector.clone(), 0);
                assert!(present.insert(id, selector).is_none(), "{id} is in use");
                order.push(id);
            } else if !order.is_empty() {
                let id = order.swap_remove(generator.below(order.len()));
                present.remove(&id);
                assert!(index.remove(id).is_some());
            }
            if step % 40 == 0 {
                let event = event(&mut generator);
                let wanting = present.iter().filter(|(_, selector)| selector.matches(&topic(), &event));
                let expected: Vec<EntryId> = wanting.map(|(id, _)| *id).collect();
                assert_eq!(found(&index, &mut route, &event), expected, "wave {wave}, step {step}");
                matches += expected.len();
            }
        }
        for id in order.drain(..) {
            present.remove(&id);
            assert!(index.remove(id).is_some());
        }
        assert!(index.is_empty());
        assert!(found(&index, &mut route, &event(&mut generator)).is_empty());
        least_bytes.push(index.bytes());
    }
    assert!(matches > 10_000, "{matches}");
    // Tables keep some room for each filter that ever was; what leaked would grow with each wave.
    let [first, .., before, last] = least_bytes[..] else { unreachable!("there were enough waves") };
    assert!(last < before + first / 10, "{least_bytes:?}");
}

/// Those that stay are found exactly once in every match while others come and go, some of which ask
/// that what the former stand under is not so.
#[test]
fn one_that_stays_is_found_once_while_others_come_and_go() {
    let mut generator = Generator::new(42);
    let index = Index::divided_early(0);
    let asked: Event = NAMES.iter().chain(&["w"]).map(|name| (*name, Value::Int(1))).collect();
    let mut expected = Vec::new();
    for number in 0..STAYING {
        let selector = selector(&mut generator);
        if selector.matches(&topic(), &asked) {
            expected.push(number);
        }
        index.insert(selector, number);
    }
    assert!(expected.len() > 20, "{}", expected.len());
    are_found_once(&index, (&topic(), &asked, &expected), &mut generator, selector, 2_000);
}
