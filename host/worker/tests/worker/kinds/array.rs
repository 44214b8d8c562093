//! Claims about array nodes.

use proto::flyteidl::core::{literal, workflow_execution::Phase};
use store::row::NodeFlags;

use crate::crashes::crash_everywhere;
use crate::flow::{self, Flow};
use crate::nodes::Mapping;
use crate::world::{Rows, World, closure};

/// The items of the workflow's output; none where an element gave nothing.
async fn items(world: &World, rows: &Rows) -> Vec<Option<i64>> {
    let outputs = world.outputs(&rows.execution.outputs_uri).await;
    match &outputs.literals["o0"].value {
        Some(literal::Value::Collection(list)) => list.literals.iter().map(flow::read_integer).collect(),
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test]
async fn each_element_runs_once_and_in_order() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().array("m", "echo", &[10, 20, 30], Mapping::default());
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!(items(&world, &rows).await, [Some(11), Some(21), Some(31)]);
    let array = rows.node("m");
    assert_eq!((array.flags, array.detail), (NodeFlags::IS_ARRAY, 4));
    let element = rows.node("m-0-n1");
    assert_eq!((element.parent_id.as_str(), element.retry_group.as_str()), ("m", "0"));
    assert!(element.output_uri.ends_with("p-d-e0/m/data/0/1/0/outputs.pb"), "{}", element.output_uri);
    assert!(element.input_uri.ends_with("p-d-e0/m/data/0/1/inputs.pb"), "{}", element.input_uri);
    let [task] = rows.attempts("m")[..] else { panic!("one row stands for all attempts") };
    assert_eq!((task.task_type.as_str(), task.task.name.as_str()), ("container_array", "task-m-item"));
    assert_eq!((task.phase, task.open, task.output_uri.as_str()), (3, false, array.output_uri.as_str()));
    assert_eq!(closure(task).metadata.unwrap().plugin_identifier, "k8s-array");
    assert_eq!(rows.attempts("m-0-n2").len(), 1);
}

#[tokio::test]
async fn containers_pick_their_part_of_shared_inputs() {
    let world = World::new().await;
    let _life = world.start();
    let mapping = Mapping { shares_inputs: true, ..Mapping::default() };
    let flow = Flow::new().array("m", "echo", &[1, 2, 3], mapping);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded, "{:?}", rows.error().message);
    assert_eq!(items(&world, &rows).await, [Some(2), Some(3), Some(4)]);
    assert_eq!(rows.node("m-0-n2").input_uri, rows.node("m").input_uri);
    let contexts = world.plugins.journal.contexts.lock().unwrap();
    let context = &contexts["e0-m-0-n2-0"];
    assert_eq!(context.env["BATCH_JOB_ARRAY_INDEX_VAR_NAME"], "FLYTE_K8S_ARRAY_INDEX");
    assert_eq!(context.env["FLYTE_K8S_ARRAY_INDEX"], "2");
    assert_eq!(context.array_element.map(|element| (element.index, element.size)), Some((2, 3)));
}

#[tokio::test]
async fn elements_that_fail_leave_gaps() {
    let world = World::new().await;
    let _life = world.start();
    let mapping = Mapping { min_successes: Some(2), ..Mapping::default() };
    let flow = Flow::new().array("m", "odd", &[1, 2, 3], mapping);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!(items(&world, &rows).await, [Some(2), None, Some(4)]);
    assert_eq!(rows.node("m-0-n1").phase, 5);
}

#[tokio::test]
async fn too_many_failures_fail_the_array() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().array("m", "odd", &[1, 2, 4], Mapping::default());
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Even"));
    let [task] = rows.attempts("m")[..] else { panic!("one row stands for all attempts") };
    assert_eq!(task.phase, 5);
}

#[tokio::test]
async fn an_empty_array_gives_an_empty_list() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().array("m", "echo", &[], Mapping::default());
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), items(&world, &rows).await), (Phase::Succeeded, vec![]));
}

#[tokio::test]
async fn an_array_over_the_limit_is_refused_with_both_numbers() {
    let mut world = World::new().await;
    world.config.max_array_elements = 2;
    let _life = world.start();
    let flow = Flow::new().array("m", "echo", &[1, 2, 3], Mapping::default());
    let rows = world.until_over(&world.launch(&flow).await).await;
    let error = rows.error();
    assert_eq!((rows.phase(), error.code.as_str()), (Phase::Failed, "ArrayTooLarge"));
    assert!(
        error.message.contains("3 elements") && error.message.contains("limit of 2"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn parallelism_is_kept() {
    let world = World::new().await;
    world.cluster.lively.store(false, std::sync::atomic::Ordering::SeqCst);
    let _life = world.start();
    let mapping = Mapping { parallelism: Some(2), ..Mapping::default() };
    let id = world.launch(&Flow::new().array("m", "pod", &[1, 2, 3, 4, 5], mapping)).await;
    let mut most = 0;
    world
        .until(&id, |rows| {
            let live = world.cluster.names();
            most = most.max(live.len());
            let done = live.into_iter().next();
            if let Some(name) = done {
                let cluster = world.cluster.clone();
                tokio::spawn(async move { cluster.set_phase(&name, "Succeeded").await });
            }
            !rows.execution.live
        })
        .await;
    assert_eq!(most, 2);
    assert_eq!(world.rows(&id).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn launch_plans_are_mapped_too() {
    let world = World::new().await;
    world.plan("plan", &Flow::new().node("c", "echo", &[])).await;
    let _life = world.start();
    let flow = Flow::new().array_of_plans("m", "plan", &[1, 2, 3]);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded, "{}", rows.error().message);
    assert_eq!(items(&world, &rows).await, [Some(2), Some(3), Some(4)]);
    let [task] = rows.attempts("m")[..] else { panic!("one row stands for all attempts") };
    assert_eq!((task.phase, task.task.name.as_str()), (3, "m"));
    let child = world.rows(&model::ExecutionId::new("p", "d", "e0-m-0-n1-0")).await;
    assert_eq!(child.execution.parent_node, Some((rows.execution.key, "m-0-n1".to_owned())));
}

#[tokio::test]
async fn crash_at_any_commit_of_an_array() {
    let flow = Flow::new().array("m", "user:1", &[1, 2, 3], Mapping::default());
    let flow = flow.task(|task| {
        task.metadata.as_mut().unwrap().retries = Some(proto::flyteidl::core::RetryStrategy { retries: 2 });
    });
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_an_abort_of_an_array() {
    let flow = Flow::new().array("m", "pod", &[1, 2], Mapping::default());
    crash_everywhere(&flow, Phase::Aborted, Some("m-0-n1")).await;
}
