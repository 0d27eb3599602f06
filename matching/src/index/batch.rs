//! Up to 64 events at once: what they have in common is read once for all of them.
//!
//! Where event by event a reader asks *has this event the code*, here it asks *which of the events
//! have it*: a word with one bit each. A block is read once for all events that lead to it, and
//! what an entry needs is put together from words. Memory is touched once per batch, so that an
//! event costs the less the more wait together.
//!
//! 1. Each event's list is what [`Index::collect`] would have found, each entry once.
//! 2. The events may be of any topics; those of one topic share its route.
//! 3. Where no filter that the events may meet asks for a gate, they are found one after the other.
//! 4. What needs an event's values (ranges, tests) is asked event by event, of those that all
//!    before it left in question.
//!
//! In order of reading: `together` (what is known of the events), `holding` (which of them an entry
//! wants), `block` (the same of many entries), `walk` (which entries they meet).

use std::sync::atomic::Ordering;

use super::matching::{Scratch, uses_gates};
use super::trie::Slot;
use super::{EntryId, Index, Route};
use crate::topic::Topic;
use crate::value::Attributes;

mod block;
mod holding;
mod together;
mod walk;

pub(super) use walk::Scratch as BatchScratch;

/// The most events that are looked at together: bits of a word.
pub const BATCH: usize = 64;

/// One event is found faster alone.
const TOGETHER_MIN: usize = 2;

impl<D: Clone + Send + Sync> Index<D> {
    /// Brings a route up to date. Two atomic loads if it is.
    pub fn renew_route(&self, route: &mut Route<D>) {
        if !route.is_current(self) {
            *route = self.route(&route.topic);
        }
    }

    /// For each event, adds the entries that want it to the list in the same place of `found`, in no
    /// order, each once: as [`collect`](Index::collect) does for one event, [`BATCH`] events at a
    /// time.
    ///
    /// A route that is not current is made anew for this call alone: [`renew_route`] saves that.
    ///
    /// # Panics
    /// If there are not as many lists as events.
    ///
    /// [`renew_route`]: Index::renew_route
    pub fn collect_batch<A: Attributes + ?Sized>(
        &self,
        events: &[(&Route<D>, &A)],
        found: &mut [Vec<EntryId>],
    ) {
        assert_eq!(events.len(), found.len(), "a list for each event");
        for (events, found) in events.chunks(BATCH).zip(found.chunks_mut(BATCH)) {
            self.reading(|scratch| self.collect_together(events, scratch, found));
        }
    }

    fn collect_together<A: Attributes + ?Sized>(
        &self,
        events: &[(&Route<D>, &A)],
        scratch: &mut Scratch,
        found: &mut [Vec<EntryId>],
    ) {
        let current = self.current(events);
        let starts: Vec<usize> = found.iter().map(Vec::len).collect();
        for (place, (_, route)) in current.routes(events).enumerate() {
            found[place].extend(route.always.iter().map(|(id, _)| *id));
        }
        if events.len() < TOGETHER_MIN || !self.share_gates(&current, events) {
            for ((event, route), found) in current.routes(events).zip(&mut *found) {
                self.find_all(route, event, scratch, found);
            }
        } else {
            self.find_together(&current, events, scratch, found);
        }
        if self.replacements.load(Ordering::SeqCst) > 0 {
            found.iter_mut().zip(starts).for_each(|(found, start)| self.drop_replaced(found, start));
        }
    }

    /// Whether gates are to be decided for some event. Otherwise events have little in common beside
    /// what the cache holds anyway, and are found faster one after the other.
    fn share_gates<A: ?Sized>(&self, current: &Current<D>, events: &[(&Route<D>, &A)]) -> bool {
        let mut slots = current.routes(events).flat_map(|(_, route)| route.slots.iter());
        slots.any(|slot| uses_gates(&self.view.common.arena, *slot))
    }

    fn find_together<A: Attributes + ?Sized>(
        &self,
        current: &Current<D>,
        events: &[(&Route<D>, &A)],
        scratch: &mut Scratch,
        found: &mut [Vec<EntryId>],
    ) {
        let slots = slots_of(current.routes(events).map(|(_, route)| route));
        if slots.is_empty() {
            return;
        }
        let asked: Vec<(&Topic, &A)> = events.iter().map(|(route, event)| (&route.topic, *event)).collect();
        let tests_end = self.tests_end.load(Ordering::Acquire);
        let scratch = scratch.batch.get_or_insert_with(Box::default);
        let unknowns = walk::find(&self.view, &slots, &asked, scratch, tests_end, found);
        if unknowns > 0 {
            self.unknowns.fetch_add(unknowns, Ordering::Relaxed);
        }
    }

    /// The routes of events; the reader is inside.
    fn current<A: ?Sized>(&self, events: &[(&Route<D>, &A)]) -> Current<D> {
        let mut current = Current { made: Vec::new(), places: Vec::with_capacity(events.len()) };
        for (route, _) in events {
            let place = (!route.is_current(self)).then(|| current.place_of(&route.topic, self));
            current.places.push(place);
        }
        current
    }
}

/// Routes that were made anew, and for each event which of them is its own, if any is.
struct Current<D> {
    made: Vec<Route<D>>,
    places: Vec<Option<usize>>,
}

impl<D: Clone + Send + Sync> Current<D> {
    fn place_of(&mut self, topic: &Topic, index: &Index<D>) -> usize {
        let known = self.made.iter().position(|route| route.topic == *topic);
        known.unwrap_or_else(|| {
            self.made.push(index.make_route(topic));
            self.made.len() - 1
        })
    }

    /// Each event with its route.
    fn routes<'r, A: ?Sized>(
        &'r self,
        events: &'r [(&'r Route<D>, &'r A)],
    ) -> impl Iterator<Item = (&'r A, &'r Route<D>)> {
        let routes = events.iter().zip(&self.places);
        routes.map(|((route, event), place)| (*event, place.map_or(*route, |place| &self.made[place])))
    }
}

/// Where entries are that events must be asked about, and which events each.
fn slots_of<'r, D: 'r>(routes: impl Iterator<Item = &'r Route<D>>) -> Vec<(Slot, u64)> {
    let mut slots: Vec<(u32, u64)> = Vec::new();
    for (place, route) in routes.enumerate() {
        slots.extend(route.slots.iter().map(|slot| (slot.0, 1 << place)));
    }
    merge(&mut slots);
    slots.into_iter().map(|(slot, events)| (Slot(slot), events)).collect()
}

/// Sorts what events lead to, and makes one of what is the same.
fn merge(ways: &mut Vec<(u32, u64)>) {
    ways.sort_unstable_by_key(|(to, _)| *to);
    ways.dedup_by(|(to, events), (kept, all)| {
        let is_same = to == kept;
        *all |= if is_same { *events } else { 0 };
        is_same
    });
}

/// Calls `see` with the place of each bit that is set.
#[inline]
fn each_event(mut events: u64, mut see: impl FnMut(usize)) {
    while events != 0 {
        see(events.trailing_zeros() as usize);
        events &= events - 1;
    }
}
