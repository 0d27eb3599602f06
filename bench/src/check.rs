//! Did every copy come, once, in order?
//!
//! Invariant: each copy is counted in exactly one way: in its turn, late (out of order), again
//! (duplicate), or foreign. What was sent and did not come is lost. Memory grows with the number of
//! holes, not of events.

use std::collections::BTreeMap;

use serde::Serialize;

/// What one subscriber saw, publisher by publisher.
#[derive(Debug)]
pub struct Checker {
    publishers: Vec<Seen>,
    duplicates: u64,
    out_of_order: u64,
    received: u64,
}

#[derive(Debug, Default)]
struct Seen {
    /// The highest number that came; what is missing below it is in `holes`.
    through: u64,
    /// First and last number of each run that is missing below.
    holes: BTreeMap<u64, u64>,
}

impl Checker {
    /// For so many publishers.
    pub fn new(publishers: usize) -> Self {
        Checker {
            publishers: (0..publishers).map(|_| Seen::default()).collect(),
            duplicates: 0,
            out_of_order: 0,
            received: 0,
        }
    }

    /// Takes a copy; false if there is no such publisher or number. O(log holes).
    pub fn take(&mut self, publisher: usize, number: u64) -> bool {
        let Some(seen) = self.publishers.get_mut(publisher).filter(|_| number > 0) else { return false };
        self.received += 1;
        if number > seen.through {
            if number > seen.through + 1 {
                seen.holes.insert(seen.through + 1, number - 1);
            }
            seen.through = number;
        } else if seen.fill(number) {
            self.out_of_order += 1;
        } else {
            self.duplicates += 1;
        }
        true
    }

    /// The highest number of a publisher that came; below it some may be missing, dropped or late.
    pub fn through(&self, publisher: usize) -> u64 {
        self.publishers.get(publisher).map_or(0, |seen| seen.through)
    }

    /// How many of what was sent have not come; `sent` has the last number of each publisher. O(holes).
    pub fn missing(&self, sent: &[u64]) -> u64 {
        self.publishers.iter().zip(sent).map(|(seen, sent)| seen.missing(*sent)).sum()
    }

    /// The result, when it is known what was sent.
    pub fn finish(&self, sent: &[u64]) -> Check {
        Check {
            expected: sent.iter().sum(),
            received: self.received,
            lost: self.missing(sent),
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
            told_missing: 0,
        }
    }
}

impl Seen {
    /// Whether a number was missing; it is not any more.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&first, &last)) = self.holes.range(..=number).next_back() else { return false };
        if last < number {
            return false;
        }
        self.holes.remove(&first);
        if first < number {
            self.holes.insert(first, number - 1);
        }
        if number < last {
            self.holes.insert(number + 1, last);
        }
        true
    }

    fn missing(&self, sent: u64) -> u64 {
        let holes: u64 = self.holes.iter().map(|(first, last)| last - first + 1).sum();
        holes + sent.saturating_sub(self.through)
    }
}

/// What the subscribers of a run saw, warm-up included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Copies that were to come.
    pub expected: u64,
    /// Copies that came.
    pub received: u64,
    /// Copies that did not come.
    pub lost: u64,
    /// Copies that came again.
    pub duplicates: u64,
    /// Copies that came after later ones of the same publisher.
    pub out_of_order: u64,
    /// Copies that the broker said, in-band, it dropped.
    pub told_missing: u64,
}

impl Check {
    /// Whether nothing was lost, nothing came twice, and order held.
    pub fn holds(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.out_of_order == 0
    }

    /// Adds what another subscriber saw.
    pub fn add(&mut self, other: &Check) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.told_missing += other.told_missing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lost, duplicates, out of order.
    fn check(copies: &[(usize, u64)], sent: &[u64]) -> (u64, u64, u64) {
        let mut checker = Checker::new(sent.len());
        for &(publisher, number) in copies {
            assert!(checker.take(publisher, number));
        }
        let check = checker.finish(sent);
        assert_eq!(check.received, copies.len() as u64);
        assert_eq!(check.expected - check.lost, check.received - check.duplicates);
        assert_eq!(check.holds(), (check.lost, check.duplicates, check.out_of_order) == (0, 0, 0));
        (check.lost, check.duplicates, check.out_of_order)
    }

    #[test]
    fn all_in_order_holds() {
        assert_eq!(check(&[(0, 1), (1, 1), (0, 2), (1, 2), (1, 3)], &[2, 3]), (0, 0, 0));
        assert_eq!(check(&[], &[0, 0]), (0, 0, 0));
    }

    #[test]
    fn what_is_lost_is_found_at_the_front_in_the_middle_and_at_the_end() {
        assert_eq!(check(&[(0, 2), (0, 3)], &[3]), (1, 0, 0));
        assert_eq!(check(&[(0, 1), (0, 5)], &[5]), (3, 0, 0));
        assert_eq!(check(&[(0, 1)], &[4]), (3, 0, 0));
        assert_eq!(check(&[(0, 1)], &[1, 7]), (7, 0, 0));
    }

    #[test]
    fn what_comes_again_or_late_is_found() {
        assert_eq!(check(&[(0, 1), (0, 1), (0, 2)], &[2]), (0, 1, 0));
        assert_eq!(check(&[(0, 2), (0, 1), (0, 3)], &[3]), (0, 0, 1));
        assert_eq!(check(&[(0, 6), (0, 3), (0, 3), (0, 1)], &[6]), (3, 1, 2));
    }

    #[test]
    fn what_nobody_sent_is_refused() {
        let mut checker = Checker::new(1);
        assert!(!checker.take(1, 1) && !checker.take(0, 0));
    }

    #[test]
    fn any_order_of_copies_is_counted_as_a_plain_set_counts_it() {
        // A linear congruence walks over 1..=97 in a mixed order, with every ninth number left out
        // and every fifth given twice.
        let mut checker = Checker::new(1);
        let (mut seen, mut again) = (std::collections::BTreeSet::new(), 0);
        for step in 0..97u64 {
            let number = step * 41 % 97 + 1;
            for _ in 0..if number % 9 == 0 {
                0
            } else if number % 5 == 0 {
                2
            } else {
                1
            } {
                checker.take(0, number);
                again += u64::from(!seen.insert(number));
            }
        }
        let check = checker.finish(&[97]);
        assert_eq!((check.lost, check.duplicates), (97 - seen.len() as u64, again));
        assert!(check.out_of_order > 0);
    }
}
