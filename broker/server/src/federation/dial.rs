//! Keeps links to configured peers: dials, and dials again with backoff and jitter.
//!
//! Invariant: while a link to the peer is up, whoever dialled it, nothing is dialled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use rand::Rng;

use super::link;
use super::peer::Peer;
use crate::shared::Shared;
use crate::wire::Ending;

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
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
            Ok(connection) => {
                let ending = link::run(&shared, connection, &peer, true).await;
                tracing::info!(peer = peer.name, %ending, "link ended");
                if began.elapsed() > GOOD_LINK {
                    backoff = BACKOFF_MIN;
                }
            }
            Err(problem) => {
                tracing::debug!(peer = peer.name, address, problem, "peer cannot be reached");
                peer.set_problem(Some(problem));
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

async fn dial(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    peer: &Peer,
    address: &str,
) -> Result<quinn::Connection, String> {
    let target = resolve(address, endpoint).await?;
    let config = crate::quic::peer_client_config(&shared.trust, &peer.name)?;
    let connecting = endpoint
        .connect_with(config, target, "fanal")
        .map_err(|error| format!("cannot dial {address}: {error}"))?;
    match tokio::time::timeout(DIAL_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(format!("{address}: {}", crate::quic::explain(&error))),
        Err(_) => Err(format!("{address}: no answer within {} s", DIAL_TIMEOUT.as_secs())),
    }
}

async fn resolve(address: &str, endpoint: &Endpoint) -> Result<SocketAddr, String> {
    let is_v4 = endpoint.local_addr().map(|local| local.is_ipv4()).unwrap_or(true);
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("cannot resolve {address}: {error}"))?;
    let candidates: Vec<SocketAddr> = found.collect();
    let fits = candidates.iter().find(|candidate| !is_v4 || candidate.is_ipv4());
    fits.copied().ok_or_else(|| format!("{address} has no address of the family that this broker listens on"))
}

/// Serves a link that the other side dialled.
pub(crate) async fn serve_accepted(
    shared: Arc<Shared>,
    connection: quinn::Connection,
    peer: Arc<Peer>,
) -> Ending {
    link::run(&shared, connection, &peer, false).await
}
