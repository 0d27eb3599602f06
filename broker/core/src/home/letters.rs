//! What a home knows of its dead letters: whose they were, why they are there, since when.
//!
//! The events lie in one mailbox of the store, numbered without gaps as they come; here is what is
//! known of them by ranges of these numbers, so that a million letters of one cause cost as much as
//! one. Invariants:
//! 1. A number belongs to at most one range; ranges that continue each other are one.
//! 2. There are at most [`RANGES_MAX`]: a caller makes room by the oldest first.
//! 3. What is known here of a number goes in the batch in which its entry goes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Effect, Home, HomeRefusal, MailboxId, Principal, UndoKey};
use crate::event::Millis;
use crate::limits::{Keep, Losses, Reason};
use crate::record::{DeadLetterMailbox, LettersGone, LettersPut, LossesPut, Record};

/// Ranges that are kept: each costs some 150 bytes.
pub const RANGES_MAX: usize = 32_768;

/// Whose events they were.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A durable subscription's.
    Subscription {
        /// Its owner.
        principal: Principal,
        /// Its name.
        name: String,
    },
    /// A peer's.
    Peer(Principal),
}

/// Dead letters that came for one reason in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letters {
    /// Their last number; the first one is their key.
    pub last: u64,
    /// Whose they were.
    pub destination: Arc<Destination>,
    /// Why they are here.
    pub reason: Reason,
    /// How often each was sent at least, as far as the broker knows.
    pub attempts: u32,
    /// When the first of them came here.
    pub since: Millis,
    /// When the last of them came here.
    pub until: Millis,
}

/// Entries on their way to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burial {
    /// How many.
    pub events: u64,
    /// Why.
    pub reason: Reason,
    /// See [`Letters::attempts`].
    pub attempts: u32,
    /// The time.
    pub now: Millis,
    /// Longest time between the first and the last letter of one range.
    pub span_ms: Millis,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this destination only.
    pub destination: Option<Destination>,
    /// Of subscriptions of this principal only.
    pub owner: Option<Principal>,
    /// For this reason only.
    pub reason: Option<Reason>,
    /// With these numbers only, in any order; empty: all.
    pub numbers: Vec<(u64, u64)>,
}

impl Selection {
    /// The numbers that are meant: ranges that rise and do not touch each other.
    fn ranges(&self) -> Vec<(u64, u64)> {
        if self.numbers.is_empty() {
            return vec![(0, u64::MAX)];
        }
        let mut sorted: Vec<_> = self.numbers.iter().copied().filter(|(from, to)| from <= to).collect();
        sorted.sort_unstable();
        let mut out: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (from, through) in sorted {
            match out.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(through),
                _ => out.push((from, through)),
            }
        }
        out
    }
}

/// Dead letters that go back: the numbers, the mailbox, the first number there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requeued {
    /// Numbers among the dead letters.
    pub range: (u64, u64),
    /// The mailbox of their destination.
    pub to: MailboxId,
    /// The first number there; the others follow.
    pub first: u64,
}

impl Home {
    // ---- reading ----

    /// The mailbox of the dead letters, once there is one.
    pub fn dead_letters(&self) -> Option<MailboxId> {
        self.dead_letters
    }

    /// What is known of the dead letters, by their first number, ascending.
    pub fn letters(&self) -> impl DoubleEndedIterator<Item = (u64, &Letters)> {
        self.letters.iter().map(|(first, letters)| (*first, letters))
    }

    /// All mailboxes that have an owner, and the dead letters', ascending.
    pub fn mailboxes(&self) -> impl Iterator<Item = MailboxId> {
        self.tails.keys().copied()
    }

    /// As [`Home::mailboxes`], from one on. O(log mailboxes).
    pub fn mailboxes_from(&self, first: MailboxId) -> impl Iterator<Item = MailboxId> {
        self.tails.range(first..).map(|(id, _)| *id)
    }

    /// How many ranges of dead letters there are.
    pub fn letter_ranges(&self) -> usize {
        self.letters.len()
    }

    /// What a mailbox lost.
    pub fn losses(&self, mailbox: MailboxId) -> Losses {
        self.losses.get(&mailbox).copied().unwrap_or_default()
    }

    /// What the destination of a mailbox chose; a peer's and the dead letters' choose nothing.
    pub fn keep(&self, mailbox: MailboxId) -> Keep {
        self.subscriptions.get(mailbox).map(|subscription| subscription.keep).unwrap_or_default()
    }

    /// Topic filter of the subscription that has a mailbox.
    pub fn filter(&self, mailbox: MailboxId) -> Option<&str> {
        self.subscriptions.get(mailbox).map(|subscription| subscription.ask.filter.as_str())
    }

    /// Whose mailbox it is; none for the dead letters' own.
    pub fn destination(&self, mailbox: MailboxId) -> Option<Destination> {
        if let Some(subscription) = self.subscriptions.get(mailbox) {
            let (principal, name) = (subscription.principal.clone(), subscription.name.clone());
            return Some(Destination::Subscription { principal, name });
        }
        let peer = self.peers.get(&mailbox)?;
        Some(Destination::Peer(Principal { name: peer.name.clone(), authority: peer.authority }))
    }

    /// The mailbox of a destination, if it is still there. O(peers).
    pub fn mailbox_of(&self, destination: &Destination) -> Option<MailboxId> {
        match destination {
            Destination::Subscription { principal, name } => self.subscriptions.find(principal, name),
            Destination::Peer(id) => {
                let is_it = |peer: &super::PeerRecord| peer.name == id.name && peer.authority == id.authority;
                self.peers.iter().find(|(_, peer)| is_it(peer)).map(|(mailbox, _)| *mailbox)
            }
        }
    }

    /// Numbers of the dead letters that are meant, ascending, each once, with what is known of them.
    /// O(ranges log numbers + what comes out).
    pub fn select(&self, wanted: &Selection) -> Vec<(RangeInclusive<u64>, &Letters)> {
        let (mut out, numbers) = (Vec::new(), wanted.ranges());
        for (&first, letters) in self.letters.iter().filter(|(_, letters)| wanted.is_of(letters)) {
            let at = numbers.partition_point(|(_, through)| *through < first);
            let within = numbers[at..].iter().take_while(|(from, _)| *from <= letters.last);
            out.extend(
                within.map(|(from, through)| (first.max(*from)..=letters.last.min(*through), letters)),
            );
        }
        out
    }

    // ---- changing ----

    /// Makes the mailbox of the dead letters, if there is none yet.
    pub fn ensure_dead_letters(&mut self) -> MailboxId {
        if let Some(id) = self.dead_letters {
            return id;
        }
        let id = self.new_mailbox();
        self.remember(UndoKey::DeadLetters);
        self.effects.push(Effect::State(Record::from(DeadLetterMailbox { mailbox: id.0 }).encode()));
        self.dead_letters = Some(id);
        id
    }

    /// Entries of a mailbox go to the dead letters: the mailbox there and their first number.
    /// `None`, and nothing changed: there is no mailbox for them yet, it is none of a destination, or
    /// there is nothing to bury.
    pub fn bury(&mut self, from: MailboxId, burial: Burial) -> Option<(MailboxId, u64)> {
        let to = self.dead_letters.filter(|_| burial.events > 0)?;
        let destination = self.destination(from)?;
        self.remember(UndoKey::Tail(to));
        let tail = self.tails.get_mut(&to)?;
        let first = *tail;
        *tail += burial.events;
        self.count_losses(from, |losses| losses.dead_lettered[burial.reason.index()] += burial.events);
        self.add_letters(first, destination, burial);
        Some((to, first))
    }

    fn add_letters(&mut self, first: u64, destination: Destination, burial: Burial) {
        let Burial { events, reason, attempts, now, span_ms } = burial;
        let last = first + events - 1;
        let newest = self.letters.iter().next_back().map(|(at, letters)| (*at, letters));
        if let Some((at, newest)) = newest
            && newest.last + 1 == first
            && (&*newest.destination, newest.reason, newest.attempts) == (&destination, reason, attempts)
            && now.saturating_sub(newest.since) <= span_ms
        {
            self.remember(UndoKey::Letters(at));
            if let Some(letters) = self.letters.get_mut(&at) {
                letters.last = last;
                letters.until = letters.until.max(now);
            }
            return;
        }
        self.remember(UndoKey::Letters(first));
        let destination = Arc::new(destination);
        self.letters.insert(first, Letters { last, destination, reason, attempts, since: now, until: now });
    }

    /// Entries of a mailbox are dropped.
    pub fn count_dropped(&mut self, mailbox: MailboxId, events: u64, reason: Reason) {
        self.count_losses(mailbox, |losses| losses.dropped[reason.index()] += events);
    }

    fn count_losses(&mut self, mailbox: MailboxId, count: impl FnOnce(&mut Losses)) {
        self.remember(UndoKey::Losses(mailbox));
        count(self.losses.entry(mailbox).or_default());
    }

    /// Dead letters are gone. O(ranges in between).
    pub fn forget_letters(&mut self, first: u64, last: u64) {
        let before = self.letters.range(..first).next_back().map(|(at, _)| *at);
        let within: Vec<u64> = self.letters.range(first..=last).map(|(at, _)| *at).collect();
        for at in before.into_iter().chain(within) {
            self.cut_letters(at, first, last);
        }
    }

    /// Takes `first..=last` out of the range that begins at `at`.
    fn cut_letters(&mut self, at: u64, first: u64, last: u64) {
        if self.letters.get(&at).is_none_or(|letters| letters.last < first) {
            return;
        }
        self.remember(UndoKey::Letters(at));
        let Some(mut letters) = self.letters.remove(&at) else { return };
        let end = letters.last;
        if end > last {
            self.remember(UndoKey::Letters(last + 1));
            self.letters.insert(last + 1, letters.clone());
        }
        if at < first {
            letters.last = first - 1;
            self.letters.insert(at, letters);
        }
    }

    /// Sends dead letters to the end of the mailboxes that they came from.
    ///
    /// # Errors
    /// [`HomeRefusal::NoSubscription`] when a destination is no more; nothing changed.
    pub fn requeue(&mut self, wanted: &Selection) -> Result<Vec<Requeued>, HomeRefusal> {
        let mut chosen = Vec::new();
        for (range, letters) in self.select(wanted) {
            let Some(to) = self.mailbox_of(&letters.destination) else {
                return Err(HomeRefusal::NoSubscription { name: letters.destination.name().to_owned() });
            };
            chosen.push((range, to));
        }
        let mut out = Vec::with_capacity(chosen.len());
        for (range, to) in chosen {
            let (from, through) = (*range.start(), *range.end());
            self.remember(UndoKey::Tail(to));
            let Some(tail) = self.tails.get_mut(&to) else { continue };
            out.push(Requeued { range: (from, through), to, first: *tail });
            *tail += through - from + 1;
            self.forget_letters(from, through);
        }
        Ok(out)
    }

    /// The records of what changed in a batch.
    pub(super) fn letters_effect(&self, first: u64) -> Effect {
        Effect::State(match self.letters.get(&first) {
            Some(letters) => put_letters(first, letters),
            None => Record::from(LettersGone { first }).encode(),
        })
    }

    pub(super) fn losses_effect(&self, mailbox: MailboxId) -> Option<Effect> {
        // They go with the mailbox, and so need no record of their own then.
        self.tails.contains_key(&mailbox).then(|| Effect::State(put_losses(mailbox, &self.losses(mailbox))))
    }

    /// All of it as records, for a checkpoint.
    pub(super) fn snapshot_letters(&self, out: &mut Vec<Vec<u8>>) {
        out.extend(self.dead_letters.map(|id| Record::from(DeadLetterMailbox { mailbox: id.0 }).encode()));
        out.extend(self.losses.iter().map(|(id, losses)| put_losses(*id, losses)));
        out.extend(self.letters.iter().map(|(first, letters)| put_letters(*first, letters)));
    }

    pub(super) fn apply_dead_letters(&mut self, put: DeadLetterMailbox) {
        let id = MailboxId(put.mailbox);
        self.mailbox_next = self.mailbox_next.max(put.mailbox + 1);
        self.tails.entry(id).or_insert(1);
        self.dead_letters = Some(id);
    }

    /// `None`: a reason that this version does not know.
    pub(super) fn apply_letters(&mut self, put: LettersPut) -> Option<()> {
        let reason = *Reason::ALL.get(usize::from(put.reason))?;
        let principal = Principal { name: put.principal, authority: put.authority };
        let destination = match put.is_peer {
            true => Destination::Peer(principal),
            false => Destination::Subscription { principal, name: put.name },
        };
        let LettersPut { first, last, attempts, since, until, .. } = put;
        let destination = Arc::new(destination);
        self.letters.insert(first, Letters { last, destination, reason, attempts, since, until });
        Some(())
    }

    pub(super) fn apply_losses(&mut self, put: LossesPut) {
        let list = |counts: Vec<u64>| {
            let mut out = [0; 3];
            out.iter_mut().zip(counts).for_each(|(to, from)| *to = from);
            out
        };
        let losses = Losses { dead_lettered: list(put.dead_lettered), dropped: list(put.dropped) };
        self.losses.insert(MailboxId(put.mailbox), losses);
    }
}

impl Destination {
    /// Its name: the subscription's or the peer's.
    pub fn name(&self) -> &str {
        match self {
            Destination::Subscription { name, .. } => name,
            Destination::Peer(peer) => &peer.name,
        }
    }
}

impl Selection {
    fn is_of(&self, letters: &Letters) -> bool {
        let owner = match &*letters.destination {
            Destination::Subscription { principal, .. } => Some(principal),
            Destination::Peer(_) => None,
        };
        self.destination.as_ref().is_none_or(|wanted| *wanted == *letters.destination)
            && self.owner.as_ref().is_none_or(|wanted| Some(wanted) == owner)
            && self.reason.is_none_or(|wanted| wanted == letters.reason)
    }
}

fn put_letters(first: u64, letters: &Letters) -> Vec<u8> {
    let Letters { last, destination, reason, attempts, since, until } = letters;
    let (principal, name, is_peer) = match &**destination {
        Destination::Subscription { principal, name } => (principal, name.clone(), false),
        Destination::Peer(peer) => (peer, String::new(), true),
    };
    let record = LettersPut {
        first,
        last: *last,
        principal: principal.name.clone(),
        authority: principal.authority,
        name,
        is_peer,
        reason: reason.index() as u8,
        attempts: *attempts,
        since: *since,
        until: *until,
    };
    Record::from(record).encode()
}

fn put_losses(mailbox: MailboxId, losses: &Losses) -> Vec<u8> {
    let Losses { dead_lettered, dropped } = losses;
    let record =
        LossesPut { mailbox: mailbox.0, dead_lettered: dead_lettered.to_vec(), dropped: dropped.to_vec() };
    Record::from(record).encode()
}
