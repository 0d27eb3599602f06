//! What holds mailboxes to their limits: the broker's own keeper, compiled as it is, and around it what
//! `broker/server/src/log/writer.rs` does with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanal_core::age::AgeClock;
use fanal_core::home::{Burial, Destination, Requeued, Selection};
use fanal_core::limits::{Reason, Relief, WhenFull};
use fanal_core::{Event, Home, MailboxId};
use fanal_protocol::Code;
use fanal_store::{CommitError, Committed, MailboxSequence, Reader, RemovalIndex};

use super::log::{Built, Command, LogError, Output, store_id};
use super::{Node, SEGMENT_BYTES};
use crate::books::{Choice, Owner, Step};
use crate::config;
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::mailbox::Directory;
use crate::mutant::Mutant;
use limits::{Fate, GivenWay, LimitKeeper, Of, Rule};

#[path = "../../../../broker/server/src/log/limits.rs"]
#[allow(dead_code, reason = "the broker uses all of it")]
mod limits;

/// How often the log looks at what changes without a request.
const TICK_US: u64 = 1_000_000;
/// How often a store that is nearly full is looked at, when nothing must give way.
const RELIEF_PAUSE_US: u64 = 10_000;
/// After so long, what was dropped and has not come back as room will not.
const RELIEF_PATIENCE_US: u64 = 1_000_000;

/// See the module.
pub(crate) struct Keeping {
    keeper: LimitKeeper,
    directory: Arc<Directory>,
    relief: Relief,
    relief_from_us: u64,
    dropped_us: u64,
    /// When this life began, by the clock that cannot jump.
    began: Duration,
    /// Channels by the counters of their epochs.
    pub(crate) channels: BTreeMap<u64, crate::net::ConnId>,
    idle_looked: Option<u64>,
    /// Something is to be written though nobody asked.
    pub(crate) has_news: bool,
    /// The last batch could not be written.
    pub(crate) is_held_up: bool,
}

impl Keeping {
    /// The limits of a plan, for a home that was recovered.
    pub(crate) fn new(ctx: &Context, reader: Reader, home: &Home, wall: u64) -> Keeping {
        let plan = &ctx.plan;
        let configured = config::Limits {
            segment_bytes: SEGMENT_BYTES,
            store_bytes: plan.store_bytes,
            store_events: plan.bounds.store_events,
            store_age_ms: plan.bounds.store_age_ms,
            give_way_percent: 90,
            mailbox: plan.bounds.mailbox,
            dead_letters: plan.bounds.letters,
            ..config::Limits::default()
        };
        let topics = plan.rule.iter().map(|topic| (*topic).to_owned());
        let rules: Vec<_> = topics.map(|topic| config::RuleConfig { name: "rule".into(), topic }).collect();
        let directory = Arc::new(Directory::default());
        let age = AgeClock::start(wall, home.time());
        // Filters of the plan are well formed, and this folder does not exist.
        let rules = Rule::read(&rules).unwrap_or_default();
        let data = PathBuf::from("/simulated/nowhere");
        let mut keeper = LimitKeeper::new(configured, data, reader, Arc::clone(&directory), age, rules);
        keeper.look_at_all(home);
        Keeping {
            keeper,
            directory,
            relief: Relief::default(),
            relief_from_us: ctx.now_us,
            dropped_us: ctx.now_us,
            began: monotonic(ctx),
            channels: BTreeMap::new(),
            idle_looked: None,
            has_news: false,
            is_held_up: false,
        }
    }

    /// Whether a batch is to be written though nobody asked.
    pub(crate) fn has_work(&self) -> bool {
        self.has_news || self.keeper.has_work()
    }

    /// An entry comes with the batch being built.
    pub(crate) fn on_enqueued(&mut self, home: &Home, mailbox: MailboxId, sequence: u64, bytes: u64) {
        self.keeper.on_enqueued(home, mailbox, sequence, bytes);
    }

    /// A mailbox has other limits.
    pub(crate) fn on_other_limits(&mut self, mailbox: MailboxId) {
        self.keeper.on_other_limits(mailbox);
    }

    /// A mailbox is gone.
    pub(crate) fn on_changed(&mut self, mailbox: MailboxId) {
        self.keeper.on_changed(mailbox);
    }

    /// The batch is durable.
    pub(crate) fn on_committed(&mut self, home: &Home) {
        self.is_held_up = false;
        self.keeper.on_committed(home);
    }

    /// The batch was not written.
    pub(crate) fn on_rolled_back(&mut self) {
        self.is_held_up = true;
        self.keeper.on_rolled_back();
    }
}

fn monotonic(ctx: &Context) -> Duration {
    Duration::from_micros(ctx.now_us * ctx.plan.rate)
}

/// What gives way with a batch, and letters that leave.
#[derive(Default)]
pub(crate) struct Departing {
    given_way: Vec<GivenWay>,
    moved: Vec<(RemovalIndex, Option<Requeued>)>,
}

impl Node {
    /// What changes without a request, every second: ages, and epochs that nobody uses.
    pub(crate) fn on_tick(&mut self, ctx: &mut Context) {
        self.timer(ctx, TICK_US / if ctx.plan.rate > 1 { 10 } else { 1 }, BrokerTimer::Tick);
        if self.log.is_stopped {
            return;
        }
        let mut wall = self.clock_ms(ctx);
        let mut passed = monotonic(ctx).saturating_sub(self.log.keeping.began);
        if ctx.is_mutant(Mutant::AgeByWallClock) {
            passed += Duration::from_secs(100_000_000);
        }
        if ctx.is_mutant(Mutant::ForgetEpochsEarly) {
            wall += 9 * 86_400_000;
            self.log.home.note_time(wall);
        }
        let keeping = &mut self.log.keeping;
        keeping.keeper.measure(&self.log.home);
        keeping.keeper.look_for_old(&mut self.log.home, wall, passed);
        self.forget_idle(ctx);
        self.rewrite_acks(ctx);
        self.log.keeping.has_news = true;
        self.schedule_commit(ctx);
    }

    fn forget_idle(&mut self, ctx: &mut Context) {
        let keeping = &mut self.log.keeping;
        if self.log.home.time() == keeping.idle_looked {
            return;
        }
        keeping.idle_looked = self.log.home.time();
        keeping.channels.retain(|_, conn| self.sessions.contains_key(conn));
        let is_early = ctx.is_mutant(Mutant::ForgetEpochsEarly);
        let channels = &keeping.channels;
        let forgotten = self.log.home.forget_idle(|counter| !is_early && channels.contains_key(&counter));
        (0..forgotten).for_each(|_| ctx.count(Count::EpochForgotten));
    }

    /// From nine tenths of the store on, mailboxes give way.
    pub(crate) fn relieve(&mut self, ctx: &mut Context) {
        let reserve_bytes = self.log.store.reserve_bytes();
        let keeping = &mut self.log.keeping;
        let Some((mark, target)) = keeping.keeper.store_mark(reserve_bytes) else { return };
        let used = self.log.store.stats().bytes_on_disk;
        if used < mark || ctx.now_us < keeping.relief_from_us || self.log.is_stopped {
            return;
        }
        let kept = used.saturating_sub(self.log.store.dead_bytes());
        let is_settled = ctx.now_us - keeping.dropped_us >= RELIEF_PATIENCE_US;
        let wanted = keeping.relief.wanted(kept, mark, target, is_settled);
        // By the books of the disk, which has other files too.
        ctx.oracle.books.on_relief(self.number, self.disk.bytes_used() >= mark);
        if wanted > 0 {
            ctx.count(Count::StoreShort);
            keeping.keeper.relieve(&self.log.home, wanted.max(SEGMENT_BYTES));
            if keeping.keeper.has_work() {
                return;
            }
        }
        if kept < used {
            self.checkpoint(ctx);
            self.checkpoint(ctx);
        }
        if self.log.store.stats().bytes_on_disk >= mark {
            self.log.keeping.relief_from_us = ctx.now_us + RELIEF_PAUSE_US;
        }
    }

    /// In a batch of its own: what goes there can be in the next one.
    pub(crate) fn make_dead_letters(&mut self, ctx: &mut Context) -> Result<(), CommitError> {
        let is_needed = self.log.keeping.keeper.has_work() && self.log.home.dead_letters().is_none();
        if !is_needed {
            return Ok(());
        }
        let id = self.log.home.ensure_dead_letters();
        let mut built = Built::new(self.log.store.batch());
        built.steps.push(Step::Make { mailbox: id.0, owner: Owner::Letters, choice: Choice::default() });
        self.add_effects(&mut built);
        match self.commit(ctx, built, &[], &[]) {
            Err(error @ CommitError::Stopped { .. }) => Err(error),
            // A full store has no room for it.
            _ => Ok(()),
        }
    }

    /// Puts into an empty batch what must give way now.
    pub(crate) fn give_way(&mut self, ctx: &Context, built: &mut Built) {
        let owners = self.durables.values().map(|durable| &durable.mailbox);
        let peers = self.peers.values().filter_map(|peer| peer.mailbox.as_ref());
        let started = owners.chain(peers).map(|mailbox| (mailbox.id, mailbox.delivery.started_below()));
        self.log.keeping.directory.set(started);
        self.log.keeping.has_news = false;
        if let Some(mutant) = ctx.mutant.filter(|mutant| MISTAKES.contains(mutant)) {
            return self.give_way_wrongly(mutant, built);
        }
        let (home, clock) = (&mut self.log.home, self.clock_last_ms);
        let given_way = self.log.keeping.keeper.give_way(home, clock, &mut built.batch);
        for gone in given_way {
            built.steps.push(step(&gone));
            built.departing.given_way.push(gone);
        }
    }

    /// Whether the store holds as many events as it may, and can give none away.
    pub(crate) fn has_too_many(&mut self, mailboxes: &[MailboxId]) -> bool {
        self.log.keeping.keeper.check_queued(mailboxes.len()).is_some()
    }

    /// Why an event is not taken, if it is not.
    pub(crate) fn refused_by_limits(&mut self, event: &Event, mailboxes: &[MailboxId]) -> Option<Code> {
        if self.has_too_many(mailboxes) {
            return Some(Code::StoreFull);
        }
        if !self.log.keeping.keeper.has_rules() {
            return None;
        }
        let owners: Vec<_> = mailboxes.iter().filter_map(|id| self.log.keeping.directory.get(*id)).collect();
        let bytes = stored_bytes(event);
        let refused = self.log.keeping.keeper.check_rules(&self.log.home, &event.topic, bytes, &owners);
        refused.map(|(code, _)| code)
    }

    /// Dead letters go back to the end of their mailboxes, or are dropped.
    pub(crate) fn carry_out_letters(
        &mut self,
        ctx: &Context,
        command: &Command,
        built: &mut Built,
    ) -> Option<Result<Output, LogError>> {
        match command {
            Command::RequeueLetters(wanted) => Some(self.requeue(ctx, wanted, built)),
            Command::DropLetters(wanted) => Some(Ok(self.drop_letters(wanted, built))),
            _ => None,
        }
    }

    fn requeue(&mut self, ctx: &Context, wanted: &Selection, built: &mut Built) -> Result<Output, LogError> {
        let requeued = self.log.home.requeue(wanted).map_err(LogError::Refused)?;
        let Some(letters) = self.log.home.dead_letters() else { return Ok(Output::Count(0)) };
        let mut events = 0;
        for back in requeued {
            let (first, last) = back.range;
            events += last - first + 1;
            self.log.keeping.keeper.on_requeued(&self.log.home, letters, &back);
            let at = MailboxSequence(back.first);
            let removal = match ctx.is_mutant(Mutant::LoseRequeued) {
                true => built.batch.acked(store_id(letters), first..=last),
                false => built.batch.transfer(store_id(letters), first..=last, store_id(back.to), at),
            };
            let Some(removal) = removal else { continue };
            let (range, to, first) = (back.range, back.to.0, back.first);
            built.steps.push(Step::Requeue { range, to, first, count: removal.0 });
            built.departing.moved.push((removal, Some(back)));
        }
        Ok(Output::Count(events))
    }

    fn drop_letters(&mut self, wanted: &Selection, built: &mut Built) -> Output {
        let Some(letters) = self.log.home.dead_letters() else { return Output::Count(0) };
        let chosen: Vec<_> = self.log.home.select(wanted).into_iter().map(|(range, _)| range).collect();
        let mut events = 0;
        for range in chosen {
            let (first, last) = (*range.start(), *range.end());
            events += last - first + 1;
            self.log.home.forget_letters(first, last);
            let Some(removal) = built.batch.acked(store_id(letters), range) else { continue };
            built.steps.push(Step::DropLetters { range: (first, last), count: removal.0 });
            built.departing.moved.push((removal, None));
        }
        Output::Count(events)
    }

    /// Lets the owners know what left without them.
    pub(crate) fn tell_departed(&mut self, ctx: &mut Context, departing: Departing, committed: &Committed) {
        let count = |removal: RemovalIndex| committed.removed.get(removal.0 as usize).copied().unwrap_or(0);
        for gone in departing.given_way {
            let events = count(gone.removal);
            let row = self.log.ledger.entry(gone.mailbox).or_default();
            row.gave_way += events;
            if (gone.fate, gone.reason) == (Fate::Dropped, Reason::Store) {
                self.log.keeping.relief.on_dropped(gone.bytes);
                self.log.keeping.dropped_us = ctx.now_us;
            }
            (0..events).for_each(|_| count_given_way(ctx, &gone));
            if gone.fate == Fate::DeadLettered
                && let Some(letters) = self.log.home.dead_letters()
            {
                self.log.ledger.entry(letters).or_default().routed += events;
            }
            if let Some(mailbox) = self.mailbox_mut(gone.mailbox) {
                mailbox.on_given_way(gone.range);
            }
        }
        for (removal, back) in departing.moved {
            let events = count(removal);
            if let Some(letters) = self.log.home.dead_letters() {
                self.log.ledger.entry(letters).or_default().acked += events;
            }
            let what = if back.is_some() { Count::Requeued } else { Count::LettersDropped };
            (0..events).for_each(|_| ctx.count(what));
            let Some(back) = back else { continue };
            self.log.ledger.entry(back.to).or_default().routed += events;
            let tail = back.first + (back.range.1 - back.range.0) + 1;
            let holder = self.mailbox_mut(back.to).and_then(|mailbox| {
                mailbox.delivery.on_enqueued(tail);
                mailbox.holder
            });
            if let Some(holder) = holder {
                self.wake(ctx, holder.conn);
            }
        }
    }

    // ---- mistakes ----

    /// As a keeper would that holds mailboxes to their limits of events, and does it wrongly.
    fn give_way_wrongly(&mut self, mutant: Mutant, built: &mut Built) {
        let ids: Vec<MailboxId> = self.log.home.mailboxes().collect();
        let letters = self.log.home.dead_letters();
        for id in ids.into_iter().filter(|id| Some(*id) != letters) {
            let keep = self.log.home.keep(id);
            let Some(limit) = keep.limits.events.filter(|_| mutant != Mutant::NeverGiveWay) else { continue };
            let entries = self.reader.entries(store_id(id), MailboxSequence(1), usize::MAX);
            let Some(surplus) = entries.len().checked_sub(limit as usize).filter(|n| *n > 0) else {
                continue;
            };
            let entries = match mutant == Mutant::DropNewest {
                true => &entries[entries.len() - surplus..],
                false => &entries[..surplus],
            };
            for run in entries.chunk_by(|one, next| one.0.0 + 1 == next.0.0) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                self.depart_wrongly(mutant, id, (first.0.0, last.0.0), run.len() as u64, built);
            }
        }
    }

    fn depart_wrongly(
        &mut self,
        mutant: Mutant,
        id: MailboxId,
        range: (u64, u64),
        events: u64,
        built: &mut Built,
    ) {
        let home = &mut self.log.home;
        let drops = home.keep(id).when_full == WhenFull::DropOldest;
        let letters = home.dead_letters().filter(|_| !drops && mutant != Mutant::DropUnasked);
        let (reason, bytes) = (Reason::Full, 0);
        let fate = if letters.is_some() { Fate::DeadLettered } else { Fate::Dropped };
        let removal = match letters {
            Some(to) if mutant != Mutant::LoseLetters => {
                let burial = Burial { events, reason, attempts: 0, now: self.clock_last_ms, span_ms: 0 };
                home.bury(id, burial).and_then(|(_, at)| {
                    let at = MailboxSequence(at);
                    built.batch.transfer(store_id(id), range.0..=range.1, store_id(to), at)
                })
            }
            _ => {
                let is_counted = mutant != Mutant::LoseSilently;
                if is_counted && fate == Fate::Dropped {
                    home.count_dropped(id, events, reason);
                }
                built.batch.acked(store_id(id), range.0..=range.1)
            }
        };
        let of = match home.destination(id) {
            Some(Destination::Peer(_)) => Of::Peer,
            _ => Of::Subscription,
        };
        let Some(removal) = removal.filter(|_| mutant != Mutant::LoseSilently) else { return };
        let gone = GivenWay { mailbox: id, of, range, bytes, fate, reason, removal };
        built.steps.push(step(&gone));
        built.departing.given_way.push(gone);
    }
}

/// Mistakes of a keeper of limits.
const MISTAKES: [Mutant; 5] = [
    Mutant::NeverGiveWay,
    Mutant::DropNewest,
    Mutant::LoseSilently,
    Mutant::LoseLetters,
    Mutant::DropUnasked,
];

fn step(gone: &GivenWay) -> Step {
    Step::GiveWay {
        mailbox: gone.mailbox.0,
        range: gone.range,
        is_dead_lettered: gone.fate == Fate::DeadLettered,
        reason: gone.reason,
        count: gone.removal.0,
    }
}

fn count_given_way(ctx: &mut Context, gone: &GivenWay) {
    ctx.count(match (gone.of, gone.fate, gone.reason) {
        (Of::DeadLetters, _, _) => Count::LettersGaveWay,
        (_, _, Reason::Age) => Count::GaveWayForAge,
        (_, _, Reason::Store) => Count::GaveWayForStore,
        (Of::Peer, _, Reason::Full) => Count::PeerGaveWay,
        (Of::Subscription, Fate::DeadLettered, Reason::Full) => Count::DeadLettered,
        (Of::Subscription, Fate::Dropped, Reason::Full) => Count::DroppedOldest,
    });
}

/// Bytes of an event as it is stored.
pub(crate) fn stored_bytes(event: &Event) -> u64 {
    let mut head = Vec::new();
    event.encode_head(&mut head);
    (head.len() + event.body.len()) as u64
}
