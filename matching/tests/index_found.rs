//! What was found wrong with the index once, each by its input or its interleaving.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanal_matching::{Attributes, EntryId, Filter, Index, Route, Selector, Topic, TopicFilter, Value};

type Event = Vec<(String, Value<'static>)>;

fn filtered(filter: &str) -> Selector {
    let topic = TopicFilter::parse("t").expect("a topic filter");
    Selector { predicate: Some(Filter::parse(filter).expect("a filter")), ..Selector::new(topic) }
}

fn topic() -> Topic {
    Topic::parse("t").expect("a topic")
}

fn event(values: &[(&str, i64)]) -> Event {
    values.iter().map(|(name, value)| ((*name).to_owned(), Value::Int(*value))).collect()
}

fn collect(index: &Index<usize>, route: &mut Route<usize>, event: &Event) -> Vec<EntryId> {
    let mut found = Vec::new();
    index.collect(route, event, &mut found);
    found.sort_unstable();
    found
}

/// An index with so many entries that they are divided, and the plain scan beside it.
struct Both {
    index: Index<usize>,
    all: Vec<(EntryId, Selector)>,
}

impl Both {
    fn new() -> Both {
        let mut both = Both { index: Index::divided_early(0), all: Vec::new() };
        (0..400).for_each(|n| both.insert(&format!("k = {n}")));
        both
    }

    fn insert(&mut self, filter: &str) {
        let selector = filtered(filter);
        self.all.push((self.index.insert(selector.clone(), 0), selector));
    }

    fn check(&self, event: &Event) {
        let wanted = self.all.iter().filter(|(_, selector)| selector.matches(&topic(), event));
        let mut wanted: Vec<EntryId> = wanted.map(|(id, _)| *id).collect();
        wanted.sort_unstable();
        assert_eq!(collect(&self.index, &mut self.index.route(&topic()), event), wanted, "{event:?}");
    }

    fn empty(mut self) {
        while let Some((id, _)) = self.all.pop() {
            assert!(self.index.remove(id).is_some());
        }
    }
}

fn choices(count: usize, names: [&str; 2]) -> String {
    let [one, other] = names;
    let choices: Vec<String> = (0..count).map(|n| format!("({one}{n} = 1 OR {other}{n} = 2)")).collect();
    choices.join(" AND ")
}

#[test]
fn a_shared_part_stays_while_a_part_that_was_too_long_gave_it_up() {
    const SHARED: &str = "(x > 5 OR y = 3)";
    let mut both = Both::new();
    both.insert(&format!("p = 1 AND {SHARED}"));
    let (one, other) = (choices(90, ["u", "v"]), choices(90, ["w", "v"]));
    both.insert(&format!("(a = 1 AND {one} AND {SHARED}) OR (b = 2 AND {SHARED})"));
    both.check(&event(&[("b", 2), ("x", 9)]));
    both.insert(&format!("(a = 1 AND {one} AND {SHARED}) OR (b = 2 AND {other} AND {SHARED})"));
    (0..50).for_each(|n| both.insert(&format!("m{n} = 1 AND n = {n}")));
    both.check(&event(&[("b", 2), ("x", 9)]));
    for n in 0..50 {
        both.check(&event(&[("b", 2), (&format!("m{n}"), 1), ("n", n), ("x", 0)]));
    }
    both.empty();
}

#[test]
fn a_filter_that_nests_deep_is_inserted_in_linear_time() {
    let mut both = Both::new();
    let mut filter = "z = 1 OR y = 2".to_owned();
    for n in 0..25 {
        filter = format!("b{n} = 1 OR (a{n} = 1 AND ({filter}))");
    }
    // By the factor of three for each level that it once was, this takes a day.
    both.insert(&format!("p = 1 AND ({filter})"));
    both.insert(&format!("p = 2 AND ({filter})"));
    both.check(&event(&[("p", 2), ("b24", 1)]));
    both.empty();
}

#[test]
fn an_entry_with_many_choices_does_not_multiply() {
    let mut both = Both::new();
    let sets: Vec<String> = (0..8).map(|n| format!("a{n} IN (1, 2, 3)")).collect();
    let before = both.index.bytes();
    (0..300).for_each(|n| both.insert(&format!("{} AND x > {n}", sets.join(" AND "))));
    let each = (both.index.bytes() - before) / 300;
    assert!(each < 64 * 300, "{each} bytes each");
    let mut values: Vec<(&str, i64)> = vec![("x", 150)];
    values.extend(["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"].map(|name| (name, 2)));
    both.check(&event(&values));
    both.empty();
}

#[test]
fn an_attribute_never_hides_a_core_field() {
    struct Named;
    impl Attributes for Named {
        fn get(&self, name: &str) -> Option<Value<'_>> {
            (name == "id").then_some(Value::Str("core"))
        }
        fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
            see("id", Value::Str("attribute"));
        }
    }
    let index = Index::divided_early(0);
    index.insert(filtered("id = 'core'"), 0);
    let mut found = Vec::new();
    index.collect(&mut index.route(&topic()), &Named, &mut found);
    assert_eq!(found.len(), 1);
}

/// What took the place of a forgotten attribute was written so that it reads like the attribute.
#[test]
fn a_reader_does_not_remember_an_attribute_that_was_forgotten() {
    let mut both = Both::new();
    // The record of a constant has its text where that of an attribute has length and name.
    let forged = |n: usize| format!("k{n} = 'x{n:03}\u{2}\0\0\0aa'");
    (0..20).for_each(|n| both.insert(&format!("k{n} = 'x'")));
    for round in 0..20 {
        let about: Event = vec![("aa".to_owned(), Value::Str("v"))];
        both.insert("aa = 'v'");
        both.check(&about);
        let (id, _) = both.all.pop().expect("the entry about the attribute");
        assert!(both.index.remove(id).is_some());
        both.insert(&forged(round));
        both.check(&about);
    }
    both.empty();
}

/// An entry that was removed asks for nothing: what it asked for is another's by now.
#[test]
fn what_was_removed_is_not_asked_about() {
    let index = Index::divided_early(0);
    let on = |topic: &str, filter: &str| Selector {
        topic: TopicFilter::parse(topic).unwrap(),
        ..filtered(filter)
    };
    let find = |topic: &str, event: &Event| {
        let mut found = Vec::new();
        index.collect(&mut index.route(&Topic::parse(topic).unwrap()), event, &mut found);
        found
    };
    let gone = index.insert(on("t", "gone = 1"), 0);
    let staying = ["k = 1", "k = 2"].map(|filter| index.insert(on("t", filter), 0));
    assert_eq!(index.remove(gone), Some(0));
    assert_eq!(find("t", &event(&[("k", 1)])), staying[..1]);
    // So that numbers that came free are given again.
    for n in 0..300 {
        let id = index.insert(on("u", &format!("k = {n}")), 0);
        index.remove(id);
    }
    let fresh = index.insert(on("v", "fresh = 1"), 0);
    assert_eq!(find("v", &event(&[("fresh", 1)])), [fresh]);
    assert_eq!(find("v", &event(&[("gone", 1)])), []);
}

/// How long two threads are let at each other.
fn while_racing(mut change: impl FnMut(usize), read: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                read();
            }
        });
        let end = Instant::now() + Duration::from_millis(1_500);
        for n in 0.. {
            if Instant::now() > end || reader.is_finished() {
                break;
            }
            change(n);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A route was made while the one filtered entry that it saw was going and another had come.
#[test]
fn a_route_never_forgets_that_there_are_filtered_entries() {
    let index = Index::divided_early(0);
    for n in 0..60 {
        let mut selector = Selector::new(TopicFilter::parse("t").expect("a topic filter"));
        selector.except = vec![TopicFilter::parse(&format!("+/x{n}/+")).expect("a topic filter")];
        index.insert(selector, n);
    }
    let mut old = index.insert(filtered("f = 0"), 0);
    while_racing(
        |n| {
            let new = index.insert(filtered(&format!("f = {}", n % 50)), n);
            index.remove(old);
            old = new;
        },
        || {
            let route = index.route(&topic());
            assert!(route.needs_attributes() || !route.is_current(&index), "a filtered entry is lost");
        },
    );
}

/// An entry in two places became a list while a reader was between them.
#[test]
fn an_entry_is_found_once_while_it_becomes_a_list() {
    let index = Index::divided_early(0);
    for n in 0..60 {
        index.insert(filtered(&format!("a = 1 AND s LIKE '%x{n}%y%'")), 0);
        index.insert(filtered(&format!("b = 2 AND s LIKE '%x{n}%z%'")), 0);
    }
    let mut both = event(&[("a", 1), ("b", 2)]);
    both.push(("s".to_owned(), Value::Str("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")));
    while_racing(
        |_| {
            let [one, two] = [1, 2].map(|n| index.insert(filtered("a = 1 OR b = 2"), n));
            index.remove(one);
            index.remove(two);
        },
        || {
            let found = collect(&index, &mut index.route(&topic()), &both);
            assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
        },
    );
}

/// A list that stood under several codes was taken for one that stands alone where a chain was
/// divided: what was added to it later was not found everywhere.
#[test]
fn a_list_in_several_places_grows_in_all_of_them() {
    let mut both = Both::new();
    let mut state = 1_u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    for n in 0..3_000 {
        let (a, b) = (below(12), below(12));
        match below(4) {
            0 => both.insert(&format!("a IN ({a}, {}) AND b IN ({b}, {})", (a + 1) % 12, (b + 5) % 12)),
            1 => both.insert(&format!("a = {a} AND c > {n}")),
            2 => both.insert(&format!("a = {a} AND b = {b} AND c > {n}")),
            _ => both.insert(&format!("b = {b} AND d LIKE '%{n}_%'")),
        }
    }
    for (a, b) in (0..12).flat_map(|a| (0..12).map(move |b| (a, b))) {
        both.check(&event(&[("a", a), ("b", b), ("c", 0)]));
    }
    both.empty();
}

/// An event with which the index changes: once it was read, in the middle of the match.
struct Changing<'c, C> {
    event: Event,
    change: std::cell::RefCell<Option<C>>,
    made: &'c std::cell::RefCell<Vec<EntryId>>,
}

impl<C: FnOnce() -> Vec<EntryId>> Attributes for Changing<'_, C> {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.event.get(name)
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.event.visit(see);
        if let Some(change) = self.change.take() {
            self.made.borrow_mut().extend(change());
        }
    }
}

/// Adds entries that do not want the event after it was read. Nobody had asked about what they want
/// not to be so, and the match found it not to be so.
fn never_found_amid_a_match(both: &Both, event: &Event, filters: &[&str]) {
    let selectors: Vec<Selector> = filters.iter().map(|filter| filtered(filter)).collect();
    assert!(selectors.iter().all(|selector| !selector.matches(&topic(), event)), "{filters:?}");
    let add = || selectors.iter().map(|selector| both.index.insert(selector.clone(), 1)).collect();
    let right = collect(&both.index, &mut both.index.route(&topic()), event);
    let made = std::cell::RefCell::new(Vec::new());
    let changing = |is_last: bool| Changing {
        event: event.clone(),
        change: std::cell::RefCell::new(is_last.then_some(add)),
        made: &made,
    };
    let forget = || made.take().into_iter().for_each(|id| assert!(both.index.remove(id).is_some()));

    let mut route = both.index.route(&topic());
    let mut found = Vec::new();
    both.index.collect(&mut route, &changing(true), &mut found);
    found.sort_unstable();
    assert_eq!((made.borrow().len(), &found), (filters.len(), &right), "{filters:?}");
    forget();

    let events: Vec<Changing<'_, _>> = [false, false, true].map(changing).into();
    let mut lists = vec![Vec::new(); events.len()];
    both.index.renew_route(&mut route);
    both.index.collect_batch(&events.iter().map(|event| (&route, event)).collect::<Vec<_>>(), &mut lists);
    for mut found in lists {
        found.sort_unstable();
        assert_eq!(found, right, "{filters:?} together with others");
    }
    forget();
}

#[test]
fn what_nobody_asked_about_before_is_not_taken_for_absent() {
    let mut both = Both::new();
    for n in 0..40 {
        both.insert(&format!("m = {n} AND (g = {} OR h = 2) AND (g = {} OR h = 4)", n % 3, n % 5));
    }
    both.insert("m = 1 AND a = 7 AND t = 'x'");
    let mut event = event(&[("m", 1), ("a", 5), ("new", 3)]);
    event.push(("t".to_owned(), Value::Str("y")));
    never_found_amid_a_match(&both, &event, &["new IS NULL"]);
    never_found_amid_a_match(&both, &event, &["a IS NULL", "m = 1 AND t IS NULL"]);
    never_found_amid_a_match(&both, &event, &["a != 5", "m = 1 AND a NOT IN (5, 6)"]);
    never_found_amid_a_match(&both, &event, &["t != 'y' OR a IS NULL", "m = 1 AND (a = 6 OR t != 'y')"]);
    // The second of them makes a part of its own of what they share.
    let shared = ["m = 2 AND (new IS NULL OR m = 9)", "m = 1 AND (new IS NULL OR m = 9)"];
    never_found_amid_a_match(&both, &event, &shared);
    let nested = ["m = 2 AND (m = 8 OR (a != 5 AND a != 6))", "m = 1 AND (m = 8 OR (a != 5 AND a != 6))"];
    never_found_amid_a_match(&both, &event, &nested);
    // They are found by every match that begins once they are there.
    ["new IS NULL", "a != 6", "m = 1 AND (new IS NULL OR a != 7)"]
        .iter()
        .for_each(|filter| both.insert(filter));
    both.check(&event);
    both.check(&vec![("a".to_owned(), Value::Int(6))]);
    both.check(&vec![("m".to_owned(), Value::Int(1)), ("a".to_owned(), Value::Int(7))]);
    both.empty();
}

/// Codes came and went while a reader was between reading the event and meeting the entries.
#[test]
fn what_is_not_so_is_told_while_others_come_to_ask_for_it() {
    let mut both = Both::new();
    both.insert("a = -1");
    let index = &both.index;
    // The destination says which numbers the entry does not want.
    let (unlike, missing) = (|n: usize| 1_000 + n, |n: usize| 2_000 + n);
    let events = [0, 1, 2, 3].map(|n| event(&[("a", n), ("x0", 1), ("x1", 1), ("x2", 1), ("x3", 1)]));
    while_racing(
        |n| {
            let n = n % 4;
            let unlike = index.insert(filtered(&format!("a != {n}")), unlike(n));
            let missing = index.insert(filtered(&format!("x{n} IS NULL")), missing(n));
            index.remove(unlike);
            index.remove(missing);
        },
        || {
            let mut route = index.route(&topic());
            for (n, event) in events.iter().enumerate() {
                index.visit(&mut route, event, |_, found| {
                    assert!(*found < missing(0) && *found != unlike(n), "{found} by {n}");
                });
            }
        },
    );
    both.empty();
}

/// Filters of many shapes: short ones, long texts, many constants, ranges of ever other attributes,
/// many choices, shared parts.
fn filter_of_some_shape(shape: usize, n: usize) -> String {
    let list = |name: &str, count: usize| {
        let texts: Vec<String> = (0..count).map(|at| format!("'{n} {at}'")).collect();
        format!("{name} IN ({})", texts.join(", "))
    };
    match shape {
        0 => format!("a = {n}"),
        1 => format!("s = '{n:04000}'"),
        2 => list("s", 60),
        3 => format!("x{} BETWEEN {n} AND {} AND y{} > {n}", n % 97, n + 9, n / 97 % 89),
        4 => format!("{} AND {} AND z{n} > 1", list("s", 40), list("t", 40)),
        5 => {
            let parts: Vec<String> = (0..300).map(|at| format!("(k{n} = {at} AND m = {n})")).collect();
            parts.join(" OR ")
        }
        6 => format!("a = {n} AND (g = {} OR h = {}) AND (g = {} OR h = 4)", n % 7, n % 5, n % 3),
        _ => format!("s LIKE '{n}%' AND c != {n} AND d{n} IS NULL"),
    }
}

/// Counted in words there was room, but in pieces that were too small for what a change asked for.
#[test]
fn a_full_index_of_small_pieces_never_fails() {
    for (round, (mebibytes, phases)) in [(2, 12), (2, 12), (3, 9), (16, 2)].into_iter().enumerate() {
        let index = Index::with_bytes_max(round as u64, mebibytes << 20);
        let mut state = round as u64 + 1;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        let mut all: Vec<(EntryId, Selector)> = Vec::new();
        let (mut next, mut refused) = (0, 0);
        for phase in 0..phases {
            // One shape fills it, the next has to live with what that leaves.
            let shape = if round % 2 == 0 { (phase * 3 + round) % 8 } else { below(8) };
            let mut full = 0;
            while full < 40 {
                next += 1;
                let selector = filtered(&filter_of_some_shape(shape, next));
                let id = match below(20) {
                    0 => index.insert_promised(selector.clone(), 0),
                    _ => index.try_insert(selector.clone(), 0),
                };
                match id {
                    Ok(id) => all.push((id, selector)),
                    Err(_) => full += 1,
                }
            }
            refused += full;
            for _ in 0..8 {
                let at = below(all.len());
                let selector = filtered(&filter_of_some_shape(below(8), next + 1));
                if let Ok(Some(id)) = index.replace(all[at].0, selector.clone()) {
                    all[at] = (id, selector);
                }
            }
            // Every other one goes, or nearly all.
            let leaving = if phase % 3 == 2 { 95 } else { 50 };
            all.retain(|(id, _)| below(100) >= leaving || index.remove(*id).is_none());
        }
        assert!(refused >= 40 * phases && index.len() == all.len(), "{refused} refused");
        let mut event = event(&[("a", next as i64), ("c", 1), ("g", 1), ("h", 4), ("m", 3), ("x1", 500)]);
        event.push(("s".to_owned(), Value::Str("17 3")));
        Both { index, all }.check(&event);
    }
}
