//! Which entries several events meet: `super::super::matching`, with the events that lead to a
//! block beside it.
//!
//! 1. A block is read once in a batch, with all events that lead to it; boxes once for each event.
//! 2. The blocks that others lead to are asked of the memory while those before them are read.
//! 3. What stands in several places is gathered by its number and handed over at the end.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::index::arena::{Arena, Handle};
use crate::index::blocks::{
    ATTRIBUTES, CHAIN_HEAD, DERIVED, Kind, Meta, NEXT, REST, Used, attribute_bit, each_block, each_row, start,
};
use crate::index::boxes::{self, Waiting};
use crate::index::children::{Children, IS_IDS};
use crate::index::clauses;
use crate::index::entry::{IS_GATE, IS_LIST, NOBODY, is_gate};
use crate::index::matching::{fetch_block, uses_gates};
use crate::index::trie::Slot;
use crate::index::writer::View;
use crate::index::{EntryId, ids};
use crate::simd;
use crate::topic::Topic;
use crate::value::Attributes;

use super::block::Block;
use super::holding::Events;
use super::together::Together;
use super::{each_event, merge};

/// A reader's own memory, used for one batch after another.
#[derive(Default)]
pub(in crate::index) struct Scratch {
    together: Together,
    /// Blocks that lead to others.
    queue: Vec<Step>,
    /// What they lead to, for which events.
    ways: Vec<(Handle, u64)>,
    steps: Vec<Step>,
    block: Block,
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

/// Entries that stand in several places, with the events that found them so far.
#[derive(Default)]
struct Gathered {
    events: Vec<u64>,
    /// One bit for each [`PAGE`] of numbers of which some was found.
    pages: Vec<u64>,
}

/// What a block is, and then its words, are asked for so many blocks ahead each.
const AHEAD: usize = 12;

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

/// Hands the entries below `slots` that the events want to `found`, the lists of these; of several
/// places each once for an event. How many comparisons the events stand for that were unknown.
pub(super) fn find<A: Attributes + ?Sized>(
    view: &View,
    slots: &[(Slot, u64)],
    asked: &[(&Topic, &A)],
    scratch: &mut Scratch,
    tests_end: u32,
    found: &mut [Vec<EntryId>],
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
    scratch.gathered.drain(|number, events| hand_one(number, events, found));
    scratch.together.clear(asked.len())
}

/// Hands one entry to the lists of events.
#[inline]
fn hand_one(number: u32, events: u64, found: &mut [Vec<EntryId>]) {
    each_event(events, |event| found[event].push(EntryId(number)));
}

impl Scratch {
    /// Goes through all blocks below slots that the events lead to.
    fn walk<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        slots: &[(Slot, u64)],
        asked: &[(&Topic, &A)],
        found: &mut [Vec<EntryId>],
    ) {
        let arena = &view.common.arena;
        let blocks = slots.iter().map(|(slot, events)| (slot.load(arena), *events));
        self.ways.extend(blocks.filter(|(block, _)| *block != 0));
        self.follow(view, asked, found);
        while let Some(step) = self.queue.pop() {
            match step.meta.kind() {
                Kind::Boxes => self.open_boxes(arena, step, found),
                _ => self.open(view, step),
            }
            self.follow(view, asked, found);
        }
    }

    /// Reads the blocks that were found; those that lead to others are queued.
    fn follow<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        asked: &[(&Topic, &A)],
        found: &mut [Vec<EntryId>],
    ) {
        let arena = &view.common.arena;
        let (ways, mut steps) = (std::mem::take(&mut self.ways), std::mem::take(&mut self.steps));
        let fetch = |way: &(Handle, u64)| simd::prefetch(&arena.words(way.0 & !IS_IDS)[0]);
        ways.iter().take(AHEAD).for_each(fetch);
        for place in 0..ways.len() + AHEAD {
            ways.get(place + AHEAD).into_iter().for_each(fetch);
            if let Some((block, events)) = ways.get(place) {
                let step = step(arena, *block & !IS_IDS, *events);
                if step.meta.kind().has_entries() {
                    fetch_block(arena, step.block, step.first, step.meta);
                }
                steps.push(step);
            }
            if let Some(step) = place.checked_sub(AHEAD).and_then(|place| steps.get(place)) {
                match step.meta.kind() {
                    Kind::Inner | Kind::Boxes => self.queue.push(*step),
                    Kind::Ids => self.blocks.push(*step),
                    _ => self.scan(view, *step, asked, found),
                }
            }
        }
        (self.ways, self.steps) = (ways, steps);
        self.ways.clear();
        self.steps.clear();
    }

    /// Notes what is below an inner block.
    fn open(&mut self, view: &View, step: Step) {
        let arena = &view.common.arena;
        let Scratch { together, ways, .. } = self;
        let words = arena.words(step.block);
        let mut lead = |block: Handle, events: u64| {
            if block != 0 {
                ways.push((block, events));
            }
        };
        lead(words[REST].load(Ordering::Acquire), step.events);
        let children = Children::of(arena, step.block);
        let child = |code| match children.place(code) {
            Some(place) => place.load(Ordering::Acquire),
            None if children.has_links() => children.find(view, code),
            None => 0,
        };
        if [0, 1].iter().any(|at| words[ATTRIBUTES + at].load(Ordering::Relaxed) != 0) {
            together.each_code(step.events, |set, events| {
                let (word, bit) = attribute_bit(set.attribute);
                if words[word].load(Ordering::Relaxed) & bit != 0 {
                    lead(child(set.code), events);
                }
            });
        }
        if words[DERIVED].load(Ordering::Relaxed) != 0 {
            for code in together.derived() {
                let events = together.having(*code) & step.events;
                if events != 0 {
                    lead(child(*code), events);
                }
            }
        }
    }

    /// Boxes are compared with one event after the other: each is a point of its own.
    fn open_boxes(&mut self, arena: &Arena, step: Step, found: &mut [Vec<EntryId>]) {
        let Scratch { together, ways, waiting, lists, gates, chains, .. } = self;
        if step.first != 0 {
            ways.push((step.first, step.events));
        }
        each_event(step.events, |place| {
            let events = 1 << place;
            let chain = |block| chains.push((block, events));
            for target in boxes::visit(arena, step.block, together.event(place), waiting, chain) {
                match *target {
                    target if is_gate(target) => gates.push((target & !IS_GATE, events)),
                    target if target & IS_LIST != 0 => lists.push((target & !IS_LIST, events)),
                    target => found[place].push(EntryId(target)),
                }
            }
        });
        gates.drain(..).for_each(|(code, events)| together.give(code, events));
        merge(chains);
        ways.extend(chains.drain(..).filter(|(block, _)| *block != 0));
    }

    /// Reads a chain of entries.
    fn scan<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        step: Step,
        asked: &[(&Topic, &A)],
        found: &mut [Vec<EntryId>],
    ) {
        let chain = (step.block, step.first, step.meta);
        each_block(&view.common.arena, chain, |words, used, meta| match meta.kind() {
            // Nothing was born since: what is not set was asked for.
            Kind::Clauses if view.vocabulary.moment() == self.together.moment => {
                self.scan_block(view, (&words[..meta.size()], used), step.events, asked, found);
            }
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

    /// Reads a block of clauses.
    fn scan_block<A: Attributes + ?Sized>(
        &mut self,
        view: &View,
        (words, used): (&[AtomicU32], Used),
        events: u64,
        asked: &[(&Topic, &A)],
        found: &mut [Vec<EntryId>],
    ) {
        let literals = &words[CHAIN_HEAD..used.end()];
        let targets = &words[words.len() - used.targets()..];
        let mut block = std::mem::take(&mut self.block);
        block.read(&self.together, &view.vocabulary.scales, literals, events);
        for (number, end) in block.special.iter().copied() {
            let mut holding = std::mem::take(&mut block.holding[number]);
            let last = clauses::load(&literals[end - 1]);
            if holding != 0 && last.has_operations() {
                let events = Events { view, asked, together: &self.together };
                holding = events.all_hold(&clauses::operations(&literals[..end]), holding);
            }
            if holding != 0 {
                let target = targets[targets.len() - 1 - number].load(Ordering::Acquire);
                self.meet(target, last.is_several(), holding, found);
            }
        }
        block.hand_out(targets, found, |target, events| self.meet_other(target, events));
        self.block = block;
    }

    #[inline]
    fn meet(&mut self, target: u32, is_several: bool, events: u64, found: &mut [Vec<EntryId>]) {
        match target {
            _ if target >= IS_GATE => self.meet_other(target, events),
            _ if is_several => self.gathered.add(target, events),
            _ => hand_one(target, events, found),
        }
    }

    /// Meets what is no entry by itself.
    fn meet_other(&mut self, target: u32, events: u64) {
        match target {
            NOBODY => {}
            _ if is_gate(target) => self.together.give(target & !IS_GATE, events),
            _ => self.lists.push((target & !IS_LIST, events)),
        }
    }

    /// Hands over lists, each once: each step for all of them before the next, since each waits for
    /// memory. An entry that an event found by itself while its list was made is not handed over
    /// again.
    fn hand_over(&mut self, arena: &Arena, found: &mut [Vec<EntryId>]) {
        let Scratch { lists, blocks, gathered, .. } = self;
        merge(lists);
        lists.iter_mut().for_each(|(list, _)| *list = arena.load(*list, 0));
        let filled = lists.drain(..).filter(|(block, _)| *block != 0);
        blocks.extend(filled.map(|(block, events)| step(arena, block, events)));
        let is_alone = gathered.is_empty();
        let mut next = 0;
        while let Some(Step { block, first, events, .. }) = blocks.get(next).copied() {
            next += 1;
            let words = arena.words(block);
            let ids = &words[CHAIN_HEAD..first as usize];
            if is_alone {
                each_event(events, |event| simd::ids::append(ids, &mut found[event]));
            } else {
                ids::numbers(ids)
                    .for_each(|number| hand_one(number, events & !gathered.events(number), found));
            }
            let after = words[NEXT].load(Ordering::Acquire);
            if after != 0 {
                blocks.push(step(arena, after, events));
            }
        }
        blocks.clear();
    }
}

#[inline]
fn step(arena: &Arena, block: Handle, events: u64) -> Step {
    let (first, meta) = start(arena, block);
    Step { block, first, meta, events }
}
