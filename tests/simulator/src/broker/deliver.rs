//! Sending: live buffers and mailboxes, turn by turn, within credit.

use std::sync::Arc;

use fanal_core::Event;
use fanal_core::event::Millis;
use fanal_core::home::Ask;
use fanal_core::live::{LiveBuffer, LiveItem};
use fanal_matching::EntryId;
use fanal_protocol::control::{GAP_UNKNOWN, Gap, STREAM_DURABLE, STREAM_LIVE};
use fanal_protocol::stream::EventStreamWriter;
use fanal_store::ReadError;

use super::edge::{Channel, Session};
use super::log::{DoneReason, Request};
use super::mailbox::{Entry, Mailbox, Next, Source};
use super::route::Near;
use super::{Node, broker_name};
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::mutant::Mutant;
use crate::net::{ConnId, Lane};

/// Bytes of one turn: few, so that turns of destinations mix.
const TURN_BYTES: usize = 600;

/// A live subscription, or the live side of a durable one.
pub(crate) struct Live {
    pub(crate) buffer: LiveBuffer,
    pub(crate) conn: ConnId,
    pub(crate) channel: u32,
    pub(crate) entry: Option<EntryId>,
    pub(crate) ask: Option<Ask>,
    pub(crate) version: u64,
}

impl Live {
    /// An empty buffer of a channel.
    pub(crate) fn new(bytes_max: usize, gap_kind: u8, conn: ConnId, channel: u32) -> Self {
        let buffer = LiveBuffer::new(bytes_max, gap_kind);
        Live { buffer, conn, channel, entry: None, ask: None, version: 0 }
    }
}

/// One entry of a turn that can be sent, or has expired.
pub(crate) struct TurnEntry {
    pub(crate) sequence: u64,
    pub(crate) attempt: Option<u32>,
    pub(crate) event: Option<Arc<Event>>,
}

impl Node {
    /// Hands an event to a live destination.
    pub(crate) fn push_live(&mut self, ctx: &mut Context, near: Near, event: &Arc<Event>) {
        match near {
            Near::Here(id) => {
                let Some(live) = self.lives.get_mut(&id) else { return };
                live.buffer.push(event);
                let conn = live.conn;
                self.wake(ctx, conn);
            }
            Near::Peer(peer) => {
                let Some(peer) = self.peers.get_mut(&peer) else { return };
                peer.live.push(event);
                if let Some(conn) = peer.link {
                    self.wake(ctx, conn);
                }
            }
        }
    }

    /// Hands a gap to a live subscription.
    pub(crate) fn push_gap(&mut self, ctx: &mut Context, id: u64, gap: Gap) {
        let Some(live) = self.lives.get_mut(&id) else { return };
        live.buffer.push_gap(gap);
        let conn = live.conn;
        self.wake(ctx, conn);
    }

    /// The link to a peer is lost, over which part of the events came.
    pub(crate) fn tell_link_lost(&mut self, ctx: &mut Context, peer: usize, confirmed: u64) {
        let ids: Vec<u64> = self
            .lives
            .iter()
            .filter(|(_, live)| live.entry.is_some() && live.version <= confirmed)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let gap = Gap {
                kind: GAP_UNKNOWN,
                reason: "link_lost".into(),
                broker: broker_name(peer),
                ..Gap::default()
            };
            self.push_gap(ctx, id, gap);
        }
    }

    /// The writer of a connection has something to look at.
    pub(crate) fn wake(&mut self, ctx: &mut Context, conn: ConnId) {
        let is_awake = match (self.sessions.get_mut(&conn), self.links.get_mut(&conn)) {
            (Some(session), _) => &mut session.is_awake,
            (None, Some(link)) => &mut link.is_awake,
            (None, None) => return,
        };
        if !std::mem::replace(is_awake, true) {
            let delay = ctx.random.below(300);
            self.timer(ctx, delay, BrokerTimer::Pump(conn));
        }
    }

    /// One turn of each destination of a connection.
    pub(crate) fn on_pump(&mut self, ctx: &mut Context, conn: ConnId) {
        if self.links.contains_key(&conn) {
            return self.pump_link(ctx, conn);
        }
        let Some(mut session) = self.sessions.remove(&conn) else { return };
        session.is_awake = false;
        let mut has_more = false;
        let numbers: Vec<u32> = session.channels.keys().copied().collect();
        for number in numbers {
            has_more |= self.pump_live(ctx, conn, &mut session, number);
            has_more |= self.pump_durable(ctx, conn, &mut session, number);
        }
        self.sessions.insert(conn, session);
        if has_more {
            self.wake(ctx, conn);
        }
    }

    fn pump_live(&mut self, ctx: &mut Context, conn: ConnId, session: &mut Session, number: u32) -> bool {
        let now = self.clock_ms(ctx);
        let (id, credit) = match session.channels.get_mut(&number) {
            Some(Channel::Live { live, credit } | Channel::Durable { live, credit, .. }) => (*live, credit),
            _ => return false,
        };
        let Some(live) = self.lives.get_mut(&id) else { return false };
        let (mut items, mut taken) = (Vec::new(), 0);
        while taken < TURN_BYTES && credit.is_open() {
            let (item, expired) = live.buffer.pop_fresh(now);
            (0..expired).for_each(|_| ctx.count(Count::ExpiredLive));
            let Some(item) = item else { break };
            if let LiveItem::Event(event) = &item {
                credit.charge(event.body.len() as u64);
                taken += event.body.len() + 16;
            }
            items.push(item);
        }
        let has_more = !live.buffer.is_empty() && credit.is_open();
        if !items.is_empty() {
            let mut out = Vec::new();
            let writer =
                session.live_out.get_or_insert_with(|| EventStreamWriter::open(STREAM_LIVE, &mut out));
            put_live(ctx, writer, number, now, items, &mut out);
            let side = self.side(ctx, conn);
            ctx.send(conn, side, Lane::Live, out);
        }
        has_more
    }

    fn pump_durable(&mut self, ctx: &mut Context, conn: ConnId, session: &mut Session, number: u32) -> bool {
        let Some(Channel::Durable { mailbox: id, credit, .. }) = session.channels.get_mut(&number) else {
            return false;
        };
        let id = *id;
        let Some(durable) = self.durables.get_mut(&id) else { return false };
        if durable.mailbox.holder != Some(super::mailbox::Holder { conn, channel: number }) {
            return false;
        }
        let (turn, expired, has_more) = match durable.mailbox.next() {
            Next::Wait => return false,
            Next::Send(turn) => (turn, Vec::new(), true),
            Next::Take => take_turn(ctx, &self.reader, &mut durable.mailbox, credit, self.clock_last_ms),
        };
        if durable.mailbox.delivery.is_behind() && !credit.is_open() {
            ctx.count(Count::CreditUsedUp);
        }
        if !expired.is_empty() {
            durable.mailbox.wait(expired.clone(), turn);
            self.expire(ctx, id, expired);
            return false;
        }
        let mut sent: Vec<TurnEntry> = turn.into_iter().filter(|entry| entry.event.is_some()).collect();
        if sent.is_empty() {
            return has_more;
        }
        if ctx.is_mutant(Mutant::DeliverUnordered) && sent.len() > 1 {
            sent.swap(0, 1);
        }
        let mut out = Vec::new();
        let writer =
            session.durable_out.get_or_insert_with(|| EventStreamWriter::open(STREAM_DURABLE, &mut out));
        let now = self.clock_last_ms;
        for entry in &sent {
            if let Some(event) = &entry.event {
                put_event(writer, number, event, now, Some((entry.sequence, entry.attempt)), &mut out);
            }
        }
        let side = self.side(ctx, conn);
        ctx.send(conn, side, Lane::Durable, out);
        has_more
    }

    /// Entries whose time is over are done with.
    pub(crate) fn expire(
        &mut self,
        ctx: &mut Context,
        mailbox: fanal_core::MailboxId,
        ranges: Vec<(u64, u64)>,
    ) {
        if !ranges.is_empty() {
            (0..ranges.len()).for_each(|_| ctx.count(Count::Expired));
            let request = Request::Done { mailbox, ranges, reason: DoneReason::Expired, confirm: None };
            self.submit(ctx, request);
        }
    }
}

/// Entries of a turn, those that have expired, and whether more may follow at once.
pub(crate) fn take_turn(
    ctx: &mut Context,
    reader: &fanal_store::Reader,
    mailbox: &mut Mailbox,
    credit: &mut fanal_core::Credit,
    now: Millis,
) -> (Vec<TurnEntry>, Vec<(u64, u64)>, bool) {
    let mut entries = Vec::new();
    let has_more = mailbox.take(reader, credit, TURN_BYTES, &mut entries);
    let charged = (entries.len() as u64, entries.iter().map(|entry| entry.charged).sum::<u64>());
    let (mut turn, mut expired, mut used) = (Vec::new(), Vec::new(), (0, 0));
    for Entry { sequence, attempt, source, .. } in entries {
        let event = match source {
            Source::Hot(event) => {
                ctx.count(Count::HotSent);
                event
            }
            Source::Cold(position) => match reader.read(position).map(|record| Event::decode(&record)) {
                Ok(Ok(event)) => {
                    ctx.count(Count::ColdRead);
                    Arc::new(event)
                }
                Err(ReadError::Gone(_)) => continue,
                other => {
                    ctx.oracle.break_("store", format!("an entry cannot be read: {other:?}"));
                    continue;
                }
            },
        };
        if event.is_expired(now) {
            expired.push((sequence, sequence));
            turn.push(TurnEntry { sequence, attempt, event: None });
            continue;
        }
        used = (used.0 + 1, used.1 + event.body.len() as u64);
        turn.push(TurnEntry { sequence, attempt, event: Some(event) });
    }
    credit.refund(charged.0 - used.0, charged.1.saturating_sub(used.1));
    (turn, expired, has_more || used != charged)
}

/// Writes an event of a stream.
pub(crate) fn put_event(
    writer: &mut EventStreamWriter,
    channel: u32,
    event: &Event,
    now: Millis,
    mailbox: Option<(u64, Option<u32>)>,
    out: &mut Vec<u8>,
) {
    let outgoing = event.outgoing(channel, now, mailbox);
    writer.event_head(&outgoing, event.body.len(), out);
    out.extend_from_slice(&event.body);
}

/// Writes items of a live stream.
pub(crate) fn put_live(
    ctx: &Context,
    writer: &mut EventStreamWriter,
    channel: u32,
    now: Millis,
    items: Vec<LiveItem>,
    out: &mut Vec<u8>,
) {
    for item in items {
        match item {
            LiveItem::Event(event) => put_event(writer, channel, &event, now, None, out),
            LiveItem::Gap(_) if ctx.is_mutant(Mutant::HideGap) => {}
            LiveItem::Gap(gap) => Gap { channel, ..gap }.encode(out),
        }
    }
}
