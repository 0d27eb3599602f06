//! Layers, places and messages of the configuration.

use super::*;
use fanal_broker::MailboxLimits;

fn args(config: Option<&str>) -> (ConfigArgs, Option<tempfile::NamedTempFile>) {
    let file = config.map(|text| {
        let file = tempfile::Builder::new().prefix("fanal").suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    });
    let path = file.as_ref().map(|file| file.path().to_owned());
    (ConfigArgs { config: path, ..ConfigArgs::default() }, file)
}

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        variables: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        host_name: "host".into(),
    }
}

fn error_of(text: &str) -> String {
    let (args, _file) = args(Some(text));
    load(&args, None, &surroundings(&[])).unwrap_err()
}

#[test]
fn without_anything_it_is_a_broker_on_loopback() {
    let loaded = load(&ConfigArgs::default(), None, &surroundings(&[])).unwrap();
    assert_eq!(loaded.config, Config::new("host", "fanal-data"));
    assert!(loaded.explained.iter().all(|explained| explained.from == "default"));
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let text = "name = \"file\"\nlisten = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[peers.\"a.b\"]\naddress = \"x:1\"\n[limits]\nstore_bytes = \"1 GiB\"\n";
    let (mut args, file) = args(Some(text));
    args.name = Some("flag".into());
    args.peers = vec!["c=y:2".into()];
    let variables = [("FANAL_NAME", "variable"), ("FANAL_LISTEN", "127.0.0.1:3"), ("FANAL_PEERS", "d=z:3")];
    let loaded = load(&args, Some(Path::new("/d")), &surroundings(&variables)).unwrap();
    let config = &loaded.config;
    assert_eq!((config.name.as_str(), config.listen.port(), config.admin.port()), ("flag", 3, 2));
    assert_eq!(config.ca, Path::new("/d/ca"));
    assert_eq!(config.limits.store_bytes, Some(1 << 30));
    let peers: Vec<_> = config.peers.iter().map(|peer| (peer.name.as_str(), peer.address.as_str())).collect();
    assert_eq!(peers, [("a.b", "x:1"), ("c", "y:2"), ("d", "z:3")]);
    let source = |key: &str| {
        let found = loaded.explained.iter().find(|explained| explained.key == key);
        found.map(|explained| explained.from.clone()).unwrap()
    };
    assert_eq!((source("name"), source("listen")), ("--name".into(), "FANAL_LISTEN".into()));
    let path = file.unwrap().path().display().to_string();
    assert_eq!(source("admin"), format!("{path}:3"));
    assert_eq!(source("limits.store_bytes"), format!("{path}:7"));
    assert_eq!(source("peers.c"), "--peer");
}

#[test]
fn unknown_keys_are_refused_with_their_line_and_a_suggestion() {
    let error = error_of(
        "name = \"x\"\nlissten = \"127.0.0.1:1\"\nbody_bytes_max = 5\n[limits]\nfoo = 1\n[peers.a]\naddres = \"x:1\"\n[peer.b]\naddress = \"x:1\"\n",
    );
    let lines: Vec<_> = error.lines().collect();
    for (line, expected) in [
        (0, ".toml:2: unknown key `lissten`: did you mean `listen`?"),
        (1, ".toml:3: unknown key `body_bytes_max`: did you mean `body_bytes_max` in [limits]?"),
        (2, ".toml:5: unknown key `limits.foo`: `fanal check-config --defaults`"),
        (3, ".toml:7: unknown key `peers.a.addres`: a peer has `address`"),
        (4, ".toml:8: unknown key `peer`: did you mean `peers`?"),
    ] {
        assert!(lines[line].contains(expected), "{expected}\n{error}");
    }
    assert_eq!(lines.len(), 5, "{error}");
}

#[test]
fn bad_values_say_where_and_what_to_write() {
    for (text, expected) in [
        ("name = \"a b\"", ".toml:1: `name`: `a b` is not a name"),
        ("name = 7", ".toml:1: `name`: `7` is not text"),
        ("\nlisten = \"4600\"", ".toml:2: `listen`: `4600` is not an address"),
        ("[limits]\nbody_bytes_max = \"big\"", ".toml:2: `limits.body_bytes_max`: `big` is not a size"),
        ("[limits]\nbody_bytes_max = 1", "at least 1024"),
        ("[limits]\nlive_buffer_bytes = \"2 GiB\"", "above `limits.live_memory_bytes`"),
        ("peers = 3", ".toml:1: `peers` holds one table per peer"),
        ("[peers.a]", "`peers.a`: has no address"),
        ("peers.a = \"x:1\"", "write [peers.a]"),
        ("[peers.a]\naddress = \"x\"", ".toml:2: `peers.a`: `x` is not an address to dial"),
        ("[peers.host]\naddress = \"x:1\"", "this broker's own name"),
        ("listen = \"127.0.0.1:4680\"", "both 127.0.0.1:4680"),
        ("admin_hosts = [\"ewr:4680\"]", ".toml:1: `admin_hosts`: `ewr:4680` is not a host name"),
        ("admin_hosts = \"*\"", "`*` is not a host name"),
        ("name = ", ".toml:1: not TOML"),
    ] {
        let error = error_of(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let missing = ConfigArgs { config: Some("/no/such.toml".into()), ..ConfigArgs::default() };
    let error = load(&missing, None, &surroundings(&[])).unwrap_err();
    assert!(error.contains("/no/such.toml") && error.contains("--defaults"), "{error}");
    let bad_peer = ConfigArgs { peers: vec!["ewr".into()], ..ConfigArgs::default() };
    assert!(
        load(&bad_peer, None, &surroundings(&[]))
            .unwrap_err()
            .contains("--peer: `ewr` is not NAME=HOST:PORT")
    );
    let error = load(&ConfigArgs::default(), None, &surroundings(&[("FANAL_LISTEN", "x")])).unwrap_err();
    assert!(error.starts_with("FANAL_LISTEN: `listen`"), "{error}");
}

#[test]
fn names_for_admin_http_come_from_the_file_or_the_environment() {
    let (in_file, _file) = args(Some("admin_hosts = [\"ewr\"]\n"));
    let hosts = |args: &ConfigArgs, variables: &[(&str, &str)]| {
        load(args, None, &surroundings(variables)).unwrap().config.admin_hosts
    };
    assert_eq!(hosts(&in_file, &[]), ["ewr"]);
    assert_eq!(hosts(&in_file, &[("FANAL_ADMIN_HOSTS", "jfk,lga")]), ["jfk", "lga"]);
    assert!(hosts(&ConfigArgs::default(), &[]).is_empty());
}

#[test]
fn a_misspelt_variable_is_warned_about_and_strangers_are_left_alone() {
    let variables =
        [("FANAL_LISTN", "127.0.0.1:1"), ("FANAL_SERVICE_HOST", "10.0.0.1"), ("FANAL_LOG", "debug")];
    let loaded = load(&ConfigArgs::default(), None, &surroundings(&variables)).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("did you mean FANAL_LISTEN?"));
}

#[test]
fn the_default_file_names_every_key_and_means_the_defaults() {
    let text = default_file();
    assert!(File::parse(Path::new("d.toml"), &text).unwrap().values.keys().eq(["limits"]));
    // Uncommented it reads back; name and peers are examples.
    let is_setting = |line: &&str| line.contains(" = ") || line.starts_with("# [") || line.starts_with('[');
    let settings: Vec<_> =
        text.lines().filter(is_setting).map(|line| line.trim_start_matches("# ")).collect();
    let (args, _file) = args(Some(&settings.join("\n")));
    let loaded = load(&args, None, &surroundings(&[])).unwrap();
    assert!(loaded.explained.iter().all(|explained| explained.from != "default"), "{:?}", loaded.explained);
    let mut expected = Config::new("ewr", "fanal-data");
    expected.peers = vec![PeerConfig { name: "jfk".into(), address: "jfk.example.org:4600".into() }];
    expected.rules = vec![RuleConfig { name: "audit".into(), topic: "audit/#".into() }];
    (expected.limits.store_bytes, expected.limits.store_events) = (Some(100 << 30), Some(10_000_000));
    let month = 30 * 86_400_000;
    expected.limits.store_age_ms = Some(3 * month);
    let example = MailboxLimits { bytes: Some(10 << 30), events: Some(1_000_000), age_ms: Some(month) };
    (expected.limits.mailbox, expected.limits.dead_letters) = (example, example);
    assert_eq!(loaded.config, expected);
}

#[test]
fn rules_are_checked_where_they_stand() {
    let rule = |rest: &str| error_of(&format!("[rules.audit]\n{rest}\n"));
    let lacking = rule("topic = \"audit/#\"");
    assert!(lacking.contains(":1") && lacking.contains("when_full"), "{lacking}");
    let other = rule("topic = \"audit/#\"\nwhen_full = \"drop\"");
    assert!(other.contains(":3") && other.contains("refuse"), "{other}");
    let topic = rule("topic = \"audit/#/x\"\nwhen_full = \"refuse\"");
    assert!(topic.contains(":2") && topic.contains("rules.audit"), "{topic}");
    assert!(rule("topics = \"a\"").contains("`topic` and `when_full`"));
    let percent = error_of("[limits]\ngive_way_percent = 101\n");
    assert!(percent.contains("50 to 100"), "{percent}");
}
