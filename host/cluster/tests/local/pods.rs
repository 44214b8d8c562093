//! What becomes of pods that run undisturbed.

use cluster::{ApplyOutcome, Cluster, Error, local::ImageRule};
use serde_json::json;

use crate::world::{World, pod, reference, shell, terminated};

#[tokio::test]
async fn a_pod_that_succeeds_is_told_as_by_a_kubelet() {
    let mut world = World::new().await;
    let object = world.run(shell("a", "echo out; echo err >&2")).await;
    let status = &object["status"];
    assert_eq!((&status["phase"], &status["podIP"]), (&json!("Succeeded"), &json!("127.0.0.1")));
    let ended = terminated(&object);
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(0), &json!("Completed")));
    assert!(ended["startedAt"].is_string() && ended["finishedAt"].is_string() && ended["message"].is_null());
    assert_eq!(status["conditions"][3]["type"], "PodScheduled");
    assert_eq!(status["conditions"][3]["status"], "True");
    assert_eq!(world.log("a", "c").await, "out\nerr\n");
    let chunk = world.cluster.logs(&reference("a"), "c", 4).await.unwrap();
    assert_eq!((chunk.data.as_slice(), chunk.next, chunk.ended), (&b"err\n"[..], 8, true));
    assert_eq!(world.cluster.get(&reference("a")).await.unwrap(), Some(object));
    world.stop().await;
}

#[tokio::test]
async fn failure_brings_code_and_last_words() {
    let mut world = World::new().await;
    let object = world.run(shell("a", "echo before; echo why >&2; exit 3")).await;
    assert_eq!(object["status"]["phase"], "Failed");
    let ended = terminated(&object);
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(3), &json!("Error")));
    assert_eq!(ended["message"], "before\nwhy\n");

    let object = world.run(shell("b", "kill -TERM $$")).await;
    assert_eq!((&terminated(&object)["exitCode"], &terminated(&object)["signal"]), (&json!(143), &json!(15)));
    world.stop().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_says_what_to_do() {
    let mut world = World::new().await;
    let object =
        world.run(pod("a", json!([{"name": "c", "image": "img:1", "command": ["no-such-thing"]}]))).await;
    let ended = terminated(&object);
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(127), &json!("ContainerCannotRun")));
    let message = ended["message"].as_str().unwrap();
    assert!(message.contains("no-such-thing was not found in PATH=/"), "{message}");
    assert!(message.contains("\"img:1\" under `images`"), "{message}");

    let object = world.run(pod("b", json!([{"name": "c", "command": ["/etc/passwd"]}]))).await;
    assert_eq!(object["status"]["phase"], "Failed");
    let object = world.run(pod("c", json!([{"name": "c"}]))).await;
    assert!(terminated(&object)["message"].as_str().unwrap().contains("no command"));
    world.stop().await;
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let mut world = World::new().await;
    let argv = json!(["sh", "-c", "for a in \"$@\"; do echo \"[$a]\"; done", "sh", "", "a b", "", "ü\n"]);
    world.run(pod("a", json!([{"name": "c", "command": argv}]))).await;
    assert_eq!(world.log("a", "c").await, "[]\n[a b]\n[]\n[ü\n]\n");
    world.stop().await;
}

#[tokio::test]
async fn every_attempt_has_its_own_directory_and_environment() {
    let image =
        serde_json::from_value(json!({"match": "img:*", "env": {"vars": {"FROM": "image"}}})).unwrap();
    let images: Vec<ImageRule> = vec![image];
    let mut world = World::with(|config| config.images = images).await;
    let script =
        "pwd; echo $FROM $POD_NAME $MINE; cat /dev/stdin; umask; echo x > $TMPDIR/x; ls $TMPDIR; exit 1";
    let mut object = shell("a", script);
    object["spec"]["containers"][0]["env"] = json!([{"name": "MINE", "value": "$(POD_IP)!"}]);
    world.run(object).await;
    let log = world.log("a", "c").await;
    let work = world.root.path().canonicalize().unwrap().join("local/pods/n/a/c/work");
    assert_eq!(log, format!("{}\nimage a $(POD_IP)!\n0022\nx\n", work.display()));
    assert!(work.exists(), "the directory of a failed pod is kept");
    world.run(shell("b", "echo x > y")).await;
    world.stop().await;
}

#[tokio::test]
async fn a_code_directory_is_never_shared() {
    let bin = tempfile::tempdir().unwrap();
    let script = bin.path().join("pyflyte-fast-execute");
    std::fs::write(&script, "#!/bin/sh\necho \"$@\" in $PWD\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let image = json!({"match": "*", "env": {"path": bin.path()}});
    let images: Vec<ImageRule> = vec![serde_json::from_value(image).unwrap()];
    let mut world = World::with(|config| config.images = images).await;
    let args = json!(["pyflyte-fast-execute", "--dest-dir", "/tmp", "--", "run", "--dest-dir", "/tmp"]);
    world.run(pod("a", json!([{"name": "c", "args": args}]))).await;
    let work = world.root.path().canonicalize().unwrap().join("local/pods/n/a/c/work");
    assert_eq!(
        world.log("a", "c").await,
        format!("--dest-dir . -- run --dest-dir /tmp in {}\n", work.display())
    );
    world.stop().await;
}

#[tokio::test]
async fn init_containers_run_first_and_in_order() {
    let mut world = World::new().await;
    let dir = world.root.path().display().to_string();
    let step = |name: &str| json!({"name": name, "command": ["sh", "-c", format!("sleep 0.02; echo {name} >> {dir}/order")]});
    let mut object = pod("a", json!([step("main")]));
    object["spec"]["initContainers"] = json!([step("first"), step("second")]);
    let ended = world.run(object).await;
    assert_eq!(ended["status"]["phase"], "Succeeded");
    assert_eq!(ended["status"]["initContainerStatuses"][1]["state"]["terminated"]["exitCode"], 0);
    let order = std::fs::read_to_string(world.root.path().join("order")).unwrap();
    assert_eq!(order, "first\nsecond\nmain\n");

    let mut object = pod("b", json!([step("never")]));
    object["spec"]["initContainers"] = json!([{"name": "i", "command": ["false"]}]);
    let ended = world.run(object).await;
    assert_eq!(ended["status"]["phase"], "Failed");
    assert!(ended["status"]["containerStatuses"][0]["state"]["waiting"].is_object());
    world.stop().await;
}

#[tokio::test]
async fn all_containers_run_and_sidecars_end_with_them() {
    let mut world = World::new().await;
    let dir = world.root.path().display().to_string();
    // Each waits for the other, so they must run at once.
    let meet = |own: &str, other: &str| {
        let script = format!("touch {dir}/{own}; until [ -e {dir}/{other} ]; do sleep 0.01; done");
        json!({"name": own, "command": ["sh", "-c", script]})
    };
    let mut object = pod("a", json!([meet("x", "y"), meet("y", "x")]));
    object["spec"]["initContainers"] = json!([
        {"name": "side", "restartPolicy": "Always", "command": ["sh", "-c", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done"]}]);
    let ended = world.run(object).await;
    assert_eq!(ended["status"]["phase"], "Succeeded");
    assert_eq!(ended["status"]["containerStatuses"][1]["state"]["terminated"]["exitCode"], 0);
    assert!(world.log("a", "side").await.ends_with("bye\n"));
    world.stop().await;
}

#[tokio::test]
async fn one_failed_container_fails_the_pod() {
    let mut world = World::new().await;
    let containers =
        json!([{"name": "c", "command": ["true"]}, {"name": "d", "command": ["sh", "-c", "exit 7"]}]);
    let ended = world.run(pod("a", containers)).await;
    assert_eq!(ended["status"]["phase"], "Failed");
    assert_eq!(ended["status"]["containerStatuses"][1]["state"]["terminated"]["exitCode"], 7);
    world.stop().await;
}

#[tokio::test]
async fn a_name_is_applied_once() {
    let mut world = World::new().await;
    assert_eq!(world.cluster.apply(shell("a", "echo 1")).await.unwrap(), ApplyOutcome::Created);
    assert_eq!(world.cluster.apply(shell("a", "echo 2")).await.unwrap(), ApplyOutcome::Existed);
    world.end("a").await;
    assert_eq!(world.cluster.apply(shell("a", "echo 3")).await.unwrap(), ApplyOutcome::Existed);
    assert_eq!(world.log("a", "c").await, "1\n");

    world.cluster.delete(&reference("a")).await.unwrap();
    assert_eq!(world.cluster.get(&reference("a")).await.unwrap(), None);
    assert_eq!(world.log("a", "c").await, "1\n", "the log outlives the object");
    assert_eq!(world.cluster.apply(shell("a", "echo 4")).await.unwrap(), ApplyOutcome::Created);
    world.end("a").await;
    assert_eq!(world.log("a", "c").await, "4\n");
    world.stop().await;
}

#[tokio::test]
async fn other_kinds_and_unknown_names_are_told_apart() {
    let world = World::new().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}});
    let refused = world.cluster.apply(service).await.unwrap_err();
    assert!(matches!(refused, Error::UnsupportedKind { .. }) && !refused.is_transient());
    assert_eq!(world.cluster.get(&reference("a")).await.unwrap(), None);
    world.cluster.delete(&reference("a")).await.unwrap();
    assert!(matches!(world.cluster.logs(&reference("a"), "c", 0).await, Err(Error::NotFound(_))));
    world.stop().await;
}

#[tokio::test]
async fn a_deadline_ends_the_pod() {
    let mut world = World::new().await;
    let mut object = shell("a", "sleep 600");
    object["spec"]["activeDeadlineSeconds"] = json!(1);
    let ended = world.run(object).await;
    assert_eq!(
        (&ended["status"]["phase"], &ended["status"]["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded"))
    );
    assert_eq!(terminated(&ended)["exitCode"], 143);
    world.stop().await;
}

#[tokio::test]
async fn memory_over_the_limit_is_oom_killed() {
    let mut world = World::new().await;
    let hungry = "exec 9< <(:); a=x; while :; do a=$a$a$a; done";
    let container = json!([{"name": "c", "command": ["bash", "-c", hungry], "resources": {"limits": {"memory": "64Mi"}}}]);
    let ended = world.run(pod("a", container)).await;
    let ended = terminated(&ended);
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{ended}");
    assert!(ended["message"].as_str().unwrap().contains("64 MiB"));
    world.stop().await;
}
