//! Engines in this process, behind one writer thread: what waits is committed at once and then acked.

use std::path::Path;

use bytes::Bytes;
use fanal_store::{MailboxId, MailboxSequence, Options, Store, StoreId};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::publish::Producer;
use crate::child::Outcome;

/// Bytes that one commit takes at most, as the broker's log writer does.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// Events that stay queued: what is older is acked, so that the disk does not fill.
const KEPT: u64 = 100_000;

/// Events that wait for the writer, at most.
const WAITING_MAX: usize = 65_536;

/// Makes events durable.
pub(crate) trait Engine: Send + 'static {
    /// Returns when all of them are on the disk.
    fn commit(&mut self, events: &[Bytes]) -> Outcome<()>;
}

struct Waiting {
    payload: Bytes,
    acked: oneshot::Sender<()>,
}

/// The writer thread; it ends when the last producer is dropped.
pub(crate) struct Group {
    sender: Sender<Waiting>,
}

/// See [`Group::producer`].
#[derive(Clone)]
pub(crate) struct GroupProducer {
    sender: Sender<Waiting>,
}

impl Group {
    pub(crate) fn start(engine: impl Engine) -> Group {
        let (sender, receiver) = channel(WAITING_MAX);
        std::thread::spawn(move || {
            if let Err(error) = write(engine, receiver) {
                eprintln!("fanal-bench: {error}");
            }
        });
        Group { sender }
    }

    pub(crate) fn producer(&self) -> GroupProducer {
        GroupProducer { sender: self.sender.clone() }
    }
}

fn write(mut engine: impl Engine, mut receiver: Receiver<Waiting>) -> Outcome<()> {
    while let Some(first) = receiver.blocking_recv() {
        let (mut events, mut acks) = (vec![first.payload], vec![first.acked]);
        let mut bytes = events[0].len();
        while bytes < COMMIT_BYTES_MAX
            && let Ok(next) = receiver.try_recv()
        {
            bytes += next.payload.len();
            events.push(next.payload);
            acks.push(next.acked);
        }
        engine.commit(&events)?;
        for ack in acks {
            // A producer that has ended does not wait.
            let _ = ack.send(());
        }
    }
    Ok(())
}

impl Producer for GroupProducer {
    async fn publish(&self, payload: Bytes) -> Outcome<()> {
        let (acked, ack) = oneshot::channel();
        self.sender.send(Waiting { payload, acked }).await.map_err(|_| "the writer has ended")?;
        Ok(ack.await.map_err(|_| "the writer has ended")?)
    }
}

/// Fanal's log, one mailbox.
pub(crate) struct Log {
    pub(crate) store: Store,
    next: u64,
    _data: TempDir,
}

/// The mailbox of [`Log`].
pub(crate) const MAILBOX: MailboxId = MailboxId(1);

impl Log {
    pub(crate) fn create(dir: &Path) -> Outcome<Log> {
        let data = tempfile::tempdir_in(dir)?;
        let (mut store, _) = Store::open(data.path(), Options::default(), StoreId(1))?;
        let mut batch = store.batch();
        batch.create_mailbox(MAILBOX);
        store.commit(batch)?;
        Ok(Log { store, next: 1, _data: data })
    }

    /// Commits events without acking older ones.
    pub(crate) fn append(&mut self, events: &[Bytes]) -> Outcome<()> {
        let mut batch = self.store.batch();
        for event in events {
            batch.event(&[event], &[(MAILBOX, MailboxSequence(self.next))]);
            self.next += 1;
        }
        self.store.commit(batch)?;
        self.checkpoint()
    }

    fn checkpoint(&mut self) -> Outcome<()> {
        if self.store.checkpoint_due() {
            self.store.checkpoint(&mut std::iter::empty())?;
        }
        Ok(())
    }
}

impl Engine for Log {
    fn commit(&mut self, events: &[Bytes]) -> Outcome<()> {
        if self.next > KEPT {
            let mut batch = self.store.batch();
            batch.acked(MAILBOX, 1..=self.next - KEPT);
            for event in events {
                batch.event(&[event], &[(MAILBOX, MailboxSequence(self.next))]);
                self.next += 1;
            }
            self.store.commit(batch)?;
            return self.checkpoint();
        }
        self.append(events)
    }
}

/// fjall: the key is the sequence.
pub(crate) struct Fjall {
    pub(crate) database: Database,
    pub(crate) events: Keyspace,
    next: u64,
    removed: u64,
    _data: TempDir,
}

impl Fjall {
    pub(crate) fn create(dir: &Path) -> Outcome<Fjall> {
        let data = tempfile::tempdir_in(dir)?;
        let database = Database::builder(data.path()).open()?;
        let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
        Ok(Fjall { database, events, next: 1, removed: 1, _data: data })
    }

    fn put(&mut self, events: &[Bytes], kept: u64) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for event in events {
            batch.insert(&self.events, self.next.to_be_bytes(), &event[..]);
            self.next += 1;
        }
        while self.removed + kept < self.next {
            batch.remove(&self.events, self.removed.to_be_bytes());
            self.removed += 1;
        }
        Ok(batch.commit()?)
    }

    /// Commits events without removing older ones.
    pub(crate) fn append(&mut self, events: &[Bytes]) -> Outcome<()> {
        self.put(events, u64::MAX / 2)
    }
}

impl Engine for Fjall {
    fn commit(&mut self, events: &[Bytes]) -> Outcome<()> {
        self.put(events, KEPT)
    }
}
