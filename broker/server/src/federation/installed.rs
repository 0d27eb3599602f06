//! What one peer asks for, as it is in the index.
//!
//! Invariants:
//! 1. Whatever an ask matches, an entry of the index matches that leads to the same place. While the
//!    index is full, asks share an entry that asks for more: a superset, since the receiver matches
//!    again.
//! 2. A wide entry is there before what it stands for goes, and goes when nothing needs it.
//! 3. An entry takes no room from what was promised to others, but for the few wide ones.

use std::collections::{BTreeMap, BTreeSet};

use fanal_core::ask::{AskError, parse_ask};
use fanal_core::home::Ask;
use fanal_matching::{EntryId, Index, IndexFull, Selector, TopicFilter};
use fanal_protocol::control::InterestEntry;

/// Wide entries that are tried to be replaced by narrow ones at a time.
const NARROW_STEPS: usize = 256;

/// The asks of a peer, by themselves or under a wider one.
#[derive(Default)]
pub(crate) struct Installed {
    asks: BTreeMap<InterestEntry, Option<EntryId>>,
    /// By class and topic filter.
    wide: BTreeMap<(u8, String), Wide>,
}

/// An entry that asks for all that its asks do, and more.
struct Wide {
    entry: EntryId,
    asks: BTreeSet<InterestEntry>,
}

/// Why an ask is not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// It cannot be read.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Not even a wide one has room.
    #[error(transparent)]
    Full(#[from] IndexFull),
}

impl Installed {
    /// How many asks there are.
    pub(crate) fn len(&self) -> usize {
        self.asks.len()
    }

    /// The asks.
    pub(crate) fn asks(&self) -> impl Iterator<Item = &InterestEntry> {
        self.asks.keys()
    }

    /// How many asks share an entry that asks for more.
    pub(crate) fn widened(&self) -> usize {
        self.wide.values().map(|wide| wide.asks.len()).sum()
    }

    /// Puts an ask, whose id is 0, into the index unless it is there.
    ///
    /// # Errors
    /// [`InstallError`]; nothing changed.
    pub(crate) fn install<D: Clone + Send + Sync>(
        &mut self,
        index: &Index<D>,
        target: &D,
        ask: InterestEntry,
    ) -> Result<(), InstallError> {
        if self.asks.contains_key(&ask) {
            return Ok(());
        }
        let selector = selector(&ask)?;
        let topic = selector.topic.clone();
        let entry = match index.try_insert(selector, target.clone()) {
            Ok(entry) => Some(entry),
            Err(_) => {
                self.widen(index, target, &ask, &topic)?;
                None
            }
        };
        self.asks.insert(ask, entry);
        Ok(())
    }

    fn widen<D: Clone + Send + Sync>(
        &mut self,
        index: &Index<D>,
        target: &D,
        ask: &InterestEntry,
        topic: &TopicFilter,
    ) -> Result<(), InstallError> {
        let key = (ask.class, wide_filter(topic));
        let wide = match self.wide.entry(key) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let selector = parse_ask(&place.key().1, None, None, &[])?.1;
                let entry = index.insert_promised(selector, target.clone())?;
                place.insert(Wide { entry, asks: BTreeSet::new() })
            }
        };
        wide.asks.insert(ask.clone());
        Ok(())
    }

    /// Takes an ask out of the index.
    pub(crate) fn withdraw<D: Clone + Send + Sync>(&mut self, index: &Index<D>, ask: &InterestEntry) {
        match self.asks.remove(ask) {
            Some(Some(entry)) => drop(index.remove(entry)),
            Some(None) => self.wide.retain(|_, wide| {
                let is_needed = !wide.asks.remove(ask) || !wide.asks.is_empty();
                if !is_needed {
                    index.remove(wide.entry);
                }
                is_needed
            }),
            None => {}
        }
    }

    /// Gives some of the asks that share a wide entry one of their own, as far as there is room now.
    pub(crate) fn narrow<D: Clone + Send + Sync>(&mut self, index: &Index<D>, target_of: impl Fn(u8) -> D) {
        for _ in 0..NARROW_STEPS {
            let Some(((class, _), wide)) = self.wide.first_key_value() else { return };
            let Some(ask) = wide.asks.first().cloned() else { return };
            let Ok(selector) = selector(&ask) else { return };
            let Ok(entry) = index.try_insert(selector, target_of(*class)) else { return };
            self.withdraw(index, &ask);
            self.asks.insert(ask, Some(entry));
        }
    }
}

/// A topic filter that matches whatever `topic` does: all, or all below a reserved first level, which
/// no wildcard matches.
fn wide_filter(topic: &TopicFilter) -> String {
    let text = topic.as_str();
    match text.split('/').next() {
        Some(first) if first.starts_with('$') => format!("{first}/#"),
        _ => "#".to_owned(),
    }
}

fn selector(entry: &InterestEntry) -> Result<Selector, AskError> {
    match parse_ask(&entry.filter, entry.predicate.as_deref(), entry.strict.as_deref(), &entry.except) {
        Err(error @ (AskError::Filter(_) | AskError::TwoPredicates)) => {
            tracing::warn!(filter = entry.filter, %error, "a peer's predicate cannot be read here: its ask is widened");
            parse_ask(&entry.filter, None, None, &entry.except).map(|(_, selector): (Ask, _)| selector)
        }
        parsed => parsed.map(|(_, selector)| selector),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fanal_matching::{Attributes, Topic, Value};
    use fanal_protocol::control::{INTEREST_DURABLE, INTEREST_LIVE};

    use super::*;

    fn ask(class: u8, filter: &str, n: usize) -> InterestEntry {
        let predicate = Some(format!("n = {n} AND s IN ('{n:02000}', 'x{n}')"));
        InterestEntry { class, filter: filter.to_owned(), predicate, ..InterestEntry::default() }
    }

    /// How often each class is found for an event.
    fn found(index: &Index<u8>, topic: &str, n: usize) -> BTreeMap<u8, usize> {
        let text = format!("x{n}");
        let event: Vec<(&str, Value<'_>)> = vec![("n", Value::Int(n as i64)), ("s", Value::Str(&text))];
        let mut classes = BTreeMap::new();
        let mut route = index.route(&Topic::parse(topic).unwrap());
        index.visit(&mut route, &event as &dyn Attributes, |_, class| {
            *classes.entry(*class).or_default() += 1
        });
        classes
    }

    #[test]
    fn what_finds_no_room_is_widened_and_narrowed_when_there_is_room() {
        let index = Index::with_bytes_max(0, 4 << 20);
        let mut installed = Installed::default();
        let classes = [INTEREST_DURABLE, INTEREST_LIVE];
        let filter = |n: usize| if n.is_multiple_of(9) { "$sys/a".to_owned() } else { format!("t/{n}") };
        let asks: Vec<_> = (0..1_400).map(|n| ask(classes[n % 2], &filter(n), n)).collect();
        for ask in &asks {
            installed.install(&index, &ask.class, ask.clone()).unwrap();
            installed.install(&index, &ask.class, ask.clone()).unwrap();
        }
        assert_eq!(installed.len(), asks.len());
        assert_eq!(installed.wide.len(), 4, "two classes, and a reserved level in each");
        let (widened, entries) = (installed.widened(), index.len());
        assert!(widened > 300 && entries == asks.len() - widened + 4, "{widened} of {entries}");
        for n in 0..asks.len() {
            assert!(found(&index, &filter(n), n).contains_key(&classes[n % 2]), "{n}: found or more");
        }
        assert_eq!(found(&index, "$other", 1).len(), 0, "what is reserved is not widened to all there is");
        // The first give their room to the last.
        asks[..800].iter().for_each(|ask| installed.withdraw(&index, ask));
        while installed.widened() > 0 {
            let before = installed.widened();
            installed.narrow(&index, |class| class);
            assert!(installed.widened() < before, "there is room for {before}");
        }
        assert_eq!((installed.wide.len(), installed.len(), index.len()), (0, 600, 600));
        for n in 0..asks.len() {
            let wanted = if n < 800 { BTreeMap::new() } else { BTreeMap::from([(classes[n % 2], 1)]) };
            assert_eq!(found(&index, &filter(n), n), wanted, "{n}");
        }
        asks.iter().for_each(|ask| installed.withdraw(&index, ask));
        assert_eq!((installed.len(), index.len()), (0, 0));
    }
}
