//! Cached outputs: many at once, one under each key, evicted and forgotten; reservations.

use model::{ExecutionId, Timestamp};
use store::{
    CatalogArtifactRow, CatalogDatasetId, CatalogDatasetRow, CatalogFilter, CatalogPage, CatalogPut,
    CatalogReserve, CatalogSource, CatalogTagging, CatalogUseRow, Error, ExecutionKey, Store, Wake,
};

use crate::sample::{HOSTILE, NOW};
use crate::world::on_each;

fn dataset(name: &str) -> CatalogDatasetId {
    CatalogDatasetId {
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: name.to_owned(),
        version: "v".to_owned(),
        org: String::new(),
    }
}

fn artifact(dataset_name: &str, id: &str) -> CatalogArtifactRow {
    CatalogArtifactRow {
        dataset: dataset(dataset_name),
        dataset_key: 0,
        artifact_id: id.to_owned(),
        created_at: NOW,
        updated_at: NOW,
        evicted_at: None,
        task_version: "tv".to_owned(),
        source: CatalogSource {
            execution: ExecutionId::new("p", "d", "e"),
            node_id: "n0".to_owned(),
            attempt: 3,
        },
        outputs_uri: String::new(),
        outputs_size: 2,
        fields: vec![1, 0],
        message: vec![2, 255],
        outputs: vec![3, 0],
    }
}

fn entry(dataset_name: &str, key: &str, id: &str) -> CatalogPut {
    CatalogPut {
        key: key.to_owned(),
        tag: format!("tag-{key}"),
        overwrite: false,
        dataset_uuid: format!("uuid-{dataset_name}"),
        dataset_message: vec![9],
        artifact: artifact(dataset_name, id),
    }
}

async fn put(store: &Store, puts: Vec<CatalogPut>) -> Vec<String> {
    let stored = store.catalog_put(puts, None, NOW).await.unwrap();
    stored.artifacts.into_iter().map(|row| row.artifact_id).collect()
}

async fn found(store: &Store, key: &str) -> Option<CatalogArtifactRow> {
    store.catalog_lookup(&[key]).await.unwrap().remove(key)
}

fn names(rows: &[CatalogArtifactRow]) -> Vec<&str> {
    rows.iter().map(|row| row.artifact_id.as_str()).collect()
}

async fn list(store: &Store, filter: &CatalogFilter) -> Vec<CatalogArtifactRow> {
    store.catalog_artifact_list(filter, CatalogPage::default(), true).await.unwrap()
}

#[tokio::test]
async fn rows_come_back_as_they_went() {
    on_each(|w| async move {
        for (n, text) in HOSTILE.iter().enumerate() {
            let mut one = entry(text, &format!("k{n}{text}"), text);
            one.artifact.source.node_id = (*text).to_owned();
            let want = one.artifact.clone();
            put(&w.store, vec![one.clone()]).await;
            let mut got = found(&w.store, &one.key).await.unwrap();
            got.dataset_key = 0;
            assert_eq!(got, want);
        }
        let rows = list(&w.store, &CatalogFilter::default()).await;
        assert_eq!(rows.len(), HOSTILE.len());
        assert!(rows.iter().all(|row| row.outputs == [3, 0]));
        assert!(found(&w.store, "nothing").await.is_none());
    })
    .await;
}

#[tokio::test]
async fn one_entry_is_under_each_key() {
    on_each(|w| async move {
        assert_eq!(put(&w.store, vec![entry("t", "k", "a"), entry("t", "k", "b")]).await, ["a", "a"]);
        assert_eq!(put(&w.store, vec![entry("t", "k", "c"), entry("t", "l", "d")]).await, ["a", "d"]);
        let over = CatalogPut { overwrite: true, ..entry("t", "k", "e") };
        let stored = w.store.catalog_put(vec![over.clone()], None, NOW).await.unwrap();
        assert_eq!((names(&stored.artifacts), names(&stored.dropped)), (vec!["e"], vec!["a"]));
        let again = w.store.catalog_put(vec![over], None, NOW).await.unwrap();
        assert!(again.dropped.is_empty(), "storing the same again replaces nothing");
        assert_eq!(found(&w.store, "k").await.unwrap().artifact_id, "e");
        let rows = list(&w.store, &CatalogFilter::default()).await;
        let mut live = names(&rows);
        live.sort_unstable();
        assert_eq!(live, ["d", "e"], "what was replaced keeps its row, without outputs");
        let stale = w.store.catalog_put(vec![entry("t", "k", "f")], Some(NOW.plus(1)), NOW).await.unwrap();
        assert_eq!(names(&stale.artifacts), ["f"], "one that is too old makes room");
    })
    .await;
}

#[tokio::test]
async fn many_entries_need_few_statements() {
    on_each(|w| async move {
        let puts = |n: usize| entry(&format!("t{}", n % 3), &format!("k{n}"), &format!("a{n}"));
        let stored = put(&w.store, (0..3_000).map(puts).collect()).await;
        assert_eq!(stored, (0..3_000).map(|n| format!("a{n}")).collect::<Vec<_>>());
        let keys: Vec<String> = (0..5_000).map(|n| format!("k{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found = w.store.catalog_lookup(&keys).await.unwrap();
        assert_eq!(found.len(), 3_000);
        assert!((0..3_000).all(|n| found[&format!("k{n}")].artifact_id == format!("a{n}")));
        assert_eq!(w.store.catalog_newest(&dataset("t1"), 20).await.unwrap().len(), 20);
    })
    .await;
}

#[tokio::test]
async fn racing_puts_leave_one_entry() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let asked = (0..20).map(|n| {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            tokio::spawn(async move { put(&store, vec![entry("t", "k", &format!("a{n}"))]).await })
        });
        for outcome in futures::future::join_all(asked).await {
            assert_eq!(outcome.unwrap().len(), 1);
        }
        let winner = found(&w.store, "k").await.unwrap();
        assert!(winner.evicted_at.is_none());
        assert_eq!(w.store.catalog_versions(&dataset("t"), 10).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn evicted_entries_stay_known_until_they_are_forgotten() {
    on_each(|w| async move {
        put(&w.store, vec![entry("t", "k", "a"), entry("t", "l", "b")]).await;
        let of_k = CatalogFilter { key: "k".to_owned(), ..CatalogFilter::default() };
        assert_eq!(names(&w.store.catalog_evict(&of_k, 10, NOW.plus(5)).await.unwrap()), ["a"]);
        assert!(w.store.catalog_evict(&of_k, 10, NOW.plus(6)).await.unwrap().is_empty());
        let row = found(&w.store, "k").await.unwrap();
        assert_eq!((row.evicted_at, row.outputs.len()), (Some(NOW.plus(5)), 0));
        assert_eq!(w.store.catalog_forget(NOW.plus(5), 10).await.unwrap(), 0);
        assert_eq!(w.store.catalog_forget(NOW.plus(6), 10).await.unwrap(), 1);
        assert!(found(&w.store, "k").await.is_none());
        assert!(found(&w.store, "l").await.is_some());
    })
    .await;
}

fn tagging(artifact: &str) -> CatalogTagging {
    CatalogTagging {
        key: "k".to_owned(),
        dataset: dataset("t"),
        artifact_id: artifact.to_owned(),
        name: "tag".to_owned(),
        now: NOW,
    }
}

#[tokio::test]
async fn datasets_artifacts_and_tags_are_made_one_by_one() {
    on_each(|w| async move {
        let row = CatalogDatasetRow {
            id: dataset("t"),
            key: 0,
            uuid: "u".to_owned(),
            created_at: NOW,
            message: vec![4],
        };
        assert!(w.store.catalog_dataset_insert(row.clone()).await.unwrap());
        assert!(!w.store.catalog_dataset_insert(row.clone()).await.unwrap());
        let got = w.store.catalog_dataset_get(&dataset("t")).await.unwrap().unwrap();
        assert_eq!((got.uuid, got.message, got.created_at), (row.uuid, row.message, NOW));
        let insert =
            async |of: &str, id: &str, parts| w.store.catalog_artifact_insert(artifact(of, id), parts).await;
        let parts = vec![("day".to_owned(), "1".to_owned()), ("hour".to_owned(), "2".to_owned())];
        insert("t", "a", parts).await.unwrap();
        assert!(matches!(insert("t", "a", Vec::new()).await, Err(Error::Exists { .. })));
        assert!(matches!(insert("u", "a", Vec::new()).await, Err(Error::NotFound { .. })));
        let day = |value: &str| CatalogFilter {
            partitions: vec![("day".to_owned(), value.to_owned())],
            ..CatalogFilter::default()
        };
        assert_eq!(names(&list(&w.store, &day("1")).await), ["a"]);
        assert!(list(&w.store, &day("2")).await.is_empty());
        assert!(matches!(w.store.catalog_tag_insert(tagging("b")).await, Err(Error::NotFound { .. })));
        w.store.catalog_tag_insert(tagging("a")).await.unwrap();
        assert!(matches!(w.store.catalog_tag_insert(tagging("a")).await, Err(Error::Exists { .. })));
        let tags = w.store.catalog_tags(&[found(&w.store, "k").await.unwrap()]).await.unwrap();
        assert_eq!((tags.len(), tags[0].name.as_str()), (1, "tag"));
    })
    .await;
}

#[tokio::test]
async fn artifacts_without_tag_go_by_their_age() {
    on_each(|w| async move {
        put(&w.store, vec![entry("t", "k", "a")]).await;
        w.store.catalog_artifact_insert(artifact("t", "b"), Vec::new()).await.unwrap();
        assert!(w.store.catalog_evict_untagged(NOW, NOW).await.unwrap().is_empty(), "too young");
        assert_eq!(names(&w.store.catalog_evict_untagged(NOW.plus(1), NOW).await.unwrap()), ["b"]);
        w.store.catalog_evict(&CatalogFilter::default(), 10, NOW).await.unwrap();
        w.store.catalog_artifact_insert(artifact("t", "c"), Vec::new()).await.unwrap();
        w.store.catalog_tag_insert(tagging("c")).await.unwrap();
        assert_eq!(found(&w.store, "k").await.unwrap().artifact_id, "c", "the tag of an evicted one is free");
    })
    .await;
}

#[tokio::test]
async fn outputs_are_replaced_in_place() {
    on_each(|w| async move {
        let mut first = entry("t", "k", "a");
        (first.artifact.outputs_uri, first.artifact.outputs) = ("s3://b/old".to_owned(), Vec::new());
        put(&w.store, vec![first]).await;
        let mut new = artifact("t", "a");
        new.updated_at = NOW.plus(7);
        let old = w.store.catalog_artifact_replace(new).await.unwrap();
        assert_eq!(old.outputs_uri, "s3://b/old");
        let row = found(&w.store, "k").await.unwrap();
        assert_eq!((row.updated_at, row.outputs, row.outputs_uri), (NOW.plus(7), vec![3, 0], String::new()));
        let missing = w.store.catalog_artifact_replace(artifact("t", "z")).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn uses_are_counted_and_keep_entries() {
    on_each(|w| async move {
        put(&w.store, vec![entry("t", "k", "a"), entry("t", "l", "b")]).await;
        let used = |artifact: &str, node: &str, at: Timestamp| CatalogUseRow {
            dataset: dataset("t"),
            artifact_id: artifact.to_owned(),
            execution: ExecutionId::new("p", "d", "u"),
            node_id: node.to_owned(),
            used_at: at,
        };
        let uses = [("a", "n0", 0), ("a", "n0", 0), ("a", "n1", 1), ("z", "n0", 0)]
            .map(|(a, n, at)| used(a, n, NOW.plus(at)));
        w.store.catalog_use_insert(uses.into()).await.unwrap();
        w.store.catalog_use_insert(vec![used("a", "n0", NOW.plus(50))]).await.unwrap();
        let row = found(&w.store, "k").await.unwrap();
        let nodes: Vec<String> =
            w.store.catalog_uses_of(&row, 10).await.unwrap().into_iter().map(|it| it.node_id).collect();
        assert_eq!(nodes, ["n0", "n1"], "newest first");
        let counts = w.store.catalog_use_counts(&[row, found(&w.store, "l").await.unwrap()]).await.unwrap();
        assert_eq!((counts.len(), counts[0].n_uses, counts[0].last), (1, 2, NOW.plus(50)));
        assert_eq!(w.store.catalog_uses_by(&ExecutionId::new("p", "d", "u"), "n0").await.unwrap().len(), 1);
        let unused = CatalogFilter { unused_since: Some(NOW.plus(10)), ..CatalogFilter::default() };
        assert_eq!(names(&list(&w.store, &unused).await), ["b"]);
    })
    .await;
}

fn wish(owner: &str, at: i64, waiter: Option<ExecutionKey>) -> CatalogReserve {
    CatalogReserve {
        key: "k".to_owned(),
        owner: owner.to_owned(),
        heartbeat: 10,
        expires_at: NOW.plus(at + 30),
        waiter,
        now: NOW.plus(at),
    }
}

#[tokio::test]
async fn of_many_who_ask_one_owns_and_the_others_are_woken() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let asked = (0..40).map(|n| {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            let wish = wish(&format!("o{n}"), 0, Some(ExecutionKey(n)));
            tokio::spawn(
                async move { (wish.owner.clone(), store.catalog_reserve(wish).await.unwrap().owner) },
            )
        });
        let outcomes: Vec<(String, String)> =
            futures::future::join_all(asked).await.into_iter().map(|it| it.unwrap()).collect();
        let owner = outcomes[0].1.clone();
        assert!(outcomes.iter().all(|(_, held)| *held == owner), "all agree who has it");
        assert_eq!(outcomes.iter().filter(|(asked, held)| asked == held).count(), 1);
        let mut wakes = other.subscribe();
        assert!(!w.store.catalog_release("k", "nobody").await.unwrap());
        assert!(w.store.catalog_release("k", &owner).await.unwrap());
        assert!(!w.store.catalog_release("k", &owner).await.unwrap());
        let limit = std::time::Duration::from_secs(10);
        let mut woken = Vec::new();
        while woken.len() < 39 {
            woken.push(tokio::time::timeout(limit, wakes.recv()).await.unwrap().unwrap());
        }
        assert!(woken.iter().all(|wake| matches!(wake, Wake::Nudge(_))), "{woken:?}");
    })
    .await;
}

#[tokio::test]
async fn a_silent_owner_loses_its_reservation() {
    on_each(|w| async move {
        let owner = async |who: &str, at| w.store.catalog_reserve(wish(who, at, None)).await.unwrap().owner;
        assert_eq!(owner("a", 0).await, "a");
        let prolonged = w.store.catalog_reserve(wish("a", 20, None)).await.unwrap();
        assert_eq!((prolonged.expires_at, prolonged.heartbeat), (NOW.plus(50), 10));
        assert_eq!(owner("b", 49).await, "a");
        assert_eq!(owner("b", 50).await, "b");
        assert_eq!(w.store.catalog_reservation_sweep(NOW.plus(80)).await.unwrap(), 0);
        assert_eq!(w.store.catalog_reservation_sweep(NOW.plus(81)).await.unwrap(), 1);
        assert!(w.store.catalog_reservation_get("k").await.unwrap().is_none());
    })
    .await;
}
