//! What a reader knows of several events: for each code, which of them have it.
//!
//! 1. Values are looked up as for one event (`super::super::seen`): each event has its own notes of
//!    them. Codes of gates are only here.
//! 2. Cleared after each batch in time that grows with what was set.

use std::sync::atomic::AtomicU32;

use crate::index::Literal;
use crate::index::arena::Arena;
use crate::index::births::Moment;
use crate::index::clauses::load;
use crate::index::codes::Vocabulary;
use crate::index::scales::Scales;
use crate::index::seen::{SAMPLED, Seen, SetCode};
use crate::value::Attributes;

use super::{BATCH, each_event};

/// See the module.
#[derive(Default)]
pub(super) struct Together {
    /// One for each place in a batch, kept from batch to batch.
    events: Vec<Seen>,
    /// By code: the events that have it.
    having: Vec<u64>,
    /// By scale: the step at which each event stands.
    steps: Vec<[u16; BATCH]>,
    derived: Vec<u32>,
    /// The events that are looked at for unknown comparisons.
    sampled: u64,
    /// When the first of them was going to be read.
    pub(super) moment: Moment,
}

impl Together {
    /// Reads an event into a place.
    pub(super) fn read<A: Attributes + ?Sized>(
        &mut self,
        (vocabulary, arena): (&Vocabulary, &Arena),
        place: usize,
        event: &A,
        tests_end: u32,
    ) {
        while self.events.len() <= place {
            // Of a full batch, one event is looked at for unknown comparisons.
            self.events.push(Seen::with_stamp(1 + self.events.len() as u32 % SAMPLED));
        }
        let seen = &mut self.events[place];
        seen.moment = self.moment;
        seen.expect_tests(tests_end as usize);
        vocabulary.read(arena, event, seen);
        self.sampled |= u64::from(seen.is_sampled()) << place;
        for set in seen.codes() {
            *place_of(&mut self.having, set.code) |= 1 << place;
        }
        for scale in seen.scales() {
            let number = usize::from(*scale);
            if number >= self.steps.len() {
                self.steps.resize(number + 1, [0; BATCH]);
            }
            self.steps[number][place] = seen.step(u32::from(*scale)) as u16;
        }
    }

    /// As `reaching`; of `events`, for which that is asked, comparisons that are unknown are noted.
    #[inline]
    pub(super) fn reaching_noted(&self, scales: &Scales, (scale, step): (u32, u32), events: u64) -> u64 {
        let reaching = self.reaching(scale, step);
        let sampled = events & self.sampled & !reaching;
        if sampled != 0 {
            self.note_unknown(scales, scale, sampled);
        }
        reaching
    }

    /// The events that have reached a step of a scale.
    #[inline]
    fn reaching(&self, scale: u32, step: u32) -> u64 {
        let Some(steps) = self.steps.get(scale as usize) else { return 0 };
        let reached = steps.iter().map(|at| u64::from(u32::from(*at) >= step));
        reached.rev().fold(0, |events, reached| events << 1 | reached)
    }

    /// The events that have a code.
    #[inline]
    pub(super) fn having(&self, code: u32) -> u64 {
        self.having.get(code as usize).copied().unwrap_or(0)
    }

    /// Those of `events` for which all clauses of an entry hold.
    #[inline]
    pub(super) fn holding(&self, vocabulary: &Vocabulary, literals: &[AtomicU32], mut events: u64) -> u64 {
        let mut clause = 0;
        for literal in literals.iter().map(load) {
            clause |= match literal.step() {
                Some(step) => self.reaching_noted(&vocabulary.scales, step, events),
                None if !literal.has(Literal::NOT) => self.having(literal.code()),
                None if literal.is_absent() && !vocabulary.was_read_with(literal.code(), self.moment) => 0,
                None => !self.having(literal.code()),
            };
            if literal.has(Literal::CLAUSE_END) {
                events &= std::mem::take(&mut clause);
                if events == 0 {
                    return 0;
                }
            }
        }
        events
    }

    /// Notes a comparison of those events that are looked at and have no number for a scale.
    #[cold]
    fn note_unknown(&self, scales: &Scales, scale: u32, events: u64) {
        let attribute = scales.get(scale).attribute;
        each_event(events, |place| {
            if !self.events[place].has_number(attribute) {
                self.events[place].note_unknown();
            }
        });
    }

    /// Gives a code of no attribute to events.
    pub(super) fn give(&mut self, code: u32, events: u64) {
        let having = place_of(&mut self.having, code);
        if *having == 0 {
            self.derived.push(code);
        }
        *having |= events;
    }

    /// The notes of one event.
    #[inline]
    pub(super) fn event(&self, place: usize) -> &Seen {
        &self.events[place]
    }

    /// Calls `see` with each code of an attribute that some of `events` have, once, and which of
    /// them.
    #[inline]
    pub(super) fn each_code(&self, events: u64, mut see: impl FnMut(SetCode, u64)) {
        each_event(events, |place| {
            for set in self.events[place].codes() {
                let having = self.having(set.code) & events;
                if having.trailing_zeros() as usize == place {
                    see(*set, having);
                }
            }
        });
    }

    /// The codes of no attribute that some event has.
    pub(super) fn derived(&self) -> &[u32] {
        &self.derived
    }

    /// Forgets the first `count` events. How many comparisons they stand for that were unknown.
    pub(super) fn clear(&mut self, count: usize) -> u64 {
        let mut unknowns = 0;
        self.sampled = 0;
        for seen in &mut self.events[..count] {
            unknowns += u64::from(seen.sampled_unknowns().unwrap_or(0)) * u64::from(SAMPLED);
            seen.codes().iter().for_each(|set| self.having[set.code as usize] = 0);
            seen.scales().iter().for_each(|scale| self.steps[usize::from(*scale)] = [0; BATCH]);
            seen.clear();
        }
        self.derived.drain(..).for_each(|code| self.having[code as usize] = 0);
        unknowns
    }
}

fn place_of(having: &mut Vec<u64>, code: u32) -> &mut u64 {
    let place = code as usize;
    if place >= having.len() {
        having.resize(place + 1 + place / 2, 0);
    }
    &mut having[place]
}
