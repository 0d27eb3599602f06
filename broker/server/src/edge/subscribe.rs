//! Installing, changing and removing subscriptions.
//!
//! Invariants:
//! 1. Everything is checked before anything is changed; a refusal leaves no trace.
//! 2. A durable subscription is flushed before it is routed to, and routed to before it is
//!    confirmed; the receipt names only brokers that have installed it (PROTOCOL.md 5.7).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanal_core::ask::{AskError, interest_entry, parse_ask};
use fanal_core::home::{Ask, HomeRefusal, KeepPatch, Subscription, Wanted};
use fanal_core::limits::WhenFull;
use fanal_matching::{IndexFull, Selector};
use fanal_protocol::Code;
use fanal_protocol::control::{
    Done, GAP_EXACT, INTEREST_LIVE, RemoveSubscription, Subscribe, Subscribed as Receipt, UpdateSubscription,
};

use super::connection::{check_channel, refuse};
use super::session::{Channel, Session, Subscribed, shared_credit};
use crate::federation::wait::{WaitFor, wait_for_interest};
use crate::live::{LiveClass, LiveQueue, LiveQueueParts, SharedCredit};
use crate::log::{Command, LogError, Output};
use crate::mailbox::Holder;
use crate::route::Target;
use crate::shared::Shared;

/// Longest name of a durable subscription, in bytes.
const DURABLE_NAME_BYTES_MAX: usize = 128;
/// Default for how long the interest receipt waits, in milliseconds.
const WAIT_MS: u64 = 5_000;
/// Longest that it may be asked to wait, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;

/// Carries out a subscribe request; the receipt follows when the wait is over.
pub(crate) async fn subscribe(shared: &Arc<Shared>, session: &Arc<Session>, request: Subscribe) {
    if !check_channel(shared, session, request.channel) {
        return;
    }
    let channel = request.channel;
    match install(shared, session, &request).await {
        Ok(installed) => {
            let (shared, outbox) = (Arc::clone(shared), Arc::clone(&session.outbox));
            let limit = Duration::from_millis(request.wait_ms.unwrap_or(WAIT_MS).min(WAIT_MS_MAX));
            session.spawn_wait(async move {
                let report = wait_for_interest(&shared, installed.version, &installed.wait, limit).await;
                outbox.push(Receipt {
                    channel,
                    home: shared.name.clone(),
                    installed: report.installed,
                    pending: report.pending,
                    resumed: installed.resumed,
                });
            });
        }
        Err(refusal) => refuse(session, channel, refusal.code, refusal.name, refusal.reason),
    }
}

struct Installed {
    version: u64,
    wait: WaitFor,
    resumed: bool,
}

struct Refusal {
    code: Code,
    name: &'static str,
    reason: String,
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Self {
        let (code, name) = match error {
            AskError::Topic { .. } => (Code::Malformed, "bad_topic_filter"),
            AskError::TooManyExclusions { .. } => (Code::TooLarge, "too_many_exclusions"),
            AskError::Filter(_) | AskError::TwoPredicates => (Code::FilterRefused, "filter_refused"),
        };
        Refusal { code, name, reason: error.to_string() }
    }
}

impl From<IndexFull> for Refusal {
    fn from(full: IndexFull) -> Self {
        Refusal { code: Code::StoreFull, name: "index_full", reason: full.to_string() }
    }
}

impl From<crate::log::LogError> for Refusal {
    fn from(error: crate::log::LogError) -> Self {
        let (code, name) = error.code();
        Refusal { code, name, reason: error.to_string() }
    }
}

async fn install(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    request: &Subscribe,
) -> Result<Installed, Refusal> {
    let (ask, selector) =
        parse_ask(&request.filter, request.predicate.as_deref(), request.strict.as_deref(), &request.except)?;
    let wait = WaitFor::parse(request.wait.as_deref(), &shared.name).map_err(|reason| Refusal {
        code: Code::Malformed,
        name: "bad_wait",
        reason,
    })?;
    if let Some(reason) = shared.unavailable() {
        return Err(Refusal { code: Code::Unavailable, name: "unavailable", reason });
    }
    let keep = keep_patch(request)?;
    let credit = shared_credit(request.credit_events, request.credit_bytes);
    let (version, resumed) = match &request.durable {
        None => (install_live(shared, session, request.channel, ask.clone(), selector, credit)?, false),
        Some(name) => {
            check_durable_name(name)?;
            let asked = (name.as_str(), ask.clone(), selector, keep);
            install_durable(shared, session, request.channel, asked, credit).await?
        }
    };
    let shown = (request.channel, ask, request.durable.clone());
    session.info.subscriptions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(shown);
    Ok(Installed { version, wait, resumed })
}

fn bad_limits(reason: impl Into<String>) -> Refusal {
    Refusal { code: Code::Malformed, name: "bad_limits", reason: reason.into() }
}

fn when_full(word: Option<&str>) -> Result<Option<WhenFull>, Refusal> {
    let parse = |word: &str| {
        let unknown = || bad_limits(format!("when full `{word}`: dead_letter and drop_oldest are known"));
        WhenFull::parse(word).ok_or_else(unknown)
    };
    word.map(parse).transpose()
}

/// What a request says of limits.
fn keep_patch(request: &Subscribe) -> Result<KeepPatch, Refusal> {
    let keep = KeepPatch {
        bytes: request.max_bytes,
        events: request.max_events,
        age_ms: request.max_age_ms,
        when_full: when_full(request.when_full.as_deref())?,
    };
    if [keep.bytes, keep.events, keep.age_ms].contains(&Some(0)) {
        return Err(bad_limits("a mailbox with a limit of 0 keeps nothing: leave the limit out"));
    }
    if keep != KeepPatch::default() && request.durable.is_none() {
        return Err(bad_limits("only a durable subscription has a mailbox: give it a name"));
    }
    Ok(keep)
}

fn check_durable_name(name: &str) -> Result<(), Refusal> {
    let len = name.len();
    if len == 0 || len > DURABLE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let reason = format!(
            "durable name {name:?}: 1 to {DURABLE_NAME_BYTES_MAX} bytes without control characters are allowed"
        );
        return Err(Refusal { code: Code::Malformed, name: "bad_durable_name", reason });
    }
    Ok(())
}

fn new_queue(shared: &Shared, session: &Session, channel: u32, credit: SharedCredit) -> Arc<LiveQueue> {
    LiveQueue::new(LiveQueueParts {
        id: shared.next_id(),
        channel,
        class: LiveClass::Live,
        bytes_max: shared.limits.live_buffer_bytes,
        gap_kind: GAP_EXACT,
        credit,
        ready: Arc::clone(&session.live_ready),
        memory: Arc::clone(&shared.live_memory),
        metrics: Arc::clone(&shared.metrics),
        written: shared.metrics.delivered_live.clone(),
    })
}

fn install_live(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    channel: u32,
    ask: Ask,
    selector: Selector,
    credit: SharedCredit,
) -> Result<u64, IndexFull> {
    let queue = new_queue(shared, session, channel, credit);
    shared.lives.insert(queue.id, Arc::clone(&queue));
    let entry = shared.index.try_insert(selector, Target::Live(Arc::clone(&queue))).inspect_err(|_| {
        shared.lives.remove(&queue.id);
    })?;
    let version = shared.interest.add(interest_entry(&ask, INTEREST_LIVE));
    queue.interest_version.store(version, Ordering::Relaxed);
    session.open(channel, Channel::Subscription(Arc::new(Subscribed::Live { queue, entry, ask })));
    Ok(version)
}

async fn install_durable(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    channel: u32,
    (name, ask, selector, keep): (&str, Ask, Selector, KeepPatch),
    credit: SharedCredit,
) -> Result<(u64, bool), Refusal> {
    let principal = session.info.principal.clone();
    let _turn = shared.lock_durable(&principal, name).await;
    // One that is there already needs no more room.
    if let Err(full) = shared.index.check_room(&selector)
        && shared.durables.find(&principal, name).is_none()
    {
        return Err(full.into());
    }
    let wanted = Wanted { principal, name: name.to_owned(), ask, keep };
    let output = shared.log.command(Command::PutSubscription(wanted)).await?;
    let Output::Subscription { id, existed, subscription } = output else {
        return Err(Refusal { code: Code::Internal, name: "internal", reason: "no mailbox was made".into() });
    };
    let durable = match shared.ensure_durable(id, &subscription, selector) {
        Ok(durable) => durable,
        Err(full) => {
            // The room went to others meanwhile. What was not there before leaves no trace.
            if !existed {
                let (principal, name) = (subscription.principal.clone(), subscription.name.clone());
                shared.log.command(Command::RemoveSubscription { principal, name }).await?;
            }
            return Err(full.into());
        }
    };
    let live_side = new_queue(shared, session, channel, Arc::clone(&credit));
    let holder = Holder {
        session: Some(session.info.id),
        outbox: Some(Arc::clone(&session.outbox)),
        live_side: Some(Arc::clone(&live_side)),
    };
    let (attached, before) = durable.mailbox.attach(channel, credit, &session.durable_ready, holder, 1);
    if let Some(before) = before {
        let reason =
            format!("durable subscription `{name}` was attached elsewhere; it has one holder at a time");
        before.tell_closed(Code::Conflict, "taken_over", &reason);
    }
    let version = durable.interest_version();
    session.open(channel, Channel::Subscription(Arc::new(Subscribed::Durable { attached, live_side })));
    Ok((version, existed))
}

/// Removes a durable subscription, its mailbox and what waits there.
pub(crate) async fn remove(shared: &Arc<Shared>, session: &Arc<Session>, request: RemoveSubscription) {
    let principal = session.info.principal.clone();
    let _turn = shared.lock_durable(&principal, &request.durable).await;
    let command = Command::RemoveSubscription { principal, name: request.durable.clone() };
    match shared.log.command(command).await {
        Ok(Output::Mailbox { id, .. }) => {
            if let Some(durable) = shared.forget_durable(id)
                && let Some(attached) = durable.mailbox.evict()
            {
                let reason = format!("durable subscription `{}` was removed", request.durable);
                attached.tell_closed(Code::NotFound, "removed", &reason);
            }
            session.outbox.push(Done { request: request.request });
        }
        Ok(_) => {}
        Err(error) => {
            let (code, name) = error.code();
            refuse(session, request.request, code, name, error.to_string());
        }
    }
}

/// Gives a durable subscription another filter; what waits stays.
pub(crate) async fn update(shared: &Arc<Shared>, session: &Arc<Session>, request: UpdateSubscription) {
    match try_update(shared, session, &request).await {
        Ok(()) => session.outbox.push(Done { request: request.request }),
        Err(refusal) => refuse(session, request.request, refusal.code, refusal.name, refusal.reason),
    }
}

async fn try_update(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    request: &UpdateSubscription,
) -> Result<(), Refusal> {
    let principal = session.info.principal.clone();
    let keep = KeepPatch {
        bytes: request.max_bytes,
        events: request.max_events,
        age_ms: request.max_age_ms,
        when_full: when_full(request.when_full.as_deref())?,
    };
    let _turn = shared.lock_durable(&principal, &request.durable).await;
    let known = shared.durables.find(&principal, &request.durable);
    let before = known.as_ref().map(|known| known.subscription());
    let says_filter = !request.filter.is_empty()
        || !request.except.is_empty()
        || request.predicate.is_some()
        || request.strict.is_some();
    if before.is_none() && !says_filter {
        return Err(LogError::Refused(HomeRefusal::NoSubscription { name: request.durable.clone() }).into());
    }
    let (filter, predicate, strict, except) = match before.as_deref() {
        Some(Subscription { ask, .. }) if !says_filter => {
            (&ask.filter, &ask.predicate, &ask.strict, &ask.except)
        }
        _ => (&request.filter, &request.predicate, &request.strict, &request.except),
    };
    let (ask, selector) = parse_ask(filter, predicate.as_deref(), strict.as_deref(), except)?;
    let wanted = Wanted { principal, name: request.durable.clone(), ask: ask.clone(), keep };
    if says_filter {
        check_room_for_update(shared, before.as_ref().map(|before| &before.ask), (&ask, &selector))?;
    }
    let command = Command::UpdateSubscription(wanted.clone());
    let Output::Subscription { id, subscription, .. } = shared.log.command(command).await? else {
        return Ok(());
    };
    if let Some(known) = known.filter(|_| !says_filter) {
        known.note_limits(subscription);
        return Ok(());
    }
    if let Err(full) = shared.update_durable(id, subscription, selector) {
        // The room went to others meanwhile: it keeps the filter and the limits that it has.
        if let Some(before) = before {
            let (ask, keep) = (before.ask.clone(), before.keep.into());
            shared.log.command(Command::UpdateSubscription(Wanted { ask, keep, ..wanted })).await?;
        }
        return Err(full.into());
    }
    Ok(())
}

/// A filter that is no longer than the one in whose place it comes may use what the index keeps for
/// promised entries: the old one gives its room back.
fn check_room_for_update(
    shared: &Shared,
    before: Option<&Ask>,
    (ask, selector): (&Ask, &Selector),
) -> Result<(), IndexFull> {
    match before {
        Some(before) if text_bytes(ask) <= text_bytes(before) => shared.index.check_promised(selector),
        _ => shared.index.check_room(selector),
    }
}

fn text_bytes(ask: &Ask) -> usize {
    let except: usize = ask.except.iter().map(String::len).sum();
    ask.filter.len() + ask.any_predicate().map_or(0, str::len) + except
}
