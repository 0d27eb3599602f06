//! Dead letters: events that left their mailbox without their destination (PROTOCOL.md 5.9).
//!
//! Invariants: a reader asks for a page when it needs one and holds one page; what is read stays
//! where it is.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal_protocol::control::{ChangeDeadLetters, DeadLetterSelection, ReadDeadLetters};
use fanal_protocol::{Body, BodyView, Code, PublisherId};
use serde::Deserialize;

use crate::client::Client;
use crate::error::{Refused, RequestError};
use crate::shared::limits_unknown;

/// Which dead letters are meant: without a choice all that this client may see, those of its own
/// durable subscriptions, or everything for the client that a broker made for its own machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetters(DeadLetterSelection);

impl DeadLetters {
    /// All of them.
    pub fn all() -> Self {
        DeadLetters::default()
    }

    /// Of the durable subscription of this name, of this client or of [`DeadLetters::principal`].
    pub fn subscription(mut self, name: impl Into<String>) -> Self {
        self.0.subscription = Some(name.into());
        self
    }

    /// Of subscriptions of this principal.
    pub fn principal(mut self, principal: &PublisherId) -> Self {
        self.0.principal = Some(principal.to_string());
        self
    }

    /// Of the peer of this name.
    pub fn peer(mut self, name: impl Into<String>) -> Self {
        self.0.peer = Some(name.into());
        self
    }

    /// For this reason: `full`, `age` or `store`.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// With numbers in this range; may be called several times.
    pub fn numbers(mut self, numbers: RangeInclusive<u64>) -> Self {
        self.0.numbers.push((*numbers.start(), *numbers.end()));
        self
    }
}

/// Whom a dead letter was for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeadLetterDestination {
    /// `durable` or `peer`.
    pub kind: String,
    /// Name of the durable subscription or of the peer.
    pub name: String,
    /// Whose durable subscription it is; `None` for a peer.
    pub principal: Option<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its number among the dead letters of its home.
    pub number: u64,
    /// Whom it was for.
    pub destination: DeadLetterDestination,
    /// Why it is here: `full`, `age`, `store`; others may come.
    pub reason: String,
    /// How often it was sent at least.
    pub attempts: u32,
    /// It came here not before this time (RFC 3339).
    pub since: String,
    /// It came here not after this time.
    pub until: String,
    /// The event; or why the home cannot read it.
    pub event: Result<DeadEvent, String>,
}

/// The event of a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadEvent {
    /// The topic.
    pub topic: String,
    /// Who published it.
    pub publisher: PublisherId,
    /// Under which epoch, as text.
    pub epoch: String,
    /// The publisher's number for it.
    pub sequence: u64,
    body: Body,
}

impl DeadEvent {
    /// Its body, read in place.
    pub fn view(&self) -> BodyView<'_> {
        self.body.view()
    }

    /// The id that its publisher gave, or the one made from publisher, epoch and sequence.
    pub fn id(&self) -> String {
        let derived = || format!("{}:{}:{}", self.publisher, self.epoch, self.sequence);
        self.view().id.map_or_else(derived, str::to_owned)
    }
}

#[derive(Deserialize)]
struct Page {
    letters: Vec<Part>,
    next: Option<Place>,
}

#[derive(Deserialize)]
struct Place {
    from: u64,
    offset: u64,
}

/// A letter with a part of its body.
#[derive(Deserialize)]
struct Part {
    number: u64,
    destination: DeadLetterDestination,
    reason: String,
    attempts: u32,
    since: String,
    until: String,
    problem: Option<String>,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    publisher: String,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    sequence: u64,
    #[serde(default)]
    body_bytes: usize,
    #[serde(default)]
    body: String,
}

/// Reads dead letters, oldest first.
#[must_use = "nothing is read before next is awaited"]
pub struct DeadLetterReader {
    client: Client,
    which: DeadLetterSelection,
    next: Option<Place>,
    page: VecDeque<Part>,
    /// The letter whose body comes in parts, and what came of it.
    begun: (u64, Vec<u8>),
}

impl DeadLetterReader {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// [`RequestError`]; 403 for those of others.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, RequestError> {
        loop {
            while let Some(part) = self.page.pop_front() {
                if let Some(letter) = self.join(part)? {
                    return Ok(Some(letter));
                }
            }
            let Some(Place { from, offset }) = self.next.take() else { return Ok(None) };
            refuse_unknown(&self.client)?;
            let which = self.which.clone();
            let frame = |request| ReadDeadLetters { request, which, from, offset }.into();
            let answer = self.client.request(frame).await?.unwrap_or_default();
            let page: Page = serde_json::from_str(&answer).map_err(unreadable)?;
            (self.page, self.next) = (page.letters.into(), page.next);
        }
    }

    /// The letter, once all of its body is there.
    fn join(&mut self, part: Part) -> Result<Option<DeadLetter>, RequestError> {
        if self.begun.0 != part.number {
            // The rest of the one before is gone: it left the dead letters meanwhile.
            self.begun = (part.number, Vec::new());
        }
        self.begun.1.extend(STANDARD.decode(&part.body).map_err(unreadable)?);
        if part.problem.is_none() && self.begun.1.len() < part.body_bytes {
            return Ok(None);
        }
        let (_, body) = std::mem::take(&mut self.begun);
        let event = match part.problem {
            Some(problem) => Err(problem),
            None => Ok(DeadEvent {
                topic: part.topic,
                publisher: part.publisher.parse().map_err(unreadable)?,
                epoch: part.epoch,
                sequence: part.sequence,
                body: Body::parse(body.into()).map_err(unreadable)?,
            }),
        };
        let Part { number, destination, reason, attempts, since, until, .. } = part;
        Ok(Some(DeadLetter { number, destination, reason, attempts, since, until, event }))
    }
}

/// A home that does not know the request would end the connection.
fn refuse_unknown(client: &Client) -> Result<(), RequestError> {
    limits_unknown(&client.welcome()).map_or(Ok(()), |refused| Err(RequestError::Refused(refused)))
}

/// An answer that this version cannot read.
fn unreadable(error: impl std::fmt::Display) -> RequestError {
    let reason = format!("the home's answer about dead letters cannot be read: {error}");
    RequestError::Refused(Refused::new(Code::Internal, "internal", reason))
}

impl Client {
    /// Dead letters with their events, oldest first. They stay where they are.
    pub fn dead_letters(&self, which: DeadLetters) -> DeadLetterReader {
        DeadLetterReader {
            client: self.clone(),
            which: which.0,
            next: Some(Place { from: 0, offset: 0 }),
            page: VecDeque::new(),
            begun: Default::default(),
        }
    }

    /// Puts dead letters back, at the end of the mailboxes that they came from; how many.
    ///
    /// # Errors
    /// [`RequestError`]; 404 when a destination is no more, and then none is put back; 403 for
    /// those of others.
    pub async fn requeue_dead_letters(&self, which: DeadLetters) -> Result<u64, RequestError> {
        self.change_dead_letters(which, "requeue").await
    }

    /// Drops dead letters for good; how many.
    ///
    /// # Errors
    /// [`RequestError`]; 403 for those of others.
    pub async fn drop_dead_letters(&self, which: DeadLetters) -> Result<u64, RequestError> {
        self.change_dead_letters(which, "drop").await
    }

    async fn change_dead_letters(&self, which: DeadLetters, action: &str) -> Result<u64, RequestError> {
        refuse_unknown(self)?;
        let action = action.to_owned();
        let frame = |request| ChangeDeadLetters { request, which: which.0, action }.into();
        let answer = self.request(frame).await?.unwrap_or_default();
        let counts: std::collections::BTreeMap<String, u64> =
            serde_json::from_str(&answer).map_err(unreadable)?;
        Ok(counts.into_values().sum())
    }
}
