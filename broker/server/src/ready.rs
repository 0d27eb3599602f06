//! A list of destinations that have something to send, for one writer task.
//!
//! Invariants: an item stands in the list at most once; an item that is marked ready while the
//! writer works on it comes up again. So no wake-up is lost and none is taken per event.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Something that a [`ReadyList`] can hold.
pub(crate) trait Ready {
    /// The item's own mark; nobody but the list touches it.
    fn ready_mark(&self) -> &AtomicBool;
}

/// See the module.
pub(crate) struct ReadyList<T> {
    items: Mutex<VecDeque<Arc<T>>>,
    notify: Notify,
}

impl<T> Default for ReadyList<T> {
    fn default() -> Self {
        ReadyList { items: Mutex::default(), notify: Notify::new() }
    }
}

impl<T: Ready> ReadyList<T> {
    /// Marks an item ready. O(1).
    pub(crate) fn push(&self, item: &Arc<T>) {
        if item.ready_mark().swap(true, Ordering::AcqRel) {
            return;
        }
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push_back(Arc::clone(item));
        self.notify.notify_one();
    }

    /// Takes the item that waits longest; from now on it may be marked again.
    pub(crate) fn try_pop(&self) -> Option<Arc<T>> {
        let item = self.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        item.ready_mark().store(false, Ordering::Release);
        Some(item)
    }

    /// As [`ReadyList::try_pop`], waiting for one.
    pub(crate) async fn pop(&self) -> Arc<T> {
        loop {
            if let Some(item) = self.try_pop() {
                return item;
            }
            self.notify.notified().await;
        }
    }
}
