//! What follows a flush, or a refusal: receipts, entries for mailboxes, live copies, answers.
//!
//! Invariant: everything here is collected while the batch is built and released by
//! [`Completions::release`] only, which takes the proof that the batch is durable. So an ack
//! before its flush cannot be written by accident.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use fanal_core::home::Requeued;
use fanal_core::{Event, MailboxId};
use fanal_protocol::control::{Acked, Exception, HopAck};
use fanal_protocol::receipt::ReceiptRuns;
use fanal_protocol::{Class, Code};
use tokio::sync::oneshot;

use super::limits::GivenWay;
use super::request::{
    AckConfirm, Confirm, DoneReason, LinkInbound, LogError, Output, PublishChannel, ReceiveError,
};
use crate::live::LiveQueue;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::route::Fanout;

/// Proof that the batch was flushed; only the writer makes one.
pub(crate) struct Flushed(pub(super) ());

/// See the module.
#[derive(Default)]
pub(crate) struct Completions {
    receipts: Vec<(Arc<PublishChannel>, ReceiptRuns)>,
    mailboxes: HashMap<MailboxId, NewEntries>,
    live: Fanout,
    replies: Replies<Output, LogError>,
    received: Vec<(Arc<LinkInbound>, Received)>,
    hop_acks: Vec<(Arc<LinkInbound>, u64)>,
    receive_replies: Replies<(), ReceiveError>,
    done: Vec<DoneEntries>,
    accepted: u64,
    removed: u64,
    given_way: Vec<(GivenWay, Option<Arc<Mailbox>>, u64)>,
    letters_left: Vec<(Option<Back>, u64)>,
    began: Option<Instant>,
}

/// Dead letters that go back, and the mailbox.
type Back = (Arc<Mailbox>, Requeued);

/// A mailbox and what the batch adds to it.
type NewEntries = (Arc<Mailbox>, Vec<(u64, Arc<Event>)>);

/// Entries that the batch takes out of a mailbox.
struct DoneEntries {
    mailbox: Arc<Mailbox>,
    ranges: Vec<(u64, u64)>,
    reason: DoneReason,
    confirm: Option<Confirm>,
    entries: u64,
}

/// What a batch of a link brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Received {
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
}

impl Completions {
    fn runs(&mut self, channel: &Arc<PublishChannel>) -> &mut ReceiptRuns {
        let is_last = self.receipts.last().is_some_and(|(last, _)| Arc::ptr_eq(last, channel));
        if !is_last {
            self.receipts.push((Arc::clone(channel), ReceiptRuns::default()));
        }
        let at = self.receipts.len() - 1;
        &mut self.receipts[at].1
    }

    pub(super) fn receipt(
        &mut self,
        channel: &Arc<PublishChannel>,
        sequence: u64,
        code: Code,
        destinations: u64,
    ) {
        self.runs(channel).push(channel.channel, false, sequence, code, destinations);
    }

    pub(super) fn refusal(
        &mut self,
        channel: &Arc<PublishChannel>,
        sequence: u64,
        code: Code,
        reason: String,
        retry_ms: Option<u64>,
    ) {
        let exception = Exception { sequence, code: code.number(), reason, retry_ms };
        self.runs(channel).push_refusal(channel.channel, false, exception);
    }

    pub(super) fn accepted(&mut self) {
        self.accepted += 1;
    }

    /// When the oldest publish of the batch was read.
    pub(super) fn began(&mut self, began: Instant) {
        self.began = Some(self.began.map_or(began, |oldest| oldest.min(began)));
    }

    /// Entries that went with a removed mailbox.
    pub(super) fn removed(&mut self, entries: u64) {
        self.removed += entries;
    }

    /// Entries that gave way, and how many they were.
    pub(super) fn given_way(&mut self, given_way: GivenWay, mailbox: Option<Arc<Mailbox>>, entries: u64) {
        self.given_way.push((given_way, mailbox, entries));
    }

    /// Dead letters left: back to a mailbox, or dropped.
    pub(super) fn letters_left(&mut self, back: Option<Back>, entries: u64) {
        self.letters_left.push((back, entries));
    }

    pub(super) fn entry(&mut self, mailbox: &Arc<Mailbox>, sequence: u64, event: &Arc<Event>) {
        let slot = self.mailboxes.entry(mailbox.id);
        slot.or_insert_with(|| (Arc::clone(mailbox), Vec::new())).1.push((sequence, Arc::clone(event)));
    }

    pub(super) fn live(&mut self, queue: &Arc<LiveQueue>, event: &Arc<Event>) {
        self.live.add(queue, event);
    }

    pub(super) fn reply(
        &mut self,
        reply: oneshot::Sender<Result<Output, LogError>>,
        answer: Result<Output, LogError>,
    ) {
        self.replies.push((reply, answer));
    }

    pub(super) fn received(
        &mut self,
        link: Arc<LinkInbound>,
        through: u64,
        received: Received,
        reply: oneshot::Sender<Result<(), ReceiveError>>,
        answer: Result<(), ReceiveError>,
    ) {
        self.received.push((Arc::clone(&link), received));
        if answer.is_ok() {
            self.hop_acks.push((link, through));
        }
        self.receive_replies.push((reply, answer));
    }

    pub(super) fn done(
        &mut self,
        mailbox: Arc<Mailbox>,
        ranges: Vec<(u64, u64)>,
        reason: DoneReason,
        confirm: Option<Confirm>,
        entries: u64,
    ) {
        self.done.push(DoneEntries { mailbox, ranges, reason, confirm, entries });
    }

    /// Lets everybody know. One lock per mailbox, live queue and connection.
    pub(crate) fn release(mut self, _proof: Flushed, metrics: &Metrics) {
        for (given_way, mailbox, entries) in &self.given_way {
            metrics.given_way(given_way, *entries);
            if let Some(mailbox) = mailbox {
                mailbox.on_given_way(given_way.range);
            }
        }
        for (mailbox, entries) in self.mailboxes.values() {
            mailbox.on_flushed(entries);
            metrics.durable(&mailbox.kind).routed.increment(entries.len() as u64);
        }
        for (back, entries) in &self.letters_left {
            match back {
                Some((mailbox, back)) => {
                    metrics.dead_letters.acked.increment(*entries);
                    metrics.durable(&mailbox.kind).routed.increment(*entries);
                    mailbox.on_requeued(back.first + (back.range.1 - back.range.0) + 1);
                }
                None => metrics.dead_letters.dropped_removed.increment(*entries),
            }
        }
        self.live.flush(0);
        metrics.events_published(Class::AtLeastOnce).increment(self.accepted);
        metrics.durable_removed().increment(self.removed);
        for DoneEntries { mailbox, ranges, reason, confirm, entries } in self.done {
            let ledger = metrics.durable(&mailbox.kind);
            match reason {
                DoneReason::Acked => ledger.acked.increment(entries),
                DoneReason::Expired => ledger.expired.increment(entries),
                DoneReason::Damaged => ledger.dropped_damaged.increment(entries),
                DoneReason::TooLarge => ledger.dropped_too_large.increment(entries),
            }
            match confirm {
                Some(Confirm::Acked(AckConfirm { outbox, channel })) => {
                    outbox.push(Acked { channel, ranges });
                }
                // Who waited and went away needs no answer.
                Some(Confirm::Waiting(waiting)) => drop(waiting.send(())),
                None => {}
            }
        }
        // What came before a missing sequence was recorded too, though it is not answered.
        for (link, received) in self.received {
            link.metrics.received.increment(received.events);
            link.metrics.duplicates.increment(received.duplicates);
        }
        for (link, through) in self.hop_acks {
            link.outbox.push(HopAck { through });
        }
        release_answers(self.receipts, self.replies, self.receive_replies, metrics);
        if let Some(began) = self.began {
            metrics.publish_seconds.record(began.elapsed().as_secs_f64());
        }
    }

    /// Gives the refusals of requests that changed nothing. Whatever was to follow a flush is
    /// dropped.
    pub(crate) fn release_refusals(self, metrics: &Metrics) {
        release_answers(self.receipts, self.replies, self.receive_replies, metrics);
    }
}

type Replies<T, E> = Vec<(oneshot::Sender<Result<T, E>>, Result<T, E>)>;

fn release_answers(
    receipts: Vec<(Arc<PublishChannel>, ReceiptRuns)>,
    replies: Replies<Output, LogError>,
    receive_replies: Replies<(), ReceiveError>,
    metrics: &Metrics,
) {
    for (channel, mut runs) in receipts {
        for frame in runs.drain() {
            for exception in &frame.exceptions {
                metrics.publish_refused(exception.code).increment(1);
            }
            channel.outbox.push(frame);
        }
    }
    // Whoever asked and went away needs no answer.
    for (reply, answer) in replies {
        let _ = reply.send(answer);
    }
    for (reply, answer) in receive_replies {
        let _ = reply.send(answer);
    }
}
