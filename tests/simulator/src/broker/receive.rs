//! Events that come over a link: to local subscriptions of their class, recorded before the hop ack.

use std::sync::Arc;

use bytes::Bytes;
use fanal_core::Event;
use fanal_core::route::Scope;
use fanal_protocol::control::{GAP_AT_MOST, Gap};
use fanal_protocol::event::{EventHeader, StreamFrame};
use fanal_protocol::frame;

use super::link::Phase;
use super::log::{ReceiveError, ReceiveItem, Request};
use super::{Node, broker_name};
use crate::context::{BrokerTimer, Context};
use crate::net::{ConnId, Lane};

/// How long a link waits before it offers a batch to a full store again.
const FULL_BACKOFF_US: u64 = 500_000;

impl Node {
    /// A block of a link's stream. Those of the durable path wait for each other.
    pub(crate) fn on_link_block(&mut self, ctx: &mut Context, conn: ConnId, lane: Lane, block: &Bytes) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let is_durable = lane == Lane::Durable;
        if link.phase != Phase::Up {
            return link.early.push_back((lane, block.clone()));
        }
        if is_durable && link.recording.is_some() {
            return link.blocks.push_back(block.clone());
        }
        let mut items = Vec::new();
        for range in frame::frames(block) {
            match StreamFrame::decode(&block[range.clone()]) {
                Ok(StreamFrame::Event(header, body)) => {
                    let body = block.slice(range.start + body.start..range.start + body.end);
                    self.on_link_event(ctx, conn, is_durable, &header, body, &mut items);
                }
                Ok(StreamFrame::Hole(hole)) if is_durable => {
                    items.push(ReceiveItem::Hole { from: hole.from, through: hole.through });
                }
                Ok(StreamFrame::Gap(gap)) if !is_durable => self.pass_on_gap(ctx, conn, &gap),
                Ok(other) => self.on_alias(ctx, conn, is_durable, other),
                Err(error) => ctx.oracle.break_(format!("b{}", self.number), error.to_string()),
            }
        }
        if !items.is_empty()
            && let Some(link) = self.links.get_mut(&conn)
        {
            link.recording = Some(items);
            self.record(ctx, conn);
        }
    }

    fn on_alias(&mut self, ctx: &mut Context, conn: ConnId, is_durable: bool, frame: StreamFrame<'_>) {
        let route = match &frame {
            StreamFrame::Topic(alias) => self.topic_route(&alias.topic),
            _ => None,
        };
        let Some(link) = self.links.get_mut(&conn) else { return };
        let reader = if is_durable { &mut link.durable_in } else { &mut link.live_in };
        let taken = match (frame, route) {
            (StreamFrame::Topic(alias), Some(route)) => reader.on_topic(alias.alias, route).is_ok(),
            (StreamFrame::Publisher(alias), _) => reader.on_publisher(&alias).is_ok(),
            (StreamFrame::Clock(base), _) => {
                reader.on_clock(base);
                true
            }
            (StreamFrame::Open(_), _) => true,
            _ => false,
        };
        if !taken {
            ctx.oracle.break_(
                format!("b{}", self.number),
                format!("b{}: a link's frame was not taken", self.number),
            );
        }
    }

    fn on_link_event(
        &mut self,
        ctx: &mut Context,
        conn: ConnId,
        is_durable: bool,
        header: &EventHeader,
        body: Bytes,
        items: &mut Vec<ReceiveItem>,
    ) {
        let now = self.clock_ms(ctx);
        let Some(mut link) = self.links.remove(&conn) else { return };
        let scope = if is_durable { Scope::LinkDurable } else { Scope::LinkLive(header.class) };
        let reader = if is_durable { &mut link.durable_in } else { &mut link.live_in };
        let resolved = reader.resolve(header).ok().and_then(|resolved| {
            let (origin, sequence) = (resolved.origin, resolved.sequence);
            let to = self.resolve(ctx, resolved.topic, scope, &origin, sequence, &body)?;
            let event = Arc::new(Event {
                topic: Arc::clone(&resolved.topic.text),
                origin,
                sequence,
                class: header.class,
                accepted_at: resolved.accepted_at_ms,
                deadline: header.ttl_ms.map(|ttl| now.saturating_add(ttl)),
                body,
            });
            Some((to, event))
        });
        let peer = link.peer;
        self.links.insert(conn, link);
        let Some((to, event)) = resolved else {
            let what = format!("b{}: an event of b{peer} cannot be read", self.number);
            return ctx.oracle.break_(format!("b{}", self.number), what);
        };
        if let Some(number) = crate::client::event_number(&event.body) {
            ctx.oracle.on_link_event(number, peer, self.number);
        }
        match header.mailbox_sequence {
            Some(sequence) => items.push(ReceiveItem::Event { sequence, event, mailboxes: to.mailboxes }),
            None => to.live.into_iter().for_each(|near| self.push_live(ctx, near, &event)),
        }
    }

    fn pass_on_gap(&mut self, ctx: &mut Context, conn: ConnId, gap: &Gap) {
        let Some(peer) = self.links.get(&conn).map(|link| link.peer) else { return };
        let kind = gap.kind.max(GAP_AT_MOST);
        let ids: Vec<u64> =
            self.lives.iter().filter(|(_, live)| live.entry.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            self.push_gap(ctx, id, Gap { channel: 0, kind, broker: broker_name(peer), ..gap.clone() });
        }
    }

    /// Has a block recorded.
    pub(crate) fn record(&mut self, ctx: &mut Context, conn: ConnId) {
        let Some(link) = self.links.get(&conn) else { return };
        if let (Some(items), Some(sender)) = (&link.recording, link.sender()) {
            let request = Request::Receive { conn, sender, items: items.clone() };
            self.submit(ctx, request);
        }
    }

    /// The log has recorded a block, or not.
    pub(crate) fn on_recorded(&mut self, ctx: &mut Context, conn: ConnId, error: Option<ReceiveError>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match error {
            None => {
                link.recording = None;
                if let Some(block) = link.blocks.pop_front() {
                    self.on_link_block(ctx, conn, Lane::Durable, &block);
                    self.take_waiting(ctx, conn);
                }
            }
            Some(ReceiveError::Full) => self.timer(ctx, FULL_BACKOFF_US, BrokerTimer::Again(conn)),
            Some(ReceiveError::Stopped) => self.end_link(ctx, conn, "store stopped"),
            Some(ReceiveError::Missing { got, expected }) => {
                let what = format!("b{}: mailbox sequence {got} came where {expected} was due", self.number);
                ctx.oracle.break_(format!("b{}", self.number), what);
            }
        }
    }

    /// Blocks without anything to record do not hold up those behind them.
    fn take_waiting(&mut self, ctx: &mut Context, conn: ConnId) {
        while let Some(link) = self.links.get_mut(&conn)
            && link.recording.is_none()
            && let Some(block) = link.blocks.pop_front()
        {
            self.on_link_block(ctx, conn, Lane::Durable, &block);
        }
    }
}
