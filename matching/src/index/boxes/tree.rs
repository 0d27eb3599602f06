//! Sets of boxes as the writer changes them: a tree of blocks for each set of attributes.
//!
//! 1. Blocks are divided and put together so that the boxes around them stay small (Guttman,
//!    *R-trees*, SIGMOD 1984; the cut as in Beckmann et al., *The R\*-tree*, SIGMOD 1990).
//! 2. What takes the place of blocks is made aside and published by one word: that of the lane, or
//!    of the root, which leads to the lowest block that stays. All leaves are equally far below.
//! 3. A lane of a node reaches around all that is below it before a reader can find it there.

use std::sync::atomic::Ordering;

use hashbrown::{HashMap, HashSet};

use super::super::arena::Handle;
use super::super::blocks::{CHAIN_WORDS_MAX, INNER_OWNER, Kind, META, Meta, NEXT, Owner, PREVIOUS, meta};
use super::super::entry::NOBODY;
use super::super::place::{Codes, Draft};
use super::super::writer::{Moving, View, Writer, chains};
use super::shape::{Bounds, Item, Sides, append, build, choose, reach, read, split};
use super::{
    BOXES_WORDS, HOLES, LANES, PARENT, PLAIN, ROOT, SET_BOXES, SET_HEAD, SET_PLACE, SET_SIDES, SETS,
    SETS_COUNT, SETS_EACH, SETS_HEAD, SHAPE, Shape,
};

/// A chain with so many boxes among its entries hands them over, if they are many for each set or the
/// chain is very long.
const BOXES_AT: usize = 32;
/// The most entries of a set without blocks.
const CHAIN_MAX: usize = 16;
/// A root with so few lanes becomes a chain again.
const CHAIN_AT: usize = 6;
/// A block with so few lanes is put together with another.
const MERGE_AT: usize = 16;
/// The most lanes of what is put together.
const MERGED_MAX: usize = 48;

/// A set's attributes, and the boxes that it belongs to.
type SetKey = (Handle, Sides);

/// The writer's way to the sets.
#[derive(Default)]
pub(in super::super) struct Sets(HashMap<SetKey, Handle>);

impl Sets {
    pub(in super::super) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

/// Entries and sets.
impl Writer {
    /// Hands the boxes in the first block of a chain over to sets, if there are enough.
    pub(in super::super) fn gather_boxes(&mut self, view: &View, owner: Owner, block: Handle) -> bool {
        if !chains::may_have_ranges(self.arena(), block, BOXES_AT) {
            return false;
        }
        let (boxes, others): (Vec<Moving>, Vec<Moving>) =
            self.entries(block).iter().map(Writer::moving).partition(|moving| box_of(moving).is_some());
        let is_long = self.used(block).words() > CHAIN_WORDS_MAX / 4 * 3;
        let groups: HashSet<Sides> = boxes.iter().filter_map(box_of).map(|(sides, _)| sides).collect();
        if boxes.len() < BOXES_AT || (!is_long && boxes.len() < self.lengths.set * groups.len()) {
            return false;
        }
        let next = self.arena().load(block, NEXT);
        let handle = self.new_boxes(owner);
        for moving in boxes.iter().chain(&others) {
            self.drop_home(moving.target, block);
        }
        self.keep_plain(view, handle, next, &others);
        for moving in boxes {
            let other = self.put_box(view, handle, moving);
            debug_assert!(other.is_none(), "there is room for the sets of one chain");
        }
        self.lead(view, owner, block, handle);
        self.retire(block);
        true
    }

    fn new_boxes(&mut self, owner: Owner) -> Handle {
        let (handle, size) = self.memory.take(BOXES_WORDS);
        let (sets, sets_size) = self.memory.take(SETS_HEAD + 4 * SETS_EACH);
        self.write(sets, 0, &[0, sets_size as u32]);
        let [first, second] = owner.words();
        self.write(handle, 0, &[0, Meta::new(Kind::Boxes, size).0, sets, 0, first, second, 0]);
        handle
    }

    /// Makes the chain beside boxes: of what is no box in the first block, and the other blocks.
    fn keep_plain(&mut self, view: &View, boxes: Handle, next: Handle, others: &[Moving]) {
        let owner = Owner::Plain(boxes);
        self.own_chain(next, owner);
        if others.is_empty() {
            self.lead(view, owner, 0, next);
            if next != 0 {
                self.arena().store(next, PREVIOUS, 0);
            }
            return;
        }
        let words: Vec<u32> = others.iter().flat_map(Moving::words).collect();
        let block = self.new_chain(view, owner, &words);
        self.arena().store(block, NEXT, next);
        if next != 0 {
            self.arena().store(next, PREVIOUS, block);
        }
    }

    /// Puts an entry into its set. Back if it is no box, or if there is no room for one more set.
    pub(in super::super) fn put_box(&mut self, view: &View, boxes: Handle, moving: Moving) -> Option<Moving> {
        let Some((sides, bounds)) = box_of(&moving) else { return Some(moving) };
        let Some(set) = self.set_of(boxes, sides) else { return Some(moving) };
        let item = Item { bounds, target: moving.target, from: 0 };
        match self.arena().load(set, ROOT) {
            0 => drop(self.new_chain(view, Owner::Set(set), &moving.words())),
            root if meta(self.arena(), root).kind() == Kind::Box => self.put_item(view, set, root, item),
            root if !chains::has_entries(self.arena(), root, CHAIN_MAX) => {
                self.append(view, Owner::Set(set), root, moving);
            }
            root => self.plant(set, root, item),
        }
        None
    }

    fn set_of(&mut self, boxes: Handle, sides: Sides) -> Option<Handle> {
        if let Some(set) = self.sets.0.get(&(boxes, sides)) {
            return Some(*set);
        }
        let place = self.place_for_set(boxes)?;
        let (set, _) = self.memory.take(SET_HEAD + sides.count);
        self.write(set, 0, &[0, boxes, place as u32, sides.count as u32]);
        let attributes: Vec<u32> = sides.as_slice().iter().map(|number| u32::from(*number)).collect();
        self.write(set, SET_HEAD, &attributes);
        self.publish_set(boxes, place, set);
        self.sets.0.insert((boxes, sides), set);
        Some(set)
    }

    /// Where there is room among the sets.
    fn place_for_set(&mut self, boxes: Handle) -> Option<usize> {
        let sets = self.arena().load(boxes, SETS);
        let words = self.arena().words(sets);
        let used = words[0].load(Ordering::Relaxed) as usize;
        if self.arena().load(boxes, HOLES) > 0 {
            let mut known = words[SETS_HEAD..].as_chunks::<SETS_EACH>().0[..used].iter();
            let hole = known.position(|[set, _]| set.load(Ordering::Relaxed) == 0);
            if let Some(hole) = hole {
                self.change(boxes, HOLES, -1);
                return Some(hole);
            }
        }
        let size = words[1].load(Ordering::Relaxed) as usize;
        if SETS_HEAD + (used + 1) * SETS_EACH > size {
            let (copy, copy_size) = self.memory.take_if_room(2 * size)?;
            let old: Vec<u32> =
                self.arena().words(sets)[..size].iter().map(|word| word.load(Ordering::Relaxed)).collect();
            self.write(copy, 0, &old);
            self.write(copy, 1, &[copy_size as u32]);
            self.arena().store(boxes, SETS, copy);
            self.memory.retire(sets, size);
        }
        Some(used)
    }

    fn publish_set(&mut self, boxes: Handle, place: usize, set: Handle) {
        let sets = self.arena().load(boxes, SETS);
        let words = self.arena().words(sets);
        let at = SETS_HEAD + place * SETS_EACH;
        words[at + 1].store(self.sides(set).mask(), Ordering::Relaxed);
        words[at].store(set, Ordering::Release);
        if place == words[0].load(Ordering::Relaxed) as usize {
            words[0].store(place as u32 + 1, Ordering::Release);
        }
        self.change(boxes, SETS_COUNT, 1);
    }

    fn change(&self, block: Handle, at: usize, change: i32) {
        let value = self.arena().load(block, at).wrapping_add_signed(change);
        self.arena().store(block, at, value);
    }

    fn sides(&self, set: Handle) -> Sides {
        let words = self.arena().words(set);
        let count = words[SET_SIDES].load(Ordering::Relaxed) as usize;
        let mut sides = Sides { count, attributes: Default::default() };
        for (attribute, word) in sides.attributes.iter_mut().zip(&words[SET_HEAD..SET_HEAD + count]) {
            *attribute = word.load(Ordering::Relaxed) as u16;
        }
        sides
    }

    /// Takes a set out that leads nowhere any more, and boxes without sets.
    pub(in super::super) fn on_set_gone(&mut self, view: &View, set: Handle) {
        let [boxes, place] = [SET_BOXES, SET_PLACE].map(|at| self.arena().load(set, at));
        let sides = self.sides(set);
        self.sets.0.remove(&(boxes, sides));
        let sets = self.arena().load(boxes, SETS);
        self.arena().store(sets, SETS_HEAD + place as usize * SETS_EACH, 0);
        self.change(boxes, HOLES, 1);
        self.change(boxes, SETS_COUNT, -1);
        self.memory.retire(set, SET_HEAD + sides.count);
        self.tidy_boxes(view, boxes);
    }

    /// Takes boxes out that have nothing below them any more.
    pub(in super::super) fn tidy_boxes(&mut self, view: &View, boxes: Handle) {
        if [PLAIN, SETS_COUNT].iter().any(|at| self.arena().load(boxes, *at) != 0) {
            return;
        }
        let owner = Owner::read(self.arena(), boxes, INNER_OWNER);
        self.lead(view, owner, boxes, 0);
        let sets = self.arena().load(boxes, SETS);
        let size = self.arena().load(sets, 1) as usize;
        self.memory.retire(sets, size);
        self.memory.retire(boxes, BOXES_WORDS);
        self.on_chain_gone(view, owner);
    }
}

/// The box that an entry is, if it may lie among boxes.
fn box_of(moving: &Moving) -> Option<(Sides, Bounds)> {
    let is_plain = moving.is_always || moving.is_several;
    if is_plain { None } else { Bounds::of(&moving.draft.codes, &moving.draft.operations) }
}

/// Trees.
impl Writer {
    fn shape(&self, block: Handle) -> Shape {
        Shape(self.arena().load(block, SHAPE))
    }

    /// Makes a leaf of a chain and one more.
    fn plant(&mut self, set: Handle, chain: Handle, item: Item) {
        let mut items = vec![item];
        for entry in self.entries(chain).iter() {
            if let Some((_, bounds)) = box_of(&Writer::moving(entry)) {
                items.push(Item { bounds, target: entry[0], from: chain });
            }
        }
        let leaf = self.build(set, 0, &items);
        self.arena().store(set, ROOT, leaf);
        self.retire(chain);
    }

    fn put_item(&mut self, view: &View, set: Handle, root: Handle, item: Item) {
        let mut block = root;
        while self.shape(block).level() > 0 {
            let lane = choose(self.arena(), block, &item.bounds);
            if !reach(self.arena(), block, lane, &item.bounds) {
                block = self.rebuild(view, set, block);
            }
            block = self.arena().load(block, self.shape(block).targets() + lane);
        }
        if append(self.arena(), block, &item) {
            self.add_home(item.target, block);
            return;
        }
        let mut items = read(self.arena(), block);
        items.push(item);
        self.settle(view, set, block, items);
    }

    /// Puts a node with the same lanes in the place of one.
    fn rebuild(&mut self, view: &View, set: Handle, node: Handle) -> Handle {
        let level = self.shape(node).level();
        let mut items = read(self.arena(), node);
        // What a lane must reach around further was noted, but for open sides.
        items.iter_mut().for_each(|item| item.bounds.open_at_edges());
        let new = self.build(set, level, &items);
        self.put_in_place(view, set, node, new);
        self.retire(node);
        new
    }

    /// Makes a block, which becomes the home or the parent of what it leads to.
    fn build(&mut self, set: Handle, level: usize, items: &[Item]) -> Handle {
        let columns = 2 * self.arena().load(set, SET_SIDES) as usize;
        let block = build(&mut self.memory, set, level, columns, items);
        for item in items {
            if level > 0 {
                self.arena().store(item.target, PARENT, block);
            } else if item.from == 0 {
                self.add_home(item.target, block);
            } else {
                self.move_home(item.target, item.from, block);
            }
        }
        block
    }

    fn put_in_place(&mut self, view: &View, set: Handle, old: Handle, new: Handle) {
        let parent = self.arena().load(old, PARENT);
        self.arena().store(new, PARENT, parent);
        if parent == 0 {
            self.lead(view, Owner::Set(set), old, new);
        } else if let Some(lane) = self.lane_of(parent, old) {
            self.arena().store(parent, self.shape(parent).targets() + lane, new);
        }
    }

    fn lane_of(&self, block: Handle, target: u32) -> Option<usize> {
        let words = self.arena().words(block);
        let used = words[0].load(Ordering::Relaxed) as usize;
        let targets = &words[self.shape(block).targets()..][..used];
        targets.iter().position(|known| known.load(Ordering::Relaxed) == target)
    }

    /// Lets `items` be what a block has, divided or together with another block where it must be.
    fn settle(&mut self, view: &View, set: Handle, old: Handle, mut items: Vec<Item>) {
        let level = self.shape(old).level();
        let parent = self.arena().load(old, PARENT);
        let mut gone = vec![old];
        let is_few = parent != 0 && (1..=MERGE_AT).contains(&items.len());
        if is_few && let Some(other) = self.sibling(parent, old, &items) {
            items.extend(read(self.arena(), other));
            gone.push(other);
        }
        if parent == 0 && self.settle_root(view, set, old, level, &items) {
            return;
        }
        let columns = self.shape(old).columns();
        let parts = match items.len() {
            0 => Vec::new(),
            1..=LANES => vec![items],
            _ => <[Vec<Item>; 2]>::from(split(&items, columns)).into(),
        };
        let news: Vec<Item> = parts
            .iter()
            .map(|part| {
                let target = self.build(set, level, part);
                Item { bounds: Bounds::around(part), target, from: 0 }
            })
            .collect();
        match news.as_slice() {
            [new] if gone.len() == 1 => self.put_in_place(view, set, old, new.target),
            _ if parent == 0 => {
                let root = self.build(set, level + 1, &news);
                self.lead(view, Owner::Set(set), old, root);
            }
            _ => {
                let mut siblings = read(self.arena(), parent);
                siblings.retain(|item| !gone.contains(&item.target));
                siblings.extend(news);
                self.settle(view, set, parent, siblings);
            }
        }
        gone.into_iter().for_each(|block| self.retire(block));
    }

    /// What a root can do that other blocks cannot: go, be left out, or become a chain.
    fn settle_root(&mut self, view: &View, set: Handle, root: Handle, level: usize, items: &[Item]) -> bool {
        if items.is_empty() {
            self.lead(view, Owner::Set(set), root, 0);
            self.retire(root);
            self.on_set_gone(view, set);
        } else if level > 0 && items.len() == 1 {
            self.arena().store(items[0].target, PARENT, 0);
            self.lead(view, Owner::Set(set), root, items[0].target);
            self.retire(root);
        } else if level == 0 && items.len() <= CHAIN_AT {
            self.unplant(view, set, root, items);
        } else {
            return false;
        }
        true
    }

    /// Makes a chain of a leaf.
    fn unplant(&mut self, view: &View, set: Handle, leaf: Handle, items: &[Item]) {
        let sides = self.sides(set);
        let words = |item: &Item| {
            let draft = Draft { codes: Codes::new(), operations: item.bounds.operations(&sides).into() };
            Moving { target: item.target, is_always: false, is_several: false, draft }.words()
        };
        let entries: Vec<u32> = items.iter().flat_map(words).collect();
        items.iter().for_each(|item| self.drop_home(item.target, leaf));
        self.new_chain(view, Owner::Set(set), &entries);
        self.retire(leaf);
    }

    /// The block beside `block` that fits best together with `items`.
    fn sibling(&self, parent: Handle, block: Handle, items: &[Item]) -> Option<Handle> {
        let columns = self.shape(parent).columns();
        let around = Bounds::around(items);
        let growth = |other: &Item| other.bounds.with(&around).area(columns) - other.bounds.area(columns);
        let others = read(self.arena(), parent).into_iter().filter(|other| {
            other.target != block && self.live_lanes(other.target) + items.len() <= MERGED_MAX
        });
        let best = others.min_by(|a, b| growth(a).total_cmp(&growth(b)));
        best.map(|other| other.target)
    }

    fn live_lanes(&self, block: Handle) -> usize {
        self.arena().load(block, 0) as usize - meta(self.arena(), block).dead()
    }
}

/// Removal, and other targets.
impl Writer {
    /// Takes what stands for `target` out of a leaf.
    pub(in super::super) fn remove_from_leaf(&mut self, view: &View, leaf: Handle, target: u32) {
        let Some(lane) = self.lane_of(leaf, target) else { return };
        let set = self.arena().load(leaf, super::BOX_SET);
        self.arena().store(leaf, self.shape(leaf).targets() + lane, NOBODY);
        let changed = meta(self.arena(), leaf).add_dead(1);
        self.arena().store(leaf, META, changed.0);
        self.release_box(view, set, self.sides(set).as_slice());
        let (used, dead) = (self.arena().load(leaf, 0) as usize, changed.dead());
        if dead * 2 >= used {
            let items = read(self.arena(), leaf);
            self.settle(view, set, leaf, items);
        }
    }

    /// Lets the lane of a leaf that stands for `old` stand for `new`.
    pub(in super::super) fn retarget_lane(&self, leaf: Handle, old: u32, new: u32) {
        if let Some(lane) = self.lane_of(leaf, old) {
            self.arena().store(leaf, self.shape(leaf).targets() + lane, new);
        }
    }
}
