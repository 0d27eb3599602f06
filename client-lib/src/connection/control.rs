//! The control stream: dispatching what the broker says, writing what we have to say.
//!
//! Invariant: the writer is the only one who writes; everybody else adds to the link's buffer, or
//! marks a subscription as having acks or credit to tell, which are then told in one frame each.

use std::sync::Arc;
use std::time::Duration;

use fanal_protocol::control::{Ping, Pong};
use fanal_protocol::{Control, frame, receipt};
use tokio::time::Instant;

use super::dial::ControlReader;
use crate::error::{Refused, RequestError, SubscriptionError};
use crate::shared::{Link, Shared};

/// Shortest time between two writes of nothing but acks and credit.
const ACK_PACE: Duration = Duration::from_millis(1);
/// Wait before a request that was refused for now is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the broker may take to read the last frames, or to close behind the end of its stream.
const FINISH: Duration = Duration::from_secs(1);

/// Reads until the stream ends; gives back why.
pub(crate) async fn read(
    shared: Arc<Shared>,
    link: Arc<Link>,
    connection: quinn::Connection,
    mut reader: ControlReader,
) -> String {
    loop {
        let block = match reader.next_block().await {
            Ok(Some(block)) => block,
            Ok(None) => {
                // Code and reason come just behind (PROTOCOL.md 2.1).
                let _ = tokio::time::timeout(FINISH, connection.closed()).await;
                return "the broker ended the control stream".into();
            }
            Err(reason) => return reason,
        };
        for range in frame::frames(&block) {
            let dispatched = match Control::decode(&block[range]) {
                Ok(frame) => dispatch(&shared, &link, frame),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = dispatched {
                return reason;
            }
        }
    }
}

fn dispatch(shared: &Arc<Shared>, link: &Arc<Link>, frame: Control) -> Result<(), String> {
    match frame {
        Control::Receipts(receipts) => {
            if receipt::count(&receipts) > receipt::RECEIPTS_MAX {
                return Err("the broker sent a Receipts frame that stands for too many sequences".into());
            }
            if let Some(channel) = shared.channel(receipts.channel) {
                channel.on_receipts(&receipts, shared.now_ms());
            }
        }
        Control::PublishOpened(opened) => {
            if let Some(channel) = shared.channel(opened.channel) {
                channel.on_opened(&opened, &shared.publisher_id());
            }
        }
        Control::Subscribed(subscribed) => {
            if let Some(queue) = shared.queue(subscribed.channel) {
                queue
                    .on_subscribed(subscribed, shared.welcome().incarnation)
                    .map_err(|_| credit_exceeded())?;
            }
        }
        Control::Acked(acked) => {
            if let Some(queue) = shared.queue(acked.channel) {
                queue.on_acked(&acked.ranges);
            }
        }
        Control::Refused(refused) => {
            let answer = Refused::from_wire(refused.code, refused.name, refused.reason);
            on_refused(shared, link, refused.request, answer);
        }
        Control::ChannelClosed(closed) => {
            let ended = Refused::from_wire(closed.code, closed.name, closed.reason);
            shared.end_subscription(closed.channel, SubscriptionError::Ended(ended));
        }
        Control::Answer(answer) => drop(shared.answer(answer.request, Ok(Some(answer.json)))),
        Control::Done(done) => drop(shared.answer(done.request, Ok(None))),
        Control::Ping(Ping { token }) => {
            if !shared.put(link, &Pong { token }.into()) {
                return Err("the broker asks without reading the answers".into());
            }
        }
        Control::Pong(_) => {}
        Control::Close(close) => return Err(format!("the broker closes: {} {}", close.code, close.reason)),
        other => return Err(format!("the broker sent {}, which is not for a client", other.name())),
    }
    Ok(())
}

pub(crate) fn credit_exceeded() -> String {
    "the broker sent more than it had credit for".into()
}

/// A number names a request, a publish channel or a subscription.
fn on_refused(shared: &Arc<Shared>, link: &Arc<Link>, number: u32, refused: Refused) {
    if shared.answer(number, Err(RequestError::Refused(refused.clone()))) {
        return;
    }
    if let Some(channel) = shared.channel(number) {
        match channel.on_open_refused(refused) {
            Some((frame, true)) => put_later(shared, link, frame),
            Some((frame, false)) => drop(shared.put(link, &frame)),
            None => {}
        }
    } else if let Some(queue) = shared.queue(number) {
        if queue.on_refused(refused) {
            put_later(shared, link, queue.on_connect());
        } else {
            shared.end_subscription(number, SubscriptionError::Closed);
        }
    }
}

/// Sends a frame again after a while; on a link that is gone by then it goes nowhere.
fn put_later(shared: &Arc<Shared>, link: &Arc<Link>, frame: Control) {
    let (shared, link) = (Arc::downgrade(shared), Arc::downgrade(link));
    tokio::spawn(async move {
        tokio::time::sleep(AGAIN).await;
        if let (Some(shared), Some(link)) = (shared.upgrade(), link.upgrade()) {
            shared.put(&link, &frame);
        }
    });
}

/// Writes until the stream fails or is finished; gives back why.
pub(crate) async fn write(shared: Arc<Shared>, link: Arc<Link>, mut stream: quinn::SendStream) -> String {
    let mut out = Vec::new();
    let mut next_acks = Instant::now();
    loop {
        let is_finishing = link.is_finishing();
        link.swap_out(&mut out);
        if out.is_empty() && shared.has_dirty() && !shared.are_acks_urgent() && !is_finishing {
            // Acks alone: let a batch grow.
            tokio::time::sleep_until(next_acks).await;
            link.swap_out(&mut out);
        }
        if shared.has_dirty() {
            shared.drain_dirty(&mut out);
            next_acks = Instant::now() + ACK_PACE;
        }
        if !out.is_empty() {
            if let Err(error) = stream.write_all(&out).await {
                return error.to_string();
            }
            out.clear();
            continue;
        }
        if is_finishing {
            return finish(stream).await;
        }
        shared.control_signal.doze();
        if link.has_out() || shared.has_dirty() || link.is_finishing() {
            shared.control_signal.stay();
            continue;
        }
        shared.control_signal.sleep(None).await;
    }
}

async fn finish(mut stream: quinn::SendStream) -> String {
    let _ = stream.finish(); // fails only if it is finished already
    let _ = tokio::time::timeout(FINISH, stream.stopped()).await;
    "closed by this client".into()
}
