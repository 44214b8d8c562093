//! Every request of the web console, as it sends them: binary messages, numbers for enums, camel case here and there.

use super::*;

const HERE: &str = "flytesnacks/development";

async fn started() -> Rest {
    let rest = Rest::new().await;
    rest.world.register("v1").await;
    rest.world.start("e1").await;
    rest
}

#[tokio::test]
async fn projects_and_version() {
    let rest = started().await;
    let found: Projects = rest.fetch("/api/v1/projects").await;
    assert_eq!(found.projects[0].id, PROJECT);
    assert!(!found.projects[0].domains.is_empty());
    let found: GetVersionResponse = rest.fetch("/api/v1/version").await;
    assert_eq!(found.control_plane_version.unwrap().version, "1.2.3");
    let found: GetDomainsResponse = rest.fetch("/api/v1/domains").await;
    assert!(!found.domains.is_empty());
}

#[tokio::test]
async fn executions_are_started_listed_changed_and_ended() {
    let rest = started().await;
    let target = id(ResourceType::LaunchPlan, "wf", "v1");
    let inputs = literals(&[("a", integer(1)), ("b", text("x"))]);
    let request = execution_request("e2", target, inputs);
    let made: ExecutionCreateResponse = rest.binary(Method::POST, "/api/v1/executions", Some(request)).await;
    assert_eq!(made.id.unwrap().name, "e2");
    let relaunch = ExecutionRelaunchRequest { id: Some(execution_id("e1")), ..Default::default() };
    let made: ExecutionCreateResponse =
        rest.binary(Method::POST, "/api/v1/executions/relaunch", Some(relaunch)).await;
    let relaunched = made.id.unwrap().name;
    let list = format!(
        "/api/v1/executions/{HERE}?limit=25&token=&sort_by.key=created_at&sort_by.direction=DESCENDING\
         &filters=eq(launch_plan.name%2Cwf)%2Beq(state%2C0)"
    );
    let found: ExecutionList = rest.fetch(&list).await;
    let names: Vec<_> = found.executions.iter().map(|found| found.id.clone().unwrap().name).collect();
    assert_eq!(names, [relaunched.as_str(), "e2", "e1"]);
    let path = format!("/api/v1/executions/{HERE}/e2");
    let archive = ExecutionUpdateRequest { id: Some(execution_id("e2")), state: 1 };
    let _: ExecutionUpdateResponse = rest.binary(Method::PUT, &path, Some(archive)).await;
    let end = ExecutionTerminateRequest { id: Some(execution_id("e2")), cause: "why not".to_owned() };
    let _: ExecutionTerminateResponse = rest.binary(Method::DELETE, &path, Some(end)).await;
    let found: Execution = rest.fetch(&path).await;
    assert_eq!(found.closure.unwrap().state_change_details.unwrap().state, 1);
    let found: WorkflowExecutionGetDataResponse =
        rest.fetch(&format!("/api/v1/data/executions/{HERE}/e1")).await;
    assert!(found.full_inputs.unwrap().literals.contains_key("a"));
}

#[tokio::test]
async fn node_and_task_executions() {
    let rest = started().await;
    let list = format!("/api/v1/node_executions/{HERE}/e1?limit=10000&token=&uniqueParentId=");
    let found: NodeExecutionList = rest.fetch(&list).await;
    assert!(found.token.is_empty());
    let children = format!("/api/v1/node_executions/{HERE}/e1?limit=10000&uniqueParentId=n0");
    let found: NodeExecutionList = rest.fetch(&children).await;
    assert!(found.node_executions.is_empty());
    // What does not exist is not found, so that each path reaches its method.
    let attempt = format!("{HERE}/e1/n7/{HERE}/t/v1/0");
    for (path, status) in [
        (format!("/api/v1/node_executions/{HERE}/e1/n7"), 404),
        (format!("/api/v1/data/node_executions/{HERE}/e1/n7"), 404),
        (format!("/api/v1/node_executions/{HERE}/e1/n7/dynamic_workflow"), 404),
        (format!("/api/v1/task_executions/{HERE}/e1/n7?limit=10000"), 404),
        (format!("/api/v1/task_executions/{attempt}"), 404),
        (format!("/api/v1/data/task_executions/{attempt}"), 404),
        (format!("/api/v1/metrics/executions/{HERE}/none?depth=10"), 404),
    ] {
        let reply = send(rest.request(Method::GET, &path).header(header::ACCEPT, OCTETS)).await;
        let found = reply.status.as_u16();
        assert_eq!(found, status, "{path}");
        assert_eq!(super::Status::decode(reply.body).unwrap().code, 5, "{path}");
    }
}

#[tokio::test]
async fn entities_are_listed_by_number_and_by_name() {
    let rest = started().await;
    let query = "limit=25&sort_by.key=name&sort_by.direction=ASCENDING&filters=eq(state%2C0)";
    for (number, name, found_name) in [(1, "TASK", "t"), (2, "WORKFLOW", "wf"), (3, "LAUNCH_PLAN", "wf")] {
        for kind in [number.to_string(), name.to_owned()] {
            let found: NamedEntityList =
                rest.fetch(&format!("/api/v1/named_entities/{kind}/{HERE}?{query}")).await;
            assert_eq!(found.entities.len(), 1, "{kind}");
            assert_eq!(found.entities[0].resource_type, number);
            assert_eq!(found.entities[0].id.as_ref().unwrap().name, found_name);
        }
    }
    let path = format!("/api/v1/named_entities/2/{HERE}/wf");
    let update = NamedEntityUpdateRequest {
        resource_type: 2,
        id: Some(named("wf")),
        metadata: Some(NamedEntityMetadata { description: "mine".to_owned(), state: 1 }),
    };
    let _: NamedEntityUpdateResponse = rest.binary(Method::PUT, &path, Some(update)).await;
    let found: NamedEntity = rest.fetch(&path).await;
    assert_eq!(found.metadata.unwrap().description, "mine");
    for (kind, n) in [("task_ids", 1), ("workflow_ids", 1), ("launch_plan_ids", 1)] {
        let found: NamedEntityIdentifierList = rest.fetch(&format!("/api/v1/{kind}/{HERE}?limit=100")).await;
        assert_eq!(found.entities.len(), n, "{kind}");
    }
}

#[tokio::test]
async fn registered_things_are_read() {
    let rest = started().await;
    let found: Task = rest.fetch(&format!("/api/v1/tasks/{HERE}/t/v1")).await;
    assert_eq!(found.id.unwrap().resource_type, ResourceType::Task as i32);
    let found: Workflow = rest.fetch(&format!("/api/v1/workflows/{HERE}/wf/v1")).await;
    assert!(found.closure.unwrap().compiled_workflow.unwrap().primary.unwrap().connections.is_some());
    let filter = "filters=eq(workflow.name%2Cwf)%2Beq(workflow.version%2Cv1)&limit=10";
    let found: LaunchPlanList = rest.fetch(&format!("/api/v1/launch_plans/{HERE}?{filter}")).await;
    assert_eq!(found.launch_plans.len(), 1);
    let found: WorkflowList = rest.fetch(&format!("/api/v1/workflows/{HERE}/wf?limit=10")).await;
    assert_eq!(found.workflows.len(), 1);
    let found: TaskList = rest.fetch(&format!("/api/v1/tasks/{HERE}?limit=25")).await;
    assert_eq!(found.tasks.len(), 1);
    let state = LaunchPlanUpdateRequest { id: Some(id(ResourceType::LaunchPlan, "wf", "v1")), state: 1 };
    let path = format!("/api/v1/launch_plans/{HERE}/wf/v1");
    let _: LaunchPlanUpdateResponse = rest.binary(Method::PUT, &path, Some(state)).await;
    let found: LaunchPlan = rest.fetch(&path).await;
    assert_eq!(found.closure.unwrap().state, 1);
    for kind in ["1", "TASK"] {
        let found: DescriptionEntityList =
            rest.fetch(&format!("/api/v1/description_entities/{kind}/{HERE}?limit=10")).await;
        assert!(found.description_entities.is_empty());
    }
}

#[tokio::test]
async fn attributes_signals_and_links_reach_their_methods() {
    let rest = started().await;
    let found: ProjectAttributesGetResponse =
        rest.fetch(&format!("/api/v1/project_attributes/{PROJECT}?resource_type=6")).await;
    assert!(found.attributes.is_some());
    let path = format!("/api/v1/project_domain_attributes/{HERE}?resource_type=6");
    let reply = send(rest.request(Method::GET, &path).header(header::ACCEPT, OCTETS)).await;
    assert_eq!(reply.status.as_u16(), 404);
    let signal = SignalSetRequest {
        id: Some(SignalIdentifier { signal_id: "s".to_owned(), execution_id: Some(execution_id("e1")) }),
        value: Some(integer(1)),
    };
    let link = CreateDownloadLinkRequest {
        artifact_type: ArtifactType::Deck as i32,
        source: Some(create_download_link_request::Source::NodeExecutionId(NodeExecutionIdentifier {
            node_id: "n7".to_owned(),
            execution_id: Some(execution_id("e1")),
        })),
        ..Default::default()
    };
    for (path, body) in [
        ("/api/v1/signals", signal.encode_to_vec()),
        ("/api/v1/dataproxy/artifact_link", link.encode_to_vec()),
    ] {
        let request = rest.request(Method::POST, path).header(header::CONTENT_TYPE, OCTETS);
        let reply = send(request.body(body)).await;
        assert_eq!(reply.status.as_u16(), 400, "{path}");
        assert_eq!(super::Status::decode(reply.body).unwrap().code, 3);
    }
    let found: SignalList = rest.fetch(&format!("/api/v1/signals/{HERE}/e1?limit=10")).await;
    assert!(found.signals.is_empty());
    let upload = CreateUploadLocationRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        filename_root: "r".to_owned(),
        ..Default::default()
    };
    let found: CreateUploadLocationResponse =
        rest.binary(Method::POST, "/api/v1/dataproxy/artifact_urn", Some(upload)).await;
    assert!(found.signed_url.starts_with("http"));
    let urn = "/api/v1/dataproxy/artifact_urn?native_url=s3%3A%2F%2Fmy-s3-bucket%2Fx&expires_in=60s";
    let found: CreateDownloadLocationResponse = rest.fetch(urn).await;
    assert!(found.signed_url.starts_with("http"));
    let data = "/api/v1/data?flyte_url=flyte%3A%2F%2Fv1%2Fflytesnacks%2Fdevelopment%2Fe1%2Fn7%2Fi";
    let reply = send(rest.request(Method::GET, data).header(header::ACCEPT, OCTETS)).await;
    assert_eq!(reply.status.as_u16(), 404);
}

#[tokio::test]
async fn other_names_of_binary_messages_are_known() {
    let rest = started().await;
    for name in ["application/x-protobuf", "application/protobuf"] {
        let request = rest.request(Method::GET, "/api/v1/version").header(header::ACCEPT, name);
        let reply = send(request).await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], name);
        assert!(GetVersionResponse::decode(reply.body).unwrap().control_plane_version.is_some());
    }
}
