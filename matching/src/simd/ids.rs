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
#[expect(unsafe_code, reason = "wide registers")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_permutevar8x32_epi32, _mm256_set1_epi32, _mm256_setr_epi32,
        _mm256_storeu_si256,
    };
    use std::sync::atomic::AtomicU32;

    use crate::index::{EntryId, Ids};
    use crate::simd::x86::{PACKED, load_order};

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

    /// A word at a time: all eight numbers of its group are stored, those first that are meant.
    #[target_feature(enable = "avx2,popcnt")]
    pub(in crate::simd) fn append_by_8(words: &[AtomicU32], found: &mut Vec<EntryId>) {
        found.reserve(words.len() * 8);
        let start = found.as_mut_ptr();
        let mut end = found.len();
        let each = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for word in words {
            let ids = Ids::load(word);
            let all = _mm256_add_epi32(_mm256_set1_epi32(ids.first() as i32), each);
            let left_out = usize::from(!ids.mask());
            let packed = _mm256_permutevar8x32_epi32(all, load_order(&PACKED[left_out]));
            // SAFETY: each word before this one took eight places at most, and there is room for as
            // many for each. An `EntryId` is a word.
            unsafe { _mm256_storeu_si256(start.add(end).cast(), packed) };
            end += ids.mask().count_ones() as usize;
        }
        // SAFETY: so many were written.
        unsafe { found.set_len(end) };
    }
}
