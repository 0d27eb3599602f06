//! The right answers: which subscriptions of a workload match which events.
//!
//! 1. Answers come from the generator's codes ([`Asked`](super::Asked)), by no code of the crate
//!    that is measured.
//! 2. Ids are places in the stream, ascending; those below n are the answer for n subscriptions.
//! 3. Subscriptions are drawn, asked and dropped one by one: a million need no memory.

use super::asked::Coded;
use super::event::Event;
use super::family::Family;

/// The ids of the first `subscriptions` of the family that match, for each of `events`.
///
/// `O(subscriptions × events)`, some 10 ns each.
pub fn answers(family: Family, seed: u64, subscriptions: u32, events: &[Event]) -> Vec<Vec<u32>> {
    let schema = family.schema();
    let coded: Vec<Coded> = events.iter().map(|event| Coded::new(&schema, event)).collect();
    let mut answers = vec![Vec::new(); events.len()];
    for (id, asked) in (0..subscriptions).zip(family.asked(seed)) {
        for (event, ids) in coded.iter().zip(&mut answers) {
            if asked.holds(event) {
                ids.push(id);
            }
        }
    }
    answers
}

/// The part of an answer that is for the first `subscriptions`.
pub fn first(answer: &[u32], subscriptions: u32) -> &[u32] {
    &answer[..answer.partition_point(|id| *id < subscriptions)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ways that share no code agree: codes here, text, parser and evaluator there.
    #[test]
    fn the_oracle_agrees_with_the_filters_that_are_written() {
        for family in Family::ALL {
            // Where little matches, more must be asked to see it.
            let (subscriptions, count) =
                if matches!(family, Family::B | Family::F) { (20_000, 100) } else { (2_000, 40) };
            let events: Vec<Event> = family.events(3).take(count).collect();
            let answers = answers(family, 3, subscriptions, &events);
            for (id, selector) in (0..subscriptions).zip(family.subscriptions(3)) {
                for (event, ids) in events.iter().zip(&answers) {
                    let expected = ids.binary_search(&id).is_ok();
                    assert_eq!(
                        selector.matches(&event.topic, event),
                        expected,
                        "{family} {id} {selector:?} {event:?}"
                    );
                }
            }
            assert!(answers.iter().any(|ids| !ids.is_empty()), "{family} is never wanted");
        }
    }
}
