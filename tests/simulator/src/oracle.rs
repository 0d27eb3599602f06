//! What must hold, kept in plain lists, without the code under test.
//!
//! Checked while the world runs (docs/GUARANTEES.md):
//! 1. A receipt 200 or 208, and a `next` of a resumed epoch, speak of what a flush had covered.
//! 2. A delivery is of an event that was published, that the subscription asked for at some time
//!    between its publish and now, of an identity that fits, and had once per subscription.
//! 3. First deliveries come in order per (publisher, subscription, class).
//! 4. A delivery whose ack was confirmed before the attachment does not come again.
//! 5. What came over a link comes from the publisher's home (one hop).
//! 6. A publisher is refused with 507 only where a disk or store is full or a rule says so, and with 410
//!    only after a week without use, or where the store is another one.
//! 7. What mailboxes hold, and what becomes of it: [`crate::books`].
//!
//! Checked at the end: every event whose receipt was seen reached every durable subscription that
//! asked for it, and every live one but for gaps that were told.

use std::collections::{BTreeMap, BTreeSet};

use fanal_protocol::control::{GAP_AT_MOST, GAP_EXACT, Gap};
use fanal_protocol::{Class, Epoch};

use crate::ask::{Facts, Wish};
use crate::books::{Books, Now};

/// Number of an event, in the order of their making.
pub type EventNo = usize;
/// Number of a subscription.
pub type InstanceNo = usize;

/// How long a home may take to learn that a peer's store was replaced.
const STALE_US: u64 = 20_000_000;
/// How late something may come that was sent.
const LATE_US: u64 = 10_000_000;
/// After so long without use an epoch may be forgotten: a week.
const IDLE_MS: u64 = 7 * 86_400_000;

/// What a publisher knows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Acked { at_us: u64 },
    Unknown,
    Refused,
}

/// An event as its publisher made it.
#[derive(Debug, Clone)]
pub struct Published {
    /// Which publisher.
    pub publisher: usize,
    /// The publisher's home.
    pub home: usize,
    /// Its class.
    pub class: Class,
    /// What it says.
    pub facts: Facts,
    /// Its TTL.
    pub ttl_us: Option<u64>,
    began_us: Option<u64>,
    /// Best effort keeps its order within one connection of its publisher only.
    conn: usize,
    fate: Fate,
    identity: Option<(Epoch, u64)>,
    /// The operator threw away a store that may have held it.
    is_void: bool,
}

/// A wish and when it was in force.
#[derive(Debug, Clone)]
struct Span {
    wish: Wish,
    from_us: u64,
    until_us: Option<u64>,
    installed: BTreeMap<usize, u64>,
}

/// A subscription, from its making to its removal.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The subscriber and the subscription's number there, for messages.
    pub label: String,
    home: usize,
    /// Principal and name, of a durable one.
    durable: Option<(String, String)>,
    spans: Vec<Span>,
    /// Nothing is owed any more.
    is_over: bool,
    is_confirmed: bool,
    by_event: BTreeMap<EventNo, u64>,
    by_sequence: BTreeMap<u64, EventNo>,
    confirmed: BTreeMap<u64, u64>,
    last: BTreeMap<(usize, Class, usize), EventNo>,
    gaps: Gaps,
}

#[derive(Debug, Clone, Default)]
struct Gaps {
    exact: u64,
    at_most: u64,
    lost: BTreeSet<String>,
}

/// What was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In words.
    pub what: String,
    /// Word by which trace lines of the destination concerned are found.
    pub about: String,
}

/// A delivery as it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Which event, by its payload.
    pub event: EventNo,
    /// By its envelope.
    pub epoch: Epoch,
    /// By its envelope.
    pub sequence: u64,
    /// Durable copies.
    pub mailbox_sequence: Option<u64>,
    /// When the channel was asked for.
    pub asked_us: u64,
}

/// See the module.
#[derive(Default)]
pub struct Oracle {
    events: Vec<Published>,
    instances: Vec<Instance>,
    flushed: BTreeSet<(Epoch, u64)>,
    replaced_us: BTreeMap<usize, u64>,
    repaired_us: BTreeMap<usize, u64>,
    full_until_us: BTreeMap<usize, u64>,
    /// What mailboxes must hold.
    pub(crate) books: Books,
    violation: Option<Violation>,
}

impl Oracle {
    /// The first thing that was broken.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Something is broken.
    pub fn break_(&mut self, about: impl Into<String>, what: String) {
        let about = about.into();
        self.violation.get_or_insert(Violation { what, about });
    }

    // ---- publishing ----

    /// An event is made.
    pub fn make(
        &mut self,
        publisher: usize,
        home: usize,
        class: Class,
        facts: Facts,
        ttl_us: Option<u64>,
    ) -> EventNo {
        let (began_us, fate, identity) = (None, Fate::Pending, None);
        let (is_void, conn) = (false, 0);
        self.events.push(Published {
            publisher,
            home,
            class,
            facts,
            ttl_us,
            began_us,
            conn,
            fate,
            identity,
            is_void,
        });
        self.events.len() - 1
    }

    /// An event.
    pub fn event(&self, event: EventNo) -> &Published {
        &self.events[event]
    }

    /// It is written, perhaps again.
    pub fn on_written(&mut self, event: EventNo, epoch: Epoch, sequence: u64, now_us: u64) {
        let published = &mut self.events[event];
        published.began_us.get_or_insert(now_us);
        published.identity = Some((epoch, sequence));
    }

    /// A best-effort event goes over a connection.
    pub(crate) fn on_sent_over(&mut self, event: EventNo, conn: usize) {
        self.events[event].conn = conn + 1;
    }

    /// The store has flushed this, as the disk confirms.
    pub fn on_flushed(&mut self, epoch: Epoch, sequence: u64) {
        self.flushed.insert((epoch, sequence));
    }

    /// A publisher learns that an event is stored (or accepted, in the best-effort class).
    pub fn on_receipt(&mut self, event: EventNo, now_us: u64, how: &str) {
        let published = &mut self.events[event];
        if let (Class::AtLeastOnce, Some(identity)) = (published.class, published.identity)
            && !self.flushed.contains(&identity)
        {
            let what = format!("{how} for event {event}, of which no flush had covered {identity:?}");
            return self.break_(format!("e{event} "), what);
        }
        let published = &mut self.events[event];
        if published.fate == Fate::Refused {
            return self
                .break_(format!("e{event} "), format!("{how} for event {event} after a refusal for good"));
        }
        if published.fate == Fate::Pending {
            published.fate = Fate::Acked { at_us: now_us };
        }
    }

    /// A publisher will never know.
    pub fn on_unknown(&mut self, event: EventNo) {
        if self.events[event].fate == Fate::Pending {
            self.events[event].fate = Fate::Unknown;
        }
    }

    /// An event was refused for good.
    pub fn on_refused(&mut self, event: EventNo) {
        if let Fate::Acked { .. } = self.events[event].fate {
            self.break_(format!("e{event} "), format!("event {event} was refused after its receipt"));
        }
        self.events[event].fate = Fate::Refused;
    }

    /// A broker took an event from a link to `from`.
    pub fn on_link_event(&mut self, event: EventNo, from: usize, at: usize) {
        let home = self.events[event].home;
        if home != from {
            let what = format!("event {event} of broker b{home} came to b{at} from b{from}: two links");
            self.break_(format!("e{event} "), what);
        }
    }

    // ---- subscriptions ----

    /// A subscription may exist from now on.
    pub fn subscribe(
        &mut self,
        label: String,
        home: usize,
        durable: Option<(String, String)>,
        wish: Wish,
        now_us: u64,
    ) -> InstanceNo {
        let span = Span { wish, from_us: now_us, until_us: None, installed: BTreeMap::new() };
        self.instances.push(Instance {
            label,
            home,
            durable,
            spans: vec![span],
            is_over: false,
            is_confirmed: false,
            by_event: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            last: BTreeMap::new(),
            gaps: Gaps::default(),
        });
        self.instances.len() - 1
    }

    /// An interest receipt for the present wish.
    pub fn on_subscribed(&mut self, instance: InstanceNo, resumed: bool, brokers: &[usize], now_us: u64) {
        let state = &mut self.instances[instance];
        if state.durable.is_some() && state.is_confirmed && !resumed && !state.is_over {
            let what = format!("{} existed, and was made anew", state.label);
            let about = state.label.clone();
            return self.break_(about, what);
        }
        state.is_confirmed = true;
        if let Some(span) = state.spans.last_mut() {
            // For a while a home may speak of the store that is gone.
            let replaced_us = &self.replaced_us;
            let is_stale = |broker: &&usize| replaced_us.get(broker).is_some_and(|at| now_us < at + STALE_US);
            for broker in brokers.iter().filter(|broker| !is_stale(broker)) {
                span.installed.entry(*broker).or_insert(now_us);
            }
        }
    }

    /// Another wish may be in force from now on; the one before may still be.
    pub fn wish_changes(&mut self, instance: InstanceNo, wish: Wish, now_us: u64) {
        let span = Span { wish, from_us: now_us, until_us: None, installed: BTreeMap::new() };
        self.instances[instance].spans.push(span);
    }

    /// Only the last wish is in force from now on.
    pub fn wish_changed(&mut self, instance: InstanceNo, now_us: u64) {
        if let Some((_, earlier)) = self.instances[instance].spans.split_last_mut() {
            for span in earlier {
                span.until_us.get_or_insert(now_us);
            }
        }
    }

    /// Nothing is owed to a subscription any more: it goes.
    pub fn is_going(&mut self, instance: InstanceNo) {
        self.instances[instance].is_over = true;
    }

    /// Whether nothing is owed to a subscription any more.
    pub fn is_over(&self, instance: InstanceNo) -> bool {
        self.instances[instance].is_over
    }

    /// A broker says that there is no such subscription.
    pub fn is_gone(&mut self, instance: InstanceNo) {
        let state = &self.instances[instance];
        if !state.is_over && state.is_confirmed {
            let label = state.label.clone();
            self.break_(label.clone(), format!("{label} existed, and is not known any more"));
        }
        self.instances[instance].is_over = true;
    }

    /// A store was replaced by an empty one.
    pub fn on_replaced(&mut self, broker: usize, now_us: u64) {
        self.replaced_us.insert(broker, now_us);
        self.books.on_replaced(broker);
        for state in &mut self.instances {
            state.is_over |= state.home == broker;
            for span in &mut state.spans {
                span.installed.remove(&broker);
            }
        }
        for event in &mut self.events {
            event.is_void |= event.home == broker && event.began_us.is_some();
        }
    }

    /// A store was repaired: its recovery epoch is another one.
    pub(crate) fn on_repaired(&mut self, broker: usize, now_us: u64) {
        self.repaired_us.insert(broker, now_us);
        self.books.on_repaired(broker);
    }

    /// The disk of a broker is full, and nobody need hear of it after this time.
    pub(crate) fn on_full(&mut self, broker: usize, until_us: u64) {
        let until = self.full_until_us.entry(broker).or_default();
        *until = until_us.max(*until);
    }

    /// A publisher was refused for a full store (507); `is_allowed`: its store has an end of its own,
    /// or a rule is for the topic.
    pub(crate) fn on_store_full(&mut self, event: EventNo, is_allowed: bool, now_us: u64) {
        let home = self.events[event].home;
        let is_full = self.full_until_us.get(&home).is_some_and(|until| now_us <= *until);
        if !is_full && !is_allowed {
            self.break_(format!("e{event}"), format!("event {event} was refused though b{home} has room"));
        }
    }

    /// A publish epoch that was heard of at `heard_us` is not known any more (410).
    pub(crate) fn on_gone(&mut self, publisher: usize, home: usize, opened_us: u64, heard_us: u64, now: Now) {
        let is_new_store = [&self.replaced_us, &self.repaired_us]
            .iter()
            .any(|when| when.get(&home).is_some_and(|at| *at + STALE_US >= opened_us));
        let idle_ms = self.books.time_told_ms(home, now.us.saturating_sub(heard_us) + LATE_US, now);
        if !is_new_store && idle_ms < IDLE_MS {
            let what = format!("an epoch of p{publisher} is gone after {idle_ms} ms at most");
            self.break_(format!("p{publisher}"), what);
        }
    }

    /// Acks were confirmed.
    pub fn on_confirmed(&mut self, instance: InstanceNo, sequence: u64, now_us: u64) {
        self.instances[instance].confirmed.entry(sequence).or_insert(now_us);
    }

    /// A gap was told.
    pub fn on_gap(&mut self, instance: InstanceNo, gap: &Gap) {
        let gaps = &mut self.instances[instance].gaps;
        match gap.kind {
            GAP_EXACT => gaps.exact += gap.count,
            GAP_AT_MOST => gaps.at_most += gap.count,
            _ => drop(gaps.lost.insert(gap.broker.clone())),
        }
    }

    /// A delivery came: whether it is new to the program.
    pub fn on_delivery(&mut self, instance: InstanceNo, came: Arrival, now_us: u64) -> bool {
        match self.judge(instance, came, now_us) {
            Ok(is_new) => is_new,
            Err(what) => {
                let label = self.instances[instance].label.clone();
                self.break_(label.clone(), format!("{label}: {what}"));
                false
            }
        }
    }

    fn judge(&mut self, instance: InstanceNo, came: Arrival, now_us: u64) -> Result<bool, String> {
        let event = came.event;
        let published = self.events.get(event).ok_or("a delivery that was never published")?;
        let state = &mut self.instances[instance];
        let began_us = published.began_us.ok_or(format!("event {event} came before it was published"))?;
        if published.class == Class::AtLeastOnce && published.identity != Some((came.epoch, came.sequence)) {
            return Err(format!(
                "event {event} came as {:?}, not {:?}",
                (came.epoch, came.sequence),
                published.identity
            ));
        }
        let overlaps = |span: &&Span| span.until_us.is_none_or(|until| until >= began_us);
        if !state.spans.iter().filter(overlaps).any(|span| span.wish.matches(&published.facts)) {
            return Err(format!("event {event} was not asked for: {:?}", published.facts));
        }
        let mut is_again = false;
        if let (Some(sequence), Some((principal, name)), false) =
            (came.mailbox_sequence, &state.durable, state.is_over)
        {
            match self.books.entry(state.home, (principal, name), sequence) {
                Some((known, again)) if known == event => is_again = again,
                other => return Err(format!("event {event} came as number {sequence}, which is {other:?}")),
            }
        }
        if let Some(sequence) = came.mailbox_sequence.filter(|_| !state.is_over) {
            match state.by_sequence.get(&sequence) {
                Some(known) if *known != event => {
                    return Err(format!(
                        "mailbox sequence {sequence} was event {known}, and is event {event}"
                    ));
                }
                Some(_) => {
                    let confirmed = state.confirmed.get(&sequence);
                    if confirmed.is_some_and(|confirmed| *confirmed < came.asked_us) {
                        return Err(format!(
                            "event {event} (sequence {sequence}) came again after its ack was confirmed"
                        ));
                    }
                    return Ok(false);
                }
                None => drop(state.by_sequence.insert(sequence, event)),
            }
        }
        let is_known = state.by_event.insert(event, now_us).is_some();
        if is_known && came.mailbox_sequence.is_none() && !state.is_over {
            return Err(format!("event {event} came twice"));
        }
        if is_again {
            return Ok(true); // from the dead letters, or over a link again: it is behind its successors
        }
        let last = state.last.insert((published.publisher, published.class, published.conn), event);
        match last {
            Some(last) if last > event && !state.is_over => {
                Err(format!("event {event} came after event {last} of the same publisher"))
            }
            _ => Ok(true),
        }
    }

    // ---- the end ----

    /// What is still owed, if anything: (subscription, event).
    pub fn owed(&self) -> Option<(String, EventNo)> {
        for state in self.instances.iter().filter(|state| state.durable.is_some() && !state.is_over) {
            let missing =
                |event: &EventNo| !state.by_event.contains_key(event) && self.is_owed(state, *event);
            if let Some(event) = (0..self.events.len()).find(missing) {
                return Some((state.label.clone(), event));
            }
        }
        None
    }

    /// Whether an event is owed to a subscription: its receipt was seen, and every wish that may
    /// have been in force where it was routed asks for it.
    fn is_owed(&self, state: &Instance, event: EventNo) -> bool {
        let published = &self.events[event];
        let Fate::Acked { at_us } = published.fate else { return false };
        let Some(began_us) = published.began_us else { return false };
        if published.is_void
            || published.ttl_us.is_some()
            || (state.durable.is_some() && published.class == Class::BestEffort)
        {
            return false;
        }
        if let Some((principal, name)) = &state.durable
            && self.books.gave_way(published.home, state.home, (principal, name), event)
        {
            return false;
        }
        let routed_until = if published.home == state.home { at_us } else { u64::MAX };
        let overlapping = state.spans.iter().filter(|span| {
            span.from_us <= routed_until && span.until_us.is_none_or(|until| until >= began_us)
        });
        let installed = |span: &Span| span.installed.get(&published.home).is_some_and(|at| *at < began_us);
        let mut is_installed = false;
        for span in overlapping {
            is_installed |= installed(span);
            if !span.wish.matches(&published.facts) {
                return false;
            }
        }
        is_installed
    }

    /// Checks a live subscription that is still attached when nothing is under way any more.
    pub fn check_live(&mut self, instance: InstanceNo, name_of: impl Fn(usize) -> String) {
        let state = &self.instances[instance];
        let gaps = &state.gaps;
        if gaps.lost.contains("") {
            return;
        }
        let missing: Vec<EventNo> = (0..self.events.len())
            .filter(|event| !gaps.lost.contains(&name_of(self.events[*event].home)))
            .filter(|event| !state.by_event.contains_key(event) && self.is_owed(state, *event))
            .collect();
        let may_miss = (0..self.events.len())
            .filter(|event| !state.by_event.contains_key(event))
            .filter(|event| state.spans.iter().any(|span| span.wish.matches(&self.events[*event].facts)))
            .count() as u64;
        let label = state.label.clone();
        if missing.len() as u64 > gaps.exact + gaps.at_most {
            let what = format!("{label} misses {missing:?}, and was told of {gaps:?}");
            self.break_(label, what);
        } else if gaps.exact > may_miss {
            let what = format!("{label} was told that {} are missing, and {may_miss} may be", gaps.exact);
            self.break_(label, what);
        }
    }
}
