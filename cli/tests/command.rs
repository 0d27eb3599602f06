//! The binary from outside, as far as no broker of another process is needed: exit codes,
//! messages, streams, and the demo.

#![expect(clippy::unwrap_used, reason = "a test that cannot run its command has failed")]

use std::io::Write;
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

/// Standard output, exit code and standard error of `fanal filter test` with something to read.
fn filter_test(args: &[&str], stdin: &str) -> (Vec<String>, Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["filter", "test"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout).lines().map(str::to_owned).collect(), output.status.code(), text(&output.stderr))
}

#[test]
fn a_filter_is_checked_without_a_broker() {
    let (lines, code, _) = filter_test(&["amount>100 and region=\"eu\""], "");
    assert_eq!((lines.join("\n").as_str(), code), ("valid: amount > 100 AND region = 'eu'", Some(0)));
    fails(
        &["filter", "test", "amount >"],
        2,
        &["refused at 1:9: expected a value", "  amount >\n          ^"],
    );
    fails(&["filter", "test", "a = 1", "--event", "none.json"], 1, &["none.json"]);
    fails(&["filter", "test", "a = 1", "--event", "-"], 1, &["no event in standard input"]);
    fails(&["filter", "test"], 2, &["EXPR"]);
    fails(&["filter", "test", "a = 1", "--json-lines"], 2, &["--json-lines"]);
}

#[test]
fn each_clause_says_what_it_gave_and_with_which_value() {
    let (lines, code, stderr) = filter_test(
        &["amount > 100 AND (region = 'eu' OR NOT gift)", "--event", "-"],
        "{\"amount\":12,\"gift\":\"no\"}",
    );
    assert_eq!(
        lines,
        [
            "event 1: no match",
            "CLAUSE             RESULT   DECIDES  VALUES",
            "AND                false    yes",
            "  amount > 100     false    yes      amount = 12",
            "  OR               unknown",
            "    region = 'eu'  unknown           region is missing",
            "    NOT            unknown",
            "      gift         unknown           gift = 'no' (string)",
        ]
    );
    assert_eq!((code, stderr.as_str()), (Some(1), "fanal: no match: the event\n"));
}

/// Read by two readers, a leap second was two instants.
#[test]
fn a_time_of_an_event_is_the_instant_that_a_filter_reads_from_the_same_text() {
    let event = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2016-12-31T23:59:60Z"}"#;
    for filter in [
        "time = TIMESTAMP('2016-12-31T23:59:60Z')",
        "time = TIMESTAMP('2017-01-01T00:00:00Z')",
        r#"{"exact":{"time":"2016-12-31T23:59:60Z"}}"#,
    ] {
        let (lines, code, stderr) = filter_test(&[filter, "--event", "-"], event);
        assert_eq!(code, Some(0), "{filter}: {lines:?} {stderr}");
    }
    let beyond = r#"{"time":"9999-12-31T23:59:59-01:00"}"#;
    let (_, code, stderr) = filter_test(&["EXISTS time", "--event", "-"], beyond);
    assert_ne!(code, Some(0), "{stderr}");
}

/// Each clause about a text of 1 MB printed all of it.
#[test]
fn long_values_are_cut_for_people_and_whole_for_programs() {
    let event = format!(r#"{{"s":"{}"}}"#, "é".repeat(5_000));
    let (lines, _, _) = filter_test(&["s = 'x' OR s LIKE 'y%'", "--event", "-"], &event);
    assert!(lines.iter().all(|line| line.chars().count() < 200), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("é'… (10,000 bytes)")), "{lines:?}");
    let (lines, _, _) = filter_test(&["s = 'x'", "--event", "-", "--json"], &event);
    assert!(lines.concat().contains(&"é".repeat(5_000)), "{lines:?}");
}

/// A broker derives an id where the body has none.
#[test]
fn an_event_without_an_id_has_the_one_that_a_broker_derives() {
    for (filter, expected) in [("EXISTS id", Some(0)), ("id IS NULL", Some(1))] {
        let (lines, code, _) = filter_test(&[filter, "--event", "-"], r#"{"a":1}"#);
        assert_eq!(code, expected, "{filter}: {lines:?}");
    }
}

#[test]
fn strict_mode_casts_and_names_its_errors() {
    let filter = ["amount > '100' OR gone = 1", "--strict", "--event", "-"];
    let (lines, code, _) = filter_test(&filter, "{\"amount\":12}");
    assert_eq!(
        lines,
        [
            "event 1: no match",
            "CLAUSE            RESULT            DECIDES  VALUES",
            "OR                missingAttribute  yes",
            "  amount > '100'  false                      amount = 12",
            "  gone = 1        missingAttribute  yes      gone is missing",
        ]
    );
    assert_eq!(code, Some(1));
    assert_eq!(filter_test(&filter, "{\"amount\":101}").1, Some(0));
    fails(&["filter", "test", "a BETWEEN 1 AND 2", "--strict"], 2, &["1:3"]);
}

#[test]
fn events_come_in_every_form_that_people_have() {
    let delivery = r#"{"id":"i","topic":"t/a","time":"2013-01-01T10:00:00Z","source":"/s","publisher":"p@f","sequence":7,"attributes":{"n":5},"content_type":null,"data":{"n":6},"redelivered":false}"#;
    let flat = r#"{"id":"i","time":"2013-01-01T10:00:00Z","source":"/s","n":5,"nested":{"n":6}}"#;
    let cloud = r#"{"specversion":"1.0","id":"i","source":"/s","type":"x","time":"2013-01-01T10:00:00Z","n":5,"data":"6"}"#;
    let all = "n = 5 AND id = 'i' AND source = '/s' AND time = TIMESTAMP('2013-01-01T10:00:00Z')";
    for (filter, event) in [
        (all, delivery),
        (all, flat),
        (all, cloud),
        ("topic = 't/a'", delivery),
        ("nested IS NULL", flat),
        ("type = 'x' AND NOT EXISTS data", cloud),
        ("n = 5", "{\"attributes\":{\"n\":5}}"),
        ("attributes IS NULL", "{\"attributes\":[5]}"),
        // Payloads: as JSON, as text, in Base64, and what is none.
        (r#"{"data":{"n":[{"numeric":[">",5]}]}}"#, delivery),
        ("data.n = 6", delivery),
        ("data.nested.n = 6 AND data.n = 5", flat),
        (
            "data.a[1].b = 2",
            r#"{"specversion":"1.0","id":"i","source":"/s","type":"x","data":{"a":[1,{"b":2}]}}"#,
        ),
        (
            "data.n = 6",
            r#"{"specversion":"1.0","id":"i","source":"/s","type":"x","data_base64":"eyJuIjo2fQ=="}"#,
        ),
        ("data.n = 6", r#"{"topic":"t","content_type":null,"data":"{\"n\":6}"}"#),
        ("data.n IS NULL", r#"{"topic":"t","content_type":"text/plain","data":"{\"n\":6}"}"#),
        ("data.n IS NULL", r#"{"specversion":"1.0","id":"i","source":"/s","type":"x","data":"{\"n\":6}"}"#),
        ("n = 5", "{\n  \"n\":\n    5\n}"),
    ] {
        let (lines, code, stderr) = filter_test(&[filter, "--event", "-"], event);
        assert_eq!(code, Some(0), "{filter} {event}: {lines:?} {stderr}");
    }
    let gap = r#"{"gap":{"kind":"exact","count":1,"reason":"slow_consumer","broker":null}}"#;
    let (lines, code, _) = filter_test(&["n = 5", "--event", "-"], &format!("{gap}\n{flat}\n"));
    assert_eq!((lines[0].as_str(), code), ("event 1, i: match", Some(0)));
}

#[test]
fn an_event_that_cannot_be_read_stops_none_behind_it() {
    let events = [
        "{\"n\":5}",
        "nonsense",
        "{\"topic\":\"a/#\"}",
        "{\"attributes\":{\"id\":\"i\"}}",
        "{\"n\":",
        "{\"n\":5}",
    ];
    let (lines, code, stderr) = filter_test(&["n = 5", "--event", "-"], &events.join("\n"));
    let headings: Vec<&String> = lines.iter().filter(|line| line.starts_with("event")).collect();
    assert_eq!(headings, ["event 1: match", "event 6: match"]);
    assert_eq!(code, Some(1));
    for told in [
        "event 2: not one JSON object",
        "event 3: its topic",
        "event 4: attributes: `id`",
        "event 5: not one",
        "cannot be read: 4 of 6 events",
    ] {
        assert!(stderr.contains(told), "{told} in {stderr}");
    }
}

#[test]
fn the_topic_of_a_subscription_is_tried_as_well() {
    let event = "{\"topic\":\"orders/us/x\",\"attributes\":{}}";
    let args = ["TRUE", "--event", "-", "--filter", "orders/#", "--except", "+/us/#"];
    let (lines, code, _) = filter_test(&args, event);
    assert_eq!(code, Some(1));
    let excluded = "except +/us/#          true    yes      topic = 'orders/us/x'";
    assert!(lines.iter().any(|line| line == excluded), "{lines:?}");
    assert_eq!(filter_test(&args[..5], event).1, Some(0));
    assert_eq!(filter_test(&args[..5], "{}").1, Some(1), "an event without a topic");
    fails(&["filter", "test", "TRUE", "--event", "-", "--filter", "a/#/b"], 2, &["a/#/b", "^"]);
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
