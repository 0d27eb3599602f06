//! Which numbers entries have: alone, or a group of eight neighbours at a time for a list.
//!
//! 1. A number is free, somebody's, or on its way back until no reader can hold it.
//! 2. A group is *kept* for one list or for nobody. Free numbers of a kept group are given to that
//!    list alone; those of others to anybody.
//! 3. There are new numbers for a list only while those are few that nobody uses: what all take is
//!    bounded by the most that were in use.

use super::ids::{GROUP, NUMBERS_MAX};

/// The writer's book of numbers.
#[derive(Default)]
pub(super) struct Numbers {
    groups: Vec<Group>,
    /// Groups that are not kept and had a free number when they were put here, each once.
    partly_free: Vec<u32>,
    /// The same of groups with nothing but free numbers.
    wholly_free: Vec<u32>,
}

/// Which numbers of a group are free, and where the group is noted.
#[derive(Clone, Copy, Default)]
struct Group(u16);

impl Group {
    const FREE: u16 = 0xff;
    const IS_KEPT: u16 = 1 << 8;
    const IS_PARTLY: u16 = 1 << 9;
    const IS_WHOLLY: u16 = 1 << 10;

    fn free(self) -> u16 {
        self.0 & Group::FREE
    }

    fn is(self, what: u16) -> bool {
        self.0 & what != 0
    }

    /// The least free number of the group, which is free no more.
    fn take(&mut self) -> Option<u32> {
        let at = self.free().trailing_zeros();
        if at >= GROUP {
            return None;
        }
        self.0 &= !(1 << at);
        Some(at)
    }
}

/// So many numbers may be in nobody's use before lists are given no new groups,
const UNUSED_MIN: usize = 1_024;
/// or one for so many that are.
const UNUSED_EACH: usize = 4;

impl Numbers {
    /// A number that nobody has; `None` if there is none.
    pub(super) fn take(&mut self) -> Option<u32> {
        while let Some(group) = self.partly_free.last().copied() {
            let known = &mut self.groups[group as usize];
            let taken = if known.is(Group::IS_KEPT) { None } else { known.take() };
            if taken.is_none() || known.free() == 0 {
                known.0 &= !Group::IS_PARTLY;
                self.partly_free.pop();
            }
            if let Some(at) = taken {
                return Some(group * GROUP + at);
            }
        }
        let group = self.whole_group()?;
        let taken = self.groups[group as usize].take();
        self.note(group);
        taken.map(|at| group * GROUP + at)
    }

    /// A number of a group that is kept from now on; `None` if it may not be, with so many entries.
    pub(super) fn take_group(&mut self, live: usize) -> Option<u32> {
        let may_grow = self.end() <= live + (live / UNUSED_EACH).max(UNUSED_MIN);
        let group = self.freed_group().or_else(|| if may_grow { self.new_group() } else { None })?;
        self.groups[group as usize].0 |= Group::IS_KEPT;
        self.take_of(group)
    }

    /// A number of a kept group, if one is free.
    pub(super) fn take_of(&mut self, group: u32) -> Option<u32> {
        let known = &mut self.groups[group as usize];
        let taken = if known.is(Group::IS_KEPT) { known.take() } else { None };
        taken.map(|at| group * GROUP + at)
    }

    pub(super) fn is_kept(&self, group: u32) -> bool {
        self.groups[group as usize].is(Group::IS_KEPT)
    }

    /// Lets anybody have what is free of a group, if it was kept.
    pub(super) fn give_up(&mut self, group: u32) {
        self.groups[group as usize].0 &= !Group::IS_KEPT;
        self.note(group);
    }

    /// Takes a number back that no reader can hold.
    pub(super) fn give(&mut self, number: u32) {
        let group = number / GROUP;
        self.groups[group as usize].0 |= 1 << (number % GROUP);
        self.note(group);
    }

    /// How many numbers there are, given or not.
    pub(super) fn end(&self) -> usize {
        self.groups.len() * GROUP as usize
    }

    pub(super) fn bytes(&self) -> usize {
        let noted = self.partly_free.capacity() + self.wholly_free.capacity();
        self.groups.capacity() * size_of::<Group>() + noted * size_of::<u32>()
    }

    /// A group of which every number is free, which is not noted as that any more.
    fn whole_group(&mut self) -> Option<u32> {
        self.freed_group().or_else(|| self.new_group())
    }

    /// As `whole_group`, of numbers that were somebody's.
    fn freed_group(&mut self) -> Option<u32> {
        while let Some(group) = self.wholly_free.pop() {
            let known = &mut self.groups[group as usize];
            known.0 &= !Group::IS_WHOLLY;
            if !known.is(Group::IS_KEPT) && known.free() == Group::FREE {
                return Some(group);
            }
        }
        None
    }

    /// As `whole_group`, of numbers that were nobody's.
    fn new_group(&mut self) -> Option<u32> {
        if self.end() == NUMBERS_MAX as usize {
            return None;
        }
        self.groups.push(Group(Group::FREE));
        Some(self.groups.len() as u32 - 1)
    }

    /// Notes a group where those are noted that have free numbers for anybody.
    fn note(&mut self, group: u32) {
        let known = &mut self.groups[group as usize];
        if known.is(Group::IS_KEPT) || known.free() == 0 {
            return;
        }
        if !known.is(Group::IS_PARTLY) {
            known.0 |= Group::IS_PARTLY;
            self.partly_free.push(group);
        }
        if known.free() == Group::FREE && !known.is(Group::IS_WHOLLY) {
            known.0 |= Group::IS_WHOLLY;
            self.wholly_free.push(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn a_number_has_one_user_and_a_kept_group_one_list() {
        for seed in 0..200 {
            let mut generator = Generator::new(seed);
            let mut numbers = Numbers::default();
            let mut used: HashSet<u32> = HashSet::new();
            let mut kept: HashMap<u32, Vec<u32>> = HashMap::new();
            for _ in 0..2_000 {
                match generator.below(6) {
                    0 | 1 => {
                        let number = numbers.take().unwrap();
                        assert!(used.insert(number), "{number} is used twice, seed {seed}");
                        assert!(!kept.contains_key(&(number / GROUP)), "{number} is kept, seed {seed}");
                    }
                    2 => {
                        if let Some(number) = numbers.take_group(used.len()) {
                            assert!(used.insert(number), "{number} is used twice, seed {seed}");
                            assert!(kept.insert(number / GROUP, vec![]).is_none(), "seed {seed}");
                        }
                    }
                    3 => {
                        let Some(group) = kept.keys().min().copied() else { continue };
                        assert!(numbers.is_kept(group));
                        if let Some(number) = numbers.take_of(group) {
                            assert_eq!(number / GROUP, group);
                            assert!(used.insert(number), "{number} is used twice, seed {seed}");
                        } else {
                            let all = group * GROUP..(group + 1) * GROUP;
                            assert!(all.into_iter().all(|number| used.contains(&number)), "seed {seed}");
                            kept.remove(&group);
                            numbers.give_up(group);
                        }
                    }
                    4 => {
                        let Some(group) = kept.keys().max().copied() else { continue };
                        kept.remove(&group);
                        numbers.give_up(group);
                        assert_eq!(numbers.take_of(group), None);
                    }
                    _ => {
                        let Some(number) = used.iter().min().copied() else { continue };
                        used.remove(&number);
                        numbers.give(number);
                    }
                }
                let noted = numbers.partly_free.len() + numbers.wholly_free.len();
                assert!(noted <= 2 * numbers.groups.len(), "seed {seed}");
            }
            // What is not kept is used again before there are new numbers.
            let end = numbers.end();
            kept.into_keys().for_each(|group| numbers.give_up(group));
            for _ in 0..end - used.len() {
                let number = numbers.take().unwrap();
                assert!(used.insert(number), "{number} is used twice, seed {seed}");
            }
            assert_eq!(numbers.end(), end, "seed {seed}");
        }
    }

    #[test]
    fn lists_get_no_groups_where_many_numbers_are_in_nobodys_use() {
        let mut numbers = Numbers::default();
        let given = (0..1_000).filter(|_| numbers.take_group(0).is_some()).count();
        assert!(given <= UNUSED_MIN / GROUP as usize + 1, "{given} groups for nobody");
        assert!(numbers.take_group(100_000).is_some());
    }

    #[test]
    fn lists_get_groups_that_came_back_however_few_numbers_are_in_use() {
        let mut numbers = Numbers::default();
        let all: Vec<u32> = (0..80_000).map(|_| numbers.take().unwrap()).collect();
        let (kept, gone) = all.split_at(100);
        gone.iter().for_each(|number| numbers.give(*number));
        let end = numbers.end();
        let given = (0..5_000).filter(|_| numbers.take_group(kept.len()).is_some()).count();
        assert_eq!((given, numbers.end()), (5_000, end));
    }
}
