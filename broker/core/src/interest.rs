//! Interest: what a broker asks of its peers, and what a peer asks here (PROTOCOL.md 6.3).
//!
//! Invariants:
//! 1. Own interest is a set of distinct asks with a count of the subscriptions behind each; its
//!    version moves with the set, not with the counts.
//! 2. A peer's interest is applied as a difference: equal asks keep their entry, so that a
//!    snapshot after a reconnect installs and withdraws nothing that did not change.
//! 3. The version held is that of the last snapshot or delta that was applied whole.

use std::collections::{BTreeMap, VecDeque};

use fanal_protocol::control::{
    INTEREST_DURABLE, INTEREST_LIVE, InterestDelta, InterestDigest, InterestEntry, InterestSnapshot,
    interest_digest,
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

impl Change {
    fn size(&self) -> usize {
        match self {
            Change::Add(entry) => size(entry),
            Change::Remove(_) => 10,
        }
    }
}

/// About the bytes of an entry in a frame.
fn size(entry: &InterestEntry) -> usize {
    let except: usize = entry.except.iter().map(|filter| filter.len() + 3).sum();
    32 + entry.filter.len() + entry.predicate.as_ref().map_or(0, String::len) + except
}

/// Entries beyond the budget that widening takes: one per class.
const WIDENED_MAX: usize = [INTEREST_LIVE, INTEREST_DURABLE].len();

/// What an ask widens to: everything of its class. A leading wildcard does not match topics that
/// begin with `$`, so an ask for those widens to its first level.
fn everything(ask: &InterestEntry) -> InterestEntry {
    let filter = match ask.filter.split('/').next() {
        Some(first) if first.starts_with('$') => format!("{first}/#"),
        _ => "#".into(),
    };
    InterestEntry { id: 0, class: ask.class, filter, predicate: None, except: Vec::new() }
}

/// What this broker asks of every peer.
#[derive(Debug)]
pub struct OwnInterest {
    version: u64,
    id_last: u64,
    asks: BTreeMap<InterestEntry, (u64, usize)>,
    changes: VecDeque<(u64, Change)>,
    budget: usize,
    /// Subscriptions that are asked for as everything.
    widened: usize,
}

impl Default for OwnInterest {
    fn default() -> Self {
        OwnInterest::with_budget(ENTRIES_MAX - WIDENED_MAX)
    }
}

#[derive(Debug, Clone)]
enum Change {
    Add(InterestEntry),
    Remove(u64),
}

impl OwnInterest {
    /// Empty, exact up to `budget` distinct asks. What comes beyond is asked for as `#` of its
    /// class: a superset, since the receiver matches again.
    pub fn with_budget(budget: usize) -> Self {
        OwnInterest {
            version: 0,
            id_last: 0,
            asks: BTreeMap::new(),
            changes: VecDeque::new(),
            budget,
            widened: 0,
        }
    }

    /// Whether the set asks for more than the subscriptions do.
    pub fn is_widened(&self) -> bool {
        self.widened > 0
    }

    /// One more subscription asks for this (its id is ignored). The version from which on it is
    /// part of the set. O(log asks).
    pub fn add(&mut self, ask: InterestEntry) -> u64 {
        let mut key = InterestEntry { id: 0, ..ask };
        if !self.asks.contains_key(&key) && self.asks.len() >= self.budget {
            key = everything(&key);
            self.widened += 1;
        }
        if let Some((_, count)) = self.asks.get_mut(&key) {
            *count += 1;
            return self.version;
        }
        self.id_last += 1;
        let id = self.id_last;
        self.asks.insert(key.clone(), (id, 1));
        self.push(Change::Add(InterestEntry { id, ..key }))
    }

    /// One subscription less asks for this. O(log asks).
    pub fn remove(&mut self, ask: InterestEntry) -> u64 {
        let mut key = InterestEntry { id: 0, ..ask };
        if !self.asks.contains_key(&key) {
            // It was added beyond the budget.
            key = everything(&key);
            self.widened = self.widened.saturating_sub(1);
        }
        match self.asks.get_mut(&key) {
            Some((_, count)) if *count > 1 => *count -= 1,
            Some((id, _)) => {
                let id = *id;
                self.asks.remove(&key);
                return self.push(Change::Remove(id));
            }
            None => {}
        }
        self.version
    }

    fn push(&mut self, change: Change) -> u64 {
        self.version += 1;
        self.changes.push_back((self.version, change));
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
        self.version
    }

    /// The version of the set.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of distinct asks.
    pub fn len(&self) -> usize {
        self.asks.len()
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
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
            bytes += change.size();
            if bytes > PART_BYTES_MAX && delta.to > from {
                break;
            }
            match change {
                Change::Add(entry) => delta.add.push(entry.clone()),
                Change::Remove(id) => {
                    let added = delta.add.iter().position(|entry| entry.id == *id);
                    match added {
                        Some(at) => drop(delta.add.remove(at)),
                        None => delta.remove.push(*id),
                    }
                }
            }
            delta.to = *version;
        }
        Some(delta)
    }

    /// The whole set in parts.
    pub fn snapshot(&self) -> Vec<InterestSnapshot> {
        let entries: Vec<InterestEntry> =
            self.asks.iter().map(|(key, (id, _))| InterestEntry { id: *id, ..key.clone() }).collect();
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
        let digest = interest_digest(self.asks.keys());
        InterestDigest { version: self.version, digest, entries: self.asks.len() as u64 }
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
        check_budget(self.entries.len() + delta.add.len())?;
        check_bytes(&delta.add, self.bytes)?;
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
        InterestEntry { id: 0, class: n % 2, filter: format!("f/{n}"), predicate: None, except: vec![] }
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
        for n in 0..6 {
            own.add(ask(n));
        }
        assert!(own.is_widened());
        assert_eq!(own.len(), 5, "three exact asks and one for everything per class");
        // Whatever goes first, what is left is still asked for.
        for n in 0..4 {
            own.remove(ask(n));
        }
        assert!(own.is_widened());
        for n in 4..6 {
            own.remove(ask(n));
        }
        assert!(own.is_empty() && !own.is_widened());
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
