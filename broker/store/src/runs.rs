//! Reading many events with few reads of the file.
//!
//! A backlog lies in the log in the order in which it is read, often next to each other. What lies
//! close together in one segment is read at once, and the events share that memory. Whatever is not
//! as expected is read again by itself, so that each event ends with what [`Reader::read`] says.

use bytes::Bytes;

use crate::error::ReadError;
use crate::id::Position;
use crate::reader::Reader;
use crate::record::{SEALED_HEAD_MAX, Sealed, is_intact, read_sealed_head};
use crate::segments::Segment;

/// Bytes of one read at most; a larger event is read by itself.
const RUN_BYTES_MAX: u64 = 256 << 10;
/// Bytes between two events that are read in vain at most.
const GAP_BYTES_MAX: u64 = 8 << 10;

impl Reader {
    /// Reads the events at `wanted` (each with its size in bytes, as [`Reader::entries_within`] gives
    /// them), in their order. What lies close together costs one read; the events share its memory,
    /// 256 KiB at most, until the last of them is dropped.
    pub fn read_all(&self, wanted: &[(Position, u32)]) -> Vec<Result<Bytes, ReadError>> {
        let mut out = Vec::with_capacity(wanted.len());
        let mut rest = wanted;
        while !rest.is_empty() {
            let (run, others) = rest.split_at(self.run_length(rest));
            self.read_run(run, &mut out);
            rest = others;
        }
        out
    }

    /// How many of the first events can be had by one read; at least 1.
    fn run_length(&self, wanted: &[(Position, u32)]) -> usize {
        let begin = wanted[0].0;
        let mut end = begin;
        let mut count = 0;
        for &(position, bytes) in wanted {
            let next_end = Position(position.0 + SEALED_HEAD_MAX as u64 + u64::from(bytes));
            let is_near = position >= begin
                && position.0 <= end.0 + GAP_BYTES_MAX
                && next_end.0 - begin.0 <= RUN_BYTES_MAX
                && position.segment(self.log.segment_bytes) == begin.segment(self.log.segment_bytes);
            if count > 0 && !is_near {
                break;
            }
            end = end.max(next_end);
            count += 1;
        }
        count
    }

    fn read_run(&self, run: &[(Position, u32)], out: &mut Vec<Result<Bytes, ReadError>>) {
        let segment = match run {
            [_, _, ..] => self.log.table.get(run[0].0.segment(self.log.segment_bytes)),
            _ => None,
        };
        let block = segment.and_then(|segment| Some((self.read_block(&segment, run)?, segment)));
        out.extend(run.iter().map(|&(position, _)| {
            let found = block.as_ref().and_then(|(block, segment)| {
                event_in(block, run[0].0, position, position.offset(self.log.segment_bytes), segment)
            });
            found.map_or_else(|| self.read(position), Ok)
        }));
    }

    /// From the first event of a run to the end of its last, or as much of it as there is.
    fn read_block(&self, segment: &Segment, run: &[(Position, u32)]) -> Option<Bytes> {
        let begin = run[0].0;
        let end = run
            .iter()
            .map(|(position, bytes)| position.0 + SEALED_HEAD_MAX as u64 + u64::from(*bytes))
            .max()?;
        let mut block = vec![0u8; usize::try_from(end - begin.0).ok()?];
        let got = segment.file.read_at(&mut block, begin.offset(self.log.segment_bytes)).ok()?;
        block.truncate(got);
        Some(Bytes::from(block))
    }
}

/// The intact event at `position` in a block that begins at `begin`.
fn event_in(
    block: &Bytes,
    begin: Position,
    position: Position,
    offset: u64,
    segment: &Segment,
) -> Option<Bytes> {
    let at = usize::try_from(position.0.checked_sub(begin.0)?).ok()?;
    let head = block.get(at..block.len().min(at + SEALED_HEAD_MAX))?;
    let head = read_sealed_head(head).ok().filter(|head| head.kind == Sealed::Event)?;
    let from = at + head.head_bytes;
    let to = from.checked_add(usize::try_from(head.body_bytes).ok()?)?;
    let body = (to <= block.len()).then(|| block.slice(from..to))?;
    is_intact(&body, head.checksum, offset, &segment.salt).then_some(body)
}
