//! Messages with fields that nobody knows, at every depth: they are stored and come back.

use http::uri::PathAndQuery;
use model::{
    EntityId, EntityKind,
    raw::{self, Fields, Type, Value},
};
use prost::Message;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use tonic::{Code, Status, codec::CompressionEncoding};

use super::{codec::RawCodec, world::*};

const ADMIN: &str = "flyteidl.admin";

/// The same message with one more field in it and in every message inside.
fn salted(ty: &MessageDescriptor, message: &[u8], salt: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields = Fields(message);
    let mut rest = message;
    while let Some(field) = fields.next() {
        let (number, value) = field.unwrap();
        let (whole, tail) = rest.split_at(rest.len() - fields.0.len());
        rest = tail;
        match (ty.get_field(number).map(|field| field.kind()), value) {
            (Some(Kind::Message(inner)), Value::Bytes(body)) => {
                raw::put(number, &salted(&inner, body, salt), &mut out);
            }
            _ => out.extend_from_slice(whole),
        }
    }
    raw::put(901, salt, &mut out);
    out
}

fn salt(name: &str, message: &impl Message, salt: &str) -> Vec<u8> {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    let ty = pool.get_message_by_name(&format!("{ADMIN}.{name}")).unwrap();
    salted(&ty, &message.encode_to_vec(), salt.as_bytes())
}

fn n_unknown(name: &str, message: &[u8]) -> usize {
    Type::named(name).unknown(message).len()
}

/// What stands at the end of a way of field numbers.
fn at(message: &[u8], way: &[u32]) -> Vec<u8> {
    way.iter().fold(message.to_vec(), |outer, number| raw::field(&outer, *number).into_owned())
}

impl World {
    async fn send(&self, method: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Status> {
        self.send_with(method, bytes, None).await
    }

    async fn send_with(
        &self,
        method: &str,
        bytes: Vec<u8>,
        packing: Option<CompressionEncoding>,
    ) -> Result<Vec<u8>, Status> {
        self.call(format!("/flyteidl.service.AdminService/{method}"), bytes, packing).await
    }

    async fn call(
        &self,
        path: String,
        bytes: Vec<u8>,
        packing: Option<CompressionEncoding>,
    ) -> Result<Vec<u8>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        if let Some(packing) = packing {
            grpc = grpc.send_compressed(packing);
        }
        grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        let reply = grpc.unary(tonic::Request::new(bytes), path, RawCodec).await?;
        Ok(reply.into_inner())
    }

    async fn get(&self, method: &str, kind: ResourceType, name: &str) -> Vec<u8> {
        let request = ObjectGetRequest { id: Some(id(kind, name, "v1")) };
        self.send(method, request.encode_to_vec()).await.unwrap()
    }

    /// Registers task, workflow and launch plan with salt in every message.
    async fn register_salted(&self) -> [Vec<u8>; 3] {
        let mut plan = plan_request("wf", "v1");
        let spec = plan.spec.as_mut().unwrap();
        spec.fixed_inputs = Some(literals(&[("a", integer(7))]));
        let parameter = Parameter {
            var: Some(Variable { r#type: Some(simple(SimpleType::String)), ..Variable::default() }),
            behavior: Some(parameter::Behavior::Default(text("b"))),
        };
        spec.default_inputs =
            Some(ParameterMap { parameters: [("b".to_owned(), parameter)].into_iter().collect() });
        let requests = [
            ("CreateTask", salt("TaskCreateRequest", &task_request("t", "v1"), "x")),
            ("CreateWorkflow", salt("WorkflowCreateRequest", &workflow_request("wf", "v1", "v1"), "x")),
            ("CreateLaunchPlan", salt("LaunchPlanCreateRequest", &plan, "x")),
        ];
        for (method, bytes) in &requests {
            self.send(method, bytes.clone()).await.unwrap_or_else(|status| panic!("{method}: {status}"));
        }
        requests.map(|(_, bytes)| bytes)
    }
}

#[tokio::test]
async fn a_template_comes_back_byte_for_byte() {
    let world = world().await;
    let [request, ..] = world.register_salted().await;
    let sent = at(&request, &[2, 1]);
    let task = world.get("GetTask", ResourceType::Task, "t").await;
    assert_eq!(at(&task, &[2, 1, 1]), sent);
    let read = Task::decode(task.as_slice()).unwrap();
    assert_eq!(read.id, Some(id(ResourceType::Task, "t", "v1")));
    assert!(read.closure.unwrap().created_at.is_some());
    let list = ResourceListRequest { id: Some(named("t")), limit: 1, ..ResourceListRequest::default() };
    let page = world.send("ListTasks", list.encode_to_vec()).await.unwrap();
    assert_eq!(at(&page, &[1, 2, 1, 1]), sent);
    assert_eq!(TaskList::decode(page.as_slice()).unwrap().token, "1");
}

#[tokio::test]
async fn an_id_that_differs_is_corrected_and_nothing_else() {
    let world = world().await;
    let mut request = task_request("t", "v1");
    request.spec.as_mut().unwrap().template.as_mut().unwrap().id = None;
    let bytes = salt("TaskCreateRequest", &request, "x");
    world.send("CreateTask", bytes.clone()).await.unwrap();
    let task = world.get("GetTask", ResourceType::Task, "t").await;
    let (found, sent) = (at(&task, &[2, 1, 1]), at(&bytes, &[2, 1]));
    let read = TaskTemplate::decode(found.as_slice()).unwrap();
    assert_eq!(read.id, Some(id(ResourceType::Task, "t", "v1")));
    let ty = "flyteidl.core.TaskTemplate";
    assert_eq!(n_unknown(ty, &found), n_unknown(ty, &sent));
    assert_eq!(at(&found, &[4]), at(&sent, &[4]), "the interface is as it arrived");
}

#[tokio::test]
async fn unknown_fields_tell_registrations_apart() {
    let world = world().await;
    let [task, workflow, plan] = world.register_salted().await;
    for (method, bytes, type_name) in [
        ("CreateTask", task, "TaskCreateRequest"),
        ("CreateWorkflow", workflow, "WorkflowCreateRequest"),
        ("CreateLaunchPlan", plan, "LaunchPlanCreateRequest"),
    ] {
        assert_eq!(code(world.send(method, bytes.clone()).await), Code::AlreadyExists, "{method}");
        let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
        let ty = pool.get_message_by_name(&format!("{ADMIN}.{type_name}")).unwrap();
        let more = salted(&ty, &bytes, b"y");
        let status = world.send(method, more).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{method}");
        assert!(status.message().contains("/901"), "{status}");
        assert!(status.message().contains("this server does not know"), "{status}");
    }
    let plain = task_request("t", "v1").encode_to_vec();
    assert_eq!(code(world.send("CreateTask", plain).await), Code::InvalidArgument);
}

#[tokio::test]
async fn what_a_spec_has_beside_its_template_is_kept_and_counts() {
    let world = world().await;
    let with = |request: Vec<u8>, salt: &[u8]| {
        let mut spec = at(&request, &[2]);
        raw::put(901, salt, &mut spec);
        let mut whole = Vec::new();
        raw::put(1, &at(&request, &[1]), &mut whole);
        raw::put(2, &spec, &mut whole);
        whole
    };
    for (method, plain, kind, name) in [
        ("CreateTask", task_request("t", "v1").encode_to_vec(), EntityKind::Task, "t"),
        ("CreateWorkflow", workflow_request("wf", "v1", "v1").encode_to_vec(), EntityKind::Workflow, "wf"),
    ] {
        world.send(method, with(plain.clone(), b"x")).await.unwrap();
        assert_eq!(
            code(world.send(method, with(plain.clone(), b"x")).await),
            Code::AlreadyExists,
            "{method}"
        );
        for other in [with(plain.clone(), b"y"), plain] {
            let status = world.send(method, other).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(status.message().contains("/901"), "{status}");
        }
        let resource = if kind == EntityKind::Task { ResourceType::Task } else { ResourceType::Workflow };
        let id = EntityId::from_proto(kind, &id(resource, name, "v1")).unwrap();
        let mut want = Vec::new();
        raw::put(901, b"x", &mut want);
        assert_eq!(world.store.entity_spec_rest(&id).await.unwrap(), want);
    }
}

#[tokio::test]
async fn a_compiled_workflow_keeps_what_arrived() {
    let world = world().await;
    let [task, request, _] = world.register_salted().await;
    let workflow = world.get("GetWorkflow", ResourceType::Workflow, "wf").await;
    let ty = "flyteidl.core.WorkflowTemplate";
    let (found, sent) = (at(&workflow, &[2, 1, 1, 1]), at(&request, &[2, 1]));
    assert_eq!(n_unknown(ty, &found), n_unknown(ty, &sent));
    assert_eq!(at(&found, &[3]), at(&sent, &[3]), "the interface is as it arrived");
    assert_eq!(at(&workflow, &[2, 1, 3, 1]), at(&task, &[2, 1]), "the task's template is as it arrived");
    let read = Workflow::decode(workflow.as_slice()).unwrap();
    let compiled = read.closure.unwrap().compiled_workflow.unwrap();
    assert_eq!(compiled.primary.unwrap().template.unwrap().nodes.len(), 3);
    let list = ResourceListRequest { id: Some(named("wf")), limit: 10, ..ResourceListRequest::default() };
    let page = world.send("ListWorkflows", list.encode_to_vec()).await.unwrap();
    assert_eq!(at(&page, &[1, 2, 1, 1, 1, 3]), at(&sent, &[3]));
}

#[tokio::test]
async fn a_launch_plan_keeps_what_arrived() {
    let world = world().await;
    let [_, workflow, request] = world.register_salted().await;
    let plan = world.get("GetLaunchPlan", ResourceType::LaunchPlan, "wf").await;
    let (found, sent) = (at(&plan, &[2]), at(&request, &[2]));
    assert_eq!(found, sent, "the given defaults are all there is to complete");
    assert_eq!(at(&plan, &[3, 2]), at(&sent, &[3]), "what is expected is what is defaulted");
    assert_eq!(at(&plan, &[3, 3]), at(&workflow, &[2, 1, 3, 2]), "outputs are those of the workflow");
}

#[tokio::test]
async fn an_execution_keeps_what_arrived() {
    let world = world().await;
    let [_, _, plan] = world.register_salted().await;
    let target = id(ResourceType::LaunchPlan, "wf", "v1");
    let bytes =
        salt("ExecutionCreateRequest", &execution_request("e1", target, literals(&[("b", text("x"))])), "x");
    world.send("CreateExecution", bytes.clone()).await.unwrap();
    let get = WorkflowExecutionGetRequest { id: Some(execution_id("e1")) };
    let found = world.send("GetExecution", get.encode_to_vec()).await.unwrap();
    let ty = "flyteidl.admin.ExecutionSpec";
    assert_eq!(n_unknown(ty, &at(&found, &[2])), n_unknown(ty, &at(&bytes, &[4])));
    let read = Execution::decode(found.as_slice()).unwrap();
    assert!(read.spec.unwrap().metadata.unwrap().system_metadata.is_some());
    let place = NamedEntityIdentifier { name: String::new(), ..named("") };
    let list = ResourceListRequest { id: Some(place), limit: 10, ..ResourceListRequest::default() };
    let page = world.send("ListExecutions", list.encode_to_vec()).await.unwrap();
    assert_eq!(at(&page, &[1, 2]), at(&found, &[2]));

    let data = WorkflowExecutionGetDataRequest { id: Some(execution_id("e1")) };
    let data = world.send("GetExecutionData", data.encode_to_vec()).await.unwrap();
    let inputs = at(&data, &[3]);
    let literal = |map: &[u8], name: &str| raw::entry(map, 1, name).unwrap().into_owned();
    assert_eq!(literal(&inputs, "b"), literal(&at(&bytes, &[5]), "b"), "given");
    assert_eq!(literal(&inputs, "a"), literal(&at(&plan, &[2, 4]), "a"), "fixed by the plan");

    let again = ExecutionRelaunchRequest {
        id: Some(execution_id("e1")),
        name: "e2".to_owned(),
        ..ExecutionRelaunchRequest::default()
    };
    world.send("RelaunchExecution", again.encode_to_vec()).await.unwrap();
    let get = WorkflowExecutionGetRequest { id: Some(execution_id("e2")) };
    let relaunched = world.send("GetExecution", get.encode_to_vec()).await.unwrap();
    assert_eq!(n_unknown(ty, &at(&relaunched, &[2])), n_unknown(ty, &at(&found, &[2])));
    let data = WorkflowExecutionGetDataRequest { id: Some(execution_id("e2")) };
    let data = world.send("GetExecutionData", data.encode_to_vec()).await.unwrap();
    assert_eq!(literal(&at(&data, &[3]), "b"), literal(&inputs, "b"));
}

#[tokio::test]
async fn defaults_of_a_plan_are_as_they_arrived() {
    let world = world().await;
    let [_, _, plan] = world.register_salted().await;
    let target = id(ResourceType::LaunchPlan, "wf", "v1");
    let request = execution_request("e1", target, literals(&[]));
    world.send("CreateExecution", request.encode_to_vec()).await.unwrap();
    let data = WorkflowExecutionGetDataRequest { id: Some(execution_id("e1")) };
    let data = world.send("GetExecutionData", data.encode_to_vec()).await.unwrap();
    let found = raw::entry(&at(&data, &[3]), 1, "b").unwrap().into_owned();
    let parameter = raw::entry(&at(&plan, &[2, 3]), 1, "b").unwrap().into_owned();
    assert_eq!(found, at(&parameter, &[2]));
}

#[tokio::test]
async fn a_task_started_by_itself_keeps_its_template() {
    let world = world().await;
    let [task, ..] = world.register_salted().await;
    let target = id(ResourceType::Task, "t", "v1");
    let request = execution_request("e1", target, literals(&[("a", integer(1))]));
    world.send("CreateExecution", request.encode_to_vec()).await.unwrap();
    let workflow = world.get("GetWorkflow", ResourceType::Workflow, ".flytegen.t").await;
    assert_eq!(at(&workflow, &[2, 1, 3, 1]), at(&task, &[2, 1]));
}

#[tokio::test]
async fn a_description_keeps_what_arrived() {
    let world = world().await;
    let mut request = task_request("t", "v1");
    request.spec.as_mut().unwrap().description = Some(DescriptionEntity {
        short_description: "short".to_owned(),
        tags: vec!["a".to_owned()],
        ..DescriptionEntity::default()
    });
    let bytes = salt("TaskCreateRequest", &request, "x");
    world.send("CreateTask", bytes).await.unwrap();
    let stored = model::EntityId::from_proto(model::EntityKind::Task, &id(ResourceType::Task, "t", "v1"));
    let stored = world.store.entity_description_get(&stored.unwrap()).await.unwrap().unwrap();
    assert_eq!(n_unknown("flyteidl.admin.DescriptionEntity", &stored), 1);
}

#[tokio::test]
async fn a_signal_keeps_its_value() {
    let world = world().await;
    world.register("v1").await;
    world.start("e1").await;
    let signal = SignalIdentifier { signal_id: "s".to_owned(), execution_id: Some(execution_id("e1")) };
    let make =
        SignalGetOrCreateRequest { id: Some(signal.clone()), r#type: Some(simple(SimpleType::Integer)) };
    world.signals.clone().get_or_create_signal(make).await.unwrap();
    let set = SignalSetRequest { id: Some(signal), value: Some(integer(5)) };
    let bytes = salt("SignalSetRequest", &set, "x");
    let service = "/flyteidl.service.SignalService";
    world.call(format!("{service}/SetSignal"), bytes.clone(), None).await.unwrap();
    let list = SignalListRequest {
        workflow_execution_id: Some(execution_id("e1")),
        limit: 10,
        ..SignalListRequest::default()
    };
    let page = world.call(format!("{service}/ListSignals"), list.encode_to_vec(), None).await.unwrap();
    assert_eq!(at(&page, &[1, 3]), at(&bytes, &[2]));
    assert_eq!(SignalList::decode(page.as_slice()).unwrap().signals[0].value, Some(integer(5)));
}

#[tokio::test]
async fn packed_requests_are_the_same_requests() {
    let world = world().await;
    let bytes = salt("TaskCreateRequest", &task_request("t", "v1"), "x");
    let gzip = Some(CompressionEncoding::Gzip);
    world.send_with("CreateTask", bytes.clone(), gzip).await.unwrap();
    let task = world.get("GetTask", ResourceType::Task, "t").await;
    assert_eq!(at(&task, &[2, 1, 1]), at(&bytes, &[2, 1]));
    assert_eq!(code(world.send_with("CreateTask", bytes, gzip).await), Code::AlreadyExists);
    assert_eq!(code(world.send_with("CreateTask", vec![0xff; 9], gzip).await), Code::InvalidArgument);
}

#[tokio::test]
async fn packed_requests_have_the_same_limit() {
    let config = api::Config { max_request_size: config::Size::from_kib(64), ..api::Config::default() };
    let world = world_with(config, launch::Config::default()).await;
    let mut request = task_request("t", "v1");
    let template = request.spec.as_mut().unwrap().template.as_mut().unwrap();
    template.config.insert("k".to_owned(), "v".repeat(10_000_000));
    let gzip = Some(CompressionEncoding::Gzip);
    let sent = world.send_with("CreateTask", request.encode_to_vec(), gzip).await;
    assert_eq!(code(sent), Code::ResourceExhausted);
}

#[tokio::test]
async fn rest_carries_the_same_bytes() {
    let world = world().await;
    let bytes = salt("TaskCreateRequest", &task_request("t", "v1"), "x");
    let client = reqwest::Client::new();
    let url = format!("http://{}/api/v1/tasks", world.address);
    let octets = "application/octet-stream";
    let post = client.post(&url).header("content-type", octets).body(bytes.clone());
    assert_eq!(post.send().await.unwrap().status().as_u16(), 200);
    let path = format!("{url}/{PROJECT}/{DOMAIN}/t/v1");
    let task = client.get(path).header("accept", octets).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(at(&task, &[2, 1, 1]), at(&bytes, &[2, 1]));
}
