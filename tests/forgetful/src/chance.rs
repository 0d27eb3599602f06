//! Throws of dice by a seed (splitmix64).

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True in so many cases of 16.
    pub(crate) fn of_16(&mut self, cases: u64) -> bool {
        self.next() % 16 < cases
    }
}

/// How likely it is that something that was not flushed survives.
#[derive(Debug, Clone)]
pub(crate) struct Survival {
    chance: Chance,
    sectors_of_16: u64,
    /// Changes of names survive up to some point and not after it, as behind a journal; else each
    /// one on its own.
    pub(crate) names_in_order: bool,
}

impl Survival {
    /// Each seed gives odds of its own: nearly everything survives, about half, nearly nothing.
    pub(crate) fn new(seed: u64) -> Survival {
        let mut chance = Chance::new(seed);
        let sectors_of_16 = [1, 8, 15][(chance.next() % 3) as usize];
        Survival { sectors_of_16, names_in_order: chance.of_16(8), chance }
    }

    pub(crate) fn sector(&mut self) -> bool {
        self.chance.of_16(self.sectors_of_16)
    }

    pub(crate) fn size(&mut self) -> bool {
        self.chance.of_16(8)
    }

    pub(crate) fn name(&mut self) -> bool {
        self.chance.of_16(8)
    }

    /// What a sector holds that belongs to a file now and was never written: nothing, or what some
    /// other file left there.
    pub(crate) fn fill(&mut self, sector: &mut [u8]) {
        match self.chance.of_16(12) {
            true => sector.fill(0),
            false => sector.iter_mut().for_each(|byte| *byte = self.chance.next() as u8),
        }
    }
}
