//! What a broker asks of a peer for all its subscriptions: exact within a budget, a superset above.
//!
//! A [`Summary`] holds *asks*, counted, and says them in *entries*, each with an id. Within the
//! budget each distinct ask is an entry. Above it asks share entries, in *cells*:
//!
//! 1. Each ask is matched by an entry at each moment: an entry is added before those that it
//!    stands for are withdrawn, and withdrawn after those that stand for it were added (make
//!    before break). This holds after each single [`Change`], in their order.
//! 2. Asks of two classes never share an entry.
//! 3. Widened as little as is sensible, and only as far as the budget asks: first what a real ask
//!    covers is left out, which widens nothing; then asks of one topic filter are joined two by
//!    two, those alike first (union of sets, hull of ranges); then predicates and exclusions are
//!    dropped; then topic filters with a common beginning become `a/#`, the longest first; at
//!    last `#`. A leading wildcard does not match `$…`, so that these stay `$name/#` each.
//! 4. What an ask that comes or goes causes is bounded: [`PACE`] changes, and what it takes to
//!    stay within the budget. The rest, such as opening a wide entry after its cover was
//!    withdrawn, is done in steps by [`Summary::settle`], at the caller's pace.
//! 5. Narrowing begins when an eighth of the budget is free, so that an ask that comes and goes
//!    at the edge does not widen and narrow each time.
//! 6. The same calls give the same entries.
//!
//! Costs: `O(levels + log asks)` for an ask within the budget. Above it a plan is made in
//! `O(entries log entries)` and used up step by step, each of which frees an entry or more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::selector::Selector;

pub use ask::Ask;

use cells::{CellId, Cells, Opening};
use plan::Step;

mod ask;
mod cells;
mod plan;

#[cfg(test)]
mod tests;

/// How many steps of tidying up follow each ask that comes or goes.
const PACE: usize = 8;

/// How many pairs that do not fit are tried before the next means is taken.
const MISSES_MAX: usize = 64;

/// A change of the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new entry.
    Add {
        /// Its id, never used before.
        id: u64,
        /// What it asks for.
        ask: Arc<Ask>,
    },
    /// An entry is gone.
    Remove {
        /// Its id.
        id: u64,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Summary {
    entries_max: usize,
    bytes_max: usize,
    asks: BTreeMap<Arc<Ask>, Held>,
    entries: BTreeMap<Arc<Ask>, Entry>,
    bytes: usize,
    id_last: u64,
    cells: Cells,
    /// Entries that another entry covers, to be withdrawn. Each counts as one holder of its entry.
    stale: VecDeque<Arc<Ask>>,
    opening: Option<Opening>,
    plan: VecDeque<Step>,
    /// Whether the last plan was rich in pairs, or none was made: then another is worth its cost.
    has_many_pairs: bool,
    changes: Vec<Change>,
}

/// An ask that was made at least once.
#[derive(Debug)]
struct Held {
    count: usize,
    place: Place,
}

/// Which entry stands for an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Its own.
    Exact,
    /// That of a cell.
    In(CellId),
}

#[derive(Debug, Default)]
struct Entry {
    id: u64,
    /// Exact asks, cells and stale places that hold it.
    holders: usize,
    /// The cells among them.
    cells: Vec<CellId>,
}

impl Summary {
    /// Empty; exact as long as the distinct asks are at most `entries_max` and their texts at most
    /// `bytes_max` bytes.
    pub fn new(entries_max: usize, bytes_max: usize) -> Summary {
        Summary {
            entries_max,
            bytes_max,
            asks: BTreeMap::new(),
            entries: BTreeMap::new(),
            bytes: 0,
            id_last: 0,
            cells: Cells::default(),
            stale: VecDeque::new(),
            opening: None,
            plan: VecDeque::new(),
            has_many_pairs: true,
            changes: Vec::new(),
        }
    }

    /// One more asks for this. The entries match it when this returns.
    pub fn insert(&mut self, ask: Ask) {
        if let Some(held) = self.asks.get_mut(&ask) {
            held.count += 1;
            return;
        }
        let ask = Arc::new(ask);
        let place = match self.home(&ask) {
            Some(cell) => {
                self.cells.join(cell, &ask);
                Place::In(cell)
            }
            None => {
                self.hold(&ask);
                Place::Exact
            }
        };
        self.asks.insert(Arc::clone(&ask), Held { count: 1, place });
        self.judge_cells_of(&ask);
        self.make_room(&ask);
        self.settle(PACE);
    }

    /// One less asks for this; nothing happens if nobody does.
    pub fn remove(&mut self, ask: &Ask) {
        let Some(held) = self.asks.get_mut(ask) else { return };
        if held.count > 1 {
            held.count -= 1;
            return;
        }
        if let Some((ask, held)) = self.asks.remove_entry(ask) {
            self.judge_cells_of(&ask);
            match held.place {
                Place::Exact => self.release(&ask),
                Place::In(cell) => self.leave(cell, &ask),
            }
        }
        self.settle(PACE);
    }

    /// Does up to `steps` small steps of what is due but not urgent: withdrawing what is covered,
    /// and narrowing where there is room. True if there is more to do.
    pub fn settle(&mut self, steps: usize) -> bool {
        (0..steps).all(|_| self.withdraw_stale() || self.open_some())
    }

    /// The changes since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries with their ids, ordered by what they ask for.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Arc<Ask>)> {
        self.entries.iter().map(|(ask, entry)| (entry.id, ask))
    }

    /// Whether the entries match what the asks do and nothing else.
    pub fn is_exact(&self) -> bool {
        !self.cells.has_wide()
    }

    /// One more holder for an entry, which is added if it is the first.
    fn hold(&mut self, ask: &Arc<Ask>) {
        if let Some(entry) = self.entries.get_mut(ask) {
            entry.holders += 1;
            return;
        }
        self.id_last += 1;
        self.bytes += ask.bytes();
        self.entries.insert(Arc::clone(ask), Entry { id: self.id_last, holders: 1, cells: Vec::new() });
        self.changes.push(Change::Add { id: self.id_last, ask: Arc::clone(ask) });
    }

    /// One holder less for an entry, which is withdrawn with the last.
    fn release(&mut self, ask: &Arc<Ask>) {
        let Some(entry) = self.entries.get_mut(ask) else { return };
        entry.holders -= 1;
        if entry.holders == 0 {
            self.changes.push(Change::Remove { id: entry.id });
            self.bytes -= ask.bytes();
            self.entries.remove(ask);
        }
    }

    fn withdraw_stale(&mut self) -> bool {
        let stale = self.stale.pop_front();
        if let Some(ask) = &stale {
            self.release(ask);
        }
        stale.is_some()
    }

    fn is_over(&self) -> bool {
        self.entries.len() > self.entries_max || self.bytes > self.bytes_max
    }

    /// Whether so many entries more leave an eighth of the budget free.
    fn has_room(&self, entries: usize, bytes: usize) -> bool {
        self.entries.len() + entries <= self.entries_max - self.entries_max / 8
            && self.bytes + bytes <= self.bytes_max - self.bytes_max / 8
    }

    /// Widens until the budget is kept, if there is a way. `new` is the ask that came last.
    fn make_room(&mut self, new: &Arc<Ask>) {
        let (mut stage, mut misses, mut is_whole) = (0, 0, false);
        while self.is_over() {
            if self.withdraw_stale() || (self.is_out_of_pairs() && self.join_neighbour(new)) {
                continue;
            }
            let Some(step) = self.plan.pop_front() else {
                let Some(used) = self.make_plan(stage, is_whole) else { return };
                // Unless a step of this plan succeeds, the next plan has all that these means offer,
                // and the one after it begins with the next means.
                let is_next = is_whole || used < plan::TOPICS;
                (stage, is_whole) = if is_next { (used + 1, false) } else { (used, true) };
                continue;
            };
            if self.take_step(step) {
                (stage, misses, is_whole) = (0, 0, false);
            } else {
                misses += 1;
                if misses % MISSES_MAX == 0 {
                    self.plan.clear();
                }
            }
        }
    }

    /// Whether harsher means are next, and a new plan would hardly change that.
    fn is_out_of_pairs(&self) -> bool {
        !self.has_many_pairs && !matches!(self.plan.front(), Some(Step::Pair(..)))
    }
}

/// Summarises selectors of one class: what they want, in `budget` entries at most.
///
/// Exact without what repeats or is covered, as far as that is found, where that is within the
/// budget; else a superset within it. Only topics that begin with `$` can exceed it: no wildcard
/// matches two of them. The order of `selectors` does not matter.
/// `O(selectors log selectors)` comparisons of texts, and as many of predicates.
pub fn summarise<'s>(selectors: impl IntoIterator<Item = &'s Selector>, budget: usize) -> Summary {
    let mut asks: Vec<Ask> = selectors.into_iter().map(|selector| Ask::new(0, selector)).collect();
    asks.sort_unstable();
    asks.dedup();
    let mut summary = Summary::new(budget, usize::MAX);
    asks.into_iter().for_each(|ask| summary.insert(ask));
    summary.leave_covered_out();
    while summary.settle(usize::MAX) {}
    summary
}
