//! Sets up a local cluster in a directory of its own.

use std::{path::Path, sync::Arc, time::Duration};

use cluster::{
    Cluster, Event, Object, ObjectRef,
    local::{Config, LocalCluster},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::broadcast::Receiver, time::timeout};

/// Long enough for a machine that is busy with everything else.
pub const SOON: Duration = Duration::from_secs(30);

pub struct World {
    pub cluster: LocalCluster,
    pub events: Receiver<Arc<Event>>,
    pub root: TempDir,
}

impl World {
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> World {
        let root = tempfile::tempdir().unwrap();
        World::at(root, change).await
    }

    pub async fn at(root: TempDir, change: impl FnOnce(&mut Config)) -> World {
        let mut config = config(root.path());
        change(&mut config);
        let cluster = LocalCluster::new(config).unwrap();
        let events = cluster.watch();
        cluster.start().await.unwrap();
        World { cluster, events, root }
    }

    /// Applies a pod and waits for its end.
    pub async fn run(&mut self, pod: Value) -> Object {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.cluster.apply(pod).await.unwrap();
        self.end(&name).await
    }

    /// Waits for the end of a pod.
    pub async fn end(&mut self, name: &str) -> Object {
        self.until(name, |object| matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")))
            .await
    }

    /// Waits until an event of the pod is as expected; events of others are lost.
    pub async fn until(&mut self, name: &str, expected: impl Fn(&Object) -> bool) -> Object {
        let wait = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if event.object_ref.name == name && !event.deleted && expected(&event.object) {
                    return Object::clone(&event.object);
                }
            }
        };
        timeout(SOON, wait).await.unwrap_or_else(|_| panic!("pod {name} never came so far"))
    }

    pub async fn log(&self, name: &str, container: &str) -> String {
        let chunk = self.cluster.logs(&reference(name), container, 0).await.unwrap();
        String::from_utf8(chunk.data).unwrap()
    }

    pub async fn stop(self) -> TempDir {
        self.cluster.shutdown(Duration::from_secs(5)).await;
        self.root
    }
}

pub fn config(root: &Path) -> Config {
    Config {
        root: root.join("local"),
        supervisor: Some(env!("CARGO_BIN_EXE_cluster-test-supervisor").into()),
        ..Config::default()
    }
}

pub fn reference(name: &str) -> ObjectRef {
    ObjectRef {
        cluster: "local".into(),
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: "n".into(),
        name: name.into(),
    }
}

/// A pod of one container that runs a shell script. Doubled dollars are doubled again: a pod halves them.
pub fn shell(name: &str, script: &str) -> Value {
    pod(name, json!([{"name": "c", "image": "img:1", "command": ["sh", "-c", script.replace("$$", "$$$$")]}]))
}

pub fn pod(name: &str, containers: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
        "spec": {"restartPolicy": "Never", "containers": containers}})
}

pub fn terminated(object: &Object) -> &Value {
    &object["status"]["containerStatuses"][0]["state"]["terminated"]
}

/// Whether the process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until a file holds a line, and reads it as a process id.
pub async fn pid_in(path: &Path) -> i32 {
    let wait = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') {
                return text.trim().parse().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait).await.expect("a process id")
}

/// Waits until the process is gone.
pub async fn gone(pid: i32) {
    let wait = async {
        while is_alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait).await.unwrap_or_else(|_| panic!("process {pid} is still there"));
}
