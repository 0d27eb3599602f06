//! The one task per connection that writes publish frames.
//!
//! It takes turns through the channels, encodes up to [`WRITE_BYTES`] per write, and sleeps when
//! nobody has anything to say. What it has taken from a window stays there until the receipt, so
//! that a connection lost in the middle of a write loses nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal_protocol::stream::PublishStreamWriter;

use super::channel::Channel;
use crate::shared::Shared;

/// Bytes per write, beyond which no further frame is added.
const WRITE_BYTES: usize = 64 * 1024;
/// A write below this lets the other tasks run once, so that the next one is larger.
const WRITE_BYTES_SMALL: usize = 16 * 1024;

/// Writes until the stream fails. Never returns otherwise.
pub(crate) async fn run(shared: Arc<Shared>, mut stream: quinn::SendStream) -> quinn::WriteError {
    let mut out = Vec::with_capacity(WRITE_BYTES + WRITE_BYTES_SMALL);
    let mut turns = Turns {
        shared: Arc::clone(&shared),
        aliases: PublishStreamWriter::open(&mut out),
        channels: Vec::new(),
        version: u64::MAX,
        scratch: Vec::with_capacity(64),
        start: 0,
    };
    loop {
        turns.encode(&mut out);
        if out.is_empty() {
            shared.publish_signal.doze();
            let wake_at_ms = turns.encode(&mut out);
            if out.is_empty() && shared.is_publish_ending() {
                return finish(&shared, stream).await;
            }
            if out.is_empty() {
                let limit = wake_at_ms.map(|at| at.saturating_sub(shared.now_ms()).max(1));
                shared.publish_signal.sleep(limit.map(Duration::from_millis)).await;
                continue;
            }
            shared.publish_signal.stay();
        }
        let is_small = out.len() < WRITE_BYTES_SMALL;
        // Copied at its size, so that a small write does not keep a large buffer in flight.
        let chunk = match is_small {
            true => Bytes::copy_from_slice(&out),
            false => {
                Bytes::from(std::mem::replace(&mut out, Vec::with_capacity(WRITE_BYTES + WRITE_BYTES_SMALL)))
            }
        };
        out.clear();
        if let Err(error) = stream.write_chunk(chunk).await {
            return error;
        }
        if is_small {
            tokio::task::yield_now().await;
        }
    }
}

/// Ends the stream, and waits until the connection does: what was written has to arrive first.
async fn finish(shared: &Shared, mut stream: quinn::SendStream) -> quinn::WriteError {
    let _ = stream.finish(); // fails only if it is finished already
    if stream.stopped().await.is_ok() {
        shared.on_published();
    }
    std::future::pending().await
}

struct Turns {
    shared: Arc<Shared>,
    aliases: PublishStreamWriter,
    channels: Vec<Arc<Channel>>,
    version: u64,
    scratch: Vec<u8>,
    start: usize,
}

impl Turns {
    /// One turn through the channels; the earliest time at which a channel wants another.
    fn encode(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        self.shared.refresh_publishers(&mut self.version, &mut self.channels);
        let now_ms = self.shared.now_ms();
        let count = self.channels.len();
        let mut wake_at_ms: Option<u64> = None;
        for offset in 0..count {
            let index = (self.start + offset) % count;
            let channel = &self.channels[index];
            let again_ms = channel.encode(now_ms, WRITE_BYTES, &mut self.aliases, &mut self.scratch, out);
            wake_at_ms = [wake_at_ms, again_ms].into_iter().flatten().min();
            if out.len() >= WRITE_BYTES {
                self.start = index + 1; // the next in line begins the next turn
                break;
            }
        }
        wake_at_ms
    }
}
