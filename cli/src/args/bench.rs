//! Flags of `fanal bench`.

use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

/// The class of the published events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Class {
    /// Flushed at the broker before the receipt
    AtLeastOnce,
    /// Never stored, without receipts
    BestEffort,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bench {
    /// Publishers, each with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load", value_parser = number(1, 1000))]
    pub(crate) publishers: u64,

    /// Subscribers, each with a connection of its own; each gets every event
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load", value_parser = number(0, 10_000))]
    pub(crate) subscribers: u64,

    /// Size of a payload, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 128, help_heading = "Load", value_parser = number(16, 64 << 20))]
    pub(crate) size: u64,

    /// Class of the events
    #[arg(
        long,
        value_enum,
        value_name = "at-least-once|best-effort",
        default_value = "at-least-once",
        hide_possible_values = true,
        help_heading = "Load"
    )]
    pub(crate) class: Class,

    /// Durable subscriptions, stored for and acked; removed at the end
    #[arg(long, help_heading = "Load")]
    pub(crate) durable: bool,

    /// Subscribers ask with a predicate, which every event fulfils
    #[arg(long, help_heading = "Load")]
    pub(crate) predicate: bool,

    /// Further subscriptions with predicates that no event fulfils: what matching costs
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Load", value_parser = number(0, 10_000))]
    pub(crate) filters: u64,

    /// Measure so long, in seconds or as a duration such as 2m
    #[arg(long, value_name = "D", default_value = "5", help_heading = "Extent", conflicts_with = "events",
        value_parser = crate::duration::parse_seconds)]
    pub(crate) seconds: Duration,

    /// Measure so many events instead, of all publishers together
    #[arg(long, value_name = "N", help_heading = "Extent", value_parser = number(1, 1 << 40))]
    pub(crate) events: Option<u64>,

    /// Load before the measurement that is not counted, in seconds or as a duration
    #[arg(long, value_name = "D", default_value = "1", help_heading = "Extent",
        value_parser = crate::duration::parse_seconds)]
    pub(crate) warm_up: Duration,

    /// Closed loop: events of a publisher that may be under way, up to the slowest subscriber
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Pace", conflicts_with = "rate",
        value_parser = number(1, 1 << 20))]
    pub(crate) window: u64,

    /// Open loop: events per second of all publishers together, however the broker does; latency
    /// counts from when an event was due
    #[arg(long, value_name = "R", help_heading = "Pace", value_parser = number(1, 10_000_000))]
    pub(crate) rate: Option<u64>,
}

fn number(least: u64, most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(least..=most)
}
