//! Limits of the store as a whole: its events and its age.

use fanal_core::limits::Reason;

use super::*;

fn events(limit: u64, give_way_percent: u64) -> config::Limits {
    config::Limits { store_events: Some(limit), give_way_percent, ..config::Limits::default() }
}

impl Scene {
    fn count(&self, mailbox: &Mailbox) -> u64 {
        self.reader.mailbox(store_id(mailbox.id)).unwrap().events
    }

    fn letters(&self) -> u64 {
        let letters = self.writer.home.dead_letters().and_then(|id| self.reader.mailbox(store_id(id)));
        letters.map_or(0, |stats| stats.events)
    }

    fn refused(&self) -> u64 {
        self.value("fanal_publish_refused_total{code=\"507\"}")
    }

    fn dropped_of(&self, class: &str, reason: &str) -> u64 {
        self.value(&format!("fanal_events_dropped_total{{class=\"{class}\",reason=\"{reason}\"}}"))
    }

    fn look(&mut self) {
        for _ in 0..3 {
            self.writer.look_around();
            self.settle();
        }
    }
}

#[test]
fn from_nine_tenths_of_the_events_on_the_fullest_mailbox_gives_way_and_nobody_is_refused() {
    let mut scene = Scene::with(events(100, 90));
    let (large, small) = (scene.subscribe("large"), scene.subscribe("small"));
    (0..10).for_each(|_| scene.post(&[&small], 9_000));
    for _ in 0..300 {
        scene.post(&[&large], 1);
        let all = scene.count(&large) + scene.count(&small) + scene.letters();
        assert!(all <= 91, "{all}");
    }
    assert_eq!(scene.count(&small), 10, "though its events are larger");
    assert!(scene.count(&large) > 0);
    assert_eq!(scene.refused(), 0);
    assert_eq!(scene.ledger(), (310, 310));
    let lost = scene.writer.home.losses(large.id);
    assert!(lost.dead_lettered[Reason::Store.index()] > 0);
    assert!(scene.dropped_of("dead_letters", "store") > 0, "dead letters go first");
}

#[test]
fn a_batch_above_the_limit_of_events_is_stored_and_then_the_oldest_gives_way() {
    let mut scene = Scene::with(events(100, 90));
    let orders = scene.subscribe("orders");
    let requests = (0..500).map(|_| scene.publish(&[&orders])).collect();
    scene.writer.process(requests);
    scene.settle();
    assert_eq!(scene.refused(), 0);
    assert!((80..=90).contains(&(scene.count(&orders) + scene.letters())), "{}", scene.count(&orders));
    assert_eq!(scene.ledger(), (500, 500));
}

#[test]
fn where_nothing_gives_way_publishers_are_refused_at_the_limit_of_events_and_not_before() {
    let mut scene = Scene::with(events(10, 100));
    let (orders, bills) = (scene.subscribe("orders"), scene.subscribe("bills"));
    // An event for two mailboxes counts as two: the sixth is too many, wherever in a batch it stands.
    let requests = (0..5).map(|_| scene.publish(&[&orders, &bills])).collect();
    scene.writer.process(requests);
    assert_eq!((scene.refused(), scene.count(&orders)), (0, 5));
    scene.post(&[&orders], 1);
    assert_eq!((scene.refused(), scene.count(&orders)), (1, 5));
    // It left no trace; what was acked makes room at once, and what is for nobody needs none.
    scene.sequence -= 1;
    scene.writer.process(vec![done(&bills, (1, 1), DoneReason::Acked)]);
    let requests = (0..2).map(|_| scene.publish(&[&orders])).collect();
    scene.writer.process(requests);
    assert_eq!((scene.refused(), scene.count(&orders), scene.count(&bills)), (2, 6, 4));
    scene.sequence -= 1;
    scene.post(&[], 1);
    assert_eq!(scene.refused(), 2);
    assert_eq!(scene.ledger(), (11, 11));
}

#[test]
fn where_a_rule_refuses_for_what_fills_the_store_nothing_gives_way_and_the_limit_holds() {
    let rules = vec![config::RuleConfig { name: "audit".into(), topic: "#".into() }];
    let mut scene = Scene::ruled(SimulatedDisk::new(), events(10, 90), rules);
    let orders = scene.subscribe("orders");
    (0..10).for_each(|_| scene.post(&[&orders], 1));
    assert_eq!((scene.refused(), scene.count(&orders)), (0, 10));
    scene.post(&[&orders], 1);
    assert_eq!((scene.refused(), scene.count(&orders), scene.letters()), (1, 10, 0));
}

#[test]
fn what_is_too_old_for_the_store_is_dropped_wherever_it_waits() {
    let limits = config::Limits { store_age_ms: Some(60_000), ..config::Limits::default() };
    let mut scene = Scene::with(limits);
    let full = KeepPatch { events: Some(1), ..KeepPatch::default() };
    let aged = KeepPatch { age_ms: Some(30_000), ..KeepPatch::default() };
    let (orders, bills) = (scene.subscribe("orders"), scene.subscribe("bills"));
    let (one, young) = (scene.subscribe_with("one", full), scene.subscribe_with("young", aged));
    let now = scene.writer.clock.now();
    for ago in [70_000, 61_000, 59_000] {
        scene.accepted_at = now - ago;
        scene.post(&[&orders], 1);
    }
    // To the dead letters for lack of room: the first of these is too old there as well, and behind it
    // comes one of another mailbox that is.
    for ago in [65_000, 100] {
        scene.accepted_at = now - ago;
        scene.post(&[&one], 1);
    }
    scene.accepted_at = now - 100;
    scene.post(&[&one, &bills], 1);
    assert_eq!(scene.letters(), 2);
    // Too old for its mailbox only.
    scene.accepted_at = now - 40_000;
    scene.post(&[&young], 1);
    scene.look();
    assert_eq!((scene.count(&orders), scene.count(&bills), scene.count(&one)), (1, 1, 1));
    assert_eq!((scene.count(&young), scene.letters()), (0, 2));
    assert_eq!(scene.dropped_of("durable", "age"), 2, "they do not go to the dead letters");
    assert_eq!(scene.dropped_of("dead_letters", "age"), 1);
    assert_eq!(scene.writer.home.losses(young.id).dead_lettered, [0, 1, 0]);
    assert_eq!(scene.ledger(), (8, 8));
}

#[test]
fn dead_letters_behind_younger_ones_go_when_they_are_too_old_for_the_store() {
    let limits = config::Limits { store_age_ms: Some(60_000), ..config::Limits::default() };
    let mut scene = Scene::with(limits);
    let full = KeepPatch { events: Some(1), ..KeepPatch::default() };
    let (first, second) = (scene.subscribe_with("first", full), scene.subscribe_with("second", full));
    let now = scene.writer.clock.now();
    let post = |scene: &mut Scene, to: &Arc<Mailbox>, ago: u64| {
        scene.accepted_at = now - ago;
        scene.post(&[to], 1);
    };
    (0..4).for_each(|_| post(&mut scene, &first, 100));
    (0..3).for_each(|_| post(&mut scene, &second, 90_000));
    (0..3).for_each(|_| post(&mut scene, &second, 100));
    assert_eq!(scene.letters(), 8);
    scene.look();
    assert_eq!((scene.letters(), scene.dropped_of("dead_letters", "age")), (5, 3));
    // What was known of them goes, and nothing else.
    let known: u64 = scene.writer.home.letters().map(|(first, letters)| letters.last - first + 1).sum();
    assert_eq!(known, 5);
    assert_eq!(scene.ledger(), (10, 10));
}
