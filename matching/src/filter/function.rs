//! The functions of filters: those of CESQL 1.0 section 3.5, and casts for the types that events
//! have beyond it.
//!
//! 1. Functions are pure: what one gives depends on its arguments alone.
//! 2. What fails is unknown, and so is what is given an unknown.
//! 3. A cast changes no number: `INT(2.5)` and `FLOAT(9007199254740993)` are unknown. `IS_INT(x)`
//!    and its like say whether the cast has a value.
//! 4. A function makes a text of at most [`MADE_TEXT_BYTES_MAX`]; a longer one is unknown. So is a
//!    number, timestamp or duration of a text of more than [`READ_TEXT_BYTES_MAX`].
//!
//! Text is worked on in `crate::text`, which strict CESQL uses too.

use std::borrow::Cow;

use super::arithmetic::{exact_float, finite, negate};
use super::datum::Datum;
use super::types::{Type, Types};
use crate::text::{self, TextError};
use crate::value::{Duration, Timestamp};

/// The longest text that a function makes, in bytes.
pub const MADE_TEXT_BYTES_MAX: usize = 16 * 1_024;

/// The longest text that is read as a number, timestamp or duration, in bytes: of what
/// people and programs write none comes near, and each reading takes as long as the text is.
const READ_TEXT_BYTES_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Bool,
    Concat,
    ConcatWs,
    Duration,
    Float,
    Int,
    IsBool,
    IsDuration,
    IsFloat,
    IsInt,
    IsTimestamp,
    Left,
    Length,
    Lower,
    Right,
    String,
    Substring,
    Timestamp,
    Trim,
    Upper,
}

/// How a function is called.
pub(super) struct Signature {
    pub(super) function: Function,
    pub(super) name: &'static str,
    /// What each argument may be; the last stands for all that follow if `is_variadic`.
    parameters: &'static [Types],
    /// How many arguments it needs.
    pub(super) arguments_min: usize,
    is_variadic: bool,
    /// What it gives; ABS gives what it was given.
    result: Types,
}

const fn signature(
    function: Function,
    name: &'static str,
    parameters: &'static [Types],
    result: Types,
) -> Signature {
    Signature { function, name, parameters, arguments_min: parameters.len(), is_variadic: false, result }
}

const BOOL_CASTABLE: Types = Types::JSON;
const TIMESTAMP_CASTABLE: Types = Types::of(&[Type::Str, Type::Timestamp]);
const DURATION_CASTABLE: Types = Types::of(&[Type::Str, Type::Duration]);
const TEXT: &[Types] = &[Types::STR];
const TEXT_AND_COUNT: &[Types] = &[Types::STR, Types::NUMBER];

/// All functions, by name.
const SIGNATURES: &[Signature] = &[
    signature(Function::Abs, "ABS", &[super::arithmetic::NEGATABLE], super::arithmetic::NEGATABLE),
    signature(Function::Bool, "BOOL", &[BOOL_CASTABLE], Types::BOOL),
    Signature {
        arguments_min: 0,
        is_variadic: true,
        ..signature(Function::Concat, "CONCAT", TEXT, Types::STR)
    },
    Signature { is_variadic: true, ..signature(Function::ConcatWs, "CONCAT_WS", TEXT, Types::STR) },
    signature(Function::Duration, "DURATION", &[DURATION_CASTABLE], Types::DURATION),
    signature(Function::Float, "FLOAT", &[BOOL_CASTABLE], Types::NUMBER),
    signature(Function::Int, "INT", &[BOOL_CASTABLE], Types::NUMBER),
    signature(Function::IsBool, "IS_BOOL", &[Types::ANY], Types::BOOL),
    signature(Function::IsDuration, "IS_DURATION", &[Types::ANY], Types::BOOL),
    signature(Function::IsFloat, "IS_FLOAT", &[Types::ANY], Types::BOOL),
    signature(Function::IsInt, "IS_INT", &[Types::ANY], Types::BOOL),
    signature(Function::IsTimestamp, "IS_TIMESTAMP", &[Types::ANY], Types::BOOL),
    signature(Function::Left, "LEFT", TEXT_AND_COUNT, Types::STR),
    signature(Function::Length, "LENGTH", TEXT, Types::NUMBER),
    signature(Function::Lower, "LOWER", TEXT, Types::STR),
    signature(Function::Right, "RIGHT", TEXT_AND_COUNT, Types::STR),
    signature(Function::String, "STRING", &[Types::ANY], Types::STR),
    Signature {
        arguments_min: 2,
        ..signature(Function::Substring, "SUBSTRING", &[Types::STR, Types::NUMBER, Types::NUMBER], Types::STR)
    },
    signature(Function::Timestamp, "TIMESTAMP", &[TIMESTAMP_CASTABLE], Types::TIMESTAMP),
    signature(Function::Trim, "TRIM", TEXT, Types::STR),
    signature(Function::Upper, "UPPER", TEXT, Types::STR),
];

/// The names of all functions, sorted.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SIGNATURES.iter().map(|signature| signature.name)
}

impl Signature {
    /// That of the function `name`, in any case.
    pub(super) fn find(name: &str) -> Option<&'static Signature> {
        SIGNATURES.iter().find(|signature| signature.name.eq_ignore_ascii_case(name))
    }

    /// How many arguments it takes, or `None` for any number.
    pub(super) fn arguments_max(&self) -> Option<usize> {
        (!self.is_variadic).then_some(self.parameters.len())
    }

    /// What the argument of that number may be.
    pub(super) fn parameter(&self, index: usize) -> Types {
        self.parameters[index.min(self.parameters.len() - 1)]
    }

    /// What it gives for arguments of such types.
    pub(super) fn result(&self, arguments: &[Types]) -> Types {
        match self.function {
            Function::Abs => arguments.iter().fold(self.result, |result, types| result & *types),
            _ => self.result,
        }
    }
}

impl Function {
    pub(super) fn name(self) -> &'static str {
        SIGNATURES.iter().find(|signature| signature.function == self).map_or("", |found| found.name)
    }

    /// Whether it may make a text, rather than give a part of one.
    pub(super) fn makes_text(self) -> bool {
        use Function::{Concat, ConcatWs, Lower, String, Upper};
        matches!(self, Concat | ConcatWs | Lower | String | Upper)
    }
}

/// What the function gives for its arguments, of which `argument` gives each; `None` is unknown.
/// Their number fits the signature.
pub(super) fn call<'e>(
    function: Function,
    count: usize,
    argument: &dyn Fn(usize) -> Option<Datum<'e>>,
) -> Option<Datum<'e>> {
    use Function::{Concat, ConcatWs, Left, Right, Substring};
    match function {
        Concat => concat("", 0..count, argument),
        ConcatWs => concat(&text_of(argument(0)?)?, 1..count, argument),
        Left => {
            let count = int_of(argument(1)?)?;
            cut(text_of(argument(0)?)?, |text| text::left(text, count))
        }
        Right => {
            let count = int_of(argument(1)?)?;
            cut(text_of(argument(0)?)?, |text| text::right(text, count))
        }
        Substring => {
            let position = int_of(argument(1)?)?;
            let length = if count > 2 { Some(int_of(argument(2)?)?) } else { None };
            cut(text_of(argument(0)?)?, |text| text::substring(text, position, length))
        }
        _ => of_one(function, argument(0)?),
    }
}

/// The functions of one argument.
fn of_one(function: Function, datum: Datum<'_>) -> Option<Datum<'_>> {
    match function {
        Function::Abs => abs(datum),
        Function::Bool => bool(&datum).map(Datum::Bool),
        Function::Duration => duration(&datum).map(Datum::Duration),
        Function::Float => float(&datum).map(Datum::Float),
        Function::Int => int(&datum).map(Datum::Int),
        Function::IsBool => Some(Datum::Bool(bool(&datum).is_some())),
        Function::IsDuration => Some(Datum::Bool(duration(&datum).is_some())),
        Function::IsFloat => Some(Datum::Bool(float(&datum).is_some())),
        Function::IsInt => Some(Datum::Bool(int(&datum).is_some())),
        Function::IsTimestamp => Some(Datum::Bool(timestamp(&datum).is_some())),
        Function::Length => i64::try_from(text::length(&text_of(datum)?)).ok().map(Datum::Int),
        Function::Lower => made(text::lower(&text_of(datum)?, MADE_TEXT_BYTES_MAX)),
        Function::Upper => made(text::upper(&text_of(datum)?, MADE_TEXT_BYTES_MAX)),
        Function::String => string(datum),
        Function::Timestamp => timestamp(&datum).map(Datum::Timestamp),
        Function::Trim => cut(text_of(datum)?, |text| Ok(text::trim(text))),
        _ => None,
    }
}

fn text_of(datum: Datum<'_>) -> Option<Cow<'_, str>> {
    match datum {
        Datum::Text(text) => Some(text),
        _ => None,
    }
}

fn int_of(datum: Datum<'_>) -> Option<i64> {
    match datum {
        Datum::Int(number) => Some(number),
        _ => None,
    }
}

fn made<'e>(text: Result<String, TextError>) -> Option<Datum<'e>> {
    text.ok().map(|text| Datum::Text(Cow::Owned(text)))
}

fn concat<'e>(
    delimiter: &str,
    parts: std::ops::Range<usize>,
    argument: &dyn Fn(usize) -> Option<Datum<'e>>,
) -> Option<Datum<'e>> {
    let parts: Option<Vec<Cow<'e, str>>> = parts.map(|part| text_of(argument(part)?)).collect();
    made(text::concat(&parts?, delimiter, MADE_TEXT_BYTES_MAX))
}

/// A part of a text: borrowed if the text is, else the text itself without the rest.
fn cut<'e>(
    text: Cow<'e, str>,
    part: impl for<'t> Fn(&'t str) -> Result<&'t str, TextError>,
) -> Option<Datum<'e>> {
    match text {
        Cow::Borrowed(text) => part(text).ok().map(Datum::borrowed),
        Cow::Owned(mut text) => {
            let (start, length) = {
                let part = part(&text).ok()?;
                // An empty one need not lie within the text.
                if part.is_empty() {
                    return Some(Datum::borrowed(""));
                }
                (part.as_ptr().addr().checked_sub(text.as_ptr().addr())?, part.len())
            };
            text.truncate(start + length);
            text.drain(..start);
            Some(Datum::Text(Cow::Owned(text)))
        }
    }
}

fn abs(datum: Datum<'_>) -> Option<Datum<'_>> {
    let is_negative = match &datum {
        Datum::Int(number) => *number < 0,
        Datum::Float(number) => return finite(number.abs()).map(Datum::Float),
        Datum::Duration(length) => length.nanos() < 0,
        _ => return None,
    };
    if is_negative { negate(&datum) } else { Some(datum) }
}

fn bool(datum: &Datum<'_>) -> Option<bool> {
    match datum {
        Datum::Bool(known) => Some(*known),
        Datum::Int(number) => Some(*number != 0),
        Datum::Float(number) => finite(*number).map(|number| number != 0.0),
        Datum::Text(text) => text::parse_bool(text),
        _ => None,
    }
}

fn int(datum: &Datum<'_>) -> Option<i64> {
    match datum {
        Datum::Bool(known) => Some(i64::from(*known)),
        Datum::Int(number) => Some(*number),
        // The same number or none: within i128, which holds every i64 and its neighbours.
        Datum::Float(number) => {
            let whole = *number as i128;
            (whole as f64 == *number).then_some(whole).and_then(|whole| i64::try_from(whole).ok())
        }
        Datum::Text(text) => readable(text).filter(|text| is_number(text, false))?.parse().ok(),
        _ => None,
    }
}

fn float(datum: &Datum<'_>) -> Option<f64> {
    match datum {
        Datum::Bool(known) => Some(f64::from(u8::from(*known))),
        Datum::Int(_) => exact_float(datum),
        Datum::Float(number) => finite(*number),
        Datum::Text(text) => {
            readable(text).filter(|text| is_number(text, true))?.parse().ok().and_then(finite)
        }
        _ => None,
    }
}

/// A text, if it is not too long to be read as a number, timestamp or duration.
fn readable(text: &str) -> Option<&str> {
    (text.len() <= READ_TEXT_BYTES_MAX).then_some(text)
}

/// Whether the text is digits with at most one sign before them, and a point or an exponent where
/// a float is asked for: what literals of filters are.
fn is_number(text: &str, is_float: bool) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    super::lexer::is_digits(unsigned) || is_float && super::lexer::is_float(unsigned)
}

fn string(datum: Datum<'_>) -> Option<Datum<'_>> {
    let text = match datum {
        Datum::Text(_) => return Some(datum),
        Datum::Bool(known) => known.to_string(),
        Datum::Int(number) => number.to_string(),
        Datum::Float(number) => format!("{:?}", finite(number)?),
        Datum::Timestamp(timestamp) => timestamp.to_string(),
        Datum::Duration(length) => length.to_string(),
        Datum::Opaque => return None,
    };
    Some(Datum::Text(Cow::Owned(text)))
}

fn timestamp(datum: &Datum<'_>) -> Option<Timestamp> {
    match datum {
        Datum::Timestamp(timestamp) => Some(*timestamp),
        Datum::Text(text) => Timestamp::parse_rfc3339(readable(text)?).ok(),
        _ => None,
    }
}

fn duration(datum: &Datum<'_>) -> Option<Duration> {
    match datum {
        Datum::Duration(length) => Some(*length),
        Datum::Text(text) => Duration::parse(readable(text)?).ok(),
        _ => None,
    }
}
