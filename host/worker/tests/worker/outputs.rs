//! Claims about what counts as the end of a task whose plugin says that it succeeded.

use prost::Message;
use proto::flyteidl::core::container_error::Kind;
use proto::flyteidl::core::execution_error::ErrorKind;
use proto::flyteidl::core::{ContainerError, ErrorDocument, workflow_execution::Phase};

use crate::flow::{self, Flow};
use crate::world::{Rows, World};

/// Runs a task that finds these files in its output directory.
async fn run_with(files: &[(&str, Vec<u8>)]) -> (Rows, World) {
    let world = World::new().await;
    for (name, bytes) in files {
        let uri = world.blob.metadata_root().join("p-d-e0/n/data/0").join(name);
        world.blob.put(&uri, bytes.clone().into()).await.unwrap();
    }
    let life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", "files", &[])).await).await;
    life.drain().await.unwrap();
    (rows, world)
}

fn document(code: &str, kind: Kind, seconds: i64) -> Vec<u8> {
    let error = ContainerError {
        code: code.into(),
        message: format!("{code} happened"),
        kind: kind.into(),
        origin: ErrorKind::User.into(),
        timestamp: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        worker: "w".into(),
    };
    ErrorDocument { error: Some(error) }.encode_to_vec()
}

#[tokio::test]
async fn outputs_file_is_the_output() {
    let (rows, world) = run_with(&[("outputs.pb", flow::map(&[("o0", 9)]).encode_to_vec())]).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!(world.output(&rows).await, Some(9));
    assert_eq!(rows.node("n").deck_uri, "");
}

#[tokio::test]
async fn a_deck_is_found_at_the_end() {
    let files = [("outputs.pb", flow::map(&[("o0", 9)]).encode_to_vec()), ("deck.html", b"<html>".to_vec())];
    let (rows, _world) = run_with(&files).await;
    assert!(rows.node("n").deck_uri.ends_with("n/data/0/deck.html"));
}

#[tokio::test]
async fn files_of_failure_decide_over_success() {
    let outputs = || ("outputs.pb", flow::map(&[("o0", 9)]).encode_to_vec());
    let never = |seconds| document("Never", Kind::NonRecoverable, seconds);
    for (files, code) in [
        (vec![("error.pb", never(1)), outputs()], "Never"),
        (vec![("futures.pb", vec![]), outputs()], "DynamicWorkflowBuildFailed"),
        (
            vec![("outputs.pb", flow::map(&[("other", 1)]).encode_to_vec())],
            "RetriesExhausted|OutputsNotFound",
        ),
        (vec![("outputs.pb", vec![0xff, 0xff])], "OutputsBadFormat"),
        (vec![], "RetriesExhausted|OutputsNotFound"),
        (vec![("error.pb", vec![])], "RetriesExhausted|OutputsNotFound"),
        (vec![("error-b.pb", document("Late", Kind::NonRecoverable, 9)), ("error-a.pb", never(3))], "Never"),
    ] {
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        let (rows, _world) = run_with(&files).await;
        assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, code), "{names:?}");
    }
}

#[tokio::test]
async fn inline_outputs_are_checked() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("n", "wrong", &[])).await).await;
    assert_eq!(
        (rows.phase(), rows.error().code.as_str()),
        (Phase::Failed, "RetriesExhausted|OutputsNotFound")
    );
}
