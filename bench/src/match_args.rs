//! Arguments of `fanal-bench match` and `fanal-bench instructions`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use fanal_bench::matching::{self, Counted, EngineKind, Family, Options};

use crate::child::Outcome;

/// See the module.
#[derive(Args)]
pub(crate) struct MatchArgs {
    /// Workload families.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Family::ALL)]
    family: Vec<Family>,
    /// Numbers of subscriptions.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    subscriptions: Vec<u32>,
    /// Engines; `a-tree` and `quamina` where they are built in (`--features rivals`).
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [EngineKind::Index, EngineKind::Scan])]
    engine: Vec<EngineKind>,
    /// Events that are timed in each run.
    #[arg(long, default_value_t = 2_000)]
    events: usize,
    /// Events whose ids are compared with the oracle's.
    #[arg(long, default_value_t = 200)]
    check: usize,
    /// Runs of each cell; medians over them are reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Of the workloads: the same seed gives the same subscriptions and events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds that an engine may take for loading; a run may take a fourth of it.
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// Seconds that matching is watched, alone and beside a writer each.
    #[arg(long, default_value_t = 2.0)]
    watch: f64,
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Instead of workloads: filters that are made to hurt, beside 100,000 of family a.
    #[arg(long, conflicts_with_all = ["family", "subscriptions", "engine", "json"])]
    hostile: bool,
}

impl MatchArgs {
    /// Measures; `heap` tells the bytes of the heap in use.
    pub(crate) fn run(&self, heap: fn() -> usize) -> Outcome<()> {
        if self.hostile {
            return Ok(matching::run_hostile(self.seed)?);
        }
        let options = Options {
            families: self.family.clone(),
            subscriptions: self.subscriptions.clone(),
            engines: self.engine.clone(),
            events: self.events.max(1),
            checked: self.check.max(1),
            runs: self.runs.max(1),
            seed: self.seed,
            limit: Duration::from_secs(self.limit),
            watched: Duration::try_from_secs_f64(self.watch)?,
            json: self.json,
            heap,
        };
        match matching::run(&options) {
            true => Ok(()),
            false => {
                Err("an engine gave other ids than the oracle, or the index did not come to an end".into())
            }
        }
    }
}

/// See the module.
#[derive(Args)]
pub(crate) struct InstructionArgs {
    /// Workload family.
    #[arg(value_enum)]
    family: Family,
    /// Subscriptions.
    #[arg(long)]
    subscriptions: u32,
    /// Events.
    #[arg(long)]
    events: usize,
    /// Subscriptions that others take the place of: counted instead of the events.
    #[arg(long, default_value_t = 0)]
    changes: u32,
    /// Of the workload.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program that switches counting on.
    #[arg(long)]
    vgdb: Option<PathBuf>,
    /// Where valgrind has its pipes, if elsewhere than usual.
    #[arg(long)]
    vgdb_prefix: Option<PathBuf>,
}

impl InstructionArgs {
    /// Does it, and prints how many matches there were at the end.
    pub(crate) fn run(&self) -> Outcome<()> {
        let &InstructionArgs { family, subscriptions, events, changes, seed, .. } = self;
        let vgdb = self.vgdb.as_ref().map(|vgdb| {
            let mut command = Command::new(vgdb);
            command.args(self.vgdb_prefix.iter().map(|prefix| format!("--vgdb-prefix={}", prefix.display())));
            command
        });
        let counted = Counted { family, seed, subscriptions, events, changes, vgdb };
        println!("{}", matching::count(counted)?);
        Ok(())
    }
}
