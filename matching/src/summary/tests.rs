use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::*;
use crate::filter::Filter;
use crate::generate::{Event, Generator};
use crate::topic::{Topic, TopicFilter};

fn ask(class: u8, topic: &str, predicate: Option<&str>) -> Ask {
    Ask::new(class, &selector(topic, predicate))
}

fn selector(topic: &str, predicate: Option<&str>) -> Selector {
    let predicate = predicate.map(|text| Filter::parse(text).unwrap());
    Selector { topic: TopicFilter::parse(topic).unwrap(), except: Vec::new(), predicate }
}

/// The entries in words, without their class.
fn said(summary: &Summary) -> Vec<String> {
    let words = |ask: &Arc<Ask>| match ask.predicate() {
        Some(predicate) => format!("{} where {predicate}", ask.topic()),
        None => ask.topic().to_string(),
    };
    summary.entries().map(|(_, ask)| words(ask)).collect()
}

/// What a peer holds, by following the changes.
#[derive(Default)]
struct Peer {
    entries: BTreeMap<u64, Arc<Ask>>,
}

impl Peer {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Add { id, ask } => {
                assert!(!self.entries.values().any(|held| *held == ask), "{ask} is held twice");
                assert!(self.entries.insert(id, ask).is_none(), "{id} is used twice");
            }
            Change::Remove { id } => assert!(self.entries.remove(&id).is_some(), "{id} is not there"),
        }
    }
}

struct Probe {
    topic: Topic,
    event: Event,
}

impl Probe {
    fn is_wanted(&self, class: u8, ask: &Ask, parsed: &mut BTreeMap<Ask, Selector>) -> bool {
        let selector = parsed.entry(ask.clone()).or_insert_with(|| ask.selector());
        ask.class() == class && selector.matches(&self.topic, &self.event)
    }
}

/// Random asks come and go around a small budget: after each single change the entries match
/// what was asked for before and after it, within the budget, and in the end they are exact.
#[test]
fn entries_match_what_is_asked_at_each_moment() {
    let (mut widened, mut narrowed) = (0, 0);
    let seeds = if std::env::var_os("FANAL_LONG").is_some() { 3_000 } else { 60 };
    // 1971: an entry that two cells held did not go with the first of them. 717, 1173: a topic filter
    // that begins with `/`, and `#` beside a `$…`, were counted twice among all; nothing but a step that
    // frees no entry was planned, and the budget was exceeded.
    for seed in (0..seeds).chain([1_971, 717, 1_173]) {
        let mut generator = Generator::new(seed);
        let budget = 2 + generator.below(14);
        let mut summary = Summary::new(budget, usize::MAX);
        let (mut peer, mut parsed) = (Peer::default(), BTreeMap::new());
        let mut asked: Vec<Ask> = Vec::new();
        let pool: Vec<Ask> = (0..40).map(|_| random_ask(&mut generator)).collect();
        for step in 0..160 {
            let kept: BTreeSet<Ask> = asked.iter().cloned().collect();
            let is_growing = step < 60 || (90..110).contains(&step);
            let was_exact = summary.is_exact();
            let mut gone = None;
            if asked.is_empty() || generator.percent(if is_growing { 75 } else { 25 }) {
                let one = pool[generator.below(pool.len())].clone();
                asked.push(one.clone());
                summary.insert(one);
            } else {
                let one = asked.swap_remove(generator.below(asked.len()));
                summary.remove(&one);
                gone = Some(one).filter(|one| !asked.contains(one));
            }
            let probes: Vec<Probe> =
                (0..12).map(|_| Probe { topic: generator.topic(), event: generator.event() }).collect();
            for change in summary.take_changes() {
                peer.apply(change);
                let kept = kept.iter().filter(|ask| gone.as_ref() != Some(ask));
                check_superset(kept, &peer, &probes, &mut parsed, seed);
            }
            check_superset(asked.iter(), &peer, &probes, &mut parsed, seed);
            assert_eq!(peer.entries.len(), summary.len());
            let reserved = asked.iter().filter(|ask| ask.topic().as_str().starts_with('$')).count();
            assert!(summary.len() <= budget.max(2) + reserved, "seed {seed}: {} of {budget}", summary.len());
            widened += usize::from(was_exact && !summary.is_exact());
            narrowed += usize::from(!was_exact && summary.is_exact());
        }
        while asked.iter().collect::<BTreeSet<_>>().len() > budget - budget / 8 {
            summary.remove(&asked.pop().unwrap());
        }
        while summary.settle(3) {}
        summary.take_changes().into_iter().for_each(|change| peer.apply(change));
        let distinct: BTreeSet<&Ask> = asked.iter().collect();
        assert!(summary.is_exact(), "seed {seed}: {:?} for {distinct:?}", said(&summary));
        assert!(peer.entries.values().all(|entry| distinct.contains(&**entry)), "seed {seed}");
        asked.iter().for_each(|ask| summary.remove(ask));
        while summary.settle(1) {}
        assert!(summary.is_empty() && summary.bytes == 0 && summary.is_exact(), "seed {seed}");
    }
    assert!(widened > 60 && narrowed > 60, "widened {widened}, narrowed {narrowed}");
}

fn random_ask(generator: &mut Generator) -> Ask {
    let mut selector = generator.selector();
    if generator.percent(50) {
        selector.topic = TopicFilter::parse(generator.pick(&["a/b", "a/+", "c"])).unwrap();
        let name = generator.pick(&["n", "s"]);
        selector.predicate = Some(generator.filter_on(name));
    }
    Ask::new(generator.below(2) as u8, &selector)
}

fn check_superset<'a>(
    asks: impl Iterator<Item = &'a Ask> + Clone,
    peer: &Peer,
    probes: &[Probe],
    parsed: &mut BTreeMap<Ask, Selector>,
    seed: u64,
) {
    for (probe, class) in probes.iter().flat_map(|probe| [(probe, 0), (probe, 1)]) {
        let Some(ask) = asks.clone().find(|ask| probe.is_wanted(class, ask, parsed)) else { continue };
        let is_matched = peer.entries.values().any(|entry| probe.is_wanted(class, entry, parsed));
        assert!(is_matched, "seed {seed}: {ask} wants {} {:?}", probe.topic, probe.event);
    }
}

#[test]
fn within_the_budget_each_distinct_ask_is_an_entry() {
    let mut summary = Summary::new(4, usize::MAX);
    for topic in ["a/#", "a/b", "a/b", "#"] {
        summary.insert(ask(0, topic, None));
    }
    summary.insert(ask(1, "a/b", None));
    assert_eq!(said(&summary), ["#", "a/#", "a/b", "a/b"]);
    assert!(summary.is_exact());
    summary.remove(&ask(0, "a/b", None));
    assert_eq!(summary.len(), 4);
    summary.remove(&ask(0, "a/b", None));
    summary.remove(&ask(0, "a/b", None));
    assert_eq!(said(&summary), ["#", "a/#", "a/b"]);
}

#[test]
fn what_is_covered_is_left_out_before_anything_is_widened() {
    let mut summary = Summary::new(2, usize::MAX);
    for (topic, predicate) in [("a/b", Some("n > 1")), ("a/#", None), ("a/c", None)] {
        summary.insert(ask(0, topic, predicate));
    }
    assert!(summary.is_exact());
    assert_eq!(said(&summary), ["a/#"]);
    let mut summary = Summary::new(1, usize::MAX);
    summary.insert(ask(0, "a", Some("n > 1")));
    summary.insert(ask(0, "a", Some("n > 5")));
    assert!(summary.is_exact());
    assert_eq!(said(&summary), ["a where n > 1"]);
}

/// Three asks in two entries: the mildest means is taken.
#[test]
fn widening_takes_the_mildest_means() {
    type Case = (&'static [(&'static str, Option<&'static str>)], &'static [&'static str]);
    let cases: [Case; 7] = [
        (&[("a", Some("n = 1")), ("a", Some("n = 2")), ("b", None)], &["a where n IN (1, 2)", "b"]),
        (
            &[("a", Some("n > 1 AND s = 'x'")), ("a", Some("n > 2 AND s = 'y'")), ("b", None)],
            &["a where n > 1 AND s IN ('x', 'y')", "b"],
        ),
        (&[("a", Some("n = 1")), ("a", Some("s = 'x'")), ("b", None)], &["a", "b"]),
        (&[("a/b/c", None), ("a/b/d", Some("n = 1")), ("a/e", None)], &["a/b/#", "a/e"]),
        (&[("a/b", None), ("a", None), ("b", None)], &["a/#", "b"]),
        (&[("a", None), ("b", None), ("$x/y", None)], &["#", "$x/y"]),
        (&[("$x/y", None), ("$x/z", None), ("b", None)], &["$x/#", "b"]),
    ];
    for (asks, wanted) in cases {
        let mut summary = Summary::new(2, usize::MAX);
        asks.iter().for_each(|(topic, predicate)| summary.insert(ask(0, topic, *predicate)));
        assert_eq!(said(&summary), wanted, "{asks:?}");
        assert!(!summary.is_exact());
    }
}

#[test]
fn exclusions_are_kept_until_predicates_go() {
    let mut summary = Summary::new(1, usize::MAX);
    let except = |predicate| {
        let except = vec![TopicFilter::parse("a/x").unwrap()];
        Ask::new(0, &Selector { except, ..selector("a/+", Some(predicate)) })
    };
    summary.insert(except("n = 1"));
    summary.insert(except("n = 2"));
    let (_, entry) = summary.entries().next().unwrap();
    assert_eq!(entry.to_string(), "0 a/+ except a/x where n IN (1, 2)");
    summary.insert(ask(0, "a/+", Some("n = 3")));
    assert_eq!(said(&summary), ["a/+"]);
}

#[test]
fn bytes_have_a_budget_too() {
    let mut summary = Summary::new(1_000, 4_096);
    for n in 0..100 {
        summary.insert(ask(0, "a", Some(&format!("s = '{}{n}'", "x".repeat(100)))));
        assert!(summary.bytes <= 4_096, "{} bytes", summary.bytes);
    }
    assert!(!summary.is_exact() && summary.len() > 1);
}

/// Reserved topics have no wildcard in common: their entries are all that can exceed the budget.
#[test]
fn what_cannot_be_joined_is_kept() {
    let mut summary = Summary::new(2, usize::MAX);
    for n in 0..5 {
        summary.insert(ask(0, &format!("$x{n}/a"), None));
    }
    assert_eq!(summary.len(), 5);
}

#[test]
fn the_order_does_not_matter_to_a_summary_of_all() {
    let mut generator = Generator::new(7);
    let selector_of =
        |n| Selector { predicate: Some(generator.filter(1)), ..selector(&format!("t/{}/{n}", n % 20), None) };
    let mut selectors: Vec<Selector> = (0..300).map(selector_of).collect();
    let first = summarise(&selectors, 40);
    selectors.reverse();
    assert_eq!(said(&summarise(&selectors, 40)), said(&first));
    assert!(first.len() <= 40 && !first.is_exact());
    let covered = [selector("a/#", None), selector("a/b", None), selector("a/b", Some("n = 1"))];
    let exact = summarise(&covered, 10);
    assert_eq!((said(&exact), exact.is_exact()), (vec!["a/#".to_owned()], true));
}

/// A cover over very many filters comes and goes, within the budget and above it: no call makes
/// more than a handful of changes, and nothing is missing at any moment.
#[test]
fn withdrawing_a_cover_releases_no_burst() {
    const FILTERS: usize = 20_000;
    for budget in [FILTERS + 1, FILTERS / 2] {
        let mut summary = Summary::new(budget, usize::MAX);
        let mut burst = 0;
        let mut entries = BTreeMap::new();
        let mut follow = |summary: &mut Summary| {
            let changes = summary.take_changes();
            burst = burst.max(changes.len());
            for change in changes {
                match change {
                    Change::Add { id, ask } => drop(entries.insert(id, ask)),
                    Change::Remove { id } => drop(entries.remove(&id)),
                }
            }
            assert!(entries.len() <= budget + 2);
            entries.len()
        };
        let filter = |n: usize| ask(0, &format!("f/{}/{n}", n % 7), None);
        summary.insert(ask(0, "f/#", None));
        for n in 0..FILTERS {
            summary.insert(filter(n));
            follow(&mut summary);
        }
        assert!(summary.is_exact(), "the cover is asked for");
        summary.remove(&ask(0, "f/#", None));
        let after = follow(&mut summary);
        assert!(after >= 1, "the cover is gone before what it stood for was added");
        let is_exact = summary.is_exact();
        assert_eq!(is_exact, budget > FILTERS, "above the budget its entry stays");
        for n in 0..FILTERS * 3 / 4 {
            summary.remove(&filter(n));
            follow(&mut summary);
        }
        while summary.settle(16) {
            follow(&mut summary);
        }
        assert_eq!(follow(&mut summary), FILTERS / 4);
        assert!(summary.is_exact());
        assert!(burst <= 32, "{burst} changes at once");
    }
}

/// Shapes of large sets, each far above its budget: the time is in the budget's order, and the
/// summary keeps to it.
#[test]
fn large_sets_are_summarised_in_time() {
    const ASKS: usize = 10_000;
    type Shape = (&'static str, fn(usize) -> Ask);
    let shapes: [Shape; 4] = [
        ("one topic", |n| {
            ask(0, "orders/new", Some(&format!("customer = 'c{n:06}' AND price > {}", n % 50)))
        }),
        ("flat", |n| ask(0, &format!("devices/{n}/state"), None)),
        ("deep", |n| {
            ask(0, &format!("a/{}/{}/{}/{n}", n % 10, n % 100, n % 1_000), Some(&format!("n > {}", n % 9)))
        }),
        ("mixed", |n| match n % 2 {
            0 => ask(0, &format!("devices/{n}"), None),
            _ => ask(0, "orders", Some(&format!("price > {n}"))),
        }),
    ];
    for (name, make) in shapes {
        for budget in [ASKS / 100, ASKS / 2, ASKS - 10] {
            let began = Instant::now();
            let mut summary = Summary::new(budget, usize::MAX);
            for n in 0..ASKS {
                // Scattered over the order, as subscribers come.
                summary.insert(make(n * 7_919 % ASKS));
                assert!(summary.len() <= budget);
            }
            let took = began.elapsed();
            println!("{name}, {ASKS} asks in {budget}: {} entries, {took:?}", summary.len());
            assert!(took.as_secs() < 10, "{name} in {budget}: {took:?}");
        }
    }
}
