//! The plain scan: every filter, parsed before, is evaluated for every event.

use std::sync::{PoisonError, RwLock};

use fanal_matching::Selector;

use super::{Engine, Matcher, Refusal};
use crate::matching::asked::Asked;
use crate::matching::event::{Event, Schema};

/// Selectors by id.
pub(in crate::matching) struct Scan(RwLock<Vec<Option<Selector>>>);

/// Reads what the [`Scan`] holds.
pub(in crate::matching) struct ScanMatcher<'e> {
    scan: &'e Scan,
    found: Vec<u32>,
}

impl Scan {
    fn set(&self, id: u32, selector: Option<Selector>) {
        let mut selectors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = id as usize;
        if selectors.len() <= place {
            selectors.resize(place + 1, None);
        }
        selectors[place] = selector;
    }
}

impl Engine for Scan {
    type Subscription = Selector;
    type Matcher<'e> = ScanMatcher<'e>;
    const IS_CONCURRENT: bool = false;

    fn new(_schema: &Schema) -> Result<Self, Refusal> {
        Ok(Scan(RwLock::new(Vec::new())))
    }

    fn prepare(asked: &Asked) -> Result<Selector, Refusal> {
        Ok(asked.selector())
    }

    fn insert(&self, id: u32, selector: Selector) -> Result<(), Refusal> {
        self.set(id, Some(selector));
        Ok(())
    }

    fn remove(&self, id: u32) -> Result<(), Refusal> {
        self.set(id, None);
        Ok(())
    }

    fn matcher(&self) -> ScanMatcher<'_> {
        ScanMatcher { scan: self, found: Vec::new() }
    }
}

impl Matcher for ScanMatcher<'_> {
    fn find(&mut self, event: &Event) -> Result<(), Refusal> {
        self.found.clear();
        let selectors = self.scan.0.read().unwrap_or_else(PoisonError::into_inner);
        for (id, selector) in (0..).zip(selectors.iter()) {
            if selector.as_ref().is_some_and(|selector| selector.matches(&event.topic, event)) {
                self.found.push(id);
            }
        }
        Ok(())
    }

    fn found(&self) -> usize {
        self.found.len()
    }

    fn ids(&self) -> Vec<u32> {
        self.found.clone()
    }
}
