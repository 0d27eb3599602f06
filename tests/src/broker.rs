//! Brokers as processes: `fanal serve` on loopback with directories of their own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use fanal_client::{Client, Credentials};
use rustix::process::Signal;

use crate::cli;
use crate::http::balanced_blocking;
use crate::process::{Finished, Process};
use crate::wait::within;

/// A directory with one CA, in which the brokers of a test live.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A new, empty one.
    ///
    /// # Panics
    /// When there is no place for it.
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> World {
        World { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A place in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The CA's directory.
    pub fn ca(&self) -> PathBuf {
        self.path("ca")
    }

    /// A broker in the making: its data directory has its name, its ports are free ones.
    pub fn broker(&self, name: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            data: self.path(name),
            ca: self.ca(),
            listen: loopback(0),
            admin: loopback(0),
            peers: Vec::new(),
            config: None,
        }
    }
}

/// A broker in the making.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    data: PathBuf,
    ca: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    peers: Vec<(String, SocketAddr)>,
    config: Option<PathBuf>,
}

impl Spec {
    /// Dials a peer.
    pub fn peer(mut self, name: &str, address: SocketAddr) -> Spec {
        self.peers.push((name.to_owned(), address));
        self
    }

    /// Listens there.
    pub fn listen(mut self, address: SocketAddr) -> Spec {
        self.listen = address;
        self
    }

    /// Answers admin HTTP there.
    pub fn admin(mut self, address: SocketAddr) -> Spec {
        self.admin = address;
        self
    }

    /// Another data directory.
    pub fn data(mut self, data: PathBuf) -> Spec {
        self.data = data;
        self
    }

    /// Another CA.
    pub fn ca(mut self, ca: PathBuf) -> Spec {
        self.ca = ca;
        self
    }

    /// A configuration file beside the flags.
    pub fn config(mut self, file: PathBuf) -> Spec {
        self.config = Some(file);
        self
    }

    fn args(&self) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let mut args = vec!["serve".to_owned()];
        let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
        flag("--name", self.name.clone());
        flag("--data", path(&self.data));
        flag("--ca", path(&self.ca));
        flag("--listen", self.listen.to_string());
        flag("--admin", self.admin.to_string());
        if let Some(config) = &self.config {
            flag("--config", path(config));
        }
        for (name, address) in &self.peers {
            flag("--peer", format!("{name}={address}"));
        }
        args
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(self) -> Broker {
        let name = self.name.clone();
        self.attempt().unwrap_or_else(|ended| panic!("broker {name} is not ready; stderr:\n{}", ended.stderr))
    }

    /// Starts it and waits until it is ready, or has given up.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// When it does neither.
    pub fn attempt(self) -> Result<Broker, Finished> {
        let process = cli::start(self.args());
        let Some(ready) = process.stdout.find(Ready::parse) else {
            return Err(process.finish());
        };
        assert_eq!(ready.name, self.name);
        Ok(Broker { spec: self, process, ready, is_paused: false, excuse: None })
    }

    /// Starts one that must not become ready; how it ended.
    pub fn fail(self) -> Finished {
        cli::run(self.args())
    }
}

/// The line that a broker prints when it is ready.
#[derive(Debug, Clone)]
struct Ready {
    name: String,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Ready {
    fn parse(line: &str) -> Option<Ready> {
        let mut words = line.strip_prefix("ready ")?.split(' ');
        let mut word = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let (name, listen, admin) = (word("name")?, word("listen")?, word("admin")?);
        Some(Ready { name, listen: listen.parse().ok()?, admin: admin.parse().ok()? })
    }
}

/// A running broker. When dropped it must balance its ledger, and is killed then.
pub struct Broker {
    spec: Spec,
    /// Its process.
    pub process: Process,
    ready: Ready,
    is_paused: bool,
    /// Why its ledger need not balance.
    excuse: Option<&'static str>,
}

impl Broker {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.ready.name
    }

    /// Where clients and peers reach it.
    pub fn listen(&self) -> SocketAddr {
        self.ready.listen
    }

    /// Where admin HTTP answers.
    pub fn admin(&self) -> SocketAddr {
        self.ready.admin
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.spec.data
    }

    /// Its data directory as an argument.
    pub fn data_arg(&self) -> String {
        self.spec.data.to_string_lossy().into_owned()
    }

    /// The CA's directory.
    pub fn ca(&self) -> &Path {
        &self.spec.ca
    }

    /// Credentials of this machine.
    ///
    /// # Panics
    /// When the broker has not written them.
    pub fn credentials(&self) -> Credentials {
        Credentials::from_data_dir(&self.spec.data).expect("local.json")
    }

    /// A client of the library, connected.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn client(&self) -> Client {
        within("a connection", Client::connect(&self.credentials())).await.expect("a connection")
    }

    /// SIGKILL; waits for the end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; waits for the end, which must be exit code 0. The ledger must balance before.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn terminate(&mut self) {
        self.check_ledger();
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "exit after SIGTERM");
    }

    /// SIGSTOP; waits until it has stopped.
    pub fn pause(&mut self) {
        self.process.pause();
        self.is_paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
        self.is_paused = false;
    }

    /// Starts it again after its end: same data, same QUIC port, so that peers and clients find it.
    pub fn restart(&mut self) {
        *self = self.again().start();
    }

    /// To start it again after its end, as [`Broker::restart`] does.
    ///
    /// # Panics
    /// When it runs.
    pub fn again(&mut self) -> Spec {
        assert!(self.process.has_ended(), "restart of a broker that runs");
        Spec { listen: self.ready.listen, ..self.spec.clone() }
    }

    /// SIGKILL, and started again.
    pub fn crash(&mut self) {
        self.kill();
        self.restart();
    }

    /// The ledger of this process need not balance when the test ends, for this reason.
    pub fn excuse_ledger(&mut self, reason: &'static str) {
        self.excuse = Some(reason);
    }

    /// The ledger (docs/METRICS.md), at a process that can be asked. Holds its thread.
    fn check_ledger(&mut self) {
        if self.process.has_ended() || self.is_paused {
            return;
        }
        match self.excuse {
            Some(reason) => eprintln!("the ledger of {} is not looked at: {reason}", self.name()),
            None => drop(balanced_blocking(self)),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_ledger();
        }
    }
}

/// A loopback address with a port.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A loopback address that is free for UDP and TCP, below the ports that the system gives out by
/// itself, for brokers whose address must be known before they start.
///
/// # Panics
/// When none is free.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at once begin at different places.
    let begin = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = loopback(FIRST + (begin as u32 + u32::from(step)).rem_euclid(u32::from(COUNT)) as u16);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port")
}
