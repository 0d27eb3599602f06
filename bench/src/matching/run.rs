//! Carries out what `fanal-bench match` asks for: the cells in turn, a row each, then the targets.

use std::time::Duration;

use super::cell::{self, Answers, Plan};
use super::engine::index::Indexed;
use super::engine::scan::Scan;
use super::family::Family;
use super::figures::Figures;
use super::machine::Machine;
use super::{hostile, table, targets};

/// What holds the subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineKind {
    /// The project's index.
    Index,
    /// Every filter for every event.
    Scan,
    /// The crate a-tree.
    #[cfg(feature = "rivals")]
    ATree,
    /// The crate quamina.
    #[cfg(feature = "rivals")]
    Quamina,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Workloads.
    pub families: Vec<Family>,
    /// How many subscriptions.
    pub subscriptions: Vec<u32>,
    /// Engines.
    pub engines: Vec<EngineKind>,
    /// Events of a run.
    pub events: usize,
    /// Events whose ids are compared with the oracle's.
    pub checked: usize,
    /// Runs of each cell, of which the median is reported.
    pub runs: usize,
    /// Of the workloads.
    pub seed: u64,
    /// How long loading may take, in seconds; a run may take a fourth of it.
    pub limit: Duration,
    /// How long matching is watched, alone and beside a writer each.
    pub watched: Duration,
    /// One JSON object a line instead of tables.
    pub json: bool,
    /// Bytes that the process has from its allocator.
    pub heap: fn() -> usize,
}

impl EngineKind {
    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Index => "index",
            EngineKind::Scan => "scan",
            #[cfg(feature = "rivals")]
            EngineKind::ATree => "a-tree",
            #[cfg(feature = "rivals")]
            EngineKind::Quamina => "quamina",
        }
    }

    fn measure(self, plan: &Plan, answers: &Answers, subscriptions: u32) -> Figures {
        match self {
            EngineKind::Index => cell::measure::<Indexed>(plan, answers, subscriptions, self.name()),
            EngineKind::Scan => cell::measure::<Scan>(plan, answers, subscriptions, self.name()),
            #[cfg(feature = "rivals")]
            EngineKind::ATree => {
                cell::measure::<super::engine::a_tree::Tree>(plan, answers, subscriptions, self.name())
            }
            #[cfg(feature = "rivals")]
            EngineKind::Quamina => {
                cell::measure::<super::engine::quamina::Patterns>(plan, answers, subscriptions, self.name())
            }
        }
    }
}

/// Measures and prints to standard output. False if an engine gave other ids than the oracle, or the
/// project's own did not come to an end.
pub fn run(options: &Options) -> bool {
    let plan = Plan {
        seed: options.seed,
        events: options.events,
        runs: options.runs,
        limit: options.limit,
        watched: options.watched,
        heap: options.heap,
    };
    let mut cells = Vec::new();
    print_machine("before", options.json);
    if !options.json {
        println!("\n{}", table::head());
    }
    for &family in &options.families {
        let largest = options.subscriptions.iter().copied().max().unwrap_or(0);
        let answers = Answers::new(family, options.seed, largest, options.checked);
        for &subscriptions in &options.subscriptions {
            for engine in &options.engines {
                let figures = engine.measure(&plan, &answers, subscriptions);
                print_cell(family, &figures, options.json);
                cells.push(figures);
            }
        }
    }
    if !options.json {
        print_end(&cells);
    }
    print_machine("after", options.json);
    let own = |cell: &&Figures| cell.engine == EngineKind::Index.name();
    cells.iter().all(|cell| cell.wrong == 0) && cells.iter().filter(own).all(Figures::hold)
}

/// Measures hostile filters beside others in the project's index, and prints a table.
///
/// # Errors
/// A filter that is refused, or an index that finds others than plain evaluation.
pub fn run_hostile(seed: u64) -> Result<(), String> {
    println!("{}", table::hostile(&hostile::measure(seed)?));
    Ok(())
}

/// What the machine does before the cells, or after them.
fn print_machine(when: &str, json: bool) {
    let machine = Machine::measure();
    match json {
        true => println!("{}", serde_json::json!({ "machine": machine, "when": when })),
        false => println!("The machine {when}: {machine}."),
    }
}

fn print_cell(family: Family, figures: &Figures, json: bool) {
    match serde_json::to_string(figures) {
        Ok(text) if json => println!("{text}"),
        _ => println!("{}", table::row(family.title(), figures)),
    }
}

fn print_end(cells: &[Figures]) {
    println!("\nTimes in µs; longest times on the wall's clock.\n\n{}", table::further(cells));
    let judged = targets::judge(cells, EngineKind::Index.name());
    if !judged.is_empty() {
        println!("\n{}", table::judged(&judged));
        let met = judged.iter().filter(|one| one.is_met()).count();
        println!("\n{met} of {} targets met.", judged.len());
    }
    println!();
}
