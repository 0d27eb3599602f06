//! The durable path towards a peer: its mailbox, in order, within a window.
//!
//! Invariants:
//! 1. An entry leaves the mailbox only after the peer's hop ack, which means recorded and flushed
//!    there.
//! 2. Sequences go out without gaps: what is passed over is announced as a hole first.
//! 3. What is in flight is bounded; the rest waits on the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use fanal_core::Credit;
use fanal_protocol::control::{Hole, STREAM_DURABLE};
use quinn::Connection;

use super::peer::Peer;
use crate::edge::deliver::{EventSink, Outcome, done, next_ready, take_turn};
use crate::live::SharedCredit;
use crate::log::LogRequest;
use crate::log::request::DoneReason;
use crate::mailbox::{Attached, Holder, Mailbox};
use crate::shared::Shared;
use crate::wire::Ending;

/// Events in flight on one link.
const WINDOW_EVENTS: u64 = 65_536;
/// Bytes of bodies in flight on one link.
const WINDOW_BYTES: u64 = 16 << 20;

/// What is in flight on one link.
pub(crate) struct Window {
    credit: SharedCredit,
    /// Largest body that the peer takes.
    pub(crate) body_bytes_max: usize,
    state: Mutex<InFlight>,
}

struct InFlight {
    sent: VecDeque<(u64, u64)>,
    acked_events: u64,
    acked_bytes: u64,
    acked_through: u64,
    attached: Option<Arc<Attached>>,
}

impl Window {
    /// A window for a peer that has recorded everything up to `acked_through`.
    pub(crate) fn new(acked_through: u64, body_bytes_max: usize) -> Self {
        let state = InFlight {
            sent: VecDeque::new(),
            acked_events: 0,
            acked_bytes: 0,
            acked_through,
            attached: None,
        };
        Window {
            body_bytes_max,
            credit: Arc::new(Mutex::new(Credit::new(WINDOW_EVENTS, WINDOW_BYTES))),
            state: Mutex::new(state),
        }
    }

    fn on_sent(&self, sequence: u64, bytes: u64) {
        self.lock().sent.push_back((sequence, bytes));
    }

    /// The peer has recorded everything up to `through`: room for more.
    fn on_acked(&self, through: u64) {
        let mut state = self.lock();
        while let Some(&(sequence, bytes)) = state.sent.front()
            && sequence <= through
        {
            state.sent.pop_front();
            state.acked_events += 1;
            state.acked_bytes += bytes;
        }
        state.acked_through = state.acked_through.max(through);
        let (events, bytes) = (state.acked_events + WINDOW_EVENTS, state.acked_bytes + WINDOW_BYTES);
        let attached = state.attached.clone();
        drop(state);
        self.credit.lock().unwrap_or_else(PoisonError::into_inner).grant(events, bytes);
        if let Some(attached) = attached {
            attached.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InFlight> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The link takes hold of the peer mailbox, after what the peer has recorded already.
pub(crate) async fn attach(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    mailbox: &Arc<Mailbox>,
    window: &Arc<Window>,
) {
    let through = window.lock().acked_through;
    if through > 0 {
        // Refused only by a store that has stopped; then nothing is sent any more anyway.
        let _ = acked(shared, mailbox, through).await;
    }
    let credit = Arc::clone(&window.credit);
    let (attached, _) = mailbox.attach(0, credit, &peer.durable_ready, Holder::default(), through + 1);
    window.lock().attached = Some(attached);
}

async fn acked(shared: &Arc<Shared>, mailbox: &Arc<Mailbox>, through: u64) -> Result<(), Ending> {
    let request = LogRequest::Done {
        mailbox: Arc::clone(mailbox),
        ranges: vec![(1, through)],
        reason: DoneReason::Acked,
        confirm: None,
    };
    shared.log.submit(request, 128).await.map_err(Ending::gone)
}

/// Takes a hop ack.
pub(crate) async fn on_hop_ack(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    window: &Arc<Window>,
    through: u64,
) -> Result<(), Ending> {
    let before = window.lock().acked_through;
    // What an earlier link sent may be recorded after this one began, so the bound is what exists.
    // Entries read from the disk may be sent before the tail moves.
    let tail = peer.mailbox().map_or(1, |mailbox| {
        let (next, tail) = mailbox.progress();
        tail.max(next)
    });
    if through >= tail {
        let reason = format!("HopAck through {through}, but only {} exist", tail.saturating_sub(1));
        return Err(Ending::refused(fanal_protocol::Code::Malformed, reason));
    }
    let Some(mailbox) = peer.mailbox().filter(|_| through > before) else { return Ok(()) };
    window.on_acked(through);
    let request = LogRequest::Done {
        mailbox: Arc::clone(mailbox),
        ranges: vec![(before + 1, through)],
        reason: DoneReason::Acked,
        confirm: None,
    };
    shared.log.submit(request, 128).await.map_err(Ending::gone)
}

/// Writes the peer mailbox to the link until it ends.
pub(crate) async fn write_durable(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    window: Arc<Window>,
    connection: Connection,
) -> Ending {
    match try_write(&shared, &peer, &window, &connection).await {
        Ok(never) => never,
        Err(ending) => ending,
    }
}

async fn try_write(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    window: &Window,
    connection: &Connection,
) -> Result<Ending, Ending> {
    let mut sink: Option<EventSink> = None;
    let mut expected = window.lock().acked_through + 1;
    loop {
        let attached = next_ready(&peer.durable_ready, &mut sink).await?;
        let Some(turn) = take_turn(shared, &attached).await? else { continue };
        if turn.entries.is_empty() {
            continue;
        }
        let sink = match &mut sink {
            Some(sink) => sink,
            none => none.insert(EventSink::open(connection, STREAM_DURABLE).await?),
        };
        let now = shared.clock.now();
        let mut forwarded = 0;
        let (mut damaged, mut too_large) = (Vec::new(), Vec::new());
        for entry in &turn.entries {
            if entry.sequence > expected {
                hole(sink, expected, entry.sequence - 1, "dropped");
            }
            expected = entry.sequence + 1;
            match &entry.outcome {
                Outcome::Event(event) if event.body.len() > window.body_bytes_max => {
                    hole(sink, entry.sequence, entry.sequence, "too_large");
                    window.on_sent(entry.sequence, event.body.len() as u64);
                    too_large.push((entry.sequence, entry.sequence));
                }
                Outcome::Event(event) => {
                    sink.event(event, 0, now, Some((entry.sequence, entry.attempt)));
                    window.on_sent(entry.sequence, event.body.len() as u64);
                    forwarded += 1;
                }
                Outcome::Expired => hole(sink, entry.sequence, entry.sequence, "expired"),
                Outcome::Damaged => {
                    hole(sink, entry.sequence, entry.sequence, "damaged");
                    damaged.push((entry.sequence, entry.sequence));
                }
            }
        }
        done(shared, &attached, damaged, DoneReason::Damaged).await?;
        done(shared, &attached, too_large, DoneReason::TooLarge).await?;
        peer.metrics.forwarded.increment(forwarded);
        if sink.is_full() {
            sink.flush().await?;
        }
    }
}

fn hole(sink: &mut EventSink, from: u64, through: u64, reason: &str) {
    sink.frame(|out| Hole { from, through, reason: reason.into() }.encode(out));
}
