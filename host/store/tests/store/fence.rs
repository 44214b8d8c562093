//! Commits happen wholly, under a lease that is still ours, or not at all.

use std::time::Duration;

use store::{Batch, Error, ExecutionKey, Store};

use crate::sample::{self, NOW};
use crate::world::on_each;

const TTL: Duration = Duration::from_secs(10);

fn batch(key: ExecutionKey, node: &str) -> Batch {
    Batch {
        executions: vec![sample::update(key, 2)],
        nodes: vec![sample::node(key, node)],
        tasks: vec![sample::attempt(key, node, 0)],
        ..Batch::default()
    }
}

async fn assert_nothing_written(store: &Store, key: ExecutionKey) {
    assert_eq!(store.execution_load(key).await.unwrap(), (vec![], vec![]));
    assert_eq!(store.execution_get_by_key(key).await.unwrap().unwrap().phase, 1);
}

#[tokio::test]
async fn commit_under_a_lost_lease_writes_nothing() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::execution("x")).await.unwrap();
        let old = w.store.lease_acquire("old", TTL, NOW).await.unwrap();
        assert_eq!(w.store.executions_claim(&old, 10, NOW).await.unwrap().len(), 1);
        let other = w.other_host().await;
        let new = other.lease_acquire("new", TTL, NOW.plus(20_000_000)).await.unwrap();
        assert!(new.epoch > old.epoch);
        assert_eq!(other.executions_claim(&new, 10, NOW.plus(20_000_000)).await.unwrap().len(), 1);

        let refused = w.store.commit(&old, &batch(key, "n0")).await;
        assert!(matches!(refused, Err(Error::Fenced { epoch, .. }) if epoch == old.epoch), "{refused:?}");
        assert!(!Error::is_transient(&refused.unwrap_err()));
        assert_nothing_written(&w.store, key).await;
        let renewal = w.store.lease_renew(&old, TTL, NOW).await;
        assert!(matches!(renewal, Err(Error::Fenced { .. })));
        let claim = w.store.executions_claim(&old, 1, NOW).await;
        assert!(matches!(claim, Err(Error::Fenced { .. })));
        other.commit(&new, &batch(key, "n0")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_expired_lease_nobody_took_over_still_commits() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::execution("x")).await.unwrap();
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        w.store.executions_claim(&lease, 1, NOW).await.unwrap();
        let late = NOW.plus(60_000_000);
        w.store.commit(&lease, &batch(key, "n0")).await.unwrap();
        w.store.lease_renew(&lease, TTL, late).await.unwrap();
        assert_eq!(w.store.executions_claim(&lease, 1, late).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn same_host_again_fences_itself() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::execution("x")).await.unwrap();
        let first = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        w.store.executions_claim(&first, 1, NOW).await.unwrap();
        let second = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        assert!(matches!(w.store.commit(&first, &batch(key, "n0")).await, Err(Error::Fenced { .. })));
        assert_eq!(w.store.executions_claim(&second, 1, NOW).await.unwrap().len(), 1);
        w.store.lease_release(&second).await.unwrap();
        w.store.lease_release(&second).await.unwrap();
        assert!(matches!(w.store.commit(&second, &batch(key, "n0")).await, Err(Error::Fenced { .. })));
        assert_nothing_written(&w.store, key).await;
        let mut forged = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        forged.host = "other".to_owned();
        assert!(matches!(w.store.commit(&forged, &batch(key, "n0")).await, Err(Error::Fenced { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_batch_with_one_bad_row_writes_nothing() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::execution("x")).await.unwrap();
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        let mut bad = batch(key, "n0");
        bad.executions.push(sample::update(ExecutionKey(987_654_321), 2));
        let (good, task) = (sample::project("p"), sample::task("t", "v1"));
        // Others of the same group are not spoiled.
        let (alone, first, second) = tokio::join!(
            w.store.commit(&lease, &bad),
            w.store.project_insert(&good),
            w.store.entity_insert(&task, None),
        );
        assert!(matches!(alone, Err(Error::NotFound { .. })), "{alone:?}");
        first.unwrap();
        second.unwrap();
        assert!(w.store.commit(&lease, &bad).await.is_err());
        assert_nothing_written(&w.store, key).await;
        assert!(w.store.project_get("p").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_no_half_commit() {
    on_each(|w| async move {
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        let mut n_whole = 0;
        for n in 0..40_u32 {
            let key = w.store.execution_insert(&sample::execution(&format!("x{n}"))).await.unwrap();
            let batch = batch(key, "n0");
            let limit = Duration::from_micros(u64::from(n) * 100);
            // Cut off at any point, or finished before.
            let _ = tokio::time::timeout(limit, w.store.commit(&lease, &batch)).await;
            // Whatever was handed over is done before the next write of the same store.
            w.store.lease_renew(&lease, TTL, NOW).await.unwrap();
            let (nodes, tasks) = w.store.execution_load(key).await.unwrap();
            let phase = w.store.execution_get_by_key(key).await.unwrap().unwrap().phase;
            let whole = !nodes.is_empty();
            assert_eq!((nodes.len(), tasks.len(), phase), if whole { (1, 1, 2) } else { (0, 0, 1) });
            n_whole += u32::from(whole);
        }
        assert!(n_whole > 0, "none was finished");
    })
    .await;
}

#[tokio::test]
async fn an_empty_batch_still_meets_the_fence() {
    on_each(|w| async move {
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        w.store.commit(&lease, &Batch::default()).await.unwrap();
        w.store.lease_release(&lease).await.unwrap();
        assert!(matches!(w.store.commit(&lease, &Batch::default()).await, Err(Error::Fenced { .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_behind_a_takeover() {
    on_each(|w| async move {
        let other = w.other_host().await;
        for round in 0..8 {
            let key = w.store.execution_insert(&sample::execution(&format!("x{round}"))).await.unwrap();
            let late = NOW.plus(20_000_000);
            let old = w.store.lease_acquire(&format!("old{round}"), TTL, NOW).await.unwrap();
            w.store.executions_claim(&old, 1, NOW).await.unwrap();
            let new = other.lease_acquire(&format!("new{round}"), TTL, late).await.unwrap();
            let store = w.store.clone();
            let writing = tokio::spawn(async move {
                for attempt in 0.. {
                    let nodes = (0..50).map(|n| {
                        let mut row = sample::node(key, &format!("n{n}"));
                        row.attempt = attempt;
                        row
                    });
                    match store.commit(&old, &Batch { nodes: nodes.collect(), ..Batch::default() }).await {
                        Ok(()) => {}
                        Err(Error::Fenced { .. }) => return attempt,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                0
            });
            // The lease can't be ended while a commit is under it, so this may take several tries.
            while other.executions_claim(&new, 1, late).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            let at_takeover = other.execution_load(key).await.unwrap();
            let n_commits = writing.await.unwrap();
            assert_eq!(other.execution_load(key).await.unwrap(), at_takeover);
            assert_eq!(at_takeover.0.first().map_or(0, |row| row.attempt + 1), n_commits);
            other.lease_release(&new).await.unwrap();
            let done = other.lease_acquire("cleaner", TTL, late).await.unwrap();
            let ended = Batch { executions: vec![sample::update(key, 4)], ..Batch::default() };
            other.commit(&done, &ended).await.unwrap();
        }
    })
    .await;
}
