//! Reading and parsing lines on a thread of their own.
//!
//! Invariant: memory is bounded: one chunk of the input and a few batches of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use fanal_protocol::Code;
use tokio::sync::mpsc;

use crate::exit::{Failure, Outcome, io_reason};
use crate::lines::{Line, Lines};
use crate::ndjson::{Event, LineReader, Refusal};
use crate::output::grouped;

/// Longest line, in bytes; brokers take bodies of 1 MiB unless configured.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 20;
/// Batches between the thread that reads and the task that sends.
const BATCHES: usize = 4;

/// Where lines come from.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) reader: Box<dyn Read + Send>,
    /// In bytes, where it is known.
    pub(crate) len: Option<u64>,
}

impl Input {
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        if path.as_os_str() == "-" {
            return Ok(Input {
                name: "standard input".into(),
                reader: Box::new(std::io::stdin()),
                len: None,
            });
        }
        let name = path.display().to_string();
        let fail = |error: std::io::Error| Failure::io(format_args!("cannot read {name}"), &error);
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
pub(super) struct Batch {
    /// With their numbers, from 1.
    pub(super) lines: Vec<(u64, Result<Event, Refusal>)>,
    pub(super) bytes: u64,
}

/// Reads and parses on a thread of its own. The thread ends at the end of the input, or when the
/// receiver is gone and the reader gives something.
pub(super) fn read_in_thread(
    input: Input,
    reader: LineReader,
) -> Outcome<mpsc::Receiver<Result<Batch, String>>> {
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
                    "cannot read {name} after line {number}: {}; what was read before is published",
                    io_reason(&error)
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
            code: Code::TooLarge,
            reason: format!("the line is longer than {} bytes: split it", grouped(LINE_BYTES_MAX as u64)),
            id: None,
        }),
    }
}
