//! All mailboxes, shared with readers.
//!
//! Invariants:
//! 1. The writer changes it only with what was flushed.
//! 2. The lock of the map and that of a mailbox are held for lookups only, never over IO.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::id::{MailboxId, MailboxSequence, Position};
use crate::mailbox::{Mailbox, MailboxStats};

/// All mailboxes.
#[derive(Debug, Default)]
pub(crate) struct Index {
    mailboxes: RwLock<BTreeMap<MailboxId, Arc<Mutex<Mailbox>>>>,
}

impl Index {
    /// The mailbox, to be locked by [`locked`].
    pub(crate) fn get(&self, mailbox: MailboxId) -> Option<Arc<Mutex<Mailbox>>> {
        let map = self.mailboxes.read().unwrap_or_else(PoisonError::into_inner);
        map.get(&mailbox).cloned()
    }

    /// Adds a mailbox; one that is there stays as it is.
    pub(crate) fn create(&self, mailbox: MailboxId, next: MailboxSequence) -> Arc<Mutex<Mailbox>> {
        let mut map = self.mailboxes.write().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(Mutex::new(Mailbox::new(next)));
        map.entry(mailbox).or_insert_with(made).clone()
    }

    pub(crate) fn remove(&self, mailbox: MailboxId) -> Option<Arc<Mutex<Mailbox>>> {
        let mut map = self.mailboxes.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(&mailbox)
    }

    /// All mailboxes as they are now, ascending.
    pub(crate) fn all(&self) -> Vec<(MailboxId, Arc<Mutex<Mailbox>>)> {
        let map = self.mailboxes.read().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(id, mailbox)| (*id, mailbox.clone())).collect()
    }

    /// Numbers of all mailboxes, ascending.
    pub(crate) fn stats(&self) -> Vec<(MailboxId, MailboxStats)> {
        let all = self.all();
        all.into_iter().map(|(id, mailbox)| (id, locked(&mailbox).stats())).collect()
    }

    /// Moves what lies at `from` and beyond to `to` and beyond. O(all entries).
    pub(crate) fn relocate(&self, from: Position, to: Position) {
        for (_, mailbox) in self.all() {
            locked(&mailbox).relocate(from, to);
        }
    }
}

/// Locks a mailbox. A panic elsewhere cannot leave one half changed in a way that matters.
pub(crate) fn locked(mailbox: &Mutex<Mailbox>) -> MutexGuard<'_, Mailbox> {
    mailbox.lock().unwrap_or_else(PoisonError::into_inner)
}
