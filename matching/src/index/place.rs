//! From what a filter needs to hold to what is written into the index.
//!
//! A condition becomes one draft, or several if any of its parts is enough: each is put where the
//! events are that could fulfil it.
//!
//! 1. A draft holds for an event exactly if its condition does.
//! 2. Where an event fulfils several drafts of a filter, its entry is met several times, which costs a
//!    mark each time. So alternatives that are codes exclude each other.
//! 3. A draft has used each of its codes, attributes and tests once more; who drops one releases
//!    them.
//! 4. What does not fit an entry becomes one shared test of the whole.

use std::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use smallvec::{SmallVec, smallvec};

use super::checks::{Checks, Question, Questions};
use super::clauses::{self, Literal};
use super::codes::{Asked, CodeKind, Dictionary, Vocabulary};
use super::entry::{
    ANY, CODE, CODES_MAX, EITHER, ENTRY_HEAD, ENTRY_WORDS_MAX, FLOAT, HAS_HIGH, HAS_LOW, HIGH_STRICT, INT,
    LOW_STRICT, NONE, NOT, Operation, SOME, TEST, each_operation,
};
use super::fingerprint::Fingerprint;
use super::gates::{Gates, LEVELS};
use super::memory::Memory;
use crate::normal::{Bound, Check, Condition, Constant, Field, Kind, Test};

/// The most places that one filter takes.
const DRAFTS_MAX: usize = 1_024;

/// The most codes that a draft asks not to be set for the sake of others: they are as many as it has
/// places, so that more would take the square of what the filter says.
const EXCLUDED_MAX: usize = 4;

/// The most bytes of a prefix or suffix that is looked up rather than tried.
const END_BYTES_MAX: usize = 64;

/// An attribute that more than one in so many filters asks about is too common to divide by its
/// presence.
const PRESENCE_SHARE: u32 = 5;

/// An entry that has no place yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) codes: Codes,
    pub(super) operations: Operations,
}

/// Codes and operations of most filters take no memory of their own.
pub(super) type Codes = SmallVec<[u32; 6]>;
pub(super) type Operations = SmallVec<[u32; 16]>;
pub(super) type Drafts = SmallVec<[Draft; 1]>;

/// Everything that encoding uses.
pub(super) struct Encoder<'w> {
    pub(super) memory: &'w mut Memory,
    pub(super) dictionary: &'w mut Dictionary,
    pub(super) vocabulary: &'w Vocabulary,
    pub(super) checks: &'w mut Checks,
    pub(super) questions: &'w Questions,
    pub(super) gates: &'w mut Gates,
    /// How many entries there are.
    pub(super) entries: u32,
    /// Whether parts that are shared may become gates.
    pub(super) may_share: bool,
}

impl Encoder<'_> {
    /// The drafts of a condition; none if it never holds.
    ///
    /// `prints` are the fingerprints of its parts, or none.
    pub(super) fn drafts(&mut self, condition: &Condition, prints: &[Fingerprint]) -> Drafts {
        self.may_share &= !is_flat(condition);
        match condition {
            Condition::Never => Drafts::new(),
            Condition::Always => smallvec![Draft::default()],
            Condition::Any(parts) if parts.len() <= DRAFTS_MAX => {
                let numbered = parts.iter().enumerate();
                numbered.flat_map(|(at, part)| self.alternative(part, prints.get(at))).collect()
            }
            condition => self.placed(condition, prints),
        }
    }

    /// Lets no event fulfil two of several drafts, as far as few codes say that: a draft that is one
    /// code is met where the event has it, so those behind ask that it has not. How many of the first
    /// drafts are never fulfilled together with another.
    ///
    /// It is no matter whether what the code stands for is false or unknown: who has not the code does
    /// not meet the entry by it.
    pub(super) fn exclude(&mut self, drafts: &mut Drafts) -> usize {
        if drafts.len() < 2 {
            return drafts.len();
        }
        let is_code = |draft: &Draft| draft.codes.len() == 1 && draft.operations.is_empty();
        drafts.sort_by_key(|draft| !is_code(draft));
        let codes: Codes =
            drafts.iter().take_while(|draft| is_code(draft)).map(|draft| draft.codes[0]).collect();
        if codes.is_empty() || codes.len() > EXCLUDED_MAX {
            return 0;
        }
        for (place, draft) in drafts.iter_mut().enumerate() {
            for code in codes.iter().take(place) {
                self.dictionary.use_again(*code);
                self.dictionary.expect(*code);
                draft.operations.extend([Operation::new(NOT, 0, 0, 0).0, *code]);
            }
        }
        match drafts.len() - codes.len() {
            0 | 1 => drafts.len(),
            _ => codes.len(),
        }
    }

    /// The drafts of a part that is enough: of a conjunction that filters share its gate alone, so
    /// that it is met where it holds and nowhere else.
    fn alternative(&mut self, part: &Condition, print: Option<&Fingerprint>) -> Drafts {
        let gate = if matches!(part, Condition::All(_)) { self.gate(part, print) } else { None };
        match gate {
            Some(code) => smallvec![Draft { codes: smallvec![code], operations: Operations::new() }],
            None => self.placed(part, &[]),
        }
    }

    /// A draft, or several that mean the same: one without a code of its own is put under each of
    /// the codes of which one must be set.
    fn placed(&mut self, condition: &Condition, prints: &[Fingerprint]) -> Drafts {
        let draft = self.draft(condition, prints);
        if !draft.codes.is_empty() {
            return smallvec![draft];
        }
        let Some(codes) = self.alternatives(&draft.operations) else {
            return smallvec![draft];
        };
        for _ in 1..codes.len() {
            self.use_again(&draft.codes, &draft.operations);
        }
        let under = |code: u32| {
            self.dictionary.use_again(code);
            Draft { codes: smallvec![code], ..draft.clone() }
        };
        codes.into_iter().map(under).collect()
    }

    /// The codes of the `EITHER` that is least likely to hold, if each of its alternatives needs a
    /// code.
    fn alternatives(&self, mut operations: &[u32]) -> Option<Vec<u32>> {
        let mut best: Option<(f32, Vec<u32>)> = None;
        while let [first, rest @ ..] = operations {
            let operation = Operation(*first);
            let (own, next) = rest.split_at(operation.behind(rest.first().copied().unwrap_or(0)));
            operations = next;
            let codes = match operation.kind() {
                SOME => Some(own.to_vec()),
                EITHER => first_codes(&own[1..]),
                _ => None,
            };
            let Some(mut codes) = codes else { continue };
            codes.sort_unstable();
            codes.dedup();
            let chance = codes.iter().map(|code| self.chance(*code)).sum::<f32>();
            if best.as_ref().is_none_or(|(least, _)| chance < *least) {
                best = Some((chance, codes));
            }
        }
        best.map(|(_, codes)| codes)
    }

    fn draft(&mut self, condition: &Condition, prints: &[Fingerprint]) -> Draft {
        let mut draft = Draft::default();
        match condition {
            Condition::All(parts) => {
                let numbered = parts.iter().enumerate();
                numbered.for_each(|(at, part)| self.part(&mut draft, part, prints.get(at)));
            }
            part => self.part(&mut draft, part, None),
        }
        if ENTRY_HEAD + draft.codes.len() + draft.operations.len() > ENTRY_WORDS_MAX {
            self.release(&draft.codes, &draft.operations);
            draft = Draft::default();
            self.question(&mut draft.operations, condition);
        }
        self.add_presence(&mut draft, condition);
        draft
    }

    /// Adds one of the things that must all hold.
    fn part(&mut self, draft: &mut Draft, part: &Condition, print: Option<&Fingerprint>) {
        match self.code(part).or_else(|| self.gate(part, print)) {
            Some(code) => draft.codes.push(code),
            None => self.operation(&mut draft.operations, part),
        }
    }

    /// The code of a part that is shared, used once more. `print` is its fingerprint, if that is
    /// known.
    fn gate(&mut self, part: &Condition, print: Option<&Fingerprint>) -> Option<u32> {
        if !self.may_share {
            return None;
        }
        // So no part is drafted whose gate would be of too high a level.
        if height(part) > LEVELS {
            return None;
        }
        let fingerprint = print.copied().unwrap_or_else(|| self.gates.fingerprint(part));
        if let Some(code) = self.gates.find(fingerprint) {
            self.dictionary.use_again(code);
            return Some(code);
        }
        if !self.gates.see(fingerprint, self.entries as usize) {
            return None;
        }
        let drafts: Drafts = match part {
            Condition::Any(parts) if parts.len() <= DRAFTS_MAX => {
                parts.iter().map(|part| self.draft(part, &[])).collect()
            }
            // As a draft of its own it would become itself.
            Condition::Test(_) | Condition::Other(_) => smallvec![self.unshared(part)],
            part => smallvec![self.draft(part, &[])],
        };
        let level = 1 + drafts.iter().map(|draft| self.level(draft)).max().unwrap_or(0);
        let chance = self.chance_of(&drafts);
        let code = self.dictionary.use_derived();
        self.gates.add(fingerprint, code, level, chance, drafts);
        Some(code)
    }

    fn unshared(&mut self, part: &Condition) -> Draft {
        let may_share = std::mem::replace(&mut self.may_share, false);
        let draft = self.draft(part, &[]);
        self.may_share = may_share;
        draft
    }

    /// The highest level of the gates that a draft asks for.
    fn level(&self, draft: &Draft) -> usize {
        let mut level = draft.codes.iter().map(|code| self.gates.level(*code)).max().unwrap_or(0);
        each_operation(&draft.operations, &mut |operation, own| {
            if matches!(operation.kind(), CODE | NOT | ANY | SOME) {
                level = own.iter().map(|code| self.gates.level(*code)).fold(level, usize::max);
            }
        });
        level
    }

    /// How likely it is thought that one of the drafts holds.
    fn chance_of(&self, drafts: &[Draft]) -> f32 {
        1.0 - drafts.iter().map(|draft| 1.0 - self.chance_of_all(draft)).product::<f32>()
    }

    fn chance_of_all(&self, draft: &Draft) -> f32 {
        let mut chance: f32 = draft.codes.iter().map(|code| self.chance(*code)).product();
        each_operation(&draft.operations, &mut |operation, own| chance *= self.chance_of_one(operation, own));
        chance
    }

    /// How likely an operation is thought to hold. Those within `EITHER` come one by one, as though
    /// each had to hold: too low, which is as good as too high for telling the rarer part.
    fn chance_of_one(&self, operation: Operation, own: &[u32]) -> f32 {
        let sum = || own.iter().map(|code| self.chance(*code)).sum::<f32>().min(1.0);
        match operation.kind() {
            CODE | ANY | SOME => sum(),
            NOT | NONE => 1.0 - sum(),
            INT => self.dictionary.chance_between(operation.attribute(), bounds(operation.flags(), own, 1)),
            FLOAT => self.dictionary.chance_between(operation.attribute(), bounds(operation.flags(), own, 2)),
            _ => 0.2,
        }
    }

    /// How likely an event is thought to have a code.
    fn chance(&self, code: u32) -> f32 {
        self.gates.chance(self.dictionary, code)
    }

    /// The code that stands for the whole of a part, used once more.
    fn code(&mut self, part: &Condition) -> Option<u32> {
        let Condition::Test(Test { field: Field::Name(name), check }) = part else { return None };
        let asked = match check {
            Check::OneOf(set) if set.len() == 1 => Asked::Equals(&set[0]),
            Check::Prefix(text) if text.len() <= END_BYTES_MAX => Asked::Prefix(text),
            Check::Suffix(text) if text.len() <= END_BYTES_MAX => Asked::Suffix(text),
            Check::Present => return self.presence(name),
            _ => return None,
        };
        let number = self.attribute(name, 1)?;
        Some(self.constant(number, asked))
    }

    fn attribute(&mut self, name: &str, uses: u32) -> Option<u16> {
        self.dictionary.use_attribute(self.memory, self.vocabulary, name, uses)
    }

    /// What an attribute is asked for, which is used for it already.
    fn constant(&mut self, number: u16, asked: Asked) -> u32 {
        self.dictionary.use_constant(self.memory, self.vocabulary, number, asked)
    }

    fn presence(&mut self, name: &str) -> Option<u32> {
        let number = self.attribute(name, 1)?;
        Some(self.dictionary.use_presence(self.memory, number))
    }

    fn operation(&mut self, operations: &mut Operations, part: &Condition) {
        match part {
            Condition::Test(Test { field: Field::Name(name), check }) => {
                if !self.test(operations, name, check) {
                    self.question(operations, part);
                }
            }
            Condition::Any(parts) => self.either(operations, parts),
            Condition::All(parts) => parts.iter().for_each(|part| self.nested(operations, part)),
            part => self.question(operations, part),
        }
    }

    fn nested(&mut self, operations: &mut Operations, part: &Condition) {
        match self.code(part).or_else(|| self.gate(part, None)) {
            Some(code) => operations.extend([Operation::new(CODE, 0, 0, 0).0, code]),
            None => self.operation(operations, part),
        }
    }

    fn either(&mut self, operations: &mut Operations, parts: &[Condition]) {
        let start = operations.len();
        operations.extend([Operation::new(EITHER, 0, 0, 0).0, 0]);
        for part in parts {
            let count = operations.len();
            operations.push(0);
            self.nested(operations, part);
            operations[count] = (operations.len() - count - 1) as u32;
        }
        operations[start + 1] = (operations.len() - start - 2) as u32;
        // Nothing but codes is read faster as a list of them.
        if let Some(codes) = only_codes(&operations[start + 2..]) {
            operations.truncate(start);
            operations.push(Operation::new(SOME, 0, 0, codes.len()).0);
            operations.extend(codes);
        }
    }

    /// Writes a check of an attribute. False if there is no operation for it.
    fn test(&mut self, operations: &mut Operations, name: &str, check: &Check) -> bool {
        match check {
            Check::OneOf(set) if set.len() <= CODES_MAX => {
                let Some(number) = self.attribute(name, set.len() as u32) else { return false };
                operations.push(Operation::new(ANY, 0, 0, set.len()).0);
                operations.extend(set.iter().map(|constant| self.constant(number, Asked::Equals(constant))));
                true
            }
            Check::NoneOf(set) if set.len() <= CODES_MAX => {
                // Once for the kind of its value.
                let Some(number) = self.attribute(name, 1 + set.len() as u32) else { return false };
                let rank = check.kind().map_or(0, |kind| kind as u32);
                operations.push(Operation::new(NONE, rank, number, set.len()).0);
                operations.extend(set.iter().map(|constant| {
                    let code = self.constant(number, Asked::Equals(constant));
                    self.dictionary.expect(code);
                    code
                }));
                true
            }
            Check::Absent => {
                let Some(code) = self.presence(name) else { return false };
                self.dictionary.expect(code);
                operations.extend([Operation::new(NOT, 0, 0, 0).0, code]);
                true
            }
            Check::Range { low, high } if check.kind() == Some(Kind::Number) => {
                let Some((kind, flags, words)) = range(low, high) else { return false };
                let Some(number) = self.attribute(name, 1) else { return false };
                let sides = bounds(flags, &words, if kind == INT { 1 } else { 2 });
                sides.into_iter().flatten().for_each(|side| self.dictionary.note_bound(number, side));
                let mut operation = Operation::new(kind, flags, number, 0);
                if kind == INT {
                    operation = self.dictionary.use_scales(self.memory, operation, &words);
                }
                operations.push(operation.0);
                operations.extend(words);
                true
            }
            _ => false,
        }
    }

    fn question(&mut self, operations: &mut Operations, part: &Condition) {
        self.ask(operations, Question::Condition(part.clone().into_owned()));
    }

    /// Writes a shared test.
    pub(super) fn ask(&mut self, operations: &mut Operations, question: Question) {
        let number = self.checks.use_question(self.questions, question);
        operations.extend([Operation::new(TEST, 0, 0, 0).0, number]);
    }

    /// A draft without any code divides nothing: the presence of the rarest attribute that must be
    /// there may.
    fn add_presence(&mut self, draft: &mut Draft, condition: &Condition) {
        if !draft.codes.is_empty() {
            return;
        }
        let mut rarest: Option<u32> = None;
        for part in parts_of(condition) {
            let Condition::Test(Test { field: Field::Name(name), check }) = part else { continue };
            if *check == Check::Absent {
                continue;
            }
            let Some(code) = self.presence(name) else { continue };
            let worse = match rarest {
                Some(known)
                    if self.dictionary.attribute_uses(known) <= self.dictionary.attribute_uses(code) =>
                {
                    Some(code)
                }
                known => {
                    rarest = Some(code);
                    known
                }
            };
            if let Some(worse) = worse {
                self.dictionary.release(self.memory, self.vocabulary, worse);
            }
        }
        if let Some(code) = rarest {
            if self.dictionary.attribute_uses(code) < 64 + self.entries / PRESENCE_SHARE {
                draft.codes.push(code);
            } else {
                self.dictionary.release(self.memory, self.vocabulary, code);
            }
        }
    }

    /// Gives back what a draft or an entry used.
    pub(super) fn release(&mut self, codes: &[u32], operations: &[u32]) {
        for code in codes {
            self.release_code(*code);
        }
        each_operation(operations, &mut |operation, own| match operation.kind() {
            CODE | NOT | ANY | SOME => own.iter().for_each(|code| self.release_code(*code)),
            NONE => {
                own.iter().for_each(|code| self.release_code(*code));
                self.dictionary.release_attribute(self.memory, self.vocabulary, operation.attribute());
            }
            INT | FLOAT => {
                self.dictionary.release_attribute(self.memory, self.vocabulary, operation.attribute());
            }
            TEST => self.checks.release(self.memory, self.questions, own[0]),
            _ => {}
        });
    }

    /// As `release`, of an entry that was written in literals.
    pub(super) fn release_literals(&mut self, literals: &[AtomicU32]) {
        let Some((clauses, _, operations)) = clauses::parts(literals) else { return };
        // A range is one use of its attribute, whether it has a low bound, a high one or both.
        let mut is_second = false;
        for literal in clauses.iter().map(clauses::load) {
            match literal.step() {
                Some((scale, _)) => {
                    if !is_second {
                        let attribute = self.dictionary.scales().get(scale).attribute;
                        self.dictionary.release_attribute(self.memory, self.vocabulary, attribute);
                    }
                    is_second = literal.has(Literal::ONE_OF);
                }
                None if literal.code() != Literal::CODE => self.release_code(literal.code()),
                None => {}
            }
        }
        if !operations.is_empty() {
            let operations: Operations = operations.iter().map(|word| word.load(Ordering::Relaxed)).collect();
            self.release(&[], &operations);
        }
    }

    /// Uses everything that a draft uses once more.
    pub(super) fn use_again(&mut self, codes: &[u32], operations: &[u32]) {
        codes.iter().for_each(|code| self.dictionary.use_again(*code));
        each_operation(operations, &mut |operation, own| match operation.kind() {
            CODE | NOT | ANY | SOME => own.iter().for_each(|code| self.dictionary.use_again(*code)),
            NONE => {
                own.iter().for_each(|code| self.dictionary.use_again(*code));
                self.dictionary.use_attribute_again(operation.attribute());
            }
            INT | FLOAT => self.dictionary.use_attribute_again(operation.attribute()),
            TEST => self.checks.use_again(self.questions, own[0]),
            _ => {}
        });
    }

    fn release_code(&mut self, code: u32) {
        let was_last = self.dictionary.release(self.memory, self.vocabulary, code);
        if was_last && self.dictionary.kind(code) == CodeKind::Derived {
            self.gates.unused.push(code);
        }
    }
}

/// The codes that alternatives are, if each is one code.
fn only_codes(alternatives: &[u32]) -> Option<Vec<u32>> {
    let code = |alternative: &[u32]| match *alternative {
        [2, operation, code] if Operation(operation).kind() == CODE => Some(code),
        _ => None,
    };
    let alternatives = alternatives.chunks(3);
    let codes = alternatives.map(code).collect::<Option<Vec<u32>>>()?;
    (codes.len() <= CODES_MAX).then_some(codes)
}

/// The code that each alternative begins with.
fn first_codes(mut alternatives: &[u32]) -> Option<Vec<u32>> {
    let mut codes = Vec::new();
    while let [count, rest @ ..] = alternatives {
        let (alternative, next) = rest.split_at(*count as usize);
        match alternative {
            [first, code, ..] if Operation(*first).kind() == CODE => codes.push(*code),
            _ => return None,
        }
        alternatives = next;
    }
    (codes.len() <= CODES_MAX).then_some(codes)
}

/// The bounds of a range as floats, each `size` words long.
fn bounds(flags: u32, words: &[u32], size: usize) -> [Option<f64>; 2] {
    let mut sides = words.chunks_exact(size).map(|side| match *side {
        [low, high] => f64::from_bits(u64::from(low) | u64::from(high) << 32),
        ref side => f64::from(side[0] as i32),
    });
    let low = if flags & HAS_LOW != 0 { sides.next() } else { None };
    let high = if flags & HAS_HIGH != 0 { sides.next() } else { None };
    [low, high]
}

/// How deep a condition nests: a gate made of it is of this level at most.
fn height(condition: &Condition) -> usize {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => 1 + parts.iter().map(height).max().unwrap_or(0),
        _ => 1,
    }
}

/// The parts of a condition which filters may share: each may become a gate.
pub(super) fn shared_parts<'a, 'f>(condition: &'a Condition<'f>) -> &'a [Condition<'f>] {
    match condition {
        Condition::All(parts) | Condition::Any(parts) if !is_flat(condition) => parts,
        _ => &[],
    }
}

/// What must all hold for a condition to.
fn parts_of<'a, 'f>(condition: &'a Condition<'f>) -> &'a [Condition<'f>] {
    match condition {
        Condition::All(parts) => parts,
        part => std::slice::from_ref(part),
    }
}

/// Whether a condition is a test or a conjunction of tests.
fn is_flat(condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().all(|part| matches!(part, Condition::Test(_))),
        Condition::Any(_) => false,
        _ => true,
    }
}

/// The words of a range's two sides.
type Sides = ArrayVec<u32, 4>;

/// A range of numbers as an operation: its kind, flags and words.
fn range(low: &Bound, high: &Bound) -> Option<(u32, u32, Sides)> {
    int_range(low, high).or_else(|| float_range(low, high))
}

fn int_range(low: &Bound, high: &Bound) -> Option<(u32, u32, Sides)> {
    let (mut flags, mut words) = (0, Sides::new());
    match low {
        Bound::Open => {}
        Bound::Included(Constant::Int(number)) => {
            flags |= HAS_LOW;
            words.push(i32::try_from(*number).ok()? as u32);
        }
        Bound::Excluded(Constant::Int(number)) => {
            flags |= HAS_LOW | LOW_STRICT;
            words.push(i32::try_from(number.checked_add(1)?).ok()? as u32);
        }
        _ => return None,
    }
    match high {
        Bound::Open => {}
        Bound::Included(Constant::Int(number)) => {
            flags |= HAS_HIGH;
            words.push(i32::try_from(*number).ok()? as u32);
        }
        Bound::Excluded(Constant::Int(number)) => {
            flags |= HAS_HIGH | HIGH_STRICT;
            words.push(i32::try_from(number.checked_sub(1)?).ok()? as u32);
        }
        _ => return None,
    }
    Some((INT, flags, words))
}

fn float_range(low: &Bound, high: &Bound) -> Option<(u32, u32, Sides)> {
    let (mut flags, mut words) = (0, Sides::new());
    for (bound, has, strict) in [(low, HAS_LOW, LOW_STRICT), (high, HAS_HIGH, HIGH_STRICT)] {
        let Some(constant) = bound.constant() else { continue };
        flags |= has;
        if matches!(bound, Bound::Excluded(_)) {
            flags |= strict;
        }
        let bits = exact_float(constant)?.to_bits();
        words.extend([bits as u32, (bits >> 32) as u32]);
    }
    Some((FLOAT, flags, words))
}

/// The float that is this number, if there is one.
fn exact_float(constant: &Constant) -> Option<f64> {
    match constant {
        Constant::Float(number) => Some(*number),
        Constant::Int(number) => (number.unsigned_abs() <= 1 << 53).then_some(*number as f64),
        _ => None,
    }
}

/// Whether entries may be divided by the code below the first level: events list such codes.
pub(super) fn divides(dictionary: &Dictionary, code: u32) -> bool {
    dictionary.kind(code) != CodeKind::Derived
}
