//! Mailboxes held against their limits, by the log writer.
//!
//! Invariants:
//! 1. Publishers are not refused here: what came is stored, then the oldest gives way.
//! 2. What gives way stands first in a batch and is chosen from the store as it is, so that nothing
//!    else of the batch can have taken it: what is counted is what goes.
//! 3. A mailbox is looked at when something came to it or its limits changed, and at the start; one
//!    that held too much is looked at again until it no longer does.
//! 4. An age is looked at by the clock, every second in some thousands of mailboxes, in turn: the events
//!    at their heads are read for it, each once.
//! 5. An operator's rule is the exception from 1: on its topics a publisher is refused when a mailbox
//!    is full.
//!
//! How much is too much the core decides ([`fanal_core::limits`]). No clock is read here: the simulator
//! compiles this file as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fanal_core::age::AgeClock;
use fanal_core::event::Millis;
use fanal_core::home::{Burial, RANGES_MAX, Requeued};
use fanal_core::limits::{Limits, Reason, Surplus, WhenFull, share_out};
use fanal_core::{Event, Home, MailboxId};
use fanal_matching::{Topic, TopicFilter};
use fanal_protocol::Code;
use fanal_store::{Batch, MailboxSequence, MailboxStats, Position, Reader, RemovalIndex};

use crate::config;
use crate::mailbox::{Directory, Mailbox};

// Said for the simulator, which compiles this file from elsewhere.
#[path = "limits/store.rs"]
mod store;

use store::Queued;

/// Entries that give way in one batch at most, so that others need not wait long for theirs; fewer
/// where segments are small, since a batch lies in one.
const ENTRIES_PER_BATCH: usize = 32_768;
/// Entries looked up at once.
const ENTRIES_PER_LOOK: usize = 1_024;
/// Entries looked up first: most looks need few.
const ENTRIES_AT_FIRST: usize = 16;
/// Events read for one batch, or one look, to see how old they are.
pub(super) const READS_PER_LOOK: usize = 512;
/// Mailboxes whose ages are looked at in one look.
const MAILBOXES_PER_LOOK: usize = 8_192;
/// Of a segment, what those that give way may take at most in one batch: it goes beside requests.
const BATCH_SHARE: u64 = 8;
/// Bytes that one entry takes at most to leave its mailbox: a range of its own, and that of a dead letter.
const ENTRY_BYTES: usize = 64;
/// Bytes that a mailbox takes beside, for each reason: what it lost, and ranges of dead letters with its name.
const MAILBOX_BYTES: usize = 1_024;
/// Of the store, unless configured: a tenth.
const DEFAULT_SHARE: u64 = 10;
/// Longest time between the first and the last dead letter of which one record is kept.
const SPAN_MS_MAX: Millis = 3_600_000;

/// What mailboxes may hold at this broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Those of subscriptions and peers, each; what a subscription chose may be lower.
    pub(crate) mailbox: Limits,
    /// The dead letters'.
    pub(crate) letters: Limits,
    /// What is older is dropped, wherever it waits.
    pub(crate) store_age_ms: Option<Millis>,
}

impl Bounds {
    fn of(configured: &config::Limits, capacity: Option<u64>) -> Bounds {
        let share = capacity.map(|capacity| capacity / DEFAULT_SHARE);
        let store_age_ms = configured.store_age_ms;
        let of_store = Limits { age_ms: store_age_ms, ..Limits::default() };
        let mailbox = configured.mailbox.within(&of_store);
        let mut bounds = Bounds { mailbox, letters: configured.dead_letters, store_age_ms };
        bounds.mailbox.bytes = bounds.mailbox.bytes.or(share);
        bounds.letters.bytes = bounds.letters.bytes.or(share);
        bounds
    }

    /// What holds for a mailbox.
    pub(crate) fn limits(&self, home: &Home, mailbox: MailboxId) -> Limits {
        match home.dead_letters() == Some(mailbox) {
            true => self.letters,
            false => home.keep(mailbox).limits.within(&self.mailbox),
        }
    }
}

/// Bytes that the store in `data` can have: up to its limit, or to the size of the disk. What others
/// have on that disk makes it no smaller: a disk that others fill is no reason to give events away.
pub(crate) fn capacity(data: &Path, limit: Option<u64>) -> Option<u64> {
    let disk = rustix::fs::statvfs(data).ok();
    let whole = disk.map(|disk| {
        let kept_for_root = disk.f_bfree.saturating_sub(disk.f_bavail);
        disk.f_blocks.saturating_sub(kept_for_root).saturating_mul(disk.f_frsize)
    });
    whole.into_iter().chain(limit).min()
}

/// Publishers on these topics are refused when a mailbox is full.
pub(crate) struct Rule {
    name: String,
    topic: TopicFilter,
}

impl Rule {
    /// Reads the rules of a configuration.
    ///
    /// # Errors
    /// Which one has no topic filter, and why.
    pub(crate) fn read(rules: &[config::RuleConfig]) -> Result<Vec<Rule>, String> {
        let read = |rule: &config::RuleConfig| match TopicFilter::parse(&rule.topic) {
            Ok(topic) => Ok(Rule { name: rule.name.clone(), topic }),
            Err(error) => Err(format!("rule `{}`: {error}", rule.name)),
        };
        rules.iter().map(read).collect()
    }

    fn is_for(&self, topic: &str) -> bool {
        Topic::parse(topic).is_ok_and(|topic| self.topic.matches(&topic))
    }
}

/// Whose entries they are, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Subscription,
    Peer,
    DeadLetters,
}

/// What becomes of entries that give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    DeadLettered,
    Dropped,
}

/// Entries of a mailbox that give way with a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GivenWay {
    pub(crate) mailbox: MailboxId,
    pub(crate) of: Of,
    pub(crate) range: (u64, u64),
    pub(crate) bytes: u64,
    pub(crate) fate: Fate,
    pub(crate) reason: Reason,
    pub(crate) removal: RemovalIndex,
}

/// An entry as it is looked at.
struct Seen {
    sequence: u64,
    position: Position,
    bytes: u64,
}

/// Whether what is there `since` then is older than it may be.
fn is_old(since: Millis, age: Millis, now: Millis) -> bool {
    now.saturating_sub(since) > age
}

/// An entry that goes: its sequence, and the bytes of its event.
type Chosen = (u64, u64);

/// Entries that leave their mailbox without its destination.
#[derive(Clone, Copy)]
struct Leaving<'a> {
    chosen: &'a [Chosen],
    reason: Reason,
    /// They are too old for the whole store.
    is_spent: bool,
}

/// When events were accepted, as far as they were read for one batch or one look. An event that many
/// mailboxes hold is read once.
struct Births {
    known: HashMap<Position, Option<Millis>>,
    reads: usize,
}

impl Births {
    fn new() -> Births {
        Births { known: HashMap::new(), reads: READS_PER_LOOK }
    }

    /// The inner one is `None` where the event cannot be read, and so not be judged; the outer one where
    /// enough was read.
    fn of(&mut self, reader: &Reader, position: Position) -> Option<Option<Millis>> {
        if let Some(known) = self.known.get(&position) {
            return Some(*known);
        }
        self.reads = self.reads.checked_sub(1)?;
        let record = reader.read(position).ok();
        let event = record.and_then(|record| Event::decode(&record).ok());
        let birth = event.map(|event| event.accepted_at);
        self.known.insert(position, birth);
        Some(birth)
    }

    /// Nothing was read yet.
    fn are_fresh(&self) -> bool {
        self.reads == READS_PER_LOOK
    }
}

/// How much may still give way in one batch.
struct Allowance {
    entries: usize,
    bytes: usize,
}

impl Allowance {
    fn of(segment_bytes: u64) -> Allowance {
        let bytes = usize::try_from(segment_bytes / BATCH_SHARE).unwrap_or(usize::MAX);
        Allowance { entries: ENTRIES_PER_BATCH, bytes }
    }

    /// Entries that one more mailbox may give.
    fn left(&self) -> usize {
        self.entries.min(self.bytes.saturating_sub(MAILBOX_BYTES) / ENTRY_BYTES)
    }

    fn take(&mut self, entries: usize) {
        if entries > 0 {
            self.entries = self.entries.saturating_sub(entries);
            self.bytes = self.bytes.saturating_sub(MAILBOX_BYTES + entries * ENTRY_BYTES);
        }
    }
}

/// What of a mailbox must go besides what is too much.
#[derive(Debug, Clone, Default)]
struct Over {
    /// Events that are more than it may hold at all.
    too_large: BTreeSet<u64>,
    /// Its first event is too old.
    is_old: bool,
    /// What it gives for the store.
    for_store: Surplus,
}

/// What may still come to a mailbox before it must be looked at.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Bytes that one event may have at all.
    one: u64,
    events: u64,
    bytes: u64,
}

impl Room {
    /// Takes room for one event; false: there was not enough.
    fn take(&mut self, bytes: u64) -> bool {
        let fits = self.events > 0 && self.bytes >= bytes;
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        fits
    }
}

/// See the module.
pub(super) struct LimitKeeper {
    configured: config::Limits,
    data: PathBuf,
    bounds: Bounds,
    /// Bytes that the store can have.
    capacity: Option<u64>,
    rules: Vec<Rule>,
    reader: Reader,
    directory: Arc<Directory>,
    /// What may come to mailboxes before they must be looked at. An ack makes more of it only when it
    /// is used up and taken anew.
    rooms: HashMap<MailboxId, Room>,
    /// Mailboxes to be looked at once the batch being built is durable.
    touched: BTreeSet<MailboxId>,
    /// Those of them that have other limits, or events of which nobody knows how large they are.
    renewed: BTreeSet<MailboxId>,
    /// Events of that batch that are more than their mailbox may hold at all.
    too_large: BTreeMap<MailboxId, BTreeSet<u64>>,
    /// Events and bytes that it brings, where there are rules.
    staged: BTreeMap<MailboxId, (u64, u64)>,
    /// Mailboxes of which something must go.
    over: BTreeMap<MailboxId, Over>,
    /// Those that wait for the dead letters' mailbox, which cannot be made on a full disk.
    waiting: BTreeMap<MailboxId, Over>,
    /// Heads of mailboxes, and when the first event from there on that can be read was accepted.
    heads: BTreeMap<MailboxId, (Position, Millis)>,
    /// When the first event of each range of dead letters was accepted, as far as it is known; `None`: no
    /// event of it can be read.
    letter_births: BTreeMap<u64, Option<Millis>>,
    queued: Queued,
    /// Where the next look for old events begins.
    look_from: MailboxId,
    /// The time for ages.
    age: AgeClock,
    told: Duration,
    /// Mailboxes that the batch being built deals with.
    planned: Vec<MailboxId>,
    /// The last batch could not be written.
    is_held_up: bool,
}

impl LimitKeeper {
    pub(super) fn new(
        configured: config::Limits,
        data: PathBuf,
        reader: Reader,
        directory: Arc<Directory>,
        age: AgeClock,
        rules: Vec<Rule>,
    ) -> Self {
        LimitKeeper {
            bounds: Bounds::of(&configured, None),
            configured,
            data,
            capacity: None,
            rules,
            reader,
            directory,
            rooms: HashMap::new(),
            touched: BTreeSet::new(),
            renewed: BTreeSet::new(),
            too_large: BTreeMap::new(),
            staged: BTreeMap::new(),
            over: BTreeMap::new(),
            waiting: BTreeMap::new(),
            heads: BTreeMap::new(),
            letter_births: BTreeMap::new(),
            // Counted at the first look.
            queued: Queued::unknown(),
            look_from: MailboxId(0),
            age,
            told: Duration::ZERO,
            planned: Vec::new(),
            is_held_up: false,
        }
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Takes the size of the store anew, of which the default limits are shares. Looks at all
    /// mailboxes if a limit changed. O(mailboxes) then.
    pub(super) fn measure(&mut self, home: &Home) {
        self.capacity = capacity(&self.data, self.configured.store_bytes);
        let bounds = Bounds::of(&self.configured, self.capacity);
        if self.bounds != bounds {
            self.bounds = bounds;
            self.rooms.clear();
            self.look_at_all(home);
        }
        self.look_at_queued(home);
    }

    pub(super) fn look_at_all(&mut self, home: &Home) {
        for (id, _) in self.reader.mailboxes() {
            self.look_at(home, MailboxId(id.0));
            self.find_too_large(home, MailboxId(id.0));
        }
    }

    /// Looks in a mailbox that holds too much for events that are more than it may hold at all: after a
    /// start, or with other limits, nobody remembers them. O(its entries).
    fn find_too_large(&mut self, home: &Home, id: MailboxId) {
        let limits = self.bounds.limits(home, id);
        if limits.bytes.is_none() || !self.over.contains_key(&id) {
            return;
        }
        let mut found = Vec::new();
        self.visit(id, |entry| {
            found.extend(limits.is_too_large(entry.bytes).then_some(entry.sequence));
            true
        });
        self.over.entry(id).or_default().too_large.extend(found);
    }

    /// Whether a mailbox is known to hold too much, and something can be done about it now.
    pub(super) fn has_work(&self) -> bool {
        !self.over.is_empty() && !self.is_held_up
    }

    /// An entry of so many bytes comes to a mailbox with the batch being built. O(1) as long as there
    /// is room for it.
    pub(super) fn on_enqueued(&mut self, home: &Home, mailbox: MailboxId, sequence: u64, bytes: u64) {
        if !self.rules.is_empty() {
            let staged = self.staged.entry(mailbox).or_default();
            *staged = (staged.0 + 1, staged.1 + bytes);
        }
        self.on_entry();
        if !self.rooms.contains_key(&mailbox) {
            self.rooms.insert(mailbox, self.room(home, mailbox));
        }
        let Some(room) = self.rooms.get_mut(&mailbox) else { return };
        if !room.take(bytes) {
            self.touched.insert(mailbox);
        }
        if bytes > room.one {
            self.touched.insert(mailbox);
            self.too_large.entry(mailbox).or_default().insert(sequence);
        }
    }

    fn room(&self, home: &Home, id: MailboxId) -> Room {
        let limits = self.bounds.limits(home, id);
        let (events, bytes) =
            self.reader.mailbox(store_id(id)).map_or((0, 0), |stats| (stats.events, stats.bytes));
        let left = |limit: Option<u64>, held: u64| limit.map_or(u64::MAX, |limit| limit.saturating_sub(held));
        let one = limits.bytes.unwrap_or(u64::MAX);
        Room { one, events: left(limits.events, events), bytes: left(limits.bytes, bytes) }
    }

    /// Why an event of so many bytes may not come to these mailboxes: a rule is for its topic, and
    /// one of them is full, what the batch being built brings counted. O(rules + mailboxes).
    pub(super) fn check_rules(
        &self,
        home: &Home,
        topic: &str,
        bytes: u64,
        mailboxes: &[Arc<Mailbox>],
    ) -> Option<(Code, String)> {
        let rule = self.rules.iter().find(|rule| rule.is_for(topic))?;
        mailboxes.iter().find_map(|mailbox| {
            let id = mailbox.id;
            let (limits, stats) = (self.bounds.limits(home, id), self.reader.mailbox(store_id(id))?);
            let coming = self.staged.get(&id).copied().unwrap_or_default();
            let (events, held) = (stats.events + coming.0 + 1, stats.bytes + coming.1 + bytes);
            let whose = || {
                let name = home.destination(id).map(|to| to.name().to_owned()).unwrap_or_default();
                format!("rule `{}`: the mailbox of `{name}`", rule.name)
            };
            if limits.is_too_large(bytes) {
                let reason = format!("{} never holds an event of {bytes} bytes", whose());
                return Some((Code::TooLarge, reason));
            }
            limits.surplus(events, held).map(|_| {
                (Code::StoreFull, format!("{} is full: its subscriber must drain it first", whose()))
            })
        })
    }

    /// Dead letters come back to their mailbox with the batch being built. O(letters).
    pub(super) fn on_requeued(&mut self, home: &Home, letters: MailboxId, back: &Requeued) {
        let (first, last) = back.range;
        let mut came = Vec::new();
        self.visit_from(letters, first, |entry| {
            let is_meant = entry.sequence <= last;
            if is_meant {
                came.push((back.first + (entry.sequence - first), entry.bytes));
            }
            is_meant
        });
        // Letters that came with the batch itself are not there to be seen yet.
        self.on_other_limits(back.to);
        came.into_iter().for_each(|(sequence, bytes)| self.on_enqueued(home, back.to, sequence, bytes));
    }

    /// Entries come to a mailbox with the batch being built, or it goes.
    pub(super) fn on_changed(&mut self, mailbox: MailboxId) {
        self.touched.insert(mailbox);
    }

    /// A mailbox has other limits with the batch being built.
    pub(super) fn on_other_limits(&mut self, mailbox: MailboxId) {
        self.touched.insert(mailbox);
        self.renewed.insert(mailbox);
    }

    /// The batch is durable: looks at what it touched. O(mailboxes touched).
    pub(super) fn on_committed(&mut self, home: &Home) {
        self.is_held_up = false;
        for id in std::mem::take(&mut self.planned) {
            // There may be more that is old: the next batch tells.
            let is_old = self.over.remove(&id).is_some_and(|over| over.is_old);
            self.look_at(home, id);
            if is_old {
                self.over.entry(id).or_default().is_old = true;
            }
        }
        for (id, too_large) in std::mem::take(&mut self.too_large) {
            self.over.entry(id).or_default().too_large.extend(too_large);
        }
        for id in std::mem::take(&mut self.touched) {
            self.look_at(home, id);
        }
        for id in std::mem::take(&mut self.renewed) {
            self.find_too_large(home, id);
        }
        self.staged.clear();
        self.on_batch_over();
        self.look_at_queued(home);
    }

    /// The batch was not written: nothing more is done until another one is.
    pub(super) fn on_rolled_back(&mut self) {
        self.is_held_up = true;
        self.planned.clear();
        self.touched.clear();
        self.renewed.clear();
        self.too_large.clear();
        self.staged.clear();
        self.on_batch_over();
    }

    fn look_at(&mut self, home: &Home, id: MailboxId) {
        self.rooms.remove(&id);
        let Some(stats) = self.reader.mailbox(store_id(id)) else { return };
        let is_over = self.bounds.limits(home, id).surplus(stats.events, stats.bytes).is_some()
            || surplus_letters(home, id).is_some();
        if is_over {
            self.over.entry(id).or_default();
        }
    }

    /// The wall clock says `wall`, `passed` after this was made.
    fn tell_time(&mut self, wall: Millis, passed: Duration) {
        // Whole milliseconds, and what is left of them counts next time.
        let elapsed = passed.saturating_sub(self.told).as_millis() as u64;
        self.told += Duration::from_millis(elapsed);
        self.age.advance(wall, elapsed);
    }

    /// Looks for mailboxes whose first event is too old, some of them at a time, and goes on there at the
    /// next call. O(mailboxes that are looked at), and reads so many events of heads that are new at most.
    pub(super) fn look_for_old(&mut self, home: &mut Home, wall: Millis, passed: Duration) {
        self.over.append(&mut self.waiting);
        self.tell_time(wall, passed);
        home.note_time(self.age.mark());
        let mut births = Births::new();
        let from = std::mem::replace(&mut self.look_from, MailboxId(0));
        let turn: Vec<MailboxId> = home.mailboxes_from(from).take(MAILBOXES_PER_LOOK + 1).collect();
        for (looked, id) in turn.into_iter().enumerate() {
            if looked == MAILBOXES_PER_LOOK || !self.look_at_age(home, id, &mut births) {
                self.look_from = id;
                return;
            }
        }
        // All of them had their turn: what is known of those that are gone is not needed.
        self.heads.retain(|id, _| home.tail(*id).is_some());
    }

    /// Whether the first event is too old; false where enough was read to tell.
    fn look_at_age(&mut self, home: &Home, id: MailboxId, births: &mut Births) -> bool {
        let is_dead_letters = home.dead_letters() == Some(id);
        if is_dead_letters {
            match self.has_spent_letters(home, births) {
                Some(true) => self.over.entry(id).or_default().is_old = true,
                Some(false) => {}
                None => return false,
            }
        }
        let Some(age) = self.bounds.limits(home, id).age_ms else {
            self.heads.remove(&id);
            return true;
        };
        let since = match is_dead_letters {
            true => home.letters().next().map(|(_, letters)| letters.until),
            false => {
                let had_all = births.are_fresh();
                match self.head_accepted_at(id, births) {
                    Some(since) => since,
                    // Where all of that was not enough, what stands first cannot be read.
                    None => return had_all,
                }
            }
        };
        if since.is_some_and(|since| is_old(since, age, self.age.now())) {
            self.over.entry(id).or_default().is_old = true;
        }
        true
    }

    /// When the first event that can be read was accepted; the inner one is `None` where there is none,
    /// the outer one where enough was read.
    fn head_accepted_at(&mut self, id: MailboxId, births: &mut Births) -> Option<Option<Millis>> {
        let Some(head) = self.reader.mailbox(store_id(id)).and_then(|stats| stats.head) else {
            return Some(None);
        };
        if let Some((known, accepted_at)) = self.heads.get(&id)
            && *known == head
        {
            return Some(Some(*accepted_at));
        }
        let mut found = Some(None);
        self.visit(id, |entry| {
            found = births.of(&self.reader, entry.position);
            found == Some(None)
        });
        if let Some(Some(accepted_at)) = found {
            self.heads.insert(id, (head, accepted_at));
        }
        found
    }

    /// The entries that are too old for the store, and those that are only too old for their mailbox, but
    /// for those that go anyway.
    fn choose_old(
        &self,
        home: &Home,
        id: MailboxId,
        but: &[Chosen],
        max: usize,
        births: &mut Births,
    ) -> (Vec<Chosen>, Vec<Chosen>) {
        let (mut spent, mut old, now) = (Vec::new(), Vec::new(), self.age.now());
        let age = self.bounds.limits(home, id).age_ms.unwrap_or(Millis::MAX);
        if home.dead_letters() == Some(id) {
            return (Vec::new(), self.choose_old_letters(home, id, (age, now), but, max, births));
        }
        self.visit(id, |entry| {
            if spent.len() + old.len() >= max {
                return false;
            }
            if but.binary_search_by_key(&entry.sequence, |chosen| chosen.0).is_ok() {
                return true;
            }
            let Some(birth) = births.of(&self.reader, entry.position) else { return false };
            // One that cannot be read stays where it is.
            let Some(since) = birth else { return true };
            if !is_old(since, age, now) {
                return false;
            }
            let is_spent = self.bounds.store_age_ms.is_some_and(|age| is_old(since, age, now));
            if is_spent { &mut spent } else { &mut old }.push((entry.sequence, entry.bytes));
            true
        });
        (spent, old)
    }

    /// Dead letters that have been there for longer than `age`, and such as are too old for the store.
    fn choose_old_letters(
        &self,
        home: &Home,
        id: MailboxId,
        (age, now): (Millis, Millis),
        but: &[Chosen],
        max: usize,
        births: &mut Births,
    ) -> Vec<Chosen> {
        let old = home.letters().take_while(|(_, letters)| is_old(letters.until, age, now)).last();
        let old_through = old.map_or(0, |(_, letters)| letters.last);
        let is_new = |sequence: u64| but.binary_search_by_key(&sequence, |chosen| chosen.0).is_err();
        let mut chosen = Vec::new();
        self.visit(id, |entry| {
            let is_old = entry.sequence <= old_through && chosen.len() < max;
            if is_old && is_new(entry.sequence) {
                chosen.push((entry.sequence, entry.bytes));
            }
            is_old
        });
        let left = max - chosen.len();
        let spent = self.choose_spent_letters(home, old_through, left, births);
        chosen.extend(spent.into_iter().filter(|(sequence, _)| is_new(*sequence)));
        chosen
    }

    /// Puts into an empty batch what must give way now.
    pub(super) fn give_way(&mut self, home: &mut Home, now: Millis, batch: &mut Batch) -> Vec<GivenWay> {
        let mut out = Vec::new();
        let mut room = Allowance::of(self.configured.segment_bytes);
        let mut births = Births::new();
        let mut over = std::mem::take(&mut self.over);
        while room.left() > 0
            && births.reads > 0
            && let Some((id, more)) = over.pop_first()
        {
            let chosen = self.choose(home, id, &more.too_large, room.left());
            room.take(chosen.len());
            let had_all = births.are_fresh();
            let (spent, old) = match more.is_old {
                true => self.choose_old(home, id, &chosen, room.left(), &mut births),
                false => (Vec::new(), Vec::new()),
            };
            room.take(spent.len());
            room.take(old.len());
            let before = out.len();
            if more.for_store != Surplus::default() {
                let mut but = [&chosen[..], &spent[..], &old[..]].concat();
                but.sort_unstable();
                let for_store = self.choose_for_store(id, &but, more.for_store, room.left());
                room.take(for_store.len());
                let leaving = Leaving { chosen: &for_store, reason: Reason::Store, is_spent: false };
                self.depart(home, id, leaving, now, batch, &mut out);
            }
            for (chosen, reason, is_spent) in
                [(&chosen, Reason::Full, false), (&spent, Reason::Age, true), (&old, Reason::Age, false)]
            {
                self.depart(home, id, Leaving { chosen, reason, is_spent }, now, batch, &mut out);
            }
            let is_put_off = more.is_old && births.reads == 0 && !had_all;
            if out.len() > before {
                self.planned.push(id);
            } else if !is_put_off {
                if home.dead_letters().is_none() {
                    self.waiting.insert(id, more);
                }
                continue;
            }
            // Until the batch is durable, it still holds too much.
            self.over.insert(id, more);
        }
        self.over.append(&mut over);
        out
    }

    /// The oldest entries that are too much, and those that are too large; at most `max`.
    fn choose(&self, home: &Home, id: MailboxId, too_large: &BTreeSet<u64>, max: usize) -> Vec<Chosen> {
        let Some(stats) = self.reader.mailbox(store_id(id)) else { return Vec::new() };
        let limits = self.bounds.limits(home, id);
        let mut chosen = Vec::new();
        for &sequence in too_large {
            let entry = self.reader.entries_within(store_id(id), MailboxSequence(sequence), 1, u64::MAX);
            // The limits may be others than those for which it was too large.
            let is_meant = |(at, bytes): &Chosen| *at == sequence && limits.is_too_large(*bytes);
            chosen.extend(entry.first().map(|&(at, _, n)| (at.0, n.into())).filter(is_meant));
        }
        let too_large: BTreeSet<u64> = chosen.iter().map(|(sequence, _)| *sequence).collect();
        let alone: u64 = chosen.iter().map(|(_, bytes)| bytes).sum();
        let rest = (stats.events - chosen.len() as u64, stats.bytes.saturating_sub(alone));
        let mut surplus = limits.surplus(rest.0, rest.1).unwrap_or_default();
        let through = surplus_letters(home, id).unwrap_or(0);
        self.visit(id, |Seen { sequence, bytes, .. }| {
            if too_large.contains(&sequence) {
                return chosen.len() < max;
            }
            let is_wanted = chosen.len() < max && (surplus.take(bytes) || sequence <= through);
            if is_wanted {
                chosen.push((sequence, bytes));
            }
            is_wanted
        });
        chosen.sort_unstable();
        chosen
    }

    /// Shows entries from the oldest on, until `see` says false.
    fn visit(&self, id: MailboxId, see: impl FnMut(Seen) -> bool) {
        self.visit_from(id, 0, see);
    }

    fn visit_from(&self, id: MailboxId, first: u64, mut see: impl FnMut(Seen) -> bool) {
        let (mut from, mut count) = (MailboxSequence(first), ENTRIES_AT_FIRST);
        loop {
            let entries = self.reader.entries_within(store_id(id), from, count, u64::MAX);
            let Some((last, ..)) = entries.last() else { return };
            from = MailboxSequence(last.0 + 1);
            count = (count * 4).min(ENTRIES_PER_LOOK);
            let mut seen = entries.into_iter().map(|(sequence, position, bytes)| Seen {
                sequence: sequence.0,
                position,
                bytes: bytes.into(),
            });
            if !seen.all(&mut see) {
                return;
            }
        }
    }

    /// Has entries leave their mailbox, the way that its destination chose.
    fn depart(
        &mut self,
        home: &mut Home,
        id: MailboxId,
        Leaving { chosen, reason, is_spent }: Leaving<'_>,
        now: Millis,
        batch: &mut Batch,
        out: &mut Vec<GivenWay>,
    ) {
        let of = match home.destination(id) {
            Some(fanal_core::home::Destination::Peer(_)) => Of::Peer,
            Some(_) => Of::Subscription,
            None if home.dead_letters() == Some(id) => Of::DeadLetters,
            // Damage took what was known of it: what it holds is kept.
            None => return,
        };
        let is_dropped = is_spent || of == Of::DeadLetters || home.keep(id).when_full == WhenFull::DropOldest;
        let letters = home.dead_letters().filter(|_| !is_dropped);
        if letters.is_none() && !is_dropped {
            return; // Until their mailbox can be made.
        }
        let started_below = self.directory.get(id).map_or(0, |mailbox| mailbox.started_below());
        let fate = |&(sequence, bytes): &Chosen| match letters {
            Some(_) if !self.bounds.letters.is_too_large(bytes) => {
                (Fate::DeadLettered, u32::from(sequence < started_below))
            }
            _ => (Fate::Dropped, 0),
        };
        let span_ms = self.bounds.letters.age_ms.map_or(SPAN_MS_MAX, |age| SPAN_MS_MAX.min(age / 64));
        for run in chosen.chunk_by(|one, next| one.0 + 1 == next.0 && fate(one) == fate(next)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let (fate, attempts) = fate(first);
            let (range, events) = ((first.0, last.0), run.len() as u64);
            let bytes = run.iter().map(|(_, bytes)| bytes).sum();
            let removal = match fate {
                Fate::DeadLettered => {
                    let burial = Burial { events, reason, attempts, now, span_ms };
                    home.bury(id, burial).and_then(|(to, at)| {
                        let at = MailboxSequence(at);
                        batch.transfer(store_id(id), range.0..=range.1, store_id(to), at)
                    })
                }
                Fate::Dropped => {
                    home.count_dropped(id, events, reason);
                    if of == Of::DeadLetters {
                        home.forget_letters(range.0, range.1);
                    }
                    batch.acked(store_id(id), range.0..=range.1)
                }
            };
            out.extend(removal.map(|removal| GivenWay {
                mailbox: id,
                of,
                range,
                bytes,
                fate,
                reason,
                removal,
            }));
        }
        if let Some(letters) = letters {
            self.touched.insert(letters);
        }
    }
}

/// Up to which number dead letters are too many to know each range of them.
fn surplus_letters(home: &Home, id: MailboxId) -> Option<u64> {
    let too_many = home.letter_ranges().checked_sub(RANGES_MAX + 1)?;
    if home.dead_letters() != Some(id) {
        return None;
    }
    home.letters().nth(too_many + RANGES_MAX / 64).map(|(_, letters)| letters.last)
}

fn store_id(id: MailboxId) -> fanal_store::MailboxId {
    fanal_store::MailboxId(id.0)
}
