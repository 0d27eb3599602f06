//! What a pattern says about one event.
//!
//! Two questions are asked of the members of an object. *Found*: is there a value that matches, with
//! the others in the same element of each array, or absent from it as they must be? *Absent*: do all of
//! them allow that there is nothing, and is there nothing in any element? A pattern matches by either.
//! Each step of work is counted, up to [`WORK_MAX`]; what a pattern that needs more would say is unknown.

use std::cell::Cell;
use std::net::IpAddr;

use super::super::cloudevents::{is_text, text_form};
use super::{Bound, How, Match, Members, Network, Pattern, Range, Refused, Text, WORK_MAX, Wanted};
use crate::filter::Truth;
use crate::json::JsonValue;
use crate::value::{Attributes, Value};

impl Pattern {
    /// Whether the event matches; unknown if that would take too much work.
    pub(in super::super::super) fn truth<A: Attributes + ?Sized>(&self, event: &A) -> Truth {
        let evaluation = Evaluation { event, work_left: Cell::new(WORK_MAX) };
        let found = evaluation.found(&self.0, Place::Event) || evaluation.absent(&self.0, &[Place::Event]);
        Truth::from_option((evaluation.work_left.get() > 0).then_some(found))
    }
}

struct Evaluation<'e, A: ?Sized> {
    event: &'e A,
    /// 0 when it was too much.
    work_left: Cell<usize>,
}

/// Something of an event.
#[derive(Clone, Copy)]
enum Place<'e> {
    /// All of it.
    Event,
    Attribute(Value<'e>),
    Payload(JsonValue<'e>),
}

impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    fn found(&self, members: &Members, place: Place<'e>) -> bool {
        match self.elements(place) {
            Some(mut elements) => elements.any(|element| self.found(members, element)),
            None => self.found_within(members, place),
        }
    }

    /// Whether all members are found at `place` or absent from it, and one at least is found.
    fn found_within(&self, members: &Members, place: Place<'e>) -> bool {
        let mut is_found = false;
        for field in &members.fields {
            let value = self.member(place, &field.name, &field.wanted);
            if value.is_some_and(|value| self.is_wanted(&field.wanted, value)) {
                is_found = true;
            } else if !self.is_absent(&field.wanted, value.as_slice()) {
                return false;
            }
        }
        for choice in &members.choices {
            if choice.iter().any(|members| self.found_within(members, place)) {
                is_found = true;
            } else if !choice.iter().any(|members| self.absent(members, &[place])) {
                return false;
            }
        }
        is_found
    }

    fn is_wanted(&self, wanted: &Wanted, place: Place<'e>) -> bool {
        match wanted {
            Wanted::Members(members) => self.found(members, place),
            Wanted::Value(matches) => {
                self.any_scalar(place, &mut |value| matches.iter().any(|one| self.is_match(one, value)))
            }
        }
    }

    /// Whether all members are absent from all places, and may be.
    fn absent(&self, members: &Members, places: &[Place<'e>]) -> bool {
        let mut objects = Vec::new();
        places.iter().for_each(|place| self.flatten(*place, &mut objects));
        let is_absent = |field: &super::Field| {
            let values: Vec<Place<'e>> =
                objects.iter().filter_map(|place| self.member(*place, &field.name, &field.wanted)).collect();
            self.is_absent(&field.wanted, &values)
        };
        members.fields.iter().all(is_absent)
            && members
                .choices
                .iter()
                .all(|choice| choice.iter().any(|members| self.absent(members, &objects)))
    }

    fn is_absent(&self, wanted: &Wanted, places: &[Place<'e>]) -> bool {
        match wanted {
            Wanted::Members(members) => self.absent(members, places),
            Wanted::Value(matches) => {
                matches.iter().any(|one| matches!(one, Match::Exists(false)))
                    && !places.iter().any(|place| self.any_scalar(*place, &mut |_| true))
            }
        }
    }
}

/// Ways through an event.
impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    fn member(&self, place: Place<'e>, name: &str, wanted: &Wanted) -> Option<Place<'e>> {
        self.spend(1);
        match place {
            Place::Event if wanted.is_payload(name) => self.event.payload().map(Place::Payload),
            Place::Event => self.event.get(name).map(Place::Attribute),
            Place::Attribute(_) => None,
            Place::Payload(json) => json.member(name).map(Place::Payload),
        }
    }

    fn elements(&self, place: Place<'e>) -> Option<impl Iterator<Item = Place<'e>>> {
        match place {
            Place::Payload(json) => {
                let counted = |element| self.spend(1).then_some(Place::Payload(element));
                json.elements().map(|elements| elements.map_while(counted))
            }
            _ => None,
        }
    }

    /// Adds what `place` is, or what its elements are if it is an array.
    fn flatten(&self, place: Place<'e>, into: &mut Vec<Place<'e>>) {
        match self.elements(place) {
            Some(elements) => elements.for_each(|element| self.flatten(element, into)),
            None => into.push(place),
        }
    }

    /// Whether `place`, or an element of it, is a scalar that fits. `None` stands for null.
    fn any_scalar(&self, place: Place<'e>, fits: &mut dyn FnMut(Option<Value<'e>>) -> bool) -> bool {
        if let Some(mut elements) = self.elements(place) {
            return elements.any(|element| self.any_scalar(element, fits));
        }
        match place {
            Place::Event => false,
            Place::Attribute(value) => fits(Some(value)),
            Place::Payload(json) if json.is_null() => fits(None),
            Place::Payload(json) => json.scalar().is_some_and(|value| fits(Some(value))),
        }
    }

    /// Counts work; whether some was left.
    fn spend(&self, work: usize) -> bool {
        let left = self.work_left.get().saturating_sub(work);
        self.work_left.set(left);
        left > 0
    }
}

/// Values.
impl<A: Attributes + ?Sized> Evaluation<'_, A> {
    fn is_match(&self, wanted: &Match, value: Option<Value<'_>>) -> bool {
        self.spend(1);
        match (wanted, value) {
            (Match::Exists(exists), _) => *exists,
            (Match::Null, value) => value.is_none(),
            (Match::AnythingBut(refused), value) => {
                !value.is_some_and(|value| self.is_refused(refused, &value))
            }
            (_, None) => false,
            (Match::Bool(known), Some(value)) => value == Value::Bool(*known),
            (Match::Number(number), Some(value)) => number.value().equals(&value) == Some(true),
            (Match::Text(text), Some(value)) => self.is_text(text, &value),
            (Match::Range(range), Some(value)) => range.holds(&value),
            (Match::Network(network), Some(Value::Str(text))) => network.holds(text),
            (Match::Network(_), Some(_)) => false,
        }
    }

    fn is_refused(&self, refused: &Refused, value: &Value<'_>) -> bool {
        match refused {
            Refused::Numbers(numbers) => {
                self.spend(numbers.len());
                numbers.iter().any(|number| number.value().equals(value) == Some(true))
            }
            Refused::Texts(texts) => texts.iter().any(|text| self.is_text(text, value)),
        }
    }

    fn is_text(&self, wanted: &Text, value: &Value<'_>) -> bool {
        let form = match value {
            Value::Timestamp(_) if wanted.is_plain() => return is_text(value, &wanted.text),
            Value::Str(_) | Value::Timestamp(_) => text_form(value),
            _ => None,
        };
        form.is_some_and(|form| {
            let reads_all = wanted.ignores_case || matches!(wanted.how, How::Wildcard(_));
            self.spend(if reads_all { form.len() } else { 1 }) && wanted.fits(&form)
        })
    }
}

impl Text {
    /// Whether it is no more than a string.
    fn is_plain(&self) -> bool {
        matches!(self.how, How::Exact) && !self.ignores_case
    }

    fn fits(&self, given: &str) -> bool {
        match (&self.how, self.ignores_case) {
            (How::Exact, false) => given == self.text,
            (How::Prefix, false) => given.starts_with(&self.text),
            (How::Suffix, false) => given.ends_with(&self.text),
            (How::Wildcard(pattern), _) => pattern.matches(given),
            (How::Exact, true) => folded(given).eq(folded(&self.text)),
            (How::Prefix, true) => begins_with(folded(given), folded(&self.text)),
            (How::Suffix, true) => begins_with(folded(given).rev(), folded(&self.text).rev()),
        }
    }
}

/// In small letters, each by itself: what case means depends on no neighbour.
fn folded(text: &str) -> impl DoubleEndedIterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn begins_with(mut given: impl Iterator<Item = char>, mut wanted: impl Iterator<Item = char>) -> bool {
    wanted.all(|wanted| given.next() == Some(wanted))
}

impl Range {
    fn holds(&self, value: &Value<'_>) -> bool {
        let order = |bound: &Bound| value.compare(&bound.number.value());
        let fits = |bound: &Bound, is_inside: fn(std::cmp::Ordering) -> bool| {
            order(bound).is_some_and(|order| is_inside(order) || (order.is_eq() && bound.is_included))
        };
        self.equal.is_none_or(|number| number.value().equals(value) == Some(true))
            && self.low.is_none_or(|bound| fits(&bound, std::cmp::Ordering::is_gt))
            && self.high.is_none_or(|bound| fits(&bound, std::cmp::Ordering::is_lt))
    }
}

impl Network {
    fn holds(&self, text: &str) -> bool {
        // No address is longer.
        const ADDRESS_BYTES_MAX: usize = 45;
        let address = if text.len() <= ADDRESS_BYTES_MAX { text.parse().ok() } else { None };
        match (self.address, address) {
            (IpAddr::V4(network), Some(IpAddr::V4(address))) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(network), Some(IpAddr::V6(address))) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}
