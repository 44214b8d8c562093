//! Holds what an earlier execution achieved, for the execution that recovers it.

use std::collections::HashMap;

use crate::phase::NodePhase;

/// The outcomes of an earlier execution's nodes, by unique id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recalled {
    /// All of them.
    pub by_id: HashMap<Box<str>, Outcome>,
}

/// How a node of an earlier execution stood when that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Its phase; one that succeeded is not run again.
    pub phase: NodePhase,
    /// Its last attempt.
    pub attempt: u32,
    /// Where its inputs are.
    pub input_uri: Box<str>,
    /// Where its outputs are.
    pub output_uri: Box<str>,
    /// Where its deck is; empty without one.
    pub deck_uri: Box<str>,
    /// Where the specification is that its task made, if it made one.
    pub spec_uri: Option<Box<str>>,
    /// Where its last attempt left a checkpoint; empty without one.
    pub checkpoint_uri: Box<str>,
}
