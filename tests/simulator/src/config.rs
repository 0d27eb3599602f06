//! What the broker's limit keeper, which is compiled here as it is, reads of a configuration.

use fanal_core::limits::Limits as MailboxLimits;

/// Bounds of a broker, as far as its log asks for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Size of the log's segments, in bytes.
    pub segment_bytes: u64,
    /// Bytes of the store on disk; absent: the disk is the limit.
    pub store_bytes: Option<u64>,
    /// Events in all mailboxes together, the dead letters too.
    pub store_events: Option<u64>,
    /// Longest time that an event is kept anywhere, in milliseconds since it was accepted.
    pub store_age_ms: Option<u64>,
    /// From this share of the store on, in percent, the largest mailboxes give way.
    pub give_way_percent: u64,
    /// What each mailbox may hold; without a limit of bytes, a tenth of the store.
    pub mailbox: MailboxLimits,
    /// What the dead letters may hold; without a limit of bytes, a tenth of the store.
    pub dead_letters: MailboxLimits,
}

/// An operator's rule: publishers on these topics are refused (507) when a mailbox is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleConfig {
    /// Its name, as the refusal tells it.
    pub name: String,
    /// A topic filter.
    pub topic: String,
}
