//! Entries with equal filters, most of them alone below what they ask for: fleets that repeat a few
//! filters, with longer ones that come between them and go again.

use std::collections::BTreeMap;

use fanal_matching::{EntryId, Filter, Index, Selector, Topic, TopicFilter, Value};

use generate::{Event, Generator};
use ways::{STAYING, are_found_once, found};

mod generate;
mod ways;

const NAMES: [&str; 5] = ["p", "q", "r", "u", "v"];
const VALUES: usize = 3;

/// A conjunction of equalities on different attributes, most often of two.
fn selector(generator: &mut Generator) -> Selector {
    let count = [1, 2, 2, 2, 2, 3, 4][generator.below(7)];
    let first = generator.below(NAMES.len());
    let names = (0..count).map(|at| NAMES[(first + at) % NAMES.len()]);
    let parts: Vec<String> = names.map(|name| format!("{name} = {}", generator.below(VALUES))).collect();
    let predicate = Filter::parse(&parts.join(" AND ")).expect("a valid filter");
    let topic = TopicFilter::parse("a/#").expect("a valid topic filter");
    Selector { predicate: Some(predicate), ..Selector::new(topic) }
}

fn event(generator: &mut Generator) -> Event {
    NAMES.map(|name| (name, Value::Int(generator.below(VALUES) as i64))).to_vec()
}

fn topic() -> Topic {
    Topic::parse("a/b").expect("a valid topic")
}

/// Rises to thousands of entries and falls to none, again and again.
#[test]
fn they_are_found_while_they_rise_and_fall() {
    let mut generator = Generator::new(31);
    let index = Index::divided_early(0);
    let mut present: BTreeMap<EntryId, Selector> = BTreeMap::new();
    let mut order: Vec<EntryId> = Vec::new();
    let mut route = index.route(&topic());
    let mut matches = 0;
    let mut least_bytes = Vec::new();
    for wave in 0..10 {
        for step in 0..8_000 {
            let is_rising = step < 3_500;
            if generator.percent(if is_rising { 95 } else { 10 }) {
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

/// Those that stay are found exactly once in every match while equal and longer filters come between
/// them and go.
#[test]
fn one_that_stays_is_found_once_while_equal_ones_come_and_go() {
    let mut generator = Generator::new(32);
    let index = Index::divided_early(0);
    let asked = event(&mut generator);
    let mut expected = Vec::new();
    for number in 0..STAYING {
        let selector = selector(&mut generator);
        if selector.matches(&topic(), &asked) {
            expected.push(number);
        }
        index.insert(selector, number);
    }
    assert!(expected.len() > 20, "{}", expected.len());
    are_found_once(&index, (&topic(), &asked, &expected), &mut generator, selector, 3_000);
}

/// Of a list that takes many blocks, and of one that takes one, the entries are found whatever leaves
/// them and comes back, and their numbers stay dense.
#[test]
fn long_lists_are_whole_while_entries_leave_and_come_back() {
    let mut generator = Generator::new(33);
    let index = Index::divided_early(0);
    let selector = |value: usize| {
        let topic = TopicFilter::parse("a/#").expect("a valid topic filter");
        let predicate = Filter::parse(&format!("p = {value}")).expect("a valid filter");
        Selector { predicate: Some(predicate), ..Selector::new(topic) }
    };
    let mut route = index.route(&topic());
    let mut lists: [Vec<EntryId>; 2] = [Vec::new(), Vec::new()];
    let mut most = 0;
    for wave in 0..6 {
        for step in 0..30_000 {
            let value = usize::from(generator.percent(5));
            let list = &mut lists[value];
            // It rises to many blocks, then as many leave as come.
            let percent = if wave == 0 { 90 } else { 50 };
            if generator.percent(percent) || list.is_empty() {
                list.push(index.insert(selector(value), 0));
            } else {
                // What came together leaves together, or not.
                let near = list.len() - 1 - generator.below(list.len().min(20));
                let at = if step % 3 == 0 { near } else { generator.below(list.len()) };
                assert!(index.remove(list.swap_remove(at)).is_some());
            }
            most = most.max(index.len());
            if step % 3_000 == 0 {
                for (value, list) in lists.iter().enumerate() {
                    let mut expected = list.clone();
                    expected.sort_unstable();
                    let event: Event = vec![("p", Value::Int(value as i64))];
                    assert_eq!(found(&index, &mut route, &event), expected, "wave {wave}, step {step}");
                }
            }
        }
    }
    assert!(most > 20_000, "{most}");
    let greatest = lists.iter().flatten().map(|id| id.number()).max().expect("there are entries");
    assert!((greatest as usize) < 2 * most, "number {greatest} of at most {most} entries");
}
