//! What the broker has said, and whether what it does afterwards agrees with that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanal_client::{Code, Delivery};
use tokio::sync::watch;

use super::limited::Left;

/// A publisher and the number of its event, from 0.
pub(crate) type Event = (usize, u64);

/// What a subscription asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    All,
    Even,
}

impl Wants {
    fn takes(self, (_, number): Event) -> bool {
        self == Wants::All || number.is_multiple_of(2)
    }

    pub(crate) fn predicate(self) -> Option<&'static str> {
        (self == Wants::Even).then_some("half = 0")
    }
}

/// Up to 16 KiB that nobody else sends, mostly little.
pub(crate) fn payload((publisher, number): Event) -> Vec<u8> {
    let mix = (publisher as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mix = (mix ^ (mix >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bytes = if mix.is_multiple_of(4) { mix % 16_384 } else { mix % 400 };
    let mut out = format!("{publisher} {number} ").into_bytes();
    out.extend((0..bytes).map(|at| (mix >> (at % 56)) as u8 ^ at as u8));
    out
}

fn event_of(delivery: &Delivery) -> Option<Event> {
    event_in(&delivery.payload())
}

/// The event that has this payload.
pub(crate) fn event_in(payload_bytes: &[u8]) -> Option<Event> {
    let mut words = payload_bytes.split(|byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let event = (usize::try_from(word()?).ok()?, word()?);
    (payload(event) == payload_bytes).then_some(event)
}

/// A durable subscription as its users have seen it.
#[derive(Debug)]
struct Subscription {
    wants: Wants,
    /// Publishes that each publisher had begun when the receipt was seen.
    since: Vec<u64>,
    /// What has come under each number of its mailbox.
    seen: BTreeMap<u64, Event>,
    /// Numbers whose acks were confirmed.
    confirmed: BTreeSet<u64>,
}

/// One attachment's view: numbers rise, what was confirmed before it does not come.
#[derive(Debug, Default)]
pub(crate) struct Attachment {
    last: u64,
    confirmed_before: BTreeSet<u64>,
    /// Acked since the last confirmation.
    pub(crate) acked: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Publishes begun, by publisher.
    begun: Vec<u64>,
    /// Receipts seen, by publisher: 200 and 208.
    acked: Vec<BTreeSet<u64>>,
    duplicates: u64,
    subscriptions: BTreeMap<String, Subscription>,
    removed: BTreeSet<String>,
    /// What gave way in those with limits.
    left: BTreeMap<String, Left>,
    /// What a live subscription was given.
    live: BTreeSet<Event>,
    violations: Vec<String>,
}

/// See the module.
pub(crate) struct Facts {
    state: Mutex<State>,
    /// Receipts so far.
    acks: watch::Sender<u64>,
    is_stopping: watch::Sender<bool>,
}

impl Facts {
    pub(crate) fn new(publishers: usize) -> Facts {
        let state = State {
            begun: vec![0; publishers],
            acked: vec![BTreeSet::new(); publishers],
            ..State::default()
        };
        Facts { state: Mutex::new(state), acks: watch::channel(0).0, is_stopping: watch::channel(false).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is not as it must be.
    pub(crate) fn violate(&self, what: String) {
        self.state().violations.push(what);
        // Whoever waits for receipts need not any more.
        self.acks.send_modify(|_| {});
    }

    pub(crate) fn first_violation(&self) -> Option<String> {
        self.state().violations.first().cloned()
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.is_stopping.borrow()
    }

    pub(crate) fn acks(&self) -> u64 {
        *self.acks.borrow()
    }

    /// Returns once there are so many receipts, or a violation.
    pub(crate) async fn wait_for_acks(&self, count: u64) {
        let mut acks = self.acks.subscribe();
        let enough = |acks: &u64| *acks >= count || !self.state().violations.is_empty();
        // The sender lives as long as this.
        let _ = acks.wait_for(enough).await;
    }

    /// A publish begins.
    pub(crate) fn begin(&self, publisher: usize) -> Event {
        let begun = &mut self.state().begun[publisher];
        *begun += 1;
        (publisher, *begun - 1)
    }

    pub(crate) fn on_receipt(&self, (publisher, number): Event, code: Code) {
        let mut state = self.state();
        match code {
            Code::Durable => {}
            Code::Duplicate => state.duplicates += 1,
            other => state.violations.push(format!("publish {publisher}:{number} got {other}")),
        }
        state.acked[publisher].insert(number);
        drop(state);
        self.acks.send_modify(|acks| *acks += 1);
    }

    /// The receipt of a new durable subscription was seen.
    pub(crate) fn on_subscribed(&self, name: &str, wants: Wants) {
        let mut state = self.state();
        let since = state.begun.clone();
        let fresh = Subscription { wants, since, seen: BTreeMap::new(), confirmed: BTreeSet::new() };
        state.subscriptions.insert(name.into(), fresh);
    }

    /// From now on nobody knows whether it exists.
    pub(crate) fn on_removing(&self, name: &str) {
        self.state().subscriptions.remove(name);
    }

    pub(crate) fn on_removed(&self, name: &str) {
        self.state().removed.insert(name.into());
    }

    /// Subscriptions that must exist.
    pub(crate) fn subscriptions(&self) -> Vec<(String, Wants)> {
        self.state().subscriptions.iter().map(|(name, it)| (name.clone(), it.wants)).collect()
    }

    /// Subscriptions that must not exist any more.
    pub(crate) fn removed(&self) -> Vec<String> {
        self.state().removed.iter().cloned().collect()
    }

    /// How many entries each subscription was given, and how many acks were confirmed.
    pub(crate) fn progress(&self) -> String {
        let state = self.state();
        let row = |(name, it): (&String, &Subscription)| {
            format!(
                "{name} {} of {:?}, {} confirmed",
                it.seen.len(),
                it.seen.keys().last(),
                it.confirmed.len()
            )
        };
        state.subscriptions.iter().map(row).collect::<Vec<_>>().join(", ")
    }

    /// Somebody attaches to it.
    pub(crate) fn attach(&self, name: &str) -> Attachment {
        let state = self.state();
        let confirmed_before = state.subscriptions.get(name).map(|it| it.confirmed.clone());
        Attachment { confirmed_before: confirmed_before.unwrap_or_default(), ..Attachment::default() }
    }

    /// A delivery to an attachment; the event.
    pub(crate) fn on_delivery(
        &self,
        name: &str,
        attachment: &mut Attachment,
        delivery: &Delivery,
    ) -> Option<Event> {
        let number = delivery.mailbox_sequence().unwrap_or(0);
        let event = event_of(delivery);
        let checked = self.state().check_delivery(name, attachment, number, event);
        if let Err(what) = checked {
            self.violate(format!("{name}, number {number}, event {event:?}: {what}"));
        }
        event
    }

    pub(crate) fn on_live(&self, delivery: &Delivery) {
        let event = event_of(delivery);
        let mut state = self.state();
        match event {
            Some(event) => drop(state.live.insert(event)),
            None => state.violations.push("a live delivery is garbled".into()),
        }
    }

    /// What gave way in a subscription with limits.
    pub(crate) fn on_left(&self, name: &str, left: Left) {
        self.state().left.insert(name.into(), left);
    }

    /// Everything that the attachment acked is confirmed.
    pub(crate) fn on_confirmed(&self, name: &str, attachment: &mut Attachment) {
        if let Some(subscription) = self.state().subscriptions.get_mut(name) {
            subscription.confirmed.append(&mut attachment.acked);
        }
    }

    /// Once every mailbox was drained: is all there that was promised?
    pub(crate) fn check(&self) -> Result<String, String> {
        let state = self.state();
        if let Some(violation) = state.violations.first() {
            return Err(violation.clone());
        }
        for (name, subscription) in &state.subscriptions {
            let checked = match state.left.get(name) {
                Some(left) => {
                    left.check(&subscription.seen, state.promised(subscription).map(|(event, _)| event))
                }
                None => state.check_subscription(subscription),
            };
            checked.map_err(|what| format!("{name}: {what}"))?;
        }
        let acked: usize = state.acked.iter().map(BTreeSet::len).sum();
        let seen: usize = state.subscriptions.values().map(|it| it.seen.len()).sum();
        Ok(format!(
            "{acked} receipts ({} of them 208), {} subscriptions, {seen} entries, {} live deliveries",
            state.duplicates,
            state.subscriptions.len(),
            state.live.len()
        ))
    }
}

impl State {
    fn check_delivery(
        &mut self,
        name: &str,
        attachment: &mut Attachment,
        number: u64,
        event: Option<Event>,
    ) -> Result<(), String> {
        let event = event.ok_or("its payload is garbled")?;
        let begun = self.begun.get(event.0).copied().unwrap_or(0);
        let subscription = self.subscriptions.get_mut(name).ok_or("nobody subscribed to it")?;
        if number <= attachment.last {
            return Err(format!("it comes after number {}", attachment.last));
        }
        attachment.last = number;
        if attachment.confirmed_before.contains(&number) {
            return Err("its ack was confirmed, and it came again".into());
        }
        if event.1 >= begun || !subscription.wants.takes(event) {
            return Err("it was not published, or not asked for".into());
        }
        match subscription.seen.insert(number, event) {
            Some(before) if before != event => Err(format!("the number stood for {before:?} before")),
            _ => Ok(()),
        }
    }

    fn check_subscription(&self, subscription: &Subscription) -> Result<(), String> {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for (number, event) in &subscription.seen {
            let before = last.insert(event.0, event.1);
            if before.is_some_and(|before| before >= event.1) {
                return Err(format!("number {number}: {event:?} comes after {before:?} of its publisher"));
            }
        }
        let seen: BTreeSet<Event> = subscription.seen.values().copied().collect();
        let lost: Vec<_> = self.promised(subscription).filter(|(event, _)| !seen.contains(event)).collect();
        match lost.first() {
            Some((event, why)) => {
                Err(format!("{} events are lost; {event:?}, though {why} was seen", lost.len()))
            }
            None => Ok(()),
        }
    }

    /// Events that a subscription was promised, and by what.
    fn promised<'a>(
        &'a self,
        subscription: &'a Subscription,
    ) -> impl Iterator<Item = (Event, &'static str)> + 'a {
        let acked = self.acked.iter().enumerate();
        let acked = acked.flat_map(|(publisher, numbers)| numbers.iter().map(move |n| (publisher, *n)));
        let told = acked
            .map(|event| (event, "its receipt"))
            .chain(self.live.iter().map(|event| (*event, "a live delivery")));
        told.filter(|(event, _)| {
            subscription.wants.takes(*event)
                && event.1 >= subscription.since.get(event.0).copied().unwrap_or(0)
        })
    }
}
