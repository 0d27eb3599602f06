//! Topics, the filter language and the subscription index of Fanal, without IO.
//!
//! A subscription asks with a [`Selector`]: a [`TopicFilter`], exclusions and an optional
//! predicate, a [`Filter`]. The [`Index`] holds very many selectors with opaque destinations and
//! finds those that want an event; a [`Route`] keeps what the topic alone decides.
//!
//! ```
//! use fanal_matching::{Filter, Index, Selector, Topic, TopicFilter, Value};
//!
//! let index = Index::new();
//! let mut late = Selector::new(TopicFilter::parse("flights/+/+")?);
//! late.predicate = Some(Filter::parse("dep_delay > 60 AND carrier IN ('UA', 'B6')")?);
//! let id = index.insert(late, "late");
//!
//! let mut route = index.route(&Topic::parse("flights/JFK/LAX")?);
//! let event = [("dep_delay", Value::Int(75)), ("carrier", Value::Str("UA"))];
//! let mut found = Vec::new();
//! index.visit(&mut route, &event, |id, destination| found.push((id, *destination)));
//! assert_eq!(found, [(id, "late")]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! 1. Nothing here reads a clock, a file, a socket or a source of randomness.
//! 2. No input makes this crate panic or take unbounded time: every text is bounded before it is
//!    kept, and what is refused names its bound. The one end is an index of 8 GiB.
//! 3. Evaluating a filter allocates nothing but the texts that functions make, within a bound.
//! 4. What is found comes in no order; everything else that reaches an output is ordered.
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
mod simd;

// Tests inside the crate share the generator of those outside, which names it.
#[cfg(test)]
extern crate self as fanal_matching;
#[cfg(test)]
#[path = "../tests/generate/mod.rs"]
mod generate;

pub use filter::{Clause, Explanation, Filter, FilterError, FilterErrorReason, Reading, Truth, strict};
pub use index::{Entries, EntryId, EntryList, Index, IndexFull, Route};
pub use json::{JsonPayload, JsonValue};
pub use path::Path;

pub use selector::{Selector, Verdict};
pub use summary::{Summary, summarise};
pub use topic::{Topic, TopicError, TopicFilter};
pub use value::{Attributes, Timestamp, TimestampError, Value};
