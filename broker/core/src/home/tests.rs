use proptest::prelude::*;

use super::*;
use crate::event::Millis;
use crate::limits::Reason;

fn home() -> Home {
    Home::new(StoreId([1; 16]), 0)
}

fn principal(name: &str) -> Principal {
    Principal { name: name.into(), authority: Fingerprint([2; 32]) }
}

fn subscription(name: &str, filter: &str) -> Wanted {
    let ask = Ask { filter: filter.into(), ..Ask::default() };
    Wanted { principal: principal("p"), name: name.into(), ask, keep: KeepPatch::default() }
}

fn with_events(events: Option<u64>) -> KeepPatch {
    KeepPatch { events, ..KeepPatch::default() }
}

fn sender(store: u8) -> Sender {
    Sender { peer: principal("peer"), store: StoreId([store; 16]), recovery_epoch: 0 }
}

/// Everything that can be asked of a home, as text.
fn picture(home: &Home) -> String {
    format!(
        "{:?}",
        (
            home.epoch_next,
            home.mailbox_next,
            &home.publishers,
            &home.tails,
            &home.subscriptions,
            &home.peers,
            &home.received,
            (home.dead_letters, &home.letters, &home.losses, home.time),
        )
    )
}

#[test]
fn resuming_needs_the_same_filter_and_a_refusal_leaves_no_trace() {
    let mut home = home();
    let (id, resumed) = home.put_subscription(subscription("s", "a/#")).unwrap();
    assert!(!resumed);
    home.commit();
    assert_eq!(home.put_subscription(subscription("s", "a/#")), Ok((id, true)));
    let before = picture(&home);
    let refusal = home.put_subscription(subscription("s", "b/#")).unwrap_err();
    assert!(refusal.to_string().contains("subscriptions update s"), "{refusal}");
    assert!(home.remove_subscription(&principal("other"), "s").is_err());
    assert_eq!(picture(&home), before);
    assert!(home.drain_effects().is_empty());
}

#[test]
fn resuming_needs_the_same_limits_where_any_are_said() {
    let mut home = home();
    let wanted = |events| Wanted { keep: with_events(events), ..subscription("s", "a/#") };
    let (id, _) = home.put_subscription(wanted(Some(5))).unwrap();
    home.commit();
    assert_eq!(home.keep(id).limits.events, Some(5));
    assert_eq!(home.put_subscription(wanted(None)), Ok((id, true)));
    assert_eq!(home.put_subscription(wanted(Some(5))), Ok((id, true)));
    for other in [Some(6), Some(0)] {
        let refusal = home.put_subscription(wanted(other)).unwrap_err();
        assert!(refusal.to_string().contains("--max-events 5"), "{refusal}");
    }
    home.update_subscription(wanted(Some(0))).unwrap();
    assert_eq!(home.keep(id), Keep::default());
}

/// A home with one durable subscription and a mailbox for dead letters.
fn with_dead_letters() -> (Home, MailboxId) {
    let mut home = home();
    let (id, _) = home.put_subscription(subscription("s", "a/#")).unwrap();
    home.ensure_dead_letters();
    (home, id)
}

fn full(events: u64, now: Millis) -> Burial {
    Burial { events, reason: Reason::Full, attempts: 0, now, span_ms: 100 }
}

fn ranges(home: &Home) -> Vec<(u64, u64)> {
    home.letters().map(|(first, letters)| (first, letters.last)).collect()
}

#[test]
fn letters_of_one_cause_in_a_row_are_one_range_for_a_while() {
    let (mut home, id) = with_dead_letters();
    let to = home.dead_letters().unwrap();
    assert_eq!(home.bury(id, full(3, 1_000)), Some((to, 1)));
    assert_eq!(home.bury(id, full(2, 1_100)), Some((to, 4)));
    assert_eq!(ranges(&home), [(1, 5)]);
    home.bury(id, full(1, 1_101));
    home.bury(id, Burial { reason: Reason::Age, ..full(1, 1_101) });
    home.bury(id, Burial { reason: Reason::Age, attempts: 1, ..full(1, 1_101) });
    assert_eq!(ranges(&home), [(1, 5), (6, 6), (7, 7), (8, 8)]);
    assert_eq!((home.tail(to), home.losses(id).dead_lettered), (Some(9), [6, 2, 0]));
    home.forget_letters(3, 6);
    assert_eq!(ranges(&home), [(1, 2), (7, 7), (8, 8)]);
    home.forget_letters(2, 7);
    assert_eq!(ranges(&home), [(1, 1), (8, 8)]);
}

#[test]
fn requeued_letters_follow_what_is_in_the_mailbox_and_need_one() {
    let (mut home, id) = with_dead_letters();
    for _ in 0..4 {
        home.enqueue(id);
    }
    home.bury(id, full(4, 0));
    let wanted = Selection { numbers: vec![(2, 3)], ..Selection::default() };
    let requeued = home.requeue(&wanted).unwrap();
    assert_eq!(requeued, [Requeued { range: (2, 3), to: id, first: 5 }]);
    assert_eq!((home.tail(id), ranges(&home)), (Some(7), vec![(1, 1), (4, 4)]));
    home.remove_subscription(&principal("p"), "s").unwrap();
    assert_eq!(ranges(&home), [(1, 1), (4, 4)], "they outlive their subscription");
    let before = picture(&home);
    assert!(matches!(home.requeue(&Selection::default()), Err(HomeRefusal::NoSubscription { .. })));
    assert_eq!(picture(&home), before);
    let (other, _) = home.put_subscription(subscription("s", "b")).unwrap();
    assert_eq!(home.requeue(&Selection::default()).unwrap()[1].to, other, "one of the same name takes them");
}

#[test]
fn numbers_that_overlap_or_stand_in_any_order_mean_each_letter_once() {
    let (mut home, id) = with_dead_letters();
    for _ in 0..9 {
        home.enqueue(id);
    }
    home.bury(id, full(9, 0));
    let numbers = vec![(7, 99), (2, 4), (3, 5), (8, 8), (9, 1), (6, 6)];
    let wanted = Selection { numbers, ..Selection::default() };
    let chosen: Vec<_> = home.select(&wanted).into_iter().map(|(range, _)| range).collect();
    assert_eq!(chosen, [2..=9]);
    assert_eq!(home.requeue(&wanted).unwrap(), [Requeued { range: (2, 9), to: id, first: 10 }]);
    assert_eq!((home.tail(id), ranges(&home)), (Some(18), vec![(1, 1)]));
    let none = Selection { numbers: vec![(9, 1)], ..Selection::default() };
    assert_eq!(home.select(&none), []);
}

#[test]
fn letters_are_chosen_by_destination_owner_and_reason() {
    let (mut home, id) = with_dead_letters();
    let peer = home.ensure_peer("jfk", Fingerprint([3; 32]));
    home.bury(id, full(2, 0));
    home.bury(peer, full(3, 0));
    home.bury(peer, Burial { reason: Reason::Store, ..full(1, 0) });
    let count = |wanted: Selection| {
        home.select(&wanted).iter().map(|(range, _)| range.end() - range.start() + 1).sum::<u64>()
    };
    let all = Selection::default();
    assert_eq!(count(all.clone()), 6);
    assert_eq!(count(Selection { owner: Some(principal("p")), ..all.clone() }), 2);
    assert_eq!(count(Selection { owner: Some(principal("q")), ..all.clone() }), 0);
    let jfk = Destination::Peer(Principal { name: "jfk".into(), authority: Fingerprint([3; 32]) });
    let of_jfk = Selection { destination: Some(jfk), ..all.clone() };
    assert_eq!(count(of_jfk.clone()), 4);
    assert_eq!(count(Selection { reason: Some(Reason::Store), ..of_jfk }), 1);
    assert_eq!(count(Selection { numbers: vec![(2, 3), (6, 99)], ..all }), 3);
}

#[test]
fn an_unknown_epoch_is_gone_and_never_a_duplicate() {
    let mut home = home();
    let epoch = home.open_epoch(&principal("p"));
    home.commit();
    assert_eq!(home.publish(epoch, 1), Verdict::Accept);
    home.commit();
    for other in [
        Epoch { recovery_epoch: 1, ..epoch },
        Epoch { counter: 99, ..epoch },
        Epoch { store: StoreId([9; 16]), ..epoch },
    ] {
        assert_eq!(home.publish(other, 1), Verdict::UnknownEpoch);
        assert!(home.resume_epoch(&principal("p"), other).is_err());
    }
    assert!(home.resume_epoch(&principal("q"), epoch).is_err(), "somebody else's epoch");
    assert_eq!(home.resume_epoch(&principal("p"), epoch), Ok(2));
}

#[test]
fn a_link_mark_moves_without_gaps_only() {
    let mut home = home();
    let store = sender(5);
    assert_eq!(home.receive(&store, 1), Verdict::Accept);
    assert_eq!(home.receive(&store, 3), Verdict::Blocked { by: 2 });
    assert!(!home.receive_hole(&store, 3, 4));
    assert!(home.receive_hole(&store, 2, 4));
    assert_eq!(home.receive(&store, 5), Verdict::Accept);
    assert_eq!(home.receive(&store, 5), Verdict::Duplicate);
    let restored = Sender { recovery_epoch: 1, ..sender(5) };
    assert_eq!(home.receive(&restored, 1), Verdict::Accept, "another recovery epoch counts anew");
    let impostor = Sender { peer: principal("other"), ..sender(5) };
    assert_eq!(home.receive(&impostor, 1), Verdict::Accept, "another peer's claim moves no mark but its own");
    assert_eq!(home.received_through(&store), 5);
}

#[test]
fn ids_of_mailboxes_that_nothing_knows_are_not_given_out_again() {
    let lost = MailboxId(7);
    let mut home = Home::recover(StoreId([1; 16]), 0, &[], [(lost, 30)]).unwrap();
    assert_eq!(home.orphans(), [lost]);
    let (id, _) = home.put_subscription(subscription("s", "a/#")).unwrap();
    assert!(id > lost, "{id:?}");
}

#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    Close(u64),
    Publish(u64, u64),
    Skip(u64, u64, u64),
    Enqueue(u64),
    Put(u8, u8, Option<u64>),
    Update(u8, u8, Option<u64>),
    Remove(u8),
    Peer(u8),
    Interest(u64, u8, bool),
    Receive(u8, u64),
    Hole(u8, u64, u64),
    DeadLetters,
    Bury(u64, Burial),
    Forget(u64, u64),
    Dropped(u64, u64),
    Requeue(u8),
    Time(u64),
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(0u64..3)
}

fn burial() -> impl Strategy<Value = Burial> {
    (0u64..4, 0usize..3, 0u32..2, 0u64..9).prop_map(|(events, reason, attempts, now)| Burial {
        events,
        reason: Reason::ALL[reason],
        attempts,
        now,
        span_ms: 5,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3).prop_map(Step::Open),
        (1u64..5).prop_map(Step::Close),
        (1u64..5, 1u64..6).prop_map(|(epoch, sequence)| Step::Publish(epoch, sequence)),
        (1u64..5, 1u64..6, 0u64..2).prop_map(|(epoch, from, len)| Step::Skip(epoch, from, len)),
        (1u64..8).prop_map(Step::Enqueue),
        (0u8..4, 0u8..2, limit()).prop_map(|(name, filter, limit)| Step::Put(name, filter, limit)),
        (0u8..4, 0u8..2, limit()).prop_map(|(name, filter, limit)| Step::Update(name, filter, limit)),
        (0u8..4).prop_map(Step::Remove),
        (0u8..3).prop_map(Step::Peer),
        (1u64..8, 0u8..3, any::<bool>()).prop_map(|(peer, entry, add)| Step::Interest(peer, entry, add)),
        (0u8..2, 1u64..6).prop_map(|(store, sequence)| Step::Receive(store, sequence)),
        (0u8..2, 1u64..6, 0u64..3).prop_map(|(store, from, len)| Step::Hole(store, from, len)),
        Just(Step::DeadLetters),
        (1u64..8, burial()).prop_map(|(mailbox, burial)| Step::Bury(mailbox, burial)),
        (1u64..8, burial()).prop_map(|(mailbox, burial)| Step::Bury(mailbox, burial)),
        (1u64..12, 0u64..4).prop_map(|(first, len)| Step::Forget(first, len)),
        (1u64..8, 1u64..4).prop_map(|(mailbox, events)| Step::Dropped(mailbox, events)),
        (0u8..4).prop_map(Step::Requeue),
        (0u64..5).prop_map(|hours| Step::Time(hours * 3_600_000)),
    ]
}

fn take(home: &mut Home, step: Step) {
    let epoch = |counter| Epoch { store: StoreId([1; 16]), recovery_epoch: 0, counter };
    let filter = |n: u8| format!("f/{n}");
    match step {
        Step::Open(who) => drop(home.open_epoch(&principal(&format!("p{who}")))),
        Step::Close(counter) => home.close_epoch(epoch(counter)),
        Step::Publish(counter, sequence) => drop(home.publish(epoch(counter), sequence)),
        Step::Skip(counter, from, len) => home.skip(epoch(counter), from, from + len),
        Step::Enqueue(id) => drop(home.enqueue(MailboxId(id))),
        Step::Put(name, f, limit) => {
            let wanted = subscription(&name.to_string(), &filter(f));
            drop(home.put_subscription(Wanted { keep: with_events(limit), ..wanted }));
        }
        Step::Update(name, f, limit) => {
            let wanted = subscription(&name.to_string(), &filter(f));
            drop(home.update_subscription(Wanted { keep: with_events(limit), ..wanted }));
        }
        Step::Remove(name) => drop(home.remove_subscription(&principal("p"), &name.to_string())),
        Step::Peer(name) => drop(home.ensure_peer(&format!("b{name}"), Fingerprint([3; 32]))),
        Step::Interest(id, n, add) => {
            let entry = InterestEntry { id: 7, class: 1, filter: filter(n), ..Default::default() };
            let (add, remove) = if add { (vec![entry], vec![]) } else { (vec![], vec![entry]) };
            home.change_interest(MailboxId(id), add, remove);
        }
        Step::Receive(store, sequence) => drop(home.receive(&sender(store), sequence)),
        Step::Hole(store, from, len) => drop(home.receive_hole(&sender(store), from, from + len)),
        Step::DeadLetters => drop(home.ensure_dead_letters()),
        Step::Bury(mailbox, burial) => drop(home.bury(MailboxId(mailbox), burial)),
        Step::Forget(first, len) => home.forget_letters(first, first + len),
        Step::Dropped(mailbox, events) if home.tail(MailboxId(mailbox)).is_some() => {
            home.count_dropped(MailboxId(mailbox), events, Reason::Full);
        }
        Step::Dropped(..) => {}
        Step::Time(now) => home.note_time(now),
        Step::Requeue(name) => {
            let destination = Destination::Subscription { principal: principal("p"), name: name.to_string() };
            let wanted = Selection { destination: Some(destination), ..Selection::default() };
            drop(home.requeue(&wanted));
        }
    }
}

proptest! {
    /// Records of committed batches rebuild the home; rolled-back batches leave no trace; a
    /// snapshot rebuilds it too.
    #[test]
    fn replaying_what_was_committed_gives_the_same_home(
        batches in prop::collection::vec((prop::collection::vec(step(), 1..8), any::<bool>()), 1..40)
    ) {
        let mut home = home();
        let mut log = Vec::new();
        for (steps, commits) in batches {
            let before = picture(&home);
            for step in steps {
                take(&mut home, step);
            }
            let effects = home.drain_effects();
            if commits {
                log.extend(effects.into_iter().filter_map(|effect| match effect {
                    Effect::State(record) => Some(record),
                    _ => None,
                }));
                home.commit();
            } else {
                home.rollback();
                prop_assert_eq!(picture(&home), before);
            }
        }
        let tails = || home.tails.iter().map(|(id, tail)| (*id, *tail)).collect::<Vec<_>>();
        let replayed = Home::recover(home.store, 0, &log, tails()).unwrap();
        let restored = Home::recover(home.store, 0, &home.snapshot(), tails()).unwrap();
        // Numbers given out and lost again may be given out again only if nobody was told.
        prop_assert_eq!(picture(&restored), picture(&home));
        prop_assert_eq!(replayed.snapshot()[1..].to_vec(), home.snapshot()[1..].to_vec());
    }
}
