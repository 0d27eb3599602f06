//! A publisher: a go-back-N window, resends, resumes, and gives up now and then.
//!
//! The rules are those of `client-lib/src/publish/window.rs` in short: sequences in order; a
//! refusal moves the cursor back; what was given up is skipped in its place.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use fanal_protocol::control::{Hello, OpenPublish, Receipts, Skip};
use fanal_protocol::event::{PublishHeader, TopicRef};
use fanal_protocol::receipt::each;
use fanal_protocol::stream::PublishStreamWriter;
use fanal_protocol::{Class, Control, Epoch, PROTOCOL_VERSION, frame};

use crate::ask::Facts;
use crate::broker::edge::count_receipt;
use crate::context::{ClientTimer, Context, Happening};
use crate::count::Count;
use crate::net::{ConnId, Lane, Party};
use crate::oracle::EventNo;

/// The one channel.
const CHANNEL: u32 = 1;
/// Without any answer for so long, a client gives a connection up.
const SILENCE_US: u64 = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flying {
    Live(EventNo),
    Accepted,
    GivenUp,
}

/// See the module.
pub(crate) struct Publisher {
    number: usize,
    home: usize,
    conn: Option<ConnId>,
    is_open: bool,
    epoch: Option<Epoch>,
    stream: Option<PublishStreamWriter>,
    queue: VecDeque<(EventNo, Bytes, Arc<str>)>,
    flying: VecDeque<(Flying, Bytes, Arc<str>)>,
    first: u64,
    cursor: u64,
    written: u64,
    lead_skip: Option<(u64, u64)>,
    answered: u64,
    holds: bool,
    best_effort: u64,
    unsent: VecDeque<(u64, EventNo)>,
    left: u64,
    heard_us: u64,
    /// When its epoch was opened, and heard of last.
    opened_us: u64,
    used_us: u64,
}

impl Publisher {
    /// A publisher at a home, with so many events to publish.
    pub(crate) fn new(ctx: &mut Context, number: usize, home: usize) -> Self {
        let delay = ctx.random.below(2_000_000);
        let timer = ClientTimer::Connect;
        ctx.after(delay, Happening::Publisher { publisher: number, timer });
        ctx.after(delay, Happening::Publisher { publisher: number, timer: ClientTimer::Step });
        Publisher {
            number,
            home,
            conn: None,
            is_open: false,
            epoch: None,
            stream: None,
            queue: VecDeque::new(),
            flying: VecDeque::new(),
            first: 1,
            cursor: 1,
            written: 0,
            lead_skip: None,
            answered: 0,
            holds: false,
            best_effort: 0,
            unsent: VecDeque::new(),
            left: ctx.plan.events,
            heard_us: 0,
            opened_us: 0,
            used_us: 0,
        }
    }

    /// Whether every event has its fate.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0 && self.queue.is_empty() && self.flying.iter().all(|(flying, ..)| !is_live(*flying))
    }

    /// What keeps it.
    pub(crate) fn state(&self) -> String {
        format!(
            "p{}: {} left, {} queued, {} flying, open {}",
            self.number,
            self.left,
            self.queue.len(),
            self.flying.len(),
            self.is_open
        )
    }

    /// No more events: the world is to come to rest.
    pub(crate) fn stop(&mut self) {
        self.left = 0;
    }

    fn timer(&self, ctx: &mut Context, delay_us: u64, timer: ClientTimer) {
        ctx.after(delay_us, Happening::Publisher { publisher: self.number, timer });
    }

    /// A timer is due.
    pub(crate) fn on_timer(&mut self, ctx: &mut Context, timer: ClientTimer) {
        match timer {
            ClientTimer::Connect => self.connect(ctx),
            ClientTimer::Step => self.step(ctx),
            ClientTimer::Write(conn) if self.conn == Some(conn) => {
                self.holds = false;
                self.write(ctx);
            }
            ClientTimer::Silence(conn) if self.conn == Some(conn) => {
                let waits = !self.is_open || self.flying.iter().any(|(flying, ..)| is_live(*flying));
                if waits && ctx.now_us >= self.heard_us + SILENCE_US {
                    return self.vanish(ctx);
                }
                self.timer(ctx, SILENCE_US, timer);
            }
            _ => {}
        }
    }

    fn connect(&mut self, ctx: &mut Context) {
        if self.conn.is_some() {
            return;
        }
        let conn = ctx.connect(Party::Publisher(self.number), Party::Broker(self.home));
        self.conn = Some(conn);
        self.heard_us = ctx.now_us;
        let mut out = Vec::new();
        let hello = Hello { versions: vec![PROTOCOL_VERSION], ..Default::default() };
        Control::from(hello).encode(&mut out);
        Control::from(OpenPublish { channel: CHANNEL, resume: self.epoch }).encode(&mut out);
        ctx.send(conn, 0, Lane::Control, out);
        self.timer(ctx, SILENCE_US, ClientTimer::Silence(conn));
    }

    /// Goes away without a word, and comes back.
    pub(crate) fn vanish(&mut self, ctx: &mut Context) {
        if let Some(conn) = self.conn {
            ctx.leave(conn, 0);
            self.disconnected(ctx);
        }
    }

    /// The connection has ended.
    pub(crate) fn on_ended(&mut self, ctx: &mut Context, conn: ConnId) {
        if self.conn == Some(conn) {
            self.disconnected(ctx);
        }
    }

    fn disconnected(&mut self, ctx: &mut Context) {
        (self.conn, self.is_open, self.holds, self.stream) = (None, false, false, None);
        for (_, event) in self.unsent.drain(..) {
            ctx.oracle.on_unknown(event);
        }
        // A week is soon over where clocks are fast.
        let stays_away = ctx.plan.rate > 1 && ctx.random.chance(400);
        let delay = ctx.random.between(1_000, if stays_away { 15_000_000 } else { 800_000 });
        self.timer(ctx, delay, ClientTimer::Connect);
    }

    // ---- making events ----

    fn step(&mut self, ctx: &mut Context) {
        if self.left > 0 {
            let burst = if ctx.random.chance(200) { ctx.random.between(2, 12) } else { 1 };
            for _ in 0..burst.min(self.left) {
                self.left -= 1;
                self.make(ctx);
            }
            if ctx.random.chance(10) {
                self.give_up_one(ctx);
            }
            self.write(ctx);
        }
        let pause = ctx.plan.faults_us / (ctx.plan.events + 1);
        let delay = ctx.random.below(2 * pause);
        if self.left > 0 {
            self.timer(ctx, delay, ClientTimer::Step);
        }
    }

    fn make(&mut self, ctx: &mut Context) {
        let facts = Facts::draw(&mut ctx.random);
        let ttl_us = ctx.random.chance(ctx.plan.ttl).then(|| ctx.random.between(1, 4_000) * 1000);
        let class = match ctx.random.chance(ctx.plan.best_effort) {
            true => Class::BestEffort,
            false => Class::AtLeastOnce,
        };
        let padding = ctx.random.below(ctx.plan.padding) as usize;
        let is_bad = class == Class::AtLeastOnce && ctx.random.chance(ctx.plan.bad);
        let event = ctx.oracle.make(self.number, self.home, class, facts.clone(), ttl_us);
        let mut body = super::body(event, &facts, padding);
        if is_bad {
            body = match ctx.random.chance(500) {
                true => super::body(event, &facts, 700),
                false => Bytes::from_static(b"\xc1 no map"),
            };
        }
        let topic: Arc<str> = Arc::from(facts.topic);
        match class {
            Class::AtLeastOnce => self.queue.push_back((event, body, topic)),
            Class::BestEffort => self.send_best_effort(ctx, event, &body, &topic),
        }
    }

    fn send_best_effort(&mut self, ctx: &mut Context, event: EventNo, body: &Bytes, topic: &Arc<str>) {
        let (Some(conn), Some(epoch), true) = (self.conn, self.epoch, self.is_open) else {
            return ctx.oracle.on_unknown(event);
        };
        ctx.count(Count::PublishedBestEffort);
        self.best_effort += 1;
        let sequence = self.best_effort;
        ctx.oracle.on_written(event, epoch, sequence, ctx.now_us);
        ctx.oracle.on_sent_over(event, conn);
        self.unsent.push_back((sequence, event));
        let mut out = Vec::new();
        self.put(ctx, Class::BestEffort, sequence, event, body, topic, &mut out);
        ctx.note(format_args!("p{} e{event} best effort {sequence}", self.number));
        ctx.send(conn, 0, Lane::Durable, out);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one frame")]
    fn put(
        &mut self,
        ctx: &Context,
        class: Class,
        sequence: u64,
        event: EventNo,
        body: &Bytes,
        topic: &Arc<str>,
        out: &mut Vec<u8>,
    ) {
        let stream = self.stream.get_or_insert_with(|| PublishStreamWriter::open(out));
        let alias = stream.topic(topic, out);
        let header = PublishHeader {
            channel: CHANNEL,
            class,
            topic: TopicRef::Alias(alias),
            sequence,
            ttl_ms: ctx.oracle.event(event).ttl_us.map(|ttl| ttl / 1000 * ctx.plan.rate),
            wants_receipt: class == Class::BestEffort,
        };
        header.encode(body, &mut Vec::new(), out);
    }

    fn give_up_one(&mut self, ctx: &mut Context) {
        let live: Vec<usize> = (0..self.flying.len()).filter(|at| is_live(self.flying[*at].0)).collect();
        if live.is_empty() {
            return;
        }
        let at = *ctx.random.pick(&live);
        if let Flying::Live(event) = std::mem::replace(&mut self.flying[at].0, Flying::GivenUp) {
            ctx.count(Count::GivenUp);
            ctx.oracle.on_unknown(event);
        }
    }

    // ---- writing ----

    fn end(&self) -> u64 {
        self.first + self.flying.len() as u64
    }

    fn write(&mut self, ctx: &mut Context) {
        let (Some(conn), Some(epoch), true, false) = (self.conn, self.epoch, self.is_open, self.holds) else {
            return;
        };
        let mut out = Vec::new();
        if let Some((from, through)) = self.lead_skip.take() {
            self.put_skip(ctx, from, through, &mut out);
        }
        loop {
            if self.cursor == self.end() {
                if self.flying.iter().filter(|(flying, ..)| is_live(*flying)).count() >= ctx.plan.window {
                    break;
                }
                let Some((event, body, topic)) = self.queue.pop_front() else { break };
                self.flying.push_back((Flying::Live(event), body, topic));
            }
            let sequence = self.cursor;
            self.cursor += 1;
            let (flying, body, topic) = self.flying[(sequence - self.first) as usize].clone();
            match flying {
                Flying::Accepted => {}
                Flying::GivenUp => self.put_skip(ctx, sequence, sequence, &mut out),
                Flying::Live(event) => {
                    let is_first = sequence > self.written;
                    ctx.count(if is_first { Count::Published } else { Count::Resent });
                    self.written = self.written.max(sequence);
                    ctx.note(format_args!("p{} e{event} written as {sequence}", self.number));
                    ctx.oracle.on_written(event, epoch, sequence, ctx.now_us);
                    self.put(ctx, Class::AtLeastOnce, sequence, event, &body, &topic, &mut out);
                }
            }
        }
        ctx.send(conn, 0, Lane::Durable, out);
    }

    fn put_skip(&mut self, ctx: &mut Context, from: u64, through: u64, out: &mut Vec<u8>) {
        ctx.count(Count::Skipped);
        self.stream.get_or_insert_with(|| PublishStreamWriter::open(out));
        Skip { channel: CHANNEL, from, through }.encode(out);
    }

    // ---- answers ----

    /// Bytes have come in.
    pub(crate) fn on_bytes(&mut self, ctx: &mut Context, conn: ConnId, bytes: &Bytes) {
        if self.conn != Some(conn) {
            return;
        }
        self.heard_us = ctx.now_us;
        for range in frame::frames(bytes) {
            match Control::decode(&bytes[range]) {
                Ok(Control::PublishOpened(opened)) => self.on_opened(ctx, opened.epoch, opened.next),
                Ok(Control::Receipts(receipts)) => self.on_receipts(ctx, &receipts),
                Ok(Control::Refused(refused)) if refused.code == 410 => {
                    ctx.count(Count::EpochGone);
                    let (opened, used) = (self.opened_us, self.used_us);
                    ctx.oracle.on_gone(self.number, self.home, opened, used, ctx.now());
                    self.on_gone(ctx);
                    let mut out = Vec::new();
                    Control::from(OpenPublish { channel: CHANNEL, resume: None }).encode(&mut out);
                    ctx.send(conn, 0, Lane::Control, out);
                }
                Ok(Control::Refused(_)) => self.vanish(ctx),
                Ok(_) => {}
                Err(error) => ctx.oracle.break_(format!("p{}", self.number), error.to_string()),
            }
        }
    }

    fn on_opened(&mut self, ctx: &mut Context, epoch: Epoch, next: u64) {
        if self.epoch == Some(epoch) {
            ctx.count(Count::EpochResumed);
            if next < self.first && !self.lost_nothing_below(next) {
                let what =
                    format!("p{}: {next} is next, and {} had its receipt", self.number, self.first - 1);
                ctx.oracle.break_(format!("p{} ", self.number), what);
            }
            self.on_resume(ctx, next);
        } else {
            (self.first, self.cursor, self.written, self.answered) = (next, next, next - 1, next - 1);
            self.best_effort = 0;
            self.opened_us = ctx.now_us;
        }
        self.used_us = ctx.now_us;
        self.epoch = Some(epoch);
        self.is_open = true;
        self.write(ctx);
    }

    /// What was given up before `first` may never have reached the broker.
    fn lost_nothing_below(&self, next: u64) -> bool {
        next > self.answered
    }

    fn on_resume(&mut self, ctx: &mut Context, next: u64) {
        while self.first < next {
            let Some((front, ..)) = self.flying.pop_front() else { break };
            if let Flying::Live(event) = front {
                ctx.count(Count::AcceptedByResume);
                ctx.oracle.on_receipt(event, ctx.now_us, "resume");
            }
            self.first += 1;
        }
        self.lead_skip = (next < self.first).then(|| (next, self.first - 1));
        self.answered = self.first - 1;
        self.cursor = self.first;
    }

    /// The epoch is unknown to the home: what was written has an unknown fate.
    fn on_gone(&mut self, ctx: &mut Context) {
        while self.end() > self.first {
            let sequence = self.end() - 1;
            let Some((flying, body, topic)) = self.flying.pop_back() else { break };
            if let Flying::Live(event) = flying {
                if sequence > self.written {
                    self.queue.push_front((event, body, topic));
                } else {
                    ctx.oracle.on_unknown(event);
                }
            }
        }
        (self.epoch, self.lead_skip) = (None, None);
    }

    fn on_receipts(&mut self, ctx: &mut Context, receipts: &Receipts) {
        self.used_us = ctx.now_us;
        for (sequence, code, _) in each(receipts) {
            count_receipt(ctx, code);
            ctx.note(format_args!("p{} {sequence} has {code}", self.number));
            if receipts.best_effort {
                while let Some(&(waiting, event)) = self.unsent.front()
                    && waiting <= sequence
                {
                    self.unsent.pop_front();
                    if waiting == sequence && code == 202 {
                        ctx.oracle.on_receipt(event, ctx.now_us, "202");
                    }
                }
                continue;
            }
            let retry_ms = receipts
                .exceptions
                .iter()
                .find(|exception| exception.sequence == sequence)
                .and_then(|e| e.retry_ms);
            match code {
                200 | 208 => self.on_accepted(ctx, sequence, code),
                425 => {}
                _ => self.on_refusal(ctx, sequence, code, retry_ms),
            }
        }
        self.pop_settled();
        self.write(ctx);
    }

    fn on_accepted(&mut self, ctx: &mut Context, sequence: u64, code: u16) {
        let Some(at) = sequence.checked_sub(self.first) else { return };
        let Some((flying, ..)) = self.flying.get_mut(at as usize) else { return };
        if let Flying::Live(event) = std::mem::replace(flying, Flying::Accepted) {
            ctx.oracle.on_receipt(event, ctx.now_us, if code == 200 { "200" } else { "208" });
        }
        self.answered = self.answered.max(sequence);
    }

    fn on_refusal(&mut self, ctx: &mut Context, sequence: u64, code: u16, retry_ms: Option<u64>) {
        let Some(at) = sequence.checked_sub(self.first) else { return };
        let Some((flying, ..)) = self.flying.get_mut(at as usize) else { return };
        match *flying {
            Flying::Accepted => return,
            Flying::Live(event) if code == 503 || code == 507 || code == 429 => {
                if code == 507 {
                    on_full(ctx, event);
                }
                self.holds = true;
                if let Some(conn) = self.conn {
                    self.timer(ctx, retry_ms.unwrap_or(50) * 1000, ClientTimer::Write(conn));
                }
            }
            Flying::Live(event) => {
                *flying = Flying::GivenUp;
                ctx.oracle.on_refused(event);
            }
            Flying::GivenUp => {}
        }
        self.cursor = self.cursor.min(sequence);
    }

    fn pop_settled(&mut self) {
        while let Some((front, ..)) = self.flying.front() {
            let settled = match front {
                Flying::Accepted => true,
                Flying::GivenUp => self.first < self.answered && self.first < self.cursor,
                Flying::Live(_) => false,
            };
            if !settled {
                break;
            }
            self.flying.pop_front();
            self.first += 1;
        }
        self.cursor = self.cursor.max(self.first);
    }
}

/// A store is full, or a rule refuses what would come to a full mailbox.
fn on_full(ctx: &mut Context, event: EventNo) {
    let topic = ctx.oracle.event(event).facts.topic;
    let has_rule = ctx.plan.rule.is_some_and(|rule| crate::ask::topic_fits(rule, topic));
    if has_rule {
        ctx.count(Count::RefusedByRule);
    }
    let has_end = ctx.plan.store_bytes.is_some() || ctx.plan.bounds.store_events.is_some();
    let is_allowed = has_rule || has_end;
    ctx.oracle.on_store_full(event, is_allowed, ctx.now_us);
}

fn is_live(flying: Flying) -> bool {
    matches!(flying, Flying::Live(_))
}
