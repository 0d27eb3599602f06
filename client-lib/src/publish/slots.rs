//! Where outcomes wait for whoever asked: a slab, so that a publish allocates nothing for it.
//!
//! Invariant: a slot is resolved exactly once and then either polled once or detached.

use std::task::{Context, Poll, Waker};

/// Names a slot; [`NO_SLOT`] where nobody waits.
pub(crate) type SlotId = u32;
/// Nobody waits for the outcome.
pub(crate) const NO_SLOT: SlotId = u32::MAX;

#[derive(Debug)]
enum Slot<T> {
    Free,
    Waiting(Option<Waker>),
    Detached,
    Ready(T),
}

/// The slab.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<SlotId>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Takes a slot. O(1).
    pub(crate) fn open(&mut self) -> SlotId {
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Slot::Waiting(None);
            return id;
        }
        self.slots.push(Slot::Waiting(None));
        (self.slots.len() - 1) as SlotId
    }

    /// Puts the outcome in; gives back whom to wake.
    pub(crate) fn resolve(&mut self, id: SlotId, outcome: T) -> Option<Waker> {
        match self.slots.get_mut(id as usize)? {
            slot @ Slot::Waiting(_) => match std::mem::replace(slot, Slot::Ready(outcome)) {
                Slot::Waiting(waker) => waker,
                _ => None,
            },
            Slot::Detached => {
                self.release(id);
                None
            }
            Slot::Free | Slot::Ready(_) => None,
        }
    }

    /// Takes the outcome out, or leaves a waker.
    pub(crate) fn poll(&mut self, id: SlotId, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.slots.get_mut(id as usize) {
            Some(Slot::Waiting(waker)) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Some(Slot::Ready(_)) => match self.release(id) {
                Slot::Ready(outcome) => Poll::Ready(Some(outcome)),
                _ => Poll::Ready(None),
            },
            _ => Poll::Ready(None),
        }
    }

    /// Whoever asked has gone.
    pub(crate) fn detach(&mut self, id: SlotId) {
        match self.slots.get_mut(id as usize) {
            Some(slot @ Slot::Waiting(_)) => *slot = Slot::Detached,
            Some(Slot::Ready(_)) => drop(self.release(id)),
            _ => {}
        }
    }

    fn release(&mut self, id: SlotId) -> Slot<T> {
        self.free.push(id);
        std::mem::replace(&mut self.slots[id as usize], Slot::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_after_polling_and_after_detaching() {
        let mut slots = Slots::default();
        let mut cx = Context::from_waker(Waker::noop());
        let (a, b) = (slots.open(), slots.open());
        assert!(slots.poll(a, &mut cx).is_pending());
        assert!(slots.resolve(a, 1).is_some());
        assert_eq!(slots.poll(a, &mut cx), Poll::Ready(Some(1)));
        slots.detach(b);
        assert!(slots.resolve(b, 2).is_none());
        let again = [slots.open(), slots.open()];
        assert!(again.contains(&a) && again.contains(&b));
        assert!(slots.resolve(NO_SLOT, 3).is_none());
    }
}
