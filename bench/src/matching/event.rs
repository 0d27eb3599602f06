//! Events of a workload: a topic and owned attributes.
//!
//! 1. Attributes are sorted by name, each name once.
//! 2. Beside each value stands its code, the number that the generator drew; the oracle reads the
//!    codes, the engines read the values.

use std::sync::Arc;

use fanal_matching::{Attributes, Topic, Value};

use super::asked::Levels;

/// What a workload's attributes are called and how their strings are spelled.
#[derive(Debug)]
pub struct Schema {
    pub(super) attributes: Vec<AttributeKind>,
    /// Indices of `attributes` in the order of their names.
    order: Vec<u16>,
}

/// One attribute of a [`Schema`].
#[derive(Debug)]
pub struct AttributeKind {
    /// The name in filters and events.
    pub name: Arc<str>,
    spelling: Spelling,
}

#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// Letters and the code: `acc17`.
    Stem(&'static str),
    /// [`PATH_DIGITS`] hexadecimal digits, so that a prefix stands for a range of codes.
    Path,
    /// Not a string.
    Integer,
    /// Not a string.
    Boolean,
}

/// The attribute that is matched by prefix, where a family has one.
pub(super) const PATH: &str = "reference";

/// How long its strings are.
pub(super) const PATH_DIGITS: u32 = 6;

/// Names an attribute by its place in the [`Schema`].
pub(super) type AttributeIndex = u16;

/// A value as the generator drew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The integer itself.
    Int(i64),
    /// The boolean itself.
    Bool(bool),
    /// The rank of a string; equal ranks of one attribute are equal strings.
    Str(u32),
}

/// One event: owns its values, lists them as [`Attributes`].
#[derive(Clone, Debug)]
pub struct Event {
    /// Where it is published.
    pub topic: Topic,
    attributes: Box<[Attribute]>,
    /// The topic's levels, in family f.
    pub(super) levels: Option<Levels>,
}

/// One attribute of an [`Event`].
#[derive(Clone, Debug)]
struct Attribute {
    name: Arc<str>,
    value: Owned,
    index: AttributeIndex,
    code: Code,
}

#[derive(Clone, Debug)]
enum Owned {
    Int(i64),
    Bool(bool),
    Str(Box<str>),
}

impl Schema {
    pub(super) fn new(attributes: Vec<AttributeKind>) -> Arc<Schema> {
        let mut order: Vec<u16> = (0..attributes.len() as u16).collect();
        order.sort_by(|a, b| attributes[usize::from(*a)].name.cmp(&attributes[usize::from(*b)].name));
        Arc::new(Schema { attributes, order })
    }

    /// The attributes in the order in which they were declared.
    pub fn attributes(&self) -> &[AttributeKind] {
        &self.attributes
    }

    pub(super) fn name(&self, attribute: AttributeIndex) -> &str {
        &self.attributes[usize::from(attribute)].name
    }

    /// How the string of `code` is spelled.
    pub(super) fn spell(&self, attribute: AttributeIndex, code: u32) -> String {
        match self.attributes[usize::from(attribute)].spelling {
            Spelling::Stem(stem) => format!("{stem}{code}"),
            Spelling::Path => format!("{code:0width$x}", width = PATH_DIGITS as usize),
            Spelling::Integer | Spelling::Boolean => String::new(),
        }
    }

    /// An event of these values; an attribute that is given as `None` is left out.
    pub(super) fn event(&self, topic: Topic, code_of: impl Fn(AttributeIndex) -> Option<Code>) -> Event {
        let with_code = self.order.iter().filter_map(|&index| Some((index, code_of(index)?)));
        let attributes = with_code.map(|(index, code)| self.attribute(index, code)).collect();
        Event { topic, attributes, levels: None }
    }

    fn attribute(&self, index: AttributeIndex, code: Code) -> Attribute {
        let value = match code {
            Code::Int(number) => Owned::Int(number),
            Code::Bool(known) => Owned::Bool(known),
            Code::Str(rank) => Owned::Str(self.spell(index, rank).into()),
        };
        Attribute { name: Arc::clone(&self.attributes[usize::from(index)].name), value, index, code }
    }
}

impl AttributeKind {
    /// Strings `stem0`, `stem1`, ….
    pub(super) fn string(name: &str, stem: &'static str) -> AttributeKind {
        AttributeKind { name: name.into(), spelling: Spelling::Stem(stem) }
    }

    /// Strings that are matched by prefix.
    pub(super) fn path() -> AttributeKind {
        AttributeKind { name: PATH.into(), spelling: Spelling::Path }
    }

    /// Integers.
    pub(super) fn integer(name: &str) -> AttributeKind {
        AttributeKind { name: name.into(), spelling: Spelling::Integer }
    }

    /// True or false.
    pub(super) fn boolean(name: &str) -> AttributeKind {
        AttributeKind { name: name.into(), spelling: Spelling::Boolean }
    }

    /// Whether the values are strings.
    pub fn is_string(&self) -> bool {
        matches!(self.spelling, Spelling::Stem(_) | Spelling::Path)
    }

    /// Whether the values are strings that are matched by prefix.
    pub fn is_path(&self) -> bool {
        matches!(self.spelling, Spelling::Path)
    }

    /// Whether the values are integers.
    pub fn is_integer(&self) -> bool {
        matches!(self.spelling, Spelling::Integer)
    }
}

impl Event {
    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there is no attribute.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// What the generator drew, by attribute.
    pub(super) fn codes(&self) -> impl Iterator<Item = (AttributeIndex, Code)> {
        self.attributes.iter().map(|attribute| (attribute.index, attribute.code))
    }
}

impl Event {
    /// Reads the event once, as who took it from its frame has: what comes back depends on all of it.
    pub(super) fn read(&self) -> usize {
        let mut sum = 0;
        self.visit(&mut |name, value| {
            sum += name.len();
            if let Value::Str(text) = value {
                sum += text.bytes().map(usize::from).sum::<usize>();
            }
        });
        sum
    }
}

impl Attributes for Event {
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let at = self.attributes.binary_search_by(|attribute| (*attribute.name).cmp(name)).ok()?;
        Some(self.attributes[at].value.borrow())
    }

    fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s str, Value<'s>)) {
        self.attributes.iter().for_each(|attribute| see(&attribute.name, attribute.value.borrow()));
    }
}

impl Owned {
    fn borrow(&self) -> Value<'_> {
        match self {
            Owned::Int(number) => Value::Int(*number),
            Owned::Bool(known) => Value::Bool(*known),
            Owned::Str(text) => Value::Str(text),
        }
    }
}
