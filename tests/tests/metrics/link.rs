//! What a link to a peer moves.

use fanal_client::Item;
use fanal_tests::broker::{World, free_address};
use fanal_tests::http::Metrics;
use fanal_tests::subscriber::payloads;
use fanal_tests::wait::{until, within};

use super::*;

/// `jfk` with a durable and a live subscription, and `ewr`, linked. `jfk` takes bodies of 1 MiB.
struct Pair {
    world: World,
    ewr: Broker,
    jfk: Broker,
}

impl Pair {
    async fn new() -> Pair {
        let world = World::new();
        let at_jfk = free_address();
        let ewr = limited(&world, "ewr", "body_bytes_max = \"4 MiB\"").peer("jfk", at_jfk).start();
        let jfk = world.broker("jfk").listen(at_jfk).start();
        shows(&ewr, &[("fanal_link_up peer=jfk", 1.0)]).await;
        shows(&jfk, &[("fanal_link_up peer=ewr", 1.0)]).await;
        Pair { world, ewr, jfk }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn both_sides_of_a_link_count_the_same() {
    let Pair { world: _world, ewr, mut jfk } = Pair::new().await;
    let subscriber = jfk.client().await;
    let mut orders = subscriber.subscribe("t/#").durable("orders").await.unwrap();
    let mut live = subscriber.subscribe("t/#").await.unwrap();
    let metrics = shows(&ewr, &[("fanal_interest_entries peer=jfk direction=in", 2.0)]).await;
    assert_eq!(value(&metrics, "fanal_interest_entries peer=jfk direction=out"), 0.0);
    assert!((1e-6..1.0).contains(&value(&metrics, "fanal_link_rtt_seconds peer=jfk")));
    let rows = [
        ("fanal_interest_entries peer=ewr direction=out", 2.0),
        ("fanal_interest_entries peer=ewr direction=in", 0.0),
        ("fanal_interest_widened peer=ewr", 0.0),
    ];
    shows(&jfk, &rows).await;

    let publisher = ewr.client().await;
    publish(&publisher, 10).await;
    publish_best_effort(&publisher, 5, 10).await;
    payloads(&mut live, 15).await;
    payloads(&mut orders, 15).await;
    orders.flush_acks().await.unwrap();
    // At least once crosses on both paths, best effort on the live one.
    let rows = [
        ("fanal_routes_total class=peer", 10.0),
        ("fanal_routes_total class=peer_live", 15.0),
        ("fanal_routes_total class=live", 0.0),
        ("fanal_events_acked_total class=peer", 10.0),
        ("fanal_events_acked_total class=peer_live", 15.0),
        ("fanal_events_forwarded_total peer=jfk", 25.0),
        ("fanal_events_received_total peer=jfk", 0.0),
        ("fanal_events_delivered_total", 0.0),
        ("fanal_delivery_seconds_count", 0.0),
        ("fanal_link_lag_events peer=jfk", 0.0),
    ];
    shows(&ewr, &rows).await;
    let rows = [
        ("fanal_events_received_total peer=ewr", 25.0),
        ("fanal_link_duplicates_total peer=ewr", 0.0),
        ("fanal_events_published_total", 0.0),
        ("fanal_routes_total class=durable", 10.0),
        ("fanal_routes_total class=live", 20.0),
        ("fanal_events_delivered_total class=durable", 10.0),
        ("fanal_events_delivered_total class=live", 20.0),
    ];
    let metrics = shows(&jfk, &rows).await;
    assert!(value(&metrics, "fanal_match_seconds_count") >= 2.0, "what came over a link is matched too");

    // Stopped, not gone: what is on its way has left the queue of the live path, not the mailbox.
    jfk.pause();
    publish(&publisher, 3).await;
    let rows = [
        ("fanal_link_lag_events peer=jfk", 3.0),
        ("fanal_mailbox_events kind=peer", 3.0),
        ("fanal_ledger_queued class=peer", 3.0),
        ("fanal_link_up peer=jfk", 1.0),
    ];
    shows(&ewr, &rows).await;
    until("an old entry in the peer mailbox", || {
        let age = value(&Metrics::of(&ewr), "fanal_mailbox_oldest_age_seconds kind=peer");
        (age > 0.05).then_some(())
    })
    .await;
    jfk.resume();
    payloads(&mut orders, 3).await;
    orders.flush_acks().await.unwrap();
    let rows = [
        ("fanal_link_lag_events peer=jfk", 0.0),
        ("fanal_events_acked_total class=peer", 13.0),
        ("fanal_mailbox_oldest_age_seconds kind=peer", 0.0),
    ];
    shows(&ewr, &rows).await;
    jfk.terminate();
    shows(&ewr, &[("fanal_link_up peer=jfk", 0.0), ("fanal_link_rtt_seconds peer=jfk", 0.0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_body_above_the_peers_limit_is_dropped_on_both_paths() {
    let Pair { world: _world, ewr, jfk } = Pair::new().await;
    let subscriber = jfk.client().await;
    let mut orders = subscriber.subscribe("t/#").durable("orders").await.unwrap();
    let mut live = subscriber.subscribe("t/#").await.unwrap();
    let publisher = ewr.client().await;
    within("a receipt", publisher.publish("t/a").payload(vec![7; 2 << 20])).await.unwrap();
    publish(&publisher, 1).await;
    assert_eq!(payloads(&mut orders, 1).await, ["x0"]);
    match within("a gap", live.next()).await.unwrap().unwrap() {
        Item::Gap(gap) => assert_eq!(gap.reason, "too_large"),
        Item::Delivery(delivery) => panic!("{}", delivery.id()),
    }
    assert_eq!(payloads(&mut live, 1).await, ["x0"]);
    let rows = [
        ("fanal_events_dropped_total class=peer reason=too_large", 1.0),
        ("fanal_events_dropped_total class=peer_live reason=too_large", 1.0),
        ("fanal_events_acked_total class=peer", 1.0),
        ("fanal_events_acked_total class=peer_live", 1.0),
        ("fanal_events_forwarded_total peer=jfk", 2.0),
        ("fanal_ledger_queued", 0.0),
    ];
    shows(&ewr, &rows).await;
    shows(&jfk, &[("fanal_events_received_total peer=ewr", 2.0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn an_entry_that_is_damaged_on_the_disk_is_dropped_and_counted() {
    let Pair { world, ewr, mut jfk } = Pair::new().await;
    detached(&jfk, &jfk.client().await, "orders").await;
    shows(&ewr, &[("fanal_interest_entries peer=jfk direction=in", 1.0)]).await;
    jfk.terminate();
    shows(&ewr, &[("fanal_link_up peer=jfk", 0.0)]).await;
    let publisher = ewr.client().await;
    within("a receipt", publisher.publish("t/a").payload("damage-me-here")).await.unwrap();
    publish(&publisher, 1).await;
    damage(&world.path("ewr").join("store"), b"damage-me-here");
    // It dials itself: the other side would wait before it tries again.
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let mut orders = jfk.client().await.subscribe("t/#").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 1).await, ["x0"]);
    let rows = [
        ("fanal_events_dropped_total class=peer reason=damaged", 1.0),
        ("fanal_events_acked_total class=peer", 1.0),
        ("fanal_events_forwarded_total peer=jfk", 1.0),
        ("fanal_ledger_queued", 0.0),
    ];
    shows(&ewr, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_peer_that_is_no_longer_configured_keeps_its_mailbox_and_its_series() {
    let Pair { world, mut ewr, mut jfk } = Pair::new().await;
    detached(&jfk, &jfk.client().await, "orders").await;
    shows(&ewr, &[("fanal_interest_entries peer=jfk direction=in", 1.0)]).await;
    jfk.terminate();
    publish(&ewr.client().await, 3).await;
    shows(&ewr, &[("fanal_ledger_queued class=peer", 3.0)]).await;
    ewr.kill();
    let ewr = world.broker("ewr").start();
    let rows = [
        ("fanal_ledger_queued_at_start class=peer", 3.0),
        ("fanal_ledger_queued class=peer", 3.0),
        ("fanal_link_lag_events peer=jfk", 3.0),
        ("fanal_interest_entries peer=jfk direction=in", 1.0),
        ("fanal_link_up peer=jfk", 0.0),
    ];
    let metrics = shows(&ewr, &rows).await;
    assert_eq!(metrics.count("fanal_link_up", &[]), 1);
    // It may still dial.
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let mut orders = jfk.client().await.subscribe("t/#").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 3).await, ["x0", "x1", "x2"]);
    let rows = [("fanal_link_up peer=jfk", 1.0), ("fanal_events_acked_total class=peer", 3.0)];
    shows(&ewr, &rows).await;
}

/// Changes the one place in a store's files that holds these bytes.
fn damage(store: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let mut damaged = 0;
    for entry in std::fs::read_dir(store).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(b"X", at as u64).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "the event lies in one place");
}
