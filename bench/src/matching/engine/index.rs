//! The project's own index, asked as an edge of the broker asks it: with a route per topic, which
//! the index renews where it is not current.
//!
//! As long as each subscription has the entry of its own number, what the index writes out are the
//! ids; afterwards each is looked up as the destination of its entry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use fanal_matching::{Entries, EntryId, Index, Route, Selector, Topic};

use super::{Engine, Matcher, Refusal};
use crate::matching::asked::Asked;
use crate::matching::event::{Event, Schema};

/// The index, with ids as destinations.
pub(in crate::matching) struct Indexed {
    index: Index<u32>,
    /// By id, for removal.
    entries: Mutex<Vec<Option<EntryId>>>,
    /// Whether some entry has another number than its id.
    is_renumbered: AtomicBool,
}

/// An edge's view: the index and the routes that it keeps.
pub(in crate::matching) struct IndexMatcher<'e> {
    engine: &'e Indexed,
    routes: HashMap<Topic, Route<u32>>,
    found: Vec<EntryId>,
}

impl Indexed {
    fn set(&self, id: u32, entry: Option<EntryId>) -> Option<EntryId> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let place = id as usize;
        if entries.len() <= place {
            entries.resize(place + 1, None);
        }
        std::mem::replace(&mut entries[place], entry)
    }
}

impl Engine for Indexed {
    type Subscription = Selector;
    type Matcher<'e> = IndexMatcher<'e>;
    const IS_CONCURRENT: bool = true;

    fn new(_schema: &Schema) -> Result<Self, Refusal> {
        Ok(Indexed { index: Index::new(), entries: Mutex::default(), is_renumbered: AtomicBool::new(false) })
    }

    fn prepare(asked: &Asked) -> Result<Selector, Refusal> {
        Ok(asked.selector())
    }

    fn insert(&self, id: u32, selector: Selector) -> Result<(), Refusal> {
        let entry = self.index.insert(selector, id);
        if entry.number() != id {
            self.is_renumbered.store(true, Ordering::Release);
        }
        self.set(id, Some(entry));
        Ok(())
    }

    fn remove(&self, id: u32) -> Result<(), Refusal> {
        let removed = self.set(id, None).and_then(|entry| self.index.remove(entry));
        removed.map(drop).ok_or_else(|| format!("nothing to remove under {id}"))
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.index.bytes())
    }

    fn matcher(&self) -> IndexMatcher<'_> {
        IndexMatcher { engine: self, routes: HashMap::new(), found: Vec::new() }
    }
}

impl<'e> IndexMatcher<'e> {
    fn route(&mut self, topic: &Topic) -> (&'e Index<u32>, &mut Route<u32>) {
        let index = &self.engine.index;
        if !self.routes.contains_key(topic) {
            self.routes.insert(topic.clone(), index.route(topic));
        }
        match self.routes.get_mut(topic) {
            Some(route) => (index, route),
            None => unreachable!("it was just inserted"),
        }
    }
}

impl Matcher for IndexMatcher<'_> {
    fn find(&mut self, event: &Event, ids: &mut Vec<u32>) -> Result<(), Refusal> {
        if self.engine.is_renumbered.load(Ordering::Acquire) {
            let (index, route) = self.route(&event.topic);
            index.visit(route, event, |_, id| ids.push(*id));
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let (index, route) = self.route(&event.topic);
        index.collect(route, event, &mut found);
        ids.extend(found.iter().map(|entry| entry.number()));
        self.found = found;
        Ok(())
    }

    fn find_slices(&mut self, event: &Event) -> Result<Option<usize>, Refusal> {
        let (index, route) = self.route(&event.topic);
        let mut count = 0;
        index.visit_lists(route, event, |entries| {
            count += match entries {
                Entries::One(_) => 1,
                Entries::Many(list) => list.len_max(),
            };
        });
        Ok(Some(count))
    }
}
