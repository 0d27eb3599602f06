//! The log writer's thread: judge, append, flush, release.
//!
//! Invariants:
//! 1. One thread; the only one that changes [`Home`] and the [`Store`].
//! 2. A batch is judged against the state that its predecessors left; if it is not written, its
//!    changes are rolled back before anything else is judged.
//! 3. When the store is full, publishes are refused (507) and links wait, but acks and control
//!    operations go on, so that the store can drain. When the store has stopped, everything is
//!    refused for good.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fanal_core::age::AgeClock;
use fanal_core::home::{Effect, Letters, Principal, Requeued, Sender};
use fanal_core::limits::{Reason, Relief};
use fanal_core::{Event, Home, MailboxId, Verdict};
use fanal_protocol::{Code, Incarnation};
use fanal_store::{Batch, CommitError, Committed, MailboxSequence, RemovalIndex, Store};
use smallvec::SmallVec;

use super::completion::{Completions, Flushed, Received};
use super::limits::{Fate, GivenWay, LimitKeeper, Rule};
use super::queue::{LogQueue, Taken};
use super::request::{
    Command, LogError, LogRequest, Output, PublishChannel, PublishItem, ReceiveError, ReceiveItem,
};
use crate::clock::Clock;
use crate::config;
use crate::mailbox::{Directory, Mailbox};
use crate::metrics::Metrics;

/// Bytes of requests that go into one batch.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often the writer looks at what changes without a request.
const TICK: Duration = Duration::from_secs(1);
/// Requests with acks that wait for room at most.
const UNWRITTEN_MAX: usize = 65_536;
/// When a publisher should try again after a full store.
const FULL_RETRY_MS: u64 = 1_000;

/// What the rest of the broker sees of the store's health.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    pub(crate) is_full: AtomicBool,
    /// Of segments and spares.
    pub(crate) bytes_on_disk: AtomicU64,
    /// Number of the dead letters' mailbox; 0: there is none yet.
    pub(crate) dead_letters: AtomicU64,
    stopped: std::sync::OnceLock<String>,
    notify: tokio::sync::Notify,
}

impl StoreHealth {
    /// Why the store takes nothing any more, if it has stopped.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Waits until the store has stopped; why.
    pub(crate) async fn wait_until_stopped(&self) -> String {
        loop {
            let notified = self.notify.notified();
            if let Some(reason) = self.stopped() {
                return reason.to_owned();
            }
            notified.await;
        }
    }

    fn stop(&self, reason: &str) {
        if self.stopped.set(reason.to_owned()).is_ok() {
            self.notify.notify_waiters();
        }
    }
}

/// See the module.
pub(crate) struct LogWriter {
    store: Store,
    home: Home,
    queue: Arc<LogQueue>,
    health: Arc<StoreHealth>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    directory: Arc<Directory>,
    limits: LimitKeeper,
    /// Of the batch being built.
    moved: Vec<Moved>,
    relief: Relief,
    /// When the store is next looked at for it, and when something was last dropped for it.
    relief_from: Instant,
    /// Acks for which there was no room.
    unwritten: Vec<LogRequest>,
    dropped: Instant,
    segment_bytes: u64,
    batch_bytes_max: usize,
    head: Vec<u8>,
    /// Channels by the counters of their epochs, as long as they are connected.
    channels: BTreeMap<u64, Weak<()>>,
    /// When idle epochs were looked for, by [`Home::time`].
    idle_looked: Option<u64>,
    began: Instant,
}

/// What a [`LogWriter`] is made of.
pub(crate) struct WriterParts {
    pub(crate) store: Store,
    pub(crate) home: Home,
    pub(crate) queue: Arc<LogQueue>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) limits: config::Limits,
    pub(crate) rules: Vec<Rule>,
    /// A directory on the disk of the store.
    pub(crate) data: PathBuf,
}

/// Whether events are taken in this pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admission<'a> {
    All,
    /// Events, and what makes new mailboxes, are refused for this reason.
    NoEvents {
        reason: &'a str,
        code: Code,
    },
}

impl LogWriter {
    pub(crate) fn new(parts: WriterParts) -> Self {
        let WriterParts { store, home, queue, health, metrics, clock, directory, limits, rules, data } =
            parts;
        let segment_bytes = limits.segment_bytes;
        let segment_share = usize::try_from(segment_bytes / 4).unwrap_or(usize::MAX);
        let batch_bytes_max = BATCH_BYTES_MAX.min(segment_share);
        let age = AgeClock::start(clock.now(), home.time());
        let limits = LimitKeeper::new(limits, data, store.reader(), Arc::clone(&directory), age, rules);
        let head = Vec::new();
        let mut writer = LogWriter {
            store,
            home,
            queue,
            health,
            metrics,
            clock,
            directory,
            limits,
            moved: Vec::new(),
            relief: Relief::default(),
            relief_from: Instant::now(),
            unwritten: Vec::new(),
            dropped: Instant::now(),
            segment_bytes,
            batch_bytes_max,
            head,
            channels: BTreeMap::new(),
            idle_looked: None,
            began: Instant::now(),
        };
        writer.limits.look_at_all(&writer.home);
        // Whoever reads the metrics first sees the store as it is.
        writer.show_store();
        writer
    }

    /// Runs until the queue is stopped; then the store is closed.
    pub(crate) fn run(mut self) {
        let mut looked = Instant::now();
        self.note_found();
        self.look_around();
        loop {
            let patience = if self.limits.has_work() { Duration::ZERO } else { TICK };
            let Taken::Requests(requests, permits) = self.queue.take(self.batch_bytes_max, patience) else {
                break;
            };
            self.process(requests);
            self.queue.give_back(permits);
            self.checkpoint_if_due();
            self.relieve();
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                self.look_around();
            }
        }
        self.note_sent();
        self.queue.end("the broker is shutting down".into());
    }

    fn process(&mut self, requests: Vec<LogRequest>) {
        if let Some(reason) = self.health.stopped().map(str::to_owned) {
            return self.refuse_all(requests, &LogError::Stopped(reason), Code::Unavailable);
        }
        if self.limits.has_work() && self.home.dead_letters().is_none() {
            self.make_dead_letters();
        }
        let (batch, plan) = self.build(&requests, Admission::All);
        #[cfg(feature = "mutants")]
        if mutant::answers_first(&requests) {
            self.finish(requests, plan, &Committed::default());
            return self.commit(batch).map_or_else(|error| self.stop(Vec::new(), &error), drop);
        }
        match self.commit(batch) {
            Ok(committed) => {
                // An ack finds room where an event does not.
                if !committed.positions.is_empty() {
                    self.set_full(None);
                }
                self.finish(requests, plan, &committed);
            }
            Err(error @ CommitError::Full { .. }) => {
                self.set_full(Some(&error));
                self.process_without_events(requests, FULL_REASON, Code::StoreFull);
            }
            Err(error @ CommitError::BatchTooLarge { .. }) => match split(requests) {
                Ok((first, second)) => {
                    self.process(first);
                    self.process(second);
                }
                Err(requests) => self.process_without_events(requests, &error.to_string(), Code::TooLarge),
            },
            Err(error) => self.stop(requests, &error),
        }
    }

    /// In a batch of its own: what goes there can be in the next one. A full store has no room for it.
    fn make_dead_letters(&mut self) {
        let mut batch = self.store.batch();
        self.home.ensure_dead_letters();
        self.add_effects(&mut batch);
        if let Err(error) = self.commit(batch) {
            tracing::warn!(%error, "there is no room for dead letters: mailboxes stay above their limits");
        }
    }

    fn set_full(&self, why: Option<&CommitError>) {
        let was_full = self.health.is_full.swap(why.is_some(), Ordering::Relaxed);
        match why {
            Some(error) if !was_full => {
                tracing::warn!(%error, "events are refused (507) until there is room")
            }
            None if was_full => tracing::info!("the store has room again"),
            _ => {}
        }
    }

    /// Refuses the events of a batch with a code, and carries out the rest.
    fn process_without_events(&mut self, requests: Vec<LogRequest>, reason: &str, code: Code) {
        let (batch, plan) = self.build(&requests, Admission::NoEvents { reason, code });
        match self.commit(batch) {
            Ok(committed) => self.finish(requests, plan, &committed),
            Err(error @ CommitError::Stopped { .. }) => self.stop(requests, &error),
            Err(CommitError::Full { .. }) => self.process_acks_only(requests, FULL_REASON, code),
            Err(error) => self.process_acks_only(requests, &error.to_string(), code),
        }
    }

    /// The reserve is used up too, or a control operation is too large: refuses all but what makes
    /// room.
    fn process_acks_only(&mut self, requests: Vec<LogRequest>, reason: &str, code: Code) {
        let (acks, others): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| matches!(request, LogRequest::Done { .. }));
        self.refuse_all(others, &LogError::Full(reason.to_owned()), code);
        self.write_acks(acks);
    }

    /// Where they find no room they wait: once there is some, nobody would send them again.
    fn write_acks(&mut self, acks: Vec<LogRequest>) {
        let (batch, plan) = self.build(&acks, Admission::All);
        match self.commit(batch) {
            Ok(committed) => self.finish(acks, plan, &committed),
            Err(error @ CommitError::Stopped { .. }) => self.stop(acks, &error),
            Err(_) if acks.is_empty() => {}
            Err(error) => {
                tracing::warn!(%error, "acks cannot be written yet");
                self.unwritten.extend(acks);
                let too_many = self.unwritten.len().saturating_sub(UNWRITTEN_MAX);
                if too_many > 0 {
                    tracing::warn!(too_many, "acks are dropped: their events come again later");
                    self.unwritten.drain(..too_many);
                }
            }
        }
    }

    fn stop(&mut self, requests: Vec<LogRequest>, error: &CommitError) {
        let reason = match error {
            CommitError::Stopped { .. } => error.to_string(),
            other => format!("the store has stopped: {other}; restart the broker"),
        };
        tracing::error!(reason, "nothing is acked any more");
        self.health.stop(&reason);
        self.metrics.store_stopped.set(1.0);
        self.refuse_all(requests, &LogError::Stopped(reason), Code::Unavailable);
        self.unwritten.clear();
    }

    fn commit(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        let has_records = !batch.is_empty();
        let began = Instant::now();
        match self.store.commit(batch) {
            Ok(committed) => {
                self.home.commit();
                self.limits.on_committed(&self.home);
                if has_records {
                    self.metrics.store_flush_seconds.record(began.elapsed().as_secs_f64());
                }
                Ok(committed)
            }
            Err(error) => {
                self.home.rollback();
                self.limits.on_rolled_back();
                Err(error)
            }
        }
    }

    // ---- building ----

    /// Judges the requests and puts what must be durable into a batch. The plan says, request by
    /// request, what is to follow.
    fn build(&mut self, requests: &[LogRequest], admission: Admission<'_>) -> (Batch, Plans) {
        let mut batch = self.store.batch();
        let given_way = self.limits.give_way(&mut self.home, self.clock.now(), &mut batch);
        let requests = requests.iter().map(|request| self.judge(request, admission, &mut batch)).collect();
        let removals = self.add_effects(&mut batch);
        (batch, Plans { requests, removals, given_way, moved: std::mem::take(&mut self.moved) })
    }

    /// What makes the changes of the home durable; removals of mailboxes.
    fn add_effects(&mut self, batch: &mut Batch) -> Removals {
        let mut removals = Removals::new();
        for effect in self.home.drain_effects() {
            match effect {
                Effect::CreateMailbox(id) => batch.create_mailbox(store_id(id)),
                Effect::RemoveMailbox(id) => removals.push(batch.remove_mailbox(store_id(id))),
                #[cfg(feature = "mutants")]
                Effect::State(record) if mutant::takes_state_first() => {
                    mutant::commit(&mut self.store, &record)
                }
                Effect::State(record) => batch.state(&record),
            }
        }
        removals
    }

    fn judge(&mut self, request: &LogRequest, admission: Admission<'_>, batch: &mut Batch) -> Plan {
        match request {
            LogRequest::Publish { channel, items, .. } => Plan::Publish(
                items.iter().map(|item| self.judge_publish(channel, item, admission, batch)).collect(),
            ),
            LogRequest::Receive { link, items, .. } => match admission {
                Admission::NoEvents { code: Code::TooLarge, .. } => {
                    Plan::Receive(Vec::new(), Some(ReceiveError::TooLarge))
                }
                Admission::NoEvents { reason, .. } => {
                    Plan::Receive(Vec::new(), Some(LogError::Full(reason.to_owned()).into()))
                }
                Admission::All => self.judge_link(&sender(&link.peer, link.incarnation), items, batch),
            },
            LogRequest::Done { mailbox, ranges, .. } => Plan::Done(self.done(mailbox, ranges, batch)),
            LogRequest::Command { command, .. } => match admission {
                Admission::NoEvents { reason, .. } if self.makes_mailbox(command) => {
                    Plan::Command(Err(LogError::Full(reason.to_owned())))
                }
                _ => Plan::Command(match command {
                    Command::RequeueLetters(wanted) => self.requeue(wanted, batch),
                    Command::DropLetters(wanted) => Ok(self.drop_letters(wanted, batch)),
                    command => self.command(command),
                }),
            },
        }
    }

    fn judge_publish(
        &mut self,
        channel: &Arc<PublishChannel>,
        item: &PublishItem,
        admission: Admission<'_>,
        batch: &mut Batch,
    ) -> PublishPlan {
        let epoch = channel.origin.epoch;
        match item {
            PublishItem::Skip { from, through } => {
                self.home.skip(epoch, *from, *through);
                PublishPlan::Skip
            }
            PublishItem::Event { event, mailboxes, .. } => {
                if let Admission::NoEvents { reason, code } = admission {
                    return match self.home.foresee(epoch, event.sequence) {
                        Verdict::Accept => PublishPlan::Refused(code, reason.to_owned()),
                        verdict => PublishPlan::Judged(verdict, SmallVec::new()),
                    };
                }
                if let Some((code, reason)) = self.refused(event, mailboxes)
                    && self.home.foresee(epoch, event.sequence) == Verdict::Accept
                {
                    return PublishPlan::Refused(code, reason);
                }
                let verdict = self.home.publish(epoch, event.sequence);
                let entries = match verdict {
                    Verdict::Accept => self.append(event, mailboxes, batch),
                    _ => SmallVec::new(),
                };
                PublishPlan::Judged(verdict, entries)
            }
        }
    }

    /// Why this event is not taken, if it is not.
    fn refused(&mut self, event: &Event, mailboxes: &[Arc<Mailbox>]) -> Option<(Code, String)> {
        if let Some(reason) = self.limits.check_queued(mailboxes.len()) {
            return Some((Code::StoreFull, reason));
        }
        if !self.limits.has_rules() {
            return None;
        }
        self.head.clear();
        event.encode_head(&mut self.head);
        let bytes = (self.head.len() + event.body.len()) as u64;
        self.limits.check_rules(&self.home, &event.topic, bytes, mailboxes)
    }

    /// What came before a missing sequence is kept; the rest is not judged.
    fn judge_link(&mut self, sender: &Sender, items: &[ReceiveItem], batch: &mut Batch) -> Plan {
        let mut plans = Vec::with_capacity(items.len());
        for item in items {
            match self.judge_receive(sender, item, batch) {
                Ok(plan) => plans.push(plan),
                Err(error) => return Plan::Receive(plans, Some(error)),
            }
        }
        Plan::Receive(plans, None)
    }

    fn judge_receive(
        &mut self,
        sender: &Sender,
        item: &ReceiveItem,
        batch: &mut Batch,
    ) -> Result<ReceivePlan, ReceiveError> {
        match item {
            ReceiveItem::Hole { from, through } => {
                if !self.home.receive_hole(sender, *from, *through) {
                    let expected = self.home.received_through(sender) + 1;
                    return Err(ReceiveError::Missing { got: *from, expected });
                }
                Ok(ReceivePlan::Nothing)
            }
            ReceiveItem::Event { sequence, event, mailboxes } => {
                if let Some(reason) = self.limits.check_queued(mailboxes.len())
                    && self.home.received_through(sender) < *sequence
                {
                    return Err(LogError::Full(reason).into());
                }
                match self.home.receive(sender, *sequence) {
                    Verdict::Accept => Ok(ReceivePlan::Entries(self.append(event, mailboxes, batch))),
                    Verdict::Blocked { by } => Err(ReceiveError::Missing { got: *sequence, expected: by }),
                    _ => Ok(ReceivePlan::Duplicate),
                }
            }
        }
    }

    /// One append for the event and its entries. Mailboxes that are gone meanwhile are passed over.
    fn append(&mut self, event: &Event, mailboxes: &[Arc<Mailbox>], batch: &mut Batch) -> Entries {
        let entries: Entries = mailboxes.iter().map(|mailbox| self.home.enqueue(mailbox.id)).collect();
        let stored: SmallVec<[_; 2]> = mailboxes
            .iter()
            .zip(&entries)
            .filter_map(|(mailbox, sequence)| sequence.map(|n| (store_id(mailbox.id), MailboxSequence(n))))
            .collect();
        if !stored.is_empty() {
            self.head.clear();
            event.encode_head(&mut self.head);
            batch.event(&[&self.head, &event.body], &stored);
            let bytes = (self.head.len() + event.body.len()) as u64;
            for (mailbox, sequence) in &stored {
                self.limits.on_enqueued(&self.home, MailboxId(mailbox.0), sequence.0, bytes);
            }
        }
        entries
    }

    /// Entries are done with.
    fn done(&mut self, mailbox: &Mailbox, ranges: &[(u64, u64)], batch: &mut Batch) -> Removals {
        let Some(tail) = self.home.tail(mailbox.id) else { return Removals::new() };
        let last = tail.saturating_sub(1);
        let ranges = ranges.iter().map(|&(from, through)| from..=through.min(last));
        ranges.filter_map(|range| batch.acked(store_id(mailbox.id), range)).collect()
    }

    fn makes_mailbox(&self, command: &Command) -> bool {
        match command {
            Command::PutSubscription(wanted) => !self.home.has_subscription(&wanted.principal, &wanted.name),
            Command::EnsurePeer { name, authority } => !self.home.has_peer(name, *authority),
            _ => false,
        }
    }

    fn command(&mut self, command: &Command) -> Result<Output, LogError> {
        let home = &mut self.home;
        Ok(match command {
            Command::OpenPublish { principal, resume: None, hold } => {
                home.make_room_for_epoch(principal, |counter| is_connected(&self.channels, counter))?;
                let epoch = home.open_epoch(principal);
                self.channels.insert(epoch.counter, hold.clone());
                Output::Epoch { epoch, next: 1 }
            }
            Command::OpenPublish { principal, resume: Some(epoch), hold } => {
                let next = home.resume_epoch(principal, *epoch)?;
                self.channels.insert(epoch.counter, hold.clone());
                Output::Epoch { epoch: *epoch, next }
            }
            Command::ClosePublish { epoch } => {
                home.close_epoch(*epoch);
                Output::Done
            }
            Command::PutSubscription(wanted) => {
                let (id, existed) = home.put_subscription(wanted.clone())?;
                // Whoever asks for it attaches next.
                home.note_attached(id);
                subscription_output(home, id, existed)
            }
            Command::UpdateSubscription(wanted) => {
                let id = home.update_subscription(wanted.clone())?;
                self.limits.on_other_limits(id);
                subscription_output(home, id, true)
            }
            Command::RemoveSubscription { principal, name } => {
                let id = home.remove_subscription(principal, name)?;
                self.limits.on_changed(id);
                Output::Mailbox { id }
            }
            Command::NoteStarted { mailbox, below } => {
                home.note_started(*mailbox, *below);
                Output::Done
            }
            Command::EnsurePeer { name, authority } => {
                Output::Mailbox { id: home.ensure_peer(name, *authority) }
            }
            Command::ChangeInterest { peer, add, remove } => {
                home.change_interest(*peer, add.clone(), remove.clone());
                Output::Done
            }
            Command::ReceivedThrough { peer, incarnation } => {
                Output::Through(home.received_through(&sender(peer, *incarnation)))
            }
            Command::FindLetters { wanted, from, max } => {
                let chosen = home.select(wanted).into_iter().filter(|(range, _)| range.end() >= from);
                let chosen = chosen.map(|(range, letters)| {
                    (*range.start(), Letters { last: *range.end(), ..letters.clone() })
                });
                Output::Letters(chosen.take(*max).collect())
            }
            Command::Inspect => self.inspect(),
            Command::RequeueLetters(_) | Command::DropLetters(_) => Output::Done,
        })
    }

    // ---- finishing ----

    fn finish(&mut self, requests: Vec<LogRequest>, plans: Plans, committed: &Committed) {
        let mut completions = Completions::default();
        for (request, plan) in requests.into_iter().zip(plans.requests) {
            self.complete(request, plan, committed, &mut completions);
        }
        completions.removed(entries_removed(&plans.removals, committed));
        for given_way in plans.given_way {
            let events = committed.removed.get(given_way.removal.0 as usize).copied().unwrap_or(0);
            if (given_way.fate, given_way.reason) == (Fate::Dropped, Reason::Store) {
                self.relief.on_dropped(given_way.bytes);
                self.dropped = Instant::now();
            }
            completions.given_way(given_way, self.directory.get(given_way.mailbox), events);
        }
        for (removal, requeued) in plans.moved {
            let events = committed.removed.get(removal.0 as usize).copied().unwrap_or(0);
            let back = requeued.and_then(|back| Some((self.directory.get(back.to)?, back)));
            completions.letters_left(back, events);
        }
        completions.release(Flushed(()), &self.metrics);
    }

    fn complete(&self, request: LogRequest, plan: Plan, committed: &Committed, out: &mut Completions) {
        match (request, plan) {
            (LogRequest::Publish { channel, items, began }, Plan::Publish(plans)) => {
                out.began(began);
                items
                    .into_iter()
                    .zip(plans)
                    .for_each(|(item, plan)| complete_publish(&channel, item, plan, out));
            }
            (LogRequest::Receive { link, items, done }, Plan::Receive(plans, error)) => {
                let through = self.home.received_through(&sender(&link.peer, link.incarnation));
                let received = complete_receive(items, plans, out);
                out.received(link, through, received, done, error.map_or(Ok(()), Err));
            }
            (LogRequest::Done { mailbox, ranges, reason, confirm }, Plan::Done(removals)) => {
                out.done(mailbox, ranges, reason, confirm, entries_removed(&removals, committed));
            }
            (LogRequest::Command { reply, .. }, Plan::Command(answer)) => out.reply(reply, answer),
            _ => {}
        }
    }

    fn refuse_all(&mut self, requests: Vec<LogRequest>, error: &LogError, code: Code) {
        let mut completions = Completions::default();
        for request in requests {
            match request {
                LogRequest::Publish { channel, items, .. } => {
                    for item in items {
                        if let PublishItem::Event { event, .. } = item {
                            let retry_ms = code.is_retryable().then_some(FULL_RETRY_MS);
                            completions.refusal(&channel, event.sequence, code, error.to_string(), retry_ms);
                        }
                    }
                }
                LogRequest::Receive { link, done, .. } => {
                    completions.received(link, 0, Received::default(), done, Err(error.clone().into()));
                }
                LogRequest::Command { reply, .. } => completions.reply(reply, Err(error.clone())),
                LogRequest::Done { .. } => {}
            }
        }
        completions.release_refusals(&self.metrics);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // However the thread ended, nobody may wait for it.
        if std::thread::panicking() {
            self.health.stop("the log writer has panicked; restart the broker");
        }
        self.queue.end("the log writer has ended".into());
    }
}

fn sender(peer: &Principal, incarnation: Incarnation) -> Sender {
    Sender { peer: peer.clone(), store: incarnation.store, recovery_epoch: incarnation.recovery_epoch }
}

type Halves = (Vec<LogRequest>, Vec<LogRequest>);

/// Halves a batch that is too large, keeping its order; gives it back where it cannot be halved.
fn split(mut requests: Vec<LogRequest>) -> Result<Halves, Vec<LogRequest>> {
    if requests.len() > 1 {
        let second = requests.split_off(requests.len() / 2);
        return Ok((requests, second));
    }
    match requests.pop() {
        Some(LogRequest::Publish { channel, mut items, began }) if items.len() > 1 => {
            let rest = items.split_off(items.len() / 2);
            let second = LogRequest::Publish { channel: Arc::clone(&channel), items: rest, began };
            Ok((vec![LogRequest::Publish { channel, items, began }], vec![second]))
        }
        request => Err(request.into_iter().collect()),
    }
}

/// What follows once a batch is flushed.
struct Plans {
    requests: Vec<Plan>,
    /// Mailboxes that are removed.
    removals: Removals,
    given_way: Vec<GivenWay>,
    moved: Vec<Moved>,
}

/// Dead letters that leave with a batch: back to where they came from, or dropped.
type Moved = (RemovalIndex, Option<Requeued>);

/// What follows a request once its batch is flushed.
enum Plan {
    Publish(Vec<PublishPlan>),
    Receive(Vec<ReceivePlan>, Option<ReceiveError>),
    Done(Removals),
    Command(Result<Output, LogError>),
}

/// Removals of the batch. How many entries each took out is known when the batch is applied: an
/// entry may come and go within one batch, and two removals may ask for the same one.
/// What clients and peers are told of a full store; where it is, is for the log.
const FULL_REASON: &str = "no further segment can be made: let subscribers drain it, or make space";

type Removals = SmallVec<[RemovalIndex; 2]>;

fn entries_removed(removals: &Removals, committed: &Committed) -> u64 {
    removals.iter().filter_map(|removal| committed.removed.get(removal.0 as usize)).sum()
}

/// Sequences in the mailboxes of an event; `None` where the mailbox is gone.
type Entries = SmallVec<[Option<u64>; 2]>;

enum PublishPlan {
    Judged(Verdict, Entries),
    Refused(Code, String),
    Skip,
}

enum ReceivePlan {
    Entries(Entries),
    Duplicate,
    Nothing,
}

/// What a durable subscription is now, to be shared with routing.
fn subscription_output(home: &Home, id: MailboxId, existed: bool) -> Output {
    match home.subscription(id) {
        Some(subscription) => Output::Subscription { id, existed, subscription: Arc::clone(subscription) },
        None => Output::Mailbox { id },
    }
}

/// Whether a connection has a channel with the epoch of this counter.
fn is_connected(channels: &BTreeMap<u64, Weak<()>>, counter: u64) -> bool {
    channels.get(&counter).is_some_and(|hold| hold.strong_count() > 0)
}

fn store_id(id: MailboxId) -> fanal_store::MailboxId {
    fanal_store::MailboxId(id.0)
}

fn complete_publish(
    channel: &Arc<PublishChannel>,
    item: PublishItem,
    plan: PublishPlan,
    out: &mut Completions,
) {
    let PublishItem::Event { event, mailboxes, live } = item else { return };
    let sequence = event.sequence;
    let refuse =
        |out: &mut Completions, code, reason: String| out.refusal(channel, sequence, code, reason, None);
    match plan {
        PublishPlan::Skip => {}
        PublishPlan::Refused(code, reason) => {
            out.refusal(channel, sequence, code, reason, code.is_retryable().then_some(FULL_RETRY_MS));
        }
        PublishPlan::Judged(Verdict::Accept, entries) => {
            let destinations = complete_entries(&mailboxes, &entries, &event, out);
            live.iter().for_each(|queue| out.live(queue, &event));
            out.accepted();
            out.receipt(channel, sequence, Code::Durable, destinations);
        }
        PublishPlan::Judged(Verdict::Duplicate, _) => out.receipt(channel, sequence, Code::Duplicate, 0),
        PublishPlan::Judged(Verdict::Blocked { by }, _) => {
            refuse(out, Code::Blocked, format!("blocked by {by}"))
        }
        PublishPlan::Judged(Verdict::Skipped, _) => {
            refuse(out, Code::Conflict, "this sequence was skipped before: publish with a new one".into());
        }
        PublishPlan::Judged(Verdict::TooOld | Verdict::UnknownEpoch, _) => {
            refuse(out, Code::Gone, "too old to tell whether it was stored".into());
        }
    }
}

fn complete_entries(
    mailboxes: &[Arc<Mailbox>],
    entries: &[Option<u64>],
    event: &Arc<Event>,
    out: &mut Completions,
) -> u64 {
    let mut destinations = 0;
    for (mailbox, sequence) in mailboxes.iter().zip(entries) {
        if let Some(sequence) = sequence {
            out.entry(mailbox, *sequence, event);
            destinations += 1;
        }
    }
    destinations
}

fn complete_receive(items: Vec<ReceiveItem>, plans: Vec<ReceivePlan>, out: &mut Completions) -> Received {
    let mut received = Received::default();
    for (item, plan) in items.into_iter().zip(plans) {
        match (item, plan) {
            (ReceiveItem::Event { event, mailboxes, .. }, ReceivePlan::Entries(entries)) => {
                complete_entries(&mailboxes, &entries, &event, out);
                received.events += 1;
            }
            (_, ReceivePlan::Duplicate) => received.duplicates += 1,
            _ => {}
        }
    }
    received
}

mod letters;
#[cfg(feature = "mutants")]
mod mutant;
#[cfg(test)]
mod tests;
mod upkeep;
