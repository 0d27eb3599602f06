//! What a caller may choose about a store.

use crate::format::segment_capacity;

/// Choices for [`crate::Store::open`]. Out-of-range values are brought into range.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment, fixed when the store is created (16 KiB to 1 GiB, a multiple of 4 KiB);
    /// a store that exists keeps the size it was created with. Default 64 MiB.
    pub segment_bytes: u64,
    /// [`crate::Store::checkpoint_due`] turns true when this much was written since the last one.
    /// Bounds what a start reads. Default 128 MiB.
    pub checkpoint_after_bytes: u64,
    /// Segments kept aside for acks, removals, state and checkpoints while the disk is full
    /// (1 to 64; more are kept when checkpoints are large). Default 2.
    pub reserve_segments: usize,
    /// Most bytes of segments that the store makes, as though the disk ended there. Default none.
    pub bytes_max: Option<u64>,
    /// An event with so many destinations or more has their set logged once, where it repeats
    /// (at least 2). Default 8.
    pub set_destinations_min: usize,
    /// Memory for the sets of one segment, 16 bytes a destination; what does not fit is logged with
    /// each event. Default 16 MiB.
    pub set_bytes_max: usize,
    /// Mailbox entries that a page holds (4 to 65,536, and no more than surely fit into a segment of the
    /// store). Default 1,024.
    pub page_entries: usize,
    /// A mailbox with more entries in memory has all but the first and the newest put into pages
    /// (at least three pages). Default 4,096.
    pub mailbox_hot_max: usize,
    /// Memory for the entries of all mailboxes, 20 bytes each; beyond it the largest go into pages
    /// whole. Default 64 MiB.
    pub hot_bytes_max: usize,
    /// What still lives in old segments is moved together when they take more than twice its bytes
    /// and so many segments beyond. Default 2.
    pub idle_segments: u64,
    /// Who makes and recycles segments. Default [`Housekeeping::Thread`].
    pub housekeeping: Housekeeping,
}

/// Who makes and recycles segments ahead of need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Housekeeping {
    /// A thread of the store's own, so that a commit seldom waits for zeroes.
    Thread,
    /// The committing thread, after the flush: the same order of operations at each run.
    Inline,
}

const PAGE: u64 = 4096;
/// More bytes than an entry ever takes in a page.
const PAGE_ENTRY_BYTES_MAX: usize = 32;

impl Options {
    /// These options with every value in its range.
    pub(crate) fn in_range(mut self) -> Options {
        let bytes = self.segment_bytes.clamp(4 * PAGE, 1 << 30);
        self.segment_bytes = bytes - bytes % PAGE;
        self.reserve_segments = self.reserve_segments.clamp(1, 64);
        self.checkpoint_after_bytes = self.checkpoint_after_bytes.max(PAGE);
        let bytes = self.segment_bytes;
        self = self.for_segments(bytes);
        self.mailbox_hot_max = self.mailbox_hot_max.max(3 * self.page_entries);
        self.set_destinations_min = self.set_destinations_min.max(2);
        self
    }
}

impl Options {
    /// These options with pages that fit into segments of that size, which a store keeps.
    pub(crate) fn for_segments(mut self, segment_bytes: u64) -> Options {
        let fitting = segment_capacity(segment_bytes) as usize / PAGE_ENTRY_BYTES_MAX;
        self.page_entries = self.page_entries.clamp(4, fitting.clamp(4, 1 << 16));
        self
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            checkpoint_after_bytes: 128 << 20,
            reserve_segments: 2,
            bytes_max: None,
            set_destinations_min: 8,
            set_bytes_max: 16 << 20,
            page_entries: 1024,
            mailbox_hot_max: 4096,
            hot_bytes_max: 64 << 20,
            idle_segments: 2,
            housekeeping: Housekeeping::Thread,
        }
    }
}
