//! What the machine does at this moment: figures of two machines, or of two hours on a shared one, are
//! as far apart as these.
//!
//! All on one core, of the processor's time: arithmetic that waits for itself, a line of memory that the
//! next one depends on, lines that nothing depends on, and reading in order. What an index costs is made
//! of these four.

use std::fmt;
use std::hint::black_box;

use serde::Serialize;

use super::clock::{Clock, median};
use super::random::Random;

/// Memory that is gone through: more than a cache holds.
const MEMORY_BYTES: usize = 128 << 20;
const LINES: u32 = (MEMORY_BYTES / size_of::<Line>()) as u32;
/// Of each kind, how often.
const STEPS: u32 = 1_000_000;
const CHAINED: u32 = 50_000;
const INDEPENDENT: u32 = 400_000;
const ROUNDS: u64 = 5;
/// Randomness of where lines lead to and which are read.
const RANDOM: u64 = 9;

/// A line of the cache. The first word leads to another line.
type Line = [u32; 16];

/// See the module. Times in nanoseconds, medians of some rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Machine {
    /// As it calls itself.
    processor: String,
    /// The widest registers that matching makes use of, in bits.
    register_bits: u32,
    /// A shift, an exclusive or and a multiplication, each of which waits for the one before: five cycles
    /// of most processors.
    arithmetic_ns: f64,
    /// A line of 128 MiB at random, where the next waits for it.
    chained_line_ns: f64,
    /// The same, where the next does not wait.
    independent_line_ns: f64,
    /// The same memory read in order, in 10^9 bytes a second.
    in_order_gb_per_second: f64,
}

impl Machine {
    /// Takes about a second.
    pub(super) fn measure() -> Machine {
        let clock = Clock::new();
        let lines = circle();
        let rounds = |count: u32, work: &dyn Fn(Random) -> u64| {
            median((0..ROUNDS).map(|round| {
                let (result, took) = clock.measure(|| work(Random::new(round, RANDOM)));
                black_box(result);
                took.processor.as_nanos() as f64 / f64::from(count)
            }))
        };
        let in_order = rounds(LINES, &|_| lines.iter().flatten().map(|word| u64::from(*word)).sum());
        Machine {
            processor: processor(),
            register_bits: register_bits(),
            arithmetic_ns: rounds(STEPS, &mix),
            chained_line_ns: rounds(CHAINED, &|random| follow(&lines, random)),
            independent_line_ns: rounds(INDEPENDENT, &|random| gather(&lines, random)),
            in_order_gb_per_second: size_of::<Line>() as f64 / in_order,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, registers of {} bits: {:.2} ns for five cycles of arithmetic, {:.0} ns for a line of 128 MiB \
             where the next waits for it, {:.1} ns where it does not, {:.1} GB/s in order",
            self.processor,
            self.register_bits,
            self.arithmetic_ns,
            self.chained_line_ns,
            self.independent_line_ns,
            self.in_order_gb_per_second
        )
    }
}

/// Lines each of which leads to another, all in one circle in no order (Sattolo 1986).
fn circle() -> Vec<Line> {
    let mut lines: Vec<Line> = (0..LINES).map(|line| [line; 16]).collect();
    let mut random = Random::new(ROUNDS, RANDOM);
    for last in (1..lines.len()).rev() {
        let other = random.below(last as u64) as usize;
        let leads_to = lines[last][0];
        lines[last][0] = std::mem::replace(&mut lines[other][0], leads_to);
    }
    lines
}

fn mix(mut random: Random) -> u64 {
    let factor = random.next() | 1;
    (0..STEPS).fold(1, |mixed: u64, _| (mixed ^ mixed >> 32).wrapping_mul(factor))
}

fn follow(lines: &[Line], mut random: Random) -> u64 {
    let start = random.below(u64::from(LINES)) as u32;
    u64::from((0..CHAINED).fold(start, |line, _| lines[line as usize][0]))
}

fn gather(lines: &[Line], mut random: Random) -> u64 {
    (0..INDEPENDENT).map(|_| u64::from(lines[random.below(u64::from(LINES)) as usize][1])).sum()
}

/// Of Linux; elsewhere the name of its kind.
fn processor() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut names = known.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    names.next().map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

#[cfg(target_arch = "x86_64")]
fn register_bits() -> u32 {
    if is_x86_feature_detected!("avx512bw") {
        512
    } else if is_x86_feature_detected!("avx2") {
        256
    } else {
        64
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn register_bits() -> u32 {
    usize::BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle_goes_through_every_line() {
        let lines = circle();
        let (mut line, mut steps) = (lines[0][0], 1);
        while line != 0 {
            line = lines[line as usize][0];
            steps += 1;
        }
        assert_eq!(steps, LINES);
    }

    #[test]
    fn what_waits_takes_longer() {
        let machine = Machine::measure();
        assert!(machine.chained_line_ns > machine.independent_line_ns, "{machine}");
        assert!(machine.chained_line_ns > machine.arithmetic_ns, "{machine}");
        assert!(machine.arithmetic_ns > 0.0 && machine.in_order_gb_per_second > 0.0, "{machine}");
        assert!(!machine.processor.is_empty());
    }
}
