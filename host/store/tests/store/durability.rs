//! What was committed is there after a restart or a kill, and nobody opens what is not theirs.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use model::ExecutionId;
use store::{Batch, Config, Error, ListQuery, Store};

use crate::sample::{self, NOW};
use crate::world::{meddle, on_each};

#[tokio::test]
async fn reopened_store_sees_everything() {
    on_each(|w| async move {
        w.store.project_insert(&sample::project("p")).await.unwrap();
        for n in 0..50 {
            w.store.execution_insert(&sample::execution(&format!("x{n}"))).await.unwrap();
        }
        let store = w.reopened().await;
        assert_eq!(store.execution_list("p", "d", &ListQuery::default()).await.unwrap().len(), 50);
        assert_eq!(store.project_get("p").await.unwrap(), Some(sample::project("p")));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn closed_store_refuses_and_does_not_hang() {
    on_each(|w| async move {
        let pending = w.store.clone();
        let row = sample::execution("x");
        let last = tokio::spawn(async move { pending.execution_insert(&row).await });
        tokio::task::yield_now().await;
        w.store.close().await;
        w.store.close().await;
        let last = last.await.unwrap();
        assert!(w.store.execution_insert(&sample::execution("y")).await.is_err());
        assert!(w.store.project_get("p").await.is_err());
        assert!(w.store.lease_acquire("h", Duration::from_secs(1), NOW).await.is_err());
        let store = Store::open(&w.config).await.unwrap();
        let found = store.execution_get(&sample::execution("x").id).await.unwrap();
        assert_eq!(found.is_some(), last.is_ok(), "an answer tells the truth");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn newer_schema_is_refused() {
    on_each(|w| async move {
        w.store.close().await;
        meddle(&w.config, "insert into pinion_schema (version) values (999)").await;
        let refused = Store::open(&w.config).await.map(drop);
        assert!(
            matches!(refused, Err(Error::NewerSchema { found: 999, known }) if known < 999),
            "{refused:?}"
        );
        meddle(&w.config, "delete from pinion_schema where version = 999").await;
        Store::open(&w.config).await.unwrap().close().await;
    })
    .await;
}

#[tokio::test]
async fn hosts_may_open_together_where_they_may_share() {
    on_each(|w| async move {
        let second = Store::open(&w.config).await;
        match w.dialect {
            "sqlite" => {
                let error = second.map(drop).unwrap_err();
                assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
            }
            _ => second.unwrap().close().await,
        }
        let opened =
            futures::future::join_all((0..4).map(|_| async { Store::open(&w.config).await.is_ok() })).await;
        assert!(opened.iter().all(|opened| *opened == (w.dialect == "postgres")));
    })
    .await;
}

#[tokio::test]
async fn unusable_urls_are_named_without_their_secrets() {
    for url in ["", "mysql://u:hunter2@h/d", "sqlite:", "sqlite::memory:", "postgres://u:hunter2@[/d"] {
        let config = Config { url: url.into(), ..Config::default() };
        let error = Store::open(&config).await.map(drop).unwrap_err();
        assert!(matches!(error, Error::InvalidUrl { .. }), "{url}: {error:?}");
        assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"));
    }
}

#[test]
fn settings_read_in_kebab_case_and_refuse_typos() {
    let json = r#"{"url": "sqlite:x.db", "synchronous": "normal", "max-connections": 3,
                   "read-connections": 2, "statement-timeout": "1m30s"}"#;
    let config: Config = serde_json::from_str(json).unwrap();
    assert_eq!(config.statement_timeout.as_secs(), 90);
    assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
    assert!(serde_json::from_str::<Config>(r#"{"max_connections": 3}"#).is_err());
}

const CHILD: &str = "PINION_TEST_WRITER_URL";

/// Not a claim of its own: the process that the next test kills.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let store = Store::open(&Config { url: url.into(), ..Config::default() }).await.unwrap();
    let lease = store.lease_acquire("child", Duration::from_secs(60), NOW).await.unwrap();
    println!("ready");
    let writers = (0..8).map(|writer| {
        let (store, lease) = (store.clone(), lease.clone());
        async move {
            for n in 0_u64.. {
                let name = format!("w{writer}-{n}");
                let key = store.execution_insert(&sample::execution(&name)).await.unwrap();
                let batch = Batch {
                    executions: vec![sample::update(key, 2)],
                    nodes: vec![sample::node(key, "n0")],
                    tasks: vec![sample::attempt(key, "n0", 0)],
                    ..Batch::default()
                };
                store.commit(&lease, &batch).await.unwrap();
                println!("done {name}");
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    on_each(|w| async move {
        w.store.close().await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["durability::writes_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, w.config.url.expose())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut done = Vec::new();
        while done.len() < 200 {
            let line = lines.next().expect("the child writes");
            if line.ends_with("ready") && w.dialect == "sqlite" {
                let refused = Store::open(&w.config).await.map(drop);
                assert!(matches!(refused, Err(Error::InUse { pid, .. }) if pid == child.id().to_string()));
            }
            done.extend(line.strip_prefix("done ").map(str::to_owned));
        }
        child.kill().unwrap();
        done.extend(lines.filter_map(|line| line.strip_prefix("done ").map(str::to_owned)));
        child.wait().unwrap();
        if w.dialect == "postgres" {
            // The server may still be busy with what the child sent last.
            meddle(
                &w.config,
                "do $$ begin
                     perform pg_terminate_backend(pid) from pg_stat_activity
                         where datname = current_database() and pid <> pg_backend_pid();
                     while exists (select from pg_stat_activity
                         where datname = current_database() and pid <> pg_backend_pid()) loop
                         perform pg_sleep(0.01), pg_stat_clear_snapshot();
                     end loop;
                 end $$",
            )
            .await;
        }

        let store = Store::open(&w.config).await.unwrap();
        for name in &done {
            let row = store.execution_get(&ExecutionId::new("p", "d", name)).await.unwrap().expect(name);
            let (nodes, tasks) = store.execution_load(row.key).await.unwrap();
            assert_eq!((row.phase, nodes.len(), tasks.len()), (2, 1, 1), "{name}");
        }
        // What was not acknowledged is there wholly or not at all.
        for row in store.execution_list("", "", &ListQuery::default()).await.unwrap() {
            let (nodes, tasks) = store.execution_load(row.key).await.unwrap();
            let n = usize::from(row.phase == 2);
            assert_eq!((nodes.len(), tasks.len()), (n, n), "{}", row.id);
        }
        store.close().await;
    })
    .await;
}
