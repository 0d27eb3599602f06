//! A list that grows while it is read, in chunks that never move.

use std::sync::OnceLock;

/// Elements of the first chunk; each later one doubles the list.
const FIRST_BITS: u32 = 6;
const CHUNKS: usize = (32 - FIRST_BITS) as usize;

/// Elements by number, made as they are needed. An element changes through `&T` only.
pub(super) struct Slots<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T: Default> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The element, if its chunk was made.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (chunk, offset) = place(number);
        self.chunks[chunk].get()?.get(offset)
    }

    /// The element, which is made if it has to be, with others beside it.
    pub(super) fn get_or_make(&self, number: u32) -> &T {
        let (chunk, offset) = place(number);
        let count = if chunk == 0 { 1 << FIRST_BITS } else { 1 << (FIRST_BITS as usize + chunk - 1) };
        &self.chunks[chunk].get_or_init(|| (0..count).map(|_| T::default()).collect())[offset]
    }

    /// Bytes of the chunks that were made.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().filter_map(OnceLock::get).map(|chunk| size_of_val(&**chunk)).sum()
    }
}

fn place(number: u32) -> (usize, usize) {
    let chunk = (u32::BITS - (number >> FIRST_BITS).leading_zeros()) as usize;
    let start = if chunk == 0 { 0 } else { 1 << (FIRST_BITS as usize + chunk - 1) };
    (chunk, number as usize - start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_number_has_an_element_of_its_own() {
        let slots: Slots<AtomicU32> = Slots::new();
        for number in 0..5_000 {
            slots.get_or_make(number).store(number, Ordering::Relaxed);
        }
        assert!((0..5_000).all(|number| slots.get(number).unwrap().load(Ordering::Relaxed) == number));
        assert!(slots.get(1 << 20).is_none());
    }
}
