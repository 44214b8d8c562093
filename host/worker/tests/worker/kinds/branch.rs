//! Claims about branches.

use proto::flyteidl::core::workflow_execution::Phase;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::world::World;

#[tokio::test]
async fn only_the_arm_that_is_chosen_runs() {
    let world = World::new().await;
    let _life = world.start();
    for (limit, arm) in [(0, "b-over"), (5, "b-under")] {
        let flow = Flow::new().node("a", "echo", &[]).branch("b", limit, ("echo", Some("echo")), "a").node(
            "c",
            "echo",
            &["b"],
        );
        let rows = world.until_over(&world.launch(&flow).await).await;
        assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(3)));
        let unique = format!("b-0-{arm}");
        assert_eq!(rows.node(&unique).parent_id, "b");
        assert_eq!(rows.node(&unique).spec_node_id, arm);
        assert_eq!(rows.node(&unique).output_uri, rows.node("b").output_uri);
        let others = rows.nodes.iter().filter(|node| node.parent_id == "b" && node.node_id != unique);
        assert!(others.into_iter().all(|node| node.phase == 7), "the other is skipped or has no row");
    }
}

#[tokio::test]
async fn an_error_that_the_branch_names_is_the_users() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().branch("b", 5, ("echo", None), "");
    let rows = world.until_over(&world.launch(&flow).await).await;
    let error = rows.error();
    assert_eq!((rows.phase(), error.code.as_str()), (Phase::Failed, "UserProvidedError"));
    assert!(error.message.contains("too small"), "{}", error.message);
}

#[tokio::test]
async fn crash_at_any_commit_of_a_branch() {
    let flow = Flow::new().node("a", "echo", &[]).branch("b", 0, ("pod", Some("echo")), "a").node(
        "c",
        "echo",
        &["b"],
    );
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}
