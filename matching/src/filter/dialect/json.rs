//! JSON (RFC 8259) with the place of each value, which messages point at.
//!
//! 1. A name stands once in an object; containers nest at most [`DEPTH_MAX`] deep.
//! 2. Numbers without fraction and exponent that fit an i64 are integers, and so are floats that
//!    are whole and fit; others are finite floats.
//!
//! Payloads are read in `crate::json`, which needs no places.

use std::fmt::{self, Write};
use std::iter::Peekable;
use std::str::CharIndices;

use super::super::DEPTH_MAX;
use super::super::error::{FilterError, FilterErrorReason};
use crate::value::Value;

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Json {
    pub(super) start: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Str(String),
    Array(Vec<Json>),
    Object(Vec<Member>),
}

#[derive(Debug)]
pub(super) struct Member {
    /// Where the name begins.
    pub(super) start: usize,
    pub(super) name: String,
    pub(super) value: Json,
}

/// A number; the float is finite and no integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    /// The number that `float` is, if it is finite.
    pub(super) fn of_float(float: f64) -> Option<Number> {
        // Both bounds are floats, and what lies between them fits.
        let fits = float.fract() == 0.0 && (-(2.0_f64.powi(63))..2.0_f64.powi(63)).contains(&float);
        match fits {
            true => Some(Number::Int(float as i64)),
            false => float.is_finite().then_some(Number::Float(float)),
        }
    }

    pub(super) fn value(self) -> Value<'static> {
        match self {
            Number::Int(number) => Value::Int(number),
            Number::Float(number) => Value::Float(number),
        }
    }
}

/// As JSON and the filter language both write it.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Int(number) => write!(f, "{number}"),
            // `{:?}` is the shortest text that reads back the same, with a `.` or an `e`.
            Number::Float(number) => write!(f, "{number:?}"),
        }
    }
}

/// Reads a text that is one JSON value.
pub(super) fn parse(text: &str) -> Result<Json, FilterError> {
    let mut reader = Reader { text, characters: text.char_indices().peekable(), depth: 0 };
    let json = reader.value()?;
    match reader.peek() {
        None => Ok(json),
        Some(_) => reader.expected("nothing more"),
    }
}

/// Where the character stands in `text` that a string which begins at `start` has at `decoded`, in
/// bytes.
pub(super) fn place_in_string(text: &str, start: usize, decoded: usize) -> usize {
    let mut reader = Reader { text, characters: text[start..].char_indices().peekable(), depth: 0 };
    let mut bytes = 0;
    reader.characters.next();
    while bytes < decoded {
        match reader.character(start) {
            Ok(Some(character)) => bytes += character.len_utf8(),
            _ => break,
        }
    }
    start + reader.characters.peek().map_or(0, |(position, _)| *position)
}

/// Writes `text` as a JSON string.
pub(super) fn write_string(out: &mut String, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            control if control < ' ' => write!(out, "\\u{:04x}", u32::from(control))?,
            character => out.write_char(character)?,
        }
    }
    out.write_char('"')
}

struct Reader<'t> {
    text: &'t str,
    characters: Peekable<CharIndices<'t>>,
    depth: usize,
}

type Read<T> = Result<T, FilterError>;

impl Reader<'_> {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        while self.characters.next_if(|(_, c)| matches!(c, ' ' | '\t' | '\n' | '\r')).is_some() {}
        self.characters.peek().map(|(_, character)| *character)
    }

    fn position(&mut self) -> usize {
        self.characters.peek().map_or(self.text.len(), |(position, _)| *position)
    }

    fn refuse<T>(&self, position: usize, reason: FilterErrorReason) -> Read<T> {
        Err(FilterError::new(self.text, position, reason))
    }

    fn expected<T>(&mut self, expected: &'static str) -> Read<T> {
        let position = self.position();
        self.refuse(position, FilterErrorReason::MalformedJson { expected })
    }

    fn take(&mut self, wanted: char, expected: &'static str) -> Read<()> {
        match self.peek() {
            Some(given) if given == wanted => {
                self.characters.next();
                Ok(())
            }
            _ => self.expected(expected),
        }
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.characters.next().is_some()
    }

    fn value(&mut self) -> Read<Json> {
        let first = self.peek();
        let start = self.position();
        let kind = match first {
            Some('{') => self.nested(start, Self::object)?,
            Some('[') => self.nested(start, Self::array)?,
            Some('"') => Kind::Str(self.string()?),
            Some('-' | '0'..='9') => Kind::Number(self.number(start)?),
            Some('a'..='z') => self.word(start)?,
            _ => return self.expected("a value"),
        };
        Ok(Json { start, kind })
    }

    fn nested(&mut self, start: usize, read: impl FnOnce(&mut Self) -> Read<Kind>) -> Read<Kind> {
        if self.depth == DEPTH_MAX {
            return self.refuse(start, FilterErrorReason::TooDeep { limit: DEPTH_MAX });
        }
        self.depth += 1;
        self.characters.next();
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn object(&mut self) -> Read<Kind> {
        let mut members: Vec<Member> = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        if self.takes('}') {
            return Ok(Kind::Object(members));
        }
        loop {
            if self.peek() != Some('"') {
                return self.expected("a name in double quotes");
            }
            let start = self.position();
            let name = self.string()?;
            if !names.insert(name.clone()) {
                return self.refuse(start, FilterErrorReason::RepeatedJsonName);
            }
            self.take(':', "`:`")?;
            let value = self.value()?;
            members.push(Member { start, name, value });
            if !self.takes(',') {
                break;
            }
        }
        self.take('}', "`,` or `}`")?;
        Ok(Kind::Object(members))
    }

    fn array(&mut self) -> Read<Kind> {
        let mut elements = Vec::new();
        if self.takes(']') {
            return Ok(Kind::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            if !self.takes(',') {
                break;
            }
        }
        self.take(']', "`,` or `]`")?;
        Ok(Kind::Array(elements))
    }

    fn string(&mut self) -> Read<String> {
        let start = self.position();
        self.characters.next();
        let mut text = String::new();
        while let Some(character) = self.character(start)? {
            text.push(character);
        }
        Ok(text)
    }

    /// The next character of the string that began at `start`, or `None` after its quote.
    fn character(&mut self, start: usize) -> Read<Option<char>> {
        match self.characters.next() {
            Some((_, '"')) => Ok(None),
            Some((position, '\\')) => self.escape(position).map(Some),
            Some((position, control)) if control < ' ' => self.refuse(
                position,
                FilterErrorReason::MalformedJson { expected: "an escape for a control character" },
            ),
            Some((_, character)) => Ok(Some(character)),
            None => self.refuse(start, FilterErrorReason::UnterminatedString { quote: '"' }),
        }
    }

    fn escape(&mut self, position: usize) -> Read<char> {
        match self.characters.next() {
            Some((_, character @ ('"' | '\\' | '/'))) => Ok(character),
            Some((_, 'b')) => Ok('\u{8}'),
            Some((_, 'f')) => Ok('\u{c}'),
            Some((_, 'n')) => Ok('\n'),
            Some((_, 'r')) => Ok('\r'),
            Some((_, 't')) => Ok('\t'),
            Some((_, 'u')) => self.unicode(position),
            _ => self.bad_escape(position),
        }
    }

    fn bad_escape<T>(&self, position: usize) -> Read<T> {
        self.refuse(position, FilterErrorReason::MalformedJson { expected: "one of the escapes" })
    }

    /// `\uXXXX`, or two of them for a character beyond 16 bits.
    fn unicode(&mut self, position: usize) -> Read<char> {
        let first = self.hex(position)?;
        let code = match first {
            0xd800..=0xdbff => {
                let follows = self.characters.next().map(|(_, c)| c) == Some('\\')
                    && self.characters.next().map(|(_, c)| c) == Some('u');
                match if follows { self.hex(position)? } else { 0 } {
                    second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return self.bad_escape(position),
                }
            }
            code => code,
        };
        char::from_u32(code).map_or_else(|| self.bad_escape(position), Ok)
    }

    fn hex(&mut self, position: usize) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self.characters.next().and_then(|(_, digit)| digit.to_digit(16)) {
                Some(digit) => code = code << 4 | digit,
                None => return self.bad_escape(position),
            }
        }
        Ok(code)
    }

    fn number(&mut self, start: usize) -> Read<Number> {
        let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        while self.characters.next_if(|(_, c)| belongs(*c)).is_some() {}
        let end = self.position();
        let text = &self.text[start..end];
        if !is_number(text) {
            return self.refuse(start, FilterErrorReason::MalformedJson { expected: "a number" });
        }
        if let Ok(number) = text.parse() {
            return Ok(Number::Int(number));
        }
        match text.parse().ok().and_then(Number::of_float) {
            Some(number) => Ok(number),
            None => self.refuse(start, FilterErrorReason::FloatOutOfRange),
        }
    }

    fn word(&mut self, start: usize) -> Read<Kind> {
        while self.characters.next_if(|(_, c)| c.is_ascii_alphabetic()).is_some() {}
        let end = self.position();
        match &self.text[start..end] {
            "null" => Ok(Kind::Null),
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            _ => self.refuse(start, FilterErrorReason::MalformedJson { expected: "a value" }),
        }
    }
}

/// `-`, digits without a needless zero, a fraction, an exponent.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    let is_short = whole == "0" || !whole.starts_with('0');
    digits(whole) && is_short && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(json: &Json, value: &serde_json::Value) -> bool {
        match (&json.kind, value) {
            (Kind::Null, serde_json::Value::Null) => true,
            (Kind::Bool(a), serde_json::Value::Bool(b)) => a == b,
            (Kind::Number(a), serde_json::Value::Number(b)) => {
                b.as_i64().map_or(b.as_f64().and_then(Number::of_float), |b| Some(Number::Int(b))) == Some(*a)
            }
            (Kind::Str(a), serde_json::Value::String(b)) => a == b,
            (Kind::Array(a), serde_json::Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            (Kind::Object(a), serde_json::Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|a| b.get(&a.name).is_some_and(|b| same(&a.value, b)))
            }
            _ => false,
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        let cases = [
            ("{\"a\" 1}", 5),
            ("{\"a\":1,}", 7),
            ("[1 2]", 3),
            ("[1", 2),
            ("{} x", 3),
            ("\"a", 0),
            ("\"\\x\"", 1),
            ("[\"\\ud800\"]", 2),
            ("[01]", 1),
            ("[1.]", 1),
            ("[1e999]", 1),
            ("[nul]", 1),
            ("{\"a\":1,\"\\u0061\":2}", 7),
            ("[\"a\tb\"]", 3),
            ("", 0),
        ];
        for (text, position) in cases {
            assert_eq!(parse(text).unwrap_err().position, position, "{text}");
        }
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(parse(&deep(DEPTH_MAX + 1)).unwrap_err().position, DEPTH_MAX);
    }

    #[test]
    fn a_place_within_a_string_is_found_through_its_escapes() {
        let text = r#"{"sql": "a\u00e9\n\"b"}"#;
        let string = 8;
        let places: Vec<usize> =
            [0, 1, 3, 4, 5, 6].iter().map(|decoded| place_in_string(text, string, *decoded)).collect();
        assert_eq!(places, [9, 10, 16, 18, 20, 21]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_another_reader_reads(
            text in "[\\[\\]{},: 0-9eE.+\"\\\\untrflsa-]{0,20}|(\\[-?[0-9]{1,20}(\\.[0-9]{1,3})?(e-?[0-9]{1,2})?\\])",
        ) {
            match (parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(json), Ok(value)) => prop_assert!(same(&json, &value), "{text}"),
                (Err(error), Ok(_)) => prop_assert_eq!(error.reason, FilterErrorReason::RepeatedJsonName),
                (Ok(_), Err(error)) => prop_assert!(false, "{text}: {error}"),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn a_string_that_is_written_is_read_again(text in "\\PC{0,8}|[\u{0}-\u{20}\"\\\\é😀]{0,8}") {
            let mut out = String::new();
            write_string(&mut out, &text).unwrap();
            prop_assert!(matches!(parse(&out).unwrap().kind, Kind::Str(read) if read == text));
        }
    }
}
