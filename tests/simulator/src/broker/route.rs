//! From an event to its destinations, through the real index and the core's rule.

use fanal_core::route::{Asker, Path, Scope, decide_path};
use fanal_core::{EventView, MailboxId};
use fanal_matching::{EntryId, Route, Selector, Topic};
use fanal_protocol::stream::Origin;
use std::sync::Arc;

use super::Node;
use crate::context::Context;
use crate::mutant::Mutant;

/// What the index knows of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A live subscription here.
    Live(u64),
    /// A durable subscription here.
    Durable(MailboxId),
    /// A peer's ask for its live subscriptions.
    PeerLive(usize),
    /// A peer's ask for its durable subscriptions.
    PeerDurable(usize),
}

/// A live destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Near {
    /// A live buffer of a client's channel.
    Here(u64),
    /// The live path of a link.
    Peer(usize),
}

/// Destinations of one event, each once.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    /// Stored for these.
    pub mailboxes: Vec<MailboxId>,
    /// Handed to these.
    pub live: Vec<Near>,
}

/// A topic and its memoised route.
pub(crate) struct TopicRoute {
    pub(crate) text: Arc<str>,
    route: Route<Target>,
}

impl Node {
    /// Puts a selector into the index.
    pub(crate) fn route_to(&self, mut selector: Selector, target: Target) -> EntryId {
        if self.mutant == Some(Mutant::IgnorePredicate) {
            selector.predicate = None;
        }
        self.index.insert(selector, target)
    }

    /// A topic of a stream.
    pub(crate) fn topic_route(&self, text: &str) -> Option<TopicRoute> {
        let topic = Topic::parse(text).ok()?;
        Some(TopicRoute { text: Arc::from(text), route: self.index.route(&topic) })
    }

    /// The destinations of an event; `None`: its body is malformed.
    pub(crate) fn resolve(
        &self,
        ctx: &Context,
        topic: &mut TopicRoute,
        scope: Scope,
        origin: &Origin,
        sequence: u64,
        body: &[u8],
    ) -> Option<Destinations> {
        let view = EventView::new(&topic.text, origin, sequence, body).ok()?;
        let mut out = Destinations::default();
        self.index.visit(&mut topic.route, &view, |_, target| self.place(ctx, *target, scope, &mut out));
        Some(out)
    }

    fn place(&self, ctx: &Context, target: Target, scope: Scope, out: &mut Destinations) {
        let asker = match target {
            Target::Live(_) => Asker::Live,
            Target::Durable(_) => Asker::Durable,
            Target::PeerLive(_) => Asker::PeerLive,
            Target::PeerDurable(_) => Asker::PeerDurable,
        };
        let mut scope = scope;
        if ctx.is_mutant(Mutant::ForwardPeerEvent)
            && matches!(target, Target::PeerDurable(_) | Target::PeerLive(_))
        {
            scope = match scope {
                Scope::LinkDurable => Scope::Client(fanal_protocol::Class::AtLeastOnce),
                Scope::LinkLive(class) => Scope::Client(class),
                client => client,
            };
        }
        let Some(path) = decide_path(asker, scope) else { return };
        let mailbox = match (target, path) {
            (Target::Durable(id), Path::Mailbox) => Some(id),
            (Target::PeerDurable(peer), Path::Mailbox) => {
                self.peers.get(&peer).and_then(|peer| peer.mailbox.as_ref()).map(|mailbox| mailbox.id)
            }
            _ => None,
        };
        let near = match (target, path) {
            (_, Path::Mailbox) => None,
            (Target::Live(id), _) => Some(Near::Here(id)),
            (Target::Durable(id), _) => {
                self.durables.get(&id).and_then(|durable| durable.mailbox.live_side).map(Near::Here)
            }
            (Target::PeerLive(peer) | Target::PeerDurable(peer), _) => {
                self.peers.get(&peer).is_some_and(|peer| peer.is_linked).then_some(Near::Peer(peer))
            }
        };
        if let Some(id) = mailbox.filter(|id| !out.mailboxes.contains(id)) {
            out.mailboxes.push(id);
        }
        if let Some(near) = near.filter(|near| !out.live.contains(near)) {
            out.live.push(near);
        }
    }
}
