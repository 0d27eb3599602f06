//! The durable log of Fanal: segments, group commit, checkpoints, recovery.
//!
//! One append makes events, their mailbox entries, acks and opaque state records durable together.
//! One thread writes ([`Store::commit`]); any number read ([`Reader`]).
//!
//! Invariants, for the whole crate:
//! 1. When [`Store::commit`] returns `Ok`, all of the batch is on the disk; after a crash a batch
//!    is there whole or not at all, and at most the one batch in flight is in doubt.
//! 2. No reader sees an entry before its flush.
//! 3. An error of a write or a flush into an allocated segment stops the store until it is opened
//!    again; nothing is retried as though it had not happened.
//! 4. Missing or damaged metadata never authorises deletion: the open is refused instead.
//! 5. A segment is reclaimed only when no mailbox has a live entry in it and both of the last two
//!    checkpoints are younger.
//! 6. Sectors are assumed to be atomic (a write leaves each one old or new), nothing larger is.
//!
//! How the pieces lie: `format` (bytes of segments and batches) and `record` (what is in a batch)
//! know no IO; `disk` is the seam to the file system; `scan` reads a log back, `recovery` decides
//! what it means; `ledger` and `index` hold what is live; `keeper` makes and recycles segments;
//! `store` is the writer. What a mailbox is for, topics, limits and sessions are not here.

mod batch;
mod census;
mod check;
mod checkpoint;
mod disk;
mod dump;
mod error;
mod findings;
mod format;
mod id;
mod index;
mod install;
mod keeper;
mod ledger;
mod log;
mod mailbox;
mod meta;
mod mover;
#[cfg(feature = "mutants")]
pub mod mutant;
mod open;
mod options;
mod page;
mod pager;
mod patient;
#[cfg(any(test, feature = "simulation"))]
pub mod probe;
mod quarantine;
mod reader;
mod record;
mod recovery;
mod repair;
mod report;
mod runs;
mod salvage;
mod scan;
mod segments;
mod sets;
#[cfg(any(test, feature = "simulation"))]
pub mod simulated;
mod slots;
mod store;
mod survey;
#[cfg(test)]
mod tests;
mod upgrade;
mod varint;

pub use batch::Batch;
pub use check::{
    CheckedDamage, CheckedFile, CheckedMailbox, CheckedSegment, Checkup, FileState, Identity, check, check_on,
};
pub use disk::{Disk, File, LockRefused, RealDisk};
pub use dump::{Dumped, See, dump, dump_on};
pub use error::{CommitError, InvalidBatch, OpenError, ReadError, StopCause};
pub use id::{EventIndex, MailboxId, MailboxSequence, Position, RemovalIndex, StoreId};
pub use mailbox::MailboxStats;
pub use options::{Housekeeping, Options};
pub use reader::Reader;
pub use recovery::Recovery;
pub use repair::{Raised, Repaired, raise_epoch, raise_epoch_on, repair, repair_on};
pub use report::{DamagedRegion, RecoveryReport, UnprovenTail};
pub use store::{Committed, Stats, Store};
pub use survey::{Counts, Progress, Watch};
pub use upgrade::Upgrade;
