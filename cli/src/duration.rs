//! Durations as people write them: `250ms`, `90s`, `5m`, `2h`, `7d`.
//!
//! Invariant: a whole number and one unit, above zero; what is printed reads back.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration.
///
/// # Errors
/// A text that says what is expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!(
            "`{text}` is not a duration: write a whole number and a unit (ms s m h d), as in 250ms, 90s, 5m, 2h or 7d"
        )
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
    let total = number.checked_mul(*millis).ok_or_else(|| format!("`{text}` is too long a duration"))?;
    if total == 0 {
        return Err(format!("`{text}` is no time at all: at least 1ms is needed"));
    }
    Ok(Duration::from_millis(total))
}

/// Reads seconds (`5`, `0`, `0.5`) or a duration (`2m`).
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['e', 'E']);
    match text.parse::<f64>() {
        Ok(seconds) if is_number => Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("`{text}` is too long: write seconds, or a duration such as 2m")),
        _ => parse(text),
    }
}

/// Writes a duration for people, with the largest unit of which it is a whole number.
pub(crate) fn show(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |&&(_, unit): &&(&str, u64)| millis % unit == 0;
    match UNITS.iter().rev().find(fits) {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / unit),
        _ => "0ms".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_written_back() {
        for (text, millis) in
            [("250ms", 250), ("90s", 90_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(show(Duration::from_millis(millis)), text);
        }
        assert_eq!(show(Duration::from_millis(90_500)), "90500ms");
    }

    #[test]
    fn seconds_may_stand_alone_where_that_is_said() {
        for (text, millis) in [("5", 5_000), ("0", 0), ("0.5", 500), ("2m", 120_000)] {
            assert_eq!(parse_seconds(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "inf", "nan", "1e3", "5 s"] {
            assert!(parse_seconds(text).unwrap_err().contains("as in 250ms"), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_form_expected() {
        for text in ["", "5", "s", "1.5h", "-3s", "5 m", "5min", "99999999999999999999s", "٣s"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("as in 250ms"), "{text}: {error}");
        }
        assert!(parse("0s").unwrap_err().contains("at least 1ms"));
        assert!(parse("999999999999999999d").unwrap_err().contains("too long"));
    }
}
