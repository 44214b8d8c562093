//! Lineage: through nodes, branches, sub-workflows, workflows made at run time, executions and the cache.

use catalog::lineage::{How, Lineage, Maker, Source, Target, Use, UseKind};
use proto::flyteidl::core::*;

use crate::catalog::build::{integer, node_id, outputs, source, template as task_template};
use crate::catalog::flow::{
    Ran, below, bind, branch, hit, launch_plan, literals, node, started, sub_workflow, task, template,
};
use crate::catalog::world::{NOW, World, world};

fn ran(x: i64, o: i64) -> Ran {
    Ran { inputs: literals([("x", integer(x))]), outputs: literals([("o", integer(o))]), ..Ran::default() }
}

fn within(parent: &str, spec: &'static str) -> Ran {
    Ran { parent: parent.to_owned(), spec, ..Ran::default() }
}

/// Execution `e`: `n0 -> n1 -> n2 (a sub-workflow) -> n3 (a branch) -> n4 (starts execution f) -> n5`.
async fn laid_out() -> World {
    let w = world().await;
    let inner =
        template("inner", vec![node("m0", task("c"), vec![bind("x", "", "in")])], vec![bind("o", "m0", "o")]);
    let arms = branch(
        node("a0", task("d"), vec![bind("x", "n2", "o")]),
        node("a1", task("d"), vec![bind("x", "n2", "o")]),
    );
    let outer = template(
        "outer",
        vec![
            node("n0", task("a"), vec![bind("x", "", "x")]),
            node("n1", task("b"), vec![bind("x", "n0", "o"), bind("k", "", "")]),
            node("n2", sub_workflow("inner"), vec![bind("in", "n1", "o")]),
            node("n3", arms, vec![bind("c", "n0", "o")]),
            node("n4", launch_plan("child"), vec![bind("x", "n3", "o")]),
            node("n5", task("e"), vec![bind("x", "n4", "o")]),
        ],
        vec![bind("out", "n5", "o")],
    );
    w.register_workflow(outer, vec![inner]).await;
    let child = template(
        "child",
        vec![node("c0", task("g"), vec![bind("x", "start-node", "x")])],
        vec![bind("o", "c0", "o")],
    );
    w.register_workflow(child, Vec::new()).await;
    let e = w
        .run(
            "e",
            "outer",
            None,
            &[
                ("n0", ran(1, 2)),
                ("n1", ran(2, 3)),
                ("n2", Ran::default()),
                (&below("n2", "m0"), within("n2", "m0")),
                ("n3", Ran::default()),
                (
                    &below("n3", "a0"),
                    Ran { phase: Some(node_execution::Phase::Skipped), ..within("n3", "a0") },
                ),
                (&below("n3", "a1"), within("n3", "a1")),
                ("n4", Ran { extra: Some(started("f")), ..Ran::default() }),
                ("n5", Ran::default()),
            ],
        )
        .await;
    w.run("f", "child", Some((e, "n4")), &[("c0", ran(5, 6))]).await;
    w
}

async fn lineage(w: &World, of: &str, depth: u32) -> Lineage {
    let target = Target::parse(of, "project", "domain").unwrap();
    w.catalog.lineage(&target, depth).await.unwrap()
}

/// Names without project and domain, and without the execution `e`.
fn place(execution: &str, node: &str) -> String {
    let execution = execution.strip_prefix("project/domain/").unwrap_or(execution);
    if execution == "e" { node.to_owned() } else { format!("{execution}:{node}") }
}

fn of_maker(maker: &Maker) -> String {
    let mut parts = Vec::new();
    if let Some(taken) = &maker.taken_from {
        let how = match taken.how {
            How::Cache => "cache",
            How::Recovery => "recovery",
        };
        parts.push(format!("{how} {}", of_maker(&taken.maker)));
    }
    parts.extend(maker.within.iter().map(|it| format!("in {}", of_source(it))));
    for input in &maker.inputs {
        let from: Vec<String> = input.from.iter().map(of_source).collect();
        parts.push(format!("{}={}", input.name, from.join("+")));
    }
    let cut = if maker.cut { ".." } else { "" };
    let place = place(&maker.execution, &maker.node);
    if parts.is_empty() { format!("{place}{cut}") } else { format!("{place}({}){cut}", parts.join(" ")) }
}

fn of_source(source: &Source) -> String {
    match source {
        Source::Output { output, maker } => format!("{output}@{}", of_maker(maker)),
        Source::Given { input, execution, from } => {
            let from: Vec<String> = from.iter().map(of_source).collect();
            let execution = execution.strip_prefix("project/domain/").unwrap_or(execution);
            if from.is_empty() {
                format!("given {input} of {execution}")
            } else {
                format!("given {input} of {execution} by {}", from.join("+"))
            }
        }
        Source::Constant => "constant".to_owned(),
        Source::Unknown { reason } => format!("unknown: {reason}"),
    }
}

fn of_uses(uses: &[Use]) -> String {
    let of = |it: &Use| {
        let place = place(&it.execution, &it.node);
        let what = match it.kind {
            UseKind::Input => format!("{place}.{}", it.input),
            UseKind::LaunchPlan => {
                format!("{place}.{}=>{}", it.input, it.started.rsplit('/').next().unwrap())
            }
            UseKind::CacheHit => format!("hit {place}"),
            UseKind::Output => format!("out {}", it.input),
        };
        let then = of_uses(&it.then);
        if then.is_empty() { what } else { format!("{what}({then})") }
    };
    uses.iter().map(of).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn upstream_goes_through_every_kind_of_node() {
    let w = laid_out().await;
    let m0 = below("n2", "m0");
    let a1 = below("n3", "a1");
    assert_eq!(of_maker(&lineage(&w, "e/n1/o", 9).await.made_by), "n1(x=o@n0(x=given x of e) k=constant)");
    let n2 = format!("n2(in o@{m0}(x=o@n1(x=o@n0(x=given x of e) k=constant)) in=o@n1..)");
    assert_eq!(of_maker(&lineage(&w, "e/n2/o", 9).await.made_by), n2);
    let n3 = format!("n3(in o@{a1}(x=o@{n2}) c=o@n0..)");
    assert_eq!(of_maker(&lineage(&w, "e/n3/o", 9).await.made_by), n3);
    let found = lineage(&w, "f/c0/o", 9).await;
    assert_eq!(of_maker(&found.made_by), format!("f:c0(x=given x of f by o@{n3})"));
    assert_eq!(found.of.value, "6");
    assert_eq!(found.of.uri, "flyte://v1/project/domain/f/c0/o/o");
    assert_eq!((found.made_by.inputs[0].value.as_str(), found.made_by.runs.as_str()), ("5", "task g@v1"));
    let n5 = lineage(&w, "flyte://v1/project/domain/e/n5/0/o/o", 9).await;
    assert_eq!(of_maker(&n5.made_by), format!("n5(x=o@n4(in o@f:c0(x=given x of f by o@{n3}) x=o@n3..))"));
}

#[tokio::test]
async fn downstream_goes_through_every_kind_of_node() {
    let w = laid_out().await;
    let (m0, a1) = (below("n2", "m0"), below("n3", "a1"));
    let from_n3 = "n4.x=>f(f:c0.x(out o(n5.x(out out))))";
    assert_eq!(
        of_uses(&lineage(&w, "e/n1/o", 12).await.used_by),
        format!("n2.in({m0}.x({a1}.x({from_n3})))")
    );
    assert_eq!(of_uses(&lineage(&w, "e/n5/o", 3).await.used_by), "out out");
    assert_eq!(of_uses(&lineage(&w, "f/c0/o", 9).await.used_by), "out o(n5.x(out out))");
    let n0 = lineage(&w, "e/n0/o", 1).await;
    assert_eq!(of_uses(&n0.used_by), "n1.x n3.c");
    assert!(n0.cut, "one step only");
}

#[tokio::test]
async fn another_output_has_other_uses() {
    let w = laid_out().await;
    assert_eq!(of_uses(&lineage(&w, "e/n0/other", 9).await.used_by), "");
    assert_ne!(of_uses(&lineage(&w, "e/n0", 9).await.used_by), "");
}

#[tokio::test]
async fn the_cache_links_executions_both_ways() {
    let w = laid_out().await;
    let key = catalog::task_key(&task_template("1"), &crate::catalog::build::inputs(1, 2)).unwrap();
    let stored = w.catalog.put(&key, &source("e", "n0"), &outputs(2), false, NOW).await.unwrap();
    w.catalog.used(&stored, &node_id("g", "n0"), NOW).await.unwrap();
    w.run(
        "g",
        "outer",
        None,
        &[("n0", Ran { extra: Some(hit(stored.clone())), ..ran(1, 2) }), ("n1", ran(2, 3))],
    )
    .await;
    let made = lineage(&w, "g/n1/o", 9).await;
    assert_eq!(of_maker(&made.made_by), "g:n1(x=o@g:n0(cache n0(x=given x of e) x=given x of g) k=constant)");
    let used = lineage(&w, "e/n0/o", 2).await;
    assert_eq!(of_uses(&used.used_by), "n1.x(n2.in) n3.c(n4.x=>f) hit g:n0(g:n1.x)");
    assert_eq!(used.of.cached.len(), 1);
    assert_eq!(used.of.cached[0].uses, 1);
    let by_artifact = lineage(&w, &stored.artifact_tag.unwrap().artifact_id, 2).await;
    assert_eq!(of_uses(&by_artifact.used_by), "n1.x(n2.in) n3.c(n4.x=>f) hit g:n0(g:n1.x)");
}

#[tokio::test]
async fn workflows_made_at_run_time_are_walked() {
    let w = world().await;
    let outer = template(
        "maker",
        vec![
            node("n0", task("dyn"), vec![bind("x", "", "x")]),
            node("n1", task("b"), vec![bind("x", "n0", "o")]),
        ],
        Vec::new(),
    );
    w.register_workflow(outer, Vec::new()).await;
    let made = template(
        "made",
        vec![
            node("d0", task("a"), vec![bind("x", "", "")]),
            node("d1", task("a"), vec![bind("x", "d0", "o")]),
        ],
        vec![bind("o", "d1", "o")],
    );
    let closure = CompiledWorkflowClosure {
        primary: Some(CompiledWorkflow { template: Some(made), connections: None }),
        ..CompiledWorkflowClosure::default()
    };
    let uri = w.write("e/n0/dynamic_compiled.pb", &closure).await.replace("dynamic_compiled", "futures");
    let (d0, d1) = (below("n0", "d0"), below("n0", "d1"));
    w.run(
        "e",
        "maker",
        None,
        &[
            ("n0", Ran { dynamic_uri: uri, ..Ran::default() }),
            (&d0, within("n0", "d0")),
            (&d1, within("n0", "d1")),
            ("n1", Ran::default()),
        ],
    )
    .await;
    assert_eq!(
        of_maker(&lineage(&w, "e/n1/o", 9).await.made_by),
        format!("n1(x=o@n0(in o@{d1}(x=o@{d0}(x=constant)) x=given x of e))")
    );
    assert_eq!(of_uses(&lineage(&w, &format!("e/{d0}/o"), 9).await.used_by), format!("{d1}.x(n1.x)"));
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let w = laid_out().await;
    for (of, says) in [
        ("nothing/n0", "execution project:domain:nothing does not exist"),
        ("e/n9", "node project:domain:e:n9 does not exist"),
        ("9f1c", "artifact 9f1c does not exist"),
    ] {
        let target = Target::parse(of, "project", "domain").unwrap();
        assert_eq!(w.catalog.lineage(&target, 3).await.unwrap_err().to_string(), says);
    }
}

#[tokio::test]
async fn a_diamond_of_many_layers_is_walked_once() {
    let w = world().await;
    let mut nodes = vec![node("n0", task("a"), vec![bind("x", "", "x")])];
    let mut rows: Vec<(String, Ran)> = vec![("n0".to_owned(), Ran::default())];
    for layer in 1..20 {
        let (left, right) = (format!("l{layer}"), format!("r{layer}"));
        let before = |side: &str| if layer == 1 { "n0".to_owned() } else { format!("{side}{}", layer - 1) };
        let both = || vec![bind("x", &before("l"), "o"), bind("y", &before("r"), "o")];
        nodes.extend([node(&left, task("a"), both()), node(&right, task("a"), both())]);
        rows.extend([(left, Ran::default()), (right, Ran::default())]);
    }
    w.register_workflow(template("diamond", nodes, Vec::new()), Vec::new()).await;
    let rows: Vec<(&str, Ran)> = rows.iter().map(|(id, ran)| (id.as_str(), ran.clone())).collect();
    w.run("e", "diamond", None, &rows).await;
    let found = lineage(&w, "e/l10/o", 20).await;
    assert!(!found.cut);
    assert_eq!(of_maker(&found.made_by).matches("(x=").count(), 20, "each node once with its inputs");
    assert!(lineage(&w, "e/l10/o", 3).await.cut);
}
