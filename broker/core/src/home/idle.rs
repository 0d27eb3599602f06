//! Which publish epochs a home forgets: those that nobody has used for a week, and a principal's
//! oldest when it holds too many.
//!
//! Invariants:
//! 1. What is forgotten is answered `UnknownEpoch` (410) from then on, never as a duplicate.
//! 2. An epoch with a connected channel is never idle; one is forgotten no sooner than
//!    [`EPOCH_IDLE_DAYS`] whole days after its last use.
//! 3. Time is [`Home::time`], which follows [`crate::age`]: a wall clock that jumps ahead makes
//!    nobody idle at once, and time for which the broker did not run counts as a day at most. So an
//!    epoch may be kept longer than a week, never shorter.
//! 4. The day of the last use is written with the first publish of a day: no other publish costs
//!    more for it. A crash before that leaves the day before it, at which the channel was connected.

use fanal_protocol::{Epoch, PublisherId};

use super::{Home, HomeRefusal, UndoKey};

/// Days without use after which an epoch is forgotten.
pub const EPOCH_IDLE_DAYS: u64 = 7;
/// Epochs that a principal may hold.
pub const EPOCHS_PER_PRINCIPAL_MAX: usize = 1024;
const DAY_MS: u64 = 86_400_000;

impl Home {
    /// The day, from the time as it was written down last; 0 before there is one.
    pub(super) fn today(&self) -> u64 {
        self.time().map_or(0, |now| now / DAY_MS)
    }

    /// Forgets the epochs that are idle, by their counters; `is_connected` by counter. How many.
    /// To be asked now and then. O(epochs).
    pub fn forget_idle(&mut self, is_connected: impl Fn(u64) -> bool) -> usize {
        let today = self.today();
        let (mut used, mut idle) = (Vec::new(), Vec::new());
        for (counter, publisher) in &self.publishers {
            // An older version has not written down when it was used.
            let is_used = is_connected(*counter) || publisher.used_day == 0;
            if is_used && publisher.used_day != today {
                used.push(*counter);
            } else if !is_used && publisher.used_day + EPOCH_IDLE_DAYS < today {
                idle.push(*counter);
            }
        }
        for counter in used {
            self.remember(UndoKey::Publisher(counter));
            if let Some(publisher) = self.publishers.get_mut(&counter) {
                publisher.used_day = today;
            }
        }
        idle.iter().for_each(|counter| self.forget(*counter));
        idle.len()
    }

    /// Makes room for one more epoch of a principal: where it holds [`EPOCHS_PER_PRINCIPAL_MAX`], the
    /// one that was used longest ago and has no connected channel is forgotten. O(its epochs).
    ///
    /// # Errors
    /// [`HomeRefusal::TooManyEpochs`]: all of them are connected. Nothing was changed.
    pub fn make_room_for_epoch(
        &mut self,
        principal: &PublisherId,
        is_connected: impl Fn(u64) -> bool,
    ) -> Result<(), HomeRefusal> {
        let Some(held) = self.epochs_of.get(principal) else { return Ok(()) };
        if held.len() < EPOCHS_PER_PRINCIPAL_MAX {
            return Ok(());
        }
        let free = held.iter().filter(|counter| !is_connected(**counter));
        let used_day = |counter: &&u64| self.publishers.get(*counter).map(|publisher| publisher.used_day);
        // Ascending: of equal days the oldest.
        match free.min_by_key(used_day).copied() {
            Some(counter) => {
                self.forget(counter);
                Ok(())
            }
            None => Err(HomeRefusal::TooManyEpochs { limit: EPOCHS_PER_PRINCIPAL_MAX }),
        }
    }

    fn forget(&mut self, counter: u64) {
        self.close_counter(counter);
    }

    /// The epoch of a counter of this home, for who asks what became of it.
    pub fn epoch(&self, counter: u64) -> Epoch {
        Epoch { store: self.store, recovery_epoch: self.recovery_epoch, counter }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fanal_protocol::{Fingerprint, StoreId};
    use proptest::prelude::*;

    use super::*;
    use crate::{Effect, Verdict};

    fn principal(name: &str) -> PublisherId {
        PublisherId { name: name.into(), authority: Fingerprint([5; 32]) }
    }

    fn new_home() -> Home {
        let mut home = Home::new(StoreId([1; 16]), 3);
        home.note_time(20_000 * DAY_MS);
        home
    }

    /// Takes the batch as written; its state records.
    fn commit(home: &mut Home) -> Vec<Vec<u8>> {
        let effects = home.drain_effects();
        home.commit();
        let state = |effect| match effect {
            Effect::State(record) => Some(record),
            _ => None,
        };
        effects.into_iter().filter_map(state).collect()
    }

    #[test]
    fn only_the_first_publish_of_a_day_costs_more() {
        let mut home = new_home();
        let epoch = home.open_epoch(&principal("p"));
        let mut sizes = Vec::new();
        commit(&mut home);
        for sequence in 1..=6 {
            if sequence == 4 {
                home.note_time(20_001 * DAY_MS);
                commit(&mut home);
            }
            assert_eq!(home.publish(epoch, sequence), Verdict::Accept);
            sizes.push(commit(&mut home).iter().map(Vec::len).sum::<usize>());
        }
        assert!(
            sizes[3] > 30 && sizes.iter().enumerate().all(|(at, size)| at == 3 || *size < 10),
            "{sizes:?}"
        );
    }

    #[test]
    fn a_principal_holds_a_bounded_number_of_epochs() {
        let mut home = new_home();
        let other = home.open_epoch(&principal("other"));
        let open = |home: &mut Home| {
            let p = principal("p");
            home.make_room_for_epoch(&p, |counter| counter % 2 == 1).map(|()| home.open_epoch(&p))
        };
        let epochs: Vec<Epoch> = (0..EPOCHS_PER_PRINCIPAL_MAX).map(|_| open(&mut home).unwrap()).collect();
        home.note_time(20_001 * DAY_MS);
        let first_free = epochs.iter().find(|epoch| epoch.counter % 2 == 0).unwrap();
        assert_eq!(home.publish(*first_free, 1), Verdict::Accept);
        let second_free = epochs.iter().filter(|epoch| epoch.counter % 2 == 0).nth(1).unwrap();
        open(&mut home).unwrap();
        assert_eq!(home.publish(*second_free, 1), Verdict::UnknownEpoch, "used longest ago, and free");
        assert_eq!(
            (home.publish(*first_free, 2), home.publish(other, 1)),
            (Verdict::Accept, Verdict::Accept)
        );
        assert_eq!(home.epochs(), EPOCHS_PER_PRINCIPAL_MAX + 1);
        let refused = home.make_room_for_epoch(&principal("p"), |_| true);
        assert_eq!(refused, Err(HomeRefusal::TooManyEpochs { limit: EPOCHS_PER_PRINCIPAL_MAX }));
        home.rollback();
        assert_eq!(home.publish(*second_free, 1), Verdict::UnknownEpoch, "what was not written never was");
        assert_eq!(home.epochs(), 0);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Publish(usize),
        Connect(usize),
        Disconnect(usize),
        Hours(u64),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0usize..4).prop_map(Step::Publish),
            1 => (0usize..4).prop_map(Step::Connect),
            1 => (0usize..4).prop_map(Step::Disconnect),
            4 => (1u64..60).prop_map(Step::Hours),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against a plain map of last uses: no epoch is forgotten within a week of its use or while it
        /// is connected, each soon after; and none comes back, over restarts too.
        #[test]
        fn an_epoch_is_forgotten_after_a_week_and_no_sooner(steps in prop::collection::vec(step(), 1..200)) {
            let mut home = new_home();
            let epochs: Vec<Epoch> = (0..4).map(|n| home.open_epoch(&principal(&format!("p{n}")))).collect();
            let mut log = commit(&mut home);
            let mut now = 20_000 * DAY_MS;
            let mut used: BTreeMap<usize, u64> = (0..4).map(|n| (n, now)).collect();
            let mut next = [1u64; 4];
            let mut connected = [false; 4];
            for step in steps {
                match step {
                    Step::Publish(n) => {
                        let verdict = home.publish(epochs[n], next[n]);
                        match used.get_mut(&n) {
                            Some(last) => {
                                prop_assert_eq!(verdict, Verdict::Accept);
                                next[n] += 1;
                                *last = now;
                            }
                            None => prop_assert_eq!(verdict, Verdict::UnknownEpoch),
                        }
                    }
                    Step::Connect(n) => connected[n] = used.contains_key(&n),
                    Step::Disconnect(n) => connected[n] = false,
                    Step::Hours(hours) => for _ in 0..hours {
                        now += DAY_MS / 24;
                        home.note_time(now);
                        home.forget_idle(|counter| connected[counter as usize - 1]);
                        used.extend((0..4).filter(|n| connected[*n]).map(|n| (n, now)));
                        for (n, epoch) in epochs.iter().enumerate() {
                            let Some(last) = used.get(&n).copied() else { continue };
                            let is_known = home.resume_epoch(&principal(&format!("p{n}")), *epoch).is_ok();
                            prop_assert!(is_known || now - last >= EPOCH_IDLE_DAYS * DAY_MS, "too soon");
                            prop_assert!(!is_known || now - last < (EPOCH_IDLE_DAYS + 2) * DAY_MS, "too late");
                            if !is_known {
                                used.remove(&n);
                            }
                        }
                    },
                    Step::Restart => {
                        log.extend(commit(&mut home));
                        home = Home::recover(StoreId([1; 16]), 3, &log, []).unwrap();
                        connected = [false; 4];
                    }
                }
                log.extend(commit(&mut home));
            }
            let snapshot = Home::recover(StoreId([1; 16]), 3, &home.snapshot(), []).unwrap();
            prop_assert_eq!(snapshot.snapshot(), home.snapshot());
            prop_assert_eq!(home.epochs(), used.len());
        }
    }
}
