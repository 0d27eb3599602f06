//! The log: judge, commit, release – in one order, in two steps of simulated time.
//!
//! As `broker/server/src/log/writer.rs`, on the real [`Home`] and the real [`Store`]. Between the
//! commit and the release other things happen, among them the end of the broker.

use std::collections::{BTreeMap, VecDeque};

use fanal_core::{Home, MailboxId};
use fanal_protocol::Epoch;
use fanal_store::{Batch, CommitError, Committed, RemovalIndex, Store};

use super::keep::{Departing, Keeping};
use super::{Node, is_flushed};
use crate::books::Step;
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::mutant::Mutant;
use plan::{Plan, accepted, refused};

pub(crate) use request::{
    Command, DoneReason, LogError, Output, PublishItem, ReceiveError, ReceiveItem, Request, Then,
};

mod answer;
mod judge;
mod plan;
mod request;

/// Requests that go into one batch.
const BATCH_REQUESTS_MAX: usize = 8;
/// A batch takes no further request beyond this: it must fit a segment.
const BATCH_BYTES_MAX: usize = 2_000;

/// A batch, what it takes out of mailboxes, and all that it does, for the books.
pub(crate) struct Built {
    pub(crate) batch: Batch,
    removals: Vec<Removal>,
    pub(crate) departing: Departing,
    pub(crate) steps: Vec<Step>,
}

impl Built {
    pub(crate) fn new(batch: Batch) -> Built {
        Built { batch, removals: Vec::new(), departing: Departing::default(), steps: Vec::new() }
    }
}

type Removal = (MailboxId, DoneReason, RemovalIndex);

/// A mailbox's row of the ledger, for one life of the broker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ledger {
    at_start: u64,
    pub(crate) routed: u64,
    pub(crate) acked: u64,
    expired: u64,
    pub(crate) gave_way: u64,
}

impl Ledger {
    /// The row of a mailbox that was found with so many entries.
    pub(crate) fn starting(at_start: u64) -> Self {
        Ledger { at_start, ..Ledger::default() }
    }

    fn queued(&self) -> u64 {
        (self.at_start + self.routed).wrapping_sub(self.acked + self.expired + self.gave_way)
    }
}

/// See the module.
pub(crate) struct Log {
    pub(crate) store: Store,
    pub(crate) home: Home,
    queue: VecDeque<Request>,
    /// Acks for which there was no room.
    unwritten: Vec<Request>,
    /// Requests of the next batch at most.
    batch_requests: usize,
    /// Judged (and, but for a mistake, committed): to be told.
    held: Option<(Vec<Request>, Vec<Plan>, Followed)>,
    /// Told, and to be committed: a mistake.
    late: Option<Built>,
    is_scheduled: bool,
    pub(crate) is_stopped: bool,
    /// Of the batch whose writing failed.
    pub(crate) in_doubt: Vec<(Epoch, u64)>,
    pub(crate) ledger: BTreeMap<MailboxId, Ledger>,
    pub(crate) keeping: Keeping,
}

/// What left mailboxes with a batch, to be told with the rest.
pub(crate) type Followed = (Departing, Committed);

impl Log {
    /// The log of a store that was opened.
    pub(crate) fn new(
        store: Store,
        home: Home,
        ledger: BTreeMap<MailboxId, Ledger>,
        keeping: Keeping,
    ) -> Self {
        Log {
            store,
            home,
            queue: VecDeque::new(),
            unwritten: Vec::new(),
            batch_requests: BATCH_REQUESTS_MAX,
            held: None,
            late: None,
            is_scheduled: false,
            is_stopped: false,
            in_doubt: Vec::new(),
            ledger,
            keeping,
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.held.is_none() && self.unwritten.is_empty()
    }
}

impl Node {
    /// Tries again the acks that found no room, after two checkpoints.
    pub(crate) fn rewrite_acks(&mut self, ctx: &mut Context) {
        if !self.log.unwritten.is_empty() && self.log.held.is_none() {
            self.checkpoint(ctx);
            self.checkpoint(ctx);
            for request in std::mem::take(&mut self.log.unwritten).into_iter().rev() {
                self.log.queue.push_front(request);
            }
        }
    }

    /// Asks the log for something.
    pub(crate) fn submit(&mut self, ctx: &mut Context, request: Request) {
        self.log.queue.push_back(request);
        self.schedule_commit(ctx);
    }

    /// Asks for a command.
    pub(crate) fn command(&mut self, ctx: &mut Context, command: Command, then: Then) {
        self.submit(ctx, Request::Command { command, then });
    }

    pub(crate) fn schedule_commit(&mut self, ctx: &mut Context) {
        let has_work = !self.log.queue.is_empty() || self.log.keeping.has_work();
        if !self.log.is_scheduled && self.log.held.is_none() && has_work && !self.is_dying {
            self.log.is_scheduled = true;
            let delay = ctx.random.below(ctx.plan.commit_us_max);
            self.timer(ctx, delay, BrokerTimer::Commit);
        }
    }

    /// The log writer takes what waits.
    pub(crate) fn on_commit(&mut self, ctx: &mut Context) {
        self.log.is_scheduled = false;
        let mut bytes = 0;
        let fits = |request: &&Request| {
            let before = bytes;
            bytes += request.size();
            before < BATCH_BYTES_MAX
        };
        let most = std::mem::replace(&mut self.log.batch_requests, BATCH_REQUESTS_MAX);
        let count = self.log.queue.iter().take(most).take_while(fits).count();
        let requests: Vec<Request> = self.log.queue.drain(..count).collect();
        if requests.len() > 1 {
            ctx.count(Count::GroupCommit);
        }
        if self.log.is_stopped {
            return self.refuse_all(ctx, requests);
        }
        if self.make_dead_letters(ctx).is_err() {
            return self.stop(ctx, requests);
        }
        let (batch, plan) = self.build(ctx, &requests, true);
        if ctx.is_mutant(Mutant::AckBeforeFlush) {
            self.finish(ctx, requests, plan, Followed::default());
            self.log.late = Some(batch);
            self.log.held = Some(Default::default());
        } else {
            self.commit_or_retry(ctx, batch, requests, plan);
        }
        if self.log.held.is_some() {
            let delay = ctx.random.below(ctx.plan.commit_us_max);
            self.timer(ctx, delay, BrokerTimer::Release);
        } else {
            self.schedule_commit(ctx);
        }
    }

    fn commit_or_retry(&mut self, ctx: &mut Context, batch: Built, requests: Vec<Request>, plan: Vec<Plan>) {
        match self.commit(ctx, batch, &requests, &plan) {
            Ok(followed) => self.log.held = Some((requests, plan, followed)),
            Err(CommitError::Full { .. }) => self.commit_without_events(ctx, requests),
            // In halves, until what cannot be halved is refused.
            Err(CommitError::BatchTooLarge { .. }) if requests.len() > 1 => {
                self.log.batch_requests = requests.len() / 2;
                requests.into_iter().rev().for_each(|request| self.log.queue.push_front(request));
            }
            Err(CommitError::BatchTooLarge { .. }) => self.commit_without_events(ctx, requests),
            Err(CommitError::Stopped { .. }) => self.stop(ctx, requests),
            Err(error) => ctx.oracle.break_(format!("b{}", self.number), error.to_string()),
        }
    }

    fn commit_without_events(&mut self, ctx: &mut Context, requests: Vec<Request>) {
        let (batch, plan) = self.build(ctx, &requests, false);
        match self.commit(ctx, batch, &requests, &plan) {
            Ok(followed) => self.log.held = Some((requests, plan, followed)),
            Err(CommitError::Stopped { .. }) => self.stop(ctx, requests),
            Err(_) => self.commit_acks(ctx, requests),
        }
    }

    /// The reserve is used up too: refuses all but what makes room.
    fn commit_acks(&mut self, ctx: &mut Context, requests: Vec<Request>) {
        let (acks, others): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| matches!(request, Request::Done { .. }));
        let (batch, plan) = self.build(ctx, &acks, true);
        match self.commit(ctx, batch, &acks, &plan) {
            Ok(followed) => {
                let refused =
                    others.iter().map(|request| refused(request, &LogError::Full)).collect::<Vec<_>>();
                let (mut requests, mut plan) = (acks, plan);
                requests.extend(others);
                plan.extend(refused);
                self.log.held = Some((requests, plan, followed));
            }
            Err(CommitError::Stopped { .. }) => self.stop(ctx, acks.into_iter().chain(others).collect()),
            Err(_) => {
                let plan = others.iter().map(|request| refused(request, &LogError::Full)).collect();
                self.log.held = Some((others, plan, Followed::default()));
                self.log.unwritten.extend(acks);
            }
        }
    }

    fn stop(&mut self, ctx: &mut Context, requests: Vec<Request>) {
        self.log.is_stopped = true;
        self.is_dying = true;
        self.note(ctx, format_args!("store stopped"));
        self.refuse_all(ctx, requests);
    }

    fn refuse_all(&mut self, ctx: &mut Context, requests: Vec<Request>) {
        let plan = requests.iter().map(|request| refused(request, &LogError::Stopped)).collect();
        self.finish(ctx, requests, plan, Followed::default());
    }

    /// Makes a batch durable, and says so to the books.
    pub(crate) fn commit(
        &mut self,
        ctx: &mut Context,
        built: Built,
        requests: &[Request],
        plan: &[Plan],
    ) -> Result<Followed, CommitError> {
        let Built { batch, removals, departing, steps } = built;
        match self.log.store.commit(batch) {
            Ok(committed) => {
                self.on_committed(ctx, &removals, &steps, &committed);
                // Where the disk ended what the store did after the batch, the next start tells.
                if is_flushed(&self.disk) || self.log.store.stats().is_stopped {
                    accepted(requests, plan)
                        .for_each(|(epoch, sequence)| ctx.oracle.on_flushed(epoch, sequence));
                }
                Ok((departing, committed))
            }
            Err(error) => {
                self.note(ctx, format_args!("commit failed: {error}"));
                if matches!(error, CommitError::Stopped { .. }) {
                    self.log.in_doubt = accepted(requests, plan).collect();
                    ctx.oracle.books.on_doubt(self.number, ctx.now(), steps);
                }
                self.log.home.rollback();
                self.log.keeping.on_rolled_back();
                Err(error)
            }
        }
    }

    fn on_committed(
        &mut self,
        ctx: &mut Context,
        removals: &[Removal],
        steps: &[Step],
        committed: &Committed,
    ) {
        self.log.home.commit();
        self.log.keeping.on_committed(&self.log.home);
        self.count_done(removals, committed);
        let checked = ctx.oracle.books.on_committed(self.number, ctx.now(), steps, &committed.removed);
        if let Err(what) = checked {
            ctx.oracle.break_(format!("b{}", self.number), format!("b{}: {what}", self.number));
        }
    }

    /// The log writer tells what it wrote.
    pub(crate) fn on_release(&mut self, ctx: &mut Context) {
        let Some((requests, plan, mut followed)) = self.log.held.take() else { return };
        if let Some(Built { batch, removals, departing, steps }) = self.log.late.take()
            && let Ok(committed) = self.log.store.commit(batch)
        {
            self.on_committed(ctx, &removals, &steps, &committed);
            followed = (departing, committed);
        }
        self.finish(ctx, requests, plan, followed);
        if !self.log.is_stopped && self.log.store.checkpoint_due() {
            self.checkpoint(ctx);
        }
        self.relieve(ctx);
        self.schedule_commit(ctx);
    }

    pub(crate) fn checkpoint(&mut self, ctx: &mut Context) {
        let snapshot = self.log.home.snapshot();
        match self.log.store.checkpoint(&mut snapshot.into_iter()) {
            Ok(()) => ctx.count(Count::Checkpoint),
            Err(CommitError::Stopped { .. }) => self.stop(ctx, Vec::new()),
            Err(_) => {}
        }
    }

    /// The store says what each removal took out.
    fn count_done(&mut self, removals: &[Removal], committed: &Committed) {
        for &(mailbox, reason, RemovalIndex(index)) in removals {
            let taken = committed.removed[index as usize];
            let row = self.log.ledger.entry(mailbox).or_default();
            match reason {
                DoneReason::Acked => row.acked += taken,
                DoneReason::Expired => row.expired += taken,
            }
        }
    }

    /// A mailbox, whosever it is.
    pub(crate) fn mailbox(&self, id: MailboxId) -> Option<&super::mailbox::Mailbox> {
        let peers = self.peers.values().filter_map(|peer| peer.mailbox.as_ref());
        self.durables.values().map(|durable| &durable.mailbox).chain(peers).find(|mailbox| mailbox.id == id)
    }

    /// As [`Node::mailbox`], to change it.
    pub(crate) fn mailbox_mut(&mut self, id: MailboxId) -> Option<&mut super::mailbox::Mailbox> {
        if let Some(durable) = self.durables.get_mut(&id) {
            return Some(&mut durable.mailbox);
        }
        self.peers.values_mut().filter_map(|peer| peer.mailbox.as_mut()).find(|mailbox| mailbox.id == id)
    }

    /// The ledger, where nothing is under way: what the ledger says is queued is queued.
    pub(crate) fn check_ledger(&self, ctx: &mut Context) {
        if !self.log.is_idle() || self.log.is_stopped {
            return;
        }
        let queued = self.reader.mailboxes().into_iter().map(|(id, stats)| (id.0, stats.events)).collect();
        let checked = ctx.oracle.books.check_ledger(self.number, &queued);
        self.must(ctx, checked);
        self.check_home(ctx);
        for (id, stats) in self.reader.mailboxes() {
            let row = self.log.ledger.get(&MailboxId(id.0)).copied().unwrap_or_default();
            if row.queued() != stats.events {
                let what = format!(
                    "b{}: mailbox {id} holds {} entries, the ledger says {row:?}",
                    self.number, stats.events
                );
                ctx.oracle.break_(format!("b{}", self.number), what);
            }
        }
    }
}

/// The store's word for a mailbox.
pub(crate) fn store_id(id: MailboxId) -> fanal_store::MailboxId {
    fanal_store::MailboxId(id.0)
}
