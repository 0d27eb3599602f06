//! Writing in the filter language what other languages say.
//!
//! What is written is true exactly where the dialect is; where the dialect is false it may be unknown,
//! which AND and OR keep apart from true, and `IS NOT TRUE` ends.

use std::fmt::{self, Write};

use super::super::lexer::KEYWORDS;
use super::cloudevents::text_form;
use super::json::Number;
use crate::value::Timestamp;

/// The type of a core field; attributes have none that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Core {
    Str,
    Timestamp,
}

fn type_of_name(name: &str) -> Option<Core> {
    match name {
        "id" | "source" | "topic" => Some(Core::Str),
        "time" => Some(Core::Timestamp),
        _ => None,
    }
}

/// Whether the language can ask for an attribute of that name.
pub(super) fn is_name(name: &str) -> bool {
    let is_character = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(is_character)
        && !KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(name))
}

/// Writes a string with its quotes.
pub(super) fn put_string(out: &mut String, text: &str) -> fmt::Result {
    out.write_char('\'')?;
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(character)?;
    }
    out.write_char('\'')
}

/// Writes all parts, each in parentheses, with `connective` between them.
pub(super) fn join<T>(
    out: &mut String,
    connective: &str,
    parts: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T) -> fmt::Result,
) -> fmt::Result {
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            write!(out, " {connective} ")?;
        }
        out.write_char('(')?;
        write(out, part)?;
        out.write_char(')')?;
    }
    Ok(())
}

/// Writes that the attribute's text form is `text` ([`super::cloudevents::is_text`]).
pub(super) fn equals(out: &mut String, name: &str, text: &str) -> fmt::Result {
    let alternative = match (number_of(text), text) {
        (Some(number), _) => number.to_string(),
        (None, "true" | "false") => text.to_owned(),
        (None, _) => return equals_string(out, name, text),
    };
    if type_of_name(name).is_some() {
        return equals_string(out, name, text);
    }
    write!(out, "{name} IN ({alternative}, ")?;
    put_string(out, text)?;
    out.write_char(')')
}

/// Writes that the attribute is this string, or the same instant.
pub(super) fn equals_string(out: &mut String, name: &str, text: &str) -> fmt::Result {
    let timestamp = Timestamp::parse_rfc3339(text).ok();
    match (type_of_name(name), timestamp) {
        (Some(Core::Timestamp), None) => out.write_str("FALSE"),
        (Some(Core::Timestamp), Some(timestamp)) => write!(out, "{name} = TIMESTAMP('{timestamp}')"),
        (None, Some(timestamp)) => {
            write!(out, "{name} IN (TIMESTAMP('{timestamp}'), ")?;
            put_string(out, text)?;
            out.write_char(')')
        }
        (Some(Core::Str), _) | (None, None) => {
            write!(out, "{name} = ")?;
            put_string(out, text)
        }
    }
}

/// The number whose text form `text` is.
fn number_of(text: &str) -> Option<Number> {
    let number = match text.parse::<i64>() {
        Ok(number) => Number::Int(number),
        Err(_) => Number::of_float(text.parse().ok()?)?,
    };
    let form = text_form(&number.value())?;
    (form == text).then_some(number)
}

/// Writes a LIKE of `text` between two parts of a pattern.
pub(super) fn like(out: &mut String, name: &str, before: &str, text: &str, after: &str) -> fmt::Result {
    write!(out, "{name} LIKE '{before}")?;
    text.chars().try_for_each(|character| put_pattern_character(out, character))?;
    write!(out, "{after}'")
}

/// Writes a character of a pattern that stands for itself.
pub(super) fn put_pattern_character(out: &mut String, character: char) -> fmt::Result {
    if matches!(character, '%' | '_' | '\\' | '\'') {
        out.write_char('\\')?;
    }
    out.write_char(character)
}

/// Whether nothing but a string has a text form that may begin or end with `text`: LIKE, which
/// matches strings alone, then says the same.
pub(super) fn is_part_of_strings_alone(name: &str, text: &str) -> bool {
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.' | 'e');
    let is_of_word = ["true", "false"].iter().any(|word| is_end(word, text));
    match type_of_name(name) {
        Some(Core::Str) => true,
        Some(Core::Timestamp) => false,
        None => !text.chars().all(is_of_number) && !is_of_word && is_no_part_of_time(name, text),
    }
}

/// Whether no timestamp has a text form with all these characters.
pub(super) fn is_no_part_of_time(name: &str, text: &str) -> bool {
    let is_of_time = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ':' | 'T' | 'Z');
    match type_of_name(name) {
        Some(Core::Str) => true,
        Some(Core::Timestamp) => false,
        None => !text.chars().all(is_of_time),
    }
}

fn is_end(word: &str, text: &str) -> bool {
    word.starts_with(text) || word.ends_with(text)
}

/// Writes a comparison of the attribute with a number, or FALSE if it never is one.
pub(super) fn compare(out: &mut String, name: &str, operator: &str, number: Number) -> fmt::Result {
    match type_of_name(name) {
        Some(_) => out.write_str("FALSE"),
        None => write!(out, "{name} {operator} {number}"),
    }
}

/// Writes that the attribute is that truth value, or FALSE if it never is one.
pub(super) fn is_bool(out: &mut String, name: &str, known: bool) -> fmt::Result {
    match type_of_name(name) {
        Some(_) => out.write_str("FALSE"),
        None => write!(out, "{name} = {known}"),
    }
}
