use proptest::prelude::*;

use super::*;

fn home() -> Home {
    Home::new(StoreId([1; 16]), 0)
}

fn principal(name: &str) -> Principal {
    Principal { name: name.into(), authority: Fingerprint([2; 32]) }
}

fn subscription(name: &str, filter: &str) -> Subscription {
    let ask = Ask { filter: filter.into(), ..Ask::default() };
    Subscription { principal: principal("p"), name: name.into(), ask }
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
            &home.by_name,
            &home.peers,
            &home.received
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
    Put(u8, u8),
    Update(u8, u8),
    Remove(u8),
    Peer(u8),
    Interest(u64, u8, bool),
    Receive(u8, u64),
    Hole(u8, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3).prop_map(Step::Open),
        (1u64..5).prop_map(Step::Close),
        (1u64..5, 1u64..6).prop_map(|(epoch, sequence)| Step::Publish(epoch, sequence)),
        (1u64..5, 1u64..6, 0u64..2).prop_map(|(epoch, from, len)| Step::Skip(epoch, from, len)),
        (1u64..8).prop_map(Step::Enqueue),
        (0u8..4, 0u8..2).prop_map(|(name, filter)| Step::Put(name, filter)),
        (0u8..4, 0u8..2).prop_map(|(name, filter)| Step::Update(name, filter)),
        (0u8..4).prop_map(Step::Remove),
        (0u8..3).prop_map(Step::Peer),
        (1u64..8, 0u8..3, any::<bool>()).prop_map(|(peer, entry, add)| Step::Interest(peer, entry, add)),
        (0u8..2, 1u64..6).prop_map(|(store, sequence)| Step::Receive(store, sequence)),
        (0u8..2, 1u64..6, 0u64..3).prop_map(|(store, from, len)| Step::Hole(store, from, len)),
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
        Step::Put(name, f) => drop(home.put_subscription(subscription(&name.to_string(), &filter(f)))),
        Step::Update(name, f) => drop(home.update_subscription(subscription(&name.to_string(), &filter(f)))),
        Step::Remove(name) => drop(home.remove_subscription(&principal("p"), &name.to_string())),
        Step::Peer(name) => drop(home.ensure_peer(&format!("b{name}"), Fingerprint([3; 32]))),
        Step::Interest(id, n, add) => {
            let entry = InterestEntry { id: 7, class: 1, filter: filter(n), ..Default::default() };
            let (add, remove) = if add { (vec![entry], vec![]) } else { (vec![], vec![entry]) };
            home.change_interest(MailboxId(id), add, remove);
        }
        Step::Receive(store, sequence) => drop(home.receive(&sender(store), sequence)),
        Step::Hole(store, from, len) => drop(home.receive_hole(&sender(store), from, from + len)),
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
