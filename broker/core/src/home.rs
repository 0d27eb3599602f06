//! The durable state of a home: publishers, durable subscriptions, peers, link marks.
//!
//! Invariants:
//! 1. Every change goes through a method here and is undone by [`Home::rollback`] or kept by
//!    [`Home::commit`]; the log writer calls one of them for each batch. A refusal changes nothing.
//! 2. [`Home::drain_effects`] after the changes of a batch gives all that the batch must hold for
//!    the state to be rebuilt; [`Home::recover`] of those records gives an equal home.
//! 3. Mailbox ids and epoch counters are never used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fanal_protocol::control::InterestEntry;
use fanal_protocol::{Epoch, Fingerprint, PublisherId, StoreId};
use thiserror::Error;

use crate::age::MARK_MS;
use crate::event::Millis;
use crate::limits::{Keep, Limits, Losses, WhenFull};
use crate::publisher::{Publisher, Verdict};
use crate::record::{
    Accepted, Counters, InterestAdded, InterestRemoved, LettersGone, PeerPut, PublisherPut, PublisherRemoved,
    Received, Record, SubscriptionPut, SubscriptionRemoved, TimeMark,
};

mod idle;
mod letters;
mod started;
mod subscriptions;
mod undo;

use started::Started;
use subscriptions::Subscriptions;
use undo::{UndoKey, UndoValue};

pub use idle::{EPOCH_IDLE_DAYS, EPOCHS_PER_PRINCIPAL_MAX};
pub use letters::{Burial, Destination, Letters, RANGES_MAX, Requeued, Selection};

/// Names a mailbox; never reused in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub u64);

/// A principal: name and CA, the same pair that identifies a publisher.
pub type Principal = PublisherId;

/// What the log must hold for the state to survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A mailbox begins.
    CreateMailbox(MailboxId),
    /// A mailbox ends, with all that it holds.
    RemoveMailbox(MailboxId),
    /// A state record.
    State(Vec<u8>),
}

/// What a durable subscription asks for, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// Topic filter.
    pub filter: String,
    /// Predicate in canonical text.
    pub predicate: Option<String>,
    /// Excluded topic filters, sorted.
    pub except: Vec<String>,
    /// Predicate in strict mode, in canonical text, in place of `predicate`.
    pub strict: Option<String>,
}

impl Ask {
    /// The predicate, in whichever mode.
    pub fn any_predicate(&self) -> Option<&str> {
        self.predicate.as_deref().or(self.strict.as_deref())
    }
}

/// A durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Whose it is.
    pub principal: Principal,
    /// Its name, unique per principal.
    pub name: String,
    /// What it asks for.
    pub ask: Ask,
    /// How much its mailbox may hold.
    pub keep: Keep,
}

/// What a request says of a mailbox's limits: what is absent is not said, and 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepPatch {
    /// [`Limits::bytes`].
    pub bytes: Option<u64>,
    /// [`Limits::events`].
    pub events: Option<u64>,
    /// [`Limits::age_ms`].
    pub age_ms: Option<u64>,
    /// [`Keep::when_full`].
    pub when_full: Option<WhenFull>,
}

impl KeepPatch {
    /// What comes of it.
    pub fn apply(&self, keep: &Keep) -> Keep {
        let limit = |said: Option<u64>, before: Option<u64>| match said {
            Some(0) => None,
            Some(limit) => Some(limit),
            None => before,
        };
        let before = &keep.limits;
        let limits = Limits {
            bytes: limit(self.bytes, before.bytes),
            events: limit(self.events, before.events),
            age_ms: limit(self.age_ms, before.age_ms),
        };
        Keep { limits, when_full: self.when_full.unwrap_or(keep.when_full) }
    }
}

impl From<Keep> for KeepPatch {
    /// Says all of it.
    fn from(Keep { limits, when_full }: Keep) -> KeepPatch {
        let said = |limit: Option<u64>| Some(limit.unwrap_or(0));
        KeepPatch {
            bytes: said(limits.bytes),
            events: said(limits.events),
            age_ms: said(limits.age_ms),
            when_full: Some(when_full),
        }
    }
}

/// What a request says of a durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is.
    pub principal: Principal,
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub ask: Ask,
    /// How much its mailbox may hold.
    pub keep: KeepPatch,
}

/// A peer that asked for durable interest at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// Its name.
    pub name: String,
    /// Its CA.
    pub authority: Fingerprint,
    /// Its durable interest; ids are 0.
    pub interest: BTreeMap<InterestEntry, ()>,
}

/// Who numbered the events of a link: the peer by its certificate, its store, and the store's
/// recovery epoch. The identity is part of it, so that nobody can speak for another's store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The link's authenticated peer.
    pub peer: Principal,
    /// Its store.
    pub store: StoreId,
    /// The store's recovery epoch.
    pub recovery_epoch: u64,
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HomeRefusal {
    /// Another filter under the same name.
    #[error(
        "durable subscription `{name}` exists with another filter: {existing}; resume it with that filter, or change it with `fanal subscriptions update {name}`"
    )]
    FilterDiffers {
        /// The subscription.
        name: String,
        /// The filter that it has.
        existing: String,
    },
    /// Other limits under the same name.
    #[error(
        "durable subscription `{name}` exists with other limits: {existing}; resume it with these or without any, or change them with `fanal subscriptions update {name}`"
    )]
    LimitsDiffer {
        /// The subscription.
        name: String,
        /// The limits that it has.
        existing: String,
    },
    /// No such durable subscription.
    #[error("there is no durable subscription `{name}` of this principal: `fanal subscriptions` lists them")]
    NoSubscription {
        /// The name asked for.
        name: String,
    },
    /// The principal holds as many epochs as it may, all with a connected channel.
    #[error("{limit} publish channels of this principal are open, and no more may be: close some")]
    TooManyEpochs {
        /// Most that it may hold.
        limit: usize,
    },
    /// The epoch to resume is not known here, or not this principal's.
    #[error(
        "publish epoch {epoch} is not known at this home: what was outstanding is unknown, open a new epoch"
    )]
    UnknownEpoch {
        /// The epoch asked for.
        epoch: Epoch,
    },
}

/// The log holds something that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecoverError {
    /// An unknown or malformed record.
    #[error(
        "state record {index} of {total} (kind {kind}) cannot be read: it was written by a later version, or is damaged; start the version that wrote it"
    )]
    Record {
        /// Which record, from 0.
        index: usize,
        /// How many there are.
        total: usize,
        /// Its first byte.
        kind: u8,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Home {
    store: StoreId,
    recovery_epoch: u64,
    epoch_next: u64,
    mailbox_next: u64,
    publishers: BTreeMap<u64, Publisher>,
    /// The counters of `publishers` by whose they are.
    epochs_of: BTreeMap<Principal, BTreeSet<u64>>,
    tails: BTreeMap<MailboxId, u64>,
    subscriptions: Subscriptions,
    peers: BTreeMap<MailboxId, PeerRecord>,
    received: BTreeMap<Sender, u64>,
    dead_letters: Option<MailboxId>,
    letters: BTreeMap<u64, Letters>,
    losses: BTreeMap<MailboxId, Losses>,
    time: Option<Millis>,
    started: BTreeMap<MailboxId, Started>,
    are_notes_true: bool,
    orphans: Vec<MailboxId>,
    undo: BTreeMap<UndoKey, UndoValue>,
    effects: Vec<Effect>,
}

impl Home {
    /// An empty home of a store.
    pub fn new(store: StoreId, recovery_epoch: u64) -> Self {
        Home {
            store,
            recovery_epoch,
            epoch_next: 1,
            mailbox_next: 1,
            publishers: BTreeMap::new(),
            epochs_of: BTreeMap::new(),
            tails: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            peers: BTreeMap::new(),
            received: BTreeMap::new(),
            dead_letters: None,
            letters: BTreeMap::new(),
            losses: BTreeMap::new(),
            time: None,
            started: BTreeMap::new(),
            are_notes_true: false,
            orphans: Vec::new(),
            undo: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Rebuilds a home from the state records in order, and from the tails (next sequences) of
    /// the store's mailboxes. O(records).
    ///
    /// # Errors
    /// [`RecoverError`]: nothing may be served then.
    pub fn recover(
        store: StoreId,
        recovery_epoch: u64,
        records: &[Vec<u8>],
        tails: impl IntoIterator<Item = (MailboxId, u64)>,
    ) -> Result<Self, RecoverError> {
        let mut home = Home::new(store, recovery_epoch);
        let total = records.len();
        for (index, bytes) in records.iter().enumerate() {
            let kind = bytes.first().copied().unwrap_or_default();
            let unreadable = || RecoverError::Record { index, total, kind };
            let record = Record::decode(bytes).ok_or_else(unreadable)?;
            home.apply(record).ok_or_else(unreadable)?;
        }
        for (mailbox, tail) in tails {
            home.mailbox_next = home.mailbox_next.max(mailbox.0 + 1);
            let has_owner = home.subscriptions.get(mailbox).is_some() || home.peers.contains_key(&mailbox);
            if has_owner || home.dead_letters == Some(mailbox) {
                home.tails.insert(mailbox, tail);
            } else {
                home.orphans.push(mailbox);
            }
        }
        Ok(home)
    }

    /// `None`: it says something that this version does not know.
    fn apply(&mut self, record: Record) -> Option<()> {
        match record {
            Record::Counters(Counters { epoch, mailbox }) => {
                self.epoch_next = self.epoch_next.max(epoch);
                self.mailbox_next = self.mailbox_next.max(mailbox);
            }
            Record::PublisherPut(put) => {
                let id = PublisherId { name: put.name, authority: put.authority };
                let (next, floor, skips, used_day) = (put.next, put.floor, put.skips, put.used_day);
                self.set_publisher(put.counter, Some(Publisher { id, next, floor, skips, used_day }));
                self.epoch_next = self.epoch_next.max(put.counter + 1);
            }
            Record::Accepted(Accepted { counter, next }) => {
                if let Some(publisher) = self.publishers.get_mut(&counter) {
                    publisher.next = next;
                }
            }
            Record::PublisherRemoved(PublisherRemoved { counter }) => self.set_publisher(counter, None),
            Record::SubscriptionPut(put) => self.apply_subscription(put),
            Record::SubscriptionRemoved(SubscriptionRemoved { mailbox }) => {
                self.take_subscription(MailboxId(mailbox));
            }
            Record::PeerPut(PeerPut { mailbox, name, authority }) => {
                let id = MailboxId(mailbox);
                self.mailbox_next = self.mailbox_next.max(mailbox + 1);
                self.tails.entry(id).or_insert(1);
                self.peers.entry(id).or_insert(PeerRecord { name, authority, interest: BTreeMap::new() });
            }
            Record::InterestAdded(InterestAdded { mailbox, entry }) => {
                if let Some(peer) = self.peers.get_mut(&MailboxId(mailbox)) {
                    peer.interest.insert(entry, ());
                }
            }
            Record::InterestRemoved(InterestRemoved { mailbox, entry }) => {
                if let Some(peer) = self.peers.get_mut(&MailboxId(mailbox)) {
                    peer.interest.remove(&entry);
                }
            }
            Record::Received(Received { store, recovery_epoch, through, name, authority }) => {
                let peer = Principal { name, authority };
                self.received.insert(Sender { peer, store, recovery_epoch }, through);
            }
            Record::DeadLetterMailbox(put) => self.apply_dead_letters(put),
            Record::LettersPut(put) => return self.apply_letters(put),
            Record::LettersGone(LettersGone { first }) => drop(self.letters.remove(&first)),
            Record::LossesPut(put) => self.apply_losses(put),
            Record::TimeMark(TimeMark { at }) => self.time = Some(at),
            Record::StartedPut(put) => self.apply_started(put),
            Record::NotedEpoch(noted) => self.apply_noted_epoch(noted),
        }
        Some(())
    }

    fn apply_subscription(&mut self, put: SubscriptionPut) {
        let id = MailboxId(put.mailbox);
        let principal = Principal { name: put.principal, authority: put.authority };
        let SubscriptionPut { filter, predicate, except, strict, .. } = put;
        let ask = Ask { filter, predicate, except, strict };
        let limits = Limits { bytes: put.max_bytes, events: put.max_events, age_ms: put.max_age_ms };
        let when_full = if put.drops_oldest { WhenFull::DropOldest } else { WhenFull::DeadLetter };
        let keep = Keep { limits, when_full };
        self.mailbox_next = self.mailbox_next.max(put.mailbox + 1);
        self.tails.entry(id).or_insert(1);
        self.subscriptions.insert(id, Arc::new(Subscription { principal, name: put.name, ask, keep }));
    }

    fn take_subscription(&mut self, id: MailboxId) -> Option<Arc<Subscription>> {
        let subscription = self.subscriptions.remove(id)?;
        self.tails.remove(&id);
        self.losses.remove(&id);
        self.started.remove(&id);
        Some(subscription)
    }

    // ---- reading ----

    /// The durable subscriptions by mailbox.
    pub fn subscriptions(&self) -> impl Iterator<Item = (MailboxId, &Arc<Subscription>)> {
        self.subscriptions.iter()
    }

    /// The durable subscription of a mailbox.
    pub fn subscription(&self, mailbox: MailboxId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(mailbox)
    }

    /// The peers that have a mailbox.
    pub fn peers(&self) -> impl Iterator<Item = (MailboxId, &PeerRecord)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    /// How many publish epochs are known.
    pub fn epochs(&self) -> usize {
        self.publishers.len()
    }

    /// Next sequence of a mailbox.
    pub fn tail(&self, mailbox: MailboxId) -> Option<u64> {
        self.tails.get(&mailbox).copied()
    }

    /// Highest mailbox sequence recorded from a sender; 0: none.
    pub fn received_through(&self, sender: &Sender) -> u64 {
        self.received.get(sender).copied().unwrap_or(0)
    }

    /// Whether a durable subscription exists.
    pub fn has_subscription(&self, principal: &Principal, name: &str) -> bool {
        self.subscriptions.find(principal, name).is_some()
    }

    /// Whether a peer has a mailbox.
    pub fn has_peer(&self, name: &str, authority: Fingerprint) -> bool {
        self.peers.values().any(|peer| peer.name == name && peer.authority == authority)
    }

    /// Mailboxes of the store that nothing here knows. Damage can make such; they are kept.
    pub fn orphans(&self) -> &[MailboxId] {
        &self.orphans
    }

    /// The whole state as records, for a checkpoint.
    pub fn snapshot(&self) -> Vec<Vec<u8>> {
        let mut out =
            vec![Record::from(Counters { epoch: self.epoch_next, mailbox: self.mailbox_next }).encode()];
        out.extend(self.publishers.iter().map(|(counter, publisher)| put_publisher(*counter, publisher)));
        out.extend(self.subscriptions.iter().map(|(id, subscription)| put_subscription(id, subscription)));
        for (id, peer) in &self.peers {
            out.push(put_peer(*id, peer));
            let added = |entry: &InterestEntry| InterestAdded { mailbox: id.0, entry: entry.clone() };
            out.extend(peer.interest.keys().map(|entry| Record::from(added(entry)).encode()));
        }
        out.extend(self.received.iter().map(|(sender, through)| put_received(sender, *through)));
        self.snapshot_letters(&mut out);
        self.snapshot_started(&mut out);
        out.extend(self.time.map(|at| Record::from(TimeMark { at }).encode()));
        out
    }

    // ---- publishing ----

    /// Issues a new epoch. O(log epochs).
    pub fn open_epoch(&mut self, publisher: &PublisherId) -> Epoch {
        let counter = self.epoch_next;
        self.remember(UndoKey::Counters);
        self.remember(UndoKey::Publisher(counter));
        self.epoch_next += 1;
        let state = Publisher { used_day: self.today(), ..Publisher::new(publisher.clone()) };
        self.effects.push(Effect::State(put_publisher(counter, &state)));
        self.set_publisher(counter, Some(state));
        Epoch { store: self.store, recovery_epoch: self.recovery_epoch, counter }
    }

    /// Finds an epoch again: its next sequence.
    ///
    /// # Errors
    /// [`HomeRefusal::UnknownEpoch`].
    pub fn resume_epoch(&self, publisher: &PublisherId, epoch: Epoch) -> Result<u64, HomeRefusal> {
        let known = self.is_own(epoch).then(|| self.publishers.get(&epoch.counter)).flatten();
        match known {
            Some(state) if state.id == *publisher => Ok(state.next),
            _ => Err(HomeRefusal::UnknownEpoch { epoch }),
        }
    }

    /// Forgets an epoch: nothing of it is outstanding.
    pub fn close_epoch(&mut self, epoch: Epoch) {
        if self.is_own(epoch) && self.publishers.contains_key(&epoch.counter) {
            self.close_counter(epoch.counter);
        }
    }

    fn close_counter(&mut self, counter: u64) {
        self.remember(UndoKey::Publisher(counter));
        self.set_publisher(counter, None);
        self.effects.push(Effect::State(Record::from(PublisherRemoved { counter }).encode()));
    }

    fn set_publisher(&mut self, counter: u64, state: Option<Publisher>) {
        if let Some(state) = &state {
            self.epochs_of.entry(state.id.clone()).or_default().insert(counter);
        }
        let before = match state {
            Some(state) => self.publishers.insert(counter, state),
            None => self.publishers.remove(&counter),
        };
        // A counter is one principal's for good.
        if let Some(before) = before
            && !self.publishers.contains_key(&counter)
            && let Some(held) = self.epochs_of.get_mut(&before.id)
        {
            held.remove(&counter);
            if held.is_empty() {
                self.epochs_of.remove(&before.id);
            }
        }
    }

    fn is_own(&self, epoch: Epoch) -> bool {
        (epoch.store, epoch.recovery_epoch) == (self.store, self.recovery_epoch)
    }

    /// Judges one published sequence. O(log epochs).
    pub fn publish(&mut self, epoch: Epoch, sequence: u64) -> Verdict {
        if !self.is_own(epoch) || !self.publishers.contains_key(&epoch.counter) {
            return Verdict::UnknownEpoch;
        }
        self.remember(UndoKey::Publisher(epoch.counter));
        let today = self.today();
        self.publishers.get_mut(&epoch.counter).map_or(Verdict::UnknownEpoch, |state| {
            state.used_day = today;
            state.accept(sequence)
        })
    }

    /// What [`Home::publish`] would say; nothing is changed.
    pub fn foresee(&self, epoch: Epoch, sequence: u64) -> Verdict {
        let known = self.is_own(epoch).then(|| self.publishers.get(&epoch.counter)).flatten();
        known.map_or(Verdict::UnknownEpoch, |state| state.clone().accept(sequence))
    }

    /// A publisher gives up sequences.
    pub fn skip(&mut self, epoch: Epoch, from: u64, through: u64) {
        if self.is_own(epoch) && self.publishers.contains_key(&epoch.counter) {
            self.remember(UndoKey::Publisher(epoch.counter));
            if let Some(state) = self.publishers.get_mut(&epoch.counter) {
                state.skip(from, through);
            }
        }
    }

    /// The next sequence of a mailbox for one more entry; `None`: the mailbox is gone.
    pub fn enqueue(&mut self, mailbox: MailboxId) -> Option<u64> {
        if !self.tails.contains_key(&mailbox) {
            return None;
        }
        self.remember(UndoKey::Tail(mailbox));
        let tail = self.tails.get_mut(&mailbox)?;
        let sequence = *tail;
        *tail += 1;
        Some(sequence)
    }

    // ---- links ----

    /// Judges a mailbox sequence that came over a link. `Accept` moves the mark on; `Blocked`
    /// means that sequences before it are missing: the link is broken.
    pub fn receive(&mut self, sender: &Sender, sequence: u64) -> Verdict {
        let through = self.received_through(sender);
        if sequence <= through {
            return Verdict::Duplicate;
        }
        if sequence != through + 1 {
            return Verdict::Blocked { by: through + 1 };
        }
        self.remember(UndoKey::Received(sender.clone()));
        self.received.insert(sender.clone(), sequence);
        Verdict::Accept
    }

    /// The sender passes over `from..=through`. False: something before `from` is missing.
    pub fn receive_hole(&mut self, sender: &Sender, from: u64, through: u64) -> bool {
        let mark = self.received_through(sender);
        if from > mark + 1 || through == u64::MAX {
            return false;
        }
        if through > mark {
            self.remember(UndoKey::Received(sender.clone()));
            self.received.insert(sender.clone(), through);
        }
        true
    }

    // ---- subscriptions ----

    /// Finds or makes a durable subscription: its mailbox, and whether it existed.
    ///
    /// # Errors
    /// [`HomeRefusal::FilterDiffers`]; [`HomeRefusal::LimitsDiffer`] where it says any.
    pub fn put_subscription(&mut self, wanted: Wanted) -> Result<(MailboxId, bool), HomeRefusal> {
        let keep = wanted.keep.apply(&Keep::default());
        if let Some(id) = self.subscriptions.find(&wanted.principal, &wanted.name)
            && let Some(existing) = self.subscriptions.get(id)
        {
            let name = wanted.name;
            if existing.ask != wanted.ask {
                return Err(HomeRefusal::FilterDiffers { name, existing: describe(&existing.ask) });
            }
            if wanted.keep != KeepPatch::default() && existing.keep != keep {
                return Err(HomeRefusal::LimitsDiffer { name, existing: describe_keep(&existing.keep) });
            }
            return Ok((id, true));
        }
        let Wanted { principal, name, ask, .. } = wanted;
        let id = self.new_mailbox();
        self.set_subscription(id, Subscription { principal, name, ask, keep });
        Ok((id, false))
    }

    /// Gives a durable subscription another filter, and other limits where they are said; what is
    /// in its mailbox stays.
    ///
    /// # Errors
    /// [`HomeRefusal::NoSubscription`].
    pub fn update_subscription(&mut self, wanted: Wanted) -> Result<MailboxId, HomeRefusal> {
        let id = self.find_subscription(&wanted.principal, &wanted.name)?;
        let keep = wanted.keep.apply(&self.keep(id));
        let Wanted { principal, name, ask, .. } = wanted;
        self.set_subscription(id, Subscription { principal, name, ask, keep });
        Ok(id)
    }

    fn set_subscription(&mut self, id: MailboxId, subscription: Subscription) {
        self.remember(UndoKey::Subscription(id));
        self.effects.push(Effect::State(put_subscription(id, &subscription)));
        self.subscriptions.insert(id, Arc::new(subscription));
    }

    /// Removes a durable subscription and its mailbox.
    ///
    /// # Errors
    /// [`HomeRefusal::NoSubscription`].
    pub fn remove_subscription(
        &mut self,
        principal: &Principal,
        name: &str,
    ) -> Result<MailboxId, HomeRefusal> {
        let id = self.find_subscription(principal, name)?;
        self.remember(UndoKey::Subscription(id));
        self.remember(UndoKey::Tail(id));
        self.remember(UndoKey::Losses(id));
        self.remember(UndoKey::Started(id));
        self.take_subscription(id);
        let record = Record::from(SubscriptionRemoved { mailbox: id.0 });
        self.effects.push(Effect::State(record.encode()));
        self.effects.push(Effect::RemoveMailbox(id));
        Ok(id)
    }

    fn find_subscription(&self, principal: &Principal, name: &str) -> Result<MailboxId, HomeRefusal> {
        let found = self.subscriptions.find(principal, name);
        found.ok_or_else(|| HomeRefusal::NoSubscription { name: name.to_owned() })
    }

    fn new_mailbox(&mut self) -> MailboxId {
        self.remember(UndoKey::Counters);
        let id = MailboxId(self.mailbox_next);
        self.mailbox_next += 1;
        self.remember(UndoKey::Tail(id));
        self.tails.insert(id, 1);
        self.effects.push(Effect::CreateMailbox(id));
        id
    }

    // ---- peers ----

    /// Finds or makes the mailbox of a peer.
    pub fn ensure_peer(&mut self, name: &str, authority: Fingerprint) -> MailboxId {
        let known = self.peers.iter().find(|(_, peer)| peer.name == name && peer.authority == authority);
        if let Some((id, _)) = known {
            return *id;
        }
        let id = self.new_mailbox();
        self.remember(UndoKey::Peer(id));
        let peer = PeerRecord { name: name.to_owned(), authority, interest: BTreeMap::new() };
        self.effects.push(Effect::State(put_peer(id, &peer)));
        self.peers.insert(id, peer);
        id
    }

    /// Changes a peer's durable interest.
    pub fn change_interest(&mut self, peer: MailboxId, add: Vec<InterestEntry>, remove: Vec<InterestEntry>) {
        for entry in remove {
            self.set_interest(peer, InterestEntry { id: 0, ..entry }, false);
        }
        for entry in add {
            self.set_interest(peer, InterestEntry { id: 0, ..entry }, true);
        }
    }

    fn set_interest(&mut self, mailbox: MailboxId, entry: InterestEntry, wanted: bool) {
        let present = self.peers.get(&mailbox).map(|peer| peer.interest.contains_key(&entry));
        if present != Some(!wanted) {
            return;
        }
        self.remember(UndoKey::Interest(mailbox, entry.clone()));
        let Some(peer) = self.peers.get_mut(&mailbox) else { return };
        let record = if wanted {
            peer.interest.insert(entry.clone(), ());
            Record::from(InterestAdded { mailbox: mailbox.0, entry })
        } else {
            peer.interest.remove(&entry);
            Record::from(InterestRemoved { mailbox: mailbox.0, entry })
        };
        self.effects.push(Effect::State(record.encode()));
    }

    // ---- time ----

    /// What time it was when that was last written down ([`crate::age`]).
    pub fn time(&self) -> Option<Millis> {
        self.time
    }

    /// Writes the time down, once in a while.
    pub fn note_time(&mut self, now: Millis) {
        if self.time.is_none_or(|at| at.saturating_add(MARK_MS) <= now) {
            self.remember(UndoKey::Time);
            self.time = Some(now);
            self.effects.push(Effect::State(Record::from(TimeMark { at: now }).encode()));
        }
    }

    // ---- batches ----

    /// All that the batch must hold for the changes since the last commit or rollback.
    pub fn drain_effects(&mut self) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.effects);
        for (key, before) in &self.undo {
            match (key, before) {
                (UndoKey::Publisher(counter), UndoValue::Publisher(Some(before))) => {
                    if let Some(now) = self.publishers.get(counter)
                        && now != before
                    {
                        effects.push(Effect::State(changed_publisher(*counter, before, now)));
                    }
                }
                (UndoKey::Publisher(counter), UndoValue::Publisher(None)) => {
                    if let Some(now) = self.publishers.get(counter)
                        && now.next > 1
                    {
                        effects.push(Effect::State(put_publisher(*counter, now)));
                    }
                }
                (UndoKey::Received(sender), _) => {
                    effects.push(Effect::State(put_received(sender, self.received_through(sender))));
                }
                (UndoKey::Letters(first), _) => effects.push(self.letters_effect(*first)),
                (UndoKey::Losses(id), _) => effects.extend(self.losses_effect(*id)),
                _ => {}
            }
        }
        effects
    }

    /// The batch is durable: its changes stay.
    pub fn commit(&mut self) {
        self.undo.clear();
        self.effects.clear();
    }

    /// The batch was not written: its changes never were. O(changes).
    pub fn rollback(&mut self) {
        self.effects.clear();
        for (key, value) in std::mem::take(&mut self.undo) {
            self.restore(key, value);
        }
    }
}

fn put_publisher(counter: u64, state: &Publisher) -> Vec<u8> {
    let Publisher { id, next, floor, skips, used_day } = state.clone();
    let record =
        PublisherPut { counter, name: id.name, authority: id.authority, next, floor, skips, used_day };
    Record::from(record).encode()
}

fn changed_publisher(counter: u64, before: &Publisher, now: &Publisher) -> Vec<u8> {
    if (before.floor, &before.skips, before.used_day) == (now.floor, &now.skips, now.used_day) {
        return Record::from(Accepted { counter, next: now.next }).encode();
    }
    put_publisher(counter, now)
}

fn put_subscription(id: MailboxId, subscription: &Subscription) -> Vec<u8> {
    let Subscription { principal, name, ask, keep } = subscription.clone();
    let record = SubscriptionPut {
        mailbox: id.0,
        principal: principal.name,
        authority: principal.authority,
        name,
        filter: ask.filter,
        predicate: ask.predicate,
        except: ask.except,
        strict: ask.strict,
        max_bytes: keep.limits.bytes,
        max_events: keep.limits.events,
        max_age_ms: keep.limits.age_ms,
        drops_oldest: keep.when_full == WhenFull::DropOldest,
    };
    Record::from(record).encode()
}

fn put_peer(id: MailboxId, peer: &PeerRecord) -> Vec<u8> {
    Record::from(PeerPut { mailbox: id.0, name: peer.name.clone(), authority: peer.authority }).encode()
}

fn put_received(sender: &Sender, through: u64) -> Vec<u8> {
    let Sender { peer, store, recovery_epoch } = sender.clone();
    let record = Received { store, recovery_epoch, through, name: peer.name, authority: peer.authority };
    Record::from(record).encode()
}

/// Limits in words, for messages.
pub fn describe_keep(keep: &Keep) -> String {
    let Keep { limits, when_full } = keep;
    let limit = |flag: &str, limit: Option<u64>, unit: &str| limit.map(|n| format!("{flag} {n}{unit}"));
    let mut parts: Vec<String> = [
        limit("--max-bytes", limits.bytes, ""),
        limit("--max-events", limits.events, ""),
        limit("--max-age", limits.age_ms, "ms"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if *when_full == WhenFull::DropOldest {
        parts.push("--when-full drop-oldest".into());
    }
    if parts.is_empty() { "none of its own".into() } else { parts.join(" ") }
}

/// A filter in words, for messages.
pub fn describe(ask: &Ask) -> String {
    let mut text = format!("'{}'", ask.filter);
    if let Some(predicate) = ask.any_predicate() {
        text.push_str(&format!(" --where \"{predicate}\""));
    }
    if ask.strict.is_some() {
        text.push_str(" --strict");
    }
    for except in &ask.except {
        text.push_str(&format!(" --except '{except}'"));
    }
    text
}

#[cfg(test)]
mod tests;
