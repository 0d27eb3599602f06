//! Filters in other languages, as people have them: CloudEvents Subscriptions API filters and Amazon
//! EventBridge patterns, both JSON.
//!
//! 1. A text that begins with `{` or `[` is one of them, since no filter in the language does. It is
//!    translated into the language and is a filter like any other from then on.
//! 2. What the language cannot say exactly becomes an [`Embedded`] condition, `CLOUDEVENTS('…')`,
//!    `EVENTBRIDGE('…')` or `CESQL('…')`, which can be written in any filter as well. It is true or false
//!    of an event, as its own language says; unknown only where an EventBridge pattern would take too
//!    much work.
//! 3. A text that both dialects take is refused, as they would read it differently.
//! 4. Places of mistakes are places in the JSON.

use std::fmt;

use super::Truth;
use super::error::{FilterError, FilterErrorReason};
use super::explain::Reading;
use super::strict::Expression;
use crate::value::Attributes;

mod cloudevents;
mod eventbridge;
mod json;
mod language;

/// Whether a filter is JSON.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_ascii_start().starts_with(['{', '['])
}

/// A condition in the filter language that is true exactly where the filter in JSON is.
pub(super) fn translate(text: &str) -> Result<String, FilterError> {
    let json = json::parse(text)?;
    let mut out = String::new();
    // Writing into a String does not fail.
    let _ = match read(text, &json)? {
        Embedded::CloudEvents(filter) => filter.translate(&mut out),
        Embedded::EventBridge(pattern) => pattern.translate(&mut out),
        Embedded::Cesql(_) => Ok(()),
    };
    Ok(out)
}

fn read(text: &str, json: &json::Json) -> Result<Embedded, FilterError> {
    let filter = cloudevents::Filter::read(text, json);
    let pattern = eventbridge::Pattern::read(text, json);
    match (filter, pattern) {
        (Ok(_), Ok(_)) => Err(FilterError::new(text, json.start, FilterErrorReason::AmbiguousDialect)),
        (Ok(filter), Err(_)) => Ok(Embedded::CloudEvents(filter)),
        (Err(_), Ok(pattern)) => Ok(Embedded::EventBridge(pattern)),
        (Err(error), Err(_)) if looks_like_cloudevents(json) => Err(error),
        (Err(_), Err(error)) => Err(error),
    }
}

/// Whether what is neither was more likely meant to be a filter of CloudEvents.
fn looks_like_cloudevents(json: &json::Json) -> bool {
    match &json.kind {
        json::Kind::Object(members) => {
            members.first().is_some_and(|member| cloudevents::NAMES.contains(&member.name.as_str()))
        }
        _ => true,
    }
}

/// The text of a float in languages that have none: that of an integer if it is one, else the shortest
/// that reads back the same.
pub(super) fn float_text(float: f64) -> String {
    json::Number::of_float(float).map_or_else(|| format!("{float:?}"), |number| number.to_string())
}

/// A condition in another language.
#[derive(Debug)]
pub(super) enum Embedded {
    Cesql(Expression),
    CloudEvents(cloudevents::Filter),
    EventBridge(eventbridge::Pattern),
}

/// The language of an [`Embedded`] condition, by the word before its `(`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Cesql,
    CloudEvents,
    EventBridge,
}

impl Language {
    const ALL: [Language; 3] = [Language::Cesql, Language::CloudEvents, Language::EventBridge];

    pub(super) fn of_word(word: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.word().eq_ignore_ascii_case(word))
    }

    /// The words of all.
    pub(super) fn words() -> impl Iterator<Item = &'static str> {
        Language::ALL.into_iter().map(Language::word)
    }

    fn word(self) -> &'static str {
        match self {
            Language::Cesql => "CESQL",
            Language::CloudEvents => "CLOUDEVENTS",
            Language::EventBridge => "EVENTBRIDGE",
        }
    }

    /// Reads a condition in this language.
    pub(super) fn read(self, text: &str) -> Result<Embedded, FilterError> {
        Ok(match self {
            Language::Cesql => Embedded::Cesql(Expression::parse_filter(text)?),
            Language::CloudEvents => {
                Embedded::CloudEvents(cloudevents::Filter::read(text, &json::parse(text)?)?)
            }
            Language::EventBridge => {
                Embedded::EventBridge(eventbridge::Pattern::read(text, &json::parse(text)?)?)
            }
        })
    }
}

impl Embedded {
    /// True or false; unknown only of a pattern that would take too much work.
    pub(super) fn truth<A: Attributes + ?Sized>(&self, event: &A) -> Truth {
        match self {
            Embedded::Cesql(expression) => Truth::from(expression.truth(event).is_true()),
            Embedded::CloudEvents(filter) => Truth::from(filter.matches(event)),
            Embedded::EventBridge(pattern) => pattern.truth(event),
        }
    }

    /// What the condition reads of the event, in the order of its text.
    pub(super) fn read_into<'a, A: Attributes + ?Sized>(
        &'a self,
        event: &'a A,
        readings: &mut Vec<Reading<'a>>,
    ) {
        match self {
            Embedded::Cesql(expression) => expression.read_into(event, readings),
            Embedded::CloudEvents(filter) => filter.read_into(event, readings),
            Embedded::EventBridge(pattern) => pattern.read_into(event, readings),
        }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        match self {
            Embedded::Cesql(expression) => fmt::Write::write_str(out, expression.as_str()),
            Embedded::CloudEvents(filter) => filter.write_json(out),
            Embedded::EventBridge(pattern) => pattern.write_json(out),
        }
    }

    fn language(&self) -> Language {
        match self {
            Embedded::Cesql(_) => Language::Cesql,
            Embedded::CloudEvents(_) => Language::CloudEvents,
            Embedded::EventBridge(_) => Language::EventBridge,
        }
    }
}

/// Prints the condition as the filter language writes it.
impl fmt::Display for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        let mut quoted = String::new();
        language::put_string(&mut quoted, &text)?;
        write!(f, "{}({quoted})", self.language().word())
    }
}
