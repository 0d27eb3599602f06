//! The bytes of segments and batches. No IO.
//!
//! A segment is a header (two copies in different pages halves, 0 and 2,048) and, from 4,096 on,
//! batches at multiples of 8, none spanning two segments. A batch is a header of 64 bytes, a body
//! of records and a trailer of 8 bytes. All numbers are little-endian.
//!
//! Invariants:
//! 1. Every checksum of a segment's content is salted with the store id and the segment's
//!    generation, which is never used twice and cannot be foreseen: neither what a recycled
//!    segment held before nor what a publisher sends can pass for a batch.
//! 2. A batch header names its own position, its number, the checksum of its predecessor and the
//!    end of what was durable when it was written (the durable mark).
//! 3. A segment header says where the log before it ends; what follows there is void.

use crc32c::{crc32c, crc32c_append};

use crate::id::{Position, StoreId};

/// Version of all of this; raised when a reader of the old one would misread. 1: record kinds up to
/// 11; 2: up to 18.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The oldest version that is still read. A segment keeps the version that it was begun with.
pub(crate) const FORMAT_VERSION_OLDEST: u32 = 1;
/// Where the first batch of a segment lies.
pub(crate) const DATA_START: u64 = 4096;
/// Where the second copy of the segment header lies.
pub(crate) const HEADER_COPY: u64 = 2048;
/// Bytes of a segment header that carry meaning.
pub(crate) const SEGMENT_HEADER: usize = 128;
/// Bytes of a batch header.
pub(crate) const BATCH_HEADER: usize = 64;
/// Bytes of a batch trailer.
pub(crate) const TRAILER: usize = 8;
/// Batches begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

const SEGMENT_MAGIC: [u8; 8] = *b"FANALSEG";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"FBAT");
const TRAILER_MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bit of [`BatchHeader::flags`]: the batch is part of a checkpoint.
pub(crate) const FLAG_CHECKPOINT: u32 = 1;

/// Bytes of batches that a segment holds. The last few bytes stay free, so that the end of a full
/// segment is still a position in it.
pub(crate) fn segment_capacity(segment_bytes: u64) -> u64 {
    segment_bytes - DATA_START - ALIGN as u64
}

/// Bytes that a batch with a body of `body` bytes takes in its segment.
pub(crate) fn batch_bytes(body: usize) -> usize {
    (BATCH_HEADER + body + TRAILER).next_multiple_of(ALIGN)
}

/// What ties bytes to one life of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt {
    pub(crate) generation: u64,
    seed: u32,
}

impl Salt {
    pub(crate) fn new(store: StoreId, generation: u64) -> Salt {
        let seed = crc32c_append(crc32c(&store.0.to_le_bytes()), &generation.to_le_bytes());
        Salt { generation, seed }
    }

    pub(crate) fn checksum(&self, bytes: &[u8]) -> u32 {
        crc32c_append(self.seed, bytes)
    }

    /// What an event's plain checksum is combined with at `offset`, so that building a batch does
    /// not need to know where it will lie.
    pub(crate) fn seal(&self, offset: u64) -> u32 {
        self.seed ^ (offset as u32).wrapping_mul(0x9e37_79b1)
    }

    /// The last 8 bytes of each batch, evidence of a batch whose header did not reach the disk.
    pub(crate) fn trailer(&self) -> u64 {
        self.generation.rotate_left(32) ^ TRAILER_MIX
    }
}

/// Whether this program reads what was written in `version`.
pub(crate) fn is_known_version(version: u32) -> bool {
    (FORMAT_VERSION_OLDEST..=FORMAT_VERSION).contains(&version)
}

/// A new generation for segment `index`: its lower half cannot repeat, its upper half cannot be
/// foreseen.
pub(crate) fn new_generation(random: u64, index: u64) -> u64 {
    (random << 32) | (index & 0xffff_ffff)
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Format version of the segment.
    pub(crate) version: u32,
    pub(crate) store: StoreId,
    pub(crate) index: u64,
    pub(crate) generation: u64,
    /// End of the log before this segment, all of it durable; 0 for the first segment.
    pub(crate) continues_from: Position,
    /// Number of the first batch of this segment.
    pub(crate) first_number: u64,
    /// Checksum that the first batch's `chain` must show.
    pub(crate) chain: u32,
    /// First batch of the last complete checkpoint, 0 for none.
    pub(crate) checkpoint: Position,
    /// The complete checkpoint before that one, 0 for none.
    pub(crate) checkpoint_before: Position,
    pub(crate) segment_bytes: u64,
    /// Bytes that the file was made with: fewer than a segment's when the disk was full.
    pub(crate) file_bytes: u64,
}

/// What a place that should hold a segment header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Broken,
    UnknownVersion(u32),
}

impl SegmentHeader {
    pub(crate) fn salt(&self) -> Salt {
        Salt::new(self.store, self.generation)
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0u8; SEGMENT_HEADER];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[16..32].copy_from_slice(&self.store.0.to_le_bytes());
        let numbers = [
            self.index,
            self.generation,
            self.continues_from.0,
            self.first_number,
            u64::from(self.chain),
            self.checkpoint.0,
            self.checkpoint_before.0,
            self.segment_bytes,
            self.file_bytes,
        ];
        for (number, at) in numbers.iter().zip((32..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c_append(crc32c(&out[0..12]), &out[16..]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let bytes = bytes.get(..SEGMENT_HEADER).ok_or(HeaderFault::Broken)?;
        let checksum = crc32c_append(crc32c(&bytes[0..12]), &bytes[16..]);
        if bytes[0..8] != SEGMENT_MAGIC || u32_at(bytes, 12) != checksum {
            return Err(HeaderFault::Broken);
        }
        let version = u32_at(bytes, 8);
        if !is_known_version(version) {
            return Err(HeaderFault::UnknownVersion(version));
        }
        let low = u128::from(u64_at(bytes, 16));
        let high = u128::from(u64_at(bytes, 24));
        Ok(SegmentHeader {
            version,
            store: StoreId(high << 64 | low),
            index: u64_at(bytes, 32),
            generation: u64_at(bytes, 40),
            continues_from: Position(u64_at(bytes, 48)),
            first_number: u64_at(bytes, 56),
            chain: u64_at(bytes, 64) as u32,
            checkpoint: Position(u64_at(bytes, 72)),
            checkpoint_before: Position(u64_at(bytes, 80)),
            segment_bytes: u64_at(bytes, 88),
            file_bytes: u64_at(bytes, 96),
        })
    }
}

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Where this batch itself begins.
    pub(crate) position: Position,
    /// From 1, consecutive along the log.
    pub(crate) number: u64,
    /// All of the log before this position was durable when this batch was written.
    pub(crate) durable_end: Position,
    pub(crate) records: u32,
    /// Header checksum of the batch before.
    pub(crate) chain: u32,
    pub(crate) flags: u32,
}

/// An intact batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchView<'a> {
    pub(crate) header: BatchHeader,
    pub(crate) body: &'a [u8],
    /// What the next batch's `chain` must show.
    pub(crate) checksum: u32,
    /// Bytes that the batch takes.
    pub(crate) bytes: usize,
}

/// Completes a batch in place. `bytes` is the header's room followed by the body; padding and
/// trailer are added. Returns the header's checksum.
pub(crate) fn seal_batch(bytes: &mut Vec<u8>, header: &BatchHeader, salt: &Salt) -> u32 {
    let body_bytes = bytes.len() - BATCH_HEADER;
    let body_checksum = salt.checksum(&bytes[BATCH_HEADER..]);
    bytes.resize(batch_bytes(body_bytes) - TRAILER, 0);
    bytes.extend_from_slice(&salt.trailer().to_le_bytes());
    let out = &mut bytes[..BATCH_HEADER];
    out[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
    out[8..16].copy_from_slice(&salt.generation.to_le_bytes());
    out[16..24].copy_from_slice(&header.number.to_le_bytes());
    out[24..32].copy_from_slice(&header.durable_end.0.to_le_bytes());
    out[32..36].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    out[36..40].copy_from_slice(&header.records.to_le_bytes());
    out[40..44].copy_from_slice(&body_checksum.to_le_bytes());
    out[44..48].copy_from_slice(&header.chain.to_le_bytes());
    out[48..52].copy_from_slice(&header.flags.to_le_bytes());
    out[52..56].fill(0);
    out[56..64].copy_from_slice(&header.position.0.to_le_bytes());
    let checksum = salt.checksum(&out[8..]);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    checksum
}

/// The batch that begins at `bytes[0]`, which lies at `position`; none unless header, body and
/// trailer are intact. O(bytes of the batch).
pub(crate) fn read_batch<'a>(bytes: &'a [u8], position: Position, salt: &Salt) -> Option<BatchView<'a>> {
    let (header, body_bytes, body_checksum, checksum) = read_header(bytes, position, salt)?;
    let total = batch_bytes(body_bytes);
    let whole = bytes.get(..total)?;
    let body = &whole[BATCH_HEADER..BATCH_HEADER + body_bytes];
    #[cfg(feature = "mutants")]
    let body_checksum = crate::mutant::checksum(salt.checksum(body), body_checksum);
    let intact = salt.checksum(body) == body_checksum
        && whole[BATCH_HEADER + body_bytes..total - TRAILER].iter().all(|&byte| byte == 0)
        && u64_at(whole, total - TRAILER) == salt.trailer();
    intact.then_some(BatchView { header, body, checksum, bytes: total })
}

fn read_header(bytes: &[u8], position: Position, salt: &Salt) -> Option<(BatchHeader, usize, u32, u32)> {
    let head = bytes.get(..BATCH_HEADER)?;
    let checksum = u32_at(head, 4);
    let intact = u32_at(head, 0) == BATCH_MAGIC
        && u64_at(head, 8) == salt.generation
        && salt.checksum(&head[8..]) == checksum
        && u64_at(head, 56) == position.0;
    let header = BatchHeader {
        position,
        number: u64_at(head, 16),
        durable_end: Position(u64_at(head, 24)),
        records: u32_at(head, 36),
        chain: u32_at(head, 44),
        flags: u32_at(head, 48),
    };
    intact.then_some((header, u32_at(head, 32) as usize, u32_at(head, 40), checksum))
}

/// The generation that an intact-looking batch header at `bytes[0]` claims, for a segment whose
/// own header is lost.
pub(crate) fn claimed_generation(bytes: &[u8], position: Position, store: StoreId) -> Option<u64> {
    let generation = u64_at(bytes.get(..BATCH_HEADER)?, 8);
    read_header(bytes, position, &Salt::new(store, generation)).map(|_| generation)
}

/// What the head of a batch says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimedBody {
    pub(crate) bytes: usize,
    pub(crate) checksum: u32,
}

/// What the first [`BATCH_HEADER`] bytes of a damaged batch say of its body, right or not.
pub(crate) fn claimed_body(head: &[u8]) -> ClaimedBody {
    ClaimedBody { bytes: u32_at(head, 32) as usize, checksum: u32_at(head, 40) }
}

/// Bytes of the batch that begins at `bytes[0]`, as far as they are there: what its header says, if that
/// is intact or says no more than there is.
pub(crate) fn extent(bytes: &[u8], position: Position, salt: &Salt) -> usize {
    let Some(head) = bytes.get(..BATCH_HEADER) else {
        return bytes.len();
    };
    let claimed = batch_bytes(claimed_body(head).bytes);
    let is_intact = read_header(head, position, salt).is_some();
    if is_intact || claimed <= bytes.len() { claimed.min(bytes.len()) } else { BATCH_HEADER }
}

/// What lies in `bytes` (from a multiple of 8 on) that only a batch of this generation leaves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Offsets where a batch header may begin.
    pub(crate) headers: Vec<usize>,
    /// End of the last trace of any kind.
    pub(crate) end: Option<usize>,
}

/// Searches `bytes` for traces of batches, O(bytes). The magic number is none: a recycled segment
/// is full of it.
pub(crate) fn find_traces(bytes: &[u8], salt: &Salt) -> Traces {
    let mut traces = Traces::default();
    let trailer = salt.trailer();
    for (index, word) in bytes.chunks_exact(ALIGN).enumerate() {
        let word = u64_at(word, 0);
        let at = index * ALIGN;
        if word == salt.generation && at >= 8 {
            traces.headers.push(at - 8);
            traces.end = traces.end.max(Some((at + BATCH_HEADER - 8).min(bytes.len())));
        } else if word == trailer {
            traces.end = Some(at + TRAILER);
        }
    }
    traces
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0u8; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
