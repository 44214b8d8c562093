//! Entries: found again, kept, replaced, too old, lost, and why.

use catalog::{Cause, Lookup, Put, TaskKey, task_key};
use proto::flyteidl::core::{CatalogMetadata, LiteralMap, catalog_metadata::SourceExecution};

use crate::catalog::build::{inputs, map, node_id, outputs, source, template, text};
use crate::catalog::world::{HOUR, NOW, SECOND, World, world, world_with};

fn key(version: &str, x: i64, y: i64) -> TaskKey {
    task_key(&template(version), &inputs(x, y)).unwrap()
}

async fn put(w: &World, key: &TaskKey, execution: &str, o: i64) -> CatalogMetadata {
    w.catalog.put(key, &source(execution, "n0"), &outputs(o), false, NOW).await.unwrap()
}

async fn look(w: &World, key: &TaskKey) -> Lookup {
    w.catalog.lookup(key, None, NOW.plus(60 * SECOND)).await.unwrap()
}

fn found(lookup: Lookup) -> LiteralMap {
    match lookup {
        Lookup::Hit(hit) => hit.outputs,
        Lookup::Miss(why) => panic!("{why}"),
    }
}

fn source_of(metadata: &CatalogMetadata) -> (String, String) {
    let Some(SourceExecution::SourceTaskExecution(source)) = &metadata.source_execution else {
        panic!("no source");
    };
    let node = source.node_execution_id.clone().unwrap();
    (node.execution_id.unwrap().name, node.node_id)
}

#[tokio::test]
async fn what_was_put_is_found() {
    let w = world().await;
    let (one, two) = (key("1", 1, 2), key("1", 1, 3));
    let stored = put(&w, &one, "e1", 7).await;
    assert_eq!(source_of(&stored), ("e1".to_owned(), "n0".to_owned()));
    assert_eq!(stored.artifact_tag.as_ref().unwrap().name, one.tag);
    assert_eq!(stored.dataset_id.as_ref(), Some(&one.dataset));
    let Lookup::Hit(hit) = look(&w, &one).await else { panic!("a miss") };
    assert_eq!((hit.outputs, hit.metadata), (outputs(7), stored));
    assert_eq!(hit.explanation.to_string(), "hit: outputs of project/domain/e1/n0 attempt 0, made 60 s ago");
    assert!(matches!(look(&w, &two).await, Lookup::Miss(_)));
}

#[tokio::test]
async fn a_miss_is_explained_field_by_field() {
    let w = world().await;
    let say = async |key: &TaskKey| look(&w, key).await.explanation().to_string();
    assert_eq!(say(&key("1", 1, 2)).await, "miss: nothing is cached of this task yet");
    put(&w, &key("1", 1, 2), "e1", 7).await;
    put(&w, &key("1", 8, 9), "e2", 7).await;
    let nearest = "the nearest entry is of project/domain/e1/n0 attempt 0, made 60 s ago";
    assert_eq!(
        say(&key("1", 1, 3)).await,
        format!(
            "miss: input `y` differs; {nearest}; the same: cache version, input interface, output interface, \
             input `x`"
        )
    );
    assert_eq!(
        say(&key("2", 8, 9)).await,
        "miss: cache version is `2` and not `1`; the nearest entry is of project/domain/e2/n0 attempt 0, made \
         60 s ago; the same: input interface, output interface, input `x`, input `y`"
    );
    let mut changed = template("1");
    changed.interface.as_mut().unwrap().outputs = None;
    let changed = task_key(&changed, &inputs(1, 2)).unwrap();
    assert!(say(&changed).await.starts_with("miss: output interface differs; "), "{}", say(&changed).await);
    let mut more = template("1");
    let declared = &mut more.interface.as_mut().unwrap().inputs.as_mut().unwrap().variables;
    let z = declared.get("x").cloned().unwrap();
    declared.insert("z".to_owned(), z);
    declared.remove("y");
    let more = task_key(&more, &map([("x", text("1")), ("z", text("2"))])).unwrap();
    let said = say(&more).await;
    for part in ["input interface differs", "input `x` differs", "input `z` is new", "input `y` is gone"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn ignored_inputs_do_not_part_entries() {
    let w = world().await;
    let mut template = template("1");
    template.metadata.as_mut().unwrap().cache_ignore_input_vars = vec!["y".to_owned()];
    let key = |y| task_key(&template, &inputs(1, y)).unwrap();
    put(&w, &key(1), "e1", 7).await;
    assert_eq!(found(look(&w, &key(2)).await), outputs(7));
}

#[tokio::test]
async fn the_first_entry_stays_unless_it_is_overwritten() {
    let w = world().await;
    let key = key("1", 1, 2);
    let first = put(&w, &key, "e1", 1).await;
    assert_eq!(put(&w, &key, "e2", 2).await, first, "the answer is what is found from now on");
    assert_eq!(found(look(&w, &key).await), outputs(1));
    let later = NOW.plus(SECOND);
    let new = w.catalog.put(&key, &source("e3", "n1"), &outputs(3), true, later).await.unwrap();
    assert_eq!(source_of(&new), ("e3".to_owned(), "n1".to_owned()));
    assert_ne!(new.artifact_tag, first.artifact_tag);
    assert_eq!(found(look(&w, &key).await), outputs(3));
}

#[tokio::test]
async fn storing_again_after_a_crash_changes_nothing() {
    let w = world_with(|config| config.max_inline_size = config::Size::from_bytes(0)).await;
    let key = key("1", 1, 2);
    let first = w.catalog.put(&key, &source("e1", "n0"), &outputs(1), true, NOW).await.unwrap();
    let again = w.catalog.put(&key, &source("e1", "n0"), &outputs(1), true, NOW).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(found(look(&w, &key).await), outputs(1));
    assert_eq!(w.n_objects().await, 1);
}

#[tokio::test]
async fn too_old_is_a_miss_and_makes_room() {
    let w = world_with(|config| config.max_age = config::Duration::from_hours(2)).await;
    let key = key("1", 1, 2);
    put(&w, &key, "e1", 1).await;
    let at = |hours: i64| NOW.plus(hours * HOUR);
    assert!(matches!(w.catalog.lookup(&key, None, at(2)).await.unwrap(), Lookup::Hit(_)));
    let Lookup::Miss(why) = w.catalog.lookup(&key, None, at(3)).await.unwrap() else { panic!("a hit") };
    assert!(why.should_overwrite());
    assert_eq!(
        why.to_string(),
        "miss: the entry of project/domain/e1/n0 attempt 0, made 3 h ago is too old, 2 h is allowed"
    );
    let strict = w.catalog.lookup(&key, Some(HOUR / 2), at(1)).await.unwrap();
    assert!(matches!(strict, Lookup::Miss(_)), "the caller may ask for less");
    w.catalog.put(&key, &source("e2", "n0"), &outputs(2), false, at(3)).await.unwrap();
    assert_eq!(found(w.catalog.lookup(&key, None, at(3)).await.unwrap()), outputs(2));
}

#[tokio::test]
async fn large_outputs_are_objects_and_go_with_their_entry() {
    let w = world_with(|config| config.max_inline_size = config::Size::from_bytes(64)).await;
    let key = key("1", 1, 2);
    let large = map([("o", text(&"x".repeat(1000)))]);
    let source_1 = source("e1", "n0");
    w.catalog.put(&key, &source_1, &large, false, NOW).await.unwrap();
    assert_eq!((found(look(&w, &key).await), w.n_objects().await), (large.clone(), 1));
    // What loses against the entry that is there leaves nothing behind.
    w.catalog.put(&key, &source("e2", "n0"), &large, false, NOW).await.unwrap();
    assert_eq!(w.n_objects().await, 1);
    w.catalog.put(&key, &source("e3", "n0"), &outputs(3), true, NOW).await.unwrap();
    assert_eq!((found(look(&w, &key).await), w.n_objects().await), (outputs(3), 0));
}

#[tokio::test]
async fn lost_outputs_are_a_miss_and_not_an_error() {
    let w = world_with(|config| config.max_inline_size = config::Size::from_bytes(0)).await;
    let key = key("1", 1, 2);
    put(&w, &key, "e1", 1).await;
    let objects = w.dir().join("objects");
    std::fs::remove_dir_all(&objects).unwrap();
    let Lookup::Miss(why) = look(&w, &key).await else { panic!("a hit") };
    assert_eq!(why.cause, Cause::Lost);
    w.catalog.put(&key, &source("e2", "n0"), &outputs(2), why.should_overwrite(), NOW).await.unwrap();
    assert_eq!(found(look(&w, &key).await), outputs(2));
}

#[tokio::test]
async fn many_are_found_in_their_order() {
    let w = world().await;
    let source = source("e1", "n0");
    let keys: Vec<TaskKey> = (0..5_000).map(|x| key("1", x, 0)).collect();
    let values: Vec<LiteralMap> = (0..5_000).map(outputs).collect();
    let puts: Vec<Put<'_>> = keys
        .iter()
        .zip(&values)
        .filter(|(_, outputs)| **outputs != values[77])
        .map(|(key, outputs)| Put { key, source: &source, outputs, overwrite: false })
        .collect();
    w.catalog.put_many(&puts, NOW).await.unwrap();
    let lookups = w.catalog.lookup_many(&keys, None, NOW).await.unwrap();
    for (n, lookup) in lookups.into_iter().enumerate() {
        match lookup {
            Lookup::Hit(hit) => assert_eq!(hit.outputs, values[n]),
            Lookup::Miss(why) => assert_eq!((n, why.cause), (77, Cause::Differs)),
        }
    }
}

#[tokio::test]
async fn the_same_key_twice_in_a_batch_is_one_entry() {
    let w = world().await;
    let key = key("1", 1, 2);
    let (one, two) = (source("e1", "n0"), source("e1", "n1"));
    let (first, second) = (outputs(1), outputs(2));
    let put = |source, outputs, overwrite| Put { key: &key, source, outputs, overwrite };
    let stored =
        w.catalog.put_many(&[put(&one, &first, false), put(&two, &second, false)], NOW).await.unwrap();
    assert_eq!(stored[0], stored[1]);
    assert_eq!(found(look(&w, &key).await), first);
    w.catalog.put_many(&[put(&one, &first, true), put(&two, &second, true)], NOW).await.unwrap();
    assert_eq!(found(look(&w, &key).await), second);
}

#[tokio::test]
async fn uses_are_kept_once_for_each_node() {
    let w = world().await;
    let stored = put(&w, &key("1", 1, 2), "e1", 7).await;
    let by = node_id("e2", "n5");
    for _ in 0..2 {
        w.catalog.used(&stored, &by, NOW).await.unwrap();
    }
    let execution = model::ExecutionId::new("project", "domain", "e2");
    let uses = w.store.catalog_uses_by(&execution, "n5").await.unwrap();
    assert_eq!(uses.len(), 1);
    assert_eq!(uses[0].artifact_id, stored.artifact_tag.unwrap().artifact_id);
}
