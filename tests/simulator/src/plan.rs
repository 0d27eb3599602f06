//! What one world is like: drawn from its seed, so that each seed leans another way.

use fanal_core::limits::Limits;

use crate::books::{Bounds, Choice};
use crate::random::Random;

/// The faults that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Cuts a connection of a client.
    CutClient,
    /// Cuts a link.
    CutLink,
    /// Stalls one direction of a connection.
    Stall,
    /// A broker crashes now.
    Crash,
    /// A broker crashes at one of the next operations of its disk.
    CrashInCommit,
    /// One of the next operations of a disk fails.
    DiskError,
    /// A disk is full for a while.
    DiskFull,
    /// A disk is replaced.
    DiskReplaced,
    /// A wall clock jumps.
    ClockJump,
    /// A client goes away without a word.
    Vanish,
    /// A second link is dialled beside a working one.
    SecondLink,
    /// An operator puts dead letters back.
    Requeue,
    /// An operator drops dead letters.
    DropLetters,
    /// A broker is stopped, its store repaired, and started again.
    Repair,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Fault; 14] = [
        Fault::CutClient,
        Fault::CutLink,
        Fault::Stall,
        Fault::Crash,
        Fault::CrashInCommit,
        Fault::DiskError,
        Fault::DiskFull,
        Fault::DiskReplaced,
        Fault::ClockJump,
        Fault::Vanish,
        Fault::SecondLink,
        Fault::Requeue,
        Fault::DropLetters,
        Fault::Repair,
    ];
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Number of brokers.
    pub brokers: usize,
    /// Number of publishers.
    pub publishers: usize,
    /// Number of subscribers.
    pub subscribers: usize,
    /// Events of each publisher.
    pub events: u64,
    /// When faults end.
    pub faults_us: u64,
    /// Mean time between faults.
    pub mischief_us: u64,
    /// How likely each fault is, by [`Fault::ALL`].
    pub faults: Vec<u64>,
    /// Largest latency of a block.
    pub latency_us_max: u64,
    /// How long a commit takes at most.
    pub commit_us_max: u64,
    /// Events with a TTL, per mille.
    pub ttl: u64,
    /// Best-effort events, per mille.
    pub best_effort: u64,
    /// Events that must be refused, per mille.
    pub bad: u64,
    /// Live subscriptions, per mille.
    pub live: u64,
    /// Bytes of a live buffer.
    pub live_bytes: usize,
    /// Largest window of a publisher.
    pub window: usize,
    /// Entries up to which a broker's interest is exact.
    pub interest: usize,
    /// Most bytes of an event's payload.
    pub padding: u64,
    /// Milliseconds of the brokers' clocks in one of simulated time.
    pub rate: u64,
    /// Durable subscriptions with limits of their own, per mille.
    pub limited: u64,
    /// What all mailboxes of a broker may hold.
    pub bounds: Bounds,
    /// Bytes of a store on disk.
    pub store_bytes: Option<u64>,
    /// Topics on which a full mailbox refuses publishers.
    pub rule: Option<&'static str>,
    /// Entries in a page, and memory for the entries of all mailboxes.
    pub pages: (usize, usize),
    /// Destinations from which on a set is logged.
    pub set_min: usize,
}

/// How long after the faults everything must have healed.
const HEAL_US: u64 = 120_000_000;

impl Plan {
    /// A plan by chance.
    pub(crate) fn draw(random: &mut Random) -> Plan {
        let is_quiet = random.chance(100);
        let mut faults: Vec<u64> =
            Fault::ALL.iter().map(|_| if random.chance(650) { random.between(1, 10) } else { 0 }).collect();
        if is_quiet {
            faults.fill(0);
        }
        let replaced = Fault::DiskReplaced as usize;
        faults[replaced] = if random.chance(250) { faults[replaced].min(2) } else { 0 };
        let brokers = 1 + random.weighted(&[2, 4, 3, 2]);
        let rate = if random.chance(60) { 100_000 } else { 1 };
        let rule = random.chance(150).then(|| *random.pick(&["a/#", "#", "+/b", "b"]));
        let store_bytes = random.chance(200).then(|| random.between(32, 64) * crate::broker::SEGMENT_BYTES);
        Plan {
            brokers,
            publishers: 1 + random.below(3) as usize,
            subscribers: 1 + random.below(4) as usize,
            events: *random.pick(&[10, 30, 60, 150, 150, 400]),
            faults_us: random.between(5_000_000, 20_000_000),
            mischief_us: random.between(300_000, 3_000_000),
            faults,
            latency_us_max: *random.pick(&[500, 5_000, 50_000]),
            commit_us_max: *random.pick(&[300, 3_000, 20_000]),
            ttl: if random.chance(400) { random.between(50, 400) } else { 0 },
            best_effort: if random.chance(500) { random.between(50, 500) } else { 0 },
            bad: if random.chance(400) { random.between(5, 60) } else { 0 },
            live: *random.pick(&[0, 300, 300, 700]),
            live_bytes: *random.pick(&[900, 4_000, 1 << 20]),
            window: random.between(1, 20) as usize,
            interest: *random.pick(&[1, 2, 3, 5, fanal_core::interest::ENTRIES_MAX]),
            padding: *random.pick(&[200, 200, 480]),
            rate,
            limited: *random.pick(&[0, 400, 400, 900]),
            bounds: draw_bounds(random, rate, store_bytes, rule.is_some()),
            store_bytes,
            rule,
            pages: *random.pick(&[(4, 60), (4, 400), (8, 2_000), (1024, 64 << 20)]),
            set_min: *random.pick(&[2, 2, 8]),
        }
    }

    /// How long after the faults everything must have healed: where a rule refuses publishers, what
    /// they have goes through a small mailbox.
    pub(crate) fn heal_us(&self) -> u64 {
        HEAL_US * if self.rule.is_some() { 8 } else { 1 }
    }

    /// What a subscription chooses about its mailbox.
    pub(crate) fn draw_choice(&self, random: &mut Random) -> Choice {
        if !random.chance(self.limited) {
            return Choice::default();
        }
        Choice { limits: draw_limits(random, self.rate), drops: random.chance(450) }
    }
}

fn draw_limits(random: &mut Random, rate: u64) -> Limits {
    Limits {
        events: random.chance(600).then(|| *random.pick(&[1, 2, 3, 5, 10, 30])),
        bytes: random.chance(400).then(|| *random.pick(&[150, 400, 1_000, 3_000])),
        age_ms: random.chance(250).then(|| *random.pick(&[300, 2_000, 6_000]) * rate),
    }
}

/// What an operator sets; of a store that has an end, a tenth for each mailbox unless he says more.
fn draw_bounds(random: &mut Random, rate: u64, store_bytes: Option<u64>, is_ruled: bool) -> Bounds {
    let share = store_bytes.map(|bytes| bytes / 10);
    let mut draw = |chance| if random.chance(chance) { draw_limits(random, rate) } else { Limits::default() };
    let (mut mailbox, mut letters) = (draw(200), draw(400));
    if let Some(share) = share {
        // With the share alone, a store of few mailboxes is never short.
        mailbox.bytes.get_or_insert(share * 6);
        letters.bytes.get_or_insert(share);
    }
    let store_events = random.chance(100).then(|| *random.pick(&[10, 40, 150]));
    let store_age_ms = random.chance(80).then(|| *random.pick(&[1_000, 5_000]) * rate);
    Bounds { mailbox, letters, store_events, store_age_ms, is_ruled }
}
