//! Time that a thread took: on the wall's clock, and of the processor.
//!
//! The processor's clock costs a system call, some 0.2 µs; [`Clock`] measures that cost once and
//! takes it off each time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far, in nanoseconds.
fn processor_now() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// What some work took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    /// On the wall's clock.
    pub(super) wall: Duration,
    /// Of the processor.
    pub(super) processor: Duration,
}

/// Measures work of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// What a measurement of nothing shows.
    overhead: i64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        let clock = Clock { overhead: 0 };
        let mut empty: Vec<i64> =
            (0..1_001).map(|_| clock.measure(|| ()).1.processor.as_nanos() as i64).collect();
        empty.sort_unstable();
        Clock { overhead: empty[500] }
    }

    /// Runs `work` and says what it took.
    pub(super) fn measure<R>(&self, work: impl FnOnce() -> R) -> (R, Took) {
        let processor = processor_now();
        let began = Instant::now();
        let result = work();
        let wall = began.elapsed();
        let nanos = (processor_now() - processor - self.overhead).max(0);
        (result, Took { wall, processor: Duration::from_nanos(nanos as u64) })
    }
}

/// Durations of one kind, to be summed up.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample that so many of a thousand do not exceed, in microseconds; 0 without samples.
    pub(super) fn per_mille(&mut self, share: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * share).div_ceil(1_000).saturating_sub(1);
        self.0.get(at).map_or(0.0, |sample| micros(*sample))
    }
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The middle of some figures; 0 without figures.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        (1..=200).rev().for_each(|micros| samples.push(Duration::from_micros(micros)));
        let shares = [0, 500, 990, 999, 1_000].map(|share| samples.per_mille(share));
        assert_eq!(shares, [1.0, 100.0, 198.0, 200.0, 200.0]);
        assert_eq!(Samples::default().per_mille(500), 0.0);
    }

    #[test]
    fn waiting_takes_no_processor_time() {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<()>(0);
        let (_, took) = Clock::new().measure(|| receiver.recv_timeout(Duration::from_millis(20)));
        assert!(took.wall >= Duration::from_millis(20) && took.processor < took.wall / 2, "{took:?}");
        drop(sender);
    }
}
