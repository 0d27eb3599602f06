//! Cells: asks that share an entry. How asks enter and leave them, and how cells are opened again.
//!
//! 1. A cell's entry covers each of its asks, and is held as long as there is one.
//! 2. A cell of a topic filter holds all asks of that filter, a cell of a beginning all that
//!    begin so, unless it is being opened. A cell of a hull holds those that were joined.
//! 3. A cell is *wide* unless somebody asks for just what its entry says.
//! 4. At most one cell is being opened, ask by ask; its entry goes with the last of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::plan::are_alike;
use super::{Ask, Place, Summary};
use crate::topic::TopicFilter;

/// Names a cell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CellId(u64);

/// What a cell stands for; the widest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Beginning,
    Topic,
    Hull,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// All that begins with these levels; none for all that does not begin with `$`.
    Beginning(Box<str>),
    /// All of one topic filter.
    Topic(TopicFilter),
    /// These.
    Hull(BTreeSet<Arc<Ask>>),
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) entry: Arc<Ask>,
    shape: Shape,
    asks: usize,
    bytes: usize,
    is_wide: bool,
}

/// All cells, and the ways to find one.
#[derive(Debug, Default)]
pub(super) struct Cells {
    id_last: u64,
    by_id: BTreeMap<CellId, Cell>,
    by_beginning: BTreeMap<u8, BTreeMap<Box<str>, CellId>>,
    by_topic: BTreeMap<u8, BTreeMap<TopicFilter, CellId>>,
    hulls: usize,
    /// Wide cells, the widest first, those of few asks first among them.
    wide: BTreeSet<(Width, usize, CellId)>,
}

/// A cell that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) cell: CellId,
    /// Its asks, as far as they were not reached yet.
    rest: Vec<Arc<Ask>>,
}

impl Cells {
    pub(super) fn has_wide(&self) -> bool {
        !self.wide.is_empty()
    }

    pub(super) fn get(&self, id: CellId) -> Option<&Cell> {
        self.by_id.get(&id)
    }

    /// One more ask in a cell.
    pub(super) fn join(&mut self, id: CellId, ask: &Arc<Ask>) {
        self.change(id, |cell| {
            cell.asks += 1;
            cell.bytes += ask.bytes();
            if let Shape::Hull(members) = &mut cell.shape {
                members.insert(Arc::clone(ask));
            }
        });
    }

    fn change(&mut self, id: CellId, change: impl FnOnce(&mut Cell)) {
        let Some(cell) = self.by_id.get_mut(&id) else { return };
        self.wide.remove(&(cell.width(), cell.asks, id));
        change(cell);
        if cell.is_wide {
            self.wide.insert((cell.width(), cell.asks, id));
        }
    }

    fn add(&mut self, cell: Cell) -> CellId {
        self.id_last += 1;
        let id = CellId(self.id_last);
        let class = cell.entry.class();
        match &cell.shape {
            Shape::Beginning(levels) => {
                self.by_beginning.entry(class).or_default().insert(levels.clone(), id);
            }
            Shape::Topic(topic) => {
                self.by_topic.entry(class).or_default().insert(topic.clone(), id);
            }
            Shape::Hull(_) => self.hulls += 1,
        }
        self.by_id.insert(id, cell);
        self.change(id, |_| {});
        id
    }

    fn take(&mut self, id: CellId) -> Option<Cell> {
        let cell = self.by_id.remove(&id)?;
        let class = cell.entry.class();
        self.wide.remove(&(cell.width(), cell.asks, id));
        match &cell.shape {
            Shape::Beginning(levels) => take_if(&mut self.by_beginning, class, &**levels, id),
            Shape::Topic(topic) => take_if(&mut self.by_topic, class, topic, id),
            Shape::Hull(_) => self.hulls -= 1,
        }
        Some(cell)
    }

    /// The cell of all asks that begin with these levels.
    pub(super) fn of_beginning(&self, class: u8, levels: &str) -> Option<CellId> {
        self.by_beginning.get(&class)?.get(levels).copied()
    }

    /// The cell of all asks of a topic filter.
    pub(super) fn of_topic(&self, class: u8, topic: &TopicFilter) -> Option<CellId> {
        self.by_topic.get(&class)?.get(topic).copied()
    }

    fn has_beginnings(&self, class: u8) -> bool {
        self.by_beginning.get(&class).is_some_and(|cells| !cells.is_empty())
    }
}

/// Forgets the place of a cell, unless a newer one has taken it.
fn take_if<K: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(
    places: &mut BTreeMap<u8, BTreeMap<K, CellId>>,
    class: u8,
    key: &Q,
    id: CellId,
) {
    if let Some(cells) = places.get_mut(&class)
        && cells.get(key) == Some(&id)
    {
        cells.remove(key);
    }
}

impl Cell {
    fn width(&self) -> Width {
        match self.shape {
            Shape::Beginning(_) => Width::Beginning,
            Shape::Topic(_) => Width::Topic,
            Shape::Hull(_) => Width::Hull,
        }
    }

    pub(super) fn is_hull(&self) -> bool {
        self.width() == Width::Hull
    }

    /// The levels that all its asks begin with, if these decide.
    pub(super) fn beginning(&self) -> Option<&str> {
        match &self.shape {
            Shape::Beginning(levels) => Some(levels),
            _ => None,
        }
    }

    /// The first of a hull's asks.
    pub(super) fn first_of_hull(&self) -> Option<&Arc<Ask>> {
        match &self.shape {
            Shape::Hull(members) => members.first(),
            _ => None,
        }
    }

    /// How many asks share it.
    pub(super) fn asks(&self) -> usize {
        self.asks
    }
}

/// The beginnings of a topic filter under which it may be found: no levels, then one more each.
/// `a/#` asks for all that begins with `a`.
pub(super) fn beginnings(topic: &str) -> impl Iterator<Item = &str> {
    let literal = if topic == "#" { "" } else { topic.strip_suffix("/#").unwrap_or(topic) };
    let none = (!topic.starts_with('$')).then_some("");
    let ends = literal.match_indices('/').map(|(at, _)| at).chain([literal.len()]);
    let is_rest_alone = topic == "#";
    none.into_iter().chain(ends.filter(move |_| !is_rest_alone).map(move |end| &literal[..end]))
}

impl Summary {
    /// The cell that stands for a new ask.
    pub(super) fn home(&self, ask: &Arc<Ask>) -> Option<CellId> {
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
    pub(super) fn judge_cells_of(&mut self, ask: &Arc<Ask>) {
        let Some(entry) = self.entries.get(ask) else { return };
        let is_wide = !self.asks.contains_key(ask);
        for id in entry.cells.clone() {
            self.cells.change(id, |cell| cell.is_wide = is_wide);
        }
    }

    /// An ask leaves its cell, which goes with its last one.
    pub(super) fn leave(&mut self, id: CellId, ask: &Arc<Ask>) {
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
    pub(super) fn gather(&mut self, entry: Ask, shape: Shape) -> bool {
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
    pub(super) fn join_neighbour(&mut self, ask: &Arc<Ask>) -> bool {
        let range = |bounds| self.asks.range::<Ask, _>(bounds).map(|(other, _)| Arc::clone(other));
        let before = range((Unbounded, Excluded(&**ask))).next_back();
        let after = range((Excluded(&**ask), Unbounded)).next();
        let neighbours = before.into_iter().chain(after).filter(|other| are_alike(ask, other));
        neighbours.collect::<Vec<_>>().iter().any(|other| self.join_pair(other, ask))
    }

    /// Joins two asks or hulls of one topic filter. False if little would be left of their
    /// predicates. `O(smaller log asks)`.
    pub(super) fn join_pair(&mut self, one: &Arc<Ask>, other: &Arc<Ask>) -> bool {
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
    pub(super) fn of_topic(&self, class: u8, topic: &TopicFilter) -> Vec<Arc<Ask>> {
        let from = Ask::least(class, topic.as_str());
        let asks = self.asks.range::<Ask, _>((Included(&from), Unbounded)).map(|(ask, _)| ask);
        asks.take_while(|ask| (ask.class(), ask.topic()) == (class, topic)).cloned().collect()
    }

    /// All asks that begin with these levels; without levels, all that do not begin with `$`.
    fn below(&self, class: u8, levels: &str) -> Vec<Arc<Ask>> {
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

    /// One step of narrowing: begins to open a cell that there is room for, or opens it for one
    /// ask more. False if there is nothing to do or no room.
    pub(super) fn open_some(&mut self) -> bool {
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
