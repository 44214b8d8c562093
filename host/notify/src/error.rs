//! Names what can go wrong with the room as a whole. What goes wrong with one message stands in the delivery log.

use crate::seam::Step;

/// Why the room can't work, or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that can't work.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// The store was closed before the room was told to stop.
    #[error("the store was closed")]
    StoreClosed,
    /// A test ended it.
    #[error("crashed at {0:?}")]
    Crashed(Step),
}
