//! Topics, the filter language and the subscription index of Fanal, without IO.
//!
//! A subscription asks with a [`Selector`]: a [`TopicFilter`], exclusions and an optional
//! predicate, a [`Filter`]. The [`Index`] holds selectors with opaque destinations and answers
//! one [`Route`] per [`Topic`]; a route's candidates are then decided per event from its
//! [`Attributes`].
//!
//! 1. Nothing here reads a clock, a file, a socket or a source of randomness.
//! 2. No input makes this crate panic or take unbounded time: every text is bounded before it is
//!    kept, and what is refused names its bound.
//! 3. Evaluating a filter and testing a topic allocate nothing, but for strict filters that build text.
//! 4. Everything that reaches an output is ordered (candidates by [`EntryId`]).
//!
//! Not here: who may subscribe (policy), what a destination is (the core), how an attribute is
//! read from the wire (the caller's [`Attributes`]); a JSON payload is, by [`JsonPayload`].

pub mod filter;
pub mod index;
pub mod json;
pub mod path;
pub mod selector;
pub mod summary;
pub mod text;
pub mod topic;
pub mod value;

mod cover;
mod normal;

// Tests inside the crate share the generator of those outside, which names it.
#[cfg(test)]
extern crate self as fanal_matching;
#[cfg(test)]
#[path = "../tests/generate/mod.rs"]
mod generate;

pub use filter::{Clause, Explanation, Filter, FilterError, FilterErrorReason, Reading, Truth, strict};
pub use index::{Entries, EntryId, EntryList, Index, Route};
pub use json::{JsonPayload, JsonValue};
pub use path::Path;

pub use selector::{Selector, Verdict};
pub use summary::{Summary, summarise};
pub use topic::{Topic, TopicError, TopicFilter};
pub use value::{Attributes, Timestamp, TimestampError, Value};
