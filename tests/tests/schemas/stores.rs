//! What `fanal store` says: of a store in order, of damaged ones, of one that was put back.

use std::path::{Path, PathBuf};

use fanal_tests::broker::World;
use fanal_tests::cli::{self, repository};
use fanal_tests::schema::Schemas;
use fanal_tests::subscriber::CliSubscriber;
use serde_json::{Value, json};

/// A broker's data directory: a durable subscription, a peer, two starts with events in each.
fn stopped(world: &World) -> PathBuf {
    let config = world.path("store.toml");
    std::fs::write(&config, "[limits]\nsegment_bytes = \"4 MiB\"\n").unwrap();
    let mut broker = world.broker("kept").config(config.clone()).start();
    let data = broker.data().to_path_buf();
    let mut peer = world.broker("near").config(config).peer("kept", broker.listen()).start();
    drop(CliSubscriber::start(&peer, &["#", "--durable", "far", "--wait-for", "kept"]));
    let mut billing = CliSubscriber::start(&broker, &["#", "--durable", "billing", "--wait-for", "home"]);
    publish(&data, "first");
    let is_first = |line: &str| line.contains("first").then_some(());
    assert!(billing.process.stdout.find(is_first).is_some());
    billing.process.signal(rustix::process::Signal::INT);
    assert_eq!(billing.process.finish().code, Some(0));
    peer.terminate();
    broker.terminate();
    broker.restart();
    for payload in ["second", "third", "fourth"] {
        publish(&data, payload);
    }
    broker.terminate();
    data
}

fn publish(data: &Path, payload: &str) {
    let finished = cli::run(["publish", "t/a", payload, "--data", &data.to_string_lossy()]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

fn run(schemas: &mut Schemas, name: &str, data: &Path, args: &[&str], code: i32) -> Value {
    let data = data.to_string_lossy();
    let finished = cli::run([&["store"], args, &["--json", "--data", &data]].concat());
    assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
    if code != 0 {
        schemas.check_text("command-error", finished.stderr.lines().last().unwrap());
    }
    let answers = finished.stdout.iter().map(|line| schemas.check_text(name, line));
    answers.last().unwrap_or_else(|| panic!("{args:?}: {}", finished.stderr))
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    how(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, needle: &[u8]) {
    change(path, |bytes| {
        let at = bytes.windows(needle.len()).position(|window| window == needle);
        bytes[at.expect("the bytes to damage")] ^= 1;
    });
}

/// Offset of the last batch in its segment.
fn last_batch(data: &Path) -> usize {
    let dumped = cli::run(["store", "dump", "--json", "--data", &data.to_string_lossy()]);
    let mut lines = dumped.stdout.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = lines.rfind(|line| line["kind"] == "batch").unwrap();
    (last["position"].as_u64().unwrap() % (4 << 20)) as usize
}

pub(crate) fn stores(world: &World, schemas: &mut Schemas) {
    let data = stopped(world);
    let store = data.join("store");
    run(schemas, "store-check", &data, &["check"], 0);
    run(schemas, "store-dump", &data, &["dump"], 0);
    run(schemas, "store-dump", &data, &["dump", "--mailbox", "billing"], 0);
    run(schemas, "delivery", &data, &["dump", "--events"], 0);
    run(schemas, "store-repair", &data, &["repair"], 0);
    run(schemas, "store-restored", &data, &["repair", "--restored"], 0);
    run(schemas, "store-restored", &data, &["repair", "--restored", "--yes"], 0);

    // The last batch, one before it, a copy of the metadata, and a file that is no segment.
    let last = last_batch(&data);
    change(&store.join("00000002.seg"), |bytes| bytes[last] ^= 1);
    flip(&store.join("00000002.seg"), b"second");
    change(&store.join("meta.b"), |bytes| bytes[20] ^= 1);
    std::fs::write(store.join("00000009.seg"), [7; 5000]).unwrap();
    std::fs::create_dir(store.join("backup-v1")).unwrap();
    std::fs::write(store.join("backup-v1/meta.a"), "as left by an upgrade").unwrap();
    run(schemas, "store-dump", &data, &["dump"], 1);
    let damaged = run(schemas, "store-check", &data, &["check"], 1);
    assert_eq!((&damaged["starts"], &damaged["unproven"].is_object()), (&json!(true), &true), "{damaged}");
    change(&store.join("meta.a"), |bytes| bytes[20] ^= 1);
    let refused = run(schemas, "store-check", &data, &["check"], 1);
    assert_eq!((&refused["starts"], refused["reason"].is_string()), (&json!(false), true));
    run(schemas, "store-repair", &data, &["repair"], 0);
    let done = run(schemas, "store-repair", &data, &["repair", "--yes"], 0);
    assert_eq!((&done["done"], done["moved"].as_array().unwrap().len()), (&json!(true), 1), "{done}");

    // Entries of the repair's checkpoint point into this one.
    std::fs::remove_file(store.join("00000002.seg")).unwrap();
    let missing = run(schemas, "store-check", &data, &["check"], 1);
    assert!(missing["missing_segments"][0]["queued_entries"].as_u64() > Some(0), "{missing}");

    let old = world.path("old");
    std::fs::create_dir_all(old.join("store")).unwrap();
    for entry in std::fs::read_dir(repository().join("broker/store/fixtures/version-1")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, old.join("store").join(path.file_name().unwrap())).unwrap();
    }
    change(&old.join("store/00000003.seg"), |bytes| bytes[4096 + 80] ^= 1);
    let upgraded = run(schemas, "store-repair", &old, &["repair", "--yes"], 0);
    assert!(upgraded["backup"].as_str().unwrap().ends_with("backup-v1"), "{upgraded}");
}
