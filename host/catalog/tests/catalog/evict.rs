//! Eviction by name and age, lists, and what the sweep does by itself.

use catalog::{Lookup, Selection, TaskKey, task_key};
use model::Timestamp;
use store::{CatalogFilter, CatalogPage};

use crate::catalog::build::{inputs, map, node_id, outputs, source, template, text};
use crate::catalog::world::{HOUR, NOW, SECOND, World, world, world_with};

fn key(version: &str, x: i64) -> TaskKey {
    task_key(&template(version), &inputs(x, 0)).unwrap()
}

async fn put(w: &World, key: &TaskKey, execution: &str, at: Timestamp) -> String {
    let stored = w.catalog.put(key, &source(execution, "n0"), &outputs(1), false, at).await.unwrap();
    stored.artifact_tag.unwrap().artifact_id
}

async fn is_there(w: &World, key: &TaskKey) -> bool {
    matches!(w.catalog.lookup(key, None, NOW).await.unwrap(), Lookup::Hit(_))
}

#[tokio::test]
async fn each_selection_takes_just_what_it_names() {
    let w = world().await;
    let (one, two, other) = (key("1", 1), key("1", 2), key("2", 1));
    let first = put(&w, &one, "e1", NOW).await;
    put(&w, &two, "e2", NOW.plus(-2 * HOUR)).await;
    put(&w, &other, "e1", NOW).await;
    let of = |text: &str| text.to_owned();
    let selections = [
        (Selection { task: of("t"), ..Selection::default() }, 3),
        (Selection { dataset: of("flyte_task-t"), ..Selection::default() }, 3),
        (Selection { task: of("u"), ..Selection::default() }, 0),
        (Selection { project: of("project"), domain: of("domain"), ..Selection::default() }, 3),
        (Selection { project: of("other"), ..Selection::default() }, 0),
        (Selection { version: one.dataset.version.clone(), ..Selection::default() }, 2),
        (Selection { tag: two.tag.clone(), ..Selection::default() }, 1),
        (Selection { tag: one.tag.clone(), ..Selection::default() }, 2),
        (Selection { artifact: first, ..Selection::default() }, 1),
        (Selection { key: one.cache_key().to_owned(), ..Selection::default() }, 1),
        (Selection { older_than: Some(3_600), ..Selection::default() }, 1),
        (
            Selection {
                project: of("project"),
                domain: of("domain"),
                execution: of("e1"),
                node: of("n0"),
                ..Selection::default()
            },
            2,
        ),
    ];
    for (selection, count) in selections {
        let would = w.catalog.evictable(&selection, NOW).await.unwrap();
        assert_eq!((would.count, would.entries.len()), (count as u64, count), "{selection:?}");
        assert_eq!(w.catalog.list(&selection, 10, "", NOW).await.unwrap().entries.len(), count);
    }
    let selection = Selection { key: one.cache_key().to_owned(), ..Selection::default() };
    assert_eq!(w.catalog.evict(&selection, NOW).await.unwrap().count, 1);
    assert_eq!(w.catalog.evict(&selection, NOW).await.unwrap().count, 0);
    assert!(!is_there(&w, &one).await && is_there(&w, &two).await && is_there(&w, &other).await);
    put(&w, &one, "e5", NOW).await;
    assert!(is_there(&w, &one).await, "there is room again");
}

#[tokio::test]
async fn selections_that_contradict_themselves_are_refused() {
    let w = world().await;
    let of = |text: &str| text.to_owned();
    for selection in [
        Selection { task: of("t"), dataset: of("d"), ..Selection::default() },
        Selection { node: of("n0"), ..Selection::default() },
        Selection { execution: of("e"), ..Selection::default() },
    ] {
        assert!(w.catalog.evict(&selection, NOW).await.is_err(), "{selection:?}");
    }
}

#[tokio::test]
async fn many_are_evicted_with_their_objects() {
    let w = world_with(|config| config.max_inline_size = config::Size::from_bytes(16)).await;
    let large = map([("o", text(&"x".repeat(100)))]);
    let source = source("e1", "n0");
    let keys: Vec<TaskKey> = (0..1_200).map(|x| key("1", x)).collect();
    let puts: Vec<catalog::Put<'_>> = keys
        .iter()
        .map(|key| catalog::Put { key, source: &source, outputs: &large, overwrite: false })
        .collect();
    w.catalog.put_many(&puts, NOW).await.unwrap();
    assert_eq!(w.n_objects().await, 1_200);
    let all = Selection { task: "t".to_owned(), ..Selection::default() };
    let evicted = w.catalog.evict(&all, NOW).await.unwrap();
    assert_eq!((evicted.count, evicted.entries.len(), w.n_objects().await), (1_200, 1_000, 0));
}

#[tokio::test]
async fn lists_have_pages() {
    let w = world().await;
    for x in 0..5 {
        put(&w, &key("1", x), "e", NOW.plus(x * SECOND)).await;
    }
    let all = Selection::default();
    let first = w.catalog.list(&all, 3, "", NOW).await.unwrap();
    let second = w.catalog.list(&all, 3, &first.token, NOW).await.unwrap();
    assert_eq!((first.entries.len(), second.entries.len(), second.token.as_str()), (3, 2, ""));
    let times: Vec<&String> = first.entries.iter().chain(&second.entries).map(|it| &it.created_at).collect();
    assert!(times.windows(2).all(|pair| pair[0] > pair[1]), "{times:?}");
    assert!(w.catalog.list(&all, 3, "x", NOW).await.is_err());
}

#[tokio::test]
async fn the_sweep_evicts_what_is_old_or_unused_and_forgets_later() {
    let w = world_with(|config| {
        config.evict_after = config::Duration::from_hours(10);
        config.evict_unused_after = config::Duration::from_hours(2);
        config.keep_evicted = config::Duration::from_hours(24);
    })
    .await;
    let (old, unused, used) = (key("1", 1), key("1", 2), key("1", 3));
    let at = |hours: i64| NOW.plus(hours * HOUR);
    put(&w, &old, "e1", at(-11)).await;
    put(&w, &unused, "e2", at(-3)).await;
    put(&w, &used, "e3", at(-3)).await;
    for key in [&old, &used] {
        let Lookup::Hit(hit) = w.catalog.lookup(key, None, NOW).await.unwrap() else { panic!("a miss") };
        w.catalog.used(&hit.metadata, &node_id("u", "n0"), at(-1)).await.unwrap();
    }
    w.catalog.sweep(NOW).await.unwrap();
    assert!(!is_there(&w, &old).await && !is_there(&w, &unused).await && is_there(&w, &used).await);
    let kept = async || {
        let filter = CatalogFilter { with_evicted: true, ..CatalogFilter::default() };
        w.store.catalog_artifact_list(&filter, CatalogPage::default(), false).await.unwrap().len()
    };
    assert_eq!(kept().await, 3);
    w.catalog.sweep(at(30)).await.unwrap();
    assert_eq!(kept().await, 1, "the last one was evicted just now and is remembered");
    let uses = w.store.catalog_uses_by(&model::ExecutionId::new("project", "domain", "u"), "n0").await;
    assert_eq!(uses.unwrap().len(), 1, "uses go with their artifact");
}

#[tokio::test]
async fn silent_reservations_end_by_the_sweep() {
    let w = world().await;
    let mut wakes = w.store.subscribe();
    let waiter = Some(store::ExecutionKey(5));
    w.catalog.reserve(&key("1", 1), "a", SECOND, NOW, None).await.unwrap();
    w.catalog.reserve(&key("1", 1), "b", SECOND, NOW, waiter).await.unwrap();
    w.catalog.sweep(NOW.plus(2 * SECOND)).await.unwrap();
    assert!(wakes.try_recv().is_err());
    w.catalog.sweep(NOW.plus(4 * SECOND)).await.unwrap();
    assert_eq!(wakes.try_recv().unwrap(), store::Wake::Nudge(store::ExecutionKey(5)));
}
