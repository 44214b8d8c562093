//! Checks and compiles tasks.

use std::collections::HashMap;

use model::quantity::parse_milli;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proto::flyteidl::core::resources::{ResourceEntry, ResourceName};
use proto::flyteidl::core::task_template::Target;
use proto::flyteidl::core::{CompiledTask, Identifier, ResourceType, Resources, TaskTemplate};

use crate::error::{Error, ErrorCode, Errors};

/// What a whole device is in the unit of [`parse_milli`].
const WHOLE: u128 = 1_000;

/// The compiled form of a task, which is the template as it was sent.
pub fn compile_task(template: TaskTemplate) -> CompiledTask {
    CompiledTask { template: Some(template) }
}

/// Checks a task as it is registered under `id`; any task type will do.
///
/// # Errors
/// Everything that is wrong with it.
pub fn validate_task(id: &Identifier, template: &TaskTemplate) -> Result<(), Errors> {
    let mut check = Check { name: &id.name, errors: Vec::new() };
    for (field, value) in
        [("Project", &id.project), ("Domain", &id.domain), ("Name", &id.name), ("Version", &id.version)]
    {
        check.required(&format!("Id.{field}"), !value.is_empty());
    }
    if id.resource_type() != ResourceType::Task {
        check.invalid(format!("Id.ResourceType is {} instead of TASK.", id.resource_type().as_str_name()));
    }
    check.required("Type", !template.r#type.is_empty());
    check.required("Interface", template.interface.is_some());
    check.required("Metadata", template.metadata.is_some());
    if let Some(runtime) = template.metadata.as_ref().and_then(|metadata| metadata.runtime.as_ref()) {
        check.required("Metadata.Runtime.Version", !runtime.version.is_empty());
    }
    match &template.target {
        Some(Target::Container(container)) => {
            check.required("Container.Image", !container.image.is_empty());
            if let Some(resources) = &container.resources {
                check.resources("Container", &Amounts::of_container(resources));
            }
        }
        Some(Target::K8sPod(pod)) => {
            let Some(spec) = &pod.pod_spec else {
                check.required("K8sPod.PodSpec", false);
                return Errors::none_or(check.errors, ());
            };
            for (i, container) in list(spec, "containers").into_iter().enumerate() {
                check.resources(&format!("K8sPod.Containers[{i}]"), &Amounts::of_pod_container(container));
            }
        }
        Some(Target::Sql(_)) | None => {}
    }
    Errors::none_or(check.errors, ())
}

/// Checks that a task asks for no more than is allowed where it is registered. Of `allowed` each pair is a resource
/// (`cpu`, `memory`, `gpu`, `storage`, `ephemeral-storage`) and its highest quantity; empty is any.
///
/// # Errors
/// Everything of which it asks for too much.
pub fn check_task_limits(template: &TaskTemplate, allowed: &[(&str, &str)]) -> Result<(), Errors> {
    let name = template.id.as_ref().map(|id| id.name.as_str()).unwrap_or_default();
    let mut check = Check { name, errors: Vec::new() };
    match &template.target {
        Some(Target::Container(container)) => {
            if let Some(resources) = &container.resources {
                check.limits("Container", &Amounts::of_container(resources), allowed);
            }
        }
        Some(Target::K8sPod(pod)) => {
            let containers = pod.pod_spec.iter().flat_map(|spec| list(spec, "containers"));
            for (i, container) in containers.enumerate() {
                let place = format!("K8sPod.Containers[{i}]");
                check.limits(&place, &Amounts::of_pod_container(container), allowed);
            }
        }
        Some(Target::Sql(_)) | None => {}
    }
    Errors::none_or(check.errors, ())
}

struct Check<'a> {
    name: &'a str,
    errors: Vec<Error>,
}

impl Check<'_> {
    fn required(&mut self, field: &str, present: bool) {
        if !present {
            self.errors.push(Error::required(self.name, field));
        }
    }

    fn invalid(&mut self, text: String) {
        self.errors.push(Error::new(ErrorCode::InvalidValue, self.name, text));
    }

    fn resources(&mut self, place: &str, amounts: &Amounts<'_>) {
        let requests = self.amounts(place, "requests", &amounts.requests);
        let limits = self.amounts(place, "limits", &amounts.limits);
        for (name, request) in requests {
            let Some(limit) = limits.get(name) else { continue };
            if request > *limit {
                self.invalid(format!("{place}: the request of {name} is higher than its limit."));
            } else if is_device(name) && request != *limit {
                self.invalid(format!("{place}: the request of {name} must equal its limit."));
            }
        }
    }

    fn limits(&mut self, place: &str, amounts: &Amounts<'_>, allowed: &[(&str, &str)]) {
        for (side, entries) in [("request", &amounts.requests), ("limit", &amounts.limits)] {
            for (name, text) in entries {
                let known = if is_device(name) { "gpu" } else { *name };
                let Some((_, most)) = allowed.iter().find(|(name, most)| *name == known && !most.is_empty())
                else {
                    continue;
                };
                if let (Ok(asked), Ok(most_amount)) = (parse_milli(text), parse_milli(most))
                    && asked > most_amount
                {
                    self.invalid(format!(
                        "{place}: the {side} of {name} is {text}, more than the {most} allowed here."
                    ));
                }
            }
        }
    }

    fn amounts<'n>(
        &mut self,
        place: &str,
        side: &str,
        entries: &[(&'n str, &str)],
    ) -> HashMap<&'n str, u128> {
        let mut amounts = HashMap::new();
        for (name, text) in entries {
            match parse_milli(text) {
                Err(error) => self.invalid(format!("{place}: {name} in {side}: {error}.")),
                Ok(amount) if is_device(name) && amount % WHOLE != 0 => {
                    self.invalid(format!("{place}: {name} in {side} must be a whole number."));
                }
                Ok(amount) => {
                    if amounts.insert(*name, amount).is_some() {
                        self.invalid(format!("{place}: {name} is twice in {side}."));
                    }
                }
            }
        }
        amounts
    }
}

/// Amounts of a container by resource name, as written.
struct Amounts<'a> {
    requests: Vec<(&'a str, &'a str)>,
    limits: Vec<(&'a str, &'a str)>,
}

impl<'a> Amounts<'a> {
    fn of_container(resources: &'a Resources) -> Self {
        fn entries(entries: &[ResourceEntry]) -> Vec<(&str, &str)> {
            let name = |entry: &ResourceEntry| match entry.name() {
                ResourceName::Unknown => "unknown",
                ResourceName::Cpu => "cpu",
                ResourceName::Gpu => "gpu",
                ResourceName::Memory => "memory",
                ResourceName::Storage => "storage",
                ResourceName::EphemeralStorage => "ephemeral-storage",
            };
            entries.iter().map(|entry| (name(entry), entry.value.as_str())).collect()
        }
        Self { requests: entries(&resources.requests), limits: entries(&resources.limits) }
    }

    fn of_pod_container(container: &'a Struct) -> Self {
        let side = |name: &str| {
            let fields = object(container, "resources").and_then(|resources| object(resources, name));
            let entries = fields.into_iter().flat_map(|fields| &fields.fields);
            // Numbers without quotes are quantities too, but there is no way to get one wrong.
            entries.filter_map(|(name, value)| Some((name.as_str(), string(value)?))).collect()
        };
        Self { requests: side("requests"), limits: side("limits") }
    }
}

fn is_device(name: &str) -> bool {
    name == "gpu" || name.ends_with("/gpu")
}

fn object<'a>(parent: &'a Struct, key: &str) -> Option<&'a Struct> {
    match parent.fields.get(key)?.kind.as_ref()? {
        Kind::StructValue(inner) => Some(inner),
        _ => None,
    }
}

fn list<'a>(parent: &'a Struct, key: &str) -> Vec<&'a Struct> {
    let Some(Kind::ListValue(values)) = parent.fields.get(key).and_then(|value| value.kind.as_ref()) else {
        return Vec::new();
    };
    let objects = values.values.iter().filter_map(|value| match &value.kind {
        Some(Kind::StructValue(inner)) => Some(inner),
        _ => None,
    });
    objects.collect()
}

fn string(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}
