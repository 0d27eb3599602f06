//! Walking a log segment by segment and telling what is intact, damaged, unproven or void.
//!
//! No IO: it is given the bytes. Rules (ARCHITECTURE.md, The store and recovery):
//! 1. A broken place before an intact batch whose durable mark covers it, or before the end that the
//!    next segment states, is damage; the walk goes on behind it.
//! 2. A broken place with nothing intact behind it, in the last segment, is the end of the log;
//!    traces of a batch there are unproven.
//! 3. Intact batches from the mark on are the tail, to be written anew.

use crate::format::{BatchView, Salt, Traces, extent, find_traces, read_batch};
use crate::id::Position;

/// A broken region within the flushed part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) segment: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) batches: u64,
}

/// Traces beyond the end of the log, in the last segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unproven {
    pub(crate) segment: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// One segment to walk.
pub(crate) struct Stretch<'a> {
    pub(crate) segment: u64,
    pub(crate) salt: Salt,
    /// The bytes from offset `start` on.
    pub(crate) bytes: &'a [u8],
    pub(crate) start: u64,
    /// Where the next segment says that this one ends.
    pub(crate) limit: Option<u64>,
    pub(crate) is_last: bool,
    pub(crate) segment_bytes: u64,
}

/// Takes intact batches in order.
pub(crate) trait Sink {
    type Error;
    fn on_batch(&mut self, batch: &BatchView<'_>) -> Result<(), Self::Error>;
    /// A broken region between batches, before what comes behind it.
    fn on_damage(&mut self, _damage: &Damage, _on: &Stretch<'_>) {}
    /// What lies beyond the end of the log.
    fn on_unproven(&mut self, _unproven: &Unproven, _on: &Stretch<'_>) {}
}

/// An intact batch from the mark on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TailBatch {
    pub(crate) position: Position,
    pub(crate) chain: u32,
    pub(crate) number: u64,
}

/// The state of a walk.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    next_number: Option<u64>,
    chain: Option<u32>,
    /// All before it was proven durable.
    mark: Position,
    pub(crate) batches: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) unproven: Option<Unproven>,
    pub(crate) tail: Vec<TailBatch>,
    /// End of the last segment walked.
    pub(crate) end: Position,
}

enum Step {
    GoOn(u64),
    End(u64),
}

impl Walk {
    /// Number that the next batch has; 1 when none was seen.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.unwrap_or(1)
    }

    /// What the next batch's `chain` shows; 0 when no batch was seen.
    pub(crate) fn chain(&self) -> u32 {
        self.chain.unwrap_or(0)
    }

    /// States what the next batch shows, after the tail was written anew.
    pub(crate) fn go_on(&mut self, number: u64, chain: u32) {
        self.next_number = Some(number);
        self.chain = Some(chain);
    }

    /// Notes what a segment header proves: everything before `mark`, and the number that comes next.
    pub(crate) fn enter(&mut self, mark: Position, first: Option<(u64, u32)>) {
        self.mark = self.mark.max(mark);
        self.tail.retain(|batch| batch.position >= self.mark);
        let Some((number, chain)) = first else {
            return;
        };
        self.note_lost(number);
        self.next_number = self.next_number.max(Some(number));
        self.chain = Some(chain);
    }

    /// Adds damage that is not in the bytes of a segment: a file that is missing or unusable.
    pub(crate) fn lose(&mut self, damage: Damage) {
        self.chain = None;
        self.damage.push(damage);
    }

    fn note_lost(&mut self, number: u64) {
        let lost = self.next_number.map_or(0, |expected| number.saturating_sub(expected));
        if lost > 0
            && let Some(last) = self.damage.last_mut()
            && last.batches == 0
        {
            last.batches = lost;
        }
    }

    /// Walks one segment, giving every intact batch to `sink`.
    pub(crate) fn stretch<S: Sink>(&mut self, on: &Stretch<'_>, sink: &mut S) -> Result<(), S::Error> {
        let mut at = on.start;
        let end = loop {
            if on.limit == Some(at) {
                break at;
            }
            let step = match self.intact(on, at) {
                Some(batch) => {
                    self.accept(&batch, on, at);
                    sink.on_batch(&batch)?;
                    Step::GoOn(at + batch.bytes as u64)
                }
                None => {
                    let known = self.damage.len();
                    let step = self.on_broken(on, at);
                    self.damage[known..].iter().for_each(|damage| sink.on_damage(damage, on));
                    step
                }
            };
            match step {
                Step::GoOn(next) => at = next,
                Step::End(end) => break end,
            }
        };
        self.end = Position::new(on.segment, end, on.segment_bytes);
        if let Some(unproven) = self.unproven.filter(|unproven| unproven.segment == on.segment) {
            sink.on_unproven(&unproven, on);
        }
        Ok(())
    }

    fn intact<'a>(&self, on: &Stretch<'a>, at: u64) -> Option<BatchView<'a>> {
        let batch = view(on, at)?;
        let number = batch.header.number;
        self.next_number.is_none_or(|expected| number >= expected).then_some(batch)
    }

    fn accept(&mut self, batch: &BatchView<'_>, on: &Stretch<'_>, at: u64) {
        let header = &batch.header;
        if self.chain.is_some_and(|chain| chain != header.chain) {
            // The batch is intact and kept; what came before it is not what it followed.
            self.damaged(on, at, at);
        }
        self.note_lost(header.number);
        self.mark = self.mark.max(header.durable_end);
        self.tail.push(TailBatch { position: header.position, chain: header.chain, number: header.number });
        self.tail.retain(|batch| batch.position >= self.mark);
        self.batches += 1;
        self.next_number = Some(header.number + 1);
        self.chain = Some(batch.checksum);
    }

    fn on_broken(&mut self, on: &Stretch<'_>, at: u64) -> Step {
        let rest = rest(on, at);
        let traces = find_traces(rest, &on.salt);
        let here = Position::new(on.segment, at, on.segment_bytes);
        let later = traces.headers.iter().filter(|&&header| header > 0).find_map(|&header| {
            let batch = self.intact(on, at + header as u64)?;
            let proves = !on.is_last || batch.header.durable_end > here;
            proves.then_some(at + header as u64)
        });
        if let Some(next) = later {
            self.damaged(on, at, next);
            return Step::GoOn(next);
        }
        let traced = traced_end(on, at, rest, &traces);
        match (on.is_last, on.limit, traced) {
            (false, Some(limit), _) if limit > at => {
                self.damaged(on, at, limit);
                Step::End(limit)
            }
            (false, None, Some(end)) => {
                self.damaged(on, at, end);
                Step::End(end)
            }
            (true, _, Some(end)) => {
                self.unproven = Some(Unproven { segment: on.segment, from: at, to: end });
                Step::End(at)
            }
            _ => Step::End(at),
        }
    }

    fn damaged(&mut self, on: &Stretch<'_>, from: u64, to: u64) {
        self.chain = None;
        self.damage.push(Damage { segment: on.segment, from, to, batches: 0 });
    }
}

/// Where what was written from `at` on ends: the last trace of a batch, or what the headers claim if
/// that is more.
fn traced_end(on: &Stretch<'_>, at: u64, rest: &[u8], traces: &Traces) -> Option<u64> {
    let claimed = traces.headers.iter().map(|&header| {
        let position = Position::new(on.segment, at + header as u64, on.segment_bytes);
        header + extent(&rest[header..], position, &on.salt)
    });
    traces.end.map(|end| at + claimed.fold(end, usize::max) as u64)
}

fn rest<'a>(on: &Stretch<'a>, at: u64) -> &'a [u8] {
    let from = ((at - on.start) as usize).min(on.bytes.len());
    let to = on
        .limit
        .map_or(on.bytes.len(), |limit| (limit.saturating_sub(on.start) as usize).min(on.bytes.len()));
    &on.bytes[from..to.max(from)]
}

fn view<'a>(on: &Stretch<'a>, at: u64) -> Option<BatchView<'a>> {
    let position = Position::new(on.segment, at, on.segment_bytes);
    read_batch(rest(on, at), position, &on.salt)
}
