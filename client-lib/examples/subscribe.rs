//! Subscribes live and prints what comes.
//!
//!     cargo run -p fanal-client --example subscribe -- [--creds FILE | --data DIR] [FILTER [WHERE]]

mod common;

use fanal_client::{Client, Error, Item};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (credentials, args) = common::arguments()?;
    let client = Client::connect(&credentials).await?;
    let mut subscribe = client.subscribe(args.first().map_or("#", String::as_str));
    if let Some(predicate) = args.get(1) {
        subscribe = subscribe.filter(predicate);
    }
    let mut live = subscribe.await?;
    eprintln!("publishes match at {:?}, not yet at {:?}", live.receipt().installed, live.receipt().pending);
    while let Some(item) = live.next().await {
        match item? {
            Item::Delivery(event) => {
                let attributes: Vec<_> = event.attributes().collect();
                println!("{} {attributes:?} {:?}", event.topic(), event.payload());
            }
            Item::Gap(gap) => eprintln!("missed {:?}: {}", gap.count, gap.reason),
        }
    }
    Ok(())
}
