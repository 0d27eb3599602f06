//! Numbers handed to the lists of events: each word says which events its number is for.
//!
//! Taken event by event, of 64 numbers at once: a bit of each word makes a mask, and the numbers that
//! it names are packed and stored together.

use crate::index::EntryId;

/// The most numbers that are handed out at once.
pub(crate) const AT_ONCE: usize = 64;

/// Appends each of the first `count` numbers to the list of every event that its word has a bit for.
/// The words behind are zero.
#[inline]
pub(crate) fn hand_out(
    numbers: &[u32; AT_ONCE],
    words: &[u64; AT_ONCE],
    count: usize,
    found: &mut [Vec<EntryId>],
) {
    #[cfg(target_arch = "x86_64")]
    if x86::hand_out(numbers, words, count, found) {
        return;
    }
    hand_out_scalar(numbers, words, count, found);
}

/// As [`hand_out`], in portable code.
pub(crate) fn hand_out_scalar(
    numbers: &[u32; AT_ONCE],
    words: &[u64; AT_ONCE],
    count: usize,
    found: &mut [Vec<EntryId>],
) {
    for (number, word) in numbers.iter().zip(words).take(count) {
        let mut events = *word;
        while events != 0 {
            if let Some(list) = found.get_mut(events.trailing_zeros() as usize) {
                list.push(EntryId(*number));
            }
            events &= events - 1;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_maskz_compress_epi32, _mm512_or_si512, _mm512_reduce_or_epi64,
        _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_test_epi64_mask,
    };

    use super::{AT_ONCE, EntryId};

    /// False if the processor offers nothing.
    #[inline]
    pub(super) fn hand_out(
        numbers: &[u32; AT_ONCE],
        words: &[u64; AT_ONCE],
        count: usize,
        found: &mut [Vec<EntryId>],
    ) -> bool {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt");
        if has {
            // SAFETY: the processor has it.
            unsafe { by_event(numbers, words, count, found) };
        }
        has
    }

    #[target_feature(enable = "avx512f,popcnt")]
    fn by_event(numbers: &[u32; AT_ONCE], words: &[u64; AT_ONCE], count: usize, found: &mut [Vec<EntryId>]) {
        let count = count.min(AT_ONCE);
        let words = &words.as_chunks::<8>().0[..count.div_ceil(8)];
        let numbers = &numbers.as_chunks::<16>().0[..count.div_ceil(16)];
        // Loops: what core calls would not be inlined there, for want of the features.
        let mut all = _mm512_setzero_si512();
        for eight in words {
            all = _mm512_or_si512(all, load_8(eight));
        }
        let mut events = _mm512_reduce_or_epi64(all) as u64;
        while events != 0 {
            let event = events.trailing_zeros();
            events &= events - 1;
            let bit = _mm512_set1_epi64((1_u64 << event) as i64);
            let mut mask = 0;
            for (at, eight) in words.iter().enumerate() {
                mask |= u64::from(_mm512_test_epi64_mask(load_8(eight), bit)) << (8 * at);
            }
            let Some(list) = found.get_mut(event as usize) else { continue };
            list.reserve(AT_ONCE + 16);
            let mut end = list.len();
            for sixteen in numbers {
                let packed = _mm512_maskz_compress_epi32(mask as u16, load_16(sixteen));
                // SAFETY: at most 64 are kept, and there is room for 16 beyond these. An `EntryId` is a
                // word.
                unsafe { _mm512_storeu_si512(list.as_mut_ptr().add(end).cast(), packed) };
                end += (mask as u16).count_ones() as usize;
                mask >>= 16;
            }
            // SAFETY: so many were written.
            unsafe { list.set_len(end) };
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_8(words: &[u64; 8]) -> __m512i {
        // SAFETY: reads these words and nothing else.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_16(words: &[u32; 16]) -> __m512i {
        // SAFETY: reads these words and nothing else.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;

    #[test]
    fn random_numbers_are_handed_out_alike_in_every_way() {
        for seed in 0..2_000 {
            let mut generator = Generator::new(seed);
            let events = generator.pick(&[1, 2, 17, 64]);
            let (mut chosen, mut scalar) = (vec![Vec::new(); events], vec![Vec::new(); events]);
            for _ in 0..4 {
                let count = generator.below(AT_ONCE + 1);
                let (mut numbers, mut words) = ([0; AT_ONCE], [0; AT_ONCE]);
                for place in 0..count {
                    numbers[place] = generator.word() as u32;
                    words[place] = generator.word() & generator.word() & generator.pick(&[u64::MAX, 5, 0]);
                    words[place] &= u64::MAX >> (64 - events);
                }
                let expected = |event: usize| {
                    let of_event = (0..count).filter(move |place| words[*place] >> event & 1 == 1);
                    of_event.map(|place| EntryId(numbers[place])).collect::<Vec<_>>()
                };
                let starts: Vec<usize> = chosen.iter().map(Vec::len).collect();
                hand_out(&numbers, &words, count, &mut chosen);
                hand_out_scalar(&numbers, &words, count, &mut scalar);
                for (event, start) in starts.into_iter().enumerate() {
                    assert_eq!(chosen[event][start..], expected(event), "seed {seed}, event {event}");
                }
                assert_eq!(chosen, scalar, "seed {seed}");
            }
        }
    }
}
