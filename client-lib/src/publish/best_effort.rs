//! The best-effort queue of one publish channel, without IO: written once, never kept.
//!
//! Invariants:
//! 1. Sequences count per epoch, in the order of publishing.
//! 2. Without a wish for a receipt the fate is told when the event is written (204); with one
//!    it is what the broker answers, or `Unknown` when the connection is lost first.

use std::collections::VecDeque;

use fanal_protocol::Code;

use super::slots::SlotId;
use super::window::{Fate, Pending};
use crate::error::Refused;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct BestEffort {
    queue: VecDeque<Pending>,
    /// Written, with a receipt under way: (sequence, slot, deadline).
    waiting: VecDeque<(u64, SlotId, u64)>,
    bytes: usize,
    last: u64,
}

impl BestEffort {
    /// Events without a fate, and the bytes of the bodies that are still here.
    pub(crate) fn outstanding(&self) -> (usize, usize) {
        (self.queue.len() + self.waiting.len(), self.bytes)
    }

    /// Adds an event at the end. O(1).
    pub(crate) fn push(&mut self, pending: Pending) {
        self.bytes += pending.body.len();
        self.queue.push_back(pending);
    }

    /// The next event to write, with its sequence. O(1).
    pub(crate) fn next_outgoing(&mut self, tell: &mut impl FnMut(SlotId, Fate)) -> Option<(u64, Pending)> {
        let pending = self.queue.pop_front()?;
        self.bytes -= pending.body.len();
        self.last += 1;
        let sequence = self.last;
        match pending.wants_receipt {
            true => self.waiting.push_back((sequence, pending.slot, pending.deadline_ms)),
            false => {
                tell(pending.slot, Fate::Accepted { sequence, code: Code::NothingToDo, destinations: 0 })
            }
        }
        Some((sequence, pending))
    }

    /// Takes a receipt; `refused` where the code is not one of success. False: nobody waited.
    pub(crate) fn on_receipt(
        &mut self,
        sequence: u64,
        code: Code,
        destinations: u64,
        refused: impl FnOnce() -> Refused,
        tell: &mut impl FnMut(SlotId, Fate),
    ) -> bool {
        let Ok(index) = self.waiting.binary_search_by_key(&sequence, |waiting| waiting.0) else {
            return false;
        };
        let Some((_, slot, _)) = self.waiting.remove(index) else { return false };
        tell(
            slot,
            match code.is_success() {
                true => Fate::Accepted { sequence, code, destinations },
                false => Fate::Refused(refused()),
            },
        );
        true
    }

    /// The connection is gone: what was written has an unknown fate.
    pub(crate) fn on_disconnect(&mut self, tell: &mut impl FnMut(SlotId, Fate)) {
        for (_, slot, _) in self.waiting.drain(..) {
            tell(slot, Fate::Unknown("the connection was lost before the receipt came"));
        }
    }

    /// A new epoch begins: sequences start over.
    pub(crate) fn on_new_epoch(&mut self) {
        self.last = 0;
    }

    /// The earliest time at which [`BestEffort::expire`] has something to do. O(outstanding).
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let waiting = self.waiting.iter().map(|waiting| waiting.2);
        waiting.chain(self.queue.iter().map(|pending| pending.deadline_ms)).min()
    }

    /// Gives up what is out of time. O(outstanding).
    pub(crate) fn expire(&mut self, now_ms: u64, tell: &mut impl FnMut(SlotId, Fate)) {
        self.waiting.retain(|&(_, slot, deadline_ms)| {
            let keep = deadline_ms > now_ms;
            if !keep {
                tell(slot, Fate::Unknown("no receipt came in time"));
            }
            keep
        });
        self.drop_queued(
            |pending| pending.deadline_ms <= now_ms,
            |pending| Fate::TimedOut { waited_ms: now_ms.saturating_sub(pending.started_ms), last: None },
            tell,
        );
    }

    /// Gives everything up.
    pub(crate) fn give_up_all(&mut self, unsent: &Fate, tell: &mut impl FnMut(SlotId, Fate)) {
        self.on_disconnect(tell);
        self.drop_queued(|_| true, |_| unsent.clone(), tell);
    }

    fn drop_queued(
        &mut self,
        due: impl Fn(&Pending) -> bool,
        fate: impl Fn(&Pending) -> Fate,
        tell: &mut impl FnMut(SlotId, Fate),
    ) {
        let bytes = &mut self.bytes;
        self.queue.retain(|pending| {
            let keep = !due(pending);
            if !keep {
                *bytes -= pending.body.len();
                tell(pending.slot, fate(pending));
            }
            keep
        });
    }
}
