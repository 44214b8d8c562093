//! How pods share the machine.

use cluster::Cluster;
use serde_json::{Value, json};

use crate::world::{World, reference, shell};

fn asking(name: &str, cpu: &str, script: &str) -> Value {
    let mut pod = shell(name, script);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod
}

#[tokio::test]
async fn pods_wait_until_they_fit() {
    let mut world = World::with(|config| config.cpu = Some("2".into())).await;
    let dir = world.root.path().display().to_string();
    world
        .cluster
        .apply(asking("a", "1500m", &format!("until [ -e {dir}/go ]; do sleep 0.01; done")))
        .await
        .unwrap();
    world.cluster.apply(asking("b", "1", "true")).await.unwrap();
    let waiting = world.until("b", |_| true).await;
    let condition = &waiting["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("False")));
    assert_eq!(condition["reason"], "Unschedulable");
    let message = condition["message"].as_str().unwrap();
    assert!(message.starts_with("waits for 1 cpu and 0 MiB; 0.5 cpu"), "{message}");
    std::fs::write(world.root.path().join("go"), "").unwrap();
    assert_eq!(world.end("b").await["status"]["phase"], "Succeeded");
    world.stop().await;
}

#[tokio::test]
async fn a_waiting_pod_can_be_deleted() {
    let mut world = World::with(|config| config.pods = Some(1)).await;
    world.cluster.apply(shell("a", "sleep 600")).await.unwrap();
    world.cluster.apply(shell("b", "true")).await.unwrap();
    world.cluster.apply(shell("c", "true")).await.unwrap();
    world.cluster.delete(&reference("b")).await.unwrap();
    assert_eq!(world.cluster.get(&reference("b")).await.unwrap(), None);
    world.cluster.delete(&reference("a")).await.unwrap();
    assert_eq!(world.end("c").await["status"]["phase"], "Succeeded");
    world.stop().await;
}

#[tokio::test]
async fn more_than_the_machine_is_all_of_it() {
    let mut world = World::with(|config| config.cpu = Some("2".into())).await;
    let ended = world.run(asking("a", "64", "true")).await;
    assert_eq!(ended["status"]["phase"], "Succeeded");
    let note = ended["status"]["conditions"][3]["message"].as_str().unwrap();
    assert!(note.starts_with("asks for 64 cpu"), "{note}");
    world.stop().await;
}

#[tokio::test]
async fn two_hundred_pods_all_end() {
    let mut world = World::new().await;
    for idx in 0..200 {
        world.cluster.apply(shell(&format!("p{idx}"), "echo $POD_NAME")).await.unwrap();
    }
    let mut succeeded = 0;
    while succeeded < 200 {
        let event = world.events.recv().await.unwrap();
        succeeded += usize::from(event.object["status"]["phase"] == "Succeeded");
    }
    assert_eq!(world.log("p137", "c").await, "p137\n");
    world.stop().await;
}
