//! The second client: Python, written from PROTOCOL.md alone, against real brokers.
//!
//! `tests/python/conformance.py` decides what passes. Here brokers are started for it, and killed and
//! started again when it asks for that; and nothing may be left out unseen: the number of its checks
//! is written down below.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command};

use fanal_tests::broker::{Broker, World};
use fanal_tests::cli::{binary, repository};
use fanal_tests::process::Process;
use fanal_tests::tool;

/// Checks of `conformance.py`. One that is added or removed is counted here too.
const CHECKS: usize = 110;

/// Of `ewr`: small, so that limits are reached soon.
const HOME_LIMITS: &str = "[limits]
body_bytes_max = 65536
channels_per_connection = 64
live_buffer_bytes = 65536
";
/// Of `lga`: a store that is soon full.
const SMALL_LIMITS: &str = "[limits]
body_bytes_max = 262144
segment_bytes = 1048576
store_bytes = 16777216
mailbox_bytes = 1099511627776
give_way_percent = 100
";

/// What the program knows as `home`, its linked `peer`, and `small`, which is alone.
struct Brokers {
    home: Broker,
    peer: Broker,
    small: Broker,
}

impl Brokers {
    fn start(world: &World) -> Brokers {
        let configured = |name: &str, limits: &str| {
            let file = world.path(&format!("{name}.toml"));
            std::fs::write(&file, limits).unwrap();
            world.broker(name).config(file)
        };
        let home = configured("ewr", HOME_LIMITS).start();
        let peer = world.broker("jfk").peer("ewr", home.listen()).start();
        Brokers { home, peer, small: configured("lga", SMALL_LIMITS).start() }
    }

    /// Carries out one line `want ACTION BROKER`.
    fn carry_out(&mut self, wanted: &str) {
        let (action, name) = wanted.split_once(' ').unwrap();
        let broker = match name {
            "home" => &mut self.home,
            "peer" => &mut self.peer,
            _ => panic!("no broker is called {name}"),
        };
        match action {
            "crash" => broker.crash(),
            "restart" => {
                broker.terminate();
                broker.restart();
            }
            _ => panic!("{action} is not known"),
        }
    }
}

fn conformance(python: &Path, brokers: &Brokers) -> Process {
    let mut command = Command::new(python);
    command.arg(repository().join("tests/python/conformance.py"));
    for (flag, broker) in [("--home", &brokers.home), ("--peer", &brokers.peer), ("--small", &brokers.small)]
    {
        command.arg(flag).arg(broker.data());
    }
    command.arg("--ca").arg(brokers.home.ca()).arg("--fanal").arg(binary());
    // No byte code beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    // Commands that it starts are untouched by variables of the surroundings.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANAL_")) {
        command.env_remove(name);
    }
    Process::start(&mut command)
}

/// Answers what the program asks for until it has said everything.
fn drive(process: &Process, mut stdin: ChildStdin, brokers: &mut Brokers) {
    let mut done = 0;
    loop {
        let mut seen = 0;
        let wanted = process.stdout.find(|line| {
            let wanted = line.strip_prefix("want ")?;
            seen += 1;
            (seen > done).then(|| wanted.to_owned())
        });
        let Some(wanted) = wanted else { return };
        brokers.carry_out(&wanted);
        done += 1;
        stdin.write_all(b"done\n").unwrap();
    }
}

#[test]
fn a_client_written_from_the_protocol_page_alone() {
    let Some(python) = tool::python("a_client_written_from_the_protocol_page_alone") else { return };
    let world = World::new();
    let mut brokers = Brokers::start(&world);
    let mut process = conformance(&python, &brokers);
    let stdin = process.take_stdin().unwrap();
    drive(&process, stdin, &mut brokers);
    let finished = process.finish();
    let said = finished.stdout.join("\n");
    let passed = finished.stdout.iter().filter(|line| line.starts_with("ok ")).count();
    let failed = finished.stdout.iter().filter(|line| line.starts_with("FAILED ")).count();
    assert_eq!((finished.code, failed), (Some(0), 0), "{said}\n{}", finished.stderr);
    assert_eq!(passed, CHECKS, "checks were added or left out:\n{said}");
}
