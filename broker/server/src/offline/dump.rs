//! The log record by record, with the names that its state records give to mailboxes.
//!
//! The log is read twice: once for the names, which may come behind what they name, and once to be
//! told. In memory is one segment, and one name for each mailbox.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use fanal_core::event::Event;
use fanal_core::told::{Named, tell};
use fanal_core::view::derived_id;
use fanal_store::{Dumped as Record, MailboxId, MailboxSequence, Position, dump as dump_log};
use serde_json::{Value, json};

use super::{OfflineError, store_in};

/// What of the log is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only what concerns the mailboxes of this name, or the one of this number.
    pub mailbox: Option<String>,
    /// Only events.
    pub events: bool,
}

/// One thing of the log.
#[derive(Debug)]
pub enum Dumped {
    /// A line of `fanal store dump --json`.
    Record(Value),
    /// An event, whole.
    Event(Box<EventLine>),
    /// Bytes that cannot be read; a line of `fanal store dump --json`.
    Damage(Value),
}

/// An event as it was published.
#[derive(Debug)]
pub struct EventLine {
    /// Its topic, publisher, sequence and body.
    pub event: Event,
    /// Its id where its body brings none.
    pub derived_id: String,
}

/// Tells `see` of what is wanted, in the order of the log, until it breaks off.
///
/// # Errors
/// [`OfflineError`].
pub fn dump(
    data: &Path,
    wanted: &Wanted,
    see: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> Result<(), OfflineError> {
    let store = store_in(data)?;
    let names = Names::read(&store)?;
    let only = wanted.mailbox.as_ref().map(|name| names.find(name)).transpose()?;
    let concerns = |record: &Record<'_>| only.as_ref().is_none_or(|only| concerns(record, only));
    dump_log(&store, &mut |position, record| {
        let told = match record {
            Record::Damage { .. } => Some(Dumped::Damage(names.line(position, record))),
            _ if !concerns(record) => None,
            Record::Event { body, .. } | Record::Moved { body, .. } | Record::Unresolved { body }
                if wanted.events =>
            {
                Some(event(body).unwrap_or_else(|| Dumped::Record(names.line(position, record))))
            }
            _ if wanted.events => None,
            _ => Some(Dumped::Record(names.line(position, record))),
        };
        told.map_or(ControlFlow::Continue(()), &mut *see)
    })?;
    Ok(())
}

fn event(body: &[u8]) -> Option<Dumped> {
    let event = Event::decode(&Bytes::copy_from_slice(body)).ok()?;
    let derived_id = derived_id(&event.origin, event.sequence);
    Some(Dumped::Event(Box::new(EventLine { event, derived_id })))
}

/// Whether a record is about one of these mailboxes.
fn concerns(record: &Record<'_>, only: &[u64]) -> bool {
    let is_wanted = |mailbox: &MailboxId| only.contains(&mailbox.0);
    match record {
        Record::Event { entries, .. } | Record::Moved { entries, .. } => {
            entries.iter().any(|(mailbox, _)| is_wanted(mailbox))
        }
        Record::Acked { mailbox, .. }
        | Record::CheckpointMailbox { mailbox, .. }
        | Record::CheckpointEntries { mailbox, .. }
        | Record::Page { mailbox, .. }
        | Record::CheckpointPage { mailbox, .. }
        | Record::CreateMailbox(mailbox)
        | Record::RemoveMailbox(mailbox) => is_wanted(mailbox),
        Record::Transferred { from, to, .. } => is_wanted(from) || is_wanted(to),
        Record::State(bytes) | Record::CheckpointState(bytes) => {
            let named = tell(bytes).and_then(|told| told.mailbox);
            named.is_some_and(|named| only.contains(&named.mailbox.0))
        }
        _ => false,
    }
}

/// Mailboxes by number, as the log names them last.
struct Names(BTreeMap<u64, Named>);

impl Names {
    fn read(store: &Path) -> Result<Names, OfflineError> {
        let mut names = BTreeMap::new();
        dump_log(store, &mut |_, record| {
            if let Record::State(bytes) | Record::CheckpointState(bytes) = record
                && let Some(named) = tell(bytes).and_then(|told| told.mailbox)
            {
                names.insert(named.mailbox.0, named);
            }
            ControlFlow::Continue(())
        })?;
        Ok(Names(names))
    }

    fn find(&self, name: &str) -> Result<Vec<u64>, OfflineError> {
        let named = self.0.values().filter(|named| named.name == name).map(|named| named.mailbox.0);
        let found: Vec<u64> = named.chain(name.parse()).collect();
        if found.is_empty() { Err(OfflineError::NoMailbox(name.to_owned())) } else { Ok(found) }
    }

    fn name(&self, mailbox: MailboxId) -> Option<&str> {
        self.0.get(&mailbox.0).map(|named| named.name.as_str())
    }

    fn entries(&self, entries: &[(MailboxId, MailboxSequence)]) -> Vec<Value> {
        let row = |(mailbox, sequence): &(MailboxId, MailboxSequence)| json!({ "mailbox": mailbox.0, "name": self.name(*mailbox), "sequence": sequence.0 });
        entries.iter().map(row).collect()
    }

    /// A line: every member of its schema, null where it does not apply.
    fn line(&self, position: Position, record: &Record<'_>) -> Value {
        let mut line = json!({
            "position": position.0, "kind": kind(record), "bytes": null, "file": null, "topic": null,
            "publisher": null, "sequence": null, "entries": null, "mailbox": null, "name": null,
            "first": null, "last": null, "count": null, "text": null,
        });
        let mut set = |member: &str, value: Value| line[member] = value;
        match record {
            Record::Segment { path, bytes, version } => {
                set("file", super::shown(path).into());
                set("bytes", (*bytes).into());
                set("text", format!("format version {version}").into());
            }
            Record::Batch { number, bytes, records, is_checkpoint } => {
                set("bytes", (*bytes).into());
                set("count", (*records).into());
                let checkpoint = if *is_checkpoint { ", part of a checkpoint" } else { "" };
                set("text", format!("batch {number}{checkpoint}").into());
            }
            Record::Event { body, entries } | Record::Moved { body, entries } => {
                set("bytes", body.len().into());
                set("entries", self.entries(entries).into());
                set_event(&mut set, body);
            }
            Record::Unresolved { body } => {
                set("bytes", body.len().into());
                set_event(&mut set, body);
            }
            Record::State(bytes) | Record::CheckpointState(bytes) => {
                let told = tell(bytes);
                let named = told.as_ref().and_then(|told| told.mailbox.as_ref());
                set("bytes", bytes.len().into());
                set("mailbox", named.map(|named| named.mailbox.0).into());
                set("name", named.map(|named| named.name.clone()).into());
                set("text", told.map(|told| told.text).into());
            }
            Record::Acked { mailbox, first, last } => self.set_range(&mut set, *mailbox, *first, *last),
            Record::Transferred { from, first, last, to, to_first } => {
                self.set_range(&mut set, *from, *first, *last);
                set("text", format!("to mailbox {to}, from {to_first} on").into());
            }
            Record::CreateMailbox(mailbox) | Record::RemoveMailbox(mailbox) => {
                set("mailbox", mailbox.0.into());
                set("name", self.name(*mailbox).into());
            }
            Record::CheckpointMailbox { mailbox, next } => {
                set("mailbox", mailbox.0.into());
                set("name", self.name(*mailbox).into());
                set("text", format!("next sequence {next}").into());
            }
            Record::CheckpointGivenUp { segment, pages } => {
                set("count", (*pages).into());
                set("text", format!("pages in segment {segment}").into());
            }
            Record::CheckpointEntries { mailbox, count, first, last }
            | Record::Page { mailbox, count, first, last }
            | Record::CheckpointPage { mailbox, count, first, last } => {
                self.set_range(&mut set, *mailbox, *first, *last);
                set("count", (*count).into());
            }
            Record::KnownDamage { from, to } => set("text", format!("from {from} to {to}").into()),
            Record::Damage { path, offset, bytes, what } => {
                set("file", super::shown(path).into());
                set("bytes", (*bytes).into());
                set("text", format!("at offset {offset}: {what}").into());
            }
            Record::CheckpointBegin | Record::CheckpointEnd | Record::Set | Record::Unknown => {}
        }
        line
    }

    fn set_range(&self, set: &mut dyn FnMut(&str, Value), mailbox: MailboxId, first: u64, last: u64) {
        set("mailbox", mailbox.0.into());
        set("name", self.name(mailbox).into());
        set("first", first.into());
        set("last", last.into());
    }
}

fn set_event(set: &mut dyn FnMut(&str, Value), body: &[u8]) {
    let Ok(event) = Event::decode(&Bytes::copy_from_slice(body)) else { return };
    set("topic", (*event.topic).into());
    set("publisher", event.origin.publisher.to_string().into());
    set("sequence", event.sequence.into());
}

fn kind(record: &Record<'_>) -> String {
    let word = match record {
        Record::Segment { .. } => "segment",
        Record::Batch { .. } => "batch",
        Record::Event { .. } => "event",
        Record::Moved { .. } => "moved",
        Record::Unresolved { .. } => "event_without_destination",
        Record::Set => "set",
        Record::Acked { .. } => "acked",
        Record::Transferred { .. } => "transferred",
        Record::CreateMailbox(_) => "create_mailbox",
        Record::RemoveMailbox(_) => "remove_mailbox",
        Record::State(bytes) | Record::CheckpointState(bytes) => {
            let name = tell(bytes).map_or("unknown", |told| told.kind);
            let place = if matches!(record, Record::State(_)) { "state" } else { "checkpoint_state" };
            return format!("{place}:{name}");
        }
        Record::CheckpointBegin => "checkpoint_begin",
        Record::CheckpointMailbox { .. } => "checkpoint_mailbox",
        Record::CheckpointEntries { .. } => "checkpoint_entries",
        Record::Page { .. } => "page",
        Record::CheckpointPage { .. } => "checkpoint_page",
        Record::CheckpointGivenUp { .. } => "checkpoint_given_up",
        Record::CheckpointEnd => "checkpoint_end",
        Record::KnownDamage { .. } => "known_damage",
        Record::Unknown => "unknown",
        Record::Damage { .. } => "damage",
    };
    word.to_owned()
}
