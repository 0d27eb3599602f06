//! Publishes events, many at a time, and looks at every receipt.
//!
//!     cargo run -p fanal-client --example publish -- [--creds FILE | --data DIR] [TOPIC [COUNT]]

mod common;

use fanal_client::{Client, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (credentials, args) = common::arguments()?;
    let topic = args.first().map_or("orders/eu/created", String::as_str);
    let count: i64 = args.get(1).and_then(|count| count.parse().ok()).unwrap_or(10);
    let client = Client::connect(&credentials).await?;

    // One event, one receipt.
    let receipt = client.publish(topic).attr("amount", 0).payload("first").await?;
    println!("{} ({}), {} durable destinations", receipt.code, receipt.id(), receipt.destinations);

    // Many outstanding: `send` waits only for room in the window.
    let mut pending = Vec::new();
    for amount in 1..count {
        pending.push(client.publish(topic).attr("amount", amount).payload("next").send().await?);
    }
    for receipt in pending {
        match receipt.await {
            Ok(receipt) => println!("{} at sequence {}", receipt.code, receipt.sequence),
            Err(error) => eprintln!("{error}"),
        }
    }
    client.close().await?;
    Ok(())
}
