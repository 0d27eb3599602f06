//! What commands print: results on a locked, buffered stdout, everything else on stderr.
//!
//! Invariants:
//! 1. Nothing counts as printed before [`Out::flush`] came back.
//! 2. Text that came from elsewhere reaches a terminal without its control characters.
//! 3. Nothing here panics when a reader goes away.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::exit::{Failure, Outcome};

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

/// Text without control characters: they are shown as escapes.
pub(crate) fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(|c| c.is_control()) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out.into()
}

/// Rows in aligned columns; columns of numbers stand right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Table { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| clean(&cell.into()).into_owned()).collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    /// The lines, header first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let all = || std::iter::once(&self.header).chain(&self.rows);
        let columns = 0..self.header.len();
        let widths: Vec<usize> = columns
            .clone()
            .map(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let is_right: Vec<bool> = columns
            .map(|column| {
                let mut cells =
                    self.rows.iter().map(|row| row[column].as_str()).filter(|cell| !cell.is_empty());
                let number = |cell: &str| cell == "-" || cell.replace([',', '.'], "").parse::<u64>().is_ok();
                !self.rows.is_empty() && cells.all(number)
            })
            .collect();
        all().map(|row| line(row, &widths, &is_right)).collect()
    }
}

fn line(row: &[String], widths: &[usize], is_right: &[bool]) -> String {
    let mut out = String::new();
    for (index, cell) in row.iter().enumerate() {
        let width = widths[index];
        if index > 0 {
            out.push_str("  ");
        }
        // Writing into a string cannot fail.
        let _ = match is_right[index] {
            true => write!(out, "{cell:>width$}"),
            false => write!(out, "{cell:<width$}"),
        };
    }
    out.truncate(out.trim_end().len());
    out
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
    fn columns_are_aligned_and_numbers_stand_right() {
        let mut table = Table::new(["name", "events"]);
        table.row(["late", "1,204"]);
        table.row(["a-longer-name", "7"]);
        assert_eq!(
            table.lines(),
            ["name           events", "late            1,204", "a-longer-name       7"]
        );
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(clean("plain é"), "plain é");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
