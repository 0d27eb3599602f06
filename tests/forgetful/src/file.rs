//! The two states of a file's bytes.

use std::collections::BTreeSet;

use crate::chance::Survival;

const SECTOR: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FileBytes {
    /// What is read.
    seen: Vec<u8>,
    /// What is on the disk.
    durable: Vec<u8>,
    /// Sectors that differ, as far as a flush would write them.
    dirty: BTreeSet<usize>,
    is_resized: bool,
}

impl FileBytes {
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn read(&self, offset: usize, count: usize) -> &[u8] {
        let from = offset.min(self.seen.len());
        &self.seen[from..offset.saturating_add(count).min(self.seen.len()).max(from)]
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.seen.len() {
            self.resize(end);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// Cuts, or extends by zeroes.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let before = self.seen.len();
        if bytes < before {
            // What is cut off is not written out any more, and zero if the file grows again.
            self.dirty.retain(|sector| sector * SECTOR < bytes);
            self.dirty.extend((!bytes.is_multiple_of(SECTOR)).then_some(bytes / SECTOR));
        }
        self.seen.resize(bytes, 0);
        // Zeroes over what is still on the disk must be written like anything else.
        let was_there = before..bytes.min(self.durable.len());
        if !was_there.is_empty() {
            self.dirty.extend(was_there.start / SECTOR..was_there.end.div_ceil(SECTOR));
        }
        self.is_resized |= bytes != before;
    }

    /// Everything reaches the disk.
    pub(crate) fn flush(&mut self) {
        if std::mem::take(&mut self.is_resized) {
            self.durable.resize(self.seen.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty) {
            self.flush_sector(sector);
        }
    }

    /// What a failed flush leaves: no bytes are to be written out any more. The size is not theirs.
    pub(crate) fn forget_dirt(&mut self) {
        self.dirty.clear();
    }

    /// How many sectors a cut would lose; a size counts as one.
    pub(crate) fn unflushed(&self) -> usize {
        self.dirty.len() + usize::from(self.is_resized)
    }

    /// The power went: `survival` decides what had reached the disk by itself, `None`: nothing.
    pub(crate) fn lose(&mut self, survival: Option<&mut Survival>) {
        if let Some(survival) = survival {
            self.tear(survival);
        }
        self.dirty.clear();
        self.is_resized = false;
        self.seen.clone_from(&self.durable);
    }

    fn tear(&mut self, survival: &mut Survival) {
        let before = self.durable.len();
        if self.is_resized && survival.size() {
            self.durable.resize(self.seen.len(), 0);
            let grown_from = before.min(self.durable.len());
            self.durable[grown_from..].chunks_mut(SECTOR).for_each(|sector| survival.fill(sector));
        }
        for sector in std::mem::take(&mut self.dirty) {
            if survival.sector() {
                self.flush_sector(sector);
            }
        }
    }

    fn flush_sector(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.seen.len()).min(self.durable.len());
        if from < to {
            self.durable[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flushed(bytes: &[u8]) -> FileBytes {
        let mut file = FileBytes::default();
        file.write(0, bytes);
        file.flush();
        file
    }

    #[test]
    fn what_was_not_flushed_is_gone() {
        let mut file = flushed(&[1; 1500]);
        file.write(600, &[2; 2000]);
        assert_eq!((file.len(), file.read(700, 1), file.unflushed()), (2600, &[2u8][..], 6));
        file.lose(None);
        assert_eq!(file.read(0, 9999), [1; 1500]);
        assert_eq!(file.unflushed(), 0);
    }

    #[test]
    fn a_cut_off_end_comes_back_unless_the_cut_was_flushed() {
        let mut file = flushed(&[1; 1500]);
        file.resize(700);
        file.lose(None);
        assert_eq!(file.len(), 1500);
        file.resize(700);
        file.flush();
        file.resize(1500);
        file.flush();
        file.lose(None);
        assert_eq!(file.read(0, 700), [1; 700]);
        assert_eq!(file.read(700, 800), [0; 800], "what was cut off does not come back");
    }

    #[test]
    fn growing_again_without_a_flush_between_hides_what_the_disk_still_has() {
        let mut file = flushed(&[1; 1500]);
        file.resize(700);
        file.resize(1500);
        assert_eq!(file.read(700, 800), [0; 800]);
        file.flush();
        file.lose(None);
        assert_eq!(file.read(700, 800), [0; 800]);
    }

    #[test]
    fn a_failed_flush_reads_as_written_and_is_never_written() {
        let mut file = flushed(&[1; 512]);
        file.write(0, &[2; 512]);
        file.forget_dirt();
        assert_eq!(file.read(0, 512), [2; 512]);
        file.flush();
        file.lose(None);
        assert_eq!(file.read(0, 512), [1; 512]);
    }

    #[test]
    fn a_torn_cut_of_a_files_end_leaves_the_old_size_or_the_new_one() {
        let mut sizes = BTreeSet::new();
        for seed in 0..50 {
            let mut file = flushed(&[1; 1500]);
            file.resize(0);
            file.write(0, b"short");
            file.lose(Some(&mut Survival::new(seed)));
            sizes.insert(file.len());
        }
        assert_eq!(sizes, BTreeSet::from([5, 1500]));
    }

    #[test]
    fn torn_sectors_are_old_or_new_each_and_all_mixtures_come() {
        let (mut old, mut new, mut sizes) = (0, 0, BTreeSet::new());
        for seed in 0..200 {
            let mut file = flushed(&[1; 2048]);
            file.write(0, &[2; 4096]);
            file.lose(Some(&mut Survival::new(seed)));
            sizes.insert(file.len());
            for sector in file.read(0, 2048).chunks(SECTOR) {
                assert!(sector == [1; SECTOR] || sector == [2; SECTOR], "seed {seed}: a torn sector");
                *if sector[0] == 1 { &mut old } else { &mut new } += 1;
            }
        }
        assert_eq!(sizes, BTreeSet::from([2048, 4096]));
        assert!(old > 100 && new > 100, "{old} old, {new} new");
    }
}
