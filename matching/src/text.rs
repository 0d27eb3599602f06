//! Functions over text, as CESQL 1.0 section 3.5.1 defines them: what both modes of the filter
//! language compute with.
//!
//! 1. A character is a Unicode scalar value; positions count from 1, negative ones from the end.
//! 2. What shortens a text borrows from it. What builds one is told how many bytes it may have, and
//!    stops before it has more.
//! 3. Each function takes time linear in the texts that it is given.
//!
//! Not here: types and casts of arguments, and what a caller makes of an error.

/// Why a function has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A count of characters below 0.
    #[error("a count of characters is negative")]
    NegativeCount,
    /// A position before the first character or after the last.
    #[error("the position is outside of the text")]
    OutsideOfText,
    /// The result would be longer than it may be.
    #[error("the text would have more than {limit} bytes")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
}

/// LENGTH: the number of characters.
pub fn length(text: &str) -> usize {
    text.chars().count()
}

/// LEFT: the first `count` characters, or all if there are fewer.
///
/// # Errors
/// [`TextError::NegativeCount`]; CESQL gives `text` itself then.
pub fn left(text: &str, count: i64) -> Result<&str, TextError> {
    Ok(&text[..byte_after(text, checked(count)?)])
}

/// RIGHT: the last `count` characters, or all if there are fewer.
///
/// # Errors
/// [`TextError::NegativeCount`]; CESQL gives `text` itself then.
pub fn right(text: &str, count: i64) -> Result<&str, TextError> {
    Ok(&text[byte_before(text, checked(count)?)..])
}

/// SUBSTRING: `count` characters from `position` on, or all from there on. Empty for position 0.
///
/// # Errors
/// [`TextError::OutsideOfText`] for a position beyond the length, counted from either end;
/// [`TextError::NegativeCount`]. CESQL gives the empty text then.
pub fn substring(text: &str, position: i64, count: Option<i64>) -> Result<&str, TextError> {
    let count = count.map(checked).transpose()?;
    let rest = from_position(text, position)?;
    Ok(count.map_or(rest, |count| &rest[..byte_after(rest, count)]))
}

/// TRIM: without white space (Unicode) at either end.
pub fn trim(text: &str) -> &str {
    text.trim()
}

/// LOWER: in small letters (Unicode).
///
/// # Errors
/// [`TextError::TooLong`]: a letter may become longer.
pub fn lower(text: &str, bytes_max: usize) -> Result<String, TextError> {
    bounded(text.len(), bytes_max)?;
    let lower = text.to_lowercase();
    bounded(lower.len(), bytes_max)?;
    Ok(lower)
}

/// UPPER: in capital letters (Unicode).
///
/// # Errors
/// [`TextError::TooLong`]: a letter may become several.
pub fn upper(text: &str, bytes_max: usize) -> Result<String, TextError> {
    bounded(text.len(), bytes_max)?;
    let upper = text.to_uppercase();
    bounded(upper.len(), bytes_max)?;
    Ok(upper)
}

/// CONCAT and CONCAT_WS: the parts one after the other, with `delimiter` between each two.
///
/// # Errors
/// [`TextError::TooLong`], before anything is built.
pub fn concat(parts: &[impl AsRef<str>], delimiter: &str, bytes_max: usize) -> Result<String, TextError> {
    let delimiters = delimiter.len().saturating_mul(parts.len().saturating_sub(1));
    let bytes = parts.iter().fold(delimiters, |sum, part| sum.saturating_add(part.as_ref().len()));
    bounded(bytes, bytes_max)?;
    let mut text = String::with_capacity(bytes);
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str(delimiter);
        }
        text.push_str(part.as_ref());
    }
    Ok(text)
}

/// The truth value that a text spells: `true` or `false` in any case (CESQL 1.0 section 3.7).
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn checked(count: i64) -> Result<usize, TextError> {
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        // No text is as long as what a usize cannot say.
        Err(_) if count > 0 => Ok(usize::MAX),
        Err(_) => Err(TextError::NegativeCount),
    }
}

fn bounded(bytes: usize, limit: usize) -> Result<(), TextError> {
    if bytes > limit { Err(TextError::TooLong { limit }) } else { Ok(()) }
}

/// The first byte after `count` characters, or the end.
fn byte_after(text: &str, count: usize) -> usize {
    text.char_indices().nth(count).map_or(text.len(), |(byte, _)| byte)
}

/// The first byte of the last `count` characters, or 0.
fn byte_before(text: &str, count: usize) -> usize {
    match count.checked_sub(1) {
        None => text.len(),
        Some(skipped) => text.char_indices().rev().nth(skipped).map_or(0, |(byte, _)| byte),
    }
}

/// What begins at `position`, which is a character of the text or 0.
fn from_position(text: &str, position: i64) -> Result<&str, TextError> {
    let outside = TextError::OutsideOfText;
    let distance = usize::try_from(position.unsigned_abs()).map_err(|_| outside)?;
    let Some(skipped) = distance.checked_sub(1) else { return Ok("") };
    let mut characters = text.char_indices();
    let first = if position > 0 { characters.nth(skipped) } else { characters.nth_back(skipped) };
    first.map(|(byte, _)| &text[byte..]).ok_or(outside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_specification_and_of_mysql_from_which_it_took_them() {
        assert_eq!(substring("Quadratically", 5, None), Ok("ratically"));
        assert_eq!(substring("Sakila", -3, None), Ok("ila"));
        assert_eq!(substring("Sakila", -5, Some(3)), Ok("aki"));
        assert_eq!(substring("abcdef", 0, Some(1)), Ok(""));
        assert_eq!(substring("abcdef", 6, Some(i64::MAX)), Ok("f"));
        assert_eq!(left("abc", 10), Ok("abc"));
        assert_eq!(right("aßc", 2), Ok("ßc"));
    }

    #[test]
    fn places_outside_of_the_text_are_errors() {
        for position in [7, -7, i64::MIN, i64::MAX] {
            assert_eq!(substring("abcdef", position, Some(1)), Err(TextError::OutsideOfText));
        }
        assert_eq!(substring("", 1, None), Err(TextError::OutsideOfText));
        assert_eq!(substring("", 0, None), Ok(""));
        assert_eq!(substring("a", 0, Some(-1)), Err(TextError::NegativeCount));
        assert_eq!(left("a", -1), Err(TextError::NegativeCount));
        assert_eq!(right("a", i64::MIN), Err(TextError::NegativeCount));
    }

    #[test]
    fn letters_may_change_their_length() {
        assert_eq!(upper("straße", 8), Ok("STRASSE".to_owned()));
        assert_eq!(upper("\u{390}", 2), Err(TextError::TooLong { limit: 2 }));
        assert_eq!(lower("ΟΔΟΣ", 8), Ok("οδος".to_owned()));
        assert_eq!(lower("İ", 2), Err(TextError::TooLong { limit: 2 }));
    }

    #[test]
    fn parts_are_joined_up_to_the_limit() {
        assert_eq!(concat(&["a", "", "c"], ", ", 6), Ok("a, , c".to_owned()));
        assert_eq!(concat(&["a", "", "c"], ", ", 5), Err(TextError::TooLong { limit: 5 }));
        assert_eq!(concat(&[""; 0], ",", 0), Ok(String::new()));
    }

    #[test]
    fn trim_takes_what_unicode_calls_white_space() {
        assert_eq!(trim("\u{2003}\t\u{85}a b\u{a0}\n"), "a b");
        assert_eq!(trim("\u{200b}a\u{1}"), "\u{200b}a\u{1}");
    }

    #[test]
    fn truth_values_are_spelt_in_any_case() {
        assert_eq!(parse_bool("tRuE"), Some(true));
        assert_eq!(parse_bool("FALSE"), Some(false));
        assert!(parse_bool("1").is_none() && parse_bool(" true").is_none());
    }

    proptest! {
        /// The definition over a vector of characters.
        #[test]
        fn cutting_agrees_with_the_definition(
            text in "[aé😀]{0,5}",
            position in -7_i64..=7,
            count in prop::option::of(-1_i64..=7),
        ) {
            let characters: Vec<char> = text.chars().collect();
            let length = characters.len() as i64;
            let cut = |from: i64, to: i64| characters[from as usize..to as usize].iter().collect::<String>();
            let expected = if position > length || position < -length || count.is_some_and(|count| count < 0) {
                None
            } else if position == 0 {
                Some(String::new())
            } else {
                let from = if position > 0 { position - 1 } else { length + position };
                Some(cut(from, count.map_or(length, |count| (from + count).min(length))))
            };
            prop_assert_eq!(substring(&text, position, count).ok(), expected.as_deref());
            if let Ok(count) = u32::try_from(count.unwrap_or(0)) {
                let (count, taken) = (i64::from(count), i64::from(count).min(length));
                let (first, last) = (cut(0, taken), cut(length - taken, length));
                prop_assert_eq!(left(&text, count), Ok(first.as_str()));
                prop_assert_eq!(right(&text, count), Ok(last.as_str()));
            }
        }
    }
}
