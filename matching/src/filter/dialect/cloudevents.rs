//! The filter dialects of the CloudEvents Subscriptions API 1.0 (section 3.2.4): `exact`, `prefix`,
//! `suffix`, `all`, `any`, `not` and `sql`.
//!
//! 1. A filter is true or false of every event, never unknown: what is missing matches nothing, so
//!    that `not` of it is true.
//! 2. Attributes are compared in their text form ([`text_form`]), case by case. A timestamp is equal
//!    to a text that means the same instant, since its own spelling is not kept.
//! 3. [`Filter::translate`] says the same in the filter language, as far as `true` goes; what that
//!    cannot say stays as it is, within `CLOUDEVENTS('…')`.
//!
//! `sql` is strict CESQL. A set of filters, as a subscription has them, is a JSON array: all of them.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::super::error::{Dialect, FilterError, FilterErrorReason};
use super::super::explain::Reading;
use super::super::near::nearest;
use super::super::strict::Expression;
use super::json::{Json, Kind, Member, Number, place_in_string, write_string};
use super::language::{self, is_name, put_string};
use crate::value::{Attributes, Timestamp, Value};

pub(super) const NAMES: &[&str] = &["exact", "prefix", "suffix", "all", "any", "not", "sql"];

#[derive(Debug)]
pub(in super::super) enum Filter {
    /// Each of the attributes has such a text; never empty.
    Texts(How, Vec<(String, String)>),
    /// Never empty.
    All(Vec<Filter>),
    /// Never empty.
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Sql(Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum How {
    Exact,
    Prefix,
    Suffix,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            How::Exact => "exact",
            How::Prefix => "prefix",
            How::Suffix => "suffix",
        }
    }
}

/// The text that an attribute stands for: numbers in their shortest form, a whole float as the
/// integer that it is, timestamps as RFC 3339 in UTC. Bytes and floats that are not finite have none.
pub(super) fn text_form<'v>(value: &Value<'v>) -> Option<Cow<'v, str>> {
    Some(match value {
        Value::Str(text) => Cow::Borrowed(text),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(Number::of_float(*number)?.to_string()),
        Value::Timestamp(timestamp) => Cow::Owned(timestamp.to_string()),
        Value::Bytes(_) => return None,
    })
}

/// Whether an attribute is what `text` says, as a text or as the same instant.
pub(super) fn is_text(value: &Value<'_>, text: &str) -> bool {
    match value {
        Value::Timestamp(timestamp) => Timestamp::parse_rfc3339(text) == Ok(*timestamp),
        value => text_form(value).is_some_and(|form| form == text),
    }
}

/// Reading.
impl Filter {
    /// The filter that a JSON value is.
    pub(super) fn read(text: &str, json: &Json) -> Result<Filter, FilterError> {
        Reader { text }.filter_or_set(json)
    }
}

impl Filter {
    /// What the filter reads of the event, in the order of its text.
    pub(in super::super) fn read_into<'a, A: Attributes + ?Sized>(
        &'a self,
        event: &'a A,
        readings: &mut Vec<Reading<'a>>,
    ) {
        match self {
            Filter::Texts(_, texts) => texts.iter().for_each(|(name, _)| {
                Reading { name: name.into(), value: event.get(name) }.put_into(readings);
            }),
            Filter::All(filters) | Filter::Any(filters) => {
                filters.iter().for_each(|filter| filter.read_into(event, readings));
            }
            Filter::Not(filter) => filter.read_into(event, readings),
            Filter::Sql(expression) => expression.read_into(event, readings),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
}

type Read<T> = Result<T, FilterError>;

impl Reader<'_> {
    fn refuse<T>(&self, position: usize, reason: FilterErrorReason) -> Read<T> {
        Err(FilterError::new(self.text, position, reason))
    }

    fn expected<T>(&self, json: &Json, expected: &'static str) -> Read<T> {
        let dialect = Dialect::CloudEvents;
        self.refuse(json.start, FilterErrorReason::NotInDialect { dialect, expected })
    }

    fn filter_or_set(&self, json: &Json) -> Read<Filter> {
        match &json.kind {
            Kind::Array(_) => Ok(Filter::All(self.filters(json)?)),
            _ => self.filter(json),
        }
    }

    fn filters(&self, json: &Json) -> Read<Vec<Filter>> {
        match &json.kind {
            Kind::Array(filters) if !filters.is_empty() => {
                filters.iter().map(|filter| self.filter(filter)).collect()
            }
            _ => self.expected(json, "an array of one filter or more"),
        }
    }

    fn filter(&self, json: &Json) -> Read<Filter> {
        let Kind::Object(members) = &json.kind else {
            return self.expected(json, "a filter, such as {\"exact\": {\"type\": \"order.placed\"}}");
        };
        match members.as_slice() {
            [member] => self.dialect(member),
            [] => self.expected(json, "a filter with the name of its dialect"),
            [_, second, ..] => {
                let dialect = Dialect::CloudEvents;
                let expected = "one dialect in a filter: put several filters into an array";
                self.refuse(second.start, FilterErrorReason::NotInDialect { dialect, expected })
            }
        }
    }

    fn dialect(&self, member: &Member) -> Read<Filter> {
        let value = &member.value;
        match member.name.as_str() {
            "exact" => self.texts(How::Exact, value),
            "prefix" => self.texts(How::Prefix, value),
            "suffix" => self.texts(How::Suffix, value),
            "all" => Ok(Filter::All(self.filters(value)?)),
            "any" => Ok(Filter::Any(self.filters(value)?)),
            "not" => Ok(Filter::Not(Box::new(self.filter(value)?))),
            "sql" => self.sql(value),
            name => {
                let (dialect, found) = (Dialect::CloudEvents, super::super::lexer::brief(name));
                let near = nearest(name, NAMES);
                self.refuse(member.start, FilterErrorReason::UnknownDialectWord { dialect, found, near })
            }
        }
    }

    fn texts(&self, how: How, json: &Json) -> Read<Filter> {
        match &json.kind {
            Kind::Object(members) if !members.is_empty() => {
                Ok(Filter::Texts(how, members.iter().map(|member| self.text(member)).collect::<Read<_>>()?))
            }
            _ => self.expected(json, "an object of attributes and strings"),
        }
    }

    fn text(&self, member: &Member) -> Read<(String, String)> {
        let dialect = Dialect::CloudEvents;
        match &member.value.kind {
            Kind::Str(_) if member.name.is_empty() => {
                let expected = "the name of an attribute";
                self.refuse(member.start, FilterErrorReason::NotInDialect { dialect, expected })
            }
            Kind::Str(text) if !text.is_empty() => Ok((member.name.clone(), text.clone())),
            _ => self.expected(&member.value, "a string that is not empty"),
        }
    }

    fn sql(&self, json: &Json) -> Read<Filter> {
        let Kind::Str(expression) = &json.kind else {
            return self.expected(json, "a string with a CESQL expression");
        };
        match Expression::parse_filter(expression) {
            Ok(expression) => Ok(Filter::Sql(expression)),
            Err(error) => self.refuse(place_in_string(self.text, json.start, error.position), error.reason),
        }
    }
}

/// Evaluating.
impl Filter {
    /// Whether the event passes.
    pub(in super::super) fn matches<A: Attributes + ?Sized>(&self, event: &A) -> bool {
        match self {
            Filter::Texts(how, texts) => {
                texts.iter().all(|(name, text)| event.get(name).is_some_and(|value| fits(*how, &value, text)))
            }
            Filter::All(filters) => filters.iter().all(|filter| filter.matches(event)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.matches(event)),
            Filter::Not(filter) => !filter.matches(event),
            Filter::Sql(expression) => expression.truth(event).is_true(),
        }
    }
}

fn fits(how: How, value: &Value<'_>, text: &str) -> bool {
    match how {
        How::Exact => is_text(value, text),
        How::Prefix => text_form(value).is_some_and(|form| form.starts_with(text)),
        How::Suffix => text_form(value).is_some_and(|form| form.ends_with(text)),
    }
}

/// Printing, as JSON.
impl Filter {
    pub(super) fn write_json(&self, out: &mut String) -> fmt::Result {
        match self {
            Filter::Texts(how, texts) => write_texts(out, *how, texts.iter()),
            Filter::All(filters) => write_filters(out, "all", filters),
            Filter::Any(filters) => write_filters(out, "any", filters),
            Filter::Not(filter) => {
                out.write_str("{\"not\":")?;
                filter.write_json(out)?;
                out.write_char('}')
            }
            Filter::Sql(expression) => {
                out.write_str("{\"sql\":")?;
                write_string(out, expression.as_str())?;
                out.write_char('}')
            }
        }
    }
}

fn write_texts<'t>(
    out: &mut String,
    how: How,
    texts: impl Iterator<Item = &'t (String, String)>,
) -> fmt::Result {
    write!(out, "{{\"{}\":{{", how.name())?;
    for (index, (name, text)) in texts.enumerate() {
        out.write_str(if index == 0 { "" } else { "," })?;
        write_string(out, name)?;
        out.write_char(':')?;
        write_string(out, text)?;
    }
    out.write_str("}}")
}

fn write_filters(out: &mut String, name: &str, filters: &[Filter]) -> fmt::Result {
    write!(out, "{{\"{name}\":[")?;
    for (index, filter) in filters.iter().enumerate() {
        out.write_str(if index == 0 { "" } else { "," })?;
        filter.write_json(out)?;
    }
    out.write_str("]}")
}

/// Saying the same in the filter language.
impl Filter {
    /// Writes a condition that is true exactly where the filter is.
    pub(super) fn translate(&self, out: &mut String) -> fmt::Result {
        match self {
            Filter::Texts(how, texts) => {
                language::join(out, "AND", texts, |out, (name, text)| translate_text(out, *how, name, text))
            }
            Filter::All(filters) => language::join(out, "AND", filters, |out, filter| filter.translate(out)),
            Filter::Any(filters) => language::join(out, "OR", filters, |out, filter| filter.translate(out)),
            Filter::Not(filter) => {
                out.write_char('(')?;
                filter.translate(out)?;
                out.write_str(") IS NOT TRUE")
            }
            Filter::Sql(expression) => {
                out.write_str("CESQL(")?;
                put_string(out, expression.as_str())?;
                out.write_char(')')
            }
        }
    }
}

fn translate_text(out: &mut String, how: How, name: &str, text: &str) -> fmt::Result {
    match how {
        _ if !is_name(name) => embed(out, how, name, text),
        How::Exact => language::equals(out, name, text),
        How::Prefix | How::Suffix if !language::is_part_of_strings_alone(name, text) => {
            embed(out, how, name, text)
        }
        How::Prefix => language::like(out, name, "", text, "%"),
        How::Suffix => language::like(out, name, "%", text, ""),
    }
}

fn embed(out: &mut String, how: How, name: &str, text: &str) -> fmt::Result {
    let mut json = String::new();
    write_texts(&mut json, how, std::iter::once(&(name.to_owned(), text.to_owned())))?;
    out.write_str("CLOUDEVENTS(")?;
    put_string(out, &json)?;
    out.write_char(')')
}
