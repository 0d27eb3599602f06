//! A deterministic simulator: several brokers, their disks, links and clients, from one seed.
//!
//! Invariants:
//! 1. No thread, no clock, no randomness of the machine: the same seed gives the same trace.
//! 2. What is under test is real: the core, the index, the store and the codecs. What is
//!    simulated is what is asynchronous: shells, network, disk, clients. See README.md beside it.
//! 3. The oracle ([`oracle`]) and its matcher (`ask`) use nothing of what they judge.

mod ask;
mod books;
mod broker;
mod client;
#[expect(dead_code, unreachable_pub, reason = "the broker's own, of which the limits and rules are used")]
#[path = "../../../broker/server/src/config.rs"]
mod config;
mod context;
pub mod count;
mod mailbox;
pub mod mutant;
mod net;
pub mod oracle;
mod plan;
mod random;
mod trace;
mod world;

use count::Counts;
use mutant::Mutant;
use oracle::Violation;
use world::World;

/// How a world is run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The mistake that is to be caught.
    pub mutant: Option<Mutant>,
    /// Lines of the trace are kept.
    pub keep_trace: bool,
    /// The world stops after so many happenings.
    pub happenings_max: u64,
}

impl Default for Run {
    fn default() -> Self {
        Run { mutant: None, keep_trace: false, happenings_max: 5_000_000 }
    }
}

/// What came of a world.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Of the whole trace.
    pub hash: u64,
    /// How many things happened.
    pub happenings: u64,
    /// How long it took in simulated time, in microseconds.
    pub simulated_us: u64,
    /// What was exercised.
    pub counts: Counts,
    /// What was broken.
    pub violation: Option<Violation>,
    /// The trace, where it was kept.
    pub lines: Vec<String>,
}

/// Runs the world of a seed.
pub fn run(seed: u64, run: Run) -> Outcome {
    let mut world = World::new(seed, run.mutant, run.keep_trace);
    world.run(run.happenings_max);
    let World { ctx, happenings, .. } = world;
    Outcome {
        seed,
        hash: ctx.trace.hash(),
        happenings,
        simulated_us: ctx.now_us,
        counts: ctx.counts,
        violation: ctx.oracle.violation().cloned(),
        lines: ctx.trace.into_lines(),
    }
}

/// What to tell of a world in which something was broken: what, how to replay it, and the last
/// lines about the destination concerned.
pub fn report(outcome: &Outcome, violation: &Violation, mutant: Option<Mutant>) -> String {
    const LINES: usize = 30;
    let replayed = run(outcome.seed, Run { mutant, keep_trace: true, happenings_max: outcome.happenings });
    let concerns = |line: &&String| line.split_whitespace().any(|word| word == violation.about.trim());
    let lines: Vec<&String> = replayed.lines.iter().filter(concerns).collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES)).map(|line| format!("  {line}\n"));
    let flag = mutant.map_or(String::new(), |mutant| format!(" --mutant {mutant:?}"));
    format!(
        "seed {}: {}\nreplay: cargo run -p fanal-simulator -- --seed {}{flag} --trace\n{}",
        outcome.seed,
        violation.what,
        outcome.seed,
        last.collect::<String>()
    )
}
