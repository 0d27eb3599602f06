//! Publishing against a broker in this process.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod common;

use std::time::Duration;

use common::Broker;
use fanal_client::{Client, Code, PublishError, Refused};

const BOUND: Duration = Duration::from_secs(20);

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.expect("within the bound")
}

fn payloads(broker: &Broker) -> Vec<String> {
    broker.state().log.iter().map(|stored| String::from_utf8(stored.payload().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_publish_ends_with_a_receipt() {
    let broker = Broker::start();
    let client = bounded(Client::connect(&broker.credentials())).await.unwrap();
    assert_eq!(client.welcome().broker, "ewr");
    let receipt = bounded(
        client.publish("orders/eu").attr("amount", 12i64).attr("region", "eu").payload("x").into_future(),
    );
    let receipt = receipt.await.unwrap();
    assert_eq!((receipt.code, receipt.sequence), (Code::Durable, 1));
    assert!(receipt.id().starts_with("till@") && receipt.id().ends_with(":1"), "{}", receipt.id());
    let named = bounded(client.publish("orders/eu").id("a-1").into_future()).await.unwrap();
    assert_eq!(named.id(), "a-1");
    let sent = bounded(client.publish("orders/eu").best_effort().into_future()).await.unwrap();
    assert_eq!((sent.code, sent.sequence), (Code::NothingToDo, 1));
    let taken = bounded(client.publish("orders/eu").best_effort().receipt().into_future()).await.unwrap();
    assert_eq!((taken.code, taken.sequence), (Code::Accepted, 2));
    bounded(client.close()).await.unwrap();
    assert_eq!(broker.state().close_frames.len(), 1);
    assert!(broker.state().control_log.iter().any(|name| name == "Close"));
    assert!(matches!(client.publish("x").await, Err(PublishError::Closed)));
}

#[tokio::test]
async fn many_are_outstanding_and_each_gets_its_own_receipt() {
    let broker = Broker::start();
    let client = Client::builder(&broker.credentials()).publish_window(64, 1 << 20).connect().await.unwrap();
    let publisher = client.publisher();
    let mut pending = Vec::new();
    for n in 0..5_000u32 {
        let topic = format!("t/{}", n % 7);
        pending.push(publisher.publish(&topic).payload(n.to_string()).send().await.unwrap());
        assert!(publisher.outstanding() <= 64);
    }
    for (n, pending) in pending.into_iter().enumerate() {
        assert_eq!(bounded(pending).await.unwrap().sequence, n as u64 + 1);
    }
    assert_eq!(payloads(&broker), (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((publisher.stats().accepted, publisher.outstanding()), (5_000, 0));
}

#[tokio::test]
async fn refusals_fail_one_event_or_are_tried_again_and_the_order_stays() {
    let broker = Broker::start();
    {
        let mut state = broker.state();
        state.refusals.insert(3, [(Code::Forbidden, None)].into());
        state.refusals.insert(5, [(Code::Quota, Some(30)), (Code::StoreFull, None)].into());
        state.refusals.insert(6, [(Code::TooLarge, None)].into());
        state.refusals.insert(7, [(Code::Malformed, None)].into());
    }
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let mut pending = Vec::new();
    for n in 1..=20 {
        pending.push(client.publish("t").payload(n.to_string()).send().await.unwrap());
    }
    let mut failed = Vec::new();
    for (n, pending) in (1..).zip(pending) {
        match bounded(pending).await {
            Ok(receipt) => assert_eq!(receipt.code, Code::Durable),
            Err(PublishError::Refused(refused)) => failed.push((n, refused.code)),
            Err(other) => panic!("{n}: {other}"),
        }
    }
    assert_eq!(failed, [(3, Code::Forbidden), (6, Code::TooLarge), (7, Code::Malformed)]);
    let expected: Vec<_> = (1..=20).filter(|n| ![3, 6, 7].contains(n)).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&broker), expected);
}

#[tokio::test]
async fn time_runs_out_on_a_refusal_that_stays() {
    let broker = Broker::start();
    // Time runs out in the middle between two answers: while one is on its way the outcome is unknown.
    const LATER_MS: u64 = 1_000;
    broker.state().refusals.insert(1, std::iter::repeat_n((Code::StoreFull, Some(LATER_MS)), 10).collect());
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let timeout = Duration::from_millis(LATER_MS + LATER_MS / 2);
    let first = client.publish("t").payload("1").timeout(timeout).send().await.unwrap();
    let second = client.publish("t").payload("2").send().await.unwrap();
    let error = bounded(first).await.unwrap_err();
    let is_full = |last: &Refused| last.code == Code::StoreFull;
    assert!(matches!(&error, PublishError::TimedOut { last: Some(last), .. } if is_full(last)), "{error:?}");
    assert!(error.to_string().contains("not stored"), "{error}");
    bounded(second).await.unwrap();
    assert_eq!(payloads(&broker), ["2"]);
    assert_eq!(broker.state().skips, [(1, 1)]);
}

#[tokio::test]
async fn a_silent_broker_leaves_the_outcome_unknown() {
    let broker = Broker::start();
    broker.state().are_receipts_held = true;
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let error =
        bounded(client.publish("t").timeout(Duration::from_millis(200)).into_future()).await.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn lost_connections_lose_and_repeat_nothing() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let publisher = client.publisher();
    let mut pending = Vec::new();
    for n in 0..3_000u32 {
        if n % 700 == 699 {
            broker.kick(503, "restarting");
        }
        pending.push(publisher.publish("t").payload(n.to_string()).send().await.unwrap());
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for pending in pending {
        let receipt = bounded(pending).await.unwrap();
        assert!(matches!(receipt.code, Code::Durable | Code::Duplicate), "{receipt:?}");
    }
    assert_eq!(payloads(&broker), (0..3_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(client.connection_losses() >= 1 && broker.state().hellos >= 2);
}

#[tokio::test]
async fn an_unknown_epoch_is_told_as_unknown_and_publishing_goes_on() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    bounded(client.publish("t").payload("0").into_future()).await.unwrap();
    broker.state().are_receipts_held = true;
    let outstanding = client.publish("t").payload("1").send().await.unwrap();
    while broker.state().log.len() < 2 {
        tokio::task::yield_now().await;
    }
    broker.state().are_receipts_held = false;
    broker.forget_epochs();
    broker.kick(503, "restored from a backup");
    let error = bounded(outstanding).await.unwrap_err();
    assert!(matches!(error, PublishError::Unknown { .. }), "{error}");
    let receipt = bounded(client.publish("t").payload("2").into_future()).await.unwrap();
    assert_eq!((receipt.sequence, receipt.epoch().counter), (1, 2));
}

#[tokio::test]
async fn large_bodies_are_refused_here_and_bad_ones_before_sending() {
    let broker = Broker::start();
    broker.state().body_bytes_max = 1_000;
    let client = Client::connect(&broker.credentials()).await.unwrap();
    client.publish("t").payload("warm").await.unwrap();
    let error = client.publish("t").payload(vec![0; 2_000]).await.unwrap_err();
    assert!(matches!(&error, PublishError::Refused(refused) if refused.code == Code::TooLarge), "{error}");
    let error = client.publish("t").attr("id", 1).await.unwrap_err();
    assert!(matches!(error, PublishError::Invalid(_)), "{error}");
    assert_eq!(broker.state().log.len(), 1);
}

#[tokio::test]
async fn a_full_window_is_said_and_a_refused_best_effort_event_is_told() {
    let broker = Broker::start();
    broker.state().are_receipts_held = true;
    let client = Client::builder(&broker.credentials()).publish_window(2, 1 << 20).connect().await.unwrap();
    let _pending = [client.publish("t").try_send().unwrap(), client.publish("t").try_send().unwrap()];
    assert!(matches!(client.publish("t").try_post(), Err(PublishError::WindowFull)));
    let waited = client.publish("t").timeout(Duration::from_millis(50)).send().await.err();
    assert!(matches!(waited, Some(PublishError::TimedOut { .. })));

    broker.state().are_receipts_held = false;
    broker.state().refuse_best_effort = Some(Code::Quota);
    let other = client.publisher();
    let error = bounded(other.publish("t").best_effort().receipt().into_future()).await.unwrap_err();
    assert!(matches!(&error, PublishError::Refused(refused) if refused.code == Code::Quota), "{error}");
}

#[tokio::test]
async fn a_publisher_that_was_let_go_still_sends_and_is_then_closed() {
    let broker = Broker::start();
    let client = Client::connect(&broker.credentials()).await.unwrap();
    let publisher = client.publisher();
    for n in 0..100 {
        publisher.publish("t").payload(n.to_string()).post().await.unwrap();
    }
    drop(publisher);
    bounded(async {
        while !broker.state().control_log.iter().any(|name| name == "ClosePublish") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(broker.state().log.len(), 100);
}
