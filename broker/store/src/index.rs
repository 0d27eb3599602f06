//! Which entries each mailbox holds: 20 bytes an entry, in memory, shared with readers.
//!
//! Invariants:
//! 1. The writer changes it only with what was flushed.
//! 2. The lock of the map and that of a mailbox are held for lookups only, never over IO.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::id::{MailboxId, MailboxSequence, Position};
use crate::record::LiveEntry;

/// A mailbox in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxStats {
    /// Live entries.
    pub events: u64,
    /// Bytes of their events (an event counts in every mailbox that holds it).
    pub bytes: u64,
    /// Sequence of the first live entry; `next` when there is none.
    pub first: MailboxSequence,
    /// The lowest sequence that the next entry may have.
    pub next: MailboxSequence,
    /// Where the event of the first live entry lies.
    pub head: Option<Position>,
}

/// An entry in words of 4 bytes, so that a million of them take 20 MB and not 24.
#[derive(Clone, Copy, Debug)]
struct Slot([u32; 5]);

impl Slot {
    fn new(entry: LiveEntry) -> Slot {
        let (sequence, position) = (entry.sequence.0, entry.position.0);
        Slot([
            sequence as u32,
            (sequence >> 32) as u32,
            position as u32,
            (position >> 32) as u32,
            entry.bytes,
        ])
    }

    fn sequence(&self) -> u64 {
        u64::from(self.0[1]) << 32 | u64::from(self.0[0])
    }

    /// 0 once acked.
    fn position(&self) -> u64 {
        u64::from(self.0[3]) << 32 | u64::from(self.0[2])
    }

    fn set_position(&mut self, position: u64) {
        self.0[2] = position as u32;
        self.0[3] = (position >> 32) as u32;
    }

    fn entry(&self) -> LiveEntry {
        LiveEntry {
            sequence: MailboxSequence(self.sequence()),
            position: Position(self.position()),
            bytes: self.0[4],
        }
    }

    fn is_live(&self) -> bool {
        self.position() != 0
    }
}

/// One mailbox: entries ascending by sequence, acked ones in the middle kept as holes for a while.
#[derive(Debug)]
pub(crate) struct Mailbox {
    next: u64,
    events: u64,
    bytes: u64,
    slots: VecDeque<Slot>,
}

impl Mailbox {
    pub(crate) fn new(next: MailboxSequence) -> Mailbox {
        Mailbox { next: next.0, events: 0, bytes: 0, slots: VecDeque::new() }
    }

    pub(crate) fn next(&self) -> MailboxSequence {
        MailboxSequence(self.next)
    }

    pub(crate) fn stats(&self) -> MailboxStats {
        // The slot in front is live: `tidy`.
        let head = self.slots.front().map(Slot::entry);
        MailboxStats {
            events: self.events,
            bytes: self.bytes,
            first: head.map_or(MailboxSequence(self.next), |head| head.sequence),
            next: MailboxSequence(self.next),
            head: head.map(|head| head.position),
        }
    }

    /// Adds an entry at the end; false (and no change) when its sequence does not rise.
    pub(crate) fn push(&mut self, entry: LiveEntry) -> bool {
        if entry.sequence.0 < self.next {
            return false;
        }
        self.next = entry.sequence.0.saturating_add(1);
        self.insert_last(entry);
        true
    }

    /// Numbers below `next` are not given to entries any more.
    pub(crate) fn raise_next(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Adds an entry of a checkpoint, below `next`; false when it does not rise.
    pub(crate) fn restore(&mut self, entry: LiveEntry) -> bool {
        let rises = self.slots.back().is_none_or(|last| last.sequence() < entry.sequence.0);
        if rises && entry.sequence.0 < self.next {
            self.insert_last(entry);
            return true;
        }
        false
    }

    fn insert_last(&mut self, entry: LiveEntry) {
        self.events += 1;
        self.bytes += u64::from(entry.bytes);
        self.slots.push_back(Slot::new(entry));
    }

    /// Removes the entries from `first` to `last`, telling `freed` of each. O(log entries + removed),
    /// amortised.
    pub(crate) fn ack(&mut self, first: u64, last: u64, freed: &mut dyn FnMut(LiveEntry)) {
        let start = self.slots.partition_point(|slot| slot.sequence() < first);
        for slot in self.slots.range_mut(start..) {
            if slot.sequence() > last {
                break;
            }
            if slot.is_live() {
                freed(slot.entry());
                self.events -= 1;
                self.bytes -= u64::from(slot.0[4]);
                slot.set_position(0);
            }
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        while self.slots.front().is_some_and(|slot| !slot.is_live()) {
            self.slots.pop_front();
        }
        if self.slots.len() as u64 > 2 * self.events + 32 {
            self.slots.retain(Slot::is_live);
        }
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }

    /// Live entries from a sequence on, at most `max`. O(log entries + max), and holes.
    pub(crate) fn entries(&self, from: MailboxSequence, max: usize) -> Vec<LiveEntry> {
        let start = self.slots.partition_point(|slot| slot.sequence() < from.0);
        let live = self.slots.range(start..).filter(|slot| slot.is_live());
        live.take(max).map(Slot::entry).collect()
    }

    fn relocate(&mut self, from: Position, to: Position) {
        for slot in &mut self.slots {
            if slot.position() >= from.0 {
                slot.set_position(slot.position() - from.0 + to.0);
            }
        }
    }
}

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
