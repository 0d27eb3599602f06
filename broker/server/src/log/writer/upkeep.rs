//! What the log writer does without a request: checkpoints, room in a store that is nearly full, what
//! has become old, and notes of how far deliveries came.
//!
//! Invariant: none of it delays a batch that waits by more than one batch of its own, or a checkpoint.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fanal_core::MailboxId;
use fanal_store::CommitError;

use super::{LogWriter, is_connected};

/// How often a store that is nearly full is looked at, when nothing must give way.
const RELIEF_PAUSE: Duration = Duration::from_millis(10);
/// After so long, what was dropped and has not come back as room will not.
const RELIEF_PATIENCE: Duration = Duration::from_secs(1);
/// Mailboxes of which it is noted in one batch how far they were sent.
const NOTES_PER_BATCH: usize = 4_096;

impl LogWriter {
    /// Where what is noted of deliveries is not true for this store (it was put back, or an older
    /// version wrote it), all that was found may have been sent.
    pub(super) fn note_found(&mut self) {
        let found: Vec<_> =
            self.home.subscriptions().map(|(id, _)| (id, self.home.suspect_below(id))).collect();
        if self.note_started(&found) {
            self.home.confirm_notes();
            self.commit_notes();
        }
    }

    /// The broker ends well: nothing is sent any more, and how far anything was is known.
    pub(super) fn note_sent(&mut self) {
        let sent = |id| {
            let mailbox = self.directory.get(id)?;
            mailbox.evict();
            Some((id, mailbox.maybe_started_below()))
        };
        let all: Vec<_> = self.home.subscriptions().filter_map(|(id, _)| sent(id)).collect();
        self.note_started(&all);
    }

    /// Notes how far deliveries were started, in batches that fit any segment; whether all is written.
    fn note_started(&mut self, notes: &[(MailboxId, u64)]) -> bool {
        notes.chunks(NOTES_PER_BATCH).all(|notes| {
            notes.iter().for_each(|(id, below)| self.home.note_started(*id, *below));
            self.commit_notes()
        })
    }

    fn commit_notes(&mut self) -> bool {
        if self.health.stopped().is_some() {
            return false;
        }
        let mut batch = self.store.batch();
        self.add_effects(&mut batch);
        match self.commit(batch) {
            Ok(_) => true,
            Err(error @ CommitError::Stopped { .. }) => {
                self.stop(Vec::new(), &error);
                false
            }
            // Without it more is taken for delivered than was.
            Err(_) => false,
        }
    }

    /// From a share of the store on, mailboxes give way. What the store takes back by itself counts as
    /// free; it needs two checkpoints for it, which are written earlier then.
    pub(super) fn relieve(&mut self) {
        let Some((mark, target)) = self.limits.store_mark(self.store.reserve_bytes()) else { return };
        let used = self.store.stats().bytes_on_disk;
        if used < mark || Instant::now() < self.relief_from || self.health.stopped().is_some() {
            return;
        }
        let began = Instant::now();
        let kept = used.saturating_sub(self.store.dead_bytes());
        let is_settled = self.dropped.elapsed() >= RELIEF_PATIENCE;
        let wanted = self.relief.wanted(kept, mark, target, is_settled);
        if wanted > 0 {
            self.limits.relieve(&self.home, wanted.max(self.segment_bytes));
            if self.limits.has_work() {
                return;
            }
        }
        if kept < used {
            self.checkpoint();
            self.checkpoint();
        }
        if self.store.stats().bytes_on_disk >= mark {
            // What is to come back takes a while, or does not come. A look may take long itself.
            self.relief_from = Instant::now() + RELIEF_PAUSE.max(9 * began.elapsed());
        }
    }

    /// What changes without a request: the room on the disk, and ages.
    pub(super) fn look_around(&mut self) {
        self.limits.measure(&self.home);
        self.limits.look_for_old(&mut self.home, self.clock.now(), self.began.elapsed());
        self.forget_idle();
        self.rewrite_acks();
        if self.store.has_room() {
            self.set_full(None);
        }
    }

    /// Each time that the time was written down, which is once an hour.
    pub(super) fn forget_idle(&mut self) {
        if self.home.time() == self.idle_looked {
            return;
        }
        self.idle_looked = self.home.time();
        self.channels.retain(|_, hold| hold.strong_count() > 0);
        let channels = &self.channels;
        let forgotten = self.home.forget_idle(|counter| is_connected(channels, counter));
        if forgotten > 0 {
            tracing::info!(forgotten, "publish epochs that nobody has used for a week are forgotten");
        }
    }

    /// Tries again what found no room, after two checkpoints: what these take back is room.
    fn rewrite_acks(&mut self) {
        if !self.unwritten.is_empty() && self.health.stopped().is_none() {
            self.checkpoint();
            self.checkpoint();
            let acks = std::mem::take(&mut self.unwritten);
            self.write_acks(acks);
        }
    }

    pub(super) fn checkpoint_if_due(&mut self) {
        if self.health.stopped().is_none() && self.store.checkpoint_due() {
            self.checkpoint();
        }
        self.show_store();
    }

    pub(super) fn checkpoint(&mut self) {
        let snapshot = self.home.snapshot();
        match self.store.checkpoint(&mut snapshot.into_iter()) {
            Ok(()) => {}
            Err(error @ CommitError::Stopped { .. }) => self.stop(Vec::new(), &error),
            Err(error) => {
                tracing::warn!(%error, "no checkpoint could be written; start-up will take longer")
            }
        }
    }

    pub(super) fn show_store(&self) {
        let stats = self.store.stats();
        self.health.bytes_on_disk.store(stats.bytes_on_disk, Ordering::Relaxed);
        self.health.dead_letters.store(self.home.dead_letters().map_or(0, |id| id.0), Ordering::Relaxed);
        self.metrics.store_bytes.set(stats.bytes_on_disk as f64);
        self.metrics.store_full.set(f64::from(u8::from(self.health.is_full.load(Ordering::Relaxed))));
    }
}
