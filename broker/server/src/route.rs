//! From an event to its destinations, on the edge's own thread.
//!
//! Invariants:
//! 1. In the steady state routing takes no lock: a topic's candidates are kept beside its alias
//!    and asked once per event whether they are current.
//! 2. A destination appears once, however many of its asks match (contract: one copy per
//!    subscription, one per path of a link).
//! 3. What came over a link goes to local subscriptions of its class only (the core's rule, `decide_path`).

use std::sync::Arc;

use fanal_core::EventView;
pub(crate) use fanal_core::route::Scope;
use fanal_core::route::{Asker, Path, decide_path};
use fanal_matching::{Index, Route, Topic};
use fanal_protocol::stream::Origin;
use fanal_protocol::{BodyView, WireError};
use smallvec::SmallVec;

use crate::federation::peer::Peer;
use crate::live::LiveQueue;
use crate::mailbox::Mailbox;

/// What the index knows of an entry.
#[derive(Clone)]
pub(crate) enum Target {
    /// A live subscription here.
    Live(Arc<LiveQueue>),
    /// A durable subscription here.
    Durable(Arc<Mailbox>),
    /// A peer's ask for its live subscriptions.
    PeerLive(Arc<Peer>),
    /// A peer's ask for its durable subscriptions.
    PeerDurable(Arc<Peer>),
}

/// Destinations of one event.
#[derive(Default)]
pub(crate) struct Destinations {
    /// Stored for these.
    pub(crate) mailboxes: SmallVec<[Arc<Mailbox>; 2]>,
    /// Handed to these.
    pub(crate) live: SmallVec<[Arc<LiveQueue>; 2]>,
}

enum Place<'a> {
    Mailbox(&'a Arc<Mailbox>),
    Live(Arc<LiveQueue>),
    Nowhere,
}

impl Destinations {
    fn contains(&self, place: &Place<'_>) -> bool {
        match place {
            Place::Mailbox(mailbox) => self.mailboxes.iter().any(|known| Arc::ptr_eq(known, mailbox)),
            Place::Live(queue) => self.live.iter().any(|known| Arc::ptr_eq(known, queue)),
            Place::Nowhere => true,
        }
    }

    fn add(&mut self, place: Place<'_>) {
        match place {
            Place::Mailbox(mailbox) => self.mailboxes.push(Arc::clone(mailbox)),
            Place::Live(queue) => self.live.push(queue),
            Place::Nowhere => {}
        }
    }
}

impl Target {
    fn asker(&self) -> Asker {
        match self {
            Target::Live(_) => Asker::Live,
            Target::Durable(_) => Asker::Durable,
            Target::PeerLive(_) => Asker::PeerLive,
            Target::PeerDurable(_) => Asker::PeerDurable,
        }
    }
}

fn place(target: &Target, scope: Scope) -> Place<'_> {
    let Some(path) = decide_path(target.asker(), scope) else { return Place::Nowhere };
    match (target, path) {
        (Target::Live(queue), Path::Live) => Place::Live(Arc::clone(queue)),
        (Target::Durable(mailbox), Path::Mailbox) => Place::Mailbox(mailbox),
        // Best effort is never stored: an attached durable subscription gets it live.
        (Target::Durable(mailbox), _) => mailbox.live_side.load_full().map_or(Place::Nowhere, Place::Live),
        (Target::PeerDurable(peer), Path::Mailbox) => peer.mailbox().map_or(Place::Nowhere, Place::Mailbox),
        (Target::PeerLive(peer) | Target::PeerDurable(peer), _) => peer.live_path(),
        (Target::Live(_), _) => Place::Nowhere,
    }
}

impl Peer {
    fn live_path<'a>(&self) -> Place<'a> {
        if self.is_linked() { Place::Live(Arc::clone(&self.live)) } else { Place::Nowhere }
    }
}

/// A topic and its memoised candidates.
pub(crate) struct TopicRoute {
    pub(crate) topic: Topic,
    pub(crate) text: Arc<str>,
    route: Route<Target>,
}

/// The event that is being routed.
pub(crate) struct Subject<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) sequence: u64,
    pub(crate) body: &'a [u8],
}

impl TopicRoute {
    pub(crate) fn new(topic: Topic, index: &Index<Target>) -> Self {
        let route = index.route(&topic);
        TopicRoute { text: Arc::from(topic.as_str()), topic, route }
    }

    /// The destinations of an event. The body is checked whether or not anybody wants it.
    ///
    /// # Errors
    /// [`WireError::Body`].
    pub(crate) fn resolve(
        &mut self,
        index: &Index<Target>,
        scope: Scope,
        subject: &Subject<'_>,
    ) -> Result<Destinations, WireError> {
        if !self.route.is_current(index) {
            self.route = index.route(&self.topic);
        }
        let body = BodyView::parse(subject.body)?;
        let mut out = Destinations::default();
        if self.route.candidates().is_empty() {
            return Ok(out);
        }
        let mut view = None;
        for candidate in self.route.candidates() {
            let place = place(&candidate.destination, scope);
            if out.contains(&place) {
                continue;
            }
            let matches = candidate.predicate.is_none() || {
                let view = view.get_or_insert_with(|| {
                    EventView::of_body(&self.text, subject.origin, subject.sequence, body)
                });
                candidate.matches(view)
            };
            if matches {
                out.add(place);
            }
        }
        Ok(out)
    }
}

/// A destination that gets less than one part in so many of a block gets copies.
const DETACH_BELOW_SHARE: usize = 8;

/// Collects live copies of a batch so that each destination is locked once.
#[derive(Default)]
pub(crate) struct Fanout {
    groups: Vec<(Arc<LiveQueue>, Vec<Arc<fanal_core::Event>>)>,
    by_id: std::collections::HashMap<u64, usize>,
}

impl Fanout {
    pub(crate) fn add(&mut self, queue: &Arc<LiveQueue>, event: &Arc<fanal_core::Event>) {
        if let [(only, events)] = self.groups.as_mut_slice()
            && Arc::ptr_eq(only, queue)
        {
            events.push(Arc::clone(event));
            return;
        }
        let groups = &mut self.groups;
        let at = *self.by_id.entry(queue.id).or_insert_with(|| {
            groups.push((Arc::clone(queue), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(Arc::clone(event));
    }

    /// Hands the batch over. Where a destination gets little of the block of `block_bytes` that its
    /// events were read in, they get memory of their own, so that they do not keep the block alive.
    pub(crate) fn flush(&mut self, block_bytes: usize) {
        self.by_id.clear();
        for (queue, mut events) in self.groups.drain(..) {
            let bytes: usize = events.iter().map(|event| event.body.len()).sum();
            if bytes * DETACH_BELOW_SHARE < block_bytes {
                for event in &mut events {
                    *event = Arc::new(event.detached());
                }
            }
            queue.push(&events);
        }
    }
}
