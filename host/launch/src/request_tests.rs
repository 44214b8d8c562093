//! Checks that only requests that can be meant become a [`Request`].

use proto::flyteidl::core::{Identifier, Literal};

use super::*;

fn proto(resource_type: ResourceType, name: &str) -> ExecutionCreateRequest {
    let launch_plan = Identifier {
        resource_type: resource_type as i32,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "n".to_owned(),
        version: "v".to_owned(),
        ..Identifier::default()
    };
    ExecutionCreateRequest {
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: name.to_owned(),
        spec: Some(ExecutionSpec { launch_plan: Some(launch_plan), ..ExecutionSpec::default() }),
        ..ExecutionCreateRequest::default()
    }
}

#[test]
fn targets_are_launch_plans_and_tasks() {
    let target = |kind| Request::from_proto(proto(kind, ""), "").map(|request| request.target);
    assert!(matches!(target(ResourceType::LaunchPlan), Ok(Target::LaunchPlan(_))));
    assert!(matches!(target(ResourceType::Unspecified), Ok(Target::LaunchPlan(_))));
    assert!(matches!(target(ResourceType::Task), Ok(Target::Task(_))));
    assert!(matches!(target(ResourceType::Workflow), Err(Error::Target { .. })));
    assert!(matches!(target(ResourceType::Dataset), Err(Error::Target { .. })));
}

#[test]
fn names_are_lower_cased_and_checked() {
    let name =
        |name: &str| Request::from_proto(proto(ResourceType::Task, name), "").map(|request| request.name);
    assert_eq!(name("").unwrap(), None);
    assert_eq!(name("My-Run-1").unwrap().as_deref(), Some("my-run-1"));
    for bad in ["1a", "-a", "a_b", "a b", "ä", &"a".repeat(64)] {
        assert!(matches!(name(bad), Err(Error::Name { .. })), "{bad}");
    }
}

#[test]
fn missing_parts_are_named() {
    let base = || proto(ResourceType::Task, "");
    let missing = |request| match Request::from_proto(request, "") {
        Err(Error::Missing(field)) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(ExecutionCreateRequest { spec: None, ..base() }), "spec");
    assert_eq!(missing(ExecutionCreateRequest { project: String::new(), ..base() }), "project");
    assert_eq!(missing(ExecutionCreateRequest { domain: String::new(), ..base() }), "domain");
    let no_target = ExecutionCreateRequest { spec: Some(ExecutionSpec::default()), ..base() };
    assert_eq!(missing(no_target), "spec.launch_plan");
}

#[test]
#[allow(deprecated, reason = "the console sends inputs there")]
fn inputs_of_the_spec_stand_in() {
    let map = |name: &str| LiteralMap { literals: [(name.to_owned(), Literal::default())].into() };
    let mut request = proto(ResourceType::Task, "");
    request.spec.as_mut().unwrap().inputs = Some(map("old"));
    assert_eq!(Request::from_proto(request.clone(), "").unwrap().inputs, map("old"));
    request.inputs = Some(LiteralMap::default());
    assert_eq!(Request::from_proto(request.clone(), "").unwrap().inputs, map("old"));
    request.inputs = Some(map("new"));
    assert_eq!(Request::from_proto(request, "").unwrap().inputs, map("new"));
}

#[test]
fn child_inherits_its_parents_settings() {
    let parent = Parent {
        execution: ExecutionKey(1),
        node: NodeExecutionId { execution: ExecutionId::new("p", "d", "parent"), node: "n0".into() },
        nesting: 2,
    };
    let spec = ExecutionSpec { interruptible: Some(true), max_parallelism: 9, ..ExecutionSpec::default() };
    let plan = EntityId {
        kind: EntityKind::LaunchPlan,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "n".to_owned(),
        version: "v".to_owned(),
    };
    let child =
        Request::child(parent.clone(), &spec, plan, "f123".to_owned(), LiteralMap::default()).unwrap();
    assert_eq!((child.spec.interruptible, child.spec.max_parallelism), (Some(true), 9));
    assert_eq!((child.mode, child.parent), (ExecutionMode::ChildWorkflow, Some(parent)));
}
