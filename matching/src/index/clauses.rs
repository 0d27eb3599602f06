//! How entries are written that ask for codes and ranges of integers, so that many are read at once.
//!
//! What such a filter needs is a conjunction of clauses, each of a few literals one of which must
//! hold. A literal is a code that must be set, or one that must not, or a step that must be reached on
//! a scale (`super::scales`), which is a clause by itself. A block has the literals of all
//! its entries one behind the other, and their targets in the same order from its end downwards. 64
//! literals are read at once (`crate::simd::literals`).
//!
//! 1. A block holds what its rows say (`super::entry`): from there it is made, and there it is read
//!    back.
//! 2. What an entry asks for that no clause can say (a comparison of floats) is carried along as a
//!    last clause that always holds: a literal that does, and the words of the operations, two
//!    literals for each. It is read where the other clauses hold. A block in which that is common is
//!    one of rows.
//! 3. A clause is never empty: an entry that asks for nothing has a literal that always holds.
//! 4. An entry lies in one block as a whole.

use std::sync::atomic::{AtomicU32, Ordering};

use smallvec::SmallVec;

use super::arena::LINE;
use super::blocks::{CHAIN_HEAD, Used};
use super::codes::Dictionary;
use super::entry::{ANY, CODE, ENTRY_HEAD, Head, INT, NOT, Operation, SOME, each_top};
use super::scales::Scales;
use super::seen::Seen;
use crate::simd;
use crate::simd::literals::{AT_ONCE, Across, Entries};

/// One word: a code, or a scale and a step, and what it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Literal(pub(crate) u32);

impl Literal {
    /// The bits of the code. A higher code is in rows only.
    pub(crate) const CODE: u32 = (1 << 26) - 1;
    /// It is a step of a scale rather than a code.
    pub(crate) const SCALE: u32 = 1 << 26;
    /// The bits of the step; those of the scale begin behind them.
    pub(crate) const STEP: u32 = (1 << Literal::STEP_BITS) - 1;
    pub(crate) const STEP_BITS: u32 = 16;
    /// The code must not be set.
    pub(crate) const NOT: u32 = 1 << 27;
    /// Of the first of several: codes of one attribute, of which an event has one at most. Of a
    /// low bound: the high one of the same range is next.
    pub(super) const ONE_OF: u32 = 1 << 28;
    /// Of the last of an entry: its last clause is operations.
    const OPERATIONS: u32 = 1 << 28;
    /// The target stands in several places.
    const SEVERAL: u32 = 1 << 29;
    /// The last of its clause.
    pub(crate) const CLAUSE_END: u32 = 1 << 30;
    /// The last of its entry.
    pub(crate) const ENTRY_END: u32 = 1 << 31;

    /// Always holds: this code is given to nobody.
    const ALWAYS: u32 = Literal::NOT | Literal::CODE;

    pub(super) fn code(self) -> u32 {
        self.0 & Literal::CODE
    }

    pub(super) fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// The scale and the step of one that is no code.
    pub(super) fn step(self) -> Option<(u32, u32)> {
        self.has(Literal::SCALE).then_some((self.code() >> Literal::STEP_BITS, self.0 & Literal::STEP))
    }

    /// Whether it is [`Literal::ALWAYS`].
    fn is_always(self) -> bool {
        self.has(Literal::NOT) && self.code() == Literal::CODE
    }

    /// Whether it asks that a code is not set.
    pub(super) fn is_absent(self) -> bool {
        self.has(Literal::NOT) && !self.is_always()
    }

    /// Of the last of an entry: whether its target stands in several places.
    pub(super) fn is_several(self) -> bool {
        self.has(Literal::SEVERAL)
    }

    /// Of the last of an entry: whether it asks for more than its clauses say.
    pub(super) fn has_operations(self) -> bool {
        self.has(Literal::OPERATIONS)
    }
}

#[inline]
pub(super) fn load(word: &AtomicU32) -> Literal {
    Literal(word.load(Ordering::Relaxed))
}

/// In a block of clauses that is made, at most one entry in so many has operations.
const OPERATIONS_SHARE: usize = 4;

/// The words of operations.
pub(super) type Operations = SmallVec<[AtomicU32; 32]>;

/// Appends the literals of a row to `literals`. False, with nothing appended, if they cannot say
/// what it does.
pub(super) fn write(row: &[u32], dictionary: &Dictionary, literals: &mut Vec<u32>) -> bool {
    let start = literals.len();
    let head = Head(row[1]);
    if head.is_always() {
        return false;
    }
    let (codes, operations) = row[ENTRY_HEAD..].split_at(head.codes());
    literals.extend(codes.iter().map(|code| code | Literal::CLAUSE_END));
    let mut is_small = codes.iter().all(|code| *code < Literal::CODE);
    let mut others = SmallVec::<[u32; 32]>::new();
    each_top(operations, |operation, words| {
        is_small &= write_operation(operation, &words[1..], dictionary, literals).unwrap_or_else(|| {
            others.extend_from_slice(words);
            true
        });
    });
    if !is_small {
        literals.truncate(start);
        return false;
    }
    let mut flags = Literal::ENTRY_END | if head.is_several() { Literal::SEVERAL } else { 0 };
    if !others.is_empty() {
        literals.push(Literal::ALWAYS);
        literals.extend(others.iter().flat_map(|word| [word & 0xffff, word >> 16]));
        flags |= Literal::CLAUSE_END | Literal::OPERATIONS;
    } else if literals.len() == start {
        literals.push(Literal::ALWAYS);
        flags |= Literal::CLAUSE_END;
    }
    if let Some(last) = literals.last_mut() {
        *last |= flags;
    }
    true
}

/// Appends the clause that an operation is, and says whether its codes are within bounds; `None`,
/// with nothing appended, if it is none.
fn write_operation(
    operation: Operation,
    own: &[u32],
    dictionary: &Dictionary,
    literals: &mut Vec<u32>,
) -> Option<bool> {
    let start = literals.len();
    let (not, one_of) = match operation.kind() {
        INT => {
            let literal =
                |scale, step| Literal::CLAUSE_END | Literal::SCALE | scale << Literal::STEP_BITS | step;
            dictionary.steps(operation, own, |scale, step| literals.push(literal(scale, step)))?;
            if own.len() == 2 {
                literals[start] |= Literal::ONE_OF;
            }
            return Some(true);
        }
        CODE | SOME => (0, 0),
        ANY => (0, Literal::ONE_OF),
        NOT => (Literal::NOT, 0),
        _ => return None,
    };
    let [codes @ .., last] = own else { return None };
    literals.extend(codes);
    literals.push(last | Literal::CLAUSE_END | not);
    if !codes.is_empty() {
        literals[start] |= one_of;
    }
    Some(own.iter().all(|code| *code < Literal::CODE))
}

/// Whether a row can be written in literals, and without operations.
pub(super) fn fits(row: &[u32]) -> bool {
    let head = Head(row[1]);
    let (codes, operations) = row[ENTRY_HEAD..].split_at(head.codes());
    let is_small = |codes: &[u32]| codes.iter().all(|code| *code < Literal::CODE);
    let mut fits = !head.is_always() && is_small(codes);
    each_top(operations, |operation, words| {
        fits &= match operation.kind() {
            CODE | NOT | ANY | SOME => is_small(&words[1..]),
            INT => operation.is_scaled(),
            _ => false,
        };
    });
    fits
}

/// Writes rows that may share a block of clauses, and says how many they are. `None` if one cannot be
/// written, or if too many have operations.
pub(super) fn write_all<'a>(
    rows: impl Iterator<Item = &'a [u32]>,
    dictionary: &Dictionary,
    literals: &mut Vec<u32>,
) -> Option<usize> {
    let (mut count, mut others) = (0, 0);
    for row in rows {
        if !write(row, dictionary, literals) {
            return None;
        }
        count += 1;
        others += usize::from(literals.last().is_some_and(|last| Literal(*last).has_operations()));
    }
    (others * OPERATIONS_SHARE <= count).then_some(count)
}

/// What an entry with these literals asks for: its clauses, the last literal, and the operations that
/// it has besides.
pub(super) fn parts(literals: &[AtomicU32]) -> Option<(&[AtomicU32], Literal, Operations)> {
    let last = load(literals.last()?);
    let operations = operations_of(literals, last);
    let clauses = match operations.len() {
        0 => literals,
        count => &literals[..literals.len() - 1 - 2 * count],
    };
    Some((clauses, last, operations))
}

/// Whether an entry with these literals may ask for ranges of integers alone. Codes come first, and last
/// come operations, which may be ranges as well.
pub(super) fn may_be_ranges(literals: &[AtomicU32]) -> bool {
    let [Some(first), Some(last)] = [literals.first(), literals.last()].map(|word| word.map(load)) else {
        return false;
    };
    (first.has(Literal::SCALE) || first.is_always()) && (last.has(Literal::SCALE) || last.has_operations())
}

/// Appends the row of an entry with these literals to `row`.
pub(super) fn read(target: u32, literals: &[AtomicU32], scales: &Scales, row: &mut Vec<u32>) {
    let Some((clauses, last, operations)) = parts(literals) else { return };
    let clauses = || clauses.iter().map(load);
    let start = row.len();
    row.extend([target, 0]);
    each_clause(clauses(), |clause| match *clause {
        [literal] if !literal.has(Literal::NOT | Literal::SCALE) => row.push(literal.code()),
        _ => {}
    });
    let codes = row.len() - start - ENTRY_HEAD;
    let mut high_of = None;
    each_clause(clauses(), |clause| match *clause {
        [literal] if literal.has(Literal::SCALE) => {
            high_of = read_bound(literal, scales, high_of, row);
        }
        [literal] if literal.is_absent() => {
            row.extend([Operation::new(NOT, 0, 0, 0).0, literal.code()]);
        }
        [_] => {}
        _ => {
            let kind = if clause[0].has(Literal::ONE_OF) { ANY } else { SOME };
            row.push(Operation::new(kind, 0, 0, clause.len()).0);
            row.extend(clause.iter().map(|literal| literal.code()));
        }
    });
    row.extend(operations.iter().map(|word| word.load(Ordering::Relaxed)));
    row[start + 1] = Head::new(row.len() - start, codes, false, last.is_several()).0;
}

/// Appends a bound as a range of its own, or as the high one of the range that begins at `low`. Where
/// the range begins of which the high bound is next.
fn read_bound(literal: Literal, scales: &Scales, low: Option<usize>, row: &mut Vec<u32>) -> Option<usize> {
    let (scale, step) = literal.step()?;
    let (attribute, flags, bound) = scales.bound(scale, step);
    let operation = Operation::new(INT, flags, attribute, 0).scaled().0;
    match low {
        Some(low) => row[low] |= operation,
        None => row.push(operation),
    }
    row.push(bound);
    literal.has(Literal::ONE_OF).then_some(row.len() - 2)
}

/// The operations of an entry, which may have none: these are its literals, and the last of them.
pub(super) fn operations_of(literals: &[AtomicU32], last: Literal) -> Operations {
    if last.has_operations() { operations(literals) } else { Operations::new() }
}

/// Whether each clause of an entry has a literal that holds.
pub(super) fn hold(literals: &[AtomicU32], mut holds: impl FnMut(Literal) -> bool) -> bool {
    let mut clause = false;
    for literal in literals.iter().map(load) {
        clause = clause || holds(literal);
        if literal.has(Literal::CLAUSE_END) && !std::mem::take(&mut clause) {
            return false;
        }
    }
    true
}

/// The operations of an entry that has some, which these literals end with.
pub(super) fn operations(literals: &[AtomicU32]) -> Operations {
    let halves = || literals.iter().rev().map(load);
    let count = halves().take_while(|half| !half.has(Literal::NOT)).count();
    let words = literals[literals.len() - count..].as_chunks::<2>().0;
    let half = |word: &AtomicU32| word.load(Ordering::Relaxed) & 0xffff;
    words.iter().map(|[low, high]| AtomicU32::new(half(low) | half(high) << 16)).collect()
}

fn each_clause(literals: impl Iterator<Item = Literal>, mut see: impl FnMut(&[Literal])) {
    let mut clause = SmallVec::<[Literal; 8]>::new();
    for literal in literals {
        clause.push(literal);
        if literal.has(Literal::CLAUSE_END) {
            see(&clause);
            clause.clear();
        }
    }
}

/// The codes that the last entry of these literals asks not to be set.
pub(super) fn absent(literals: &[AtomicU32]) -> impl Iterator<Item = u32> {
    let before_last = &literals[..literals.len().saturating_sub(1)];
    let end_before = before_last.iter().rposition(|word| load(word).has(Literal::ENTRY_END));
    let own = &literals[end_before.map_or(0, |end| end + 1)..];
    own.iter().map(load).filter(|literal| literal.is_absent()).map(Literal::code)
}

/// Calls `see` with each entry of a block: where its target is, its literals, and the last of them.
/// `words` are those of the block.
#[inline]
pub(super) fn each_entry<'a>(
    words: &'a [AtomicU32],
    used: Used,
    mut see: impl FnMut(&'a AtomicU32, &'a [AtomicU32], Literal),
) {
    let literals = &words[CHAIN_HEAD..used.end()];
    let mut start = 0;
    let mut targets = words.iter().rev();
    for (place, word) in literals.iter().enumerate() {
        let literal = load(word);
        if literal.has(Literal::ENTRY_END)
            && let Some(target) = targets.next()
        {
            see(target, &literals[start..=place], literal);
            start = place + 1;
        }
    }
}

/// As [`each_entry`], of the entries that `wanted` is the target of: the others are passed over.
pub(super) fn each_entry_of<'a>(
    words: &'a [AtomicU32],
    used: Used,
    wanted: u32,
    mut see: impl FnMut(&'a AtomicU32, &'a [AtomicU32]),
) {
    let targets = words[words.len() - used.targets()..].iter().rev();
    let (mut rest, mut passed) = (&words[CHAIN_HEAD..used.end()], 0);
    for (number, target) in targets.enumerate().filter(|(_, target)| target.load(Ordering::Relaxed) == wanted)
    {
        rest = &rest[words_of(rest, number - passed)..];
        let (literals, behind) = rest.split_at(words_of(rest, 1));
        see(target, literals);
        (rest, passed) = (behind, number + 1);
    }
}

/// How many of these literals the first so many entries have.
fn words_of(literals: &[AtomicU32], entries: usize) -> usize {
    let is_end = |word: &AtomicU32| word.load(Ordering::Relaxed) >> 31;
    let (mut passed, mut left) = (0, entries as u32);
    // Whole lines without a branch on what is in them.
    for some in literals.chunks_exact(LINE) {
        let ends: u32 = some.iter().map(is_end).sum();
        if ends >= left {
            break;
        }
        (passed, left) = (passed + LINE, left - ends);
    }
    while left > 0 && passed < literals.len() {
        left -= is_end(&literals[passed]);
        passed += 1;
    }
    passed
}

/// Calls `see` with the target of each entry whose clauses all hold, its last literal, and all that
/// there are up to this one. `words` are those of the block.
#[inline]
pub(super) fn each_holding(
    words: &[AtomicU32],
    used: Used,
    seen: &mut Seen,
    mut see: impl FnMut(&mut Seen, u32, Literal, &[AtomicU32]),
) {
    let literals = &words[CHAIN_HEAD..used.end()];
    let mut across = Across::default();
    let mut end = words.len();
    for start in (0..literals.len()).step_by(AT_ONCE) {
        let some = &literals[start..literals.len().min(start + AT_ONCE)];
        let Entries { mut holding, mut numbers, count } =
            simd::literals::read(some, seen.bits(), &mut across);
        while holding != 0 {
            let (bit, number) = (holding.trailing_zeros() as usize, numbers.trailing_zeros() as usize);
            holding &= holding - 1;
            numbers &= numbers - 1;
            let target = words[end - 1 - number].load(Ordering::Acquire);
            let last = load(&some[bit]);
            see(seen, target, last, &literals[..=start + bit]);
        }
        end -= count as usize;
    }
}

/// As [`each_holding`], literal by literal: for an event that is looked at for unknown comparisons.
pub(super) fn each_holding_sampled(
    words: &[AtomicU32],
    used: Used,
    scales: &Scales,
    seen: &mut Seen,
    mut see: impl FnMut(&mut Seen, u32, Literal, &[AtomicU32]),
) {
    each_entry(words, used, |target, literals, last| {
        if hold(literals, |literal| holds(literal, scales, seen)) {
            see(seen, target.load(Ordering::Acquire), last, literals);
        }
    });
}

/// Whether a literal holds; a step of a scale that the event has no number for is unknown.
fn holds(literal: Literal, scales: &Scales, seen: &Seen) -> bool {
    match literal.step() {
        None => seen.has(literal.code()) != literal.has(Literal::NOT),
        Some((scale, step)) => {
            if !seen.has_number(scales.get(scale).attribute) {
                seen.note_unknown();
            }
            seen.step(scale) >= step
        }
    }
}

#[cfg(test)]
mod tests;
