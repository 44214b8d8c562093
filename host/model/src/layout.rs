//! Places every file of an execution: the metadata tree and raw output prefixes (execution.md A19).
//!
//! All functions return keys relative to a root the `blob` room gives, without a leading slash.

use crate::id::{AttemptId, ExecutionId, NodeExecutionId};
use crate::name;

/// `<project>-<domain>-<name>`: the data directory of an execution below the metadata prefix.
pub fn execution_dir(id: &ExecutionId) -> String {
    format!("{}-{}-{}", id.project, id.domain, id.name)
}

/// Workflow inputs, which are also the outputs of the start node.
pub fn workflow_inputs(id: &ExecutionId) -> String {
    format!("{}/start-node/data/0/outputs.pb", execution_dir(id))
}

/// Inputs as the caller gave them, before defaults; relaunch and recover read them.
pub fn user_inputs(id: &ExecutionId) -> String {
    format!("{}/user_inputs.pb", execution_dir(id))
}

/// The data directory of a node.
pub fn node_dir(id: &NodeExecutionId) -> String {
    format!("{}/{}/data", execution_dir(&id.execution), id.node)
}

/// The resolved inputs of a node, the same for all attempts.
pub fn node_inputs(id: &NodeExecutionId) -> String {
    format!("{}/inputs.pb", node_dir(id))
}

/// The data directory of an element of an array node, below that of the array.
pub fn element_dir(array_dir: &str, array_attempt: u32, index: u32) -> String {
    format!("{array_dir}/{array_attempt}/{index}")
}

/// The output directory of an attempt (`{{.outputPrefix}}`).
pub fn output_dir(id: &AttemptId) -> String {
    format!("{}/{}", node_dir(&id.node), id.attempt)
}

/// The raw output directory of an attempt below the raw output prefix.
pub fn raw_output_dir(id: &AttemptId) -> String {
    let unique = unique_id(id);
    format!("{}/{}", name::shard(&unique), unique)
}

/// Where an attempt keeps its checkpoint, below its raw output directory.
pub const CHECKPOINT_DIR: &str = "_flytecheckpoints";

fn unique_id(id: &AttemptId) -> String {
    let joined = name::join_parts(&[&id.node.execution.name, &id.node.node, &id.attempt.to_string()]);
    name::fixed_length_unique_id(&joined, 50, name::HashWidth::Fnv64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_flytes_layout() {
        let execution = ExecutionId::new("p", "d", "ex");
        let node = NodeExecutionId { execution: execution.clone(), node: "n0".into() };
        let attempt = AttemptId { node: node.clone(), attempt: 0 };
        assert_eq!(workflow_inputs(&execution), "p-d-ex/start-node/data/0/outputs.pb");
        assert_eq!(node_inputs(&node), "p-d-ex/n0/data/inputs.pb");
        assert_eq!(output_dir(&attempt), "p-d-ex/n0/data/0");
        assert_eq!(raw_output_dir(&attempt), "4m/ex-n0-0");
        assert_eq!(element_dir(&node_dir(&node), 0, 7), "p-d-ex/n0/data/0/7");
    }
}
