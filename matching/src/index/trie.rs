//! Topic filters by level, so that a topic meets only the filters along its own path.
//!
//! A node's words: its chain of entries whose filter ends here, its parent, where its branches
//! are, the text of its level. Branches are three words: the chain of entries whose filter has `#`
//! next, the node of `+`, how many children there are by text. The child of a text is found in the
//! table of links by (node, hash of the text).
//!
//! 1. A node without entries and children does not exist, but for the root.
//! 2. An entry lies under exactly the levels of its filter; `a/#` lies in the node `a`.
//! 3. Nodes are found by their own text, compared behind its hash. A byte that no text has ends it.
//! 4. Most nodes are leaves and have no branches. A node that is made on the way to another has
//!    them before its text; a leaf that becomes such a node gets them as a block of their own.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::arena::{Arena, Handle};
use super::memory::Memory;
use super::table::Key;
use super::writer::{View, Writer};
use crate::topic::{FilterLevel, TopicFilter};

pub(super) use visit::visit;

mod visit;

/// The word of a node that leads to the entries whose filter ends there.
const HERE: usize = 0;
const PARENT: usize = 1;
/// The word that leads to the branches; 0 if there never were any.
const BRANCHES: usize = 2;
const HEAD: usize = 3;

/// Of branches, the word that leads to the entries whose filter has `#` next.
const BELOW: usize = 0;
const ONE: usize = 1;
const CHILDREN: usize = 2;
const BRANCHES_WORDS: usize = 3;

/// What comes behind the last byte of a text, to the end of its word. UTF-8 has no such byte.
const END: u8 = 0xff;

/// What the parent's word of a `+` node is marked with.
const IS_ONE: u32 = 0x8000_0000;

/// Where the entries of one topic filter are: a node, and which of its two chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slot(pub(super) u32);

const IS_BELOW: u32 = 0x8000_0000;

impl Slot {
    fn here(node: Handle) -> Slot {
        Slot(node)
    }

    fn below(node: Handle) -> Slot {
        Slot(node | IS_BELOW)
    }

    pub(super) fn node(self) -> Handle {
        self.0 & !IS_BELOW
    }

    /// The block and its word that lead to the first block of entries; none, and no slot, of a node
    /// without branches.
    #[inline]
    fn place(self, arena: &Arena) -> (Handle, usize) {
        match self.0 & IS_BELOW {
            0 => (self.node(), HERE),
            _ => (arena.load(self.node(), BRANCHES), BELOW),
        }
    }

    /// The first block there.
    #[inline]
    pub(super) fn load(self, arena: &Arena) -> Handle {
        let (block, at) = self.place(arena);
        arena.load(block, at)
    }

    pub(super) fn store(self, arena: &Arena, first: Handle) {
        let (block, at) = self.place(arena);
        arena.store(block, at, first);
    }
}

/// The bytes of the text of a level. Most take no memory of their own.
pub(super) type Text = SmallVec<[u8; 32]>;

fn key(view: &View, node: Handle, text: &[u8]) -> Key {
    Key { first: node, second: view.vocabulary.hash(text) }
}

fn child(view: &View, node: Handle, text: &str) -> Handle {
    let arena = &view.common.arena;
    view.links.find(arena, key(view, node, text.as_bytes()), |child| is_text(arena, child, text))
}

/// Where the text of a node begins.
#[inline]
fn text_at(arena: &Arena, node: Handle) -> usize {
    // A leaf has a word of text there at least.
    let is_inner = arena.load(node, BRANCHES) == node + HEAD as u32;
    if is_inner { HEAD + BRANCHES_WORDS } else { HEAD }
}

/// Whether a node has the text. One that is longer ends with the first word that differs.
#[inline]
fn is_text(arena: &Arena, node: Handle, text: &str) -> bool {
    let words = &arena.words(node)[text_at(arena, node)..];
    text_words(text).zip(words).all(|(word, known)| known.load(Ordering::Relaxed) == word)
}

/// A text as it is written: always with its end.
#[inline]
fn text_words(text: &str) -> impl Iterator<Item = u32> {
    let (whole, rest) = text.as_bytes().as_chunks::<4>();
    let mut last = [END; 4];
    last[..rest.len()].copy_from_slice(rest);
    whole.iter().copied().chain([last]).map(u32::from_le_bytes)
}

fn text_of(arena: &Arena, node: Handle) -> Text {
    let mut text = Text::new();
    for word in &arena.words(node)[text_at(arena, node)..] {
        let bytes = word.load(Ordering::Relaxed).to_le_bytes();
        // The last word ends with it, whatever comes before.
        if bytes[3] == END {
            text.extend(bytes.into_iter().take_while(|byte| *byte != END));
            break;
        }
        text.extend_from_slice(&bytes);
    }
    text
}

/// Makes the root.
pub(super) fn new_root(writer: &mut Writer) -> Handle {
    new_node(&mut writer.memory, 0, "", true)
}

/// Makes a slot of no filter.
pub(super) fn new_slot(memory: &mut Memory) -> Slot {
    Slot::here(new_node(memory, 0, "", false))
}

/// A node without entries; `is_inner` says whether something is to come below it.
fn new_node(memory: &mut Memory, parent: u32, text: &str, is_inner: bool) -> Handle {
    let before = if is_inner { HEAD + BRANCHES_WORDS } else { HEAD };
    let (node, _) = memory.take(before + text.len() / 4 + 1);
    let words = memory.arena().words(node);
    words[..before].iter().for_each(|word| word.store(0, Ordering::Relaxed));
    words[PARENT].store(parent, Ordering::Relaxed);
    words[BRANCHES].store(if is_inner { node + HEAD as u32 } else { 0 }, Ordering::Relaxed);
    text_words(text).zip(&words[before..]).for_each(|(word, place)| place.store(word, Ordering::Relaxed));
    node
}

/// The branches of a node, made if it has none.
fn branches_of(memory: &mut Memory, node: Handle) -> Handle {
    let branches = memory.arena().load(node, BRANCHES);
    if branches != 0 {
        return branches;
    }
    let (branches, _) = memory.take(BRANCHES_WORDS);
    let words = &memory.arena().words(branches)[..BRANCHES_WORDS];
    words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    memory.arena().store(node, BRANCHES, branches);
    branches
}

/// The slot of a filter, made if it has to be.
pub(super) fn slot(view: &View, writer: &mut Writer, root: Handle, filter: &TopicFilter) -> Slot {
    if let Some((known, slot)) = &writer.slot_last
        && known == filter
    {
        return *slot;
    }
    let slot = make_slot(view, writer, root, filter);
    writer.slot_last = Some((filter.clone(), slot));
    slot
}

fn make_slot(view: &View, writer: &mut Writer, root: Handle, filter: &TopicFilter) -> Slot {
    let mut node = root;
    let mut levels = filter.levels().peekable();
    while let Some(level) = levels.next() {
        let is_inner = levels.peek().is_some();
        node = match level {
            FilterLevel::Rest => {
                branches_of(&mut writer.memory, node);
                return Slot::below(node);
            }
            FilterLevel::One => one_child(writer, node, is_inner),
            FilterLevel::Literal(text) => text_child(view, writer, node, text, is_inner),
        };
    }
    Slot::here(node)
}

/// The text of the first level of the filter that a slot is of; `None` if it is a wildcard.
pub(super) fn first_level(view: &View, root: Handle, slot: Slot) -> Option<Text> {
    let arena = &view.common.arena;
    let mut node = slot.node();
    loop {
        let parent = arena.load(node, PARENT);
        if node == root || parent == root | IS_ONE {
            return None;
        }
        if parent == root {
            return Some(text_of(arena, node));
        }
        node = parent & !IS_ONE;
    }
}

fn one_child(writer: &mut Writer, node: Handle, is_inner: bool) -> Handle {
    let branches = branches_of(&mut writer.memory, node);
    match writer.memory.arena().load(branches, ONE) {
        0 => {
            let child = new_node(&mut writer.memory, node | IS_ONE, "", is_inner);
            writer.memory.arena().store(branches, ONE, child);
            child
        }
        child => child,
    }
}

fn text_child(view: &View, writer: &mut Writer, node: Handle, text: &str, is_inner: bool) -> Handle {
    match child(view, node, text) {
        0 => {
            let branches = branches_of(&mut writer.memory, node);
            let child = new_node(&mut writer.memory, node, text, is_inner);
            count_child(writer.memory.arena(), branches, 1);
            writer.link(view, key(view, node, text.as_bytes()), child);
            child
        }
        child => child,
    }
}

fn count_child(arena: &Arena, branches: Handle, change: i32) {
    let count = arena.load(branches, CHILDREN).wrapping_add_signed(change);
    arena.store(branches, CHILDREN, count);
}

/// Takes the nodes out, from that of a slot upwards, that nothing is below any more.
pub(super) fn tidy(view: &View, writer: &mut Writer, root: Handle, slot: Slot) {
    let mut node = slot.node();
    while node != root && is_empty(writer.memory.arena(), node) {
        let arena = writer.memory.arena();
        let parent = arena.load(node, PARENT);
        let branches = arena.load(parent & !IS_ONE, BRANCHES);
        let text = text_of(arena, node);
        if parent & IS_ONE != 0 {
            arena.store(branches, ONE, 0);
        } else {
            writer.unlink_key(view, key(view, parent, &text), node);
            count_child(writer.memory.arena(), branches, -1);
        }
        writer.slot_last = None;
        retire(&mut writer.memory, node, text.len());
        node = parent & !IS_ONE;
    }
}

/// Gives back a node with a text of so many bytes.
fn retire(memory: &mut Memory, node: Handle, text_bytes: usize) {
    let arena = memory.arena();
    let before = text_at(arena, node);
    let branches = arena.load(node, BRANCHES);
    let words = before + text_bytes / 4 + 1;
    if branches != 0 && before == HEAD {
        memory.retire(branches, BRANCHES_WORDS);
    }
    memory.retire(node, words);
}

fn is_empty(arena: &Arena, node: Handle) -> bool {
    let branches = arena.load(node, BRANCHES);
    let is_leaf = branches == 0 || [BELOW, ONE, CHILDREN].iter().all(|at| arena.load(branches, *at) == 0);
    is_leaf && arena.load(node, HERE) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Topic;

    #[test]
    fn a_text_is_only_itself() {
        let (_, mut writer) = Writer::new(0, usize::MAX);
        let texts = ["", "a", "abc", "abcd", "abcde", "abcdefg", "abcdefgh", "äöü€", "\u{7f}"];
        for is_inner in [false, true] {
            for text in texts {
                let node = new_node(&mut writer.memory, 0, text, is_inner);
                let arena = writer.memory.arena();
                assert_eq!(text_of(arena, node)[..], *text.as_bytes());
                texts.iter().for_each(|other| assert_eq!(is_text(arena, node, other), *other == text));
            }
        }
    }

    #[test]
    fn a_leaf_may_get_branches_and_all_of_it_goes() {
        let (view, mut writer) = Writer::new(0, usize::MAX);
        let root = new_root(&mut writer);
        let filters = ["a/b", "a/b/#", "a/b/c/+", "a/+", "a/+/c", "+/#", "a/b/c"];
        let nodes_bytes = |writer: &Writer| writer.memory.used_bytes() - writer.links_bytes();
        let before = nodes_bytes(&writer);
        let slots = filters.map(|filter| {
            let slot = slot(&view, &mut writer, root, &TopicFilter::parse(filter).unwrap());
            slot.store(writer.memory.arena(), 1);
            slot
        });
        let mut seen = 0;
        visit(&view, root, &Topic::parse("a/b/c").unwrap(), &mut |slot| {
            assert!(slots.contains(&slot));
            seen += 1;
        });
        assert_eq!(seen, 4, "a/b/#, a/+/c, +/# and a/b/c");
        for slot in slots {
            slot.store(writer.memory.arena(), 0);
            tidy(&view, &mut writer, root, slot);
        }
        // Entering and leaving is how time goes by.
        for _ in 0..4 {
            drop(view.common.epochs.enter(0));
            writer.memory.drain();
        }
        assert_eq!(nodes_bytes(&writer), before);
    }

    #[test]
    fn a_text_with_the_hash_of_another_is_found_behind_it() {
        let (view, mut writer) = Writer::new(0, usize::MAX);
        let root = new_root(&mut writer);
        let parse = |filter: &str| TopicFilter::parse(filter).unwrap();
        let other = slot(&view, &mut writer, root, &parse("other/b"));
        let is_other = writer.memory.arena().load(other.node(), PARENT);
        writer.link(&view, key(&view, root, b"a"), is_other);
        let wanted = slot(&view, &mut writer, root, &parse("a/b"));
        [other, wanted].iter().for_each(|slot| slot.store(writer.memory.arena(), 1));
        let mut seen = Vec::new();
        visit(&view, root, &Topic::parse("a/b").unwrap(), &mut |slot| seen.push(slot));
        assert_eq!(seen, [wanted]);
    }
}
