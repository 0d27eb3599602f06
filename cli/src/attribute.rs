//! Values as the command line and JSON write them: attributes and times.
//!
//! Invariants:
//! 1. A JSON number without fraction and exponent is an i64 or refused; any other is a finite
//!    f64 or refused. No digits of an integer are lost in silence.
//! 2. No attribute has the name of a field that every event has.

use fanal_protocol::body::CORE_NAMES;
use fanal_protocol::{AttributeValue, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The value of an attribute that owns its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Value {
    /// As the protocol takes it.
    pub(crate) fn view(&self) -> AttributeValue<'_> {
        match self {
            Value::Bool(value) => AttributeValue::Bool(*value),
            Value::Int(value) => AttributeValue::Int(*value),
            Value::Float(value) => AttributeValue::Float(*value),
            Value::Text(value) => AttributeValue::Str(value),
        }
    }
}

/// `-a NAME=VALUE`; without a value (JSON's null) it is left out of the event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) value: Option<Value>,
}

/// Reads `NAME=VALUE`: JSON scalars, anything else is text.
///
/// # Errors
/// A text that says what is wrong and what to write instead.
pub(crate) fn parse(text: &str) -> Result<Attribute, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("`{text}` has no value: write NAME=VALUE, as in -a amount=250"));
    };
    if name.is_empty() {
        return Err(format!("`{text}` has no name: write NAME=VALUE, as in -a amount=250"));
    }
    if name == "topic" {
        return Err("`topic` is a field of every event: give the topic as the first argument".into());
    }
    if CORE_NAMES.contains(&name) {
        return Err(format!("`{name}` is a field of every event: set it with --{name} instead"));
    }
    let value = scalar(value).map_err(|reason| {
        format!("attribute `{name}`: {reason}, or write it as text: -a '{name}=\"{value}\"'")
    })?;
    Ok(Attribute { name: name.to_owned(), value })
}

fn scalar(text: &str) -> Result<Option<Value>, String> {
    Ok(match text.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') if is_json_number(text) => Some(number(text)?),
        Some(b'"') => Some(Value::Text(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned()))),
        _ => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => None,
            _ => Some(Value::Text(text.to_owned())),
        },
    })
}

fn is_json_number(text: &str) -> bool {
    !text.ends_with(char::is_whitespace) && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Reads a number that is well formed by JSON's grammar.
///
/// # Errors
/// A text when the number does not fit.
pub(crate) fn number(text: &str) -> Result<Value, String> {
    if !text.contains(['.', 'e', 'E']) {
        return text.parse().map(Value::Int).map_err(|_| {
            format!("the integer {text} does not fit into 64 bits (-2^63 to 2^63-1): write it as a string")
        });
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Value::Float(value)),
        _ => Err(format!("the number {text} does not fit into a 64-bit float")),
    }
}

/// Reads an RFC 3339 time, as filters read it.
///
/// # Errors
/// A text that says what is expected.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = fanal_matching::Timestamp::parse_rfc3339(text).map_err(|error| {
        format!("`{text}` is not an RFC 3339 time, such as 2013-01-01T10:00:00Z: {error}")
    })?;
    Ok(Timestamp { seconds: time.seconds, nanos: time.nanos })
}

/// Writes a time as RFC 3339 in UTC; beyond year 9999 as seconds since 1970 after an `@`.
pub(crate) fn show_time(time: Timestamp) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(time.seconds)
        .and_then(|moment| moment.replace_nanosecond(time.nanos));
    match moment.map(|moment| moment.format(&Rfc3339)) {
        Ok(Ok(text)) => text,
        _ => format!("@{}.{:09}", time.seconds, time.nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Value> {
        parse(&format!("n={text}")).unwrap().value
    }

    #[test]
    fn json_scalars_keep_their_type_and_anything_else_is_text() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        assert_eq!(value("250"), Some(Value::Int(250)));
        assert_eq!(value("-9223372036854775808"), Some(Value::Int(i64::MIN)));
        assert_eq!(value("2.5"), Some(Value::Float(2.5)));
        assert_eq!(value("1e3"), Some(Value::Float(1000.0)));
        assert_eq!(value("true"), Some(Value::Bool(true)));
        assert_eq!(value("\"250\""), text("250"));
        assert_eq!(value("\"a\\u0062\""), text("ab"));
        assert_eq!(value("null"), None);
        for other in ["paris", "", "a=b", "2013-01-01", "007", "1.", "5 ", "[1]", "\"open", "True", "NaN"] {
            assert_eq!(value(other), text(other), "{other}");
        }
    }

    #[test]
    fn numbers_that_would_lose_digits_are_refused() {
        for bad in ["9223372036854775808", "1e999"] {
            let error = parse(&format!("n={bad}")).unwrap_err();
            assert!(error.contains(bad) && error.contains("as text"), "{error}");
        }
    }

    #[test]
    fn names_of_core_fields_point_to_their_flag() {
        assert!(parse("id=7").unwrap_err().contains("--id"));
        assert!(parse("topic=7").unwrap_err().contains("first argument"));
        assert!(parse("amount").unwrap_err().contains("NAME=VALUE"));
        assert!(parse("=5").unwrap_err().contains("no name"));
    }

    #[test]
    fn times_round_trip() {
        for text in ["2013-01-01T10:00:00Z", "1969-12-31T23:59:59.5Z", "2024-02-29T00:00:00.000000001Z"] {
            assert_eq!(show_time(parse_time(text).unwrap()), text);
        }
        assert_eq!(show_time(parse_time("2013-01-01T12:00:00+02:00").unwrap()), "2013-01-01T10:00:00Z");
        assert_eq!(show_time(Timestamp { seconds: i64::MAX, nanos: 5 }), "@9223372036854775807.000000005");
        // A leap second is the second after; what the year 9999 does not hold in UTC is refused, not bent.
        assert_eq!(show_time(parse_time("2016-12-31T23:59:60.5Z").unwrap()), "2017-01-01T00:00:00.5Z");
        assert!(parse_time("9999-12-31T23:59:59-01:00").unwrap_err().contains("year"));
        assert!(parse_time("2024-01-01T00:00:00.1234567891Z").is_err());
        assert!(parse_time("yesterday").unwrap_err().contains("such as"));
    }
}
