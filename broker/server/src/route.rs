//! From an event to its destinations, on the edge's own thread.
//!
//! Invariants:
//! 1. Routing waits for no change of a subscription: what a topic decides is kept beside its alias
//!    and asked once per event whether it is current, the rest is the index's.
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
    /// Adds a place. A subscription has one entry; a peer's asks all lead to the same two places,
    /// of which `peers` knows those that were added.
    fn add(&mut self, target: &Target, place: Place<'_>, peers: &mut PeerPlaces) {
        let is_peer = matches!(target, Target::PeerLive(_) | Target::PeerDurable(_));
        match place {
            Place::Mailbox(mailbox) if !is_peer || peers.is_new(Arc::as_ptr(mailbox).cast()) => {
                self.mailboxes.push(Arc::clone(mailbox));
            }
            Place::Live(queue) if !is_peer || peers.is_new(Arc::as_ptr(&queue).cast()) => {
                self.live.push(queue)
            }
            _ => {}
        }
    }
}

/// Where asks of peers led already: two places for each peer at most.
#[derive(Default)]
struct PeerPlaces(SmallVec<[*const (); 8]>);

impl PeerPlaces {
    fn is_new(&mut self, place: *const ()) -> bool {
        let is_new = !self.0.contains(&place);
        if is_new {
            self.0.push(place);
        }
        is_new
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

/// A topic and its memoised route.
pub(crate) struct TopicRoute {
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
        TopicRoute { text: Arc::from(topic.as_str()), route: index.route(&topic) }
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
        let body = BodyView::parse(subject.body)?;
        let mut out = Destinations::default();
        let mut peers = PeerPlaces::default();
        let mut take = |target: &Target| out.add(target, place(target, scope), &mut peers);
        if self.route.needs_attributes() {
            let view = EventView::of_body(&self.text, subject.origin, subject.sequence, body);
            index.visit(&mut self.route, &view, |_, target| take(target));
        } else {
            if !self.route.is_current(index) {
                self.route = index.route(self.route.topic());
                return self.resolve(index, scope, subject);
            }
            self.route.always().iter().for_each(|(_, target)| take(target));
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
