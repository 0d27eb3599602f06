//! Incoming connections: handshake, identity, and then to the edge or to federation.
//!
//! Invariants: the accept loop never awaits a handshake; a connection whose certificate, role and
//! ALPN do not fit together is refused before a frame of it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanal_protocol::tls::{Identity, Side, identify};
use fanal_protocol::{ALPN_CLIENT, ALPN_PEER, Code, Role};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Endpoint, Incoming};
use rustls::pki_types::CertificateDer;

use crate::edge;
use crate::federation::dial;
use crate::shared::Shared;
use crate::wire::{Ending, close};

/// Handshakes above which a client must prove its address first.
const UNVALIDATED_MAX: usize = 512;

/// Accepts connections until the endpoint is closed.
pub(crate) async fn accept_connections(shared: Arc<Shared>, endpoint: Endpoint) {
    let open = Arc::new(AtomicUsize::new(0));
    let shaking = Arc::new(AtomicUsize::new(0));
    while let Some(incoming) = endpoint.accept().await {
        if open.load(Ordering::Relaxed) >= shared.limits.connections {
            incoming.refuse();
            continue;
        }
        if shaking.load(Ordering::Relaxed) > UNVALIDATED_MAX && !incoming.remote_address_validated() {
            // An error here means that it was validated meanwhile.
            let _ = incoming.retry();
            continue;
        }
        let shared = Arc::clone(&shared);
        let counters = Counters::begin(&open, &shaking);
        tokio::spawn(async move { serve(shared, incoming, counters).await });
    }
}

/// Counts a connection for as long as it lives.
struct Counters {
    open: Arc<AtomicUsize>,
    shaking: Option<Arc<AtomicUsize>>,
}

impl Counters {
    fn begin(open: &Arc<AtomicUsize>, shaking: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        shaking.fetch_add(1, Ordering::Relaxed);
        Counters { open: Arc::clone(open), shaking: Some(Arc::clone(shaking)) }
    }

    fn handshake_done(&mut self) {
        if let Some(shaking) = self.shaking.take() {
            shaking.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.handshake_done();
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(shared: Arc<Shared>, incoming: Incoming, mut counters: Counters) {
    let remote = incoming.remote_address();
    let shaken = incoming.await;
    counters.handshake_done();
    let connection = match shaken {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%remote, error = crate::quic::explain(&error), "handshake failed");
            return;
        }
    };
    let ending = match admit(&shared, &connection) {
        Ok(Admitted::Client(principal)) => {
            edge::connection::serve(shared, connection.clone(), principal).await
        }
        Ok(Admitted::Peer(identity)) => serve_peer(shared, &connection, identity).await,
        Err(ending) => ending,
    };
    match &ending {
        Ending::Gone(reason) => tracing::debug!(%remote, reason, "connection ended"),
        Ending::Refused { code, reason } => tracing::warn!(%remote, %code, reason, "connection refused"),
    }
    close(&connection, &ending);
}

enum Admitted {
    Client(fanal_protocol::PublisherId),
    Peer(Identity),
}

/// Decides what a connection is, from its certificate and its ALPN alone.
fn admit(shared: &Shared, connection: &Connection) -> Result<Admitted, Ending> {
    let handshake = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let alpn = handshake.and_then(|data| data.protocol).unwrap_or_default();
    let chain =
        connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.map(|chain| *chain).unwrap_or_default();
    let identity = identify(&chain, Side::Client, &shared.trust.authorities())
        .map_err(|refusal| Ending::refused(refusal.code(), refusal.to_string()))?;
    match (alpn.as_slice(), &identity.role) {
        (ALPN_CLIENT, Role::Client(name)) => Ok(Admitted::Client(fanal_protocol::PublisherId {
            name: name.clone(),
            authority: identity.authority,
        })),
        (ALPN_PEER, Role::Broker(_)) => Ok(Admitted::Peer(identity)),
        (ALPN_PEER, role) => {
            Err(wrong_role(role, "links between brokers (ALPN fanal-peer/1) need a broker's certificate"))
        }
        (_, role) => Err(wrong_role(role, "clients (ALPN fanal/1) need a client's certificate")),
    }
}

fn wrong_role(role: &Role, needed: &str) -> Ending {
    Ending::refused(Code::Forbidden, format!("certificate is for {role}: {needed}"))
}

async fn serve_peer(shared: Arc<Shared>, connection: &Connection, identity: Identity) -> Ending {
    let name = identity.role.name();
    if name == shared.name && identity.authority == shared.trust.authority().fingerprint() {
        let reason =
            format!("this broker is called '{name}' itself: give each broker of one CA a name of its own");
        return Ending::refused(Code::Conflict, reason);
    }
    if let Some(reason) = shared.unavailable() {
        return Ending::refused(Code::Unavailable, reason);
    }
    crate::quic::tune_link(connection);
    let peer = shared.peers.ensure(&shared, name, identity.authority);
    dial::serve_accepted(shared, connection.clone(), peer).await
}
