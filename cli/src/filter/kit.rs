//! Answers for a test kit: an expression and an event a line, what it gives a line.
//!
//! Invariants:
//! 1. Every line but blank ones and `null` has one answer, in order; no line ends the run.
//! 2. The form is that of protocol/schemas/filter-answer.json. In strict mode the answer is CESQL's own:
//!    a value of any type, and the first error. In default mode it is true, false, or null for unknown.
//! 3. An event's members are its attributes, but for `data` and `data_base64`. In strict mode they are
//!    what JSON says they are, so that a time stays the text that it is.

use std::collections::BTreeMap;

use fanal_matching::strict::{ErrorKind, Expression, Outcome as Evaluated, Primitive};
use fanal_matching::{Attributes, Filter, Truth, Value};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::event::{Event, Payload};

/// What is asked.
#[derive(Deserialize)]
struct Question<'a> {
    /// A string; another scalar, which YAML makes of `TRUE` and `0`, stands for its text.
    expression: serde_json::Value,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

/// What is answered.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    result: serde_json::Value,
    error: Option<&'static str>,
}

impl Answer {
    fn error(kind: ErrorKind) -> Self {
        let result = match kind {
            ErrorKind::Parse => false.into(),
            _ => serde_json::Value::Null,
        };
        Answer { result, error: Some(kind.as_str()) }
    }

    /// For a line that is no question.
    pub(crate) fn to_nothing() -> Self {
        Answer::error(ErrorKind::Generic)
    }
}

/// The answer to a line; none to a blank one and to `null`.
pub(crate) fn answer(line: &[u8], strict: bool) -> Option<Answer> {
    let line = line.trim_ascii();
    if line.is_empty() || line == b"null" {
        return None;
    }
    let answer = serde_json::from_slice::<Question<'_>>(line).ok().and_then(|question| {
        let expression = text(question.expression)?;
        let event = question.event.map(RawValue::get).filter(|event| *event != "null").unwrap_or("{}");
        if strict { answer_strictly(&expression, event) } else { answer_by_default(&expression, event) }
    });
    Some(answer.unwrap_or_else(Answer::to_nothing))
}

fn text(expression: serde_json::Value) -> Option<String> {
    match expression {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => Some(expression.to_string()),
        _ => None,
    }
}

fn answer_strictly(expression: &str, event: &str) -> Option<Answer> {
    let event: Members = serde_json::from_str(event).ok()?;
    Some(match Expression::parse(expression) {
        Err(error) => Answer::error(ErrorKind::of(&error)),
        Ok(expression) => expression.evaluate(&event).into(),
    })
}

impl From<Evaluated> for Answer {
    fn from(Evaluated { value, error }: Evaluated) -> Self {
        let result = match value {
            Primitive::Bool(value) => value.into(),
            Primitive::Int(value) => value.into(),
            Primitive::Str(value) => value.into(),
        };
        Answer { result, error: error.map(ErrorKind::as_str) }
    }
}

fn answer_by_default(expression: &str, event: &str) -> Option<Answer> {
    let payload = Payload::of(event.as_bytes());
    let event = Event::read(event.as_bytes(), &payload).ok()??;
    Some(match Filter::parse(expression) {
        Err(error) => Answer::error(ErrorKind::of(&error)),
        Ok(filter) => {
            let result = match filter.evaluate(&event) {
                Truth::True => true.into(),
                Truth::False => false.into(),
                Truth::Unknown => serde_json::Value::Null,
            };
            Answer { result, error: None }
        }
    })
}

/// An event's members as JSON has them.
#[derive(Deserialize)]
#[serde(transparent)]
struct Members(BTreeMap<String, serde_json::Value>);

impl Attributes for Members {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match self.0.get(name)? {
            _ if matches!(name, "data" | "data_base64") => None,
            serde_json::Value::Bool(value) => Some(Value::Bool(*value)),
            serde_json::Value::Number(value) => {
                value.as_i64().map(Value::Int).or_else(|| value.as_f64().map(Value::Float))
            }
            serde_json::Value::String(value) => Some(Value::Str(value)),
            _ => None,
        }
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        for name in self.0.keys() {
            if let Some(value) = self.get(name) {
                see(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str, strict: bool) -> String {
        answer(line.as_bytes(), strict)
            .map_or_else(String::new, |answer| serde_json::to_string(&answer).unwrap())
    }

    #[test]
    fn every_question_has_one_answer() {
        for (line, strict, default) in [
            ("", "", ""),
            (" null ", "", ""),
            ("{", r#"{"result":null,"error":"generic"}"#, r#"{"result":null,"error":"generic"}"#),
            (
                r#"{"event":{}}"#,
                r#"{"result":null,"error":"generic"}"#,
                r#"{"result":null,"error":"generic"}"#,
            ),
            (
                r#"{"expression":"TRUE","event":5}"#,
                r#"{"result":null,"error":"generic"}"#,
                r#"{"result":null,"error":"generic"}"#,
            ),
            (r#"{"expression":true}"#, r#"{"result":true,"error":null}"#, r#"{"result":true,"error":null}"#),
            (
                r#"{"expression":"a =","event":null}"#,
                r#"{"result":false,"error":"parse"}"#,
                r#"{"result":false,"error":"parse"}"#,
            ),
            (
                r#"{"expression":"a = 1"}"#,
                r#"{"result":false,"error":"missingAttribute"}"#,
                r#"{"result":null,"error":null}"#,
            ),
            (
                r#"{"expression":"a = '1'","event":{"a":1}}"#,
                r#"{"result":true,"error":null}"#,
                r#"{"result":null,"error":null}"#,
            ),
            (
                r#"{"expression":"EXISTS data","event":{"specversion":"1.0","data":1}}"#,
                r#"{"result":false,"error":null}"#,
                r#"{"result":false,"error":null}"#,
            ),
        ] {
            assert_eq!(answered(line, true), strict, "strict: {line}");
            assert_eq!(answered(line, false), default, "default: {line}");
        }
    }

    #[test]
    fn strict_answers_are_values_of_any_type() {
        assert_eq!(answered(r#"{"expression":"5 / 0"}"#, true), r#"{"result":0,"error":"math"}"#);
        assert_eq!(answered(r#"{"expression":0}"#, true), r#"{"result":0,"error":null}"#);
        let time = r#"{"expression":"time","event":{"time":"2018-04-26T14:48:09+02:00"}}"#;
        assert_eq!(answered(time, true), r#"{"result":"2018-04-26T14:48:09+02:00","error":null}"#);
    }
}
