//! Which way an event goes to whoever asked for it.
//!
//! Invariants:
//! 1. What came over a link goes to local subscriptions only, and on each of its two paths to
//!    those of that path's class (the one-hop rule, PROTOCOL.md 6.4).
//! 2. Best effort is never stored.

use fanal_protocol::Class;

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// From a client, in a class.
    Client(Class),
    /// Over a link's durable path.
    LinkDurable,
    /// Over a link's live path, in the class that it was published in.
    LinkLive(Class),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A live subscription here.
    Live,
    /// A durable subscription here.
    Durable,
    /// A peer, for its live subscriptions.
    PeerLive,
    /// A peer, for its durable subscriptions.
    PeerDurable,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Into its mailbox.
    Mailbox,
    /// Into its live buffer: the subscription's, or that of the link's live path.
    Live,
    /// Handed to the durable subscription while somebody is attached.
    LiveSide,
}

/// The way of an event from `scope` to `asker`; `None`: it does not go there.
pub fn decide_path(asker: Asker, scope: Scope) -> Option<Path> {
    use Class::{AtLeastOnce, BestEffort};
    match (asker, scope) {
        (Asker::Live, Scope::Client(_) | Scope::LinkLive(_)) => Some(Path::Live),
        (Asker::Durable, Scope::Client(AtLeastOnce) | Scope::LinkDurable) => Some(Path::Mailbox),
        (Asker::Durable, Scope::Client(BestEffort) | Scope::LinkLive(BestEffort)) => Some(Path::LiveSide),
        (Asker::PeerDurable, Scope::Client(AtLeastOnce)) => Some(Path::Mailbox),
        (Asker::PeerDurable, Scope::Client(BestEffort)) => Some(Path::Live),
        (Asker::PeerLive, Scope::Client(_)) => Some(Path::Live),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_over_a_link_goes_to_no_peer_and_best_effort_into_no_mailbox() {
        use Class::{AtLeastOnce, BestEffort};
        let links = [Scope::LinkDurable, Scope::LinkLive(AtLeastOnce), Scope::LinkLive(BestEffort)];
        for scope in links {
            assert_eq!(decide_path(Asker::PeerLive, scope), None);
            assert_eq!(decide_path(Asker::PeerDurable, scope), None);
        }
        for asker in [Asker::Live, Asker::Durable, Asker::PeerLive, Asker::PeerDurable] {
            for scope in [Scope::Client(BestEffort), Scope::LinkLive(BestEffort)] {
                assert_ne!(decide_path(asker, scope), Some(Path::Mailbox));
            }
        }
        assert_eq!(decide_path(Asker::Live, Scope::LinkDurable), None, "each path feeds its class only");
        assert_eq!(decide_path(Asker::Durable, Scope::LinkLive(AtLeastOnce)), None);
    }
}
