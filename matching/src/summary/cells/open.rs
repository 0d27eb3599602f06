//! Opening a wide cell where there is room: each of its asks gets an entry of its own.
//!
//! 1. One cell at a time, one ask a step, so that the caller sets the pace.
//! 2. The cell's entry goes with its last ask. Asks that come meanwhile are exact from the start.

use super::{Cell, CellId, Opening, Shape, Width};
use crate::summary::{Place, Summary};

impl Summary {
    /// One step of narrowing: begins to open a cell that there is room for, or opens it for one
    /// ask more. False if there is nothing to do or no room.
    pub(in crate::summary) fn open_some(&mut self) -> bool {
        let Some(mut opening) = self.opening.take() else {
            return self.begin_to_open();
        };
        let id = opening.cell;
        let next = loop {
            match opening.rest.last() {
                Some(ask) if self.asks.get(ask).is_none_or(|held| held.place != Place::In(id)) => {
                    opening.rest.pop();
                }
                next => break next.cloned(),
            }
        };
        let Some(ask) = next else { return true };
        // Put back before the ask leaves: the last one takes cell and opening along.
        self.opening = Some(opening);
        // The last one takes the cell's entry along.
        let is_last = self.cells.get(id).is_none_or(|cell| cell.asks == 1 && self.is_only_holder(cell));
        if !is_last && (self.len() >= self.entries_max || self.bytes + ask.bytes() > self.bytes_max) {
            return false;
        }
        self.hold(&ask);
        if let Some(held) = self.asks.get_mut(&ask) {
            held.place = Place::Exact;
        }
        self.leave(id, &ask);
        true
    }

    /// Whether a cell's entry goes with it.
    fn is_only_holder(&self, cell: &Cell) -> bool {
        self.entries.get(&cell.entry).is_some_and(|entry| entry.holders == 1)
    }

    fn begin_to_open(&mut self) -> bool {
        let least = |width| self.cells.wide.range((width, 0, CellId(0))..).next().copied();
        let fits = |(_, asks, id): &(Width, usize, CellId)| {
            self.cells.get(*id).is_some_and(|cell| {
                let freed = usize::from(self.is_only_holder(cell));
                self.has_room(asks.saturating_sub(freed), cell.bytes)
            })
        };
        let widths = [Width::Beginning, Width::Topic, Width::Hull];
        let Some((_, _, id)) = widths.into_iter().filter_map(least).find(fits) else { return false };
        let Some(cell) = self.cells.get(id) else { return false };
        let mut rest = match &cell.shape {
            Shape::Beginning(levels) => self.below(cell.entry.class(), levels),
            Shape::Topic(topic) => self.of_topic(cell.entry.class(), topic),
            Shape::Hull(members) => members.iter().cloned().collect(),
        };
        rest.reverse();
        self.opening = Some(Opening { cell: id, rest });
        true
    }
}
