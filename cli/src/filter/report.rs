//! What is said about a filter and an event, for people and for programs.
//!
//! Invariants:
//! 1. The JSON form is that of protocol/schemas/filter-test.json: every member is there, what does not
//!    apply is null.
//! 2. Both forms say the same, but that people see the beginning of long texts only; texts of events
//!    reach no terminal with control characters.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal_matching::strict::ErrorKind;
use fanal_matching::{Clause, Explanation, Filter, Reading, Selector, Topic, Truth, Value};
use serde::Serialize;

use super::event::Event;
use crate::exit::Outcome;
use crate::output::{Out, Table, clean, grouped};

/// The most characters of a text that people see.
const TOLD_CHARACTERS_MAX: usize = 100;

/// The answer for one event, or for the filter alone.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    filter: &'a str,
    strict: bool,
    event: Option<u64>,
    id: Option<&'a str>,
    topic: Option<&'a str>,
    matches: Option<bool>,
    result: Option<&'static str>,
    error: Option<&'static str>,
    topic_filter: Option<TopicResult>,
    clauses: Option<Vec<ClauseResult<'a>>>,
    problem: Option<&'a str>,
}

/// What the topic said.
#[derive(Serialize)]
struct TopicResult {
    filter: String,
    matches: bool,
    excluded_by: Vec<String>,
}

#[derive(Serialize)]
struct ClauseResult<'a> {
    text: &'a str,
    start: usize,
    end: usize,
    depth: usize,
    operator: Option<&'static str>,
    result: &'static str,
    error: Option<&'static str>,
    decisive: bool,
    values: Vec<Named<'a>>,
    /// As people read them.
    #[serde(skip)]
    told: String,
}

#[derive(Serialize)]
struct Named<'a> {
    name: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    value: Option<serde_json::Value>,
}

impl<'a> Report<'a> {
    /// A filter that was read.
    pub(crate) fn of_filter(filter: &'a Filter) -> Self {
        Report {
            filter: filter.as_str(),
            strict: filter.is_strict(),
            event: None,
            id: None,
            topic: None,
            matches: None,
            result: None,
            error: None,
            topic_filter: None,
            clauses: None,
            problem: None,
        }
    }

    /// An event that could not be read.
    pub(crate) fn unreadable(number: u64, filter: &'a Filter, reason: &'a str) -> Self {
        Report { event: Some(number), problem: Some(reason), ..Report::of_filter(filter) }
    }

    /// What the filter says about an event, and its topics where they are asked for.
    pub(crate) fn of_event(
        number: u64,
        filter: &'a Filter,
        selector: Option<&Selector>,
        event: &'a Event<'_>,
        topic: Option<&Topic>,
    ) -> Self {
        let Explanation { truth, clauses } = filter.explain(event);
        let topic_filter = selector.map(|selector| TopicResult::new(selector, topic, event));
        let fits = topic_filter.as_ref().is_none_or(|topic| topic.matches && topic.excluded_by.is_empty());
        Report {
            event: Some(number),
            id: event.id.as_deref(),
            topic: event.topic.as_deref(),
            matches: Some(truth.is_true() && fits),
            result: Some(word(truth)),
            error: clauses.first().and_then(|whole| whole.error).map(ErrorKind::as_str),
            topic_filter,
            clauses: Some(clauses.into_iter().map(ClauseResult::new).collect()),
            ..Report::of_filter(filter)
        }
    }

    /// Whether the event would be delivered.
    pub(crate) fn is_match(&self) -> bool {
        self.matches == Some(true)
    }

    /// For people: a line, and what each clause gave.
    pub(crate) fn print(&self, out: &mut Out) -> Outcome {
        if self.event > Some(1) {
            out.line(format_args!(""))?;
        }
        out.line(format_args!("{}", self.heading()))?;
        let mut table = Table::new(["CLAUSE", "RESULT", "DECIDES", "VALUES"]);
        for row in self.topic_filter.iter().flat_map(|topic| topic.rows(self.topic)) {
            table.row(row);
        }
        for clause in self.clauses.iter().flatten() {
            table.row(clause.row());
        }
        table.print(out)
    }

    fn heading(&self) -> String {
        let mut text = format!("event {}", self.event.unwrap_or_default());
        for named in [self.topic, self.id].into_iter().flatten() {
            // Writing into a string cannot fail.
            let _ = write!(text, ", {}", clean(named));
        }
        let matches = if self.is_match() { "match" } else { "no match" };
        let _ = write!(text, ": {matches}");
        text
    }
}

impl TopicResult {
    fn new(selector: &Selector, topic: Option<&Topic>, event: &Event<'_>) -> Self {
        let verdict = topic.map(|topic| selector.explain(topic, event));
        TopicResult {
            filter: selector.topic.to_string(),
            matches: verdict.as_ref().is_some_and(|verdict| verdict.topic),
            excluded_by: verdict
                .iter()
                .flat_map(|verdict| &verdict.excluded_by)
                .map(ToString::to_string)
                .collect(),
        }
    }

    fn rows(&self, topic: Option<&str>) -> Vec<[String; 4]> {
        let told = topic.map_or_else(
            || "topic is missing".to_owned(),
            |topic| Reading { name: "topic".into(), value: Some(Value::Str(topic)) }.to_string(),
        );
        let row = |what: String, matches: bool, decides: bool| {
            [what, matches.to_string(), yes(decides).to_owned(), told.clone()]
        };
        let excluded = self.excluded_by.iter().map(|filter| row(format!("except {filter}"), true, true));
        std::iter::once(row(format!("topic filter {}", self.filter), self.matches, !self.matches))
            .chain(excluded)
            .collect()
    }
}

impl<'a> ClauseResult<'a> {
    fn new(clause: Clause<'a>) -> Self {
        let told = clause.readings.iter().map(|reading| told(reading, clause.truth));
        ClauseResult {
            text: clause.text,
            start: clause.span.start,
            end: clause.span.end,
            depth: clause.depth,
            operator: clause.operator,
            result: word(clause.truth),
            error: clause.error.map(ErrorKind::as_str),
            decisive: clause.decisive,
            told: told.collect::<Vec<_>>().join(", "),
            values: clause.readings.into_iter().map(Named::new).collect(),
        }
    }

    fn row(&self) -> [String; 4] {
        let indent = "  ".repeat(self.depth);
        let text = self.operator.unwrap_or(self.text);
        [
            format!("{indent}{text}"),
            self.error.unwrap_or(self.result).to_owned(),
            yes(self.decisive).to_owned(),
            self.told.clone(),
        ]
    }
}

impl<'a> Named<'a> {
    fn new(reading: Reading<'a>) -> Self {
        let Reading { name, value } = reading;
        Named { name, kind: value.as_ref().map(kind), value: value.map(json) }
    }
}

/// For people: long texts are cut. Where the answer is unknown the type may be why.
fn told(reading: &Reading<'_>, truth: Truth) -> String {
    let shown = match reading.value {
        Some(Value::Str(text)) => cut(reading, text),
        _ => reading.to_string(),
    };
    match (&reading.value, truth) {
        (Some(value), Truth::Unknown) => format!("{shown} ({})", kind(value)),
        _ => shown,
    }
}

/// A reading of a text, as far as it is not too long to look at.
fn cut(reading: &Reading<'_>, text: &str) -> String {
    match text.char_indices().nth(TOLD_CHARACTERS_MAX) {
        None => reading.to_string(),
        Some((end, _)) => {
            let beginning = Reading { name: reading.name.clone(), value: Some(Value::Str(&text[..end])) };
            format!("{beginning}… ({} bytes)", grouped(text.len() as u64))
        }
    }
}

fn word(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "true",
        Truth::False => "false",
        Truth::Unknown => "unknown",
    }
}

fn yes(known: bool) -> &'static str {
    if known { "yes" } else { "" }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Str(_) => "string",
        Value::Bytes(_) => "bytes",
        Value::Timestamp(_) => "timestamp",
    }
}

fn json(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        // JSON has no word for infinities and not-a-number.
        Value::Float(value) if !value.is_finite() => value.to_string().into(),
        Value::Float(value) => value.into(),
        Value::Str(value) => value.into(),
        Value::Bytes(value) => STANDARD.encode(value).into(),
        Value::Timestamp(value) => value.to_string().into(),
    }
}
