//! What happens around calls: broken bytes, sizes, health, reflection, ids, panics, and HTTP/1.1.

use std::time::Duration;

use http::uri::PathAndQuery;
use proto::flyteidl::admin::*;
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use super::{codec::RawCodec, world::*};

/// Sends bytes as a message to a method, and gives back the status.
async fn send(world: &World, path: &'static str, bytes: Vec<u8>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(world.channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    grpc.unary(tonic::Request::new(bytes), path, RawCodec).await.map(drop)
}

#[tokio::test]
async fn broken_bytes_are_invalid_arguments() {
    let world = world().await;
    for path in [
        "/flyteidl.service.AdminService/CreateTask",
        "/flyteidl.service.AdminService/GetExecution",
        "/flyteidl.service.DataProxyService/CreateUploadLocation",
    ] {
        for bytes in [vec![0xff; 10], vec![0x0a, 0x7f], vec![0x0a, 0x02, 0x0a, 0x05]] {
            assert_eq!(code(send(&world, path, bytes).await), Code::InvalidArgument, "{path}");
        }
    }
}

#[tokio::test]
async fn deeply_nested_bytes_do_not_overflow() {
    let world = world().await;
    // `LiteralType.collection_type` (3) within itself, a thousand times, somewhere inside a task.
    let mut nested = Vec::new();
    for _ in 0..1_000 {
        let mut outer = vec![0x1a];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend(nested);
        nested = outer;
    }
    for field in [0x0a_u8, 0x12] {
        for _ in 0..3 {
            let mut outer = vec![field];
            prost::encoding::encode_varint(nested.len() as u64, &mut outer);
            outer.extend(&nested);
            nested = outer;
        }
    }
    let path = "/flyteidl.service.AdminService/CreateTask";
    assert_eq!(code(send(&world, path, nested).await), Code::InvalidArgument);
    assert_eq!(code(send(&world, path, Vec::new()).await), Code::InvalidArgument);
}

#[tokio::test]
async fn too_large_messages_say_so() {
    let config = api::Config { max_request_size: config::Size::from_kib(64), ..api::Config::default() };
    let world = world_with(config, launch::Config::default()).await;
    let mut request = task_request("t", "v1");
    let template = request.spec.as_mut().unwrap().template.as_mut().unwrap();
    template.config.insert("k".to_owned(), "v".repeat(100_000));
    assert_eq!(code(world.admin.clone().create_task(request).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let world = world().await;
    for path in [
        "/flyteidl.service.AdminService/Nothing",
        "/flyteidl.service.AuthMetadataService/GetPublicClientConfig",
        "/no.such.Service/Method",
    ] {
        assert_eq!(code(send(&world, path, Vec::new()).await), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn health_is_known_under_both_names() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let world = world().await;
    let mut health = HealthClient::new(world.channel.clone());
    for service in ["", "flyteadmin"] {
        let reply = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(reply.into_inner().status, 1, "{service}");
    }
    let unknown = HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(code(health.check(unknown).await), Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let world = world().await;
    let ask = |message_request| {
        tokio_stream::once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        })
    };
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let mut replies = client
        .server_reflection_info(ask(MessageRequest::ListServices(String::new())))
        .await
        .unwrap()
        .into_inner();
    let reply = replies.next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else { panic!() };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"flyteidl.service.AdminService".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("AuthMetadata")), "{names:?}");
    let symbol = MessageRequest::FileContainingSymbol("flyteidl.service.AdminService".to_owned());
    let mut replies = client.server_reflection_info(ask(symbol)).await.unwrap().into_inner();
    let reply = replies.next().await.unwrap().unwrap();
    assert!(matches!(reply.message_response, Some(MessageResponse::FileDescriptorResponse(_))));
}

#[tokio::test]
async fn each_reply_has_a_request_id() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let reply = admin.get_version(GetVersionRequest {}).await.unwrap();
    assert_eq!(reply.metadata().get("x-request-id").unwrap().len(), 32);
    let mut request = tonic::Request::new(GetVersionRequest {});
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let reply = admin.get_version(request).await.unwrap();
    assert_eq!(reply.metadata().get("x-request-id").unwrap(), "mine");
    let status = admin.get_execution(WorkflowExecutionGetRequest { id: None }).await.unwrap_err();
    assert!(status.metadata().get("x-request-id").is_some());
}

#[tokio::test]
async fn http_1_shares_the_port() {
    let world = world().await;
    let reply = reqwest::Client::builder()
        .http1_only()
        .build()
        .unwrap()
        .get(format!("http://{}/nothing", world.address))
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status().as_u16(), 404);
    assert_eq!(reply.version(), http::Version::HTTP_11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_without_calls_do_not_end_a_connection() {
    let world = world().await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", world.address))
        .unwrap()
        .http2_keep_alive_interval(Duration::from_millis(5))
        .keep_alive_while_idle(true)
        .connect()
        .await
        .unwrap();
    let mut admin = proto::flyteidl::service::admin_service_client::AdminServiceClient::new(channel);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        admin.get_version(GetVersionRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn no_refusal_is_unknown_or_unauthenticated() {
    let world = world().await;
    let methods = [
        "CreateTask",
        "GetTask",
        "ListTasks",
        "ListTaskIds",
        "CreateWorkflow",
        "GetWorkflow",
        "ListWorkflows",
        "CreateLaunchPlan",
        "GetLaunchPlan",
        "GetActiveLaunchPlan",
        "ListActiveLaunchPlans",
        "ListLaunchPlans",
        "UpdateLaunchPlan",
        "CreateExecution",
        "RelaunchExecution",
        "RecoverExecution",
        "GetExecution",
        "UpdateExecution",
        "GetExecutionData",
        "ListExecutions",
        "TerminateExecution",
        "GetNodeExecution",
        "GetDynamicNodeWorkflow",
        "ListNodeExecutions",
        "ListNodeExecutionsForTask",
        "GetNodeExecutionData",
        "RegisterProject",
        "UpdateProject",
        "GetProject",
        "CreateWorkflowEvent",
        "CreateNodeEvent",
        "CreateTaskEvent",
        "GetTaskExecution",
        "ListTaskExecutions",
        "GetTaskExecutionData",
        "UpdateProjectDomainAttributes",
        "GetProjectDomainAttributes",
        "DeleteProjectDomainAttributes",
        "UpdateProjectAttributes",
        "GetProjectAttributes",
        "DeleteProjectAttributes",
        "UpdateWorkflowAttributes",
        "GetWorkflowAttributes",
        "DeleteWorkflowAttributes",
        "ListNamedEntities",
        "GetNamedEntity",
        "UpdateNamedEntity",
        "GetDescriptionEntity",
        "ListDescriptionEntities",
        "GetExecutionMetrics",
    ];
    for method in methods {
        let path: &'static str = format!("/flyteidl.service.AdminService/{method}").leak();
        let found = code(send(&world, path, Vec::new()).await);
        assert!(matches!(found, Code::InvalidArgument | Code::Unimplemented), "{method}: {found:?}");
    }
}

#[tokio::test]
async fn nonsense_on_the_socket_harms_nobody() {
    let world = world().await;
    let mut stream = tokio::net::TcpStream::connect(&world.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"\x00\x01nonsense\r\n\r\n").await.unwrap();
    drop(stream);
    world.admin.clone().get_version(GetVersionRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_ends_open_calls_and_idle_connections() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let arrived = std::sync::Arc::new(tokio::sync::Notify::new());
    let telling = arrived.clone();
    let slow = move || {
        let telling = telling.clone();
        async move {
            telling.notify_one();
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        }
    };
    let router = axum::Router::new().route("/slow", axum::routing::get(slow));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(api::serve(listener, router, async move { drop(stopped.await) }));
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let open = tokio::spawn(reqwest::get(format!("http://{address}/slow")));
    arrived.notified().await;
    stop.send(()).unwrap();
    assert_eq!(open.await.unwrap().unwrap().text().await.unwrap(), "done");
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
    drop(idle);
}
