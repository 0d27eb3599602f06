//! Topic filters by level, so that a topic meets only the filters along its own path.
//!
//! 1. A node without items and children does not exist, but for the root.
//! 2. An item lies under exactly the levels of its filter; `a/#` lies in the node `a`.
//! 3. Ordered maps, not hash maps: no change ever moves more than one small tree node, and walks
//!    come in the same order each time.

use std::collections::BTreeMap;

use crate::index::EntryId;
use crate::topic::{FilterLevel, Topic, TopicFilter};

/// Items by topic filter and id.
pub(super) struct Trie<T> {
    root: Node<T>,
}

struct Node<T> {
    /// Items whose filter ends here.
    here: BTreeMap<EntryId, T>,
    /// Items whose filter has `#` next: they want this level and all below.
    rest: BTreeMap<EntryId, T>,
    literal: BTreeMap<Box<str>, Box<Node<T>>>,
    /// The node of `+`.
    one: Option<Box<Node<T>>>,
}

impl<T> Trie<T> {
    pub(super) fn new() -> Trie<T> {
        Trie { root: Node::new() }
    }

    /// Adds an item. `O(levels × log nodes + log items)`.
    pub(super) fn insert(&mut self, filter: &TopicFilter, id: EntryId, item: T) {
        let mut node = &mut self.root;
        for level in filter.levels() {
            node = match level {
                FilterLevel::Literal(text) => node.literal_child(text),
                FilterLevel::One => node.one.get_or_insert_default(),
                FilterLevel::Rest => {
                    node.rest.insert(id, item);
                    return;
                }
            };
        }
        node.here.insert(id, item);
    }

    /// Takes an item out and the nodes that are empty without it. Costs as `insert`.
    pub(super) fn remove(&mut self, filter: &TopicFilter, id: EntryId) {
        remove(&mut self.root, filter.levels(), id);
    }

    /// Calls `found` for each item whose filter matches `topic` (MQTT 5 section 4.7), each once.
    /// `O(nodes touched × log nodes + items found)`.
    pub(super) fn visit(&self, topic: &Topic, found: &mut impl FnMut(EntryId, &T)) {
        if topic.is_reserved() {
            self.root.visit_literal(topic.levels(), found);
        } else {
            self.root.visit(topic.levels(), found);
        }
    }
}

impl<T> Node<T> {
    fn new() -> Node<T> {
        Node { here: BTreeMap::new(), rest: BTreeMap::new(), literal: BTreeMap::new(), one: None }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.rest.is_empty() && self.literal.is_empty() && self.one.is_none()
    }

    fn literal_child(&mut self, text: &str) -> &mut Node<T> {
        self.literal.entry(Box::from(text)).or_default()
    }

    /// Walks all branches. The recursion is as deep as a topic filter has levels.
    fn visit<'t>(
        &self,
        mut levels: impl Iterator<Item = &'t str> + Clone,
        found: &mut impl FnMut(EntryId, &T),
    ) {
        report(&self.rest, found);
        let Some(level) = levels.next() else {
            report(&self.here, found);
            return;
        };
        if let Some(child) = self.literal.get(level) {
            child.visit(levels.clone(), found);
        }
        if let Some(child) = &self.one {
            child.visit(levels, found);
        }
    }

    /// Walks the literal branch alone for the first level.
    fn visit_literal<'t>(
        &self,
        mut levels: impl Iterator<Item = &'t str> + Clone,
        found: &mut impl FnMut(EntryId, &T),
    ) {
        if let Some(child) = levels.next().and_then(|level| self.literal.get(level)) {
            child.visit(levels, found);
        }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Node<T> {
        Node::new()
    }
}

fn report<T>(items: &BTreeMap<EntryId, T>, found: &mut impl FnMut(EntryId, &T)) {
    for (id, item) in items {
        found(*id, item);
    }
}

fn remove<'f, T>(node: &mut Node<T>, mut levels: impl Iterator<Item = FilterLevel<'f>>, id: EntryId) {
    match levels.next() {
        None => {
            node.here.remove(&id);
        }
        Some(FilterLevel::Rest) => {
            node.rest.remove(&id);
        }
        Some(FilterLevel::Literal(text)) => {
            let Some(child) = node.literal.get_mut(text) else { return };
            remove(child, levels, id);
            if child.is_empty() {
                node.literal.remove(text);
            }
        }
        Some(FilterLevel::One) => {
            let Some(child) = &mut node.one else { return };
            remove(child, levels, id);
            if child.is_empty() {
                node.one = None;
            }
        }
    }
}
