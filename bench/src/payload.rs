//! What is in a payload: who sent it, its number, when it was due, and whether it is measured.
//!
//! 16 bytes, little endian: publisher (2), number from 1 (6), microseconds since the run began with
//! the highest bit for "measured" (8); zeros up to the size.

use bytes::Bytes;

/// Smallest payload.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 16;

const NUMBER_BITS: u32 = 48;
const MEASURED: u64 = 1 << 63;

/// The head of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// From 0.
    pub(crate) publisher: u16,
    /// From 1, below 2^48.
    pub(crate) number: u64,
    /// Since the run began.
    pub(crate) due_us: u64,
    /// Not of the warm-up.
    pub(crate) is_measured: bool,
}

impl Stamp {
    /// As a payload of `size` bytes, at least [`PAYLOAD_BYTES_MIN`].
    pub(crate) fn payload(self, size: usize) -> Bytes {
        let mut bytes = vec![0; size.max(PAYLOAD_BYTES_MIN)];
        let who = u64::from(self.publisher) << NUMBER_BITS | self.number;
        let when = if self.is_measured { self.due_us | MEASURED } else { self.due_us };
        bytes[..8].copy_from_slice(&who.to_le_bytes());
        bytes[8..16].copy_from_slice(&when.to_le_bytes());
        bytes.into()
    }

    /// Of a payload; `None` if it is too short.
    pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
        let word = |at: usize| payload.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let (who, when) = (word(0)?, word(8)?);
        Some(Stamp {
            publisher: u16::try_from(who >> NUMBER_BITS).ok()?,
            number: who & ((1 << NUMBER_BITS) - 1),
            due_us: when & !MEASURED,
            is_measured: when & MEASURED != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (publisher, number, is_measured) in [(0, 1, false), (u16::MAX, (1 << 48) - 1, true)] {
            let stamp = Stamp { publisher, number, due_us: 1 << 40, is_measured };
            for size in [0, 16, 1000] {
                let payload = stamp.payload(size);
                assert_eq!(payload.len(), size.max(16));
                assert_eq!(Stamp::read(&payload), Some(stamp));
            }
        }
        assert_eq!(Stamp::read(&[0; 15]), None);
    }
}
