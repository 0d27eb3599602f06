//! When what the writer took out of the index may be used again: once every reader that could
//! still see it has left.
//!
//! 1. A reader enters before it loads the first handle and leaves after its last use of one.
//! 2. The writer first makes a thing unreachable, then retires it. It is given back when no
//!    reader is inside that entered before.
//! 3. No reader waits. The writer waits for readers only where it says so; one that stays inside
//!    keeps memory from reuse, no more.
//!
//! The scheme is epoch-based reclamation (Fraser, *Practical lock-freedom*, 2004, section 5.2.3)
//! with one counter: it grows with each thing retired, a reader announces the value it saw.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How many readers have a place of their own.
pub(super) const PLACES: usize = 64;

/// What an empty place says.
const NOBODY: u64 = u64::MAX;

/// The counter and the places of the readers.
pub(super) struct Epochs {
    now: AtomicU64,
    places: Box<[Place]>,
}

/// On a cache line of its own: readers do not slow each other.
#[repr(align(128))]
struct Place(AtomicU64);

/// While it lives, nothing retired from now on is used again.
pub(super) struct Inside<'e>(&'e AtomicU64);

impl Epochs {
    pub(super) fn new() -> Epochs {
        let places = (0..PLACES).map(|_| Place(AtomicU64::new(NOBODY))).collect();
        Epochs { now: AtomicU64::new(0), places }
    }

    /// Announces a reader in `place`, which must be its own until it leaves.
    pub(super) fn enter(&self, place: usize) -> Inside<'_> {
        let place = &self.places[place].0;
        place.store(self.now.load(Ordering::Acquire), Ordering::Relaxed);
        // Pairs with the fence in `oldest`: either the writer sees the reader, or the reader sees
        // all that the writer made unreachable before it looked.
        fence(Ordering::SeqCst);
        Inside(place)
    }

    /// Waits until every reader has left that is inside now.
    pub(super) fn wait_for_readers(&self) {
        let epoch = self.now.fetch_add(1, Ordering::AcqRel);
        while self.oldest() <= epoch {
            std::thread::yield_now();
        }
    }

    /// The value that the reader announced that is inside for the longest time.
    fn oldest(&self) -> u64 {
        fence(Ordering::SeqCst);
        let inside = self.places.iter().map(|place| place.0.load(Ordering::Acquire));
        inside.min().unwrap_or(NOBODY)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(NOBODY, Ordering::Release);
    }
}

/// Things that readers may still see, in the order in which they were retired.
pub(super) struct Retired<T> {
    waiting: VecDeque<(u64, T)>,
}

impl<T> Retired<T> {
    pub(super) fn new() -> Retired<T> {
        Retired { waiting: VecDeque::new() }
    }

    /// Keeps `thing`, which is no longer reachable, until no reader can hold it.
    pub(super) fn push(&mut self, epochs: &Epochs, thing: T) {
        // A reader that sees the counter after this has seen all that came before.
        let epoch = epochs.now.fetch_add(1, Ordering::AcqRel);
        self.waiting.push_back((epoch, thing));
    }

    /// How many things wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Hands to `free` what no reader can hold any more. `O(places + things)`.
    pub(super) fn drain(&mut self, epochs: &Epochs, mut free: impl FnMut(T)) {
        let oldest = epochs.oldest();
        while self.waiting.front().is_some_and(|(epoch, _)| *epoch < oldest) {
            if let Some((_, thing)) = self.waiting.pop_front() {
                free(thing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(retired: &mut Retired<u32>, epochs: &Epochs) -> Vec<u32> {
        let mut free = Vec::new();
        retired.drain(epochs, |thing| free.push(thing));
        free
    }

    #[test]
    fn nothing_comes_back_while_a_reader_that_may_see_it_is_inside() {
        let (epochs, mut retired) = (Epochs::new(), Retired::new());
        retired.push(&epochs, 1);
        let early = epochs.enter(0);
        retired.push(&epochs, 2);
        let late = epochs.enter(1);
        retired.push(&epochs, 3);
        assert_eq!(drained(&mut retired, &epochs), [1]);
        drop(early);
        assert_eq!(drained(&mut retired, &epochs), [2]);
        drop(late);
        assert_eq!(drained(&mut retired, &epochs), [3]);
        assert_eq!(retired.len(), 0);
    }
}
