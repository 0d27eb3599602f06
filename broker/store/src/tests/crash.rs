//! A crash at every operation of a workload, and at every operation of the recovery after it.

use crate::simulated::{Faults, Loss, SimulatedDisk};
use crate::{CommitError, Recovery};

use super::model::{Dice, Model, Outcome, open, run};

const STEPS: u64 = 70;

fn whole_run(seed: u64, faults: Faults) -> (SimulatedDisk, Outcome) {
    let disk = SimulatedDisk::new();
    disk.set_faults(faults);
    let outcome = match open(&disk) {
        Ok((mut store, _)) => run(&mut store, Model::default(), &mut Dice(seed), STEPS),
        Err(_) => Outcome::default(),
    };
    (disk, outcome)
}

/// A crash is never reported as damage.
fn check_report(recovery: &Recovery) -> Result<(), String> {
    match recovery.report.is_undamaged() {
        true => Ok(()),
        false => Err(format!("a crash was reported as damage: {}", recovery.report)),
    }
}

/// Crashes at operation `at` and checks what the next opens find.
fn crash_and_check(seed: u64, at: u64, loss: Loss, faults: &Faults) -> Result<(), String> {
    let mut with_crash = faults.clone();
    with_crash.crash_at = Some(at);
    let (disk, outcome) = whole_run(seed, with_crash);
    disk.crash(loss);
    disk.set_faults(Faults { crash_at: None, ..faults.clone() });
    let (mut store, recovery) = open(&disk).map_err(|e| e.to_string())?;
    check_report(&recovery)?;
    let model = outcome.check(&store, &recovery)?;
    // What it says now it must say after a power cut as well: readers may have seen it.
    drop(store);
    disk.crash(Loss::Cut);
    disk.set_faults(faults.clone());
    let reopened = open(&disk).map_err(|e| format!("second open: {e}"))?;
    store = reopened.0;
    check_report(&reopened.1).map_err(|e| format!("second open: {e}"))?;
    model.check(&store, Some(&reopened.1)).map_err(|e| format!("second open: {e}"))?;
    let outcome = run(&mut store, model, &mut Dice(seed ^ 0xabc), 25);
    drop(store);
    disk.crash(Loss::Cut);
    let (store, recovery) = open(&disk).map_err(|e| format!("third open: {e}"))?;
    check_report(&recovery).map_err(|e| format!("third open: {e}"))?;
    outcome.check(&store, &recovery).map(|_| ()).map_err(|e| format!("third open: {e}"))
}

fn every_crash(seed: u64, step: usize, faults: &Faults) -> Result<u64, String> {
    let (disk, outcome) = whole_run(seed, faults.clone());
    assert_eq!(outcome.steps, STEPS);
    let operations = disk.operations();
    for at in (0..operations).step_by(step) {
        for loss in [Loss::Cut, Loss::Torn(at * 31 + seed), Loss::Torn(at * 7 + seed + 1), Loss::ProcessOnly]
        {
            crash_and_check(seed, at, loss, faults)
                .map_err(|why| format!("seed {seed}, operation {at}, {loss:?}: {why}"))?;
        }
    }
    Ok(operations)
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acked() {
    let seeds = std::env::var("FANAL_STORE_SEEDS").ok().and_then(|text| text.parse().ok());
    let run = |seed| whole_run(seed, Faults::default()).1.stats;
    let all: Vec<_> = (1..=3).map(run).collect();
    // What the crashes go through.
    assert!(all.iter().all(|stats| stats.pages > 20 && stats.events_by_set > 10), "{all:?}");
    assert!(all.iter().any(|stats| stats.bytes_moved > 0), "{all:?}");
    for seed in 1..=seeds.unwrap_or(3) {
        let operations = every_crash(seed, 1, &Faults::default()).unwrap();
        assert!(operations > 200, "only {operations} operations");
    }
}

#[test]
fn a_crash_at_any_operation_of_the_recovery_changes_nothing() {
    let seed = 11;
    let (disk, _) = whole_run(seed, Faults::default());
    let operations = disk.operations();
    for at in (0..operations).step_by(17) {
        for recovery_at in 0.. {
            let loss = Loss::Torn(at + recovery_at);
            let faults = Faults { crash_at: Some(at), ..Faults::default() };
            let (disk, outcome) = whole_run(seed, faults);
            disk.crash(loss);
            let begun = disk.operations();
            disk.set_faults(Faults { crash_at: Some(begun + recovery_at), ..Faults::default() });
            let opened = open(&disk).is_ok();
            let crashed = disk.operations() > begun + recovery_at;
            disk.crash(loss);
            let (store, recovery) = open(&disk).unwrap();
            check_report(&recovery).unwrap();
            let checked = outcome.check(&store, &recovery);
            checked.unwrap_or_else(|why| panic!("operations {at} and {recovery_at}, {loss:?}: {why}"));
            if opened && !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_batch_read_from_the_cache_only_is_made_durable_before_it_is_served() {
    // The flush fails, so that the batch is in the cache and nowhere else; the process dies.
    for seed in 20..26 {
        let (disk, _) = whole_run(seed, Faults::default());
        let operations = disk.operations();
        for at in (operations / 2..operations).step_by(3) {
            let (disk, outcome) = whole_run(seed, Faults { fail_at: Some(at), ..Faults::default() });
            disk.crash(Loss::ProcessOnly);
            let (store, recovery) = open(&disk).unwrap();
            let model = outcome.check(&store, &recovery).unwrap();
            drop(store);
            disk.crash(Loss::Cut);
            let (store, recovery) = open(&disk).unwrap();
            model.check(&store, Some(&recovery)).unwrap();
        }
    }
}

/// The controls: the same check fails when the disk lies.
#[test]
fn a_skipped_flush_is_noticed() {
    let lying = Faults { skip_file_flush: true, ..Faults::default() };
    let found = (1..=3).find_map(|seed| every_crash(seed, 5, &lying).err());
    assert!(found.is_some());
}

#[test]
fn a_skipped_folder_flush_is_noticed() {
    let lying = Faults { skip_folder_flush: true, ..Faults::default() };
    let found = (1..=3).find_map(|seed| every_crash(seed, 5, &lying).err());
    assert!(found.is_some());
}

#[test]
fn a_run_is_the_same_each_time() {
    let (first, _) = whole_run(5, Faults::default());
    let (second, _) = whole_run(5, Faults::default());
    assert_eq!(first.names(), second.names());
    for name in first.names() {
        assert_eq!(first.contents(&name), second.contents(&name), "{name}");
    }
}

#[test]
fn a_failed_flush_or_write_stops_the_store_for_good() {
    let (disk, _) = whole_run(3, Faults::default());
    let mut stops = 0;
    for at in 0..disk.operations() {
        let disk = SimulatedDisk::new();
        disk.set_faults(Faults { fail_at: Some(at), ..Faults::default() });
        let Ok((mut store, _)) = open(&disk) else {
            continue;
        };
        let outcome = run(&mut store, Model::default(), &mut Dice(3), STEPS);
        let Some(_) = outcome.in_doubt else {
            continue;
        };
        stops += 1;
        assert!(store.stats().is_stopped);
        for _ in 0..2 {
            let mut batch = store.batch();
            batch.state(b"more");
            assert!(matches!(store.commit(batch), Err(CommitError::Stopped { .. })));
        }
        assert!(matches!(store.checkpoint(&mut std::iter::empty()), Err(CommitError::Stopped { .. })));
        outcome.proven.check(&store, None).unwrap();
        drop(store);
        disk.crash(Loss::Torn(at));
        let (store, recovery) = open(&disk).unwrap();
        check_report(&recovery).unwrap();
        outcome.check(&store, &recovery).unwrap_or_else(|why| panic!("operation {at}: {why}"));
    }
    assert!(stops > 100);
}
