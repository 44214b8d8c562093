//! Claims about plugins that only describe, which are asked before the commit.

use std::sync::atomic::Ordering;

use proto::flyteidl::core::workflow_execution::Phase;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::world::{Crash, World};

#[tokio::test]
async fn crash_at_any_commit_of_described_tasks() {
    let flow = Flow::new()
        .node("a", "described-echo", &[])
        .node("b", "described-pod", &["a"])
        .node("c", "described-pod", &["a"])
        .node("d", "described-echo", &["b", "c"])
        .node("e", "pod", &["d"]);
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_described_retries() {
    let flow = Flow::new()
        .node("a", "described-pod", &[])
        .node("b", "described-messy:2", &["a"])
        .retries(2)
        .node("c", "described-pod", &["b"]);
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_an_abort_of_described_tasks() {
    let flow = Flow::new().node("a", "described-echo", &[]).node("b", "described-pod", &["a"]);
    crash_everywhere(&flow, Phase::Aborted, Some("b")).await;
}

#[tokio::test]
async fn described_chain_takes_few_commits() {
    let mut n_commits = Vec::new();
    for task_type in ["echo", "described-echo", "pod", "described-pod"] {
        let world = World::new().await;
        let life = world.start();
        let rows = world.until_over(&world.launch(&Flow::chain(20, task_type)).await).await;
        assert_eq!(
            (rows.phase(), world.output(&rows).await.is_some()),
            (Phase::Succeeded, true),
            "{task_type}"
        );
        n_commits.push(life.commits.load(Ordering::SeqCst));
    }
    assert!(n_commits[1] * 4 < n_commits[0], "{n_commits:?}");
    assert!(n_commits[3] < n_commits[2], "{n_commits:?}");
}

#[tokio::test]
async fn what_is_described_is_not_done_before_the_commit() {
    let world = World::new().await;
    let life = world.start_as("host", Some(Crash::Before(0)));
    let id = world.launch(&Flow::chain(1, "described-pod")).await;
    world.until(&id, |_| life.is_over()).await;
    assert!(matches!(life.end().await, Err(worker::Error::Crashed(0))));
    assert_eq!(world.plugins.journal.count("handle", "n0-0"), 1);
    assert!(world.cluster.names().is_empty());
    let _next = world.start();
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
}
