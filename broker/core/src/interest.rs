//! Interest: what a broker asks of its peers, and what a peer asks here (PROTOCOL.md 6.3).
//!
//! Invariants:
//! 1. Own interest is a set of entries that match whatever the subscriptions ask for, exact within
//!    a budget (`fanal_matching::summary`); its version moves with the set, by one with each
//!    change, and at each version the set matches all that is asked for.
//! 2. A peer's interest is applied as a difference: equal asks keep their entry, so that a
//!    snapshot after a reconnect installs and withdraws nothing that did not change.
//! 3. The version held is that of the last snapshot or delta that was applied whole.

use std::collections::{BTreeMap, VecDeque};

use fanal_matching::TopicFilter;
use fanal_matching::summary::{Ask, Change, Summary};
use fanal_protocol::control::{
    InterestDelta, InterestDigest, InterestEntry, InterestSnapshot, interest_digest,
};

/// Changes kept for deltas; a peer further behind gets a snapshot.
const CHANGES_MAX: usize = 4096;
/// Entries in one part of a snapshot or in one delta.
const PART_ENTRIES_MAX: usize = 256;
/// Bytes of entries in one part of a snapshot or in one delta, but for a single larger entry: far
/// below the limit of a control frame.
const PART_BYTES_MAX: usize = 64 * 1024;
/// Largest entry that is taken, in bytes.
const ENTRY_BYTES_MAX: usize = 128 * 1024;
/// All entries of a peer, in bytes.
const INTEREST_BYTES_MAX: usize = 64 << 20;
/// Most entries that a peer may ask for (PROTOCOL.md 3.3).
pub const ENTRIES_MAX: usize = 100_000;
/// Entries beyond the budget: a new one, and one that others are about to be joined in.
const ENTRIES_SPARE: usize = 2;
/// Bytes beyond the budget, for the same.
const INTEREST_BYTES_SPARE: usize = 1 << 20;
/// About the bytes of a removed id in a delta.
const REMOVE_BYTES: usize = 10;

/// About the bytes of an entry in a frame.
fn size(entry: &InterestEntry) -> usize {
    let except: usize = entry.except.iter().map(|filter| filter.len() + 3).sum();
    let predicates: usize =
        [&entry.predicate, &entry.strict].into_iter().flatten().map(|text| text.len() + 3).sum();
    32 + entry.filter.len() + predicates + except
}

/// An ask in the words of the summary. None if it is no ask; those of subscriptions are checked
/// before (`crate::ask`).
fn ask_of(entry: &InterestEntry) -> Option<Ask> {
    let parse = |text: &String| TopicFilter::parse(text).ok();
    let except = entry.except.iter().map(parse).collect::<Option<Vec<_>>>()?;
    let predicate = entry.predicate.as_deref().or(entry.strict.as_deref());
    Some(Ask::from_text(entry.class, parse(&entry.filter)?, except, predicate, entry.strict.is_some()))
}

fn entry_of(id: u64, ask: &Ask) -> InterestEntry {
    let text = ask.predicate().map(str::to_owned);
    let (predicate, strict) = if ask.is_strict() { (None, text) } else { (text, None) };
    InterestEntry {
        id,
        class: ask.class(),
        filter: ask.topic().to_string(),
        predicate,
        except: ask.except().iter().map(ToString::to_string).collect(),
        strict,
    }
}

/// What this broker asks of every peer.
#[derive(Debug)]
pub struct OwnInterest {
    version: u64,
    summary: Summary,
    changes: VecDeque<(u64, Change)>,
}

impl Default for OwnInterest {
    fn default() -> Self {
        OwnInterest::with_budget(ENTRIES_MAX - ENTRIES_SPARE)
    }
}

impl OwnInterest {
    /// Empty, exact up to `budget` distinct asks and [`INTEREST_BYTES_MAX`] less
    /// [`INTEREST_BYTES_SPARE`]. Beyond, asks share entries that ask for more: a superset, since the
    /// receiver matches again.
    pub fn with_budget(budget: usize) -> Self {
        OwnInterest {
            version: 0,
            summary: Summary::new(budget, INTEREST_BYTES_MAX - INTEREST_BYTES_SPARE),
            changes: VecDeque::new(),
        }
    }

    /// Whether the set asks for more than the subscriptions do.
    pub fn is_widened(&self) -> bool {
        !self.summary.is_exact()
    }

    /// One more subscription asks for this (its id is ignored). The version from which on it is
    /// part of the set. O(log asks) within the budget.
    pub fn add(&mut self, ask: InterestEntry) -> u64 {
        if let Some(ask) = ask_of(&ask) {
            self.summary.insert(ask);
            self.take_changes();
        }
        self.version
    }

    /// One subscription less asks for this. O(log asks).
    pub fn remove(&mut self, ask: InterestEntry) -> u64 {
        if let Some(ask) = ask_of(&ask) {
            self.summary.remove(&ask);
            self.take_changes();
        }
        self.version
    }

    /// Goes on with what need not be done at once: withdraws entries that another one covers, and
    /// narrows where there is room, in `steps` of at most two changes. True if there is more to do:
    /// call it again a little later, so that a peer is not flooded.
    pub fn settle(&mut self, steps: usize) -> bool {
        let has_more = self.summary.settle(steps);
        self.take_changes();
        has_more
    }

    fn take_changes(&mut self) {
        for change in self.summary.take_changes() {
            self.version += 1;
            self.changes.push_back((self.version, change));
        }
        let over = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..over);
    }

    /// The version of the set.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.summary.len()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.summary.is_empty()
    }

    /// What leads from `from` to a later version; `None`: too far behind, send a snapshot.
    pub fn delta(&self, from: u64) -> Option<InterestDelta> {
        let oldest = self.changes.front().map_or(self.version + 1, |(version, _)| *version);
        if from > self.version || from + 1 < oldest {
            return None;
        }
        let skip = (from + 1 - oldest) as usize;
        let mut delta = InterestDelta { from, to: from, ..Default::default() };
        let mut bytes = 0;
        for (version, change) in self.changes.iter().skip(skip).take(PART_ENTRIES_MAX) {
            let entry = match change {
                Change::Add { id, ask } => Ok(entry_of(*id, ask)),
                Change::Remove { id } => Err(*id),
            };
            bytes += entry.as_ref().map_or(REMOVE_BYTES, size);
            if bytes > PART_BYTES_MAX && delta.to > from {
                break;
            }
            match entry {
                Ok(entry) => delta.add.push(entry),
                Err(id) => match delta.add.iter().position(|entry| entry.id == id) {
                    Some(at) => drop(delta.add.remove(at)),
                    None => delta.remove.push(id),
                },
            }
            delta.to = *version;
        }
        Some(delta)
    }

    /// The whole set in parts.
    pub fn snapshot(&self) -> Vec<InterestSnapshot> {
        let entries = self.summary.entries().map(|(id, ask)| entry_of(id, ask));
        let mut parts = vec![InterestSnapshot { version: self.version, ..Default::default() }];
        let mut bytes = 0;
        for entry in entries {
            bytes += size(&entry);
            let at = parts.len() - 1;
            let held = parts[at].entries.len();
            if held > 0 && (held == PART_ENTRIES_MAX || bytes > PART_BYTES_MAX) {
                bytes = size(&entry);
                let part = parts.len() as u64;
                let entries = vec![entry];
                parts.push(InterestSnapshot { version: self.version, part, entries, ..Default::default() });
            } else {
                parts[at].entries.push(entry);
            }
        }
        if let Some(last) = parts.last_mut() {
            last.last = true;
        }
        parts
    }

    /// What a peer should hold.
    pub fn digest(&self) -> InterestDigest {
        let entries = self.summary.entries();
        let digests = entries.map(|(id, ask)| interest_digest([&entry_of(id, ask)]));
        let digest = digests.fold(0, u64::wrapping_add);
        InterestDigest { version: self.version, digest, entries: self.len() as u64 }
    }
}

/// A change of what a peer asks for; entries have id 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterestChange {
    /// New asks.
    pub add: Vec<InterestEntry>,
    /// Asks that are withdrawn.
    pub remove: Vec<InterestEntry>,
}

/// Why a peer's interest frame was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterestError {
    /// The delta does not fit the version held: a snapshot is wanted.
    #[error("interest of version {have} is held: send a snapshot")]
    Resync {
        /// The version held.
        have: u64,
    },
    /// One entry, or all of them, hold more text than any honest peer needs.
    #[error("interest of {got} bytes exceeds {limit} bytes: shorten or widen filters before sending them")]
    TooLarge {
        /// Bytes of the entry, or of all.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// Over the budget.
    #[error("{got} interest entries exceed the budget of {limit}: widen the interest before sending it")]
    TooMany {
        /// Entries announced.
        got: usize,
        /// The budget.
        limit: usize,
    },
}

/// What a peer asks here, for the life of one link.
#[derive(Debug, Default)]
pub struct PeerInterest {
    version: Option<u64>,
    entries: BTreeMap<u64, InterestEntry>,
    bytes: usize,
    arriving: Option<InterestSnapshot>,
    /// Asks that were held before this link (durable ones), by key.
    held: BTreeMap<InterestEntry, usize>,
}

impl PeerInterest {
    /// Starts a link, with the asks that are installed already.
    pub fn new(installed: impl IntoIterator<Item = InterestEntry>) -> Self {
        let held = installed.into_iter().map(|entry| (InterestEntry { id: 0, ..entry }, 1)).collect();
        PeerInterest { held, ..PeerInterest::default() }
    }

    /// The version applied last; `None`: no snapshot yet.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a part of a snapshot; with the last one, the change that it means. O(entries).
    ///
    /// # Errors
    /// [`InterestError`]; the parts so far are dropped.
    pub fn on_snapshot(&mut self, part: InterestSnapshot) -> Result<Option<InterestChange>, InterestError> {
        let mut whole = match self.arriving.take() {
            Some(whole) if (whole.version, whole.part + 1) == (part.version, part.part) => whole,
            _ if part.part == 0 => InterestSnapshot { entries: Vec::new(), ..part.clone() },
            _ => return Err(InterestError::Resync { have: self.version.unwrap_or(0) }),
        };
        whole.part = part.part;
        whole.entries.extend(part.entries);
        check_budget(whole.entries.len())?;
        check_bytes(&whole.entries, 0)?;
        if !part.last {
            self.arriving = Some(whole);
            return Ok(None);
        }
        let entries: BTreeMap<u64, InterestEntry> =
            whole.entries.into_iter().map(|entry| (entry.id, InterestEntry { id: 0, ..entry })).collect();
        let wanted = count(entries.values());
        let change = InterestChange {
            add: wanted.keys().filter(|key| !self.held.contains_key(key)).cloned().collect(),
            remove: self.held.keys().filter(|key| !wanted.contains_key(key)).cloned().collect(),
        };
        self.bytes = entries.values().map(size).sum();
        (self.version, self.entries, self.held) = (Some(whole.version), entries, wanted);
        Ok(Some(change))
    }

    /// Takes a delta. O(changes log entries).
    ///
    /// # Errors
    /// [`InterestError`]; nothing is changed.
    pub fn on_delta(&mut self, delta: InterestDelta) -> Result<InterestChange, InterestError> {
        if self.version != Some(delta.from) || self.arriving.is_some() {
            return Err(InterestError::Resync { have: self.version.unwrap_or(0) });
        }
        let gone: Vec<&InterestEntry> = delta.remove.iter().filter_map(|id| self.entries.get(id)).collect();
        let bytes_gone: usize = gone.iter().map(|entry| size(entry)).sum();
        check_budget((self.entries.len() + delta.add.len()).saturating_sub(gone.len()))?;
        check_bytes(&delta.add, self.bytes.saturating_sub(bytes_gone))?;
        let mut change = InterestChange::default();
        for entry in delta.add {
            let key = InterestEntry { id: 0, ..entry.clone() };
            if self.entries.insert(entry.id, key.clone()).is_none() {
                self.bytes += size(&key);
                let count = self.held.entry(key.clone()).or_insert(0);
                *count += 1;
                if *count == 1 {
                    change.add.push(key);
                }
            }
        }
        for id in delta.remove {
            let Some(key) = self.entries.remove(&id) else { continue };
            self.bytes = self.bytes.saturating_sub(size(&key));
            if let Some(count) = self.held.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(&key);
                    change.remove.push(key);
                }
            }
        }
        self.version = Some(delta.to);
        Ok(change)
    }

    /// Whether a digest fits what is held; a digest of another version says nothing.
    pub fn agrees_with(&self, digest: &InterestDigest) -> bool {
        self.version != Some(digest.version)
            || (interest_digest(self.entries.values()), self.entries.len() as u64)
                == (digest.digest, digest.entries)
    }
}

fn check_bytes(entries: &[InterestEntry], held: usize) -> Result<(), InterestError> {
    if let Some(got) = entries.iter().map(size).find(|size| *size > ENTRY_BYTES_MAX) {
        return Err(InterestError::TooLarge { got, limit: ENTRY_BYTES_MAX });
    }
    let got = held + entries.iter().map(size).sum::<usize>();
    if got > INTEREST_BYTES_MAX {
        return Err(InterestError::TooLarge { got, limit: INTEREST_BYTES_MAX });
    }
    Ok(())
}

fn check_budget(got: usize) -> Result<(), InterestError> {
    if got > ENTRIES_MAX {
        return Err(InterestError::TooMany { got, limit: ENTRIES_MAX });
    }
    Ok(())
}

fn count<'a>(entries: impl Iterator<Item = &'a InterestEntry>) -> BTreeMap<InterestEntry, usize> {
    let mut out = BTreeMap::new();
    for entry in entries {
        *out.entry(entry.clone()).or_insert(0) += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ask(n: u8) -> InterestEntry {
        InterestEntry { class: n % 2, filter: format!("f/{n}"), ..Default::default() }
    }

    fn apply(set: &mut BTreeSet<InterestEntry>, change: InterestChange) {
        for entry in change.remove {
            assert!(set.remove(&entry), "withdrawn but not held: {entry:?}");
        }
        for entry in change.add {
            assert!(set.insert(entry.clone()), "installed twice: {entry:?}");
        }
    }

    fn sync(own: &OwnInterest, peer: &mut PeerInterest, installed: &mut BTreeSet<InterestEntry>) {
        while peer.version() != Some(own.version()) {
            match peer.version().and_then(|from| own.delta(from)) {
                Some(delta) => apply(installed, peer.on_delta(delta).unwrap()),
                None => {
                    for part in own.snapshot() {
                        if let Some(change) = peer.on_snapshot(part).unwrap() {
                            apply(installed, change);
                        }
                    }
                }
            }
        }
    }

    proptest! {
        /// Random subscribing, withdrawing and reconnecting: what is installed is what is asked for.
        #[test]
        fn installed_is_asked_for(steps in prop::collection::vec((0u8..6, 0u8..12), 1..200)) {
            let (mut own, mut peer) = (OwnInterest::default(), PeerInterest::default());
            let (mut installed, mut counts) = (BTreeSet::new(), BTreeMap::<u8, usize>::new());
            for (kind, n) in steps {
                match kind {
                    0 | 1 => {
                        own.add(ask(n));
                        *counts.entry(n).or_default() += 1;
                    }
                    2 | 3 if counts.get(&n).is_some_and(|count| *count > 0) => {
                        own.remove(ask(n));
                        *counts.entry(n).or_default() -= 1;
                    }
                    4 => {
                        // The link is lost: live asks go, durable ones stay installed.
                        installed.retain(|entry: &InterestEntry| entry.class == 1);
                        peer = PeerInterest::new(installed.iter().cloned());
                    }
                    _ => sync(&own, &mut peer, &mut installed),
                }
            }
            sync(&own, &mut peer, &mut installed);
            let wanted: BTreeSet<_> = counts.iter().filter(|(_, count)| **count > 0).map(|(n, _)| ask(*n)).collect();
            prop_assert_eq!(&installed, &wanted);
            prop_assert!(peer.agrees_with(&own.digest()));
        }
    }

    #[test]
    fn a_snapshot_of_many_parts_arrives_whole_and_a_torn_one_is_asked_for_again() {
        let mut own = OwnInterest::default();
        for n in 0..1000 {
            own.add(InterestEntry { filter: format!("t/{n}"), ..Default::default() });
        }
        let parts = own.snapshot();
        assert_eq!(parts.len(), 4);
        let mut peer = PeerInterest::default();
        let changes: Vec<_> =
            parts.iter().filter_map(|part| peer.on_snapshot(part.clone()).unwrap()).collect();
        assert_eq!(changes[0].add.len(), 1000);
        let mut torn = PeerInterest::default();
        torn.on_snapshot(parts[0].clone()).unwrap();
        assert_eq!(torn.on_snapshot(parts[2].clone()), Err(InterestError::Resync { have: 0 }));
    }

    #[test]
    fn beyond_the_budget_interest_widens_and_never_misses() {
        let mut own = OwnInterest::with_budget(3);
        (0..3).for_each(|n| _ = own.add(ask(n)));
        assert!(!own.is_widened());
        (3..6).for_each(|n| _ = own.add(ask(n)));
        assert!(own.is_widened());
        assert_eq!(filters(&own), ["0 f/#", "1 f/#"], "classes never mix");
        // Whatever goes first, what is left is still asked for; where there is room it is exact.
        (0..2).for_each(|n| _ = own.remove(ask(n)));
        assert!(own.is_widened());
        own.remove(ask(2));
        while own.settle(1) {}
        assert!(!own.is_widened());
        assert_eq!(filters(&own), ["0 f/4", "1 f/3", "1 f/5"]);
        (3..6).for_each(|n| _ = own.remove(ask(n)));
        assert!(own.is_empty() && !own.is_widened());
    }

    fn filters(own: &OwnInterest) -> Vec<String> {
        let parts = own.snapshot();
        parts.iter().flat_map(|part| &part.entries).map(|e| format!("{} {}", e.class, e.filter)).collect()
    }

    /// What the peer holds after each delta or snapshot matches what was asked for at a version that
    /// it has confirmed, while interest widens and narrows under it (PROTOCOL.md 5.7).
    #[test]
    fn what_a_peer_confirmed_stays_matched_while_interest_widens_and_narrows() {
        const BUDGET: usize = 40;
        let mut own = OwnInterest::with_budget(BUDGET);
        let mut peer = PeerInterest::default();
        let mut installed = BTreeSet::new();
        let mut asked: Vec<(InterestEntry, u64)> = Vec::new();
        let entry = |n: usize| InterestEntry {
            class: (n % 2) as u8,
            filter: format!("f/{}/{}", n % 3, n % 17),
            predicate: (!n.is_multiple_of(4)).then(|| format!("n > {n}")),
            ..Default::default()
        };
        let (mut widened, mut narrowed) = (0, 0);
        for step in 0..4_000_usize {
            let is_growing = (step / 250).is_multiple_of(2);
            let was_widened = own.is_widened();
            match (step * 7_919 % 5, is_growing) {
                (0, _) => _ = own.settle(3),
                (1, true) | (2.., false) if !asked.is_empty() => {
                    let (gone, _) = asked.swap_remove(step * 31 % asked.len());
                    own.remove(gone);
                }
                _ => asked.push((entry(step * 13 % 1_009), own.add(entry(step * 13 % 1_009)))),
            }
            widened += usize::from(!was_widened && own.is_widened());
            narrowed += usize::from(was_widened && !own.is_widened());
            assert!(own.len() <= BUDGET);
            if step % 3 == 0 {
                // One delta, as far as it goes: the peer is behind for most of the time.
                match peer.version().and_then(|from| own.delta(from)) {
                    Some(delta) => apply_in_order(&mut installed, peer.on_delta(delta).unwrap()),
                    None => sync(&own, &mut peer, &mut installed),
                }
            }
            let confirmed = peer.version().unwrap_or(0);
            for (ask, _) in asked.iter().filter(|(_, version)| *version <= confirmed) {
                assert!(is_covered(ask, &installed), "step {step}: {ask:?} is not among {installed:?}");
            }
        }
        assert!(widened >= 5 && narrowed >= 5, "widened {widened}, narrowed {narrowed}");
    }

    /// New asks before old ones are withdrawn, and nothing is missed in between.
    fn apply_in_order(installed: &mut BTreeSet<InterestEntry>, change: InterestChange) {
        installed.extend(change.add);
        for entry in change.remove {
            assert!(installed.remove(&entry), "withdrawn but not held: {entry:?}");
        }
    }

    fn is_covered(ask: &InterestEntry, installed: &BTreeSet<InterestEntry>) -> bool {
        let selector = |entry: &InterestEntry| {
            crate::ask::parse_ask(
                &entry.filter,
                entry.predicate.as_deref(),
                entry.strict.as_deref(),
                &entry.except,
            )
            .unwrap()
            .1
        };
        let wanted = selector(ask);
        installed.contains(ask)
            || installed.iter().any(|entry| entry.class == ask.class && selector(entry).covers(&wanted))
    }

    /// IMMUNITY F21: a covering filter over 100,000 others is withdrawn. Within the budget that is
    /// one change; above it nothing at once, and the rest in paced steps.
    #[test]
    fn withdrawing_a_cover_over_100_000_filters_releases_no_burst() {
        const FILTERS: usize = 100_000;
        let filter = |n: usize| InterestEntry { filter: format!("f/{}/{n}", n % 100), ..Default::default() };
        let cover = || InterestEntry { filter: "f/#".into(), ..Default::default() };
        for budget in [FILTERS + 1, FILTERS - 1] {
            let mut own = OwnInterest::with_budget(budget);
            own.add(cover());
            (0..FILTERS).for_each(|n| _ = own.add(filter(n)));
            assert!(!own.is_widened(), "the cover is asked for");
            while own.settle(1_000) {}
            let before = own.version();
            own.remove(cover());
            assert!(own.version() - before <= 1, "{} changes at once", own.version() - before);
            assert_eq!(own.is_widened(), budget < FILTERS);
            // A few leave: there is room for those that are left, which come step by step.
            let leave = if budget < FILTERS { FILTERS / 7 } else { 0 };
            for n in 0..leave {
                let before = own.version();
                own.remove(filter(n));
                assert!(own.version() - before <= 18, "{} changes at once", own.version() - before);
            }
            let mut has_more = true;
            while has_more {
                let before = own.version();
                has_more = own.settle(64);
                assert!(own.version() - before <= 128, "{} changes at once", own.version() - before);
            }
            assert_eq!((own.len(), own.is_widened()), (FILTERS - leave, false));
        }
    }

    /// At the limit, an entry may come in the place of one that goes: the net counts.
    #[test]
    fn a_delta_is_judged_by_what_is_held_after_it() {
        let mut peer = PeerInterest::default();
        let entry = |id: u64| InterestEntry { id, filter: format!("t/{id}"), ..Default::default() };
        let entries = (1..=ENTRIES_MAX as u64).map(entry).collect();
        peer.on_snapshot(InterestSnapshot { version: 1, last: true, entries, ..Default::default() }).unwrap();
        let add = |id| vec![entry(ENTRIES_MAX as u64 + id)];
        let over = InterestDelta { from: 1, to: 2, add: add(1), remove: vec![] };
        assert!(matches!(peer.on_delta(over), Err(InterestError::TooMany { .. })));
        peer.on_delta(InterestDelta { from: 1, to: 3, add: add(1), remove: vec![5] }).unwrap();
        assert_eq!(peer.len(), ENTRIES_MAX);
    }

    #[test]
    fn a_digest_of_the_same_version_finds_drift() {
        let mut own = OwnInterest::default();
        own.add(ask(1));
        let mut peer = PeerInterest::default();
        peer.on_snapshot(own.snapshot().remove(0)).unwrap();
        let digest = own.digest();
        assert!(peer.agrees_with(&digest));
        assert!(!peer.agrees_with(&InterestDigest { digest: digest.digest ^ 1, ..digest.clone() }));
        assert!(peer.agrees_with(&InterestDigest { version: 9, digest: 0, entries: 0 }));
    }
}
