//! What one world is like: drawn from its seed, so that each seed leans another way.

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
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Fault; 11] = [
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
}

/// How long after the faults everything must have healed.
pub(crate) const HEAL_US: u64 = 120_000_000;

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
        Plan {
            brokers,
            publishers: 1 + random.below(3) as usize,
            subscribers: 1 + random.below(4) as usize,
            events: *random.pick(&[10, 30, 60, 150]),
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
        }
    }
}
