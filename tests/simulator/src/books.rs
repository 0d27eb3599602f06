//! What every mailbox must hold, in plain maps beside the store: the ledger of each destination.
//!
//! The simulated shell says what it puts into a batch ([`Step`]), in the batch's order; what comes of it
//! is worked out here, and what the store, the home and the deliveries say is held against that.
//!
//! Checked:
//! 1. Each removal takes out as many entries as are there by these books.
//! 2. A start finds exactly what is here: every mailbox, number and event, with the batch that was
//!    being written when the broker ended, or without all of it; and no number is given again.
//! 3. What gives way is the oldest (but for single events that are larger than the whole limit), no
//!    more than a 64th beyond the limit, and the way that its destination chose; for its age only
//!    after that time, for the store only where it is nearly full.
//! 4. An event comes to a mailbox once, and again only by a requeue, or by a link of a sender whose
//!    store was repaired or whose dead letters were put back.
//! 5. What the home says that a mailbox lost, and whose the dead letters are and why, is so.
//! 6. Where nothing is under way no mailbox is above its limits, and else none for long.

use std::collections::{BTreeMap, BTreeSet};

use fanal_core::limits::{Limits, Losses, Reason};

use crate::oracle::EventNo;

/// Milliseconds of a day: what a start may add to the time by which ages are told.
const DAY_MS: u64 = 86_400_000;
/// How long a mailbox may be above its limits, in microseconds: what gives way goes in
/// pieces of a segment, and more may come meanwhile.
const ABOVE_US: u64 = 12_000_000;
/// Time between two steps of the clock for ages.
const STEP_US: u64 = 1_000_000;
/// How long an event may be older than it should before it goes, in microseconds.
const AGE_PATIENCE_US: u64 = 3_500_000;

/// Broker and number of a mailbox.
pub(crate) type Key = (usize, u64);

/// Whose mailbox it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A durable subscription's: its principal and its name.
    Subscription(String, String),
    /// A peer's.
    Peer(usize),
    /// That of the dead letters.
    Letters,
}

/// What a destination chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// What it may hold.
    pub limits: Limits,
    /// What is too much is dropped.
    pub drops: bool,
}

/// An event that comes to a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Which event.
    pub event: EventNo,
    /// The publisher's home.
    pub home: usize,
    /// As it is stored.
    pub bytes: u64,
}

/// One thing that a batch does, and which of the store's counts tells how many entries it took out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Make { mailbox: u64, owner: Owner, choice: Choice },
    Choose { mailbox: u64, choice: Choice },
    Remove { mailbox: u64 },
    Append { mailbox: u64, sequence: u64, stored: Stored },
    Done { mailbox: u64, range: (u64, u64), is_expired: bool, count: u32 },
    GiveWay { mailbox: u64, range: (u64, u64), is_dead_lettered: bool, reason: Reason, count: u32 },
    Requeue { range: (u64, u64), to: u64, first: u64, count: u32 },
    DropLetters { range: (u64, u64), count: u32 },
}

/// What all mailboxes of a broker may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Those of subscriptions and peers, each.
    pub mailbox: Limits,
    /// The dead letters'.
    pub letters: Limits,
    /// Events in all of them together.
    pub store_events: Option<u64>,
    /// What is older is dropped, wherever it waits.
    pub store_age_ms: Option<u64>,
    /// A rule is for mailboxes that then give nothing away, however many events there are.
    pub is_ruled: bool,
}

/// When and at which speed things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Simulated time.
    pub us: u64,
    /// Milliseconds of the brokers' clocks in one of simulated time.
    pub rate: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    stored: Stored,
    /// When it came to this broker.
    taken: Moment,
    /// When it came to this mailbox.
    came: Moment,
    /// Dead letters: the mailbox that it came from, and why.
    from: Option<(u64, Reason)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    us: u64,
    /// Starts of the broker before that.
    starts: u64,
}

/// How an entry came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By its publish, or over a link.
    Fresh,
    /// Over a link, perhaps again.
    Again,
    /// From the dead letters.
    Requeued,
}

/// What left a mailbox, and what came, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Terms {
    came: u64,
    acked: u64,
    expired: u64,
    requeued: u64,
    dropped_by_operator: u64,
    dead_lettered: [u64; 3],
    dropped: [u64; 3],
}

impl Terms {
    fn left(&self) -> u64 {
        let gave_way = self.dead_lettered.iter().chain(&self.dropped).sum::<u64>();
        self.acked + self.expired + self.requeued + self.dropped_by_operator + gave_way
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Book {
    owner: Owner,
    choice: Choice,
    /// When it was chosen.
    chosen_us: u64,
    entries: BTreeMap<u64, Held>,
    next: u64,
    /// Every number that was given: its event, and how it came.
    history: BTreeMap<u64, (EventNo, Way)>,
    /// Events that gave way and were not put back since.
    gone: BTreeSet<EventNo>,
    terms: Terms,
}

/// What a start found.
pub(crate) type Found = BTreeMap<u64, FoundMailbox>;

/// What a start found of a mailbox.
pub(crate) struct FoundMailbox {
    /// Its next number.
    pub next: u64,
    /// Its events by number.
    pub entries: Vec<(u64, EventNo)>,
    /// What its destination chose, by the home.
    pub choice: Choice,
}

#[derive(Debug, Clone, Default)]
struct OfBroker {
    books: BTreeMap<u64, Book>,
    bounds: Bounds,
    starts: u64,
    /// Steps of the batch that was being written when the broker ended, and when that was.
    doubt: Option<(Now, Vec<Step>)>,
    /// The store was nearly full when it was looked at last.
    is_short: bool,
    /// Mailboxes that were above their limits at each look: since when, and at how many looks.
    above: BTreeMap<u64, (u64, u32)>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Books {
    brokers: BTreeMap<usize, OfBroker>,
    /// How many copies more of an event may come over the link from its home to a broker.
    again: BTreeMap<(EventNo, usize), u64>,
}

type Checked = Result<(), String>;

impl Books {
    /// What the mailboxes of a broker may hold at most.
    pub(crate) fn bound(&mut self, broker: usize, bounds: Bounds) {
        self.brokers.entry(broker).or_default().bounds = bounds;
    }

    /// The store was replaced by an empty one.
    pub(crate) fn on_replaced(&mut self, broker: usize) {
        let state = self.brokers.entry(broker).or_default();
        *state = OfBroker { bounds: state.bounds, starts: state.starts, ..OfBroker::default() };
    }

    /// The recovery epoch of a store was raised: what its links have under way may come again.
    pub(crate) fn on_repaired(&mut self, broker: usize) {
        let Some(state) = self.brokers.get(&broker) else { return };
        for book in state.books.values() {
            let Owner::Peer(peer) = book.owner else { continue };
            for held in book.entries.values() {
                *self.again.entry((held.stored.event, peer)).or_default() += 1;
            }
        }
        // Of the batch in doubt too.
        for step in state.doubt.iter().flat_map(|(_, steps)| steps) {
            if let Step::Append { mailbox, stored, .. } = step
                && let Some(Book { owner: Owner::Peer(peer), .. }) = state.books.get(mailbox)
            {
                *self.again.entry((stored.event, *peer)).or_default() += 1;
            }
        }
    }

    /// Bytes that a store uses, of so many, when mailboxes are told to give way for it.
    pub(crate) fn on_relief(&mut self, broker: usize, is_short: bool) {
        self.brokers.entry(broker).or_default().is_short = is_short;
    }

    // ---- batches ----

    /// A batch is on the disk; `removed` is what the store says that its removals took out.
    pub(crate) fn on_committed(
        &mut self,
        broker: usize,
        now: Now,
        steps: &[Step],
        removed: &[u64],
    ) -> Checked {
        self.apply(broker, now, steps, Some(removed))
    }

    /// Writing a batch failed: it is there or it is not.
    pub(crate) fn on_doubt(&mut self, broker: usize, now: Now, steps: Vec<Step>) {
        self.brokers.entry(broker).or_default().doubt.get_or_insert((now, steps));
    }

    /// A start found this; whether there was a batch in doubt, and whether it was kept.
    pub(crate) fn on_start(&mut self, broker: usize, found: &Found) -> Result<Option<bool>, String> {
        let kept = self.settle_doubt(broker, found);
        let state = self.brokers.entry(broker).or_default();
        state.starts += 1;
        state.is_short = false;
        state.above.clear();
        kept
    }

    fn settle_doubt(&mut self, broker: usize, found: &Found) -> Result<Option<bool>, String> {
        let state = self.brokers.entry(broker).or_default();
        let doubt = state.doubt.take();
        let Some(without) = state.differs(found) else { return Ok(doubt.map(|_| false)) };
        let Some((then, steps)) = doubt else {
            return Err(format!("a start found another store: {without}"));
        };
        let before = (state.clone(), self.again.clone());
        let applied = self.apply(broker, then, &steps, None);
        let with = self.brokers.get(&broker).and_then(|state| state.differs(found));
        if let (Ok(()), None) = (&applied, &with) {
            return Ok(Some(true));
        }
        (*self.brokers.entry(broker).or_default(), self.again) = before;
        Err(format!("a start found another store: {without}; with the last batch ({applied:?}): {with:?}"))
    }

    fn apply(&mut self, broker: usize, now: Now, steps: &[Step], removed: Option<&[u64]>) -> Checked {
        self.judge_give_way(broker, now, steps)?;
        for step in steps {
            let (took, count) = self.take(broker, now, step)?;
            let said = count.zip(removed).and_then(|(count, removed)| removed.get(count as usize));
            if let Some(said) = said
                && *said != took
            {
                return Err(format!("{step:?} took out {said} entries, and {took} were there"));
            }
        }
        Ok(())
    }

    /// Carries out a step: how many entries it takes out, and which count says so.
    fn take(&mut self, broker: usize, now: Now, step: &Step) -> Result<(u64, Option<u32>), String> {
        let Books { brokers, again } = self;
        let state = brokers.entry(broker).or_default();
        let moment = Moment { us: now.us, starts: state.starts };
        match *step {
            Step::Make { mailbox, ref owner, choice } => {
                let is_new = state.books.insert(mailbox, Book::new(owner.clone(), choice)).is_none();
                is_new.then_some((0, None)).ok_or(format!("mailbox {mailbox} was made twice"))
            }
            Step::Choose { mailbox, choice } => {
                let book = state.book(mailbox)?;
                (book.choice, book.chosen_us) = (choice, now.us);
                Ok((0, None))
            }
            Step::Remove { mailbox } => {
                state.books.remove(&mailbox);
                Ok((0, None))
            }
            Step::Append { mailbox, sequence, stored } => {
                let book = state.book(mailbox)?;
                let Stored { event, home, .. } = stored;
                let is_it = |(known, way): &&(EventNo, Way)| *known == event && *way != Way::Requeued;
                let before = book.history.values().filter(is_it).count() as u64;
                let more = again.get(&(event, broker)).copied().filter(|_| home != broker).unwrap_or(0);
                if before > more {
                    return Err(format!("event {event} comes to mailbox {mailbox} again, as {sequence}"));
                }
                let held = Held { stored, taken: moment, came: moment, from: None };
                book.come(sequence, held, if more > 0 { Way::Again } else { Way::Fresh })?;
                Ok((0, None))
            }
            Step::Done { mailbox, range, is_expired, count } => {
                // An ack may cross a removal.
                let Ok(book) = state.book(mailbox) else { return Ok((0, Some(count))) };
                let took = book.leave(range).len() as u64;
                match is_expired {
                    true => book.terms.expired += took,
                    false => book.terms.acked += took,
                }
                Ok((took, Some(count)))
            }
            Step::GiveWay { mailbox, range, is_dead_lettered, reason, count } => {
                let book = state.book(mailbox)?;
                let left = book.leave(range);
                book.gone.extend(left.iter().map(|(_, held)| held.stored.event));
                let terms = match is_dead_lettered {
                    true => &mut book.terms.dead_lettered,
                    false => &mut book.terms.dropped,
                };
                terms[reason.index()] += left.len() as u64;
                if is_dead_lettered {
                    let letters = state.letters()?;
                    let first = letters.next;
                    for (sequence, held) in &left {
                        let held = Held { came: moment, from: Some((mailbox, reason)), ..*held };
                        letters.come(first + (sequence - range.0), held, Way::Requeued)?;
                    }
                    letters.next = letters.next.max(first + (range.1 - range.0) + 1);
                }
                Ok((left.len() as u64, Some(count)))
            }
            Step::Requeue { range, to, first, count } => {
                let letters = state.letters()?;
                let left = letters.leave(range);
                letters.terms.requeued += left.len() as u64;
                let book = state.book(to)?;
                for (number, held) in &left {
                    let event = held.stored.event;
                    let held = Held { came: moment, from: None, ..*held };
                    book.come(first + (number - range.0), held, Way::Requeued)?;
                    book.gone.remove(&event);
                    if let Owner::Peer(peer) = book.owner {
                        *again.entry((event, peer)).or_default() += 1;
                    }
                }
                book.next = book.next.max(first + (range.1 - range.0) + 1);
                Ok((left.len() as u64, Some(count)))
            }
            Step::DropLetters { range, count } => {
                let letters = state.letters()?;
                let took = letters.leave(range).len() as u64;
                letters.terms.dropped_by_operator += took;
                Ok((took, Some(count)))
            }
        }
    }

    // ---- what gives way ----

    fn judge_give_way(&self, broker: usize, now: Now, steps: &[Step]) -> Checked {
        let Some(state) = self.brokers.get(&broker) else { return Ok(()) };
        let mut by_mailbox: BTreeMap<u64, Vec<Gone>> = BTreeMap::new();
        for step in steps {
            let Step::GiveWay { mailbox, range, is_dead_lettered, reason, .. } = *step else { continue };
            let book = state.books.get(&mailbox).ok_or(format!("{step:?}: there is no such mailbox"))?;
            let gone = |(&sequence, &held)| Gone { sequence, held, reason, is_dead_lettered };
            by_mailbox.entry(mailbox).or_default().extend(book.entries.range(range.0..=range.1).map(gone));
        }
        for (mailbox, gone) in by_mailbox {
            let judged = state.judge_mailbox(mailbox, &gone, broker, now);
            judged.map_err(|what| {
                let list: Vec<_> = gone.iter().map(|gone| (gone.sequence, gone.reason)).collect();
                let limits = state.limits(mailbox);
                format!("mailbox {mailbox} gives way of {list:?}, its limits being {limits:?}: {what}")
            })?;
        }
        Ok(())
    }

    // ---- questions ----

    fn of_subscription(&self, broker: usize, principal: &str, name: &str) -> Option<&Book> {
        let is_it =
            |book: &&Book| matches!(&book.owner, Owner::Subscription(p, n) if p == principal && n == name);
        self.brokers.get(&broker)?.books.values().find(is_it)
    }

    /// How much the clock for ages can have advanced at a broker, in milliseconds: twice as fast as
    /// time, and by a day with each start.
    pub(crate) fn time_told_ms(&self, broker: usize, us: u64, now: Now) -> u64 {
        self.brokers.get(&broker).map_or(0, |state| state.told_ms(us, now))
    }

    /// What a number of a subscription's mailbox stands for, and whether it may be out of order.
    pub(crate) fn entry(
        &self,
        broker: usize,
        (principal, name): (&str, &str),
        sequence: u64,
    ) -> Option<(EventNo, bool)> {
        let (event, way) = self.of_subscription(broker, principal, name)?.history.get(&sequence)?;
        Some((*event, *way != Way::Fresh))
    }

    /// Whether an event gave way on its way from its home to a subscription, and was not put back.
    pub(crate) fn gave_way(
        &self,
        home: usize,
        broker: usize,
        (principal, name): (&str, &str),
        event: EventNo,
    ) -> bool {
        let here =
            self.of_subscription(broker, principal, name).is_some_and(|book| book.gone.contains(&event));
        let peers = self.brokers.get(&home).into_iter().flat_map(|state| state.books.values());
        let mut on_the_way = peers.filter(|book| book.owner == Owner::Peer(broker));
        here || on_the_way.any(|book| book.gone.contains(&event))
    }

    /// What the home of a broker says that a mailbox lost.
    pub(crate) fn check_losses(&self, (broker, mailbox): Key, losses: &Losses) -> Checked {
        let book = self.brokers.get(&broker).and_then(|state| state.books.get(&mailbox));
        let Some(book) = book else { return Err(format!("mailbox {mailbox} should not be there")) };
        let Terms { dead_lettered, dropped, .. } = book.terms;
        match (dead_lettered, dropped) == (losses.dead_lettered, losses.dropped) {
            true => Ok(()),
            false => Err(format!("mailbox {mailbox} has lost {losses:?} by its home, and {:?}", book.terms)),
        }
    }

    /// What a home knows of its dead letters: their numbers, whose mailbox they were in and why they are there.
    pub(crate) fn check_letters(
        &self,
        broker: usize,
        known: &BTreeMap<u64, (Option<u64>, Reason)>,
    ) -> Checked {
        let Some(state) = self.brokers.get(&broker) else { return Ok(()) };
        let Some(letters) = state.books.values().find(|book| book.owner == Owner::Letters) else {
            return known.is_empty().then_some(()).ok_or("dead letters are known and there are none".into());
        };
        for (number, held) in &letters.entries {
            let (from, reason) =
                known.get(number).ok_or(format!("nothing is known of dead letter {number}"))?;
            let is_right = held.from.is_some_and(|(mailbox, why)| {
                why == *reason && (*from == Some(mailbox) || !state.books.contains_key(&mailbox))
            });
            if !is_right {
                return Err(format!(
                    "dead letter {number} is of {from:?} for {reason:?}, and came as {:?}",
                    held.from
                ));
            }
        }
        match known.keys().find(|number| !letters.entries.contains_key(number)) {
            Some(number) => Err(format!("dead letter {number} is known and not there")),
            None => Ok(()),
        }
    }

    /// Whether a mailbox holds more than it may for longer than it takes to be told; `can_write`: what
    /// gives way can be written.
    pub(crate) fn check_above(&mut self, broker: usize, now: Now, can_write: bool) -> Checked {
        let state = self.brokers.entry(broker).or_default();
        let is_above =
            |(mailbox, book): &(&u64, &Book)| can_write && is_above(state.limits(**mailbox), book.size());
        let above = state.books.iter().filter(is_above).map(|(mailbox, _)| {
            let (since_us, looks) = state.above.get(mailbox).copied().unwrap_or((now.us, 0));
            (*mailbox, (since_us, looks + 1))
        });
        state.above = above.collect();
        let is_late =
            |(_, (since_us, looks)): &(&u64, &(u64, u32))| *looks > 4 && now.us > since_us + ABOVE_US;
        match state.above.iter().find(is_late) {
            Some((mailbox, (since_us, _))) => {
                let limits = state.limits(*mailbox);
                Err(format!("mailbox {mailbox} is above {limits:?} since {since_us} us"))
            }
            None => Ok(()),
        }
    }

    /// Whether a mailbox holds more than it may, where nothing is under way; ages too, where no clock
    /// has jumped and no rest of a broker was longer than a day.
    pub(crate) fn check_limits(&self, broker: usize, now: Now, has_jumped: bool) -> Checked {
        let Some(state) = self.brokers.get(&broker) else { return Ok(()) };
        let queued = state.books.values().map(|book| book.entries.len() as u64).sum::<u64>();
        if !state.bounds.is_ruled && state.bounds.store_events.is_some_and(|limit| queued > limit) {
            return Err(format!("{queued} events wait: above {:?}", state.bounds.store_events));
        }
        for (mailbox, book) in &state.books {
            let (limits, (events, bytes)) = (state.limits(*mailbox), book.size());
            if is_above(limits, (events, bytes)) {
                return Err(format!(
                    "mailbox {mailbox} holds {events} events, {bytes} bytes: above {limits:?}"
                ));
            }
            let oldest = book.entries.values().next();
            let Some((age, held)) = limits.age_ms.zip(oldest).filter(|_| !has_jumped && now.rate == 1) else {
                continue;
            };
            let old_us = held.came.us + age * 1000;
            if book.owner != Owner::Letters && now.us > old_us.max(book.chosen_us) + AGE_PATIENCE_US {
                let what = format!("since {} us, and it is {} us", held.came.us, now.us);
                return Err(format!("mailbox {mailbox} holds an event that is too old: {what}, {limits:?}"));
            }
        }
        Ok(())
    }

    /// The ledger of every mailbox of a broker: came = acked + expired + gave way + put back + is there.
    pub(crate) fn check_ledger(&self, broker: usize, queued: &BTreeMap<u64, u64>) -> Checked {
        let Some(state) = self.brokers.get(&broker) else { return Ok(()) };
        for (mailbox, book) in &state.books {
            let held = book.terms.came - book.terms.left();
            if held != book.entries.len() as u64 || queued.get(mailbox) != Some(&held) {
                let queued = queued.get(mailbox);
                return Err(format!(
                    "mailbox {mailbox} holds {queued:?}, and should {held}: {:?}",
                    book.terms
                ));
            }
        }
        Ok(())
    }
}

struct Gone {
    sequence: u64,
    held: Held,
    reason: Reason,
    is_dead_lettered: bool,
}

impl OfBroker {
    /// How much the clock for ages may advance in so long, if all starts fall into it: it is twice as
    /// fast as time, in steps, and a start adds a day.
    fn told_ms(&self, us: u64, now: Now) -> u64 {
        2 * (us + STEP_US).div_ceil(1000) * now.rate + self.starts * DAY_MS
    }

    fn book(&mut self, mailbox: u64) -> Result<&mut Book, String> {
        self.books.get_mut(&mailbox).ok_or(format!("there is no mailbox {mailbox}"))
    }

    fn letters(&mut self) -> Result<&mut Book, String> {
        let found = self.books.values_mut().find(|book| book.owner == Owner::Letters);
        found.ok_or("there is no mailbox for dead letters".into())
    }

    /// What holds for a mailbox.
    fn limits(&self, mailbox: u64) -> Limits {
        let Some(book) = self.books.get(&mailbox) else { return Limits::default() };
        if book.owner == Owner::Letters {
            return self.bounds.letters;
        }
        let (own, bound, of_store) = (book.choice.limits, self.bounds.mailbox, self.bounds.store_age_ms);
        let lower = |own: Option<u64>, bound: Option<u64>| match (own, bound) {
            (Some(own), Some(bound)) => Some(own.min(bound)),
            (own, bound) => own.or(bound),
        };
        Limits {
            bytes: lower(own.bytes, bound.bytes),
            events: lower(own.events, bound.events),
            age_ms: lower(lower(own.age_ms, bound.age_ms), of_store),
        }
    }

    fn judge_mailbox(&self, mailbox: u64, gone: &[Gone], broker: usize, now: Now) -> Checked {
        let Some(book) = self.books.get(&mailbox) else { return Ok(()) };
        let limits = self.limits(mailbox);
        let is_large = |held: &Held| limits.bytes.is_some_and(|limit| held.stored.bytes > limit);
        // Dead letters lie in the order of their death.
        let is_by_birth = book.owner == Owner::Letters && self.bounds.store_age_ms.is_some();
        let (large, rest): (Vec<&Gone>, Vec<&Gone>) = gone.iter().partition(|gone| match gone.reason {
            Reason::Full => is_large(&gone.held),
            Reason::Age => is_by_birth,
            Reason::Store => false,
        });
        let large: BTreeSet<u64> = large.iter().map(|gone| gone.sequence).collect();
        let going: BTreeSet<u64> = rest.iter().map(|gone| gone.sequence).collect();
        let stays = book.entries.iter().filter(|(sequence, _)| !large.contains(sequence));
        if let Some((older, _)) =
            stays.clone().take(going.len()).find(|(sequence, _)| !going.contains(sequence))
        {
            return Err(format!("{older} is older and stays"));
        }
        let (events, bytes) = stays.fold((0, 0), |sum, (_, held)| (sum.0 + 1, sum.1 + held.stored.bytes));
        let mut full: Vec<&&Gone> = rest.iter().filter(|gone| gone.reason == Reason::Full).collect();
        full.sort_by_key(|gone| gone.sequence);
        if let Some((_, before)) = full.split_last() {
            let left = (
                events - before.len() as u64,
                bytes - before.iter().map(|gone| gone.held.stored.bytes).sum::<u64>(),
            );
            if !is_too_much(limits.events, events, left.0) && !is_too_much(limits.bytes, bytes, left.1) {
                return Err(format!("of {events} events, {bytes} bytes, fewer were too many"));
            }
        }
        for gone in gone {
            self.judge_one(book, gone, limits, broker, now)?;
        }
        Ok(())
    }

    fn judge_one(&self, book: &Book, gone: &Gone, limits: Limits, broker: usize, now: Now) -> Checked {
        let (held, is_letter) = (&gone.held, book.owner == Owner::Letters);
        let fits_letters = self.bounds.letters.bytes.is_none_or(|limit| held.stored.bytes <= limit);
        // What is too old for the store is dropped, and how old it is to a second the books do not know.
        let may_be_spent = gone.reason == Reason::Age && self.bounds.store_age_ms.is_some();
        let is_kept = !is_letter && !book.choice.drops && fits_letters;
        if gone.is_dead_lettered != is_kept && (gone.is_dead_lettered || !may_be_spent) {
            return Err(format!("{} goes the way that was not chosen", gone.sequence));
        }
        match gone.reason {
            Reason::Full => Ok(()),
            Reason::Store if self.is_short || self.bounds.store_events.is_some() => Ok(()),
            Reason::Store => Err("the store is not short of room".into()),
            Reason::Age => {
                let of_store = self.bounds.store_age_ms.filter(|_| is_letter);
                let age = limits.age_ms.into_iter().chain(of_store).min().ok_or("it has no limit of age")?;
                // The age of what came over a link is by another broker's clock.
                let is_by_death = is_letter && of_store.is_none();
                let is_own = is_by_death || held.stored.home == broker;
                let since = if is_by_death { held.came } else { held.taken };
                let starts = self.starts - since.starts;
                let passed_ms = self.told_ms(now.us - since.us, now) - (self.starts - starts) * DAY_MS;
                match is_own && passed_ms < age {
                    true => Err(format!("{} is here for {passed_ms} ms at most", gone.sequence)),
                    false => Ok(()),
                }
            }
        }
    }

    /// How what a start found differs from what is here.
    fn differs(&self, found: &Found) -> Option<String> {
        if let Some(mailbox) = found.keys().find(|mailbox| !self.books.contains_key(mailbox)) {
            return Some(format!("mailbox {mailbox} should not be there"));
        }
        self.books.iter().find_map(|(mailbox, book)| {
            let Some(FoundMailbox { next, entries, choice }) = found.get(mailbox) else {
                return Some(format!("mailbox {mailbox} is gone"));
            };
            let ours = book.entries.iter().map(|(sequence, held)| (*sequence, held.stored.event));
            let is_same = *next == book.next && ours.clone().eq(entries.iter().copied());
            if *choice != book.choice {
                return Some(format!("mailbox {mailbox} has {choice:?}, and should have {:?}", book.choice));
            }
            (!is_same).then(|| {
                let ours: Vec<_> = ours.collect();
                format!(
                    "mailbox {mailbox} has {entries:?}, then {next}, and should have {ours:?}, then {}",
                    book.next
                )
            })
        })
    }
}

impl Book {
    fn new(owner: Owner, choice: Choice) -> Book {
        Book {
            owner,
            choice,
            chosen_us: 0,
            entries: BTreeMap::new(),
            next: 1,
            history: BTreeMap::new(),
            gone: BTreeSet::new(),
            terms: Terms::default(),
        }
    }

    fn come(&mut self, sequence: u64, held: Held, way: Way) -> Checked {
        if sequence < self.next {
            return Err(format!("number {sequence} is given again, {} was next", self.next));
        }
        self.next = sequence + 1;
        self.terms.came += 1;
        self.history.insert(sequence, (held.stored.event, way));
        self.entries.insert(sequence, held);
        Ok(())
    }

    fn leave(&mut self, (from, through): (u64, u64)) -> Vec<(u64, Held)> {
        let leaving: Vec<u64> = match from <= through {
            true => self.entries.range(from..=through).map(|(sequence, _)| *sequence).collect(),
            false => Vec::new(),
        };
        leaving.into_iter().filter_map(|sequence| self.entries.remove_entry(&sequence)).collect()
    }

    fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.entries.values().map(|held| held.stored.bytes).sum())
    }
}

/// Whether a mailbox of so many events and bytes is above its limits.
fn is_above(limits: Limits, (events, bytes): (u64, u64)) -> bool {
    limits.events.is_some_and(|limit| events > limit) || limits.bytes.is_some_and(|limit| bytes > limit)
}

/// Whether of `held`, `left` are still more than should stay: above the limit, and then a 64th below it.
fn is_too_much(limit: Option<u64>, held: u64, left: u64) -> bool {
    limit.is_some_and(|limit| held > limit && left > limit - limit / 64)
}
