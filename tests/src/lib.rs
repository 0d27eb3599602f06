//! What the end-to-end tests stand on: real `fanal` processes, a client that breaks the rules, and
//! a plain pass over the flights as oracle.
//!
//! Invariants:
//! 1. Tests wait for events (a line, a frame, an exit), each with a bound; [`wait::until`] and
//!    its blocking twin alone poll, for conditions that announce themselves nowhere.
//! 2. Every process is killed by its id when its guard goes; nothing is killed by name.
//! 3. When a test fails, what its processes wrote to stderr is shown.
//! 4. A broker that lives when its test ends must balance its ledger (docs/METRICS.md): the guard waits
//!    for that. Only a test that says why is excused ([`broker::Broker::excuse_ledger`]).
//!
//! Depends on the client library and the wire crate, never on the broker's crates: what is tested
//! here is what a user has.

pub mod authority;
pub mod broker;
pub mod cli;
pub mod dashboard;
pub mod flights;
pub mod ground;
pub mod http;
pub mod island;
pub mod papers;
pub mod process;
pub mod prometheus;
pub mod promql;
pub mod raw;
pub mod schema;
pub mod subscriber;
pub mod tool;
pub mod wait;
pub mod webdriver;

/// Compiles the README's program; its commands are run by `tests/readme.rs`.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
