//! What is under deploy/, as far as it can be held against the program without a container engine,
//! Grafana or systemd: the commands and variables in those files are given to the real binary.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

#[path = "deploy/files.rs"]
mod files;
#[path = "deploy/grafana.rs"]
mod grafana;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fanal_tests::broker::World;
use fanal_tests::cli;
use fanal_tests::dashboard::{self, filled, items, text};
use fanal_tests::http::Metrics;
use fanal_tests::process::Process;
use fanal_tests::wait::until;
use files::{Containerfile, Yaml, deploy, read, unit_values};
use serde_json::Value;

// ---- alerts ----

#[test]
fn each_alert_has_words_a_section_in_the_runbook_and_tests_of_both_kinds() {
    let rules = Yaml::read("prometheus/rules/alerts.yml");
    let tests = Yaml::read("prometheus/tests/alerts.yml");
    let runbook = read("prometheus/RUNBOOK.md");
    let mut tested: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in tests.get("tests").items().iter().flat_map(|test| test.get("alert_rule_test").items()) {
        let (fires, silent) = tested.entry(case.get("alertname").text()).or_default();
        *if case.get("exp_alerts").items().is_empty() { silent } else { fires } += 1;
    }
    let mut names = BTreeSet::new();
    for rule in rules.get("groups").items().iter().flat_map(|group| group.get("rules").items()) {
        let name = rule.get("alert").text();
        let severity = rule.get("labels").get("severity").text();
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: {severity}");
        for words in ["summary", "description"] {
            assert!(rule.get("annotations").get(words).text().contains(' '), "{name}: {words}");
        }
        let anchor = format!("deploy/prometheus/RUNBOOK.md#{}", name.to_lowercase());
        assert_eq!(rule.get("annotations").get("runbook").text(), anchor);
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name} has no section in RUNBOOK.md");
        let (fires, silent) = tested.remove(&name).unwrap_or_default();
        assert!(fires > 0 && silent > 0, "{name}: {fires} tests in which it fires, {silent} in which not");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
    assert!(names.len() > 20 && tested.is_empty(), "tests of no alert: {tested:?}");
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(sections.map(str::to_owned).collect::<BTreeSet<_>>(), names);
}

// ---- containers ----

/// What `serve` would run with in this environment.
fn explained(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut command = cli::command(["check-config", "--json"]);
    command.envs(environment);
    let finished = Process::start(&mut command).finish();
    assert_eq!(finished.code, Some(0), "{environment:?}: {}", finished.stderr);
    let json: Value = serde_json::from_str(&finished.stdout.join("\n")).unwrap();
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(0), "{json}");
    items(&json["values"]).map(|value| (text(&value["key"]), shown(&value["value"]))).collect()
}

/// A value as an environment variable would have it: a list with commas.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(","),
        value => text(value),
    }
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn the_image_says_what_the_broker_does() {
    let file = Containerfile::read("Containerfile");
    let stage = file.last_stage();
    let environment = stage.environment();
    let values = explained(&environment);
    let exposed: BTreeSet<String> = stage.words("EXPOSE").into_iter().collect();
    let ports = [format!("{}/udp", port(&values["listen"])), format!("{}/tcp", port(&values["admin"]))];
    assert_eq!(exposed, BTreeSet::from(ports));
    assert_eq!(stage.list("VOLUME"), [values["data"].clone(), values["ca"].clone()]);
    assert_eq!(stage.words("STOPSIGNAL"), ["SIGTERM"]);
    let user: u32 = stage.words("USER")[0].split(':').next().unwrap().parse().unwrap();
    assert!(user > 0, "not as root");
    // The build stage makes the directories for that user.
    let build = file.text();
    assert!(build.contains(&format!("-o {user} -g {user} /out{} /out{}", values["data"], values["ca"])));
    assert_eq!(stage.list("CMD"), ["serve"]);
    assert!(build.contains(&format!("/out{}", stage.list("ENTRYPOINT")[0])), "what starts was installed");
    for from in file.values("FROM") {
        assert!(from.contains(':') && !from.contains(":latest"), "{from} names a version");
    }
    // Every member of the workspace must be there to build any of them.
    let ignored = read("Containerfile.dockerignore");
    for member in
        ["protocol", "matching", "broker", "client-lib", "cli", "bench", "tests", "Cargo.toml", "Cargo.lock"]
    {
        assert!(!ignored.lines().any(|line| line.trim_matches('/') == member), "{member} is left out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_images_health_check_tells_a_broker_that_serves_from_one_that_does_not() {
    let check = Containerfile::read("Containerfile").last_stage().health_check();
    assert_eq!(check[0], "/usr/local/bin/fanal");
    let world = World::new();
    let mut broker = world.broker("ewr").start();
    let healthy = |data: &Path| {
        let mut command = cli::command(&check[1..]);
        command.env("FANAL_DATA", data);
        Process::start(&mut command).finish()
    };
    let finished = healthy(broker.data());
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    broker.terminate();
    assert_ne!(healthy(broker.data()).code, Some(0));
}

#[test]
fn the_compose_file_agrees_with_the_program_and_with_what_it_mounts() {
    let compose = Yaml::read("compose.yaml");
    let image = Containerfile::read("Containerfile").last_stage().environment();
    let services = compose.get("services");
    let (mut brokers, mut published) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in services.entries() {
        check_mounts(&compose, &name, &service);
        for port in service.get("ports").items() {
            let port = port.text();
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is not on loopback");
            let (outside, inside) = port.rsplit_once(':').unwrap();
            assert!(
                published.insert((outside.to_owned(), inside.ends_with("/udp"))),
                "{name}: {port} is taken"
            );
        }
        if service.get("build").is_there() {
            check_broker(&services, &name, &service, &image);
            brokers.insert(name);
        }
    }
    assert_eq!(brokers, ["ewr", "jfk", "lga"].map(str::to_owned).into());
    let scraped: BTreeSet<String> = scraped(&Yaml::read("compose/prometheus.yml"));
    assert_eq!(scraped, brokers.iter().map(|name| format!("{name} {name}:4680")).collect());
}

/// A broker's environment gives a broker that its peers and Prometheus find.
fn check_broker(services: &Yaml, name: &str, service: &Yaml, image: &BTreeMap<String, String>) {
    let mut environment = image.clone();
    environment
        .extend(service.get("environment").entries().into_iter().map(|(key, value)| (key, value.text())));
    let values = explained(&environment);
    assert_eq!(values["name"], name);
    assert_eq!(values["admin_hosts"], name);
    for (key, address) in values.iter().filter(|(key, _)| key.starts_with("peers.")) {
        let peer = key.trim_start_matches("peers.");
        assert!(
            services.get(peer).is_there() && *address == format!("{peer}:{}", port(&values["listen"])),
            "{name}: {address}"
        );
    }
    let inside: BTreeSet<String> = service
        .get("ports")
        .items()
        .iter()
        .map(|port| port.text().rsplit_once(':').unwrap().1.to_owned())
        .collect();
    let own = [format!("{}/udp", port(&values["listen"])), port(&values["admin"]).to_string()];
    assert_eq!(inside, own.into());
    let mounted: BTreeSet<String> = service
        .get("volumes")
        .items()
        .iter()
        .map(|volume| volume.text().split_once(':').unwrap().1.to_owned())
        .collect();
    assert_eq!(mounted, [values["data"].clone(), values["ca"].clone()].into());
    assert!(service.get("read_only").is(true), "{name}: its volumes are all that it writes to");
    let grace: u64 = service.get("stop_grace_period").text().trim_end_matches('s').parse().unwrap();
    assert!(grace > 60, "a broker may take 60 s to drain");
}

/// Named volumes are declared, files and directories are there.
fn check_mounts(compose: &Yaml, name: &str, service: &Yaml) {
    for volume in service.get("volumes").items() {
        let volume = volume.text();
        let from = volume.split(':').next().unwrap();
        match from.starts_with('.') {
            true => assert!(deploy(from).exists(), "{name}: {from} is not there"),
            false => assert!(compose.get("volumes").has(from), "{name}: volume {from} is not declared"),
        }
    }
    let build = service.get("build");
    if build.is_there() {
        assert!(deploy(&build.get("context").text()).join(build.get("dockerfile").text()).exists());
    }
}

/// `INSTANCE TARGET` of every target of job fanal.
fn scraped(config: &Yaml) -> BTreeSet<String> {
    let jobs = config.get("scrape_configs").items();
    let job = jobs.iter().find(|job| job.get("job_name").text() == "fanal").unwrap();
    let groups = job.get("static_configs").items();
    let of = |group: &Yaml| {
        let instance = group.get("labels").get("instance").text();
        group
            .get("targets")
            .items()
            .iter()
            .map(|target| format!("{instance} {}", target.text()))
            .collect::<Vec<_>>()
    };
    groups.iter().flat_map(of).collect()
}

#[test]
fn the_example_of_a_target_file_names_each_broker_once() {
    let groups: Value = serde_json::from_str(&read("prometheus/targets/fanal.json")).unwrap();
    let mut instances = BTreeSet::new();
    for group in items(&groups) {
        assert!(instances.insert(text(&group["labels"]["instance"])), "{group}");
        assert!(
            items(&group["targets"]).count() == 1 && port(&text(&group["targets"][0])) == 4680,
            "{group}"
        );
    }
    assert_eq!(instances, ["ewr", "jfk", "lga"].map(str::to_owned).into());
}

#[test]
fn grafana_finds_its_data_source_and_its_dashboards() {
    let compose = Yaml::read("compose.yaml");
    let grafana = compose.get("services").get("grafana");
    let mounts: Vec<String> = grafana.get("volumes").items().iter().map(Yaml::text).collect();
    let source =
        &Yaml::read("grafana/provisioning/datasources/prometheus.yaml").get("datasources").items()[0];
    let url = grafana.get("environment").get("FANAL_PROMETHEUS_URL").text();
    assert_eq!(
        filled(&source.get("url").text(), &[("FANAL_PROMETHEUS_URL", &url)]),
        "http://prometheus:9090"
    );
    let interval = Yaml::read("compose/prometheus.yml").get("global").get("scrape_interval").text();
    assert_eq!(
        source.get("jsonData").get("timeInterval").text(),
        interval,
        "$__rate_interval is made from it"
    );
    let provider = &Yaml::read("grafana/provisioning/dashboards/fanal.yaml").get("providers").items()[0];
    let path = provider.get("options").get("path").text();
    assert!(mounts.contains(&format!("./grafana/dashboards:{path}:ro")), "{mounts:?}");
    let home = grafana.get("environment").get("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH").text();
    let file = home.strip_prefix(&path).unwrap();
    assert!(dashboard::directory().join(file.trim_start_matches('/')).is_file(), "{home}");
}

// ---- systemd ----

#[test]
fn the_unit_starts_a_broker_that_can_stop_in_time() {
    let unit = read("systemd/fanal.service");
    let start = unit_values(&unit, "ExecStart").remove(0);
    let mut words: Vec<String> = start.split(' ').map(str::to_owned).collect();
    assert_eq!(words[..2], ["/usr/local/bin/fanal", "serve"]);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("fanal.toml");
    let defaults = cli::run(["check-config", "--defaults"]).stdout.join("\n");
    std::fs::write(&config, defaults).unwrap();
    let given = words.iter().position(|word| word == "/etc/fanal/fanal.toml").unwrap();
    words[given] = config.to_string_lossy().into_owned();
    words[1] = "check-config".into();
    let finished = cli::run(&words[1..]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let state = format!("/var/lib/{}", unit_values(&unit, "StateDirectory")[0]);
    assert!(start.contains(&state), "it writes where it may");
    let stop: u64 = unit_values(&unit, "TimeoutStopSec")[0].parse().unwrap();
    assert!(stop > 60, "a broker may take 60 s to drain");
    let user = &unit_values(&unit, "User")[0];
    assert!(read("systemd/fanal.sysusers").contains(&format!("\nu     {user} ")), "the user is made");
    assert!(read("systemd/fanal.tmpfiles").contains(&format!("{state}  0700 {user}")));
}

#[test]
fn the_units_environment_file_names_only_what_the_broker_knows() {
    let file = read("systemd/fanal.env");
    let settings =
        file.lines().map(|line| line.trim_start_matches('#')).filter(|line| line.starts_with("FANAL_"));
    let environment: BTreeMap<String, String> = settings
        .map(|line| line.split_once('=').unwrap())
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    assert!(environment.len() > 3);
    let values = explained(&environment);
    for (variable, value) in
        environment.iter().filter(|(name, _)| !["FANAL_LOG", "FANAL_PEERS"].contains(&name.as_str()))
    {
        let key = variable.trim_start_matches("FANAL_").to_lowercase();
        assert_eq!(values.get(&key), Some(value), "{variable}");
    }
    assert!(values.contains_key("peers.jfk") && values.contains_key("peers.lga"));
}

// ---- what the containers need of the broker ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_http_answers_to_the_names_that_were_listed_and_to_no_other() {
    let world = World::new();
    let config = world.path("hosts.toml");
    std::fs::write(&config, "admin_hosts = [\"ewr\", \"ewr.example.org\"]\n").unwrap();
    let broker = world.broker("ewr").config(config).start();
    let status = |host: &str| files::get_as(broker.admin(), host, "/metrics");
    for host in ["ewr", "ewr:4680", "EWR.example.org", "localhost", "127.0.0.1"] {
        assert_eq!(status(host), 200, "{host}");
    }
    for host in ["jfk", "ewr.example.com", "evil.example:4680", ""] {
        assert_eq!(status(host), 403, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_found_by_its_host_name() {
    let world = World::new();
    let ewr = world.broker("ewr").start();
    let config = world.path("peer.toml");
    let address = format!("localhost:{}", ewr.listen().port());
    std::fs::write(&config, format!("[peers.ewr]\naddress = \"{address}\"\n")).unwrap();
    let jfk = world.broker("jfk").config(config).start();
    until("a link", || (Metrics::of(&jfk).sum("fanal_link_up", &[("peer", "ewr")]) == 1.0).then_some(()))
        .await;
}
