//! Exchanging interest over a link (PROTOCOL.md 6.3).
//!
//! Invariants:
//! 1. An ask is installed in the index before its version is acknowledged; a durable one is
//!    flushed before it is installed.
//! 2. New asks are installed before old ones are withdrawn.
//! 3. A predicate that cannot be read here widens the ask to its topic filter, and an index that is
//!    full to all that there is ([`super::installed`]): a superset is safe, since the receiver matches
//!    again.

use std::sync::Arc;
use std::time::Duration;

use fanal_core::interest::{InterestChange, InterestError, PeerInterest};
use fanal_matching::IndexFull;
use fanal_protocol::Code;
use fanal_protocol::control::{
    INTEREST_DURABLE, INTEREST_LIVE, InterestAck, InterestDelta, InterestDigest, InterestEntry,
    InterestResync, InterestSnapshot,
};

use super::installed::InstallError;
use super::peer::{Link, Peer};
use super::send::{self, Window};
use crate::log::{Command, Output};
use crate::mailbox::{Mailbox, MailboxKind};
use crate::route::Target;
use crate::shared::Shared;
use crate::wire::{Ending, Outbox};

/// How often a digest is sent, so that drift heals.
const DIGEST_INTERVAL: Duration = Duration::from_secs(10);

/// Entries in one change of the durable state: at their largest they fit a batch.
const CHANGE_ENTRIES_MAX: usize = 64;

/// Steps of narrowing at a time, and the pause after them: some 6,000 changes a second at most.
const SETTLE_STEPS: usize = 64;
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// Narrows the own interest where there is room again, a little at a time, so that no peer gets a
/// burst. Runs as long as the broker.
pub(crate) async fn settle(shared: Arc<Shared>) {
    let mut versions = shared.interest.watch();
    while versions.changed().await.is_ok() {
        while shared.interest.settle(SETTLE_STEPS) {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }
}

/// Sends the own interest: a snapshot, then what changes.
///
/// This task alone sends the set, so that a snapshot never follows a change that it lacks.
pub(crate) async fn send(shared: Arc<Shared>, link: Arc<Link>) -> Ending {
    let outbox = Arc::clone(&link.outbox);
    let mut versions = shared.interest.watch();
    let mut digests = tokio::time::interval(DIGEST_INTERVAL);
    digests.reset();
    let mut sent = send_snapshot(&shared, &outbox).await;
    loop {
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return Ending::gone("the broker ends");
                }
                sent = send_changes(&shared, &outbox, sent).await;
            }
            () = link.resync.notified() => sent = send_snapshot(&shared, &outbox).await,
            _ = digests.tick() => outbox.push(shared.interest.read(|own| own.digest())),
        }
    }
}

/// Sends the whole own interest, no faster than the peer reads; its version.
async fn send_snapshot(shared: &Shared, outbox: &Outbox) -> u64 {
    let parts = shared.interest.read(|own| own.snapshot());
    let version = parts.first().map_or(0, |part| part.version);
    for part in parts {
        outbox.wait_for_room().await;
        outbox.push(part);
    }
    version
}

async fn send_changes(shared: &Shared, outbox: &Outbox, mut sent: u64) -> u64 {
    while sent < shared.interest.read(|own| own.version()) {
        outbox.wait_for_room().await;
        match shared.interest.read(|own| own.delta(sent)) {
            Some(delta) if delta.to > sent => {
                sent = delta.to;
                outbox.push(delta);
            }
            _ => sent = send_snapshot(shared, outbox).await,
        }
    }
    sent
}

/// Takes the peer's interest.
pub(crate) struct InterestInbox {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    window: Arc<Window>,
    held: PeerInterest,
}

impl InterestInbox {
    pub(crate) fn new(shared: &Arc<Shared>, peer: &Arc<Peer>, window: &Arc<Window>) -> Self {
        let installed = peer.with_installed(|installed| installed.asks().cloned().collect::<Vec<_>>());
        InterestInbox {
            shared: Arc::clone(shared),
            peer: Arc::clone(peer),
            window: Arc::clone(window),
            held: PeerInterest::new(installed),
        }
    }

    pub(crate) async fn on_snapshot(&mut self, part: InterestSnapshot, link: &Link) -> Result<(), Ending> {
        match self.held.on_snapshot(part) {
            Ok(Some(change)) => self.apply(change, link).await,
            Ok(None) => Ok(()),
            Err(error) => resync(error, link),
        }
    }

    pub(crate) async fn on_delta(&mut self, delta: InterestDelta, link: &Link) -> Result<(), Ending> {
        match self.held.on_delta(delta) {
            Ok(change) => self.apply(change, link).await,
            Err(error) => resync(error, link),
        }
    }

    /// Digests come again and again: what was widened for want of room is looked at with each.
    pub(crate) fn on_digest(&mut self, digest: &InterestDigest, link: &Link) {
        let widened = self.peer.with_installed(|installed| installed.widened());
        if widened > 0 {
            narrow(&self.shared, &self.peer);
            tell_widened(&self.shared, &self.peer, widened);
        }
        if !self.held.agrees_with(digest) {
            tracing::warn!(peer = self.peer.name, "interest has drifted: asking for a snapshot");
            link.outbox.push(InterestResync { have: digest.version });
        }
    }

    async fn apply(&mut self, change: InterestChange, link: &Link) -> Result<(), Ending> {
        if !self.peer.is_present(link.id) {
            return Err(Ending::refused(Code::Conflict, "replaced by a newer link"));
        }
        let is_durable = |entry: &&InterestEntry| entry.class == INTEREST_DURABLE;
        let add: Vec<_> = change.add.iter().filter(is_durable).cloned().collect();
        let remove: Vec<_> = change.remove.iter().filter(is_durable).cloned().collect();
        if !add.is_empty() || !remove.is_empty() {
            let mailbox = self.ensure_mailbox().await?;
            // In pieces that fit a batch, new asks first.
            for add in add.chunks(CHANGE_ENTRIES_MAX) {
                self.change(&mailbox, add.to_vec(), Vec::new()).await?;
            }
            for remove in remove.chunks(CHANGE_ENTRIES_MAX) {
                self.change(&mailbox, Vec::new(), remove.to_vec()).await?;
            }
        }
        let widened = self.peer.with_installed(|installed| installed.widened());
        for entry in change.add {
            install(&self.shared, &self.peer, entry).map_err(full)?;
        }
        for entry in &change.remove {
            withdraw(&self.shared, &self.peer, entry);
        }
        narrow(&self.shared, &self.peer);
        tell_widened(&self.shared, &self.peer, widened);
        if let Some(version) = self.held.version() {
            link.outbox.push(InterestAck { version });
        }
        Ok(())
    }

    async fn change(
        &self,
        mailbox: &Mailbox,
        add: Vec<InterestEntry>,
        remove: Vec<InterestEntry>,
    ) -> Result<(), Ending> {
        let change = Command::ChangeInterest { peer: mailbox.id, add, remove };
        self.shared.log.command(change).await.map(drop).map_err(unavailable)
    }

    async fn ensure_mailbox(&self) -> Result<Arc<Mailbox>, Ending> {
        if let Some(mailbox) = self.peer.mailbox() {
            return Ok(Arc::clone(mailbox));
        }
        let command = Command::EnsurePeer { name: self.peer.name.clone(), authority: self.peer.authority };
        let Output::Mailbox { id, .. } = self.shared.log.command(command).await.map_err(unavailable)? else {
            return Err(Ending::refused(Code::Internal, "no peer mailbox was made"));
        };
        let kind = MailboxKind::Peer(self.peer.name.as_str().into());
        let mailbox =
            self.peer.set_mailbox(self.shared.directory.add(id, kind, 1, self.shared.reader.clone()));
        send::attach(&self.shared, &self.peer, &mailbox, &self.window).await;
        Ok(mailbox)
    }
}

fn unavailable(error: crate::log::LogError) -> Ending {
    Ending::refused(Code::Unavailable, error.to_string())
}

/// Not even a wide ask has room. The link ends, and what the peer asked for comes again with the next
/// one.
fn full(error: IndexFull) -> Ending {
    Ending::refused(Code::Unavailable, error.to_string())
}

fn resync(error: InterestError, link: &Link) -> Result<(), Ending> {
    match error {
        InterestError::Resync { have } => {
            link.outbox.push(InterestResync { have });
            Ok(())
        }
        error @ (InterestError::TooMany { .. } | InterestError::TooLarge { .. }) => {
            Err(Ending::refused(Code::TooLarge, error.to_string()))
        }
    }
}

/// Puts an ask of a peer into the index, unless it is there. Where the index is full, the ask is
/// widened.
///
/// # Errors
/// [`IndexFull`]: not even a wider one has room; nothing changed.
pub(crate) fn install(shared: &Shared, peer: &Arc<Peer>, entry: InterestEntry) -> Result<(), IndexFull> {
    let target = target(peer, entry.class);
    let ask = InterestEntry { id: 0, ..entry };
    match peer.with_installed(|installed| installed.install(&shared.index, &target, ask)) {
        Ok(()) => Ok(()),
        Err(InstallError::Ask(error)) => {
            tracing::warn!(peer = peer.name, %error, "an ask of the peer cannot be installed");
            Ok(())
        }
        Err(InstallError::Full(full)) => Err(full),
    }
}

fn target(peer: &Arc<Peer>, class: u8) -> Target {
    match class {
        INTEREST_DURABLE => Target::PeerDurable(Arc::clone(peer)),
        _ => Target::PeerLive(Arc::clone(peer)),
    }
}

fn withdraw(shared: &Shared, peer: &Peer, entry: &InterestEntry) {
    peer.with_installed(|installed| installed.withdraw(&shared.index, entry));
}

/// Narrows what was widened for want of room, where there is room again.
fn narrow(shared: &Shared, peer: &Arc<Peer>) {
    peer.with_installed(|installed| installed.narrow(&shared.index, |class| target(peer, class)));
}

/// Says once that asks of a peer were widened, and once that none is any more.
pub(crate) fn tell_widened(shared: &Shared, peer: &Peer, before: usize) {
    let widened = peer.with_installed(|installed| installed.widened());
    match (before, widened) {
        (0, 1..) => {
            tracing::warn!(
                peer = peer.name,
                widened,
                entries = shared.index.len(),
                "the subscription index is full: asks of the peer are widened, so that it is sent more than it asks for: raise limits.index_bytes"
            );
        }
        (1.., 0) => tracing::info!(peer = peer.name, "no ask of the peer is widened any more"),
        _ => {}
    }
}

/// The link is lost: what the peer asked for its live subscriptions ends.
pub(crate) fn withdraw_live(shared: &Shared, peer: &Peer) {
    let live = peer.with_installed(|installed| {
        installed.asks().filter(|entry| entry.class == INTEREST_LIVE).cloned().collect::<Vec<_>>()
    });
    live.iter().for_each(|entry| withdraw(shared, peer, entry));
}
