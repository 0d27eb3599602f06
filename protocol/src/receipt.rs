//! Receipts as runs: collecting them at the broker, spreading them at the client (PROTOCOL.md 5.6).
//!
//! Invariant: what [`each`] gives back is what was pushed, whatever the order of pushes; one
//! frame covers contiguous sequences only.

use crate::code::Code;
use crate::control::{Exception, Receipts};

/// Bytes of refusals in one frame: far below the limit of a control frame.
const EXCEPTION_BYTES_MAX: usize = 64 * 1024;
/// Runs in one frame, likewise.
const RUNS_MAX: usize = 4096;
/// Sequences in one run: [`RUNS_MAX`] runs of so many are [`RECEIPTS_MAX`].
const RUN_MAX: u64 = 4096;

/// Most sequences that one frame may stand for (PROTOCOL.md 3.3).
pub const RECEIPTS_MAX: u128 = 1 << 24;

/// How many sequences a frame stands for: what [`each`] gives, where they exist. O(runs).
pub fn count(receipts: &Receipts) -> u128 {
    receipts.runs.iter().map(|run| u128::from(run.1)).sum()
}

/// Collects receipts of one channel and class into as few frames as possible.
#[derive(Debug, Default)]
pub struct ReceiptRuns {
    frames: Vec<Receipts>,
    /// Of the last frame.
    exception_bytes: usize,
}

impl ReceiptRuns {
    /// Adds the receipt of one sequence. Amortised O(1).
    pub fn push(&mut self, channel: u32, best_effort: bool, sequence: u64, code: Code, destinations: u64) {
        let code = code.number();
        if let Some(frame) = self.frames.last_mut()
            && (frame.channel, frame.best_effort) == (channel, best_effort)
            && frame.through.checked_add(1) == Some(sequence)
        {
            let same = |run: &(u16, u64, u64)| (run.0, run.2) == (code, destinations) && run.1 < RUN_MAX;
            let repeats = frame.runs.last().is_some_and(same);
            if repeats || frame.runs.len() < RUNS_MAX {
                frame.through = sequence;
                match frame.runs.last_mut() {
                    Some(run) if repeats => run.1 += 1,
                    _ => frame.runs.push((code, 1, destinations)),
                }
                return;
            }
        }
        self.exception_bytes = 0;
        self.frames.push(Receipts {
            channel,
            best_effort,
            through: sequence,
            runs: vec![(code, 1, destinations)],
            exceptions: Vec::new(),
        });
    }

    /// Adds a refusal with its reason.
    pub fn push_refusal(&mut self, channel: u32, best_effort: bool, exception: Exception) {
        let code = Code::from_number(exception.code).unwrap_or(Code::Internal);
        let bytes = exception.reason.len() + 32;
        if self.exception_bytes + bytes > EXCEPTION_BYTES_MAX {
            let (through, runs) = (exception.sequence, vec![(code.number(), 1, 0)]);
            self.frames.push(Receipts { channel, best_effort, through, runs, exceptions: Vec::new() });
            self.exception_bytes = 0;
        } else {
            self.push(channel, best_effort, exception.sequence, code, 0);
        }
        self.exception_bytes += bytes;
        if let Some(frame) = self.frames.last_mut() {
            frame.exceptions.push(exception);
        }
    }

    /// The frames, emptying the collection.
    pub fn drain(&mut self) -> Vec<Receipts> {
        self.exception_bytes = 0;
        std::mem::take(&mut self.frames)
    }

    /// Whether nothing was pushed since the last drain.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// Every (sequence, code number, destinations) of a frame, ascending. A frame whose runs
/// cover more sequences than exist below `through` gives those that exist.
pub fn each(receipts: &Receipts) -> impl Iterator<Item = (u64, u16, u64)> + '_ {
    // One bit more than a sequence has: `end` lies behind the last one.
    let end = u128::from(receipts.through) + 1;
    let mut next = end.saturating_sub(count(receipts));
    receipts.runs.iter().flat_map(move |&(code, count, destinations)| {
        let first = next;
        next = (next + u128::from(count)).min(end);
        (first..next).map(move |sequence| (sequence as u64, code, destinations))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CONTROL_FRAME_BYTES_MAX;
    use crate::control::Control;

    #[test]
    fn many_refusals_and_many_runs_never_exceed_a_control_frame() {
        let mut runs = ReceiptRuns::default();
        for sequence in 1..=20_000 {
            let reason = format!("blocked by {}", sequence % 7).repeat(3);
            runs.push_refusal(1, false, Exception { sequence, code: 425, reason, retry_ms: None });
        }
        for sequence in 20_001..=60_000 {
            runs.push(1, false, sequence, Code::Durable, sequence % 2);
        }
        let frames = runs.drain();
        for frame in &frames {
            let mut out = Vec::new();
            Control::from(frame.clone()).encode(&mut out);
            assert!(out.len() <= CONTROL_FRAME_BYTES_MAX, "{} bytes", out.len());
        }
        let all: Vec<u64> = frames.iter().flat_map(each).map(|(sequence, ..)| sequence).collect();
        assert_eq!(all, (1..=60_000).collect::<Vec<_>>());
        assert_eq!(frames.iter().map(|frame| frame.exceptions.len()).sum::<usize>(), 20_000);
    }

    #[test]
    fn the_last_sequence_of_all_is_followed_by_none() {
        let mut runs = ReceiptRuns::default();
        for sequence in [u64::MAX - 1, u64::MAX, 0, 1] {
            runs.push(1, false, sequence, Code::Blocked, 0);
        }
        let frames = runs.drain();
        let all: Vec<_> = frames.iter().flat_map(each).map(|(sequence, ..)| sequence).collect();
        assert_eq!(all, [u64::MAX - 1, u64::MAX, 0, 1]);
    }

    #[test]
    fn a_frame_stands_for_no_more_than_a_receiver_takes() {
        assert_eq!(RUNS_MAX as u128 * u128::from(RUN_MAX), RECEIPTS_MAX);
        let mut runs = ReceiptRuns::default();
        for sequence in 1..=RUN_MAX + 1 {
            runs.push(1, false, sequence, Code::Durable, 0);
        }
        let frames = runs.drain();
        assert_eq!(frames[0].runs, [(200, RUN_MAX, 0), (200, 1, 0)]);
        assert_eq!(count(&frames[0]), u128::from(RUN_MAX) + 1);
    }

    #[test]
    fn runs_spread_to_what_was_pushed() {
        let mut runs = ReceiptRuns::default();
        for sequence in 5..8 {
            runs.push(1, false, sequence, Code::Durable, 2);
        }
        runs.push(1, false, 8, Code::Durable, 3);
        let exception = Exception { sequence: 9, code: 400, reason: "bad".into(), retry_ms: None };
        runs.push_refusal(1, false, exception);
        runs.push(1, false, 20, Code::Duplicate, 0);
        let frames = runs.drain();
        assert_eq!(frames.len(), 2);
        let all: Vec<_> = frames.iter().flat_map(each).collect();
        let expected = vec![(5, 200, 2), (6, 200, 2), (7, 200, 2), (8, 200, 3), (9, 400, 0), (20, 208, 0)];
        assert_eq!(all, expected);
        assert_eq!(frames[0].exceptions[0].sequence, 9);
    }
}
