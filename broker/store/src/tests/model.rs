//! The oracle: what a store must hold, in plain maps, and a workload drawn from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::simulated::SimulatedDisk;
use crate::{CommitError, Committed, MailboxId, MailboxSequence, OpenError, Recovery, Stats, Store, StoreId};

use super::basic::small;

/// State records are numbers; only the last ones count, so that a checkpoint is shorter.
const STATES_KEPT: usize = 8;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Box_ {
    pub(super) next: u64,
    pub(super) entries: BTreeMap<u64, Vec<u8>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) boxes: BTreeMap<u64, Box_>,
    pub(super) states: Vec<Vec<u8>>,
    next_box: u64,
    next_state: u64,
}

pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Create(u64),
    Remove(u64),
    Event(Vec<u8>, Vec<(u64, u64)>),
    Acked(u64, u64, u64),
    /// From mailbox, first, last, to mailbox, first there.
    Transfer(u64, u64, u64, u64, u64),
    State(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Commit(Vec<Action>),
    Checkpoint,
}

impl Model {
    /// Draws the next operation and applies it to the model.
    pub(super) fn draw(&mut self, dice: &mut Dice) -> Op {
        if dice.below(12) == 0 {
            return Op::Checkpoint;
        }
        let count = 1 + dice.below(5);
        let actions = (0..count).map(|_| self.draw_action(dice));
        Op::Commit(actions.collect())
    }

    fn draw_action(&mut self, dice: &mut Dice) -> Action {
        let action = match dice.below(20) {
            0 | 1 => Action::Create(self.next_box + 1),
            2 if self.boxes.len() > 3 => Action::Remove(self.any_box(dice)),
            3 | 4 => Action::State(format!("{}", self.next_state).into_bytes()),
            5..=8 if !self.boxes.is_empty() => self.draw_ack(dice),
            9 if !self.boxes.is_empty() => self.draw_transfer(dice),
            _ => self.draw_event(dice),
        };
        self.apply(&action);
        action
    }

    fn any_box(&self, dice: &mut Dice) -> u64 {
        let at = dice.below(self.boxes.len() as u64) as usize;
        self.boxes.keys().copied().nth(at).unwrap_or(0)
    }

    fn draw_ack(&mut self, dice: &mut Dice) -> Action {
        let id = self.any_box(dice);
        let mailbox = &self.boxes[&id];
        let first = mailbox.entries.keys().next().copied().unwrap_or(1) + dice.below(3);
        let count = if dice.below(3) == 0 { dice.below(60) } else { dice.below(8) };
        Action::Acked(id, first, first + count)
    }

    /// The other mailbox may be the same one.
    fn draw_transfer(&mut self, dice: &mut Dice) -> Action {
        let Action::Acked(from, first, last) = self.draw_ack(dice) else { unreachable!() };
        let to = self.any_box(dice);
        let to_first = self.boxes[&to].next + dice.below(2);
        Action::Transfer(from, first, last, to, to_first)
    }

    fn draw_event(&mut self, dice: &mut Dice) -> Action {
        let bytes = if dice.below(4) == 0 { dice.below(5000) } else { dice.below(400) };
        let mark = dice.below(256) as u8;
        let body = (0..bytes).map(|at| mark ^ at as u8).collect();
        // Half go to all, so that sets repeat; a few numbers are passed over.
        let to_all = dice.below(2) == 0;
        let mut entries = Vec::new();
        for (id, mailbox) in &self.boxes {
            if to_all || dice.below(2) == 0 {
                entries.push((*id, mailbox.next + u64::from(dice.below(6) == 0)));
            }
        }
        Action::Event(body, entries)
    }

    /// How many entries each removal takes out, one after the other.
    fn removed_by(&self, actions: &[Action]) -> Vec<u64> {
        let mut model = self.clone();
        let mut removed = Vec::new();
        for action in actions {
            let count = |model: &Model, id| model.boxes.get(id).map_or(0, |one| one.entries.len());
            if let Action::Remove(id) | Action::Acked(id, ..) = action {
                let before = count(&model, id);
                model.apply(action);
                removed.push((before - count(&model, id)) as u64);
            } else if let Action::Transfer(from, first, last, ..) = action {
                removed.push(model.boxes[from].entries.range(first..=last).count() as u64);
                model.apply(action);
            } else {
                model.apply(action);
            }
        }
        removed
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Create(id) => {
                self.next_box = *id;
                self.boxes.insert(*id, Box_ { next: 1, ..Box_::default() });
            }
            Action::Remove(id) => {
                self.boxes.remove(id);
            }
            Action::Event(body, entries) => {
                for (id, sequence) in entries {
                    let mailbox = self.boxes.get_mut(id).unwrap();
                    mailbox.next = sequence + 1;
                    mailbox.entries.insert(*sequence, body.clone());
                }
            }
            Action::Acked(id, first, last) => {
                let mailbox = self.boxes.get_mut(id).unwrap();
                mailbox.entries.retain(|sequence, _| sequence < first || sequence > last);
            }
            Action::Transfer(from, first, last, to, to_first) => {
                let from = self.boxes.get_mut(from).unwrap();
                let all = std::mem::take(&mut from.entries).into_iter();
                let (moved, kept): (BTreeMap<_, _>, _) =
                    all.partition(|(at, _)| (first..=last).contains(&at));
                from.entries = kept;
                let to = self.boxes.get_mut(to).unwrap();
                to.entries.extend(moved.into_iter().map(|(at, body)| (to_first + at - first, body)));
                to.next = to_first + last - first + 1;
            }
            Action::State(bytes) => {
                self.next_state += 1;
                self.states.push(bytes.clone());
                let surplus = self.states.len().saturating_sub(STATES_KEPT);
                self.states.drain(..surplus);
            }
        }
    }

    /// Whether each entry is there, with the right bytes or told as damaged.
    pub(super) fn is_held_or_told(&self, store: &Store) -> bool {
        let reader = store.reader();
        self.boxes.iter().all(|(id, mailbox)| {
            let there = reader.entries(MailboxId(*id), MailboxSequence(0), usize::MAX);
            let there: BTreeMap<_, _> = there.into_iter().collect();
            mailbox.entries.iter().all(|(sequence, body)| {
                let position = there.get(&MailboxSequence(*sequence));
                position.is_some_and(|position| match reader.read(*position) {
                    Ok(read) => read[..] == body[..],
                    Err(why) => matches!(why, crate::ReadError::Damaged { .. }),
                })
            })
        })
    }

    /// Says where a store and what it recovered differ from this.
    pub(super) fn check(&self, store: &Store, recovery: Option<&Recovery>) -> Result<(), String> {
        let reader = store.reader();
        let ids: Vec<u64> = reader.mailboxes().iter().map(|(id, _)| id.0).collect();
        if ids != self.boxes.keys().copied().collect::<Vec<_>>() {
            return Err(format!("mailboxes {ids:?}, not {:?}", self.boxes.keys()));
        }
        for (id, mailbox) in &self.boxes {
            let there = reader.entries(MailboxId(*id), MailboxSequence(0), usize::MAX);
            let sequences: Vec<u64> = there.iter().map(|(sequence, _)| sequence.0).collect();
            let wanted: Vec<u64> = mailbox.entries.keys().copied().collect();
            if sequences != wanted {
                return Err(format!("mailbox {id} holds {sequences:?}, not {wanted:?}"));
            }
            let stats = reader.mailbox(MailboxId(*id)).unwrap();
            let bytes: usize = mailbox.entries.values().map(Vec::len).sum();
            if stats.next.0 != mailbox.next
                || stats.head != there.first().map(|(_, position)| *position)
                || stats.bytes != bytes as u64
                || stats.events != wanted.len() as u64
            {
                return Err(format!("mailbox {id}: {stats:?}, not next {}, {bytes} bytes", mailbox.next));
            }
            for (sequence, position) in there {
                let body = reader.read(position).map_err(|e| format!("{id}/{sequence}: {e}"))?;
                if body[..] != mailbox.entries[&sequence.0][..] {
                    return Err(format!("mailbox {id}: event {sequence} differs"));
                }
            }
        }
        let Some(recovery) = recovery else {
            return Ok(());
        };
        let from = recovery.state.len().saturating_sub(STATES_KEPT);
        if recovery.state[from..] != self.states[..] {
            return Err(format!("state {:?}, not {:?}", recovery.state, self.states));
        }
        Ok(())
    }
}

pub(super) fn open(disk: &SimulatedDisk) -> Result<(Store, Recovery), OpenError> {
    Store::open_on(Arc::new(disk.clone()), small(), StoreId(42))
}

/// Does to the store what was drawn; a checkpoint writes the model's states as they were before.
pub(super) fn perform(store: &mut Store, op: &Op, before: &Model) -> Result<Committed, CommitError> {
    match op {
        Op::Checkpoint => {
            let mut states = before.states.clone().into_iter();
            store.checkpoint(&mut states).map(|()| Committed::default())
        }
        Op::Commit(actions) => {
            let mut batch = store.batch();
            for action in actions {
                add(&mut batch, action);
            }
            let committed = store.commit(batch)?;
            assert_eq!(committed.removed, before.removed_by(actions), "{actions:?}");
            Ok(committed)
        }
    }
}

fn add(batch: &mut crate::Batch, action: &Action) {
    match action {
        Action::Create(id) => batch.create_mailbox(MailboxId(*id)),
        Action::Remove(id) => {
            batch.remove_mailbox(MailboxId(*id));
        }
        Action::Event(body, entries) => {
            let entries: Vec<_> = entries.iter().map(|(m, s)| (MailboxId(*m), MailboxSequence(*s))).collect();
            let (left, right) = body.split_at(body.len() / 3);
            batch.event(&[left, right], &entries);
        }
        Action::Acked(id, first, last) => {
            batch.acked(MailboxId(*id), *first..=*last);
        }
        Action::Transfer(from, first, last, to, to_first) => {
            batch.transfer(MailboxId(*from), *first..=*last, MailboxId(*to), MailboxSequence(*to_first));
        }
        Action::State(bytes) => batch.state(bytes),
    }
}

/// What a run left: the model as proven, and as it is if the operation in doubt counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) proven: Model,
    pub(super) in_doubt: Option<Model>,
    pub(super) steps: u64,
    pub(super) stats: Stats,
}

impl Outcome {
    pub(super) fn of(model: Model) -> Outcome {
        Outcome { proven: model, ..Outcome::default() }
    }

    /// The model that the store matches.
    pub(super) fn check(&self, store: &Store, recovery: &Recovery) -> Result<Model, String> {
        let proven = self.proven.check(store, Some(recovery));
        match (&proven, &self.in_doubt) {
            (Ok(()), _) => Ok(self.proven.clone()),
            (Err(why), None) => Err(why.clone()),
            (Err(why), Some(other)) => match other.check(store, Some(recovery)) {
                Ok(()) => Ok(other.clone()),
                Err(also) => Err(format!("{why}; nor: {also}")),
            },
        }
    }
}

/// Runs `steps` operations drawn from the dice, until one stops the store.
pub(super) fn run(store: &mut Store, model: Model, dice: &mut Dice, steps: u64) -> Outcome {
    let mut outcome = Outcome::of(model);
    for _ in 0..steps {
        let mut after = outcome.proven.clone();
        let op = after.draw(dice);
        match perform(store, &op, &outcome.proven) {
            Ok(_) => outcome.proven = after,
            Err(CommitError::Stopped { .. }) => {
                outcome.in_doubt = Some(after);
                return outcome;
            }
            Err(CommitError::BatchTooLarge { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        outcome.steps += 1;
        outcome.stats = store.stats();
    }
    outcome
}
