//! The log: judge, commit, release – in one order, in two steps of simulated time.
//!
//! As `broker/server/src/log/writer.rs`, on the real [`Home`] and the real [`Store`]. Between the
//! commit and the release other things happen, among them the end of the broker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fanal_core::home::{Effect, HomeRefusal, KeepPatch, Principal, Selection, Sender, Wanted};
use fanal_core::limits::WhenFull;
use fanal_core::{Event, Home, MailboxId, Verdict};
use fanal_protocol::control::{Acked, Exception, HopAck, InterestEntry};
use fanal_protocol::receipt::ReceiptRuns;
use fanal_protocol::stream::Origin;
use fanal_protocol::{Code, Epoch};
use fanal_store::{Batch, CommitError, Committed, MailboxSequence, RemovalIndex, Store};

use super::keep::{Departing, Keeping, stored_bytes};
use super::route::Near;
use super::{AUTHORITY, Node, broker_name, is_flushed};
use crate::books::{Choice, Owner, Step, Stored};
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::mutant::Mutant;
use crate::net::ConnId;

/// Requests that go into one batch.
const BATCH_REQUESTS_MAX: usize = 8;
/// A batch takes no further request beyond this: it must fit a segment.
const BATCH_BYTES_MAX: usize = 2_000;
/// When a publisher should try again after a full store.
const FULL_RETRY_MS: u64 = 1_000;

/// One step of a publish channel.
#[derive(Debug, Clone)]
pub(crate) enum PublishItem {
    /// An event and where it goes.
    Event { event: Arc<Event>, mailboxes: Vec<MailboxId>, live: Vec<Near> },
    /// Sequences given up.
    Skip { from: u64, through: u64 },
}

/// One step of a link's durable path.
#[derive(Debug, Clone)]
pub(crate) enum ReceiveItem {
    /// An event and the durable subscriptions here that it goes to.
    Event { sequence: u64, event: Arc<Event>, mailboxes: Vec<MailboxId> },
    /// Sequences that the sender passes over.
    Hole { from: u64, through: u64 },
}

/// Why entries are done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoneReason {
    /// The destination acked them.
    Acked,
    /// Their time was over.
    Expired,
}

/// A control operation on the durable state.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    OpenPublish { principal: Principal, resume: Option<Epoch>, conn: ConnId },
    ClosePublish { epoch: Epoch },
    PutSubscription(Wanted),
    UpdateSubscription(Wanted),
    RemoveSubscription { principal: Principal, name: String },
    EnsurePeer { peer: usize },
    ChangeInterest { mailbox: MailboxId, add: Vec<InterestEntry>, remove: Vec<InterestEntry> },
    ReceivedThrough { sender: Sender },
    RequeueLetters(Selection),
    DropLetters(Selection),
}

/// What a command gave.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    Epoch {
        epoch: Epoch,
        next: u64,
    },
    Mailbox {
        id: MailboxId,
        existed: bool,
    },
    Through(u64),
    /// Of dead letters.
    Count(u64),
    Done,
}

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

/// Why a request was not carried out.
#[derive(Debug, Clone)]
pub(crate) enum LogError {
    Refused(HomeRefusal),
    Full,
    Stopped,
}

/// What waits for a command's answer.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Operator,
    Session { conn: ConnId, frame: Box<fanal_protocol::Control> },
    Marked { conn: ConnId },
    PeerMade { conn: ConnId },
    InterestChanged { conn: ConnId },
}

/// Anything for the log.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Publish { conn: ConnId, channel: u32, origin: Arc<Origin>, items: Vec<PublishItem> },
    Receive { conn: ConnId, sender: Sender, items: Vec<ReceiveItem> },
    Done { mailbox: MailboxId, ranges: Vec<(u64, u64)>, reason: DoneReason, confirm: Option<(ConnId, u32)> },
    Command { command: Command, then: Then },
}

/// Why a link's batch was not recorded.
#[derive(Debug, Clone)]
pub(crate) enum ReceiveError {
    Missing { got: u64, expected: u64 },
    Full,
    Stopped,
}

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

pub(crate) enum Plan {
    Publish(Vec<PublishPlan>),
    Receive(Vec<ReceivePlan>, u64, Option<ReceiveError>),
    Done,
    Command(Result<Output, LogError>),
}

pub(crate) type Entries = Vec<Option<u64>>;

pub(crate) enum PublishPlan {
    Judged(Verdict, Entries),
    Refused(Code),
    Skip,
}

pub(crate) enum ReceivePlan {
    Entries(Entries),
    Nothing,
}

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
            bytes += size(request);
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

    // ---- judging ----

    fn build(&mut self, ctx: &Context, requests: &[Request], takes_events: bool) -> (Built, Vec<Plan>) {
        let mut built = Built::new(self.log.store.batch());
        self.give_way(ctx, &mut built);
        let plan = requests.iter().map(|request| self.judge(ctx, request, takes_events, &mut built));
        let plan = plan.collect();
        self.add_effects(&mut built);
        (built, plan)
    }

    /// What makes the changes of the home durable.
    pub(crate) fn add_effects(&mut self, built: &mut Built) {
        for effect in self.log.home.drain_effects() {
            match effect {
                Effect::CreateMailbox(id) => built.batch.create_mailbox(store_id(id)),
                // The row of a mailbox goes with it.
                Effect::RemoveMailbox(id) => _ = built.batch.remove_mailbox(store_id(id)),
                Effect::State(record) => built.batch.state(&record),
            }
        }
    }

    fn judge(&mut self, ctx: &Context, request: &Request, takes_events: bool, built: &mut Built) -> Plan {
        match request {
            Request::Publish { origin, items, .. } => Plan::Publish(
                items.iter().map(|item| self.judge_publish(ctx, origin, item, takes_events, built)).collect(),
            ),
            Request::Receive { .. } if !takes_events => {
                Plan::Receive(Vec::new(), 0, Some(ReceiveError::Full))
            }
            Request::Receive { sender, items, .. } => self.judge_link(ctx, sender, items, built),
            Request::Done { .. } if ctx.is_mutant(Mutant::ForgetAck) => Plan::Done,
            Request::Done { mailbox, ranges, reason, .. } => {
                self.done(*mailbox, ranges, *reason, built);
                Plan::Done
            }
            Request::Command { command, .. } if !takes_events && self.makes_mailbox(command) => {
                Plan::Command(Err(LogError::Full))
            }
            Request::Command { command, .. } => {
                let letters = self.carry_out_letters(ctx, command, built);
                Plan::Command(letters.unwrap_or_else(|| self.carry_out_and_say(command, &mut built.steps)))
            }
        }
    }

    fn judge_publish(
        &mut self,
        ctx: &Context,
        origin: &Origin,
        item: &PublishItem,
        takes_events: bool,
        built: &mut Built,
    ) -> PublishPlan {
        match item {
            PublishItem::Skip { from, through } => {
                self.log.home.skip(origin.epoch, *from, *through);
                PublishPlan::Skip
            }
            PublishItem::Event { event, .. } if !takes_events => {
                match self.log.home.foresee(origin.epoch, event.sequence) {
                    Verdict::Accept => PublishPlan::Refused(Code::StoreFull),
                    verdict => PublishPlan::Judged(verdict, Vec::new()),
                }
            }
            PublishItem::Event { event, mailboxes, .. } => {
                if let Some(code) = self.refusal(ctx, event, mailboxes)
                    && self.log.home.foresee(origin.epoch, event.sequence) == Verdict::Accept
                {
                    return PublishPlan::Refused(code);
                }
                let mut verdict = self.log.home.publish(origin.epoch, event.sequence);
                if verdict == Verdict::Duplicate && ctx.is_mutant(Mutant::AppendDuplicate) {
                    verdict = Verdict::Accept;
                }
                let entries = match verdict {
                    Verdict::Accept => self.append(ctx, event, mailboxes, built),
                    _ => Vec::new(),
                };
                PublishPlan::Judged(verdict, entries)
            }
        }
    }

    fn refusal(&mut self, ctx: &Context, event: &Event, mailboxes: &[MailboxId]) -> Option<Code> {
        let is_full = |id: &MailboxId| {
            let held = self.reader.mailbox(store_id(*id)).map_or(0, |stats| stats.events);
            self.log.home.keep(*id).limits.events.is_some_and(|limit| held >= limit)
        };
        if ctx.is_mutant(Mutant::RefuseWhenFull) && mailboxes.iter().any(is_full) {
            return Some(Code::StoreFull);
        }
        self.refused_by_limits(event, mailboxes)
    }

    fn judge_link(
        &mut self,
        ctx: &Context,
        sender: &Sender,
        items: &[ReceiveItem],
        built: &mut Built,
    ) -> Plan {
        let (mut plans, mut error) = (Vec::with_capacity(items.len()), None);
        for item in items {
            match self.judge_receive(ctx, sender, item, built) {
                Ok(plan) => plans.push(plan),
                Err(missing) => {
                    error = Some(missing);
                    break;
                }
            }
        }
        Plan::Receive(plans, self.log.home.received_through(sender), error)
    }

    fn judge_receive(
        &mut self,
        ctx: &Context,
        sender: &Sender,
        item: &ReceiveItem,
        built: &mut Built,
    ) -> Result<ReceivePlan, ReceiveError> {
        match item {
            ReceiveItem::Hole { from, through } => {
                if self.log.home.receive_hole(sender, *from, *through) {
                    return Ok(ReceivePlan::Nothing);
                }
                Err(ReceiveError::Missing {
                    got: *from,
                    expected: self.log.home.received_through(sender) + 1,
                })
            }
            ReceiveItem::Event { sequence, event, mailboxes } => {
                if self.log.home.received_through(sender) < *sequence && self.has_too_many(mailboxes) {
                    return Err(ReceiveError::Full);
                }
                match self.log.home.receive(sender, *sequence) {
                    Verdict::Accept => Ok(ReceivePlan::Entries(self.append(ctx, event, mailboxes, built))),
                    Verdict::Blocked { by } => Err(ReceiveError::Missing { got: *sequence, expected: by }),
                    _ if ctx.is_mutant(Mutant::ResendUnmarked) => {
                        Ok(ReceivePlan::Entries(self.append(ctx, event, mailboxes, built)))
                    }
                    _ => Ok(ReceivePlan::Nothing),
                }
            }
        }
    }

    fn append(
        &mut self,
        ctx: &Context,
        event: &Event,
        mailboxes: &[MailboxId],
        built: &mut Built,
    ) -> Entries {
        let entries: Entries = mailboxes.iter().map(|id| self.log.home.enqueue(*id)).collect();
        let stored: Vec<_> = mailboxes
            .iter()
            .zip(&entries)
            .filter_map(|(id, sequence)| sequence.map(|n| (store_id(*id), MailboxSequence(n))))
            .collect();
        if !stored.is_empty() {
            let mut head = Vec::new();
            event.encode_head(&mut head);
            built.batch.event(&[&head, &event.body], &stored);
            let bytes = stored_bytes(event);
            for (mailbox, sequence) in &stored {
                let id = MailboxId(mailbox.0);
                self.log.keeping.on_enqueued(&self.log.home, id, sequence.0, bytes);
                built.steps.extend(appended(ctx, event, bytes, mailbox.0, sequence.0));
            }
        }
        entries
    }

    fn done(&mut self, mailbox: MailboxId, ranges: &[(u64, u64)], reason: DoneReason, built: &mut Built) {
        let Some(tail) = self.log.home.tail(mailbox) else { return };
        let last = tail.saturating_sub(1);
        for &(from, through) in ranges {
            let range = (from, through.min(last));
            let Some(removal) = built.batch.acked(store_id(mailbox), range.0..=range.1) else { continue };
            built.removals.push((mailbox, reason, removal));
            let (mailbox, is_expired) = (mailbox.0, reason == DoneReason::Expired);
            built.steps.push(Step::Done { mailbox, range, is_expired, count: removal.0 });
        }
    }

    fn makes_mailbox(&self, command: &Command) -> bool {
        match command {
            Command::PutSubscription(wanted) => {
                !self.log.home.has_subscription(&wanted.principal, &wanted.name)
            }
            Command::EnsurePeer { peer } => !self.log.home.has_peer(&broker_name(*peer), AUTHORITY),
            _ => false,
        }
    }

    /// Carries a command out, and tells the books what it does to mailboxes.
    fn carry_out_and_say(&mut self, command: &Command, steps: &mut Vec<Step>) -> Result<Output, LogError> {
        let is_new = self.makes_mailbox(command);
        let output = self.carry_out(command)?;
        let Output::Mailbox { id, .. } = output else { return Ok(output) };
        let mailbox = id.0;
        let choice = |wanted: &Wanted| choice(&wanted.keep);
        match command {
            Command::PutSubscription(wanted) if is_new => {
                let owner = Owner::Subscription(wanted.principal.name.clone(), wanted.name.clone());
                steps.push(Step::Make { mailbox, owner, choice: choice(wanted) });
            }
            Command::UpdateSubscription(wanted) => {
                self.log.keeping.on_other_limits(id);
                steps.push(Step::Choose { mailbox, choice: choice(wanted) });
            }
            Command::RemoveSubscription { .. } => {
                self.log.keeping.on_changed(id);
                steps.push(Step::Remove { mailbox });
            }
            Command::EnsurePeer { peer } if is_new => {
                steps.push(Step::Make { mailbox, owner: Owner::Peer(*peer), choice: Choice::default() });
            }
            _ => {}
        }
        Ok(output)
    }

    fn carry_out(&mut self, command: &Command) -> Result<Output, LogError> {
        let (home, channels) = (&mut self.log.home, &mut self.log.keeping.channels);
        let sessions = &self.sessions;
        Ok(match command {
            Command::OpenPublish { principal, resume: None, conn } => {
                let is_connected =
                    |counter: u64| channels.get(&counter).is_some_and(|conn| sessions.contains_key(conn));
                home.make_room_for_epoch(principal, is_connected).map_err(LogError::Refused)?;
                let epoch = home.open_epoch(principal);
                channels.insert(epoch.counter, *conn);
                Output::Epoch { epoch, next: 1 }
            }
            Command::OpenPublish { principal, resume: Some(epoch), conn } => {
                let next = home.resume_epoch(principal, *epoch).map_err(LogError::Refused)?;
                channels.insert(epoch.counter, *conn);
                Output::Epoch { epoch: *epoch, next }
            }
            Command::ClosePublish { epoch } => {
                home.close_epoch(*epoch);
                Output::Done
            }
            Command::PutSubscription(wanted) => {
                let (id, existed) = home.put_subscription(wanted.clone()).map_err(LogError::Refused)?;
                Output::Mailbox { id, existed }
            }
            Command::UpdateSubscription(wanted) => {
                let id = home.update_subscription(wanted.clone()).map_err(LogError::Refused)?;
                Output::Mailbox { id, existed: true }
            }
            Command::RemoveSubscription { principal, name } => {
                let id = home.remove_subscription(principal, name).map_err(LogError::Refused)?;
                Output::Mailbox { id, existed: true }
            }
            Command::EnsurePeer { peer } => {
                Output::Mailbox { id: home.ensure_peer(&broker_name(*peer), AUTHORITY), existed: true }
            }
            Command::ChangeInterest { mailbox, add, remove } => {
                home.change_interest(*mailbox, add.clone(), remove.clone());
                Output::Done
            }
            Command::ReceivedThrough { sender } => Output::Through(home.received_through(sender)),
            Command::RequeueLetters(_) | Command::DropLetters(_) => Output::Done,
        })
    }

    // ---- telling ----

    fn finish(
        &mut self,
        ctx: &mut Context,
        requests: Vec<Request>,
        plan: Vec<Plan>,
        (departing, committed): Followed,
    ) {
        self.tell_departed(ctx, departing, &committed);
        let mut entries: BTreeMap<MailboxId, Vec<(u64, Arc<Event>)>> = BTreeMap::new();
        let mut live = Vec::new();
        let mut later = Vec::new();
        for (request, plan) in requests.into_iter().zip(plan) {
            collect(&request, &plan, &mut entries, &mut live);
            later.push((request, plan));
        }
        for (id, entries) in entries {
            self.on_entries(ctx, id, &entries);
        }
        for (near, event) in live {
            self.push_live(ctx, near, &event);
        }
        for (request, plan) in later {
            self.answer(ctx, request, plan);
        }
    }

    fn on_entries(&mut self, ctx: &mut Context, id: MailboxId, entries: &[(u64, Arc<Event>)]) {
        self.log.ledger.entry(id).or_default().routed += entries.len() as u64;
        if let Some(mailbox) = self.mailbox_mut(id) {
            mailbox.on_flushed(entries);
            if let Some(holder) = mailbox.holder {
                self.wake(ctx, holder.conn);
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

    fn answer(&mut self, ctx: &mut Context, request: Request, plan: Plan) {
        match (request, plan) {
            (Request::Publish { conn, channel, items, .. }, Plan::Publish(plans)) => {
                let mut runs = ReceiptRuns::default();
                for (item, plan) in items.iter().zip(plans) {
                    if let PublishItem::Event { event, .. } = item {
                        put_receipt(&mut runs, channel, event.sequence, plan);
                    }
                }
                for frame in runs.drain() {
                    self.tell(ctx, conn, frame);
                }
            }
            (Request::Receive { conn, .. }, Plan::Receive(_, through, None)) => {
                ctx.count(Count::HopAcked);
                self.note(ctx, format_args!("records through {through} of c{conn}"));
                self.tell(ctx, conn, HopAck { through });
                self.on_recorded(ctx, conn, None);
            }
            (Request::Receive { conn, .. }, Plan::Receive(_, _, error)) => self.on_recorded(ctx, conn, error),
            (Request::Done { mailbox, ranges, reason: DoneReason::Expired, .. }, Plan::Done) => {
                let found = self.mailbox_mut(mailbox).filter(|_| !ranges.is_empty());
                let holder = found.and_then(|found| found.on_removed(&ranges).then_some(found.holder?));
                if let Some(holder) = holder {
                    self.wake(ctx, holder.conn);
                }
            }
            // Whoever waits for it waits on; the real connection ends.
            (request @ Request::Done { reason: DoneReason::Expired, .. }, _) if !self.log.is_stopped => {
                self.submit(ctx, request);
            }
            (Request::Done { ranges, confirm: Some((conn, channel)), .. }, Plan::Done) => {
                self.tell(ctx, conn, Acked { channel, ranges });
            }
            (Request::Command { command, then }, Plan::Command(answer)) => {
                self.on_answer(ctx, command, then, answer);
            }
            _ => {}
        }
    }

    fn on_answer(
        &mut self,
        ctx: &mut Context,
        command: Command,
        then: Then,
        answer: Result<Output, LogError>,
    ) {
        match then {
            Then::Operator => self.on_operator_answer(ctx, answer),
            Then::Session { conn, frame } => self.on_session_answer(ctx, conn, *frame, command, answer),
            Then::Marked { conn } => self.on_marked(ctx, conn, answer),
            Then::PeerMade { conn } => self.on_peer_made(ctx, conn, answer),
            Then::InterestChanged { conn } => self.on_interest_changed(ctx, conn, answer.is_ok()),
        }
    }

    fn on_operator_answer(&mut self, ctx: &mut Context, answer: Result<Output, LogError>) {
        match answer {
            Ok(Output::Count(events)) => self.note(ctx, format_args!("operator: {events} dead letters")),
            Err(LogError::Refused(_)) => ctx.count(Count::RequeueRefused),
            _ => {}
        }
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

/// What a mailbox gets, for the books.
fn appended(ctx: &Context, event: &Event, bytes: u64, mailbox: u64, sequence: u64) -> Option<Step> {
    let number = crate::client::event_number(&event.body)?;
    let home = ctx.oracle.event(number).home;
    let stored = Stored { event: number, home, bytes };
    Some(Step::Append { mailbox, sequence, stored })
}

/// What a request says of a mailbox: this simulator's clients always say all of it.
fn choice(said: &KeepPatch) -> Choice {
    let limit = |said: Option<u64>| said.filter(|limit| *limit > 0);
    let limits = fanal_core::limits::Limits {
        bytes: limit(said.bytes),
        events: limit(said.events),
        age_ms: limit(said.age_ms),
    };
    Choice { limits, drops: said.when_full == Some(WhenFull::DropOldest) }
}

/// About the bytes of a request in the log.
fn size(request: &Request) -> usize {
    match request {
        Request::Publish { items, .. } => items
            .iter()
            .map(|item| match item {
                PublishItem::Event { event, .. } => event.body.len() + 150,
                PublishItem::Skip { .. } => 16,
            })
            .sum(),
        Request::Receive { items, .. } => items.len() * 400,
        Request::Done { ranges, .. } => 16 + ranges.len() * 8,
        Request::Command { .. } => 300,
    }
}

/// What a batch accepts.
fn accepted<'a>(requests: &'a [Request], plan: &'a [Plan]) -> impl Iterator<Item = (Epoch, u64)> + 'a {
    requests.iter().zip(plan).flat_map(|(request, plan)| {
        let (items, plans, epoch) = match (request, plan) {
            (Request::Publish { origin, items, .. }, Plan::Publish(plans)) => {
                (&items[..], &plans[..], origin.epoch)
            }
            _ => (&[][..], &[][..], Epoch::default()),
        };
        items.iter().zip(plans).filter_map(move |(item, plan)| match (item, plan) {
            (PublishItem::Event { event, .. }, PublishPlan::Judged(Verdict::Accept, _)) => {
                Some((epoch, event.sequence))
            }
            _ => None,
        })
    })
}

fn collect(
    request: &Request,
    plan: &Plan,
    entries: &mut BTreeMap<MailboxId, Vec<(u64, Arc<Event>)>>,
    live: &mut Vec<(Near, Arc<Event>)>,
) {
    let mut add = |mailboxes: &[MailboxId], sequences: &Entries, event: &Arc<Event>| {
        for (id, sequence) in mailboxes.iter().zip(sequences) {
            if let Some(sequence) = sequence {
                entries.entry(*id).or_default().push((*sequence, Arc::clone(event)));
            }
        }
    };
    match (request, plan) {
        (Request::Publish { items, .. }, Plan::Publish(plans)) => {
            for (item, plan) in items.iter().zip(plans) {
                if let (
                    PublishItem::Event { event, mailboxes, live: near },
                    PublishPlan::Judged(Verdict::Accept, sequences),
                ) = (item, plan)
                {
                    add(mailboxes, sequences, event);
                    live.extend(near.iter().map(|near| (*near, Arc::clone(event))));
                }
            }
        }
        (Request::Receive { items, .. }, Plan::Receive(plans, ..)) => {
            for (item, plan) in items.iter().zip(plans) {
                if let (ReceiveItem::Event { event, mailboxes, .. }, ReceivePlan::Entries(sequences)) =
                    (item, plan)
                {
                    add(mailboxes, sequences, event);
                }
            }
        }
        _ => {}
    }
}

fn put_receipt(runs: &mut ReceiptRuns, channel: u32, sequence: u64, plan: PublishPlan) {
    let mut refuse = |code: Code, reason: String| {
        let retry_ms = code.is_retryable().then_some(FULL_RETRY_MS);
        let exception = Exception { sequence, code: code.number(), reason, retry_ms };
        runs.push_refusal(channel, false, exception);
    };
    match plan {
        PublishPlan::Skip => {}
        PublishPlan::Refused(code) => refuse(code, String::new()),
        PublishPlan::Judged(Verdict::Accept, entries) => {
            let destinations = entries.iter().flatten().count() as u64;
            runs.push(channel, false, sequence, Code::Durable, destinations);
        }
        PublishPlan::Judged(Verdict::Duplicate, _) => runs.push(channel, false, sequence, Code::Duplicate, 0),
        PublishPlan::Judged(Verdict::Blocked { by }, _) => refuse(Code::Blocked, format!("blocked by {by}")),
        PublishPlan::Judged(Verdict::Skipped, _) => refuse(Code::Conflict, "skipped".into()),
        PublishPlan::Judged(Verdict::TooOld | Verdict::UnknownEpoch, _) => refuse(Code::Gone, "gone".into()),
    }
}

fn refused(request: &Request, error: &LogError) -> Plan {
    let (code, link) = match error {
        LogError::Full => (Code::StoreFull, ReceiveError::Full),
        _ => (Code::Unavailable, ReceiveError::Stopped),
    };
    match request {
        Request::Publish { items, .. } => Plan::Publish(
            items
                .iter()
                .map(|item| match item {
                    PublishItem::Event { .. } => PublishPlan::Refused(code),
                    PublishItem::Skip { .. } => PublishPlan::Skip,
                })
                .collect(),
        ),
        Request::Receive { .. } => Plan::Receive(Vec::new(), 0, Some(link)),
        // An ack that is not written is not confirmed: it comes again.
        Request::Done { .. } => Plan::Publish(Vec::new()),
        Request::Command { .. } => Plan::Command(Err(error.clone())),
    }
}

/// The store's word for a mailbox.
pub(crate) fn store_id(id: MailboxId) -> fanal_store::MailboxId {
    fanal_store::MailboxId(id.0)
}
