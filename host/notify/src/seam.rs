//! Lets tests stop the room between any two of its steps.

use async_trait::async_trait;

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Events were read, none of them sent.
    Read,
    /// A sink took events; nobody has noted it.
    Sent,
    /// The cursor of a sink was moved.
    Moved,
    /// Deliveries were planned and noted.
    Planned,
    /// A message was sent; nobody has noted it.
    Delivered,
    /// What came of a delivery was noted.
    Reported,
    /// Events were removed.
    Pruned,
}

/// What a test wants to happen at a step.
#[async_trait]
pub trait Seam: Send + Sync {
    /// Whether the room is to end here as if the process had died.
    async fn crashes_at(&self, step: Step) -> bool;
}

/// Nothing happens.
#[derive(Clone, Copy, Debug)]
pub struct NoSeam;

#[async_trait]
impl Seam for NoSeam {
    async fn crashes_at(&self, _step: Step) -> bool {
        false
    }
}
