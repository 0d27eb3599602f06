//! The at-least-once publish window: go-back-N, without IO, clock or threads (PROTOCOL.md 5.6).
//!
//! An event waits in `queue` without a sequence until it is first written; then it is in
//! `flying` under its sequence until the broker has answered. `cursor` is the sequence that is
//! written next. Invariants:
//! 1. Sequences are given in the order of [`Window::push`], without holes; `flying` is
//!    contiguous from `first`.
//! 2. What stands at or beyond `cursor` is certainly not stored: it was never written on this
//!    connection, or everything from a refused sequence onward was refused with it.
//! 3. A refusal moves `cursor` back to the refused sequence. What was given up by then is
//!    announced by a skip in its place, everything else is written again, in order.
//! 4. Each event has exactly one fate, told once; a `Blocked` (425) is never a fate.
//! 5. A body is kept until the event's fate is known, and no longer.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fanal_protocol::Code;

use super::slots::SlotId;
use crate::error::Refused;

/// First wait after a refusal that says "later" without a time, in milliseconds.
const RETRY_MS_FIRST: u64 = 50;
/// Longest such wait, in milliseconds.
const RETRY_MS_MAX: u64 = 2_000;

/// An event on its way, as both classes hold it.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The topic, interned.
    pub(crate) topic: Arc<str>,
    /// The encoded body.
    pub(crate) body: Bytes,
    /// When its TTL ends, in milliseconds of the caller's clock.
    pub(crate) expires_at_ms: Option<u64>,
    /// When the publish was asked for.
    pub(crate) started_ms: u64,
    /// When to give it up.
    pub(crate) deadline_ms: u64,
    /// Best effort only.
    pub(crate) wants_receipt: bool,
    /// Who waits.
    pub(crate) slot: SlotId,
}

impl Pending {
    /// What remains of the TTL, at least a millisecond.
    pub(crate) fn ttl_ms(&self, now_ms: u64) -> Option<u64> {
        self.expires_at_ms.map(|end| end.saturating_sub(now_ms).max(1))
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A receipt.
    Accepted { sequence: u64, code: Code, destinations: u64 },
    /// Refused for good.
    Refused(Refused),
    /// Time ran out; not stored.
    TimedOut { waited_ms: u64, last: Option<Refused> },
    /// Nobody can tell.
    Unknown(&'static str),
    /// The client was closed; not stored.
    Closed,
}

/// What to write next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outgoing<'a> {
    /// A skip frame.
    Skip { from: u64, through: u64 },
    /// A publish frame.
    Publish { sequence: u64, topic: &'a Arc<str>, body: &'a Bytes, ttl_ms: Option<u64> },
}

#[derive(Debug)]
enum Flying {
    Live(Pending),
    Accepted,
    GivenUp,
}

/// A refusal as it came.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) refused: Refused,
    pub(crate) retry_ms: Option<u64>,
}

/// The window of one publish channel.
#[derive(Debug)]
pub(crate) struct Window {
    queue: VecDeque<Pending>,
    flying: VecDeque<Flying>,
    first: u64,
    cursor: u64,
    /// A skip that goes out before anything else: sequences that were forgotten here.
    lead_skip: Option<(u64, u64)>,
    /// Highest sequence answered other than by `Blocked`, on this connection.
    answered: u64,
    hold_until_ms: Option<u64>,
    retries: u32,
    last_refusal: Option<Refused>,
    events: usize,
    bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            queue: VecDeque::new(),
            flying: VecDeque::new(),
            first: 1,
            cursor: 1,
            lead_skip: None,
            answered: 0,
            hold_until_ms: None,
            retries: 0,
            last_refusal: None,
            events: 0,
            bytes: 0,
        }
    }
}

impl Window {
    /// Events without a fate, and the bytes of their bodies.
    pub(crate) fn outstanding(&self) -> (usize, usize) {
        (self.events, self.bytes)
    }

    /// Adds an event at the end. O(1).
    pub(crate) fn push(&mut self, pending: Pending) {
        self.events += 1;
        self.bytes += pending.body.len();
        self.queue.push_back(pending);
    }

    /// Whether [`Window::next_outgoing`] would give something.
    pub(crate) fn has_outgoing(&self, now_ms: u64) -> bool {
        self.hold_until_ms.is_none_or(|until| until <= now_ms)
            && (self.lead_skip.is_some() || self.cursor < self.end() || !self.queue.is_empty())
    }

    /// When writing goes on after a refusal that said "later".
    pub(crate) fn holds_until_ms(&self) -> Option<u64> {
        self.hold_until_ms
    }

    /// One past the last sequence given.
    fn end(&self) -> u64 {
        self.first + self.flying.len() as u64
    }

    /// The next thing to write, which counts as written from now on. O(1) amortised.
    pub(crate) fn next_outgoing(&mut self, now_ms: u64) -> Option<Outgoing<'_>> {
        if !self.has_outgoing(now_ms) {
            return None;
        }
        self.hold_until_ms = None;
        if let Some((from, through)) = self.lead_skip.take() {
            return Some(Outgoing::Skip { from, through });
        }
        if let Some(skip) = self.next_skip() {
            return Some(skip);
        }
        if self.cursor == self.end() {
            self.flying.push_back(Flying::Live(self.queue.pop_front()?));
        }
        let sequence = self.cursor;
        self.cursor += 1;
        match &self.flying[(sequence - self.first) as usize] {
            Flying::Live(pending) => Some(Outgoing::Publish {
                sequence,
                topic: &pending.topic,
                body: &pending.body,
                ttl_ms: pending.ttl_ms(now_ms),
            }),
            Flying::Accepted | Flying::GivenUp => None, // next_skip passed over these
        }
    }

    /// Moves the cursor over what needs no writing, up to the end of a run that was given up.
    fn next_skip(&mut self) -> Option<Outgoing<'static>> {
        let mut from = None;
        while self.cursor < self.end() {
            match &self.flying[(self.cursor - self.first) as usize] {
                Flying::GivenUp => {
                    from.get_or_insert(self.cursor);
                }
                Flying::Accepted if from.is_none() => {}
                _ => break,
            }
            self.cursor += 1;
        }
        from.map(|from| Outgoing::Skip { from, through: self.cursor - 1 })
    }

    fn slot_mut(&mut self, sequence: u64) -> Option<&mut Flying> {
        let index = sequence.checked_sub(self.first)?;
        self.flying.get_mut(usize::try_from(index).ok()?)
    }

    fn forget(&mut self, pending: &Pending) {
        self.events -= 1;
        self.bytes -= pending.body.len();
    }

    /// Takes a receipt with a success code. O(1) amortised.
    pub(crate) fn on_accepted(
        &mut self,
        sequence: u64,
        code: Code,
        destinations: u64,
        tell: &mut impl FnMut(SlotId, Fate),
    ) {
        let Some(slot) = self.slot_mut(sequence) else { return };
        if let Flying::Live(pending) = std::mem::replace(slot, Flying::Accepted) {
            self.forget(&pending);
            tell(pending.slot, Fate::Accepted { sequence, code, destinations });
        }
        self.retries = 0;
        self.answered = self.answered.max(sequence);
        self.pop_settled();
    }

    fn pop_settled(&mut self) {
        while let Some(front) = self.flying.front() {
            let settled = match front {
                Flying::Accepted => true,
                // The broker answered something later, so it has seen the skip.
                Flying::GivenUp => self.first < self.answered && self.first < self.cursor,
                Flying::Live(_) => false,
            };
            if !settled {
                break;
            }
            self.flying.pop_front();
            self.first += 1;
        }
        self.cursor = self.cursor.max(self.first);
    }

    /// Takes a refusal. A `Blocked` says nothing new: the refusal that blocks it came before it
    /// and has moved the cursor back already.
    pub(crate) fn on_refusal(
        &mut self,
        sequence: u64,
        refusal: &Refusal,
        now_ms: u64,
        tell: &mut impl FnMut(SlotId, Fate),
    ) {
        if refusal.refused.code == Code::Blocked {
            return;
        }
        let Some(slot) = self.slot_mut(sequence) else { return };
        match slot {
            Flying::Accepted => return, // a fact does not become less true
            Flying::Live(_) if refusal.refused.code.is_retryable() => self.hold(refusal, now_ms),
            Flying::Live(_) => {
                if let Flying::Live(pending) = std::mem::replace(slot, Flying::GivenUp) {
                    self.forget(&pending);
                    tell(pending.slot, Fate::Refused(refusal.refused.clone()));
                }
            }
            Flying::GivenUp => {}
        }
        self.last_refusal = Some(refusal.refused.clone());
        self.answered = self.answered.max(sequence);
        self.cursor = self.cursor.min(sequence);
        self.pop_settled();
    }

    fn hold(&mut self, refusal: &Refusal, now_ms: u64) {
        let backoff = (RETRY_MS_FIRST << self.retries.min(10)).min(RETRY_MS_MAX);
        self.retries += 1;
        self.hold_until_ms = Some(now_ms + refusal.retry_ms.unwrap_or(backoff));
    }

    /// The connection is gone; answers that were under way will not come.
    pub(crate) fn on_disconnect(&mut self) {
        self.hold_until_ms = None;
        self.retries = 0;
    }

    /// The epoch was resumed: everything below `next` is accepted or skipped. O(outstanding).
    pub(crate) fn on_resume(&mut self, next: u64, tell: &mut impl FnMut(SlotId, Fate)) {
        while self.first < next {
            let Some(front) = self.flying.pop_front() else { break };
            if let Flying::Live(pending) = front {
                self.forget(&pending);
                let fate = Fate::Accepted { sequence: self.first, code: Code::Duplicate, destinations: 0 };
                tell(pending.slot, fate);
            }
            self.first += 1;
        }
        if self.flying.is_empty() {
            self.first = self.first.max(next);
        }
        self.lead_skip = (next < self.first).then(|| (next, self.first - 1));
        self.answered = self.first - 1;
        self.cursor = self.first;
    }

    /// A new epoch begins at `next`; nothing may be flying.
    pub(crate) fn on_new_epoch(&mut self, next: u64, tell: &mut impl FnMut(SlotId, Fate)) {
        self.on_gone("a new epoch was opened", tell);
        (self.first, self.cursor, self.answered) = (next, next, next.saturating_sub(1));
        self.lead_skip = None;
    }

    /// The epoch is unknown to the home. What was written has an unknown fate; what is certainly
    /// not stored goes back to the head of the queue.
    pub(crate) fn on_gone(&mut self, reason: &'static str, tell: &mut impl FnMut(SlotId, Fate)) {
        while self.end() > self.first {
            let sequence = self.end() - 1;
            let Some(Flying::Live(pending)) = self.flying.pop_back() else { continue };
            if sequence >= self.cursor {
                self.queue.push_front(pending);
            } else {
                self.forget(&pending);
                tell(pending.slot, Fate::Unknown(reason));
            }
        }
        self.lead_skip = None;
    }

    /// The earliest time at which [`Window::expire`] has something to do. O(outstanding).
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let flying = self.flying.iter().filter_map(|flying| match flying {
            Flying::Live(pending) => Some(pending.deadline_ms),
            _ => None,
        });
        flying.chain(self.queue.iter().map(|pending| pending.deadline_ms)).min()
    }

    /// Gives up what is out of time. O(outstanding).
    pub(crate) fn expire(&mut self, now_ms: u64, tell: &mut impl FnMut(SlotId, Fate)) {
        let due = |pending: &Pending| pending.deadline_ms <= now_ms;
        self.give_up(due, |pending, is_written, last| match is_written {
            true => Fate::Unknown("no receipt came in time"),
            false => {
                Fate::TimedOut { waited_ms: now_ms.saturating_sub(pending.started_ms), last: last.clone() }
            }
        })
        .into_iter()
        .for_each(|(slot, fate)| tell(slot, fate));
    }

    /// Gives everything up.
    pub(crate) fn give_up_all(
        &mut self,
        unsent: &Fate,
        reason: &'static str,
        tell: &mut impl FnMut(SlotId, Fate),
    ) {
        self.give_up(
            |_| true,
            |_, is_written, _| match is_written {
                true => Fate::Unknown(reason),
                false => unsent.clone(),
            },
        )
        .into_iter()
        .for_each(|(slot, fate)| tell(slot, fate));
    }

    fn give_up(
        &mut self,
        mut due: impl FnMut(&Pending) -> bool,
        fate: impl Fn(&Pending, bool, &Option<Refused>) -> Fate,
    ) -> Vec<(SlotId, Fate)> {
        let mut told = Vec::new();
        let mut bytes = 0;
        for (index, flying) in self.flying.iter_mut().enumerate() {
            if let Flying::Live(pending) = flying
                && due(pending)
            {
                let is_written = self.first + (index as u64) < self.cursor;
                told.push((pending.slot, fate(pending, is_written, &self.last_refusal)));
                bytes += pending.body.len();
                *flying = Flying::GivenUp;
            }
        }
        self.queue.retain(|pending| {
            let keep = !due(pending);
            if !keep {
                told.push((pending.slot, fate(pending, false, &self.last_refusal)));
                bytes += pending.body.len();
            }
            keep
        });
        self.events -= told.len();
        self.bytes -= bytes;
        told
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
