//! What CESQL and SQL would read differently, refused with both readings in parentheses.
//!
//! CESQL 1.0 reads AND, OR and XOR on one level from left to right and binds NOT tighter than a
//! comparison; SQL binds AND tighter than XOR, XOR tighter than OR (the place that MySQL gives
//! XOR), and a comparison tighter than NOT. A filter that was moved from one to the other would
//! silently match something else.

use super::super::error::FilterErrorReason;
use super::super::print::print;
use super::super::tree::{Connective, Node, NodeId};
use super::{Parsed, Parser, Placed};

/// How many operands of a long chain the readings show.
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
        let more = if shown < operands.len() { " …" } else { "" };
        let (operands, connectives) = (&operands[..shown], &connectives[..shown - 1]);
        let cesql = self.left_to_right(operands, connectives)?;
        let sql = self.by_precedence(operands, connectives, LOOSEST_FIRST)?;
        let print = |id| format!("{}{more}", print(&self.tree, id)).into_boxed_str();
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

    /// Refuses NOT at `not` before `operand` and the predicate that begins at the present token.
    pub(super) fn refuse_not<T>(&mut self, not: usize, operand: Placed) -> Parsed<T> {
        let predicate = self.predicate(operand)?.id;
        let sql = self.push(Node::Not(predicate))?;
        let negated = self.push(Node::Not(operand.id))?;
        let cesql = match with_value(self.tree.node(predicate), negated) {
            Some(node) => Some(self.push(node)?),
            None => None,
        };
        let print = |id| print(&self.tree, id).into_boxed_str();
        let reason = FilterErrorReason::NotBeforePredicate { cesql: cesql.map(print), sql: print(sql) };
        self.refuse(not, reason)
    }
}

/// How many operands to show: so many that two connectives differ, and a few more.
fn shown(connectives: &[Connective]) -> usize {
    let same = connectives.iter().take_while(|c| **c == connectives[0]).count();
    (connectives.len() + 1).min(OPERANDS_SHOWN_MAX.max(same + 2))
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
