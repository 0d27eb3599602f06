//! What can be asked of the log writer, and what it answers after the flush.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use fanal_core::home::{HomeRefusal, Letters, Principal, Selection, Wanted};
use fanal_core::limits::{Keep, Limits, Losses};
use fanal_core::{Event, MailboxId, Subscription};
use fanal_protocol::control::InterestEntry;
use fanal_protocol::stream::Origin;
use fanal_protocol::{Code, Epoch, Fingerprint, Incarnation};
use smallvec::SmallVec;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::live::LiveQueue;
use crate::mailbox::Mailbox;
use crate::wire::Outbox;

/// A publish channel of a connection.
pub(crate) struct PublishChannel {
    pub(crate) channel: u32,
    pub(crate) origin: Arc<Origin>,
    pub(crate) outbox: Arc<Outbox>,
    /// While it lives the epoch is in use.
    pub(crate) _hold: Arc<()>,
}

/// One step of a publish channel, in the channel's order.
pub(crate) enum PublishItem {
    /// An event and where it goes.
    Event { event: Arc<Event>, mailboxes: SmallVec<[Arc<Mailbox>; 2]>, live: SmallVec<[Arc<LiveQueue>; 2]> },
    /// Sequences given up.
    Skip { from: u64, through: u64 },
}

/// One step of a link's durable path, in the link's order.
pub(crate) enum ReceiveItem {
    /// An event and the durable subscriptions here that it goes to.
    Event { sequence: u64, event: Arc<Event>, mailboxes: SmallVec<[Arc<Mailbox>; 2]> },
    /// Sequences that the sender passes over.
    Hole { from: u64, through: u64 },
}

/// The sender of a link's durable path.
pub(crate) struct LinkInbound {
    pub(crate) peer: Principal,
    pub(crate) incarnation: Incarnation,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) metrics: Arc<crate::metrics::PeerMetrics>,
}

/// Where flushed acks are confirmed.
pub(crate) struct AckConfirm {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) channel: u32,
}

/// Who is told once entries are gone for good.
pub(crate) enum Confirm {
    /// A client, of its acks.
    Acked(AckConfirm),
    /// Who goes on only then.
    Waiting(oneshot::Sender<()>),
}

/// Why entries are done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoneReason {
    /// The destination acked them.
    Acked,
    /// Their time was over.
    Expired,
    /// They cannot be read any more.
    Damaged,
    /// The peer does not take bodies of their size.
    TooLarge,
}

/// A control operation on the durable state.
#[derive(Debug)]
pub(crate) enum Command {
    /// `hold` lives as long as the channel does.
    OpenPublish {
        principal: Principal,
        resume: Option<Epoch>,
        hold: Weak<()>,
    },
    ClosePublish {
        epoch: Epoch,
    },
    PutSubscription(Wanted),
    UpdateSubscription(Wanted),
    RemoveSubscription {
        principal: Principal,
        name: String,
    },
    EnsurePeer {
        name: String,
        authority: Fingerprint,
    },
    ChangeInterest {
        peer: MailboxId,
        add: Vec<InterestEntry>,
        remove: Vec<InterestEntry>,
    },
    ReceivedThrough {
        peer: Principal,
        incarnation: Incarnation,
    },
    /// Nobody is attached to a mailbox any more: nothing from `below` on was sent.
    NoteStarted {
        mailbox: MailboxId,
        below: u64,
    },
    /// Dead letters from a number on: so many ranges at most.
    FindLetters {
        wanted: Selection,
        from: u64,
        max: usize,
    },
    RequeueLetters(Selection),
    DropLetters(Selection),
    /// What mailboxes may hold and what they lost.
    Inspect,
}

/// What a mailbox may hold, and what it lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What its destination chose.
    pub(crate) keep: Keep,
    /// The limits that hold, with those of the broker.
    pub(crate) limits: Limits,
    pub(crate) losses: Losses,
}

/// What a command gave, told after its flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Epoch {
        epoch: Epoch,
        next: u64,
    },
    Mailbox {
        id: MailboxId,
    },
    Subscription {
        id: MailboxId,
        existed: bool,
        subscription: Arc<Subscription>,
    },
    Through(u64),
    /// Ranges of dead letters, by their first number.
    Letters(Vec<(u64, Letters)>),
    /// How many dead letters were put back or dropped.
    Count(u64),
    Kept(BTreeMap<MailboxId, Kept>),
    Done,
}

/// Why a request was not carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Refused(#[from] HomeRefusal),
    #[error("the store is full: {0}")]
    Full(String),
    /// Why, and what to do.
    #[error("{0}")]
    Stopped(String),
}

impl LogError {
    /// Code and name of the answer.
    pub(crate) fn code(&self) -> (Code, &'static str) {
        match self {
            LogError::Refused(HomeRefusal::FilterDiffers { .. } | HomeRefusal::LimitsDiffer { .. }) => {
                (Code::Conflict, "filter_differs")
            }
            LogError::Refused(HomeRefusal::NoSubscription { .. }) => (Code::NotFound, "no_subscription"),
            LogError::Refused(HomeRefusal::UnknownEpoch { .. }) => (Code::Gone, "unknown_epoch"),
            LogError::Refused(HomeRefusal::TooManyEpochs { .. }) => (Code::Quota, "too_many_epochs"),
            LogError::Full(_) => (Code::StoreFull, "store_full"),
            LogError::Stopped(_) => (Code::Unavailable, "stopped"),
        }
    }
}

/// Anything for the log writer.
pub(crate) enum LogRequest {
    Publish {
        channel: Arc<PublishChannel>,
        items: Vec<PublishItem>,
        began: Instant,
    },
    Receive {
        link: Arc<LinkInbound>,
        items: Vec<ReceiveItem>,
        done: oneshot::Sender<Result<(), ReceiveError>>,
    },
    Done {
        mailbox: Arc<Mailbox>,
        ranges: Vec<(u64, u64)>,
        reason: DoneReason,
        confirm: Option<Confirm>,
    },
    Command {
        command: Command,
        reply: oneshot::Sender<Result<Output, LogError>>,
    },
}

/// Why what came over a link was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ReceiveError {
    #[error("mailbox sequence {got} came where {expected} was due: sequences are missing")]
    Missing { got: u64, expected: u64 },
    #[error("the batch and its entries exceed a segment")]
    TooLarge,
    #[error(transparent)]
    Log(#[from] LogError),
}
