//! What all parts of one broker share: handles, not decisions.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use fanal_core::MailboxId;
use fanal_core::ask::interest_entry;
use fanal_core::home::Subscription;
use fanal_core::interest::OwnInterest;
use fanal_matching::{EntryId, Index, IndexFull, Selector};
use fanal_protocol::control::{INTEREST_DURABLE, InterestEntry};
use fanal_protocol::{Incarnation, PublisherId};
use fanal_store::Reader;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Limits;
use crate::edge::fence::Clients;
use crate::edge::session::SessionInfo;
use crate::federation::peers::Peers;
use crate::live::{LiveMemory, LiveQueue};
use crate::log::LogQueue;
use crate::log::writer::StoreHealth;
use crate::mailbox::{Directory, Mailbox, MailboxKind};
use crate::metrics::Metrics;
use crate::route::Target;
use crate::trust::Trust;

/// Names of durable subscriptions share so many locks.
const DURABLE_LOCKS: usize = 64;

/// See the module.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) limits: Limits,
    /// The store's directory is in it.
    pub(crate) data: PathBuf,
    /// Host names under which the admin HTTP answers.
    pub(crate) admin_hosts: Vec<String>,
    pub(crate) trust: Trust,
    pub(crate) clock: Arc<Clock>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) index: Index<Target>,
    pub(crate) log: Arc<LogQueue>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) live_memory: Arc<LiveMemory>,
    pub(crate) interest: InterestBook,
    pub(crate) durables: Durables,
    pub(crate) lives: DashMap<u64, Arc<LiveQueue>>,
    pub(crate) sessions: DashMap<u64, Arc<SessionInfo>>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) peers: Peers,
    pub(crate) draining: AtomicBool,
    /// Held while a durable subscription is changed in the log and then in routing, so that both
    /// see the changes of one name in the same order.
    durable_changes: [tokio::sync::Mutex<()>; DURABLE_LOCKS],
    ids: AtomicU64,
}

/// What [`Shared`] is made of.
pub(crate) struct SharedParts {
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) limits: Limits,
    pub(crate) data: PathBuf,
    pub(crate) admin_hosts: Vec<String>,
    pub(crate) trust: Trust,
    pub(crate) log: Arc<LogQueue>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) reader: Reader,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) directory: Arc<Directory>,
}

impl Shared {
    pub(crate) fn new(parts: SharedParts) -> Self {
        let index_bytes = usize::try_from(parts.limits.index_bytes).unwrap_or(usize::MAX);
        Shared {
            live_memory: Arc::new(LiveMemory::new(parts.limits.live_memory_bytes)),
            name: parts.name,
            incarnation: parts.incarnation,
            limits: parts.limits,
            data: parts.data,
            admin_hosts: parts.admin_hosts,
            trust: parts.trust,
            clock: parts.clock,
            directory: parts.directory,
            // Nobody outside can choose names and values that collide in its tables.
            index: Index::with_bytes_max(rand::random(), index_bytes),
            log: parts.log,
            health: parts.health,
            reader: Arc::new(parts.reader),
            metrics: parts.metrics,
            interest: InterestBook::default(),
            durables: Durables::default(),
            lives: DashMap::new(),
            sessions: DashMap::new(),
            clients: Arc::default(),
            peers: Peers::default(),
            draining: AtomicBool::new(false),
            durable_changes: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            ids: AtomicU64::new(1),
        }
    }

    /// Waits for the turn to change a durable subscription.
    pub(crate) async fn lock_durable(
        &self,
        principal: &PublisherId,
        name: &str,
    ) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (principal, name).hash(&mut hasher);
        self.durable_changes[(hasher.finish() % DURABLE_LOCKS as u64) as usize].lock().await
    }

    /// A number that is used once in the life of this process.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Why new work is refused at the moment, if it is.
    pub(crate) fn unavailable(&self) -> Option<String> {
        if let Some(reason) = self.health.stopped() {
            return Some(reason.to_owned());
        }
        self.draining.load(Ordering::Relaxed).then(|| "the broker is shutting down".to_owned())
    }

    /// Makes a durable subscription known for routing and to the peers, or finds it.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing changed.
    pub(crate) fn ensure_durable(
        &self,
        id: MailboxId,
        subscription: &Arc<Subscription>,
        selector: Selector,
    ) -> Result<Arc<DurableHandle>, IndexFull> {
        let mut durables = self.durables.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = durables.get(&id) {
            return Ok(Arc::clone(known));
        }
        let stats = self.reader.mailbox(fanal_store::MailboxId(id.0));
        let tail = stats.map_or(1, |stats| stats.next.0);
        let kind = MailboxKind::Durable(Arc::clone(subscription));
        let mailbox = self.directory.add(id, kind, tail, self.reader.clone());
        let entry = self.index.insert_promised(selector, Target::Durable(Arc::clone(&mailbox)))?;
        let interest_version = self.interest.add(interest_entry(&subscription.ask, INTEREST_DURABLE));
        let handle = Arc::new(DurableHandle {
            mailbox,
            entry: Mutex::new(Some(entry)),
            current: Mutex::new((Arc::clone(subscription), interest_version)),
        });
        durables.insert(id, Arc::clone(&handle));
        Ok(handle)
    }

    /// Gives a durable subscription another filter for routing: the new interest is asked for
    /// before the old one is withdrawn.
    ///
    /// # Errors
    /// [`IndexFull`]; nothing changed.
    pub(crate) fn update_durable(
        &self,
        id: MailboxId,
        subscription: Arc<Subscription>,
        selector: Selector,
    ) -> Result<(), IndexFull> {
        let Some(durable) = self.durables.get(id) else { return Ok(()) };
        let mut current = durable.current.lock().unwrap_or_else(PoisonError::into_inner);
        durable.with_entry(|entry| -> Result<(), IndexFull> {
            if let Some(old) = *entry {
                *entry = self.index.replace(old, selector)?;
            }
            Ok(())
        })?;
        let version = self.interest.add(interest_entry(&subscription.ask, INTEREST_DURABLE));
        let (before, _) = std::mem::replace(&mut *current, (subscription, version));
        self.interest.remove(interest_entry(&before.ask, INTEREST_DURABLE));
        Ok(())
    }

    /// Takes a durable subscription out of routing and interest.
    pub(crate) fn forget_durable(&self, id: MailboxId) -> Option<Arc<DurableHandle>> {
        let durable = self.durables.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        self.directory.remove(id);
        durable.with_entry(|entry| entry.take().map(|entry| self.index.remove(entry)));
        self.interest.remove(interest_entry(&durable.subscription().ask, INTEREST_DURABLE));
        Some(durable)
    }
}

/// A durable subscription as routing knows it.
pub(crate) struct DurableHandle {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Its entry in the index, until it is forgotten.
    entry: Mutex<Option<EntryId>>,
    /// What it is, and the version of the own interest from which on that is part of it.
    current: Mutex<(Arc<Subscription>, u64)>,
}

impl DurableHandle {
    fn with_entry<R>(&self, with: impl FnOnce(&mut Option<EntryId>) -> R) -> R {
        with(&mut self.entry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, (Arc<Subscription>, u64)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is, its name and what it asks for.
    pub(crate) fn subscription(&self) -> Arc<Subscription> {
        Arc::clone(&self.current().0)
    }

    /// The version of the own interest from which on what it asks for is part of it.
    pub(crate) fn interest_version(&self) -> u64 {
        self.current().1
    }

    /// It may hold more or less; what it asks for is as it was.
    pub(crate) fn note_limits(&self, subscription: Arc<Subscription>) {
        self.current().0 = subscription;
    }
}

/// The durable subscriptions of this home.
#[derive(Default)]
pub(crate) struct Durables {
    by_id: Mutex<BTreeMap<MailboxId, Arc<DurableHandle>>>,
}

impl Durables {
    pub(crate) fn get(&self, id: MailboxId) -> Option<Arc<DurableHandle>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The one of that name that a principal has. `O(durable subscriptions)`.
    pub(crate) fn find(&self, principal: &PublisherId, name: &str) -> Option<Arc<DurableHandle>> {
        let durables = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |durable: &&Arc<DurableHandle>| {
            let (of, _) = &*durable.current();
            of.principal == *principal && of.name == name
        };
        durables.values().find(is_it).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<DurableHandle>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// What this broker asks of its peers, and a signal for those who pass it on.
pub(crate) struct InterestBook {
    own: Mutex<OwnInterest>,
    version: watch::Sender<u64>,
}

impl Default for InterestBook {
    fn default() -> Self {
        InterestBook { own: Mutex::default(), version: watch::channel(0).0 }
    }
}

impl InterestBook {
    /// One subscription more; the version from which on it is part of the set.
    pub(crate) fn add(&self, entry: InterestEntry) -> u64 {
        self.change(|own| own.add(entry))
    }

    /// One subscription less.
    pub(crate) fn remove(&self, entry: InterestEntry) -> u64 {
        self.change(|own| own.remove(entry))
    }

    /// Goes on with what need not be done at once; whether there is more to do.
    pub(crate) fn settle(&self, steps: usize) -> bool {
        self.change(|own| own.settle(steps))
    }

    fn change<R>(&self, change: impl FnOnce(&mut OwnInterest) -> R) -> R {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let before = own.version();
        let result = change(&mut own);
        if own.version() != before {
            self.version.send_replace(own.version());
        }
        result
    }

    /// Reads the set.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&OwnInterest) -> R) -> R {
        read(&self.own.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows the version.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
