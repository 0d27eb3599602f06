//! What operators ask of dead letters, and of mailboxes as they are, on the log writer.

use fanal_core::home::Selection;
use fanal_store::{Batch, MailboxSequence};

use super::{LogWriter, store_id};
use crate::log::request::{Kept, LogError, Output};

impl LogWriter {
    /// Dead letters go back to the end of their mailboxes.
    pub(super) fn requeue(&mut self, wanted: &Selection, batch: &mut Batch) -> Result<Output, LogError> {
        let (requeued, mut events) = (self.home.requeue(wanted)?, 0);
        let Some(letters) = self.home.dead_letters() else { return Ok(Output::Count(0)) };
        for back in requeued {
            let (first, last) = back.range;
            events += last - first + 1;
            self.limits.on_requeued(&self.home, letters, &back);
            let at = MailboxSequence(back.first);
            let removal = batch.transfer(store_id(letters), first..=last, store_id(back.to), at);
            self.moved.extend(removal.map(|removal| (removal, Some(back))));
        }
        Ok(Output::Count(events))
    }

    pub(super) fn drop_letters(&mut self, wanted: &Selection, batch: &mut Batch) -> Output {
        let Some(letters) = self.home.dead_letters() else { return Output::Count(0) };
        let chosen: Vec<_> = self.home.select(wanted).into_iter().map(|(range, _)| range).collect();
        let mut events = 0;
        for range in chosen {
            events += range.end() - range.start() + 1;
            self.home.forget_letters(*range.start(), *range.end());
            let removal = batch.acked(store_id(letters), range);
            self.moved.extend(removal.map(|removal| (removal, None)));
        }
        Output::Count(events)
    }

    pub(super) fn inspect(&self) -> Output {
        let kept = |id| Kept {
            keep: self.home.keep(id),
            limits: self.limits.bounds().limits(&self.home, id),
            losses: self.home.losses(id),
        };
        Output::Kept(self.home.mailboxes().map(|id| (id, kept(id))).collect())
    }
}
