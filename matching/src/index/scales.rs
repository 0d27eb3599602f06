//! Bounds of integers as literals: so that a range is read like a code, with others beside it.
//!
//! A *scale* measures one attribute from one side over [`STEPS`] neighbouring integers. An event
//! stands on each scale of its numbers at a step; a bound is a step that it must have reached.
//!
//! 1. An event is at step 0 of a scale that it has no number for, or whose first bound it does not
//!    reach; every bound is at step 1 or above. So what is missing reaches nothing.
//! 2. A scale is its attribute's and goes with it; its number comes back when no reader can hold it.
//! 3. There are [`SCALES_MAX`] scales, of one attribute [`SCALES_EACH_MAX`]. A bound for which there is
//!    none is an operation (`super::entry`).
//!
//! Not here: floats, and integers beyond 32 bits. They are operations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::FixedState;

use super::entry::{HAS_HIGH, HAS_LOW, HIGH_STRICT, LOW_STRICT, Operation};
use super::seen::{Rank, Reading};

/// How many scales there are.
pub(crate) const SCALES_MAX: usize = 1 << 10;
/// And of one attribute: an event with a number for it is put on each of them.
const SCALES_EACH_MAX: usize = 16;
/// Bounds of one scale.
const STEPS: i64 = 0xffff;

/// From which side a scale measures, and what of a number that is between two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side(u32);

impl Side {
    /// From above: a bound is the highest number that reaches it.
    const HIGH: u32 = 1;
    /// As `LOW_STRICT` or `HIGH_STRICT` says.
    const STRICT: u32 = 2;

    fn of(operation: Operation, is_high: bool) -> Side {
        let strict = if is_high { HIGH_STRICT } else { LOW_STRICT };
        Side(u32::from(is_high) | if operation.flags() & strict == 0 { 0 } else { Side::STRICT })
    }

    fn is_high(self) -> bool {
        self.0 & Side::HIGH != 0
    }

    fn is_strict(self) -> bool {
        self.0 & Side::STRICT != 0
    }
}

/// What a scale measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) attribute: u16,
    side: Side,
    /// Which of the ranges of [`STEPS`] integers.
    window: i32,
}

impl Scale {
    fn pack(self) -> u64 {
        u64::from(self.attribute) | u64::from(self.side.0) << 16 | u64::from(self.window as u32) << 32
    }

    fn unpack(word: u64) -> Scale {
        Scale { attribute: word as u16, side: Side(word as u32 >> 16), window: (word >> 32) as u32 as i32 }
    }

    /// Its words in an attribute's list; the number of the scale is in the first.
    pub(super) fn words(self, number: u32) -> [u32; 2] {
        [number | self.side.0 << 16, self.window as u32]
    }

    /// From what an attribute's list says.
    #[inline]
    pub(super) fn read(attribute: u16, words: [u32; 2]) -> (u32, Scale) {
        (words[0] & 0xffff, Scale { attribute, side: Side(words[0] >> 16), window: words[1] as i32 })
    }

    /// The least integer of the window.
    fn start(self) -> i64 {
        i64::from(self.window) * STEPS
    }

    /// The scale of a bound, and the step that it is at.
    fn of(operation: Operation, is_high: bool, bound: i32) -> (Scale, u32) {
        let window = i64::from(bound).div_euclid(STEPS) as i32;
        let scale = Scale { attribute: operation.attribute(), side: Side::of(operation, is_high), window };
        let beyond = (i64::from(bound) - scale.start()) as u32;
        (scale, if is_high { STEPS as u32 - beyond } else { beyond + 1 })
    }

    /// The bound at a step.
    fn bound(self, step: u32) -> i32 {
        let beyond = if self.side.is_high() { STEPS - i64::from(step) } else { i64::from(step) - 1 };
        (self.start() + beyond) as i32
    }

    /// The step that a number stands at.
    #[inline]
    pub(super) fn step(self, reading: &Reading) -> u32 {
        if reading.rank != Rank::Number {
            return 0;
        }
        let number =
            if self.side.is_high() == self.side.is_strict() { reading.floor } else { reading.ceiling };
        let beyond = number.saturating_sub(self.start());
        let steps = if self.side.is_high() { STEPS.saturating_sub(beyond) } else { beyond.saturating_add(1) };
        steps.clamp(0, STEPS) as u32
    }

    /// The flags of an operation with this bound.
    fn flags(self) -> u32 {
        match (self.side.is_high(), self.side.is_strict()) {
            (false, false) => HAS_LOW,
            (false, true) => HAS_LOW | LOW_STRICT,
            (true, false) => HAS_HIGH,
            (true, true) => HAS_HIGH | HIGH_STRICT,
        }
    }
}

/// The scales of an index, shared by readers and the writer.
pub(super) struct Scales {
    /// By number.
    scales: Box<[AtomicU64]>,
    /// How many numbers were ever given.
    given: AtomicU32,
}

impl Scales {
    pub(super) fn new() -> Scales {
        Scales { scales: (0..SCALES_MAX).map(|_| AtomicU64::new(0)).collect(), given: AtomicU32::new(0) }
    }

    /// What a scale measures.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Scale {
        Scale::unpack(self.scales[number as usize % SCALES_MAX].load(Ordering::Relaxed))
    }

    /// Whether there is a scale that an event has no number for, or was.
    pub(super) fn are_lacking(&self, has_number: impl Fn(u16) -> bool) -> bool {
        (0..self.given.load(Ordering::Acquire)).any(|number| !has_number(self.get(number).attribute))
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.scales)
    }

    /// The range that a bound is, as an operation's flags and the bound.
    pub(super) fn bound(&self, number: u32, step: u32) -> (u16, u32, u32) {
        let scale = self.get(number);
        (scale.attribute, scale.flags(), scale.bound(step) as u32)
    }
}

/// Which scales there are: the writer's side.
#[derive(Default)]
pub(super) struct ScaleNumbers {
    numbers: HashMap<u64, u16, FixedState>,
    free: Vec<u16>,
    /// How many numbers were ever given.
    given: usize,
}

/// The bounds of a range, each with whether it is the high one.
fn each_bound(operation: Operation, own: &[u32]) -> impl Iterator<Item = (bool, i32)> {
    let has_low = operation.flags() & HAS_LOW != 0;
    own.iter().enumerate().map(move |(at, bound)| (at > 0 || !has_low, *bound as i32))
}

impl ScaleNumbers {
    /// The scales of a range and the steps of its bounds; `own` are the operation's words. `None` if
    /// there is no scale for one of them.
    pub(super) fn steps(
        &self,
        operation: Operation,
        own: &[u32],
        mut see: impl FnMut(u32, u32),
    ) -> Option<()> {
        let mut places = [(0, 0); 2];
        for (place, (is_high, bound)) in places.iter_mut().zip(each_bound(operation, own)) {
            let (scale, step) = Scale::of(operation, is_high, bound);
            *place = (u32::from(*self.numbers.get(&scale.pack())?), step);
        }
        places.iter().take(own.len()).for_each(|(number, step)| see(*number, *step));
        Some(())
    }

    /// Whether an attribute that has so many scales may have more.
    pub(super) fn can_have_more(count: usize) -> bool {
        count < SCALES_EACH_MAX
    }

    /// Those scales of a range that there are not, of an attribute that has so many.
    pub(super) fn missing(
        &mut self,
        scales: &Scales,
        (operation, own): (Operation, &[u32]),
        mut count: usize,
        mut see: impl FnMut(u32, Scale),
    ) {
        for (is_high, bound) in each_bound(operation, own) {
            let (scale, _) = Scale::of(operation, is_high, bound);
            if !ScaleNumbers::can_have_more(count) || self.numbers.contains_key(&scale.pack()) {
                continue;
            }
            let Some(number) = self.next() else { return };
            scales.scales[usize::from(number)].store(scale.pack(), Ordering::Release);
            scales.given.fetch_max(u32::from(number) + 1, Ordering::Release);
            self.numbers.insert(scale.pack(), number);
            see(u32::from(number), scale);
            count += 1;
        }
    }

    fn next(&mut self) -> Option<u16> {
        self.free.pop().or_else(|| {
            let number = (self.given < SCALES_MAX).then_some(self.given as u16)?;
            self.given += 1;
            Some(number)
        })
    }

    /// Nobody asks for a scale any more; a reader may still hold its number.
    pub(super) fn forget(&mut self, scale: Scale) {
        self.numbers.remove(&scale.pack());
    }

    /// No reader holds the number any more.
    pub(super) fn take_back(&mut self, number: u16) {
        self.free.push(number);
    }

    pub(super) fn bytes(&self) -> usize {
        self.numbers.capacity() * 16
    }
}

#[cfg(test)]
mod tests;
