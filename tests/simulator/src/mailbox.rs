//! What the broker's limit keeper, which is compiled here as it is, asks of the owners of mailboxes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanal_core::MailboxId;

/// A mailbox's owner, as far as it is asked.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Which one.
    pub id: MailboxId,
    started_below: u64,
}

impl Mailbox {
    /// First sequence that nobody was sent in this life of the broker.
    pub(crate) fn started_below(&self) -> u64 {
        self.started_below
    }
}

/// The owners by mailbox. One thread uses it; the lock is for the type that the keeper expects.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<BTreeMap<MailboxId, Arc<Mailbox>>>);

impl Directory {
    /// The owner of a mailbox, if there is one.
    pub(crate) fn get(&self, id: MailboxId) -> Option<Arc<Mailbox>> {
        self.lock().get(&id).cloned()
    }

    /// Says how things stand now.
    pub(crate) fn set(&self, now: impl Iterator<Item = (MailboxId, u64)>) {
        let owner = |(id, started_below)| (id, Arc::new(Mailbox { id, started_below }));
        *self.lock() = now.map(owner).collect();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MailboxId, Arc<Mailbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
