//! An event's way through the blocks of all sets that it has numbers for.
//!
//! 1. All sets are entered first, then all nodes are compared, then all leaves, and at the end what
//!    was found in them is read: one thing at a time, whichever set it is of.
//! 2. The memory is asked for what is read next some steps before: what one set has is too little to
//!    wait for.
//! 3. A block is compared once for each lane that led to it, and so are its lanes handed over.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::arena::{Arena, Handle, LINE};
use super::super::blocks::{Kind, meta};
use super::super::entry::NOBODY;
use super::super::seen::{Rank, Seen};
use super::{
    Column, LANES, ROOT, SET_HEAD, SET_SIDES, SETS, SETS_EACH, SETS_HEAD, SHAPE, Shape, coordinates,
    each_column, probe, probe_fraction, refine,
};
use crate::simd;
use crate::simd::boxes::append_lanes;

/// How many steps ahead the memory is asked for what was found in leaves.
const FOUND_AHEAD: usize = 8;
/// Blocks for which the memory is asked together.
const GROUP: usize = 16;

/// A reader's memory for what is still to be read of one event.
#[derive(Default)]
pub(in super::super) struct Waiting {
    /// Where the event is in the spaces of sets, one after another.
    points: Vec<i64>,
    sets: Vec<Handle>,
    nodes: Vec<Step>,
    leaves: Vec<Step>,
    found: Vec<Found>,
    targets: Vec<u32>,
}

/// A block that is to be compared, and where its point is.
#[derive(Clone, Copy)]
struct Step {
    block: Handle,
    first: u32,
    columns: u16,
    /// Whether all numbers are.
    is_whole: bool,
}

/// Lanes of a leaf, and the columns that do not tell yet.
#[derive(Clone, Copy)]
struct Found {
    step: Step,
    edges: u16,
    mask: u64,
}

impl Waiting {
    #[inline]
    fn point(&self, step: Step) -> &[i64] {
        &self.points[step.first as usize..][..usize::from(step.columns)]
    }

    /// Notes where the event is in the space of a set, and its root. Nothing if the event has no
    /// number for each attribute.
    #[inline]
    fn enter(&mut self, set: &[AtomicU32], seen: &Seen) {
        let sides = set[SET_SIDES].load(Ordering::Relaxed) as usize;
        let block = set[ROOT].load(Ordering::Acquire);
        let first = self.points.len();
        let mut is_whole = true;
        for attribute in &set[SET_HEAD..SET_HEAD + sides] {
            let reading = seen.reading(attribute.load(Ordering::Relaxed) as u16);
            let Some(reading) = reading.filter(|reading| reading.rank == Rank::Number) else {
                return self.points.truncate(first);
            };
            is_whole &= reading.floor == reading.ceiling;
            self.points.extend(coordinates(reading.floor, reading.ceiling));
        }
        if block != 0 {
            self.nodes.push(Step { block, first: first as u32, columns: 2 * sides as u16, is_whole });
        }
    }

    fn open_all(&mut self, arena: &Arena, chain: &mut impl FnMut(Handle)) {
        let mut done = 0;
        read_ahead(arena, group(&self.nodes, 0), 1);
        while done < self.nodes.len() {
            // More may be added behind meanwhile.
            let end = self.nodes.len().min(done + GROUP);
            read_ahead(arena, group(&self.nodes, end), 1);
            while done < end {
                self.open(arena, self.nodes[done], chain);
                done += 1;
            }
        }
        self.nodes.clear();
    }

    fn compare_all(&mut self, arena: &Arena) {
        read_ahead(arena, group(&self.leaves, 0), 0);
        for next in (0..self.leaves.len()).step_by(GROUP) {
            read_ahead(arena, group(&self.leaves, next + GROUP), 0);
            for at in next..self.leaves.len().min(next + GROUP) {
                self.compare(arena, self.leaves[at]);
            }
        }
        self.leaves.clear();
    }

    fn take_all(&mut self, arena: &Arena) {
        self.found.iter().take(FOUND_AHEAD).for_each(|found| read_found_ahead(arena, found));
        for next in 0..self.found.len() {
            self.found.get(next + FOUND_AHEAD).inspect(|found| read_found_ahead(arena, found));
            self.take(arena, self.found[next]);
        }
        self.found.clear();
    }

    /// Compares a node. A root may be a leaf, or a chain.
    fn open(&mut self, arena: &Arena, step: Step, chain: &mut impl FnMut(Handle)) {
        if meta(arena, step.block).kind() != Kind::Box {
            return chain(step.block);
        }
        let words = arena.words(step.block);
        let shape = Shape(words[SHAPE].load(Ordering::Relaxed));
        if shape.level() == 0 {
            return self.leaves.push(step);
        }
        let used = words[0].load(Ordering::Acquire);
        let (mut mask, _) = probe(words, shape, self.point(step), used);
        let Some(targets) = words[shape.targets()..].first_chunk::<LANES>() else { return };
        let below = if shape.level() == 1 { &mut self.leaves } else { &mut self.nodes };
        while mask != 0 {
            let block = targets[mask.trailing_zeros() as usize].load(Ordering::Acquire);
            below.push(Step { block, ..step });
            mask &= mask - 1;
        }
    }

    fn compare(&mut self, arena: &Arena, step: Step) {
        let words = arena.words(step.block);
        let used = words[0].load(Ordering::Acquire);
        let (shape, point) = (Shape::new(0, usize::from(step.columns)), self.point(step));
        let (mask, edges) = match step.is_whole {
            true => probe(words, shape, point, used),
            false => (probe_fraction(words, shape, point, used), 0),
        };
        if mask != 0 {
            self.found.push(Found { step, mask, edges });
        }
    }

    /// Reads what lanes of a leaf lead to.
    fn take(&mut self, arena: &Arena, found: Found) {
        let words = arena.words(found.step.block);
        let shape = Shape::new(0, usize::from(found.step.columns));
        let mask = match found.edges {
            0 => found.mask,
            edges => refine(words, shape, self.point(found.step), found.mask, edges),
        };
        if let Some(targets) = words[shape.targets()..].first_chunk::<LANES>() {
            append_lanes(targets, mask, NOBODY, &mut self.targets);
        }
    }
}

/// Hands the chains of those sets of `boxes` with few entries to `chain`, and gives what the others
/// lead to that the event is in.
pub(in super::super) fn visit<'w>(
    arena: &Arena,
    boxes: Handle,
    seen: &Seen,
    waiting: &'w mut Waiting,
    mut chain: impl FnMut(Handle),
) -> &'w [u32] {
    let sets = arena.words(arena.load(boxes, SETS));
    let used = sets[0].load(Ordering::Acquire) as usize;
    let sets = &sets[SETS_HEAD..].as_chunks::<SETS_EACH>().0[..used];
    let numbers = seen.numeric();
    waiting.points.clear();
    waiting.targets.clear();
    waiting.sets.clear();
    for [set, mask] in sets {
        let set = set.load(Ordering::Acquire);
        if set != 0 && mask.load(Ordering::Relaxed) & !numbers == 0 {
            simd::prefetch(&arena.words(set)[0]);
            waiting.sets.push(set);
        }
    }
    for at in 0..waiting.sets.len() {
        waiting.enter(arena.words(waiting.sets[at]), seen);
    }
    waiting.open_all(arena, &mut chain);
    waiting.compare_all(arena);
    waiting.take_all(arena);
    &waiting.targets
}

/// The steps of a group, as far as there are any.
#[inline]
fn group(steps: &[Step], next: usize) -> &[Step] {
    let rest = steps.get(next..).unwrap_or_default();
    &rest[..rest.len().min(GROUP)]
}

/// Asks the memory for the lines of blocks that are always read: of a node, its targets as well. First
/// for one line of each, since where a page is takes longest.
#[inline]
fn read_ahead(arena: &Arena, steps: &[Step], level: usize) {
    steps.iter().for_each(|step| simd::prefetch(&arena.words(step.block)[0]));
    for step in steps {
        let shape = Shape::new(level, usize::from(step.columns));
        let end = shape.targets() + if level == 0 { 0 } else { LANES };
        let words = arena.words(step.block);
        words[..end.min(words.len())].iter().step_by(LINE).skip(1).for_each(simd::prefetch);
    }
}

/// Asks the memory for the targets of lanes, and for the planes of columns.
#[inline]
fn read_found_ahead(arena: &Arena, found: &Found) {
    let words = arena.words(found.step.block);
    let shape = Shape::new(0, usize::from(found.step.columns));
    for first in (0..LANES).step_by(LINE) {
        let lanes = (found.mask >> first) as u16;
        if lanes != 0 {
            let [low, high] = [lanes.trailing_zeros(), u16::BITS - 1 - lanes.leading_zeros()];
            for lane in [low, high] {
                simd::prefetch(&words[shape.targets() + first + lane as usize]);
            }
        }
    }
    for number in each_column(found.edges) {
        let planes = Column::new(words, shape, number).form.more();
        words[planes..].iter().step_by(LINE).take(2).for_each(simd::prefetch);
    }
}
