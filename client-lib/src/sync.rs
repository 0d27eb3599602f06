//! Small tools for sharing state between tasks.
//!
//! Invariant: no lock here is held over an await.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Locks, also after a panic elsewhere: the states kept here are valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one sleeping task; costs one atomic load while the task is awake.
///
/// The task calls [`Signal::doze`], looks for work once more, and only then [`Signal::sleep`]s.
/// Whoever adds work does so under a lock that the task's look takes too, then calls
/// [`Signal::wake`]: so either the look finds the work, or the wake finds the task dozing.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    dozing: AtomicBool,
    notify: Notify,
}

impl Signal {
    /// Tells that there is work.
    pub(crate) fn wake(&self) {
        if self.dozing.load(Ordering::SeqCst) && self.dozing.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// Announces sleep.
    pub(crate) fn doze(&self) {
        self.dozing.store(true, Ordering::SeqCst);
    }

    /// Takes the announcement back.
    pub(crate) fn stay(&self) {
        self.dozing.store(false, Ordering::SeqCst);
    }

    /// Sleeps until woken, or for a time. May return early.
    pub(crate) async fn sleep(&self, limit: Option<Duration>) {
        match limit {
            Some(limit) => drop(tokio::time::timeout(limit, self.notify.notified()).await),
            None => self.notify.notified().await,
        }
        self.stay();
    }
}
