//! Registration of tasks.

use compiler::{ErrorCode, validate_task};
use proto::flyteidl::core::resources::{ResourceEntry, ResourceName};
use proto::flyteidl::core::task_template::Target;
use proto::flyteidl::core::*;
use serde_json::json;

use crate::build::*;

fn template() -> TaskTemplate {
    let runtime = RuntimeMetadata { version: "1".into(), ..RuntimeMetadata::default() };
    TaskTemplate {
        r#type: "anything".into(),
        metadata: Some(TaskMetadata { runtime: Some(runtime), ..TaskMetadata::default() }),
        interface: Some(TypedInterface::default()),
        target: Some(Target::Container(container(&[], &[]))),
        ..TaskTemplate::default()
    }
}

fn container(requests: &[(ResourceName, &str)], limits: &[(ResourceName, &str)]) -> Container {
    let entries = |side: &[(ResourceName, &str)]| {
        side.iter()
            .map(|(name, value)| ResourceEntry { name: *name as i32, value: (*value).to_owned() })
            .collect()
    };
    Container {
        image: "image".into(),
        resources: Some(Resources { requests: entries(requests), limits: entries(limits) }),
        ..Container::default()
    }
}

#[test]
fn required_fields_are_required() {
    type Change = fn(&mut Identifier, &mut TaskTemplate);
    let cases: [(&str, Change, Option<ErrorCode>); 10] = [
        ("good", |_, _| {}, None),
        ("no target", |_, t| t.target = None, None),
        ("no project", |id, _| id.project.clear(), Some(ErrorCode::ValueRequired)),
        ("no version", |id, _| id.version.clear(), Some(ErrorCode::ValueRequired)),
        ("other kind", |id, _| id.resource_type = 2, Some(ErrorCode::InvalidValue)),
        ("no type", |_, t| t.r#type.clear(), Some(ErrorCode::ValueRequired)),
        ("no metadata", |_, t| t.metadata = None, Some(ErrorCode::ValueRequired)),
        ("no interface", |_, t| t.interface = None, Some(ErrorCode::ValueRequired)),
        (
            "no image",
            |_, t| t.target = Some(Target::Container(Container::default())),
            Some(ErrorCode::ValueRequired),
        ),
        (
            "no runtime version",
            |_, t| t.metadata.as_mut().unwrap().runtime = Some(RuntimeMetadata::default()),
            Some(ErrorCode::ValueRequired),
        ),
    ];
    for (name, change, expected) in cases {
        let (mut id, mut template) = (id(ResourceType::Task, "t"), template());
        change(&mut id, &mut template);
        let found = validate_task(&id, &template).err().map(|errors| {
            assert_eq!(errors.0.len(), 1, "{errors}");
            errors.0[0].code
        });
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn resources_are_quantities_within_limits() {
    use ResourceName::*;
    type Entries = &'static [(ResourceName, &'static str)];
    let cases: [(Entries, Entries, usize); 12] = [
        (&[(Cpu, "1"), (Memory, "1Gi")], &[], 0),
        (&[(Cpu, "500m")], &[(Cpu, "0.5")], 0),
        (&[(Cpu, "501m")], &[(Cpu, "0.5")], 1),
        (&[(Memory, "1Gi")], &[(Memory, "1024Mi")], 0),
        (&[(Memory, "1Gi")], &[(Memory, "1G")], 1),
        (&[(Cpu, "1"), (Cpu, "1")], &[], 1),
        (&[(Cpu, "one")], &[(Memory, "-1")], 2),
        (&[(Gpu, "1")], &[(Gpu, "1")], 0),
        (&[(Gpu, "1")], &[(Gpu, "2")], 1),
        (&[(Gpu, "0.5")], &[], 1),
        (&[], &[(Gpu, "2")], 0),
        (&[(EphemeralStorage, "")], &[], 1),
    ];
    for (requests, limits, n_errors) in cases {
        let target = Some(Target::Container(container(requests, limits)));
        let template = TaskTemplate { target, ..template() };
        let found = validate_task(&id(ResourceType::Task, "t"), &template)
            .map_or_else(|errors| errors.0.len(), |()| 0);
        assert_eq!(found, n_errors, "{requests:?} {limits:?}");
    }
}

#[test]
fn pods_are_checked_as_containers_are() {
    let check = |spec: Option<serde_json::Value>| {
        let pod = K8sPod { pod_spec: spec.as_ref().map(fields), ..K8sPod::default() };
        let template = TaskTemplate { target: Some(Target::K8sPod(pod)), ..template() };
        validate_task(&id(ResourceType::Task, "t"), &template)
    };
    let container = |request: &str, limit: &str| json!({"resources": {"requests": {"cpu": request}, "limits": {"cpu": limit, "nvidia.com/gpu": "1"}}});
    check(Some(json!({"containers": [container("1", "2"), {"name": "side"}, "odd"]}))).unwrap();
    check(Some(json!({}))).unwrap();
    let errors = check(Some(json!({"containers": [container("1", "2"), container("3", "2")]}))).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "Collected Errors: 1\n\tError 0: Code: InvalidValue, Node Id: t, Description: K8sPod.Containers[1]: \
         the request of cpu is higher than its limit."
    );
    assert_eq!(codes(check(None)), [(ErrorCode::ValueRequired, "t".to_owned())]);
}

#[test]
fn more_than_is_allowed_is_refused() {
    use ResourceName::{Cpu, Gpu, Memory};
    let allowed = [("cpu", "2"), ("memory", "1Gi"), ("gpu", "1"), ("storage", "")];
    let check = |target| {
        let template = TaskTemplate { target: Some(target), ..template() };
        compiler::check_task_limits(&template, &allowed).map_err(|errors| errors.to_string())
    };
    let of = |requests: &[(ResourceName, &str)], limits: &[(ResourceName, &str)]| {
        Target::Container(container(requests, limits))
    };
    assert_eq!(check(of(&[(Cpu, "2000m"), (Memory, "1024Mi")], &[(Gpu, "1")])), Ok(()));
    assert_eq!(check(of(&[(ResourceName::Storage, "9Ti")], &[])), Ok(()));
    let found = check(of(&[(Cpu, "2001m")], &[(Memory, "2Gi")])).unwrap_err();
    assert!(found.contains("the request of cpu is 2001m, more than the 2 allowed here"), "{found}");
    assert!(found.contains("the limit of memory is 2Gi, more than the 1Gi allowed here"), "{found}");
    let pod = json!({"containers": [{}, {"resources": {"limits": {"nvidia.com/gpu": "2"}}}]});
    let found =
        check(Target::K8sPod(K8sPod { pod_spec: Some(fields(&pod)), ..K8sPod::default() })).unwrap_err();
    assert!(found.contains("K8sPod.Containers[1]: the limit of nvidia.com/gpu is 2"), "{found}");
}
