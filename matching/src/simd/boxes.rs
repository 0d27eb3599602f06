//! Which lanes of a block a point is in, as far as bytes tell, 64 lanes at a time
//! (`crate::index::boxes`).
//!
//! 1. A column is described by two words: its base, and the bits of a bound less the base, 8 to 32, in
//!    the lowest [`BITS`] of the second word. Its byte is the highest of these bits.
//! 2. Columns come in twos: low bounds, which a number keeps that is not below them, and high ones.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Column;

/// The most columns of a block.
pub(crate) const COLUMNS_MAX: usize = 16;
/// The most lanes.
const LANES: usize = 64;
/// Where a column's description has its bits.
const BITS: u32 = 63;

/// What bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The lanes that the point may be in,
    pub(crate) within: u64,
    /// and of these the ones with a byte that is the point's own.
    pub(crate) unsure: u64,
    /// A bit for each column whose bounds, all of them, the point does not keep.
    pub(crate) out: u16,
}

/// Compares the columns with a number for each.
#[inline]
pub(crate) fn tell(described: &[AtomicU32], tops: &[Column], point: &[i64]) -> Told {
    #[cfg(target_arch = "x86_64")]
    if let Some(told) = x86::tell(described, tops, point) {
        return told;
    }
    tell_scalar(described, tops, point)
}

/// As [`tell`], in portable code.
fn tell_scalar(described: &[AtomicU32], tops: &[Column], point: &[i64]) -> Told {
    let mut told = Told { within: u64::MAX, unsure: 0, out: 0 };
    for (number, ((described, top), value)) in
        described.as_chunks::<2>().0.iter().zip(tops).zip(point).enumerate()
    {
        let is_low = number & 1 == 0;
        let (byte, is_out) = place(described, *value, is_low);
        let compared = super::scalar(top, byte);
        told.within &= if is_low { compared.at_most } else { !compared.at_most | compared.equal };
        told.unsure |= compared.equal;
        told.out |= u16::from(is_out) << number;
    }
    told.unsure &= told.within;
    told
}

/// Where a number stands in a column that is described so, as a byte, and whether it keeps none of its
/// bounds, which are low or high ones.
#[inline]
fn place(described: &[AtomicU32; 2], value: i64, is_low: bool) -> (u8, bool) {
    let [base, form] = [&described[0], &described[1]].map(|word| word.load(Ordering::Relaxed));
    let relative = value - i64::from(base as i32);
    let bits = form & BITS;
    let last = (1 << bits) - 1;
    let is_out = if is_low { relative < 0 } else { relative > last };
    ((relative.clamp(0, last) >> (bits - u8::BITS)) as u8, is_out)
}

/// Appends the words of lanes, in their order, but for those that are `without`. What was written
/// before they were stored is there.
#[inline]
pub(crate) fn append_lanes(words: &[AtomicU32; LANES], lanes: u64, without: u32, found: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if x86::append_lanes(words, lanes, without, found) {
        return;
    }
    append_lanes_scalar(words, lanes, without, found);
}

/// As [`append_lanes`], in portable code.
fn append_lanes_scalar(words: &[AtomicU32; LANES], mut lanes: u64, without: u32, found: &mut Vec<u32>) {
    while lanes != 0 {
        let word = words[lanes.trailing_zeros() as usize].load(Ordering::Acquire);
        if word != without {
            found.push(word);
        }
        lanes &= lanes - 1;
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "wide registers, and reading what another thread may be writing")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _mm_storel_epi64, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_max_epu8, _mm256_min_epu8,
        _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256, _mm512_and_si512, _mm512_andnot_si512,
        _mm512_cmpge_epu8_mask, _mm512_cmpgt_epi64_mask, _mm512_cmpgt_epu8_mask, _mm512_cmple_epu8_mask,
        _mm512_cmplt_epi64_mask, _mm512_cmplt_epu8_mask, _mm512_cvtepi64_epi8, _mm512_mask_cmpneq_epi32_mask,
        _mm512_maskz_compress_epi32, _mm512_maskz_loadu_epi64, _mm512_max_epi64, _mm512_min_epi64,
        _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64,
        _mm512_sllv_epi64, _mm512_srai_epi64, _mm512_srli_epi64, _mm512_srlv_epi64, _mm512_storeu_si512,
        _mm512_sub_epi64,
    };
    use std::sync::atomic::{AtomicU32, Ordering, fence};

    use super::super::Column;
    use super::super::x86::{lanes_of, load_32, load_64, load_some};
    use super::{BITS, COLUMNS_MAX, LANES, Told, place};

    /// Columns whose descriptions fill a register.
    const AT_ONCE: usize = 8;
    /// Of these the ones with low bounds.
    const LOW: u8 = 0x55;

    /// `None` if the processor offers nothing.
    #[inline]
    pub(super) fn tell(described: &[AtomicU32], tops: &[Column], point: &[i64]) -> Option<Told> {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has it.
            Some(unsafe { tell_by_64(described, tops, point) })
        } else if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            Some(unsafe { tell_by_32(described, tops, point) })
        } else {
            None
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn tell_by_32(described: &[AtomicU32], tops: &[Column], point: &[i64]) -> Told {
        let (mut within, mut equal) = ([_mm256_set1_epi8(-1); 2], [_mm256_setzero_si256(); 2]);
        let mut out = 0;
        let described = described.as_chunks::<2>().0.as_chunks::<2>().0;
        let sides = described.iter().zip(tops.as_chunks::<2>().0).zip(point.as_chunks::<2>().0);
        for (side, (([of_low, of_high], [lows, highs]), [low, high])) in sides.enumerate() {
            let (low, is_below) = place(of_low, *low, true);
            let (high, is_above) = place(of_high, *high, false);
            out |= (u16::from(is_below) | u16::from(is_above) << 1) << (2 * side);
            let (low, high) = (_mm256_set1_epi8(low as i8), _mm256_set1_epi8(high as i8));
            let (lows, highs) = (load_32(lows), load_32(highs));
            for half in 0..2 {
                let is_low = _mm256_cmpeq_epi8(_mm256_min_epu8(lows[half], low), lows[half]);
                let is_high = _mm256_cmpeq_epi8(_mm256_max_epu8(highs[half], high), highs[half]);
                within[half] = _mm256_and_si256(within[half], _mm256_and_si256(is_low, is_high));
                let same = [_mm256_cmpeq_epi8(lows[half], low), _mm256_cmpeq_epi8(highs[half], high)];
                equal[half] = _mm256_or_si256(equal[half], _mm256_or_si256(same[0], same[1]));
            }
        }
        let within = lanes_of(within);
        Told { within, unsure: within & lanes_of(equal), out }
    }

    #[target_feature(enable = "avx512bw")]
    fn tell_by_64(described: &[AtomicU32], tops: &[Column], point: &[i64]) -> Told {
        let mut bytes = [0; COLUMNS_MAX];
        let mut out = 0;
        let parts = described.chunks(2 * AT_ONCE).zip(point.chunks(AT_ONCE));
        for (part, ((described, point), bytes)) in parts.zip(bytes.as_chunks_mut().0).enumerate() {
            out |= u16::from(places(described, point, bytes)) << (AT_ONCE * part);
        }
        let (mut within, mut sure) = (u64::MAX, u64::MAX);
        for ([lows, highs], [low, high]) in tops.as_chunks().0.iter().zip(bytes.as_chunks().0) {
            let (lows, low) = (load_64(lows), _mm512_set1_epi8(*low as i8));
            let (highs, high) = (load_64(highs), _mm512_set1_epi8(*high as i8));
            within &= _mm512_cmple_epu8_mask(lows, low) & _mm512_cmpge_epu8_mask(highs, high);
            sure &= _mm512_cmplt_epu8_mask(lows, low) & _mm512_cmpgt_epu8_mask(highs, high);
        }
        Told { within, unsure: within & !sure, out }
    }

    /// Writes where the numbers stand in their columns as bytes, and says which columns they are out
    /// of.
    #[target_feature(enable = "avx512bw")]
    fn places(described: &[AtomicU32], point: &[i64], bytes: &mut [u8; AT_ONCE]) -> u8 {
        let count = point.len().min(described.len() / 2).min(AT_ONCE);
        let there = (1_u32 << count).wrapping_sub(1) as u8;
        // SAFETY: reads the numbers that are there, and nothing else.
        let values = unsafe { _mm512_maskz_loadu_epi64(there, point.as_ptr()) };
        let described = load_some(described, ((1_u32 << (2 * count)).wrapping_sub(1)) as u16);
        let base = _mm512_srai_epi64::<32>(_mm512_slli_epi64::<32>(described));
        let bits = _mm512_and_si512(_mm512_srli_epi64::<32>(described), _mm512_set1_epi64(i64::from(BITS)));
        let ones = _mm512_set1_epi64(-1);
        let last = _mm512_andnot_si512(_mm512_sllv_epi64(ones, bits), ones);
        let (zero, relative) = (_mm512_setzero_si512(), _mm512_sub_epi64(values, base));
        let code = _mm512_max_epi64(_mm512_min_epi64(relative, last), zero);
        let top = _mm512_srlv_epi64(code, _mm512_sub_epi64(bits, _mm512_set1_epi64(i64::from(u8::BITS))));
        // SAFETY: eight bytes, which there are.
        unsafe { _mm_storel_epi64(bytes.as_mut_ptr().cast(), _mm512_cvtepi64_epi8(top)) };
        let below = _mm512_cmplt_epi64_mask(relative, zero) & LOW;
        let above = _mm512_cmpgt_epi64_mask(relative, last) & !LOW;
        (below | above) & there
    }

    /// False if the processor offers nothing.
    #[inline]
    pub(super) fn append_lanes(
        words: &[AtomicU32; LANES],
        lanes: u64,
        without: u32,
        found: &mut Vec<u32>,
    ) -> bool {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt");
        if has {
            // SAFETY: the processor has it.
            unsafe { append_by_16(words, lanes, without, found) };
        }
        has
    }

    #[target_feature(enable = "avx512f,popcnt")]
    fn append_by_16(words: &[AtomicU32; LANES], lanes: u64, without: u32, found: &mut Vec<u32>) {
        found.reserve(LANES);
        let start = found.as_mut_ptr();
        let without = _mm512_set1_epi32(without as i32);
        let mut end = found.len();
        for (part, words) in words.as_chunks::<16>().0.iter().enumerate() {
            let lanes = (lanes >> (16 * part)) as u16;
            let loaded: __m512i = load_some(words, lanes);
            let kept = _mm512_mask_cmpneq_epi32_mask(lanes, loaded, without);
            let packed = _mm512_maskz_compress_epi32(kept, loaded);
            // SAFETY: before this part no more were written than words were read, and there is room
            // for all of them.
            unsafe { _mm512_storeu_si512(start.add(end).cast(), packed) };
            end += kept.count_ones() as usize;
        }
        // SAFETY: so many were written.
        unsafe { found.set_len(end) };
        // As the loads of an atomic would.
        fence(Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;

    /// As `tell`, lane by lane.
    fn plainly(described: &[[u32; 2]], tops: &[[u8; LANES]], point: &[i64]) -> Told {
        let mut told = Told { within: 0, unsure: 0, out: 0 };
        let place = |number: usize| {
            let [base, bits] = described[number];
            let relative = point[number] - i64::from(base as i32);
            (relative, 1_i64 << (bits & BITS), bits & BITS)
        };
        for lane in 0..LANES {
            let (mut is_within, mut is_unsure) = (true, false);
            for (number, top) in tops.iter().enumerate() {
                let (relative, end, bits) = place(number);
                let own = (relative.max(0).min(end - 1) >> (bits - 8)) as u8;
                is_within &= if number % 2 == 0 { top[lane] <= own } else { top[lane] >= own };
                is_unsure |= top[lane] == own;
            }
            told.within |= u64::from(is_within) << lane;
            told.unsure |= u64::from(is_within && is_unsure) << lane;
        }
        for number in 0..tops.len() {
            let (relative, end, _) = place(number);
            let is_out = if number % 2 == 0 { relative < 0 } else { relative >= end };
            told.out |= u16::from(is_out) << number;
        }
        told
    }

    fn atomics<const COUNT: usize>(words: [u32; COUNT]) -> [AtomicU32; COUNT] {
        words.map(AtomicU32::new)
    }

    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the processor is asked for it")]
    fn by_32(described: &[AtomicU32], tops: &[Column], point: &[i64]) -> Told {
        // SAFETY: whoever calls it knows that the processor has it.
        unsafe { x86::tell_by_32(described, tops, point) }
    }

    #[test]
    fn bytes_tell_the_same_in_every_way() {
        let (mut within, mut unsure, mut out) = (0, 0, 0);
        for seed in 0..10_000 {
            let mut generator = Generator::new(seed);
            let columns = 2 * (1 + generator.below(COLUMNS_MAX / 2));
            let spread = generator.pick(&[2, 20, 256]);
            let tops: Vec<[u8; LANES]> = (0..columns)
                .map(|number| {
                    // Low bounds mostly low, high ones mostly high: some lanes are left.
                    let far = if generator.percent(70) { 0 } else { 120 };
                    let near = |byte: usize| if number % 2 == 0 { byte + far } else { 255 - byte - far };
                    std::array::from_fn(|_| near(generator.below(spread) / 2) as u8)
                })
                .collect();
            let described: Vec<[u32; 2]> = (0..columns)
                .map(|_| {
                    [
                        generator.word() as u32,
                        (8 + generator.below(25) as u32) | ((generator.word() as u32) << 6),
                    ]
                })
                .collect();
            let mut value = |[base, form]: &[u32; 2]| {
                let (base, bits) = (i64::from(*base as i32), form & BITS);
                match generator.below(20) {
                    0 => base - 1,
                    1 => base + (1 << bits),
                    2 => generator.pick(&[-(1 << 40), 1 << 40]),
                    _ => base + (generator.word() & ((1 << bits) - 1)) as i64,
                }
            };
            let point: Vec<i64> = described.iter().map(&mut value).collect();
            let words: Vec<AtomicU32> = described.iter().flat_map(|words| atomics(*words)).collect();
            let bytes = |top: &[u8; LANES]| {
                std::array::from_fn(|word| AtomicU32::new(u32::from_le_bytes(top.as_chunks().0[word])))
            };
            let columns: Vec<Column> = tops.iter().map(bytes).collect();
            let expected = plainly(&described, &tops, &point);
            assert_eq!(tell(&words, &columns, &point), expected, "as chosen, seed {seed}");
            assert_eq!(tell_scalar(&words, &columns, &point), expected, "scalar, seed {seed}");
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                assert_eq!(by_32(&words, &columns, &point), expected, "by 32, seed {seed}");
            }
            within += expected.within.count_ones();
            unsure += expected.unsure.count_ones();
            out += expected.out.count_ones();
        }
        assert!(within > 10_000 && unsure > 1_000 && out > 1_000, "{within} {unsure} {out}");
    }

    #[test]
    fn lanes_are_appended_alike_in_every_way() {
        for seed in 0..2_000 {
            let mut generator = Generator::new(seed);
            let without = generator.below(4) as u32;
            let words: [AtomicU32; LANES] =
                std::array::from_fn(|_| AtomicU32::new(generator.below(9) as u32));
            let some = generator.word();
            let lanes = generator.pick(&[0, u64::MAX, 0xffff_0000, 1 << 63 | 1, some]);
            let mut expected = vec![7, 8];
            let wanted = words.iter().enumerate().filter(|(lane, _)| lanes >> lane & 1 == 1);
            let words_of = wanted.map(|(_, word)| word.load(Ordering::Relaxed));
            expected.extend(words_of.filter(|word| *word != without));
            let (mut chosen, mut scalar) = (vec![7, 8], vec![7, 8]);
            append_lanes(&words, lanes, without, &mut chosen);
            append_lanes_scalar(&words, lanes, without, &mut scalar);
            assert_eq!(chosen, expected, "as chosen, seed {seed}");
            assert_eq!(scalar, expected, "scalar, seed {seed}");
        }
    }
}
