//! Runs worlds from the command line: one with its trace, or a range of them.
#![allow(clippy::print_stdout, reason = "a command talks to its terminal")]

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fanal_simulator::count::{Count, Counts};
use fanal_simulator::mutant::Mutant;
use fanal_simulator::{Run, report, run};

#[derive(Parser)]
#[command(about = "Simulated brokers, links, disks and clients, from one seed.")]
struct Args {
    /// One world.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Worlds A..B.
    #[arg(long, value_parser = range, default_value = "0..300")]
    seeds: Range<u64>,
    /// Go on with further seeds for so long.
    #[arg(long)]
    minutes: Option<u64>,
    /// Print the trace.
    #[arg(long)]
    trace: bool,
    /// Stop a world after so many happenings.
    #[arg(long, default_value_t = Run::default().happenings_max)]
    steps: u64,
    /// Make a mistake, which is to be caught.
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Print what was exercised, and how often.
    #[arg(long)]
    counts: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn mutant(text: &str) -> Result<Mutant, String> {
    let known = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == text);
    known.copied().ok_or_else(|| format!("expected one of {:?}", Mutant::ALL))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = args.seed.map_or(args.seeds.clone(), |seed| seed..seed + 1);
    let began = Instant::now();
    let limit = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let (mut counts, mut happenings, mut worlds, mut failed) = (Counts::default(), 0, 0u64, 0);
    let mut seed = seeds.start;
    while limit.map_or(seed < seeds.end, |limit| began.elapsed() < limit) {
        let how = Run { mutant: args.mutant, keep_trace: args.trace, happenings_max: args.steps };
        let outcome = run(seed, how);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        if let Some(violation) = &outcome.violation {
            failed += 1;
            println!("{}", report(&outcome, violation, args.mutant));
        }
        counts.merge(&outcome.counts);
        (happenings, worlds, seed) = (happenings + outcome.happenings, worlds + 1, seed + 1);
        if args.seed.is_some() {
            let seconds = outcome.simulated_us as f64 / 1e6;
            println!("seed {}: hash {:016x}, {seconds:.1} s simulated", outcome.seed, outcome.hash);
        }
    }
    if args.counts {
        Count::ALL.iter().for_each(|what| println!("{:>10} {what:?}", counts.get(*what)));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{worlds} worlds, {failed} failed, {happenings} happenings, {:.1} worlds/s",
        worlds as f64 / seconds
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
