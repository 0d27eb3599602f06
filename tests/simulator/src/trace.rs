//! What happened, line by line, and its hash.
//!
//! Invariant: the hash covers every line, whether or not lines are kept.

use std::fmt::{self, Write};

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    line: String,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; `keep`: the lines too.
    pub(crate) fn new(keep: bool) -> Self {
        Trace { hash: 0xcbf2_9ce4_8422_2325, line: String::new(), kept: keep.then(Vec::new) }
    }

    /// Adds a line of time `now_us`.
    pub(crate) fn add(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing into a string cannot fail.
        let _ = write!(self.line, "{:>6}.{:06} {what}", now_us / 1_000_000, now_us % 1_000_000);
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(self.line.clone());
        }
    }

    /// The hash of all lines.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, where they were kept.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.kept.unwrap_or_default()
    }
}
