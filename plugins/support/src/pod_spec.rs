//! Builds the pod of a task attempt (execution.md B10).

use plugin_api::{Object, PluginError, TaskContext};
use proto::flyteidl::core::{Container, K8sPod, Resources, task_template};
use serde_json::{Map, Value, json};

use crate::pod_config::PodConfig;
use crate::{command_template, resources};

/// Annotation that names the container whose end is the end of the task.
pub const PRIMARY_CONTAINER: &str = "primary_container_name";

/// Builds the pod: what the task says, then the node's overrides, then environment and resources, then the
/// pod template beneath it all.
pub fn build(cx: &TaskContext, config: &PodConfig) -> Result<Object, PluginError> {
    let template = cx.template()?;
    let (mut pod, primary) = match &template.target {
        Some(task_template::Target::Container(container)) => from_container(cx, container)?,
        Some(task_template::Target::K8sPod(pod)) => from_k8s_pod(cx, pod, &template.config)?,
        Some(task_template::Target::Sql(_)) => {
            return Err(bad("a task with an SQL target can not run in a pod"));
        }
        None => from_custom(cx, &template.config)?,
    };
    apply_node_pod_template(cx, &mut pod)?;
    let overrides = cx.overrides()?;
    for container in containers_mut(&mut pod) {
        let is_primary = container.get("name").and_then(Value::as_str) == Some(primary.as_str());
        if is_primary && !overrides.container_image.is_empty() {
            container.insert("image".into(), overrides.container_image.clone().into());
        }
        finish_container(cx, config, container, is_primary, overrides.resources.as_ref())?;
    }
    merge_pod_template(cx, config, &mut pod, &primary)?;
    finish_pod(cx, config, &mut pod)?;
    let metadata = object_at(&mut pod, "metadata");
    object_at_map(metadata, "annotations").insert(PRIMARY_CONTAINER.into(), primary.into());
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    Object::from_value(pod)
}

/// All texts of the template that are rendered, to see whether inputs are needed.
pub fn rendered_texts(cx: &TaskContext) -> Result<Vec<String>, PluginError> {
    let template = cx.template()?;
    let mut texts = Vec::new();
    match &template.target {
        Some(task_template::Target::Container(container)) => {
            texts.extend(container.command.iter().chain(&container.args).cloned());
        }
        Some(task_template::Target::K8sPod(pod)) => {
            if let Some(spec) = &pod.pod_spec {
                texts.push(plugin_api::json::from_struct(spec).to_string());
            }
        }
        _ => {}
    }
    Ok(texts)
}

fn bad(message: impl Into<String>) -> PluginError {
    PluginError::user("BadTaskSpecification", message)
}

fn from_container(cx: &TaskContext, container: &Container) -> Result<(Value, String), PluginError> {
    if container.image.is_empty() {
        return Err(bad("the container names no image"));
    }
    if container.data_config.as_ref().is_some_and(|data| data.enabled) {
        return Err(bad(
            "the container wants its inputs and outputs as files (data_config), which this plugin does not do; \
             read {{.input}} and write {{.outputPrefix}} instead",
        ));
    }
    let name = cx.generated_name.clone();
    let env: Vec<Value> =
        container.env.iter().map(|pair| json!({"name": pair.key, "value": pair.value})).collect();
    let ports: Vec<Value> = container
        .ports
        .iter()
        .map(|port| json!({"containerPort": port.container_port, "name": port.name}))
        .collect();
    let mut spec = json!({
        "name": name,
        "image": container.image,
        "command": container.command,
        "args": container.args,
        "env": env,
        "resources": resources::merge(container.resources.as_ref(), None, &Map::new())?,
    });
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    Ok((json!({"metadata": {}, "spec": {"containers": [spec]}}), name))
}

fn from_k8s_pod(
    cx: &TaskContext,
    pod: &K8sPod,
    config: &std::collections::BTreeMap<String, String>,
) -> Result<(Value, String), PluginError> {
    let spec = pod.pod_spec.as_ref().ok_or_else(|| bad("the k8s_pod target has no pod_spec"))?;
    let mut value = json!({"metadata": {}, "spec": plugin_api::json::from_struct(spec)});
    if let Some(metadata) = &pod.metadata {
        value["metadata"]["labels"] = json!(metadata.labels);
        value["metadata"]["annotations"] = json!(metadata.annotations);
    }
    let named = if pod.primary_container_name.is_empty() {
        config.get(PRIMARY_CONTAINER).cloned().unwrap_or_default()
    } else {
        pod.primary_container_name.clone()
    };
    let primary = primary_of(cx, &value, named)?;
    Ok((value, primary))
}

/// A sidecar task of the older forms: `custom` is `{podSpec, primaryContainerName}` or the pod spec itself.
fn from_custom(
    cx: &TaskContext,
    config: &std::collections::BTreeMap<String, String>,
) -> Result<(Value, String), PluginError> {
    let custom = cx.custom()?;
    let (spec, named) = match custom.get("podSpec") {
        Some(spec) => (
            spec.clone(),
            custom.get("primaryContainerName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        ),
        None => (custom.clone(), config.get(PRIMARY_CONTAINER).cloned().unwrap_or_default()),
    };
    if !spec.get("containers").is_some_and(Value::is_array) {
        return Err(bad("the task has neither a container nor a pod spec"));
    }
    let mut value = json!({"metadata": {}, "spec": spec});
    for key in ["labels", "annotations"] {
        if let Some(entries) = custom.get(key).filter(|_| custom.get("podSpec").is_some()) {
            value["metadata"][key] = entries.clone();
        }
    }
    let primary = primary_of(cx, &value, named)?;
    Ok((value, primary))
}

fn primary_of(cx: &TaskContext, pod: &Value, named: String) -> Result<String, PluginError> {
    let names: Vec<&str> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("name")?.as_str())
        .collect();
    if !named.is_empty() {
        if names.contains(&named.as_str()) {
            return Ok(named);
        }
        return Err(bad(format!(
            "the primary container `{named}` is not in the pod, which has: {}",
            names.join(", ")
        )));
    }
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(bad(format!("the pod of {} has no containers", cx.generated_name))),
        _ => Err(bad(format!("the pod has the containers {} but names none as primary", names.join(", ")))),
    }
}

fn object_at<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value[key].is_object() {
        value[key] = json!({});
    }
    match &mut value[key] {
        Value::Object(map) => map,
        _ => unreachable!("invariant: made an object above"),
    }
}

fn object_at_map<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("invariant: made an object above"),
    }
}

fn containers_mut(pod: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let spec = object_at(pod, "spec");
    spec.iter_mut()
        .filter(|(key, _)| key.as_str() == "containers" || key.as_str() == "initContainers")
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// The override a node carries: `with_overrides(pod_template=...)`.
fn apply_node_pod_template(cx: &TaskContext, pod: &mut Value) -> Result<(), PluginError> {
    let overrides = cx.overrides()?;
    let Some(over) = overrides.pod_template else { return Ok(()) };
    if let Some(spec) = over.pod_spec.as_ref() {
        let over = json!({"spec": plugin_api::json::from_struct(spec)});
        *pod = layer(std::mem::take(pod), over);
    }
    if let Some(metadata) = over.metadata.as_ref() {
        let over = json!({"metadata": {"labels": metadata.labels, "annotations": metadata.annotations}});
        *pod = layer(std::mem::take(pod), over);
    }
    Ok(())
}

fn finish_container(
    cx: &TaskContext,
    config: &PodConfig,
    container: &mut Map<String, Value>,
    is_primary: bool,
    overrides: Option<&Resources>,
) -> Result<(), PluginError> {
    for key in ["command", "args"] {
        let texts: Vec<String> = container
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|text| Some(text.as_str()?.to_owned()))
            .collect();
        container.insert(key.into(), command_template::render_all(cx, &texts)?.into());
    }
    let env = container.entry("env").or_insert_with(|| json!([]));
    if let Some(env) = env.as_array_mut() {
        for (name, value) in cx.env.iter().chain(&config.default_env) {
            let set = env.iter().any(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
            if !set {
                env.push(json!({"name": name, "value": value}));
            }
        }
    }
    container.entry("terminationMessagePolicy").or_insert_with(|| "FallbackToLogsOnError".into());
    if is_primary {
        let stated = container.remove("resources").unwrap_or_else(|| json!({}));
        let node = resources::merge(None, overrides, &Map::new())?;
        let mut defaults = json!({"requests": config.default_requests});
        if cx.template()?.metadata.as_ref().is_some_and(|metadata| metadata.is_eager) {
            defaults = layer(defaults, json!({"requests": config.eager_requests}));
        }
        let merged = layer(layer(defaults, stated), node);
        container.insert("resources".into(), merged);
    }
    Ok(())
}

fn merge_pod_template(
    cx: &TaskContext,
    config: &PodConfig,
    pod: &mut Value,
    primary: &str,
) -> Result<(), PluginError> {
    let named = cx
        .template()?
        .metadata
        .as_ref()
        .map(|metadata| metadata.pod_template_name.clone())
        .unwrap_or_default();
    let name = if named.is_empty() { config.default_pod_template.clone() } else { named };
    if name.is_empty() {
        return Ok(());
    }
    let template = config.pod_templates.get(&name).ok_or_else(|| {
        let known: Vec<&str> = config.pod_templates.keys().map(String::as_str).collect();
        bad(format!(
            "the pod template `{name}` is not configured (known: {}); add it to pod-templates of this plugin",
            known.join(", ")
        ))
    })?;
    let mut base = template.clone();
    let bases = base["spec"]["containers"].take();
    let inits = base["spec"]["initContainers"].take();
    for key in ["containers", "initContainers"] {
        if let Some(spec) = base["spec"].as_object_mut() {
            spec.remove(key);
        }
    }
    let find = |list: &Value, name: &str| {
        list.as_array()?.iter().find(|c| c.get("name").and_then(Value::as_str) == Some(name)).cloned()
    };
    for (key, list, suffix) in [("containers", &bases, ""), ("initContainers", &inits, "-init")] {
        let Some(containers) = pod["spec"].get_mut(key).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let mut under = find(list, &format!("default{suffix}")).unwrap_or_else(|| json!({}));
            let is_primary = container.get("name").and_then(Value::as_str) == Some(primary);
            if is_primary && let Some(more) = find(list, &format!("primary{suffix}")) {
                under = layer(under, more);
            }
            *container = layer(under, container.take());
        }
        let extra: Vec<Value> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter(|c| {
                let name = c.get("name").and_then(Value::as_str).unwrap_or_default();
                ![format!("default{suffix}"), format!("primary{suffix}")].iter().any(|base| base == name)
            })
            .cloned()
            .collect();
        if let Some(containers) = pod["spec"].get_mut(key).and_then(Value::as_array_mut) {
            containers.extend(extra);
        }
    }
    *pod = layer(base, std::mem::take(pod));
    Ok(())
}

fn finish_pod(cx: &TaskContext, config: &PodConfig, pod: &mut Value) -> Result<(), PluginError> {
    let metadata = object_at(pod, "metadata");
    for (key, entries) in [("labels", &config.default_labels), ("annotations", &config.default_annotations)] {
        let map = object_at_map(metadata, key);
        for (name, value) in entries {
            map.entry(name.clone()).or_insert_with(|| value.clone().into());
        }
    }
    let security = cx.security_context()?;
    let run_as = security.run_as.map(|identity| identity.k8s_service_account).unwrap_or_default();
    let spec = object_at(pod, "spec");
    spec.insert("restartPolicy".into(), "Never".into());
    let account = if cx.service_account.is_empty() { run_as } else { cx.service_account.clone() };
    if !account.is_empty() {
        spec.entry("serviceAccountName").or_insert_with(|| account.into());
    }
    if !config.scheduler_name.is_empty() {
        spec.entry("schedulerName").or_insert_with(|| config.scheduler_name.clone().into());
    }
    if cx.interruptible {
        if !config.interruptible_tolerations.is_empty() {
            let list = spec.entry("tolerations").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.extend(config.interruptible_tolerations.iter().cloned());
            }
        }
        let selector = object_at_map(spec, "nodeSelector");
        for (name, value) in &config.interruptible_node_selector {
            selector.insert(name.clone(), value.clone().into());
        }
    }
    Ok(())
}

/// `over` laid upon `under`: objects merge key by key; `env`, `volumeMounts`, `volumes`, `tolerations` and named
/// lists merge by name; any other value of `over` replaces that of `under`, unless it is null or empty.
pub fn layer(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                let below = under.remove(&key).unwrap_or(Value::Null);
                under.insert(key, layer(below, value));
            }
            Value::Object(under)
        }
        (Value::Array(under), Value::Array(over)) => layer_lists(under, over),
        (under, Value::Null) => under,
        (_, over) => over,
    }
}

fn layer_lists(mut under: Vec<Value>, over: Vec<Value>) -> Value {
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    if over.is_empty() {
        return Value::Array(under);
    }
    if !over.iter().all(|value| name(value).is_some()) {
        return Value::Array(over);
    }
    for value in over {
        match under.iter().position(|below| name(below) == name(&value)) {
            Some(i) => under[i] = layer(under[i].take(), value),
            None => under.push(value),
        }
    }
    Value::Array(under)
}

#[cfg(test)]
mod tests;
