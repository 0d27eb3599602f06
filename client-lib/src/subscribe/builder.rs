//! The builder of a subscription.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fanal_protocol::control::Subscribe;

use super::limits::MailboxLimits;
use super::queue::{CreditWindow, Queue};
use super::subscription::{Attachment, Subscription};
use crate::client::Client;
use crate::error::SubscribeError;

/// Events under way and queued in the client, at most.
const CREDIT_EVENTS: u64 = 65_536;
/// Bytes of bodies under way and queued in the client, at most.
const CREDIT_BYTES: u64 = 16 * 1024 * 1024;
/// How long the broker waits for others, unless told.
const WAIT: Duration = Duration::from_secs(5);

/// Whom the interest receipt waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WaitFor {
    /// The home alone.
    Home,
    /// Every peer that is linked or configured; the default.
    #[default]
    Peers,
    /// One broker by name.
    Broker(String),
}

impl WaitFor {
    fn text(&self) -> String {
        match self {
            WaitFor::Home => "home".into(),
            WaitFor::Peers => "peers".into(),
            WaitFor::Broker(name) => format!("broker:{name}"),
        }
    }
}

/// A subscription in the making; await it.
#[must_use = "nothing is subscribed before the builder is awaited"]
pub struct SubscribeBuilder {
    client: Client,
    request: Subscribe,
    is_strict: bool,
    wait_timeout: Duration,
    window: CreditWindow,
}

impl SubscribeBuilder {
    pub(crate) fn new(client: Client, filter: String) -> Self {
        SubscribeBuilder {
            client,
            request: Subscribe { filter, ..Default::default() },
            is_strict: false,
            wait_timeout: WAIT,
            window: CreditWindow { events: CREDIT_EVENTS, bytes: CREDIT_BYTES },
        }
    }

    /// A predicate over attributes; only events for which it is true are delivered.
    pub fn filter(mut self, predicate: impl Into<String>) -> Self {
        self.request.predicate = Some(predicate.into());
        self
    }

    /// The predicate is CloudEvents SQL 1.0 to the letter, with its casts, in place of the default mode
    /// of the filter language. A home that does not know strict mode is not asked: 422
    /// `strict_unknown`.
    pub fn strict(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// A topic filter whose events are not wanted; may be called several times.
    pub fn except(mut self, filter: impl Into<String>) -> Self {
        self.request.except.push(filter.into());
        self
    }

    /// Makes it durable under a name that is unique for this principal: the home stores for it
    /// while nobody is attached, and delivers until acked.
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.request.durable = Some(name.into());
        self
    }

    /// What the mailbox of a durable subscription may hold. A subscription that exists with other
    /// limits is refused (409 `filter_differs`); a home that does not know limits is not asked: 400
    /// `limits_unknown`.
    pub fn limits(mut self, limits: MailboxLimits) -> Self {
        limits.put_into(&mut self.request);
        self
    }

    /// Whom the interest receipt waits for. Default: [`WaitFor::Peers`].
    pub fn wait_for(mut self, wait: WaitFor) -> Self {
        self.request.wait = Some(wait.text());
        self
    }

    /// How long the interest receipt may take. Default: 5 s. Who has not confirmed by then is
    /// listed as pending; that is not an error.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = timeout;
        self
    }

    /// Bounds on what is under way and queued in this client: events, and bytes of bodies.
    /// Defaults: 65,536 and 16 MiB. At least 1 each.
    pub fn credit(mut self, events: u64, bytes: u64) -> Self {
        self.window = CreditWindow { events: events.max(1), bytes: bytes.max(1) };
        self
    }

    async fn subscribe(mut self) -> Result<Subscription, SubscribeError> {
        self.request.wait_ms = u64::try_from(self.wait_timeout.as_millis()).ok();
        if self.is_strict {
            self.request.strict = self.request.predicate.take();
        }
        let filter = self.request.filter.clone();
        let shared = self.client.shared();
        let number = shared.next_number();
        let (queue, receipt) = Queue::new(number, Arc::downgrade(shared), self.request, self.window);
        let attachment = Attachment { queue: Arc::clone(&queue), keepalive: self.client.keepalive() };
        if !shared.add_subscription(queue) {
            return Err(SubscribeError::Closed);
        }
        let waited = self.wait_timeout + shared.options.timeout;
        match tokio::time::timeout(waited, receipt).await {
            Ok(Ok(Ok(receipt))) => Ok(Subscription::new(attachment, receipt)),
            Ok(Ok(Err(refused))) => Err(SubscribeError::Refused { filter, refused }),
            Ok(Err(_)) => Err(SubscribeError::Closed),
            Err(_) => Err(SubscribeError::TimedOut { filter, waited }),
        }
    }
}

impl IntoFuture for SubscribeBuilder {
    type Output = Result<Subscription, SubscribeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.subscribe())
    }
}
