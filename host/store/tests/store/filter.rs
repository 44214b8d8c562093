//! Filters mean what the client API says they mean.

use std::time::Duration;

use store::{Batch, ExecutionKey, Filter, FilterFunction, ListQuery, Scope, Store};

use crate::sample::{self, NOW};
use crate::world::on_each;

fn filters(parts: &[(&str, FilterFunction, &[&str])]) -> ListQuery {
    let filters = parts.iter().map(|(field, function, values)| {
        let (entity, field) = match field.split_once('.') {
            Some((entity, field)) => (Some(entity.to_owned()), field),
            None => (None, *field),
        };
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Filter { entity, field: field.to_owned(), function: *function, values }
    });
    ListQuery { filters: filters.collect(), ..ListQuery::default() }
}

/// Field, function, values.
type Part = (&'static str, FilterFunction, &'static [&'static str]);

async fn names(store: &Store, parts: &[Part]) -> String {
    let rows = store.execution_list("p", "d", &filters(parts)).await.unwrap();
    let mut names: Vec<&str> = rows.iter().map(|row| &*row.id.name).collect();
    names.sort_unstable();
    names.join(" ")
}

use FilterFunction::{Contains, Eq, Gt, Gte, Lt, Lte, Ne, NotLike, ValueIn, ValueNotIn};

/// Executions a to d that differ in everything.
async fn fill(store: &Store) {
    store.launch_plan_insert(&sample::launch_plan("lp", "v1", 1)).await.unwrap();
    store.entity_insert(&sample::workflow("wf", "v1"), None).await.unwrap();
    for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let mut row = sample::execution(name);
        let at = NOW.plus(n as i64 * 1_000_000);
        row.phase = [1, 2, 4, 6][n];
        row.created_at = at;
        row.started_at = (n > 0).then_some(at.plus(500));
        row.duration = [None, None, Some(90_000_000), Some(1_500_000)][n];
        row.principal = ["", "Ann", "ann", "a%n"][n].to_owned();
        row.error_code = ["", "", "", "100%_\\[x]*"][n].to_owned();
        row.spec = match n {
            0 => sample::spec(&[("env", "prod"), ("team", "x")], &[]),
            1 => sample::spec(&[("env", "test")], &["nightly"]),
            2 => sample::spec(&[("team", "prod")], &["env"]),
            _ => sample::spec(&[], &[]),
        };
        if n == 3 {
            row.launch_plan = None;
            row.task = Some(sample::id(model::EntityKind::Task, "t", "v1"));
            row.workflow.name = "other".to_owned();
            row.source = Some(sample::execution("a").id);
            row.parent_node = Some((ExecutionKey(5), "n0".to_owned()));
        }
        store.execution_insert(&row).await.unwrap();
    }
}

#[tokio::test]
async fn values_are_read_by_the_kind_of_their_column() {
    on_each(|w| async move {
        fill(&w.store).await;
        let cases: &[(&'static str, FilterFunction, &'static [&'static str], &str)] = &[
            ("phase", Eq, &["RUNNING"], "b"),
            ("phase", Eq, &["2"], "b"),
            ("phase", Ne, &["SUCCEEDED"], "a b d"),
            ("phase", ValueIn, &["SUCCEEDED", "FAILED"], "c d"),
            ("phase", ValueNotIn, &["SUCCEEDED", "6"], "a b"),
            ("phase", Contains, &["U"], "a b c"),
            ("phase", NotLike, &["%ED"], "b"),
            ("phase", Gt, &["QUEUED"], "b c"),
            ("phase", Lte, &["2"], "a b"),
            ("created_at", Eq, &["2023-11-14T22:13:20.123456Z"], "a"),
            ("created_at", Gt, &["2023-11-14T22:13:20.123456Z"], "b c d"),
            ("execution_created_at", Gte, &["2023-11-14T23:13:21.123456789+01:00"], "b c d"),
            ("created_at", Lt, &["2023-11-14T22:13:22Z"], "a b"),
            ("started_at", Lte, &["2023-11-14T22:13:22.123956Z"], "b c"),
            ("duration", Gte, &["90"], "c"),
            ("duration", Eq, &["1m30s"], "c"),
            ("duration", Lt, &["1.6"], "d"),
            ("duration", Lt, &["1h"], "c d"),
            ("name", Eq, &["a"], "a"),
            ("execution_name", ValueIn, &["a", "c", "zz"], "a c"),
            ("name", Gte, &["b"], "b c d"),
            ("execution.name", Ne, &["b"], "a c d"),
            ("user", Eq, &["ann"], "c"),
            ("user", Contains, &["nn"], "b c"),
            ("user", Contains, &["%"], "d"),
            ("user", NotLike, &["a%"], "a b"),
            ("user", NotLike, &["a\\%n"], "a b c"),
            ("user", NotLike, &["_nn"], "a d"),
            ("error_code", Contains, &["%_\\[x]*"], "d"),
            ("error_code", NotLike, &["100\\%\\_\\\\[x]*"], "a b c"),
            ("launch_entity", Eq, &["task"], "d"),
            ("launch_entity", Eq, &["launch_plan"], "a b c"),
            ("parent_node_execution_id", Eq, &["5"], "d"),
            ("source_execution_id", Gt, &["0"], "d"),
            ("workflow_id", Gt, &["0"], "a b c"),
            ("launch_plan_id", Gt, &["0"], "a b c"),
        ];
        for (field, function, values, want) in cases {
            assert_eq!(
                names(&w.store, &[(field, *function, values)]).await,
                *want,
                "{field} {function:?} {values:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn joined_entities_filter_executions() {
    on_each(|w| async move {
        fill(&w.store).await;
        let cases: &[(&[Part], &str)] = &[
            (&[("launch_plan.name", Eq, &["lp"])], "a b c"),
            (&[("launch_plan.name", Ne, &["lp"])], ""),
            (&[("launch_plan.version", Eq, &["v1"]), ("launch_plan.state", Eq, &["ACTIVE"])], "a b c"),
            (&[("launch_plan.schedule_type", Eq, &["NONE"])], ""),
            (&[("launch_plan.created_at", Lte, &["2023-11-14T22:13:20.123456Z"])], "a b c"),
            (&[("workflow.name", ValueIn, &["other", "x"])], "d"),
            (&[("workflow.short_description", Eq, &["does it"])], "a b c"),
            (&[("task.name", Eq, &["t"])], "d"),
            (&[("task.type", Eq, &["python-task"])], ""),
            (&[("execution_tag.key", Eq, &["env"])], "a b c"),
            (&[("execution_tag.value", Eq, &["prod"])], "a c"),
            (&[("execution_tag.key", Eq, &["env"]), ("execution_tag.value", Eq, &["prod"])], "a"),
            (&[("execution_tag.key", Eq, &["env"]), ("execution_tag.key", Eq, &["team"])], ""),
            (&[("admin_tag.name", Eq, &["nightly"])], "b"),
            (&[("admin_tag.name", ValueIn, &["nightly", "env", "team"])], "a b c"),
            (
                &[
                    ("execution_tag.key", Eq, &["env"]),
                    ("phase", Eq, &["QUEUED"]),
                    ("workflow.name", Eq, &["wf"]),
                ],
                "a",
            ),
            (&[("execution_tag.execution_name", Eq, &["a"])], "a"),
        ];
        for (parts, want) in cases {
            assert_eq!(names(&w.store, parts).await, *want, "{parts:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_and_attempts_filter_on_what_they_carry() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::full_execution("x")).await.unwrap();
        let lease = w.store.lease_acquire("h", Duration::from_secs(9), NOW).await.unwrap();
        let mut other = sample::node(key, "n1");
        (other.error, other.extra, other.phase) = (Vec::new(), Vec::new(), 2);
        let mut second = sample::attempt(key, "n0", 1);
        second.phase = 5;
        let batch = Batch {
            nodes: vec![sample::node(key, "n0"), other],
            tasks: vec![sample::attempt(key, "n0", 0), second],
            ..Batch::default()
        };
        w.store.commit(&lease, &batch).await.unwrap();
        let node_cases: &[(&str, FilterFunction, &str, &str)] = &[
            ("error_kind", Eq, "USER", "n0"),
            ("error_code", Contains, "ad", "n0"),
            ("cache_status", Eq, "CACHE_HIT", "n0"),
            ("cache_status", Ne, "CACHE_HIT", "n1"),
            ("phase", Eq, "SUCCEEDED", "n0"),
            ("phase", Eq, "RUNNING", "n1"),
            ("execution.phase", Eq, "FAILED", "n1 n0"),
            ("execution.phase", Eq, "SUCCEEDED", ""),
            ("node_execution.node_id", Gt, "n0", "n1"),
        ];
        for (field, function, value, want) in node_cases {
            let query = filters(&[(field, *function, &[*value])]);
            let rows = w.store.node_execution_list(key, "", &query).await.unwrap();
            let got: Vec<&str> = rows.iter().map(|row| row.node_id.as_str()).collect();
            assert_eq!(got.join(" "), *want, "{field} {value}");
        }
        let task_cases: &[(&str, FilterFunction, &str, &[i32])] = &[
            ("retry_attempt", Gte, "1", &[1]),
            ("phase", Eq, "FAILED", &[1]),
            ("phase", Eq, "ABORTED", &[]),
            ("phase", ValueIn, "RUNNING", &[0]),
            ("task.name", Eq, "t", &[1, 0]),
            ("name", Ne, "t", &[]),
            ("node_execution.phase", Eq, "SUCCEEDED", &[1, 0]),
            ("execution.user", Eq, "ann", &[1, 0]),
        ];
        for (field, function, value, want) in task_cases {
            let query = filters(&[(field, *function, &[*value])]);
            let rows = w.store.task_execution_list(key, "n0", &query).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.attempt).collect::<Vec<_>>(), *want, "{field} {value}");
        }
    })
    .await;
}

#[tokio::test]
async fn launch_plans_and_digests_filter() {
    on_each(|w| async move {
        fill(&w.store).await;
        let mut cron = sample::launch_plan("nightly", "v1", 0);
        cron.workflow.name = "wf".to_owned();
        w.store.launch_plan_insert(&cron).await.unwrap();
        for (field, value, want) in [
            ("state", "ACTIVE", "lp"),
            ("state", "0", "nightly"),
            ("workflow.name", "wf", "nightly"),
            ("workflow.type", "", "nightly"),
            ("digest", &"09".repeat(32), "nightly lp"),
            ("schedule_type", "NONE", ""),
            ("launch_condition_type", "SCHED", "nightly lp"),
        ] {
            let query = filters(&[(field, Eq, &[value])]);
            let rows = w.store.launch_plan_list(&Scope::default(), false, &query).await.unwrap();
            let names: Vec<&str> = rows.iter().map(|row| row.id.name.as_str()).collect();
            assert_eq!(names.join(" "), want, "{field} {value}");
        }
    })
    .await;
}
