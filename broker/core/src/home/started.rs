//! What a home knows of deliveries that were started in former lives of the broker.
//!
//! An event that was delivered and not acked comes again after a restart, and says that it may have
//! been delivered before. Nothing is written per event for that. Invariants:
//! 1. A mailbox is noted as attached before anything is delivered out of it.
//! 2. A number is noted when its holder has let go of it, or the broker ends well: then how far
//!    deliveries were started is known exactly. A crash leaves the note that somebody was attached.
//! 3. Notes are true for the recovery epoch of the store under which they were made: under another
//!    one, and where there are none, everything that was found at the start may have been delivered.

use super::{Effect, Home, MailboxId, UndoKey};
use crate::record::{NotedEpoch, Record, StartedPut};

/// How far deliveries out of a mailbox were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// Somebody is attached: nobody knows.
    Unknown,
    /// Everything from here on was not.
    Below(u64),
}

impl Started {
    fn of(below: u64) -> Started {
        if below == 0 { Started::Unknown } else { Started::Below(below) }
    }

    fn record(self, mailbox: MailboxId) -> Record {
        let below = match self {
            Started::Unknown => 0,
            Started::Below(below) => below,
        };
        StartedPut { mailbox: mailbox.0, below }.into()
    }
}

impl Home {
    /// First sequence that no former life can have started, of a mailbox as it was found. O(log mailboxes).
    pub fn suspect_below(&self, mailbox: MailboxId) -> u64 {
        let tail = self.tail(mailbox).unwrap_or(1);
        match self.started.get(&mailbox) {
            _ if !self.are_notes_true => tail,
            Some(Started::Unknown) => tail,
            Some(Started::Below(below)) => *below,
            None => 1,
        }
    }

    /// Somebody is about to attach to a mailbox.
    pub fn note_attached(&mut self, mailbox: MailboxId) {
        self.note(mailbox, Started::Unknown);
    }

    /// Nobody is attached to a mailbox any more: nothing from `below` on was started.
    pub fn note_started(&mut self, mailbox: MailboxId, below: u64) {
        if below > 1 || self.started.contains_key(&mailbox) {
            self.note(mailbox, Started::of(below.max(1)));
        }
    }

    fn note(&mut self, mailbox: MailboxId, started: Started) {
        let is_news = self.tails.contains_key(&mailbox) && self.started.get(&mailbox) != Some(&started);
        if is_news {
            self.remember(UndoKey::Started(mailbox));
            self.started.insert(mailbox, started);
            self.effects.push(Effect::State(started.record(mailbox).encode()));
        }
    }

    /// All mailboxes of this life are noted: from now on the notes are true.
    pub fn confirm_notes(&mut self) {
        if !self.are_notes_true {
            self.remember(UndoKey::Notes);
            self.are_notes_true = true;
            self.effects.push(Effect::State(self.noted_epoch()));
        }
    }

    fn noted_epoch(&self) -> Vec<u8> {
        Record::from(NotedEpoch { recovery_epoch_next: self.recovery_epoch.saturating_add(1) }).encode()
    }

    /// All of it as records, for a checkpoint.
    pub(super) fn snapshot_started(&self, out: &mut Vec<Vec<u8>>) {
        if self.are_notes_true {
            out.push(self.noted_epoch());
        }
        out.extend(self.started.iter().map(|(mailbox, started)| started.record(*mailbox).encode()));
    }

    pub(super) fn apply_started(&mut self, put: StartedPut) {
        self.started.insert(MailboxId(put.mailbox), Started::of(put.below));
    }

    pub(super) fn apply_noted_epoch(&mut self, noted: NotedEpoch) {
        self.are_notes_true = noted.recovery_epoch_next == self.recovery_epoch.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use fanal_protocol::{PublisherId, StoreId};

    use super::*;
    use crate::home::{Ask, KeepPatch, Wanted};

    const STORE: StoreId = StoreId([1; 16]);

    fn commit(home: &mut Home, log: &mut Vec<Vec<u8>>) {
        for effect in home.drain_effects() {
            if let Effect::State(record) = effect {
                log.push(record);
            }
        }
        home.commit();
    }

    #[test]
    fn notes_hold_for_the_recovery_epoch_under_which_they_were_made() {
        let (mut home, mut log) = (Home::new(STORE, 3), Vec::new());
        let ask = Ask { filter: "#".into(), ..Ask::default() };
        let mut subscribe = |name: &str| {
            let (principal, keep) = (PublisherId::default(), KeepPatch::default());
            let wanted = Wanted { principal, name: name.into(), ask: ask.clone(), keep };
            home.put_subscription(wanted).unwrap().0
        };
        let [never, left, held] = ["never", "left", "held"].map(&mut subscribe);
        [left, held].into_iter().for_each(|id| home.note_attached(id));
        home.note_started(left, 4);
        home.note_started(never, 1);
        home.confirm_notes();
        commit(&mut home, &mut log);
        home.note_attached(left);
        home.rollback();
        let tails = [never, left, held].map(|id| (id, 9));
        for records in [log, home.snapshot()] {
            let found = |epoch| {
                let home = Home::recover(STORE, epoch, &records, tails).unwrap();
                [never, left, held].map(|id| home.suspect_below(id))
            };
            assert_eq!(found(3), [1, 4, 9]);
            assert_eq!(found(4), [9, 9, 9], "a store that was put back may have delivered everything");
        }
        let old = Home::recover(STORE, 3, &[], tails).unwrap();
        assert_eq!(old.suspect_below(never), 1, "of what nothing is known no mailbox is left");
    }
}
