//! What the log is asked for, and what it answers.

use std::sync::Arc;

use fanal_core::home::{HomeRefusal, Principal, Selection, Sender, Wanted};
use fanal_core::{Event, MailboxId};
use fanal_protocol::Epoch;
use fanal_protocol::control::InterestEntry;
use fanal_protocol::stream::Origin;

use crate::broker::route::Near;
use crate::net::ConnId;

/// One step of a publish channel.
#[derive(Debug, Clone)]
pub(crate) enum PublishItem {
    /// An event and where it goes.
    Event { event: Arc<Event>, mailboxes: Vec<MailboxId>, live: Vec<Near> },
    /// Sequences given up.
    Skip { from: u64, through: u64 },
}

/// One step of a link's durable path.
#[derive(Debug, Clone)]
pub(crate) enum ReceiveItem {
    /// An event and the durable subscriptions here that it goes to.
    Event { sequence: u64, event: Arc<Event>, mailboxes: Vec<MailboxId> },
    /// Sequences that the sender passes over.
    Hole { from: u64, through: u64 },
}

/// Why entries are done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoneReason {
    /// The destination acked them.
    Acked,
    /// Their time was over.
    Expired,
}

/// A control operation on the durable state.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    OpenPublish { principal: Principal, resume: Option<Epoch>, conn: ConnId },
    ClosePublish { epoch: Epoch },
    PutSubscription(Wanted),
    UpdateSubscription(Wanted),
    RemoveSubscription { principal: Principal, name: String },
    EnsurePeer { peer: usize },
    ChangeInterest { mailbox: MailboxId, add: Vec<InterestEntry>, remove: Vec<InterestEntry> },
    ReceivedThrough { sender: Sender },
    RequeueLetters(Selection),
    DropLetters(Selection),
}

/// What a command gave.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    Epoch {
        epoch: Epoch,
        next: u64,
    },
    Mailbox {
        id: MailboxId,
        existed: bool,
    },
    Through(u64),
    /// Of dead letters.
    Count(u64),
    Done,
}

/// Why a request was not carried out.
#[derive(Debug, Clone)]
pub(crate) enum LogError {
    Refused(HomeRefusal),
    Full,
    Stopped,
}

/// What waits for a command's answer.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Operator,
    Session { conn: ConnId, frame: Box<fanal_protocol::Control> },
    Marked { conn: ConnId },
    PeerMade { conn: ConnId },
    InterestChanged { conn: ConnId },
}

/// Anything for the log.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Publish { conn: ConnId, channel: u32, origin: Arc<Origin>, items: Vec<PublishItem> },
    Receive { conn: ConnId, sender: Sender, items: Vec<ReceiveItem> },
    Done { mailbox: MailboxId, ranges: Vec<(u64, u64)>, reason: DoneReason, confirm: Option<(ConnId, u32)> },
    Command { command: Command, then: Then },
}

/// Why a link's batch was not recorded.
#[derive(Debug, Clone)]
pub(crate) enum ReceiveError {
    Missing { got: u64, expected: u64 },
    Full,
    Stopped,
}

impl Request {
    /// About the bytes of a request in the log.
    pub(super) fn size(&self) -> usize {
        match self {
            Request::Publish { items, .. } => items
                .iter()
                .map(|item| match item {
                    PublishItem::Event { event, .. } => event.body.len() + 150,
                    PublishItem::Skip { .. } => 16,
                })
                .sum(),
            Request::Receive { items, .. } => items.len() * 400,
            Request::Done { ranges, .. } => 16 + ranges.len() * 8,
            Request::Command { .. } => 300,
        }
    }
}
