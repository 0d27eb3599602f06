//! Randomness that stays the same: on every machine, with every version of every library.
//!
//! 1. The same seed and stream give the same numbers for ever (SplitMix64, Steele et al. 2014).
//! 2. Streams of one seed are independent of each other.
//!
//! Not for keys or tokens.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of that name under `seed`.
    pub fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95));
        random.next();
        Random(random.next())
    }

    /// 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "a number always comes, there is no Option")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end` - 1; 0 if `end` is 0. The bias is below `end` / 2^64.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low) as u64 + 1) as i64
    }

    /// True so many times out of 100.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of `all`, which is not empty.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// Ranks 0 to count - 1 with a probability that falls as 1 / (rank + 1)^exponent.
///
/// Walker's alias method: a draw costs two look-ups, whatever the count.
#[derive(Debug)]
pub struct Zipf {
    /// Of 2^32, how often a column gives its own rank.
    own: Box<[u32]>,
    other: Box<[u32]>,
}

impl Zipf {
    /// `count` is at least 1. `O(count)`.
    pub fn new(count: u32, exponent: f64) -> Zipf {
        let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-exponent)).collect();
        let scale = f64::from(count) / weights.iter().sum::<f64>();
        let mut share: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut own = vec![u32::MAX; share.len()];
        let mut other: Vec<u32> = (0..count).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|&at| share[at as usize] < 1.0);
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            own[low as usize] = (share[low as usize] * 2_f64.powi(32)) as u32;
            other[low as usize] = high;
            share[high as usize] -= 1.0 - share[low as usize];
            if share[high as usize] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Zipf { own: own.into(), other: other.into() }
    }

    /// A rank.
    pub fn draw(&self, random: &mut Random) -> u32 {
        let column = random.below(self.own.len() as u64) as usize;
        if (random.next() >> 32) as u32 <= self.own[column] { column as u32 } else { self.other[column] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_stay_as_they_are() {
        // The first numbers of the published SplitMix64 from state 0.
        let mut random = Random(0);
        assert_eq!([random.next(), random.next()], [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4]);
        let mut random = Random::new(1, 2);
        let numbers: Vec<u64> = (0..4).map(|_| random.below(1_000_000)).collect();
        assert_eq!(numbers, [693_394, 128_175, 551_609, 177_783]);
    }

    #[test]
    fn zipf_falls_as_one_over_the_rank() {
        let (zipf, mut random) = (Zipf::new(100, 1.0), Random::new(7, 0));
        let mut counts = [0_u32; 100];
        (0..200_000).for_each(|_| counts[zipf.draw(&mut random) as usize] += 1);
        // 1 / H(100) = 19.3 %.
        let share = |rank: usize| f64::from(counts[rank]) / 200_000.0;
        assert!((share(0) - 0.1928).abs() < 0.004, "{}", share(0));
        assert!((share(9) - 0.0193).abs() < 0.002, "{}", share(9));
        assert!((share(99) - 0.0019).abs() < 0.001, "{}", share(99));
    }
}
