//! How old an event is, on a wall clock that may be wrong.
//!
//! An age limit takes events away, so a clock that is set to next year must not empty every mailbox.
//! This clock follows the wall clock and keeps three rules:
//! 1. What is written down never goes back.
//! 2. It advances at most twice as fast as the monotonic clock: where the wall clock jumps ahead, it
//!    follows slowly, and an operator who sets the clock right in time has lost nothing.
//! 3. At a start it is at most a day beyond what it was when that was last written down.
//!
//! What it tells is at most what the wall clock says, and goes on from there: one that is set right after
//! it ran ahead, or after it was set back, over a restart, makes nothing old that is young.
//!
//! So it may lag behind, after a jump or a long rest, and then events stay longer than their limit
//! says; it never runs ahead of either clock. An age limit bounds what is kept. Where an event is of
//! no use after some time, its TTL says so.

use crate::event::Millis;

/// How far a start may be from the last mark.
const REST_MS_MAX: Millis = 86_400_000;
/// How often the time is written down.
pub const MARK_MS: Millis = 3_600_000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeClock {
    told: Millis,
    mark: Millis,
}

impl AgeClock {
    /// A clock that starts when the wall clock says `wall`; `mark` is what was written down last.
    pub fn start(wall: Millis, mark: Option<Millis>) -> Self {
        let told = mark.map_or(wall, |mark| wall.min(mark.saturating_add(REST_MS_MAX)));
        AgeClock { told, mark: mark.map_or(told, |mark| mark.max(told)) }
    }

    /// Goes on by `elapsed` milliseconds of the monotonic clock since the last call.
    pub fn advance(&mut self, wall: Millis, elapsed: Millis) {
        self.told = wall.min(self.told.saturating_add(elapsed.saturating_mul(2)));
        self.mark = self.mark.max(self.told);
    }

    /// The time for ages.
    pub fn now(&self) -> Millis {
        self.told
    }

    /// What is to be written down, and never goes back.
    pub fn mark(&self) -> Millis {
        self.mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const YEAR: Millis = 365 * REST_MS_MAX;

    #[test]
    fn a_jump_ahead_is_followed_slowly_and_a_jump_back_not_at_all() {
        let mut clock = AgeClock::start(1_000_000, None);
        let mut advance = |wall, elapsed| {
            clock.advance(wall, elapsed);
            (clock.mark(), clock.now())
        };
        assert_eq!(advance(1_000_500, 500), (1_000_500, 1_000_500));
        assert_eq!(advance(YEAR, 1_000), (1_002_500, 1_002_500));
        assert_eq!(advance(1_002_000, 1_000), (1_002_500, 1_002_000), "set right again");
        assert_eq!(advance(1_003_000, 1_000), (1_003_000, 1_003_000));
    }

    #[test]
    fn a_start_believes_a_day_of_rest_and_follows_the_remainder_slowly() {
        let mark = 10 * YEAR;
        assert_eq!(AgeClock::start(mark + 5_000, Some(mark)).now(), mark + 5_000);
        assert_eq!(AgeClock::start(mark + YEAR, Some(mark)).now(), mark + REST_MS_MAX);
        assert_eq!(AgeClock::start(mark, None).now(), mark);
        let ahead = AgeClock::start(mark - YEAR, Some(mark));
        assert_eq!((ahead.mark(), ahead.now()), (mark, mark - YEAR), "it was ahead, and is not believed");
    }

    /// Found by the simulator.
    #[test]
    fn a_clock_that_was_set_back_before_a_start_and_is_set_right_makes_nothing_old_at_once() {
        let mark = 10 * YEAR;
        let mut clock = AgeClock::start(mark - 100_000, Some(mark));
        clock.advance(mark + 1_000, 1_000);
        assert_eq!((clock.mark(), clock.now()), (mark, mark - 98_000));
        clock.advance(mark + 101_000, 100_000);
        assert_eq!((clock.mark(), clock.now()), (mark + 101_000, mark + 101_000));
    }

    proptest! {
        #[test]
        fn it_never_goes_back_nor_faster_than_twice_the_monotonic_clock(
            steps in prop::collection::vec((any::<u32>(), 0u64..10_000), 1..100)
        ) {
            let mut clock = AgeClock::start(1_000, None);
            for (wall, elapsed) in steps {
                let (before, told) = (clock.mark(), clock.now());
                clock.advance(wall.into(), elapsed);
                let mark = clock.mark();
                prop_assert!(mark >= before && mark <= before + 2 * elapsed);
                prop_assert!(mark == before || mark <= u64::from(wall));
                prop_assert!(clock.now() <= u64::from(wall) && clock.now() <= told + 2 * elapsed);
            }
        }
    }
}
