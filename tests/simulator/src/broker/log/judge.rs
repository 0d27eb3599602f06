//! Judging requests: what they do to the home, and what goes into the batch for it.

use fanal_core::home::{Effect, KeepPatch, Sender, Wanted};
use fanal_core::limits::WhenFull;
use fanal_core::{Event, MailboxId, Verdict};
use fanal_protocol::Code;
use fanal_protocol::stream::Origin;
use fanal_store::MailboxSequence;

use super::plan::{Entries, Plan, PublishPlan, ReceivePlan};
use super::request::{
    Command, DoneReason, LogError, Output, PublishItem, ReceiveError, ReceiveItem, Request,
};
use super::{Built, store_id};
use crate::books::{Choice, Owner, Step, Stored};
use crate::broker::keep::stored_bytes;
use crate::broker::{AUTHORITY, Node, broker_name};
use crate::context::Context;
use crate::mutant::Mutant;

impl Node {
    pub(super) fn build(
        &mut self,
        ctx: &Context,
        requests: &[Request],
        takes_events: bool,
    ) -> (Built, Vec<Plan>) {
        let mut built = Built::new(self.log.store.batch());
        self.give_way(ctx, &mut built);
        let plan = requests.iter().map(|request| self.judge(ctx, request, takes_events, &mut built));
        let plan = plan.collect();
        self.add_effects(&mut built);
        (built, plan)
    }

    /// What makes the changes of the home durable.
    pub(crate) fn add_effects(&mut self, built: &mut Built) {
        for effect in self.log.home.drain_effects() {
            match effect {
                Effect::CreateMailbox(id) => built.batch.create_mailbox(store_id(id)),
                // The row of a mailbox goes with it.
                Effect::RemoveMailbox(id) => _ = built.batch.remove_mailbox(store_id(id)),
                Effect::State(record) => built.batch.state(&record),
            }
        }
    }

    fn judge(&mut self, ctx: &Context, request: &Request, takes_events: bool, built: &mut Built) -> Plan {
        match request {
            Request::Publish { origin, items, .. } => Plan::Publish(
                items.iter().map(|item| self.judge_publish(ctx, origin, item, takes_events, built)).collect(),
            ),
            Request::Receive { .. } if !takes_events => {
                Plan::Receive(Vec::new(), 0, Some(ReceiveError::Full))
            }
            Request::Receive { sender, items, .. } => self.judge_link(ctx, sender, items, built),
            Request::Done { .. } if ctx.is_mutant(Mutant::ForgetAck) => Plan::Done,
            Request::Done { mailbox, ranges, reason, .. } => {
                self.done(*mailbox, ranges, *reason, built);
                Plan::Done
            }
            Request::Command { command, .. } if !takes_events && self.makes_mailbox(command) => {
                Plan::Command(Err(LogError::Full))
            }
            Request::Command { command, .. } => {
                let letters = self.carry_out_letters(ctx, command, built);
                Plan::Command(letters.unwrap_or_else(|| self.carry_out_and_say(command, &mut built.steps)))
            }
        }
    }

    fn judge_publish(
        &mut self,
        ctx: &Context,
        origin: &Origin,
        item: &PublishItem,
        takes_events: bool,
        built: &mut Built,
    ) -> PublishPlan {
        match item {
            PublishItem::Skip { from, through } => {
                self.log.home.skip(origin.epoch, *from, *through);
                PublishPlan::Skip
            }
            PublishItem::Event { event, .. } if !takes_events => {
                match self.log.home.foresee(origin.epoch, event.sequence) {
                    Verdict::Accept => PublishPlan::Refused(Code::StoreFull),
                    verdict => PublishPlan::Judged(verdict, Vec::new()),
                }
            }
            PublishItem::Event { event, mailboxes, .. } => {
                if let Some(code) = self.refusal(ctx, event, mailboxes)
                    && self.log.home.foresee(origin.epoch, event.sequence) == Verdict::Accept
                {
                    return PublishPlan::Refused(code);
                }
                let mut verdict = self.log.home.publish(origin.epoch, event.sequence);
                if verdict == Verdict::Duplicate && ctx.is_mutant(Mutant::AppendDuplicate) {
                    verdict = Verdict::Accept;
                }
                let entries = match verdict {
                    Verdict::Accept => self.append(ctx, event, mailboxes, built),
                    _ => Vec::new(),
                };
                PublishPlan::Judged(verdict, entries)
            }
        }
    }

    fn refusal(&mut self, ctx: &Context, event: &Event, mailboxes: &[MailboxId]) -> Option<Code> {
        let is_full = |id: &MailboxId| {
            let held = self.reader.mailbox(store_id(*id)).map_or(0, |stats| stats.events);
            self.log.home.keep(*id).limits.events.is_some_and(|limit| held >= limit)
        };
        if ctx.is_mutant(Mutant::RefuseWhenFull) && mailboxes.iter().any(is_full) {
            return Some(Code::StoreFull);
        }
        self.refused_by_limits(event, mailboxes)
    }

    fn judge_link(
        &mut self,
        ctx: &Context,
        sender: &Sender,
        items: &[ReceiveItem],
        built: &mut Built,
    ) -> Plan {
        let (mut plans, mut error) = (Vec::with_capacity(items.len()), None);
        for item in items {
            match self.judge_receive(ctx, sender, item, built) {
                Ok(plan) => plans.push(plan),
                Err(missing) => {
                    error = Some(missing);
                    break;
                }
            }
        }
        Plan::Receive(plans, self.log.home.received_through(sender), error)
    }

    fn judge_receive(
        &mut self,
        ctx: &Context,
        sender: &Sender,
        item: &ReceiveItem,
        built: &mut Built,
    ) -> Result<ReceivePlan, ReceiveError> {
        match item {
            ReceiveItem::Hole { from, through } => {
                if self.log.home.receive_hole(sender, *from, *through) {
                    return Ok(ReceivePlan::Nothing);
                }
                Err(ReceiveError::Missing {
                    got: *from,
                    expected: self.log.home.received_through(sender) + 1,
                })
            }
            ReceiveItem::Event { sequence, event, mailboxes } => {
                if self.log.home.received_through(sender) < *sequence && self.has_too_many(mailboxes) {
                    return Err(ReceiveError::Full);
                }
                match self.log.home.receive(sender, *sequence) {
                    Verdict::Accept => Ok(ReceivePlan::Entries(self.append(ctx, event, mailboxes, built))),
                    Verdict::Blocked { by } => Err(ReceiveError::Missing { got: *sequence, expected: by }),
                    _ if ctx.is_mutant(Mutant::ResendUnmarked) => {
                        Ok(ReceivePlan::Entries(self.append(ctx, event, mailboxes, built)))
                    }
                    _ => Ok(ReceivePlan::Nothing),
                }
            }
        }
    }

    fn append(
        &mut self,
        ctx: &Context,
        event: &Event,
        mailboxes: &[MailboxId],
        built: &mut Built,
    ) -> Entries {
        let entries: Entries = mailboxes.iter().map(|id| self.log.home.enqueue(*id)).collect();
        let stored: Vec<_> = mailboxes
            .iter()
            .zip(&entries)
            .filter_map(|(id, sequence)| sequence.map(|n| (store_id(*id), MailboxSequence(n))))
            .collect();
        if !stored.is_empty() {
            let mut head = Vec::new();
            event.encode_head(&mut head);
            built.batch.event(&[&head, &event.body], &stored);
            let bytes = stored_bytes(event);
            for (mailbox, sequence) in &stored {
                let id = MailboxId(mailbox.0);
                self.log.keeping.on_enqueued(&self.log.home, id, sequence.0, bytes);
                built.steps.extend(appended(ctx, event, bytes, mailbox.0, sequence.0));
            }
        }
        entries
    }

    fn done(&mut self, mailbox: MailboxId, ranges: &[(u64, u64)], reason: DoneReason, built: &mut Built) {
        let Some(tail) = self.log.home.tail(mailbox) else { return };
        let last = tail.saturating_sub(1);
        for &(from, through) in ranges {
            let range = (from, through.min(last));
            let Some(removal) = built.batch.acked(store_id(mailbox), range.0..=range.1) else { continue };
            built.removals.push((mailbox, reason, removal));
            let (mailbox, is_expired) = (mailbox.0, reason == DoneReason::Expired);
            built.steps.push(Step::Done { mailbox, range, is_expired, count: removal.0 });
        }
    }

    fn makes_mailbox(&self, command: &Command) -> bool {
        match command {
            Command::PutSubscription(wanted) => {
                !self.log.home.has_subscription(&wanted.principal, &wanted.name)
            }
            Command::EnsurePeer { peer } => !self.log.home.has_peer(&broker_name(*peer), AUTHORITY),
            _ => false,
        }
    }

    /// Carries a command out, and tells the books what it does to mailboxes.
    fn carry_out_and_say(&mut self, command: &Command, steps: &mut Vec<Step>) -> Result<Output, LogError> {
        let is_new = self.makes_mailbox(command);
        let output = self.carry_out(command)?;
        let Output::Mailbox { id, .. } = output else { return Ok(output) };
        let mailbox = id.0;
        let choice = |wanted: &Wanted| choice(&wanted.keep);
        match command {
            Command::PutSubscription(wanted) if is_new => {
                let owner = Owner::Subscription(wanted.principal.name.clone(), wanted.name.clone());
                steps.push(Step::Make { mailbox, owner, choice: choice(wanted) });
            }
            Command::UpdateSubscription(wanted) => {
                self.log.keeping.on_other_limits(id);
                steps.push(Step::Choose { mailbox, choice: choice(wanted) });
            }
            Command::RemoveSubscription { .. } => {
                self.log.keeping.on_changed(id);
                steps.push(Step::Remove { mailbox });
            }
            Command::EnsurePeer { peer } if is_new => {
                steps.push(Step::Make { mailbox, owner: Owner::Peer(*peer), choice: Choice::default() });
            }
            _ => {}
        }
        Ok(output)
    }

    fn carry_out(&mut self, command: &Command) -> Result<Output, LogError> {
        let (home, channels) = (&mut self.log.home, &mut self.log.keeping.channels);
        let sessions = &self.sessions;
        Ok(match command {
            Command::OpenPublish { principal, resume: None, conn } => {
                let is_connected =
                    |counter: u64| channels.get(&counter).is_some_and(|conn| sessions.contains_key(conn));
                home.make_room_for_epoch(principal, is_connected).map_err(LogError::Refused)?;
                let epoch = home.open_epoch(principal);
                channels.insert(epoch.counter, *conn);
                Output::Epoch { epoch, next: 1 }
            }
            Command::OpenPublish { principal, resume: Some(epoch), conn } => {
                let next = home.resume_epoch(principal, *epoch).map_err(LogError::Refused)?;
                channels.insert(epoch.counter, *conn);
                Output::Epoch { epoch: *epoch, next }
            }
            Command::ClosePublish { epoch } => {
                home.close_epoch(*epoch);
                Output::Done
            }
            Command::PutSubscription(wanted) => {
                let (id, existed) = home.put_subscription(wanted.clone()).map_err(LogError::Refused)?;
                Output::Mailbox { id, existed }
            }
            Command::UpdateSubscription(wanted) => {
                let id = home.update_subscription(wanted.clone()).map_err(LogError::Refused)?;
                Output::Mailbox { id, existed: true }
            }
            Command::RemoveSubscription { principal, name } => {
                let id = home.remove_subscription(principal, name).map_err(LogError::Refused)?;
                Output::Mailbox { id, existed: true }
            }
            Command::EnsurePeer { peer } => {
                Output::Mailbox { id: home.ensure_peer(&broker_name(*peer), AUTHORITY), existed: true }
            }
            Command::ChangeInterest { mailbox, add, remove } => {
                home.change_interest(*mailbox, add.clone(), remove.clone());
                Output::Done
            }
            Command::ReceivedThrough { sender } => Output::Through(home.received_through(sender)),
            Command::RequeueLetters(_) | Command::DropLetters(_) => Output::Done,
        })
    }
}

/// What a mailbox gets, for the books.
fn appended(ctx: &Context, event: &Event, bytes: u64, mailbox: u64, sequence: u64) -> Option<Step> {
    let number = crate::client::event_number(&event.body)?;
    let home = ctx.oracle.event(number).home;
    let stored = Stored { event: number, home, bytes };
    Some(Step::Append { mailbox, sequence, stored })
}

/// What a request says of a mailbox: this simulator's clients always say all of it.
fn choice(said: &KeepPatch) -> Choice {
    let limit = |said: Option<u64>| said.filter(|limit| *limit > 0);
    let limits = fanal_core::limits::Limits {
        bytes: limit(said.bytes),
        events: limit(said.events),
        age_ms: limit(said.age_ms),
    };
    Choice { limits, drops: said.when_full == Some(WhenFull::DropOldest) }
}
