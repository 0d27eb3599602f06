//! Subscriptions with limits, of which nobody reads before the end: what they kept and what gave way.
//!
//! Invariants that are checked, though the power was cut:
//! 1. What is kept is within the limits and the newest, without a hole.
//! 2. Each number of a mailbox is kept, in the dead letters, or counted as dropped.
//! 3. What was promised is there: kept, in the dead letters, or dropped and older than what was kept.
//! 4. Dead letters, and then what was kept, are in the order of each publisher, each event once.

use std::collections::{BTreeMap, BTreeSet};

use fanal_client::{Client, DeadLetters, MailboxLimits, SubscribeError, WaitFor, WhenFull};
use fanal_tests::broker::Broker;
use fanal_tests::http::get;
use fanal_tests::wait::{until, within};
use serde_json::Value;

use super::facts::{Event, event_in};

/// A subscription with limits; it asks for all.
pub(crate) struct Limited {
    pub(crate) name: &'static str,
    events: Option<u64>,
    bytes: Option<u64>,
    pub(crate) drops: bool,
}

pub(crate) const LIMITED: [Limited; 4] = [
    Limited { name: "few", events: Some(60), bytes: None, drops: false },
    Limited { name: "fewer", events: Some(7), bytes: None, drops: true },
    Limited { name: "small", events: None, bytes: Some(150_000), drops: false },
    Limited { name: "smaller", events: Some(500), bytes: Some(60_000), drops: true },
];

/// What a mailbox has lost and still has.
#[derive(Debug, Default)]
pub(crate) struct Left {
    drops: bool,
    next: u64,
    queued: u64,
    dead_lettered: u64,
    dropped: u64,
    letters: Vec<Event>,
}

impl Limited {
    /// Makes it.
    pub(crate) async fn make(&self, client: &Client) -> Result<(), SubscribeError> {
        let when_full = if self.drops { WhenFull::DropOldest } else { WhenFull::DeadLetter };
        let mut limits = MailboxLimits::new().when_full(when_full);
        if let Some(events) = self.events {
            limits = limits.events(events);
        }
        if let Some(bytes) = self.bytes {
            limits = limits.bytes(bytes);
        }
        let builder = client.subscribe("t/#").durable(self.name).limits(limits).wait_for(WaitFor::Home);
        within("a receipt", builder).await.map(drop)
    }

    fn fits(&self, row: &Value) -> bool {
        let is_within =
            |limit: Option<u64>, field: &str| limit.is_none_or(|limit| number(row, field) <= limit);
        is_within(self.events, "queued_events") && is_within(self.bytes, "queued_bytes")
    }

    /// What gave way, once all that is too much has. Nobody publishes any more.
    pub(crate) async fn look(&self, broker: &Broker, client: &Client) -> Result<Left, String> {
        let row = || row(broker, self.name).filter(|row| self.fits(row));
        let row = until(&format!("{} to be within its limits", self.name), row).await;
        let mut reader = client.dead_letters(DeadLetters::all().subscription(self.name));
        let mut letters = Vec::new();
        while let Some(letter) =
            within("dead letters", reader.next()).await.map_err(|error| error.to_string())?
        {
            let event =
                letter.event.map_err(|problem| format!("dead letter {}: {problem}", letter.number))?;
            let event =
                event_in(event.view().payload).ok_or(format!("dead letter {} is garbled", letter.number))?;
            letters.push(event);
        }
        Ok(Left {
            drops: self.drops,
            next: number(&row, "next_sequence"),
            queued: number(&row, "queued_events"),
            dead_lettered: number(&row["dead_lettered"], "full"),
            dropped: number(&row["dropped"], "full"),
            letters,
        })
    }
}

fn row(broker: &Broker, name: &str) -> Option<Value> {
    let page: Value = serde_json::from_str(&get(broker.admin(), "/api/v1/mailboxes").1).ok()?;
    page["mailboxes"].as_array()?.iter().find(|row| row["name"] == name).cloned()
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or(0)
}

impl Left {
    /// Holds what was read (`kept`, by number) and what was `promised` against it.
    pub(crate) fn check(
        &self,
        kept: &BTreeMap<u64, Event>,
        promised: impl Iterator<Item = Event>,
    ) -> Result<(), String> {
        let newest: Vec<u64> = (self.next - self.queued..self.next).collect();
        if !kept.keys().eq(&newest) {
            return Err(format!("numbers {:?} were kept, of {self:?}", kept.keys()));
        }
        if self.next - 1 != self.queued + self.dead_lettered + self.dropped {
            return Err(format!("numbers are neither kept nor counted: {self:?}"));
        }
        let wrong_way = if self.drops { self.dead_lettered } else { self.dropped };
        if wrong_way > 0 || self.letters.len() as u64 != self.dead_lettered {
            return Err(format!("{} dead letters, of {self:?}", self.letters.len()));
        }
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for event in self.letters.iter().chain(kept.values()) {
            if last.insert(event.0, event.1).is_some_and(|before| before >= event.1) {
                return Err(format!("{event:?} is behind a later one of its publisher"));
            }
        }
        self.check_promised(kept, promised)
    }

    fn check_promised(
        &self,
        kept: &BTreeMap<u64, Event>,
        promised: impl Iterator<Item = Event>,
    ) -> Result<(), String> {
        let there: BTreeSet<Event> = kept.values().chain(&self.letters).copied().collect();
        let missing: BTreeSet<Event> = promised.filter(|event| !there.contains(event)).collect();
        let is_newer = |event: &&Event| there.range((event.0, 0)..=**event).next().is_some();
        if let Some(lost) = missing.iter().find(|event| !self.drops || is_newer(event)) {
            return Err(format!("{lost:?} is lost, and it was not the oldest"));
        }
        match missing.len() as u64 > self.dropped {
            true => Err(format!("{} are missing, and {} were dropped", missing.len(), self.dropped)),
            false => Ok(()),
        }
    }
}
