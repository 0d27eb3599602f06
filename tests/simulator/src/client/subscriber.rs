//! A subscriber: durable and live subscriptions, acks late or never, roaming, takeover, updates.
//!
//! Of a durable subscription it remembers, as the client library does, what the program has had
//! and which acks are not confirmed; live ones begin anew with each connection.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fanal_protocol::control::{
    Ack, Credit, Detach, Hello, RemoveSubscription, Subscribe, Subscribed, UpdateSubscription,
};
use fanal_protocol::event::{EventHeader, StreamFrame};
use fanal_protocol::stream::EventStreamReader;
use fanal_protocol::{Class, Control, PROTOCOL_VERSION, frame};

use crate::ask::Wish;
use crate::books::Choice;
use crate::context::{ClientTimer, Context, Happening};
use crate::count::Count;
use crate::net::{ConnId, Lane, Party};
use crate::oracle::{Arrival, InstanceNo};

/// Without any answer for so long, a client gives a connection up.
const SILENCE_US: u64 = 8_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Asked,
    Attached,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Update(Wish, Choice),
    Remove,
}

/// One subscription of the program.
struct Sub {
    label: String,
    durable: Option<String>,
    wish: Wish,
    choice: Choice,
    /// Under its present name it may have dead letters, which go to whoever has that name.
    may_have_letters: bool,
    instance: Option<InstanceNo>,
    stage: Stage,
    channel: u32,
    asked_us: u64,
    change: Option<(Change, u32)>,
    got: (u64, u64),
    window: u64,
    to_ack: BTreeSet<u64>,
    unconfirmed: BTreeSet<u64>,
    held_until_us: u64,
}

#[derive(Default)]
struct Streams {
    durable: EventStreamReader<String>,
    live: EventStreamReader<String>,
}

/// See the module.
pub(crate) struct Subscriber {
    number: usize,
    home: usize,
    conn: Option<ConnId>,
    /// Left behind by a takeover.
    old: Option<ConnId>,
    streams: Streams,
    subs: Vec<Sub>,
    numbers: u32,
    testing: BTreeMap<u32, usize>,
    acks_due: bool,
    heard_us: u64,
    asked_us: u64,
}

impl Subscriber {
    /// A subscriber at a home, with subscriptions by chance.
    pub(crate) fn new(ctx: &mut Context, number: usize, home: usize) -> Self {
        let delay = ctx.random.below(1_000_000);
        for timer in [ClientTimer::Connect, ClientTimer::Step] {
            ctx.after(delay, Happening::Subscriber { subscriber: number, timer });
        }
        let count = ctx.random.between(1, 3);
        let subs = (0..count).map(|n| Sub::draw(ctx, number, n)).collect();
        Subscriber {
            number,
            home,
            conn: None,
            old: None,
            streams: Streams::default(),
            subs,
            numbers: 0,
            testing: BTreeMap::new(),
            acks_due: false,
            heard_us: 0,
            asked_us: 0,
        }
    }

    fn timer(&self, ctx: &mut Context, delay_us: u64, timer: ClientTimer) {
        ctx.after(delay_us, Happening::Subscriber { subscriber: self.number, timer });
    }

    /// What keeps it from being at rest.
    pub(crate) fn unrest(&self) -> Option<String> {
        if let Some(sub) = self.subs.iter().find(|sub| sub.stage != Stage::Attached || sub.change.is_some()) {
            return Some(format!("{} is {:?}, change {:?}", sub.label, sub.stage, sub.change));
        }
        let waiting = self.subs.iter().find(|sub| !sub.unconfirmed.is_empty());
        waiting.map(|sub| format!("{} has unconfirmed acks {:?}", sub.label, sub.unconfirmed))
    }

    /// Its live subscriptions.
    pub(crate) fn lives(&self) -> Vec<InstanceNo> {
        self.subs.iter().filter(|sub| sub.durable.is_none()).filter_map(|sub| sub.instance).collect()
    }

    /// A timer is due.
    pub(crate) fn on_timer(&mut self, ctx: &mut Context, timer: ClientTimer) {
        match timer {
            ClientTimer::Connect => self.connect(ctx),
            ClientTimer::Step => self.step(ctx),
            ClientTimer::Acks => self.send_acks(ctx),
            ClientTimer::Silence(conn) if self.conn == Some(conn) => {
                let waits = self.subs.iter().any(|sub| sub.stage == Stage::Asked || sub.change.is_some())
                    || self
                        .subs
                        .iter()
                        .any(|sub| !sub.unconfirmed.is_empty() && sub.held_until_us < ctx.now_us);
                let since = self.heard_us.max(self.asked_us);
                if waits && ctx.now_us >= since + SILENCE_US {
                    return self.vanish(ctx);
                }
                self.timer(ctx, SILENCE_US / 2, timer);
            }
            _ => {}
        }
    }

    // ---- connecting ----

    fn connect(&mut self, ctx: &mut Context) {
        if self.conn.is_some() {
            return;
        }
        let conn = ctx.connect(Party::Subscriber(self.number), Party::Broker(self.home));
        (self.conn, self.streams) = (Some(conn), Streams::default());
        (self.heard_us, self.asked_us) = (ctx.now_us, ctx.now_us);
        self.tell(ctx, Hello { versions: vec![PROTOCOL_VERSION], ..Default::default() });
        self.timer(ctx, SILENCE_US, ClientTimer::Silence(conn));
        for at in 0..self.subs.len() {
            self.go_on(ctx, at);
        }
    }

    /// Goes away without a word, and comes back.
    pub(crate) fn vanish(&mut self, ctx: &mut Context) {
        if let Some(conn) = self.conn {
            ctx.count(Count::ClientVanished);
            ctx.leave(conn, 0);
            self.disconnected(ctx);
        }
    }

    /// Connects a second time and takes its subscriptions over.
    fn take_over(&mut self, ctx: &mut Context) {
        if let Some(conn) = self.conn.take() {
            self.old = Some(conn);
            self.forget_connection(ctx);
            self.connect(ctx);
        }
    }

    /// The connection has ended.
    pub(crate) fn on_ended(&mut self, ctx: &mut Context, conn: ConnId) {
        if self.conn == Some(conn) {
            self.disconnected(ctx);
        }
    }

    fn disconnected(&mut self, ctx: &mut Context) {
        self.conn = None;
        self.forget_connection(ctx);
        let delay = ctx.random.between(1_000, 2_000_000);
        self.timer(ctx, delay, ClientTimer::Connect);
    }

    fn forget_connection(&mut self, ctx: &mut Context) {
        self.testing.clear();
        for sub in &mut self.subs {
            sub.stage = Stage::Idle;
            if sub.durable.is_none()
                && let Some(instance) = sub.instance.take()
            {
                ctx.oracle.is_going(instance);
            }
        }
    }

    fn tell(&mut self, ctx: &mut Context, frame: impl Into<Control>) {
        let mut out = Vec::new();
        frame.into().encode(&mut out);
        if let Some(conn) = self.conn {
            ctx.send(conn, 0, Lane::Control, out);
        }
    }

    fn next_number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// Whatever is next for a subscription: the change that is due, or attaching.
    fn go_on(&mut self, ctx: &mut Context, at: usize) {
        if self.conn.is_none() {
            return;
        }
        match self.subs[at].change.take() {
            Some((change, _)) => self.ask_change(ctx, at, change),
            None if self.subs[at].stage == Stage::Idle => self.subscribe(ctx, at),
            None => {}
        }
    }

    fn subscribe(&mut self, ctx: &mut Context, at: usize) {
        let channel = self.next_number();
        let home = self.home;
        self.asked_us = ctx.now_us;
        let sub = &mut self.subs[at];
        if sub.instance.is_some_and(|instance| ctx.oracle.is_over(instance)) {
            sub.forget_instance();
        }
        (sub.stage, sub.channel, sub.asked_us, sub.got) = (Stage::Asked, channel, ctx.now_us, (0, 0));
        if sub.instance.is_none() {
            let durable = sub.durable.clone().map(|name| (format!("s{}", self.number), name));
            let label = sub.label.clone();
            let instance = ctx.oracle.subscribe(label, home, durable, sub.wish.clone(), ctx.now_us);
            sub.instance = Some(instance);
        }
        let wait = if ctx.random.chance(200) { "home" } else { "peers" };
        let request = request(sub, &sub.wish, channel, wait);
        ctx.note(format_args!("{} subscribes on {channel}, {}", sub.label, sub.wish.filter));
        self.tell(ctx, request);
    }

    fn ask_change(&mut self, ctx: &mut Context, at: usize, change: Change) {
        let number = self.next_number();
        self.asked_us = ctx.now_us;
        let sub = &mut self.subs[at];
        let Some(durable) = sub.durable.clone() else { return };
        ctx.note(format_args!("{} asks for {change:?}", sub.label));
        let frame: Control = match &change {
            Change::Remove => RemoveSubscription { request: number, durable }.into(),
            Change::Update(wish, choice) => {
                let (predicate, strict) = wish.predicates();
                UpdateSubscription {
                    request: number,
                    durable,
                    filter: wish.filter.into(),
                    predicate,
                    except: wish.except.iter().map(|text| (*text).to_owned()).collect(),
                    strict,
                    max_bytes: Some(choice.limits.bytes.unwrap_or(0)),
                    max_events: Some(choice.limits.events.unwrap_or(0)),
                    max_age_ms: Some(choice.limits.age_ms.unwrap_or(0)),
                    when_full: Some(word(choice)),
                }
                .into()
            }
        };
        sub.change = Some((change, number));
        self.tell(ctx, frame);
    }

    // ---- what the program does ----

    fn step(&mut self, ctx: &mut Context) {
        let delay = ctx.random.between(100_000, 2_000_000);
        self.timer(ctx, delay, ClientTimer::Step);
        if let Some(old) = self.old.take() {
            ctx.leave(old, 0);
        }
        if self.conn.is_none() {
            return;
        }
        let at = ctx.random.below(self.subs.len() as u64) as usize;
        if self.subs[at].stage == Stage::Idle && self.subs[at].change.is_none() {
            return self.go_on(ctx, at);
        }
        if ctx.is_calm || self.subs[at].stage != Stage::Attached || self.subs[at].change.is_some() {
            return (0..self.subs.len()).for_each(|at| self.retry(ctx, at));
        }
        match ctx.random.below(40) {
            0..3 => self.take_over(ctx),
            3..6 => self.detach(ctx, at),
            6..9 => self.update(ctx, at),
            9 => self.remove(ctx, at),
            10..14 => self.hold_acks(ctx, at),
            14 => self.try_other_filter(ctx, at),
            15 => self.vanish(ctx),
            _ => {}
        }
    }

    fn retry(&mut self, ctx: &mut Context, at: usize) {
        if self.subs[at].stage == Stage::Idle && self.subs[at].change.is_none() {
            self.go_on(ctx, at);
        }
    }

    fn detach(&mut self, ctx: &mut Context, at: usize) {
        ctx.count(Count::Detached);
        let sub = &mut self.subs[at];
        sub.stage = Stage::Idle;
        let channel = sub.channel;
        if sub.durable.is_none()
            && let Some(instance) = sub.instance.take()
        {
            ctx.oracle.is_going(instance);
        }
        ctx.note(format_args!("{} detaches", sub.label));
        self.tell(ctx, Detach { channel });
    }

    fn update(&mut self, ctx: &mut Context, at: usize) {
        let wish = Wish::draw(&mut ctx.random);
        let choice = match ctx.random.chance(400) {
            true => ctx.plan.clone().draw_choice(&mut ctx.random),
            false => self.subs[at].choice,
        };
        let sub = &mut self.subs[at];
        if let (Some(_), Some(instance)) = (&sub.durable, sub.instance) {
            ctx.oracle.wish_changes(instance, wish.clone(), ctx.now_us);
            self.subs[at].may_have_letters |= !choice.drops;
            self.ask_change(ctx, at, Change::Update(wish, choice));
        }
    }

    fn remove(&mut self, ctx: &mut Context, at: usize) {
        let sub = &mut self.subs[at];
        if let (Some(_), Some(instance)) = (&sub.durable, sub.instance) {
            ctx.oracle.is_going(instance);
            self.ask_change(ctx, at, Change::Remove);
        }
    }

    fn hold_acks(&mut self, ctx: &mut Context, at: usize) {
        ctx.count(Count::AckHeldBack);
        let hold = ctx.random.between(500_000, 8_000_000);
        self.subs[at].held_until_us = ctx.now_us + hold;
    }

    /// Attaches with another filter, which is refused.
    fn try_other_filter(&mut self, ctx: &mut Context, at: usize) {
        let wish = Wish::draw(&mut ctx.random);
        let same = crate::broker::canonical(&wish) == crate::broker::canonical(&self.subs[at].wish);
        if self.subs[at].durable.is_none() || same {
            return;
        }
        let channel = self.next_number();
        self.testing.insert(channel, at);
        let request = request(&self.subs[at], &wish, channel, "home");
        self.tell(ctx, request);
    }

    // ---- acks and credit ----

    fn acks_soon(&mut self, ctx: &mut Context) {
        if !std::mem::replace(&mut self.acks_due, true) {
            let delay = ctx.random.between(500, 50_000);
            self.timer(ctx, delay, ClientTimer::Acks);
        }
    }

    fn send_acks(&mut self, ctx: &mut Context) {
        self.acks_due = false;
        let mut is_held = false;
        for at in 0..self.subs.len() {
            let sub = &mut self.subs[at];
            if sub.stage != Stage::Attached {
                continue;
            }
            let channel = sub.channel;
            let credit =
                Credit { channel, events: sub.got.0 + sub.window, bytes: sub.got.1 + sub.window * 150 };
            if sub.held_until_us > ctx.now_us && !ctx.is_calm {
                is_held = true;
                if ctx.random.chance(300) {
                    self.tell(ctx, credit);
                }
                continue;
            }
            let ranges: Vec<(u64, u64)> =
                std::mem::take(&mut sub.to_ack).into_iter().map(|n| (n, n)).collect();
            if !ranges.is_empty() {
                ctx.count(Count::Acked);
                self.tell(ctx, Ack { channel, ranges });
            }
            self.tell(ctx, credit);
        }
        if is_held {
            self.acks_due = true;
            self.timer(ctx, 400_000, ClientTimer::Acks);
        }
    }

    // ---- what comes in ----

    /// Bytes have come in.
    pub(crate) fn on_bytes(&mut self, ctx: &mut Context, conn: ConnId, lane: Lane, bytes: &Bytes) {
        if self.conn != Some(conn) {
            return self.on_old_bytes(ctx, lane, bytes);
        }
        self.heard_us = ctx.now_us;
        for range in frame::frames(bytes) {
            match lane {
                Lane::Control => match Control::decode(&bytes[range]) {
                    Ok(frame) => self.on_control(ctx, frame),
                    Err(error) => ctx.oracle.break_(format!("s{}", self.number), error.to_string()),
                },
                lane => match StreamFrame::decode(&bytes[range.clone()]) {
                    Ok(frame) => self.on_stream(ctx, lane, frame, &bytes[range]),
                    Err(error) => ctx.oracle.break_(format!("s{}", self.number), error.to_string()),
                },
            }
        }
    }

    /// A connection that was left behind: only a takeover is of interest.
    fn on_old_bytes(&mut self, ctx: &mut Context, lane: Lane, bytes: &Bytes) {
        if lane != Lane::Control {
            return;
        }
        for range in frame::frames(bytes) {
            if let Ok(Control::ChannelClosed(closed)) = Control::decode(&bytes[range])
                && closed.name == "taken_over"
            {
                ctx.count(Count::TakenOver);
            }
        }
    }

    fn on_control(&mut self, ctx: &mut Context, frame: Control) {
        match frame {
            Control::Subscribed(receipt) => self.on_subscribed(ctx, &receipt),
            Control::Done(done) => self.on_changed(ctx, done.request),
            Control::Refused(refused) => self.on_refused(ctx, refused.request, refused.code),
            Control::Acked(acked) => {
                let Some(sub) = self.subs.iter_mut().find(|sub| sub.channel == acked.channel) else { return };
                let Some(instance) = sub.instance else { return };
                for sequence in acked.ranges.iter().flat_map(|&(from, through)| from..=through) {
                    ctx.count(Count::AckConfirmed);
                    sub.unconfirmed.remove(&sequence);
                    ctx.oracle.on_confirmed(instance, sequence, ctx.now_us);
                }
            }
            Control::ChannelClosed(closed) => {
                if let Some(sub) = self.subs.iter_mut().find(|sub| sub.channel == closed.channel) {
                    ctx.note(format_args!("{} was closed: {}", sub.label, closed.name));
                    sub.stage = Stage::Idle;
                }
            }
            _ => {}
        }
    }

    fn on_subscribed(&mut self, ctx: &mut Context, receipt: &Subscribed) {
        let Some(sub) = self.subs.iter_mut().find(|sub| sub.channel == receipt.channel) else { return };
        let Some(instance) = sub.instance else { return };
        if sub.stage != Stage::Asked {
            return;
        }
        ctx.count(match (&sub.durable, receipt.resumed) {
            (None, _) => Count::SubscribedLive,
            (Some(_), false) => Count::SubscribedDurable,
            (Some(_), true) => Count::ResumedDurable,
        });
        let number = |name: &String| name.strip_prefix('b').and_then(|text| text.parse().ok());
        let brokers: Vec<usize> = receipt.installed.iter().filter_map(number).collect();
        if brokers.len() > 1 {
            ctx.count(Count::InstalledAtPeer);
        }
        if !receipt.pending.is_empty() {
            ctx.count(Count::PendingAtPeer);
        }
        ctx.note(format_args!("{} has its receipt: {brokers:?}, resumed {}", sub.label, receipt.resumed));
        sub.stage = Stage::Attached;
        ctx.oracle.on_subscribed(instance, receipt.resumed, &brokers, ctx.now_us);
        if receipt.resumed {
            sub.to_ack = sub.unconfirmed.clone();
        } else {
            // What has come on this channel already is of the new mailbox and waits in `to_ack`.
            sub.unconfirmed = sub.to_ack.clone();
        }
        self.acks_soon(ctx);
    }

    fn on_changed(&mut self, ctx: &mut Context, request: u32) {
        let Some(at) =
            self.subs.iter().position(|sub| sub.change.as_ref().is_some_and(|(_, n)| *n == request))
        else {
            return;
        };
        match self.subs[at].change.take() {
            Some((Change::Update(wish, choice), _)) => {
                ctx.count(Count::Updated);
                if choice != self.subs[at].choice {
                    ctx.count(Count::LimitsUpdated);
                }
                self.subs[at].choice = choice;
                if let Some(instance) = self.subs[at].instance {
                    ctx.oracle.wish_changed(instance, ctx.now_us);
                }
                self.subs[at].wish = wish;
                if self.subs[at].stage == Stage::Attached && ctx.random.chance(700) {
                    self.detach(ctx, at);
                }
            }
            Some((Change::Remove, _)) => {
                ctx.count(Count::Removed);
                self.begin_anew(ctx, at);
            }
            None => {}
        }
        self.go_on(ctx, at);
    }

    /// The subscription is gone: another of the same name follows, of another where that would get what
    /// is put back of the dead letters of this one.
    fn begin_anew(&mut self, ctx: &mut Context, at: usize) {
        let wish = Wish::draw(&mut ctx.random);
        let sub = &mut self.subs[at];
        (sub.wish, sub.stage) = (wish, Stage::Idle);
        if std::mem::replace(&mut sub.may_have_letters, !sub.choice.drops) {
            sub.durable = sub.durable.take().map(|name| name + "n");
        }
        sub.forget_instance();
    }

    fn on_refused(&mut self, ctx: &mut Context, number: u32, code: u16) {
        if self.testing.remove(&number).is_some() {
            if code == 409 {
                ctx.count(Count::FilterDiffers);
            }
            return;
        }
        if let Some(at) = self.subs.iter().position(|sub| sub.stage == Stage::Asked && sub.channel == number)
        {
            self.subs[at].stage = Stage::Idle;
            if code == 409 {
                let label = self.subs[at].label.clone();
                ctx.oracle.break_(label.clone(), format!("{label} was refused with 409"));
            }
            return;
        }
        let changing = |sub: &Sub| sub.change.as_ref().is_some_and(|(_, n)| *n == number);
        if let Some(at) = self.subs.iter().position(changing) {
            if code == 404 {
                // Removed before, with the answer lost; or its store was replaced.
                self.subs[at].change = None;
                let instance = self.subs[at].instance;
                if let Some(instance) = instance {
                    ctx.oracle.is_gone(instance);
                }
                self.begin_anew(ctx, at);
                self.go_on(ctx, at);
            } else {
                self.vanish(ctx);
            }
        }
    }

    fn on_stream(&mut self, ctx: &mut Context, lane: Lane, frame: StreamFrame<'_>, bytes: &[u8]) {
        let streams = &mut self.streams;
        let reader = if lane == Lane::Durable { &mut streams.durable } else { &mut streams.live };
        let taken = match frame {
            StreamFrame::Open(_) => Ok(()),
            StreamFrame::Topic(alias) => reader.on_topic(alias.alias, alias.topic),
            StreamFrame::Publisher(alias) => reader.on_publisher(&alias),
            StreamFrame::Clock(base) => {
                reader.on_clock(base);
                Ok(())
            }
            StreamFrame::Gap(gap) => {
                self.on_gap(ctx, &gap);
                Ok(())
            }
            StreamFrame::Event(header, body) => match reader.resolve(&header) {
                Ok(resolved) => {
                    let (epoch, sequence) = (resolved.origin.epoch, resolved.sequence);
                    self.on_event(ctx, &header, epoch, sequence, &bytes[body]);
                    Ok(())
                }
                Err(error) => Err(error),
            },
            other => {
                ctx.oracle.break_(format!("s{}", self.number), format!("unexpected {other:?}"));
                Ok(())
            }
        };
        if let Err(error) = taken {
            ctx.oracle.break_(format!("s{}", self.number), error.to_string());
        }
    }

    fn on_gap(&mut self, ctx: &mut Context, gap: &fanal_protocol::control::Gap) {
        ctx.count(match gap.kind {
            fanal_protocol::control::GAP_EXACT => Count::GapExact,
            fanal_protocol::control::GAP_AT_MOST => Count::GapAtMost,
            _ => Count::GapUnknown,
        });
        let Some(sub) = self.subs.iter().find(|sub| sub.channel == gap.channel) else { return };
        if let Some(instance) = sub.instance {
            ctx.note(format_args!(
                "{} gap {} {} {} {}",
                sub.label, gap.kind, gap.count, gap.reason, gap.broker
            ));
            ctx.oracle.on_gap(instance, gap);
        }
    }

    fn on_event(
        &mut self,
        ctx: &mut Context,
        header: &EventHeader,
        epoch: fanal_protocol::Epoch,
        sequence: u64,
        body: &[u8],
    ) {
        let Some(sub) =
            self.subs.iter_mut().find(|sub| sub.channel == header.channel && sub.stage != Stage::Idle)
        else {
            return; // detached meanwhile
        };
        let (Some(instance), Some(event)) = (sub.instance, super::event_number(body)) else { return };
        sub.got = (sub.got.0 + 1, sub.got.1 + body.len() as u64);
        let mailbox_sequence = header.mailbox_sequence;
        let came = Arrival { event, epoch, sequence, mailbox_sequence, asked_us: sub.asked_us };
        ctx.note(format_args!("{} gets e{event} as {mailbox_sequence:?}", sub.label));
        let is_new = ctx.oracle.on_delivery(instance, came, ctx.now_us);
        if header.attempt.is_some() {
            ctx.count(Count::FlaggedRedelivery);
        }
        ctx.count(match (mailbox_sequence, header.class, is_new) {
            (Some(_), _, true) => Count::Delivered,
            (Some(_), _, false) => Count::Redelivered,
            (None, Class::AtLeastOnce, _) => Count::DeliveredLive,
            (None, Class::BestEffort, _) if sub.durable.is_some() => Count::DeliveredLiveSide,
            (None, Class::BestEffort, _) => Count::DeliveredBestEffort,
        });
        if let Some(number) = mailbox_sequence {
            sub.unconfirmed.insert(number);
            sub.to_ack.insert(number);
        }
        self.acks_soon(ctx);
    }
}

impl Sub {
    /// Another mailbox is to come: its numbers mean other events.
    fn forget_instance(&mut self) {
        self.instance = None;
        self.to_ack.clear();
        self.unconfirmed.clear();
    }

    fn draw(ctx: &mut Context, subscriber: usize, number: u64) -> Sub {
        let is_live = ctx.random.chance(ctx.plan.live);
        let wish = Wish::draw(&mut ctx.random);
        let choice = if is_live { Choice::default() } else { ctx.plan.clone().draw_choice(&mut ctx.random) };
        Sub {
            label: format!("s{subscriber}.{number}"),
            durable: (!is_live).then(|| format!("d{number}")),
            wish,
            choice,
            may_have_letters: !choice.drops,
            instance: None,
            stage: Stage::Idle,
            channel: 0,
            asked_us: 0,
            change: None,
            got: (0, 0),
            window: *ctx.random.pick(&[1, 3, 10, 1000]),
            to_ack: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            held_until_us: 0,
        }
    }
}

fn request(sub: &Sub, wish: &Wish, channel: u32, wait: &str) -> Subscribe {
    let (predicate, strict) = wish.predicates();
    Subscribe {
        channel,
        filter: wish.filter.into(),
        predicate,
        strict,
        except: wish.except.iter().map(|text| (*text).to_owned()).collect(),
        durable: sub.durable.clone(),
        wait: Some(wait.into()),
        wait_ms: Some(2_000),
        credit_events: sub.window,
        credit_bytes: sub.window * 150,
        max_bytes: sub.choice.limits.bytes,
        max_events: sub.choice.limits.events,
        max_age_ms: sub.choice.limits.age_ms,
        when_full: (sub.choice != Choice::default()).then(|| word(&sub.choice)),
    }
}

/// What becomes of what is too much, in the word for it.
fn word(choice: &Choice) -> String {
    if choice.drops { "drop_oldest" } else { "dead_letter" }.into()
}
