//! Every kind of file that a broker keeps, with a flipped bit, cut to a half, emptied: it starts and
//! says what is wrong, or refuses and names the file. Never a silent loss, never another CA or store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fanal_tests::authority::Authority;
use fanal_tests::broker::{Broker, World};
use fanal_tests::http::Metrics;
use fanal_tests::wait::within;

use super::{detached, drain, numbered, small};

const EVENTS: usize = 700;
const PAYLOAD: usize = 4_000;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Meta,
    Segment,
    Spare,
    StoreLock,
    CaCertificate,
    CaKey,
    CaLock,
    LocalCredentials,
    ResetSecret,
}

/// Every file of a data directory must have a kind, so that a new one is damaged here too.
fn kind(name: &str) -> Option<Kind> {
    let file = name.rsplit('/').next()?;
    Some(match name {
        "store/meta.a" | "store/meta.b" => Kind::Meta,
        "store/LOCK" => Kind::StoreLock,
        "ca/ca.pem" => Kind::CaCertificate,
        "ca/ca.key" => Kind::CaKey,
        "ca/.lock" => Kind::CaLock,
        "local.json" => Kind::LocalCredentials,
        "reset.key" => Kind::ResetSecret,
        _ if file.ends_with(".seg") => Kind::Segment,
        _ if file.starts_with("spare-") => Kind::Spare,
        _ => return None,
    })
}

fn files(dir: &Path, below: &str, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().into_string().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path(), &format!("{name}/"), out),
            false => out.push(name),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let mut names = Vec::new();
    files(from, "", &mut names);
    for name in names {
        let target = to.join(&name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&name), target).unwrap();
    }
}

/// A data directory with a backlog over several segments, as a broker left it.
async fn written(world: &World) -> PathBuf {
    let data = world.path("whole");
    let mut broker = small(world, &data).start();
    let client = broker.client().await;
    detached(&client, "orders").await;
    let mut pending = Vec::new();
    for word in numbered(EVENTS) {
        let mut payload = format!("{word} ").into_bytes();
        payload.resize(PAYLOAD, b'.');
        pending.push(client.publish("t/a").payload(payload).send().await.unwrap());
    }
    for receipt in pending {
        within("a receipt", receipt).await.unwrap();
    }
    broker.kill();
    data
}

/// One file of each kind, all segments that hold events, and how to damage it.
fn cases(data: &Path) -> Vec<(String, Kind, Damage)> {
    let mut names = Vec::new();
    files(data, "", &mut names);
    names.sort();
    let mut kinds = BTreeMap::<Kind, usize>::new();
    let mut out = Vec::new();
    for name in names {
        let kind =
            kind(&name).unwrap_or_else(|| panic!("{name}: a new kind of file? say here what it is for"));
        let count = kinds.entry(kind).or_default();
        *count += 1;
        if *count == 1 || kind == Kind::Segment {
            out.extend(
                [Damage::Flip, Damage::Half, Damage::Empty].map(|damage| (name.clone(), kind, damage)),
            );
        }
        if *count == 1 && kind == Kind::Segment {
            out.push((name.clone(), kind, Damage::Gone));
        }
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
    assert!(kinds[&Kind::Segment] > 2, "{kinds:?}");
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// One bit in the middle.
    Flip,
    /// The second half is gone.
    Half,
    Empty,
    /// There is no such file any more.
    Gone,
}

impl Damage {
    /// False where there is nothing to damage.
    fn commit(self, path: &Path) -> bool {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        match self {
            _ if bytes.is_empty() => return false,
            Damage::Flip => bytes[middle] ^= 4,
            Damage::Half => bytes.truncate(middle),
            Damage::Empty => bytes.clear(),
            Damage::Gone => {
                std::fs::remove_file(path).unwrap();
                return true;
            }
        }
        std::fs::write(path, bytes).unwrap();
        true
    }
}

/// Who the broker is: its CA and its store.
async fn identity(broker: &Broker) -> (String, String) {
    let status = broker.client().await.query("status").await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let store = status["incarnation"]["store"].as_str().unwrap().to_owned();
    (Authority::of(broker.ca()).fingerprint(), store)
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    Told,
    Whole,
}

struct Template {
    data: PathBuf,
    identity: (String, String),
}

async fn check(world: &World, template: &Template, case: &(String, Kind, Damage)) -> Option<Outcome> {
    let (name, _, damage) = case;
    let data = world.path("damaged");
    let _ = std::fs::remove_dir_all(&data);
    copy(&template.data, &data);
    if !damage.commit(&data.join(name)) {
        return None;
    }
    let broker = match small(world, &data).attempt() {
        Ok(broker) => broker,
        Err(ended) => {
            check_refusal(case, ended.code, &ended.stderr);
            // It refused and left everything as it was: with the file back all is there.
            std::fs::copy(template.data.join(name), data.join(name)).unwrap();
            let broker = small(world, &data).start();
            assert_eq!(drain(&broker, "orders", true).await, numbered(EVENTS), "{case:?}");
            return Some(Outcome::Refused);
        }
    };
    assert_eq!(identity(&broker).await, template.identity, "{case:?}: another broker");
    let found = drain(&broker, "orders", true).await;
    let expected = numbered(EVENTS);
    let missing: BTreeSet<_> = expected.iter().filter(|word| !found.contains(word)).collect();
    let order: Vec<_> = expected.iter().filter(|word| !missing.contains(word)).cloned().collect();
    assert_eq!(found, order, "{case:?}");
    let log = broker.process.stderr.so_far().join("\n");
    let file = name.rsplit('/').next().unwrap();
    let is_told =
        log.lines().any(|line| (line.contains("WARN") || line.contains("ERROR")) && line.contains(file));
    if missing.is_empty() {
        return Some(if is_told { Outcome::Told } else { Outcome::Whole });
    }
    let dropped = Metrics::of(&broker).sum("fanal_events_dropped_total", &[("class", "durable")]);
    assert!(
        is_told,
        "{case:?}: {} events are gone, {dropped} dropped, and nobody was told: {log}",
        missing.len()
    );
    Some(Outcome::Told)
}

fn check_refusal(case: &(String, Kind, Damage), code: Option<i32>, stderr: &str) {
    let last = stderr.lines().last().unwrap_or_default();
    let file = case.0.rsplit('/').next().unwrap();
    let says_what_to_do = ["restore", "repair", "remove"].iter().any(|word| last.contains(word));
    assert!(code == Some(1) && last.contains(file) && says_what_to_do, "{case:?}: {code:?} {stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_any_file_is_told_or_refused_and_never_a_silent_loss() {
    let world = World::new();
    let data = written(&world).await;
    let cases = cases(&data);
    let broker = small(&world, &data).start();
    let template = Template { identity: identity(&broker).await, data: world.path("template") };
    drop(broker);
    copy(&data, &template.data);
    let mut outcomes = BTreeMap::<_, Vec<_>>::new();
    for case in &cases {
        if let Some(outcome) = check(&world, &template, case).await {
            outcomes.entry(outcome).or_default().push(case);
        }
    }
    for (outcome, cases) in &outcomes {
        let cases = cases.iter().map(|(name, _, damage)| format!("{name} {damage:?}"));
        eprintln!("{outcome:?}: {}", cases.collect::<Vec<_>>().join(", "));
    }
    let kinds = |outcome| outcomes.get(&outcome).into_iter().flatten().map(|(_, kind, _)| *kind);
    let refused: BTreeSet<_> = kinds(Outcome::Refused).collect();
    assert!(refused.contains(&Kind::CaCertificate) && refused.contains(&Kind::CaKey), "{outcomes:?}");
    let told: BTreeSet<_> = kinds(Outcome::Told).collect();
    assert!(told.contains(&Kind::Segment) && told.contains(&Kind::Meta), "{outcomes:?}");
    let whole: BTreeSet<_> = kinds(Outcome::Whole).collect();
    assert!(!whole.contains(&Kind::Meta) && !whole.contains(&Kind::CaCertificate), "{outcomes:?}");
}
