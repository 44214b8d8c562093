//! Claims about tasks that start executions through the API.

use proto::flyteidl::admin::{ExecutionSpec, Labels};
use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::World;

fn started_by(name: &str) -> ExecutionSpec {
    let values = [("eager-exec".to_owned(), name.to_owned()), ("other".to_owned(), "e0".to_owned())].into();
    ExecutionSpec { labels: Some(Labels { values }), ..ExecutionSpec::default() }
}

#[tokio::test]
async fn an_abort_reaches_what_the_task_started() {
    let world = World::new().await;
    let _life = world.start();
    let eager = Flow::new().node("a", "forever", &[]).task(|task| {
        task.metadata.get_or_insert_default().is_eager = true;
    });
    let id = world.launch(&eager).await;
    assert_eq!(&*id.name, "e0");
    let forever = Flow::new().node("a", "forever", &[]);
    let children = [
        world.launch_with(&forever, started_by("e0")).await,
        world.launch_with(&forever, started_by("e0")).await,
    ];
    let ended = world.launch_with(&Flow::chain(1, "echo"), started_by("e0")).await;
    let stranger = world.launch_with(&forever, started_by("e1")).await;
    world.until(&id, |rows| rows.nodes.iter().any(|row| row.node_id == "a" && row.phase == 2)).await;
    assert_eq!(world.until_over(&ended).await.phase(), Phase::Succeeded);
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    for child in &children {
        let rows = world.until_over(child).await;
        assert_eq!(rows.phase(), Phase::Aborted);
        let cause = &rows.execution.abort_cause;
        assert!(cause.contains("cascading abort as parent execution id [e0] aborted"), "{cause}");
    }
    assert_eq!(world.rows(&stranger).await.execution.aborted_by, None);
}
