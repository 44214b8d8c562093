//! Adds nodes of every kind to a workflow under construction.

use proto::flyteidl::core::{
    self, ApproveCondition, ArrayNode, Binding, BindingData, BindingDataCollection, BooleanExpression,
    BranchNode, ComparisonExpression, GateNode, IfBlock, IfElseBlock, Node, NodeMetadata, Operand, Primitive,
    PromiseAttribute, Scalar, SignalCondition, SleepCondition, WorkflowNode, array_node, binding_data,
    boolean_expression, comparison_expression, gate_node, if_else_block, node, operand, primitive,
    promise_attribute, scalar, workflow_node,
};

use crate::flow::{Flow, integer_type, list_type, promise};

/// How an array node is to behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapping {
    pub parallelism: Option<u32>,
    pub min_successes: Option<u32>,
    /// The task runs in a container: its elements share the inputs of the array, and its interface has lists.
    pub shares_inputs: bool,
}

fn bare(id: &str, inputs: Vec<Binding>, target: node::Target) -> Node {
    Node {
        id: id.into(),
        metadata: Some(NodeMetadata { name: format!("name of {id}"), ..NodeMetadata::default() }),
        inputs,
        target: Some(target),
        ..Node::default()
    }
}

fn from(upstream: &str) -> BindingData {
    if upstream.is_empty() { promise("start-node", "n") } else { promise(upstream, "o0") }
}

fn binding(var: &str, data: BindingData) -> Binding {
    Binding { var: var.into(), binding: Some(data) }
}

fn number(value: i64) -> BindingData {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    BindingData { value: Some(binding_data::Value::Scalar(scalar)), ..BindingData::default() }
}

impl Flow {
    /// Adds a node that runs another workflow.
    pub fn sub(mut self, id: &str, inner: &Flow, upstream: &str) -> Self {
        let name = format!("sub-{id}");
        let reference = workflow_node::Reference::SubWorkflowRef(Self::id(&name).to_proto());
        self.subs.push((name, inner.clone()));
        let target = node::Target::WorkflowNode(WorkflowNode { reference: Some(reference) });
        self.push(bare(id, vec![binding("n", from(upstream))], target))
    }

    /// Adds a node that starts a launch plan.
    pub fn launch_plan(self, id: &str, name: &str, upstream: &str) -> Self {
        let plan = Self::plan_node(id, name, vec![binding("n", from(upstream))]);
        self.push(plan)
    }

    fn plan_node(id: &str, name: &str, inputs: Vec<Binding>) -> Node {
        let mut plan = Self::id(name).to_proto();
        plan.resource_type = core::ResourceType::LaunchPlan.into();
        let reference = workflow_node::Reference::LaunchplanRef(plan);
        bare(id, inputs, node::Target::WorkflowNode(WorkflowNode { reference: Some(reference) }))
    }

    /// Adds a branch: the first task where its input is over `limit`, else the second, or an error without one.
    pub fn branch(
        mut self,
        id: &str,
        limit: i64,
        (over, under): (&str, Option<&str>),
        upstream: &str,
    ) -> Self {
        let arm = |flow: &mut Self, name: &str, task_type: &str| {
            let upstream: Vec<&str> = if upstream.is_empty() { vec![] } else { vec![upstream] };
            flow.task_node(&format!("{id}-{name}"), task_type, &upstream)
        };
        let then_node = arm(&mut self, "over", over);
        let default = match under {
            Some(task_type) => if_else_block::Default::ElseNode(Box::new(arm(&mut self, "under", task_type))),
            None => if_else_block::Default::Error(core::Error {
                failed_node_id: id.into(),
                message: "too small".into(),
            }),
        };
        let limit = Primitive { value: Some(primitive::Value::Integer(limit)) };
        let limit = Scalar { value: Some(scalar::Value::Primitive(limit)) };
        let comparison = ComparisonExpression {
            operator: comparison_expression::Operator::Gt.into(),
            left_value: Some(Operand { val: Some(operand::Val::Var("x".into())) }),
            right_value: Some(Operand { val: Some(operand::Val::Scalar(limit)) }),
        };
        let condition = BooleanExpression { expr: Some(boolean_expression::Expr::Comparison(comparison)) };
        let case = IfBlock { condition: Some(condition), then_node: Some(Box::new(then_node)) };
        let block = IfElseBlock { case: Some(Box::new(case)), other: Vec::new(), default: Some(default) };
        let branch = BranchNode { if_else: Some(Box::new(block)) };
        self.push(bare(id, vec![binding("x", from(upstream))], node::Target::BranchNode(Box::new(branch))))
    }

    /// Adds an array over these values.
    pub fn array(mut self, id: &str, task_type: &str, values: &[i64], mapping: Mapping) -> Self {
        let mut inner = self.task_node(&format!("{id}-item"), task_type, &[]);
        inner.inputs.clear();
        if mapping.shares_inputs {
            let task = self.tasks.last_mut().unwrap();
            task.target = Some(core::task_template::Target::Container(core::Container::default()));
            let interface = task.interface.as_mut().unwrap();
            for map in [interface.inputs.as_mut(), interface.outputs.as_mut()] {
                for variable in map.unwrap().variables.values_mut() {
                    variable.r#type = Some(list_type(integer_type()));
                }
            }
        }
        self.array_of(id, inner, "x0", values, mapping)
    }

    /// Adds an array over the output of another one.
    pub fn array_from(mut self, id: &str, task_type: &str, upstream: &str) -> Self {
        let mut inner = self.task_node(&format!("{id}-item"), task_type, &[]);
        inner.inputs.clear();
        self = self.array_of(id, inner, "x0", &[], Mapping::default());
        self.nodes.last_mut().unwrap().inputs[0].binding = Some(from(upstream));
        self
    }

    /// Gives the last node one item of a list.
    pub fn item(mut self, upstream: &str, index: i32) -> Self {
        let step = PromiseAttribute { value: Some(promise_attribute::Value::IntValue(index)) };
        let mut data = from(upstream);
        if let Some(binding_data::Value::Promise(promise)) = data.value.as_mut() {
            promise.attr_path = vec![step];
        }
        self.nodes.last_mut().unwrap().inputs[0].binding = Some(data);
        self
    }

    /// Adds an array of launch plans over these values.
    pub fn array_of_plans(self, id: &str, name: &str, values: &[i64]) -> Self {
        let inner = Self::plan_node(&format!("{id}-item"), name, Vec::new());
        self.array_of(id, inner, "n", values, Mapping::default())
    }

    /// Adds an array of a workflow over these values.
    pub fn array_of_flow(mut self, id: &str, inner: &Flow, values: &[i64]) -> Self {
        let name = format!("sub-{id}");
        let reference = workflow_node::Reference::SubWorkflowRef(Self::id(&name).to_proto());
        self.subs.push((name, inner.clone()));
        let target = node::Target::WorkflowNode(WorkflowNode { reference: Some(reference) });
        self.array_of(id, bare(&format!("{id}-item"), Vec::new(), target), "n", values, Mapping::default())
    }

    fn array_of(self, id: &str, inner: Node, var: &str, values: &[i64], mapping: Mapping) -> Self {
        let bindings = values.iter().map(|value| number(*value)).collect();
        let list = binding_data::Value::Collection(BindingDataCollection { bindings });
        let list = BindingData { value: Some(list), ..BindingData::default() };
        let array = ArrayNode {
            node: Some(Box::new(inner)),
            parallelism_option: mapping.parallelism.map(array_node::ParallelismOption::Parallelism),
            success_criteria: mapping.min_successes.map(array_node::SuccessCriteria::MinSuccesses),
            is_original_sub_node_interface: Some(!mapping.shares_inputs),
            ..ArrayNode::default()
        };
        let node = bare(id, vec![binding(var, list)], node::Target::ArrayNode(Box::new(array)));
        let mut flow = self.push(node);
        flow.output_type = Some(list_type(integer_type()));
        flow
    }

    /// Adds a gate that waits for a number.
    pub fn signal(mut self, id: &str, signal_id: &str, upstream: &str) -> Self {
        let signal = SignalCondition {
            signal_id: signal_id.into(),
            r#type: Some(integer_type()),
            output_variable_name: "o0".into(),
        };
        self.add_gate(id, gate_node::Condition::Signal(signal), Vec::new(), upstream);
        self
    }

    /// Adds a gate that wants its input approved.
    pub fn approve(mut self, id: &str, signal_id: &str, upstream: &str) -> Self {
        let approve = ApproveCondition { signal_id: signal_id.into() };
        let inputs = vec![binding("o0", from(upstream))];
        self.add_gate(id, gate_node::Condition::Approve(approve), inputs, upstream);
        self
    }

    /// Adds a gate that waits for a while; it gives nothing.
    pub fn sleep(mut self, id: &str, seconds: i64, upstream: &str) -> Self {
        let duration = Some(prost_types::Duration { seconds, nanos: 0 });
        let output = self.output.clone();
        self.add_gate(id, gate_node::Condition::Sleep(SleepCondition { duration }), Vec::new(), upstream);
        self.output = output;
        self
    }

    fn add_gate(&mut self, id: &str, condition: gate_node::Condition, inputs: Vec<Binding>, upstream: &str) {
        let mut node = bare(id, inputs, node::Target::GateNode(GateNode { condition: Some(condition) }));
        if !upstream.is_empty() {
            node.upstream_node_ids = vec![upstream.to_owned()];
        }
        *self = std::mem::take(self).push(node);
    }

    /// Has the outputs of the last task cached.
    pub fn cached(self, version: &str) -> Self {
        self.task(|task| {
            let metadata = task.metadata.as_mut().unwrap();
            metadata.discoverable = true;
            metadata.discovery_version = version.into();
        })
    }

    /// Has equal calls of the last task wait for each other.
    pub fn serialized(self) -> Self {
        self.cached("1").task(|task| task.metadata.as_mut().unwrap().cache_serializable = true)
    }

    /// Says that the last node also waits for these.
    pub fn after(mut self, upstream: &[&str]) -> Self {
        let node = self.nodes.last_mut().unwrap();
        node.upstream_node_ids.extend(upstream.iter().map(|id| (*id).to_owned()));
        self
    }

    /// Says what to run when the workflow fails.
    pub fn on_failure(mut self, id: &str, task_type: &str) -> Self {
        let node = self.task_node(id, task_type, &[]);
        self.failure_node = Some(node);
        self
    }

    /// A failure lets the nodes run on that do not depend on it.
    pub fn go_on(mut self) -> Self {
        self.go_on = true;
        self
    }
}
