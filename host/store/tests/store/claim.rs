//! Claims: each live execution has one owner, and gets another when that one is gone.

use std::collections::HashSet;
use std::time::Duration;

use store::{Batch, ExecutionRow, Lease, Store};

use crate::sample::{self, NOW};
use crate::world::on_each;

const TTL: Duration = Duration::from_secs(10);

async fn create(store: &Store, n: usize) {
    let rows: Vec<ExecutionRow> = (0..n).map(|n| sample::execution(&format!("x{n:04}"))).collect();
    for outcome in futures::future::join_all(rows.iter().map(|row| store.execution_insert(row))).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn no_execution_is_given_to_two_hosts() {
    on_each(|w| async move {
        create(&w.store, 300).await;
        let other = w.other_host().await;
        let mut hosts = Vec::new();
        for n in 0..6 {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            let lease = store.lease_acquire(&format!("h{n}"), TTL, NOW).await.unwrap();
            hosts.push(tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let rows = store.executions_claim(&lease, 7, NOW).await.unwrap();
                    if rows.is_empty() {
                        return mine;
                    }
                    assert!(rows.len() <= 7);
                    mine.extend(rows.into_iter().map(|row| row.key));
                }
            }));
        }
        let mut seen = HashSet::new();
        for host in hosts {
            for key in host.await.unwrap() {
                assert!(seen.insert(key), "{key:?} was given twice");
            }
        }
        assert_eq!(seen.len(), 300);
    })
    .await;
}

#[tokio::test]
async fn claims_come_oldest_first_and_whole() {
    on_each(|w| async move {
        let mut rows = Vec::new();
        for name in ["a", "b", "c"] {
            let mut row = sample::full_execution(name);
            row.live = name != "b";
            row.key = w.store.execution_insert(&row).await.unwrap();
            rows.push(row);
        }
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        assert_eq!(w.store.executions_claim(&lease, 1, NOW).await.unwrap(), [rows[0].clone()]);
        assert_eq!(w.store.executions_claim(&lease, 9, NOW).await.unwrap(), [rows[2].clone()]);
        assert_eq!(w.store.executions_claim(&lease, 9, NOW).await.unwrap(), []);
    })
    .await;
}

async fn claimed(store: &Store, lease: &Lease, seconds: i64) -> usize {
    store.executions_claim(lease, 100, NOW.plus(seconds * 1_000_000)).await.unwrap().len()
}

#[tokio::test]
async fn executions_of_a_dead_host_are_taken_over() {
    on_each(|w| async move {
        create(&w.store, 5).await;
        let dead = w.store.lease_acquire("dead", TTL, NOW).await.unwrap();
        assert_eq!(claimed(&w.store, &dead, 0).await, 5);
        let host = w.store.lease_acquire("host", Duration::from_secs(1_000), NOW).await.unwrap();
        assert_eq!(claimed(&w.store, &host, 9).await, 0, "the lease still runs");
        w.store.lease_renew(&dead, TTL, NOW.plus(9_000_000)).await.unwrap();
        assert_eq!(claimed(&w.store, &host, 15).await, 0, "it was renewed");
        assert_eq!(claimed(&w.store, &host, 20).await, 5);
        assert_eq!(claimed(&w.store, &host, 21).await, 0);
    })
    .await;
}

#[tokio::test]
async fn released_and_ended_executions_leave_the_owner() {
    on_each(|w| async move {
        create(&w.store, 4).await;
        let first = w.store.lease_acquire("first", TTL, NOW).await.unwrap();
        let rows = w.store.executions_claim(&first, 10, NOW).await.unwrap();
        let done = Batch { executions: vec![sample::update(rows[0].key, 4)], ..Batch::default() };
        w.store.commit(&first, &done).await.unwrap();
        w.store.lease_release(&first).await.unwrap();
        let second = w.store.lease_acquire("second", TTL, NOW).await.unwrap();
        assert_eq!(claimed(&w.store, &second, 0).await, 3);
    })
    .await;
}

#[tokio::test]
async fn restart_frees_what_a_lone_host_owned() {
    on_each(|w| async move {
        create(&w.store, 3).await;
        let lease = w.store.lease_acquire("before", TTL, NOW).await.unwrap();
        assert_eq!(claimed(&w.store, &lease, 0).await, 3);
        let store = w.reopened().await;
        let lease = store.lease_acquire("after", TTL, NOW).await.unwrap();
        // On Postgres another host may still run, so the lease has to run out.
        let at_once = if w.dialect == "sqlite" { 3 } else { 0 };
        assert_eq!(claimed(&store, &lease, 0).await, at_once);
        assert_eq!(claimed(&store, &lease, 11).await, 3 - at_once);
        store.close().await;
    })
    .await;
}
