//! Claims about plugins that fail, break their rules, or are not there.

use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::{World, closure};

/// The code of the error of a node's first attempt.
async fn first_failure(task_type: &str) -> (Phase, String) {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", task_type, &[])).await).await;
    let error = match closure(rows.attempts("n")[0]).output_result {
        Some(proto::flyteidl::admin::task_execution_closure::OutputResult::Error(error)) => error.code,
        other => panic!("{other:?}"),
    };
    (rows.phase(), error)
}

#[tokio::test]
async fn faults_are_one_system_failure_of_one_attempt() {
    for (task_type, code) in [
        ("broken:1", "PluginPanicked"),
        ("status:1", "Away"),
        ("panic:1", "HostPanicked"),
        ("greedy:1", "PluginStateTooLarge"),
    ] {
        assert_eq!(first_failure(task_type).await, (Phase::Succeeded, code.to_owned()), "{task_type}");
    }
}

#[tokio::test]
async fn calls_that_hang_are_cut() {
    let mut world = World::new().await;
    world.config.plugin_calls.backstop = config::Duration::from_millis(40);
    world.config.tasks.system_retries = 0;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", "hang", &[])).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "RetriesExhausted|PluginTimeout"));
}

#[tokio::test]
async fn a_failure_that_asks_for_it_is_aborted_first() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "messy:1", &[]).retries(1);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    let journal = &world.plugins.journal;
    assert_eq!((journal.count("abort", "n-0"), journal.count("finalize", "n-0")), (1, 1));
    assert_eq!((journal.count("abort", "n-1"), journal.count("finalize", "n-1")), (0, 1));
}

#[tokio::test]
async fn tasks_without_a_plugin_wait_visibly() {
    let world = World::new().await;
    world.plugins.lose("echo", "plugin echo is quarantined");
    let _life = world.start();
    let id = world.launch(&Flow::chain(1, "echo")).await;
    let rows = world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 7)).await;
    assert_eq!(rows.attempts("n0")[0].reason, "plugin echo is quarantined");
    world.plugins.find("echo");
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn a_task_whose_plugin_came_back_shows_its_own_phase() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::new().node("n", "forever", &[])).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 2)).await;
    life.drain().await.unwrap();
    world.plugins.lose("forever", "plugin is quarantined");
    let _next = world.start();
    world.until(&id, |rows| rows.tasks[0].phase == 7).await;
    world.plugins.find("forever");
    world.until(&id, |rows| rows.tasks[0].phase == 2).await;
}

#[tokio::test]
async fn a_plugin_that_comes_back_silently_is_noticed() {
    let world = World::new().await;
    world.plugins.lose("echo", "no plugin");
    let _life = world.start();
    let id = world.launch(&Flow::chain(1, "echo")).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 7)).await;
    world.plugins.missing.lock().unwrap().clear();
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn a_state_no_plugin_reads_parks_the_task() {
    let world = World::new().await;
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "newer:1", &[])).await;
    let rows = world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 7)).await;
    assert_eq!(rows.attempts("n")[0].reason, "state has version 9");
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
}

#[tokio::test]
async fn a_workflow_that_cannot_be_run_fails() {
    let world = World::new().await;
    let _life = world.start();
    // The second node names one that does not exist.
    let flow = Flow::new().node("a", "echo", &["nowhere"]);
    let id = world.launch(&flow).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "BadSpecificationError"));
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_shown_and_tried_again() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::new().node("n", "forever", &[])).await;
    let rows = world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 2)).await;
    life.drain().await.unwrap();
    let write = async |engine_phase: i16| {
        let now = worker::Clock::now(&*world.clock);
        let lease =
            world.store.lease_acquire("mender", std::time::Duration::from_secs(9), now).await.unwrap();
        let node = store::row::NodeExecutionRow { engine_phase, ..rows.node("n").clone() };
        let batch = store::row::Batch { nodes: vec![node], ..store::row::Batch::default() };
        world.store.commit(&lease, &batch).await.unwrap();
        world.store.lease_release(&lease).await.unwrap();
    };
    write(99).await;
    let _next = world.start();
    let told = || world.troubles.lock().unwrap().clone();
    world.until(&id, |_| told().iter().flatten().any(|text| text.contains("not of this version"))).await;
    write(rows.node("n").engine_phase).await;
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    assert_eq!(told().last(), Some(&None), "and then it is well");
}
