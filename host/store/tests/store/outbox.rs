//! Events are written with the rows they tell about, and every reader gets every one of them in the order of commits.

use std::time::Duration;

use model::ExecutionId;
use prost::Message as _;
use proto::flyteidl::core::workflow_execution::Phase;
use proto::flyteidl::event::WorkflowExecutionEvent;
use proto::flyteidl::event::workflow_execution_event::OutputResult;
use sqlx::{Connection as _, Executor as _};
use store::{
    Batch, Error, EventKind, EventWish, ExecutionKey, OutboxCursor, OutboxLease, OutboxPage, OutboxRow,
    Store, Wake,
};

use crate::sample::{self, NOW};
use crate::world::{World, meddle, on_each};

const TTL: Duration = Duration::from_secs(10);

const ALL: EventWish =
    EventWish { workflows: true, nodes: true, tasks: true, ends: true, notified_ends: true };

fn event(key: ExecutionKey, name: &str, phase: Phase) -> OutboxRow {
    OutboxRow::of_workflow(key, &ExecutionId::new("p", "d", name), phase as i32, NOW, None)
}

fn node_event(key: ExecutionKey, n: i64) -> OutboxRow {
    OutboxRow { kind: EventKind::Node, id: format!("n{n}"), ..event(key, "x", Phase::Running) }
}

/// A page, once nothing of it is held back: other tests use the same server, and a transaction that has just ended
/// may count as running.
async fn read(store: &Store, after: OutboxCursor) -> OutboxPage {
    for _ in 0..200 {
        let page = store.outbox_read(after, 10_000).await.unwrap();
        if !page.held_back {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("rows are held back for ever");
}

async fn ids(store: &Store, after: OutboxCursor) -> Vec<String> {
    read(store, after).await.rows.into_iter().map(|(_, row)| row.id).collect()
}

async fn end(store: &Store) -> OutboxCursor {
    let page = read(store, OutboxCursor::default()).await;
    page.rows.last().map(|(cursor, _)| *cursor).unwrap_or_default()
}

async fn leader(w: &World) -> OutboxLease {
    w.store.outbox_lease_take("h", TTL, NOW).await.unwrap().unwrap()
}

#[tokio::test]
async fn events_come_whole_and_in_the_order_of_the_batch() {
    on_each(|w| async move {
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        let mut wakes = w.store.subscribe();
        let mut want = Vec::new();
        for commit in 0..5i64 {
            let events: Vec<OutboxRow> =
                (0..100).map(|n| node_event(ExecutionKey(n % 7), commit * 100 + n)).collect();
            want.extend(events.iter().cloned());
            w.store.commit(&lease, &Batch { events, ..Batch::default() }).await.unwrap();
            assert_eq!(wakes.recv().await.unwrap(), Wake::Events);
        }
        let page = read(&w.store, OutboxCursor::default()).await;
        let (cursors, rows): (Vec<_>, Vec<_>) = page.rows.into_iter().unzip();
        assert_eq!(rows, want);
        assert!(cursors.is_sorted() && cursors.windows(2).all(|pair| pair[0] != pair[1]));
        // Pages fit together.
        let tail = read(&w.store, cursors[249]).await;
        assert_eq!(tail.rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), want[250..]);
        assert_eq!(w.store.outbox_behind(cursors[249], 1_000).await.unwrap(), 250);
        assert_eq!(w.store.outbox_behind(cursors[249], 20).await.unwrap(), 20);
        assert_eq!(w.store.outbox_nth(cursors[249], 10).await.unwrap(), Some(cursors[259]));
        assert_eq!(w.store.outbox_nth(cursors[249], 251).await.unwrap(), None);
        // A restart keeps them.
        let store = w.reopened().await;
        assert_eq!(ids(&store, OutboxCursor::default()).await.len(), 500);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_batch_leaves_no_event() {
    on_each(|w| async move {
        let old = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        let batch = Batch { events: vec![node_event(ExecutionKey(1), 1)], ..Batch::default() };
        assert!(matches!(w.store.commit(&old, &batch).await, Err(Error::Fenced { .. })));
        assert_eq!(ids(&w.store, OutboxCursor::default()).await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn launches_and_aborts_are_told_when_somebody_asks() {
    on_each(|w| async move {
        // Nobody asks.
        w.store.execution_insert(&sample::execution("silent")).await.unwrap();
        w.store
            .execution_request_abort(&ExecutionId::new("p", "d", "silent"), "c", "ann", NOW)
            .await
            .unwrap();
        assert_eq!(ids(&w.store, OutboxCursor::default()).await, [""; 0]);

        w.store.want_events(ALL);
        assert_eq!(w.store.events_wanted(), ALL);
        let row = sample::execution("x");
        let key = w.store.execution_insert(&row).await.unwrap();
        for _ in 0..2 {
            w.store.execution_request_abort(&row.id, "too dear", "ann", NOW.plus(9)).await.unwrap();
        }
        let page = read(&w.store, OutboxCursor::default()).await;
        let told: Vec<(ExecutionKey, i32)> =
            page.rows.iter().map(|(_, row)| (row.execution, row.phase)).collect();
        assert_eq!(told, [(key, Phase::Queued as i32), (key, Phase::Aborting as i32)]);
        let message = WorkflowExecutionEvent::decode(page.rows[1].1.message.as_slice()).unwrap();
        assert_eq!(message.execution_id, Some(row.id.to_proto()));
        let Some(OutputResult::Error(error)) = message.output_result else { panic!("the cause is missing") };
        assert_eq!(error.message, "too dear");
    })
    .await;
}

#[tokio::test]
async fn a_phase_that_never_showed_is_not_told() {
    on_each(|w| async move {
        w.store.want_events(ALL);
        let row = sample::execution("x");
        let key = w.store.execution_insert(&row).await.unwrap();
        let lease = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        w.store.executions_claim(&lease, 1, NOW).await.unwrap();
        w.store.execution_request_abort(&row.id, "c", "ann", NOW).await.unwrap();
        // The engine did not know yet.
        for phase in [Phase::Running, Phase::Failing, Phase::Aborted] {
            let events = vec![event(key, "x", phase), node_event(key, i64::from(phase as i32))];
            let executions = vec![sample::update(key, phase as i32)];
            w.store.commit(&lease, &Batch { executions, events, ..Batch::default() }).await.unwrap();
        }
        let page = read(&w.store, OutboxCursor::default()).await;
        let workflow = page.rows.iter().filter(|(_, row)| row.kind == EventKind::Workflow);
        let told: Vec<i32> = workflow.map(|(_, row)| row.phase).collect();
        assert_eq!(told, [Phase::Queued as i32, Phase::Aborting as i32, Phase::Aborted as i32]);
        assert_eq!(page.rows.len(), 6, "the events of nodes stay");
    })
    .await;
}

#[tokio::test]
async fn a_place_is_noted_under_the_lease_only() {
    on_each(|w| async move {
        let old = leader(&w).await;
        let at = |seq| OutboxCursor { tx: 0, seq };
        w.store.outbox_advance(&old, "a", at(3), Vec::new(), NOW).await.unwrap();
        w.store.outbox_advance(&old, "a", at(5), Vec::new(), NOW).await.unwrap();
        w.store.outbox_advance(&old, "b", at(1), Vec::new(), NOW).await.unwrap();
        // Another host has to wait until the lease runs out.
        assert_eq!(w.store.outbox_lease_take("other", TTL, NOW).await.unwrap(), None);
        w.store.outbox_lease_renew(&old, TTL, NOW.plus(5_000_000)).await.unwrap();
        assert_eq!(w.store.outbox_lease_take("other", TTL, NOW.plus(12_000_000)).await.unwrap(), None);
        let new = w.store.outbox_lease_take("other", TTL, NOW.plus(16_000_000)).await.unwrap().unwrap();
        assert!(new.epoch > old.epoch);
        let refused = w.store.outbox_advance(&old, "a", at(9), Vec::new(), NOW).await;
        assert!(matches!(refused, Err(Error::Fenced { .. })));
        assert!(matches!(w.store.outbox_prune(&old, at(9), 9).await, Err(Error::Fenced { .. })));
        assert!(matches!(w.store.outbox_forget(&old, "a").await, Err(Error::Fenced { .. })));
        assert!(matches!(w.store.outbox_lease_renew(&old, TTL, NOW).await, Err(Error::Fenced { .. })));
        w.store.outbox_forget(&new, "b").await.unwrap();
        assert_eq!(w.store.outbox_cursors().await.unwrap(), [("a".to_owned(), at(5))]);
        // Given back, it is free at once.
        w.store.outbox_lease_release(&new).await.unwrap();
        assert!(w.store.outbox_lease_take("h", TTL, NOW.plus(16_000_001)).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn removed_rows_make_no_room_for_their_numbers() {
    on_each(|w| async move {
        let (host, lease) = (w.store.lease_acquire("h", TTL, NOW).await.unwrap(), leader(&w).await);
        let write = |from: i64| {
            let events = (from..from + 10).map(|n| node_event(ExecutionKey(1), n)).collect();
            Batch { events, ..Batch::default() }
        };
        w.store.commit(&host, &write(0)).await.unwrap();
        let first = end(&w.store).await;
        assert_eq!(w.store.outbox_prune(&lease, first, 4).await.unwrap(), 4);
        assert_eq!(ids(&w.store, OutboxCursor::default()).await, ["n4", "n5", "n6", "n7", "n8", "n9"]);
        assert_eq!(w.store.outbox_prune(&lease, first, 100).await.unwrap(), 6);
        let store = w.reopened().await;
        let host = store.lease_acquire("h", TTL, NOW).await.unwrap();
        store.commit(&host, &write(10)).await.unwrap();
        assert_eq!(ids(&store, first).await.len(), 10, "what comes later lies behind every cursor");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_transaction_is_not_overtaken() {
    on_each(|w| async move {
        if w.dialect != "postgres" {
            // One writer.
            return;
        }
        let host = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        let mut slow = sqlx::PgConnection::connect(w.config.url.expose()).await.unwrap();
        slow.execute("begin").await.unwrap();
        let insert = "insert into outbox (execution_id, kind, phase, occurred_at, event_id, message)
            values (1, 2, 1, 1, 'slow', '')";
        slow.execute(insert).await.unwrap();
        let events = vec![node_event(ExecutionKey(2), 1)];
        w.store.commit(&host, &Batch { events, ..Batch::default() }).await.unwrap();
        let page = w.store.outbox_read(OutboxCursor::default(), 10).await.unwrap();
        assert!(page.rows.is_empty() && page.held_back, "{page:?}");
        slow.execute("commit").await.unwrap();
        assert_eq!(ids(&w.store, OutboxCursor::default()).await, ["slow", "n1"]);
        slow.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_transaction_of_another_database_holds_nothing_back() {
    on_each(|w| async move {
        let Ok(server) = std::env::var("PINION_TEST_POSTGRES_URL") else { return };
        let host = w.store.lease_acquire("h", TTL, NOW).await.unwrap();
        let mut other = sqlx::PgConnection::connect(&server).await.unwrap();
        other.execute("begin; select pg_current_xact_id()").await.unwrap();
        for n in 0..3 {
            let events = vec![node_event(ExecutionKey(2), n)];
            w.store.commit(&host, &Batch { events, ..Batch::default() }).await.unwrap();
        }
        let page = read(&w.store, OutboxCursor::default()).await;
        assert_eq!(page.rows.len(), 3);
        let first = page.rows[0].0;
        assert_eq!(w.store.outbox_nth(first, 2).await.unwrap(), Some(page.rows[2].0));
        other.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_that_moved_hands_out_again() {
    on_each(|w| async move {
        if w.dialect != "postgres" {
            return;
        }
        let (host, lease) = (w.store.lease_acquire("h", TTL, NOW).await.unwrap(), leader(&w).await);
        let events = vec![node_event(ExecutionKey(1), 1), node_event(ExecutionKey(1), 2)];
        w.store.commit(&host, &Batch { events, ..Batch::default() }).await.unwrap();
        w.store.outbox_advance(&lease, "a", end(&w.store).await, Vec::new(), NOW).await.unwrap();
        meddle(&w.config, "update outbox set tx = tx + 1000000000").await;
        meddle(&w.config, "update outbox_cursor set tx = tx + 1000000000").await;
        assert!(w.store.outbox_read(OutboxCursor::default(), 10).await.unwrap().held_back);
        leader(&w).await;
        let cursor = w.store.outbox_cursors().await.unwrap()[0].1;
        assert_eq!(cursor, OutboxCursor::default());
        assert_eq!(ids(&w.store, cursor).await, ["n1", "n2"]);
    })
    .await;
}
