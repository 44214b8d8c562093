//! Executions as clients see them.

use store::{AbortOutcome, Batch, Error, Filter, FilterFunction, ListQuery, Wake};

use crate::sample::{self, HOSTILE, NOW};
use crate::world::on_each;

#[tokio::test]
async fn executions_round_trip_every_field() {
    on_each(|w| async move {
        for (name, row) in [("full", sample::full_execution("full")), ("bare", sample::execution("bare"))] {
            let mut row = row;
            row.key = w.store.execution_insert(&row).await.unwrap();
            assert_eq!(w.store.execution_get(&row.id).await.unwrap().as_ref(), Some(&row), "{name}");
            assert_eq!(w.store.execution_get_by_key(row.key).await.unwrap(), Some(row));
        }
        let missing = sample::execution("missing").id;
        assert_eq!(w.store.execution_get(&missing).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn hostile_texts_are_only_texts() {
    on_each(|w| async move {
        for (n, text) in HOSTILE.into_iter().enumerate() {
            let mut row = sample::full_execution(text);
            row.principal = text.to_owned();
            row.abort_cause = text.to_owned();
            row.spec = sample::spec(&[(text, text)], &[text]);
            row.key = w.store.execution_insert(&row).await.unwrap();
            assert_eq!(w.store.execution_get(&row.id).await.unwrap().as_ref(), Some(&row), "{n}");
            let lease = w.store.lease_acquire(text, std::time::Duration::from_secs(9), NOW).await.unwrap();
            let mut node = sample::node(row.key, text);
            node.node_name = text.to_owned();
            let mut task = sample::attempt(row.key, text, 0);
            task.reason = text.to_owned();
            let batch = Batch { nodes: vec![node.clone()], tasks: vec![task.clone()], ..Batch::default() };
            w.store.commit(&lease, &batch).await.unwrap();
            assert_eq!(w.store.node_execution_get(row.key, text).await.unwrap(), Some(node));
            let found = w.store.task_execution_get(row.key, text, &task.task, 0).await.unwrap();
            assert_eq!(found, Some(task));
        }
    })
    .await;
}

#[tokio::test]
async fn nul_in_a_text_is_replaced() {
    on_each(|w| async move {
        let mut row = sample::execution("nul");
        row.principal = "a\0b".to_owned();
        w.store.execution_insert(&row).await.unwrap();
        let found = w.store.execution_get(&row.id).await.unwrap().unwrap();
        assert_eq!(found.principal, "a\u{fffd}b");
    })
    .await;
}

#[tokio::test]
async fn one_of_many_claimants_gets_a_name() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let insertions = (0..60).map(|n| {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            let mut row = sample::execution(["x", "y", "z"][n % 3]);
            row.principal = n.to_string();
            tokio::spawn(async move { (n, store.execution_insert(&row).await) })
        });
        let mut won: Vec<(String, String)> = Vec::new();
        for outcome in futures::future::join_all(insertions).await {
            match outcome.unwrap() {
                (n, Ok(key)) => {
                    let row = w.store.execution_get_by_key(key).await.unwrap().unwrap();
                    assert_eq!(row.principal, n.to_string(), "the winner's content is stored");
                    won.push((row.id.name.to_string(), row.principal));
                }
                (n, Err(Error::Exists { .. })) => assert!(n < 60),
                (n, Err(error)) => panic!("{n}: {error:?}"),
            }
        }
        won.sort();
        let names: Vec<&str> = won.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x", "y", "z"]);
    })
    .await;
}

#[tokio::test]
async fn each_caller_of_a_group_gets_its_own_answer() {
    on_each(|w| async move {
        w.store.execution_insert(&sample::execution("taken")).await.unwrap();
        let mut bad = sample::execution("bad");
        bad.spec = vec![255];
        // Postgres refuses to index a long text that does not compress.
        let mut seed = 1_u64;
        let long: String = (0..20_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(33 + (seed >> 33) as u8 % 90)
            })
            .collect();
        let long = sample::execution(&long);
        let (good, taken, bad, long, project, missing) = tokio::join!(
            async { w.store.execution_insert(&sample::execution("good")).await },
            async { w.store.execution_insert(&sample::execution("taken")).await },
            async { w.store.execution_insert(&bad).await },
            async { w.store.execution_insert(&long).await },
            async { w.store.project_insert(&sample::project("p")).await },
            async { w.store.project_update(&sample::project("missing")).await },
        );
        assert!(good.is_ok());
        assert!(matches!(taken, Err(Error::Exists { .. })));
        assert!(matches!(bad, Err(Error::Corrupt { .. })));
        assert_eq!(long.is_ok(), w.dialect == "sqlite", "{long:?}");
        assert!(project.is_ok());
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn abort_is_stored_once_and_wakes_the_owner() {
    on_each(|w| async move {
        let row = sample::execution("x");
        let key = w.store.execution_insert(&row).await.unwrap();
        let mut wakes = w.store.subscribe();
        let abort = |cause: &'static str, who: &'static str| {
            let (store, id) = (w.store.clone(), row.id.clone());
            async move { store.execution_request_abort(&id, cause, who, NOW.plus(50)).await.unwrap() }
        };
        assert_eq!(abort("first", "ann").await, AbortOutcome::Requested);
        assert_eq!(wakes.recv().await.unwrap(), Wake::AbortRequested(key));
        assert_eq!(abort("second", "bob").await, AbortOutcome::Requested);
        let found = w.store.execution_get(&row.id).await.unwrap().unwrap();
        assert_eq!(
            (found.phase, found.abort_cause.as_str(), found.aborted_by.as_deref()),
            (9, "first", Some("ann"))
        );
        assert_eq!(found.updated_at, NOW.plus(50));

        // The engine, which has not seen it yet, does not hide it, but may end the execution.
        let lease = w.store.lease_acquire("h", std::time::Duration::from_secs(9), NOW).await.unwrap();
        for (phase, want) in [(2, 9), (3, 9), (5, 9), (7, 7)] {
            let batch = Batch { executions: vec![sample::update(key, phase)], ..Batch::default() };
            w.store.commit(&lease, &batch).await.unwrap();
            assert_eq!(w.store.execution_get(&row.id).await.unwrap().unwrap().phase, want);
        }
        assert_eq!(abort("late", "cid").await, AbortOutcome::AlreadyTerminal(7));
        let unknown = sample::execution("unknown").id;
        let outcome = w.store.execution_request_abort(&unknown, "", "", NOW).await.unwrap();
        assert_eq!(outcome, AbortOutcome::NotFound);
    })
    .await;
}

#[tokio::test]
async fn archived_executions_are_listed_on_request() {
    on_each(|w| async move {
        for name in ["a", "b"] {
            w.store.execution_insert(&sample::execution(name)).await.unwrap();
        }
        let id = sample::execution("a").id;
        w.store.execution_set_state(&id, 1, NOW.plus(9)).await.unwrap();
        assert_eq!(w.store.execution_get(&id).await.unwrap().unwrap().updated_at, NOW.plus(9));
        let names = async |query: &ListQuery| -> Vec<String> {
            let rows = w.store.execution_list("p", "d", query).await.unwrap();
            rows.iter().map(|row| row.id.name.to_string()).collect()
        };
        assert_eq!(names(&ListQuery::default()).await, ["b"]);
        for (value, want) in [("1", "a"), ("EXECUTION_ARCHIVED", "a"), ("0", "b")] {
            let filter = Filter {
                entity: None,
                field: "state".to_owned(),
                function: FilterFunction::Eq,
                values: vec![value.to_owned()],
            };
            let query = ListQuery { filters: vec![filter], ..ListQuery::default() };
            assert_eq!(names(&query).await, [want], "{value}");
        }
        w.store.execution_set_state(&id, 0, NOW).await.unwrap();
        assert_eq!(names(&ListQuery::default()).await, ["b", "a"]);
        let unknown = sample::execution("unknown").id;
        assert!(matches!(w.store.execution_set_state(&unknown, 1, NOW).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn every_host_hears_what_happened() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let (mut here, mut there) = (w.store.subscribe(), other.subscribe());
        let row = sample::execution("x");
        let key = w.store.execution_insert(&row).await.unwrap();
        let lease = w.store.lease_acquire("h", std::time::Duration::from_secs(9), NOW).await.unwrap();
        let nodes = vec![sample::node(key, "n0")];
        // What happens to nodes is nobody's to hear.
        w.store.commit(&lease, &Batch { nodes: nodes.clone(), ..Batch::default() }).await.unwrap();
        let executions = vec![sample::update(key, 2)];
        w.store.commit(&lease, &Batch { executions, nodes, ..Batch::default() }).await.unwrap();
        w.store.execution_request_abort(&row.id, "", "", NOW).await.unwrap();
        for receiver in [&mut here, &mut there] {
            for want in [Wake::Created(key), Wake::Changed(key), Wake::AbortRequested(key)] {
                let got = tokio::time::timeout(std::time::Duration::from_secs(20), receiver.recv()).await;
                assert_eq!(got.expect("in time").unwrap(), want);
            }
        }
        // Nothing comes twice to the host that did it.
        assert!(here.try_recv().is_err());
    })
    .await;
}
