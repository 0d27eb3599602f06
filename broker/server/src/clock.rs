//! The broker's wall clock, which never runs backwards (a jump back revives nothing, PROTOCOL.md 5.3).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use fanal_core::event::Millis;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: AtomicU64,
}

impl Clock {
    /// Milliseconds since the Unix epoch, never less than what was said before.
    pub(crate) fn now(&self) -> Millis {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.last.fetch_max(wall, Ordering::Relaxed).max(wall)
    }
}
