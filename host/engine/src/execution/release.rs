//! Frees what is kept of nodes that have come to rest inside others that have ended: nothing reads them any more but the
//! rows, which tell all. So memory follows what is live, not what has been.

use std::ops::Range;

use super::Execution;
use super::scope::{NO_SCOPE, ScopeIdx};
use crate::step::NodeIdx;

/// Nodes that are not known any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The node that held them; it is still known, unless it is released too, later in the same list.
    pub owner: NodeIdx,
    /// They.
    pub nodes: Range<NodeIdx>,
}

impl Execution {
    /// Frees what ended nodes held, and says what that was. To be called when all rows that were changed are stored: a
    /// later life does not take them up either. Inner ones come first.
    pub fn release(&mut self) -> Vec<Released> {
        let ended = std::mem::take(&mut self.ended);
        ended.into_iter().filter_map(|owner| self.release_inner(owner)).collect()
    }

    fn release_inner(&mut self, owner: NodeIdx) -> Option<Released> {
        // It may have been noted twice, or released with what it was in.
        let link = self.nodes.link(owner)?;
        let (inner, showing) = (link.inner, link.showing);
        let rests = |scope: ScopeIdx| self.known_scope(scope).is_some_and(|scope| scope.live.is_empty());
        if inner == NO_SCOPE || showing || !self.node(owner).phase.is_terminal() || !rests(inner) {
            return None;
        }
        let nodes = self.scope(inner).range();
        for node in nodes.clone() {
            crate::cost::tick();
            self.nodes.release(node);
        }
        if let Some(scope) = self.scopes.get_mut(inner as usize) {
            *scope = None;
        }
        self.link_mut(owner).inner = NO_SCOPE;
        self.lender_lines.remove(&owner);
        Some(Released { owner, nodes })
    }
}
