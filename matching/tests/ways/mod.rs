//! What tests of the index ask of it beside their own filters.

use std::sync::atomic::{AtomicBool, Ordering};

use fanal_matching::{Entries, EntryId, Index, Route, Selector, Topic};

use crate::generate::{Event, Generator};

/// The entries below this number stay while others come and go.
pub(crate) const STAYING: usize = 300;

/// What the index finds in all ways that it has, which must agree.
pub(crate) fn found(index: &Index<usize>, route: &mut Route<usize>, event: &Event) -> Vec<EntryId> {
    let (mut collected, mut listed) = (Vec::new(), Vec::new());
    index.collect(route, event, &mut collected);
    index.visit_lists(route, event, |entries| match entries {
        Entries::One(id) => listed.push(id),
        Entries::Many(list) => listed.extend(list.iter()),
    });
    let mut batches = vec![Vec::new(); 3];
    index.collect_batch(&[(&*route, event); 3], &mut batches);
    let mut all = [collected, listed].into_iter().chain(batches);
    let mut first = all.next().unwrap_or_default();
    first.sort_unstable();
    for mut other in all {
        other.sort_unstable();
        assert_eq!(other, first);
    }
    first
}

/// Those of the entries that stay which want the event are found, each once, in every match while
/// others come for a wave of rounds and go for one, four times.
pub(crate) fn are_found_once(
    index: &Index<usize>,
    (topic, asked, expected): (&Topic, &Event, &[usize]),
    generator: &mut Generator,
    selector: impl Fn(&mut Generator) -> Selector,
    wave: usize,
) {
    let done = AtomicBool::new(false);
    let read = || {
        let mut route = index.route(topic);
        while !done.load(Ordering::Relaxed) {
            let mut found = Vec::new();
            index.visit(&mut route, asked, |_, number| {
                if *number < STAYING {
                    found.push(*number);
                }
            });
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(read), scope.spawn(read)];
        let mut coming = Vec::new();
        for round in 0..8 * wave {
            // A reader that failed fails the test.
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
            let is_rising = (round / wave).is_multiple_of(2);
            if generator.percent(if is_rising { 95 } else { 5 }) {
                coming.push(index.insert(selector(generator), STAYING));
            } else if !coming.is_empty() {
                let at = generator.below(coming.len());
                index.remove(coming.swap_remove(at));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
