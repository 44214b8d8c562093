//! Claims about executions that go well, or as well as retries and timeouts allow.

use std::sync::atomic::Ordering;

use prost::Message;
use proto::flyteidl::admin::{Annotations, Envs, ExecutionSpec, Labels, NodeExecutionClosure};
use proto::flyteidl::core::{KeyValuePair, execution_error::ErrorKind, workflow_execution::Phase};

use crate::flow::Flow;
use crate::world::{World, closure};

#[tokio::test]
async fn chain_succeeds_with_its_sum() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::chain(5, "echo")).await;
    let rows = world.until_over(&id).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!(world.output(&rows).await, Some(5));
    assert!(rows.nodes.iter().all(|node| node.started_at.is_some() && node.duration.is_some()));
    assert_eq!(rows.nodes.len(), 7, "five tasks, start and end");
    assert!(rows.nodes.iter().all(|node| node.phase == 3), "{:?}", rows.digest());
    assert!(rows.execution.duration.is_some() && rows.execution.started_at.is_some());
    life.drain().await.unwrap();
}

#[tokio::test]
async fn chain_costs_one_commit_per_node() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::chain(40, "echo")).await;
    let rows = world.until_over(&id).await;
    assert_eq!(world.output(&rows).await, Some(40));
    let commits = life.commits.load(Ordering::SeqCst);
    assert!(commits <= 42, "one to start, one per node, one to close: {commits}");
}

#[tokio::test]
async fn diamond_waits_for_both_sides() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("a", "echo", &[]).node("b", "echo", &["a"]).node("c", "echo", &["a"]).node(
        "d",
        "echo",
        &["b", "c"],
    );
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(world.output(&rows).await, Some(5));
}

#[tokio::test]
async fn fan_out_joins() {
    let world = World::new().await;
    let life = world.start();
    let rows = world.until_over(&world.launch(&Flow::fan(200, "echo")).await).await;
    assert_eq!(world.output(&rows).await, Some(201));
    assert_eq!(rows.tasks.len(), 201);
    let commits = life.commits.load(Ordering::SeqCst);
    assert!(commits < 60, "answers that come together are committed together: {commits}");
}

#[tokio::test]
async fn many_executions_share_commits() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(world.launch(&Flow::chain(2, "echo")).await);
    }
    let life = world.start();
    for id in &ids {
        assert_eq!(world.until_over(id).await.phase(), Phase::Succeeded);
    }
    assert_eq!(world.registry.n_live(), 0, "completed executions leave memory");
    assert!(life.commits.load(Ordering::SeqCst) < 150, "{}", life.commits.load(Ordering::SeqCst));
}

#[tokio::test]
async fn more_executions_than_fit_wait_in_the_store() {
    let mut world = World::new().await;
    world.config.max_live_executions = 2;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(world.launch(&Flow::chain(1, "echo")).await);
    }
    let _life = world.start();
    for id in &ids {
        assert_eq!(world.until_over(id).await.phase(), Phase::Succeeded);
    }
}

#[tokio::test]
async fn user_failures_spend_the_users_retries() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", "user:2", &[]).retries(2)).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    let phases: Vec<_> = rows.attempts("n").iter().map(|task| task.phase).collect();
    assert_eq!(phases, [5, 5, 3]);
    assert_eq!(rows.node("n").attempt, 2);
    assert_eq!(
        world.plugins.journal.count("finalize", "n-0"),
        1,
        "each failed attempt is finalized before the next"
    );
}

#[tokio::test]
async fn exhausted_retries_fail_the_execution() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "user:5", &[]).retries(1).node("after", "echo", &["n"]);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Failed);
    assert_eq!(rows.error().code, "RetriesExhausted|Oops");
    assert_eq!(
        (rows.execution.error_kind.as_str(), rows.execution.error_code.as_str()),
        ("USER", "RetriesExhausted|Oops")
    );
    assert_eq!(rows.attempts("n").len(), 2);
    assert!(rows.attempts("after").is_empty());
}

#[tokio::test]
async fn system_failures_have_a_budget_of_their_own() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", "system:3", &[])).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!((rows.node("n").attempt, rows.node("n").system_failures), (3, 3));
}

#[tokio::test]
async fn permanent_failures_are_not_tried_again() {
    let world = World::new().await;
    let _life = world.start();
    let rows =
        world.until_over(&world.launch(&Flow::new().node("n", "permanent", &[]).retries(3)).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Never"));
    assert_eq!(rows.attempts("n").len(), 1);
}

#[tokio::test]
async fn attempts_that_take_too_long_are_aborted() {
    let world = World::new().await;
    let _life = world.start();
    let rows =
        world.until_over(&world.launch(&Flow::new().node("n", "forever", &[]).timeout(10)).await).await;
    assert_eq!(rows.phase(), Phase::Failed);
    assert_eq!(rows.error().kind(), ErrorKind::User);
    assert_eq!(rows.attempts("n")[0].phase, 5);
    assert_eq!(world.plugins.journal.count("abort", "n-0"), 1);
}

#[tokio::test]
async fn plugins_are_called_again_when_they_asked() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", "poll", &[])).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!(world.plugins.journal.reasons("n-0"), ["START", "TIMER", "TIMER", "TIMER"]);
}

#[tokio::test]
async fn plugins_can_have_themselves_woken() {
    let world = World::new().await;
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "forever", &[])).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 2)).await;
    assert!(world.registry.wake(&id, "n", 0));
    let journal = &world.plugins.journal;
    world.until(&id, |_| journal.reasons("n-0").contains(&"WOKEN".to_owned())).await;
}

#[tokio::test]
async fn rows_tell_what_clients_read() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "user:1", &[]).retries(1).task(|task| {
        let metadata = task.metadata.as_mut().unwrap();
        metadata.is_eager = true;
        metadata.generates_deck = Some(true);
    });
    let rows = world.until_over(&world.launch(&flow).await).await;
    let node = rows.node("n");
    assert_eq!((node.spec_node_id.as_str(), node.node_name.as_str()), ("n", "name of n"));
    assert!(node.input_uri.ends_with("p-d-e0/n/data/inputs.pb"), "{}", node.input_uri);
    assert!(node.output_uri.ends_with("p-d-e0/n/data/1/outputs.pb"), "{}", node.output_uri);
    assert!(node.deck_uri.ends_with("p-d-e0/n/data/1/deck.html"), "{}", node.deck_uri);
    assert_eq!(node.flags, store::row::NodeFlags::IS_EAGER);
    let extra = NodeExecutionClosure::decode(node.extra.as_slice()).unwrap();
    assert!(extra.target_metadata.is_some());
    let attempts = rows.attempts("n");
    let first = closure(attempts[0]);
    assert!(first.output_result.is_some(), "the error of a failed attempt stays");
    let metadata = first.metadata.unwrap();
    assert_eq!((metadata.generated_name.as_str(), metadata.plugin_identifier.as_str()), ("e0-n-0", "fake"));
    assert_eq!((first.event_version, first.task_type.as_str()), (1, "user:1"));
    assert!(!first.reasons.is_empty());
    assert!(attempts.iter().all(|task| task.started_at.is_some() && task.duration.is_some()));
    assert_eq!(attempts[1].output_uri, node.output_uri);
    let start = rows.node("start-node");
    assert_eq!((start.phase, start.output_uri.as_str()), (3, rows.execution.inputs_uri.as_str()));
    assert_eq!(rows.node("end-node").output_uri, rows.execution.outputs_uri);
}

#[tokio::test]
async fn tasks_are_told_where_they_are() {
    let mut world = World::new().await;
    world.config.tasks.env.insert("BASE".into(), "1".into());
    let _life = world.start();
    let values = |key: &str| [(key.to_owned(), "v".to_owned())].into();
    let spec = ExecutionSpec {
        labels: Some(Labels { values: values("team") }),
        annotations: Some(Annotations { values: values("note") }),
        envs: Some(Envs { values: vec![KeyValuePair { key: "MINE".into(), value: "2".into() }] }),
        ..ExecutionSpec::default()
    };
    let flow = Flow::new().node("n", "user:1", &[]).retries(1);
    world.until_over(&world.launch_with(&flow, spec).await).await;
    let contexts = world.plugins.journal.contexts.lock().unwrap();
    let context = &contexts["e0-n-1"];
    assert_eq!((context.namespace.as_str(), context.attempt, context.max_attempts), ("p-d", 1, 2));
    for (key, value) in [
        ("BASE", "1"),
        ("MINE", "2"),
        ("FLYTE_INTERNAL_EXECUTION_ID", "e0"),
        ("FLYTE_INTERNAL_EXECUTION_WORKFLOW", "p:d:w0"),
        ("FLYTE_INTERNAL_TASK_NAME", "task-n"),
        ("FLYTE_INTERNAL_TASK_VERSION", "v"),
        ("FLYTE_ATTEMPT_NUMBER", "1"),
    ] {
        assert_eq!(context.env.get(key).map(String::as_str), Some(value), "{key}");
    }
    for (key, value) in [("team", "v"), ("execution-id", "e0"), ("node-id", "n"), ("task-name", "task-n")] {
        assert_eq!(context.labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(context.annotations["note"], "v");
    assert!(
        context.output_prefix.ends_with("metadata/propeller/p-d-e0/n/data/1"),
        "{}",
        context.output_prefix
    );
    assert_eq!(context.prev_checkpoint_prefix, "", "the attempt before left none");
    assert_eq!(context.workflow_id.as_ref().unwrap().name, "w0");
}

#[tokio::test]
async fn attempts_go_on_from_the_latest_checkpoint_there_is() {
    let world = World::new().await;
    let _life = world.start();
    let written = world.write_checkpoint("e0", "n", 1).await;
    let flow = Flow::new().node("n", "user:3", &[]).retries(3);
    world.until_over(&world.launch(&flow).await).await;
    let contexts = world.plugins.journal.contexts.lock().unwrap();
    let previous = |attempt: u32| contexts[&format!("e0-n-{attempt}")].prev_checkpoint_prefix.as_str();
    assert_eq!((previous(0), previous(1)), ("", ""));
    assert_eq!((previous(2), previous(3)), (written.as_str(), written.as_str()));
}
