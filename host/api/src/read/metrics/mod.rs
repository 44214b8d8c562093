//! Reads when everything of an execution began and ended, and makes spans of it.
//!
//! A reply has to stay below what clients take: of very many nodes only the first are shown with their parts, and a
//! level with still more nodes is left out, as if the depth had ended above it.

mod flow;
mod span;

use std::collections::HashMap;

use futures::future::BoxFuture;
use model::{EntityId, EntityKind, ExecutionId, NodeExecutionId, Timestamp};
use proto::flyteidl::admin::{NodeExecutionClosure, WorkflowClosure, node_execution_closure::TargetMetadata};
use proto::flyteidl::core::{
    CompiledWorkflowClosure, Span, TaskExecutionIdentifier, WorkflowExecutionIdentifier,
    node_execution::Phase as NodePhase, task_execution::Phase as TaskPhase,
};
use store::{ExecutionRow, NodeFlags, NodeTimesRow, TaskTimesRow};

use self::flow::Flows;
use self::span::{ExecutionPart, Inside, NodePart, Scope, TaskPart};
use crate::{
    Error,
    context::{Context, decode},
    error::Result,
    read::{dynamic, execution::is_terminal},
};

/// Nodes that a reply shows at most; then no further level is opened.
const MAX_NODES: usize = 60_000;
/// Nodes whose parts a reply shows at most.
const MAX_DETAILED: usize = 16_000;
/// Bytes of a workflow made at run time that are read for its edges.
const MAX_COMPILED: u64 = 256 << 20;
/// Ids of the nodes that begin and end a workflow; they are part of its set-up and tear-down.
const START: &str = "start-node";
const END: &str = "end-node";

/// What may still be shown.
struct Budget {
    nodes: usize,
    detailed: usize,
    now: Timestamp,
}

/// The spans of an execution down to a depth: 0 is the execution alone, less is everything.
pub(crate) async fn of_execution(cx: &Context, row: &ExecutionRow, depth: i32) -> Result<Span> {
    let depth = u32::try_from(depth).unwrap_or(u32::MAX);
    let mut budget = Budget { nodes: MAX_NODES, detailed: MAX_DETAILED, now: Timestamp::now() };
    let part = execution_part(cx, row, depth, &mut budget).await?;
    let parted = tokio::task::spawn_blocking(move || span::of_execution(part)).await;
    parted.map_err(|_| Error::CutOff("the computation of spans"))
}

/// What a level of nodes is read with.
struct Level<'a> {
    cx: &'a Context,
    row: &'a ExecutionRow,
    depth: u32,
}

fn execution_part<'a>(
    cx: &'a Context,
    row: &'a ExecutionRow,
    depth: u32,
    budget: &'a mut Budget,
) -> BoxFuture<'a, Result<ExecutionPart>> {
    Box::pin(async move {
        let mut part = ExecutionPart {
            id: row.id.to_proto(),
            created: row.created_at,
            end: match row.started_at.zip(row.duration) {
                Some((start, micros)) if is_terminal(row.phase) => start.plus(micros),
                _ if is_terminal(row.phase) => row.updated_at,
                _ => budget.now,
            },
            scope: None,
        };
        if depth > 0 {
            let flows = flows_of(cx, &row.workflow).await?;
            let level = Level { cx, row, depth: depth - 1 };
            let mut below = level.scopes(vec![(String::new(), flows)], budget).await?;
            part.scope = below.remove("");
        }
        Ok(part)
    })
}

/// The edges of a registered workflow; none when it is gone.
async fn flows_of(cx: &Context, workflow: &EntityId) -> Result<Flows> {
    let id = EntityId { kind: EntityKind::Workflow, ..workflow.clone() };
    let Some(row) = cx.store.entity_get(&id).await? else { return Ok(Flows::default()) };
    let closure: WorkflowClosure = decode(&row.closure, "closure", &id)?;
    Ok(closure.compiled_workflow.map(Flows::new).unwrap_or_default())
}

impl Level<'_> {
    /// The nodes below each of these parents. A parent with nothing to show is missing.
    fn scopes<'a>(
        &'a self,
        parents: Vec<(String, Flows)>,
        budget: &'a mut Budget,
    ) -> BoxFuture<'a, Result<HashMap<String, Scope>>> {
        Box::pin(async move {
            if parents.is_empty() {
                return Ok(HashMap::new());
            }
            let ids: Vec<String> = parents.iter().map(|(id, _)| id.clone()).collect();
            let rows = self.cx.store.node_times(self.row.key, &ids, budget.nodes).await?;
            if rows.len() > budget.nodes {
                return Ok(HashMap::new());
            }
            budget.nodes -= rows.len();
            if rows.is_empty() {
                return Ok(HashMap::new());
            }
            let mut by_parent: HashMap<String, Vec<NodeTimesRow>> = HashMap::new();
            for row in rows {
                by_parent.entry(row.parent_id.clone()).or_default().push(row);
            }
            let mut inside = self.insides(&parents, &by_parent, budget).await?;
            let scopes = parents.into_iter().filter_map(|(id, flows)| {
                let rows = by_parent.remove(&id)?;
                let scope = self.scope(&flows, rows, &mut inside, budget.now);
                Some((id, scope))
            });
            Ok(scopes.collect())
        })
    }

    /// What happens in the nodes of a level, by node.
    async fn insides(
        &self,
        parents: &[(String, Flows)],
        by_parent: &HashMap<String, Vec<NodeTimesRow>>,
        budget: &mut Budget,
    ) -> Result<HashMap<String, Inside>> {
        let mut inside = HashMap::new();
        if self.depth == 0 {
            return Ok(inside);
        }
        let mut composite = Vec::new();
        let mut children = Vec::new();
        for (parent, flows) in parents {
            for row in by_parent.get(parent).into_iter().flatten() {
                if budget.detailed == 0 {
                    break;
                }
                budget.detailed -= 1;
                let is_gate = flows.is_gate(&row.spec_node_id);
                inside.insert(row.node_id.clone(), Inside { is_gate, ..Inside::default() });
                if row.flags & NodeFlags::IS_ARRAY == 0 && !is_gate {
                    composite.push((row.node_id.clone(), self.flows_below(flows, row).await?));
                }
                if let Some(child) = child_execution(row)? {
                    children.push((row.node_id.clone(), child));
                }
            }
        }
        let ids: Vec<String> = inside.keys().cloned().collect();
        for task in self.cx.store.task_times(self.row.key, &ids).await? {
            let part = self.task_part(&task, budget.now);
            if let Some(inside) = inside.get_mut(&task.node_id) {
                inside.tasks.push(part);
            }
        }
        for (node, child) in children {
            let Some(row) = self.cx.store.execution_get(&child).await? else { continue };
            let part = execution_part(self.cx, &row, self.depth - 1, budget).await?;
            if let Some(inside) = inside.get_mut(&node) {
                inside.execution = Some(Box::new(part));
            }
        }
        let below = Level { depth: self.depth - 1, ..*self };
        for (node, scope) in below.scopes(composite, budget).await? {
            if let Some(inside) = inside.get_mut(&node) {
                inside.scope = Some(scope);
            }
        }
        Ok(inside)
    }

    async fn flows_below(&self, flows: &Flows, row: &NodeTimesRow) -> Result<Flows> {
        if row.flags & NodeFlags::IS_DYNAMIC == 0 {
            return Ok(flows.below(&row.spec_node_id));
        }
        let id = NodeExecutionId { execution: self.row.id.clone(), node: row.node_id.as_str().into() };
        let closure: NodeExecutionClosure = decode(&row.extra, "closure", &id)?;
        let blob = &self.cx.blob;
        match dynamic::compiled_bytes(blob, &id, &closure.dynamic_job_spec_uri, MAX_COMPILED).await {
            Some(bytes) => {
                let compiled: CompiledWorkflowClosure = decode(&bytes, "dynamic workflow", &id)?;
                Ok(Flows::new(compiled))
            }
            None => Ok(Flows::default()),
        }
    }

    fn task_part(&self, row: &TaskTimesRow, now: Timestamp) -> TaskPart {
        let is_over = matches!(
            TaskPhase::try_from(row.phase),
            Ok(TaskPhase::Succeeded | TaskPhase::Failed | TaskPhase::Aborted | TaskPhase::RetryableFailed)
        );
        TaskPart {
            id: TaskExecutionIdentifier {
                task_id: Some(row.task.to_proto()),
                node_execution_id: Some(self.node_id(&row.node_id).to_proto()),
                retry_attempt: row.attempt.unsigned_abs(),
            },
            created: row.created_at,
            started: row.started_at,
            ran_until: row.started_at.zip(row.duration).map(|(start, micros)| start.plus(micros)),
            end: if is_over { row.updated_at } else { now },
            with_parts: self.depth > 1,
        }
    }

    fn node_id(&self, node: &str) -> NodeExecutionId {
        NodeExecutionId { execution: self.row.id.clone(), node: node.into() }
    }

    fn scope(
        &self,
        flows: &Flows,
        rows: Vec<NodeTimesRow>,
        inside: &mut HashMap<String, Inside>,
        now: Timestamp,
    ) -> Scope {
        let start = rows.iter().find(|row| row.spec_node_id == START).map(|row| end_of(row, now));
        let first = rows.iter().map(|row| row.created_at).min().unwrap_or_default();
        let rows: Vec<NodeTimesRow> =
            rows.into_iter().filter(|row| row.spec_node_id != START && row.spec_node_id != END).collect();
        let places: HashMap<&str, usize> =
            rows.iter().enumerate().map(|(at, row)| (row.spec_node_id.as_str(), at)).collect();
        let nodes = rows.iter().enumerate().map(|(at, row)| {
            let upstream = flows.upstream(&row.spec_node_id).iter();
            NodePart {
                id: self.node_id(&row.node_id).to_proto(),
                upstream: upstream
                    .filter_map(|id| places.get(id.as_str()).copied())
                    .filter(|upstream| *upstream != at)
                    .collect(),
                created: row.created_at,
                started: row.started_at,
                end: end_of(row, now),
                inside: inside.remove(&row.node_id),
            }
        });
        Scope { begin: start.unwrap_or(first), nodes: nodes.collect() }
    }
}

fn end_of(row: &NodeTimesRow, now: Timestamp) -> Timestamp {
    let is_over = matches!(
        NodePhase::try_from(row.phase),
        Ok(NodePhase::Succeeded
            | NodePhase::Failed
            | NodePhase::Aborted
            | NodePhase::Skipped
            | NodePhase::TimedOut
            | NodePhase::Recovered)
    );
    match row.started_at.zip(row.duration) {
        _ if !is_over => now,
        Some((start, micros)) => start.plus(micros),
        None => row.updated_at,
    }
}

/// The execution that a node started.
fn child_execution(row: &NodeTimesRow) -> Result<Option<ExecutionId>> {
    let closure: NodeExecutionClosure = decode(&row.extra, "closure", &row.node_id)?;
    let Some(TargetMetadata::WorkflowNodeMetadata(metadata)) = closure.target_metadata else {
        return Ok(None);
    };
    let id: Option<&WorkflowExecutionIdentifier> = metadata.execution_id.as_ref();
    Ok(id.and_then(|id| ExecutionId::from_proto(id).ok()))
}
