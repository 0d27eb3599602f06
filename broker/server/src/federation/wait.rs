//! The interest receipt: which brokers will send what matches from now on (PROTOCOL.md 5.7).

use std::sync::Arc;
use std::time::Duration;

use fanal_protocol::control::Pending;
use tokio::time::Instant;

use super::peer::Peer;
use crate::shared::Shared;

/// Whom a receipt waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// Nobody but the home.
    Home,
    /// Every linked peer, and every configured one that is still dialled.
    Peers,
    /// One broker.
    Broker(String),
}

impl WaitFor {
    /// Reads the field of a subscribe frame.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub(crate) fn parse(text: Option<&str>, own_name: &str) -> Result<Self, String> {
        match text {
            None | Some("peers") => Ok(WaitFor::Peers),
            Some("home") => Ok(WaitFor::Home),
            Some(other) => match other.strip_prefix("broker:") {
                Some(name) if name == own_name => Ok(WaitFor::Home),
                Some(name) => Ok(WaitFor::Broker(name.to_owned())),
                None => Err(format!("wait '{other}' is not known: use home, peers or broker:NAME")),
            },
        }
    }
}

/// What a receipt says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct InterestReport {
    pub(crate) installed: Vec<String>,
    pub(crate) pending: Vec<Pending>,
}

/// Waits until the peers have confirmed a version of the own interest, or the time is over.
pub(crate) async fn wait_for_interest(
    shared: &Arc<Shared>,
    version: u64,
    wait: &WaitFor,
    limit: Duration,
) -> InterestReport {
    let deadline = Instant::now() + limit;
    let mut report = InterestReport { installed: vec![shared.name.clone()], pending: Vec::new() };
    let mut found = false;
    for peer in shared.peers.all() {
        let is_wanted = match wait {
            WaitFor::Home => false,
            WaitFor::Peers => peer.is_linked() || peer.address().is_some(),
            WaitFor::Broker(name) => *name == peer.name,
        };
        found |= is_wanted;
        let until = if is_wanted { deadline } else { Instant::now() };
        if has_confirmed(&peer, version, until).await {
            report.installed.push(peer.name.clone());
        } else {
            report.pending.push(Pending { broker: peer.name.clone(), reason: why_not(&peer, is_wanted) });
        }
    }
    if let (WaitFor::Broker(name), false) = (wait, found) {
        let reason = format!("{} has no peer of this name", shared.name);
        report.pending.push(Pending { broker: name.clone(), reason });
    }
    report
}

async fn has_confirmed(peer: &Peer, version: u64, until: Instant) -> bool {
    let mut confirmed = peer.confirmed.subscribe();
    let reached = confirmed.wait_for(|confirmed| confirmed.is_some_and(|confirmed| confirmed >= version));
    matches!(tokio::time::timeout_at(until, reached).await, Ok(Ok(_)))
}

fn why_not(peer: &Peer, was_awaited: bool) -> String {
    match (peer.is_linked(), peer.problem()) {
        (true, _) if was_awaited => "the link is up, but the peer did not confirm in time".into(),
        (true, _) => "not waited for".into(),
        (false, Some(problem)) => format!("no link: {}", problem.text),
        (false, None) => "no link yet".into(),
    }
}
