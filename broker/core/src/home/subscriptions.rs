//! The durable subscriptions of a home, by mailbox and by name.
//!
//! Invariants:
//! 1. A name leads to one mailbox, and that mailbox's subscription has that name.
//! 2. What is handed out is shared, not copied: a home has very many subscriptions, and routing
//!    knows each of them too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MailboxId, Principal, Subscription};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_mailbox: BTreeMap<MailboxId, Arc<Subscription>>,
    by_name: BTreeMap<Principal, BTreeMap<Box<str>, MailboxId>>,
}

impl Subscriptions {
    pub(super) fn get(&self, id: MailboxId) -> Option<&Arc<Subscription>> {
        self.by_mailbox.get(&id)
    }

    pub(super) fn find(&self, principal: &Principal, name: &str) -> Option<MailboxId> {
        self.by_name.get(principal)?.get(name).copied()
    }

    /// By mailbox, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MailboxId, &Arc<Subscription>)> {
        self.by_mailbox.iter().map(|(id, subscription)| (*id, subscription))
    }

    /// Sets what a mailbox's subscription is; its principal and name stay the same.
    pub(super) fn insert(&mut self, id: MailboxId, subscription: Arc<Subscription>) {
        let Subscription { principal, name, .. } = &*subscription;
        if !self.by_name.contains_key(principal) {
            self.by_name.insert(principal.clone(), BTreeMap::new());
        }
        if let Some(names) = self.by_name.get_mut(principal) {
            names.insert(name.as_str().into(), id);
        }
        self.by_mailbox.insert(id, subscription);
    }

    pub(super) fn remove(&mut self, id: MailboxId) -> Option<Arc<Subscription>> {
        let subscription = self.by_mailbox.remove(&id)?;
        let Subscription { principal, name, .. } = &*subscription;
        if let Some(names) = self.by_name.get_mut(principal)
            && names.get(name.as_str()) == Some(&id)
        {
            names.remove(name.as_str());
            if names.is_empty() {
                self.by_name.remove(principal);
            }
        }
        Some(subscription)
    }
}
