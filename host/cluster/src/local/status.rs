//! Builds the status that a kubelet would report, purely.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::pod::{Container, Pod};
use crate::Object;

/// Where a container is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ContainerState {
    /// Not started yet.
    Waiting { reason: &'static str, message: String },
    /// Its process runs.
    Running { since: Timestamp },
    /// Its process ended, or never came to be.
    Terminated(Terminated),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terminated {
    pub exit_code: i32,
    pub signal: i32,
    pub reason: &'static str,
    pub message: String,
    pub started: Timestamp,
    pub finished: Timestamp,
}

impl ContainerState {
    pub(crate) fn pending() -> ContainerState {
        ContainerState::Waiting { reason: "PodInitializing", message: String::new() }
    }

    pub(crate) fn terminated(&self) -> Option<&Terminated> {
        match self {
            ContainerState::Terminated(terminated) => Some(terminated),
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
        }
    }
}

/// Everything that a pod's status is made of.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub phase: &'static str,
    /// Why the pod as a whole failed, where no container says.
    pub reason: &'static str,
    pub message: String,
    /// Why it is not scheduled yet; empty once it is.
    pub unscheduled: String,
    /// What else the user should know of how it was scheduled.
    pub note: String,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub deleted: Option<Timestamp>,
    /// In the order of [`Pod::all`].
    pub states: Vec<ContainerState>,
}

impl Progress {
    pub(crate) fn new(pod: &Pod, now: Timestamp) -> Progress {
        Progress {
            phase: "Pending",
            reason: "",
            message: String::new(),
            unscheduled: String::new(),
            note: String::new(),
            created: now,
            started: None,
            deleted: None,
            states: pod.all().map(|_| ContainerState::pending()).collect(),
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.phase, "Succeeded" | "Failed")
    }
}

/// Writes what is known of the pod into its object.
pub(crate) fn write(object: &mut Object, pod: &Pod, progress: &Progress, uid: &str, version: u64) {
    let metadata = &mut object["metadata"];
    metadata["namespace"] = json!(pod.namespace);
    metadata["uid"] = json!(uid);
    metadata["resourceVersion"] = json!(version.to_string());
    metadata["creationTimestamp"] = time(progress.created);
    if let Some(deleted) = progress.deleted {
        metadata["deletionTimestamp"] = time(deleted);
    }
    let (init, containers) = progress.states.split_at(pod.init.len().min(progress.states.len()));
    let mut status = json!({
        "phase": progress.phase,
        "conditions": conditions(pod, progress),
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "qosClass": "Burstable",
        "containerStatuses": containers_status(&pod.containers, containers, uid),
    });
    if !pod.init.is_empty() {
        status["initContainerStatuses"] = containers_status(&pod.init, init, uid);
    }
    if let Some(started) = progress.started {
        status["startTime"] = time(started);
    }
    for (key, text) in [("reason", progress.reason), ("message", progress.message.as_str())] {
        if !text.is_empty() {
            status[key] = json!(text);
        }
    }
    object["status"] = status;
}

fn time(at: Timestamp) -> Value {
    json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn conditions(pod: &Pod, progress: &Progress) -> Value {
    if !progress.unscheduled.is_empty() {
        return json!([{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": progress.unscheduled, "lastTransitionTime": time(progress.created),
        }]);
    }
    let since = time(progress.started.unwrap_or(progress.created));
    let mut scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": since});
    if !progress.note.is_empty() {
        scheduled["message"] = json!(progress.note);
    }
    let init_done = progress.states.iter().zip(&pod.init).all(|(state, container)| match state {
        ContainerState::Terminated(terminated) => terminated.exit_code == 0,
        ContainerState::Running { .. } => container.sidecar,
        ContainerState::Waiting { .. } => false,
    });
    let running = progress.states.iter().skip(pod.init.len());
    let ready = running.clone().all(|state| matches!(state, ContainerState::Running { .. }));
    let flag = |kind: &str, on: bool| {
        let mut condition =
            json!({"type": kind, "status": if on { "True" } else { "False" }, "lastTransitionTime": since});
        if !on && progress.phase == "Succeeded" {
            condition["reason"] = json!("PodCompleted");
        } else if !on && progress.phase == "Failed" {
            condition["reason"] = json!("PodFailed");
        }
        condition
    };
    json!([flag("Initialized", init_done), flag("Ready", ready), flag("ContainersReady", ready), scheduled])
}

fn containers_status(containers: &[Container], states: &[ContainerState], uid: &str) -> Value {
    let one = |(container, state): (&Container, &ContainerState)| {
        let (key, detail, started) = match state {
            ContainerState::Waiting { reason, message } => {
                let mut waiting = json!({"reason": reason});
                if !message.is_empty() {
                    waiting["message"] = json!(message);
                }
                ("waiting", waiting, false)
            }
            ContainerState::Running { since } => ("running", json!({"startedAt": time(*since)}), true),
            ContainerState::Terminated(ended) => ("terminated", terminated(ended, container, uid), false),
        };
        let mut status = json!({
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "ready": started,
            "started": started,
            "restartCount": 0,
            "state": {key: detail},
            "lastState": {},
        });
        if key != "waiting" {
            status["containerID"] = json!(container_id(container, uid));
        }
        status
    };
    containers.iter().zip(states).map(one).collect()
}

fn container_id(container: &Container, uid: &str) -> String {
    format!("local://{uid}/{}", container.name)
}

fn terminated(ended: &Terminated, container: &Container, uid: &str) -> Value {
    let mut value = json!({
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "startedAt": time(ended.started),
        "finishedAt": time(ended.finished),
        "containerID": container_id(container, uid),
    });
    if ended.signal != 0 {
        value["signal"] = json!(ended.signal);
    }
    if !ended.message.is_empty() {
        value["message"] = json!(ended.message);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::quantity::Resources;

    fn subject() -> (Object, Pod, Progress) {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"k": "v"}},
            "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "c", "image": "img"}]}});
        let pod = Pod::read(&object, "u", Resources::default()).unwrap();
        let progress = Progress::new(&pod, Timestamp::from_second(1_700_000_000).unwrap());
        (object, pod, progress)
    }

    #[test]
    fn waiting_in_line_is_unschedulable() {
        let (mut object, pod, mut progress) = subject();
        progress.unscheduled = "waits for 2 cpu".to_owned();
        write(&mut object, &pod, &progress, "u", 3);
        let condition = &object["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Unschedulable")));
        assert_eq!(object["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
        assert_eq!(object["metadata"]["labels"]["k"], "v");
    }

    #[test]
    fn an_end_by_signal_is_told_in_full() {
        let (mut object, pod, mut progress) = subject();
        let at = progress.created;
        let ended = Terminated {
            exit_code: 137,
            signal: 9,
            reason: "OOMKilled",
            message: "over the limit".to_owned(),
            started: at,
            finished: at,
        };
        progress.phase = "Failed";
        progress.states[1] = ContainerState::Terminated(ended);
        write(&mut object, &pod, &progress, "u", 4);
        assert_eq!(
            object["status"]["containerStatuses"][0]["state"],
            json!({"terminated": {"exitCode": 137, "signal": 9, "reason": "OOMKilled", "message": "over the limit",
                "startedAt": "2023-11-14T22:13:20Z", "finishedAt": "2023-11-14T22:13:20Z",
                "containerID": "local://u/c"}})
        );
    }
}
