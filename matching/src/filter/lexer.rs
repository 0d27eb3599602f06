//! Words of the filter language, one at a time.
//!
//! 1. A token's bytes lie within the text, at character boundaries, after those of the token
//!    before; after the last comes [`TokenKind::End`] for ever.
//! 2. Escapes are left as they are: only the parser knows whether a string is a pattern.
//! 3. What has no meaning is refused here, with what to write instead where that is known.

use super::arithmetic::Operator;
use super::error::{FilterError, FilterErrorReason};
use super::tree::{Comparison, Connective};
use crate::path;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// First byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TokenKind {
    Name,
    /// `data` and what follows it without space; the parser judges it.
    Path,
    Keyword(Keyword),
    /// Below or equal to 2^63, which only a minus before it makes an i64.
    Integer(u64),
    /// Finite.
    Float(f64),
    /// With its quotes.
    String,
    Comparison(Comparison),
    Connective(Connective),
    Operator(Operator),
    Open,
    Close,
    Comma,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    True,
    False,
    Not,
    In,
    Like,
    Between,
    Is,
    Null,
    Exists,
}

/// All keywords, for near names.
pub(super) const KEYWORDS: &[&str] =
    &["AND", "OR", "XOR", "NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL", "EXISTS", "TRUE", "FALSE"];

/// Operators of other languages, longer ones before their beginnings.
const FOREIGN_OPERATORS: &[(&str, &str)] = &[
    ("===", "="),
    ("!==", "!="),
    ("==", "="),
    ("=>", ">="),
    ("=<", "<="),
    ("=~", "LIKE"),
    ("--", "- -"),
    ("//", "/"),
    ("!~", "NOT LIKE"),
    ("&&", "AND"),
    ("&", "AND"),
    ("||", "OR"),
    ("|", "OR"),
    ("^", "XOR"),
    ("~", "LIKE"),
];

/// Operators, longer ones before their beginnings.
const COMPARISONS: &[(&str, Comparison)] = &[
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("!=", Comparison::Unequal),
    ("<>", Comparison::Unequal),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

#[derive(Clone)]
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
        self.skip(|c| c.is_ascii_whitespace());
        let start = self.position;
        let kind = match self.rest().chars().next() {
            None => TokenKind::End,
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word()?,
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some(quote @ ('\'' | '"')) => self.string(quote)?,
            Some(c) => self.symbol(c)?,
        };
        Ok(Token { kind, start, end: self.position })
    }

    /// Whether the next tokens are a string between parentheses.
    pub(super) fn is_before_one_string(&self) -> bool {
        let mut ahead = self.clone();
        let expected = [TokenKind::Open, TokenKind::String, TokenKind::Close];
        expected.into_iter().all(|kind| ahead.next_token().is_ok_and(|token| token.kind == kind))
    }

    /// Whether the token that was given out last is followed by `(`.
    pub(super) fn is_before_open(&self) -> bool {
        self.rest().trim_ascii_start().starts_with('(')
    }

    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.position = self.text.len() - rest.trim_start_matches(wanted).len();
    }

    fn refuse<T>(&self, position: usize, reason: FilterErrorReason) -> Result<T, FilterError> {
        Err(FilterError::new(self.text, position, reason))
    }

    fn word(&mut self) -> Lexed {
        let start = self.position;
        self.skip(is_name_character);
        let word = &self.text[start..self.position];
        if self.rest().starts_with(['.', '[']) {
            return self.path(start, word);
        }
        Ok(keyword(word))
    }

    fn path(&mut self, start: usize, word: &str) -> Lexed {
        if word != path::ROOT {
            return self.refuse(start, FilterErrorReason::NoMembers { name: brief(word) });
        }
        self.position = start + path::extent(&self.text[start..]);
        Ok(TokenKind::Path)
    }

    /// Takes all that could belong to a number before judging it, so that `1.2.3` and `12ab` are
    /// refused whole.
    fn number(&mut self) -> Lexed {
        let start = self.position;
        let mut before = ' ';
        for c in self.rest().chars() {
            let signs_exponent = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
            if !(is_name_character(c) || c == '.' || signs_exponent) {
                break;
            }
            self.position += c.len_utf8();
            before = c;
        }
        let found = &self.text[start..self.position];
        match found {
            _ if is_digits(found) => self.integer(start, found),
            _ if is_float(found) => self.float(start, found),
            _ => self.refuse(start, FilterErrorReason::MalformedNumber { found: brief(found) }),
        }
    }

    fn integer(&self, start: usize, digits: &str) -> Lexed {
        match digits.parse() {
            Ok(number) if number <= i64::MIN.unsigned_abs() => Ok(TokenKind::Integer(number)),
            _ => self.refuse(start, FilterErrorReason::IntegerOutOfRange),
        }
    }

    fn float(&self, start: usize, text: &str) -> Lexed {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(TokenKind::Float(number)),
            _ => self.refuse(start, FilterErrorReason::FloatOutOfRange),
        }
    }

    fn string(&mut self, quote: char) -> Lexed {
        let start = self.position;
        if let Some(bytes) = string_bytes(self.rest(), quote) {
            self.position += bytes;
            return self.refuse_doubled_quote(quote);
        }
        self.refuse(start, FilterErrorReason::UnterminatedString { quote })
    }

    /// SQL writes `'it''s'`, which would be two strings here.
    fn refuse_doubled_quote(&self, quote: char) -> Lexed {
        if self.rest().starts_with(quote) {
            return self.refuse(self.position, FilterErrorReason::DoubledQuote { quote });
        }
        Ok(TokenKind::String)
    }

    fn symbol(&mut self, c: char) -> Lexed {
        self.refuse_foreign_operator()?;
        if let Some((text, comparison)) = self.starting(COMPARISONS) {
            self.position += text.len();
            return Ok(TokenKind::Comparison(*comparison));
        }
        let kind = match c {
            '(' => TokenKind::Open,
            ')' => TokenKind::Close,
            ',' => TokenKind::Comma,
            '+' => TokenKind::Operator(Operator::Add),
            '-' => TokenKind::Operator(Operator::Subtract),
            '*' => TokenKind::Operator(Operator::Multiply),
            '/' => TokenKind::Operator(Operator::Divide),
            '%' => TokenKind::Operator(Operator::Remainder),
            _ => return self.refuse_symbol(c),
        };
        self.position += c.len_utf8();
        Ok(kind)
    }

    fn starting<T>(&self, operators: &'static [(&'static str, T)]) -> Option<&'static (&'static str, T)> {
        operators.iter().find(|(text, _)| self.rest().starts_with(text))
    }

    fn refuse_foreign_operator(&self) -> Result<(), FilterError> {
        match self.starting(FOREIGN_OPERATORS) {
            None => Ok(()),
            Some(&(found, instead)) => {
                self.refuse(self.position, FilterErrorReason::ForeignOperator { found, instead })
            }
        }
    }

    fn refuse_symbol(&self, c: char) -> Lexed {
        let reason = match c {
            '!' => FilterErrorReason::ForeignOperator { found: "!", instead: "NOT" },
            '.' => FilterErrorReason::MalformedNumber { found: ".".into() },
            character => FilterErrorReason::UnknownCharacter { character },
        };
        self.refuse(self.position, reason)
    }
}

/// How many bytes the string takes that `text` begins with, with its quotes; `None` if it does not
/// end. Strict mode and the default mode end strings alike.
pub(super) fn string_bytes(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(index + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// The beginning of a word for a message.
pub(super) fn brief(word: &str) -> Box<str> {
    const CHARACTERS_MAX: usize = 40;
    match word.char_indices().nth(CHARACTERS_MAX) {
        None => word.into(),
        Some((end, _)) => format!("{}…", &word[..end]).into(),
    }
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(mantissa),
    };
    let unsigned = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    mantissa_fits && unsigned.is_none_or(is_digits)
}

fn keyword(word: &str) -> TokenKind {
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
    match word {
        _ if is("AND") => TokenKind::Connective(Connective::And),
        _ if is("OR") => TokenKind::Connective(Connective::Or),
        _ if is("XOR") => TokenKind::Connective(Connective::Xor),
        _ if is("NOT") => TokenKind::Keyword(Keyword::Not),
        _ if is("IN") => TokenKind::Keyword(Keyword::In),
        _ if is("LIKE") => TokenKind::Keyword(Keyword::Like),
        _ if is("BETWEEN") => TokenKind::Keyword(Keyword::Between),
        _ if is("IS") => TokenKind::Keyword(Keyword::Is),
        _ if is("NULL") => TokenKind::Keyword(Keyword::Null),
        _ if is("EXISTS") => TokenKind::Keyword(Keyword::Exists),
        _ if is("TRUE") => TokenKind::Keyword(Keyword::True),
        _ if is("FALSE") => TokenKind::Keyword(Keyword::False),
        _ => TokenKind::Name,
    }
}
