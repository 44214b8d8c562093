//! Signals: what gates wait for, and who may answer what.

use prost::Message;
use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use store::{Batch, SignalRow};
use tonic::Code;

use super::progress::{Run, node, run};
use super::world::*;

fn row(run: &Run, signal_id: &str, ty: SimpleType, at: i64) -> SignalRow {
    SignalRow {
        execution: run.key,
        signal_id: signal_id.to_owned(),
        node_id: "n0".to_owned(),
        ty: simple(ty).encode_to_vec(),
        value: Vec::new(),
        set_by: String::new(),
        created_at: model::Timestamp(at),
        updated_at: model::Timestamp(at),
    }
}

fn id_of(name: &str, signal_id: &str) -> SignalIdentifier {
    SignalIdentifier { signal_id: signal_id.to_owned(), execution_id: Some(execution_id(name)) }
}

fn set(name: &str, signal_id: &str, value: Literal) -> SignalSetRequest {
    SignalSetRequest { id: Some(id_of(name, signal_id)), value: Some(value) }
}

fn list(name: &str, limit: u32, token: &str, filters: &str) -> SignalListRequest {
    SignalListRequest {
        workflow_execution_id: Some(execution_id(name)),
        limit,
        token: token.to_owned(),
        filters: filters.to_owned(),
        sort_by: Some(Sort { key: "created_at".to_owned(), direction: 1 }),
    }
}

fn boolean(value: bool) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Boolean(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

#[tokio::test]
async fn an_answer_of_the_right_type_reaches_the_signal() {
    let run = run().await;
    let signals = vec![row(&run, "ok", SimpleType::Boolean, 1), row(&run, "title", SimpleType::String, 2)];
    run.commit(Batch { signals, ..Batch::default() }).await;
    let mut client = run.world.signals.clone();
    for (request, want) in [
        (set(&run.name, "title", integer(1)), Code::InvalidArgument),
        (set(&run.name, "title", Literal::default()), Code::InvalidArgument),
        (set(&run.name, "later", text("x")), Code::InvalidArgument),
        (set("nobody", "title", text("x")), Code::InvalidArgument),
        (set(&run.name, "", text("x")), Code::InvalidArgument),
        (SignalSetRequest { value: None, ..set(&run.name, "ok", text("x")) }, Code::InvalidArgument),
        (SignalSetRequest::default(), Code::InvalidArgument),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(code(client.set_signal(request).await), want, "{shown}");
    }
    let mut wakes = run.world.store.subscribe();
    client.set_signal(set(&run.name, "title", text("first"))).await.unwrap();
    assert_eq!(wakes.recv().await.unwrap(), store::Wake::Signalled(run.key));
    client.set_signal(set(&run.name, "title", text("second"))).await.unwrap();
    client.set_signal(set(&run.name, "ok", boolean(false))).await.unwrap();
    let found = client.list_signals(list(&run.name, 10, "", "")).await.unwrap().into_inner().signals;
    let want = [
        Signal {
            id: Some(id_of(&run.name, "ok")),
            r#type: Some(simple(SimpleType::Boolean)),
            value: Some(boolean(false)),
        },
        Signal {
            id: Some(id_of(&run.name, "title")),
            r#type: Some(simple(SimpleType::String)),
            value: Some(text("second")),
        },
    ];
    assert_eq!(found, want);

    let done = node(run.key, "n0", node_execution::Phase::Succeeded);
    run.commit(Batch { nodes: vec![done], ..Batch::default() }).await;
    client.set_signal(set(&run.name, "title", text("second"))).await.unwrap();
    let late = set(&run.name, "title", text("third"));
    assert_eq!(code(client.set_signal(late).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn signals_are_listed_in_pages() {
    let run = run().await;
    let signals = (0..5).map(|n| row(&run, &format!("s{n}"), SimpleType::Integer, n)).collect();
    run.commit(Batch { signals, ..Batch::default() }).await;
    let mut client = run.world.signals.clone();
    let mut page = async |limit, token: &str, filters: &str| {
        let reply = client.list_signals(list(&run.name, limit, token, filters)).await;
        reply.map(|reply| {
            let SignalList { signals, token } = reply.into_inner();
            let names: Vec<String> = signals.into_iter().map(|signal| signal.id.unwrap().signal_id).collect();
            (names.join(" "), token)
        })
    };
    assert_eq!(page(2, "", "").await.unwrap(), ("s0 s1".to_owned(), "2".to_owned()));
    assert_eq!(page(2, "4", "").await.unwrap(), ("s4".to_owned(), String::new()));
    assert_eq!(page(9, "", "eq(signal_id,s3)").await.unwrap().0, "s3");
    assert_eq!(page(9, "", &format!("eq(execution_name,{})", run.name)).await.unwrap().0, "s0 s1 s2 s3 s4");
    for (limit, token, filters) in [(0, "", ""), (1, "x", ""), (1, "", "eq(nothing,1)")] {
        assert_eq!(code(page(limit, token, filters).await), Code::InvalidArgument);
    }
    let nobody = run.world.signals.clone().list_signals(list("nobody", 1, "", "")).await;
    assert_eq!(code(nobody), Code::NotFound);
}

#[tokio::test]
async fn an_engine_outside_gets_or_makes_a_signal() {
    let run = run().await;
    let mut client = run.world.signals.clone();
    let request =
        |ty: Option<LiteralType>| SignalGetOrCreateRequest { id: Some(id_of(&run.name, "go")), r#type: ty };
    let made = client.get_or_create_signal(request(Some(simple(SimpleType::Integer)))).await;
    assert_eq!(made.unwrap().into_inner().value, None);
    client.set_signal(set(&run.name, "go", integer(4))).await.unwrap();
    let found = client.get_or_create_signal(request(Some(simple(SimpleType::String)))).await.unwrap();
    let found = found.into_inner();
    assert_eq!((found.r#type, found.value), (Some(simple(SimpleType::Integer)), Some(integer(4))));
    assert_eq!(code(client.get_or_create_signal(request(None)).await), Code::InvalidArgument);
}
