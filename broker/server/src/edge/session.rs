//! What a client connection holds at its home: channels, subscriptions, writers' ready lists.
//!
//! Invariants: a channel number names one thing; when the connection ends, [`Session::end`]
//! withdraws live subscriptions and lets go of durable ones, whatever state they were in.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fanal_core::Credit;
use fanal_core::ask::interest_entry;
use fanal_core::home::Ask;
use fanal_matching::EntryId;
use fanal_protocol::PublisherId;
use fanal_protocol::control::INTEREST_LIVE;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::fence::Place;
use crate::live::{LiveQueue, SharedCredit};
use crate::log::Command;
use crate::log::request::PublishChannel;
use crate::mailbox::{Attached, Mailbox, MailboxKind};
use crate::ready::ReadyList;
use crate::shared::Shared;
use crate::wire::Outbox;

/// Closed publish channels that stay known.
const RETIRED_MAX: usize = 64;

/// What pages show of a connection.
pub(crate) struct SessionInfo {
    pub(crate) id: u64,
    pub(crate) principal: PublisherId,
    pub(crate) agent: String,
    pub(crate) remote: SocketAddr,
    pub(crate) since_ms: u64,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) subscriptions: Mutex<Vec<(u32, Ask, Option<String>)>>,
    /// How many channels it has open to publish on.
    pub(crate) publish_channels: AtomicUsize,
}

/// A subscription on a channel.
pub(crate) enum Subscribed {
    /// Ends with the connection.
    Live { queue: Arc<LiveQueue>, entry: EntryId, ask: Ask },
    /// Stays at the home.
    Durable { attached: Arc<Attached>, live_side: Arc<LiveQueue> },
}

impl Subscribed {
    fn credit(&self) -> (&SharedCredit, &Arc<LiveQueue>) {
        match self {
            Subscribed::Live { queue, .. } => (queue.credit(), queue),
            Subscribed::Durable { attached, live_side } => (&attached.credit, live_side),
        }
    }
}

/// A channel of a connection.
#[derive(Clone)]
pub(crate) enum Channel {
    Publish(Arc<PublishChannel>),
    Subscription(Arc<Subscribed>),
}

/// See the module.
pub(crate) struct Session {
    pub(crate) info: Arc<SessionInfo>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) live_ready: Arc<ReadyList<LiveQueue>>,
    pub(crate) durable_ready: Arc<ReadyList<Attached>>,
    /// The client said goodbye: what it published is read to the end, and nothing more.
    pub(crate) goodbye: Notify,
    /// Among the connections of its client.
    pub(crate) place: Place,
    channels: Mutex<BTreeMap<u32, Channel>>,
    retired: Mutex<VecDeque<u32>>,
    /// Tasks that hold back interest receipts.
    waits: Mutex<JoinSet<()>>,
    has_ended: AtomicBool,
}

impl Session {
    pub(crate) fn new(info: SessionInfo, place: Place) -> Arc<Self> {
        Arc::new(Session {
            outbox: Arc::clone(&info.outbox),
            info: Arc::new(info),
            live_ready: Arc::default(),
            durable_ready: Arc::default(),
            goodbye: Notify::new(),
            place,
            channels: Mutex::default(),
            retired: Mutex::default(),
            waits: Mutex::default(),
            has_ended: AtomicBool::new(false),
        })
    }

    /// The channel of a number.
    pub(crate) fn channel(&self, number: u32) -> Option<Channel> {
        self.lock().get(&number).cloned()
    }

    /// The publish channel of a number.
    pub(crate) fn publish_channel(&self, number: u32) -> Option<Arc<PublishChannel>> {
        match self.lock().get(&number) {
            Some(Channel::Publish(channel)) => Some(Arc::clone(channel)),
            _ => None,
        }
    }

    /// All publish channels.
    pub(crate) fn publish_channels(&self) -> Vec<Arc<PublishChannel>> {
        let channels = self.lock();
        let publish = channels.values().filter_map(|channel| match channel {
            Channel::Publish(channel) => Some(Arc::clone(channel)),
            Channel::Subscription(_) => None,
        });
        publish.collect()
    }

    /// How many channels are open; closed ones that stay known are not.
    pub(crate) fn channel_count(&self) -> usize {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.lock().len().saturating_sub(retired)
    }

    /// Opens a channel.
    pub(crate) fn open(&self, number: u32, channel: Channel) {
        let is_publish = matches!(channel, Channel::Publish(_));
        self.info.publish_channels.fetch_add(usize::from(is_publish), Ordering::Relaxed);
        self.lock().insert(number, channel);
    }

    /// Closes a channel, giving up what hangs on it.
    pub(crate) fn close(&self, number: u32, shared: &Arc<Shared>) -> Option<Channel> {
        let channel = self.lock().remove(&number)?;
        if let Channel::Subscription(subscribed) = &channel {
            release(subscribed, shared);
        }
        let mut shown = self.info.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|(channel, _, _)| *channel != number);
        drop(shown);
        Some(channel)
    }

    /// Runs a wait for as long as the connection lives.
    pub(crate) fn spawn_wait(&self, wait: impl Future<Output = ()> + Send + 'static) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        while waits.try_join_next().is_some() {}
        waits.spawn(wait);
    }

    /// How many waits are under way.
    pub(crate) fn wait_count(&self) -> usize {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        while waits.try_join_next().is_some() {}
        waits.len()
    }

    /// Closes a publish channel. Best-effort events on its stream may be behind the request, so it
    /// stays known for a while.
    pub(crate) fn retire(&self, number: u32, shared: &Arc<Shared>) {
        let oldest = {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            if retired.contains(&number) {
                return;
            }
            self.info.publish_channels.fetch_sub(1, Ordering::Relaxed);
            retired.push_back(number);
            if retired.len() > RETIRED_MAX { retired.pop_front() } else { None }
        };
        if let Some(oldest) = oldest {
            self.close(oldest, shared);
        }
    }

    /// Raises the credit of a subscription's channel.
    pub(crate) fn grant(&self, number: u32, events: u64, bytes: u64) {
        let Some(Channel::Subscription(subscribed)) = self.channel(number) else { return };
        let (credit, queue) = subscribed.credit();
        credit.lock().unwrap_or_else(PoisonError::into_inner).grant(events, bytes);
        queue.wake();
        if let Subscribed::Durable { attached, .. } = subscribed.as_ref() {
            attached.wake();
        }
    }

    /// Gives up everything; idempotent.
    pub(crate) fn end(&self, shared: &Arc<Shared>) {
        if self.has_ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let channels = std::mem::take(&mut *self.lock());
        for channel in channels.into_values() {
            if let Channel::Subscription(subscribed) = channel {
                release(&subscribed, shared);
            }
        }
        self.live_ready.close();
        self.durable_ready.close();
        shared.sessions.remove(&self.info.id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn release(subscribed: &Subscribed, shared: &Arc<Shared>) {
    match subscribed {
        Subscribed::Live { queue, entry, ask } => {
            shared.index.remove(*entry);
            shared.interest.remove(interest_entry(ask, INTEREST_LIVE));
            shared.lives.remove(&queue.id);
            queue.clear(true);
        }
        Subscribed::Durable { attached, live_side } => {
            attached.mailbox.detach(attached.generation);
            live_side.clear(true);
            note_started(shared, &attached.mailbox);
        }
    }
}

/// Has it written down how far a mailbox was sent that nobody holds any more. Whoever attaches to it
/// takes the same turn first.
fn note_started(shared: &Arc<Shared>, mailbox: &Arc<Mailbox>) {
    let MailboxKind::Durable(subscription) = &mailbox.kind else { return };
    let (shared, mailbox, of) = (Arc::clone(shared), Arc::clone(mailbox), Arc::clone(subscription));
    tokio::spawn(async move {
        let _turn = shared.lock_durable(&of.principal, &of.name).await;
        if !mailbox.is_attached() {
            let below = mailbox.maybe_started_below();
            shared.log.tell(Command::NoteStarted { mailbox: mailbox.id, below }).await;
        }
    });
}

/// A channel's credit as the client states it.
pub(crate) fn shared_credit(events: u64, bytes: u64) -> SharedCredit {
    Arc::new(Mutex::new(Credit::new(events, bytes)))
}
