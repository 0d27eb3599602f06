//! Real events through two brokers: every subscriber gets exactly what a plain pass over the file
//! gives, live, and durable with both brokers killed in between.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::path::PathBuf;
use std::time::Duration;

use fanal_client::{Client, Code, PendingReceipt};
use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::cli;
use fanal_tests::flights::{Filter, Flight, TOPIC, filters, load};
use fanal_tests::http::{Metrics, balanced};
use fanal_tests::subscriber::{CliSubscriber, payloads, subscribe};
use fanal_tests::wait::within;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The filter of index N subscribes at ewr when N is even, else at jfk.
fn is_at_ewr(index: usize) -> bool {
    index.is_multiple_of(2)
}

/// Every third subscribes through `fanal subscribe`, the others through the library.
fn is_cli(index: usize) -> bool {
    index.is_multiple_of(3)
}

/// A subscriber at work; gives the payloads that it got.
enum Reader {
    Cli(CliSubscriber),
    Library(JoinHandle<Vec<String>>),
}

struct Subscribers<'a> {
    filters: &'a [Filter],
    readers: Vec<Reader>,
}

impl<'a> Subscribers<'a> {
    async fn start(
        brokers: [&Broker; 2],
        filters: &'a [Filter],
        flights: &[Flight],
        is_durable: bool,
    ) -> Self {
        let clients = [brokers[0].client().await, brokers[1].client().await];
        let mut readers = Vec::new();
        for (index, filter) in filters.iter().enumerate() {
            let count = filter.expected(flights).len();
            assert!(count > 0, "{} matches nothing: it proves nothing", filter.name);
            let at = usize::from(!is_at_ewr(index));
            readers.push(match is_cli(index) {
                true => Reader::Cli(CliSubscriber::flights(brokers[at], filter, is_durable, count)),
                false => library(&clients[at], filter, is_durable, count).await,
            });
        }
        Subscribers { filters, readers }
    }

    async fn check(self, flights: &[Flight]) {
        for (filter, reader) in self.filters.iter().zip(self.readers) {
            let expected = filter.expected(flights);
            match reader {
                Reader::Library(task) => {
                    let got = within(filter.name, task).await.unwrap();
                    let expected: Vec<&str> = expected.iter().map(|flight| flight.line.as_str()).collect();
                    assert_same(filter, &got, &expected, |a, b| a == b);
                }
                Reader::Cli(subscriber) => {
                    let got = subscriber.deliveries();
                    assert_same(filter, &got, &expected, |a: &Value, b| {
                        a["data"] == b.value && a["topic"] == b.topic.as_str()
                    });
                }
            }
        }
    }
}

async fn library(client: &Client, filter: &Filter, is_durable: bool, count: usize) -> Reader {
    let mut subscription = subscribe(client, filter, is_durable).await;
    let receipt = subscription.receipt();
    assert_eq!(receipt.pending, [], "{}", filter.name);
    assert_eq!(receipt.installed.len(), 2, "{receipt:?}");
    Reader::Library(tokio::spawn(async move {
        let got = payloads(&mut subscription, count).await;
        subscription.flush_acks().await.unwrap();
        assert!(subscription.try_next().is_none(), "more than the plain pass gives");
        got
    }))
}

fn assert_same<A, B>(filter: &Filter, got: &[A], expected: &[B], same: impl Fn(&A, &B) -> bool)
where
    A: std::fmt::Debug,
{
    let wrong = got.iter().zip(expected).position(|(a, b)| !same(a, b));
    if let Some(at) = wrong {
        panic!("{}: delivery {at} of {} is not the plain pass's: {:?}", filter.name, expected.len(), got[at]);
    }
    assert_eq!(got.len(), expected.len(), "{}", filter.name);
}

fn write_file(world: &World, name: &str, flights: &[Flight]) -> PathBuf {
    let path = world.path(name);
    let text: String = flights.iter().map(|flight| format!("{}\n", flight.line)).collect();
    std::fs::write(&path, text).unwrap();
    path
}

/// One `fanal publish --ndjson`; every line must be durable.
fn publish_file(broker: &Broker, file: PathBuf, count: usize) {
    let (data, file) = (broker.data_arg(), file.to_string_lossy().into_owned());
    let args = ["publish", "--data", &data, "--ndjson", &file, "--topic", TOPIC, "--receipts"];
    let finished = cli::run(args);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(finished.stdout.len(), count);
    for (index, line) in finished.stdout.iter().enumerate() {
        let receipt: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&receipt["line"], &receipt["code"]), (&Value::from(index + 1), &Value::from(200)));
    }
}

/// How often events must reach each broker's subscriptions, and cross the link.
fn routed(filters: &[Filter], flights: &[Flight]) -> ([f64; 2], f64) {
    let mut sums = [0.0; 2];
    for (index, filter) in filters.iter().enumerate() {
        sums[usize::from(!is_at_ewr(index))] += filter.expected(flights).len() as f64;
    }
    let far: Vec<_> = filters.iter().enumerate().filter(|(index, _)| !is_at_ewr(*index)).collect();
    let crossing = flights.iter().filter(|flight| far.iter().any(|(_, filter)| (filter.matches)(flight)));
    (sums, crossing.count() as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_live_subscriber_gets_what_the_plain_pass_gives() {
    let flights = load("every_live_subscriber_gets_what_the_plain_pass_gives");
    let (world, filters) = (World::new(), filters());
    let ewr = world.broker("ewr").start();
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let subscribers = Subscribers::start([&ewr, &jfk], &filters, &flights, false).await;

    publish_file(&ewr, write_file(&world, "flights.ndjson", &flights), flights.len());
    subscribers.check(&flights).await;

    let (near_far, crossing) = routed(&filters, &flights);
    let metrics = [balanced(&ewr).await, balanced(&jfk).await];
    for (metrics, expected) in metrics.iter().zip(near_far) {
        assert_eq!(metrics.sum("fanal_routes_total", &[("class", "live")]), expected);
        assert_eq!(metrics.sum("fanal_events_delivered_total", &[("class", "live")]), expected);
        assert_eq!(metrics.sum("fanal_events_dropped_total", &[]), 0.0);
    }
    assert_eq!(metrics[0].sum("fanal_events_published_total", &[]), flights.len() as f64);
    // Each event crosses the link once, however many subscriptions over there want it.
    assert_eq!(metrics[0].sum("fanal_routes_total", &[("class", "peer_live")]), crossing);
    assert_eq!(metrics[1].sum("fanal_events_received_total", &[("peer", "ewr")]), crossing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_durable_subscriber_gets_what_the_plain_pass_gives_though_both_brokers_are_killed() {
    let flights = load("every_durable_subscriber_gets_what_the_plain_pass_gives");
    let (world, filters) = (World::new(), filters());
    let (at_ewr, at_jfk) = (free_address(), free_address());
    let mut ewr = world.broker("ewr").listen(at_ewr).peer("jfk", at_jfk).start();
    let mut jfk = world.broker("jfk").listen(at_jfk).peer("ewr", at_ewr).start();
    create(&ewr, &jfk, &filters).await;

    let (first, second) = flights.split_at(flights.len() / 2);
    publish_file(&ewr, write_file(&world, "first.ndjson", first), first.len());
    ewr.kill();
    jfk.kill();
    ewr.restart();
    jfk.restart();
    publish_through_crashes(second, &mut ewr, &mut jfk).await;

    let subscribers = Subscribers::start([&ewr, &jfk], &filters, &flights, true).await;
    subscribers.check(&flights).await;
    for broker in [&ewr, &jfk] {
        let metrics = balanced(broker).await;
        assert_eq!(metrics.sum("fanal_ledger_queued", &[("class", "durable")]), 0.0);
        assert_eq!(metrics.sum("fanal_ledger_queued", &[("class", "peer")]), 0.0);
        assert!(metrics.sum("fanal_events_acked_total", &[("class", "durable")]) > 0.0);
        let lost =
            ["fanal_events_dropped_total", "fanal_events_expired_total", "fanal_events_dead_lettered_total"];
        assert_eq!(lost.map(|name| metrics.sum(name, &[("class", "durable")])), [0.0; 3]);
    }
}

/// Makes every durable subscription and lets go of it again.
async fn create(ewr: &Broker, jfk: &Broker, filters: &[Filter]) {
    let clients = [ewr.client().await, jfk.client().await];
    for (index, filter) in filters.iter().enumerate() {
        let made = subscribe(&clients[usize::from(!is_at_ewr(index))], filter, true).await;
        assert_eq!((made.receipt().resumed, made.receipt().installed.len()), (false, 2), "{}", filter.name);
    }
    for client in clients {
        client.close().await.unwrap();
    }
}

/// Publishes at ewr without a pause, while one broker after the other is killed and restarted.
async fn publish_through_crashes(flights: &[Flight], ewr: &mut Broker, jfk: &mut Broker) {
    let builder = Client::builder(&ewr.credentials())
        .publish_timeout(Duration::from_secs(60))
        .publish_window((flights.len() / 16).min(4096), 8 << 20);
    let client = builder.connect().await.unwrap();
    let publisher = client.publisher();
    let (sender, mut pending) = mpsc::channel::<PendingReceipt>(flights.len());
    let send_all = async {
        for flight in flights {
            sender.send(flight.publish(&publisher).send().await.unwrap()).await.unwrap();
        }
    };
    // More is left after each than the window holds: none comes after everything was acked.
    let (at_jfk, at_ewr, at_both) = (flights.len() / 8, flights.len() / 4, flights.len() / 2);
    let await_all = async {
        for index in 0..flights.len() {
            if index == at_jfk || index == at_both {
                tokio::task::block_in_place(|| jfk.crash());
            }
            if index == at_ewr || index == at_both {
                tokio::task::block_in_place(|| ewr.crash());
            }
            let receipt = within("a receipt", pending.recv().await.unwrap()).await.unwrap();
            assert!(matches!(receipt.code, Code::Durable | Code::Duplicate), "{receipt:?}");
        }
    };
    tokio::join!(send_all, await_all);
    assert!(client.connection_losses() >= 2, "the crashes came between");
    client.close().await.unwrap();
}

#[test]
fn every_name_of_the_ledger_exists_from_the_start() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let metrics = Metrics::of(&broker);
    for name in [
        "fanal_events_published_total",
        "fanal_routes_total",
        "fanal_events_delivered_total",
        "fanal_events_acked_total",
        "fanal_ledger_queued",
        "fanal_ledger_queued_at_start",
        "fanal_events_expired_total",
        "fanal_events_dead_lettered_total",
        "fanal_events_dropped_total",
        "fanal_events_duplicate_total",
        "fanal_publish_refused_total",
        "fanal_sessions",
        "fanal_subscriptions",
        "fanal_store_bytes",
        "fanal_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.has(name), "{name}");
    }
}
