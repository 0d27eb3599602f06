//! Filters that are nothing but ranges of numbers, as boxes in space.
//!
//! A block of boxes has up to 64 lanes, each a box with what it leads to: an entry or a list in a
//! leaf; in a node, a block of the level below, with the box around all that is in it. An event is
//! a point, compared with all lanes of a block at once. `tree` says how blocks come to be, `visit` how an
//! event finds them.
//!
//! | block | words |
//! |---|---|
//! | boxes | chain or inner block of other entries, meta, sets, holes, owner (2), how many sets |
//! | sets | used, size, for each set: its handle, or 0 if it was removed, and a bit for each attribute |
//! | set | root, boxes, place among the sets, how many attributes, attributes in order |
//! | box | used, meta, shape, set, parent, bounds, columns, tops, targets, planes |
//!
//! 1. There is a column for each side of each attribute. Bounds are written less the column's base:
//!    the highest [`TOP`] bits as a byte of each lane, all others in slices, the highest first. A
//!    plane is two words with one bit of each lane.
//! 2. The bytes mostly tell. Lanes that they do not tell apart from the point are decided by the
//!    planes in a leaf, and are let pass in a node.
//! 3. A leaf's lanes are appended: nobody reads a lane's bits before `used` counts it. Of a node,
//!    only the words change that lead to the level below, and bytes, each so that its lane reaches
//!    further. `bounds` are the writer's.
//! 4. The bits of a set's attributes (`mask_of`) tell most sets that an event has no number for,
//!    without a look at them.
//! 5. A set's root is a chain of entries as long as they are few.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::simd::{self, boxes};

pub(super) mod shape;
mod tree;
mod visit;

#[cfg(test)]
mod tests;

pub(super) use tree::Sets;
pub(super) use visit::{Waiting, visit};

/// Lanes of a block.
pub(super) const LANES: usize = 64;
/// The most attributes of a set.
pub(super) const SIDES_MAX: usize = 8;
/// A low and a high side of each attribute.
pub(super) const COLUMNS_MAX: usize = 2 * SIDES_MAX;
const _: () = assert!(COLUMNS_MAX == boxes::COLUMNS_MAX);
/// Farther from zero than any bound.
const FAR: i64 = 1 << 40;
/// Bits of a bound that are always read: a byte.
pub(super) const TOP: usize = 8;

pub(super) const PLAIN: usize = 0;
pub(super) const SETS: usize = 2;
const HOLES: usize = 3;
const SETS_COUNT: usize = 6;
const BOXES_WORDS: usize = 7;

const SETS_HEAD: usize = 2;
/// Words of each set there.
const SETS_EACH: usize = 2;

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
const TOP_WORDS: usize = simd::WORDS;

/// How a column is written.
#[derive(Clone, Copy)]
struct Form(u32);

impl Form {
    const OPEN: u32 = 1 << 6;
    const STRICT: u32 = 1 << 7;

    /// Bits of a bound, less the base: [`TOP`] to 32.
    #[inline]
    fn bits(self) -> u32 {
        self.0 & 63
    }

    /// Whether some lanes have no bound.
    #[inline]
    fn has_open(self) -> bool {
        self.0 & Form::OPEN != 0
    }

    /// Whether some lanes compare as `LOW_STRICT` or `HIGH_STRICT` says.
    #[inline]
    fn has_strict(self) -> bool {
        self.0 & Form::STRICT != 0
    }

    /// Where the planes are, then those of open and of strict lanes.
    #[inline]
    fn more(self) -> usize {
        (self.0 >> 8) as usize
    }
}

/// The bit of an attribute, which some others share.
#[inline]
pub(super) fn mask_of(attribute: u16) -> u32 {
    1 << (attribute % 32)
}

/// Level and columns of a block.
#[derive(Clone, Copy)]
struct Shape(u32);

impl Shape {
    fn new(level: usize, columns: usize) -> Shape {
        Shape(level as u32 | (columns as u32) << 8)
    }

    #[inline]
    fn level(self) -> usize {
        (self.0 & 0xff) as usize
    }

    #[inline]
    fn columns(self) -> usize {
        (self.0 >> 8) as usize
    }

    #[inline]
    fn top(self) -> usize {
        COLUMNS + COLUMN_WORDS * self.columns()
    }

    #[inline]
    fn targets(self) -> usize {
        self.top() + TOP_WORDS * self.columns()
    }
}

/// An event's number as the columns of an attribute compare it: its ceiling with low bounds, its floor
/// with high ones. A box around others must not miss what is strict in one. Beyond what bounds can be
/// it does not matter how far.
#[inline]
fn coordinates(floor: i64, ceiling: i64) -> [i64; 2] {
    [ceiling, floor].map(|number| number.clamp(-FAR, FAR))
}

#[inline]
fn pair(words: &[AtomicU32], at: usize) -> u64 {
    let [low, high] = [at, at + 1].map(|at| u64::from(words[at].load(Ordering::Relaxed)));
    low | high << 32
}

/// The lanes that are in use.
#[inline]
fn lanes(used: u32) -> u64 {
    match used {
        0 => 0,
        used => u64::MAX >> (LANES as u32 - used),
    }
}

/// Whether a column has low bounds; high ones otherwise.
#[inline]
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
    /// No lane with a bound of this column keeps the number.
    #[inline]
    fn is_out(&self, column: usize) -> bool {
        if is_low(column) { !self.is_from_base } else { !self.is_within }
    }

    #[inline]
    fn new(base: u32, form: Form, value: i64) -> Position {
        let relative = value.saturating_sub(i64::from(base as i32));
        let last = (1_i64 << form.bits()) - 1;
        let code = relative.clamp(0, last) as u32;
        Position { code, is_from_base: relative >= 0, is_within: relative <= last }
    }
}

/// Lanes compared with a number, by the bytes and then one plane after another.
#[derive(Clone, Copy)]
struct Compared {
    /// Lanes whose bound is less than the number.
    less: u64,
    /// Lanes that are not told from the number so far.
    equal: u64,
}

impl Compared {
    #[inline]
    fn by_top(tops: simd::Compared) -> Compared {
        Compared { less: tops.at_most & !tops.equal, equal: tops.equal }
    }

    /// With one more plane. The number's bit in it is the highest of `code`.
    #[inline]
    fn with(self, plane: u64, code: u64) -> Compared {
        // All ones or none, without a branch.
        let ones = (code as i64 >> 63) as u64;
        let differs = plane ^ ones;
        Compared { less: self.less | (self.equal & differs & ones), equal: self.equal & !differs }
    }

    /// The lanes whose low, or high, bound the number keeps, or may keep as far as it was compared.
    #[inline]
    fn kept(self, column: usize, position: &Position) -> u64 {
        match position.is_out(column) {
            true => 0,
            false if is_low(column) => self.less | self.equal,
            false => !self.less,
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

    /// The byte of a bound that is always read.
    #[inline]
    fn top_of(&self, code: u32) -> u8 {
        (code >> (self.form.bits() - TOP as u32)) as u8
    }

    /// What a lane without a bound has: what each number within the column keeps, so that mostly nobody
    /// needs to look.
    fn open_code(&self) -> u32 {
        if is_low(self.number) { 0 } else { ((1_u64 << self.form.bits()) - 1) as u32 }
    }

    fn compare_top(&self, code: u32) -> Compared {
        let (tops, _) = self.words[self.top..].as_chunks::<TOP_WORDS>();
        Compared::by_top(simd::compare(&tops[0], self.top_of(code)))
    }

    /// Goes on with the planes.
    fn compare_rest(&self, mut compared: Compared, code: u32) -> Compared {
        let more = self.form.bits() as usize - TOP;
        for plane in 0..more {
            let words = pair(self.words, self.form.more() + 2 * plane);
            compared = compared.with(words, u64::from(code) << (64 - more + plane));
        }
        compared
    }

    /// Where the masks are: a leaf has them behind the planes, a node has no further planes.
    #[inline]
    fn masks(&self, is_leaf: bool) -> usize {
        self.form.more() + if is_leaf { 2 * (self.form.bits() as usize - TOP) } else { 0 }
    }

    #[inline]
    fn open(&self, is_leaf: bool) -> u64 {
        if self.form.has_open() { pair(self.words, self.masks(is_leaf)) } else { 0 }
    }

    fn strict(&self) -> u64 {
        let at = self.masks(true) + if self.form.has_open() { 2 } else { 0 };
        if self.form.has_strict() { pair(self.words, at) } else { 0 }
    }

    /// Where the byte of a lane is: word, and how far to the left in it.
    fn byte(&self, lane: usize) -> (usize, u32) {
        (self.top + lane / 4, 8 * (lane as u32 % 4))
    }

    /// Where the planes of some number of lowest bits begin.
    fn planes(&self) -> impl Iterator<Item = (u32, usize)> {
        let bits = self.form.bits() - TOP as u32;
        (0..bits).map(move |plane| (bits - 1 - plane, self.form.more() + 2 * plane as usize))
    }

    /// The bounds lane by lane, in a leaf: the writer's way to read.
    fn decode(&self) -> [i32; LANES] {
        let mut bounds = [0; LANES];
        for (half, bounds) in bounds.chunks_exact_mut(LANES / 2).enumerate() {
            let mut rows = [0; 32];
            for (bit, plane) in self.planes() {
                rows[bit as usize] = self.words[plane + half].load(Ordering::Relaxed);
            }
            shape::transpose(&mut rows);
            for (lane, (bound, low)) in bounds.iter_mut().zip(rows).enumerate() {
                let (word, left) = self.byte(lane + half * LANES / 2);
                let top = self.words[word].load(Ordering::Relaxed) >> left & 0xff;
                let code = low | top << (self.form.bits() - TOP as u32);
                *bound = code.wrapping_add(self.base) as i32;
            }
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

/// The lanes of a block that the point may be in, and the columns that do not tell yet.
#[inline]
fn probe(words: &[AtomicU32], shape: Shape, point: &[i64], used: u32) -> (u64, u16) {
    let (tops, _) = words[shape.top()..].as_chunks::<TOP_WORDS>();
    let told = boxes::tell(&words[COLUMNS..shape.top()], &tops[..shape.columns()], point);
    let mut mask = told.within & lanes(used);
    if told.out != 0 {
        for number in each_column(told.out) {
            mask &= Column::new(words, shape, number).open(shape.level() == 0);
        }
    }
    let edges = if told.unsure & mask == 0 { 0 } else { edges(words, shape, point, mask) };
    (mask, edges)
}

/// The columns with a byte, in some lane, that does not tell.
#[cold]
fn edges(words: &[AtomicU32], shape: Shape, point: &[i64], mask: u64) -> u16 {
    (0..shape.columns()).fold(0, |edges, number| {
        let column = Column::new(words, shape, number);
        let compared = column.compare_top(column.position(point[number]).code);
        let is_edge = compared.equal & !column.open(shape.level() == 0) & mask != 0;
        edges | u16::from(is_edge) << number
    })
}

/// The columns of a set of them.
fn each_column(columns: u16) -> impl Iterator<Item = usize> {
    (0..COLUMNS_MAX).filter(move |number| columns >> number & 1 == 1)
}

/// Decides the lanes of a leaf that the bytes of some columns left open.
fn refine(words: &[AtomicU32], shape: Shape, point: &[i64], mut mask: u64, edges: u16) -> u64 {
    for number in each_column(edges) {
        let column = Column::new(words, shape, number);
        mask &= column.kept(point[number]) | column.open(true);
    }
    mask
}

/// The lanes of a leaf that a point is in which lies between integers.
fn probe_fraction(words: &[AtomicU32], shape: Shape, point: &[i64], used: u32) -> u64 {
    let mut mask = lanes(used);
    for number in 0..shape.columns() {
        let column = Column::new(words, shape, number);
        // A strict bound is kept by what is not whole beside it.
        let (loose, tight) = (column.kept(point[number ^ 1]), column.kept(point[number]));
        let strict = column.strict();
        mask &= (loose & !strict) | (tight & strict) | column.open(true);
    }
    mask
}
