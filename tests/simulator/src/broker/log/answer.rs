//! Telling what a batch did, once it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanal_core::{Event, MailboxId, Verdict};
use fanal_protocol::Code;
use fanal_protocol::control::{Acked, Exception, HopAck};
use fanal_protocol::receipt::ReceiptRuns;

use super::Followed;
use super::plan::{Plan, PublishPlan, collect};
use super::request::{Command, DoneReason, LogError, Output, PublishItem, Request, Then};
use crate::broker::Node;
use crate::context::Context;
use crate::count::Count;

/// When a publisher should try again after a full store.
const FULL_RETRY_MS: u64 = 1_000;

impl Node {
    pub(super) fn finish(
        &mut self,
        ctx: &mut Context,
        requests: Vec<Request>,
        plan: Vec<Plan>,
        (departing, committed): Followed,
    ) {
        self.tell_departed(ctx, departing, &committed);
        let mut entries: BTreeMap<MailboxId, Vec<(u64, Arc<Event>)>> = BTreeMap::new();
        let mut live = Vec::new();
        let mut later = Vec::new();
        for (request, plan) in requests.into_iter().zip(plan) {
            collect(&request, &plan, &mut entries, &mut live);
            later.push((request, plan));
        }
        for (id, entries) in entries {
            self.on_entries(ctx, id, &entries);
        }
        for (near, event) in live {
            self.push_live(ctx, near, &event);
        }
        for (request, plan) in later {
            self.answer(ctx, request, plan);
        }
    }

    fn on_entries(&mut self, ctx: &mut Context, id: MailboxId, entries: &[(u64, Arc<Event>)]) {
        self.log.ledger.entry(id).or_default().routed += entries.len() as u64;
        if let Some(mailbox) = self.mailbox_mut(id) {
            mailbox.on_flushed(entries);
            if let Some(holder) = mailbox.holder {
                self.wake(ctx, holder.conn);
            }
        }
    }

    fn answer(&mut self, ctx: &mut Context, request: Request, plan: Plan) {
        match (request, plan) {
            (Request::Publish { conn, channel, items, .. }, Plan::Publish(plans)) => {
                let mut runs = ReceiptRuns::default();
                for (item, plan) in items.iter().zip(plans) {
                    if let PublishItem::Event { event, .. } = item {
                        put_receipt(&mut runs, channel, event.sequence, plan);
                    }
                }
                for frame in runs.drain() {
                    self.tell(ctx, conn, frame);
                }
            }
            (Request::Receive { conn, .. }, Plan::Receive(_, through, None)) => {
                ctx.count(Count::HopAcked);
                self.note(ctx, format_args!("records through {through} of c{conn}"));
                self.tell(ctx, conn, HopAck { through });
                self.on_recorded(ctx, conn, None);
            }
            (Request::Receive { conn, .. }, Plan::Receive(_, _, error)) => self.on_recorded(ctx, conn, error),
            (Request::Done { mailbox, ranges, reason: DoneReason::Expired, .. }, Plan::Done) => {
                let found = self.mailbox_mut(mailbox).filter(|_| !ranges.is_empty());
                let holder = found.and_then(|found| found.on_removed(&ranges).then_some(found.holder?));
                if let Some(holder) = holder {
                    self.wake(ctx, holder.conn);
                }
            }
            // Whoever waits for it waits on; the real connection ends.
            (request @ Request::Done { reason: DoneReason::Expired, .. }, _) if !self.log.is_stopped => {
                self.submit(ctx, request);
            }
            (Request::Done { ranges, confirm: Some((conn, channel)), .. }, Plan::Done) => {
                self.tell(ctx, conn, Acked { channel, ranges });
            }
            (Request::Command { command, then }, Plan::Command(answer)) => {
                self.on_answer(ctx, command, then, answer);
            }
            _ => {}
        }
    }

    fn on_answer(
        &mut self,
        ctx: &mut Context,
        command: Command,
        then: Then,
        answer: Result<Output, LogError>,
    ) {
        match then {
            Then::Operator => self.on_operator_answer(ctx, answer),
            Then::Session { conn, frame } => self.on_session_answer(ctx, conn, *frame, command, answer),
            Then::Marked { conn } => self.on_marked(ctx, conn, answer),
            Then::PeerMade { conn } => self.on_peer_made(ctx, conn, answer),
            Then::InterestChanged { conn } => self.on_interest_changed(ctx, conn, answer.is_ok()),
        }
    }

    fn on_operator_answer(&mut self, ctx: &mut Context, answer: Result<Output, LogError>) {
        match answer {
            Ok(Output::Count(events)) => self.note(ctx, format_args!("operator: {events} dead letters")),
            Err(LogError::Refused(_)) => ctx.count(Count::RequeueRefused),
            _ => {}
        }
    }
}

fn put_receipt(runs: &mut ReceiptRuns, channel: u32, sequence: u64, plan: PublishPlan) {
    let mut refuse = |code: Code, reason: String| {
        let retry_ms = code.is_retryable().then_some(FULL_RETRY_MS);
        let exception = Exception { sequence, code: code.number(), reason, retry_ms };
        runs.push_refusal(channel, false, exception);
    };
    match plan {
        PublishPlan::Skip => {}
        PublishPlan::Refused(code) => refuse(code, String::new()),
        PublishPlan::Judged(Verdict::Accept, entries) => {
            let destinations = entries.iter().flatten().count() as u64;
            runs.push(channel, false, sequence, Code::Durable, destinations);
        }
        PublishPlan::Judged(Verdict::Duplicate, _) => runs.push(channel, false, sequence, Code::Duplicate, 0),
        PublishPlan::Judged(Verdict::Blocked { by }, _) => refuse(Code::Blocked, format!("blocked by {by}")),
        PublishPlan::Judged(Verdict::Skipped, _) => refuse(Code::Conflict, "skipped".into()),
        PublishPlan::Judged(Verdict::TooOld | Verdict::UnknownEpoch, _) => refuse(Code::Gone, "gone".into()),
    }
}
