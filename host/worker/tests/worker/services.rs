//! Claims about what plugins get when they ask the host.

use plugins::HostServices;
use prost::Message;
use proto::flyteidl::core::{
    self, NodeExecutionIdentifier, TaskExecutionIdentifier, WorkflowExecutionIdentifier,
};
use proto::pinion::plugin::v1::{
    BlobGetRequest, BlobGetResponse, BlobHeadRequest, BlobHeadResponse, BlobListRequest, BlobListResponse,
    BlobPutRequest, BlobPutResponse, EmitKind, Event, HostMethod, HttpRequest, HttpResponse,
    ObjectApplyRequest, ObjectApplyResponse, ObjectDeleteRequest, ObjectDeleteResponse, ObjectGetRequest,
    ObjectGetResponse, ObjectRef, Phase, PhaseInfo, SecretGetRequest, SecretGetResponse, Status,
    TokenAllocateRequest, TokenAllocateResponse, TokenReleaseRequest, TokenReleaseResponse, WakeRequest,
    WakeResponse, observed_object::Observed,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use worker::services::{ServiceDeps, Services};
use worker::{Clusters, Secrets};

use crate::flow::Flow;
use crate::world::World;

struct Host {
    services: Services,
    world: World,
    secrets: tempfile::TempDir,
}

impl Host {
    async fn new() -> Self {
        let world = World::new().await;
        let secrets = tempfile::tempdir().unwrap();
        let services = Services::new(ServiceDeps {
            pools: world.pools.clone(),
            blob: world.blob.clone(),
            clusters: Clusters::new([world.cluster.clone() as std::sync::Arc<dyn cluster::Cluster>]),
            registry: world.registry.clone(),
            clock: world.clock.clone(),
            secrets: Secrets { dir: secrets.path().to_owned(), ..Secrets::default() },
        });
        Self { services, world, secrets }
    }

    async fn call<T: Message + Default>(
        &self,
        method: HostMethod,
        request: &impl Message,
    ) -> Result<T, Status> {
        let method = u32::try_from(method as i32).unwrap();
        let reply = self.services.call("fake", method, request.encode_to_vec().into()).await?;
        Ok(T::decode(reply.as_slice()).unwrap())
    }
}

fn attempt(execution: &str) -> Option<TaskExecutionIdentifier> {
    Some(TaskExecutionIdentifier {
        node_execution_id: Some(NodeExecutionIdentifier {
            node_id: "n".into(),
            execution_id: Some(WorkflowExecutionIdentifier {
                project: "p".into(),
                domain: "d".into(),
                name: execution.into(),
                ..WorkflowExecutionIdentifier::default()
            }),
        }),
        ..TaskExecutionIdentifier::default()
    })
}

#[tokio::test]
async fn objects_of_the_store_are_written_read_and_listed() {
    let host = Host::new().await;
    let root = host.world.blob.raw_root();
    for name in ["a", "b", "c"] {
        let uri = root.join(&format!("dir/{name}")).as_str().to_owned();
        let put = BlobPutRequest { uri, data: b"0123456789".to_vec(), content_type: String::new() };
        host.call::<BlobPutResponse>(HostMethod::BlobPut, &put).await.unwrap();
    }
    let uri = root.join("dir/a").as_str().to_owned();
    let get = |offset, length| BlobGetRequest { uri: uri.clone(), offset, length };
    for (offset, length, expected) in
        [(0, None, "0123456789"), (2, Some(3), "234"), (8, Some(9), "89"), (99, None, "")]
    {
        let found: BlobGetResponse = host.call(HostMethod::BlobGet, &get(offset, length)).await.unwrap();
        assert_eq!((found.data.as_slice(), found.size), (expected.as_bytes(), 10), "{offset} {length:?}");
    }
    let head: BlobHeadResponse =
        host.call(HostMethod::BlobHead, &BlobHeadRequest { uri: uri.clone() }).await.unwrap();
    assert!(head.exists && head.size == 10);
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = BlobListRequest { prefix: root.join("dir").as_str().into(), limit: 2, page_token };
        let page: BlobListResponse = host.call(HostMethod::BlobList, &list).await.unwrap();
        names.extend(page.entries.into_iter().map(|entry| entry.uri));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 3);
    let missing = BlobGetRequest { uri: root.join("none").as_str().into(), ..BlobGetRequest::default() };
    assert_eq!(host.call::<BlobGetResponse>(HostMethod::BlobGet, &missing).await.unwrap_err().code, 5);
}

#[tokio::test]
async fn declared_secrets_come_from_files_and_nowhere_else() {
    let host = Host::new().await;
    std::fs::create_dir(host.secrets.path().join("db")).unwrap();
    std::fs::write(host.secrets.path().join("db/password"), "hush").unwrap();
    let _life = host.world.start();
    let declares = |group: &str, key: &str| core::Secret {
        group: group.into(),
        key: key.into(),
        ..core::Secret::default()
    };
    let secrets = [("db", "password"), ("db", "user"), ("..", "x"), ("db", "../../x"), ("db", "")]
        .map(|(group, key)| declares(group, key));
    let flow = Flow::new().node("n", "forever", &[]).task(|task| {
        task.security_context = Some(core::SecurityContext {
            secrets: secrets[..4].to_vec(),
            ..core::SecurityContext::default()
        });
    });
    let id = host.world.launch(&flow).await;
    host.world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 2)).await;
    let id = attempt(&id.name).map(|id| TaskExecutionIdentifier { task_id: Some(Flow::task_id("n")), ..id });
    let ask = |group: &str, key: &str| SecretGetRequest {
        id: id.clone(),
        group: group.into(),
        key: key.into(),
        ..SecretGetRequest::default()
    };
    let found: SecretGetResponse = host.call(HostMethod::SecretGet, &ask("db", "password")).await.unwrap();
    assert_eq!(found.value, b"hush");
    let cases = [("db", "user", 5), ("..", "x", 3), ("db", "../../x", 3), ("db", "other", 7), ("db", "", 7)];
    for (group, key, code) in cases {
        let refused =
            host.call::<SecretGetResponse>(HostMethod::SecretGet, &ask(group, key)).await.unwrap_err();
        assert_eq!(refused.code, code, "{group}/{key}: {}", refused.message);
    }
}

#[tokio::test]
async fn tokens_are_granted_once() {
    let host = Host::new().await;
    let ask = |execution: &str| TokenAllocateRequest {
        resource_namespace: "pool".into(),
        token: "t".into(),
        id: attempt(execution),
        constraints: None,
    };
    let one: TokenAllocateResponse = host.call(HostMethod::TokenAllocate, &ask("a")).await.unwrap();
    let two: TokenAllocateResponse = host.call(HostMethod::TokenAllocate, &ask("b")).await.unwrap();
    assert!(one.status.unwrap().granted);
    let waits = two.status.unwrap();
    assert!(!waits.granted && waits.message.contains("in line"), "{}", waits.message);
    let release =
        TokenReleaseRequest { resource_namespace: "pool".into(), token: "t".into(), id: attempt("a") };
    host.call::<TokenReleaseResponse>(HostMethod::TokenRelease, &release).await.unwrap();
    let two: TokenAllocateResponse = host.call(HostMethod::TokenAllocate, &ask("b")).await.unwrap();
    assert!(two.status.unwrap().granted);
}

#[tokio::test]
async fn objects_of_clusters_are_applied_read_and_deleted() {
    let host = Host::new().await;
    let object = || {
        Some(ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "p-d".into(),
            name: "x".into(),
            cluster: String::new(),
        })
    };
    host.world.cluster.lively.store(false, std::sync::atomic::Ordering::SeqCst);
    let json =
        br#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "p-d"}}"#.to_vec();
    let apply = ObjectApplyRequest { object: object(), json };
    let applied: ObjectApplyResponse = host.call(HostMethod::ObjectApply, &apply).await.unwrap();
    assert!(matches!(applied.observed.unwrap().observed, Some(Observed::Json(_))));
    let delete = ObjectDeleteRequest { object: object() };
    host.call::<ObjectDeleteResponse>(HostMethod::ObjectDelete, &delete).await.unwrap();
    let get = ObjectGetRequest { object: object() };
    let found: ObjectGetResponse = host.call(HostMethod::ObjectGet, &get).await.unwrap();
    assert!(matches!(found.observed.unwrap().observed, Some(Observed::Gone(_))));
}

#[tokio::test]
async fn wakes_and_events_reach_the_attempt() {
    let host = Host::new().await;
    let _life = host.world.start();
    let id = host.world.launch(&Flow::new().node("n", "forever", &[])).await;
    host.world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 2)).await;
    let phase = PhaseInfo {
        phase: Phase::Running.into(),
        version: 5,
        reason: "half way".into(),
        ..PhaseInfo::default()
    };
    let event = Event { id: attempt("e0"), phase: Some(phase) };
    host.services.emit("fake", EmitKind::Event as u32, event.encode_to_vec().into());
    host.world.until(&id, |rows| rows.tasks[0].reason == "half way").await;
    let wake = |execution: &str| WakeRequest { id: attempt(execution), array_element: None };
    host.call::<WakeResponse>(HostMethod::Wake, &wake("e0")).await.unwrap();
    let journal = &host.world.plugins.journal;
    host.world.until(&id, |_| journal.reasons("n-0").contains(&"WOKEN".to_owned())).await;
    assert_eq!(host.call::<WakeResponse>(HostMethod::Wake, &wake("other")).await.unwrap_err().code, 5);
}

#[tokio::test]
async fn http_answers_of_any_status_are_answers() {
    let host = Host::new().await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?secret=1", server.local_addr().unwrap());
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut request = [0; 4096];
        let n = stream.read(&mut request).await.unwrap();
        assert!(request[..n].starts_with(b"GET /path"));
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnone";
        stream.write_all(answer).await.unwrap();
    };
    let request = HttpRequest { method: "GET".into(), url, timeout_ms: 5000, ..HttpRequest::default() };
    let (reply, ()) = tokio::join!(host.call::<HttpResponse>(HostMethod::Http, &request), serve);
    let reply = reply.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (404, b"none".as_slice()));
    drop(server);
    let refused = host.call::<HttpResponse>(HostMethod::Http, &request).await.unwrap_err();
    assert!(refused.retryable && !refused.message.contains("secret"), "{}", refused.message);
}

#[tokio::test]
async fn unknown_services_are_answered_so() {
    let host = Host::new().await;
    assert_eq!(host.services.call("fake", 99, Vec::new().into()).await.unwrap_err().code, 12);
}
