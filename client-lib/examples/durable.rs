//! Subscribes durably, acks each event once it is dealt with, and ends after COUNT events. Started
//! again it goes on where it left off.
//!
//!     cargo run -p fanal-client --example durable -- [--creds FILE | --data DIR] [NAME [FILTER [COUNT]]]

mod common;

use fanal_client::{Client, Error, Item};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (credentials, args) = common::arguments()?;
    let arg = |index: usize, default: &'static str| args.get(index).map_or(default, String::as_str);
    let mut left: u64 = arg(2, "10").parse().unwrap_or(10);
    let client = Client::connect(&credentials).await?;
    let mut mailbox = client.subscribe(arg(1, "orders/#")).durable(arg(0, "example")).await?;
    eprintln!("{}", if mailbox.receipt().resumed { "resumed" } else { "new" });
    while left > 0 {
        let Some(item) = mailbox.next().await else { break };
        if let Item::Delivery(event) = item? {
            let again = if event.redelivered() { " (again)" } else { "" };
            println!("{} {}{again}: {:?}", event.topic(), event.id(), event.payload());
            event.ack(); // cheap; travels in batches
            left -= 1;
        }
    }
    mailbox.flush_acks().await?; // from here on nothing of this comes again
    client.close().await?;
    Ok(())
}
