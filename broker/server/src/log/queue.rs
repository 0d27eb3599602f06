//! The way to the log writer: bounded in bytes, first in, first out.
//!
//! Invariants: a request waits for room before it is queued, never after; room comes back when
//! its batch is complete, so what is queued and what is being flushed share one bound; after the
//! writer has ended every request is answered with an error.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::request::{Command, LogError, LogRequest, Output};

/// Bytes that may be queued or in flight.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Why nothing is taken during a shutdown.
const SHUTTING_DOWN: &str = "the broker is shutting down";
/// Bytes per permit.
const PERMIT_BYTES: usize = 1024;

/// See the module.
pub(crate) struct LogQueue {
    state: Mutex<State>,
    filled: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct State {
    requests: VecDeque<(LogRequest, usize)>,
    /// Set once, with the reason.
    ended: Option<String>,
    stopping: bool,
}

/// What the writer got.
pub(crate) enum Taken {
    /// Requests, none after a while without any, and the permits to give back.
    Requests(Vec<LogRequest>, usize),
    /// Everything is done and the broker shuts down.
    Stop,
}

impl LogQueue {
    pub(crate) fn new() -> Self {
        LogQueue {
            state: Mutex::default(),
            filled: Condvar::new(),
            room: Semaphore::new(QUEUE_BYTES_MAX / PERMIT_BYTES),
        }
    }

    /// Queues a request that holds about `bytes`. Waits while the queue is full.
    ///
    /// # Errors
    /// [`LogError::Stopped`].
    pub(crate) async fn submit(&self, request: LogRequest, bytes: usize) -> Result<(), LogError> {
        let permits = (bytes / PERMIT_BYTES + 1).min(QUEUE_BYTES_MAX / PERMIT_BYTES);
        match self.room.acquire_many(permits as u32).await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.stopped()),
        }
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.stopping || state.ended.is_some() {
                let reason = state.ended.as_deref().unwrap_or(SHUTTING_DOWN).to_owned();
                drop(state);
                self.room.add_permits(permits);
                return Err(LogError::Stopped(reason));
            }
            state.requests.push_back((request, permits));
        }
        self.filled.notify_one();
        Ok(())
    }

    /// Carries out a command; the answer comes after its flush.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) async fn command(&self, command: Command) -> Result<Output, LogError> {
        let (reply, answer) = oneshot::channel();
        self.submit(LogRequest::Command { command, reply }, 256).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Has a command carried out at some time; whether it was makes no difference.
    pub(crate) async fn tell(&self, command: Command) {
        let (reply, _) = oneshot::channel();
        let _ = self.submit(LogRequest::Command { command, reply }, 64).await;
    }

    fn stopped(&self) -> LogError {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        LogError::Stopped(state.ended.clone().unwrap_or_else(|| SHUTTING_DOWN.into()))
    }

    /// Asks the writer to end once the queue is empty.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.filled.notify_one();
    }

    /// For the writer: waits for requests, so long at most, and takes those that hold up to
    /// `bytes_max` together.
    pub(crate) fn take(&self, bytes_max: usize, patience: Duration) -> Taken {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |state: &mut State| state.requests.is_empty() && !state.stopping;
        let waited = self.filled.wait_timeout_while(state, patience, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.requests.is_empty() && state.stopping {
            return Taken::Stop;
        }
        let (mut out, mut permits) = (Vec::new(), 0);
        while let Some((_, next)) = state.requests.front()
            && (out.is_empty() || (permits + next) * PERMIT_BYTES <= bytes_max)
        {
            if let Some((request, taken)) = state.requests.pop_front() {
                out.push(request);
                permits += taken;
            }
        }
        Taken::Requests(out, permits)
    }

    /// For the writer: requests are complete.
    pub(crate) fn give_back(&self, permits: usize) {
        self.room.add_permits(permits);
    }

    /// For the writer: nothing will be taken any more.
    pub(crate) fn end(&self, reason: String) {
        let rest = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended.get_or_insert(reason);
            std::mem::take(&mut state.requests)
        };
        self.room.close();
        drop(rest);
    }
}
