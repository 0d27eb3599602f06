//! Putting a spare into the log.
//!
//! Invariant: a segment has its name only once its header, and what it begins with, are durable.

use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::StopCause;
use crate::format::{DATA_START, HEADER_COPY, SEGMENT_HEADER, SegmentHeader};
use crate::segments::{Segment, segment_name};

/// Makes the segment that `header` describes out of a spare, with `payload` as its first batches;
/// all of it, and its name, are durable on return.
pub(crate) fn install(
    disk: &dyn Disk,
    spare: &str,
    header: &SegmentHeader,
    payload: &[u8],
) -> Result<Segment, Arc<StopCause>> {
    let name = segment_name(header.index);
    let run = || -> io::Result<Segment> {
        let file = disk.open(spare)?;
        file.write_at(&header_page(header), 0)?;
        if !payload.is_empty() {
            file.write_at(payload, DATA_START)?;
        }
        if file.len()? < header.file_bytes {
            file.set_len(header.file_bytes)?;
        }
        file.sync_data()?;
        disk.rename(spare, &name)?;
        disk.sync_folder("")?;
        Ok(Segment { index: header.index, salt: header.salt(), file, bytes: header.file_bytes })
    };
    run().map_err(|source| Arc::new(StopCause { path: disk.root().join(&name), operation: "begin", source }))
}

fn header_page(header: &SegmentHeader) -> Vec<u8> {
    let mut page = vec![0u8; DATA_START as usize];
    let encoded = header.encode();
    for at in [0, HEADER_COPY as usize] {
        page[at..at + SEGMENT_HEADER].copy_from_slice(&encoded);
    }
    page
}
