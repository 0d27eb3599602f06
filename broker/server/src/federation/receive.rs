//! Events that come over a link: to local subscriptions of their class, and no further.
//!
//! Invariants:
//! 1. The durable path is recorded with its mailbox sequence in the same append as its entries;
//!    the hop ack follows the flush.
//! 2. While the store is full the link waits; nothing is acked, nothing is dropped.
//! 3. Malformed frames end the link, and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanal_core::Event;
use fanal_matching::Topic;
use fanal_protocol::control::{GAP_AT_MOST, Gap, STREAM_DURABLE, STREAM_LIVE};
use fanal_protocol::event::{EventHeader, StreamFrame};
use fanal_protocol::stream::EventStreamReader;
use fanal_protocol::{Code, EVENT_OVERHEAD_BYTES_MAX, frame};
use quinn::Connection;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::peer::Peer;
use crate::log::request::{LinkInbound, ReceiveError, ReceiveItem};
use crate::log::{LogError, LogRequest};
use crate::route::{Destinations, Fanout, Scope, Subject, TopicRoute};
use crate::shared::Shared;
use crate::wire::{BlockReader, Ending};

/// How long a link waits before it offers a batch to a full store again.
const FULL_BACKOFF: Duration = Duration::from_millis(500);

/// Accepts the peer's event streams.
pub(crate) async fn accept_streams(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    inbound: Arc<LinkInbound>,
    connection: Connection,
) -> Ending {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => {
                    let limit = shared.limits.body_bytes_max + EVENT_OVERHEAD_BYTES_MAX;
                    let reader = LinkReader {
                        shared: Arc::clone(&shared),
                        peer: Arc::clone(&peer),
                        inbound: Arc::clone(&inbound),
                        blocks: BlockReader::new(stream, limit),
                        state: EventStreamReader::default(),
                        path: None,
                        live: Fanout::default(),
                        items: Vec::new(),
                        bytes: 0,
                        routed: 0,
                    };
                    streams.spawn(reader.run());
                }
                Err(error) => return error.into(),
            },
            Some(ended) = streams.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(ending)) => return ending,
                Err(error) => return Ending::refused(Code::Internal, error.to_string()),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Durable,
    Live,
}

struct LinkReader {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    inbound: Arc<LinkInbound>,
    blocks: BlockReader,
    state: EventStreamReader<TopicRoute>,
    path: Option<Path>,
    live: Fanout,
    items: Vec<ReceiveItem>,
    bytes: usize,
    /// Events of the block that were routed.
    routed: u32,
}

impl LinkReader {
    async fn run(mut self) -> Result<(), Ending> {
        while let Some(block) = self.blocks.next().await? {
            let began = Instant::now();
            let mut live_events = 0;
            for range in frame::frames(&block) {
                live_events += self.handle(&block, range)?;
            }
            let routed = std::mem::take(&mut self.routed);
            if routed > 0 {
                let mean = began.elapsed().as_secs_f64() / f64::from(routed);
                self.shared.metrics.match_seconds.record(mean);
            }
            self.live.flush(block.len());
            self.peer.metrics.received.increment(live_events);
            self.record().await?;
        }
        Ok(())
    }

    /// Takes one frame; how many live events it brought.
    fn handle(&mut self, block: &Bytes, range: std::ops::Range<usize>) -> Result<u64, Ending> {
        match (StreamFrame::decode(&block[range.clone()])?, self.path) {
            (StreamFrame::Open(open), None) => {
                self.path = Some(match open.kind {
                    STREAM_DURABLE => Path::Durable,
                    STREAM_LIVE => Path::Live,
                    other => {
                        let reason =
                            format!("stream of kind {other} on a link: 2 (durable) and 3 (live) are known");
                        return Err(Ending::refused(Code::Malformed, reason));
                    }
                });
            }
            (StreamFrame::Topic(alias), Some(_)) => {
                let topic = Topic::parse(&alias.topic).map_err(|error| {
                    Ending::refused(Code::Malformed, format!("topic '{}': {error}", alias.topic))
                })?;
                self.state.on_topic(alias.alias, TopicRoute::new(topic, &self.shared.index))?;
            }
            (StreamFrame::Publisher(alias), Some(_)) => self.state.on_publisher(&alias)?,
            (StreamFrame::Clock(base), Some(_)) => self.state.on_clock(base),
            (StreamFrame::Event(header, body), Some(path)) => {
                let body = block.slice(range.start + body.start..range.start + body.end);
                self.handle_event(&header, body, path)?;
                return Ok(u64::from(path == Path::Live));
            }
            (StreamFrame::Hole(hole), Some(Path::Durable)) if hole.from <= hole.through => {
                self.items.push(ReceiveItem::Hole { from: hole.from, through: hole.through });
            }
            (StreamFrame::Gap(gap), Some(Path::Live)) => self.pass_on_gap(&gap),
            (other, _) => {
                let reason: String =
                    format!("unexpected frame on a link's stream: {other:?}").chars().take(300).collect();
                return Err(Ending::refused(Code::Malformed, reason));
            }
        }
        Ok(0)
    }

    fn handle_event(&mut self, header: &EventHeader, body: Bytes, path: Path) -> Result<(), Ending> {
        let resolved = self.state.resolve(header)?;
        let scope = match path {
            Path::Durable => Scope::LinkDurable,
            Path::Live => Scope::LinkLive(header.class),
        };
        let subject = Subject { origin: &resolved.origin, sequence: resolved.sequence, body: &body };
        let Destinations { mailboxes, live } = resolved.topic.resolve(&self.shared.index, scope, &subject)?;
        self.routed += 1;
        let now = self.shared.clock.now();
        let event = Arc::new(Event {
            topic: Arc::clone(&resolved.topic.text),
            origin: resolved.origin,
            sequence: resolved.sequence,
            class: header.class,
            accepted_at: resolved.accepted_at_ms,
            deadline: header.ttl_ms.map(|ttl| now.saturating_add(ttl)),
            body,
        });
        match (path, header.mailbox_sequence) {
            (Path::Live, None) => live.iter().for_each(|queue| self.live.add(queue, &event)),
            (Path::Durable, Some(sequence)) => {
                self.bytes += event.body.len() + 256;
                self.items.push(ReceiveItem::Event { sequence, event, mailboxes });
            }
            _ => {
                let reason =
                    "events of a durable stream carry a mailbox sequence, those of a live stream do not";
                return Err(Ending::refused(Code::Malformed, reason));
            }
        }
        Ok(())
    }

    fn pass_on_gap(&self, gap: &Gap) {
        let kind = gap.kind.max(GAP_AT_MOST);
        for queue in &self.shared.lives {
            queue.push_gap(Gap { channel: 0, kind, broker: self.peer.name.clone(), ..gap.clone() });
        }
    }

    /// Has the block recorded and waits for that, so that a refusal can be followed by the same
    /// items again: later from a full store, in halves where the batch was too large.
    async fn record(&mut self) -> Result<(), Ending> {
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = vec![std::mem::take(&mut self.items)];
        while let Some(items) = rest.pop() {
            if items.is_empty() {
                continue;
            }
            let (done, answer) = oneshot::channel();
            let mut again: Vec<ReceiveItem> = items.iter().map(copy).collect();
            let request = LogRequest::Receive { link: Arc::clone(&self.inbound), items, done };
            self.shared.log.submit(request, bytes).await.map_err(unavailable)?;
            match answer.await {
                Ok(Ok(())) => {}
                Ok(Err(ReceiveError::Log(LogError::Full(_)))) => {
                    tokio::time::sleep(FULL_BACKOFF).await;
                    rest.push(again);
                }
                Ok(Err(ReceiveError::TooLarge)) if again.len() > 1 => {
                    let second = again.split_off(again.len() / 2);
                    rest.extend([second, again]); // the first half is taken next
                }
                Ok(Err(ReceiveError::Log(error))) => return Err(unavailable(error)),
                Ok(Err(error)) => return Err(Ending::refused(Code::Malformed, error.to_string())),
                Err(_) => return Err(Ending::gone("the log writer has ended")),
            }
        }
        Ok(())
    }
}

fn unavailable(error: LogError) -> Ending {
    Ending::refused(Code::Unavailable, error.to_string())
}

fn copy(item: &ReceiveItem) -> ReceiveItem {
    match item {
        ReceiveItem::Hole { from, through } => ReceiveItem::Hole { from: *from, through: *through },
        ReceiveItem::Event { sequence, event, mailboxes } => {
            ReceiveItem::Event { sequence: *sequence, event: Arc::clone(event), mailboxes: mailboxes.clone() }
        }
    }
}
