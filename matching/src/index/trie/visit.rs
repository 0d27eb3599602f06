//! The way of a topic through the tree: level by level, all nodes of a level together, so that the
//! memory fetches what they lead to at the same time.
//!
//! 1. Each node that the topic leads to is met once: a node has one parent.
//! 2. What the table of links says is held against the text of the node that it leads to.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{BELOW, BRANCHES, CHILDREN, HERE, ONE, Slot, is_text};
use crate::index::arena::{Arena, Handle, LINE};
use crate::index::table::Key;
use crate::index::writer::View;
use crate::simd;
use crate::topic::Topic;

/// So many nodes of a level are met without an allocation.
const WIDTH: usize = 16;
/// Words of most nodes.
const NODE_WORDS: usize = 8;

/// The nodes of one level, and how those of the next are found.
struct Walk<'v> {
    view: &'v View,
    nodes: SmallVec<[Handle; WIDTH]>,
    /// What is looked up, and in which bucket; then the node that was found instead of it.
    links: SmallVec<[(Key, Handle); WIDTH]>,
}

/// Calls `see` with the slot of each filter that matches `topic` (MQTT 5 section 4.7), and has
/// the memory fetch its entries. `O(nodes touched)`.
pub(in crate::index) fn visit(view: &View, root: Handle, topic: &Topic, see: &mut impl FnMut(Slot)) {
    let mut walk = Walk { view, nodes: SmallVec::new(), links: SmallVec::new() };
    walk.nodes.push(root);
    let mut is_reserved = topic.is_reserved();
    for level in topic.levels() {
        walk.leave(view.vocabulary.hash(level.as_bytes()), is_reserved, see);
        walk.enter(level);
        is_reserved = false;
    }
    walk.end(see);
}

impl Walk<'_> {
    /// Goes from the nodes to those of `+` and to the links of a text. Without wildcards below the
    /// root if the topic is reserved.
    fn leave(&mut self, text_hash: u32, is_reserved: bool, see: &mut impl FnMut(Slot)) {
        let Walk { view, nodes, links } = self;
        let arena = &view.common.arena;
        let mut ones = 0;
        for at in 0..nodes.len() {
            let node = nodes[at];
            let branches = arena.load(node, BRANCHES);
            if branches == 0 {
                continue;
            }
            let words = &arena.words(branches)[..=CHILDREN];
            if words[CHILDREN].load(Ordering::Acquire) != 0 {
                let key = Key { first: node, second: text_hash };
                let bucket = view.links.bucket(key);
                simd::prefetch(&arena.words(bucket)[0]);
                links.push((key, bucket));
            }
            if is_reserved {
                continue;
            }
            see_entries(arena, words[BELOW].load(Ordering::Acquire), Slot::below(node), see);
            let one = words[ONE].load(Ordering::Acquire);
            if one != 0 {
                fetch_node(arena, one);
                nodes[ones] = one;
                ones += 1;
            }
        }
        nodes.truncate(ones);
    }

    /// Adds the nodes of a text that the links lead to.
    fn enter(&mut self, text: &str) {
        let Walk { view, nodes, links } = self;
        let arena = &view.common.arena;
        for (key, place) in &mut *links {
            if *place != 0 {
                *place = view.links.find_in(arena, *key, *place);
                fetch_node(arena, *place);
            }
        }
        for (key, node) in links.drain(..).filter(|(_, node)| *node != 0) {
            if is_text(arena, node, text) {
                nodes.push(node);
                continue;
            }
            // Another text has the same hash: this one may be behind it.
            let node = view.links.find(arena, key, |node| is_text(arena, node, text));
            if node != 0 {
                nodes.push(node);
            }
        }
    }

    /// Sees the filters that end with the topic.
    fn end(&mut self, see: &mut impl FnMut(Slot)) {
        let arena = &self.view.common.arena;
        for node in self.nodes.drain(..) {
            see_entries(arena, arena.load(node, HERE), Slot::here(node), see);
            let branches = arena.load(node, BRANCHES);
            if branches != 0 {
                see_entries(arena, arena.load(branches, BELOW), Slot::below(node), see);
            }
        }
    }
}

fn see_entries(arena: &Arena, first: Handle, slot: Slot, see: &mut impl FnMut(Slot)) {
    if first != 0 {
        fetch(arena, first, LINE);
        see(slot);
    }
}

fn fetch_node(arena: &Arena, node: Handle) {
    fetch(arena, node, NODE_WORDS);
}

/// Asks for the lines of a block of so many words, or fewer.
fn fetch(arena: &Arena, block: Handle, words: usize) {
    let block = arena.words(block);
    simd::prefetch(&block[0]);
    if let Some(last) = block.get(words - 1) {
        simd::prefetch(last);
    }
}
