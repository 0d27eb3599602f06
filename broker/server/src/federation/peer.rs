//! A peer: what is known of another broker, whether or not a link to it is up.
//!
//! Invariants:
//! 1. At most one link at a time. Which one stays is the core's decision, taken under one lock.
//! 2. Durable interest stays installed while the link is down, so that the mailbox fills; live
//!    interest ends with the link.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fanal_core::home::Principal;
use fanal_core::link::{LinkDecision, LinkFacts, decide_link};
use fanal_protocol::Fingerprint;
use fanal_protocol::control::GAP_AT_MOST;
use quinn::Connection;
use tokio::sync::{Notify, watch};

use super::installed::Installed;
use crate::live::{LiveClass, LiveQueue, LiveQueueParts};
use crate::mailbox::{Attached, Mailbox};
use crate::metrics::PeerMetrics;
use crate::ready::ReadyList;
use crate::shared::Shared;
use crate::wire::Outbox;

/// A link that was accepted here.
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) facts: LinkFacts,
    pub(crate) connection: Connection,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) remote: SocketAddr,
    pub(crate) since_ms: u64,
    pub(crate) agent: String,
    /// Told when the peer answers a probe.
    pub(crate) pong: Notify,
    /// Told when the peer wants a snapshot of the own interest.
    pub(crate) resync: Notify,
    /// True once everything that hung on the link is withdrawn.
    pub(crate) ended: watch::Sender<bool>,
}

/// What stands in the way of a link.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// For people.
    pub(crate) text: String,
    /// One side does not want the link: dialling again does not help by itself.
    pub(crate) is_refusal: bool,
}

impl Problem {
    /// Something that may go away by itself.
    pub(crate) fn passing(text: String) -> Problem {
        Problem { text, is_refusal: false }
    }
}

impl From<&quinn::ConnectionError> for Problem {
    fn from(error: &quinn::ConnectionError) -> Problem {
        Problem { text: crate::quic::explain(error), is_refusal: crate::quic::is_refusal(error) }
    }
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    address: Option<String>,
    problem: Option<Problem>,
    installed: Installed,
}

/// See the module.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) authority: Fingerprint,
    pub(crate) live: Arc<LiveQueue>,
    pub(crate) live_ready: Arc<ReadyList<LiveQueue>>,
    pub(crate) durable_ready: Arc<ReadyList<Attached>>,
    pub(crate) metrics: Arc<PeerMetrics>,
    /// Version of the own interest that the peer has confirmed on the present link.
    pub(crate) confirmed: watch::Sender<Option<u64>>,
    /// Whether a link is up.
    pub(crate) linked: watch::Sender<bool>,
    mailbox: OnceLock<Arc<Mailbox>>,
    state: Mutex<State>,
}

impl Peer {
    pub(crate) fn new(shared: &Shared, name: &str, authority: Fingerprint) -> Arc<Self> {
        let live_ready: Arc<ReadyList<LiveQueue>> = Arc::default();
        let metrics = shared.metrics.peer(name);
        let live = LiveQueue::new(LiveQueueParts {
            id: shared.next_id(),
            channel: 0,
            class: LiveClass::PeerLive,
            bytes_max: shared.limits.live_buffer_bytes,
            gap_kind: GAP_AT_MOST,
            credit: Arc::new(Mutex::new(fanal_core::Credit::unlimited())),
            ready: Arc::clone(&live_ready),
            memory: Arc::clone(&shared.live_memory),
            metrics: Arc::clone(&shared.metrics),
            written: metrics.forwarded.clone(),
        });
        Arc::new(Peer {
            name: name.to_owned(),
            authority,
            live,
            live_ready,
            durable_ready: Arc::default(),
            metrics,
            confirmed: watch::channel(None).0,
            linked: watch::channel(false).0,
            mailbox: OnceLock::new(),
            state: Mutex::default(),
        })
    }

    /// Who it is, as durable state names it.
    pub(crate) fn identity(&self) -> Principal {
        Principal { name: self.name.clone(), authority: self.authority }
    }

    /// The peer mailbox, once durable interest was asked for.
    pub(crate) fn mailbox(&self) -> Option<&Arc<Mailbox>> {
        self.mailbox.get()
    }

    /// Sets the peer mailbox; the first one stays.
    pub(crate) fn set_mailbox(&self, mailbox: Arc<Mailbox>) -> Arc<Mailbox> {
        Arc::clone(self.mailbox.get_or_init(|| mailbox))
    }

    /// Whether a link is up. One atomic load.
    pub(crate) fn is_linked(&self) -> bool {
        *self.linked.borrow()
    }

    /// The present link.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.lock().link.clone()
    }

    /// Where it is dialled, if it is configured.
    pub(crate) fn address(&self) -> Option<String> {
        self.lock().address.clone()
    }

    pub(crate) fn set_address(&self, address: &str) {
        self.lock().address = Some(address.to_owned());
    }

    /// What stands in the way of a link, as far as is known.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.lock().problem.clone()
    }

    pub(crate) fn set_problem(&self, problem: Problem) {
        self.lock().problem = Some(problem);
    }

    pub(crate) fn clear_problem(&self) {
        self.lock().problem = None;
    }

    /// Decides about a new link. It becomes the present one only where there is no other: an older
    /// one that is to go first withdraws all that it installed.
    pub(crate) fn admit(&self, new: &Arc<Link>, own_is_lower: bool) -> Result<(), (LinkDecision, Arc<Link>)> {
        let mut state = self.lock();
        match &state.link {
            Some(existing) => {
                Err((decide_link(Some(existing.facts), new.facts, own_is_lower), Arc::clone(existing)))
            }
            None => {
                state.link = Some(Arc::clone(new));
                state.problem = None;
                Ok(())
            }
        }
    }

    /// The present link has ended and everything that hung on it is withdrawn.
    pub(crate) fn on_link_ended(&self, link: &Link, why: Problem) {
        let mut state = self.lock();
        if state.link.as_ref().is_some_and(|present| present.id == link.id) {
            state.link = None;
            state.problem = Some(why);
        }
        drop(state);
        link.ended.send_replace(true);
    }

    /// Whether a link is the present one.
    pub(crate) fn is_present(&self, id: u64) -> bool {
        self.lock().link.as_ref().is_some_and(|link| link.id == id)
    }

    /// What is installed in the index for this peer.
    pub(crate) fn with_installed<R>(&self, with: impl FnOnce(&mut Installed) -> R) -> R {
        with(&mut self.lock().installed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
