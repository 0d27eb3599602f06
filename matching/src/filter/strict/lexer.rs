//! Words of CESQL, one at a time.
//!
//! 1. A token's bytes lie within the text, at character boundaries, after those of the token before;
//!    after the last comes [`TokenKind::End`] for ever.
//! 2. A sign is a token of its own: whether it belongs to a number depends on what stands before.
//! 3. A string ends at the first quote of its kind that no backslash stands before, where a backslash
//!    takes the character after it along. Only before that quote it is no part of the text.

use super::super::error::{FilterError, FilterErrorReason};
use super::super::lexer::{brief, string_bytes};
use super::super::tree::{Comparison, Connective};
use super::tree::{Arithmetic, Operator};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// First byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Letters and digits, not digits alone.
    Name,
    /// Letters and `_`: what can only be a function.
    FunctionName,
    Digits,
    /// With its quotes.
    String,
    Bool(bool),
    Not,
    Like,
    In,
    Exists,
    Operator(Operator),
    Open,
    Close,
    Comma,
    End,
}

/// All keywords, for near names.
pub(super) const KEYWORDS: &[&str] = &["AND", "OR", "XOR", "NOT", "IN", "LIKE", "EXISTS", "TRUE", "FALSE"];

/// Operators of other languages, longer ones before their beginnings.
const FOREIGN_OPERATORS: &[(&str, &str)] = &[
    ("===", "="),
    ("!==", "!="),
    ("==", "="),
    ("=>", ">="),
    ("=<", "<="),
    ("=~", "LIKE"),
    ("!~", "NOT LIKE"),
    ("&&", "AND"),
    ("&", "AND"),
    ("||", "OR"),
    ("|", "OR"),
    ("^", "XOR"),
    ("~", "LIKE"),
];

/// Operators, longer ones before their beginnings.
const OPERATORS: &[(&str, Operator)] = &[
    ("<=", Operator::Comparison(Comparison::LessOrEqual)),
    (">=", Operator::Comparison(Comparison::GreaterOrEqual)),
    ("!=", Operator::Comparison(Comparison::Unequal)),
    ("<>", Operator::Comparison(Comparison::Unequal)),
    ("=", Operator::Comparison(Comparison::Equal)),
    ("<", Operator::Comparison(Comparison::Less)),
    (">", Operator::Comparison(Comparison::Greater)),
    ("+", Operator::Arithmetic(Arithmetic::Add)),
    ("-", Operator::Arithmetic(Arithmetic::Subtract)),
    ("*", Operator::Arithmetic(Arithmetic::Multiply)),
    ("/", Operator::Arithmetic(Arithmetic::Divide)),
    ("%", Operator::Arithmetic(Arithmetic::Remainder)),
];

pub(super) struct Lexer<'t> {
    text: &'t str,
    position: usize,
}

type Lexed = Result<TokenKind, FilterError>;

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Lexer<'t> {
        Lexer { text, position: 0 }
    }

    /// The next token. On an error the lexer stays where it was refused.
    pub(super) fn next_token(&mut self) -> Result<Token, FilterError> {
        self.position = self.text.len() - self.rest().trim_ascii_start().len();
        let start = self.position;
        let kind = match self.rest().chars().next() {
            None => TokenKind::End,
            Some(c) if is_word_character(c) => self.word()?,
            Some(quote @ ('\'' | '"')) => self.string(quote)?,
            Some(c) => self.symbol(c)?,
        };
        Ok(Token { kind, start, end: self.position })
    }

    /// Whether a digit follows the token that was given out last, without space.
    pub(super) fn is_before_digit(&self) -> bool {
        self.rest().starts_with(|c: char| c.is_ascii_digit())
    }

    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    fn refuse<T>(&self, position: usize, reason: FilterErrorReason) -> Result<T, FilterError> {
        Err(FilterError::new(self.text, position, reason))
    }

    fn word(&mut self) -> Lexed {
        let start = self.position;
        let rest = self.rest();
        self.position += rest.find(|c| !is_word_character(c)).unwrap_or(rest.len());
        let word = &self.text[start..self.position];
        let follows = self.rest().chars().next();
        match (kind_of_word(word), follows) {
            (Some(TokenKind::Digits), Some('.')) => self.refuse_beyond(start, "a float"),
            (_, Some('.' | '[')) => self.refuse_beyond(start, "a path into the payload"),
            (Some(kind), _) => Ok(kind),
            (None, _) => self.refuse(start, FilterErrorReason::NotACesqlName { found: brief(word) }),
        }
    }

    fn refuse_beyond(&self, start: usize, what: &'static str) -> Lexed {
        self.refuse(start, FilterErrorReason::BeyondCesql { what })
    }

    fn string(&mut self, quote: char) -> Lexed {
        let start = self.position;
        if let Some(bytes) = string_bytes(self.rest(), quote) {
            self.position += bytes;
            return self.refuse_doubled_quote(quote);
        }
        self.refuse(start, FilterErrorReason::UnterminatedString { quote })
    }

    /// The grammar file has `'it''s'`, the text does not.
    fn refuse_doubled_quote(&self, quote: char) -> Lexed {
        if self.rest().starts_with(quote) {
            return self.refuse(self.position, FilterErrorReason::DoubledQuote { quote });
        }
        Ok(TokenKind::String)
    }

    fn symbol(&mut self, c: char) -> Lexed {
        if let Some(&(found, instead)) = self.starting(FOREIGN_OPERATORS) {
            return self.refuse(self.position, FilterErrorReason::ForeignOperator { found, instead });
        }
        if let Some((text, operator)) = self.starting(OPERATORS) {
            self.position += text.len();
            return Ok(TokenKind::Operator(*operator));
        }
        let kind = match c {
            '(' => TokenKind::Open,
            ')' => TokenKind::Close,
            ',' => TokenKind::Comma,
            '!' => {
                let reason = FilterErrorReason::ForeignOperator { found: "!", instead: "NOT" };
                return self.refuse(self.position, reason);
            }
            character => {
                return self.refuse(self.position, FilterErrorReason::UnknownCharacter { character });
            }
        };
        self.position += c.len_utf8();
        Ok(kind)
    }

    fn starting<T>(&self, known: &'static [(&'static str, T)]) -> Option<&'static (&'static str, T)> {
        known.iter().find(|(text, _)| self.rest().starts_with(text))
    }
}

/// The text of a string token that was given with its quotes.
pub(super) fn unquoted(token: &str) -> String {
    let quote = if token.starts_with('"') { '"' } else { '\'' };
    let mut text = String::with_capacity(token.len());
    let mut given = token[1..token.len() - 1].chars();
    while let Some(character) = given.next() {
        match character {
            '\\' => match given.next() {
                Some(escaped) if escaped == quote => text.push(quote),
                other => text.extend(Some('\\').into_iter().chain(other)),
            },
            character => text.push(character),
        }
    }
    text
}

fn is_word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `None` for what is neither a name (section 2.2) nor that of a function (section 2.4).
fn kind_of_word(word: &str) -> Option<TokenKind> {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
    let connective = |connective| TokenKind::Operator(Operator::Connective(connective));
    Some(match word {
        _ if is("AND") => connective(Connective::And),
        _ if is("OR") => connective(Connective::Or),
        _ if is("XOR") => connective(Connective::Xor),
        _ if is("NOT") => TokenKind::Not,
        _ if is("IN") => TokenKind::In,
        _ if is("LIKE") => TokenKind::Like,
        _ if is("EXISTS") => TokenKind::Exists,
        _ if is("TRUE") => TokenKind::Bool(true),
        _ if is("FALSE") => TokenKind::Bool(false),
        _ if word.bytes().all(|byte| byte.is_ascii_digit()) => TokenKind::Digits,
        _ if !word.contains('_') => TokenKind::Name,
        _ if !word.starts_with('_') && !word.contains(|c: char| c.is_ascii_digit()) => {
            TokenKind::FunctionName
        }
        _ => return None,
    })
}
