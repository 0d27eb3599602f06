//! The hot path under a counter of instructions (valgrind's callgrind), and nothing else counted.
//!
//! 1. Loading is neither counted nor slowed down by counting: valgrind is started with
//!    `--instr-atstart=no`, and told by `vgdb` when the load is done.
//! 2. What is counted is [`match_counted`] or [`change_counted`] alone: `--toggle-collect` names them.
//! 3. The same program counts the same, whatever else the machine does.
//!
//! `bench/tests/instructions.rs` starts it and holds the counts against their budgets.

use std::process::{Command, Stdio};

use super::engine::index::Indexed;
use super::engine::{Engine, Matcher, Refusal};
use super::event::Event;
use super::family::Family;

/// What to count.
#[derive(Debug)]
pub struct Counted {
    /// The workload.
    pub family: Family,
    /// Of the workload.
    pub seed: u64,
    /// How many the index holds.
    pub subscriptions: u32,
    /// How many are matched, before it counts and once more then, or after it has counted changes.
    pub events: usize,
    /// How many are taken out, the first ones, and how many others put in, while it counts; with 0 matching
    /// is counted.
    pub changes: u32,
    /// `vgdb`, which switches counting on; without it nothing is counted.
    pub vgdb: Option<Command>,
}

/// Loads the index, changes it and matches; returns how many matches the events had that were matched
/// last.
///
/// # Errors
/// What refused: the index, or `vgdb`.
pub fn count(counted: Counted) -> Result<usize, String> {
    let Counted { family, seed, subscriptions, events, changes, vgdb } = counted;
    let engine = Indexed::new(&family.schema())?;
    let mut asked = family.asked(seed);
    for (id, asked) in (0..subscriptions).zip(&mut asked) {
        engine.insert(id, Indexed::prepare(&asked)?)?;
    }
    let events: Vec<Event> = family.events(seed).take(2 * events).collect();
    let (events, before) = events.split_at(events.len() / 2);
    let mut matcher = engine.matcher();
    match_events(&mut matcher, before)?;
    let fresh = asked.take(changes as usize).map(|asked| Indexed::prepare(&asked));
    let fresh = fresh.collect::<Result<Vec<_>, Refusal>>()?;
    vgdb.map_or(Ok(()), switch_on)?;
    if fresh.is_empty() {
        return match_counted(&mut matcher, events);
    }
    change_counted(&engine, subscriptions, fresh)?;
    match_events(&mut matcher, events)
}

/// Named by `--toggle-collect`.
#[inline(never)]
fn match_counted(matcher: &mut impl Matcher, events: &[Event]) -> Result<usize, Refusal> {
    match_events(matcher, events)
}

/// Named by `--toggle-collect`.
#[inline(never)]
fn change_counted(
    engine: &Indexed,
    first: u32,
    fresh: Vec<<Indexed as Engine>::Subscription>,
) -> Result<(), Refusal> {
    for (gone, subscription) in (0..).zip(fresh) {
        engine.remove(gone)?;
        engine.insert(first + gone, subscription)?;
    }
    Ok(())
}

fn match_events(matcher: &mut impl Matcher, events: &[Event]) -> Result<usize, Refusal> {
    let mut found = 0;
    for event in events {
        matcher.find(event)?;
        found += matcher.found();
    }
    Ok(found)
}

/// Lets valgrind count from now on. Goes on running meanwhile: a program that waits in the kernel
/// does not hear it.
fn switch_on(mut vgdb: Command) -> Result<(), String> {
    vgdb.stdout(Stdio::null()).stderr(Stdio::null());
    vgdb.arg(format!("--pid={}", std::process::id())).args(["instrumentation", "on"]);
    let failed = |error: &dyn std::fmt::Display| format!("vgdb: {error}");
    let mut child = vgdb.spawn().map_err(|error| failed(&error))?;
    loop {
        match child.try_wait().map_err(|error| failed(&error))? {
            None => std::hint::spin_loop(),
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(&status)),
        }
    }
}
