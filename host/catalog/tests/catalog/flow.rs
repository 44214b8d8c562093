//! Lays out executions in the store, as the engine leaves them.

use std::collections::BTreeMap;

use model::{EntityId, EntityKind, ExecutionId, Timestamp, name};
use prost::Message;
use proto::flyteidl::admin;
use proto::flyteidl::admin::node_execution_closure::TargetMetadata;
use proto::flyteidl::core::*;
use store::{Batch, EntityRow, ExecutionKey, ExecutionRow, Lease, NodeExecutionRow};

use crate::catalog::world::{NOW, World};

pub(crate) const PROJECT: &str = "project";
pub(crate) const DOMAIN: &str = "domain";

pub(crate) fn execution_id(name: &str) -> ExecutionId {
    ExecutionId::new(PROJECT, DOMAIN, name)
}

fn entity_id(kind: EntityKind, name: &str) -> EntityId {
    EntityId {
        kind,
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        version: "v1".to_owned(),
    }
}

fn promise(of: &str, var: &str) -> BindingData {
    let promise = OutputReference { node_id: of.to_owned(), var: var.to_owned(), attr_path: Vec::new() };
    BindingData { value: Some(binding_data::Value::Promise(promise)), union: None }
}

/// `var = node.output`; an empty node is the workflow, an empty output a constant.
pub(crate) fn bind(var: &str, of: &str, output: &str) -> Binding {
    let data = if output.is_empty() {
        BindingData { value: Some(binding_data::Value::Scalar(Scalar::default())), union: None }
    } else {
        promise(of, output)
    };
    Binding { var: var.to_owned(), binding: Some(data) }
}

pub(crate) fn node(id: &str, target: node::Target, inputs: Vec<Binding>) -> Node {
    Node { id: id.to_owned(), target: Some(target), inputs, ..Node::default() }
}

pub(crate) fn task(name: &str) -> node::Target {
    let id = entity_id(EntityKind::Task, name).to_proto();
    node::Target::TaskNode(TaskNode {
        reference: Some(task_node::Reference::ReferenceId(id)),
        overrides: None,
    })
}

pub(crate) fn sub_workflow(name: &str) -> node::Target {
    let id = entity_id(EntityKind::Workflow, name).to_proto();
    node::Target::WorkflowNode(WorkflowNode { reference: Some(workflow_node::Reference::SubWorkflowRef(id)) })
}

pub(crate) fn launch_plan(name: &str) -> node::Target {
    let id = entity_id(EntityKind::LaunchPlan, name).to_proto();
    node::Target::WorkflowNode(WorkflowNode { reference: Some(workflow_node::Reference::LaunchplanRef(id)) })
}

pub(crate) fn branch(first: Node, otherwise: Node) -> node::Target {
    let case = IfBlock { condition: None, then_node: Some(Box::new(first)) };
    let block = IfElseBlock {
        case: Some(Box::new(case)),
        other: Vec::new(),
        default: Some(if_else_block::Default::ElseNode(Box::new(otherwise))),
    };
    node::Target::BranchNode(Box::new(BranchNode { if_else: Some(Box::new(block)) }))
}

pub(crate) fn template(name: &str, nodes: Vec<Node>, outputs: Vec<Binding>) -> WorkflowTemplate {
    WorkflowTemplate {
        id: Some(entity_id(EntityKind::Workflow, name).to_proto()),
        nodes,
        outputs,
        ..WorkflowTemplate::default()
    }
}

/// What a node's row says beyond its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    pub(crate) spec: &'static str,
    pub(crate) parent: String,
    pub(crate) inputs: LiteralMap,
    pub(crate) outputs: LiteralMap,
    pub(crate) extra: Option<TargetMetadata>,
    pub(crate) dynamic_uri: String,
    pub(crate) phase: Option<node_execution::Phase>,
    pub(crate) began: i64,
}

impl World {
    pub(crate) async fn register_workflow(&self, primary: WorkflowTemplate, subs: Vec<WorkflowTemplate>) {
        let compiled = |template| CompiledWorkflow { template: Some(template), connections: None };
        let name = primary.id.clone().unwrap().name;
        let closure = admin::WorkflowClosure {
            compiled_workflow: Some(CompiledWorkflowClosure {
                primary: Some(compiled(primary)),
                sub_workflows: subs.into_iter().map(compiled).collect(),
                ..CompiledWorkflowClosure::default()
            }),
            created_at: None,
        };
        self.register(EntityKind::Workflow, &name, closure.encode_to_vec()).await;
    }

    pub(crate) async fn register_task(&self, template: &TaskTemplate) {
        let closure = admin::TaskClosure {
            compiled_task: Some(CompiledTask { template: Some(template.clone()) }),
            created_at: None,
        };
        let name = &template.id.as_ref().unwrap().name;
        self.register(EntityKind::Task, name, closure.encode_to_vec()).await;
    }

    async fn register(&self, kind: EntityKind, name: &str, closure: Vec<u8>) {
        let row = EntityRow {
            id: entity_id(kind, name),
            digest: vec![1; 32],
            task_type: String::new(),
            short_description: String::new(),
            closure,
            interface: Vec::new(),
            created_at: NOW,
        };
        self.store.entity_insert(&row, None).await.unwrap();
    }

    /// An execution of a workflow, started by a node of another or by a client.
    pub(crate) async fn run(
        &self,
        name: &str,
        workflow: &str,
        parent: Option<(ExecutionKey, &str)>,
        nodes: &[(&str, Ran)],
    ) -> ExecutionKey {
        let row = ExecutionRow {
            key: ExecutionKey(0),
            id: execution_id(name),
            launch_plan: None,
            task: None,
            workflow: entity_id(EntityKind::Workflow, workflow),
            phase: workflow_execution::Phase::Running as i32,
            mode: 0,
            principal: String::new(),
            cluster: String::new(),
            nesting: 0,
            source: None,
            parent_node: parent.map(|(key, node)| (key, node.to_owned())),
            spec: Vec::new(),
            inputs_uri: String::new(),
            user_inputs_uri: String::new(),
            outputs_uri: String::new(),
            error: Vec::new(),
            error_kind: String::new(),
            error_code: String::new(),
            abort_cause: String::new(),
            aborted_by: None,
            state: 0,
            created_at: NOW,
            updated_at: NOW,
            started_at: None,
            duration: None,
            live: true,
            abort_forced: false,
            settings: Vec::new(),
        };
        let key = self.store.execution_insert(&row).await.unwrap();
        let lease = self.lease().await;
        let mut batch = Batch::default();
        for (id, ran) in nodes {
            batch.nodes.push(self.node_row(key, name, id, ran).await);
        }
        self.store.commit(&lease, &batch).await.unwrap();
        key
    }

    async fn lease(&self) -> Lease {
        let ttl = std::time::Duration::from_secs(60);
        let lease = self.store.lease_acquire("host", ttl, NOW).await.unwrap();
        self.store.executions_claim(&lease, 1_000, NOW).await.unwrap();
        lease
    }

    async fn node_row(&self, key: ExecutionKey, execution: &str, id: &str, ran: &Ran) -> NodeExecutionRow {
        let at = NOW.plus(ran.began);
        let extra = admin::NodeExecutionClosure {
            target_metadata: ran.extra.clone(),
            dynamic_job_spec_uri: ran.dynamic_uri.clone(),
            ..admin::NodeExecutionClosure::default()
        };
        NodeExecutionRow {
            execution: key,
            node_id: id.to_owned(),
            spec_node_id: if ran.spec.is_empty() { id.to_owned() } else { ran.spec.to_owned() },
            node_name: String::new(),
            parent_id: ran.parent.clone(),
            retry_group: "0".to_owned(),
            phase: ran.phase.unwrap_or(node_execution::Phase::Succeeded) as i32,
            engine_phase: 0,
            attempt: 0,
            system_failures: 0,
            input_uri: self.write(&format!("{execution}/{id}/inputs.pb"), &ran.inputs).await,
            output_uri: self.write(&format!("{execution}/{id}/outputs.pb"), &ran.outputs).await,
            deck_uri: String::new(),
            error: Vec::new(),
            extra: extra.encode_to_vec(),
            detail: 0,
            flags: if ran.dynamic_uri.is_empty() { 0 } else { store::NodeFlags::IS_DYNAMIC },
            created_at: at,
            updated_at: at,
            queued_at: Some(at),
            started_at: Some(at),
            attempt_started_at: None,
            duration: Some(1),
        }
    }

    /// Writes a message as an object and returns its URI.
    pub(crate) async fn write(&self, key: &str, message: &impl Message) -> String {
        let reference = self.blob.reference(key).unwrap();
        self.blob.put(&reference, message.encode_to_vec().into()).await.unwrap();
        reference.as_str().to_owned()
    }
}

/// The unique id of a node below another.
pub(crate) fn below(parent: &str, node: &str) -> String {
    name::child_node_id(parent, 0, node)
}

/// Metadata of a node that took its outputs from the cache.
pub(crate) fn hit(metadata: CatalogMetadata) -> TargetMetadata {
    TargetMetadata::TaskNodeMetadata(admin::TaskNodeMetadata {
        cache_status: CatalogCacheStatus::CacheHit.into(),
        catalog_key: Some(metadata),
        ..admin::TaskNodeMetadata::default()
    })
}

/// Metadata of a node that started an execution.
pub(crate) fn started(name: &str) -> TargetMetadata {
    TargetMetadata::WorkflowNodeMetadata(admin::WorkflowNodeMetadata {
        execution_id: Some(execution_id(name).to_proto()),
    })
}

/// A time that nothing here reaches.
pub(crate) const LATER: Timestamp = Timestamp(NOW.0 + 3_600_000_000);

/// Just outputs.
pub(crate) fn literals<const N: usize>(entries: [(&str, Literal); N]) -> LiteralMap {
    let literals: BTreeMap<_, _> =
        entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    LiteralMap { literals }
}
