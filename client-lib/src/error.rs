//! What can go wrong, one enum per operation.
//!
//! Each message says what happened, where, and what to do. [`Error`] holds any of them, for
//! programs that do not care which operation failed.

use std::path::PathBuf;
use std::time::Duration;

use fanal_protocol::{Code, WireError};
use thiserror::Error;

/// A refusal by the broker (or by this library in the broker's name, before anything was sent).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("refused with {code}{}: {reason}", if name.is_empty() { String::new() } else { format!(" `{name}`") })]
pub struct Refused {
    /// The code of PROTOCOL.md 7.
    pub code: Code,
    /// A name for programs, such as `filter_differs`; empty where the code says it all.
    pub name: String,
    /// What was wrong and what to do.
    pub reason: String,
}

impl Refused {
    pub(crate) fn new(code: Code, name: &str, reason: impl Into<String>) -> Self {
        Refused { code, name: name.to_owned(), reason: reason.into() }
    }

    /// From the wire; a code that this version does not know is shown in the reason.
    pub(crate) fn from_wire(number: u16, name: String, reason: String) -> Self {
        match Code::from_number(number) {
            Some(code) => Refused { code, name, reason },
            None => Refused { code: Code::Internal, name, reason: format!("(code {number}) {reason}") },
        }
    }
}

/// Why credentials could not be read.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The file could not be read.
    #[error("cannot read credentials file {}: {source}; {hint}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The JSON does not hold what is needed.
    #[error("credentials {place} are not usable: {reason}; ask the broker's operator for a new file")]
    Format {
        /// `in FILE`, or `given as text`.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why the first connection failed. Nothing is left running.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// An address could not be resolved.
    #[error("cannot resolve address `{address}`: {reason}; check `addresses` in the credentials")]
    Address {
        /// The address.
        address: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody answered.
    #[error("no broker answers at {address}: {reason}; is `fanal serve` running there?")]
    Unreachable {
        /// Where.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// Where.
        address: String,
        /// What was wrong and what to do.
        reason: String,
    },
    /// The broker said no.
    #[error("broker at {address}: {refused}")]
    Refused {
        /// Where.
        address: String,
        /// Its answer.
        refused: Refused,
    },
    /// The other side does not speak as it should.
    #[error("{address} does not speak Fanal as expected: {reason}; check versions on both sides")]
    Protocol {
        /// Where.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// A local resource is missing.
    #[error("cannot open a local socket for {address}: {source}")]
    Local {
        /// For which target.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a publish did not end with a receipt.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The broker refused the event; it is not stored.
    #[error("publish {0}")]
    Refused(#[from] Refused),
    /// The event cannot be written as a body; nothing was sent.
    #[error("publish refused before sending: {0}")]
    Invalid(#[from] WireError),
    /// Time ran out, and the event is certainly not stored.
    #[error(
        "publish timed out after {waited:?}; the event is not stored{}; try again, or allow more time with .timeout()",
        last.as_ref().map(|refused| format!(" (last answer: {refused})")).unwrap_or_default()
    )]
    TimedOut {
        /// How long it was tried.
        waited: Duration,
        /// The last refusal on this channel, if there was one.
        last: Option<Refused>,
    },
    /// Nobody can tell whether the event is stored. Publishing it again may store it twice.
    #[error("outcome unknown: {reason}; the event may or may not be stored")]
    Unknown {
        /// Why.
        reason: String,
    },
    /// There is no room in the window now; only from the calls that never wait.
    #[error("the publish window is full: await .send() instead, or let receipts arrive first")]
    WindowFull,
    /// The client was closed; the event was not sent.
    #[error("the client is closed; the event was not sent")]
    Closed,
}

/// Why a subscription was not made.
#[derive(Debug, Error)]
pub enum SubscribeError {
    /// The broker refused it; nothing was changed.
    #[error("subscription to `{filter}` {refused}")]
    Refused {
        /// The topic filter.
        filter: String,
        /// The answer.
        refused: Refused,
    },
    /// No answer came in time; the subscription was given up.
    #[error(
        "no answer to the subscription to `{filter}` within {waited:?}; check the connection to the broker"
    )]
    TimedOut {
        /// The topic filter.
        filter: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The client was closed.
    #[error("the client is closed; connect again")]
    Closed,
}

/// Why a subscription's stream ended.
#[derive(Debug, Clone, Error)]
pub enum SubscriptionError {
    /// The broker ended it, for instance because another program attached to the same durable
    /// name (409 `taken_over`). This library does not come back by itself.
    #[error("the broker ended the subscription: {0}")]
    Ended(Refused),
    /// The client was closed.
    #[error("the client is closed; no more deliveries")]
    Closed,
}

/// Why acks are not confirmed.
#[derive(Debug, Error)]
pub enum AckError {
    /// The subscription ended first; what was not confirmed is delivered again later.
    #[error("acks not confirmed: {0}; what was not confirmed will be delivered again")]
    Ended(#[from] SubscriptionError),
}

/// Why a request (a query, a change of a subscription) failed.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The broker refused it; nothing was changed.
    #[error("request {0}")]
    Refused(#[from] Refused),
    /// No answer came in time; it may or may not have been carried out.
    #[error("no answer within {waited:?}; check the connection to the broker")]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// The connection was lost first; it may or may not have been carried out.
    #[error("the connection was lost before the answer came; ask again")]
    ConnectionLost,
    /// The client was closed.
    #[error("the client is closed; connect again")]
    Closed,
}

/// Why closing was not clean. The connection is closed all the same.
#[derive(Debug, Error)]
pub enum CloseError {
    /// Time ran out.
    #[error(
        "closed with {publishes} publishes without a receipt and {acks} acks not confirmed after {waited:?}"
    )]
    Outstanding {
        /// Publishes without a receipt.
        publishes: usize,
        /// Acks that were not confirmed.
        acks: u64,
        /// How long was waited.
        waited: Duration,
    },
}

/// Any error of this library.
#[derive(Debug, Error)]
pub enum Error {
    /// See [`CredentialsError`].
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// See [`ConnectError`].
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// See [`PublishError`].
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// See [`SubscribeError`].
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// See [`SubscriptionError`].
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// See [`AckError`].
    #[error(transparent)]
    Ack(#[from] AckError),
    /// See [`RequestError`].
    #[error(transparent)]
    Request(#[from] RequestError),
    /// See [`CloseError`].
    #[error(transparent)]
    Close(#[from] CloseError),
}

impl Error {
    /// The refusal in it, if the broker (or this library in its name) refused.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Error::Connect(ConnectError::Refused { refused, .. })
            | Error::Publish(PublishError::Refused(refused))
            | Error::Subscribe(SubscribeError::Refused { refused, .. })
            | Error::Subscription(SubscriptionError::Ended(refused))
            | Error::Ack(AckError::Ended(SubscriptionError::Ended(refused)))
            | Error::Request(RequestError::Refused(refused)) => Some(refused),
            _ => None,
        }
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Error::Publish(PublishError::TimedOut { .. })
                | Error::Subscribe(SubscribeError::TimedOut { .. })
                | Error::Request(RequestError::TimedOut { .. })
                | Error::Close(CloseError::Outstanding { .. })
        )
    }
}
