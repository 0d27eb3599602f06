//! What commands print: results on a locked, buffered stdout, everything else on stderr.
//!
//! Invariants:
//! 1. Nothing counts as printed before [`Out::flush`] came back.
//! 2. Text that came from elsewhere reaches a terminal without its control characters.
//! 3. Nothing here panics when a reader goes away.

mod table;

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::exit::{Failure, Outcome};

pub(crate) use table::Table;

/// Standard output, locked and buffered.
pub(crate) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// Locks standard output; nobody else prints there meanwhile.
    pub(crate) fn lock() -> Self {
        Out(BufWriter::with_capacity(64 * 1024, io::stdout().lock()))
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) -> Outcome {
        self.0.write_fmt(text).and_then(|()| self.0.write_all(b"\n")).map_err(|error| Failure::stdout(&error))
    }

    /// A line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Outcome {
        serde_json::to_writer(&mut self.0, value)
            .map_err(io::Error::from)
            .and_then(|()| self.0.write_all(b"\n"))
            .map_err(|error| Failure::stdout(&error))
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.0.write_all(bytes).map_err(|error| Failure::stdout(&error))
    }

    /// Hands everything to the reader.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.0.flush().map_err(|error| Failure::stdout(&error))
    }
}

/// A line on standard error; that nobody reads it is no error.
pub(crate) fn note(text: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}

/// What a terminal would act on instead of showing it: control characters, and those that turn the
/// direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text without control characters: they are shown as escapes.
pub(crate) fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_unsafe(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out.into()
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(clean("plain é"), "plain é");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
