//! Help, completions and man pages as people use them: every example of the printed help is run as
//! it stands, in bash, against a broker; the bash script completes.
//!
//! Only three things of an example are changed: ports, since others may run on this machine; the
//! home directory; and how long a bench measures.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::cli::{self, binary};
use fanal_tests::process::{Finished, Process};
use fanal_tests::subscriber::CliSubscriber;
use rustix::process::Signal;

const FLIGHTS: &str = "{\"carrier\":\"AA\",\"origin\":\"JFK\",\"dest\":\"MIA\",\"dep_delay\":61}\n";

const TEN_FLIGHTS: &str = "for n in 1 2 3 4 5 6 7 8 9 10; do cat flights.ndjson; done | \
    fanal publish --ndjson --topic 'flights/{origin}/{dest}'";

/// Lines of the help below a heading, without its indentation; empty if there is none.
fn section(help: &Finished, heading: &str) -> Vec<String> {
    let mut lines = help.stdout.iter().skip_while(|line| *line != heading).skip(1);
    let mut out = Vec::new();
    while let Some(line) = lines.next().filter(|line| line.starts_with("  ")) {
        out.push(line[2..].to_owned());
    }
    out
}

/// Every command that the first help lists, and those below them.
fn commands() -> Vec<Vec<String>> {
    let mut out = vec![vec![]];
    let mut at = 0;
    while at < out.len() {
        let path: Vec<String> = out[at].clone();
        let help = cli::run(path.iter().map(String::as_str).chain(["--help"]));
        assert_eq!(help.code, Some(0), "{path:?}: {}", help.stderr);
        for heading in [
            "Brokers:",
            "Events:",
            "A broker from inside:",
            "A broker that does not run:",
            "Help:",
            "Commands:",
        ] {
            for line in section(&help, heading) {
                let name = line.split(' ').next().unwrap().to_owned();
                if name != "help" {
                    out.push(path.iter().cloned().chain([name]).collect());
                }
            }
        }
        at += 1;
    }
    out
}

/// Examples of a command: single commands of a shell, continued lines joined.
fn examples(path: &[String]) -> Vec<String> {
    let help = cli::run(path.iter().map(String::as_str).chain(["--help"]));
    let mut out = Vec::new();
    let mut is_continued = false;
    for line in section(&help, "Examples:").iter().filter_map(|line| line.strip_prefix("  ")) {
        match (is_continued, out.last_mut()) {
            (true, Some(last)) => *last = format!("{last}\n{line}"),
            _ => out.push(line.to_owned()),
        }
        is_continued = line.ends_with('\\');
    }
    out
}

/// A directory as a stranger has it, with a broker in ./fanal-data, one in ./ewr, and one that was
/// stopped in ./lga.
struct Place {
    world: World,
    _brokers: [Broker; 2],
}

impl Place {
    fn new() -> Place {
        let world = World::new();
        let brokers = [world.broker("fanal-data").start(), world.broker("ewr").start()];
        let mut stopped = world.broker("lga").start();
        drop(CliSubscriber::start(&stopped, &["#", "--durable", "billing", "--wait-for", "home"]));
        stopped.terminate();
        let dir = world.path(".");
        for name in ["bin", "home"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        symlink(binary(), dir.join("bin/fanal")).unwrap();
        // Where there is no `man`, its input is enough.
        let man = dir.join("bin/man");
        if !std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join("man").exists()) {
            std::fs::write(&man, "#!/bin/sh\ncat\n").unwrap();
            std::fs::set_permissions(&man, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(dir.join("flights.ndjson"), FLIGHTS).unwrap();
        std::fs::write(dir.join("cat.jpg"), [0xff, 0xd8]).unwrap();
        let place = Place { world, _brokers: brokers };
        let made = place.run("gzip -k flights.ndjson && mv flights.ndjson.gz flights.gz").finish();
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        place
    }

    fn run_example(&self, example: &str) -> Finished {
        // A command that replaces the shell gets the signal.
        let lasting = format!("exec {example}");
        if example.starts_with("fanal serve") {
            let dir = self.empty_directory();
            let mut serving = self.run_in(&dir, &lasting);
            assert!(
                serving.stdout.find(|line| line.starts_with("ready ").then_some(())).is_some(),
                "{example}"
            );
            serving.signal(Signal::TERM);
            return serving.finish();
        }
        if !example.starts_with("fanal subscribe ") {
            return self.run(example).finish();
        }
        let mut subscribing = self.run(&lasting);
        let installed = subscribing.stderr.find(|line| line.contains("\"installed\"").then_some(()));
        assert!(installed.is_some(), "{example}");
        if example.contains("--count") {
            assert_eq!(self.run(TEN_FLIGHTS).finish().code, Some(0));
        } else {
            subscribing.signal(Signal::INT);
        }
        subscribing.finish()
    }

    /// For a broker that makes its own data directory; with a configuration file.
    fn empty_directory(&self) -> PathBuf {
        let count = std::fs::read_dir(self.world.path(".")).unwrap().count();
        let dir = self.world.path(&format!("empty-{count}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("fanal.toml"), cli::run(["check-config", "--defaults"]).stdout.join("\n"))
            .unwrap();
        dir
    }

    fn run(&self, line: &str) -> Process {
        self.run_in(&self.world.path("."), line)
    }

    fn run_in(&self, dir: &Path, line: &str) -> Process {
        let home: PathBuf = self.world.path(".");
        let path = std::env::join_paths(
            std::iter::once(home.join("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", line]).current_dir(dir);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANAL_"))
        {
            command.env_remove(name);
        }
        command.env("PATH", path.unwrap()).env("HOME", home.join("home"));
        // For `fanal serve` without flags, where its port is taken by another test.
        command
            .env("FANAL_LISTEN", free_address().to_string())
            .env("FANAL_ADMIN", free_address().to_string());
        // Small segments are made sooner.
        command.env("FANAL_LIMITS_SEGMENT_BYTES", "4 MiB");
        Process::start(&mut command)
    }
}

/// The example with ports that are free, and short where it measures.
fn adapted(example: &str, ports: &[(&str, String)]) -> String {
    let mut out = example.to_owned();
    for (port, free) in ports {
        out = out.replace(&format!("127.0.0.1:{port}"), free);
    }
    if out.starts_with("fanal bench") {
        out = out.replace(" --seconds 10", "") + " --warm-up 0.1 --seconds 0.3";
    }
    out
}

#[test]
fn every_example_of_the_help_works_as_it_stands() {
    let place = Place::new();
    let ports: Vec<_> =
        ["4600", "4680", "4601", "4681"].iter().map(|port| (*port, free_address().to_string())).collect();
    let mut run = BTreeSet::new();
    for path in commands() {
        let examples = examples(&path);
        assert!(!examples.is_empty(), "{path:?} has no example");
        for example in examples {
            // tests/cli.rs and cli/tests/command.rs run just these.
            let is_elsewhere = ["fanal demo", "fanal demo --json"].contains(&example.as_str());
            if run.insert(example.clone()) && !is_elsewhere {
                let finished = place.run_example(&adapted(&example, &ports));
                assert_eq!(finished.code, Some(0), "{example}: {}", finished.stderr);
            }
        }
    }
    assert!(run.len() > 30, "{run:?}");
    let pages = std::fs::read_dir(place.world.path("home/.local/share/man/man1")).unwrap().count();
    assert!(pages > 15, "{pages}");
    assert!(place.world.path("home/.zfunc/_fanal").exists());
}

/// What bash offers after some words, of which the last one is begun.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let drive = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={last}; COMP_LINE=\"${{COMP_WORDS[*]}}\"; COMP_POINT=${{#COMP_LINE}}; \
         _fanal fanal \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" ")
    );
    let finished = Process::start(Command::new("bash").args(["--norc", "-c", &drive])).finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{drive}");
    finished.stdout
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let world = World::new();
    let script = world.path("fanal.bash");
    std::fs::write(&script, cli::run(["completions", "bash"]).stdout.join("\n")).unwrap();
    let syntax = Process::start(Command::new("bash").arg("-n").arg(&script)).finish();
    assert_eq!((syntax.code, syntax.stderr.as_str()), (Some(0), ""));
    let commands = completed(&script, &["fanal", ""]);
    for path in self::commands().iter().filter(|path| path.len() == 1) {
        assert!(commands.contains(&path[0]), "{path:?} in {commands:?}");
    }
    assert_eq!(completed(&script, &["fanal", "sub"]), ["subscribe", "subscriptions"]);
    assert_eq!(completed(&script, &["fanal", "publish", "--nd"]), ["--ndjson"]);
    assert_eq!(completed(&script, &["fanal", "subscriptions", "up"]), ["update"]);
    assert_eq!(completed(&script, &["fanal", "subscribe", "--output", ""]), ["text", "json", "payload"]);
    assert_eq!(completed(&script, &["fanal", "bench", "--class", "b"]), ["best-effort"]);
    // Elsewhere the script's form is checked where its shell is at hand, and not asked for.
    for shell in ["zsh", "fish"] {
        let path = world.path(shell);
        std::fs::write(&path, cli::run(["completions", shell]).stdout.join("\n")).unwrap();
        if let Ok(status) = Command::new(shell).arg("-n").arg(&path).status() {
            assert!(status.success(), "{shell}");
        }
    }
}

#[test]
fn colours_go_where_they_are_asked_for_and_never_into_json() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    // A table on stdout; the parser's and our own errors on stderr.
    let commands: [&[&str]; 3] = [&["sessions"], &["publsh"], &["subscriptions", "remove", "nobody"]];
    for args in commands {
        let coloured = |flags: &[&str], variables: &[(&str, &str)]| {
            let mut command = cli::command(args);
            command.args(["--data", &data]).args(flags).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
            let finished = Process::start(command.envs(variables.iter().copied())).finish();
            finished.stdout.iter().any(|line| line.contains('\u{1b}')) || finished.stderr.contains('\u{1b}')
        };
        assert!(!coloured(&[], &[]), "{args:?}: no terminal");
        assert!(coloured(&["--color", "always"], &[]), "{args:?}");
        assert!(coloured(&["--color=always"], &[("NO_COLOR", "1")]), "{args:?}: the flag is closer");
        assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]), "{args:?}");
        assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]), "{args:?}");
        assert!(!coloured(&["--json", "--color", "always"], &[]), "{args:?}");
    }
}
