//! A simulated broker: a shell around the real core, index and store.
//!
//! Invariants, as in the real shells:
//! 1. Everything durable goes through the log ([`log`]) in one order; what follows is told only
//!    after the commit.
//! 2. A life of a broker ends with all of its memory; what the next one knows it reads back.
//! 3. Requests of one connection are carried out one after the other.
//!
//! Deliberate mistakes ([`crate::mutant::Mutant`]) are made here and nowhere else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fanal_core::ask::{interest_entry, parse_ask};
use fanal_core::event::Millis;
use fanal_core::home::{Ask, Destination, Principal, Selection};
use fanal_core::interest::OwnInterest;
use fanal_core::limits::WhenFull;
use fanal_core::{Home, MailboxId};
use fanal_matching::{EntryId, Index, Selector};
use fanal_protocol::control::INTEREST_DURABLE;
use fanal_protocol::{Control, Epoch, Fingerprint, Incarnation, StoreId, frame};
use fanal_store::simulated::{Faults, Loss, SimulatedDisk};
use fanal_store::{Housekeeping, Options, Reader, Recovery, Store};

use crate::books::{Choice, FoundMailbox};
use crate::context::{BrokerTimer, Context, Happening};
use crate::count::Count;
use crate::mutant::Mutant;
use crate::net::{ConnId, Lane, Party};

pub(crate) mod deliver;
pub(crate) mod edge;
pub(crate) mod interest;
pub(crate) mod keep;
pub(crate) mod link;
pub(crate) mod log;
pub(crate) mod mailbox;
pub(crate) mod receive;
pub(crate) mod route;

use link::{Link, Peer};
use log::{Ledger, Log};
use mailbox::Mailbox;
use route::Target;

/// The one CA of all brokers and clients.
pub(crate) const AUTHORITY: Fingerprint = Fingerprint([7; 32]);
/// Largest body that a broker takes, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 600;
/// Size of a segment.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 10;
/// Wall clocks start here, in milliseconds since the Unix epoch.
const CLOCK_START_MS: u64 = 1_800_000_000_000;

/// Name of a broker.
pub(crate) fn broker_name(broker: usize) -> String {
    format!("b{broker}")
}

/// A broker and its disk, dead or alive.
pub(crate) struct Broker {
    /// Which one.
    pub number: usize,
    /// Its disk, which survives it.
    pub disk: SimulatedDisk,
    /// What it is while it lives.
    pub node: Option<Box<Node>>,
    /// What its wall clock is off by.
    pub clock_off_ms: i64,
    /// Raised at each start and each end.
    pub life: u64,
    /// An operation of the disk is to end the broker.
    pub is_armed: bool,
    /// Peers that it dials.
    pub dials: Vec<usize>,
    /// What the batch held that was being written when it ended: there or not.
    pub in_doubt: Vec<(Epoch, u64)>,
    /// An operator repairs its store before the next start.
    pub is_to_repair: bool,
}

/// A durable subscription as routing knows it.
pub(crate) struct Durable {
    pub(crate) mailbox: Mailbox,
    pub(crate) entry: EntryId,
    pub(crate) ask: Ask,
    pub(crate) version: u64,
}

/// A living broker.
pub(crate) struct Node {
    /// Which one.
    pub number: usize,
    /// Which life.
    pub life: u64,
    pub(crate) disk: SimulatedDisk,
    /// The deliberate mistake of this run.
    pub(crate) mutant: Option<Mutant>,
    pub(crate) log: Log,
    pub(crate) reader: Reader,
    pub(crate) incarnation: Incarnation,
    pub(crate) index: Index<Target>,
    pub(crate) interest: OwnInterest,
    /// Whether the own interest was widened when it was looked at last.
    pub(crate) was_widened: bool,
    /// Whether a step of narrowing is due.
    pub(crate) settle_due: bool,
    pub(crate) durables: BTreeMap<MailboxId, Durable>,
    pub(crate) lives: BTreeMap<u64, deliver::Live>,
    pub(crate) sessions: BTreeMap<ConnId, edge::Session>,
    pub(crate) waits: Vec<edge::Wait>,
    pub(crate) peers: BTreeMap<usize, Peer>,
    pub(crate) links: BTreeMap<ConnId, Link>,
    pub(crate) clock_off_ms: i64,
    /// What it said last, and how far it was ahead of the time that passed at most.
    pub(crate) clock_last_ms: Millis,
    pub(crate) clock_ahead_ms: Millis,
    pub(crate) next_live: u64,
    /// The disk's doing: the broker dies.
    pub(crate) is_dying: bool,
}

impl Broker {
    /// A broker that was never started.
    pub(crate) fn new(number: usize, dials: Vec<usize>) -> Self {
        let disk = SimulatedDisk::new();
        Broker {
            number,
            disk,
            node: None,
            clock_off_ms: 0,
            life: 0,
            is_armed: false,
            dials,
            in_doubt: Vec::new(),
            is_to_repair: false,
        }
    }

    /// Starts it; false: the store could not be opened.
    pub(crate) fn start(&mut self, ctx: &mut Context, peers: &[usize]) -> bool {
        if self.node.is_some() {
            return true;
        }
        let is_new = self.disk.names().is_empty();
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            checkpoint_after_bytes: 24 << 10,
            housekeeping: Housekeeping::Inline,
            bytes_max: ctx.plan.store_bytes,
            page_entries: ctx.plan.pages.0,
            mailbox_hot_max: 3 * ctx.plan.pages.0,
            hot_bytes_max: ctx.plan.pages.1,
            set_destinations_min: ctx.plan.set_min,
            ..Options::default()
        };
        if !is_new && !self.repair(ctx) {
            return false;
        }
        let id = fanal_store::StoreId(u128::from(ctx.random.draw()) << 64 | u128::from(ctx.random.draw()));
        let opened = Store::open_on(Arc::new(self.disk.clone()), options, id);
        let (store, recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                ctx.count(Count::FailedStart);
                ctx.note(format_args!("b{} start failed: {error}", self.number));
                return false;
            }
        };
        self.life += 1;
        self.is_armed = false;
        self.check_recovery(ctx, &recovery, is_new);
        if is_flushed(&self.disk) {
            // If it was kept, it was written anew and flushed.
            self.in_doubt.drain(..).for_each(|(epoch, sequence)| ctx.oracle.on_flushed(epoch, sequence));
        }
        if ctx.is_mutant(Mutant::SkipFlush) {
            self.disk.set_faults(Faults { skip_file_flush: true, ..Faults::default() });
        }
        match Node::new(ctx, self, store, &recovery, peers) {
            Ok(mut node) => {
                node.mutant = ctx.mutant;
                node.restore(ctx, &recovery);
                node.check_start(ctx);
                node.on_tick(ctx);
                self.node = Some(Box::new(node));
            }
            Err(error) => {
                ctx.oracle.break_(format!("b{}", self.number), format!("b{}: {error}", self.number))
            }
        }
        for peer in self.dials.clone() {
            let delay = ctx.random.between(1_000, 200_000);
            let timer = BrokerTimer::Dial(peer);
            ctx.after(delay, Happening::Broker { broker: self.number, life: self.life, timer });
        }
        true
    }

    /// As an operator repairs a store; false: it could not be done.
    fn repair(&mut self, ctx: &mut Context) -> bool {
        if !std::mem::take(&mut self.is_to_repair) {
            return true;
        }
        match fanal_store::repair_on(Arc::new(self.disk.clone()), 0, &mut |_| {}) {
            Ok(repaired) => {
                ctx.count(Count::Repaired);
                ctx.note(format_args!(
                    "b{} repaired, recovery epoch {}",
                    self.number, repaired.recovery_epoch
                ));
                ctx.oracle.on_repaired(self.number, ctx.now_us);
                true
            }
            Err(error) => {
                ctx.note(format_args!("b{} repair failed: {error}", self.number));
                // The disk failed on the way: what it did before may have raised the epoch.
                ctx.oracle.on_repaired(self.number, ctx.now_us);
                self.is_to_repair = true;
                false
            }
        }
    }

    fn check_recovery(&self, ctx: &mut Context, recovery: &Recovery, is_new: bool) {
        let report = &recovery.report;
        ctx.note(format_args!("b{} start: {report}", self.number));
        if !is_new && !report.created {
            ctx.count(Count::Recovered);
        }
        if report.unproven.is_some() {
            ctx.count(Count::TailCut);
        }
        if report.batches_rewritten > 0 {
            ctx.count(Count::TailRewritten);
        }
        if !report.is_undamaged() {
            let what = format!("b{} found damage that nobody did: {report}", self.number);
            ctx.oracle.break_(format!("b{}", self.number), what);
        }
    }

    /// Ends it at once; the disk loses what `loss` says.
    pub(crate) fn die(&mut self, ctx: &mut Context, loss: Loss) {
        self.disk.crash(loss);
        self.life += 1;
        self.is_armed = false;
        let Some(node) = self.node.take() else { return };
        node.count_store(ctx);
        self.in_doubt.extend_from_slice(&node.log.in_doubt);
        let conns: Vec<ConnId> = node.sessions.keys().chain(node.links.keys()).copied().collect();
        for conn in conns {
            let side = usize::from(ctx.net.end(conn, 0) != Party::Broker(self.number));
            match loss {
                Loss::ProcessOnly => ctx.close(conn, side),
                Loss::Cut | Loss::Torn(_) => ctx.leave(conn, side),
            }
        }
    }
}

impl Node {
    fn new(
        ctx: &Context,
        broker: &Broker,
        store: Store,
        recovery: &Recovery,
        peers: &[usize],
    ) -> Result<Node, String> {
        let id = StoreId(store.id().0.to_be_bytes());
        let tails = recovery.mailboxes.iter().map(|(id, stats)| (MailboxId(id.0), stats.next.0));
        let home = Home::recover(id, store.recovery_epoch(), &recovery.state, tails)
            .map_err(|error| error.to_string())?;
        if !home.orphans().is_empty() {
            return Err(format!("mailboxes {:?} belong to nothing", home.orphans()));
        }
        let start = store.start_counter();
        let incarnation = Incarnation { store: id, recovery_epoch: store.recovery_epoch(), start };
        let ledger =
            recovery.mailboxes.iter().map(|(id, stats)| (MailboxId(id.0), Ledger::starting(stats.events)));
        let live_bytes = usize::MAX;
        let keeping = keep::Keeping::new(ctx, store.reader(), &home, wall_ms(ctx, broker.clock_off_ms));
        let mut node = Node {
            number: broker.number,
            life: broker.life,
            disk: broker.disk.clone(),
            reader: store.reader(),
            log: Log::new(store, home, ledger.collect(), keeping),
            incarnation,
            index: Index::new(),
            mutant: None,
            interest: OwnInterest::default(),
            was_widened: false,
            settle_due: false,
            durables: BTreeMap::new(),
            lives: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waits: Vec::new(),
            peers: BTreeMap::new(),
            links: BTreeMap::new(),
            clock_off_ms: broker.clock_off_ms,
            clock_last_ms: 0,
            clock_ahead_ms: 0,
            next_live: 1,
            is_dying: false,
        };
        for peer in peers {
            node.peers.insert(*peer, Peer::new(live_bytes, broker.dials.contains(peer)));
        }
        Ok(node)
    }

    /// Makes routing know what the store remembers.
    fn restore(&mut self, ctx: &mut Context, _recovery: &Recovery) {
        self.interest = OwnInterest::with_budget(ctx.plan.interest);
        for peer in self.peers.values_mut() {
            peer.live =
                fanal_core::live::LiveBuffer::new(ctx.plan.live_bytes, fanal_protocol::control::GAP_AT_MOST);
        }
        let subscriptions: Vec<_> =
            self.log.home.subscriptions().map(|(id, subscription)| (id, subscription.clone())).collect();
        for (id, subscription) in subscriptions {
            match parse_ask(
                &subscription.ask.filter,
                subscription.ask.predicate.as_deref(),
                subscription.ask.strict.as_deref(),
                &subscription.ask.except,
            ) {
                Ok((_, selector)) => drop(self.ensure_durable(id, &subscription.ask, selector)),
                Err(error) => ctx.oracle.break_(format!("b{}", self.number), error.to_string()),
            }
        }
        let records: Vec<_> = self.log.home.peers().map(|(id, record)| (id, record.clone())).collect();
        for (id, record) in records {
            let Some(number) = record.name.strip_prefix('b').and_then(|text| text.parse().ok()) else {
                continue;
            };
            let tail = self.log.home.tail(id).unwrap_or(1);
            if let Some(peer) = self.peers.get_mut(&number) {
                peer.mailbox = Some(Mailbox::new(id, tail));
            }
            if ctx.is_mutant(Mutant::LoseInterestOnRestart) {
                continue;
            }
            for entry in record.interest.keys() {
                self.install(number, entry.clone());
            }
        }
    }

    /// A line of the trace about this broker.
    pub(crate) fn note(&self, ctx: &mut Context, what: std::fmt::Arguments<'_>) {
        ctx.note(format_args!("b{} {what}", self.number));
    }

    /// What is not at rest: a queue, a link that is down.
    pub(crate) fn unrest(&self) -> Option<String> {
        if self.log.is_stopped {
            return Some("has a stopped store".into());
        }
        if !self.log.is_idle() {
            return Some("is writing".into());
        }
        let letters = self.log.home.dead_letters().map(log::store_id);
        let holds = |(id, stats): &(_, fanal_store::MailboxStats)| stats.events > 0 && Some(*id) != letters;
        if let Some((id, stats)) = self.reader.mailboxes().into_iter().find(holds) {
            let mailbox = self.mailbox(MailboxId(id.0));
            let state = mailbox.map(|mailbox| (&mailbox.delivery, mailbox.holder));
            return Some(format!("mailbox {id} holds {}, {state:?}", stats.events));
        }
        let waits = |live: &deliver::Live| live.entry.is_some() && !live.buffer.is_empty();
        if let Some((id, live)) = self.lives.iter().find(|(_, live)| waits(live)) {
            let state = (live.conn, live.channel, live.entry);
            return Some(format!("live buffer {id} is not empty: {state:?}"));
        }
        let down = self.peers.iter().find(|(_, peer)| !peer.is_linked);
        down.map(|(number, _)| format!("has no link to b{number}"))
    }

    /// Whether what is held here of a peer's interest is what it has.
    pub(crate) fn agrees_with(&self, peer: &Node) -> bool {
        let conn = self.peers.get(&peer.number).and_then(|peer| peer.link);
        let digest = peer.interest.digest();
        let held = conn.and_then(|conn| self.links.get(&conn)).map(|link| &link.held);
        held.is_some_and(|held| held.version() == Some(digest.version) && held.agrees_with(&digest))
    }

    /// What the books say must be so.
    pub(crate) fn must(&self, ctx: &mut Context, checked: Result<(), String>) {
        if let Err(what) = checked {
            ctx.oracle.break_(format!("b{}", self.number), format!("b{}: {what}", self.number));
        }
    }

    /// Whether the store holds what was there when the broker ended.
    fn check_start(&self, ctx: &mut Context) {
        let mut found = crate::books::Found::new();
        for (id, stats) in self.reader.mailboxes() {
            let first = fanal_store::MailboxSequence(0);
            let mut events = Vec::new();
            for (sequence, position) in self.reader.entries(id, first, usize::MAX) {
                let event =
                    self.reader.read(position).ok().and_then(|bytes| fanal_core::Event::decode(&bytes).ok());
                let number = event.and_then(|event| crate::client::event_number(&event.body));
                events.push((sequence.0, number.unwrap_or(usize::MAX)));
            }
            let keep = self.log.home.keep(MailboxId(id.0));
            let choice = Choice { limits: keep.limits, drops: keep.when_full == WhenFull::DropOldest };
            found.insert(id.0, FoundMailbox { next: stats.next.0, entries: events, choice });
        }
        let started = ctx.oracle.books.on_start(self.number, &found);
        match started {
            Ok(Some(is_kept)) => ctx.count(if is_kept { Count::DoubtKept } else { Count::DoubtGone }),
            Ok(None) => {}
            Err(what) => self.must(ctx, Err(what)),
        }
        self.check_home(ctx);
    }

    /// Whether the home knows what mailboxes lost, and whose the dead letters are.
    pub(crate) fn check_home(&self, ctx: &mut Context) {
        let home = &self.log.home;
        for id in home.mailboxes() {
            let checked = ctx.oracle.books.check_losses((self.number, id.0), &home.losses(id));
            self.must(ctx, checked);
        }
        let mut known = BTreeMap::new();
        for (first, range) in home.letters() {
            let from = home.mailbox_of(&range.destination).map(|id| id.0);
            known.extend((first..=range.last).map(|number| (number, (from, range.reason))));
        }
        let checked = ctx.oracle.books.check_letters(self.number, &known);
        self.must(ctx, checked);
    }

    /// Whether every mailbox is within its limits, where nothing is under way here.
    pub(crate) fn check_limits(&self, ctx: &mut Context) {
        let can_write = !self.log.keeping.is_held_up && !self.log.is_stopped && !self.is_dying;
        let checked = ctx.oracle.books.check_above(self.number, ctx.now(), can_write);
        self.must(ctx, checked);
        let is_idle = self.log.is_idle() && !self.log.keeping.has_work() && !self.log.keeping.is_held_up;
        if is_idle && !self.log.is_stopped && !self.is_dying {
            let has_jumped = ctx.has_jumped;
            let checked = ctx.oracle.books.check_limits(self.number, ctx.now(), has_jumped);
            self.must(ctx, checked);
        }
    }

    /// An operator puts dead letters back, or drops them.
    pub(crate) fn on_operator(&mut self, ctx: &mut Context, drops: bool) {
        let wanted = self.draw_selection(ctx);
        let command =
            if drops { log::Command::DropLetters(wanted) } else { log::Command::RequeueLetters(wanted) };
        self.command(ctx, command, log::Then::Operator);
    }

    fn draw_selection(&self, ctx: &mut Context) -> Selection {
        let ranges: Vec<_> = self.log.home.letters().map(|(first, range)| (first, range.clone())).collect();
        let mut wanted = Selection::default();
        if ranges.is_empty() || ctx.random.chance(250) {
            return wanted;
        }
        let (first, range) = ctx.random.pick(&ranges).clone();
        match ctx.random.below(3) {
            0 => wanted.destination = Some((*range.destination).clone()),
            1 => wanted.reason = Some(range.reason),
            _ => wanted.numbers = vec![(first + ctx.random.below(2), range.last)],
        }
        wanted
    }

    /// After the faults: every destination that is still there gets its dead letters back.
    pub(crate) fn put_all_back(&mut self, ctx: &mut Context) {
        let home = &self.log.home;
        let destinations = home.letters().map(|(_, range)| (*range.destination).clone());
        let destinations: BTreeSet<Destination> =
            destinations.filter(|to| home.mailbox_of(to).is_some()).collect();
        for destination in destinations {
            let wanted = Selection { destination: Some(destination), ..Selection::default() };
            self.command(ctx, log::Command::RequeueLetters(wanted), log::Then::Operator);
        }
    }

    /// What the store did in this life, for the counters.
    pub(crate) fn count_store(&self, ctx: &mut Context) {
        let stats = self.log.store.stats();
        let done = [
            (stats.pages, Count::PageWritten),
            (stats.bytes_moved, Count::Moved),
            (stats.reclaimed, Count::Reclaimed),
            (stats.events_by_set, Count::EventBySet),
        ];
        done.into_iter().filter(|(times, _)| *times > 0).for_each(|(_, what)| ctx.count(what));
    }

    /// Which side of a connection this broker is.
    pub(crate) fn side(&self, ctx: &Context, conn: ConnId) -> usize {
        usize::from(ctx.net.end(conn, 0) != Party::Broker(self.number))
    }

    /// A timer of this life.
    pub(crate) fn timer(&self, ctx: &mut Context, delay_us: u64, timer: BrokerTimer) {
        ctx.after(delay_us, Happening::Broker { broker: self.number, life: self.life, timer });
    }

    /// The wall clock; where it is set back, it goes on from where it was.
    pub(crate) fn clock_ms(&mut self, ctx: &Context) -> Millis {
        let elapsed = ctx.now_us * ctx.plan.rate / 1000;
        let ahead = wall_ms(ctx, self.clock_off_ms).saturating_sub(elapsed);
        self.clock_ahead_ms = self.clock_ahead_ms.max(ahead);
        self.clock_last_ms = elapsed + self.clock_ahead_ms;
        self.clock_last_ms
    }

    /// Sends control frames.
    pub(crate) fn tell(&self, ctx: &mut Context, conn: ConnId, frame: impl Into<Control>) {
        let mut out = Vec::new();
        frame.into().encode(&mut out);
        let side = self.side(ctx, conn);
        ctx.send(conn, side, Lane::Control, out);
    }

    /// A connection has come in.
    pub(crate) fn on_opened(&mut self, ctx: &mut Context, conn: ConnId) {
        match ctx.net.end(conn, 0) {
            Party::Broker(peer) => self.begin_link(ctx, conn, peer, false),
            party => self.begin_session(ctx, conn, party),
        }
    }

    /// Bytes have come in.
    pub(crate) fn on_bytes(&mut self, ctx: &mut Context, conn: ConnId, lane: Lane, bytes: &bytes::Bytes) {
        let is_link = self.links.contains_key(&conn);
        match (lane, is_link) {
            (Lane::Control, _) => {
                for range in frame::frames(bytes) {
                    match Control::decode(&bytes[range]) {
                        Ok(frame) if is_link => self.on_link_frame(ctx, conn, frame),
                        Ok(frame) => self.on_session_frame(ctx, conn, frame),
                        Err(error) => ctx.oracle.break_(format!("b{}", self.number), error.to_string()),
                    }
                }
            }
            (_, true) => self.on_link_block(ctx, conn, lane, bytes),
            (_, false) => self.on_publish_block(ctx, conn, bytes),
        }
    }

    /// A connection has ended.
    pub(crate) fn on_ended(&mut self, ctx: &mut Context, conn: ConnId) {
        if self.links.contains_key(&conn) {
            self.end_link(ctx, conn, "gone");
        } else {
            self.end_session(ctx, conn);
        }
    }

    /// A timer is due.
    pub(crate) fn on_timer(&mut self, ctx: &mut Context, timer: BrokerTimer) {
        match timer {
            BrokerTimer::Commit => self.on_commit(ctx),
            BrokerTimer::Release => self.on_release(ctx),
            BrokerTimer::Pump(conn) => self.on_pump(ctx, conn),
            BrokerTimer::Dial(peer) => self.on_dial(ctx, peer),
            BrokerTimer::Patience(conn, step) => self.on_patience(ctx, conn, step),
            BrokerTimer::Again(conn) => self.record(ctx, conn),
            BrokerTimer::Interest(conn) => self.send_interest_changes(ctx, conn),
            BrokerTimer::Digest(conn) => self.send_digest(ctx, conn),
            BrokerTimer::Settle => self.settle_interest(ctx),
            BrokerTimer::Waits => self.look_at_waits(ctx),
            BrokerTimer::Tick => self.on_tick(ctx),
        }
    }

    /// Makes a durable subscription known for routing and to the peers, or finds it; the version
    /// of the own interest from which on it is part of that.
    pub(crate) fn ensure_durable(&mut self, id: MailboxId, ask: &Ask, selector: Selector) -> u64 {
        if let Some(known) = self.durables.get(&id) {
            return known.version;
        }
        let tail = self.reader.mailbox(log::store_id(id)).map_or(1, |stats| stats.next.0);
        let entry = self.route_to(selector, Target::Durable(id));
        let version = self.interest.add(interest_entry(ask, INTEREST_DURABLE));
        let ask = ask.clone();
        self.durables.insert(id, Durable { mailbox: Mailbox::new(id, tail), entry, ask, version });
        version
    }
}

/// What a broker's wall clock says.
fn wall_ms(ctx: &Context, off_ms: i64) -> Millis {
    (CLOCK_START_MS + ctx.now_us * ctx.plan.rate / 1000).saturating_add_signed(off_ms)
}

/// Owner of a subscription, or a publisher, or a peer.
pub(crate) fn principal(name: &str) -> Principal {
    Principal { name: name.to_owned(), authority: AUTHORITY }
}

/// Frames that wait for their turn.
pub(crate) type Backlog = VecDeque<Control>;

/// A wish in the text by which the broker compares wishes.
pub(crate) fn canonical(wish: &crate::ask::Wish) -> Option<Ask> {
    let except: Vec<String> = wish.except.iter().map(|text| (*text).to_owned()).collect();
    let (predicate, strict) = wish.predicates();
    parse_ask(wish.filter, predicate.as_deref(), strict.as_deref(), &except).ok().map(|(ask, _)| ask)
}

/// Whether all that was written into the log's last segment is on the disk, by the disk's own books.
pub(crate) fn is_flushed(disk: &SimulatedDisk) -> bool {
    let last = disk.names().into_iter().filter(|name| name.ends_with(".seg")).max();
    last.is_some_and(|last| disk.unflushed(|name| name == last) == 0)
}
