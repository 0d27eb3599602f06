//! An event's way through the blocks of all sets that it has numbers for.
//!
//! 1. The memory is asked for a block some blocks before it is read, whichever set it is of: what
//!    one set has is too little to wait for. So it is for what was found in a leaf.
//! 2. A block is compared once for each lane that led to it, and so are its lanes handed over.
//! 3. What a reader keeps while it waits is empty when it ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::arena::{Arena, Handle, LINE};
use super::super::blocks::{Kind, meta};
use super::super::entry::NOBODY;
use super::super::seen::{Rank, Seen};
use super::{
    Column, Coordinate, LANES, ROOT, SET_HEAD, SET_SIDES, SETS, SETS_HEAD, SHAPE, Shape, probe,
    probe_fraction, refine,
};
use crate::simd;

/// How many blocks wait for the memory, and how many leaves that were compared.
const AHEAD: usize = 24;
const BEHIND: usize = 8;
/// How many sets ahead of them.
const SETS_AHEAD: usize = 8;

/// A reader's memory for what it asked the memory for.
#[derive(Default)]
pub(in super::super) struct Waiting {
    /// Where the event is in the spaces of sets, one after another.
    points: Vec<Coordinate>,
    blocks: VecDeque<Step>,
    found: VecDeque<Found>,
}

/// A block that is to be compared, and where its point is.
#[derive(Clone, Copy)]
struct Step {
    block: Handle,
    first: u32,
    sides: u32,
}

/// Lanes of a leaf, and the columns that do not tell yet.
struct Found {
    step: Step,
    mask: u64,
    edges: u16,
}

impl Waiting {
    fn point(&self, step: Step) -> &[Coordinate] {
        &self.points[step.first as usize..][..step.sides as usize]
    }

    /// Notes where the event is in the space of a set, and its root. Nothing if the event has no
    /// number for each attribute.
    fn enter(&mut self, arena: &Arena, set: &[AtomicU32], seen: &Seen) {
        let sides = set[SET_SIDES].load(Ordering::Relaxed);
        let root = set[ROOT].load(Ordering::Acquire);
        let first = self.points.len();
        for attribute in &set[SET_HEAD..SET_HEAD + sides as usize] {
            let reading = seen.reading(attribute.load(Ordering::Relaxed) as u16);
            let Some(reading) = reading.filter(|reading| reading.rank == Rank::Number) else {
                return self.points.truncate(first);
            };
            self.points.push(Coordinate { floor: reading.floor, ceiling: reading.ceiling });
        }
        if root != 0 {
            read_ahead(arena.words(root), Shape::new(1, 2 * sides as usize));
            self.blocks.push_back(Step { block: root, first: first as u32, sides });
        }
    }

    /// Compares a block. What is below it waits from then on.
    fn compare(&mut self, arena: &Arena, step: Step) {
        let words = arena.words(step.block);
        let used = words[0].load(Ordering::Acquire);
        let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
        let point = self.point(step);
        if shape.level() == 0 {
            let is_whole = point.iter().all(|coordinate| coordinate.floor == coordinate.ceiling);
            let (mask, edges) = match is_whole {
                true => probe(words, shape, point, used),
                false => (probe_fraction(words, shape, point, used), 0),
            };
            if mask != 0 {
                read_found_ahead(words, shape, mask, edges);
                self.found.push_back(Found { step, mask, edges });
            }
            return;
        }
        let (mask, _) = probe(words, shape, point, used);
        let below = Shape::new(shape.level() - 1, shape.columns());
        each_target(words, shape, mask, |target| {
            read_ahead(arena.words(target), below);
            self.blocks.push_back(Step { block: target, ..step });
        });
    }

    /// Hands over what lanes of a leaf lead to.
    fn hand_over(&self, arena: &Arena, found: &Found, hit: &mut impl FnMut(u32)) {
        let words = arena.words(found.step.block);
        let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
        let mask = match found.edges {
            0 => found.mask,
            edges => refine(words, shape, self.point(found.step), found.mask, edges),
        };
        each_target(words, shape, mask, |target| {
            if target != NOBODY {
                hit(target);
            }
        });
    }
}

/// Hands what the boxes of `boxes` lead to that the event is in to `hit`, and the chains of sets
/// with few entries to `chain`.
pub(in super::super) fn visit(
    arena: &Arena,
    boxes: Handle,
    seen: &Seen,
    waiting: &mut Waiting,
    mut chain: impl FnMut(Handle),
    mut hit: impl FnMut(u32),
) {
    let sets = arena.words(arena.load(boxes, SETS));
    let used = sets[0].load(Ordering::Acquire) as usize;
    let sets = &sets[SETS_HEAD..SETS_HEAD + used];
    let mut next = 0;
    waiting.points.clear();
    loop {
        while waiting.blocks.len() < AHEAD && next < used {
            if let Some(later) = sets.get(next + SETS_AHEAD) {
                arena.words(later.load(Ordering::Acquire)).first().inspect(|word| simd::prefetch(word));
            }
            match sets[next].load(Ordering::Acquire) {
                0 => {}
                set => waiting.enter(arena, arena.words(set), seen),
            }
            next += 1;
        }
        let block = waiting.blocks.pop_front();
        match block {
            Some(step) if meta(arena, step.block).kind() == Kind::Box => waiting.compare(arena, step),
            Some(step) => chain(step.block),
            None => {}
        }
        if waiting.found.len() > BEHIND || block.is_none() {
            match waiting.found.pop_front() {
                Some(found) => waiting.hand_over(arena, &found, &mut hit),
                None if block.is_none() => return,
                None => {}
            }
        }
    }
}

/// Calls `see` with what lanes lead to.
#[inline]
fn each_target(words: &[AtomicU32], shape: Shape, mut mask: u64, mut see: impl FnMut(u32)) {
    let Some(targets) = words[shape.targets()..].first_chunk::<LANES>() else { return };
    while mask != 0 {
        see(targets[mask.trailing_zeros() as usize].load(Ordering::Acquire));
        mask &= mask - 1;
    }
}

/// Asks the memory for the lines of a block that are always read: of a node, its targets as well.
#[inline]
fn read_ahead(words: &[AtomicU32], shape: Shape) {
    let end = shape.targets() + if shape.level() == 0 { 0 } else { LANES };
    words.iter().step_by(LINE).take(end.div_ceil(LINE)).for_each(simd::prefetch);
}

/// Asks the memory for the targets of lanes, and for the planes of columns.
#[inline]
fn read_found_ahead(words: &[AtomicU32], shape: Shape, mask: u64, edges: u16) {
    for first in (0..LANES).step_by(LINE) {
        let lanes = (mask >> first) as u16;
        if lanes != 0 {
            let [low, high] = [lanes.trailing_zeros(), u16::BITS - 1 - lanes.leading_zeros()];
            for lane in [low, high] {
                simd::prefetch(&words[shape.targets() + first + lane as usize]);
            }
        }
    }
    for number in (0..shape.columns()).filter(|number| edges >> number & 1 == 1) {
        let planes = Column::new(words, shape, number).form.more();
        words[planes..].iter().step_by(LINE).take(2).for_each(simd::prefetch);
    }
}
