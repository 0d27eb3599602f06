//! What CESQL and SQL would read differently, refused with both readings in parentheses.
//!
//! CESQL 1.0 reads AND, OR and XOR on one level from left to right and binds NOT tighter than a
//! comparison; SQL binds AND tighter than XOR, XOR tighter than OR (the place that MySQL gives
//! XOR), and a comparison tighter than NOT. IN and LIKE bind tighter than arithmetic in CESQL, and
//! less tight in SQL. A filter that was moved from one to the other would silently match something
//! else.

use std::ops::Range;

use super::super::error::FilterErrorReason;
use super::super::lexer::Token;
use super::super::print::print;
use super::super::tree::{Comparison, Connective, Node, NodeId};
use super::{Parsed, Parser, Placed};

/// How many operands of a long chain the readings show at most.
const OPERANDS_SHOWN_MAX: usize = 8;

/// Connectives in the order of SQL, the loosest first.
const LOOSEST_FIRST: &[Connective] = &[Connective::Or, Connective::Xor, Connective::And];

impl Parser<'_> {
    /// Refuses `operands` joined by `connectives`, which are not all the same.
    pub(super) fn refuse_mixed<T>(
        &mut self,
        position: usize,
        operands: &[NodeId],
        connectives: &[Connective],
    ) -> Parsed<T> {
        let shown = shown(connectives);
        let before = if shown.start > 0 { "… " } else { "" };
        let more = if shown.end < operands.len() { " …" } else { "" };
        let (operands, connectives) = (&operands[shown.clone()], &connectives[shown.start..shown.end - 1]);
        let cesql = self.left_to_right(operands, connectives)?;
        let sql = self.by_precedence(operands, connectives, LOOSEST_FIRST)?;
        let print = |id| format!("{before}{}{more}", print(&self.tree, id)).into_boxed_str();
        let reason = FilterErrorReason::MixedConnectives { cesql: print(cesql), sql: print(sql) };
        self.refuse(position, reason)
    }

    fn left_to_right(&mut self, operands: &[NodeId], connectives: &[Connective]) -> Parsed {
        let mut whole = operands[0];
        for (connective, operand) in connectives.iter().zip(&operands[1..]) {
            whole = self.push_chain(*connective, &[whole, *operand])?;
        }
        Ok(whole)
    }

    /// Cuts at the loosest connective first and joins the pieces, each read by the tighter ones.
    fn by_precedence(
        &mut self,
        operands: &[NodeId],
        connectives: &[Connective],
        loosest_first: &[Connective],
    ) -> Parsed {
        let Some((loosest, tighter)) = loosest_first.split_first() else {
            return Ok(operands[0]);
        };
        let mut pieces = Vec::new();
        let mut start = 0;
        for piece in connectives.split(|connective| connective == loosest) {
            let end = start + piece.len();
            pieces.push(self.by_precedence(&operands[start..=end], piece, tighter)?);
            start = end + 1;
        }
        if pieces.len() == 1 { Ok(pieces[0]) } else { self.push_chain(*loosest, &pieces) }
    }

    /// Refuses NOT at `not` before `operand` and the operator or predicate that begins at the
    /// present token.
    pub(super) fn refuse_not<T>(&mut self, not: usize, operand: Placed) -> Parsed<T> {
        let value = self.sum_after(operand)?;
        let predicate = self.predicate(value)?;
        self.require_condition(predicate)?;
        let sql = self.push(Node::Not(predicate.id))?;
        let negated = self.push(Node::Not(operand.id))?;
        let negated = self.with_first(value.id, operand.id, negated);
        let cesql = match negated.and_then(|value| with_value(self.tree.node(predicate.id), value)) {
            Some(node) => Some(self.push(node)?),
            None => None,
        };
        let print = |id| print(&self.tree, id).into_boxed_str();
        let (cesql, sql) = (cesql.map(print), print(sql));
        let fits = cesql.as_deref().is_some_and(can_be_written);
        let reason = FilterErrorReason::NotBeforePredicate { cesql, fits, sql };
        self.refuse(not, reason)
    }
}

impl Parser<'_> {
    /// `value` with `first`, its first operand, replaced; `None` if that was computed with others.
    fn with_first(&mut self, value: NodeId, first: NodeId, other: NodeId) -> Option<NodeId> {
        if value == first {
            return Some(other);
        }
        let Node::Arithmetic { first: inner, steps } = self.tree.node(value) else { return None };
        let inner = self.with_first(inner, first, other)?;
        let steps = self.tree.steps(steps).to_vec();
        Some(self.tree.push_arithmetic(inner, &steps))
    }

    /// Refuses IN or LIKE at `operator` after `value`, which is arithmetic; `predicate` says it of
    /// the whole.
    pub(super) fn refuse_arithmetic<T>(
        &mut self,
        operator: Token,
        value: Placed,
        predicate: NodeId,
    ) -> Parsed<T> {
        let sql = print(&self.tree, predicate).into_boxed_str();
        let last = self.with_last(value.id, self.tree.node(predicate))?;
        let cesql = print(&self.tree, last).into_boxed_str();
        let fits = can_be_written(&cesql);
        self.refuse(operator.start, FilterErrorReason::ArithmeticBeforePredicate { cesql, fits, sql })
    }

    /// `value` with `predicate` said of its last operand.
    fn with_last(&mut self, value: NodeId, predicate: Node) -> Parsed {
        let Node::Arithmetic { first, steps } = self.tree.node(value) else {
            let node = with_value(predicate, value).unwrap_or(predicate);
            return self.push(node);
        };
        let mut steps = self.tree.steps(steps).to_vec();
        if let Some(last) = steps.last_mut() {
            last.operand = self.with_last(last.operand, predicate)?;
        }
        Ok(self.tree.push_arithmetic(first, &steps))
    }

    /// Refuses a predicate that begins at the present token, after `left`, a comparison and
    /// `right`.
    pub(super) fn refuse_predicate_beside<T>(
        &mut self,
        left: Placed,
        comparison: Comparison,
        right: Placed,
    ) -> Parsed<T> {
        let place = self.token.start;
        let right = self.predicate(right)?.id;
        let whole = self.push(Node::Compare { comparison, left: left.id, right })?;
        let reading = print(&self.tree, whole).into_boxed_str();
        self.refuse(place, FilterErrorReason::PredicateBeside { reading })
    }

    /// Refuses a predicate that begins at the present token, after the predicate `id`.
    pub(super) fn refuse_chained<T>(&mut self, id: NodeId) -> Parsed<T> {
        let reading = format!("({}) …", print(&self.tree, id)).into_boxed_str();
        self.refuse(self.token.start, FilterErrorReason::PredicateBeside { reading })
    }
}

/// Whether a reading, which is no longer ambiguous, is a filter: its types may not fit.
fn can_be_written(reading: &str) -> bool {
    super::parse(reading).is_ok()
}

/// Which operands to show: those around the first connective that is another, and a few more.
fn shown(connectives: &[Connective]) -> Range<usize> {
    let same = connectives.iter().take_while(|c| **c == connectives[0]).count();
    let end = (connectives.len() + 1).min(OPERANDS_SHOWN_MAX.max(same + 2));
    end.saturating_sub(OPERANDS_SHOWN_MAX)..end
}

/// The predicate about another value, if CESQL has such a predicate.
fn with_value(predicate: Node, value: NodeId) -> Option<Node> {
    match predicate {
        Node::Compare { comparison, right, .. } => Some(Node::Compare { comparison, left: value, right }),
        Node::In { list, negated, .. } => Some(Node::In { value, list, negated }),
        Node::Like { pattern, negated, .. } => Some(Node::Like { value, pattern, negated }),
        _ => None,
    }
}
