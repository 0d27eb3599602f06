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
/// Bytes of JSON from which on an answer is full. One more letter without its body, some 4 KiB, and the
/// rest of a control frame fit beside.
const JSON_BYTES_MAX: usize = 192 << 10;
/// A body that was begun goes on in the next answer where less than this is left.
const PART_BYTES_MIN: usize = 1 << 10;
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
    let read = move || Page::new(reader, MailboxId(mailbox), from, offset).fill(ranges, from);
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
    /// The letter of whose body a part was read, and how much.
    begun: (u64, u64),
    letters: Vec<Value>,
    /// Of `letters` as JSON.
    bytes: usize,
}

impl Page {
    fn new(reader: Arc<Reader>, mailbox: MailboxId, from: u64, offset: u64) -> Page {
        Page { reader, mailbox, begun: (from, offset), letters: Vec::new(), bytes: 0 }
    }

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
                if self.letters.len() >= LETTERS_MAX || self.bytes >= JSON_BYTES_MAX {
                    return Some((number.0, 0));
                }
                if let Some(offset) = self.add(number.0, *position, letters) {
                    return Some((number.0, offset));
                }
            }
            match entries.last() {
                Some((last, _)) if last.0 < letters.last => from = last.0 + 1,
                _ => return None,
            }
        }
    }

    /// Adds a letter; where its body goes on, if there is no room for all of it.
    fn add(&mut self, number: u64, position: Position, letters: &Letters) -> Option<u64> {
        let (mailbox, sequence) = (fanal_store::MailboxId(self.mailbox.0), MailboxSequence(number));
        // None: it has gone meanwhile.
        let read = self.reader.or_moved(mailbox, sequence, self.reader.read(position))?;
        let mut shown = json!({
            "number": number,
            "destination": named(&letters.destination),
            "reason": letters.reason.word(),
            "attempts": letters.attempts,
            "since": time_text(letters.since),
            "until": time_text(letters.until),
        });
        let event = read
            .map_err(|error| error.to_string())
            .and_then(|record| Event::decode(&record).map_err(|error| error.to_string()));
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(number, error, "a dead letter cannot be read");
                shown["problem"] = json!(error);
                self.push(shown);
                return None;
            }
        };
        // The letter that was begun may have gone meanwhile: of any other nothing was read.
        let offset = if self.begun.0 == number { self.begun.1 } else { 0 };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(event.body.len());
        let rest = &event.body[offset..];
        // Base64 makes four bytes of three.
        let room = (JSON_BYTES_MAX.saturating_sub(self.bytes) / 4 * 3).max(PART_BYTES_MIN);
        let part = &rest[..rest.len().min(room)];
        shown["topic"] = json!(&*event.topic);
        shown["publisher"] = json!(event.origin.publisher.to_string());
        shown["epoch"] = json!(event.origin.epoch.to_string());
        shown["sequence"] = json!(event.sequence);
        shown["accepted_at_ms"] = json!(event.accepted_at);
        shown["body_bytes"] = json!(event.body.len());
        shown["body"] = json!(STANDARD.encode(part));
        self.push(shown);
        (part.len() < rest.len()).then_some((offset + part.len()) as u64)
    }

    fn push(&mut self, shown: Value) {
        self.bytes += shown.to_string().len() + 1;
        self.letters.push(shown);
    }
}

#[cfg(test)]
mod tests {
    use fanal_protocol::control::Answer;
    use fanal_protocol::stream::Origin;
    use fanal_protocol::{CONTROL_FRAME_BYTES_MAX, Class, Control, Epoch, Fingerprint};
    use fanal_store::simulated::SimulatedDisk;
    use fanal_store::{Options, Store};

    use super::*;

    const LETTERS: fanal_store::MailboxId = fanal_store::MailboxId(1);

    /// Numbers, and bytes of bodies.
    type Parts = Vec<(u64, usize)>;

    /// A store with these bodies as dead letters, all of one topic.
    fn store(topic: &str, bodies: &[usize]) -> Store {
        let options = Options { segment_bytes: 4 << 20, ..Options::default() };
        let (mut store, _) =
            Store::open_on(Arc::new(SimulatedDisk::new()), options, fanal_store::StoreId(7)).unwrap();
        let publisher = Principal { name: "p".repeat(128), authority: Fingerprint([1; 32]) };
        let mut batch = store.batch();
        batch.create_mailbox(LETTERS);
        for (number, bytes) in (1u64..).zip(bodies) {
            let event = Event {
                topic: topic.into(),
                origin: Arc::new(Origin { publisher: publisher.clone(), epoch: Epoch::default() }),
                sequence: number,
                class: Class::AtLeastOnce,
                accepted_at: 0,
                deadline: None,
                body: vec![number as u8; *bytes].into(),
            };
            let mut head = Vec::new();
            event.encode_head(&mut head);
            batch.event(&[&head, &event.body], &[(LETTERS, MailboxSequence(number))]);
        }
        store.commit(batch).unwrap();
        store
    }

    /// What an answer holds that goes on at a place: number, and bytes of the body; where the next one
    /// goes on.
    fn ask(store: &Store, last: u64, (from, offset): (u64, u64)) -> (Parts, Option<(u64, u64)>) {
        let principal = Principal { name: "n".repeat(128), authority: Fingerprint([2; 32]) };
        let destination = Arc::new(Destination::Subscription { principal, name: "\u{1f4e8}".repeat(32) });
        let (reason, attempts, since, until) = (Reason::Full, 0, 0, 0);
        let letters = Letters { last, destination, reason, attempts, since, until };
        let page = Page::new(Arc::new(store.reader()), MailboxId(LETTERS.0), from, offset);
        let json = page.fill(vec![(1, letters)], from);
        let mut frame = Vec::new();
        Control::from(Answer { request: u32::MAX, json: json.to_string() }).encode(&mut frame);
        assert!(frame.len() <= CONTROL_FRAME_BYTES_MAX, "{} bytes", frame.len());
        let part = |letter: &Value| {
            let body = STANDARD.decode(letter["body"].as_str().unwrap()).unwrap();
            let number = letter["number"].as_u64().unwrap();
            assert!(body.iter().all(|byte| *byte == number as u8), "of another letter");
            (number, body.len())
        };
        let parts = json["letters"].as_array().unwrap().iter().map(part).collect();
        let next = json["next"].as_object();
        (parts, next.map(|next| (next["from"].as_u64().unwrap(), next["offset"].as_u64().unwrap())))
    }

    #[test]
    fn an_answer_fits_a_control_frame_however_long_topics_and_names_are() {
        let bodies: Vec<usize> = (0..300).map(|n| if n % 60 == 7 { 300_000 } else { 400 }).collect();
        let store = store(&"\"".repeat(1_024), &bodies);
        let (mut read, mut place) = (vec![0; bodies.len()], (0, 0));
        loop {
            let (parts, next) = ask(&store, bodies.len() as u64, place);
            assert!(!parts.is_empty());
            parts.into_iter().for_each(|(number, bytes)| read[number as usize - 1] += bytes);
            let Some(next) = next else { break };
            place = next;
        }
        assert_eq!(read, bodies);
    }

    #[test]
    fn a_letter_that_was_moved_meanwhile_is_read_and_one_that_went_is_not_shown() {
        let store = store("t", &[700]);
        let destination = Arc::new(Destination::Peer(Principal::default()));
        let (reason, attempts, since, until) = (Reason::Full, 0, 0, 0);
        let letters = Letters { last: 2, destination, reason, attempts, since, until };
        let mut page = Page::new(Arc::new(store.reader()), MailboxId(LETTERS.0), 1, 0);
        // No segment has this position.
        assert_eq!([1, 2].map(|number| page.add(number, Position(1), &letters)), [None, None]);
        let shown: Vec<_> =
            page.letters.iter().map(|letter| (&letter["number"], &letter["body_bytes"])).collect();
        assert_eq!(shown, [(&json!(1), &json!(700))]);
    }

    #[test]
    fn what_follows_a_letter_that_went_is_read_from_its_begin() {
        let mut store = store("t", &[300_000, 700]);
        let (parts, next) = ask(&store, 2, (0, 0));
        assert!(parts.len() == 1 && parts[0].1 < 300_000);
        let mut batch = store.batch();
        batch.acked(LETTERS, 1..=1);
        store.commit(batch).unwrap();
        assert_eq!(ask(&store, 2, next.unwrap()), (vec![(2, 700)], None));
    }
}
