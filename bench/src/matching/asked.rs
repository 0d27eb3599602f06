//! What a subscription of a workload asks for, before it is text.
//!
//! 1. The generators make an [`Asked`]; [`Asked::selector`] gives the same as topic filter and
//!    predicate text in the default mode, fully parenthesised, parsed.
//! 2. [`Asked::holds`] answers from the generator's codes alone, without any code of the crate
//!    that is measured: it is the oracle.
//! 3. Three-valued as the language is: a predicate on an attribute that the event lacks is
//!    unknown.

use std::fmt::Write;
use std::sync::Arc;

use fanal_matching::{Filter, Selector, TopicFilter};

use super::event::{AttributeIndex, Code, Event, PATH_DIGITS, Schema};

/// One subscription as it was drawn.
#[derive(Clone, Debug)]
pub struct Asked {
    pub(super) schema: Arc<Schema>,
    pub(super) topic: TopicFilter,
    /// The same topic filter as codes, in family f; elsewhere all events have the topic asked for.
    pub(super) levels: Option<Levels>,
    /// What the attributes must fulfil.
    pub condition: Option<Condition>,
}

/// Levels of a topic or topic filter of family f by code.
pub(super) type Levels = [u8; 6];

/// Stands for `+` in [`Levels`].
pub(super) const ONE: u8 = 254;
/// Stands for `#` in [`Levels`].
pub(super) const REST: u8 = 255;

/// AND, OR and NOT over predicates.
#[derive(Clone, Debug)]
pub enum Condition {
    /// One predicate.
    Is(Predicate),
    /// The opposite.
    Not(Box<Condition>),
    /// Conjunction of two or more.
    All(Vec<Condition>),
    /// Disjunction of two or more.
    Any(Vec<Condition>),
}

/// A test of one attribute.
#[derive(Clone, Debug)]
pub struct Predicate {
    /// Place in the [`Schema`].
    pub attribute: u16,
    /// What its value must be.
    pub test: Test,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum Test {
    /// That value.
    Equal(Code),
    /// One of these strings.
    In(Box<[u32]>),
    /// That integer or greater.
    AtLeast(i64),
    /// That integer or less.
    AtMost(i64),
    /// From the one to the other, both included.
    Between(i64, i64),
    /// A string of [`PATH_DIGITS`] digits that begins with so many digits of this number.
    Prefix {
        /// How many digits.
        digits: u32,
        /// Which, as a number.
        code: u32,
    },
}

/// An event as the oracle sees it: codes by attribute.
#[derive(Debug)]
pub(super) struct Coded {
    values: Box<[Option<Code>]>,
    levels: Option<Levels>,
}

impl Coded {
    pub(super) fn new(schema: &Schema, event: &Event) -> Coded {
        let mut values = vec![None; schema.attributes.len()];
        event.codes().for_each(|(index, code)| values[usize::from(index)] = Some(code));
        Coded { values: values.into(), levels: event.levels }
    }
}

impl Asked {
    pub(super) fn new(schema: &Arc<Schema>, topic: &TopicFilter, condition: Option<Condition>) -> Asked {
        Asked { schema: Arc::clone(schema), topic: topic.clone(), levels: None, condition }
    }

    /// The conjunction of `predicates`.
    pub(super) fn conjunction(
        schema: &Arc<Schema>,
        topic: &TopicFilter,
        predicates: Vec<Predicate>,
    ) -> Asked {
        let mut all: Vec<Condition> = predicates.into_iter().map(Condition::Is).collect();
        let condition = if all.len() > 1 { Some(Condition::All(all)) } else { all.pop() };
        Asked::new(schema, topic, condition)
    }

    /// Attributes and their names.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The predicate as a filter of the default mode.
    pub fn text(&self) -> Option<String> {
        Some(self.condition.as_ref()?.text(&self.schema))
    }

    /// Topic filter and predicate, parsed.
    ///
    /// # Panics
    /// If the generator writes what the language refuses, which would make every figure void.
    pub fn selector(&self) -> Selector {
        let mut selector = Selector::new(self.topic.clone());
        selector.predicate = self.text().map(|text| match Filter::parse(&text) {
            Ok(filter) => filter,
            Err(error) => panic!("{text}: {error}"),
        });
        selector
    }

    /// Whether the event is wanted.
    pub(super) fn holds(&self, event: &Coded) -> bool {
        let (wanted, given) = (self.levels.as_ref(), event.levels.as_ref());
        wanted.zip(given).is_none_or(|(wanted, given)| is_topic_wanted(wanted, given))
            && self.condition.as_ref().is_none_or(|condition| condition.decide(&event.values) == Some(true))
    }
}

fn is_topic_wanted(wanted: &Levels, given: &Levels) -> bool {
    for (wanted, given) in wanted.iter().zip(given) {
        match *wanted {
            REST => return true,
            ONE => {}
            literal if literal == *given => {}
            _ => return false,
        }
    }
    true
}

impl Condition {
    /// As a filter of the default mode.
    pub(super) fn text(&self, schema: &Schema) -> String {
        let mut text = String::new();
        self.write(schema, &mut text);
        text
    }

    fn decide(&self, values: &[Option<Code>]) -> Option<bool> {
        match self {
            Condition::Is(predicate) => predicate.decide(values),
            Condition::Not(inner) => inner.decide(values).map(|known| !known),
            Condition::All(all) => until(false, all, values),
            Condition::Any(any) => until(true, any, values),
        }
    }

    fn write(&self, schema: &Schema, text: &mut String) {
        match self {
            Condition::Is(predicate) => predicate.write(schema, text),
            Condition::Not(inner) => {
                text.push_str("NOT (");
                inner.write(schema, text);
                text.push(')');
            }
            Condition::All(all) => write_chain(all, " AND ", schema, text),
            Condition::Any(any) => write_chain(any, " OR ", schema, text),
        }
    }
}

/// `decisive` if one is, else unknown if one is, else the opposite.
fn until(decisive: bool, all: &[Condition], values: &[Option<Code>]) -> Option<bool> {
    let mut result = Some(!decisive);
    for condition in all {
        match condition.decide(values) {
            Some(known) if known == decisive => return Some(decisive),
            None => result = None,
            Some(_) => {}
        }
    }
    result
}

fn write_chain(all: &[Condition], connective: &str, schema: &Schema, text: &mut String) {
    for (index, condition) in all.iter().enumerate() {
        text.push_str(if index > 0 { connective } else { "" });
        let is_chain = matches!(condition, Condition::All(_) | Condition::Any(_));
        text.push_str(if is_chain { "(" } else { "" });
        condition.write(schema, text);
        text.push_str(if is_chain { ")" } else { "" });
    }
}

impl Predicate {
    pub(super) fn new(attribute: AttributeIndex, test: Test) -> Predicate {
        Predicate { attribute, test }
    }

    fn decide(&self, values: &[Option<Code>]) -> Option<bool> {
        Some(match (&self.test, values[usize::from(self.attribute)]?) {
            (Test::Equal(wanted), given) => *wanted == given,
            (Test::In(list), Code::Str(given)) => list.contains(&given),
            (Test::AtLeast(low), Code::Int(given)) => given >= *low,
            (Test::AtMost(high), Code::Int(given)) => given <= *high,
            (Test::Between(low, high), Code::Int(given)) => (*low..=*high).contains(&given),
            (Test::Prefix { digits, code }, Code::Str(given)) => {
                given >> (4 * (PATH_DIGITS - digits)) == *code
            }
            _ => return None,
        })
    }

    fn write(&self, schema: &Schema, text: &mut String) {
        let name = schema.name(self.attribute);
        let spell = |code: u32| schema.spell(self.attribute, code);
        // Writing to a String does not fail.
        let _ = match &self.test {
            Test::Equal(Code::Str(code)) => write!(text, "{name} = '{}'", spell(*code)),
            Test::Equal(Code::Int(number)) => write!(text, "{name} = {number}"),
            Test::Equal(Code::Bool(known)) => {
                write!(text, "{name} = {}", if *known { "TRUE" } else { "FALSE" })
            }
            Test::In(list) => {
                let list: Vec<String> = list.iter().map(|code| format!("'{}'", spell(*code))).collect();
                write!(text, "{name} IN ({})", list.join(", "))
            }
            Test::AtLeast(low) => write!(text, "{name} >= {low}"),
            Test::AtMost(high) => write!(text, "{name} <= {high}"),
            Test::Between(low, high) => write!(text, "{name} BETWEEN {low} AND {high}"),
            Test::Prefix { digits, code } => {
                write!(text, "{name} LIKE '{code:0width$x}%'", width = *digits as usize)
            }
        };
    }
}
