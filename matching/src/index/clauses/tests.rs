//! Clauses against the rows that they were made of.

use super::*;
use crate::generate::Generator;
use crate::index::blocks::{CHAIN_HEAD, Used};
use crate::index::boxes::shape::Bounds;
use crate::index::codes::Vocabulary;
use crate::index::entry::{self, HAS_HIGH, HAS_LOW, HIGH_STRICT, INT, LOW_STRICT, Tests};
use crate::index::memory::Memory;
use crate::value::Value;

struct NoTests;

impl Tests for NoTests {
    fn holds(&self, _: u32) -> bool {
        unreachable!("codes ask for no test")
    }

    fn was_read_with(&self, _: u32) -> bool {
        true
    }
}

/// Codes of an event, and some that lie beyond what it ever had.
const CODES: usize = 300;

/// The one that operations ask about.
const ATTRIBUTE: u16 = 3;
const NAMES: [&str; 4] = ["a0", "a1", "a2", "a3"];

/// What rows are written with.
struct Words {
    memory: Memory,
    vocabulary: Vocabulary,
    dictionary: Dictionary,
}

impl Words {
    fn new() -> Words {
        let mut memory = Memory::new();
        let (vocabulary, mut dictionary) = Dictionary::new(1);
        for (name, number) in NAMES.iter().zip(0..) {
            assert_eq!(dictionary.use_attribute(&mut memory, &vocabulary, name, 1), Some(number));
        }
        Words { memory, vocabulary, dictionary }
    }

    /// A range of integers, which may be on scales.
    fn range(&mut self, generator: &mut Generator) -> Vec<u32> {
        let low = generator.pick(&[-3, 2, 4, 65_530, i32::MIN]) + generator.below(9) as i32;
        let high = low.saturating_add(generator.pick(&[0, 3, 70_000]));
        let flags = generator.pick(&[
            HAS_LOW,
            HAS_LOW | LOW_STRICT,
            HAS_HIGH,
            HAS_HIGH | HIGH_STRICT,
            HAS_LOW | HAS_HIGH,
            HAS_LOW | HAS_HIGH | HIGH_STRICT,
            HAS_LOW | HAS_HIGH | LOW_STRICT | HIGH_STRICT,
        ]);
        let sides = [(HAS_LOW, low), (HAS_HIGH, high)].into_iter().filter(|(side, _)| flags & side != 0);
        let own: Vec<u32> = sides.map(|(_, bound)| bound as u32).collect();
        let mut operation = Operation::new(INT, flags, ATTRIBUTE, 0);
        if generator.below(4) > 0 {
            operation = self.dictionary.use_scales(&mut self.memory, operation, &own);
        }
        [vec![operation.0], own].concat()
    }
}

fn row(words: &mut Words, generator: &mut Generator, target: u32) -> Vec<u32> {
    let code = |generator: &mut Generator| 1 + generator.below(CODES) as u32;
    let codes: Vec<u32> = (0..generator.below(4)).map(|_| code(generator)).collect();
    let mut operations = Vec::new();
    for _ in 0..generator.below(3) {
        let kind = generator.pick(&[NOT, ANY, SOME]);
        let most = generator.pick(&[2, 60]);
        let count = if kind == NOT { 1 } else { 2 + generator.below(most) };
        operations.push(Operation::new(kind, 0, 0, if kind == NOT { 0 } else { count }).0);
        operations.extend((0..count).map(|_| code(generator)));
    }
    let ranges: Vec<Vec<u32>> = (0..generator.below(3)).map(|_| words.range(generator)).collect();
    // What no clause can say goes to the end.
    let is_scaled = |range: &&Vec<u32>| Operation(range[0]).is_scaled();
    ranges.iter().filter(is_scaled).for_each(|range| operations.extend(range));
    ranges.iter().filter(|range| !is_scaled(range)).for_each(|range| operations.extend(range));
    let words = ENTRY_HEAD + codes.len() + operations.len();
    let head = Head::new(words, codes.len(), false, generator.below(5) == 0);
    [vec![target, head.0], codes, operations].concat()
}

/// A block with these rows, and with some words that nobody uses.
fn block(dictionary: &Dictionary, rows: &[Vec<u32>], free: usize) -> (Vec<AtomicU32>, Used) {
    let mut words = vec![0; CHAIN_HEAD];
    rows.iter().for_each(|row| assert!(write(row, dictionary, &mut words)));
    let used = Used::new(words.len(), rows.len());
    words.extend(vec![u32::MAX; free]);
    words.extend(rows.iter().rev().map(|row| row[0]));
    (words.into_iter().map(AtomicU32::new).collect(), used)
}

#[test]
fn a_row_comes_back_as_it_was() {
    let mut known = Words::new();
    for seed in 0..5_000 {
        let mut generator = Generator::new(seed);
        let count = 1 + generator.below(9) as u32;
        let rows: Vec<Vec<u32>> = (0..count).map(|n| row(&mut known, &mut generator, n)).collect();
        let (words, used) = block(&known.dictionary, &rows, generator.below(3));
        let mut back = Vec::new();
        each_entry(&words, used, |target, literals, last| {
            let target = target.load(Ordering::Relaxed);
            let mut row = Vec::new();
            read(target, literals, known.dictionary.scales(), &mut row);
            assert_eq!(last.is_several(), Head(row[1]).is_several());
            assert_eq!(last.has_operations(), !fits(&row));
            back.push(row);
        });
        assert_eq!(back, rows, "seed {seed}");
    }
}

/// Ranges whose bounds are on no scales are carried along as operations: they are boxes all the same.
#[test]
fn entries_that_are_boxes_may_be_nothing_but_ranges() {
    let mut known = Words::new();
    let (mut scaled, mut unscaled, mut others) = (0, 0, 0);
    for seed in 0..5_000 {
        let row = row(&mut known, &mut Generator::new(seed), 0);
        let (words, used) = block(&known.dictionary, std::slice::from_ref(&row), 0);
        let (codes, operations) = row[ENTRY_HEAD..].split_at(Head(row[1]).codes());
        let is_box = Bounds::of(codes, operations).is_some();
        each_entry(&words, used, |_, literals, last| {
            assert!(!is_box || may_be_ranges(literals), "seed {seed}: {row:?}");
            scaled += usize::from(is_box && !last.has_operations());
            unscaled += usize::from(is_box && last.has_operations());
            others += usize::from(!may_be_ranges(literals));
        });
    }
    assert!(scaled > 100 && unscaled > 20 && others > 1_000, "{scaled} {unscaled} {others}");
}

#[test]
fn what_an_entry_asks_not_to_be_set_is_told_from_what_others_ask() {
    let not = |code: u32| vec![Operation::new(NOT, 0, 0, 0).0, code];
    let int = vec![Operation::new(INT, HAS_LOW, ATTRIBUTE, 0).0, u32::MAX];
    let row = |target: u32, codes: &[u32], operations: &[Vec<u32>]| {
        let operations = operations.concat();
        let words = ENTRY_HEAD + codes.len() + operations.len();
        [vec![target, Head::new(words, codes.len(), false, false).0], codes.to_vec(), operations].concat()
    };
    let rows =
        [row(1, &[5], &[not(6), not(7)]), row(2, &[], &[]), row(3, &[8], &[]), row(4, &[], &[not(9), int])];
    let (words, used) = block(&Words::new().dictionary, &rows, 0);
    let mut all = Vec::new();
    each_entry(&words, used, |_, literals, _| all.push(literals.len()));
    let ends = all.iter().scan(CHAIN_HEAD, |end, count| {
        *end += count;
        Some(*end)
    });
    let absent: Vec<Vec<u32>> = ends.map(|end| absent(&words[CHAIN_HEAD..end]).collect()).collect();
    assert_eq!(absent, [vec![6, 7], vec![], vec![], vec![9]]);
}

#[test]
fn what_literals_cannot_say_is_refused_and_leaves_nothing() {
    let rows = [
        vec![7, Head::new(2, 0, true, false).0],
        vec![7, Head::new(3, 1, false, false).0, Literal::CODE],
        vec![7, Head::new(6, 1, false, false).0, 9, Operation::new(SOME, 0, 0, 2).0, 5, Literal::CODE + 1],
    ];
    let known = Words::new();
    for row in rows {
        let mut literals = vec![1, 2];
        assert!(!write(&row, &known.dictionary, &mut literals) && !fits(&row), "{row:?}");
        assert_eq!(literals, [1, 2]);
        assert_eq!(write_all([row.as_slice()].into_iter(), &known.dictionary, &mut literals), None);
    }
}

#[test]
fn a_block_whose_entries_mostly_have_operations_is_none_of_clauses() {
    let plain = vec![7, Head::new(3, 1, false, false).0, 9];
    let with = vec![7, Head::new(4, 0, false, false).0, Operation::new(INT, HAS_LOW, 3, 0).0, 5];
    for (rows, expected) in
        [([&plain, &plain, &plain, &with], Some(4)), ([&plain, &plain, &with, &with], None)]
    {
        let rows = rows.into_iter().map(Vec::as_slice);
        assert_eq!(write_all(rows, &Words::new().dictionary, &mut Vec::new()), expected);
    }
}

#[test]
fn the_entries_that_hold_are_those_whose_rows_hold() {
    let mut known = Words::new();
    for seed in 0..20_000 {
        let mut generator = Generator::new(seed);
        let mut seen = Seen::new();
        // Often all codes are set but a few, so that long entries hold too.
        let share = generator.pick(&[2, 5, 10, 50]);
        let end = generator.pick(&[CODES / 2, CODES + 1]);
        (1..end as u32).filter(|_| generator.below(share) > 0).for_each(|code| seen.set_derived(code));
        let count = generator.pick(&[1, 3, 40, 200]);
        let rows: Vec<Vec<u32>> = (0..count).map(|n| row(&mut known, &mut generator, n)).collect();
        // Sometimes there is none, or none that compares.
        let near = generator.pick(&[0, 65_534, 100_000, i64::from(i32::MIN), i64::MAX - 12]);
        let number = near + generator.below(12) as i64 - 1;
        let value = match generator.below(6) {
            0 => Value::Str("5"),
            1 => Value::Float(number as f64 + 0.5),
            _ => Value::Int(number),
        };
        let event = (generator.below(8) > 0).then_some((NAMES[usize::from(ATTRIBUTE)], value));
        known.vocabulary.read(known.memory.arena(), event.as_slice(), &mut seen);
        let (words, used) = block(&known.dictionary, &rows, generator.below(20));
        let holds = |row: &&Vec<u32>| {
            let codes = Head(row[1]).codes();
            let words: Vec<AtomicU32> = row[ENTRY_HEAD..].iter().map(|word| AtomicU32::new(*word)).collect();
            entry::holds(&words, codes, &seen, &NoTests)
        };
        let expected: Vec<(u32, bool)> =
            rows.iter().filter(holds).map(|row| (row[0], Head(row[1]).is_several())).collect();
        for is_sampled in [false, true] {
            let mut found = Vec::new();
            let see = |seen: &mut Seen, target, last: Literal, literals: &[AtomicU32]| {
                if !last.has_operations() || entry::all_hold(&operations(literals), seen, &NoTests) {
                    found.push((target, last.is_several()));
                }
            };
            match is_sampled {
                false => each_holding(&words, used, &mut seen, see),
                true => each_holding_sampled(&words, used, known.dictionary.scales(), &mut seen, see),
            }
            assert_eq!(found, expected, "seed {seed}");
        }
    }
}
