//! Claims about executions that take over what another one achieved.

use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::nodes::Mapping;
use crate::world::{Crash, Rows, World};

/// Runs a workflow that fails at tasks of type `flaky`, then recovers it.
async fn recovered(world: &World, flow: &Flow) -> (Rows, Rows) {
    world.plugins.break_flaky(true);
    let id = world.launch(flow).await;
    let first = world.until_over(&id).await;
    assert_eq!(first.phase(), Phase::Failed);
    world.plugins.break_flaky(false);
    let second = world.until_over(&world.recover(&id).await).await;
    assert_eq!(second.phase(), Phase::Succeeded, "{}", second.error().message);
    (first, second)
}

#[tokio::test]
async fn only_what_had_not_succeeded_runs_again() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("a", "echo", &[]).node("b", "flaky", &["a"]).node("c", "echo", &["b"]);
    let written = world.write_checkpoint("e0", "b", 0).await;
    let (first, second) = recovered(&world, &flow).await;
    assert_eq!(second.node("a").phase, 10);
    assert_eq!(second.node("a").output_uri, first.node("a").output_uri);
    assert_eq!((second.node("b").phase, second.node("c").phase), (3, 3));
    assert!(second.attempts("a").is_empty());
    assert_eq!(world.output(&second).await, Some(3));
    let contexts = world.plugins.journal.contexts.lock().unwrap();
    assert_eq!(contexts["e1-b-0"].prev_checkpoint_prefix, written);
}

#[tokio::test]
async fn nodes_within_nodes_are_taken_over() {
    let world = World::new().await;
    let _life = world.start();
    let inner = Flow::new().node("i", "echo", &[]).node("j", "flaky", &["i"]);
    let (_, second) = recovered(&world, &Flow::new().sub("s", &inner, "")).await;
    assert_eq!((second.node("s-0-i").phase, second.node("s-0-j").phase), (10, 3));
}

#[tokio::test]
async fn elements_are_taken_over() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().array("m", "odd-flaky", &[1, 2, 3], Mapping::default());
    let (first, second) = recovered(&world, &flow).await;
    for element in ["m-0-n0", "m-0-n1", "m-0-n2"] {
        // Those that were aborted with the second one had not succeeded.
        let expected = if first.node(element).phase == 3 { 10 } else { 3 };
        assert_eq!(second.node(element).phase, expected, "{element}");
    }
    assert_eq!(second.node("m-0-n1").phase, 3);
}

#[tokio::test]
async fn a_map_that_had_succeeded_shows_its_elements() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().array("m", "echo", &[1, 2, 3], Mapping::default());
    let flow = flow.node("b", "flaky", &[]).after(&["m"]);
    let (first, second) = recovered(&world, &flow).await;
    assert_eq!((second.node("m").phase, second.node("b").phase), (10, 3));
    assert_eq!(second.node("m").output_uri, first.node("m").output_uri);
    for element in ["m-0-n0", "m-0-n1", "m-0-n2"] {
        let (old, new) = (first.node(element), second.node(element));
        assert_eq!((new.phase, new.parent_id.as_str()), (10, "m"), "{element}");
        assert_eq!((&new.output_uri, &new.spec_node_id), (&old.output_uri, &old.spec_node_id));
        assert!(second.attempts(element).is_empty(), "{element} runs nothing");
    }
    let row = second.attempts("m");
    assert_eq!((row.len(), row[0].phase), (1, 3), "the row that stands for all elements");
    let third = world.until_over(&world.recover(&second.execution.id).await).await;
    assert_eq!(third.node("m-0-n2").phase, 10, "shown by a recovery of the recovery too");
}

#[tokio::test]
async fn crash_at_any_commit_of_a_recovered_map() {
    let flow = Flow::new().array("m", "echo", &[1, 2, 3], Mapping::default());
    crash_everywhere(&flow.node("b", "flaky", &[]).after(&["m"])).await;
}

#[tokio::test]
async fn what_a_task_made_is_not_made_again() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("d", "make-flaky", &[]);
    let (_, second) = recovered(&world, &flow).await;
    assert_eq!(world.plugins.journal.count("handle", "e1-d-0"), 0);
    assert_eq!((second.node("d-0-dn0").phase, second.node("d-0-dn1").phase), (10, 3));
}

#[tokio::test]
async fn children_are_recovered() {
    let world = World::new().await;
    world.plan("plan", &Flow::new().node("c", "echo", &[]).node("f", "flaky", &["c"])).await;
    let _life = world.start();
    let (_, second) = recovered(&world, &Flow::new().launch_plan("l", "plan", "")).await;
    assert_eq!(second.phase(), Phase::Succeeded);
    let child = world.rows(&model::ExecutionId::new("p", "d", "e1-l-0")).await;
    assert_eq!((child.node("c").phase, child.node("f").phase), (10, 3));
    assert_eq!(child.execution.source, Some(model::ExecutionId::new("p", "d", "e0-l-0")));
}

#[tokio::test]
async fn crash_at_any_commit_of_a_recovery() {
    let inner = Flow::new().node("i", "echo", &[]).node("j", "flaky", &["i"]);
    crash_everywhere(&Flow::new().sub("s", &inner, "").node("d", "make-flaky", &["s"])).await;
}

/// Runs a workflow that fails, then recovers it while the worker crashes, in turn around every commit.
async fn crash_everywhere(flow: &Flow) {
    let mut expected = None;
    for n in 0.. {
        let mut any = false;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let world = World::new().await;
            world.plugins.break_flaky(true);
            let first = world.start();
            let id = world.launch(flow).await;
            world.until_over(&id).await;
            first.drain().await.unwrap();
            world.plugins.break_flaky(false);
            let life = world.start_as("host", Some(crash));
            let second = world.recover(&id).await;
            world.until(&second, |rows| !rows.execution.live || life.is_over()).await;
            any |= life.is_over();
            let _next = life.is_over().then(|| world.start());
            let rows = world.until_over(&second).await;
            assert_eq!(rows.phase(), Phase::Succeeded, "{crash:?}");
            assert_eq!(&rows.digest(), expected.get_or_insert_with(|| rows.digest()), "{crash:?}");
        }
        if !any {
            return;
        }
    }
}
