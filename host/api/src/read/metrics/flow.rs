//! Knows which node waits for which, from compiled workflows. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proto::flyteidl::core::{
    CompiledWorkflow, CompiledWorkflowClosure, Identifier, IfElseBlock, Node, if_else_block, node,
    workflow_node,
};

/// How the nodes of a workflow hang together.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    upstream: HashMap<String, Vec<String>>,
    gates: HashSet<String>,
    sub_workflows: HashMap<String, String>,
}

/// The workflows of a closure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flows {
    by_id: Arc<HashMap<String, Arc<Flow>>>,
    /// The one that nodes are looked up in.
    current: Arc<Flow>,
}

impl Flows {
    pub(crate) fn new(closure: CompiledWorkflowClosure) -> Self {
        let current = Arc::new(closure.primary.map(Flow::new).unwrap_or_default());
        let others = closure.sub_workflows.into_iter().filter_map(|workflow| {
            let id = key(workflow.template.as_ref()?.id.as_ref()?);
            Some((id, Arc::new(Flow::new(workflow))))
        });
        Self { by_id: Arc::new(others.collect()), current }
    }

    /// Nodes that a node waits for, by their ids in the template.
    pub(crate) fn upstream(&self, spec_node_id: &str) -> &[String] {
        self.current.upstream.get(spec_node_id).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn is_gate(&self, spec_node_id: &str) -> bool {
        self.current.gates.contains(spec_node_id)
    }

    /// What the children of a node are looked up in: its sub-workflow, or, as for a branch, the same workflow.
    pub(crate) fn below(&self, spec_node_id: &str) -> Self {
        let sub = self.current.sub_workflows.get(spec_node_id).and_then(|id| self.by_id.get(id));
        Self { by_id: Arc::clone(&self.by_id), current: Arc::clone(sub.unwrap_or(&self.current)) }
    }
}

fn key(id: &Identifier) -> String {
    [&id.project, &id.domain, &id.name, &id.version].map(String::as_str).join("\u{1f}")
}

impl Flow {
    fn new(workflow: CompiledWorkflow) -> Self {
        let edges = workflow.connections.unwrap_or_default().upstream;
        let mut flow = Self {
            upstream: edges.into_iter().map(|(id, upstream)| (id, upstream.ids)).collect(),
            ..Self::default()
        };
        let template = workflow.template.unwrap_or_default();
        template.nodes.iter().chain(template.failure_node.as_ref()).for_each(|node| flow.add(node));
        flow
    }

    fn add(&mut self, node: &Node) {
        match &node.target {
            Some(node::Target::GateNode(_)) => {
                self.gates.insert(node.id.clone());
            }
            Some(node::Target::WorkflowNode(target)) => {
                if let Some(workflow_node::Reference::SubWorkflowRef(id)) = &target.reference {
                    self.sub_workflows.insert(node.id.clone(), key(id));
                }
            }
            Some(node::Target::BranchNode(branch)) => {
                if let Some(block) = &branch.if_else {
                    arms(block).into_iter().for_each(|node| self.add(node));
                }
            }
            Some(node::Target::TaskNode(_) | node::Target::ArrayNode(_)) | None => {}
        }
    }
}

fn arms(block: &IfElseBlock) -> Vec<&Node> {
    let cases = block.case.as_deref().into_iter().chain(&block.other);
    let default = match &block.default {
        Some(if_else_block::Default::ElseNode(node)) => Some(&**node),
        Some(if_else_block::Default::Error(_)) | None => None,
    };
    cases.filter_map(|case| case.then_node.as_deref()).chain(default).collect()
}
