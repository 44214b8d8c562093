//! Finds the interface of each node, by the kind of the node.

mod array;
mod branch;
mod gate;
mod launch_plan;
mod sub_workflow;
mod task;

pub(crate) use branch::check_conditions;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::{
    Node, TypedInterface, Variable, VariableMap, WorkflowTemplate, gate_node, workflow_node,
};

use crate::error::{Error, ErrorCode};
use crate::graph::Graph;
use crate::library::Library;
use crate::{END_NODE, START_NODE};

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    LaunchPlan,
    SubWorkflow,
    Branch,
    Gate,
    Array,
    /// Nothing; a mistake except on start and end node.
    Nothing,
}

pub(crate) fn kind(node: &Node) -> Kind {
    match &node.target {
        None => Kind::Nothing,
        Some(Target::TaskNode(_)) => Kind::Task,
        Some(Target::WorkflowNode(workflow)) => match workflow.reference {
            None => Kind::Nothing,
            Some(workflow_node::Reference::LaunchplanRef(_)) => Kind::LaunchPlan,
            Some(workflow_node::Reference::SubWorkflowRef(_)) => Kind::SubWorkflow,
        },
        Some(Target::BranchNode(_)) => Kind::Branch,
        Some(Target::GateNode(_)) => Kind::Gate,
        Some(Target::ArrayNode(_)) => Kind::Array,
    }
}

pub(crate) fn is_branch(node: &Node) -> bool {
    kind(node) == Kind::Branch
}

/// Whether the inputs of a node have whatever type is bound to them.
pub(crate) fn takes_any_input(node: &Node) -> bool {
    match &node.target {
        Some(Target::BranchNode(_)) => true,
        Some(Target::GateNode(gate)) => matches!(gate.condition, Some(gate_node::Condition::Approve(_))),
        _ => false,
    }
}

/// The nodes directly inside a node.
pub(crate) fn inner_nodes(node: &Node) -> Vec<&Node> {
    match &node.target {
        Some(Target::BranchNode(branch)) => branch::inner_nodes(branch),
        Some(Target::ArrayNode(array)) => array.node.as_deref().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// As [`inner_nodes`], for change.
pub(crate) fn inner_nodes_mut(node: &mut Node) -> Vec<&mut Node> {
    match &mut node.target {
        Some(Target::BranchNode(branch)) => branch::inner_nodes_mut(branch),
        Some(Target::ArrayNode(array)) => array.node.as_deref_mut().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Variables by name.
pub(crate) type Variables<'a> = Cow<'a, BTreeMap<String, Variable>>;

static NO_VARIABLES: BTreeMap<String, Variable> = BTreeMap::new();

/// What goes into a node and what comes out.
#[derive(Clone, Debug)]
pub(crate) struct Interface<'a> {
    pub(crate) inputs: Variables<'a>,
    pub(crate) outputs: Variables<'a>,
}

impl<'a> Interface<'a> {
    pub(crate) fn none() -> Self {
        Self { inputs: Cow::Borrowed(&NO_VARIABLES), outputs: Cow::Borrowed(&NO_VARIABLES) }
    }

    pub(crate) fn of(interface: &'a TypedInterface) -> Self {
        Self { inputs: borrow(interface.inputs.as_ref()), outputs: borrow(interface.outputs.as_ref()) }
    }
}

pub(crate) fn borrow(map: Option<&VariableMap>) -> Variables<'_> {
    Cow::Borrowed(map.map_or(&NO_VARIABLES, |map| &map.variables))
}

/// What is known about one workflow while it is checked.
pub(crate) struct Scope<'a, 'g> {
    pub(crate) template: &'a WorkflowTemplate,
    pub(crate) library: &'g Library<'a>,
    pub(crate) graph: &'g Graph<'a>,
    /// By position in the graph; nothing where the interface could not be found.
    pub(crate) interfaces: Vec<Option<Interface<'a>>>,
}

impl<'a, 'g> Scope<'a, 'g> {
    /// Finds the interface of every node. `order` has each node after those it needs.
    pub(crate) fn new(
        template: &'a WorkflowTemplate,
        library: &'g Library<'a>,
        graph: &'g Graph<'a>,
        order: &[usize],
        errors: &mut Vec<Error>,
    ) -> Self {
        let interfaces = vec![None; graph.entries.len()];
        let mut scope = Self { template, library, graph, interfaces };
        for &position in order {
            scope.interfaces[position] = scope.interface(position, errors);
        }
        scope
    }

    fn interface(&self, position: usize, errors: &mut Vec<Error>) -> Option<Interface<'a>> {
        let own = || self.template.interface.as_ref().map_or_else(Interface::none, Interface::of);
        let entry = &self.graph.entries[position];
        match entry.node.id.as_str() {
            START_NODE if entry.node.target.is_none() => {
                Some(Interface { outputs: own().inputs, ..Interface::none() })
            }
            END_NODE if entry.node.target.is_none() => {
                Some(Interface { inputs: own().outputs, ..Interface::none() })
            }
            _ => {
                let interface = match &entry.node.target {
                    Some(Target::BranchNode(branch)) => branch::interface(self, entry, branch, errors),
                    _ => self.target_interface(entry.node, errors),
                };
                rename_outputs(entry.node, interface?, errors)
            }
        }
    }

    /// The interface of what a node runs, for every kind but branches.
    fn target_interface(&self, node: &'a Node, errors: &mut Vec<Error>) -> Option<Interface<'a>> {
        match &node.target {
            Some(Target::TaskNode(task)) => task::interface(self, node, task, errors),
            Some(Target::WorkflowNode(workflow)) => match &workflow.reference {
                Some(workflow_node::Reference::LaunchplanRef(id)) => {
                    launch_plan::interface(self, node, id, errors)
                }
                Some(workflow_node::Reference::SubWorkflowRef(id)) => {
                    sub_workflow::interface(self, node, id, errors)
                }
                None => {
                    errors.push(Error::required(&node.id, "WorkflowNode.Reference"));
                    None
                }
            },
            Some(Target::GateNode(gate)) => gate::interface(self, node, gate, errors),
            Some(Target::ArrayNode(array)) => array::interface(self, node, array, errors),
            Some(Target::BranchNode(_)) => {
                let text = "A branch cannot be inside an array node.";
                errors.push(Error::new(ErrorCode::WorkflowBuildError, &node.id, text));
                None
            }
            None => {
                errors.push(Error::required(&node.id, "Target"));
                None
            }
        }
    }
}

/// Gives outputs their aliases.
fn rename_outputs<'a>(
    node: &Node,
    mut interface: Interface<'a>,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    if node.output_aliases.is_empty() {
        return Some(interface);
    }
    let mut renamed = interface.outputs.into_owned();
    let mut aliased = BTreeMap::new();
    for alias in &node.output_aliases {
        let Some(variable) = renamed.remove(&alias.var) else {
            errors.push(Error::new(
                ErrorCode::VariableNameNotFound,
                &node.id,
                format!("Variable [{}] of an alias not found on node [{}].", alias.var, node.id),
            ));
            continue;
        };
        if aliased.insert(alias.alias.clone(), variable).is_some() {
            errors.push(duplicate(node, &alias.alias));
        }
    }
    for (name, variable) in renamed {
        match aliased.entry(name) {
            Entry::Vacant(place) => _ = place.insert(variable),
            Entry::Occupied(place) => errors.push(duplicate(node, place.key())),
        }
    }
    interface.outputs = Cow::Owned(aliased);
    Some(interface)
}

fn duplicate(node: &Node, alias: &str) -> Error {
    let text = format!("Duplicate alias [{alias}] found. An output alias can only be used once in the node.");
    Error::new(ErrorCode::DuplicateAlias, &node.id, text)
}
