//! `fanal-bench`: what a broker does under load, with nothing lost.
//!
//! The broker runs in a process of its own, so that its CPU time is its own; generator and
//! subscribers share this one. Windows are closed: at most so many events are in flight, released
//! by the slowest subscriber, so that a run without loss is the only run there is.

mod child;
mod load;
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
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Load { fanal, sizes, subscribers, classes, window, seconds, runs, json } =
        Args::parse().command;
    let mut cells = Vec::new();
    for &class in &classes {
        for &subscribers in &subscribers {
            cells.extend(sizes.iter().map(|&size| Cell { class, subscribers, size, window }));
        }
    }
    let outcome = match child::binary(fanal) {
        Ok(fanal) => table::run(&fanal, &cells, seconds, runs.max(1), json).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanal-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
