//! Where an inner block leads to, by code: the reading side.
//!
//! Codes are small numbers, given in the order of their first use. Where many of those that an
//! inner block knows lie near each other, it has an *array* with a word for each code from the
//! first to the last; its children of other codes are in the table of links. A look into the array
//! is one load, from a line that codes nearby share.
//!
//! | array | words |
//! |---|---|
//! | | first code, how many codes, how many of them have a child, how many children are in the table, children |
//!
//! 1. A code of the array has its child there and nowhere else; one that is not has it in the table.
//! 2. The codes of an array do not change. Another array takes its place: first it is filled, then
//!    the inner block leads to it, then what it took over leaves the table. What it does not take
//!    over is put into the table first.
//! 3. So who finds nothing in the table looks whether the inner block leads to another array by
//!    now, and if so looks again. An inner block that has given up its array leads to an empty one,
//!    never to none, nor to one that it led to before: a change is never overlooked.
//! 4. An array that was replaced stays what it was while readers are at it.
//! 5. A child that is a list which stands alone is marked ([`IS_IDS`]), in arrays and in the table:
//!    who finds it need not look what it is.

use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, Handle};
use super::blocks::ARRAY;
use super::table::Key;
use super::writer::View;
use crate::simd;

pub(super) const BASE: usize = 0;
pub(super) const COUNT: usize = 1;
pub(super) const LIVE: usize = 2;
/// Counted before they are there, and until they are gone.
pub(super) const LINKS: usize = 3;
pub(super) const ARRAY_HEAD: usize = 4;

/// Marks a child that is a block of ids. No handle is so large.
pub(super) const IS_IDS: u32 = 0x8000_0000;

/// The children of an inner block, as they were when a reader came to it.
#[derive(Clone, Copy)]
pub(super) struct Children<'a> {
    inner: Handle,
    array: Handle,
    base: u32,
    has_links: bool,
    /// A word for each code of the array.
    words: &'a [AtomicU32],
}

impl<'a> Children<'a> {
    #[inline]
    pub(super) fn of(arena: &'a Arena, inner: Handle) -> Children<'a> {
        Children::with_array(arena, inner, arena.load(inner, ARRAY))
    }

    #[inline]
    pub(super) fn with_array(arena: &'a Arena, inner: Handle, array: Handle) -> Children<'a> {
        if array == 0 {
            return Children { inner, array, base: 0, has_links: true, words: &[] };
        }
        // Written before anybody could find the array.
        let words = arena.words(array);
        let [base, count] = [BASE, COUNT].map(|at| words[at].load(Ordering::Relaxed));
        let has_links = words[LINKS].load(Ordering::Acquire) != 0;
        Children { inner, array, base, has_links, words: &words[ARRAY_HEAD..ARRAY_HEAD + count as usize] }
    }

    /// Where the child of a code is, if it is in the array.
    #[inline]
    pub(super) fn place(&self, code: u32) -> Option<&'a AtomicU32> {
        self.words.get(code.wrapping_sub(self.base) as usize)
    }

    /// The handle of what `place` gives.
    #[inline]
    pub(super) fn place_handle(&self, code: u32) -> Handle {
        self.array + ARRAY_HEAD as u32 + (code - self.base)
    }

    pub(super) fn inner(&self) -> Handle {
        self.inner
    }

    /// Appends those children of codes that are in the array, with their marks.
    #[inline]
    pub(super) fn collect(&self, codes: &[u32], found: &mut Vec<Handle>) {
        simd::append_at(self.words, self.base, codes, found);
    }

    /// Whether there are children that are not in the array. One that comes later may be overlooked.
    #[inline]
    pub(super) fn has_links(&self) -> bool {
        self.has_links
    }

    /// The handle of the array; 0 if there is none.
    pub(super) fn array(&self) -> Handle {
        self.array
    }

    /// How many codes the array has.
    pub(super) fn count(&self) -> usize {
        self.words.len()
    }

    /// The codes of the array.
    pub(super) fn codes(&self) -> std::ops::Range<u32> {
        self.base..self.base + self.words.len() as u32
    }

    /// The child of a code, with its mark, or 0.
    #[inline]
    pub(super) fn find(mut self, view: &'a View, code: u32) -> Handle {
        let arena = &view.common.arena;
        loop {
            if let Some(place) = self.place(code) {
                return place.load(Ordering::Acquire);
            }
            let child = view.links.find(arena, Key { first: self.inner, second: code }, |_| true);
            if child != 0 || !is_changed(arena, self.inner, self.array) {
                return child;
            }
            self = Children::of(arena, self.inner);
        }
    }
}

/// Whether an inner block leads to another array than it did: then what was not in the table may
/// be there.
#[inline]
pub(super) fn is_changed(arena: &Arena, inner: Handle, array: Handle) -> bool {
    arena.load(inner, ARRAY) != array
}

#[cfg(test)]
mod tests;
