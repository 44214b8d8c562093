//! Claims about kinds of nodes inside each other.

use proto::flyteidl::core::workflow_execution::Phase;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::nodes::Mapping;
use crate::world::World;

/// Dynamic tasks in an array in a sub-workflow.
fn flow() -> Flow {
    let inner = Flow::new().array("m", "dynamic:2", &[1, 2], Mapping::default());
    let mut flow = Flow::new().sub("s", &inner, "");
    flow.output_type = inner.output_type;
    flow
}

#[tokio::test]
async fn dynamic_in_array_in_sub_workflow_in_launch_plan() {
    let world = World::new().await;
    world.plan("plan", &flow()).await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().launch_plan("l", "plan", "")).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded, "{}", rows.error().message);
    let child = world.rows(&model::ExecutionId::new("p", "d", "e0-l-0")).await;
    let made: Vec<_> = child.nodes.iter().filter(|node| node.spec_node_id.starts_with("dn")).collect();
    assert_eq!(made.len(), 4);
    assert!(made.iter().all(|node| node.phase == 3));
}

#[tokio::test]
async fn sub_workflows_are_mapped_too() {
    let world = World::new().await;
    let _life = world.start();
    let inner = Flow::new().node("i", "echo", &[]);
    let flow = Flow::new().array_of_flow("m", &inner, &[1, 2]);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded, "{}", rows.error().message);
}

#[tokio::test]
async fn crash_at_any_commit_of_dynamic_in_array_in_sub_workflow() {
    crash_everywhere(&flow(), Phase::Succeeded, None).await;
}
