//! Which entries of a block of clauses hold, 64 literals at a time (`crate::index::Literal`).
//!
//! What holds, what ends a clause and what ends an entry are words of bits, and what clauses and
//! entries they make is arithmetic on these, without a branch that depends on what holds.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::index::{Literal, SCALES_MAX};

/// The most literals that are read at once.
pub(crate) const AT_ONCE: usize = 64;

/// What literals say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    /// The entries that end here and hold: a bit for the last literal of each,
    pub(crate) holding: u64,
    /// and a bit for its place among all that end here.
    pub(crate) numbers: u64,
    /// How many entries end here.
    pub(crate) count: u32,
}

/// What goes on to the next literals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Across {
    /// A literal of the clause that goes on holds.
    clause_holds: bool,
    /// A clause of the entry that goes on does not.
    entry_fails: bool,
}

/// Reads at most [`AT_ONCE`] literals that go on from others. `set` has half a word for each scale with
/// the step that was reached, then a bit for each code, the lowest first.
#[inline]
pub(crate) fn read(literals: &[AtomicU32], set: &[u64], across: &mut Across) -> Entries {
    #[cfg(target_arch = "x86_64")]
    if let Some(entries) = x86::read(literals, set, across) {
        return entries;
    }
    read_scalar(literals, set, across)
}

/// Whether literals are read by wide registers, some five to ten times as fast.
pub(crate) fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86::is_there() || x86::is_half_there();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// As [`read`], in portable code.
pub(crate) fn read_scalar(literals: &[AtomicU32], set: &[u64], across: &mut Across) -> Entries {
    let mut bits = Bits { holding: 0, clause_ends: 0, entry_ends: 0 };
    for (place, literal) in literals.iter().enumerate() {
        let literal = literal.load(Ordering::Relaxed);
        bits.holding |= u64::from(holds(literal, set)) << place;
        bits.clause_ends |= u64::from(literal & Literal::CLAUSE_END != 0) << place;
        bits.entry_ends |= u64::from(literal & Literal::ENTRY_END != 0) << place;
    }
    let holding = bits.entries(literals.len(), across);
    let mut numbers = 0;
    let (mut ends, mut number) = (bits.entry_ends, 0);
    while ends != 0 {
        numbers |= u64::from(holding & ends & ends.wrapping_neg() != 0) << number;
        number += 1;
        ends &= ends - 1;
    }
    Entries { holding, numbers, count: number }
}

/// Whether one literal holds.
fn holds(literal: u32, set: &[u64]) -> bool {
    let half = |at: u32| set.get(at as usize / 2).map_or(0, |word| (word >> (at % 2 * 32)) as u32);
    let code = literal & Literal::CODE;
    if literal & Literal::SCALE != 0 {
        return half(code >> Literal::STEP_BITS) >= literal & Literal::STEP;
    }
    let is_set = half(SCALES_MAX as u32 + code / 32) >> (code % 32) & 1 == 1;
    is_set != (literal & Literal::NOT != 0)
}

/// A bit for each literal: whether its code is set, or must not be and is not; whether it is the last
/// of its clause; whether it is the last of its entry.
struct Bits {
    holding: u64,
    clause_ends: u64,
    entry_ends: u64,
}

impl Bits {
    /// The ends of the entries whose clauses all hold.
    #[inline(always)]
    fn entries(&self, count: usize, across: &mut Across) -> u64 {
        let within = u64::MAX >> (64 - count);
        let holding = self.holding | u64::from(across.clause_holds);
        let (clauses, goes_on) = any_up_to(self.clause_ends, within, holding);
        across.clause_holds = goes_on;
        let failing = (self.clause_ends & !clauses) | u64::from(across.entry_fails);
        let (failing, goes_on) = any_up_to(self.entry_ends, within, failing);
        across.entry_fails = goes_on;
        self.entry_ends & !failing
    }
}

/// For each run of bits that ends with one of `ends`: its end, if any of its bits is in `bits`. And
/// whether any is behind the last end.
///
/// In each run, the bits before its end are all set; one more of them makes a carry that goes to the
/// end.
#[inline(always)]
fn any_up_to(ends: u64, within: u64, bits: u64) -> (u64, bool) {
    let (sum, goes_on) = (bits & !ends).overflowing_add(within & !ends);
    ((sum | bits) & ends, goes_on)
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers, and reading what another thread may be writing")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_epi8, _mm256_castsi256_ps,
        _mm256_cmpeq_epi32, _mm256_cmpgt_epi32, _mm256_mask_i32gather_epi32, _mm256_max_epu32,
        _mm256_movemask_ps, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_setzero_si256, _mm256_srli_epi32,
        _mm256_srlv_epi32, _mm256_xor_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_cmplt_epu32_mask,
        _mm512_mask_cmpge_epu32_mask, _mm512_mask_i32gather_epi32, _mm512_mask_srli_epi32, _mm512_rorv_epi32,
        _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srli_epi32, _mm512_test_epi32_mask, _pext_u64,
    };
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{AT_ONCE, Across, Bits, Entries, Literal, SCALES_MAX};
    use crate::simd::x86::load_words;

    #[inline]
    pub(super) fn is_there() -> bool {
        is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
    }

    /// Whether there are registers half as wide.
    #[inline]
    pub(super) fn is_half_there() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
    }

    /// `None` if the processor offers nothing.
    #[inline]
    pub(super) fn read(literals: &[AtomicU32], set: &[u64], across: &mut Across) -> Option<Entries> {
        if is_there() {
            // SAFETY: the processor has it.
            Some(unsafe { read_16_each(literals, set, across) })
        } else if is_half_there() {
            // SAFETY: the processor has it.
            Some(unsafe { read_8_each(literals, set, across) })
        } else {
            None
        }
    }

    #[target_feature(enable = "avx2,bmi2,popcnt")]
    pub(super) fn read_8_each(literals: &[AtomicU32], set: &[u64], across: &mut Across) -> Entries {
        let literals = &literals[..literals.len().min(AT_ONCE)];
        let mut bits = Bits { holding: 0, clause_ends: 0, entry_ends: 0 };
        let all = |flag: u32| _mm256_set1_epi32(flag as i32);
        // As below.
        let words = all(set.len().min(1 << 26) as u32 * 2);
        for (at, eight) in literals.chunks(8).enumerate() {
            let (loaded, lanes) = load_8(eight);
            let with = |flag| _mm256_cmpeq_epi32(_mm256_and_si256(loaded, all(flag)), all(flag));
            let code = _mm256_and_si256(loaded, all(Literal::CODE));
            let is_scale = with(Literal::SCALE);
            let word_of_code = _mm256_add_epi32(_mm256_srli_epi32::<5>(code), all(SCALES_MAX as u32));
            let scale = _mm256_srli_epi32::<{ Literal::STEP_BITS as i32 }>(code);
            let word = _mm256_blendv_epi8(word_of_code, scale, is_scale);
            let is_there = _mm256_cmpgt_epi32(words, word);
            let none = _mm256_setzero_si256();
            // SAFETY: reads only words of 32 bits that `set` has.
            let found =
                unsafe { _mm256_mask_i32gather_epi32::<4>(none, set.as_ptr().cast(), word, is_there) };
            let bit = _mm256_srlv_epi32(found, _mm256_and_si256(code, all(31)));
            let is_set = _mm256_cmpeq_epi32(_mm256_and_si256(bit, all(1)), all(1));
            let step = _mm256_and_si256(loaded, all(Literal::STEP));
            let is_reached = _mm256_cmpeq_epi32(_mm256_max_epu32(found, step), found);
            let of_code = _mm256_xor_si256(is_set, with(Literal::NOT));
            let holding = mask_of(_mm256_blendv_epi8(of_code, is_reached, is_scale));
            bits.holding |= u64::from(holding & lanes) << (8 * at);
            bits.clause_ends |= u64::from(mask_of(with(Literal::CLAUSE_END))) << (8 * at);
            bits.entry_ends |= u64::from(mask_of(with(Literal::ENTRY_END))) << (8 * at);
        }
        let holding = bits.entries(literals.len(), across);
        let numbers = _pext_u64(holding, bits.entry_ends);
        Entries { holding, numbers, count: bits.entry_ends.count_ones() }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn mask_of(lanes: __m256i) -> u8 {
        _mm256_movemask_ps(_mm256_castsi256_ps(lanes)) as u8
    }

    /// The words, of which there are at most 8, and which lanes they fill. The others are zero.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn load_8(words: &[AtomicU32]) -> (__m256i, u8) {
        let lanes = (1_u32 << words.len()).wrapping_sub(1) as u8;
        if let Some(words) = words.first_chunk::<8>() {
            return (load_words(words), lanes);
        }
        let word = |at: usize| words.get(at).map_or(0, |word| word.load(Ordering::Relaxed) as i32);
        let loaded =
            _mm256_setr_epi32(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7));
        (loaded, lanes)
    }

    #[target_feature(enable = "avx512bw,bmi2,popcnt")]
    fn read_16_each(literals: &[AtomicU32], set: &[u64], across: &mut Across) -> Entries {
        let literals = &literals[..literals.len().min(AT_ONCE)];
        let mut bits = Bits { holding: 0, clause_ends: 0, entry_ends: 0 };
        // Twice as many words of 32 bits as numbers; codes end far below.
        let words = _mm512_set1_epi32(set.len().min(1 << 26) as i32 * 2);
        let codes = _mm512_set1_epi32(Literal::CODE as i32);
        for (at, sixteen) in literals.chunks(16).enumerate() {
            let (loaded, lanes) = load_16(sixteen);
            let code = _mm512_and_si512(loaded, codes);
            let is_scale = with(loaded, Literal::SCALE);
            let word = _mm512_add_epi32(_mm512_srli_epi32::<5>(code), _mm512_set1_epi32(SCALES_MAX as i32));
            let word = _mm512_mask_srli_epi32::<{ Literal::STEP_BITS }>(word, is_scale, code);
            let is_there = _mm512_cmplt_epu32_mask(word, words);
            let none = _mm512_setzero_si512();
            // SAFETY: reads only words of 32 bits that `set` has.
            let found =
                unsafe { _mm512_mask_i32gather_epi32::<4>(none, is_there, word, set.as_ptr().cast()) };
            let is_set = _mm512_test_epi32_mask(_mm512_rorv_epi32(found, code), _mm512_set1_epi32(1));
            let step = _mm512_and_si512(loaded, _mm512_set1_epi32(Literal::STEP as i32));
            let is_reached = _mm512_mask_cmpge_epu32_mask(is_scale, found, step);
            let holding = is_reached | (!is_scale & (is_set ^ with(loaded, Literal::NOT)));
            bits.holding |= u64::from(holding & lanes) << (16 * at);
            bits.clause_ends |= u64::from(with(loaded, Literal::CLAUSE_END)) << (16 * at);
            bits.entry_ends |= u64::from(with(loaded, Literal::ENTRY_END)) << (16 * at);
        }
        let holding = bits.entries(literals.len(), across);
        let numbers = _pext_u64(holding, bits.entry_ends);
        Entries { holding, numbers, count: bits.entry_ends.count_ones() }
    }

    /// The words that have a flag.
    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn with(words: __m512i, flag: u32) -> u16 {
        _mm512_test_epi32_mask(words, _mm512_set1_epi32(flag as i32))
    }

    /// The words, of which there are at most 16, and which lanes they fill. The others are zero.
    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn load_16(words: &[AtomicU32]) -> (__m512i, u16) {
        let lanes = (1_u32 << words.len()).wrapping_sub(1) as u16;
        let loaded;
        // SAFETY: reads the words that the mask names and nothing else; the others cause no fault.
        unsafe {
            asm!("vmovdqu32 {}{{{lanes}}}{{z}}, [{}]", out(zmm_reg) loaded, in(reg) words.as_ptr(),
                lanes = in(kreg) lanes, options(nostack, preserves_flags, readonly));
        }
        (loaded, lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;

    /// As `read`, literal by literal.
    fn plainly(
        literals: &[u32],
        set: &[u64],
        (mut clause, mut entry): (bool, bool),
    ) -> (Entries, (bool, bool)) {
        let mut entries = Entries { holding: 0, numbers: 0, count: 0 };
        for (place, literal) in literals.iter().enumerate() {
            let has = |flag: u32| literal & flag != 0;
            clause |= holds(*literal, set);
            if has(Literal::CLAUSE_END) {
                entry &= std::mem::take(&mut clause);
            }
            if has(Literal::ENTRY_END) {
                let holds = std::mem::replace(&mut entry, true);
                entries.holding |= u64::from(holds) << place;
                entries.numbers |= u64::from(holds) << entries.count;
                entries.count += 1;
            }
        }
        (entries, (clause, entry))
    }

    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the processor is asked for it")]
    fn by_8(literals: &[AtomicU32], set: &[u64], across: &mut Across) -> Entries {
        // SAFETY: whoever calls it knows that the processor has it.
        unsafe { x86::read_8_each(literals, set, across) }
    }

    #[test]
    fn random_literals_are_read_alike_in_every_way() {
        for seed in 0..20_000 {
            let mut generator = Generator::new(seed);
            let end = generator.pick(&[1, 64, 200, 5_000, Literal::CODE as usize + 1]);
            let (ends, entries) = (generator.pick(&[1, 2, 40]), generator.pick(&[1, 3, 30]));
            let words = generator.pick(&[0, 1, 3, SCALES_MAX / 2, SCALES_MAX / 2 + 79]);
            let set: Vec<u64> = (0..words).map(|_| generator.word() & generator.word()).collect();
            let mut literal = |is_last: bool| {
                let mut word = generator.below(end) as u32 | (generator.word() as u32 & Literal::NOT);
                if generator.below(4) == 0 {
                    word = Literal::SCALE | generator.word() as u32 & Literal::CODE & !(1 << 15);
                }
                if is_last || generator.below(ends) == 0 {
                    word |= Literal::CLAUSE_END;
                    word |= if is_last || generator.below(entries) == 0 { Literal::ENTRY_END } else { 0 };
                }
                word
            };
            let last = 1 + seed as usize % 200;
            let all: Vec<u32> = (0..last).map(|place| literal(place + 1 == last)).collect();
            let words: Vec<AtomicU32> = all.iter().map(|word| AtomicU32::new(*word)).collect();
            let (mut chosen, mut scalar, mut plain) = (Across::default(), Across::default(), (false, true));
            let mut eights = Across::default();
            for (literals, words) in all.chunks(AT_ONCE).zip(words.chunks(AT_ONCE)) {
                let (expected, next) = plainly(literals, &set, plain);
                plain = next;
                assert_eq!(read(words, &set, &mut chosen), expected, "as chosen, seed {seed}");
                assert_eq!(read_scalar(words, &set, &mut scalar), expected, "scalar, seed {seed}");
                assert_eq!(chosen, scalar);
                #[cfg(target_arch = "x86_64")]
                if x86::is_half_there() {
                    assert_eq!(by_8(words, &set, &mut eights), expected, "by 8, seed {seed}");
                }
            }
        }
    }
}
