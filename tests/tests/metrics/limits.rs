//! What limits move: full buffers, full memory, a full store.

use fanal_tests::broker::World;
use fanal_tests::http::balanced;
use fanal_tests::raw::Raw;
use fanal_tests::wait::within;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_full_live_buffer_counts_what_it_drops_and_what_is_left() {
    const COUNT: usize = 20;
    let world = World::new();
    let broker = limited(&world, "ewr", "live_buffer_bytes = 4096").start();
    let client = broker.client().await;
    let mut raw = Raw::attach(&broker).await;
    raw.subscribe(request(1, None)).await.unwrap();
    publish_best_effort(&client, COUNT, 1000).await;
    // Of a body of a little more than 1,000 bytes and 128 bytes beside it, three fit.
    let rows = [
        ("fanal_routes_total class=live", COUNT as f64),
        ("fanal_events_dropped_total class=live reason=slow_consumer", COUNT as f64 - 3.0),
        ("fanal_ledger_queued class=live", 3.0),
    ];
    shows(&broker, &rows).await;
    drop(raw);
    let rows = [
        ("fanal_events_dropped_total class=live reason=slow_consumer", COUNT as f64 - 3.0),
        ("fanal_events_dropped_total class=live reason=closed", 3.0),
        ("fanal_ledger_queued class=live", 0.0),
        ("fanal_subscriptions kind=live", 0.0),
    ];
    shows(&broker, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn buffers_that_hold_too_much_together_give_way() {
    const COUNT: usize = 13;
    let world = World::new();
    let limits = "live_buffer_bytes = 4194304\nlive_memory_bytes = 4194304";
    let broker = limited(&world, "ewr", limits).start();
    let client = broker.client().await;
    let mut raw = Raw::attach(&broker).await;
    raw.subscribe(request(1, None)).await.unwrap();
    raw.subscribe(request(2, None)).await.unwrap();
    // 2.6 MB for each: neither is full.
    publish_best_effort(&client, COUNT, 200_000).await;
    let metrics = balanced(&broker).await;
    let dropped = value(&metrics, "fanal_events_dropped_total class=live reason=memory");
    assert!(dropped >= 6.0, "one of them gave way: {dropped}");
    let rows = [
        ("fanal_events_dropped_total", dropped),
        ("fanal_routes_total class=live", 2.0 * COUNT as f64),
        ("fanal_ledger_queued class=live", 2.0 * COUNT as f64 - dropped),
    ];
    shows(&broker, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn a_full_store_shows_and_so_does_its_recovery() {
    let world = World::new();
    let limits =
        "segment_bytes = 4194304\nstore_bytes = 25165824\nmailbox_bytes = \"1 TiB\"\ngive_way_percent = 100";
    let broker = limited(&world, "ewr", limits).start();
    let metrics = shows(&broker, &[("fanal_store_full", 0.0), ("fanal_ready", 1.0)]).await;
    let empty = value(&metrics, "fanal_store_bytes");
    let room = |metrics: &Metrics| value(metrics, "fanal_store_available_bytes");
    assert_eq!(room(&metrics), 25165824.0 - empty);
    assert!(empty >= 4194304.0, "the store is shown before anything is written: {empty}");
    let client = broker.client().await;
    detached(&broker, &client, "orders").await;
    let mut raw = Raw::attach(&broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    let mut stored = 0;
    let refused = loop {
        publisher.publish(stored + 1, "t/a", &[7; 500_000]).await;
        match raw.receipts(1).await[0].1 {
            200 => stored += 1,
            code => break code,
        }
    };
    assert_eq!(refused, 507);
    let stored = stored as f64;
    let rows = [
        ("fanal_store_full", 1.0),
        ("fanal_publish_refused_total code=507", 1.0),
        ("fanal_publish_refused_total", 1.0),
        ("fanal_events_published_total", stored),
        ("fanal_mailbox_events kind=durable", stored),
    ];
    let metrics = shows(&broker, &rows).await;
    let bytes = value(&metrics, "fanal_store_bytes");
    assert!(bytes > empty && bytes <= 25165824.0, "{bytes}");
    assert!(room(&metrics) < 4194304.0, "no further segment: {}", room(&metrics));
    client.remove_subscription("orders").await.unwrap();
    // The client sends again what is refused, until its time is out.
    let publish = client.publish("t/a").payload(vec![7; 500_000]).timeout(BOUND);
    within("room", publish).await.unwrap();
    let rows = [
        ("fanal_store_full", 0.0),
        ("fanal_events_dropped_total class=durable reason=removed", stored),
        ("fanal_events_published_total", stored + 1.0),
    ];
    shows(&broker, &rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn what_gives_way_in_a_full_mailbox_is_counted() {
    const COUNT: usize = 12;
    let world = World::new();
    let broker = limited(&world, "ewr", "mailbox_events = 5\ndead_letter_events = 4").start();
    let client = broker.client().await;
    detached(&broker, &client, "orders").await;
    for n in 0..COUNT {
        client.publish("t/a").payload(format!("{n}")).await.unwrap();
    }
    let rows = [
        ("fanal_routes_total class=durable", COUNT as f64),
        ("fanal_mailbox_events kind=durable", 5.0),
        ("fanal_events_dead_lettered_total class=durable reason=full", 7.0),
        ("fanal_routes_total class=dead_letters", 7.0),
        ("fanal_events_dropped_total class=dead_letters reason=full", 3.0),
        ("fanal_mailbox_events kind=dead_letters", 4.0),
        ("fanal_ledger_queued class=dead_letters", 4.0),
        ("fanal_publish_refused_total", 0.0),
    ];
    shows(&broker, &rows).await;
}
