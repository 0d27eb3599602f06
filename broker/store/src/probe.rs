//! What fuzz targets ask of the decoders, which nobody else can reach. Nothing here is used by a
//! broker.

use crate::format::{SegmentHeader, find_traces, read_batch};
use crate::id::{Position, StoreId};
use crate::record::{Records, Scratch};

/// Entries that one page may say to hold.
pub const PAGE_ENTRIES_MAX: u64 = crate::page::ENTRIES_MAX;

/// What decoding a body gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Records that could be read.
    pub records: u64,
    /// Entries of the largest of them.
    pub entries_max: usize,
    /// All of the body was read.
    pub is_whole: bool,
}

/// Decodes a body of a batch in a segment of format `version`, as recovery does.
///
/// # Panics
/// When records do not lie one behind the other within the body.
pub fn decode_records(body: &[u8], version: u32) -> Decoded {
    let mut decoded = Decoded::default();
    let mut scratch = Scratch::default();
    scratch.sets.enter(1);
    let mut records = Records::of_version(body, version);
    let mut last = None;
    loop {
        match records.next(&mut scratch) {
            Ok(Some((at, _))) => {
                assert!(last < Some(at) && at < body.len(), "{last:?} and then {at} of {}", body.len());
                last = Some(at);
                decoded.records += 1;
                let entries = scratch.entries.len().max(scratch.live.len());
                decoded.entries_max = decoded.entries_max.max(entries);
            }
            Ok(None) => {
                decoded.is_whole = true;
                return decoded;
            }
            Err(_) => return decoded,
        }
    }
}

/// Looks for a segment header, for batches and for traces of batches in bytes that nobody wrote.
pub fn decode_segment(bytes: &[u8]) -> bool {
    let Ok(header) = SegmentHeader::decode(bytes) else {
        return false;
    };
    let salt = crate::format::Salt::new(StoreId(1), header.generation);
    let traces = find_traces(bytes, &salt);
    let batches =
        traces.headers.iter().filter_map(|&at| read_batch(&bytes[at..], Position(at as u64), &salt));
    batches.count() > 0
}
