//! What mailboxes give for the store as a whole: its bytes, its events, its age.
//!
//! Invariants:
//! 1. From a share of a limit on, dead letters go first, then the oldest events of the mailboxes that
//!    hold most, down to one level; a mailbox for which a rule refuses publishers gives nothing.
//! 2. A publisher is refused for the limit of events only where nothing gives way for it: then no
//!    batch brings more than it.
//! 3. What is older than the store's age is dropped, wherever it waits: the dead letters would be
//!    the same store.
//!
//! How much the disk has in use, and what of it comes back, the writer knows.

use super::*;

/// The entries of all mailboxes, held against the store's limit of events.
#[derive(Debug, Default)]
pub(super) struct Queued {
    /// At least as many as there are: what leaves is only seen when they are counted.
    at_most: u64,
    /// Those that the batch being built brings.
    staged: u64,
    /// They were counted for it.
    is_counted: bool,
    /// What can give way is not enough.
    is_stuck: bool,
}

impl Queued {
    /// Nothing was counted yet.
    pub(super) fn unknown() -> Queued {
        Queued { at_most: u64::MAX, ..Queued::default() }
    }
}

impl LimitKeeper {
    /// Where the store is nearly full, and what it should come down to then, in bytes; none: never.
    /// Where more than the remaining share is kept in reserve, events find no room sooner.
    pub(in super::super) fn store_mark(&self, reserve_bytes: u64) -> Option<(u64, u64)> {
        let capacity = self.capacity.filter(|_| self.gives_way())?;
        let share = capacity / 100 * self.configured.give_way_percent;
        let mark = share.min(capacity.saturating_sub(reserve_bytes));
        let below = (capacity / 64).max(2 * self.configured.segment_bytes);
        Some((mark, mark.saturating_sub(below)))
    }

    fn gives_way(&self) -> bool {
        self.configured.give_way_percent < 100
    }

    /// So many bytes must go for the store. O(mailboxes log mailboxes).
    pub(in super::super) fn relieve(&mut self, home: &Home, wanted: u64) {
        self.give_for_store(home, wanted, |stats| stats.bytes, |surplus| &mut surplus.bytes);
    }

    /// Dead letters first, then what the largest mailboxes hold; whether that is all that is wanted.
    fn give_for_store(
        &mut self,
        home: &Home,
        wanted: u64,
        size: fn(&MailboxStats) -> u64,
        field: fn(&mut Surplus) -> &mut u64,
    ) -> bool {
        let letters = home.dead_letters();
        let sizes: Vec<(MailboxId, u64)> =
            self.reader.mailboxes().iter().map(|(id, stats)| (MailboxId(id.0), size(stats))).collect();
        let of_letters = sizes.iter().find(|(id, _)| Some(*id) == letters).map_or(0, |(_, size)| *size);
        if let Some(letters) = letters.filter(|_| of_letters > 0) {
            *field(&mut self.over.entry(letters).or_default().for_store) = wanted.min(of_letters);
        }
        let others: Vec<(MailboxId, u64)> =
            sizes.into_iter().filter(|(id, _)| Some(*id) != letters && !self.is_exempt(home, *id)).collect();
        for (id, share) in share_out(&others, wanted.saturating_sub(of_letters)) {
            *field(&mut self.over.entry(id).or_default().for_store) = share;
        }
        let all: u64 = others.iter().map(|(_, size)| size).sum();
        of_letters + all >= wanted
    }

    /// Whether a rule is for all that can come to a mailbox: publishers are refused, and it gives
    /// nothing away.
    fn is_exempt(&self, home: &Home, id: MailboxId) -> bool {
        !self.rules.is_empty()
            && home
                .filter(id)
                .and_then(|filter| TopicFilter::parse(filter).ok())
                .is_some_and(|filter| self.rules.iter().any(|rule| rule.topic.covers(&filter)))
    }

    /// The oldest entries that are so much, but for those that go anyway.
    pub(super) fn choose_for_store(
        &self,
        id: MailboxId,
        but: &[Chosen],
        mut surplus: Surplus,
        max: usize,
    ) -> Vec<Chosen> {
        let gone: u64 = but.iter().map(|(_, bytes)| bytes).sum();
        surplus.bytes = surplus.bytes.saturating_sub(gone);
        surplus.events = surplus.events.saturating_sub(but.len() as u64);
        let mut chosen = Vec::new();
        self.visit(id, |entry| {
            if but.binary_search_by_key(&entry.sequence, |chosen| chosen.0).is_ok() {
                return true;
            }
            let is_wanted = chosen.len() < max && surplus.take(entry.bytes);
            if is_wanted {
                chosen.push((entry.sequence, entry.bytes));
            }
            is_wanted
        });
        chosen
    }

    // ---- events ----

    pub(super) fn on_entry(&mut self) {
        self.queued.at_most = self.queued.at_most.saturating_add(1);
        self.queued.staged += 1;
    }

    /// The batch is there, or will not come.
    pub(super) fn on_batch_over(&mut self) {
        (self.queued.staged, self.queued.is_counted) = (0, false);
    }

    /// Counts the entries of all mailboxes. O(mailboxes).
    fn count_queued(&mut self) {
        let stored: u64 = self.reader.mailboxes().iter().map(|(_, stats)| stats.events).sum();
        self.queued.at_most = stored + self.queued.staged;
    }

    /// Has mailboxes give way where there are nearly too many events. O(1) below that, and
    /// O(mailboxes log mailboxes) once for each 64th of the limit that came.
    pub(super) fn look_at_queued(&mut self, home: &Home) {
        let Some(limit) = self.configured.store_events else { return };
        let mark = match self.gives_way() {
            true => {
                limit / 100 * self.configured.give_way_percent
                    + limit % 100 * self.configured.give_way_percent / 100
            }
            false => limit.saturating_sub(1),
        };
        if self.queued.at_most <= mark {
            return;
        }
        self.count_queued();
        self.queued.is_stuck = false;
        if self.gives_way() && self.queued.at_most > mark {
            let wanted = self.queued.at_most - mark.saturating_sub(limit / 64);
            let is_enough =
                self.give_for_store(home, wanted, |stats| stats.events, |surplus| &mut surplus.events);
            self.queued.is_stuck = !is_enough;
        }
    }

    /// Why an event for so many mailboxes may not come, if it may not. O(1), but for O(mailboxes) once in a
    /// batch where the limit is near.
    pub(in super::super) fn check_queued(&mut self, entries: usize) -> Option<String> {
        let limit = self.configured.store_events?;
        if entries == 0 || (self.gives_way() && !self.queued.is_stuck) {
            return None;
        }
        let is_too_many = |queued: &Queued| queued.at_most.saturating_add(entries as u64) > limit;
        if is_too_many(&self.queued) && !std::mem::replace(&mut self.queued.is_counted, true) {
            self.count_queued();
        }
        is_too_many(&self.queued).then(|| {
            format!("the store holds as many events as it may ({limit}, limits.store_events): let subscribers drain it")
        })
    }

    // ---- age ----

    /// Whether among the dead letters are events too old for the store; `None` where enough was read to
    /// tell, and the next call goes on. O(ranges of dead letters).
    pub(super) fn has_spent_letters(&mut self, home: &Home, births: &mut Births) -> Option<bool> {
        let (Some(age), Some(id)) = (self.bounds.store_age_ms, home.dead_letters()) else {
            return Some(false);
        };
        let mut has_spent = false;
        let known = std::mem::take(&mut self.letter_births);
        for (first, letters) in home.letters() {
            let birth = match known.get(&first) {
                Some(birth) => *birth,
                None => match self.first_birth(id, (first, letters.last), births) {
                    Some(birth) => birth,
                    None => {
                        self.letter_births.extend(known.range(first..));
                        return None;
                    }
                },
            };
            self.letter_births.insert(first, birth);
            has_spent |= birth.is_some_and(|since| is_old(since, age, self.age.now()));
        }
        Some(has_spent)
    }

    /// When the first event of a range that can be read was accepted.
    fn first_birth(
        &self,
        id: MailboxId,
        (first, last): (u64, u64),
        births: &mut Births,
    ) -> Option<Option<Millis>> {
        let mut found = Some(None);
        self.visit_from(id, first, |entry| {
            if entry.sequence <= last {
                found = births.of(&self.reader, entry.position);
            }
            entry.sequence < last && found == Some(None)
        });
        found
    }

    /// The dead letters beyond `after` that are too old for the store, ascending, at most `max`.
    pub(super) fn choose_spent_letters(
        &self,
        home: &Home,
        after: u64,
        max: usize,
        births: &mut Births,
    ) -> Vec<Chosen> {
        let (Some(age), Some(id)) = (self.bounds.store_age_ms, home.dead_letters()) else {
            return Vec::new();
        };
        let is_spent = |since: Millis| is_old(since, age, self.age.now());
        let mut chosen = Vec::new();
        for (first, letters) in home.letters().filter(|(_, letters)| letters.last > after) {
            let known = self.letter_births.get(&first).copied().flatten();
            if chosen.len() >= max || !known.is_some_and(is_spent) {
                continue;
            }
            self.visit_from(id, first.max(after + 1), |entry| {
                if entry.sequence > letters.last || chosen.len() >= max {
                    return false;
                }
                let Some(birth) = births.of(&self.reader, entry.position) else { return false };
                if birth.is_some_and(is_spent) {
                    chosen.push((entry.sequence, entry.bytes));
                }
                // One that cannot be read stays where it is.
                birth.is_none_or(is_spent)
            });
        }
        chosen
    }
}
