//! The subscription index: which of very many selectors want an event.
//!
//! 1. Readers never wait for writers, and never take a lock that one holds; writers wait for each
//!    other. No change copies more than a few small blocks, or one part of a table that changes
//!    its size.
//! 2. An entry that is in the index from before a match begins until after it ends is found if it
//!    wants the event, exactly once, and not found if it does not: whatever else changes meanwhile.
//!    One that comes or goes while a match is under way is found or not if it wants the event, and
//!    not found if it does not.
//! 3. Who learns that `insert` or `remove` returned finds the change in every match that begins
//!    then.
//! 4. An event costs what it touches: the codes of its own attributes, the entries under the
//!    rarest code of each, and what is found. Equal filters are one entry with a list.
//!
//! Edges keep one [`Route`] per topic: what topic filters alone decide. [`Index::visit`] and
//! [`Index::collect`] renew it where it is not current and decide the rest from the event.
//!
//! In order of reading: `entry` and `clauses` (how a filter is written), `blocks` (how entries lie),
//! `matching` (how they are met), `few` (where they are few), `place` and `writer` (how they get
//! there), `codes`, `births`, `traffic` (what is rare), `checks`, `children`, `trie`, `table`; `arena`
//! and `epoch` are what makes it safe to read meanwhile.

use std::cell::Cell;
use std::fmt;
use std::mem::discriminant;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use crate::filter::Filter;
use crate::normal::Condition;
use crate::selector::Selector;
use crate::simd;
use crate::topic::{FilterLevel, Topic, TopicFilter};
use crate::value::Attributes;

use arena::Handle;
pub use batch::BATCH;
pub(crate) use clauses::Literal;
use epoch::PLACES;
use fingerprint::{Fingerprint, Fingerprints, Prints};
use ids::GROUP;
pub(crate) use ids::Ids;
use matching::{Hit, Scratch};
use memory::{Leaving, Memory};
pub(crate) use scales::SCALES_MAX;
use slots::Slots;
use trie::Slot;
use writer::{View, Writer};

mod arena;
mod batch;
mod births;
mod blocks;
mod boxes;
mod checks;
mod children;
mod clauses;
mod codes;
mod entry;
mod epoch;
mod equals;
mod few;
mod fingerprint;
mod gates;
mod ids;
mod matching;
mod memory;
mod numbers;
mod place;
mod scales;
mod seen;
mod slots;
mod table;
mod traffic;
mod trie;
mod writer;

/// Names one entry of one [`Index`]: small and dense. The number of an entry that was removed is
/// used again later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EntryId(pub(crate) u32);

impl EntryId {
    /// The number itself: below the greatest number of entries that there were at a time, a quarter
    /// more that lists of equal filters may keep for themselves, and a few that wait for readers; at
    /// worst below some times as many, after entries of many such lists have gone.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// The index takes no more entries; those that it has are matched as ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscription index is full: {entries} entries take {bytes} bytes, it may have {bytes_max}")]
pub struct IndexFull {
    /// How many entries there are.
    pub entries: usize,
    /// What they take.
    pub bytes: usize,
    /// What the index may have, with what is kept for changes that must not fail.
    pub bytes_max: usize,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// All selectors of one broker with their destinations, shared by reference between threads.
///
/// Destinations are opaque. They are cloned into routes where a topic filter alone decides: make
/// them cheap to clone.
pub struct Index<D> {
    view: View,
    root: Handle,
    versions: Versions,
    entries: Slots<ArcSwapOption<Entry<D>>>,
    /// How many entries took the place of others that a reader may still find.
    replacements: AtomicUsize,
    /// One entry is replaced at a time.
    replacing: Mutex<()>,
    readers: Readers,
    writer: Mutex<Writer>,
    live: AtomicUsize,
    unknowns: AtomicU64,
    tests_end: AtomicU32,
    fingerprints: Fingerprints,
}

struct Entry<D> {
    destination: D,
    /// The entry whose place this one took, as long as a reader may find both.
    instead_of: Option<u32>,
}

/// Counts of changes to what routes depend on, by the first level of the topic filter.
struct Versions {
    by_level: [AtomicU64; VERSIONS],
    /// Of filters that begin with a wildcard.
    any: AtomicU64,
    all: AtomicU64,
}

const VERSIONS: usize = 64;

/// Whether there is memory for an ask of so many bytes.
type HasRoom = fn(&Memory, usize) -> bool;

/// About the bytes of what a selector asks for.
fn bytes_of(selector: &Selector) -> usize {
    let predicate = selector.predicate.as_ref().map_or(0, |predicate| predicate.as_str().len());
    let except: usize = selector.except.iter().map(|filter| filter.as_str().len()).sum();
    selector.topic.as_str().len() + predicate + except
}

/// The text of the first level of a filter; `None` if it is a wildcard.
fn first_level(filter: &TopicFilter) -> Option<&[u8]> {
    match filter.levels().next() {
        Some(FilterLevel::Literal(text)) => Some(text.as_bytes()),
        _ => None,
    }
}

/// Memory for readers, each behind a lock that nobody waits for as long as there are no more than
/// [`PLACES`] readers at a time.
struct Readers(Box<[Mutex<Option<Box<Scratch>>>]>);

impl<D> Index<D> {
    /// An index without entries.
    pub fn new() -> Index<D> {
        Index::with_seed(0)
    }

    /// As `new`, with a seed for its hash tables, which changes no answer: with a secret one nobody
    /// can choose names and values that collide.
    pub fn with_seed(seed: u64) -> Index<D> {
        Index::with_bytes_max(seed, usize::MAX)
    }

    /// As `with_seed`; the index takes no entries beyond `bytes_max`, or beyond 8 GiB, of which it
    /// keeps 64 MiB, or half, for changes that must not fail. Below 16 MiB that is too little for the
    /// largest filters, and one may fail with a panic.
    pub fn with_bytes_max(seed: u64, bytes_max: usize) -> Index<D> {
        let (view, mut writer) = Writer::new(seed, bytes_max);
        let root = trie::new_root(&mut writer);
        Index {
            view,
            root,
            versions: Versions::new(),
            entries: Slots::new(),
            replacements: AtomicUsize::new(0),
            replacing: Mutex::new(()),
            readers: Readers((0..PLACES).map(|_| Mutex::new(None)).collect()),
            writer: Mutex::new(writer),
            live: AtomicUsize::new(0),
            unknowns: AtomicU64::new(0),
            tests_end: AtomicU32::new(0),
            fingerprints: Fingerprints::new(seed),
        }
    }

    /// As `with_seed`, but few entries are divided already as many are: for tests, which meet every
    /// structure so. Slower.
    #[doc(hidden)]
    pub fn divided_early(seed: u64) -> Index<D> {
        let index = Index::with_seed(seed);
        index.write().lengths = writer::Lengths::SHORT;
        index
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changes there were.
    pub fn version(&self) -> u64 {
        self.versions.all.load(Ordering::Acquire)
    }

    /// How many comparisons that matching carried out were unknown, for want of a value or of one of
    /// the right kind: an estimate from one event in 64. What was decided without a comparison, by
    /// looking up what an event has, is not among them.
    pub fn unknowns(&self) -> u64 {
        self.unknowns.load(Ordering::Relaxed)
    }

    /// Bytes of all that is needed to match and to remove by number, without the destinations and
    /// without the memory of readers.
    pub fn bytes(&self) -> usize {
        let mut writer = self.write();
        writer.recycle(&self.view, true);
        writer.bytes()
    }

    fn write(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Clone + Send + Sync> Index<D> {
    /// Adds an entry. Amortised `O(levels + predicates)`.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing changed.
    pub fn try_insert(&self, selector: Selector, destination: D) -> Result<EntryId, IndexFull> {
        self.add(selector, Entry { destination, instead_of: None }, Memory::has_room)
    }

    /// As `try_insert`, for an entry that was promised already: of what is kept for such it may use
    /// half.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing changed.
    pub fn insert_promised(&self, selector: Selector, destination: D) -> Result<EntryId, IndexFull> {
        self.add(selector, Entry { destination, instead_of: None }, Memory::has_reserve)
    }

    /// As `insert_promised`, where the index cannot be full.
    ///
    /// # Panics
    /// If it is; nothing changed, and it goes on.
    pub fn insert(&self, selector: Selector, destination: D) -> EntryId {
        self.insert_promised(selector, destination).unwrap_or_else(|full| panic!("{full}"))
    }

    /// Whether `try_insert` would take an entry now.
    ///
    /// # Errors
    /// [`IndexFull`].
    pub fn check_room(&self, selector: &Selector) -> Result<(), IndexFull> {
        self.check_now(selector, Memory::has_room)
    }

    /// Whether `insert_promised` would take an entry now.
    ///
    /// # Errors
    /// [`IndexFull`].
    pub fn check_promised(&self, selector: &Selector) -> Result<(), IndexFull> {
        self.check_now(selector, Memory::has_reserve)
    }

    fn check_now(&self, selector: &Selector, has_room: HasRoom) -> Result<(), IndexFull> {
        let mut writer = self.write();
        self.recycle(&mut writer);
        self.check(&mut writer, bytes_of(selector), has_room)
    }

    fn check(&self, writer: &mut Writer, bytes: usize, has_room: HasRoom) -> Result<(), IndexFull> {
        writer.memory.gather(bytes);
        if has_room(&writer.memory, bytes) { Ok(()) } else { Err(self.full(writer)) }
    }

    fn full(&self, writer: &Writer) -> IndexFull {
        let (bytes, bytes_max) = (writer.memory.used_bytes(), writer.memory.bytes_max());
        IndexFull { entries: self.len(), bytes, bytes_max }
    }

    fn add(&self, selector: Selector, entry: Entry<D>, has_room: HasRoom) -> Result<EntryId, IndexFull> {
        selector.predicate.iter().for_each(Filter::fetch);
        let condition = selector.predicate.as_ref().map_or(Condition::Always, Condition::of);
        let mut prints = self.prints(&condition, &selector.except);
        let mut writer = self.write();
        self.recycle(&mut writer);
        self.check(&mut writer, bytes_of(&selector), has_room)?;
        let slot = match condition {
            Condition::Never => None,
            _ => Some(trie::slot(&self.view, &mut writer, self.root, &selector.topic)),
        };
        if let Some(slot) = slot {
            prints.whole = self.fingerprints.of(&(slot, prints.whole));
            writer.fetch_print(&prints);
        }
        let entry = Arc::new(entry);
        let equal = slot.and_then(|_| writer.equal(&prints));
        let Some(number) = writer.number(equal) else {
            slot.inspect(|slot| trie::tidy(&self.view, &mut writer, self.root, *slot));
            return Err(self.full(&writer));
        };
        // The destination is there before anybody can find the entry.
        self.entries.get_or_make(number).store(Some(entry));
        self.live.fetch_add(1, Ordering::Release);
        if let Some(slot) = slot {
            let is_routed = condition != Condition::Always && matching::has_filtered(&self.view, slot);
            match equal {
                Some(target) => writer.join(&self.view, target, number, &prints),
                None => writer.insert(&self.view, slot, number, &condition, &selector.except, &prints),
            }
            self.tests_end.store(writer.tests_end(), Ordering::Release);
            if !is_routed {
                self.on_routes_changed(first_level(&selector.topic));
            }
        }
        self.versions.all.fetch_add(1, Ordering::Release);
        Ok(EntryId(number))
    }

    /// The fingerprints of a condition with exclusions, wherever it is asked. Parts that may be
    /// shared are read once.
    fn prints(&self, condition: &Condition, except: &[TopicFilter]) -> Prints {
        let parts = place::shared_parts(condition).iter().map(|part| self.fingerprints.of(part)).collect();
        let prints = Prints { whole: Fingerprint::default(), parts };
        let whole = match prints.parts.is_empty() {
            true => self.fingerprints.of(&(condition, except)),
            false => self.fingerprints.of(&(discriminant(condition), &prints.parts[..], except)),
        };
        Prints { whole, ..prints }
    }

    /// Takes an entry out and returns its destination, or `None` if there is no such entry and
    /// nothing changed. Costs as `insert`.
    pub fn remove(&self, id: EntryId) -> Option<D> {
        self.take(id, Leaving::Entry(id.0)).map(|entry| entry.destination.clone())
    }

    /// Takes an entry out; `leaving` says what comes free with it.
    fn take(&self, id: EntryId, leaving: Leaving) -> Option<Arc<Entry<D>>> {
        let mut writer = self.write();
        let place = self.entries.get(id.0)?;
        simd::prefetch_any(place);
        writer.fetch(id.0);
        self.recycle(&mut writer);
        writer.fetch_block(id.0);
        // The destination goes first: whatever fails behind it, nobody takes the entry out twice.
        let entry = place.swap(None)?;
        simd::prefetch_shared(&entry);
        let slot = writer.remove(&self.view, id.0);
        if let Some(slot) = slot {
            self.on_routes_changed(trie::first_level(&self.view, self.root, slot).as_deref());
            trie::tidy(&self.view, &mut writer, self.root, slot);
        }
        self.versions.all.fetch_add(1, Ordering::Release);
        self.live.fetch_sub(1, Ordering::Release);
        writer.memory.retire_thing(leaving);
        Some(entry)
    }

    /// Puts an entry with the same destination and another selector in the place of one: every
    /// match finds the one or the other where both want the event, never both. The new entry, or
    /// `None` if there is no such entry. As long as both are there, it may use what is kept for
    /// entries that were promised.
    ///
    /// Waits until the matches that are under way have ended: not to be called from within one.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing changed.
    pub fn replace(&self, id: EntryId, selector: Selector) -> Result<Option<EntryId>, IndexFull> {
        let _alone = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = self.entries.get(id.0).and_then(ArcSwapOption::load_full) else { return Ok(None) };
        // Counted before anybody can find both.
        self.replacements.fetch_add(1, Ordering::SeqCst);
        let entry = Entry { destination: old.destination.clone(), instead_of: Some(id.0) };
        let new = self.add(selector, entry, Memory::has_reserve).inspect_err(|_| {
            self.replacements.fetch_sub(1, Ordering::SeqCst);
        })?;
        // Who began before the new one was there must still find the old one.
        self.view.common.epochs.wait_for_readers();
        if self.take(id, Leaving::Replaced { old: id.0, new: new.0 }).is_none() {
            // Somebody removed it meanwhile: so is the new one.
            self.remove(new);
            self.replacements.fetch_sub(1, Ordering::SeqCst);
            return Ok(None);
        }
        // Who may have found the old one must not meet what takes the new one's place.
        self.view.common.epochs.wait_for_readers();
        Ok(Some(new))
    }

    /// Takes back what no reader can hold any more: while entries are replaced at once, since
    /// readers have to look out for them.
    fn recycle(&self, writer: &mut Writer) {
        let is_replaced = self.replacements.load(Ordering::SeqCst) > 0;
        writer.recycle(&self.view, is_replaced);
        for number in writer.settled.drain(..) {
            self.replacements.fetch_sub(1, Ordering::SeqCst);
            let Some(slot) = self.entries.get(number) else { continue };
            if let Some(entry) = slot.load_full() {
                let destination = entry.destination.clone();
                slot.store(Some(Arc::new(Entry { destination, instead_of: None })));
            }
        }
    }

    /// What topic filters say about `topic`. `O(filters along the topic + entries that they alone
    /// decide)`.
    pub fn route(&self, topic: &Topic) -> Route<D> {
        self.reading(|_| self.make_route(topic))
    }

    /// Calls `found` with each entry that wants the event and its destination, in no order.
    pub fn visit<A: Attributes + ?Sized>(
        &self,
        route: &mut Route<D>,
        event: &A,
        mut found: impl FnMut(EntryId, &D),
    ) {
        self.reading(|scratch| {
            self.renew(route);
            let mut ids = std::mem::take(&mut scratch.found);
            self.find_all(route, event, scratch, &mut ids);
            if self.replacements.load(Ordering::SeqCst) == 0 {
                route.always.iter().for_each(|(id, destination)| found(*id, destination));
            } else {
                ids.extend(route.always.iter().map(|(id, _)| *id));
                self.drop_replaced(&mut ids, 0);
            }
            for id in ids.drain(..) {
                let entry = self.entries.get(id.0).map(ArcSwapOption::load);
                // Gone: the entry is being removed.
                if let Some(entry) = entry.as_ref().and_then(|known| known.as_ref()) {
                    found(id, &entry.destination);
                }
            }
            scratch.found = ids;
        });
    }

    /// Adds the entries that want the event to `found`, in no order, each once.
    pub fn collect<A: Attributes + ?Sized>(&self, route: &mut Route<D>, event: &A, found: &mut Vec<EntryId>) {
        let start = found.len();
        self.reading(|scratch| {
            self.renew(route);
            found.extend(route.always.iter().map(|(id, _)| *id));
            self.find_all(route, event, scratch, found);
            if self.replacements.load(Ordering::SeqCst) > 0 {
                self.drop_replaced(found, start);
            }
        });
    }

    fn find_all<A: Attributes + ?Sized>(
        &self,
        route: &Route<D>,
        event: &A,
        scratch: &mut Scratch,
        found: &mut Vec<EntryId>,
    ) {
        self.find(route, event, scratch, &mut |hit| match hit {
            Hit::One(number) => found.push(EntryId(number)),
            Hit::Many(words) => simd::ids::append(words, found),
        });
    }

    /// Drops from `found`, from `start` on, entries beside those that took their places.
    fn drop_replaced(&self, found: &mut Vec<EntryId>, start: usize) {
        let instead_of = |id: &EntryId| {
            let entry = self.entries.get(id.0).and_then(ArcSwapOption::load_full);
            entry.and_then(|entry| entry.instead_of).map(EntryId)
        };
        let replaced: hashbrown::HashSet<EntryId> = found[start..].iter().filter_map(instead_of).collect();
        let mut at = 0;
        found.retain(|id| {
            at += 1;
            at <= start || !replaced.contains(id)
        });
        // What no reader can find twice any more need not be looked for.
        if let Ok(mut writer) = self.writer.try_lock() {
            self.recycle(&mut writer);
        }
    }

    /// Hands the entries that want the event to `found` as they lie in the index: without a copy
    /// where many have the same filter. One that is being replaced meanwhile may be among them as
    /// the old entry and as the new one.
    pub fn visit_lists<A: Attributes + ?Sized>(
        &self,
        route: &mut Route<D>,
        event: &A,
        mut found: impl FnMut(Entries<'_>),
    ) {
        self.reading(|scratch| {
            self.renew(route);
            route.always.iter().for_each(|(id, _)| found(Entries::One(*id)));
            self.find(route, event, scratch, &mut |hit| match hit {
                Hit::One(number) => found(Entries::One(EntryId(number))),
                Hit::Many(words) => found(Entries::Many(EntryList(words))),
            });
        });
    }

    fn find<A: Attributes + ?Sized>(
        &self,
        route: &Route<D>,
        event: &A,
        scratch: &mut Scratch,
        found: &mut impl FnMut(Hit<'_>),
    ) {
        if !route.slots.is_empty() {
            let tests_end = self.tests_end.load(Ordering::Acquire);
            let unknowns =
                matching::find(&self.view, &route.slots, (&route.topic, event), scratch, tests_end, found);
            if unknowns > 0 {
                self.unknowns.fetch_add(unknowns, Ordering::Relaxed);
            }
        }
    }

    /// Brings a route up to date. The reader is inside: what a current route leads to stays.
    fn renew(&self, route: &mut Route<D>) {
        if !route.is_current(self) {
            *route = self.make_route(&route.topic);
        }
    }

    fn make_route(&self, topic: &Topic) -> Route<D> {
        let level = self.versions.level(&self.view, topic.levels().next().unwrap_or("").as_bytes());
        let versions = self.versions.read(level);
        let (mut slots, mut always) = (Vec::new(), Vec::new());
        let mut met: SmallVec<[Slot; 16]> = SmallVec::new();
        trie::visit(&self.view, self.root, topic, &mut |slot| met.push(slot));
        for slot in met {
            let mut resolve = |number: u32| {
                let entry = self.entries.get(number).map(ArcSwapOption::load);
                if let Some(entry) = entry.as_ref().and_then(|known| known.as_ref()) {
                    always.push((EntryId(number), entry.destination.clone()));
                }
            };
            let has_others = matching::find_always(&self.view, slot, topic, &mut |hit| match hit {
                Hit::One(number) => resolve(number),
                Hit::Many(words) => ids::numbers(words).for_each(&mut resolve),
            });
            if has_others {
                slots.push(slot);
            }
        }
        Route { topic: topic.clone(), level, versions, slots: slots.into(), always: always.into() }
    }

    /// Lets the routes be made anew that a filter may be part of with this first level; `None` if that
    /// is a wildcard.
    fn on_routes_changed(&self, level: Option<&[u8]>) {
        let version = match level {
            Some(text) => &self.versions.by_level[self.versions.level(&self.view, text)],
            None => &self.versions.any,
        };
        version.fetch_add(1, Ordering::SeqCst);
    }

    /// Runs `read` inside: nothing that it can reach is used again before it returns.
    fn reading<R>(&self, read: impl FnOnce(&mut Scratch) -> R) -> R {
        let (place, mut scratch) = self.readers.take();
        let inside = self.view.common.epochs.enter(place);
        let result = read(scratch.get_or_insert_with(|| Box::new(Scratch::new())));
        drop(inside);
        result
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

impl Versions {
    fn new() -> Versions {
        Versions {
            by_level: [const { AtomicU64::new(0) }; VERSIONS],
            any: AtomicU64::new(0),
            all: AtomicU64::new(0),
        }
    }

    fn level(&self, view: &View, text: &[u8]) -> usize {
        view.vocabulary.hash(text) as usize % VERSIONS
    }

    fn read(&self, level: usize) -> [u64; 2] {
        [self.by_level[level].load(Ordering::SeqCst), self.any.load(Ordering::SeqCst)]
    }
}

thread_local! {
    /// Where this thread looks for memory first.
    static PLACE: Cell<usize> = Cell::new(PLACE_NEXT.fetch_add(1, Ordering::Relaxed));
}

static PLACE_NEXT: AtomicUsize = AtomicUsize::new(0);

impl Readers {
    /// A place that is nobody else's, and its memory.
    fn take(&self) -> (usize, MutexGuard<'_, Option<Box<Scratch>>>) {
        let first = PLACE.get() % PLACES;
        for place in (first..PLACES).chain(0..first) {
            match self.0[place].try_lock() {
                Ok(scratch) => return (place, scratch),
                Err(TryLockError::Poisoned(error)) => {
                    // A destination's code panicked while it was handed out: what the reader noted
                    // of the event is of no use.
                    let mut scratch = error.into_inner();
                    *scratch = None;
                    return (place, scratch);
                }
                Err(TryLockError::WouldBlock) => {}
            }
        }
        std::thread::yield_now();
        self.take()
    }
}

/// What topic filters say about one topic, at one version of the index.
#[derive(Clone, Debug)]
pub struct Route<D> {
    topic: Topic,
    level: usize,
    versions: [u64; 2],
    /// Where entries are that an event must be asked about.
    slots: Box<[Slot]>,
    /// Entries that want every event of the topic.
    always: Box<[(EntryId, D)]>,
}

impl<D> Route<D> {
    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether `index`, which must be the one that made this route, has changed nothing since that
    /// the route says. Two atomic loads.
    pub fn is_current(&self, index: &Index<D>) -> bool {
        self.versions == index.versions.read(self.level)
    }

    /// Whether nobody wants events of the topic, whatever they carry.
    pub fn is_empty(&self) -> bool {
        self.always.is_empty() && self.slots.is_empty()
    }

    /// Whether some entry asks for more than the topic, so that attributes must be read.
    pub fn needs_attributes(&self) -> bool {
        !self.slots.is_empty()
    }

    /// The entries that want every event of the topic.
    pub fn always(&self) -> &[(EntryId, D)] {
        &self.always
    }
}

/// Entries that were found together.
#[derive(Debug)]
pub enum Entries<'a> {
    /// One.
    One(EntryId),
    /// Some of those that have the same filter.
    Many(EntryList<'a>),
}

/// A part of the list of those that have the same filter, as it lies in the index.
#[derive(Clone, Copy)]
pub struct EntryList<'a>(&'a [AtomicU32]);

impl EntryList<'_> {
    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = EntryId> {
        ids::numbers(self.0).map(EntryId)
    }

    /// How many they are at most: up to eight times as many as they are.
    pub fn len_max(&self) -> usize {
        self.0.len() * GROUP as usize
    }
}

impl fmt::Debug for EntryList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
