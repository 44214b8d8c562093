//! Checks the plugin's own rules; pods and phases are checked in `support`.

use super::*;
use plugin_api::wire::TaskExecutionContext;
use serde_json::json;

fn config(value: serde_json::Value) -> Config {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_schema_file_is_that_of_the_config() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Config)).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.schema.json");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), schema, "run with UPDATE_EXPECT=1");
}

#[test]
fn a_missing_default_pod_template_is_found_at_validation() {
    let bad = config(json!({"pods": {"default-pod-template": "x", "pod-templates": {"y": {}}}}));
    let pointers: Vec<String> =
        bad.validate().into_iter().map(|diagnostic| diagnostic.json_pointer).collect();
    assert_eq!(pointers, ["/pods/default-pod-template", "/pods/pod-templates/y"]);
    assert!(Config::default().validate().is_empty());
}

#[test]
fn log_links_come_once_the_pod_runs() {
    let plugin = Pod {
        config: config(
            json!({"log-links": [{"display-name": "Logs", "template-uri": "http://h/{{ .podName }}"}]}),
        ),
    };
    let cx = TaskContext::new(TaskExecutionContext::default());
    let pod = |phase: &str| {
        Object::from_value(json!({
            "metadata": {"name": "p", "annotations": {"primary_container_name": "c"}},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"phase": phase},
        }))
        .unwrap()
    };
    assert!(plugin.phase(&cx, &pod("Pending")).unwrap().logs.is_empty());
    let running = plugin.phase(&cx, &pod("Running")).unwrap();
    assert_eq!(running.logs[0].uri, "http://h/p");
    assert_eq!(running.version, 1);
}
