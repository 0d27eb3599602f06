//! Reading the files: members by name, bytes from hexadecimal, values of the crate's types.
//!
//! Invariant: [`object`] panics on a member that nothing asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use fanal_protocol::control::*;
use fanal_protocol::{ClientId, Epoch, Fingerprint, Incarnation, StoreId};
use serde_json::{Map, Value};

/// The whole of one file.
pub(crate) fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The list `key` of a file: (name, vector).
pub(crate) fn vectors(name: &str, key: &str) -> Vec<(String, Value)> {
    let list: Vec<Value> = file(name)[key].as_array().expect("a list").clone();
    assert!(!list.is_empty(), "{name}: no {key}");
    list.into_iter().map(|vector| (format!("{name}: {}", text(&vector["name"])), vector)).collect()
}

/// A string.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

/// Bytes from hexadecimal digits; spaces and line ends are stepped over.
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte");
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("hexadecimal");
    digits.chunks(2).map(pair).collect()
}

/// The `hex` of a vector or a value.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    bytes(text(&value["hex"]))
}

/// The members of one JSON object, each taken once.
pub(crate) struct Fields<'v> {
    members: &'v Map<String, Value>,
    taken: RefCell<BTreeSet<&'static str>>,
}

impl Fields<'_> {
    /// The member, or the default of its type where it is missing.
    pub(crate) fn get<T: FromJson + Default>(&self, name: &'static str) -> T {
        self.taken.borrow_mut().insert(name);
        self.members.get(name).map(T::from_json).unwrap_or_default()
    }
}

/// Reads an object with `read`, which must take every member.
pub(crate) fn object<T>(value: &Value, read: impl FnOnce(&Fields<'_>) -> T) -> T {
    let members = value.as_object().unwrap_or_else(|| panic!("not an object: {value}"));
    let fields = Fields { members, taken: RefCell::default() };
    let out = read(&fields);
    for name in members.keys() {
        assert!(fields.taken.borrow().contains(name.as_str()), "nothing takes `{name}` of {value}");
    }
    out
}

/// A value of the wire as these files write it.
pub(crate) trait FromJson {
    fn from_json(value: &Value) -> Self;
}

macro_rules! unsigned {
    ($($type:ty)*) => {$(
        impl FromJson for $type {
            fn from_json(value: &Value) -> Self {
                let number = value.as_u64().unwrap_or_else(|| panic!("not an unsigned integer: {value}"));
                <$type>::try_from(number).unwrap_or_else(|_| panic!("{number} is too large"))
            }
        }
    )*};
}
unsigned!(u8 u16 u32 u64);

impl FromJson for i64 {
    fn from_json(value: &Value) -> Self {
        value.as_i64().unwrap_or_else(|| panic!("not an integer: {value}"))
    }
}

impl FromJson for bool {
    fn from_json(value: &Value) -> Self {
        value.as_bool().unwrap_or_else(|| panic!("not a boolean: {value}"))
    }
}

impl FromJson for String {
    fn from_json(value: &Value) -> Self {
        text(value).to_owned()
    }
}

/// `{"hex": "…"}`.
#[derive(Default)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl FromJson for Hex {
    fn from_json(value: &Value) -> Self {
        Hex(hex(value))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: &Value) -> Self {
        (!value.is_null()).then(|| T::from_json(value))
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: &Value) -> Self {
        value.as_array().expect("a list").iter().map(T::from_json).collect()
    }
}

impl<A: FromJson, B: FromJson> FromJson for (A, B) {
    fn from_json(value: &Value) -> Self {
        let [a, b] = value.as_array().expect("a pair").as_slice() else { panic!("not a pair: {value}") };
        (A::from_json(a), B::from_json(b))
    }
}

impl<A: FromJson, B: FromJson, C: FromJson> FromJson for (A, B, C) {
    fn from_json(value: &Value) -> Self {
        let [a, b, c] = value.as_array().expect("a triple").as_slice() else {
            panic!("not a triple: {value}")
        };
        (A::from_json(a), B::from_json(b), C::from_json(c))
    }
}

impl FromJson for StoreId {
    fn from_json(value: &Value) -> Self {
        StoreId(hex(value).try_into().expect("16 bytes"))
    }
}

impl FromJson for ClientId {
    fn from_json(value: &Value) -> Self {
        ClientId(hex(value).try_into().expect("16 bytes"))
    }
}

impl FromJson for Fingerprint {
    fn from_json(value: &Value) -> Self {
        Fingerprint(hex(value).try_into().expect("32 bytes"))
    }
}

macro_rules! structs {
    ($($name:ident { $($field:ident)* })*) => {$(
        impl FromJson for $name {
            fn from_json(value: &Value) -> Self {
                object(value, |fields| $name { $($field: fields.get(stringify!($field)),)* })
            }
        }
    )*};
}

structs! {
    Incarnation { store recovery_epoch start }
    Epoch { store recovery_epoch counter }
    DeadLetterSelection { subscription principal peer reason numbers }
    Pending { broker reason }
    Exception { sequence code reason retry_ms }
    InterestEntry { id class filter predicate except strict }
    StreamOpen { kind }
    TopicAlias { alias topic }
    PublisherAlias { alias publisher epoch }
    Skip { channel from through }
    Gap { channel kind count reason broker }
    Hole { from through reason }
}

macro_rules! controls {
    ($($name:ident { $($field:ident)* })*) => {
        structs! { $($name { $($field)* })* }

        /// The control frame of a name.
        pub(crate) fn control(frame: &str, value: &Value) -> fanal_protocol::Control {
            match frame {
                $( stringify!($name) => $name::from_json(value).into(), )*
                _ => panic!("no control frame is called {frame}"),
            }
        }
    };
}

controls! {
    Hello { versions agent client connection }
    Welcome { version broker authority incarnation principal body_bytes_max agent strict limits }
    Close { code reason }
    OpenPublish { channel resume }
    PublishOpened { channel epoch next }
    Subscribe { channel filter predicate except durable wait wait_ms credit_events credit_bytes strict max_bytes max_events max_age_ms
        when_full }
    Subscribed { channel home installed pending resumed }
    Refused { request code name reason }
    Credit { channel events bytes }
    Ack { channel ranges }
    Acked { channel ranges }
    Receipts { channel best_effort through runs exceptions }
    Detach { channel }
    ChannelClosed { channel code name reason }
    RemoveSubscription { request durable }
    UpdateSubscription { request durable filter predicate except strict max_bytes max_events max_age_ms
        when_full }
    Query { request page }
    Answer { request json }
    Done { request }
    ClosePublish { channel }
    ReadDeadLetters { request which from offset }
    ChangeDeadLetters { request which action }
    PeerHello { versions agent incarnation }
    PeerReady { version received_through body_bytes_max }
    InterestSnapshot { version part last entries }
    InterestDelta { from to add remove }
    InterestAck { version }
    InterestDigest { version digest entries }
    InterestResync { have }
    HopAck { through }
    Ping { token }
    Pong { token }
}
