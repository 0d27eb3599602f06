//! Waiting with a bound.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

/// Longest that anything may take before a test gives up. Generous: it is never waited for when
/// all is well, and two cores may be shared.
pub const BOUND: Duration = Duration::from_secs(60);
/// Pause between two looks of [`until`].
const LOOK: Duration = Duration::from_millis(10);

/// Awaits something that must happen.
///
/// # Panics
/// When it does not within [`BOUND`].
pub async fn within<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    match tokio::time::timeout(BOUND, future.into_future()).await {
        Ok(value) => value,
        Err(_) => panic!("waited {BOUND:?} in vain for: {what}"),
    }
}

/// As [`until`], for guards, which cannot await: it holds its thread.
///
/// # Panics
/// When it does not hold within [`BOUND`].
pub fn until_blocking<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < BOUND, "waited {BOUND:?} in vain for: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Looks until a condition holds that nothing announces; gives what the look found.
///
/// # Panics
/// When it does not hold within [`BOUND`].
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < BOUND, "waited {BOUND:?} in vain for: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
