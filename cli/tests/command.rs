//! The binary from outside, as far as no broker of another process is needed: exit codes,
//! messages, streams, and the demo.

#![expect(clippy::unwrap_used, reason = "a test that cannot run its command has failed")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn fanal(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(args)
        .current_dir(dir)
        .env_remove("FANAL_CREDS")
        .env_remove("FANAL_DATA")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn fails(args: &[&str], code: i32, expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let output = fanal(dir.path(), args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}: results only on stdout");
    for text in expected {
        assert!(stderr.contains(text), "{args:?}: `{text}` in: {stderr}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_a_hint() {
    fails(&["subscribe", "a", "--durabel", "x"], 2, &["--durable"]);
    fails(&["publsh", "a"], 2, &["publish"]);
    fails(&["status", "--timeout", "5"], 2, &["as in 250ms"]);
    fails(&["publish", "t", "-a", "n"], 2, &["NAME=VALUE"]);
    fails(&["publish", "--ndjson", "--topic", "a/{b"], 2, &["not closed"]);
    fails(&["serve", "--peer", "ewr"], 2, &["NAME=HOST:PORT"]);
    fails(&["serve", "--config", "no.toml"], 2, &["no.toml", "check-config --defaults"]);
}

#[test]
fn without_a_broker_the_message_says_how_to_get_one() {
    fails(&["status"], 1, &["no broker has run here", "fanal serve", "--creds"]);
    fails(&["status", "--data", "elsewhere"], 1, &["elsewhere"]);
    fails(&["status", "--creds", "none.json"], 1, &["none.json"]);
    fails(&["publish", "--ndjson", "none.ndjson", "--topic", "t"], 1, &["none.ndjson"]);
    fails(&["status", "--json"], 1, &[r#"{"error":{"exit":1,"code":null,"name":null,"reason":"no broker"#]);
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("fanal.toml"), "name = \"x\"\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let output = fanal(dir.path(), &["check-config", "--config", "fanal.toml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("fanal.toml:2: unknown key `lissten`: did you mean `listen`?"), "{stderr}");
}

#[test]
fn the_default_file_is_a_valid_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let defaults = fanal(dir.path(), &["check-config", "--defaults"]);
    std::fs::write(dir.path().join("fanal.toml"), &defaults.stdout).unwrap();
    let output = fanal(dir.path(), &["check-config", "--config", "fanal.toml", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let explained: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explained["ok"], true);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "checking makes no files");
}

#[test]
fn the_demo_delivers_what_a_plain_pass_over_the_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let output = fanal(dir.path(), &["demo", "--json", "--timeout", "60s"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["equal"], true, "{report}");
    let subscriptions = report["subscriptions"].as_array().unwrap();
    assert!(subscriptions.len() >= 12);
    assert!(subscriptions.iter().all(|row| row["got"].as_u64() > Some(0)), "{report}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
}
