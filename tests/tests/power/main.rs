//! Power cuts under real brokers: what was acked is there, whatever the disk had not been told to keep.
//!
//! The data directory lies on a file system that forgets what was not flushed (`tests/forgetful`). Each
//! round has its seed, which is printed; `FANAL_POWER_SEED` gives the first one, `FANAL_POWER_ROUNDS` says
//! how many. Which operation the power goes
//! at comes from the seed, what was under way then from the machine: a seed that failed may need
//! several tries.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

mod facts;
mod first_start;
mod limited;
mod link;
mod load;
mod round;

use std::io::Write;

use fanal_forgetful::{Disk, Operation};
use fanal_tests::cli::is_long;
use fanal_tests::ground::Ground;
use round::{Mode, round};

/// Rounds of each mode, in a short run and with FANAL_LONG=1.
const ROUNDS: (u64, u64) = (3, 50);
/// Rounds within which a disk that lies must be noticed.
const LIES: u64 = 4;

/// The seed that was given, or one of this moment.
fn seed() -> u64 {
    let given = std::env::var("FANAL_POWER_SEED").ok().and_then(|text| text.parse().ok());
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |passed| passed.as_nanos() as u64);
    given.unwrap_or_else(|| now() % 1_000_000_000)
}

fn rounds() -> u64 {
    let given = std::env::var("FANAL_POWER_ROUNDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(if is_long() { ROUNDS.1 } else { ROUNDS.0 })
}

/// What a test says though it passes.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

async fn cut_again_and_again(test: &str, mode: Mode) {
    let first = seed();
    for seed in first..first + rounds() {
        let Some(ground) = Ground::new(test) else { return };
        match round(ground, seed, mode).await {
            Ok(summary) => say(&format!("{test}: seed {seed}: {summary}")),
            Err(violation) => panic!(
                "VIOLATION: {violation}\n    again: FANAL_POWER_SEED={seed} FANAL_POWER_ROUNDS=1 cargo test -p fanal-tests --test power {test}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_under_load_loses_nothing_that_was_acked() {
    cut_again_and_again("a_power_cut_under_load_loses_nothing_that_was_acked", Mode::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_that_tears_what_was_not_flushed_loses_nothing_that_was_acked() {
    let test = "a_power_cut_that_tears_what_was_not_flushed_loses_nothing_that_was_acked";
    cut_again_and_again(test, Mode::Torn).await;
}

/// The mistakes that `tests/mutants` makes are not in an ordinary build.
#[test]
fn an_ordinary_build_makes_no_mistake_on_command() {
    let program = std::fs::read(fanal_tests::cli::binary()).unwrap();
    let holds = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
    assert!(holds(b"FANAL_CONFIG"), "that is how a variable would be found");
    assert!(!holds(b"FANAL_MUTANT"), "built with the feature `mutants`");
}

/// A control: the same rounds on a disk that says it has flushed and has not.
async fn must_be_noticed(test: &str, lie: impl Fn(&Disk)) {
    let first = seed();
    for seed in first..first + LIES {
        let Some(ground) = Ground::new(test) else { return };
        lie(&ground.disk);
        if let Err(violation) = round(ground, seed, Mode::Cut).await {
            return say(&format!("{test}: seed {seed}: {violation}"));
        }
    }
    panic!("not noticed in {LIES} rounds from seed {first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_flush_files_is_noticed() {
    must_be_noticed("a_disk_that_does_not_flush_files_is_noticed", |disk| disk.lie(Operation::Flush)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_flush_names_is_noticed() {
    must_be_noticed("a_disk_that_does_not_flush_names_is_noticed", |disk| {
        disk.lie(Operation::FlushFolder);
    })
    .await;
}
