//! Predicates in strict mode.
//!
//! 1. An expression's canonical text parses to the same canonical text, and gives the same value and
//!    the same error for every event.
//! 2. As a filter it is true where the value is true and there is no error, and nowhere else.
//! 3. A refusal's place lies within the text, at a character; nothing panics.
//!
//! The input is eight bytes that make the events, and the text of an expression.
#![no_main]

use fanal_fuzz::Choices;
use fanal_fuzz::filters::{Event, check_refusal};
use fanal_matching::strict::{ErrorKind, Expression, Primitive};
use fanal_matching::{Filter, Truth};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (seed, text) = input.split_at(input.len().min(8));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let filter = Filter::parse_strict(text);
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(error) => {
            assert_eq!(filter.err().as_ref(), Some(&error));
            return check_refusal(text, &error);
        }
    };
    if let Err(error) = &filter {
        check_refusal(text, error);
    }
    let again = Expression::parse(expression.as_str()).expect("canonical text parses");
    assert_eq!(expression.as_str(), again.as_str());
    let seed = Choices(seed).number(8);
    for event in [Event(seed), Event(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), Event(0)] {
        let outcome = expression.evaluate(&event);
        assert_eq!(outcome, again.evaluate(&event), "{expression}");
        assert_ne!(outcome.error, Some(ErrorKind::Parse), "{expression}");
        let is_true = outcome.value == Primitive::Bool(true) && outcome.error.is_none();
        if let Ok(filter) = &filter {
            assert_eq!(filter.evaluate(&event) == Truth::True, is_true, "{expression}");
        } else {
            assert!(!is_true || text.contains('('), "{expression}");
        }
    }
});
