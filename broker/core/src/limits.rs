//! Limits of mailboxes: how much one may hold, and what becomes of what is too much.
//!
//! Invariants:
//! 1. A limit never refuses a publisher: what came is stored, then the oldest gives way.
//! 2. What gives way is no more than brings the mailbox to its limit, and a 64th of the limit
//!    beyond, so that a full mailbox does not move an entry for each event.
//! 3. One event that is larger than the whole limit goes alone: it does not push others out.
//!
//! Not here: which entries these are (the store knows), and clocks.

use crate::event::Millis;

/// What becomes of the oldest entries of a full mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhenFull {
    /// They go to the dead letters.
    #[default]
    DeadLetter,
    /// They are dropped.
    DropOldest,
}

impl WhenFull {
    /// The word for it, on the wire and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            WhenFull::DeadLetter => "dead_letter",
            WhenFull::DropOldest => "drop_oldest",
        }
    }

    /// The choice of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [WhenFull::DeadLetter, WhenFull::DropOldest].into_iter().find(|choice| choice.word() == word)
    }
}

/// How much a mailbox may hold; absent: no limit of that kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// Bytes of its events as they are stored.
    pub bytes: Option<u64>,
    /// Events.
    pub events: Option<u64>,
    /// Age of its oldest event, in milliseconds since it was accepted.
    pub age_ms: Option<Millis>,
}

impl Limits {
    /// The lower limit of each kind.
    pub fn within(&self, bound: &Limits) -> Limits {
        let lower = |own: Option<u64>, bound: Option<u64>| own.into_iter().chain(bound).min();
        Limits {
            bytes: lower(self.bytes, bound.bytes),
            events: lower(self.events, bound.events),
            age_ms: lower(self.age_ms, bound.age_ms),
        }
    }

    /// Whether one event of so many bytes is more than a mailbox may hold at all.
    pub fn is_too_large(&self, bytes: u64) -> bool {
        self.bytes.is_some_and(|limit| bytes > limit)
    }

    /// How much of a mailbox with so many events and bytes must give way, if anything.
    pub fn surplus(&self, events: u64, bytes: u64) -> Option<Surplus> {
        let surplus = Surplus { events: above(events, self.events), bytes: above(bytes, self.bytes) };
        (surplus != Surplus::default()).then_some(surplus)
    }
}

/// What is above a limit, and a 64th of the limit with it; 0 at the limit.
fn above(held: u64, limit: Option<u64>) -> u64 {
    match limit {
        Some(limit) if held > limit => held - (limit - limit / 64),
        _ => 0,
    }
}

/// The oldest entries that give way: at least so many, with at least so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Surplus {
    /// Entries.
    pub events: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Surplus {
    /// Takes one entry off; false once nothing more need give way, and then it was not taken.
    pub fn take(&mut self, bytes: u64) -> bool {
        let is_wanted = self.events > 0 || self.bytes > 0;
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        is_wanted
    }
}

/// What of the largest must go so that `wanted` bytes come together: they are brought down to one
/// level, and whoever is below it is left alone. O(n log n).
pub fn share_out<K: Copy>(sizes: &[(K, u64)], wanted: u64) -> Vec<(K, u64)> {
    let mut sizes = sizes.to_vec();
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let (mut sum, mut level) = (0u64, 0);
    for (at, (_, size)) in sizes.iter().enumerate() {
        sum = sum.saturating_add(*size);
        let next = sizes.get(at + 1).map_or(0, |(_, size)| *size);
        let count = at as u64 + 1;
        level = sum.saturating_sub(wanted) / count;
        if level >= next {
            break;
        }
    }
    let above = sizes.into_iter().map(|(key, size)| (key, size.saturating_sub(level)));
    above.filter(|(_, surplus)| *surplus > 0).collect()
}

/// How much must go from a store that is nearly full. What was dropped does not show as room at
/// once, so it is remembered and not asked for again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relief {
    /// Bytes dropped whose room has not come back.
    owed: u64,
    /// What was kept at the last look.
    kept: u64,
}

impl Relief {
    /// Bytes that must go now. `kept` is what the store uses, `mark` where it is nearly full, `target`
    /// what it should come down to. `is_settled`: what has not come back by now will not, since
    /// others hold the same events.
    pub fn wanted(&mut self, kept: u64, mark: u64, target: u64, is_settled: bool) -> u64 {
        let freed = self.kept.saturating_sub(kept);
        self.kept = kept;
        self.owed = if is_settled { 0 } else { self.owed.saturating_sub(freed) };
        if kept < mark {
            return 0;
        }
        kept.saturating_sub(target).saturating_sub(self.owed)
    }

    /// Bytes were dropped.
    pub fn on_dropped(&mut self, bytes: u64) {
        self.owed = self.owed.saturating_add(bytes);
    }
}

/// What a durable subscription chose about its mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keep {
    /// How much it may hold; the broker's own limits hold beside.
    pub limits: Limits,
    /// What becomes of what is too much.
    pub when_full: WhenFull,
}

/// Why entries left a mailbox without its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The mailbox held too many events or bytes.
    Full,
    /// They were too old.
    Age,
    /// The store needed the room.
    Store,
}

impl Reason {
    /// All of them, in the order of [`Reason::index`].
    pub const ALL: [Reason; 3] = [Reason::Full, Reason::Age, Reason::Store];

    /// The word for it, in metrics, JSON and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Full => "full",
            Reason::Age => "age",
            Reason::Store => "store",
        }
    }

    /// The reason of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Reason::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// Its place in a list of all, and its number in state records.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How many entries left a mailbox, by [`Reason::index`], since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Those that went to the dead letters.
    pub dead_lettered: [u64; 3],
    /// Those that were dropped.
    pub dropped: [u64; 3],
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: Limits = Limits { bytes: Some(6_400), events: None, age_ms: None };
    const EVENTS: Limits = Limits { bytes: None, events: Some(10), age_ms: None };

    #[test]
    fn a_mailbox_at_its_limit_is_left_alone_and_a_small_one_keeps_just_so_many() {
        assert_eq!(EVENTS.surplus(10, 1 << 40), None);
        assert_eq!(EVENTS.surplus(11, 0), Some(Surplus { events: 1, bytes: 0 }));
        assert_eq!(BYTES.surplus(1 << 40, 6_400), None);
        assert_eq!(BYTES.surplus(0, 6_401), Some(Surplus { events: 0, bytes: 101 }));
        assert_eq!(Limits::default().surplus(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn of_two_limits_the_lower_one_holds() {
        let both = Limits { bytes: Some(7_000), events: None, age_ms: Some(5) };
        assert_eq!(both.within(&BYTES), Limits { bytes: Some(6_400), events: None, age_ms: Some(5) });
        assert_eq!(Limits::default().within(&EVENTS), EVENTS);
    }

    #[test]
    fn words_read_back() {
        for choice in [WhenFull::DeadLetter, WhenFull::DropOldest] {
            assert_eq!(WhenFull::parse(choice.word()), Some(choice));
        }
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!((Reason::parse(reason.word()), reason.index()), (Some(reason), at));
        }
        assert_eq!((WhenFull::parse("refuse"), Reason::parse("")), (None, None));
    }

    #[test]
    fn relief_is_asked_for_once_and_again_when_it_did_not_come() {
        let mut relief = Relief::default();
        assert_eq!(relief.wanted(89, 90, 88, false), 0);
        assert_eq!(relief.wanted(95, 90, 88, false), 7);
        relief.on_dropped(7);
        assert_eq!(relief.wanted(95, 90, 88, false), 0, "it is on its way");
        assert_eq!(relief.wanted(92, 90, 88, false), 0, "so is the rest");
        assert_eq!(relief.wanted(96, 90, 88, false), 4, "more came meanwhile");
        assert_eq!(relief.wanted(96, 90, 88, true), 8, "it never came");
        assert_eq!(relief.wanted(80, 90, 88, false), 0);
    }

    #[test]
    fn the_largest_give_way_down_to_one_level() {
        let sizes = [('a', 10), ('b', 100), ('c', 60), ('d', 0)];
        assert_eq!(share_out(&sizes, 30), [('b', 30)]);
        assert_eq!(share_out(&sizes, 60), [('b', 50), ('c', 10)]);
        assert_eq!(share_out(&sizes, 1_000), [('b', 100), ('c', 60), ('a', 10)]);
        assert_eq!(share_out::<char>(&[], 5), []);
    }

    proptest! {
        #[test]
        fn enough_gives_way_where_there_is_enough(
            sizes in prop::collection::vec(0u64..1_000, 0..20), wanted in 1u64..5_000
        ) {
            let sizes: Vec<(usize, u64)> = sizes.into_iter().enumerate().collect();
            let shares = share_out(&sizes, wanted);
            let given: u64 = shares.iter().map(|(_, bytes)| bytes).sum();
            let there: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
            prop_assert!(given >= wanted.min(there) && given <= wanted + shares.len() as u64);
            let left = |key: usize| sizes[key].1 - shares.iter().find(|(k, _)| *k == key).map_or(0, |(_, n)| *n);
            let level = shares.iter().map(|(key, _)| left(*key)).max().unwrap_or(0);
            prop_assert!(sizes.iter().all(|(key, _)| left(*key) <= level || shares.is_empty()));
        }

        /// Against a plain queue: the limit holds, and no more gave way than a 64th and one event.
        #[test]
        fn what_gives_way_brings_the_mailbox_to_its_limit_and_little_below(
            sizes in prop::collection::vec(1u64..500, 1..300),
            bytes in 1_000u64..20_000,
            events in 1u64..200,
        ) {
            let limits = Limits { bytes: Some(bytes), events: Some(events), age_ms: None };
            let mut held = std::collections::VecDeque::new();
            for size in sizes {
                held.push_back(size);
                let sum = |held: &std::collections::VecDeque<u64>| held.iter().sum::<u64>();
                let before = (held.len() as u64, sum(&held));
                let Some(mut surplus) = limits.surplus(before.0, before.1) else { continue };
                let mut last = 0;
                while let Some(&oldest) = held.front()
                    && surplus.take(oldest)
                {
                    last = oldest;
                    held.pop_front();
                }
                let after = (held.len() as u64, sum(&held));
                prop_assert!(after.0 <= events && after.1 <= bytes, "{after:?}");
                prop_assert!(
                    after.1 + last + bytes / 64 + 1 > bytes.min(before.1) || after.0 + events / 64 + 2 > events.min(before.0),
                    "{before:?} became {after:?}"
                );
            }
        }
    }
}
