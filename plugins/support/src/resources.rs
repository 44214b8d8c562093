//! Turns Flyte's resource entries into Kubernetes requests and limits.

use plugin_api::PluginError;
use proto::flyteidl::core::{Resources, resources::ResourceName};
use serde_json::{Map, Value};

/// `resources` of a container: what the task asks for, with the node's overrides in front and platform defaults behind.
///
/// A request without a limit gets no limit, a limit without a request is also the request.
pub fn merge(
    task: Option<&Resources>,
    overrides: Option<&Resources>,
    defaults: &Map<String, Value>,
) -> Result<Value, PluginError> {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for (name, value) in defaults {
        requests.insert(name.clone(), value.clone());
    }
    for resources in [task, overrides].into_iter().flatten() {
        fill(&mut requests, &resources.requests)?;
        fill(&mut limits, &resources.limits)?;
    }
    for (name, limit) in &limits {
        let stated = [task, overrides].into_iter().flatten().any(|resources| {
            resources.requests.iter().any(|entry| kubernetes_name(entry.name()) == Some(name.as_str()))
        });
        if !stated {
            requests.insert(name.clone(), limit.clone());
        }
    }
    let mut out = Map::new();
    if !requests.is_empty() {
        out.insert("requests".into(), Value::Object(requests));
    }
    if !limits.is_empty() {
        out.insert("limits".into(), Value::Object(limits));
    }
    Ok(Value::Object(out))
}

fn fill(
    into: &mut Map<String, Value>,
    entries: &[proto::flyteidl::core::resources::ResourceEntry],
) -> Result<(), PluginError> {
    for entry in entries {
        let name = kubernetes_name(entry.name()).ok_or_else(|| {
            PluginError::user("BadTaskSpecification", format!("resource number {} is not known", entry.name))
        })?;
        into.insert(name.to_owned(), Value::String(entry.value.clone()));
    }
    Ok(())
}

fn kubernetes_name(name: ResourceName) -> Option<&'static str> {
    match name {
        ResourceName::Cpu => Some("cpu"),
        ResourceName::Memory => Some("memory"),
        ResourceName::Gpu => Some("nvidia.com/gpu"),
        ResourceName::EphemeralStorage => Some("ephemeral-storage"),
        ResourceName::Storage => Some("storage"),
        ResourceName::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::flyteidl::core::resources::ResourceEntry;
    use serde_json::json;

    fn cpu(value: &str) -> Vec<ResourceEntry> {
        vec![ResourceEntry { name: ResourceName::Cpu.into(), value: value.into() }]
    }

    #[test]
    fn overrides_win_over_the_task_and_the_task_over_defaults() {
        let defaults = json!({"cpu": "1", "memory": "1Gi"}).as_object().unwrap().clone();
        let task = Resources { requests: cpu("2"), limits: vec![] };
        let node = Resources { requests: vec![], limits: cpu("4") };
        assert_eq!(
            merge(Some(&task), None, &defaults).unwrap(),
            json!({"requests": {"cpu": "2", "memory": "1Gi"}})
        );
        assert_eq!(
            merge(Some(&task), Some(&node), &defaults).unwrap(),
            json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4"}})
        );
        assert_eq!(
            merge(None, Some(&node), &defaults).unwrap(),
            json!({"requests": {"cpu": "4", "memory": "1Gi"}, "limits": {"cpu": "4"}})
        );
    }

    #[test]
    fn an_unknown_resource_is_an_error() {
        let task =
            Resources { requests: vec![ResourceEntry { name: 99, value: "1".into() }], limits: vec![] };
        assert_eq!(merge(Some(&task), None, &Map::new()).unwrap_err().code, "BadTaskSpecification");
    }
}
