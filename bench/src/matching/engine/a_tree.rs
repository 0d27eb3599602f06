//! The crate a-tree: boolean expressions with shared nodes (SIGMOD 2021).
//!
//! It reads an expression of its own language on each insert, and an event by names and values on
//! each search; both are timed. It has no prefixes and no topics: an event gets attributes for
//! its prefixes of 1 to 3 digits and for the levels of its topic, which are tested for equality.

use std::fmt::Write;
use std::sync::{PoisonError, RwLock};

use a_tree::{ATree, AttributeDefinition, EventBuilder, EventError};
use fanal_matching::{Attributes, Value};

use super::{Engine, Matcher, Refusal};
use crate::matching::asked::{Asked, Condition, Predicate, Test};
use crate::matching::event::{Code, Event, Schema};

const LEVELS: usize = 6;
const PREFIXES: std::ops::RangeInclusive<usize> = 1..=3;

/// The tree behind a lock, since changes need it alone.
pub(in crate::matching) struct Tree(RwLock<ATree<u32>>);

/// Searches the [`Tree`].
pub(in crate::matching) struct TreeMatcher<'e> {
    tree: &'e Tree,
    found: Vec<u32>,
}

impl Engine for Tree {
    type Subscription = String;
    type Matcher<'e> = TreeMatcher<'e>;
    const IS_CONCURRENT: bool = false;

    fn new(schema: &Schema) -> Result<Self, Refusal> {
        let mut definitions = Vec::new();
        for kind in schema.attributes() {
            definitions.push(match kind {
                kind if kind.is_string() => AttributeDefinition::string(&kind.name),
                kind if kind.is_integer() => AttributeDefinition::integer(&kind.name),
                kind => AttributeDefinition::boolean(&kind.name),
            });
            if kind.is_path() {
                definitions.extend(
                    PREFIXES.map(|digits| AttributeDefinition::string(&prefix_name(&kind.name, digits))),
                );
            }
        }
        definitions.extend((0..LEVELS).map(|level| AttributeDefinition::string(&level_name(level))));
        ATree::new(&definitions).map(|tree| Tree(RwLock::new(tree))).map_err(|error| error.to_string())
    }

    fn prepare(asked: &Asked) -> Result<String, Refusal> {
        let mut terms = Vec::new();
        if asked.levels.is_some() {
            let levels =
                asked.topic.as_str().split('/').enumerate().filter(|(_, level)| !matches!(*level, "+" | "#"));
            terms.extend(levels.map(|(at, level)| format!("{} = '{level}'", level_name(at))));
        }
        terms.extend(asked.condition.as_ref().map(|condition| {
            let mut text = String::new();
            write_condition(condition, asked.schema(), &mut text);
            format!("({text})")
        }));
        Ok(terms.join(" and "))
    }

    fn insert(&self, id: u32, text: String) -> Result<(), Refusal> {
        let mut tree = self.0.write().unwrap_or_else(PoisonError::into_inner);
        tree.insert(&id, &text).map_err(|error| format!("{text}: {error}"))
    }

    fn remove(&self, id: u32) -> Result<(), Refusal> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).delete(&id);
        Ok(())
    }

    fn matcher(&self) -> TreeMatcher<'_> {
        TreeMatcher { tree: self, found: Vec::new() }
    }
}

impl Matcher for TreeMatcher<'_> {
    fn find(&mut self, event: &Event) -> Result<(), Refusal> {
        self.found.clear();
        let tree = self.tree.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut builder = tree.make_event();
        fill(&mut builder, event).map_err(|error| error.to_string())?;
        let event = builder.build().map_err(|error| error.to_string())?;
        let report = tree.search(&event).map_err(|error| error.to_string())?;
        self.found.extend(report.matches().iter().copied());
        Ok(())
    }

    fn found(&self) -> usize {
        self.found.len()
    }

    fn ids(&self) -> Vec<u32> {
        self.found.clone()
    }
}

fn fill(builder: &mut EventBuilder<'_>, event: &Event) -> Result<(), EventError> {
    if event.levels.is_some() {
        for (at, level) in event.topic.levels().enumerate() {
            builder.with_string(&level_name(at), level)?;
        }
    }
    let mut outcome = Ok(());
    event.visit(&mut |name, value| {
        let added = add(builder, name, value);
        outcome = std::mem::replace(&mut outcome, Ok(())).and(added);
    });
    outcome
}

fn add(builder: &mut EventBuilder<'_>, name: &str, value: Value<'_>) -> Result<(), EventError> {
    match value {
        Value::Int(number) => builder.with_integer(name, number),
        Value::Bool(known) => builder.with_boolean(name, known),
        Value::Str(text) => {
            if name == crate::matching::event::PATH {
                for digits in PREFIXES {
                    builder.with_string(&prefix_name(name, digits), &text[..digits])?;
                }
            }
            builder.with_string(name, text)
        }
        _ => Ok(()),
    }
}

fn level_name(level: usize) -> String {
    format!("level_{level}")
}

fn prefix_name(name: &str, digits: usize) -> String {
    format!("{name}_{digits}")
}

fn write_condition(condition: &Condition, schema: &Schema, text: &mut String) {
    match condition {
        Condition::Is(predicate) => write_predicate(predicate, schema, text),
        Condition::Not(inner) => {
            text.push_str("not (");
            write_condition(inner, schema, text);
            text.push(')');
        }
        Condition::All(all) => write_chain(all, " and ", schema, text),
        Condition::Any(any) => write_chain(any, " or ", schema, text),
    }
}

fn write_chain(all: &[Condition], connective: &str, schema: &Schema, text: &mut String) {
    for (index, condition) in all.iter().enumerate() {
        text.push_str(if index > 0 { connective } else { "" });
        text.push('(');
        write_condition(condition, schema, text);
        text.push(')');
    }
}

fn write_predicate(predicate: &Predicate, schema: &Schema, text: &mut String) {
    let name = schema.name(predicate.attribute);
    let spell = |code: u32| format!("'{}'", schema.spell(predicate.attribute, code));
    // Writing to a String does not fail.
    let _ = match &predicate.test {
        Test::Equal(Code::Str(code)) => write!(text, "{name} = {}", spell(*code)),
        Test::Equal(Code::Int(number)) => write!(text, "{name} = {number}"),
        Test::Equal(Code::Bool(true)) => write!(text, "{name}"),
        Test::Equal(Code::Bool(false)) => write!(text, "not {name}"),
        Test::In(list) => {
            let list: Vec<String> = list.iter().map(|code| spell(*code)).collect();
            write!(text, "{name} in [{}]", list.join(", "))
        }
        Test::AtLeast(low) => write!(text, "{name} >= {low}"),
        Test::AtMost(high) => write!(text, "{name} <= {high}"),
        Test::Between(low, high) => write!(text, "{name} >= {low} and {name} <= {high}"),
        Test::Prefix { digits, code } => {
            let width = *digits as usize;
            write!(text, "{} = '{code:0width$x}'", prefix_name(name, width))
        }
    };
}
