//! Many events: sending lines and reporting what became of each, in line order.
//!
//! Invariants:
//! 1. Memory is bounded by the client's window and [`WAITING_MAX`].
//! 2. After an event whose outcome is not known, or that ran out of time, nothing more is read:
//!    what follows a hole is the user's decision.
//! 3. That nobody reads the receipts any more does not stop publishing.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use fanal_client::{Client, PendingReceipt, PublishError, Receipt};
use fanal_protocol::Code;
use futures::FutureExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::input::{Batch, Input, read_in_thread};
use super::options;
use super::receipt::{PublishedLine, RefusedLine, code_and_reason};
use crate::args::{Global, Publish};
use crate::exit::{Failure, Kind, Outcome};
use crate::ndjson::{LineReader, Refusal};
use crate::output::{Out, clean, grouped, note};
use crate::session;
use crate::stop::{Reason, Stop};

/// Lines sent and not reported yet, at most.
const WAITING_MAX: usize = 1 << 16;
/// Refusals shown on stderr where --receipts does not list them.
const REFUSALS_SHOWN: u64 = 10;

/// Columns of a terminal below which the bar's line would not fit.
const NARROW: usize = 70;

/// A line whose fate is not reported yet.
struct Waiting {
    line: u64,
    /// The event's id, where it has one of its own.
    id: Option<String>,
    fate: Fate,
}

enum Fate {
    Sent(PendingReceipt),
    Told(Result<Receipt, PublishError>),
    Refused(Refusal),
}

impl Waiting {
    fn refused(line: u64, refusal: Refusal) -> Self {
        Waiting { line, id: None, fate: Fate::Refused(refusal) }
    }

    /// Whether its fate is known; asks to be woken if not.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Fate::Sent(receipt) = &mut self.fate {
            self.fate = Fate::Told(ready!(receipt.poll_unpin(cx)));
        }
        Poll::Ready(())
    }
}

#[derive(Default)]
struct Counts {
    published: u64,
    refused: u64,
    /// Neither published nor refused: unknown, or out of time.
    failed: u64,
}

/// One run over many lines.
pub(super) struct Run<'a> {
    client: &'a Client,
    args: &'a Publish,
    json: bool,
    out: Option<Out>,
    bar: ProgressBar,
    waiting: VecDeque<Waiting>,
    counts: Counts,
    /// An event could not be sent; what became of it is reported in its turn.
    has_hole: bool,
    /// The first event that was neither published nor refused.
    failure: Option<Failure>,
    /// The last line that was handed over or refused.
    last_line: u64,
    /// A signal ended the reading; not set where there was nothing more to read.
    is_interrupted: bool,
    started: Instant,
}

impl<'a> Run<'a> {
    pub(super) fn new(client: &'a Client, args: &'a Publish, global: &Global, len: Option<u64>) -> Self {
        use std::io::IsTerminal;
        let is_in_the_way = args.receipts && std::io::stdout().is_terminal();
        Run {
            client,
            args,
            json: global.json,
            out: args.receipts.then(Out::lock),
            bar: if is_in_the_way { ProgressBar::hidden() } else { bar(len) },
            waiting: VecDeque::new(),
            counts: Counts::default(),
            has_hole: false,
            failure: None,
            last_line: 0,
            is_interrupted: false,
            started: Instant::now(),
        }
    }

    pub(super) async fn all(mut self, input: Input, reader: LineReader, stop: &Stop) -> Outcome {
        let batches = read_in_thread(input, reader)?;
        let ended = self.pump(batches, stop).await;
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        let printed = self.flush();
        let unknown = self.waiting.len() as u64;
        // Receipts are all here, or are not waited for any more.
        self.waiting.clear();
        if unknown == 0 {
            let _ = self.client.close().await;
        }
        self.summary(seconds, unknown)?;
        printed.and(ended)?;
        match self.failure {
            Some(failure) => Err(failure),
            None => self.refusals(),
        }
    }

    /// Sends and takes receipts until both are done, or it must end.
    async fn pump(&mut self, mut batches: mpsc::Receiver<Result<Batch, String>>, stop: &Stop) -> Outcome {
        let stopping = stop.reason();
        tokio::pin!(stopping);
        let mut is_reading = true;
        let mut is_stopped = false;
        let mut read_failure = None;
        while is_reading || !self.waiting.is_empty() {
            let has_room = self.waiting.len() < WAITING_MAX;
            tokio::select! {
                biased;
                reason = &mut stopping, if !is_stopped => {
                    if let Reason::Timeout(_) = reason {
                        return Err(reason.into_failure());
                    }
                    self.is_interrupted = is_reading && has_more(&mut batches);
                    (is_stopped, is_reading) = (true, false);
                }
                () = front(&mut self.waiting), if !self.waiting.is_empty() => self.report_ready()?,
                batch = batches.recv(), if is_reading && has_room => match batch {
                    None => is_reading = false,
                    Some(Err(error)) => {
                        read_failure = Some(Failure::failed(error));
                        is_reading = false;
                    }
                    Some(Ok(batch)) => {
                        if let Some(reason) = self.send(batch, &mut stopping, is_stopped).await {
                            if let Reason::Timeout(_) = reason {
                                return Err(reason.into_failure());
                            }
                            (is_stopped, is_reading, self.is_interrupted) = (true, false, true);
                        }
                        self.report_ready()?;
                    }
                },
            }
            is_reading &= self.failure.is_none() && !self.has_hole;
        }
        read_failure.map_or(Ok(()), Err)
    }

    /// Hands a batch over; a reason to end interrupts it.
    async fn send(
        &mut self,
        batch: Batch,
        stopping: &mut (impl Future<Output = Reason> + Unpin),
        is_stopped: bool,
    ) -> Option<Reason> {
        for (line, event) in batch.lines {
            let event = match event {
                Ok(event) => event,
                Err(refusal) => {
                    self.last_line = line;
                    self.waiting.push_back(Waiting::refused(line, refusal));
                    continue;
                }
            };
            let mut publish = options(self.client.publish(&event.topic), self.args).encoded(event.body);
            if let Some(id) = &event.id {
                publish = publish.id(id);
            }
            let sent = tokio::select! {
                biased;
                sent = publish.send() => sent,
                reason = &mut *stopping, if !is_stopped => return Some(reason),
            };
            self.last_line = line;
            let is_hole = sent.as_ref().is_err_and(|error| refusal(error, None).is_none());
            let fate = sent.map_or_else(|error| Fate::Told(Err(error)), Fate::Sent);
            self.waiting.push_back(Waiting { line, id: event.id, fate });
            if is_hole {
                self.has_hole = true;
                return None;
            }
        }
        self.bar.inc(batch.bytes);
        None
    }

    /// Reports, from the front, every line whose fate is known.
    fn report_ready(&mut self) -> Outcome {
        let mut cx = Context::from_waker(Waker::noop());
        while self.waiting.front_mut().is_some_and(|front| front.poll(&mut cx).is_ready()) {
            let Some(Waiting { line, id, fate }) = self.waiting.pop_front() else { break };
            match fate {
                Fate::Told(Ok(receipt)) => self.on_published(line, &receipt)?,
                Fate::Told(Err(error)) => self.on_error(line, id, error)?,
                Fate::Refused(refusal) => self.on_refused(line, &refusal)?,
                // Only what is told comes here.
                Fate::Sent(_) => {}
            }
        }
        self.flush()
    }

    fn print(&mut self, line: &impl Serialize) -> Outcome {
        let printed = self.out.as_mut().map_or(Ok(()), |out| out.json(line));
        self.forgive(printed)
    }

    fn flush(&mut self) -> Outcome {
        let flushed = self.out.as_mut().map_or(Ok(()), Out::flush);
        self.forgive(flushed)
    }

    /// That the reader of the receipts went away is no reason to stop publishing.
    fn forgive(&mut self, written: Outcome) -> Outcome {
        match written {
            Err(failure) if failure.kind == Kind::Quiet => {
                self.out = None;
                Ok(())
            }
            other => other,
        }
    }

    fn on_published(&mut self, line: u64, receipt: &Receipt) -> Outcome {
        self.counts.published += 1;
        self.print(&PublishedLine::new(line, receipt))
    }

    fn on_refused(&mut self, line: u64, refusal: &Refusal) -> Outcome {
        self.counts.refused += 1;
        let Refusal { code, reason, id } = refusal;
        if self.args.receipts {
            return self.print(&RefusedLine::new(line, id.as_deref(), Some(code.number()), reason));
        }
        if self.counts.refused <= REFUSALS_SHOWN {
            let shown = match self.json {
                true => RefusedLine::new(line, id.as_deref(), Some(code.number()), reason).to_string(),
                false => format!("fanal: line {line} refused with {code}: {}", clean(reason)),
            };
            self.bar.suspend(|| note(format_args!("{shown}")));
        }
        if self.counts.refused == REFUSALS_SHOWN && !self.json {
            self.bar.suspend(|| {
                note(format_args!("fanal: further refusals are only counted: --receipts lists each"))
            });
        }
        Ok(())
    }

    fn on_error(&mut self, line: u64, id: Option<String>, error: PublishError) -> Outcome {
        if let Some(refusal) = refusal(&error, id.clone()) {
            return self.on_refused(line, &refusal);
        }
        self.counts.failed += 1;
        let (code, reason) = code_and_reason(&error);
        self.print(&RefusedLine::new(line, id.as_deref(), code, &reason))?;
        self.fail(line, error);
        Ok(())
    }

    fn fail(&mut self, line: u64, error: PublishError) {
        if self.failure.is_none() {
            let mut failure = session::failure(error);
            failure.message = format!("line {line}: {}; nothing was read after that", failure.message);
            self.failure = Some(failure);
        }
    }

    fn refusals(&self) -> Outcome {
        match self.counts.refused {
            0 => Ok(()),
            count => {
                let lines = if count == 1 {
                    "1 line was".to_owned()
                } else {
                    format!("{} lines were", grouped(count))
                };
                let message = format!("{lines} refused; all others are published");
                Err(Failure { kind: Kind::Refused, code: None, name: String::new(), message })
            }
        }
    }

    fn summary(&mut self, seconds: f64, unknown: u64) -> Outcome {
        let Counts { published, refused, failed } = self.counts;
        let rate = if seconds > 0.0 { published as f64 / seconds } else { 0.0 };
        let failed = failed + unknown;
        if self.json {
            let summary = serde_json::json!({
                "published": published, "refused": refused, "without_receipt": failed,
                "seconds": seconds, "events_per_second": rate.round(),
            });
            if self.args.receipts {
                note(format_args!("{summary}"));
                return Ok(());
            }
            let mut out = Out::lock();
            out.json(&summary)?;
            return out.flush();
        }
        let without = match failed {
            0 => String::new(),
            count => format!("{} without a receipt, ", grouped(count)),
        };
        if self.is_interrupted {
            note(format_args!("ended early: nothing was published after line {}", grouped(self.last_line)));
        }
        note(format_args!(
            "{} published, {} refused, {without}{seconds:.2} s, {} events/s",
            grouped(published),
            grouped(refused),
            grouped(rate as u64),
        ));
        Ok(())
    }
}

/// A refusal of this event alone, if the error is one.
fn refusal(error: &PublishError, id: Option<String>) -> Option<Refusal> {
    let (code, reason) = code_and_reason(error);
    let code = Code::from_number(code?)?;
    Some(Refusal { code, reason, id })
}

/// Whether lines are left to hand over, or the input has not ended yet.
fn has_more(batches: &mut mpsc::Receiver<Result<Batch, String>>) -> bool {
    !matches!(batches.try_recv(), Err(TryRecvError::Disconnected))
}

/// Waits until the fate of the first line in the queue can be told, without taking it.
async fn front(waiting: &mut VecDeque<Waiting>) {
    std::future::poll_fn(|cx| waiting.front_mut().map_or(Poll::Pending, |front| front.poll(cx))).await;
}

fn bar(len: Option<u64>) -> ProgressBar {
    if !crate::style::can_redraw_stderr() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    let template = match len {
        _ if crate::style::stderr_columns().is_some_and(|columns| columns < NARROW) => "{bytes}  {elapsed}",
        Some(_) => "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
        None => "{spinner} {bytes}  {bytes_per_sec}  {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if len.is_none() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_input_that_is_left_is_cut_off() {
        let (sender, mut batches) = mpsc::channel(2);
        assert!(has_more(&mut batches), "it is still being read");
        sender.try_send(Ok(Batch { lines: Vec::new(), bytes: 1 })).ok().unwrap();
        drop(sender);
        assert!(has_more(&mut batches), "the last batch was not handed over");
        assert!(!has_more(&mut batches), "it was read to its end");
    }
}
