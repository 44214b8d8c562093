//! Claims about values that are written beside the outputs they belong to.

use proto::flyteidl::core::{literal, workflow_execution::Phase};

use crate::flow::Flow;
use crate::nodes::Mapping;
use crate::world::World;

#[tokio::test]
async fn large_lists_are_written_beside_and_read_again() {
    let mut world = World::new().await;
    world.config.literal_offloading.enabled = true;
    world.config.literal_offloading.min_size = config::Size::from_bytes(16);
    let _life = world.start();
    let values: Vec<i64> = (0..50).collect();
    let flow = Flow::new()
        .array("m", "echo", &values, Mapping::default())
        .array_from("k", "echo", "m")
        .node("n", "echo", &[])
        .item("k", 7);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded, "{}", rows.error().message);
    let outputs = world.outputs(&rows.node("m").output_uri).await;
    let literal = &outputs.literals["o0"];
    assert!(!literal.hash.is_empty());
    let Some(literal::Value::OffloadedMetadata(metadata)) = &literal.value else { panic!("{literal:?}") };
    assert!(metadata.uri.ends_with("m/data/0/o0_offloaded_metadata.pb") && metadata.inferred_type.is_some());
    // Item 7 is 7, and three tasks added one each.
    assert_eq!(world.output(&rows).await, Some(10));
}

#[tokio::test]
async fn tasks_are_told_only_when_it_is_on() {
    for enabled in [false, true] {
        let mut world = World::new().await;
        world.config.literal_offloading.enabled = enabled;
        let _life = world.start();
        world.until_over(&world.launch(&Flow::chain(1, "echo")).await).await;
        let contexts = world.plugins.journal.contexts.lock().unwrap();
        assert_eq!(contexts["e0-n0-0"].env.contains_key("_F_L_MIN_SIZE_MB"), enabled);
    }
}
