//! Workflows that tasks write while they run.

use compiler::{ErrorCode, Errors, compile_dynamic, dynamic_node_count, dynamic_requirements};
use proto::flyteidl::core::*;

use crate::build::*;

fn template(name: &str, interface: TypedInterface, config: &str) -> TaskTemplate {
    #[allow(deprecated, reason = "SDKs still write it")]
    let container = Container {
        image: "example.org/image".to_owned(),
        config: vec![KeyValuePair { key: config.to_owned(), value: "1".to_owned() }],
        ..Container::default()
    };
    TaskTemplate {
        metadata: Some(TaskMetadata::default()),
        target: Some(task_template::Target::Container(container)),
        ..task(name, interface).template.unwrap()
    }
}

fn parent() -> TaskTemplate {
    template("parent", interface([("n", int())], [("r", int())]), "of the parent")
}

fn inc() -> TaskTemplate {
    template("inc", interface([("x", int())], [("o", int())]), "own")
}

/// `inc` of `inc` of 1.
fn spec() -> DynamicJobSpec {
    DynamicJobSpec {
        nodes: vec![
            node("dn0", "inc", vec![bind("x", scalar(int_scalar(1)))]),
            node("dn1", "inc", vec![bind("x", promise("dn0", "o"))]),
        ],
        min_successes: 2,
        outputs: vec![bind("r", promise("dn1", "o"))],
        tasks: vec![inc(), inc()],
        subworkflows: vec![],
    }
}

fn compile(spec: DynamicJobSpec, tasks: &[CompiledTask]) -> Result<CompiledWorkflowClosure, Errors> {
    compile_dynamic(spec, id(ResourceType::Workflow, "dynamic_n0"), &parent(), tasks, &[])
}

#[test]
fn tasks_are_listed_once_with_the_config_of_the_parent() {
    let closure = compile(spec(), &[]).unwrap();
    let [task] = &closure.tasks[..] else { panic!("{:?}", closure.tasks) };
    let Some(task_template::Target::Container(container)) = &task.template.as_ref().unwrap().target else {
        panic!("{task:?}")
    };
    #[allow(deprecated, reason = "SDKs still write it")]
    let config: Vec<_> = container.config.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!(config, ["own", "of the parent"]);
    let primary = closure.primary.unwrap();
    assert_eq!(edges(&primary.connections.unwrap().upstream)["end-node"], ["dn1"]);
    let interface = primary.template.unwrap().interface.unwrap();
    assert_eq!(interface.outputs, parent().interface.unwrap().outputs);
    assert_eq!(interface.inputs, None);
}

#[test]
fn a_spec_without_nodes_gives_constants() {
    let constant =
        DynamicJobSpec { outputs: vec![bind("r", scalar(int_scalar(7)))], ..DynamicJobSpec::default() };
    assert_eq!(dynamic_node_count(&constant), 0);
    let primary = compile(constant, &[]).unwrap().primary.unwrap();
    assert_eq!(primary.template.unwrap().nodes.len(), 2);
    let connections = primary.connections.unwrap();
    assert_eq!(edges(&connections.upstream)["end-node"], ["start-node"]);
    assert_eq!(edges(&connections.downstream)["start-node"], ["end-node"]);
}

#[test]
fn tasks_that_are_only_named_are_asked_for() {
    let named = DynamicJobSpec { tasks: vec![], ..spec() };
    let needed = dynamic_requirements(&named);
    assert_eq!(needed.tasks, [id(ResourceType::Task, "inc")]);
    assert!(dynamic_requirements(&spec()).tasks.is_empty());
    let missing = codes(compile(named.clone(), &[]));
    assert_eq!(missing[0], (ErrorCode::TaskReferenceNotFound, "dn0".to_owned()));
    let registered = compiler::compile_task(inc());
    let closure = compile(named, std::slice::from_ref(&registered)).unwrap();
    assert_eq!(closure.tasks, [registered]);
}

#[test]
fn sub_workflows_and_launch_plans_are_required() {
    let inner = workflow("inner", interface([], []), vec![launch_plan_node("n0", "lp", vec![])], vec![]);
    let spec = DynamicJobSpec {
        nodes: vec![sub_workflow_node("dn0", "inner", vec![])],
        outputs: vec![bind("r", scalar(int_scalar(7)))],
        subworkflows: vec![inner],
        ..DynamicJobSpec::default()
    };
    assert_eq!(dynamic_node_count(&spec), 2);
    assert_eq!(dynamic_requirements(&spec).launch_plans, [id(ResourceType::LaunchPlan, "lp")]);
    assert_eq!(codes(compile(spec, &[])), [(ErrorCode::WorkflowReferenceNotFound, "n0".to_owned())]);
}

#[test]
fn bad_specs_are_refused() {
    let cases: [(&str, DynamicJobSpec, ErrorCode); 5] = [
        ("an output is missing", DynamicJobSpec { outputs: vec![], ..spec() }, ErrorCode::ParameterNotBound),
        (
            "an output has another type",
            DynamicJobSpec { outputs: vec![bind("r", scalar(text_scalar("x")))], ..spec() },
            ErrorCode::MismatchingTypes,
        ),
        (
            "an output is none of the task's",
            DynamicJobSpec {
                outputs: [spec().outputs, vec![bind("q", promise("dn1", "o"))]].concat(),
                ..spec()
            },
            ErrorCode::VariableNameNotFound,
        ),
        (
            "a task is no task",
            DynamicJobSpec { tasks: vec![inc(), TaskTemplate { id: None, ..inc() }], ..spec() },
            ErrorCode::ValueRequired,
        ),
        (
            "a task has no type",
            DynamicJobSpec { tasks: vec![TaskTemplate { r#type: String::new(), ..inc() }], ..spec() },
            ErrorCode::ValueRequired,
        ),
    ];
    for (name, spec, code) in cases {
        assert_eq!(codes(compile(spec, &[]))[0].0, code, "{name}");
    }
}
