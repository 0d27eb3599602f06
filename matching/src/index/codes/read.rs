//! Reading an event: from its attributes to the codes that are true of it.
//!
//! 1. The constants of an event are looked up together, each step for all before the next: while one
//!    waits for memory, so do the others. Nothing is allocated for it.
//! 2. A reader remembers which attribute stood where in the events before, for producers send the
//!    same names in the same order. It compares the names, and forgets what it remembers when an
//!    attribute is forgotten, so that it never follows a record that is another's by now.

use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;

use super::{
    ATTRIBUTE_HEAD, Bytes, CORE_FIELDS, CodeKind, Form, PREFIXES, PRESENCE, SCALES, SUFFIXES, Vocabulary,
    is_constant, is_text,
};
use crate::index::arena::{Arena, Handle};
use crate::index::births::Moment;
use crate::index::scales::Scale;
use crate::index::seen::Seen;
use crate::index::table::Key;
use crate::value::{Attributes, Value};

/// How many constants are looked up together.
const LOOKUPS_MAX: usize = 32;

/// How many places in an event are remembered.
const PLACES_MAX: usize = 256;

/// What was found out about attributes with the events before.
#[derive(Default)]
pub(in crate::index) struct Known {
    /// Their records by their place in an event; 0 is none.
    records: Vec<Handle>,
    /// Their names by number.
    names: Vec<Option<Box<str>>>,
    /// How many attributes had been forgotten when they were found.
    forgotten: u64,
}

/// A reader amid an event.
struct Reader<'r, 'e> {
    vocabulary: &'r Vocabulary,
    arena: &'r Arena,
    seen: &'r mut Seen,
    /// How many attributes were met.
    met: usize,
    lookups: ArrayVec<Lookup<'e>, LOOKUPS_MAX>,
}

/// A constant that somebody may ask for.
struct Lookup<'e> {
    bytes: Bytes<'e>,
    attribute: u16,
    key: Key,
    /// The bucket, then the record; 0 is none.
    at: Handle,
}

impl Vocabulary {
    /// Sets what is true of the event. `O(attributes × lengths of prefixes in use)`.
    pub(in crate::index) fn read<A: Attributes + ?Sized>(&self, arena: &Arena, event: &A, seen: &mut Seen) {
        self.renew(seen);
        let mut reader = Reader { vocabulary: self, arena, seen, met: 0, lookups: ArrayVec::new() };
        let core = self.core_fields.load(Ordering::Acquire);
        if core != 0 {
            let asked = CORE_FIELDS.iter().enumerate().filter(|(bit, _)| core >> bit & 1 == 1);
            for (_, name) in asked {
                if let Some(value) = event.get(name) {
                    reader.meet(name, value);
                }
            }
        }
        // Behind the core fields: an attribute never hides one.
        event.visit(&mut |name, value| reader.meet(name, value));
        reader.look_up();
        if seen.is_sampled() {
            self.traffic.note(CodeKind::Constant, seen.codes().iter().map(|set| set.code));
        }
    }

    /// When an event that is read from now on begins to be read.
    #[inline]
    pub(in crate::index) fn moment(&self) -> Moment {
        self.births.moment()
    }

    /// Whether the event was read with this code: then it does not have it if it is not set.
    #[inline]
    pub(in crate::index) fn was_read_with(&self, code: u32, moment: Moment) -> bool {
        self.births.was_born(code, moment)
    }

    /// Notes which gates hold for an event that was held against all of them.
    pub(in crate::index) fn note_gates(&self, seen: &Seen) {
        if seen.is_sampled() {
            self.traffic.note(CodeKind::Derived, seen.derived().iter().copied());
        }
    }
}

impl Known {
    pub(super) fn renew(&mut self, forgotten: u64) {
        if self.forgotten != forgotten {
            self.records.clear();
            self.names.clear();
            self.forgotten = forgotten;
        }
    }

    /// The name of an attribute.
    pub(super) fn name(&mut self, attribute: u16, find: impl FnOnce() -> String) -> &str {
        let place = usize::from(attribute);
        if place >= self.names.len() {
            self.names.resize(place + 1, None);
        }
        self.names[place].get_or_insert_with(|| find().into())
    }

    fn note(&mut self, place: usize, record: Handle) {
        if place >= PLACES_MAX {
            return;
        }
        if place >= self.records.len() {
            self.records.resize(place + 1, 0);
        }
        self.records[place] = record;
    }
}

impl<'r, 'e> Reader<'r, 'e> {
    fn meet(&mut self, name: &str, value: Value<'e>) {
        let Some(words) = self.record(name) else { return };
        let first = words[0].load(Ordering::Acquire);
        let attribute = first as u16;
        // What an event names twice counts once, as `Attributes::get` finds it.
        if !self.seen.value(attribute, &value) {
            return;
        }
        let presence = words[PRESENCE].load(Ordering::Acquire);
        if presence != 0 {
            self.seen.set(presence, attribute);
        }
        let scales = words[SCALES].load(Ordering::Acquire);
        if scales != 0 {
            self.measure(attribute, scales);
        }
        // Most numbers are asked about by ranges only.
        if first >> 16 != 0
            && let Some(bytes) = Bytes::of_value(&value)
            && first & bytes.form.bit() != 0
        {
            self.wait(attribute, bytes);
        }
        if let Value::Str(text) = value {
            self.wait_for_ends(attribute, words, text.as_bytes());
        }
    }

    /// Notes where the event stands on the scales of a number.
    fn measure(&mut self, attribute: u16, scales: Handle) {
        let Some(reading) = self.seen.reading(attribute).copied() else { return };
        let words = self.arena.words(scales);
        let count = words[0].load(Ordering::Relaxed) as usize;
        for words in words[1..=count].as_chunks::<2>().0 {
            let words = words.each_ref().map(|word| word.load(Ordering::Relaxed));
            let (number, scale) = Scale::read(attribute, words);
            self.seen.set_step(number, scale.step(&reading));
        }
    }

    /// The record of the attribute that is met next, if anybody asks about it.
    #[inline]
    fn record(&mut self, name: &str) -> Option<&'r [AtomicU32]> {
        let place = self.met;
        self.met += 1;
        let arena = self.arena;
        if let Some(&record) = self.seen.known.records.get(place)
            && record != 0
        {
            let words = arena.words(record);
            if is_text(&words[ATTRIBUTE_HEAD - 1..], name.as_bytes()) {
                return Some(words);
            }
        }
        let record = self.vocabulary.attribute(arena, name);
        self.seen.known.note(place, record);
        (record != 0).then(|| arena.words(record))
    }

    fn wait_for_ends(&mut self, attribute: u16, words: &[AtomicU32], text: &'e [u8]) {
        for (at, form) in [(PREFIXES, Form::Prefix), (SUFFIXES, Form::Suffix)] {
            let lengths = words[at].load(Ordering::Acquire);
            if lengths == 0 {
                continue;
            }
            let lengths = self.arena.words(lengths);
            let count = lengths[0].load(Ordering::Relaxed) as usize;
            for length in &lengths[1..=count] {
                let length = length.load(Ordering::Relaxed) as usize;
                if length > text.len() {
                    break;
                }
                let end = if form == Form::Prefix { &text[..length] } else { &text[text.len() - length..] };
                self.wait(attribute, Bytes::text(form, end));
            }
        }
    }

    /// Notes a constant that is to be looked up.
    #[inline]
    fn wait(&mut self, attribute: u16, bytes: Bytes<'e>) {
        if self.lookups.is_full() {
            self.look_up();
        }
        let key = self.vocabulary.key_of_constant(attribute, &bytes);
        let at = self.vocabulary.constants.bucket(key);
        self.lookups.push(Lookup { bytes, attribute, key, at });
    }

    /// Sets the codes of the constants that wait.
    fn look_up(&mut self) {
        let Reader { vocabulary, arena, seen, lookups, .. } = self;
        for lookup in &mut *lookups {
            if lookup.at != 0 {
                lookup.at = vocabulary.constants.find_in(arena, lookup.key, lookup.at);
            }
        }
        for lookup in lookups.iter().filter(|lookup| lookup.at != 0) {
            let code = vocabulary.code_of(arena, lookup);
            if code != 0 {
                seen.set(code, lookup.attribute);
            }
        }
        lookups.clear();
    }
}

impl Vocabulary {
    /// The code of a constant whose key was found; 0 if that is another's.
    #[inline]
    fn code_of(&self, arena: &Arena, lookup: &Lookup<'_>) -> u32 {
        let record = arena.words(lookup.at);
        if is_constant(record, lookup.attribute, &lookup.bytes) {
            return record[0].load(Ordering::Relaxed);
        }
        // This one may be behind it.
        self.code(arena, lookup.attribute, &lookup.bytes, lookup.key)
    }
}
