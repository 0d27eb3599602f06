//! The gauges that are read at each scrape.
//!
//! Invariants: nothing here is on the way of an event; a scrape costs O(mailboxes + peers) and at
//! most one read of the disk per kind of mailbox, and runs off the async threads (`admin.rs`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanal_core::Event;
use fanal_core::event::Millis;
use fanal_store::{MailboxId, MailboxStats, Position, ReadError, Reader};

use crate::metrics::{Backlog, Metrics};
use crate::shared::Shared;

/// Has the gauges refreshed at each scrape.
pub(crate) fn register(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let heads: Mutex<[Head; 3]> = Mutex::default();
    let unknowns = AtomicU64::new(0);
    shared.metrics.on_scrape(Box::new(move |metrics| {
        if let Some(shared) = weak.upgrade() {
            let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
            refresh_mailboxes(&shared, metrics, &mut heads);
            refresh_peers(&shared);
            refresh_state(&shared, metrics);
            let unknown = shared.index.unknowns();
            let before = unknowns.swap(unknown, Ordering::Relaxed);
            metrics.match_unknown.increment(unknown.saturating_sub(before));
            metrics.sessions_connected.set(shared.sessions.len() as f64);
            metrics.subscriptions_live.set(shared.lives.len() as f64);
            metrics.subscriptions_durable.set(shared.durables.count() as f64);
        }
    }));
}

/// Whether work is taken, and by how much the store can still grow: to its limit, or what the disk
/// has free.
fn refresh_state(shared: &Shared, metrics: &Metrics) {
    metrics.ready.set(f64::from(u8::from(shared.unavailable().is_none())));
    let Ok(disk) = rustix::fs::statvfs(&shared.data) else { return };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let used = shared.health.bytes_on_disk.load(Ordering::Relaxed);
    let available = shared.limits.store_bytes.map_or(free, |limit| free.min(limit.saturating_sub(used)));
    metrics.store_available.set(available as f64);
}

/// Every mailbox of the store counts, also one that nothing is known of any more (`Home::orphans`).
fn refresh_mailboxes(shared: &Shared, metrics: &Metrics, heads: &mut [Head; 3]) {
    let peers = shared.peers.all();
    let of_peers: BTreeSet<u64> =
        peers.iter().filter_map(|peer| peer.mailbox()).map(|mailbox| mailbox.id.0).collect();
    let dead_letters = shared.health.dead_letters.load(Ordering::Relaxed);
    let mut sums = <[Sum; 3]>::default();
    for (MailboxId(id), stats) in shared.reader.mailboxes() {
        let kind = if id == dead_letters { 2 } else { usize::from(of_peers.contains(&id)) };
        sums[kind].add(&stats);
    }
    let now = shared.clock.now();
    let mut heads = heads.iter_mut();
    let [durable, peer, dead_letters] = sums.map(|sum| {
        let head = heads.next();
        head.map_or_else(Backlog::default, |head| sum.backlog(head, &shared.reader, now))
    });
    metrics.set_backlogs(&durable, &peer, &dead_letters);
}

fn refresh_peers(shared: &Shared) {
    let (asked, is_widened) = shared.interest.read(|own| (own.len(), own.is_widened()));
    for peer in shared.peers.all() {
        let link = peer.link().filter(|_| peer.is_linked());
        let rtt = link.map_or(0.0, |link| link.connection.rtt().as_secs_f64());
        let stats = peer.mailbox().and_then(|mailbox| shared.reader.mailbox(MailboxId(mailbox.id.0)));
        peer.metrics.rtt.set(rtt);
        peer.metrics.lag.set(stats.map_or(0, |stats| stats.events) as f64);
        peer.metrics.interest_in.set(peer.with_installed(|installed| installed.len()) as f64);
        peer.metrics.interest_out.set(asked as f64);
        peer.metrics.interest_widened.set(f64::from(u8::from(is_widened)));
    }
}

/// Mailboxes of one kind together.
#[derive(Default)]
struct Sum {
    events: u64,
    bytes: u64,
    /// Positions rise along the log, so the lowest entry is the one that was appended first.
    head: Option<Position>,
}

impl Sum {
    fn add(&mut self, stats: &MailboxStats) {
        self.events += stats.events;
        self.bytes += stats.bytes;
        self.head = self.head.into_iter().chain(stats.head).min();
    }

    fn backlog(&self, head: &mut Head, reader: &Reader, now: Millis) -> Backlog {
        let accepted_at = |position| accepted_at(reader, position, now);
        Backlog {
            events: self.events,
            bytes: self.bytes,
            oldest_age_seconds: head.age_seconds(self.head, now, accepted_at),
        }
    }
}

/// The oldest entry of the last scrape. While it stays it is not read again.
#[derive(Default)]
struct Head(Option<(Position, Millis)>);

impl Head {
    /// Age of the entry at `position`; 0 where there is none, never below. `None`: it went while
    /// it was looked at.
    fn age_seconds(
        &mut self,
        position: Option<Position>,
        now: Millis,
        accepted_at: impl FnOnce(Position) -> Option<Millis>,
    ) -> Option<f64> {
        let Some(position) = position else { return Some(0.0) };
        let since = match self.0 {
            Some((known, since)) if known == position => since,
            _ => accepted_at(position)?,
        };
        self.0 = Some((position, since));
        Some(now.saturating_sub(since) as f64 / 1000.0)
    }
}

/// When the event was accepted. One that cannot be read ages from now on: it stays, and that must
/// show.
fn accepted_at(reader: &Reader, position: Position, now: Millis) -> Option<Millis> {
    match reader.read(position) {
        Ok(record) => Some(Event::decode(&record).map_or(now, |event| event.accepted_at)),
        Err(ReadError::Gone(_)) => None,
        Err(_) => Some(now),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn the_age_follows_the_entry_and_a_clock_that_jumped_back_gives_0() {
        let mut head = Head::default();
        let position = |at| Some(Position(at));
        assert_eq!(head.age_seconds(None, 9_000, |_| unreachable!()), Some(0.0));
        assert_eq!(head.age_seconds(position(7), 9_000, |_| Some(8_500)), Some(0.5));
        assert_eq!(head.age_seconds(position(7), 9_750, |_| unreachable!("read twice")), Some(1.25));
        assert_eq!(head.age_seconds(position(8), 9_750, |_| Some(10_000)), Some(0.0));
        assert_eq!(head.age_seconds(position(9), 9_750, |_| None), None);
        assert_eq!(head.age_seconds(None, 9_750, |_| unreachable!()), Some(0.0));
    }

    #[test]
    fn an_entry_whose_segment_is_missing_shows_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let options = || fanal_store::Options { segment_bytes: 16 << 10, ..Default::default() };
        let open = || fanal_store::Store::open(dir.path(), options(), fanal_store::StoreId(1)).unwrap().0;
        let mut store = open();
        let mut batch = store.batch();
        batch.create_mailbox(MailboxId(1));
        store.commit(batch).unwrap();
        for sequence in 1..=30 {
            let mut batch = store.batch();
            batch.event(&[&[7; 1000]], &[(MailboxId(1), fanal_store::MailboxSequence(sequence))]);
            store.commit(batch).unwrap();
        }
        (0..2).for_each(|_| store.checkpoint(&mut std::iter::empty()).unwrap());
        drop(store);
        std::fs::remove_file(dir.path().join("00000001.seg")).unwrap();
        let reader = open().reader();
        let head = reader.mailbox(MailboxId(1)).unwrap().head.unwrap();
        assert_eq!(accepted_at(&reader, head, 5_000), Some(5_000));
    }

    #[test]
    fn the_oldest_of_several_mailboxes_is_the_lowest_in_the_log() {
        let stats = |head: Option<u64>| MailboxStats {
            events: 2,
            bytes: 10,
            first: fanal_store::MailboxSequence(1),
            next: fanal_store::MailboxSequence(3),
            head: head.map(Position),
        };
        let mut sum = Sum::default();
        [stats(None), stats(Some(50)), stats(Some(20)), stats(None)].iter().for_each(|one| sum.add(one));
        assert_eq!((sum.events, sum.bytes, sum.head), (8, 40, Some(Position(20))));
    }

    /// What the parts of a broker share, beside a store of its own and without a log writer.
    pub(crate) fn shared(dir: &std::path::Path, limits: Limits) -> (fanal_store::Store, Arc<Shared>) {
        let options = fanal_store::Options::default();
        let (store, _) =
            fanal_store::Store::open(&dir.join("store"), options, fanal_store::StoreId(7)).unwrap();
        let shared = Arc::new(Shared::new(crate::shared::SharedParts {
            name: "ewr".into(),
            incarnation: fanal_protocol::Incarnation::default(),
            limits,
            data: dir.to_owned(),
            admin_hosts: Vec::new(),
            trust: crate::trust::Trust::open_or_create(&dir.join("ca"), "ewr", &dir.join("data")).unwrap(),
            log: Arc::new(crate::log::LogQueue::new()),
            health: Arc::default(),
            reader: store.reader(),
            metrics: Arc::new(Metrics::new("1")),
            clock: Arc::default(),
            directory: Arc::default(),
        }));
        register(&shared);
        (store, shared)
    }

    #[test]
    fn a_broker_that_drains_shows_that_it_is_not_ready() {
        let dir = tempfile::tempdir().unwrap();
        let (_store, shared) = shared(dir.path(), Limits::default());
        assert!(shared.metrics.render().contains("\nfanal_ready 1\n"));
        shared.draining.store(true, Ordering::Relaxed);
        assert!(shared.metrics.render().contains("\nfanal_ready 0\n"));
    }

    #[test]
    fn the_room_of_the_store_ends_at_its_limit_or_with_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let room = |store_bytes, used| {
            let (_store, shared) = shared(dir.path(), Limits { store_bytes, ..Limits::default() });
            shared.health.bytes_on_disk.store(used, Ordering::Relaxed);
            let page = shared.metrics.render();
            let line = page.lines().find_map(|line| line.strip_prefix("fanal_store_available_bytes "));
            line.and_then(|number| number.parse::<f64>().ok()).unwrap()
        };
        assert_eq!(room(Some(10_000), 4_000), 6_000.0);
        assert_eq!(room(Some(10_000), 11_000), 0.0);
        let disk = rustix::fs::statvfs(dir.path()).unwrap();
        let all = disk.f_blocks as f64 * disk.f_frsize as f64;
        for limit in [None, Some(u64::MAX)] {
            assert!((1.0..=all).contains(&room(limit, 4_000)), "{limit:?}: what the disk has free");
        }
    }

    #[test]
    fn asks_above_the_budget_show_as_widened_interest() {
        let dir = tempfile::tempdir().unwrap();
        let (_store, shared) = shared(dir.path(), Limits::default());
        let own = shared.trust.authority().fingerprint();
        shared.peers.ensure(&shared, "jfk", own);
        let ask = |n: usize| {
            let ask = fanal_core::home::Ask { filter: format!("t/{n}"), ..Default::default() };
            fanal_core::ask::interest_entry(&ask, fanal_protocol::control::INTEREST_LIVE)
        };
        let shows = |widened: u8, entries: usize| {
            let page = shared.metrics.render();
            let out = "fanal_interest_entries{direction=\"out\",peer=\"jfk\"}";
            assert!(page.contains(&format!("fanal_interest_widened{{peer=\"jfk\"}} {widened}\n")), "{page}");
            assert!(page.contains(&format!("{out} {entries}\n")), "{page}");
        };
        // Two entries are kept back for widening.
        const BUDGET: usize = 100_000 - 2;
        for n in 0..BUDGET {
            shared.interest.add(ask(n));
        }
        shows(0, BUDGET);
        shared.interest.add(ask(BUDGET));
        while shared.interest.settle(BUDGET) {}
        shows(1, 1);
        // Where an eighth is free again, it narrows.
        for n in 0..BUDGET / 8 + 2 {
            shared.interest.remove(ask(n));
        }
        while shared.interest.settle(BUDGET) {}
        shows(0, BUDGET - BUDGET / 8 - 1);
    }
    #[test]
    fn comparisons_without_a_value_show_as_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let (_store, shared) = shared(dir.path(), Limits::default());
        let own = shared.trust.authority().fingerprint();
        let peer = shared.peers.ensure(&shared, "jfk", own);
        let (_, selector) =
            fanal_core::ask::parse_ask("t", Some("amount > 100 AND x = 1"), None, &[]).unwrap();
        shared.index.insert(selector, crate::route::Target::PeerLive(peer));
        let mut route = shared.index.route(&fanal_matching::Topic::parse("t").unwrap());
        let shown = || {
            let page = shared.metrics.render();
            let line = page.lines().find_map(|line| line.strip_prefix("fanal_match_unknown_total "));
            line.and_then(|number| number.parse::<f64>().ok()).unwrap()
        };
        let event = |amount: &'static str| {
            [(amount, fanal_matching::Value::Int(1)), ("x", fanal_matching::Value::Int(1))]
        };
        (0..200).for_each(|_| shared.index.visit(&mut route, &event("amount"), |_, _| {}));
        assert_eq!(shown(), 0.0);
        // One event in 64 is looked at, and stands for the others.
        (0..256).for_each(|_| shared.index.visit(&mut route, &event("amounts"), |_, _| {}));
        assert_eq!(shown(), 256.0);
    }
}
