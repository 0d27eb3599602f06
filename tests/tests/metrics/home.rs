//! What clients of one broker move.

use std::time::{Duration, Instant};

use fanal_protocol::control::{Ack, Detach};
use fanal_protocol::event::{PublishHeader, TopicRef};
use fanal_protocol::{Class, Code, Control};
use fanal_tests::broker::World;
use fanal_tests::http::{Metrics, get};
use fanal_tests::raw::{PLENTY, Raw, RawItem};
use fanal_tests::subscriber::payloads;
use fanal_tests::wait::{until, within};
use tokio::sync::mpsc::Receiver;

use super::*;

/// The next events, whatever gaps come between.
async fn events(from: &mut Receiver<RawItem>, count: usize) {
    let mut got = 0;
    while got < count {
        if let RawItem::Event(_) = within("an event", from.recv()).await.unwrap() {
            got += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn each_event_is_counted_once_at_each_step() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut live = client.subscribe("t/#").await.unwrap();
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    publish(&client, 10).await;
    publish_best_effort(&client, 5, 10).await;
    // A durable subscription gets best effort live.
    payloads(&mut live, 15).await;
    payloads(&mut orders, 15).await;
    orders.flush_acks().await.unwrap();
    let metrics = shows(
        &broker,
        &[
            ("fanal_events_published_total class=at_least_once", 10.0),
            ("fanal_events_published_total class=best_effort", 5.0),
            ("fanal_routes_total class=live", 20.0),
            ("fanal_routes_total class=durable", 10.0),
            ("fanal_routes_total", 30.0),
            ("fanal_events_delivered_total class=live", 20.0),
            ("fanal_events_delivered_total class=durable", 10.0),
            ("fanal_events_acked_total class=live", 20.0),
            ("fanal_events_acked_total class=durable", 10.0),
            ("fanal_events_redelivered_total", 0.0),
            ("fanal_ledger_queued", 0.0),
            ("fanal_mailbox_events", 0.0),
            ("fanal_mailbox_bytes", 0.0),
            ("fanal_mailbox_oldest_age_seconds", 0.0),
            ("fanal_events_dropped_total", 0.0),
            ("fanal_publish_refused_total", 0.0),
            ("fanal_sessions state=connected", 1.0),
            ("fanal_subscriptions kind=live", 1.0),
            ("fanal_subscriptions kind=durable", 1.0),
            ("fanal_store_full", 0.0),
            ("fanal_store_stopped", 0.0),
        ],
    )
    .await;
    let second = broker.client().await;
    shows(&broker, &[("fanal_sessions state=connected", 2.0)]).await;
    second.close().await.unwrap();
    shows(&broker, &[("fanal_sessions state=connected", 1.0)]).await;

    let count = |name: &str| value(&metrics, &format!("{name}_count"));
    // At least one batch, and at most one for each publish, each turn, each block.
    for (name, at_most) in [
        ("fanal_publish_seconds", 10.0),
        ("fanal_delivery_seconds", 30.0),
        ("fanal_match_seconds", 15.0),
        ("fanal_store_flush_seconds", 64.0),
    ] {
        assert!((1.0..=at_most).contains(&count(name)), "{name}: {}", count(name));
        assert_eq!(value(&metrics, &format!("{name}_bucket le=+Inf")), count(name), "{name}");
        let sum = value(&metrics, &format!("{name}_sum"));
        assert!((0.0..60.0).contains(&sum), "{name}: {sum} s");
    }
    assert!(value(&metrics, "fanal_publish_seconds_sum") > value(&metrics, "fanal_match_seconds_sum"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_mailbox_shows_what_waits_how_much_and_since_when() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    detached(&broker, &client, "orders").await;
    let before = Instant::now();
    publish(&client, 4).await;
    let age = "fanal_mailbox_oldest_age_seconds kind=durable";
    let rows = [
        ("fanal_mailbox_events kind=durable", 4.0),
        ("fanal_ledger_queued class=durable", 4.0),
        ("fanal_ledger_queued_at_start class=durable", 0.0),
        ("fanal_mailbox_events kind=peer", 0.0),
        ("fanal_mailbox_oldest_age_seconds kind=peer", 0.0),
    ];
    let metrics = shows(&broker, &rows).await;
    let page: serde_json::Value = serde_json::from_str(&get(broker.admin(), "/api/v1/mailboxes").1).unwrap();
    let bytes = page["mailboxes"][0]["queued_bytes"].as_f64().unwrap();
    assert!(bytes > 0.0);
    assert_eq!(value(&metrics, "fanal_mailbox_bytes kind=durable"), bytes);
    let first = until("a mailbox that grows older", || {
        Some(value(&Metrics::of(&broker), age)).filter(|age| *age > 0.2)
    })
    .await;
    assert!(first < before.elapsed().as_secs_f64() + 0.01, "{first} s, after {:?}", before.elapsed());

    // Sent, not acked, sent again.
    for (round, delivered) in [(1, 4.0), (2, 8.0)] {
        let mut raw = Raw::attach(&broker).await;
        let mut incoming = raw.events();
        raw.subscribe(with_credit(request(1, Some("orders")))).await.unwrap();
        events(&mut incoming, 4).await;
        let rows = [
            ("fanal_events_delivered_total class=durable", delivered),
            ("fanal_events_redelivered_total", delivered - 4.0),
            ("fanal_mailbox_events kind=durable", 4.0),
        ];
        shows(&broker, &rows).await;
        if round == 2 {
            raw.send(Ack { channel: 1, ranges: vec![(1, 1), (1, 2)] }).await;
            raw.expect(|frame| matches!(frame, Control::Acked(_)).then_some(())).await;
        }
        raw.send(Detach { channel: 1 }).await;
    }
    shows(&broker, &[("fanal_events_acked_total class=durable", 2.0), ("fanal_mailbox_events", 2.0)]).await;

    // The age is the event's, not the process's.
    broker.crash();
    let rows = [
        ("fanal_ledger_queued_at_start class=durable", 2.0),
        ("fanal_ledger_queued class=durable", 2.0),
        ("fanal_routes_total", 0.0),
        ("fanal_events_acked_total", 0.0),
    ];
    let metrics = shows(&broker, &rows).await;
    assert!(value(&metrics, age) > first);
    let client = broker.client().await;
    client.remove_subscription("orders").await.unwrap();
    let rows = [
        ("fanal_events_dropped_total class=durable reason=removed", 2.0),
        ("fanal_subscriptions kind=durable", 0.0),
        ("fanal_ledger_queued", 0.0),
        (age, 0.0),
    ];
    shows(&broker, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn what_expires_is_counted_where_it_waited() {
    let ttl = Duration::from_millis(50);
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    detached(&broker, &client, "orders").await;
    let mut raw = Raw::attach(&broker).await;
    let mut incoming = raw.events();
    raw.subscribe(request(1, None)).await.unwrap();
    // By hand: the library gives an event up when its time is over before the receipt has come.
    let mut publisher = raw.publisher(9, None).await.unwrap();
    for sequence in 1..=3 {
        let header = PublishHeader {
            channel: 9,
            class: Class::AtLeastOnce,
            topic: TopicRef::Text("t/a"),
            sequence,
            ttl_ms: Some(ttl.as_millis() as u64),
            wants_receipt: false,
        };
        let mut bytes = Vec::new();
        header.encode(&[0x80], &mut Vec::new(), &mut bytes);
        publisher.write(&bytes).await;
    }
    assert_eq!(raw.receipts(3).await, [(1, 200), (2, 200), (3, 200)]);
    let published = Instant::now();
    publish(&client, 1).await;
    until("the TTL to be over", || (published.elapsed() > ttl).then_some(())).await;
    // Whoever waits for nobody's turn still waits.
    let rows = [
        ("fanal_events_expired_total", 0.0),
        ("fanal_ledger_queued class=live", 4.0),
        ("fanal_ledger_queued class=durable", 4.0),
    ];
    shows(&broker, &rows).await;
    raw.send(fanal_protocol::control::Credit { channel: 1, events: 1, bytes: PLENTY }).await;
    raw.subscribe(with_credit(request(2, Some("orders")))).await.unwrap();
    events(&mut incoming, 2).await;
    let rows = [
        ("fanal_events_expired_total class=live", 3.0),
        ("fanal_events_expired_total class=durable", 3.0),
        ("fanal_events_delivered_total class=live", 1.0),
        ("fanal_events_delivered_total class=durable", 1.0),
        ("fanal_ledger_queued class=live", 0.0),
        ("fanal_ledger_queued class=durable", 1.0),
    ];
    shows(&broker, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn every_refusal_is_counted_under_its_code() {
    let world = World::new();
    let broker = limited(&world, "ewr", "body_bytes_max = 2048").start();
    let mut raw = Raw::attach(&broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    publisher.publish(1, "t/a", b"x").await;
    publisher.publish(2, "t/+/bad", b"x").await;
    publisher.publish(2, "$own/t", b"x").await;
    publisher.publish(2, "t/a", &[7; 3000]).await;
    publisher.publish(3, "t/a", b"x").await;
    publisher.publish(4, "t/a", b"x").await;
    publisher.skip(2, 4).await;
    publisher.publish(3, "t/a", b"x").await;
    publisher.publish(1, "t/a", b"x").await;
    raw.receipts(8).await;
    let rows = [
        ("fanal_publish_refused_total code=400", 1.0),
        ("fanal_publish_refused_total code=403", 1.0),
        ("fanal_publish_refused_total code=409", 1.0),
        ("fanal_publish_refused_total code=413", 1.0),
        ("fanal_publish_refused_total code=425", 2.0),
        ("fanal_publish_refused_total", 6.0),
        // A duplicate is neither.
        ("fanal_events_published_total", 1.0),
    ];
    let metrics = shows(&broker, &rows).await;
    for code in Code::ALL.iter().map(|code| code.number()).filter(|code| *code >= 300) {
        assert!(metrics.count("fanal_publish_refused_total", &[("code", &code.to_string())]) == 1, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_subscription_that_goes_while_it_is_published_to_takes_its_entries_along() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let (one, other) = (broker.client().await, broker.client().await);
    for _ in 0..10 {
        let mut orders = one.subscribe("t/#").durable("orders").await.unwrap();
        let publishing = publish(&other, 100);
        let removing = async {
            let _first = payloads(&mut orders, 1).await;
            one.remove_subscription("orders").await.unwrap();
        };
        tokio::join!(publishing, removing);
    }
    let metrics = fanal_tests::http::balanced(&broker).await;
    assert_eq!(value(&metrics, "fanal_events_published_total"), 1000.0);
    assert_eq!(value(&metrics, "fanal_ledger_queued"), 0.0);
    assert!(value(&metrics, "fanal_events_dropped_total class=durable reason=removed") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_takeover_loses_nothing_from_the_count() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut first = Raw::attach(&broker).await;
    first.subscribe(request(1, Some("orders"))).await.unwrap();
    publish(&client, 2).await;
    publish_best_effort(&client, 3, 10).await;
    let rows = [("fanal_ledger_queued class=live", 3.0), ("fanal_ledger_queued class=durable", 2.0)];
    shows(&broker, &rows).await;
    let mut second = Raw::attach(&broker).await;
    let mut incoming = second.events();
    second.subscribe(with_credit(request(1, Some("orders")))).await.unwrap();
    events(&mut incoming, 2).await;
    // What passed by the first one is its own; it goes when the first one goes.
    shows(&broker, &rows).await;
    drop(first);
    let rows = [
        ("fanal_events_dropped_total class=live reason=closed", 3.0),
        ("fanal_ledger_queued class=live", 0.0),
        ("fanal_routes_total class=live", 3.0),
        ("fanal_events_redelivered_total", 0.0),
    ];
    shows(&broker, &rows).await;
}
