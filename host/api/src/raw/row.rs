//! Makes tasks, workflows, launch plans and executions of their rows.

use model::raw;
use prost::Message;
use proto::flyteidl::admin::{
    Execution, LaunchPlan, LaunchPlanClosure, Task, TaskClosure, Workflow, WorkflowClosure,
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
