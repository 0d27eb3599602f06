//! Cells: asks that share an entry. How asks come to share one stands in `share`, how a cell is
//! opened again in `open`.
//!
//! 1. A cell's entry covers each of its asks, and is held as long as there is one.
//! 2. A cell of a topic filter holds all asks of that filter, a cell of a beginning all that
//!    begin so, unless it is being opened. A cell of a hull holds those that were joined.
//! 3. A cell is *wide* unless somebody asks for just what its entry says.
//! 4. At most one cell is being opened, ask by ask; its entry goes with the last of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Ask;
use crate::topic::TopicFilter;

mod open;
mod share;

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
    // A first level that is empty has no name of its own here: it is among all.
    none.into_iter().chain(ends.filter(move |end| !is_rest_alone && *end > 0).map(move |end| &literal[..end]))
}
