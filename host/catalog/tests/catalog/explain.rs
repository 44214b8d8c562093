//! Explanations of nodes from what is stored.

use catalog::{Cause, Field, Verdict, task_key};
use model::ExecutionId;
use proto::flyteidl::core::*;

use crate::catalog::build::{inputs, integer, map, outputs, source, template};
use crate::catalog::flow::{LATER, Ran, bind, node, task, template as workflow};
use crate::catalog::world::{NOW, World, world};

async fn laid_out(nodes: &[(&str, Ran)]) -> World {
    let w = world().await;
    let both = || vec![bind("x", "", "x"), bind("y", "", "y")];
    let own = NodeMetadata {
        cache_version_value: Some(node_metadata::CacheVersionValue::CacheVersion("2".to_owned())),
        ..NodeMetadata::default()
    };
    let mut versioned = node("n2", task("t"), both());
    versioned.metadata = Some(own);
    let nodes_of = vec![node("n0", task("t"), both()), node("n1", task("t"), both()), versioned];
    w.register_workflow(workflow("wf", nodes_of, Vec::new()), Vec::new()).await;
    w.register_task(&template("1")).await;
    w.run("e", "wf", None, nodes).await;
    w
}

fn ran(x: i64, y: i64, began: i64) -> Ran {
    Ran { inputs: inputs(x, y), began, ..Ran::default() }
}

async fn explain(w: &World, node: &str) -> catalog::NodeReport {
    w.catalog.explain(&ExecutionId::new("project", "domain", "e"), node, LATER).await.unwrap()
}

#[tokio::test]
async fn a_miss_then_is_told_from_a_hit_now() {
    let w = laid_out(&[("n0", ran(1, 2, 0)), ("n1", ran(1, 3, 10))]).await;
    let key = |x, y| task_key(&template("1"), &inputs(x, y)).unwrap();
    w.catalog.put(&key(1, 2), &source("e", "n0"), &outputs(1), false, NOW.plus(5)).await.unwrap();
    w.catalog.put(&key(1, 3), &source("e", "n1"), &outputs(2), false, NOW.plus(20)).await.unwrap();
    let first = explain(&w, "n0").await;
    assert_eq!(first.then.text, "miss: nothing is cached of this task yet");
    assert!(first.now.text.starts_with("hit: outputs of project/domain/e/n0"), "{}", first.now.text);
    assert!(first.is_cached);
    let second = explain(&w, "n1").await;
    assert_eq!(second.then.explanation.cause, Cause::Differs);
    let differing: Vec<&Field> = second
        .then
        .explanation
        .fields
        .iter()
        .filter(|it| it.verdict != Verdict::Same)
        .map(|it| &it.field)
        .collect();
    assert_eq!(differing, [&Field::Input("y".to_owned())]);
    let y = second.inputs.iter().find(|input| input.name == "y").unwrap();
    assert_eq!((y.value.as_str(), y.nearest.as_str(), y.counts), ("3", "2", true));
    assert_eq!(second.key, key(1, 3).cache_key());
}

#[tokio::test]
async fn a_node_with_a_version_of_its_own_has_its_key() {
    let w = laid_out(&[("n2", ran(1, 2, 0))]).await;
    let key = task_key(&template("2"), &inputs(1, 2)).unwrap();
    assert_eq!(explain(&w, "n2").await.key, key.cache_key());
}

#[tokio::test]
async fn own_hashes_and_evictions_are_shown() {
    let mut hashed = integer(2);
    hashed.hash = "h".to_owned();
    let given = map([("x", integer(1)), ("y", hashed)]);
    let w = laid_out(&[("n0", Ran { inputs: given.clone(), began: 50, ..Ran::default() })]).await;
    let key = task_key(&template("1"), &given).unwrap();
    w.catalog.put(&key, &source("d", "n7"), &outputs(1), false, NOW.plus(5)).await.unwrap();
    let report = explain(&w, "n0").await;
    assert!(report.then.explanation.is_hit(), "{}", report.then.text);
    let y = report.inputs.iter().find(|input| input.name == "y").unwrap();
    assert_eq!(y.own_hash, "h");
    let all = catalog::Selection { task: "t".to_owned(), ..catalog::Selection::default() };
    w.catalog.evict(&all, NOW.plus(60)).await.unwrap();
    let report = explain(&w, "n0").await;
    assert!(report.then.explanation.is_hit(), "it was there when the node began");
    assert!(matches!(report.now.explanation.cause, Cause::Evicted { .. }), "{}", report.now.text);
}

#[tokio::test]
async fn an_eviction_is_told_when_there_is_a_new_entry_too() {
    let w = laid_out(&[("n0", ran(1, 2, 100))]).await;
    let key = task_key(&template("1"), &inputs(1, 2)).unwrap();
    w.catalog.put(&key, &source("d", "n7"), &outputs(1), false, NOW.plus(5)).await.unwrap();
    let all = catalog::Selection { task: "t".to_owned(), ..catalog::Selection::default() };
    w.catalog.evict(&all, NOW.plus(60)).await.unwrap();
    w.catalog.put(&key, &source("e", "n0"), &outputs(1), false, NOW.plus(200)).await.unwrap();
    let report = explain(&w, "n0").await;
    assert_eq!(report.then.explanation.cause, Cause::Evicted { ago_micros: 40 });
    assert!(report.now.explanation.is_hit(), "{}", report.now.text);
}

#[tokio::test]
async fn what_can_not_be_explained_says_why() {
    let w = laid_out(&[("n0", ran(1, 2, 0))]).await;
    let error =
        w.catalog.explain(&ExecutionId::new("project", "domain", "e"), "n9", LATER).await.unwrap_err();
    assert_eq!(error.to_string(), "node project/domain/e/n9 does not exist");
}
