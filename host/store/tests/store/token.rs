//! Resource pools: never too many, first come first served, nothing forgotten.

use store::{Batch, TokenOutcome, TokenRequest};

use crate::sample::{self, NOW};
use crate::world::on_each;

fn request(token: &str, project: &str) -> TokenRequest {
    TokenRequest {
        namespace: "ns".to_owned(),
        token: token.to_owned(),
        project: project.to_owned(),
        domain: "d".to_owned(),
        execution: format!("e-{token}"),
        pool_size: 2,
        project_limit: 0,
        domain_limit: 0,
        now: NOW,
    }
}

fn position(outcome: &TokenOutcome) -> Option<u32> {
    match outcome {
        TokenOutcome::Granted => None,
        TokenOutcome::Exhausted { position, .. } => Some(*position),
    }
}

#[tokio::test]
async fn concurrent_requests_never_overshoot() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let asked = (0..40).map(|n| {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            tokio::spawn(async move {
                let mut request = request(&format!("t{n:02}"), ["p", "q"][n % 2]);
                (request.pool_size, request.project_limit) = (7, 5);
                store.token_allocate(&request).await.unwrap()
            })
        });
        let mut n_granted = 0;
        for outcome in futures::future::join_all(asked).await {
            n_granted += usize::from(outcome.unwrap() == TokenOutcome::Granted);
        }
        let rows = w.store.token_list("ns").await.unwrap();
        assert_eq!((n_granted, rows.len()), (7, 40));
        let held: Vec<_> = rows.iter().filter(|row| row.held).collect();
        assert_eq!(held.len(), 7);
        for project in ["p", "q"] {
            assert!(held.iter().filter(|row| row.project == project).count() <= 5);
        }
    })
    .await;
}

#[tokio::test]
async fn places_go_to_the_earliest() {
    on_each(|w| async move {
        let ask = async |token: &str| w.store.token_allocate(&request(token, "p")).await.unwrap();
        assert_eq!(ask("a").await, TokenOutcome::Granted);
        assert_eq!(ask("b").await, TokenOutcome::Granted);
        assert_eq!(ask("a").await, TokenOutcome::Granted, "asking again grants again");
        let held = vec!["e-a".to_owned(), "e-b".to_owned()];
        assert_eq!(ask("c").await, TokenOutcome::Exhausted { position: 1, ahead: None, held: held.clone() });
        let ahead = Some("e-c".to_owned());
        assert_eq!(ask("d").await, TokenOutcome::Exhausted { position: 2, ahead, held });
        w.store.token_release("ns", "a").await.unwrap();
        w.store.token_release("ns", "a").await.unwrap();
        assert_eq!(position(&ask("d").await), Some(2), "c came first");
        assert_eq!(position(&ask("e").await), Some(3));
        assert_eq!(ask("c").await, TokenOutcome::Granted);
        assert_eq!(position(&ask("d").await), Some(1));
        // One who leaves the line makes room for those behind.
        w.store.token_release("ns", "d").await.unwrap();
        w.store.token_release("ns", "b").await.unwrap();
        assert_eq!(ask("e").await, TokenOutcome::Granted);
        let other = TokenRequest { namespace: "other".to_owned(), ..request("z", "p") };
        assert_eq!(w.store.token_allocate(&other).await.unwrap(), TokenOutcome::Granted);
    })
    .await;
}

#[tokio::test]
async fn a_project_at_its_limit_holds_up_no_other() {
    on_each(|w| async move {
        let ask = async |token: &str, project: &str, domain: &str| {
            let mut request = request(token, project);
            (request.pool_size, request.project_limit, request.domain_limit) = (4, 2, 1);
            request.domain = domain.to_owned();
            w.store.token_allocate(&request).await.unwrap()
        };
        assert_eq!(ask("a", "p", "dev").await, TokenOutcome::Granted);
        assert_eq!(position(&ask("b", "p", "dev").await), Some(1), "its domain has its one place");
        assert_eq!(ask("c", "p", "prod").await, TokenOutcome::Granted);
        assert_eq!(position(&ask("d", "p", "test").await), Some(2), "its project has its two places");
        assert_eq!(ask("e", "q", "dev").await, TokenOutcome::Granted);
        assert_eq!(ask("f", "q", "prod").await, TokenOutcome::Granted);
        assert_eq!(position(&ask("g", "r", "dev").await), Some(3), "the pool is full");
        w.store.token_release("ns", "a").await.unwrap();
        assert_eq!(position(&ask("g", "r", "dev").await), Some(3), "b is first and may now");
        assert_eq!(ask("b", "p", "dev").await, TokenOutcome::Granted);
    })
    .await;
}

#[tokio::test]
async fn one_who_stopped_asking_keeps_place_but_blocks_nobody() {
    on_each(|w| async move {
        let ask = async |token: &str, seconds: i64| {
            let now = NOW.plus(seconds * 1_000_000);
            let request = TokenRequest { pool_size: 1, now, ..request(token, "p") };
            w.store.token_allocate(&request).await.unwrap()
        };
        assert_eq!(ask("a", 0).await, TokenOutcome::Granted);
        assert_eq!(position(&ask("gone", 0).await), Some(1));
        assert_eq!(position(&ask("b", 1).await), Some(2));
        assert_eq!(position(&ask("c", 2).await), Some(3));
        w.store.token_release("ns", "a").await.unwrap();
        assert_eq!(position(&ask("b", 50).await), Some(2), "gone may still come");
        assert_eq!(position(&ask("c", 70).await), Some(2), "b is before");
        assert_eq!(position(&ask("gone", 71).await), None, "first in the line all the same");
        w.store.token_release("ns", "gone").await.unwrap();
        assert_eq!(ask("b", 90).await, TokenOutcome::Granted);
    })
    .await;
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_are_swept_after_their_execution() {
    on_each(|w| async move {
        let live = w.store.execution_insert(&sample::execution("e-a")).await.unwrap();
        w.store.execution_insert(&sample::execution("e-c")).await.unwrap();
        for token in ["a", "b", "c"] {
            w.store.token_allocate(&request(token, "p")).await.unwrap();
        }
        let before = w.store.token_list("ns").await.unwrap();
        let store = w.reopened().await;
        assert_eq!(store.token_list("ns").await.unwrap(), before);
        let first = &before[0];
        assert_eq!(
            (first.token.as_str(), first.execution.as_str(), first.project.as_str(), first.domain.as_str()),
            ("a", "e-a", "p", "d")
        );
        assert_eq!((first.held, first.created_at), (true, NOW));
        assert_eq!(store.token_sweep().await.unwrap(), 1, "e-b does not exist");
        assert_eq!(store.token_allocate(&request("c", "p")).await.unwrap(), TokenOutcome::Granted);
        let lease = store.lease_acquire("h", std::time::Duration::from_secs(9), NOW).await.unwrap();
        let done = Batch { executions: vec![sample::update(live, 4)], ..Batch::default() };
        store.commit(&lease, &done).await.unwrap();
        assert_eq!(store.token_sweep().await.unwrap(), 1);
        let left = store.token_list("ns").await.unwrap();
        assert_eq!(left.iter().map(|row| row.token.as_str()).collect::<Vec<_>>(), ["c"]);
        store.close().await;
    })
    .await;
}
