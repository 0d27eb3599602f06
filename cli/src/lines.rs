//! Lines of a file or of standard input, without ever holding more than one chunk of them.
//!
//! Invariants:
//! 1. Every line is handed out once, in order, without its newline (`\n` or `\r\n`); a last
//!    line without newline counts.
//! 2. A line longer than the limit is reported as such and stepped over; memory stays bounded.
//! 3. What has arrived is handed out before more is waited for, so that a slow pipe is no delay.

use std::io::{self, Read};

/// What is read at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// One line, or what stands for one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than the limit.
    TooLong,
}

/// Splits a reader into lines.
pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold the beginning of a line that is not complete.
    kept: usize,
    line_bytes_max: usize,
    /// In the middle of a line that is too long.
    is_skipping: bool,
    is_at_end: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `line_bytes_max` bytes.
    pub(crate) fn new(reader: R, line_bytes_max: usize) -> Self {
        Lines {
            reader,
            buffer: vec![0; CHUNK_BYTES],
            kept: 0,
            line_bytes_max,
            is_skipping: false,
            is_at_end: false,
        }
    }

    /// Reads once and hands out the lines that this completes; gives the number of bytes read,
    /// 0 at the end. O(bytes).
    ///
    /// # Errors
    /// The reader's; what was handed out stays handed out.
    pub(crate) fn read(&mut self, mut line: impl FnMut(Line<'_>)) -> io::Result<usize> {
        if self.is_at_end {
            return Ok(0);
        }
        if self.kept == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let count = loop {
            match self.reader.read(&mut self.buffer[self.kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let end = self.kept + count;
        let mut start = 0;
        let mut from = self.kept;
        while let Some(at) = self.buffer[from..end].iter().position(|&byte| byte == b'\n') {
            self.hand_out(start, from + at, &mut line);
            start = from + at + 1;
            from = start;
        }
        if count == 0 {
            self.is_at_end = true;
            if start < end || self.is_skipping {
                self.hand_out(start, end, &mut line);
            }
            self.kept = 0;
            return Ok(0);
        }
        self.keep(start, end);
        Ok(count)
    }

    fn hand_out(&mut self, start: usize, end: usize, line: &mut impl FnMut(Line<'_>)) {
        let bytes = &self.buffer[start..end];
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if std::mem::take(&mut self.is_skipping) || bytes.len() > self.line_bytes_max {
            line(Line::TooLong);
        } else {
            line(Line::Whole(bytes));
        }
    }

    fn keep(&mut self, start: usize, end: usize) {
        // One more byte than a line may have: it could be the `\r` before the newline.
        if self.is_skipping || end - start > self.line_bytes_max + 1 {
            self.is_skipping = true;
            self.kept = 0;
            return;
        }
        self.buffer.copy_within(start..end, 0);
        self.kept = end - start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes a read.
    struct Steps<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Steps<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(self.bytes.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes = &self.bytes[count..];
            Ok(count)
        }
    }

    fn split(bytes: &[u8], step: usize, max: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(Steps { bytes, step }, max);
        let mut out = Vec::new();
        let mut push = |line: Line<'_>| {
            out.push(match line {
                Line::Whole(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        };
        while lines.read(&mut push).unwrap() > 0 {}
        assert_eq!(lines.read(&mut push).unwrap(), 0);
        out
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let whole = |text: &str| Some(text.as_bytes().to_vec());
        let cases: [(&str, Vec<Option<Vec<u8>>>); 6] = [
            ("", vec![]),
            ("a\n", vec![whole("a")]),
            ("a\r\n\nb", vec![whole("a"), whole(""), whole("b")]),
            ("\n", vec![whole("")]),
            ("12345678\r\n123456789\nx\n", vec![whole("12345678"), None, whole("x")]),
            ("1234567890123", vec![None]),
        ];
        for (text, expected) in cases {
            for step in [1, 2, 3, 100] {
                assert_eq!(split(text.as_bytes(), step, 8), expected, "{text:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn a_line_may_be_longer_than_a_chunk() {
        let long = vec![b'x'; 3 * CHUNK_BYTES];
        let mut text = long.clone();
        text.extend_from_slice(b"\nend");
        assert_eq!(split(&text, 1 << 20, 1 << 20), [Some(long), Some(b"end".to_vec())]);
        assert_eq!(split(&text, 1 << 20, 1000), [None, Some(b"end".to_vec())]);
    }
}
