//! What gives way when a mailbox is full, batch by batch.

use fanal_core::limits::Reason;
use fanal_store::MailboxSequence;

use super::*;
use crate::mailbox::Taken;

fn at_most(events: u64) -> KeepPatch {
    KeepPatch { events: Some(events), ..KeepPatch::default() }
}

fn bytes_of(bytes: u64) -> MailboxLimits {
    MailboxLimits { bytes: Some(bytes), ..MailboxLimits::default() }
}

impl Scene {
    fn sequences(&self, mailbox: MailboxId) -> Vec<u64> {
        let entries = self.reader.entries(store_id(mailbox), MailboxSequence(0), usize::MAX);
        entries.iter().map(|(sequence, _)| sequence.0).collect()
    }

    /// The publishers' sequences of the events in the dead letters' mailbox.
    fn dead(&self) -> Vec<u64> {
        let Some(letters) = self.writer.home.dead_letters() else { return Vec::new() };
        let entries = self.reader.entries(store_id(letters), MailboxSequence(0), usize::MAX);
        let read = |position| Event::decode(&self.reader.read(position).unwrap()).unwrap().sequence;
        entries.into_iter().map(|(_, position)| read(position)).collect()
    }

    fn ranges(&self) -> Vec<(u64, u64, Reason, u32)> {
        let letters = self.writer.home.letters();
        letters.map(|(first, known)| (first, known.last, known.reason, known.attempts)).collect()
    }

    fn dead_lettered(&self, reason: &str) -> u64 {
        self.value(&format!("fanal_events_dead_lettered_total{{class=\"durable\",reason=\"{reason}\"}}"))
    }

    fn dropped(&self, class: &str) -> u64 {
        self.value(&format!("fanal_events_dropped_total{{class=\"{class}\",reason=\"full\"}}"))
    }
}

#[test]
fn the_oldest_events_of_a_full_mailbox_go_to_the_dead_letters() {
    let mut scene = Scene::new();
    let orders = scene.subscribe_with("orders", at_most(10));
    (0..25).for_each(|_| scene.post(&[&orders], 1));
    assert_eq!(scene.sequences(orders.id), (16..=25).collect::<Vec<_>>());
    assert_eq!(scene.dead(), (1..=15).collect::<Vec<_>>());
    assert_eq!(scene.ranges(), [(1, 15, Reason::Full, 0)]);
    assert_eq!((scene.dead_lettered("full"), scene.dropped("durable")), (15, 0));
    assert_eq!(scene.writer.home.losses(orders.id).dead_lettered, [15, 0, 0]);
    assert_eq!(scene.ledger(), (25, 25));
    assert_eq!(scene.value("fanal_publish_refused_total{code=\"507\"}"), 0);
    // Acks of what went there change nothing.
    scene.writer.process(vec![done(&orders, (1, 16), DoneReason::Acked)]);
    assert_eq!((scene.sequences(orders.id).len(), scene.dead().len()), (9, 15));
    assert_eq!(scene.ledger(), (25, 25));
}

#[test]
fn a_subscription_that_chose_so_loses_its_oldest() {
    let mut scene = Scene::new();
    let orders =
        scene.subscribe_with("orders", KeepPatch { when_full: Some(WhenFull::DropOldest), ..at_most(3) });
    (0..8).for_each(|_| scene.post(&[&orders], 1));
    assert_eq!(scene.sequences(orders.id), [6, 7, 8]);
    assert_eq!((scene.dead_lettered("full"), scene.dropped("durable"), scene.dead().len()), (0, 5, 0));
    assert_eq!(scene.writer.home.losses(orders.id).dropped, [5, 0, 0]);
    assert_eq!(scene.ledger(), (8, 8));
}

#[test]
fn full_dead_letters_drop_their_oldest_with_what_was_known_of_them() {
    let letters = MailboxLimits { events: Some(4), ..MailboxLimits::default() };
    let mut scene = Scene::with(config::Limits { dead_letters: letters, ..config::Limits::default() });
    let (orders, bills) =
        (scene.subscribe_with("orders", at_most(1)), scene.subscribe_with("bills", at_most(1)));
    (0..4).for_each(|_| scene.post(&[&orders], 1));
    (0..3).for_each(|_| scene.post(&[&bills], 1));
    assert_eq!(scene.dead(), [2, 3, 5, 6]);
    assert_eq!(scene.ranges(), [(2, 3, Reason::Full, 0), (4, 5, Reason::Full, 0)]);
    assert_eq!((scene.dead_lettered("full"), scene.dropped("dead_letters")), (5, 1));
    let is_dead_letters = |id| scene.writer.home.dead_letters() == Some(id);
    assert_eq!((scene.ledger(), scene.ledger_of("dead_letters", is_dead_letters)), ((7, 7), (5, 5)));
}

#[test]
fn a_limit_of_bytes_keeps_what_fits() {
    let mut scene = Scene::with(config::Limits { mailbox: bytes_of(10_000), ..config::Limits::default() });
    let orders = scene.subscribe("orders");
    (0..30).for_each(|_| scene.post(&[&orders], 900));
    let stats = scene.reader.mailbox(store_id(orders.id)).unwrap();
    assert!(stats.bytes <= 10_000 && stats.bytes > 8_000, "{stats:?}");
    assert_eq!(stats.events + scene.dead().len() as u64, 30);
}

#[test]
fn an_event_above_the_whole_limit_goes_alone() {
    let limits =
        config::Limits { mailbox: bytes_of(5_000), dead_letters: bytes_of(9_000), ..Default::default() };
    let mut scene = Scene::with(limits);
    let orders = scene.subscribe("orders");
    scene.post(&[&orders], 100);
    scene.post(&[&orders], 6_000);
    scene.post(&[&orders], 100);
    assert_eq!((scene.sequences(orders.id), scene.dead()), (vec![1, 3], vec![2]));
    // What is more than the dead letters hold as well is dropped, and pushes nothing out there.
    scene.post(&[&orders], 10_000);
    assert_eq!((scene.sequences(orders.id), scene.dead()), (vec![1, 3], vec![2]));
    assert_eq!((scene.dead_lettered("full"), scene.dropped("durable")), (1, 1));
    assert_eq!(scene.ledger(), (4, 4));
}

/// Found by the simulator.
#[test]
fn an_event_above_the_whole_limit_goes_alone_after_new_limits_and_a_start_too() {
    let mut scene = Scene::new();
    let orders = scene.subscribe("orders");
    [100, 6_000, 100].into_iter().for_each(|bytes| scene.post(&[&orders], bytes));
    let keep = KeepPatch { bytes: Some(5_000), ..KeepPatch::default() };
    let update = |keep| {
        let ask = Ask { filter: "#".into(), ..Ask::default() };
        let wanted = Wanted { principal: principal(), name: "orders".into(), ask, keep };
        command(Command::UpdateSubscription(wanted)).0
    };
    scene.writer.process(vec![update(keep)]);
    scene.settle();
    assert_eq!((scene.sequences(orders.id), scene.dead()), (vec![1, 3], vec![2]));
    // With the batch that brings it comes a limit for which it is not too large.
    let event = scene.publish_of(&[&orders], 6_000);
    scene.writer.process(vec![event, update(KeepPatch { bytes: Some(7_000), ..KeepPatch::default() })]);
    scene.settle();
    assert_eq!((scene.sequences(orders.id), scene.dead()), (vec![1, 3, 4], vec![2]));
    // And the last batch of a life one for which it is.
    scene.writer.process(vec![update(KeepPatch { bytes: Some(5_000), ..KeepPatch::default() })]);
    let Scene { disk, writer, .. } = scene;
    drop(writer);
    let mut scene = Scene::on(disk, config::Limits::default());
    scene.settle();
    assert_eq!((scene.sequences(orders.id), scene.dead()), (vec![1, 3], vec![2, 4]));
}

#[test]
fn what_was_in_memory_for_a_subscriber_is_not_sent_after_it_gave_way() {
    let mut scene = Scene::new();
    let orders = scene.subscribe_with("orders", at_most(3));
    let credit = Arc::new(std::sync::Mutex::new(fanal_core::Credit::unlimited()));
    let (attached, _) = orders.attach(1, credit, &Arc::default(), Default::default(), 1);
    let mut sent = Vec::new();
    scene.post(&[&orders], 1);
    let take = |sent: &mut Vec<_>| match orders.take(&attached, 1 << 20, sent).unwrap() {
        Taken::Now(has_more) => has_more,
        Taken::Cold(cold) => orders.take_cold(&attached, &cold, sent).unwrap(),
    };
    take(&mut sent);
    (0..6).for_each(|_| scene.post(&[&orders], 1));
    while take(&mut sent) {}
    assert_eq!(sent.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 5, 6, 7]);
    // What had been sent before is told from what had not.
    assert_eq!(scene.ranges(), [(1, 1, Reason::Full, 1), (2, 4, Reason::Full, 0)]);
}

#[test]
fn new_limits_hold_at_once_and_lower_ones_of_the_broker_too() {
    let bound = MailboxLimits { events: Some(20), ..MailboxLimits::default() };
    let mut scene = Scene::with(config::Limits { mailbox: bound, ..config::Limits::default() });
    let orders = scene.subscribe_with("orders", at_most(1_000));
    (0..30).for_each(|_| scene.post(&[&orders], 1));
    assert_eq!(scene.sequences(orders.id).len(), 20);
    let ask = Ask { filter: "#".into(), ..Ask::default() };
    let wanted = Wanted { principal: principal(), name: "orders".into(), ask, keep: at_most(5) };
    scene.writer.process(vec![command(Command::UpdateSubscription(wanted)).0]);
    scene.settle();
    assert_eq!((scene.sequences(orders.id).len(), scene.dead().len()), (5, 25));
    assert_eq!(scene.ledger(), (30, 30));
}

#[test]
fn dead_letters_and_what_is_known_of_them_survive_a_crash() {
    let mut scene = Scene::new();
    let orders = scene.subscribe_with("orders", at_most(2));
    (0..9).for_each(|_| scene.post(&[&orders], 1));
    let before = (scene.dead(), scene.ranges(), scene.sequences(orders.id));
    let Scene { disk, writer, .. } = scene;
    drop(writer);
    disk.crash(fanal_store::simulated::Loss::Cut);
    let scene = Scene::on(disk, config::Limits::default());
    assert_eq!((scene.dead(), scene.ranges(), scene.sequences(orders.id)), before);
    assert_eq!(scene.writer.home.losses(orders.id).dead_lettered, [7, 0, 0]);
}

#[test]
fn a_batch_that_was_not_written_gives_nothing_away() {
    let mut scene = Scene::new();
    let orders = scene.subscribe_with("orders", at_most(2));
    (0..3).for_each(|_| scene.post(&[&orders], 1));
    let publish = scene.publish(&[&orders]);
    scene.writer.process(vec![publish]);
    assert!(scene.writer.limits.has_work());
    scene.disk.set_faults(Faults { fail_at: Some(scene.disk.operations()), ..Faults::default() });
    scene.writer.process(Vec::new());
    assert!(!scene.writer.limits.has_work(), "nothing is tried over and over");
    assert_eq!((scene.dead(), scene.ranges()), (vec![1], vec![(1, 1, Reason::Full, 0)]));
    assert_eq!(scene.ledger(), (4, 4));
}

#[test]
fn what_waited_too_long_goes_and_nothing_younger_does() {
    let age = |age_ms| MailboxLimits { age_ms: Some(age_ms), ..MailboxLimits::default() };
    let limits = config::Limits { mailbox: age(60_000), dead_letters: age(3_600_000), ..Default::default() };
    let mut scene = Scene::with(limits);
    let (orders, bills) = (scene.subscribe("orders"), scene.subscribe("bills"));
    let now = scene.writer.clock.now();
    for since in [61_000, 90_000, 100, 61_000] {
        scene.accepted_at = now - since;
        scene.post(&[&orders], 1);
    }
    scene.accepted_at = now - 59_000;
    scene.post(&[&bills], 1);
    for _ in 0..3 {
        scene.writer.look_around();
        scene.settle();
    }
    assert_eq!((scene.sequences(orders.id), scene.sequences(bills.id)), (vec![3, 4], vec![1]));
    assert_eq!((scene.dead(), scene.dead_lettered("age")), (vec![1, 2], 2));
    // What waited behind a younger one goes once that is gone.
    scene.writer.process(vec![done(&orders, (3, 3), DoneReason::Acked)]);
    scene.writer.look_around();
    scene.settle();
    assert_eq!((scene.sequences(orders.id).len(), scene.dead()), (0, vec![1, 2, 4]));
    assert_eq!(scene.ledger(), (5, 5));
}

#[test]
fn dead_letters_age_from_when_they_came_there() {
    let letters = MailboxLimits { age_ms: Some(640), ..MailboxLimits::default() };
    let mut scene = Scene::with(config::Limits { dead_letters: letters, ..Default::default() });
    let orders = scene.subscribe_with("orders", at_most(1));
    (0..4).for_each(|_| scene.post(&[&orders], 1));
    scene.writer.look_around();
    scene.settle();
    assert_eq!(scene.dead(), [1, 2, 3], "though the events are as old as the epoch");
    let series = "fanal_events_dropped_total{class=\"dead_letters\",reason=\"age\"}";
    let began = Instant::now();
    while !scene.dead().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20));
        scene.writer.look_around();
        scene.settle();
    }
    assert_eq!((scene.value(series), scene.ranges().len()), (3, 0));
    assert!(began.elapsed() >= Duration::from_millis(600));
}

#[test]
fn a_rule_refuses_publishers_when_a_mailbox_is_full() {
    let rule = |name: &str, topic: &str| config::RuleConfig { name: name.into(), topic: topic.into() };
    let rules = vec![rule("other", "other/#"), rule("audit", "t/#")];
    let mut scene = Scene::ruled(SimulatedDisk::new(), config::Limits::default(), rules);
    let (orders, bills) = (scene.subscribe_with("orders", at_most(3)), scene.subscribe("bills"));
    // The fourth would be one too many, wherever in a batch it stands.
    let requests = (0..5).map(|_| scene.publish(&[&bills, &orders])).collect();
    scene.writer.process(requests);
    scene.settle();
    assert_eq!((scene.sequences(orders.id), scene.sequences(bills.id)), (vec![1, 2, 3], vec![1, 2, 3]));
    let refused = |code: u16| scene.value(&format!("fanal_publish_refused_total{{code=\"{code}\"}}"));
    assert_eq!((refused(507), refused(425)), (1, 1), "what follows a refusal is blocked");
    assert_eq!(scene.dead().len(), 0);
    // It left no trace: once there is room the same sequence is taken.
    scene.writer.process(vec![done(&orders, (1, 1), DoneReason::Acked)]);
    scene.sequence -= 2;
    let again = (0..2).map(|_| scene.publish(&[&bills, &orders])).collect();
    scene.writer.process(again);
    assert_eq!(scene.sequences(orders.id), [2, 3, 4]);
    assert_eq!(scene.ledger(), (8, 8));
}

#[test]
fn a_mailbox_that_must_wait_for_the_dead_letters_is_not_forgotten() {
    let mut scene = Scene::new();
    let orders = scene.subscribe_with("orders", at_most(2));
    let requests = (0..5).map(|_| scene.publish(&[&orders])).collect();
    scene.writer.process(requests);
    assert!(scene.writer.home.dead_letters().is_none() && scene.writer.limits.has_work());
    // As where their mailbox cannot be made.
    let (now, mut batch) = (scene.writer.clock.now(), scene.writer.store.batch());
    let given = scene.writer.limits.give_way(&mut scene.writer.home, now, &mut batch);
    assert!(given.is_empty() && !scene.writer.limits.has_work(), "nothing is tried over and over");
    scene.writer.look_around();
    scene.settle();
    assert_eq!((scene.sequences(orders.id), scene.dead()), (vec![4, 5], vec![1, 2, 3]));
    assert_eq!(scene.ledger(), (5, 5));
}
