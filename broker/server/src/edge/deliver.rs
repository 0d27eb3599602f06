//! The two writers of a client connection: live and durable deliveries.
//!
//! Invariants: many frames per write; one subscription's events of one class always go over one
//! stream; nothing is written after its deadline, and what follows on an expired event only once that
//! is gone for good; a cold mailbox is read off the async threads.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use fanal_core::event::Millis;
use fanal_core::live::LiveItem;
use fanal_core::{Event, MailboxId};
use fanal_protocol::Code;
use fanal_protocol::control::{Gap, STREAM_DURABLE, STREAM_LIVE};
use fanal_protocol::stream::EventStreamWriter;
use fanal_store::{MailboxSequence, ReadError, Reader};
use quinn::{Connection, SendStream};
use tokio::sync::oneshot;

use crate::live::{LiveQueue, TakeLimits};
use crate::log::LogRequest;
use crate::log::request::{Confirm, DoneReason};
use crate::mailbox::{Attached, Cold, Entry, Source, Taken};
use crate::ready::{Ready, ReadyList};
use crate::shared::Shared;
use crate::wire::Ending;

/// Bytes taken from one destination before the next one has its turn, and bytes per write.
const TURN_BYTES: usize = 64 * 1024;

/// An event stream that is being written.
pub(crate) struct EventSink {
    stream: SendStream,
    encoder: EventStreamWriter,
    out: Vec<u8>,
}

impl EventSink {
    pub(crate) async fn open(connection: &Connection, kind: u8) -> Result<Self, Ending> {
        let stream = connection.open_uni().await?;
        let mut out = Vec::with_capacity(2 * TURN_BYTES);
        let encoder = EventStreamWriter::open(kind, &mut out);
        Ok(EventSink { stream, encoder, out })
    }

    /// Adds an event. O(event).
    pub(crate) fn event(
        &mut self,
        event: &Event,
        channel: u32,
        now: Millis,
        mailbox: Option<(u64, Option<u32>)>,
    ) {
        let outgoing = event.outgoing(channel, now, mailbox);
        self.encoder.event_head(&outgoing, event.body.len(), &mut self.out);
        self.out.extend_from_slice(&event.body);
    }

    /// Adds any other frame.
    pub(crate) fn frame(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.out);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= TURN_BYTES
    }

    /// Writes what was added.
    pub(crate) async fn flush(&mut self) -> Result<(), Ending> {
        if !self.out.is_empty() {
            let out = std::mem::replace(&mut self.out, Vec::with_capacity(2 * TURN_BYTES));
            self.stream.write_chunk(Bytes::from(out)).await?;
        }
        Ok(())
    }
}

/// The destination whose turn it is. Before it waits for one, it writes what was added.
pub(crate) async fn next_ready<T: Ready>(
    ready: &ReadyList<T>,
    sink: &mut Option<EventSink>,
) -> Result<Arc<T>, Ending> {
    if let Some(item) = ready.try_pop() {
        return Ok(item);
    }
    if let Some(sink) = sink {
        sink.flush().await?;
    }
    Ok(ready.pop().await)
}

/// Writes live deliveries until the connection ends.
pub(crate) async fn write_live(
    shared: Arc<Shared>,
    ready: Arc<ReadyList<LiveQueue>>,
    connection: Connection,
) -> Ending {
    match try_write_live(&shared, &ready, &connection, Towards::Client).await {
        Ok(never) => never,
        Err(ending) => ending,
    }
}

/// Who reads a live stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Towards {
    /// A client, by the queues' channels.
    Client,
    /// A peer, on channel 0; bodies above its limit are left out and announced as a gap.
    Peer {
        /// In bytes.
        body_bytes_max: usize,
    },
}

/// As [`write_live`], for clients and peers.
pub(crate) async fn try_write_live(
    shared: &Arc<Shared>,
    ready: &ReadyList<LiveQueue>,
    connection: &Connection,
    towards: Towards,
) -> Result<Ending, Ending> {
    let mut sink: Option<EventSink> = None;
    let mut items = Vec::new();
    loop {
        let queue = next_ready(ready, &mut sink).await?;
        if !queue.can_take() {
            continue;
        }
        let (channel, body_bytes_max) = match towards {
            Towards::Client => (queue.channel, usize::MAX),
            Towards::Peer { body_bytes_max } => (0, body_bytes_max),
        };
        let sink = match &mut sink {
            Some(sink) => sink,
            none => none.insert(EventSink::open(connection, STREAM_LIVE).await?),
        };
        // From here to the end of the items nothing is awaited: what is taken is written.
        let now = shared.clock.now();
        if queue.take(now, TakeLimits { bytes_max: TURN_BYTES, body_bytes_max }, &mut items) {
            queue.wake();
        }
        let mut oldest = None;
        for item in items.drain(..) {
            match item {
                LiveItem::Event(event) => {
                    oldest.get_or_insert(event.accepted_at);
                    sink.event(&event, channel, now, None);
                }
                LiveItem::Gap(gap) => {
                    sink.frame(|out| Gap { channel, ..gap }.encode(out));
                }
            }
        }
        if let (Some(accepted_at), Towards::Client) = (oldest, towards) {
            shared.metrics.delivery_seconds.record(now.saturating_sub(accepted_at) as f64 / 1000.0);
        }
        if sink.is_full() {
            sink.flush().await?;
        }
    }
}

/// Writes durable deliveries until the connection ends.
pub(crate) async fn write_durable(
    shared: Arc<Shared>,
    ready: Arc<ReadyList<Attached>>,
    connection: Connection,
) -> Ending {
    match try_write_durable(&shared, &ready, &connection).await {
        Ok(never) => never,
        Err(ending) => ending,
    }
}

async fn try_write_durable(
    shared: &Arc<Shared>,
    ready: &ReadyList<Attached>,
    connection: &Connection,
) -> Result<Ending, Ending> {
    let mut sink: Option<EventSink> = None;
    loop {
        let attached = next_ready(ready, &mut sink).await?;
        let Some(turn) = take_turn(shared, &attached).await? else { continue };
        if turn.entries.is_empty() {
            continue;
        }
        let sink = match &mut sink {
            Some(sink) => sink,
            none => none.insert(EventSink::open(connection, STREAM_DURABLE).await?),
        };
        let now = shared.clock.now();
        let (mut fresh, mut repeated, mut oldest) = (0, 0, None);
        for entry in &turn.entries {
            let Outcome::Event(event) = &entry.outcome else { continue };
            sink.event(event, attached.channel, now, Some((entry.sequence, entry.attempt)));
            if entry.attempt.is_some() {
                repeated += 1;
            } else {
                fresh += 1;
                oldest.get_or_insert(event.accepted_at);
            }
        }
        if let Some(accepted_at) = oldest {
            shared.metrics.delivery_seconds.record(now.saturating_sub(accepted_at) as f64 / 1000.0);
        }
        shared.metrics.delivered_durable.increment(fresh + repeated);
        shared.metrics.redelivered.increment(repeated);
        if sink.is_full() {
            sink.flush().await?;
        }
    }
}

/// What became of an entry when it was its turn.
pub(crate) enum Outcome {
    /// It can be sent.
    Event(Arc<Event>),
    /// Its time is over.
    Expired,
    /// It is damaged on the disk: reported. It stays in a subscription's mailbox; a peer is told of
    /// a hole, since its sequences have none otherwise.
    Damaged,
}

/// One entry of a turn.
pub(crate) struct TurnEntry {
    pub(crate) sequence: u64,
    pub(crate) attempt: Option<u32>,
    pub(crate) outcome: Outcome,
}

/// Entries of one turn, ascending.
pub(crate) struct Turn {
    pub(crate) entries: Vec<TurnEntry>,
}

/// Takes a turn's entries; what has expired is done with, and if there is more the mailbox is
/// marked ready. Credit is used by what is sent only. `None`: the hold on the mailbox has ended.
///
/// # Errors
/// When an entry cannot be read now: the connection ends and another attempt follows later.
pub(crate) async fn take_turn(
    shared: &Arc<Shared>,
    attached: &Arc<Attached>,
) -> Result<Option<Turn>, Ending> {
    let mut taken = Vec::new();
    let read = match attached.mailbox.take(attached, TURN_BYTES, &mut taken) {
        None => None,
        Some(Taken::Now(has_more)) => Some(Read { charged: charge(&taken), entries: hot(taken), has_more }),
        Some(Taken::Cold(cold)) => {
            let (reader, attached) = (shared.reader.clone(), Arc::clone(attached));
            let read = tokio::task::spawn_blocking(move || read_cold(&reader, &attached, &cold)).await;
            read.map_err(|error| Ending::refused(Code::Internal, error.to_string()))??
        }
    };
    let Some(Read { mut entries, charged, has_more }) = read else { return Ok(None) };
    let now = shared.clock.now();
    let mut expired = Vec::new();
    for entry in &mut entries {
        if matches!(&entry.outcome, Outcome::Event(event) if event.is_expired(now)) {
            entry.outcome = Outcome::Expired;
            expired.push((entry.sequence, entry.sequence));
        }
    }
    let used = entries.iter().fold((0, 0), |used, entry| match &entry.outcome {
        Outcome::Event(event) => (used.0 + 1, used.1 + event.body.len() as u64),
        _ => used,
    });
    let is_refunded = used != charged;
    if is_refunded {
        let mut credit = attached.credit.lock().unwrap_or_else(PoisonError::into_inner);
        credit.refund(charged.0.saturating_sub(used.0), charged.1.saturating_sub(used.1));
    }
    if has_more || is_refunded {
        attached.wake();
    }
    if is_refunded && let Some(live_side) = attached.mailbox.live_side.load_full() {
        live_side.wake(); // it shares the credit
    }
    expire(shared, attached, expired).await?;
    Ok(Some(Turn { entries }))
}

/// Has entries whose time is over removed, and waits for that: a broker that is started again with a
/// clock that was set back must not find them before what was sent after them.
async fn expire(shared: &Arc<Shared>, attached: &Attached, ranges: Vec<(u64, u64)>) -> Result<(), Ending> {
    if ranges.is_empty() {
        return Ok(());
    }
    let (waiting, gone) = oneshot::channel();
    submit_done(shared, attached, ranges, DoneReason::Expired, Some(Confirm::Waiting(waiting))).await?;
    let unwritten = |_| Ending::refused(Code::Unavailable, "what has expired cannot be removed now");
    gone.await.map_err(unwritten)
}

/// Entries are done with for another reason than an ack.
pub(crate) async fn done(
    shared: &Arc<Shared>,
    attached: &Attached,
    ranges: Vec<(u64, u64)>,
    reason: DoneReason,
) -> Result<(), Ending> {
    if ranges.is_empty() {
        return Ok(());
    }
    submit_done(shared, attached, ranges, reason, None).await
}

async fn submit_done(
    shared: &Arc<Shared>,
    attached: &Attached,
    ranges: Vec<(u64, u64)>,
    reason: DoneReason,
    confirm: Option<Confirm>,
) -> Result<(), Ending> {
    let bytes = 64 + ranges.len() * 16;
    let mailbox = Arc::clone(&attached.mailbox);
    let request = LogRequest::Done { mailbox, ranges, reason, confirm };
    shared.log.submit(request, bytes).await.map_err(Ending::gone)
}

/// Entries that were taken and read.
struct Read {
    entries: Vec<TurnEntry>,
    /// Events and bytes that were charged to the credit.
    charged: (u64, u64),
    /// More may follow at once.
    has_more: bool,
}

fn charge(taken: &[Entry]) -> (u64, u64) {
    (taken.len() as u64, taken.iter().map(|entry| entry.charged).sum())
}

fn hot(taken: Vec<Entry>) -> Vec<TurnEntry> {
    let turn = |Entry { sequence, attempt, source, .. }| match source {
        Source::Hot(event) => Some(TurnEntry { sequence, attempt, outcome: Outcome::Event(event) }),
        Source::Cold(..) => None,
    };
    taken.into_iter().filter_map(turn).collect()
}

/// Takes what comes next from the disk, entries and events.
fn read_cold(reader: &Reader, attached: &Attached, cold: &Cold) -> Result<Option<Read>, Ending> {
    let mut taken = Vec::new();
    let Some(has_more) = attached.mailbox.take_cold(attached, cold, &mut taken) else { return Ok(None) };
    let entries = read_events(reader, attached.mailbox.id, &taken)?;
    Ok(Some(Read { entries, charged: charge(&taken), has_more }))
}

fn read_events(reader: &Reader, mailbox: MailboxId, taken: &[Entry]) -> Result<Vec<TurnEntry>, Ending> {
    let mailbox = fanal_store::MailboxId(mailbox.0);
    let place = |entry: &Entry| match entry.source {
        Source::Cold(position, bytes) => Some((position, bytes)),
        Source::Hot(_) => None,
    };
    let wanted: Vec<_> = taken.iter().filter_map(place).collect();
    let mut out: Vec<TurnEntry> = Vec::with_capacity(taken.len());
    let mut before: Option<Arc<Event>> = None;
    for (&Entry { sequence, attempt, .. }, read) in taken.iter().zip(reader.read_all(&wanted)) {
        // None: the entry was acked meanwhile.
        let Some(read) = reader.or_moved(mailbox, MailboxSequence(sequence), read) else { continue };
        let outcome = match read {
            Ok(record) => match Event::decode_after(&record, before.as_deref()) {
                Ok(event) => Outcome::Event(Arc::clone(before.insert(Arc::new(event)))),
                Err(error) => {
                    tracing::error!(sequence, %error, "an event in the store cannot be decoded");
                    Outcome::Damaged
                }
            },
            Err(error @ ReadError::Io { .. }) => {
                tracing::error!(sequence, %error, "an event in the store cannot be read now");
                return Err(Ending::refused(Code::Unavailable, error.to_string()));
            }
            Err(error) => {
                tracing::error!(sequence, %error, "an event in the store is damaged");
                Outcome::Damaged
            }
        };
        out.push(TurnEntry { sequence, attempt, outcome });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanal_core::home::Subscription;
    use fanal_protocol::stream::Origin;
    use fanal_protocol::{Class, Epoch, Fingerprint, PublisherId};

    use super::*;
    use crate::gauges::tests::shared;
    use crate::log::queue::Taken as Requests;
    use crate::mailbox::{Holder, Mailbox, MailboxKind};

    fn event(sequence: u64, deadline: Option<Millis>) -> Arc<Event> {
        let publisher = PublisherId { name: "till".into(), authority: Fingerprint([9; 32]) };
        Arc::new(Event {
            topic: "t".into(),
            origin: Arc::new(Origin { publisher, epoch: Epoch::default() }),
            sequence,
            class: Class::AtLeastOnce,
            accepted_at: 1,
            deadline,
            body: Bytes::from_static(&[0x80]),
        })
    }

    fn attach(shared: &Arc<Shared>) -> (Arc<Mailbox>, Arc<Attached>) {
        let subscription = Subscription {
            principal: PublisherId::default(),
            name: "orders".into(),
            ask: Default::default(),
            keep: Default::default(),
        };
        let kind = MailboxKind::Durable(Arc::new(subscription));
        let mailbox = shared.directory.add(MailboxId(1), kind, 1, Arc::clone(&shared.reader));
        let credit = Arc::new(std::sync::Mutex::new(fanal_core::Credit::unlimited()));
        let (attached, _) = mailbox.attach(1, credit, &Arc::default(), Holder::default(), 1);
        (mailbox, attached)
    }

    /// The next request that the log writer finds: the removal of what has expired.
    async fn removal(shared: &Arc<Shared>) -> Confirm {
        let log = Arc::clone(&shared.log);
        let take = move || log.take(usize::MAX, Duration::from_secs(20));
        let Requests::Requests(requests, _) = tokio::task::spawn_blocking(take).await.unwrap() else {
            panic!("the queue has ended")
        };
        match requests.into_iter().next().expect("a request") {
            LogRequest::Done { ranges, reason, confirm: Some(confirm), .. } => {
                assert_eq!((ranges, reason), (vec![(1, 1)], DoneReason::Expired));
                confirm
            }
            _ => panic!("something else"),
        }
    }

    #[tokio::test]
    async fn what_follows_on_an_expired_event_waits_until_that_is_gone_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let (_store, shared) = shared(dir.path(), Default::default());
        for is_written in [true, false] {
            let (mailbox, attached) = attach(&shared);
            mailbox.on_flushed(&[(1, event(1, Some(2))), (2, event(2, None))]);
            let mut turn = Box::pin(take_turn(&shared, &attached));
            let confirm = tokio::select! {
                _ = &mut turn => panic!("nothing is known of the removal"),
                confirm = removal(&shared) => confirm,
            };
            if let Confirm::Waiting(waiting) = confirm
                && is_written
            {
                waiting.send(()).unwrap();
            }
            let turn = turn.await;
            assert_eq!(turn.is_ok(), is_written, "what could not be removed is still there");
            if let Ok(Some(turn)) = turn {
                let sent = turn.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Event(_)));
                assert_eq!(sent.map(|entry| entry.sequence).collect::<Vec<_>>(), [2]);
            }
        }
    }
}
