//! One cell: a publisher, subscribers, a size, a class; measured in a closed window on a fresh broker.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fanal_bench::{Amount, Latency, Pace, Plan, Progress, Report};

use crate::child::{BrokerChild, Outcome};

/// How events are published and subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Class {
    /// Never stored; live subscriptions.
    BestEffort,
    /// Stored and flushed; durable subscriptions that ack each event.
    Durable,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::BestEffort => "best-effort",
            Class::Durable => "durable",
        }
    }
}

/// One combination to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) class: Class,
    pub(crate) subscribers: usize,
    pub(crate) size: usize,
    pub(crate) window: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) copies_per_second: f64,
    pub(crate) bytes_per_second: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) broker_cpu_us_per_event: f64,
    pub(crate) broker_cpu_share: f64,
    pub(crate) resident_mib: f64,
}

/// Measures a cell for about `seconds`, on a fresh broker.
pub(crate) async fn run(fanal: &Path, cell: Cell, seconds: f64) -> Outcome<Figures> {
    let broker = BrokerChild::start(fanal)?;
    let is_durable = cell.class == Class::Durable;
    let plan = Plan {
        subscribers: cell.subscribers,
        size: cell.size,
        class: if is_durable { fanal_client::Class::AtLeastOnce } else { fanal_client::Class::BestEffort },
        durable: is_durable,
        pace: Pace::Window(cell.window),
        // The broker's CPU time is that of all events, none may be left out.
        warm_up: Duration::ZERO,
        // A refusal would show as a missing event.
        receipts: false,
        ..Plan::new(Amount::Time(Duration::from_secs_f64(seconds)))
    };
    let cpu_before = broker.cpu_seconds()?;
    let report =
        fanal_bench::run(&broker.credentials, &plan, &Arc::<Progress>::default(), std::future::pending())
            .await?;
    let cpu = broker.cpu_seconds()? - cpu_before;
    figures(&cell, &report, cpu, broker.resident_mib()?)
}

fn figures(cell: &Cell, report: &Report, cpu: f64, resident_mib: f64) -> Outcome<Figures> {
    if !report.holds() {
        return Err(format!("{cell:?}: {:?}, {}", report.check, report.notes().join("; ")).into());
    }
    let Some(Latency { p50, p99, .. }) = report.delivery_latency else {
        return Err(format!("{cell:?}: nothing was measured").into());
    };
    Ok(Figures {
        events: report.published.events,
        copies_per_second: report.delivered.per_second,
        bytes_per_second: report.delivered.bytes_per_second,
        p50_us: p50,
        p99_us: p99,
        broker_cpu_us_per_event: cpu * 1e6 / report.published.events as f64,
        broker_cpu_share: cpu / report.delivered.seconds,
        resident_mib,
    })
}
