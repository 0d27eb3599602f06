//! Lengths of time and their text: `90s`, `1h30m`, `PT90S`.
//!
//! 1. A duration is a whole number of nanoseconds whose seconds fit an i64; it may be negative.
//! 2. What is printed parses to the same duration.
//! 3. Only units of a fixed length: a day is 24 hours, a month and a year are none.
//!
//! Durations exist in filters alone: no attribute holds one.

use std::fmt;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const FRACTION_DIGITS_MAX: usize = 9;

/// Units in the order in which they follow each other, with their nanoseconds.
const UNITS: [(&str, i128); 5] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
];

/// Those of ISO 8601, before and after the `T`.
const ISO_DATE_UNITS: [(&str, i128); 2] =
    [("W", 7 * 86_400 * NANOS_PER_SECOND), ("D", 86_400 * NANOS_PER_SECOND)];
const ISO_TIME_UNITS: [(&str, i128); 3] =
    [("H", 3_600 * NANOS_PER_SECOND), ("M", 60 * NANOS_PER_SECOND), ("S", NANOS_PER_SECOND)];

/// A length of time: whole seconds, and nanoseconds that are added to them.
///
/// Ordered by length as long as `nanos` is below 1,000,000,000, which all makers here keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    seconds: i64,
    nanos: u32,
}

impl Duration {
    /// A duration of so many nanoseconds, or `None` if its seconds do not fit an i64.
    pub fn from_nanos(nanos: i128) -> Option<Duration> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).ok()?;
        Some(Duration { seconds, nanos: nanos.rem_euclid(NANOS_PER_SECOND) as u32 })
    }

    /// All of it in nanoseconds.
    pub fn nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS_PER_SECOND + i128::from(self.nanos)
    }

    /// Reads whole numbers with units from the largest to the smallest (`d h m s ms`), as in
    /// `90s`, `1h30m` or `-7d`, where seconds may have a fraction; or ISO 8601 without years and
    /// months, as in `PT1H30M` or `P2W`. `O(bytes)`.
    ///
    /// # Errors
    /// A [`DurationError`] that says what does not fit.
    pub fn parse(text: &str) -> Result<Duration, DurationError> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let nanos = match unsigned.strip_prefix('P') {
            Some(iso) => read_iso(iso)?,
            None => read_units(unsigned, &UNITS)?,
        };
        Duration::from_nanos(if negative { -nanos } else { nanos }).ok_or(DurationError::OutOfRange)
    }
}

/// Prints days, hours, minutes and seconds as far as they are needed: `1h30m`, `0.5s`, `-7d`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < 0 {
            f.write_str("-")?;
        }
        let mut rest = nanos.unsigned_abs();
        for (name, unit) in &UNITS[..3] {
            let unit = unit.unsigned_abs();
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
            }
            rest %= unit;
        }
        let second = NANOS_PER_SECOND.unsigned_abs();
        match (rest / second, rest % second) {
            (0, 0) => Ok(()),
            (seconds, 0) => write!(f, "{seconds}s"),
            (seconds, fraction) => {
                let digits = format!("{fraction:09}");
                write!(f, "{seconds}.{}s", digits.trim_end_matches('0'))
            }
        }
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// It is not made of numbers and units.
    #[error("expected whole numbers with a unit (d h m s ms) each, the largest unit first")]
    Malformed,
    /// It begins with `P`, but does not go on as ISO 8601 asks for.
    #[error("expected ISO 8601, as in `PT1H30M`, `P7D` or `PT0.5S`")]
    MalformedIso,
    /// Years or months.
    #[error("years and months have no fixed length: write days")]
    NoFixedLength,
    /// More than nine digits of a fraction.
    #[error("a fraction of a second has at most 9 digits")]
    TooPrecise,
    /// More than 64 bits of seconds.
    #[error("the duration is too long")]
    OutOfRange,
}

fn read_iso(text: &str) -> Result<i128, DurationError> {
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return Err(DurationError::MalformedIso),
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if date.contains(['Y', 'M']) {
        return Err(DurationError::NoFixedLength);
    }
    let iso = |error| match error {
        DurationError::Malformed => DurationError::MalformedIso,
        error => error,
    };
    match (date, time) {
        ("", "") => Err(DurationError::MalformedIso),
        (date, "") => read_units(date, &ISO_DATE_UNITS).map_err(iso),
        ("", time) => read_units(time, &ISO_TIME_UNITS).map_err(iso),
        (date, time) => {
            let date = read_units(date, &ISO_DATE_UNITS).map_err(iso)?;
            let time = read_units(time, &ISO_TIME_UNITS).map_err(iso)?;
            date.checked_add(time).ok_or(DurationError::OutOfRange)
        }
    }
}

/// Reads one or more numbers, each with a unit that comes after the one before in `units`.
fn read_units(mut text: &str, mut units: &[(&str, i128)]) -> Result<i128, DurationError> {
    let mut sum: i128 = 0;
    loop {
        let (number, after) = split_while(text, |c| c.is_ascii_digit() || c == '.');
        let (name, rest) = split_while(after, |c| c.is_ascii_alphabetic());
        let place = units.iter().position(|(unit, _)| *unit == name).ok_or(DurationError::Malformed)?;
        let nanos = read_number(number, units[place].1)?;
        sum = sum.checked_add(nanos).ok_or(DurationError::OutOfRange)?;
        units = &units[place + 1..];
        text = rest;
        if text.is_empty() {
            return Ok(sum);
        }
    }
}

/// A number of `unit` in nanoseconds; only seconds may have a fraction.
fn read_number(text: &str, unit: i128) -> Result<i128, DurationError> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if unit == NANOS_PER_SECOND && !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(DurationError::Malformed),
        None => (text, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return Err(DurationError::Malformed);
    }
    if fraction.len() > FRACTION_DIGITS_MAX {
        return Err(DurationError::TooPrecise);
    }
    let whole: i64 = whole.parse().map_err(|_| DurationError::OutOfRange)?;
    let fraction: i128 = format!("{fraction:0<9}").parse().map_err(|_| DurationError::Malformed)?;
    i128::from(whole)
        .checked_mul(unit)
        .and_then(|nanos| nanos.checked_add(fraction))
        .ok_or(DurationError::OutOfRange)
}

fn split_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.len() - text.trim_start_matches(wanted).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_of_durations() {
        let cases = [
            ("0s", 0, "0s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("250ms", 250_000_000, "0.25s"),
            ("5m", 300_000_000_000, "5m"),
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("7d", 604_800_000_000_000, "7d"),
            ("-36h", -129_600_000_000_000, "-1d12h"),
            ("1d2h3m4s5ms", 93_784_005_000_000, "1d2h3m4.005s"),
            ("0.000000001s", 1, "0.000000001s"),
            ("PT90S", 90_000_000_000, "1m30s"),
            ("P1DT12H", 129_600_000_000_000, "1d12h"),
            ("-P2W", -1_209_600_000_000_000, "-14d"),
            ("PT0.5S", 500_000_000, "0.5s"),
            ("P1W2DT3H4M5.25S", 788_645_250_000_000, "9d3h4m5.25s"),
        ];
        for (text, nanos, printed) in cases {
            let duration = Duration::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(duration.nanos(), nanos, "{text}");
            assert_eq!(duration.to_string(), printed);
            assert_eq!(Duration::parse(printed), Ok(duration));
        }
    }

    #[test]
    fn refused_texts_say_why() {
        use DurationError::{Malformed, MalformedIso, NoFixedLength, OutOfRange, TooPrecise};
        let cases = [
            ("", Malformed),
            ("-", Malformed),
            ("90", Malformed),
            ("s", Malformed),
            ("5 m", Malformed),
            ("5min", Malformed),
            ("1m1h", Malformed),
            ("1s1s", Malformed),
            ("1.5h", Malformed),
            ("1.s", Malformed),
            (".5s", Malformed),
            ("1.2.3s", Malformed),
            ("+5s", Malformed),
            ("--5s", Malformed),
            ("1h ", Malformed),
            ("٣s", Malformed),
            ("0.0000000001s", TooPrecise),
            ("9223372036854775808s", OutOfRange),
            ("9223372036854775807d", OutOfRange),
            ("99999999999999999999d", OutOfRange),
            ("P", MalformedIso),
            ("PT", MalformedIso),
            ("P1DT", MalformedIso),
            ("P1H", MalformedIso),
            ("PT1D", MalformedIso),
            ("PT1h", MalformedIso),
            ("P1Y", NoFixedLength),
            ("P1M", NoFixedLength),
        ];
        for (text, error) in cases {
            assert_eq!(Duration::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_longest_durations_print_and_read_back() {
        let ends = [i64::MAX, i64::MIN].map(|seconds| i128::from(seconds) * NANOS_PER_SECOND);
        for duration in [Duration::from_nanos(ends[0] + NANOS_PER_SECOND - 1), Duration::from_nanos(ends[1])]
        {
            let duration = duration.unwrap();
            assert_eq!(Duration::parse(&duration.to_string()), Ok(duration), "{duration}");
        }
        assert_eq!(Duration::from_nanos(ends[0] + NANOS_PER_SECOND), None);
        assert_eq!(Duration::from_nanos(ends[1] - 1), None);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_duration(seconds in any::<i64>(), nanos in 0..1_000_000_000_u32) {
            let duration = Duration { seconds, nanos };
            prop_assert_eq!(Duration::from_nanos(duration.nanos()), Some(duration));
            prop_assert_eq!(Duration::parse(&duration.to_string()), Ok(duration));
        }

        #[test]
        fn parsing_any_text_does_not_panic(text in "[-P]?[0-9.dhmsTDHMSWY]{0,24}|\\PC{0,8}") {
            let _ = Duration::parse(&text);
        }
    }
}
