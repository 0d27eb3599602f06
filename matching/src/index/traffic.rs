//! How often events have a code: what readers saw lately, for the writer to place entries by.
//!
//! 1. Readers look at one event in [`SAMPLED`](super::seen::SAMPLED). They wait for nobody: counts
//!    are plain stores, and one that races with another may be lost.
//! 2. Counts halve with every [`ERA`] events that were looked at, so that they follow the traffic.
//! 3. What is thought of a code counts as much as [`THOUGHT`] events: without traffic it decides,
//!    with much of it nearly nothing. What was not counted while a code did not exist is no sign
//!    that it is rare.
//!
//! Nothing depends on these numbers but where an entry is put, and so what an event costs. An entry
//! that has its place keeps it until its chain is divided.

use std::sync::atomic::{AtomicU32, Ordering};

use super::codes::CodeKind;
use super::slots::Slots;

/// Counts halve after so many events that were looked at: a quarter of a million events.
const ERA: u32 = 1 << 12;

/// As how many events counts what is thought of a code.
const THOUGHT: f32 = 64.0;

/// How often each code was set.
pub(super) struct Traffic {
    /// By code: the era of the last count, and the count.
    counts: Slots<AtomicU32>,
    /// How many events were looked at, and of these how many that were held against gates.
    events: AtomicU32,
    gated: AtomicU32,
}

impl Traffic {
    pub(super) fn new() -> Traffic {
        Traffic { counts: Slots::new(), events: AtomicU32::new(0), gated: AtomicU32::new(0) }
    }

    /// Events with which codes of this kind are counted: gates, or codes of attributes.
    fn events(&self, kind: CodeKind) -> &AtomicU32 {
        match kind {
            CodeKind::Derived => &self.gated,
            CodeKind::Presence | CodeKind::Constant => &self.events,
        }
    }

    /// Counts the codes of one event.
    #[cold]
    pub(super) fn note(&self, kind: CodeKind, codes: impl Iterator<Item = u32>) {
        let era = era_of(self.events(kind).fetch_add(1, Ordering::Relaxed));
        for code in codes {
            let Some(place) = self.counts.get(code) else { continue };
            let known = Count(place.load(Ordering::Relaxed));
            place.store(known.one_more(era).0, Ordering::Relaxed);
        }
    }

    /// Begins to count a code, whose number may have been another's. When that was: for `chance`.
    pub(super) fn begin(&self, kind: CodeKind, code: u32) -> u32 {
        let now = self.events(kind).load(Ordering::Relaxed);
        self.counts.get_or_make(code).store(Count::new(era_of(now), 0).0, Ordering::Relaxed);
        now
    }

    /// How likely an event is to have a code that is counted since `since`, of which `thought` is
    /// what there is reason to think without traffic.
    pub(super) fn chance(&self, kind: CodeKind, code: u32, since: u32, thought: f32) -> f32 {
        let now = self.events(kind).load(Ordering::Relaxed);
        if now == since {
            return thought;
        }
        let count = self.counts.get(code).map_or(0, |place| place.load(Ordering::Relaxed));
        let count = f32::from(Count(count).at(era_of(now)));
        ((count + THOUGHT * thought) / (events_between(since, now) + THOUGHT)).min(1.0)
    }

    /// Bytes of the counts of so many codes.
    pub(super) fn bytes(&self, codes: usize) -> usize {
        codes.next_power_of_two() * size_of::<AtomicU32>()
    }
}

fn era_of(events: u32) -> u16 {
    (events / ERA) as u16
}

/// How many events count that were looked at between two times, as their counts halved since.
fn events_between(since: u32, now: u32) -> f32 {
    let mut left = now.wrapping_sub(since);
    let mut era = now % ERA;
    let (mut weight, mut sum) = (1.0, 0.0);
    while left > 0 && weight > 1e-6 {
        let events = left.min(era);
        sum += weight * events as f32;
        left -= events;
        era = ERA;
        weight /= 2.0;
    }
    sum
}

/// A count, and the era in which it was right: it halves with each one after.
#[derive(Clone, Copy)]
struct Count(u32);

impl Count {
    fn new(era: u16, count: u16) -> Count {
        Count(u32::from(era) << 16 | u32::from(count))
    }

    fn era(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// What is left of it in an era. One before its own is of who looked a moment too early.
    fn at(self, era: u16) -> u16 {
        let passed = era.wrapping_sub(self.era()) as i16;
        (self.0 as u16).checked_shr(passed.max(0) as u32).unwrap_or(0)
    }

    fn one_more(self, era: u16) -> Count {
        let is_later = era.wrapping_sub(self.era()) as i16 > 0;
        Count::new(if is_later { era } else { self.era() }, self.at(era).saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
