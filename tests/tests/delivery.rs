//! What receipts, acks and durable names promise, on one broker.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::time::{Duration, Instant};

use fanal_client::{Client, Code, Error, GapCount, Item, SubscribeError, SubscriptionError};
use fanal_protocol::control::{Ack, Credit, Detach, GAP_EXACT, RemoveSubscription, Subscribe};
use fanal_protocol::{ClientId, Control, Epoch};
use fanal_tests::broker::{Broker, World};
use fanal_tests::http::{Metrics, balanced};
use fanal_tests::raw::{PLENTY, Raw, RawEvent, RawItem, refusal};
use fanal_tests::subscriber::{next, payloads};
use fanal_tests::wait::{until, within};
use tokio::sync::mpsc::Receiver;

async fn publish_all(client: &Client, topic: &str, payloads: &[String]) {
    let mut pending = Vec::new();
    for payload in payloads {
        pending.push(client.publish(topic).payload(payload.clone()).send().await.unwrap());
    }
    for receipt in pending {
        assert_eq!(within("a receipt", receipt).await.unwrap().code, Code::Durable);
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("x{n}")).collect()
}

fn durable(channel: u32, name: &str) -> Subscribe {
    Subscribe {
        channel,
        filter: "t/#".into(),
        durable: Some(name.into()),
        wait: Some("home".into()),
        credit_events: PLENTY,
        credit_bytes: PLENTY,
        ..Subscribe::default()
    }
}

async fn events(from: &mut Receiver<RawItem>, count: usize) -> Vec<RawEvent> {
    let mut out = Vec::new();
    while out.len() < count {
        match within("an event", from.recv()).await.unwrap() {
            RawItem::Event(event) => out.push(event),
            RawItem::Gap(gap) => panic!("{gap:?}"),
        }
    }
    out
}

fn refused(error: impl Into<Error>) -> (u16, String) {
    let error = error.into();
    let refused = error.refused().unwrap_or_else(|| panic!("{error}"));
    (refused.code.number(), refused.name.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_attach_takes_over_and_the_first_is_told() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let (one, other) = (broker.client().await, broker.client().await);
    let mut first = one.subscribe("t/#").durable("orders").await.unwrap();
    publish_all(&one, "t/a", &numbered(3)).await;
    let seen = next(&mut first).await;
    assert_eq!(&seen.payload()[..], b"x0");
    seen.ack_confirmed().await.unwrap();

    let mut second = other.subscribe("t/#").durable("orders").await.unwrap();
    assert!(second.receipt().resumed);
    let ended = loop {
        match within("the end of the first", first.next()).await {
            Some(Ok(Item::Delivery(_))) => {}
            Some(Err(error)) => break error,
            end => panic!("{end:?}"),
        }
    };
    assert_eq!(refused(ended), (409, "taken_over".into()));
    assert!(within("the end of the stream", first.next()).await.is_none(), "it does not come back");
    assert_eq!(payloads(&mut second, 2).await, ["x1", "x2"]);
    assert!(one.is_connected(), "only the subscription ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_name_keeps_its_filter_until_it_is_updated_or_removed() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    drop(client.subscribe("t/#").filter("n > 1").durable("orders").await.unwrap());
    let differs = client.subscribe("t/#").filter("n > 2").durable("orders").await.err().unwrap();
    assert!(matches!(&differs, SubscribeError::Refused { .. }), "{differs}");
    assert!(differs.to_string().contains("update"), "{differs}");
    assert_eq!(refused(differs), (409, "filter_differs".into()));

    client.publish("t/a").attr("n", 2).payload("by the old filter").await.unwrap();
    client.update_subscription("orders", "t/#", Some("n > 2"), &[]).await.unwrap();
    client.publish("t/a").attr("n", 2).payload("by neither").await.unwrap();
    client.publish("t/a").attr("n", 3).payload("by the new filter").await.unwrap();
    broker.crash();
    let client = broker.client().await;
    let mut orders = client.subscribe("t/#").filter("n > 2").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 2).await, ["by the old filter", "by the new filter"]);

    client.remove_subscription("orders").await.unwrap();
    let ended = within("the end", orders.next()).await.unwrap().err().unwrap();
    assert_eq!(refused(ended), (404, "removed".into()));
    let error = client.remove_subscription("orders").await.err().unwrap();
    assert_eq!(refused(error).0, 404);
    let error = client.update_subscription("orders", "t/#", None, &[]).await.err().unwrap();
    assert_eq!(refused(error).0, 404);
    broker.crash();
    let client = broker.client().await;
    let again = client.subscribe("t/#").durable("orders").await.unwrap();
    assert!(!again.receipt().resumed, "it was removed for good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_is_part_of_a_durable_filter_and_survives_a_crash() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    let default = |client: &Client| client.subscribe("t/#").filter("n = 1").durable("orders");
    let strict = |client: &Client| default(client).strict();
    drop(strict(&client).await.unwrap());
    let differs = default(&client).await.err().unwrap();
    assert!(differs.to_string().contains("--strict"), "{differs}");
    assert_eq!(refused(differs), (409, "filter_differs".into()));

    broker.crash();
    let client = broker.client().await;
    // Read in default mode it would match neither of the two.
    client.publish("t/a").attr("n", "1").payload("a cast").await.unwrap();
    client.update_subscription("orders", "t/#", Some("n = 1"), &[]).await.unwrap();
    client.publish("t/a").attr("n", "1").payload("no cast").await.unwrap();
    client.update_subscription_strict("orders", "t/#", "n = 1", &[]).await.unwrap();
    client.publish("t/a").attr("n", true).payload("another cast").await.unwrap();
    assert_eq!(refused(default(&client).await.err().unwrap()).0, 409);
    let mut orders = strict(&client).await.unwrap();
    assert!(orders.receipt().resumed);
    assert_eq!(payloads(&mut orders, 2).await, ["a cast", "another cast"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_that_comes_after_a_takeover_changes_nothing() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut first = Raw::attach(&broker).await;
    let mut to_first = first.events();
    first.subscribe(durable(7, "orders")).await.unwrap();
    publish_all(&client, "t/a", &numbered(3)).await;
    let sequences: Vec<_> =
        events(&mut to_first, 3).await.iter().map(|event| event.mailbox_sequence).collect();
    assert_eq!(sequences, [Some(1), Some(2), Some(3)]);

    let mut second = Raw::attach(&broker).await;
    let mut to_second = second.events();
    assert!(second.subscribe(durable(9, "orders")).await.unwrap().resumed);
    let closed = first
        .expect(|frame| match frame {
            Control::ChannelClosed(closed) => Some(closed),
            _ => None,
        })
        .await;
    assert_eq!((closed.channel, closed.code, closed.name.as_str()), (7, 409, "taken_over"));
    first.send(Ack { channel: 7, ranges: vec![(1, 3)] }).await;
    // The answer to a later question shows that the ack was read.
    first.send(fanal_protocol::control::Query { request: 8, page: "status".into() }).await;
    first.expect(|frame| matches!(frame, Control::Answer(_)).then_some(())).await;

    let again = events(&mut to_second, 3).await;
    assert!(again.iter().all(|event| event.attempt == Some(2)), "{again:?}");
    second.send(Detach { channel: 9 }).await;
    let mut third = Raw::attach(&broker).await;
    let mut to_third = third.events();
    third.subscribe(durable(1, "orders")).await.unwrap();
    let sequences: Vec<_> =
        events(&mut to_third, 3).await.iter().map(|event| event.mailbox_sequence).collect();
    assert_eq!(sequences, [Some(1), Some(2), Some(3)], "nothing was acked");
    third.send(Ack { channel: 1, ranges: vec![(1, 2)] }).await;
    third.expect(|frame| matches!(frame, Control::Acked(_)).then_some(())).await;
    drop((third, to_third));
    let mut last = client.subscribe("t/#").durable("orders").await.unwrap();
    let delivery = next(&mut last).await;
    assert_eq!((delivery.mailbox_sequence(), delivery.redelivered()), (Some(3), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_that_a_restart_cut_off_is_confirmed_though_the_client_has_no_room_for_redeliveries() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut orders = client.subscribe("t/#").durable("orders").credit(2, 1 << 20).await.unwrap();
    publish_all(&client, "t/a", &numbered(5)).await;
    let first = next(&mut orders).await;
    // Its place is taken by the third, and the window is full again.
    until("the third", || {
        (Metrics::of(&broker).sum("fanal_events_delivered_total", &[]) == 3.0).then_some(())
    })
    .await;
    broker.pause();
    first.ack();
    broker.process.kill();
    broker.restart();
    within("a confirmed ack", orders.flush_acks()).await.unwrap();
    assert_eq!(payloads(&mut orders, 4).await, ["x1", "x2", "x3", "x4"]);
    within("confirmed acks", orders.flush_acks()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_is_sent_again_is_answered_as_duplicate_and_stored_once() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    drop(client.subscribe("t/#").durable("orders").await.unwrap());
    let mut raw = Raw::attach(&broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    let epoch = publisher.opened.epoch;
    assert_eq!(publisher.opened.next, 1);
    for sequence in 1..=3 {
        publisher.publish(sequence, "t/a", format!("x{sequence}").as_bytes()).await;
    }
    assert_eq!(raw.receipts(3).await, [(1, 200), (2, 200), (3, 200)]);

    for is_crash in [false, true] {
        drop((publisher, raw));
        if is_crash {
            broker.crash();
        }
        raw = Raw::attach(&broker).await;
        publisher = raw.publisher(1, Some(epoch)).await.unwrap();
        assert_eq!(publisher.opened.next, 4);
        publisher.publish(2, "t/a", b"x2").await;
        publisher.publish(3, "t/a", b"x3").await;
        assert_eq!(raw.receipts(2).await, [(2, 208), (3, 208)]);
    }
    publisher.publish(4, "t/a", b"x4").await;
    assert_eq!(raw.receipts(1).await, [(4, 200)]);
    let client = broker.client().await;
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 4).await, ["x1", "x2", "x3", "x4"]);
    orders.flush_acks().await.unwrap();
    assert!(orders.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_refusal_later_sequences_are_blocked_until_it_is_skipped() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut live = client.subscribe("t/#").await.unwrap();
    let mut raw = Raw::attach(&broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    publisher.publish(1, "t/a", b"x1").await;
    publisher.publish(2, "t/+/bad", b"x2").await;
    publisher.publish(3, "t/a", b"x3").await;
    let mut receipts = raw.receipts(3).await;
    receipts.sort_unstable();
    assert_eq!(receipts, [(1, 200), (2, 400), (3, 425)]);
    publisher.publish(3, "t/a", b"x3").await;
    assert_eq!(raw.receipts(1).await, [(3, 425)], "still blocked");
    publisher.skip(2, 2).await;
    publisher.publish(3, "t/a", b"x3").await;
    assert_eq!(raw.receipts(1).await, [(3, 200)]);
    // A hole that nothing explains blocks likewise.
    publisher.publish(6, "t/a", b"x6").await;
    assert_eq!(raw.receipts(1).await, [(6, 425)]);
    for sequence in 4..=6 {
        publisher.publish(sequence, "t/a", format!("x{sequence}").as_bytes()).await;
    }
    assert_eq!(raw.receipts(3).await, [(4, 200), (5, 200), (6, 200)]);
    assert_eq!(payloads(&mut live, 5).await, ["x1", "x3", "x4", "x5", "x6"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_the_home_does_not_know_is_too_old_to_tell() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let mut raw = Raw::attach(&broker).await;
    let store = raw.welcome.incarnation.store;
    for epoch in [Epoch::default(), Epoch { store, recovery_epoch: 0, counter: 999_999 }] {
        let refused = raw.publisher(1, Some(epoch)).await.err().unwrap();
        assert_eq!(refused.code, 410, "{refused:?}");
    }
    // Somebody else's epoch is not for the asking either.
    let own = raw.publisher(2, None).await.unwrap().opened.epoch;
    let stranger = fanal_tests::authority::Authority::of(broker.ca()).issue("fanal://client/till");
    let mut till = Raw::attach_as(&broker, &stranger).await;
    let refused = till.publisher(1, Some(own)).await.err().unwrap();
    assert!(matches!(refused.code, 403 | 410), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_as_durable_survives_a_crash_right_after_the_receipt() {
    const COUNT: usize = 500;
    let rounds = if fanal_tests::cli::is_long() { 20 } else { 3 };
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    drop(broker.client().await.subscribe("t/#").durable("orders").await.unwrap());
    for round in 0..rounds {
        let client = broker.client().await;
        let events = numbered(COUNT);
        publish_all(&client, "t/a", &events).await;
        broker.crash();
        let client = broker.client().await;
        let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
        assert_eq!(payloads(&mut orders, COUNT).await, events, "round {round}");
        orders.flush_acks().await.unwrap();
        // What was acked does not come again, though the broker crashes right after the answer.
        broker.crash();
    }
    let client = broker.client().await;
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    publish_all(&client, "t/a", &["after".into()]).await;
    assert_eq!(payloads(&mut orders, 1).await, ["after"]);
    balanced(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_effort_is_never_stored() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut live = client.subscribe("t/#").await.unwrap();
    drop(client.subscribe("t/#").durable("orders").await.unwrap());
    until("the durable subscription to be let go", || {
        let (_, page) = fanal_tests::http::get(broker.admin(), "/api/v1/subscriptions");
        page.contains("\"attached\":false").then_some(())
    })
    .await;
    let receipt = client.publish("t/a").payload("fleeting").best_effort().receipt().await.unwrap();
    assert_eq!(receipt.code, Code::Accepted);
    assert_eq!(client.publish("t/a").payload("quiet").best_effort().await.unwrap().code, Code::NothingToDo);
    assert_eq!(payloads(&mut live, 2).await, ["fleeting", "quiet"]);
    publish_all(&client, "t/a", &["stored".into()]).await;
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 1).await, ["stored"]);
    // Attached, it gets best effort as it passes by.
    client.publish("t/a").payload("passing").best_effort().await.unwrap();
    assert_eq!(payloads(&mut orders, 1).await, ["passing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_delivered_after_its_time_is_over() {
    let ttl = Duration::from_millis(150);
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    drop(client.subscribe("t/#").durable("orders").await.unwrap());
    let mut raw = Raw::attach(&broker).await;
    let mut to_raw = raw.events();
    let live =
        Subscribe { channel: 1, filter: "t/#".into(), wait: Some("home".into()), ..Subscribe::default() };
    raw.subscribe(live).await.unwrap();
    client.publish("t/a").payload("too late").ttl(ttl).await.unwrap();
    let published = Instant::now();
    client.publish("t/a").payload("in time").ttl(Duration::from_secs(600)).await.unwrap();
    until("the TTL to be over", || (published.elapsed() > ttl).then_some(())).await;

    raw.send(Credit { channel: 1, events: 10, bytes: 10_000 }).await;
    assert_eq!(events(&mut to_raw, 1).await[0].payload, b"in time");
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 1).await, ["in time"]);
    for class in ["live", "durable"] {
        until("the expired event to be counted", || {
            let count = Metrics::of(&broker).sum("fanal_events_expired_total", &[("class", class)]);
            (count == 1.0).then_some(())
        })
        .await;
    }
    balanced(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_well_takes_no_best_effort_event_back() {
    const COUNT: usize = 100;
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut live = client.subscribe("t/#").await.unwrap();
    for n in 0..COUNT {
        let other = broker.client().await;
        other.publish("t/a").payload(format!("x{n}")).best_effort().await.unwrap();
        other.close().await.unwrap();
    }
    publish_all(&client, "t/b", &["end".into()]).await;
    let mut got = Vec::new();
    loop {
        let delivery = next(&mut live).await;
        if delivery.topic() == "t/b" {
            break;
        }
        got.push(String::from_utf8(delivery.payload().to_vec()).unwrap());
    }
    assert_eq!(got, numbered(COUNT), "no limit, no gap, no lost connection: nothing may be missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_is_let_go_takes_no_best_effort_event_along() {
    const COUNT: usize = 200;
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut live = client.subscribe("t/#").await.unwrap();
    for n in 0..COUNT {
        client.publisher().publish("t/a").payload(format!("x{n}")).best_effort().post().await.unwrap();
    }
    let mut got = payloads(&mut live, COUNT).await;
    got.sort_by_key(|payload| payload[1..].parse::<usize>().unwrap());
    assert_eq!(got, numbered(COUNT));
    assert_eq!(client.connection_losses(), 0);
}

/// A broker whose live buffers hold 1 MiB.
fn small_buffers(world: &World) -> Broker {
    let config = world.path("small.toml");
    std::fs::write(&config, "[limits]\nlive_buffer_bytes = 1048576\n").unwrap();
    world.broker("ewr").config(config).start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_live_subscriber_harms_only_itself_and_is_told_exactly_what_it_missed() {
    const COUNT: usize = 2_000;
    const BYTES: usize = 8 * 1024;
    let world = World::new();
    let broker = small_buffers(&world);
    let client = broker.client().await;
    let mut healthy = client.subscribe("t/#").await.unwrap();
    let mut stored = client.subscribe("t/#").durable("orders").await.unwrap();
    let mut raw = Raw::attach(&broker).await;
    // One that grants no credit, and one that grants it and reads nothing.
    let stuck =
        Subscribe { channel: 1, filter: "t/#".into(), wait: Some("home".into()), ..Subscribe::default() };
    raw.subscribe(stuck).await.unwrap();
    let mut deaf = Raw::attach(&broker).await;
    let request = Subscribe { credit_events: PLENTY, credit_bytes: PLENTY, ..durable(1, "") };
    deaf.subscribe(Subscribe { durable: None, ..request }).await.unwrap();

    let payload = |n: usize| format!("{n:0BYTES$}");
    let publishing = async {
        for chunk in (0..COUNT).collect::<Vec<_>>().chunks(100) {
            publish_all(&client, "t/a", &chunk.iter().map(|n| payload(*n)).collect::<Vec<_>>()).await;
        }
    };
    let (live, kept) =
        (async { payloads(&mut healthy, COUNT).await }, async { payloads(&mut stored, COUNT).await });
    let ((), live, kept) = tokio::join!(publishing, live, kept);
    for (n, (live, kept)) in live.iter().zip(&kept).enumerate() {
        assert!(*live == payload(n) && *kept == payload(n), "event {n}");
    }
    // The bound holds in bytes: what waits is what fits.
    for (raw, name) in [(&mut raw, "without credit"), (&mut deaf, "not reading")] {
        let mut items = raw.events();
        raw.send(Credit { channel: 1, events: PLENTY, bytes: PLENTY }).await;
        let (mut got, mut missed, mut last) = (0, 0, None);
        while got + missed < COUNT as u64 {
            match within(name, items.recv()).await.unwrap() {
                RawItem::Event(event) => {
                    let number: u64 = String::from_utf8(event.payload).unwrap().parse().unwrap();
                    assert_eq!(number, got + missed, "{name}: the gap stands where the events are missing");
                    (got, last) = (got + 1, Some(number));
                }
                RawItem::Gap(gap) => {
                    assert_eq!((gap.kind, gap.reason.as_str()), (GAP_EXACT, "slow_consumer"), "{name}");
                    missed += gap.count;
                }
            }
        }
        assert_eq!((got + missed, last), (COUNT as u64, Some(COUNT as u64 - 1)), "{name}");
        assert!(missed > 0 && got > 0, "{name}: got {got}, missed {missed}");
    }
    let metrics = balanced(&broker).await;
    assert!(metrics.sum("fanal_events_dropped_total", &[("reason", "slow_consumer")]) > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_by_itself_after_its_broker_was_killed() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    let mut live = client.subscribe("t/#").await.unwrap();
    publish_all(&client, "t/a", &["before".into()]).await;
    assert_eq!(payloads(&mut orders, 1).await, ["before"]);
    assert_eq!(payloads(&mut live, 1).await, ["before"]);
    broker.crash();
    let receipt = within("a receipt", client.publish("t/a").payload("after")).await.unwrap();
    assert_eq!(receipt.code, Code::Durable);
    assert_eq!(payloads(&mut orders, 1).await, ["after"]);
    // A live subscription cannot know what it missed, and says so.
    match within("a gap", live.next()).await {
        Some(Ok(Item::Gap(gap))) => assert_eq!(gap.count, GapCount::Unknown),
        other => panic!("{other:?} instead of a gap"),
    }
    assert_eq!(client.connection_losses(), 1);
    client.close().await.unwrap();
    let end = within("the end", orders.next()).await;
    assert!(matches!(end, Some(Err(SubscriptionError::Closed))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_asked_to_stop_loses_nothing_that_it_acked() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    drop(client.subscribe("t/#").durable("orders").await.unwrap());
    publish_all(&client, "t/a", &numbered(100)).await;
    broker.terminate();
    broker.restart();
    let client = broker.client().await;
    let mut orders = client.subscribe("t/#").durable("orders").await.unwrap();
    assert_eq!(payloads(&mut orders, 100).await, numbered(100));
    let metrics = Metrics::of(&broker);
    assert_eq!(metrics.sum("fanal_ledger_queued_at_start", &[("class", "durable")]), 100.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_connection_that_was_given_up_removes_nothing() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let client = ClientId([7; 16]);
    let mut given_up = Raw::attach_again(&broker, client, 1).await;
    given_up.subscribe(durable(1, "orders")).await.unwrap();
    // A removal of which the last byte is still under way when the client comes again.
    let mut removal = Vec::new();
    Control::from(RemoveSubscription { request: 2, durable: "orders".into() }).encode(&mut removal);
    let last = removal.split_off(removal.len() - 1);
    given_up.send_bytes(&removal).await;
    let mut present = Raw::attach_again(&broker, client, 2).await;
    let mut events_here = present.events();
    assert!(present.subscribe(durable(1, "orders")).await.unwrap().resumed);
    given_up.send_bytes(&last).await;
    let (code, reason) = refusal(&given_up.connection).await;
    assert!(code == 409 && reason.contains("later connection"), "{code}: {reason}");
    publish_all(&broker.client().await, "t/a", &numbered(1)).await;
    assert_eq!(events(&mut events_here, 1).await[0].mailbox_sequence, Some(1));
    assert!(present.subscribe(durable(3, "orders")).await.unwrap().resumed, "it is still there");
}

/// Two were delivered and not acked, the third not: what a subscriber gets after the broker has ended
/// one way or the other, and whether it may have had it.
async fn flags_after(end: impl FnOnce(&mut Broker)) -> Vec<(u64, bool)> {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut never = Raw::attach(&broker).await;
    for name in ["orders", "never"] {
        let mut orders = Raw::attach(&broker).await;
        let mut to_orders = orders.events();
        let credit_events = if name == "never" { 0 } else { 2 };
        orders.subscribe(Subscribe { credit_events, ..durable(1, name) }).await.unwrap();
        if name == "orders" {
            publish_all(&client, "t/a", &numbered(3)).await;
            events(&mut to_orders, 2).await;
            never = orders;
        }
    }
    end(&mut broker);
    drop(never);
    let mut again = Raw::attach(&broker).await;
    let mut to_again = again.events();
    again.subscribe(durable(1, "orders")).await.unwrap();
    let came = events(&mut to_again, 3).await;
    came.iter().map(|event| (event.mailbox_sequence.unwrap(), event.attempt.is_some())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_delivered_before_a_restart_says_so() {
    let stopped = flags_after(|broker| {
        broker.terminate();
        broker.restart();
    });
    assert_eq!(stopped.await, [(1, true), (2, true), (3, false)], "a clean stop knows exactly");
    let crashed = flags_after(Broker::crash);
    assert_eq!(crashed.await, [(1, true), (2, true), (3, true)], "after a crash nobody knows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_nobody_was_attached_is_new_after_a_crash_too() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    let mut orders = Raw::attach(&broker).await;
    let mut to_orders = orders.events();
    orders.subscribe(durable(1, "orders")).await.unwrap();
    publish_all(&client, "t/a", &numbered(1)).await;
    events(&mut to_orders, 1).await;
    // The answer to a later request shows that the hold has ended, and what was sent is written down.
    orders.send(Detach { channel: 1 }).await;
    orders.subscribe(durable(2, "other")).await.unwrap();
    publish_all(&client, "t/a", &numbered(1)).await;
    broker.crash();
    let mut again = Raw::attach(&broker).await;
    let mut to_again = again.events();
    again.subscribe(durable(1, "orders")).await.unwrap();
    let came = events(&mut to_again, 2).await;
    assert_eq!(came.iter().map(|event| event.attempt.is_some()).collect::<Vec<_>>(), [true, false]);
}
