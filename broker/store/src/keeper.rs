//! Makes segments ahead of need and takes back those that hold nothing any more.
//!
//! A spare is a file of a segment's size whose blocks are allocated and written, so that a flush
//! into it moves no metadata. Invariants:
//! 1. A file is called `spare-N.new` only once it is fully written and flushed.
//! 2. A recycled segment loses its name durably before a byte of it is overwritten.
//! 3. A file that has a second name (a backup by hard links) is removed, never overwritten.
//! 4. That no spare can be made for lack of space is an answer; any other failure stops the store.
//! 5. What the log has, spares, what is being made and what is being taken back keep to the limit
//!    together: they are counted under one lock.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::Disk;
use crate::error::StopCause;
use crate::options::Housekeeping;

const ZEROES: usize = 1 << 20;
const JOBS_MAX: usize = 64;
/// How long a segment that is needed now may wait for others to be taken back.
const RETIRE_PATIENCE: Duration = Duration::from_secs(5);

/// Why a spare could not be made.
#[derive(Debug)]
pub(crate) enum MakeError {
    Full(String),
    Failed(Arc<StopCause>),
}

enum Job {
    Make,
    Recycle(String, u64),
    Remove(String, u64),
}

#[derive(Default)]
struct Shelf {
    spares: Vec<String>,
    queued: usize,
    /// Spares that are being made.
    making: u64,
    /// Bytes of segments that left the log, and of which the files are still there.
    retiring_bytes: u64,
    /// Bytes of the segments in the log.
    log_bytes: u64,
    /// The last spare that was to be made found no space.
    is_short: bool,
    failure: Option<Arc<StopCause>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    bytes_max: Option<u64>,
    next_number: AtomicU64,
    shelf: Mutex<Shelf>,
    /// A segment was taken back.
    retired: Condvar,
}

/// The owner of spare segments.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<(SyncSender<Job>, JoinHandle<()>)>,
}

/// File name of a spare.
fn spare_name(number: u64) -> String {
    format!("spare-{number}.new")
}

/// The number in a spare's file name.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix("spare-")?.strip_suffix(".new")?.parse().ok()
}

impl Keeper {
    /// A keeper of the spares that were found.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        bytes_max: Option<u64>,
        spares: Vec<String>,
    ) -> Keeper {
        let next = spares.iter().filter_map(|name| spare_number(name)).max();
        Keeper {
            shared: Arc::new(Shared {
                disk,
                segment_bytes,
                bytes_max,
                next_number: AtomicU64::new(next.map_or(1, |number| number + 1)),
                shelf: Mutex::new(Shelf { spares, ..Shelf::default() }),
                retired: Condvar::new(),
            }),
            thread: None,
        }
    }

    /// Starts the thread, if there is to be one. Without it all work is done by the caller.
    pub(crate) fn start(&mut self, housekeeping: Housekeeping) -> io::Result<()> {
        if housekeeping == Housekeeping::Thread {
            let (jobs, inbox) = sync_channel(JOBS_MAX);
            let shared = self.shared.clone();
            let work = move || shared.work(&inbox);
            let thread = std::thread::Builder::new().name("fanal-segments".into()).spawn(work)?;
            self.thread = Some((jobs, thread));
        }
        Ok(())
    }

    /// Tells how many bytes the log's segments have.
    pub(crate) fn set_log_bytes(&self, bytes: u64) {
        self.shared.shelf().log_bytes = bytes;
    }

    /// Spares at hand.
    pub(crate) fn spares(&self) -> usize {
        self.shared.shelf().spares.len()
    }

    /// Whether there are fewer than `count` spares, and no space to make one.
    pub(crate) fn is_short_of(&self, count: usize) -> bool {
        let shelf = self.shared.shelf();
        shelf.is_short && shelf.spares.len() < count
    }

    /// The failure that must stop the store, if there was one.
    pub(crate) fn failure(&self) -> Option<Arc<StopCause>> {
        self.shared.shelf().failure.clone()
    }

    /// Bytes of spares, and of segments that are being taken back.
    pub(crate) fn bytes(&self) -> u64 {
        let shelf = self.shared.shelf();
        shelf.spares.len() as u64 * self.shared.segment_bytes + shelf.retiring_bytes
    }

    /// Takes a spare: it is the log's from now on.
    pub(crate) fn take(&self) -> Option<String> {
        let mut shelf = self.shared.shelf();
        let taken = shelf.spares.pop()?;
        shelf.log_bytes += self.shared.segment_bytes;
        Some(taken)
    }

    /// Makes spares, now and by the caller, until there are `count`.
    pub(crate) fn ensure(&self, count: usize) -> Result<(), MakeError> {
        while self.spares() < count {
            match self.shared.make() {
                Err(MakeError::Full(_)) if self.shared.wait_for_retired() => {}
                made => made?,
            }
        }
        Ok(())
    }

    /// Has spares made until there are `count`, in the background where there is one; a full disk
    /// is passed over.
    pub(crate) fn request(&self, count: usize) {
        let missing = {
            let mut shelf = self.shared.shelf();
            let missing = count.saturating_sub(shelf.spares.len() + shelf.queued);
            shelf.queued += missing;
            missing
        };
        for _ in 0..missing {
            self.give(Job::Make);
        }
    }

    /// Takes back the file of a segment of so many bytes that has left the log: as a spare, or to be
    /// removed.
    pub(crate) fn retire(&self, name: String, bytes: u64, recycle: bool) {
        {
            let mut shelf = self.shared.shelf();
            shelf.log_bytes = shelf.log_bytes.saturating_sub(bytes);
            shelf.retiring_bytes += bytes;
        }
        self.give(if recycle { Job::Recycle(name, bytes) } else { Job::Remove(name, bytes) });
    }

    fn give(&self, job: Job) {
        let refused = match &self.thread {
            Some((jobs, _)) => jobs.try_send(job).map_err(|e| match e {
                std::sync::mpsc::TrySendError::Full(job)
                | std::sync::mpsc::TrySendError::Disconnected(job) => job,
            }),
            None => Err(job),
        };
        if let Err(job) = refused {
            self.shared.run(job);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.thread.take() {
            drop(jobs);
            // A panic of the thread has nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            self.run(job);
        }
    }

    fn run(&self, job: Job) {
        if self.shelf().failure.is_some() {
            return;
        }
        match job {
            Job::Make => {
                let made = self.make();
                let mut shelf = self.shelf();
                shelf.queued = shelf.queued.saturating_sub(1);
                if let Err(MakeError::Failed(cause)) = made {
                    shelf.failure = Some(cause);
                }
            }
            Job::Recycle(name, bytes) => self.retire(&name, bytes, true),
            Job::Remove(name, bytes) => self.retire(&name, bytes, false),
        }
    }

    /// Waits until a segment that is being taken back is; false: there is none, or it takes too long.
    fn wait_for_retired(&self) -> bool {
        let shelf = self.shelf();
        let before = shelf.retiring_bytes;
        let is_waiting = |shelf: &mut Shelf| shelf.retiring_bytes == before && shelf.failure.is_none();
        if before == 0 {
            return false;
        }
        let waited = self.retired.wait_timeout_while(shelf, RETIRE_PATIENCE, is_waiting);
        let (shelf, _) = waited.unwrap_or_else(PoisonError::into_inner);
        shelf.retiring_bytes < before
    }

    fn retire(&self, name: &str, bytes: u64, recycle: bool) {
        let recycle = recycle && !self.is_shared(name);
        let spare = self.new_name();
        let done = if recycle {
            self.disk.rename(name, &spare).and_then(|()| self.disk.sync_folder(""))
        } else {
            self.disk.remove(name).and_then(|()| self.disk.sync_folder(""))
        };
        let mut shelf = self.shelf();
        shelf.retiring_bytes = shelf.retiring_bytes.saturating_sub(bytes);
        self.retired.notify_all();
        match done {
            Ok(()) if recycle => shelf.spares.push(spare),
            Ok(()) => {}
            Err(source) => {
                shelf.failure = Some(self.cause("take back", name, source));
            }
        }
    }

    /// Whether a backup may have the file too.
    fn is_shared(&self, name: &str) -> bool {
        !self.disk.open(name).and_then(|file| file.links()).is_ok_and(|links| links == 1)
    }

    fn new_name(&self) -> String {
        spare_name(self.next_number.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes one spare, and notes whether there was space for it.
    fn make(&self) -> Result<(), MakeError> {
        let began = self.begin_to_make();
        let is_making = began.is_ok();
        let made = began.and_then(|()| self.make_one());
        let mut shelf = self.shelf();
        shelf.making -= u64::from(is_making);
        shelf.is_short = matches!(made, Err(MakeError::Full(_)));
        made.map(|name| shelf.spares.push(name))
    }

    fn make_one(&self) -> Result<String, MakeError> {
        let name = self.new_name();
        let temporary = format!("{name}.tmp");
        match self.write_zeroes(&temporary) {
            Ok(()) => {}
            Err(e) if is_full(&e) => {
                // Best effort: a file left behind is removed when the store is opened.
                let _ = self.disk.remove(&temporary);
                return Err(MakeError::Full(e.to_string()));
            }
            Err(e) => return Err(MakeError::Failed(self.cause("make", &temporary, e))),
        }
        let named = self.disk.rename(&temporary, &name);
        match named.and_then(|()| self.disk.sync_folder("")) {
            Ok(()) => Ok(name),
            Err(e) => Err(MakeError::Failed(self.cause("name", &name, e))),
        }
    }

    /// Counts one more spare, unless it would go beyond the limit.
    fn begin_to_make(&self) -> Result<(), MakeError> {
        let mut shelf = self.shelf();
        let spares = shelf.spares.len() as u64 + shelf.making + 1;
        let bytes = shelf.log_bytes + shelf.retiring_bytes + spares * self.segment_bytes;
        match self.bytes_max {
            Some(limit) if bytes > limit => Err(MakeError::Full(format!("its limit is {limit} bytes"))),
            _ => {
                shelf.making += 1;
                Ok(())
            }
        }
    }

    fn write_zeroes(&self, name: &str) -> io::Result<()> {
        let file = self.disk.create(name)?;
        file.allocate(self.segment_bytes)?;
        let zeroes = vec![0u8; ZEROES.min(self.segment_bytes as usize)];
        let mut at = 0;
        while at < self.segment_bytes {
            let count = zeroes.len().min((self.segment_bytes - at) as usize);
            file.write_at(&zeroes[..count], at)?;
            at += count as u64;
        }
        file.sync_data()
    }

    fn cause(&self, operation: &'static str, name: &str, source: io::Error) -> Arc<StopCause> {
        Arc::new(StopCause { path: self.disk.root().join(name), operation, source })
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    #[test]
    fn spares_that_are_made_at_the_same_time_keep_to_the_limit() {
        const SEGMENT: u64 = 64 << 10;
        for _ in 0..50 {
            let disk = SimulatedDisk::new();
            let keeper = Keeper::new(Arc::new(disk.clone()), SEGMENT, Some(3 * SEGMENT), Vec::new());
            keeper.set_log_bytes(SEGMENT);
            let begin = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        begin.wait();
                        keeper.shared.make()
                    });
                }
            });
            assert_eq!((keeper.spares(), disk.bytes_used()), (2, 2 * SEGMENT));
            assert!(matches!(keeper.ensure(3), Err(MakeError::Full(_))));
        }
    }

    #[test]
    fn what_is_being_taken_back_counts_until_it_is() {
        const SEGMENT: u64 = 64 << 10;
        let (disk, mut spares) = (SimulatedDisk::new(), Vec::new());
        for name in ["spare-1.new", "segment"] {
            disk.overwrite(name, vec![0; SEGMENT as usize]);
            spares.push(name.to_owned());
        }
        spares.truncate(1);
        let mut keeper = Keeper::new(Arc::new(disk.clone()), SEGMENT, Some(2 * SEGMENT), spares);
        keeper.set_log_bytes(SEGMENT);
        // The thread takes nothing yet.
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let (shared, (go, gone)) = (keeper.shared.clone(), sync_channel::<()>(0));
        let work = move || {
            let _ = gone.recv();
            shared.work(&inbox);
        };
        keeper.thread = Some((jobs, std::thread::spawn(work)));
        keeper.retire("segment".into(), SEGMENT, false);
        assert_eq!(keeper.bytes(), 2 * SEGMENT);
        assert!(matches!(keeper.shared.make(), Err(MakeError::Full(_))), "the file is still there");
        go.send(()).unwrap();
        keeper.ensure(2).unwrap();
        assert_eq!((keeper.bytes(), disk.bytes_used()), (2 * SEGMENT, 2 * SEGMENT));
    }
}
