//! Many words or bytes at once: the only place with `unsafe` in the workspace.
//!
//! - [`compare`]: 64 bytes with one.
//! - `ids`: numbers read out of the words of a list.
//! - `literals`: which filters hold; `boxes`: which boxes a point is in.
//! - `spread`: numbers handed to the lists of several events.
//! - [`append_at`]: words at places, without zeros.
//!
//! 1. What is called scalar says what the answer is. What the processor offers beyond it gives the
//!    same, bit by bit, and is used where it was found at run time.
//! 2. A writer may store to the words meanwhile. They are read by machine instructions, not as
//!    memory that nobody else changes: each word comes old or new, as by a relaxed load.
//! 3. Byte `i` of a column is byte `i % 4` of word `i / 4`, the lowest first.
//!
//! Not here: what the bytes and words mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) mod boxes;
pub(crate) mod ids;
pub(crate) mod literals;
pub(crate) mod spread;

/// Words of a column.
pub(crate) const WORDS: usize = 16;

/// A byte for each of 64 lanes.
pub(crate) type Column = [AtomicU32; WORDS];

/// The lanes whose byte is at most the one that they were compared with, and those where it is the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) at_most: u64,
    pub(crate) equal: u64,
}

/// Compares a column with a byte.
#[inline]
pub(crate) fn compare(column: &Column, byte: u8) -> Compared {
    #[cfg(target_arch = "x86_64")]
    if let Some(compared) = x86::compare(column, byte) {
        return compared;
    }
    scalar(column, byte)
}

/// Appends the words at `places`, of which `base` is the first, but for those that are zero or
/// beyond the words. What was written before they were stored is there.
#[inline]
pub(crate) fn append_at(words: &[AtomicU32], base: u32, places: &[u32], found: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if x86::append_at(words, base, places, found) {
        return;
    }
    append_at_scalar(words, base, places, found);
}

/// As [`append_at`], in portable code.
pub(crate) fn append_at_scalar(words: &[AtomicU32], base: u32, places: &[u32], found: &mut Vec<u32>) {
    let words = places.iter().filter_map(|place| words.get(place.wrapping_sub(base) as usize));
    found.extend(words.map(|word| word.load(Ordering::Acquire)).filter(|word| *word != 0));
}

/// Bytes of a line of the cache. Where another processor has other lines, it is slower.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks the memory for the line with this word.
#[inline]
pub(crate) fn prefetch(word: &AtomicU32) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(word);
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(word.load(Ordering::Relaxed));
}

/// As [`prefetch`], of the first line of anything; nothing where the processor offers nothing.
#[inline]
pub(crate) fn prefetch_any<T>(thing: &T) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(thing);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = thing;
}

/// As [`prefetch_any`], of the counts of what is shared and of its beginning.
#[inline]
pub(crate) fn prefetch_shared<T>(thing: &Arc<T>) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch_shared(thing);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = thing;
}

/// The highest bit of each byte.
const HIGHEST: u64 = 0x8080_8080_8080_8080;
/// Brings the lowest bits of eight bytes together in the highest byte.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// As [`compare`], in portable code: eight bytes at a time in one number.
pub(crate) fn scalar(column: &Column, byte: u8) -> Compared {
    let wanted = u64::from(byte) * 0x0101_0101_0101_0101;
    let mut compared = Compared { at_most: 0, equal: 0 };
    for (eight, halves) in column.as_chunks::<2>().0.iter().enumerate() {
        let [low, high] = [0, 1].map(|half| u64::from(halves[half].load(Ordering::Relaxed)));
        let bytes = low | high << 32;
        let (at_most, at_least) = (at_least(wanted, bytes), at_least(bytes, wanted));
        compared.at_most |= gathered(at_most) << (8 * eight);
        compared.equal |= gathered(at_most & at_least) << (8 * eight);
    }
    compared
}

/// The highest bit of each byte of `one` that is not below that of `other`.
fn at_least(one: u64, other: u64) -> u64 {
    // No byte borrows from the next.
    let without_highest = (one | HIGHEST) - (other & !HIGHEST);
    ((one & !other) | (!(one ^ other) & without_highest)) & HIGHEST
}

fn gathered(highest: u64) -> u64 {
    (highest >> 7).wrapping_mul(GATHER) >> 56
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers, and reading what another thread may be writing")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256i, __m512i, _mm_loadl_epi64, _mm256_castsi256_ps, _mm256_cmpeq_epi8, _mm256_cmpeq_epi32,
        _mm256_cvtepu8_epi32, _mm256_loadu_si256, _mm256_min_epu8, _mm256_min_epu32, _mm256_movemask_epi8,
        _mm256_movemask_ps, _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi32,
        _mm256_setzero_si256, _mm256_storeu_si256, _mm256_sub_epi32, _mm512_cmpeq_epu8_mask,
        _mm512_cmple_epu8_mask, _mm512_mask_cmplt_epu32_mask, _mm512_maskz_compress_epi32,
        _mm512_maskz_loadu_epi32, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
        _mm512_test_epi32_mask,
    };
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering, fence};

    use super::{Column, Compared, append_at_scalar};

    /// `None` if the processor offers nothing.
    #[inline]
    pub(super) fn compare(column: &Column, byte: u8) -> Option<Compared> {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has it.
            Some(unsafe { by_64(column, byte) })
        } else if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            Some(unsafe { by_32(column, byte) })
        } else {
            None
        }
    }

    /// False if the processor offers nothing.
    #[inline]
    pub(super) fn append_at(words: &[AtomicU32], base: u32, places: &[u32], found: &mut Vec<u32>) -> bool {
        if words.is_empty() {
            return true;
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has it.
            unsafe { append_at_16(words, base, places, found) };
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has it.
            unsafe { append_at_8(words, base, places, found) };
        } else {
            return false;
        }
        true
    }

    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) fn append_at_16(words: &[AtomicU32], base: u32, places: &[u32], found: &mut Vec<u32>) {
        found.reserve(places.len() + 16);
        let start = found.as_mut_ptr();
        let mut end = found.len();
        let [base, count] = [base, words.len() as u32].map(|word| _mm512_set1_epi32(word as i32));
        let mut at = 0;
        while at < places.len() {
            let there = u16::MAX >> 16_usize.saturating_sub(places.len() - at);
            // SAFETY: reads the places that are there, and nothing else.
            let wanted = unsafe { _mm512_maskz_loadu_epi32(there, places.as_ptr().add(at).cast()) };
            let from_base = _mm512_sub_epi32(wanted, base);
            let within = _mm512_mask_cmplt_epu32_mask(there, from_base, count);
            let loaded = gather_16(words, from_base, within);
            let kept = _mm512_test_epi32_mask(loaded, loaded);
            let packed = _mm512_maskz_compress_epi32(kept, loaded);
            // SAFETY: no more were written than there are places, and there is room for 16 beyond
            // these.
            unsafe { _mm512_storeu_si512(start.add(end).cast(), packed) };
            end += kept.count_ones() as usize;
            at += 16;
        }
        // SAFETY: so many were written.
        unsafe { found.set_len(end) };
        // As the loads of an atomic would.
        fence(Ordering::Acquire);
    }

    #[target_feature(enable = "avx2,popcnt")]
    pub(super) fn append_at_8(words: &[AtomicU32], base: u32, places: &[u32], found: &mut Vec<u32>) {
        let (eights, rest) = places.as_chunks::<8>();
        let Some(last) = words.len().checked_sub(1) else { return };
        found.reserve(places.len() + 8);
        let start = found.as_mut_ptr();
        let mut end = found.len();
        let [first, last] = [base, last as u32].map(|word| _mm256_set1_epi32(word as i32));
        for eight in eights {
            let from_base = _mm256_sub_epi32(load_8(eight), first);
            let within = _mm256_cmpeq_epi32(_mm256_min_epu32(from_base, last), from_base);
            let loaded = gather_8(words, from_base, within);
            let zeros = _mm256_castsi256_ps(_mm256_cmpeq_epi32(loaded, _mm256_setzero_si256()));
            let kept = !(_mm256_movemask_ps(zeros) as u8);
            let packed = _mm256_permutevar8x32_epi32(loaded, places_of(kept));
            // SAFETY: no more were written than there are places, and there is room for 8 beyond
            // these.
            unsafe { _mm256_storeu_si256(start.add(end).cast(), packed) };
            end += kept.count_ones() as usize;
        }
        // SAFETY: so many were written.
        unsafe { found.set_len(end) };
        // As the loads of an atomic would.
        fence(Ordering::Acquire);
        append_at_scalar(words, base, rest, found);
    }

    /// For each mask the places of its bits, the least first, and then anything.
    static PLACES: [[u8; 8]; 256] = places();

    const fn places() -> [[u8; 8]; 256] {
        let mut all = [[0; 8]; 256];
        let mut mask = 0;
        while mask < 256 {
            let (mut bit, mut place) = (0, 0);
            while bit < 8 {
                if mask >> bit & 1 == 1 {
                    all[mask][place] = bit;
                    place += 1;
                }
                bit += 1;
            }
            mask += 1;
        }
        all
    }

    /// The places of a mask's bits as words, and then anything below 8.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn places_of(mask: u8) -> __m256i {
        // SAFETY: reads these eight bytes and nothing else.
        let places = unsafe { _mm_loadl_epi64(PLACES[usize::from(mask)].as_ptr().cast()) };
        _mm256_cvtepu8_epi32(places)
    }

    #[inline]
    pub(super) fn prefetch<T>(thing: &T) {
        prefetch_at(std::ptr::from_ref(thing));
    }

    #[inline]
    pub(super) fn prefetch_shared<T>(thing: &Arc<T>) {
        let thing = Arc::as_ptr(thing);
        // Where they are is not promised: elsewhere it is of no use and does no harm.
        prefetch_at(thing.cast::<[usize; 2]>().wrapping_sub(1));
        prefetch_at(thing);
    }

    #[inline]
    fn prefetch_at<T>(place: *const T) {
        // SAFETY: a hint, which reads and writes nothing, wherever it leads.
        unsafe {
            asm!("prefetcht0 [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
        }
    }

    #[target_feature(enable = "avx512bw")]
    pub(super) fn by_64(column: &Column, byte: u8) -> Compared {
        let (bounds, wanted) = (load_64(column), _mm512_set1_epi8(byte as i8));
        let at_most = _mm512_cmple_epu8_mask(bounds, wanted);
        Compared { at_most, equal: _mm512_cmpeq_epu8_mask(bounds, wanted) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn by_32(column: &Column, byte: u8) -> Compared {
        let wanted = _mm256_set1_epi8(byte as i8);
        let [low, high] = load_32(column);
        // No closure that core calls: it would not be inlined there, for want of the feature.
        let at_most = |bounds| _mm256_cmpeq_epi8(_mm256_min_epu8(bounds, wanted), bounds);
        let equal = |bounds| _mm256_cmpeq_epi8(bounds, wanted);
        Compared {
            at_most: lanes_of([at_most(low), at_most(high)]),
            equal: lanes_of([equal(low), equal(high)]),
        }
    }

    /// A bit for each byte: its highest.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn lanes_of([low, high]: [__m256i; 2]) -> u64 {
        u64::from(_mm256_movemask_epi8(low) as u32) | u64::from(_mm256_movemask_epi8(high) as u32) << 32
    }

    #[target_feature(enable = "avx512bw")]
    #[inline]
    pub(super) fn load_64(column: &Column) -> __m512i {
        let loaded;
        // SAFETY: reads the 64 bytes of the column and nothing else.
        unsafe {
            asm!("vmovdqu64 {}, [{}]", out(zmm_reg) loaded, in(reg) column.as_ptr(),
                options(nostack, preserves_flags, readonly));
        }
        loaded
    }

    /// Those of the next 16 words whose bit is set.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn load_some(words: &[AtomicU32], there: u16) -> __m512i {
        debug_assert!(words.len() >= (u16::BITS - there.leading_zeros()) as usize);
        let loaded;
        // SAFETY: reads the words whose bit is set, and nothing else.
        unsafe {
            asm!("vmovdqu32 {}{{{}}}{{z}}, [{}]", out(zmm_reg) loaded, in(kreg) there,
                in(reg) words.as_ptr(), options(nostack, preserves_flags, readonly));
        }
        loaded
    }

    /// The words at the places whose bit is set, which there must be; zeros at the others.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn gather_16(words: &[AtomicU32], places: __m512i, within: u16) -> __m512i {
        let loaded;
        // SAFETY: reads the words whose bit is set, and nothing else.
        unsafe {
            asm!("vpxord {loaded}, {loaded}, {loaded}",
                "vpgatherdd {loaded}{{{within}}}, [{words} + {places} * 4]",
                loaded = out(zmm_reg) loaded, within = inout(kreg) within => _,
                words = in(reg) words.as_ptr(), places = in(zmm_reg) places,
                options(nostack, preserves_flags, readonly));
        }
        loaded
    }

    /// The words at the places whose bits are set, which there must be; zeros at the others.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn gather_8(words: &[AtomicU32], places: __m256i, within: __m256i) -> __m256i {
        let loaded;
        // SAFETY: reads the words whose bits are set, and nothing else.
        unsafe {
            asm!("vpxor {loaded}, {loaded}, {loaded}",
                "vpgatherdd {loaded}, [{words} + {places} * 4], {within}",
                loaded = out(ymm_reg) loaded, within = inout(ymm_reg) within => _,
                words = in(reg) words.as_ptr(), places = in(ymm_reg) places,
                options(nostack, preserves_flags, readonly));
        }
        loaded
    }

    /// Eight words that a writer may store to.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn load_words(words: &[AtomicU32; 8]) -> __m256i {
        let loaded;
        // SAFETY: reads these words and nothing else.
        unsafe {
            asm!("vmovdqu {}, [{}]", out(ymm_reg) loaded, in(reg) words.as_ptr(),
                options(nostack, preserves_flags, readonly));
        }
        loaded
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load_8(words: &[u32; 8]) -> __m256i {
        // SAFETY: reads these words and nothing else.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn load_32(column: &Column) -> [__m256i; 2] {
        let (halves, _) = column.as_chunks::<8>();
        [load_words(&halves[0]), load_words(&halves[1])]
    }
}

#[cfg(test)]
mod tests;
