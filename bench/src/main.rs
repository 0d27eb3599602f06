//! `fanal-bench`: what a broker does under load, with nothing lost.
//!
//! The broker runs in a process of its own, so that its CPU time is its own; generator and
//! subscribers share this one. Windows are closed: at most so many events are in flight, released
//! by the slowest subscriber, so that a run without loss is the only run there is.
//!
//! `fanal-bench store` measures durability: acks per second, backlogs, memory, start-up.
//! `fanal-bench match` measures matching alone, in this process and without a broker.

mod child;
mod load;
mod match_args;
mod store;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use load::{Cell, Class};

#[derive(Parser)]
#[command(version, about = "Load tests of a Fanal broker")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publisher → subscribers through one broker: sizes, fan-outs and classes.
    Load {
        /// The `fanal` to measure [default: the one beside this program].
        #[arg(long, value_name = "FILE")]
        fanal: Option<PathBuf>,
        /// Payload sizes in bytes.
        #[arg(long, value_delimiter = ',', default_values_t = [16, 128, 1024])]
        sizes: Vec<usize>,
        /// Numbers of subscribers.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
        subscribers: Vec<usize>,
        /// Classes.
        #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Class::BestEffort, Class::Durable])]
        classes: Vec<Class>,
        /// Events in flight.
        #[arg(long, default_value_t = 4096)]
        window: u64,
        /// Seconds that each cell is measured.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Runs of each cell; the median by rate is reported.
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// One JSON object a line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What durability costs: acks, backlogs, memory, start-up; beside others.
    Store(store::StoreArgs),
    /// One event against very many subscriptions: generated workloads, engines side by side.
    Match(match_args::MatchArgs),
    /// Matches events, or changes the index, while valgrind counts instructions; for tests.
    #[command(hide = true)]
    Instructions(match_args::InstructionArgs),
}

/// Counts what is allocated, for bytes per subscription: a few nanoseconds each time.
#[global_allocator]
static HEAP: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Load { fanal, sizes, subscribers, classes, window, seconds, runs, json } => {
            let cells = cells(&classes, &subscribers, &sizes, window);
            match child::binary(fanal) {
                Ok(fanal) => table::run(&fanal, &cells, seconds, runs.max(1), json).await,
                Err(error) => Err(error),
            }
        }
        Command::Store(args) => {
            let run = args.run(
                #[cfg(feature = "rivals")]
                heap,
            );
            run.await
        }
        Command::Match(args) => args.run(heap),
        Command::Instructions(args) => args.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanal-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Bytes of the heap in use.
fn heap() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

fn cells(classes: &[Class], subscribers: &[usize], sizes: &[usize], window: u64) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &class in classes {
        for &subscribers in subscribers {
            cells.extend(sizes.iter().map(|&size| Cell { class, subscribers, size, window }));
        }
    }
    cells
}
