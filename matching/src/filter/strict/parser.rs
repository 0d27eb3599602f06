//! From text to tree by recursive descent, one function per level of precedence (section 3.6).
//!
//! 1. The recursion is bounded by [`DEPTH_MAX`], the tree by [`NODES_MAX`], before either grows.
//! 2. The first mistake ends it, at its place; nothing is guessed.
//! 3. Operators of one level are read from left to right.

use super::super::error::{Expected, FilterError, FilterErrorReason, line_and_column};
use super::super::lexer::brief;
use super::super::near::nearest;
use super::super::pattern::{Element, FLOATING_CHARACTERS_MAX, Pattern};
use super::super::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX};
use super::functions::{Function, NAMES};
use super::lexer::{KEYWORDS, Lexer, Token, TokenKind, unquoted};
use super::tree::{Arithmetic, Level, Name, Node, Operator, Test, TestKind};

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Parsed, FilterError> {
    if text.len() > TEXT_BYTES_MAX {
        let reason = FilterErrorReason::TooLong { got: text.len(), limit: TEXT_BYTES_MAX };
        return Err(FilterError::new(text, 0, reason));
    }
    Parser::new(text)?.whole()
}

pub(super) struct Parsed {
    pub(super) root: Node,
    /// The first call that no function takes.
    pub(super) unknown: Option<UnknownFunction>,
}

pub(super) struct UnknownFunction {
    pub(super) position: usize,
    pub(super) reason: FilterErrorReason,
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The token to be judged next.
    token: Token,
    /// The one before it.
    previous: Option<Token>,
    nodes: usize,
    depth: usize,
    unknown: Option<UnknownFunction>,
}

type Read<T = Node> = Result<T, FilterError>;

const MINUS: TokenKind = TokenKind::Operator(Operator::Arithmetic(Arithmetic::Subtract));
const PLUS: TokenKind = TokenKind::Operator(Operator::Arithmetic(Arithmetic::Add));

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Read<Parser<'t>> {
        let mut lexer = Lexer::new(text);
        let token = lexer.next_token()?;
        Ok(Parser { text, lexer, token, previous: None, nodes: 0, depth: 0, unknown: None })
    }

    fn whole(mut self) -> Read<Parsed> {
        if self.token.kind == TokenKind::End {
            return self.refuse(0, FilterErrorReason::Empty);
        }
        let root = self.expression()?;
        if self.token.kind != TokenKind::End {
            return self.unexpected(Expected::Operator);
        }
        Ok(Parsed { root, unknown: self.unknown })
    }

    fn expression(&mut self) -> Read {
        self.chain(Level::Connectives)
    }

    /// Operands joined by the operators of `level`.
    fn chain(&mut self, level: Level) -> Read {
        if level == Level::Tests {
            return self.tested();
        }
        let first = self.chain(level.tighter())?;
        let mut joined = Vec::new();
        while let Some(operator) = self.operator(level) {
            self.advance()?;
            let operand = self.chain(level.tighter())?;
            joined.push((operator, operand));
        }
        if joined.is_empty() {
            return Ok(first);
        }
        self.count(1)?;
        Ok(join(first, joined, level))
    }

    fn operator(&self, level: Level) -> Option<Operator> {
        match self.token.kind {
            TokenKind::Operator(operator) if operator.level() == level => Some(operator),
            _ => None,
        }
    }

    /// A value, and all that LIKE and IN say about it.
    fn tested(&mut self) -> Read {
        let value = self.unary()?;
        let mut added = Vec::new();
        while let TokenKind::Not | TokenKind::Like | TokenKind::In = self.token.kind {
            let negated = self.token.kind == TokenKind::Not;
            if negated {
                self.advance()?;
            }
            self.count(1)?;
            let kind = self.test()?;
            added.push(Test { negated, kind });
        }
        match value {
            value if added.is_empty() => Ok(value),
            // `(a LIKE 'x') LIKE 'y'`
            Node::Tested { value, mut tests } => {
                tests.append(&mut added);
                Ok(Node::Tested { value, tests })
            }
            value => Ok(Node::Tested { value: Box::new(value), tests: added }),
        }
    }

    fn test(&mut self) -> Read<TestKind> {
        match self.token.kind {
            TokenKind::Like => {
                self.advance()?;
                self.pattern()
            }
            TokenKind::In => {
                self.advance()?;
                let open = self.take_open()?;
                Ok(TestKind::In(self.list(open)?))
            }
            _ => self.unexpected(Expected::InOrLike),
        }
    }

    fn unary(&mut self) -> Read {
        match self.token.kind {
            TokenKind::Not => self.nested(|parser| {
                parser.advance()?;
                Ok(Node::Not(Box::new(parser.unary()?)))
            }),
            MINUS if !self.lexer.is_before_digit() => self.nested(|parser| {
                parser.advance()?;
                Ok(minus(parser.unary()?))
            }),
            TokenKind::Exists => self.exists(),
            _ => self.atom(),
        }
    }

    fn exists(&mut self) -> Read {
        self.advance()?;
        if self.token.kind != TokenKind::Name {
            return self.unexpected(Expected::Name);
        }
        let name = self.name()?;
        Ok(Node::Exists(name))
    }

    fn atom(&mut self) -> Read {
        let token = self.token;
        self.count(1)?;
        match token.kind {
            TokenKind::Open => self.nested(|parser| parser.parenthesised(token)),
            TokenKind::Bool(known) => self.constant(Node::Bool(known)),
            TokenKind::Digits => self.integer(token.start),
            // A digit follows: a minus without one is an operator, a plus without one is nothing.
            MINUS => self.signed(token),
            PLUS if self.lexer.is_before_digit() => self.signed(token),
            TokenKind::String => self.constant(Node::Str(unquoted(self.word(token)).into())),
            TokenKind::Name | TokenKind::FunctionName => self.name_or_call(token),
            _ => self.unexpected(Expected::Expression),
        }
    }

    fn constant(&mut self, node: Node) -> Read {
        self.advance()?;
        Ok(node)
    }

    fn signed(&mut self, sign: Token) -> Read {
        self.advance()?;
        match self.token.kind {
            TokenKind::Digits => self.integer(sign.start),
            // A name may begin with a digit.
            TokenKind::Name if sign.kind == MINUS => Ok(minus(self.atom()?)),
            _ => self.unexpected(Expected::Number),
        }
    }

    /// The present digits, with the sign that may stand at `start`.
    fn integer(&mut self, start: usize) -> Read {
        match self.text[start..self.token.end].parse() {
            Ok(number) => self.constant(Node::Int(number)),
            Err(_) => self.refuse(start, FilterErrorReason::IntegerOutOf32Bits),
        }
    }

    fn parenthesised(&mut self, open: Token) -> Read {
        self.advance()?;
        let inner = self.expression()?;
        if self.token.kind != TokenKind::Close {
            return self.unexpected(self.closing(open));
        }
        self.constant(inner)
    }

    fn name_or_call(&mut self, token: Token) -> Read {
        let word = self.word(token);
        self.advance()?;
        match (self.token.kind, token.kind) {
            (TokenKind::Open, _) => self.call(token, word),
            (_, TokenKind::Name) => Ok(Node::Name(Name::new(word))),
            _ => self.refuse(token.start, FilterErrorReason::NotACesqlName { found: brief(word) }),
        }
    }

    fn name(&mut self) -> Read<Name> {
        let name = Name::new(self.word(self.token));
        self.count(1)?;
        self.advance()?;
        Ok(name)
    }

    /// A call of `name`, from its `(`.
    fn call(&mut self, token: Token, name: &str) -> Read {
        if name.contains(|c: char| c.is_ascii_digit()) {
            return self.refuse(token.start, FilterErrorReason::NotACesqlName { found: brief(name) });
        }
        let open = self.token;
        self.advance()?;
        let arguments = match self.token.kind {
            TokenKind::Close => {
                self.advance()?;
                Vec::new()
            }
            _ => self.list(open)?,
        };
        if let Some(function) = Function::find(name, arguments.len()) {
            return Ok(Node::Call { function, arguments });
        }
        self.remember_unknown(token, name, arguments.len());
        Ok(Node::Unknown { name: name.to_ascii_uppercase().into(), arguments })
    }

    fn remember_unknown(&mut self, token: Token, name: &str, arguments: usize) {
        let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name)).copied();
        let reason = FilterErrorReason::UnknownCesqlFunction {
            name: brief(name),
            arguments: known.map(|_| arguments),
            near: known.is_none().then(|| nearest(name, NAMES)).flatten(),
        };
        self.unknown.get_or_insert(UnknownFunction { position: token.start, reason });
    }

    /// Expressions between commas and the parenthesis that closes `open`.
    fn list(&mut self, open: Token) -> Read<Vec<Node>> {
        self.nested(|parser| {
            let mut list = vec![parser.expression()?];
            while parser.token.kind == TokenKind::Comma {
                parser.advance()?;
                list.push(parser.expression()?);
            }
            match parser.token.kind {
                TokenKind::Close => parser.advance()?,
                TokenKind::End => return parser.unexpected(parser.closing(open)),
                _ => return parser.unexpected(Expected::ListNext),
            }
            Ok(list)
        })
    }

    /// Reads the pattern of a LIKE, which must be a string (section 3.4.3).
    fn pattern(&mut self) -> Read<TestKind> {
        let token = self.token;
        if token.kind != TokenKind::String {
            return self.unexpected(Expected::String);
        }
        let text = unquoted(self.word(token));
        match Pattern::new(&elements(&text)) {
            Ok(pattern) => {
                self.advance()?;
                Ok(TestKind::Like(pattern, text.into()))
            }
            Err(got) => {
                let limit = FLOATING_CHARACTERS_MAX;
                self.refuse(token.start, FilterErrorReason::PatternTooLong { got, limit })
            }
        }
    }
}

/// `first` and what is joined to it, flat if `first` is a chain of the same level: both are read
/// from left to right.
fn join(first: Node, mut joined: Vec<(Operator, Node)>, level: Level) -> Node {
    match first {
        Node::Chain { first: inner, mut rest }
            if rest.iter().all(|(operator, _)| operator.level() == level) =>
        {
            rest.append(&mut joined);
            Node::Chain { first: inner, rest }
        }
        first => Node::Chain { first: Box::new(first), rest: joined },
    }
}

/// The minus of `operand`: an integer if that is one and its negation fits.
fn minus(operand: Node) -> Node {
    match operand {
        Node::Int(number) if number != i32::MIN => Node::Int(-number),
        operand => Node::Minus(Box::new(operand)),
    }
}

/// A backslash only means something before `%` and `_`.
fn elements(text: &str) -> Vec<Element> {
    let mut given = text.chars().peekable();
    let mut elements = Vec::new();
    while let Some(character) = given.next() {
        elements.push(match character {
            '%' => Element::AnyText,
            '_' => Element::AnyOne,
            '\\' => Element::Exact(given.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
            character => Element::Exact(character),
        });
    }
    elements
}

/// The tokens and the bounds.
impl<'t> Parser<'t> {
    fn advance(&mut self) -> Read<()> {
        self.previous = Some(self.token);
        self.token = self.lexer.next_token()?;
        Ok(())
    }

    fn take_open(&mut self) -> Read<Token> {
        let open = self.token;
        if open.kind != TokenKind::Open {
            return self.unexpected(Expected::Open);
        }
        self.advance()?;
        Ok(open)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth == DEPTH_MAX {
            return self.refuse(self.token.start, FilterErrorReason::TooDeep { limit: DEPTH_MAX });
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn count(&mut self, nodes: usize) -> Read<()> {
        self.nodes += nodes;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        self.refuse(self.token.start, FilterErrorReason::TooManyNodes { limit: NODES_MAX })
    }

    fn word(&self, token: Token) -> &'t str {
        &self.text[token.start..token.end]
    }
}

/// Mistakes.
impl Parser<'_> {
    fn refuse<T>(&self, position: usize, reason: FilterErrorReason) -> Read<T> {
        Err(FilterError::new(self.text, position, reason))
    }

    fn closing(&self, open: Token) -> Expected {
        let (line, column) = line_and_column(self.text, open.start);
        Expected::Close { line, column }
    }

    /// Refuses the present token: `expected` should stand here.
    fn unexpected<T>(&self, expected: Expected) -> Read<T> {
        let after_value =
            matches!(expected, Expected::Operator | Expected::Close { .. } | Expected::ListNext);
        if let Some(what) = self.beyond().filter(|_| after_value) {
            return self.refuse(self.token.start, FilterErrorReason::BeyondCesql { what });
        }
        let found = (self.token.kind != TokenKind::End).then(|| brief(self.word(self.token)));
        let reason = FilterErrorReason::Unexpected {
            expected,
            after: self.previous.map(|token| brief(self.word(token))),
            found,
            near: self.near().filter(|_| after_value || expected == Expected::InOrLike),
        };
        self.refuse(self.token.start, reason)
    }

    /// What the present token begins in the default mode.
    fn beyond(&self) -> Option<&'static str> {
        let is = |keyword: &str| self.word(self.token).eq_ignore_ascii_case(keyword);
        match self.token.kind {
            TokenKind::Name if is("BETWEEN") => Some("BETWEEN"),
            TokenKind::Name if is("IS") => Some("IS NULL"),
            _ => None,
        }
    }

    /// A keyword that a name may be meant for: the present token, or the one before it.
    fn near(&self) -> Option<&'static str> {
        let names = [Some(self.token), self.previous].into_iter().flatten();
        let mut names = names.filter(|token| token.kind == TokenKind::Name);
        names.find_map(|token| nearest(self.word(token), KEYWORDS))
    }
}
