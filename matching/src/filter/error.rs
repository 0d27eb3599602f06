//! What is wrong with a filter, said so that a person can put it right.
//!
//! 1. Every error has a place: `line:column` counted from 1, columns in characters.
//! 2. The message shows the offending line, cut to a window around the caret, which stands under the
//!    place where characters take as many cells as Unicode says.
//! 3. The reasons are fields, not prose; the prose is their `Display`.
//! 4. No control character of the filter is in the message of a [`FilterError`], and nothing that turns
//!    the direction of writing.

use std::fmt;
use std::ops::RangeInclusive;

use unicode_width::UnicodeWidthStr;

use super::function;
use super::types::{Type, Types};
use crate::path::PathErrorReason;
use crate::value::{DurationError, TimestampError};

/// How many characters of the offending line are shown on either side of the caret.
const EXCERPT_SIDE_CHARACTERS: usize = 48;

/// Why a text is no filter, and where. Nothing was kept of the text but an excerpt.
///
/// Displays `line:column: message`, the offending line and a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1; one past the end if something is missing there.
    pub column: usize,
    /// The place in bytes, from 0.
    pub position: usize,
    /// What is wrong.
    pub reason: FilterErrorReason,
    excerpt: Box<Excerpt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: String,
    /// Cells of a terminal before the caret.
    indent: usize,
}

impl FilterError {
    pub(super) fn new(text: &str, position: usize, reason: FilterErrorReason) -> FilterError {
        let (line, column) = line_and_column(text, position);
        let excerpt = Box::new(Excerpt::new(text, position));
        FilterError { line, column, position, reason, excerpt }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason: String = self.reason.to_string().chars().map(printable).collect();
        writeln!(f, "{}:{}: {reason}", self.line, self.column)?;
        writeln!(f, "  {}", self.excerpt.line)?;
        write!(f, "  {:indent$}^", "", indent = self.excerpt.indent)
    }
}

impl std::error::Error for FilterError {}

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterErrorReason {
    /// There is nothing but space.
    #[error(
        "the filter is empty: write a condition, such as `amount > 10`, or leave the filter out to get every event"
    )]
    Empty,
    /// Over [`super::TEXT_BYTES_MAX`] as given.
    #[error(
        "the filter is {got} bytes long, the limit is {limit}: shorten it, or split it into several subscriptions"
    )]
    TooLong {
        /// Bytes of the filter.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Over [`super::TEXT_BYTES_MAX`] in canonical form.
    #[error(
        "in canonical form, with spaces around operators and each quote within a string escaped, the filter is {got} bytes long, the limit is {limit}: shorten it, or split it into several subscriptions"
    )]
    CanonicalTooLong {
        /// Bytes of the canonical text.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Over [`super::DEPTH_MAX`].
    #[error("parentheses, NOT, minus and calls nest deeper than {limit} levels: flatten the filter")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// Over [`super::NODES_MAX`].
    #[error(
        "the filter has more than {limit} names, literals and operators: shorten it, or split it into several subscriptions"
    )]
    TooManyNodes {
        /// Nodes allowed.
        limit: usize,
    },
    /// Over [`super::COST_MAX`].
    #[error(
        "evaluating the filter would cost more than {limit}: each CONCAT, CONCAT_WS, LOWER, STRING and UPPER costs {cost}, all else 1; drop some, or split the filter into several subscriptions",
        cost = super::MAKING_COST
    )]
    TooCostly {
        /// Cost allowed.
        limit: usize,
    },
    /// Between two `%` of a LIKE pattern stand too many characters, `_` among them.
    #[error(
        "between two `%` of the pattern stand {got} characters with `_` among them, the limit is {limit}: drop a `_`, or split the pattern into several LIKE"
    )]
    PatternTooLong {
        /// Characters between the two.
        got: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// Something stands where something else must.
    #[error("expected {expected}{}{}{}", after_text(after), found_text(found), detail_text(expected, near))]
    Unexpected {
        /// What the language asks for here.
        expected: Expected,
        /// The word before, if there is one.
        after: Option<Box<str>>,
        /// The word that stands here; `None` at the end.
        found: Option<Box<str>>,
        /// A keyword that may be meant.
        near: Option<&'static str>,
    },
    /// An operator of other languages.
    #[error("`{found}` is not an operator of filters: use `{instead}`")]
    ForeignOperator {
        /// As written.
        found: &'static str,
        /// What says the same here.
        instead: &'static str,
    },
    /// A type with which an operator of arithmetic has no meaning.
    #[error("`{operator}` has no meaning with {found}{}", operand_help(*operator, *found))]
    NoOperand {
        /// The operator.
        operator: char,
        /// The type, or types, of the operand.
        found: Types,
    },
    /// Two types between which an operator of arithmetic has no meaning.
    #[error("`{operator}` has no meaning between {left} and {right}{}", operands_help(*left, *right))]
    OperandsDiffer {
        /// The operator.
        operator: char,
        /// What the left operand may be.
        left: Types,
        /// What the right one may be.
        right: Types,
    },
    /// Constants that give nothing.
    #[error("`{text}` has no value: a division by zero, a result out of range, or a cast that does not fit")]
    NoValue {
        /// The beginning of its canonical text.
        text: Box<str>,
    },
    /// `name.member` or `name[0]`.
    #[error(
        "`{name}` has no members: a path into the payload begins with `data`, as in `data.order.items[0]`, and the name of an attribute holds letters, digits and `_` only"
    )]
    NoMembers {
        /// The name before the path.
        name: Box<str>,
    },
    /// A path that is none.
    #[error("not a path into the payload: {error}; write `data.order.items[0]['odd key']`")]
    MalformedPath {
        /// What does not fit.
        error: PathErrorReason,
    },
    /// A character that begins nothing.
    #[error("`{}` has no meaning here{}", character.escape_debug(), character_help(*character))]
    UnknownCharacter {
        /// The character.
        character: char,
    },
    /// A string without its closing quote.
    #[error("the string that begins here has no closing {quote}")]
    UnterminatedString {
        /// The quote that it begins with.
        quote: char,
    },
    /// `''` within a string.
    #[error("a quote within a string is written with a backslash: \\{quote}")]
    DoubledQuote {
        /// The quote that was doubled.
        quote: char,
    },
    /// A backslash before something that needs none.
    #[error("`\\{}` is no escape{}: a backslash is written `\\\\`", character.escape_debug(), escape_help(*character))]
    UnknownEscape {
        /// What follows the backslash.
        character: char,
    },
    /// Digits that form no number.
    #[error("`{found}` is not a number: write `12`, `0.5` or `1e-3`")]
    MalformedNumber {
        /// As written.
        found: Box<str>,
    },
    /// An integer beyond 64 bits.
    #[error(
        "the integer does not fit 64 bits, -9223372036854775808 to 9223372036854775807: write it with `.0` to compare as a float"
    )]
    IntegerOutOfRange,
    /// A float beyond 64 bits.
    #[error("the number is greater than a 64-bit float can be")]
    FloatOutOfRange,
    /// A name before `(` that is no function.
    #[error("unknown function `{name}`{}", function_help(near))]
    UnknownFunction {
        /// As written.
        name: Box<str>,
        /// What may be meant.
        near: Option<&'static str>,
    },
    /// A function that would say something else each time.
    #[error(
        "there is no {name}: a filter looks at the event alone, so that it says the same whenever and wherever it is asked; compare with `time`, another attribute or TIMESTAMP('…')"
    )]
    ImpureFunction {
        /// Its name.
        name: &'static str,
    },
    /// Too many arguments, or too few.
    #[error("{function} takes {}", arguments_text(*min, *max))]
    ArgumentCount {
        /// The function.
        function: &'static str,
        /// How many it needs.
        min: usize,
        /// How many it takes, or `None` for any number.
        max: Option<usize>,
    },
    /// An argument of a type that never fits.
    #[error("{function} takes {wanted} here, and this is {found}{}", argument_help(*wanted, *found))]
    ArgumentType {
        /// The function.
        function: &'static str,
        /// What fits.
        wanted: Types,
        /// What the argument may be.
        found: Types,
    },
    /// The text within TIMESTAMP is no RFC 3339 time.
    #[error("not an RFC 3339 timestamp: {error}; write TIMESTAMP('2024-05-01T12:30:00Z')")]
    MalformedTimestamp {
        /// What does not fit.
        error: TimestampError,
    },
    /// The text within DURATION is none.
    #[error("not a duration: {error}; write DURATION('90s'), DURATION('1h30m') or DURATION('PT90S')")]
    MalformedDuration {
        /// What does not fit.
        error: DurationError,
    },
    /// `name = NULL`.
    #[error("NULL is not a value: write `name IS NULL` or `name IS NOT NULL`")]
    NullAsValue,
    /// IS NULL after something else than a name or a path.
    #[error("IS NULL asks whether an attribute is missing: put a name or a path before IS")]
    IsNullWithoutName,
    /// AND, OR and XOR on one level.
    #[error("AND, OR and XOR on one level need parentheses: {}", readings_text(Some((cesql, true)), sql))]
    MixedConnectives {
        /// With the parentheses that CESQL implies: left to right.
        cesql: Box<str>,
        /// With the parentheses that SQL implies: AND before XOR before OR.
        sql: Box<str>,
    },
    /// NOT before arithmetic, a comparison, IN, LIKE, BETWEEN or IS NULL.
    #[error("NOT before a comparison needs parentheses: {}", readings_text(cesql.as_deref().zip(Some(*fits)), sql))]
    NotBeforePredicate {
        /// What CESQL reads, if it can: NOT binds tighter.
        cesql: Option<Box<str>>,
        /// Whether that can be written here, without the casts of CESQL.
        fits: bool,
        /// What SQL reads: the comparison binds tighter.
        sql: Box<str>,
    },
    /// Arithmetic before IN or LIKE.
    #[error("arithmetic before IN and LIKE needs parentheses: {}", readings_text(Some((cesql, *fits)), sql))]
    ArithmeticBeforePredicate {
        /// What CESQL reads: IN and LIKE bind tighter.
        cesql: Box<str>,
        /// Whether that can be written here, without the casts of CESQL.
        fits: bool,
        /// What SQL reads: arithmetic binds tighter.
        sql: Box<str>,
    },
    /// Two of `=`, IN, LIKE, BETWEEN and IS NULL side by side.
    #[error("comparisons side by side need parentheses: write `{reading}`, or join two conditions with AND")]
    PredicateBeside {
        /// With the parentheses that CESQL implies.
        reading: Box<str>,
    },
    /// `a < b < c`.
    #[error("comparisons do not chain: join two with AND, as in `a < b AND b < c`, or write BETWEEN")]
    ChainedComparison,
    /// A value that is no condition where one is needed.
    #[error("expected a condition, but this is {found}: compare it with something")]
    NotACondition {
        /// What it may be.
        found: Types,
    },
    /// Two types that never compare.
    #[error("{left} and {right} never compare, there are no implicit casts{}", types_help(*left, *right))]
    TypesDiffer {
        /// What the left may be.
        left: Types,
        /// What the right may be.
        right: Types,
    },
    /// `<` between truth values.
    #[error("truth values have no order: use `=` or `!=`")]
    NoOrder,
    /// LIKE after something else than a string.
    #[error("LIKE matches strings, and this is {found}")]
    LikeWithoutString {
        /// What it may be.
        found: Types,
    },
    /// An integer beyond 32 bits, in strict mode.
    #[error("the integer does not fit 32 bits, -2147483648 to 2147483647, which is all that CESQL has")]
    IntegerOutOf32Bits,
    /// A name that CESQL does not have.
    #[error(
        "`{found}` is no name in CESQL: attributes have letters and digits, functions letters and `_`; leave strict mode for other names"
    )]
    NotACesqlName {
        /// As written.
        found: Box<str>,
    },
    /// Something that only the default mode has.
    #[error("{what} is not part of CESQL: leave strict mode to use it")]
    BeyondCesql {
        /// What it is.
        what: &'static str,
    },
    /// Something stands in JSON where something else must.
    #[error("expected {expected} in the JSON")]
    MalformedJson {
        /// What JSON asks for here.
        expected: &'static str,
    },
    /// A name that stands twice in one JSON object.
    #[error("this name stands in the object already")]
    RepeatedJsonName,
    /// JSON that the dialect does not have.
    #[error("{dialect} asks for {expected} here")]
    NotInDialect {
        /// The dialect.
        dialect: Dialect,
        /// What it asks for.
        expected: &'static str,
    },
    /// A word that the dialect does not have.
    #[error("{dialect} has no `{found}`{}", near_text(near))]
    UnknownDialectWord {
        /// The dialect.
        dialect: Dialect,
        /// As written.
        found: Box<str>,
        /// A word that may be meant.
        near: Option<&'static str>,
    },
    /// JSON that two dialects read, each in its way.
    #[error(
        "both a CloudEvents filter and an EventBridge pattern may be meant: write `[…]` around a filter, or EVENTBRIDGE('…') around a pattern"
    )]
    AmbiguousDialect,
    /// A call that no function of CESQL takes.
    #[error("{}", unknown_cesql_text(name, arguments, near))]
    UnknownCesqlFunction {
        /// As written.
        name: Box<str>,
        /// The number of arguments, if only that does not fit.
        arguments: Option<usize>,
        /// A function that may be meant.
        near: Option<&'static str>,
    },
}

/// A language of filters in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// Filters of the CloudEvents Subscriptions API.
    CloudEvents,
    /// Event patterns of Amazon EventBridge.
    EventBridge,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::CloudEvents => "a CloudEvents filter",
            Dialect::EventBridge => "an EventBridge pattern",
        })
    }
}

/// What the language asks for at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The beginning of a condition.
    Condition,
    /// A literal or a name.
    Value,
    /// A literal.
    Literal,
    /// Digits.
    Number,
    /// A name of an attribute.
    Name,
    /// A string.
    String,
    /// An operator, or the end of the filter.
    Operator,
    /// The parenthesis that closes the one at this place, or an operator.
    Close {
        /// Line of the opening one, from 1.
        line: usize,
        /// Column of the opening one, from 1.
        column: usize,
    },
    /// `(`
    Open,
    /// `)`
    End,
    /// `,` or `)`
    ListNext,
    /// AND, within BETWEEN.
    And,
    /// IN, LIKE or BETWEEN, after NOT.
    Negatable,
    /// NULL, TRUE or FALSE, or NOT and one of them, after IS.
    Null,
    /// The beginning of an expression of CESQL.
    Expression,
    /// IN or LIKE, after NOT in strict mode.
    InOrLike,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Condition => f.write_str("a condition"),
            Expected::Value => f.write_str("a value"),
            Expected::Literal => f.write_str("a literal"),
            Expected::Number => f.write_str("a number"),
            Expected::Name => f.write_str("the name of an attribute"),
            Expected::String => f.write_str("a string"),
            Expected::Operator => f.write_str("an operator or the end"),
            Expected::Close { line, column } => write!(f, "`)` for the `(` at {line}:{column}"),
            Expected::Open => f.write_str("`(`"),
            Expected::End => f.write_str("`)`"),
            Expected::ListNext => f.write_str("`,` or `)`"),
            Expected::And => f.write_str("AND"),
            Expected::Negatable => f.write_str("IN, LIKE or BETWEEN"),
            Expected::Null => f.write_str("NULL, TRUE or FALSE, or NOT and one of them"),
            Expected::Expression => f.write_str("an expression"),
            Expected::InOrLike => f.write_str("IN or LIKE"),
        }
    }
}

fn after_text(after: &Option<Box<str>>) -> String {
    after.as_ref().map(|after| format!(" after `{after}`")).unwrap_or_default()
}

fn found_text(found: &Option<Box<str>>) -> String {
    found.as_ref().map(|found| format!(", found `{found}`")).unwrap_or_default()
}

fn function_help(near: &Option<&'static str>) -> String {
    match near {
        Some(near) => format!(": did you mean {near}?"),
        None => format!(": there are {}", function::names().collect::<Vec<_>>().join(", ")),
    }
}

fn near_text(near: &Option<&'static str>) -> String {
    near.map(|near| format!(", did you mean {near}?")).unwrap_or_default()
}

fn detail_text(expected: &Expected, near: &Option<&'static str>) -> String {
    match (near, expected) {
        (Some(near), _) => format!("; did you mean {near}?"),
        (None, Expected::Condition) => {
            ": a comparison such as `amount > 10`, a name, EXISTS, NOT or `(`".to_owned()
        }
        (None, Expected::Value) => ": a number, a string, TRUE, FALSE or a name".to_owned(),
        (None, Expected::Literal) => ": a number, a string, TRUE, FALSE or TIMESTAMP('…')".to_owned(),
        (None, Expected::Expression) => {
            ": a name, a number, a string, TRUE, FALSE, a function, EXISTS, NOT, `-` or `(`".to_owned()
        }
        (None, Expected::String) => " in single or double quotes".to_owned(),
        _ => String::new(),
    }
}

fn unknown_cesql_text(name: &str, arguments: &Option<usize>, near: &Option<&'static str>) -> String {
    match arguments {
        Some(1) => format!("the function {} does not take 1 argument", name.to_ascii_uppercase()),
        Some(count) => format!("the function {} does not take {count} arguments", name.to_ascii_uppercase()),
        None => {
            let near = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
            format!("CESQL has no function `{name}`{near}")
        }
    }
}

/// `cesql` with whether it can be written here.
fn readings_text(cesql: Option<(&str, bool)>, sql: &str) -> String {
    match cesql {
        Some((cesql, true)) if cesql != sql => {
            format!("write `{cesql}` (as CESQL reads it) or `{sql}` (as SQL reads it)")
        }
        Some((cesql, false)) => format!(
            "write `{sql}` (as SQL reads it); CESQL reads `{cesql}`, with a cast that is made in strict mode only"
        ),
        _ => format!("write `{sql}`"),
    }
}

fn character_help(character: char) -> &'static str {
    match character {
        '‘' | '’' | '“' | '”' | '´' => ": quote strings with ' or \"",
        '`' => ": write names without quotes, strings with ' or \"",
        '[' | ']' | '{' | '}' => ": group with ( and )",
        ';' => ": a filter is one expression",
        '$' | '@' | '#' => ": names hold letters, digits and `_`",
        character if character.is_alphabetic() => {
            ": names hold the letters A to Z, digits and `_`, other text needs quotes"
        }
        _ => "",
    }
}

fn escape_help(character: char) -> &'static str {
    match character {
        '%' | '_' => " outside a LIKE pattern",
        _ => "",
    }
}

fn types_help(left: Types, right: Types) -> &'static str {
    let is = |one: fn(Types) -> bool, other: fn(Types) -> bool| {
        one(left) && other(right) || one(right) && other(left)
    };
    let is_text = |types: Types| types == Types::STR;
    let is_time = |types: Types| types == Types::TIMESTAMP;
    let is_number = |types: Types| types == Types::NUMBER;
    let is_duration = |types: Types| types == Types::DURATION;
    let is_computed = |types: Types| types.contains(Type::Number) && types.contains(Type::Duration);
    if is(is_time, is_text) {
        ": write the time as TIMESTAMP('2024-05-01T12:30:00Z')"
    } else if is(is_number, is_text) {
        ": quote both or none"
    } else if is(is_time, |types| types == Types::JSON) {
        ": TIMESTAMP(data.…) reads one from a text"
    } else if is(is_duration, is_number) {
        ": write DURATION('90s'), or divide by DURATION('1s') to get seconds"
    } else if is(is_duration, |types| types.contains(Type::Str)) {
        ": no event holds one, DURATION(…) reads one from a text and a minus between two timestamps gives one"
    } else if is(is_computed, is_text) {
        ": arithmetic gives no string (names hold letters, digits and `_` only, `a-b` is a minus b)"
    } else {
        ""
    }
}

fn operand_help(operator: char, found: Types) -> &'static str {
    match (operator, found.only()) {
        ('+', Some(Type::Str)) => ": join texts with CONCAT, or read numbers with INT or FLOAT",
        (_, Some(Type::Str)) => ": read a number with INT or FLOAT",
        (_, Some(Type::Bool)) => ": INT makes 1 and 0 of truth values",
        _ => "",
    }
}

fn operands_help(left: Types, right: Types) -> &'static str {
    match (left.only(), right.only()) {
        (Some(Type::Timestamp | Type::Duration), Some(Type::Number))
        | (Some(Type::Number), Some(Type::Timestamp | Type::Duration)) => {
            ": write a length of time as DURATION('90s')"
        }
        _ => "",
    }
}

fn argument_help(wanted: Types, found: Types) -> &'static str {
    match (wanted.only(), found.only()) {
        (Some(Type::Str), Some(_)) => ": STRING makes a text of it",
        (Some(Type::Number), Some(Type::Str)) => ": INT and FLOAT read numbers",
        _ => "",
    }
}

fn arguments_text(min: usize, max: Option<usize>) -> String {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    match max {
        None => format!("{min} {} or more", plural(min)),
        Some(max) if max == min => format!("{max} {}", plural(max)),
        Some(max) => format!("{min} to {max} arguments"),
    }
}

/// Both from 1, the column in characters.
pub(super) fn line_and_column(text: &str, position: usize) -> (usize, usize) {
    let before = &text[..position];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl Excerpt {
    fn new(text: &str, position: usize) -> Excerpt {
        let before = text[..position].rsplit('\n').next().unwrap_or_default();
        let after = text[position..].split('\n').next().unwrap_or_default();
        let skipped = before.chars().count().saturating_sub(EXCERPT_SIDE_CHARACTERS);
        let mut line = String::new();
        if skipped > 0 {
            line.push('…');
        }
        line.extend(before.chars().skip(skipped).map(printable));
        let indent = line.width();
        line.extend(after.chars().take(EXCERPT_SIDE_CHARACTERS).map(printable));
        if after.chars().nth(EXCERPT_SIDE_CHARACTERS).is_some() {
            line.push('…');
        }
        Excerpt { line, indent }
    }
}

/// What turns the direction of writing around (Unicode, UAX #9).
const TURNING: [RangeInclusive<char>; 4] =
    ['\u{61c}'..='\u{61c}', '\u{200e}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];

/// A tab or another control character as a space, so that it neither moves the caret nor reaches
/// a terminal; what turns the direction of writing as well.
fn printable(character: char) -> char {
    let turns = TURNING.iter().any(|range| range.contains(&character));
    if character.is_control() || turns { ' ' } else { character }
}
