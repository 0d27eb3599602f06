//! Which entry stands for a filter already: filters that are equal share one.
//!
//! Filters are told apart by a fingerprint of 96 bits, of which the first 32 find the place. Two
//! different filters of one broker have the same with a chance of one in 10^16 for a million of
//! them.

use hashbrown::HashTable;

use super::entry::IS_LIST;

const PARTS: usize = 256;

/// Targets by fingerprint. In parts, so that growing moves few.
pub(super) struct Equals {
    parts: Vec<HashTable<Known>>,
    /// The first word of each target's fingerprint, for its removal.
    first_of_entry: Vec<Box<[u32; PAGE]>>,
    first_of_list: hashbrown::HashMap<u32, u32>,
}

const PAGE: usize = 1_024;

#[derive(Clone, Copy)]
struct Known {
    rest: [u32; 2],
    target: u32,
    first: u32,
}

fn hash(first: u32) -> u64 {
    // The table takes its own bits from the top and the bottom.
    u64::from(first).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Equals {
    pub(super) fn new() -> Equals {
        let parts = (0..PARTS).map(|_| HashTable::new()).collect();
        Equals { parts, first_of_entry: Vec::new(), first_of_list: hashbrown::HashMap::new() }
    }

    pub(super) fn find(&self, [first, second, third]: [u32; 3]) -> Option<u32> {
        let part = &self.parts[first as usize % PARTS];
        let is_it = |known: &Known| known.first == first && known.rest == [second, third];
        part.find(hash(first), is_it).map(|known| known.target)
    }

    pub(super) fn insert(&mut self, [first, second, third]: [u32; 3], target: u32) {
        self.note(target, first);
        let known = Known { rest: [second, third], target, first };
        self.parts[first as usize % PARTS].insert_unique(hash(first), known, |known| hash(known.first));
    }

    pub(super) fn change(&mut self, [first, ..]: [u32; 3], from: u32, to: u32) {
        let part = &mut self.parts[first as usize % PARTS];
        if let Some(known) = part.find_mut(hash(first), |known| known.target == from) {
            known.target = to;
        }
        self.note(to, first);
    }

    pub(super) fn remove(&mut self, target: u32) {
        let first = match target & IS_LIST {
            0 => {
                self.first_of_entry.get(target as usize / PAGE).map_or(0, |page| page[target as usize % PAGE])
            }
            _ => self.first_of_list.remove(&target).unwrap_or(0),
        };
        let part = &mut self.parts[first as usize % PARTS];
        if let Ok(known) = part.find_entry(hash(first), |known| known.target == target) {
            known.remove();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let tables: usize = self.parts.iter().map(HashTable::allocation_size).sum();
        tables + self.first_of_entry.len() * PAGE * 4 + self.first_of_list.capacity() * 9
    }

    fn note(&mut self, target: u32, first: u32) {
        if target & IS_LIST != 0 {
            self.first_of_list.insert(target, first);
            return;
        }
        while self.first_of_entry.len() <= target as usize / PAGE {
            self.first_of_entry.push(Box::new([0; PAGE]));
        }
        self.first_of_entry[target as usize / PAGE][target as usize % PAGE] = first;
    }
}
