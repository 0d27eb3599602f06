//! Inquiry an event only what few entries want to know: where they are all that a topic leads to,
//! this costs less than to read the event whole (`super::read`).
//!
//! 1. A code is held against the value that it is about, which the event is asked for by name. A
//!    code is true exactly if `read` sets it.
//! 2. Nobody asks for gates here: these belong to trees of entries, where events are read whole.
//! 3. A reader keeps the names of attributes from event to event, and forgets them when an
//!    attribute is forgotten, so that no name is another's by now.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    ATTRIBUTE_HEAD, Bytes, CONSTANT_HEAD, CORE_FIELDS, Form, IS_PRESENCE, Vocabulary, is_constant, read_text,
};
use arrayvec::ArrayVec;

use crate::index::arena::Arena;
use crate::index::seen::Seen;
use crate::value::{Attributes, Value};

/// An event that is asked for one value after the other.
pub(in crate::index) struct Inquiry<'r, 'e, A: ?Sized> {
    vocabulary: &'r Vocabulary,
    arena: &'r Arena,
    event: &'e A,
    pub(in crate::index) seen: &'r mut Seen,
    listed: Listed<'e>,
}

/// The attributes of an event as it lists them, the first of them if there are many.
struct Listed<'e> {
    is_listed: bool,
    is_whole: bool,
    values: ArrayVec<(&'e str, Value<'e>), LISTED_MAX>,
}

/// How many attributes are listed.
const LISTED_MAX: usize = 32;

impl Vocabulary {
    /// Lets a reader forget names that may be another's by now. Before it loads the entries that it is
    /// going to ask for: one that leaves meanwhile forgets its names later, and the reader them then.
    pub(in crate::index) fn renew(&self, seen: &mut Seen) {
        seen.known.renew(self.forgotten.load(Ordering::Acquire));
    }

    /// Begins to ask an event, for entries that were loaded after `renew`. Nothing is known of it yet.
    pub(in crate::index) fn ask<'r, 'e, A: Attributes + ?Sized>(
        &'r self,
        arena: &'r Arena,
        event: &'e A,
        seen: &'r mut Seen,
    ) -> Inquiry<'r, 'e, A> {
        Inquiry {
            vocabulary: self,
            arena,
            event,
            seen,
            listed: Listed { is_listed: false, is_whole: true, values: ArrayVec::new() },
        }
    }

    fn name_of(&self, arena: &Arena, attribute: u16) -> String {
        let record = self.records.attributes.get(u32::from(attribute));
        let record = record.map_or(0, |record| record.load(Ordering::Acquire));
        let name = match record {
            0 => Vec::new(),
            record => read_text(&arena.words(record)[ATTRIBUTE_HEAD - 1..]),
        };
        String::from_utf8(name).unwrap_or_default()
    }
}

impl<'e, A: Attributes + ?Sized> Inquiry<'_, 'e, A> {
    /// Whether a code is true of the event; it is set if it is.
    pub(in crate::index) fn has(&mut self, code: u32) -> bool {
        if self.seen.has(code) {
            return true;
        }
        let record = self.vocabulary.record_of_code(code);
        if record == 0 {
            return false;
        }
        let words = self.arena.words(record & !IS_PRESENCE);
        let is_presence = record & IS_PRESENCE != 0;
        let attribute = words[usize::from(!is_presence)].load(Ordering::Relaxed) as u16;
        let value = self.value(attribute);
        let is_true = value.is_some_and(|value| is_presence || is_like(words, attribute, &value));
        if is_true {
            self.seen.set(code, attribute);
        }
        is_true
    }

    /// Sets a code if it is true of the event.
    pub(in crate::index) fn note(&mut self, code: u32) {
        self.has(code);
    }

    /// At which step of a scale the event stands.
    pub(in crate::index) fn step(&mut self, scale: u32) -> u32 {
        let scale = self.vocabulary.scales.get(scale);
        self.value(scale.attribute);
        self.seen.reading(scale.attribute).map_or(0, |reading| scale.step(reading))
    }

    /// The value of an attribute, of which the number is noted.
    pub(in crate::index) fn value(&mut self, attribute: u16) -> Option<Value<'e>> {
        let (vocabulary, arena) = (self.vocabulary, self.arena);
        let name = self.seen.known.name(attribute, || vocabulary.name_of(arena, attribute));
        let value = self.listed.get(self.event, name);
        if let Some(value) = &value {
            self.seen.value(attribute, value);
        }
        value
    }
}

impl<'e> Listed<'e> {
    /// The first value of that name, as `Attributes::get` has it.
    fn get<A: Attributes + ?Sized>(&mut self, event: &'e A, name: &str) -> Option<Value<'e>> {
        if !self.is_listed {
            event.visit(&mut |name, value| self.is_whole &= self.values.try_push((name, value)).is_ok());
            self.is_listed = true;
        }
        if CORE_FIELDS.contains(&name) {
            return event.get(name);
        }
        let listed = self.values.iter().find(|(known, _)| *known == name);
        match listed {
            Some((_, value)) => Some(*value),
            None if self.is_whole => None,
            None => event.get(name),
        }
    }
}

/// Whether a value is what the record of a constant says.
fn is_like(record: &[AtomicU32], attribute: u16, value: &Value<'_>) -> bool {
    let form = record[1].load(Ordering::Relaxed) >> 16;
    let is_end = |end: Form| form == end as u32;
    if !is_end(Form::Prefix) && !is_end(Form::Suffix) {
        return Bytes::of_value(value).is_some_and(|bytes| is_constant(record, attribute, &bytes));
    }
    let Value::Str(text) = value else { return false };
    let (text, length) = (text.as_bytes(), record[CONSTANT_HEAD - 1].load(Ordering::Relaxed) as usize);
    let Some(before) = text.len().checked_sub(length) else { return false };
    let end = match is_end(Form::Prefix) {
        true => Bytes::text(Form::Prefix, &text[..length]),
        false => Bytes::text(Form::Suffix, &text[before..]),
    };
    is_constant(record, attribute, &end)
}
