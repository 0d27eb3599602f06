//! The clock of the open loop.
//!
//! A thread of its own sleeps from beat to beat, since the runtime's timers are a millisecond
//! coarse, which would be read as latency of the broker.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::BenchError;

/// Shortest time between two beats; events that are due within it are sent together.
const BEAT_MIN: Duration = Duration::from_micros(50);

/// Beats from `began` on, one per due event where that is not too often, until all receivers are gone.
pub(crate) fn beats(began: Instant, rate: f64) -> Result<watch::Receiver<u64>, BenchError> {
    let (sender, receiver) = watch::channel(0);
    let step = Duration::from_secs_f64(1.0 / rate).max(BEAT_MIN);
    let beat = move || {
        let mut next = began;
        for count in 1.. {
            next = (next + step).max(Instant::now());
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if sender.send(count).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("bench-pace".into()).spawn(beat);
    thread.map_err(|error| BenchError::Internal(format!("cannot start a thread: {error}")))?;
    Ok(receiver)
}

/// When each event of one publisher is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Of this publisher alone.
    interval_us: f64,
    first_us: f64,
}

impl Schedule {
    /// Publishers take turns at `rate` events a second, all together.
    pub(crate) fn new(rate: f64, publisher: usize, publishers: usize) -> Self {
        let between_us = 1e6 / rate;
        Schedule { interval_us: between_us * publishers as f64, first_us: between_us * publisher as f64 }
    }

    /// When the event of a number, from 1, is due, in microseconds since the run began.
    pub(crate) fn due_us(&self, number: u64) -> u64 {
        (self.first_us + self.interval_us * number.saturating_sub(1) as f64) as u64
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

    #[tokio::test]
    async fn beats_go_on_until_nobody_listens() {
        let mut beats = beats(Instant::now(), 1e4).unwrap();
        assert!(beats.wait_for(|count| *count >= 3).await.is_ok());
    }
}
