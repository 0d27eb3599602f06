//! The broker's wall clock, which never runs backwards nor stands still (a jump back revives nothing,
//! PROTOCOL.md 5.3).
//!
//! Where the wall clock is set back, it goes on from where it was, as fast as the monotonic clock: what
//! has a time to live must not live longer for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanal_core::event::Millis;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// How far the wall clock was ahead of the monotonic one at most.
    ahead: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { started: Instant::now(), ahead: AtomicU64::new(0) }
    }
}

impl Clock {
    /// Milliseconds since the Unix epoch, never less than what was said before.
    pub(crate) fn now(&self) -> Millis {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.tell(wall.as_millis() as u64, self.started.elapsed())
    }

    /// The time where the wall clock says `wall`, so long after the start.
    fn tell(&self, wall: Millis, elapsed: Duration) -> Millis {
        let elapsed = elapsed.as_millis() as u64;
        let ahead = wall.saturating_sub(elapsed);
        elapsed + self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_where_the_wall_clock_is_set_back() {
        let clock = Clock::default();
        let tell = |wall, elapsed_ms| clock.tell(wall, Duration::from_millis(elapsed_ms));
        assert_eq!((tell(1_000_000, 0), tell(1_000_007, 8)), (1_000_000, 1_000_008));
        assert_eq!(tell(9_000_000, 10), 9_000_000, "ahead with the wall clock");
        assert_eq!((tell(1_000_020, 20), tell(1_000_500, 500)), (9_000_010, 9_000_490));
        assert_eq!(tell(9_000_600, 600), 9_000_600, "and with it again");
    }
}
