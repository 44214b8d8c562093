//! Checks the shape of built pods.

use super::*;
use plugin_api::wire::TaskExecutionContext;
use prost::Message;
use proto::flyteidl::core::{KeyValuePair, TaskMetadata, TaskNodeOverrides, TaskTemplate, resources};

fn container() -> Container {
    Container {
        image: "img:1".into(),
        args: vec!["pyflyte-execute".into(), "--inputs".into(), "{{.input}}".into(), String::new()],
        env: vec![KeyValuePair { key: "A".into(), value: "task".into() }],
        resources: Some(Resources {
            requests: vec![resources::ResourceEntry {
                name: resources::ResourceName::Memory.into(),
                value: "300Mi".into(),
            }],
            limits: vec![],
        }),
        ..Default::default()
    }
}

fn context(template: &TaskTemplate, overrides: TaskNodeOverrides) -> TaskContext {
    TaskContext::new(TaskExecutionContext {
        task_template: template.encode_to_vec(),
        generated_name: "ex-n0-0".into(),
        namespace: "p-d".into(),
        input_uri: "s3://b/inputs.pb".into(),
        env: [("A".to_owned(), "host".to_owned()), ("B".to_owned(), "host".to_owned())].into(),
        overrides: overrides.encode_to_vec(),
        ..Default::default()
    })
}

fn of_container(metadata: TaskMetadata) -> TaskTemplate {
    TaskTemplate {
        target: Some(task_template::Target::Container(container())),
        metadata: Some(metadata),
        ..Default::default()
    }
}

#[test]
fn a_container_task_becomes_a_one_container_pod() {
    let cx = context(&of_container(TaskMetadata::default()), TaskNodeOverrides::default());
    let pod = build(&cx, &PodConfig::default()).unwrap();
    let container = &pod.as_value()["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["pyflyte-execute", "--inputs", "s3://b/inputs.pb", ""]));
    assert_eq!(
        container["env"],
        json!([{"name": "A", "value": "task"}, {"name": "B", "value": "host"}]),
        "the task's own environment wins"
    );
    assert_eq!(container["resources"], json!({"requests": {"cpu": "250m", "memory": "300Mi"}}));
    assert_eq!(pod.text("/spec/restartPolicy"), "Never");
    assert_eq!(pod.text("/metadata/annotations/primary_container_name"), "ex-n0-0");
}

#[test]
fn eager_tasks_leave_room_for_what_they_wait_for() {
    let eager = TaskMetadata { is_eager: true, ..TaskMetadata::default() };
    let cx = context(&of_container(eager.clone()), TaskNodeOverrides::default());
    let pod = build(&cx, &PodConfig::default()).unwrap();
    let requests = json!({"cpu": "10m", "memory": "300Mi"});
    assert_eq!(pod.as_value()["spec"]["containers"][0]["resources"], json!({"requests": requests}));
    let cpu = resources::ResourceEntry { name: resources::ResourceName::Cpu.into(), value: "2".into() };
    let resources = Some(Resources { requests: vec![cpu], limits: vec![] });
    let cx = context(&of_container(eager), TaskNodeOverrides { resources, ..TaskNodeOverrides::default() });
    let pod = build(&cx, &PodConfig::default()).unwrap();
    assert_eq!(pod.as_value()["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
}

#[test]
fn node_overrides_change_image_and_resources() {
    let overrides = TaskNodeOverrides {
        container_image: "img:2".into(),
        resources: Some(Resources {
            requests: vec![resources::ResourceEntry {
                name: resources::ResourceName::Cpu.into(),
                value: "2".into(),
            }],
            limits: vec![],
        }),
        ..Default::default()
    };
    let cx = context(&of_container(TaskMetadata::default()), overrides);
    let pod = build(&cx, &PodConfig::default()).unwrap();
    assert_eq!(pod.text("/spec/containers/0/image"), "img:2");
    assert_eq!(
        pod.pointer("/spec/containers/0/resources/requests"),
        Some(&json!({"cpu": "2", "memory": "300Mi"}))
    );
}

#[test]
fn a_pod_template_lies_beneath_the_task() {
    let config = PodConfig {
        pod_templates: [(
            "gpu".to_owned(),
            json!({"metadata": {"labels": {"team": "x"}}, "spec": {
                "nodeSelector": {"disk": "ssd"},
                "containers": [
                    {"name": "default", "env": [{"name": "A", "value": "template"}, {"name": "C", "value": "template"}]},
                    {"name": "primary", "image": "template:1", "workingDir": "/w"},
                    {"name": "proxy", "image": "proxy:1"}
                ]}}),
        )]
        .into(),
        ..PodConfig::default()
    };
    let metadata = TaskMetadata { pod_template_name: "gpu".into(), ..Default::default() };
    let pod = build(&context(&of_container(metadata), TaskNodeOverrides::default()), &config).unwrap();
    assert_eq!(pod.text("/metadata/labels/team"), "x");
    assert_eq!(pod.text("/spec/nodeSelector/disk"), "ssd");
    assert_eq!(pod.text("/spec/containers/0/image"), "img:1", "the task wins");
    assert_eq!(pod.text("/spec/containers/0/workingDir"), "/w");
    assert_eq!(pod.text("/spec/containers/0/env/0/value"), "task");
    assert_eq!(pod.text("/spec/containers/1/name"), "proxy");
}

#[test]
fn an_unknown_pod_template_says_which_are_known() {
    let metadata = TaskMetadata { pod_template_name: "nope".into(), ..Default::default() };
    let error = build(&context(&of_container(metadata), TaskNodeOverrides::default()), &PodConfig::default());
    assert!(error.unwrap_err().message.contains("`nope`"));
}

#[test]
fn a_sidecar_pod_needs_a_primary_container_that_exists() {
    let pod = |primary: &str, containers: Value| {
        let spec = plugin_api::json::to_struct(&json!({"containers": containers}));
        let target =
            K8sPod { pod_spec: Some(spec), primary_container_name: primary.into(), ..Default::default() };
        let template =
            TaskTemplate { target: Some(task_template::Target::K8sPod(target)), ..Default::default() };
        build(&context(&template, TaskNodeOverrides::default()), &PodConfig::default())
    };
    let two = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
    assert_eq!(pod("a", two.clone()).unwrap().text("/metadata/annotations/primary_container_name"), "a");
    assert_eq!(
        pod("", json!([{"name": "a"}])).unwrap().text("/metadata/annotations/primary_container_name"),
        "a"
    );
    for (primary, containers) in [("c", two.clone()), ("", two), ("a", json!([]))] {
        assert_eq!(pod(primary, containers).unwrap_err().code, "BadTaskSpecification");
    }
}

#[test]
fn a_task_without_target_is_refused() {
    let error =
        build(&context(&TaskTemplate::default(), TaskNodeOverrides::default()), &PodConfig::default());
    assert_eq!(error.unwrap_err().code, "BadTaskSpecification");
}
