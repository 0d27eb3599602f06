//! `fanal bench`: figures of a run without loss, loss that it finds, and that it leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use fanal_tests::broker::{Broker, World};
use fanal_tests::cli;
use fanal_tests::http::Metrics;
use fanal_tests::process::Finished;
use fanal_tests::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};

fn bench(broker: &Broker, args: &[&str]) -> Vec<String> {
    let data = broker.data_arg();
    let all = ["bench", "--data", &data, "--json"].into_iter().chain(args.iter().copied());
    all.map(str::to_owned).collect()
}

fn report(finished: &Finished) -> Value {
    assert_eq!(finished.stdout.len(), 1, "{}", finished.stderr);
    serde_json::from_str(&finished.stdout[0]).unwrap()
}

fn subscriptions(broker: &Broker) -> Value {
    let finished = cli::run(["subscriptions", "--data", &broker.data_arg(), "--json"]);
    serde_json::from_str::<Value>(&finished.stdout.join("")).unwrap()["subscriptions"].clone()
}

#[test]
fn every_event_is_counted_timed_and_checked() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let finished = cli::run(bench(
        &broker,
        &["--events", "2000", "--warm-up", "0", "--publishers", "3", "--subscribers", "2"],
    ));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let live = report(&finished);
    assert_eq!(
        (&live["ok"], &live["broker"], &live["interrupted"]),
        (&json!(true), &json!("ewr"), &json!(false))
    );
    assert_eq!((&live["published"]["events"], &live["delivered"]["events"]), (&json!(2000), &json!(4000)));
    let check = json!({"expected": 4000, "received": 4000, "lost": 0, "duplicates": 0, "out_of_order": 0, "told_missing": 0});
    assert_eq!(live["check"], check);
    assert_eq!(
        (&live["publish_latency"]["samples"], &live["delivery_latency"]["samples"]),
        (&json!(2000), &json!(4000))
    );
    for side in ["publish_latency", "delivery_latency"] {
        let at = |name: &str| live[side][name].as_f64().unwrap();
        assert!(
            0.0 < at("p50_ms")
                && at("p50_ms") <= at("p99_ms")
                && at("p99_ms") <= at("p999_ms")
                && at("p999_ms") <= at("max_ms")
        );
    }

    // An open loop of known length, at durable subscribers with predicates.
    let flags = [
        "--events",
        "500",
        "--rate",
        "1000",
        "--warm-up",
        "0.1",
        "--durable",
        "--predicate",
        "--filters",
        "20",
    ];
    let finished = cli::run(bench(&broker, &flags));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let open = report(&finished);
    assert_eq!((&open["check"]["lost"], &open["published"]["events"]), (&json!(0), &json!(500)));
    assert!(open["rate"].as_f64().unwrap() < 1010.0, "never faster than asked: {open}");
    assert!(open["published"]["seconds"].as_f64().unwrap() >= 0.499, "{open}");
    assert_eq!(subscriptions(&broker), json!([]), "durable subscriptions are removed");
}

#[test]
fn what_a_broker_drops_is_found_and_is_a_failure() {
    let world = World::new();
    let config = world.path("fanal.toml");
    std::fs::write(&config, "[limits]\nlive_buffer_bytes = 4096\nlive_memory_bytes = 65536\n").unwrap();
    let broker = world.broker("ewr").config(config).start();
    let finished = cli::run(bench(
        &broker,
        &[
            "--class",
            "best-effort",
            "--events",
            "20000",
            "--size",
            "1000",
            "--window",
            "100000",
            "--warm-up",
            "0",
        ],
    ));
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let report = report(&finished);
    let lost = report["check"]["lost"].as_u64().unwrap();
    assert!(lost > 0 && report["ok"] == false, "{report}");
    assert_eq!(report["check"]["received"].as_u64().unwrap() + lost, 20_000);
    assert_eq!(report["check"]["told_missing"], lost, "the broker said so itself");
    assert!(finished.stderr.contains("lost"), "{}", finished.stderr);
}

#[tokio::test]
async fn ctrl_c_ends_it_with_what_was_measured_and_leaves_nothing_behind() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    for (rate, signal) in [(&["--rate", "500"][..], Signal::INT), (&[], Signal::TERM)] {
        let flags =
            [&["--seconds", "10m", "--warm-up", "0", "--durable", "--subscribers", "2"], rate].concat();
        let mut running = cli::start(bench(&broker, &flags));
        until("two durable subscriptions", || {
            let all = subscriptions(&broker);
            (all.as_array().unwrap().len() == 2 && all[0]["kind"] == "durable").then_some(())
        })
        .await;
        running.signal(signal);
        let finished = running.finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        // The signal may come before the first event.
        if !finished.stdout.is_empty() {
            let report = report(&finished);
            assert_eq!((&report["ok"], &report["interrupted"]), (&json!(true), &json!(true)));
        }
        assert_eq!(subscriptions(&broker), json!([]));
    }
}

#[test]
fn a_load_that_would_tell_nothing_of_the_broker_is_refused() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    for pace in [["--window", "8"], ["--rate", "1000"]] {
        let flags = ["--class", "best-effort", "--subscribers", "0", "--events", "10"];
        let finished = cli::run(bench(&broker, &[&flags[..], &pace].concat()));
        assert_eq!((finished.code, finished.stdout.len()), (Some(2), 0), "{}", finished.stderr);
        assert!(finished.stderr.contains("best effort without subscribers"), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_broker_that_hangs_is_a_failure_even_without_subscribers() {
    // It has to hang for as long as the load waits for it, 10 s.
    if !cli::is_long() {
        return;
    }
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let mut running =
        cli::start(bench(&broker, &["--subscribers", "0", "--seconds", "10m", "--warm-up", "0"]));
    until("events go in", || {
        (Metrics::of(&broker).sum("fanal_events_published_total", &[]) > 0.0).then_some(())
    })
    .await;
    broker.pause();
    until("it gives up", || running.has_ended().then_some(())).await;
    broker.resume();
    let finished = running.finish();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let report = report(&finished);
    assert_eq!((&report["ok"], &report["stalled"]), (&json!(false), &json!(true)), "{report}");
    assert!(report["without_receipt"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["published"]["events"], report["publish_latency"]["samples"]);
    assert!(finished.stderr.contains("the run stood still"), "{}", finished.stderr);
}
