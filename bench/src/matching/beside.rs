//! How long matching takes while another thread inserts and removes without pause.
//!
//! The writer takes each subscription out again after [`KEPT`] others, so that the engine keeps its
//! size. What the kernel takes from either thread shows as well, and is counted: the machine should
//! have a processor for each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clock::{Clock, Samples};
use super::engine::{Engine, Matcher, Refusal};
use super::event::Event;
use super::figures::{Beside, Longest};

/// How long each of the two is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// Subscriptions between an insert and its remove.
const KEPT: usize = 64;

/// Measures both; `fresh` are subscriptions with ids that are not in use.
pub(super) fn measure<E: Engine>(
    engine: &E,
    clock: Clock,
    events: &[Event],
    fresh: &[(u32, E::Subscription)],
) -> Result<Beside, Refusal> {
    let alone = watch(engine, clock, events)?;
    let done = AtomicBool::new(false);
    let fresh = fresh.to_vec();
    let (with_writer, changes_per_second) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(engine, fresh, &done));
        let longest = watch(engine, clock, events);
        done.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panics".to_owned());
        Ok::<_, Refusal>((longest?, written??))
    })?;
    Ok(Beside { changes_per_second, alone, with_writer })
}

/// Inserts and removes until `done`; returns how many of these per second, and leaves nothing.
fn write<E: Engine>(
    engine: &E,
    fresh: Vec<(u32, E::Subscription)>,
    done: &AtomicBool,
) -> Result<f64, Refusal> {
    let began = Instant::now();
    let mut changes = 0_u64;
    while !done.load(Ordering::Relaxed) {
        let mut inserted = 0;
        while inserted < fresh.len() && !done.load(Ordering::Relaxed) {
            let (id, subscription) = &fresh[inserted];
            engine.insert(*id, subscription.clone())?;
            inserted += 1;
            if inserted > KEPT {
                engine.remove(fresh[inserted - 1 - KEPT].0)?;
            }
        }
        let left = &fresh[inserted.saturating_sub(KEPT)..inserted];
        left.iter().try_for_each(|(id, _)| engine.remove(*id))?;
        changes += 2 * inserted as u64;
    }
    Ok(changes as f64 / began.elapsed().as_secs_f64())
}

fn watch<E: Engine>(engine: &E, clock: Clock, events: &[Event]) -> Result<Longest, Refusal> {
    let mut matcher = engine.matcher();
    let (mut wall, mut processor) = (Samples::default(), Samples::default());
    let mut ids = Vec::new();
    for event in events {
        ids.clear();
        matcher.receive(event);
        matcher.find(event, &mut ids)?;
    }
    let (deadline, preempted) = (Instant::now() + WATCHED, preemptions());
    for event in events.iter().cycle().take_while(|_| Instant::now() < deadline) {
        ids.clear();
        matcher.receive(event);
        let (found, took) = clock.measure(|| matcher.find(event, &mut ids));
        found?;
        wall.push(took.wall);
        processor.push(took.processor);
    }
    Ok(Longest {
        events: wall.len(),
        median_us: wall.per_mille(500),
        p999_us: wall.per_mille(999),
        wall_us: wall.per_mille(1_000),
        processor_us: processor.per_mille(1_000),
        preempted: preemptions() - preempted,
    })
}

/// How often the kernel took the processor from this thread so far; 0 where it does not tell.
fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
