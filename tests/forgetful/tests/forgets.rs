//! Through a real mount: what was not flushed is gone, what was flushed stays.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use fanal_forgetful::{Cut, Disk, Loss, Mount, Operation};

struct Place {
    disk: Disk,
    mount: Option<Mount>,
    dir: tempfile::TempDir,
}

impl Place {
    /// `None` where the system does not allow it, which is said.
    fn new(test: &str) -> Option<Place> {
        let (disk, dir) = (Disk::new(), tempfile::tempdir().unwrap());
        match Mount::new(&disk, dir.path()) {
            Ok(mount) => Some(Place { disk, mount: Some(mount), dir }),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{test}: {error}");
                let said = format!("SKIPPED: {test}: no FUSE file system can be mounted: {error}\n");
                let _ = std::io::stderr().write_all(said.as_bytes());
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cut(&mut self, loss: Loss) {
        self.disk.cut();
        self.remount(loss);
    }

    fn remount(&mut self, loss: Loss) {
        self.mount = None;
        self.disk.lose(loss);
        self.mount = Some(Mount::new(&self.disk, self.dir.path()).unwrap());
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn flush_folder(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn write_flushed(path: &Path, bytes: &[u8]) -> File {
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_data().unwrap();
    file
}

#[test]
fn written_and_not_flushed_is_gone_after_a_cut() {
    let Some(mut place) = Place::new("written_and_not_flushed_is_gone_after_a_cut") else { return };
    let file = write_flushed(&place.path("a"), &[1; 3000]);
    flush_folder(place.dir.path());
    file.write_all_at(&[2; 3000], 1000).unwrap();
    assert_eq!(fs::read(place.path("a")).unwrap().len(), 4000);
    assert!(place.disk.unflushed() > 0);
    drop(file); // closing flushes nothing
    place.cut(Loss::Cut);
    assert_eq!(fs::read(place.path("a")).unwrap(), [1; 3000]);
    let file = OpenOptions::new().write(true).open(place.path("a")).unwrap();
    file.write_all_at(&[2; 3000], 1000).unwrap();
    file.sync_data().unwrap();
    place.cut(Loss::Cut);
    assert_eq!(fs::read(place.path("a")).unwrap()[1000..], [2; 3000]);
}

#[test]
fn a_flushed_file_without_a_flushed_name_is_gone_after_a_cut() {
    let Some(mut place) = Place::new("a_flushed_file_without_a_flushed_name_is_gone_after_a_cut") else {
        return;
    };
    write_flushed(&place.path("a"), b"kept nowhere");
    fs::create_dir(place.path("folder")).unwrap();
    write_flushed(&place.path("folder/b"), b"nor here");
    flush_folder(&place.path("folder"));
    place.cut(Loss::Cut);
    assert_eq!(place.names(""), Vec::<String>::new());
    fs::create_dir_all(place.path("folder")).unwrap();
    flush_folder(place.dir.path());
    write_flushed(&place.path("folder/b"), b"here");
    flush_folder(&place.path("folder"));
    place.cut(Loss::Cut);
    assert_eq!(fs::read(place.path("folder/b")).unwrap(), b"here");
}

#[test]
fn a_rename_without_a_flushed_folder_is_undone_by_a_cut() {
    let Some(mut place) = Place::new("a_rename_without_a_flushed_folder_is_undone_by_a_cut") else { return };
    write_flushed(&place.path("a"), b"old");
    write_flushed(&place.path("b"), b"new");
    flush_folder(place.dir.path());
    fs::rename(place.path("b"), place.path("a")).unwrap();
    assert_eq!((place.names(""), fs::read(place.path("a")).unwrap()), (vec!["a".into()], b"new".to_vec()));
    place.cut(Loss::Cut);
    assert_eq!(place.names(""), ["a", "b"]);
    assert_eq!(fs::read(place.path("a")).unwrap(), b"old");
    fs::rename(place.path("b"), place.path("a")).unwrap();
    flush_folder(place.dir.path());
    fs::remove_file(place.path("a")).unwrap();
    place.cut(Loss::Cut);
    assert_eq!((place.names(""), fs::read(place.path("a")).unwrap()), (vec!["a".into()], b"new".to_vec()));
}

#[test]
fn a_second_name_stays_or_goes_by_itself() {
    let Some(mut place) = Place::new("a_second_name_stays_or_goes_by_itself") else { return };
    write_flushed(&place.path("a"), b"bytes");
    flush_folder(place.dir.path());
    fs::hard_link(place.path("a"), place.path("b")).unwrap();
    assert_eq!((fs::metadata(place.path("a")).unwrap().nlink(), place.disk.used()), (2, 5));
    assert!(fs::hard_link(place.path("a"), place.path("b")).is_err());
    place.cut(Loss::Cut);
    assert_eq!(place.names(""), ["a"]);
    fs::hard_link(place.path("a"), place.path("b")).unwrap();
    flush_folder(place.dir.path());
    fs::remove_file(place.path("a")).unwrap();
    flush_folder(place.dir.path());
    place.cut(Loss::Cut);
    assert_eq!((place.names(""), fs::read(place.path("b")).unwrap()), (vec!["b".into()], b"bytes".to_vec()));
}

#[test]
fn from_the_cut_on_everything_fails_and_changes_nothing() {
    let Some(mut place) = Place::new("from_the_cut_on_everything_fails_and_changes_nothing") else { return };
    let file = write_flushed(&place.path("a"), &[1; 512]);
    flush_folder(place.dir.path());
    file.write_all_at(&[2; 512], 0).unwrap();
    // The next operation is the flush.
    place.disk.cut_at(Cut { at: place.disk.operations(), kind: None, is_late: false });
    assert!(file.sync_data().is_err() && place.disk.is_cut());
    assert!(file.write_all_at(&[3; 512], 0).is_err());
    assert!(file.sync_all().is_err());
    assert!(file.read_at(&mut [0; 1], 0).is_err());
    assert!(File::create(place.path("b")).is_err());
    place.remount(Loss::Cut);
    assert_eq!(fs::read(place.path("a")).unwrap(), [1; 512]);
    assert!(file.read_at(&mut [0; 1], 0).is_err(), "a file of before is no use");
    let file = OpenOptions::new().write(true).open(place.path("a")).unwrap();
    file.write_all_at(&[4; 512], 0).unwrap();
    place.disk.cut_at(Cut { at: place.disk.operations(), kind: None, is_late: true });
    assert!(file.sync_data().is_err());
    place.remount(Loss::Cut);
    assert_eq!(fs::read(place.path("a")).unwrap(), [4; 512], "it was carried out, and nobody was told");
}

#[test]
fn a_torn_cut_leaves_each_sector_old_or_new_and_the_same_for_the_same_seed() {
    let test = "a_torn_cut_leaves_each_sector_old_or_new_and_the_same_for_the_same_seed";
    let Some(mut place) = Place::new(test) else { return };
    let mut outcomes = BTreeSet::new();
    for seed in (0..12).flat_map(|seed| [seed, seed]) {
        let file = write_flushed(&place.path("a"), &[1; 4096]);
        flush_folder(place.dir.path());
        file.write_all_at(&[2; 4096], 0).unwrap();
        place.cut(Loss::Torn(seed));
        let bytes = fs::read(place.path("a")).unwrap();
        assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
        outcomes.insert((seed, bytes));
    }
    assert_eq!(outcomes.len(), 12, "the same seed, the same loss");
    assert!(outcomes.iter().map(|(_, bytes)| bytes).collect::<BTreeSet<_>>().len() > 5);
}

#[test]
fn faults_come_as_told() {
    let Some(mut place) = Place::new("faults_come_as_told") else { return };
    let file = write_flushed(&place.path("a.seg"), &[1; 1024]);
    write_flushed(&place.path("b.log"), b"b");
    flush_folder(place.dir.path());
    place.disk.fail_once(Operation::Write, ".seg");
    let other = OpenOptions::new().write(true).open(place.path("b.log")).unwrap();
    other.write_all_at(b"c", 0).unwrap();
    assert_eq!(file.write_all_at(&[2; 1024], 0).unwrap_err().raw_os_error(), Some(5));
    file.write_all_at(&[2; 1024], 0).unwrap();
    place.disk.fail_once(Operation::Flush, ".seg");
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(fs::read(place.path("a.seg")).unwrap(), [2; 1024], "it reads as written");
    place.disk.fail_reads(".seg", 512..600);
    assert!(file.read_at(&mut [0; 512], 512).is_err());
    assert_eq!(file.read_at(&mut [0; 512], 0).unwrap(), 512);
    place.disk.mend();
    assert_eq!((file.read_at(&mut [0; 512], 512).unwrap(), place.disk.faults_met()), (512, 3));
    place.cut(Loss::Cut);
    assert_eq!(fs::read(place.path("a.seg")).unwrap(), [1; 1024], "and was never written");
}

#[test]
fn a_full_disk_takes_no_more_and_says_so() {
    let Some(place) = Place::new("a_full_disk_takes_no_more_and_says_so") else { return };
    let mut file = write_flushed(&place.path("a"), &[1; 2048]);
    place.disk.set_capacity(Some(3000));
    assert_eq!(file.write_all(&[1; 1000]).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(&[2; 2048], 0).unwrap();
    file.write_all(&[1; 900]).unwrap();
    fs::remove_file(place.path("a")).unwrap();
    assert_eq!(place.disk.used(), 0);
    place.disk.set_capacity(None);
    file.write_all(&[1; 9000]).unwrap();
}
