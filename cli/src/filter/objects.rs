//! JSON objects out of lines: one a line, or one over many lines as people and editors set them.
//!
//! Invariants:
//! 1. Every byte that is no blank line belongs to exactly one piece; pieces come in order, each as soon
//!    as its last line has come.
//! 2. A line that begins with `{` begins a piece, so that an object that is not closed takes nothing
//!    with it.
//! 3. Braces within strings do not count. Whether a piece is an object its reader says.

/// Joins lines to pieces.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    held: Vec<u8>,
    /// Braces and brackets that are open at the end of what is held.
    depth: usize,
}

impl Objects {
    /// Takes a line, and hands out the pieces that it completes. O(bytes).
    ///
    /// # Errors
    /// Those of `piece`; what was held is gone.
    pub(crate) fn push<E>(
        &mut self,
        line: &[u8],
        mut piece: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if line.starts_with(b"{") {
            self.end(&mut piece)?;
        }
        if self.held.is_empty() && line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.depth = depth_after(self.depth, line);
        if !self.held.is_empty() {
            self.held.push(b'\n');
        }
        self.held.extend_from_slice(line);
        if self.depth > 0 { Ok(()) } else { self.end(piece) }
    }

    /// Hands out what is held: nothing more comes, or what comes does not belong to it.
    ///
    /// # Errors
    /// Those of `piece`; what was held is gone.
    pub(crate) fn end<E>(&mut self, mut piece: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.depth = 0;
        match std::mem::take(&mut self.held) {
            held if held.is_empty() => Ok(()),
            held => piece(&held),
        }
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

fn depth_after(mut depth: usize, line: &[u8]) -> usize {
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<String> {
        let (mut objects, mut out) = (Objects::default(), Vec::new());
        let mut piece = |bytes: &[u8]| {
            out.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok::<(), ()>(())
        };
        for line in text.lines() {
            objects.push(line.as_bytes(), &mut piece).unwrap();
        }
        objects.end(&mut piece).unwrap();
        out
    }

    #[test]
    fn objects_are_the_same_on_one_line_and_on_many() {
        assert_eq!(pieces("{\"a\":1}\n\n{\"b\":2}\n"), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(pieces("{\n  \"a\": {\n  }\n}\n{\"b\":2}"), ["{\n  \"a\": {\n  }\n}", "{\"b\":2}"]);
        assert_eq!(pieces("{\"a\":\"}{\\\"{\"}\n{}"), ["{\"a\":\"}{\\\"{\"}", "{}"]);
    }

    #[test]
    fn what_is_no_object_takes_nothing_with_it() {
        assert_eq!(pieces("{\"a\":1\n{\"b\":2}"), ["{\"a\":1", "{\"b\":2}"]);
        assert_eq!(pieces("nonsense\n}\n{}"), ["nonsense", "}", "{}"]);
        assert_eq!(pieces("{\n\"a\": [\n"), ["{\n\"a\": ["]);
    }
}
