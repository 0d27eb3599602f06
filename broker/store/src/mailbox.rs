//! One mailbox: entries in memory, and pages of entries that lie in the log.
//!
//! Invariants:
//! 1. Chunks and then the slots are ascending by sequence and do not overlap.
//! 2. A page in the directory is wholly live: before a part of it is taken out it is thawed.
//! 3. Nothing here reads the log; whoever does holds no lock meanwhile.

use std::collections::VecDeque;

use crate::id::{MailboxSequence, Position};
use crate::page::Page;
use crate::record::LiveEntry;
use crate::slots::Slots;

/// A mailbox in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxStats {
    /// Live entries.
    pub events: u64,
    /// Bytes of their events (an event counts in every mailbox that holds it).
    pub bytes: u64,
    /// Sequence of the first live entry; `next` when there is none.
    pub first: MailboxSequence,
    /// The lowest sequence that the next entry may have.
    pub next: MailboxSequence,
    /// Where the event of the first live entry lies.
    pub head: Option<Position>,
}

/// A stretch of a mailbox before its newest entries.
#[derive(Debug)]
enum Chunk {
    Hot(Slots),
    Cold(Page),
}

impl Chunk {
    fn first(&self) -> Option<(u64, Position)> {
        match self {
            Chunk::Hot(slots) => slots.first().map(|entry| (entry.sequence.0, entry.position)),
            Chunk::Cold(page) => Some((page.first, page.head)),
        }
    }

    fn first_sequence(&self) -> u64 {
        self.first().map_or(0, |(sequence, _)| sequence)
    }

    fn last_sequence(&self) -> u64 {
        match self {
            Chunk::Hot(slots) => slots.last_sequence().unwrap_or(0),
            Chunk::Cold(page) => page.last,
        }
    }
}

/// What comes next in a mailbox.
#[derive(Debug)]
pub(crate) enum Run {
    End,
    /// Entries, at least one.
    Hot(Vec<LiveEntry>),
    /// A page whose last entry is not below what was asked for.
    Cold(Page),
}

/// What a mailbox holds.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    Entry(LiveEntry),
    Page(&'a Page),
}

/// How much of a mailbox should go into pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Entries of a page.
    pub(crate) page: usize,
    /// Fewest entries that are worth a page.
    pub(crate) least: usize,
    /// The first and the newest entries go too.
    pub(crate) all: bool,
    /// Most pages.
    pub(crate) pages: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox {
    next: u64,
    events: u64,
    bytes: u64,
    /// Of `events`, how many lie in pages.
    cold: u64,
    older: VecDeque<Chunk>,
    slots: Slots,
}

impl Mailbox {
    pub(crate) fn new(next: MailboxSequence) -> Mailbox {
        Mailbox {
            next: next.0,
            events: 0,
            bytes: 0,
            cold: 0,
            older: VecDeque::new(),
            slots: Slots::default(),
        }
    }

    pub(crate) fn next(&self) -> MailboxSequence {
        MailboxSequence(self.next)
    }

    /// Live entries in memory.
    pub(crate) fn hot(&self) -> u64 {
        self.events - self.cold
    }

    pub(crate) fn stats(&self) -> MailboxStats {
        let slots = || self.slots.first().map(|entry| (entry.sequence.0, entry.position));
        let head = self.older.front().and_then(Chunk::first).or_else(slots);
        MailboxStats {
            events: self.events,
            bytes: self.bytes,
            first: MailboxSequence(head.map_or(self.next, |(sequence, _)| sequence)),
            next: MailboxSequence(self.next),
            head: head.map(|(_, position)| position),
        }
    }

    /// Adds an entry at the end; false (and no change) when its sequence does not rise.
    pub(crate) fn push(&mut self, entry: LiveEntry) -> bool {
        if entry.sequence.0 < self.next {
            return false;
        }
        self.next = entry.sequence.0.saturating_add(1);
        self.push_last(entry);
        true
    }

    /// Numbers below `next` are not given to entries any more.
    pub(crate) fn raise_next(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Adds an entry of a checkpoint, below `next`; false when it does not rise.
    pub(crate) fn restore(&mut self, entry: LiveEntry) -> bool {
        let fits = self.rises(entry.sequence.0) && entry.sequence.0 < self.next;
        if fits {
            self.push_last(entry);
        }
        fits
    }

    /// Adds a page of a checkpoint, below `next`; false when it does not rise.
    pub(crate) fn restore_page(&mut self, page: Page) -> bool {
        let fits = self.rises(page.first) && page.last < self.next;
        if fits {
            self.put_slots_aside();
            self.add_page(&page);
            self.older.push_back(Chunk::Cold(page));
        }
        fits
    }

    fn rises(&self, sequence: u64) -> bool {
        let older = || self.older.back().map(Chunk::last_sequence);
        self.slots.last_sequence().or_else(older).is_none_or(|last| last < sequence)
    }

    fn put_slots_aside(&mut self) {
        if self.slots.live() > 0 {
            self.older.push_back(Chunk::Hot(std::mem::take(&mut self.slots)));
        }
    }

    fn push_last(&mut self, entry: LiveEntry) {
        self.events += 1;
        self.bytes += u64::from(entry.bytes);
        self.slots.push(entry);
    }

    fn add_page(&mut self, page: &Page) {
        self.events += u64::from(page.live);
        self.cold += u64::from(page.live);
        self.bytes += page.bytes;
    }

    /// First of the older chunks that does not lie below `sequence`.
    fn chunk_at(&self, sequence: u64) -> usize {
        self.older.partition_point(|chunk| chunk.last_sequence() < sequence)
    }

    /// Removes the entries from `first` to `last`, telling `gone` of each and of each page. Pages of
    /// which it takes a part only must have been thawed: they stay. O(log entries + removed),
    /// amortised.
    pub(crate) fn remove(&mut self, first: u64, last: u64, gone: &mut dyn FnMut(Held<'_>)) {
        let (mut events, mut bytes) = (0, 0);
        let mut entry_gone = |entry: LiveEntry| {
            events += 1;
            bytes += u64::from(entry.bytes);
            gone(Held::Entry(entry));
        };
        let begin = self.older.partition_point(|chunk| chunk.last_sequence() < first);
        let (mut done, mut at) = (begin..begin, begin);
        while let Some(chunk) = self.older.get_mut(at).filter(|chunk| chunk.first_sequence() <= last) {
            let is_done = match chunk {
                Chunk::Hot(slots) => {
                    slots.remove(first, last, &mut entry_gone);
                    slots.live() == 0
                }
                Chunk::Cold(page) => page.first >= first && page.last <= last,
            };
            // Only the outer ones may stay: what is done lies together.
            match is_done {
                true => done.end = at + 1,
                false if done.is_empty() => done = at + 1..at + 1,
                false => {}
            }
            at += 1;
        }
        let pages: Vec<_> = self.older.drain(done).collect();
        self.slots.remove(first, last, &mut entry_gone);
        for chunk in &pages {
            if let Chunk::Cold(page) = chunk {
                events += u64::from(page.live);
                self.cold -= u64::from(page.live);
                bytes += page.bytes;
                gone(Held::Page(page));
            }
        }
        self.events -= events;
        self.bytes -= bytes;
        if self.older.is_empty() && self.older.capacity() > 0 {
            self.older = VecDeque::new();
        }
    }

    /// What comes from a sequence on: at most `max` entries, or a page.
    pub(crate) fn run(&self, from: u64, max: usize) -> Run {
        for chunk in self.older.range(self.chunk_at(from)..) {
            match chunk {
                Chunk::Cold(page) => return Run::Cold(page.clone()),
                Chunk::Hot(slots) => {
                    let entries: Vec<_> = slots.from(from).take(max).collect();
                    if !entries.is_empty() {
                        return Run::Hot(entries);
                    }
                }
            }
        }
        let entries: Vec<_> = self.slots.from(from).take(max).collect();
        if entries.is_empty() { Run::End } else { Run::Hot(entries) }
    }

    /// Pages that lie in `first..=last`: those that do so in part only, or all.
    pub(crate) fn pages(&self, first: u64, last: u64, all: bool) -> Vec<Page> {
        let chunks = self.older.range(self.chunk_at(first)..);
        let within = chunks.take_while(|chunk| chunk.first_sequence() <= last);
        let pages = within.filter_map(|chunk| match chunk {
            Chunk::Cold(page) => Some(page),
            Chunk::Hot(_) => None,
        });
        pages.filter(|page| all || page.first < first || page.last > last).cloned().collect()
    }

    /// The page that begins with a sequence.
    fn page_mut(&mut self, first: u64) -> Option<(usize, &mut Page)> {
        let at = self.chunk_at(first);
        match self.older.get_mut(at)? {
            Chunk::Cold(page) if page.first == first => Some((at, page)),
            _ => None,
        }
    }

    /// The page that begins with a sequence.
    pub(crate) fn page(&self, first: u64) -> Option<&Page> {
        match self.older.get(self.chunk_at(first))? {
            Chunk::Cold(page) if page.first == first => Some(page),
            _ => None,
        }
    }

    /// Puts the entries of the page that begins with `first` into memory in its place.
    pub(crate) fn thaw(&mut self, first: u64, entries: &[LiveEntry]) -> Option<Page> {
        let (at, _) = self.page_mut(first)?;
        let hot = Slots::of(entries.iter().copied());
        let removed = match entries.is_empty() {
            true => self.older.remove(at),
            false => self.older.get_mut(at).map(|chunk| std::mem::replace(chunk, Chunk::Hot(hot))),
        };
        let Some(Chunk::Cold(page)) = removed else {
            return None;
        };
        self.cold -= u64::from(page.live);
        self.events = self.events - u64::from(page.live) + entries.len() as u64;
        let bytes: u64 = entries.iter().map(|entry| u64::from(entry.bytes)).sum();
        self.bytes = self.bytes - page.bytes + bytes;
        Some(page)
    }

    /// Puts a page in, whose range holds nothing.
    pub(crate) fn insert_page(&mut self, page: Page) {
        let at = self.chunk_at(page.first);
        let straddles = |slots: &Slots| slots.first().is_some_and(|entry| entry.sequence.0 < page.first);
        let hot = match self.older.get_mut(at) {
            Some(Chunk::Hot(slots)) => Some(slots),
            Some(Chunk::Cold(_)) => None,
            None => Some(&mut self.slots),
        };
        let below = hot.filter(|slots| straddles(slots)).map(|slots| slots.split_below(page.first));
        self.next = self.next.max(page.last.saturating_add(1));
        self.add_page(&page);
        self.older.insert(at, Chunk::Cold(page));
        if let Some(below) = below {
            self.older.insert(at, Chunk::Hot(below));
        }
    }

    /// Notes another copy of a page that holds the same entries; the copies that there were before, of
    /// which the second is needless now. None when there is no such page.
    pub(crate) fn add_copy(
        &mut self,
        first: u64,
        last: u64,
        live: usize,
        at: Position,
    ) -> Option<[Position; 2]> {
        let (_, page) = self.page_mut(first)?;
        if page.last != last || page.live as usize != live {
            return None;
        }
        let before = page.copies;
        page.copies = [at, before[0]];
        Some(before)
    }

    /// Changes where a live entry in memory lies; what it was before.
    pub(crate) fn set_position(&mut self, sequence: u64, position: Position) -> Option<LiveEntry> {
        let at = self.chunk_at(sequence);
        match self.older.get_mut(at) {
            Some(Chunk::Hot(slots)) => slots.set_position(sequence, position),
            Some(Chunk::Cold(_)) => None,
            None => self.slots.set_position(sequence, position),
        }
    }

    /// Whether an entry may live whose event lies at `position`: in memory it is known, of a page it
    /// is not.
    pub(crate) fn may_hold(&self, sequence: u64, position: Position) -> bool {
        match self.older.get(self.chunk_at(sequence)) {
            Some(Chunk::Hot(slots)) => slots.position(sequence) == Some(position),
            Some(Chunk::Cold(page)) => page.first <= sequence,
            None => self.slots.position(sequence) == Some(position),
        }
    }

    /// Entries that may go into pages, page by page.
    pub(crate) fn surplus(&self, wanted: &Wanted) -> Vec<Vec<LiveEntry>> {
        let mut surplus = Surplus { wanted, skip: 0, run: Vec::new(), pages: Vec::new() };
        let begins_hot = !matches!(self.older.front(), Some(Chunk::Cold(_)));
        surplus.skip = if begins_hot && !wanted.all { wanted.page } else { 0 };
        for chunk in &self.older {
            match chunk {
                Chunk::Hot(slots) => surplus.take(slots),
                Chunk::Cold(_) => surplus.close(false),
            }
            if surplus.pages.len() >= wanted.pages {
                return surplus.pages;
            }
        }
        surplus.take(&self.slots);
        surplus.close(true);
        surplus.pages
    }

    /// Tells `each` of all entries in memory and of all pages.
    pub(crate) fn each(&self, each: &mut dyn FnMut(Held<'_>)) {
        for chunk in &self.older {
            match chunk {
                Chunk::Hot(slots) => slots.from(0).for_each(|entry| each(Held::Entry(entry))),
                Chunk::Cold(page) => each(Held::Page(page)),
            }
        }
        self.slots.from(0).for_each(|entry| each(Held::Entry(entry)));
    }

    pub(crate) fn relocate(&mut self, from: Position, to: Position) {
        for chunk in &mut self.older {
            match chunk {
                Chunk::Hot(slots) => slots.relocate(from, to),
                Chunk::Cold(page) => page.relocate(from, to),
            }
        }
        self.slots.relocate(from, to);
    }
}

/// Runs of entries in memory being cut into pages.
struct Surplus<'a> {
    wanted: &'a Wanted,
    /// Entries at the head that stay.
    skip: usize,
    run: Vec<LiveEntry>,
    pages: Vec<Vec<LiveEntry>>,
}

impl Surplus<'_> {
    fn take(&mut self, slots: &Slots) {
        let skipped = self.skip.min(slots.live());
        self.skip -= skipped;
        for entry in slots.from(0).skip(skipped) {
            if self.pages.len() >= self.wanted.pages {
                return;
            }
            self.run.push(entry);
            if self.run.len() == self.wanted.page {
                self.pages.push(std::mem::take(&mut self.run));
            }
        }
    }

    /// Ends a run; the newest one keeps what makes no whole page.
    fn close(&mut self, is_newest: bool) {
        self.skip = 0;
        let run = std::mem::take(&mut self.run);
        let is_worth_it = run.len() >= self.wanted.least && (self.wanted.all || !is_newest);
        if is_worth_it && self.pages.len() < self.wanted.pages {
            self.pages.push(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const PAGES: u64 = 200_000;

    /// Pages of ten entries each, and before each two of them one entry in memory.
    fn large() -> Mailbox {
        let mut mailbox = Mailbox::new(MailboxSequence(u64::MAX));
        for page in 1..=PAGES {
            let (first, last) = (page * 20, page * 20 + 9);
            if page % 2 == 0 {
                let (sequence, position) = (MailboxSequence(first - 5), Position(7));
                assert!(mailbox.restore(LiveEntry { sequence, position, bytes: 1 }));
            }
            assert!(mailbox.restore_page(Page { first, last, live: 10, bytes: 10, ..Page::default() }));
        }
        mailbox
    }

    #[test]
    fn a_huge_part_of_a_directory_is_taken_out_at_once() {
        let mut mailbox = large();
        let before = mailbox.stats().events;
        let begun = Instant::now();
        let (mut entries, mut pages) = (0, 0);
        let quarter = PAGES / 4;
        mailbox.remove(quarter * 20, quarter * 60 - 1, &mut |gone| match gone {
            Held::Entry(_) => entries += 1,
            Held::Page(_) => pages += 1,
        });
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!((entries, pages), (quarter, 2 * quarter));
        assert_eq!(mailbox.stats().events, before - entries - 10 * pages);
        assert_eq!(mailbox.pages(0, u64::MAX, true).len() as u64, PAGES - pages);
        // An entry in memory at each end of what goes stays.
        let mut gone = 0;
        mailbox.remove(20, 2 * 20 - 6, &mut |_| gone += 1);
        assert_eq!((gone, mailbox.stats().first), (1, MailboxSequence(35)));
    }
}
