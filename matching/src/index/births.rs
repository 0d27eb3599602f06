//! Since when somebody asks whether codes are *not* set: for who must tell what an event has not from
//! what nobody had asked about when the event was read.
//!
//! 1. Before an event is read, a reader notes the [`Moment`]: how many births there were. With what
//!    was born by then the event was read; that it has no other code says nothing of it.
//! 2. A code is born with the first entry that asks for its absence: when all that leads to the code
//!    from an event is in its place, and before the entry is. Who meets the entry knows of the birth.
//! 3. A birth stays until the number is another code's, which no reader holds by then
//!    (`super::epoch`).
//! 4. Where nothing was born since the moment, which is so nearly always, one load tells.
//!
//! What asks that something is so needs none of this: a code that is set is true.

use std::sync::atomic::{AtomicU64, Ordering};

use super::slots::Slots;

/// The births of the codes of one index.
pub(super) struct Births {
    count: AtomicU64,
    /// By code: with how many births it was born; 0 where nobody asked for its absence.
    by_code: Slots<AtomicU64>,
}

/// How many births there were when an event was going to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Births {
    pub(super) fn new() -> Births {
        Births { count: AtomicU64::new(0), by_code: Slots::new() }
    }

    /// The moment of a reader that is going to read an event.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.count.load(Ordering::Acquire))
    }

    /// Whether a code was born by then, of which an entry that was met asks for the absence.
    #[inline]
    pub(super) fn was_born(&self, code: u32, moment: Moment) -> bool {
        self.count.load(Ordering::Relaxed) == moment.0 || self.is_by(code, moment)
    }

    #[cold]
    fn is_by(&self, code: u32, moment: Moment) -> bool {
        self.by_code.get(code).is_some_and(|birth| birth.load(Ordering::Relaxed) <= moment.0)
    }

    /// The code will be born with the next birth. False if it was born already.
    pub(super) fn expect(&self, code: u32) -> bool {
        let birth = self.by_code.get_or_make(code);
        let is_new = birth.load(Ordering::Relaxed) == 0;
        if is_new {
            birth.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        is_new
    }

    /// Lets all be born that are expected.
    pub(super) fn bear(&self) {
        // There is one writer.
        let next = self.count.load(Ordering::Relaxed) + 1;
        self.count.store(next, Ordering::Release);
    }

    /// The number is another code's, which is not born yet.
    pub(super) fn forget(&self, code: u32) {
        if let Some(birth) = self.by_code.get(code) {
            birth.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_code.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_to_who_comes_after_its_birth() {
        let births = Births::new();
        assert_eq!(births.bytes(), 0, "nothing is kept where nobody asks");
        assert!(births.expect(70));
        let early = births.moment();
        births.bear();
        let late = births.moment();
        let known = |code, moments: &[Moment]| -> Vec<bool> {
            moments.iter().map(|moment| births.was_born(code, *moment)).collect()
        };
        assert_eq!(known(70, &[early, late]), [false, true]);
        assert!(!births.expect(70), "others ask for it as well");
        births.bear();
        assert_eq!(known(70, &[early, late, births.moment()]), [false, true, true]);
        births.forget(70);
        assert!(births.expect(70) && births.expect(71));
        births.bear();
        for code in [70, 71] {
            assert_eq!(known(code, &[early, late, births.moment()]), [false, false, true]);
        }
    }
}
