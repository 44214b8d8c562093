//! Calls over REST, with the very requests that the console and other HTTP clients send.

use http::{Method, StatusCode, header};
use prost::Message;
use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use proto::flyteidl::service::*;
use serde_json::{Value, json};

use super::world::*;

const OCTETS: &str = "application/octet-stream";

/// An HTTP client of a world.
struct Rest {
    world: World,
    client: reqwest::Client,
}

/// What came back.
struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: bytes::Bytes,
}

impl Rest {
    async fn new() -> Self {
        Self::with(api::Config::default()).await
    }

    async fn with(config: api::Config) -> Self {
        Self {
            world: world_with(config, launch::Config::default()).await,
            client: reqwest::Client::builder().http1_only().build().unwrap(),
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.world.address))
    }

    async fn json(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let mut request = self.request(method, path).header(header::ACCEPT, "application/json");
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let reply = send(request).await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.json(Method::GET, path, Value::Null).await
    }

    /// As the console does: binary both ways.
    async fn binary<I: Message, O: Message + Default>(
        &self,
        method: Method,
        path: &str,
        body: Option<I>,
    ) -> O {
        let mut request = self.request(method.clone(), path).header(header::ACCEPT, OCTETS);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, OCTETS).body(body.encode_to_vec());
        }
        let reply = send(request).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, StatusCode::OK, "{method} {path}: {text}");
        assert_eq!(reply.headers[header::CONTENT_TYPE], OCTETS);
        O::decode(reply.body).unwrap()
    }

    async fn fetch<O: Message + Default>(&self, path: &str) -> O {
        self.binary(Method::GET, path, None::<GetVersionRequest>).await
    }
}

async fn send(request: reqwest::RequestBuilder) -> Reply {
    let reply = request.send().await.unwrap();
    let (status, headers) = (reply.status(), reply.headers().clone());
    Reply { status, headers, body: reply.bytes().await.unwrap() }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

#[tokio::test]
async fn json_names_are_the_protos_and_unset_fields_are_there() {
    let rest = Rest::new().await;
    rest.world.register("v1").await;
    let (status, task) = rest.get("/api/v1/tasks/flytesnacks/development/t/v1").await;
    assert_eq!(status, 200);
    let template = &task["closure"]["compiled_task"]["template"];
    assert_eq!(template["id"]["resource_type"], "TASK");
    assert_eq!(template["interface"]["inputs"]["variables"]["a"]["type"]["simple"], "INTEGER");
    assert_eq!(template["metadata"]["discoverable"], false);
    assert_eq!(template["security_context"], Value::Null);
    assert!(template.as_object().unwrap().contains_key("security_context"));
    assert_eq!(template["config"], json!({}));
    assert_eq!(template["container"]["args"], json!(["run"]));
    assert!(!template.as_object().unwrap().contains_key("k8s_pod"), "the other member of a oneof");
    assert!(task["closure"]["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn json_registers_and_starts() {
    let rest = Rest::new().await;
    let id = |ty: Value, name: &str| json!({"resource_type": ty, "project": PROJECT, "domain": DOMAIN, "name": name, "version": "v1"});
    let task = json!({
        "id": id(json!("TASK"), "t"),
        "spec": {"template": {
            "id": id(json!("TASK"), "t"),
            "type": "python-task",
            "metadata": {"runtime": {"type": "FLYTE_SDK", "version": "1", "flavor": "python"}},
            "interface": {"inputs": {"variables": {"a": {"type": {"simple": "INTEGER"}}}}, "outputs": {}},
            "container": {"image": "img:1", "args": ["x"]},
        }},
    });
    assert_eq!(rest.json(Method::POST, "/api/v1/tasks", task.clone()).await, (200, json!({})));
    let (status, refusal) = rest.json(Method::POST, "/api/v1/tasks", task).await;
    assert_eq!((status, &refusal["code"]), (409, &json!(6)));
    let execution = json!({
        "project": PROJECT, "domain": DOMAIN, "name": "e1",
        "spec": {"launchPlan": id(json!(1), "t"), "metadata": {"mode": 0}},
        "inputs": {"literals": {"a": {"scalar": {"primitive": {"integer": "9007199254740993"}}}}},
    });
    let (status, made) = rest.json(Method::POST, "/api/v1/executions", execution).await;
    assert_eq!((status, &made["id"]["name"]), (200, &json!("e1")), "{made}");
    let (_, data) = rest.get("/api/v1/data/executions/flytesnacks/development/e1").await;
    let value = &data["full_inputs"]["literals"]["a"]["scalar"]["primitive"]["integer"];
    assert_eq!(value, "9007199254740993");
    let (_, found) = rest.get("/api/v1/executions/flytesnacks/development/e1").await;
    assert_eq!(found["spec"]["metadata"]["mode"], "MANUAL");
    assert_eq!(found["closure"]["phase"], "UNDEFINED");
    assert_eq!(found["closure"]["duration"], Value::Null);
    let path = "/api/v1/executions/flytesnacks/development/e1";
    assert_eq!(rest.json(Method::DELETE, path, json!({"cause": "enough"})).await, (200, json!({})));
    let (_, found) = rest.get(path).await;
    assert_eq!(found["closure"]["abort_metadata"]["cause"], "enough");
}

#[tokio::test]
async fn a_delete_needs_no_body() {
    let rest = Rest::new().await;
    rest.world.register("v1").await;
    rest.world.start("e1").await;
    let path = "/api/v1/executions/flytesnacks/development/e1";
    assert_eq!(rest.json(Method::DELETE, path, Value::Null).await, (200, json!({})));
}

#[tokio::test]
async fn the_path_goes_before_the_body() {
    let rest = Rest::new().await;
    rest.world.register("v1").await;
    let body = LaunchPlanUpdateRequest {
        id: Some(id(ResourceType::LaunchPlan, "other", "v9")),
        state: LaunchPlanState::Active as i32,
    };
    let path = "/api/v1/launch_plans/flytesnacks/development/wf/v1";
    let _: LaunchPlanUpdateResponse = rest.binary(Method::PUT, path, Some(body)).await;
    let (status, plan) = rest.get("/api/v1/active_launch_plans/flytesnacks/development/wf").await;
    assert_eq!((status, &plan["closure"]["state"]), (200, &json!("ACTIVE")));
}

#[tokio::test]
async fn refusals_are_statuses_in_the_encoding_asked_for() {
    let rest = Rest::new().await;
    rest.world.register("v1").await;
    let path = "/api/v1/executions/flytesnacks/development/none";
    let (status, refusal) = rest.get(path).await;
    assert_eq!((status, &refusal["code"], &refusal["details"]), (404, &json!(5), &json!([])));
    assert!(refusal["message"].as_str().unwrap().contains("none"));
    let reply = send(rest.request(Method::GET, path).header(header::ACCEPT, OCTETS)).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.headers[header::CONTENT_TYPE]),
        (404, &OCTETS.parse().unwrap())
    );
    assert_eq!(Status::decode(reply.body).unwrap().code, 5);
    // Details come along, as messages.
    let mut changed = workflow_request("wf", "v1", "v1");
    changed.spec.as_mut().unwrap().template.as_mut().unwrap().nodes[0].id = "n9".to_owned();
    changed.spec.as_mut().unwrap().template.as_mut().unwrap().outputs = vec![promise("o0", "n9", "o0")];
    let request = rest.request(Method::POST, "/api/v1/workflows").header(header::CONTENT_TYPE, OCTETS);
    let reply = send(request.body(changed.encode_to_vec())).await;
    assert_eq!(reply.status.as_u16(), 400);
    let found = Status::decode(reply.body).unwrap();
    assert_eq!((found.code, found.details.len()), (3, 1));
    let json_reply = rest
        .request(Method::POST, "/api/v1/workflows")
        .header(header::CONTENT_TYPE, OCTETS)
        .header(header::ACCEPT, "application/json");
    let reply = send(json_reply.body(changed.encode_to_vec())).await;
    let found: Value = serde_json::from_slice(&reply.body).unwrap();
    let detail = &found["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/flyteidl.admin.CreateWorkflowFailureReason");
    assert_eq!(detail["exists_different_structure"]["id"]["name"], "wf");
}

#[tokio::test]
async fn what_is_not_there_is_told_as_grpc_gateway_does() {
    let rest = Rest::new().await;
    for (method, path, status, code) in [
        (Method::GET, "/api/v1/nothing", 404, 5),
        (Method::GET, "/api/v1", 404, 5),
        (Method::GET, "/api/v1/tasks", 501, 12),
        (Method::PATCH, "/api/v1/version", 501, 12),
        (Method::DELETE, "/me", 501, 12),
        (Method::GET, "/config/v1/flyte_client", 501, 12),
        (Method::GET, "/.well-known/oauth-authorization-server", 501, 12),
        (Method::GET, "/api/v1/events/nodes", 501, 12),
        (Method::GET, "/api/v1/projects/none", 404, 5),
    ] {
        let (found, refusal) = rest.json(method.clone(), path, Value::Null).await;
        assert_eq!((found, &refusal["code"]), (status, &json!(code)), "{method} {path}: {refusal}");
    }
}

#[tokio::test]
async fn broken_requests_name_the_field() {
    let rest = Rest::new().await;
    let of = |reply: (u16, Value)| (reply.0, reply.1["message"].as_str().unwrap_or_default().to_owned());
    let body = json!({"id": {"resource_type": "TASK", "project": 7}});
    let (status, text) = of(rest.json(Method::POST, "/api/v1/tasks", body).await);
    assert!(status == 400 && text.contains("id.project"), "{text}");
    for (query, says) in [
        ("limit=x", "limit"),
        ("limit=1&limit=2", "more than once"),
        ("limit=1&sort_by.direction=SIDEWAYS", "sort_by.direction"),
        ("limit=1&filters=nonsense", "filters"),
    ] {
        let path = format!("/api/v1/tasks/flytesnacks/development?{query}");
        let (status, text) = of(rest.get(&path).await);
        assert!(status == 400 && text.contains(says), "{query}: {text}");
    }
    let request = rest.request(Method::POST, "/api/v1/tasks").header(header::CONTENT_TYPE, OCTETS);
    let reply = send(request.body(vec![0xff; 9])).await;
    assert_eq!(reply.status.as_u16(), 400);
    assert_eq!(Status::decode(reply.body).unwrap().code, 3);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let config = api::Config { max_request_size: config::Size::from_kib(64), ..api::Config::default() };
    let rest = Rest::with(config).await;
    let body = json!({"id": {"name": "x".repeat(100_000)}});
    let (status, refusal) = rest.json(Method::POST, "/api/v1/tasks", body).await;
    assert_eq!((status, &refusal["code"]), (413, &json!(8)), "{refusal}");
}

#[tokio::test]
async fn filters_and_sorting_arrive_as_clients_write_them() {
    let rest = Rest::new().await;
    for version in ["v1", "v2", "v3"] {
        rest.world.register(version).await;
    }
    let names = |(status, list): (u16, Value)| {
        assert_eq!(status, 200, "{list}");
        let found = list["tasks"].as_array().unwrap().iter();
        found.map(|task| task["id"]["version"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = "/api/v1/tasks/flytesnacks/development?limit=10";
    for (query, want) in [
        // `+` as it is, as a space, and encoded.
        ("&filters=ne(version,v1)+ne(version,v2)", vec!["v3"]),
        ("&filters=ne(version,v1)%20ne(version,v2)", vec!["v3"]),
        ("&filters=ne(version,v1)%2Bne(version,v2)", vec!["v3"]),
        (
            "&filters=value_in(version,v1;v3)&sort_by.key=version&sort_by.direction=ASCENDING",
            vec!["v1", "v3"],
        ),
        ("&sortBy.key=version&sortBy.direction=0", vec!["v3", "v2", "v1"]),
        ("&sort_by.key=version&sort_by.direction=ascending&token=1", vec!["v2", "v3"]),
        ("&sort_by.key=version&unknown=1&id.name=t", vec!["v3", "v2", "v1"]),
    ] {
        assert_eq!(names(rest.get(&format!("{all}{query}")).await), want, "{query}");
    }
    let (_, page) = rest.get("/api/v1/tasks/flytesnacks/development/t?limit=2").await;
    assert_eq!(page["token"], "2");
}

#[tokio::test]
async fn me_is_nobody_without_authentication() {
    let rest = Rest::new().await;
    let (status, me) = rest.get("/me").await;
    assert_eq!((status, &me["subject"]), (200, &json!("")));
    assert!(me.as_object().unwrap().contains_key("preferred_username"));
}

#[tokio::test]
async fn each_reply_carries_the_callers_request_id() {
    let rest = Rest::new().await;
    for (path, prefix) in [("/api/v1/version", ""), ("/api/v1/projects/none", "Grpc-Metadata-")] {
        let name = format!("{prefix}x-request-id");
        let reply = send(rest.request(Method::GET, path).header(name, "mine")).await;
        assert_eq!(reply.headers["x-request-id"], "mine");
    }
}

#[tokio::test]
async fn replies_are_compressed_when_asked() {
    let rest = Rest::new().await;
    rest.world.register("v1").await;
    let path = "/api/v1/workflows/flytesnacks/development/wf/v1";
    let plain = send(rest.request(Method::GET, path)).await;
    let packed = send(rest.request(Method::GET, path).header(header::ACCEPT_ENCODING, "gzip")).await;
    assert_eq!(packed.headers[header::CONTENT_ENCODING], "gzip");
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len() / 2);
    assert!(!plain.headers.contains_key(header::CONTENT_ENCODING));
}

#[tokio::test]
async fn names_of_any_shape_fit_into_paths() {
    let rest = Rest::new().await;
    let mut admin = rest.world.admin.clone();
    admin.create_task(task_request("a/b c+d.e", "v 1")).await.unwrap();
    let (status, task) = rest.get("/api/v1/tasks/flytesnacks/development/a%2Fb%20c+d.e/v%201").await;
    assert_eq!((status, &task["id"]["name"]), (200, &json!("a/b c+d.e")));
}

#[tokio::test]
async fn pages_of_other_origins_write_nothing_unless_allowed() {
    let rest = Rest::new().await;
    let body = || json!({"project": {"id": "evil", "name": "evil"}}).to_string();
    let post = |origin: &str| {
        let request =
            rest.request(Method::POST, "/api/v1/projects").header(header::CONTENT_TYPE, "text/plain");
        request.header(header::ORIGIN, origin).body(body())
    };
    let reply = send(post("http://evil.example")).await;
    assert_eq!(reply.status.as_u16(), 403);
    assert!(!reply.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert_eq!(rest.get("/api/v1/projects/evil").await.0, 404);
    let own = format!("http://{}", rest.world.address);
    assert_eq!(send(post(&own)).await.status.as_u16(), 200);
}

#[tokio::test]
async fn allowed_origins_are_told_so() {
    let cors = api::Cors { origins: vec!["http://localhost:3000".to_owned()], ..api::Cors::default() };
    let rest = Rest::with(api::Config { cors, ..api::Config::default() }).await;
    let preflight = rest
        .request(Method::OPTIONS, "/api/v1/executions")
        .header(header::ORIGIN, "http://localhost:3000")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
    let reply = send(preflight).await;
    assert_eq!(reply.status.as_u16(), 200);
    assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
    assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    let headers = reply.headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_lowercase();
    assert!(headers.contains("content-type") && headers.contains("flyte-authorization"), "{headers}");
    let get = rest.request(Method::GET, "/api/v1/version").header(header::ORIGIN, "http://localhost:3000");
    assert_eq!(send(get).await.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
    let other = rest.request(Method::GET, "/api/v1/version").header(header::ORIGIN, "http://evil.example");
    assert!(!send(other).await.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn origins_that_are_none_are_refused_at_start() {
    for origin in ["localhost:3000", "http://a/b", "http://*.example", "ftp://a"] {
        let cors = api::Cors { origins: vec![origin.to_owned()], ..api::Cors::default() };
        assert!(api::Config { cors, ..api::Config::default() }.validate().is_err(), "{origin}");
    }
}

#[tokio::test]
async fn http_2_works_as_well() {
    let rest = Rest::new().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let reply = client.get(format!("http://{}/api/v1/version", rest.world.address)).send().await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (200, http::Version::HTTP_2));
}

#[tokio::test]
async fn the_description_of_it_all_is_served() {
    let rest = Rest::new().await;
    let (status, document) = rest.get("/api/v1/openapi").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.0.3")));
    assert!(document["paths"]["/api/v1/executions"]["post"]["requestBody"].is_object());
}

mod console;
