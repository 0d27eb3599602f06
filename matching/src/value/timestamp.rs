//! Points in time and their RFC 3339 text.
//!
//! 1. A timestamp that was parsed lies in the years 0000 to 9999 UTC and has nanoseconds below
//!    one second; its text parses to the same timestamp.
//! 2. No time zone data: an offset is part of the text, the text that is printed is UTC.
//!
//! Calendar arithmetic follows H. Hinnant, "chrono-compatible low-level date algorithms".

use std::fmt;

const SECONDS_PER_DAY: i64 = 86_400;
const FRACTION_DIGITS_MAX: usize = 9;

/// 0000-01-01T00:00:00Z
const SECONDS_FIRST: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z
const SECONDS_LAST: i64 = 253_402_300_799;

/// A point in time: whole seconds since the Unix epoch, and nanoseconds after that second.
///
/// Ordered by time as long as `nanos` is below 1,000,000,000, which [`Timestamp::parse_rfc3339`]
/// keeps and other makers must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, 0 to 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// All of it in nanoseconds since the Unix epoch.
    pub(crate) fn nanos_since_epoch(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// The instant so many nanoseconds after the Unix epoch, or `None` outside of the years 0000
    /// to 9999.
    pub(crate) fn from_nanos_since_epoch(nanos: i128) -> Option<Timestamp> {
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        let nanos = nanos.rem_euclid(1_000_000_000) as u32;
        (SECONDS_FIRST..=SECONDS_LAST).contains(&seconds).then_some(Timestamp { seconds, nanos })
    }

    /// Reads an RFC 3339 date and time, as `2024-05-01T12:30:00Z` or
    /// `2024-05-01T12:30:00.25+02:00`. `O(bytes)`.
    ///
    /// `T` and `Z` may be small and `T` may be a space (RFC 3339 section 5.6). A leap second
    /// (`23:59:60` UTC) is the second that follows it, as in POSIX.
    ///
    /// # Errors
    /// A [`TimestampError`] that names what does not fit.
    pub fn parse_rfc3339(text: &str) -> Result<Timestamp, TimestampError> {
        let mut reader = Reader { text: text.as_bytes(), position: 0 };
        let days = read_date(&mut reader)?;
        reader.expect(b"Tt ", "`T` and a time, as in `2024-05-01T12:30:00Z`")?;
        let time = read_time(&mut reader)?;
        let offset = read_offset(&mut reader)?;
        reader.expect_end()?;
        let seconds = days * SECONDS_PER_DAY + time.second_of_day() - offset;
        if time.second == 60 && seconds.rem_euclid(SECONDS_PER_DAY) != 0 {
            return Err(TimestampError::OutOfRange { field: "second" });
        }
        if !(SECONDS_FIRST..=SECONDS_LAST).contains(&seconds) {
            return Err(TimestampError::OutOfRange { field: "year" });
        }
        Ok(Timestamp { seconds, nanos: time.nanos })
    }
}

/// Prints RFC 3339 in UTC, with as many digits of the fraction as are needed. Years beyond four
/// digits get a sign (ISO 8601 expanded), which [`Timestamp::parse_rfc3339`] does not read.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of_days(self.seconds.div_euclid(SECONDS_PER_DAY));
        let second = self.seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        match year {
            0..=9_999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+07}")?,
        }
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Why a text is no RFC 3339 date and time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// Something else stands where the format asks for `expected`.
    #[error("expected {expected} at character {column}")]
    Malformed {
        /// The place, counted from 1.
        column: usize,
        /// What the format asks for there.
        expected: &'static str,
    },
    /// A number that its field does not allow, such as the 30th of February.
    #[error("the {field} is out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
    },
    /// More than nine digits of a fraction.
    #[error("a fraction of a second has at most 9 digits")]
    TooPrecise,
}

struct Time {
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
}

impl Time {
    fn second_of_day(&self) -> i64 {
        self.hour * 3_600 + self.minute * 60 + self.second
    }
}

struct Reader<'t> {
    text: &'t [u8],
    position: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn malformed(&self, expected: &'static str) -> TimestampError {
        TimestampError::Malformed { column: self.position + 1, expected }
    }

    fn expect(&mut self, any_of: &[u8], expected: &'static str) -> Result<u8, TimestampError> {
        match self.peek() {
            Some(byte) if any_of.contains(&byte) => {
                self.position += 1;
                Ok(byte)
            }
            _ => Err(self.malformed(expected)),
        }
    }

    fn expect_end(&self) -> Result<(), TimestampError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed("the end")),
        }
    }

    fn number(&mut self, digits: usize, expected: &'static str) -> Result<i64, TimestampError> {
        let mut number = 0;
        for _ in 0..digits {
            let digit = self.expect(b"0123456789", expected)?;
            number = number * 10 + i64::from(digit - b'0');
        }
        Ok(number)
    }

    fn skip_digits(&mut self) -> usize {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        self.position - start
    }
}

fn check(field: &'static str, number: i64, last: i64) -> Result<(), TimestampError> {
    if number > last { Err(TimestampError::OutOfRange { field }) } else { Ok(()) }
}

/// Reads `YYYY-MM-DD` and returns days since the epoch.
fn read_date(reader: &mut Reader<'_>) -> Result<i64, TimestampError> {
    let year = reader.number(4, "a year of four digits")?;
    reader.expect(b"-", "`-` between year and month")?;
    let month = reader.number(2, "a month of two digits")?;
    reader.expect(b"-", "`-` between month and day")?;
    let day = reader.number(2, "a day of two digits")?;
    if !(1..=12).contains(&month) {
        return Err(TimestampError::OutOfRange { field: "month" });
    }
    if !(1..=days_of_month(year, month)).contains(&day) {
        return Err(TimestampError::OutOfRange { field: "day" });
    }
    Ok(days_of_date(year, month, day))
}

fn read_time(reader: &mut Reader<'_>) -> Result<Time, TimestampError> {
    let hour = reader.number(2, "an hour of two digits")?;
    reader.expect(b":", "`:` between hour and minute")?;
    let minute = reader.number(2, "a minute of two digits")?;
    reader.expect(b":", "`:` between minute and second")?;
    let second = reader.number(2, "a second of two digits")?;
    let nanos = read_fraction(reader)?;
    check("hour", hour, 23)?;
    check("minute", minute, 59)?;
    check("second", second, 60)?;
    Ok(Time { hour, minute, second, nanos })
}

fn read_fraction(reader: &mut Reader<'_>) -> Result<u32, TimestampError> {
    if reader.peek() != Some(b'.') {
        return Ok(0);
    }
    reader.position += 1;
    let start = reader.position;
    match reader.skip_digits() {
        0 => Err(reader.malformed("digits after the `.`")),
        count if count > FRACTION_DIGITS_MAX => Err(TimestampError::TooPrecise),
        count => {
            let digits = &reader.text[start..start + count];
            let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
            Ok(padded.take(FRACTION_DIGITS_MAX).fold(0, |n, digit| n * 10 + u32::from(digit - b'0')))
        }
    }
}

/// Reads `Z` or `±HH:MM` and returns seconds east of UTC.
fn read_offset(reader: &mut Reader<'_>) -> Result<i64, TimestampError> {
    let expected = "`Z` or an offset such as `+02:00`";
    let sign = match reader.expect(b"Zz+-", expected)? {
        b'+' => 1,
        b'-' => -1,
        _ => return Ok(0),
    };
    let hour = reader.number(2, "an offset hour of two digits")?;
    reader.expect(b":", "`:` between offset hour and minute")?;
    let minute = reader.number(2, "an offset minute of two digits")?;
    check("offset hour", hour, 23)?;
    check("offset minute", minute, 59)?;
    Ok(sign * (hour * 3_600 + minute * 60))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch. Years begin in March here, so that the leap day is the last of its year.
fn days_of_date(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_of_date`].
fn date_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Timestamp, TimestampError> {
        Timestamp::parse_rfc3339(text)
    }

    #[test]
    fn known_instants() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2001-09-09T01:46:40Z", 1_000_000_000, 0),
            ("2000-02-29T00:00:00Z", 951_782_400, 0),
            ("1985-04-12T23:20:50.52Z", 482_196_050, 520_000_000),
            ("1996-12-19T16:39:57-08:00", 851_042_397, 0),
            ("1937-01-01 12:00:27.87+00:20", -1_041_337_173, 870_000_000),
            ("1990-12-31T23:59:60Z", 662_688_000, 0),
            ("1990-12-31t15:59:60-08:00", 662_688_000, 0),
            ("0000-01-01T00:00:00z", SECONDS_FIRST, 0),
            ("9999-12-31T23:59:59.999999999Z", SECONDS_LAST, 999_999_999),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(parse(text), Ok(Timestamp { seconds, nanos }), "{text}");
        }
    }

    #[test]
    fn refused_texts_say_why() {
        let cases = [
            ("", "expected a year of four digits at character 1"),
            ("2024-05-01", "expected `T` and a time, as in `2024-05-01T12:30:00Z` at character 11"),
            ("2024-02-30T00:00:00Z", "the day is out of range"),
            ("2023-02-29T00:00:00Z", "the day is out of range"),
            ("2024-13-01T00:00:00Z", "the month is out of range"),
            ("2024-05-01T24:00:00Z", "the hour is out of range"),
            ("2024-05-01T12:00:60Z", "the second is out of range"),
            ("2024-05-01T12:30:00", "expected `Z` or an offset such as `+02:00` at character 20"),
            ("2024-05-01T12:30:00.Z", "expected digits after the `.` at character 21"),
            ("2024-05-01T12:30:00.0123456789Z", "a fraction of a second has at most 9 digits"),
            ("2024-05-01T12:30:00Z ", "expected the end at character 21"),
            ("0000-01-01T00:00:00+00:01", "the year is out of range"),
            ("2024-05-01T12:30:00+24:00", "the offset hour is out of range"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn every_instant_prints() {
        let print = |seconds| Timestamp { seconds, nanos: 0 }.to_string();
        assert_eq!(print(SECONDS_LAST + 1), "+010000-01-01T00:00:00Z");
        assert_eq!(print(SECONDS_FIRST - 1), "-000001-12-31T23:59:59Z");
        assert!(!print(i64::MIN).is_empty() && !print(i64::MAX).is_empty());
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_instant(
            seconds in SECONDS_FIRST..=SECONDS_LAST,
            nanos in 0..1_000_000_000_u32,
        ) {
            let timestamp = Timestamp { seconds, nanos };
            prop_assert_eq!(parse(&timestamp.to_string()), Ok(timestamp));
        }

        #[test]
        fn parsing_any_text_does_not_panic(text in "[0-9TtZz:+. -]{0,32}|\\PC{0,8}") {
            let _ = parse(&text);
        }
    }
}
