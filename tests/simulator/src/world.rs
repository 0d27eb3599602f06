//! A world: brokers, clients, faults, and the question whether all has healed.
//!
//! Invariants: one thing happens at a time; faults stop at the plan's time, and within
//! [`crate::plan::Plan::heal_us`] after that nothing may be owed, queued, unlinked or drifted.

use fanal_store::simulated::{Faults, Loss};

use crate::broker::{Broker, broker_name};
use crate::client::publisher::Publisher;
use crate::client::subscriber::Subscriber;
use crate::context::{Context, Happening};
use crate::count::Count;
use crate::mutant::Mutant;
use crate::net::{ConnId, Lane, Party};
use crate::plan::Fault;

/// Time between two looks at whether all has healed.
const LOOK_US: u64 = 250_000;

/// How often the operator puts all dead letters back at the end.
const PUT_BACK_MAX: u32 = 2;

/// By then everybody has learnt of connections that ended.
const REST_US: u64 = 4_000_000;

/// See the module.
pub(crate) struct World {
    /// What all share.
    pub ctx: Context,
    brokers: Vec<Broker>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    calm_us: u64,
    is_healed: bool,
    /// How often the operator has put all dead letters back since the faults ended.
    put_back: u32,
    /// Things that have happened.
    pub happenings: u64,
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, keep_trace: bool) -> Self {
        let mut ctx = Context::new(seed, mutant, keep_trace);
        let count = ctx.plan.brokers;
        let mut brokers = Vec::new();
        for number in 0..count {
            let lower = |peer: usize| peer < number;
            let dials = (0..count).filter(|peer| *peer != number && (lower(*peer) || ctx.random.chance(500)));
            let dials = dials.collect();
            brokers.push(Broker::new(number, dials));
            ctx.oracle.books.bound(number, ctx.plan.bounds);
            let delay = ctx.random.below(300_000);
            ctx.after(delay, Happening::Start { broker: number });
        }
        let publishers = (0..ctx.plan.publishers)
            .map(|number| {
                let home = ctx.random.below(count as u64) as usize;
                Publisher::new(&mut ctx, number, home)
            })
            .collect();
        let subscribers = (0..ctx.plan.subscribers)
            .map(|number| {
                let home = ctx.random.below(count as u64) as usize;
                Subscriber::new(&mut ctx, number, home)
            })
            .collect();
        let first = ctx.random.below(2 * ctx.plan.mischief_us);
        ctx.after(first, Happening::Mischief);
        ctx.after(ctx.plan.faults_us, Happening::FaultsOff);
        ctx.note(format_args!("{:?}", ctx.plan.clone()));
        World {
            ctx,
            brokers,
            publishers,
            subscribers,
            calm_us: 0,
            is_healed: false,
            put_back: 0,
            happenings: 0,
        }
    }

    /// Runs until all has healed, something is broken, or so many things have happened.
    pub(crate) fn run(&mut self, happenings_max: u64) {
        while self.ctx.oracle.violation().is_none() && !self.is_healed && self.happenings < happenings_max {
            let Some(what) = self.ctx.advance() else { break };
            self.happenings += 1;
            self.take(what);
        }
        if self.is_healed && self.ctx.oracle.violation().is_none() {
            self.check_end();
        }
    }

    fn take(&mut self, what: Happening) {
        match what {
            Happening::Opened { conn } => self.on_opened(conn),
            Happening::Arrived { conn, side, lane, bytes } => {
                if self.ctx.net.arrives(conn, side) {
                    self.on_bytes(conn, side, lane, &bytes);
                }
            }
            Happening::Ended { conn, side } => {
                if self.ctx.learns_of_end(conn, side) {
                    self.on_ended(conn, side);
                }
            }
            Happening::Broker { broker, life, timer } => {
                let ctx = &mut self.ctx;
                if self.brokers[broker].life == life
                    && let Some(node) = &mut self.brokers[broker].node
                {
                    node.on_timer(ctx, timer);
                    self.look_after(broker);
                }
            }
            Happening::Start { broker } => self.start(broker),
            Happening::Die { broker } => self.die(broker),
            Happening::Publisher { publisher, timer } => {
                self.publishers[publisher].on_timer(&mut self.ctx, timer)
            }
            Happening::Subscriber { subscriber, timer } => {
                self.subscribers[subscriber].on_timer(&mut self.ctx, timer);
            }
            Happening::Mischief => self.mischief(),
            Happening::RoomAgain { broker } => self.room_again(broker),
            Happening::FaultsOff => self.calm(),
            Happening::Look => self.look(),
        }
    }

    fn on_opened(&mut self, conn: ConnId) {
        let Party::Broker(broker) = self.ctx.net.end(conn, 1) else { return };
        if !self.ctx.net.holds(conn, 1) {
            return;
        }
        match &mut self.brokers[broker].node {
            Some(node) => node.on_opened(&mut self.ctx, conn),
            None => self.ctx.close(conn, 1),
        }
    }

    fn on_bytes(&mut self, conn: ConnId, side: usize, lane: Lane, bytes: &bytes::Bytes) {
        match self.ctx.net.end(conn, side) {
            Party::Broker(broker) => {
                if let Some(node) = &mut self.brokers[broker].node {
                    node.on_bytes(&mut self.ctx, conn, lane, bytes);
                    self.look_after(broker);
                }
            }
            Party::Publisher(n) => self.publishers[n].on_bytes(&mut self.ctx, conn, bytes),
            Party::Subscriber(n) => self.subscribers[n].on_bytes(&mut self.ctx, conn, lane, bytes),
        }
    }

    fn on_ended(&mut self, conn: ConnId, side: usize) {
        match self.ctx.net.end(conn, side) {
            Party::Broker(broker) => {
                if let Some(node) = &mut self.brokers[broker].node {
                    node.on_ended(&mut self.ctx, conn);
                }
            }
            Party::Publisher(n) => self.publishers[n].on_ended(&mut self.ctx, conn),
            Party::Subscriber(n) => self.subscribers[n].on_ended(&mut self.ctx, conn),
        }
    }

    // ---- brokers ----

    fn start(&mut self, broker: usize) {
        let peers: Vec<usize> = (0..self.brokers.len()).filter(|peer| *peer != broker).collect();
        if !self.brokers[broker].start(&mut self.ctx, &peers) {
            // What was to end the start has ended it.
            let loss = self.draw_loss();
            self.brokers[broker].die(&mut self.ctx, loss);
            self.start_later(broker);
        }
    }

    fn start_later(&mut self, broker: usize) {
        let delay = self.ctx.random.between(50_000, 4_000_000);
        self.ctx.after(delay, Happening::Start { broker });
    }

    fn draw_loss(&mut self) -> Loss {
        let (loss, count) = match self.ctx.random.below(3) {
            0 => (Loss::Cut, Count::LossCut),
            1 => (Loss::Torn(self.ctx.random.draw()), Count::LossTorn),
            _ => (Loss::ProcessOnly, Count::LossProcess),
        };
        self.ctx.count(count);
        loss
    }

    fn die(&mut self, broker: usize) {
        if self.brokers[broker].node.is_none() {
            return;
        }
        let loss = self.draw_loss();
        self.ctx.note(format_args!("b{broker} dies, {loss:?}"));
        self.brokers[broker].die(&mut self.ctx, loss);
        // Sometimes the next start is disturbed as well.
        if !self.ctx.is_calm && self.ctx.random.chance(200) {
            let at = self.brokers[broker].disk.operations() + self.ctx.random.below(40);
            let faults = match self.ctx.random.chance(500) {
                true => Faults { crash_at: Some(at), ..Faults::default() },
                false => Faults { fail_at: Some(at), ..Faults::default() },
            };
            self.brokers[broker].disk.set_faults(faults);
        }
        self.start_later(broker);
    }

    /// The store has stopped: at once where the disk's crash did it, else when an operator looks.
    fn look_after(&mut self, broker: usize) {
        let Some(node) = &mut self.brokers[broker].node else { return };
        if !std::mem::take(&mut node.is_dying) {
            return;
        }
        if self.brokers[broker].is_armed {
            self.ctx.count(Count::CrashInCommit);
            return self.die(broker);
        }
        self.ctx.count(Count::DiskError);
        let delay = self.ctx.random.between(10_000, 3_000_000);
        self.ctx.after(delay, Happening::Die { broker });
    }

    // ---- faults ----

    fn mischief(&mut self) {
        if self.ctx.is_calm {
            return;
        }
        let delay = self.ctx.random.below(2 * self.ctx.plan.mischief_us);
        self.ctx.after(delay, Happening::Mischief);
        self.check_limits();
        if self.ctx.plan.faults.iter().sum::<u64>() == 0 {
            return;
        }
        let fault = Fault::ALL[self.ctx.random.weighted(&self.ctx.plan.faults)];
        let broker = self.ctx.random.below(self.brokers.len() as u64) as usize;
        self.ctx.note(format_args!("b{broker} fault {fault:?}"));
        self.strike(fault, broker);
    }

    fn strike(&mut self, fault: Fault, broker: usize) {
        match fault {
            Fault::CutClient => self.cut(false),
            Fault::CutLink => self.cut(true),
            Fault::Stall => self.stall(),
            Fault::Crash => {
                self.ctx.count(Count::Crash);
                self.die(broker);
            }
            Fault::CrashInCommit | Fault::DiskError => self.arm(broker, fault == Fault::CrashInCommit),
            Fault::DiskFull => self.fill(broker),
            Fault::DiskReplaced => self.replace(broker),
            Fault::ClockJump => self.jump(broker),
            Fault::Vanish => self.vanish(),
            Fault::SecondLink => self.dial_beside(broker),
            Fault::Requeue | Fault::DropLetters => {
                if let Some(node) = &mut self.brokers[broker].node {
                    node.on_operator(&mut self.ctx, fault == Fault::DropLetters);
                }
            }
            Fault::Repair => {
                self.brokers[broker].is_to_repair = true;
                self.die(broker);
            }
        }
    }

    fn conns(&self, links: bool) -> Vec<ConnId> {
        let is_link = |ends: [Party; 2]| matches!(ends[0], Party::Broker(_));
        self.ctx.net.open().filter(|(_, ends)| is_link(*ends) == links).map(|(conn, _)| conn).collect()
    }

    fn cut(&mut self, links: bool) {
        let conns = self.conns(links);
        if !conns.is_empty() {
            self.ctx.count(if links { Count::CutLink } else { Count::CutClient });
            let conn = *self.ctx.random.pick(&conns);
            self.ctx.cut(conn);
        }
    }

    fn stall(&mut self) {
        let mut conns = self.conns(true);
        conns.extend(self.conns(false));
        if !conns.is_empty() {
            self.ctx.count(Count::Stalled);
            let conn = *self.ctx.random.pick(&conns);
            let side = self.ctx.random.below(2) as usize;
            let until = self.ctx.now_us + self.ctx.random.between(100_000, 6_000_000);
            self.ctx.net.stall(conn, side, until);
        }
    }

    fn arm(&mut self, broker: usize, crashes: bool) {
        let state = &mut self.brokers[broker];
        if state.node.is_none() || self.ctx.is_mutant(Mutant::SkipFlush) {
            return;
        }
        let at = state.disk.operations() + self.ctx.random.below(12);
        state.is_armed = crashes;
        let faults = match crashes {
            true => Faults { crash_at: Some(at), ..Faults::default() },
            false => Faults { fail_at: Some(at), ..Faults::default() },
        };
        state.disk.set_faults(faults);
    }

    fn fill(&mut self, broker: usize) {
        let state = &mut self.brokers[broker];
        if state.node.is_none() || state.is_armed || self.ctx.is_mutant(Mutant::SkipFlush) {
            return;
        }
        self.ctx.count(Count::DiskFull);
        let capacity = state.disk.bytes_used() + self.ctx.random.below(20_000);
        state.disk.set_faults(Faults { capacity: Some(capacity), ..Faults::default() });
        let delay = self.ctx.random.between(500_000, 15_000_000);
        self.ctx.oracle.on_full(broker, self.ctx.now_us + delay + 15_000_000);
        self.ctx.after(delay, Happening::RoomAgain { broker });
    }

    fn room_again(&mut self, broker: usize) {
        if !self.brokers[broker].is_armed && !self.ctx.is_mutant(Mutant::SkipFlush) {
            self.brokers[broker].disk.set_faults(Faults::default());
        }
    }

    fn replace(&mut self, broker: usize) {
        self.ctx.count(Count::DiskReplaced);
        self.brokers[broker].die(&mut self.ctx, Loss::Cut);
        self.brokers[broker].disk = fanal_store::simulated::SimulatedDisk::new();
        self.ctx.oracle.on_replaced(broker, self.ctx.now_us);
        self.start_later(broker);
    }

    fn jump(&mut self, broker: usize) {
        let far = *self.ctx.random.pick(&[100_000, 100_000, 10_000_000, 2_000_000_000]);
        let off = self.ctx.random.between(100, far) as i64;
        let ahead = self.ctx.random.chance(500);
        self.ctx.count(if ahead { Count::ClockAhead } else { Count::ClockBack });
        self.ctx.has_jumped = true;
        let state = &mut self.brokers[broker];
        state.clock_off_ms += if ahead { off } else { -off };
        if let Some(node) = &mut state.node {
            node.clock_off_ms = state.clock_off_ms;
        }
    }

    fn vanish(&mut self) {
        let clients = (self.publishers.len() + self.subscribers.len()) as u64;
        let at = self.ctx.random.below(clients) as usize;
        match at.checked_sub(self.publishers.len()) {
            None => self.publishers[at].vanish(&mut self.ctx),
            Some(at) => self.subscribers[at].vanish(&mut self.ctx),
        }
    }

    fn dial_beside(&mut self, broker: usize) {
        let peer = self.ctx.random.below(self.brokers.len() as u64) as usize;
        if let (true, Some(node)) = (peer != broker, &mut self.brokers[broker].node) {
            node.dial_beside(&mut self.ctx, peer);
        }
    }

    // ---- healing ----

    fn calm(&mut self) {
        self.ctx.is_calm = true;
        self.calm_us = self.ctx.now_us;
        self.ctx.note(format_args!("faults off"));
        for broker in 0..self.brokers.len() {
            self.brokers[broker].is_armed = false;
            if !self.ctx.is_mutant(Mutant::SkipFlush) {
                self.brokers[broker].disk.set_faults(Faults::default());
            }
        }
        self.publishers.iter_mut().for_each(Publisher::stop);
        self.ctx.after(LOOK_US, Happening::Look);
    }

    fn look(&mut self) {
        let is_early = self.ctx.now_us < self.calm_us + REST_US;
        let unrest = self.unrest();
        self.check_limits();
        if unrest.is_none() && !is_early {
            if self.put_back < PUT_BACK_MAX {
                self.put_all_back();
                return self.ctx.after(LOOK_US, Happening::Look);
            }
            self.is_healed = true;
            return;
        }
        let unrest = unrest.unwrap_or_default();
        if self.ctx.now_us > self.calm_us + self.ctx.plan.heal_us() {
            let about = unrest.split(' ').next().unwrap_or_default().trim_end_matches([':', ',']).to_owned();
            return self.ctx.oracle.break_(about, format!("not healed: {unrest}"));
        }
        self.ctx.after(LOOK_US, Happening::Look);
    }

    /// What was dead-lettered is there, and comes to whom it was for.
    fn put_all_back(&mut self) {
        self.put_back += 1;
        for broker in &mut self.brokers {
            if let Some(node) = &mut broker.node {
                node.put_all_back(&mut self.ctx);
            }
        }
    }

    fn check_limits(&mut self) {
        for broker in &self.brokers {
            if let Some(node) = &broker.node {
                node.check_limits(&mut self.ctx);
            }
        }
    }

    /// What is not at rest yet.
    fn unrest(&self) -> Option<String> {
        if let Some(broker) = self.brokers.iter().find(|broker| broker.node.is_none()) {
            return Some(format!("b{} is down", broker.number));
        }
        if let Some(publisher) = self.publishers.iter().find(|publisher| !publisher.is_done()) {
            return Some(publisher.state());
        }
        if let Some(unrest) = self.subscribers.iter().find_map(Subscriber::unrest) {
            return Some(unrest);
        }
        if let Some((label, event)) = self.ctx.oracle.owed() {
            return Some(format!("{label} is owed event {event}"));
        }
        if !self.ctx.net.is_still() {
            return Some("something is under way".into());
        }
        let nodes = || self.brokers.iter().filter_map(|broker| broker.node.as_deref());
        for node in nodes() {
            if let Some(unrest) = node.unrest() {
                return Some(format!("b{} {unrest}", node.number));
            }
            for other in nodes().filter(|other| other.number != node.number) {
                if !other.agrees_with(node) {
                    return Some(format!(
                        "b{} holds another interest of b{} than it has",
                        other.number, node.number
                    ));
                }
            }
        }
        None
    }

    fn check_end(&mut self) {
        for broker in &self.brokers {
            if let Some(node) = &broker.node {
                node.check_ledger(&mut self.ctx);
                node.count_store(&mut self.ctx);
            }
        }
        for instance in self.subscribers.iter().flat_map(Subscriber::lives).collect::<Vec<_>>() {
            self.ctx.oracle.check_live(instance, broker_name);
        }
    }
}
