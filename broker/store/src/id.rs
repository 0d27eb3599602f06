//! The numbers that the store deals in, each a type of its own.

use std::fmt;

/// Identity of a store, given by the caller when it is created and kept for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub u128);

/// Where a record lies in the log: `segment index × segment size + offset`, so that both follow by
/// arithmetic. Positions rise along the log; 0 is never a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

impl Position {
    pub(crate) fn new(segment: u64, offset: u64, segment_bytes: u64) -> Position {
        Position(segment * segment_bytes + offset)
    }

    pub(crate) fn segment(self, segment_bytes: u64) -> u64 {
        self.0 / segment_bytes
    }

    pub(crate) fn offset(self, segment_bytes: u64) -> u64 {
        self.0 % segment_bytes
    }
}

/// A mailbox; assigned by the caller, never used again once removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId(pub u64);

/// Number of an entry within its mailbox: from 1, assigned by the caller, strictly rising.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxSequence(pub u64);

/// Which event of a batch, from 0 in the order of [`crate::Batch::event`] calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventIndex(pub u32);

/// Which removal of a batch, from 0 in the order of the calls of [`crate::Batch::acked`],
/// [`crate::Batch::remove_mailbox`] and [`crate::Batch::transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemovalIndex(pub u32);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for MailboxSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
