//! Nodes and attempts: what the engine commits is what clients and the next owner read.

use std::time::Duration;

use store::{Batch, ExecutionKey, Lease, ListQuery, Sort, Store};

use crate::sample::{self, NOW};
use crate::world::on_each;

async fn started(store: &Store) -> (ExecutionKey, Lease) {
    let key = store.execution_insert(&sample::execution("x")).await.unwrap();
    let lease = store.lease_acquire("h", Duration::from_secs(60), NOW).await.unwrap();
    (key, lease)
}

#[tokio::test]
async fn nodes_and_attempts_round_trip_every_field() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let (node, task) = (sample::node(key, "n0"), sample::attempt(key, "n0", 1));
        let mut bare = sample::node(key, "n1");
        (bare.queued_at, bare.started_at, bare.attempt_started_at, bare.duration) = (None, None, None, None);
        (bare.error, bare.extra) = (Vec::new(), b"not a message".to_vec());
        let mut bare_task = sample::attempt(key, "n1", 0);
        (bare_task.wake_at, bare_task.started_at, bare_task.duration) = (None, None, None);
        bare_task.open = false;
        (bare.phase, bare.attempt) = (2, bare_task.attempt);
        let batch = Batch {
            executions: vec![sample::update(key, 2)],
            nodes: vec![node.clone(), bare.clone()],
            tasks: vec![task.clone(), bare_task.clone()],
            ..Batch::default()
        };
        w.store.commit(&lease, &batch).await.unwrap();
        let store = w.reopened().await;
        assert_eq!(store.node_execution_get(key, "n0").await.unwrap().as_ref(), Some(&node));
        assert_eq!(store.node_execution_get(key, "n1").await.unwrap().as_ref(), Some(&bare));
        assert_eq!(store.node_execution_get(key, "n2").await.unwrap(), None);
        let got = store.task_execution_get(key, "n0", &task.task, 1).await.unwrap();
        assert_eq!(got.as_ref(), Some(&task));
        assert_eq!(store.task_execution_get(key, "n0", &task.task, 0).await.unwrap(), None);
        let other = sample::id(model::EntityKind::Task, "other", "v1");
        assert_eq!(store.task_execution_get(key, "n0", &other, 1).await.unwrap(), None);
        let (mut nodes, mut tasks) = store.execution_load(key).await.unwrap();
        nodes.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        tasks.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        assert_eq!((nodes, tasks), (vec![node, bare], vec![task, bare_task]));

        let row = store.execution_get_by_key(key).await.unwrap().unwrap();
        let want = sample::update(key, 2);
        assert_eq!(
            (row.phase, row.outputs_uri, row.error, row.error_kind, row.error_code),
            (2, want.outputs_uri, want.error, want.error_kind, want.error_code)
        );
        assert_eq!(
            (row.updated_at, row.started_at, row.duration),
            (want.updated_at, want.started_at, want.duration)
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn later_rows_replace_earlier_ones() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let rows = |phase: i32| {
            let mut node = sample::node(key, "n0");
            let mut task = sample::attempt(key, "n0", 0);
            (node.phase, node.spec_node_id, node.deck_uri) =
                (phase, format!("s{phase}"), format!("d{phase}"));
            (task.phase, task.reason, task.task_type) = (phase, format!("r{phase}"), format!("t{phase}"));
            (sample::update(key, phase), node, task)
        };
        let mut batch = Batch::default();
        for phase in [1, 2] {
            let (update, node, task) = rows(phase);
            let mut one =
                Batch { executions: vec![update], nodes: vec![node], tasks: vec![task], ..Batch::default() };
            batch.append(&mut one);
        }
        w.store.commit(&lease, &batch).await.unwrap();
        let (_, node, task) = rows(2);
        assert_eq!(w.store.execution_load(key).await.unwrap(), (vec![node], vec![task]));
        assert_eq!(w.store.execution_get_by_key(key).await.unwrap().unwrap().phase, 2);
        let (update, node, task) = rows(3);
        let mut moved = node.clone();
        (moved.parent_id, moved.created_at) = ("other".to_owned(), NOW.plus(99));
        let batch = Batch {
            executions: vec![update],
            nodes: vec![moved],
            tasks: vec![task.clone()],
            ..Batch::default()
        };
        w.store.commit(&lease, &batch).await.unwrap();
        assert_eq!(w.store.execution_load(key).await.unwrap(), (vec![node.clone()], vec![task]));
        // A node keeps its parent and its time of creation.
        assert_eq!(w.store.node_execution_list(key, "", &ListQuery::default()).await.unwrap(), [node]);
    })
    .await;
}

#[tokio::test]
async fn load_brings_what_is_needed_to_go_on() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let elsewhere = w.store.execution_insert(&sample::execution("y")).await.unwrap();
        let attempt = |key, node: &str, n, open| {
            let mut row = sample::attempt(key, node, n);
            row.open = open;
            row
        };
        let tasks = vec![
            attempt(key, "a", 0, true),
            attempt(key, "a", 1, false),
            attempt(key, "a", 2, false),
            attempt(key, "b", 0, false),
            attempt(key, "b", 10, true),
            attempt(key, "c", 0, false),
            attempt(elsewhere, "a", 5, true),
        ];
        let node = |id: &str, phase: i32, attempt: i32| {
            let mut row = sample::node(key, id);
            (row.phase, row.attempt) = (phase, attempt);
            row
        };
        let nodes = vec![node("a", 2, 2), node("b", 3, 10), node("c", 3, 0)];
        w.store.commit(&lease, &Batch { tasks, nodes, ..Batch::default() }).await.unwrap();
        let (nodes, tasks) = w.store.execution_load(key).await.unwrap();
        let mut loaded: Vec<(String, i32)> =
            tasks.into_iter().map(|row| (row.node_id, row.attempt)).collect();
        loaded.sort();
        assert_eq!(loaded, [("a".to_owned(), 0), ("a".to_owned(), 2), ("b".to_owned(), 10)]);
        let ids: Vec<_> = nodes.iter().map(|row| row.node_id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test]
async fn large_batches_arrive_whole() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let sort = Some(Sort { column: "created_at".to_owned(), ascending: true });
        let mut n_rows = 0;
        for n in [1, 63, 64, 65, 127, 1_000] {
            let batch = Batch {
                nodes: (0..n).map(|i| sample::node(key, &format!("b{n}-{i}"))).collect(),
                tasks: (0..n).map(|i| sample::attempt(key, &format!("b{n}-{i}"), 0)).collect(),
                ..Batch::default()
            };
            w.store.commit(&lease, &batch).await.unwrap();
            n_rows += n;
            let (nodes, tasks) = w.store.execution_load(key).await.unwrap();
            assert_eq!((nodes.len(), tasks.len()), (n_rows, n_rows));
        }
        let query = ListQuery { sort, limit: 100, offset: 1_300, ..ListQuery::default() };
        assert_eq!(w.store.node_execution_list(key, "", &query).await.unwrap().len(), 20);
    })
    .await;
}

#[tokio::test]
async fn children_are_listed_under_their_parent() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let child = |node_id: &str, parent: &str| {
            let mut row = sample::node(key, node_id);
            row.parent_id = parent.to_owned();
            row
        };
        let nodes = vec![child("a", ""), child("b", ""), child("a-0-x", "a"), child("a-0-y", "a")];
        w.store.commit(&lease, &Batch { nodes, ..Batch::default() }).await.unwrap();
        for (parent, want) in [("", vec!["b", "a"]), ("a", vec!["a-0-y", "a-0-x"]), ("b", vec![])] {
            let rows = w.store.node_execution_list(key, parent, &ListQuery::default()).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.node_id.as_str()).collect::<Vec<_>>(), want);
        }
    })
    .await;
}

#[tokio::test]
async fn elements_come_page_by_page() {
    on_each(|w| async move {
        let (key, lease) = started(&w.store).await;
        let element = |index: usize| store::NodeExecutionRow {
            parent_id: "n0".to_owned(),
            extra: Vec::new(),
            attempt: 0,
            ..sample::node(key, &format!("n0-0-n{index}"))
        };
        let mut nodes: Vec<_> = (0..2_500).map(element).collect();
        nodes[7].extra = b"child".to_vec();
        nodes.extend([sample::node(key, "n0"), sample::node(key, "n1")]);
        let task = sample::attempt(key, "n0-0-n3", 0);
        let batch = Batch { nodes, tasks: vec![task.clone()], ..Batch::default() };
        w.store.commit(&lease, &batch).await.unwrap();
        for closures in [false, true] {
            let mut pages = w.store.array_elements(key, "n0", closures);
            let (mut found, mut n_pages) = (Vec::new(), 0);
            loop {
                let mut page = pages.next().await.unwrap();
                if page.is_empty() {
                    break;
                }
                n_pages += 1;
                found.append(&mut page);
            }
            assert_eq!((found.len(), n_pages), (2_500, if closures { 2 } else { 1 }));
            let at = |id: &str| found.iter().find(|row| row.node_id == id).unwrap();
            assert_eq!(at("n0-0-n7").extra, b"child");
            let third = at("n0-0-n3");
            assert_eq!((third.task_phase, third.closure.is_empty()), (Some(task.phase), !closures));
            assert_eq!((at("n0-0-n4").task_phase, at("n0-0-n4").phase), (None, 3));
        }
        w.store.close().await;
    })
    .await;
}
