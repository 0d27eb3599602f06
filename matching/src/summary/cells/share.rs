//! How asks come to share an entry, and leave it.
//!
//! 1. The entry that asks are to share is held before their own are given up.
//! 2. Two asks or hulls of one topic filter are joined at once; what a wider cell stands for is
//!    withdrawn little by little.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::{Cell, CellId, Shape, beginnings};
use crate::summary::plan::are_alike;
use crate::summary::{Ask, Place, Summary};
use crate::topic::TopicFilter;

impl Summary {
    /// The cell that stands for a new ask.
    pub(in crate::summary) fn home(&self, ask: &Arc<Ask>) -> Option<CellId> {
        let class = ask.class();
        let is_shut = |id: &CellId| self.opening.as_ref().is_none_or(|opening| opening.cell != *id);
        if self.cells.has_beginnings(class) {
            let cells =
                beginnings(ask.topic().as_str()).filter_map(|levels| self.cells.of_beginning(class, levels));
            if let Some(cell) = cells.into_iter().find(is_shut) {
                return Some(cell);
            }
        }
        self.cells
            .of_topic(class, ask.topic())
            .filter(is_shut)
            .or_else(|| self.near_hull(ask).filter(is_shut))
    }

    /// The cell of the ask before in the order, if it is a hull that covers this one too.
    fn near_hull(&self, ask: &Arc<Ask>) -> Option<CellId> {
        if self.cells.hulls == 0 {
            return None;
        }
        let (before, held) = self.asks.range::<Ask, _>((Unbounded, Excluded(&**ask))).next_back()?;
        let Place::In(id) = held.place else { return None };
        let cell = self.cells.get(id).filter(|cell| cell.is_hull())?;
        (before.differs_by_predicate(ask) && cell.entry.covers_predicate(ask)).then_some(id)
    }

    /// Somebody asks, or nobody any more, for what `ask` says: cells of that entry are no longer
    /// wide, or are.
    pub(in crate::summary) fn judge_cells_of(&mut self, ask: &Arc<Ask>) {
        let Some(entry) = self.entries.get(ask) else { return };
        let is_wide = !self.asks.contains_key(ask);
        for id in entry.cells.clone() {
            self.cells.change(id, |cell| cell.is_wide = is_wide);
        }
    }

    /// An ask leaves its cell, which goes with its last one.
    pub(in crate::summary) fn leave(&mut self, id: CellId, ask: &Arc<Ask>) {
        let mut is_empty = false;
        self.cells.change(id, |cell| {
            cell.asks -= 1;
            cell.bytes -= ask.bytes();
            if let Shape::Hull(members) = &mut cell.shape {
                members.remove(ask);
            }
            is_empty = cell.asks == 0;
        });
        if is_empty && let Some(entry) = self.forget_cell(id) {
            self.release(&entry);
        }
    }

    /// Takes a cell away; its entry, which it no longer counts for but still holds.
    fn forget_cell(&mut self, id: CellId) -> Option<Arc<Ask>> {
        let cell = self.cells.take(id)?;
        self.unlist_cell(&cell.entry, id);
        if self.opening.as_ref().is_some_and(|opening| opening.cell == id) {
            self.opening = None;
        }
        Some(cell.entry)
    }

    fn unlist_cell(&mut self, entry: &Arc<Ask>, id: CellId) {
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.cells.retain(|other| *other != id);
        }
    }

    /// One more holder for the entry of a cell.
    fn hold_as(&mut self, entry: Ask) -> Arc<Ask> {
        let entry = match self.entries.get_key_value(&entry) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(entry),
        };
        self.hold(&entry);
        entry
    }

    /// A new cell, without its asks: its entry is added first.
    fn make_cell(&mut self, entry: Ask, shape: Shape) -> CellId {
        let entry = self.hold_as(entry);
        let is_wide = !self.asks.contains_key(&entry);
        let id = self.cells.add(Cell { entry: Arc::clone(&entry), shape, asks: 0, bytes: 0, is_wide });
        if let Some(entry) = self.entries.get_mut(&entry) {
            entry.cells.push(id);
        }
        id
    }

    /// Makes one cell of `asks`, which are all that its shape stands for. What their entries said
    /// is withdrawn little by little. False, and nothing done, if that frees no entry.
    pub(in crate::summary) fn gather(&mut self, entry: Ask, shape: Shape) -> bool {
        let asks = match &shape {
            Shape::Beginning(levels) => self.below(entry.class(), levels),
            Shape::Topic(topic) => self.of_topic(entry.class(), topic),
            Shape::Hull(members) => members.iter().cloned().collect(),
        };
        let places: Vec<Place> =
            asks.iter().filter_map(|ask| self.asks.get(ask)).map(|held| held.place).collect();
        let cells: BTreeSet<CellId> = places
            .iter()
            .filter_map(|place| match place {
                Place::In(cell) => Some(*cell),
                Place::Exact => None,
            })
            .collect();
        let freed = cells.len() + places.iter().filter(|place| **place == Place::Exact).count();
        if freed < 2 {
            return false;
        }
        let is_pair = matches!(shape, Shape::Hull(_));
        let new = self.make_cell(entry, shape);
        for (ask, place) in asks.iter().zip(&places) {
            if let Some(held) = self.asks.get_mut(ask) {
                held.place = Place::In(new);
            }
            if *place == Place::Exact {
                self.stale.push_back(Arc::clone(ask));
            }
        }
        self.cells.change(new, |cell| {
            cell.asks = asks.len();
            cell.bytes = asks.iter().map(|ask| ask.bytes()).sum();
        });
        let entries: Vec<_> = cells.into_iter().filter_map(|cell| self.forget_cell(cell)).collect();
        self.stale.extend(entries);
        // Two entries for one: at once.
        while is_pair && self.withdraw_stale() {}
        true
    }

    /// Joins a new ask with the one before or after it in the order, if they are alike.
    pub(in crate::summary) fn join_neighbour(&mut self, ask: &Arc<Ask>) -> bool {
        let range = |bounds| self.asks.range::<Ask, _>(bounds).map(|(other, _)| Arc::clone(other));
        let before = range((Unbounded, Excluded(&**ask))).next_back();
        let after = range((Excluded(&**ask), Unbounded)).next();
        let neighbours = before.into_iter().chain(after).filter(|other| are_alike(ask, other));
        neighbours.collect::<Vec<_>>().iter().any(|other| self.join_pair(other, ask))
    }

    /// Joins two asks or hulls of one topic filter. False if little would be left of their
    /// predicates. `O(smaller log asks)`.
    pub(in crate::summary) fn join_pair(&mut self, one: &Arc<Ask>, other: &Arc<Ask>) -> bool {
        let Some((hull, other_hull)) = self.hull_of(one).zip(self.hull_of(other)) else { return false };
        if hull.is_some() && hull == other_hull {
            return false;
        }
        let Some(joined) = self.entry_of(one).join(&self.entry_of(other)) else { return false };
        let asks = |id: Option<CellId>| id.and_then(|id| self.cells.get(id)).map_or(0, |cell| cell.asks);
        let (host, guest, guest_hull) =
            if asks(hull) < asks(other_hull) { (other_hull, one, hull) } else { (hull, other, other_hull) };
        match host {
            None => self.gather(joined, Shape::Hull(BTreeSet::from([one.clone(), other.clone()]))),
            Some(host) => self.take_in(host, guest, guest_hull, joined),
        }
    }

    /// A hull takes in another, or one exact ask, and gets an entry that covers both.
    fn take_in(&mut self, host: CellId, guest: &Arc<Ask>, hull: Option<CellId>, entry: Ask) -> bool {
        let entry = self.hold_as(entry);
        let guests = match hull.and_then(|id| self.cells.get(id)).map(|cell| &cell.shape) {
            Some(Shape::Hull(members)) => members.iter().cloned().collect(),
            _ => vec![Arc::clone(guest)],
        };
        for guest in &guests {
            self.cells.join(host, guest);
            if let Some(held) = self.asks.get_mut(guest) {
                held.place = Place::In(host);
            }
        }
        let is_wide = !self.asks.contains_key(&entry);
        let mut before = Arc::clone(&entry);
        self.cells.change(host, |cell| {
            cell.is_wide = is_wide;
            before = std::mem::replace(&mut cell.entry, Arc::clone(&entry));
        });
        self.unlist_cell(&before, host);
        if let Some(held) = self.entries.get_mut(&entry) {
            held.cells.push(host);
        }
        self.release(&before);
        let guest_entry = hull.map_or(Some(Arc::clone(guest)), |id| self.forget_cell(id));
        guest_entry.iter().for_each(|entry| self.release(entry));
        true
    }

    /// The hull that an ask is in; `Some(None)` for an exact one. `None` if it is gone, or in a
    /// cell that is wider or being opened.
    fn hull_of(&self, ask: &Arc<Ask>) -> Option<Option<CellId>> {
        match self.asks.get(ask)?.place {
            Place::Exact => Some(None),
            Place::In(id) if self.opening.as_ref().is_some_and(|opening| opening.cell == id) => None,
            Place::In(id) => self.cells.get(id).filter(|cell| cell.is_hull()).map(|_| Some(id)),
        }
    }

    fn entry_of(&self, ask: &Arc<Ask>) -> Arc<Ask> {
        let cell = self.asks.get(ask).and_then(|held| match held.place {
            Place::In(id) => self.cells.get(id),
            Place::Exact => None,
        });
        cell.map_or_else(|| Arc::clone(ask), |cell| Arc::clone(&cell.entry))
    }

    /// All asks of one topic filter.
    pub(in crate::summary) fn of_topic(&self, class: u8, topic: &TopicFilter) -> Vec<Arc<Ask>> {
        let from = Ask::least(class, topic.as_str());
        let asks = self.asks.range::<Ask, _>((Included(&from), Unbounded)).map(|(ask, _)| ask);
        asks.take_while(|ask| (ask.class(), ask.topic()) == (class, topic)).cloned().collect()
    }

    /// All asks that begin with these levels; without levels, all that do not begin with `$`.
    pub(super) fn below(&self, class: u8, levels: &str) -> Vec<Arc<Ask>> {
        let from = |text: &str| {
            let from = Ask::least(class, text);
            let asks = self.asks.range::<Ask, _>((Included(from), Unbounded)).map(|(ask, _)| ask);
            asks.take_while(move |ask| ask.class() == class)
        };
        if levels.is_empty() {
            return from("").filter(|ask| !ask.topic().as_str().starts_with('$')).cloned().collect();
        }
        let deeper = format!("{levels}/");
        let same = from(levels).take_while(|ask| ask.topic().as_str() == levels);
        same.chain(from(&deeper).take_while(|ask| ask.topic().as_str().starts_with(&deeper)))
            .cloned()
            .collect()
    }
}
