//! Many publishers and several subscribers, as tasks that live through the cuts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanal_client::{Client, Code, Credentials, Delivery, Item, SubscribeError, Subscription, WaitFor};
use fanal_tests::wait::within;

use super::facts::{Attachment, Event, Facts, Wants, payload};

/// Longer than any start takes: what is under way at a cut is answered after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that comes back after each cut.
pub(crate) async fn connect(credentials: &Credentials) -> Client {
    let builder = Client::builder(credentials).publish_timeout(2 * PATIENCE).timeout(PATIENCE);
    within("a connection", builder.connect()).await.expect("a connection")
}

/// Publishes until it is to stop, then waits for what is under way.
pub(crate) async fn publish(client: Client, number: usize, window: usize, facts: Arc<Facts>) {
    let publisher = client.publisher();
    let mut pending = VecDeque::new();
    loop {
        while pending.len() < window && !facts.is_stopping() {
            let event = facts.begin(number);
            match send(&publisher, event).await {
                Ok(receipt) => pending.push_back((event, receipt)),
                Err(error) => return facts.violate(format!("publish {event:?}: {error}")),
            }
        }
        let Some((event, receipt)) = pending.pop_front() else { return };
        match receipt.await {
            Ok(receipt) => facts.on_receipt(event, receipt.code),
            Err(error) => return facts.violate(format!("publish {event:?}: {error}")),
        }
    }
}

async fn send(
    publisher: &fanal_client::Publisher,
    event: Event,
) -> Result<fanal_client::PendingReceipt, fanal_client::PublishError> {
    let topic = format!("t/{}", event.0);
    publisher.publish(&topic).attr("half", (event.1 % 2) as i64).payload(payload(event)).send().await
}

/// One event by a publisher of its own, with its receipt.
pub(crate) async fn publish_one(client: &Client, number: usize, facts: &Facts) -> Event {
    let event = facts.begin(number);
    let outcome = match send(&client.publisher(), event).await {
        Ok(receipt) => within("a receipt", receipt).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(receipt) => facts.on_receipt(event, receipt.code),
        Err(error) => facts.violate(format!("publish {event:?}: {error}")),
    }
    event
}

/// Attaches to a durable subscription, or makes it.
pub(crate) async fn subscribe(
    client: &Client,
    name: &str,
    wants: Wants,
) -> Result<Subscription, SubscribeError> {
    let mut builder = client.subscribe("t/#").durable(name).wait_for(WaitFor::Home);
    if let Some(predicate) = wants.predicate() {
        builder = builder.filter(predicate);
    }
    builder.await
}

/// How a subscriber acks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Acks {
    /// Everything, confirmed every so many deliveries.
    All(usize),
    /// Every second delivery, confirmed every so many.
    Half(usize),
}

impl Acks {
    fn takes(self, count: usize) -> bool {
        matches!(self, Acks::All(_)) || count.is_multiple_of(2)
    }

    fn is_due(self, count: usize) -> bool {
        let (Acks::All(every) | Acks::Half(every)) = self;
        count.is_multiple_of(every)
    }
}

/// Reads until an event comes, acking as told; then everything acked is confirmed.
pub(crate) async fn read_until(
    mut subscription: Subscription,
    name: &str,
    acks: Acks,
    last: impl Fn(Event) -> bool,
    facts: &Facts,
) {
    let mut attachment = facts.attach(name);
    for count in 1.. {
        let delivery = match subscription.next().await {
            Some(Ok(Item::Delivery(delivery))) => delivery,
            other => return facts.violate(format!("{name}: {other:?} instead of a delivery")),
        };
        let event = facts.on_delivery(name, &mut attachment, &delivery);
        if acks.takes(count) {
            ack(&delivery, &mut attachment);
        }
        let is_last = event.is_none_or(&last);
        if is_last || acks.is_due(count) {
            confirm(&subscription, name, &mut attachment, facts).await;
        }
        if is_last {
            return;
        }
    }
}

fn ack(delivery: &Delivery, attachment: &mut Attachment) {
    delivery.ack();
    attachment.acked.extend(delivery.mailbox_sequence());
}

async fn confirm(subscription: &Subscription, name: &str, attachment: &mut Attachment, facts: &Facts) {
    match subscription.flush_acks().await {
        Ok(()) => facts.on_confirmed(name, attachment),
        Err(error) => facts.violate(format!("{name}: {error}")),
    }
}

/// Looks at everything as it passes. Gaps are told, and are no loss.
pub(crate) async fn watch(mut live: Subscription, facts: Arc<Facts>) {
    while let Some(Ok(item)) = live.next().await {
        if let Item::Delivery(delivery) = item {
            facts.on_live(&delivery);
        }
    }
}

/// Makes a subscription whenever so many more receipts were seen, and removes every other one again.
pub(crate) async fn keep_books(client: Client, every: u64, facts: Arc<Facts>) {
    for number in 0u64.. {
        facts.wait_for_acks(every.saturating_mul(number + 1)).await;
        if facts.is_stopping() || facts.first_violation().is_some() {
            return;
        }
        let (name, wants) = (format!("m{number}"), [Wants::All, Wants::Even][(number % 2) as usize]);
        match subscribe(&client, &name, wants).await {
            Ok(_) => facts.on_subscribed(&name, wants),
            // The store had stopped, and the broker not yet.
            Err(SubscribeError::Refused { refused, .. }) if refused.code == Code::Unavailable => continue,
            Err(error) => return facts.violate(format!("{name}: {error}")),
        }
        if number % 4 == 3 {
            let before = format!("m{}", number - 2);
            facts.on_removing(&before);
            if client.remove_subscription(&before).await.is_ok() {
                facts.on_removed(&before);
            }
        }
    }
}
