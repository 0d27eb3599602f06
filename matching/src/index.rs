//! The subscription index: which destinations want the events of a topic.
//!
//! 1. An entry is visible before [`Index::version`] moves, and the version moves before
//!    `insert`, `remove` or `replace` returns. Whoever learns that one of them returned
//!    therefore sees every older [`Route`] as not current, and a route made from then on holds
//!    the change.
//! 2. A route depends on its topic and on the entries at its version, on nothing else.
//! 3. A change costs `O(levels + log entries)`: no structure is copied, rehashed or scanned.
//! 4. Candidates come in the order of their [`EntryId`], which is the order of insertion.
//!
//! Edges keep one route per topic and ask [`Route::is_current`] once per batch: in the steady
//! state matching is one atomic load and takes no lock. A route is made under a shared lock, in
//! time that grows with the trie nodes that the topic touches. Predicates are evaluated one by
//! one here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::filter::Filter;
use crate::selector::{Selector, is_fulfilled};
use crate::topic::Topic;
use crate::value::Attributes;

use trie::Trie;

mod trie;

/// Names one entry of one [`Index`]. Never used twice; later entries have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// All selectors of one broker with their destinations, shared by reference between threads.
///
/// Destinations are opaque and are cloned into each route: make them cheap to clone.
pub struct Index<D> {
    /// Counts changes. Written only under the write lock of `entries`, read without a lock.
    version: AtomicU64,
    entries: RwLock<Entries<D>>,
}

struct Entries<D> {
    id_next: u64,
    by_id: BTreeMap<EntryId, Arc<Entry<D>>>,
    by_topic: Trie<Arc<Entry<D>>>,
}

type Found<D> = Vec<(EntryId, Arc<Entry<D>>)>;

struct Entry<D> {
    selector: Selector,
    destination: D,
}

impl<D> Index<D> {
    /// An index without entries, at version 0.
    pub fn new() -> Index<D> {
        Index { version: AtomicU64::new(0), entries: RwLock::new(Entries::new()) }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changes there were: grows with each insert, remove and replace that did
    /// something. One atomic load.
    pub fn version(&self) -> u64 {
        // Acquire pairs with the Release in `change`: who sees a version and then takes the lock
        // sees the entries of that version.
        self.version.load(Ordering::Acquire)
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries<D>> {
        // No code of the caller runs while the lock is held, not even a drop of a destination: a
        // poisoned lock still guards whole entries.
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` alone and moves the version if it did something, both under the lock.
    ///
    /// A route that is being made meanwhile holds the read lock, so it sees entries and version
    /// of the same moment. A thread that calls `is_current` without the lock reads the version
    /// atomically: if it has learnt that `change` returned, by whatever way of synchronising,
    /// the move happened before its load and the load cannot give the older number.
    fn change<R>(&self, change: impl FnOnce(&mut Entries<D>) -> Option<R>) -> Option<R> {
        let mut entries: RwLockWriteGuard<'_, _> =
            self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let done = change(&mut entries);
        if done.is_some() {
            self.version.fetch_add(1, Ordering::Release);
        }
        done
    }
}

impl<D: Clone + Send + Sync> Index<D> {
    /// Adds an entry; routes made from now on hold it, older ones are no longer current.
    /// `O(levels + log entries)`.
    pub fn insert(&self, selector: Selector, destination: D) -> EntryId {
        let entry = Arc::new(Entry { selector, destination });
        let mut id = EntryId(0);
        self.change(|entries| {
            id = entries.insert(entry);
            Some(())
        });
        id
    }

    /// Takes an entry out and returns its destination, or `None` if there is no such entry and
    /// nothing changed. `O(levels + log entries)`.
    pub fn remove(&self, id: EntryId) -> Option<D> {
        // The destination is cloned, and the entry dropped, outside the lock.
        let entry = self.change(|entries| entries.remove(id))?;
        Some(entry.destination.clone())
    }

    /// Gives an entry another selector; id, destination and place in the order stay. Every route
    /// holds the entry by the one selector or by the other. `O(levels + log entries)`.
    ///
    /// False if there is no such entry; nothing changed then.
    pub fn replace(&self, id: EntryId, selector: Selector) -> bool {
        let Some(old) = self.read().by_id.get(&id).cloned() else {
            return false;
        };
        let entry = Arc::new(Entry { selector, destination: old.destination.clone() });
        // Kept until the lock is free, should the entry have gone meanwhile.
        let given = Arc::clone(&entry);
        self.change(|entries| entries.replace(id, given)).is_some()
    }

    /// The candidates for the events of `topic`, at the present version.
    ///
    /// `O(trie nodes touched + candidates × (exclusions + log candidates))`, under a shared lock.
    pub fn route(&self, topic: &Topic) -> Route<D> {
        let (version, mut found) = self.find(topic);
        found.retain(|(_, entry)| !entry.selector.excludes(topic));
        found.sort_unstable_by_key(|(id, _)| *id);
        let candidates: Box<[_]> = found.iter().map(|(id, entry)| entry.candidate(*id)).collect();
        let needs_attributes = candidates.iter().any(|candidate| candidate.predicate.is_some());
        Route(Arc::new(RouteInner { version, needs_attributes, candidates }))
    }

    /// The entries whose topic filter matches, unordered, and the version that they are of.
    fn find(&self, topic: &Topic) -> (u64, Found<D>) {
        let entries = self.read();
        let mut found = Vec::new();
        entries.by_topic.visit(topic, &mut |id, entry| found.push((id, Arc::clone(entry))));
        (self.version.load(Ordering::Acquire), found)
    }
}

impl<D> Default for Index<D> {
    fn default() -> Index<D> {
        Index::new()
    }
}

impl<D> fmt::Debug for Index<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("version", &self.version())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<D> Entries<D> {
    fn new() -> Entries<D> {
        Entries { id_next: 0, by_id: BTreeMap::new(), by_topic: Trie::new() }
    }

    fn insert(&mut self, entry: Arc<Entry<D>>) -> EntryId {
        let id = EntryId(self.id_next);
        self.id_next += 1;
        self.by_topic.insert(&entry.selector.topic, id, Arc::clone(&entry));
        self.by_id.insert(id, entry);
        id
    }

    fn remove(&mut self, id: EntryId) -> Option<Arc<Entry<D>>> {
        let entry = self.by_id.remove(&id)?;
        self.by_topic.remove(&entry.selector.topic, id);
        Some(entry)
    }

    /// Returns the entry before, which the caller drops outside the lock.
    fn replace(&mut self, id: EntryId, entry: Arc<Entry<D>>) -> Option<Arc<Entry<D>>> {
        let place = self.by_id.get_mut(&id)?;
        let old = std::mem::replace(place, Arc::clone(&entry));
        self.by_topic.remove(&old.selector.topic, id);
        self.by_topic.insert(&entry.selector.topic, id, Arc::clone(&entry));
        Some(old)
    }
}

impl<D: Clone> Entry<D> {
    fn candidate(&self, id: EntryId) -> Candidate<D> {
        Candidate { id, destination: self.destination.clone(), predicate: self.selector.predicate.clone() }
    }
}

/// The candidates of one topic at one version of the index. Cheap to clone.
#[derive(Debug)]
pub struct Route<D>(Arc<RouteInner<D>>);

#[derive(Debug)]
struct RouteInner<D> {
    version: u64,
    needs_attributes: bool,
    candidates: Box<[Candidate<D>]>,
}

impl<D> Route<D> {
    /// Whether `index`, which must be the one that made this route, is as it was then. One atomic
    /// load.
    pub fn is_current(&self, index: &Index<D>) -> bool {
        self.0.version == index.version()
    }

    /// Whether nobody wants events of the topic.
    pub fn is_empty(&self) -> bool {
        self.0.candidates.is_empty()
    }

    /// Whether some candidate has a predicate, so that attributes must be read.
    pub fn needs_attributes(&self) -> bool {
        self.0.needs_attributes
    }

    /// The entries that want the topic, in the order of their ids.
    pub fn candidates(&self) -> &[Candidate<D>] {
        &self.0.candidates
    }
}

impl<D> Clone for Route<D> {
    fn clone(&self) -> Route<D> {
        Route(Arc::clone(&self.0))
    }
}

/// A destination that wants the events of a topic as far as its predicate is true.
#[derive(Clone, Debug)]
pub struct Candidate<D> {
    /// The entry that it comes from.
    pub id: EntryId,
    /// Where matching events go.
    pub destination: D,
    /// What an event's attributes must fulfil.
    pub predicate: Option<Filter>,
}

impl<D> Candidate<D> {
    /// Whether the event is wanted: there is no predicate, or it is true. Allocates nothing.
    pub fn matches<A: Attributes + ?Sized>(&self, event: &A) -> bool {
        is_fulfilled(self.predicate.as_ref(), event)
    }
}
