//! What the crates may depend on.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::path::{Path, PathBuf};
use std::process::Command;

use fanal_tests::cli::repository;

/// Names of all crates that a crate is built with.
fn tree(package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = [
        "tree",
        "--offline",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let output = Command::new(cargo).args(args).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, out),
            false => out.push(path),
        }
    }
}

#[test]
fn crates_that_decide_are_built_without_crates_that_do() {
    for package in ["fanal-core", "fanal-matching", "fanal-protocol"] {
        let crates = tree(package);
        assert!(crates.iter().any(|name| name == package), "{crates:?}");
        for banned in ["tokio", "quinn", "fanal-store", "fanal-broker", "rand", "rustix", "socket2", "mio"] {
            assert!(!crates.iter().any(|name| name == banned), "{package} is built with {banned}");
        }
    }
    assert!(
        !tree("fanal-store").iter().any(|name| name == "fanal-core"),
        "store and core do not know each other"
    );
    let simulator = tree("fanal-simulator");
    assert!(simulator.iter().any(|name| name == "fanal-core"), "{simulator:?}");
    for banned in ["tokio", "quinn", "fanal-broker", "fanal-client", "rand", "mio"] {
        assert!(!simulator.iter().any(|name| name == banned), "the simulator is built with {banned}");
    }
    assert!(!tree("fanal-client").iter().any(|name| name == "fanal-broker" || name == "fanal-core"));
    let bench = tree("fanal-bench");
    assert!(bench.iter().any(|name| name == "fanal-client"), "{bench:?}");
    for banned in ["fanal-broker", "fanal-core", "fanal-store", "fanal"] {
        assert!(!bench.iter().any(|name| name == banned), "the load generator is a client: {banned}");
    }
    let cli = tree("fanal");
    for used in ["fanal-broker", "fanal-client", "fanal-bench"] {
        assert!(cli.iter().any(|name| name == used), "cli → {used}");
    }
}

/// Fails where a source names one of the words outside of a comment.
fn assert_unnamed(files: Vec<PathBuf>, banned: &[&str]) {
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned {
                assert!(!code.contains(word), "{}:{}: {word}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_simulator_names_no_clock_no_thread_no_randomness_and_no_unordered_map() {
    let mut files = Vec::new();
    sources(&repository().join("tests/simulator/src"), &mut files);
    files.retain(|file| !file.ends_with("main.rs"));
    let banned =
        ["std::thread", "Instant", "SystemTime", "HashMap", "HashSet", "std::fs", "std::net", "rand::"];
    assert_unnamed(files, &banned);
}

#[test]
fn the_core_names_no_io_no_clock_no_thread_and_no_randomness() {
    let mut files = Vec::new();
    sources(&repository().join("broker/core/src"), &mut files);
    let banned = [
        "std::net",
        "std::fs",
        "std::io",
        "std::thread",
        "std::process",
        "std::env",
        "Instant",
        "SystemTime",
        "tokio",
        "quinn",
        "fanal_store",
        "rand::",
        "async fn",
        "println!",
        "eprintln!",
    ];
    assert_unnamed(files, &banned);
}
