//! Measures list calls on a database with a million executions, through the API.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proto::flyteidl::admin::{NamedEntityIdentifier, ResourceListRequest, Sort, sort};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::Scope;
use super::api::Api;
use super::flow::{self, DOMAIN, PROJECT, Work};
use super::report::{Report, Sample, Target, Unit};

/// Executions in the database.
const N: usize = 1_000_000;
/// Calls of each kind in a round.
const CALLS: usize = 40;
/// Most that one page may take, at the 99th percentile, in seconds.
const LIMIT: f64 = 0.020;

/// A list as a client asks for it.
struct Question {
    what: &'static str,
    filters: &'static str,
    key: &'static str,
    ascending: bool,
    token: &'static str,
}

const QUESTIONS: [Question; 7] = [
    Question { what: "the latest", filters: "", key: "created_at", ascending: false, token: "" },
    Question { what: "the 100th page", filters: "", key: "created_at", ascending: false, token: "10000" },
    Question {
        what: "the latest that failed",
        filters: "eq(phase,FAILED)",
        key: "created_at",
        ascending: false,
        token: "",
    },
    Question {
        what: "those that run",
        filters: "value_in(phase,QUEUED;RUNNING)",
        key: "created_at",
        ascending: false,
        token: "",
    },
    Question {
        what: "the latest of a workflow",
        filters: "eq(workflow.name,bench.listed)",
        key: "created_at",
        ascending: false,
        token: "",
    },
    Question { what: "the longest", filters: "", key: "duration", ascending: false, token: "" },
    Question {
        what: "one by name",
        filters: "eq(execution_name,b0000000000000500000)",
        key: "created_at",
        ascending: true,
        token: "",
    },
];

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("lists", &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(flow::chain("bench.listed", Work::Echo, 1)).await?;
    api.run(&plan).await?;
    let (_, data) = server.stop();
    report.progress(&format!("filling the database with {N} executions"));
    fill(&data.join("pinion.db")).await?;
    let server = scope.server("lists", &[]);
    let mut api = Api::connect(&server).await?;
    for question in &QUESTIONS {
        let mut taken = Sample::new(Unit::Seconds);
        for round in 0..scope.rounds {
            report.progress(&format!("round {} of {}: {}", round + 1, scope.rounds, question.what));
            for _ in 0..CALLS {
                let (n_found, time) = api.list(request(question)).await?;
                ensure!(
                    n_found > 0 || question.filters.contains("RUNNING"),
                    "{} found nothing",
                    question.what
                );
                taken.push(Duration::as_secs_f64(&time));
            }
        }
        let p99 = Sample::of(Unit::Seconds, [taken.quantile(0.99)]);
        let p50 = Sample::of(Unit::Seconds, [taken.median()]);
        let what = format!("list of {N} executions, {}: p99", question.what);
        report.figure("P14", what, p99, Some(Target::AtMost(LIMIT)));
        report.figure("P14", format!("list of {N} executions, {}: p50", question.what), p50, None);
    }
    gateway(scope, report, &server, &mut api).await
}

/// The same page over gRPC and over REST in both encodings, in turns.
async fn gateway(scope: &Scope, report: &mut Report, server: &tests::Server, api: &mut Api) -> Result<()> {
    let client = reqwest::Client::new();
    let path = format!("api/v1/executions/{PROJECT}/{DOMAIN}?limit=100&sort_by.key=created_at");
    let url = format!("http://127.0.0.1:{}/{path}", server.port);
    let encodings = ["application/octet-stream", "application/json"];
    let [mut grpc, mut binary, mut json] = [0; 3].map(|_| Sample::new(Unit::Seconds));
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}: the latest over REST", round + 1, scope.rounds));
        for _ in 0..CALLS {
            let (_, time) = api.list(request(&QUESTIONS[0])).await?;
            grpc.push(time.as_secs_f64());
            for (encoding, taken) in encodings.iter().zip([&mut binary, &mut json]) {
                let start = Instant::now();
                let reply = client.get(&url).header("accept", *encoding).send().await?.error_for_status()?;
                ensure!(!reply.bytes().await?.is_empty(), "REST answered nothing");
                taken.push(start.elapsed().as_secs_f64());
            }
        }
    }
    for (what, taken) in [("binary", binary), ("JSON", json)] {
        let ratio = Sample::of(Unit::Times, [taken.median() / grpc.median()]);
        let p50 = Sample::of(Unit::Seconds, [taken.median()]);
        report.figure("P14", format!("a page of 100 executions over REST, {what}: p50"), p50, None);
        report.figure("P14", format!("a page of 100 executions, REST {what} against gRPC"), ratio, None);
    }
    Ok(())
}

fn request(question: &Question) -> ResourceListRequest {
    let direction = if question.ascending { sort::Direction::Ascending } else { sort::Direction::Descending };
    ResourceListRequest {
        id: Some(NamedEntityIdentifier {
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            ..NamedEntityIdentifier::default()
        }),
        limit: 100,
        token: question.token.to_owned(),
        filters: question.filters.to_owned(),
        sort_by: Some(Sort { key: question.key.to_owned(), direction: direction.into() }),
    }
}

/// Copies the one execution there is, with names, times, durations and phases of their own.
async fn fill(database: &Path) -> Result<()> {
    let mut conn = SqliteConnectOptions::new()
        .filename(database)
        .pragma("synchronous", "off")
        .pragma("cache_size", "-400000")
        .disable_statement_logging()
        .connect()
        .await
        .context("cannot open the server's database")?;
    let columns = columns(&mut conn).await?;
    let values: Vec<&str> = columns
        .iter()
        .map(|column| match column.as_str() {
            "name" => "printf('b%019d', n)",
            "created_at" | "updated_at" | "started_at" => "e.created_at - n * 1000",
            "duration" => "(n * 7919) % 3600000000",
            "phase" => "case when n % 50 = 0 then 6 when n % 333 = 0 then 7 else 4 end",
            other => other,
        })
        .collect();
    let statement = format!(
        "with recursive s(n) as (select 1 union all select n + 1 from s where n < ?1)
         insert into execution ({}) select {} from s, (select * from execution limit 1) e",
        columns.join(", "),
        values.join(", "),
    );
    sqlx::query(sqlx::AssertSqlSafe(statement)).bind(i64::try_from(N)?).execute(&mut conn).await?;
    sqlx::query("analyze").execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}

/// All columns of an execution but its key.
async fn columns(conn: &mut SqliteConnection) -> Result<Vec<String>> {
    let rows = sqlx::query("select name from pragma_table_info('execution')").fetch_all(conn).await?;
    let names = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().filter(|name| name != "id").collect())
}
