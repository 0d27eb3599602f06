//! `fanal bench`: load through the broker that the credentials point to.
//!
//! Invariant: exit code 0 only if every copy came once and in order, and every event has its receipt. The load itself is that of
//! `fanal_bench`; here are flags, the progress bar and what is printed.

use std::sync::Arc;
use std::time::Duration;

use fanal_bench::{Amount, BenchError, Latency, Pace, Plan, Progress, Report, Side};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{Bench, Class, Global};
use crate::exit::{Failure, Outcome};
use crate::output::{Out, Table, grouped, note};
use crate::session;
use crate::stop::Stop;

/// Steps of the progress bar.
const STEPS: u64 = 1000;
/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) async fn run(args: &Bench, global: &Global, stop: &Stop) -> Outcome {
    let credentials = session::credentials(global)?;
    let plan = plan(args);
    let progress = Arc::new(Progress::default());
    let bar = bar();
    let drawing = tokio::spawn(draw(bar.clone(), plan.clone(), Arc::clone(&progress)));
    let stopping = async {
        stop.reason().await;
    };
    let report = fanal_bench::run(&credentials, &plan, &progress, stopping).await;
    drawing.abort();
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(BenchError::Interrupted) => return stop.reason().await.into_outcome(),
        Err(error) => return Err(failure(error)),
    };
    print(&report, global.json)?;
    verdict(&report)?;
    if report.is_interrupted {
        stop.reason().await.into_outcome()?;
    }
    report.left_behind.map_or(Ok(()), |left| Err(Failure::failed(left)))
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Plan(reason) => Failure::usage(reason),
        BenchError::Client(error) => session::failure(error),
        BenchError::FailedAndLeft { failed, left } => {
            let failed = failure(*failed);
            Failure { message: format!("{}; and {left}", failed.message), ..failed }
        }
        error => Failure::failed(error),
    }
}

fn plan(args: &Bench) -> Plan {
    let amount = args.events.map_or(Amount::Time(args.seconds), Amount::Events);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Plan {
        publishers: count(args.publishers),
        subscribers: count(args.subscribers),
        size: count(args.size),
        class: match args.class {
            Class::AtLeastOnce => fanal_client::Class::AtLeastOnce,
            Class::BestEffort => fanal_client::Class::BestEffort,
        },
        durable: args.durable,
        warm_up: args.warm_up,
        pace: args.rate.map_or(Pace::Window(args.window), |rate| Pace::Rate(rate as f64)),
        predicate: args.predicate,
        filters: count(args.filters),
        ..Plan::new(amount)
    }
}

fn bar() -> ProgressBar {
    if !crate::style::can_redraw_stderr() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}") {
        bar.set_style(style);
    }
    bar
}

async fn draw(bar: ProgressBar, plan: Plan, progress: Arc<Progress>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        bar.set_position((progress.done(&plan) * STEPS as f64) as u64);
        bar.set_message(format!("{} in, {} out", grouped(progress.sent()), grouped(progress.received())));
    }
}

fn print(report: &Report, json: bool) -> Outcome {
    let mut out = Out::lock();
    if json {
        out.json(&report.json())?;
        return out.flush();
    }
    show(report, &mut out)?;
    out.flush()?;
    for text in report.notes() {
        note(format_args!("note: {text}"));
    }
    Ok(())
}

/// Exit code 1, with what did not hold.
fn verdict(report: &Report) -> Outcome {
    if report.holds() {
        return Ok(());
    }
    let stall = report.is_stalled.then(|| "the run stood still and was ended".to_owned());
    let reasons: Vec<String> = [stall, copies(report), receipts(report)].into_iter().flatten().collect();
    let left = report.left_behind.as_ref().map(|left| format!("; {left}")).unwrap_or_default();
    Err(Failure::failed(format!(
        "{}; the figures are no measurement of a broker that delivers{left}",
        reasons.join("; ")
    )))
}

/// Which copies did not come as they should, if any.
fn copies(report: &Report) -> Option<String> {
    let check = report.check;
    let lost = if report.is_interrupted { "not delivered by then" } else { "lost" };
    let parts =
        [(check.lost, lost), (check.duplicates, "delivered again"), (check.out_of_order, "out of order")];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    (!parts.is_empty()).then(|| format!("of {} copies: {}", grouped(check.expected), parts.join(", ")))
}

/// Which events have no receipt, if any.
fn receipts(report: &Report) -> Option<String> {
    let count = report.without_receipt.filter(|count| *count > 0)?;
    let events = if count == 1 { "event has" } else { "events have" };
    Some(format!("{} {events} no receipt", grouped(count)))
}

fn show(report: &Report, out: &mut Out) -> Outcome {
    let plan = &report.plan;
    for line in asked(report) {
        out.line(format_args!("{line}"))?;
    }
    out.line(format_args!(""))?;
    let mut sides = Table::new(["", "EVENTS", "PER SECOND", "MB/S", "SECONDS"]);
    sides.row(side("published", &report.published));
    if plan.subscribers > 0 {
        sides.row(side("delivered", &report.delivered));
    }
    sides.print(out)?;
    let latencies =
        [("publish to receipt", report.publish_latency), ("publish to delivery", report.delivery_latency)];
    if latencies.iter().any(|(_, latency)| latency.is_some()) {
        out.line(format_args!(""))?;
        let mut table = Table::new(["LATENCY IN MS", "P50", "P90", "P99", "P99.9", "MAX"]);
        for (what, latency) in latencies {
            table.row(latency_row(what, latency));
        }
        table.print(out)?;
    }
    if plan.subscribers > 0 && report.check.holds() {
        let copies = grouped(report.check.received);
        out.line(format_args!(
            "\nChecked {copies} copies, warm-up included: none lost, none twice, all in order."
        ))?;
    }
    Ok(())
}

fn asked(report: &Report) -> [String; 2] {
    let plan = &report.plan;
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", grouped(count as u64)),
    };
    let class = if plan.class == fanal_client::Class::BestEffort { "best effort" } else { "at least once" };
    let kind = if plan.durable { "durable subscriber" } else { "live subscriber" };
    let load = format!(
        "Broker {}: {}, {}, {} bytes, {class}",
        crate::output::clean(&report.broker),
        many(plan.publishers, "publisher"),
        many(plan.subscribers, kind),
        grouped(plan.size as u64),
    );
    let mut how = match plan.pace {
        Pace::Window(window) => format!("Closed loop, {} under way per publisher", grouped(window)),
        Pace::Rate(rate) => format!("Open loop, {} events/s", grouped(rate as u64)),
    };
    if plan.predicate {
        how.push_str(", a predicate per subscriber");
    }
    if plan.filters > 0 {
        how.push_str(&format!(", {}", many(plan.filters, "further filter")));
    }
    [load, how]
}

fn side(what: &str, side: &Side) -> [String; 5] {
    [
        what.to_owned(),
        grouped(side.events),
        grouped(side.per_second.round() as u64),
        format!("{:.2}", side.bytes_per_second / 1e6),
        format!("{:.2}", side.seconds),
    ]
}

fn latency_row(what: &str, latency: Option<Latency>) -> Vec<String> {
    let mut row = vec![what.to_owned()];
    match latency {
        None => row.extend(["-"; 5].map(str::to_owned)),
        Some(Latency { p50, p90, p99, p999, max, .. }) => {
            row.extend([p50, p90, p99, p999, max].map(|micros| format!("{:.3}", micros as f64 / 1e3)));
        }
    }
    row
}
