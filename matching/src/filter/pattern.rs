//! LIKE patterns: `%` any text, `_` one character.
//!
//! 1. Matching is greedy and never goes back over a `%`: a segment between two `%` has a fixed
//!    number of characters, so that its leftmost place leaves the most to those after it.
//! 2. A segment without `_` is found by the standard library's linear search; one with `_` that
//!    floats between two `%` has at most [`FLOATING_CHARACTERS_MAX`] characters, one for each bit of a
//!    word, and all places where it may have begun are followed at once (Baeza-Yates and Gonnet, *A new
//!    approach to text searching*, CACM 1992). Matching thus takes a few steps per character of the
//!    text, whatever the pattern.
//! 3. A pattern has no two adjacent `%`, so that equal spellings print alike.

use std::fmt::{self, Write};

/// The longest segment between two `%` that holds a `_`, in characters: the bits of a word.
pub(super) const FLOATING_CHARACTERS_MAX: usize = u64::BITS as usize;

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
            Segment::Holed(holed) => Places::of(holed).find(text),
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

/// Where in a segment each character may stand: a bit for each place, the first the lowest.
struct Places {
    ascii: [u64; 128],
    /// In their order.
    others: Vec<(char, u64)>,
    /// Of the characters that the segment does not name.
    holes: u64,
    last: u64,
}

impl Places {
    /// Of at most [`FLOATING_CHARACTERS_MAX`] characters, at least one.
    fn of(holed: &[Option<char>]) -> Places {
        let each = || holed.iter().enumerate().map(|(at, wanted)| (1_u64 << at, *wanted));
        let holes = each().filter(|(_, wanted)| wanted.is_none()).fold(0, |all, (bit, _)| all | bit);
        let mut ascii = [holes; 128];
        let mut others: Vec<(char, u64)> = Vec::new();
        for (bit, wanted) in each() {
            let Some(character) = wanted else { continue };
            match ascii.get_mut(character as usize) {
                Some(places) => *places |= bit,
                None => match others.binary_search_by_key(&character, |(known, _)| *known) {
                    Ok(known) => others[known].1 |= bit,
                    Err(at) => others.insert(at, (character, holes | bit)),
                },
            }
        }
        Places { ascii, others, holes, last: 1 << (holed.len() - 1) }
    }

    #[inline]
    fn of_character(&self, character: char) -> u64 {
        match self.ascii.get(character as usize) {
            Some(places) => *places,
            None => self
                .others
                .binary_search_by_key(&character, |(known, _)| *known)
                .map_or(self.holes, |at| self.others[at].1),
        }
    }

    /// What of `text` comes after the leftmost place of the segment.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut begun = 0_u64;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            // Each place where the segment has begun goes on, and one begins here.
            begun = (begun << 1 | 1) & self.of_character(character);
            if begun & self.last != 0 {
                return Some(characters.as_str());
            }
        }
        None
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

    /// 62 steps for each character of the text made 46 seconds of 192 such patterns.
    #[test]
    fn holes_take_no_more_than_some_times_as_long_as_reading() {
        let text = "a".repeat(1_000_000);
        let holes = elements(&format!("%{}b%", "_a".repeat(31)));
        let pattern = Pattern::new(&holes).unwrap();
        let took = |work: &dyn Fn() -> bool| {
            let began = std::time::Instant::now();
            assert!(!std::hint::black_box(work()));
            began.elapsed()
        };
        let least = |work: &dyn Fn() -> bool| (0..5).map(|_| took(work)).min().unwrap();
        let reading = least(&|| text.chars().any(|character| std::hint::black_box(character) == 'b'));
        let searching = least(&|| pattern.matches(&text));
        assert!(searching < 20 * reading, "{searching:?}, reading takes {reading:?}");
    }

    #[test]
    fn long_texts_and_long_segments_are_searched_alike() {
        let mut generator = crate::generate::Generator::new(5);
        let mut found = 0;
        for round in 0..4_000 {
            let some = ["a", "b", "é", "日", "a", "a"];
            let mut draw = |count: usize, holes: usize| -> String {
                let pick = |generator: &mut crate::generate::Generator| match generator.below(100) < holes {
                    true => "_",
                    false => generator.pick(&some),
                };
                (0..count).map(|_| pick(&mut generator)).collect()
            };
            let (text, segment) = (draw(90, 0), draw(1 + round % (FLOATING_CHARACTERS_MAX - 1), 92));
            let elements = elements(&format!("%{segment}_%"));
            let pattern = Pattern::new(&elements).unwrap();
            let characters: Vec<char> = text.chars().collect();
            let wanted: Vec<char> = format!("{segment}_").chars().collect();
            let fits =
                |at: &[char]| wanted.iter().zip(at).all(|(wanted, given)| *wanted == '_' || wanted == given);
            let is_found = characters.windows(wanted.len()).any(fits);
            assert_eq!(pattern.matches(&text), is_found, "{segment} in {text}");
            found += usize::from(is_found);
        }
        assert!((400..3_600).contains(&found), "{found}");
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
