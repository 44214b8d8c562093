//! Tells what a node does.

use std::sync::Arc;

use model::time::duration_micros;
use proto::flyteidl::core;
use proto::flyteidl::core::gate_node::Condition;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::workflow_node::Reference;

use super::library::{Found, Library};
use super::{END_NODE_ID, GraphIdx, START_NODE_ID};
use crate::error::Error;

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Its outputs are the workflow's inputs.
    Start,
    /// Its inputs are the workflow's outputs.
    End,
    /// Runs a task; one that gives a workflow to run is dynamic.
    Task {
        /// Position in [`super::Graph::tasks`].
        task: usize,
    },
    /// Runs a workflow inside this one.
    SubWorkflow {
        /// Position in [`super::Graph::subs`].
        graph: usize,
    },
    /// Runs a launch plan as an execution of its own.
    LaunchPlan {
        /// Which.
        id: Arc<core::Identifier>,
    },
    /// Runs one of several nodes.
    Branch {
        /// The nodes: of the cases in their order, then the one for when no case holds.
        arms: Arc<[GraphIdx]>,
        /// When to run which.
        cases: Arc<[BranchCase]>,
        /// What to do when no case holds.
        otherwise: Arc<Otherwise>,
    },
    /// Runs a node once for every element of its inputs.
    Array {
        /// That node.
        inner: GraphIdx,
        /// How many elements may be in flight at once: unset, 0 = as configured, else exactly.
        parallelism: Option<u32>,
        /// How many elements must succeed.
        min_successes: Option<u32>,
        /// Which part of the elements must succeed.
        min_success_ratio: Option<f32>,
        /// Inputs that all elements get whole.
        bound_inputs: Arc<[String]>,
        /// Whether each element has inputs of its own; else all read the array's and pick their part.
        individual_inputs: bool,
        /// Whether all elements run even when too many have failed already.
        run_all: bool,
        /// Whether the inner node's interface is that of one element; else SDKs have made lists of it already.
        original_interface: bool,
    },
    /// Waits.
    Gate(GateKind),
}

impl NodeKind {
    /// The word for it in messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
            Self::Task { .. } => "task",
            Self::SubWorkflow { .. } => "sub-workflow",
            Self::LaunchPlan { .. } => "launch plan",
            Self::Branch { .. } => "branch",
            Self::Array { .. } => "array",
            Self::Gate(_) => "gate",
        }
    }
}

/// A case of a branch.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchCase {
    /// When it holds.
    pub condition: core::BooleanExpression,
    /// Position in the branch's arms of the node to run then.
    pub arm: u32,
}

/// What a branch does when no case holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Otherwise {
    /// Runs the node at this position in the branch's arms.
    Arm(u32),
    /// Fails with this.
    Error(core::Error),
    /// Nothing is said.
    Nothing,
}

/// What a gate waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum GateKind {
    /// A while.
    Sleep {
        /// How long, in microseconds.
        micros: i64,
    },
    /// A value that somebody sets.
    Signal {
        /// Its name in the execution.
        id: Arc<str>,
        /// Of what type it is to be.
        ty: Arc<core::LiteralType>,
        /// The output it becomes.
        output: Arc<str>,
    },
    /// Somebody's approval of its inputs, which become its outputs.
    Approve {
        /// Name of the signal in the execution.
        id: Arc<str>,
    },
}

/// Takes in nodes that lie inside another; answers their positions.
pub(super) trait Nest<'a> {
    fn take(&mut self, inner: &'a core::Node) -> GraphIdx;
}

/// Finds what a node does; the nodes inside it go to `nest`.
pub(super) fn kind<'a>(
    node: &'a core::Node,
    library: &mut Library<'a>,
    nest: &mut dyn Nest<'a>,
) -> Result<NodeKind, Error> {
    let incomplete = |what| Error::IncompleteNode { node: node.id.clone(), what };
    match (node.id.as_str(), &node.target) {
        (START_NODE_ID, _) => return Ok(NodeKind::Start),
        (END_NODE_ID, _) => return Ok(NodeKind::End),
        _ => {}
    }
    match &node.target {
        Some(Target::TaskNode(target)) => library.task(&node.id, target),
        Some(Target::WorkflowNode(target)) => match &target.reference {
            Some(Reference::LaunchplanRef(id)) => Ok(NodeKind::LaunchPlan { id: Arc::new(id.clone()) }),
            Some(Reference::SubWorkflowRef(id)) => library.sub_workflow(&node.id, id),
            None => Err(incomplete("a reference to a workflow")),
        },
        Some(Target::BranchNode(branch)) => {
            self::branch(branch, nest).ok_or_else(|| incomplete("a condition or a node of one of its cases"))
        }
        Some(Target::GateNode(gate)) => {
            self::gate(gate).map(NodeKind::Gate).ok_or_else(|| incomplete("a condition to wait for"))
        }
        Some(Target::ArrayNode(array)) => {
            let inner = array.node.as_deref().ok_or_else(|| incomplete("a node to run for each element"))?;
            let picks_its_part = match &inner.target {
                Some(Target::TaskNode(target)) => library.reads_whole_inputs(&inner.id, target)?,
                _ => false,
            };
            Ok(self::array(array, nest.take(inner), picks_its_part))
        }
        None => Err(incomplete("a target")),
    }
}

fn branch<'a>(branch: &'a core::BranchNode, nest: &mut dyn Nest<'a>) -> Option<NodeKind> {
    use core::if_else_block::Default as Flyte;
    let block = branch.if_else.as_deref()?;
    let mut arms = Vec::new();
    let mut cases = Vec::new();
    let mut add = |node| {
        arms.push(nest.take(node));
        arms.len() as u32 - 1
    };
    for case in block.case.as_deref().into_iter().chain(&block.other) {
        let condition = case.condition.clone()?;
        cases.push(BranchCase { condition, arm: add(case.then_node.as_deref()?) });
    }
    let otherwise = match &block.default {
        Some(Flyte::ElseNode(node)) => Otherwise::Arm(add(node)),
        Some(Flyte::Error(error)) => Otherwise::Error(error.clone()),
        None => Otherwise::Nothing,
    };
    Some(NodeKind::Branch { arms: arms.into(), cases: cases.into(), otherwise: Arc::new(otherwise) })
}

fn gate(gate: &core::GateNode) -> Option<GateKind> {
    Some(match gate.condition.as_ref()? {
        Condition::Approve(approve) => GateKind::Approve { id: approve.signal_id.as_str().into() },
        Condition::Signal(signal) => GateKind::Signal {
            id: signal.signal_id.as_str().into(),
            ty: Arc::new(signal.r#type.clone().unwrap_or_default()),
            output: signal.output_variable_name.as_str().into(),
        },
        Condition::Sleep(sleep) => {
            GateKind::Sleep { micros: sleep.duration.as_ref().map(duration_micros).unwrap_or_default() }
        }
    })
}

fn array(array: &core::ArrayNode, inner: GraphIdx, picks_its_part: bool) -> NodeKind {
    use core::array_node::{DataMode, ParallelismOption::Parallelism, SuccessCriteria as Criteria};
    let (min_successes, min_success_ratio) = match array.success_criteria {
        Some(Criteria::MinSuccesses(count)) => (Some(count), None),
        Some(Criteria::MinSuccessRatio(ratio)) => (None, Some(ratio)),
        None => (None, None),
    };
    NodeKind::Array {
        inner,
        parallelism: array.parallelism_option.map(|Parallelism(count)| count),
        min_successes,
        min_success_ratio,
        bound_inputs: array.bound_inputs.as_slice().into(),
        individual_inputs: array.data_mode() == DataMode::IndividualInputFiles || !picks_its_part,
        run_all: array.run_all_sub_nodes,
        original_interface: array.is_original_sub_node_interface.unwrap_or_default(),
    }
}

impl Library<'_> {
    fn task(&self, node: &str, target: &core::TaskNode) -> Result<NodeKind, Error> {
        self.find_task(node, target).map(|Found { position, .. }| NodeKind::Task { task: position })
    }

    /// Whether the task runs in a container, where the SDK picks an element's part of the array's inputs.
    fn reads_whole_inputs(&self, node: &str, target: &core::TaskNode) -> Result<bool, Error> {
        use core::task_template::Target as Runs;
        let found = self.find_task(node, target)?;
        let target = found.template.and_then(|template| template.target.as_ref());
        Ok(matches!(target, Some(Runs::Container(_) | Runs::K8sPod(_))))
    }
}
