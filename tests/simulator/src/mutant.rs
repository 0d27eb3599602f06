//! Deliberate mistakes of the simulated shell, each of which the oracle must catch.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Answers go out before the batch is written.
    AckBeforeFlush,
    /// The disk says that it has flushed, and has not.
    SkipFlush,
    /// A link's sender starts over, and its receiver takes a resend for new.
    ResendUnmarked,
    /// A publish that was accepted before is appended again.
    AppendDuplicate,
    /// What came over a link goes over other links too.
    ForwardPeerEvent,
    /// A restarted broker does not route to the durable interest of its peers.
    LoseInterestOnRestart,
    /// Two deliveries of a turn change places.
    DeliverUnordered,
    /// Predicates are not asked.
    IgnorePredicate,
    /// Acks are confirmed and not written.
    ForgetAck,
    /// A live buffer's drops are not told.
    HideGap,
    /// The peer mailbox is emptied when an event is sent, not when it is acked.
    ForgetBeforeHopAck,
    /// An interest receipt names every peer at once.
    ReceiptBeforeInterest,
    /// What a mailbox holds has no limit.
    NeverGiveWay,
    /// A full mailbox drops its newest.
    DropNewest,
    /// What gives way is neither kept nor counted.
    LoseSilently,
    /// What is told to be in the dead letters is not there.
    LoseLetters,
    /// What should go to the dead letters is dropped.
    DropUnasked,
    /// What is put back from the dead letters comes nowhere.
    LoseRequeued,
    /// A publisher is refused because a mailbox is full.
    RefuseWhenFull,
    /// Ages follow the wall clock wherever it jumps.
    AgeByWallClock,
    /// Publish epochs are forgotten before a week is over.
    ForgetEpochsEarly,
}

impl Mutant {
    /// All of them.
    pub const ALL: &'static [Mutant] = &[
        Mutant::AckBeforeFlush,
        Mutant::SkipFlush,
        Mutant::ResendUnmarked,
        Mutant::AppendDuplicate,
        Mutant::ForwardPeerEvent,
        Mutant::LoseInterestOnRestart,
        Mutant::DeliverUnordered,
        Mutant::IgnorePredicate,
        Mutant::ForgetAck,
        Mutant::HideGap,
        Mutant::ForgetBeforeHopAck,
        Mutant::ReceiptBeforeInterest,
        Mutant::NeverGiveWay,
        Mutant::DropNewest,
        Mutant::LoseSilently,
        Mutant::LoseLetters,
        Mutant::DropUnasked,
        Mutant::LoseRequeued,
        Mutant::RefuseWhenFull,
        Mutant::AgeByWallClock,
        Mutant::ForgetEpochsEarly,
    ];
}
