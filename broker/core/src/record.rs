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
