//! Makes tasks, workflows and launch plans of their rows.

use proto::flyteidl::admin::{
    LaunchPlan, LaunchPlanClosure, LaunchPlanSpec, Task, TaskClosure, Workflow, WorkflowClosure,
};
use proto::flyteidl::core::{CompiledWorkflow, CompiledWorkflowClosure, TypedInterface, WorkflowTemplate};
use store::{EntityRow, LaunchPlanRow};

use crate::{context::decode, error::Result};

pub(crate) fn task(row: &EntityRow) -> Result<Task> {
    let mut closure: TaskClosure = decode(&row.closure, "closure", &row.id)?;
    closure.created_at = Some(row.created_at.to_proto());
    Ok(Task {
        id: Some(row.id.to_proto()),
        closure: Some(closure),
        short_description: row.short_description.clone(),
    })
}

pub(crate) fn workflow(row: &EntityRow) -> Result<Workflow> {
    let mut closure: WorkflowClosure = decode(&row.closure, "closure", &row.id)?;
    closure.created_at = Some(row.created_at.to_proto());
    Ok(Workflow {
        id: Some(row.id.to_proto()),
        closure: Some(closure),
        short_description: row.short_description.clone(),
    })
}

/// A workflow as lists show it: the interface, no nodes.
pub(crate) fn workflow_of_list(row: &EntityRow) -> Result<Workflow> {
    let interface: TypedInterface = decode(&row.interface, "interface", &row.id)?;
    let template = WorkflowTemplate { interface: Some(interface), ..WorkflowTemplate::default() };
    let primary = CompiledWorkflow { template: Some(template), ..CompiledWorkflow::default() };
    let compiled = CompiledWorkflowClosure { primary: Some(primary), ..CompiledWorkflowClosure::default() };
    Ok(Workflow {
        id: Some(row.id.to_proto()),
        closure: Some(WorkflowClosure {
            compiled_workflow: Some(compiled),
            created_at: Some(row.created_at.to_proto()),
        }),
        short_description: row.short_description.clone(),
    })
}

pub(crate) fn launch_plan(row: &LaunchPlanRow) -> Result<LaunchPlan> {
    let spec: LaunchPlanSpec = decode(&row.spec, "spec", &row.id)?;
    let closure: LaunchPlanClosure = decode(&row.closure, "closure", &row.id)?;
    Ok(LaunchPlan {
        id: Some(row.id.to_proto()),
        spec: Some(spec),
        closure: Some(LaunchPlanClosure {
            state: row.state,
            created_at: Some(row.created_at.to_proto()),
            updated_at: Some(row.updated_at.to_proto()),
            ..closure
        }),
    })
}
