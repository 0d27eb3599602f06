//! A client connection from handshake to end: hello, control frames, the tasks around it.
//!
//! Invariants: no frame is read before the certificate is checked; every way to the end passes
//! through [`Session::end`]; a request that is refused leaves the connection and its other
//! channels as they were.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanal_protocol::control::*;
use fanal_protocol::stream::Origin;
use fanal_protocol::{CONTROL_FRAME_BYTES_MAX, Code, Control, PROTOCOL_VERSION, PublisherId};
use quinn::Connection;
use tokio::task::JoinSet;

use super::session::{Channel, Session, SessionInfo, Subscribed};
use super::{deliver, letters, publish, subscribe};
use crate::log::request::{AckConfirm, Confirm, DoneReason, PublishChannel};
use crate::log::{Command, LogRequest, Output};
use crate::shared::Shared;
use crate::wire::{ControlReader, Ending};

/// How long a client may take to open its control stream and say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what a client published before its goodbye may take to be read.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(5);
/// Ranges in one ack frame.
const ACK_RANGES_MAX: usize = 16_384;

/// Longest reason of a refusal, in characters: a filter may be echoed in it.
const REASON_CHARS_MAX: usize = 4_000;

/// Name and version of this software.
pub(crate) const AGENT: &str = concat!("fanal/", env!("CARGO_PKG_VERSION"));

/// Serves a client until one side ends the connection.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, principal: PublisherId) -> Ending {
    let mut tasks = JoinSet::new();
    let opened = tokio::time::timeout(HELLO_TIMEOUT, open(&shared, &connection, principal)).await;
    let (session, mut control, send) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(ending)) => return ending,
        Err(_) => {
            let reason = "no Hello within 10 s: open one bidirectional stream and send it first";
            return Ending::refused(Code::TimedOut, reason);
        }
    };
    shared.sessions.insert(session.info.id, Arc::clone(&session.info));
    tasks.spawn(Arc::clone(&session.outbox).write_to(send));
    tasks.spawn(publish::accept_streams(Arc::clone(&shared), Arc::clone(&session), connection.clone()));
    tasks.spawn(deliver::write_live(
        Arc::clone(&shared),
        Arc::clone(&session.live_ready),
        connection.clone(),
    ));
    tasks.spawn(deliver::write_durable(
        Arc::clone(&shared),
        Arc::clone(&session.durable_ready),
        connection.clone(),
    ));
    let ending = loop {
        tokio::select! {
            frame = control.next() => match frame {
                Ok(Control::Close(_)) => break goodbye(&shared, &session, &mut tasks).await,
                Ok(frame) => {
                    if let Err(ending) = handle(&shared, &session, frame).await {
                        break ending;
                    }
                }
                Err(ending) => break ending,
            },
            ending = session.place.over() => break ending,
            Some(ended) = tasks.join_next() => {
                break ended.unwrap_or_else(|error| Ending::refused(Code::Internal, error.to_string()));
            }
        }
    };
    session.end(&shared);
    tasks.shutdown().await;
    ending
}

/// Reads what the client published before it said goodbye; then its epochs are of no use.
async fn goodbye(shared: &Arc<Shared>, session: &Session, tasks: &mut JoinSet<Ending>) -> Ending {
    session.goodbye.notify_one();
    let drained = tokio::time::timeout(GOODBYE_PATIENCE, tasks.join_next()).await;
    for channel in session.publish_channels() {
        forget_epoch(shared, &channel).await;
    }
    drained.ok().flatten().and_then(Result::ok).unwrap_or_else(|| Ending::gone("the client closed"))
}

async fn open(
    shared: &Arc<Shared>,
    connection: &Connection,
    principal: PublisherId,
) -> Result<(Arc<Session>, ControlReader, quinn::SendStream), Ending> {
    let (send, receive) = connection.accept_bi().await?;
    let _ = send.set_priority(10);
    let mut control = ControlReader::new(receive);
    let hello = match control.next().await? {
        Control::Hello(hello) => hello,
        other => return Err(Ending::unexpected(&other, "where Hello was due")),
    };
    check_version(&hello.versions)?;
    if let Some(reason) = shared.unavailable() {
        return Err(Ending::refused(Code::Unavailable, reason));
    }
    let place = shared.clients.enter(&principal, &hello).await?;
    let info = SessionInfo {
        id: shared.next_id(),
        principal,
        agent: hello.agent.chars().take(128).collect(),
        remote: connection.remote_address(),
        since_ms: shared.clock.now(),
        outbox: Arc::default(),
        subscriptions: Default::default(),
        publish_channels: Default::default(),
    };
    let session = Session::new(info, place);
    session.outbox.push(Welcome {
        version: PROTOCOL_VERSION,
        broker: shared.name.clone(),
        authority: session.info.principal.authority,
        incarnation: shared.incarnation,
        principal: session.info.principal.name.clone(),
        body_bytes_max: shared.limits.body_bytes_max as u64,
        agent: AGENT.into(),
        strict: true,
        limits: true,
    });
    Ok((session, control, send))
}

/// Refuses a side with which no version is shared (426).
pub(crate) fn check_version(versions: &[u32]) -> Result<(), Ending> {
    if versions.contains(&PROTOCOL_VERSION) {
        return Ok(());
    }
    let reason = format!(
        "protocol versions {versions:?} are offered, {PROTOCOL_VERSION} is spoken here: update the older side"
    );
    Err(Ending::refused(Code::Version, reason))
}

async fn handle(shared: &Arc<Shared>, session: &Arc<Session>, frame: Control) -> Result<(), Ending> {
    match frame {
        Control::OpenPublish(open) => open_publish(shared, session, open).await,
        Control::ClosePublish(ClosePublish { channel }) => close_publish(shared, session, channel).await,
        change @ (Control::Subscribe(_)
        | Control::RemoveSubscription(_)
        | Control::UpdateSubscription(_)
        | Control::ChangeDeadLetters(_)) => return handle_change(shared, session, change).await,
        Control::Credit(Credit { channel, events, bytes }) => session.grant(channel, events, bytes),
        Control::Ack(ack) => return handle_ack(shared, session, ack).await,
        Control::Detach(Detach { channel }) => match session.channel(channel) {
            Some(Channel::Publish(_)) => close_publish(shared, session, channel).await,
            _ => drop(session.close(channel, shared)),
        },
        Control::Query(query) => answer_query(shared, session, query).await,
        Control::ReadDeadLetters(request) => letters::read(shared, session, request).await,
        Control::Ping(Ping { token }) => session.outbox.push(Pong { token }),
        Control::Pong(_) => {}
        other => return Err(Ending::unexpected(&other, "from a client")),
    }
    Ok(())
}

/// What changes more than this connection: not once its client has a later one.
async fn handle_change(shared: &Arc<Shared>, session: &Arc<Session>, frame: Control) -> Result<(), Ending> {
    let _turn = session.place.begin_change().await?;
    match frame {
        Control::Subscribe(request) => subscribe::subscribe(shared, session, request).await,
        Control::RemoveSubscription(request) => subscribe::remove(shared, session, request).await,
        Control::UpdateSubscription(request) => subscribe::update(shared, session, request).await,
        Control::ChangeDeadLetters(request) => letters::change(shared, session, request).await,
        other => return Err(Ending::unexpected(&other, "among changes")),
    }
    Ok(())
}

/// Refuses a request or channel.
pub(crate) fn refuse(session: &Session, request: u32, code: Code, name: &str, reason: impl Into<String>) {
    let reason: String = reason.into().chars().take(REASON_CHARS_MAX).collect();
    session.outbox.push(Refused { request, code: code.number(), name: name.into(), reason });
}

/// Whether a new channel may have this number; refuses it otherwise.
pub(crate) fn check_channel(shared: &Shared, session: &Session, channel: u32) -> bool {
    if channel == 0 || channel == u32::MAX || session.channel(channel).is_some() {
        let reason = format!("channel {channel} is reserved or in use: choose another number");
        refuse(session, channel, Code::Malformed, "channel_in_use", reason);
        return false;
    }
    let limit = shared.limits.channels_per_connection;
    if session.channel_count().max(session.wait_count()) >= limit {
        let reason =
            format!("{limit} channels are open on this connection: close some, or use another connection");
        refuse(session, channel, Code::Quota, "too_many_channels", reason);
        return false;
    }
    true
}

async fn open_publish(shared: &Arc<Shared>, session: &Arc<Session>, open: OpenPublish) {
    if !check_channel(shared, session, open.channel) {
        return;
    }
    let principal = session.info.principal.clone();
    let hold = Arc::new(());
    let command = Command::OpenPublish {
        principal: principal.clone(),
        resume: open.resume,
        hold: Arc::downgrade(&hold),
    };
    match shared.log.command(command).await {
        Ok(Output::Epoch { epoch, next }) => {
            let channel = PublishChannel {
                channel: open.channel,
                origin: Arc::new(Origin { publisher: principal, epoch }),
                outbox: Arc::clone(&session.outbox),
                _hold: hold,
            };
            session.open(open.channel, Channel::Publish(Arc::new(channel)));
            session.outbox.push(PublishOpened { channel: open.channel, epoch, next });
        }
        Ok(_) => {}
        Err(error) => {
            let (code, name) = error.code();
            refuse(session, open.channel, code, name, error.to_string());
        }
    }
}

async fn close_publish(shared: &Arc<Shared>, session: &Arc<Session>, channel: u32) {
    if let Some(Channel::Publish(publish)) = session.channel(channel) {
        session.retire(channel, shared);
        forget_epoch(shared, &publish).await;
    }
}

async fn forget_epoch(shared: &Arc<Shared>, channel: &PublishChannel) {
    // A home that cannot write this down keeps the epoch, which harms nobody.
    let _ = shared.log.command(Command::ClosePublish { epoch: channel.origin.epoch }).await;
}

async fn handle_ack(shared: &Arc<Shared>, session: &Arc<Session>, ack: Ack) -> Result<(), Ending> {
    if ack.ranges.len() > ACK_RANGES_MAX {
        let reason = format!("{} ranges in one Ack: at most {ACK_RANGES_MAX}", ack.ranges.len());
        return Err(Ending::refused(Code::TooLarge, reason));
    }
    if let Some((from, through)) = ack.ranges.iter().find(|(from, through)| from > through || *from == 0) {
        let reason = format!("Ack of the range {from} to {through}: sequences start at 1 and ranges ascend");
        return Err(Ending::refused(Code::Malformed, reason));
    }
    let Some(Channel::Subscription(subscribed)) = session.channel(ack.channel) else { return Ok(()) };
    let Subscribed::Durable { attached, .. } = subscribed.as_ref() else { return Ok(()) };
    if !attached.mailbox.is_held_by(attached.generation) {
        return Ok(()); // taken over: the new holder gets what was not acked in time
    }
    let ackable_below = attached.mailbox.ackable_below();
    let ranges = merge(ack.ranges, ackable_below.saturating_sub(1));
    if ranges.is_empty() {
        return Ok(());
    }
    let bytes = 64 + ranges.len() * 16;
    let confirm = AckConfirm { outbox: Arc::clone(&session.outbox), channel: ack.channel };
    let request = LogRequest::Done {
        mailbox: Arc::clone(&attached.mailbox),
        ranges,
        reason: DoneReason::Acked,
        confirm: Some(Confirm::Acked(confirm)),
    };
    session.outbox.wait_for_room().await;
    match shared.log.submit(request, bytes).await {
        // What was not acked in time comes again.
        Err(_) if shared.draining.load(Ordering::Relaxed) => Ok(()),
        submitted => submitted.map_err(|error| Ending::refused(Code::Unavailable, error.to_string())),
    }
}

/// Ascending ranges that do not overlap, up to what was started.
fn merge(mut ranges: Vec<(u64, u64)>, through_max: u64) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (from, through) in ranges {
        let through = through.min(through_max);
        match out.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(through),
            _ if from <= through => out.push((from, through)),
            _ => {}
        }
    }
    out
}

async fn answer_query(shared: &Arc<Shared>, session: &Arc<Session>, query: Query) {
    match crate::pages::page(shared, &query.page).await {
        Some(page) => answer(session, &query, page.to_string()),
        None => {
            let reason = format!(
                "there is no page `{}`: ask for one of {}",
                query.page,
                crate::pages::NAMES.join(", ")
            );
            refuse(session, query.request, Code::NotFound, "no_page", reason);
        }
    }
}

/// An answer fits one control frame, or is refused with another way to get it.
fn answer(session: &Session, query: &Query, json: String) {
    if json.len() + 64 > CONTROL_FRAME_BYTES_MAX {
        let reason = format!(
            "page `{0}` has {1} bytes, more than a control frame holds: read /api/v1/{0} of the admin HTTP",
            query.page,
            json.len()
        );
        return refuse(session, query.request, Code::TooLarge, "page_too_large", reason);
    }
    session.outbox.push(Answer { request: query.request, json });
}
