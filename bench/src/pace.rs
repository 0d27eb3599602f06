//! The clock of the open loop.
//!
//! A thread of its own sleeps from event to event, since the runtime's timers are a millisecond
//! coarse, which would be read as latency of the broker.
//!
//! Invariants:
//! 1. One thread for all publishers of a run; a beat wakes those whose events are due, no others.
//! 2. After an event is due its publisher is woken; thread and publisher reckon from the same begin
//!    with [`due_us`], so that neither takes an event for due that the other does not.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::BenchError;

/// Shortest time between two beats; events that are due within it are sent together.
const BEAT_MIN: Duration = Duration::from_micros(50);
/// Longest time between two looks at whether the run is still there.
const BEAT_MAX: Duration = Duration::from_secs(1);

/// Wakes publishers when their events are due. The thread ends soon after the clock is dropped.
#[derive(Debug)]
pub(crate) struct Clock {
    /// By publisher.
    due: Arc<[Notify]>,
}

impl Clock {
    /// For events that publishers send in turns from `began` on, `rate` a second, all together.
    pub(crate) fn start(began: Instant, rate: f64, publishers: usize) -> Result<Self, BenchError> {
        let due: Arc<[Notify]> = (0..publishers).map(|_| Notify::new()).collect();
        let listening = Arc::downgrade(&due);
        let thread = std::thread::Builder::new().name("bench-pace".into());
        let started = thread.spawn(move || beat(began, rate, &listening));
        started.map_err(|error| BenchError::Internal(format!("cannot start a thread: {error}")))?;
        Ok(Clock { due })
    }

    /// Waits until an event of this publisher has become due since the last call, or a little earlier:
    /// look at the time again. Cancel-safe.
    pub(crate) async fn beat(&self, publisher: usize) {
        self.due[publisher].notified().await;
    }
}

/// Until the clock is gone.
fn beat(began: Instant, rate: f64, listening: &Weak<[Notify]>) {
    let mut next = 0;
    while let Some(due) = listening.upgrade() {
        let now_us = began.elapsed().as_micros() as u64;
        next = wake(&due, next, |event| due_us(rate, event) <= now_us);
        drop(due);
        let ahead = Duration::from_micros(due_us(rate, next).saturating_sub(now_us));
        std::thread::sleep(ahead.clamp(BEAT_MIN, BEAT_MAX));
    }
}

/// Wakes whose turn it is, from event `next` on, each publisher once at most; gives the first event
/// that is not due. O(events due).
fn wake(publishers: &[Notify], next: u64, is_due: impl Fn(u64) -> bool) -> u64 {
    let mut event = next;
    while is_due(event) {
        if event - next < publishers.len() as u64 {
            publishers[(event % publishers.len() as u64) as usize].notify_one();
        }
        event += 1;
    }
    event
}

/// When an event is due, counted from 0 over all publishers, in microseconds since the run began.
fn due_us(rate: f64, event: u64) -> u64 {
    (event as f64 * 1e6 / rate) as u64
}

/// When each event of one publisher is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    rate: f64,
    publisher: u64,
    publishers: u64,
}

impl Schedule {
    /// Publishers take turns at `rate` events a second, all together.
    pub(crate) fn new(rate: f64, publisher: usize, publishers: usize) -> Self {
        Schedule { rate, publisher: publisher as u64, publishers: publishers as u64 }
    }

    /// When the event of a number, from 1, is due, in microseconds since the run began.
    pub(crate) fn due_us(&self, number: u64) -> u64 {
        due_us(self.rate, number.saturating_sub(1) * self.publishers + self.publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns_evenly() {
        let due = |publisher, number| Schedule::new(1000.0, publisher, 4).due_us(number);
        assert_eq!([due(0, 1), due(1, 1), due(3, 1), due(0, 2), due(3, 2)], [0, 1000, 3000, 4000, 7000]);
        assert_eq!(Schedule::new(3.0, 0, 1).due_us(300_001), 100_000_000_000, "no drift");
    }

    /// Publishers that were woken.
    fn woken(publishers: &[Notify]) -> Vec<usize> {
        use futures::FutureExt;
        let is_woken = |at: &usize| publishers[*at].notified().now_or_never().is_some();
        (0..publishers.len()).filter(is_woken).collect()
    }

    #[test]
    fn a_beat_wakes_those_whose_events_are_due_and_no_others() {
        let publishers: Vec<Notify> = (0..3).map(|_| Notify::new()).collect();
        assert_eq!((wake(&publishers, 0, |_| false), woken(&publishers)), (0, vec![]));
        assert_eq!((wake(&publishers, 0, |event| event < 1), woken(&publishers)), (1, vec![0]));
        assert_eq!((wake(&publishers, 1, |event| event < 4), woken(&publishers)), (4, vec![0, 1, 2]));
        assert_eq!((wake(&publishers, 4, |event| event < 6), woken(&publishers)), (6, vec![1, 2]));
        assert_eq!((wake(&publishers, 6, |event| event < 100), woken(&publishers)), (100, vec![0, 1, 2]));
    }

    #[tokio::test]
    async fn one_thread_beats_for_all_publishers() {
        let began = Instant::now();
        let clock = Clock::start(began, 3000.0, 3).unwrap();
        for number in 1..=20 {
            for publisher in 0..3 {
                let due = Duration::from_micros(Schedule::new(3000.0, publisher, 3).due_us(number));
                while began.elapsed() < due {
                    clock.beat(publisher).await;
                }
            }
        }
    }

    #[test]
    fn the_thread_ends_when_nobody_listens() {
        let listening = Arc::downgrade(&Arc::<[Notify]>::from([]));
        beat(Instant::now(), 1e4, &listening);
    }
}
