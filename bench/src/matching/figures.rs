//! What was measured in one cell: a family, a number of subscriptions, an engine.
//!
//! What could not be measured is `None`, never 0, and a cell without figures says why.

use serde::Serialize;

/// See the module. Times are in microseconds; of the processor where it is not said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The family's letter.
    pub family: String,
    /// Subscriptions that the engine holds.
    pub subscriptions: u32,
    /// The engine's name.
    pub engine: String,
    /// Events whose ids were compared with the oracle's, before and after the changes.
    pub checked: usize,
    /// Those of them whose ids were others: figures of such a cell are void.
    pub wrong: usize,
    /// Why the cell ended early.
    pub ended: Option<String>,
    /// Mean over the events of the oracle.
    pub matches_per_event: f64,
    /// Events measured in each run.
    pub events: usize,
    /// One event, after the load: medians over the runs.
    pub median_us: Option<f64>,
    /// The same, for 99 of 100 events.
    pub p99_us: Option<f64>,
    /// On the wall's clock.
    pub wall_median_us: Option<f64>,
    /// On the wall's clock.
    pub wall_p99_us: Option<f64>,
    /// One event, after inserts and removes.
    pub changed_median_us: Option<f64>,
    /// One event whose topic the engine has seen before (family f).
    pub known_median_us: Option<f64>,
    /// The same, for 99 of 100 events.
    pub known_p99_us: Option<f64>,
    /// One event of a batch of 64, in which all are looked for at once.
    pub batch_us: Option<f64>,
    /// One event, where ids are handed over as slices.
    pub slices_median_us: Option<f64>,
    /// Mean.
    pub insert_us: Option<f64>,
    /// Longest, on the wall's clock.
    pub insert_longest_us: Option<f64>,
    /// Mean.
    pub remove_us: Option<f64>,
    /// Longest, on the wall's clock.
    pub remove_longest_us: Option<f64>,
    /// Subscriptions per second of processor time, into an empty engine.
    pub load_per_second: Option<f64>,
    /// Heap that the engine took, while the filters that it may share are held elsewhere.
    pub bytes_per_subscription: Option<f64>,
    /// The same, with the filters that it keeps.
    pub bytes_with_filters: Option<f64>,
    /// What the engine says of itself.
    pub bytes_own: Option<f64>,
    /// Matching while a writer changes the engine.
    pub beside: Option<Beside>,
}

/// Matching alone, and beside a thread that inserts and removes without pause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// Inserts and removes per second meanwhile.
    pub changes_per_second: f64,
    /// Without the writer.
    pub alone: Longest,
    /// With it.
    pub with_writer: Longest,
}

/// How long matching one event took at most, on the wall's clock. Events during which the kernel gave
/// the processor to another thread are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Longest {
    /// Events that count.
    pub events: usize,
    /// Events that were left out.
    pub preempted: usize,
    /// Half of them.
    pub median_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// All of them.
    pub longest_us: f64,
}

impl Beside {
    /// How much longer the longest match was beside the writer, at least 0.
    pub fn held_up_us(&self) -> f64 {
        (self.with_writer.longest_us - self.alone.longest_us).max(0.0)
    }
}

impl Figures {
    /// Whether the ids were right and every phase came to its end.
    pub fn hold(&self) -> bool {
        self.wrong == 0 && self.checked > 0 && self.ended.is_none()
    }
}
