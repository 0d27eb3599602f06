//! The broker as a library: the shells around the core and the store.
//!
//! `accept` takes connections and hands them to `edge` (clients) or `federation` (peers); both
//! route with `route` and hand what must be durable to `log`, the one writer; `mailbox` and `live`
//! own what waits for a destination; `admin`, `pages` and `metrics` show it all.
//!
//! Invariants:
//! 1. Shells hold no policy: what is accepted, in which order, and which link stays is decided in
//!    `fanal-core`.
//! 2. No lock is held while sending or awaiting.
//! 3. Every buffer has a bound in bytes.

mod accept;
mod admin;
mod broker;
mod clock;
mod config;
mod edge;
mod error;
mod federation;
mod gauges;
mod live;
mod log;
mod mailbox;
mod metrics;
pub mod offline;
mod pages;
mod quic;
mod ready;
mod route;
mod shared;
mod sockets;
mod trust;
mod wire;

pub use broker::Broker;
pub use config::{ADMIN_PORT, Config, LISTEN_PORT, Limits, MailboxLimits, PeerConfig, RuleConfig};
pub use error::StartError;
pub use fanal_store::Progress;
pub use trust::TrustError;
