//! A file system that is full: publishers are told, subscribers make room.

use fanal_client::{Code, PublishError};
use fanal_tests::broker::World;
use fanal_tests::ground::Ground;
use fanal_tests::http::{self, Metrics};
use fanal_tests::wait::{BOUND, until, within};

use super::{detached, drain, small};

const PAYLOAD: usize = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_file_system_refuses_publishes_takes_acks_and_heals_when_it_is_drained() {
    let test = "a_full_file_system_refuses_publishes_takes_acks_and_heals_when_it_is_drained";
    let Some(ground) = Ground::new(test) else { return };
    let world = World::new();
    let mut broker = small(&world, &ground.path("ewr")).start();
    let client = broker.client().await;
    detached(&client, "orders").await;
    ground.disk.set_capacity(Some(ground.disk.used() + (5 << 20)));
    let mut stored = 0;
    let refused = loop {
        let mut payload = format!("x{} ", stored + 1).into_bytes();
        payload.resize(PAYLOAD, b'.');
        let publish = client.publish("t/a").payload(payload).timeout(std::time::Duration::from_secs(2));
        match within("an answer", publish).await {
            Ok(receipt) => assert_eq!(receipt.code, Code::Durable),
            Err(error) => break error,
        }
        stored += 1;
    };
    match &refused {
        PublishError::TimedOut { last: Some(last), .. } => {
            assert_eq!(last.code, Code::StoreFull, "{refused}")
        }
        other => panic!("{other}"),
    }
    assert!(stored > 50, "{stored} events fit");
    let full = |broker: &_| Metrics::of(broker).sum("fanal_store_full", &[]);
    assert_eq!((full(&broker), http::get(broker.admin(), "/readyz").0), (1.0, 200));

    // A full store starts, and has everything.
    broker.crash();
    let expected: Vec<_> = (1..=stored).map(|number| format!("x{number}")).collect();
    let client = broker.client().await;
    let mut orders = within("a receipt", client.subscribe("t/#").durable("orders")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..stored {
        let delivery = fanal_tests::subscriber::next(&mut orders).await;
        let text = String::from_utf8_lossy(&delivery.payload()).into_owned();
        seen.push(text.split(' ').next().unwrap().to_owned());
        // One by one: each is an append to a full store.
        within("a confirmed ack", delivery.ack_confirmed()).await.unwrap();
    }
    assert_eq!(seen, expected);
    drop(orders);
    // No room came from outside.
    within("room", client.publish("t/a").payload("more ").timeout(BOUND)).await.unwrap();
    until("a store that is not full", || (full(&broker) == 0.0).then_some(())).await;
    assert_eq!(drain(&broker, "orders", true).await, ["more"]);
}
