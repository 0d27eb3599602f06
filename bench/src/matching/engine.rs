//! What is measured: engines that hold subscriptions and find those that an event matches.
//!
//! 1. A subscription is named by its id, its place in the workload's stream: dense, from 0.
//! 2. [`Engine::prepare`] and what parsing it does are never timed, except where an engine takes
//!    nothing but text.
//! 3. [`Matcher::find`] writes out every match once, in any order, by the engine's own dense u32
//!    numbers; [`Matcher::ids`] says which ids these are, and is not timed.
//!
//! One file per engine; `index.rs` is the adapter of the project's own.

use std::time::Instant;

use super::asked::Asked;
use super::event::{Event, Schema};

#[cfg(feature = "rivals")]
pub(super) mod a_tree;
pub(super) mod index;
#[cfg(feature = "rivals")]
pub(super) mod quamina;
pub(super) mod scan;

/// Why an engine cannot go on; the cell says so in place of its figures.
pub(super) type Refusal = String;

/// Holds subscriptions. Changes go through a shared reference, so that matching can go on.
pub(super) trait Engine: Send + Sync + Sized {
    /// A subscription in the form that the engine takes. Cheap to clone where the engine shares it.
    type Subscription: Clone + Send;
    /// Finds matches; one per thread, made once.
    type Matcher<'e>: Matcher
    where
        Self: 'e;

    /// Whether matching and changes by two threads are worth measuring.
    const IS_CONCURRENT: bool;

    /// An engine without subscriptions.
    fn new(schema: &Schema) -> Result<Self, Refusal>;

    /// The subscription for [`insert`](Engine::insert), or why the engine cannot express it.
    fn prepare(asked: &Asked) -> Result<Self::Subscription, Refusal>;

    /// Adds a subscription under an id that is not in use.
    fn insert(&self, id: u32, subscription: Self::Subscription) -> Result<(), Refusal>;

    /// Takes out what was inserted under `id`.
    fn remove(&self, id: u32) -> Result<(), Refusal>;

    /// Adds subscriptions to an empty engine, with ids from 0. Ends at `deadline`; returns how many
    /// it has added.
    fn load(&self, subscriptions: Vec<Self::Subscription>, deadline: Instant) -> Result<usize, Refusal> {
        let mut loaded = 0;
        for (id, subscription) in (0..).zip(subscriptions) {
            if loaded % 16 == 0 && Instant::now() > deadline {
                break;
            }
            self.insert(id, subscription)?;
            loaded += 1;
        }
        Ok(loaded)
    }

    /// Bytes that the engine says it uses for matching and removing, if it says so.
    fn bytes(&self) -> Option<usize> {
        None
    }

    /// For one thread.
    fn matcher(&self) -> Self::Matcher<'_>;
}

/// Finds matches on one thread; may keep routes, buffers and what else makes the next event faster.
pub(super) trait Matcher {
    /// Brings the event into the form in which it would reach the engine. Not timed.
    fn receive(&mut self, _event: &Event) {}

    /// Finds all subscriptions that want the event; what was found before is forgotten.
    fn find(&mut self, event: &Event) -> Result<(), Refusal>;

    /// How many the last [`find`](Matcher::find) found.
    fn found(&self) -> usize;

    /// The ids of what it found.
    fn ids(&self) -> Vec<u32>;

    /// Finds for several events at once, each event's matches apart; false if the engine has no such
    /// way.
    fn find_batch(&mut self, _events: &[Event]) -> Result<bool, Refusal> {
        Ok(false)
    }

    /// The ids of what the last [`find_batch`](Matcher::find_batch) found for the event in that place.
    fn batch_ids(&self, _place: usize) -> Vec<u32> {
        Vec::new()
    }

    /// How many match, handed over as slices that are not copied; `None` if the engine has no such
    /// way. An engine may count subscriptions in it that were removed lately.
    fn find_slices(&mut self, _event: &Event) -> Result<Option<usize>, Refusal> {
        Ok(None)
    }
}
