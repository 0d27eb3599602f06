//! Programs that a test drives and that are not ours: Prometheus, a browser, a Python with packages.
//!
//! Invariants:
//! 1. `tests/run` installs them. Where one is missing all the same, the test says loudly that it is
//!    skipped; under `CI` it fails instead, since nobody would read it there.
//! 2. Nothing here downloads anything.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::cli::repository;

/// A program of the search path and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    program: &'static str,
    package: &'static str,
}

/// The headless browser.
pub const CHROMIUM: Tool = Tool { program: "chromium", package: "chromium" };
/// Drives the browser over HTTP (W3C WebDriver).
pub const CHROMEDRIVER: Tool = Tool { program: "chromedriver", package: "chromium-driver" };
/// The Prometheus server.
pub const PROMETHEUS: Tool = Tool { program: "prometheus", package: "prometheus" };
/// Checks metrics pages, configurations and rules.
pub const PROMTOOL: Tool = Tool { program: "promtool", package: "prometheus" };

/// Counts instructions.
pub const VALGRIND: Tool = Tool { program: "valgrind", package: "valgrind" };
/// Tells a program under valgrind when to count.
pub const VGDB: Tool = Tool { program: "vgdb", package: "valgrind" };

/// A JavaScript library that a test puts into a page.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    variable: &'static str,
    file: &'static str,
}

/// axe-core: rules of accessibility, checked in the page.
pub const AXE: Library = Library { variable: "FANAL_AXE", file: "test-axe/axe_playwright_python/axe.min.js" };

impl Library {
    /// Its text, from the file that the variable names or from where `tests/run` puts it; `None`
    /// when the check is to be left out, which was said.
    ///
    /// # Panics
    /// When it is missing under `CI`.
    pub fn read(self, test: &str) -> Option<String> {
        let path = env::var_os(self.variable).map_or_else(|| target().join(self.file), PathBuf::from);
        let why = || format!("{} is missing: tests/run gets it, or set {}", path.display(), self.variable);
        fs::read_to_string(&path).ok().or_else(|| {
            missing(test, &why());
            None
        })
    }
}

impl Tool {
    /// Its path; `None` when `test` is to return, which was said.
    ///
    /// # Panics
    /// When it is missing under `CI`.
    pub fn find(self, test: &str) -> Option<PathBuf> {
        let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .map(|directory| directory.join(self.program))
            .find(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file()));
        let Tool { program, package } = self;
        found.or_else(|| missing(test, &format!("{program} is not installed: apt-get install {package}")))
    }
}

/// The Python of `tests/run`, which has the packages of `tests/python/requirements.txt`; `None` when
/// `test` is to return, which was said. `FANAL_PYTHON` names another one.
///
/// # Panics
/// When it is missing under `CI`.
pub fn python(test: &str) -> Option<PathBuf> {
    let python =
        env::var_os("FANAL_PYTHON").map_or_else(|| target().join("test-python/bin/python"), PathBuf::from);
    let is_there = Path::new(&python).is_file();
    let why = || format!("{} is missing: tests/run makes it, or set FANAL_PYTHON", python.display());
    if is_there { Some(python) } else { missing(test, &why()) }
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), |set| repository().join(set))
}

fn missing(test: &str, why: &str) -> Option<PathBuf> {
    assert!(env::var_os("CI").as_deref().is_none_or(OsStr::is_empty), "{test}: {why}");
    say_skipped(test, why);
    None
}

/// Says that `test` is skipped, in the form that `tests/run` counts. Not by `eprintln!`, which the
/// test harness keeps to itself when the test passes.
pub(crate) fn say_skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}
