//! The pages of the admin API.
//!
//! One source for the CLI's queries and for HTTP. Cost: O(what the page lists). Invariant: every row
//! has every member of its schema (protocol/schemas); what does not apply is null.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use fanal_core::MailboxId;
use fanal_core::home::describe;
use fanal_core::limits::{Reason, WhenFull};
use serde_json::{Value, json};

use crate::admin::{Answer, Pages};
use crate::log::request::Kept;
use crate::log::{Command, Output};
use crate::mailbox::{Mailbox, MailboxKind};
use crate::shared::Shared;

mod letters;

pub(crate) use letters::{named, time_text};

/// The pages that exist.
pub(crate) const NAMES: [&str; 6] =
    ["status", "peers", "sessions", "subscriptions", "mailboxes", "dead-letters"];

/// A page by name.
pub(crate) async fn page(shared: &Shared, name: &str) -> Option<Value> {
    Some(match name {
        "status" => status(shared),
        "peers" => json!({ "peers": peers(shared) }),
        "sessions" => json!({ "sessions": sessions(shared) }),
        "subscriptions" => json!({ "subscriptions": subscriptions(shared) }),
        "mailboxes" => json!({ "mailboxes": mailboxes(shared, &kept(shared).await) }),
        "dead-letters" => letters::page(shared).await,
        _ => return None,
    })
}

/// The admin HTTP's view of a broker.
pub(crate) struct AdminPages(pub(crate) Arc<Shared>);

impl Pages for AdminPages {
    fn page<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(page(&self.0, name))
    }

    fn metrics(&self) -> String {
        self.0.metrics.render()
    }

    fn readiness(&self) -> Result<(), String> {
        self.0.unavailable().map_or(Ok(()), Err)
    }

    fn hosts(&self) -> &[String] {
        &self.0.admin_hosts
    }
}

/// What a broker does with new events, as a word for programs; why, unless it takes them.
fn state(shared: &Shared) -> (&'static str, Option<String>) {
    match shared.unavailable() {
        Some(reason) if shared.health.stopped().is_some() => ("stopped", Some(reason)),
        Some(reason) => ("draining", Some(reason)),
        None if shared.health.is_full.load(Ordering::Relaxed) => {
            ("full", Some("the store is full: events are refused with 507 until there is room".into()))
        }
        None => ("ready", None),
    }
}

fn status(shared: &Shared) -> Value {
    let (state, reason) = state(shared);
    let peers = shared.peers.all();
    json!({
        "name": shared.name,
        "version": env!("CARGO_PKG_VERSION"),
        "state": state,
        "reason": reason,
        "authority": shared.trust.authority().fingerprint().to_string(),
        "incarnation": {
            "store": shared.incarnation.store.to_string(),
            "recovery_epoch": shared.incarnation.recovery_epoch,
            "start": shared.incarnation.start,
        },
        "sessions": shared.sessions.len(),
        "subscriptions": { "live": shared.lives.len(), "durable": shared.durables.all().len() },
        "peers": { "known": peers.len(), "linked": peers.iter().filter(|peer| peer.is_linked()).count() },
        "queued_events": all_mailboxes(shared).iter().map(|mailbox| queued(shared, mailbox.id).0).sum::<u64>(),
    })
}

fn peers(shared: &Shared) -> Vec<Value> {
    let now = shared.clock.now();
    let rows = shared.peers.all();
    rows.iter()
        .map(|peer| {
            let link = peer.link().filter(|_| peer.is_linked());
            let problem = peer.problem();
            let lag = peer.mailbox().map_or(0, |mailbox| queued(shared, mailbox.id).0);
            json!({
                "name": peer.name,
                "authority": peer.authority.to_string(),
                "address": peer.address(),
                "state": if link.is_some() { "linked" } else if peer.address().is_some() { "dialling" } else { "absent" },
                "problem": problem.as_ref().map(|problem| problem.text.clone()),
                "refused": problem.is_some_and(|problem| problem.is_refusal),
                "remote": link.as_ref().map(|link| link.remote.to_string()),
                "agent": link.as_ref().map(|link| link.agent.clone()),
                "dialled_here": link.as_ref().map(|link| link.facts.dialled_here),
                "linked_seconds": link.as_ref().map(|link| now.saturating_sub(link.since_ms) / 1000),
                "rtt_ms": link.as_ref().map(|link| link.connection.rtt().as_secs_f64() * 1000.0),
                "lag_events": lag,
                "interest_in": peer.with_installed(|installed| installed.len()),
                "interest_out": shared.interest.read(|own| own.len()),
                "interest_confirmed": *peer.confirmed.borrow(),
            })
        })
        .collect()
}

fn sessions(shared: &Shared) -> Vec<Value> {
    let now = shared.clock.now();
    let mut rows: Vec<_> = shared.sessions.iter().map(|session| Arc::clone(&session)).collect();
    rows.sort_by_key(|session| session.id);
    rows.iter()
        .map(|session| {
            let subscriptions = session.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            json!({
                "id": session.id,
                "principal": session.principal.to_string(),
                "agent": session.agent,
                "remote": session.remote.to_string(),
                "connected_seconds": now.saturating_sub(session.since_ms) / 1000,
                "subscriptions": subscriptions.len(),
                "publish_channels": session.publish_channels.load(Ordering::Relaxed),
            })
        })
        .collect()
}

fn subscriptions(shared: &Shared) -> Vec<Value> {
    let mut sessions: Vec<_> = shared.sessions.iter().map(|session| Arc::clone(&session)).collect();
    sessions.sort_by_key(|session| session.id);
    let mut rows: Vec<Value> = shared
        .durables
        .all()
        .iter()
        .map(|durable| {
            let subscription = durable.subscription();
            let ask = &subscription.ask;
            let client = durable.mailbox.client();
            json!({
                "kind": "durable",
                "name": subscription.name,
                "principal": subscription.principal.to_string(),
                "session": client.map(|(session, _)| session),
                "channel": client.map(|(_, channel)| channel),
                "filter": ask.filter,
                "where": ask.any_predicate(),
                "strict": ask.strict.is_some(),
                "except": ask.except,
                "mailbox": durable.mailbox.id.0,
                "attached": client.is_some(),
                "queued_events": queued(shared, durable.mailbox.id).0,
                "description": describe(ask),
            })
        })
        .collect();
    for session in sessions {
        let subscriptions = session.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        for (channel, ask, _) in subscriptions.iter().filter(|(_, _, durable)| durable.is_none()) {
            rows.push(json!({
                "kind": "live",
                "name": null,
                "principal": session.principal.to_string(),
                "session": session.id,
                "channel": channel,
                "filter": ask.filter,
                "where": ask.any_predicate(),
                "strict": ask.strict.is_some(),
                "except": ask.except,
                "mailbox": null,
                "attached": true,
                "queued_events": null,
                "description": describe(ask),
            }));
        }
    }
    rows
}

/// What mailboxes may hold and what they lost; nothing once the store has stopped.
async fn kept(shared: &Shared) -> BTreeMap<MailboxId, Kept> {
    match shared.log.command(Command::Inspect).await {
        Ok(Output::Kept(kept)) => kept,
        _ => BTreeMap::new(),
    }
}

fn mailboxes(shared: &Shared, kept: &BTreeMap<MailboxId, Kept>) -> Vec<Value> {
    let mut rows: Vec<(MailboxId, Value)> =
        all_mailboxes(shared).iter().map(|mailbox| (mailbox.id, mailbox_row(shared, mailbox))).collect();
    rows.extend(letters::mailbox_row(shared));
    rows.sort_by_key(|(id, _)| *id);
    rows.into_iter().map(|(id, row)| with_kept(row, kept.get(&id))).collect()
}

fn mailbox_row(shared: &Shared, mailbox: &Mailbox) -> Value {
    let (events, bytes, first, next) = queued(shared, mailbox.id);
    let (kind, name, principal) = match &mailbox.kind {
        MailboxKind::Durable(of) => ("durable", of.name.as_str(), Some(of.principal.to_string())),
        MailboxKind::Peer(name) => ("peer", &**name, None),
    };
    json!({
        "id": mailbox.id.0,
        "kind": kind,
        "name": name,
        "principal": principal,
        "attached": mailbox.is_attached(),
        "queued_events": events,
        "queued_bytes": bytes,
        "first_sequence": first,
        "next_sequence": next,
        "started_below": mailbox.progress().0,
    })
}

/// A row of a mailbox with its limits and losses, null where they are not known.
fn with_kept(mut row: Value, kept: Option<&Kept>) -> Value {
    let is_dead_letters = row["kind"] == "dead_letters";
    let counts = |counts: [u64; 3]| {
        let by_reason = Reason::ALL.map(|reason| (reason.word().to_owned(), counts[reason.index()].into()));
        Value::Object(by_reason.into_iter().collect())
    };
    row["max_bytes"] = json!(kept.and_then(|kept| kept.limits.bytes));
    row["max_events"] = json!(kept.and_then(|kept| kept.limits.events));
    row["max_age_ms"] = json!(kept.and_then(|kept| kept.limits.age_ms));
    let when_full = kept.map(|kept| if is_dead_letters { WhenFull::DropOldest } else { kept.keep.when_full });
    row["when_full"] = json!(when_full.map(WhenFull::word));
    row["dead_lettered"] = json!(kept.map(|kept| counts(kept.losses.dead_lettered)));
    row["dropped"] = json!(kept.map(|kept| counts(kept.losses.dropped)));
    row
}

fn all_mailboxes(shared: &Shared) -> Vec<Arc<Mailbox>> {
    let durable = shared.durables.all().into_iter().map(|durable| Arc::clone(&durable.mailbox));
    let peers = shared.peers.all().into_iter().filter_map(|peer| peer.mailbox().cloned());
    let mut all: Vec<_> = durable.chain(peers).collect();
    all.sort_by_key(|mailbox| mailbox.id);
    all
}

/// Events, bytes, first and next sequence of what waits in a mailbox.
fn queued(shared: &Shared, mailbox: MailboxId) -> (u64, u64, u64, u64) {
    let stats = shared.reader.mailbox(fanal_store::MailboxId(mailbox.0));
    stats.map_or((0, 0, 1, 1), |stats| (stats.events, stats.bytes, stats.first.0, stats.next.0))
}
