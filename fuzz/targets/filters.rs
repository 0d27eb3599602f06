//! Predicates: parsing, printing, evaluation.
//!
//! 1. A filter's canonical text parses to the same canonical text, and says the same of every
//!    event.
//! 2. A refusal's place lies within the text, at a character.
//! 3. Nothing panics, whatever an event and its payload hold.
//!
//! The input is eight bytes that make the events, and the text of a predicate.
#![no_main]

use fanal_fuzz::Choices;
use fanal_fuzz::filters::{Event, check_refusal};
use fanal_matching::{Filter, Truth};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (seed, text) = input.split_at(input.len().min(8));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(error) => return check_refusal(text, &error),
    };
    let again = Filter::parse(filter.as_str()).expect("canonical text parses");
    assert_eq!(filter.as_str(), again.as_str());
    let seed = Choices(seed).number(8);
    for event in [Event(seed), Event(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)), Event(0)] {
        assert_eq!(filter.evaluate(&event), again.evaluate(&event), "{filter}");
    }
    // Of an event without attributes only what asks for absence is true.
    if filter.evaluate(&()) == Truth::True {
        let text = filter.as_str();
        let has_reason = ["NULL", "EXISTS", "TRUE", "FALSE"].iter().any(|word| text.contains(word));
        assert!(
            has_reason || text.contains(['\'', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
            "{text}"
        );
    }
});
