//! Says how a node is named and where its files are (execution.md A19, A20).

use engine::{Execution, NodeIdx};
use model::{AttemptId, NodeExecutionId, layout};

use crate::info::Info;

/// A node by its unique name, and the directory of its files.
///
/// A node inside another has a directory of its own beside that of the other: unique names make paths short however
/// deep the nesting. Elements of an array are below the attempt of the array.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) id: NodeExecutionId,
    /// Below the metadata root.
    dir: String,
}

impl Place {
    pub(crate) fn of(info: &Info, engine: &Execution, node: NodeIdx) -> Self {
        let id = NodeExecutionId { execution: info.id.clone(), node: engine.unique_id(node) };
        let dir = match (engine.element(node), engine.parent(node)) {
            (Some(index), Some(array)) => {
                layout::element_dir(&Self::of(info, engine, array).dir, engine.node(array).attempt, index)
            }
            _ => layout::node_dir(&id),
        };
        Self { id, dir }
    }

    /// The directory of all its files.
    pub(crate) fn prefix(&self, info: &Info) -> String {
        info.metadata_uri(&self.dir)
    }

    /// Where its inputs are, if it has a file of its own.
    pub(crate) fn inputs_uri(&self, info: &Info) -> String {
        info.metadata_uri(&format!("{}/inputs.pb", self.dir))
    }

    /// The output directory of one of its attempts.
    pub(crate) fn output_prefix(&self, info: &Info, attempt: u32) -> String {
        info.metadata_uri(&format!("{}/{attempt}", self.dir))
    }

    /// One of its attempts.
    pub(crate) fn attempt(&self, attempt: u32) -> AttemptId {
        AttemptId { node: self.id.clone(), attempt }
    }
}
