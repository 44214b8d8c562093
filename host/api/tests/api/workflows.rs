//! What compiles, what does not, and what the compiled form looks like to a client.

use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use tonic::Code;

use super::world::*;

fn nodes(request: &mut WorkflowCreateRequest) -> &mut Vec<Node> {
    &mut request.spec.as_mut().unwrap().template.as_mut().unwrap().nodes
}

#[tokio::test]
async fn compiled_form_has_start_end_and_edges() {
    let world = world().await;
    world.register("v1").await;
    let get = ObjectGetRequest { id: Some(id(ResourceType::Workflow, "wf", "v1")) };
    let workflow = world.admin.clone().get_workflow(get).await.unwrap().into_inner();
    let closure = workflow.closure.unwrap();
    assert!(closure.created_at.is_some());
    let compiled = closure.compiled_workflow.unwrap();
    assert_eq!(compiled.tasks.len(), 1);
    let primary = compiled.primary.unwrap();
    let template = primary.template.unwrap();
    let ids: Vec<_> = template.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["start-node", "end-node", "n0"]);
    let downstream = primary.connections.unwrap().downstream;
    assert_eq!(downstream["start-node"].ids, ["n0"]);
    assert_eq!(downstream["n0"].ids, ["end-node"]);
}

#[tokio::test]
async fn missing_tasks_are_compile_errors() {
    let world = world().await;
    let status = world.admin.clone().create_workflow(workflow_request("wf", "v1", "v9")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for part in ["failed to compile workflow", "Collected Errors: 1", "TaskReferenceNotFound", "n0"] {
        assert!(status.message().contains(part), "{status}");
    }
}

#[tokio::test]
async fn cycles_are_compile_errors() {
    let world = world().await;
    let mut admin = world.admin.clone();
    admin.create_task(task_request("t", "v1")).await.unwrap();
    let mut request = workflow_request("wf", "v1", "v1");
    let mut second = nodes(&mut request)[0].clone();
    second.id = "n1".to_owned();
    second.inputs = vec![promise("a", "n0", "o0")];
    nodes(&mut request)[0].inputs = vec![promise("a", "n1", "o0")];
    nodes(&mut request).push(second);
    let status = admin.create_workflow(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("CycleDetected"), "{status}");
    let get = ObjectGetRequest { id: Some(id(ResourceType::Workflow, "wf", "v1")) };
    assert_eq!(code(admin.get_workflow(get).await), Code::NotFound);
}

#[tokio::test]
async fn wrong_types_are_compile_errors() {
    let world = world().await;
    let mut admin = world.admin.clone();
    admin.create_task(task_request("t", "v1")).await.unwrap();
    let mut request = workflow_request("wf", "v1", "v1");
    nodes(&mut request)[0].inputs = vec![promise("a", "", "b")];
    let status = admin.create_workflow(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("MismatchingTypes"), "{status}");
}

#[tokio::test]
async fn node_limit_says_actual_and_allowed() {
    let config = api::Config { max_workflow_nodes: 3, ..api::Config::default() };
    let world = world_with(config, launch::Config::default()).await;
    let mut request = workflow_request("wf", "v1", "v1");
    let node = nodes(&mut request)[0].clone();
    *nodes(&mut request) = vec![node; 4];
    let status = world.admin.clone().create_workflow(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("has 4, more than the limit of 3"), "{status}");
}

#[tokio::test]
async fn empty_workflow_is_refused_or_compiled_but_never_fails() {
    let world = world().await;
    let request = WorkflowCreateRequest {
        id: Some(id(ResourceType::Workflow, "wf", "v1")),
        spec: Some(WorkflowSpec { template: Some(WorkflowTemplate::default()), ..WorkflowSpec::default() }),
    };
    assert_eq!(code(world.admin.clone().create_workflow(request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn lists_show_the_interface_only() {
    let world = world().await;
    world.register("v1").await;
    let request = ResourceListRequest { id: Some(named("wf")), limit: 10, ..ResourceListRequest::default() };
    let list = world.admin.clone().list_workflows(request).await.unwrap().into_inner();
    let compiled = list.workflows[0].closure.clone().unwrap().compiled_workflow.unwrap();
    assert!(compiled.tasks.is_empty());
    let template = compiled.primary.unwrap().template.unwrap();
    assert!(template.nodes.is_empty());
    assert_eq!(template.interface.unwrap().inputs.unwrap().variables.len(), 2);
}

/// A chain of many nodes: each takes the output of the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_nodes_are_ordinary() {
    let world = world().await;
    let mut admin = world.admin.clone().max_decoding_message_size(64 << 20);
    admin.create_task(task_request("t", "v1")).await.unwrap();
    let mut request = workflow_request("wf", "v1", "v1");
    let first = nodes(&mut request)[0].clone();
    *nodes(&mut request) = (0..5_000)
        .map(|idx| Node {
            id: format!("n{idx}"),
            inputs: match idx {
                0 => vec![promise("a", "", "a")],
                idx => vec![promise("a", &format!("n{}", idx - 1), "o0")],
            },
            ..first.clone()
        })
        .collect();
    admin.create_workflow(request).await.unwrap();
    let get = ObjectGetRequest { id: Some(id(ResourceType::Workflow, "wf", "v1")) };
    let workflow = admin.get_workflow(get).await.unwrap().into_inner();
    let primary = workflow.closure.unwrap().compiled_workflow.unwrap().primary.unwrap();
    assert_eq!(primary.template.unwrap().nodes.len(), 5_002);
}
