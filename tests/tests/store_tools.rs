//! `fanal store` on the data directories of real brokers: what it says, what a repair keeps, and what
//! a backup that was put back must not do.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::path::Path;

use fanal_client::{Client, Code, Item, Subscription, WaitFor};
use fanal_tests::broker::{Broker, World};
use fanal_tests::cli;
use fanal_tests::http::Metrics;
use fanal_tests::process::Finished;
use fanal_tests::subscriber::payloads;
use fanal_tests::wait::{until, within};
use serde_json::{Value, json};

/// Small segments are made, copied and read sooner.
fn small_segments(world: &World) -> std::path::PathBuf {
    let config = world.path("small.toml");
    std::fs::write(&config, "[limits]\nsegment_bytes = \"4 MiB\"\n").unwrap();
    config
}

fn store(data: &Path, args: &[&str]) -> Finished {
    let data = data.to_string_lossy();
    cli::run([&["store"], args, &["--data", &data]].concat())
}

/// The answer for programs, and the exit code.
fn answer(data: &Path, args: &[&str]) -> (Value, Option<i32>) {
    let finished = store(data, &[args, &["--json"]].concat());
    let line = finished.stdout.first().unwrap_or_else(|| panic!("{args:?}: {}", finished.stderr));
    (serde_json::from_str(line).unwrap(), finished.code)
}

async fn publish(client: &Client, payloads: std::ops::RangeInclusive<u32>) {
    let publisher = client.publisher();
    for n in payloads {
        let sent = publisher.publish("t/a").payload(n.to_string()).send().await.unwrap();
        let receipt = within("a receipt", sent).await.unwrap();
        assert_eq!(receipt.code, Code::Durable, "{receipt:?}");
    }
}

fn texts(numbers: std::ops::RangeInclusive<u32>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

/// A broker with events 1 to 9 queued for a subscription that is away, stopped.
async fn with_a_queue(world: &World) -> Broker {
    let mut broker = world.broker("ewr").config(small_segments(world)).start();
    let client = broker.client().await;
    drop(
        within("a receipt", client.subscribe("t/#").durable("billing").wait_for(WaitFor::Home))
            .await
            .unwrap(),
    );
    publish(&client, 1..=9).await;
    let _ = client.close().await;
    broker.terminate();
    broker
}

async fn queued(broker: &Broker, count: usize) -> Vec<String> {
    let client = broker.client().await;
    let billing = client.subscribe("t/#").durable("billing").wait_for(WaitFor::Home);
    let mut billing = within("a receipt", billing).await.unwrap();
    let got = payloads(&mut billing, count).await;
    within("acks", billing.flush_acks()).await.unwrap();
    got
}

/// Flips a bit of a byte string in a segment.
fn damage(data: &Path, needle: &[u8]) {
    let store = data.join("store");
    for entry in std::fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                bytes[at] ^= 0x20;
                return std::fs::write(&path, bytes).unwrap();
            }
        }
    }
    panic!("no segment holds it");
}

/// Bytes of the files of the store.
fn contents(data: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(data.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    let mut all: Vec<_> =
        files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_looks_and_a_repair_keeps_what_can_be_read() {
    let world = World::new();
    let mut broker = world.broker("ewr").config(small_segments(&world)).start();
    let refused = store(broker.data(), &["check"]);
    let pid = broker.process.id().to_string();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains(&format!("process {pid}")), "{}", refused.stderr);
    broker.terminate();
    drop(broker);

    let world = World::new();
    let mut broker = with_a_queue(&world).await;
    let data = broker.data().to_path_buf();
    let before = contents(&data);
    let (clean, code) = answer(&data, &["check"]);
    assert_eq!((code, &clean["damaged"], &clean["starts"]), (Some(0), &json!(false), &json!(true)));
    let mailbox = &clean["mailboxes"][0];
    assert_eq!((&mailbox["name"], &mailbox["queued_events"]), (&json!("billing"), &json!(9)));
    let shown = store(&data, &["check"]);
    assert!(shown.stdout.iter().any(|line| line == "everything is there"), "{:?}", shown.stdout);
    let (plan, _) = answer(&data, &["repair"]);
    assert_eq!(plan["needed"], false);
    let dumped = store(&data, &["dump", "--mailbox", "billing", "--events", "--json"]);
    let events: Vec<Value> = dumped.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event["data"].as_str().unwrap()).collect::<Vec<_>>(), texts(1..=9));
    let nobody = store(&data, &["dump", "--mailbox", "nobody"]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("fanal store check"), "{}", nobody.stderr);
    assert!(contents(&data) == before, "a look changes nothing");

    // One event is damaged, and both copies of the metadata: a broker does not start on that.
    let dump = store(&data, &["dump", "--json"]);
    let fifth = dump.stdout.iter().find(|line| line.contains("\"event\"") && line.contains("\"sequence\":5"));
    assert!(fifth.is_some(), "{:?}", dump.stdout);
    damage(&data, b"t/a");
    for name in ["meta.a", "meta.b"] {
        let path = data.join("store").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let before = contents(&data);
    let (damaged, code) = answer(&data, &["check"]);
    assert_eq!((code, &damaged["damaged"], &damaged["starts"]), (Some(1), &json!(true), &json!(false)));
    let (plan, code) = answer(&data, &["repair"]);
    assert_eq!((code, &plan["needed"], &plan["done"]), (Some(0), &json!(true), &json!(false)));
    assert_eq!(plan["kept_events"], 8, "{plan}");
    let shown = store(&data, &["repair"]).stdout.join("\n");
    assert!(shown.contains("would keep 8 queued events") && shown.contains("--yes"), "{shown}");
    assert!(contents(&data) == before, "a plan changes nothing");
    let (done, code) = answer(&data, &["repair", "--yes"]);
    assert_eq!((code, &done["done"], &done["kept_events"]), (Some(0), &json!(true), &json!(8)));
    assert!(done["recovery_epoch"].as_u64().unwrap() > 1_700_000_000);

    broker.restart();
    assert_eq!(queued(&broker, 8).await, texts(2..=9));
    publish(&broker.client().await, 10..=12).await;
    assert_eq!(queued(&broker, 3).await, texts(10..=12));
}

#[test]
fn what_is_no_store_is_said_and_left_alone() {
    let world = World::new();
    let missing = store(&world.path("nowhere"), &["check"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("--data DIR"), "{}", missing.stderr);
    assert!(!world.path("nowhere").exists());
    let empty = world.path("empty");
    std::fs::create_dir_all(empty.join("store")).unwrap();
    for args in [&["check"][..], &["repair", "--yes"], &["repair", "--restored", "--yes"]] {
        let finished = store(&empty, args);
        assert_eq!(finished.code, Some(1), "{args:?}: {:?}", finished.stdout);
    }
    let left: Vec<_> =
        std::fs::read_dir(empty.join("store")).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(left.iter().all(|path| path.ends_with("LOCK")), "{left:?}");
    let creds = cli::run(["store", "check", "--creds", "x"]);
    assert!(creds.code == Some(2) && creds.stderr.contains("--data"), "{}", creds.stderr);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Takes deliveries up to and with one of this payload; gaps are passed over.
async fn until_payload(subscription: &mut Subscription, last: &str) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        match within("an item", subscription.next()).await {
            Some(Ok(Item::Delivery(delivery))) => {
                got.push(String::from_utf8_lossy(&delivery.payload()).into_owned());
                delivery.ack();
                if got.last().is_some_and(|payload| payload == last) {
                    return got;
                }
            }
            Some(Ok(Item::Gap(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// ewr with a subscriber of its own and one at jfk, over a link; both are there all the time.
struct Pair {
    ewr: Broker,
    jfk: Broker,
    near: Subscription,
    far: Subscription,
    _clients: [Client; 2],
}

impl Pair {
    async fn start(world: &World) -> Pair {
        let config = small_segments(world);
        let ewr = world.broker("ewr").config(config.clone()).start();
        let jfk = world.broker("jfk").config(config).peer("ewr", ewr.listen()).start();
        let clients = [ewr.client().await, jfk.client().await];
        let near = clients[0].subscribe("t/#").durable("near").wait_for(WaitFor::Home);
        let near = within("a receipt", near).await.unwrap();
        let far = clients[1].subscribe("t/#").durable("far").wait_for(WaitFor::Broker("ewr".into()));
        let far = within("a receipt", far).await.unwrap();
        Pair { ewr, jfk, near, far, _clients: clients }
    }

    /// Publishes and takes all of it, acked.
    async fn pass(&mut self, numbers: std::ops::RangeInclusive<u32>) {
        let last = numbers.end().to_string();
        publish(&self.ewr.client().await, numbers).await;
        until_payload(&mut self.near, &last).await;
        until_payload(&mut self.far, &last).await;
        within("acks", self.near.flush_acks()).await.unwrap();
        within("acks", self.far.flush_acks()).await.unwrap();
    }

    /// Events 1 to 5, a backup of the stopped broker, 6 to 10, and the backup put back.
    async fn put_back(&mut self, world: &World) {
        self.pass(1..=5).await;
        // What the peer has acked must be part of the backup.
        until("the peer's acks", || {
            (Metrics::of(&self.ewr).sum("fanal_link_lag_events", &[]) == 0.0).then_some(())
        })
        .await;
        self.ewr.terminate();
        let (store, backup) = (self.ewr.data().join("store"), world.path("backup"));
        copy_folder(&store, &backup);
        self.ewr.restart();
        self.pass(6..=10).await;
        self.ewr.terminate();
        std::fs::remove_dir_all(&store).unwrap();
        copy_folder(&backup, &store);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_is_a_duplicate_after_a_backup_was_put_back() {
    let world = World::new();
    let mut pair = Pair::start(&world).await;
    pair.put_back(&world).await;
    let data = pair.ewr.data().to_path_buf();
    let (plan, _) = answer(&data, &["repair", "--restored"]);
    assert_eq!(plan["restored"]["done"], false);
    let (raised, code) = answer(&data, &["repair", "--restored", "--yes"]);
    assert_eq!((code, &raised["restored"]["done"]), (Some(0), &json!(true)));
    assert_eq!(raised["restored"]["recovery_epoch_before"], 0);
    pair.ewr.restart();
    publish(&pair.ewr.client().await, 11..=20).await;
    assert_eq!(until_payload(&mut pair.near, "20").await, texts(11..=20));
    assert_eq!(until_payload(&mut pair.far, "20").await, texts(11..=20));
    let duplicates = Metrics::of(&pair.jfk).sum("fanal_link_duplicates_total", &[]);
    assert_eq!(duplicates, 0.0);
}

/// The control: without it new events are taken for old ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_raised_epoch_a_restored_backup_loses_new_events() {
    let world = World::new();
    let mut pair = Pair::start(&world).await;
    pair.put_back(&world).await;
    pair.ewr.restart();
    publish(&pair.ewr.client().await, 11..=20).await;
    let far = until_payload(&mut pair.far, "20").await;
    assert!(far.len() < 10, "{far:?}");
    pair.ewr.excuse_ledger("a backup was put back without raising the recovery epoch");
    pair.jfk.excuse_ledger("its peer gave numbers twice");
}
