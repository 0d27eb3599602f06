//! Paths into a JSON payload: `data.order.items[0].price`, `data['odd key']`.
//!
//! 1. A path has one to [`PATH_SEGMENTS_MAX`] segments after `data`; `data` alone is the name of
//!    an attribute.
//! 2. Paths that say the same have the same canonical text: a member is written `.name` where its
//!    name allows it, else `['…']`; an element is `[3]`, without needless zeros.
//!
//! Not here: reading a payload (`crate::json`), where a path may stand (the filter's grammar).

use std::fmt;
use std::str::{Chars, FromStr};

/// The most segments of a path, and the deepest nesting of a payload that is read.
pub const PATH_SEGMENTS_MAX: usize = 64;

/// What every path begins with.
pub(crate) const ROOT: &str = "data";

/// A place in a JSON payload. Equal, ordered and hashed by its canonical text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    text: Box<str>,
    segments: Box<[Segment]>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// The member of an object, by its name.
    Member(Box<str>),
    /// The element of an array, counted from 0.
    Element(u32),
}

impl Path {
    /// A path of these segments. `O(bytes)`.
    ///
    /// # Errors
    /// [`PathErrorReason::Empty`] and [`PathErrorReason::TooLong`].
    pub fn new(segments: Vec<Segment>) -> Result<Path, PathErrorReason> {
        match segments.len() {
            0 => Err(PathErrorReason::Empty),
            got if got > PATH_SEGMENTS_MAX => Err(PathErrorReason::TooLong { got, limit: PATH_SEGMENTS_MAX }),
            _ => Ok(Path { text: canonical(&segments).into(), segments: segments.into() }),
        }
    }

    /// Reads a path: `data`, then `.name`, `['name']`, `["name"]` or `[0]`, without space.
    /// `O(bytes)`.
    ///
    /// # Errors
    /// The first mistake and its place.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let mut reader = Reader { text, rest: text.chars() };
        let segments = reader.segments()?;
        match Path::new(segments) {
            Ok(path) if reader.is_at_end() => Ok(path),
            Ok(_) => Err(reader.error(PathErrorReason::Malformed { expected: NEXT })),
            Err(reason) => Err(PathError { position: text.len(), reason }),
        }
    }

    /// The canonical text, `data` included: parses to an equal path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The steps from the payload's value, at least one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        Path::parse(text)
    }
}

/// Why a text is no path, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PathError {
    /// The place in bytes, from 0.
    pub position: usize,
    /// What is wrong there.
    pub reason: PathErrorReason,
}

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathErrorReason {
    /// Nothing follows `data`.
    #[error("a path goes on after `data`: write `data.member` or `data[0]`")]
    Empty,
    /// Over [`PATH_SEGMENTS_MAX`].
    #[error("the path has {got} segments, the limit is {limit}")]
    TooLong {
        /// Segments given.
        got: usize,
        /// Segments allowed.
        limit: usize,
    },
    /// Something else stands where a path asks for `expected`.
    #[error("expected {expected}")]
    Malformed {
        /// What a path asks for there.
        expected: &'static str,
    },
    /// An element beyond 32 bits.
    #[error("no list has that many elements: an index is at most 4294967295")]
    IndexOutOfRange,
    /// A backslash before something that needs none.
    #[error("`\\{}` is no escape of a member's name: write \\', \\\" or \\\\", character.escape_debug())]
    UnknownEscape {
        /// What follows the backslash.
        character: char,
    },
}

const NEXT: &str = "`.` or `[` and the next member or element of the path";
const MEMBER: &str = "a member after `.`: letters, digits and `_`, or [\"any text\"] without the `.`";
const BRACKETED: &str = "a member in quotes or the number of an element, as in `['key']` or `[0]`";
const CLOSE: &str = "`]`";
const QUOTE: &str = "the quote that ends the member's name";

/// Whether a member of that name is written `.name`.
fn is_plain(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(is_name_character)
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn canonical(segments: &[Segment]) -> String {
    let mut text = ROOT.to_owned();
    for segment in segments {
        match segment {
            Segment::Member(name) if is_plain(name) => {
                text.push('.');
                text.push_str(name);
            }
            Segment::Member(name) => {
                text.push_str("['");
                for character in name.chars() {
                    if matches!(character, '\'' | '\\') {
                        text.push('\\');
                    }
                    text.push(character);
                }
                text.push_str("']");
            }
            Segment::Element(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// How many bytes at the beginning of `text` belong to a path, which may still be malformed: all
/// up to what could belong to none.
pub(crate) fn extent(text: &str) -> usize {
    let mut quote = None;
    let mut bracket = false;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if bracket => quote = Some(c),
            (None, '[') => bracket = true,
            (None, ']') if bracket => bracket = false,
            (None, c) if c == '.' || is_name_character(c) => {}
            (None, _) => return index,
        }
    }
    text.len()
}

struct Reader<'t> {
    text: &'t str,
    rest: Chars<'t>,
}

type Read<T> = Result<T, PathError>;

impl<'t> Reader<'t> {
    fn is_at_end(&self) -> bool {
        self.rest.as_str().is_empty()
    }

    fn error(&self, reason: PathErrorReason) -> PathError {
        PathError { position: self.text.len() - self.rest.as_str().len(), reason }
    }

    fn malformed<T>(&self, expected: &'static str) -> Read<T> {
        Err(self.error(PathErrorReason::Malformed { expected }))
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.rest.as_str().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest.chars();
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, wanted: fn(char) -> bool) -> &'t str {
        let rest = self.rest.as_str();
        let after = rest.trim_start_matches(wanted);
        self.rest = after.chars();
        &rest[..rest.len() - after.len()]
    }

    fn segments(&mut self) -> Read<Vec<Segment>> {
        if !self.take(ROOT) {
            return self.malformed("`data`");
        }
        let mut segments = Vec::new();
        while !self.is_at_end() {
            let segment = if self.take(".") {
                self.member()?
            } else if self.take("[") {
                self.bracketed()?
            } else {
                return self.malformed(NEXT);
            };
            segments.push(segment);
        }
        Ok(segments)
    }

    fn member(&mut self) -> Read<Segment> {
        let before = self.rest.clone();
        let name = self.take_while(is_name_character);
        if is_plain(name) {
            return Ok(Segment::Member(name.into()));
        }
        self.rest = before;
        self.malformed(MEMBER)
    }

    fn bracketed(&mut self) -> Read<Segment> {
        let segment = match self.rest.clone().next() {
            Some('\'' | '"') => self.quoted()?,
            Some(digit) if digit.is_ascii_digit() => self.index()?,
            _ => return self.malformed(BRACKETED),
        };
        if self.take("]") { Ok(segment) } else { self.malformed(CLOSE) }
    }

    fn index(&mut self) -> Read<Segment> {
        let error = self.error(PathErrorReason::IndexOutOfRange);
        let digits = self.take_while(|c| c.is_ascii_digit());
        digits.parse().map(Segment::Element).map_err(|_| error)
    }

    fn quoted(&mut self) -> Read<Segment> {
        let quote = self.rest.next();
        let mut name = String::new();
        loop {
            let here = self.rest.clone();
            match self.rest.next() {
                None => return self.malformed(QUOTE),
                next if next == quote => return Ok(Segment::Member(name.into())),
                Some('\\') => match self.rest.next() {
                    Some(escaped @ ('\'' | '"' | '\\')) => name.push(escaped),
                    other => {
                        self.rest = here;
                        let character = other.unwrap_or('\\');
                        return Err(self.error(PathErrorReason::UnknownEscape { character }));
                    }
                },
                Some(character) => name.push(character),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_path_have_one_canonical_text() {
        let cases = [
            ("data.a", "data.a"),
            ("data['a']", "data.a"),
            ("data[\"a\"][007]", "data.a[7]"),
            ("data.not.IN.data", "data.not.IN.data"),
            ("data[0][1].x_1", "data[0][1].x_1"),
            ("data['odd key']", "data['odd key']"),
            ("data[\"it's\"]", "data['it\\'s']"),
            ("data['\\\\\\\"']", "data['\\\\\"']"),
            ("data['']['0']['größe']", "data['']['0']['größe']"),
        ];
        for (text, expected) in cases {
            let path = Path::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(path.as_str(), expected);
            assert_eq!(Path::parse(expected), Ok(path));
        }
    }

    #[test]
    fn what_is_no_path_is_refused_at_its_place() {
        let cases = [
            ("", 0, "expected `data`"),
            ("Data.a", 0, "expected `data`"),
            ("data", 4, "a path goes on after `data`: write `data.member` or `data[0]`"),
            ("datax", 4, "expected `.` or `[` and the next member or element of the path"),
            ("data.", 5, "expected a member after `.`"),
            ("data.a.0", 7, "expected a member after `.`"),
            ("data..a", 5, "expected a member after `.`"),
            ("data[]", 5, "expected a member in quotes or the number of an element"),
            ("data[-1]", 5, "expected a member in quotes or the number of an element"),
            ("data[ 0]", 5, "expected a member in quotes"),
            ("data[0", 6, "expected `]`"),
            ("data[1.5]", 6, "expected `]`"),
            ("data['a", 7, "expected the quote that ends the member's name"),
            ("data['a\\n']", 7, "`\\n` is no escape of a member's name: write \\', \\\" or \\\\"),
            ("data[4294967296]", 5, "no list has that many elements"),
            ("data.a ", 6, "expected `.` or `[`"),
        ];
        for (text, position, message) in cases {
            let error = Path::parse(text).unwrap_err();
            assert_eq!(error.position, position, "{text}");
            assert!(error.to_string().starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn segments_are_bounded() {
        let text = |count| format!("data{}", "[0]".repeat(count));
        assert_eq!(Path::parse(&text(64)).unwrap().segments().len(), 64);
        let reason = PathErrorReason::TooLong { got: 65, limit: 64 };
        assert_eq!(Path::parse(&text(65)).unwrap_err().reason, reason);
    }

    #[test]
    fn a_path_ends_where_the_filter_goes_on() {
        for (text, path) in [
            ("data.a>1", "data.a"),
            ("data['] \\' x'][0] = 2", "data['] \\' x'][0]"),
            ("data.a, b", "data.a"),
            ("data.a)", "data.a"),
            ("data.a[0]-1", "data.a[0]"),
            ("data['a", "data['a"),
            ("data.", "data."),
        ] {
            assert_eq!(&text[..extent(text)], path);
        }
    }

    proptest! {
        #[test]
        fn any_segments_print_and_read_back(names in proptest::collection::vec("\\PC{0,6}|[a-z_]{1,3}", 1..5)) {
            let segments: Vec<Segment> = names.iter().map(|name| Segment::Member(name.as_str().into())).collect();
            let path = Path::new(segments.clone()).unwrap();
            prop_assert_eq!(path.segments(), &*segments);
            prop_assert_eq!(extent(path.as_str()), path.as_str().len());
            prop_assert_eq!(Path::parse(path.as_str()), Ok(path));
        }

        #[test]
        fn any_text_is_read_or_refused_within_it(text in "data[.\\['\"\\]a0\\\\é ]{0,12}|\\PC{0,12}") {
            if let Err(error) = Path::parse(&text) {
                prop_assert!(text.is_char_boundary(error.position));
            }
        }
    }
}
