//! Mistakes of the log writer that tests must notice; see `fanal_store::mutant`.

use fanal_store::Store;
use fanal_store::mutant::{Mutant, is};

use crate::log::request::LogRequest;

/// Whether these requests are answered before they are written.
pub(super) fn answers_first(requests: &[LogRequest]) -> bool {
    // The answers to others tell what was committed.
    let are_publishes = requests.iter().all(|request| matches!(request, LogRequest::Publish { .. }));
    is(Mutant::AckBeforeCommit) && are_publishes
}

/// Whether state goes into a batch of its own before the one that it belongs to.
pub(super) fn takes_state_first() -> bool {
    is(Mutant::StateBeforeRecord)
}

/// Commits a state record alone. A store that stops says so at the next commit.
pub(super) fn commit(store: &mut Store, record: &[u8]) {
    let mut batch = store.batch();
    batch.state(record);
    let _ = store.commit(batch);
}
