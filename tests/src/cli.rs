//! The `fanal` binary: where it is, and commands with a bound.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::{Finished, Process};

/// The binary under test: `FANAL_BIN`, or the one in the target directory that this test was built
/// into; built if it is not there.
///
/// # Panics
/// When there is none and it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("FANAL_BIN") {
        Some(path) => PathBuf::from(path),
        None => built(),
    })
}

fn built() -> PathBuf {
    // target/PROFILE/deps/TEST → target/PROFILE/fanal
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(Path::parent).expect("a target directory above the test");
    let path = profile.join("fanal");
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "fanal", "--bin", "fanal"]).current_dir(repository());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.env("CARGO_TARGET_DIR", profile.parent().expect("a target directory"));
        let status = build.status().expect("cargo can be started");
        assert!(status.success() && path.exists(), "cannot build {}", path.display());
    }
    path
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Whether `tests/run --long` asked for more.
pub fn is_long() -> bool {
    std::env::var_os("FANAL_LONG").is_some_and(|value| value == "1")
}

/// A command of the binary, untouched by variables of the surroundings but the mistake that `tests/mutants`
/// asks of it.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANAL_") && name != "FANAL_MUTANT" {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// Starts a command and lets it run.
pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Process {
    Process::start(&mut command(args))
}

/// Runs a command to its end.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Finished {
    start(args).finish()
}

/// Runs a command to its end with something on its stdin.
pub fn run_with_stdin<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    stdin: impl Into<Vec<u8>>,
) -> Finished {
    let mut process = start(args);
    process.feed(stdin.into());
    process.finish()
}
