//! The broker in a child process, `fanal serve` on ports of the system's choice.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fanal_bench::usage;
use fanal_client::Credentials;
use rustix::process::{Pid, Signal, kill_process};

/// What goes wrong in a bench is told and ends it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The broker's program: as told, or beside this one.
pub(crate) fn binary(told: Option<PathBuf>) -> Outcome<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("fanal");
    let path = told.unwrap_or(beside);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!(
            "{} is not there: build it (`cargo build --release`), or name it with --fanal",
            path.display()
        )
        .into()),
    }
}

/// A broker that runs until it is dropped.
pub(crate) struct BrokerChild {
    child: Child,
    pub(crate) credentials: Credentials,
    data: tempfile::TempDir,
}

impl BrokerChild {
    /// Starts a broker with its data in a directory of its own here, and waits until it is ready.
    pub(crate) fn start(fanal: &Path) -> Outcome<Self> {
        BrokerChild::start_in(fanal, Path::new("."))
    }

    /// As [`BrokerChild::start`], with its data in a directory of its own in `dir`.
    pub(crate) fn start_in(fanal: &Path, dir: &Path) -> Outcome<Self> {
        let data = tempfile::tempdir_in(dir)?;
        let (child, credentials) = serve(fanal, data.path())?;
        Ok(BrokerChild { child, credentials, data })
    }

    /// Stops the process and starts another with the same data; waits until it is ready.
    pub(crate) fn restart(&mut self, fanal: &Path) -> Outcome<()> {
        self.stop()?;
        (self.child, self.credentials) = serve(fanal, self.data.path())?;
        Ok(())
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    fn stop(&mut self) -> std::io::Result<()> {
        // It has not been waited for, so that its id is still its own.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().map(drop)
    }

    /// User and system CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Outcome<f64> {
        Ok(usage::cpu_seconds(&self.child.id().to_string()).ok_or("no CPU time in /proc")?)
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> Outcome<f64> {
        Ok(usage::resident_mib(&self.child.id().to_string()).ok_or("no memory in /proc")?)
    }
}

impl Drop for BrokerChild {
    fn drop(&mut self) {
        // Where waiting fails there is nothing more to be done.
        let _ = self.stop();
    }
}

fn serve(fanal: &Path, data: &Path) -> Outcome<(Child, Credentials)> {
    let mut child = Command::new(fanal)
        .args(["serve", "--name", "bench", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("FANAL_LOG", std::env::var_os("FANAL_LOG").unwrap_or_else(|| "warn".into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = String::new();
    BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut ready)?;
    match Credentials::from_data_dir(data) {
        Ok(credentials) if ready.starts_with("ready ") => Ok((child, credentials)),
        _ => {
            child.kill()?;
            child.wait()?;
            Err("the broker does not become ready".into())
        }
    }
}
