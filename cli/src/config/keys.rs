//! Every key of the configuration: name, default, meaning.

use std::fmt::Write as _;

use std::time::Duration;

use fanal_broker::Limits;
use figment::value::Value;

use super::values;

/// What names of variables begin with.
pub(crate) const PREFIX: &str = "FANAL_";
/// All peers in one variable.
pub(crate) const PEERS_VARIABLE: &str = "FANAL_PEERS";
/// Data directory unless configured.
pub(crate) const DATA: &str = "fanal-data";
/// Name of the file's layer.
pub(crate) const FILE: &str = "file";
/// Variables that are no keys.
const OTHER_VARIABLES: [&str; 4] = ["FANAL_CONFIG", "FANAL_CREDS", "FANAL_LOG", PEERS_VARIABLE];

/// One key.
pub(crate) struct Key {
    /// With its table, such as `limits.body_bytes_max`.
    pub(crate) path: &'static str,
    /// Example or default as TOML.
    default: Preset,
    /// Meaning; one line of the default file each.
    doc: &'static str,
    /// How a limit is read and written.
    pub(crate) limit: Option<Limit>,
}

enum Preset {
    Text(&'static str),
    OfLimit,
}

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things, or bytes.
    Count,
    /// Milliseconds, written as a duration.
    Time,
}

/// Access to one field of the limits.
pub(crate) struct Limit {
    pub(crate) get: fn(&Limits) -> Option<u64>,
    pub(crate) set: fn(&mut Limits, Option<u64>),
    pub(crate) min: u64,
    pub(crate) unit: Unit,
    /// Shown where there is no limit by default.
    example: &'static str,
}

impl Key {
    /// The variable that overrides it.
    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// Variables that configure a broker, with the meaning of their keys.
pub(crate) fn documented_variables() -> Vec<(String, String)> {
    let one_line = |doc: &str| doc.replace('\n', " ");
    let keys = KEYS.iter().map(|key| (key.variable(), one_line(key.doc)));
    let peers = (PEERS_VARIABLE.to_owned(), "Brokers to dial, as NAME=HOST:PORT,NAME=HOST:PORT.".to_owned());
    keys.chain([peers]).collect()
}

/// Names of all variables that mean something.
pub(crate) fn variables() -> impl Iterator<Item = String> {
    KEYS.iter().map(Key::variable).chain(OTHER_VARIABLES.map(str::to_owned))
}

macro_rules! key {
    ($path:literal, $default:literal, $doc:literal) => {
        Key { path: $path, default: Preset::Text($default), doc: $doc, limit: None }
    };
}

macro_rules! limit {
    ($field:ident : $ty:ty, min $min:literal, $doc:literal) => {
        Key {
            path: concat!("limits.", stringify!($field)),
            default: Preset::OfLimit,
            doc: $doc,
            limit: Some(Limit {
                get: |limits| u64::try_from(limits.$field).ok(),
                set: |limits, value| {
                    if let Some(value) = value {
                        limits.$field = <$ty>::try_from(value).unwrap_or(<$ty>::MAX);
                    }
                },
                min: $min,
                unit: Unit::Count,
                example: "",
            }),
        }
    };
}

/// A limit that there need not be.
macro_rules! option {
    ($path:literal, $($field:ident).+, $unit:ident, min $min:expr, example $example:literal, $doc:literal) => {
        Key {
            path: concat!("limits.", $path),
            default: Preset::OfLimit,
            doc: $doc,
            limit: Some(Limit {
                get: |limits| limits.$($field).+,
                set: |limits, value| limits.$($field).+ = value,
                min: $min,
                unit: Unit::$unit,
                example: $example,
            }),
        }
    };
}

/// Every key, in the order of the default file.
pub(crate) const KEYS: &[Key] = &[
    key!(
        "name",
        "\"ewr\"",
        "This broker's name, unique in the federation: letters, digits, `.`, `-`, `_`.\nDefault: made from the host's name."
    ),
    key!(
        "listen",
        "\"127.0.0.1:4600\"",
        "Where clients and peers reach it (QUIC, UDP), as IP:PORT. \"[::]:4600\" for every interface."
    ),
    key!(
        "admin",
        "\"127.0.0.1:4680\"",
        "Where admin HTTP answers: /healthz, /readyz, /metrics, /api/v1. Keep it on loopback."
    ),
    key!(
        "admin_hosts",
        "[]",
        "Host names under which admin HTTP answers, as in [\"ewr\", \"ewr.example.org\"], for scrapers that ask by name.\nIt always answers when asked by address or as localhost; other names are refused, since a web page could\nmake a name of its own point here. In the environment: names with commas between them."
    ),
    key!(
        "data",
        "\"fanal-data\"",
        "Directory of the store; one broker per directory. Relative to where the broker is started."
    ),
    key!(
        "ca",
        "\"fanal-data/ca\"",
        "Directory of the certificate authority, made on first start. Brokers of one owner share it.\nDefault: `ca` in the data directory."
    ),
    limit!(body_bytes_max: usize, min 1024, "Largest body of an event, in bytes; larger ones are refused (413)."),
    limit!(live_buffer_bytes: usize, min 4096, "Buffer of one live subscription; full, it drops the oldest and the subscriber is told how many."),
    limit!(live_memory_bytes: usize, min 65536, "All live buffers together."),
    limit!(channels_per_connection: usize, min 1, "Subscriptions and publish channels on one connection."),
    limit!(connections: usize, min 1, "Connections at once."),
    limit!(
        index_bytes: u64,
        min 16777216,
        "Memory of the subscription index, at most 8 GiB, of which 64 MiB, or half, is kept back. Full, it refuses\nsubscriptions (507) and what peers ask for is widened; too small for what the store holds, the broker does\nnot start."
    ),
    limit!(segment_bytes: u64, min 1048576, "Size of the store's segment files."),
    option!("store_bytes", store_bytes, Count, min 16 << 20, example "\"100 GiB\"",
        "Bytes of the store on disk: its segments, those kept ready and those being taken back among them. Beside it stand\nwhat was quarantined and the backup of an upgrade. Default: none, the disk is the limit."),
    option!("store_events", store_events, Count, min 1, example "10000000",
        "Most events that wait in all mailboxes together, the dead letters too; one that waits in three counts as\nthree. Default: none."),
    option!(
        "store_age",
        store_age_ms,
        Time,
        min 1_000,
        example "\"90d\"",
        "Longest time that an event is kept, in whichever mailbox, the dead letters too, since it was accepted; then it\nis dropped. Default: none. The clock may lag as for mailbox_age."
    ),
    limit!(
        give_way_percent: u64,
        min 50,
        "From this share of store_bytes or store_events on, in percent, the largest mailboxes give way, oldest events\nfirst, and before them the dead letters. 100: never; publishers are refused (507) when the store is full."
    ),
    option!("mailbox_bytes", mailbox.bytes, Count, min 4096, example "\"10 GiB\"",
        "Most bytes of events in one mailbox, of a durable subscription or a peer. Publishers are not refused: the\noldest events go to the dead letters, or are dropped if the subscription chose so. A subscription may\nchoose less. Default: a tenth of the store."),
    option!("mailbox_events", mailbox.events, Count, min 1, example "1000000",
        "Most events in one mailbox; beyond, as for mailbox_bytes. Default: none."),
    option!(
        "mailbox_age",
        mailbox.age_ms,
        Time,
        min 1_000,
        example "\"30d\"",
        "Longest time that an event waits in a mailbox; beyond, as for mailbox_bytes. Default: none. The clock may lag\nbehind after it was set: what is of no use after some time needs a TTL."
    ),
    option!("dead_letter_bytes", dead_letters.bytes, Count, min 4096, example "\"10 GiB\"",
        "Most bytes of events in the dead letters; beyond, the oldest are dropped. Default: a tenth of the store."),
    option!("dead_letter_events", dead_letters.events, Count, min 1, example "1000000",
        "Most events in the dead letters; beyond, the oldest are dropped. Default: none."),
    option!(
        "dead_letter_age",
        dead_letters.age_ms,
        Time,
        min 1_000,
        example "\"30d\"",
        "Longest time that an event stays in the dead letters; then it is dropped. Default: none."
    ),
];

/// The default file: every key with its meaning, commented out.
pub(crate) fn default_file() -> String {
    let mut out = String::from(
        "# Configuration of `fanal serve`; give it with --config FILE or FANAL_CONFIG.\n\
         # Each value can also be set in the environment, and most by a flag;\n\
         # flags win over the environment, and the environment over this file.\n\
         # Sizes are bytes, or text with a unit: \"64 MiB\".\n",
    );
    let mut table = "";
    for key in KEYS {
        let (of, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if of != table {
            // Writing into a string cannot fail.
            let _ = write!(out, "\n[{of}]\n");
            table = of;
        }
        out.push('\n');
        for line in key.doc.lines() {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "# (environment: {})\n# {name} = {}", key.variable(), key.default_text());
    }
    out.push_str(
        "\n# Brokers to dial, one table each; either side of a link may dial.\n# (environment: FANAL_PEERS, as NAME=HOST:PORT,NAME=HOST:PORT)\n\
         # [peers.jfk]\n\
         # address = \"jfk.example.org:4600\"\n\
         \n# Topics on which publishers are refused (507) when a mailbox is full, and no event gives way, one table each.\n\
         # For publishers at this broker: what comes over a link is taken, and the oldest of a full mailbox gives way.\n\
         # [rules.audit]\n\
         # topic = \"audit/#\"\n\
         # when_full = \"refuse\"\n",
    );
    out
}

/// A key of the configuration, for programs.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Described {
    key: &'static str,
    environment: String,
    /// The value that the default file shows, as TOML: the default, where there is one.
    example: String,
    meaning: &'static str,
}

/// Every key with its meaning, in the order of the default file.
pub(crate) fn described() -> Vec<Described> {
    let describe = |key: &Key| Described {
        key: key.path,
        environment: key.variable(),
        example: key.default_text(),
        meaning: key.doc,
    };
    KEYS.iter().map(describe).collect()
}

impl Unit {
    /// Reads a value of at least `min`.
    pub(crate) fn read(self, value: &Value, min: u64) -> Result<u64, String> {
        match self {
            Unit::Count => values::count(value, min),
            Unit::Time => values::duration(value, min),
        }
    }

    /// A value as a file has it.
    pub(crate) fn show(self, value: u64) -> serde_json::Value {
        match self {
            Unit::Count => value.into(),
            Unit::Time => crate::duration::show(Duration::from_millis(value)).into(),
        }
    }
}

impl Key {
    fn default_text(&self) -> String {
        match (&self.default, &self.limit) {
            (Preset::Text(text), _) => (*text).to_owned(),
            (Preset::OfLimit, Some(limit)) => {
                let value = (limit.get)(&Limits::default());
                value.map_or_else(|| limit.example.to_owned(), |value| limit.unit.show(value).to_string())
            }
            (Preset::OfLimit, None) => String::new(),
        }
    }
}
