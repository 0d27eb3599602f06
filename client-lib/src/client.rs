//! The client: a connection to one home, kept up until it is closed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fanal_protocol::control::{Query, RemoveSubscription, UpdateSubscription, Welcome};
use fanal_protocol::{ClientId, Control};
use tokio::sync::oneshot;

use crate::connection;
use crate::credentials::Credentials;
use crate::error::{CloseError, ConnectError, RequestError};
use crate::publish::channel::Limits;
use crate::publish::{PublishBuilder, Publisher};
use crate::shared::{Keepalive, Options, Reply, Shared, limits_unknown, strict_unknown};
use crate::subscribe::{MailboxLimits, SubscribeBuilder};

/// Events without a receipt, at most, per publisher.
const WINDOW_EVENTS: usize = 4096;
/// Bytes of their bodies, at most, per publisher.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// How to connect.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before .connect() is awaited"]
pub struct ClientBuilder {
    credentials: Credentials,
    options: Options,
}

impl ClientBuilder {
    /// Name and version of the program, as the broker shows it.
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.options.agent = agent.into();
        self
    }

    /// How long an address may take to answer, and a request. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How long a publish is tried, unless it says otherwise. Default: 30 s.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.options.publish_timeout = timeout;
        self
    }

    /// How long [`Client::close`] waits for receipts and acks. Default: 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.options.close_timeout = timeout;
        self
    }

    /// Events, and bytes of their bodies, that a publisher may have outstanding. More wait in
    /// `send`. Defaults: 4,096 and 8 MiB. A single event is taken whatever its size.
    pub fn publish_window(mut self, events: usize, bytes: usize) -> Self {
        self.options.window = Limits { events: events.max(1), bytes: bytes.max(1) };
        self
    }

    /// Connects. Needs a tokio runtime with time and IO.
    ///
    /// # Errors
    /// [`ConnectError`] when no address leads to a broker that welcomes us. Later losses are not
    /// errors: the client dials again, from 100 ms up to every 5 s, until it is closed.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let dialled = connection::dial(&self.credentials, &self.options).await?;
        let shared = Shared::new(self.options, dialled.welcome.clone());
        let client = Client { keepalive: Keepalive::new(Arc::clone(&shared)) };
        connection::start(shared, self.credentials, dialled);
        Ok(client)
    }
}

/// A client of one home. Cheap to clone; all clones share the connection.
///
/// When the last clone, [`Publisher`] and [`Subscription`](crate::Subscription) is dropped
/// without [`close`](Client::close), the connection is closed at once: what became of publishes
/// without a receipt is then not known, and acks of the last moment may be lost (their events are
/// delivered again).
#[derive(Clone)]
pub struct Client {
    keepalive: Keepalive,
}

impl Client {
    /// Connects with default options.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(credentials: &Credentials) -> Result<Client, ConnectError> {
        Client::builder(credentials).connect().await
    }

    /// Connects with options.
    pub fn builder(credentials: &Credentials) -> ClientBuilder {
        let options = Options {
            agent: concat!("fanal-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            client: ClientId(rand::random()),
            connections: Arc::new(AtomicU64::new(1)),
            timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(10),
            window: Limits { events: WINDOW_EVENTS, bytes: WINDOW_BYTES },
        };
        ClientBuilder { credentials: credentials.clone(), options }
    }

    /// Starts a publish on the client's default publisher, which is opened at the first use.
    pub fn publish<'a>(&self, topic: &'a str) -> PublishBuilder<'a> {
        PublishBuilder::new(self.shared().default_channel(), topic)
    }

    /// Opens a publish channel of its own: its order and window are independent of others.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.shared().new_channel(), self.keepalive())
    }

    /// Starts a subscription to a topic filter (`orders/+/created`, `orders/#`).
    pub fn subscribe(&self, filter: impl Into<String>) -> SubscribeBuilder {
        SubscribeBuilder::new(self.clone(), filter.into())
    }

    /// Removes a durable subscription and its mailbox.
    ///
    /// # Errors
    /// [`RequestError`]; 404 when there is none of that name.
    pub async fn remove_subscription(&self, name: &str) -> Result<(), RequestError> {
        let durable = name.to_owned();
        self.request(|request| RemoveSubscription { request, durable }.into()).await.map(drop)
    }

    /// Gives a durable subscription another filter; what is queued stays.
    ///
    /// # Errors
    /// [`RequestError`]; 404 when there is none of that name, 400 and 422 for bad filters.
    pub async fn update_subscription(
        &self,
        name: &str,
        filter: &str,
        predicate: Option<&str>,
        except: &[&str],
    ) -> Result<(), RequestError> {
        let (filter, predicate) = (filter.to_owned(), predicate.map(str::to_owned));
        self.update(UpdateSubscription { filter, predicate, ..Default::default() }, name, except).await
    }

    /// As [`Client::update_subscription`], with a predicate in strict mode
    /// ([`SubscribeBuilder::strict`]).
    ///
    /// # Errors
    /// As there; 422 `strict_unknown` when the home does not know strict mode.
    pub async fn update_subscription_strict(
        &self,
        name: &str,
        filter: &str,
        predicate: &str,
        except: &[&str],
    ) -> Result<(), RequestError> {
        if let Some(refused) = strict_unknown(&self.welcome()) {
            return Err(RequestError::Refused(refused));
        }
        let (filter, strict) = (filter.to_owned(), Some(predicate.to_owned()));
        self.update(UpdateSubscription { filter, strict, ..Default::default() }, name, except).await
    }

    /// Gives the mailbox of a durable subscription other limits; what is not said stays, 0 takes a
    /// limit away. What is too much then gives way at once.
    ///
    /// # Errors
    /// [`RequestError`]; 404 when there is none of that name; 400 `limits_unknown` when the home does
    /// not know limits.
    pub async fn update_limits(&self, name: &str, limits: MailboxLimits) -> Result<(), RequestError> {
        if let Some(refused) = limits_unknown(&self.welcome()) {
            return Err(RequestError::Refused(refused));
        }
        self.update(limits.update(), name, &[]).await
    }

    async fn update(
        &self,
        frame: UpdateSubscription,
        name: &str,
        except: &[&str],
    ) -> Result<(), RequestError> {
        let except = except.iter().map(|&filter| filter.to_owned()).collect();
        let durable = name.to_owned();
        let frame = |request| UpdateSubscription { request, durable, except, ..frame }.into();
        self.request(frame).await.map(drop)
    }

    /// A page of the home's admin API as JSON: `status`, `peers`, `sessions`, `subscriptions`,
    /// `mailboxes` or `dead-letters`.
    ///
    /// # Errors
    /// [`RequestError`]; 403 without the right, 404 for an unknown page.
    pub async fn query(&self, page: &str) -> Result<String, RequestError> {
        let page = page.to_owned();
        let answer = self.request(|request| Query { request, page }.into()).await?;
        Ok(answer.unwrap_or_default())
    }

    /// What the home said of itself and of us when the present (or last) connection was made.
    pub fn welcome(&self) -> Arc<Welcome> {
        self.shared().welcome()
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.shared().is_connected()
    }

    /// How many connections were lost so far.
    pub fn connection_losses(&self) -> u64 {
        self.shared().losses()
    }

    /// Closes: no new publishes; waits for outstanding receipts and acks, at most
    /// [`close_timeout`](ClientBuilder::close_timeout); then says goodbye to the broker. All clones
    /// are closed, subscriptions end.
    ///
    /// # Errors
    /// [`CloseError::Outstanding`] when time ran out first. The client is closed all the same.
    pub async fn close(&self) -> Result<(), CloseError> {
        let shared = self.shared();
        shared.begin_close();
        let limit = shared.options.close_timeout;
        let _ = tokio::time::timeout(limit, self.settle()).await;
        let publishes = shared.channels().iter().map(|channel| channel.outstanding()).sum();
        let acks = shared.queues().iter().map(|queue| queue.unconfirmed()).sum();
        if shared.is_connected() {
            shared.finish_publishing(limit).await;
            shared.say_goodbye();
        } else {
            shared.stop();
        }
        shared.wait_for_stopped().await;
        if publishes > 0 || acks > 0 {
            return Err(CloseError::Outstanding { publishes, acks, waited: limit });
        }
        Ok(())
    }

    async fn settle(&self) {
        for channel in self.shared().channels() {
            channel.drained().await;
        }
        for queue in self.shared().queues() {
            // A subscription that ended has nothing that could be confirmed.
            let _ = queue.flush_acks().await;
        }
    }

    pub(crate) async fn request(
        &self,
        frame: impl FnOnce(u32) -> Control,
    ) -> Result<Option<String>, RequestError> {
        let shared = self.shared();
        let waited = shared.options.timeout;
        let number = shared.next_number();
        let ask = async {
            shared.connected(waited).await;
            let answer: oneshot::Receiver<Reply> = shared.request(number, &frame(number))?;
            answer.await.unwrap_or(Err(RequestError::Closed))
        };
        match tokio::time::timeout(waited, ask).await {
            Ok(reply) => reply,
            Err(_) => {
                shared.answer(number, Err(RequestError::TimedOut { waited }));
                Err(RequestError::TimedOut { waited })
            }
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.keepalive.shared()
    }

    pub(crate) fn keepalive(&self) -> Keepalive {
        self.keepalive.clone()
    }
}
