//! Seeds that must hold, seeds that once did not, and mistakes that must be caught.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fanal_simulator::count::Counts;
use fanal_simulator::mutant::Mutant;
use fanal_simulator::{Run, report, run};

/// Seeds of a short run, and of one with FANAL_LONG=1.
const SEEDS: (u64, u64) = (600, 50_000);
/// Seeds within which each mistake must be caught.
const MUTANT_SEEDS: u64 = 300;

fn seeds_max() -> u64 {
    if std::env::var_os("FANAL_LONG").is_some() { SEEDS.1 } else { SEEDS.0 }
}

/// Seeds that found something, each with the reason on its line.
fn kept_seeds() -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines().map(str::trim);
    let seed = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    lines.filter(|line| !line.starts_with('#')).filter_map(seed).collect()
}

/// Runs worlds on all processors; each world is a thing of one thread.
fn sweep(seeds: &[u64]) -> (Counts, Vec<String>) {
    let (next, results) = (AtomicU64::new(0), Mutex::new((Counts::default(), Vec::new())));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let outcome = run(*seed, Run::default());
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.0.merge(&outcome.counts);
            if let Some(violation) = &outcome.violation {
                results.1.push(report(&outcome, violation, None));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_seed_holds_and_everything_was_exercised() {
    let mut seeds = kept_seeds();
    assert!(!seeds.is_empty());
    seeds.extend(0..seeds_max());
    let (counts, failed) = sweep(&seeds);
    assert!(failed.is_empty(), "{} of {} seeds failed:\n{}", failed.len(), seeds.len(), failed.join("\n"));
    assert_eq!(counts.zeros(), [], "never exercised");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..25 {
        let (one, two) = (run(seed, Run::default()), run(seed, Run { keep_trace: true, ..Run::default() }));
        assert_eq!((one.hash, one.happenings), (two.hash, two.happenings), "seed {seed}");
        assert!(hashes.insert(one.hash), "seed {seed} is like another");
    }
}

#[test]
fn every_mistake_is_caught() {
    let mut missed = Vec::new();
    for &mutant in Mutant::ALL {
        let how = Run { mutant: Some(mutant), ..Run::default() };
        match (0..MUTANT_SEEDS)
            .map(|seed| run(seed, how))
            .find_map(|outcome| Some((outcome.seed, outcome.violation?)))
        {
            Some((seed, violation)) => {
                eprintln!("{mutant:?}: caught after {} seeds: {}", seed + 1, violation.what)
            }
            None => missed.push(mutant),
        }
    }
    assert_eq!(missed, [], "not caught within {MUTANT_SEEDS} seeds");
}
