//! Control streams on both ends: frames in, frames out (PROTOCOL.md 3).
//!
//! Invariants: what is pushed into an [`Outbox`] goes out in order, many frames per write; an
//! outbox that the other side does not read is bounded, and past the bound the connection ends.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use fanal_protocol::{CONTROL_FRAME_BYTES_MAX, Code, Control, WireError, frame};
use quinn::{Connection, ReadError, ReadExactError, RecvStream, SendStream, VarInt};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

/// Bytes that may wait for a side that does not read its control stream.
const OUTBOX_BYTES_MAX: usize = 8 << 20;
/// Above this, whoever produces answers on request waits.
const OUTBOX_ROOM_BYTES: usize = 1 << 20;

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Ending {
    /// The other side went away, or the path did.
    #[error("{0}")]
    Gone(String),
    /// It is refused or broke the protocol: code and reason go into the close.
    #[error("{code}: {reason}")]
    Refused {
        /// The code.
        code: Code,
        /// What was wrong and what to do.
        reason: String,
    },
}

impl Ending {
    pub(crate) fn refused(code: Code, reason: impl Into<String>) -> Self {
        Ending::Refused { code, reason: reason.into() }
    }

    pub(crate) fn gone(reason: impl ToString) -> Self {
        Ending::Gone(reason.to_string())
    }

    /// A frame that may not stand where it stood.
    pub(crate) fn unexpected(frame: &Control, place: &str) -> Self {
        Ending::refused(Code::Malformed, format!("unexpected frame {} {place}", frame.name()))
    }
}

impl From<WireError> for Ending {
    fn from(error: WireError) -> Self {
        let code = match error {
            WireError::FrameTooLarge { .. } => Code::TooLarge,
            _ => Code::Malformed,
        };
        Ending::refused(code, error.to_string())
    }
}

impl From<ReadError> for Ending {
    fn from(error: ReadError) -> Self {
        Ending::gone(error)
    }
}

impl From<ReadExactError> for Ending {
    fn from(error: ReadExactError) -> Self {
        Ending::gone(error)
    }
}

impl From<quinn::WriteError> for Ending {
    fn from(error: quinn::WriteError) -> Self {
        Ending::gone(error)
    }
}

impl From<quinn::ConnectionError> for Ending {
    fn from(error: quinn::ConnectionError) -> Self {
        Ending::gone(error)
    }
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Self {
        Ending::gone(error)
    }
}

/// Closes a connection with what its ending says.
pub(crate) fn close(connection: &Connection, ending: &Ending) {
    match ending {
        Ending::Gone(reason) => connection.close(VarInt::from_u32(0), reason.as_bytes()),
        Ending::Refused { code, reason } => {
            let cut = reason.char_indices().map(|(at, _)| at).take_while(|at| *at <= 800).last().unwrap_or(0);
            let text = if reason.len() > 800 { &reason[..cut] } else { reason };
            connection.close(VarInt::from_u32(code.number().into()), text.as_bytes());
        }
    }
}

/// Frames that wait for the control stream's writer.
#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<OutboxState>,
    filled: Notify,
    room: Notify,
}

#[derive(Default)]
struct OutboxState {
    bytes: Vec<u8>,
    is_writing: bool,
    is_overfull: bool,
    /// The writer has ended: nothing goes out any more.
    is_closed: bool,
}

impl Outbox {
    /// Adds a frame. O(frame).
    pub(crate) fn push(&self, frame: impl Into<Control>) {
        let frame = frame.into();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_closed {
                return;
            }
            if state.bytes.len() > OUTBOX_BYTES_MAX {
                state.is_overfull = true;
                return;
            }
            frame.encode(&mut state.bytes);
        }
        self.filled.notify_one();
    }

    /// Waits until the other side has read enough for more answers.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.bytes.len() <= OUTBOX_ROOM_BYTES || state.is_closed {
                    return;
                }
            }
            room.await;
        }
    }

    /// Waits until everything that was pushed is with the transport.
    pub(crate) async fn wait_until_sent(&self) {
        loop {
            let room = self.room.notified();
            let is_sent = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.is_closed || (state.bytes.is_empty() && !state.is_writing)
            };
            if is_sent {
                return;
            }
            room.await;
        }
    }

    /// Writes what is pushed until the stream or the bound ends it.
    pub(crate) async fn write_to(self: Arc<Self>, stream: SendStream) -> Ending {
        // Whoever waits for room is let go, however this ends.
        let closing = Closing(Arc::clone(&self));
        let ending = self.try_write(stream).await;
        drop(closing);
        ending
    }

    async fn try_write(&self, mut stream: SendStream) -> Ending {
        loop {
            let (bytes, is_overfull) = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.is_writing = !state.bytes.is_empty();
                (std::mem::take(&mut state.bytes), state.is_overfull)
            };
            if is_overfull {
                let reason = "the control stream is not read: answers piled up beyond 8 MiB";
                return Ending::refused(Code::Quota, reason);
            }
            if bytes.is_empty() {
                self.filled.notified().await;
                continue;
            }
            if let Err(error) = stream.write_chunk(bytes.into()).await {
                return error.into();
            }
            self.state.lock().unwrap_or_else(PoisonError::into_inner).is_writing = false;
            self.room.notify_waiters();
        }
    }
}

struct Closing(Arc<Outbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.0.room.notify_waiters();
    }
}

/// Frames from a control stream.
pub(crate) struct ControlReader {
    stream: RecvStream,
    buffer: BytesMut,
    ready: std::collections::VecDeque<Control>,
}

impl ControlReader {
    pub(crate) fn new(stream: RecvStream) -> Self {
        ControlReader { stream, buffer: BytesMut::new(), ready: Default::default() }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Result<Control, Ending> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(frame);
            }
            if let Some(block) = frame::take_whole(&mut self.buffer, CONTROL_FRAME_BYTES_MAX)? {
                for range in frame::frames(&block) {
                    self.ready.push_back(Control::decode(&block[range])?);
                }
                continue;
            }
            self.buffer.reserve(4096);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Ending::gone("the control stream was closed"));
            }
        }
    }
}

/// Whole frames from an event stream, a block at a time.
pub(crate) struct BlockReader {
    stream: RecvStream,
    buffer: BytesMut,
    limit: usize,
}

/// Bytes asked of a stream at once.
const READ_BYTES: usize = 64 * 1024;

impl BlockReader {
    pub(crate) fn new(stream: RecvStream, limit: usize) -> Self {
        BlockReader { stream, buffer: BytesMut::new(), limit }
    }

    /// The next block of whole frames; `None`: the stream was finished between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, Ending> {
        loop {
            if let Some(block) = frame::take_whole(&mut self.buffer, self.limit)? {
                return Ok(Some(block));
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let reason =
                    format!("an event stream ended inside a frame, after {} bytes of it", self.buffer.len());
                return Err(Ending::refused(Code::Malformed, reason));
            }
        }
    }
}
