//! Dead letters over a client's connection: reading, putting back, dropping (PROTOCOL.md 5.9).
//!
//! Invariants:
//! 1. A client sees and changes what was for its own durable subscriptions; the client that the
//!    broker made for its own machine sees and changes all.
//! 2. An answer fits one control frame: a long body comes in parts.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal_core::home::{Destination, Letters, Principal, Selection};
use fanal_core::limits::Reason;
use fanal_core::{Event, MailboxId};
use fanal_protocol::Code;
use fanal_protocol::control::{Answer, ChangeDeadLetters, DeadLetterSelection, ReadDeadLetters};
use fanal_store::{MailboxSequence, Position, Reader};
use serde_json::{Value, json};

use super::connection::refuse;
use super::session::Session;
use crate::log::{Command, Output};
use crate::pages::{named, time_text};
use crate::shared::Shared;
use crate::trust::LOCAL_CLIENT;

/// Ranges looked at for one answer.
const RANGES_MAX: usize = 256;
/// Bytes of bodies in one answer: with base64 and what stands beside them they fit a control frame.
const BODY_BYTES_MAX: usize = 96 << 10;
/// Letters in one answer.
const LETTERS_MAX: usize = 128;

struct Refusal(Code, &'static str, String);

impl From<crate::log::LogError> for Refusal {
    fn from(error: crate::log::LogError) -> Self {
        let (code, name) = error.code();
        Refusal(code, name, error.to_string())
    }
}

/// Answers with dead letters from a number on, and where to go on.
pub(crate) async fn read(shared: &Arc<Shared>, session: &Arc<Session>, request: ReadDeadLetters) {
    let answer = find(shared, session, &request).await;
    tell(session, request.request, answer);
}

/// Puts dead letters back, or drops them; answers with how many.
pub(crate) async fn change(shared: &Arc<Shared>, session: &Arc<Session>, request: ChangeDeadLetters) {
    let answer = try_change(shared, session, &request).await;
    tell(session, request.request, answer);
}

fn tell(session: &Session, request: u32, answer: Result<Value, Refusal>) {
    match answer {
        Ok(json) => session.outbox.push(Answer { request, json: json.to_string() }),
        Err(Refusal(code, name, reason)) => refuse(session, request, code, name, reason),
    }
}

async fn try_change(
    shared: &Arc<Shared>,
    session: &Session,
    request: &ChangeDeadLetters,
) -> Result<Value, Refusal> {
    let wanted = selection(shared, &session.info.principal, &request.which)?;
    let (command, verb) = match request.action.as_str() {
        "requeue" => (Command::RequeueLetters(wanted), "requeued"),
        "drop" => (Command::DropLetters(wanted), "dropped"),
        other => {
            let reason = format!("`{other}` cannot be done with dead letters: requeue and drop are known");
            return Err(Refusal(Code::Malformed, "bad_action", reason));
        }
    };
    match shared.log.command(command).await? {
        Output::Count(events) => Ok(json!({ verb: events })),
        _ => Err(Refusal(Code::Internal, "internal", "nothing was counted".into())),
    }
}

/// What a request means, if the client may ask for it.
fn selection(shared: &Shared, client: &Principal, which: &DeadLetterSelection) -> Result<Selection, Refusal> {
    let malformed = |reason: String| Refusal(Code::Malformed, "bad_selection", reason);
    let own_authority = shared.trust.authority().fingerprint();
    let is_local = client.name == LOCAL_CLIENT && client.authority == own_authority;
    let owner = match &which.principal {
        Some(text) => Some(text.parse::<Principal>().map_err(|error| malformed(error.to_string()))?),
        None => (which.subscription.is_some() || !is_local).then(|| client.clone()),
    };
    let is_own = owner.as_ref() == Some(client) && which.peer.is_none();
    if !is_own && !is_local {
        let reason = "dead letters of others are for the client that the broker made for its own machine: use --data DIR there";
        return Err(Refusal(Code::Forbidden, "not_yours", reason.into()));
    }
    let destination = match (&which.subscription, &which.peer) {
        (Some(_), Some(_)) => {
            return Err(malformed("one subscription or one peer can be meant, not both".into()));
        }
        (Some(name), None) => {
            owner.clone().map(|principal| Destination::Subscription { principal, name: name.clone() })
        }
        (None, Some(name)) => {
            Some(Destination::Peer(Principal { name: name.clone(), authority: own_authority }))
        }
        (None, None) => None,
    };
    let reason = which.reason.as_ref().map(|word| {
        let known = Reason::ALL.map(Reason::word).join(", ");
        Reason::parse(word).ok_or_else(|| malformed(format!("reason `{word}`: {known} are known")))
    });
    // The destination says whose they are.
    let owner = owner.filter(|_| destination.is_none());
    Ok(Selection { destination, owner, reason: reason.transpose()?, numbers: which.numbers.clone() })
}

async fn find(shared: &Arc<Shared>, session: &Session, request: &ReadDeadLetters) -> Result<Value, Refusal> {
    let wanted = selection(shared, &session.info.principal, &request.which)?;
    let command = Command::FindLetters { wanted, from: request.from, max: RANGES_MAX };
    let Output::Letters(ranges) = shared.log.command(command).await? else { return Ok(empty()) };
    let mailbox = shared.health.dead_letters.load(std::sync::atomic::Ordering::Relaxed);
    let (reader, from, offset) = (shared.reader.clone(), request.from, request.offset);
    let read = move || {
        Page { reader, mailbox: MailboxId(mailbox), offset, letters: Vec::new(), bytes: 0 }.fill(ranges, from)
    };
    let answer = tokio::task::spawn_blocking(read).await;
    answer.map_err(|error| Refusal(Code::Internal, "internal", error.to_string()))
}

fn empty() -> Value {
    json!({ "letters": [], "next": null })
}

/// An answer in the making.
struct Page {
    reader: Arc<Reader>,
    mailbox: MailboxId,
    /// Of the first letter's body.
    offset: u64,
    letters: Vec<Value>,
    bytes: usize,
}

impl Page {
    fn fill(mut self, ranges: Vec<(u64, Letters)>, from: u64) -> Value {
        let is_last = ranges.len() < RANGES_MAX;
        let mut through = from;
        for (first, letters) in ranges {
            through = letters.last;
            if let Some(next) = self.add_range(first.max(from), &letters) {
                return self.end(Some(next));
            }
        }
        self.end((!is_last).then_some((through + 1, 0)))
    }

    fn end(self, next: Option<(u64, u64)>) -> Value {
        let next = next.map(|(from, offset)| json!({ "from": from, "offset": offset }));
        json!({ "letters": self.letters, "next": next })
    }

    /// Adds letters of a range; where to go on, if the answer is full.
    fn add_range(&mut self, first: u64, letters: &Letters) -> Option<(u64, u64)> {
        let mut from = first;
        loop {
            let mailbox = fanal_store::MailboxId(self.mailbox.0);
            let entries = self.reader.entries(mailbox, MailboxSequence(from), LETTERS_MAX);
            for (number, position) in entries.iter().take_while(|(number, _)| number.0 <= letters.last) {
                if self.letters.len() >= LETTERS_MAX || self.bytes >= BODY_BYTES_MAX {
                    return Some((number.0, 0));
                }
                if let Some(offset) = self.add(number.0, *position, letters) {
                    return Some((number.0, offset));
                }
                self.offset = 0;
            }
            match entries.last() {
                Some((last, _)) if last.0 < letters.last => from = last.0 + 1,
                _ => return None,
            }
        }
    }

    /// Adds a letter; where its body goes on, if there is no room for all of it.
    fn add(&mut self, number: u64, position: Position, letters: &Letters) -> Option<u64> {
        let mut shown = json!({
            "number": number,
            "destination": named(&letters.destination),
            "reason": letters.reason.word(),
            "attempts": letters.attempts,
            "since": time_text(letters.since),
            "until": time_text(letters.until),
        });
        let read = self.reader.read(position).map_err(|error| error.to_string());
        let event = read.and_then(|record| Event::decode(&record).map_err(|error| error.to_string()));
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(number, error, "a dead letter cannot be read");
                shown["problem"] = json!(error);
                self.letters.push(shown);
                return None;
            }
        };
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(event.body.len());
        let rest = &event.body[offset..];
        let part = &rest[..rest.len().min(BODY_BYTES_MAX - self.bytes)];
        shown["topic"] = json!(&*event.topic);
        shown["publisher"] = json!(event.origin.publisher.to_string());
        shown["epoch"] = json!(event.origin.epoch.to_string());
        shown["sequence"] = json!(event.sequence);
        shown["accepted_at_ms"] = json!(event.accepted_at);
        shown["body_bytes"] = json!(event.body.len());
        shown["body"] = json!(STANDARD.encode(part));
        self.letters.push(shown);
        self.bytes += part.len();
        (part.len() < rest.len()).then_some((offset + part.len()) as u64)
    }
}
