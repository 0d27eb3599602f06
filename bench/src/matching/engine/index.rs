//! The project's own index, asked as an edge of the broker asks it: with a route per topic, which
//! the index renews where it is not current.
//!
//! The table of ids here, some 12 bytes a subscription, shows in what the heap grew by, not in what
//! the index says of itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanal_matching::index::Entries;
use fanal_matching::{EntryId, Index, Route, Selector, Topic};

use super::{Engine, Matcher, Refusal};
use crate::matching::asked::Asked;
use crate::matching::event::{Event, Schema};

/// The index, and which id is which entry.
pub(in crate::matching) struct Indexed {
    index: Index<()>,
    names: Mutex<Names>,
}

/// Ids of the workload and entries of the index.
#[derive(Default)]
struct Names {
    /// By id.
    entries: Vec<Option<EntryId>>,
    /// By the entry's number.
    ids: Vec<u32>,
}

/// An edge's view: the index and the routes that it keeps.
pub(in crate::matching) struct IndexMatcher<'e> {
    indexed: &'e Indexed,
    routes: HashMap<Topic, Route<()>>,
    found: Vec<EntryId>,
    /// What each event of a batch found.
    batch: Vec<Vec<EntryId>>,
}

impl Indexed {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self, entries: &[EntryId]) -> Vec<u32> {
        let names = self.names();
        entries.iter().map(|entry| names.ids[entry.number() as usize]).collect()
    }
}

impl Names {
    fn add(&mut self, id: u32, entry: EntryId) {
        let (place, number) = (id as usize, entry.number() as usize);
        self.entries.resize(self.entries.len().max(place + 1), None);
        self.ids.resize(self.ids.len().max(number + 1), u32::MAX);
        self.entries[place] = Some(entry);
        self.ids[number] = id;
    }
}

impl Engine for Indexed {
    type Subscription = Selector;
    type Matcher<'e> = IndexMatcher<'e>;
    const IS_CONCURRENT: bool = true;

    fn new(_schema: &Schema) -> Result<Self, Refusal> {
        Ok(Indexed { index: Index::new(), names: Mutex::default() })
    }

    fn prepare(asked: &Asked) -> Result<Selector, Refusal> {
        Ok(asked.selector())
    }

    fn insert(&self, id: u32, selector: Selector) -> Result<(), Refusal> {
        let entry = self.index.insert(selector, ());
        self.names().add(id, entry);
        Ok(())
    }

    fn remove(&self, id: u32) -> Result<(), Refusal> {
        let entry = self.names().entries.get_mut(id as usize).and_then(Option::take);
        let removed = entry.and_then(|entry| self.index.remove(entry));
        removed.ok_or_else(|| format!("nothing to remove under {id}"))
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.index.bytes())
    }

    fn matcher(&self) -> IndexMatcher<'_> {
        IndexMatcher { indexed: self, routes: HashMap::new(), found: Vec::new(), batch: Vec::new() }
    }
}

impl IndexMatcher<'_> {
    /// Looks up the event's route without cloning a topic that is known.
    fn with_route<R>(
        &mut self,
        event: &Event,
        work: impl FnOnce(&Index<()>, &mut Route<()>, &mut Vec<EntryId>) -> R,
    ) -> R {
        let index = &self.indexed.index;
        if let Some(route) = self.routes.get_mut(&event.topic) {
            return work(index, route, &mut self.found);
        }
        let mut route = index.route(&event.topic);
        let result = work(index, &mut route, &mut self.found);
        self.routes.insert(event.topic.clone(), route);
        result
    }
}

impl Matcher for IndexMatcher<'_> {
    fn find(&mut self, event: &Event) -> Result<(), Refusal> {
        self.with_route(event, |index, route, found| {
            found.clear();
            index.collect(route, event, found);
        });
        Ok(())
    }

    fn find_batch(&mut self, events: &[Event]) -> Result<bool, Refusal> {
        let index = &self.indexed.index;
        for event in events {
            if !self.routes.contains_key(&event.topic) {
                self.routes.insert(event.topic.clone(), index.route(&event.topic));
            }
        }
        let batch: Vec<(&Route<()>, &Event)> =
            events.iter().map(|event| (&self.routes[&event.topic], event)).collect();
        self.batch.resize_with(events.len(), Vec::new);
        self.batch.iter_mut().for_each(Vec::clear);
        index.collect_batch(&batch, &mut self.batch);
        Ok(true)
    }

    fn batch_ids(&self, place: usize) -> Vec<u32> {
        self.indexed.ids(&self.batch[place])
    }

    fn found(&self) -> usize {
        self.found.len()
    }

    fn ids(&self) -> Vec<u32> {
        self.indexed.ids(&self.found)
    }

    fn find_slices(&mut self, event: &Event) -> Result<Option<usize>, Refusal> {
        let mut count = 0;
        self.with_route(event, |index, route, _| {
            index.visit_lists(route, event, |entries| {
                count += match entries {
                    Entries::One(_) => 1,
                    Entries::Many(list) => list.len_max(),
                };
            });
        });
        Ok(Some(count))
    }
}
