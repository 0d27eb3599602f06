//! What people read when something is wrong: what happened, where, what to do next, and the exit code.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::fs::OpenOptions;
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;

use fanal_tests::broker::{Broker, World, loopback};
use fanal_tests::cli::{self, command};
use fanal_tests::process::{Finished, Process};
use rustix::process::Signal;
use serde_json::{Value, json};

/// One wrong command: its arguments, how it ends, and what its message must hold.
type Case<'a> = (&'a [&'a str], i32, &'a [&'a str]);

/// Runs a case for people and for programs; results alone go to stdout, and nobody is sent colours.
fn check(world: &World, (args, code, words): Case<'_>) {
    let run = |json: bool| {
        let mut command = command(args);
        if json {
            command.arg("--json");
        }
        Process::start(command.current_dir(world.path("."))).finish()
    };
    let people = run(false);
    assert_eq!(people.code, Some(code), "{args:?}: {}", people.stderr);
    assert_eq!(people.stdout, [""; 0], "{args:?}");
    assert!(!people.stderr.contains('\u{1b}'), "{args:?}: {:?}", people.stderr);
    assert!(!people.stderr.contains("os error"), "{args:?}: {}", people.stderr);
    for word in words {
        assert!(people.stderr.contains(word), "{args:?}: {word:?} in {}", people.stderr);
    }
    let programs = run(true);
    assert_eq!((programs.code, programs.stdout.len()), (Some(code), 0), "{args:?}: {}", programs.stderr);
    let error = json_error(&programs);
    assert_eq!(error["exit"], code, "{args:?}: {error}");
    assert!(error["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{args:?}: {error}");
    assert_eq!(error["code"].is_u64(), code == 4, "{args:?}: {error}");
}

fn json_error(finished: &Finished) -> Value {
    let line = finished.stderr.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", finished.stderr));
    value["error"].clone()
}

#[test]
fn what_is_wrong_is_said_before_a_broker_is_asked() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.path(name), text).unwrap();
    write("file", "");
    write("half.json", "{\"addresses\": [");
    write("empty.json", "{\"addresses\": [], \"ca\": \"\", \"certificate\": \"\", \"key\": \"\"}");
    write("typo.toml", "name = \"a\"\nlissten = \"127.0.0.1:0\"\n");
    write("size.toml", "[limits]\nbody_bytes_max = \"3 parsecs\"\n");
    write("broken.toml", "name = \n");
    let cases: &[Case] = &[
        (&["publsh", "t"], 2, &["publsh", "publish"]),
        (&["subscribe", "t", "--durabel", "x"], 2, &["--durabel", "--durable"]),
        (&["subscribe"], 2, &["<FILTER>", "--help"]),
        (&["subscribe", "t", "--count", "0"], 2, &["at least 1"]),
        (&["subscribe", "t", "--output", "xml"], 2, &["text, json, payload"]),
        (&["status", "--timeout", "soon"], 2, &["as in 250ms, 90s"]),
        (&["status", "--color", "pink"], 2, &["auto, always, never"]),
        (&["status", "--data", "x", "--creds", "y"], 2, &["--data", "cannot be used with"]),
        (&["publish", "t", "x", "--ttl", "0s"], 2, &["at least 1ms"]),
        (&["publish", "t", "x", "--time", "noon"], 2, &["noon", "2013-01-01T10:00:00Z"]),
        (&["publish", "t", "-a", "id=1"], 2, &["--id"]),
        (&["publish", "t", "-a", "n=123456789012345678901"], 2, &["64 bits", "-a 'n="]),
        (&["publish", "--ndjson", "file", "--topic", "t/{a"], 2, &["t/{a", "not closed"]),
        (&["publish", "t", "--file", "nothing"], 1, &["nothing", "No such file", "check the path"]),
        (&["publish", "t", "--file", "."], 1, &["directory", "name a file"]),
        (&["publish", "--ndjson", "nothing", "--topic", "t"], 1, &["nothing", "check the path"]),
        (&["publish", "--ndjson", ".", "--topic", "t"], 1, &["directory", "JSON lines"]),
        (&["bench", "--rate", "5", "--window", "7"], 2, &["--rate", "cannot be used with"]),
        (&["bench", "--size", "3"], 2, &["--size", "16"]),
        (&["bench", "--subscribers", "0", "--class", "best-effort", "--creds", "file"], 1, &["file"]),
        (&["completions", "tcsh"], 2, &["bash", "zsh"]),
        (&["man", "publsh"], 2, &["publsh", "publish"]),
        (&["man", "--dir", "file/below"], 1, &["file/below"]),
        (&["status"], 1, &["no broker has run here", "fanal-data", "fanal serve", "--creds"]),
        (&["status", "--data", "elsewhere"], 1, &["elsewhere", "local.json"]),
        (&["status", "--creds", "half.json"], 1, &["half.json", "line 1", "ask the broker's operator"]),
        (&["status", "--creds", "empty.json"], 1, &["empty.json", "`addresses` is empty"]),
        (&["check-config", "--config", "nothing.toml"], 2, &["nothing.toml", "check-config --defaults"]),
        (&["serve", "--config", "typo.toml"], 2, &["typo.toml:2", "did you mean `listen`"]),
        (&["serve", "--config", "size.toml"], 2, &["size.toml:2", "body_bytes_max", "3 parsecs"]),
        (&["serve", "--config", "broken.toml"], 2, &["broken.toml:1"]),
        (&["serve", "--listen", "here"], 2, &["--listen", "here", "127.0.0.1:4600"]),
        (&["serve", "--name", "a b"], 2, &["--name", "a b", "letters"]),
        (&["serve", "--peer", "ewr"], 2, &["--peer", "NAME=HOST:PORT"]),
        (&["serve", "--listen", "192.0.2.1:1"], 1, &["192.0.2.1:1", "no such address", "--listen"]),
        (
            &["serve", "--data", "file", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
            1,
            &["data directory file", "a file is in the way", "--data"],
        ),
    ];
    for case in cases {
        check(&world, *case);
    }
    assert!(!world.path("fanal-data").exists(), "nothing was made");
}

/// Credentials of a broker with some members changed, as a file.
fn credentials(world: &World, broker: &Broker, name: &str, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(broker.data().join("local.json")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    change(&mut value);
    std::fs::write(world.path(name), value.to_string()).unwrap();
}

#[test]
fn what_stands_between_a_client_and_its_broker_is_named() {
    let (world, other_world) = (World::new(), World::new());
    let ewr = world.broker("ewr").start();
    let other = other_world.broker("other").start();
    let nobody = UdpSocket::bind(loopback(0)).unwrap().local_addr().unwrap().to_string();
    let silent = UdpSocket::bind(loopback(0)).unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let at = |address: &str| {
        let address = address.to_owned();
        move |value: &mut Value| value["addresses"] = json!([address])
    };
    credentials(&world, &ewr, "nobody.json", at(&nobody));
    credentials(&world, &ewr, "silent.json", at(&silent_address));
    credentials(&world, &ewr, "nowhere.json", at("nowhere.invalid:4600"));
    credentials(&world, &ewr, "other-broker.json", at(&other.listen().to_string()));
    credentials(&world, &ewr, "other-name.json", |value| value["broker"] = json!("jfk"));
    let (listen, foreign) = (ewr.listen().to_string(), other.listen().to_string());
    credentials(&other_world, &other, "foreign", |_| {});
    let of_other: Value =
        serde_json::from_str(&std::fs::read_to_string(other_world.path("foreign")).unwrap()).unwrap();
    credentials(&world, &ewr, "other-client.json", |value| {
        value["certificate"] = of_other["certificate"].clone();
        value["key"] = of_other["key"].clone();
    });
    credentials(&world, &ewr, "other-key.json", |value| value["key"] = of_other["key"].clone());

    let cases: &[Case] = &[
        (&["status", "--creds", "nobody.json"], 1, &[&nobody, "nothing listens", "fanal serve"]),
        (&["status", "--creds", "silent.json", "--timeout", "300ms"], 3, &[&silent_address, "no answer"]),
        (&["status", "--creds", "nowhere.json"], 1, &["nowhere.invalid:4600", "`addresses`"]),
        (&["status", "--creds", "other-broker.json"], 1, &[&foreign, "unknown authority", "fingerprint"]),
        (&["status", "--creds", "other-name.json"], 1, &[&listen, "fanal://broker/ewr", "jfk"]),
        (
            &["status", "--creds", "other-client.json"],
            4,
            &[&listen, "403", "unknown authority", "this broker's CA"],
        ),
        (&["status", "--creds", "other-key.json"], 1, &["our own certificate", "new credentials"]),
    ];
    for case in cases {
        check(&world, *case);
    }
}

#[test]
fn what_a_broker_refuses_is_said_with_its_place() {
    let world = World::new();
    let broker = world.broker("fanal-data").start();
    std::fs::write(world.path("big"), vec![b'x'; 2 << 20]).unwrap();
    std::fs::write(world.path("bad.ndjson"), "{\"a\":1}\n{\"a\":\n[1]\n\n{\"b\":2}\n{\"a\":1").unwrap();
    let cases: &[Case] = &[
        (&["subscribe", "a/#/b"], 4, &["400", "level 2", "\n  a/#/b\n    ^", "`+`"]),
        (&["subscribe", "a/b+/c"], 4, &["400", "\n  a/b+/c\n    ^"]),
        (&["subscribe", "a", "--except", "#/a"], 4, &["400", "\n  #/a\n  ^"]),
        (&["subscribe", "a", "--where", "n >"], 4, &["422", "1:4", "\n  n >\n     ^"]),
        (
            &["subscribe", "a", "--where", "a > 1 AND b = 2 OR c = 3"],
            4,
            &["422", "parentheses", "(a > 1 AND b = 2)"],
        ),
        (&["subscribe", "a", "--strict", "--where", "a BETWEEN 1 AND 2"], 4, &["422", "1:3", "BETWEEN"]),
        (&["subscribe", "a", "--strict", "--where", "NOSUCH(a)"], 4, &["422", "1:1", "NOSUCH"]),
        (&["publish", "a/+", "x"], 4, &["400", "level 2", "wildcard"]),
        (&["publish", "", "x"], 4, &["400", "empty", "orders/new"]),
        (&["publish", "$x", "x"], 4, &["403", "brokers' own"]),
        (&["publish", "t", "--file", "big"], 4, &["413", "2097", "1048576", "limit"]),
        (&["bench", "--size", "2000000", "--events", "1"], 4, &["413", "1048576"]),
        (&["subscriptions", "remove", "nobody"], 4, &["404", "nobody", "fanal subscriptions"]),
        (&["subscriptions", "update", "nobody", "a"], 4, &["404", "nobody"]),
        (&["subscribe", "a", "--timeout", "200ms"], 3, &["--timeout 200ms"]),
        (
            &["serve", "--data", "fanal-data", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
            1,
            &["in use by process", "stop that process"],
        ),
    ];
    for case in cases {
        check(&world, *case);
    }
    let data = broker.data_arg();
    let lines =
        cli::run(["publish", "--data", &data, "--ndjson", &path(&world, "bad.ndjson"), "--topic", "t/{a}"]);
    assert_eq!(lines.code, Some(4), "{}", lines.stderr);
    for words in [
        "line 2 refused with 400 malformed: not one JSON object: column 5: the line ends before",
        "line 3 refused",
        "line 4 refused with 400 malformed: an empty line",
        "line 5 refused with 400 malformed: the topic needs field `a`",
        "line 6 refused with 400 malformed: not one JSON object: column 6: the line ends before",
        "1 published, 5 refused",
    ] {
        assert!(lines.stderr.contains(words), "{words} in {}", lines.stderr);
    }
    let nothing = cli::run_with_stdin(["publish", "--data", &data, "--ndjson", "--topic", "t"], "");
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("0 published"), "{}", nothing.stderr);
}

fn path(world: &World, name: &str) -> String {
    world.path(name).to_string_lossy().into_owned()
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    for args in [&["status"][..], &["man"], &["completions", "bash"], &["check-config", "--defaults"]] {
        let mut command = command(args);
        let output = command
            .args(["--data", &broker.data_arg()])
            .stdout(full())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("standard output: No space left on device; make room"), "{args:?}: {stderr}");
    }
}

#[test]
fn two_signals_at_once_are_one_wish_to_end() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let mut subscriber = cli::start(["subscribe", "t", "--data", &broker.data_arg()]);
    assert!(subscriber.stderr.find(|line| line.contains("installed").then_some(())).is_some());
    subscriber.signal(Signal::TERM);
    subscriber.signal(Signal::INT);
    let finished = subscriber.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!finished.stderr.contains("second signal"), "{}", finished.stderr);
}

#[test]
fn a_start_that_cannot_listen_leaves_nothing_behind() {
    let world = World::new();
    let udp = UdpSocket::bind(loopback(0)).unwrap();
    let tcp = TcpListener::bind(loopback(0)).unwrap();
    let taken = [
        ("--listen", udp.local_addr().unwrap().to_string(), "--admin"),
        ("--admin", tcp.local_addr().unwrap().to_string(), "--listen"),
    ];
    for (flag, address, other) in taken {
        let data = path(&world, "data");
        let finished = cli::run(["serve", "--data", &data, flag, &address, other, "127.0.0.1:0"]);
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        for word in [&address, "another process uses this port", flag, "IP:PORT"] {
            assert!(finished.stderr.contains(word), "{word} in {}", finished.stderr);
        }
        assert!(!world.path("data").exists(), "{flag}");
    }
}
