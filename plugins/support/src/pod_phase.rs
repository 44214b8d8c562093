//! Reads the phase of a task from its pod's status (execution.md B10, with the deviation that a plain non-zero exit
//! is the user's fault).

use plugin_api::error::Kind;
use plugin_api::phase::{self, PhaseInfoExt};
use plugin_api::{Object, PhaseInfo};
use serde_json::Value;

use crate::pod_config::PodConfig;
use crate::pod_spec::PRIMARY_CONTAINER;

/// Pod reasons that say that the node went away under the task.
const NODE_LOSS: [&str; 5] = ["Shutdown", "Terminated", "NodeShutdown", "NodeAffinity", "NodeLost"];

/// The phase of the attempt. `now_ms` is the host's clock, for the grace periods.
pub fn read(pod: &Object, config: &PodConfig, now_ms: i64) -> PhaseInfo {
    match pod.text("/status/phase") {
        "" => phase::queued("pod submitted"),
        "Pending" => pending(pod, config, now_ms),
        "Failed" => failed(pod),
        "Succeeded" => match oom_killed(pod) {
            Some(name) => oom(pod, &name),
            None => phase::succeeded("pod succeeded"),
        },
        _ => running(pod),
    }
}

fn pending(pod: &Object, config: &PodConfig, now_ms: i64) -> PhaseInfo {
    for condition in list(pod, "/status/conditions") {
        let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("type") == "PodScheduled" && text("status") == "False" {
            return phase::queued(format!("{}: {}", text("reason"), text("message")));
        }
        if text("type") == "Ready"
            && text("status") == "False"
            && let Some(info) = waiting(pod, config, now_ms, text("reason"), text("lastTransitionTime"))
        {
            return info;
        }
    }
    let limit = config.pod_pending_timeout_seconds;
    if limit > 0
        && age_seconds(pod.text("/metadata/creationTimestamp"), now_ms).is_some_and(|age| age > limit)
    {
        let message = format!("the pod was pending for more than {limit} s");
        return phase::retryable_failure(Kind::User, "PodPendingTimeout", message).with_cleanup();
    }
    if list(pod, "/status/containerStatuses").next().is_some() {
        return phase::initializing("containers are being created");
    }
    phase::queued("pod is waiting for a place")
}

fn waiting(pod: &Object, config: &PodConfig, now_ms: i64, condition: &str, since: &str) -> Option<PhaseInfo> {
    let age = age_seconds(since, now_ms).unwrap_or(0);
    for status in list(pod, "/status/containerStatuses") {
        let Some(state) = status.pointer("/state/waiting") else { continue };
        let reason = state.get("reason").and_then(Value::as_str).unwrap_or_default();
        let message = state.get("message").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{reason}: {message}");
        let code = format!("{condition}|{reason}");
        return Some(match reason {
            "ErrImagePull" | "ContainerCreating" | "PodInitializing" | "" => phase::initializing(text),
            "CreateContainerError" if age < config.create_container_error_grace_period_seconds => {
                phase::initializing(text)
            }
            "CreateContainerError" | "CreateContainerConfigError" | "InvalidImageName" => {
                phase::permanent_failure(Kind::User, code, text).with_cleanup()
            }
            "ImagePullBackOff" if age < config.image_pull_backoff_grace_period_seconds => {
                phase::initializing(text)
            }
            "ImagePullBackOff" => phase::retryable_failure(Kind::User, code, text).with_cleanup(),
            _ => phase::retryable_failure(Kind::System, code, text).with_cleanup(),
        });
    }
    None
}

fn failed(pod: &Object) -> PhaseInfo {
    let reason = pod.text("/status/reason");
    let message = failure_message(pod);
    if NODE_LOSS.contains(&reason) {
        return phase::retryable_failure(Kind::System, "Interrupted", message);
    }
    if let Some(name) = oom_killed(pod) {
        return oom(pod, &name);
    }
    let primary = primary_name(pod);
    for status in list(pod, "/status/containerStatuses") {
        let Some(ended) = ended(status) else { continue };
        if matches!(exit_code(ended), 137 | 247) {
            let is_primary = name_of(status) == primary;
            let kind = if is_primary || primary.is_empty() { Kind::System } else { Kind::User };
            return phase::retryable_failure(kind, "Interrupted", message);
        }
    }
    let code = if reason.is_empty() { primary_end_reason(pod, &primary) } else { reason.to_owned() };
    phase::retryable_failure(Kind::User, code, message)
}

fn primary_end_reason(pod: &Object, primary: &str) -> String {
    let reasons = |status: &Value| {
        let ended = ended(status)?;
        (exit_code(ended) != 0)
            .then(|| ended.get("reason").and_then(Value::as_str).unwrap_or("Error").to_owned())
    };
    let find = |of_primary: bool| {
        list(pod, "/status/containerStatuses")
            .filter(|status| !of_primary || name_of(status) == primary)
            .find_map(reasons)
    };
    find(true).or_else(|| find(false)).unwrap_or_else(|| "Error".to_owned())
}

fn running(pod: &Object) -> PhaseInfo {
    let primary = primary_name(pod);
    if primary.is_empty() {
        let mut statuses = list(pod, "/status/containerStatuses")
            .chain(list(pod, "/status/initContainerStatuses"))
            .peekable();
        let all_done = statuses.peek().is_some()
            && statuses.all(|status| ended(status).is_some_and(|ended| exit_code(ended) == 0));
        return if all_done {
            phase::succeeded("all containers ended")
        } else {
            phase::running("pod is running")
        };
    }
    let status = list(pod, "/status/containerStatuses").find(|status| name_of(status) == primary);
    let Some(status) = status else {
        let declared = list(pod, "/spec/containers").any(|container| name_of(container) == primary);
        return if declared {
            phase::running("pod is running")
        } else {
            phase::permanent_failure(
                Kind::System,
                "PrimaryContainerNotFound",
                format!("the pod has no container `{primary}`"),
            )
        };
    };
    let Some(ended) = ended(status) else {
        return phase::running("pod is running");
    };
    let reason = ended.get("reason").and_then(Value::as_str).unwrap_or("Error");
    match exit_code(ended) {
        _ if reason == "OOMKilled" => oom(pod, &primary),
        0 => phase::succeeded("the primary container ended"),
        137 => phase::retryable_failure(Kind::System, reason, failure_message(pod)),
        _ => phase::retryable_failure(Kind::User, reason, failure_message(pod)),
    }
}

fn oom(pod: &Object, container: &str) -> PhaseInfo {
    let message = format!(
        "container {container} used more memory than its limit; raise its memory request and limit. {}",
        failure_message(pod)
    );
    phase::retryable_failure(Kind::User, "OOMKilled", message)
}

fn oom_killed(pod: &Object) -> Option<String> {
    list(pod, "/status/containerStatuses")
        .chain(list(pod, "/status/initContainerStatuses"))
        .filter(|status| {
            ended(status).and_then(|ended| ended.get("reason")).and_then(Value::as_str) == Some("OOMKilled")
        })
        .map(|status| name_of(status).to_owned())
        .last()
}

fn failure_message(pod: &Object) -> String {
    let mut parts = Vec::new();
    for text in [pod.text("/status/reason"), pod.text("/status/message")] {
        if !text.is_empty() {
            parts.push(text.to_owned());
        }
    }
    let statuses = list(pod, "/status/initContainerStatuses").chain(list(pod, "/status/containerStatuses"));
    for status in statuses {
        let Some(ended) = ended(status) else { continue };
        let reason = ended.get("reason").and_then(Value::as_str).unwrap_or_default();
        let message = ended.get("message").and_then(Value::as_str).unwrap_or_default().trim();
        parts.push(format!(
            "[{}] exited with code {} ({reason}). {message}",
            name_of(status),
            exit_code(ended)
        ));
    }
    parts.join("\n").trim().to_owned()
}

fn list<'a>(pod: &'a Object, pointer: &str) -> impl Iterator<Item = &'a Value> {
    pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn primary_name(pod: &Object) -> String {
    let annotations = pod.pointer("/metadata/annotations");
    annotations
        .and_then(|map| map.get(PRIMARY_CONTAINER))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn name_of(status: &Value) -> &str {
    status.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn ended(status: &Value) -> Option<&Value> {
    status.pointer("/state/terminated").filter(|ended| ended.is_object())
}

fn exit_code(ended: &Value) -> i64 {
    ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0)
}

/// Seconds from an RFC 3339 time in UTC to now; none when it can not be read.
fn age_seconds(since: &str, now_ms: i64) -> Option<i64> {
    let (date, time) = since.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let time = time.trim_end_matches('Z');
    let mut time = time.split(':').map(|part| part.split('.').next().and_then(|n| n.parse::<i64>().ok()));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days from civil, after Howard Hinnant's chrono-compatible date algorithms.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = era * 146_097 + doe - 719_468;
    Some(now_ms / 1000 - (days * 86_400 + hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::wire::Phase;
    use serde_json::json;

    /// 2026-01-01T00:10:00Z.
    const NOW_MS: i64 = 1_767_226_200_000;

    fn pod(status: Value) -> Object {
        Object::from_value(json!({
            "metadata": {"annotations": {"primary_container_name": "main"}},
            "spec": {"containers": [{"name": "main"}, {"name": "side"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn ended(name: &str, code: i64, reason: &str) -> Value {
        json!({"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "message": "boom"}}})
    }

    fn verdict(status: Value) -> (Phase, String, String) {
        let info = read(&pod(status), &PodConfig::default(), NOW_MS);
        let error = info.error.clone().unwrap_or_default();
        (info.phase(), error.code.clone(), format!("{:?}", error.kind()))
    }

    #[test]
    fn ends_are_told_apart_by_whose_fault_they_are() {
        let retry = Phase::RetryableFailure;
        for (status, phase, code, kind) in [
            (json!({"phase": "Failed", "reason": "Shutdown"}), retry, "Interrupted", "System"),
            (
                json!({"phase": "Failed", "containerStatuses": [ended("main", 1, "Error")]}),
                retry,
                "Error",
                "User",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended("main", 137, "Error")]}),
                retry,
                "Interrupted",
                "System",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended("side", 137, "Error")]}),
                retry,
                "Interrupted",
                "User",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended("main", 137, "OOMKilled")]}),
                retry,
                "OOMKilled",
                "User",
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [ended("side", 137, "OOMKilled")]}),
                retry,
                "OOMKilled",
                "User",
            ),
            (json!({"phase": "Failed", "reason": "DeadlineExceeded"}), retry, "DeadlineExceeded", "User"),
            (
                json!({"phase": "Running", "containerStatuses": [ended("main", 137, "Error")]}),
                retry,
                "Error",
                "System",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [ended("main", 3, "Error")]}),
                retry,
                "Error",
                "User",
            ),
        ] {
            assert_eq!(verdict(status.clone()), (phase, code.to_owned(), kind.to_owned()), "{status}");
        }
    }

    #[test]
    fn live_pods_map_to_live_phases() {
        let waiting = |reason: &str, since: &str| {
            json!({"phase": "Pending",
                "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "lastTransitionTime": since}],
                "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason}}}]})
        };
        let (fresh, old) = ("2026-01-01T00:09:30Z", "2026-01-01T00:00:00Z");
        for (status, phase) in [
            (json!({}), Phase::Queued),
            (json!({"phase": "Pending"}), Phase::Queued),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}),
                Phase::Queued,
            ),
            (waiting("ContainerCreating", fresh), Phase::Initializing),
            (waiting("ImagePullBackOff", fresh), Phase::Initializing),
            (waiting("ImagePullBackOff", old), Phase::RetryableFailure),
            (waiting("CreateContainerError", fresh), Phase::Initializing),
            (waiting("CreateContainerError", old), Phase::PermanentFailure),
            (waiting("InvalidImageName", fresh), Phase::PermanentFailure),
            (json!({"phase": "Running"}), Phase::Running),
            (json!({"phase": "Unknown"}), Phase::Running),
            (
                json!({"phase": "Running", "containerStatuses": [ended("side", 0, "Completed")]}),
                Phase::Running,
            ),
            (
                json!({"phase": "Running", "containerStatuses": [ended("main", 0, "Completed"), {"name": "side", "state": {"running": {}}}]}),
                Phase::Succeeded,
            ),
            (json!({"phase": "Succeeded"}), Phase::Succeeded),
        ] {
            assert_eq!(verdict(status.clone()).0, phase, "{status}");
        }
    }

    #[test]
    fn failure_messages_carry_exit_codes_and_last_words() {
        let info = read(
            &pod(json!({"phase": "Failed", "containerStatuses": [ended("main", 2, "Error")]})),
            &PodConfig::default(),
            NOW_MS,
        );
        let message = info.error.unwrap_or_default().message;
        assert!(message.contains("[main] exited with code 2") && message.contains("boom"), "{message}");
    }

    #[test]
    fn times_are_read_as_kubernetes_writes_them() {
        assert_eq!(age_seconds("2026-01-01T00:09:00Z", NOW_MS), Some(60));
        assert_eq!(age_seconds("2026-01-01T00:09:00.123456Z", NOW_MS), Some(60));
        assert_eq!(age_seconds("nonsense", NOW_MS), None);
    }
}
