//! The segments that hold the log, shared by the writer and readers.
//!
//! Invariant: a segment leaves the table before its file is used again or removed, and a file is
//! used again only when nobody but the writer holds the segment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::disk::File;
use crate::format::Salt;

/// An open segment.
pub(crate) struct Segment {
    pub(crate) index: u64,
    pub(crate) salt: Salt,
    pub(crate) file: Arc<dyn File>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// All open segments by index.
#[derive(Default)]
pub(crate) struct Table {
    map: RwLock<BTreeMap<u64, Arc<Segment>>>,
    /// Segments that entries point into and that were not there, or not to be used, at the start.
    lost: OnceLock<BTreeSet<u64>>,
}

impl Table {
    pub(crate) fn get(&self, index: u64) -> Option<Arc<Segment>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.get(&index).cloned()
    }

    /// Notes, once, which segments entries point into although they are not there.
    pub(crate) fn note_lost(&self, lost: BTreeSet<u64>) {
        // What is not there at the start does not come while the store is open.
        let _ = self.lost.set(lost);
    }

    pub(crate) fn is_lost(&self, index: u64) -> bool {
        self.lost.get().is_some_and(|lost| lost.contains(&index))
    }

    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(segment.index, segment);
    }

    pub(crate) fn remove(&self, index: u64) -> Option<Arc<Segment>> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.remove(&index)
    }

    /// Indexes below `limit`, ascending.
    pub(crate) fn below(&self, limit: u64) -> Vec<u64> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.range(..limit).map(|(index, _)| *index).collect()
    }

    /// How many segments there are, and their bytes.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = map.values().map(|segment| segment.bytes).sum();
        (map.len() as u64, bytes)
    }
}

/// File name of a segment.
pub(crate) fn segment_name(index: u64) -> String {
    format!("{index:08}.seg")
}

/// The index in a segment's file name.
pub(crate) fn segment_index(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let is_number = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}
