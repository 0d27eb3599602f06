//! Entries in memory: 20 bytes each, ascending by sequence, acked ones kept as holes for a while.

use std::collections::VecDeque;

use crate::id::{MailboxSequence, Position};
use crate::record::LiveEntry;

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

/// See the module. The slots at both ends are live.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: VecDeque<Slot>,
    live: usize,
}

impl Slots {
    pub(crate) fn of(entries: impl IntoIterator<Item = LiveEntry>) -> Slots {
        let slots: VecDeque<Slot> = entries.into_iter().map(Slot::new).collect();
        Slots { live: slots.len(), slots }
    }

    /// Live entries.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn first(&self) -> Option<LiveEntry> {
        self.slots.front().map(Slot::entry)
    }

    pub(crate) fn last_sequence(&self) -> Option<u64> {
        self.slots.back().map(Slot::sequence)
    }

    /// Adds an entry above all others.
    pub(crate) fn push(&mut self, entry: LiveEntry) {
        self.slots.push_back(Slot::new(entry));
        self.live += 1;
    }

    /// Removes the entries from `first` to `last`, telling `freed` of each. O(log entries + removed),
    /// amortised.
    pub(crate) fn remove(&mut self, first: u64, last: u64, freed: &mut dyn FnMut(LiveEntry)) {
        let start = self.slots.partition_point(|slot| slot.sequence() < first);
        for slot in self.slots.range_mut(start..) {
            if slot.sequence() > last {
                break;
            }
            if slot.is_live() {
                freed(slot.entry());
                slot.set_position(0);
                self.live -= 1;
            }
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.live == 0 {
            // A mailbox that holds nothing keeps nothing.
            self.slots = VecDeque::new();
            return;
        }
        while self.slots.front().is_some_and(|slot| !slot.is_live()) {
            self.slots.pop_front();
        }
        while self.slots.back().is_some_and(|slot| !slot.is_live()) {
            self.slots.pop_back();
        }
        if self.slots.len() > 2 * self.live + 32 {
            self.slots.retain(Slot::is_live);
        }
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }

    /// Live entries from a sequence on, ascending.
    pub(crate) fn from(&self, from: u64) -> impl Iterator<Item = LiveEntry> + '_ {
        let start = self.slots.partition_point(|slot| slot.sequence() < from);
        self.slots.range(start..).filter(|slot| slot.is_live()).map(Slot::entry)
    }

    /// Takes out what lies below `sequence`.
    pub(crate) fn split_below(&mut self, sequence: u64) -> Slots {
        let at = self.slots.partition_point(|slot| slot.sequence() < sequence);
        let above = self.slots.split_off(at);
        let below = std::mem::replace(&mut self.slots, above);
        let live = below.iter().filter(|slot| slot.is_live()).count();
        self.live -= live;
        self.tidy();
        let mut below = Slots { slots: below, live };
        below.tidy();
        below
    }

    /// Changes where a live entry lies; what it was before.
    pub(crate) fn set_position(&mut self, sequence: u64, position: Position) -> Option<LiveEntry> {
        let at = self.slots.partition_point(|slot| slot.sequence() < sequence);
        let slot = self.slots.get_mut(at).filter(|slot| slot.sequence() == sequence && slot.is_live())?;
        let before = slot.entry();
        slot.set_position(position.0);
        Some(before)
    }

    /// Where a live entry lies.
    pub(crate) fn position(&self, sequence: u64) -> Option<Position> {
        let first = self.from(sequence).next()?;
        (first.sequence.0 == sequence).then_some(first.position)
    }

    /// Moves what lies at `from` of the log and beyond to `to`.
    pub(crate) fn relocate(&mut self, from: Position, to: Position) {
        for slot in self.slots.iter_mut().filter(|slot| slot.position() >= from.0) {
            slot.set_position(slot.position() - from.0 + to.0);
        }
    }
}
