//! The files of `protocol/vectors`, held against the crate's encoders and decoders, and against
//! the page that they illustrate.
//!
//! 1. What a vector's bytes decode to is what the file says; where it says `encodes`, encoding
//!    that value gives the bytes.
//! 2. The files were made with another encoder, so that no mistake of this one is in both.
//! 3. A member of a value that no field takes is an error, so that a misspelt name is found.
//!
//! Topics and predicates are read by the tests of fanal-matching; that a broker closes with the
//! code of `violations.json` is shown end to end.

#![allow(clippy::unwrap_used, reason = "a file that is not as described fails the test")]

mod bodies;
mod frames;
mod interest;
mod json;
mod page;
mod receipts;
mod streams;
mod violations;
