//! From text to tree by recursive descent, one function per rule of the grammar.
//!
//! 1. The recursion is bounded by [`DEPTH_MAX`], the tree by [`NODES_MAX`], before either grows.
//! 2. The first mistake ends it, at its place; nothing is guessed.
//! 3. A condition stands where one is needed and types that are known fit (`super::types`).
//!
//! Literals are read in `parser/literal.rs`; what CESQL and SQL read differently is refused in
//! `parser/readings.rs`.

use super::error::{Expected, FilterError, FilterErrorReason, line_and_column};
use super::lexer::{KEYWORDS, Keyword, Lexer, Token, TokenKind, brief};
use super::near::nearest;
use super::tree::{Comparison, Connective, Node, NodeId, Text, Tree};
use super::types::{Type, type_of, type_of_literal};
use super::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX};

mod literal;
mod readings;

/// Parses and checks a filter; [`Tree::root`] is its whole.
pub(super) fn parse(text: &str) -> Result<Tree, FilterError> {
    if text.len() > TEXT_BYTES_MAX {
        let reason = FilterErrorReason::TooLong { got: text.len(), limit: TEXT_BYTES_MAX };
        return Err(FilterError::new(text, 0, reason));
    }
    Parser::new(text)?.filter()
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The token to be judged next.
    token: Token,
    /// The one before it.
    previous: Option<Token>,
    tree: Tree,
    depth: usize,
}

/// A node, and where its text begins.
#[derive(Clone, Copy)]
struct Placed {
    id: NodeId,
    start: usize,
}

type Parsed<T = NodeId> = Result<T, FilterError>;

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Parsed<Parser<'t>> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next_token()?;
        Ok(Parser { text, lexer, token, previous: None, tree: Tree::default(), depth: 0 })
    }

    fn filter(mut self) -> Parsed<Tree> {
        if self.token.kind == TokenKind::End {
            return self.refuse(0, FilterErrorReason::Empty);
        }
        let root = self.chain()?;
        if self.token.kind != TokenKind::End {
            return self.unexpected(Expected::Operator);
        }
        self.require_condition(root)?;
        self.tree.finish(root.id);
        Ok(self.tree)
    }

    /// `term`, or terms joined by one connective.
    fn chain(&mut self) -> Parsed<Placed> {
        let first = self.term()?;
        if self.connective().is_none() {
            return Ok(first);
        }
        self.require_condition(first)?;
        let mut operands = vec![first.id];
        let mut connectives = Vec::new();
        let mut mixed = None;
        while let Some(connective) = self.connective() {
            if connectives.first().is_some_and(|first| *first != connective) {
                mixed = mixed.or(Some(self.token.start));
            }
            self.advance()?;
            let operand = self.term()?;
            self.require_condition(operand)?;
            operands.push(operand.id);
            connectives.push(connective);
        }
        if let Some(position) = mixed {
            return self.refuse_mixed(position, &operands, &connectives);
        }
        let id = self.push_chain(connectives[0], &operands)?;
        Ok(Placed { id, start: first.start })
    }

    fn connective(&self) -> Option<Connective> {
        match self.token.kind {
            TokenKind::Connective(connective) => Some(connective),
            _ => None,
        }
    }

    /// NOT and what it negates, or a value with its predicate.
    fn term(&mut self) -> Parsed<Placed> {
        if self.token.kind != TokenKind::Keyword(Keyword::Not) {
            let value = self.value(Expected::Condition)?;
            return self.predicate(value);
        }
        let start = self.token.start;
        self.nested(|parser| {
            parser.advance()?;
            let operand = match parser.token.kind {
                TokenKind::Keyword(Keyword::Not) => parser.term()?,
                _ => parser.value(Expected::Condition)?,
            };
            if parser.begins_predicate() {
                return parser.refuse_not(start, operand);
            }
            parser.require_condition(operand)?;
            let id = parser.push(Node::Not(operand.id))?;
            Ok(Placed { id, start })
        })
    }

    fn begins_predicate(&self) -> bool {
        use Keyword::{Between, In, Is, Like, Not};
        matches!(
            self.token.kind,
            TokenKind::Comparison(_) | TokenKind::Keyword(Not | In | Like | Between | Is)
        )
    }

    /// What is said about `value`, or `value` alone.
    fn predicate(&mut self, value: Placed) -> Parsed<Placed> {
        let id = match self.token.kind {
            TokenKind::Comparison(comparison) => self.comparison(value, comparison)?,
            TokenKind::Keyword(Keyword::Is) => self.is_null(value)?,
            TokenKind::Keyword(Keyword::Not) => {
                self.advance()?;
                self.negatable(value, true)?
            }
            TokenKind::Keyword(Keyword::In | Keyword::Like | Keyword::Between) => {
                self.negatable(value, false)?
            }
            _ => return Ok(value),
        };
        Ok(Placed { id, start: value.start })
    }

    fn negatable(&mut self, value: Placed, negated: bool) -> Parsed {
        match self.token.kind {
            TokenKind::Keyword(Keyword::In) => self.in_list(value, negated),
            TokenKind::Keyword(Keyword::Like) => self.like(value, negated),
            TokenKind::Keyword(Keyword::Between) => self.between(value, negated),
            _ => self.unexpected(Expected::Negatable),
        }
    }

    fn comparison(&mut self, left: Placed, comparison: Comparison) -> Parsed {
        self.advance()?;
        let right = self.value(Expected::Value)?;
        if matches!(self.token.kind, TokenKind::Comparison(_)) {
            return self.refuse(self.token.start, FilterErrorReason::ChainedComparison);
        }
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        self.require_comparable(left, right, ordered)?;
        self.push(Node::Compare { comparison, left: left.id, right: right.id })
    }

    fn between(&mut self, value: Placed, negated: bool) -> Parsed {
        self.advance()?;
        let low = self.value(Expected::Value)?;
        self.take(TokenKind::Connective(Connective::And), Expected::And)?;
        let high = self.value(Expected::Value)?;
        self.require_comparable(value, low, true)?;
        self.require_comparable(value, high, true)?;
        self.push(Node::Between { value: value.id, low: low.id, high: high.id, negated })
    }

    fn in_list(&mut self, value: Placed, negated: bool) -> Parsed {
        self.advance()?;
        self.take(TokenKind::Open, Expected::Open)?;
        let wanted = type_of(&self.tree, value.id);
        let mut list = Vec::new();
        loop {
            let start = self.token.start;
            let literal = self.literal(Expected::Literal)?;
            self.require_same(start, wanted, Some(type_of_literal(literal)))?;
            self.require_room(list.len() + 1)?;
            list.push(literal);
            match self.token.kind {
                TokenKind::Comma => self.advance()?,
                TokenKind::Close => break,
                _ => return self.unexpected(Expected::ListNext),
            }
        }
        self.advance()?;
        let list = self.tree.push_list(list);
        self.push(Node::In { value: value.id, list, negated })
    }

    fn like(&mut self, value: Placed, negated: bool) -> Parsed {
        let operator = self.token.start;
        self.advance()?;
        match type_of(&self.tree, value.id) {
            None | Some(Type::Str) => {}
            Some(found) => {
                return self.refuse(operator, FilterErrorReason::LikeWithoutString { found });
            }
        }
        let pattern = self.pattern()?;
        self.push(Node::Like { value: value.id, pattern, negated })
    }

    fn is_null(&mut self, value: Placed) -> Parsed {
        let Node::Name(name) = self.tree.node(value.id) else {
            return self.refuse(self.token.start, FilterErrorReason::IsNullWithoutName);
        };
        self.advance()?;
        let negated = self.token.kind == TokenKind::Keyword(Keyword::Not);
        if negated {
            self.advance()?;
        }
        self.take(TokenKind::Keyword(Keyword::Null), Expected::Null)?;
        self.push(Node::IsNull { name, negated })
    }

    /// A literal, a name, EXISTS with its name, or a filter in parentheses; `expected` says what
    /// to ask for if there is none.
    fn value(&mut self, expected: Expected) -> Parsed<Placed> {
        let start = self.token.start;
        let id = match self.token.kind {
            TokenKind::Open => self.nested(|parser| parser.parenthesised(start))?,
            TokenKind::Keyword(Keyword::Exists) => self.exists()?,
            TokenKind::Name => self.name_or_function()?,
            _ => {
                let literal = self.literal(expected)?;
                self.push(Node::Literal(literal))?
            }
        };
        Ok(Placed { id, start })
    }

    fn parenthesised(&mut self, open: usize) -> Parsed {
        self.advance()?;
        let inner = self.chain()?;
        let (line, column) = line_and_column(self.text, open);
        self.take(TokenKind::Close, Expected::Close { line, column })?;
        Ok(inner.id)
    }

    fn exists(&mut self) -> Parsed {
        self.advance()?;
        if self.token.kind != TokenKind::Name {
            return self.unexpected(Expected::Name);
        }
        let name = self.name()?;
        self.push(Node::Exists(name))
    }

    fn name_or_function(&mut self) -> Parsed {
        let token = self.token;
        let name = self.name()?;
        if self.token.kind == TokenKind::Open {
            let literal = self.function(token)?;
            return self.push(Node::Literal(literal));
        }
        self.push(Node::Name(name))
    }

    fn name(&mut self) -> Parsed<Text> {
        let name = &self.text[self.token.start..self.token.end];
        self.advance()?;
        Ok(self.tree.push_text(name))
    }
}

/// The tokens and the tree, with their bounds.
impl Parser<'_> {
    fn advance(&mut self) -> Parsed<()> {
        self.previous = Some(self.token);
        self.token = self.lexer.next_token()?;
        Ok(())
    }

    fn take(&mut self, kind: TokenKind, expected: Expected) -> Parsed<()> {
        if self.token.kind == kind { self.advance() } else { self.unexpected(expected) }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return self.refuse(self.token.start, FilterErrorReason::TooDeep { limit: DEPTH_MAX });
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn push(&mut self, node: Node) -> Parsed {
        self.require_room(1)?;
        Ok(self.tree.push(node))
    }

    fn push_chain(&mut self, connective: Connective, operands: &[NodeId]) -> Parsed {
        self.require_room(1)?;
        Ok(self.tree.push_chain(connective, operands))
    }

    fn require_room(&self, count: usize) -> Parsed<()> {
        if self.tree.size() + count <= NODES_MAX {
            return Ok(());
        }
        self.refuse(self.token.start, FilterErrorReason::TooManyNodes { limit: NODES_MAX })
    }
}

/// Types.
impl Parser<'_> {
    fn require_condition(&self, placed: Placed) -> Parsed<()> {
        match type_of(&self.tree, placed.id) {
            None | Some(Type::Bool) => Ok(()),
            Some(found) => self.refuse(placed.start, FilterErrorReason::NotACondition { found }),
        }
    }

    fn require_comparable(&self, left: Placed, right: Placed, ordered: bool) -> Parsed<()> {
        let left_type = type_of(&self.tree, left.id);
        let right_type = type_of(&self.tree, right.id);
        self.require_same(right.start, left_type, right_type)?;
        if ordered && left_type.or(right_type) == Some(Type::Bool) {
            let place = if left_type.is_some() { left } else { right };
            return self.refuse(place.start, FilterErrorReason::NoOrder);
        }
        Ok(())
    }

    fn require_same(&self, at: usize, left: Option<Type>, right: Option<Type>) -> Parsed<()> {
        match (left, right) {
            (Some(left), Some(right)) if left != right => {
                self.refuse(at, FilterErrorReason::TypesDiffer { left, right })
            }
            _ => Ok(()),
        }
    }
}

/// Mistakes.
impl Parser<'_> {
    fn refuse<T>(&self, position: usize, reason: FilterErrorReason) -> Parsed<T> {
        Err(FilterError::new(self.text, position, reason))
    }

    /// Refuses the present token: `expected` should stand here.
    fn unexpected<T>(&self, expected: Expected) -> Parsed<T> {
        let after_value = matches!(expected, Expected::Operator | Expected::Close { .. });
        let reason = match self.token.kind {
            TokenKind::Keyword(Keyword::Null) if !after_value => FilterErrorReason::NullAsValue,
            TokenKind::Minus if after_value => FilterErrorReason::Arithmetic { operator: '-' },
            _ => FilterErrorReason::Unexpected {
                expected,
                after: self.previous.map(|token| self.word(token)),
                found: self.found(),
                near: self.near(expected),
            },
        };
        self.refuse(self.token.start, reason)
    }

    fn word(&self, token: Token) -> Box<str> {
        brief(&self.text[token.start..token.end])
    }

    fn found(&self) -> Option<Box<str>> {
        (self.token.kind != TokenKind::End).then(|| self.word(self.token))
    }

    /// A keyword that a name may be meant for: the present token, or the one before it, as in
    /// `EXIST a`.
    fn near(&self, expected: Expected) -> Option<&'static str> {
        let wanted = matches!(
            expected,
            Expected::Operator
                | Expected::Close { .. }
                | Expected::And
                | Expected::Negatable
                | Expected::Null
        );
        let names = [Some(self.token), self.previous];
        let mut names = names.into_iter().flatten().filter(|token| token.kind == TokenKind::Name);
        names.find_map(|token| nearest(&self.word(token), KEYWORDS)).filter(|_| wanted)
    }
}
