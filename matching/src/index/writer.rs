//! Putting entries into the index and taking them out, while readers match.
//!
//! 1. There is one writer. What readers see changes by single words, each stored after all that it
//!    leads to: a reader finds an entry that stays in the index exactly once, whatever moves.
//! 2. An entry goes under the rarest code that it asks for, so that an event meets few entries in
//!    vain. A chain that gets long is divided by the next rarest. What is rare is known from the
//!    events that readers met (`super::traffic`), and thought from the filters where they met few.
//! 3. A change moves at most one block, and at a division one chain of a block; nothing else is
//!    copied but a part of a table that changes its size.
//! 4. Equal filters are one entry with a list of numbers.
//! 5. What an entry uses (codes, attributes, tests) is counted, and forgotten with its last user.
//!
//! Putting entries in is here, the blocks that they are in are `chains`, which `division` divides;
//! where an inner block leads to is `children`;
//! taking entries out is in `removal`, equal ones are in `lists`, the way back from a number is in
//! `homes`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::arena::{Arena, Handle};
use super::blocks::{
    CHAIN_OWNER, CHAIN_WORDS_MAX, CHILDREN, DERIVED, GATES, INNER_OWNER, Kind, Owner, REST, attribute_bit,
    meta,
};
use super::boxes::{self, Sets};
use super::checks::{Checks, Question, Questions};
use super::children::{Children, IS_IDS};
use super::codes::{CodeKind, Dictionary, Vocabulary};
use super::entry::{CODE, ENTRY_HEAD, Head, IS_GATE, IS_LIST, NOT, SOME, each_operation};
use super::equals::Equals;
use super::fingerprint::Prints;
use super::gates::{Gates, LEVELS, Made};
use super::memory::{Common, Leaving, Memory};
use super::place::{Draft, Encoder};
use super::table::{Key, Parts, Table};
use super::trie::{self, Slot};
use crate::normal::Condition;
use crate::simd;
use crate::topic::TopicFilter;

use division::Way;
use homes::{Homes, IS_SEVERAL};

pub(super) mod chains;
mod children;
mod division;
pub(super) mod homes;
mod lists;
mod removal;

/// What readers use.
pub(super) struct View {
    pub(super) common: Arc<Common>,
    pub(super) vocabulary: Vocabulary,
    pub(super) links: Table,
    pub(super) questions: Questions,
    /// The trees of gates.
    pub(super) levels: [Slot; LEVELS],
}

/// What the writer knows beyond the view.
pub(super) struct Writer {
    pub(super) memory: Memory,
    dictionary: Dictionary,
    links: Parts,
    checks: Checks,
    gates: Gates,
    pub(super) homes: Homes,
    equals: Equals,
    pub(super) sets: Sets,
    /// Entries that took the place of others which no reader can find any more.
    pub(super) settled: Vec<u32>,
    /// The topic filter that was asked for last, and its slot: often it is asked for again.
    pub(super) slot_last: Option<(TopicFilter, Slot)>,
    /// The node of topics that a removal has left without entries, or without one that every event of
    /// it was for.
    slot_left: Option<Slot>,
    /// Room for the words of one entry.
    words: Vec<u32>,
    /// And for literals.
    literals: Vec<u32>,
    pub(super) lengths: Lengths,
}

/// From when on entries are read sooner where they are divided.
#[derive(Clone, Copy)]
pub(super) struct Lengths {
    /// Words of a block of clauses.
    pub(super) clauses: usize,
    /// Boxes with the same attributes.
    pub(super) set: usize,
    /// A copy of a block of a chain has room for one part in so many more.
    growth: usize,
}

impl Lengths {
    /// As measured: 64 literals are read in the time that one block below takes to come, where the
    /// processor has wide registers, be they 512 bits or 256.
    const WIDE: Lengths = Lengths { clauses: 768, set: 48, growth: 1 };
    /// Where entries are read one by one. Few are divided in every way, and a block is full, which is
    /// when it may be divided, soon.
    pub(super) const SHORT: Lengths = Lengths { clauses: 0, set: 4, growth: 2 };

    fn of_processor() -> Lengths {
        if simd::literals::is_wide() { Lengths::WIDE } else { Lengths::SHORT }
    }

    /// How long a copy is of a block with so many words: no longer than it takes until it is divided.
    fn grown(self, words: usize) -> usize {
        let most = if words < self.clauses { self.clauses } else { CHAIN_WORDS_MAX };
        (words + words / self.growth).min(most)
    }
}

/// The words of one entry.
pub(super) type Words = SmallVec<[u32; 24]>;

/// An entry on its way to another block.
pub(super) struct Moving {
    pub(super) target: u32,
    pub(super) is_always: bool,
    pub(super) is_several: bool,
    pub(super) draft: Draft,
}

impl Moving {
    pub(super) fn words(&self) -> Words {
        let Draft { codes, operations } = &self.draft;
        let count = ENTRY_HEAD + codes.len() + operations.len();
        let head = Head::new(count, codes.len(), self.is_always, self.is_several);
        let mut words = Words::with_capacity(count);
        words.extend_from_slice(&[self.target, head.0]);
        words.extend_from_slice(codes);
        words.extend_from_slice(operations);
        words
    }
}

impl Writer {
    /// A writer of an index of at most `bytes_max` bytes.
    pub(super) fn new(seed: u64, bytes_max: usize) -> (View, Writer) {
        let mut memory = Memory::of_bytes(bytes_max);
        let (links, parts) = Parts::new();
        let (vocabulary, dictionary) = Dictionary::new(seed);
        let view = View {
            common: Arc::clone(memory.common()),
            vocabulary,
            links,
            questions: Questions::new(),
            levels: std::array::from_fn(|_| trie::new_slot(&mut memory)),
        };
        let writer = Writer {
            memory,
            dictionary,
            links: parts,
            checks: Checks::new(),
            gates: Gates::new(seed),
            homes: Homes::new(),
            equals: Equals::new(),
            sets: Sets::default(),
            settled: Vec::new(),
            slot_last: None,
            slot_left: None,
            words: Vec::new(),
            literals: Vec::new(),
            lengths: Lengths::of_processor(),
        };
        (view, writer)
    }

    /// What stands for the same filter already.
    pub(super) fn equal(&self, prints: &Prints) -> Option<u32> {
        self.equals.find(self.arena(), &self.homes, prints.whole)
    }

    /// A number for an entry that is to come, whose filter `equal` stands for. `None` if there are no
    /// more.
    pub(super) fn number(&mut self, equal: Option<u32>) -> Option<u32> {
        let list = equal.filter(|target| target & IS_LIST != 0).map(|target| target & !IS_LIST);
        let number = list.and_then(|list| self.number_of_list(list));
        number.or_else(|| self.homes.take(&mut self.memory))
    }

    /// Takes back what was found to be free. Who retires looks for it from time to time; with `now`
    /// it is looked for here.
    pub(super) fn recycle(&mut self, view: &View, now: bool) {
        if now {
            self.memory.drain();
        }
        while let Some(thing) = self.memory.freed.pop() {
            match thing {
                Leaving::Entry(number) => self.homes.numbers.give(number),
                Leaving::Test(number) => self.checks.take_back(&view.questions, number),
                Leaving::Replaced { old, new } => {
                    self.homes.numbers.give(old);
                    self.settled.push(new);
                }
                thing => self.dictionary.take_back(thing),
            }
        }
    }

    /// Asks the memory for what putting an entry in reads first.
    pub(super) fn fetch_print(&self, prints: &Prints) {
        self.equals.fetch_print(self.arena(), prints.whole);
    }

    /// Puts an entry to those that have the same filter.
    pub(super) fn join(&mut self, view: &View, equal: u32, number: u32, prints: &Prints) {
        let list = self.list_of(view, equal, prints.whole);
        self.add_to_list(view, list, number);
    }

    /// Puts an entry below `slot` whose filter nobody else has.
    ///
    /// `prints` are of everything that the entry asks for, `slot` included.
    pub(super) fn insert(
        &mut self,
        view: &View,
        slot: Slot,
        number: u32,
        condition: &Condition,
        except: &[TopicFilter],
        prints: &Prints,
    ) {
        let is_always = *condition == Condition::Always;
        let mut encoder = self.encoder(view);
        encoder.may_share = is_divided(encoder.memory.arena(), slot);
        let mut drafts = encoder.drafts(condition, &prints.parts);
        let alone = encoder.exclude(&mut drafts);
        self.dictionary.bear();
        self.put_gates(view);
        if !except.is_empty() {
            for draft in &mut drafts {
                self.encoder(view).ask(&mut draft.operations, Question::Except(except.to_vec()));
            }
        }
        if drafts.iter().any(|draft| self.asks_gates(draft)) {
            let root = slot.load(self.arena());
            self.arena().store(root, GATES, 1);
        }
        for (place, mut draft) in drafts.into_iter().enumerate() {
            self.sort_codes(&mut draft.codes);
            let is_several = place >= alone;
            self.put(view, Owner::Slot(slot), Moving { target: number, is_always, is_several, draft });
        }
        self.equals.insert(&mut self.memory, &mut self.homes, prints.whole, number);
        self.drop_gates(view);
    }

    /// Gives the gates that were made their entries, so that they are there before who asks for
    /// them.
    fn put_gates(&mut self, view: &View) {
        for Made { code, level, drafts } in std::mem::take(&mut self.gates.made) {
            let is_several = drafts.len() > 1;
            let owner = Owner::Slot(view.levels[level - 1]);
            for mut draft in drafts {
                self.sort_codes(&mut draft.codes);
                self.put(view, owner, Moving { target: code | IS_GATE, is_always: false, is_several, draft });
            }
        }
    }

    /// Takes the gates out that nobody uses any more, and those that only they used.
    fn drop_gates(&mut self, view: &View) {
        while let Some(code) = self.gates.unused.pop() {
            // One that was given up may have been asked for again, or given up twice.
            if !self.gates.has(code) || self.dictionary.uses(code) > 0 {
                continue;
            }
            self.remove_target(view, code | IS_GATE);
            self.gates.remove(code);
            self.memory.retire_thing(Leaving::Code(code));
        }
    }

    fn asks_gates(&self, draft: &Draft) -> bool {
        let is_gate = |code: &u32| self.dictionary.kind(*code) == CodeKind::Derived;
        let mut asks = draft.codes.iter().any(is_gate);
        each_operation(&draft.operations, &mut |operation, own| {
            asks |= matches!(operation.kind(), CODE | NOT | SOME) && own.iter().any(is_gate);
        });
        asks
    }

    /// The node of topics where an entry wants every event; `None` if it does not.
    fn slot_of_always(&self, target: u32) -> Option<Slot> {
        let block = self.first_block_of(target)?;
        if meta(self.arena(), block).kind() != Kind::Entries {
            return None;
        }
        match Owner::read(self.arena(), block, CHAIN_OWNER) {
            Owner::Link(_) => None,
            owner if chains::is_always(self.arena(), block, target) => self.slot_above(owner),
            _ => None,
        }
    }

    /// The node of topics at the end of the way up from an owner.
    fn slot_above(&self, mut owner: Owner) -> Option<Slot> {
        loop {
            owner = match owner {
                Owner::Slot(slot) => return Some(slot),
                owner => self.owner_above(owner)?,
            };
        }
    }

    /// Who leads to the block that an owner is part of; `None` of a node of topics and of a list.
    fn owner_above(&self, owner: Owner) -> Option<Owner> {
        let block = match owner {
            Owner::Link(key) => key.first,
            Owner::Rest(block) | Owner::Plain(block) => block,
            Owner::Set(set) => self.arena().load(set, boxes::SET_BOXES),
            Owner::Slot(_) | Owner::List(_) => return None,
        };
        Some(Owner::read(self.arena(), block, INNER_OWNER))
    }

    /// Whether what an owner leads to is met by every event of a topic.
    fn is_root(&self, owner: Owner) -> bool {
        match owner {
            Owner::Slot(_) => true,
            Owner::Plain(boxes) => self.is_root(Owner::read(self.arena(), boxes, INNER_OWNER)),
            _ => false,
        }
    }

    /// Takes an entry out. Its number is still to be retired. The node of topics, if routes that know
    /// it are no longer right: it wanted every event there, or it was the last one.
    pub(super) fn remove(&mut self, view: &View, number: u32) -> Option<Slot> {
        self.slot_left = None;
        let home = self.homes.get(self.arena(), number);
        let is_listed = home != 0 && home & IS_SEVERAL == 0 && meta(self.arena(), home).kind() == Kind::Ids;
        if is_listed {
            self.remove_from_list(view, home, number);
        } else {
            self.equals.remove(&mut self.memory, &mut self.homes, number);
            self.remove_target(view, number);
        }
        let slot = self.slot_left.take();
        self.drop_gates(view);
        self.homes.live -= 1;
        slot
    }

    /// Bytes of all that is needed to match and to remove by number.
    pub(super) fn bytes(&self) -> usize {
        self.memory.used_bytes()
            + self.homes.bytes()
            + self.dictionary.bytes()
            + self.checks.bytes()
            + self.equals.bytes()
            + self.gates.bytes()
            + self.sets.bytes()
    }

    #[cfg(test)]
    pub(super) fn links_bytes(&self) -> usize {
        self.links.bytes()
    }

    pub(super) fn tests_end(&self) -> u32 {
        self.checks.end()
    }

    /// Adds a link that is none of an inner block.
    pub(super) fn link(&mut self, view: &View, key: Key, to: Handle) {
        self.links.insert(&mut self.memory, &view.links, key, to);
    }

    /// Takes out what `link` added.
    pub(super) fn unlink_key(&mut self, view: &View, key: Key, to: Handle) {
        self.links.remove(&mut self.memory, &view.links, key, to);
    }

    pub(super) fn arena(&self) -> &Arena {
        self.memory.arena()
    }

    pub(super) fn encoder<'w>(&'w mut self, view: &'w View) -> Encoder<'w> {
        Encoder {
            memory: &mut self.memory,
            dictionary: &mut self.dictionary,
            vocabulary: &view.vocabulary,
            checks: &mut self.checks,
            questions: &view.questions,
            gates: &mut self.gates,
            entries: self.homes.live as u32,
            may_share: false,
        }
    }

    /// The rarest first: the others are rarely looked at. Readers change what is rare meanwhile, so
    /// each code is asked about once: no order holds otherwise.
    fn sort_codes(&self, codes: &mut [u32]) {
        if codes.len() < 2 {
            return;
        }
        // The bits of numbers that are not negative are in their order.
        let by_chance = |code: &u32| (self.chance(*code).to_bits(), *code);
        let mut sorted: SmallVec<[(u32, u32); 16]> = codes.iter().map(by_chance).collect();
        sorted.sort_unstable();
        codes.iter_mut().zip(sorted).for_each(|(place, (_, code))| *place = code);
    }

    /// How likely an event is thought to have a code.
    fn chance(&self, code: u32) -> f32 {
        self.gates.chance(&self.dictionary, code)
    }
}

/// Places.
impl Writer {
    /// Puts an entry where its owner leads to, or below.
    fn put(&mut self, view: &View, owner: Owner, mut moving: Moving) {
        let mut owner = owner;
        loop {
            let block = self.block_of(view, owner);
            if block == 0 {
                self.new_chain(view, owner, &moving.words());
                return;
            }
            let kind = meta(self.arena(), block).kind();
            if kind.has_entries() {
                self.append(view, owner, block, moving);
                return;
            }
            if kind == Kind::Ids {
                self.join_chain(view, owner, block);
                continue;
            }
            if kind == Kind::Boxes {
                let Some(other) = self.put_box(view, block, moving) else { return };
                moving = other;
                owner = Owner::Plain(block);
                continue;
            }
            let is_root = self.is_root(Owner::read(self.arena(), block, INNER_OWNER));
            let Draft { codes, operations } = &mut moving.draft;
            owner = match self.way(moving.target, codes, operations, is_root) {
                Way::Code(at) => Owner::Link(Key { first: block, second: codes.remove(at) }),
                Way::Choices(at, count) => return self.put_choices(view, block, moving, at, count),
                Way::Rest => Owner::Rest(block),
            };
        }
    }

    /// Puts an entry under each of the codes of the operation `at`, one of which must be set.
    fn put_choices(&mut self, view: &View, block: Handle, moving: Moving, at: usize, count: usize) {
        let Moving { target, is_always, is_several, mut draft, .. } = moving;
        let codes: Vec<u32> = draft.operations.drain(at..=at + count).skip(1).collect();
        self.use_copies(view, &draft.codes, &draft.operations, block, count);
        for code in codes {
            let moving = Moving { target, is_always, is_several, draft: draft.clone() };
            self.put(view, Owner::Link(Key { first: block, second: code }), moving);
        }
    }

    /// Uses what an entry uses as often as it takes for so many copies of it below an inner block:
    /// the codes that lead there are part of each.
    fn use_copies(&mut self, view: &View, codes: &[u32], operations: &[u32], inner: Handle, copies: usize) {
        for _ in 1..copies {
            self.encoder(view).use_again(codes, operations);
            let mut above = Some(Owner::Rest(inner));
            while let Some(owner) = above {
                if let Owner::Link(key) = owner {
                    self.dictionary.use_again(key.second);
                }
                above = self.owner_above(owner);
            }
        }
    }

    fn block_of(&self, view: &View, owner: Owner) -> Handle {
        match owner {
            Owner::Slot(slot) => slot.load(self.arena()),
            Owner::Rest(inner) => self.arena().load(inner, REST),
            Owner::List(list) => self.arena().load(list, 0),
            Owner::Plain(boxes) => self.arena().load(boxes, boxes::PLAIN),
            Owner::Set(set) => self.arena().load(set, boxes::ROOT),
            Owner::Link(key) => Children::of(self.arena(), key.first).find(view, key.second) & !IS_IDS,
        }
    }

    /// Lets the owner lead to `block` rather than to `old`; either may be none.
    pub(super) fn lead(&mut self, view: &View, owner: Owner, old: Handle, block: Handle) {
        match owner {
            Owner::Slot(slot) => slot.store(self.arena(), block),
            Owner::Rest(inner) => self.arena().store(inner, REST, block),
            Owner::List(list) => {
                self.arena().store(list, 0, block);
                if let Some(owner) = self.owner_of_list(list) {
                    self.lead(view, owner, old, block);
                }
            }
            Owner::Plain(boxes) => self.arena().store(boxes, boxes::PLAIN, block),
            Owner::Set(set) => self.arena().store(set, boxes::ROOT, block),
            Owner::Link(key) => match [old, block].map(|block| self.marked(block)) {
                [0, child] => {
                    self.count_child(key, 1);
                    self.add_child(view, key, child);
                }
                [old, 0] => {
                    self.remove_child(view, key, old);
                    self.count_child(key, -1);
                }
                [old, child] => self.change_child(view, key, old, child),
            },
        }
    }

    /// A block as a child.
    fn marked(&self, block: Handle) -> u32 {
        let is_ids = block != 0 && meta(self.arena(), block).kind() == Kind::Ids;
        if is_ids { block | IS_IDS } else { block }
    }

    fn count_child(&mut self, key: Key, change: i32) {
        let words = self.memory.arena().words(key.first);
        let derived = self.dictionary.kind(key.second) == CodeKind::Derived;
        let at = if derived { DERIVED } else { CHILDREN };
        words[at].store(words[at].load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Release);
        if change > 0 && !derived {
            let (word, bit) = attribute_bit(self.dictionary.attribute_of(key.second));
            words[word].fetch_or(bit, Ordering::Release);
        }
    }

    pub(super) fn write(&self, block: Handle, at: usize, words: &[u32]) {
        let block = &self.arena().words(block)[at..];
        words.iter().zip(block).for_each(|(word, place)| place.store(*word, Ordering::Relaxed));
    }

    /// Adds an entry to a chain whose first block is `block`.
    pub(super) fn append(&mut self, view: &View, owner: Owner, block: Handle, moving: Moving) {
        let target = moving.target;
        let words = moving.words();
        if self.append_in_place(block, &words) {
            self.add_home(target, block);
            return;
        }
        let is_divided = match owner {
            Owner::Slot(_) | Owner::Link(_) => {
                self.divide(view, owner, block) || self.gather_boxes(view, owner, block)
            }
            Owner::Plain(_) => self.divide(view, owner, block),
            Owner::Rest(_) => self.gather_boxes(view, owner, block),
            Owner::List(_) | Owner::Set(_) => false,
        };
        if is_divided {
            self.put(view, owner, moving);
            return;
        }
        self.append_grown(view, owner, block, &words);
    }

    pub(super) fn retire(&mut self, block: Handle) {
        let size = meta(self.arena(), block).size();
        self.memory.retire(block, size);
    }

    pub(super) fn moving(entry: &[u32]) -> Moving {
        let (head, codes, operations) = division::parts(entry);
        let draft = Draft { codes: codes.into(), operations: operations.into() };
        Moving { target: entry[0], is_always: head.is_always(), is_several: head.is_several(), draft }
    }
}

/// Whether the entries below a slot are divided by codes.
fn is_divided(arena: &Arena, slot: Slot) -> bool {
    let block = slot.load(arena);
    block != 0 && meta(arena, block).kind() == Kind::Inner
}
