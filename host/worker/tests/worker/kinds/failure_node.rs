//! Claims about the node that runs when a workflow fails.

use proto::flyteidl::core::workflow_execution::Phase;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::world::World;

#[tokio::test]
async fn it_runs_and_the_first_error_stays() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "permanent", &[]).on_failure("efn", "echo");
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Never"));
    assert_eq!((rows.node("efn").phase, rows.attempts("efn").len()), (3, 1));
}

#[tokio::test]
async fn it_stays_out_of_a_success() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "echo", &[]).on_failure("efn", "echo");
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert!(rows.nodes.iter().all(|node| node.node_id != "efn"));
}

#[tokio::test]
async fn crash_at_any_commit_of_a_failure_node() {
    let flow = Flow::new().node("n", "permanent", &[]).on_failure("efn", "pod");
    crash_everywhere(&flow, Phase::Failed, None).await;
}
