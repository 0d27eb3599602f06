//! Tests that are not bits or numbers: patterns, texts and times in order, whatever the normal
//! form does not open, and exclusions of topics.
//!
//! 1. Equal tests are one, with a number; an event is asked once (`Seen::answer`).
//! 2. A number comes back when no reader can hold it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::memory::{Leaving, Memory};
use super::slots::Slots;
use crate::normal::Condition;
use crate::topic::{Topic, TopicFilter};
use crate::value::Attributes;

/// What is asked of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Question {
    /// This must hold.
    Condition(Condition<'static>),
    /// None of these may match the topic.
    Except(Vec<TopicFilter>),
}

impl Question {
    pub(super) fn holds<A: Attributes + ?Sized>(&self, topic: &Topic, event: &A) -> bool {
        match self {
            Question::Condition(condition) => condition.holds(event),
            Question::Except(filters) => !filters.iter().any(|filter| filter.matches(topic)),
        }
    }
}

/// The reading side: questions by number.
pub(super) type Questions = Slots<ArcSwapOption<Question>>;

/// The writing side.
pub(super) struct Checks {
    numbers: HashMap<Arc<Question>, (u32, u32)>,
    free: Vec<u32>,
    end: u32,
}

impl Checks {
    pub(super) fn new() -> Checks {
        Checks { numbers: HashMap::new(), free: Vec::new(), end: 0 }
    }

    /// The number of a question, which is used once more.
    pub(super) fn use_question(&mut self, questions: &Questions, question: Question) -> u32 {
        if let Some((number, uses)) = self.numbers.get_mut(&question) {
            *uses += 1;
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.end += 1;
            self.end - 1
        });
        let question = Arc::new(question);
        questions.get_or_make(number).store(Some(Arc::clone(&question)));
        self.numbers.insert(question, (number, 1));
        number
    }

    /// One use more of a number that is in use.
    pub(super) fn use_again(&mut self, questions: &Questions, number: u32) {
        let question = questions.get(number).and_then(ArcSwapOption::load_full);
        if let Some((_, uses)) = question.and_then(|question| self.numbers.get_mut(&question)) {
            *uses += 1;
        }
    }

    /// One more than the greatest number.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// One use less; forgets the question with its last.
    pub(super) fn release(&mut self, memory: &mut Memory, questions: &Questions, number: u32) {
        let Some(question) = questions.get(number).and_then(ArcSwapOption::load_full) else { return };
        let Some((_, uses)) = self.numbers.get_mut(&question) else { return };
        *uses -= 1;
        if *uses == 0 {
            // Readers that hold the number may still ask: the slot keeps the question until then.
            self.numbers.remove(&question);
            memory.retire_thing(Leaving::Test(number));
        }
    }

    /// A number that no reader can hold any more.
    pub(super) fn take_back(&mut self, questions: &Questions, number: u32) {
        if let Some(slot) = questions.get(number) {
            slot.store(None);
        }
        self.free.push(number);
    }

    pub(super) fn bytes(&self) -> usize {
        self.numbers.capacity() * (size_of::<Arc<Question>>() + 9)
            + self.numbers.len() * (size_of::<Question>() + 64)
    }
}
