//! Every key of the configuration: name, default, meaning.

use std::fmt::Write as _;

use fanal_broker::Limits;

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

/// Access to one field of the limits.
pub(crate) struct Limit {
    pub(crate) get: fn(&Limits) -> Option<u64>,
    pub(crate) set: fn(&mut Limits, Option<u64>),
    pub(crate) min: u64,
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
                example: "",
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
    Key {
        path: "limits.store_bytes",
        default: Preset::OfLimit,
        doc: "Bytes of the store on disk. Default: none, the disk is the limit.",
        limit: Some(Limit {
            get: |limits| limits.store_bytes,
            set: |limits, value| limits.store_bytes = value,
            min: 16 << 20,
            example: "\"100 GiB\"",
        }),
    },
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
         # address = \"jfk.example.org:4600\"\n",
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

impl Key {
    fn default_text(&self) -> String {
        match (&self.default, &self.limit) {
            (Preset::Text(text), _) => (*text).to_owned(),
            (Preset::OfLimit, Some(limit)) => {
                let value = (limit.get)(&Limits::default());
                value.map_or_else(|| limit.example.to_owned(), |value| value.to_string())
            }
            (Preset::OfLimit, None) => String::new(),
        }
    }
}
