//! The hot paths do not grow unseen: instructions for matching an event, and for taking a subscription
//! out and putting another in, counted by valgrind, against budgets.
//!
//! 1. Counts do not depend on the machine's load or speed; they do on the compiler, so that a new one
//!    may ask for new budgets.
//! 2. What is counted is right: matches are as many as the oracle's.
//! 3. More than a tenth above its budget fails. `FANAL_SET_INSTRUCTIONS=1` writes what was counted as
//!    the budgets.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use fanal_bench::matching::{Event, Family, oracle};
use fanal_tests::tool::{VALGRIND, VGDB};

const TEST: &str = "the_hot_paths_keep_their_budgets_of_instructions";
const SUBSCRIPTIONS: u32 = 20_000;
const EVENTS: usize = 20;
/// What is counted, and how many changes that are.
const WORKS: [(&str, u32); 2] = [("match", 0), ("change", 2_000)];
const SEED: u64 = 1;
/// How far above its budget a count may be, in percent.
const ABOVE_MAX: f64 = 10.0;

fn budgets_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt")
}

/// Lines `family work instructions`; `#` begins a comment.
fn budgets() -> Vec<(String, f64)> {
    let text = std::fs::read_to_string(budgets_file()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (path, count) = line.rsplit_once(' ').unwrap();
            (path.to_owned(), count.parse().unwrap())
        })
        .collect()
}

fn write_budgets(counts: &[(String, f64)]) {
    let mut text = format!(
        "# Instructions of each family at {SUBSCRIPTIONS} subscriptions, in the build of the tests: for matching an\n\
         # event, and for a change, which takes a subscription out and puts another in.\n\
         # FANAL_SET_INSTRUCTIONS=1 cargo test -p fanal-bench --test instructions\n"
    );
    counts.iter().for_each(|(path, count)| writeln!(text, "{path} {count:.0}").unwrap());
    std::fs::write(budgets_file(), text).unwrap();
}

/// Instructions per event, or per change.
fn count(valgrind: &Path, vgdb: &Path, family: Family, changes: u32) -> f64 {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new(valgrind);
    command
        .args(["--tool=callgrind", "--instr-atstart=no"])
        .args(["--toggle-collect=*match_counted*", "--toggle-collect=*change_counted*"])
        .args(["--vgdb-poll=1000", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", out.path().join("log").display()))
        .arg(format!("--vgdb-prefix={}", out.path().join("pipe").display()))
        .arg(env!("CARGO_BIN_EXE_fanal-bench"))
        .args(["instructions", &family.to_string()])
        .args(["--subscriptions", &SUBSCRIPTIONS.to_string(), "--events", &EVENTS.to_string()])
        .args(["--changes", &changes.to_string(), "--seed", &SEED.to_string()])
        .arg("--vgdb")
        .arg(vgdb)
        .arg("--vgdb-prefix")
        .arg(out.path().join("pipe"));
    let output = command.output().unwrap();
    let log = std::fs::read_to_string(out.path().join("log")).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "family {family}: {errors}\n{log}");
    let found: usize = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let events: Vec<Event> = family.events(SEED).take(EVENTS).collect();
    let answers = oracle::answers(family, SEED, SUBSCRIPTIONS + changes, &events);
    let right = answers.iter().flatten().filter(|id| **id >= changes).count();
    assert_eq!(found, right, "family {family}: other matches than the oracle's");
    let collected =
        log.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    let collected: f64 = collected.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{log}"));
    assert!(collected > 0.0, "family {family}: nothing was counted\n{log}");
    match changes {
        0 => collected / EVENTS as f64,
        changes => collected / f64::from(changes),
    }
}

/// Each family and each work once, on as many threads as there are processors.
fn count_all(valgrind: &Path, vgdb: &Path) -> Vec<(String, f64)> {
    let works = |family: &Family| WORKS.map(|work| (*family, work));
    let (waiting, counts) =
        (Mutex::new(Family::ALL.iter().flat_map(works).collect::<Vec<_>>()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((family, (work, changes))) = waiting.lock().unwrap().pop() else { return };
                    let count = count(valgrind, vgdb, family, changes);
                    counts.lock().unwrap().push((format!("{family} {work}"), count));
                }
            });
        }
    });
    let mut counts = counts.into_inner().unwrap();
    counts.sort_by(|(one, _), (other, _)| one.cmp(other));
    counts
}

#[test]
fn the_hot_paths_keep_their_budgets_of_instructions() {
    let (Some(valgrind), Some(vgdb)) = (VALGRIND.find(TEST), VGDB.find(TEST)) else { return };
    let counts = count_all(&valgrind, &vgdb);
    if std::env::var_os("FANAL_SET_INSTRUCTIONS").is_some() {
        write_budgets(&counts);
        return;
    }
    let mut said = String::new();
    for ((path, count), (named, budget)) in counts.iter().zip(budgets()) {
        assert_eq!(*path, named, "{} has a line for each family and work", budgets_file().display());
        let above = (count / budget - 1.0) * 100.0;
        println!("{path}: {count:.0} instructions, budget {budget:.0} ({above:+.1} %)");
        if above > ABOVE_MAX {
            writeln!(said, "{path}: {count:.0} instructions, {above:.1} % above the budget of {budget:.0}")
                .unwrap();
        }
    }
    assert_eq!(counts.len(), budgets().len());
    assert!(
        said.is_empty(),
        "{said}If that is meant: FANAL_SET_INSTRUCTIONS=1 cargo test -p fanal-bench --test instructions"
    );
}
