//! Counters of operations and faults: a test asks that none stays at zero.

macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Count { $($(#[$meta])* $name,)* }

        impl Count {
            /// All of them.
            pub const ALL: &'static [Count] = &[$(Count::$name,)*];
        }
    };
}

counts! {
    /// A publish of the at-least-once class was sent for the first time.
    Published,
    /// A best-effort publish was sent.
    PublishedBestEffort,
    /// A publish was sent again.
    Resent,
    /// Receipt 200.
    Receipt200,
    /// Receipt 202.
    Receipt202,
    /// Receipt 208.
    Receipt208,
    /// Refusal 400.
    Refused400,
    /// Refusal 413.
    Refused413,
    /// Refusal 425.
    Refused425,
    /// Refusal 503.
    Refused503,
    /// Refusal 507.
    Refused507,
    /// A channel resumed its epoch.
    EpochResumed,
    /// A resume told that something was accepted.
    AcceptedByResume,
    /// A resume was answered 410.
    EpochGone,
    /// A publisher gave up an event that was written.
    GivenUp,
    /// A publisher skipped sequences.
    Skipped,
    /// A durable delivery.
    Delivered,
    /// A durable delivery that was had before.
    Redelivered,
    /// A delivery with an attempt number.
    FlaggedRedelivery,
    /// A live delivery of the at-least-once class.
    DeliveredLive,
    /// A best-effort delivery, to a live subscription.
    DeliveredBestEffort,
    /// A best-effort delivery to an attached durable subscription.
    DeliveredLiveSide,
    /// An exact gap.
    GapExact,
    /// A gap of at most so many.
    GapAtMost,
    /// A gap of nobody knows how many.
    GapUnknown,
    /// An ack was sent.
    Acked,
    /// An ack was confirmed.
    AckConfirmed,
    /// An ack was held back for long.
    AckHeldBack,
    /// A durable subscription was made.
    SubscribedDurable,
    /// A durable subscription was resumed.
    ResumedDurable,
    /// A live subscription was made.
    SubscribedLive,
    /// A receipt named a peer as installed.
    InstalledAtPeer,
    /// A receipt named a peer as pending.
    PendingAtPeer,
    /// A durable subscription was given another filter.
    Updated,
    /// A durable subscription was removed.
    Removed,
    /// A subscriber attached a second time while attached.
    TakenOver,
    /// A subscriber detached.
    Detached,
    /// An attach with another filter was refused.
    FilterDiffers,
    /// A client went away without a word.
    ClientVanished,
    /// Credit ran out at a durable destination.
    CreditUsedUp,
    /// An event went over a link's durable path.
    LinkDurable,
    /// An event went over a link's live path.
    LinkLive,
    /// A hole was announced.
    HoleSent,
    /// A hop ack was sent.
    HopAcked,
    /// An entry was read from the disk.
    ColdRead,
    /// An entry was sent from memory.
    HotSent,
    /// A link came up.
    LinkUp,
    /// A link replaced another.
    LinkReplaced,
    /// A link was refused.
    LinkRefused,
    /// An older link was probed.
    LinkProbed,
    /// Both sides dialled at once.
    BothDialled,
    /// An interest snapshot was sent.
    InterestSnapshot,
    /// An interest delta was sent.
    InterestDelta,
    /// An interest digest was sent.
    InterestDigest,
    /// Interest was widened.
    InterestWidened,
    /// Interest that was widened became exact.
    InterestNarrowed,
    /// A batch with several requests.
    GroupCommit,
    /// A checkpoint.
    Checkpoint,
    /// A store recovered.
    Recovered,
    /// A recovery cut off an unproven tail.
    TailCut,
    /// A recovery wrote intact batches beyond the durable mark anew.
    TailRewritten,
    /// A start after which the batch that was being written was there.
    DoubtKept,
    /// A start after which the batch that was being written was not there.
    DoubtGone,
    /// Pages of mailbox entries were written.
    PageWritten,
    /// What lived in old segments was moved.
    Moved,
    /// A segment was taken back.
    Reclaimed,
    /// An event went by a set of destinations that was logged before.
    EventBySet,
    /// An event went from a full mailbox to the dead letters.
    DeadLettered,
    /// A full mailbox dropped its oldest event.
    DroppedOldest,
    /// The mailbox of a peer gave way.
    PeerGaveWay,
    /// The dead letters gave way.
    LettersGaveWay,
    /// An event gave way for its age.
    GaveWayForAge,
    /// A store was nearly full.
    StoreShort,
    /// An event gave way for the store.
    GaveWayForStore,
    /// An operator put a dead letter back.
    Requeued,
    /// An operator dropped a dead letter.
    LettersDropped,
    /// Putting back was refused: the subscription was gone.
    RequeueRefused,
    /// A rule refused a publish.
    RefusedByRule,
    /// A subscription got other limits.
    LimitsUpdated,
    /// An epoch that nobody used was forgotten.
    EpochForgotten,
    /// An operator repaired a store.
    Repaired,
    /// An entry expired.
    Expired,
    /// A live event expired in a buffer.
    ExpiredLive,
    /// Fault: a connection of a client was cut.
    CutClient,
    /// Fault: a link was cut.
    CutLink,
    /// Fault: one direction of a connection stalled.
    Stalled,
    /// Fault: a broker crashed between operations of its disk.
    Crash,
    /// Fault: a broker crashed at an operation of its disk.
    CrashInCommit,
    /// Fault: unflushed data was lost as a whole.
    LossCut,
    /// Fault: unflushed data was torn.
    LossTorn,
    /// Fault: the process died and the machine did not.
    LossProcess,
    /// Fault: an operation of the disk failed and stopped the store.
    DiskError,
    /// Fault: the start of a broker failed.
    FailedStart,
    /// Fault: the disk was full.
    DiskFull,
    /// Fault: a disk was replaced by an empty one.
    DiskReplaced,
    /// Fault: a wall clock jumped ahead.
    ClockAhead,
    /// Fault: a wall clock jumped back.
    ClockBack,
    /// Fault: events were already under way when a connection was given up.
    LeftUnderWay,
}

/// How often each was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Counts(vec![0; Count::ALL.len()])
    }
}

impl Counts {
    /// One more.
    pub fn add(&mut self, what: Count) {
        self.0[what as usize] += 1;
    }

    /// How often.
    pub fn get(&self, what: Count) -> u64 {
        self.0[what as usize]
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Counts) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own += other);
    }

    /// What was never counted.
    pub fn zeros(&self) -> Vec<Count> {
        Count::ALL.iter().copied().filter(|what| self.get(*what) == 0).collect()
    }
}
