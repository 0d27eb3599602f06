//! A list of destinations that have something to send, for one writer task.
//!
//! Invariants:
//! 1. An item stands in the list at most once; an item that is marked ready while the writer works on
//!    it comes up again. So no wake-up is lost and none is taken per event.
//! 2. A closed list holds nothing: items know their list, and would keep it and each other for ever.

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
    items: Mutex<Items<T>>,
    notify: Notify,
}

struct Items<T> {
    waiting: VecDeque<Arc<T>>,
    is_closed: bool,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Items { waiting: VecDeque::new(), is_closed: false }
    }
}

impl<T> Default for ReadyList<T> {
    fn default() -> Self {
        ReadyList { items: Mutex::default(), notify: Notify::new() }
    }
}

impl<T: Ready> ReadyList<T> {
    /// Marks an item ready; nothing on a closed list. O(1).
    pub(crate) fn push(&self, item: &Arc<T>) {
        if item.ready_mark().swap(true, Ordering::AcqRel) {
            return;
        }
        let mut items = self.lock();
        if items.is_closed {
            return;
        }
        items.waiting.push_back(Arc::clone(item));
        drop(items);
        self.notify.notify_one();
    }

    /// Lets go of what is in the list, for good: its writer has ended, or is about to.
    pub(crate) fn close(&self) {
        let mut items = self.lock();
        items.is_closed = true;
        let waiting = std::mem::take(&mut items.waiting);
        drop(items);
        // The last handles of items may be among these, and what they do then is not ours to wait for.
        drop(waiting);
    }

    /// Takes the item that waits longest; from now on it may be marked again.
    pub(crate) fn try_pop(&self) -> Option<Arc<T>> {
        let item = self.lock().waiting.pop_front()?;
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Items<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item {
        mark: AtomicBool,
        list: Arc<ReadyList<Item>>,
    }

    impl Ready for Item {
        fn ready_mark(&self) -> &AtomicBool {
            &self.mark
        }
    }

    /// A subscriber that left with its queue marked ready kept queue and list in memory for ever.
    #[test]
    fn a_closed_list_keeps_no_item_alive() {
        let list: Arc<ReadyList<Item>> = Arc::default();
        let item = |list: &Arc<_>| Arc::new(Item { mark: AtomicBool::new(false), list: Arc::clone(list) });
        let (early, late) = (item(&list), item(&list));
        early.list.push(&early);
        let (early_there, late_there) = (Arc::downgrade(&early), Arc::downgrade(&late));
        drop(early);
        assert!(early_there.upgrade().is_some(), "it waits for its turn");
        list.close();
        late.list.push(&late);
        drop(late);
        assert!(early_there.upgrade().is_none() && late_there.upgrade().is_none());
        assert!(list.try_pop().is_none());
    }
}
