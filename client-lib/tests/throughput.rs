//! The library under load against a broker in this process that does next to nothing: everything
//! arrives. It prints rates; for figures, more events:
//! FANAL_LONG=1 cargo test --release -p fanal-client --test throughput -- --nocapture

#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod common;

use std::time::Instant;

use common::Broker;
use fanal_client::{Body, BodyBuilder, Client, Item};

fn events() -> u64 {
    if std::env::var_os("FANAL_LONG").is_some() { 2_000_000 } else { 50_000 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way() {
    let events = events();
    let broker = Broker::start();
    broker.state().is_sink = true;
    let client =
        Client::builder(&broker.credentials()).publish_window(65_536, 32 << 20).connect().await.unwrap();
    let body: Body = BodyBuilder::new().payload(vec![1; 16]).build().unwrap();
    for (name, best_effort, encoded) in
        [("post", false, false), ("post encoded", false, true), ("post best effort", true, true)]
    {
        let publisher = client.publisher();
        let started = Instant::now();
        for _ in 0..events {
            let publish = publisher.publish("bench/one");
            let publish = if best_effort { publish.best_effort() } else { publish };
            let publish = if encoded { publish.encoded(body.clone()) } else { publish.payload(vec![1; 16]) };
            publish.post().await.unwrap();
        }
        publisher.flush().await;
        println!("{name}: {:.2} M/s", events as f64 / started.elapsed().as_secs_f64() / 1e6);
    }
    let started = Instant::now();
    let mut pending = std::collections::VecDeque::new();
    for _ in 0..events {
        pending.push_back(client.publish("bench/one").payload(vec![1; 16]).send().await.unwrap());
        if pending.len() > 32_768 {
            pending.pop_front().unwrap().await.unwrap();
        }
    }
    for receipt in pending {
        receipt.await.unwrap();
    }
    println!("send and await: {:.2} M/s", events as f64 / started.elapsed().as_secs_f64() / 1e6);

    let mut live = client.subscribe("#").await.unwrap();
    let started = Instant::now();
    broker.send_live("bench/one", &[1; 16], events);
    println!("(made in {:.2} s)", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let mut seen = 0;
    while seen < events {
        match live.next().await {
            Some(Ok(Item::Delivery(delivery))) => seen += delivery.payload().len() as u64 / 16,
            other => panic!("{other:?}"),
        }
    }
    println!("live deliveries: {:.2} M/s", events as f64 / started.elapsed().as_secs_f64() / 1e6);
}
