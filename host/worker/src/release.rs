//! Frees what is kept of nodes that have come to rest inside others that have ended, and of the workflows that tasks made
//! for them: their rows tell all that is still asked for.

use crate::driver::Driver;
use crate::metric;

impl Driver {
    /// To be called right after a commit: nothing may be dirty.
    pub(crate) fn release(&mut self) {
        for released in self.engine.release() {
            metrics::counter!(metric::NODES_RELEASED)
                .increment(u64::from(released.nodes.end - released.nodes.start));
            self.programs.remove(released.owner, &self.mailbox);
            self.arrays.forget(released.owner);
            if !self.unwritten.is_empty() {
                released.nodes.for_each(|node| _ = self.unwritten.remove(&node));
            }
        }
    }
}
