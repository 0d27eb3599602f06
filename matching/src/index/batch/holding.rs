//! Which of several events an entry wants: `super::super::entry`, read for all of them at once.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::index::entry::{self, ANY, CODE, EITHER, NOT, Operation, SOME};
use crate::index::matching::Asking;
use crate::index::writer::View;
use crate::topic::Topic;
use crate::value::Attributes;

use super::together::Together;

/// The events of a batch, and what is known of them.
pub(super) struct Events<'r, A: ?Sized> {
    pub(super) view: &'r View,
    pub(super) asked: &'r [(&'r Topic, &'r A)],
    pub(super) together: &'r Together,
}

impl<A: Attributes + ?Sized> Events<'_, A> {
    /// Those of `events` for which the codes and operations behind an entry's head hold.
    #[inline]
    pub(super) fn holding(&self, words: &[AtomicU32], codes: usize, mut events: u64) -> u64 {
        let (codes, operations) = words.split_at(codes);
        for code in codes {
            events &= self.together.having(code.load(Ordering::Relaxed));
            if events == 0 {
                return 0;
            }
        }
        if operations.is_empty() { events } else { self.all_hold(operations, events) }
    }

    /// Those for which operations hold, one behind the other.
    pub(super) fn all_hold(&self, mut words: &[AtomicU32], mut events: u64) -> u64 {
        while let [first, rest @ ..] = words {
            let operation = Operation(first.load(Ordering::Relaxed));
            let second = rest.first().map_or(0, |word| word.load(Ordering::Relaxed));
            let (own, next) = rest.split_at(operation.behind(second));
            events = self.one_holds(operation, own, events);
            if events == 0 {
                return 0;
            }
            words = next;
        }
        events
    }

    #[inline]
    fn one_holds(&self, operation: Operation, own: &[AtomicU32], events: u64) -> u64 {
        match operation.kind() {
            CODE | ANY | SOME => events & self.having_any(own),
            NOT => events & self.having_none(own),
            EITHER => self.either_holds(&own[1..], events),
            _ => self.each_holds(operation, own, events),
        }
    }

    fn having_any(&self, codes: &[AtomicU32]) -> u64 {
        let having = codes.iter().map(|code| self.together.having(code.load(Ordering::Relaxed)));
        having.fold(0, |all, having| all | having)
    }

    /// Those that have none of the codes, all of which they were read with.
    fn having_none(&self, codes: &[AtomicU32]) -> u64 {
        let (vocabulary, moment) = (&self.view.vocabulary, self.together.moment);
        let is_known = |code: &AtomicU32| vocabulary.was_read_with(code.load(Ordering::Relaxed), moment);
        if codes.iter().all(is_known) { !self.having_any(codes) } else { 0 }
    }

    fn either_holds(&self, mut words: &[AtomicU32], events: u64) -> u64 {
        let mut holding = 0;
        while let [count, rest @ ..] = words {
            let (alternative, next) = rest.split_at(count.load(Ordering::Relaxed) as usize);
            holding |= self.all_hold(alternative, events & !holding);
            if holding == events {
                return holding;
            }
            words = next;
        }
        holding
    }

    /// What asks for values, of one event after the other.
    fn each_holds(&self, operation: Operation, own: &[AtomicU32], events: u64) -> u64 {
        let mut holding = 0;
        super::each_event(events, |place| {
            let seen = self.together.event(place);
            let (topic, event) = self.asked[place];
            let asking = Asking { view: self.view, topic, event, seen };
            holding |= u64::from(entry::operation_holds(operation, own, seen, &asking)) << place;
        });
        holding
    }
}
