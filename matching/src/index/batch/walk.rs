//! Which entries several events meet: `super::super::matching`, with the events that lead to a
//! block beside it.
//!
//! 1. A block is read once in a batch, with all events that lead to it; boxes once for each event.
//! 2. What stands in several places is gathered by its number and handed over at the end.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::index::arena::{Arena, Handle};
use crate::index::blocks::{
    ATTRIBUTES, CHAIN_HEAD, DERIVED, Kind, Meta, NEXT, REST, attribute_bit, each_block, each_row, start,
};
use crate::index::boxes::{self, Waiting};
use crate::index::children::Children;
use crate::index::clauses;
use crate::index::entry::{IS_GATE, IS_LIST, NOBODY, is_gate};
use crate::index::matching::{fetch_block, uses_gates};
use crate::index::trie::Slot;
use crate::index::writer::View;
use crate::topic::Topic;
use crate::value::Attributes;

use super::holding::Events;
use super::together::Together;
use super::{each_event, merge};

/// A reader's own memory, used for one batch after another.
#[derive(Default)]
pub(in crate::index) struct Scratch {
    together: Together,
    queue: Vec<Step>,
    group: Vec<Step>,
    waiting: Waiting,
    lists: Vec<(Handle, u64)>,
    blocks: Vec<Step>,
    gathered: Gathered,
    gates: Vec<(u32, u64)>,
    chains: Vec<(Handle, u64)>,
}

/// A block that is to be read, for which events.
#[derive(Clone, Copy)]
struct Step {
    block: Handle,
    first: u32,
    meta: Meta,
    events: u64,
}

/// What was found, for which events.
pub(super) enum Met<'a> {
    /// One entry.
    One(u32, u64),
    /// A block of entries with one filter; those that say `NOBODY` were removed.
    Many(&'a [AtomicU32], u64),
}

/// Entries that stand in several places, with the events that found them so far.
#[derive(Default)]
struct Gathered {
    events: Vec<u64>,
    /// One bit for each [`PAGE`] of numbers of which some was found.
    pages: Vec<u64>,
}

/// Chains that are asked for before the first of them is read.
const GROUP: usize = 32;

/// Numbers that are looked through together.
const PAGE: usize = 64;

impl Gathered {
    #[inline]
    fn add(&mut self, number: u32, events: u64) {
        let place = number as usize;
        if place >= self.events.len() {
            let pages = (place + place / 2) / PAGE + 1;
            self.events.resize(pages * PAGE, 0);
            self.pages.resize(pages.div_ceil(64), 0);
        }
        self.events[place] |= events;
        let page = place / PAGE;
        self.pages[page / 64] |= 1 << (page % 64);
    }

    fn events(&self, number: u32) -> u64 {
        self.events.get(number as usize).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.pages.iter().all(|pages| *pages == 0)
    }

    /// Hands over what was added, and forgets it.
    fn drain(&mut self, mut see: impl FnMut(u32, u64)) {
        for (at, pages) in self.pages.iter_mut().enumerate() {
            each_event(std::mem::take(pages), |bit| {
                let start = (at * 64 + bit) * PAGE;
                for (number, events) in (start as u32..).zip(&mut self.events[start..start + PAGE]) {
                    if *events != 0 {
                        see(number, std::mem::take(events));
                    }
                }
            });
        }
    }
}

/// Hands the entries below `slots` that the events want to `found`; of several places each once for
/// an event. How many comparisons the events stand for that were unknown.
pub(super) fn find<A: Attributes + ?Sized>(
    view: &View,
    slots: &[(Slot, u64)],
    asked: &[(&Topic, &A)],
    scratch: &mut Scratch,
    tests_end: u32,
    found: &mut impl FnMut(Met<'_>),
) -> u64 {
    let arena = &view.common.arena;
    scratch.together.moment = view.vocabulary.moment();
    for (place, (_, event)) in asked.iter().enumerate() {
        scratch.together.read((&view.vocabulary, arena), place, *event, tests_end);
    }
    let gated = slots.iter().filter(|(slot, _)| uses_gates(arena, *slot));
    let gated = gated.fold(0, |all, (_, events)| all | events);
    if gated != 0 {
        for level in &view.levels {
            scratch.walk(view, &[(*level, gated)], asked, found);
        }
    }
    scratch.walk(view, slots, asked, found);
    scratch.hand_over(arena, found);
    scratch.gathered.drain(|number, events| found(Met::One(number, events)));
    scratch.together.clear(asked.len())
}

impl Scratch {
    /// Goes through all blocks below slots that the events lead to.
    fn walk<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        slots: &[(Slot, u64)],
        asked: &[(&Topic, &A)],
        found: &mut impl FnMut(Met<'_>),
    ) {
        let arena = &view.common.arena;
        self.queue.clear();
        for (slot, events) in slots {
            push(arena, &mut self.queue, slot.load(arena), *events);
        }
        let mut next = 0;
        while let Some(step) = self.queue.get(next).copied() {
            next += 1;
            match step.meta.kind() {
                Kind::Inner => {
                    self.open(view, step);
                    self.open_gated(view, step, asked, found);
                }
                Kind::Boxes => self.open_boxes(arena, step, found),
                Kind::Ids => self.blocks.push(step),
                _ => self.scan(view, step, asked, found),
            }
        }
    }

    /// Queues what is below an inner block.
    fn open(&mut self, view: &View, step: Step) {
        let arena = &view.common.arena;
        let Scratch { together, queue, .. } = self;
        let words = arena.words(step.block);
        push(arena, queue, words[REST].load(Ordering::Acquire), step.events);
        if [0, 1].iter().any(|at| words[ATTRIBUTES + at].load(Ordering::Relaxed) != 0) {
            let children = Children::of(arena, step.block);
            together.each_code(step.events, |set, events| {
                let (word, bit) = attribute_bit(set.attribute);
                if words[word].load(Ordering::Relaxed) & bit != 0 {
                    push(arena, queue, children.find(view, set.code), events);
                }
            });
        }
    }

    /// Reads what is below an inner block by gates, [`GROUP`] chains at a time: there may be
    /// thousands, and what was asked for must still be near when it is read. Other blocks are queued.
    fn open_gated<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        step: Step,
        asked: &[(&Topic, &A)],
        found: &mut impl FnMut(Met<'_>),
    ) {
        let arena = &view.common.arena;
        if arena.words(step.block)[DERIVED].load(Ordering::Relaxed) == 0 {
            return;
        }
        let children = Children::of(arena, step.block);
        let mut group = std::mem::take(&mut self.group);
        // What is added meanwhile is of a higher level, and leads nowhere here.
        for place in 0..self.together.derived().len() {
            let code = self.together.derived()[place];
            let events = self.together.having(code) & step.events;
            if events != 0 {
                push(arena, &mut group, children.find(view, code), events);
            }
            if group.len() == GROUP {
                self.scan_all(view, &mut group, asked, found);
            }
        }
        self.scan_all(view, &mut group, asked, found);
        self.group = group;
    }

    /// Reads those of the steps that are chains, and queues the others.
    fn scan_all<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        group: &mut Vec<Step>,
        asked: &[(&Topic, &A)],
        found: &mut impl FnMut(Met<'_>),
    ) {
        let is_chain = |step: &Step| step.meta.kind().has_entries();
        for step in group.iter().filter(|step| is_chain(step)) {
            fetch_block(&view.common.arena, step.block, step.first, step.meta);
        }
        for step in group.drain(..) {
            match is_chain(&step) {
                true => self.scan(view, step, asked, found),
                false => self.queue.push(step),
            }
        }
    }

    /// Boxes are compared with one event after the other: each is a point of its own.
    fn open_boxes(&mut self, arena: &Arena, step: Step, found: &mut impl FnMut(Met<'_>)) {
        let Scratch { together, queue, waiting, lists, gates, chains, .. } = self;
        push(arena, queue, step.first, step.events);
        each_event(step.events, |place| {
            let events = 1 << place;
            let chain = |block| chains.push((block, events));
            for target in boxes::visit(arena, step.block, together.event(place), waiting, chain) {
                match *target {
                    target if is_gate(target) => gates.push((target & !IS_GATE, events)),
                    target if target & IS_LIST != 0 => lists.push((target & !IS_LIST, events)),
                    target => found(Met::One(target, events)),
                }
            }
        });
        gates.drain(..).for_each(|(code, events)| together.give(code, events));
        merge(chains);
        chains.drain(..).for_each(|(block, events)| push(arena, queue, block, events));
    }

    /// Reads a chain of entries.
    fn scan<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        step: Step,
        asked: &[(&Topic, &A)],
        found: &mut impl FnMut(Met<'_>),
    ) {
        let chain = (step.block, step.first, step.meta);
        each_block(&view.common.arena, chain, |words, used, meta| match meta.kind() {
            Kind::Clauses => {
                clauses::each_entry(&words[..meta.size()], used, |target, literals, last| {
                    let mut holding = self.together.holding(&view.vocabulary, literals, step.events);
                    if holding != 0 && last.has_operations() {
                        let events = Events { view, asked, together: &self.together };
                        holding = events.all_hold(&clauses::operations(literals), holding);
                    }
                    if holding != 0 {
                        self.meet(target.load(Ordering::Acquire), last.is_several(), holding, found);
                    }
                });
            }
            _ => each_row(&words[CHAIN_HEAD..used.end()], |target, head, entry| {
                let together = &self.together;
                let holding = match head.is_always() {
                    true => 0,
                    false => Events { view, asked, together }.holding(entry, head.codes(), step.events),
                };
                if holding != 0 {
                    self.meet(target.load(Ordering::Acquire), head.is_several(), holding, found);
                }
            }),
        });
    }

    #[inline]
    fn meet(&mut self, target: u32, is_several: bool, events: u64, found: &mut impl FnMut(Met<'_>)) {
        match target {
            NOBODY => {}
            _ if is_gate(target) => self.together.give(target & !IS_GATE, events),
            _ if target & IS_LIST != 0 => self.lists.push((target & !IS_LIST, events)),
            _ if is_several => self.gathered.add(target, events),
            _ => found(Met::One(target, events)),
        }
    }

    /// Hands over lists, each once: each step for all of them before the next, since each waits for
    /// memory. An entry that an event found by itself while its list was made is not handed over
    /// again.
    fn hand_over(&mut self, arena: &Arena, found: &mut impl FnMut(Met<'_>)) {
        let Scratch { lists, blocks, gathered, .. } = self;
        merge(lists);
        lists.iter_mut().for_each(|(list, _)| *list = arena.load(*list, 0));
        lists.drain(..).for_each(|(block, events)| push(arena, blocks, block, events));
        let is_alone = gathered.is_empty();
        let mut next = 0;
        while let Some(step) = blocks.get(next).copied() {
            next += 1;
            let words = arena.words(step.block);
            let numbers = &words[CHAIN_HEAD..step.first as usize];
            if is_alone {
                found(Met::Many(numbers, step.events));
            } else {
                for number in numbers {
                    let number = number.load(Ordering::Relaxed);
                    if number != NOBODY {
                        found(Met::One(number, step.events & !gathered.events(number)));
                    }
                }
            }
            push(arena, blocks, words[NEXT].load(Ordering::Acquire), step.events);
        }
        blocks.clear();
    }
}

#[inline]
fn push(arena: &Arena, queue: &mut Vec<Step>, block: Handle, events: u64) {
    if block != 0 {
        let (first, meta) = start(arena, block);
        queue.push(Step { block, first, meta, events });
    }
}
