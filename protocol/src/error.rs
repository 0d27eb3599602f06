//! What can be wrong with bytes from the other side (PROTOCOL.md 3.4).
//!
//! Every variant says what was found and what was expected, so that the text that
//! travels back in the close frame helps whoever wrote the other side.

use thiserror::Error;

/// A violation of the protocol, found while decoding. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// A frame longer than the limit of its stream.
    #[error(
        "frame of {got} bytes exceeds the limit of {limit} bytes: split the payload or raise the broker's limit"
    )]
    FrameTooLarge {
        /// Length that the prefix announces.
        got: u64,
        /// The limit in force.
        limit: usize,
    },
    /// A frame without a type.
    #[error("empty frame: a frame starts with its type")]
    EmptyFrame,
    /// A frame type that this version does not know, on this kind of stream.
    #[error("unknown frame type {got} {place}: this broker speaks protocol version 1")]
    UnknownFrame {
        /// The type found.
        got: u64,
        /// Which stream it came on.
        place: &'static str,
    },
    /// MessagePack that does not decode to what the frame needs.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// The frame or field being read.
        what: &'static str,
        /// Why it does not decode.
        reason: String,
    },
    /// An alias that was never defined on this stream.
    #[error("unknown {kind} alias {alias}: define it on the same stream before its first use")]
    UnknownAlias {
        /// `topic` or `publisher`.
        kind: &'static str,
        /// The alias.
        alias: u64,
    },
    /// An alias number above the bound.
    #[error("{kind} alias {alias} exceeds the limit of {limit} aliases on a stream: reuse a lower number")]
    AliasTooLarge {
        /// `topic` or `publisher`.
        kind: &'static str,
        /// The alias.
        alias: u64,
        /// The limit in force.
        limit: u32,
    },
    /// A body that breaks PROTOCOL.md 4.
    #[error("malformed body: {reason}")]
    Body {
        /// What is wrong with it.
        reason: String,
    },
}

impl WireError {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        WireError::Malformed { what, reason: reason.into() }
    }

    pub(crate) fn body(reason: impl Into<String>) -> Self {
        WireError::Body { reason: reason.into() }
    }
}
