//! Claims about workflows inside workflows.

use proto::flyteidl::core::workflow_execution::Phase;
use store::row::NodeFlags;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::world::World;

fn flow() -> Flow {
    let inner = Flow::new().node("i0", "echo", &[]).node("i1", "echo", &["i0"]);
    Flow::new().node("a", "echo", &[]).sub("s", &inner, "a").node("b", "echo", &["s"])
}

#[tokio::test]
async fn its_outputs_are_those_of_its_end_node() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&flow()).await).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(4)));
    let sub = rows.node("s");
    assert_eq!((sub.flags, sub.phase), (NodeFlags::IS_PARENT, 3));
    assert_eq!(sub.output_uri, rows.node("s-0-end-node").output_uri);
    assert_eq!(rows.node("s-0-start-node").output_uri, sub.input_uri);
    let inner = rows.node("s-0-i0");
    assert_eq!(
        (inner.parent_id.as_str(), inner.retry_group.as_str(), inner.spec_node_id.as_str()),
        ("s", "0", "i0")
    );
    assert!(inner.output_uri.ends_with("p-d-e0/s-0-i0/data/0/outputs.pb"), "{}", inner.output_uri);
    assert!(rows.attempts("s").is_empty());
}

#[tokio::test]
async fn its_failure_is_that_of_the_workflow() {
    let world = World::new().await;
    let _life = world.start();
    let inner = Flow::new().node("i0", "permanent", &[]);
    let rows = world.until_over(&world.launch(&Flow::new().sub("s", &inner, "")).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Never"));
    assert_eq!(rows.node("s").phase, 5);
}

#[tokio::test]
async fn crash_at_any_commit_of_a_sub_workflow() {
    crash_everywhere(&flow(), Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_an_abort_within() {
    let inner = Flow::new().node("i0", "pod", &[]);
    let flow = Flow::new().sub("s", &inner, "");
    crash_everywhere(&flow, Phase::Aborted, Some("s-0-i0")).await;
}

#[tokio::test]
async fn its_own_policy_lets_its_other_nodes_run() {
    let world = World::new().await;
    let _life = world.start();
    let inner = Flow::new().node("bad", "permanent", &[]).node("good", "poll", &[]).go_on();
    let rows = world.until_over(&world.launch(&Flow::new().sub("s", &inner, "")).await).await;
    assert_eq!(rows.phase(), Phase::Failed);
    assert_eq!((rows.node("s-0-bad").phase, rows.node("s-0-good").phase), (5, 3));
}
