//! One round: load, cuts at moments drawn from the seed, and the check of what was promised.

use std::sync::Arc;

use fanal_client::{Client, Subscription};
use fanal_forgetful::{Cut, Loss, Operation};
use fanal_tests::broker::{Broker, Spec, World};
use fanal_tests::ground::Ground;
use fanal_tests::wait::{BOUND, until, within};
use tokio::task::JoinHandle;

use super::facts::{Event, Facts, Wants};
use super::limited::LIMITED;
use super::load::{Acks, connect, keep_books, publish, publish_one, read_until, subscribe, watch};

const PUBLISHERS: usize = 32;
const PUBLISHERS_PER_CLIENT: usize = 8;
/// The publisher of the events after which all is there.
const LAST: usize = PUBLISHERS;
/// Cuts in a row, each with new load before it.
const CUTS: u64 = 3;
pub(crate) const CONFIG: &str = "[limits]\nsegment_bytes = 1048576\nbody_bytes_max = 65536\n";

/// What becomes of what was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Cut,
    Torn,
}

/// Throws of dice by a seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(crate) fn loss(&mut self, mode: Mode) -> Loss {
        match mode {
            Mode::Cut => Loss::Cut,
            Mode::Torn => Loss::Torn(self.below(u64::MAX)),
        }
    }
}

/// Subscriptions that are made before the load; nobody is attached to those that are away.
const SUBSCRIPTIONS: [(&str, Wants); 6] = [
    ("lives-on", Wants::All),
    ("comes-anew", Wants::All),
    ("acks-half", Wants::Even),
    ("away", Wants::All),
    ("away-too", Wants::Even),
    ("away-as-well", Wants::All),
];

struct Round {
    ground: Ground,
    dice: Dice,
    mode: Mode,
    /// Nobody is away and nothing stays: segments are taken back and used again.
    is_flowing: bool,
    /// Most receipts between two cuts: with many, the entries of those who are away go to the disk.
    acks_max: u64,
    facts: Arc<Facts>,
    publishers: Vec<(Client, Vec<JoinHandle<()>>)>,
    /// Those that live through the cuts: the subscriber `lives-on`, who makes subscriptions, who looks on.
    staying: Vec<JoinHandle<()>>,
    /// Those that the cut ends as well.
    leaving: Vec<JoinHandle<()>>,
}

/// Runs a round; what was seen, or what was broken.
pub(crate) async fn round(ground: Ground, seed: u64, mode: Mode) -> Result<String, String> {
    let world = World::new();
    let config = world.path("small.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let spec = world.broker("ewr").config(config).data(ground.path("ewr")).ca(ground.path("ca"));
    let mut round = Round {
        ground,
        dice: Dice(seed),
        mode,
        is_flowing: seed.is_multiple_of(3),
        acks_max: if seed % 3 == 1 { 3500 } else { 900 },
        facts: Arc::new(Facts::new(PUBLISHERS + 1)),
        publishers: Vec::new(),
        staying: Vec::new(),
        leaving: Vec::new(),
    };
    let mut broker = start(spec)?;
    let outcome = round.run(&mut broker).await;
    round.stop_tasks();
    if outcome.is_err() {
        // Its ledger is no matter any more.
        broker.kill();
    }
    outcome
}

fn start(spec: Spec) -> Result<Broker, String> {
    spec.attempt().map_err(|ended| format!("the broker does not start: {}", ended.stderr))
}

impl Round {
    async fn run(&mut self, broker: &mut Broker) -> Result<String, String> {
        self.begin(broker).await?;
        for _ in 0..CUTS {
            self.attach(broker).await?;
            self.cut(broker).await?;
            self.power_on(broker)?;
        }
        self.attach(broker).await?;
        let more = self.facts.acks() + 200;
        within("receipts after the last cut", self.facts.wait_for_acks(more)).await;
        self.finish(broker).await
    }

    async fn begin(&mut self, broker: &Broker) -> Result<(), String> {
        self.check_maps(broker);
        let client = connect(&broker.credentials()).await;
        let stays = |name: &str| name.starts_with("away") || name == "acks-half";
        for (name, wants) in SUBSCRIPTIONS.into_iter().filter(|(name, _)| !(self.is_flowing && stays(name))) {
            drop(attach(&client, name, wants).await?);
            self.facts.on_subscribed(name, wants);
        }
        // Dead letters stay.
        for limited in LIMITED.iter().filter(|limited| limited.drops || !self.is_flowing) {
            limited.make(&client).await.map_err(|error| format!("{}: {error}", limited.name))?;
            self.facts.on_subscribed(limited.name, Wants::All);
        }
        let lives_on = attach(&client, "lives-on", Wants::All).await?;
        self.stay(read("lives-on", lives_on, Acks::All(50), &self.facts));
        let every = if self.is_flowing { u64::MAX / 2 } else { 100 + self.dice.below(100) };
        self.stay(keep_books(client.clone(), every, Arc::clone(&self.facts)));
        let live = within("a receipt", client.subscribe("t/#")).await.map_err(|error| error.to_string())?;
        self.stay(watch(live, Arc::clone(&self.facts)));
        for first in (0..PUBLISHERS).step_by(PUBLISHERS_PER_CLIENT) {
            let client = connect(&broker.credentials()).await;
            let numbers = first..first + PUBLISHERS_PER_CLIENT;
            let tasks = numbers.map(|number| self.publisher(&client, number)).collect();
            self.publishers.push((client, tasks));
        }
        Ok(())
    }

    fn publisher(&mut self, client: &Client, number: usize) -> JoinHandle<()> {
        let window = 1 + self.dice.below(8) as usize;
        tokio::spawn(publish(client.clone(), number, window, Arc::clone(&self.facts)))
    }

    fn stay(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.staying.push(tokio::spawn(task));
    }

    /// Nothing of the disk is mapped: what is stored by a mapping would not be seen being stored.
    fn check_maps(&self, broker: &Broker) {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", broker.process.id())).unwrap();
        let ground = self.ground.dir().to_string_lossy();
        assert!(!maps.contains(&*ground), "{maps}");
    }

    /// Programs that end with each cut attach anew.
    async fn attach(&mut self, broker: &Broker) -> Result<(), String> {
        let half = (!self.is_flowing).then_some(("acks-half", Wants::Even, Acks::Half(10)));
        for (name, wants, acks) in [("comes-anew", Wants::All, Acks::All(20))].into_iter().chain(half) {
            let client = connect(&broker.credentials()).await;
            let subscription = resume(&client, name, wants).await?;
            self.leaving.push(tokio::spawn(read(name, subscription, acks, &self.facts)));
        }
        Ok(())
    }

    /// Cuts the power under load and ends the process.
    async fn cut(&mut self, broker: &mut Broker) -> Result<(), String> {
        let acks = self.facts.acks() + 30 + self.dice.below(self.acks_max);
        within("receipts", self.facts.wait_for_acks(acks)).await;
        let at = self.ground.disk.operations() + self.dice.below(40);
        // Any operation, or a flush: a batch that was flushed, and nobody was told, is rare otherwise.
        let kind = (self.dice.below(2) == 0).then_some(Operation::Flush);
        self.ground.disk.cut_at(Cut { at, kind, is_late: self.dice.below(2) == 0 });
        let (disk, facts) = (self.ground.disk.clone(), Arc::clone(&self.facts));
        until("the cut", || (disk.is_cut() || facts.first_violation().is_some()).then_some(())).await;
        // Ended as by a machine that stops, or left to find out by itself.
        if self.dice.below(2) == 0 {
            broker.kill();
        } else {
            self.ends_by_itself(broker).await?;
        }
        self.leaving.drain(..).for_each(|task| task.abort());
        // Some programs were on the same machine: what they had under way nobody waits for.
        if self.publishers.len() > 2
            && let Some((client, tasks)) = self.publishers.pop()
        {
            tasks.iter().for_each(JoinHandle::abort);
            drop(client);
        }
        self.facts.first_violation().map_or(Ok(()), Err)
    }

    /// A broker whose disk is gone ends with an error that names a file of it.
    async fn ends_by_itself(&self, broker: &mut Broker) -> Result<(), String> {
        until("the broker's end", || broker.process.has_ended().then_some(())).await;
        let code = broker.process.wait().code();
        let stderr = broker.process.stderr.so_far().join("\n");
        let place = self.ground.path("ewr");
        match code == Some(1) && stderr.contains(&*place.to_string_lossy()) {
            true => Ok(()),
            false => Err(format!("it ended with {code:?} when its disk was gone: {stderr}")),
        }
    }

    /// Starts the broker on what the disk kept, every other time through a cut during the recovery.
    fn power_on(&mut self, broker: &mut Broker) -> Result<(), String> {
        let loss = self.dice.loss(self.mode);
        self.ground.lose(loss);
        if self.dice.below(2) == 0 {
            let at = self.ground.disk.operations() + self.dice.below(30);
            self.ground.disk.cut_at(Cut { at, kind: None, is_late: self.dice.below(2) == 0 });
            if let Ok(mut up) = broker.again().attempt() {
                up.kill();
            }
            self.ground.disk.cut();
            let loss = self.dice.loss(self.mode);
            self.ground.lose(loss);
        }
        *broker = start(broker.again())?;
        Ok(())
    }

    /// Lets everybody come to an end, drains all mailboxes and looks whether all is there.
    async fn finish(&mut self, broker: &Broker) -> Result<String, String> {
        self.facts.stop();
        for (_client, tasks) in std::mem::take(&mut self.publishers) {
            for task in tasks {
                within("a publisher's last receipts", task).await.map_err(|error| error.to_string())?;
            }
        }
        let client = connect(&broker.credentials()).await;
        publish_one(&client, LAST, &self.facts).await;
        for task in std::mem::take(&mut self.leaving) {
            self.ended("a subscriber that reads all", task, &client).await?;
        }
        let lives_on = self.staying.remove(0);
        self.ended("the subscriber that lives on", lives_on, &client).await?;
        let books = self.staying.remove(0);
        books.abort();
        // It may have been cut short, which is no error.
        let _ = books.await;
        self.facts.first_violation().map_or(Ok(()), Err)?;
        self.drain(broker, &client).await?;
        let (cuts, segments) = (CUTS, self.youngest_segment());
        Ok(format!("{}; {cuts} cuts, {segments} segments", self.facts.check()?))
    }

    /// The number of the last segment of the log.
    fn youngest_segment(&self) -> u64 {
        let entries = std::fs::read_dir(self.ground.path("ewr/store")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).max().unwrap_or(0)
    }

    /// Waits for a subscriber's end; else what the broker says of the mailboxes.
    async fn ended(&self, what: &str, task: JoinHandle<()>, client: &Client) -> Result<(), String> {
        match tokio::time::timeout(BOUND, task).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => {
                let mailboxes = client.query("mailboxes").await.unwrap_or_default();
                let seen = self.facts.progress();
                Err(format!("{what} does not come to its end; seen: {seen}; mailboxes: {mailboxes}"))
            }
        }
    }

    async fn drain(&self, broker: &Broker, client: &Client) -> Result<(), String> {
        let end = publish_one(client, LAST, &self.facts).await;
        // Every other subscription asks for even numbers only.
        let end = if end.1.is_multiple_of(2) { end } else { publish_one(client, LAST, &self.facts).await };
        let made = self.facts.subscriptions();
        for limited in LIMITED.iter().filter(|limited| made.iter().any(|(name, _)| name == limited.name)) {
            self.facts.on_left(limited.name, limited.look(broker, client).await?);
        }
        for (name, wants) in made {
            let subscription = resume(client, &name, wants).await?;
            let drained = read_until(subscription, &name, Acks::All(500), |event| event == end, &self.facts);
            within(&format!("the end of {name}"), drained).await;
        }
        for name in self.facts.removed() {
            if attach(client, &name, Wants::All).await?.receipt().resumed {
                return Err(format!("{name} was removed, and is back"));
            }
        }
        Ok(())
    }

    fn stop_tasks(&mut self) {
        let publishers = std::mem::take(&mut self.publishers).into_iter().flat_map(|(_, tasks)| tasks);
        let all = publishers.chain(self.staying.drain(..)).chain(self.leaving.drain(..));
        all.for_each(|task| task.abort());
    }
}

/// Attaches to a subscription or makes it.
async fn attach(client: &Client, name: &str, wants: Wants) -> Result<Subscription, String> {
    let attached = within("a receipt", subscribe(client, name, wants)).await;
    attached.map_err(|error| format!("{name}: {error}"))
}

/// Attaches to one that must exist.
async fn resume(client: &Client, name: &str, wants: Wants) -> Result<Subscription, String> {
    let subscription = attach(client, name, wants).await?;
    if subscription.receipt().resumed { Ok(subscription) } else { Err(format!("{name} is gone")) }
}

/// Reads until the first of the last events.
fn read(
    name: &'static str,
    subscription: Subscription,
    acks: Acks,
    facts: &Arc<Facts>,
) -> impl Future<Output = ()> + Send + 'static {
    let facts = Arc::clone(facts);
    async move {
        let is_last = |event: Event| event.0 == LAST;
        read_until(subscription, name, acks, is_last, &facts).await;
    }
}
