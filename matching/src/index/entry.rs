//! How the rest of a filter is written in words, and read against an event.
//!
//! An entry is: its target, its head (words in all, codes, flags), the codes that must be set,
//! the rarest first, and then operations. Every code and every operation must hold.
//!
//! | operation | words behind it | holds if |
//! |---|---|---|
//! | `CODE` | code | the code is set |
//! | `NOT` | code | the event was read with the code, which is not set |
//! | `ANY` n | n codes of one attribute, of which an event has one at most | one is set |
//! | `SOME` n | n codes | one is set |
//! | `NONE` n, attribute, rank | n codes | the value is of that rank; as `NOT`, for each of n |
//! | `INT` attribute, flags | low, high as far as flags say | the number is between them |
//! | `FLOAT` attribute, flags | low, high, two words each | the number is between them |
//! | `TEST` | number | the shared test holds |
//! | `EITHER` n | words, then n times: words, operations | all operations of one of the n hold |
//!
//! The count of `INT` says whether its bounds may be written as literals (`super::scales`).
//!
//! Nothing here allocates when read; reading ends at the first thing that does not hold.

use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicU32, Ordering};

use super::seen::{Rank, Reading, Seen};
use crate::value::Value;

/// Words of an entry before its codes.
pub(super) const ENTRY_HEAD: usize = 2;
/// The longest entry, but for few words that are added to it later. What is longer becomes one test.
pub(super) const ENTRY_WORDS_MAX: usize = 240;
/// The most codes that an operation lists.
pub(super) const CODES_MAX: usize = 64;

/// A target that was removed.
pub(super) const NOBODY: u32 = 0x7fff_ffff;
/// A target is a list of entries rather than one.
pub(super) const IS_LIST: u32 = 0x8000_0000;
/// A target is the code of a gate. So is `NOBODY`, which is tested first.
pub(super) const IS_GATE: u32 = 0x4000_0000;

/// Whether a target is a gate.
#[inline]
pub(super) fn is_gate(target: u32) -> bool {
    target & (IS_LIST | IS_GATE) == IS_GATE && target != NOBODY
}

/// The entry holds for every event of the topic, but for exclusions.
const ALWAYS: u32 = 1 << 30;
/// The target stands in several places: it may be found twice.
const SEVERAL: u32 = 1 << 31;

pub(super) const CODE: u32 = 1;
pub(super) const NOT: u32 = 2;
pub(super) const ANY: u32 = 3;
pub(super) const NONE: u32 = 4;
pub(super) const INT: u32 = 5;
pub(super) const FLOAT: u32 = 6;
pub(super) const TEST: u32 = 7;
pub(super) const EITHER: u32 = 8;
pub(super) const SOME: u32 = 9;

/// Flags of ranges.
pub(super) const HAS_LOW: u32 = 1;
pub(super) const HAS_HIGH: u32 = 2;
/// `INT`: the ceiling is compared with the low bound. `FLOAT`: the bound is not in the range.
pub(super) const LOW_STRICT: u32 = 4;
/// `INT`: the floor is compared with the high bound. `FLOAT`: the bound is not in the range.
pub(super) const HIGH_STRICT: u32 = 8;

/// An operation's first word.
#[derive(Clone, Copy)]
pub(super) struct Operation(pub(super) u32);

impl Operation {
    pub(super) fn new(operation: u32, flags: u32, attribute: u16, count: usize) -> Operation {
        Operation(operation | flags << 4 | u32::from(attribute) << 8 | (count as u32) << 24)
    }

    #[inline]
    pub(super) fn kind(self) -> u32 {
        self.0 & 15
    }

    #[inline]
    pub(super) fn flags(self) -> u32 {
        self.0 >> 4 & 15
    }

    #[inline]
    pub(super) fn attribute(self) -> u16 {
        (self.0 >> 8) as u16
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// The same, with bounds that were put on scales before anybody could meet the entry.
    pub(super) fn scaled(self) -> Operation {
        Operation(self.0 | 1 << 24)
    }

    /// Of `INT`: whether there is a scale for each bound.
    pub(super) fn is_scaled(self) -> bool {
        self.count() == 1
    }

    /// How many bounds a range has.
    #[inline]
    fn sides(self) -> usize {
        ((self.flags() & HAS_LOW) + (self.flags() & HAS_HIGH) / HAS_HIGH) as usize
    }

    /// Words behind this one; `second` is the next word.
    #[inline]
    pub(super) fn behind(self, second: u32) -> usize {
        match self.kind() {
            ANY | SOME | NONE => self.count(),
            INT => self.sides(),
            FLOAT => 2 * self.sides(),
            EITHER => 1 + second as usize,
            _ => 1,
        }
    }
}

/// An entry's second word.
#[derive(Clone, Copy)]
pub(super) struct Head(pub(super) u32);

impl Head {
    pub(super) fn new(words: usize, codes: usize, is_always: bool, is_several: bool) -> Head {
        let flags = if is_always { ALWAYS } else { 0 } | if is_several { SEVERAL } else { 0 };
        Head(words as u32 | (codes as u32) << 12 | flags)
    }

    #[inline]
    pub(super) fn words(self) -> usize {
        (self.0 & 0xfff) as usize
    }

    #[inline]
    pub(super) fn codes(self) -> usize {
        (self.0 >> 12 & 0xfff) as usize
    }

    #[inline]
    pub(super) fn is_always(self) -> bool {
        self.0 & ALWAYS != 0
    }

    #[inline]
    pub(super) fn is_several(self) -> bool {
        self.0 & SEVERAL != 0
    }
}

/// What is to be asked beyond the codes and numbers of an event.
pub(super) trait Tests {
    /// The answer of a shared test.
    fn holds(&self, test: u32) -> bool;

    /// Whether the event was read with the code (`super::births`): then it does not have it if it is
    /// not set.
    fn was_read_with(&self, code: u32) -> bool;
}

#[inline]
fn get(words: &[AtomicU32], at: usize) -> u32 {
    words[at].load(Ordering::Relaxed)
}

/// Whether the codes and operations behind an entry's head hold.
#[inline]
pub(super) fn holds<T: Tests>(words: &[AtomicU32], codes: usize, seen: &Seen, tests: &T) -> bool {
    let (codes, operations) = words.split_at(codes);
    codes.iter().all(|code| seen.has(code.load(Ordering::Relaxed)))
        && (operations.is_empty() || all_hold(operations, seen, tests))
}

/// Whether operations hold, one behind the other.
pub(super) fn all_hold<T: Tests>(mut words: &[AtomicU32], seen: &Seen, tests: &T) -> bool {
    let mut are_within = true;
    while let [first, rest @ ..] = words {
        let operation = Operation(first.load(Ordering::Relaxed));
        // Most are ranges of integers, and whether one holds cannot be guessed: the next is looked at
        // in any case.
        if operation.kind() == INT {
            let (own, next) = rest.split_at(operation.sides());
            let Some(reading) = number_of(operation, seen) else { return false };
            are_within &= is_within(operation, own, reading);
            words = next;
            continue;
        }
        let second = rest.first().map_or(0, |word| word.load(Ordering::Relaxed));
        let (own, next) = rest.split_at(operation.behind(second));
        if !are_within || !operation_holds(operation, own, seen, tests) {
            return false;
        }
        words = next;
    }
    are_within
}

/// Whether an operation holds; `own` are its words.
#[inline]
pub(super) fn operation_holds<T: Tests>(
    operation: Operation,
    own: &[AtomicU32],
    seen: &Seen,
    tests: &T,
) -> bool {
    match operation.kind() {
        CODE => seen.has(get(own, 0)),
        NOT => none_set(own, seen, tests),
        ANY | SOME => any_set(own, seen),
        NONE => {
            let kind = operation.flags();
            reading_of(operation, seen, |reading| reading.rank as u32 == kind).is_some()
                && none_set(own, seen, tests)
        }
        INT => number_of(operation, seen).is_some_and(|reading| is_within(operation, own, reading)),
        FLOAT => number_of(operation, seen).is_some_and(|reading| is_between(operation, own, reading)),
        TEST => tests.holds(get(own, 0)),
        EITHER => one_holds(own, seen, tests),
        _ => false,
    }
}

/// The value of an operation's attribute, if there is one of the right kind; else it is unknown.
#[inline]
fn reading_of(operation: Operation, seen: &Seen, fits: impl Fn(&Reading) -> bool) -> Option<&Reading> {
    let reading = seen.reading(operation.attribute()).filter(|reading| fits(reading));
    if reading.is_none() {
        seen.note_unknown();
    }
    reading
}

#[inline]
fn number_of(operation: Operation, seen: &Seen) -> Option<&Reading> {
    reading_of(operation, seen, |reading| reading.rank == Rank::Number)
}

fn any_set(codes: &[AtomicU32], seen: &Seen) -> bool {
    codes.iter().any(|code| seen.has(code.load(Ordering::Relaxed)))
}

fn none_set<T: Tests>(codes: &[AtomicU32], seen: &Seen, tests: &T) -> bool {
    let is_false = |code: u32| !seen.has(code) && tests.was_read_with(code);
    codes.iter().all(|code| is_false(code.load(Ordering::Relaxed)))
}

/// Between two integers. `x > c` is `ceiling(x) >= c + 1`, and the bound is written as `c + 1`.
///
/// Which sides there are and whether they hold differs from entry to entry, so that a branch on it
/// would be guessed wrong every other time: there is none.
#[inline]
fn is_within(operation: Operation, own: &[AtomicU32], reading: &Reading) -> bool {
    let [first, ..] = own else { return true };
    let last = &own[own.len() - 1];
    let flag = |flag: u32| operation.flags() & flag != 0;
    let bound = |word: &AtomicU32| i64::from(word.load(Ordering::Relaxed) as i32);
    let low = select_unpredictable(flag(HAS_LOW), bound(first), i64::MIN);
    let high = select_unpredictable(flag(HAS_HIGH), bound(last), i64::MAX);
    let above = select_unpredictable(flag(LOW_STRICT), reading.ceiling, reading.floor);
    let below = select_unpredictable(flag(HIGH_STRICT), reading.floor, reading.ceiling);
    (low <= above) & (below <= high)
}

/// Between two floats, exactly also for integers that a float rounds.
fn is_between(operation: Operation, own: &[AtomicU32], reading: &Reading) -> bool {
    let flags = operation.flags();
    let bound = |at: usize| f64::from_bits(u64::from(get(own, at)) | u64::from(get(own, at + 1)) << 32);
    let mut at = 0;
    if flags & HAS_LOW != 0 {
        let order = compare(reading, bound(0));
        if order.is_lt() || (order.is_eq() && flags & LOW_STRICT != 0) {
            return false;
        }
        at = 2;
    }
    if flags & HAS_HIGH != 0 {
        let order = compare(reading, bound(at));
        return order.is_lt() || (order.is_eq() && flags & HIGH_STRICT == 0);
    }
    true
}

/// Rounding keeps the order, so only where the rounded integer meets the bound is more to ask.
fn compare(reading: &Reading, bound: f64) -> std::cmp::Ordering {
    match reading.float.partial_cmp(&bound) {
        Some(std::cmp::Ordering::Equal) if reading.is_rounded => {
            let exact = Value::Int(reading.floor).compare(&Value::Float(bound));
            exact.unwrap_or(std::cmp::Ordering::Equal)
        }
        order => order.unwrap_or(std::cmp::Ordering::Less),
    }
}

fn one_holds<T: Tests>(own: &[AtomicU32], seen: &Seen, tests: &T) -> bool {
    let mut words = &own[1..];
    while let [count, rest @ ..] = words {
        let (alternative, next) = rest.split_at(count.load(Ordering::Relaxed) as usize);
        if all_hold(alternative, seen, tests) {
            return true;
        }
        words = next;
    }
    false
}

/// Calls `see` with each operation and all its words; `EITHER` is one.
pub(super) fn each_top(mut words: &[u32], mut see: impl FnMut(Operation, &[u32])) {
    while let [first, rest @ ..] = words {
        let operation = Operation(*first);
        let (own, next) = words.split_at(1 + operation.behind(rest.first().copied().unwrap_or(0)));
        see(operation, own);
        words = next;
    }
}

/// Calls `see` for each operation with the words behind its first, also for those within `EITHER`: the
/// writer's way to what an entry uses.
pub(super) fn each_operation(words: &[u32], see: &mut impl FnMut(Operation, &[u32])) {
    each_top(words, |operation, words| {
        if operation.kind() != EITHER {
            return see(operation, &words[1..]);
        }
        let mut alternatives = &words[2..];
        while let [count, rest @ ..] = alternatives {
            let (alternative, next) = rest.split_at(*count as usize);
            each_operation(alternative, see);
            alternatives = next;
        }
    });
}
