//! Shows the elements of an array node as the external resources of its one attempt.
//!
//! They are put together when they are asked for: kept in the attempt's row, every change of an element would write
//! all of them again.

use model::{ExecutionId, Timestamp, name::generated_name};
use prost::Message;
use proto::flyteidl::admin::{
    NodeExecutionClosure, Reason, TaskExecution, TaskExecutionClosure,
    node_execution_closure::TargetMetadata as NodeTarget,
};
use proto::flyteidl::core::{CatalogCacheStatus, node_execution, task_execution};
use proto::flyteidl::event::{ExternalResourceInfo, external_resource_info::TargetMetadata};
use store::{ElementRow, NodeExecutionRow, NodeFlags};

use crate::{
    context::{Context, decode},
    error::Result,
};

/// Most elements that are shown with their logs.
const MAX_WITH_LOGS: i64 = 5_000;
/// Most bytes of elements in a reply, of which clients take 20 MiB.
const MAX_BYTES: usize = 18 << 20;

/// Adds its elements to the attempt of an array node; leaves other attempts as they are.
pub(crate) async fn add_elements(
    cx: &Context,
    execution: &ExecutionId,
    node: &NodeExecutionRow,
    task: &mut TaskExecution,
) -> Result<()> {
    if node.flags & NodeFlags::IS_ARRAY == 0 {
        return Ok(());
    }
    let size = (node.detail - 1).max(0);
    let with_logs = size <= MAX_WITH_LOGS;
    let mut pages = cx.store.array_elements(node.execution, &node.node_id, with_logs);
    let mut found = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for row in page {
            found.push(external_resource(execution, &row)?);
        }
    }
    found.sort_unstable_by_key(|element| element.index);
    let n_found = found.len();
    let shown = fitting(&found, MAX_BYTES);
    found.truncate(shown);
    let closure = task.closure.get_or_insert_default();
    if shown < n_found {
        note(
            closure,
            format!(
                "the first {shown} of {n_found} elements are listed; list the children of the node for the others"
            ),
        );
    } else if !with_logs {
        note(
            closure,
            format!(
                "with {n_found} elements their logs are left out; list the children of the node for them"
            ),
        );
    }
    closure.metadata.get_or_insert_default().external_resources = found;
    Ok(())
}

/// How many elements from the first on fit into so many bytes.
fn fitting(elements: &[ExternalResourceInfo], max: usize) -> usize {
    let mut left = max;
    let fits = |element: &&ExternalResourceInfo| {
        // Tag and length of a field go before it.
        let Some(rest) = left.checked_sub(element.encoded_len() + 8) else { return false };
        left = rest;
        true
    };
    elements.iter().take_while(fits).count()
}

fn note(closure: &mut TaskExecutionClosure, text: String) {
    let occurred_at = closure.updated_at.unwrap_or_else(|| Timestamp::now().to_proto());
    closure.reasons.push(Reason { occurred_at: Some(occurred_at), message: text });
}

fn external_resource(execution: &ExecutionId, row: &ElementRow) -> Result<ExternalResourceInfo> {
    let attempt = row.attempt.unsigned_abs();
    let mut element = ExternalResourceInfo {
        external_id: generated_name(&execution.name, &row.node_id, attempt),
        index: index(&row.node_id),
        retry_attempt: attempt,
        phase: phase(row) as i32,
        cache_status: CatalogCacheStatus::from_str_name(&row.cache_status).unwrap_or_default() as i32,
        ..ExternalResourceInfo::default()
    };
    if !row.closure.is_empty() {
        let closure: TaskExecutionClosure = decode(&row.closure, "closure", &row.node_id)?;
        element.logs = closure.logs;
        element.custom_info = closure.custom_info;
        element.log_context = closure.log_context;
    }
    if !row.extra.is_empty() {
        let closure: NodeExecutionClosure = decode(&row.extra, "closure", &row.node_id)?;
        if let Some(NodeTarget::WorkflowNodeMetadata(child)) = closure.target_metadata {
            element.target_metadata =
                Some(TargetMetadata::WorkflowNodeMetadata(proto::flyteidl::event::WorkflowNodeMetadata {
                    execution_id: child.execution_id,
                }));
        }
    }
    Ok(element)
}

/// The number at the end of the id of an element's node.
fn index(node_id: &str) -> u32 {
    node_id.rsplit_once("-n").and_then(|(_, index)| index.parse().ok()).unwrap_or(0)
}

/// That of the attempt while the node is at work, because it is finer; else what became of the node.
fn phase(row: &ElementRow) -> task_execution::Phase {
    use node_execution::Phase as Node;
    use task_execution::Phase as Task;
    match Node::try_from(row.phase).unwrap_or_default() {
        Node::Undefined | Node::Skipped => Task::Undefined,
        Node::Queued => Task::Queued,
        Node::Succeeded | Node::Recovered => Task::Succeeded,
        Node::Failing | Node::Failed | Node::TimedOut => Task::Failed,
        Node::Aborted => Task::Aborted,
        Node::Running | Node::DynamicRunning => {
            let attempt = row.task_phase.and_then(|phase| Task::try_from(phase).ok());
            match attempt {
                // An attempt that is over while its node is not has another one after it.
                Some(phase @ (Task::Queued | Task::Initializing | Task::WaitingForResources)) => phase,
                _ => Task::Running,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_with_the_index() {
        for (id, wanted) in [("n0-0-n12", 12), ("fabcdef-0-n100000", 100_000), ("n1-n3-0-n0", 0), ("odd", 0)]
        {
            assert_eq!(index(id), wanted, "{id}");
        }
    }

    #[test]
    fn phases_are_those_of_attempts() {
        use node_execution::Phase as Node;
        use task_execution::Phase as Task;
        let phase = |node: Node, task: Option<Task>| {
            phase(&ElementRow {
                node_id: String::new(),
                phase: node as i32,
                attempt: 0,
                cache_status: String::new(),
                extra: Vec::new(),
                task_phase: task.map(|task| task as i32),
                closure: Vec::new(),
            })
        };
        assert_eq!(phase(Node::Running, Some(Task::Initializing)), Task::Initializing);
        assert_eq!(phase(Node::Running, Some(Task::Failed)), Task::Running);
        assert_eq!(phase(Node::Running, None), Task::Running);
        assert_eq!(phase(Node::Succeeded, None), Task::Succeeded);
        assert_eq!(phase(Node::Recovered, None), Task::Succeeded);
        assert_eq!(phase(Node::Failed, Some(Task::Running)), Task::Failed);
        assert_eq!(phase(Node::Aborted, Some(Task::Running)), Task::Aborted);
    }

    #[test]
    fn a_reply_has_a_largest_size() {
        let one = ExternalResourceInfo { external_id: "x".repeat(90), ..ExternalResourceInfo::default() };
        let each = one.encoded_len() + 8;
        assert_eq!(fitting(&vec![one.clone(); 10], each * 10), 10);
        assert_eq!(fitting(&vec![one.clone(); 10], each * 10 - 1), 9);
        assert_eq!(fitting(&[one], 0), 0);
    }
}
