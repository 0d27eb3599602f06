//! Subscribers of both kinds: through the client library, and as `fanal subscribe`.

use fanal_client::{Client, Delivery, Item, Subscription, WaitFor};
use serde_json::Value;

use crate::broker::Broker;
use crate::cli;
use crate::flights::Filter;
use crate::process::Process;
use crate::wait::within;

/// The next delivery of a subscription.
///
/// # Panics
/// When something else comes.
pub async fn next(subscription: &mut Subscription) -> Delivery {
    match within("a delivery", subscription.next()).await {
        Some(Ok(Item::Delivery(delivery))) => delivery,
        other => panic!("{other:?} instead of a delivery"),
    }
}

/// Payloads of the next deliveries as text, each acked; nothing else may come between.
pub async fn payloads(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let delivery = next(subscription).await;
        out.push(String::from_utf8_lossy(&delivery.payload()).into_owned());
        delivery.ack();
    }
    out
}

/// Subscribes to one of the flights' filters and waits for the peers.
///
/// # Panics
/// When that is refused.
pub async fn subscribe(client: &Client, filter: &Filter, is_durable: bool) -> Subscription {
    let mut builder = client.subscribe(filter.topic).wait_for(WaitFor::Peers);
    if let Some(predicate) = filter.predicate {
        builder = builder.filter(predicate);
    }
    if let Some(except) = filter.except {
        builder = builder.except(except);
    }
    if is_durable {
        builder = builder.durable(filter.name);
    }
    let subscription = within("a receipt", builder).await;
    subscription.unwrap_or_else(|error| panic!("{}: {error}", filter.name))
}

/// `fanal subscribe` in a process of its own.
pub struct CliSubscriber {
    /// The process.
    pub process: Process,
    /// The interest receipt.
    pub receipt: Value,
}

impl CliSubscriber {
    /// Starts it and waits for its receipt.
    ///
    /// # Panics
    /// When none comes.
    pub fn start(broker: &Broker, args: &[&str]) -> CliSubscriber {
        let data = broker.data_arg();
        let mut all = vec!["subscribe", "--data", &data, "--output", "json"];
        all.extend(args);
        let process = cli::start(all);
        let receipt = process.stderr.find(|line| {
            let value: Value = serde_json::from_str(line).ok()?;
            value.get("installed").is_some().then_some(value)
        });
        match receipt {
            Some(receipt) => CliSubscriber { process, receipt },
            None => {
                panic!("fanal subscribe {args:?} gave no receipt: {}", process.stderr.so_far().join("\n"))
            }
        }
    }

    /// As [`subscribe`], to end after `count` deliveries.
    pub fn flights(broker: &Broker, filter: &Filter, is_durable: bool, count: usize) -> CliSubscriber {
        let count = count.to_string();
        let mut args = vec![filter.topic, "--wait-for", "peers", "--count", &count];
        if let Some(predicate) = filter.predicate {
            args.extend(["--where", predicate]);
        }
        if let Some(except) = filter.except {
            args.extend(["--except", except]);
        }
        if is_durable {
            args.extend(["--durable", filter.name]);
        }
        CliSubscriber::start(broker, &args)
    }

    /// Waits for its end; the deliveries.
    ///
    /// # Panics
    /// When it does not end with exit code 0 or prints something else.
    pub fn deliveries(self) -> Vec<Value> {
        let finished = self.process.finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let parse = |line: &String| serde_json::from_str(line).expect("a line of JSON");
        finished.stdout.iter().map(parse).collect()
    }
}
