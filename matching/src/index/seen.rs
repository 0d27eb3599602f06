//! What a reader knows of one event: the codes that are true of it, its numbers, and which shared
//! tests were answered already.
//!
//! 1. Belongs to one reader, who clears it after each event in time that grows with what was set.
//! 2. A code that was never set is not true; a reading of an earlier event is not seen.

use std::cell::Cell;

use super::births::Moment;
use super::blocks::LIST_WORDS;
use super::boxes::mask_of;
use super::codes::Known;
use super::entry::IS_LIST;
use super::scales::SCALES_MAX;
use crate::value::Value;

/// Words before the bits of codes.
const CODES_START: usize = SCALES_MAX / 2;

/// One event in so many is looked at.
pub(super) const SAMPLED: u32 = 64;

/// A code that is true of the event, and whose.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetCode {
    pub(super) code: u32,
    pub(super) attribute: u16,
}

/// The kinds of values that compare among themselves, as `normal::Kind` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Rank {
    Bool,
    Number,
    Str,
    Timestamp,
    /// NaN and bytes: there, but like nothing.
    Other,
}

/// A value as a number. A value that is none has no part in comparisons of numbers.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    stamp: u32,
    pub(super) rank: Rank,
    /// Whether `float` is a rounded integer.
    pub(super) is_rounded: bool,
    pub(super) float: f64,
    /// The greatest integer that is not above the value, and the least that is not below it, as
    /// far as i64 reaches.
    pub(super) floor: i64,
    pub(super) ceiling: i64,
}

/// A reader's notes of one event.
pub(super) struct Seen {
    stamp: u32,
    /// When it was going to be read.
    pub(super) moment: Moment,
    /// Comparisons that met no value, or one of another kind.
    unknowns: Cell<u32>,
    /// Whether there are scales that are asked about without a number, and this is to be noted.
    notes_unknowns: bool,
    /// First a half of a word for each scale, then a bit for each code.
    bits: Vec<u64>,
    /// The scales at which it stands above 0.
    scales: Vec<u16>,
    codes: Vec<SetCode>,
    /// The same without their attributes.
    numbers: Vec<u32>,
    derived: Vec<u32>,
    readings: Vec<Reading>,
    /// The bits of attributes with a number.
    numeric: u32,
    /// By number of test: the stamp of the event, doubled, and the answer.
    answers: Vec<Cell<u64>>,
    /// Targets that were found already, for those that stand in several places.
    entries_found: Marks,
    lists_found: Marks,
    /// Of events before.
    pub(super) known: Known,
}

/// Numbers that were marked.
#[derive(Default)]
struct Marks {
    bits: Vec<u64>,
    marked: Vec<u32>,
}

impl Marks {
    /// False if it is marked already.
    fn mark(&mut self, number: u32) -> bool {
        let word = number as usize / 64;
        if word >= self.bits.len() {
            self.bits.resize(word + 1 + word / 2, 0);
        }
        let bit = 1 << (number % 64);
        let is_new = self.bits[word] & bit == 0;
        if is_new {
            self.bits[word] |= bit;
            self.marked.push(number);
        }
        is_new
    }

    fn clear(&mut self) {
        for number in self.marked.drain(..) {
            self.bits[number as usize / 64] = 0;
        }
    }
}

impl Seen {
    pub(super) fn new() -> Seen {
        Seen::with_stamp(1)
    }

    /// The stamp, above 0, says which events are looked at for unknown comparisons.
    pub(super) fn with_stamp(stamp: u32) -> Seen {
        Seen {
            stamp,
            moment: Moment::default(),
            unknowns: Cell::new(0),
            notes_unknowns: false,
            bits: Vec::new(),
            scales: Vec::new(),
            codes: Vec::new(),
            numbers: Vec::new(),
            derived: Vec::new(),
            readings: Vec::new(),
            numeric: 0,
            answers: Vec::new(),
            entries_found: Marks::default(),
            lists_found: Marks::default(),
            known: Known::default(),
        }
    }

    /// Notes that a comparison met no value, or one of another kind.
    #[cold]
    pub(super) fn note_unknown(&self) {
        self.unknowns.set(self.unknowns.get().saturating_add(1));
    }

    /// Whether this event is one of those that are looked at: one in [`SAMPLED`].
    pub(super) fn is_sampled(&self) -> bool {
        self.stamp.is_multiple_of(SAMPLED)
    }

    /// How many comparisons of this event were unknown, if it is one of those that are looked at.
    pub(super) fn sampled_unknowns(&self) -> Option<u32> {
        self.is_sampled().then_some(self.unknowns.get())
    }

    /// Whether comparisons are read one by one, since some are unknown and to be counted.
    #[inline]
    pub(super) fn notes_unknowns(&self) -> bool {
        self.notes_unknowns
    }

    pub(super) fn set_notes_unknowns(&mut self, notes: bool) {
        self.notes_unknowns = notes;
    }

    /// Forgets the event.
    pub(super) fn clear(&mut self) {
        for set in self.codes.drain(..) {
            self.bits[CODES_START + set.code as usize / 64] = 0;
        }
        self.numbers.clear();
        for code in self.derived.drain(..) {
            self.bits[CODES_START + code as usize / 64] = 0;
        }
        for scale in self.scales.drain(..) {
            self.bits[usize::from(scale) / 2] = 0;
        }
        self.entries_found.clear();
        self.lists_found.clear();
        self.unknowns.set(0);
        self.numeric = 0;
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.readings.clear();
            self.answers.clear();
            self.stamp = 1;
        }
    }

    #[inline]
    pub(super) fn set(&mut self, code: u32, attribute: u16) {
        self.set_bit(code);
        self.codes.push(SetCode { code, attribute });
        self.numbers.push(code);
    }

    /// Sets a code of no attribute, if it is not set.
    #[inline]
    pub(super) fn set_derived(&mut self, code: u32) {
        if !self.has(code) {
            self.set_bit(code);
            self.derived.push(code);
        }
    }

    /// Notes at which step of a scale the event stands.
    #[inline]
    pub(super) fn set_step(&mut self, scale: u32, step: u32) {
        if step > 0 {
            self.expect_word(CODES_START);
            self.bits[scale as usize / 2] |= u64::from(step) << (scale % 2 * 32);
            self.scales.push(scale as u16);
        }
    }

    /// At which step of a scale the event stands.
    #[inline]
    pub(super) fn step(&self, scale: u32) -> u32 {
        self.bits.get(scale as usize / 2).map_or(0, |word| (word >> (scale % 2 * 32)) as u32)
    }

    /// The scales at which the event stands above 0.
    pub(super) fn scales(&self) -> &[u16] {
        &self.scales
    }

    fn expect_word(&mut self, word: usize) {
        if word >= self.bits.len() {
            self.bits.resize(word + 1 + word / 2, 0);
        }
    }

    fn set_bit(&mut self, code: u32) {
        let word = CODES_START + code as usize / 64;
        self.expect_word(word);
        self.bits[word] |= 1 << (code % 64);
    }

    #[inline]
    pub(super) fn has(&self, code: u32) -> bool {
        let word = self.bits.get(CODES_START + code as usize / 64);
        word.is_some_and(|word| word >> (code % 64) & 1 == 1)
    }

    /// Half a word for each of [`SCALES_MAX`] scales with the step at which the event stands, then a
    /// bit for each code, the lowest first.
    #[inline]
    pub(super) fn bits(&self) -> &[u64] {
        &self.bits
    }

    /// The codes of attributes, in the order in which they were set.
    pub(super) fn codes(&self) -> &[SetCode] {
        &self.codes
    }

    /// The codes of attributes by themselves.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The codes of no attribute.
    pub(super) fn derived(&self) -> &[u32] {
        &self.derived
    }

    /// Notes a value. False if the attribute has one already.
    pub(super) fn value(&mut self, attribute: u16, value: &Value<'_>) -> bool {
        let place = usize::from(attribute);
        if place >= self.readings.len() {
            let none =
                Reading { stamp: 0, rank: Rank::Other, is_rounded: false, float: 0.0, floor: 0, ceiling: 0 };
            self.readings.resize(place + 1 + place / 2, none);
        }
        let reading = &mut self.readings[place];
        if reading.stamp == self.stamp {
            return false;
        }
        *reading = Reading::new(self.stamp, value);
        if reading.rank == Rank::Number {
            self.numeric |= mask_of(attribute);
        }
        true
    }

    #[inline]
    pub(super) fn reading(&self, attribute: u16) -> Option<&Reading> {
        self.readings.get(usize::from(attribute)).filter(|reading| reading.stamp == self.stamp)
    }

    /// The bits of all attributes that have a number (`super::boxes`).
    pub(super) fn numeric(&self) -> u32 {
        self.numeric
    }

    /// Whether the value of an attribute is a number.
    pub(super) fn has_number(&self, attribute: u16) -> bool {
        self.reading(attribute).is_some_and(|reading| reading.rank == Rank::Number)
    }

    /// The answer to a test, asked for once per event.
    #[inline]
    pub(super) fn answer(&self, test: u32, ask: impl FnOnce() -> bool) -> bool {
        match self.answers.get(test as usize) {
            Some(known) if known.get() >> 1 == u64::from(self.stamp) => known.get() & 1 == 1,
            Some(known) => {
                let answer = ask();
                known.set(u64::from(self.stamp) << 1 | u64::from(answer));
                answer
            }
            None => ask(),
        }
    }

    /// Makes room for the answers to so many tests.
    pub(super) fn expect_tests(&mut self, count: usize) {
        if self.answers.len() < count {
            self.answers.resize(count, Cell::new(0));
        }
    }

    /// Whether some entry was marked.
    pub(super) fn has_marks(&self) -> bool {
        !self.entries_found.marked.is_empty()
    }

    /// Whether this entry was marked.
    pub(super) fn is_marked(&self, number: u32) -> bool {
        let word = self.entries_found.bits.get(number as usize / 64);
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Notes that a target was found. False if it was already.
    pub(super) fn mark(&mut self, target: u32) -> bool {
        match target & IS_LIST {
            0 => self.entries_found.mark(target),
            // Lists are blocks of so many words, so these numbers are apart.
            _ => self.lists_found.mark((target & !IS_LIST) / LIST_WORDS as u32),
        }
    }
}

impl Reading {
    fn new(stamp: u32, value: &Value<'_>) -> Reading {
        let other = |rank| Reading { stamp, rank, is_rounded: false, float: f64::NAN, floor: 0, ceiling: 0 };
        match *value {
            Value::Int(number) => {
                let float = number as f64;
                let is_rounded = number.unsigned_abs() > 1 << 53;
                Reading { stamp, rank: Rank::Number, is_rounded, float, floor: number, ceiling: number }
            }
            Value::Float(float) if !float.is_nan() => {
                // The conversions saturate.
                let (floor, ceiling) = (float.floor() as i64, float.ceil() as i64);
                Reading { stamp, rank: Rank::Number, is_rounded: false, float, floor, ceiling }
            }
            Value::Float(_) | Value::Bytes(_) => other(Rank::Other),
            Value::Bool(_) => other(Rank::Bool),
            Value::Str(_) => other(Rank::Str),
            Value::Timestamp(_) => other(Rank::Timestamp),
        }
    }
}
