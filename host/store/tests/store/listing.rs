//! Every list accepts every column it promises, in filters and as sort key, and refuses everything else.

use std::time::Duration;

use model::EntityKind;
use store::{Batch, Error, ExecutionKey, Filter, FilterFunction, ListQuery, Scope, Sort, Store};

use crate::sample::{self, HOSTILE, NOW};
use crate::world::on_each;

/// A list request, with the entities its filters may name and the columns client-api section 3 promises.
#[derive(Clone, Copy, Debug)]
struct List {
    name: &'static str,
    columns: &'static str,
    joined: &'static [&'static str],
}

const LISTS: [List; 8] = [
    List { name: "projects", columns: "identifier name description state created_at", joined: &[] },
    List {
        name: "tasks",
        columns: "id created_at updated_at project domain name version type digest short_description",
        joined: &[],
    },
    List {
        name: "workflows",
        columns: "id created_at updated_at project domain name version short_description",
        joined: &[],
    },
    List {
        name: "launch_plans",
        columns: "id created_at updated_at project domain name version workflow_id state schedule_type \
                  launch_condition_type",
        joined: &["workflow"],
    },
    List {
        name: "executions",
        columns: "execution_project execution_domain execution_name project domain name phase started_at \
                  execution_created_at execution_updated_at created_at updated_at duration abort_cause mode \
                  cluster error_kind error_code user state launch_entity launch_plan_id workflow_id task_id \
                  source_execution_id parent_node_execution_id",
        joined: &["launch_plan", "workflow", "task", "admin_tag", "execution_tag"],
    },
    List {
        name: "node_executions",
        columns: "node_id phase started_at node_execution_created_at node_execution_updated_at created_at \
                  duration error_kind error_code cache_status parent_id input_uri",
        joined: &["execution"],
    },
    List {
        name: "task_executions",
        columns: "project domain name version node_id retry_attempt phase phase_version started_at",
        joined: &["task", "execution", "node_execution"],
    },
    List {
        name: "named_entities",
        columns: "resource_type project domain name description state",
        joined: &["named_entity_metadata", "entities"],
    },
];

/// Stores one of everything and returns the execution.
async fn fill(store: &Store) -> ExecutionKey {
    store.project_insert(&sample::project("p")).await.unwrap();
    store.entity_insert(&sample::task("t", "v2"), None).await.unwrap();
    store.entity_insert(&sample::workflow("wf", "v1"), None).await.unwrap();
    store.launch_plan_insert(&sample::launch_plan("lp", "v1", 1)).await.unwrap();
    let mut row = sample::full_execution("x");
    (row.live, row.state) = (true, 0);
    let key = store.execution_insert(&row).await.unwrap();
    let lease = store.lease_acquire("h", Duration::from_secs(9), NOW).await.unwrap();
    let batch = Batch {
        nodes: vec![sample::node(key, "n0")],
        tasks: vec![sample::attempt(key, "n0", 1)],
        ..Batch::default()
    };
    store.commit(&lease, &batch).await.unwrap();
    key
}

/// Runs a list and returns how many rows it has.
async fn count(store: &Store, list: List, key: ExecutionKey, query: &ListQuery) -> Result<usize, Error> {
    let scope = Scope::default();
    Ok(match list.name {
        "projects" => store.project_list(query).await?.len(),
        "tasks" => store.entity_list(EntityKind::Task, &scope, query).await?.len(),
        "workflows" => store.entity_list(EntityKind::Workflow, &scope, query).await?.len(),
        "launch_plans" => store.launch_plan_list(&scope, false, query).await?.len(),
        "executions" => store.execution_list("p", "d", query).await?.len(),
        "node_executions" => store.node_execution_list(key, "", query).await?.len(),
        "task_executions" => store.task_execution_list(key, "n0", query).await?.len(),
        _ => {
            let names = store.entity_names(EntityKind::Workflow, &scope, query).await?;
            let rows = store.named_entity_list(2, &scope, query).await?;
            assert_eq!(names.len(), rows.len());
            rows.len()
        }
    })
}

fn query(entity: Option<&str>, field: &str, function: FilterFunction, values: &[&str]) -> ListQuery {
    let filter = Filter {
        entity: entity.map(str::to_owned),
        field: field.to_owned(),
        function,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    ListQuery { filters: vec![filter], limit: 10, ..ListQuery::default() }
}

/// The columns or entities that the refusal of an unknown one lists.
async fn allowed(store: &Store, list: List, key: ExecutionKey, entity: Option<&str>) -> Vec<String> {
    let refused = count(store, list, key, &query(entity, "no_such", FilterFunction::Eq, &["1"])).await;
    let Err(Error::InvalidFilter { reason, .. }) = refused else { panic!("{list:?}: {refused:?}") };
    let (_, names) = reason.split_once("allowed are ").expect("lists what is allowed");
    names.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn promised_columns_filter_and_sort() {
    on_each(|w| async move {
        let key = fill(&w.store).await;
        for list in LISTS {
            let known = allowed(&w.store, list, key, None).await;
            for column in list.columns.split_whitespace() {
                assert!(known.iter().any(|name| name == column), "{} lacks {column}", list.name);
                for ascending in [true, false] {
                    let sort = Some(Sort { column: column.to_owned(), ascending });
                    let query = ListQuery { sort, limit: 10, ..ListQuery::default() };
                    assert_eq!(count(&w.store, list, key, &query).await.unwrap(), 1, "{list:?} {column}");
                }
            }
            for entity in list.joined {
                assert!(!allowed(&w.store, list, key, Some(entity)).await.is_empty());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_column_takes_every_function_or_says_why_not() {
    const VALUES: [&str; 7] =
        ["1", "2023-11-14T22:13:20.123456Z", "ab", "RUNNING", "ACTIVE", "NAMED_ENTITY_ACTIVE", "WORKFLOW"];
    on_each(|w| async move {
        let key = fill(&w.store).await;
        for list in LISTS {
            for entity in list.joined.iter().copied().map(Some).chain([None]) {
                for field in allowed(&w.store, list, key, entity).await {
                    for function in FilterFunction::ALL {
                        let mut n_accepted = 0;
                        for value in VALUES.into_iter().chain(HOSTILE) {
                            match count(&w.store, list, key, &query(entity, &field, function, &[value])).await
                            {
                                Ok(_) => n_accepted += 1,
                                Err(Error::InvalidFilter { reason, .. }) => assert!(!reason.is_empty()),
                                Err(error) => {
                                    panic!("{} {entity:?}.{field} {function:?} {value}: {error:?}", list.name)
                                }
                            }
                        }
                        let textual = matches!(function, FilterFunction::Contains | FilterFunction::NotLike);
                        assert!(n_accepted > 0 || textual, "{} {entity:?}.{field} {function:?}", list.name);
                    }
                }
            }
        }
        // Nothing was harmed.
        assert!(w.store.execution_get_by_key(key).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn unknown_and_hostile_names_are_refused() {
    on_each(|w| async move {
        let key = fill(&w.store).await;
        for list in LISTS {
            for name in
                HOSTILE.into_iter().chain(["", "id; drop table execution", "e.id", "rowid", "Phase", "*"])
            {
                for entity in [None, Some("project_acl"), Some(name)] {
                    let refused =
                        count(&w.store, list, key, &query(entity, name, FilterFunction::Eq, &["1"])).await;
                    assert!(
                        matches!(refused, Err(Error::InvalidFilter { .. })),
                        "{list:?} {entity:?} {name}"
                    );
                }
                let sort = Some(Sort { column: name.to_owned(), ascending: true });
                let refused = count(&w.store, list, key, &ListQuery { sort, ..ListQuery::default() }).await;
                assert!(matches!(refused, Err(Error::InvalidSort { .. })), "{list:?} {name}");
            }
        }
        assert!(w.store.execution_get_by_key(key).await.unwrap().is_some());
        let foreign = query(Some("execution"), "name", FilterFunction::Eq, &["x"]);
        assert!(matches!(
            w.store.project_list(&foreign).await,
            Err(Error::InvalidFilter { field, .. }) if field == "execution.name"
        ));
    })
    .await;
}

#[tokio::test]
async fn numbers_of_values_and_filters_are_bounded() {
    on_each(|w| async move {
        let key = fill(&w.store).await;
        let list = LISTS[4];
        let many: Vec<String> = (0..501).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (function, values) in [
            (FilterFunction::Eq, &many[..0]),
            (FilterFunction::Eq, &many[..2]),
            (FilterFunction::Contains, &many[..2]),
            (FilterFunction::ValueIn, &many[..0]),
            (FilterFunction::ValueIn, &many[..]),
        ] {
            let refused = count(&w.store, list, key, &query(None, "name", function, values)).await;
            assert!(matches!(refused, Err(Error::InvalidFilter { .. })), "{function:?} {}", values.len());
        }
        let most = query(None, "name", FilterFunction::ValueIn, &many[..500]);
        assert_eq!(count(&w.store, list, key, &most).await.unwrap(), 0);
        let mut query = query(None, "name", FilterFunction::ValueIn, &["x", "y"]);
        query.filters = vec![query.filters[0].clone(); 50];
        assert_eq!(count(&w.store, list, key, &query).await.unwrap(), 1);
        query.filters.push(query.filters[0].clone());
        assert!(matches!(count(&w.store, list, key, &query).await, Err(Error::InvalidFilter { .. })));
    })
    .await;
}

#[tokio::test]
async fn registry_lists_part_by_scope() {
    on_each(|w| async move {
        let mut elsewhere = sample::task("t", "v1");
        elsewhere.id.project = "q".to_owned();
        for row in [sample::task("t", "v1"), sample::task("t", "v2"), sample::task("u", "v1"), elsewhere] {
            w.store.entity_insert(&row, None).await.unwrap();
        }
        let scope = |project: &str, domain: &str, name: Option<&str>| Scope {
            project: project.to_owned(),
            domain: domain.to_owned(),
            name: name.map(str::to_owned),
        };
        for (scope, want) in [
            (scope("", "", None), 4),
            (scope("p", "d", None), 3),
            (scope("p", "d", Some("t")), 2),
            (scope("p", "x", None), 0),
            (scope("q", "d", Some("")), 1),
        ] {
            let rows = w.store.entity_list(EntityKind::Task, &scope, &ListQuery::default()).await.unwrap();
            assert_eq!(rows.len(), want, "{scope:?}");
        }
    })
    .await;
}
