//! The index stays right however long subscriptions come and go: workloads of the benchmarks, the
//! oracle of the benchmarks.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::VecDeque;

use fanal_bench::matching::{Event, Family, oracle};
use fanal_matching::{EntryId, Index, Selector};

const HELD: usize = 3_000;
const PASSING: usize = 600;
const ROUNDS: usize = 12;
/// How many of those that pass are there at a time.
const AT_A_TIME: usize = 8;

/// Lets all of `passing` come and go, a few at a time.
fn pass(index: &Index<u32>, passing: &[Selector]) {
    let mut present: VecDeque<EntryId> = VecDeque::new();
    for selector in passing {
        present.push_back(index.insert(selector.clone(), u32::MAX));
        if present.len() > AT_A_TIME {
            index.remove(present.pop_front().unwrap()).unwrap();
        }
    }
    for entry in present {
        index.remove(entry).unwrap();
    }
}

fn found(index: &Index<u32>, event: &Event) -> Vec<u32> {
    let mut ids = Vec::new();
    index.visit(&mut index.route(&event.topic), event, |_, id| ids.push(*id));
    ids.sort_unstable();
    ids
}

fn check(family: Family) {
    let (index, mut subscriptions) = (Index::new(), family.subscriptions(5));
    for id in 0..HELD as u32 {
        index.insert(subscriptions.next().unwrap(), id);
    }
    let passing: Vec<Selector> = subscriptions.take(PASSING).collect();
    (0..ROUNDS).for_each(|_| pass(&index, &passing));
    let events: Vec<Event> = family.events(5).take(50).collect();
    for (event, right) in events.iter().zip(oracle::answers(family, 5, HELD as u32, &events)) {
        assert_eq!(found(&index, event), right, "family {family}, {event:?}");
    }
    assert_eq!(index.len(), HELD);
}

#[test]
fn subscriptions_of_family_a_come_and_go() {
    check(Family::A);
}

#[test]
fn subscriptions_of_families_b_and_c_come_and_go() {
    check(Family::B);
    check(Family::C);
}

#[test]
fn subscriptions_of_families_d_and_e_come_and_go() {
    check(Family::D);
    check(Family::E);
}

#[test]
fn subscriptions_of_family_f_come_and_go() {
    check(Family::F);
}
