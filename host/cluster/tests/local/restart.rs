//! What a new host finds of the old one.

use cluster::{ApplyOutcome, Cluster};
use serde_json::json;

use crate::world::{World, reference, shell};

#[tokio::test]
async fn ended_pods_keep_name_status_and_log() {
    let mut world = World::new().await;
    let before = world.run(shell("a", "echo kept; exit 4")).await;
    let root = world.stop().await;
    let world = World::at(root, |_| {}).await;
    assert_eq!(world.cluster.get(&reference("a")).await.unwrap(), Some(before));
    assert_eq!(world.cluster.apply(shell("a", "true")).await.unwrap(), ApplyOutcome::Existed);
    assert_eq!(world.log("a", "c").await, "kept\n");
    assert!(world.cluster.logs(&reference("a"), "c", 0).await.unwrap().ended);
    world.stop().await;
}

#[tokio::test]
async fn old_records_are_collected_at_the_start() {
    let mut world = World::new().await;
    world.run(shell("a", "true")).await;
    let root = world.stop().await;
    let world = World::at(root, |config| config.keep_finished = 0).await;
    while world.cluster.get(&reference("a")).await.unwrap().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn pods_that_ran_have_failed_with_the_host() {
    let mut world = World::new().await;
    world.cluster.apply(shell("a", "sleep 600")).await.unwrap();
    world.until("a", |object| object["status"]["phase"] == "Running").await;
    let root = world.stop().await;
    let world = World::at(root, |_| {}).await;
    let object = world.cluster.get(&reference("a")).await.unwrap().unwrap();
    assert_eq!(
        (&object["status"]["phase"], &object["status"]["reason"]),
        (&json!("Failed"), &json!("Shutdown"))
    );
    world.stop().await;
}
