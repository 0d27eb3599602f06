//! Which of two links to one peer stays (PROTOCOL.md 6.2).
//!
//! Invariant: the decision depends on what both sides know alike (names, incarnations, who
//! dialled), so both come to the same link; where one side may be wrong about the other being
//! alive, the older path is probed first.

use fanal_protocol::Incarnation;

/// What is known of a link when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFacts {
    /// The peer's life.
    pub incarnation: Incarnation,
    /// This side dialled.
    pub dialled_here: bool,
}

/// What becomes of a new link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkDecision {
    /// There is no other: it is accepted.
    Accept,
    /// It replaces the older one at once.
    Replace,
    /// It is refused (409).
    Refuse(LinkRefusal),
    /// The older one is probed: if it answers, the new one is refused, else it replaces it.
    Probe,
}

/// Why a link is refused (409).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// The peer's process was started again since.
    #[error("a link to a later start of this broker exists")]
    Superseded,
    /// The other link stays by the rule.
    #[error("a working link between these brokers exists; of two, the one dialled by the lower name stays")]
    Second,
    /// A broker with this identity is linked from another data directory.
    #[error(
        "a broker of this name and CA is linked with another store: two brokers may not share one identity"
    )]
    SharedIdentity,
}

/// Decides about a new link; `own_is_lower`: this broker's (name, CA) sorts before the peer's.
pub fn decide_link(existing: Option<LinkFacts>, new: LinkFacts, own_is_lower: bool) -> LinkDecision {
    let Some(existing) = existing else { return LinkDecision::Accept };
    let (old, fresh) = (existing.incarnation, new.incarnation);
    if old.store != fresh.store {
        return LinkDecision::Probe;
    }
    match (fresh.recovery_epoch, fresh.start).cmp(&(old.recovery_epoch, old.start)) {
        std::cmp::Ordering::Greater => LinkDecision::Replace,
        std::cmp::Ordering::Less => LinkDecision::Refuse(LinkRefusal::Superseded),
        std::cmp::Ordering::Equal => {
            let by_lower = |link: LinkFacts| link.dialled_here == own_is_lower;
            match (by_lower(existing), by_lower(new)) {
                (false, true) => LinkDecision::Replace,
                (true, false) => LinkDecision::Probe,
                // The same side dialled again: for it the older one is gone.
                _ => LinkDecision::Replace,
            }
        }
    }
}

/// Why a link is refused after its older rival answered the probe.
pub fn refusal_after_probe(existing: LinkFacts, new: LinkFacts) -> LinkRefusal {
    if existing.incarnation.store == new.incarnation.store {
        LinkRefusal::Second
    } else {
        LinkRefusal::SharedIdentity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanal_protocol::StoreId;

    fn facts(store: u8, start: u64, dialled_here: bool) -> LinkFacts {
        LinkFacts {
            incarnation: Incarnation { store: StoreId([store; 16]), recovery_epoch: 0, start },
            dialled_here,
        }
    }

    #[test]
    fn both_sides_keep_the_link_dialled_by_the_lower_name() {
        for own_is_lower in [true, false] {
            let ours = facts(1, 1, true);
            let theirs = facts(1, 1, false);
            let (kept, lost) = if own_is_lower { (ours, theirs) } else { (theirs, ours) };
            assert_eq!(decide_link(Some(lost), kept, own_is_lower), LinkDecision::Replace);
            assert_eq!(decide_link(Some(kept), lost, own_is_lower), LinkDecision::Probe);
        }
    }

    #[test]
    fn a_later_life_replaces_and_an_earlier_one_is_refused() {
        let (old, new) = (facts(1, 1, true), facts(1, 2, false));
        assert_eq!(decide_link(Some(old), new, true), LinkDecision::Replace);
        assert_eq!(decide_link(Some(new), old, true), LinkDecision::Refuse(LinkRefusal::Superseded));
        assert_eq!(decide_link(Some(old), facts(2, 1, true), true), LinkDecision::Probe);
        assert_eq!(refusal_after_probe(old, facts(2, 1, true)), LinkRefusal::SharedIdentity);
        assert_eq!(decide_link(None, old, true), LinkDecision::Accept);
    }
}
