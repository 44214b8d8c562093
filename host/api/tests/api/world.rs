//! Starts a server of its own for each test, and builds what clients register.

use std::collections::BTreeMap;

use api::{Api, Deps, VersionInfo};
use blob::Blob;
use launch::Launcher;
use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use proto::flyteidl::service::{
    admin_service_client::AdminServiceClient, data_proxy_service_client::DataProxyServiceClient,
    signal_service_client::SignalServiceClient,
};
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Code, Status, transport::Channel};

pub(crate) const PROJECT: &str = "flytesnacks";
pub(crate) const DOMAIN: &str = "development";

/// A server and clients of it. It stops when the test's runtime does.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) blob: Blob,
    pub(crate) address: String,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) data_proxy: DataProxyServiceClient<Channel>,
    pub(crate) signals: SignalServiceClient<Channel>,
    pub(crate) channel: Channel,
    _dir: TempDir,
}

pub(crate) async fn world() -> World {
    world_with(api::Config::default(), launch::Config::default()).await
}

pub(crate) async fn world_with(config: api::Config, launch_config: launch::Config) -> World {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let store = Store::open(&store::Config::sqlite(dir.path().join("pinion.db"))).await.unwrap();
    let blob_config = blob::Config {
        public_url: format!("http://{address}"),
        ..blob::Config::local(dir.path().join("objects"))
    };
    let blob = Blob::new(blob_config).unwrap();
    api::seed(&store, &[PROJECT]).await.unwrap();
    let launcher = Launcher::new(launch_config, store.clone(), blob.clone());
    let version = VersionInfo { version: "1.2.3".to_owned(), ..VersionInfo::default() };
    let catalog = catalog::Catalog::new(store.clone(), blob.clone());
    let deps = Deps { store: store.clone(), blob: blob.clone(), launcher, catalog, version };
    let api = Api::new(config, deps);
    let router = api.routes().merge(api.own_routes()).merge(blob.signed_routes());
    tokio::spawn(api::serve(listener, router, std::future::pending()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    World {
        store,
        blob,
        address,
        admin: AdminServiceClient::new(channel.clone()),
        data_proxy: DataProxyServiceClient::new(channel.clone()),
        signals: SignalServiceClient::new(channel.clone()),
        channel,
        _dir: dir,
    }
}

/// The code of a refused call.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}

pub(crate) fn id(resource_type: ResourceType, name: &str, version: &str) -> Identifier {
    Identifier {
        resource_type: resource_type as i32,
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        ..Identifier::default()
    }
}

pub(crate) fn named(name: &str) -> NamedEntityIdentifier {
    NamedEntityIdentifier {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        ..NamedEntityIdentifier::default()
    }
}

pub(crate) fn simple(simple: SimpleType) -> LiteralType {
    LiteralType { r#type: Some(literal_type::Type::Simple(simple as i32)), ..LiteralType::default() }
}

pub(crate) fn variables(names: &[(&str, SimpleType)]) -> VariableMap {
    let variable = |ty| Variable { r#type: Some(simple(ty)), ..Variable::default() };
    VariableMap { variables: names.iter().map(|(name, ty)| ((*name).to_owned(), variable(*ty))).collect() }
}

pub(crate) fn integer(value: i64) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

pub(crate) fn text(value: &str) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::StringValue(value.to_owned())) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

pub(crate) fn literals(values: &[(&str, Literal)]) -> LiteralMap {
    let literals: BTreeMap<_, _> =
        values.iter().map(|(name, literal)| ((*name).to_owned(), literal.clone())).collect();
    LiteralMap { literals }
}

pub(crate) fn task_request(name: &str, version: &str) -> TaskCreateRequest {
    let container =
        Container { image: "img:1".to_owned(), args: vec!["run".to_owned()], ..Container::default() };
    let runtime = RuntimeMetadata { r#type: 1, version: "1.16".to_owned(), flavor: "python".to_owned() };
    let template = TaskTemplate {
        id: Some(id(ResourceType::Task, name, version)),
        r#type: "python-task".to_owned(),
        metadata: Some(TaskMetadata { runtime: Some(runtime), ..TaskMetadata::default() }),
        interface: Some(TypedInterface {
            inputs: Some(variables(&[("a", SimpleType::Integer)])),
            outputs: Some(variables(&[("o0", SimpleType::Integer)])),
        }),
        target: Some(task_template::Target::Container(container)),
        ..TaskTemplate::default()
    };
    TaskCreateRequest {
        id: Some(id(ResourceType::Task, name, version)),
        spec: Some(TaskSpec { template: Some(template), description: None }),
    }
}

pub(crate) fn promise(var: &str, node_id: &str, output: &str) -> Binding {
    let promise = OutputReference { node_id: node_id.to_owned(), var: output.to_owned(), attr_path: vec![] };
    let data = BindingData { value: Some(binding_data::Value::Promise(promise)), union: None };
    Binding { var: var.to_owned(), binding: Some(data) }
}

/// A workflow `wf(a: int, b: str) -> o0: int` of one node that runs task `t`.
pub(crate) fn workflow_request(name: &str, version: &str, task_version: &str) -> WorkflowCreateRequest {
    let reference = task_node::Reference::ReferenceId(id(ResourceType::Task, "t", task_version));
    let node = Node {
        id: "n0".to_owned(),
        metadata: Some(NodeMetadata { name: "t".to_owned(), ..NodeMetadata::default() }),
        inputs: vec![promise("a", "", "a")],
        target: Some(node::Target::TaskNode(TaskNode { reference: Some(reference), overrides: None })),
        ..Node::default()
    };
    let template = WorkflowTemplate {
        id: Some(id(ResourceType::Workflow, name, version)),
        interface: Some(TypedInterface {
            inputs: Some(variables(&[("a", SimpleType::Integer), ("b", SimpleType::String)])),
            outputs: Some(variables(&[("o0", SimpleType::Integer)])),
        }),
        nodes: vec![node],
        outputs: vec![promise("o0", "n0", "o0")],
        ..WorkflowTemplate::default()
    };
    WorkflowCreateRequest {
        id: Some(id(ResourceType::Workflow, name, version)),
        spec: Some(WorkflowSpec { template: Some(template), sub_workflows: vec![], description: None }),
    }
}

pub(crate) fn plan_request(name: &str, version: &str) -> LaunchPlanCreateRequest {
    LaunchPlanCreateRequest {
        id: Some(id(ResourceType::LaunchPlan, name, version)),
        spec: Some(LaunchPlanSpec {
            workflow_id: Some(id(ResourceType::Workflow, "wf", version)),
            ..LaunchPlanSpec::default()
        }),
    }
}

pub(crate) fn execution_request(
    name: &str,
    target: Identifier,
    inputs: LiteralMap,
) -> ExecutionCreateRequest {
    let metadata = ExecutionMetadata { principal: "placeholder".to_owned(), ..ExecutionMetadata::default() };
    ExecutionCreateRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        spec: Some(ExecutionSpec {
            launch_plan: Some(target),
            metadata: Some(metadata),
            ..ExecutionSpec::default()
        }),
        inputs: Some(inputs),
        ..ExecutionCreateRequest::default()
    }
}

pub(crate) fn execution_id(name: &str) -> WorkflowExecutionIdentifier {
    WorkflowExecutionIdentifier {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        ..WorkflowExecutionIdentifier::default()
    }
}

impl World {
    /// Registers task `t`, workflow `wf` and launch plan `wf` at a version.
    pub(crate) async fn register(&self, version: &str) {
        let mut admin = self.admin.clone();
        admin.create_task(task_request("t", version)).await.unwrap();
        admin.create_workflow(workflow_request("wf", version, version)).await.unwrap();
        admin.create_launch_plan(plan_request("wf", version)).await.unwrap();
    }

    /// Starts launch plan `wf` and returns the execution's name.
    pub(crate) async fn start(&self, name: &str) -> String {
        let target = id(ResourceType::LaunchPlan, "wf", "v1");
        let inputs = literals(&[("a", integer(1)), ("b", text("x"))]);
        let request = execution_request(name, target, inputs);
        let reply = self.admin.clone().create_execution(request).await.unwrap();
        reply.into_inner().id.unwrap().name
    }

    pub(crate) async fn execution(&self, name: &str) -> Execution {
        let request = WorkflowExecutionGetRequest { id: Some(execution_id(name)) };
        self.admin.clone().get_execution(request).await.unwrap().into_inner()
    }
}
