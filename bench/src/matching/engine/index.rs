//! The project's own index, asked as an edge of the broker asks it: a route per topic, kept while
//! it is current, and its candidates decided per event.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fanal_matching::{EntryId, Index, Route, Selector, Topic};

use super::{Engine, Matcher, Refusal};
use crate::matching::asked::Asked;
use crate::matching::event::{Event, Schema};

/// The index, with ids as destinations.
pub(in crate::matching) struct Indexed {
    index: Index<u32>,
    /// By id, for removal.
    entries: Mutex<Vec<Option<EntryId>>>,
}

/// An edge's view: the index and the routes that it keeps.
pub(in crate::matching) struct IndexMatcher<'e> {
    index: &'e Index<u32>,
    routes: HashMap<Topic, Route<u32>>,
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
        Ok(Indexed { index: Index::new(), entries: Mutex::default() })
    }

    fn prepare(asked: &Asked) -> Result<Selector, Refusal> {
        Ok(asked.selector())
    }

    fn insert(&self, id: u32, selector: Selector) -> Result<(), Refusal> {
        let entry = self.index.insert(selector, id);
        self.set(id, Some(entry));
        Ok(())
    }

    fn remove(&self, id: u32) -> Result<(), Refusal> {
        let removed = self.set(id, None).and_then(|entry| self.index.remove(entry));
        removed.map(drop).ok_or_else(|| format!("nothing to remove under {id}"))
    }

    fn matcher(&self) -> IndexMatcher<'_> {
        IndexMatcher { index: &self.index, routes: HashMap::new() }
    }
}

impl Matcher for IndexMatcher<'_> {
    fn find(&mut self, event: &Event, ids: &mut Vec<u32>) -> Result<(), Refusal> {
        let known = self.routes.get(&event.topic).filter(|route| route.is_current(self.index));
        let route = match known {
            Some(route) => route,
            None => {
                self.routes.insert(event.topic.clone(), self.index.route(&event.topic));
                &self.routes[&event.topic]
            }
        };
        let wanted = route.candidates().iter().filter(|candidate| candidate.matches(event));
        ids.extend(wanted.map(|candidate| candidate.destination));
        Ok(())
    }
}
