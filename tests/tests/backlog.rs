//! What a mailbox that has filled up must still do: found by reading the code against the contract.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::time::{Duration, Instant};

use fanal_client::{Item, PublishError};
use fanal_protocol::control::Subscribe;
use fanal_tests::broker::World;
use fanal_tests::http::{Metrics, balanced};
use fanal_tests::raw::{PLENTY, Raw, RawItem};
use fanal_tests::subscriber::payloads;
use fanal_tests::wait::{until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_events_use_up_no_credit() {
    const EXPIRED: usize = 200;
    let ttl = Duration::from_millis(100);
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    drop(client.subscribe("t/#").durable("orders").await.unwrap());
    for n in 0..EXPIRED {
        client.publish("t/a").payload(format!("late {n}")).ttl(ttl).post().await.unwrap();
    }
    client.publish("t/a").payload("in time").await.unwrap();
    let published = Instant::now();
    until("the TTL to be over", || (published.elapsed() > ttl).then_some(())).await;

    let mut raw = Raw::attach(&broker).await;
    let mut events = raw.events();
    let subscribe = Subscribe {
        channel: 1,
        filter: "t/#".into(),
        durable: Some("orders".into()),
        wait: Some("home".into()),
        credit_events: 5,
        credit_bytes: PLENTY,
        ..Subscribe::default()
    };
    raw.subscribe(subscribe).await.unwrap();
    match within("the event behind the expired ones", events.recv()).await.unwrap() {
        RawItem::Event(event) => assert_eq!(event.payload, b"in time"),
        RawItem::Gap(gap) => panic!("{gap:?}"),
    }
    until("the expired events to be counted", || {
        let count = Metrics::of(&broker).sum("fanal_events_expired_total", &[("class", "durable")]);
        (count == EXPIRED as f64).then_some(())
    })
    .await;
    balanced(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_large_events_stays_within_the_byte_credit() {
    const COUNT: usize = 60;
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    drop(client.subscribe("t/#").durable("orders").await.unwrap());
    let large = |n: usize| format!("{n:03}{}", "x".repeat(100_000));
    for n in 0..COUNT {
        client.publish("t/a").payload(large(n)).await.unwrap();
    }
    client.close().await.unwrap();
    broker.crash();

    let client = broker.client().await;
    let subscribe = client.subscribe("t/#").durable("orders").credit(1_000, 300_000);
    let mut orders = within("the subscription", subscribe).await.unwrap();
    for n in 0..COUNT {
        match within("a large event", orders.next()).await.unwrap().unwrap() {
            Item::Delivery(delivery) => {
                assert_eq!(delivery.payload(), large(n));
                delivery.ack();
            }
            Item::Gap(gap) => panic!("{gap:?}"),
        }
    }
    within("the acks", orders.flush_acks()).await.unwrap();
    assert_eq!(client.connection_losses(), 0, "the broker kept to the credit");
    balanced(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_above_the_peers_limit_stops_neither_path_of_the_link() {
    let world = World::new();
    let config = world.path("large.toml");
    std::fs::write(&config, "[limits]\nbody_bytes_max = \"4 MiB\"\n").unwrap();
    let ewr = world.broker("ewr").config(config).start();
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let subscriber = jfk.client().await;
    let mut orders = subscriber.subscribe("t/#").durable("orders").await.unwrap();
    let mut live = subscriber.subscribe("t/#").await.unwrap();
    let publisher = ewr.client().await;
    let large = publisher.publish("t/a").payload(vec![7; 2 << 20]);
    assert_eq!(within("a receipt", large).await.unwrap().destinations, 1);
    publisher.publish("t/a").payload("small").await.unwrap();

    assert_eq!(payloads(&mut orders, 1).await, ["small"]);
    match within("a gap", live.next()).await.unwrap().unwrap() {
        Item::Gap(gap) => assert_eq!(gap.reason, "too_large"),
        Item::Delivery(delivery) => panic!("{}", delivery.id()),
    }
    assert_eq!(payloads(&mut live, 1).await, ["small"]);
    let dropped = [("class", "peer"), ("reason", "too_large")];
    until("the event to be counted", || {
        (Metrics::of(&ewr).sum("fanal_events_dropped_total", &dropped) == 1.0).then_some(())
    })
    .await;
    balanced(&ewr).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_without_number_reach_their_publisher() {
    const COUNT: u64 = 12_000;
    let world = World::new();
    let broker = world.broker("ewr").start();
    let mut raw = Raw::attach(&broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    // Sequence 1 never comes: all others are blocked by it.
    for sequence in 2..=COUNT {
        publisher.publish(sequence, "t/a", b"x").await;
    }
    let receipts = raw.receipts(COUNT as usize - 1).await;
    assert!(receipts.iter().all(|(_, code)| *code == 425));
    publisher.publish(1, "t/a", b"x").await;
    assert_eq!(raw.receipts(1).await, [(1, 200)], "the connection lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_published_to_without_end_still_stops() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let mut publishers = Vec::new();
    for _ in 0..3 {
        let client = broker.client().await;
        publishers.push(tokio::spawn(async move {
            let mut acked = 0u64;
            loop {
                match client.publish("t/a").payload("x").timeout(Duration::from_secs(5)).await {
                    Ok(_) => acked += 1,
                    Err(PublishError::Refused(_) | PublishError::TimedOut { .. }) => return acked,
                    Err(_) => return acked,
                }
            }
        }));
    }
    until("events to be published", || {
        (Metrics::of(&broker).sum("fanal_events_published_total", &[]) > 100.0).then_some(())
    })
    .await;
    broker.terminate();
    for publisher in publishers {
        assert!(within("the publisher to notice", publisher).await.unwrap() > 0);
    }
}
