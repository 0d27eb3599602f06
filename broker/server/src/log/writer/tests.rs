//! What one batch does to the ledger, on a simulated disk.

use fanal_protocol::stream::Origin;
use fanal_protocol::{Class, Epoch, Fingerprint, PublisherId, StoreId};
use fanal_store::simulated::{Faults, SimulatedDisk};
use fanal_store::{Options, Reader};
use tokio::sync::oneshot;

use super::super::request::DoneReason;
use super::*;
use crate::config::MailboxLimits;
use crate::mailbox::MailboxKind;
use fanal_core::home::{Ask, KeepPatch, Wanted};
use fanal_core::limits::WhenFull;

mod limits;
mod many;
mod whole;

/// A log writer whose batches are made by hand.
struct Scene {
    disk: SimulatedDisk,
    directory: Arc<Directory>,
    writer: LogWriter,
    metrics: Arc<Metrics>,
    reader: Arc<Reader>,
    channel: Arc<PublishChannel>,
    sequence: u64,
    accepted_at: u64,
}

fn principal() -> PublisherId {
    PublisherId { name: "till".into(), authority: Fingerprint([9; 32]) }
}

impl Scene {
    fn new() -> Scene {
        Scene::with(config::Limits::default())
    }

    fn with(limits: config::Limits) -> Scene {
        Scene::on(SimulatedDisk::new(), limits)
    }

    fn on(disk: SimulatedDisk, limits: config::Limits) -> Scene {
        Scene::ruled(disk, limits, Vec::new())
    }

    fn ruled(disk: SimulatedDisk, limits: config::Limits, rules: Vec<config::RuleConfig>) -> Scene {
        let directory = Arc::<Directory>::default();
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let (store, recovery) =
            Store::open_on(Arc::new(disk.clone()), options, fanal_store::StoreId(7)).unwrap();
        let tails = recovery.mailboxes.iter().map(|(id, stats)| (MailboxId(id.0), stats.next.0));
        let mut home = Home::recover(StoreId([7; 16]), 0, &recovery.state, tails).unwrap();
        let epoch = home.open_epoch(&principal());
        let channel = PublishChannel {
            channel: 1,
            origin: Arc::new(Origin { publisher: principal(), epoch }),
            outbox: Arc::default(),
            _hold: Arc::default(),
        };
        let (metrics, reader) = (Arc::new(Metrics::new("1")), Arc::new(store.reader()));
        let writer = LogWriter::new(WriterParts {
            store,
            home,
            queue: Arc::new(LogQueue::new()),
            health: Arc::default(),
            metrics: Arc::clone(&metrics),
            clock: Arc::default(),
            directory: Arc::clone(&directory),
            limits: config::Limits { segment_bytes: 64 << 10, ..limits },
            rules: Rule::read(&rules).unwrap(),
            data: "not there".into(),
        });
        Scene {
            disk,
            directory,
            writer,
            metrics,
            reader,
            channel: Arc::new(channel),
            sequence: 0,
            accepted_at: 1,
        }
    }

    fn subscribe(&mut self, name: &str) -> Arc<Mailbox> {
        self.subscribe_with(name, KeepPatch::default())
    }

    fn subscribe_with(&mut self, name: &str, keep: KeepPatch) -> Arc<Mailbox> {
        let ask = Ask { filter: "#".into(), ..Ask::default() };
        let wanted = Wanted { principal: principal(), name: name.into(), ask, keep };
        let (request, mut answer) = command(Command::PutSubscription(wanted));
        self.writer.process(vec![request]);
        let Ok(Ok(Output::Subscription { id, subscription, .. })) = answer.try_recv() else {
            panic!("no mailbox")
        };
        let kind = MailboxKind::Durable(subscription);
        self.directory.add(id, kind, 1, self.reader.clone())
    }

    fn publish(&mut self, mailboxes: &[&Arc<Mailbox>]) -> LogRequest {
        self.publish_of(mailboxes, 1)
    }

    fn publish_of(&mut self, mailboxes: &[&Arc<Mailbox>], bytes: usize) -> LogRequest {
        self.sequence += 1;
        let event = Event {
            topic: "t".into(),
            origin: Arc::clone(&self.channel.origin),
            sequence: self.sequence,
            class: Class::AtLeastOnce,
            accepted_at: self.accepted_at,
            deadline: None,
            body: vec![0x80; bytes].into(),
        };
        let mailboxes = mailboxes.iter().map(|mailbox| Arc::clone(mailbox)).collect();
        let item = PublishItem::Event { event: Arc::new(event), mailboxes, live: SmallVec::new() };
        LogRequest::Publish { channel: Arc::clone(&self.channel), items: vec![item], began: Instant::now() }
    }

    fn value(&self, series: &str) -> u64 {
        let page = self.metrics.render();
        let line = page.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series));
        let value = line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse());
        value.unwrap_or_else(|| panic!("no {series} in\n{page}")).unwrap()
    }

    /// Routed, and what became of it, in mailboxes of subscriptions.
    fn ledger(&self) -> (u64, u64) {
        self.ledger_of("durable", |id| self.writer.home.dead_letters() != Some(id))
    }

    /// As [`Scene::ledger`], of a class and its mailboxes.
    fn ledger_of(&self, class: &str, is_in: impl Fn(MailboxId) -> bool) -> (u64, u64) {
        let mailboxes = self.reader.mailboxes();
        let of_class = mailboxes.iter().filter(|(id, _)| is_in(MailboxId(id.0)));
        let queued: u64 = of_class.map(|(_, stats)| stats.events).sum();
        let (page, label) = (self.metrics.render(), format!("class=\"{class}\""));
        let terms = page.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| {
            let names = ["acked", "expired", "dead_lettered", "dropped", "duplicate"];
            let is_term = |name: &&str| series.starts_with(&format!("fanal_events_{name}_total{{"));
            series.contains(&label) && names.iter().any(is_term)
        });
        let gone: u64 = terms.map(|(_, value)| value.parse::<u64>().unwrap()).sum();
        (self.value(&format!("fanal_routes_total{{{label}}}")), queued + gone)
    }

    /// A publish in a batch of its own, and all that follows from it.
    fn post(&mut self, mailboxes: &[&Arc<Mailbox>], bytes: usize) {
        let request = self.publish_of(mailboxes, bytes);
        self.writer.process(vec![request]);
        self.settle();
    }

    /// As the writer does while it has work of its own.
    fn settle(&mut self) {
        while self.writer.limits.has_work() {
            self.writer.process(Vec::new());
        }
    }
}

type Answer = oneshot::Receiver<Result<Output, LogError>>;

fn command(command: Command) -> (LogRequest, Answer) {
    let (reply, answer) = oneshot::channel();
    (LogRequest::Command { command, reply }, answer)
}

fn remove(name: &str) -> LogRequest {
    command(Command::RemoveSubscription { principal: principal(), name: name.into() }).0
}

fn done(mailbox: &Arc<Mailbox>, range: (u64, u64), reason: DoneReason) -> LogRequest {
    LogRequest::Done { mailbox: Arc::clone(mailbox), ranges: vec![range], reason, confirm: None }
}

#[test]
fn an_entry_that_comes_and_goes_within_one_batch_is_counted_once() {
    let mut scene = Scene::new();
    let orders = scene.subscribe("orders");
    let first = [scene.publish(&[&orders]), scene.publish(&[&orders])];
    scene.writer.process(first.into());
    let batch = [
        scene.publish(&[&orders]),
        done(&orders, (1, 1), DoneReason::Acked),
        done(&orders, (1, 1), DoneReason::Expired),
        scene.publish(&[&orders]),
        remove("orders"),
        // The mailbox is gone: neither of these finds it.
        scene.publish(&[&orders]),
        done(&orders, (1, 4), DoneReason::Acked),
    ];
    scene.writer.process(batch.into());
    let dropped = "fanal_events_dropped_total{class=\"durable\",reason=\"removed\"}";
    assert_eq!(scene.value("fanal_routes_total{class=\"durable\"}"), 4);
    assert_eq!(scene.value("fanal_events_acked_total{class=\"durable\"}"), 1);
    assert_eq!(scene.value("fanal_events_expired_total{class=\"durable\"}"), 0);
    assert_eq!(scene.value(dropped), 3);
    assert_eq!(scene.ledger(), (4, 4));
}

#[test]
fn the_ledger_balances_after_every_batch_whatever_is_in_it() {
    for seed in 0..20 {
        let mut dice: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(seed);
        let mut below = |limit: u64| rand::Rng::random_range(&mut dice, 0..limit);
        // Every other seed with limits.
        let most =
            |events: u64| MailboxLimits { events: (seed % 2 == 1).then_some(events), ..Default::default() };
        let limits = config::Limits { mailbox: most(9), dead_letters: most(15), ..Default::default() };
        let mut scene = Scene::with(limits);
        let mut boxes: Vec<(String, Arc<Mailbox>)> = Vec::new();
        for step in 0..30 {
            if boxes.len() < 3 {
                let name = format!("s{step}");
                let when_full = [WhenFull::DeadLetter, WhenFull::DropOldest][below(2) as usize];
                let keep = KeepPatch { when_full: Some(when_full), ..KeepPatch::default() };
                let mailbox = scene.subscribe_with(&name, keep);
                boxes.push((name, mailbox));
            }
            let mut batch = Vec::new();
            for _ in 0..below(8) {
                let at = below(boxes.len() as u64) as usize;
                let (name, mailbox) = &boxes[at];
                let from = 1 + below(20);
                match below(10) {
                    0..=5 => batch.push(scene.publish(&[mailbox, &boxes[0].1][..1 + usize::from(at > 0)])),
                    6 => batch.push(done(mailbox, (from, from + below(10)), DoneReason::Expired)),
                    7 | 8 => batch.push(done(mailbox, (from, from + below(10)), DoneReason::Acked)),
                    _ => batch.push(remove(name)),
                }
            }
            scene.writer.process(batch);
            let (came, went) = scene.ledger();
            assert_eq!(came, went, "seed {seed}, step {step}");
            let letters = scene.writer.home.dead_letters();
            let (came, went) = scene.ledger_of("dead_letters", |id| letters == Some(id));
            assert_eq!(came, went, "dead letters, seed {seed}, step {step}");
            boxes.retain(|(name, _)| scene.writer.home.has_subscription(&principal(), name));
        }
    }
}

#[test]
fn a_store_that_stops_shows_it_and_refuses() {
    let mut scene = Scene::new();
    let orders = scene.subscribe("orders");
    assert!(scene.value("fanal_store_bytes") > 0);
    assert_eq!(scene.value("fanal_store_stopped"), 0);
    scene.disk.set_faults(Faults { fail_at: Some(scene.disk.operations()), ..Faults::default() });
    let publish = scene.publish(&[&orders]);
    scene.writer.process(vec![publish]);
    assert_eq!(scene.value("fanal_store_stopped"), 1);
    let said = LogError::Stopped(scene.writer.health.stopped().unwrap().to_owned()).to_string();
    assert_eq!(said.matches("the store has stopped").count(), 1, "{said}");
    assert!(said.contains("check the disk"), "{said}");
    assert_eq!(scene.value("fanal_publish_refused_total{code=\"503\"}"), 1);
    assert_eq!(scene.value("fanal_events_published_total{class=\"at_least_once\"}"), 0);
    assert_eq!(scene.ledger(), (0, 0));
}

/// Opens a publish channel, or resumes it; what the answer is.
fn open_channel(scene: &mut Scene, resume: Option<Epoch>, hold: &Arc<()>) -> Result<Epoch, Code> {
    let hold = Arc::downgrade(hold);
    let (request, mut answer) = command(Command::OpenPublish { principal: principal(), resume, hold });
    scene.writer.process(vec![request]);
    match answer.try_recv().unwrap() {
        Ok(Output::Epoch { epoch, .. }) => Ok(epoch),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code().0),
    }
}

/// Lets days pass, hour by hour, as the writer's ticks do.
fn pass_days(scene: &mut Scene, days: u64) {
    const HOUR_MS: u64 = 3_600_000;
    let begin = scene.writer.home.time().unwrap_or(scene.writer.clock.now());
    for hour in 1..=24 * days {
        scene.writer.home.note_time(begin + hour * HOUR_MS);
        scene.writer.forget_idle();
        scene.writer.process(Vec::new());
    }
}

#[test]
fn an_epoch_without_a_channel_is_gone_after_a_week_and_stays_gone() {
    let mut scene = Scene::new();
    let [connected, lost] = [Arc::new(()), Arc::new(())];
    let kept = open_channel(&mut scene, None, &connected).unwrap();
    let idle = open_channel(&mut scene, None, &lost).unwrap();
    drop(lost);
    pass_days(&mut scene, 6);
    let hold = Arc::new(());
    assert_eq!(open_channel(&mut scene, Some(idle), &hold), Ok(idle), "within the week");
    drop(hold);
    pass_days(&mut scene, 9);
    assert_eq!(open_channel(&mut scene, Some(idle), &connected), Err(Code::Gone));
    assert_eq!(open_channel(&mut scene, Some(kept), &connected), Ok(kept), "its channel was there");
    let disk = scene.disk.clone();
    drop(scene);
    let mut scene = Scene::on(disk, config::Limits::default());
    assert_eq!(open_channel(&mut scene, Some(idle), &connected), Err(Code::Gone), "after a restart, too");
    assert_eq!(open_channel(&mut scene, Some(kept), &connected), Ok(kept));
    drop(connected);
    pass_days(&mut scene, 9);
    assert_eq!(open_channel(&mut scene, Some(kept), &Arc::default()), Err(Code::Gone));
}
