//! Parts that filters share: each is decided once per event and then is a code like any other.
//!
//! A gate is an entry whose target is a code. Gates stand in trees of their own, one for each
//! level: a gate of level *n* asks for codes of attributes and for gates below *n* only. Reading
//! an event goes through the levels in order and sets the codes of the gates that hold; then every
//! filter that shares them finds them set.
//!
//! 1. A part becomes a gate the second time that it is seen. Before, and where it would be of too
//!    high a level, it is written into the entry.
//! 2. A gate lives as long as something uses its code.
//! 3. Only filters that are more than a conjunction of tests use gates, and only below a topic
//!    filter with so many entries that they are divided.
//! 4. Nothing asks that a gate is not fulfilled: what does not hold may be unknown, and where nobody
//!    asks for gates none is decided.
//!
//! After Li, Xu et al., *A-Tree: A Dynamic Data Structure for Efficiently Indexing Arbitrary
//! Boolean Expressions* (SIGMOD 2021): shared inner expressions, hung off the part that is least
//! likely true.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::codes::{CodeKind, Dictionary};
use super::fingerprint::{Fingerprint, Fingerprints};
use super::place::Drafts;
use crate::normal::Condition;

/// How many levels there are.
pub(super) const LEVELS: usize = 4;

/// How many parts are remembered as seen once: this many for each gate and entry, up to so many.
const REMEMBERED_EACH: usize = 2;
const REMEMBERED_MIN: usize = 1 << 10;
const REMEMBERED_MAX: usize = 1 << 18;

/// The gates of an index, for the writer.
pub(super) struct Gates {
    by_part: HashMap<Fingerprint, u32, FixedState>,
    by_code: HashMap<u32, Gate, FixedState>,
    /// Marks of parts that were seen, by their fingerprints; newer ones take the places of older.
    seen: Vec<u32>,
    fingerprints: Fingerprints,
    /// Gates that were made and have no entry yet, those they need before them.
    pub(super) made: Vec<Made>,
    /// Gates that nobody uses any more.
    pub(super) unused: Vec<u32>,
}

/// A gate that is to be put into the tree of its level.
pub(super) struct Made {
    pub(super) code: u32,
    pub(super) level: usize,
    pub(super) drafts: Drafts,
}

struct Gate {
    part: Fingerprint,
    level: u32,
    home: u32,
    chance: f32,
}

impl Gates {
    pub(super) fn new(seed: u64) -> Gates {
        let hasher = FixedState::with_seed(seed);
        Gates {
            by_part: HashMap::with_hasher(hasher.clone()),
            by_code: HashMap::with_hasher(hasher),
            seen: Vec::new(),
            fingerprints: Fingerprints::new(seed),
            made: Vec::new(),
            unused: Vec::new(),
        }
    }

    /// What a part is known by.
    pub(super) fn fingerprint(&self, part: &Condition) -> Fingerprint {
        self.fingerprints.of(part)
    }

    pub(super) fn find(&self, part: Fingerprint) -> Option<u32> {
        self.by_part.get(&part).copied()
    }

    /// Whether the part was seen before; remembers it. Of an index with so many entries.
    pub(super) fn see(&mut self, [first, second, _]: Fingerprint, entries: usize) -> bool {
        let wanted = (entries + self.len()) * REMEMBERED_EACH;
        let wanted = wanted.clamp(REMEMBERED_MIN, REMEMBERED_MAX).next_power_of_two();
        if self.seen.is_empty() {
            self.seen = vec![0; wanted];
        }
        while self.seen.len() < wanted {
            // What was seen is looked for in one of these halves or the other.
            self.seen.extend_from_within(..);
        }
        let place = first as usize % self.seen.len();
        let mark = second | 1;
        std::mem::replace(&mut self.seen[place], mark) == mark
    }

    pub(super) fn add(&mut self, part: Fingerprint, code: u32, level: usize, chance: f32, drafts: Drafts) {
        self.by_part.insert(part, code);
        self.by_code.insert(code, Gate { part, level: level as u32, home: 0, chance });
        self.made.push(Made { code, level, drafts });
    }

    /// Forgets a gate whose entry is gone.
    pub(super) fn remove(&mut self, code: u32) {
        if let Some(gate) = self.by_code.remove(&code) {
            self.by_part.remove(&gate.part);
        }
    }

    /// The level of a code: 0 if it is no gate.
    pub(super) fn level(&self, code: u32) -> usize {
        self.by_code.get(&code).map_or(0, |gate| gate.level as usize)
    }

    /// How likely an event is thought to have a code, of a gate or of an attribute.
    pub(super) fn chance(&self, dictionary: &Dictionary, code: u32) -> f32 {
        let thought = match dictionary.kind(code) {
            CodeKind::Derived => self.by_code.get(&code).map_or(1.0, |gate| gate.chance),
            _ => dictionary.share(code),
        };
        dictionary.chance(code, thought)
    }

    pub(super) fn home(&self, code: u32) -> u32 {
        self.by_code.get(&code).map_or(0, |gate| gate.home)
    }

    pub(super) fn set_home(&mut self, code: u32, home: u32) {
        if let Some(gate) = self.by_code.get_mut(&code) {
            gate.home = home;
        }
    }

    pub(super) fn has(&self, code: u32) -> bool {
        self.by_code.contains_key(&code)
    }

    /// How many gates there are.
    pub(super) fn len(&self) -> usize {
        self.by_code.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_part.allocation_size() + self.by_code.allocation_size() + self.seen.capacity() * 4
    }
}
