//! Filters that are nothing but ranges of numbers, as boxes in space.
//!
//! A block of boxes has up to 64 lanes, each a box with what it leads to: an entry or a list in a
//! leaf; in a node, a block of the level below, with the box around all that is in it. An event is
//! a point, compared with all lanes of a block at once. `tree` says how blocks come to be.
//!
//! | block | words |
//! |---|---|
//! | boxes | chain or inner block of other entries, meta, sets, holes, owner (2), how many sets |
//! | sets | used, size, sets; 0 where one was removed |
//! | set | root, boxes, place among the sets, how many attributes, attributes in order |
//! | box | used, meta, shape, set, parent, bounds, columns, planes, targets, more planes |
//!
//! 1. There is a column for each side of each attribute. Bounds are written less the column's base,
//!    and in slices: a plane has one bit of each lane, the highest first. Two words are one plane.
//! 2. The first [`TOP`] planes mostly tell. Lanes that they do not tell apart from the point are
//!    decided by the planes behind them in a leaf, and are let pass in a node.
//! 3. A leaf's lanes are appended: nobody reads a lane's bits before `used` counts it. Of a node,
//!    only the words change that lead to the level below. `bounds` are the writer's.
//! 4. A set's root is a chain of entries as long as they are few.

use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, Handle};
use super::blocks::{Kind, meta};
use super::entry::NOBODY;
use super::seen::{Rank, Seen};

pub(super) mod shape;
mod tree;

#[cfg(test)]
mod tests;

pub(super) use tree::Sets;

/// Lanes of a block.
pub(super) const LANES: usize = 64;
/// The most attributes of a set.
pub(super) const SIDES_MAX: usize = 8;
/// A low and a high side of each attribute.
pub(super) const COLUMNS_MAX: usize = 2 * SIDES_MAX;
/// Planes that are always read.
pub(super) const TOP: usize = 8;

pub(super) const PLAIN: usize = 0;
pub(super) const SETS: usize = 2;
const HOLES: usize = 3;
const SETS_COUNT: usize = 6;
const BOXES_WORDS: usize = 7;

const SETS_HEAD: usize = 2;

pub(super) const ROOT: usize = 0;
pub(super) const SET_BOXES: usize = 1;
const SET_PLACE: usize = 2;
const SET_SIDES: usize = 3;
const SET_HEAD: usize = 4;

const SHAPE: usize = 2;
pub(super) const BOX_SET: usize = 3;
const PARENT: usize = 4;
const BOUNDS: usize = 5;
const COLUMNS: usize = 6;
/// Words of a column's description: base, and its form.
const COLUMN_WORDS: usize = 2;
const TOP_WORDS: usize = 2 * TOP;
/// Words of a cache line.
const LINE: usize = 16;

/// How a column is written.
#[derive(Clone, Copy)]
struct Form(u32);

impl Form {
    const OPEN: u32 = 1 << 6;
    const STRICT: u32 = 1 << 7;

    /// Bits of a bound, less the base: [`TOP`] to 32.
    fn bits(self) -> u32 {
        self.0 & 63
    }

    /// Whether some lanes have no bound.
    fn has_open(self) -> bool {
        self.0 & Form::OPEN != 0
    }

    /// Whether some lanes compare as `LOW_STRICT` or `HIGH_STRICT` says.
    fn has_strict(self) -> bool {
        self.0 & Form::STRICT != 0
    }

    /// Where the planes behind the first are, then those of open and of strict lanes.
    fn more(self) -> usize {
        (self.0 >> 8) as usize
    }
}

/// Level and columns of a block.
#[derive(Clone, Copy)]
struct Shape(u32);

impl Shape {
    fn new(level: usize, columns: usize) -> Shape {
        Shape(level as u32 | (columns as u32) << 8)
    }

    fn level(self) -> usize {
        (self.0 & 0xff) as usize
    }

    fn columns(self) -> usize {
        (self.0 >> 8) as usize
    }

    fn top(self) -> usize {
        COLUMNS + COLUMN_WORDS * self.columns()
    }

    fn targets(self) -> usize {
        self.top() + TOP_WORDS * self.columns()
    }
}

/// An event's number as the sides of boxes compare it.
#[derive(Clone, Copy, Default)]
pub(super) struct Coordinate {
    pub(super) floor: i64,
    pub(super) ceiling: i64,
}

#[inline]
fn pair(words: &[AtomicU32], at: usize) -> u64 {
    let [low, high] = [at, at + 1].map(|at| u64::from(words[at].load(Ordering::Relaxed)));
    low | high << 32
}

/// The lanes that are in use.
fn lanes(used: u32) -> u64 {
    match used {
        0 => 0,
        used => u64::MAX >> (LANES as u32 - used),
    }
}

/// Whether a column has low bounds; high ones otherwise.
fn is_low(column: usize) -> bool {
    column & 1 == 0
}

/// Where a number stands in a column.
struct Position {
    code: u32,
    /// Not below the column's base.
    is_from_base: bool,
    /// Not above all that the column can hold.
    is_within: bool,
}

impl Position {
    #[inline]
    fn new(base: u32, form: Form, value: i64) -> Position {
        let relative = value.saturating_sub(i64::from(base as i32));
        let last = (1_i64 << form.bits()) - 1;
        let code = relative.clamp(0, last) as u32;
        Position { code, is_from_base: relative >= 0, is_within: relative <= last }
    }
}

/// Compares lanes with a number, one plane after another.
#[derive(Clone, Copy)]
struct Compared {
    /// Lanes whose bound is less than the number.
    less: u64,
    /// Lanes that the planes so far do not tell from the number.
    equal: u64,
}

impl Compared {
    /// With one more plane. The number's bit in it is the highest of `code`.
    #[inline]
    fn with(self, plane: u64, code: u64) -> Compared {
        // All ones or none, without a branch.
        let ones = (code as i64 >> 63) as u64;
        let differs = plane ^ ones;
        Compared { less: self.less | (self.equal & differs & ones), equal: self.equal & !differs }
    }

    /// The lanes whose low, or high, bound the number keeps, or may keep by the planes so far.
    #[inline]
    fn kept(self, column: usize, position: &Position) -> u64 {
        if is_low(column) {
            if position.is_from_base { self.less | self.equal } else { 0 }
        } else if position.is_within {
            !self.less
        } else {
            0
        }
    }
}

/// One column of a block.
struct Column<'b> {
    words: &'b [AtomicU32],
    number: usize,
    base: u32,
    form: Form,
    top: usize,
}

impl<'b> Column<'b> {
    #[inline]
    fn new(words: &'b [AtomicU32], shape: Shape, number: usize) -> Column<'b> {
        let at = COLUMNS + COLUMN_WORDS * number;
        let [base, form] = [at, at + 1].map(|at| words[at].load(Ordering::Relaxed));
        Column { words, number, base, form: Form(form), top: shape.top() + TOP_WORDS * number }
    }

    #[inline]
    fn position(&self, value: i64) -> Position {
        Position::new(self.base, self.form, value)
    }

    #[inline]
    fn compare_top(&self, code: u32) -> Compared {
        let mut compared = Compared { less: 0, equal: u64::MAX };
        let Some(words) = self.words[self.top..].first_chunk::<TOP_WORDS>() else { return compared };
        // The highest bit of the code becomes that of a word.
        let code = u64::from(code) << (u64::BITS - self.form.bits());
        let (planes, _) = words.as_chunks::<2>();
        for (plane, halves) in planes.iter().enumerate() {
            let [low, high] = [0, 1].map(|half| u64::from(halves[half].load(Ordering::Relaxed)));
            compared = compared.with(low | high << 32, code << plane);
        }
        compared
    }

    /// Goes on with the planes behind the first.
    fn compare_rest(&self, mut compared: Compared, code: u32) -> Compared {
        let more = self.form.bits() as usize - TOP;
        for plane in 0..more {
            let words = pair(self.words, self.form.more() + 2 * plane);
            compared = compared.with(words, u64::from(code) << (64 - more + plane));
        }
        compared
    }

    /// Where the masks are: a leaf has them behind the planes, a node has no further planes.
    fn masks(&self, is_leaf: bool) -> usize {
        self.form.more() + if is_leaf { 2 * (self.form.bits() as usize - TOP) } else { 0 }
    }

    fn open(&self, is_leaf: bool) -> u64 {
        if self.form.has_open() { pair(self.words, self.masks(is_leaf)) } else { 0 }
    }

    fn strict(&self) -> u64 {
        let at = self.masks(true) + if self.form.has_open() { 2 } else { 0 };
        if self.form.has_strict() { pair(self.words, at) } else { 0 }
    }

    /// Where a plane is.
    fn plane(&self, plane: usize) -> usize {
        if plane < TOP { self.top + 2 * plane } else { self.form.more() + 2 * (plane - TOP) }
    }

    /// The bit of a bound that a plane has.
    fn bit(&self, code: u32, plane: usize) -> bool {
        code >> (self.form.bits() as usize - 1 - plane) & 1 == 1
    }

    /// The bounds lane by lane, in a leaf: the writer's way to read.
    fn decode(&self) -> [i32; LANES] {
        let bits = self.form.bits() as usize;
        let mut bounds = [0; LANES];
        for (half, bounds) in bounds.chunks_exact_mut(LANES / 2).enumerate() {
            let mut rows = [0; 32];
            for plane in 0..bits {
                rows[bits - 1 - plane] = self.words[self.plane(plane) + half].load(Ordering::Relaxed);
            }
            shape::transpose(&mut rows);
            bounds
                .iter_mut()
                .zip(rows)
                .for_each(|(bound, code)| *bound = code.wrapping_add(self.base) as i32);
        }
        bounds
    }

    /// The lanes of a leaf whose bound `value` keeps, without regard to open lanes.
    fn kept(&self, value: i64) -> u64 {
        let position = self.position(value);
        let compared = self.compare_rest(self.compare_top(position.code), position.code);
        compared.kept(self.number, &position)
    }
}

/// The lanes of a block that the point is in, or, of a node, may be in.
#[inline]
fn probe(words: &[AtomicU32], shape: Shape, point: &[Coordinate], used: u32) -> u64 {
    let is_leaf = shape.level() == 0;
    let mut mask = lanes(used);
    let mut edges = [0; COLUMNS_MAX];
    let mut edge = 0;
    for (side, coordinate) in point.iter().enumerate() {
        // Both are the same in leaves. A box around others must not miss what is strict in one.
        for (number, value) in [(2 * side, coordinate.ceiling), (2 * side + 1, coordinate.floor)] {
            let column = Column::new(words, shape, number);
            let position = column.position(value);
            let compared = column.compare_top(position.code);
            let open = column.open(is_leaf);
            mask &= compared.kept(number, &position) | open;
            edges[number] = compared.equal & !open;
            edge |= edges[number];
        }
        if mask == 0 {
            return 0;
        }
    }
    if is_leaf && edge & mask != 0 { refine(words, shape, point, mask, &edges) } else { mask }
}

/// Decides the lanes that the first planes left open.
fn refine(
    words: &[AtomicU32],
    shape: Shape,
    point: &[Coordinate],
    mut mask: u64,
    edges: &[u64; COLUMNS_MAX],
) -> u64 {
    for (number, edge) in edges.iter().enumerate().take(shape.columns()) {
        let equal = edge & mask;
        if equal != 0 {
            let column = Column::new(words, shape, number);
            let position = column.position(point[number / 2].floor);
            let compared = column.compare_rest(Compared { less: 0, equal }, position.code);
            mask &= !equal | compared.kept(number, &position);
        }
    }
    mask
}

/// The lanes of a leaf that a point is in which lies between integers.
fn probe_fraction(words: &[AtomicU32], shape: Shape, point: &[Coordinate], used: u32) -> u64 {
    let mut mask = lanes(used);
    for number in 0..shape.columns() {
        let Coordinate { floor, ceiling } = point[number / 2];
        let column = Column::new(words, shape, number);
        let (loose, tight) = if is_low(number) { (floor, ceiling) } else { (ceiling, floor) };
        let strict = column.strict();
        mask &= (column.kept(loose) & !strict) | (column.kept(tight) & strict) | column.open(true);
    }
    mask
}

/// Where the event is in the space of a set; `None` if it has no number for each attribute.
#[inline]
fn point_of(set: &[AtomicU32], seen: &Seen) -> Option<([Coordinate; SIDES_MAX], usize)> {
    let sides = set[SET_SIDES].load(Ordering::Relaxed) as usize;
    let mut point = [Coordinate::default(); SIDES_MAX];
    for (coordinate, attribute) in point.iter_mut().zip(&set[SET_HEAD..SET_HEAD + sides]) {
        let reading = seen.reading(attribute.load(Ordering::Relaxed) as u16)?;
        if reading.rank != Rank::Number {
            return None;
        }
        *coordinate = Coordinate { floor: reading.floor, ceiling: reading.ceiling };
    }
    Some((point, sides))
}

/// A reader's memory for blocks that are to be read, and how many lanes of each are in use.
#[derive(Default)]
pub(super) struct Waiting {
    blocks: Vec<(Handle, u32)>,
    /// Of words that were read ahead. Says nothing: it lets the reading be of use.
    ahead: u32,
}

/// Hands what the boxes of `boxes` lead to that the event is in to `found`, and the chains of sets
/// with few entries to `chain`.
pub(super) fn visit(
    arena: &Arena,
    boxes: Handle,
    seen: &Seen,
    waiting: &mut Waiting,
    mut chain: impl FnMut(Handle),
    mut found: impl FnMut(u32),
) {
    let sets = arena.words(arena.load(boxes, SETS));
    let used = sets[0].load(Ordering::Acquire) as usize;
    for set in &sets[SETS_HEAD..SETS_HEAD + used] {
        let set = set.load(Ordering::Acquire);
        if set == 0 {
            continue;
        }
        let words = arena.words(set);
        let Some((point, sides)) = point_of(words, seen) else { continue };
        match words[ROOT].load(Ordering::Acquire) {
            0 => {}
            root if meta(arena, root).kind() == Kind::Box => {
                descend(arena, root, &point[..sides], waiting, &mut found);
            }
            root => chain(root),
        }
    }
}

/// Asks the memory for the lines of a block that are always read.
fn read_ahead(words: &[AtomicU32], shape: Shape) -> u32 {
    let lines = words[LINE..].iter().step_by(LINE).take(shape.targets() / LINE);
    lines.fold(0, |all, word| all ^ word.load(Ordering::Relaxed))
}

fn descend(
    arena: &Arena,
    root: Handle,
    point: &[Coordinate],
    waiting: &mut Waiting,
    found: &mut impl FnMut(u32),
) {
    let is_whole = point.iter().all(|coordinate| coordinate.floor == coordinate.ceiling);
    waiting.blocks.clear();
    waiting.blocks.push((root, arena.words(root)[0].load(Ordering::Acquire)));
    let mut next = 0;
    while let Some((block, used)) = waiting.blocks.get(next).copied() {
        next += 1;
        let words = arena.words(block);
        let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
        let is_leaf = shape.level() == 0;
        let mut mask = if is_leaf && !is_whole {
            probe_fraction(words, shape, point, used)
        } else {
            probe(words, shape, point, used)
        };
        let Some(targets) = words[shape.targets()..].first_chunk::<LANES>() else { continue };
        while mask != 0 {
            let target = targets[mask.trailing_zeros() as usize].load(Ordering::Acquire);
            mask &= mask - 1;
            if !is_leaf {
                // The memory is asked for all of them before the first is read.
                let below = arena.words(target);
                waiting.blocks.push((target, below[0].load(Ordering::Acquire)));
                waiting.ahead ^= read_ahead(below, shape);
            } else if target != NOBODY {
                found(target);
            }
        }
    }
}
