//! The queue of one subscription, between the connection's readers and the program.
//!
//! Invariants:
//! 1. What is queued is bounded by the credit given: `window + taken - received`, for events and
//!    for bytes of bodies. A broker that sends beyond its credit breaks the protocol.
//! 2. Across connections the program sees a durable event once, in mailbox order; a live
//!    subscription gets a gap where a connection was lost.
//! 3. After a reconnect durable deliveries are held back until the broker has said whether it
//!    is the same mailbox: only then their numbers mean something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use fanal_protocol::control::{Ack, Credit, Subscribe, Subscribed};
use fanal_protocol::{Control, Incarnation, StoreId};
use tokio::sync::{Notify, oneshot};

use super::acks::Acks;
use super::delivery::{Delivery, Gap, Item};
use super::subscription::InterestReceipt;
use crate::error::{AckError, Refused, SubscriptionError};
use crate::shared::Shared;
use crate::sync::lock;

/// What may be under way and queued, at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CreditWindow {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

/// Totals of events and of bytes of bodies.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    events: u64,
    bytes: u64,
}

impl Totals {
    fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attach {
    /// The first `Subscribe` has no answer yet.
    First,
    /// The broker has answered on this connection.
    Attached,
    /// Attached before, not yet on this connection.
    Again,
}

struct State {
    items: Vec<Item>,
    /// Durable deliveries of a connection on which the broker has not answered yet.
    held: Vec<Item>,
    waker: Option<Waker>,
    attach: Attach,
    mailbox_life: u32,
    /// Store and recovery epoch whose mailbox sequences `acks` is about.
    numbering: Option<(StoreId, u64)>,
    acks: Acks,
    received: Totals,
    taken: Totals,
    /// `received` when this connection's `Subscribe` was written.
    base: Totals,
    /// Credit as last told, in totals of this connection.
    granted: Totals,
    is_dirty: bool,
    opened: Option<oneshot::Sender<Result<InterestReceipt, Refused>>>,
    end: Option<SubscriptionError>,
    is_end_told: bool,
}

/// The queue.
pub(crate) struct Queue {
    pub(crate) number: u32,
    shared: Weak<Shared>,
    request: Subscribe,
    window: CreditWindow,
    state: Mutex<State>,
    acked: Notify,
    has_ended: AtomicBool,
}

/// The broker sent more than it had credit for.
#[derive(Debug)]
pub(crate) struct CreditExceeded;

impl Queue {
    pub(crate) fn new(
        number: u32,
        shared: Weak<Shared>,
        request: Subscribe,
        window: CreditWindow,
    ) -> (Arc<Self>, oneshot::Receiver<Result<InterestReceipt, Refused>>) {
        let (opened, receipt) = oneshot::channel();
        let state = State {
            items: Vec::new(),
            held: Vec::new(),
            waker: None,
            attach: Attach::First,
            mailbox_life: 0,
            numbering: None,
            acks: Acks::default(),
            received: Totals::default(),
            taken: Totals::default(),
            base: Totals::default(),
            granted: Totals::default(),
            is_dirty: false,
            opened: Some(opened),
            end: None,
            is_end_told: false,
        };
        let queue = Queue {
            number,
            shared,
            request: Subscribe { channel: number, ..request },
            window,
            state: Mutex::new(state),
            acked: Notify::new(),
            has_ended: AtomicBool::new(false),
        };
        (Arc::new(queue), receipt)
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.request.durable.is_some()
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.request.strict.is_some()
    }

    pub(crate) fn has_limits(&self) -> bool {
        let request = &self.request;
        request.when_full.is_some()
            || [request.max_bytes, request.max_events, request.max_age_ms].iter().any(Option::is_some)
    }

    pub(crate) fn window(&self) -> CreditWindow {
        self.window
    }

    // --- the connection's side ---

    /// A connection is there: the frame that subscribes on it.
    pub(crate) fn on_connect(&self) -> Control {
        let mut state = lock(&self.state);
        state.base = state.received;
        state.granted = self.credit(&state);
        let mut request = self.request.clone();
        if state.attach != Attach::First {
            // The program has its interest receipt; it waits for deliveries now.
            request.wait = Some("home".into());
        }
        request.credit_events = state.granted.events;
        request.credit_bytes = state.granted.bytes;
        request.into()
    }

    fn credit(&self, state: &State) -> Totals {
        // Invariant: received - taken is at most the window, so neither wraps.
        Totals {
            events: (self.window.events + state.taken.events).saturating_sub(state.base.events),
            bytes: (self.window.bytes + state.taken.bytes).saturating_sub(state.base.bytes),
        }
    }

    /// The connection is gone.
    pub(crate) fn on_disconnect(&self) {
        let mut state = lock(&self.state);
        state.held.clear();
        if state.attach != Attach::Attached {
            return;
        }
        state.attach = Attach::Again;
        if !self.is_durable() {
            state.items.push(Item::Gap(Gap::local("connection_lost")));
        }
        wake(state);
    }

    /// The broker, in this life, has answered. A store that was restored or repaired gives numbers
    /// again (PROTOCOL.md 5.8): it is another mailbox then, even if it is resumed.
    pub(crate) fn on_subscribed(
        self: &Arc<Self>,
        frame: Subscribed,
        incarnation: Incarnation,
    ) -> Result<(), CreditExceeded> {
        let held = {
            let mut state = lock(&self.state);
            let was = std::mem::replace(&mut state.attach, Attach::Attached);
            let numbering = (incarnation.store, incarnation.recovery_epoch);
            let is_same = frame.resumed && state.numbering.is_none_or(|before| before == numbering);
            state.numbering = Some(numbering);
            if was == Attach::Again && self.is_durable() {
                if !is_same {
                    state.mailbox_life += 1;
                    state.items.push(Item::Gap(Gap::local("mailbox_replaced")));
                }
                state.acks.on_attached(is_same);
            }
            if let Some(opened) = state.opened.take() {
                drop(opened.send(Ok(InterestReceipt::from(frame))));
            }
            std::mem::take(&mut state.held)
        };
        self.acked.notify_waiters();
        self.push(held)?;
        self.mark_dirty();
        Ok(())
    }

    /// The broker does not subscribe us. True: ask again later.
    pub(crate) fn on_refused(&self, refused: Refused) -> bool {
        let opened = {
            let mut state = lock(&self.state);
            if state.opened.is_none() && refused.code.is_retryable() {
                return true;
            }
            state.opened.take()
        };
        match opened {
            Some(opened) => drop(opened.send(Err(refused))),
            None => self.end(SubscriptionError::Ended(refused)),
        }
        false
    }

    /// Takes a batch from a reader: one lock, one wake-up.
    pub(crate) fn push(&self, batch: Vec<Item>) -> Result<(), CreditExceeded> {
        let mut state = lock(&self.state);
        if state.attach == Attach::Again && self.is_durable() {
            let room = self.window.events as usize;
            if state.held.len() + batch.len() > room {
                return Err(CreditExceeded);
            }
            state.held.extend(batch);
            return Ok(());
        }
        let mut is_credit_due = false;
        if state.items.is_empty() && state.items.capacity() < batch.len() {
            state.items.reserve(batch.len());
        }
        for item in batch {
            match item {
                Item::Delivery(delivery) => is_credit_due |= !self.admit(&mut state, delivery)?,
                gap => state.items.push(gap),
            }
        }
        let is_dirty = is_credit_due || state.acks.has_to_send();
        wake(state);
        if is_dirty {
            self.mark_dirty();
        }
        Ok(())
    }

    /// Queues one delivery unless the program has had it. True: it is new.
    fn admit(&self, state: &mut State, mut delivery: Delivery) -> Result<bool, CreditExceeded> {
        let received = (state.received.events - state.base.events, state.received.bytes - state.base.bytes);
        if received.0 >= state.granted.events || received.1 >= state.granted.bytes {
            return Err(CreditExceeded);
        }
        let len = delivery.body.len();
        state.received.add(len);
        if let Some(sequence) = delivery.mailbox_sequence.filter(|_| self.is_durable())
            && !state.acks.on_delivery(sequence)
        {
            state.taken.add(len);
            return Ok(false);
        }
        delivery.mailbox_life = state.mailbox_life;
        state.items.push(Item::Delivery(delivery));
        Ok(true)
    }

    /// The home has flushed acks.
    pub(crate) fn on_acked(&self, ranges: &[(u64, u64)]) {
        lock(&self.state).acks.on_acked(ranges);
        self.acked.notify_waiters();
    }

    /// No more deliveries will come.
    pub(crate) fn end(&self, error: SubscriptionError) {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        if self.is_durable() {
            // Not handed out, so not acked: whoever attaches next gets them.
            state.items.clear();
            state.held.clear();
        }
        state.opened = None;
        state.end = Some(error);
        self.has_ended.store(true, Ordering::Release);
        wake(state);
        self.acked.notify_waiters();
    }

    /// Appends acks and credit that wait to be told. Called by the control writer.
    pub(crate) fn drain_control(&self, out: &mut Vec<u8>) {
        let mut state = lock(&self.state);
        state.is_dirty = false;
        if state.attach == Attach::Attached {
            self.drain_attached(&mut state, out);
        }
    }

    fn drain_attached(&self, state: &mut State, out: &mut Vec<u8>) {
        if state.acks.has_to_send() {
            for ranges in state.acks.drain_to_send() {
                Control::from(Ack { channel: self.number, ranges }).encode(out);
            }
        }
        if self.is_credit_due(state) {
            state.granted = self.credit(state);
            let Totals { events, bytes } = state.granted;
            Control::from(Credit { channel: self.number, events, bytes }).encode(out);
        }
    }

    fn is_credit_due(&self, state: &State) -> bool {
        let credit = self.credit(state);
        let is_half = |new: u64, old: u64, window: u64| new.saturating_sub(old) >= window.div_ceil(2);
        is_half(credit.events, state.granted.events, self.window.events)
            || is_half(credit.bytes, state.granted.bytes, self.window.bytes)
    }

    fn mark_dirty(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        if !std::mem::replace(&mut lock(&self.state).is_dirty, true) {
            shared.mark_dirty(self.number);
        }
    }

    // --- the program's side ---

    /// The next batch, or the end: `Ready(None)` after the error was told.
    pub(crate) fn poll_batch(
        &self,
        taken: (u64, u64),
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<Item>, SubscriptionError>>> {
        self.on_taken(taken);
        let mut state = lock(&self.state);
        if !state.items.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut state.items))));
        }
        if let Some(end) = state.end.clone() {
            let was_told = std::mem::replace(&mut state.is_end_told, true);
            return Poll::Ready((!was_told).then_some(Err(end)));
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The program took so many events and bytes.
    pub(crate) fn on_taken(&self, (events, bytes): (u64, u64)) {
        if events == 0 {
            return;
        }
        let mut state = lock(&self.state);
        state.taken.events += events;
        state.taken.bytes += bytes;
        let is_due = state.attach == Attach::Attached && self.is_credit_due(&state);
        drop(state);
        if is_due {
            self.mark_dirty();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Notes an ack; it travels with the next batch, at once if it is urgent.
    pub(crate) fn ack(&self, sequence: u64, mailbox_life: u32, is_urgent: bool) {
        let mut state = lock(&self.state);
        if state.end.is_some() || state.mailbox_life != mailbox_life {
            return;
        }
        let is_first = state.acks.ack(sequence) && !state.is_dirty;
        drop(state);
        if is_urgent {
            self.hurry();
        }
        if is_first {
            self.mark_dirty();
        }
    }

    /// Acks that the home has not confirmed.
    pub(crate) fn unconfirmed(&self) -> u64 {
        lock(&self.state).acks.unconfirmed().len()
    }

    /// Waits until the home has confirmed every ack so far.
    pub(crate) async fn flush_acks(&self) -> Result<(), AckError> {
        let asked = lock(&self.state).acks.unconfirmed().clone();
        self.hurry();
        self.confirmed(|acks| asked.is_disjoint(acks.unconfirmed())).await
    }

    fn hurry(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.hurry_acks();
        }
    }

    /// Waits until the tracker says so, or the subscription ends.
    pub(crate) async fn confirmed(&self, is_so: impl Fn(&Acks) -> bool) -> Result<(), AckError> {
        loop {
            let acked = self.acked.notified();
            {
                let state = lock(&self.state);
                if is_so(&state.acks) {
                    return Ok(());
                }
                if let Some(end) = &state.end {
                    return Err(AckError::Ended(end.clone()));
                }
            }
            acked.await;
        }
    }
}

/// Unlocks, then wakes the program.
fn wake(mut state: std::sync::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
