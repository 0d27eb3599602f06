//! The metadata of a store: two equal copies, `meta.a` and `meta.b`.
//!
//! Invariants:
//! 1. A copy is made by rename and later written in place (it is smaller than a sector), one only
//!    while the other is intact and durable. The numbers of an update are used only once both
//!    copies are durable: a damaged copy never hides a number that was used.
//! 2. Metadata that is missing or damaged in both copies is an error, never an empty store.
//! 3. They name a segment before anything in it is acked.

use std::sync::Arc;

use crc32c::{crc32c, crc32c_append};

use crate::disk::{Disk, File};
use crate::error::OpenError;
use crate::format::{FORMAT_VERSION, is_known_version};
use crate::id::StoreId;
use crate::recovery::{io_error, unread};

/// The copies, in the order in which they are written.
pub(crate) const META_NAMES: [&str; 2] = ["meta.a", "meta.b"];
const META_TEMPORARY: &str = "meta.tmp";
const MAGIC: [u8; 8] = *b"FANALMTA";
const META_BYTES: usize = 72;

/// What is known of a store without reading its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Format version of the directory: no segment has a higher one.
    pub(crate) version: u32,
    pub(crate) store: StoreId,
    /// Raised with each write; the higher of two intact copies counts.
    pub(crate) serial: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) recovery_epoch: u64,
    pub(crate) start_counter: u64,
    /// Highest index that a segment with something in it may have, at least; 0 until the first segment is
    /// durable, and only then may there be no segments. Nothing else tells that the newest is missing.
    /// Older programs wrote 1 in place of all of them.
    pub(crate) newest: u64,
}

enum Fault {
    Broken,
    UnknownVersion(u32),
}

/// What the two copies say.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// There is no copy at all.
    Missing,
    /// The metadata, and the copies that are damaged.
    Found(Meta, Vec<&'static str>),
}

impl Meta {
    fn encode(&self) -> [u8; META_BYTES] {
        let mut out = [0u8; META_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[16..32].copy_from_slice(&self.store.0.to_le_bytes());
        let numbers = [self.serial, self.segment_bytes, self.recovery_epoch, self.start_counter, self.newest];
        for (number, at) in numbers.iter().zip((32..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c_append(crc32c(&out[0..12]), &out[16..]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Meta, Fault> {
        if bytes.len() < 16 || bytes[0..8] != MAGIC {
            return Err(Fault::Broken);
        }
        let version = number_at(bytes, 8) as u32;
        if !is_known_version(version) {
            return Err(Fault::UnknownVersion(version));
        }
        let checksum = crc32c_append(crc32c(&bytes[0..12]), &bytes[16..]);
        if bytes.len() != META_BYTES || number_at(bytes, 12) as u32 != checksum {
            return Err(Fault::Broken);
        }
        let low = u128::from(number_at(bytes, 16));
        Ok(Meta {
            version,
            store: StoreId(u128::from(number_at(bytes, 24)) << 64 | low),
            serial: number_at(bytes, 32),
            segment_bytes: number_at(bytes, 40),
            recovery_epoch: number_at(bytes, 48),
            start_counter: number_at(bytes, 56),
            newest: number_at(bytes, 64),
        })
    }

    /// Writes both copies durably, with a higher serial.
    pub(crate) fn write(&mut self, disk: &dyn Disk) -> Result<(), OpenError> {
        self.serial += 1;
        let mut names = META_NAMES;
        // A damaged copy comes first, for the other one is all that there is.
        names.sort_by_key(|name| read_all(disk, name).is_ok_and(|bytes| Meta::decode(&bytes).is_ok()));
        names.iter().try_for_each(|name| self.write_copy(disk, name))
    }

    /// In place where there is a copy already, so that a full disk cannot keep a store from being
    /// opened: the copy is smaller than a sector, and the other one is intact meanwhile.
    fn write_copy(&self, disk: &dyn Disk, name: &str) -> Result<(), OpenError> {
        let write = || {
            let there = disk.open(name).and_then(|file| Ok((file.len()?, file)));
            if let Ok((bytes, file)) = there
                && bytes == META_BYTES as u64
                && file.links()? == 1
            {
                file.write_at(&self.encode(), 0)?;
                return file.sync_data();
            }
            let file: Arc<dyn File> = disk.create(META_TEMPORARY)?;
            file.write_at(&self.encode(), 0)?;
            file.sync_data()?;
            disk.rename(META_TEMPORARY, name)?;
            disk.sync_folder("")
        };
        write().map_err(|source| OpenError::Io { path: disk.root().join(name), operation: "write", source })
    }
}

/// What one copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaCopy {
    Intact(Meta),
    Damaged,
    UnknownVersion(u32),
    Missing,
}

/// What each copy is, in the order of [`META_NAMES`]. Changes nothing.
pub(crate) fn inspect(disk: &dyn Disk, names: &[String]) -> Result<[MetaCopy; 2], OpenError> {
    let mut copies = [MetaCopy::Missing; 2];
    for (name, copy) in META_NAMES.iter().zip(&mut copies) {
        if names.iter().any(|there| there == name) {
            *copy = match Meta::decode(&read_all(disk, name)?) {
                Ok(meta) => MetaCopy::Intact(meta),
                Err(Fault::Broken) => MetaCopy::Damaged,
                Err(Fault::UnknownVersion(version)) => MetaCopy::UnknownVersion(version),
            };
        }
    }
    Ok(copies)
}

/// Reads both copies. Changes nothing.
pub(crate) fn load(disk: &dyn Disk, names: &[String]) -> Result<Loaded, OpenError> {
    let mut found: Option<Meta> = None;
    let mut damaged = Vec::new();
    let mut unknown = None;
    for name in META_NAMES {
        if !names.iter().any(|there| there == name) {
            continue;
        }
        match Meta::decode(&read_all(disk, name)?) {
            Ok(meta) if found.is_none_or(|best| best.serial < meta.serial) => found = Some(meta),
            Ok(_) => {}
            Err(fault) => {
                damaged.push(name);
                if let Fault::UnknownVersion(version) = fault {
                    unknown = Some((name, version));
                }
            }
        }
    }
    match (found, unknown) {
        (Some(meta), _) => Ok(Loaded::Found(meta, damaged)),
        (None, Some((name, version))) => {
            Err(OpenError::UnknownFormat { path: disk.root().join(name), version, known: FORMAT_VERSION })
        }
        (None, None) if damaged.is_empty() => Ok(Loaded::Missing),
        (None, None) => Err(OpenError::Damaged {
            path: disk.root().join(damaged[0]),
            what: "no copy of the metadata (meta.a, meta.b) is intact".into(),
        }),
    }
}

/// All bytes of a small file.
pub(crate) fn read_all(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, OpenError> {
    let open = || {
        let file = disk.open(name)?;
        let bytes = vec![0u8; file.len()?.min(1 << 20) as usize];
        Ok((file, bytes))
    };
    let (file, mut bytes) = open().map_err(|source| io_error(disk, name, "open", source))?;
    let got = file.read_at(&mut bytes, 0).map_err(|source| unread(disk, name, source))?;
    bytes.truncate(got);
    Ok(bytes)
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    let there = bytes.get(at..bytes.len().min(at + 8)).unwrap_or(&[]);
    word[..there.len()].copy_from_slice(there);
    u64::from_le_bytes(word)
}
