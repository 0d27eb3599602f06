//! Boxes one by one, and how many of them become the words of a block.
//!
//! 1. What is built is what [`read`] reads, lane by lane: in a leaf exactly.
//! 2. A column has room on both sides of its bounds, so that few boxes need another block.

use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;

use super::super::arena::{Arena, Handle};
use super::super::blocks::{Kind, META, Meta};
use super::super::entry::{
    HAS_HIGH, HAS_LOW, HIGH_STRICT, INT, LOW_STRICT, NOBODY, Operation, each_operation,
};
use super::super::memory::Memory;
use super::{
    BOUNDS, BOX_SET, COLUMN_WORDS, COLUMNS, COLUMNS_MAX, Column, Form, LANES, SHAPE, SIDES_MAX, Shape, TOP,
    is_low, lanes, mask_of,
};

/// A box, or the box around many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Bounds {
    /// By column: of an attribute first the low bound, then the high one.
    pub(super) values: [i32; COLUMNS_MAX],
    /// The columns without a bound. Their values are those of the edge.
    pub(super) open: u16,
    pub(super) strict: u16,
}

/// A lane.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Item {
    pub(super) bounds: Bounds,
    /// What it leads to.
    pub(super) target: u32,
    /// The block that it stands in so far.
    pub(super) from: Handle,
}

/// The attributes of a set, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Sides {
    pub(super) count: usize,
    pub(super) attributes: [u16; SIDES_MAX],
}

impl Sides {
    /// The bits of its attributes.
    pub(super) fn mask(&self) -> u32 {
        self.as_slice().iter().fold(0, |mask, attribute| mask | mask_of(*attribute))
    }

    pub(super) fn as_slice(&self) -> &[u16] {
        &self.attributes[..self.count]
    }
}

const NO_BOUNDS: Bounds = Bounds { values: [0; COLUMNS_MAX], open: 0, strict: 0 };

impl Bounds {
    /// The box of an entry that asks for nothing but ranges of integers.
    pub(in super::super) fn of(codes: &[u32], operations: &[u32]) -> Option<(Sides, Bounds)> {
        if !codes.is_empty() {
            return None;
        }
        let mut ranges: ArrayVec<(u16, Operation, ArrayVec<u32, 2>), SIDES_MAX> = ArrayVec::new();
        let mut is_box = true;
        each_operation(operations, &mut |operation, own| {
            is_box &= operation.kind() == INT && ranges.len() < SIDES_MAX;
            if is_box {
                ranges.push((operation.attribute(), operation, own.iter().copied().collect()));
            }
        });
        ranges.sort_unstable_by_key(|(attribute, ..)| *attribute);
        is_box &= !ranges.is_empty() && ranges.windows(2).all(|two| two[0].0 != two[1].0);
        // Alternatives are not shown as such: the ranges must be all there is.
        let words: usize = ranges.iter().map(|(_, _, own)| 1 + own.len()).sum();
        if !is_box || words != operations.len() {
            return None;
        }
        let mut sides = Sides { count: ranges.len(), attributes: [0; SIDES_MAX] };
        let mut bounds = NO_BOUNDS;
        for (side, (attribute, operation, own)) in ranges.iter().enumerate() {
            sides.attributes[side] = *attribute;
            bounds.read_range(side, *operation, own);
        }
        Some((sides, bounds))
    }

    fn read_range(&mut self, side: usize, operation: Operation, own: &[u32]) {
        let mut own = own.iter();
        let flags = operation.flags();
        let columns = [(HAS_LOW, LOW_STRICT, i32::MIN), (HAS_HIGH, HIGH_STRICT, i32::MAX)];
        for (column, (has, strict, edge)) in columns.into_iter().enumerate() {
            let number = 2 * side + column;
            let value = if flags & has != 0 { own.next().copied() } else { None };
            self.values[number] = value.map_or(edge, |word| word as i32);
            self.open |= u16::from(value.is_none()) << number;
            self.strict |= u16::from(value.is_some() && flags & strict != 0) << number;
        }
    }

    /// The operations of an entry with this box.
    pub(super) fn operations(&self, sides: &Sides) -> Vec<u32> {
        let mut words = Vec::new();
        for (side, attribute) in sides.as_slice().iter().enumerate() {
            let columns = [(HAS_LOW, LOW_STRICT), (HAS_HIGH, HIGH_STRICT)];
            let flag = |column: usize| {
                let (has, strict) = columns[column];
                let number = 2 * side + column;
                if self.is_open(number) { 0 } else { has | if self.is_strict(number) { strict } else { 0 } }
            };
            words.push(Operation::new(INT, flag(0) | flag(1), *attribute, 0).0);
            let numbers = (2 * side..2 * side + 2).filter(|number| !self.is_open(*number));
            words.extend(numbers.map(|number| self.values[number] as u32));
        }
        words
    }

    fn is_open(&self, column: usize) -> bool {
        self.open >> column & 1 == 1
    }

    /// Marks sides at the edge of what a bound can be as open: all that is within is still within.
    pub(super) fn open_at_edges(&mut self) {
        for (number, value) in self.values.iter().enumerate() {
            let edge = if is_low(number) { i32::MIN } else { i32::MAX };
            self.open |= u16::from(*value == edge) << number;
        }
    }

    fn is_strict(&self, column: usize) -> bool {
        self.strict >> column & 1 == 1
    }

    /// The box around both.
    pub(super) fn with(&self, other: &Bounds) -> Bounds {
        let mut both = *self;
        for (number, (value, more)) in both.values.iter_mut().zip(&other.values).enumerate() {
            *value = if is_low(number) { (*value).min(*more) } else { (*value).max(*more) };
        }
        both.open |= other.open;
        both.strict = 0;
        both
    }

    /// How likely an event is within: the product of the lengths.
    pub(super) fn area(&self, columns: usize) -> f64 {
        let lengths = self.values[..columns].chunks_exact(2).map(|side| length(side[0], side[1]));
        lengths.product()
    }

    /// The box around all.
    pub(super) fn around(items: &[Item]) -> Bounds {
        let first = items.first().map_or(NO_BOUNDS, |item| item.bounds);
        items.iter().fold(first, |all, item| all.with(&item.bounds))
    }
}

/// The base of a column that can hold all of these, and how many bits it takes.
fn fit(least: i32, most: i32) -> (i32, u32) {
    let range = (i64::from(most) - i64::from(least)) as u64;
    let bits = (u64::BITS - range.leading_zeros()).max(TOP as u32);
    let room = ((1_u64 << bits) - 1 - range) as i64;
    ((i64::from(least) - room / 2).max(i64::from(i32::MIN)) as i32, bits)
}

/// Makes a block of at most [`LANES`] items that nobody leads to yet.
pub(super) fn build(
    memory: &mut Memory,
    set: Handle,
    level: usize,
    columns: usize,
    items: &[Item],
) -> Handle {
    let shape = Shape::new(level, columns);
    let words = frame(shape, items);
    let (block, size) = memory.take(words.len());
    let place = memory.arena().words(block);
    words.iter().zip(place).for_each(|(word, place)| place.store(*word, Ordering::Relaxed));
    place[META].store(Meta::new(Kind::Box, size).0, Ordering::Relaxed);
    place[BOX_SET].store(set, Ordering::Relaxed);
    (0..shape.columns()).for_each(|number| write_column(place, shape, number, items));
    block
}

/// Writes the bits of a column for all lanes at once.
fn write_column(words: &[AtomicU32], shape: Shape, number: usize, items: &[Item]) {
    let is_leaf = shape.level() == 0;
    let column = Column::new(words, shape, number);
    let masks = column.masks(is_leaf);
    for (half, items) in items.chunks(LANES / 2).enumerate() {
        let mut rows = [0; 32];
        let (mut open, mut strict) = (0_u32, 0_u32);
        for (lane, (row, item)) in rows.iter_mut().zip(items).enumerate() {
            if item.bounds.is_open(number) {
                open |= 1 << lane;
                *row = column.open_code();
                continue;
            }
            strict |= u32::from(item.bounds.is_strict(number)) << lane;
            *row = (item.bounds.values[number] as u32).wrapping_sub(column.base);
        }
        write_tops(&column, half, &rows);
        if is_leaf {
            transpose(&mut rows);
            for (bit, plane) in column.planes() {
                words[plane + half].store(rows[bit as usize], Ordering::Relaxed);
            }
        }
        if column.form.has_open() {
            words[masks + half].store(open, Ordering::Relaxed);
        }
        if column.form.has_strict() {
            let masks = masks + if column.form.has_open() { 2 } else { 0 };
            words[masks + half].store(strict, Ordering::Relaxed);
        }
    }
}

fn write_tops(column: &Column<'_>, half: usize, codes: &[u32; 32]) {
    for (word, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
        let bytes = u32::from_le_bytes(codes.map(|code| column.top_of(code)));
        let (first, _) = column.byte(4 * word + half * LANES / 2);
        column.words[first].store(bytes, Ordering::Relaxed);
    }
}

/// Turns rows into columns: bit `i` of row `j` becomes bit `j` of row `i` (Warren, *Hacker's
/// Delight*, section 7-3).
pub(super) fn transpose(rows: &mut [u32; 32]) {
    let mut width = 16;
    let mut mask = 0x0000_ffff_u32;
    while width != 0 {
        let mut row = 0;
        while row < 32 {
            let swapped = ((rows[row] >> width) ^ rows[row | width]) & mask;
            rows[row] ^= swapped << width;
            rows[row | width] ^= swapped;
            row = ((row | width) + 1) & !width;
        }
        width >>= 1;
        mask ^= mask << width;
    }
}

/// All of a block but the bits of its columns.
fn frame(shape: Shape, items: &[Item]) -> Vec<u32> {
    let mut words = Vec::with_capacity(1_500);
    words.resize(shape.targets() + LANES, 0);
    words[0] = items.len() as u32;
    words[SHAPE] = shape.0;
    items.iter().zip(&mut words[shape.targets()..]).for_each(|(item, word)| *word = item.target);
    (0..shape.columns()).for_each(|number| add_column(&mut words, shape, number, items));
    if shape.level() > 0 {
        words[BOUNDS] = words.len() as u32;
        let bounds = items.iter().flat_map(|item| &item.bounds.values[..shape.columns()]);
        words.extend(bounds.map(|value| *value as u32));
    }
    words
}

/// Describes a column, with room for its planes.
fn add_column(words: &mut Vec<u32>, shape: Shape, number: usize, items: &[Item]) {
    let bounded = items.iter().filter(|item| !item.bounds.is_open(number));
    let values = bounded.map(|item| item.bounds.values[number]);
    let (base, bits) = fit(values.clone().min().unwrap_or(0), values.max().unwrap_or(0));
    let is_leaf = shape.level() == 0;
    let has_open = items.iter().any(|item| item.bounds.is_open(number));
    let has_strict = is_leaf && items.iter().any(|item| item.bounds.is_strict(number));
    let flags = if has_open { Form::OPEN } else { 0 } | if has_strict { Form::STRICT } else { 0 };
    let at = COLUMNS + COLUMN_WORDS * number;
    words[at] = base as u32;
    words[at + 1] = bits | flags | (words.len() as u32) << 8;
    let more = if is_leaf { bits as usize - TOP } else { 0 };
    words.resize(words.len() + 2 * (more + usize::from(has_open) + usize::from(has_strict)), 0);
}

/// Writes the bits of a leaf's lane that nobody reads yet and whose bits are 0. It must fit.
fn write_lane(words: &[AtomicU32], shape: Shape, lane: usize, bounds: &Bounds) {
    let (half, bit) = (lane / 32, 1 << (lane % 32));
    let set = |at: usize, bits: u32| {
        let word = &words[at];
        word.store(word.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
    };
    for number in 0..shape.columns() {
        let column = Column::new(words, shape, number);
        let masks = column.masks(true) + half;
        if bounds.is_open(number) {
            set(masks, bit);
            let (word, left) = column.byte(lane);
            set(word, u32::from(column.top_of(column.open_code())) << left);
            continue;
        }
        if bounds.is_strict(number) {
            set(masks + if column.form.has_open() { 2 } else { 0 }, bit);
        }
        let code = (bounds.values[number] as u32).wrapping_sub(column.base);
        let (word, left) = column.byte(lane);
        set(word, u32::from(column.top_of(code)) << left);
        let ones = column.planes().filter(|(bit, _)| code >> bit & 1 == 1);
        ones.for_each(|(_, plane)| set(plane + half, bit));
    }
}

/// Whether a leaf's columns can hold a box.
fn fits(words: &[AtomicU32], shape: Shape, bounds: &Bounds) -> bool {
    (0..shape.columns()).all(|number| {
        let Column { base, form, .. } = Column::new(words, shape, number);
        if bounds.is_open(number) {
            return form.has_open();
        }
        let code = i64::from(bounds.values[number]) - i64::from(base as i32);
        code >= 0 && code >> form.bits() == 0 && (form.has_strict() || !bounds.is_strict(number))
    })
}

/// Adds a lane to a leaf, if it can hold it.
pub(super) fn append(arena: &Arena, leaf: Handle, item: &Item) -> bool {
    let words = arena.words(leaf);
    let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
    let lane = words[0].load(Ordering::Relaxed) as usize;
    if lane == LANES || !fits(words, shape, &item.bounds) {
        return false;
    }
    write_lane(words, shape, lane, &item.bounds);
    words[shape.targets() + lane].store(item.target, Ordering::Relaxed);
    words[0].store(lane as u32 + 1, Ordering::Release);
    true
}

/// The lanes of a block that were not removed.
pub(super) fn read(arena: &Arena, block: Handle) -> Vec<Item> {
    let words = arena.words(block);
    let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
    let used = words[0].load(Ordering::Relaxed) as usize;
    let mut items: Vec<Item> = words[shape.targets()..][..used]
        .iter()
        .map(|target| Item { bounds: NO_BOUNDS, target: target.load(Ordering::Relaxed), from: block })
        .collect();
    for number in 0..shape.columns() {
        read_column(words, shape, number, &mut items);
    }
    items.retain(|item| item.target != NOBODY);
    items
}

fn read_column(words: &[AtomicU32], shape: Shape, number: usize, items: &mut [Item]) {
    let is_leaf = shape.level() == 0;
    let column = Column::new(words, shape, number);
    let (open, strict) = (column.open(is_leaf), if is_leaf { column.strict() } else { 0 });
    let edge = if is_low(number) { i32::MIN } else { i32::MAX };
    let values = if is_leaf { column.decode() } else { [0; LANES] };
    for (lane, item) in items.iter_mut().enumerate() {
        let is_open = open >> lane & 1 == 1;
        item.bounds.values[number] = match (is_open, is_leaf) {
            (true, _) => edge,
            (false, true) => values[lane],
            (false, false) => bound(words, shape, lane, number).load(Ordering::Relaxed) as i32,
        };
        item.bounds.open |= u16::from(is_open) << number;
        item.bounds.strict |= ((strict >> lane & 1) as u16) << number;
    }
}

/// Where a node keeps a bound of a lane as it is.
fn bound(words: &[AtomicU32], shape: Shape, lane: usize, number: usize) -> &AtomicU32 {
    let bounds = words[BOUNDS].load(Ordering::Relaxed) as usize;
    &words[bounds + lane * shape.columns() + number]
}

/// The lane of a node whose box grows least by `wanted`, and then is the smallest. Where some hold
/// it, or nearly, the others are not looked at.
pub(super) fn choose(arena: &Arena, node: Handle, wanted: &Bounds) -> usize {
    let words = arena.words(node);
    let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
    let used = words[0].load(Ordering::Relaxed) as usize;
    let growth = |lane: usize| {
        let (mut before, mut after) = (1.0, 1.0);
        for number in (0..shape.columns()).step_by(2) {
            let [low, high] = [number, number + 1]
                .map(|number| bound(words, shape, lane, number).load(Ordering::Relaxed) as i32);
            before *= length(low, high);
            after *= length(low.min(wanted.values[number]), high.max(wanted.values[number + 1]));
        }
        (after - before, before)
    };
    let holders = holders(words, shape, wanted) & lanes(used as u32);
    let among = (0..used).filter(|lane| holders == 0 || holders >> lane & 1 == 1);
    let least = among
        .map(|lane| (growth(lane), lane))
        .min_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    least.map_or(0, |(_, lane)| lane)
}

/// The lanes of a node with `wanted` within, as far as bytes tell.
fn holders(words: &[AtomicU32], shape: Shape, wanted: &Bounds) -> u64 {
    let holding = |number: usize| {
        let column = Column::new(words, shape, number);
        let position = column.position(i64::from(wanted.values[number]));
        column.compare_top(position.code).kept(number, &position) | column.open(false)
    };
    (0..shape.columns()).fold(u64::MAX, |all, number| all & holding(number))
}

fn length(low: i32, high: i32) -> f64 {
    (f64::from(high) - f64::from(low)).max(0.0) + 1.0
}

/// Lets a lane of a node reach around `wanted` as well. False if a column cannot say so: the node
/// has to be built anew.
pub(super) fn reach(arena: &Arena, node: Handle, lane: usize, wanted: &Bounds) -> bool {
    let words = arena.words(node);
    let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
    let mut is_said = true;
    for number in 0..shape.columns() {
        let column = Column::new(words, shape, number);
        if wanted.is_open(number) {
            is_said &= column.open(false) >> lane & 1 == 1;
        }
        let kept = bound(words, shape, lane, number);
        let (old, new) = (kept.load(Ordering::Relaxed) as i32, wanted.values[number]);
        if if is_low(number) { new < old } else { new > old } {
            is_said &= widen(&column, lane, new);
            kept.store(new as u32, Ordering::Relaxed);
        }
    }
    is_said
}

/// Changes the byte of a node's lane. False if the column cannot hold the bound.
fn widen(column: &Column<'_>, lane: usize, bound: i32) -> bool {
    let code = i64::from(bound) - i64::from(column.base as i32);
    if code < 0 || code >> column.form.bits() != 0 {
        return false;
    }
    let (word, left) = column.byte(lane);
    let word = &column.words[word];
    let others = word.load(Ordering::Relaxed) & !(0xff << left);
    word.store(others | u32::from(column.top_of(code as u32)) << left, Ordering::Release);
    true
}

/// Divides items in two so that the boxes around each part are small: none has less than two
/// fifths.
pub(super) fn split(items: &[Item], columns: usize) -> (Vec<Item>, Vec<Item>) {
    let least = items.len() * 2 / 5;
    let mut best: Option<(f64, usize, usize)> = None;
    for number in 0..columns {
        let order = order_by(items, number);
        let sorted = || order.iter().map(|(_, place)| &items[*place]);
        let before = areas(sorted(), columns);
        let behind = areas(sorted().rev(), columns);
        for cut in least..=items.len() - least {
            let cost = before[cut - 1] + behind[items.len() - cut - 1];
            if best.is_none_or(|(known, ..)| cost < known) {
                best = Some((cost, number, cut));
            }
        }
    }
    let (_, number, cut) = best.unwrap_or((0.0, 0, items.len() / 2));
    let order = order_by(items, number);
    let (first, second) = order.split_at(cut);
    let part = |places: &[(i32, usize)]| places.iter().map(|(_, place)| items[*place]).collect();
    (part(first), part(second))
}

/// The places of items by their values in a column.
fn order_by(items: &[Item], number: usize) -> Vec<(i32, usize)> {
    let values = items.iter().map(|item| item.bounds.values[number]);
    let mut order: Vec<(i32, usize)> = values.enumerate().map(|(place, value)| (value, place)).collect();
    order.sort_unstable();
    order
}

/// The areas of the boxes around the first, the first two and so on.
fn areas<'i>(items: impl Iterator<Item = &'i Item>, columns: usize) -> Vec<f64> {
    let mut around: Option<Bounds> = None;
    let area = |item: &Item| {
        let all = around.map_or(item.bounds, |around| around.with(&item.bounds));
        around = Some(all);
        all.area(columns)
    };
    items.map(area).collect()
}
