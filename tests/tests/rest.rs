//! Runs tasks by HTTP calls alone: registers, starts, watches and reads results without any client library.

#![allow(clippy::unwrap_used, reason = "a test ends where it can not go on")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;
use proto::flyteidl::admin::{TaskCreateRequest, TaskSpec};
use proto::flyteidl::core::{
    Container, Identifier, ResourceType, RuntimeMetadata, TaskMetadata, TaskTemplate, TypedInterface,
    task_template::Target,
};
use serde_json::{Value, json};
use tests::{Options, Server};

const API: &str = "/api/v1";
const HERE: &str = "flytesnacks/development";

struct Rest {
    server: Server,
    client: reqwest::Client,
}

impl Rest {
    fn start() -> Self {
        Self { server: Server::start(Options::default()), client: reqwest::Client::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{API}{path}", self.server.port)
    }

    async fn get(&self, path: &str) -> Value {
        let reply = self.client.get(self.url(path)).send().await.unwrap();
        assert_eq!(reply.status().as_u16(), 200, "{path}");
        reply.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let reply = self.client.post(self.url(path)).json(body).send().await.unwrap();
        let (status, body) = (reply.status().as_u16(), reply.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Starts a task and waits for it to succeed.
    async fn run(&self, name: &str, inputs: Value) -> String {
        let id = json!({
            "resource_type": "TASK", "project": "flytesnacks", "domain": "development", "name": name, "version": "v1",
        });
        let body = json!({
            "project": "flytesnacks", "domain": "development",
            "spec": {"launch_plan": id, "metadata": {"mode": "MANUAL"}},
            "inputs": {"literals": inputs},
        });
        let made = self.post("/executions", &body).await;
        let execution = made["id"]["name"].as_str().unwrap().to_owned();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.get(&format!("/executions/{HERE}/{execution}")).await;
            match found["closure"]["phase"].as_str().unwrap() {
                "SUCCEEDED" => return execution,
                "UNDEFINED" | "QUEUED" | "RUNNING" | "SUCCEEDING" if Instant::now() < until => {}
                phase => panic!("{phase}: {found}\n{}", self.server.log()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn json_alone_registers_and_runs_a_task() {
    let rest = Rest::start();
    let variable = json!({"type": {"simple": "INTEGER"}});
    let id = json!({
        "resource_type": "TASK", "project": "flytesnacks", "domain": "development", "name": "echo", "version": "v1",
    });
    let task = json!({
        "id": id,
        "spec": {"template": {
            "id": id,
            "type": "echo",
            "metadata": {"runtime": {"type": "OTHER", "version": "1", "flavor": "http"}},
            "interface": {
                "inputs": {"variables": {"x": variable}},
                "outputs": {"variables": {"x": variable}},
            },
        }},
    });
    rest.post("/tasks", &task).await;
    let value = json!({"scalar": {"primitive": {"integer": "41"}}});
    let execution = rest.run("echo", json!({"x": value})).await;
    let data = rest.get(&format!("/data/executions/{HERE}/{execution}")).await;
    assert_eq!(data["full_outputs"]["literals"]["x"]["scalar"]["primitive"]["integer"], "41");
    let nodes = rest.get(&format!("/node_executions/{HERE}/{execution}?limit=10000")).await;
    assert_eq!(nodes["node_executions"].as_array().unwrap().len(), 3);
    let query = "limit=5&sort_by.key=created_at&filters=eq(phase,SUCCEEDED)+eq(task.name,echo)";
    let listed = rest.get(&format!("/executions/{HERE}?{query}")).await;
    assert_eq!(listed["executions"][0]["id"]["name"], json!(execution));
    let openapi = rest.get("/openapi").await;
    assert!(openapi["paths"].as_object().unwrap().len() > 40);
}

/// A field that no descriptor has.
fn unknown() -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::bytes::encode(901, &b"salt".to_vec(), &mut out);
    out
}

fn find(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => find(&path, name, found),
            path if path.file_name().is_some_and(|found| found == name) => found.push(path),
            _ => {}
        }
    }
}

#[tokio::test]
async fn plugins_receive_templates_as_they_were_sent() {
    let rest = Rest::start();
    let id = Identifier {
        resource_type: ResourceType::Task as i32,
        project: "flytesnacks".to_owned(),
        domain: "development".to_owned(),
        name: "newer".to_owned(),
        version: "v1".to_owned(),
        ..Identifier::default()
    };
    // The path of the template among the arguments has the plugin upload what it received.
    let container = Container {
        image: "any".to_owned(),
        command: vec!["true".to_owned()],
        args: vec!["{{.taskTemplatePath}}".to_owned()],
        ..Container::default()
    };
    let runtime = RuntimeMetadata { version: "1".to_owned(), ..RuntimeMetadata::default() };
    let template = TaskTemplate {
        id: Some(id.clone()),
        r#type: "raw-container".to_owned(),
        metadata: Some(TaskMetadata { runtime: Some(runtime), ..TaskMetadata::default() }),
        interface: Some(TypedInterface::default()),
        target: Some(Target::Container(container.clone())),
        ..TaskTemplate::default()
    };
    // The container comes once more, with a field that nobody knows; so does the template.
    let mut sent = [unknown(), template.encode_to_vec()].concat();
    prost::encoding::bytes::encode(6, &unknown(), &mut sent);
    let request = TaskCreateRequest { id: Some(id), spec: Some(TaskSpec::default()) };
    let mut request = request.encode_to_vec();
    let mut spec = Vec::new();
    prost::encoding::bytes::encode(1, &sent, &mut spec);
    prost::encoding::bytes::encode(2, &spec, &mut request);
    let post = rest.client.post(rest.url("/tasks")).header("content-type", "application/octet-stream");
    let reply = post.body(request).send().await.unwrap();
    assert_eq!(reply.status().as_u16(), 200, "{:?}", reply.bytes().await);
    rest.run("newer", json!({})).await;
    let mut found = Vec::new();
    find(&rest.server.data, "task.pb", &mut found);
    assert!(!found.is_empty(), "the plugin uploaded no template");
    for path in found {
        assert_eq!(std::fs::read(&path).unwrap(), sent, "{}", path.display());
    }
}

/// Some thousands of odd requests to every method of every service. `PINION_ODD_SEED` and `PINION_ODD_COUNT` repeat
/// others or more of them.
#[test]
fn odd_requests_are_refused_with_a_fitting_code_and_alike_over_grpc_and_rest() {
    let name = "odd_requests_are_refused_with_a_fitting_code_and_alike_over_grpc_and_rest";
    let Some(python) = tests::python(name) else { return };
    let server = Server::start(Options::default());
    let of = |key: &str, usual: &str| std::env::var(key).unwrap_or_else(|_| usual.to_owned());
    let (count, seed) = (of("PINION_ODD_COUNT", "20"), of("PINION_ODD_SEED", "1"));
    server.scenario_of(&python, &["odd_requests.py", &count, &seed]);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
