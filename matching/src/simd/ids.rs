//! Numbers read out of the words of a list (`crate::index::ids`).

use std::sync::atomic::AtomicU32;

use crate::index::{EntryId, Ids};

/// Appends the numbers in words, in their order.
#[inline]
pub(crate) fn append(words: &[AtomicU32], found: &mut Vec<EntryId>) {
    #[cfg(target_arch = "x86_64")]
    if x86::append(words, found) {
        return;
    }
    append_scalar(words, found);
}

/// As [`append`], in portable code.
pub(crate) fn append_scalar(words: &[AtomicU32], found: &mut Vec<EntryId>) {
    for word in words {
        found.extend(Ids::load(word).numbers().map(EntryId));
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers, and reading what another thread may be writing")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32,
        _mm256_storeu_si256,
    };
    use std::sync::atomic::{AtomicU32, Ordering, fence};

    use crate::index::{EntryId, Ids};
    use crate::simd::x86::{load_words, places_of};

    /// False if the processor offers nothing.
    #[inline]
    pub(super) fn append(words: &[AtomicU32], found: &mut Vec<EntryId>) -> bool {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has it.
            unsafe { append_by_8(words, found) };
            return true;
        }
        false
    }

    /// Of each word eight numbers are stored, those first that are meant. Eight words are taken apart
    /// together.
    #[target_feature(enable = "avx2,popcnt")]
    pub(in crate::simd) fn append_by_8(words: &[AtomicU32], found: &mut Vec<EntryId>) {
        found.reserve(words.len() * 8);
        let start = found.as_mut_ptr();
        let mut end = found.len();
        let (eights, rest) = words.as_chunks::<8>();
        for eight in eights {
            let words = load_words(eight);
            let firsts = words_of(_mm256_slli_epi32::<3>(_mm256_srli_epi32::<8>(words)));
            let masks = words_of(_mm256_and_si256(words, _mm256_set1_epi32(0xff)));
            for (first, mask) in firsts.iter().zip(masks) {
                // SAFETY: each word before this one took eight places at most, and there is room for
                // as many for each. An `EntryId` is a word.
                unsafe { _mm256_storeu_si256(start.add(end).cast(), numbers(*first, mask as u8)) };
                end += mask.count_ones() as usize;
            }
        }
        for word in rest {
            let ids = Ids::load(word);
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(start.add(end).cast(), numbers(ids.first(), ids.mask())) };
            end += ids.mask().count_ones() as usize;
        }
        // SAFETY: so many were written.
        unsafe { found.set_len(end) };
        // As the loads of an atomic would.
        fence(Ordering::Acquire);
    }

    /// The numbers of a word, the meant ones first.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn numbers(first: u32, mask: u8) -> __m256i {
        _mm256_add_epi32(_mm256_set1_epi32(first as i32), places_of(mask))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn words_of(words: __m256i) -> [u32; 8] {
        let mut all = [0; 8];
        // SAFETY: there is room for eight words.
        unsafe { _mm256_storeu_si256(all.as_mut_ptr().cast(), words) };
        all
    }
}
