//! Limits of many mailboxes at once: nobody waits for all of them, and none is forgotten.

use super::*;
use crate::log::limits::READS_PER_LOOK;

fn age(age_ms: u64) -> MailboxLimits {
    MailboxLimits { age_ms: Some(age_ms), ..MailboxLimits::default() }
}

impl Scene {
    fn subscribe_many(&mut self, count: usize, keep: KeepPatch) -> Vec<Arc<Mailbox>> {
        (0..count).map(|n| self.subscribe_with(&format!("{n:0100}"), keep)).collect()
    }

    fn events(&self, mailbox: &Mailbox) -> u64 {
        self.reader.mailbox(store_id(mailbox.id)).unwrap().events
    }

    /// A publish to all of these that was accepted so long ago.
    fn post_old(&mut self, boxes: &[Arc<Mailbox>], ago_ms: u64) {
        self.accepted_at = self.writer.clock.now() - ago_ms;
        let boxes: Vec<&Arc<Mailbox>> = boxes.iter().collect();
        self.post(&boxes, 1);
    }
}

#[test]
fn however_many_mailboxes_give_way_no_publisher_is_refused_for_it() {
    let mut scene = Scene::new();
    let keep = KeepPatch { events: Some(1), ..KeepPatch::default() };
    let boxes = scene.subscribe_many(400, keep);
    let all: Vec<&Arc<Mailbox>> = boxes.iter().collect();
    let first = scene.publish(&all);
    scene.writer.process(vec![first]);
    for _ in 0..3 {
        let publish = scene.publish(&all);
        scene.writer.process(vec![publish]);
    }
    scene.settle();
    assert_eq!(scene.value("fanal_publish_refused_total{code=\"413\"}"), 0);
    assert!(boxes.iter().all(|mailbox| scene.events(mailbox) == 1));
    assert_eq!(scene.ledger(), (1_600, 1_600));
}

#[test]
fn a_look_for_old_events_comes_to_every_mailbox_though_others_change() {
    let mut scene = Scene::with(config::Limits { mailbox: age(60_000), ..Default::default() });
    let boxes = scene.subscribe_many(READS_PER_LOOK + 50, KeepPatch::default());
    let (last, busy) = boxes.split_last().unwrap();
    scene.post_old(std::slice::from_ref(last), 70_000);
    (0..4).for_each(|_| scene.post_old(busy, 0));
    for n in 1..=3 {
        scene.writer.look_around();
        scene.settle();
        let acks = busy.iter().map(|mailbox| done(mailbox, (n, n), DoneReason::Acked)).collect();
        scene.writer.process(acks);
    }
    assert_eq!(scene.events(last), 0);
    assert!(busy.iter().all(|mailbox| scene.events(mailbox) == 1));
}

#[test]
fn one_batch_does_not_read_all_old_events_of_all_mailboxes() {
    let mut scene = Scene::with(config::Limits { mailbox: age(60_000), ..Default::default() });
    let boxes = scene.subscribe_many(40, KeepPatch::default());
    for mailbox in &boxes {
        (0..50).for_each(|_| scene.post_old(std::slice::from_ref(mailbox), 70_000));
    }
    let bytes = |scene: &Scene| scene.disk.bytes_read();
    let began = bytes(&scene);
    scene.writer.look_around();
    let mut most = bytes(&scene) - began;
    while scene.writer.limits.has_work() {
        let before = bytes(&scene);
        scene.writer.process(Vec::new());
        most = most.max(bytes(&scene) - before);
    }
    // Of an event as small as these a read takes a page.
    assert!(most <= 4_096 * (READS_PER_LOOK as u64 + 64), "{most} bytes");
    assert!(boxes.iter().all(|mailbox| scene.events(mailbox) == 0), "and all go, one batch after the other");
    assert_eq!(scene.ledger(), (2_000, 2_000));
}

#[test]
fn a_clock_that_was_ahead_before_a_restart_makes_nothing_old() {
    const DAY_MS: u64 = 86_400_000;
    let limits = || config::Limits { mailbox: age(60_000), dead_letters: age(60_000), ..Default::default() };
    let mut scene = Scene::with(limits());
    scene.writer.home.note_time(scene.writer.clock.now() + 30 * DAY_MS);
    scene.subscribe("orders");
    let disk = scene.disk.clone();
    drop(scene);
    let mut scene = Scene::on(disk, limits());
    let orders = scene.subscribe("orders");
    for ago_ms in [0, 70_000] {
        scene.post_old(&[Arc::clone(&orders)], ago_ms);
        scene.writer.look_around();
        scene.settle();
    }
    assert_eq!(scene.events(&orders), 2, "the first one is young, and the other stands behind it");
    scene.writer.process(vec![done(&orders, (1, 1), DoneReason::Acked)]);
    scene.writer.look_around();
    scene.settle();
    assert_eq!(scene.events(&orders), 0);
}

#[test]
fn a_store_that_cannot_be_relieved_is_not_looked_through_at_every_batch() {
    let mut scene = Scene::with(config::Limits { store_bytes: Some(65_536), ..Default::default() });
    scene.subscribe("orders");
    scene.writer.look_around();
    scene.writer.relieve();
    assert!(!scene.writer.limits.has_work());
    assert!(scene.writer.relief_from > Instant::now(), "nothing to be had: not again at once");
}

#[test]
fn a_full_store_shows_as_full_while_it_is_drained() {
    let mut scene = Scene::new();
    let orders = scene.subscribe("orders");
    let full = |scene: &Scene| scene.writer.health.is_full.load(Ordering::Relaxed);
    scene.disk.set_faults(Faults { capacity: Some(scene.disk.bytes_used()), ..Faults::default() });
    while !full(&scene) {
        scene.post(&[&orders], 4_000);
    }
    scene.writer.process(vec![done(&orders, (1, 1), DoneReason::Acked)]);
    assert!(full(&scene), "an ack was taken, an event would not be");
    scene.sequence -= 1;
    scene.post(&[&orders], 4_000);
    assert!(full(&scene));
    scene.disk.set_faults(Faults::default());
    scene.sequence -= 1;
    scene.post(&[&orders], 4_000);
    assert!(!full(&scene));
}
