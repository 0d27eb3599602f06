//! The numbers of entries with one filter, as they lie in a block of ids: up to eight in a word.
//!
//! Numbers are in *groups* of eight neighbours. A word is a group (24 bits) and which of its numbers
//! are meant (8 bits), so that a list with groups of its own takes half a byte for a number, and is
//! read out by adding.
//!
//! 1. A word changes as a whole: a reader finds a number in it or does not.
//! 2. No number is in two words of a list. A group may be, if the list does not have it for itself.
//!
//! Who has a group for itself is said by `super::numbers`.

use std::sync::atomic::{AtomicU32, Ordering};

/// Numbers of a group.
pub(crate) const GROUP: u32 = 8;
/// There are so many numbers: of groups that 24 bits tell apart.
pub(super) const NUMBERS_MAX: u32 = GROUP << 24;

/// A word of a block of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids(pub(crate) u32);

impl Ids {
    /// One number by itself.
    pub(super) fn of(number: u32) -> Ids {
        Ids((number / GROUP) << GROUP | 1 << (number % GROUP))
    }

    /// As its last `Release` store left the word.
    #[inline]
    pub(crate) fn load(word: &AtomicU32) -> Ids {
        Ids(word.load(Ordering::Acquire))
    }

    /// The group that the numbers are of.
    pub(super) fn group(self) -> u32 {
        self.0 >> GROUP
    }

    /// The least number of the group.
    #[inline]
    pub(crate) fn first(self) -> u32 {
        self.0 >> GROUP << 3
    }

    /// A bit for each number of the group, the least first.
    #[inline]
    pub(crate) fn mask(self) -> u8 {
        self.0 as u8
    }

    pub(super) fn has(self, number: u32) -> bool {
        self.group() == number / GROUP && self.0 & 1 << (number % GROUP) != 0
    }

    pub(super) fn with(self, number: u32) -> Ids {
        Ids(self.0 | 1 << (number % GROUP))
    }

    pub(super) fn without(self, number: u32) -> Ids {
        Ids(self.0 & !(1 << (number % GROUP)))
    }

    /// How many they are.
    #[inline]
    pub(super) fn count(self) -> u32 {
        self.mask().count_ones()
    }

    /// The numbers, the least first.
    #[inline]
    pub(crate) fn numbers(self) -> impl Iterator<Item = u32> {
        let (first, mut mask) = (self.first(), self.mask());
        std::iter::from_fn(move || {
            let at = mask.trailing_zeros();
            mask &= mask.wrapping_sub(1);
            (at < GROUP).then_some(first + at)
        })
    }
}

/// The numbers in words.
#[inline]
pub(super) fn numbers(words: &[AtomicU32]) -> impl Iterator<Item = u32> {
    words.iter().flat_map(|word| Ids::load(word).numbers())
}
