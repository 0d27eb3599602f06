//! Brokers among themselves: one hop, interest receipts, mailboxes that hold, links that resend.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod peer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fanal_client::{Client, Code, Subscription, WaitFor};
use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::http::{Metrics, balanced};
use fanal_tests::subscriber::{next, payloads};
use fanal_tests::wait::{until, within};
use peer::RawPeer;

async fn everything(broker: &Broker, durable: Option<&str>) -> (Client, Subscription) {
    let client = broker.client().await;
    let builder = client.subscribe("#");
    let builder = match durable {
        Some(name) => builder.durable(name),
        None => builder,
    };
    let subscription = within("a receipt", builder).await.unwrap();
    (client, subscription)
}

async fn publish(client: &Client, topic: &str, payloads: impl IntoIterator<Item = String>) {
    let publisher = client.publisher();
    let mut pending = Vec::new();
    for payload in payloads {
        pending.push(publisher.publish(topic).payload(payload).send().await.unwrap());
    }
    for receipt in pending {
        let receipt = within("a receipt", receipt).await.unwrap();
        assert!(matches!(receipt.code, Code::Durable | Code::Duplicate), "{receipt:?}");
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// Waits until a broker has a link to each of so many peers.
async fn linked(broker: &Broker, count: usize) {
    until("links", || (Metrics::of(broker).sum("fanal_link_up", &[]) == count as f64).then_some(())).await;
}

/// Waits until a broker has the links that stay to so many peers: of two between the same brokers
/// the one that the lower name dialled (PROTOCOL.md 6.2). Until then one may replace the other, and
/// live subscriptions are told of a gap.
async fn settled(broker: &Broker, count: usize) {
    until("links that stay", || {
        let (_, page) = fanal_tests::http::get(broker.admin(), "/api/v1/peers");
        let page: serde_json::Value = serde_json::from_str(&page).ok()?;
        let stays = |peer: &&serde_json::Value| {
            peer["dialled_here"].as_bool() == peer["name"].as_str().map(|name| broker.name() < name)
        };
        (page["peers"].as_array()?.iter().filter(stays).count() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_a_peer_is_not_forwarded() {
    let world = World::new();
    let a = world.broker("a").start();
    let b = world.broker("b").peer("a", a.listen()).start();
    let c = world.broker("c").peer("a", a.listen()).start();
    linked(&a, 2).await;
    for is_durable in [false, true] {
        let durable = is_durable.then_some("all");
        let (at_a, mut from_a) = everything(&a, durable).await;
        let (at_b, mut from_b) = everything(&b, durable).await;
        let (_at_c, mut from_c) = everything(&c, durable).await;

        publish(&at_b, "t", numbered("b", 20)).await;
        assert_eq!(payloads(&mut from_a, 20).await, numbered("b", 20));
        assert_eq!(payloads(&mut from_b, 20).await, numbered("b", 20));
        // Had a forwarded the events of b, c would get them before these.
        publish(&at_a, "t", numbered("a", 20)).await;
        for subscription in [&mut from_a, &mut from_b, &mut from_c] {
            assert_eq!(payloads(subscription, 20).await, numbered("a", 20));
            assert!(subscription.try_next().is_none());
            subscription.flush_acks().await.unwrap();
        }
        assert_eq!(Metrics::of(&b).sum("fanal_events_received_total", &[("peer", "c")]), 0.0);
    }
    for broker in [&a, &b, &c] {
        balanced(broker).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_full_mesh_dialled_from_both_sides_everything_arrives_once() {
    const COUNT: usize = 200;
    let world = World::new();
    let names = ["a", "b", "c"];
    let addresses = names.map(|_| free_address());
    let brokers = names.map(|name| {
        let others = names.iter().zip(addresses).filter(|(other, _)| **other != name);
        let own = addresses[names.iter().position(|other| *other == name).unwrap()];
        others.fold(world.broker(name).listen(own), |spec, (other, at)| spec.peer(other, at)).start()
    });
    for broker in &brokers {
        settled(broker, 2).await;
    }
    let mut subscriptions = Vec::new();
    let mut clients = Vec::new();
    for broker in &brokers {
        for durable in [None, Some("all")] {
            let (client, subscription) = everything(broker, durable).await;
            assert_eq!(subscription.receipt().installed.len(), 3, "{:?}", subscription.receipt());
            subscriptions.push(subscription);
            clients.push(client);
        }
    }
    let (a, b, c) = (&clients[0], &clients[2], &clients[4]);
    tokio::join!(
        publish(a, "t/a", numbered("a", COUNT)),
        publish(b, "t/b", numbered("b", COUNT)),
        publish(c, "t/c", numbered("c", COUNT)),
    );
    for subscription in &mut subscriptions {
        let mut by_topic: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for _ in 0..3 * COUNT {
            let delivery = next(subscription).await;
            let payload = String::from_utf8(delivery.payload().to_vec()).unwrap();
            by_topic.entry(delivery.topic().to_owned()).or_default().push(payload);
            delivery.ack();
        }
        let expected = names.map(|name| (format!("t/{name}"), numbered(name, COUNT)));
        assert_eq!(by_topic, BTreeMap::from(expected));
        subscription.flush_acks().await.unwrap();
    }
    for broker in &brokers {
        let metrics = balanced(broker).await;
        // Each event crosses once on each path; a second link would show as more.
        assert_eq!(metrics.sum("fanal_events_received_total", &[]), 4.0 * COUNT as f64);
        assert_eq!(metrics.sum("fanal_link_up", &[]), 2.0);
    }
    assert!(subscriptions.iter_mut().all(|subscription| subscription.try_next().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interest_receipt_tells_who_is_installed_and_why_others_are_not() {
    let world = World::new();
    let at_ewr = free_address();
    let jfk = world.broker("jfk").peer("ewr", at_ewr).start();
    let client = jfk.client().await;
    let count = std::cell::Cell::new(0);
    let subscribe = |wait: WaitFor, limit: Duration| {
        // Another filter each time: what a peer has already needs no confirmation.
        count.set(count.get() + 1);
        let (client, filter) = (client.clone(), format!("a/{}", count.get()));
        async move {
            let builder = client.subscribe(filter).wait_for(wait).wait_timeout(limit);
            within("a receipt", builder).await.unwrap().receipt().clone()
        }
    };
    let (short, long) = (Duration::from_millis(500), Duration::from_secs(50));

    // Not running: awaited, since it is configured, and pending with the reason.
    let receipt = subscribe(WaitFor::Peers, short).await;
    assert_eq!((receipt.home.as_str(), receipt.installed.as_slice()), ("jfk", &["jfk".to_owned()][..]));
    assert_eq!(receipt.pending.len(), 1, "{receipt:?}");
    assert_eq!(receipt.pending[0].broker, "ewr");
    assert!(receipt.pending[0].reason.contains("no link"), "{receipt:?}");

    // The home alone answers at once, however long one would wait.
    let began = Instant::now();
    let receipt = subscribe(WaitFor::Home, long).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(receipt.installed, ["jfk"]);

    // Running: installed at both, whether all peers are awaited or this one.
    let mut ewr = world.broker("ewr").listen(at_ewr).start();
    for wait in [WaitFor::Peers, WaitFor::Broker("ewr".into())] {
        let mut receipt = subscribe(wait, long).await;
        receipt.installed.sort();
        assert_eq!(
            (receipt.installed.as_slice(), receipt.pending.len()),
            (&["ewr".into(), "jfk".into()][..], 0)
        );
    }
    let receipt = subscribe(WaitFor::Broker("nobody".into()), short).await;
    let nobody = receipt.pending.iter().find(|pending| pending.broker == "nobody");
    assert!(nobody.is_some_and(|pending| pending.reason.contains("no peer")), "{receipt:?}");

    // Stopped: the link looks well, the confirmation does not come.
    ewr.pause();
    let receipt = subscribe(WaitFor::Peers, short).await;
    ewr.resume();
    assert_eq!(receipt.installed, ["jfk"]);
    assert_eq!(receipt.pending[0].broker, "ewr");
    assert!(!receipt.pending[0].reason.is_empty());

    // And after it goes on, it is there again.
    let receipt = subscribe(WaitFor::Peers, long).await;
    assert_eq!(receipt.installed.len(), 2, "{receipt:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_subscription_is_told_when_a_link_that_fed_it_is_lost() {
    let world = World::new();
    let at_jfk = free_address();
    let jfk = world.broker("jfk").listen(at_jfk).start();
    let mut ewr = world.broker("ewr").peer("jfk", at_jfk).start();
    linked(&jfk, 1).await;
    let (_client, mut live) = everything(&jfk, None).await;
    assert_eq!(live.receipt().installed.len(), 2);
    // A later life of the peer replaces the link at once.
    ewr.crash();
    match within("a gap", live.next()).await {
        Some(Ok(fanal_client::Item::Gap(gap))) => {
            assert_eq!((gap.reason.as_str(), gap.broker.as_deref()), ("link_lost", Some("ewr")));
        }
        other => panic!("{other:?} instead of a gap"),
    }
    // The interest is installed anew: what is published after the link is back arrives.
    let at_ewr = ewr.client().await;
    until("the interest at ewr", || {
        (Metrics::of(&ewr).sum("fanal_interest_entries", &[("direction", "in")]) == 1.0).then_some(())
    })
    .await;
    publish(&at_ewr, "t", numbered("x", 1)).await;
    assert_eq!(payloads(&mut live, 1).await, ["x0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_comes_back_after_the_side_that_was_dialled_crashed() {
    let world = World::new();
    let mut ewr = world.broker("ewr").start();
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    linked(&jfk, 1).await;
    let (_client, mut durable) = everything(&jfk, Some("all")).await;
    ewr.crash();
    let at_ewr = ewr.client().await;
    // The interest is on ewr's disk, so that this is stored for jfk before the link is back.
    let receipt = within("a receipt", at_ewr.publish("t").payload("kept")).await.unwrap();
    assert_eq!((receipt.code, receipt.destinations), (Code::Durable, 1));
    assert_eq!(payloads(&mut durable, 1).await, ["kept"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_mailbox_holds_while_the_peer_is_away() {
    const COUNT: usize = 2_000;
    let world = World::new();
    let at_jfk = free_address();
    let mut ewr = world.broker("ewr").peer("jfk", at_jfk).start();
    let mut jfk = world.broker("jfk").listen(at_jfk).start();
    linked(&jfk, 1).await;
    drop(everything(&jfk, Some("all")).await);
    jfk.kill();

    let at_ewr = ewr.client().await;
    publish(&at_ewr, "t", numbered("x", COUNT)).await;
    // The mailbox survives its own broker too.
    ewr.crash();
    let receipt = within("a receipt", ewr.client().await.publish("t").payload("last")).await.unwrap();
    assert_eq!(receipt.destinations, 1);
    jfk.restart();

    let (_client, mut durable) = everything(&jfk, Some("all")).await;
    let mut expected = numbered("x", COUNT);
    expected.push("last".into());
    assert_eq!(payloads(&mut durable, COUNT + 1).await, expected);
    durable.flush_acks().await.unwrap();
    assert!(durable.try_next().is_none());
    let metrics = balanced(&ewr).await;
    assert_eq!(metrics.sum("fanal_ledger_queued_at_start", &[("class", "peer")]), COUNT as f64);
    until("the peer mailbox to be empty", || {
        (Metrics::of(&ewr).sum("fanal_ledger_queued", &[("class", "peer")]) == 0.0).then_some(())
    })
    .await;
    balanced(&jfk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_killed_between_send_and_hop_ack_resends_and_nothing_doubles() {
    const COUNT: usize = 3_000;
    let rounds = if fanal_tests::cli::is_long() { 10 } else { 2 };
    let world = World::new();
    let at_jfk = free_address();
    let jfk = world.broker("jfk").listen(at_jfk).start();
    let mut ewr = world.broker("ewr").listen(free_address()).peer("jfk", at_jfk).start();
    linked(&jfk, 1).await;
    let (_client, mut durable) = everything(&jfk, Some("all")).await;
    for round in 0..rounds {
        let before = Metrics::of(&jfk).sum("fanal_events_received_total", &[]);
        let builder = Client::builder(&ewr.credentials()).publish_timeout(Duration::from_secs(60));
        let at_ewr = builder.connect().await.unwrap();
        let prefix = format!("r{round}-");
        let publishing = publish(&at_ewr, "t", numbered(&prefix, COUNT));
        let crashing = async {
            until("the first events over the link", || {
                (Metrics::of(&jfk).sum("fanal_events_received_total", &[]) > before).then_some(())
            })
            .await;
            tokio::task::block_in_place(|| ewr.crash());
        };
        tokio::join!(publishing, crashing);
        assert_eq!(payloads(&mut durable, COUNT).await, numbered(&prefix, COUNT));
        at_ewr.close().await.unwrap();
    }
    durable.flush_acks().await.unwrap();
    assert!(durable.try_next().is_none());
    balanced(&jfk).await;
    balanced(&ewr).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_on_a_link_is_recognised_by_its_number() {
    let world = World::new();
    let mut jfk = world.broker("jfk").start();
    let (_client, mut durable) = everything(&jfk, Some("all")).await;

    let mut ewr = RawPeer::link(&jfk, "ewr", 1).await;
    assert_eq!(ewr.received_through, 0);
    ewr.send_events(1..=3).await;
    assert_eq!(ewr.hop_ack(3).await, 3);
    // The same life dials again and sends again what was acked, and more.
    drop(ewr);
    let mut ewr = RawPeer::link(&jfk, "ewr", 1).await;
    assert_eq!(ewr.received_through, 3);
    ewr.send_events(2..=5).await;
    assert_eq!(ewr.hop_ack(5).await, 5);
    assert_eq!(Metrics::of(&jfk).sum("fanal_link_duplicates_total", &[("peer", "ewr")]), 2.0);
    // What was recorded is recorded after a crash of the receiver, too; a later life of the sender
    // with the same store goes on counting.
    jfk.crash();
    let mut ewr = RawPeer::link(&jfk, "ewr", 2).await;
    assert_eq!(ewr.received_through, 5);
    ewr.send_events(1..=6).await;
    assert_eq!(ewr.hop_ack(6).await, 6);
    assert_eq!(payloads(&mut durable, 6).await, numbered("x", 7)[1..]);
    assert!(durable.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_predicate_in_strict_mode_is_evaluated_before_a_link() {
    let world = World::new();
    let jfk = world.broker("jfk").start();
    let mut ewr = world.broker("ewr").peer("jfk", jfk.listen()).start();
    linked(&jfk, 1).await;
    let client = jfk.client().await;
    // In default mode it would be refused: a cast, a function, and AND beside OR.
    let asking = || client.subscribe("t").filter("n > '5' AND TRUE OR UPPER(s) = 'YES'").strict();
    let mut durable = within("a receipt", asking().durable("strict")).await.unwrap();
    let mut live = within("a receipt", asking()).await.unwrap();
    assert_eq!(durable.receipt().installed, ["jfk", "ewr"]);
    for round in ["first", "after a restart"] {
        let at_ewr = ewr.client().await;
        for (name, n, s) in [("no", 5, "no"), ("by number", 6, "no"), ("by text", 5, "yes"), ("last", 7, "")]
        {
            at_ewr.publish("t").attr("n", n).attr("s", s).payload(name).await.unwrap();
        }
        assert_eq!(payloads(&mut durable, 3).await, ["by number", "by text", "last"], "{round}");
        if round == "first" {
            assert_eq!(payloads(&mut live, 3).await, ["by number", "by text", "last"]);
            until("copies on the link", || {
                let forwarded = Metrics::of(&ewr).sum("fanal_events_forwarded_total", &[("peer", "jfk")]);
                assert!(forwarded <= 6.0, "what does not match crosses no link: {forwarded}");
                (forwarded == 6.0).then_some(())
            })
            .await;
            // The ask is in its store.
            ewr.crash();
        }
    }
}

/// It steps over the key, and sends more than is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_know_strict_mode_sends_a_superset_and_the_home_matches_again() {
    let world = World::new();
    let jfk = world.broker("jfk").start();
    let client = jfk.client().await;
    let strict = client.subscribe("t").filter("EXISTS gone OR 1 = 2").strict().durable("strict");
    let strict = within("a receipt", strict).await.unwrap();
    let mut ewr = RawPeer::link(&jfk, "ewr", 1).await;
    let asked = ewr.asked().await;
    assert_eq!((asked.filter.as_str(), &asked.predicate), ("t", &None), "no key that it would misread");
    assert_eq!(asked.strict.as_deref(), Some("EXISTS gone OR 1 = 2"));

    let (_other, mut all) = everything(&jfk, Some("all")).await;
    ewr.send_events(1..=3).await;
    assert_eq!(payloads(&mut all, 3).await, ["x1", "x2", "x3"]);
    drop(strict);
    let (_, page) = fanal_tests::http::get(jfk.admin(), "/api/v1/subscriptions");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let rows = page["subscriptions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "strict").unwrap();
    assert_eq!((&row["strict"], &row["where"]), (&true.into(), &"EXISTS gone OR 1 = 2".into()));
    assert_eq!(row["queued_events"], 0, "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_link_harms_no_other_link() {
    let world = World::new();
    let jfk = world.broker("jfk").start();
    let ewr = world.broker("ewr").peer("jfk", jfk.listen()).start();
    linked(&jfk, 1).await;
    let (_client, mut durable) = everything(&jfk, Some("all")).await;
    assert_eq!(durable.receipt().installed.len(), 2);

    let garbage: [&[u8]; 4] = [&[0x40], &[2, 31, 0x80], &[1, 0xc1], &[0xbf, 0xff, 0xff, 0xff]];
    for bytes in garbage {
        let mut rogue = RawPeer::link(&jfk, "rogue", 1).await;
        rogue.write_control(bytes).await;
        if bytes != garbage[0] {
            let (code, reason) = rogue.refusal().await;
            assert!(matches!(code, 400 | 413), "{code} {reason}");
        }
    }
    let mut rogue = RawPeer::link(&jfk, "rogue", 1).await;
    rogue.write_events(&[2, 60, 0x80]).await;
    let (code, reason) = rogue.refusal().await;
    assert_eq!(code, 400, "{reason}");
    assert!(reason.contains("unknown frame type 60"), "{reason}");

    let at_ewr = ewr.client().await;
    publish(&at_ewr, "t", numbered("x", 10)).await;
    assert_eq!(payloads(&mut durable, 10).await, numbered("x", 10));
    assert_eq!(Metrics::of(&jfk).sum("fanal_link_up", &[("peer", "ewr")]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_expires_in_a_peer_mailbox() {
    let world = World::new();
    let at_jfk = free_address();
    let ewr = world.broker("ewr").peer("jfk", at_jfk).start();
    let mut jfk = world.broker("jfk").listen(at_jfk).start();
    linked(&jfk, 1).await;
    drop(everything(&jfk, Some("all")).await);
    jfk.kill();
    let at_ewr = ewr.client().await;
    let ttl = Duration::from_millis(200);
    within("a receipt", at_ewr.publish("t").payload("late").ttl(ttl)).await.unwrap();
    let published = Instant::now();
    within("a receipt", at_ewr.publish("t").payload("in time").ttl(Duration::from_secs(600))).await.unwrap();
    until("the TTL to be over", || (published.elapsed() > ttl).then_some(())).await;
    jfk.restart();
    let (_client, mut durable) = everything(&jfk, Some("all")).await;
    let delivery = next(&mut durable).await;
    assert_eq!(&delivery.payload()[..], b"in time");
    assert!(delivery.ttl_ms().is_some_and(|ttl| ttl < 600_000), "each hop sends what remains");
    delivery.ack();
    until("the expired event to be counted", || {
        (Metrics::of(&ewr).sum("fanal_events_expired_total", &[("class", "peer")]) == 1.0).then_some(())
    })
    .await;
    balanced(&ewr).await;
}
