//! Claims about tasks that start executions through the API.

use proto::flyteidl::admin::{ExecutionSpec, Labels};
use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::{Crash, Rows, World};

fn started_by(name: &str) -> ExecutionSpec {
    let values = [("eager-exec".to_owned(), name.to_owned()), ("other".to_owned(), "e0".to_owned())].into();
    ExecutionSpec { labels: Some(Labels { values }), ..ExecutionSpec::default() }
}

fn eager(task_type: &str) -> Flow {
    Flow::new().node("a", task_type, &[]).task(|task| {
        task.metadata.get_or_insert_default().is_eager = true;
    })
}

#[tokio::test]
async fn an_abort_reaches_what_the_task_started() {
    let world = World::new().await;
    let _life = world.start();
    let id = world.launch(&eager("forever")).await;
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

/// Runs an eager task of this type and what it started, to their ends, while the worker crashes once. The rows of the
/// eager execution, then of the others.
async fn run(task_type: &str, aborts: bool, crash: Crash) -> (bool, Vec<Rows>) {
    let world = World::new().await;
    let life = world.start_as("host", Some(crash));
    let mut next = None;
    let id = world.launch(&eager(task_type)).await;
    let runs = |rows: &Rows| rows.tasks.iter().any(|task| !task.plugin.is_empty()) || !rows.execution.live;
    world.until(&id, |rows| runs(rows) || life.is_over()).await;
    if life.is_over() {
        next.get_or_insert_with(|| world.start());
        world.until(&id, runs).await;
    }
    // Its process is a client: what it starts is there whatever becomes of the worker.
    let mut all = vec![id.clone()];
    let endless = Flow::new().node("a", "forever", &[]);
    for flow in [Flow::chain(2, "echo")].into_iter().chain(aborts.then_some(endless)) {
        all.push(world.launch_with(&flow, started_by("e0")).await);
    }
    if aborts {
        world.until(&all[2], |rows| runs(rows) || life.is_over()).await;
        world.abort(&id).await;
    }
    for id in &all {
        world.until(id, |rows| !rows.execution.live || life.is_over()).await;
    }
    let crashed = life.is_over();
    if crashed {
        next.get_or_insert_with(|| world.start());
    }
    let mut ended = Vec::new();
    for id in &all {
        ended.push(world.until_over(id).await);
    }
    (crashed, ended)
}

#[tokio::test]
async fn crash_at_any_commit_of_an_abort_of_an_eager_task() {
    crash_everywhere("forever", true, Phase::Aborted).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_an_eager_task() {
    crash_everywhere("poll", false, Phase::Succeeded).await;
}

/// The eager execution ends as it does undisturbed, and nothing that it started runs on.
async fn crash_everywhere(task_type: &str, aborts: bool, phase: Phase) {
    for n in 0.. {
        let mut any = false;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let (crashed, rows) = run(task_type, aborts, crash).await;
            any |= crashed;
            assert_eq!(rows[0].phase(), phase, "{crash:?}");
            assert_eq!(rows[0].attempts("a").len(), 1, "{crash:?}: started again");
            if aborts {
                let endings = [Phase::Succeeded, Phase::Aborted];
                assert!(endings.contains(&rows[1].phase()), "{crash:?}");
                assert_eq!(rows[2].phase(), Phase::Aborted, "{crash:?}: what it started runs on");
            } else {
                assert_eq!(rows[1].phase(), Phase::Succeeded, "{crash:?}");
            }
        }
        if !any {
            assert!(n > 4, "the run has commits to crash at");
            return;
        }
    }
}
