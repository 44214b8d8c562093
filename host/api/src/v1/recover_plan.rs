//! Shows what a recovery of an execution would do with each of its nodes, before anybody asks for it.
//!
//! The rule is that of the engine: a node that succeeded is taken over with its outputs; a node made of nodes is
//! gone through, node by node; everything else runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use model::{ExecutionId, Timestamp};
use proto::flyteidl::admin::{NodeExecutionClosure, WorkflowClosure, node_execution_closure::TargetMetadata};
use proto::flyteidl::core::{node_execution, workflow_execution};
use serde::{Deserialize, Serialize};
use store::{ExecutionRow, NodeFlags, NodeOutcomeRow};

use super::{Answer, moment, page};
use crate::{
    context::{Context, decode},
    error::Result,
};

/// Nodes that begin and end a workflow; they do no work.
const FIXED: [&str; 2] = ["start-node", "end-node"];

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    /// Its outputs are taken over.
    Reused,
    /// Its parts are decided one by one.
    Continues,
    /// It runs.
    Runs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Step {
    node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent: String,
    decision: Decision,
    because: String,
}

#[derive(Serialize)]
pub(super) struct Plan {
    execution: String,
    workflow: String,
    phase: &'static str,
    /// Whether it may still change: the execution has not ended.
    running: bool,
    created_at: String,
    /// How many nodes of each decision there are.
    counts: BTreeMap<Decision, usize>,
    nodes: Vec<Step>,
    /// Whether there are more nodes than those.
    truncated: bool,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    limit: Option<usize>,
    /// Leave out nodes that are reused.
    #[serde(default)]
    changes_only: bool,
}

pub(super) async fn show(
    State(cx): State<Arc<Context>>,
    Path((project, domain, name)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Answer<Plan> {
    let id = ExecutionId::new(&project, &domain, &name.to_ascii_lowercase());
    let row = cx.execution(&id).await?;
    Ok(Json(plan(&cx, &row, page(asked.limit), asked.changes_only).await?))
}

async fn plan(cx: &Context, row: &ExecutionRow, limit: usize, changes_only: bool) -> Result<Plan> {
    let reused = reused_composites(cx, row).await?;
    let mut counts = BTreeMap::new();
    let mut nodes = Vec::new();
    let mut truncated = false;
    let mut add = |step: Step| {
        *counts.entry(step.decision).or_insert(0) += 1;
        if changes_only && step.decision == Decision::Reused {
            return;
        }
        if nodes.len() < limit {
            nodes.push(step);
        } else {
            truncated = true;
        }
    };
    let mut seen = HashSet::new();
    let mut pages = cx.store.node_outcomes(row.key);
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for outcome in page {
            let is_top = outcome.parent_id.is_empty();
            if is_top {
                seen.insert(outcome.spec_node_id.clone());
            }
            if !FIXED.contains(&outcome.spec_node_id.as_str()) && !reused.contains(&outcome.parent_id) {
                add(decide(&outcome)?);
            }
        }
    }
    for node in template_nodes(cx, row).await? {
        if !seen.contains(&node) && !FIXED.contains(&node.as_str()) {
            let because = "it had not begun".to_owned();
            add(Step { node, parent: String::new(), decision: Decision::Runs, because });
        }
    }
    Ok(Plan {
        execution: row.id.to_string(),
        workflow: row.workflow.to_string(),
        phase: workflow_execution::Phase::try_from(row.phase).unwrap_or_default().as_str_name(),
        running: !crate::read::execution::is_terminal(row.phase),
        created_at: moment(Timestamp(row.created_at.0)),
        counts,
        nodes,
        truncated,
    })
}

/// Nodes with children that are reused as a whole, so that their children need not be looked at; and the children of
/// those, which have children themselves.
async fn reused_composites(cx: &Context, row: &ExecutionRow) -> Result<HashSet<String>> {
    let mut reused = HashSet::new();
    let mut parents: Vec<(String, String)> = Vec::new();
    let mut pages = cx.store.node_outcomes(row.key);
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for outcome in page {
            if !outcome.parent_id.is_empty() && is_composite(&outcome) {
                parents.push((outcome.node_id.clone(), outcome.parent_id.clone()));
            }
            if succeeded(outcome.phase) {
                reused.insert(outcome.node_id);
            }
        }
    }
    // Below a node that is reused everything is.
    loop {
        let before = reused.len();
        for (node, parent) in &parents {
            if reused.contains(parent) {
                reused.insert(node.clone());
            }
        }
        if reused.len() == before {
            return Ok(reused);
        }
    }
}

fn succeeded(phase: i32) -> bool {
    use node_execution::Phase;
    matches!(Phase::try_from(phase), Ok(Phase::Succeeded | Phase::Recovered))
}

fn is_composite(outcome: &NodeOutcomeRow) -> bool {
    outcome.flags & (NodeFlags::IS_PARENT | NodeFlags::IS_ARRAY) != 0
}

fn decide(outcome: &NodeOutcomeRow) -> Result<Step> {
    let closure: NodeExecutionClosure = decode(&outcome.extra, "closure", &outcome.node_id)?;
    let phase = node_execution::Phase::try_from(outcome.phase).unwrap_or_default();
    let (decision, because) = if succeeded(outcome.phase) {
        (Decision::Reused, "it succeeded".to_owned())
    } else if let Some(child) = child(&closure) {
        (Decision::Continues, format!("its execution {child} is recovered"))
    } else if outcome.flags & NodeFlags::IS_ARRAY != 0 {
        (Decision::Continues, "its elements are decided one by one".to_owned())
    } else if !closure.dynamic_job_spec_uri.is_empty() {
        (
            Decision::Continues,
            "the workflow it made is taken over, its nodes are decided one by one".to_owned(),
        )
    } else if outcome.flags & NodeFlags::IS_PARENT != 0 {
        (Decision::Continues, "its nodes are decided one by one".to_owned())
    } else {
        (Decision::Runs, why(phase, &outcome.error_code))
    };
    let (node, parent) = (outcome.node_id.clone(), outcome.parent_id.clone());
    Ok(Step { node, parent, decision, because })
}

/// Why a node runs.
fn why(phase: node_execution::Phase, error_code: &str) -> String {
    use node_execution::Phase;
    let with_code = |text: &str| match error_code {
        "" => text.to_owned(),
        code => format!("{text} with {code}"),
    };
    match phase {
        Phase::Failed | Phase::Failing => with_code("it failed"),
        Phase::TimedOut => with_code("it timed out"),
        Phase::Aborted => "it was aborted".to_owned(),
        Phase::Skipped => "it was skipped, which is decided anew".to_owned(),
        Phase::Undefined | Phase::Queued => "it had not begun".to_owned(),
        Phase::Running | Phase::DynamicRunning => "it had not ended; it finds its last checkpoint".to_owned(),
        Phase::Succeeded | Phase::Recovered => "it succeeded".to_owned(),
    }
}

fn child(closure: &NodeExecutionClosure) -> Option<&str> {
    match &closure.target_metadata {
        Some(TargetMetadata::WorkflowNodeMetadata(metadata)) => {
            Some(metadata.execution_id.as_ref()?.name.as_str())
        }
        Some(TargetMetadata::TaskNodeMetadata(_)) | None => None,
    }
}

/// Ids of the top-level nodes that the workflow has.
async fn template_nodes(cx: &Context, row: &ExecutionRow) -> Result<Vec<String>> {
    let Some(entity) = cx.store.entity_get(&row.workflow).await? else { return Ok(Vec::new()) };
    let closure: WorkflowClosure = decode(&entity.closure, "closure", &row.workflow)?;
    let template = closure.compiled_workflow.and_then(|compiled| compiled.primary?.template);
    Ok(template.map(|template| template.nodes.into_iter().map(|node| node.id).collect()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::flyteidl::admin::WorkflowNodeMetadata;
    use proto::flyteidl::core::WorkflowExecutionIdentifier;

    use super::*;

    fn outcome(phase: node_execution::Phase, flags: i32, extra: NodeExecutionClosure) -> NodeOutcomeRow {
        NodeOutcomeRow {
            node_id: "n0".to_owned(),
            spec_node_id: "n0".to_owned(),
            parent_id: String::new(),
            phase: phase as i32,
            attempt: 0,
            flags,
            error_code: "E7".to_owned(),
            input_uri: String::new(),
            output_uri: String::new(),
            deck_uri: String::new(),
            extra: extra.encode_to_vec(),
        }
    }

    #[test]
    fn decisions_follow_what_became_of_a_node() {
        use node_execution::Phase as P;
        let none = NodeExecutionClosure::default;
        let made = NodeExecutionClosure { dynamic_job_spec_uri: "s3://b/f".to_owned(), ..none() };
        let execution_id = WorkflowExecutionIdentifier { name: "kid".to_owned(), ..Default::default() };
        let metadata = WorkflowNodeMetadata { execution_id: Some(execution_id) };
        let launched = NodeExecutionClosure {
            target_metadata: Some(TargetMetadata::WorkflowNodeMetadata(metadata)),
            ..none()
        };
        for (phase, flags, extra, decision, because) in [
            (P::Succeeded, 0, none(), Decision::Reused, "it succeeded"),
            (P::Recovered, NodeFlags::IS_PARENT, none(), Decision::Reused, "it succeeded"),
            (P::Failed, 0, none(), Decision::Runs, "it failed with E7"),
            (P::Aborted, 0, none(), Decision::Runs, "it was aborted"),
            (P::Skipped, 0, none(), Decision::Runs, "it was skipped, which is decided anew"),
            (P::Queued, 0, none(), Decision::Runs, "it had not begun"),
            (P::Failed, NodeFlags::IS_ARRAY, none(), Decision::Continues, "its elements are"),
            (P::Failed, NodeFlags::IS_PARENT, none(), Decision::Continues, "its nodes are"),
            (P::Failed, NodeFlags::IS_DYNAMIC, made, Decision::Continues, "the workflow it made"),
            (P::Failed, 0, launched, Decision::Continues, "its execution kid is recovered"),
        ] {
            let step = decide(&outcome(phase, flags, extra)).unwrap();
            assert_eq!(step.decision, decision, "{phase:?}");
            assert!(step.because.starts_with(because), "{phase:?}: {}", step.because);
        }
    }
}
