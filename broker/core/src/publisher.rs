//! What a home knows of one publish channel's epoch: which sequences it has accepted.
//!
//! Invariants (docs/GUARANTEES.md, Once):
//! 1. Accepted sequences are contiguous but for at most [`SKIPS_MAX`] skipped ranges.
//! 2. `Duplicate` is said only of a sequence that was accepted; below the floor nothing is known
//!    and the answer is `TooOld`.

use fanal_protocol::PublisherId;

/// Skipped ranges that are remembered per epoch.
pub(crate) const SKIPS_MAX: usize = 64;

/// What becomes of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: accepted.
    Accept,
    /// It was accepted before.
    Duplicate,
    /// Its publisher gave it up.
    Skipped,
    /// An earlier sequence was neither accepted nor skipped.
    Blocked {
        /// The earliest such sequence.
        by: u64,
    },
    /// Too long ago to tell.
    TooOld,
    /// The epoch is not known here.
    UnknownEpoch,
}

/// State of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publisher {
    pub(crate) id: PublisherId,
    pub(crate) next: u64,
    pub(crate) floor: u64,
    pub(crate) skips: Vec<(u64, u64)>,
    /// The day of the last use that is written down; 0: not known.
    pub(crate) used_day: u64,
}

impl Publisher {
    pub(crate) fn new(id: PublisherId) -> Self {
        Publisher { id, next: 1, floor: 1, skips: Vec::new(), used_day: 0 }
    }

    /// Judges a sequence; `Accept` moves on to the next. O(log skips).
    pub(crate) fn accept(&mut self, sequence: u64) -> Verdict {
        if sequence > self.next {
            return Verdict::Blocked { by: self.next };
        }
        if sequence == self.next && sequence < u64::MAX {
            self.next += 1;
            return Verdict::Accept;
        }
        if sequence < self.floor {
            return Verdict::TooOld;
        }
        let at = self.skips.partition_point(|(_, through)| *through < sequence);
        match self.skips.get(at) {
            Some((from, _)) if *from <= sequence => Verdict::Skipped,
            _ => Verdict::Duplicate,
        }
    }

    /// Gives up `from..=through`; the part that was accepted already stays accepted. A range that
    /// starts beyond the next sequence changes nothing: what lies before it is not given up.
    /// Returns whether anything changed.
    pub(crate) fn skip(&mut self, from: u64, through: u64) -> bool {
        if from > self.next || through < self.next || through == u64::MAX {
            return false;
        }
        match self.skips.last_mut() {
            Some(last) if last.1 + 1 == self.next => last.1 = through,
            _ => self.skips.push((self.next, through)),
        }
        self.next = through + 1;
        if self.skips.len() > SKIPS_MAX {
            let (_, oldest_through) = self.skips.remove(0);
            self.floor = oldest_through + 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refused_sequence_blocks_until_it_is_skipped() {
        let mut publisher = Publisher::new(PublisherId::default());
        assert_eq!(publisher.accept(1), Verdict::Accept);
        assert_eq!(publisher.accept(3), Verdict::Blocked { by: 2 });
        assert!(!publisher.skip(3, 3), "2 is not given up by skipping 3");
        assert!(publisher.skip(2, 2));
        assert_eq!(publisher.accept(3), Verdict::Accept);
        assert_eq!((publisher.accept(2), publisher.accept(1)), (Verdict::Skipped, Verdict::Duplicate));
    }

    proptest! {
        /// Against a plain set: duplicate is said only of what was accepted, and nothing is accepted twice.
        #[test]
        fn verdicts_agree_with_a_plain_set(steps in prop::collection::vec((0u64..200, 0u64..3, any::<bool>()), 1..400)) {
            let mut publisher = Publisher::new(PublisherId::default());
            let mut accepted = std::collections::BTreeSet::new();
            for (sequence, len, is_skip) in steps {
                if is_skip {
                    publisher.skip(sequence, sequence + len);
                    continue;
                }
                match publisher.accept(sequence) {
                    Verdict::Accept => prop_assert!(accepted.insert(sequence)),
                    Verdict::Duplicate => prop_assert!(accepted.contains(&sequence)),
                    Verdict::Skipped => prop_assert!(!accepted.contains(&sequence)),
                    Verdict::Blocked { by } => prop_assert!(by < sequence && !accepted.contains(&by)),
                    Verdict::TooOld => prop_assert!(sequence < publisher.floor),
                    Verdict::UnknownEpoch => prop_assert!(false),
                }
            }
        }
    }
}
