//! Records of the store's batches, all kinds, in both formats; heads of segments.
//!
//! 1. Whatever the bytes, decoding ends, reads records one behind the other, and makes no list that
//!    is far larger than what it was read from.
//! 2. What format version 1 reads version 2 reads alike.
//!
//! The input is a body; the same bytes are read as a segment.
#![no_main]

use fanal_store::probe::{PAGE_ENTRIES_MAX, decode_records, decode_segment};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (first, second) = (decode_records(body, 1), decode_records(body, 2));
    assert!(first.records <= second.records, "{first:?} {second:?}");
    if first.is_whole {
        assert_eq!(first, second);
    }
    // An entry takes two bytes of a list or of the set that it is in; in a page it may take none.
    let limit = body.len().max(PAGE_ENTRIES_MAX as usize);
    assert!(second.entries_max <= limit, "{} entries in {} bytes", second.entries_max, body.len());
    decode_segment(body);
});
