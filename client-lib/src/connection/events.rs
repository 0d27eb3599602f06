//! Incoming event streams: from bytes to batches in the subscriptions' queues.
//!
//! Invariants:
//! 1. A reader never waits for a program: queues are bounded by credit.
//! 2. Per block of whole frames each subscription gets one batch, under one lock.
//! 3. What a queue keeps alive is at most four times what it counts: small shares of a block are
//!    copied out of it.
//! 4. A frame counts only where PROTOCOL.md 5.2 lets a broker send it; else the connection ends.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fanal_protocol::control::{STREAM_DURABLE, STREAM_LIVE};
use fanal_protocol::event::StreamFrame;
use fanal_protocol::stream::EventStreamReader;
use fanal_protocol::{BodyView, EVENT_OVERHEAD_BYTES_MAX, EventHeader, WireError, frame};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::control::credit_exceeded;
use crate::shared::Shared;
use crate::subscribe::queue::Queue;
use crate::subscribe::{Delivery, Item};

/// Room for one read.
const READ_BYTES: usize = 256 * 1024;
/// A share of a block below this is copied, so that it does not keep the whole block alive.
const SHARE_BYTES_MIN: usize = READ_BYTES / 4;

/// Accepts and reads streams until one fails; gives back why.
pub(crate) async fn run(shared: Arc<Shared>, connection: quinn::Connection) -> String {
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => drop(readers.spawn(read(Arc::clone(&shared), stream))),
                Err(error) => return super::dial::describe(&error),
            },
            Some(ended) = readers.join_next() => {
                if let Ok(Err(reason)) = ended {
                    return reason;
                }
            }
        }
    }
}

/// Reads one stream to its end.
async fn read(shared: Arc<Shared>, mut stream: quinn::RecvStream) -> Result<(), String> {
    let body_bytes_max = usize::try_from(shared.welcome().body_bytes_max).unwrap_or(usize::MAX);
    let limit = body_bytes_max.saturating_add(EVENT_OVERHEAD_BYTES_MAX).min(u32::MAX as usize);
    let mut reader = Reader {
        shared,
        topics: EventStreamReader::default(),
        batches: Vec::new(),
        numbers: HashMap::new(),
        last: 0,
        kind: None,
    };
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return Ok(()),
            Ok(0) => return Err("the broker ended an event stream inside a frame".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        while let Some(block) = frame::take_whole(&mut buffer, limit).map_err(|error| error.to_string())? {
            reader.on_block(&block)?;
        }
    }
}

struct Batch {
    number: u32,
    queue: Option<Arc<Queue>>,
    items: Vec<Item>,
    bytes: usize,
}

struct Reader {
    shared: Arc<Shared>,
    topics: EventStreamReader<Arc<str>>,
    batches: Vec<Batch>,
    /// Channel number → place in `batches`.
    numbers: HashMap<u32, usize>,
    last: usize,
    /// What the stream carries; `None` until its first frame says so.
    kind: Option<u8>,
}

impl Reader {
    fn on_block(&mut self, block: &Bytes) -> Result<(), String> {
        for range in frame::frames(block) {
            self.on_frame(block, range).map_err(|error| format!("the broker sent a bad frame: {error}"))?;
        }
        self.numbers.clear();
        for batch in self.batches.drain(..) {
            let Some(queue) = batch.queue else { continue };
            let mut items = batch.items;
            if batch.bytes < SHARE_BYTES_MIN {
                copy_out(&mut items, batch.bytes);
            }
            queue.push(items).map_err(|_| credit_exceeded())?;
        }
        Ok(())
    }

    fn on_frame(&mut self, block: &Bytes, range: Range<usize>) -> Result<(), WireError> {
        let start = range.start;
        let decoded = StreamFrame::decode(&block[range])?;
        if !may_stand(&decoded, self.kind) {
            let reason = format!("not expected here: {decoded:?}").chars().take(200).collect();
            return Err(WireError::Malformed { what: "event stream", reason });
        }
        match decoded {
            StreamFrame::Event(header, body) => {
                self.on_event(&header, block.slice(start + body.start..start + body.end))
            }
            StreamFrame::Topic(alias) => self.topics.on_topic(alias.alias, Arc::from(alias.topic)),
            StreamFrame::Publisher(alias) => self.topics.on_publisher(&alias),
            StreamFrame::Clock(base_ms) => {
                self.topics.on_clock(base_ms);
                Ok(())
            }
            StreamFrame::Gap(gap) => {
                self.batch(gap.channel).items.push(Item::Gap(gap.into()));
                Ok(())
            }
            StreamFrame::Open(open) => {
                self.kind = Some(open.kind);
                Ok(())
            }
            // `may_stand` lets nothing else through.
            StreamFrame::Publish(..) | StreamFrame::Skip(_) | StreamFrame::Hole(_) => Ok(()),
        }
    }

    fn on_event(&mut self, header: &EventHeader, body: Bytes) -> Result<(), WireError> {
        let event = self.topics.resolve(header)?;
        let (topic, origin) = (Arc::clone(event.topic), event.origin);
        let (sequence, accepted_at_ms) = (event.sequence, event.accepted_at_ms);
        let batch = self.batch(header.channel);
        let Some(queue) = &batch.queue else { return Ok(()) }; // of a subscription that is closed
        let payload = payload_range(&body)?;
        batch.bytes += body.len();
        let queue = queue.is_durable().then(|| Arc::clone(queue));
        batch.items.push(Item::Delivery(Delivery {
            topic,
            origin,
            sequence,
            accepted_at_ms,
            ttl_ms: header.ttl_ms,
            mailbox_sequence: header.mailbox_sequence,
            attempt: header.attempt.unwrap_or(1),
            class: header.class,
            body,
            payload,
            queue,
            mailbox_life: 0,
        }));
        Ok(())
    }

    /// The batch of a channel in this block.
    fn batch(&mut self, number: u32) -> &mut Batch {
        if self.batches.get(self.last).is_none_or(|batch| batch.number != number) {
            self.last = match self.numbers.get(&number) {
                Some(&index) => index,
                None => {
                    let queue = self.shared.queue(number);
                    self.batches.push(Batch { number, queue, items: Vec::new(), bytes: 0 });
                    let index = self.batches.len() - 1;
                    self.numbers.insert(number, index);
                    index
                }
            };
        }
        &mut self.batches[self.last]
    }
}

/// Whether a broker may send a frame to a client on a stream of this kind (PROTOCOL.md 5.2, 5.4).
fn may_stand(frame: &StreamFrame<'_>, kind: Option<u8>) -> bool {
    match (frame, kind) {
        (StreamFrame::Open(open), None) => matches!(open.kind, STREAM_DURABLE | STREAM_LIVE),
        (StreamFrame::Topic(_) | StreamFrame::Publisher(_) | StreamFrame::Clock(_), Some(_)) => true,
        (StreamFrame::Event(header, _), Some(kind)) => {
            header.mailbox_sequence.is_some() == (kind == STREAM_DURABLE)
        }
        (StreamFrame::Gap(_), Some(kind)) => kind == STREAM_LIVE,
        _ => false,
    }
}

/// Where the payload is in a body; checks the body.
fn payload_range(body: &Bytes) -> Result<Range<u32>, WireError> {
    let view = BodyView::parse(body)?;
    if view.payload.is_empty() {
        return Ok(0..0);
    }
    let start = view.payload.as_ptr().addr() - body.as_ptr().addr();
    Ok(start as u32..(start + view.payload.len()) as u32)
}

/// Moves the bodies of a batch into memory of their own: one allocation.
fn copy_out(items: &mut [Item], bytes: usize) {
    let mut copy = BytesMut::with_capacity(bytes);
    for item in items.iter_mut() {
        if let Item::Delivery(delivery) = item {
            copy.extend_from_slice(&delivery.body);
        }
    }
    let mut copy = copy.freeze();
    for item in items.iter_mut() {
        if let Item::Delivery(delivery) = item {
            delivery.body = copy.split_to(delivery.body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hexadecimal digits of every vector of a broker's streams: of `file`, those that `wanted` picks.
    fn streams(file: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> Vec<(String, Vec<u8>)> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors").join(file);
        let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let all = json["vectors"].as_array().unwrap().clone();
        let picked = all.into_iter().filter(|vector| vector["stream"] != "control" && wanted(vector));
        let digits = |text: &str| {
            text.as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect()
        };
        picked.map(|one| (one["name"].to_string(), digits(one["hex"].as_str().unwrap()))).collect()
    }

    /// Whether every frame of a stream may stand where it does.
    fn stands(stream: &[u8]) -> bool {
        let mut kind = None;
        frame::frames(stream).all(|range| {
            let frame = StreamFrame::decode(&stream[range]).unwrap();
            let stands = may_stand(&frame, kind);
            if let StreamFrame::Open(open) = frame {
                kind = Some(open.kind);
            }
            stands
        })
    }

    #[test]
    fn what_a_broker_may_not_send_to_a_client_is_refused_and_all_else_taken() {
        let bad = streams("violations.json", |one| one["sender"] == "broker" && one["found_by"] == "place");
        assert!(bad.len() >= 4);
        for (name, stream) in bad {
            assert!(!stands(&stream), "{name}");
        }
        let good = streams("streams.json", |one| one["link"] == false && one["stream"] != "publish");
        assert!(good.len() >= 5);
        for (name, stream) in good {
            assert!(stands(&stream), "{name}");
        }
    }
}
