//! Workflows as flytekit serializes them; `tests/golden/make.py` writes the files.

use compiler::{compile_task, compile_workflow, requirements, unsupported_nodes, validate_task};
use proptest::prelude::*;
use prost::Message;
use proto::flyteidl::admin::WorkflowSpec;
use proto::flyteidl::core::*;

use crate::build;

struct Golden {
    spec: WorkflowSpec,
    tasks: Vec<TaskTemplate>,
}

fn read(bytes: &[u8]) -> Golden {
    let mut rest = bytes;
    let spec = WorkflowSpec::decode_length_delimited(&mut rest).unwrap();
    let mut tasks = Vec::new();
    while !rest.is_empty() {
        tasks.push(TaskTemplate::decode_length_delimited(&mut rest).unwrap());
    }
    Golden { spec, tasks }
}

/// Compiles a file; checks on the way that the tasks are valid and that nothing the workflow needs is forgotten.
fn compile(bytes: &[u8], launch_plans: &[compiler::LaunchPlanInterface]) -> CompiledWorkflowClosure {
    let golden = read(bytes);
    let template = golden.spec.template.unwrap();
    for task in &golden.tasks {
        validate_task(task.id.as_ref().unwrap(), task).unwrap();
    }
    let needed = requirements(&template, &golden.spec.sub_workflows);
    let tasks: Vec<_> = golden
        .tasks
        .into_iter()
        .filter(|task| needed.tasks.contains(task.id.as_ref().unwrap()))
        .map(compile_task)
        .collect();
    assert_eq!(tasks.len(), needed.tasks.len());
    assert_eq!(launch_plans.len(), needed.launch_plans.len());
    compile_workflow(template, golden.spec.sub_workflows, &tasks, launch_plans).unwrap()
}

fn refused(bytes: &[u8]) -> Vec<&'static str> {
    let spec = read(bytes).spec;
    let found = unsupported_nodes(&spec.template.unwrap(), &spec.sub_workflows);
    found.into_iter().map(|(_, kind)| kind).collect()
}

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../golden/", $name, ".bin"))
    };
}

#[test]
fn workflows_of_tasks_compile() {
    for bytes in [
        &golden!("hello")[..],
        golden!("chain"),
        golden!("nested_values"),
        golden!("unions"),
        golden!("files"),
        golden!("keep_going"),
    ] {
        compile(bytes, &[]);
        assert!(refused(bytes).is_empty());
    }
}

#[test]
fn explicit_order_becomes_edges() {
    let connections = compile(golden!("chain"), &[]).primary.unwrap().connections.unwrap();
    let upstream = build::edges(&connections.upstream);
    assert_eq!(upstream["n3"], ["n1", "n2"]);
    assert_eq!(upstream["end-node"], ["n1", "n3"]);
}

#[test]
fn branches_compile() {
    let primary = compile(golden!("branching"), &[]).primary.unwrap();
    let connections = primary.connections.unwrap();
    let upstream = build::edges(&connections.upstream);
    assert_eq!(upstream["n2-n0"], ["n1", "start-node"]);
    assert_eq!(upstream["n1-n0"], ["start-node"]);
    assert_eq!(refused(golden!("branching")), ["branch", "branch"]);
}

#[test]
fn sub_workflows_compile() {
    let closure = compile(golden!("with_sub"), &[]);
    assert_eq!(closure.sub_workflows.len(), 2);
    assert_eq!(refused(golden!("with_sub")), ["sub-workflow", "sub-workflow"]);
}

#[test]
fn gates_arrays_and_failure_nodes_compile() {
    for (bytes, kinds) in [
        (&golden!("gates")[..], &["gate", "gate", "gate"][..]),
        (golden!("mapped"), &["array"]),
        (golden!("on_failure"), &["failure"]),
    ] {
        compile(bytes, &[]);
        assert_eq!(refused(bytes), kinds);
    }
}

#[test]
fn launch_plans_compile() {
    let golden = read(golden!("with_launch_plan"));
    let needed = requirements(&golden.spec.template.unwrap(), &[]);
    let required = parameter::Behavior::Required(true);
    let plan = compiler::LaunchPlanInterface {
        id: needed.launch_plans[0].clone(),
        expected_inputs: build::parameters([("a", build::int(), required)]),
        fixed_inputs: LiteralMap::default(),
        expected_outputs: build::variables([("o0", build::int())]),
    };
    compile(golden!("with_launch_plan"), &[plan]);
    assert_eq!(refused(golden!("with_launch_plan")), ["launch plan"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn damaged_workflows_do_no_harm(
        which in 0usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let files: [&[u8]; 6] = [
            golden!("chain"),
            golden!("nested_values"),
            golden!("unions"),
            golden!("branching"),
            golden!("with_sub"),
            golden!("gates"),
        ];
        let good = read(files[which]);
        let mut bytes = good.spec.encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(WorkflowSpec { template: Some(template), sub_workflows, .. }) = WorkflowSpec::decode(&bytes[..]) {
            let tasks: Vec<_> = good.tasks.into_iter().map(compile_task).collect();
            unsupported_nodes(&template, &sub_workflows);
            if let Err(errors) = compile_workflow(template, sub_workflows, &tasks, &[]) {
                prop_assert!(!errors.0.is_empty() && !errors.to_string().is_empty());
            }
        }
    }
}
