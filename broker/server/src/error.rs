//! Why a broker does not start. Every message says what, where and what to do.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::trust::TrustError;

/// See the module.
#[derive(Debug, Error)]
pub enum StartError {
    /// A name that no certificate may carry.
    #[error("broker name: {0}")]
    Name(#[from] fanal_protocol::identity::IdentityError),
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}: {source}; {}", path.display(), data_advice(source))]
    Data {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] fanal_store::OpenError),
    /// The store holds what this version cannot read.
    #[error("the store in {}: {source}", path.display())]
    Recover {
        /// Where.
        path: PathBuf,
        /// Why.
        source: fanal_core::home::RecoverError,
    },
    /// Certificates cannot be had.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {source}; {}", advice(what, source))]
    Listen {
        /// QUIC or admin HTTP.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Two peers under one name, or the broker itself among its peers.
    #[error("peer '{name}': {reason}")]
    Peer {
        /// The peer.
        name: String,
        /// Why.
        reason: String,
    },
    /// Limits that do not fit each other.
    #[error("limits: {reason}")]
    Limits {
        /// Which, and what to do.
        reason: String,
    },
    /// The durable subscriptions, or what peers ask for, need more memory than the index may have.
    #[error(
        "limits.index_bytes = {limit} is too little for the {all} durable subscriptions of the store and what \
         peers ask for: after {restored} of them {full}; raise limits.index_bytes, everything is still in the \
         store"
    )]
    IndexFull {
        /// What the index may have.
        limit: u64,
        /// Durable subscriptions that found room.
        restored: usize,
        /// Durable subscriptions.
        all: usize,
        /// How full it is.
        full: fanal_matching::IndexFull,
    },
    /// A thread cannot be started.
    #[error("cannot start the log writer: {0}")]
    Thread(std::io::Error),
}

fn advice(what: &str, source: &std::io::Error) -> String {
    let flag = if what == "QUIC" { "--listen" } else { "--admin" };
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("another process uses this port: stop it, or choose another with {flag} IP:PORT")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address: choose another with {flag} IP:PORT")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need privileges: choose another with {flag} IP:PORT")
        }
        _ => format!("choose another address with {flag} IP:PORT"),
    }
}

fn data_advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
            "a file is in the way: choose another directory with --data"
        }
        std::io::ErrorKind::PermissionDenied => "change the permissions there, or choose another with --data",
        std::io::ErrorKind::StorageFull => "make room there, or choose another with --data",
        _ => "choose another with --data",
    }
}
