//! Where an inner block leads to, by code: the writing side of `super::super::children`.
//!
//! An array costs a word for each of its codes, a link in the table about five for each child. So
//! an array is made, or made wider, where it does not cost more, and given up when most of its
//! codes have lost their children. In between nothing moves.
//!
//! Events hold thousands of gates, and every level of them begins with a look for each that holds
//! below: there an array may cost more, in proportion to the entries that gates serve.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use super::{View, Writer};
use crate::index::arena::Handle;
use crate::index::blocks::{ARRAY, CHILDREN, CODE_MAX, CODE_MIN, DERIVED, INNER_OWNER, Owner};
use crate::index::children::{ARRAY_HEAD, COUNT, Children, LINKS, LIVE};
use crate::index::table::Key;

/// Fewer children than these are left in the table.
const CHILDREN_MIN: u32 = 16;
/// A new array has at most so many codes for each child,
const CODES_EACH: u32 = 4;
/// and one with so many is given up.
const CODES_EACH_MAX: u32 = 16;
/// The array of a tree of gates may have one code for so many entries of the index.
const ENTRIES_EACH: u32 = 2;
/// The longest array: one change copies no more.
const CODES_MAX: u32 = 1 << 17;

/// Children.
impl Writer {
    /// Adds the child of a code that has none. It is counted already.
    pub(super) fn add_child(&mut self, view: &View, key: Key, child: Handle) {
        self.widen_codes(key);
        let mut children = Children::of(&view.common.arena, key.first);
        if children.place(key.second).is_none()
            && let Some(codes) = self.codes_wanted(view, &children, key)
        {
            self.cover(view, key.first, codes);
            children = Children::of(&view.common.arena, key.first);
        }
        match children.place(key.second) {
            Some(_) => {
                self.arena().store(children.place_handle(key.second), 0, child);
                self.count_live(children.array(), 1);
            }
            None => {
                self.count_links(children.array(), 1);
                self.links.insert(&mut self.memory, &view.links, key, child);
            }
        }
    }

    /// Lets a code lead to another child.
    pub(super) fn change_child(&self, view: &View, key: Key, old: Handle, child: Handle) {
        let children = Children::of(&view.common.arena, key.first);
        match children.place(key.second) {
            Some(_) => self.arena().store(children.place_handle(key.second), 0, child),
            None => self.links.change(&self.memory, &view.links, key, old, child),
        }
    }

    /// Takes the child of a code out.
    pub(super) fn remove_child(&mut self, view: &View, key: Key, child: Handle) {
        let children = Children::of(&view.common.arena, key.first);
        if children.place(key.second).is_none() {
            self.links.remove(&mut self.memory, &view.links, key, child);
            self.count_links(children.array(), -1);
            return;
        }
        self.arena().store(children.place_handle(key.second), 0, 0);
        let live = self.count_live(children.array(), -1);
        let count = children.count() as u32;
        if live * CODES_EACH_MAX < count
            && count > self.codes_max(view, key.first, live)
            && self.memory.has_room(0)
        {
            self.give_array_up(view, children);
        }
    }

    /// Retires the array of an inner block.
    pub(super) fn retire_array(&mut self, array: Handle) {
        if array != 0 {
            let count = self.arena().load(array, COUNT) as usize;
            self.memory.retire(array, ARRAY_HEAD + count);
        }
    }

    fn count_live(&self, array: Handle, change: i32) -> u32 {
        let live = self.arena().load(array, LIVE).wrapping_add_signed(change);
        self.arena().store(array, LIVE, live);
        live
    }

    /// Counts the children that are in the table, where there is an array.
    fn count_links(&self, array: Handle, change: i32) {
        if array != 0 {
            let links = self.arena().load(array, LINKS).wrapping_add_signed(change);
            self.arena().store(array, LINKS, links);
        }
    }

    /// Notes between which codes all children of an inner block are that it ever had. No code is 0.
    fn widen_codes(&self, key: Key) {
        let [least, most] = [CODE_MIN, CODE_MAX].map(|at| self.arena().load(key.first, at));
        if least == 0 || key.second < least {
            self.arena().store(key.first, CODE_MIN, key.second);
        }
        self.arena().store(key.first, CODE_MAX, most.max(key.second));
    }

    /// The codes that an array with the new one should have, if there should be one.
    fn codes_wanted(&self, view: &View, children: &Children<'_>, key: Key) -> Option<RangeInclusive<u32>> {
        let load = |at| self.arena().load(key.first, at);
        let all = load(CHILDREN) + load(DERIVED);
        if all < CHILDREN_MIN {
            return None;
        }
        let wanted = self.codes_near(view, children, key.second).or_else(|| {
            let codes = load(CODE_MIN)..=load(CODE_MAX);
            (count_of(&codes) <= self.codes_max(view, key.first, all)).then_some(codes)
        })?;
        self.memory.has_room_for(ARRAY_HEAD + count_of(&wanted) as usize).then_some(wanted)
    }

    /// How many codes the array of an inner block may have that has so many children: as many as
    /// cost no more than so many links.
    fn codes_max(&self, view: &View, inner: Handle, children: u32) -> u32 {
        let codes = children.saturating_mul(CODES_EACH);
        let is_of_gates = match Owner::read(self.arena(), inner, INNER_OWNER) {
            Owner::Slot(slot) => view.levels.contains(&slot),
            _ => false,
        };
        let least = if is_of_gates { self.homes.live as u32 / ENTRIES_EACH } else { 0 };
        codes.max(least).min(CODES_MAX)
    }

    /// The codes of an array and one beside it, with room for more.
    fn codes_near(&self, view: &View, children: &Children<'_>, code: u32) -> Option<RangeInclusive<u32>> {
        if children.count() == 0 {
            return None;
        }
        let old = children.codes();
        let codes = old.start.min(code)..=(old.end - 1).max(code);
        let live = self.arena().load(children.array(), LIVE) + 1;
        let is_dense = count_of(&codes) <= self.codes_max(view, children.inner(), live);
        is_dense.then(|| match code < old.start {
            true => codes,
            // They are given in order: the next are higher.
            false => *codes.start()..=codes.end() + (count_of(&codes) / 4).min(CODES_MAX - count_of(&codes)),
        })
    }

    /// How many children are in the table, while one is counted that is nowhere yet.
    fn links_of(&self, children: &Children<'_>) -> u32 {
        match children.array() {
            0 => {
                [CHILDREN, DERIVED].iter().map(|at| self.arena().load(children.inner(), *at)).sum::<u32>() - 1
            }
            array => self.arena().load(array, LINKS),
        }
    }

    /// Gives an inner block an array of these codes, which those of its array are among, if there is
    /// room for it.
    fn cover(&mut self, view: &View, inner: Handle, codes: RangeInclusive<u32>) {
        let old = Children::of(&view.common.arena, inner);
        let Some(array) = self.new_array(*codes.start(), count_of(&codes)) else { return };
        let new = Children::with_array(&view.common.arena, inner, array);
        let mut links = Vec::new();
        let mut live = 0;
        for code in codes {
            let child = old.find(view, code);
            if child != 0 {
                live += 1;
                self.arena().store(new.place_handle(code), 0, child);
                if old.place(code).is_none() {
                    links.push((code, child));
                }
            }
        }
        self.arena().store(array, LIVE, live);
        self.arena().store(array, LINKS, self.links_of(&old) - links.len() as u32);
        self.lead_to_array(inner, array);
        for (code, child) in links {
            self.links.remove(&mut self.memory, &view.links, Key { first: inner, second: code }, child);
        }
    }

    /// Puts the children of an array into the table.
    fn give_array_up(&mut self, view: &View, children: Children<'_>) {
        let Some(empty) = self.new_array(0, 0) else { return };
        for code in children.codes() {
            let key = Key { first: children.inner(), second: code };
            let child = children.find(view, code);
            if child != 0 {
                self.links.insert(&mut self.memory, &view.links, key, child);
            }
        }
        let links = [LIVE, LINKS].iter().map(|at| self.arena().load(children.array(), *at)).sum();
        self.arena().store(empty, LINKS, links);
        self.lead_to_array(children.inner(), empty);
    }

    fn new_array(&mut self, base: u32, count: u32) -> Option<Handle> {
        let (array, _) = self.memory.take_if_room(ARRAY_HEAD + count as usize)?;
        self.write(array, 0, &[base, count, 0, 0]);
        // It may have been something else before.
        let words = &self.arena().words(array)[ARRAY_HEAD..ARRAY_HEAD + count as usize];
        words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Some(array)
    }

    /// Lets an inner block lead to an array rather than to the one that it has.
    fn lead_to_array(&mut self, inner: Handle, array: Handle) {
        let old = self.arena().load(inner, ARRAY);
        self.arena().store(inner, ARRAY, array);
        self.retire_array(old);
    }
}

fn count_of(codes: &RangeInclusive<u32>) -> u32 {
    codes.end() - codes.start() + 1
}
