//! A disk that fails, fills up or gives back something else, under real brokers: what people see.
//!
//! Each once from end to end; every place and every moment is tried in the store's own tests
//! (`broker/store/src/tests`).
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod damage;
mod full;
mod io_errors;

use std::path::Path;

use fanal_client::Client;
use fanal_tests::broker::{Broker, Spec, World};
use fanal_tests::subscriber::next;
use fanal_tests::wait::within;

/// Payload of the event after which a mailbox is drained.
const END: &str = "end";

/// Small segments; a mailbox may fill the store.
const CONFIG: &str = "[limits]\nsegment_bytes = 1048576\nbody_bytes_max = 65536\nmailbox_bytes = \"1 TiB\"\ngive_way_percent = 100\n";

/// A broker whose data lies there, its CA in `ca` below it.
fn small(world: &World, data: &Path) -> Spec {
    let config = world.path("small.toml");
    std::fs::write(&config, CONFIG).unwrap();
    world.broker("ewr").config(config).data(data.to_owned()).ca(data.join("ca"))
}

/// Makes a durable subscription to `t/#` and leaves it.
async fn detached(client: &Client, name: &str) {
    drop(within("a receipt", client.subscribe("t/#").durable(name)).await.unwrap());
}

/// The payloads' first words up to the end, which is published now; acked where that is asked for.
async fn drain(broker: &Broker, name: &str, acks: bool) -> Vec<String> {
    let client = broker.client().await;
    within("a receipt", client.publish("t/end").payload(END)).await.unwrap();
    let mut subscription = within("a receipt", client.subscribe("t/#").durable(name)).await.unwrap();
    assert!(subscription.receipt().resumed, "{name} is gone");
    let mut out = Vec::new();
    loop {
        let delivery = next(&mut subscription).await;
        let text = String::from_utf8_lossy(&delivery.payload()).into_owned();
        let word = text.split(' ').next().unwrap_or_default().to_owned();
        if acks {
            delivery.ack();
        }
        if word == END {
            break;
        }
        out.push(word);
    }
    within("confirmed acks", subscription.flush_acks()).await.unwrap();
    out
}

fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("x{number}")).collect()
}
