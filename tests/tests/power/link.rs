//! Power cuts at both ends of a link: what the publisher's home acked arrives at the subscriber's, once
//! and in order. A hop ack means flushed there; until then the event is flushed here.

use std::sync::Arc;

use fanal_client::{Client, Subscription, WaitFor};
use fanal_forgetful::{Cut, Loss, Operation};
use fanal_tests::broker::{Broker, World};
use fanal_tests::cli::is_long;
use fanal_tests::ground::Ground;
use fanal_tests::wait::{until, within};
use tokio::task::JoinHandle;

use super::facts::{Event, Facts, Wants};
use super::load::{Acks, connect, publish, publish_one, read_until};
use super::round::{CONFIG, Dice, Mode};
use super::{say, seed};

const PUBLISHERS: usize = 8;
const LAST: usize = PUBLISHERS;
const CUTS: usize = 4;
/// With FANAL_LONG=1.
const ROUNDS: u64 = 20;

/// A broker and the ground that it stands on.
struct End {
    /// Goes first.
    broker: Broker,
    ground: Ground,
}

impl End {
    fn start(world: &World, ground: Ground, name: &str, peer: Option<&End>) -> End {
        let config = world.path("small.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let mut spec = world.broker(name).config(config).data(ground.path(name));
        if let Some(peer) = peer {
            spec = spec.peer(peer.broker.name(), peer.broker.listen());
        }
        End { broker: spec.start(), ground }
    }

    /// Cuts its power at an operation to come, and gives it back.
    async fn cut(&mut self, dice: &mut Dice, loss: Loss) {
        let at = self.ground.disk.operations() + dice.below(30);
        let kind = (dice.below(2) == 0).then_some(Operation::Flush);
        self.ground.disk.cut_at(Cut { at, kind, is_late: dice.below(2) == 0 });
        let disk = self.ground.disk.clone();
        until("the cut", || disk.is_cut().then_some(())).await;
        self.broker.kill();
        self.ground.lose(loss);
        self.broker.restart();
    }
}

/// Subscribes at the one broker so that the other knows.
async fn subscribe(client: &Client, name: &str, installed: &str) -> Subscription {
    let wait = WaitFor::Broker(installed.into());
    let subscription =
        within("a receipt", client.subscribe("t/#").durable(name).wait_for(wait)).await.unwrap();
    let receipt = subscription.receipt();
    assert!(receipt.installed.iter().any(|broker| broker == installed), "{receipt:?}");
    subscription
}

async fn finish(what: &str, task: JoinHandle<()>) {
    within(what, task).await.unwrap();
}

/// Everything in a mailbox.
async fn drain(at: &Client, name: &str, end: Event, facts: &Facts) {
    let subscription = within("a receipt", at.subscribe("t/#").durable(name)).await.unwrap();
    assert!(subscription.receipt().resumed, "{name} is gone");
    within("the end of it", read_until(subscription, name, Acks::All(500), |event| event == end, facts))
        .await;
}

async fn link_round(test: &str, seed: u64, mode: Mode) -> Option<Result<String, String>> {
    let (here, there) = (Ground::new(test)?, Ground::new(test)?);
    let (world, mut dice) = (World::new(), Dice(seed));
    let facts = Arc::new(Facts::new(PUBLISHERS + 1));
    let mut ewr = End::start(&world, here, "ewr", None);
    let mut jfk = End::start(&world, there, "jfk", Some(&ewr));
    let (home, far) = (connect(&ewr.broker.credentials()).await, connect(&jfk.broker.credentials()).await);
    drop(subscribe(&far, "away", "ewr").await);
    let attached = subscribe(&far, "attached", "ewr").await;
    drop(subscribe(&home, "at-home", "ewr").await);
    ["away", "attached", "at-home"].into_iter().for_each(|name| facts.on_subscribed(name, Wants::All));
    let reader = {
        let facts = Arc::clone(&facts);
        let is_last = |event: Event| event.0 == LAST;
        tokio::spawn(async move { read_until(attached, "attached", Acks::All(30), is_last, &facts).await })
    };
    let publisher = |number| tokio::spawn(publish(home.clone(), number, 1 + number, Arc::clone(&facts)));
    let publishers: Vec<_> = (0..PUBLISHERS).map(publisher).collect();
    for _ in 0..CUTS {
        within("receipts", facts.wait_for_acks(facts.acks() + 20 + dice.below(200))).await;
        let end = if dice.below(2) == 0 { &mut ewr } else { &mut jfk };
        let loss = dice.loss(mode);
        end.cut(&mut dice, loss).await;
    }
    within("receipts", facts.wait_for_acks(facts.acks() + 50)).await;
    facts.stop();
    for task in publishers {
        finish("a publisher's last receipts", task).await;
    }
    publish_one(&home, LAST, &facts).await;
    finish("the subscriber that reads all", reader).await;
    if facts.first_violation().is_none() {
        let end = publish_one(&home, LAST, &facts).await;
        drain(&far, "away", end, &facts).await;
        drain(&far, "attached", end, &facts).await;
        drain(&home, "at-home", end, &facts).await;
    }
    let outcome = facts.check();
    if outcome.is_err() {
        // Their ledgers are no matter any more.
        ewr.broker.kill();
        jfk.broker.kill();
    }
    Some(outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_at_both_ends_of_a_link_lose_and_repeat_nothing() {
    let test = "power_cuts_at_both_ends_of_a_link_lose_and_repeat_nothing";
    let first = seed();
    for seed in first..first + if is_long() { ROUNDS } else { 2 } {
        let mode = if seed.is_multiple_of(2) { Mode::Cut } else { Mode::Torn };
        match link_round(test, seed, mode).await {
            Some(Ok(summary)) => say(&format!("{test}: seed {seed}: {summary}")),
            Some(Err(violation)) => panic!("VIOLATION: {violation}\n    seed {seed}, {mode:?}"),
            None => return,
        }
    }
}
