//! A running broker: start, recover, serve, shut down.
//!
//! Invariants of the start: both addresses are taken before anything is written, so that a start
//! that cannot listen leaves nothing behind; they are answered on last, so that whoever reaches the
//! broker finds everything recovered; durable subscriptions and the durable interest of absent
//! peers are routed to before the first connection is accepted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use fanal_core::ask::parse_ask;
use fanal_core::home::Subscription;
use fanal_core::{Home, MailboxId};
use fanal_matching::IndexFull;
use fanal_protocol::{Incarnation, StoreId};
use fanal_store::{Disk, Options, RealDisk, Recovery, Store};
use quinn::{Endpoint, VarInt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::StartError;
use crate::federation::{dial, interest};
use crate::log::LogQueue;
use crate::log::limits::Rule;
use crate::log::writer::{LogWriter, StoreHealth, WriterParts};
use crate::mailbox::{Directory, MailboxKind};
use crate::metrics::Metrics;
use crate::pages::AdminPages;
use crate::shared::{Shared, SharedParts};
use crate::sockets::Sockets;
use crate::trust::{Trust, TrustError};
use crate::{accept, admin, gauges, quic};

/// How long a shutdown waits for connections to end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// A broker that runs until [`Broker::shutdown`]. Dropping it ends it as a crash would.
pub struct Broker {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    listen: SocketAddr,
    admin: SocketAddr,
    local_json: PathBuf,
    writer: Option<JoinHandle<()>>,
    stop_admin: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Broker {
    /// Starts a broker on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then. An address that is in use leaves the data directory as it was;
    /// where two brokers take one admin address in the same moment, the later one has opened its own.
    pub async fn start(config: Config) -> Result<Broker, StartError> {
        fanal_protocol::identity::check_name(&config.name)?;
        check_peers(&config)?;
        check_limits(&config)?;
        let rules = Rule::read(&config.rules).map_err(|reason| StartError::Limits { reason })?;
        let sockets = Sockets::take(config.listen, config.admin)?;
        RealDisk::new(&config.data)
            .create_root()
            .map_err(|source| StartError::Data { path: config.data.clone(), source })?;
        let (store, home, recovery) = open_store(&config)?;
        let trust = Trust::open_or_create(&config.ca, &config.name, &config.data)?;
        let (socket, admin_listener, admin) = sockets.listen()?;
        let endpoint = quic::endpoint(&trust, &config.data, config.listen, socket)?;
        let listen = endpoint.local_addr().unwrap_or(config.listen);
        let local_json = match trust.write_local_json(&config.data, &[listen], admin, &config.name) {
            Err(error @ TrustError::NoKey { .. }) => {
                tracing::warn!(%error, "no credentials for this machine are written");
                config.data.join("local.json")
            }
            written => written?,
        };

        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
        let log = Arc::new(LogQueue::new());
        let health = Arc::new(StoreHealth::default());
        let (clock, directory) = (Arc::<Clock>::default(), Arc::<Directory>::default());
        let shared = Arc::new(Shared::new(SharedParts {
            name: config.name.clone(),
            incarnation: Incarnation {
                store: StoreId(store.id().0.to_be_bytes()),
                recovery_epoch: store.recovery_epoch(),
                start: store.start_counter(),
            },
            limits: config.limits.clone(),
            data: config.data.clone(),
            admin_hosts: config.admin_hosts.clone(),
            trust,
            log: Arc::clone(&log),
            health: Arc::clone(&health),
            reader: store.reader(),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            directory: Arc::clone(&directory),
        }));
        restore(&shared, &home, &recovery)?;
        gauges::register(&shared);
        let writer = LogWriter::new(WriterParts {
            store,
            home,
            queue: log,
            health,
            metrics,
            clock,
            directory,
            limits: config.limits.clone(),
            rules,
            data: config.data.clone(),
        });
        let writer = std::thread::Builder::new()
            .name("fanal-log".into())
            .spawn(move || writer.run())
            .map_err(StartError::Thread)?;
        let mut broker = Broker {
            shared,
            endpoint,
            listen,
            admin,
            local_json,
            writer: Some(writer),
            stop_admin: None,
            tasks: JoinSet::new(),
        };
        broker.serve(&config, admin_listener);
        Ok(broker)
    }

    fn serve(&mut self, config: &Config, admin_listener: tokio::net::TcpListener) {
        self.tasks.spawn(accept::accept_connections(Arc::clone(&self.shared), self.endpoint.clone()));
        self.tasks.spawn(interest::settle(Arc::clone(&self.shared)));
        let own = self.shared.trust.authority().fingerprint();
        for configured in &config.peers {
            let peer = self.shared.peers.ensure(&self.shared, &configured.name, own);
            peer.set_address(&configured.address);
            let (shared, endpoint) = (Arc::clone(&self.shared), self.endpoint.clone());
            self.tasks.spawn(dial::keep_linked(shared, endpoint, peer, configured.address.clone()));
        }
        let (stop, stopped) = oneshot::channel();
        self.stop_admin = Some(stop);
        let pages = Arc::new(AdminPages(Arc::clone(&self.shared)));
        self.tasks.spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            if let Err(error) = admin::serve(admin_listener, pages, stopped).await {
                tracing::error!(%error, "the admin HTTP listener has ended");
            }
        });
    }

    /// The broker's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where clients and peers connect.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Where the admin HTTP listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// The credentials file for this machine.
    pub fn local_json(&self) -> &Path {
        &self.local_json
    }

    /// A client certificate of this broker's CA, as a credentials file's text.
    ///
    /// # Errors
    /// When the CA's key is not here.
    pub fn issue_credentials(&self, client: &str) -> Result<String, StartError> {
        Ok(self.shared.trust.credentials_json(&[self.listen], self.admin, &self.shared.name, client)?)
    }

    /// Waits until the store has stopped for good; why. Never returns while all is well.
    pub async fn stopped(&self) -> String {
        self.shared.health.wait_until_stopped().await
    }

    /// Waits until every connection has been sent what was answered.
    async fn receipts_sent(&self) {
        let outboxes: Vec<_> =
            self.shared.sessions.iter().map(|session| Arc::clone(&session.outbox)).collect();
        for outbox in outboxes {
            outbox.wait_until_sent().await;
        }
    }

    /// Ends the broker: refuses new work, flushes what was taken, closes connections.
    pub async fn shutdown(mut self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        // What waits for its flush is flushed and answered before connections are closed.
        let writer = self.writer.take();
        let log = Arc::clone(&self.shared.log);
        let _ = tokio::task::spawn_blocking(move || {
            log.stop();
            writer.map(JoinHandle::join)
        })
        .await;
        let _ = tokio::time::timeout(RECEIPT_PATIENCE, self.receipts_sent()).await;
        self.endpoint.close(VarInt::from_u32(503), b"the broker is shutting down");
        if let Some(stop) = self.stop_admin.take() {
            let _ = stop.send(());
        }
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, self.endpoint.wait_idle()).await;
        self.tasks.shutdown().await;
    }
}

/// How long a shutdown waits for clients to take their last receipts.
const RECEIPT_PATIENCE: Duration = Duration::from_millis(500);

/// An event and its entries must fit a segment with room to spare.
fn check_limits(config: &Config) -> Result<(), StartError> {
    let (segment, body) = (config.limits.segment_bytes, config.limits.body_bytes_max as u64);
    if segment / 4 < body {
        let reason = format!(
            "segment_bytes = {segment} is less than four times body_bytes_max = {body}: raise the one or lower the other"
        );
        return Err(StartError::Limits { reason });
    }
    Ok(())
}

fn check_peers(config: &Config) -> Result<(), StartError> {
    for (at, peer) in config.peers.iter().enumerate() {
        fanal_protocol::identity::check_name(&peer.name)?;
        let refuse = |reason: &str| Err(StartError::Peer { name: peer.name.clone(), reason: reason.into() });
        if peer.name == config.name {
            return refuse("that is this broker's own name: give each broker of one CA a name of its own");
        }
        if config.peers[..at].iter().any(|other| other.name == peer.name) {
            return refuse("named twice: give each peer one address");
        }
    }
    Ok(())
}

fn open_store(config: &Config) -> Result<(Store, Home, Recovery), StartError> {
    let defaults = Options::default();
    let options = Options {
        segment_bytes: config.limits.segment_bytes,
        // Small segments would be read and kept by the hundred.
        checkpoint_after_bytes: defaults.checkpoint_after_bytes.min(2 * config.limits.segment_bytes),
        bytes_max: config.limits.store_bytes,
        ..defaults
    };
    let new_id = fanal_store::StoreId(rand::random());
    let (store, recovery) = Store::open(&config.data.join("store"), options, new_id)?;
    if let Some(upgrade) = &recovery.report.upgraded {
        tracing::warn!(%upgrade, "store upgraded");
    }
    if recovery.report.is_clean() {
        tracing::info!(report = %recovery.report, "store recovered");
    } else {
        tracing::warn!(report = %recovery.report, "store recovered, not cleanly");
    }
    let id = StoreId(store.id().0.to_be_bytes());
    let tails = recovery.mailboxes.iter().map(|(id, stats)| (MailboxId(id.0), stats.next.0));
    let home = Home::recover(id, store.recovery_epoch(), &recovery.state, tails)
        .map_err(|source| StartError::Recover { path: config.data.clone(), source })?;
    Ok((store, home, recovery))
}

/// Makes routing know what the store remembers.
fn restore(shared: &Arc<Shared>, home: &Home, recovery: &Recovery) -> Result<(), StartError> {
    let index_full = |full: IndexFull| StartError::IndexFull {
        limit: shared.limits.index_bytes,
        restored: shared.durables.count(),
        all: home.subscriptions().count(),
        full,
    };
    for (id, subscription) in home.subscriptions() {
        restore_subscription(shared, home, (id, subscription)).map_err(index_full)?;
    }
    for (id, record) in home.peers() {
        let peer = shared.peers.ensure(shared, &record.name, record.authority);
        let kind = MailboxKind::Peer(record.name.as_str().into());
        peer.set_mailbox(shared.directory.add(id, kind, home.tail(id).unwrap_or(1), shared.reader.clone()));
        for entry in record.interest.keys() {
            interest::install(shared, &peer, entry.clone()).map_err(index_full)?;
        }
        interest::tell_widened(shared, &peer, 0);
    }
    for orphan in home.orphans() {
        tracing::error!(
            mailbox = orphan.0,
            "nothing is known of this mailbox any more; its entries are kept in the store"
        );
    }
    let is_peer = |id: u64| home.peers().any(|(peer, _)| peer.0 == id);
    let (mut durable, mut peer, mut dead_letters) = (0, 0, 0);
    for (id, stats) in &recovery.mailboxes {
        let sum = match home.dead_letters().map(|letters| letters.0) {
            Some(letters) if letters == id.0 => &mut dead_letters,
            _ if is_peer(id.0) => &mut peer,
            _ => &mut durable,
        };
        *sum += stats.events;
    }
    shared.metrics.set_queued_at_start(durable, peer, dead_letters);
    Ok(())
}

fn restore_subscription(
    shared: &Arc<Shared>,
    home: &Home,
    (id, subscription): (MailboxId, &Arc<Subscription>),
) -> Result<(), IndexFull> {
    let ask = &subscription.ask;
    match parse_ask(&ask.filter, ask.predicate.as_deref(), ask.strict.as_deref(), &ask.except) {
        Ok((_, selector)) => {
            shared.ensure_durable(id, subscription, selector)?.mailbox.suspect(home.suspect_below(id));
        }
        Err(error) => {
            let name = subscription.name.as_str();
            tracing::error!(name, %error, "a durable subscription's filter cannot be read: it gets nothing new");
        }
    }
    Ok(())
}
