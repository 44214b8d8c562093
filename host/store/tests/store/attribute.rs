//! Matchable attributes: what holds where.

use store::{AttributePlace, AttributeRow, Error};

use crate::sample::{HOSTILE, NOW};
use crate::world::on_each;

fn place(project: &str, domain: &str, workflow: &str) -> AttributePlace {
    AttributePlace { project: project.to_owned(), domain: domain.to_owned(), workflow: workflow.to_owned() }
}

fn row(place: AttributePlace, kind: i32, attributes: &[u8]) -> AttributeRow {
    AttributeRow { place, kind, attributes: attributes.to_vec(), updated_at: NOW }
}

fn replace(_old: &[u8], new: Vec<u8>) -> Vec<u8> {
    new
}

#[tokio::test]
async fn settings_are_kept_by_place_and_kind() {
    on_each(|w| async move {
        for (n, text) in HOSTILE.into_iter().enumerate() {
            let kind = n as i32 % 8;
            let row = row(place(text, text, text), kind, text.as_bytes());
            w.store.attribute_put(row.clone(), replace).await.unwrap();
            assert_eq!(w.store.attribute_get(&row.place, kind).await.unwrap().as_ref(), Some(&row));
            assert_eq!(w.store.attribute_get(&row.place, kind + 1).await.unwrap(), None);
            assert_eq!(w.store.attribute_get(&place(text, text, ""), kind).await.unwrap(), None);
            w.store.attribute_delete(&row.place, kind).await.unwrap();
            let again = w.store.attribute_delete(&row.place, kind).await;
            assert!(matches!(again, Err(Error::NotFound { .. })));
            assert_eq!(w.store.attribute_get(&row.place, kind).await.unwrap(), None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_later_value_replaces_or_joins_the_earlier() {
    on_each(|w| async move {
        let at = place("p", "d", "");
        let join = |old: &[u8], new: Vec<u8>| [old, &new].concat();
        for letter in [b"a", b"b", b"c"] {
            w.store.attribute_put(row(at.clone(), 5, letter), join).await.unwrap();
        }
        assert_eq!(w.store.attribute_get(&at, 5).await.unwrap().unwrap().attributes, b"abc");
        w.store.attribute_put(row(at.clone(), 5, b"z"), replace).await.unwrap();
        assert_eq!(w.store.attribute_get(&at, 5).await.unwrap().unwrap().attributes, b"z");
    })
    .await;
}

#[tokio::test]
async fn concurrent_joins_lose_nothing() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let puts = (0..40_u8).map(|n| {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            let row = row(place("p", "", ""), 5, &[n]);
            tokio::spawn(async move {
                store.attribute_put(row, |old, new| [old, &new].concat()).await.unwrap();
            })
        });
        for done in futures::future::join_all(puts).await {
            done.unwrap();
        }
        let mut all = w.store.attribute_get(&place("p", "", ""), 5).await.unwrap().unwrap().attributes;
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<u8>>());
    })
    .await;
}

#[tokio::test]
async fn the_particular_comes_before_the_general() {
    on_each(|w| async move {
        for (at, kind) in [
            (place("p", "", ""), 0),
            (place("p", "", ""), 6),
            (place("p", "d", ""), 6),
            (place("p", "d", "wf"), 6),
            (place("p", "d", "other"), 6),
            (place("p", "other", ""), 6),
            (place("q", "d", "wf"), 6),
        ] {
            w.store.attribute_put(row(at, kind, b"x"), replace).await.unwrap();
        }
        let matching = async |project: &str, domain: &str, workflow: &str| {
            let rows = w.store.attribute_matching(&place(project, domain, workflow)).await.unwrap();
            rows.into_iter().map(|row| (row.place, row.kind)).collect::<Vec<_>>()
        };
        let want = [
            (place("p", "d", "wf"), 6),
            (place("p", "d", ""), 6),
            (place("p", "", ""), 0),
            (place("p", "", ""), 6),
        ];
        assert_eq!(matching("p", "d", "wf").await, want);
        assert_eq!(matching("p", "d", "unknown").await, want[1..]);
        assert_eq!(matching("p", "", "").await, want[2..]);
        assert_eq!(matching("r", "d", "wf").await, []);
        assert_eq!(w.store.attribute_list(6).await.unwrap().len(), 6);
        assert_eq!(w.store.attribute_list(0).await.unwrap().len(), 1);
        assert_eq!(w.store.attribute_list(1).await.unwrap(), []);
    })
    .await;
}
