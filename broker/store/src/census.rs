//! What each segment is kept for: live entries whose events lie there, and pages.
//!
//! Invariants:
//! 1. An entry counts in the segment of its event, in memory or in a page alike.
//! 2. A page that is not needed any more counts until two checkpoints are younger: a recovery from
//!    the older of the last two may have to read it.

use std::collections::BTreeMap;

use crate::id::Position;
use crate::page::{Page, Share};
use crate::record::LiveEntry;

/// What one segment is kept for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) entries: u64,
    /// Bytes of their events; an event counts once for each entry.
    pub(crate) bytes: u64,
    pub(crate) pages: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Census {
    segment_bytes: u64,
    live: BTreeMap<u64, Live>,
    /// Entries whose events were written there, as far as was seen.
    written: BTreeMap<u64, u64>,
    /// Pages given up since the last checkpoint, and those given up before it, by segment.
    given_up: [BTreeMap<u64, u64>; 2],
    emptied: bool,
}

impl Census {
    pub(crate) fn new(segment_bytes: u64) -> Census {
        Census {
            segment_bytes,
            live: BTreeMap::new(),
            written: BTreeMap::new(),
            given_up: Default::default(),
            emptied: false,
        }
    }

    /// What segment `index` is kept for.
    pub(crate) fn of(&self, index: u64) -> Live {
        self.live.get(&index).copied().unwrap_or_default()
    }

    /// Entries whose events were written to segment `index` as far as was seen; never fewer than live.
    pub(crate) fn written_to(&self, index: u64) -> u64 {
        self.written.get(&index).copied().unwrap_or(0).max(self.of(index).entries)
    }

    /// Counts entries of one event that was written, or seen for the first time.
    pub(crate) fn add_written(&mut self, position: Position, bytes: u32, entries: u64) {
        let live = self.at(position);
        live.entries += entries;
        live.bytes += entries * u64::from(bytes);
        *self.written.entry(position.segment(self.segment_bytes)).or_default() += entries;
    }

    /// Forgets a segment that has left the log.
    pub(crate) fn forget(&mut self, segment: u64) {
        self.written.remove(&segment);
    }

    /// Segments that are kept, ascending.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, Live)> + '_ {
        self.live.iter().map(|(index, live)| (*index, *live))
    }

    /// Whether a segment lost the last that it was kept for since this was last asked.
    pub(crate) fn take_emptied(&mut self) -> bool {
        std::mem::take(&mut self.emptied)
    }

    pub(crate) fn add(&mut self, entry: &LiveEntry) {
        let live = self.at(entry.position);
        live.entries += 1;
        live.bytes += u64::from(entry.bytes);
    }

    pub(crate) fn remove(&mut self, entry: &LiveEntry) {
        let segment = entry.position.segment(self.segment_bytes);
        self.remove_share(&Share { segment, live: 1, bytes: u64::from(entry.bytes) });
    }

    /// Counts what a page of the directory stands for, and the page.
    pub(crate) fn add_page(&mut self, page: &Page) {
        for share in &page.shares {
            let live = self.live.entry(share.segment).or_default();
            live.entries += share.live;
            live.bytes += share.bytes;
        }
        page.places().for_each(|copy| self.add_copy(copy));
    }

    /// The inverse of [`Census::add_page`].
    pub(crate) fn remove_page(&mut self, page: &Page) {
        page.shares.iter().for_each(|share| self.remove_share(share));
        page.places().for_each(|copy| self.give_up_copy(copy));
    }

    pub(crate) fn add_copy(&mut self, copy: Position) {
        self.at(copy).pages += 1;
    }

    /// Counts a page out, once two checkpoints are younger.
    pub(crate) fn give_up_copy(&mut self, copy: Position) {
        *self.given_up[0].entry(copy.segment(self.segment_bytes)).or_default() += 1;
    }

    fn at(&mut self, position: Position) -> &mut Live {
        self.live.entry(position.segment(self.segment_bytes)).or_default()
    }

    fn remove_share(&mut self, share: &Share) {
        self.reduce(share.segment, |live| {
            live.entries = live.entries.saturating_sub(share.live);
            live.bytes = live.bytes.saturating_sub(share.bytes);
        });
    }

    fn reduce(&mut self, segment: u64, by: impl FnOnce(&mut Live)) {
        if let Some(live) = self.live.get_mut(&segment) {
            by(live);
            if live.entries == 0 && live.pages == 0 {
                self.live.remove(&segment);
                self.emptied = true;
            }
        }
    }

    /// Pages given up since the last checkpoint, by segment: the next one writes them down.
    pub(crate) fn given_up(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.given_up[0].iter().map(|(segment, pages)| (*segment, *pages))
    }

    /// Whether a segment below `limit` is kept for nothing but pages that were given up, so that two
    /// more checkpoints would let it go. O(segments).
    pub(crate) fn holds_given_up_alone(&self, limit: u64) -> bool {
        let given_up = |index: &u64| self.given_up.iter().filter_map(|pages| pages.get(index)).sum::<u64>();
        let mut below = self.live.range(..limit);
        below.any(|(index, live)| live.entries == 0 && live.pages == given_up(index))
    }

    /// Takes in what a checkpoint says was given up since the one before it.
    pub(crate) fn restore_given_up(&mut self, segment: u64, pages: u64) {
        *self.given_up[1].entry(segment).or_default() += pages;
        self.live.entry(segment).or_default().pages += pages;
    }

    /// A checkpoint is complete.
    pub(crate) fn on_checkpoint(&mut self) {
        let since = std::mem::take(&mut self.given_up[0]);
        for (segment, pages) in std::mem::replace(&mut self.given_up[1], since) {
            self.reduce(segment, |live| live.pages = live.pages.saturating_sub(pages));
        }
    }

    /// Forgets all but what was given up, to be counted anew.
    pub(crate) fn reset(&mut self) {
        self.live.clear();
        for (segment, pages) in self.given_up.iter().flatten() {
            self.live.entry(*segment).or_default().pages += pages;
        }
    }
}
