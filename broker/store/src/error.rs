//! One error type per operation; each message says what, where and what to do.
//!
//! `Full`, `BatchTooLarge` and `Invalid` leave the store as it was; `Stopped` is for good.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::id::{MailboxId, MailboxSequence, Position};

/// Why a store could not be opened. Nothing was deleted or overwritten.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another part of this one) holds the lock.
    #[error("the store in {} is in use by process {pid}; stop that process first, or use another directory", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, 0 when it has not said.
        pid: u32,
    },
    /// The store was written in a format that this program does not know.
    #[error("{} has format version {version}, this program knows {known}; use the program that wrote it, or a newer one", path.display())]
    UnknownFormat {
        /// The file that says so.
        path: PathBuf,
        /// The version found.
        version: u32,
        /// The version that this program writes.
        known: u32,
    },
    /// The directory holds segments but no metadata, so that it is not known whose they are.
    #[error("{} holds {segments} segments but no metadata (meta.a, meta.b): nothing was changed; restore the metadata from a backup, or choose another directory", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// How many segment files lie there.
        segments: usize,
    },
    /// What is there cannot be read as a store without losing what was acked.
    #[error("{} is damaged: {what}; nothing was changed; restore it from a backup or repair the store", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The disk does not give what is needed, which is no damage yet: it may another time.
    #[error("cannot read {}: {source}; nothing was changed; check the disk and start again; if the disk stays so, `fanal store repair` keeps what it gives", path.display())]
    Unread {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot {operation} {}: {source}; check the disk and the permissions", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Why a batch was not committed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// No segment can be made (507). Nothing was written, the store lives, and later commits
    /// succeed once there is space; acks, removals and state go on in the reserve.
    #[error("the store in {} is full: no further segment of {needed_bytes} bytes can be made ({reason}); make space, or let subscribers drain it", path.display())]
    Full {
        /// The store's directory.
        path: PathBuf,
        /// Size of the segment that could not be made.
        needed_bytes: u64,
        /// What stood in the way.
        reason: String,
    },
    /// The batch is larger than a segment can hold. Nothing was written.
    #[error("a batch of {got} bytes exceeds what a segment holds ({limit} bytes); commit it in parts")]
    BatchTooLarge {
        /// Bytes of the batch.
        got: u64,
        /// Bytes that fit.
        limit: u64,
    },
    /// The batch contradicts the mailboxes as they are. Nothing was written.
    #[error("the batch was refused: {0}")]
    Invalid(#[from] InvalidBatch),
    /// A write or flush failed: the store takes nothing more until it is opened again.
    #[error("the store has stopped: {cause}; check the disk, then start again")]
    Stopped {
        /// The first failure.
        cause: Arc<StopCause>,
    },
}

/// A mistake of the caller's, found before anything was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    /// An entry names a mailbox that is not there.
    #[error("an entry names mailbox {0}, which does not exist")]
    UnknownMailbox(MailboxId),
    /// A mailbox is created twice.
    #[error("mailbox {0} exists already")]
    MailboxExists(MailboxId),
    /// An entry's sequence is not above the mailbox's last.
    #[error("mailbox {mailbox} is at {next}, an entry has sequence {got}")]
    SequenceNotRising {
        /// The mailbox.
        mailbox: MailboxId,
        /// The lowest sequence that it takes.
        next: MailboxSequence,
        /// The sequence in the batch.
        got: MailboxSequence,
    },
}

/// The failure that stopped a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct StopCause {
    /// The file.
    pub path: PathBuf,
    /// What was tried.
    pub operation: &'static str,
    /// What the file system said.
    pub source: io::Error,
}

/// Why an event could not be read. The store is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment was reclaimed: no mailbox has an entry there any more. The event may have been
    /// moved ([`crate::Reader::read_entry`]).
    #[error("position {0} is gone: its segment was reclaimed")]
    Gone(Position),
    /// Its segment was not there, or not to be used, when the store was opened, and entries point into
    /// it: what lay there is lost.
    #[error("the event at offset {offset} of {} is lost: the file is missing or cannot be used; put it back and start again, or `fanal store repair` takes its entries out", path.display())]
    Lost {
        /// The segment.
        path: PathBuf,
        /// Offset in it.
        offset: u64,
    },
    /// What lies there does not match its checksum, or is no event.
    #[error("the event at offset {offset} of {} is damaged", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Offset in it.
        offset: u64,
    },
    /// The file system refused.
    #[error("cannot read {} at offset {offset}: {source}", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// Offset in it.
        offset: u64,
        /// What it said.
        source: io::Error,
    },
}

impl ReadError {
    /// Which file the disk did not give, and what it said; `else_path` where no read was refused.
    pub(crate) fn into_refusal(self, else_path: PathBuf) -> (PathBuf, io::Error) {
        match self {
            ReadError::Io { path, source, .. } => (path, source),
            other => (else_path, io::Error::other(other)),
        }
    }
}
