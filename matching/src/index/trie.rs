//! Topic filters by level, so that a topic meets only the filters along its own path.
//!
//! A node's words: its chain of entries whose filter ends here, that of those with `#` next, the
//! node of `+`, how many children it has by text, its parent, bytes of its text, the text. The
//! child of a text is found in the table of links by (node, hash of the text).
//!
//! 1. A node without entries and children does not exist, but for the root.
//! 2. An entry lies under exactly the levels of its filter; `a/#` lies in the node `a`.
//! 3. Nodes are found by their own text, compared behind its hash.

use std::sync::atomic::Ordering;

use super::arena::{Arena, Handle};
use super::codes::{is_text, read_text, write_text};
use super::memory::Memory;
use super::table::Key;
use super::writer::{View, Writer};
use crate::topic::{FilterLevel, Topic, TopicFilter};

/// The word of a node that leads to the entries whose filter ends there.
const HERE: usize = 0;
/// The word that leads to the entries whose filter has `#` next.
const BELOW: usize = 1;
const ONE: usize = 2;
const CHILDREN: usize = 3;
const PARENT: usize = 4;
const TEXT: usize = 5;
const HEAD: usize = 6;

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

    fn node(self) -> Handle {
        self.0 & !IS_BELOW
    }

    fn at(self) -> usize {
        if self.0 & IS_BELOW != 0 { BELOW } else { HERE }
    }

    /// The first block there.
    #[inline]
    pub(super) fn load(self, arena: &Arena) -> Handle {
        arena.load(self.node(), self.at())
    }

    pub(super) fn store(self, arena: &Arena, block: Handle) {
        arena.store(self.node(), self.at(), block);
    }
}

/// Calls `see` with the slot of each filter that matches `topic` (MQTT 5 section 4.7).
/// `O(nodes touched)`; the recursion is as deep as a topic has levels.
pub(super) fn visit(view: &View, root: Handle, topic: &Topic, see: &mut impl FnMut(Slot)) {
    let mut levels = topic.levels();
    if topic.is_reserved() {
        let first = levels.next().map_or(0, |level| child(view, root, level));
        if first != 0 {
            visit_node(view, first, levels, see);
        }
    } else {
        visit_node(view, root, levels, see);
    }
}

fn visit_node<'t>(
    view: &View,
    node: Handle,
    mut levels: impl Iterator<Item = &'t str> + Clone,
    see: &mut impl FnMut(Slot),
) {
    let arena = &view.common.arena;
    if arena.load(node, BELOW) != 0 {
        see(Slot::below(node));
    }
    let Some(level) = levels.next() else {
        if arena.load(node, HERE) != 0 {
            see(Slot::here(node));
        }
        return;
    };
    if arena.load(node, CHILDREN) != 0 {
        let child = child(view, node, level);
        if child != 0 {
            visit_node(view, child, levels.clone(), see);
        }
    }
    let one = arena.load(node, ONE);
    if one != 0 {
        visit_node(view, one, levels, see);
    }
}

fn key(view: &View, node: Handle, text: &str) -> Key {
    Key { first: node, second: view.vocabulary.hash(text) }
}

fn child(view: &View, node: Handle, text: &str) -> Handle {
    let arena = &view.common.arena;
    view.links.find(arena, key(view, node, text), |node| is_text(&arena.words(node)[TEXT..], text.as_bytes()))
}

/// Makes the root.
pub(super) fn new_root(writer: &mut Writer) -> Handle {
    new_node(&mut writer.memory, 0, "")
}

/// Makes a slot of no filter.
pub(super) fn new_slot(memory: &mut Memory) -> Slot {
    Slot::here(new_node(memory, 0, ""))
}

fn new_node(memory: &mut Memory, parent: u32, text: &str) -> Handle {
    let (node, _) = memory.take(HEAD + text.len().div_ceil(4));
    let words = memory.arena().words(node);
    words[..HEAD].iter().for_each(|word| word.store(0, Ordering::Relaxed));
    words[PARENT].store(parent, Ordering::Relaxed);
    write_text(&words[TEXT..], text.as_bytes());
    node
}

/// The slot of a filter, made if it has to be.
pub(super) fn slot(view: &View, writer: &mut Writer, root: Handle, filter: &TopicFilter) -> Slot {
    let mut node = root;
    for level in filter.levels() {
        node = match level {
            FilterLevel::Rest => return Slot::below(node),
            FilterLevel::One => one_child(writer, node),
            FilterLevel::Literal(text) => text_child(view, writer, node, text),
        };
    }
    Slot::here(node)
}

/// The text of the first level of the filter that a slot is of; `None` if it is a wildcard.
pub(super) fn first_level(view: &View, root: Handle, slot: Slot) -> Option<String> {
    let arena = &view.common.arena;
    let mut node = slot.node();
    loop {
        let parent = arena.load(node, PARENT);
        if node == root || parent == root | IS_ONE {
            return None;
        }
        if parent == root {
            let text = read_text(&arena.words(node)[TEXT..]);
            return Some(String::from_utf8_lossy(&text).into_owned());
        }
        node = parent & !IS_ONE;
    }
}

fn one_child(writer: &mut Writer, node: Handle) -> Handle {
    match writer.memory.arena().load(node, ONE) {
        0 => {
            let child = new_node(&mut writer.memory, node | IS_ONE, "");
            writer.memory.arena().store(node, ONE, child);
            child
        }
        child => child,
    }
}

fn text_child(view: &View, writer: &mut Writer, node: Handle, text: &str) -> Handle {
    match child(view, node, text) {
        0 => {
            let child = new_node(&mut writer.memory, node, text);
            count_child(writer.memory.arena(), node, 1);
            writer.link(view, key(view, node, text), child);
            child
        }
        child => child,
    }
}

fn count_child(arena: &Arena, node: Handle, change: i32) {
    let count = arena.load(node, CHILDREN).wrapping_add_signed(change);
    arena.store(node, CHILDREN, count);
}

/// Takes the nodes out, from that of a slot upwards, that nothing is below any more.
pub(super) fn tidy(view: &View, writer: &mut Writer, root: Handle, slot: Slot) {
    let mut node = slot.node();
    while node != root && is_empty(writer.memory.arena(), node) {
        let arena = writer.memory.arena();
        let parent = arena.load(node, PARENT);
        let text = read_text(&arena.words(node)[TEXT..]);
        if parent & IS_ONE != 0 {
            arena.store(parent & !IS_ONE, ONE, 0);
        } else {
            let text = String::from_utf8_lossy(&text);
            writer.unlink_key(view, key(view, parent, &text), node);
            count_child(writer.memory.arena(), parent, -1);
        }
        writer.memory.retire(node, HEAD + text.len().div_ceil(4));
        node = parent & !IS_ONE;
    }
}

fn is_empty(arena: &Arena, node: Handle) -> bool {
    [HERE, BELOW, ONE, CHILDREN].iter().all(|at| arena.load(node, *at) == 0)
}
