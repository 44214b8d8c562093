//! Workflows of task nodes: what they become, and what is wrong with bad ones.

use std::collections::BTreeMap;

use compiler::{ErrorCode, compile_workflow, requirements, workflow_of_task};
use proto::flyteidl::core::*;

use crate::build::*;

/// `n0 = make(); n1 = inc(a); n2 = inc(n1.o)`, output from `n2`.
fn sample() -> WorkflowTemplate {
    workflow(
        "wf",
        interface([("a", int())], [("r", int())]),
        vec![
            node("n0", "make", vec![]),
            node("n1", "inc", vec![bind("x", promise("", "a"))]),
            Node {
                upstream_node_ids: vec!["n1".into(), "n0".into()],
                ..node("n2", "inc", vec![bind("x", promise("n1", "o"))])
            },
        ],
        vec![bind("r", promise("n2", "o"))],
    )
}

#[test]
fn start_and_end_frame_the_nodes() {
    let closure = compile(sample()).unwrap();
    let primary = closure.primary.unwrap();
    let template = primary.template.unwrap();
    let ids: Vec<_> = template.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["start-node", "end-node", "n0", "n1", "n2"]);
    assert_eq!(template.nodes[1].inputs, template.outputs);
    assert_eq!(template.nodes[3].inputs, [bind("x", promise("start-node", "a"))]);
    assert_eq!(template.nodes[4].upstream_node_ids, ["n0", "n1"]);
    assert!(template.nodes[3].upstream_node_ids.is_empty());

    let connections = primary.connections.unwrap();
    assert_eq!(
        edges(&connections.upstream),
        BTreeMap::from([
            ("end-node", vec!["n2"]),
            ("n0", vec!["start-node"]),
            ("n1", vec!["start-node"]),
            ("n2", vec!["n0", "n1"]),
        ])
    );
    assert_eq!(
        edges(&connections.downstream),
        BTreeMap::from([
            ("n0", vec!["n2"]),
            ("n1", vec!["n2"]),
            ("n2", vec!["end-node"]),
            ("start-node", vec!["n0", "n1"]),
        ])
    );
    let tasks: Vec<_> =
        closure.tasks.iter().map(|task| task.template.clone().unwrap().id.unwrap().name).collect();
    assert_eq!(tasks, ["make", "inc"]);
}

#[test]
fn an_input_may_go_straight_to_an_output() {
    let template = workflow(
        "wf",
        interface([("a", int())], [("r", int())]),
        vec![node("n0", "make", vec![])],
        vec![bind("r", promise("", "a"))],
    );
    let connections = compile(template).unwrap().primary.unwrap().connections.unwrap();
    assert_eq!(edges(&connections.upstream)["end-node"], ["n0", "start-node"]);
    assert_eq!(edges(&connections.downstream)["start-node"], ["end-node", "n0"]);
}

#[test]
fn errors_name_code_and_node() {
    use ErrorCode::*;
    type Change = fn(&mut WorkflowTemplate);
    let cases: [(&str, Change, &[(ErrorCode, &str)]); 20] = [
        ("no id", |w| w.id = None, &[(ValueRequired, "")]),
        (
            "no nodes",
            |w| (w.nodes, w.outputs) = (vec![], vec![bind("r", promise("", "a"))]),
            &[(NoNodesFound, "")],
        ),
        ("no target", |w| w.nodes[0].target = None, &[(ValueRequired, "n0")]),
        ("untyped input", |w| *w = untyped(), &[(ValueRequired, "")]),
        ("same id", |w| w.nodes[0].id = "n1".into(), &[(DuplicateId, "n1"), (NodeReferenceNotFound, "n2")]),
        (
            "empty id",
            |w| w.nodes[0].id = String::new(),
            &[(ValueRequired, ""), (NodeReferenceNotFound, "n2")],
        ),
        ("edge named twice", |w| w.nodes[2].upstream_node_ids[1] = "n1".into(), &[]),
        ("taken id", |w| w.nodes.push(node("end-node", "make", vec![])), &[(DuplicateId, "end-node")]),
        ("unknown task", |w| w.nodes[0].target = Some(task_target("nope")), &[(TaskReferenceNotFound, "n0")]),
        (
            "unknown node",
            |w| w.nodes[2].inputs[0] = bind("x", promise("n9", "o")),
            &[(NodeReferenceNotFound, "n2")],
        ),
        (
            "unknown upstream",
            |w| w.nodes[2].upstream_node_ids = vec!["n9".into()],
            &[(NodeReferenceNotFound, "n2")],
        ),
        (
            "unknown output",
            |w| w.nodes[2].inputs[0] = bind("x", promise("n1", "q")),
            &[(VariableNameNotFound, "n2")],
        ),
        (
            "unknown input",
            |w| w.nodes[0].inputs.push(bind("q", scalar(int_scalar(1)))),
            &[(VariableNameNotFound, "n0")],
        ),
        (
            "bound twice",
            |w| w.nodes[1].inputs.push(bind("x", scalar(int_scalar(1)))),
            &[(ParameterBoundMoreThanOnce, "n1")],
        ),
        ("not bound", |w| w.nodes[1].inputs.clear(), &[(ParameterNotBound, "n1")]),
        ("empty binding", |w| w.nodes[1].inputs[0].binding = None, &[(ValueRequired, "n1")]),
        (
            "nothing bound",
            |w| w.nodes[1].inputs[0].binding = Some(BindingData::default()),
            &[(UnrecognizedValue, "n1")],
        ),
        (
            "wrong type",
            |w| w.nodes[1].inputs[0] = bind("x", scalar(text_scalar("1"))),
            &[(MismatchingTypes, "n1")],
        ),
        ("wrong shape", |w| w.nodes[1].inputs[0] = bind("x", collection([])), &[(MismatchingBindings, "n1")]),
        ("output not bound", |w| w.outputs.clear(), &[(ParameterNotBound, "end-node")]),
    ];
    for (name, change, expected) in cases {
        let mut template = sample();
        change(&mut template);
        let found: Vec<_> = compile(template).err().map_or_else(Vec::new, |errors| {
            errors.0.into_iter().map(|error| (error.code, error.node_id)).collect()
        });
        let expected: Vec<_> = expected.iter().map(|(code, node)| (*code, (*node).to_owned())).collect();
        assert_eq!(found, expected, "{name}");
    }
}

fn untyped() -> WorkflowTemplate {
    let mut template = sample();
    let inputs = template.interface.as_mut().unwrap().inputs.as_mut().unwrap();
    inputs.variables.get_mut("a").unwrap().r#type = None;
    template
}

#[test]
fn message_lists_every_error() {
    let mut template = sample();
    template.nodes[0].target = Some(task_target("nope"));
    template.nodes[1].inputs[0] = bind("x", scalar(text_scalar("1")));
    assert_eq!(
        compile(template).unwrap_err().to_string(),
        "Collected Errors: 2\n\
         \tError 0: Code: TaskReferenceNotFound, Node Id: n0, Description: Referenced Task [p:d:nope:v] not found.\n\
         \tError 1: Code: MismatchingTypes, Node Id: n1, Description: Variable [x] (type [string]) doesn't match \
         expected type [integer]."
    );
}

#[test]
fn circles_are_named() {
    let mut template = sample();
    template.nodes[1].upstream_node_ids.push("n2".into());
    let errors = compile(template).unwrap_err().0;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].code, ErrorCode::CycleDetected);
    assert_eq!(errors[0].description, "The workflow contains a cycle: n1 -> n2 -> n1.");

    let mut template = sample();
    template.nodes[0].upstream_node_ids.push("n0".into());
    assert_eq!(codes(compile(template)), [(ErrorCode::CycleDetected, "n0".to_owned())]);
}

#[test]
fn nothing_comes_after_the_end() {
    let mut template = sample();
    template.nodes[0].upstream_node_ids.push("end-node".into());
    assert_eq!(codes(compile(template)), [(ErrorCode::UnreachableNodes, "n0".to_owned())]);
}

#[test]
fn optional_inputs_may_stay_unbound() {
    let tasks = [task("opt", interface([("x", union([int(), none()]))], []))];
    let one = |inputs| workflow("wf", interface([], []), vec![node("n0", "opt", inputs)], vec![]);
    compile_with(one(vec![]), &tasks).unwrap();
    compile_with(one(vec![bind("x", scalar(int_scalar(1)))]), &tasks).unwrap();
    compile_with(one(vec![bind("x", scalar(none_scalar()))]), &tasks).unwrap();
    let wrong = compile_with(one(vec![bind("x", scalar(text_scalar("1")))]), &tasks);
    assert_eq!(codes(wrong), [(ErrorCode::MismatchingTypes, "n0".to_owned())]);
}

#[test]
fn enum_values_are_checked() {
    let tasks = [task("paint", interface([("c", choice(["red", "blue"]))], []))];
    let one = |value| {
        let inputs = vec![bind("c", scalar(text_scalar(value)))];
        compile_with(workflow("wf", interface([], []), vec![node("n0", "paint", inputs)], vec![]), &tasks)
    };
    one("red").unwrap();
    assert_eq!(codes(one("green")), [(ErrorCode::IllegalEnumValue, "n0".to_owned())]);
}

#[test]
fn containers_fit_exactly_one_variant() {
    let with = |t: LiteralType, data: BindingData| {
        let tasks = [task("t", interface([("x", t)], [])), task("make", interface([], [("o", int())]))];
        let nodes = vec![node("m", "make", vec![]), node("n0", "t", vec![bind("x", data)])];
        compile_with(workflow("wf", interface([], []), nodes, vec![]), &tasks)
    };
    let lists = || union([list(int()), list(string()), none()]);
    with(lists(), collection([scalar(int_scalar(1)), promise("m", "o")])).unwrap();
    with(list(union([int(), string()])), collection([scalar(int_scalar(1)), scalar(text_scalar("a"))]))
        .unwrap();
    with(map(list(int())), bound_map([("k", collection([promise("m", "o")]))])).unwrap();
    let cases = [
        (lists(), collection([]), ErrorCode::AmbiguousBindingUnionValue),
        (lists(), collection([scalar(none_scalar())]), ErrorCode::IncompatibleBindingUnionValue),
        (lists(), bound_map([]), ErrorCode::IncompatibleBindingUnionValue),
        (lists(), collection([promise("m", "nope")]), ErrorCode::VariableNameNotFound),
        (list(string()), collection([promise("m", "o")]), ErrorCode::MismatchingTypes),
    ];
    for (t, data, code) in cases {
        assert_eq!(codes(with(t, data)), [(code, "n0".to_owned())]);
    }
}

#[test]
fn paths_lead_into_values() {
    let whole = dataclass([
        ("inner", dataclass([("names", list(string()))])),
        ("table", map(int())),
        ("maybe", union([int(), none()])),
    ]);
    let tasks = [
        task(
            "whole",
            interface([], [("o", whole), ("s", simple(SimpleType::Struct)), ("l", list(list(int())))]),
        ),
        task("inc", interface([("x", int())], [])),
        task("say", interface([("s", string())], [])),
    ];
    let with = |task: &str, var: &str, data: BindingData| {
        let nodes = vec![node("w", "whole", vec![]), node("n0", task, vec![bind(var, data)])];
        compile_with(workflow("wf", interface([], []), nodes, vec![]), &tasks)
    };
    with("say", "s", promise_at("w", "o", [key("inner"), key("names"), index(0)])).unwrap();
    with("inc", "x", promise_at("w", "o", [key("table"), key("any")])).unwrap();
    with("inc", "x", promise_at("w", "l", [index(0), index(1)])).unwrap();
    // Nothing is known about these.
    with("inc", "x", promise_at("w", "s", [key("any"), index(3)])).unwrap();
    let cases = [
        (promise_at("w", "o", [key("inner"), key("nope")]), ErrorCode::FieldNotFound),
        (promise_at("w", "o", [index(0)]), ErrorCode::FieldNotFound),
        (promise_at("w", "l", [key("a")]), ErrorCode::FieldNotFound),
        (promise_at("w", "l", [index(0), index(0), index(0)]), ErrorCode::FieldNotFound),
        (promise_at("w", "l", [index(0)]), ErrorCode::MismatchingTypes),
        (promise_at("w", "o", [key("inner"), key("names"), index(0)]), ErrorCode::MismatchingTypes),
        (promise_at("w", "o", [key("maybe")]), ErrorCode::MismatchingTypes),
    ];
    for (data, code) in cases {
        assert_eq!(codes(with("inc", "x", data.clone())), [(code, "n0".to_owned())], "{data:?}");
    }
}

#[test]
fn aliases_rename_outputs() {
    let alias = |var: &str, alias: &str| Alias { var: var.into(), alias: alias.into() };
    let with = |aliases: Vec<Alias>, var: &str| {
        let first = Node { output_aliases: aliases, ..node("n0", "two", vec![]) };
        let nodes = vec![first, node("n1", "inc", vec![bind("x", promise("n0", var))])];
        let tasks = [
            task("two", interface([], [("a", int()), ("b", int())])),
            task("inc", interface([("x", int())], [])),
        ];
        compile_with(workflow("wf", interface([], []), nodes, vec![]), &tasks)
    };
    with(vec![alias("a", "c")], "c").unwrap();
    with(vec![alias("a", "b"), alias("b", "a")], "b").unwrap();
    let n0 = |code| vec![(code, "n0".to_owned())];
    assert_eq!(codes(with(vec![alias("a", "c")], "a")), [(ErrorCode::VariableNameNotFound, "n1".to_owned())]);
    assert_eq!(codes(with(vec![alias("q", "c")], "a")), n0(ErrorCode::VariableNameNotFound));
    assert_eq!(codes(with(vec![alias("a", "b")], "b")), n0(ErrorCode::DuplicateAlias));
    assert_eq!(codes(with(vec![alias("a", "c"), alias("b", "c")], "c")), n0(ErrorCode::DuplicateAlias));
}

#[test]
fn task_runs_in_a_workflow_of_its_own() {
    let tasks = tasks();
    let mut template = tasks[0].template.clone().unwrap();
    let name = "basic.basic_workflow.t1";
    template.id.as_mut().unwrap().name = name.to_owned();
    let (workflow, node_id) = workflow_of_task(&template);
    assert_eq!(node_id, "basicbasicworkflowt1");
    assert_eq!(workflow.id.as_ref().unwrap().name, ".flytegen.basic.basic_workflow.t1");
    assert_eq!(workflow.nodes[0].metadata.as_ref().unwrap().retries, Some(RetryStrategy { retries: 3 }));
    assert_eq!(requirements(&workflow, &[]).tasks, [id(ResourceType::Task, name)]);
    let compiled =
        compile_workflow(workflow, vec![], &[compiler::compile_task(template.clone())], &[]).unwrap();
    assert_eq!(compiled.tasks[0].template.as_ref(), Some(&template));

    for (name, expected) in
        [("ä.ö", "task"), ("end-node", "task-end-node"), (&"x.y".repeat(40), &"xy".repeat(40)[17..])]
    {
        template.id.as_mut().unwrap().name = name.to_owned();
        let (workflow, node_id) = workflow_of_task(&template);
        assert_eq!(node_id, expected);
        compile_workflow(workflow, vec![], &[compiler::compile_task(template.clone())], &[]).unwrap();
    }
}
