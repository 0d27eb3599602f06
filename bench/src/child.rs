//! The broker in a child process, and its CPU time and memory from /proc.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use fanal_broker::{Broker, Config};
use fanal_client::Credentials;

/// What goes wrong in a bench is told and ends it.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Clock ticks per second in /proc; fixed at 100 on Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// The child's side: a broker on ports of the system's choice until standard input ends.
pub(crate) async fn run_broker(data: PathBuf) -> Outcome<()> {
    let mut config = Config::new("bench", &data);
    config.listen.set_port(0);
    config.admin.set_port(0);
    let broker = Broker::start(config).await?;
    println!("{}", broker.local_json().display());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    broker.shutdown().await;
    Ok(())
}

/// The parent's side.
pub(crate) struct BrokerChild {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) credentials: Credentials,
    _data: tempfile::TempDir,
}

impl BrokerChild {
    /// Starts a broker and waits until it is ready.
    pub(crate) fn start() -> Outcome<Self> {
        let data = tempfile::tempdir_in(".")?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("broker")
            .arg(data.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let credentials = Credentials::from_file(line.trim())?;
        Ok(BrokerChild { stdin: child.stdin.take(), child, credentials, _data: data })
    }

    /// User and system CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace().collect();
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS_PER_SECOND)
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> Outcome<f64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: f64 = statm.split_whitespace().nth(1).ok_or("no statm")?.parse()?;
        Ok(pages * 4096.0 / f64::from(1 << 20))
    }
}

impl Drop for BrokerChild {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if self.child.wait().is_err() {
            let _ = self.child.kill();
        }
    }
}
