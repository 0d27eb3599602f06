//! One link: handshake, the decision whether it stays, and the tasks that run it.
//!
//! Invariants:
//! 1. Nothing is sent or received before both sides have said `PeerReady`.
//! 2. Whatever ends a link ends all of its tasks, withdraws the peer's live interest and tells
//!    the live subscriptions here that depended on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanal_core::link::{LinkDecision, LinkFacts, LinkRefusal, refusal_after_probe};
use fanal_protocol::control::{PeerHello, PeerReady, Ping, Pong};
use fanal_protocol::{Code, Control, PROTOCOL_VERSION};
use quinn::{Connection, ConnectionError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::interest::InterestInbox;
use super::peer::{Link, Peer, Problem};
use super::send::Window;
use super::{interest, receive, send};
use crate::edge::connection::{AGENT, check_version};
use crate::edge::deliver::{self, Towards};
use crate::log::request::LinkInbound;
use crate::log::{Command, Output};
use crate::shared::Shared;
use crate::wire::{ControlReader, Ending, Outbox, close};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an older link may take to answer a probe (PROTOCOL.md 6.2).
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs a link to its end.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    connection: Connection,
    peer: &Arc<Peer>,
    dialled_here: bool,
) -> Ending {
    let shaken = shake_hands(shared, &connection, peer, dialled_here);
    let ending = match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await {
        Ok(Ok((link, control, send))) => {
            let ending = serve(shared, peer, &link, control, send).await;
            on_ended(shared, peer, &link, problem(&connection, &ending));
            ending
        }
        Ok(Err(ending)) => ending,
        Err(_) => Ending::refused(Code::TimedOut, "no PeerHello within 10 s"),
    };
    if !peer.is_linked() {
        peer.set_problem(problem(&connection, &ending));
    }
    close(&connection, &ending);
    ending
}

/// What ended a link. The other side's reason says more than that its streams ended.
fn problem(connection: &Connection, ending: &Ending) -> Problem {
    match (ending, connection.close_reason()) {
        (Ending::Gone(_), Some(error)) if is_telling(&error) => Problem::from(&error),
        (Ending::Refused { code, .. }, _) => {
            let is_refusal = crate::quic::is_refusal_code(u64::from(code.number()));
            Problem { text: ending.to_string(), is_refusal }
        }
        (Ending::Gone(_), _) => Problem::passing(ending.to_string()),
    }
}

/// Whether a close says why: a side that just goes closes with 0.
fn is_telling(error: &ConnectionError) -> bool {
    !matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code.into_inner() == 0)
}

async fn shake_hands(
    shared: &Arc<Shared>,
    connection: &Connection,
    peer: &Arc<Peer>,
    dialled_here: bool,
) -> Result<(Arc<Link>, ControlReader, quinn::SendStream), Ending> {
    let (mut send, receive) =
        if dialled_here { connection.open_bi().await? } else { connection.accept_bi().await? };
    let _ = send.set_priority(10);
    let hello =
        PeerHello { versions: vec![PROTOCOL_VERSION], agent: AGENT.into(), incarnation: shared.incarnation };
    let mut bytes = Vec::new();
    Control::from(hello).encode(&mut bytes);
    send.write_all(&bytes).await?;
    let mut control = ControlReader::new(receive);
    let theirs = match control.next().await? {
        Control::PeerHello(hello) => hello,
        other => return Err(Ending::unexpected(&other, "where PeerHello was due")),
    };
    check_version(&theirs.versions)?;
    let link = Arc::new(Link {
        id: shared.next_id(),
        facts: LinkFacts { incarnation: theirs.incarnation, dialled_here },
        connection: connection.clone(),
        outbox: Arc::new(Outbox::default()),
        remote: connection.remote_address(),
        since_ms: shared.clock.now(),
        agent: theirs.agent.chars().take(128).collect(),
        pong: Notify::new(),
        resync: Notify::new(),
        ended: watch::channel(false).0,
    });
    admit(shared, peer, &link).await?;
    Ok((link, control, send))
}

/// Takes the link, or refuses it (409).
async fn admit(shared: &Arc<Shared>, peer: &Arc<Peer>, link: &Arc<Link>) -> Result<(), Ending> {
    if link.facts.incarnation.store == shared.incarnation.store {
        return Err(Ending::refused(
            Code::Conflict,
            "this is the broker's own store: it cannot be its own peer",
        ));
    }
    let own = (shared.name.as_str(), shared.trust.authority().fingerprint());
    let own_is_lower = own < (peer.name.as_str(), peer.authority);
    while let Err((decision, old)) = peer.admit(link, own_is_lower) {
        let refuse = |refusal: LinkRefusal| Err(Ending::refused(Code::Conflict, refusal.to_string()));
        match decision {
            LinkDecision::Refuse(refusal) => return refuse(refusal),
            LinkDecision::Probe if answers_probe(&old).await => {
                return refuse(refusal_after_probe(old.facts, link.facts));
            }
            LinkDecision::Probe | LinkDecision::Replace | LinkDecision::Accept => {
                close(&old.connection, &Ending::refused(Code::Conflict, "replaced by a newer link"));
                // The sender lives in the link, which is held here.
                let _ = old.ended.subscribe().wait_for(|ended| *ended).await;
            }
        }
    }
    Ok(())
}

async fn answers_probe(link: &Link) -> bool {
    let pong = link.pong.notified();
    link.outbox.push(Ping { token: link.id });
    tokio::select! {
        answered = tokio::time::timeout(PROBE_TIMEOUT, pong) => answered.is_ok(),
        _ = link.connection.closed() => false,
    }
}

async fn serve(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    link: &Arc<Link>,
    mut control: ControlReader,
    send: quinn::SendStream,
) -> Ending {
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&link.outbox).write_to(send));
    let opened =
        tokio::time::timeout(HANDSHAKE_TIMEOUT, exchange_ready(shared, peer, link, &mut control)).await;
    let ready = match opened {
        Ok(Ok(ready)) => ready,
        Ok(Err(ending)) => return ending,
        Err(_) => return Ending::refused(Code::TimedOut, "no PeerReady within 10 s"),
    };
    let body_bytes_max = usize::try_from(ready.body_bytes_max).unwrap_or(usize::MAX);
    if let Err(ending) = check_mark(peer, ready.received_through) {
        return ending;
    }
    let window = Arc::new(Window::new(ready.received_through, body_bytes_max));
    let inbound = Arc::new(LinkInbound {
        peer: peer.identity(),
        incarnation: link.facts.incarnation,
        outbox: Arc::clone(&link.outbox),
        metrics: Arc::clone(&peer.metrics),
    });
    if let Some(mailbox) = peer.mailbox() {
        send::attach(shared, peer, mailbox, &window).await;
    }
    // What was routed here while no link was up is stale.
    peer.live.clear(false);
    // A rival that was refused meanwhile is no problem of this link.
    peer.clear_problem();
    peer.linked.send_replace(true);
    peer.metrics.link_up.set(1.0);
    tracing::info!(peer = peer.name, remote = %link.remote, dialled_here = link.facts.dialled_here, "link is up");
    let connection = link.connection.clone();
    tasks.spawn(receive::accept_streams(Arc::clone(shared), Arc::clone(peer), inbound, connection.clone()));
    tasks.spawn(send::write_durable(
        Arc::clone(shared),
        Arc::clone(peer),
        Arc::clone(&window),
        connection.clone(),
    ));
    let towards = Towards::Peer { body_bytes_max };
    let (live_shared, live_peer) = (Arc::clone(shared), Arc::clone(peer));
    tasks.spawn(async move {
        match deliver::try_write_live(&live_shared, &live_peer.live_ready, &connection, towards).await {
            Ok(never) => never,
            Err(ending) => ending,
        }
    });
    tasks.spawn(interest::send(Arc::clone(shared), Arc::clone(link)));
    let mut inbox = InterestInbox::new(shared, peer, &window);
    let ending = loop {
        tokio::select! {
            frame = control.next() => match frame {
                Ok(frame) => {
                    if let Err(ending) = handle(shared, peer, link, &window, &mut inbox, frame).await {
                        break ending;
                    }
                }
                Err(ending) => break ending,
            },
            Some(ended) = tasks.join_next() => {
                break ended.unwrap_or_else(|error| Ending::refused(Code::Internal, error.to_string()));
            }
        }
    };
    tasks.shutdown().await;
    ending
}

/// A peer cannot have recorded more than was ever put into its mailbox here.
fn check_mark(peer: &Peer, received_through: u64) -> Result<(), Ending> {
    let tail = peer.mailbox().map_or(1, |mailbox| {
        let (next, tail) = mailbox.progress();
        tail.max(next)
    });
    if received_through < tail {
        return Ok(());
    }
    let reason = format!(
        "the peer has recorded this store's events up to {received_through}, but the store holds numbers below {tail} \
         only: it was restored from an older copy; restore it with a raised recovery epoch"
    );
    tracing::error!(peer = peer.name, reason, "no link is made: new events would be taken for duplicates");
    Err(Ending::refused(Code::Conflict, reason))
}

/// Both sides say how far they have recorded the other's mailbox; what the peer says.
async fn exchange_ready(
    shared: &Arc<Shared>,
    peer: &Peer,
    link: &Arc<Link>,
    control: &mut ControlReader,
) -> Result<PeerReady, Ending> {
    let command = Command::ReceivedThrough { peer: peer.identity(), incarnation: link.facts.incarnation };
    let mark = match shared.log.command(command).await {
        Ok(Output::Through(through)) => through,
        Ok(_) => 0,
        Err(error) => return Err(Ending::refused(Code::Unavailable, error.to_string())),
    };
    link.outbox.push(PeerReady {
        version: PROTOCOL_VERSION,
        received_through: mark,
        body_bytes_max: shared.limits.body_bytes_max as u64,
    });
    loop {
        match control.next().await? {
            Control::PeerReady(ready) => return Ok(ready),
            Control::Ping(Ping { token }) => link.outbox.push(Pong { token }),
            Control::Pong(_) => link.pong.notify_waiters(),
            other => return Err(Ending::unexpected(&other, "where PeerReady was due")),
        }
    }
}

async fn handle(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    link: &Arc<Link>,
    window: &Arc<Window>,
    inbox: &mut InterestInbox,
    frame: Control,
) -> Result<(), Ending> {
    match frame {
        Control::InterestSnapshot(part) => inbox.on_snapshot(part, link).await?,
        Control::InterestDelta(delta) => inbox.on_delta(delta, link).await?,
        Control::InterestDigest(digest) => inbox.on_digest(&digest, link),
        Control::InterestAck(ack) => {
            peer.confirmed.send_replace(Some(ack.version));
        }
        Control::InterestResync(_) => link.resync.notify_one(),
        Control::HopAck(ack) => send::on_hop_ack(shared, peer, window, ack.through).await?,
        Control::Ping(Ping { token }) => link.outbox.push(Pong { token }),
        Control::Pong(_) => link.pong.notify_waiters(),
        Control::Close(_) => return Err(Ending::gone("the peer closed the link")),
        other => return Err(Ending::unexpected(&other, "on a link")),
    }
    Ok(())
}

/// Withdraws all that hung on the link, and only then makes room for another.
fn on_ended(shared: &Arc<Shared>, peer: &Arc<Peer>, link: &Link, why: Problem) {
    let was_linked = peer.linked.send_replace(false);
    let confirmed = peer.confirmed.send_replace(None);
    peer.metrics.link_up.set(0.0);
    interest::withdraw_live(shared, peer);
    peer.live.clear(false);
    if let Some(mailbox) = peer.mailbox() {
        mailbox.evict();
    }
    if let (true, Some(confirmed)) = (was_linked, confirmed) {
        for queue in &shared.lives {
            if queue.interest_version.load(Ordering::Relaxed) <= confirmed {
                queue.on_link_lost(&peer.name);
            }
        }
    }
    peer.on_link_ended(link, why);
}
