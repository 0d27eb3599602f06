//! Keeps a client connected until it is closed.
//!
//! Invariant: at most one connection at a time; its tasks have all ended before the next is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::dial::{Dialled, describe, dial};
use super::{control, events, silence};
use crate::credentials::Credentials;
use crate::publish::writer;
use crate::shared::{Link, Shared};

/// First wait before dialling again; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before dialling again.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long a close may take to reach the broker, or the broker's own to follow a goodbye.
const CLOSE: Duration = Duration::from_secs(1);
/// Longest sleep between two looks at deadlines, so that an earlier one is not missed by more.
const DEADLINES_MAX: Duration = Duration::from_millis(250);

/// Starts the tasks of a client on its first connection.
pub(crate) fn start(shared: Arc<Shared>, credentials: Credentials, first: Dialled) {
    tokio::spawn(watch_deadlines(Arc::clone(&shared)));
    let mut attached = Some(attach(&shared, first));
    tokio::spawn(async move {
        while let Some((link, dialled)) = attached {
            serve(&shared, link, dialled).await;
            attached = dial_again(&shared, &credentials).await.map(|dialled| attach(&shared, dialled));
        }
        shared.give_up();
        shared.on_stopped();
    });
}

/// From here on everything that is registered is told to this connection.
fn attach(shared: &Arc<Shared>, dialled: Dialled) -> (Arc<Link>, Dialled) {
    let link = Arc::new(Link::default());
    shared.attach(&link, dialled.welcome.clone());
    (link, dialled)
}

/// Runs one connection until it is lost, finished, or not wanted any more.
async fn serve(shared: &Arc<Shared>, link: Arc<Link>, dialled: Dialled) {
    let Dialled { endpoint, connection, control, answers, welcome, address } = dialled;
    let broker = welcome.broker;
    tracing::debug!(%broker, %address, "connected");
    let mut tasks = JoinSet::new();
    tasks.spawn(control::read(Arc::clone(shared), Arc::clone(&link), connection.clone(), answers));
    tasks.spawn(control::write(Arc::clone(shared), Arc::clone(&link), control));
    tasks.spawn(events::run(Arc::clone(shared), connection.clone()));
    tasks.spawn(silence::watch(connection.clone(), connection.remote_address()));
    tasks.spawn(publish(Arc::clone(shared), connection.clone()));
    let (reason, is_wanted) = tokio::select! {
        ended = tasks.join_next() => (ended.and_then(Result::ok).unwrap_or_default(), !link.is_finishing()),
        () = shared.wait_for_stop() => ("not wanted any more".to_owned(), false),
    };
    if link.is_finishing() {
        // A goodbye is answered by the broker's close (PROTOCOL.md 3.4).
        let _ = tokio::time::timeout(CLOSE, connection.closed()).await;
    }
    let was_closed = connection.close_reason().is_some();
    let reason = connection.close_reason().map_or(reason, |error| describe(&error));
    let code = if is_wanted { 400u32 } else { 0 };
    connection.close(code.into(), reason.as_bytes());
    tasks.shutdown().await;
    shared.detach();
    if !was_closed {
        let _ = tokio::time::timeout(CLOSE, endpoint.wait_idle()).await;
    }
    if is_wanted {
        tracing::warn!(%broker, %address, %reason, "connection lost; dialling again");
    } else {
        shared.stop();
    }
}

async fn publish(shared: Arc<Shared>, connection: quinn::Connection) -> String {
    match connection.open_uni().await {
        Ok(stream) => writer::run(shared, stream).await.to_string(),
        Err(error) => describe(&error),
    }
}

/// Dials until there is a connection; `None` when the client is not wanted any more.
async fn dial_again(shared: &Arc<Shared>, credentials: &Credentials) -> Option<Dialled> {
    let mut backoff = BACKOFF_FIRST;
    loop {
        // Between half and the whole, so that many clients do not come back at the same time.
        let wait = backoff.mul_f64(rand::random_range(0.5..=1.0));
        let attempt = async {
            tokio::time::sleep(wait).await;
            dial(credentials, &shared.options).await
        };
        tokio::select! {
            () = shared.wait_for_stop() => return None,
            dialled = attempt => match dialled {
                Ok(dialled) => return Some(dialled),
                Err(error) => tracing::warn!(%error, "cannot reconnect yet"),
            },
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Gives up publishes whose time is out. Sleeps while nothing is outstanding.
async fn watch_deadlines(shared: Arc<Shared>) {
    while !shared.is_stopping() {
        let now_ms = shared.now_ms();
        let next = shared.channels().iter().filter_map(|channel| channel.expire(now_ms)).min();
        let wake = async {
            match next {
                Some(at) => {
                    let wait = Duration::from_millis(at.saturating_sub(now_ms).max(1));
                    tokio::time::sleep(wait.min(DEADLINES_MAX)).await;
                }
                None => shared.deadlines.notified().await,
            }
        };
        tokio::select! {
            () = shared.wait_for_stop() => return,
            () = wake => {}
        }
    }
}
