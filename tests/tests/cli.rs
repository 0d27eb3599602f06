//! The command line as its users meet it: two brokers as in the README, exit codes, pipes,
//! receipts, errors that say what to do.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::process::{Command, Stdio};

use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::cli::{self, command};
use fanal_tests::http;
use fanal_tests::process::{Finished, Process};
use fanal_tests::subscriber::CliSubscriber;
use fanal_tests::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};

const FLIGHTS: &str = r#"{"time":"2013-01-01T10:00:00Z","carrier":"UA","flight":1545,"origin":"EWR","dest":"IAH","dep_delay":70}
{"time":"2013-01-01T10:00:00Z","carrier":"AA","flight":1141,"origin":"JFK","dest":"MIA","dep_delay":61}
{"time":"2013-01-01T10:00:00Z","carrier":"B6","flight":725,"origin":"JFK","dest":"BQN","dep_delay":-1}
{"time":"2013-01-01T11:00:00Z","carrier":"B6","flight":1806,"origin":"JFK","dest":"BOS","cancelled":true}
{"time":"2013-01-01T11:00:00Z","carrier":"B6","flight":371,"origin":"JFK","dest":"FLL","dep_delay":100.5}
"#;

fn lines(finished: &Finished) -> Vec<Value> {
    finished.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Arguments for a broker's clients.
fn with<'a>(command: &'a str, data: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![command, "--data", data];
    args.extend(rest);
    args
}

#[test]
fn two_brokers_on_one_machine_as_the_readme_has_them() {
    let world = World::new();
    let dir = world.path(".");
    let [ewr, admin_ewr, jfk, admin_jfk] = [(); 4].map(|()| free_address().to_string());
    let peer = format!("ewr={ewr}");
    let inside = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(&dir);
        Process::start(&mut command)
    };
    let ready = |args: &[&str]| {
        let process = inside(args);
        assert!(process.stdout.find(|line| line.starts_with("ready name=").then_some(())).is_some());
        process
    };
    std::fs::write(dir.join("flights.ndjson"), FLIGHTS).unwrap();
    let common = ["--ca", "ca"];
    let _ewr = ready(
        &[
            &["serve", "--name", "ewr", "--data", "ewr"],
            &common[..],
            &["--listen", &ewr, "--admin", &admin_ewr],
        ]
        .concat(),
    );
    let jfk_args = [
        "serve", "--name", "jfk", "--data", "jfk", "--ca", "ca", "--listen", &jfk, "--admin", &admin_jfk,
        "--peer", &peer,
    ];
    let _jfk = ready(&jfk_args);
    let subscribe = [
        "subscribe",
        "--data",
        "jfk",
        "flights/JFK/+",
        "--where",
        "dep_delay > 60",
        "--durable",
        "late",
        "--output",
        "json",
    ];
    let late = inside(&[&subscribe[..], &["--count", "2"]].concat());
    let receipt = late.stderr.find(|line| serde_json::from_str::<Value>(line).ok()).unwrap();
    assert_eq!(receipt, json!({"subscribed": "flights/JFK/+", "installed": ["jfk", "ewr"], "pending": []}));

    let publish =
        ["publish", "--data", "ewr", "--ndjson", "flights.ndjson", "--topic", "flights/{origin}/{dest}"];
    let published = inside(&publish).finish();
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let late = late.finish();
    assert_eq!(late.code, Some(0), "{}", late.stderr);
    let got = lines(&late);
    let flights: Vec<Value> = FLIGHTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(got.iter().map(|got| &got["data"]).collect::<Vec<_>>(), [&flights[1], &flights[4]]);
    assert_eq!(got[0]["topic"], "flights/JFK/MIA");
    assert_eq!(got[0]["time"], "2013-01-01T10:00:00Z");
    assert_eq!(
        got[0]["attributes"],
        json!({"carrier": "AA", "flight": 1141, "origin": "JFK", "dest": "MIA", "dep_delay": 61})
    );
    assert_eq!((&got[0]["redelivered"], &got[0]["sequence"]), (&json!(false), &json!(2)));
    assert_eq!(got[0]["content_type"], "application/json");
    assert!(got[0]["publisher"].as_str().unwrap().starts_with("admin@"), "{}", got[0]);
    assert!(got[0]["id"].as_str().is_some_and(|id| id.ends_with(":2")), "{}", got[0]);
}

#[test]
fn without_flags_a_broker_and_its_clients_find_each_other() {
    let world = World::new();
    let dir = world.path(".");
    let inside = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(&dir);
        Process::start(&mut command)
    };
    // Other ports than the defaults, which this machine may use.
    let broker = inside(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert!(broker.stdout.find(|line| line.starts_with("ready ").then_some(())).is_some());
    let published = inside(&["publish", "orders/eu", "hello", "-a", "n=1"]).finish();
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert!(published.stdout[0].starts_with("200 durable"), "{:?}", published.stdout);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.join("fanal-data/local.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "it holds a key");
}

#[test]
fn exit_codes_say_what_kind_of_end_it_was() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let (data, nowhere) = (broker.data_arg(), world.path("nowhere").to_string_lossy().into_owned());
    let cases: [(Vec<&str>, i32, &[&str]); 14] = [
        (vec!["status", "--data", &nowhere], 1, &["local.json", "fanal serve", "--data"]),
        (vec!["publish", "--creds", &nowhere, "t", "x"], 1, &["nowhere"]),
        (with("publish", &data, &["--ndjson", &nowhere, "--topic", "t"]), 1, &["nowhere"]),
        (with("subscribe", &data, &["t/#", "--wher", "a = 1"]), 2, &["--wher", "--where"]),
        (vec!["publsh", "t"], 2, &["publish"]),
        (with("subscribe", &data, &["t/#", "--timeout", "5x"]), 2, &["5x", "90s"]),
        (with("subscribe", &data, &["t/#", "--count", "0"]), 2, &["--count"]),
        (with("publish", &data, &["--ndjson", "-"]), 2, &["--topic"]),
        (with("subscribe", &data, &["t/#", "--timeout", "300ms"]), 3, &["--timeout"]),
        (with("subscribe", &data, &["t/#", "--where", "a >"]), 4, &["422", "1:4"]),
        (with("subscribe", &data, &["t/#/x"]), 4, &["400", "#"]),
        (with("publish", &data, &["t/+", "x"]), 4, &["400", "t/+"]),
        (with("publish", &data, &["t", "x", "-a", "time=5"]), 2, &["`time`", "--time"]),
        (with("subscriptions", &data, &["remove", "nobody"]), 4, &["404", "nobody"]),
    ];
    for (args, code, words) in cases {
        let finished = cli::run(&args);
        assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, [""; 0], "{args:?}: results alone go to stdout");
        for word in words {
            assert!(finished.stderr.contains(word), "{args:?}: {:?} lacks {word:?}", finished.stderr);
        }
    }
}

#[test]
fn errors_are_json_for_programs() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    let finished = cli::run(with("subscribe", &data, &["t/#", "--where", "a >", "--json"]));
    let error: Value = serde_json::from_str(finished.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&error["error"]["exit"], &error["error"]["code"]), (&json!(4), &json!(422)));
    assert_eq!(error["error"]["name"], "filter_refused");
}

#[test]
fn a_signal_ends_a_subscriber_well_and_its_acks_are_kept() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    for signal in [Signal::TERM, Signal::INT] {
        let mut subscriber = CliSubscriber::start(&broker, &["t/#", "--durable", "orders"]);
        let published = cli::run(with("publish", &data, &["t/a", "one"]));
        assert_eq!(published.code, Some(0), "{}", published.stderr);
        assert!(subscriber.process.stdout.find(|line| line.contains("one").then_some(())).is_some());
        subscriber.process.signal(signal);
        assert_eq!(subscriber.deliveries().len(), 1, "what was acked before does not come again");
    }
    let mut live = CliSubscriber::start(&broker, &["t/#"]);
    live.process.signal(Signal::INT);
    assert_eq!(live.deliveries(), [Value::Null; 0]);
}

#[test]
fn a_subscriber_that_is_killed_loses_nothing() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    let mut subscriber = CliSubscriber::start(&broker, &["t/#", "--durable", "orders"]);
    subscriber.process.kill();
    let numbers: String = (0..1000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let published = cli::run_with_stdin(with("publish", &data, &["--ndjson", "--topic", "t/a"]), numbers);
    assert_eq!(published.code, Some(0), "{}", published.stderr);

    // Ends by itself after some, is killed amid the rest, and is started again.
    let mut seen: Vec<i64> = Vec::new();
    let numbers = |deliveries: &[Value]| -> Vec<i64> {
        deliveries.iter().map(|delivery| delivery["data"]["n"].as_i64().unwrap()).collect()
    };
    let some = CliSubscriber::start(&broker, &["t/#", "--durable", "orders", "--count", "300"]).deliveries();
    seen.extend(numbers(&some));
    assert_eq!(seen, (0..300).collect::<Vec<_>>(), "acked before it ended, none more");
    let mut amid = CliSubscriber::start(&broker, &["t/#", "--durable", "orders"]);
    assert!(amid.process.stdout.find(|line| line.contains("\"n\":400").then_some(())).is_some());
    amid.process.kill();
    let finished = amid.process.finish();
    let whole = finished.stdout.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    seen.extend(numbers(&whole.collect::<Vec<_>>()));
    let rest = CliSubscriber::start(&broker, &["t/#", "--durable", "orders"]);
    let last = rest.process.stdout.find(|line| line.contains("\"n\":999").then_some(()));
    assert!(last.is_some() || seen.contains(&999));
    seen.extend(numbers(
        &rest
            .process
            .stdout
            .so_far()
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<_>>(),
    ));
    // What it had not acked comes again; nothing is missing.
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    let ndjson: String = (0..50).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    for args in [&["--output", "json"][..], &["--output", "text"], &["--output", "payload"]] {
        let mut command = command(with("subscribe", &data, &["t/#"]));
        command.args(args);
        let subscriber = Process::start_without_reader(&mut command);
        assert!(subscriber.stderr.find(|line| line.contains("installed").then_some(())).is_some());
        let publish = with("publish", &data, &["--ndjson", "--topic", "t/{n}"]);
        assert_eq!(cli::run_with_stdin(publish, ndjson.clone()).code, Some(0));
        let finished = subscriber.finish();
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
    }
    for args in [vec!["status"], vec!["subscriptions", "--json"], vec!["--help"]] {
        let finished = Process::start_without_reader(command(&args).args(["--data", &data])).finish();
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
    }
}

#[test]
fn receipts_name_every_line_in_order_and_the_rest_goes_on_after_a_refusal() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    let ndjson = concat!(
        "{\"id\":\"first\",\"k\":\"a\",\"f\":1.5,\"n\":null,\"deep\":{\"x\":1}}\n",
        "not json\n",
        "{\"k\":\"with/slash\"}\n",
        "{\"other\":1}\n",
        "{\"k\":\"\"}\n",
        "{\"k\":\"a\",\"time\":\"yesterday\"}\n",
        "[1]\n",
        "{\"k\":\"b\",\"time\":\"2013-01-01T05:00:00-05:00\",\"source\":\"/s\"}\n",
        "{\"k\":7}\n",
    );
    let subscriber = CliSubscriber::start(&broker, &["t/+", "--count", "3"]);
    let args = with("publish", &data, &["--ndjson", "--topic", "t/{k}", "--receipts"]);
    let finished = cli::run_with_stdin(args, ndjson);
    assert_eq!(finished.code, Some(4), "{}", finished.stderr);
    let receipts = lines(&finished);
    let codes: Vec<_> =
        receipts.iter().map(|receipt| (receipt["line"].as_u64(), receipt["code"].as_u64())).collect();
    let expected = [200, 400, 400, 400, 400, 400, 400, 200, 200];
    let expected: Vec<_> = (1..).map(Some).zip(expected.map(Some)).collect();
    assert_eq!(codes, expected);
    assert_eq!((&receipts[0]["id"], &receipts[0]["sequence"]), (&json!("first"), &json!(1)));
    assert_eq!((&receipts[7]["sequence"], &receipts[8]["sequence"]), (&json!(2), &json!(3)));
    let got = subscriber.deliveries();
    assert_eq!((&got[0]["id"], &got[0]["attributes"]), (&json!("first"), &json!({"k": "a", "f": 1.5})));
    assert_eq!((&got[1]["time"], &got[1]["source"]), (&json!("2013-01-01T10:00:00Z"), &json!("/s")));
    assert_eq!((&got[2]["topic"], &got[2]["attributes"]), (&json!("t/7"), &json!({"k": 7})));
    let refused = http::Metrics::of(&broker).sum("fanal_publish_refused_total", &[]);
    assert_eq!(refused, 0.0, "these lines were refused before they were sent");
}

#[test]
fn payloads_come_from_arguments_files_and_stdin_byte_for_byte() {
    let world = World::new();
    let broker = world.broker("ewr").start();
    let data = broker.data_arg();
    let file = world.path("payload.bin");
    std::fs::write(&file, [0xff, 0x00, 0x0a, 0xfe]).unwrap();
    let file = file.to_string_lossy().into_owned();
    let subscriber = CliSubscriber::start(&broker, &["t/#", "--count", "4"]);
    let publish = |rest: &[&str], stdin: &[u8]| {
        let finished = cli::run_with_stdin(with("publish", &data, rest), stdin);
        assert_eq!(finished.code, Some(0), "{rest:?}: {}", finished.stderr);
        finished
    };
    let attributes = ["-a", "n=5", "-a", "f=2.5", "-a", "yes=true", "-a", "text=JFK", "-a", "quoted=\"5\""];
    publish(
        &[&["t/a", "{\"x\": 1}", "--content-type", "application/json", "--id", "i1"], &attributes[..]]
            .concat(),
        b"",
    );
    publish(&["t/a", "--stdin", "--key", "k"], b"two\nlines\n");
    publish(&["t/a", "--file", &file], b"");
    let receipts = publish(&["t/a", "last", "--receipts", "--ttl", "1h"], b"");
    assert_eq!(lines(&receipts)[0]["line"], 1);
    let got = subscriber.deliveries();
    assert_eq!((&got[0]["data"], &got[0]["id"]), (&json!({"x": 1}), &json!("i1")));
    assert_eq!(got[0]["attributes"], json!({"n": 5, "f": 2.5, "yes": true, "text": "JFK", "quoted": "5"}));
    assert_eq!(got[1]["data"], "two\nlines\n");
    assert_eq!(got[2]["data_base64"], "/wAK/g==");
    assert_eq!(got[3]["data"], "last");
}

#[test]
fn configuration_that_is_wrong_is_refused_with_a_suggestion() {
    let world = World::new();
    let config = world.path("fanal.toml");
    let path = config.to_string_lossy().into_owned();
    for (text, words) in [
        ("lissten = \"127.0.0.1:0\"\n", ["lissten", "did you mean `listen`"]),
        ("[limits]\nlive_bufer_bytes = 1\n", ["live_bufer_bytes", "live_buffer_bytes"]),
        ("listen = \"nonsense\"\n", ["nonsense", "listen"]),
        ("listen = \n", ["fanal.toml", "1"]),
    ] {
        std::fs::write(&config, text).unwrap();
        for command in ["serve", "check-config"] {
            let finished =
                cli::run([command, "--config", &path, "--data", &world.path("d").to_string_lossy()]);
            assert_eq!(finished.code, Some(2), "{command} {text}: {}", finished.stderr);
            for word in words {
                assert!(finished.stderr.contains(word), "{command}: {:?} lacks {word:?}", finished.stderr);
            }
        }
    }
    assert!(!world.path("d").exists(), "nothing was made");
    std::fs::write(&config, "[limits]\nbody_bytes_max = \"2 KiB\"\n").unwrap();
    let finished = cli::run(["check-config", "--config", &path, "--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let broker = world.broker("ewr").config(config).start();
    let finished =
        cli::run_with_stdin(with("publish", &broker.data_arg(), &["t", "--stdin"]), vec![b'x'; 4096]);
    assert_eq!(finished.code, Some(4));
    assert!(finished.stderr.contains("413"), "{}", finished.stderr);
}

#[test]
fn pages_show_what_is_there_in_tables_and_in_json() {
    let world = World::new();
    let ewr = world.broker("ewr").start();
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let data = jfk.data_arg();
    let durable = CliSubscriber::start(&jfk, &["t/#", "--where", "n > 1", "--durable", "orders"]);
    let _live = CliSubscriber::start(&jfk, &["u/#", "--except", "u/x"]);
    drop(durable);
    let asked = |page: &str| -> Value {
        let finished = cli::run([page, "--data", &data, "--json"]);
        assert_eq!(finished.code, Some(0), "{page}: {}", finished.stderr);
        let (status, body) = http::get(jfk.admin(), &format!("/api/v1/{page}"));
        assert_eq!(status, 200);
        assert!(serde_json::from_str::<Value>(&body).unwrap().is_object(), "{body}");
        serde_json::from_str(&finished.stdout.join("\n")).unwrap()
    };
    let rows = |page: &Value, of: &str, field: &str| -> Vec<String> {
        let rows = page[of].as_array().unwrap().iter();
        rows.map(|row| row[field].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!((&asked("status")["name"], &asked("status")["state"]), (&json!("jfk"), &json!("ready")));
    let peers = asked("peers");
    assert_eq!(
        (rows(&peers, "peers", "name"), rows(&peers, "peers", "state")),
        (vec!["ewr".into()], vec!["linked".into()])
    );
    assert!(
        rows(&asked("sessions"), "sessions", "agent")
            .iter()
            .any(|agent| agent.starts_with("fanal-subscribe/"))
    );
    assert_eq!(rows(&asked("subscriptions"), "subscriptions", "kind"), ["durable", "live"]);
    assert_eq!(rows(&asked("mailboxes"), "mailboxes", "name"), ["orders"]);
    for (page, word) in [
        ("status", "jfk"),
        ("peers", "linked"),
        ("sessions", "fanal-subscribe"),
        ("subscriptions", "orders"),
        ("mailboxes", "orders"),
    ] {
        let finished = cli::run([page, "--data", &data]);
        assert_eq!(finished.code, Some(0), "{page}: {}", finished.stderr);
        assert!(finished.stdout.join("\n").contains(word), "{page}: {:?}", finished.stdout);
    }

    let run = |rest: &[&str]| cli::run(with("subscriptions", &data, rest));
    assert_eq!(run(&["update", "orders", "t/#", "--where", "n > 2"]).code, Some(0));
    assert!(asked("subscriptions").to_string().contains("n > 2"));
    assert_eq!(run(&["remove", "orders"]).code, Some(0));
    assert_eq!(rows(&asked("mailboxes"), "mailboxes", "name"), [""; 0]);
}

#[test]
fn admin_http_tells_health_readiness_and_metrics() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    assert_eq!(http::get(broker.admin(), "/healthz"), (200, "ok\n".into()));
    assert_eq!(http::get(broker.admin(), "/readyz"), (200, "ready\n".into()));
    assert_eq!(http::get(broker.admin(), "/nothing").0, 404);
    let before = http::Metrics::of(&broker);
    let finished = cli::run(with("publish", &broker.data_arg(), &["t", "x"]));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let after = http::Metrics::of(&broker);
    for name in [
        "fanal_events_published_total",
        "fanal_publish_seconds_count",
        "fanal_match_seconds_count",
        "fanal_store_flush_seconds_count",
    ] {
        assert!(after.sum(name, &[]) > before.sum(name, &[]), "{name} does not move");
    }
    assert!(after.sum("fanal_store_bytes", &[]) > 0.0);
    assert!(after.sum("process_resident_memory_bytes", &[]) > 0.0);
    broker.terminate();
    assert!(std::net::TcpStream::connect(broker.admin()).is_err(), "nobody listens after the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_nobody_answers_ends_in_time() {
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let data = broker.data_arg();
    let mut publisher =
        cli::start(with("publish", &data, &["--ndjson", "--topic", "t", "--receipts", "--timeout", "2s"]));
    let mut stdin = publisher.take_stdin().unwrap();
    std::io::Write::write_all(&mut stdin, b"{\"n\":1}\n").unwrap();
    until("the first event", || (published(&broker) == 1.0).then_some(())).await;
    broker.pause();
    std::io::Write::write_all(&mut stdin, b"{\"n\":2}\n").unwrap();
    drop(stdin);
    let finished = publisher.finish();
    broker.resume();
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
}

fn published(broker: &Broker) -> f64 {
    http::Metrics::of(broker).sum("fanal_events_published_total", &[])
}

#[test]
fn the_demo_ends_by_itself() {
    let world = World::new();
    let mut demo: Command = command(["demo"]);
    demo.current_dir(world.path(".")).stdin(Stdio::null());
    let finished = Process::start(&mut demo).finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(!finished.stdout.is_empty());
}

/// What a command writes to a terminal.
fn on_a_terminal(args: &[&str], variable: Option<(&str, &str)>) -> String {
    let line = [&[cli::binary().to_str().unwrap()], args].concat().join(" ");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    // Under CI even a dumb terminal is taken for one with colours.
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command.envs(variable);
    Process::start(&mut command).finish().stdout.join("\n")
}

#[test]
fn colours_are_for_terminals_alone() {
    let colour = "\u{1b}[";
    for args in [&["--help"][..], &["status", "--data", "/nonexistent"]] {
        assert!(on_a_terminal(args, None).contains(colour), "{args:?}");
        for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            assert!(!on_a_terminal(args, Some(plain)).contains(colour), "{args:?} {plain:?}");
        }
        let piped = cli::run(args);
        assert!(!(piped.stdout.join("") + &piped.stderr).contains(colour), "{args:?}");
    }
}
