//! Topics and topic filters: MQTT 5 section 4.7, with bounds.
//!
//! 1. A [`Topic`] or [`TopicFilter`] that exists obeys [`TOPIC_BYTES_MAX`] and
//!    [`TOPIC_LEVELS_MAX`], is UTF-8, and holds no control character.
//! 2. A [`Topic`] holds no wildcard; in a [`TopicFilter`] a wildcard fills its level and `#` is
//!    the last one.
//! 3. Levels may be empty, as in MQTT: `a//b` has three levels, and `/a` differs from `a`.
//! 4. A topic that begins with `$` is reserved: no leading wildcard matches it.
//!
//! Levels are split anew on each use: a topic is one shared string and nothing more.

use std::borrow::Borrow;
use std::fmt;
use std::str::{FromStr, Split};
use std::sync::Arc;

/// The longest topic or topic filter, in bytes of UTF-8.
pub const TOPIC_BYTES_MAX: usize = 1_024;

/// The most levels that a topic or topic filter may have.
pub const TOPIC_LEVELS_MAX: usize = 64;

const SEPARATOR: char = '/';
const RESERVED: char = '$';
const ONE_LEVEL: &str = "+";
const THE_REST: &str = "#";

/// Where an event is published: levels separated by `/`, without wildcards.
///
/// Cheap to clone (one shared string). Equal, ordered and hashed as its text, so that a map
/// keyed by topics can be asked with a `&str`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks and keeps a topic. `O(bytes)`, one allocation.
    ///
    /// # Errors
    /// A [`TopicError`] that says what is wrong, where, and what to do.
    pub fn parse(text: &str) -> Result<Topic, TopicError> {
        check_text(text)?;
        for (index, level) in text.split(SEPARATOR).enumerate() {
            if let Some(character) = find_wildcard(level) {
                return Err(TopicError::WildcardInTopic { level: index + 1, character });
            }
        }
        Ok(Topic(Arc::from(text)))
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels from the first to the last, at least one, at most [`TOPIC_LEVELS_MAX`].
    pub fn levels(&self) -> impl Iterator<Item = &str> + Clone {
        split_levels(&self.0)
    }

    /// Whether the topic begins with `$` and so belongs to the broker.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED)
    }
}

/// Which topics a subscription asks for: `+` stands for one level, `#` for the rest and its parent.
///
/// Cheap to clone. Equal, ordered and hashed as its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks and keeps a topic filter. `O(bytes)`, one allocation.
    ///
    /// # Errors
    /// A [`TopicError`] that says what is wrong, where, and what to do.
    pub fn parse(text: &str) -> Result<TopicFilter, TopicError> {
        check_text(text)?;
        let mut levels = text.split(SEPARATOR).enumerate().peekable();
        while let Some((index, level)) = levels.next() {
            check_filter_level(index + 1, level, levels.peek().is_none())?;
        }
        Ok(TopicFilter(Arc::from(text)))
    }

    /// A text as it is, to begin a range of an ordered map with; it may be no topic filter.
    pub(crate) fn unchecked(text: &str) -> TopicFilter {
        TopicFilter(Arc::from(text))
    }

    /// Whether `topic` is one of the topics asked for. `O(levels)`, allocates nothing.
    ///
    /// `a/#` matches `a`, `a/` and `a/b/c`; `a/+` matches `a/` and `a/b`, neither `a` nor
    /// `a/b/c`; neither `#` nor `+/…` matches a topic that begins with `$` (MQTT 5 section 4.7).
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.is_reserved() && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut wanted = split_levels(&self.0);
        let mut given = split_levels(&topic.0);
        loop {
            match (wanted.next(), given.next()) {
                (Some(THE_REST), _) | (None, None) => return true,
                (Some(ONE_LEVEL), Some(_)) => {}
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return false,
            }
        }
    }

    /// Whether each topic that `other` matches is matched by this filter. Exact, but for filters so
    /// long that no topic within the bounds makes a difference. `O(levels)`.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        if self.0.starts_with(['+', '#']) && other.0.starts_with(RESERVED) {
            return false;
        }
        // Every topic has a first level.
        let narrow = if &*other.0 == THE_REST { "+/#" } else { &other.0 };
        let mut wide = split_levels(&self.0);
        let mut narrow = split_levels(narrow);
        loop {
            match (wide.next(), narrow.next()) {
                (Some(THE_REST), _) | (None, None) => return true,
                (_, Some(THE_REST)) => return false,
                (Some(ONE_LEVEL), Some(_)) => {}
                (Some(wide), Some(narrow)) if wide == narrow => {}
                _ => return false,
            }
        }
    }

    /// The topics that both filters match, which one filter can always say; `None` if there are
    /// none. `O(levels)`.
    pub fn intersection(&self, other: &TopicFilter) -> Option<TopicFilter> {
        let is_wild = |filter: &TopicFilter| filter.0.starts_with(['+', '#']);
        let is_reserved = |filter: &TopicFilter| filter.0.starts_with(RESERVED);
        if (is_wild(self) && is_reserved(other)) || (is_reserved(self) && is_wild(other)) {
            return None;
        }
        let mut ours = split_levels(&self.0);
        let mut theirs = split_levels(&other.0);
        let mut both: Vec<&str> = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => break,
                (Some(THE_REST), rest) => {
                    both.extend(rest);
                    both.extend(theirs);
                    break;
                }
                (rest, Some(THE_REST)) => {
                    both.extend(rest);
                    both.extend(ours);
                    break;
                }
                (Some(ONE_LEVEL), Some(level)) | (Some(level), Some(ONE_LEVEL)) => both.push(level),
                (Some(ours), Some(theirs)) if ours == theirs => both.push(ours),
                _ => return None,
            }
        }
        TopicFilter::parse(&both.join("/")).ok()
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels from the first to the last, each with its meaning.
    pub(crate) fn levels(&self) -> impl Iterator<Item = FilterLevel<'_>> {
        split_levels(&self.0).map(|level| match level {
            ONE_LEVEL => FilterLevel::One,
            THE_REST => FilterLevel::Rest,
            literal => FilterLevel::Literal(literal),
        })
    }
}

/// One level of a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterLevel<'a> {
    /// This text and no other.
    Literal(&'a str),
    /// `+`
    One,
    /// `#`, always the last.
    Rest,
}

/// Why a text is neither a topic nor a topic filter. Levels count from 1, positions are byte
/// offsets from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// There is no text.
    #[error("the topic is empty: name at least one level, as in `orders/new`")]
    Empty,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    #[error(
        "the topic is {got} bytes long, the limit is {limit}: shorten its levels, or move detail into attributes"
    )]
    TooLong {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More than [`TOPIC_LEVELS_MAX`] levels.
    #[error("the topic has {got} levels, the limit is {limit}: join levels, or move detail into attributes")]
    TooManyLevels {
        /// Levels given.
        got: usize,
        /// Levels allowed.
        limit: usize,
    },
    /// A wildcard in the topic of an event.
    #[error(
        "level {level} of the topic holds the wildcard `{character}`: events are published to one exact topic, wildcards are for subscribing"
    )]
    WildcardInTopic {
        /// The level, from 1.
        level: usize,
        /// `+` or `#`.
        character: char,
    },
    /// A wildcard beside other text in its level.
    #[error(
        "level {level} of the topic filter mixes `{character}` with other text: a wildcard fills its whole level, as in `orders/{character}`"
    )]
    WildcardNotAlone {
        /// The level, from 1.
        level: usize,
        /// `+` or `#`.
        character: char,
    },
    /// `#` before the last level.
    #[error(
        "level {level} of the topic filter is `#` but not the last: use `+` for one level, or end the filter here"
    )]
    HashNotLast {
        /// The level, from 1.
        level: usize,
    },
    /// NUL or another control character.
    #[error("the topic holds the control character {character:?} at byte {position}: remove it")]
    ControlCharacter {
        /// Byte offset, from 0.
        position: usize,
        /// The character.
        character: char,
    },
}

impl TopicError {
    /// The text with a caret below the level or the character that is wrong, as two lines that are
    /// set in; `None` where the text as a whole is wrong, or is not one line. O(bytes).
    pub fn caret(&self, text: &str) -> Option<String> {
        let level = match self {
            TopicError::WildcardInTopic { level, .. }
            | TopicError::WildcardNotAlone { level, .. }
            | TopicError::HashNotLast { level } => level.checked_sub(1)?,
            _ => return None,
        };
        if text.contains(char::is_control) {
            return None;
        }
        let before: usize = split_levels(text).take(level).map(|level| level.chars().count() + 1).sum();
        Some(format!("  {text}\n  {:before$}^", ""))
    }
}

fn split_levels(text: &str) -> Split<'_, char> {
    text.split(SEPARATOR)
}

fn find_wildcard(level: &str) -> Option<char> {
    level.chars().find(|c| matches!(c, '+' | '#'))
}

/// What topics and topic filters have in common.
fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { got: text.len(), limit: TOPIC_BYTES_MAX });
    }
    let levels = split_levels(text).count();
    if levels > TOPIC_LEVELS_MAX {
        return Err(TopicError::TooManyLevels { got: levels, limit: TOPIC_LEVELS_MAX });
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((position, character)) => Err(TopicError::ControlCharacter { position, character }),
        None => Ok(()),
    }
}

fn check_filter_level(level: usize, text: &str, last: bool) -> Result<(), TopicError> {
    match (text, last) {
        (ONE_LEVEL, _) | (THE_REST, true) => Ok(()),
        (THE_REST, false) => Err(TopicError::HashNotLast { level }),
        _ => match find_wildcard(text) {
            Some(character) => Err(TopicError::WildcardNotAlone { level, character }),
            None => Ok(()),
        },
    }
}

macro_rules! text_traits {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = TopicError;

            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::parse(text)
            }
        }
    };
}

text_traits!(Topic);
text_traits!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_stands_below_the_level_that_is_wrong() {
        let caret = |text: &str| TopicFilter::parse(text).err().and_then(|error| error.caret(text));
        assert_eq!(caret("a/#/b").as_deref(), Some("  a/#/b\n    ^"));
        assert_eq!(caret("é/é/b+").as_deref(), Some("  é/é/b+\n      ^"));
        assert_eq!(caret("#/a").as_deref(), Some("  #/a\n  ^"));
        assert_eq!((caret(""), caret("a/\u{1b}/#/b")), (None, None));
    }
    use proptest::prelude::*;

    fn matches(filter: &str, topic: &str) -> bool {
        TopicFilter::parse(filter).unwrap().matches(&Topic::parse(topic).unwrap())
    }

    /// MQTT's rules written as a recursion over level slices.
    fn oracle(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => oracle(filter, topic),
            ([wanted, filter @ ..], [given, topic @ ..]) => wanted == given && oracle(filter, topic),
            _ => false,
        }
    }

    fn oracle_matches(filter: &str, topic: &str) -> bool {
        let filter: Vec<_> = filter.split('/').collect();
        let topic: Vec<_> = topic.split('/').collect();
        let reserved = topic[0].starts_with('$') && (filter[0] == "+" || filter[0] == "#");
        !reserved && oracle(&filter, &topic)
    }

    fn all_topics() -> Vec<Topic> {
        const LEVELS: [&str; 5] = ["a", "b", "x", "$a", ""];
        let mut texts: Vec<String> = vec![String::new()];
        for _ in 0..4 {
            let longer = texts.iter().flat_map(|text| LEVELS.map(|level| format!("{text}/{level}")));
            texts = longer.chain(texts.iter().cloned()).collect();
        }
        texts.iter().filter_map(|text| Topic::parse(text.strip_prefix('/')?).ok()).collect()
    }

    /// Over topics of all levels that occur and one that does not, covering and intersection are
    /// exact.
    #[test]
    fn covering_and_intersection_agree_with_the_topics() {
        let levels = ["a", "$a", "+", "#", "a/a", "a/b", "a/+", "a/#", "+/a", "+/+", "+/#", "$a/a", "$a/#"];
        let longer =
            ["a/+/a", "+/a/#", "a/a/#", "+/+/b", "a/b/+", "a//#", "/a", "/+", "$a/+/a", "+/$a", "a/$a"];
        let filters: Vec<_> =
            levels.iter().chain(&longer).map(|text| TopicFilter::parse(text).unwrap()).collect();
        let topics = all_topics();
        for (one, other) in filters.iter().flat_map(|one| filters.iter().map(move |other| (one, other))) {
            let both = one.intersection(other);
            let mut is_covered = true;
            for topic in &topics {
                let (by_one, by_other) = (one.matches(topic), other.matches(topic));
                is_covered &= by_one || !by_other;
                let by_both = both.as_ref().is_some_and(|both| both.matches(topic));
                assert_eq!(by_both, by_one && by_other, "{topic}: {one} and {other} make {both:?}");
            }
            assert_eq!(one.covers(other), is_covered, "{one} {other}");
        }
    }

    #[test]
    fn hash_matches_the_rest_and_its_parent() {
        assert!(matches("a/#", "a"));
        assert!(matches("a/#", "a/"));
        assert!(matches("a/#", "a/b/c"));
        assert!(matches("#", "/"));
        assert!(!matches("a/#", "ab"));
        assert!(!matches("a/#", "b/a"));
    }

    #[test]
    fn plus_matches_one_level_and_an_empty_one() {
        assert!(matches("a/+", "a/b"));
        assert!(matches("a/+", "a/"));
        assert!(!matches("a/+", "a"));
        assert!(!matches("a/+", "a/b/c"));
        assert!(matches("+/+", "/finance"));
        assert!(matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
        assert!(matches("a/+/#", "a/b"));
        assert!(!matches("a/+/#", "a"));
    }

    #[test]
    fn a_leading_wildcard_does_not_match_a_reserved_topic() {
        for filter in ["#", "+/#", "+/b", "+"] {
            assert!(!matches(filter, "$a/b") && !matches(filter, "$a"), "{filter}");
        }
        assert!(matches("$a/#", "$a/b"));
        assert!(matches("$a/+", "$a/b"));
        assert!(matches("b/+", "b/$a"));
    }

    #[test]
    fn topics_are_refused_with_the_reason() {
        use TopicError::*;
        let cases = [
            ("".to_owned(), Empty),
            ("a".repeat(1_025), TooLong { got: 1_025, limit: 1_024 }),
            ("/".repeat(64), TooManyLevels { got: 65, limit: 64 }),
            ("a/b+".to_owned(), WildcardInTopic { level: 2, character: '+' }),
            ("#".to_owned(), WildcardInTopic { level: 1, character: '#' }),
            ("a/\0".to_owned(), ControlCharacter { position: 2, character: '\0' }),
            ("é\u{85}".to_owned(), ControlCharacter { position: 2, character: '\u{85}' }),
        ];
        for (text, error) in cases {
            assert_eq!(Topic::parse(&text), Err(error), "{text:?}");
        }
        assert!(Topic::parse(&"a".repeat(1_024)).is_ok());
        assert!(Topic::parse(&"/".repeat(63)).is_ok());
        assert!(Topic::parse("a//b").is_ok());
    }

    #[test]
    fn topic_filters_are_refused_with_the_reason() {
        use TopicError::*;
        let cases = [
            ("", Empty),
            ("a/b+", WildcardNotAlone { level: 2, character: '+' }),
            ("a#", WildcardNotAlone { level: 1, character: '#' }),
            ("##", WildcardNotAlone { level: 1, character: '#' }),
            ("a/#/b", HashNotLast { level: 2 }),
            ("a\n", ControlCharacter { position: 1, character: '\n' }),
        ];
        for (text, error) in cases {
            assert_eq!(TopicFilter::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        assert_eq!(
            Topic::parse("orders/+").unwrap_err().to_string(),
            "level 2 of the topic holds the wildcard `+`: events are published to one exact \
             topic, wildcards are for subscribing"
        );
        assert_eq!(
            Topic::parse("a\tb").unwrap_err().to_string(),
            "the topic holds the control character '\\t' at byte 1: remove it"
        );
    }

    #[test]
    fn levels_keep_empty_ones() {
        let topic = Topic::parse("/a//b").unwrap();
        assert_eq!(topic.levels().collect::<Vec<_>>(), ["", "a", "", "b"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn matching_agrees_with_the_oracle(
            filter in proptest::collection::vec("[ab$]|\\$a|\\+||#", 1..5),
            topic in proptest::collection::vec("[ab$]|\\$a|", 1..5),
        ) {
            let filter = filter.join("/");
            let topic = topic.join("/");
            if let (Ok(parsed), Ok(given)) = (TopicFilter::parse(&filter), Topic::parse(&topic)) {
                prop_assert_eq!(parsed.matches(&given), oracle_matches(&filter, &topic));
            }
        }

        #[test]
        fn parsing_any_text_does_not_panic(text in any::<String>()) {
            let _ = Topic::parse(&text);
            let _ = TopicFilter::parse(&text);
        }
    }
}
