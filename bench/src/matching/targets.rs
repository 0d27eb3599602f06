//! What the index is to reach, and whether it does.
//!
//! One place for the numbers. A target without its figure (another size was measured) is left out.

use super::figures::{Beside, Figures};

/// Subscriptions at which most targets are set.
const MILLION: u32 = 1_000_000;

/// Per family at a million subscriptions: median and p99 of an event, bytes per subscription, and
/// an insert or a remove.
const TARGETS: [(&str, f64, f64, f64, f64); 6] = [
    ("a", 25.0, 100.0, 120.0, 2.0),
    ("b", 12.0, 40.0, 100.0, 2.0),
    ("c", 120.0, 250.0, 64.0, 3.0),
    ("d", 1_000.0, 1_500.0, 120.0, 4.0),
    ("e", 25.0, 50.0, 12.0, 1.0),
    ("f", 5.0, 20.0, 120.0, 2.0),
];
/// 10 times the subscriptions cost at most so many times as much, in these families.
const GROWTH: f64 = 4.0;
const GROWING: [&str; 2] = ["a", "b"];
/// Subscriptions a second, by bulk load.
const LOAD_PER_SECOND: f64 = 500_000.0;
/// An event at 1,000 subscriptions of family a.
const SMALL_US: f64 = 2.0;
/// An event of family d in a batch, of family e as slices, of family f with a known topic.
const BATCH_US: f64 = 200.0;
const SLICES_US: f64 = 5.0;
const KNOWN_US: f64 = 1.0;
/// How much longer the longest match may be beside a writer.
const HELD_UP_US: f64 = 10.0;

/// A target with its figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) family: String,
    pub(super) what: String,
    pub(super) target: f64,
    pub(super) figure: f64,
    /// Whether the figure may be above the target, not below.
    is_floor: bool,
}

impl Judged {
    /// Whether the target is met.
    pub(super) fn is_met(&self) -> bool {
        if self.is_floor { self.figure >= self.target } else { self.figure <= self.target }
    }
}

/// All targets of the project's index that `cells` have a figure for.
pub(super) fn judge(cells: &[Figures], engine: &str) -> Vec<Judged> {
    let own: Vec<&Figures> = cells.iter().filter(|cell| cell.engine == engine && cell.wrong == 0).collect();
    let mut judged = Vec::new();
    for (family, median, p99, bytes, change) in TARGETS {
        let Some(cell) = find(&own, family, MILLION) else { continue };
        let mut add = |what: &str, target, figure: Option<f64>, is_floor| {
            let Some(figure) = figure else { return };
            judged.push(Judged {
                family: family.to_owned(),
                what: what.to_owned(),
                target,
                figure,
                is_floor,
            });
        };
        add("median, µs", median, cell.median_us, false);
        add("p99, µs", p99, cell.p99_us, false);
        add("bytes per subscription", bytes, cell.bytes_own.or(cell.bytes_per_subscription), false);
        add("insert, µs", change, cell.insert_us, false);
        add("remove, µs", change, cell.remove_us, false);
        add("load per second", LOAD_PER_SECOND, cell.load_per_second, true);
        let held_up = cell.beside.as_ref().map(Beside::held_up_us);
        add("held up by a writer, µs", HELD_UP_US, held_up, false);
        match family {
            "d" => add("in batches of 64, µs", BATCH_US, cell.batch_us, false),
            "e" => add("as slices, median µs", SLICES_US, cell.slices_median_us, false),
            "f" => add("known topic, median µs", KNOWN_US, cell.known_median_us, false),
            _ => {}
        }
        let before = find(&own, family, MILLION / 10).filter(|_| GROWING.contains(&family));
        let growth = before.and_then(|before| Some(cell.median_us? / before.median_us?));
        add("median at 1,000,000 by that at 100,000", GROWTH, growth, false);
    }
    let small = find(&own, "a", 1_000).and_then(|cell| cell.median_us);
    judged.extend(small.map(|figure| Judged {
        family: "a".to_owned(),
        what: "median at 1,000, µs".to_owned(),
        target: SMALL_US,
        figure,
        is_floor: false,
    }));
    judged
}

fn find<'f>(cells: &[&'f Figures], family: &str, subscriptions: u32) -> Option<&'f Figures> {
    cells.iter().copied().find(|cell| cell.family == family && cell.subscriptions == subscriptions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(subscriptions: u32, median_us: f64) -> Figures {
        Figures {
            family: "a".to_owned(),
            subscriptions,
            engine: "index".to_owned(),
            median_us: Some(median_us),
            load_per_second: Some(400_000.0),
            ..Figures::default()
        }
    }

    #[test]
    fn a_target_is_judged_by_its_own_cell_only() {
        let cells = [cell(1_000, 3.0), cell(100_000, 5.0), cell(1_000_000, 20.0)];
        let judged = judge(&cells, "index");
        let of = |what: &str| judged.iter().find(|judged| judged.what == what).map(Judged::is_met);
        assert_eq!(of("median, µs"), Some(true));
        assert_eq!(of("median at 1,000,000 by that at 100,000"), Some(true));
        assert_eq!(of("load per second"), Some(false));
        assert_eq!(of("median at 1,000, µs"), Some(false));
        assert_eq!(of("p99, µs"), None);
        assert!(judge(&cells, "scan").is_empty());
    }

    #[test]
    fn wrong_ids_meet_no_target() {
        let wrong = Figures { wrong: 1, ..cell(1_000_000, 1.0) };
        assert!(judge(&[wrong], "index").is_empty());
    }
}
