//! Flags for limits of mailboxes.

use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

/// What becomes of the oldest events of a full mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenFull {
    /// They go to the dead letters
    DeadLetter,
    /// They are dropped
    DropOldest,
}

/// Limits of a durable subscription that is made.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Limits of the queue")]
pub(crate) struct MailboxLimits {
    /// Most bytes that wait, such as 64MiB; the oldest events give way
    #[arg(long, value_name = "SIZE", requires = "durable", value_parser = size)]
    pub(crate) max_bytes: Option<u64>,

    /// Most events that wait
    #[arg(long, value_name = "N", requires = "durable", value_parser = super::at_least_one)]
    pub(crate) max_events: Option<u64>,

    /// Longest time that an event waits, such as 7d
    #[arg(long, value_name = "DURATION", requires = "durable", value_parser = crate::duration::parse)]
    pub(crate) max_age: Option<Duration>,

    /// Where the oldest events go: dead-letter or drop-oldest [default: dead-letter]
    #[arg(
        long,
        value_enum,
        value_name = "dead-letter|drop-oldest",
        requires = "durable",
        hide_possible_values = true
    )]
    pub(crate) when_full: Option<WhenFull>,
}

/// Limits of a durable subscription that is changed: 0 for none of its own.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct NewLimits {
    /// Most bytes that wait; none: as many as the broker allows
    #[arg(long, value_name = "SIZE|none", value_parser = or_none(size))]
    pub(crate) max_bytes: Option<u64>,

    /// Most events that wait, or none
    #[arg(long, value_name = "N|none", value_parser = or_none(super::at_least_one))]
    pub(crate) max_events: Option<u64>,

    /// Longest time that an event waits, or none
    #[arg(long, value_name = "DURATION|none", value_parser = or_none(milliseconds))]
    pub(crate) max_age: Option<u64>,

    /// Where the oldest events go: dead-letter or drop-oldest
    #[arg(long, value_enum, value_name = "dead-letter|drop-oldest", hide_possible_values = true)]
    pub(crate) when_full: Option<WhenFull>,
}

fn size(text: &str) -> Result<u64, String> {
    match crate::config::size(text) {
        Some(0) => Err("at least 1 byte is needed".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("a number of bytes is needed, or a size with a unit such as 64MiB".to_owned()),
    }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    crate::duration::parse(text).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// Reads `none` as 0, and else as `read` does.
fn or_none(
    read: fn(&str) -> Result<u64, String>,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text| if text == "none" { Ok(0) } else { read(text).map_err(|error| format!("{error}, or `none`")) }
}

impl MailboxLimits {
    /// As they are asked for.
    pub(crate) fn chosen(&self) -> fanal_client::MailboxLimits {
        chosen(self.max_bytes, self.max_events, self.max_age, self.when_full)
    }
}

impl NewLimits {
    /// As they are asked for.
    pub(crate) fn chosen(&self) -> fanal_client::MailboxLimits {
        chosen(self.max_bytes, self.max_events, self.max_age.map(Duration::from_millis), self.when_full)
    }
}

fn chosen(
    bytes: Option<u64>,
    events: Option<u64>,
    age: Option<Duration>,
    when_full: Option<WhenFull>,
) -> fanal_client::MailboxLimits {
    let mut limits = fanal_client::MailboxLimits::new();
    if let Some(bytes) = bytes {
        limits = limits.bytes(bytes);
    }
    if let Some(events) = events {
        limits = limits.events(events);
    }
    if let Some(age) = age {
        limits = limits.age(age);
    }
    when_full.map_or(limits, |when_full| limits.when_full(when_full.into()))
}
