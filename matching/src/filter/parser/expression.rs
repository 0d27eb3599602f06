//! Arithmetic and calls: from the loosest operator to the tightest, with what is constant computed
//! at once.
//!
//! 1. Operators of one level are read from left to right, products before sums, a minus before
//!    both (CESQL 1.0 section 3.4).
//! 2. Operators and functions whose operands are all constants are replaced by what they give; if
//!    that is nothing, the filter is refused: it would never be other than unknown.
//! 3. A call that makes the filter too costly is refused at its name.

use super::super::arithmetic::{self, Level, NEGATABLE, Operator};
use super::super::datum::Datum;
use super::super::dialect::Language;
use super::super::error::{Expected, FilterErrorReason};
use super::super::evaluate::constant;
use super::super::function::{Function, Signature, names};
use super::super::lexer::{Token, TokenKind, brief};
use super::super::near::nearest;
use super::super::print::print;
use super::super::tree::{Literal, Node, NodeId, Step};
use super::super::types::Types;
use super::{Parsed, Parser, Placed};

/// Functions that look at more than the event.
const IMPURE: &[&str] =
    &["NOW", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "TODAY", "RAND", "RANDOM", "UUID"];

/// Functions of other languages, and what says the same here.
const FOREIGN: &[(&str, &str)] = &[
    ("LEN", "LENGTH"),
    ("CHAR_LENGTH", "LENGTH"),
    ("SUBSTR", "SUBSTRING"),
    ("LCASE", "LOWER"),
    ("UCASE", "UPPER"),
    ("TOLOWER", "LOWER"),
    ("TOUPPER", "UPPER"),
    ("CONTAINS", "LIKE '%text%'"),
    ("STARTSWITH", "LIKE 'text%'"),
    ("STARTS_WITH", "LIKE 'text%'"),
    ("ENDSWITH", "LIKE '%text'"),
    ("ENDS_WITH", "LIKE '%text'"),
    ("REGEXP", "LIKE"),
    ("MATCHES", "LIKE"),
    ("INTERVAL", "DURATION"),
    ("DOUBLE", "FLOAT"),
    ("INTEGER", "INT"),
];

/// Arithmetic.
impl Parser<'_> {
    /// Products joined by `+` and `-`; `expected` says what to ask for if there is none.
    pub(super) fn sum(&mut self, expected: Expected) -> Parsed<Placed> {
        let first = self.unary(expected)?;
        self.sum_after(first)
    }

    /// A sum whose first operand was read.
    pub(super) fn sum_after(&mut self, first: Placed) -> Parsed<Placed> {
        let first = self.steps(first, Level::Product)?;
        self.steps(first, Level::Sum)
    }

    pub(super) fn operator(&self) -> Option<Operator> {
        match self.token.kind {
            TokenKind::Operator(operator) => Some(operator),
            _ => None,
        }
    }

    /// All operators of one level after `first`, with what is on their right.
    fn steps(&mut self, first: Placed, level: Level) -> Parsed<Placed> {
        let mut whole = first;
        let mut steps: Vec<Step> = Vec::new();
        while let Some(operator) = self.operator().filter(|operator| operator.level() == level) {
            let place = self.token.start;
            self.advance()?;
            let mut right = self.unary(Expected::Value)?;
            if level == Level::Sum {
                right = self.steps(right, Level::Product)?;
            }
            whole.types = self.require_operands(place, whole, operator, right)?;
            whole.is_bare = true;
            self.require_room(1)?;
            let step = Step { operator, operand: right.id };
            if steps.is_empty() && self.is_constant(whole.id) && self.is_constant(right.id) {
                let sum = self.tree.push_arithmetic(whole.id, &[step]);
                whole.id = self.computed(first.start, sum)?;
            } else {
                steps.push(step);
            }
        }
        if !steps.is_empty() {
            whole.id = self.tree.push_arithmetic(whole.id, &steps);
        }
        Ok(whole)
    }

    /// What the operator may give; `place` is its own.
    fn require_operands(
        &self,
        place: usize,
        left: Placed,
        operator: Operator,
        right: Placed,
    ) -> Parsed<Types> {
        let types = arithmetic::types(left.types, operator, right.types);
        let misfit = |found| FilterErrorReason::NoOperand { operator: operator.symbol(), found };
        if !types.is_none() {
            Ok(types)
        } else if arithmetic::types(Types::ANY, operator, right.types).is_none() {
            self.refuse(right.start, misfit(right.types))
        } else if arithmetic::types(left.types, operator, Types::ANY).is_none() {
            self.refuse(left.start, misfit(left.types))
        } else {
            let (operator, left, right) = (operator.symbol(), left.types, right.types);
            self.refuse(place, FilterErrorReason::OperandsDiffer { operator, left, right })
        }
    }

    /// A value, or one with a minus before it, which belongs to a number that follows.
    pub(super) fn unary(&mut self, expected: Expected) -> Parsed<Placed> {
        let start = self.token.start;
        if self.operator() != Some(Operator::Subtract) {
            return self.value(expected);
        }
        self.advance()?;
        if let Some(literal) = self.negative_number()? {
            return Ok(Placed::new(self.push(Node::Literal(literal))?, start, Types::NUMBER));
        }
        self.nested(|parser| parser.negated(start))
    }

    fn negated(&mut self, start: usize) -> Parsed<Placed> {
        let operand = self.unary(Expected::Value)?;
        let types = operand.types & NEGATABLE;
        if types.is_none() {
            let reason = FilterErrorReason::NoOperand { operator: '-', found: operand.types };
            return self.refuse(operand.start, reason);
        }
        let mut id = self.push(Node::Negate(operand.id))?;
        if self.is_constant(operand.id) {
            id = self.computed(start, id)?;
        }
        Ok(Placed::new(id, start, types))
    }
}

/// Calls.
impl Parser<'_> {
    /// A function and its arguments, from its name on.
    pub(super) fn call(&mut self) -> Parsed<Placed> {
        let name = self.token;
        let signature = self.signature(name)?;
        let is_time = matches!(signature.function, Function::Timestamp | Function::Duration);
        if is_time && self.lexer.is_before_one_string() {
            let node = self.time(signature.function)?;
            return Ok(Placed::new(self.push(node)?, name.start, signature.result(&[])));
        }
        self.advance()?;
        let arguments = self.nested(|parser| parser.arguments(signature))?;
        let types: Vec<Types> = arguments.iter().map(|argument| argument.types).collect();
        let ids: Vec<NodeId> = arguments.iter().map(|argument| argument.id).collect();
        self.require_room(1)?;
        let mut id = self.tree.push_call(signature.function, &ids);
        if ids.iter().all(|id| self.is_constant(*id)) {
            id = self.computed(name.start, id)?;
        }
        self.require_cheap(name.start)?;
        Ok(Placed::new(id, name.start, signature.result(&types)))
    }

    fn signature(&self, name: Token) -> Parsed<&'static Signature> {
        let word = &self.text[name.start..name.end];
        Signature::find(word).map_or_else(|| self.refuse_function(name.start, word), Ok)
    }

    pub(super) fn refuse_function<T>(&self, place: usize, word: &str) -> Parsed<T> {
        if let Some(name) = IMPURE.iter().find(|name| word.eq_ignore_ascii_case(name)) {
            return self.refuse(place, FilterErrorReason::ImpureFunction { name });
        }
        let foreign = FOREIGN.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        let near = foreign.map(|(_, instead)| *instead);
        let known: Vec<_> = names().chain(Language::words()).collect();
        let near = near.or_else(|| nearest(word, &known));
        self.refuse(place, FilterErrorReason::UnknownFunction { name: brief(word), near })
    }

    /// What stands between the parentheses, and these.
    fn arguments(&mut self, signature: &'static Signature) -> Parsed<Vec<Placed>> {
        let mut arguments: Vec<Placed> = Vec::new();
        self.advance()?;
        while self.token.kind != TokenKind::Close || !arguments.is_empty() {
            if signature.arguments_max() == Some(arguments.len()) {
                return self.refuse_count(signature);
            }
            let argument = self.chain(Expected::Value)?;
            let wanted = signature.parameter(arguments.len());
            if (argument.types & wanted).is_none() {
                let (function, found) = (signature.name, argument.types);
                return self
                    .refuse(argument.start, FilterErrorReason::ArgumentType { function, wanted, found });
            }
            arguments.push(argument);
            match self.token.kind {
                TokenKind::Comma => self.advance()?,
                TokenKind::Close => break,
                _ => return self.unexpected(Expected::ListNext),
            }
        }
        if arguments.len() < signature.arguments_min {
            return self.refuse_count(signature);
        }
        self.advance()?;
        Ok(arguments)
    }

    fn refuse_count<T>(&self, signature: &'static Signature) -> Parsed<T> {
        let (min, max) = (signature.arguments_min, signature.arguments_max());
        self.refuse(self.token.start, FilterErrorReason::ArgumentCount { function: signature.name, min, max })
    }
}

/// Constants.
impl Parser<'_> {
    fn is_constant(&self, id: NodeId) -> bool {
        matches!(self.tree.node(id), Node::Literal(_) | Node::Duration(_))
    }

    /// What `id`, whose operands are constants, gives for every event.
    fn computed(&mut self, start: usize, id: NodeId) -> Parsed {
        let Some(datum) = constant(&self.tree, id) else {
            let text = brief(&print(&self.tree, id));
            return self.refuse(start, FilterErrorReason::NoValue { text });
        };
        let literal = match datum {
            Datum::Bool(known) => Literal::Bool(known),
            Datum::Int(number) => Literal::Int(number),
            Datum::Float(number) => Literal::Float(number),
            Datum::Text(text) => Literal::Str(self.tree.push_text(&text)),
            Datum::Timestamp(timestamp) => Literal::Timestamp(timestamp),
            Datum::Duration(length) => return Ok(self.tree.push_computed(Node::Duration(length))),
            // No constant is one.
            Datum::Opaque => return Ok(id),
        };
        Ok(self.tree.push_computed(Node::Literal(literal)))
    }
}
