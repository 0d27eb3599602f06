//! Steps against the comparisons that they stand for.

use super::*;
use crate::generate::Generator;
use crate::index::entry::{INT, Tests, operation_holds};
use crate::index::seen::Seen;
use crate::value::Value;

struct NoTests;

impl Tests for NoTests {
    fn holds(&self, _: u32) -> bool {
        unreachable!("ranges ask for no test")
    }

    fn was_read_with(&self, _: u32) -> bool {
        true
    }
}

const SIDES: [u32; 4] = [HAS_LOW, HAS_LOW | LOW_STRICT, HAS_HIGH, HAS_HIGH | HIGH_STRICT];

/// Bounds about which something changes, and others.
fn bound(generator: &mut Generator) -> i32 {
    let steps = STEPS as i32;
    let near = generator.pick(&[0, steps, 2 * steps, -steps, 100_000, i32::MIN + 3, i32::MAX - 3]);
    if generator.below(3) == 0 { generator.word() as i32 } else { near - 3 + generator.below(7) as i32 }
}

#[test]
fn a_step_is_reached_exactly_by_the_numbers_within_the_bound() {
    for seed in 0..200_000 {
        let mut generator = Generator::new(seed);
        let bound = bound(&mut generator);
        let operation = Operation::new(INT, generator.pick(&SIDES), 0, 0);
        let (scale, step) = Scale::of(operation, operation.flags() & HAS_HIGH != 0, bound);
        assert!((1..=STEPS as u32).contains(&step));
        assert_eq!((scale.bound(step), scale.flags()), (bound, operation.flags()));
        assert_eq!(Scale::unpack(scale.pack()), scale);
        let distance = generator.pick(&[0, 1, 2, 70_000, i64::MAX / 2]);
        let number = i64::from(bound) + if generator.below(2) == 0 { distance } else { -distance };
        let value = match generator.below(8) {
            0 => Value::Int(generator.pick(&[i64::MIN, i64::MAX])),
            1 => Value::Float(number as f64 + 0.5),
            2 => Value::Float(generator.pick(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN])),
            3 => Value::Bool(true),
            _ => Value::Int(number),
        };
        let mut seen = Seen::new();
        seen.value(0, &value);
        let own = [std::sync::atomic::AtomicU32::new(bound as u32)];
        let expected = operation_holds(operation, &own, &seen, &NoTests);
        let reached = seen.reading(0).map_or(0, |reading| scale.step(reading));
        assert_eq!(reached >= step, expected, "{value:?}, {operation:x?}, {bound}", operation = operation.0);
    }
}

#[test]
fn scales_that_there_are_not_room_for_are_refused() {
    let (scales, mut numbers) = (Scales::new(), ScaleNumbers::default());
    let range = |attribute| Operation::new(INT, HAS_LOW | HAS_HIGH, attribute, 0);
    let mut given = Vec::new();
    for attribute in 0..SCALES_MAX as u16 / 2 + 1 {
        numbers.missing(&scales, (range(attribute), &[1, 2]), 0, |number, scale| given.push((number, scale)));
    }
    assert_eq!(given.len(), SCALES_MAX);
    let last = SCALES_MAX as u16 / 2;
    assert!(
        numbers.steps(range(last - 1), &[5, 9], |_, _| {}).is_some(),
        "bounds of one window share a scale"
    );
    assert!(numbers.steps(range(last), &[1, 2], |_, _| {}).is_none());
    assert!(numbers.steps(range(0), &[1, 1 << 20], |_, _| {}).is_none(), "one bound of two is no range");
    // What is given up is another's.
    let (number, scale) = given[7];
    numbers.forget(scale);
    numbers.take_back(number as u16);
    let mut again = Vec::new();
    numbers.missing(&scales, (range(last), &[1, 2]), 0, |number, scale| again.push((number, scale)));
    assert_eq!(again.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [number]);
    assert_eq!(scales.get(number), again[0].1);
    numbers
        .missing(&scales, (range(3), &[1 << 20]), SCALES_EACH_MAX, |_, _| panic!("it has as many as it may"));
}
