//! Subscribing against a broker in this process.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod common;

use std::time::Duration;

use common::Broker;
use fanal_client::{
    Client, Code, Delivery, GapCount, Item, SubscribeError, Subscription, SubscriptionError, WaitFor,
};
use fanal_protocol::control::Refused;

const BOUND: Duration = Duration::from_secs(20);

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("within the bound")
}

async fn delivery(subscription: &mut Subscription) -> Delivery {
    match bounded(subscription.next()).await {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    bounded(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn live_events_arrive_with_their_fields() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut live =
        bounded(client.subscribe("orders/#").wait_for(WaitFor::Peers).into_future()).await.unwrap();
    assert_eq!(live.receipt().installed, ["ewr"]);
    assert_eq!(live.receipt().pending[0].broker, "jfk");
    let publish = client.publish("orders/eu").attr("amount", 12).source("/till").payload("hello");
    let receipt = bounded(publish.content_type("text/plain").into_future()).await.unwrap();
    let got = delivery(&mut live).await;
    assert_eq!((got.topic(), got.sequence(), got.source()), ("orders/eu", 1, Some("/till")));
    assert_eq!((got.payload().as_ref(), got.content_type()), (&b"hello"[..], Some("text/plain")));
    assert_eq!(got.attribute("amount"), Some(fanal_client::AttributeValue::Int(12)));
    assert_eq!((got.id(), got.publisher().name.as_str()), (receipt.id(), "till"));
    assert!(!got.redelivered() && got.mailbox_sequence().is_none());
    got.ack_confirmed().await.unwrap();
    drop(live);
    until(|| broker.subscriptions() == 0).await;
}

#[tokio::test]
async fn acks_travel_in_batches_and_are_confirmed() {
    let broker = Broker::start();
    for n in 0..1_000 {
        broker.deposit("late", "t", &[n as u8]);
    }
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut late = bounded(client.subscribe("#").durable("late").into_future()).await.unwrap();
    assert!(late.receipt().resumed);
    for n in 1..=1_000 {
        let got = delivery(&mut late).await;
        assert_eq!(got.mailbox_sequence(), Some(n));
        got.ack();
    }
    bounded(late.flush_acks()).await.unwrap();
    let state = broker.state();
    assert_eq!(state.mailboxes["late"].acked.len(), 1_000);
    let frames = state.control_log.iter().filter(|name| *name == "Ack").count();
    assert!(frames < 100, "{frames} ack frames");
}

#[tokio::test]
async fn credit_bounds_what_is_sent_to_a_slow_program() {
    let broker = Broker::start();
    for _ in 0..500 {
        broker.deposit("slow", "t", b"x");
    }
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut slow = client.subscribe("#").durable("slow").credit(10, 1 << 20).await.unwrap();
    for n in 1..=500 {
        assert_eq!(delivery(&mut slow).await.mailbox_sequence(), Some(n));
        assert!(broker.state().mailboxes["slow"].attempts.len() as u64 <= n + 10);
    }
}

#[tokio::test]
async fn a_program_sees_each_durable_event_once_across_lost_connections() {
    let broker = Broker::start();
    broker.state().are_acks_held = true;
    for n in 0..2_000u32 {
        broker.deposit("late", "t", &n.to_be_bytes());
    }
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut late = client.subscribe("#").durable("late").credit(100, 1 << 20).await.unwrap();
    for n in 1..=2_000 {
        let got = delivery(&mut late).await;
        assert_eq!(got.mailbox_sequence(), Some(n));
        if n % 3 != 0 {
            got.ack();
        }
        if n % 450 == 0 {
            broker.kick(503, "restarting");
        }
        if n == 1_999 {
            broker.state().are_acks_held = false;
            broker.kick(503, "restarting"); // acks that were not confirmed are sent again
        }
    }
    bounded(late.flush_acks()).await.unwrap();
    let acked = broker.state().mailboxes["late"].acked.len();
    assert_eq!(acked, (1..=2_000).filter(|n| n % 3 != 0).count());
    assert!(client.connection_losses() >= 4);
}

#[tokio::test]
async fn a_live_subscription_is_told_of_a_lost_connection_and_goes_on() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut live = client.subscribe("#").await.unwrap();
    broker.kick(503, "restarting");
    match bounded(live.next()).await {
        Some(Ok(Item::Gap(gap))) => {
            assert_eq!((gap.count, gap.reason.as_str()), (GapCount::Unknown, "connection_lost"));
        }
        other => panic!("{other:?}"),
    }
    until(|| broker.subscriptions() == 1).await;
    client.publish("t").payload("after").await.unwrap();
    assert_eq!(delivery(&mut live).await.payload(), "after");
}

#[tokio::test]
async fn a_replaced_mailbox_is_told_and_starts_over() {
    let broker = Broker::start();
    broker.deposit("late", "t", b"old");
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut late = client.subscribe("#").durable("late").await.unwrap();
    let old = delivery(&mut late).await;
    broker.state().mailboxes.remove("late");
    broker.kick(503, "restarting");
    match bounded(late.next()).await {
        Some(Ok(Item::Gap(gap))) => assert_eq!(gap.reason, "mailbox_replaced"),
        other => panic!("{other:?}"),
    }
    broker.deposit("late", "t", b"new");
    old.ack(); // means nothing any more
    let new = delivery(&mut late).await;
    assert_eq!((new.payload().as_ref(), new.mailbox_sequence()), (&b"new"[..], Some(1)));
    bounded(late.flush_acks()).await.unwrap();
    assert!(broker.state().mailboxes["late"].acked.is_empty());
    bounded(new.ack_confirmed()).await.unwrap();
    assert_eq!(broker.state().mailboxes["late"].acked.len(), 1);
}

/// A home whose store was put back from a backup gives mailbox sequences again: they are new events.
#[tokio::test]
async fn numbers_of_another_recovery_epoch_are_no_duplicates() {
    let broker = Broker::start();
    broker.deposit("late", "t", b"before");
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut late = client.subscribe("#").durable("late").await.unwrap();
    let before = delivery(&mut late).await;
    assert_eq!(before.mailbox_sequence(), Some(1));
    {
        let mut state = broker.state();
        state.incarnation.recovery_epoch += 1;
        state.mailboxes.get_mut("late").unwrap().entries.clear();
    }
    broker.kick(503, "restarting");
    match bounded(late.next()).await {
        Some(Ok(Item::Gap(gap))) => assert_eq!(gap.reason, "mailbox_replaced"),
        other => panic!("{other:?}"),
    }
    broker.deposit("late", "t", b"after");
    before.ack(); // of another numbering: means nothing any more
    let after = delivery(&mut late).await;
    assert_eq!((after.payload().as_ref(), after.mailbox_sequence()), (&b"after"[..], Some(1)));
    bounded(late.flush_acks()).await.unwrap();
    assert!(broker.state().mailboxes["late"].acked.is_empty());
}

#[tokio::test]
async fn takeover_ends_the_stream_for_good() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut late = client.subscribe("#").durable("late").await.unwrap();
    broker.take_over("late");
    match bounded(late.next()).await {
        Some(Err(SubscriptionError::Ended(refused))) => {
            assert_eq!((refused.code, refused.name.as_str()), (Code::Conflict, "taken_over"));
        }
        other => panic!("{other:?}"),
    }
    assert!(bounded(late.next()).await.is_none());
    broker.kick(503, "restarting");
    until(|| broker.state().hellos == 2 && client.is_connected()).await;
    client.query("status").await.unwrap();
    assert_eq!(broker.subscriptions(), 0);
}

#[tokio::test]
async fn a_refused_subscription_says_why() {
    let broker = Broker::start();
    broker.state().refuse_subscribe = Some(Refused {
        request: 0,
        code: 422,
        name: "bad_filter".into(),
        reason: "position 3: expected a value".into(),
    });
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let error = client.subscribe("#").filter("a =").await.err().expect("refused");
    assert!(matches!(&error, SubscribeError::Refused { refused, .. } if refused.code == Code::FilterRefused));
    assert!(error.to_string().contains("position 3"), "{error}");
}

/// It would step over the key, and the subscription would be another one.
#[tokio::test]
async fn a_home_that_does_not_know_strict_mode_is_never_asked_with_it() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let asking = || client.subscribe("#").filter("a = '1'").strict().into_future();
    let error = bounded(asking()).await.err().expect("refused");
    assert!(
        matches!(&error, SubscribeError::Refused { refused, .. } if refused.name == "strict_unknown"),
        "{error}"
    );
    let updated = bounded(client.update_subscription_strict("late", "a/#", "x > 1", &[])).await;
    assert!(updated.unwrap_err().to_string().contains("strict_unknown"));
    let log = broker.state().control_log.clone();
    assert!(!log.iter().any(|name| name == "Subscribe" || name == "UpdateSubscription"), "{log:?}");

    broker.state().strict = true;
    broker.kick(0, "an update");
    until(|| client.connection_losses() == 1 && client.is_connected()).await;
    let mut strict = bounded(asking()).await.unwrap();
    assert_eq!(broker.state().asked, (None, Some("a = '1'".into())));
    let plain = bounded(client.subscribe("#").filter("a = 1").into_future()).await.unwrap();
    assert_eq!(broker.state().asked, (Some("a = 1".into()), None));

    // And back to the older version: what it would misread ends, the rest goes on.
    broker.state().strict = false;
    broker.kick(0, "a downgrade");
    let ended = bounded(async {
        loop {
            match strict.next().await {
                Some(Ok(Item::Gap(_))) => {}
                other => break other,
            }
        }
    });
    let ended = ended.await;
    assert!(
        matches!(&ended, Some(Err(SubscriptionError::Ended(refused))) if refused.name == "strict_unknown"),
        "{ended:?}"
    );
    until(|| broker.subscriptions() == 1).await;
    assert_eq!(broker.state().asked, (Some("a = 1".into()), None));
    drop(plain);
}

#[tokio::test]
async fn requests_are_answered_or_refused() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    assert_eq!(client.query("status").await.unwrap(), "{\"ok\":true}");
    assert!(client.query("nonsense").await.unwrap_err().to_string().contains("nonsense"));
    broker.deposit("late", "t", b"x");
    client.update_subscription("late", "a/#", Some("x > 1"), &["a/b"]).await.unwrap();
    client.remove_subscription("late").await.unwrap();
    assert!(broker.state().mailboxes.is_empty());
}

#[tokio::test]
async fn a_broker_that_sends_beyond_its_credit_is_left_and_dialled_again() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let _live = client.subscribe("#").credit(10, 1 << 20).await.unwrap();
    broker.state().exceed_credit = true;
    broker.send_live("t", b"x", 50);
    until(|| client.connection_losses() == 1).await;
    broker.state().exceed_credit = false;
    until(|| client.is_connected() && broker.subscriptions() == 1).await;
}

#[tokio::test]
async fn closing_flushes_acks_and_ends_the_streams() {
    let broker = Broker::start();
    broker.deposit("late", "t", b"x");
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut late = client.subscribe("#").durable("late").await.unwrap();
    delivery(&mut late).await.ack();
    bounded(client.close()).await.unwrap();
    assert_eq!(broker.state().mailboxes["late"].acked.len(), 1);
    assert!(matches!(bounded(late.next()).await, Some(Err(SubscriptionError::Closed))));
    assert!(bounded(late.next()).await.is_none());
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let live = client.subscribe("#").await.unwrap();
    drop(client);
    assert_eq!(broker.subscriptions(), 1);
    drop(live);
    until(|| broker.subscriptions() == 0).await;
}
