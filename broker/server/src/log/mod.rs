//! The log writer: the one thread that fixes order and makes things durable.
//!
//! Edges and links submit requests ([`LogQueue`]); the writer takes all that wait, lets the
//! core's [`fanal_core::Home`] judge them, appends one batch, flushes it, and only then lets
//! anybody know ([`completion`]). While it flushes, the next batch grows: group commit without a
//! timer.

pub(crate) mod completion;
pub(crate) mod limits;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod writer;

pub(crate) use queue::LogQueue;
pub(crate) use request::{Command, LogError, LogRequest, Output};
