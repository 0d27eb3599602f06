//! One connection after another: dialling, its tasks, and what happens between two.
//!
//! Tasks per connection: `control` reads and writes the control stream (two tasks), `events`
//! accepts streams and reads each (one task per stream, two in practice), `silence` notices a
//! broker that is gone, and the writer of [`crate::publish`] writes. All end with the connection; their state survives in [`crate::shared`].

mod control;
mod dial;
mod events;
mod silence;
mod supervisor;
mod witness;

pub(crate) use dial::dial;
pub(crate) use supervisor::start;
