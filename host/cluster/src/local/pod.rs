//! Reads a Pod object into what has to be run, purely.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};

use super::quantity::{Resources, cpu_milli, memory_bytes};
use crate::{Error, Object};

/// What has to be run for a pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub namespace: String,
    pub name: String,
    /// Run one after the other before the rest, except for sidecars, which stay.
    pub init: Vec<Container>,
    /// Run together.
    pub containers: Vec<Container>,
    /// Between SIGTERM and SIGKILL, if the pod says.
    pub grace: Option<Duration>,
    /// Longest time to run.
    pub deadline: Option<Duration>,
    /// What it counts for in the queue.
    pub ask: Resources,
}

/// One container of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub name: String,
    pub image: String,
    /// Command and arguments, variables expanded, empty arguments kept.
    pub argv: Vec<String>,
    /// What the pod sets, references resolved.
    pub env: BTreeMap<String, String>,
    /// Bytes above which it is killed.
    pub memory_limit: Option<u64>,
    /// An init container that stays (`restartPolicy: Always`).
    pub sidecar: bool,
}

impl Pod {
    /// Reads the object. `default_ask` counts for a container that requests nothing.
    pub(crate) fn read(object: &Object, uid: &str, default_ask: Resources) -> Result<Pod, Error> {
        let wire = Wire::deserialize(object).map_err(|error| invalid(error.to_string()))?;
        if wire.spec.containers.is_empty() {
            return Err(invalid("spec.containers is empty".to_owned()));
        }
        let mut names = std::collections::HashSet::new();
        for container in wire.spec.init_containers.iter().chain(&wire.spec.containers) {
            if container.name.is_empty()
                || container.name.contains(['/', '\0'])
                || container.name.starts_with('.')
            {
                return Err(invalid(format!("container name {:?} is no DNS label", container.name)));
            }
            if !names.insert(&container.name) {
                return Err(invalid(format!("two containers are named {}", container.name)));
            }
        }
        let facts = Facts { metadata: &wire.metadata, uid, service_account: &wire.spec.service_account_name };
        let init = read_all(&wire.spec.init_containers, &facts, true)?;
        let containers = read_all(&wire.spec.containers, &facts, false)?;
        Ok(Pod {
            namespace: wire.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            name: wire.metadata.name.clone(),
            init,
            containers,
            grace: wire.spec.termination_grace_period_seconds.map(Duration::from_secs),
            deadline: wire.spec.active_deadline_seconds.map(Duration::from_secs),
            ask: ask(&wire.spec, default_ask)?,
        })
    }

    /// All containers in the order in which Kubernetes lists them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Container> {
        self.init.iter().chain(&self.containers)
    }
}

/// The containers that run at once, or the largest init container if that is more.
fn ask(spec: &Spec, default_ask: Resources) -> Result<Resources, Error> {
    let mut together = Resources::default();
    let mut largest = Resources::default();
    for container in &spec.containers {
        together = together + container.request(default_ask)?;
    }
    for container in &spec.init_containers {
        let request = container.request(Resources::default())?;
        if container.stays() {
            together = together + request;
        } else {
            largest = largest.at_least(request);
        }
    }
    Ok(together.at_least(largest))
}

fn read_all(wires: &[ContainerWire], facts: &Facts<'_>, init: bool) -> Result<Vec<Container>, Error> {
    wires.iter().map(|wire| wire.read(facts, init)).collect()
}

fn invalid(reason: String) -> Error {
    Error::InvalidObject { reason }
}

/// What a container may refer to in its environment.
struct Facts<'a> {
    metadata: &'a Metadata,
    uid: &'a str,
    service_account: &'a str,
}

impl Facts<'_> {
    fn field(&self, path: &str) -> Option<String> {
        let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
        if let Some(key) = keyed("metadata.labels['") {
            return Some(self.metadata.labels.get(key).cloned().unwrap_or_default());
        }
        if let Some(key) = keyed("metadata.annotations['") {
            return Some(self.metadata.annotations.get(key).cloned().unwrap_or_default());
        }
        let value = match path {
            "metadata.name" => &self.metadata.name,
            "metadata.namespace" => self.metadata.namespace.as_deref().unwrap_or("default"),
            "metadata.uid" => self.uid,
            "spec.nodeName" => "localhost",
            "spec.serviceAccountName" => self.service_account,
            "status.hostIP" | "status.podIP" | "status.hostIPs" | "status.podIPs" => "127.0.0.1",
            _ => return None,
        };
        Some(value.to_owned())
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    init_containers: Vec<ContainerWire>,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<ContainerWire>,
    #[serde(default)]
    termination_grace_period_seconds: Option<u64>,
    #[serde(default)]
    active_deadline_seconds: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    service_account_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerWire {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    command: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    env: Vec<EnvWire>,
    #[serde(default, deserialize_with = "or_default")]
    resources: ResourcesWire,
    #[serde(default)]
    restart_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvWire {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    value: String,
    #[serde(default)]
    value_from: Option<ValueFrom>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    #[serde(default)]
    field_ref: Option<FieldRef>,
    #[serde(default)]
    resource_field_ref: Option<ResourceFieldRef>,
    #[serde(default)]
    secret_key_ref: Option<KeyRef>,
    #[serde(default)]
    config_map_key_ref: Option<KeyRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldRef {
    field_path: String,
}

#[derive(Deserialize)]
struct ResourceFieldRef {
    resource: String,
}

#[derive(Deserialize)]
struct KeyRef {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    key: String,
    #[serde(default, deserialize_with = "or_default")]
    optional: bool,
}

#[derive(Default, Deserialize)]
struct ResourcesWire {
    #[serde(default, deserialize_with = "or_default")]
    requests: BTreeMap<String, Object>,
    #[serde(default, deserialize_with = "or_default")]
    limits: BTreeMap<String, Object>,
}

impl ContainerWire {
    fn stays(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    fn read(&self, facts: &Facts<'_>, init: bool) -> Result<Container, Error> {
        let mut env = BTreeMap::new();
        for variable in &self.env {
            if let Some(value) = self.value(variable, facts)? {
                let value = expand(&value, &env);
                env.insert(variable.name.clone(), value);
            }
        }
        let argv: Vec<String> =
            self.command.iter().chain(&self.args).map(|word| expand(word, &env)).collect();
        Ok(Container {
            name: self.name.clone(),
            image: self.image.clone(),
            argv,
            env,
            memory_limit: amount(&self.resources.limits, "memory", memory_bytes)?.filter(|bytes| *bytes > 0),
            sidecar: init && self.stays(),
        })
    }

    fn value(&self, variable: &EnvWire, facts: &Facts<'_>) -> Result<Option<String>, Error> {
        let Some(from) = &variable.value_from else { return Ok(Some(variable.value.clone())) };
        if let Some(field) = &from.field_ref {
            let unknown = || invalid(format!("env {}: no field {}", variable.name, field.field_path));
            return facts.field(&field.field_path).map(Some).ok_or_else(unknown);
        }
        if let Some(field) = &from.resource_field_ref {
            let (kind, name) = field.resource.split_once('.').unwrap_or(("limits", &field.resource));
            let amounts = if kind == "requests" { &self.resources.requests } else { &self.resources.limits };
            let read = if name == "cpu" {
                |text: &str| cpu_milli(text).map(|m| m.div_ceil(1000))
            } else {
                memory_bytes
            };
            return Ok(Some(amount(amounts, name, read)?.unwrap_or_default().to_string()));
        }
        match from.secret_key_ref.as_ref().or(from.config_map_key_ref.as_ref()) {
            Some(reference) if !reference.optional => Err(invalid(format!(
                "env {}: the local cluster keeps no Secret or ConfigMap, asked for key {} of {}",
                variable.name, reference.key, reference.name
            ))),
            _ => Ok(None),
        }
    }

    /// What the container asks for: requests, else limits, as the API server defaults them.
    fn request(&self, default_ask: Resources) -> Result<Resources, Error> {
        let either = |name, read: fn(&str) -> Option<u64>| -> Result<Option<u64>, Error> {
            let requested = amount(&self.resources.requests, name, read)?;
            Ok(requested.or(amount(&self.resources.limits, name, read)?))
        };
        Ok(Resources {
            cpu_milli: either("cpu", cpu_milli)?.unwrap_or(default_ask.cpu_milli),
            memory: either("memory", memory_bytes)?.unwrap_or(default_ask.memory),
        })
    }
}

fn amount(
    from: &BTreeMap<String, Object>,
    name: &str,
    read: fn(&str) -> Option<u64>,
) -> Result<Option<u64>, Error> {
    let Some(value) = from.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let wrong = || invalid(format!("resources: {name} {text:?} is no quantity"));
    read(&text).map(Some).ok_or_else(wrong)
}

/// Replaces `$(NAME)` by the variable, `$$` by `$`, and leaves unknown names as they are.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let reference = after.strip_prefix('(').and_then(|name| name.split_once(')'));
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((value, tail)) = reference.and_then(|(name, tail)| Some((env.get(name)?, tail))) {
            out.push_str(value);
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Go writes absent lists as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DEFAULT: Resources = Resources { cpu_milli: 250, memory: 0 };

    fn pod(spec: Object) -> Result<Pod, Error> {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}}, "spec": spec});
        Pod::read(&object, "uid-1", DEFAULT)
    }

    #[test]
    fn empty_arguments_survive_and_variables_expand() {
        let found = pod(json!({"initContainers": null, "containers": [{
            "name": "c", "command": ["run"], "args": ["", "$(A)-$(NO)", "$$(A)", "$"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(A)"},
                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]}]}))
        .unwrap();
        let container = &found.containers[0];
        assert_eq!(container.argv, ["run", "", "1-$(NO)", "$(A)", "$"]);
        let values: Vec<&str> = ["B", "N", "L"].iter().map(|name| container.env[*name].as_str()).collect();
        assert_eq!(values, ["11", "p", "b"]);
    }

    #[test]
    fn requests_add_up_and_init_containers_overlap() {
        let found = pod(json!({
            "initContainers": [
                {"name": "i", "resources": {"requests": {"cpu": "3", "memory": "1Mi"}}},
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}],
            "containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "2Mi"}}}, {"name": "b"}]}))
        .unwrap();
        assert_eq!(found.ask, Resources { cpu_milli: 3000, memory: 2 << 20 });
        assert_eq!(found.containers[0].memory_limit, Some(2 << 20));
        assert!(found.init[1].sidecar && !found.init[0].sidecar);
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        assert!(pod(json!({"containers": []})).is_err());
        assert!(pod(json!({"containers": [{"name": "../c"}]})).is_err());
        assert!(pod(json!({"containers": [{"name": "c"}, {"name": "c"}]})).is_err());
        let secret = json!({"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        assert!(pod(json!({"containers": [{"name": "c", "env": [secret]}]})).is_err());
    }
}
