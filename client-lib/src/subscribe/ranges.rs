//! A set of numbers as inclusive ranges.
//!
//! Invariant: ranges neither overlap nor touch, so that a set that grows in order is one range.

use std::collections::BTreeMap;

/// The set: start → end, both inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// How many numbers are in it. O(ranges).
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start + 1).sum()
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, &end)| end >= number)
    }

    /// Adds a number; false if it was there. O(log ranges), less at the end.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if let Some(mut last) = self.ranges.last_entry()
            && *last.get() < number
        {
            if *last.get() + 1 == number {
                *last.get_mut() = number;
            } else {
                self.ranges.insert(number, number);
            }
            return true;
        }
        if self.contains(number) {
            return false;
        }
        self.insert_range(number, number);
        true
    }

    /// Adds all numbers of a range.
    pub(crate) fn insert_range(&mut self, start: u64, end: u64) {
        if start > end {
            return;
        }
        let (mut start, mut end) = (start, end);
        let touching: Vec<u64> = self
            .ranges
            .range(..=end.saturating_add(1))
            .rev()
            .take_while(|(_, other_end)| other_end.saturating_add(1) >= start)
            .map(|(&other, _)| other)
            .collect();
        for other in touching {
            if let Some(other_end) = self.ranges.remove(&other) {
                start = start.min(other);
                end = end.max(other_end);
            }
        }
        self.ranges.insert(start, end);
    }

    /// Takes all numbers of a range out.
    pub(crate) fn remove_range(&mut self, start: u64, end: u64) {
        if start > end {
            return;
        }
        let touching: Vec<(u64, u64)> = self
            .ranges
            .range(..=end)
            .rev()
            .take_while(|(_, other_end)| **other_end >= start)
            .map(|(&start, &end)| (start, end))
            .collect();
        for (other, other_end) in touching {
            self.ranges.remove(&other);
            if other < start {
                self.ranges.insert(other, start - 1);
            }
            if other_end > end {
                self.ranges.insert(end + 1, other_end);
            }
        }
    }

    /// Whether no number is in both. O(ranges of self × log).
    pub(crate) fn is_disjoint(&self, other: &RangeSet) -> bool {
        self.iter().all(|(start, end)| {
            other.ranges.range(..=end).next_back().is_none_or(|(_, &other_end)| other_end < start)
        })
    }

    /// The ranges in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(&start, &end)| (start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_range_set_is_a_set(ops in proptest::collection::vec((0u8..3, 0u64..40, 0u64..8), 0..60)) {
            let (mut ranges, mut oracle) = (RangeSet::default(), BTreeSet::new());
            for (op, start, len) in ops {
                match op {
                    0 => prop_assert_eq!(ranges.insert(start), oracle.insert(start)),
                    1 => { ranges.insert_range(start, start + len); oracle.extend(start..=start + len); }
                    _ => { ranges.remove_range(start, start + len); oracle.retain(|n| !(start..=start + len).contains(n)); }
                }
                let spread: Vec<u64> = ranges.iter().flat_map(|(start, end)| start..=end).collect();
                prop_assert_eq!(&spread, &oracle.iter().copied().collect::<Vec<_>>());
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0));
                prop_assert_eq!(ranges.len() as usize, oracle.len());
                let mut probe = RangeSet::default();
                probe.insert_range(start, start + len);
                prop_assert_eq!(probe.is_disjoint(&ranges), oracle.range(start..=start + len).next().is_none());
            }
        }
    }
}
