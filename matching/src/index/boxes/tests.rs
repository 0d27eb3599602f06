//! Boxes against a plain reading of their bounds.

use std::collections::BTreeMap;

use super::shape::{Bounds, Item, append, build, choose, read, split};
use super::*;
use crate::generate::Generator;
use crate::index::arena::{Arena, Handle};
use crate::index::entry::{HAS_HIGH, HAS_LOW, HIGH_STRICT, INT, LOW_STRICT, Operation};
use crate::index::memory::Memory;

/// An event's number.
#[derive(Clone, Copy)]
struct Coordinate {
    floor: i64,
    ceiling: i64,
}

const EDGES: [i32; 8] = [i32::MIN, i32::MIN + 1, -1, 0, 1, 255, i32::MAX - 1, i32::MAX];

/// How widely bounds and points of one case spread.
#[derive(Clone, Copy)]
enum Spread {
    Edges,
    Near(u32),
}

fn number(generator: &mut Generator, spread: Spread) -> i32 {
    match spread {
        Spread::Edges => generator.pick(&EDGES),
        Spread::Near(bits) => (generator.word() as i32) >> (32 - bits),
    }
}

/// The operations of a random box: some sides open, some strict, some empty.
fn operations(generator: &mut Generator, sides: usize, spread: Spread) -> Vec<u32> {
    let mut words = Vec::new();
    for attribute in 0..sides {
        let (mut flags, mut own) = (0, Vec::new());
        for (has, strict) in [(HAS_LOW, LOW_STRICT), (HAS_HIGH, HIGH_STRICT)] {
            if generator.percent(85) {
                flags |= has | if generator.percent(30) { strict } else { 0 };
                own.push(number(generator, spread) as u32);
            }
        }
        if own.len() == 2 && generator.percent(90) {
            own.sort_by_key(|word| *word as i32);
        }
        words.push(Operation::new(INT, flags, attribute as u16, 0).0);
        words.extend(own);
    }
    words
}

fn item(words: &[u32], target: u32) -> Item {
    let (_, bounds) = Bounds::of(&[], words).expect("nothing but ranges");
    Item { bounds, target, from: 0 }
}

fn coordinate(generator: &mut Generator, spread: Spread) -> Coordinate {
    let whole = match generator.below(12) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => i64::from(i32::MIN) - 1,
        3 => i64::from(i32::MAX) + 1,
        _ => i64::from(number(generator, spread)),
    };
    let ceiling = if generator.percent(15) { whole.saturating_add(1) } else { whole };
    Coordinate { floor: whole, ceiling }
}

/// What an entry's operations say about a point.
fn holds(mut words: &[u32], point: &[Coordinate]) -> bool {
    while let [first, rest @ ..] = words {
        let operation = Operation(*first);
        let (own, next) = rest.split_at(operation.behind(0));
        let mut own = own.iter().map(|word| i64::from(*word as i32));
        let Coordinate { floor, ceiling } = point[usize::from(operation.attribute())];
        let flags = operation.flags();
        if flags & HAS_LOW != 0 {
            let value = if flags & LOW_STRICT != 0 { ceiling } else { floor };
            if own.next().is_some_and(|low| value < low) {
                return false;
            }
        }
        if flags & HAS_HIGH != 0 {
            let value = if flags & HIGH_STRICT != 0 { floor } else { ceiling };
            if own.next().is_some_and(|high| value > high) {
                return false;
            }
        }
        words = next;
    }
    true
}

fn spread_of(seed: u64) -> Spread {
    match seed % 4 {
        0 => Spread::Edges,
        1 => Spread::Near(4),
        2 => Spread::Near(20),
        _ => Spread::Near(32),
    }
}

/// Probes a leaf as a reader does.
fn probed(arena: &Arena, block: Handle, point: &[Coordinate]) -> u64 {
    let words = arena.words(block);
    let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
    let used = words[0].load(Ordering::Relaxed);
    let is_whole = point.iter().all(|coordinate| coordinate.floor == coordinate.ceiling);
    let point = point.iter().flat_map(|coordinate| coordinates(coordinate.floor, coordinate.ceiling));
    let point = &point.collect::<Vec<i64>>()[..];
    match (shape.level(), is_whole) {
        (0, false) => probe_fraction(words, shape, point, used),
        (0, true) => {
            let (mask, edges) = probe(words, shape, point, used);
            refine(words, shape, point, mask, edges)
        }
        _ => probe(words, shape, point, used).0,
    }
}

#[test]
fn a_leaf_has_exactly_the_boxes_that_a_point_is_in() {
    let (mut inside, mut outside) = (0, 0);
    for seed in 0..400 {
        let (mut generator, spread) = (Generator::new(seed), spread_of(seed));
        let sides = 1 + generator.below(if seed % 5 == 0 { SIDES_MAX } else { 3 });
        let boxes: Vec<Vec<u32>> = (0..LANES).map(|_| operations(&mut generator, sides, spread)).collect();
        let items: Vec<Item> = boxes.iter().enumerate().map(|(n, words)| item(words, n as u32)).collect();
        let mut memory = Memory::new();
        // Some are there from the start, others come as far as there is room for them.
        let start = 1 + generator.below(LANES);
        let leaf = build(&mut memory, 0, 0, 2 * sides, &items[..start]);
        let arena = memory.arena();
        let mut there: Vec<usize> = (0..start).collect();
        there.extend((start..LANES).filter(|n| append(arena, leaf, &items[*n])));
        for (lane, known) in read(arena, leaf).iter().enumerate() {
            assert_eq!(known.bounds, items[there[lane]].bounds, "seed {seed}");
        }
        for _ in 0..60 {
            let point: Vec<Coordinate> = (0..sides).map(|_| coordinate(&mut generator, spread)).collect();
            let mask = probed(arena, leaf, &point);
            for (lane, number) in there.iter().enumerate() {
                let expected = holds(&boxes[*number], &point);
                assert_eq!(mask >> lane & 1 == 1, expected, "seed {seed} lane {lane}");
                if expected { inside += 1 } else { outside += 1 }
            }
            assert_eq!(mask & !lanes(there.len() as u32), 0, "seed {seed}");
        }
    }
    assert!(inside > 20_000 && outside > 20_000, "{inside} {outside}");
}

#[test]
fn a_node_misses_nothing_that_is_below_it() {
    let mut passed_over = 0;
    for seed in 0..200 {
        let (mut generator, spread) = (Generator::new(seed), spread_of(seed));
        let sides = 1 + generator.below(3);
        let mut below: Vec<Vec<Vec<u32>>> = (0..1 + generator.below(LANES))
            .map(|_| (0..3).map(|_| operations(&mut generator, sides, spread)).collect())
            .collect();
        let around = |boxes: &[Vec<u32>]| {
            let items: Vec<Item> = boxes.iter().map(|words| item(words, 0)).collect();
            Bounds::around(&items)
        };
        let items: Vec<Item> = below
            .iter()
            .enumerate()
            .map(|(n, boxes)| Item { bounds: around(boxes), target: n as u32, from: 0 })
            .collect();
        let mut memory = Memory::new();
        let mut node = build(&mut memory, 0, 1, 2 * sides, &items);
        for _ in 0..20 {
            let words = operations(&mut generator, sides, spread);
            let wanted = item(&words, 0).bounds;
            let lane = choose(memory.arena(), node, &wanted);
            below[lane].push(words);
            if !shape::reach(memory.arena(), node, lane, &wanted) {
                let mut items = read(memory.arena(), node);
                items.iter_mut().for_each(|item| item.bounds.open_at_edges());
                node = build(&mut memory, 0, 1, 2 * sides, &items);
            }
        }
        for _ in 0..60 {
            let point: Vec<Coordinate> = (0..sides).map(|_| coordinate(&mut generator, spread)).collect();
            let mask = probed(memory.arena(), node, &point);
            for (lane, boxes) in below.iter().enumerate() {
                let is_passed = mask >> lane & 1 == 0;
                let is_wanted = boxes.iter().any(|words| holds(words, &point));
                assert!(!is_passed || !is_wanted, "seed {seed} lane {lane}");
                passed_over += u32::from(is_passed);
            }
        }
    }
    assert!(passed_over > 10_000, "{passed_over}");
}

#[test]
fn a_split_keeps_every_box_and_divides_in_space() {
    let (mut generator, spread) = (Generator::new(3), Spread::Near(20));
    let items: Vec<Item> =
        (0..=LANES as u32).map(|n| item(&operations(&mut generator, 2, spread), n)).collect();
    let (first, second) = split(&items, 4);
    assert!(first.len().min(second.len()) * 5 >= items.len() * 2 - 5);
    let both: BTreeMap<u32, Bounds> =
        first.iter().chain(&second).map(|item| (item.target, item.bounds)).collect();
    assert_eq!(both.len(), items.len());
    assert!(items.iter().all(|item| both[&item.target] == item.bounds));
    // Two heaps far from each other are told apart.
    let heap = |n: u32| {
        let low = if n & 1 == 0 { 0 } else { 1_000_000 } + n;
        item(&[Operation::new(INT, HAS_LOW | HAS_HIGH, 0, 0).0, low, low + 10], n)
    };
    let (first, second) = split(&(0..=64).map(heap).collect::<Vec<_>>(), 2);
    for part in [first, second] {
        assert!(part.iter().all(|item| (item.target ^ part[0].target) & 1 == 0));
    }
}

#[test]
fn what_is_no_box_stays_outside() {
    let range = Operation::new(INT, HAS_LOW, 3, 0).0;
    assert!(Bounds::of(&[], &[range, 5]).is_some());
    assert!(Bounds::of(&[1], &[range, 5]).is_none(), "a code is left");
    assert!(Bounds::of(&[], &[range, 5, range, 6]).is_none(), "one attribute twice");
    assert!(Bounds::of(&[], &[]).is_none());
    assert!(Bounds::of(&[], &[Operation::new(super::super::entry::TEST, 0, 0, 0).0, 1]).is_none());
    let either = [Operation::new(super::super::entry::EITHER, 0, 0, 0).0, 3, 2, range, 5];
    assert!(Bounds::of(&[], &either).is_none(), "alternatives");
    let many: Vec<u32> = (0..9).flat_map(|n| [Operation::new(INT, HAS_LOW, n, 0).0, 1]).collect();
    assert!(Bounds::of(&[], &many).is_none(), "too many sides");
    assert!(Bounds::of(&[], &many[..16]).is_some());
}
