//! What lies in a store's directory, and in what state: for an operator, on a stopped broker.
//!
//! Everything is read, each batch and each record; nothing is changed, not even the start counter.
//! What state records and mailboxes are for is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::findings::take_lock;
use crate::id::{MailboxId, MailboxSequence, Position, StoreId};
use crate::index::locked;
use crate::keeper::spare_number;
use crate::mailbox::MailboxStats;
use crate::meta::{META_NAMES, MetaCopy};
use crate::open::look;
use crate::options::Options;
use crate::page::Page;
use crate::reader::Reader;
use crate::report::UnprovenTail;
use crate::segments::{segment_index, segment_name};
use crate::survey::{Counts, Survey, Watch, survey};
use crate::upgrade::backups;

/// Entries of a mailbox that are looked at in one go.
const ENTRIES_AT_ONCE: usize = 4096;
/// Where damaged bytes are copied.
const QUARANTINE: &str = "quarantine";

/// State of a copy of the metadata, or of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// As it was written.
    Intact,
    /// One of two copies of a segment's header is damaged, the other serves.
    HeaderPatched,
    /// The header is damaged; what it says was made out from the first batch.
    HeaderInferred,
    /// Shorter than it was made.
    Short,
    /// Of no use as it is; why.
    Damaged(String),
    /// Not there.
    Missing,
}

/// A file and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedFile {
    /// The file.
    pub path: PathBuf,
    /// Its state.
    pub state: FileState,
}

/// A segment as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedSegment {
    /// The file.
    pub path: PathBuf,
    /// Its state; damage to what it holds is told elsewhere.
    pub state: FileState,
    /// Its format version, none where its header cannot be read.
    pub version: Option<u32>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Intact batches.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// Entries of mailboxes that point into it.
    pub live_entries: u64,
}

/// Bytes in the flushed part of the log that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedDamage {
    /// The segment.
    pub path: PathBuf,
    /// Offset in it.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Batches lost, 0 when that cannot be told.
    pub batches: u64,
    /// A start has reported it already.
    pub is_known: bool,
}

/// A mailbox as the log gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedMailbox {
    /// Which one.
    pub id: MailboxId,
    /// What it holds, events of damaged batches that a repair would keep included.
    pub stats: MailboxStats,
    /// Entries whose event cannot be read: a broker passes over them and says so, a repair takes them
    /// out.
    pub unreadable: u64,
    /// Of the entries, those that lie in damaged batches and can be read all the same: a start leaves
    /// them out, a repair keeps them.
    pub salvaged: u64,
    /// Entries of which damage has left nothing: at most so many. 0 where nothing tells.
    pub missing_max: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Checkup {
    /// The directory.
    pub root: PathBuf,
    /// Format version, store, segment size, recovery epoch and start counter by the metadata.
    pub identity: Option<Identity>,
    /// Both copies of the metadata.
    pub meta: Vec<CheckedFile>,
    /// All segments, ascending.
    pub segments: Vec<CheckedSegment>,
    /// Segments that entries point into and that are not there, and how many entries do.
    pub missing_segments: Vec<(PathBuf, u64)>,
    /// Segments kept ready, and their bytes.
    pub spares: (u64, u64),
    /// What the intact batches hold.
    pub counts: Counts,
    /// All mailboxes, ascending.
    pub mailboxes: Vec<CheckedMailbox>,
    /// The state records that count.
    pub state: Vec<Vec<u8>>,
    /// The state begins at a complete checkpoint or at the start of the log.
    pub is_complete: bool,
    /// What cannot be read of what was flushed.
    pub damaged: Vec<CheckedDamage>,
    /// What lies beyond the last intact batch.
    pub unproven: Option<UnprovenTail>,
    /// Entries that did not fit their mailbox (only damage brings that about).
    pub entries_misfit: u64,
    /// Events whose destinations stood in batches that are all damaged.
    pub events_unresolved: u64,
    /// Why a broker would not start on it; none where it would.
    pub refusal: Option<String>,
    /// Backups of upgrades.
    pub backups: Vec<PathBuf>,
    /// Files in the quarantine.
    pub quarantined: Vec<PathBuf>,
}

/// What the metadata say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Format version of the directory.
    pub version: u32,
    /// The store.
    pub store: StoreId,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// See [`crate::Store::recovery_epoch`].
    pub recovery_epoch: u64,
    /// See [`crate::Store::start_counter`].
    pub start_counter: u64,
}

impl Checkup {
    /// True when everything that was ever flushed is there. An unproven tail is no damage: a crash
    /// leaves one.
    pub fn is_undamaged(&self) -> bool {
        let intact = |state: &FileState| *state == FileState::Intact;
        self.refusal.is_none()
            && self.damaged.is_empty()
            && self.missing_segments.is_empty()
            && self.entries_misfit == 0
            && self.events_unresolved == 0
            && self.meta.iter().all(|file| intact(&file.state))
            && self.segments.iter().all(|segment| intact(&segment.state))
            && self.mailboxes.iter().all(|mailbox| mailbox.unreadable == 0)
    }
}

/// Checks the store in `dir`.
///
/// # Errors
/// [`OpenError::InUse`] while a broker runs on it; a format that this program does not know; a
/// directory that cannot be read.
pub fn check(dir: &Path, watch: Watch<'_>) -> Result<Checkup, OpenError> {
    check_on(Arc::new(RealDisk::read_only(dir)), watch)
}

/// As [`check`], on any disk.
///
/// # Errors
/// As [`check`].
pub fn check_on(disk: Arc<dyn Disk>, watch: Watch<'_>) -> Result<Checkup, OpenError> {
    let _lock = take_lock(&*disk)?;
    let read = survey(&disk, watch)?;
    assemble(&disk, &read)
}

/// What a survey found, for people.
pub(crate) fn assemble(disk: &Arc<dyn Disk>, read: &Survey) -> Result<Checkup, OpenError> {
    let root = disk.root().to_path_buf();
    let ledger = &read.reading.replay.ledger;
    let there = |index: u64| read.segments.listing.segments.iter().any(|(segment, _)| *segment == index);
    let missing_segments = ledger.census.all().filter(|(index, live)| live.entries > 0 && !there(*index));
    let spares = read.segments.listing.names.iter().filter(|name| spare_number(name).is_some());
    let spare_bytes = |name: &String| disk.open(name).and_then(|file| file.len()).unwrap_or(0);
    let quarantined = disk.list(QUARANTINE).unwrap_or_default();
    Ok(Checkup {
        identity: read.segments.meta().map(|meta| Identity {
            version: meta.version,
            store: meta.store,
            segment_bytes: meta.segment_bytes,
            recovery_epoch: meta.recovery_epoch,
            start_counter: meta.start_counter,
        }),
        meta: meta_states(disk, read),
        segments: segments(disk, read),
        missing_segments: missing_segments
            .map(|(index, live)| (root.join(segment_name(index)), live.entries))
            .collect(),
        spares: (spares.clone().count() as u64, spares.map(spare_bytes).sum()),
        counts: read.reading.counts,
        mailboxes: mailboxes(read),
        state: read.reading.replay.state.clone(),
        is_complete: is_complete(read),
        damaged: damaged(disk, read),
        unproven: read.walk.unproven.map(|tail| UnprovenTail {
            path: root.join(segment_name(tail.segment)),
            offset: tail.from,
            bytes: tail.to - tail.from,
            copied_to: None,
        }),
        entries_misfit: ledger.misfits,
        events_unresolved: ledger.unresolved,
        refusal: refusal(disk, read),
        backups: backups(&**disk)?.into_iter().map(|folder| root.join(folder)).collect(),
        quarantined: quarantined.into_iter().map(|name| root.join(QUARANTINE).join(name)).collect(),
        root,
    })
}

/// What a start would say, by the code of the start itself.
fn refusal(disk: &Arc<dyn Disk>, read: &Survey) -> Option<String> {
    if read.segments.listing.names.is_empty() {
        return Some(format!("{} holds no store", disk.root().display()));
    }
    look(&**disk, &Options::default(), StoreId(0)).err().map(|error| error.to_string())
}

fn is_complete(read: &Survey) -> bool {
    let begins = read.segments.files.first().is_some_and(|file| file.header.first_number == 1);
    read.reading.replay.is_based || begins
}

fn meta_states(disk: &Arc<dyn Disk>, read: &Survey) -> Vec<CheckedFile> {
    let state = |copy: &MetaCopy| match copy {
        MetaCopy::Intact(_) => FileState::Intact,
        MetaCopy::Damaged => FileState::Damaged("its checksum is wrong".into()),
        MetaCopy::UnknownVersion(version) => {
            FileState::Damaged(format!("it says format version {version}, which this program does not know"))
        }
        MetaCopy::Missing => FileState::Missing,
    };
    let copies = META_NAMES.iter().zip(&read.segments.copies);
    copies.map(|(name, copy)| CheckedFile { path: disk.root().join(name), state: state(copy) }).collect()
}

fn segments(disk: &Arc<dyn Disk>, read: &Survey) -> Vec<CheckedSegment> {
    let last = read.segments.files.last().map(|file| file.header.index);
    let ledger = &read.reading.replay.ledger;
    let usable = read.segments.files.iter().map(|file| {
        let index = file.header.index;
        let counts = read.reading.segments.get(&index).copied().unwrap_or_default();
        let state = match (file.is_inferred, file.is_patched) {
            (true, _) => FileState::HeaderInferred,
            (false, true) => FileState::HeaderPatched,
            _ if last == Some(index) && file.bytes < file.header.file_bytes => FileState::Short,
            _ => FileState::Intact,
        };
        CheckedSegment {
            path: disk.root().join(&file.name),
            state,
            version: (!file.is_inferred).then_some(file.header.version),
            bytes: file.bytes,
            batches: counts.batches,
            events: counts.events,
            live_entries: ledger.census.of(index).entries,
        }
    });
    let unusable = read.segments.unusable.iter().map(|file| CheckedSegment {
        path: disk.root().join(&file.name),
        state: FileState::Damaged(file.why.clone()),
        version: None,
        bytes: file.bytes,
        batches: 0,
        events: 0,
        live_entries: segment_index(&file.name).map_or(0, |index| ledger.census.of(index).entries),
    });
    let mut all: Vec<CheckedSegment> = usable.chain(unusable).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn damaged(disk: &Arc<dyn Disk>, read: &Survey) -> Vec<CheckedDamage> {
    let replay = &read.reading.replay;
    let segment_bytes = read.segments.identity.map_or(1, |(_, bytes)| bytes);
    let of_walk = read.walk.damage.iter().map(|damage| {
        let at = |offset| Position::new(damage.segment, offset, segment_bytes);
        let is_known = replay.known_damage.contains(&(at(damage.from), at(damage.to)));
        let bytes = damage.to - damage.from;
        (damage.segment, damage.from, bytes, damage.batches, is_known)
    });
    let unknown = read.reading.unknown.iter().map(|(position, bytes)| {
        (position.segment(segment_bytes), position.offset(segment_bytes), *bytes, 1, false)
    });
    let told = of_walk.chain(unknown).map(|(segment, offset, bytes, batches, is_known)| CheckedDamage {
        path: disk.root().join(segment_name(segment)),
        offset,
        bytes,
        batches,
        is_known,
    });
    told.collect()
}

/// The damaged regions as positions, ascending, and where each segment that can be read ends.
struct Holes {
    regions: Vec<(Position, Position)>,
    ends: BTreeMap<u64, Position>,
    segment_bytes: u64,
}

impl Holes {
    fn of(read: &Survey) -> Holes {
        let segment_bytes = read.segments.identity.map_or(1, |(_, bytes)| bytes);
        let at = |segment, offset| Position::new(segment, offset, segment_bytes);
        let damage = read.walk.damage.iter();
        let mut regions: Vec<_> =
            damage.map(|region| (at(region.segment, region.from), at(region.segment, region.to))).collect();
        regions.sort_unstable();
        let ends = read.reading.segments.iter().map(|(index, counts)| (*index, counts.end)).collect();
        Holes { regions, ends, segment_bytes }
    }

    /// Whether only a look at the event itself can tell if it can be read.
    fn is_doubtful(&self, position: Position) -> bool {
        let before = self.regions.partition_point(|(from, _)| *from <= position);
        let hit = self.regions[..before].last().is_some_and(|(_, to)| position < *to);
        hit || self.ends.get(&position.segment(self.segment_bytes)).is_none_or(|end| position >= *end)
    }
}

fn mailboxes(read: &Survey) -> Vec<CheckedMailbox> {
    let reader = reader(read);
    let holes = Holes::of(read);
    let salvage = &read.reading.salvage;
    let checked = |(id, stats)| CheckedMailbox {
        id,
        stats,
        unreadable: unreadable(&reader, &holes, id).len() as u64,
        salvaged: salvage.taken.get(&id).copied().unwrap_or(0),
        missing_max: salvage.missing_max(id),
    };
    reader.mailboxes().into_iter().map(checked).collect()
}

fn unreadable(reader: &Reader, holes: &Holes, id: MailboxId) -> Vec<MailboxSequence> {
    let mut found = Vec::new();
    let mut from = MailboxSequence(0);
    loop {
        let entries = reader.entries(id, from, ENTRIES_AT_ONCE);
        let Some((last, _)) = entries.last() else { return found };
        from = MailboxSequence(last.0 + 1);
        let doubtful = entries.into_iter().filter(|(_, position)| holes.is_doubtful(*position));
        let lost = doubtful.filter(|(_, position)| reader.read(*position).is_err());
        found.extend(lost.map(|(sequence, _)| sequence));
    }
}

/// Whether the mailbox has a page of which no copy can be read.
fn has_lost_page(read: &Survey, holes: &Holes, id: MailboxId) -> bool {
    let ledger = &read.reading.replay.ledger;
    let pages = ledger.index.get(id).map(|mailbox| locked(&mailbox).pages(0, u64::MAX, true));
    let is_doubtful = |page: &&Page| page.places().all(|copy| holes.is_doubtful(copy));
    let pages = pages.unwrap_or_default();
    pages.iter().filter(is_doubtful).any(|page| ledger.log().page(id, page).is_err())
}

/// Takes the entries out whose event cannot be read, and brings those of pages that cannot be read
/// into memory: nothing needs such a page any more.
pub(crate) fn drop_unreadable(read: &mut Survey) {
    let reader = reader(read);
    let holes = Holes::of(read);
    for (id, stats) in reader.mailboxes() {
        let lost: BTreeSet<MailboxSequence> = unreadable(&reader, &holes, id).into_iter().collect();
        if !lost.is_empty() || has_lost_page(read, &holes, id) {
            let mut entries = reader.live(id, MailboxSequence(0), usize::MAX);
            entries.retain(|entry| !lost.contains(&entry.sequence));
            read.reading.replay.ledger.replace(id, stats.next, entries);
        }
    }
}

/// A view on a survey's log.
pub(crate) fn reader(read: &Survey) -> Reader {
    let ledger = &read.reading.replay.ledger;
    Reader { log: ledger.log().clone(), index: ledger.index.clone() }
}
