//! Literals: numbers, strings, patterns and constant functions.
//!
//! 1. What a literal says is known once it was read: out of range, malformed and unknown are
//!    errors, never values.
//! 2. Strings know `\'`, `\"` and `\\`, patterns also `\%` and `\_`; any other escape is refused,
//!    so that none is read in two ways.

use super::super::error::{Expected, FilterErrorReason};
use super::super::lexer::{Keyword, Token, TokenKind, brief};
use super::super::near::nearest;
use super::super::pattern::{Element, FLOATING_CHARACTERS_MAX, Pattern};
use super::super::tree::Literal;
use super::{Parsed, Parser};
use crate::value::Timestamp;

const TIMESTAMP: &str = "TIMESTAMP";

/// The functions of CESQL 1.0 section 3.5, which are not here yet.
const CESQL_FUNCTIONS: &[&str] = &[
    "ABS",
    "BOOL",
    "CONCAT",
    "CONCAT_WS",
    "INT",
    "IS_BOOL",
    "IS_INT",
    "LEFT",
    "LENGTH",
    "LOWER",
    "RIGHT",
    "STRING",
    "SUBSTRING",
    "TRIM",
    "UPPER",
];

impl Parser<'_> {
    /// Reads a literal; `expected` says what to ask for if there is none.
    pub(super) fn literal(&mut self, expected: Expected) -> Parsed<Literal> {
        match self.token.kind {
            TokenKind::Integer(number) => self.integer(number),
            TokenKind::Float(number) => self.constant(Literal::Float(number)),
            TokenKind::Minus => self.negative(),
            TokenKind::String => self.string(),
            TokenKind::Keyword(Keyword::True) => self.constant(Literal::Bool(true)),
            TokenKind::Keyword(Keyword::False) => self.constant(Literal::Bool(false)),
            TokenKind::Name if self.lexer.is_before_open() => self.function_call(),
            _ => self.unexpected(expected),
        }
    }

    fn constant(&mut self, literal: Literal) -> Parsed<Literal> {
        self.advance()?;
        Ok(literal)
    }

    fn integer(&mut self, number: u64) -> Parsed<Literal> {
        match i64::try_from(number) {
            Ok(number) => self.constant(Literal::Int(number)),
            Err(_) => self.refuse(self.token.start, FilterErrorReason::IntegerOutOfRange),
        }
    }

    fn negative(&mut self) -> Parsed<Literal> {
        self.advance()?;
        match self.token.kind {
            // 2^63, the greatest that the lexer lets through, wraps to the least i64.
            TokenKind::Integer(number) => self.constant(Literal::Int((number as i64).wrapping_neg())),
            TokenKind::Float(0.0) => self.constant(Literal::Float(0.0)),
            TokenKind::Float(number) => self.constant(Literal::Float(-number)),
            _ => self.unexpected(Expected::Number),
        }
    }

    fn string(&mut self) -> Parsed<Literal> {
        let text = self.string_text()?;
        Ok(Literal::Str(self.tree.push_text(&text)))
    }

    /// Reads a string that is no pattern.
    fn string_text(&mut self) -> Parsed<String> {
        let token = self.token;
        if token.kind != TokenKind::String {
            return self.unexpected(Expected::String);
        }
        let characters = self.characters(token, &['\'', '"', '\\'])?;
        self.advance()?;
        Ok(characters.into_iter().map(|(character, _)| character).collect())
    }

    /// Reads the pattern of a LIKE and returns its place in the tree.
    pub(super) fn pattern(&mut self) -> Parsed<u32> {
        let token = self.token;
        if token.kind != TokenKind::String {
            return self.unexpected(Expected::String);
        }
        let characters = self.characters(token, &['\'', '"', '\\', '%', '_'])?;
        let elements: Vec<Element> = characters.into_iter().map(element).collect();
        match Pattern::new(&elements) {
            Ok(pattern) => {
                self.advance()?;
                Ok(self.tree.push_pattern(pattern))
            }
            Err(got) => {
                let limit = FLOATING_CHARACTERS_MAX;
                self.refuse(token.start, FilterErrorReason::PatternTooLong { got, limit })
            }
        }
    }

    /// The characters of a string between its quotes, each with whether it was escaped.
    fn characters(&self, token: Token, escapes: &[char]) -> Parsed<Vec<(char, bool)>> {
        let start = token.start + 1;
        let mut given = self.text[start..token.end - 1].char_indices();
        let mut characters = Vec::new();
        while let Some((index, character)) = given.next() {
            if character != '\\' {
                characters.push((character, false));
                continue;
            }
            match given.next() {
                Some((_, escaped)) if escapes.contains(&escaped) => {
                    characters.push((escaped, true));
                }
                other => {
                    let character = other.map_or('\\', |(_, character)| character);
                    let reason = FilterErrorReason::UnknownEscape { character };
                    return self.refuse(start + index, reason);
                }
            }
        }
        Ok(characters)
    }

    fn function_call(&mut self) -> Parsed<Literal> {
        let name = self.token;
        self.advance()?;
        self.function(name)
    }

    /// Reads the arguments of the function `name`, from its `(`.
    pub(super) fn function(&mut self, name: Token) -> Parsed<Literal> {
        let word = &self.text[name.start..name.end];
        if !word.eq_ignore_ascii_case(TIMESTAMP) {
            return self.refuse(name.start, unknown_function(word));
        }
        self.advance()?;
        let argument = self.token.start;
        let text = self.string_text()?;
        let timestamp = match Timestamp::parse_rfc3339(&text) {
            Ok(timestamp) => timestamp,
            Err(error) => {
                return self.refuse(argument, FilterErrorReason::MalformedTimestamp { error });
            }
        };
        self.take(TokenKind::Close, Expected::End)?;
        Ok(Literal::Timestamp(timestamp))
    }
}

fn element((character, escaped): (char, bool)) -> Element {
    match character {
        '%' if !escaped => Element::AnyText,
        '_' if !escaped => Element::AnyOne,
        character => Element::Exact(character),
    }
}

fn unknown_function(word: &str) -> FilterErrorReason {
    match CESQL_FUNCTIONS.iter().find(|name| word.eq_ignore_ascii_case(name)) {
        Some(name) => FilterErrorReason::UnsupportedFunction { name },
        None => FilterErrorReason::UnknownFunction { name: brief(word), near: nearest(word, &[TIMESTAMP]) },
    }
}
