//! Keeps links to configured peers: dials, and dials again with backoff and jitter.
//!
//! Invariants:
//! 1. While a link to the peer is up, whoever dialled it, nothing is dialled.
//! 2. A name is resolved anew at each dial, and each of its addresses is tried in turn: a peer that
//!    comes back elsewhere, or answers at one address of several, is found.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Endpoint};
use rand::Rng;

use super::link;
use super::peer::{Peer, Problem};
use crate::shared::Shared;
use crate::wire::Ending;

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried in one dial.
const ADDRESSES_MAX: usize = 8;
/// A link that lived this long was a good one: the backoff starts over.
const GOOD_LINK: Duration = Duration::from_secs(10);

/// Keeps a link to a configured peer for as long as the broker runs.
pub(crate) async fn keep_linked(shared: Arc<Shared>, endpoint: Endpoint, peer: Arc<Peer>, address: String) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let mut linked = peer.linked.subscribe();
        // The sender lives in the peer, which is held here.
        let _ = linked.wait_for(|linked| !linked).await;
        let began = tokio::time::Instant::now();
        match dial(&shared, &endpoint, &peer, &address).await {
            Ok(None) => {}
            Ok(Some(connection)) => {
                let ending = link::run(&shared, connection, &peer, true).await;
                tracing::info!(peer = peer.name, %ending, "link ended");
                if began.elapsed() > GOOD_LINK {
                    backoff = BACKOFF_MIN;
                }
            }
            Err(problem) => {
                tracing::debug!(peer = peer.name, address, problem.text, "peer cannot be reached");
                peer.set_problem(problem);
            }
        }
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(backoff.mul_f64(jitter)).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
        if peer.is_linked() {
            backoff = BACKOFF_MIN;
        }
    }
}

/// A connection to one of the peer's addresses; `None` when there is a link before one was found.
async fn dial(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    peer: &Peer,
    address: &str,
) -> Result<Option<quinn::Connection>, Problem> {
    let config = crate::quic::peer_client_config(&shared.trust, &peer.name).map_err(Problem::passing)?;
    let mut problems = Vec::new();
    let mut is_refusal = false;
    for target in resolve(address, endpoint).await.map_err(Problem::passing)? {
        if peer.is_linked() {
            return Ok(None);
        }
        let problem = match connect(endpoint, config.clone(), target).await {
            Ok(connection) => return Ok(Some(connection)),
            Err(problem) => problem,
        };
        is_refusal |= problem.is_refusal;
        // The name alone says no more where it is an address.
        let place = if target.to_string() == address { String::new() } else { format!(" ({target})") };
        problems.push(format!("{address}{place}: {}", problem.text));
    }
    Err(Problem { text: problems.join("; "), is_refusal })
}

async fn connect(
    endpoint: &Endpoint,
    config: ClientConfig,
    target: SocketAddr,
) -> Result<quinn::Connection, Problem> {
    let connecting = endpoint
        .connect_with(config, target, "fanal")
        .map_err(|error| Problem::passing(format!("cannot dial: {error}")))?;
    match tokio::time::timeout(DIAL_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Problem::from(&error)),
        Err(_) => Err(Problem::passing(format!("no answer within {} s", DIAL_TIMEOUT.as_secs()))),
    }
}

/// The addresses of a name that the listener's family can reach; at least one.
async fn resolve(address: &str, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let is_v4 = endpoint.local_addr().map(|local| local.is_ipv4()).unwrap_or(true);
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("cannot resolve {address}: {error}"))?;
    let mut fits: Vec<SocketAddr> =
        found.filter(|candidate| !is_v4 || candidate.is_ipv4()).take(ADDRESSES_MAX).collect();
    fits.dedup();
    if fits.is_empty() {
        return Err(format!("{address} has no address of the family that this broker listens on"));
    }
    Ok(fits)
}

/// Serves a link that the other side dialled.
pub(crate) async fn serve_accepted(
    shared: Arc<Shared>,
    connection: quinn::Connection,
    peer: Arc<Peer>,
) -> Ending {
    link::run(&shared, connection, &peer, false).await
}
