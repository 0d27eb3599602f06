//! What several fuzz targets share: the bytes of an input as choices, and streams as frames.
//!
//! A target takes any bytes. It fails by a panic, and libFuzzer keeps the input that led there.

use bytes::BytesMut;
use fanal_protocol::frame;

pub mod filters;

/// The bytes of an input, taken from the front; zeros after the last.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// Whether bytes are left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next `count` bytes as a number, of at most eight.
    pub fn number(&mut self, count: usize) -> u64 {
        (0..count).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// A number that is often near one of the ends of its range.
    pub fn edgy(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0x7f => u64::from(small),
            0x80..=0x8f => u64::MAX - u64::from(self.byte()),
            _ => self.number(8),
        }
    }
}

/// Calls `each` with every whole frame of a stream, as a receiver finds them that gets the bytes
/// in two pieces, until it returns `false` or a length is over the limit.
pub fn each_frame(stream: &[u8], limit: usize, mut each: impl FnMut(&[u8]) -> bool) {
    let mut buffer = BytesMut::new();
    let (first, second) = stream.split_at(stream.len() / 2);
    for piece in [first, second] {
        buffer.extend_from_slice(piece);
        while let Ok(Some(block)) = frame::take_whole(&mut buffer, limit) {
            let ranges: Vec<_> = frame::frames(&block).collect();
            assert_eq!(ranges.last().map(|last| last.end), Some(block.len()), "frames fill their block");
            for range in ranges {
                assert!(range.len() <= limit);
                if !each(&block[range]) {
                    return;
                }
            }
        }
    }
}

/// The frame in what an encoder wrote, without its length.
pub fn only_frame(bytes: &[u8]) -> &[u8] {
    let mut frames = frame::frames(bytes);
    let range = frames.next().expect("a frame was written");
    assert!(frames.next().is_none() && range.end == bytes.len(), "one frame was written");
    &bytes[range]
}
