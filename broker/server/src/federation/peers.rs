//! The peers of a broker, by identity (name and CA).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fanal_protocol::Fingerprint;

use super::peer::Peer;
use crate::shared::Shared;

/// See the module.
#[derive(Default)]
pub(crate) struct Peers {
    by_identity: Mutex<BTreeMap<(String, Fingerprint), Arc<Peer>>>,
}

impl Peers {
    /// Finds a peer or makes it known.
    pub(crate) fn ensure(&self, shared: &Shared, name: &str, authority: Fingerprint) -> Arc<Peer> {
        let mut peers = self.by_identity.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = peers.entry((name.to_owned(), authority));
        Arc::clone(peer.or_insert_with(|| Peer::new(shared, name, authority)))
    }

    /// All peers, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.by_identity.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
