//! One durable destination: the core's cursor, who is attached, what is still in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use fanal_core::{Credit, Delivery, Event, MailboxId};
use fanal_store::{MailboxSequence, Position, Reader};

use super::deliver::TurnEntry;
use super::log::store_id;
use crate::net::ConnId;

/// Bytes of bodies kept in memory for an attached mailbox: few, so that the disk is read too.
const HOT_BYTES_MAX: usize = 1_500;

/// A connection's hold on a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The connection.
    pub conn: ConnId,
    /// Its channel; 0 on a link.
    pub channel: u32,
}

/// Where an entry's event is.
pub(crate) enum Source {
    /// In memory.
    Hot(Arc<Event>),
    /// On the disk.
    Cold(Position),
}

/// One entry to send.
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) attempt: Option<u32>,
    pub(crate) charged: u64,
    pub(crate) source: Source,
}

/// See the module.
pub(crate) struct Mailbox {
    pub(crate) id: MailboxId,
    pub(crate) delivery: Delivery,
    pub(crate) holder: Option<Holder>,
    /// Takes best-effort events while somebody is attached.
    pub(crate) live_side: Option<u64>,
    hot: VecDeque<(u64, Arc<Event>)>,
    hot_bytes: usize,
    waiting: Option<Waiting>,
}

/// A turn in which something has expired: it is sent when that is gone for good.
struct Waiting {
    expired: Vec<(u64, u64)>,
    turn: Vec<TurnEntry>,
    is_gone: bool,
}

/// What is to be sent next.
pub(crate) enum Next {
    /// What is on the disk or in memory.
    Take,
    /// Nothing before a removal is written.
    Wait,
    /// A turn that has waited.
    Send(Vec<TurnEntry>),
}

impl Mailbox {
    /// A mailbox whose next new entry will have sequence `tail`.
    pub(crate) fn new(id: MailboxId, tail: u64) -> Self {
        let (holder, live_side) = (None, None);
        let (delivery, hot) = (Delivery::new(tail), VecDeque::new());
        Mailbox { id, delivery, holder, live_side, hot, hot_bytes: 0, waiting: None }
    }

    /// A connection takes hold, from `from` on; who held it before, if anybody.
    pub(crate) fn attach(&mut self, holder: Holder, live_side: Option<u64>, from: u64) -> Option<Holder> {
        self.live_side = live_side;
        self.delivery.rewind(from);
        self.forget_hot();
        self.holder.replace(holder)
    }

    /// A connection lets go; nothing happens if another has taken hold since.
    pub(crate) fn detach(&mut self, holder: Holder) {
        if self.holder == Some(holder) {
            self.holder = None;
            self.live_side = None;
            self.forget_hot();
        }
    }

    /// Entries have left without their destination: what is in memory of them is not sent any more.
    pub(crate) fn on_given_way(&mut self, (first, last): (u64, u64)) {
        let is_gone = |sequence: u64| (first..=last).contains(&sequence);
        self.hot.retain(|(sequence, _)| !is_gone(*sequence));
        self.hot_bytes = self.hot.iter().map(|(_, event)| event.body.len()).sum();
        if is_gone(self.delivery.next()) {
            self.delivery.skip_to(last + 1);
        }
    }

    /// Holds a turn back until what has expired in it is gone for good.
    pub(crate) fn wait(&mut self, expired: Vec<(u64, u64)>, turn: Vec<TurnEntry>) {
        self.waiting = Some(Waiting { expired, turn, is_gone: false });
    }

    /// What has expired is gone for good: whether a turn waited for that.
    pub(crate) fn on_removed(&mut self, ranges: &[(u64, u64)]) -> bool {
        match &mut self.waiting {
            Some(waiting) if waiting.expired == ranges => {
                waiting.is_gone = true;
                true
            }
            _ => false,
        }
    }

    /// What is to be sent next; a turn that has waited is given once.
    pub(crate) fn next(&mut self) -> Next {
        match self.waiting.take() {
            None => Next::Take,
            Some(Waiting { turn, is_gone: true, .. }) => Next::Send(turn),
            Some(waiting) => {
                self.waiting = Some(waiting);
                Next::Wait
            }
        }
    }

    fn forget_hot(&mut self) {
        self.waiting = None;
        self.hot.clear();
        self.hot_bytes = 0;
    }

    /// Entries of a flushed batch, ascending.
    pub(crate) fn on_flushed(&mut self, entries: &[(u64, Arc<Event>)]) {
        let Some((last, _)) = entries.last() else { return };
        self.delivery.on_enqueued(last + 1);
        if self.holder.is_none() {
            return;
        }
        for (sequence, event) in entries {
            let follows = match self.hot.back() {
                Some((last, _)) => last + 1 == *sequence,
                None => self.delivery.next() == *sequence,
            };
            if follows && self.hot_bytes + event.body.len() <= HOT_BYTES_MAX {
                self.hot_bytes += event.body.len();
                self.hot.push_back((*sequence, Arc::clone(event)));
            }
        }
    }

    /// The entries that come next, within the credit and about `bytes_max`; whether more may
    /// follow at once.
    pub(crate) fn take(
        &mut self,
        reader: &Reader,
        credit: &mut Credit,
        bytes_max: usize,
        out: &mut Vec<Entry>,
    ) -> bool {
        if !credit.is_open() || !self.delivery.is_behind() {
            return false;
        }
        while let Some((sequence, event)) = self.hot.front()
            && *sequence < self.delivery.next()
        {
            self.hot_bytes -= event.body.len();
            self.hot.pop_front();
        }
        if self.hot.front().is_some_and(|(sequence, _)| *sequence == self.delivery.next()) {
            let mut taken = 0;
            while taken < bytes_max && credit.is_open() {
                let Some((sequence, event)) = self.hot.pop_front() else { break };
                let charged = event.body.len() as u64;
                self.hot_bytes -= event.body.len();
                credit.charge(charged);
                taken += event.body.len() + 24;
                let attempt = self.delivery.on_started(sequence);
                out.push(Entry { sequence, attempt, charged, source: Source::Hot(event) });
            }
        } else {
            self.take_cold(reader, credit, bytes_max, out);
        }
        credit.is_open() && self.delivery.is_behind()
    }

    fn take_cold(&mut self, reader: &Reader, credit: &mut Credit, bytes_max: usize, out: &mut Vec<Entry>) {
        let next = MailboxSequence(self.delivery.next());
        let bytes_max = credit.bytes_left().min(bytes_max as u64);
        let entries = reader.entries_within(store_id(self.id), next, 8, bytes_max);
        if entries.is_empty() {
            self.delivery.skip_to(self.delivery.tail());
            return;
        }
        for (sequence, position, bytes) in entries {
            if !credit.is_open() {
                return;
            }
            let charged = u64::from(bytes);
            credit.charge(charged);
            let attempt = self.delivery.on_started(sequence.0);
            out.push(Entry { sequence: sequence.0, attempt, charged, source: Source::Cold(position) });
        }
    }
}
