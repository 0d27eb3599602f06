//! What all handles and tasks of one client share: the registry of channels, subscriptions and
//! requests, and the present connection.
//!
//! Invariants:
//! 1. Numbers of channels and requests are unique for the client's life, so also per connection.
//! 2. Whether something is told to a connection when it is registered, or when the connection is
//!    attached, is decided under the registry's lock: never both, never neither.
//! 3. Lock order: registry, then a channel or a queue, then a link's buffer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fanal_protocol::control::{Close, Detach, Welcome};
use fanal_protocol::{ClientId, Code, Control, PublisherId};
use tokio::sync::{Notify, oneshot, watch};

use crate::error::{Refused, RequestError, SubscriptionError};
use crate::publish::channel::{Channel, Limits};
use crate::subscribe::queue::Queue;
use crate::sync::{Signal, lock};

/// How a client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) agent: String,
    /// The same in each connection, so that a home carries nothing out of an earlier one any more.
    pub(crate) client: ClientId,
    /// Number of the next connection.
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) timeout: Duration,
    pub(crate) publish_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) window: Limits,
}

/// Largest buffer of control frames that wait to be written, in bytes.
const CONTROL_BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The sending half of one connection's control stream.
#[derive(Debug, Default)]
pub(crate) struct Link {
    out: Mutex<Vec<u8>>,
    is_finishing: AtomicBool,
}

impl Link {
    /// Adds a frame. False: the broker reads nothing and the buffer is full.
    fn put(&self, frame: &Control) -> bool {
        let mut out = lock(&self.out);
        frame.encode(&mut out);
        out.len() <= CONTROL_BUFFER_BYTES_MAX
    }

    /// Swaps what waits with an empty buffer.
    pub(crate) fn swap_out(&self, other: &mut Vec<u8>) {
        std::mem::swap(&mut *lock(&self.out), other);
    }

    pub(crate) fn has_out(&self) -> bool {
        !lock(&self.out).is_empty()
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.is_finishing.load(Ordering::SeqCst)
    }
}

/// The answer to a request.
pub(crate) type Reply = Result<Option<String>, RequestError>;

struct Registry {
    link: Option<Arc<Link>>,
    welcome: Arc<Welcome>,
    publishers: Vec<Arc<Channel>>,
    subscriptions: HashMap<u32, Arc<Queue>>,
    requests: HashMap<u32, oneshot::Sender<Reply>>,
    next_number: u32,
    is_closed: bool,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) publish_signal: Signal,
    pub(crate) control_signal: Signal,
    /// Something with a deadline was added to a channel that had nothing.
    pub(crate) deadlines: Notify,
    pub(crate) default_channel: OnceLock<Arc<Channel>>,
    started: Instant,
    registry: Mutex<Registry>,
    dirty: Mutex<Vec<u32>>,
    are_acks_urgent: AtomicBool,
    body_bytes_max: AtomicU64,
    publishers_version: AtomicU64,
    losses: AtomicU64,
    /// Nothing more will be published: the publish stream is to be finished.
    is_publish_ending: AtomicBool,
    /// The publish stream is finished and all of it has arrived.
    published: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    connected: watch::Sender<bool>,
}

/// Why the home is not asked with a predicate in strict mode, which it would step over.
pub(crate) fn strict_unknown(welcome: &Welcome) -> Option<Refused> {
    let reason = || {
        format!(
            "{} runs {}, which does not know strict mode: update it, or write the filter without strict",
            welcome.broker, welcome.agent
        )
    };
    (!welcome.strict).then(|| Refused::new(Code::FilterRefused, "strict_unknown", reason()))
}

/// Why the home is not asked for limits of a mailbox, over which it would step, or about dead letters.
pub(crate) fn limits_unknown(welcome: &Welcome) -> Option<Refused> {
    let reason = || {
        format!(
            "{} runs {}, which knows neither limits of mailboxes nor dead letters: update it",
            welcome.broker, welcome.agent
        )
    };
    (!welcome.limits).then(|| Refused::new(Code::Malformed, "limits_unknown", reason()))
}

/// Subscribes on a link, unless the home would step over what is asked.
fn subscribe_on(link: &Link, welcome: &Welcome, queue: &Queue) -> Option<Refused> {
    let strict = if queue.is_strict() { strict_unknown(welcome) } else { None };
    let refused = strict.or_else(|| if queue.has_limits() { limits_unknown(welcome) } else { None });
    if refused.is_none() {
        link.put(&queue.on_connect());
    }
    refused
}

impl Shared {
    pub(crate) fn new(options: Options, welcome: Welcome) -> Arc<Self> {
        let registry = Registry {
            link: None,
            welcome: Arc::new(welcome),
            publishers: Vec::new(),
            subscriptions: HashMap::new(),
            requests: HashMap::new(),
            next_number: 1,
            is_closed: false,
        };
        Arc::new(Shared {
            options,
            publish_signal: Signal::default(),
            control_signal: Signal::default(),
            deadlines: Notify::new(),
            default_channel: OnceLock::new(),
            started: Instant::now(),
            registry: Mutex::new(registry),
            dirty: Mutex::new(Vec::new()),
            are_acks_urgent: AtomicBool::new(false),
            body_bytes_max: AtomicU64::new(u64::MAX),
            publishers_version: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            is_publish_ending: AtomicBool::new(false),
            published: watch::Sender::new(false),
            stop: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
            connected: watch::Sender::new(false),
        })
    }

    /// Milliseconds of this client's life.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn body_bytes_max(&self) -> u64 {
        self.body_bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn welcome(&self) -> Arc<Welcome> {
        Arc::clone(&lock(&self.registry).welcome)
    }

    /// The identity under which this client publishes.
    pub(crate) fn publisher_id(&self) -> PublisherId {
        let welcome = self.welcome();
        PublisherId { name: welcome.principal.clone(), authority: welcome.authority }
    }

    pub(crate) fn next_number(&self) -> u32 {
        let mut registry = lock(&self.registry);
        let number = registry.next_number;
        registry.next_number += 1;
        number
    }

    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    // --- the present connection ---

    /// A connection is there: everything is opened on it.
    pub(crate) fn attach(&self, link: &Arc<Link>, welcome: Welcome) {
        let mut registry = lock(&self.registry);
        self.body_bytes_max.store(welcome.body_bytes_max, Ordering::Relaxed);
        registry.welcome = Arc::new(welcome);
        for channel in &registry.publishers {
            link.put(&channel.on_connect());
        }
        let mut queues: Vec<&Arc<Queue>> = registry.subscriptions.values().collect();
        queues.sort_unstable_by_key(|queue| queue.number);
        let asked = queues.into_iter().map(|queue| (queue, subscribe_on(link, &registry.welcome, queue)));
        let refused: Vec<(Arc<Queue>, Refused)> =
            asked.filter_map(|(queue, refused)| Some((Arc::clone(queue), refused?))).collect();
        registry.link = Some(Arc::clone(link));
        drop(registry);
        refused.into_iter().for_each(|(queue, refused)| self.on_never_asked(&queue, refused));
        self.connected.send_replace(true);
    }

    /// The connection is gone.
    pub(crate) fn detach(&self) {
        self.connected.send_replace(false);
        self.losses.fetch_add(1, Ordering::Relaxed);
        let (requests, is_closed) = {
            let mut registry = lock(&self.registry);
            registry.link = None;
            (std::mem::take(&mut registry.requests), registry.is_closed)
        };
        for reply in requests.into_values() {
            drop(reply.send(Err(RequestError::ConnectionLost)));
        }
        self.channels().iter().for_each(|channel| channel.on_disconnect());
        if !is_closed {
            // The program's own close is no gap: its subscriptions end.
            self.queues().iter().for_each(|queue| queue.on_disconnect());
        }
    }

    /// Waits for a connection, at most `limit`.
    pub(crate) async fn connected(&self, limit: Duration) -> bool {
        let mut connected = self.connected.subscribe();
        let waited = tokio::time::timeout(limit, connected.wait_for(|is| *is)).await;
        waited.is_ok_and(|result| result.is_ok())
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Sends a control frame on a link. False: the broker reads nothing.
    pub(crate) fn put(&self, link: &Link, frame: &Control) -> bool {
        let fits = link.put(frame);
        self.control_signal.wake();
        fits
    }

    // --- publishers ---

    pub(crate) fn new_channel(self: &Arc<Self>) -> Arc<Channel> {
        let number = self.next_number();
        let channel = Channel::new(number, Arc::downgrade(self), self.options.window);
        let mut registry = lock(&self.registry);
        if registry.is_closed {
            channel.stop();
            return channel;
        }
        registry.publishers.push(Arc::clone(&channel));
        self.publishers_version.fetch_add(1, Ordering::SeqCst);
        if let Some(link) = &registry.link {
            link.put(&channel.on_connect());
        }
        drop(registry);
        self.control_signal.wake();
        self.publish_signal.wake();
        channel
    }

    pub(crate) fn default_channel(self: &Arc<Self>) -> Arc<Channel> {
        Arc::clone(self.default_channel.get_or_init(|| self.new_channel()))
    }

    pub(crate) fn forget_publisher(&self, number: u32) {
        let mut registry = lock(&self.registry);
        let Some(index) = registry.publishers.iter().position(|channel| channel.number == number) else {
            return;
        };
        let channel = registry.publishers.remove(index);
        self.publishers_version.fetch_add(1, Ordering::SeqCst);
        if let (Some(link), Some(frame)) = (&registry.link, channel.closing_frame()) {
            link.put(&frame);
        }
        drop(registry);
        self.control_signal.wake();
        self.publish_signal.wake(); // so that the writer lets go of it
    }

    pub(crate) fn channels(&self) -> Vec<Arc<Channel>> {
        lock(&self.registry).publishers.clone()
    }

    pub(crate) fn channel(&self, number: u32) -> Option<Arc<Channel>> {
        lock(&self.registry).publishers.iter().find(|channel| channel.number == number).cloned()
    }

    /// Brings the writer's list of channels up to date; costs one atomic load when it is.
    pub(crate) fn refresh_publishers(&self, version: &mut u64, channels: &mut Vec<Arc<Channel>>) {
        if self.publishers_version.load(Ordering::SeqCst) != *version {
            let registry = lock(&self.registry);
            *version = self.publishers_version.load(Ordering::SeqCst);
            channels.clone_from(&registry.publishers);
        }
    }

    // --- subscriptions ---

    /// Registers a subscription and subscribes. False: the client is closed.
    pub(crate) fn add_subscription(&self, queue: Arc<Queue>) -> bool {
        let mut registry = lock(&self.registry);
        if registry.is_closed {
            return false;
        }
        let refused = registry.link.as_ref().and_then(|link| subscribe_on(link, &registry.welcome, &queue));
        registry.subscriptions.insert(queue.number, Arc::clone(&queue));
        drop(registry);
        if let Some(refused) = refused {
            self.on_never_asked(&queue, refused);
        }
        self.control_signal.wake();
        true
    }

    /// The home would misread what is asked.
    fn on_never_asked(&self, queue: &Arc<Queue>, refused: Refused) {
        // Not worth another try on this connection, so that it ends or its builder does.
        let _ = queue.on_refused(refused);
        self.end_subscription(queue.number, SubscriptionError::Closed);
    }

    /// The program has let go of a subscription: last acks, then a detach.
    pub(crate) fn forget_subscription(&self, queue: &Queue) {
        let mut registry = lock(&self.registry);
        if registry.subscriptions.remove(&queue.number).is_none() {
            return;
        }
        if let Some(link) = &registry.link {
            queue.drain_control(&mut lock(&link.out));
            link.put(&Detach { channel: queue.number }.into());
        }
        drop(registry);
        queue.end(SubscriptionError::Closed);
        self.control_signal.wake();
    }

    /// The broker ended a subscription's channel.
    pub(crate) fn end_subscription(&self, number: u32, error: SubscriptionError) {
        let queue = lock(&self.registry).subscriptions.remove(&number);
        if let Some(queue) = queue {
            queue.end(error);
        }
    }

    pub(crate) fn queues(&self) -> Vec<Arc<Queue>> {
        lock(&self.registry).subscriptions.values().cloned().collect()
    }

    pub(crate) fn queue(&self, number: u32) -> Option<Arc<Queue>> {
        lock(&self.registry).subscriptions.get(&number).cloned()
    }

    /// A subscription has acks or credit to tell.
    pub(crate) fn mark_dirty(&self, number: u32) {
        lock(&self.dirty).push(number);
        self.control_signal.wake();
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !lock(&self.dirty).is_empty()
    }

    /// Appends what dirty subscriptions have to tell.
    pub(crate) fn drain_dirty(&self, out: &mut Vec<u8>) {
        self.are_acks_urgent.store(false, Ordering::SeqCst);
        let dirty = std::mem::take(&mut *lock(&self.dirty));
        for number in dirty {
            if let Some(queue) = self.queue(number) {
                queue.drain_control(out);
            }
        }
    }

    /// Somebody waits for acks: they are not held back for a larger batch.
    pub(crate) fn hurry_acks(&self) {
        self.are_acks_urgent.store(true, Ordering::SeqCst);
        self.control_signal.wake();
    }

    pub(crate) fn are_acks_urgent(&self) -> bool {
        self.are_acks_urgent.load(Ordering::SeqCst)
    }

    // --- requests ---

    /// Sends a request that carries `number`; the answer comes with the receiver.
    pub(crate) fn request(
        &self,
        number: u32,
        frame: &Control,
    ) -> Result<oneshot::Receiver<Reply>, RequestError> {
        let (reply, answer) = oneshot::channel();
        let mut registry = lock(&self.registry);
        if registry.is_closed {
            return Err(RequestError::Closed);
        }
        let Some(link) = registry.link.clone() else { return Err(RequestError::ConnectionLost) };
        registry.requests.insert(number, reply);
        link.put(frame);
        drop(registry);
        self.control_signal.wake();
        Ok(answer)
    }

    /// Takes the answer to a request. False: nobody asked.
    pub(crate) fn answer(&self, number: u32, reply: Reply) -> bool {
        let request = lock(&self.registry).requests.remove(&number);
        let is_known = request.is_some();
        if let Some(request) = request {
            drop(request.send(reply));
        }
        is_known
    }

    // --- the end ---

    /// From now on nothing new is taken.
    pub(crate) fn begin_close(&self) {
        lock(&self.registry).is_closed = true;
        self.channels().iter().for_each(|channel| channel.stop());
    }

    /// Ends everything that is outstanding.
    pub(crate) fn give_up(&self) {
        self.begin_close();
        let (channels, queues, requests) = {
            let mut registry = lock(&self.registry);
            let queues: Vec<Arc<Queue>> = registry.subscriptions.drain().map(|(_, queue)| queue).collect();
            (std::mem::take(&mut registry.publishers), queues, std::mem::take(&mut registry.requests))
        };
        channels.iter().for_each(|channel| channel.give_up());
        queues.iter().for_each(|queue| queue.end(SubscriptionError::Closed));
        for reply in requests.into_values() {
            drop(reply.send(Err(RequestError::Closed)));
        }
    }

    /// Has the publish stream finished, and waits until all of it has arrived: what was published
    /// without a receipt is then with the broker too.
    pub(crate) async fn finish_publishing(&self, limit: Duration) {
        self.is_publish_ending.store(true, Ordering::SeqCst);
        self.publish_signal.wake();
        let mut published = self.published.subscribe();
        drop(tokio::time::timeout(limit, published.wait_for(|is| *is)).await);
    }

    pub(crate) fn is_publish_ending(&self) -> bool {
        self.is_publish_ending.load(Ordering::SeqCst)
    }

    pub(crate) fn on_published(&self) {
        self.published.send_replace(true);
    }

    /// Sends the last frames of the connection, after which its control stream ends. The home
    /// forgets the epochs of the publish channels with it.
    pub(crate) fn say_goodbye(&self) {
        let registry = lock(&self.registry);
        let Some(link) = &registry.link else { return };
        let code = Code::NothingToDo.number();
        link.put(&Close { code, reason: "the client is done".into() }.into());
        link.is_finishing.store(true, Ordering::SeqCst);
        drop(registry);
        self.control_signal.wake();
    }

    /// Ends the tasks, at once or when the control stream has been finished.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) async fn wait_for_stop(&self) {
        let mut stop = self.stop.subscribe();
        drop(stop.wait_for(|is| *is).await);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// The tasks have ended.
    pub(crate) fn on_stopped(&self) {
        self.stopped.send_replace(true);
    }

    pub(crate) async fn wait_for_stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        drop(stopped.wait_for(|is| *is).await);
    }
}

/// Keeps the client's tasks running; when the last one is dropped the connection is closed.
#[derive(Clone)]
pub(crate) struct Keepalive(Arc<KeepaliveInner>);

struct KeepaliveInner(Arc<Shared>);

impl Drop for KeepaliveInner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Keepalive {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Keepalive(Arc::new(KeepaliveInner(shared)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}
