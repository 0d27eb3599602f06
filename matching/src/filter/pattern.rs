//! LIKE patterns: `%` any text, `_` one character.
//!
//! 1. Matching is greedy and never goes back over a `%`: a segment between two `%` has a fixed
//!    number of characters, so that its leftmost place leaves the most to those after it.
//! 2. A segment without `_` is found by the standard library's linear search; one with `_` that
//!    floats between two `%` has at most [`FLOATING_CHARACTERS_MAX`] characters. Matching thus
//!    takes at most that many steps per character of the text, whatever the pattern.
//! 3. A pattern has no two adjacent `%`, so that equal spellings print alike.

use std::fmt::{self, Write};

/// The longest segment between two `%` that holds a `_`, in characters.
pub(super) const FLOATING_CHARACTERS_MAX: usize = 64;

/// One character of a pattern as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// This character.
    Exact(char),
    /// `_`
    AnyOne,
    /// `%`
    AnyText,
}

/// A pattern cut at each `%`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pattern {
    /// What the text begins with.
    first: Segment,
    /// What follows the first `%`; without one, the first segment is the whole text.
    floating: Option<Floating>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Floating {
    /// None of them is empty.
    middle: Box<[Segment]>,
    /// What the text ends with.
    last: Segment,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    /// Apart from `Plain`, whose comparison would hand an address that points nowhere to the C
    /// library: with masked vector loads that costs 80 ns even for no bytes.
    Empty,
    Plain(Box<str>),
    /// Holds at least one `_`, which is `None`.
    Holed(Box<[Option<char>]>),
}

impl Pattern {
    /// Cuts a pattern.
    ///
    /// # Errors
    /// The characters of a floating segment that is over [`FLOATING_CHARACTERS_MAX`].
    pub(super) fn new(elements: &[Element]) -> Result<Pattern, usize> {
        let mut segments = elements.split(|element| *element == Element::AnyText).map(Segment::new);
        let first = segments.next().unwrap_or_else(|| Segment::new(&[]));
        let mut middle: Vec<Segment> = segments.collect();
        let floating = middle.pop().map(|last| {
            middle.retain(|segment| *segment != Segment::Empty);
            Floating { middle: middle.into(), last }
        });
        let pattern = Pattern { first, floating };
        match pattern.floating_characters_max() {
            got if got > FLOATING_CHARACTERS_MAX => Err(got),
            _ => Ok(pattern),
        }
    }

    /// Whether the whole of `text` fits. Linear in `text`, allocates nothing.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some(rest) = self.first.strip_prefix(text) else {
            return false;
        };
        match &self.floating {
            None => rest.is_empty(),
            Some(floating) => floating.matches(rest),
        }
    }

    /// The one text that fits, if there is one only.
    pub(crate) fn as_exact(&self) -> Option<&str> {
        self.floating.is_none().then(|| self.first.as_plain())?
    }

    /// What a text must begin and end with, if nothing else is asked of it than that the two do
    /// not overlap; either may be empty.
    pub(crate) fn as_ends(&self) -> Option<(&str, &str)> {
        let floating = self.floating.as_ref()?;
        let ends = (self.first.as_plain()?, floating.last.as_plain()?);
        floating.middle.is_empty().then_some(ends)
    }

    /// The pattern as it was written.
    pub(crate) fn elements(&self) -> Vec<Element> {
        let mut elements = self.first.elements();
        for segment in
            self.floating.iter().flat_map(|floating| floating.middle.iter().chain([&floating.last]))
        {
            elements.push(Element::AnyText);
            elements.extend(segment.elements());
        }
        elements
    }

    fn floating_characters_max(&self) -> usize {
        let middle = self.floating.iter().flat_map(|floating| floating.middle.iter());
        middle.map(Segment::hole_characters).max().unwrap_or(0)
    }
}

impl Floating {
    fn matches(&self, mut text: &str) -> bool {
        for segment in &self.middle {
            match segment.find(text) {
                Some(rest) => text = rest,
                None => return false,
            }
        }
        self.last.is_suffix(text)
    }
}

impl Segment {
    fn new(elements: &[Element]) -> Segment {
        let characters = elements.iter().map(|element| match element {
            Element::Exact(character) => Some(*character),
            Element::AnyOne | Element::AnyText => None,
        });
        match characters.clone().collect::<Option<String>>() {
            Some(text) if text.is_empty() => Segment::Empty,
            Some(text) => Segment::Plain(text.into()),
            None => Segment::Holed(characters.collect()),
        }
    }

    /// Its text, if it holds no `_`.
    fn as_plain(&self) -> Option<&str> {
        match self {
            Segment::Empty => Some(""),
            Segment::Plain(plain) => Some(plain),
            Segment::Holed(_) => None,
        }
    }

    fn elements(&self) -> Vec<Element> {
        match self {
            Segment::Empty => Vec::new(),
            Segment::Plain(plain) => plain.chars().map(Element::Exact).collect(),
            Segment::Holed(holed) => {
                holed.iter().map(|wanted| wanted.map_or(Element::AnyOne, Element::Exact)).collect()
            }
        }
    }

    fn hole_characters(&self) -> usize {
        match self {
            Segment::Empty | Segment::Plain(_) => 0,
            Segment::Holed(characters) => characters.len(),
        }
    }

    /// What of `text` comes after the segment, if `text` begins with it.
    fn strip_prefix<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Segment::Empty => Some(text),
            Segment::Plain(plain) => text.strip_prefix(&**plain),
            Segment::Holed(holed) => {
                let mut given = text.chars();
                let fits = holed.iter().all(|wanted| is_hit(*wanted, given.next()));
                fits.then_some(given.as_str())
            }
        }
    }

    fn is_suffix(&self, text: &str) -> bool {
        match self {
            Segment::Empty => true,
            Segment::Plain(plain) => text.ends_with(&**plain),
            Segment::Holed(holed) => {
                let mut given = text.chars().rev();
                holed.iter().rev().all(|wanted| is_hit(*wanted, given.next()))
            }
        }
    }

    /// What of `text` comes after the leftmost place of the segment.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Segment::Empty => Some(text),
            Segment::Plain(plain) => text.find(&**plain).map(|at| &text[at + plain.len()..]),
            Segment::Holed(_) => {
                text.char_indices().find_map(|(position, _)| self.strip_prefix(&text[position..]))
            }
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Empty => Ok(()),
            Segment::Plain(plain) => plain.chars().try_for_each(|c| print_character(Some(c), f)),
            Segment::Holed(holed) => holed.iter().try_for_each(|c| print_character(*c, f)),
        }
    }
}

/// Whether a character is there and is the wanted one, if one is wanted.
fn is_hit(wanted: Option<char>, given: Option<char>) -> bool {
    given.is_some_and(|given| wanted.is_none_or(|wanted| wanted == given))
}

fn print_character(character: Option<char>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match character {
        None => f.write_char('_'),
        Some(character) => {
            if matches!(character, '%' | '_' | '\\' | '\'') {
                f.write_char('\\')?;
            }
            f.write_char(character)
        }
    }
}

/// Prints the pattern as it stands between single quotes in a filter.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.print(f)?;
        let Some(floating) = &self.floating else { return Ok(()) };
        for segment in &floating.middle {
            f.write_char('%')?;
            segment.print(f)?;
        }
        f.write_char('%')?;
        floating.last.print(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elements(text: &str) -> Vec<Element> {
        text.chars()
            .map(|character| match character {
                '%' => Element::AnyText,
                '_' => Element::AnyOne,
                character => Element::Exact(character),
            })
            .collect()
    }

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(&elements(pattern)).unwrap().matches(text)
    }

    /// The definition, tried every way.
    fn oracle(pattern: &[Element], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([Element::AnyText, rest @ ..], text) => {
                (0..=text.len()).any(|skipped| oracle(rest, &text[skipped..]))
            }
            ([Element::AnyOne, rest @ ..], [_, text @ ..]) => oracle(rest, text),
            ([Element::Exact(wanted), rest @ ..], [given, text @ ..]) => {
                wanted == given && oracle(rest, text)
            }
            (_, []) => false,
        }
    }

    #[test]
    fn wildcards_stand_for_characters_not_bytes() {
        assert!(matches("_", "é") && matches("%é_", "aéß") && !matches("__", "é"));
        assert!(matches("", "") && !matches("", "a") && matches("%", "") && matches("%%", "a"));
        assert!(!matches("a%a", "a") && matches("a%a", "aa"));
    }

    #[test]
    fn a_hostile_pattern_is_linear() {
        let text = "a".repeat(1_000_000);
        let holes = format!("%{}b%", "_a".repeat(31));
        assert!(!matches(&holes, &text));
        assert!(!matches(&format!("{}%b", "%a".repeat(2_000)), &text));
        assert!(matches(&"%_".repeat(2_000), &text));
    }

    #[test]
    fn a_floating_segment_with_holes_is_bounded() {
        let holes = "_".repeat(65);
        assert_eq!(Pattern::new(&elements(&format!("%{holes}%"))), Err(65));
        assert!(Pattern::new(&elements(&format!("{holes}%"))).is_ok());
        assert!(Pattern::new(&elements(&format!("%{holes}"))).is_ok());
        assert!(Pattern::new(&elements(&format!("%{}%", "a".repeat(65)))).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn matching_agrees_with_the_definition(pattern in "[abé%_]{0,9}", text in "[abé]{0,9}") {
            let elements = elements(&pattern);
            let characters: Vec<char> = text.chars().collect();
            prop_assert_eq!(matches(&pattern, &text), oracle(&elements, &characters));
        }
    }
}
