//! Literals: numbers, strings, patterns, timestamps and durations.
//!
//! 1. What a literal says is known once it was read: out of range, malformed and unknown are
//!    errors, never values.
//! 2. Strings know `\'`, `\"` and `\\`, patterns also `\%` and `\_`; any other escape is refused,
//!    so that none is read in two ways.

use super::super::arithmetic::Operator;
use super::super::error::{Expected, FilterErrorReason};
use super::super::function::{Function, Signature};
use super::super::lexer::{Keyword, Token, TokenKind};
use super::super::pattern::{Element, FLOATING_CHARACTERS_MAX, Pattern};
use super::super::tree::{Literal, Node};
use super::{Parsed, Parser};
use crate::value::{Duration, Timestamp};

impl Parser<'_> {
    /// Reads a literal; `expected` says what to ask for if there is none.
    pub(super) fn literal(&mut self, expected: Expected) -> Parsed<Literal> {
        match self.token.kind {
            TokenKind::Integer(number) => self.integer(number),
            TokenKind::Float(number) => self.constant(Literal::Float(number)),
            TokenKind::Operator(Operator::Subtract) => self.negative(),
            TokenKind::String => self.string(),
            TokenKind::Keyword(Keyword::True) => self.constant(Literal::Bool(true)),
            TokenKind::Keyword(Keyword::False) => self.constant(Literal::Bool(false)),
            TokenKind::Name if self.lexer.is_before_open() => self.timestamp(),
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
        match self.negative_number()? {
            Some(literal) => Ok(literal),
            None => self.unexpected(Expected::Number),
        }
    }

    /// The number after a minus, if there is one.
    pub(super) fn negative_number(&mut self) -> Parsed<Option<Literal>> {
        let literal = match self.token.kind {
            // 2^63, the greatest that the lexer lets through, wraps to the least i64.
            TokenKind::Integer(number) => Literal::Int((number as i64).wrapping_neg()),
            TokenKind::Float(0.0) => Literal::Float(0.0),
            TokenKind::Float(number) => Literal::Float(-number),
            _ => return Ok(None),
        };
        self.constant(literal).map(Some)
    }

    fn string(&mut self) -> Parsed<Literal> {
        let text = self.string_text()?;
        Ok(Literal::Str(self.tree.push_text(&text)))
    }

    /// Reads a string that is no pattern.
    pub(super) fn string_text(&mut self) -> Parsed<String> {
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

    /// The one function that stands among literals, with a string.
    fn timestamp(&mut self) -> Parsed<Literal> {
        let word = &self.text[self.token.start..self.token.end];
        if Signature::find(word).is_none() {
            return self.refuse_function(self.token.start, word);
        }
        if !word.eq_ignore_ascii_case(Function::Timestamp.name()) {
            return self.unexpected(Expected::Literal);
        }
        match self.time(Function::Timestamp)? {
            Node::Literal(literal) => Ok(literal),
            _ => self.unexpected(Expected::Literal),
        }
    }

    /// TIMESTAMP or DURATION with a string, from its name on.
    pub(super) fn time(&mut self, function: Function) -> Parsed<Node> {
        self.advance()?;
        self.advance()?;
        let place = self.token.start;
        let text = self.string_text()?;
        let read = match function {
            Function::Duration => Duration::parse(&text)
                .map(Node::Duration)
                .map_err(|error| FilterErrorReason::MalformedDuration { error }),
            _ => Timestamp::parse_rfc3339(&text)
                .map(|timestamp| Node::Literal(Literal::Timestamp(timestamp)))
                .map_err(|error| FilterErrorReason::MalformedTimestamp { error }),
        };
        let node = read.or_else(|reason| self.refuse(place, reason))?;
        self.take(TokenKind::Close, Expected::End)?;
        Ok(node)
    }
}

fn element((character, escaped): (char, bool)) -> Element {
    match character {
        '%' if !escaped => Element::AnyText,
        '_' if !escaped => Element::AnyOne,
        character => Element::Exact(character),
    }
}
