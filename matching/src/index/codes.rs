//! What subscriptions ask about, as numbers: an *attribute* has a number, and each thing that may
//! be true of an event's attribute (it is there, it equals this constant, it begins or ends with
//! this text) has a *code*.
//!
//! 1. Reading an event (`read`) looks each of its values up once. From then on a predicate is a
//!    test of a bit or a comparison of numbers; no text is touched again.
//! 2. A code is set exactly if what it stands for is true: names and constants are compared byte
//!    by byte behind their hashes.
//! 3. Numbers that are equal have one code, be they integers or floats.
//! 4. A code that nobody asked about when an event was going to be read may be true of it though it
//!    is not set (`super::births`).
//! 5. A code or an attribute that nobody uses is forgotten; its number comes back when no reader
//!    can hold it.
//!
//! An attribute's record: number and forms of its constants, code of its presence, lengths of
//! prefixes, lengths of suffixes, scales, bytes of its name, the name. A constant's record: code, kind and
//! attribute, bytes, the bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::FixedState;

use super::arena::{Arena, Handle};
use super::births::Births;
use super::clauses::Literal;
use super::entry::Operation;
use super::memory::{Leaving, Memory};
use super::scales::{Scale, ScaleNumbers, Scales};
use super::slots::Slots;
use super::table::{Key, Parts, Table};
use super::traffic::Traffic;
use crate::normal::Constant;
use crate::value::Value;

pub(super) use ask::Inquiry;
pub(super) use read::Known;

mod ask;
mod read;

const PRESENCE: usize = 1;
const PREFIXES: usize = 2;
const SUFFIXES: usize = 3;
const SCALES: usize = 4;
const ATTRIBUTE_HEAD: usize = 6;
const CONSTANT_HEAD: usize = 3;

/// The fields that are not attributes (PROTOCOL.md 4.2): asked for by name.
const CORE_FIELDS: [&str; 4] = ["id", "source", "time", "topic"];

/// What a code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeKind {
    /// The attribute has a value.
    Presence,
    /// It equals a constant, begins or ends with a text.
    Constant,
    /// A shared part of filters holds.
    Derived,
}

/// How a constant's bytes are meant. Part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    Int,
    Float,
    Str,
    Timestamp,
    Prefix,
    Suffix,
}

impl Form {
    /// In the first word of an attribute's record: it has, or had, constants of this form.
    fn bit(self) -> u32 {
        1 << (16 + self as u32)
    }
}

/// The reading side.
pub(super) struct Vocabulary {
    names: Table,
    constants: Table,
    hasher: FixedState,
    /// One bit for each of [`CORE_FIELDS`] that is asked about.
    core_fields: AtomicU32,
    /// How many attributes were forgotten.
    forgotten: AtomicU64,
    records: Arc<Records>,
    traffic: Arc<Traffic>,
    births: Arc<Births>,
    pub(super) scales: Arc<Scales>,
}

/// Where the records are. One that is in use stays; a number that is used again gets another before
/// anybody can hold it.
struct Records {
    /// By attribute.
    attributes: Slots<AtomicU32>,
    /// By code: the constant's, or the attribute's with [`IS_PRESENCE`]; 0 of a gate.
    codes: Slots<AtomicU32>,
}

/// What the record of a code that stands for an attribute's presence is marked with.
const IS_PRESENCE: u32 = 0x8000_0000;

/// The writing side.
pub(super) struct Dictionary {
    names: Parts,
    constants: Parts,
    attributes: Vec<AttributeUse>,
    attributes_free: Vec<u16>,
    /// Records of attributes that were asked for lately, by [`recent_of`] their names: most filters ask
    /// about a few, and this is found without a look at the table.
    recent: Box<[Handle; RECENT]>,
    codes: Vec<CodeUse>,
    codes_free: Vec<u32>,
    /// How many constants use a length: (attribute, whether of suffixes, bytes).
    lengths: HashMap<(u16, bool, u32), u32>,
    records: Arc<Records>,
    traffic: Arc<Traffic>,
    births: Arc<Births>,
    scales: Arc<Scales>,
    scale_numbers: ScaleNumbers,
    /// Whether there are codes that are still to be born.
    is_expecting: bool,
}

#[derive(Clone, Copy, Default)]
struct AttributeUse {
    record: Handle,
    words: u32,
    uses: u32,
    /// Filters that ask about its value.
    asks: u32,
    /// The least and the greatest bound of a range, ever.
    bounds: Option<(f64, f64)>,
}

#[derive(Clone, Copy)]
struct CodeUse {
    uses: u32,
    /// Since when events are looked at for it (`Traffic::begin`).
    since: u32,
    attribute: u16,
    kind: CodeKind,
    form: Form,
}

/// A constant's bytes, without memory of their own for numbers.
struct Bytes<'v> {
    form: Form,
    small: [u8; 12],
    count: usize,
    text: Option<&'v [u8]>,
}

impl<'v> Bytes<'v> {
    fn new(form: Form, bytes: &[u8]) -> Bytes<'v> {
        let mut small = [0; 12];
        small[..bytes.len()].copy_from_slice(bytes);
        Bytes { form, small, count: bytes.len(), text: None }
    }

    fn text(form: Form, text: &'v [u8]) -> Bytes<'v> {
        Bytes { form, small: [0; 12], count: 0, text: Some(text) }
    }

    /// `None` for what no constant equals.
    fn of_value(value: &Value<'v>) -> Option<Bytes<'v>> {
        Some(match value {
            Value::Bool(known) => Bytes::new(Form::Bool, &[u8::from(*known)]),
            Value::Int(number) => Bytes::new(Form::Int, &number.to_le_bytes()),
            Value::Float(number) if number.is_nan() => return None,
            Value::Float(number) => match Constant::float(*number) {
                Constant::Int(number) => Bytes::new(Form::Int, &number.to_le_bytes()),
                _ => Bytes::new(Form::Float, &number.to_bits().to_le_bytes()),
            },
            Value::Str(text) => Bytes::text(Form::Str, text.as_bytes()),
            Value::Timestamp(time) => {
                let mut bytes = [0; 12];
                bytes[..8].copy_from_slice(&time.seconds.to_le_bytes());
                bytes[8..].copy_from_slice(&time.nanos.to_le_bytes());
                Bytes::new(Form::Timestamp, &bytes)
            }
            Value::Bytes(_) => return None,
        })
    }

    fn as_slice(&self) -> &[u8] {
        self.text.unwrap_or(&self.small[..self.count])
    }
}

/// What an attribute is asked for.
#[derive(Clone, Copy)]
pub(super) enum Asked<'v> {
    /// It equals this.
    Equals(&'v Constant<'v>),
    /// It begins with this.
    Prefix(&'v str),
    /// It ends with this.
    Suffix(&'v str),
}

impl<'v> Asked<'v> {
    fn bytes(self) -> Bytes<'v> {
        match self {
            // No constant is a NaN.
            Asked::Equals(constant) => {
                Bytes::of_value(&constant.value()).unwrap_or(Bytes::new(Form::Bool, &[]))
            }
            Asked::Prefix(text) => Bytes::text(Form::Prefix, text.as_bytes()),
            Asked::Suffix(text) => Bytes::text(Form::Suffix, text.as_bytes()),
        }
    }
}

impl CodeUse {
    fn new(attribute: u16, kind: CodeKind, form: Form) -> CodeUse {
        CodeUse { uses: 1, since: 0, attribute, kind, form }
    }
}

impl Vocabulary {
    fn key_of_name(&self, name: &[u8]) -> Key {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        Key::of_hash(hasher.finish())
    }

    fn key_of_constant(&self, attribute: u16, bytes: &Bytes<'_>) -> Key {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes.as_slice());
        hasher.write_u32(head_of(attribute, bytes.form));
        Key::of_hash(hasher.finish())
    }

    /// A hash of some text, of 32 bits.
    pub(super) fn hash(&self, text: &[u8]) -> u32 {
        self.key_of_name(text).second
    }

    fn attribute(&self, arena: &Arena, name: &str) -> Handle {
        self.names.find(arena, self.key_of_name(name.as_bytes()), |record| {
            is_text(&arena.words(record)[ATTRIBUTE_HEAD - 1..], name.as_bytes())
        })
    }

    /// The record of a code, as [`Records::codes`] has it.
    fn record_of_code(&self, code: u32) -> u32 {
        self.records.codes.get(code).map_or(0, |record| record.load(Ordering::Acquire))
    }

    /// The code of a constant with this key, or 0 if nobody asks for it.
    fn code(&self, arena: &Arena, attribute: u16, bytes: &Bytes<'_>, key: Key) -> u32 {
        let record =
            self.constants.find(arena, key, |record| is_constant(arena.words(record), attribute, bytes));
        if record == 0 { 0 } else { arena.words(record)[0].load(Ordering::Relaxed) }
    }
}

/// How many attributes are kept at hand.
const RECENT: usize = 1 << RECENT_BITS;
const RECENT_BITS: u32 = 10;

/// Where an attribute is kept at hand. Names that are alike there only take each other's place.
fn recent_of(name: &[u8]) -> usize {
    let ends = match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(first), Some(last)) => [u32::from_le_bytes(*first), u32::from_le_bytes(*last)],
        _ => [u32::from_le_bytes(padded(name)), 0],
    };
    let mixed = (ends[0] ^ ends[1].rotate_left(15) ^ name.len() as u32).wrapping_mul(0x9e37_79b9);
    (mixed >> (u32::BITS - RECENT_BITS)) as usize
}

fn head_of(attribute: u16, form: Form) -> u32 {
    u32::from(attribute) | (form as u32) << 16
}

/// Whether a record is of this constant.
#[inline]
fn is_constant(record: &[AtomicU32], attribute: u16, bytes: &Bytes<'_>) -> bool {
    record[1].load(Ordering::Relaxed) == head_of(attribute, bytes.form)
        && is_text(&record[CONSTANT_HEAD - 1..], bytes.as_slice())
}

/// Whether the record's text, a count of bytes and the bytes, is `text`.
#[inline]
pub(super) fn is_text(words: &[AtomicU32], text: &[u8]) -> bool {
    if words[0].load(Ordering::Relaxed) as usize != text.len() {
        return false;
    }
    let (whole, rest) = text.as_chunks::<4>();
    let same = |word: &AtomicU32, bytes: [u8; 4]| word.load(Ordering::Relaxed) == u32::from_le_bytes(bytes);
    whole.iter().zip(&words[1..]).all(|(bytes, word)| same(word, *bytes))
        && (rest.is_empty() || same(&words[1 + whole.len()], padded(rest)))
}

fn padded(rest: &[u8]) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

pub(super) fn write_text(words: &[AtomicU32], text: &[u8]) {
    words[0].store(text.len() as u32, Ordering::Relaxed);
    for (bytes, word) in text.chunks(4).zip(&words[1..]) {
        word.store(u32::from_le_bytes(padded(bytes)), Ordering::Relaxed);
    }
}

impl Dictionary {
    pub(super) fn new(seed: u64) -> (Vocabulary, Dictionary) {
        let traffic = Arc::new(Traffic::new());
        let births = Arc::new(Births::new());
        let scales = Arc::new(Scales::new());
        let records = Arc::new(Records { attributes: Slots::new(), codes: Slots::new() });
        let (names_table, names) = Parts::new();
        let (constants_table, constants) = Parts::new();
        let vocabulary = Vocabulary {
            names: names_table,
            constants: constants_table,
            hasher: FixedState::with_seed(seed),
            core_fields: AtomicU32::new(0),
            forgotten: AtomicU64::new(0),
            records: Arc::clone(&records),
            traffic: Arc::clone(&traffic),
            births: Arc::clone(&births),
            scales: Arc::clone(&scales),
        };
        let unused = CodeUse::new(0, CodeKind::Derived, Form::Bool);
        let dictionary = Dictionary {
            names,
            constants,
            attributes: Vec::new(),
            attributes_free: Vec::new(),
            recent: Box::new([0; RECENT]),
            codes: vec![unused],
            codes_free: Vec::new(),
            lengths: HashMap::new(),
            records,
            traffic,
            births,
            scales,
            scale_numbers: ScaleNumbers::default(),
            is_expecting: false,
        };
        (vocabulary, dictionary)
    }

    pub(super) fn kind(&self, code: u32) -> CodeKind {
        self.codes[code as usize].kind
    }

    pub(super) fn attribute_of(&self, code: u32) -> u16 {
        self.codes[code as usize].attribute
    }

    /// Remembers a bound of a range.
    pub(super) fn note_bound(&mut self, number: u16, bound: f64) {
        let known = &mut self.attributes[usize::from(number)].bounds;
        *known = Some(known.map_or((bound, bound), |(least, most)| (least.min(bound), most.max(bound))));
    }

    /// How likely a number is thought to be between two bounds: as though numbers were spread evenly
    /// over where filters look.
    pub(super) fn chance_between(&self, number: u16, [low, high]: [Option<f64>; 2]) -> f32 {
        let Some((least, most)) = self.attributes[usize::from(number)].bounds else { return 0.5 };
        let width = high.unwrap_or(most) - low.unwrap_or(least);
        let chance = width / (most - least);
        if chance.is_finite() { (chance as f32).clamp(0.01, 1.0) } else { 0.5 }
    }

    /// How often the attribute of a code is asked about.
    pub(super) fn attribute_uses(&self, code: u32) -> u32 {
        self.attributes[usize::from(self.attribute_of(code))].uses
    }

    /// How many entries ask for the code.
    pub(super) fn uses(&self, code: u32) -> u32 {
        self.codes[code as usize].uses
    }

    /// The share of filters about this attribute that ask for this code, above 0 and at most 1.
    pub(super) fn share(&self, code: u32) -> f32 {
        let code = &self.codes[code as usize];
        let asks = self.attributes.get(usize::from(code.attribute)).map_or(1, |attribute| attribute.asks);
        (code.uses as f32 / asks.max(1) as f32).min(1.0)
    }

    /// How likely an event is to have a code: as often as events had it lately, and as far as few
    /// were looked at, as is `thought`.
    pub(super) fn chance(&self, code: u32, thought: f32) -> f32 {
        let known = &self.codes[code as usize];
        self.traffic.chance(known.kind, code, known.since, thought)
    }

    /// The number of an attribute, which is used so many times more: once by each code that it is for.
    /// `None` if there are 65,536 already.
    pub(super) fn use_attribute(
        &mut self,
        memory: &mut Memory,
        words: &Vocabulary,
        name: &str,
        uses: u32,
    ) -> Option<u16> {
        let record = self.record_of(memory, words, name);
        if record != 0 {
            let number = memory.arena().load(record, 0) as u16;
            self.attributes[usize::from(number)].uses += uses;
            return Some(number);
        }
        let number = match self.attributes_free.pop() {
            Some(number) => number,
            None => {
                let number = u16::try_from(self.attributes.len()).ok()?;
                self.attributes.push(AttributeUse::default());
                number
            }
        };
        let (record, size) = memory.take(ATTRIBUTE_HEAD + name.len().div_ceil(4));
        let block = memory.arena().words(record);
        block[0].store(u32::from(number), Ordering::Relaxed);
        block[1..ATTRIBUTE_HEAD].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        write_text(&block[ATTRIBUTE_HEAD - 1..], name.as_bytes());
        self.attributes[usize::from(number)] =
            AttributeUse { record, words: size as u32, uses, asks: 0, bounds: None };
        self.records.attributes.get_or_make(u32::from(number)).store(record, Ordering::Release);
        self.names.insert(memory, &words.names, words.key_of_name(name.as_bytes()), record);
        if let Some(bit) = CORE_FIELDS.iter().position(|core| *core == name) {
            words.core_fields.fetch_or(1 << bit, Ordering::Release);
        }
        Some(number)
    }

    /// The record of an attribute, or 0 if nobody asks for it.
    fn record_of(&mut self, memory: &Memory, words: &Vocabulary, name: &str) -> Handle {
        let recent = &mut self.recent[recent_of(name.as_bytes())];
        if *recent == 0 || !is_text(&memory.arena().words(*recent)[ATTRIBUTE_HEAD - 1..], name.as_bytes()) {
            *recent = words.attribute(memory.arena(), name);
        }
        *recent
    }

    pub(super) fn use_attribute_again(&mut self, number: u16) {
        self.attributes[usize::from(number)].uses += 1;
    }

    pub(super) fn release_attribute(&mut self, memory: &mut Memory, words: &Vocabulary, number: u16) {
        let attribute = &mut self.attributes[usize::from(number)];
        attribute.uses -= 1;
        if attribute.uses > 0 {
            return;
        }
        let (record, size) = (attribute.record, attribute.words as usize);
        let name = read_text(&memory.arena().words(record)[ATTRIBUTE_HEAD - 1..]);
        self.names.remove(memory, &words.names, words.key_of_name(&name), record);
        self.recent[recent_of(&name)] = 0;
        if let Some(bit) = CORE_FIELDS.iter().position(|core| core.as_bytes() == name) {
            words.core_fields.fetch_and(!(1 << bit), Ordering::Release);
        }
        // Who is told of it before the record is retired cannot meet what takes its place.
        words.forgotten.fetch_add(1, Ordering::Release);
        self.release_scales(memory, number, record);
        memory.retire(record, size);
        memory.retire_thing(Leaving::Attribute(number));
    }

    /// A range of integers, marked if there is a scale for each of its bounds; `own` are its words.
    /// Its attribute is in use.
    pub(super) fn use_scales(&mut self, memory: &mut Memory, operation: Operation, own: &[u32]) -> Operation {
        if self.scale_numbers.steps(operation, own, |_, _| {}).is_some() {
            return operation.scaled();
        }
        let record = self.attributes[usize::from(operation.attribute())].record;
        let old = memory.arena().load(record, SCALES);
        // Two words each.
        if old != 0 && !ScaleNumbers::can_have_more(memory.arena().load(old, 0) as usize / 2) {
            return operation;
        }
        let mut list: Vec<u32> = if old == 0 { Vec::new() } else { read_list(memory, old) };
        let old_words = 1 + list.len();
        self.scale_numbers.missing(&self.scales, (operation, own), list.len() / 2, |number, scale| {
            list.extend(scale.words(number));
        });
        if list.len() + 1 > old_words {
            let new = write_list(memory, &list);
            memory.arena().store(record, SCALES, new);
            if old != 0 {
                memory.retire(old, old_words);
            }
        }
        let is_scaled = self.scale_numbers.steps(operation, own, |_, _| {}).is_some();
        if is_scaled { operation.scaled() } else { operation }
    }

    /// The steps that bounds are at: of a marked range, each with the number of its scale.
    pub(super) fn steps(&self, operation: Operation, own: &[u32], see: impl FnMut(u32, u32)) -> Option<()> {
        if operation.is_scaled() { self.scale_numbers.steps(operation, own, see) } else { None }
    }

    /// What scales measure.
    pub(super) fn scales(&self) -> &Scales {
        &self.scales
    }

    fn release_scales(&mut self, memory: &mut Memory, attribute: u16, record: Handle) {
        let list = memory.arena().load(record, SCALES);
        if list == 0 {
            return;
        }
        let words = read_list(memory, list);
        for words in words.as_chunks::<2>().0 {
            let (number, scale) = Scale::read(attribute, *words);
            self.scale_numbers.forget(scale);
            memory.retire_thing(Leaving::Scale(number as u16));
        }
        memory.retire(list, 1 + words.len());
    }

    /// The code that the attribute has a value; used once more. Its attribute is used for it.
    pub(super) fn use_presence(&mut self, memory: &mut Memory, number: u16) -> u32 {
        let record = self.attributes[usize::from(number)].record;
        let code = memory.arena().load(record, PRESENCE);
        if code != 0 {
            self.codes[code as usize].uses += 1;
            return code;
        }
        let code = self.new_code(record | IS_PRESENCE, CodeUse::new(number, CodeKind::Presence, Form::Bool));
        memory.arena().store(record, PRESENCE, code);
        code
    }

    /// The code of something that an attribute is asked for; used once more. Its attribute is used for it.
    pub(super) fn use_constant(
        &mut self,
        memory: &mut Memory,
        words: &Vocabulary,
        number: u16,
        asked: Asked<'_>,
    ) -> u32 {
        let bytes = &asked.bytes();
        let key = words.key_of_constant(number, bytes);
        self.attributes[usize::from(number)].asks += 1;
        let code = words.code(memory.arena(), number, bytes, key);
        if code != 0 {
            self.codes[code as usize].uses += 1;
            return code;
        }
        let text = bytes.as_slice();
        let (record, _) = memory.take(CONSTANT_HEAD + text.len().div_ceil(4));
        let form = bytes.form;
        let code = self.new_code(record, CodeUse::new(number, CodeKind::Constant, form));
        let block = memory.arena().words(record);
        block[0].store(code, Ordering::Relaxed);
        block[1].store(head_of(number, form), Ordering::Relaxed);
        write_text(&block[CONSTANT_HEAD - 1..], text);
        self.constants.insert(memory, &words.constants, key, record);
        memory.arena().words(self.attributes[usize::from(number)].record)[0]
            .fetch_or(form.bit(), Ordering::Release);
        if matches!(form, Form::Prefix | Form::Suffix) {
            self.use_length(memory, number, form == Form::Suffix, text.len() as u32);
        }
        code
    }

    /// A code of no attribute.
    pub(super) fn use_derived(&mut self) -> u32 {
        self.new_code(0, CodeUse::new(0, CodeKind::Derived, Form::Bool))
    }

    /// One more use of a code that is in use.
    pub(super) fn use_again(&mut self, code: u32) {
        let code = &mut self.codes[code as usize];
        code.uses += 1;
        if code.kind != CodeKind::Derived {
            let attribute = &mut self.attributes[usize::from(code.attribute)];
            attribute.uses += 1;
            attribute.asks += u32::from(code.kind == CodeKind::Constant);
        }
    }

    /// One that was never used. That of literals which always hold is left out.
    fn next_code(&mut self) -> u32 {
        if self.codes.len() as u32 == Literal::CODE {
            self.codes.push(CodeUse::new(0, CodeKind::Derived, Form::Bool));
        }
        self.codes.len() as u32
    }

    fn new_code(&mut self, record: u32, code: CodeUse) -> u32 {
        let number = self.codes_free.pop().unwrap_or_else(|| self.next_code());
        self.records.codes.get_or_make(number).store(record, Ordering::Release);
        let since = self.traffic.begin(code.kind, number);
        self.births.forget(number);
        let code = CodeUse { since, ..code };
        match self.codes.get_mut(number as usize) {
            Some(free) => *free = code,
            None => self.codes.push(code),
        }
        number
    }

    /// The absence of a code is going to be asked for.
    pub(super) fn expect(&mut self, code: u32) {
        self.is_expecting |= self.births.expect(code);
    }

    /// Lets the codes be born that are expected: nobody can meet yet what asks for them.
    pub(super) fn bear(&mut self) {
        if std::mem::take(&mut self.is_expecting) {
            self.births.bear();
        }
    }

    /// One use less; forgets the code with its last. True if it was the last.
    pub(super) fn release(&mut self, memory: &mut Memory, words: &Vocabulary, code: u32) -> bool {
        let used = &mut self.codes[code as usize];
        used.uses -= 1;
        let CodeUse { uses, attribute, kind, form, .. } = *used;
        if uses == 0 {
            let record = words.record_of_code(code) & !IS_PRESENCE;
            match kind {
                CodeKind::Presence => memory.arena().store(record, PRESENCE, 0),
                CodeKind::Constant => self.forget_constant(memory, words, attribute, record, form),
                // Its entry has to go first.
                CodeKind::Derived => return true,
            }
            memory.retire_thing(Leaving::Code(code));
        }
        if kind == CodeKind::Constant {
            self.attributes[usize::from(attribute)].asks -= 1;
        }
        if kind != CodeKind::Derived {
            self.release_attribute(memory, words, attribute);
        }
        uses == 0
    }

    fn forget_constant(
        &mut self,
        memory: &mut Memory,
        words: &Vocabulary,
        attribute: u16,
        record: Handle,
        form: Form,
    ) {
        let text = read_text(&memory.arena().words(record)[CONSTANT_HEAD - 1..]);
        let key = words.key_of_constant(attribute, &Bytes::text(form, &text));
        self.constants.remove(memory, &words.constants, key, record);
        if matches!(form, Form::Prefix | Form::Suffix) {
            self.release_length(memory, attribute, form == Form::Suffix, text.len() as u32);
        }
        memory.retire(record, CONSTANT_HEAD + text.len().div_ceil(4));
    }

    fn use_length(&mut self, memory: &mut Memory, attribute: u16, is_suffix: bool, length: u32) {
        let uses = self.lengths.entry((attribute, is_suffix, length)).or_insert(0);
        *uses += 1;
        if *uses == 1 {
            self.change_lengths(memory, attribute, is_suffix, |lengths| lengths.push(length));
        }
    }

    fn release_length(&mut self, memory: &mut Memory, attribute: u16, is_suffix: bool, length: u32) {
        let Some(uses) = self.lengths.get_mut(&(attribute, is_suffix, length)) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.lengths.remove(&(attribute, is_suffix, length));
            self.change_lengths(memory, attribute, is_suffix, |lengths| {
                lengths.retain(|known| *known != length)
            });
        }
    }

    /// Puts another list of lengths, in ascending order, in the place of the one that is there.
    fn change_lengths(
        &mut self,
        memory: &mut Memory,
        attribute: u16,
        is_suffix: bool,
        change: impl FnOnce(&mut Vec<u32>),
    ) {
        let record = self.attributes[usize::from(attribute)].record;
        let at = if is_suffix { SUFFIXES } else { PREFIXES };
        let old = memory.arena().load(record, at);
        let mut lengths = if old == 0 { Vec::new() } else { read_list(memory, old) };
        let old_words = 1 + lengths.len();
        change(&mut lengths);
        lengths.sort_unstable();
        let new = if lengths.is_empty() { 0 } else { write_list(memory, &lengths) };
        memory.arena().store(record, at, new);
        // Only now can no reader come to it any more.
        if old != 0 {
            memory.retire(old, old_words);
        }
    }

    /// Numbers that no reader can hold any more.
    pub(super) fn take_back(&mut self, thing: Leaving) {
        match thing {
            Leaving::Code(code) => self.codes_free.push(code),
            Leaving::Attribute(number) => self.attributes_free.push(number),
            Leaving::Scale(number) => self.scale_numbers.take_back(number),
            _ => {}
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.codes.capacity() * size_of::<CodeUse>()
            + self.attributes.capacity() * size_of::<AttributeUse>()
            + self.lengths.capacity() * 16
            + (self.codes.len().next_power_of_two() + self.attributes.len()) * size_of::<AtomicU32>()
            + self.traffic.bytes(self.codes.len())
            + self.births.bytes()
            + self.scales.bytes()
            + self.scale_numbers.bytes()
            + size_of_val(&*self.recent)
    }
}

/// A block with the count of the numbers and the numbers.
fn write_list(memory: &mut Memory, numbers: &[u32]) -> Handle {
    let (handle, _) = memory.take(1 + numbers.len());
    let words = memory.arena().words(handle);
    words[0].store(numbers.len() as u32, Ordering::Relaxed);
    numbers.iter().zip(&words[1..]).for_each(|(number, word)| word.store(*number, Ordering::Relaxed));
    handle
}

fn read_list(memory: &Memory, list: Handle) -> Vec<u32> {
    let words = memory.arena().words(list);
    let count = words[0].load(Ordering::Relaxed) as usize;
    words[1..=count].iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

pub(super) fn read_text(words: &[AtomicU32]) -> Vec<u8> {
    let count = words[0].load(Ordering::Relaxed) as usize;
    let mut text: Vec<u8> = words[1..=count.div_ceil(4)]
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .collect();
    text.truncate(count);
    text
}
