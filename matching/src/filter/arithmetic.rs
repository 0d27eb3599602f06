//! `+ - * / %` and the minus before a value.
//!
//! 1. A result is exact or, with a float in it, the nearest float; what has none is unknown: a
//!    division by zero, an integer, a duration or a timestamp out of range, a float that is not
//!    finite.
//! 2. An integer beside a float counts as that float only if it is one exactly, else the result is
//!    unknown: nothing is rounded before it is computed with.
//! 3. Integers and durations divide towards zero, and a remainder has the sign of what was divided
//!    (CESQL 1.0 section 3.4.2). A duration is a whole number of nanoseconds.

use super::datum::Datum;
use super::types::{Type, Types};
use crate::value::{Duration, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// How tight an operator binds; all of one level are read from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// `+` and `-`
    Sum,
    /// `*`, `/` and `%`
    Product,
}

impl Operator {
    pub(super) fn level(self) -> Level {
        match self {
            Operator::Add | Operator::Subtract => Level::Sum,
            Operator::Multiply | Operator::Divide | Operator::Remainder => Level::Product,
        }
    }

    pub(super) fn symbol(self) -> char {
        match self {
            Operator::Add => '+',
            Operator::Subtract => '-',
            Operator::Multiply => '*',
            Operator::Divide => '/',
            Operator::Remainder => '%',
        }
    }
}

/// Which operators there are between which types, and what they give.
const TABLE: &[(Type, &[Operator], Type, Type)] = {
    use Operator::{Add, Divide, Multiply, Remainder, Subtract};
    use Type::{Duration, Number, Timestamp};
    &[
        (Number, &[Add, Subtract, Multiply, Divide, Remainder], Number, Number),
        (Duration, &[Add, Subtract, Remainder], Duration, Duration),
        (Duration, &[Divide], Duration, Number),
        (Duration, &[Multiply, Divide], Number, Duration),
        (Number, &[Multiply], Duration, Duration),
        (Timestamp, &[Add, Subtract], Duration, Timestamp),
        (Duration, &[Add], Timestamp, Timestamp),
        (Timestamp, &[Subtract], Timestamp, Duration),
    ]
};

/// What the operator may give between such types; none if it fits no pair of them.
pub(super) fn types(left: Types, operator: Operator, right: Types) -> Types {
    let fits = |(l, operators, r, _): &&(Type, &[Operator], Type, Type)| {
        left.contains(*l) && right.contains(*r) && operators.contains(&operator)
    };
    TABLE.iter().filter(fits).fold(Types::NONE, |types, row| types.with(row.3.into()))
}

/// What has a minus before it.
pub(super) const NEGATABLE: Types = Types::of(&[Type::Number, Type::Duration]);

/// `left operator right`, or `None` where that is unknown.
pub(super) fn apply<'e>(left: &Datum<'_>, operator: Operator, right: &Datum<'_>) -> Option<Datum<'e>> {
    use Operator::{Add, Divide, Multiply, Remainder, Subtract};
    Some(match (left, operator, right) {
        (Datum::Int(left), _, Datum::Int(right)) => Datum::Int(integers(*left, operator, *right)?),
        (Datum::Int(_) | Datum::Float(_), _, Datum::Int(_) | Datum::Float(_)) => {
            Datum::Float(floats(exact_float(left)?, operator, exact_float(right)?)?)
        }
        (Datum::Timestamp(left), Subtract, Datum::Timestamp(right)) => {
            Datum::Duration(Duration::from_nanos(left.nanos_since_epoch() - right.nanos_since_epoch())?)
        }
        (Datum::Timestamp(start), Add, Datum::Duration(length))
        | (Datum::Duration(length), Add, Datum::Timestamp(start)) => {
            timestamp(start.nanos_since_epoch() + length.nanos())?
        }
        (Datum::Timestamp(end), Subtract, Datum::Duration(length)) => {
            timestamp(end.nanos_since_epoch() - length.nanos())?
        }
        (Datum::Duration(left), Add, Datum::Duration(right)) => duration(left.nanos() + right.nanos())?,
        (Datum::Duration(left), Subtract, Datum::Duration(right)) => duration(left.nanos() - right.nanos())?,
        (Datum::Duration(left), Divide, Datum::Duration(right)) => {
            Datum::Int(i64::try_from(left.nanos().checked_div(right.nanos())?).ok()?)
        }
        (Datum::Duration(left), Remainder, Datum::Duration(right)) => {
            duration(left.nanos().checked_rem(right.nanos())?)?
        }
        (Datum::Duration(length), Multiply, Datum::Int(times))
        | (Datum::Int(times), Multiply, Datum::Duration(length)) => {
            duration(length.nanos().checked_mul(i128::from(*times))?)?
        }
        (Datum::Duration(length), Divide, Datum::Int(parts)) => {
            duration(length.nanos().checked_div(i128::from(*parts))?)?
        }
        _ => return None,
    })
}

/// The minus before a value.
pub(super) fn negate<'e>(datum: &Datum<'_>) -> Option<Datum<'e>> {
    match datum {
        Datum::Int(number) => number.checked_neg().map(Datum::Int),
        Datum::Float(number) => finite(-number).map(Datum::Float),
        Datum::Duration(length) => duration(-length.nanos()),
        _ => None,
    }
}

/// A number as a float, if that is the same number.
pub(super) fn exact_float(number: &Datum<'_>) -> Option<f64> {
    match number {
        Datum::Float(number) => Some(*number),
        Datum::Int(number) => {
            let float = *number as f64;
            // 2^63 is a float but no i64; going back would give the greatest i64 for it.
            (float as i128 == i128::from(*number)).then_some(float)
        }
        _ => None,
    }
}

/// The number if it is finite, and without the sign of a zero.
pub(super) fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number + 0.0)
}

fn integers(left: i64, operator: Operator, right: i64) -> Option<i64> {
    match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => left.checked_div(right),
        // The least integer by -1 leaves 0, though its quotient does not fit.
        Operator::Remainder => (right != 0).then(|| left.wrapping_rem(right)),
    }
}

fn floats(left: f64, operator: Operator, right: f64) -> Option<f64> {
    finite(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::Remainder => left % right,
    })
}

fn duration<'e>(nanos: i128) -> Option<Datum<'e>> {
    Duration::from_nanos(nanos).map(Datum::Duration)
}

fn timestamp<'e>(nanos: i128) -> Option<Datum<'e>> {
    Timestamp::from_nanos_since_epoch(nanos).map(Datum::Timestamp)
}
