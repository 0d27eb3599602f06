//! Cuts during the very first start: the next one must come up, with one CA and no half-made file.

use std::collections::BTreeSet;

use fanal_client::Code;
use fanal_forgetful::Cut;
use fanal_tests::broker::{Broker, Spec, World};
use fanal_tests::cli::is_long;
use fanal_tests::ground::Ground;
use fanal_tests::wait::within;

use super::round::{CONFIG, Dice, Mode};
use super::{say, seed};

/// Operations between two cuts in a short run; with FANAL_LONG=1 each one is tried.
const STEP: u64 = 7;

fn spec(world: &World, ground: &Ground) -> Spec {
    let config = world.path("small.toml");
    std::fs::write(&config, CONFIG).unwrap();
    world.broker("ewr").config(config).data(ground.path("deep/ewr")).ca(ground.path("deep/ca"))
}

/// The CA's certificate as it is in the file, whatever the power. A broker that is ready has given it
/// to somebody.
fn authority(ground: &Ground) -> String {
    String::from_utf8(ground.disk.contents("deep/ca/ca.pem").unwrap()).unwrap()
}

/// The store's id, as a client is told.
async fn store(broker: &Broker) -> String {
    let status = broker.client().await.query("status").await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["incarnation"]["store"].as_str().unwrap().to_owned()
}

/// A publish that must be there after the next cut.
async fn use_it(broker: &Broker) {
    let client = broker.client().await;
    drop(within("a receipt", client.subscribe("t/#").durable("orders")).await.unwrap());
    let receipt = within("a receipt", client.publish("t/a").payload("first")).await.unwrap();
    assert_eq!((receipt.code, receipt.destinations), (Code::Durable, 1));
}

async fn is_there(broker: &Broker) {
    let client = broker.client().await;
    let mut orders = within("a receipt", client.subscribe("t/#").durable("orders")).await.unwrap();
    assert!(orders.receipt().resumed, "the subscription is gone");
    assert_eq!(fanal_tests::subscriber::payloads(&mut orders, 1).await, ["first"]);
}

/// The first start is cut at an operation; then starts follow until one is not. The cut that was asked
/// for may lie behind the start.
async fn cut_first_start(test: &str, at: u64, dice: &mut Dice) -> Option<bool> {
    let mut ground = Ground::new(test)?;
    let world = World::new();
    let mode = if dice.below(2) == 0 { Mode::Cut } else { Mode::Torn };
    ground.disk.cut_at(Cut { at, kind: None, is_late: dice.below(2) == 0 });
    let first = spec(&world, &ground).attempt();
    let was_cut = ground.disk.is_cut();
    let mut seen = None;
    if let Ok(mut broker) = first {
        seen = Some(authority(&ground));
        broker.kill();
    }
    ground.disk.cut();
    ground.lose(dice.loss(mode));
    let mut broker = match spec(&world, &ground).attempt() {
        Ok(broker) => broker,
        Err(ended) => panic!("cut at {at}, {mode:?}: it does not start again: {}", ended.stderr),
    };
    let now = (authority(&ground), store(&broker).await);
    if let Some(seen) = seen {
        assert_eq!(seen, now.0, "cut at {at}, {mode:?}: another CA, though the first was given to somebody");
    }
    use_it(&broker).await;
    broker.kill();
    ground.disk.cut();
    ground.lose(dice.loss(mode));
    let broker = spec(&world, &ground).start();
    assert_eq!((authority(&ground), store(&broker).await), now);
    is_there(&broker).await;
    let names: BTreeSet<_> =
        std::fs::read_dir(broker.ca()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name != "ca.making"), "{names:?}");
    Some(was_cut)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_cut_anywhere_is_followed_by_one_that_works() {
    let test = "a_first_start_that_is_cut_anywhere_is_followed_by_one_that_works";
    let seed = seed();
    let mut dice = Dice(seed);
    let step = if is_long() { 1 } else { STEP };
    let mut at = dice.below(step);
    let mut cuts = 0;
    say(&format!("{test}: seed {seed}"));
    while let Some(was_cut) = cut_first_start(test, at, &mut dice).await {
        if !was_cut {
            assert!(cuts > 3, "only {cuts} cuts");
            return say(&format!("{test}: {cuts} starts were cut, {at} operations"));
        }
        cuts += 1;
        at += step;
    }
}
