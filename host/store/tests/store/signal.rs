//! Signals, and what wakes whoever waits for another.

use std::time::Duration;

use model::Timestamp;
use prost::Message as _;
use proto::flyteidl::core;
use store::{Batch, Error, ExecutionKey, Lease, ListQuery, SignalRow, Sort, Store, Wake};
use tokio::sync::broadcast::Receiver;

use crate::sample::{self, HOSTILE, NOW};
use crate::world::on_each;

async fn started(store: &Store) -> (ExecutionKey, Lease) {
    let key = store.execution_insert(&sample::execution("x")).await.unwrap();
    let lease = store.lease_acquire("h", Duration::from_secs(60), NOW).await.unwrap();
    (key, lease)
}

fn signal(execution: ExecutionKey, signal_id: &str, node_id: &str) -> SignalRow {
    SignalRow {
        execution,
        signal_id: signal_id.to_owned(),
        node_id: node_id.to_owned(),
        ty: core::LiteralType::default().encode_to_vec(),
        value: Vec::new(),
        set_by: String::new(),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn drain(wakes: &mut Receiver<Wake>) -> Vec<Wake> {
    std::iter::from_fn(|| wakes.try_recv().ok()).collect()
}

#[tokio::test]
async fn signals_come_with_a_batch_and_keep_their_value() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let row = signal(key, "go", "n0");
        let batch = Batch { signals: vec![row.clone()], ..Batch::default() };
        assert!(!batch.is_empty());
        let mut wakes = w.store.subscribe();
        w.store.commit(&lease, &batch).await.unwrap();
        assert_eq!(drain(&mut wakes), [], "its own row is as it was");
        assert_eq!(w.store.signal_load(key).await.unwrap(), std::slice::from_ref(&row));

        let set = w.store.signal_set(key, "go", b"yes", "ann", NOW.plus(5)).await.unwrap();
        let want =
            SignalRow { value: b"yes".to_vec(), set_by: "ann".to_owned(), updated_at: NOW.plus(5), ..row };
        assert_eq!(set, want);
        assert_eq!(drain(&mut wakes), [Wake::Signalled(key)]);
        // A crash made the engine repeat itself.
        w.store.commit(&lease, &batch).await.unwrap();
        assert_eq!(w.store.signal_get(key, "go").await.unwrap(), Some(want.clone()));
        let again = SignalRow { ty: vec![9], ..signal(key, "go", "elsewhere") };
        assert_eq!(w.store.signal_get_or_create(&again).await.unwrap(), want);
        let other = signal(key, "other", "");
        assert_eq!(w.store.signal_get_or_create(&other).await.unwrap(), other);
    })
    .await;
}

#[tokio::test]
async fn only_known_signals_can_be_set() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let elsewhere = w.store.execution_insert(&sample::execution("y")).await.unwrap();
        let batch = Batch { signals: vec![signal(key, "go", "n0")], ..Batch::default() };
        w.store.commit(&lease, &batch).await.unwrap();
        let mut wakes = w.store.subscribe();
        for (key, id) in [(key, "stop"), (elsewhere, "go"), (key, "")] {
            let error = w.store.signal_set(key, id, b"x", "", NOW).await.unwrap_err();
            assert!(matches!(error, Error::NotFound { what: "signal", .. }), "{id}");
        }
        assert_eq!(drain(&mut wakes), []);
    })
    .await;
}

#[tokio::test]
async fn a_value_can_change_until_its_gate_ends() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let mut node = sample::node(key, "n0");
        node.phase = 2;
        let mut batch = Batch {
            nodes: vec![node.clone()],
            signals: vec![signal(key, "go", "n0"), signal(key, "free", "")],
            ..Batch::default()
        };
        w.store.commit(&lease, &batch).await.unwrap();
        let set = async |id: &str, value: &[u8]| w.store.signal_set(key, id, value, "", NOW).await;
        set("go", b"no").await.unwrap();
        set("go", b"yes").await.unwrap();
        node.phase = 3;
        batch.nodes = vec![node];
        w.store.commit(&lease, &batch).await.unwrap();
        assert!(matches!(set("go", b"no").await, Err(Error::SignalSettled { .. })));
        assert_eq!(set("go", b"yes").await.unwrap().value, b"yes");
        set("free", b"1").await.unwrap();
        let ended = Batch { executions: vec![sample::update(key, 7)], ..Batch::default() };
        w.store.commit(&lease, &ended).await.unwrap();
        assert!(matches!(set("free", b"2").await, Err(Error::SignalSettled { .. })));
    })
    .await;
}

#[tokio::test]
async fn signals_are_listed_page_by_page() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let mut signals: Vec<SignalRow> = (0..5)
            .map(|n| SignalRow { created_at: NOW.plus(n), ..signal(key, &format!("s{n}"), "n0") })
            .collect();
        signals.extend(HOSTILE.iter().map(|text| signal(ExecutionKey(key.0 + 1), text, text)));
        w.store.commit(&lease, &Batch { signals, ..Batch::default() }).await.unwrap();
        let names = async |sort: &str, offset: u64| {
            let sort = Some(Sort { column: sort.to_owned(), ascending: false });
            let query = ListQuery { sort, limit: 2, offset, ..ListQuery::default() };
            let rows = w.store.signal_list(key, &query).await.unwrap();
            rows.into_iter().map(|row| row.signal_id).collect::<Vec<_>>()
        };
        for sort in ["signal_id", "created_at", "execution_name"] {
            assert_eq!(names(sort, 0).await, ["s4", "s3"]);
            assert_eq!(names(sort, 4).await, ["s0"]);
        }
        let all = w.store.signal_list(key, &ListQuery::default()).await.unwrap();
        assert_eq!(all.len(), 5);
        assert_eq!(all[0].signal_id, "s0");
    })
    .await;
}

#[tokio::test]
async fn a_parent_hears_of_the_end_of_its_children() {
    on_each(|w| async move {
        let (parent, lease) = started(&w.store).await;
        let mut children = Vec::new();
        for (name, node) in [("c0", "n0"), ("c1", "n1"), ("c2", "n1")] {
            let mut row = sample::execution(name);
            row.parent_node = Some((parent, node.to_owned()));
            children.push(w.store.execution_insert(&row).await.unwrap());
        }
        let names = async |node: &str| {
            let rows = w.store.children_of(parent, node).await.unwrap();
            rows.into_iter().map(|row| row.id.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("n1").await, ["c1", "c2"]);
        assert_eq!(names("n0").await, ["c0"]);
        assert_eq!(names("").await, ["c0", "c1", "c2"]);
        assert!(names("n2").await.is_empty());

        let mut wakes = w.store.subscribe();
        let commit = async |phases: &[(ExecutionKey, i32)]| {
            let executions = phases.iter().map(|(key, phase)| sample::update(*key, *phase)).collect();
            w.store.commit(&lease, &Batch { executions, ..Batch::default() }).await.unwrap();
        };
        commit(&[(children[0], 2), (children[1], 3)]).await;
        let heard = drain(&mut wakes);
        assert!(!heard.contains(&Wake::ChildEnded(parent)), "{heard:?}");
        for phase in [4, 6, 7, 8] {
            commit(&[(children[0], phase), (children[1], 2)]).await;
            let heard = drain(&mut wakes);
            assert_eq!(
                heard.iter().filter(|wake| **wake == Wake::ChildEnded(parent)).count(),
                1,
                "{heard:?}"
            );
        }
        commit(&[(parent, 4)]).await;
        assert_eq!(drain(&mut wakes), [Wake::Changed(parent)]);
    })
    .await;
}

#[tokio::test]
async fn a_forced_abort_is_a_flag_for_the_owner_and_an_end_without_one() {
    on_each(|w| async move {
        let (key, _) = started(&w.store).await;
        let row = w.store.execution_get_by_key(key).await.unwrap().unwrap();
        let mut outside = sample::execution("outside");
        (outside.live, outside.parent_node) = (false, Some((key, "n0".to_owned())));
        w.store.execution_insert(&outside).await.unwrap();
        let mut wakes = w.store.subscribe();
        w.store.execution_request_abort(&row.id, "first", "ann", NOW.plus(1)).await.unwrap();
        w.store.execution_force_abort(&row.id, "second", "bob", NOW.plus(2)).await.unwrap();
        let found = w.store.execution_get(&row.id).await.unwrap().unwrap();
        assert_eq!((found.phase, found.abort_forced, found.abort_cause.as_str()), (9, true, "first"));
        assert_eq!(drain(&mut wakes), [Wake::AbortRequested(key), Wake::AbortRequested(key)]);

        w.store.execution_force_abort(&outside.id, "gone", "ann", NOW.plus(3)).await.unwrap();
        let found = w.store.execution_get(&outside.id).await.unwrap().unwrap();
        assert_eq!((found.phase, found.abort_forced, found.duration), (7, true, Some(0)));
        assert_eq!(drain(&mut wakes), [Wake::AbortRequested(found.key), Wake::ChildEnded(key)]);
    })
    .await;
}

#[tokio::test]
async fn debts_are_what_ended_and_is_still_live() {
    on_each(|w| async move {
        let mut want = Vec::new();
        for (n, (phase, live)) in [(2, true), (7, true), (4, false), (6, true)].into_iter().enumerate() {
            let mut row = sample::execution(&format!("e{n}"));
            (row.phase, row.live, row.created_at) = (phase, live, Timestamp(NOW.0 - n as i64));
            w.store.execution_insert(&row).await.unwrap();
            if live && phase != 2 {
                want.insert(0, row.id);
            }
        }
        let debts = w.store.execution_debts(10).await.unwrap();
        assert_eq!(debts.into_iter().map(|row| row.id).collect::<Vec<_>>(), want);
        assert_eq!(w.store.execution_debts(1).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn outcomes_of_nodes_come_in_pages_and_by_id() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let nodes: Vec<_> = (0..4_500).map(|n| sample::node(key, &format!("n{n:05}"))).collect();
        w.store.commit(&lease, &Batch { nodes: nodes.clone(), ..Batch::default() }).await.unwrap();
        let mut pages = w.store.node_outcomes(key);
        let mut seen = Vec::new();
        loop {
            let page = pages.next().await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 2_000);
            seen.extend(page);
        }
        assert_eq!(seen.len(), nodes.len());
        for (outcome, node) in seen.iter().zip(&nodes) {
            assert_eq!(
                (&outcome.node_id, outcome.phase, outcome.attempt, outcome.flags),
                (&node.node_id, node.phase, node.attempt, node.flags)
            );
            assert_eq!(
                (&outcome.input_uri, &outcome.output_uri, &outcome.deck_uri, &outcome.extra),
                (&node.input_uri, &node.output_uri, &node.deck_uri, &node.extra)
            );
        }
        let mut found =
            w.store.node_executions_by_ids(key, &["n00007", "n04499", "n00007", "nope"]).await.unwrap();
        found.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        assert_eq!(found, [nodes[7].clone(), nodes[4_499].clone()]);
        assert_eq!(w.store.node_executions_by_ids::<&str>(key, &[]).await.unwrap(), []);
        let ids: Vec<&str> = nodes.iter().map(|node| node.node_id.as_str()).collect();
        assert_eq!(w.store.node_executions_by_ids(key, &ids).await.unwrap().len(), ids.len());
    })
    .await;
}
