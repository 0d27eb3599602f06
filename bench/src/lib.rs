//! The load generator: publishers and subscribers in this process, through a broker anywhere.
//!
//! A run goes: [`Plan`] (what is asked) → `scene` (connections and subscriptions) → `publish` and
//! `subscribe` (one task each, with `pace` as the clock of the open loop) → `check` (what came) →
//! [`Report`] (figures, and [`Report::notes`] on what limits them).
//!
//! Invariants:
//! 1. Every copy of every event is checked: came once, and in its publisher's order. A report that does
//!    not hold ([`Report::holds`]) is not a measurement.
//! 2. Latency counts from when an event was due, not from when there was time to send it.
//! 3. What a run makes at the broker is removed at its end, however it ends.
//!
//! Used by `fanal bench` and by `fanal-bench load`. Knows the client library alone, no broker.

mod check;
mod error;
pub mod matching;
mod pace;
mod payload;
mod plan;
mod publish;
mod report;
mod run;
mod scene;
mod subscribe;
pub mod usage;

pub use check::{Check, Checker};
pub use error::BenchError;
pub use plan::{Amount, Pace, Plan};
pub use report::{Generator, Latency, Report, Side};
pub use run::{Progress, run};
