//! A broker whose subscription index is full: who is refused, who is not, and that nothing is lost.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::BTreeSet;

use fanal_protocol::Control;
use fanal_protocol::control::{RemoveSubscription, Subscribe, UpdateSubscription};
use fanal_tests::broker::{Broker, Spec, World};
use fanal_tests::http::Metrics;
use fanal_tests::raw::Raw;
use fanal_tests::subscriber::payloads;
use fanal_tests::wait::{until, within};

/// The least that may be configured.
const INDEX_BYTES: usize = 16 << 20;
/// More of the filters here than find room in that.
const TOO_MANY: u32 = 1_000;

/// A predicate of some 13 KB, nothing of which any other shares.
fn long(n: u32) -> String {
    let texts: Vec<String> = (0..60).map(|at| format!("'{n} {at:0200}'")).collect();
    format!("s IN ({})", texts.join(", "))
}

fn request(channel: u32, predicate: String, durable: Option<String>) -> Subscribe {
    Subscribe {
        channel,
        filter: "t/#".into(),
        predicate: Some(predicate),
        durable,
        wait: Some("home".into()),
        ..Subscribe::default()
    }
}

fn small(world: &World, name: &str) -> Spec {
    let config = world.path("small.toml");
    std::fs::write(&config, format!("[limits]\nindex_bytes = {INDEX_BYTES}\n")).unwrap();
    world.broker(name).config(config)
}

/// Sends all before it reads the first answer: the channels that were opened, and what the others
/// were told.
async fn subscribe_all(
    raw: &mut Raw,
    requests: impl ExactSizeIterator<Item = Subscribe>,
) -> (BTreeSet<u32>, BTreeSet<(u16, String)>) {
    let count = requests.len();
    for request in requests {
        raw.send(request).await;
    }
    let (mut opened, mut refusals) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..count {
        let answer = raw.expect(|frame| match frame {
            Control::Subscribed(receipt) => Some(Ok(receipt.channel)),
            Control::Refused(refused) => Some(Err((refused.code, refused.name))),
            _ => None,
        });
        match answer.await {
            Ok(channel) => drop(opened.insert(channel)),
            Err(refusal) => drop(refusals.insert(refusal)),
        }
    }
    (opened, refusals)
}

/// Gives the durable subscription `kept` another predicate; the refusal.
async fn update(raw: &mut Raw, request: u32, predicate: &str) -> Result<(), (u16, String)> {
    let (durable, filter) = ("kept".to_owned(), "t/#".to_owned());
    let predicate = Some(predicate.to_owned());
    raw.send(UpdateSubscription { request, durable, filter, predicate, ..Default::default() }).await;
    raw.expect(|frame| match frame {
        Control::Done(done) if done.request == request => Some(Ok(())),
        Control::Refused(refused) if refused.request == request => Some(Err((refused.code, refused.name))),
        _ => None,
    })
    .await
}

fn entries(broker: &Broker, kind: &str) -> f64 {
    Metrics::of(broker).sum("fanal_subscriptions", &[("kind", kind)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_index_refuses_what_is_new_and_widens_what_peers_ask_for() {
    let world = World::new();
    let ewr = small(&world, "ewr").start();
    let mut raw = Raw::attach(&ewr).await;
    let kept = || request(1, long(1), Some("kept".into()));
    raw.subscribe(kept()).await.unwrap();
    let full = BTreeSet::from([(507, "index_full".to_owned())]);
    let (opened, refusals) = subscribe_all(&mut raw, (2..TOO_MANY).map(|n| request(n, long(n), None))).await;
    assert_eq!(refusals, full, "{} of {TOO_MANY} found room", opened.len());
    assert!(opened.len() > 400, "{}", opened.len());
    let durable = raw.subscribe(request(TOO_MANY, long(TOO_MANY), Some("new".into()))).await;
    assert_eq!(durable.unwrap_err().name, "index_full");
    assert_eq!((entries(&ewr, "live"), entries(&ewr, "durable")), (opened.len() as f64, 1.0), "no trace");

    // A peer's ask is widened: more crosses the link, the same is delivered.
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    until("a link", || (Metrics::of(&jfk).sum("fanal_link_up", &[]) == 1.0).then_some(())).await;
    let (at_jfk, at_ewr) = (jfk.client().await, ewr.client().await);
    let mut subscription =
        within("a receipt", at_jfk.subscribe("w/#").filter("n > 1").durable("wide")).await.unwrap();
    assert_eq!(subscription.receipt().installed, ["jfk", "ewr"]);
    for n in 1..=3 {
        within("a receipt", at_ewr.publish("w/x").attr("n", n).payload(n.to_string())).await.unwrap();
    }
    assert_eq!(payloads(&mut subscription, 2).await, ["2", "3"]);
    let forwarded = || Metrics::of(&ewr).sum("fanal_events_forwarded_total", &[("peer", "jfk")]);
    until("what nobody asked for", || (forwarded() == 3.0).then_some(())).await;

    // What is there already is resumed, and may become smaller.
    let mut other = Raw::attach(&ewr).await;
    assert!(other.subscribe(kept()).await.unwrap().resumed);
    let mut longer = long(1);
    longer.push_str(" OR n = 1");
    assert_eq!(update(&mut other, 7, &longer).await, Err((507, "index_full".into())));
    assert_eq!(update(&mut other, 8, "n = 1").await, Ok(()));
    assert_eq!(update(&mut other, 9, "n = 2").await, Ok(()));

    // Who leaves gives its room back.
    drop(raw);
    until("the subscriptions to go", || (entries(&ewr, "live") == 0.0).then_some(())).await;
    let (opened, refusals) = subscribe_all(&mut other, (2..100).map(|n| request(n, long(n), None))).await;
    assert_eq!((opened.len(), refusals.len()), (98, 0));
    other.send(RemoveSubscription { request: 500, durable: "kept".into() }).await;
    other.expect(|frame| matches!(frame, Control::Done(done) if done.request == 500).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_index_is_too_small_for_its_store_does_not_start_and_loses_nothing() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let mut raw = Raw::attach(&broker).await;
    let requests = (1..TOO_MANY).map(|n| request(n, long(n), Some(format!("d{n}"))));
    let (opened, _) = subscribe_all(&mut raw, requests).await;
    assert_eq!(opened.len(), TOO_MANY as usize - 1);
    broker.kill();
    let finished = small(&world, "ewr").fail();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let all = (TOO_MANY - 1).to_string();
    for words in [&format!("limits.index_bytes = {INDEX_BYTES}"), &all, "raise limits.index_bytes"] {
        assert!(finished.stderr.contains(words), "{words:?} in {}", finished.stderr);
    }
    broker.restart();
    assert_eq!(entries(&broker, "durable"), f64::from(TOO_MANY - 1));
}
