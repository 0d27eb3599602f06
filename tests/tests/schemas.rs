//! Every JSON that Fanal gives out is as `protocol/schemas` says: real answers of real brokers and
//! commands, held against the schemas; and the schemas say nothing that never comes.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

#[path = "schemas/stores.rs"]
mod stores;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fanal_client::{Client, Credentials};
use fanal_tests::broker::{Broker, World};
use fanal_tests::cli::{self, command};
use fanal_tests::http;
use fanal_tests::process::{Finished, Process};
use fanal_tests::schema::{self, COMMON, Schemas, mutant, walk};
use fanal_tests::subscriber::CliSubscriber;
use fanal_tests::wait::{until, until_blocking, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What no answer of this test has, and why.
const NEVER_SEEN: [(&str, &str); 2] = [
    ("demo: subscriptions[].troubles[]", "a demo that goes well has no trouble"),
    ("bench: left_behind", "it takes a broker that hangs while a run is removed"),
];

/// The pages of the admin API, each a command too.
const PAGES: [&str; 6] = ["status", "peers", "sessions", "subscriptions", "mailboxes", "dead-letters"];

/// What a schema may be made of. More than this the walks would not understand.
const KEYWORDS: [&str; 21] = [
    "$schema",
    "$id",
    "$ref",
    "title",
    "description",
    "type",
    "enum",
    "const",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "contentEncoding",
    "anyOf",
    "oneOf",
    "allOf",
];

/// Keywords of definitions and conditions.
const MORE_KEYWORDS: [&str; 5] = ["$defs", "if", "then", "else", "not"];

#[test]
fn schemas_are_schemas_and_describe_every_member() {
    let mut named = BTreeSet::new();
    for (name, document) in schema::documents() {
        jsonschema::draft202012::meta::validate(&document).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        assert_eq!(document["$id"], format!("{name}.json"), "{name}");
        for member in ["title", "description"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{name}: {member}");
        }
        for (place, part) in walk::parts(&document) {
            for keyword in part.as_object().into_iter().flat_map(|part| part.keys()) {
                let is_known = KEYWORDS.iter().chain(&MORE_KEYWORDS).any(|known| known == keyword);
                assert!(is_known, "{name} at {place}: {keyword}");
            }
        }
        named.insert(format!("{name}.json"));
    }
    let schemas = Schemas::read();
    for (name, schema) in schemas.all() {
        assert!(!walk::described(&schema.plain).is_empty(), "{name} describes nothing");
        for (place, part) in walk::parts(&schema.plain) {
            let is_condition = place.split('/').any(|step| MORE_KEYWORDS.contains(&step));
            for (member, described) in part["properties"].as_object().into_iter().flatten() {
                let says = described["description"].as_str().is_some_and(|text| text.ends_with('.'));
                assert!(says || is_condition, "{name} at {place}: {member} has no description");
            }
        }
    }
    let readme = std::fs::read_to_string(schema::directory().join("README.md")).unwrap();
    for file in named {
        assert!(readme.contains(&format!("({file})")), "the README of the schemas says nothing of {file}");
    }
    assert!(!schemas.all().any(|(name, _)| name == COMMON), "definitions alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_output_is_as_its_schema_says() {
    let mut schemas = Schemas::read();
    let world = World::new();
    let mut demo = command(["demo", "--json"]);
    let demo = Process::start(demo.current_dir(world.path(".")));

    // Both take their time meanwhile.
    let filling = Filling::begin(&world, &mut schemas).await;
    federation(&world, &mut schemas).await;
    configuration(&world, &mut schemas);
    manual(&world, &mut schemas);
    filters(&mut schemas);
    stores::stores(&world, &mut schemas);
    filling.end(&mut schemas).await;
    let demo = demo.finish();
    assert_eq!(demo.code, Some(0), "{}", demo.stderr);
    schemas.check_text("demo", &one_line(&demo));

    let expected: BTreeSet<String> = NEVER_SEEN.iter().map(|(path, _)| (*path).to_owned()).collect();
    let unseen = schemas.unseen();
    let (missing, stale) = (unseen.difference(&expected), expected.difference(&unseen));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "described, and never seen");
    assert_eq!(stale.collect::<Vec<_>>(), [""; 0], "seen, and listed as never seen");
    wrong_answers_are_refused(&schemas);
}

/// Two linked brokers with subscribers of each kind, a peer that cannot be linked, and everything
/// that commands and pages say of it.
async fn federation(world: &World, schemas: &mut Schemas) {
    let large = world.path("large.toml");
    std::fs::write(&large, "[limits]\nbody_bytes_max = \"4 MiB\"\n").unwrap();
    let mut ewr = world.broker("ewr").config(large).start();
    // Who answers there is ewr: this link is never made.
    let jfk = world.broker("jfk").peer("ewr", ewr.listen()).peer("lga", ewr.listen()).start();

    let subscriber = |args: &[&str]| {
        let all = [&["t/#", "--except", "t/none", "--wait-for", "ewr"], args].concat();
        CliSubscriber::start(&jfk, &all)
    };
    let live = subscriber(&[]);
    let mut away = subscriber(&["--durable", "away", "--where", "n > 1"]);
    let late = subscriber(&["--durable", "late", "--where", "n > 1"]);
    for receipt in [&live.receipt, &away.receipt, &late.receipt] {
        schemas.check("interest-receipt", receipt);
    }
    away.process.kill();

    publish_one(world, &ewr, schemas);
    publish_many(&ewr, schemas);
    let is_last = |line: &str| line.contains("the last one").then_some(());
    assert!(live.process.stdout.find(is_last).is_some() && late.process.stdout.find(is_last).is_some());
    pages(&ewr, schemas);
    until("the link to lga to fail", || {
        let peers = page(&jfk, "peers");
        let lga = peers["peers"].as_array()?.iter().find(|peer| peer["name"] == "lga")?;
        lga["problem"].is_string().then_some(())
    })
    .await;
    fill_dead_letters(&jfk, schemas);
    pages(&jfk, schemas);
    dead_letters(&jfk, schemas);
    refusals(&jfk, schemas);
    changes(&jfk, schemas);
    load(&jfk, schemas);

    ewr.terminate();
    assert!(live.process.stdout.find(|line| line.contains("link_lost").then_some(())).is_some());
    for line in [live.process.stdout.so_far(), late.process.stdout.so_far()].concat() {
        let name = if line.starts_with("{\"gap\":") { "gap" } else { "delivery" };
        schemas.check_text(name, &line);
    }
}

/// Single events of every form, at a broker that takes larger ones than its peer.
fn publish_one(world: &World, ewr: &Broker, schemas: &mut Schemas) {
    let data = ewr.data_arg();
    let bytes = world.path("bytes.bin");
    std::fs::write(&bytes, [0xff, 0x00]).unwrap();
    let large = world.path("large.bin");
    std::fs::write(&large, vec![b'x'; 2 << 20]).unwrap();
    let [bytes, large] = [bytes, large].map(|path| path.to_string_lossy().into_owned());
    let all_fields = [
        "{\"x\":[1]}",
        "--content-type",
        "application/json",
        "--source",
        "/s",
        "--time",
        "2013-01-01T10:00:00Z",
        "-a",
        "n=5",
        "-a",
        "yes=true",
        "-a",
        "text=JFK",
        "-a",
        "f=2.5",
    ];
    let forms: [&[&str]; 6] = [
        &all_fields,
        &["--file", &bytes],
        &["plain text"],
        &[],
        &["now", "--best-effort"],
        &["--file", &large],
    ];
    for form in forms {
        let args = [&["publish", "--data", &data, "--json", "t/a"], form].concat();
        let finished = cli::run(args);
        assert_eq!(finished.code, Some(0), "{form:?}: {}", finished.stderr);
        schemas.check_text("publish", &one_line(&finished));
    }
    let receipt = cli::run(["publish", "--data", &data, "t/a", "x", "--receipts"]);
    schemas.check_text("receipt-line", &one_line(&receipt));
}

/// Many events, some of them refused; what stdout and stderr say with `--receipts` and without.
fn publish_many(ewr: &Broker, schemas: &mut Schemas) {
    let data = ewr.data_arg();
    let args = ["publish", "--data", &data, "--json", "--ndjson", "--topic", "t/{k}"];
    let lines =
        "{\"k\":\"a\",\"n\":2,\"id\":\"i\"}\nnot json\n{\"id\":\"i\",\"n\":3}\n{\"k\":\"a\",\"n\":4}\n";
    let finished = cli::run_with_stdin([&args[..], &["--receipts"]].concat(), lines);
    assert_eq!((finished.code, finished.stdout.len()), (Some(4), 4), "{}", finished.stderr);
    for line in &finished.stdout {
        schemas.check_text("receipt-line", line);
    }
    let [summary, error] = two_lines(&finished.stderr);
    schemas.check_text("publish-summary", summary);
    schemas.check_text("command-error", error);

    let lines = "[]\n{\"k\":\"a\",\"n\":5,\"say\":\"the last one\"}\n";
    let finished = cli::run_with_stdin(args, lines);
    assert_eq!(finished.code, Some(4), "{}", finished.stderr);
    let summary = schemas.check_text("publish-summary", &one_line(&finished));
    assert_eq!((&summary["published"], &summary["refused"]), (&json!(1), &json!(1)));
    let [refused, error] = two_lines(&finished.stderr);
    schemas.check_text("receipt-line", refused);
    schemas.check_text("command-error", error);
}

/// A mailbox of one event, and three events.
fn fill_dead_letters(broker: &Broker, schemas: &mut Schemas) {
    let limits = ["--max-events", "1", "--max-bytes", "1MiB", "--max-age", "7d"];
    let args = [&["dead/#", "--wait-for", "home", "--durable", "small"], &limits[..]].concat();
    let mut subscriber = CliSubscriber::start(broker, &args);
    subscriber.process.kill();
    let data = broker.data_arg();
    for payload in ["one", "two", "three"] {
        let finished = cli::run(["publish", "--data", &data, "--json", "dead/a", payload]);
        schemas.check_text("publish", &one_line(&finished));
    }
    until_blocking("two dead letters", || {
        let all = page(broker, "dead-letters");
        (all["queued_events"] == 2).then_some(())
    });
}

/// What commands say of dead letters.
fn dead_letters(broker: &Broker, schemas: &mut Schemas) {
    let data = broker.data_arg();
    let run = |args: &[&str]| {
        let finished = cli::run([&["dead-letters", "--data", &data, "--json"], args].concat());
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        finished
    };
    let shown = run(&["show", "--subscription", "small"]);
    assert_eq!(shown.stdout.len(), 2, "{shown:?}");
    for line in &shown.stdout {
        let letter = schemas.check_text("delivery", line);
        assert_eq!(letter["dead_letter"]["name"], "small");
    }
    let dropped = run(&["drop", "--number", "1", "--yes"]);
    assert_eq!(schemas.check_text("dead-letters-changed", &one_line(&dropped)), json!({ "dropped": 1 }));
    let requeued = run(&["requeue", "--all"]);
    assert_eq!(schemas.check_text("dead-letters-changed", &one_line(&requeued)), json!({ "requeued": 1 }));
}

/// A page as HTTP gives it.
fn page(broker: &Broker, name: &str) -> Value {
    let (status, body) = http::get(broker.admin(), &format!("/api/v1/{name}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Every page through both doors.
fn pages(broker: &Broker, schemas: &mut Schemas) {
    let data = broker.data_arg();
    for name in PAGES {
        schemas.check(name, &page(broker, name));
        let finished = cli::run([name, "--data", &data, "--json"]);
        assert_eq!(finished.code, Some(0), "{name}: {}", finished.stderr);
        schemas.check_text(name, &one_line(&finished));
    }
    let listed = cli::run(["subscriptions", "list", "--data", &data, "--json"]);
    schemas.check_text("subscriptions", &one_line(&listed));
    for (method, path, host, expected) in [
        ("GET", "/api/v1/nothing", "localhost", 404),
        ("POST", "/api/v1/status", "localhost", 405),
        ("GET", "/api/v1/status", "elsewhere.example", 403),
    ] {
        let (status, body) = http::ask(broker.admin(), method, path, host);
        let error = schemas.check_text("error", &body);
        assert_eq!((status, &error["error"]["code"]), (expected, &json!(expected)));
    }
}

/// One end of each kind, and a code and a name where the broker gave them.
fn refusals(jfk: &Broker, schemas: &mut Schemas) {
    let data = jfk.data_arg();
    let nowhere = format!("{data}/nowhere");
    let cases: [(&[&str], i32, Value); 6] = [
        (&["status", "--tiemout", "1s"], 2, json!([null, null])),
        (&["status", "--data", &nowhere], 1, json!([null, null])),
        (&["serve", "--config", &nowhere], 2, json!([null, null])),
        (
            &["subscribe", "--data", &data, "t/#", "--wait-for", "home", "--timeout", "200ms"],
            3,
            json!([null, null]),
        ),
        (&["subscribe", "--data", &data, "t/#", "--where", "a >"], 4, json!([422, "filter_refused"])),
        (&["publish", "--data", &data, "t/+", "x"], 4, json!([400, null])),
    ];
    for (args, exit, expected) in cases {
        let finished = cli::run([args, &["--json"]].concat());
        let last = finished.stderr.lines().last().unwrap_or_default();
        let error = schemas.check_text("command-error", last)["error"].take();
        assert_eq!((finished.code, &error["exit"]), (Some(exit), &json!(exit)), "{args:?}");
        assert_eq!(json!([error["code"], error["name"]]), expected, "{args:?}");
    }
}

fn changes(jfk: &Broker, schemas: &mut Schemas) {
    let data = jfk.data_arg();
    let cases: [(&str, &[&str]); 2] =
        [("updated", &["update", "away", "u/#"]), ("removed", &["remove", "away"])];
    for (name, args) in cases {
        let finished = cli::run([&["subscriptions", "--data", &data, "--json"], args].concat());
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        assert_eq!(schemas.check_text(name, &one_line(&finished)), json!({ name: "away" }));
    }
}

/// A closed loop, and an open one at a rate that cannot be reached, which is told.
fn load(jfk: &Broker, schemas: &mut Schemas) {
    let data = jfk.data_arg();
    let common = ["bench", "--data", &data, "--json", "--events", "200", "--warm-up", "0"];
    for pace in [["--window", "64"], ["--rate", "10000000"]] {
        let finished = cli::run([&common[..], &pace].concat());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        schemas.check_text("bench", &one_line(&finished));
    }
}

/// A filter alone, and on events that match, do not match and cannot be read.
fn filters(schemas: &mut Schemas) {
    let filter = "n > 1 AND (s = 'a' OR EXISTS gone)";
    let alone = cli::run(["filter", "test", filter, "--json"]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    assert_eq!(schemas.check_text("filter-test", &one_line(&alone))["filter"], filter);
    let args = ["filter", "test", filter, "--event", "-", "--filter", "t/#", "--except", "+/no", "--json"];
    let delivery = |topic: &str| json!({ "id": "i", "topic": topic, "attributes": { "n": 2, "s": "a" } });
    let events = [delivery("t/yes"), delivery("t/no"), json!({ "n": 1 }), json!([])];
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    let finished = cli::run_with_stdin(args, lines.join("\n"));
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let rows: Vec<Value> =
        finished.stdout.iter().map(|line| schemas.check_text("filter-test", line)).collect();
    let matches: Vec<&Value> = rows.iter().map(|row| &row["matches"]).collect();
    assert_eq!(matches, [&json!(true), &json!(false), &json!(false), &Value::Null]);
    assert_eq!(rows[1]["topic_filter"]["excluded_by"], json!(["+/no"]));
    schemas.check_text("command-error", finished.stderr.lines().last().unwrap_or_default());

    let args = ["filter", "test", "--strict", "n = 1 AND gone", "--event", "-", "--json"];
    let row = schemas.check_text("filter-test", &one_line(&cli::run_with_stdin(args, "{\"n\":1}")));
    let whole = &row["clauses"][0];
    assert_eq!([&row["error"], &whole["error"]], [&json!("missingAttribute"); 2], "{row}");
    let questions = "nonsense\n{\"expression\":\"1 + a\",\"event\":{\"a\":2}}\n";
    let answered = cli::run_with_stdin(["filter", "test", "--strict", "--json-lines"], questions);
    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
    let answers: Vec<Value> =
        answered.stdout.iter().map(|line| schemas.check_text("filter-answer", line)).collect();
    assert_eq!(answers[0], json!({ "result": null, "error": "generic" }));
    assert_eq!(answers[1], json!({ "result": 3, "error": null }));
}

fn manual(world: &World, schemas: &mut Schemas) {
    let dir = world.path("man").to_string_lossy().into_owned();
    let finished = cli::run(["man", "--dir", &dir, "--json"]);
    let written = schemas.check_text("man", &one_line(&finished));
    assert!(
        written["written"]
            .as_array()
            .unwrap()
            .iter()
            .all(|file| world.path("man").join(file.as_str().unwrap()).is_file())
    );
}

fn configuration(world: &World, schemas: &mut Schemas) {
    let data = world.path("none").to_string_lossy().into_owned();
    let mut check =
        command(["check-config", "--json", "--data", &data, "--peer", "lga=lga.example.org:4600"]);
    // Misspelt: a warning.
    check.env("FANAL_LISTN", "127.0.0.1:1").env("FANAL_ADMIN_HOSTS", "lga,lga.example.org");
    let checked = Process::start(&mut check).finish();
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let checked = schemas.check_text("check-config", &one_line(&checked));
    let value = |key: &str| {
        let mut rows = checked["values"].as_array().unwrap().iter();
        rows.find(|row| row["key"] == key).map(|row| (row["value"].clone(), row["from"].clone())).unwrap()
    };
    assert_eq!(value("data"), (json!(data), json!("--data")));
    assert_eq!(value("admin_hosts").0, json!(["lga", "lga.example.org"]));
    assert_eq!(value("limits.body_bytes_max"), (json!(1 << 20), json!("default")));
    assert_eq!(value("limits.store_bytes"), (json!(null), json!("default")));
    assert_eq!(value("peers.lga"), (json!("lga.example.org:4600"), json!("--peer")));
    let keys = cli::run(["check-config", "--defaults", "--json"]);
    let keys = schemas.check_text("config-keys", &one_line(&keys));
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["environment"] == "FANAL_LISTEN"));
}

/// A broker whose store has room for a few events only, and somebody who publishes more.
struct Filling {
    _broker: Process,
    admin: SocketAddr,
    publishing: JoinHandle<()>,
}

impl Filling {
    async fn begin(world: &World, schemas: &mut Schemas) -> Filling {
        let config = world.path("small.toml");
        let limits = "[limits]\nsegment_bytes = \"4 MiB\"\nstore_bytes = \"16 MiB\"\nmailbox_bytes = \"1 TiB\"\ngive_way_percent = 100\n";
        std::fs::write(&config, limits).unwrap();
        let [data, config] = [world.path("full"), config].map(|path| path.to_string_lossy().into_owned());
        let place = ["--data", &data, "--config", &config];
        let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let broker = cli::start([&["serve", "--json", "--name", "full"], &place[..], &ports].concat());
        let line = broker.stdout.find(|line| Some(line.to_owned())).expect("a ready line");
        let ready = schemas.check_text("ready", &line);
        let credentials = Credentials::from_data_dir(&data).unwrap();
        let client = within("a connection", Client::connect(&credentials)).await.unwrap();
        drop(client.subscribe("t/#").durable("away").await.unwrap());
        // What is refused is tried again and again.
        let publishing = tokio::spawn(async move {
            while client.publish("t/a").payload(vec![b'x'; 900 << 10]).post().await.is_ok() {}
        });
        Filling { _broker: broker, admin: ready["admin"].as_str().unwrap().parse().unwrap(), publishing }
    }

    async fn end(self, schemas: &mut Schemas) {
        let status = until("a full store", || {
            let (_, body) = http::get(self.admin, "/api/v1/status");
            let status: Value = serde_json::from_str(&body).unwrap();
            (status["state"] == "full").then_some(status)
        })
        .await;
        self.publishing.abort();
        schemas.check("status", &status);
    }
}

fn one_line(finished: &Finished) -> String {
    assert_eq!(finished.stdout.len(), 1, "{finished:?}");
    finished.stdout[0].clone()
}

fn two_lines(text: &str) -> [&str; 2] {
    let lines: Vec<&str> = text.lines().collect();
    lines.try_into().unwrap_or_else(|lines| panic!("two lines: {lines:#?}"))
}

/// What differs from a real answer in one thing is refused; one more member is accepted by
/// consumers and found by the strict form.
fn wrong_answers_are_refused(schemas: &Schemas) {
    for (name, schema) in schemas.all() {
        let mut refused = 0;
        for answer in schema.answers() {
            for wrong in mutant::wrong(&schema.plain, answer) {
                assert!(!schema.accepts(&wrong.answer), "{name} accepts {}: {:#}", wrong.what, wrong.answer);
                refused += 1;
            }
            for more in mutant::extended(&schema.plain, answer) {
                assert!(schema.accepts(&more.answer), "{name} refuses one more member: {}", more.what);
                assert!(!schema.describes(&more.answer), "{name} overlooks a member: {}", more.what);
            }
        }
        assert!(refused >= 2, "{name}: nothing was tried");
    }
}
