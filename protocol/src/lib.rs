//! The wire of Fanal: frames, envelope and body, codes, identities.
//!
//! `PROTOCOL.md` beside this crate is the normative text; each module names the
//! section that it implements.
//!
//! Invariants:
//! 1. No IO, no clock, no threads: bytes in, values out, and back.
//! 2. No input makes a decoder panic or allocate more than the input's own size
//!    times a small constant.
//! 3. A body is forwarded byte for byte; fields that are not known yet survive.
//! 4. Numbers (frame types, keys, codes) are never reused.
//!
//! Depends on `rmp`, `rmp-serde` and `serde` only. Topics and filters are plain
//! text here; what they mean is the business of `fanal-matching`.

pub mod body;
pub mod code;
pub mod control;
mod error;
pub mod event;
pub mod frame;
pub mod identity;
mod msgpack;
#[macro_use]
mod numbered;
pub mod receipt;
pub mod stream;
#[cfg(feature = "tls")]
pub mod tls;

pub use body::{AttributeValue, Body, BodyBuilder, BodyView, Timestamp};
pub use code::Code;
pub use control::Control;
pub use error::WireError;
pub use event::{Class, EventHeader, PublishHeader};
pub use identity::{ClientId, Epoch, Fingerprint, Incarnation, PublisherId, Role, StoreId};

/// ALPN of the connection between a client and its home (PROTOCOL.md 2.1).
pub const ALPN_CLIENT: &[u8] = b"fanal/1";
/// ALPN of the link between two brokers (PROTOCOL.md 2.1).
pub const ALPN_PEER: &[u8] = b"fanal-peer/1";
/// Version of the frames that this crate speaks (PROTOCOL.md 1.3).
pub const PROTOCOL_VERSION: u32 = 1;
/// Largest frame on a control stream, in bytes (PROTOCOL.md 3.3).
pub const CONTROL_FRAME_BYTES_MAX: usize = 256 * 1024;
/// Default for the largest body of an event, in bytes (PROTOCOL.md 3.3).
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Room for header and topic beside a body in an event frame, in bytes (PROTOCOL.md 3.3).
pub const EVENT_OVERHEAD_BYTES_MAX: usize = 4 * 1024;
/// Largest number of topic aliases, and of publisher aliases, on one stream (PROTOCOL.md 5.2).
pub const ALIASES_MAX: u32 = 4096;
