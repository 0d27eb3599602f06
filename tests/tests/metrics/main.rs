//! Every metric of a broker, moved by a real cause and checked to the number where there is one.
//!
//! Invariants: the table in `page.rs` names for each metric the test that moves it; no name of a
//! real page is missing there, and none is there too much. The papers (`docs/METRICS.md`) are
//! compared with a real page.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod chaos;
mod home;
mod limits;
mod link;
mod page;

use std::time::Instant;

use fanal_client::{Client, Code};
use fanal_protocol::control::Subscribe;
use fanal_tests::broker::{Broker, Spec, World};
use fanal_tests::http::Metrics;
use fanal_tests::raw::PLENTY;
use fanal_tests::wait::{BOUND, until, within};

/// A series as `name label=value …` and its value.
type Row<'a> = (&'a str, f64);

/// Sum of the samples that a row's series stands for.
fn value(metrics: &Metrics, series: &str) -> f64 {
    let mut words = series.split(' ');
    let name = words.next().unwrap();
    let labels: Vec<_> = words.map(|label| label.split_once('=').unwrap()).collect();
    metrics.sum(name, &labels)
}

/// Waits until a broker's page shows exactly these numbers; a copy is counted a moment after
/// somebody has seen it.
async fn shows(broker: &Broker, rows: &[Row<'_>]) -> Metrics {
    let began = Instant::now();
    until("numbers on the metrics page", || {
        let metrics = Metrics::of(broker);
        let wrong: Vec<_> = rows
            .iter()
            .map(|(series, wanted)| (*series, value(&metrics, series), *wanted))
            .filter(|(_, got, wanted)| got != wanted)
            .collect();
        if wrong.is_empty() {
            return Some(metrics);
        }
        assert!(began.elapsed() < BOUND / 6, "{}: (series, got, wanted): {wrong:#?}", broker.name());
        None
    })
    .await
}

/// A broker with limits of its own.
fn limited(world: &World, name: &str, limits: &str) -> Spec {
    let config = world.path(&format!("{name}.toml"));
    std::fs::write(&config, format!("[limits]\n{limits}\n")).unwrap();
    world.broker(name).config(config)
}

/// Publishes at least once, one receipt for all.
async fn publish(client: &Client, count: usize) {
    let mut pending = Vec::new();
    for n in 0..count {
        pending.push(client.publish("t/a").payload(format!("x{n}")).send().await.unwrap());
    }
    for receipt in pending {
        assert_eq!(within("a receipt", receipt).await.unwrap().code, Code::Durable);
    }
}

async fn publish_best_effort(client: &Client, count: usize, bytes: usize) {
    for _ in 0..count {
        let publish = client.publish("t/a").payload(vec![7; bytes]).best_effort().receipt();
        assert_eq!(within("a receipt", publish).await.unwrap().code, Code::Accepted);
    }
}

/// A durable subscription's mailbox without anybody attached.
async fn detached(broker: &Broker, client: &Client, name: &str) {
    drop(within("a receipt", client.subscribe("t/#").durable(name)).await.unwrap());
    until("the subscription to be let go", || {
        let (_, page) = fanal_tests::http::get(broker.admin(), "/api/v1/subscriptions");
        (!page.contains("\"attached\":true")).then_some(())
    })
    .await;
}

/// A subscribe request by hand, without credit.
fn request(channel: u32, durable: Option<&str>) -> Subscribe {
    Subscribe {
        channel,
        filter: "t/#".into(),
        durable: durable.map(str::to_owned),
        wait: Some("home".into()),
        ..Subscribe::default()
    }
}

fn with_credit(request: Subscribe) -> Subscribe {
    Subscribe { credit_events: PLENTY, credit_bytes: PLENTY, ..request }
}
