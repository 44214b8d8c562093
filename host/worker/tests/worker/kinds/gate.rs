//! Claims about gates.

use prost::Message;
use proto::flyteidl::core::{
    Literal, LiteralType, Primitive, Scalar, SimpleType, literal, literal_type, primitive, scalar,
    workflow_execution::Phase,
};

use crate::flow::{self, Flow};
use crate::world::{Crash, Rows, World};

fn boolean(value: bool) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Boolean(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

async fn set(world: &World, rows: &Rows, signal: &str, value: &Literal) {
    let key = rows.execution.key;
    let now = worker::Clock::now(&*world.clock);
    world.store.signal_set(key, signal, &value.encode_to_vec(), "me", now).await.unwrap();
}

/// Waits until a gate waits.
async fn waiting(world: &World, id: &model::ExecutionId, node: &str) -> Rows {
    let is_waiting = |rows: &Rows| rows.nodes.iter().any(|row| row.node_id == node && row.phase == 2);
    world.until(id, is_waiting).await
}

#[tokio::test]
async fn a_value_that_is_set_becomes_the_output() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().signal("g", "number", "").node("n", "echo", &["g"]);
    let id = world.launch(&flow).await;
    let rows = waiting(&world, &id, "g").await;
    let signal = world.store.signal_get(rows.execution.key, "number").await.unwrap().unwrap();
    assert_eq!((signal.node_id.as_str(), signal.value.len()), ("g", 0));
    set(&world, &rows, "number", &flow::integer(41)).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(42)));
    assert!(rows.attempts("g").is_empty());
}

#[tokio::test]
async fn an_approved_gate_gives_its_inputs() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("a", "echo", &[]).approve("g", "fine", "a").node("n", "echo", &["g"]);
    let id = world.launch(&flow).await;
    let rows = waiting(&world, &id, "g").await;
    let signal = world.store.signal_get(rows.execution.key, "fine").await.unwrap().unwrap();
    let ty = LiteralType::decode(signal.ty.as_slice()).unwrap();
    assert_eq!(ty.r#type, Some(literal_type::Type::Simple(SimpleType::Boolean.into())));
    set(&world, &rows, "fine", &boolean(true)).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(2)));
}

#[tokio::test]
async fn a_rejected_gate_fails() {
    let world = World::new().await;
    let _life = world.start();
    let id = world.launch(&Flow::new().approve("g", "fine", "")).await;
    let rows = waiting(&world, &id, "g").await;
    set(&world, &rows, "fine", &boolean(false)).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "ReceivedRejectSignal"));
}

#[tokio::test]
async fn a_sleeping_gate_wakes_by_itself() {
    let world = World::new().await;
    let _life = world.start();
    let flow =
        Flow::new().node("a", "echo", &[]).sleep("g", 3600, "a").node("n", "echo", &["a"]).after(&["g"]);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(2)));
    assert!(rows.node("g").duration.unwrap() >= 3_600_000_000);
}

#[tokio::test]
async fn an_abort_ends_a_gate() {
    let world = World::new().await;
    let _life = world.start();
    let id = world.launch(&Flow::new().signal("g", "number", "")).await;
    waiting(&world, &id, "g").await;
    world.abort(&id).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.node("g").phase), (Phase::Aborted, 6));
}

#[tokio::test]
async fn crash_at_any_commit_of_a_gate() {
    for n in 0..8 {
        for crash in [Crash::Before(n), Crash::After(n)] {
            let world = World::new().await;
            let flow = Flow::new().signal("g", "number", "").node("n", "echo", &["g"]);
            let life = world.start_as("host", Some(crash));
            let id = world.launch(&flow).await;
            let is_there = |rows: &Rows| rows.nodes.iter().any(|row| row.node_id == "g" && row.phase == 2);
            world.until(&id, |rows| is_there(rows) || life.is_over()).await;
            let mut lives = vec![life];
            if lives[0].is_over() {
                lives.push(world.start());
            }
            let rows = world.until(&id, is_there).await;
            set(&world, &rows, "number", &flow::integer(41)).await;
            world.until(&id, |rows| !rows.execution.live || lives[0].is_over()).await;
            if lives.len() == 1 && lives[0].is_over() {
                lives.push(world.start());
            }
            let rows = world.until_over(&id).await;
            assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(42)), "{crash:?}");
        }
    }
}
