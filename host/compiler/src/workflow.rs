//! Compiles a workflow and the sub-workflows it uses.

use std::collections::{BTreeMap, HashMap};

use proto::flyteidl::core::{
    CompiledTask, CompiledWorkflow, CompiledWorkflowClosure, ConnectionSet, WorkflowTemplate, node,
};

use crate::binding;
use crate::error::{Error, ErrorCode, Errors};
use crate::graph::Graph;
use crate::launch_plan::LaunchPlanInterface;
use crate::library::{Key, Library};
use crate::node::{Scope, check_conditions};
use crate::normalize::normalize;
use crate::requirements::{all_nodes, requirements, sub_workflow_ref, used};

/// Checks a workflow against everything it refers to and gives its compiled form. `tasks` and `launch_plans` are
/// those that [`crate::requirements`] names, in any order; what is not among them counts as not registered.
///
/// # Errors
/// Everything that is wrong with the workflow or a sub-workflow it uses, as far as it can be told.
pub fn compile_workflow(
    template: WorkflowTemplate,
    sub_workflows: Vec<WorkflowTemplate>,
    tasks: &[CompiledTask],
    launch_plans: &[LaunchPlanInterface],
) -> Result<CompiledWorkflowClosure, Errors> {
    let mut errors = Vec::new();
    if template.nodes.is_empty() {
        errors.push(no_nodes(&template));
    }
    compile(template, sub_workflows, tasks, launch_plans, errors)
}

/// As [`compile_workflow`] for a workflow that may have no nodes; `errors` are found already.
pub(crate) fn compile(
    template: WorkflowTemplate,
    sub_workflows: Vec<WorkflowTemplate>,
    tasks: &[CompiledTask],
    launch_plans: &[LaunchPlanInterface],
    mut errors: Vec<Error>,
) -> Result<CompiledWorkflowClosure, Errors> {
    check_duplicates(&sub_workflows, &mut errors);
    let needed = requirements(&template, &sub_workflows);
    let used: Vec<WorkflowTemplate> = used(&template, &sub_workflows).into_iter().skip(1).cloned().collect();
    errors.extend(used.iter().filter(|sub| sub.nodes.is_empty()).map(no_nodes));
    check_nesting(&used, &mut errors);

    let workflows: Vec<WorkflowTemplate> = std::iter::once(template).chain(used).map(normalize).collect();
    let named = workflows.iter().skip(1).filter_map(|sub| Some((sub.id.as_ref()?, sub.interface.as_ref()?)));
    let library = Library::new(tasks, launch_plans, named);
    let connections: Vec<_> =
        workflows.iter().map(|workflow| compile_one(workflow, &library, &mut errors)).collect();
    if !errors.is_empty() {
        return Err(Errors(errors));
    }

    let tasks = needed.tasks.iter().filter_map(|id| library.task(id).cloned()).collect();
    let mut compiled = workflows.into_iter().zip(connections).map(|(template, connections)| {
        CompiledWorkflow { template: Some(template), connections: Some(connections) }
    });
    Ok(CompiledWorkflowClosure {
        primary: compiled.next(),
        sub_workflows: compiled.collect(),
        tasks,
        launch_plans: Vec::new(),
    })
}

fn compile_one(template: &WorkflowTemplate, library: &Library<'_>, errors: &mut Vec<Error>) -> ConnectionSet {
    check_header(template, errors);
    let graph = Graph::new(template, errors);
    let order = graph.order(errors);
    let scope = Scope::new(template, library, &graph, &order, errors);
    for (entry, interface) in graph.entries.iter().zip(&scope.interfaces) {
        let Some(interface) = interface else { continue };
        binding::check(&scope, entry.node, &interface.inputs, errors);
        if let Some(node::Target::BranchNode(branch)) = &entry.node.target {
            check_conditions(entry.node, branch, &interface.inputs, errors);
        }
    }
    graph.connections()
}

fn check_header(template: &WorkflowTemplate, errors: &mut Vec<Error>) {
    if template.id.is_none() {
        errors.push(Error::required("", "Id"));
    }
    let Some(interface) = &template.interface else {
        errors.push(Error::required("", "Interface"));
        return;
    };
    for (side, variables) in [("Inputs", &interface.inputs), ("Outputs", &interface.outputs)] {
        for (name, variable) in variables.iter().flat_map(|variables| &variables.variables) {
            if variable.r#type.is_none() {
                errors.push(Error::required("", &format!("Interface.{side}.{name}.Type")));
            }
        }
    }
}

fn no_nodes(template: &WorkflowTemplate) -> Error {
    let id = template.id.as_ref().map(|id| Key::of(id).to_string()).unwrap_or_default();
    Error::new(ErrorCode::NoNodesFound, "", format!("Can't find any nodes in workflow [{id}]."))
}

/// Two sub-workflows of one name must be the same.
fn check_duplicates(sub_workflows: &[WorkflowTemplate], errors: &mut Vec<Error>) {
    let mut seen = HashMap::new();
    for sub in sub_workflows {
        let Some(id) = &sub.id else {
            errors.push(Error::required("", "SubWorkflow.Id"));
            continue;
        };
        if *seen.entry(Key::of(id)).or_insert(sub) != sub {
            let text = format!("Two different sub-workflows have the id [{}].", Key::of(id));
            errors.push(Error::new(ErrorCode::DuplicateId, "", text));
        }
    }
}

/// A workflow inside itself would never end.
fn check_nesting(used: &[WorkflowTemplate], errors: &mut Vec<Error>) {
    let mut waits = BTreeMap::new();
    let mut needed_by: HashMap<Key<'_>, Vec<Key<'_>>> = HashMap::new();
    let ids = used.iter().filter_map(|sub| Some((Key::of(sub.id.as_ref()?), sub)));
    let known: HashMap<Key<'_>, &WorkflowTemplate> = ids.collect();
    for (key, sub) in &known {
        let needs: Vec<_> = all_nodes(sub)
            .into_iter()
            .filter_map(|node| Some(Key::of(sub_workflow_ref(node)?)))
            .filter(|needed| known.contains_key(needed))
            .collect();
        waits.insert(*key, needs.len());
        needs.into_iter().for_each(|needed| needed_by.entry(needed).or_default().push(*key));
    }
    let mut ready: Vec<_> = waits.iter().filter(|(_, n)| **n == 0).map(|(key, _)| *key).collect();
    while let Some(key) = ready.pop() {
        for user in needed_by.remove(&key).unwrap_or_default() {
            if let Some(n) = waits.get_mut(&user) {
                *n -= 1;
                if *n == 0 {
                    ready.push(user);
                }
            }
        }
    }
    if let Some((key, _)) = waits.iter().find(|(_, n)| **n > 0) {
        let text = format!("The sub-workflow [{key}] contains itself or one that does.");
        errors.push(Error::new(ErrorCode::CycleDetected, "", text));
    }
}
