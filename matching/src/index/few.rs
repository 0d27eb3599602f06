//! Finding among few entries: where a topic leads to so few that reading the event whole would cost
//! more than they do, the event is asked only for what decides them.
//!
//! 1. Finds what `super::matching` finds by reading the event whole.
//! 2. Only chains of one block right below the slots of a route: what is divided is not few, and
//!    only what is divided asks for gates.
//! 3. An entry is held against the event code by code; the first that is not true ends it, and
//!    nothing behind it is asked for, and of one that was removed nothing at all. What the event is asked for is known for certain, also of codes
//!    that came meanwhile.
//!
//! Not here: events that are looked at for the traffic and for unknown comparisons. They are read
//! whole.

use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;

use super::arena::{Arena, Handle};
use super::blocks::{CHAIN_HEAD, Kind, META, Meta, NEXT, Used, each_row};
use super::clauses::{self, Literal};
use super::codes::Inquiry;
use super::entry::{self, ANY, CODE, FLOAT, INT, NOBODY, NONE, NOT, SOME, each_operation};
use super::matching::Asking;
use super::seen::Seen;
use super::trie::Slot;
use super::writer::View;
use crate::simd;
use crate::topic::Topic;
use crate::value::Attributes;

/// Slots that may have few entries.
const SLOTS_MAX: usize = 16;
/// Words that few entries have, all together.
const WORDS_MAX: usize = 192;

/// The chains below some slots.
pub(super) type Few<'a> = ArrayVec<Chain<'a>, SLOTS_MAX>;

/// A chain of one block: its words, and how many are used.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    words: &'a [AtomicU32],
    used: Used,
    kind: Kind,
}

/// The chains below `slots` if there are few entries.
pub(super) fn few<'a>(arena: &'a Arena, slots: &[Slot]) -> Option<Few<'a>> {
    if slots.len() > SLOTS_MAX {
        return None;
    }
    let blocks: ArrayVec<Handle, SLOTS_MAX> = slots.iter().map(|slot| slot.load(arena)).collect();
    let blocks = || blocks.iter().filter(|block| **block != 0).map(|block| arena.words(*block));
    blocks().for_each(|words| simd::prefetch(&words[0]));
    let mut left = WORDS_MAX;
    let mut few = Few::new();
    for words in blocks() {
        let chain = alone(words)?;
        left = left.checked_sub(chain.used.words())?;
        few.push(chain);
    }
    Some(few)
}

/// A chain that has one block.
fn alone(words: &[AtomicU32]) -> Option<Chain<'_>> {
    let meta = Meta(words[META].load(Ordering::Relaxed));
    let is_alone = meta.kind().has_entries() && words[NEXT].load(Ordering::Acquire) == 0;
    let used = Used(words[0].load(Ordering::Acquire));
    is_alone.then(|| Chain { words: &words[..meta.size()], used, kind: meta.kind() })
}

/// Hands the targets of the entries that want the event to `found`.
pub(super) fn find<A: Attributes + ?Sized>(
    view: &View,
    few: &Few<'_>,
    (topic, event): (&Topic, &A),
    seen: &mut Seen,
    mut found: impl FnMut(u32),
) {
    let mut inquiry = view.vocabulary.ask(&view.common.arena, event, seen);
    let mut meet = |inquiry: &mut Inquiry<'_, '_, A>, target: u32, is_several: bool| {
        if !is_several || inquiry.seen.mark(target) {
            found(target);
        }
    };
    for Chain { words, used, kind } in few {
        if *kind == Kind::Clauses {
            clauses::each_entry(words, *used, |target, literals, last| {
                let Some(target) = live(target) else { return };
                let holds = clauses::hold(literals, |literal| match literal.step() {
                    Some((scale, step)) => inquiry.step(scale) >= step,
                    None if literal.has(Literal::NOT) => !literal.is_absent() || !inquiry.has(literal.code()),
                    None => inquiry.has(literal.code()),
                });
                let operations = clauses::operations_of(literals, last);
                if holds && operations_hold(view, (topic, event), &mut inquiry, &operations) {
                    meet(&mut inquiry, target, last.is_several());
                }
            });
            continue;
        }
        each_row(&words[CHAIN_HEAD..used.end()], |target, head, entry| {
            let Some(target) = live(target) else { return };
            let (codes, operations) = entry.split_at(head.codes());
            let mut codes = codes.iter().map(|code| code.load(Ordering::Relaxed));
            if !head.is_always()
                && codes.all(|code| inquiry.has(code))
                && operations_hold(view, (topic, event), &mut inquiry, operations)
            {
                meet(&mut inquiry, target, head.is_several());
            }
        });
    }
}

/// The target, unless it was removed: then its codes may be another's, and nothing may be asked
/// about them.
fn live(target: &AtomicU32) -> Option<u32> {
    Some(target.load(Ordering::Acquire)).filter(|target| *target != NOBODY)
}

/// Whether operations hold. The event is asked for what they are about.
fn operations_hold<A: Attributes + ?Sized>(
    view: &View,
    (topic, event): (&Topic, &A),
    inquiry: &mut Inquiry<'_, '_, A>,
    operations: &[AtomicU32],
) -> bool {
    let words: ArrayVec<u32, WORDS_MAX> =
        operations.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    each_operation(&words, &mut |operation, own| {
        if matches!(operation.kind(), NONE | INT | FLOAT) {
            inquiry.value(operation.attribute());
        }
        if matches!(operation.kind(), CODE | NOT | ANY | SOME | NONE) {
            own.iter().for_each(|code| inquiry.note(*code));
        }
    });
    let asking = Asking { view, topic, event, seen: inquiry.seen };
    entry::all_hold(operations, asking.seen, &asking)
}
