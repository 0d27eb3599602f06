//! Clients at their home: hello, publishing, subscribing, acks, interest receipts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fanal_core::ask::{interest_entry, parse_ask};
use fanal_core::home::{Ask, HomeRefusal, KeepPatch, Principal, Wanted};
use fanal_core::limits::WhenFull;
use fanal_core::route::Scope;
use fanal_core::{Credit, Event, MailboxId};
use fanal_protocol::control::{
    Ack, Done, Exception, GAP_EXACT, INTEREST_DURABLE, INTEREST_LIVE, Pending, PublishOpened, Refused,
    Subscribe, Subscribed, Welcome,
};
use fanal_protocol::event::{PublishHeader, StreamFrame, TopicRef};
use fanal_protocol::receipt::ReceiptRuns;
use fanal_protocol::stream::{Aliases, EventStreamWriter, Origin};
use fanal_protocol::{Class, Code, Control, PROTOCOL_VERSION, frame};

use super::deliver::Live;
use super::log::{Command, DoneReason, LogError, Output, PublishItem, Request, Then};
use super::mailbox::Holder;
use super::route::{Target, TopicRoute};
use super::{AUTHORITY, BODY_BYTES_MAX, Backlog, Node, broker_name, principal};
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::mutant::Mutant;
use crate::net::{ConnId, Party};

/// A channel of a session.
pub(crate) enum Channel {
    Publish(Arc<Origin>),
    Live { live: u64, credit: Credit },
    Durable { mailbox: MailboxId, live: u64, credit: Credit },
}

/// A client's connection.
pub(crate) struct Session {
    principal: Principal,
    pub(crate) channels: BTreeMap<u32, Channel>,
    topics: Aliases<TopicRoute>,
    is_busy: bool,
    /// A later connection of its client is there.
    is_fenced: bool,
    backlog: Backlog,
    pub(crate) durable_out: Option<EventStreamWriter>,
    pub(crate) live_out: Option<EventStreamWriter>,
    pub(crate) is_awake: bool,
}

/// An interest receipt that is held back.
pub(crate) struct Wait {
    conn: ConnId,
    channel: u32,
    version: u64,
    resumed: bool,
    until_us: u64,
    waits_for_peers: bool,
    installed: Vec<String>,
    pending: Vec<Pending>,
    left: Vec<usize>,
}

impl Node {
    /// A client connects.
    pub(crate) fn begin_session(&mut self, ctx: &mut Context, conn: ConnId, party: Party) {
        let name = match party {
            Party::Publisher(n) => format!("p{n}"),
            Party::Subscriber(n) => format!("s{n}"),
            Party::Broker(_) => return,
        };
        if self.log.is_stopped {
            let side = self.side(ctx, conn);
            return ctx.close(conn, side);
        }
        self.sessions.insert(
            conn,
            Session {
                principal: principal(&name),
                channels: BTreeMap::new(),
                topics: Aliases::new("topic"),
                is_busy: false,
                is_fenced: false,
                backlog: Backlog::new(),
                durable_out: None,
                live_out: None,
                is_awake: false,
            },
        );
    }

    /// A client's connection is over.
    pub(crate) fn end_session(&mut self, ctx: &mut Context, conn: ConnId) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        self.waits.retain(|wait| wait.conn != conn);
        for (number, channel) in session.channels {
            self.release(ctx, conn, number, channel);
        }
    }

    fn release(&mut self, ctx: &mut Context, conn: ConnId, number: u32, channel: Channel) {
        match channel {
            Channel::Publish(_) => {}
            Channel::Live { live, .. } => {
                if let Some(Live { entry: Some(entry), ask: Some(ask), .. }) = self.lives.remove(&live) {
                    self.index.remove(entry);
                    self.interest.remove(interest_entry(&ask, INTEREST_LIVE));
                    self.interest_changed(ctx);
                }
            }
            Channel::Durable { mailbox, live, .. } => {
                self.lives.remove(&live);
                if let Some(mailbox) = self.mailbox_mut(mailbox) {
                    mailbox.detach(Holder { conn, channel: number });
                }
            }
        }
    }

    /// A control frame; those of one connection wait for each other.
    pub(crate) fn on_session_frame(&mut self, ctx: &mut Context, conn: ConnId, frame: Control) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.is_fenced {
            return;
        }
        if session.is_busy {
            return session.backlog.push_back(frame);
        }
        match frame {
            Control::Hello(_) => self.welcome(ctx, conn),
            Control::OpenPublish(open) => {
                let command =
                    Command::OpenPublish { principal: session.principal.clone(), resume: open.resume, conn };
                self.ask_log(ctx, conn, command, open.into());
            }
            Control::ClosePublish(close) => {
                if let Some(Channel::Publish(origin)) = session.channels.remove(&close.channel) {
                    self.ask_log(ctx, conn, Command::ClosePublish { epoch: origin.epoch }, close.into());
                }
            }
            Control::Subscribe(request) => self.subscribe(ctx, conn, request),
            Control::Credit(credit) => self.grant(ctx, conn, &credit),
            Control::Ack(ack) => self.on_ack(ctx, conn, ack),
            Control::Detach(detach) => {
                if let Some(channel) = session.channels.remove(&detach.channel) {
                    self.release(ctx, conn, detach.channel, channel);
                }
            }
            Control::RemoveSubscription(request) => {
                let (principal, name) = (session.principal.clone(), request.durable.clone());
                self.ask_log(ctx, conn, Command::RemoveSubscription { principal, name }, request.into());
            }
            Control::UpdateSubscription(request) => {
                let parsed = parse_ask(
                    &request.filter,
                    request.predicate.as_deref(),
                    request.strict.as_deref(),
                    &request.except,
                );
                let Ok((ask, _)) = parsed else {
                    return self.refuse(ctx, conn, request.request, Code::FilterRefused);
                };
                let principal = session.principal.clone();
                let keep = KeepPatch {
                    bytes: request.max_bytes,
                    events: request.max_events,
                    age_ms: request.max_age_ms,
                    when_full: request.when_full.as_deref().and_then(WhenFull::parse),
                };
                let wanted = Wanted { principal, name: request.durable.clone(), ask, keep };
                self.ask_log(ctx, conn, Command::UpdateSubscription(wanted), request.into());
            }
            other => {
                ctx.oracle.break_(format!("b{}", self.number), format!("a client sent {}", other.name()))
            }
        }
    }

    fn ask_log(&mut self, ctx: &mut Context, conn: ConnId, command: Command, frame: Control) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.is_busy = true;
        }
        self.command(ctx, command, Then::Session { conn, frame: Box::new(frame) });
    }

    fn refuse(&self, ctx: &mut Context, conn: ConnId, request: u32, code: Code) {
        self.tell(ctx, conn, Refused { request, code: code.number(), ..Default::default() });
    }

    /// What earlier connections of a client have left is not carried out any more; what the log has
    /// of it already comes first.
    fn fence(&mut self, conn: ConnId) {
        let Some(client) = self.sessions.get(&conn).map(|session| session.principal.clone()) else { return };
        for (_, session) in self.sessions.range_mut(..conn).filter(|(_, session)| session.principal == client)
        {
            session.is_fenced = true;
            session.backlog.clear();
        }
    }

    fn welcome(&mut self, ctx: &mut Context, conn: ConnId) {
        self.fence(conn);
        let Some(session) = self.sessions.get(&conn) else { return };
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            broker: broker_name(self.number),
            authority: AUTHORITY,
            incarnation: self.incarnation,
            principal: session.principal.name.clone(),
            body_bytes_max: BODY_BYTES_MAX as u64,
            agent: "fanal/simulated".into(),
            strict: true,
            limits: true,
        };
        self.tell(ctx, conn, welcome);
    }

    /// The log has answered what a session asked.
    pub(crate) fn on_session_answer(
        &mut self,
        ctx: &mut Context,
        conn: ConnId,
        frame: Control,
        command: Command,
        answer: Result<Output, LogError>,
    ) {
        match (frame, answer) {
            (Control::OpenPublish(open), Ok(Output::Epoch { epoch, next })) => {
                if let Some(session) = self.sessions.get_mut(&conn) {
                    let origin = Arc::new(Origin { publisher: session.principal.clone(), epoch });
                    session.channels.insert(open.channel, Channel::Publish(origin));
                    self.tell(ctx, conn, PublishOpened { channel: open.channel, epoch, next });
                }
            }
            (Control::Subscribe(request), Ok(Output::Mailbox { id, existed })) => {
                if let Command::PutSubscription(wanted) = command {
                    self.attach(ctx, conn, &request, id, &wanted.ask, existed);
                }
            }
            (Control::RemoveSubscription(request), Ok(Output::Mailbox { id, .. })) => {
                self.forget_durable(ctx, id);
                self.tell(ctx, conn, Done { request: request.request });
            }
            (Control::UpdateSubscription(request), Ok(Output::Mailbox { id, .. })) => {
                if let Command::UpdateSubscription(wanted) = command {
                    self.update_durable(ctx, id, &wanted.ask);
                }
                self.tell(ctx, conn, Done { request: request.request });
            }
            (frame, Err(error)) => {
                let code = match error {
                    LogError::Refused(
                        HomeRefusal::FilterDiffers { .. } | HomeRefusal::LimitsDiffer { .. },
                    ) => Code::Conflict,
                    LogError::Refused(HomeRefusal::NoSubscription { .. }) => Code::NotFound,
                    LogError::Refused(HomeRefusal::UnknownEpoch { .. }) => Code::Gone,
                    LogError::Refused(HomeRefusal::TooManyEpochs { .. }) => Code::Quota,
                    LogError::Full => Code::StoreFull,
                    LogError::Stopped => Code::Unavailable,
                };
                self.refuse(ctx, conn, request_number(&frame), code);
            }
            _ => {}
        }
        self.go_on(ctx, conn);
    }

    fn go_on(&mut self, ctx: &mut Context, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.is_busy = false;
        }
        while let Some(session) = self.sessions.get_mut(&conn)
            && !session.is_busy
            && let Some(frame) = session.backlog.pop_front()
        {
            self.on_session_frame(ctx, conn, frame);
        }
    }

    // ---- subscribing ----

    fn subscribe(&mut self, ctx: &mut Context, conn: ConnId, request: Subscribe) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let parsed = parse_ask(
            &request.filter,
            request.predicate.as_deref(),
            request.strict.as_deref(),
            &request.except,
        );
        let Ok((ask, selector)) = parsed else {
            return self.refuse(ctx, conn, request.channel, Code::FilterRefused);
        };
        if let Some(name) = request.durable.clone() {
            let keep = KeepPatch {
                bytes: request.max_bytes,
                events: request.max_events,
                age_ms: request.max_age_ms,
                when_full: request.when_full.as_deref().and_then(WhenFull::parse),
            };
            let wanted = Wanted { principal: session.principal.clone(), name, ask, keep };
            return self.ask_log(ctx, conn, Command::PutSubscription(wanted), request.into());
        }
        let live = self.new_live(ctx, conn, request.channel);
        let entry = self.route_to(selector, Target::Live(live));
        let version = self.interest.add(interest_entry(&ask, INTEREST_LIVE));
        if let Some(state) = self.lives.get_mut(&live) {
            (state.entry, state.ask, state.version) = (Some(entry), Some(ask), version);
        }
        self.interest_changed(ctx);
        let credit = Credit::new(request.credit_events, request.credit_bytes);
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.channels.insert(request.channel, Channel::Live { live, credit });
        }
        self.wait_for_interest(ctx, conn, &request, version, false);
    }

    fn new_live(&mut self, ctx: &Context, conn: ConnId, channel: u32) -> u64 {
        let id = self.next_live;
        self.next_live += 1;
        self.lives.insert(id, Live::new(ctx.plan.live_bytes, GAP_EXACT, conn, channel));
        id
    }

    fn attach(
        &mut self,
        ctx: &mut Context,
        conn: ConnId,
        request: &Subscribe,
        id: MailboxId,
        ask: &Ask,
        existed: bool,
    ) {
        let parsed = parse_ask(
            &request.filter,
            request.predicate.as_deref(),
            request.strict.as_deref(),
            &request.except,
        );
        let Ok((_, selector)) = parsed else { return };
        let version = self.ensure_durable(id, ask, selector);
        self.interest_changed(ctx);
        if !self.sessions.contains_key(&conn) {
            return;
        }
        let live = self.new_live(ctx, conn, request.channel);
        let holder = Holder { conn, channel: request.channel };
        let before = self.mailbox_mut(id).and_then(|mailbox| mailbox.attach(holder, Some(live), 1));
        if let Some(before) = before {
            self.tell_closed(ctx, before, Code::Conflict, "taken_over");
        }
        let credit = Credit::new(request.credit_events, request.credit_bytes);
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.channels.insert(request.channel, Channel::Durable { mailbox: id, live, credit });
        }
        self.wake(ctx, conn);
        self.wait_for_interest(ctx, conn, request, version, existed);
    }

    fn tell_closed(&self, ctx: &mut Context, holder: Holder, code: Code, name: &str) {
        let closed = fanal_protocol::control::ChannelClosed {
            channel: holder.channel,
            code: code.number(),
            name: name.into(),
            reason: String::new(),
        };
        self.tell(ctx, holder.conn, closed);
    }

    fn forget_durable(&mut self, ctx: &mut Context, id: MailboxId) {
        let Some(durable) = self.durables.remove(&id) else { return };
        self.index.remove(durable.entry);
        self.interest.remove(interest_entry(&durable.ask, INTEREST_DURABLE));
        self.interest_changed(ctx);
        if let Some(holder) = durable.mailbox.holder {
            self.tell_closed(ctx, holder, Code::NotFound, "removed");
        }
    }

    fn update_durable(&mut self, ctx: &mut Context, id: MailboxId, ask: &Ask) {
        let Ok((_, selector)) =
            parse_ask(&ask.filter, ask.predicate.as_deref(), ask.strict.as_deref(), &ask.except)
        else {
            return;
        };
        let Some(durable) = self.durables.get_mut(&id) else { return };
        durable.version = self.interest.add(interest_entry(ask, INTEREST_DURABLE));
        if let Ok(Some(entry)) = self.index.replace(durable.entry, selector) {
            durable.entry = entry;
        }
        let before = std::mem::replace(&mut durable.ask, ask.clone());
        self.interest.remove(interest_entry(&before, INTEREST_DURABLE));
        self.interest_changed(ctx);
    }

    // ---- interest receipts ----

    fn wait_for_interest(
        &mut self,
        ctx: &mut Context,
        conn: ConnId,
        request: &Subscribe,
        version: u64,
        resumed: bool,
    ) {
        let until_us = ctx.now_us + request.wait_ms.unwrap_or(5_000) * 1000;
        self.waits.push(Wait {
            conn,
            channel: request.channel,
            version,
            resumed,
            until_us,
            waits_for_peers: request.wait.as_deref() != Some("home"),
            installed: vec![broker_name(self.number)],
            pending: Vec::new(),
            left: self.peers.keys().rev().copied().collect(),
        });
        self.timer(ctx, until_us - ctx.now_us, BrokerTimer::Waits);
        self.look_at_waits(ctx);
    }

    /// Sends the interest receipts that are due: peers are waited for one after the other.
    pub(crate) fn look_at_waits(&mut self, ctx: &mut Context) {
        for mut wait in std::mem::take(&mut self.waits) {
            if self.is_due(ctx, &mut wait) {
                let Wait { conn, channel, installed, pending, resumed, .. } = wait;
                let home = broker_name(self.number);
                self.tell(ctx, conn, Subscribed { channel, home, installed, pending, resumed });
            } else {
                self.waits.push(wait);
            }
        }
    }

    fn is_due(&self, ctx: &Context, wait: &mut Wait) -> bool {
        while let Some(number) = wait.left.last() {
            let Some(peer) = self.peers.get(number) else { return true };
            let is_wanted = wait.waits_for_peers && (peer.is_linked || peer.dials);
            let is_confirmed = peer.confirmed.is_some_and(|confirmed| confirmed >= wait.version);
            let name = broker_name(*number);
            if is_confirmed || ctx.is_mutant(Mutant::ReceiptBeforeInterest) {
                wait.installed.push(name);
            } else if is_wanted && ctx.now_us < wait.until_us {
                return false;
            } else {
                wait.pending.push(Pending { broker: name, reason: "not confirmed".into() });
            }
            wait.left.pop();
        }
        true
    }

    // ---- credit and acks ----

    fn grant(&mut self, ctx: &mut Context, conn: ConnId, raise: &fanal_protocol::control::Credit) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let channel = session.channels.get_mut(&raise.channel);
        if let Some(Channel::Live { credit, .. } | Channel::Durable { credit, .. }) = channel {
            credit.grant(raise.events, raise.bytes);
            self.wake(ctx, conn);
        }
    }

    fn on_ack(&mut self, ctx: &mut Context, conn: ConnId, ack: Ack) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let Some(Channel::Durable { mailbox, .. }) = session.channels.get(&ack.channel) else { return };
        let id = *mailbox;
        let Some(mailbox) = self.mailbox_mut(id) else { return };
        if mailbox.holder != Some(Holder { conn, channel: ack.channel }) {
            return; // taken over: the new holder gets what was not acked in time
        }
        let ackable_below = mailbox.delivery.ackable_below();
        let ranges: Vec<(u64, u64)> = ack
            .ranges
            .iter()
            .map(|&(from, through)| (from, through.min(ackable_below.saturating_sub(1))))
            .filter(|(from, through)| from <= through)
            .collect();
        if !ranges.is_empty() {
            let confirm = Some((conn, ack.channel));
            let reason = DoneReason::Acked;
            self.submit(ctx, Request::Done { mailbox: id, ranges, reason, confirm });
        }
    }

    // ---- publishing ----

    /// A block of a publish stream.
    pub(crate) fn on_publish_block(&mut self, ctx: &mut Context, conn: ConnId, block: &Bytes) {
        let mut batch = Batch::default();
        for range in frame::frames(block) {
            let frame = &block[range.clone()];
            match StreamFrame::decode(frame) {
                Ok(StreamFrame::Open(_)) => {}
                Ok(StreamFrame::Topic(alias)) => {
                    let Some(route) = self.topic_route(&alias.topic) else { continue };
                    if let Some(session) = self.sessions.get_mut(&conn) {
                        let _ = session.topics.define(alias.alias, route);
                    }
                }
                Ok(StreamFrame::Skip(skip)) => {
                    let (from, through) = (skip.from, skip.through);
                    batch.add(self.publish_channel(conn, skip.channel), PublishItem::Skip { from, through });
                }
                Ok(StreamFrame::Publish(header, body)) => {
                    let body = block.slice(range.start + body.start..range.start + body.end);
                    self.on_publish(ctx, conn, &header, body, &mut batch);
                }
                other => {
                    ctx.oracle.break_(format!("b{}", self.number), format!("on a publish stream: {other:?}"))
                }
            }
        }
        for frame in batch.receipts.drain() {
            self.tell(ctx, conn, frame);
        }
        if let Some((channel, origin)) = batch.channel.filter(|_| !batch.items.is_empty()) {
            self.submit(ctx, Request::Publish { conn, channel, origin, items: batch.items });
        }
    }

    fn publish_channel(&self, conn: ConnId, number: u32) -> Option<(u32, Arc<Origin>)> {
        match self.sessions.get(&conn)?.channels.get(&number)? {
            Channel::Publish(origin) => Some((number, Arc::clone(origin))),
            _ => None,
        }
    }

    fn on_publish(
        &mut self,
        ctx: &mut Context,
        conn: ConnId,
        header: &PublishHeader<'_>,
        body: Bytes,
        batch: &mut Batch,
    ) {
        let Some((channel, origin)) = self.publish_channel(conn, header.channel) else { return };
        if body.len() > BODY_BYTES_MAX {
            return batch.refuse(channel, header, Code::TooLarge);
        }
        let TopicRef::Alias(alias) = header.topic else { return };
        let Some(mut session) = self.sessions.remove(&conn) else { return };
        let resolved = session.topics.get_mut(alias).ok().map(|topic| {
            let scope = Scope::Client(header.class);
            (self.resolve(ctx, topic, scope, &origin, header.sequence, &body), Arc::clone(&topic.text))
        });
        self.sessions.insert(conn, session);
        let Some((destinations, topic)) = resolved else { return };
        let Some(destinations) = destinations else { return batch.refuse(channel, header, Code::Malformed) };
        let now = self.clock_ms(ctx);
        let event = Arc::new(Event {
            topic,
            origin: Arc::clone(&origin),
            sequence: header.sequence,
            class: header.class,
            accepted_at: now,
            deadline: header.ttl_ms.map(|ttl| now.saturating_add(ttl)),
            body,
        });
        if header.class == Class::BestEffort {
            for near in destinations.live {
                self.push_live(ctx, near, &event);
            }
            if header.wants_receipt {
                batch.receipts.push(channel, true, header.sequence, Code::Accepted, 0);
            }
            return;
        }
        let (mailboxes, live) = (destinations.mailboxes, destinations.live);
        batch.add(Some((channel, origin)), PublishItem::Event { event, mailboxes, live });
    }
}

/// What one block adds up to.
#[derive(Default)]
struct Batch {
    channel: Option<(u32, Arc<Origin>)>,
    items: Vec<PublishItem>,
    receipts: ReceiptRuns,
}

impl Batch {
    fn add(&mut self, channel: Option<(u32, Arc<Origin>)>, item: PublishItem) {
        if channel.is_some() {
            self.channel = channel;
            self.items.push(item);
        }
    }

    fn refuse(&mut self, channel: u32, header: &PublishHeader<'_>, code: Code) {
        let exception = Exception {
            sequence: header.sequence,
            code: code.number(),
            reason: String::new(),
            retry_ms: None,
        };
        self.receipts.push_refusal(channel, header.class == Class::BestEffort, exception);
    }
}

fn request_number(frame: &Control) -> u32 {
    match frame {
        Control::OpenPublish(open) => open.channel,
        Control::Subscribe(request) => request.channel,
        Control::RemoveSubscription(request) => request.request,
        Control::UpdateSubscription(request) => request.request,
        _ => 0,
    }
}

/// Counts what a receipt says.
pub(crate) fn count_receipt(ctx: &mut Context, code: u16) {
    let what = match code {
        200 => Count::Receipt200,
        202 => Count::Receipt202,
        208 => Count::Receipt208,
        400 => Count::Refused400,
        413 => Count::Refused413,
        425 => Count::Refused425,
        503 => Count::Refused503,
        507 => Count::Refused507,
        _ => return,
    };
    ctx.count(what);
}
