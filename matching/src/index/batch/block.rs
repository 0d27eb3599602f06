//! A block of clauses, read for several events at once: a word for each of its entries says which of
//! the events it wants.
//!
//! 1. Literal by literal, words are put together without a branch on what they say or on what a
//!    literal ends: neither can be guessed, and a batch reads millions of them.
//! 2. What an entry asks for beyond its clauses, and entries that stand in several places, are noted
//!    for who looks at them one by one.

use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::index::clauses::load;
use crate::index::entry::IS_GATE;
use crate::index::scales::Scales;
use crate::simd::spread::{AT_ONCE, hand_out};

use super::together::Together;
use crate::index::{EntryId, Literal};

/// What was read of a block, kept from block to block.
#[derive(Default)]
pub(super) struct Block {
    /// By entry: the events that it wants.
    pub(super) holding: Vec<u64>,
    /// Entries that are looked at one by one, and where their literals end.
    pub(super) special: Vec<(usize, usize)>,
}

impl Block {
    /// Reads all literals of a block for those of `events` that lead to it. Every code that must not be
    /// set is one that the events were read with.
    pub(super) fn read(&mut self, together: &Together, scales: &Scales, literals: &[AtomicU32], events: u64) {
        self.special.clear();
        self.holding.clear();
        self.holding.resize(literals.len() + 1, 0);
        let (mut clause, mut entry, mut number) = (0_u64, events, 0);
        for (place, literal) in literals.iter().map(load).enumerate() {
            clause |= match literal.step() {
                Some((scale, step)) => together.reaching_noted(scales, (scale, step), entry),
                None => together.having(literal.code()) ^ all_if(literal, Literal::NOT),
            };
            let clause_ends = all_if(literal, Literal::CLAUSE_END);
            entry &= clause | !clause_ends;
            clause &= !clause_ends;
            self.holding[number] = entry;
            let entry_ends = literal.has(Literal::ENTRY_END);
            if entry_ends && (literal.has_operations() || literal.is_several()) {
                self.special.push((number, place + 1));
            }
            number += usize::from(entry_ends);
            entry = select_unpredictable(entry_ends, events, entry);
        }
        self.holding.truncate(number);
    }

    /// Hands what was found to the lists of the events, and forgets it; `targets` are those of the
    /// entries, the last first. What is no entry by itself is left to `see`.
    pub(super) fn hand_out(
        &mut self,
        targets: &[AtomicU32],
        found: &mut [Vec<EntryId>],
        mut see: impl FnMut(u32, u64),
    ) {
        let mut targets = targets.iter().rev();
        for holding in self.holding.chunks(AT_ONCE) {
            let (mut numbers, mut words) = ([0; AT_ONCE], [0; AT_ONCE]);
            let (mut any, mut others) = (0, 0);
            words[..holding.len()].copy_from_slice(holding);
            for ((number, target), events) in numbers.iter_mut().zip(targets.by_ref()).zip(holding) {
                *number = target.load(Ordering::Acquire);
                any |= *events;
                others |= if *events == 0 { 0 } else { *number };
            }
            if any == 0 {
                continue;
            }
            if others >= IS_GATE {
                for (number, events) in numbers.iter().zip(&mut words) {
                    if *number >= IS_GATE && *events != 0 {
                        see(*number, std::mem::take(events));
                    }
                }
            }
            hand_out(&numbers, &words, holding.len(), found);
        }
    }
}

/// All bits if a literal has the flag.
#[inline]
fn all_if(literal: Literal, flag: u32) -> u64 {
    0_u64.wrapping_sub(u64::from(literal.0 >> flag.trailing_zeros() & 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;
    use crate::index::codes::Dictionary;

    #[test]
    fn a_block_is_read_as_its_entries_are_one_by_one() {
        let (vocabulary, _) = Dictionary::new(0);
        for seed in 0..3_000 {
            let mut generator = Generator::new(seed);
            let mut together = Together::default();
            for code in 1..40 {
                together.give(code, generator.word() & generator.word());
            }
            let (ends, events) = (generator.pick(&[1, 2, 5]), generator.word() | generator.word());
            let count = generator.below(90);
            let literals: Vec<AtomicU32> = (0..count)
                .map(|place| {
                    let mut literal = generator.below(50) as u32 | (generator.word() as u32 & Literal::NOT);
                    if place + 1 == count || generator.below(ends) == 0 {
                        literal |= Literal::CLAUSE_END;
                        literal |= generator.word() as u32 & Literal::ENTRY_END;
                    }
                    literal |= if place + 1 == count { Literal::ENTRY_END } else { 0 };
                    AtomicU32::new(literal)
                })
                .collect();
            let mut block = Block::default();
            block.read(&together, &vocabulary.scales, &literals, events);
            let is_end = |word: &AtomicU32| load(word).has(Literal::ENTRY_END);
            let entries = literals.split_inclusive(is_end);
            let expected: Vec<u64> =
                entries.map(|entry| together.holding(&vocabulary, entry, events)).collect();
            assert_eq!(block.holding, expected, "seed {seed}");
        }
    }
}
