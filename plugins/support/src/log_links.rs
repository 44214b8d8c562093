//! Fills log link templates for the containers of a pod (execution.md B12).

use plugin_api::{Object, TaskContext};
use proto::flyteidl::core::{TaskLog, task_log::MessageFormat};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// One configured link.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogLink {
    /// What the link is called.
    pub display_name: String,
    /// The link, with `{{ .podName }}`, `{{ .namespace }}`, `{{ .containerName }}`, `{{ .podUID }}`,
    /// `{{ .generatedName }}`, `{{ .executionProject }}`, `{{ .executionDomain }}`, `{{ .executionName }}`,
    /// `{{ .nodeID }}`, `{{ .taskRetryAttempt }}` and `{{ .consoleUrl }}` filled in.
    pub template_uri: String,
}

/// The links of a pod: one per template and container.
pub fn links(cx: &TaskContext, pod: &Object, templates: &[LogLink]) -> Vec<TaskLog> {
    let containers: Vec<&str> = pod
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("name")?.as_str())
        .collect();
    let single = containers.len() == 1;
    let mut out = Vec::with_capacity(containers.len() * templates.len());
    for template in templates {
        for container in &containers {
            out.push(TaskLog {
                uri: fill(cx, pod, container, &template.template_uri),
                name: if single {
                    template.display_name.clone()
                } else {
                    format!("{} ({container})", template.display_name)
                },
                message_format: MessageFormat::Unknown.into(),
                show_while_pending: false,
                ..Default::default()
            });
        }
    }
    out
}

fn fill(cx: &TaskContext, pod: &Object, container: &str, template: &str) -> String {
    let execution = cx
        .id
        .as_ref()
        .and_then(|id| id.node_execution_id.as_ref())
        .and_then(|id| id.execution_id.clone())
        .unwrap_or_default();
    let attempt = cx.attempt.to_string();
    let values = [
        ("podname", pod.name()),
        ("namespace", pod.namespace()),
        ("containername", container),
        ("poduid", pod.text("/metadata/uid")),
        ("hostname", pod.text("/spec/hostname")),
        ("nodename", pod.text("/spec/nodeName")),
        ("generatedname", &cx.generated_name),
        ("executionproject", &execution.project),
        ("executiondomain", &execution.domain),
        ("executionname", &execution.name),
        ("nodeid", &cx.unique_node_id),
        ("taskretryattempt", &attempt),
        ("consoleurl", &cx.console_url),
    ];
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once("{{") {
        let Some((inside, after)) = tail.split_once("}}") else { break };
        out.push_str(before);
        let name = inside.trim().trim_start_matches('.').to_ascii_lowercase();
        out.push_str(values.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::wire::TaskExecutionContext;
    use serde_json::json;

    #[test]
    fn links_name_pod_and_container() {
        let cx = TaskContext::new(TaskExecutionContext {
            generated_name: "ex-n0-0".into(),
            unique_node_id: "n0".into(),
            ..Default::default()
        });
        let pod = Object::from_value(json!({
            "metadata": {"name": "ex-n0-0", "namespace": "p-d"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        }))
        .unwrap();
        let template = LogLink {
            display_name: "Logs".into(),
            template_uri:
                "http://h/{{ .namespace }}/{{.podName}}/{{ .containerName }}?n={{ .nodeID }}&u={{.unknown}}"
                    .into(),
        };
        let logs = links(&cx, &pod, &[template]);
        assert_eq!(logs[0].uri, "http://h/p-d/ex-n0-0/a?n=n0&u=");
        assert_eq!(logs[1].name, "Logs (b)");
    }
}
