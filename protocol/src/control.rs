//! Control frames, and the rare frames of event streams (PROTOCOL.md 3.2, 5, 6).
//!
//! One definition per frame: its type number, its fields and their keys. A request that
//! opens a channel uses the channel's number as its request number; answers carry it back.
//! Invariants: see [`crate::numbered`]; a frame type belongs to one kind of stream.

use serde::{Deserialize, Serialize};

use crate::error::WireError;
use crate::event::StreamFrame;
use crate::frame::put_prefix;
use crate::identity::{ClientId, Epoch, Fingerprint, Incarnation};
use crate::msgpack::NESTING_MAX;
use crate::numbered;

numbered! {
    /// A broker that does not yet send matching events, and why (PROTOCOL.md 5.7).
    #[derive(Eq)]
    struct Pending {
        /// Its name.
        1 broker: String,
        /// Why it is not installed.
        2 reason: String,
    }

    /// A refused sequence (PROTOCOL.md 5.6).
    #[derive(Eq)]
    struct Exception {
        /// The sequence.
        1 sequence: u64,
        /// The code.
        2 code: u16,
        /// What was wrong and what to do.
        3 reason: String,
        /// When to try again, in milliseconds from now.
        4 retry_ms: Option<u64>,
    }

    /// Which dead letters are meant (PROTOCOL.md 5.9); absent or empty: all that the client may see.
    #[derive(Eq)]
    struct DeadLetterSelection {
        /// Of the durable subscription of this name.
        1 subscription: Option<String>,
        /// Of subscriptions of this principal, as `NAME@FINGERPRINT`.
        2 principal: Option<String>,
        /// Of the peer of this name.
        3 peer: Option<String>,
        /// For this reason.
        4 reason: Option<String>,
        /// With numbers in one of these inclusive ranges.
        5 numbers: Vec<(u64, u64)>,
    }

    /// One thing that a broker asks of its peer (PROTOCOL.md 6.3).
    #[derive(Eq, Hash, PartialOrd, Ord)]
    struct InterestEntry {
        /// Number within the asking incarnation, never reused there.
        1 id: u64,
        /// 0 live, 1 durable.
        2 class: u8,
        /// Topic filter.
        3 filter: String,
        /// Predicate in canonical text.
        4 predicate: Option<String>,
        /// Excluded topic filters, sorted.
        5 except: Vec<String>,
        /// Predicate in strict mode, in canonical text, in place of `predicate`: a peer that does not
        /// know the key sees none, and sends more rather than something else.
        6 strict: Option<String>,
    }
}

/// Class of an interest entry that feeds live subscriptions.
pub const INTEREST_LIVE: u8 = 0;
/// Class of an interest entry that feeds durable subscriptions.
pub const INTEREST_DURABLE: u8 = 1;

/// Stream from a client with publish frames.
pub const STREAM_PUBLISH: u8 = 1;
/// Stream from a broker with durable copies.
pub const STREAM_DURABLE: u8 = 2;
/// Stream from a broker with live copies.
pub const STREAM_LIVE: u8 = 3;

/// [`Gap::kind`]: exactly [`Gap::count`] events were dropped.
pub const GAP_EXACT: u8 = 0;
/// [`Gap::kind`]: at most [`Gap::count`] events were dropped.
pub const GAP_AT_MOST: u8 = 1;
/// [`Gap::kind`]: nobody can tell how many.
pub const GAP_UNKNOWN: u8 = 2;

macro_rules! frames {
    ($(
        $(#[$meta:meta])*
        $number:literal $name:ident { $( $(#[$fmeta:meta])* $key:literal $field:ident : $ty:ty, )* }
    )*) => {
        numbered! { $( $(#[$meta])* struct $name { $( $(#[$fmeta])* $key $field: $ty, )* } )* }

        /// Any control frame.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Control { $( #[doc = concat!("See [`struct@", stringify!($name), "`].")] $name($name), )* }

        $( impl From<$name> for Control { fn from(frame: $name) -> Self { Control::$name(frame) } } )*

        impl Control {
            /// The frame's name, for messages.
            pub fn name(&self) -> &'static str {
                match self { $( Control::$name(_) => stringify!($name), )* }
            }

            fn decode_type(kind: u64, map: &[u8]) -> Result<Self, WireError> {
                match kind {
                    $( $number => decode_map(stringify!($name), map).map(Control::$name), )*
                    got => Err(WireError::UnknownFrame { got, place: "on a control stream" }),
                }
            }

            /// Appends prefix, type and map. O(bytes).
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self { $( Control::$name(frame) => encode_map($number, frame, out), )* }
            }
        }
    };
}

frames! {
    /// First frame of a client (PROTOCOL.md 3.5).
    1 Hello {
        /// Protocol versions that it speaks.
        1 versions: Vec<u32>,
        /// Name and version of the software.
        2 agent: String,
        /// Which client it is: the same in all of its connections.
        3 client: ClientId,
        /// Rises with each connection of the client: a later one ends what is left of an earlier one.
        4 connection: u64,
    }
    /// The home's answer to [`struct@Hello`].
    2 Welcome {
        /// The version chosen.
        1 version: u32,
        /// The broker's name.
        2 broker: String,
        /// Fingerprint of the CA that vouches for the client.
        3 authority: Fingerprint,
        /// The broker's life.
        4 incarnation: Incarnation,
        /// The client's name.
        5 principal: String,
        /// Largest body that it takes, in bytes.
        6 body_bytes_max: u64,
        /// Name and version of the software.
        7 agent: String,
        /// It takes predicates in strict mode.
        8 strict: bool,
        /// It takes limits of mailboxes, and requests about dead letters.
        9 limits: bool,
    }
    /// Last frame of either side.
    3 Close {
        /// Why, as a code.
        1 code: u16,
        /// Why, and what to do.
        2 reason: String,
    }
    /// Opens or resumes a publish channel (PROTOCOL.md 5.1).
    4 OpenPublish {
        /// Chosen by the client.
        1 channel: u32,
        /// The epoch to resume; absent: a new one is issued.
        2 resume: Option<Epoch>,
    }
    /// Answer to [`struct@OpenPublish`].
    5 PublishOpened {
        /// The channel.
        1 channel: u32,
        /// Its epoch.
        2 epoch: Epoch,
        /// Lowest sequence that is neither accepted nor skipped.
        3 next: u64,
    }
    /// Asks for events (PROTOCOL.md 5.7).
    6 Subscribe {
        /// Chosen by the client.
        1 channel: u32,
        /// Topic filter.
        2 filter: String,
        /// Predicate.
        3 predicate: Option<String>,
        /// Excluded topic filters.
        4 except: Vec<String>,
        /// Name of the durable subscription; absent: live.
        5 durable: Option<String>,
        /// `home`, `peers` or `broker:NAME`; absent: `peers`.
        6 wait: Option<String>,
        /// Longest wait, in milliseconds; absent: 5,000.
        7 wait_ms: Option<u64>,
        /// Events that may be sent before the first credit frame.
        8 credit_events: u64,
        /// Bytes that may be sent before the first credit frame.
        9 credit_bytes: u64,
        /// Predicate in strict mode, in place of `predicate`; only to a home whose [`struct@Welcome`]
        /// says that it takes one.
        10 strict: Option<String>,
        /// Most bytes in its mailbox; only to a home whose
        /// [`struct@Welcome`] says that it takes limits.
        11 max_bytes: Option<u64>,
        /// Most events in its mailbox; only to a home whose
        /// [`struct@Welcome`] says that it takes limits.
        12 max_events: Option<u64>,
        /// Longest time that an event waits in its mailbox, in milliseconds; only to a home whose
        /// [`struct@Welcome`] says that it takes limits.
        13 max_age_ms: Option<u64>,
        /// What becomes of the oldest events of a full mailbox: `dead_letter` or `drop_oldest`.
        14 when_full: Option<String>,
    }
    /// The interest receipt.
    7 Subscribed {
        /// The channel.
        1 channel: u32,
        /// The home.
        2 home: String,
        /// Brokers whose later publishes match.
        3 installed: Vec<String>,
        /// Brokers that do not confirm, with the reason.
        4 pending: Vec<Pending>,
        /// A durable subscription that existed was resumed.
        5 resumed: bool,
    }
    /// A request was refused; nothing was changed.
    8 Refused {
        /// Number of the request or channel.
        1 request: u32,
        /// The code.
        2 code: u16,
        /// A name for programs, such as `filter_differs`.
        3 name: String,
        /// What was wrong and what to do.
        4 reason: String,
    }
    /// Raises what may be sent on a channel, as totals since it was opened.
    9 Credit {
        /// The channel.
        1 channel: u32,
        /// Events in all.
        2 events: u64,
        /// Bytes of bodies in all.
        3 bytes: u64,
    }
    /// Deliveries are done with.
    10 Ack {
        /// The channel.
        1 channel: u32,
        /// Inclusive ranges of mailbox sequences.
        2 ranges: Vec<(u64, u64)>,
    }
    /// Acks are flushed.
    11 Acked {
        /// The channel.
        1 channel: u32,
        /// Inclusive ranges of mailbox sequences.
        2 ranges: Vec<(u64, u64)>,
    }
    /// Receipts of publishes (PROTOCOL.md 5.6).
    12 Receipts {
        /// The publish channel.
        1 channel: u32,
        /// The receipts are of best-effort publishes.
        2 best_effort: bool,
        /// Last sequence that the runs cover.
        3 through: u64,
        /// (code, count, destinations) in ascending order of sequence, up to `through`.
        4 runs: Vec<(u16, u64, u64)>,
        /// Refused sequences.
        5 exceptions: Vec<Exception>,
    }
    /// Ends a subscription's channel; a durable subscription stays.
    13 Detach {
        /// The channel.
        1 channel: u32,
    }
    /// The broker ended a subscription's channel.
    14 ChannelClosed {
        /// The channel.
        1 channel: u32,
        /// The code.
        2 code: u16,
        /// A name for programs, such as `taken_over`.
        3 name: String,
        /// Why.
        4 reason: String,
    }
    /// Removes a durable subscription and its mailbox.
    15 RemoveSubscription {
        /// Chosen by the client.
        1 request: u32,
        /// Its name.
        2 durable: String,
    }
    /// Gives a durable subscription another filter; what is queued stays.
    16 UpdateSubscription {
        /// Chosen by the client.
        1 request: u32,
        /// Its name.
        2 durable: String,
        /// Topic filter; empty, without predicate and exclusions: the filter stays.
        3 filter: String,
        /// Predicate.
        4 predicate: Option<String>,
        /// Excluded topic filters.
        5 except: Vec<String>,
        /// As in [`struct@Subscribe`].
        6 strict: Option<String>,
        /// Most bytes in its mailbox; 0: none of its own; absent: as it
        /// is.
        7 max_bytes: Option<u64>,
        /// Most events in its mailbox; 0: none of its own; absent: as it
        /// is.
        8 max_events: Option<u64>,
        /// Longest time that an event waits in its mailbox, in milliseconds; 0: none of its own; absent: as it
        /// is.
        9 max_age_ms: Option<u64>,
        /// What becomes of the oldest events of a full mailbox: `dead_letter` or `drop_oldest`.
        10 when_full: Option<String>,
    }
    /// Asks for a page of the admin API (PROTOCOL.md 8).
    17 Query {
        /// Chosen by the client.
        1 request: u32,
        /// `status`, `peers`, `sessions`, `subscriptions`, `mailboxes` or `dead-letters`.
        2 page: String,
    }
    /// Answer to [`struct@Query`].
    18 Answer {
        /// Number of the request.
        1 request: u32,
        /// JSON by the schemas in protocol/.
        2 json: String,
    }
    /// A request without an answer of its own was carried out.
    19 Done {
        /// Number of the request.
        1 request: u32,
    }
    /// Nothing is outstanding on a publish channel and it will not be resumed.
    20 ClosePublish {
        /// The channel.
        1 channel: u32,
    }
    /// Asks for dead letters with their events (PROTOCOL.md 5.9).
    21 ReadDeadLetters {
        /// Chosen by the client.
        1 request: u32,
        /// Which ones.
        2 which: DeadLetterSelection,
        /// The first number wanted.
        3 from: u64,
        /// Bytes of the body of that one which are known already.
        4 offset: u64,
    }
    /// Puts dead letters back, or drops them (PROTOCOL.md 5.9).
    22 ChangeDeadLetters {
        /// Chosen by the client.
        1 request: u32,
        /// Which ones.
        2 which: DeadLetterSelection,
        /// `requeue` or `drop`.
        3 action: String,
    }

    /// First frame of each side of a link (PROTOCOL.md 6.1).
    32 PeerHello {
        /// Protocol versions that it speaks.
        1 versions: Vec<u32>,
        /// Name and version of the software.
        2 agent: String,
        /// The sender's life.
        3 incarnation: Incarnation,
    }
    /// The link is accepted by the sender (PROTOCOL.md 6.1).
    33 PeerReady {
        /// The version chosen.
        1 version: u32,
        /// Highest mailbox sequence of the receiver's (store, recovery epoch) that the sender has recorded.
        2 received_through: u64,
        /// Largest body that it takes, in bytes.
        3 body_bytes_max: u64,
    }
    /// The whole interest, in parts (PROTOCOL.md 6.3).
    34 InterestSnapshot {
        /// Version of the set.
        1 version: u64,
        /// From 0.
        2 part: u64,
        /// No part follows.
        3 last: bool,
        /// Entries of this part.
        4 entries: Vec<InterestEntry>,
    }
    /// A change of the interest.
    35 InterestDelta {
        /// The version that it changes.
        1 from: u64,
        /// The version that results.
        2 to: u64,
        /// New entries.
        3 add: Vec<InterestEntry>,
        /// Ids of entries that are gone.
        4 remove: Vec<u64>,
    }
    /// The interest of a version is installed, and its durable part is flushed.
    36 InterestAck {
        /// The version.
        1 version: u64,
    }
    /// What the sender's interest should look like at its peer.
    37 InterestDigest {
        /// The version.
        1 version: u64,
        /// See [`interest_digest`].
        2 digest: u64,
        /// Number of entries.
        3 entries: u64,
    }
    /// The peer's interest is in doubt here: a snapshot is wanted.
    38 InterestResync {
        /// The version held.
        1 have: u64,
    }
    /// Everything of the peer mailbox up to a sequence is recorded and flushed (PROTOCOL.md 6.4).
    39 HopAck {
        /// Mailbox sequence.
        1 through: u64,
    }
    /// Asks for a [`struct@Pong`].
    40 Ping {
        /// Chosen by the sender.
        1 token: u64,
    }
    /// Answer to [`struct@Ping`].
    41 Pong {
        /// From the ping.
        1 token: u64,
    }
}

macro_rules! stream_frames {
    ($(
        $(#[$meta:meta])*
        $number:literal $name:ident as $variant:ident { $( $(#[$fmeta:meta])* $key:literal $field:ident : $ty:ty, )* }
    )*) => {
        numbered! { $( $(#[$meta])* struct $name { $( $(#[$fmeta])* $key $field: $ty, )* } )* }

        $( impl $name {
            /// Appends prefix, type and map. O(bytes).
            pub fn encode(&self, out: &mut Vec<u8>) { encode_map($number, self, out) }
        } )*

        pub(crate) fn decode_stream_frame(kind: u64, map: &[u8]) -> Result<StreamFrame<'_>, WireError> {
            match kind {
                $( $number => decode_map(stringify!($name), map).map(StreamFrame::$variant), )*
                got => Err(WireError::UnknownFrame { got, place: "on an event stream" }),
            }
        }
    };
}

stream_frames! {
    /// First frame of a unidirectional stream (PROTOCOL.md 5.2).
    48 StreamOpen as Open {
        /// [`STREAM_PUBLISH`], [`STREAM_DURABLE`] or [`STREAM_LIVE`].
        1 kind: u8,
    }
    /// Defines or redefines a topic alias on this stream.
    49 TopicAlias as Topic {
        /// Below [`crate::ALIASES_MAX`].
        1 alias: u32,
        /// The topic.
        2 topic: String,
    }
    /// Defines or redefines a publisher alias on this stream.
    50 PublisherAlias as Publisher {
        /// Below [`crate::ALIASES_MAX`].
        1 alias: u32,
        /// `NAME@FINGERPRINT`.
        2 publisher: String,
        /// Its epoch.
        3 epoch: Epoch,
    }
    /// A publisher gives up sequences that were refused (PROTOCOL.md 5.6).
    54 Skip as Skip {
        /// The publish channel.
        1 channel: u32,
        /// First sequence.
        2 from: u64,
        /// Last sequence.
        3 through: u64,
    }
    /// A live subscription missed events (PROTOCOL.md 5.5).
    55 Gap as Gap {
        /// The channel; 0 on a link.
        1 channel: u32,
        /// [`GAP_EXACT`], [`GAP_AT_MOST`] or [`GAP_UNKNOWN`].
        2 kind: u8,
        /// How many.
        3 count: u64,
        /// `slow_consumer`, `link_lost`, `connection_lost` or `memory`.
        4 reason: String,
        /// The broker between which and the home it happened; empty: the home.
        5 broker: String,
    }
    /// The peer mailbox passes over sequences (PROTOCOL.md 6.4).
    56 Hole as Hole {
        /// First sequence.
        1 from: u64,
        /// Last sequence.
        2 through: u64,
        /// `expired` or `dropped`.
        3 reason: String,
    }
}

impl Control {
    /// Decodes one frame (without its length prefix).
    ///
    /// # Errors
    /// [`WireError`] for an unknown type or a malformed frame.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut reader = crate::msgpack::Reader::new(frame);
        if frame.is_empty() {
            return Err(WireError::EmptyFrame);
        }
        let kind = reader.uint().map_err(|bad| WireError::malformed("frame type", bad.text()))?;
        Control::decode_type(kind, &frame[reader.position()..])
    }
}

fn encode_map<T: Serialize>(number: u64, frame: &T, out: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(64);
    crate::msgpack::put_uint(&mut bytes, number);
    // Writing numbers, strings and lists into memory cannot fail.
    let written = rmp_serde::encode::write(&mut bytes, frame);
    debug_assert!(written.is_ok(), "{written:?}");
    put_prefix(out, bytes.len());
    out.extend_from_slice(&bytes);
}

fn decode_map<'de, T: Deserialize<'de>>(what: &'static str, map: &'de [u8]) -> Result<T, WireError> {
    check_one_map(what, map)?;
    rmp_serde::from_slice(map).map_err(|error| WireError::malformed(what, error.to_string()))
}

/// The map must be exactly one value, and not nest too deep: serde follows it by recursion.
fn check_one_map(what: &'static str, map: &[u8]) -> Result<(), WireError> {
    let mut reader = crate::msgpack::Reader::new(map);
    reader.skip(NESTING_MAX).map_err(|bad| WireError::malformed(what, bad.text()))?;
    if !reader.is_at_end() {
        let rest = map.len() - reader.position();
        return Err(WireError::malformed(what, format!("{rest} bytes after the frame's map")));
    }
    Ok(())
}

/// Digest of an interest set: the wrapping sum of the FNV-1a 64 hashes of its entries, each
/// entry encoded as in a snapshot with keys 2 to 5 alone (PROTOCOL.md 6.3), which every version
/// knows. Independent of order.
pub fn interest_digest<'a>(entries: impl IntoIterator<Item = &'a InterestEntry>) -> u64 {
    entries.into_iter().map(entry_hash).fold(0, u64::wrapping_add)
}

fn entry_hash(entry: &InterestEntry) -> u64 {
    let anonymous = InterestEntry { id: 0, strict: None, ..entry.clone() };
    let bytes = rmp_serde::to_vec(&anonymous).unwrap_or_default();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::frames;
    use crate::identity::StoreId;

    fn round_trip(control: Control) {
        let mut out = Vec::new();
        control.encode(&mut out);
        let range = frames(&out).next().unwrap();
        assert_eq!(Control::decode(&out[range]).unwrap(), control);
    }

    #[test]
    fn frames_read_back_as_written() {
        let client = ClientId([7; 16]);
        round_trip(Hello { versions: vec![1], agent: "test".into(), client, connection: 3 }.into());
        round_trip(
            PublishOpened {
                channel: 4,
                epoch: Epoch { store: StoreId([3; 16]), recovery_epoch: 1, counter: 9 },
                next: 77,
            }
            .into(),
        );
        round_trip(
            Subscribe {
                channel: 1,
                filter: "orders/+".into(),
                predicate: Some("amount > 1".into()),
                durable: Some(String::new()),
                except: vec!["orders/x".into()],
                wait_ms: Some(0),
                ..Default::default()
            }
            .into(),
        );
        round_trip(
            Receipts {
                channel: 2,
                best_effort: false,
                through: 12,
                runs: vec![(200, 10, 3), (400, 1, 0)],
                exceptions: vec![Exception {
                    sequence: 12,
                    code: 400,
                    reason: "bad topic".into(),
                    retry_ms: None,
                }],
            }
            .into(),
        );
        round_trip(
            InterestDelta {
                from: 1,
                to: 2,
                add: vec![InterestEntry {
                    id: 1,
                    class: 1,
                    filter: "a/#".into(),
                    predicate: None,
                    except: vec![],
                    strict: Some("b = 1".into()),
                }],
                remove: vec![3],
            }
            .into(),
        );
        round_trip(Detach::default().into());
    }

    #[test]
    fn unknown_keys_are_ignored_and_missing_ones_have_their_default() {
        // 13 Detach, {1: 5, 99: {"x": [1]}}
        let frame = [13, 0x82, 1, 5, 99, 0x81, 0xa1, b'x', 0x91, 1];
        assert_eq!(Control::decode(&frame), Ok(Control::Detach(Detach { channel: 5 })));
        assert_eq!(Control::decode(&[13, 0x80]), Ok(Control::Detach(Detach { channel: 0 })));
    }

    #[test]
    fn unknown_types_trailing_bytes_and_wrong_types_are_errors() {
        assert!(matches!(Control::decode(&[31, 0x80]), Err(WireError::UnknownFrame { got: 31, .. })));
        assert!(matches!(Control::decode(&[13, 0x80, 1]), Err(WireError::Malformed { .. })));
        assert!(matches!(Control::decode(&[13, 0x81, 1, 0xa1, b'x']), Err(WireError::Malformed { .. })));
        assert!(Control::decode(&[13]).is_err());
        assert_eq!(Control::decode(&[]), Err(WireError::EmptyFrame));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let mut frame = vec![13, 0x81, 99];
        frame.extend(std::iter::repeat_n(0x91, 200_000));
        frame.push(1);
        assert!(Control::decode(&frame).is_err());
    }

    #[test]
    fn a_known_key_that_stands_twice_is_refused() {
        assert!(matches!(Control::decode(&[13, 0x82, 1, 5, 1, 5]), Err(WireError::Malformed { .. })));
        assert!(Control::decode(&[13, 0x83, 99, 1, 99, 2, 1, 5]).is_ok());
    }

    #[test]
    fn maps_and_lists_nest_sixteen_deep_the_frames_own_included() {
        let nested = |levels: usize| {
            let mut frame = vec![13, 0x81, 99];
            frame.extend(std::iter::repeat_n(0x91, levels - 2));
            frame.push(0x80); // an empty map is a level too
            Control::decode(&frame)
        };
        assert!(nested(16).is_ok());
        assert!(matches!(nested(17), Err(WireError::Malformed { .. })));
    }

    #[test]
    fn the_digest_does_not_depend_on_order_or_id() {
        let entry = |id, filter: &str| InterestEntry {
            id,
            class: 0,
            filter: filter.into(),
            predicate: None,
            except: vec![],
            strict: None,
        };
        let one = interest_digest(&[entry(1, "a"), entry(2, "b")]);
        assert_eq!(one, interest_digest(&[entry(9, "b"), entry(8, "a")]));
        assert_ne!(one, interest_digest(&[entry(1, "a"), entry(2, "c")]));
    }
}
