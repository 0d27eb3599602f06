//! Which entries an event meets: the reading side.
//!
//! 1. Nothing is locked. What a reader loads stays what it is while the reader is inside
//!    (`super::epoch`).
//! 2. An event is read once into codes and numbers. An inner block is asked only for the codes
//!    that are set, and only if some child has a code of that attribute.
//! 3. The blocks of one level are looked up together before any of them is read, and lists are
//!    handed over after all were found, so that the memory fetches many at the same time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::EntryId;
use super::arena::{Arena, Handle, LINE};
use super::batch::BatchScratch;
use super::blocks::{
    ARRAY, ATTRIBUTES, CHAIN_HEAD, DERIVED, GATES, Kind, META, Meta, REST, Used, chain_words, each_block,
    each_row, meta, start,
};
use super::boxes::{self, Waiting};
use super::children::{self, Children, IS_IDS};
use super::clauses::{self, Literal};
use super::entry::{self, IS_GATE, IS_LIST, NOBODY, Tests, is_gate};
use super::few;
use super::ids;
use super::seen::{SAMPLED, Seen};
use super::table::Key;
use super::trie::Slot;
use super::writer::View;
use crate::simd;
use crate::topic::Topic;
use crate::value::Attributes;

/// A reader's own memory, used for one event after another.
pub(super) struct Scratch {
    seen: Seen,
    steps: Steps,
    lists: Vec<Handle>,
    /// Blocks of ids.
    ids: Vec<Handle>,
    /// For who resolves what was found.
    pub(super) found: Vec<EntryId>,
    /// For several events at once.
    pub(super) batch: Option<Box<BatchScratch>>,
}

/// So many blocks of ids are asked for before they are handed over, two lines of each: who reads on
/// in order is not kept waiting.
const AHEAD: usize = 16;

/// What is still to be gone through: level after level, each step for all blocks of a level before
/// the next step.
#[derive(Default)]
struct Steps {
    /// Blocks that divide what is below them.
    inner: Vec<Step>,
    /// Chains of entries, read after all of them were found.
    chains: Vec<Step>,
    /// Blocks of the next level.
    found: Vec<Handle>,
    links: Vec<Link>,
    waiting: Waiting,
}

/// Chains are fetched while so many before them are still to be read: with more, a chain is gone from
/// the cache before its turn.
const CHAINS_AHEAD: usize = 16;

/// A block that is to be read.
#[derive(Clone, Copy)]
struct Step {
    block: Handle,
    first: u32,
    meta: Meta,
}

/// What is looked up in the table of links, in which bucket, and the array that the inner block has
/// of other codes.
#[derive(Clone, Copy)]
struct Link {
    key: Key,
    bucket: Handle,
    array: Handle,
}

/// What was found.
pub(super) enum Hit<'a> {
    /// One entry.
    One(u32),
    /// A block of entries with one filter (`super::ids`).
    Many(&'a [AtomicU32]),
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch {
            seen: Seen::new(),
            steps: Steps::default(),
            lists: Vec::new(),
            ids: Vec::new(),
            found: Vec::new(),
            batch: None,
        }
    }
}

/// Answers for one event what its codes and numbers do not.
pub(super) struct Asking<'r, A: ?Sized> {
    pub(super) view: &'r View,
    pub(super) topic: &'r Topic,
    pub(super) event: &'r A,
    pub(super) seen: &'r Seen,
}

impl<A: Attributes + ?Sized> Tests for Asking<'_, A> {
    fn holds(&self, test: u32) -> bool {
        self.seen.answer(test, || {
            let question = self.view.questions.get(test).map(|slot| slot.load());
            question.is_some_and(|question| {
                question.as_ref().is_some_and(|question| question.holds(self.topic, self.event))
            })
        })
    }

    #[inline]
    fn was_read_with(&self, code: u32) -> bool {
        self.view.vocabulary.was_read_with(code, self.seen.moment)
    }
}

/// Hands the entries below `slots` that want the event to `found`; of several places each once. How
/// many comparisons this event stands for that were unknown: most events stand for none.
pub(super) fn find<A: Attributes + ?Sized>(
    view: &View,
    slots: &[Slot],
    (topic, event): (&Topic, &A),
    scratch: &mut Scratch,
    tests_end: u32,
    found: &mut impl FnMut(Hit<'_>),
) -> u64 {
    let arena = &view.common.arena;
    let Scratch { seen, steps, lists, ids, .. } = scratch;
    seen.expect_tests(tests_end as usize);
    seen.moment = view.vocabulary.moment();
    let mut found_one = |target: u32| match target & IS_LIST {
        0 => found(Hit::One(target)),
        _ => lists.push(target & !IS_LIST),
    };
    view.vocabulary.renew(seen);
    if !seen.is_sampled()
        && let Some(few) = few::few(arena, slots)
    {
        few::find(view, &few, (topic, event), seen, &mut found_one);
        hand_over(arena, (lists, ids), seen, found);
        seen.clear();
        return 0;
    }
    view.vocabulary.read(arena, event, seen);
    let notes_unknowns =
        seen.is_sampled() && view.vocabulary.scales.are_lacking(|number| seen.has_number(number));
    seen.set_notes_unknowns(notes_unknowns);
    if slots.iter().any(|slot| uses_gates(arena, *slot)) {
        for level in &view.levels {
            walk(view, &[*level], (topic, event), seen, (steps, ids), &mut found_one);
        }
        view.vocabulary.note_gates(seen);
    }
    walk(view, slots, (topic, event), seen, (steps, ids), &mut found_one);
    let unknowns = seen.sampled_unknowns().unwrap_or(0);
    hand_over(arena, (lists, ids), seen, found);
    seen.clear();
    u64::from(unknowns) * u64::from(SAMPLED)
}

/// Hands over lists: each step for all of them before the next, since each waits for memory. An
/// entry that was found by itself while its list was made is not handed over again.
fn hand_over(
    arena: &Arena,
    (lists, ids): (&mut Vec<Handle>, &mut Vec<Handle>),
    seen: &Seen,
    found: &mut impl FnMut(Hit<'_>),
) {
    fetch(lists.iter().map(|list| &arena.words(*list)[0]));
    ids.extend(lists.drain(..).map(|list| arena.load(list, 0)).filter(|block| *block != 0));
    let mut ahead: [&[AtomicU32]; AHEAD] = [&[]; AHEAD];
    ahead.iter_mut().zip(ids.iter()).for_each(|(place, block)| *place = ask_for(arena, *block));
    let mut at = 0;
    while at < ids.len() {
        let (words, next) = chain_words(ahead[at % AHEAD]);
        if let Some(block) = ids.get(at + AHEAD) {
            ahead[at % AHEAD] = ask_for(arena, *block);
        }
        if seen.has_marks() {
            let new = ids::numbers(words).filter(|number| !seen.is_marked(*number));
            new.for_each(|number| found(Hit::One(number)));
        } else {
            found(Hit::Many(words));
        }
        if next != 0 {
            if ids.len() <= at + AHEAD {
                ahead[ids.len() % AHEAD] = ask_for(arena, next);
            }
            ids.push(next);
        }
        at += 1;
    }
    ids.clear();
}

/// The words of a block of ids, of which the memory is asked for the first lines.
#[inline]
fn ask_for(arena: &Arena, block: Handle) -> &[AtomicU32] {
    let words = arena.words(block);
    [0, LINE].iter().filter_map(|at| words.get(*at)).for_each(simd::prefetch);
    words
}

/// Whether some entry below a slot asks for gates.
pub(super) fn uses_gates(arena: &Arena, slot: Slot) -> bool {
    let block = slot.load(arena);
    if block == 0 {
        return false;
    }
    let words = arena.words(block);
    let is_inner = Meta(words[META].load(Ordering::Relaxed)).kind() == Kind::Inner;
    is_inner && words[GATES].load(Ordering::Acquire) != 0
}

/// Goes through all blocks below slots that the event leads to.
fn walk<A: Attributes + ?Sized>(
    view: &View,
    slots: &[Slot],
    (topic, event): (&Topic, &A),
    seen: &mut Seen,
    (steps, ids): (&mut Steps, &mut Vec<Handle>),
    found: &mut impl FnMut(u32),
) {
    let arena = &view.common.arena;
    steps.found.extend(slots.iter().map(|slot| slot.load(arena)));
    while steps.descend(arena, ids) {
        fetch(steps.inner.iter().filter_map(|step| array_of(arena, step)));
        for at in 0..steps.inner.len() {
            let step = steps.inner[at];
            match step.meta.kind() {
                Kind::Inner => steps.open(view, step, seen, ids),
                _ => steps.visit_boxes(arena, step, seen, found),
            }
        }
        steps.follow_links(view, ids);
    }
    let fetch = |step: &Step| fetch_block(arena, step.block, step.first, step.meta);
    steps.chains.iter().take(CHAINS_AHEAD).for_each(fetch);
    for (place, step) in steps.chains.iter().enumerate() {
        steps.chains.get(place + CHAINS_AHEAD).into_iter().for_each(fetch);
        scan(view, *step, (topic, event), seen, found);
    }
    steps.chains.clear();
}

/// Where the array of an inner block begins.
fn array_of<'a>(arena: &'a Arena, step: &Step) -> Option<&'a AtomicU32> {
    let is_inner = step.meta.kind() == Kind::Inner;
    is_inner.then(|| &arena.words(arena.load(step.block, ARRAY))[0])
}

impl Steps {
    /// Looks what the blocks are that were found, and goes down to them. False if there is nothing that
    /// leads further.
    fn descend(&mut self, arena: &Arena, ids: &mut Vec<Handle>) -> bool {
        self.inner.clear();
        for block in self.found.drain(..).filter(|block| *block != 0) {
            let (first, meta) = start(arena, block);
            let step = Step { block, first, meta };
            match meta.kind() {
                Kind::Inner | Kind::Boxes => self.inner.push(step),
                Kind::Ids => ids.push(block),
                _ => self.chains.push(step),
            }
        }
        !self.inner.is_empty()
    }

    /// Notes what is below an inner block; lists that stand alone are found with that.
    fn open(&mut self, view: &View, step: Step, seen: &Seen, ids: &mut Vec<Handle>) {
        let words = view.common.arena.words(step.block);
        self.found.push(words[REST].load(Ordering::Acquire));
        let start = self.found.len();
        let children = Children::of(&view.common.arena, step.block);
        let has: [u32; 2] = [0, 1].map(|at| words[ATTRIBUTES + at].load(Ordering::Relaxed));
        let has_derived = words[DERIVED].load(Ordering::Relaxed) != 0;
        if has != [0, 0] {
            children.collect(seen.numbers(), &mut self.found);
        }
        if has_derived {
            children.collect(seen.derived(), &mut self.found);
        }
        sort_out(&mut self.found, start, ids);
        if !children.has_links() {
            return;
        }
        if has != [0, 0] {
            for set in seen.codes() {
                if has[usize::from(set.attribute >> 5 & 1)] >> (set.attribute & 31) & 1 == 1 {
                    self.link(view, &children, set.code);
                }
            }
        }
        if has_derived {
            seen.derived().iter().for_each(|code| self.link(view, &children, *code));
        }
    }

    /// Notes a code that is not in the array.
    #[inline]
    fn link(&mut self, view: &View, children: &Children<'_>, code: u32) {
        if children.place(code).is_none() {
            let key = Key { first: children.inner(), second: code };
            self.links.push(Link { key, bucket: view.links.bucket(key), array: children.array() });
        }
    }

    /// Finds the blocks that links lead to.
    fn follow_links(&mut self, view: &View, ids: &mut Vec<Handle>) {
        let arena = &view.common.arena;
        fetch(self.links.iter().map(|link| &arena.words(link.bucket)[0]));
        let start = self.found.len();
        let followed = self.links.drain(..).map(|link| follow(view, link));
        self.found.extend(followed.filter(|child| *child != 0));
        sort_out(&mut self.found, start, ids);
        fetch(self.found.iter().map(|block| &arena.words(*block)[0]));
    }

    fn visit_boxes(&mut self, arena: &Arena, step: Step, seen: &mut Seen, found: &mut impl FnMut(u32)) {
        self.found.push(step.first);
        let chain = |block| self.found.push(block);
        for target in boxes::visit(arena, step.block, seen, &mut self.waiting, chain) {
            match is_gate(*target) {
                true => seen.set_derived(target & !IS_GATE),
                false => found(*target),
            }
        }
    }
}

/// Takes the blocks of ids out of children from `start` on.
#[inline]
fn sort_out(children: &mut Vec<u32>, start: usize, ids: &mut Vec<Handle>) {
    let mut end = start;
    for at in start..children.len() {
        let child = children[at];
        if child & IS_IDS != 0 {
            ids.push(child & !IS_IDS);
        } else {
            children[end] = child;
            end += 1;
        }
    }
    children.truncate(end);
}

/// Where a link leads to. What is not in the table may be in an array by now.
#[inline]
fn follow(view: &View, Link { key, bucket, array }: Link) -> Handle {
    let arena = &view.common.arena;
    let child = view.links.find_in(arena, key, bucket);
    if child == 0 && children::is_changed(arena, key.first, array) {
        return Children::of(arena, key.first).find(view, key.second);
    }
    child
}

/// Asks the memory for the lines of words that are needed soon, all at the same time.
fn fetch<'w>(words: impl Iterator<Item = &'w AtomicU32>) {
    words.for_each(simd::prefetch);
}

/// Asks for the words of a block of a chain that are in use.
#[inline]
pub(super) fn fetch_block(arena: &Arena, block: Handle, first: u32, meta: Meta) {
    let (words, used) = (arena.words(block), Used(first));
    fetch(words[..used.end()].iter().step_by(LINE));
    if used.targets() > 0 {
        // These go on where the others end, or behind what is free.
        let start = (meta.size() - used.targets()).max(used.end().next_multiple_of(LINE));
        fetch(words[start.min(meta.size())..meta.size()].iter().step_by(LINE));
        simd::prefetch(&words[meta.size() - 1]);
    }
}

/// Reads a chain of entries.
fn scan<A: Attributes + ?Sized>(
    view: &View,
    step: Step,
    (topic, event): (&Topic, &A),
    seen: &mut Seen,
    found: &mut impl FnMut(u32),
) {
    let mut meet = |seen: &mut Seen, target: u32, is_several: bool| {
        if is_gate(target) {
            seen.set_derived(target & !IS_GATE);
        } else if target != NOBODY && (!is_several || seen.mark(target)) {
            found(target);
        }
    };
    let chain = (step.block, step.first, step.meta);
    each_block(&view.common.arena, chain, |words, used, meta| match meta.kind() {
        Kind::Clauses => {
            let see = |seen: &mut Seen, target, last: Literal, literals: &[AtomicU32]| {
                let asking = Asking { view, topic, event, seen };
                let was_read_with = |code| asking.was_read_with(code);
                let holds = |operations: clauses::Operations| entry::all_hold(&operations, seen, &asking);
                let is_known =
                    view.vocabulary.moment() == seen.moment || clauses::absent(literals).all(was_read_with);
                if is_known && (!last.has_operations() || holds(clauses::operations(literals))) {
                    meet(seen, target, last.is_several());
                }
            };
            let words = &words[..meta.size()];
            match seen.notes_unknowns() {
                false => clauses::each_holding(words, used, seen, see),
                true => clauses::each_holding_sampled(words, used, &view.vocabulary.scales, seen, see),
            }
        }
        _ => each_row(&words[CHAIN_HEAD..used.end()], |target, head, entry| {
            let asking = Asking { view, topic, event, seen };
            if !head.is_always() && entry::holds(entry, head.codes(), seen, &asking) {
                meet(seen, target.load(Ordering::Acquire), head.is_several());
            }
        }),
    });
}

fn hit(arena: &Arena, target: u32, found: &mut impl FnMut(Hit<'_>)) {
    if target & IS_LIST == 0 {
        found(Hit::One(target));
        return;
    }
    let mut block = arena.load(target & !IS_LIST, 0);
    while block != 0 {
        let (words, next) = chain_words(arena.words(block));
        found(Hit::Many(words));
        block = next;
    }
}

/// Hands over the entries below `slot` that want every event of the topic, and says whether there
/// are others.
pub(super) fn find_always(view: &View, slot: Slot, topic: &Topic, found: &mut impl FnMut(Hit<'_>)) -> bool {
    let arena = &view.common.arena;
    let mut block = slot.load(arena);
    if block == 0 {
        return false;
    }
    let mut has_others = false;
    while let Some(undivided) = undivided_at(arena, block) {
        block = arena.load(block, undivided);
        has_others = true;
    }
    if block == 0 || meta(arena, block).kind() == Kind::Ids {
        // Nothing, or a list below a code.
        return has_others;
    }
    let seen = Seen::new();
    let (first, meta) = start(arena, block);
    each_block(arena, (block, first, meta), |words, used, meta| {
        if meta.kind() == Kind::Clauses {
            has_others = true;
            return;
        }
        each_row(&words[CHAIN_HEAD..used.end()], |target, head, entry| {
            let target = target.load(Ordering::Acquire);
            // One that was removed counts: another may have been added behind it meanwhile.
            has_others |= !head.is_always();
            let asking = Asking { view, topic, event: &(), seen: &seen };
            if head.is_always() && target != NOBODY && entry::holds(entry, head.codes(), &seen, &asking) {
                hit(arena, target, found);
            }
        });
    });
    has_others
}

/// Where a block that divides entries leads to those that it cannot divide; `None` of a chain.
fn undivided_at(arena: &Arena, block: Handle) -> Option<usize> {
    match block {
        0 => None,
        block => match meta(arena, block).kind() {
            Kind::Inner => Some(REST),
            Kind::Boxes => Some(boxes::PLAIN),
            _ => None,
        },
    }
}

/// Whether the entries below a slot are such that routes lead there: some ask for more than the
/// topic.
pub(super) fn has_filtered(view: &View, slot: Slot) -> bool {
    let arena = &view.common.arena;
    let block = slot.load(arena);
    if block == 0 || undivided_at(arena, block).is_some() {
        return block != 0;
    }
    let (first, meta) = start(arena, block);
    let mut has_filtered = false;
    let is_live = |target: &AtomicU32| target.load(Ordering::Relaxed) != NOBODY;
    each_block(arena, (block, first, meta), |words, used, meta| match meta.kind() {
        Kind::Clauses => {
            has_filtered |= words[meta.size() - used.targets()..meta.size()].iter().any(is_live);
        }
        _ => each_row(&words[CHAIN_HEAD..used.end()], |target, head, _| {
            has_filtered |= !head.is_always() && is_live(target);
        }),
    });
    has_filtered
}
