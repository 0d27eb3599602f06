//! What a broker needs to know before it starts. Parsing files and flags is the CLI's business.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use fanal_core::limits::Limits as MailboxLimits;

/// Port of the QUIC listener unless configured.
pub const LISTEN_PORT: u16 = 4600;
/// Port of the admin HTTP listener unless configured.
pub const ADMIN_PORT: u16 = 4680;

/// A peer that this broker dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its name, which its certificate must carry.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
}

/// An operator's rule: publishers on these topics are refused (507) when a mailbox is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConfig {
    /// Its name, as the refusal tells it.
    pub name: String,
    /// A topic filter.
    pub topic: String,
}

/// Bounds of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of an event, in bytes.
    pub body_bytes_max: usize,
    /// Buffer of one live subscription or live path of a link, in bytes; full, it drops oldest first.
    pub live_buffer_bytes: usize,
    /// All live buffers together, in bytes.
    pub live_memory_bytes: usize,
    /// Subscriptions and publish channels on one connection.
    pub channels_per_connection: usize,
    /// Connections at once.
    pub connections: usize,
    /// Memory of the subscription index, in bytes: 8 GiB at most, whatever this says.
    pub index_bytes: u64,
    /// Size of the log's segments, in bytes.
    pub segment_bytes: u64,
    /// Bytes of the store on disk; absent: the disk is the limit.
    pub store_bytes: Option<u64>,
    /// Events in all mailboxes together, the dead letters too; one that waits in three counts as three.
    pub store_events: Option<u64>,
    /// Longest time that an event is kept anywhere, in milliseconds since it was accepted.
    pub store_age_ms: Option<u64>,
    /// From this share of the store on, in percent, the largest mailboxes give way; 100: never.
    pub give_way_percent: u64,
    /// What each mailbox may hold; without a limit of bytes, a tenth of the store.
    pub mailbox: MailboxLimits,
    /// What the dead letters may hold; without a limit of bytes, a tenth of the store.
    pub dead_letters: MailboxLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: fanal_protocol::BODY_BYTES_MAX,
            live_buffer_bytes: 64 << 20,
            live_memory_bytes: 1 << 30,
            channels_per_connection: 10_000,
            connections: 100_000,
            index_bytes: 8 << 30,
            segment_bytes: 64 << 20,
            store_bytes: None,
            store_events: None,
            store_age_ms: None,
            give_way_percent: 90,
            mailbox: MailboxLimits::default(),
            dead_letters: MailboxLimits::default(),
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The broker's name, unique per CA.
    pub name: String,
    /// Where clients and peers connect (QUIC).
    pub listen: SocketAddr,
    /// Where the admin HTTP listens.
    pub admin: SocketAddr,
    /// Host names under which the admin HTTP answers, beside addresses and `localhost`.
    pub admin_hosts: Vec<String>,
    /// The store's directory.
    pub data: PathBuf,
    /// The CA's directory; brokers of one owner share it.
    pub ca: PathBuf,
    /// Peers to dial.
    pub peers: Vec<PeerConfig>,
    /// Topics on which publishers are refused rather than that a mailbox gives way.
    pub rules: Vec<RuleConfig>,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// A broker on loopback with everything in `data`.
    pub fn new(name: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Config {
            name: name.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, LISTEN_PORT)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)),
            admin_hosts: Vec::new(),
            ca: data.join("ca"),
            data,
            peers: Vec::new(),
            rules: Vec::new(),
            limits: Limits::default(),
        }
    }
}
