//! Makes tasks, workflows, launch plans and executions of their rows.

use bytes::Bytes;
use model::raw;
use prost::Message;
use proto::flyteidl::admin::{
    DynamicWorkflowNodeMetadata, Execution, LaunchPlan, LaunchPlanClosure, Task, TaskClosure, Workflow,
    WorkflowClosure,
};
use store::{EntityRow, ExecutionRow, LaunchPlanRow};

use super::Encoded;

/// Field numbers that `Task` and `Workflow` share, and `LaunchPlan` as far as it has them.
const ID: u32 = 1;
const CLOSURE: u32 = 2;
const SHORT_DESCRIPTION: u32 = 3;
/// From the inside: `template.interface`, `primary.template`, `compiled_workflow.primary`, `compiled_workflow`.
const INTERFACE_IN_CLOSURE: [u32; 4] = [3, 1, 1, 1];
const PLAN_SPEC: u32 = 2;
const PLAN_CLOSURE: u32 = 3;
const EXECUTION_SPEC: u32 = 2;

pub(crate) fn task(row: &EntityRow) -> Encoded<Task> {
    let made = TaskClosure { created_at: Some(row.created_at.to_proto()), ..TaskClosure::default() };
    entity(row, &made.encode_to_vec())
}

pub(crate) fn workflow(row: &EntityRow) -> Encoded<Workflow> {
    let made = WorkflowClosure { created_at: Some(row.created_at.to_proto()), ..WorkflowClosure::default() };
    entity(row, &made.encode_to_vec())
}

/// A workflow as lists show it: the interface, no nodes.
pub(crate) fn workflow_of_list(row: &EntityRow) -> Encoded<Workflow> {
    let mut closure = row.interface.clone();
    for number in INTERFACE_IN_CLOSURE {
        let mut outer = Vec::with_capacity(closure.len() + 8);
        raw::put(number, &closure, &mut outer);
        closure = outer;
    }
    let made = WorkflowClosure { created_at: Some(row.created_at.to_proto()), ..WorkflowClosure::default() };
    Encoded::new()
        .message(ID, &row.id.to_proto())
        .parts(CLOSURE, &[&closure, &made.encode_to_vec()])
        .text(SHORT_DESCRIPTION, &row.short_description)
}

fn entity<M: Message>(row: &EntityRow, made: &[u8]) -> Encoded<M> {
    Encoded::new()
        .message(ID, &row.id.to_proto())
        .parts(CLOSURE, &[&row.closure, made])
        .text(SHORT_DESCRIPTION, &row.short_description)
}

pub(crate) fn launch_plan(row: &LaunchPlanRow) -> Encoded<LaunchPlan> {
    let made = LaunchPlanClosure {
        state: row.state,
        created_at: Some(row.created_at.to_proto()),
        updated_at: Some(row.updated_at.to_proto()),
        ..LaunchPlanClosure::default()
    };
    Encoded::new()
        .message(ID, &row.id.to_proto())
        .parts(PLAN_SPEC, &[&row.spec])
        .parts(PLAN_CLOSURE, &[&row.closure, &made.encode_to_vec()])
}

/// An execution with the spec that its row has.
pub(crate) fn execution(execution: Execution, row: &ExecutionRow) -> Encoded<Execution> {
    Encoded::of(&Execution { spec: None, ..execution }).parts(EXECUTION_SPEC, &[&row.spec])
}

/// Field numbers that all replies with inputs and outputs share.
const FULL_INPUTS: u32 = 3;
const FULL_OUTPUTS: u32 = 4;
/// Number of `DynamicWorkflowNodeMetadata.compiled_workflow`.
const COMPILED_WORKFLOW: u32 = 2;

/// Adds stored inputs and outputs to the reply of `GetExecutionData`, `GetNodeExecutionData` or `GetTaskExecutionData`.
pub(crate) fn with_data<M: Message>(
    reply: Encoded<M>,
    inputs: Option<Bytes>,
    outputs: Option<Bytes>,
) -> Encoded<M> {
    reply.maybe(FULL_INPUTS, inputs).maybe(FULL_OUTPUTS, outputs)
}

/// `DynamicWorkflowNodeMetadata` with the compiled workflow as it is stored.
pub(crate) fn dynamic(metadata: &DynamicWorkflowNodeMetadata, compiled: &[u8]) -> Vec<u8> {
    Encoded::of(metadata).parts(COMPILED_WORKFLOW, &[compiled]).as_bytes().to_vec()
}
