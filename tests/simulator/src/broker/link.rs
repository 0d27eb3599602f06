//! Links: dialling, handshake, which of two stays, the sending half, the end.

use std::collections::{BTreeMap, VecDeque};

use fanal_core::Credit;
use fanal_core::home::Sender;
use fanal_core::interest::PeerInterest;
use fanal_core::link::{LinkDecision, LinkFacts, decide_link};
use fanal_core::live::{LiveBuffer, LiveItem};
use fanal_matching::EntryId;
use fanal_protocol::control::{
    GAP_AT_MOST, Hole, InterestEntry, PeerHello, PeerReady, Ping, Pong, STREAM_DURABLE, STREAM_LIVE,
};
use fanal_protocol::stream::{EventStreamReader, EventStreamWriter};
use fanal_protocol::{Control, Incarnation, PROTOCOL_VERSION};

use super::deliver::{put_event, put_live, take_turn};
use super::log::{Command, DoneReason, LogError, Output, ReceiveItem, Request, Then};
use super::mailbox::{Holder, Mailbox, Next};
use super::route::TopicRoute;
use super::{BODY_BYTES_MAX, Backlog, Node, broker_name, principal};
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::mutant::Mutant;
use crate::net::{ConnId, Lane, Party};

/// Longest handshake.
const HANDSHAKE_US: u64 = 10_000_000;
/// Longest wait for an answer to a probe.
const PROBE_US: u64 = 3_000_000;
/// First and longest wait before dialling again.
const BACKOFF_US: (u64, u64) = (100_000, 5_000_000);
/// Events in flight on one link: few, so that the window matters.
const WINDOW_EVENTS: u64 = 16;
const WINDOW_BYTES: u64 = 16 << 10;

/// What is known of another broker, whether or not a link to it is up.
pub(crate) struct Peer {
    pub(crate) link: Option<ConnId>,
    pub(crate) is_linked: bool,
    pub(crate) confirmed: Option<u64>,
    pub(crate) mailbox: Option<Mailbox>,
    pub(crate) installed: BTreeMap<InterestEntry, EntryId>,
    pub(crate) live: LiveBuffer,
    pub(crate) dials: bool,
    dialling: Option<ConnId>,
    backoff_us: u64,
}

impl Peer {
    /// A peer without a link.
    pub(crate) fn new(live_bytes: usize, dials: bool) -> Self {
        Peer {
            link: None,
            is_linked: false,
            confirmed: None,
            mailbox: None,
            installed: BTreeMap::new(),
            live: LiveBuffer::new(live_bytes, GAP_AT_MOST),
            dials,
            dialling: None,
            backoff_us: BACKOFF_US.0,
        }
    }
}

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for the other's hello.
    Hello,
    /// Waits for an older link to answer a probe.
    Probing { old: ConnId },
    /// Waits for the log to say how far the other's mailbox is recorded.
    Marking,
    /// Waits for the other's ready.
    Ready,
    /// Runs.
    Up,
}

/// A link, or what may become one.
pub(crate) struct Link {
    pub(crate) peer: usize,
    dialled_here: bool,
    facts: Option<LinkFacts>,
    pub(crate) phase: Phase,
    step: u64,
    pub(crate) is_busy: bool,
    pub(crate) backlog: Backlog,
    theirs: Option<PeerReady>,
    // Sending.
    credit: Credit,
    sent: VecDeque<(u64, u64)>,
    acked: (u64, u64, u64),
    expected: u64,
    durable_out: Option<EventStreamWriter>,
    live_out: Option<EventStreamWriter>,
    pub(crate) is_awake: bool,
    pub(crate) interest_sent: u64,
    pub(crate) interest_due: bool,
    // Receiving.
    pub(crate) held: PeerInterest,
    pub(crate) applying: Option<fanal_core::interest::InterestChange>,
    pub(crate) durable_in: EventStreamReader<TopicRoute>,
    pub(crate) live_in: EventStreamReader<TopicRoute>,
    pub(crate) early: VecDeque<(Lane, bytes::Bytes)>,
    pub(crate) blocks: VecDeque<bytes::Bytes>,
    pub(crate) recording: Option<Vec<ReceiveItem>>,
}

impl Link {
    fn new(peer: usize, dialled_here: bool) -> Self {
        Link {
            peer,
            dialled_here,
            facts: None,
            phase: Phase::Hello,
            step: 0,
            is_busy: false,
            backlog: Backlog::new(),
            theirs: None,
            credit: Credit::new(WINDOW_EVENTS, WINDOW_BYTES),
            sent: VecDeque::new(),
            acked: (0, 0, 0),
            expected: 1,
            durable_out: None,
            live_out: None,
            is_awake: false,
            interest_sent: 0,
            interest_due: false,
            held: PeerInterest::default(),
            applying: None,
            durable_in: EventStreamReader::default(),
            live_in: EventStreamReader::default(),
            early: VecDeque::new(),
            blocks: VecDeque::new(),
            recording: None,
        }
    }

    /// The sender of this link's durable path, once it has said who it is.
    pub(crate) fn sender(&self) -> Option<Sender> {
        let Incarnation { store, recovery_epoch, .. } = self.facts?.incarnation;
        Some(Sender { peer: principal(&broker_name(self.peer)), store, recovery_epoch })
    }
}

impl Node {
    /// A peer is dialled, unless a link is up; then when that has ended.
    pub(crate) fn on_dial(&mut self, ctx: &mut Context, number: usize) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        if peer.is_linked || peer.dialling.is_some() {
            return;
        }
        let conn = ctx.connect(Party::Broker(self.number), Party::Broker(number));
        peer.dialling = Some(conn);
        if peer.link.is_some() || self.links.values().any(|link| link.peer == number) {
            ctx.count(Count::BothDialled);
        }
        self.begin_link(ctx, conn, number, true);
    }

    /// Dials beside what is there: an operator's second process, or a stale path.
    pub(crate) fn dial_beside(&mut self, ctx: &mut Context, number: usize) {
        let conn = ctx.connect(Party::Broker(self.number), Party::Broker(number));
        self.begin_link(ctx, conn, number, true);
    }

    fn dial_later(&mut self, ctx: &mut Context, number: usize) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        if !peer.dials {
            return;
        }
        let wait = peer.backoff_us / 2 + ctx.random.below(peer.backoff_us / 2);
        peer.backoff_us = (peer.backoff_us * 2).min(BACKOFF_US.1);
        self.timer(ctx, wait, BrokerTimer::Dial(number));
    }

    /// A connection that may become a link.
    pub(crate) fn begin_link(&mut self, ctx: &mut Context, conn: ConnId, peer: usize, dialled_here: bool) {
        self.links.insert(conn, Link::new(peer, dialled_here));
        let hello = PeerHello {
            versions: vec![PROTOCOL_VERSION],
            agent: "fanal/simulated".into(),
            incarnation: self.incarnation,
        };
        self.tell(ctx, conn, hello);
        self.timer(ctx, HANDSHAKE_US, BrokerTimer::Patience(conn, 0));
    }

    /// A control frame of a link; those of one link wait for each other.
    pub(crate) fn on_link_frame(&mut self, ctx: &mut Context, conn: ConnId, frame: Control) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let waits = link.is_busy || matches!(link.phase, Phase::Probing { .. } | Phase::Marking);
        if waits {
            return link.backlog.push_back(frame);
        }
        let phase = link.phase;
        match (frame, phase) {
            (Control::PeerHello(hello), Phase::Hello) => {
                let dialled_here = link.dialled_here;
                link.facts = Some(LinkFacts { incarnation: hello.incarnation, dialled_here });
                self.admit(ctx, conn);
            }
            (Control::PeerReady(ready), Phase::Ready) => self.open(ctx, conn, ready),
            (Control::Ping(Ping { token }), Phase::Ready | Phase::Up) => self.tell(ctx, conn, Pong { token }),
            (Control::Pong(_), Phase::Ready | Phase::Up) => self.on_pong(ctx, conn),
            (Control::InterestSnapshot(part), Phase::Up) => self.on_snapshot(ctx, conn, part),
            (Control::InterestDelta(delta), Phase::Up) => self.on_delta(ctx, conn, delta),
            (Control::InterestDigest(digest), Phase::Up) => self.on_digest(ctx, conn, &digest),
            (Control::InterestAck(ack), Phase::Up) => {
                let peer = link.peer;
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.confirmed = Some(ack.version);
                }
                self.look_at_waits(ctx);
            }
            (Control::InterestResync(_), Phase::Up) => self.send_snapshot(ctx, conn),
            (Control::HopAck(ack), Phase::Up) => self.on_hop_ack(ctx, conn, ack.through),
            (other, phase) => {
                let what = format!("b{}: {} on a link in phase {phase:?}", self.number, other.name());
                ctx.oracle.break_(format!("b{}", self.number), what);
            }
        }
    }

    /// Frames that waited are taken.
    pub(crate) fn go_on_link(&mut self, ctx: &mut Context, conn: ConnId) {
        while let Some(link) = self.links.get_mut(&conn)
            && !link.is_busy
            && !matches!(link.phase, Phase::Probing { .. } | Phase::Marking)
            && let Some(frame) = link.backlog.pop_front()
        {
            self.on_link_frame(ctx, conn, frame);
        }
    }

    // ---- admission ----

    fn admit(&mut self, ctx: &mut Context, conn: ConnId) {
        loop {
            let Some((peer, new)) = self.links.get(&conn).and_then(|link| Some((link.peer, link.facts?)))
            else {
                return;
            };
            let old = self.peers.get(&peer).and_then(|state| state.link);
            let existing = old.and_then(|old| self.links.get(&old)).and_then(|link| link.facts);
            let own_is_lower = broker_name(self.number) < broker_name(peer);
            match (decide_link(existing, new, own_is_lower), old) {
                (LinkDecision::Accept, _) | (_, None) => return self.accept(ctx, conn, peer),
                (LinkDecision::Replace, Some(old)) => {
                    ctx.count(Count::LinkReplaced);
                    self.end_link(ctx, old, "replaced");
                }
                (LinkDecision::Refuse(refusal), _) => {
                    ctx.count(Count::LinkRefused);
                    return self.end_link(ctx, conn, &refusal.to_string());
                }
                (LinkDecision::Probe, Some(old)) => return self.probe(ctx, conn, old),
            }
        }
    }

    fn probe(&mut self, ctx: &mut Context, conn: ConnId, old: ConnId) {
        ctx.count(Count::LinkProbed);
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.phase = Phase::Probing { old };
        link.step += 1;
        let step = link.step;
        self.tell(ctx, old, Ping { token: conn as u64 });
        self.timer(ctx, PROBE_US, BrokerTimer::Patience(conn, step));
    }

    fn on_pong(&mut self, ctx: &mut Context, old: ConnId) {
        for conn in self.probing(old) {
            ctx.count(Count::LinkRefused);
            self.end_link(ctx, conn, "the older link answers");
        }
    }

    fn probing(&self, old: ConnId) -> Vec<ConnId> {
        let probes = |link: &Link| link.phase == Phase::Probing { old };
        self.links.iter().filter(|(_, link)| probes(link)).map(|(conn, _)| *conn).collect()
    }

    /// A handshake or a probe has taken too long.
    pub(crate) fn on_patience(&mut self, ctx: &mut Context, conn: ConnId, step: u64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match link.phase {
            Phase::Up => {}
            Phase::Probing { old } if step == link.step => {
                link.phase = Phase::Hello;
                ctx.count(Count::LinkReplaced);
                self.end_link(ctx, old, "does not answer");
                self.admit(ctx, conn);
            }
            _ if step == 0 => self.end_link(ctx, conn, "handshake timed out"),
            _ => {}
        }
    }

    fn accept(&mut self, ctx: &mut Context, conn: ConnId, peer: usize) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.phase = Phase::Marking;
        let Some(sender) = link.sender() else { return };
        if let Some(state) = self.peers.get_mut(&peer) {
            state.link = Some(conn);
        }
        self.command(ctx, Command::ReceivedThrough { sender }, Then::Marked { conn });
    }

    /// The log has said how far the peer's mailbox is recorded here.
    pub(crate) fn on_marked(&mut self, ctx: &mut Context, conn: ConnId, answer: Result<Output, LogError>) {
        if !self.links.contains_key(&conn) {
            return;
        }
        let Ok(Output::Through(through)) = answer else { return self.end_link(ctx, conn, "store stopped") };
        let received_through = if ctx.is_mutant(Mutant::ResendUnmarked) { 0 } else { through };
        let body_bytes_max = BODY_BYTES_MAX as u64;
        self.tell(ctx, conn, PeerReady { version: PROTOCOL_VERSION, received_through, body_bytes_max });
        if let Some(link) = self.links.get_mut(&conn) {
            link.phase = Phase::Ready;
        }
        self.go_on_link(ctx, conn);
    }

    fn open(&mut self, ctx: &mut Context, conn: ConnId, ready: PeerReady) {
        let through = ready.received_through;
        let Some(link) = self.links.get_mut(&conn) else { return };
        let number = link.peer;
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let tail =
            peer.mailbox.as_ref().map_or(1, |mailbox| mailbox.delivery.tail().max(mailbox.delivery.next()));
        if through >= tail {
            let what = format!(
                "b{}: b{number} has recorded up to {through}, and only {} exist",
                self.number,
                tail - 1
            );
            return ctx.oracle.break_(format!("b{}", self.number), what);
        }
        link.theirs = Some(ready);
        link.acked.2 = through;
        link.expected = through + 1;
        link.phase = Phase::Up;
        link.held = PeerInterest::new(peer.installed.keys().cloned());
        while peer.live.pop().is_some() {}
        peer.is_linked = true;
        peer.backoff_us = BACKOFF_US.0;
        ctx.count(Count::LinkUp);
        self.note(ctx, format_args!("link to b{number} up on c{conn}, through {through}"));
        self.attach_peer(ctx, conn, number);
        self.send_snapshot(ctx, conn);
        self.timer(ctx, 10_000_000, BrokerTimer::Digest(conn));
        while let Some((lane, block)) = self.links.get_mut(&conn).and_then(|link| link.early.pop_front()) {
            self.on_link_block(ctx, conn, lane, &block);
        }
    }

    /// The link takes hold of the peer mailbox, after what the peer has recorded already.
    pub(crate) fn attach_peer(&mut self, ctx: &mut Context, conn: ConnId, number: usize) {
        let Some(through) = self.links.get(&conn).map(|link| link.acked.2) else { return };
        let Some(mailbox) = self.peers.get_mut(&number).and_then(|peer| peer.mailbox.as_mut()) else {
            return;
        };
        let id = mailbox.id;
        mailbox.attach(Holder { conn, channel: 0 }, None, through + 1);
        if through > 0 {
            let ranges = vec![(1, through)];
            self.submit(ctx, Request::Done { mailbox: id, ranges, reason: DoneReason::Acked, confirm: None });
        }
        self.wake(ctx, conn);
    }

    // ---- sending ----

    /// One turn of both paths of a link.
    pub(crate) fn pump_link(&mut self, ctx: &mut Context, conn: ConnId) {
        let now = self.clock_ms(ctx);
        let Some(mut link) = self.links.remove(&conn) else { return };
        link.is_awake = false;
        let mut has_more = false;
        if link.phase == Phase::Up {
            has_more |= self.pump_link_durable(ctx, conn, &mut link, now);
            has_more |= self.pump_link_live(ctx, conn, &mut link, now);
        }
        self.links.insert(conn, link);
        if has_more {
            self.wake(ctx, conn);
        }
    }

    fn pump_link_durable(&mut self, ctx: &mut Context, conn: ConnId, link: &mut Link, now: u64) -> bool {
        let Some(mailbox) = self.peers.get_mut(&link.peer).and_then(|peer| peer.mailbox.as_mut()) else {
            return false;
        };
        if mailbox.holder != Some(Holder { conn, channel: 0 }) {
            return false;
        }
        let id = mailbox.id;
        let (turn, expired, has_more) = match mailbox.next() {
            Next::Wait => return false,
            Next::Send(turn) => (turn, Vec::new(), true),
            Next::Take => take_turn(ctx, &self.reader, mailbox, &mut link.credit, now),
        };
        if !expired.is_empty() {
            mailbox.wait(expired.clone(), turn);
            self.expire(ctx, id, expired);
            return false;
        }
        let mut out = Vec::new();
        if !turn.is_empty() && link.durable_out.is_none() {
            link.durable_out = Some(EventStreamWriter::open(STREAM_DURABLE, &mut out));
        }
        let Some(writer) = &mut link.durable_out else { return has_more };
        let mut forgotten = Vec::new();
        for entry in turn {
            if entry.sequence > link.expected {
                put_hole(ctx, link.expected, entry.sequence - 1, "dropped", &mut out);
            }
            link.expected = entry.sequence + 1;
            let Some(event) = entry.event else {
                put_hole(ctx, entry.sequence, entry.sequence, "expired", &mut out);
                continue;
            };
            ctx.count(Count::LinkDurable);
            ctx.note(format_args!("b{} mailbox {} sends {} on c{conn}", self.number, id.0, entry.sequence));
            put_event(writer, 0, &event, now, Some((entry.sequence, entry.attempt)), &mut out);
            link.sent.push_back((entry.sequence, event.body.len() as u64));
            forgotten.push((entry.sequence, entry.sequence));
        }
        let side = self.side(ctx, conn);
        ctx.send(conn, side, Lane::Durable, out);
        if ctx.is_mutant(Mutant::ForgetBeforeHopAck) && !forgotten.is_empty() {
            let (ranges, reason) = (forgotten, DoneReason::Acked);
            self.submit(ctx, Request::Done { mailbox: id, ranges, reason, confirm: None });
        }
        has_more
    }

    fn pump_link_live(&mut self, ctx: &mut Context, conn: ConnId, link: &mut Link, now: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&link.peer) else { return false };
        let (mut items, mut taken) = (Vec::new(), 0);
        while taken < 600 {
            let (item, _) = peer.live.pop_fresh(now);
            let Some(item) = item else { break };
            if let LiveItem::Event(event) = &item {
                ctx.count(Count::LinkLive);
                taken += event.body.len() + 16;
            }
            items.push(item);
        }
        let has_more = !peer.live.is_empty();
        if !items.is_empty() {
            let mut out = Vec::new();
            let writer = link.live_out.get_or_insert_with(|| EventStreamWriter::open(STREAM_LIVE, &mut out));
            put_live(ctx, writer, 0, now, items, &mut out);
            let side = self.side(ctx, conn);
            ctx.send(conn, side, Lane::Live, out);
        }
        has_more
    }

    fn on_hop_ack(&mut self, ctx: &mut Context, conn: ConnId, through: u64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(mailbox) = self.peers.get(&link.peer).and_then(|peer| peer.mailbox.as_ref()) else { return };
        let before = link.acked.2;
        if through >= mailbox.delivery.tail().max(mailbox.delivery.next()) {
            let what = format!("b{}: hop ack through {through}, which does not exist", self.number);
            return ctx.oracle.break_(format!("b{}", self.number), what);
        }
        if through <= before {
            return;
        }
        let id = mailbox.id;
        ctx.note(format_args!("b{} mailbox {} is recorded through {through}", self.number, id.0));
        while let Some(&(sequence, bytes)) = link.sent.front()
            && sequence <= through
        {
            link.sent.pop_front();
            link.acked.0 += 1;
            link.acked.1 += bytes;
        }
        link.acked.2 = through;
        link.credit.grant(link.acked.0 + WINDOW_EVENTS, link.acked.1 + WINDOW_BYTES);
        let ranges = vec![(before + 1, through)];
        self.submit(ctx, Request::Done { mailbox: id, ranges, reason: DoneReason::Acked, confirm: None });
        self.wake(ctx, conn);
    }

    // ---- the end ----

    /// Withdraws all that hung on a link, and only then makes room for another.
    pub(crate) fn end_link(&mut self, ctx: &mut Context, conn: ConnId, why: &str) {
        let Some(link) = self.links.remove(&conn) else { return };
        let side = self.side(ctx, conn);
        ctx.close(conn, side);
        let number = link.peer;
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let was_dialling = peer.dialling == Some(conn);
        if was_dialling {
            peer.dialling = None;
        }
        if peer.link == Some(conn) {
            ctx.note(format_args!("b{} link to b{number} ended: {why}", self.number));
            peer.link = None;
            let was_linked = std::mem::take(&mut peer.is_linked);
            let confirmed = peer.confirmed.take();
            if let Some(mailbox) = &mut peer.mailbox {
                mailbox.detach(Holder { conn, channel: 0 });
            }
            while peer.live.pop().is_some() {}
            self.withdraw_live(number);
            if let (true, Some(confirmed)) = (was_linked, confirmed) {
                self.tell_link_lost(ctx, number, confirmed);
            }
            self.look_at_waits(ctx);
        }
        // Whoever probed it has its answer.
        for waiting in self.probing(conn) {
            if let Some(link) = self.links.get_mut(&waiting) {
                link.phase = Phase::Hello;
            }
            self.admit(ctx, waiting);
        }
        if was_dialling || self.peers.get(&number).is_some_and(|peer| peer.dialling.is_none()) {
            self.dial_later(ctx, number);
        }
    }
}

fn put_hole(ctx: &mut Context, from: u64, through: u64, reason: &str, out: &mut Vec<u8>) {
    ctx.count(Count::HoleSent);
    Hole { from, through, reason: reason.into() }.encode(out);
}
