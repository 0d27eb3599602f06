//! Figures as tables that can be pasted into a paper (Markdown), or as JSON lines.

use serde_json::json;

use super::Subject;
use super::publish::{Cell, Figures};

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    subject: &'static str,
    what: &'static str,
    figure: f64,
    at_most: Option<f64>,
}

impl Fact {
    pub(crate) fn new(subject: &'static str, what: &'static str, figure: f64) -> Fact {
        Fact { subject, what, figure, at_most: None }
    }

    /// The target.
    pub(crate) fn at_most(mut self, target: f64) -> Fact {
        self.at_most = Some(target);
        self
    }
}

pub(crate) fn publish(rows: &[(Cell, Figures)], as_json: bool) {
    if !as_json {
        println!(
            "| producers | each under way | bytes | subject | acks/s | p50 µs | p99 µs |\n|---|---|---|---|---|---|---|"
        );
    }
    for (Cell { subject, producers, size }, figures) in rows {
        let Figures { acks_per_second, p50_us, p99_us } = figures;
        let (count, under_way, subject) = (producers.count, producers.under_way, subject.name());
        match as_json {
            true => println!(
                "{}",
                json!({ "work": "publish", "producers": count, "under_way": under_way, "bytes": size,
                    "subject": subject, "acks_per_second": acks_per_second, "p50_us": p50_us, "p99_us": p99_us })
            ),
            false => println!(
                "| {count} | {under_way} | {size} | {subject} | {acks_per_second:.0} | {p50_us} | {p99_us} |"
            ),
        }
    }
}

pub(crate) fn drain(rows: &[(Subject, f64)], as_json: bool) {
    if !as_json {
        println!("\n| subject | drained events/s |\n|---|---|");
    }
    for (subject, rate) in rows {
        match as_json {
            true => println!(
                "{}",
                json!({ "work": "drain", "subject": subject.name(), "events_per_second": rate })
            ),
            false => println!("| {} | {rate:.0} |", subject.name()),
        }
    }
}

pub(crate) fn facts(rows: &[Fact], as_json: bool) {
    if !as_json && !rows.is_empty() {
        println!("\n| subject | what | figure | at most | |\n|---|---|---|---|---|");
    }
    for Fact { subject, what, figure, at_most } in rows {
        if as_json {
            println!("{}", json!({ "subject": subject, "what": what, "figure": figure, "at_most": at_most }));
            continue;
        }
        let target = at_most.map_or_else(|| "–".to_owned(), |target| target.to_string());
        let verdict = at_most.map_or("", |target| if *figure <= target { "met" } else { "NOT MET" });
        println!("| {subject} | {what} | {figure:.1} | {target} | {verdict} |");
    }
}
