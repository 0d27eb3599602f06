//! The owner of one durable destination: its cursor, who is attached, what is still in memory.
//!
//! Invariants:
//! 1. Entries are learnt from flushed batches only ([`Mailbox::on_flushed`]), so nothing of the
//!    at-least-once class is sent before its record is on the disk.
//! 2. At most one attachment at a time; each has a generation, and what an older generation still
//!    says changes nothing.
//! 3. The events kept in memory are a contiguous run of sequences; whoever is slower than that
//!    run reads from the disk. One lock per batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use fanal_core::live::EVENT_CHARGE;
use fanal_core::{Delivery, Event, MailboxId, Subscription};
use fanal_store::{MailboxSequence, Position, Reader};

use crate::live::{LiveQueue, SharedCredit};
use crate::ready::{Ready, ReadyList};
use crate::wire::Outbox;

/// Bytes of events that an attached mailbox keeps in memory.
const HOT_BYTES_MAX: usize = 8 << 20;
/// Above this an event gets memory of its own, so that it does not keep its read buffer alive.
const HOT_DETACH_ABOVE_BYTES: usize = 256 << 10;
/// Entries read from the disk at once.
const COLD_ENTRIES_MAX: usize = 1024;
/// Bytes of events read from the disk at once: a turn of its own size, since each costs a change of threads.
const COLD_BYTES_MAX: u64 = 256 << 10;

/// Whose mailbox it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MailboxKind {
    /// A durable subscription's. Whose it is and its name stay; what else it says is as it was when
    /// the mailbox became known.
    Durable(Arc<Subscription>),
    /// A peer's, by its name.
    Peer(Box<str>),
}

/// A connection's hold on a mailbox.
pub(crate) struct Attached {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) channel: u32,
    pub(crate) generation: u64,
    pub(crate) credit: SharedCredit,
    ready: Arc<ReadyList<Attached>>,
    mark: AtomicBool,
    /// Where a takeover is told; a link has none.
    outbox: Option<Arc<Outbox>>,
    session: Option<u64>,
}

impl Ready for Attached {
    fn ready_mark(&self) -> &AtomicBool {
        &self.mark
    }
}

impl Attached {
    /// Marks the mailbox ready, for instance after a credit.
    pub(crate) fn wake(self: &Arc<Self>) {
        self.ready.push(self);
    }

    /// Tells the connection that its hold has ended.
    pub(crate) fn tell_closed(&self, code: fanal_protocol::Code, name: &str, reason: &str) {
        if let Some(outbox) = &self.outbox {
            outbox.push(fanal_protocol::control::ChannelClosed {
                channel: self.channel,
                code: code.number(),
                name: name.to_owned(),
                reason: reason.to_owned(),
            });
        }
    }
}

/// What a connection brings along when it takes hold; a link brings neither.
#[derive(Default)]
pub(crate) struct Holder {
    /// The client's session.
    pub(crate) session: Option<u64>,
    /// Where a takeover is told.
    pub(crate) outbox: Option<Arc<Outbox>>,
    /// Takes best-effort events.
    pub(crate) live_side: Option<Arc<LiveQueue>>,
}

/// One entry to send.
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) attempt: Option<u32>,
    /// Bytes that were charged to the credit: at least the body's.
    pub(crate) charged: u64,
    pub(crate) source: Source,
}

/// Where an entry's event is.
pub(crate) enum Source {
    /// In memory.
    Hot(Arc<Event>),
    /// On the disk, so many bytes.
    Cold(Position, u32),
}

/// What [`Mailbox::take`] gave.
pub(crate) enum Taken {
    /// Entries from memory, if any; whether more may follow at once.
    Now(bool),
    /// What comes next is on the disk.
    Cold(Cold),
}

/// What to ask the store for, by [`Mailbox::take_cold`].
pub(crate) struct Cold {
    from: u64,
    /// What did not exist yet when this was noted.
    tail: u64,
    bytes_max: u64,
}

struct State {
    delivery: Delivery,
    generation: u64,
    /// In memory of its own: most mailboxes wait for a client that is away.
    held: Option<Box<Held>>,
}

/// Who holds the mailbox, and what is in memory for it.
struct Held {
    attached: Arc<Attached>,
    hot: VecDeque<(u64, Arc<Event>)>,
    hot_bytes: usize,
}

/// See the module.
pub(crate) struct Mailbox {
    pub(crate) id: MailboxId,
    pub(crate) kind: MailboxKind,
    state: Mutex<State>,
    /// Takes best-effort events while somebody is attached.
    pub(crate) live_side: ArcSwapOption<LiveQueue>,
    reader: Arc<Reader>,
}

impl Mailbox {
    /// The owner of a mailbox whose next new entry will have sequence `tail`.
    fn new(id: MailboxId, kind: MailboxKind, tail: u64, reader: Arc<Reader>) -> Arc<Self> {
        let state = State { delivery: Delivery::new(tail), generation: 0, held: None };
        Arc::new(Mailbox { id, kind, state: Mutex::new(state), live_side: ArcSwapOption::empty(), reader })
    }

    /// A connection takes hold, from `from` on; who held it before, if anybody.
    pub(crate) fn attach(
        self: &Arc<Self>,
        channel: u32,
        credit: SharedCredit,
        ready: &Arc<ReadyList<Attached>>,
        holder: Holder,
        from: u64,
    ) -> (Arc<Attached>, Option<Arc<Attached>>) {
        let mut state = self.lock();
        state.generation += 1;
        let attached = Arc::new(Attached {
            mailbox: Arc::clone(self),
            channel,
            generation: state.generation,
            credit,
            ready: Arc::clone(ready),
            mark: AtomicBool::new(false),
            outbox: holder.outbox,
            session: holder.session,
        });
        self.live_side.store(holder.live_side);
        let held = Held { attached: Arc::clone(&attached), hot: VecDeque::new(), hot_bytes: 0 };
        let before = state.held.replace(Box::new(held));
        state.delivery.rewind(from);
        drop(state);
        ready.push(&attached);
        (attached, before.map(|before| before.attached))
    }

    /// A connection lets go; nothing happens if another has taken hold since.
    pub(crate) fn detach(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation && state.held.take().is_some() {
            // Under the lock: another's live side must not be taken away.
            self.live_side.store(None);
        }
    }

    /// Ends any hold, for a mailbox that is removed.
    pub(crate) fn evict(&self) -> Option<Arc<Attached>> {
        let mut state = self.lock();
        state.generation += 1;
        self.live_side.store(None);
        state.held.take().map(|held| held.attached)
    }

    /// Entries of a flushed batch, ascending. One lock, one wake-up.
    pub(crate) fn on_flushed(&self, entries: &[(u64, Arc<Event>)]) {
        let Some((last, _)) = entries.last() else { return };
        let mut state = self.lock();
        state.delivery.on_enqueued(last + 1);
        let next = state.delivery.next();
        let Some(held) = &mut state.held else { return };
        for (sequence, event) in entries {
            held.keep_hot(next, *sequence, event);
        }
        let attached = Arc::clone(&held.attached);
        drop(state);
        attached.wake();
    }

    /// Takes the entries that come next, within the credit and about `bytes_max`, where they are in
    /// memory. `None`: this generation no longer holds the mailbox.
    pub(crate) fn take(&self, attached: &Attached, bytes_max: usize, out: &mut Vec<Entry>) -> Option<Taken> {
        let mut state = self.lock();
        let State { delivery, generation, held: Some(held) } = &mut *state else { return None };
        if *generation != attached.generation {
            return None;
        }
        let mut credit = attached.credit.lock().unwrap_or_else(PoisonError::into_inner);
        if !credit.is_open() || !delivery.is_behind() {
            return Some(Taken::Now(false));
        }
        held.forget_before(delivery.next());
        if held.hot.front().is_some_and(|(sequence, _)| *sequence == delivery.next()) {
            let mut taken = 0;
            while taken < bytes_max && credit.is_open() {
                let Some((sequence, event)) = held.pop_hot() else { break };
                let charged = event.body.len() as u64;
                credit.charge(charged);
                taken += event.body.len() + 24;
                let attempt = delivery.on_started(sequence);
                out.push(Entry { sequence, attempt, charged, source: Source::Hot(event) });
            }
        } else {
            let (from, tail) = (delivery.next(), delivery.tail());
            return Some(Taken::Cold(Cold {
                from,
                tail,
                bytes_max: credit.bytes_left().min(COLD_BYTES_MAX),
            }));
        }
        Some(Taken::Now(credit.is_open() && delivery.is_behind()))
    }

    /// Takes what comes next from the store, within the credit; whether more may follow at once.
    /// `None`: this generation no longer holds the mailbox. Reads the disk, with no lock held
    /// meanwhile: what has changed until then is asked for again.
    pub(crate) fn take_cold(&self, attached: &Attached, cold: &Cold, out: &mut Vec<Entry>) -> Option<bool> {
        let (id, from) = (fanal_store::MailboxId(self.id.0), MailboxSequence(cold.from));
        let entries = self.reader.entries_within(id, from, COLD_ENTRIES_MAX, cold.bytes_max);
        let mut state = self.lock();
        if state.held.is_none() || state.generation != attached.generation {
            return None;
        }
        let mut credit = attached.credit.lock().unwrap_or_else(PoisonError::into_inner);
        if state.delivery.next() == cold.from {
            state.start_cold(&entries, cold.tail, &mut credit, out);
        }
        Some(credit.is_open() && state.delivery.is_behind())
    }

    /// Entries have left without their destination: what is in memory of them is not sent any more.
    pub(crate) fn on_given_way(&self, (first, last): (u64, u64)) {
        let mut state = self.lock();
        if let Some(held) = &mut state.held {
            held.forget((first, last));
        }
        if (first..=last).contains(&state.delivery.next()) {
            state.delivery.skip_to(last + 1);
        }
    }

    /// Entries below `tail` came another way than by a publish.
    pub(crate) fn on_requeued(&self, tail: u64) {
        let mut state = self.lock();
        state.delivery.on_enqueued(tail);
        let attached = state.held.as_ref().map(|held| Arc::clone(&held.attached));
        drop(state);
        attached.inspect(|attached| attached.wake());
    }

    /// Whether a generation still holds the mailbox.
    pub(crate) fn is_held_by(&self, generation: u64) -> bool {
        let state = self.lock();
        state.generation == generation && state.held.is_some()
    }

    /// Whether anybody is attached.
    pub(crate) fn is_attached(&self) -> bool {
        self.lock().held.is_some()
    }

    /// Session and channel of the client that holds it.
    pub(crate) fn client(&self) -> Option<(u64, u32)> {
        let state = self.lock();
        let attached = &state.held.as_ref()?.attached;
        Some((attached.session?, attached.channel))
    }

    /// The next sequence to start, and the first that does not exist yet as far as is known here.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        (state.delivery.next(), state.delivery.tail())
    }

    /// First sequence that nobody was sent in this life of the broker.
    pub(crate) fn started_below(&self) -> u64 {
        self.lock().delivery.started_below()
    }

    /// What lies below may have been sent in a former life of the broker.
    pub(crate) fn suspect(&self, below: u64) {
        self.lock().delivery.suspect(below);
    }

    /// First sequence that nobody was sent, in this life or a former one, as far as is known.
    pub(crate) fn maybe_started_below(&self) -> u64 {
        self.lock().delivery.maybe_started_below()
    }

    /// First sequence that may not be acked yet.
    pub(crate) fn ackable_below(&self) -> u64 {
        self.lock().delivery.ackable_below()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mailboxes that have an owner here, by their numbers.
#[derive(Default)]
pub(crate) struct Directory(Mutex<BTreeMap<MailboxId, Weak<Mailbox>>>);

impl Directory {
    /// Finds the owner of a mailbox, or makes it (see [`Mailbox::new`]).
    pub(crate) fn add(
        &self,
        id: MailboxId,
        kind: MailboxKind,
        tail: u64,
        reader: Arc<Reader>,
    ) -> Arc<Mailbox> {
        let mut known = self.lock();
        if let Some(mailbox) = known.get(&id).and_then(Weak::upgrade) {
            return mailbox;
        }
        let mailbox = Mailbox::new(id, kind, tail, reader);
        known.insert(id, Arc::downgrade(&mailbox));
        mailbox
    }

    pub(crate) fn get(&self, id: MailboxId) -> Option<Arc<Mailbox>> {
        self.lock().get(&id)?.upgrade()
    }

    /// The mailbox is no more.
    pub(crate) fn remove(&self, id: MailboxId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<MailboxId, Weak<Mailbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that an event in memory is charged for.
fn hot_charge(event: &Event) -> usize {
    event.body.len() + EVENT_CHARGE
}

impl Held {
    /// Keeps the event of an entry, where it follows on what is kept, or on what is started next.
    fn keep_hot(&mut self, next: u64, sequence: u64, event: &Arc<Event>) {
        let follows = match self.hot.back() {
            Some((last, _)) => last + 1 == sequence,
            None => next == sequence,
        };
        if follows && self.hot_bytes + hot_charge(event) <= HOT_BYTES_MAX {
            let is_waiting = self.hot_bytes > HOT_DETACH_ABOVE_BYTES;
            let event = if is_waiting { Arc::new(event.detached()) } else { Arc::clone(event) };
            self.hot_bytes += hot_charge(&event);
            self.hot.push_back((sequence, event));
        }
    }

    fn pop_hot(&mut self) -> Option<(u64, Arc<Event>)> {
        let (sequence, event) = self.hot.pop_front()?;
        self.hot_bytes -= hot_charge(&event);
        Some((sequence, event))
    }

    fn forget_before(&mut self, next: u64) {
        while self.hot.front().is_some_and(|(sequence, _)| *sequence < next) {
            self.pop_hot();
        }
    }

    fn forget(&mut self, (first, last): (u64, u64)) {
        let (mut kept, mut bytes) = (std::mem::take(&mut self.hot), self.hot_bytes);
        kept.retain(|(sequence, event)| {
            let is_gone = (first..=last).contains(sequence);
            bytes -= if is_gone { hot_charge(event) } else { 0 };
            !is_gone
        });
        (self.hot, self.hot_bytes) = (kept, bytes);
    }
}

impl State {
    fn start_cold(
        &mut self,
        entries: &[(MailboxSequence, Position, u32)],
        tail: u64,
        credit: &mut fanal_core::Credit,
        out: &mut Vec<Entry>,
    ) {
        if entries.is_empty() {
            // Everything up to the tail was acked, expired or dropped meanwhile.
            self.delivery.skip_to(tail);
            return;
        }
        for &(sequence, position, bytes) in entries {
            if !credit.is_open() {
                return;
            }
            let charged = u64::from(bytes);
            credit.charge(charged);
            let attempt = self.delivery.on_started(sequence.0);
            out.push(Entry { sequence: sequence.0, attempt, charged, source: Source::Cold(position, bytes) });
        }
    }
}
