//! The crate quamina: patterns compiled into one automaton over JSON events.
//!
//! It reads a pattern of its own language on each insert and an event as JSON on each search; both
//! are timed, writing the event's JSON is not. Levels of a topic are fields of their own. A
//! pattern is a conjunction of one test per field: it can express every family but d.

use std::sync::{PoisonError, RwLock};

use fanal_matching::{Attributes, Value};
use quamina::Quamina;
use serde_json::{Map, json};

use super::{Engine, Matcher, Refusal};
use crate::matching::asked::{Asked, Condition, Predicate, Test};
use crate::matching::event::{Code, Event, Schema};

/// The automaton behind a lock, since changes need it alone.
pub(in crate::matching) struct Patterns(RwLock<Quamina<u32>>);

/// Searches the [`Patterns`].
pub(in crate::matching) struct PatternMatcher<'e> {
    patterns: &'e Patterns,
    /// The event as JSON.
    json: Vec<u8>,
    found: Vec<u32>,
}

impl Engine for Patterns {
    type Subscription = String;
    type Matcher<'e> = PatternMatcher<'e>;
    const IS_CONCURRENT: bool = false;

    fn new(_schema: &Schema) -> Result<Self, Refusal> {
        Ok(Patterns(RwLock::new(Quamina::new())))
    }

    fn prepare(asked: &Asked) -> Result<String, Refusal> {
        let mut fields = Map::new();
        if asked.levels.is_some() {
            let levels =
                asked.topic.as_str().split('/').enumerate().filter(|(_, level)| !matches!(*level, "+" | "#"));
            fields.extend(levels.map(|(at, level)| (level_name(at), json!([level]))));
        }
        let predicates: &[Condition] = match &asked.condition {
            Some(Condition::All(all)) => all,
            Some(condition) => std::slice::from_ref(condition),
            None => &[],
        };
        for condition in predicates {
            let Condition::Is(predicate) = condition else {
                return Err("cannot express trees of AND, OR and NOT".to_owned());
            };
            let name = asked.schema().name(predicate.attribute).to_owned();
            fields.insert(name, field(predicate, asked.schema()));
        }
        Ok(serde_json::Value::Object(fields).to_string())
    }

    fn insert(&self, id: u32, pattern: String) -> Result<(), Refusal> {
        let mut quamina = self.0.write().unwrap_or_else(PoisonError::into_inner);
        quamina.add_pattern(id, &pattern).map_err(|error| format!("{pattern}: {error}"))
    }

    fn remove(&self, id: u32) -> Result<(), Refusal> {
        let mut quamina = self.0.write().unwrap_or_else(PoisonError::into_inner);
        quamina.delete_patterns(&id).map_err(|error| error.to_string())
    }

    fn matcher(&self) -> PatternMatcher<'_> {
        PatternMatcher { patterns: self, json: Vec::new(), found: Vec::new() }
    }
}

impl Matcher for PatternMatcher<'_> {
    fn receive(&mut self, event: &Event) {
        let mut fields = Map::new();
        if event.levels.is_some() {
            fields.extend(event.topic.levels().enumerate().map(|(at, level)| (level_name(at), json!(level))));
        }
        event.visit(&mut |name, value| {
            let value = match value {
                Value::Int(number) => json!(number),
                Value::Bool(known) => json!(known),
                Value::Str(text) => json!(text),
                _ => return,
            };
            fields.insert(name.to_owned(), value);
        });
        self.json = serde_json::Value::Object(fields).to_string().into_bytes();
    }

    fn find(&mut self, _event: &Event) -> Result<(), Refusal> {
        let quamina = self.patterns.0.read().unwrap_or_else(PoisonError::into_inner);
        self.found = quamina.matches_for_event(&self.json).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn found(&self) -> usize {
        self.found.len()
    }

    fn ids(&self) -> Vec<u32> {
        self.found.clone()
    }
}

fn level_name(level: usize) -> String {
    format!("level_{level}")
}

fn field(predicate: &Predicate, schema: &Schema) -> serde_json::Value {
    let spell = |code: u32| schema.spell(predicate.attribute, code);
    match &predicate.test {
        Test::Equal(Code::Str(code)) => json!([spell(*code)]),
        Test::Equal(Code::Int(number)) => json!([number]),
        Test::Equal(Code::Bool(known)) => json!([known]),
        Test::In(list) => list.iter().map(|code| spell(*code)).collect(),
        Test::AtLeast(low) => json!([{ "numeric": [">=", low] }]),
        Test::AtMost(high) => json!([{ "numeric": ["<=", high] }]),
        Test::Between(low, high) => json!([{ "numeric": [">=", low, "<=", high] }]),
        Test::Prefix { digits, code } => {
            let width = *digits as usize;
            json!([{ "prefix": format!("{code:0width$x}") }])
        }
    }
}
