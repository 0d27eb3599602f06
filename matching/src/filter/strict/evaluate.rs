//! What an expression gives for one event.
//!
//! 1. The first error ends the evaluation; on its way out each operator and function makes it the
//!    error of its own zero value (section 3.2: the value of an expression has the expression's
//!    type). Only what fails itself may give another value, as `LEFT('abc', -1)` gives `abc`.
//! 2. Operands are evaluated from left to right, each once, then cast, from left to right.
//! 3. AND and OR do not evaluate what cannot change them (section 3.6); IN stops at the first
//!    element that is equal.
//! 4. No more than [`WORK_BYTES_MAX`] bytes of text are built, searched, compared and cast to integers:
//!    each such step is counted before it is done.

use std::borrow::Cow;
use std::cell::Cell;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::super::dialect::float_text;
use super::super::tree::{Comparison, Connective};
use super::functions::Function;
use super::tree::{Arithmetic, Name, Node, Operator, Test, TestKind, Type, Value};
use super::{ErrorKind, WORK_BYTES_MAX};
use crate::text::{self, TextError};
use crate::value::{self, Attributes};

/// An error, and the value that stands for the expression nevertheless.
#[derive(Debug)]
pub(super) struct Failure<'e> {
    pub(super) kind: ErrorKind,
    pub(super) value: Value<'e>,
}

type Evaluated<'e> = Result<Value<'e>, Failure<'e>>;

pub(super) fn evaluate<'e, A: Attributes + ?Sized>(root: &'e Node, event: &'e A) -> Evaluated<'e> {
    Evaluation { event, work_left: Cell::new(WORK_BYTES_MAX) }.value(root)
}

/// What `node` is as an operand of NOT, AND, OR or XOR: cast to a truth value.
pub(super) fn evaluate_bool<'e, A: Attributes + ?Sized>(node: &'e Node, event: &'e A) -> Computed<bool> {
    Evaluation { event, work_left: Cell::new(WORK_BYTES_MAX) }.bool(node)
}

/// What the event has under a name.
pub(super) fn read<'e, A: Attributes + ?Sized>(name: &'e Name, event: &'e A) -> Option<value::Value<'e>> {
    Evaluation { event, work_left: Cell::new(0) }.get(name)
}

struct Evaluation<'e, A: ?Sized> {
    event: &'e A,
    work_left: Cell<usize>,
}

impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    fn value(&self, node: &'e Node) -> Evaluated<'e> {
        match node {
            Node::Bool(known) => Ok(Value::Bool(*known)),
            Node::Int(number) => Ok(Value::Int(*number)),
            Node::Str(text) => Ok(Value::Str(Cow::Borrowed(text))),
            Node::Name(name) => self.attribute(name).map_err(|kind| failure(kind, Type::Bool)),
            Node::Exists(name) => Ok(Value::Bool(self.exists(name))),
            Node::Not(operand) => self.bool(operand).map(|known| Value::Bool(!known)).of(Type::Bool),
            Node::Minus(operand) => self.minus(operand).map(Value::Int).of(Type::Int),
            Node::Chain { first, rest } => self.chain(first, rest),
            Node::Tested { value, tests } => self.tested(value, tests).map(Value::Bool).of(Type::Bool),
            Node::Call { function, arguments } => self.call(*function, arguments),
            Node::Unknown { .. } => Err(failure(ErrorKind::MissingFunction, Type::Bool)),
        }
    }

    /// Operands are joined from left to right. They all give the same type.
    fn chain(&self, first: &'e Node, rest: &'e [(Operator, Node)]) -> Evaluated<'e> {
        let result = match rest.first() {
            Some((Operator::Arithmetic(_), _)) => Type::Int,
            _ => Type::Bool,
        };
        let joined = rest.iter().try_fold(self.operand(first).of(result)?, |left, (operator, right)| {
            self.join(*operator, left, right).of(result)
        })?;
        Ok(joined)
    }

    fn join(&self, operator: Operator, left: Value<'e>, right: &'e Node) -> Computed<Value<'e>> {
        match operator {
            Operator::Connective(connective) => self.connect(connective, left, right).map(Value::Bool),
            Operator::Comparison(comparison) => {
                self.compare(comparison, left, self.operand(right)?).map(Value::Bool)
            }
            Operator::Arithmetic(arithmetic) => {
                let right = self.operand(right)?;
                compute(arithmetic, self.to_int(&left)?, self.to_int(&right)?).map(Value::Int)
            }
        }
    }

    fn connect(&self, connective: Connective, left: Value<'e>, right: &'e Node) -> Computed<bool> {
        match (connective, to_bool(&left)?) {
            (Connective::And, false) => Ok(false),
            (Connective::Or, true) => Ok(true),
            (Connective::And | Connective::Or, _) => self.bool(right),
            (Connective::Xor, left) => Ok(left != self.bool(right)?),
        }
    }

    fn compare(&self, comparison: Comparison, left: Value<'e>, right: Value<'e>) -> Computed<bool> {
        let order = |left: &Value<'_>, right: &Value<'_>| Ok(self.to_int(left)?.cmp(&self.to_int(right)?));
        match comparison {
            Comparison::Equal => self.are_equal(left, &right, right.kind()),
            Comparison::Unequal => self.are_equal(left, &right, right.kind()).map(|equal| !equal),
            Comparison::Less => order(&left, &right).map(std::cmp::Ordering::is_lt),
            Comparison::LessOrEqual => order(&left, &right).map(std::cmp::Ordering::is_le),
            Comparison::Greater => order(&left, &right).map(std::cmp::Ordering::is_gt),
            Comparison::GreaterOrEqual => order(&left, &right).map(std::cmp::Ordering::is_ge),
        }
    }

    /// Whether `given`, cast to `kind`, is `wanted`, which has that type.
    fn are_equal(&self, given: Value<'e>, wanted: &Value<'e>, kind: Type) -> Computed<bool> {
        let given = self.cast(given, kind)?;
        if let (Value::Str(given), Value::Str(wanted)) = (&given, wanted) {
            self.spend(if given.len() == wanted.len() { given.len() } else { 0 })?;
        }
        Ok(given == *wanted)
    }

    fn minus(&self, operand: &'e Node) -> Computed<i32> {
        self.to_int(&self.operand(operand)?)?.checked_neg().ok_or(ErrorKind::Math)
    }

    fn tested(&self, value: &'e Node, tests: &'e [Test]) -> Computed<bool> {
        let mut value = self.operand(value)?;
        for test in tests {
            let fulfilled = match &test.kind {
                TestKind::Like(pattern, _) => {
                    let text = self.text_of(value)?;
                    self.spend(text.len())?;
                    pattern.matches(&text)
                }
                TestKind::In(set) => self.is_in(value, set)?,
            };
            value = Value::Bool(fulfilled != test.negated);
        }
        to_bool(&value)
    }

    /// The elements are cast to the type of the value.
    fn is_in(&self, value: Value<'e>, set: &'e [Node]) -> Computed<bool> {
        for element in set {
            if self.are_equal(self.operand(element)?, &value, value.kind())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Attributes.
impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    fn get(&self, name: &'e Name) -> Option<value::Value<'e>> {
        let event = self.event;
        event.get(&name.written).or_else(|| name.lower.as_ref().and_then(|lower| event.get(lower)))
    }

    /// Required attributes exist in every event (section 3.4.4).
    fn exists(&self, name: &'e Name) -> bool {
        let lower = name.lower.as_ref().unwrap_or(&name.written);
        matches!(&**lower, "id" | "source" | "specversion" | "type") || self.get(name).is_some()
    }

    fn attribute(&self, name: &'e Name) -> Computed<Value<'e>> {
        let built = |text: String| {
            self.spend(text.len())?;
            Ok(Value::Str(Cow::Owned(text)))
        };
        match self.get(name).ok_or(ErrorKind::MissingAttribute)? {
            value::Value::Bool(known) => Ok(Value::Bool(known)),
            value::Value::Str(text) => Ok(Value::Str(Cow::Borrowed(text))),
            value::Value::Int(number) => match i32::try_from(number) {
                Ok(number) => Ok(Value::Int(number)),
                Err(_) => built(number.to_string()),
            },
            value::Value::Float(number) => built(float_text(number)),
            value::Value::Timestamp(timestamp) => built(timestamp.to_string()),
            value::Value::Bytes(bytes) => {
                self.spend(bytes.len())?;
                built(BASE64_STANDARD.encode(bytes))
            }
        }
    }
}

/// Functions.
impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    fn call(&self, function: Function, arguments: &'e [Node]) -> Evaluated<'e> {
        let computed = match function {
            Function::Abs => return self.abs(arguments),
            Function::Left => return self.cut(arguments, text::left),
            Function::Right => return self.cut(arguments, text::right),
            Function::Bool => self.argument(arguments, 0).and_then(|value| to_bool(&value)).map(Value::Bool),
            Function::Int => {
                self.argument(arguments, 0).and_then(|value| self.to_int(&value)).map(Value::Int)
            }
            Function::String => self.string(arguments, 0).map(Value::Str),
            Function::Length => self.length(arguments),
            Function::Concat => self.concat(arguments, ""),
            Function::ConcatWs => self.concat_with_separator(arguments),
            Function::Lower => self.build(arguments, text::lower),
            Function::Upper => self.build(arguments, text::upper),
            Function::Trim => self.trim(arguments),
            Function::Substring => self.substring(arguments),
        };
        computed.of(function.result())
    }

    fn argument(&self, arguments: &'e [Node], index: usize) -> Computed<Value<'e>> {
        // The number of arguments was checked when the call was read.
        self.operand(arguments.get(index).ok_or(ErrorKind::MissingFunction)?)
    }

    fn string(&self, arguments: &'e [Node], index: usize) -> Computed<Cow<'e, str>> {
        self.text_of(self.argument(arguments, index)?)
    }

    fn int(&self, arguments: &'e [Node], index: usize) -> Computed<i64> {
        Ok(i64::from(self.to_int(&self.argument(arguments, index)?)?))
    }

    /// The first argument as a text that is about to be read to its end.
    fn searched(&self, arguments: &'e [Node]) -> Computed<Cow<'e, str>> {
        let text = self.string(arguments, 0)?;
        self.spend(text.len())?;
        Ok(text)
    }

    fn length(&self, arguments: &'e [Node]) -> Computed<Value<'e>> {
        let length = text::length(&self.searched(arguments)?);
        // An event's text is far below 2^31 characters, and what is built below WORK_BYTES_MAX.
        i32::try_from(length).map(Value::Int).map_err(|_| ErrorKind::Generic)
    }

    /// Of the least integer there is no absolute value: the greatest stands for it.
    fn abs(&self, arguments: &'e [Node]) -> Evaluated<'e> {
        let number = self.argument(arguments, 0).and_then(|value| self.to_int(&value));
        number
            .of(Type::Int)?
            .checked_abs()
            .map(Value::Int)
            .ok_or(Failure { kind: ErrorKind::Math, value: Value::Int(i32::MAX) })
    }

    /// LEFT or RIGHT: with a negative count the text itself stands for the result.
    fn cut(
        &self,
        arguments: &'e [Node],
        cut: impl Fn(&str, i64) -> Result<&str, TextError>,
    ) -> Evaluated<'e> {
        let given = self.searched(arguments).of(Type::Str)?;
        let count = self.int(arguments, 1).of(Type::Str)?;
        match shortened(given.clone(), |text| cut(text, count)) {
            Ok(text) => Ok(Value::Str(text)),
            Err(kind) => Err(Failure { kind, value: Value::Str(given) }),
        }
    }

    fn substring(&self, arguments: &'e [Node]) -> Computed<Value<'e>> {
        let given = self.searched(arguments)?;
        let position = self.int(arguments, 1)?;
        let count = if arguments.len() > 2 { Some(self.int(arguments, 2)?) } else { None };
        Ok(Value::Str(shortened(given, |text| text::substring(text, position, count))?))
    }

    fn build(
        &self,
        arguments: &'e [Node],
        build: impl Fn(&str, usize) -> Result<String, TextError>,
    ) -> Computed<Value<'e>> {
        let built = build(&self.searched(arguments)?, self.work_left.get()).map_err(kind_of)?;
        self.spend(built.len())?;
        Ok(Value::Str(Cow::Owned(built)))
    }

    fn trim(&self, arguments: &'e [Node]) -> Computed<Value<'e>> {
        let given = self.searched(arguments)?;
        Ok(Value::Str(shortened(given, |text| Ok(text::trim(text)))?))
    }

    fn concat_with_separator(&self, arguments: &'e [Node]) -> Computed<Value<'e>> {
        let separator = self.string(arguments, 0)?;
        self.concat(arguments.get(1..).unwrap_or_default(), &separator)
    }

    fn concat(&self, arguments: &'e [Node], delimiter: &str) -> Computed<Value<'e>> {
        let parts: Vec<Cow<'e, str>> =
            (0..arguments.len()).map(|index| self.string(arguments, index)).collect::<Computed<_>>()?;
        let text = text::concat(&parts, delimiter, self.work_left.get()).map_err(kind_of)?;
        self.spend(text.len())?;
        Ok(Value::Str(Cow::Owned(text)))
    }
}

/// Errors within an operator or function, before it says which value stands for it.
pub(super) type Computed<T> = Result<T, ErrorKind>;

/// Operands and casts (section 3.7).
impl<'e, A: Attributes + ?Sized> Evaluation<'e, A> {
    /// The value of an operand; of its failure only the error counts.
    fn operand(&self, node: &'e Node) -> Computed<Value<'e>> {
        self.value(node).map_err(|failure| failure.kind)
    }

    fn bool(&self, node: &'e Node) -> Computed<bool> {
        to_bool(&self.operand(node)?)
    }

    fn text_of(&self, value: Value<'e>) -> Computed<Cow<'e, str>> {
        match value {
            Value::Str(text) => Ok(text),
            Value::Bool(true) => Ok(Cow::Borrowed("true")),
            Value::Bool(false) => Ok(Cow::Borrowed("false")),
            Value::Int(number) => {
                let text = number.to_string();
                self.spend(text.len())?;
                Ok(Cow::Owned(text))
            }
        }
    }

    fn cast(&self, value: Value<'e>, kind: Type) -> Computed<Value<'e>> {
        match kind {
            Type::Bool => to_bool(&value).map(Value::Bool),
            Type::Int => self.to_int(&value).map(Value::Int),
            Type::Str => self.text_of(value).map(Value::Str),
        }
    }

    /// A text may begin with a sign and has nothing but digits then.
    fn to_int(&self, value: &Value<'_>) -> Computed<i32> {
        match value {
            Value::Bool(known) => Ok(i32::from(*known)),
            Value::Int(number) => Ok(*number),
            Value::Str(text) => {
                self.spend(text.len())?;
                text.parse().map_err(|_| ErrorKind::Cast)
            }
        }
    }

    fn spend(&self, bytes: usize) -> Computed<()> {
        let left = self.work_left.get().checked_sub(bytes).ok_or(ErrorKind::Generic)?;
        self.work_left.set(left);
        Ok(())
    }
}

fn to_bool(value: &Value<'_>) -> Computed<bool> {
    match value {
        Value::Bool(known) => Ok(*known),
        Value::Int(number) => Ok(*number != 0),
        Value::Str(text) => text::parse_bool(text).ok_or(ErrorKind::Cast),
    }
}

fn compute(arithmetic: Arithmetic, left: i32, right: i32) -> Computed<i32> {
    let result = match arithmetic {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder if right == 0 => None,
        // The least integer by -1 leaves 0, which is no overflow.
        Arithmetic::Remainder => Some(left.wrapping_rem(right)),
    };
    result.ok_or(ErrorKind::Math)
}

/// What `shorten` leaves of a text, borrowed where the text was.
fn shortened<'e>(
    given: Cow<'e, str>,
    shorten: impl Fn(&str) -> Result<&str, TextError>,
) -> Computed<Cow<'e, str>> {
    match given {
        Cow::Owned(text) => Ok(Cow::Owned(shorten(&text).map_err(kind_of)?.to_owned())),
        Cow::Borrowed(text) => Ok(Cow::Borrowed(shorten(text).map_err(kind_of)?)),
    }
}

fn kind_of(error: TextError) -> ErrorKind {
    match error {
        TextError::TooLong { .. } => ErrorKind::Generic,
        TextError::NegativeCount | TextError::OutsideOfText => ErrorKind::FunctionEvaluation,
    }
}

fn failure(kind: ErrorKind, result: Type) -> Failure<'static> {
    Failure { kind, value: result.zero() }
}

/// Names the type whose zero value stands for what failed.
trait Of<'e, T> {
    fn of(self, result: Type) -> Result<T, Failure<'e>>;
}

impl<'e, T> Of<'e, T> for Computed<T> {
    fn of(self, result: Type) -> Result<T, Failure<'e>> {
        self.map_err(|kind| failure(kind, result))
    }
}
