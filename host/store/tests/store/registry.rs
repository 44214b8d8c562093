//! Projects, tasks, workflows, launch plans and their names.

use model::EntityKind;
use store::{Error, Filter, FilterFunction, Inserted, ListQuery, NamedEntityRow, Scope, Sort, Store};

use crate::sample::{self, NOW};
use crate::world::on_each;

fn scope() -> Scope {
    Scope { project: "p".to_owned(), domain: "d".to_owned(), name: None }
}

#[tokio::test]
async fn projects_round_trip_and_list_by_id() {
    on_each(|w| async move {
        let mut row = sample::project("b");
        w.store.project_insert(&row).await.unwrap();
        w.store.project_insert(&sample::project("a")).await.unwrap();
        assert_eq!(w.store.project_get("b").await.unwrap().as_ref(), Some(&row));
        assert_eq!(w.store.project_get("c").await.unwrap(), None);
        assert!(matches!(w.store.project_insert(&row).await, Err(Error::Exists { id, .. }) if id == "b"));

        row.description = "new".to_owned();
        row.state = 0;
        row.labels = Vec::new();
        row.name = "N".to_owned();
        w.store.project_update(&row).await.unwrap();
        let listed = w.store.project_list(&ListQuery::default()).await.unwrap();
        assert_eq!(listed, [sample::project("a"), row.clone()]);
        row.id = "c".to_owned();
        assert!(matches!(w.store.project_update(&row).await, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn entities_round_trip_every_field() {
    on_each(|w| async move {
        let (task, workflow) = (sample::task("t", "v1"), sample::workflow("t", "v1"));
        assert_eq!(w.store.entity_insert(&task, Some(b"words")).await.unwrap(), Inserted::New);
        assert_eq!(w.store.entity_insert(&workflow, None).await.unwrap(), Inserted::New);
        let w2 = w.reopened().await;
        assert_eq!(w2.entity_get(&task.id).await.unwrap().as_ref(), Some(&task));
        assert_eq!(w2.entity_get(&workflow.id).await.unwrap().as_ref(), Some(&workflow));
        assert_eq!(w2.entity_description_get(&task.id).await.unwrap(), Some(b"words".to_vec()));
        assert_eq!(w2.entity_description_get(&workflow.id).await.unwrap(), None);
        let missing = sample::id(EntityKind::Task, "t", "v2");
        assert_eq!(w2.entity_get(&missing).await.unwrap(), None);
        let mut found = w2
            .entity_get_many(&[workflow.id.clone(), missing, task.id.clone(), task.id.clone()])
            .await
            .unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(found, [task, workflow]);
        assert_eq!(w2.entity_get_many(&[]).await.unwrap(), []);
        w2.close().await;
    })
    .await;
}

#[tokio::test]
async fn second_registration_is_judged_by_digest() {
    on_each(|w| async move {
        let row = sample::task("t", "v1");
        let mut other = row.clone();
        other.digest = vec![8; 32];
        assert_eq!(w.store.entity_insert(&row, None).await.unwrap(), Inserted::New);
        assert_eq!(w.store.entity_insert(&row, None).await.unwrap(), Inserted::Identical);
        assert_eq!(
            w.store.entity_insert(&other, None).await.unwrap(),
            Inserted::Different(Box::new(row.clone()))
        );
        assert_eq!(w.store.entity_get(&row.id).await.unwrap(), Some(row));

        let plan = sample::launch_plan("lp", "v1", 0);
        let mut other = plan.clone();
        other.digest = vec![1];
        other.state = 1;
        assert_eq!(w.store.launch_plan_insert(&plan).await.unwrap(), Inserted::New);
        assert_eq!(w.store.launch_plan_insert(&plan).await.unwrap(), Inserted::Identical);
        assert_eq!(
            w.store.launch_plan_insert(&other).await.unwrap(),
            Inserted::Different(Box::new(plan.clone()))
        );
        assert_eq!(w.store.launch_plan_get(&plan.id).await.unwrap(), Some(plan));
    })
    .await;
}

#[tokio::test]
async fn concurrent_registrations_agree_on_one_content() {
    on_each(|w| async move {
        let registrations = (0..20_u8).map(|n| {
            let store = w.store.clone();
            let mut row = sample::workflow("wf", "v1");
            row.digest = vec![n];
            async move { (n, store.entity_insert(&row, None).await.unwrap()) }
        });
        let outcomes = futures::future::join_all(registrations).await;
        let stored = w.store.entity_get(&sample::workflow("wf", "v1").id).await.unwrap().unwrap();
        for (n, outcome) in outcomes {
            match outcome {
                Inserted::New => assert_eq!(stored.digest, [n]),
                Inserted::Different(found) => assert_eq!(*found, stored),
                Inserted::Identical => panic!("{n} was sent once"),
            }
        }
    })
    .await;
}

async fn active(store: &Store, name: &str) -> Vec<String> {
    let scope = Scope { name: Some(name.to_owned()), ..scope() };
    let listed = store.launch_plan_list(&scope, true, &ListQuery::default()).await.unwrap();
    let fetched = store.launch_plan_fetch_active("p", "d", name).await.unwrap();
    assert_eq!(listed.first(), fetched.as_ref());
    listed.into_iter().map(|row| row.id.version).collect()
}

#[tokio::test]
async fn one_version_of_a_launch_plan_is_active() {
    on_each(|w| async move {
        let plan = |version| sample::launch_plan("lp", version, 0);
        for version in ["v1", "v2"] {
            w.store.launch_plan_insert(&plan(version)).await.unwrap();
        }
        w.store.launch_plan_insert(&sample::launch_plan("other", "v1", 1)).await.unwrap();
        assert!(active(&w.store, "lp").await.is_empty());
        let later = NOW.plus(100);
        w.store.launch_plan_set_state(&plan("v1").id, 1, later).await.unwrap();
        assert_eq!(active(&w.store, "lp").await, ["v1"]);
        w.store.launch_plan_set_state(&plan("v2").id, 1, later.plus(1)).await.unwrap();
        assert_eq!(active(&w.store, "lp").await, ["v2"]);
        let first = w.store.launch_plan_get(&plan("v1").id).await.unwrap().unwrap();
        assert_eq!((first.state, first.updated_at), (0, later.plus(1)));
        w.store.launch_plan_insert(&sample::launch_plan("lp", "v3", 1)).await.unwrap();
        assert_eq!(active(&w.store, "lp").await, ["v3"]);
        w.store.launch_plan_set_state(&plan("v3").id, 0, later).await.unwrap();
        assert!(active(&w.store, "lp").await.is_empty());
        assert_eq!(active(&w.store, "other").await, ["v1"]);
        let missing = w.store.launch_plan_set_state(&plan("v9").id, 1, later).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn concurrent_activations_leave_one_active() {
    on_each(|w| async move {
        let versions: Vec<String> = (0..12).map(|n| format!("v{n}")).collect();
        for version in &versions[..6] {
            w.store.launch_plan_insert(&sample::launch_plan("lp", version, 0)).await.unwrap();
        }
        let other = w.other_host().await;
        let activations = versions.iter().enumerate().map(|(n, version)| {
            let store = if n % 2 == 0 { &w.store } else { &other };
            let row = sample::launch_plan("lp", version, 1);
            async move {
                if n < 6 {
                    store.launch_plan_set_state(&row.id, 1, NOW).await.unwrap();
                } else {
                    assert_eq!(store.launch_plan_insert(&row).await.unwrap(), Inserted::New);
                }
            }
        });
        futures::future::join_all(activations).await;
        assert_eq!(active(&w.store, "lp").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn workflow_lists_leave_closures_out() {
    on_each(|w| async move {
        let (mut workflow, task) = (sample::workflow("x", "v1"), sample::task("x", "v1"));
        w.store.entity_insert(&workflow, None).await.unwrap();
        w.store.entity_insert(&task, None).await.unwrap();
        let query = ListQuery { limit: 10, ..ListQuery::default() };
        workflow.closure = Vec::new();
        assert_eq!(w.store.entity_list(EntityKind::Workflow, &scope(), &query).await.unwrap(), [workflow]);
        assert_eq!(w.store.entity_list(EntityKind::Task, &scope(), &query).await.unwrap(), [task]);
    })
    .await;
}

#[tokio::test]
async fn names_carry_metadata_and_hide_generated_ones() {
    on_each(|w| async move {
        for name in ["b", "a", ".flytegen.x"] {
            for version in ["v1", "v2"] {
                w.store.entity_insert(&sample::workflow(name, version), None).await.unwrap();
            }
        }
        w.store.launch_plan_insert(&sample::launch_plan("lp", "v1", 0)).await.unwrap();
        let named = |name: &str, description: &str, state| NamedEntityRow {
            resource_type: 2,
            project: "p".to_owned(),
            domain: "d".to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            state,
        };
        w.store.named_entity_upsert(&named("a", "first", 1)).await.unwrap();
        w.store.named_entity_upsert(&named("ghost", "not registered", 0)).await.unwrap();
        let all = ListQuery::default();
        let listed = w.store.named_entity_list(2, &scope(), &all).await.unwrap();
        assert_eq!(listed, [named("a", "first", 1), named("b", "", 0)]);
        let only_active = ListQuery {
            filters: vec![Filter {
                entity: Some("named_entity_metadata".to_owned()),
                field: "state".to_owned(),
                function: FilterFunction::Eq,
                values: vec!["0".to_owned()],
            }],
            sort: Some(Sort { column: "name".to_owned(), ascending: false }),
            ..ListQuery::default()
        };
        let listed = w.store.named_entity_list(2, &scope(), &only_active).await.unwrap();
        assert_eq!(listed, [named("b", "", 0), named(".flytegen.x", "", 0)]);

        assert_eq!(w.store.named_entity_get(2, "p", "d", "a").await.unwrap(), Some(named("a", "first", 1)));
        assert_eq!(w.store.named_entity_get(2, "p", "d", "ghost").await.unwrap(), None);
        // Metadata that came before the first version stays.
        w.store.entity_insert(&sample::workflow("ghost", "v1"), None).await.unwrap();
        let ghost = w.store.named_entity_get(2, "p", "d", "ghost").await.unwrap();
        assert_eq!(ghost, Some(named("ghost", "not registered", 0)));

        let names = w.store.entity_names(EntityKind::Workflow, &scope(), &all).await.unwrap();
        let names: Vec<&str> = names.iter().map(|(_, _, name)| name.as_str()).collect();
        assert_eq!(names, [".flytegen.x", "a", "b", "ghost"]);
        let plans = w.store.entity_names(EntityKind::LaunchPlan, &Scope::default(), &all).await.unwrap();
        assert_eq!(plans, [("p".to_owned(), "d".to_owned(), "lp".to_owned())]);
    })
    .await;
}
