//! What lies in a directory when it is opened, and what of it is reported and copied aside.
//!
//! Reading comes first and refuses without a trace; `quarantine` and `tidy_files` are the only ones
//! that write, and are called once nothing can be refused any more.

use crate::disk::{Disk, LockRefused};
use crate::error::OpenError;
use crate::format::FORMAT_VERSION;
use crate::id::{Position, StoreId};
use crate::keeper::spare_number;
use crate::ledger::Ledger;
use crate::meta::{Loaded, META_NAMES, Meta, load};
use crate::options::Options;
use crate::quarantine::copy_aside;
use crate::recovery::{LogFile, Recovered, io_error, open_segment};
use crate::report::{DamagedRegion, RecoveryReport, UnprovenTail};
use crate::segments::{segment_index, segment_name};

/// The files of a directory by what they are.
pub(crate) struct Listing {
    pub(crate) names: Vec<String>,
    pub(crate) segments: Vec<(u64, String)>,
}

impl Listing {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|there| there == name)
    }
}

pub(crate) fn take_lock(disk: &dyn Disk) -> Result<Box<dyn Send + Sync>, OpenError> {
    disk.lock().map_err(|refused| match refused {
        LockRefused::InUse { pid } => OpenError::InUse { path: disk.root().join("LOCK"), pid },
        LockRefused::Io(e) => io_error(disk, "LOCK", "lock", e),
    })
}

pub(crate) fn list(disk: &dyn Disk) -> Result<Listing, OpenError> {
    let names = disk.list("").map_err(|e| io_error(disk, "", "list", e))?;
    let indexed = names.iter().filter_map(|name| Some((segment_index(name)?, name.clone())));
    let mut segments: Vec<(u64, String)> = indexed.collect();
    segments.sort();
    Ok(Listing { names, segments })
}

/// The metadata that is there, or new metadata, durable, in an empty directory.
pub(crate) fn load_meta(
    disk: &dyn Disk,
    listing: &Listing,
    options: &Options,
    new_id: StoreId,
    report: &mut RecoveryReport,
) -> Result<Meta, OpenError> {
    match load(disk, &listing.names)? {
        Loaded::Found(meta, damaged) => {
            if meta.newest > 0 && listing.segments.is_empty() {
                return Err(OpenError::Damaged {
                    path: disk.root().to_path_buf(),
                    what: "all its segments are missing".into(),
                });
            }
            report.meta_repaired = damaged.iter().map(|name| disk.root().join(name)).collect();
            report.created = meta.newest == 0;
            Ok(meta)
        }
        Loaded::Missing if !listing.segments.is_empty() => {
            Err(OpenError::NotAStore { path: disk.root().to_path_buf(), segments: listing.segments.len() })
        }
        Loaded::Missing => {
            report.created = true;
            Ok(Meta {
                version: FORMAT_VERSION,
                store: new_id,
                serial: 0,
                segment_bytes: options.segment_bytes,
                recovery_epoch: 0,
                start_counter: 0,
                newest: 0,
            })
        }
    }
}

pub(crate) fn open_segments(
    disk: &dyn Disk,
    listing: &Listing,
    meta: &Meta,
    report: &mut RecoveryReport,
) -> Result<Vec<LogFile>, OpenError> {
    let mut files = Vec::new();
    for (index, name) in &listing.segments {
        match open_segment(disk, name, *index, meta.store, meta.segment_bytes)? {
            Some(file) => {
                if file.is_patched {
                    report.headers_repaired.push(disk.root().join(name));
                }
                files.push(file);
            }
            None => report.unusable_segments.push(disk.root().join(name)),
        }
    }
    if files.is_empty() && !listing.segments.is_empty() {
        return Err(OpenError::Damaged {
            path: disk.root().to_path_buf(),
            what: "none of its segments has a readable header".into(),
        });
    }
    if files.last().is_some_and(|last| last.header.index < meta.newest) {
        return Err(OpenError::Damaged {
            path: disk.root().join(segment_name(meta.newest)),
            what:
                "this is the newest segment, and it is missing or cannot be used, with what was acked last: \
                   put it back, or let `fanal store repair` go on without it"
                    .into(),
        });
    }
    Ok(files)
}

pub(crate) fn empty(ledger: Ledger) -> Recovered {
    Recovered {
        ledger,
        sets: Default::default(),
        state: Vec::new(),
        walk: Default::default(),
        checkpoints: (Position(0), Position(0)),
        known_damage: Vec::new(),
        bytes_since_checkpoint: 0,
        segments_read: 0,
        started_at: None,
        fell_back: false,
    }
}

/// Puts into the report what reading has shown, and counts unusable segments as damage.
pub(crate) fn note_findings(
    disk: &dyn Disk,
    listing: &Listing,
    files: &[LogFile],
    recovered: &mut Recovered,
    report: &mut RecoveryReport,
) {
    report.segments = listing.segments.len() as u64;
    report.segments_read = recovered.segments_read;
    report.checkpoint = recovered.started_at;
    report.checkpoint_fell_back = recovered.fell_back;
    report.batches = recovered.walk.batches;
    report.entries_misfit = recovered.ledger.misfits;
    report.events_unresolved = recovered.ledger.unresolved;
    let path = |index: u64| disk.root().join(segment_name(index));
    let table = &recovered.ledger.log().table;
    let live = recovered.ledger.census.all().filter(|(_, live)| live.entries > 0);
    table.note_lost(live.map(|(index, _)| index).filter(|index| table.get(*index).is_none()).collect());
    for (index, live) in recovered.ledger.census.all() {
        let is_there = listing.segments.iter().any(|(there, _)| *there == index);
        if !is_there && live.entries > 0 {
            report.missing_segments.push((path(index), live.entries));
        }
    }
    if let Some(last) = files.last()
        && last.bytes < last.header.file_bytes
    {
        report.short_segments.push(path(last.header.index));
    }
}

/// Damage that no earlier start has recorded.
pub(crate) fn new_damage(recovered: &Recovered, segment_bytes: u64) -> Vec<(Position, Position)> {
    let all = recovered.walk.damage.iter().map(|damage| {
        let at = |offset| Position::new(damage.segment, offset, segment_bytes);
        (at(damage.from), at(damage.to))
    });
    all.filter(|region| !recovered.known_damage.contains(region)).collect()
}

/// Copies what is cut off or cannot be read aside, and reports it.
pub(crate) fn quarantine(
    disk: &dyn Disk,
    report: &mut RecoveryReport,
    recovered: &Recovered,
    segment_bytes: u64,
) -> Result<(), OpenError> {
    let news = new_damage(recovered, segment_bytes);
    for damage in &recovered.walk.damage {
        let name = segment_name(damage.segment);
        let from = Position::new(damage.segment, damage.from, segment_bytes);
        let is_known = !news.iter().any(|(start, _)| *start == from);
        let is_there = disk.list("").is_ok_and(|names| names.contains(&name));
        let copied_to = match is_known || !is_there {
            true => None,
            false => copy_aside(disk, &name, damage.from, damage.to, "damaged")?,
        };
        report.damaged.push(DamagedRegion {
            path: disk.root().join(&name),
            offset: damage.from,
            bytes: damage.to - damage.from,
            batches: damage.batches,
            copied_to,
            is_known,
        });
    }
    if let Some(tail) = &recovered.walk.unproven {
        let name = segment_name(tail.segment);
        report.unproven = Some(UnprovenTail {
            path: disk.root().join(&name),
            offset: tail.from,
            bytes: tail.to - tail.from,
            copied_to: copy_aside(disk, &name, tail.from, tail.to, "unproven")?,
        });
    }
    Ok(())
}

pub(crate) fn keep_damaged_meta(disk: &dyn Disk, report: &mut RecoveryReport) -> Result<(), OpenError> {
    for name in META_NAMES {
        if report.meta_repaired.contains(&disk.root().join(name)) {
            copy_aside(disk, name, 0, 4096, "damaged")?;
        }
    }
    Ok(())
}

/// Removes what a crash left half made; gives the spares that are whole.
pub(crate) fn tidy_files(
    disk: &dyn Disk,
    listing: &Listing,
    segment_bytes: u64,
) -> Result<Vec<String>, OpenError> {
    let mut spares = Vec::new();
    for name in &listing.names {
        let is_temporary = name.strip_suffix(".new.tmp").is_some() || name == "meta.tmp";
        let is_spare = spare_number(name).is_some();
        if is_spare && spare_is_whole(disk, name, segment_bytes)? {
            spares.push(name.clone());
        } else if is_spare || is_temporary {
            match disk.remove(name) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error(disk, name, "remove", e));
                }
                _ => {}
            }
        }
    }
    Ok(spares)
}

fn spare_is_whole(disk: &dyn Disk, name: &str, segment_bytes: u64) -> Result<bool, OpenError> {
    // A spare is written over: one that a copy by hard links shares is none.
    let whole = disk.open(name).and_then(|file| Ok(file.len()? == segment_bytes && file.links()? == 1));
    whole.map_err(|e| io_error(disk, name, "open", e))
}
