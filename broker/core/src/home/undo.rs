//! What a home was before the changes of a batch, for the case that it is not written.
//!
//! Invariant: of each thing that a batch changes the value before its first change is kept, and
//! nothing else is.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanal_protocol::control::InterestEntry;

use super::started::Started;
use super::{Home, Letters, MailboxId, PeerRecord, Sender, Subscription};
use crate::event::Millis;
use crate::limits::Losses;
use crate::publisher::Publisher;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UndoKey {
    Counters,
    Publisher(u64),
    Tail(MailboxId),
    Subscription(MailboxId),
    Peer(MailboxId),
    Interest(MailboxId, InterestEntry),
    Received(Sender),
    DeadLetters,
    Letters(u64),
    Losses(MailboxId),
    Time,
    Started(MailboxId),
    Notes,
}

#[derive(Debug, Clone)]
pub(super) enum UndoValue {
    Counters(u64, u64),
    Publisher(Option<Publisher>),
    Tail(Option<u64>),
    Subscription(Option<Arc<Subscription>>),
    Peer(Option<Box<PeerRecord>>),
    Interest(bool),
    Received(Option<u64>),
    DeadLetters(Option<MailboxId>),
    Letters(Option<Letters>),
    Losses(Option<Losses>),
    Time(Option<Millis>),
    Started(Option<Started>),
    Notes(bool),
}

impl Home {
    pub(super) fn restore(&mut self, key: UndoKey, value: UndoValue) {
        match (key, value) {
            (UndoKey::Counters, UndoValue::Counters(epoch, mailbox)) => {
                (self.epoch_next, self.mailbox_next) = (epoch, mailbox);
            }
            (UndoKey::Publisher(counter), UndoValue::Publisher(before)) => {
                self.set_publisher(counter, before);
            }
            (UndoKey::Tail(id), UndoValue::Tail(before)) => put_back(&mut self.tails, id, before),
            (UndoKey::Subscription(id), UndoValue::Subscription(before)) => {
                let (tail, losses) = (self.tails.get(&id).copied(), self.losses.get(&id).copied());
                let started = self.started.get(&id).copied();
                self.take_subscription(id);
                put_back(&mut self.tails, id, tail);
                put_back(&mut self.losses, id, losses);
                put_back(&mut self.started, id, started);
                if let Some(before) = before {
                    self.subscriptions.insert(id, before);
                }
            }
            (UndoKey::Peer(id), UndoValue::Peer(before)) => {
                put_back(&mut self.peers, id, before.map(|peer| *peer))
            }
            (UndoKey::Interest(id, entry), UndoValue::Interest(was_there)) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    put_back(&mut peer.interest, entry, was_there.then_some(()));
                }
            }
            (UndoKey::Received(sender), UndoValue::Received(before)) => {
                put_back(&mut self.received, sender, before);
            }
            (UndoKey::DeadLetters, UndoValue::DeadLetters(before)) => self.dead_letters = before,
            (UndoKey::Letters(first), UndoValue::Letters(before)) => {
                put_back(&mut self.letters, first, before);
            }
            (UndoKey::Time, UndoValue::Time(before)) => self.time = before,
            (UndoKey::Started(id), UndoValue::Started(before)) => put_back(&mut self.started, id, before),
            (UndoKey::Notes, UndoValue::Notes(before)) => self.are_notes_true = before,
            (UndoKey::Losses(id), UndoValue::Losses(before)) => put_back(&mut self.losses, id, before),
            _ => {}
        }
    }

    /// Keeps the value that a key had before its first change in this batch.
    pub(super) fn remember(&mut self, key: UndoKey) {
        if self.undo.contains_key(&key) {
            return;
        }
        let value = match &key {
            UndoKey::Counters => UndoValue::Counters(self.epoch_next, self.mailbox_next),
            UndoKey::Publisher(counter) => UndoValue::Publisher(self.publishers.get(counter).cloned()),
            UndoKey::Tail(id) => UndoValue::Tail(self.tails.get(id).copied()),
            UndoKey::Subscription(id) => UndoValue::Subscription(self.subscriptions.get(*id).cloned()),
            UndoKey::Peer(id) => UndoValue::Peer(self.peers.get(id).cloned().map(Box::new)),
            UndoKey::Interest(id, entry) => {
                UndoValue::Interest(self.peers.get(id).is_some_and(|peer| peer.interest.contains_key(entry)))
            }
            UndoKey::Received(sender) => UndoValue::Received(self.received.get(sender).copied()),
            UndoKey::DeadLetters => UndoValue::DeadLetters(self.dead_letters),
            UndoKey::Letters(first) => UndoValue::Letters(self.letters.get(first).cloned()),
            UndoKey::Time => UndoValue::Time(self.time),
            UndoKey::Started(id) => UndoValue::Started(self.started.get(id).copied()),
            UndoKey::Notes => UndoValue::Notes(self.are_notes_true),
            UndoKey::Losses(id) => UndoValue::Losses(self.losses.get(id).copied()),
        };
        self.undo.insert(key, value);
    }
}

fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}
