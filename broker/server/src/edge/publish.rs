//! Publish streams: read a block, route each event, hand the batch on.
//!
//! Invariants:
//! 1. One task per stream, so that a channel's events keep their order.
//! 2. Best effort goes straight to its destinations' buffers; at-least-once goes to the log
//!    writer, which alone may tell anybody.
//! 3. A client that does not read its receipts is not read either.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanal_core::Event;
use fanal_matching::Topic;
use fanal_protocol::control::{Exception, STREAM_PUBLISH};
use fanal_protocol::event::{PublishHeader, StreamFrame, TopicRef};
use fanal_protocol::receipt::ReceiptRuns;
use fanal_protocol::stream::Aliases;
use fanal_protocol::{Class, Code, EVENT_OVERHEAD_BYTES_MAX, frame};
use quinn::{Connection, RecvStream};
use tokio::task::JoinSet;

use super::session::Session;
use crate::log::LogRequest;
use crate::log::request::{PublishChannel, PublishItem};
use crate::route::{Destinations, Fanout, Scope, Subject, TopicRoute};
use crate::shared::Shared;
use crate::wire::{BlockReader, Ending};

/// Accepts a client's unidirectional streams and reads each in a task of its own. After the
/// client's goodbye, reads those that are there to their end and returns.
pub(crate) async fn accept_streams(
    shared: Arc<Shared>,
    session: Arc<Session>,
    connection: Connection,
) -> Ending {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            // Streams that have arrived come before the goodbye that followed them.
            biased;
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => {
                    streams.spawn(PublishReader::new(&shared, &session, stream).run());
                }
                Err(error) => return error.into(),
            },
            Some(ended) = streams.join_next() => match flatten(ended) {
                Ok(()) => {}
                Err(ending) => return ending,
            },
            () = session.goodbye.notified() => break,
        }
    }
    while let Some(ended) = streams.join_next().await {
        if let Err(ending) = flatten(ended) {
            return ending;
        }
    }
    Ending::gone("the client closed")
}

fn flatten(ended: Result<Result<(), Ending>, tokio::task::JoinError>) -> Result<(), Ending> {
    ended.unwrap_or_else(|error| Err(Ending::refused(Code::Internal, error.to_string())))
}

/// A topic alias: its route, or why the topic is refused.
type TopicSlot = Result<TopicRoute, (Code, String)>;

struct PublishReader {
    shared: Arc<Shared>,
    session: Arc<Session>,
    blocks: BlockReader,
    topics: Aliases<TopicSlot>,
    batch: Batch,
    is_open: bool,
}

/// What one block of frames adds up to.
#[derive(Default)]
struct Batch {
    channel: Option<Arc<PublishChannel>>,
    items: Vec<PublishItem>,
    bytes: usize,
    live: Fanout,
    receipts: ReceiptRuns,
    began: Option<Instant>,
    /// Spent on handing over within the block, when its channel changed.
    waited: Duration,
    block_bytes: usize,
    best_effort: u64,
    routed: u64,
}

impl PublishReader {
    fn new(shared: &Arc<Shared>, session: &Arc<Session>, stream: RecvStream) -> Self {
        let limit = shared.limits.body_bytes_max + EVENT_OVERHEAD_BYTES_MAX;
        PublishReader {
            shared: Arc::clone(shared),
            session: Arc::clone(session),
            blocks: BlockReader::new(stream, limit),
            topics: Aliases::new("topic"),
            batch: Batch::default(),
            is_open: false,
        }
    }

    async fn run(mut self) -> Result<(), Ending> {
        while let Some(block) = self.blocks.next().await? {
            let began = Instant::now();
            self.batch.began = Some(began);
            self.batch.block_bytes = block.len();
            for range in frame::frames(&block) {
                self.handle(&block, range).await?;
            }
            let routed = std::mem::take(&mut self.batch.routed);
            let worked = began.elapsed().saturating_sub(std::mem::take(&mut self.batch.waited));
            if routed > 0 {
                self.shared.metrics.match_seconds.record(worked.as_secs_f64() / routed as f64);
            }
            self.finish_batch().await?;
        }
        Ok(())
    }

    async fn handle(&mut self, block: &Bytes, range: std::ops::Range<usize>) -> Result<(), Ending> {
        let frame = &block[range.clone()];
        match StreamFrame::decode(frame)? {
            StreamFrame::Publish(header, body) if self.is_open => {
                let body = block.slice(range.start + body.start..range.start + body.end);
                self.handle_publish(header, body).await
            }
            StreamFrame::Topic(alias) if self.is_open => {
                let slot = self.slot(&alias.topic);
                Ok(self.topics.define(alias.alias, slot)?)
            }
            StreamFrame::Skip(skip) if self.is_open => {
                self.use_channel(skip.channel).await?;
                self.batch.items.push(PublishItem::Skip { from: skip.from, through: skip.through });
                self.batch.bytes += SKIP_CHARGE;
                Ok(())
            }
            StreamFrame::Open(open) if !self.is_open && open.kind == STREAM_PUBLISH => {
                self.is_open = true;
                Ok(())
            }
            other => {
                let reason = format!("unexpected frame on a publish stream: {other:?}");
                Err(Ending::refused(Code::Malformed, reason.chars().take(300).collect::<String>()))
            }
        }
    }

    fn slot(&self, text: &str) -> TopicSlot {
        let refuse = |reason: String| (Code::Malformed, format!("topic '{text}': {reason}"));
        let topic = Topic::parse(text).map_err(|error| refuse(error.to_string()))?;
        if topic.is_reserved() {
            let reason = format!("topic '{text}': topics that begin with `$` are the brokers' own");
            return Err((Code::Forbidden, reason));
        }
        Ok(TopicRoute::new(topic, &self.shared.index))
    }

    /// Makes a channel the batch's; a batch is of one channel.
    async fn use_channel(&mut self, number: u32) -> Result<Arc<PublishChannel>, Ending> {
        if let Some(channel) = &self.batch.channel
            && channel.channel == number
        {
            return Ok(Arc::clone(channel));
        }
        let paused = Instant::now();
        self.finish_batch().await?;
        self.batch.waited += paused.elapsed();
        let Some(channel) = self.session.publish_channel(number) else {
            let reason = format!(
                "publish on channel {number}, which is not open: send OpenPublish and wait for PublishOpened"
            );
            return Err(Ending::refused(Code::Malformed, reason));
        };
        self.batch.channel = Some(Arc::clone(&channel));
        Ok(channel)
    }

    async fn handle_publish(&mut self, header: PublishHeader<'_>, body: Bytes) -> Result<(), Ending> {
        let channel = self.use_channel(header.channel).await?;
        match self.route(&channel, &header, &body) {
            Ok((event, destinations)) => self.batch.add(&channel, event, destinations, header.wants_receipt),
            Err(Refusal::Event(code, reason)) => {
                self.batch.refuse(&self.shared, &channel, &header, code, reason)
            }
            Err(Refusal::Connection(ending)) => return Err(ending),
        }
        Ok(())
    }

    fn route(
        &mut self,
        channel: &PublishChannel,
        header: &PublishHeader<'_>,
        body: &Bytes,
    ) -> Result<(Arc<Event>, Destinations), Refusal> {
        let limit = self.shared.limits.body_bytes_max;
        if body.len() > limit {
            let reason =
                format!("body of {} bytes exceeds the limit of {limit} bytes: split the payload", body.len());
            return Err(Refusal::Event(Code::TooLarge, reason));
        }
        let mut unaliased;
        let slot = match header.topic {
            TopicRef::Alias(alias) => {
                self.topics.get_mut(alias).map_err(|error| Refusal::Connection(error.into()))?
            }
            TopicRef::Text(text) => {
                unaliased = self.slot(text);
                &mut unaliased
            }
        };
        let route = slot.as_mut().map_err(|(code, reason)| Refusal::Event(*code, reason.clone()))?;
        let subject = Subject { origin: &channel.origin, sequence: header.sequence, body };
        let destinations = route
            .resolve(&self.shared.index, Scope::Client(header.class), &subject)
            .map_err(|error| Refusal::Event(Code::Malformed, error.to_string()))?;
        self.batch.routed += 1;
        let now = self.shared.clock.now();
        let event = Event {
            topic: Arc::clone(&route.text),
            origin: Arc::clone(&channel.origin),
            sequence: header.sequence,
            class: header.class,
            accepted_at: now,
            deadline: header.ttl_ms.map(|ttl| now.saturating_add(ttl)),
            body: body.clone(),
        };
        Ok((Arc::new(event), destinations))
    }

    async fn finish_batch(&mut self) -> Result<(), Ending> {
        self.batch.live.flush(self.batch.block_bytes);
        let Some(channel) = self.batch.channel.clone() else { return Ok(()) };
        self.shared
            .metrics
            .events_published(Class::BestEffort)
            .increment(std::mem::take(&mut self.batch.best_effort));
        for receipts in self.batch.receipts.drain() {
            channel.outbox.push(receipts);
        }
        if !self.batch.items.is_empty() {
            channel.outbox.wait_for_room().await;
            let began = self.batch.began.unwrap_or_else(Instant::now);
            let items = std::mem::take(&mut self.batch.items);
            let bytes = std::mem::take(&mut self.batch.bytes);
            let submitted =
                self.shared.log.submit(LogRequest::Publish { channel, items, began }, bytes).await;
            if submitted.is_err() && self.shared.draining.load(Ordering::Relaxed) {
                // Receipts of what was taken are still going out; the end comes with the connection.
                std::future::pending::<()>().await;
            }
            submitted.map_err(|error| Ending::refused(Code::Unavailable, error.to_string()))?;
        }
        Ok(())
    }
}

/// Bytes that a skip is charged for in the log's queue: five on the wire become an item.
const SKIP_CHARGE: usize = 256;

enum Refusal {
    /// The event is refused; the session lives.
    Event(Code, String),
    /// The protocol is broken.
    Connection(Ending),
}

impl Batch {
    fn add(&mut self, channel: &PublishChannel, event: Arc<Event>, to: Destinations, wants_receipt: bool) {
        if event.class == Class::BestEffort {
            to.live.iter().for_each(|queue| self.live.add(queue, &event));
            self.best_effort += 1;
            if wants_receipt {
                self.receipts.push(channel.channel, true, event.sequence, Code::Accepted, 0);
            }
            return;
        }
        self.bytes += event.body.len() + 256;
        self.items.push(PublishItem::Event { event, mailboxes: to.mailboxes, live: to.live });
    }

    fn refuse(
        &mut self,
        shared: &Shared,
        channel: &PublishChannel,
        header: &PublishHeader<'_>,
        code: Code,
        reason: String,
    ) {
        shared.metrics.publish_refused(code.number()).increment(1);
        let is_best_effort = header.class == Class::BestEffort;
        let exception = Exception { sequence: header.sequence, code: code.number(), reason, retry_ms: None };
        self.receipts.push_refusal(channel.channel, is_best_effort, exception);
    }
}
