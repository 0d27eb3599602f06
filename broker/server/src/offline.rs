//! Looking at, and repairing, the store of a broker that does not run.
//!
//! The store knows bytes, batches and mailbox numbers, the core what they are for; here both are put
//! together, as JSON by the schemas of protocol/schemas. What a person sees of it is the CLI's.
//!
//! Invariants:
//! 1. [`check`] and [`dump`] change nothing. [`repair`] and [`restored`] do what [`plan`] and the
//!    caller's question announced.
//! 2. A running broker holds the lock on its store, and is named by its process.

mod dump;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fanal_core::told::{Named, tell};
use fanal_core::{Home, MailboxId};
use fanal_protocol::StoreId;
use fanal_store::{CheckedMailbox, Checkup, FileState, OpenError, Progress, Raised, Repaired};
use serde_json::{Value, json};
use thiserror::Error;

pub use dump::{Dumped, EventLine, Wanted, dump};

/// Folder of the store in a data directory.
pub(crate) const STORE: &str = "store";

/// Why a store could not be looked at or repaired.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// No broker has run here.
    #[error("there is no store in {}: name a broker's data directory with --data DIR", .0.display())]
    NoStore(PathBuf),
    /// The store refused, or the disk did.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// No mailbox has this name.
    #[error("no mailbox is named `{0}` in this log: `fanal store check` lists those that there are")]
    NoMailbox(String),
}

fn store_in(data: &Path) -> Result<PathBuf, OfflineError> {
    let path = data.join(STORE);
    if path.is_dir() { Ok(path) } else { Err(OfflineError::NoStore(data.to_path_buf())) }
}

/// Reads everything: the answer of `fanal store check --json`, and whether nothing is damaged.
/// `watch` is told how far it is.
///
/// # Errors
/// [`OfflineError`].
pub fn check(data: &Path, watch: &mut dyn FnMut(Progress)) -> Result<(Value, bool), OfflineError> {
    let checkup = fanal_store::check(&store_in(data)?, watch)?;
    let meaning = Meaning::of(&checkup);
    let is_clean = checkup.is_undamaged() && meaning.unreadable.is_none();
    Ok((checked(&checkup, &meaning, is_clean), is_clean))
}

/// What [`repair`] would do; changes nothing. The answer of `fanal store repair --json`.
///
/// # Errors
/// [`OfflineError`].
pub fn plan(data: &Path, watch: &mut dyn FnMut(Progress)) -> Result<(Value, bool), OfflineError> {
    let checkup = fanal_store::check(&store_in(data)?, watch)?;
    Ok((repair_json(&checkup, None), is_needed(&checkup)))
}

/// Makes a store that opens of what is there, where that is needed; raises the recovery epoch.
///
/// # Errors
/// [`OfflineError`]; the repair can be run again.
pub fn repair(data: &Path, watch: &mut dyn FnMut(Progress)) -> Result<Value, OfflineError> {
    let store = store_in(data)?;
    let checkup = fanal_store::check(&store, watch)?;
    if !is_needed(&checkup) {
        return Ok(repair_json(&checkup, None));
    }
    let repaired = fanal_store::repair(&store, seconds_now(), watch)?;
    Ok(repair_json(&repaired.before, Some(&repaired)))
}

/// The recovery epoch as it is, and as [`restored`] would raise it: the answer of
/// `fanal store repair --restored --json`.
///
/// # Errors
/// [`OfflineError`].
pub fn restored_plan(data: &Path, watch: &mut dyn FnMut(Progress)) -> Result<Value, OfflineError> {
    let checkup = fanal_store::check(&store_in(data)?, watch)?;
    let before = checkup.identity.map_or(0, |identity| identity.recovery_epoch);
    Ok(raised_json(Raised { before, after: seconds_now().max(before + 1) }, false))
}

/// Raises the recovery epoch of a store that was put back from a backup.
///
/// # Errors
/// [`OfflineError`]; the epoch is as it was, or raised where only the answer failed.
pub fn restored(data: &Path) -> Result<Value, OfflineError> {
    let raised = fanal_store::raise_epoch(&store_in(data)?, seconds_now())?;
    Ok(raised_json(raised, true))
}

/// A backup that is put back twice would get one epoch twice if it were only raised by one.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn raised_json(raised: Raised, is_done: bool) -> Value {
    json!({ "restored": { "done": is_done, "recovery_epoch": raised.after, "recovery_epoch_before": raised.before } })
}

/// An unproven tail alone is no damage, but a start would leave out what a repair keeps of it.
fn is_needed(checkup: &Checkup) -> bool {
    !checkup.is_undamaged() || checkup.mailboxes.iter().any(|mailbox| mailbox.salvaged > 0)
}

/// What the core makes of the state records.
struct Meaning {
    names: BTreeMap<u64, Named>,
    publishers: Option<usize>,
    /// Why a broker would not start on the state.
    unreadable: Option<String>,
}

impl Meaning {
    fn of(checkup: &Checkup) -> Meaning {
        let told = checkup.state.iter().filter_map(|record| tell(record)?.mailbox);
        let names = told.map(|named| (named.mailbox.0, named)).collect();
        let (store, epoch) = checkup.identity.map_or((StoreId([0; 16]), 0), |identity| {
            (StoreId(identity.store.0.to_be_bytes()), identity.recovery_epoch)
        });
        let tails = checkup.mailboxes.iter().map(|mailbox| (MailboxId(mailbox.id.0), mailbox.stats.next.0));
        match Home::recover(store, epoch, &checkup.state, tails) {
            Ok(home) => Meaning { names, publishers: Some(home.epochs()), unreadable: None },
            Err(error) => Meaning { names, publishers: None, unreadable: Some(error.to_string()) },
        }
    }
}

fn checked(checkup: &Checkup, meaning: &Meaning, is_clean: bool) -> Value {
    let identity = checkup.identity;
    let meta = checkup.meta.iter().map(|file| {
        let (state, reason) = file_state(&file.state);
        json!({ "file": shown(&file.path), "state": state, "reason": reason })
    });
    json!({
        "directory": shown(&checkup.root),
        "damaged": !is_clean,
        "starts": checkup.refusal.is_none() && meaning.unreadable.is_none(),
        "reason": checkup.refusal.as_ref().or(meaning.unreadable.as_ref()),
        "format": identity.map(|identity| identity.version),
        "store": identity.map(|identity| identity.store.to_string()),
        "recovery_epoch": identity.map(|identity| identity.recovery_epoch),
        "start": identity.map(|identity| identity.start_counter),
        "metadata": meta.collect::<Vec<_>>(),
        "segments": segments(checkup),
        "segment_bytes": identity.map(|identity| identity.segment_bytes),
        "log_bytes": checkup.segments.iter().map(|segment| segment.bytes).sum::<u64>(),
        "spares": checkup.spares.0,
        "spare_bytes": checkup.spares.1,
        "batches": checkup.counts.batches,
        "events": checkup.counts.events,
        "event_bytes": checkup.counts.event_bytes,
        "checkpoints": checkup.counts.checkpoints,
        "state_records": checkup.state.len(),
        "state_complete": checkup.is_complete,
        "publishers": meaning.publishers,
        "mailboxes": mailboxes(checkup, meaning),
        "entries_misfit": checkup.entries_misfit,
        "events_without_destination": checkup.events_unresolved,
        "damage": damage(checkup),
        "missing_segments": missing(checkup),
        "unproven": unproven(checkup),
        "backups": checkup.backups.iter().map(|path| shown(path)).collect::<Vec<_>>(),
        "quarantine": checkup.quarantined.iter().map(|path| shown(path)).collect::<Vec<_>>(),
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A word for programs, and why.
fn file_state(state: &FileState) -> (&'static str, Option<&str>) {
    match state {
        FileState::Intact => ("intact", None),
        FileState::HeaderPatched => {
            ("header_patched", Some("one copy of its header is damaged, the other serves"))
        }
        FileState::HeaderInferred => {
            ("header_inferred", Some("its header is damaged and was made out from its first batch"))
        }
        FileState::Short => ("short", Some("it is shorter than it was made")),
        FileState::Damaged(why) => ("unusable", Some(why)),
        FileState::Missing => ("missing", None),
    }
}

fn segments(checkup: &Checkup) -> Vec<Value> {
    let row = |segment: &fanal_store::CheckedSegment| {
        let (state, reason) = file_state(&segment.state);
        json!({
            "file": shown(&segment.path),
            "state": state,
            "reason": reason,
            "format": segment.version,
            "bytes": segment.bytes,
            "batches": segment.batches,
            "events": segment.events,
            "queued_entries": segment.live_entries,
        })
    };
    checkup.segments.iter().map(row).collect()
}

fn mailboxes(checkup: &Checkup, meaning: &Meaning) -> Vec<Value> {
    let row = |mailbox: &CheckedMailbox| {
        let named = meaning.names.get(&mailbox.id.0);
        json!({
            "id": mailbox.id.0,
            "kind": named.map(|named| named.kind),
            "name": named.map(|named| named.name.clone()),
            "principal": named.and_then(|named| named.principal.as_ref()).map(ToString::to_string),
            "queued_events": mailbox.stats.events,
            "queued_bytes": mailbox.stats.bytes,
            "first_sequence": mailbox.stats.first.0,
            "next_sequence": mailbox.stats.next.0,
            "unreadable_events": mailbox.unreadable,
            "lost_events_max": mailbox.missing_max,
            "salvaged_events": mailbox.salvaged,
        })
    };
    checkup.mailboxes.iter().map(row).collect()
}

fn damage(checkup: &Checkup) -> Vec<Value> {
    let row = |region: &fanal_store::CheckedDamage| {
        json!({
            "file": shown(&region.path),
            "offset": region.offset,
            "bytes": region.bytes,
            "batches": region.batches,
            "is_known": region.is_known,
        })
    };
    checkup.damaged.iter().map(row).collect()
}

fn missing(checkup: &Checkup) -> Vec<Value> {
    let row = |(path, entries): &(PathBuf, u64)| json!({ "file": shown(path), "queued_entries": entries });
    checkup.missing_segments.iter().map(row).collect()
}

fn unproven(checkup: &Checkup) -> Option<Value> {
    let tail = checkup.unproven.as_ref()?;
    Some(json!({ "file": shown(&tail.path), "offset": tail.offset, "bytes": tail.bytes }))
}

/// What a repair keeps and loses, or kept and lost.
fn repair_json(checkup: &Checkup, repaired: Option<&Repaired>) -> Value {
    let meaning = Meaning::of(checkup);
    let sum = |of: fn(&CheckedMailbox) -> u64| checkup.mailboxes.iter().map(of).sum::<u64>();
    let queued = sum(|mailbox| mailbox.stats.events);
    let unreadable = sum(|mailbox| mailbox.unreadable);
    let moved = repaired.map(|repaired| repaired.moved.iter());
    let moved = moved.map(|moved| moved.map(|(from, to)| json!({ "from": shown(from), "to": shown(to) })));
    let to_move = checkup.segments.iter().filter(|segment| matches!(segment.state, FileState::Damaged(_)));
    let to_move = to_move.map(|segment| json!({ "from": shown(&segment.path), "to": null }));
    json!({
        "directory": shown(&checkup.root),
        "needed": is_needed(checkup),
        "done": repaired.is_some(),
        "starts": checkup.refusal.is_none(),
        "reason": checkup.refusal,
        "state_complete": checkup.is_complete,
        "kept_events": queued - unreadable,
        "salvaged_events": sum(|mailbox| mailbox.salvaged),
        "lost_events": unreadable,
        "lost_events_max": sum(|mailbox| mailbox.missing_max) + unreadable,
        "mailboxes": mailboxes(checkup, &meaning),
        "moved": moved.map_or_else(|| to_move.collect::<Vec<_>>(), Iterator::collect),
        "copied": repaired.map_or_else(Vec::new, |repaired| repaired.copied.iter().map(|path| shown(path)).collect()),
        "backup": repaired.and_then(|repaired| repaired.backup.as_ref()).map(|path| shown(path)),
        "recovery_epoch_before": checkup.identity.map(|identity| identity.recovery_epoch),
        "recovery_epoch": repaired.map(|repaired| repaired.recovery_epoch),
    })
}
