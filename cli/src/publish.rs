//! `fanal publish`: one event, or one per line of JSON.
//!
//! Invariants:
//! 1. Every event that was handed over is waited for; the exit code is 4 if one was refused.
//! 2. `--receipts` prints every line from 1, in order, refusals too.
//! 3. Memory is bounded: chunks of the input, the client's window, and a queue of receipts.
//! 4. After an event whose outcome is not known, or that ran out of time, nothing more is read:
//!    what follows a hole is the user's decision.
//!
//! Lines go: a thread reads and parses ([`crate::lines`], [`crate::ndjson`]) → a short queue of
//! batches → this task sends them and takes receipts in line order. No task per line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanal_client::{Client, PendingReceipt, PublishBuilder, PublishError, Receipt};
use futures::FutureExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::args::{Global, Publish};
use crate::exit::{Failure, Outcome};
use crate::lines::{Line, Lines};
use crate::ndjson::{Event, LineReader, Refusal, Template};
use crate::output::{Out, clean, grouped, note};
use crate::session;
use crate::stop::{Reason, Stop};

/// Longest line, in bytes; brokers take bodies of 1 MiB unless configured.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Batches between the thread that reads and the task that sends.
const BATCHES: usize = 4;
/// Lines sent and not reported yet, at most.
const WAITING_MAX: usize = 1 << 16;
/// Refusals shown on stderr where --receipts does not list them.
const REFUSALS_SHOWN: u64 = 10;

/// Runs the command.
pub(crate) async fn run(args: Publish, global: &Global, stop: &Stop) -> Outcome {
    match (&args.ndjson, &args.topic, &args.topic_of_one) {
        (Some(file), Some(topic), _) => {
            let template = Template::parse(topic).map_err(Failure::usage)?;
            let reader = LineReader::new(template, args.key.clone());
            let input = Input::open(file)?;
            let client = stop.guard(session::connect(global, "publish")).await?;
            Run::new(&client, &args, global, input.len).all(input, reader, stop).await
        }
        (_, _, Some(topic)) => stop.guard(one(topic, &args, global)).await,
        _ => Err(Failure::usage("a topic is needed: fanal publish TOPIC [PAYLOAD]")),
    }
}

async fn one(topic: &str, args: &Publish, global: &Global) -> Outcome {
    let payload = payload(args).await?;
    let client = session::connect(global, "publish").await?;
    let outcome = single(client.publish(topic), args, payload).await;
    let mut out = Out::lock();
    let printed = match &outcome {
        Ok(receipt) if args.receipts => out.json(&ReceiptLine::published(1, receipt)),
        Ok(receipt) => print_receipt(receipt, global.json, &mut out),
        Err(error) if args.receipts => {
            let (code, reason) = code_and_reason(error);
            out.json(&ReceiptLine {
                line: 1,
                id: args.id.as_deref(),
                code,
                sequence: None,
                reason: Some(&reason),
            })
        }
        Err(_) => Ok(()),
    };
    printed.and_then(|()| out.flush())?;
    let _ = client.close().await;
    outcome.map(drop).map_err(session::failure)
}

async fn single(
    mut publish: PublishBuilder<'_>,
    args: &Publish,
    payload: Bytes,
) -> Result<Receipt, PublishError> {
    publish = options(publish, args).payload(payload);
    for attribute in &args.attributes {
        if let Some(value) = &attribute.value {
            publish = publish.attr(&attribute.name, value.view());
        }
    }
    if let Some(id) = &args.id {
        publish = publish.id(id);
    }
    if let Some(source) = &args.source {
        publish = publish.source(source);
    }
    if let Some(time) = args.time {
        publish = publish.time(time);
    }
    if let Some(key) = &args.key {
        publish = publish.key(key);
    }
    if let Some(content_type) = &args.content_type {
        publish = publish.content_type(content_type);
    }
    publish.await
}

/// What is the same for one event and for many.
fn options<'a>(mut publish: PublishBuilder<'a>, args: &Publish) -> PublishBuilder<'a> {
    if args.best_effort {
        // With a receipt, so that the command ends after the broker has the event.
        publish = publish.best_effort().receipt();
        if args.receipts {
            publish = publish.receipt();
        }
    }
    match args.ttl {
        Some(ttl) => publish.ttl(ttl),
        None => publish,
    }
}

async fn payload(args: &Publish) -> Outcome<Bytes> {
    if let Some(text) = &args.payload {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    if let Some(file) = &args.file {
        let bytes = std::fs::read(file).map_err(|error| {
            Failure::failed(format!("cannot read the payload from {}: {error}", file.display()))
        })?;
        return Ok(bytes.into());
    }
    if !args.stdin {
        return Ok(Bytes::new());
    }
    // On a thread, so that signals and --timeout work while it waits.
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    });
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            Err(Failure::failed(format!("cannot read the payload from standard input: {error}")))
        }
        Err(error) => Err(Failure::failed(error)),
    }
}

fn print_receipt(receipt: &Receipt, json: bool, out: &mut Out) -> Outcome {
    if json {
        return out.json(&serde_json::json!({
            "id": receipt.id(),
            "code": receipt.code.number(),
            "destinations": receipt.destinations,
            "publisher": receipt.publisher().to_string(),
            "epoch": receipt.epoch().to_string(),
            "sequence": receipt.sequence,
        }));
    }
    let destinations = match receipt.code {
        fanal_protocol::Code::Durable => match receipt.destinations {
            1 => ", stored for 1 durable destination".to_owned(),
            count => format!(", stored for {count} durable destinations"),
        },
        _ => String::new(),
    };
    out.line(format_args!("{}{destinations}, id {}", receipt.code, clean(&receipt.id())))
}

/// `--receipts`: one line of stdout.
#[derive(Serialize)]
struct ReceiptLine<'a> {
    line: u64,
    id: Option<&'a str>,
    code: Option<u16>,
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// As [`ReceiptLine`], of an event that was published.
#[derive(Serialize)]
struct PublishedLine<'a> {
    line: u64,
    id: std::borrow::Cow<'a, str>,
    code: u16,
    sequence: u64,
}

impl ReceiptLine<'_> {
    fn published(line: u64, receipt: &Receipt) -> PublishedLine<'_> {
        PublishedLine { line, id: receipt.id(), code: receipt.code.number(), sequence: receipt.sequence }
    }
}

/// The code to report and the reason; no code where nobody refused.
fn code_and_reason(error: &PublishError) -> (Option<u16>, String) {
    match error {
        PublishError::Refused(refused) => (Some(refused.code.number()), refused.reason.clone()),
        PublishError::Invalid(error) => (Some(fanal_protocol::Code::Malformed.number()), error.to_string()),
        other => (None, other.to_string()),
    }
}

/// Where lines come from.
struct Input {
    name: String,
    reader: Box<dyn Read + Send>,
    /// In bytes, where it is known.
    len: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Outcome<Self> {
        if path.as_os_str() == "-" {
            return Ok(Input {
                name: "standard input".into(),
                reader: Box::new(std::io::stdin()),
                len: None,
            });
        }
        let name = path.display().to_string();
        let fail = |error: std::io::Error| Failure::failed(format!("cannot read {name}: {error}"));
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(Failure::failed(format!("{name} is a directory: name a file of JSON lines")));
        }
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Input { reader: Box::new(file), name, len })
    }
}

/// Lines that were read together.
struct Batch {
    lines: Vec<(u64, Result<Event, Refusal>)>,
    bytes: u64,
}

/// Reads and parses on a thread of its own. The thread ends at the end of the input, or when the
/// receiver is gone and the reader gives something.
fn read_in_thread(input: Input, reader: LineReader) -> Outcome<mpsc::Receiver<Result<Batch, String>>> {
    let (sender, receiver) = mpsc::channel(BATCHES);
    let work = move || {
        let Input { name, reader: source, .. } = input;
        let mut lines = Lines::new(source, LINE_BYTES_MAX);
        let mut number = 0;
        loop {
            let mut batch = Vec::new();
            let read = lines.read(|line| {
                number += 1;
                batch.push((number, parse(&reader, line)));
            });
            let message = match read {
                Ok(bytes) if bytes == 0 && batch.is_empty() => return,
                Ok(bytes) => Ok(Batch { lines: batch, bytes: bytes as u64 }),
                Err(error) => Err(format!(
                    "cannot read {name} after line {number}: {error}; what was read before is published"
                )),
            };
            let is_last = message.is_err();
            if sender.blocking_send(message).is_err() || is_last {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("ndjson".into()).spawn(work);
    thread.map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
    Ok(receiver)
}

fn parse(reader: &LineReader, line: Line<'_>) -> Result<Event, Refusal> {
    match line {
        Line::Whole(line) => reader.read(line),
        Line::TooLong => Err(Refusal {
            code: fanal_protocol::Code::TooLarge,
            reason: format!("the line is longer than {} bytes: split it", grouped(LINE_BYTES_MAX as u64)),
            id: None,
        }),
    }
}

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
struct Run<'a> {
    client: &'a Client,
    args: &'a Publish,
    json: bool,
    out: Option<Out>,
    bar: ProgressBar,
    waiting: VecDeque<Waiting>,
    counts: Counts,
    /// The first event that was neither published nor refused.
    failure: Option<Failure>,
    started: Instant,
}

impl<'a> Run<'a> {
    fn new(client: &'a Client, args: &'a Publish, global: &Global, len: Option<u64>) -> Self {
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
            failure: None,
            started: Instant::now(),
        }
    }

    async fn all(mut self, input: Input, reader: LineReader, stop: &Stop) -> Outcome {
        let batches = read_in_thread(input, reader)?;
        let ended = self.pump(batches, stop).await;
        self.bar.finish_and_clear();
        let printed = self.out.as_mut().map_or(Ok(()), Out::flush);
        let unknown = self.waiting.len() as u64;
        // Receipts are all here, or are not waited for any more.
        self.waiting.clear();
        if unknown == 0 {
            let _ = self.client.close().await;
        }
        self.summary(unknown)?;
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
                            (is_stopped, is_reading) = (true, false);
                        }
                        self.report_ready()?;
                    }
                },
            }
            is_reading &= self.failure.is_none();
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
            match sent {
                Ok(receipt) => {
                    self.waiting.push_back(Waiting { line, id: event.id, fate: Fate::Sent(receipt) });
                }
                Err(error) => match refusal(&error, event.id) {
                    Some(refusal) => self.waiting.push_back(Waiting::refused(line, refusal)),
                    None => {
                        self.counts.failed += 1;
                        self.fail(line, error);
                        return None;
                    }
                },
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
        self.out.as_mut().map_or(Ok(()), Out::flush)
    }

    fn on_published(&mut self, line: u64, receipt: &Receipt) -> Outcome {
        self.counts.published += 1;
        match &mut self.out {
            Some(out) => out.json(&ReceiptLine::published(line, receipt)),
            None => Ok(()),
        }
    }

    fn on_refused(&mut self, line: u64, refusal: &Refusal) -> Outcome {
        self.counts.refused += 1;
        let Refusal { code, reason, id } = refusal;
        if let Some(out) = &mut self.out {
            let code = Some(code.number());
            return out.json(&ReceiptLine {
                line,
                id: id.as_deref(),
                code,
                sequence: None,
                reason: Some(reason),
            });
        }
        if self.counts.refused <= REFUSALS_SHOWN {
            let text = clean(reason);
            self.bar.suspend(|| note(format_args!("fanal: line {line} refused with {code}: {text}")));
        }
        if self.counts.refused == REFUSALS_SHOWN {
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
        if let Some(out) = &mut self.out {
            let (code, reason) = code_and_reason(&error);
            out.json(&ReceiptLine { line, id: id.as_deref(), code, sequence: None, reason: Some(&reason) })?;
        }
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
                Err(Failure { kind: crate::exit::Kind::Refused, code: None, name: String::new(), message })
            }
        }
    }

    fn summary(&mut self, unknown: u64) -> Outcome {
        let Counts { published, refused, failed } = self.counts;
        let seconds = self.started.elapsed().as_secs_f64();
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
    let code = fanal_protocol::Code::from_number(code?)?;
    Some(Refusal { code, reason, id })
}

/// Waits until the fate of the first line in the queue can be told, without taking it.
async fn front(waiting: &mut VecDeque<Waiting>) {
    std::future::poll_fn(|cx| waiting.front_mut().map_or(Poll::Pending, |front| front.poll(cx))).await;
}

fn bar(len: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    let template = match len {
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
