//! Batches of events find what each event finds alone.
//!
//! `FANAL_LONG=1` runs many more cases; a failing one names its seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use fanal_matching::{EntryId, Filter, Index, Route, Selector, Topic, TopicFilter, Value};

use generate::{Event, Generator, any_index};

mod generate;

/// Batches of none, of one, and around the bits of a word.
const SIZES: [usize; 7] = [0, 1, 2, 63, 64, 65, 200];

fn parse_topic(text: &str) -> Topic {
    Topic::parse(text).expect("a valid topic")
}

fn filtered(topic: &str, filter: &str) -> Selector {
    let topic = TopicFilter::parse(topic).expect("a valid topic filter");
    Selector { predicate: Some(Filter::parse(filter).expect("a valid filter")), ..Selector::new(topic) }
}

fn is_long() -> bool {
    std::env::var_os("FANAL_LONG").is_some_and(|value| value == "1")
}

/// What each event of a batch finds, in order. Each list had an entry before, which must stay.
fn found_together(index: &Index<usize>, events: &[(&Route<usize>, &Event)]) -> Vec<Vec<EntryId>> {
    let mut found = vec![vec![EntryId::default()]; events.len()];
    index.collect_batch(events, &mut found);
    for list in &mut found {
        assert_eq!(list.remove(0), EntryId::default());
        list.sort_unstable();
    }
    found
}

fn found_alone(index: &Index<usize>, route: &Route<usize>, event: &Event) -> Vec<EntryId> {
    let mut found = Vec::new();
    index.collect(&mut route.clone(), event, &mut found);
    found.sort_unstable();
    found
}

/// Inserts filters that no event here fulfils and that share parts: from then on events of any topic
/// are found together.
fn insert_gates(index: &Index<usize>) {
    let text = |n: usize| match n % 2 {
        0 => format!("g = {n}"),
        _ => format!("h = {n} AND (g = 1 OR h = 2) AND (g = 3 OR h = 4)"),
    };
    for n in 0..80 {
        index.insert(filtered("#", &text(n)), 0);
    }
}

/// The index, the plain scan beside it, and routes of which some are not current.
struct Both {
    index: Index<usize>,
    entries: BTreeMap<EntryId, Selector>,
    routes: BTreeMap<Topic, Route<usize>>,
}

impl Both {
    /// Of every fourth seed, events are found one after the other.
    fn new(seed: u64) -> Both {
        let both = Both { index: any_index(seed), entries: BTreeMap::new(), routes: BTreeMap::new() };
        if seed % 4 != 3 {
            insert_gates(&both.index);
        }
        both
    }

    fn insert(&mut self, selector: Selector) {
        let id = self.index.insert(selector.clone(), 0);
        assert!(self.entries.insert(id, selector).is_none(), "{id} is in use");
    }

    fn change(&mut self, generator: &mut Generator, selector: Selector, inserts: usize) {
        if generator.percent(inserts) || self.entries.is_empty() {
            self.insert(selector);
        } else if let Some(id) = self.entries.keys().nth(generator.below(self.entries.len())).copied() {
            self.entries.remove(&id);
            if generator.percent(30) {
                let new = self.index.replace(id, selector.clone()).expect("room").expect("it is there");
                self.entries.insert(new, selector);
            } else {
                assert!(self.index.remove(id).is_some());
            }
        }
    }

    /// Looks for events together, alone and by a plain scan. How many matches there were.
    fn check(&mut self, seed: u64, events: &[(Topic, Event)]) -> usize {
        for (topic, _) in events {
            self.routes.entry(topic.clone()).or_insert_with(|| self.index.route(topic));
        }
        let batch: Vec<_> = events.iter().map(|(topic, event)| (&self.routes[topic], event)).collect();
        let together = found_together(&self.index, &batch);
        for ((topic, event), found) in events.iter().zip(&together) {
            let wanting = self.entries.iter().filter(|(_, selector)| selector.matches(topic, event));
            let expected: Vec<EntryId> = wanting.map(|(id, _)| *id).collect();
            assert_eq!(*found, expected, "seed {seed}: {topic} {event:?}");
            assert_eq!(*found, found_alone(&self.index, &self.routes[topic], event), "seed {seed}");
        }
        together.iter().map(Vec::len).sum()
    }

    fn renew_some(&mut self, generator: &mut Generator) {
        for route in self.routes.values_mut().filter(|_| generator.percent(20)) {
            self.index.renew_route(route);
            assert!(route.is_current(&self.index));
        }
    }
}

/// Changes and batches of all sizes by turns; filters come from a pool of `pool`.
fn live(seed: u64, rounds: usize, changes: usize, pool: usize) -> usize {
    let mut generator = Generator::new(seed);
    let selectors: Vec<Selector> = (0..pool).map(|_| generator.selector()).collect();
    let topics: Vec<Topic> = (0..12).map(|_| generator.topic()).collect();
    let mut both = Both::new(seed);
    let mut matches = 0;
    for round in 0..rounds {
        for _ in 0..changes {
            let selector = selectors[generator.below(pool)].clone();
            both.change(&mut generator, selector, if round < rounds * 2 / 3 { 85 } else { 25 });
        }
        both.renew_some(&mut generator);
        let several = 1 + generator.below(topics.len());
        let mut draw = || (topics[generator.below(several)].clone(), generator.event());
        let events: Vec<(Topic, Event)> = (0..SIZES[round % SIZES.len()]).map(|_| draw()).collect();
        matches += both.check(seed, &events);
    }
    matches
}

#[test]
fn a_batch_finds_what_its_events_find() {
    let lives = if is_long() { 400 } else { 8 };
    let matches: usize = (0..lives).map(|seed| live(seed, 21, 30, 40)).sum();
    assert!(matches > 5_000, "{matches}");
}

/// Enough entries that chains are divided, more than once.
#[test]
fn a_batch_finds_what_its_events_find_among_many() {
    let lives = if is_long() { 40 } else { 2 };
    let matches: usize = (0..lives).map(|seed| live(seed + 1_000_000, 14, 300, 3_000)).sum();
    assert!(matches > 5_000, "{matches}");
}

/// A choice or a conjunction of parts that many filters share, some of them denied.
fn tree(generator: &mut Generator, [all, any]: [&[String]; 2]) -> String {
    let (parts, connective) = if generator.percent(50) { (all, " OR ") } else { (any, " AND ") };
    let mut part = || {
        let text = &parts[generator.below(parts.len())];
        match generator.below(20) {
            0 if connective == " AND " => format!("(NOT {text})"),
            1 => format!("(m{} BETWEEN 2 AND 5)", generator.below(4)),
            _ => text.clone(),
        }
    };
    [part(), part(), part()].join(connective)
}

fn leaf(generator: &mut Generator) -> String {
    let low = generator.below(80);
    match generator.below(5) {
        0 => format!("w{} = 'v{}'", generator.below(5), generator.below(12)),
        1 => format!("w{} IN ('v1', 'v{}')", generator.below(5), generator.below(12)),
        2 => format!("w{} LIKE 'v%{}%'", generator.below(5), generator.below(5)),
        3 => format!("n{} > {low}.5", generator.below(5)),
        _ => format!("n{} BETWEEN {low} AND {}", generator.below(5), low + 15),
    }
}

fn words_and_numbers(generator: &mut Generator) -> Event {
    let mut event: Event = Vec::new();
    const WORDS: [&str; 5] = ["w0", "w1", "w2", "w3", "w4"];
    const NUMBERS: [&str; 9] = ["n0", "n1", "n2", "n3", "n4", "m0", "m1", "m2", "m3"];
    const VALUES: [&str; 12] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11"];
    for name in WORDS {
        if generator.percent(90) {
            event.push((name, Value::Str(generator.pick(&VALUES))));
        }
    }
    for name in NUMBERS {
        if generator.percent(90) {
            event.push((name, Value::Int(generator.below(100) as i64)));
        }
    }
    event
}

/// Parts that filters share become gates, on several levels; entries stand in several places.
#[test]
fn a_batch_finds_trees_of_shared_parts() {
    for seed in 0..if is_long() { 30 } else { 2 } {
        let mut generator = Generator::new(seed + 2_000_000);
        let leaves: Vec<String> = (0..60).map(|_| leaf(&mut generator)).collect();
        let mut part = |connective: &str| {
            let mut leaf = || generator.pick(&leaves.iter().collect::<Vec<_>>()).as_str();
            format!("({} {connective} {})", leaf(), leaf())
        };
        let all: Vec<String> = (0..150).map(|_| part("AND")).collect();
        let any: Vec<String> = (0..150).map(|_| part("OR")).collect();
        let mut both = Both::new(seed);
        let mut matches = 0;
        for round in 0..14 {
            for _ in 0..200 {
                let topic = generator.pick(&["a/b", "a/+", "a/#", "#"]);
                let Ok(filter) = Filter::parse(&tree(&mut generator, [&all, &any])) else { continue };
                let selector = Selector { predicate: Some(filter), ..filtered(topic, "TRUE") };
                both.change(&mut generator, selector, if round < 9 { 95 } else { 20 });
            }
            let draw = |generator: &mut Generator| {
                (parse_topic(generator.pick(&["a/b", "a/c", "b"])), words_and_numbers(generator))
            };
            let events: Vec<_> = (0..SIZES[round % SIZES.len()]).map(|_| draw(&mut generator)).collect();
            matches += both.check(seed, &events);
        }
        assert!(matches > 3_000, "{matches}");
    }
}

/// Filters of nothing but ranges, in such numbers that they lie as boxes; some are equal.
#[test]
fn a_batch_finds_boxes_and_lists() {
    let mut generator = Generator::new(5);
    let mut both = Both::new(5);
    for _ in 0..3_000 {
        let mut range = |name: &str| {
            let low = generator.below(90);
            format!("{name} BETWEEN {low} AND {}", low + 1 + generator.below(30))
        };
        let text = format!("{} AND {}", range("n0"), range("n1"));
        both.insert(filtered("a/#", &text));
        if generator.percent(20) {
            (0..3).for_each(|_| both.insert(filtered("a/#", &text)));
        }
        if generator.percent(10) {
            (0..3).for_each(|_| both.insert(filtered("a/#", &format!("({text}) OR w0 = 'v1'"))));
        }
    }
    let mut matches = 0;
    for size in SIZES {
        let events: Vec<_> =
            (0..size).map(|_| (parse_topic("a/b"), words_and_numbers(&mut generator))).collect();
        matches += both.check(5, &events);
    }
    assert!(matches > 5_000, "{matches}");
}

/// Says that readers may end, also when the test fails.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Filters of all the sorts that an entry may be: under a code, in several places, as a box, by a
/// gate, in a list.
fn sort_of(n: usize) -> String {
    match n % 6 {
        0 => format!("k = {}", n % 3),
        1 => format!("k = {} AND n BETWEEN {} AND 90", n % 3, n % 40),
        2 => format!("k IN ({}, 7) AND t LIKE 'x%'", n % 3),
        3 => format!("(k = {} AND n = 1) OR (s = 'x' AND k < 9)", n % 3),
        4 => format!("(n > {} OR s = 'x') AND (k = 1 OR t = 'z')", n % 8),
        _ => format!("n BETWEEN {} AND 50", n % 20),
    }
}

/// Entries that stay are found exactly once by every event of every batch, and by no other, while
/// others come, go and take each other's places.
#[test]
fn what_stays_is_found_once_by_each_event_of_a_batch() {
    let index = Index::divided_early(0);
    insert_gates(&index);
    let topics = ["a/b", "a/c"].map(parse_topic);
    let event = |n: usize| -> Event {
        let text = if n.is_multiple_of(3) { "x" } else { "xy" };
        vec![
            ("k", Value::Int((n % 4) as i64)),
            ("n", Value::Int((n % 60) as i64)),
            ("s", Value::Str("x")),
            ("t", Value::Str(text)),
        ]
    };
    let events: Vec<(&Topic, Event)> = (0..70).map(|n| (&topics[n % 2], event(n))).collect();
    let staying: BTreeMap<EntryId, Selector> = (0..300)
        .map(|n| filtered(if n % 7 == 0 { "a/b" } else { "a/#" }, &sort_of(n)))
        .map(|selector| (index.insert(selector.clone(), 0), selector))
        .collect();
    let expected = events.iter().map(|(topic, event)| {
        let wanting = staying.iter().filter(|(_, selector)| selector.matches(topic, event));
        wanting.map(|(id, _)| *id).collect::<Vec<EntryId>>()
    });
    let expected: Vec<Vec<EntryId>> = expected.collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ending = Done(&done);
        scope.spawn(|| {
            let routes = topics.clone().map(|topic| index.route(&topic));
            let batch: Vec<_> =
                events.iter().enumerate().map(|(n, (_, event))| (&routes[n % 2], event)).collect();
            while !done.load(Ordering::Relaxed) {
                let mut together = found_together(&index, &batch);
                for (found, expected) in together.iter_mut().zip(&expected) {
                    assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "found twice");
                    found.retain(|id| staying.contains_key(id));
                    assert_eq!(found, expected);
                }
            }
        });
        let mut generator = Generator::new(9);
        let mut coming: Vec<EntryId> = Vec::new();
        for round in 0..if is_long() { 100_000 } else { 6_000 } {
            let selector = filtered(generator.pick(&["a/b", "a/#", "+/c"]), &sort_of(generator.below(300)));
            let at = generator.below(coming.len().max(1));
            if coming.len() < 20 || (coming.len() < 900 && generator.percent(55)) {
                coming.push(index.insert(selector, 1));
            } else if round % 50 == 0 {
                coming[at] = index.replace(coming[at], selector).expect("room").expect("it is there");
            } else {
                index.remove(coming.swap_remove(at));
            }
        }
        drop(ending);
    });
}

/// An entry that is being replaced is found by each event of a batch once, as the old or the new.
#[test]
fn a_replaced_entry_is_found_once_by_each_event_of_a_batch() {
    let index = Index::divided_early(0);
    insert_gates(&index);
    let topic = parse_topic("a/b");
    let events: Vec<Event> = (0..10).map(|n| vec![("n", Value::Int(n))]).collect();
    let selectors = [filtered("#", "n >= 0"), filtered("a/+", "n < 10"), filtered("a/b", "n IS NOT NULL")];
    let mut id = index.insert(selectors[0].clone(), 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ending = Done(&done);
        scope.spawn(|| {
            let mut route = index.route(&topic);
            while !done.load(Ordering::Relaxed) {
                index.renew_route(&mut route);
                let batch: Vec<_> = events.iter().map(|event| (&route, event)).collect();
                assert!(found_together(&index, &batch).iter().all(|found| found.len() == 1));
            }
        });
        for round in 0..4_000 {
            id = index.replace(id, selectors[round % 3].clone()).expect("room").expect("it is there");
        }
        drop(ending);
    });
}

/// Of the events of a batch as many are looked at as of events that come one by one.
#[test]
fn comparisons_that_are_unknown_are_counted_in_batches() {
    let index: Index<usize> = Index::divided_early(0);
    insert_gates(&index);
    index.insert(filtered("a", "n > 5"), 0);
    let route = index.route(&parse_topic("a"));
    let events: Vec<Event> = (0..64).map(|_| vec![("n", Value::Str("no number"))]).collect();
    let batch: Vec<_> = events.iter().map(|event| (&route, event)).collect();
    for round in 1..=3 {
        assert_eq!(found_together(&index, &batch).concat(), []);
        assert_eq!(index.unknowns(), 64 * round);
    }
}
