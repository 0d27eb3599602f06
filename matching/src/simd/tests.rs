//! What the processor offers against the scalar twin, and that against a plain loop.

use super::*;
use crate::generate::Generator;
use crate::index::EntryId;

/// One of the ways to compare.
type Way<'w> = &'w dyn Fn(&Column, u8) -> Compared;

fn column(bytes: &[u8; 64]) -> Column {
    let words = bytes.as_chunks::<4>().0;
    std::array::from_fn(|word| AtomicU32::new(u32::from_le_bytes(words[word])))
}

fn plainly(bytes: &[u8; 64], wanted: u8) -> Compared {
    let mut compared = Compared { at_most: 0, equal: 0 };
    for (lane, byte) in bytes.iter().enumerate() {
        compared.at_most |= u64::from(*byte <= wanted) << lane;
        compared.equal |= u64::from(*byte == wanted) << lane;
    }
    compared
}

/// Bytes that are near each other, at the edges, or anything.
fn random(generator: &mut Generator) -> [u8; 64] {
    let spread = generator.pick(&[1, 4, 250, 256]);
    let start = generator.word() as u8;
    std::array::from_fn(|_| start.wrapping_add(generator.below(spread) as u8))
}

#[test]
fn the_scalar_twin_compares_every_byte_with_every_other() {
    for start in (0..=u8::MAX).step_by(64) {
        let bytes = std::array::from_fn(|lane| start + lane as u8);
        for wanted in 0..=u8::MAX {
            assert_eq!(scalar(&column(&bytes), wanted), plainly(&bytes, wanted), "{start} {wanted}");
        }
    }
}

#[test]
fn random_columns_compare_alike_in_every_way() {
    for seed in 0..20_000 {
        let mut generator = Generator::new(seed);
        let bytes = random(&mut generator);
        let wanted = generator.pick(&bytes);
        let (column, expected) = (column(&bytes), plainly(&bytes, wanted));
        let check = |what: &str, way: Way<'_>| {
            assert_eq!(way(&column, wanted), expected, "{what}, seed {seed}");
        };
        check("as chosen", &compare);
        check("scalar", &scalar);
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls what this processor has")]
        {
            if is_x86_feature_detected!("avx512bw") {
                // SAFETY: the processor has it.
                check("64 at a time", &|column, wanted| unsafe { x86::by_64(column, wanted) });
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has it.
                check("32 at a time", &|column, wanted| unsafe { x86::by_32(column, wanted) });
            }
        }
    }
}

/// Appends numbers to what is there.
type Append<'w> = &'w dyn Fn(&[AtomicU32], &mut Vec<EntryId>);

#[test]
fn random_ids_are_read_alike_in_every_way() {
    for seed in 0..2_000 {
        let mut generator = Generator::new(seed);
        // Of a group there is none, some, or all.
        let always = generator.pick(&[0, 0xff, 0]);
        let words: Vec<u32> = (0..generator.below(100)).map(|_| generator.word() as u32 | always).collect();
        let before: Vec<EntryId> = (0..generator.below(3) as u32).map(EntryId).collect();
        let mut expected = before.clone();
        for word in &words {
            let group = word >> 8;
            let meant = (0..8).filter(|at| word >> at & 1 == 1);
            expected.extend(meant.map(|at| EntryId(group * 8 + at)));
        }
        let words: Vec<AtomicU32> = words.into_iter().map(AtomicU32::new).collect();
        let check = |what: &str, append: Append<'_>| {
            let mut found = before.clone();
            append(&words, &mut found);
            assert_eq!(found, expected, "{what}, seed {seed}");
        };
        check("as chosen", &ids::append);
        check("scalar", &ids::append_scalar);
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls what this processor has")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor has it.
            check("8 at a time", &|words, found| unsafe { ids::x86::append_by_8(words, found) });
        }
    }
}

/// Appends the words at places to what is there.
type AppendAt<'w> = &'w dyn Fn(&[AtomicU32], u32, &[u32], &mut Vec<u32>);

#[test]
fn random_places_are_looked_up_alike_in_every_way() {
    for seed in 0..2_000 {
        let mut generator = Generator::new(seed);
        let (count, base) = (generator.below(100), generator.below(1_000) as u32);
        // Every other word is zero.
        let words: Vec<AtomicU32> =
            (0..count).map(|_| AtomicU32::new(generator.below(2) as u32 * generator.word() as u32)).collect();
        // Some are before the first and behind the last.
        let places: Vec<u32> = (0..generator.below(60))
            .map(|_| base.saturating_sub(10) + generator.below(count + 30) as u32)
            .chain([0, u32::MAX])
            .collect();
        let before: Vec<u32> = (0..generator.below(3) as u32).collect();
        let mut expected = before.clone();
        for place in places.iter().filter(|place| **place >= base && **place - base < count as u32) {
            let word = words[(*place - base) as usize].load(Ordering::Relaxed);
            expected.extend((word != 0).then_some(word));
        }
        let check = |what: &str, append: AppendAt<'_>| {
            let mut found = before.clone();
            append(&words, base, &places, &mut found);
            assert_eq!(found, expected, "{what}, seed {seed}");
        };
        check("as chosen", &append_at);
        check("scalar", &append_at_scalar);
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls what this processor has")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt") {
                // SAFETY: the processor has it.
                check("16 at a time", &|words, base, places, found| unsafe {
                    x86::append_at_16(words, base, places, found)
                });
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
                // SAFETY: the processor has it.
                check("8 at a time", &|words, base, places, found| unsafe {
                    x86::append_at_8(words, base, places, found)
                });
            }
        }
    }
}
