//! Benchmarks of matching: workloads, engines and what is measured of them.
//!
//! A cell goes: [`Family`] (subscriptions and events from a seed) → an engine → figures, beside the
//! right answers of the [`oracle`].
//!
//! Invariants:
//! 1. No figure without an answer: in every cell the ids are compared with the oracle's.
//! 2. A workload depends on family and seed alone ([`Random`]).
//!
//! Used by `fanal-bench match` and by whoever wants workloads for a test.

mod asked;
mod beside;
mod cell;
mod clock;
mod engine;
mod event;
mod family;
mod figures;
mod hostile;
mod instructions;
mod machine;
pub mod oracle;
mod random;
mod run;
mod table;
mod targets;

pub use asked::{Asked, Condition, Predicate, Test};
pub use event::{AttributeKind, Code, Event, Schema};
pub use family::Family;
pub use figures::{Beside, Figures, Longest};
pub use instructions::{Counted, count};
pub use random::{Random, Zipf};
pub use run::{EngineKind, Options, run, run_hostile};
