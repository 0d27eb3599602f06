//! Limits of mailboxes and what becomes of what is too much, with real processes.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::time::Duration;

use fanal_client::{
    Client, Code, Credentials, DeadLetter, DeadLetters, Error, MailboxLimits, Publisher, SubscribeBuilder,
    WaitFor, WhenFull,
};
use fanal_tests::authority::Authority;
use fanal_tests::broker::{Broker, Spec, World};
use fanal_tests::http::{Metrics, get};
use fanal_tests::subscriber::{next, payloads};
use fanal_tests::wait::{until, within};
use serde_json::Value;

fn limited(world: &World, name: &str, limits: &str) -> Spec {
    let config = world.path(&format!("{name}.toml"));
    std::fs::write(&config, format!("[limits]\n{limits}\n")).unwrap();
    world.broker(name).config(config)
}

async fn publish(publisher: &Publisher, topic: &str, numbers: std::ops::Range<usize>) {
    let mut pending = Vec::new();
    for n in numbers {
        pending.push(publisher.publish(topic).payload(n.to_string()).send().await.unwrap());
    }
    for receipt in pending {
        assert_eq!(within("a receipt", receipt).await.unwrap().code, Code::Durable);
    }
}

/// A durable subscription that nobody is attached to.
async fn detached(broker: &Broker, builder: SubscribeBuilder) {
    drop(within("a receipt", builder.wait_for(WaitFor::Home)).await.unwrap());
    until("the subscription to be let go", || {
        let (_, page) = get(broker.admin(), "/api/v1/subscriptions");
        (!page.contains("\"attached\":true")).then_some(())
    })
    .await;
}

fn page(broker: &Broker, name: &str) -> Value {
    serde_json::from_str(&get(broker.admin(), &format!("/api/v1/{name}")).1).unwrap()
}

fn mailbox(broker: &Broker, name: &str) -> Value {
    let page = page(broker, "mailboxes");
    page["mailboxes"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
}

/// Waits until so many dead letters are there.
async fn dead(broker: &Broker, count: u64) {
    until("dead letters", || (page(broker, "dead-letters")["queued_events"] == count).then_some(())).await;
}

async fn letters(client: &Client, which: DeadLetters) -> Vec<DeadLetter> {
    let (mut reader, mut out) = (client.dead_letters(which), Vec::new());
    while let Some(letter) = within("dead letters", reader.next()).await.unwrap() {
        out.push(letter);
    }
    out
}

fn payload(letter: &DeadLetter) -> String {
    String::from_utf8(letter.event.as_ref().unwrap().view().payload.to_vec()).unwrap()
}

fn refused(error: impl Into<Error>) -> (u16, String) {
    let error = error.into();
    let refused = error.refused().unwrap_or_else(|| panic!("{error}"));
    (refused.code.number(), refused.name.clone())
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gave_way_survives_a_crash_and_comes_back_when_it_is_asked_for() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let client = broker.client().await;
    let five = MailboxLimits::new().events(5);
    detached(&broker, client.subscribe("t/#").durable("orders").limits(five)).await;
    publish(&client.publisher(), "t/a", 0..12).await;
    dead(&broker, 7).await;
    broker.crash();
    dead(&broker, 7).await;
    let client = broker.client().await;
    let row = mailbox(&broker, "orders");
    assert_eq!((&row["queued_events"], &row["max_events"]), (&5.into(), &5.into()), "{row}");
    assert_eq!(
        (&row["dead_lettered"]["full"], &row["when_full"]),
        (&7.into(), &"dead_letter".into()),
        "{row}"
    );

    let all = letters(&client, DeadLetters::all()).await;
    assert_eq!(all.iter().map(payload).collect::<Vec<_>>(), numbers(0..7));
    assert_eq!(all.iter().map(|letter| letter.number).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    let first = all.first().unwrap();
    let destination = (&*first.destination.kind, &*first.destination.name, &*first.reason, first.attempts);
    assert_eq!(destination, ("durable", "orders", "full", 0));
    assert!(first.since <= first.until);

    let mut orders = within("a receipt", client.subscribe("t/#").durable("orders")).await.unwrap();
    assert_eq!(payloads(&mut orders, 5).await, numbers(7..12));
    within("acks", orders.flush_acks()).await.unwrap();
    let some = DeadLetters::all().subscription("orders").reason("full").numbers(3..=4);
    assert_eq!(client.requeue_dead_letters(some).await.unwrap(), 2);
    assert_eq!(payloads(&mut orders, 2).await, numbers(2..4));
    assert_eq!(client.drop_dead_letters(DeadLetters::all().numbers(1..=1)).await.unwrap(), 1);
    assert_eq!(letters(&client, DeadLetters::all()).await.len(), 4);
    within("acks", orders.flush_acks()).await.unwrap();
    // They outlive their subscription, and go nowhere without it.
    drop(orders);
    client.remove_subscription("orders").await.unwrap();
    let gone = client.requeue_dead_letters(DeadLetters::all()).await.err().unwrap();
    assert_eq!(refused(gone), (404, "no_subscription".into()));
    dead(&broker, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_chosen_changed_and_refused() {
    let world = World::new();
    let broker = limited(&world, "ewr", "mailbox_events = 100").start();
    let client = broker.client().await;
    let ask = |limits| client.subscribe("t/#").durable("orders").limits(limits);
    let last = MailboxLimits::new().events(3).when_full(WhenFull::DropOldest);
    detached(&broker, ask(last)).await;
    publish(&client.publisher(), "t/a", 0..10).await;
    until("room", || (mailbox(&broker, "orders")["queued_events"] == 3).then_some(())).await;
    let row = mailbox(&broker, "orders");
    assert_eq!((&row["dropped"]["full"], &row["when_full"]), (&7.into(), &"drop_oldest".into()), "{row}");
    assert_eq!(page(&broker, "dead-letters")["queued_events"], 0);

    for other in [MailboxLimits::new().events(4), MailboxLimits::new().bytes(1 << 20)] {
        assert_eq!(refused(ask(other).await.err().unwrap()), (409, "filter_differs".into()));
    }
    detached(&broker, ask(last)).await;
    for bad in [MailboxLimits::new().events(0), MailboxLimits::new().age(Duration::ZERO)] {
        let error = client.subscribe("t/#").durable("other").limits(bad).await.err().unwrap();
        assert_eq!(refused(error), (400, "bad_limits".into()));
    }
    let live = client.subscribe("t/#").limits(last).await.err().unwrap();
    assert_eq!(refused(live), (400, "bad_limits".into()));

    // Other limits alone: filter, holder and what waits stay. The broker's limit holds beside.
    let more = MailboxLimits::new().events(0).bytes(1 << 20).when_full(WhenFull::DeadLetter);
    client.update_limits("orders", more).await.unwrap();
    let row = mailbox(&broker, "orders");
    assert_eq!((&row["max_events"], &row["max_bytes"]), (&100.into(), &(1u64 << 20).into()), "{row}");
    let mut orders = within("a receipt", client.subscribe("t/#").durable("orders")).await.unwrap();
    assert_eq!(payloads(&mut orders, 3).await, numbers(7..10));
    let none = client.update_limits("nobody", more).await.err().unwrap();
    assert_eq!(refused(none), (404, "no_subscription".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attached_subscriber_gets_what_did_not_give_way_in_order() {
    let world = World::new();
    let broker = limited(&world, "ewr", "mailbox_events = 50").start();
    let client = broker.client().await;
    let mut orders =
        within("a receipt", client.subscribe("t/#").durable("orders").credit(10, 1 << 20)).await.unwrap();
    publish(&client.publisher(), "t/a", 0..500).await;
    let mut got = Vec::new();
    while got.last() != Some(&499) {
        let delivery = next(&mut orders).await;
        got.push(std::str::from_utf8(&delivery.payload()).unwrap().parse::<usize>().unwrap());
        delivery.ack();
    }
    within("acks", orders.flush_acks()).await.unwrap();
    assert!(got.is_sorted() && got.len() < 500, "{got:?}");
    let metrics = Metrics::of(&broker);
    let lost = metrics.sum("fanal_events_dead_lettered_total", &[("class", "durable"), ("reason", "full")]);
    let acked = metrics.sum("fanal_events_acked_total", &[("class", "durable")]);
    assert_eq!(lost + acked, 500.0, "each is counted once");
    assert!(lost + got.len() as f64 >= 500.0, "nothing is missing: {lost} and {}", got.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_mailbox_cannot_hold_waits_at_the_publishers_home() {
    let world = World::new();
    let ewr = limited(&world, "ewr", "mailbox_events = 5").start();
    let mut jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let there = jfk.client().await;
    drop(
        within("a receipt", there.subscribe("t/#").durable("late").wait_for(WaitFor::Broker("ewr".into())))
            .await
            .unwrap(),
    );
    jfk.kill();
    let client = ewr.client().await;
    publish(&client.publisher(), "t/a", 0..12).await;
    dead(&ewr, 7).await;
    jfk.restart();
    let there = jfk.client().await;
    let mut late = within("a receipt", there.subscribe("t/#").durable("late")).await.unwrap();
    assert_eq!(payloads(&mut late, 5).await, numbers(7..12));
    let of_jfk = DeadLetters::all().peer("jfk");
    let all = letters(&client, of_jfk.clone()).await;
    assert_eq!(all.iter().map(payload).collect::<Vec<_>>(), numbers(0..7));
    assert!(all.iter().all(|letter| letter.destination.kind == "peer"));
    // The link takes what comes, so that five at a time fit.
    for part in [1..=4, 5..=7] {
        client.requeue_dead_letters(of_jfk.clone().numbers(part)).await.unwrap();
        until("the peer to have them", || {
            (Metrics::of(&ewr).sum("fanal_link_lag_events", &[]) == 0.0).then_some(())
        })
        .await;
    }
    assert_eq!(payloads(&mut late, 7).await, numbers(0..7));
    within("acks", late.flush_acks()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_too_long_goes_to_the_dead_letters() {
    let world = World::new();
    let broker = limited(&world, "ewr", "dead_letter_age = \"1s\"").start();
    let client = broker.client().await;
    let second = MailboxLimits::new().age(Duration::from_secs(1));
    detached(&broker, client.subscribe("t/#").durable("orders").limits(second)).await;
    publish(&client.publisher(), "t/a", 0..3).await;
    let aged =
        |class: &str, name: &str| Metrics::of(&broker).sum(name, &[("class", class), ("reason", "age")]);
    until("old events to go", || (aged("durable", "fanal_events_dead_lettered_total") == 3.0).then_some(()))
        .await;
    until("old dead letters to go", || {
        (aged("dead_letters", "fanal_events_dropped_total") == 3.0).then_some(())
    })
    .await;
    assert_eq!(page(&broker, "dead-letters")["dead_letters"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_its_own_dead_letters_and_large_ones_come_whole() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let authority = Authority::of(broker.ca());
    let connect = async |name: &str| {
        let text = authority.credentials(name, broker.listen(), &authority);
        Client::connect(&Credentials::from_json(&text).unwrap()).await.unwrap()
    };
    let (till, other) = (connect("till").await, connect("other").await);
    let one = MailboxLimits::new().events(1);
    detached(&broker, till.subscribe("t/#").durable("orders").limits(one)).await;
    let large: Vec<u8> = (0..600_000u32).map(|n| (n * 7) as u8).collect();
    for payload in [b"small".to_vec(), large.clone(), b"last".to_vec()] {
        till.publish("t/a").attr("n", 5i64).payload(payload).await.unwrap();
    }
    dead(&broker, 2).await;
    let own = letters(&till, DeadLetters::all()).await;
    let found: Vec<_> =
        own.iter().map(|letter| letter.event.as_ref().unwrap().view().payload.to_vec()).collect();
    assert!(found == [b"small".to_vec(), large], "byte for byte");
    assert_eq!(letters(&other, DeadLetters::all()).await.len(), 0);
    let principal = own.first().unwrap().event.as_ref().unwrap().publisher.clone();
    for which in [DeadLetters::all().principal(&principal), DeadLetters::all().peer("jfk")] {
        assert_eq!(
            refused(other.drop_dead_letters(which.clone()).await.err().unwrap()),
            (403, "not_yours".into())
        );
        assert_eq!(refused(other.dead_letters(which).next().await.err().unwrap()), (403, "not_yours".into()));
    }
    assert_eq!(other.drop_dead_letters(DeadLetters::all()).await.unwrap(), 0);
    let admin = broker.client().await;
    let of_till = DeadLetters::all().subscription("orders").principal(&principal);
    assert_eq!(letters(&admin, of_till.clone()).await.len(), 2);
    let odd = DeadLetters::all().reason("weather");
    assert_eq!(refused(admin.drop_dead_letters(odd).await.err().unwrap()), (400, "bad_selection".into()));
    assert_eq!(admin.drop_dead_letters(of_till).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nine_tenths_of_the_store_on_the_largest_mailbox_gives_way_and_publishing_goes_on() {
    let world = World::new();
    let limits = "segment_bytes = 1048576\nbody_bytes_max = 262144\nstore_bytes = \"32 MiB\"\nmailbox_bytes = \"1 TiB\"\n\
                  dead_letter_bytes = \"1 TiB\"";
    let broker = limited(&world, "ewr", limits).start();
    let client = broker.client().await;
    detached(&broker, client.subscribe("large/#").durable("large")).await;
    detached(&broker, client.subscribe("small/#").durable("small")).await;
    let publisher = client.publisher();
    publish(&publisher, "small/a", 0..10).await;
    let mut pending = std::collections::VecDeque::new();
    for n in 0..400u32 {
        let body = [&n.to_be_bytes()[..], &vec![7; 200_000]].concat();
        pending.push_back(publisher.publish("large/a").payload(body).send().await.unwrap());
        if pending.len() >= 8 {
            let receipt = within("a receipt", pending.pop_front().unwrap()).await.unwrap();
            assert_eq!(receipt.code, Code::Durable);
        }
    }
    for receipt in pending {
        assert_eq!(within("a receipt", receipt).await.unwrap().code, Code::Durable);
    }
    let metrics = Metrics::of(&broker);
    let store = |name: &str, class: &str| metrics.sum(name, &[("class", class), ("reason", "store")]);
    let dead_lettered = store("fanal_events_dead_lettered_total", "durable");
    let dropped = store("fanal_events_dropped_total", "dead_letters");
    assert!(dead_lettered >= 200.0 && dropped >= 200.0, "{dead_lettered} and {dropped}");
    let bytes = metrics.sum("fanal_store_bytes", &[]);
    assert!(bytes <= 33_554_432.0, "{bytes}");
    // What is small was not asked to give way, and what is large kept what there is room for.
    assert_eq!(mailbox(&broker, "small")["queued_events"], 10);
    let kept = mailbox(&broker, "large")["queued_events"].as_u64().unwrap()
        + page(&broker, "dead-letters")["queued_events"].as_u64().unwrap();
    assert!(kept >= 60, "{kept} events of 200 kB are left of a store of 32 MiB");
    let mut large = within("a receipt", client.subscribe("large/#").durable("large")).await.unwrap();
    let first = next(&mut large).await;
    assert!(u32::from_be_bytes(first.payload()[..4].try_into().unwrap()) > 100, "the oldest went first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_refuses_publishers_rather_than_that_a_mailbox_gives_way() {
    let world = World::new();
    let rule = "mailbox_events = 5\n[rules.books]\ntopic = \"audit/#\"\nwhen_full = \"refuse\"";
    let broker = limited(&world, "ewr", rule).start();
    let client = broker.client().await;
    detached(&broker, client.subscribe("#").durable("orders")).await;
    publish(&client.publisher(), "audit/a", 0..5).await;
    let late = client.publish("audit/a").payload("5").timeout(Duration::from_millis(300)).await;
    let error = Error::from(late.err().unwrap()).to_string();
    assert!(error.contains("rule `books`") && error.contains("`orders`"), "{error}");
    let refused = Metrics::of(&broker).sum("fanal_publish_refused_total", &[("code", "507")]);
    assert!(refused >= 1.0, "{refused}");
    assert_eq!(mailbox(&broker, "orders")["queued_events"], 5);
    assert_eq!(page(&broker, "dead-letters")["queued_events"], 0);
    // On other topics the oldest gives way as ever.
    publish(&client.publisher(), "t/a", 0..1).await;
    dead(&broker, 1).await;
    // With room the publisher's next attempt is taken.
    let publisher = client.publisher();
    let waiting = publisher.publish("audit/a").payload("6").send().await.unwrap();
    let mut orders = within("a receipt", client.subscribe("#").durable("orders")).await.unwrap();
    let got = payloads(&mut orders, 5).await;
    assert_eq!(got, ["1", "2", "3", "4", "0"]);
    assert_eq!(within("a receipt", waiting).await.unwrap().code, Code::Durable);
    assert_eq!(payloads(&mut orders, 1).await, ["6"]);
    within("acks", orders.flush_acks()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_for_publishers_at_its_own_broker() {
    let world = World::new();
    let ewr = world.broker("ewr").start();
    let rule = "mailbox_events = 3\n[rules.books]\ntopic = \"audit/#\"\nwhen_full = \"refuse\"";
    let jfk = limited(&world, "jfk", rule).peer("ewr", ewr.listen()).start();
    let (here, there) = (ewr.client().await, jfk.client().await);
    let orders =
        there.subscribe("audit/#").durable("orders").credit(1, 1).wait_for(WaitFor::Broker("ewr".into()));
    drop(within("a receipt", orders).await.unwrap());
    publish(&here.publisher(), "audit/a", 0..5).await;
    dead(&jfk, 2).await;
    assert_eq!(mailbox(&jfk, "orders")["queued_events"], 3);
    let refused = there.publish("audit/a").payload("5").timeout(Duration::from_millis(300)).await;
    let error = Error::from(refused.err().unwrap()).to_string();
    assert!(error.contains("rule `books`"), "{error}");
}
