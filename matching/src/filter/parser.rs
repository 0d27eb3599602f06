//! From text to tree by recursive descent, one function per rule of the grammar.
//!
//! 1. The recursion is bounded by [`DEPTH_MAX`], the tree by [`NODES_MAX`], before either grows.
//! 2. The first mistake ends it, at its place; nothing is guessed.
//! 3. A condition stands where one is needed and types that are known fit (`super::types`).
//!
//! Arithmetic, functions and constants are read in `parser/expression.rs`, literals in
//! `parser/literal.rs`; what CESQL and SQL read differently is refused in `parser/readings.rs`.

use super::dialect::Language;
use super::error::{Expected, FilterError, FilterErrorReason, line_and_column};
use super::lexer::{KEYWORDS, Keyword, Lexer, Token, TokenKind, brief};
use super::near::nearest;
use super::tree::{Comparison, Connective, Node, NodeId, Text, Tree};
use super::types::{Type, Types};
use super::{COST_MAX, DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX};
use crate::path::Path;

mod expression;
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

/// A node, where its text begins, and what it may give.
#[derive(Clone, Copy)]
struct Placed {
    id: NodeId,
    start: usize,
    types: Types,
    /// Whether it is arithmetic without parentheses around it.
    is_bare: bool,
}

impl Placed {
    fn new(id: NodeId, start: usize, types: Types) -> Placed {
        Placed { id, start, types, is_bare: false }
    }

    fn condition(id: NodeId, start: usize) -> Placed {
        Placed::new(id, start, Types::BOOL)
    }
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
        let root = self.chain(Expected::Condition)?;
        if self.token.kind != TokenKind::End {
            return self.unexpected(Expected::Operator);
        }
        self.require_condition(root)?;
        self.tree.finish(root.id);
        Ok(self.tree)
    }

    /// `term`, or terms joined by one connective; `expected` says what to ask for if there is none.
    fn chain(&mut self, expected: Expected) -> Parsed<Placed> {
        let first = self.term(expected)?;
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
            let operand = self.term(Expected::Condition)?;
            self.require_condition(operand)?;
            operands.push(operand.id);
            connectives.push(connective);
        }
        if let Some(position) = mixed {
            return self.refuse_mixed(position, &operands, &connectives);
        }
        let id = self.push_chain(connectives[0], &operands)?;
        Ok(Placed::condition(id, first.start))
    }

    fn connective(&self) -> Option<Connective> {
        match self.token.kind {
            TokenKind::Connective(connective) => Some(connective),
            _ => None,
        }
    }

    /// NOT and what it negates, or a value with its predicate.
    fn term(&mut self, expected: Expected) -> Parsed<Placed> {
        if self.token.kind != TokenKind::Keyword(Keyword::Not) {
            let value = self.sum(expected)?;
            return self.predicate(value);
        }
        let start = self.token.start;
        self.nested(|parser| {
            parser.advance()?;
            let operand = match parser.token.kind {
                TokenKind::Keyword(Keyword::Not) => parser.term(Expected::Condition)?,
                _ => parser.unary(Expected::Condition)?,
            };
            if parser.begins_predicate() || parser.operator().is_some() {
                return parser.refuse_not(start, operand);
            }
            parser.require_condition(operand)?;
            let id = parser.push(Node::Not(operand.id))?;
            Ok(Placed::condition(id, start))
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
            TokenKind::Keyword(Keyword::Is) => self.is(value)?,
            TokenKind::Keyword(Keyword::Not) => {
                self.advance()?;
                self.negatable(value, true)?
            }
            TokenKind::Keyword(Keyword::In | Keyword::Like | Keyword::Between) => {
                self.negatable(value, false)?
            }
            _ => return Ok(value),
        };
        if self.begins_predicate() {
            return self.refuse_chained(id);
        }
        Ok(Placed::condition(id, value.start))
    }

    fn negatable(&mut self, value: Placed, negated: bool) -> Parsed {
        let operator = self.token;
        let id = match operator.kind {
            TokenKind::Keyword(Keyword::In) => self.in_list(value, negated)?,
            TokenKind::Keyword(Keyword::Like) => self.like(value, negated)?,
            TokenKind::Keyword(Keyword::Between) => return self.between(value, negated),
            _ => return self.unexpected(Expected::Negatable),
        };
        if value.is_bare { self.refuse_arithmetic(operator, value, id) } else { Ok(id) }
    }

    fn comparison(&mut self, left: Placed, comparison: Comparison) -> Parsed {
        self.advance()?;
        let right = self.sum(Expected::Value)?;
        if matches!(self.token.kind, TokenKind::Comparison(_)) {
            return self.refuse(self.token.start, FilterErrorReason::ChainedComparison);
        }
        if self.begins_predicate() {
            return self.refuse_predicate_beside(left, comparison, right);
        }
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::Unequal);
        self.require_comparable(left, right, ordered)?;
        self.push(Node::Compare { comparison, left: left.id, right: right.id })
    }

    fn between(&mut self, value: Placed, negated: bool) -> Parsed {
        self.advance()?;
        let low = self.sum(Expected::Value)?;
        self.take(TokenKind::Connective(Connective::And), Expected::And)?;
        let high = self.sum(Expected::Value)?;
        self.require_comparable(value, low, true)?;
        self.require_comparable(value, high, true)?;
        self.push(Node::Between { value: value.id, low: low.id, high: high.id, negated })
    }

    fn in_list(&mut self, value: Placed, negated: bool) -> Parsed {
        self.advance()?;
        self.take(TokenKind::Open, Expected::Open)?;
        let mut list = Vec::new();
        loop {
            let start = self.token.start;
            let literal = self.literal(Expected::Literal)?;
            self.require_common(start, value.types, Types::of_literal(literal))?;
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
        if !value.types.contains(Type::Str) {
            let found = value.types;
            return self.refuse(operator, FilterErrorReason::LikeWithoutString { found });
        }
        let pattern = self.pattern()?;
        self.push(Node::Like { value: value.id, pattern, negated })
    }

    /// IS NULL after a name or a path, IS TRUE and IS FALSE after a condition.
    fn is(&mut self, value: Placed) -> Parsed {
        let position = self.token.start;
        self.advance()?;
        let negated = self.token.kind == TokenKind::Keyword(Keyword::Not);
        if negated {
            self.advance()?;
        }
        if let TokenKind::Keyword(keyword @ (Keyword::True | Keyword::False)) = self.token.kind {
            self.require_condition(value)?;
            self.advance()?;
            let wanted = keyword == Keyword::True;
            return self.push(Node::Is { condition: value.id, wanted, negated });
        }
        let subject = self.tree.node(value.id);
        if !matches!(subject, Node::Name(_) | Node::Path(_)) {
            return self.refuse(position, FilterErrorReason::IsNullWithoutName);
        }
        self.take(TokenKind::Keyword(Keyword::Null), Expected::Null)?;
        match subject {
            Node::Path(path) => self.push(Node::PathIsNull { path, negated }),
            Node::Name(name) => self.push(Node::IsNull { name, negated }),
            _ => Ok(value.id),
        }
    }

    /// A literal, a name, a path, a call, EXISTS with its name or path, or a filter in
    /// parentheses; `expected` says what to ask for if there is none.
    fn value(&mut self, expected: Expected) -> Parsed<Placed> {
        let start = self.token.start;
        match self.token.kind {
            TokenKind::Open => self.nested(|parser| parser.parenthesised(start)),
            TokenKind::Keyword(Keyword::Exists) => {
                let id = self.exists()?;
                Ok(Placed::condition(id, start))
            }
            TokenKind::Name if self.lexer.is_before_open() => match self.language() {
                Some(language) => self.embedded(language),
                None => self.call(),
            },
            TokenKind::Name => self.named(start),
            TokenKind::Path => {
                let path = self.path()?;
                Ok(Placed::new(self.push(Node::Path(path))?, start, Types::JSON))
            }
            _ => {
                let literal = self.literal(expected)?;
                let types = Types::of_literal(literal);
                Ok(Placed::new(self.push(Node::Literal(literal))?, start, types))
            }
        }
    }

    fn parenthesised(&mut self, open: usize) -> Parsed<Placed> {
        self.advance()?;
        let inner = self.chain(Expected::Condition)?;
        let (line, column) = line_and_column(self.text, open);
        self.take(TokenKind::Close, Expected::Close { line, column })?;
        Ok(Placed::new(inner.id, open, inner.types))
    }

    fn exists(&mut self) -> Parsed {
        self.advance()?;
        match self.token.kind {
            TokenKind::Name => {
                let name = self.name()?;
                self.push(Node::Exists(name))
            }
            TokenKind::Path => {
                let path = self.path()?;
                self.push(Node::PathExists(path))
            }
            _ => self.unexpected(Expected::Name),
        }
    }

    /// The language whose condition begins at the present token.
    fn language(&self) -> Option<Language> {
        let word = &self.text[self.token.start..self.token.end];
        Language::of_word(word).filter(|_| self.lexer.is_before_open())
    }

    fn embedded(&mut self, language: Language) -> Parsed<Placed> {
        let start = self.token.start;
        self.advance()?;
        self.take(TokenKind::Open, Expected::Open)?;
        let token = self.token;
        let text = self.string_text()?;
        let embedded = match language.read(&text) {
            Ok(embedded) => embedded,
            Err(error) => return self.refuse(self.place_in_string(token, error.position), error.reason),
        };
        self.take(TokenKind::Close, Expected::End)?;
        let index = self.tree.push_embedded(embedded);
        let id = self.push(Node::Embedded(index))?;
        self.require_cheap(start)?;
        Ok(Placed::condition(id, start))
    }

    /// Where the character stands that a string has at `decoded`, in bytes.
    fn place_in_string(&self, token: Token, decoded: usize) -> usize {
        let start = token.start + 1;
        let mut given = self.text[start..token.end].char_indices();
        let mut bytes = 0;
        while bytes < decoded {
            let character = match given.next() {
                Some((_, '\\')) => given.next(),
                character => character,
            };
            bytes += character.map_or(decoded, |(_, character)| character.len_utf8());
        }
        start + given.next().map_or(token.end - start - 1, |(index, _)| index)
    }

    fn named(&mut self, start: usize) -> Parsed<Placed> {
        let types = Types::of_name(&self.text[start..self.token.end]);
        let name = self.name()?;
        Ok(Placed::new(self.push(Node::Name(name))?, start, types))
    }

    fn path(&mut self) -> Parsed<u32> {
        let Token { start, end, .. } = self.token;
        let path = match Path::parse(&self.text[start..end]) {
            Ok(path) => path,
            Err(error) => {
                let reason = FilterErrorReason::MalformedPath { error: error.reason };
                return self.refuse(start + error.position, reason);
            }
        };
        self.advance()?;
        Ok(self.tree.push_path(path))
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

    fn require_cheap(&self, place: usize) -> Parsed<()> {
        match self.tree.cost() {
            got if got > COST_MAX => self.refuse(place, FilterErrorReason::TooCostly { limit: COST_MAX }),
            _ => Ok(()),
        }
    }
}

/// Types.
impl Parser<'_> {
    fn require_condition(&self, placed: Placed) -> Parsed<()> {
        if placed.types.contains(Type::Bool) {
            return Ok(());
        }
        self.refuse(placed.start, FilterErrorReason::NotACondition { found: placed.types })
    }

    fn require_comparable(&self, left: Placed, right: Placed, ordered: bool) -> Parsed<()> {
        let common = self.require_common(right.start, left.types, right.types)?;
        if ordered && common == Types::BOOL {
            let place = if left.types == Types::BOOL { left } else { right };
            return self.refuse(place.start, FilterErrorReason::NoOrder);
        }
        Ok(())
    }

    /// The types that both may have.
    fn require_common(&self, at: usize, left: Types, right: Types) -> Parsed<Types> {
        let common = left & right;
        if common.is_none() {
            return self.refuse(at, FilterErrorReason::TypesDiffer { left, right });
        }
        Ok(common)
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
