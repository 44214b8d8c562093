//! Compiles the workflow that a task wrote while it ran.

use std::collections::HashSet;

use proto::flyteidl::core::task_template::Target;
use proto::flyteidl::core::{
    CompiledTask, CompiledWorkflowClosure, DynamicJobSpec, Identifier, TaskTemplate, TypedInterface,
    WorkflowTemplate,
};

use crate::error::{Error, Errors};
use crate::launch_plan::LaunchPlanInterface;
use crate::library::Key;
use crate::requirements::{Requirements, find};
use crate::task::{compile_task, validate_task};
use crate::workflow::compile;

/// How many nodes the workflow has, those of its sub-workflows included; what a limit is held against.
pub fn dynamic_node_count(spec: &DynamicJobSpec) -> usize {
    spec.nodes.len() + spec.subworkflows.iter().map(|sub| sub.nodes.len()).sum::<usize>()
}

/// What the workflow needs that is registered elsewhere: launch plans, and the tasks that it names without bringing
/// them along.
pub fn dynamic_requirements(spec: &DynamicJobSpec) -> Requirements {
    let mut found = find(None, &spec.nodes, None, &spec.subworkflows);
    let brought: HashSet<Key<'_>> =
        spec.tasks.iter().filter_map(|task| task.id.as_ref().map(Key::of)).collect();
    found.tasks.retain(|id| !brought.contains(&Key::of(id)));
    found
}

/// The compiled form of the workflow `spec`, which `parent_task` wrote and whose outputs are that task's. `tasks` and
/// `launch_plans` are those that [`dynamic_requirements`] names, in any order. What the parent's container says to
/// plugins goes for the containers of its children as well. A workflow without nodes is fine: it gives constants.
///
/// # Errors
/// Everything that is wrong with it; the author of the task is to blame.
pub fn compile_dynamic(
    spec: DynamicJobSpec,
    workflow_id: Identifier,
    parent_task: &TaskTemplate,
    tasks: &[CompiledTask],
    launch_plans: &[LaunchPlanInterface],
) -> Result<CompiledWorkflowClosure, Errors> {
    let mut errors = Vec::new();
    let mut seen = HashSet::with_capacity(spec.tasks.len());
    let mut known = Vec::with_capacity(spec.tasks.len() + tasks.len());
    for mut task in spec.tasks {
        let Some(id) = task.id.clone() else {
            errors.push(Error::required("", "Task.Id"));
            continue;
        };
        if !seen.insert([id.project.clone(), id.domain.clone(), id.name.clone(), id.version.clone()]) {
            continue;
        }
        if let Err(Errors(found)) = validate_task(&id, &task) {
            errors.extend(found);
        }
        inherit_config(&mut task, parent_task);
        known.push(compile_task(task));
    }
    let first = |task: &&CompiledTask| {
        let id = task.template.as_ref().and_then(|template| template.id.clone()).unwrap_or_default();
        seen.insert([id.project, id.domain, id.name, id.version])
    };
    known.extend(tasks.iter().filter(first).cloned());
    let outputs = parent_task.interface.as_ref().and_then(|interface| interface.outputs.clone());
    let template = WorkflowTemplate {
        id: Some(workflow_id),
        nodes: spec.nodes,
        outputs: spec.outputs,
        interface: Some(TypedInterface { inputs: None, outputs }),
        ..WorkflowTemplate::default()
    };
    compile(template, spec.subworkflows, &known, launch_plans, errors)
}

#[allow(deprecated, reason = "SDKs still write it")]
fn inherit_config(task: &mut TaskTemplate, parent: &TaskTemplate) {
    if let (Some(Target::Container(child)), Some(Target::Container(parent))) =
        (&mut task.target, &parent.target)
    {
        child.config.extend(parent.config.iter().cloned());
    }
}
