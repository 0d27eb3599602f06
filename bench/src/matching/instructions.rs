//! The hot path under a counter of instructions (valgrind's callgrind), and nothing else counted.
//!
//! 1. Loading is neither counted nor slowed down by counting: valgrind is started with
//!    `--instr-atstart=no`, and told by `vgdb` when the load is done.
//! 2. What is counted is [`match_counted`] alone: `--toggle-collect` names it.
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
    /// How many are matched while it counts; as many others before.
    pub events: usize,
    /// `vgdb`, which switches counting on; without it nothing is counted.
    pub vgdb: Option<Command>,
}

/// Loads the index and matches; returns how many matches the counted events had.
///
/// # Errors
/// What refused: the index, or `vgdb`.
pub fn count(counted: Counted) -> Result<usize, String> {
    let engine = Indexed::new(&counted.family.schema())?;
    for (id, asked) in (0..counted.subscriptions).zip(counted.family.asked(counted.seed)) {
        engine.insert(id, Indexed::prepare(&asked)?)?;
    }
    let events: Vec<Event> = counted.family.events(counted.seed).take(2 * counted.events).collect();
    let (counted_events, before) = events.split_at(counted.events);
    let mut matcher = engine.matcher();
    match_events(&mut matcher, before)?;
    counted.vgdb.map_or(Ok(()), switch_on)?;
    match_counted(&mut matcher, counted_events)
}

/// Named by `--toggle-collect`.
#[inline(never)]
fn match_counted(matcher: &mut impl Matcher, events: &[Event]) -> Result<usize, Refusal> {
    match_events(matcher, events)
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
