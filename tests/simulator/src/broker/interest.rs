//! Interest over a link: the own set goes out, the peer's comes in and is installed.

use fanal_core::ask::parse_ask;
use fanal_core::interest::{InterestChange, InterestError};
use fanal_protocol::control::{
    INTEREST_DURABLE, INTEREST_LIVE, InterestAck, InterestDelta, InterestDigest, InterestEntry,
    InterestResync, InterestSnapshot,
};

use super::Node;
use super::link::Phase;
use super::log::{Command, LogError, Output, Then};
use super::mailbox::Mailbox;
use super::route::Target;
use crate::context::{BrokerTimer, Context};
use crate::count::Count;
use crate::net::ConnId;

/// Time between digests.
const DIGEST_US: u64 = 10_000_000;

impl Node {
    /// The own interest has changed: every link tells it, a little later.
    pub(crate) fn interest_changed(&mut self, ctx: &mut Context) {
        let up: Vec<ConnId> =
            self.links.iter().filter(|(_, link)| link.phase == Phase::Up).map(|(id, _)| *id).collect();
        for conn in up {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            if !std::mem::replace(&mut link.interest_due, true) {
                let delay = ctx.random.below(1_000);
                self.timer(ctx, delay, BrokerTimer::Interest(conn));
            }
        }
        self.settle_later(ctx);
        match (self.was_widened, self.interest.is_widened()) {
            (false, true) => ctx.count(Count::InterestWidened),
            (true, false) => ctx.count(Count::InterestNarrowed),
            _ => {}
        }
        self.was_widened = self.interest.is_widened();
    }

    fn settle_later(&mut self, ctx: &mut Context) {
        if !std::mem::replace(&mut self.settle_due, true) {
            let delay = ctx.random.below(20_000);
            self.timer(ctx, delay, BrokerTimer::Settle);
        }
    }

    /// Narrows the own interest by a step, if there is room.
    pub(crate) fn settle_interest(&mut self, ctx: &mut Context) {
        self.settle_due = false;
        let before = self.interest.version();
        if self.interest.settle(1) {
            self.settle_later(ctx);
        }
        if self.interest.version() != before {
            self.interest_changed(ctx);
        }
    }

    pub(crate) fn send_snapshot(&mut self, ctx: &mut Context, conn: ConnId) {
        ctx.count(Count::InterestSnapshot);
        let parts = self.interest.snapshot();
        if let Some(link) = self.links.get_mut(&conn) {
            link.interest_sent = parts.first().map_or(0, |part| part.version);
        }
        for part in parts {
            self.tell(ctx, conn, part);
        }
    }

    pub(crate) fn send_interest_changes(&mut self, ctx: &mut Context, conn: ConnId) {
        loop {
            let Some(link) = self.links.get_mut(&conn) else { return };
            link.interest_due = false;
            if link.phase != Phase::Up || link.interest_sent >= self.interest.version() {
                return;
            }
            match self.interest.delta(link.interest_sent) {
                Some(delta) if delta.to > link.interest_sent => {
                    link.interest_sent = delta.to;
                    ctx.count(Count::InterestDelta);
                    self.tell(ctx, conn, delta);
                }
                _ => self.send_snapshot(ctx, conn),
            }
        }
    }

    pub(crate) fn send_digest(&mut self, ctx: &mut Context, conn: ConnId) {
        if self.links.get(&conn).is_some_and(|link| link.phase == Phase::Up) {
            ctx.count(Count::InterestDigest);
            self.tell(ctx, conn, self.interest.digest());
            self.timer(ctx, DIGEST_US, BrokerTimer::Digest(conn));
        }
    }

    pub(crate) fn on_snapshot(&mut self, ctx: &mut Context, conn: ConnId, part: InterestSnapshot) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match link.held.on_snapshot(part) {
            Ok(Some(change)) => self.apply(ctx, conn, change),
            Ok(None) => {}
            Err(error) => self.on_interest_error(ctx, conn, &error),
        }
    }

    pub(crate) fn on_delta(&mut self, ctx: &mut Context, conn: ConnId, delta: InterestDelta) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        match link.held.on_delta(delta) {
            Ok(change) => self.apply(ctx, conn, change),
            Err(error) => self.on_interest_error(ctx, conn, &error),
        }
    }

    fn on_interest_error(&mut self, ctx: &mut Context, conn: ConnId, error: &InterestError) {
        match error {
            InterestError::Resync { have } => self.tell(ctx, conn, InterestResync { have: *have }),
            other => ctx.oracle.break_(format!("b{}", self.number), other.to_string()),
        }
    }

    pub(crate) fn on_digest(&mut self, ctx: &mut Context, conn: ConnId, digest: &InterestDigest) {
        let Some(link) = self.links.get(&conn) else { return };
        if !link.held.agrees_with(digest) {
            let what = format!("b{}: interest of b{} has drifted", self.number, link.peer);
            ctx.oracle.break_(format!("b{}", self.number), what);
        }
    }

    /// Durable asks are flushed before any ask is installed, and new ones come first.
    fn apply(&mut self, ctx: &mut Context, conn: ConnId, change: InterestChange) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let is_durable = |entry: &InterestEntry| entry.class == INTEREST_DURABLE;
        let has_durable = change.add.iter().chain(&change.remove).any(is_durable);
        let peer = link.peer;
        link.applying = Some(change);
        if !has_durable {
            return self.on_interest_changed(ctx, conn, true);
        }
        link.is_busy = true;
        match self.peers.get(&peer).and_then(|peer| peer.mailbox.as_ref()) {
            Some(_) => self.change_interest(ctx, conn),
            None => self.command(ctx, Command::EnsurePeer { peer }, Then::PeerMade { conn }),
        }
    }

    pub(crate) fn on_peer_made(&mut self, ctx: &mut Context, conn: ConnId, answer: Result<Output, LogError>) {
        // The mailbox exists, whatever has become of the link.
        let Some(number) = self.links.get(&conn).map(|link| link.peer) else { return };
        let Ok(Output::Mailbox { id, .. }) = answer else {
            return self.end_link(ctx, conn, "no peer mailbox");
        };
        if let Some(peer) = self.peers.get_mut(&number)
            && peer.mailbox.is_none()
        {
            peer.mailbox = Some(Mailbox::new(id, 1));
            self.attach_peer(ctx, conn, number);
        }
        self.change_interest(ctx, conn);
    }

    fn change_interest(&mut self, ctx: &mut Context, conn: ConnId) {
        let Some(link) = self.links.get(&conn) else { return };
        let Some(mailbox) = self.peers.get(&link.peer).and_then(|peer| peer.mailbox.as_ref()) else { return };
        let change = link.applying.clone().unwrap_or_default();
        let durable = |entries: Vec<InterestEntry>| -> Vec<InterestEntry> {
            entries.into_iter().filter(|entry| entry.class == INTEREST_DURABLE).collect()
        };
        let mailbox = mailbox.id;
        let (add, remove) = (durable(change.add), durable(change.remove));
        self.command(ctx, Command::ChangeInterest { mailbox, add, remove }, Then::InterestChanged { conn });
    }

    /// The durable part is flushed: all of it is installed, and the version confirmed.
    pub(crate) fn on_interest_changed(&mut self, ctx: &mut Context, conn: ConnId, is_flushed: bool) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        if !is_flushed {
            return self.end_link(ctx, conn, "store stopped");
        }
        link.is_busy = false;
        let (peer, change, version) =
            (link.peer, link.applying.take().unwrap_or_default(), link.held.version());
        for entry in change.add {
            self.install(peer, entry);
        }
        for entry in &change.remove {
            self.withdraw(peer, entry);
        }
        if let Some(version) = version {
            self.tell(ctx, conn, InterestAck { version });
        }
        self.go_on_link(ctx, conn);
    }

    /// Puts an ask of a peer into the index, unless it is there.
    pub(crate) fn install(&mut self, number: usize, entry: InterestEntry) {
        let Ok((_, selector)) =
            parse_ask(&entry.filter, entry.predicate.as_deref(), entry.strict.as_deref(), &entry.except)
        else {
            return;
        };
        let target = match entry.class {
            INTEREST_DURABLE => Target::PeerDurable(number),
            _ => Target::PeerLive(number),
        };
        let key = InterestEntry { id: 0, ..entry };
        let is_new = self.peers.get(&number).is_some_and(|peer| !peer.installed.contains_key(&key));
        if is_new {
            let entry = self.route_to(selector, target);
            if let Some(peer) = self.peers.get_mut(&number) {
                peer.installed.insert(key, entry);
            }
        }
    }

    fn withdraw(&mut self, number: usize, entry: &InterestEntry) {
        if let Some(id) = self.peers.get_mut(&number).and_then(|peer| peer.installed.remove(entry)) {
            self.index.remove(id);
        }
    }

    /// The link is lost: what the peer asked for its live subscriptions ends.
    pub(crate) fn withdraw_live(&mut self, number: usize) {
        let Some(peer) = self.peers.get(&number) else { return };
        let live: Vec<_> =
            peer.installed.keys().filter(|entry| entry.class == INTEREST_LIVE).cloned().collect();
        live.iter().for_each(|entry| self.withdraw(number, entry));
    }
}
