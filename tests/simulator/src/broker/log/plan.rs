//! What becomes of requests: judged, not yet told.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanal_core::{Event, MailboxId, Verdict};
use fanal_protocol::{Code, Epoch};

use super::request::{LogError, Output, PublishItem, ReceiveError, ReceiveItem, Request};
use crate::broker::route::Near;

pub(crate) enum Plan {
    Publish(Vec<PublishPlan>),
    Receive(Vec<ReceivePlan>, u64, Option<ReceiveError>),
    Done,
    Command(Result<Output, LogError>),
}

pub(crate) type Entries = Vec<Option<u64>>;

pub(crate) enum PublishPlan {
    Judged(Verdict, Entries),
    Refused(Code),
    Skip,
}

pub(crate) enum ReceivePlan {
    Entries(Entries),
    Nothing,
}

/// What a batch accepts.
pub(super) fn accepted<'a>(
    requests: &'a [Request],
    plan: &'a [Plan],
) -> impl Iterator<Item = (Epoch, u64)> + 'a {
    requests.iter().zip(plan).flat_map(|(request, plan)| {
        let (items, plans, epoch) = match (request, plan) {
            (Request::Publish { origin, items, .. }, Plan::Publish(plans)) => {
                (&items[..], &plans[..], origin.epoch)
            }
            _ => (&[][..], &[][..], Epoch::default()),
        };
        items.iter().zip(plans).filter_map(move |(item, plan)| match (item, plan) {
            (PublishItem::Event { event, .. }, PublishPlan::Judged(Verdict::Accept, _)) => {
                Some((epoch, event.sequence))
            }
            _ => None,
        })
    })
}

/// What a request brings to mailboxes, and what goes to live queues.
pub(super) fn collect(
    request: &Request,
    plan: &Plan,
    entries: &mut BTreeMap<MailboxId, Vec<(u64, Arc<Event>)>>,
    live: &mut Vec<(Near, Arc<Event>)>,
) {
    let mut add = |mailboxes: &[MailboxId], sequences: &Entries, event: &Arc<Event>| {
        for (id, sequence) in mailboxes.iter().zip(sequences) {
            if let Some(sequence) = sequence {
                entries.entry(*id).or_default().push((*sequence, Arc::clone(event)));
            }
        }
    };
    match (request, plan) {
        (Request::Publish { items, .. }, Plan::Publish(plans)) => {
            for (item, plan) in items.iter().zip(plans) {
                if let (
                    PublishItem::Event { event, mailboxes, live: near },
                    PublishPlan::Judged(Verdict::Accept, sequences),
                ) = (item, plan)
                {
                    add(mailboxes, sequences, event);
                    live.extend(near.iter().map(|near| (*near, Arc::clone(event))));
                }
            }
        }
        (Request::Receive { items, .. }, Plan::Receive(plans, ..)) => {
            for (item, plan) in items.iter().zip(plans) {
                if let (ReceiveItem::Event { event, mailboxes, .. }, ReceivePlan::Entries(sequences)) =
                    (item, plan)
                {
                    add(mailboxes, sequences, event);
                }
            }
        }
        _ => {}
    }
}

/// A request that is carried out in no part.
pub(super) fn refused(request: &Request, error: &LogError) -> Plan {
    let (code, link) = match error {
        LogError::Full => (Code::StoreFull, ReceiveError::Full),
        _ => (Code::Unavailable, ReceiveError::Stopped),
    };
    match request {
        Request::Publish { items, .. } => Plan::Publish(
            items
                .iter()
                .map(|item| match item {
                    PublishItem::Event { .. } => PublishPlan::Refused(code),
                    PublishItem::Skip { .. } => PublishPlan::Skip,
                })
                .collect(),
        ),
        Request::Receive { .. } => Plan::Receive(Vec::new(), 0, Some(link)),
        // An ack that is not written is not confirmed: it comes again.
        Request::Done { .. } => Plan::Publish(Vec::new()),
        Request::Command { .. } => Plan::Command(Err(error.clone())),
    }
}
