//! Reservations: one computes, the others wait and are woken.

use catalog::{Reservation, TaskKey, task_key};
use store::{ExecutionKey, Wake};

use crate::catalog::build::{inputs, template};
use crate::catalog::world::{NOW, SECOND, world};

fn key() -> TaskKey {
    task_key(&template("1"), &inputs(1, 2)).unwrap()
}

#[tokio::test]
async fn one_holds_it_until_it_is_silent() {
    let w = world().await;
    let ask = async |owner: &str, at: i64| {
        w.catalog.reserve(&key(), owner, 10 * SECOND, NOW.plus(at * SECOND), None).await.unwrap()
    };
    let until = |at: i64| NOW.plus(at * SECOND);
    let held = |at: i64| Reservation::Held { owner: "a".to_owned(), expires_at: until(at) };
    assert_eq!(ask("a", 0).await, Reservation::Acquired { expires_at: until(30) });
    assert_eq!(ask("b", 1).await, held(30));
    assert_eq!(ask("a", 20).await, Reservation::Acquired { expires_at: until(50) }, "prolonged");
    assert_eq!(ask("b", 49).await, held(50));
    assert_eq!(ask("b", 50).await, Reservation::Acquired { expires_at: until(80) }, "expired");
    assert!(matches!(ask("a", 51).await, Reservation::Held { owner, .. } if owner == "b"));
}

#[tokio::test]
async fn a_release_wakes_those_who_wait() {
    let w = world().await;
    let mut wakes = w.store.subscribe();
    let ask =
        async |owner: &str, waiter| w.catalog.reserve(&key(), owner, 10 * SECOND, NOW, waiter).await.unwrap();
    ask("a", Some(ExecutionKey(1))).await;
    for waiter in [2, 3, 3] {
        assert!(matches!(ask("other", Some(ExecutionKey(waiter))).await, Reservation::Held { .. }));
    }
    w.catalog.release(&key(), "b").await.unwrap();
    assert!(wakes.try_recv().is_err(), "only the owner releases");
    w.catalog.release(&key(), "a").await.unwrap();
    w.catalog.release(&key(), "a").await.unwrap();
    let mut woken: Vec<Wake> = std::iter::from_fn(|| wakes.try_recv().ok()).collect();
    woken.sort_by_key(|wake| wake.key());
    assert_eq!(woken, [Wake::Nudge(ExecutionKey(2)), Wake::Nudge(ExecutionKey(3))]);
    assert!(matches!(ask("c", None).await, Reservation::Acquired { .. }));
}

#[tokio::test]
async fn of_many_exactly_one_gets_it() {
    let w = world().await;
    let asked = (0..50).map(|n| {
        let catalog = w.catalog.clone();
        tokio::spawn(async move {
            let outcome = catalog.reserve(&key(), &format!("o{n}"), SECOND, NOW, None).await.unwrap();
            matches!(outcome, Reservation::Acquired { .. })
        })
    });
    let acquired = futures::future::join_all(asked).await.into_iter().filter(|it| *it.as_ref().unwrap());
    assert_eq!(acquired.count(), 1);
}
