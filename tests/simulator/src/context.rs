//! What all parts of a simulated world share: time, chance, the agenda, the net, the oracle.
//!
//! Invariant: things happen in the order of (time, number), the number being that of the asking.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;

use crate::books::Now;
use crate::count::{Count, Counts};
use crate::mutant::Mutant;
use crate::net::{ConnId, Lane, Net};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::random::Random;
use crate::trace::Trace;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A connection reaches its callee.
    Opened { conn: ConnId },
    /// Bytes reach a side.
    Arrived { conn: ConnId, side: usize, lane: Lane, bytes: Bytes },
    /// A side finds that a connection has ended.
    Ended { conn: ConnId, side: usize },
    /// A broker's own timer, valid in one life of it.
    Broker { broker: usize, life: u64, timer: BrokerTimer },
    /// A broker is started.
    Start { broker: usize },
    /// A broker dies.
    Die { broker: usize },
    /// A publisher's timer.
    Publisher { publisher: usize, timer: ClientTimer },
    /// A subscriber's timer.
    Subscriber { subscriber: usize, timer: ClientTimer },
    /// A fault is due.
    Mischief,
    /// A fault of bounded length ends.
    RoomAgain { broker: usize },
    /// No more faults.
    FaultsOff,
    /// Whether everything has healed.
    Look,
}

/// What a broker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokerTimer {
    /// The log writer takes what waits.
    Commit,
    /// The log writer tells what it wrote.
    Release,
    /// A connection's writer has its turn.
    Pump(ConnId),
    /// A peer is dialled.
    Dial(usize),
    /// A handshake or a probe has taken too long.
    Patience(ConnId, u64),
    /// A link offers a batch to a full store again.
    Again(ConnId),
    /// A link tells changes of the own interest.
    Interest(ConnId),
    /// A link sends a digest.
    Digest(ConnId),
    /// The own interest narrows by a step, if it can.
    Settle,
    /// An interest receipt may be due.
    Waits,
    /// Ages and idle epochs are looked at.
    Tick,
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientTimer {
    /// Its next step.
    Step,
    /// It connects.
    Connect,
    /// Its acks go out.
    Acks,
    /// Nothing was heard for too long.
    Silence(ConnId),
    /// Writing goes on after a refusal.
    Write(ConnId),
}

/// See the module.
pub(crate) struct Context {
    /// Simulated time.
    pub now_us: u64,
    /// Where all chance comes from.
    pub random: Random,
    /// Connections.
    pub net: Net,
    /// What must hold.
    pub oracle: Oracle,
    /// What was exercised.
    pub counts: Counts,
    /// What this world is like.
    pub plan: Plan,
    /// The mistake that is to be caught.
    pub mutant: Option<Mutant>,
    /// No more faults.
    pub is_calm: bool,
    /// Whether a wall clock has jumped.
    pub has_jumped: bool,
    /// Lines and hash.
    pub trace: Trace,
    agenda: BinaryHeap<Reverse<Due>>,
    number: u64,
}

struct Due {
    at_us: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}

impl Context {
    /// A world's context at time 0.
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, keep_trace: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        Context {
            now_us: 0,
            net: Net::new(plan.latency_us_max),
            random,
            oracle: Oracle::default(),
            counts: Counts::default(),
            plan,
            mutant,
            is_calm: false,
            has_jumped: false,
            trace: Trace::new(keep_trace),
            agenda: BinaryHeap::new(),
            number: 0,
        }
    }

    /// Puts something on the agenda.
    pub(crate) fn after(&mut self, delay_us: u64, what: Happening) {
        self.number += 1;
        self.agenda.push(Reverse(Due { at_us: self.now_us + delay_us, number: self.number, what }));
    }

    /// Goes on to what is next.
    pub(crate) fn advance(&mut self) -> Option<Happening> {
        let Reverse(due) = self.agenda.pop()?;
        self.now_us = due.at_us;
        Some(due.what)
    }

    /// The time, for the books.
    pub(crate) fn now(&self) -> Now {
        Now { us: self.now_us, rate: self.plan.rate }
    }

    /// Counts.
    pub(crate) fn count(&mut self, what: Count) {
        self.counts.add(what);
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.add(self.now_us, what);
    }

    /// Whether a mistake is to be made.
    pub(crate) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}
