//! The README's commands, run as they stand there, from top to bottom.
//!
//! They run in a network namespace of their own, so the default ports are free, in a new directory
//! with an empty home. What builds the binary is not run again: this test was built by it.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use fanal_tests::cli::{binary, repository};
use fanal_tests::flights::Flight;
use fanal_tests::http::Metrics;
use fanal_tests::island::Island;
use fanal_tests::papers::Paper;
use fanal_tests::process::{Finished, Process};
use fanal_tests::wait::until_blocking;
use rustix::process::Signal;
use serde_json::Value;

/// A reader with terminals.
struct Reader {
    island: Island,
    dir: tempfile::TempDir,
    /// What runs in other terminals, with the line that started it.
    terminals: Vec<(String, Process)>,
    /// Lines carried out.
    done: Vec<String>,
}

impl Reader {
    fn new(island: Island) -> Reader {
        let dir = tempfile::tempdir().unwrap();
        symlink(repository().join("cli"), dir.path().join("cli")).unwrap();
        Reader { island, dir, terminals: Vec::new(), done: Vec::new() }
    }

    fn process(&self, line: &str) -> Process {
        // `exec` where it is one command, so that a signal reaches it.
        let line = if line.contains('|') { line.to_owned() } else { format!("exec {line}") };
        let mut command = self.island.shell(line);
        let path = format!("{}:/usr/bin:/bin", binary().parent().unwrap().display());
        command.env_clear().env("PATH", path).env("HOME", self.dir.path().join("home"));
        command.current_dir(self.dir.path());
        Process::start(&mut command)
    }

    fn finish(&self, line: &str) -> Finished {
        let finished = self.process(line).finish();
        assert_eq!(finished.code, Some(0), "{line}\n{}", finished.stderr);
        finished
    }

    /// In a terminal of its own, until it says that it is ready.
    fn start(&mut self, line: &str) {
        let process = self.process(line);
        let is_ready = match line.starts_with("fanal serve") {
            true => process.stdout.find(|line| line.starts_with("ready name=").then_some(())),
            false => process.stderr.find(|line| line.contains("\"subscribed\"").then_some(())),
        };
        assert!(is_ready.is_some(), "not ready: {line}");
        self.terminals.push((line.to_owned(), process));
    }

    /// Ctrl-C in the terminal of a line.
    fn stop(&mut self, line: &str) -> Finished {
        if line.starts_with("fanal serve") {
            self.balance(line);
        }
        let at = self.terminals.iter().position(|(started, _)| started == line).unwrap();
        let (_, mut process) = self.terminals.remove(at);
        process.signal(Signal::INT);
        let finished = process.finish();
        assert_eq!(finished.code, Some(0), "{line}\n{}", finished.stderr);
        finished
    }

    /// A broker ends with a balanced ledger (docs/METRICS.md).
    fn balance(&self, serve: &str) {
        let admin = serve.split(" --admin ").nth(1).and_then(|rest| rest.split(' ').next());
        let page = format!("curl -s http://{}/metrics", admin.unwrap_or("127.0.0.1:4680"));
        until_blocking("a balanced ledger", || {
            let metrics = Metrics::read(&self.finish(&page).stdout.join("\n"));
            (metrics.has("fanal_routes_total") && metrics.unbalanced().is_empty()).then_some(())
        });
    }

    fn stop_all(&mut self) {
        while let Some((line, _)) = self.terminals.last() {
            let line = line.clone();
            self.stop(&line);
        }
    }

    fn carry_out(&mut self, line: &str) {
        match line.split_whitespace().take(2).collect::<Vec<_>>()[..] {
            ["fanal", "serve" | "subscribe"] => self.start(line),
            ["fanal", "publish"] => {
                self.finish(line);
            }
            ["fanal" | "curl", _] => {
                let shown = self.finish(line).stdout;
                assert!(!shown.is_empty(), "nothing to see: {line}");
            }
            ["cargo", "run"] => self.demo(line),
            ["cargo", "build"] => assert!(binary().is_file()),
            ["export", _] => assert!(line.contains("$PWD/target/release:"), "{line}"),
            ["tests/run"] => {
                let mode = repository().join(line).metadata().unwrap().permissions().mode();
                assert!(mode & 0o111 != 0, "{line} cannot be started");
            }
            _ => panic!("the README has a command that this test does not know: {line}"),
        }
        self.done.push(line.to_owned());
    }

    /// `cargo run … -- ARGS` runs the binary of the default member.
    fn demo(&self, line: &str) {
        let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("default-members = [\"cli\"]"));
        let (_, args) = line.split_once(" -- ").unwrap();
        self.finish(&format!("fanal {args}"));
    }

    /// Waits until a terminal shows a line with this text.
    fn shows(&self, command: &str, text: &str) {
        let (_, process) = self.terminals.iter().find(|(line, _)| line == command).unwrap();
        let found = process.stdout.find(|line| line.contains(text).then_some(()));
        assert!(found.is_some(), "{command} does not show {text}: {:?}", process.stdout.so_far());
    }

    fn line(&self, part: &str) -> String {
        self.done.iter().rev().find(|line| line.contains(part)).unwrap().clone()
    }

    /// What the first scene promises: the predicate, and a durable subscription away and back.
    fn look_at_one_broker(&mut self) {
        let filtered = self.line("--where 'amount > 100'");
        self.shows(&filtered, "lamp");
        let (billing, desk) = (self.line("--durable billing"), self.line("boston"));
        self.shows(&billing, "desk");
        self.stop(&billing);
        self.finish(&desk);
        self.start(&billing);
        self.shows(&billing, "desk");
        let shown = self.stop(&billing).stdout;
        assert_eq!(shown.len(), 1, "once: {shown:?}");
        let shown = self.stop(&filtered).stdout;
        assert!(!shown.iter().any(|line| line.contains("pen")), "{shown:?}");
    }

    /// What the second promises: exactly the late flights, and a mailbox that waits.
    fn look_at_two_brokers(&mut self) {
        let (late, publish, jfk) =
            (self.line("--durable late"), self.line("--ndjson"), self.line("--name jfk"));
        let expected = late_flights();
        assert!(expected.len() > 10);
        let last = expected.last().unwrap().clone();
        let is_last = |line: &str| data(line) == serde_json::from_str::<Value>(&last).unwrap();
        let wait = |reader: &Reader| {
            let (_, process) = reader.terminals.iter().find(|(line, _)| *line == late).unwrap();
            assert!(process.stdout.find(|line| is_last(line).then_some(())).is_some(), "the last flight");
        };
        wait(self);
        let shown = self.stop(&late).stdout;
        let expected: Vec<Value> = expected.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(shown.iter().map(|line| data(line)).collect::<Vec<_>>(), expected);
        self.stop(&jfk);
        self.finish(&publish);
        self.start(&jfk);
        self.start(&late);
        wait(self);
        let shown = self.stop(&late).stdout;
        assert_eq!(shown.iter().map(|line| data(line)).collect::<Vec<_>>(), expected);
    }
}

fn data(delivery: &str) -> Value {
    serde_json::from_str::<Value>(delivery).unwrap()["data"].clone()
}

/// The oracle: lines of the sample, by hand.
fn late_flights() -> Vec<String> {
    let sample = std::fs::read_to_string(repository().join("cli/data/flights-sample.ndjson")).unwrap();
    let flights = sample.lines().map(Flight::parse);
    let is_late = |flight: &Flight| {
        flight.topic.starts_with("flights/JFK/")
            && flight.value["dep_delay"].as_f64().is_some_and(|delay| delay > 60.0)
    };
    flights.filter(is_late).map(|flight| flight.line).collect()
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let Some(island) = Island::new("the_readmes_commands_do_what_it_says") else { return };
    let readme = Paper::read(Path::new("README.md"));
    let mut reader = Reader::new(island);
    let blocks =
        readme.blocks.iter().filter(|block| block.is_commands() && !block.body.text.trim().is_empty());
    let mut scenes = 0;
    for block in blocks {
        if block.body.text.contains("fanal serve") {
            if scenes == 1 {
                reader.look_at_one_broker();
            }
            reader.stop_all();
            scenes += 1;
        }
        block.body.text.lines().for_each(|line| reader.carry_out(line));
    }
    assert_eq!(scenes, 2);
    reader.look_at_two_brokers();
    reader.stop_all();
    assert!(reader.done.len() >= 15, "{:?}", reader.done);
    reader.island.close();
}
