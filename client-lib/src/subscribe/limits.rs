//! What a durable subscription may choose about its mailbox.

use std::time::Duration;

use fanal_protocol::control::{Subscribe, UpdateSubscription};

/// What becomes of the oldest events of a full mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// They go to the dead letters of the home.
    DeadLetter,
    /// They are dropped.
    DropOldest,
}

impl WhenFull {
    fn word(self) -> String {
        match self {
            WhenFull::DeadLetter => "dead_letter".into(),
            WhenFull::DropOldest => "drop_oldest".into(),
        }
    }
}

/// How much the mailbox of a durable subscription may hold, and what becomes of what is too much.
/// What is not said is left to the home: it has limits of its own, and the lower one holds. For a
/// subscription that exists: what is not said stays, and 0 takes a limit away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "limits hold once a subscription is made or changed with them"]
pub struct MailboxLimits {
    bytes: Option<u64>,
    events: Option<u64>,
    age_ms: Option<u64>,
    when_full: Option<WhenFull>,
}

impl MailboxLimits {
    /// Nothing is said.
    pub fn new() -> Self {
        MailboxLimits::default()
    }

    /// Most bytes of events as they are stored.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Most events.
    pub fn events(mut self, events: u64) -> Self {
        self.events = Some(events);
        self
    }

    /// Longest time that an event waits, in whole milliseconds. Its end is no deadline: the TTL of
    /// an event is.
    pub fn age(mut self, age: Duration) -> Self {
        self.age_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// What becomes of what is too much. Default: [`WhenFull::DeadLetter`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = Some(when_full);
        self
    }

    /// Whether anything is said.
    pub fn is_empty(&self) -> bool {
        *self == MailboxLimits::default()
    }

    pub(crate) fn put_into(&self, request: &mut Subscribe) {
        request.max_bytes = self.bytes;
        request.max_events = self.events;
        request.max_age_ms = self.age_ms;
        request.when_full = self.when_full.map(WhenFull::word);
    }

    pub(crate) fn update(&self) -> UpdateSubscription {
        UpdateSubscription {
            max_bytes: self.bytes,
            max_events: self.events,
            max_age_ms: self.age_ms,
            when_full: self.when_full.map(WhenFull::word),
            ..Default::default()
        }
    }
}
