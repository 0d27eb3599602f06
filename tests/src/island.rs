//! A network of its own: a namespace with nothing but loopback, where default ports are free.
//!
//! Invariants:
//! 1. The namespace lives as long as one process that waits on its stdin; that one ends with the test,
//!    however the test ends.
//! 2. Nothing in it reaches any other network.

use std::ffi::OsStr;
use std::process::Command;

use crate::process::Process;
use crate::tool::say_skipped;

/// See the module.
pub struct Island {
    /// Its end is the namespace's end.
    holder: Process,
    pid: String,
    is_root: bool,
}

impl Island {
    /// A new one; `None` where the system does not allow it, which is said for `test`.
    ///
    /// # Panics
    /// When it is not allowed under `CI`.
    pub fn new(test: &str) -> Option<Island> {
        let is_root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "bash", "-c", "ip link set lo up && echo $$ && exec cat"]);
        let holder = Process::start(&mut command);
        let Some(pid) = holder.stdout.find(|line| Some(line.to_owned())) else {
            let why = format!("no network namespace: {}", holder.finish().stderr);
            assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{test}: {why}");
            say_skipped(test, &why);
            return None;
        };
        Some(Island { holder, pid, is_root })
    }

    /// A shell command inside, as a person would type it. A single command keeps the process id.
    pub fn shell(&self, line: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--net"]);
        if !self.is_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["bash", "-c"]).arg(line);
        command
    }

    /// Ends it; what still runs inside keeps it until its own end.
    pub fn close(self) {
        self.holder.finish();
    }
}
