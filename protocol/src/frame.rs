//! Frames: a length, then that many bytes of MessagePack (PROTOCOL.md 3.1).
//!
//! The length is a variable-length integer as in RFC 9000 section 16, so that a small
//! frame pays one byte. Invariant: the bytes given out are whole frames, in order; a
//! length above the limit is an error before a byte of the frame is waited for.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::error::WireError;

/// Longest length prefix, in bytes.
pub const PREFIX_BYTES_MAX: usize = 8;

/// Reads a length prefix: (length of the frame, bytes of the prefix). `None`: more bytes are needed.
pub fn read_prefix(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let size = 1usize << (first >> 6);
    let prefix = bytes.get(..size)?;
    let head = u64::from(prefix[0] & 0x3f);
    Some((prefix[1..].iter().fold(head, |acc, &byte| acc << 8 | u64::from(byte)), size))
}

/// Appends a length prefix in its shortest form. Lengths above 2^30 - 1 do not occur:
/// every limit of the protocol is far below.
pub fn put_prefix(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&(len as u16 | 0x4000).to_be_bytes()),
        _ => out.extend_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes()),
    }
}

/// Takes all whole frames off the front of `buffer`, as one block for [`frames`].
///
/// `None`: not one frame is whole yet; then the buffer holds fewer than
/// `limit + PREFIX_BYTES_MAX` bytes. Cost: O(frames), nothing is copied.
///
/// # Errors
/// [`WireError::FrameTooLarge`] when a prefix announces more than `limit`; frames before
/// it stay in the buffer.
pub fn take_whole(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, WireError> {
    let mut end = 0;
    while let Some((len, prefix)) = read_prefix(&buffer[end..]) {
        if len > limit as u64 {
            if end > 0 {
                break; // the whole frames first; the error comes at the next call
            }
            return Err(WireError::FrameTooLarge { got: len, limit });
        }
        let next = end + prefix + len as usize;
        if next > buffer.len() {
            break;
        }
        end = next;
    }
    Ok((end > 0).then(|| buffer.split_to(end).freeze()))
}

/// The ranges of the frames (without prefix) in a block of whole frames.
pub fn frames(block: &[u8]) -> Frames<'_> {
    Frames { block, at: 0 }
}

/// Iterator of [`frames`].
pub struct Frames<'a> {
    block: &'a [u8],
    at: usize,
}

impl Iterator for Frames<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let (len, prefix) = read_prefix(self.block.get(self.at..)?)?;
        let start = self.at + prefix;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        if end > self.block.len() {
            return None;
        }
        self.at = end;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_whole_frames_only() {
        let mut bytes = Vec::new();
        for len in [0usize, 1, 63, 64, 300, 16_383, 16_384, 70_000] {
            put_prefix(&mut bytes, len);
            bytes.extend(std::iter::repeat_n(len as u8, len));
        }
        for cut in [0, 1, 2, 66, 67, 500, bytes.len() - 1, bytes.len()] {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            let block = take_whole(&mut buffer, 100_000).unwrap().unwrap_or_default();
            let count = frames(&block).count();
            assert_eq!(block.len() + buffer.len(), cut);
            buffer.extend_from_slice(&bytes[cut..]);
            let rest = take_whole(&mut buffer, 100_000).unwrap().unwrap_or_default();
            assert_eq!(count + frames(&rest).count(), 8, "cut at {cut}");
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_arrives_and_after_its_predecessors() {
        let mut bytes = Vec::new();
        put_prefix(&mut bytes, 2);
        bytes.extend_from_slice(&[9, 9]);
        put_prefix(&mut bytes, 5000);
        let mut buffer = BytesMut::from(&bytes[..]);
        let block = take_whole(&mut buffer, 4096).unwrap().unwrap();
        assert_eq!(frames(&block).count(), 1);
        let error = take_whole(&mut buffer, 4096).unwrap_err();
        assert_eq!(error, WireError::FrameTooLarge { got: 5000, limit: 4096 });
    }
}
