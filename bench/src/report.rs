//! What was measured, and what limits it.
//!
//! Invariant: no figure is better than what was seen. Rates count from when the first measured event
//! was due until the last one had its receipt, or was in the subscriber's hand.

use fanal_client::Class;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::publish::Sent;
use crate::run::STALL;
use crate::subscribe::Received;
use crate::{Amount, Check, Pace, Plan, usage};

/// Below this share of the rate asked for, it was not reached.
const RATE_REACHED: f64 = 0.99;
/// With less waiting than this, a side of the generator was the limit.
const WAITING_MIN: f64 = 0.1;
/// Above this, the machine was fully used.
const MACHINE_FULL: f64 = 0.95;
/// Lateness of the generator that is worth a word, in microseconds.
const LATE_US: u64 = 1000;

/// A histogram of microseconds, of three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // Three digits are always allowed.
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits"))
}

/// Records microseconds, at least 1; grows as needed, so that no latency is cut off.
pub(crate) fn record(histogram: &mut Histogram<u64>, micros: u64) {
    // Fails only where growing is switched off.
    let _ = histogram.record(micros.max(1));
}

/// What went through one side of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Side {
    /// Events that were published, with a receipt where receipts are asked for, or copies that were
    /// delivered; without the warm-up.
    pub events: u64,
    /// In how many seconds.
    pub seconds: f64,
    /// Events or copies per second.
    pub per_second: f64,
    /// Bytes of payload per second.
    pub bytes_per_second: f64,
}

impl Side {
    fn new(events: u64, micros: u64, size: usize) -> Self {
        let seconds = micros as f64 / 1e6;
        let per_second = if micros > 0 { events as f64 / seconds } else { 0.0 };
        Side { events, seconds, per_second, bytes_per_second: per_second * size as f64 }
    }
}

/// Microseconds, of three digits' precision; in JSON milliseconds, as everywhere in Fanal's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Latency {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        })
    }

    fn json(&self) -> Value {
        let Latency { count, p50, p90, p99, p999, max } = *self;
        json!({
            "samples": count, "p50_ms": millis(p50), "p90_ms": millis(p90), "p99_ms": millis(p99),
            "p999_ms": millis(p999), "max_ms": millis(max),
        })
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn as_millis<S: Serializer>(micros: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    micros.map(millis).serialize(serializer)
}

/// How this process did while it measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Generator {
    /// CPUs that it may use.
    pub cpus: usize,
    /// CPUs that it kept busy.
    pub cpus_used: Option<f64>,
    /// CPUs that the whole machine kept busy.
    pub cpus_used_by_all: Option<f64>,
    /// Share of the time in which publishers waited for room.
    pub publishers_waited: f64,
    /// Share of the time in which subscribers had nothing at hand.
    pub subscribers_idle: Option<f64>,
    /// Open loop: how late events were handed over, 99% of them.
    #[serde(rename = "late_p99_ms", serialize_with = "as_millis")]
    pub late_p99_us: Option<u64>,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was asked.
    pub plan: Plan,
    /// The broker's name.
    pub broker: String,
    /// Events in.
    pub published: Side,
    /// Copies out.
    pub delivered: Side,
    /// From when an event was due to its receipt; `None` without receipts.
    pub publish_latency: Option<Latency>,
    /// From when an event was due to the subscriber's hand.
    pub delivery_latency: Option<Latency>,
    /// Whether all came.
    pub check: Check,
    /// Events, warm-up included, that were handed over and have no receipt; `None` where none is
    /// asked for.
    pub without_receipt: Option<u64>,
    /// Open loop: events per second at which they were handed over.
    pub rate: Option<f64>,
    /// How this process did.
    pub generator: Generator,
    /// It was asked to end early.
    pub is_interrupted: bool,
    /// It ended early because nothing moved any more.
    pub is_stalled: bool,
    /// What may still be at the broker, and how to remove it.
    pub left_behind: Option<String>,
}

/// What a run's tasks brought home.
pub(crate) struct Measured {
    pub(crate) plan: Plan,
    pub(crate) broker: String,
    pub(crate) sent: Vec<Sent>,
    pub(crate) received: Vec<Received>,
    /// From the end of the warm-up to the end of sending.
    pub(crate) seconds: f64,
    /// CPUs used by this process, and by all.
    pub(crate) busy: Option<(f64, f64)>,
    pub(crate) is_interrupted: bool,
    pub(crate) is_stalled: bool,
}

impl Measured {
    pub(crate) fn report(self) -> Report {
        let size = self.plan.size;
        let first_us = self.sent.iter().filter_map(|sent| sent.first_us).min().unwrap_or(0);
        let acked_us =
            self.sent.iter().map(|sent| sent.handed_us.max(sent.receipts.last_us)).max().unwrap_or(0);
        let came_us = self.received.iter().map(|received| received.last_us).max().unwrap_or(0);
        let handed_over = self.sent.iter().map(|sent| sent.measured).sum();
        let events = match self.plan.has_receipts() {
            true => self.sent.iter().map(|sent| sent.receipts.latency.len()).sum(),
            false => handed_over,
        };
        let copies = self.received.iter().map(|received| received.measured).sum();
        Report {
            published: Side::new(events, acked_us.saturating_sub(first_us), size),
            delivered: Side::new(copies, came_us.saturating_sub(first_us), size),
            publish_latency: Latency::of(&sum(self.sent.iter().map(|sent| &sent.receipts.latency))),
            delivery_latency: Latency::of(&sum(self.received.iter().map(|received| &received.latency))),
            check: self.check(),
            without_receipt: self.without_receipt(),
            rate: self.rate(handed_over, first_us),
            generator: self.generator(),
            plan: self.plan,
            broker: self.broker,
            is_interrupted: self.is_interrupted,
            is_stalled: self.is_stalled,
            left_behind: None,
        }
    }

    fn check(&self) -> Check {
        let sent: Vec<u64> = self.sent.iter().map(|sent| sent.number).collect();
        let mut all = Check::default();
        for received in &self.received {
            all.add(&Check { told_missing: received.told_missing, ..received.checker.finish(&sent) });
        }
        all
    }

    fn without_receipt(&self) -> Option<u64> {
        let missing = self.sent.iter().map(|sent| sent.number.saturating_sub(sent.receipts.count));
        self.plan.has_receipts().then(|| missing.sum())
    }

    fn rate(&self, events: u64, first_us: u64) -> Option<f64> {
        let Pace::Rate(asked) = self.plan.pace else { return None };
        let handed_us = self.sent.iter().map(|sent| sent.handed_us).max().unwrap_or(0);
        // The last event stands for the time until the next one would be due.
        let seconds = handed_us.saturating_sub(first_us) as f64 / 1e6 + 1.0 / asked;
        let seconds = match self.plan.amount {
            Amount::Time(time) if !self.is_interrupted => seconds.max(time.as_secs_f64()),
            _ => seconds,
        };
        Some(events as f64 / seconds)
    }

    fn generator(&self) -> Generator {
        let share = |total: f64, of: usize| (total / (self.seconds.max(1e-6) * of.max(1) as f64)).min(1.0);
        let waited = self.sent.iter().map(|sent| sent.waited.as_secs_f64()).sum();
        let idle = self.received.iter().map(|received| received.idle.as_secs_f64()).sum();
        let late = sum(self.sent.iter().map(|sent| &sent.late));
        Generator {
            cpus: usage::cpus(),
            cpus_used: self.busy.map(|(own, _)| own),
            cpus_used_by_all: self.busy.map(|(_, all)| all),
            publishers_waited: share(waited, self.sent.len()),
            subscribers_idle: (!self.received.is_empty()).then(|| share(idle, self.received.len())),
            late_p99_us: (!late.is_empty()).then(|| late.value_at_quantile(0.99)),
        }
    }
}

fn sum<'a>(parts: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut all = histogram();
    for part in parts {
        // Both grow as needed.
        let _ = all.add(part);
    }
    all
}

impl Report {
    /// Whether the figures are a measurement: every copy came once and in order, every event has the
    /// receipt that was asked for, and nothing stood still.
    pub fn holds(&self) -> bool {
        self.check.holds() && self.without_receipt.unwrap_or(0) == 0 && !self.is_stalled
    }

    /// What a reader of the figures must know: why the check does not hold, what was not reached, and
    /// what was the limit. Empty where the figures stand for themselves.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_interrupted {
            notes.push("ended early: the figures cover what was measured by then".to_owned());
        }
        if self.is_stalled {
            let seconds = STALL.as_secs();
            notes.push(format!("ended early: nothing moved for {seconds} s; does the broker still answer?"));
        }
        notes.extend(self.note_on_loss());
        notes.extend(self.note_on_rate());
        notes.extend(self.note_on_generator());
        notes.extend(self.note_on_machine());
        notes
    }

    fn note_on_loss(&self) -> Option<String> {
        let Check { lost, told_missing, .. } = self.check;
        (lost > 0 && told_missing > 0).then(|| {
            format!(
                "the broker said that it dropped {told_missing} copies: live subscribers were too slow for this load; \
                 lower --rate or --window, or use --durable"
            )
        })
    }

    fn is_rate_missed(&self) -> bool {
        match (self.plan.pace, self.rate) {
            (Pace::Rate(asked), Some(rate)) => rate < asked * RATE_REACHED,
            _ => false,
        }
    }

    fn note_on_rate(&self) -> Option<String> {
        let (Pace::Rate(asked), Some(rate)) = (self.plan.pace, self.rate) else { return None };
        if !self.is_rate_missed() {
            let late = self.generator.late_p99_us.filter(|late| *late > LATE_US)?;
            return Some(format!(
                "events were handed over up to {:.1} ms late (99%): that is in the latencies, and is not the broker's if \
                 this machine was busy",
                late as f64 / 1e3
            ));
        }
        let who = match self.generator.publishers_waited < WAITING_MIN {
            true => "this load generator could not make them faster",
            false => "the broker did not take them faster",
        };
        Some(format!("the rate was not reached: {rate:.0} of {asked:.0} events/s; {who}"))
    }

    fn note_on_generator(&self) -> Option<String> {
        if self.is_rate_missed() || matches!(self.plan.pace, Pace::Rate(_)) {
            return None;
        }
        if self.generator.publishers_waited < WAITING_MIN {
            return Some(
                "this load generator was the limit: its publishers hardly waited for the broker; \
                 use more --publishers, or more machines"
                    .to_owned(),
            );
        }
        self.generator.subscribers_idle.filter(|idle| *idle < WAITING_MIN).map(|_| {
            "this load generator was the limit: its subscribers always had deliveries at hand; \
             use fewer --subscribers, or more machines"
                .to_owned()
        })
    }

    fn note_on_machine(&self) -> Option<String> {
        let Generator { cpus, cpus_used: Some(own), cpus_used_by_all: Some(all), .. } = self.generator else {
            return None;
        };
        (all > cpus as f64 * MACHINE_FULL).then(|| {
            format!(
                "this machine's {cpus} CPUs were fully used, {:.0}% of that by this load generator: a broker on \
                 the same machine can do more than the figures say",
                100.0 * own / all
            )
        })
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let plan = &self.plan;
        let (window, rate) = match plan.pace {
            Pace::Window(window) => (Some(window), None),
            Pace::Rate(rate) => (None, Some(rate)),
        };
        let class = if plan.class == Class::BestEffort { "best-effort" } else { "at-least-once" };
        json!({
            "ok": self.holds(),
            "broker": self.broker,
            "plan": {
                "publishers": plan.publishers, "subscribers": plan.subscribers, "size": plan.size,
                "class": class, "durable": plan.durable, "predicate": plan.predicate,
                "filters": plan.filters, "window": window, "rate": rate,
                "warm_up_seconds": plan.warm_up.as_secs_f64(),
            },
            "published": self.published,
            "delivered": self.delivered,
            "publish_latency": self.publish_latency.as_ref().map(Latency::json),
            "delivery_latency": self.delivery_latency.as_ref().map(Latency::json),
            "rate": self.rate,
            "check": self.check,
            "without_receipt": self.without_receipt,
            "generator": self.generator,
            "interrupted": self.is_interrupted,
            "stalled": self.is_stalled,
            "left_behind": self.left_behind,
            "notes": self.notes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::publish::Receipts;

    fn report(pace: Pace) -> Report {
        let latency = Latency { count: 1, p50: 1, p90: 1, p99: 1, p999: 1, max: 1 };
        Report {
            plan: Plan { pace, ..Plan::new(Amount::Time(Duration::from_secs(1))) },
            broker: "ewr".into(),
            published: Side::new(1000, 1_000_000, 100),
            delivered: Side::new(1000, 2_000_000, 100),
            publish_latency: Some(latency),
            delivery_latency: Some(latency),
            check: Check { expected: 1000, received: 1000, ..Check::default() },
            without_receipt: Some(0),
            rate: matches!(pace, Pace::Rate(_)).then_some(1000.0),
            generator: Generator {
                cpus: 4,
                cpus_used: Some(1.0),
                cpus_used_by_all: Some(2.0),
                publishers_waited: 0.9,
                subscribers_idle: Some(0.9),
                late_p99_us: Some(80),
            },
            is_interrupted: false,
            is_stalled: false,
            left_behind: None,
        }
    }

    fn only_note(report: &Report) -> String {
        let mut notes = report.notes();
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes.remove(0)
    }

    /// What a publisher did that handed over 10 events, 3 of them in the warm-up, and has so many
    /// receipts, in order.
    fn sent(receipts: u64) -> Sent {
        let mut latency = histogram();
        (3..receipts).for_each(|_| record(&mut latency, 100));
        Sent {
            number: 10,
            measured: 7,
            first_us: Some(1_000_000),
            handed_us: 1_500_000,
            late: histogram(),
            waited: Duration::ZERO,
            receipts: Receipts { count: receipts, latency, last_us: 2_000_000 },
        }
    }

    fn reported(plan: Plan, sent: Vec<Sent>, is_stalled: bool) -> Report {
        let (received, broker) = (Vec::new(), "ewr".to_owned());
        let plan = Plan { publishers: sent.len(), subscribers: 0, ..plan };
        Measured { plan, broker, sent, received, seconds: 1.0, busy: None, is_interrupted: false, is_stalled }
            .report()
    }

    #[test]
    fn what_has_no_receipt_is_not_published() {
        let plan = Plan::new(Amount::Events(14));
        let whole = reported(plan.clone(), vec![sent(10), sent(10)], false);
        assert_eq!((whole.published.events, whole.without_receipt, whole.holds()), (14, Some(0), true));
        let short = reported(plan.clone(), vec![sent(10), sent(5)], false);
        assert_eq!((short.published.events, short.without_receipt, short.holds()), (9, Some(5), false));
        assert_eq!(short.published.per_second, 9.0);
        assert_eq!((&short.json()["ok"], &short.json()["without_receipt"]), (&json!(false), &json!(5)));

        let unasked = reported(Plan { receipts: false, ..plan }, vec![sent(0)], false);
        assert_eq!((unasked.published.events, unasked.without_receipt, unasked.holds()), (7, None, true));
    }

    #[test]
    fn a_run_that_stood_still_is_no_measurement_even_without_subscribers() {
        let stalled = reported(Plan::new(Amount::Events(7)), vec![sent(10)], true);
        assert_eq!((stalled.check.expected, stalled.check.holds()), (0, true));
        assert!(!stalled.holds());
        let json = stalled.json();
        assert_eq!((&json["ok"], &json["stalled"]), (&json!(false), &json!(true)));
        assert!(stalled.notes()[0].contains("nothing moved for 10 s"), "{:?}", stalled.notes());
    }

    #[test]
    fn no_latency_is_cut_off() {
        let (mut first, mut second) = (histogram(), histogram());
        record(&mut first, 0);
        record(&mut second, 3_600_000_000);
        let all = sum([&first, &second].into_iter());
        let latency = Latency::of(&all).unwrap();
        assert_eq!((latency.count, latency.p50), (2, 1));
        assert!(latency.max.abs_diff(3_600_000_000) < 3_600_000, "{latency:?}");
        assert_eq!(Latency::of(&histogram()), None);
    }

    #[test]
    fn sides_are_rates_over_their_own_time() {
        let report = report(Pace::Window(1));
        assert_eq!((report.published.per_second, report.published.bytes_per_second), (1000.0, 100_000.0));
        assert_eq!(report.delivered.per_second, 500.0);
        assert_eq!(report.notes(), [""; 0]);
    }

    #[test]
    fn a_rate_that_was_not_reached_is_said_and_by_whom() {
        let mut slow = report(Pace::Rate(1200.0));
        assert!(only_note(&slow).contains("1000 of 1200 events/s; the broker did not take them faster"));
        slow.generator.publishers_waited = 0.0;
        assert!(only_note(&slow).contains("this load generator could not"));
        assert_eq!(report(Pace::Rate(1005.0)).notes(), [""; 0]);
        let mut late = report(Pace::Rate(1000.0));
        late.generator.late_p99_us = Some(2500);
        assert!(only_note(&late).contains("2.5 ms late"));
    }

    #[test]
    fn a_generator_that_never_waits_is_the_limit() {
        let mut busy = report(Pace::Window(1));
        busy.generator.publishers_waited = 0.05;
        assert!(only_note(&busy).contains("this load generator was the limit: its publishers"));
        let mut busy = report(Pace::Window(1));
        busy.generator.subscribers_idle = Some(0.05);
        assert!(only_note(&busy).contains("this load generator was the limit: its subscribers"));
        let mut full = report(Pace::Window(1));
        full.generator.cpus_used_by_all = Some(3.9);
        assert!(only_note(&full).contains("4 CPUs were fully used, 26% of that by this load generator"));
    }

    #[test]
    fn loss_shows_in_the_result_and_its_reason_in_a_note() {
        let mut lossy = report(Pace::Window(1));
        lossy.check.lost = 3;
        assert_eq!((lossy.json()["ok"].as_bool(), lossy.notes().len()), (Some(false), 0));
        lossy.check.told_missing = 3;
        assert!(only_note(&lossy).contains("dropped 3 copies"));
        for (duplicates, out_of_order) in [(1, 0), (0, 1)] {
            let mut wrong = report(Pace::Window(1));
            (wrong.check.duplicates, wrong.check.out_of_order) = (duplicates, out_of_order);
            assert_eq!(wrong.json()["ok"], false);
        }
    }
}
