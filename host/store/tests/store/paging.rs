//! Pages are stable and complete: whatever the filters and the order, they are what a model computes.

use std::cmp::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use store::{Batch, Error, ExecutionRow, Filter, FilterFunction, ListQuery, Sort, Store};

use crate::sample::{self, NOW};
use crate::world::on_each;

const N_ROWS: usize = 90;
const PHASES: [&str; 5] = ["UNDEFINED", "QUEUED", "RUNNING", "SUCCEEDING", "SUCCEEDED"];
const USERS: [&str; 5] = ["", "ann", "Ann", "a%n", "zoë_1"];

/// A row, and the value of its one label, `team`: the model of the tags table.
type Model = (ExecutionRow, &'static str);

fn model() -> Vec<Model> {
    let mut seed = 7_u64;
    let mut pick = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    (0..N_ROWS)
        .map(|n| {
            let mut row = sample::execution(&format!("x{:02}", (n * 37) % N_ROWS));
            // Few distinct values, so that many rows are equal under each sort key.
            row.created_at = NOW.plus(pick(5) as i64);
            row.updated_at = NOW.plus(pick(20) as i64);
            row.started_at = (pick(3) > 0).then(|| NOW.plus(pick(4) as i64));
            row.duration = (pick(3) > 0).then(|| pick(4) as i64 * 1_000_000);
            row.phase = pick(5) as i32;
            row.mode = pick(3) as i32;
            row.principal = USERS[pick(5) as usize].to_owned();
            row.workflow.name = format!("wf{}", pick(3));
            row.launch_plan = (pick(4) > 0)
                .then(|| sample::id(model::EntityKind::LaunchPlan, &format!("lp{}", pick(2)), "v1"));
            row.state = i32::from(pick(5) == 0);
            let label = ["", "x", "y"][pick(3) as usize];
            if !label.is_empty() {
                row.spec = sample::spec(&[("team", label)], &[]);
            }
            (row, label)
        })
        .collect()
}

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Int(i64),
    Text(String),
}

impl Cell {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => panic!("columns do not mix"),
        }
    }
}

fn cell((row, label): &Model, field: &str) -> Option<Cell> {
    let text = |text: &str| Some(Cell::Text(text.to_owned()));
    match field {
        "name" => text(&row.id.name),
        "user" => text(&row.principal),
        "workflow.name" => text(&row.workflow.name),
        "launch_plan.name" => row.launch_plan.as_ref().and_then(|id| text(&id.name)),
        "execution_tag.key" => text("team").filter(|_| !label.is_empty()),
        "execution_tag.value" => text(label).filter(|_| !label.is_empty()),
        "created_at" => Some(Cell::Int(row.created_at.0)),
        "updated_at" => Some(Cell::Int(row.updated_at.0)),
        "started_at" => row.started_at.map(|t| Cell::Int(t.0)),
        "duration" => row.duration.map(Cell::Int),
        "phase" => Some(Cell::Int(row.phase.into())),
        "mode" => Some(Cell::Int(row.mode.into())),
        "state" => Some(Cell::Int(row.state.into())),
        _ => panic!("no column {field}"),
    }
}

/// A value as the client writes it, and as the column holds it.
fn value(field: &str, n: usize) -> (String, Cell) {
    let number = |n: i64| (n.to_string(), Cell::Int(n));
    let text = |text: String| (text.clone(), Cell::Text(text));
    match field {
        "name" => text(format!("x{:02}", n * 7 % N_ROWS)),
        "user" => text(USERS[n % 5].to_owned()),
        "workflow.name" => text(format!("wf{}", n % 4)),
        "launch_plan.name" => text(format!("lp{}", n % 3)),
        "execution_tag.key" => text(["team", "env"][n % 4 / 3].to_owned()),
        "execution_tag.value" => text(["x", "y", "z"][n % 3].to_owned()),
        "duration" => (format!("{}s", n % 4), Cell::Int((n % 4) as i64 * 1_000_000)),
        "phase" if n.is_multiple_of(2) => (PHASES[n % 5].to_owned(), Cell::Int((n % 5) as i64)),
        "phase" | "mode" => number((n % 5) as i64),
        "state" => number((n % 2) as i64),
        _ => {
            let micros = NOW.0 + (n % 6) as i64;
            let time = rfc_3339(micros);
            (time, Cell::Int(micros))
        }
    }
}

/// All sample times lie within one second.
fn rfc_3339(micros: i64) -> String {
    format!("2023-11-14T22:13:20.{:06}Z", micros % 1_000_000)
}

fn holds(model: &Model, filter: &Filter, cells: &[Cell]) -> bool {
    let field = match &filter.entity {
        Some(entity) => format!("{entity}.{}", filter.field),
        None => filter.field.clone(),
    };
    let Some(cell) = cell(model, &field) else { return false };
    let order = cell.order(&cells[0]);
    match filter.function {
        FilterFunction::Eq => order.is_eq(),
        FilterFunction::Ne => order.is_ne(),
        FilterFunction::Gt => order.is_gt(),
        FilterFunction::Gte => order.is_ge(),
        FilterFunction::Lt => order.is_lt(),
        FilterFunction::Lte => order.is_le(),
        FilterFunction::ValueIn => cells.contains(&cell),
        FilterFunction::ValueNotIn => !cells.contains(&cell),
        FilterFunction::Contains | FilterFunction::NotLike => match (&cell, &cells[0]) {
            (Cell::Text(text), Cell::Text(part)) => text.contains(part.as_str()),
            _ => panic!("not generated"),
        },
    }
}

fn expected(rows: &[Model], query: &ListQuery, cells: &[Vec<Cell>]) -> Vec<String> {
    let on_state = query.filters.iter().any(|filter| filter.field == "state");
    let mut kept: Vec<(usize, &Model)> = rows
        .iter()
        .enumerate()
        .filter(|(_, (row, _))| on_state || row.state == 0)
        .filter(|(_, model)| query.filters.iter().zip(cells).all(|(f, cells)| holds(model, f, cells)))
        .collect();
    let (column, ascending) = match &query.sort {
        Some(sort) => (sort.column.as_str(), sort.ascending),
        None => ("created_at", false),
    };
    kept.sort_by(|(n, a), (m, b)| {
        let by_column = match (cell(a, column), cell(b, column)) {
            (Some(a), Some(b)) => a.order(&b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        };
        let order = by_column.then(n.cmp(m));
        if ascending { order } else { order.reverse() }
    });
    kept.into_iter().map(|(_, (row, _))| row.id.name.to_string()).collect()
}

fn filter() -> impl Strategy<Value = (Filter, Vec<Cell>)> {
    let fields = prop::sample::select(vec![
        "name",
        "user",
        "workflow.name",
        "launch_plan.name",
        "execution_tag.key",
        "execution_tag.value",
        "created_at",
        "updated_at",
        "started_at",
        "duration",
        "phase",
        "mode",
        "state",
    ]);
    (fields, 0..12_usize, prop::collection::vec(0..90_usize, 1..4)).prop_map(|(field, function, picks)| {
        let textual = matches!(field, "name" | "user" | "workflow.name");
        let function = match [
            FilterFunction::Eq,
            FilterFunction::Ne,
            FilterFunction::Gt,
            FilterFunction::Gte,
            FilterFunction::Lt,
            FilterFunction::Lte,
            FilterFunction::ValueIn,
            FilterFunction::ValueNotIn,
            FilterFunction::Contains,
            // Those that choose the shape of the statement, more often.
            FilterFunction::Eq,
            FilterFunction::Eq,
            FilterFunction::ValueIn,
        ][function]
        {
            FilterFunction::Contains if !textual => FilterFunction::Eq,
            // Names of phases compare as text, numbers as numbers: that has its own test.
            FilterFunction::Gt | FilterFunction::Gte | FilterFunction::Lt | FilterFunction::Lte
                if field == "phase" =>
            {
                FilterFunction::Ne
            }
            function => function,
        };
        let several = matches!(function, FilterFunction::ValueIn | FilterFunction::ValueNotIn);
        let n_values = if several { picks.len() } else { 1 };
        let (values, cells) = picks.into_iter().take(n_values).map(|n| value(field, n)).unzip();
        let (entity, field) = match field.split_once('.') {
            Some((entity, field)) => (Some(entity.to_owned()), field),
            None => (None, field),
        };
        (Filter { entity, field: field.to_owned(), function, values }, cells)
    })
}

fn request() -> impl Strategy<Value = (ListQuery, Vec<Vec<Cell>>)> {
    let keys = vec!["created_at", "updated_at", "started_at", "duration", "phase", "name", "user", "mode"];
    let sort = prop::option::of((prop::sample::select(keys), any::<bool>()));
    (prop::collection::vec(filter(), 0..4), sort, 1..40_u32).prop_map(|(filters, sort, limit)| {
        let (filters, cells) = filters.into_iter().unzip();
        let sort = sort.map(|(column, ascending)| Sort { column: column.to_owned(), ascending });
        (ListQuery { filters, sort, limit, offset: 0 }, cells)
    })
}

/// Follows the tokens to the end, as a client does.
async fn all_pages(store: &Store, query: &ListQuery) -> Vec<String> {
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let offset = ListQuery::offset_of(&token).unwrap();
        let query = ListQuery { offset, ..query.clone() };
        let rows = store.execution_list("p", "d", &query).await.unwrap();
        names.extend(rows.iter().map(|row| row.id.name.to_string()));
        token = query.next_token(rows.len());
        if token.is_empty() {
            return names;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_what_a_model_computes() {
    on_each(|w| async move {
        let rows = model();
        for (row, _) in &rows {
            w.store.execution_insert(row).await.unwrap();
        }
        let store = w.store.clone();
        tokio::task::spawn_blocking(move || {
            let mut runner =
                TestRunner::new(Cases { cases: 400, failure_persistence: None, ..Cases::default() });
            let handle = tokio::runtime::Handle::current();
            let checked = runner.run(&request(), |(query, cells)| {
                let got = handle.block_on(all_pages(&store, &query));
                prop_assert_eq!(got, expected(&rows, &query, &cells));
                Ok(())
            });
            if let Err(failure) = checked {
                panic!("{failure}");
            }
        })
        .await
        .unwrap();
    })
    .await;
}

#[tokio::test]
async fn pages_of_nodes_are_complete() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::execution("x")).await.unwrap();
        let lease = w.store.lease_acquire("h", Duration::from_secs(9), NOW).await.unwrap();
        let nodes = (0..250).map(|n| sample::node(key, &format!("n{n:03}"))).collect();
        w.store.commit(&lease, &Batch { nodes, ..Batch::default() }).await.unwrap();
        for ascending in [true, false] {
            let sort = Some(Sort { column: "created_at".to_owned(), ascending });
            let mut seen = Vec::new();
            loop {
                let query = ListQuery {
                    sort: sort.clone(),
                    limit: 100,
                    offset: seen.len() as u64,
                    ..ListQuery::default()
                };
                let rows = w.store.node_execution_list(key, "", &query).await.unwrap();
                seen.extend(rows.iter().map(|row| row.node_id.clone()));
                if query.next_token(rows.len()).is_empty() {
                    break;
                }
            }
            let mut want: Vec<String> = (0..250).map(|n| format!("n{n:03}")).collect();
            if !ascending {
                want.reverse();
            }
            assert_eq!(seen, want);
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_are_offsets_and_nothing_else() {
    for (token, want) in
        [("", 0), ("0", 0), ("25", 25), ("0025", 25), ("9223372036854775807", i64::MAX as u64)]
    {
        assert_eq!(ListQuery::offset_of(token).unwrap(), want);
    }
    for bad in
        ["-1", "+1", "1.5", "abc", " 1", "1 ", "0x10", "9223372036854775808", "99999999999999999999", "'"]
    {
        assert!(matches!(ListQuery::offset_of(bad), Err(Error::InvalidToken { token }) if token == bad));
    }
    let query = ListQuery { limit: 10, offset: 20, ..ListQuery::default() };
    assert_eq!((query.next_token(10), query.next_token(9)), ("30".to_owned(), String::new()));
    assert_eq!(ListQuery::default().next_token(1_000), "");

    on_each(|w| async move {
        for name in ["a", "b", "c"] {
            w.store.execution_insert(&sample::execution(name)).await.unwrap();
        }
        for (limit, offset, want) in
            [(0, 0, 3), (0, 2, 1), (2, 2, 1), (5, 9, 0), (1, i64::MAX as u64, 0), (3, 0, 3)]
        {
            let query = ListQuery { limit, offset, ..ListQuery::default() };
            assert_eq!(
                w.store.execution_list("p", "d", &query).await.unwrap().len(),
                want,
                "{limit} {offset}"
            );
        }
        assert_eq!(w.store.execution_list("", "", &ListQuery::default()).await.unwrap().len(), 3);
        assert_eq!(w.store.execution_list("p", "other", &ListQuery::default()).await.unwrap().len(), 0);
    })
    .await;
}
