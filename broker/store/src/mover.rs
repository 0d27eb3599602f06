//! Moving what still lives out of old segments, so that they can be taken back.
//!
//! One entry keeps its event, and the event its segment: without this a mailbox that nobody reads
//! could hold a segment with each of its entries. While the old segments (those that no checkpoint
//! needs) take more than twice the bytes that live in them, or the store is full, the emptiest one is
//! chosen, looked at, and what lives there is written again, a piece after each commit.
//!
//! Invariants:
//! 1. An entry keeps its mailbox and its sequence: its position changes, once the copy is durable.
//! 2. A segment is looked at before it is moved, and moved only if that frees half of it or more.
//! 3. What was found is remembered: a segment is not looked at again before half of the entries that
//!    it had then are gone, and not moved twice. Nothing is moved in a circle.
//!
//! How much lives in a segment is first supposed, from the share of its entries that are left and from
//! their bytes. Both are wrong where events have several entries. A look tells: one segment that is not
//! known is looked at with each segment that is begun and each checkpoint.

use std::collections::{BTreeMap, VecDeque};

use crate::batch::Batch;
use crate::error::CommitError;
use crate::format::{BATCH_HEADER, segment_capacity};
use crate::id::{MailboxId, Position};
use crate::index::locked;
use crate::mailbox::Held;
use crate::record::{LiveEntry, Sealed, put_moved};
use crate::store::Store;

/// Most bytes of events that are moved after one commit.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes that an entry takes where its event is written again.
const ENTRY_BYTES: u64 = 10;
/// Bytes that an event takes beside its body and its entries.
const EVENT_BYTES: u64 = 16;
/// A segment is looked at when its entries, so many bytes each, take no more memory than it has.
const LOOK_ENTRY_BYTES: u64 = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Mover {
    plan: Option<Plan>,
    /// What was found in segments, by index.
    looked: BTreeMap<u64, Looked>,
    /// Something has changed that may make a segment worth moving.
    is_due: bool,
    is_look_due: bool,
    /// Segments that had been taken back when there was no space to move into.
    stuck_at: Option<u64>,
}

/// What a look into a segment has shown.
#[derive(Clone, Copy, Debug)]
struct Looked {
    /// Entries and pages then.
    held: u64,
    /// Bytes that moving it takes.
    bytes: u64,
}

/// What is left to be moved out of a segment.
#[derive(Debug, Default)]
struct Plan {
    segment: u64,
    events: VecDeque<(Position, Live)>,
    /// Pages that have a copy there, by mailbox and first sequence.
    pages: Vec<(MailboxId, u64)>,
}

/// An event that lives.
#[derive(Debug, Default)]
struct Live {
    bytes: u64,
    entries: Vec<(MailboxId, u64)>,
}

impl Live {
    fn cost(&self) -> u64 {
        self.bytes + EVENT_BYTES + ENTRY_BYTES * self.entries.len() as u64
    }
}

impl Mover {
    /// A segment was begun, or a checkpoint is complete.
    pub(crate) fn on_progress(&mut self) {
        self.is_due = true;
        self.is_look_due = true;
    }

    /// A segment has left the log.
    pub(crate) fn forget(&mut self, segment: u64) {
        self.looked.remove(&segment);
    }
}

impl Store {
    /// Moves all that is left in one segment once the store is full: no event can be written meanwhile.
    pub(crate) fn move_when_full(&mut self) {
        for _ in 0..self.segment_bytes() / PIECE_BYTES as u64 + 4 {
            let was_moving = self.mover.plan.is_some();
            self.move_some();
            let may_go_on = self.mover.is_due && !was_moving;
            if self.mover.plan.is_none() && !may_go_on {
                return;
            }
        }
    }

    /// Moves a piece, if there is something to be moved. A failure shows at the next commit: what was
    /// committed before is durable.
    pub(crate) fn move_some(&mut self) {
        if self.stopped.is_some() || !self.has_plan() {
            return;
        }
        match self.move_piece() {
            Ok(()) => {}
            Err(CommitError::Stopped { .. }) => {}
            Err(_) => {
                // No space: again once there is some.
                if let Some(plan) = self.mover.plan.take() {
                    self.mover.looked.remove(&plan.segment);
                }
                self.mover.stuck_at = Some(self.counters.reclaimed);
            }
        }
    }

    fn has_plan(&mut self) -> bool {
        if self.mover.plan.is_some() {
            return true;
        }
        if self.mover.stuck_at == Some(self.counters.reclaimed) && self.fullness.is_full {
            return false;
        }
        // A plan fills half a segment at most: what is left of a last spare is for acks.
        let has_space = !self.fullness.is_full || self.keeper.spares() > 0;
        let is_due = self.mover.is_due || self.fullness.is_full;
        if !is_due || !has_space {
            return false;
        }
        self.mover.stuck_at = None;
        self.look_around();
        let chosen = self.choose();
        self.mover.is_due = chosen.is_some();
        self.mover.plan = chosen.and_then(|segment| self.look(segment));
        self.mover.plan.is_some()
    }

    /// Looks at one segment that is not known, so that what is supposed of it does not last.
    fn look_around(&mut self) {
        if std::mem::take(&mut self.mover.is_look_due)
            && let Some((_, segment)) = self.old().into_iter().filter(|(_, at)| self.may_look(*at)).min()
        {
            // What it shows is remembered; whether to move is decided later.
            let _ = self.look(segment);
        }
    }

    /// Segments that no checkpoint needs, and what lives in them.
    fn old(&self) -> Vec<(u64, u64)> {
        let kept_from = self.checkpoints.before.segment(self.segment_bytes()).min(self.active.index);
        self.table.below(kept_from).into_iter().map(|index| (self.lives(index), index)).collect()
    }

    /// The segment to move next: the old one in which least lives.
    fn choose(&self) -> Option<u64> {
        let size = self.segment_bytes();
        let old = self.old();
        let live: u64 = old.iter().map(|(bytes, _)| bytes).sum();
        let taken = old.iter().filter(|(bytes, _)| *bytes > 0).count() as u64 * size;
        let is_worth_it = taken > 2 * live + self.options.idle_segments * size;
        let is_needed = self.fullness.is_full && taken > live;
        let is_candidate = |index: &u64| self.may_look(*index) || self.may_move(*index);
        let candidates = old.into_iter().filter(|(_, index)| is_candidate(index));
        candidates.min().map(|(_, index)| index).filter(|_| is_worth_it || is_needed)
    }

    /// Bytes that live in a segment: at most what counting each entry gives, as a look has shown, or
    /// else by the share of its entries that are left.
    fn lives(&self, index: u64) -> u64 {
        let size = self.segment_bytes();
        let live = self.ledger.census.of(index);
        let page_bytes = self.options.page_entries as u64 * ENTRY_BYTES;
        let pages = live.pages * page_bytes;
        let counted = live.bytes + live.entries * (EVENT_BYTES + ENTRY_BYTES) + pages;
        let written = u128::from(self.ledger.census.written_to(index).max(1));
        let share = (u128::from(size) * u128::from(live.entries) / written) as u64;
        let supposed = self.mover.looked.get(&index).map_or(share + pages, |looked| looked.bytes);
        counted.min(supposed).min(size)
    }

    fn held(&self, index: u64) -> u64 {
        let live = self.ledger.census.of(index);
        live.entries + live.pages
    }

    /// Whether a look has shown that moving a segment frees half of it.
    fn may_move(&self, index: u64) -> bool {
        let looked = self.mover.looked.get(&index);
        self.held(index) > 0 && looked.is_some_and(|looked| looked.bytes <= self.segment_bytes() / 2)
    }

    fn may_look(&self, index: u64) -> bool {
        let held = self.held(index);
        let is_news = self.mover.looked.get(&index).is_none_or(|then| held <= then.held / 2);
        held > 0 && is_news && held * LOOK_ENTRY_BYTES <= self.segment_bytes()
    }

    /// What lives in a segment; none when moving it would free too little, or cannot free it.
    fn look(&mut self, segment: u64) -> Option<Plan> {
        let size = self.segment_bytes();
        let plan = self.survey(segment);
        let bytes = plan.as_ref().map_or(size, |plan| self.cost(plan));
        self.mover.looked.insert(segment, Looked { held: self.held(segment), bytes });
        plan.filter(|_| bytes <= size / 2)
    }

    fn cost(&self, plan: &Plan) -> u64 {
        let events: u64 = plan.events.iter().map(|(_, live)| live.cost()).sum();
        events + plan.pages.len() as u64 * self.options.page_entries as u64 * ENTRY_BYTES
    }

    /// What lives in a segment; none when a page that names it cannot be read: then that is not known.
    /// O(entries in memory), and a read for each page that names it.
    fn survey(&self, segment: u64) -> Option<Plan> {
        let size = self.segment_bytes();
        let mut events: BTreeMap<Position, Live> = BTreeMap::new();
        let mut pages = Vec::new();
        for (id, mailbox) in self.ledger.index.all() {
            let mut add = |entry: &LiveEntry| {
                if entry.position.segment(size) == segment {
                    let live = events.entry(entry.position).or_default();
                    live.bytes = u64::from(entry.bytes);
                    live.entries.push((id, entry.sequence.0));
                }
            };
            let mut named = Vec::new();
            locked(&mailbox).each(&mut |held| match held {
                Held::Entry(entry) => add(&entry),
                Held::Page(page) => {
                    if page.shares.iter().any(|share| share.segment == segment) {
                        named.push(page.clone());
                    }
                    if page.places().any(|copy| copy.segment(size) == segment) {
                        pages.push((id, page.first));
                    }
                }
            });
            for page in named {
                let entries = self.ledger.log().page(id, &page).ok()?;
                entries.iter().for_each(&mut add);
            }
        }
        Some(Plan { segment, events: events.into_iter().collect(), pages })
    }

    fn move_piece(&mut self) -> Result<(), CommitError> {
        let Some(mut plan) = self.mover.plan.take() else {
            return Ok(());
        };
        let piece = PIECE_BYTES.min(segment_capacity(self.segment_bytes()) as usize / 4);
        let mut batch = Batch::in_buffer(Vec::new());
        while batch.len_bytes() < piece
            && let Some((position, live)) = plan.events.pop_front()
        {
            self.move_event(&mut batch, position, &live);
        }
        if batch.is_empty() && !self.put_pages_again(&mut batch, &mut plan, piece) {
            self.mover.plan = Some(plan);
            return Ok(());
        }
        // Events may be refused for lack of space; what makes space may use the reserve.
        batch.is_essential = self.fullness.is_full;
        if batch.is_empty() {
            // What is left in it cannot be moved.
            let looked = Looked { held: self.held(plan.segment), bytes: self.segment_bytes() };
            self.mover.looked.insert(plan.segment, looked);
            return Ok(());
        }
        self.mover.plan = Some(plan);
        let appended = self.append(batch, 0)?;
        self.checkpoints.bytes_since += appended.bytes;
        self.counters.bytes_moved += appended.bytes;
        Ok(())
    }

    /// Writes an event again for those of its entries that are still there.
    fn move_event(&self, batch: &mut Batch, position: Position, live: &Live) {
        let is_there = |(id, sequence): &&(MailboxId, u64)| {
            let mailbox = self.ledger.index.get(*id);
            mailbox.is_some_and(|mailbox| locked(&mailbox).may_hold(*sequence, position))
        };
        let entries: Vec<_> = live.entries.iter().filter(is_there).copied().collect();
        if entries.is_empty() {
            return;
        }
        // One that cannot be read stays where it is, and says so to whoever asks for it.
        if let Ok(body) = self.ledger.log().read(position, Sealed::Event) {
            batch.records += 1;
            let mark = put_moved(&mut batch.bytes, BATCH_HEADER, &body, &entries);
            batch.events.push(mark);
        }
    }

    /// Writes pages of a plan again; false where it is too early for all that are left.
    fn put_pages_again(&self, batch: &mut Batch, plan: &mut Plan, piece: usize) -> bool {
        plan.pages.retain(|(id, first)| self.lies_in(*id, *first, plan.segment));
        let count = (piece / self.options.page_entries / 16).max(1);
        let may_go = |(id, first): &&(MailboxId, u64)| self.may_write_again(*id, *first);
        let pages: Vec<_> = plan.pages.iter().filter(may_go).take(count).copied().collect();
        pages.iter().for_each(|(id, first)| self.put_page_again(batch, *id, *first));
        !pages.is_empty() || plan.pages.is_empty()
    }

    fn copies(&self, id: MailboxId, first: u64) -> Option<[Position; 2]> {
        let mailbox = self.ledger.index.get(id)?;
        let mailbox = locked(&mailbox);
        mailbox.page(first).map(|page| page.copies)
    }

    /// Whether a page has a copy in a segment.
    fn lies_in(&self, id: MailboxId, first: u64, segment: u64) -> bool {
        let lies_there = |copy: &Position| copy.0 != 0 && copy.segment(self.segment_bytes()) == segment;
        self.copies(id, first).is_some_and(|copies| copies.iter().any(lies_there))
    }

    /// Whether another copy of a page lies far from the one that stays; a full store has no time to
    /// wait for that.
    fn may_write_again(&self, id: MailboxId, first: u64) -> bool {
        self.fullness.is_full || self.copies(id, first).is_some_and(|[youngest, _]| self.is_far(youngest))
    }

    fn put_page_again(&self, batch: &mut Batch, id: MailboxId, first: u64) {
        let mailbox = self.ledger.index.get(id);
        let page = mailbox.and_then(|mailbox| locked(&mailbox).page(first).cloned());
        if let Some(page) = page
            && let Ok(entries) = self.ledger.log().page(id, &page)
        {
            batch.page(id, &entries);
        }
    }
}
