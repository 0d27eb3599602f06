//! A publish channel: the window, who waits for it, and its life across connections.
//!
//! Invariants:
//! 1. `state` is locked for bounded work only, and never while another lock of this crate is
//!    taken, except that the registry's lock may be held around it.
//! 2. Events leave in the order in which they were pushed, per class.
//! 3. Everything pushed gets exactly one fate; its room is free from then on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use fanal_protocol::control::{ClosePublish, Exception, OpenPublish, PublishOpened, Receipts, Skip};
use fanal_protocol::event::{PublishHeader, TopicRef};
use fanal_protocol::stream::{Origin, PublishStreamWriter};
use fanal_protocol::{Body, Class, Code, Control, Epoch, PublisherId, receipt};
use tokio::sync::Notify;

use super::best_effort::BestEffort;
use super::builder::PublishBuilder;
use super::receipt::Receipt;
use super::slots::{NO_SLOT, SlotId, Slots};
use super::window::{Fate, Outgoing, Pending, Refusal, Window};
use crate::error::{PublishError, Refused};
use crate::shared::{Keepalive, Shared};
use crate::sync::lock;

/// Topics that are kept interned per channel; then the memory of them starts over.
const TOPICS_MAX: usize = 4096;

/// What happened to the events of a publisher so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublisherStats {
    /// With a receipt of success (200, 202, 208), or best effort that was written (204).
    pub accepted: u64,
    /// Refused for good.
    pub refused: u64,
    /// Out of time or closed, certainly not stored.
    pub timed_out: u64,
    /// Nobody can tell.
    pub unknown: u64,
}

/// How far the channel is with the present connection.
#[derive(Debug)]
enum Phase {
    /// No connection.
    Detached,
    /// `OpenPublish` is under way, resuming an epoch or not.
    Opening(Option<Epoch>),
    /// Events may be written.
    Open,
    /// The broker does not let us publish.
    Refused(Refused),
}

pub(crate) type Outcome = Result<Receipt, Box<PublishError>>;

/// Everything under the channel's lock.
pub(crate) struct State {
    window: Window,
    best_effort: BestEffort,
    pub(crate) slots: Slots<Outcome>,
    topics: HashSet<Arc<str>>,
    last_topic: Arc<str>,
    origin: Option<Arc<Origin>>,
    phase: Phase,
    stats: PublisherStats,
    is_room_wanted: bool,
    is_drain_wanted: bool,
    is_closed: bool,
    is_abandoned: bool,
}

/// A publish channel, shared by its handles, the writer and the control reader.
pub(crate) struct Channel {
    pub(crate) number: u32,
    pub(crate) shared: Weak<Shared>,
    pub(crate) state: std::sync::Mutex<State>,
    limits: Limits,
    room: Notify,
    drained: Notify,
    is_opened_once: AtomicBool,
}

/// The bounds of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// An event that is ready for a channel.
pub(crate) struct Prepared<'a> {
    pub(crate) topic: &'a str,
    pub(crate) body: Body,
    pub(crate) class: Class,
    pub(crate) wants_receipt: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) wants_slot: bool,
}

struct Settled<'a> {
    slots: &'a mut Slots<Outcome>,
    origin: &'a Option<Arc<Origin>>,
    stats: &'a mut PublisherStats,
    wakers: Vec<Waker>,
}

impl Settled<'_> {
    fn tell(&mut self, slot: SlotId, fate: Fate) {
        let counter = match &fate {
            Fate::Accepted { .. } => &mut self.stats.accepted,
            Fate::Refused(_) => &mut self.stats.refused,
            Fate::TimedOut { .. } | Fate::Closed => &mut self.stats.timed_out,
            Fate::Unknown(_) => &mut self.stats.unknown,
        };
        *counter += 1;
        if slot != NO_SLOT {
            let outcome = self.outcome(fate);
            self.wakers.extend(self.slots.resolve(slot, outcome));
        }
    }

    fn outcome(&self, fate: Fate) -> Outcome {
        Err(Box::new(match fate {
            Fate::Accepted { sequence, code, destinations } => {
                let origin = self.origin.clone().unwrap_or_else(|| {
                    Arc::new(Origin { publisher: PublisherId::default(), epoch: Epoch::default() })
                });
                return Ok(Receipt { code, destinations, sequence, origin, id: None });
            }
            Fate::Refused(refused) => PublishError::Refused(refused),
            Fate::TimedOut { waited_ms, last } => {
                PublishError::TimedOut { waited: Duration::from_millis(waited_ms), last }
            }
            Fate::Unknown(reason) => PublishError::Unknown { reason: reason.to_owned() },
            Fate::Closed => PublishError::Closed,
        }))
    }
}

/// Splits a locked state into the parts that change fates and the part that tells them.
macro_rules! settling {
    ($state:expr, |$window:ident, $best_effort:ident, $tell:ident| $body:expr) => {{
        let State { window: $window, best_effort: $best_effort, slots, origin, stats, .. } = &mut *$state;
        let mut settled = Settled { slots, origin, stats, wakers: Vec::new() };
        let result = {
            let $tell = &mut |slot: SlotId, fate: Fate| settled.tell(slot, fate);
            $body
        };
        (result, settled.wakers)
    }};
}

impl State {
    fn outstanding(&self) -> (usize, usize) {
        let (a, b) = (self.window.outstanding(), self.best_effort.outstanding());
        (a.0 + b.0, a.1 + b.1)
    }

    fn intern(&mut self, topic: &str) -> Arc<str> {
        if *self.last_topic == *topic {
            return Arc::clone(&self.last_topic);
        }
        let topic = match self.topics.get(topic) {
            Some(known) => Arc::clone(known),
            None => {
                if self.topics.len() >= TOPICS_MAX {
                    self.topics.clear();
                }
                let topic: Arc<str> = Arc::from(topic);
                self.topics.insert(Arc::clone(&topic));
                topic
            }
        };
        self.last_topic = Arc::clone(&topic);
        topic
    }
}

impl Channel {
    pub(crate) fn new(number: u32, shared: Weak<Shared>, limits: Limits) -> Arc<Self> {
        let state = State {
            window: Window::default(),
            best_effort: BestEffort::default(),
            slots: Slots::default(),
            topics: HashSet::new(),
            last_topic: Arc::from(""),
            origin: None,
            phase: Phase::Detached,
            stats: PublisherStats::default(),
            is_room_wanted: false,
            is_drain_wanted: false,
            is_closed: false,
            is_abandoned: false,
        };
        Arc::new(Channel {
            number,
            shared,
            state: std::sync::Mutex::new(state),
            limits,
            room: Notify::new(),
            drained: Notify::new(),
            is_opened_once: AtomicBool::new(false),
        })
    }

    // --- the program's side ---

    /// Takes an event if there is room: the slot of its outcome, or `None` without room. O(1).
    pub(crate) fn try_push(&self, event: &Prepared<'_>) -> Result<Option<SlotId>, PublishError> {
        let Some(shared) = self.shared.upgrade() else { return Err(PublishError::Closed) };
        let now_ms = shared.now_ms();
        let was_idle;
        let slot = {
            let mut state = lock(&self.state);
            if state.is_closed {
                return Err(PublishError::Closed);
            }
            if let Phase::Refused(refused) = &state.phase {
                return Err(PublishError::Refused(refused.clone()));
            }
            let len = event.body.bytes().len();
            let (events, bytes) = state.outstanding();
            if events >= self.limits.events || (events > 0 && bytes + len > self.limits.bytes) {
                state.is_room_wanted = true;
                return Ok(None);
            }
            was_idle = events == 0;
            let slot = if event.wants_slot { state.slots.open() } else { NO_SLOT };
            let pending = pending(&mut state, event, now_ms, slot);
            match event.class {
                Class::AtLeastOnce => state.window.push(pending),
                Class::BestEffort => state.best_effort.push(pending),
            }
            slot
        };
        shared.publish_signal.wake();
        if was_idle {
            shared.deadlines.notify_one();
        }
        Ok(Some(slot))
    }

    /// Takes an event, waiting for room until the event's time is out.
    pub(crate) async fn push(&self, event: Prepared<'_>) -> Result<SlotId, PublishError> {
        if let Some(slot) = self.try_push(&event)? {
            return Ok(slot);
        }
        let wait = async {
            loop {
                let room = self.room.notified();
                if let Some(slot) = self.try_push(&event)? {
                    return Ok(slot);
                }
                room.await;
            }
        };
        match tokio::time::timeout(event.timeout, wait).await {
            Ok(result) => result,
            Err(_) => Err(PublishError::TimedOut { waited: event.timeout, last: None }),
        }
    }

    /// Returns when nothing is outstanding.
    pub(crate) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let mut state = lock(&self.state);
                if state.outstanding().0 == 0 {
                    return;
                }
                state.is_drain_wanted = true;
            }
            drained.await;
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        lock(&self.state).outstanding().0
    }

    pub(crate) fn stats(&self) -> PublisherStats {
        lock(&self.state).stats
    }

    /// No handle is left: once drained the channel can go. True: it can go now.
    pub(crate) fn abandon(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_abandoned = true;
        state.outstanding().0 == 0
    }

    /// Refuses new events from now on.
    pub(crate) fn stop(&self) {
        lock(&self.state).is_closed = true;
        self.room.notify_waiters();
    }

    /// Gives everything a last fate.
    pub(crate) fn give_up(&self) {
        self.settle(|state| {
            state.is_closed = true;
            settling!(state, |window, best_effort, tell| {
                window.give_up_all(&Fate::Closed, "the client was closed before the receipt came", tell);
                best_effort.give_up_all(&Fate::Closed, tell);
            })
            .1
        });
    }

    // --- the connection's side ---

    /// A connection is there: the frame that opens or resumes the channel.
    pub(crate) fn on_connect(&self) -> Control {
        let mut state = lock(&self.state);
        let resume = state.origin.as_ref().map(|origin| origin.epoch);
        state.phase = Phase::Opening(resume);
        OpenPublish { channel: self.number, resume }.into()
    }

    /// The connection is gone.
    pub(crate) fn on_disconnect(&self) {
        self.settle(|state| {
            state.phase = Phase::Detached;
            settling!(state, |window, best_effort, tell| {
                window.on_disconnect();
                best_effort.on_disconnect(tell);
            })
            .1
        });
    }

    /// The channel is open.
    pub(crate) fn on_opened(&self, frame: &PublishOpened, publisher: &PublisherId) {
        self.is_opened_once.store(true, Ordering::Relaxed);
        self.settle(|state| {
            let is_resumed = matches!(state.phase, Phase::Opening(Some(epoch)) if epoch == frame.epoch);
            state.phase = Phase::Open;
            if is_resumed {
                return settling!(state, |window, _best_effort, tell| window.on_resume(frame.next, tell)).1;
            }
            let wakers = settling!(state, |window, best_effort, tell| {
                window.on_new_epoch(frame.next.max(1), tell);
                best_effort.on_new_epoch();
            })
            .1;
            state.origin = Some(Arc::new(Origin { publisher: publisher.clone(), epoch: frame.epoch }));
            wakers
        });
        if let Some(shared) = self.shared.upgrade() {
            shared.publish_signal.wake();
        }
    }

    /// Opening was refused. Gives back the frame to try next, and whether to wait before.
    pub(crate) fn on_open_refused(&self, refused: Refused) -> Option<(Control, bool)> {
        let code = refused.code;
        self.settle(|state| match code {
            Code::Gone => {
                state.phase = Phase::Opening(None);
                let reason = "the home no longer knows this publisher's epoch";
                let wakers = settling!(state, |window, _best_effort, tell| window.on_gone(reason, tell)).1;
                state.origin = None;
                wakers
            }
            code if code.is_retryable() => Vec::new(),
            _ => {
                state.phase = Phase::Refused(refused.clone());
                settling!(state, |window, best_effort, tell| {
                    let unsent = Fate::Refused(refused);
                    window.give_up_all(&unsent, "the home refused to resume the publish channel", tell);
                    best_effort.give_up_all(&unsent, tell);
                })
                .1
            }
        });
        let resume = match &lock(&self.state).phase {
            Phase::Opening(resume) => *resume,
            _ => return None,
        };
        Some((OpenPublish { channel: self.number, resume }.into(), code.is_retryable()))
    }

    /// Takes receipts: one lock for the frame, wake-ups after it.
    pub(crate) fn on_receipts(&self, frame: &Receipts, now_ms: u64) {
        self.settle(|state| {
            settling!(state, |window, best_effort, tell| {
                for (sequence, number, destinations) in receipt::each(frame) {
                    let code = Code::from_number(number);
                    if frame.best_effort {
                        let refused = || refusal(frame, sequence, number).refused;
                        let code = code.unwrap_or(Code::Internal);
                        best_effort.on_receipt(sequence, code, destinations, refused, tell);
                        continue;
                    }
                    match code {
                        Some(code) if code.is_success() => {
                            window.on_accepted(sequence, code, destinations, tell);
                        }
                        Some(Code::Blocked) => {}
                        _ => {
                            let refusal = refusal(frame, sequence, number);
                            tracing::debug!(sequence, refused = %refusal.refused, "publish refused");
                            window.on_refusal(sequence, &refusal, now_ms, tell);
                        }
                    }
                }
            })
            .1
        });
        if let Some(shared) = self.shared.upgrade() {
            shared.publish_signal.wake(); // a refusal makes work for the writer
        }
    }

    /// Gives up what is out of time; the next time to look.
    pub(crate) fn expire(&self, now_ms: u64) -> Option<u64> {
        let mut next = None;
        self.settle(|state| {
            let (_, wakers) = settling!(state, |window, best_effort, tell| {
                window.expire(now_ms, tell);
                best_effort.expire(now_ms, tell);
            });
            next = [state.window.next_deadline_ms(), state.best_effort.next_deadline_ms()]
                .into_iter()
                .flatten()
                .min();
            wakers
        });
        next
    }

    fn settle(&self, change: impl FnOnce(&mut State) -> Vec<Waker>) {
        let (wakers, has_room, is_drained, is_done) = {
            let mut state = lock(&self.state);
            let wakers = change(&mut state);
            let (events, bytes) = state.outstanding();
            // Not at every receipt: whoever waits should find room for a batch.
            let is_roomy = events <= self.limits.events / 4 * 3 && bytes <= self.limits.bytes / 4 * 3;
            let has_room = state.is_room_wanted && (is_roomy || state.is_closed || events == 0);
            state.is_room_wanted &= !has_room;
            let is_drained = state.is_drain_wanted && events == 0;
            state.is_drain_wanted &= !is_drained;
            (wakers, has_room, is_drained, state.is_abandoned && events == 0)
        };
        wakers.into_iter().for_each(Waker::wake);
        if has_room {
            self.room.notify_waiters();
        }
        if is_drained {
            self.drained.notify_waiters();
        }
        if is_done && let Some(shared) = self.shared.upgrade() {
            shared.forget_publisher(self.number);
        }
    }

    /// Appends frames to `out` until it holds `limit` bytes or nothing is left. One lock.
    /// Gives back when to look again, if a refusal said "later".
    pub(crate) fn encode(
        &self,
        now_ms: u64,
        limit: usize,
        stream: &mut PublishStreamWriter,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let mut wake_at_ms = None;
        let mut encode_all = |state: &mut State| {
            if !matches!(state.phase, Phase::Open) {
                return Vec::new();
            }
            let (_, wakers) = settling!(state, |window, best_effort, tell| {
                while out.len() < limit {
                    let Some(outgoing) = window.next_outgoing(now_ms) else { break };
                    self.encode_one(outgoing, stream, scratch, out);
                }
                while out.len() < limit {
                    let Some((sequence, pending)) = best_effort.next_outgoing(tell) else { break };
                    let header = PublishHeader {
                        channel: self.number,
                        class: Class::BestEffort,
                        topic: TopicRef::Alias(stream.topic(&pending.topic, out)),
                        sequence,
                        ttl_ms: pending.ttl_ms(now_ms),
                        wants_receipt: pending.wants_receipt,
                    };
                    header.encode(&pending.body, scratch, out);
                }
            });
            wake_at_ms = state.window.holds_until_ms();
            wakers
        };
        self.settle(&mut encode_all);
        wake_at_ms
    }

    fn encode_one(
        &self,
        outgoing: Outgoing<'_>,
        stream: &mut PublishStreamWriter,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        match outgoing {
            Outgoing::Skip { from, through } => Skip { channel: self.number, from, through }.encode(out),
            Outgoing::Publish { sequence, topic, body, ttl_ms } => {
                let header = PublishHeader {
                    channel: self.number,
                    class: Class::AtLeastOnce,
                    topic: TopicRef::Alias(stream.topic(topic, out)),
                    sequence,
                    ttl_ms,
                    wants_receipt: false,
                };
                header.encode(body, scratch, out);
            }
        }
    }

    /// The frame that ends the channel, if the broker knows it.
    pub(crate) fn closing_frame(&self) -> Option<Control> {
        let is_known = self.is_opened_once.load(Ordering::Relaxed);
        is_known.then(|| ClosePublish { channel: self.number }.into())
    }
}

fn pending(state: &mut State, event: &Prepared<'_>, now_ms: u64, slot: SlotId) -> Pending {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let expires_at_ms = event.ttl.map(|ttl| now_ms.saturating_add(ms(ttl).max(1)));
    let deadline_ms = now_ms.saturating_add(ms(event.timeout));
    Pending {
        topic: state.intern(event.topic),
        body: Bytes::clone(event.body.bytes()),
        expires_at_ms,
        started_ms: now_ms,
        deadline_ms: deadline_ms.min(expires_at_ms.unwrap_or(u64::MAX)),
        wants_receipt: event.wants_receipt,
        slot,
    }
}

fn refusal(frame: &Receipts, sequence: u64, number: u16) -> Refusal {
    let matching = |exception: &&Exception| exception.sequence == sequence;
    match frame.exceptions.iter().find(matching) {
        Some(exception) => Refusal {
            refused: Refused::from_wire(exception.code, String::new(), exception.reason.clone()),
            retry_ms: exception.retry_ms,
        },
        None => Refusal {
            refused: Refused::from_wire(number, String::new(), "the broker gave no reason".into()),
            retry_ms: None,
        },
    }
}

/// A publish channel of one's own: its order, its window and its epoch are shared with no one.
///
/// Cheap to clone; all clones are the same channel. When the last clone is dropped, what is
/// outstanding is still sent while the client lives.
#[derive(Clone)]
pub struct Publisher {
    handle: Arc<PublisherHandle>,
}

struct PublisherHandle {
    channel: Arc<Channel>,
    _keepalive: Keepalive,
}

impl Drop for PublisherHandle {
    fn drop(&mut self) {
        if self.channel.abandon()
            && let Some(shared) = self.channel.shared.upgrade()
        {
            shared.forget_publisher(self.channel.number);
        }
    }
}

impl Publisher {
    pub(crate) fn new(channel: Arc<Channel>, keepalive: Keepalive) -> Self {
        Publisher { handle: Arc::new(PublisherHandle { channel, _keepalive: keepalive }) }
    }

    /// Starts a publish; nothing happens before it is awaited or sent.
    pub fn publish<'a>(&self, topic: &'a str) -> PublishBuilder<'a> {
        PublishBuilder::new(Arc::clone(&self.handle.channel), topic)
    }

    /// Returns when every event so far has its receipt or its error. Those that nobody awaited
    /// are counted in [`Publisher::stats`].
    pub async fn flush(&self) {
        self.handle.channel.drained().await;
    }

    /// Events without a receipt.
    pub fn outstanding(&self) -> usize {
        self.handle.channel.outstanding()
    }

    /// What happened to this publisher's events so far. One lock.
    pub fn stats(&self) -> PublisherStats {
        self.handle.channel.stats()
    }
}
