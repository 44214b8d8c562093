//! What engines outside report, and when everything was.

use store::{Batch, Report, Reported, Wake};

use crate::sample::{self, NOW};
use crate::world::on_each;

#[tokio::test]
async fn a_report_sees_how_things_stand_and_is_written_whole() {
    on_each(|w| async move {
        let mut row = sample::execution("outside");
        row.live = false;
        let key = w.store.execution_insert(&row).await.unwrap();
        let about = |node: Option<&str>| Reported {
            execution: row.id.clone(),
            node: node.map(str::to_owned),
            task: node.map(|_| (sample::attempt(key, "n0", 0).task, 0)),
        };
        let (node, task) = (sample::node(key, "n0"), sample::attempt(key, "n0", 0));
        let batch = Batch {
            executions: vec![sample::update(key, 2)],
            nodes: vec![node.clone()],
            tasks: vec![task.clone()],
            ..Batch::default()
        };
        let mut wakes = w.store.subscribe();
        let first = w.store.execution_report(about(Some("n0")), move |state| {
            assert_eq!((state.node, state.task), (None, None));
            Ok::<_, ()>(Report { batch, cluster: Some("east".to_owned()) })
        });
        assert_eq!(first.await.unwrap(), Some(Ok(())));
        assert_eq!(wakes.recv().await.unwrap(), Wake::Changed(key));
        let second = w.store.execution_report(about(Some("n0")), move |state| {
            assert_eq!((state.execution.cluster.as_str(), state.execution.phase), ("east", 2));
            assert_eq!((state.node, state.task), (Some(node), Some(task)));
            Err::<Report, _>("no")
        });
        assert_eq!(second.await.unwrap(), Some(Err("no")));
        let unknown = Reported { execution: sample::execution("unknown").id, node: None, task: None };
        let outcome = w.store.execution_report(unknown, |_| Ok::<_, ()>(Report::default()));
        assert_eq!(outcome.await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn concurrent_reports_come_one_after_the_other() {
    on_each(|w| async move {
        let mut row = sample::execution("outside");
        row.live = false;
        let key = w.store.execution_insert(&row).await.unwrap();
        let other = w.other_host().await;
        let reports = (0..30).map(|n| {
            let store = if n % 2 == 0 { w.store.clone() } else { other.clone() };
            let about = Reported { execution: row.id.clone(), node: Some("n0".to_owned()), task: None };
            tokio::spawn(async move {
                let report = store.execution_report(about, move |state| {
                    let mut node = state.node.unwrap_or_else(|| sample::node(key, "n0"));
                    node.attempt += 1;
                    Ok::<_, ()>(Report {
                        batch: Batch { nodes: vec![node], ..Batch::default() },
                        cluster: None,
                    })
                });
                report.await.unwrap().unwrap().unwrap();
            })
        });
        for done in futures::future::join_all(reports).await {
            done.unwrap();
        }
        let found = w.store.node_execution_get(key, "n0").await.unwrap().unwrap();
        assert_eq!(found.attempt, sample::node(key, "n0").attempt + 30);
    })
    .await;
}

#[tokio::test]
async fn times_are_read_for_many_nodes_at_once() {
    on_each(|w| async move {
        let key = w.store.execution_insert(&sample::execution("x")).await.unwrap();
        let lease = w.store.lease_acquire("h", std::time::Duration::from_secs(60), NOW).await.unwrap();
        let child = |parent: &str, n: usize| {
            let mut row = sample::node(key, &format!("{parent}-{n:05}"));
            row.parent_id = parent.to_owned();
            row
        };
        let mut nodes: Vec<_> = (0..9_000).map(|n| child("", n)).collect();
        nodes.extend((0..3).map(|n| child("a", n)));
        let tasks = vec![
            sample::attempt(key, "-00001", 1),
            sample::attempt(key, "-00001", 0),
            sample::attempt(key, "a-00000", 0),
        ];
        w.store.commit(&lease, &Batch { nodes, tasks, ..Batch::default() }).await.unwrap();
        let top = w.store.node_times(key, &[String::new()], usize::MAX).await.unwrap();
        assert_eq!(top.len(), 9_000);
        let both = [String::new(), "a".to_owned(), "b".to_owned()];
        assert_eq!(w.store.node_times(key, &both, usize::MAX).await.unwrap().len(), 9_003);
        let one = &w.store.node_times(key, &["a".to_owned()], 9).await.unwrap()[0];
        let want = sample::node(key, "x");
        assert_eq!((one.parent_id.as_str(), one.phase, one.flags), ("a", want.phase, want.flags));
        assert_eq!(
            (one.created_at, one.updated_at, one.started_at, one.duration),
            (want.created_at, want.updated_at, want.started_at, want.duration)
        );
        let ids: Vec<String> = top.iter().map(|row| row.node_id.clone()).collect();
        // Not one search of the whole execution for each of them: that would take longer than a statement may.
        let below = w.store.node_times(key, &ids, usize::MAX).await.unwrap();
        assert_eq!(below, []);
        let tasks = w.store.task_times(key, &ids).await.unwrap();
        let found: Vec<_> = tasks.iter().map(|row| (row.node_id.as_str(), row.attempt)).collect();
        assert_eq!(found, [("-00001", 0), ("-00001", 1)]);
        assert_eq!(tasks[0].task, sample::attempt(key, "x", 0).task);
    })
    .await;
}
