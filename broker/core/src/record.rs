//! State records: what the log keeps of a home besides events, entries and acks.
//!
//! A kind byte, then a map with numbered keys as on the wire, so that records of an older
//! version stay readable. Numbers are never reused.

use fanal_protocol::control::InterestEntry;
use fanal_protocol::{Fingerprint, StoreId, numbered};
use serde::{Deserialize, Serialize};

macro_rules! records {
    ($($(#[$meta:meta])* $kind:literal $name:ident { $( $(#[$fmeta:meta])* $key:literal $field:ident : $ty:ty, )* })*) => {
        numbered! { $( $(#[$meta])* struct $name { $( $(#[$fmeta])* $key $field: $ty, )* } )* }

        /// Any state record.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Record { $($name($name),)* }

        $( impl From<$name> for Record { fn from(record: $name) -> Self { Record::$name(record) } } )*

        impl Record {
            pub(crate) fn encode(&self) -> Vec<u8> {
                match self { $( Record::$name(record) => encode($kind, record), )* }
            }

            /// Its name, for people.
            pub(crate) fn kind(&self) -> &'static str {
                match self { $( Record::$name(_) => stringify!($name), )* }
            }

            /// All of it, for people.
            pub(crate) fn text(&self) -> String {
                match self { $( Record::$name(record) => format!("{record:?}"), )* }
            }

            /// `None`: not a record that this version knows.
            pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
                let (kind, map) = bytes.split_first()?;
                match kind { $( $kind => decode(map).map(Record::$name), )* _ => None }
            }
        }
    };
}

records! {
    /// Numbers that were given out.
    1 Counters {
        /// Next epoch counter.
        1 epoch: u64,
        /// Next mailbox.
        2 mailbox: u64,
    }
    /// An epoch and what was accepted under it.
    2 PublisherPut {
        /// Epoch counter.
        1 counter: u64,
        /// Publisher's name.
        2 name: String,
        /// Publisher's CA.
        3 authority: Fingerprint,
        /// Next sequence.
        4 next: u64,
        /// Below this nothing is known.
        5 floor: u64,
        /// Skipped ranges.
        6 skips: Vec<(u64, u64)>,
        /// Day of its last use, since the Unix epoch; 0: written by an older version.
        7 used_day: u64,
    }
    /// Everything below `next` that was not skipped is accepted.
    3 Accepted {
        /// Epoch counter.
        1 counter: u64,
        /// Next sequence.
        2 next: u64,
    }
    /// An epoch ended.
    4 PublisherRemoved {
        /// Epoch counter.
        1 counter: u64,
    }
    /// A durable subscription.
    5 SubscriptionPut {
        /// Its mailbox.
        1 mailbox: u64,
        /// Owner's name.
        2 principal: String,
        /// Owner's CA.
        3 authority: Fingerprint,
        /// Its name.
        4 name: String,
        /// Topic filter.
        5 filter: String,
        /// Predicate in canonical text.
        6 predicate: Option<String>,
        /// Excluded topic filters.
        7 except: Vec<String>,
        /// Predicate in strict mode, in canonical text, in place of `predicate`.
        8 strict: Option<String>,
        /// Most bytes in its mailbox.
        9 max_bytes: Option<u64>,
        /// Most events in its mailbox.
        10 max_events: Option<u64>,
        /// Longest time that an event stays in its mailbox, in milliseconds.
        11 max_age_ms: Option<u64>,
        /// What is too much is dropped and not dead-lettered.
        12 drops_oldest: bool,
    }
    /// A durable subscription ended.
    6 SubscriptionRemoved {
        /// Its mailbox.
        1 mailbox: u64,
    }
    /// A peer with a mailbox.
    7 PeerPut {
        /// Its mailbox.
        1 mailbox: u64,
        /// Its name.
        2 name: String,
        /// Its CA.
        3 authority: Fingerprint,
    }
    /// A peer asks for more, durably.
    8 InterestAdded {
        /// Its mailbox.
        1 mailbox: u64,
        /// What it asks for.
        2 entry: InterestEntry,
    }
    /// A peer asks for less.
    9 InterestRemoved {
        /// Its mailbox.
        1 mailbox: u64,
        /// What it no longer asks for.
        2 entry: InterestEntry,
    }
    /// What was received over links from one (store, recovery epoch).
    10 Received {
        /// The sender's store.
        1 store: StoreId,
        /// The sender's recovery epoch.
        2 recovery_epoch: u64,
        /// Highest mailbox sequence; all below are recorded too.
        3 through: u64,
        /// The sender's name.
        4 name: String,
        /// The sender's CA.
        5 authority: Fingerprint,
    }
    /// The mailbox of the dead letters.
    11 DeadLetterMailbox {
        /// Which one.
        1 mailbox: u64,
    }
    /// What is known of a range of dead letters, in place of what was known of the range that
    /// begins at the same number.
    12 LettersPut {
        /// First number.
        1 first: u64,
        /// Last number.
        2 last: u64,
        /// Owner of the subscription that they were for, or the peer.
        3 principal: String,
        /// The CA of that.
        4 authority: Fingerprint,
        /// Name of the subscription.
        5 name: String,
        /// They were for a peer.
        6 is_peer: bool,
        /// Why they are here, by its number.
        7 reason: u8,
        /// How often each was sent at least.
        8 attempts: u32,
        /// When the first one came.
        9 since: u64,
        /// When the last one came.
        10 until: u64,
    }
    /// The range of dead letters that begins here is no more.
    13 LettersGone {
        /// First number.
        1 first: u64,
    }
    /// How many entries left a mailbox without its destination, since it was made, by reason.
    14 LossesPut {
        /// The mailbox.
        1 mailbox: u64,
        /// To the dead letters.
        2 dead_lettered: Vec<u64>,
        /// Dropped.
        3 dropped: Vec<u64>,
    }
    /// What time it was, for ages.
    15 TimeMark {
        /// In milliseconds since the Unix epoch.
        1 at: u64,
    }
    /// How far deliveries out of a mailbox were started.
    16 StartedPut {
        /// The mailbox.
        1 mailbox: u64,
        /// First sequence that was not started; 0: it is attached, and nobody knows.
        2 below: u64,
    }
    /// What is noted of deliveries is true for this recovery epoch of the store.
    17 NotedEpoch {
        /// The recovery epoch, and 1.
        1 recovery_epoch_next: u64,
    }
}

fn encode<T: Serialize>(kind: u8, record: &T) -> Vec<u8> {
    let mut out = vec![kind];
    // Writing numbers, strings and lists into memory cannot fail.
    let written = rmp_serde::encode::write(&mut out, record);
    debug_assert!(written.is_ok(), "{written:?}");
    out
}

fn decode<'de, T: Deserialize<'de>>(map: &'de [u8]) -> Option<T> {
    rmp_serde::from_slice(map).ok()
}
