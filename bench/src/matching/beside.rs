//! How long matching takes while another thread inserts and removes without pause.
//!
//! 1. The writer takes each subscription out again after [`KEPT`] others, so that the engine keeps
//!    its size.
//! 2. An event during which the kernel preempted the thread is not counted: that is the machine's
//!    doing. Waiting for a lock is no preemption, and counts.
//!
//! What a hypervisor takes away cannot be seen from here; `alone` shows how much that may be.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clock::{Clock, Samples};
use super::engine::{Engine, Matcher, Refusal};
use super::event::Event;
use super::figures::{Beside, Longest};

/// Subscriptions between an insert and its remove.
const KEPT: usize = 64;

/// Measures both, each for as long as `watched`; `fresh` are subscriptions with ids that are not in
/// use.
pub(super) fn measure<E: Engine>(
    engine: &E,
    clock: Clock,
    watched: Duration,
    events: &[Event],
    fresh: &[(u32, E::Subscription)],
) -> Result<Beside, Refusal> {
    let alone = watch(engine, clock, watched, events)?;
    let done = AtomicBool::new(false);
    let fresh = fresh.to_vec();
    let (with_writer, changes_per_second) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(engine, fresh, &done));
        let longest = watch(engine, clock, watched, events);
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

fn watch<E: Engine>(
    engine: &E,
    clock: Clock,
    watched: Duration,
    events: &[Event],
) -> Result<Longest, Refusal> {
    let mut matcher = engine.matcher();
    for event in events {
        matcher.receive(event);
        matcher.find(event)?;
    }
    let preemptions = Preemptions::new();
    let (mut wall, mut preempted) = (Samples::default(), 0);
    let deadline = Instant::now() + watched;
    for event in events.iter().cycle().take_while(|_| Instant::now() < deadline) {
        matcher.receive(event);
        let before = preemptions.count();
        let (found, took) = clock.measure(|| matcher.find(event));
        found?;
        match preemptions.count() == before {
            true => wall.push(took.wall),
            false => preempted += 1,
        }
    }
    Ok(Longest {
        events: wall.len(),
        preempted,
        median_us: wall.per_mille(500),
        p999_us: wall.per_mille(999),
        longest_us: wall.per_mille(1_000),
    })
}

/// How often the kernel took the processor from this thread.
struct Preemptions(Option<File>);

impl Preemptions {
    fn new() -> Preemptions {
        Preemptions(File::open("/proc/thread-self/status").ok())
    }

    /// So far; always 0 where the kernel does not tell.
    fn count(&self) -> u64 {
        let mut status = [0; 4_096];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut status, 0).ok()).unwrap_or(0);
        let status = str::from_utf8(&status[..read]).unwrap_or_default();
        let mut lines = status.lines().rev();
        let line = lines.find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_preemptions() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("nonvoluntary_ctxt_switches:")).unwrap();
        let told: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(Preemptions::new().count() >= told);
    }
}
