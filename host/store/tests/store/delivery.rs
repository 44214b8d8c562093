//! Deliveries are made once, tried until they end, and stay readable.

use std::time::Duration;

use store::{
    DeliveryKind, DeliveryOutcome, DeliveryQuery, DeliveryRow, DeliveryState, Error, OutboxCursor,
    OutboxLease, Store, Wake,
};

use crate::sample::NOW;
use crate::world::on_each;

const TTL: Duration = Duration::from_secs(10);

fn row(key: &str) -> DeliveryRow {
    DeliveryRow {
        id: 0,
        key: key.to_owned(),
        kind: DeliveryKind::Notification,
        channel: "mail".to_owned(),
        recipient: "ann@example.com".to_owned(),
        project: "p".to_owned(),
        domain: "d".to_owned(),
        execution: "x".to_owned(),
        event_id: "e".to_owned(),
        phase: "FAILED".to_owned(),
        state: DeliveryState::Pending,
        attempts: 0,
        created_at: NOW,
        due_at: Some(NOW.plus(5)),
        ended_at: None,
        last_error: String::new(),
        payload: vec![0, 255],
    }
}

async fn leader(store: &Store) -> OutboxLease {
    store.outbox_lease_take("h", TTL, NOW).await.unwrap().unwrap()
}

fn outcome(id: i64, state: DeliveryState) -> DeliveryOutcome {
    let due_at = (state == DeliveryState::Pending).then(|| NOW.plus(100));
    DeliveryOutcome { id, state, due_at, error: "no".to_owned(), at: NOW.plus(50) }
}

#[tokio::test]
async fn deliveries_round_trip_and_are_made_once() {
    on_each(|w| async move {
        let (lease, mut wakes) = (leader(&w.store).await, w.store.subscribe());
        let lost = DeliveryRow {
            kind: DeliveryKind::Event,
            state: DeliveryState::Failed,
            attempts: 3,
            due_at: None,
            ended_at: Some(NOW.plus(7)),
            last_error: "down".to_owned(),
            ..row("b")
        };
        let at = OutboxCursor { tx: 0, seq: 4 };
        for _ in 0..2 {
            // Twice, as after a crash before the cursor was noted; and twice in one.
            let rows = vec![row("a"), lost.clone(), row("a")];
            w.store.outbox_advance(&lease, "s", at, rows, NOW).await.unwrap();
        }
        assert_eq!(wakes.recv().await.unwrap(), Wake::Deliveries);
        let all =
            w.store.delivery_list(&DeliveryQuery { limit: 10, ..DeliveryQuery::default() }).await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], DeliveryRow { id: all[0].id, ..lost });
        assert_eq!(all[1], DeliveryRow { id: all[1].id, ..row("a") });
        assert_eq!(w.store.delivery_get(all[1].id).await.unwrap().as_ref(), Some(&all[1]));
        assert_eq!(w.store.delivery_get(99).await.unwrap(), None);
        assert_eq!(w.store.outbox_cursors().await.unwrap(), [("s".to_owned(), at)]);
    })
    .await;
}

#[tokio::test]
async fn what_waits_is_due_at_its_time_until_it_ends() {
    on_each(|w| async move {
        let lease = leader(&w.store).await;
        w.store.delivery_insert(row("a")).await.unwrap();
        assert_eq!(w.store.delivery_due(NOW, 10).await.unwrap(), []);
        assert_eq!(w.store.delivery_next_due(NOW).await.unwrap(), Some(NOW.plus(5)));
        let due = w.store.delivery_due(NOW.plus(5), 10).await.unwrap();
        let id = due[0].id;
        let report = |state| w.store.delivery_report(&lease, vec![outcome(id, state)]);
        report(DeliveryState::Pending).await.unwrap();
        let waiting = w.store.delivery_get(id).await.unwrap().unwrap();
        assert_eq!((waiting.attempts, waiting.due_at, waiting.ended_at), (1, Some(NOW.plus(100)), None));
        assert_eq!(waiting.last_error, "no");
        assert_eq!(w.store.delivery_due(NOW.plus(99), 10).await.unwrap(), []);
        report(DeliveryState::Failed).await.unwrap();
        let failed = w.store.delivery_get(id).await.unwrap().unwrap();
        assert_eq!((failed.state, failed.attempts), (DeliveryState::Failed, 2));
        assert_eq!((failed.due_at, failed.ended_at), (None, Some(NOW.plus(50))));
        assert_eq!(w.store.delivery_due(NOW.plus(1_000), 10).await.unwrap(), []);

        // Whatever became of it, it can be sent again.
        w.store.delivery_retry(id, NOW.plus(200)).await.unwrap();
        let again = w.store.delivery_due(NOW.plus(200), 10).await.unwrap();
        assert_eq!((again[0].state, again[0].attempts, again[0].ended_at), (DeliveryState::Pending, 0, None));
        assert!(matches!(w.store.delivery_retry(99, NOW).await, Err(Error::NotFound { .. })));
        let other = w.store.outbox_lease_take("other", TTL, NOW.plus(20_000_000)).await.unwrap();
        assert!(other.is_some());
        assert!(matches!(report(DeliveryState::Sent).await, Err(Error::Fenced { .. })));
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    on_each(|w| async move {
        for n in 0..20 {
            let mut row = row(&n.to_string());
            row.channel = ["mail", "slack"][n % 2].to_owned();
            row.execution = format!("x{}", n % 5);
            if n % 4 == 0 {
                row.state = DeliveryState::Failed;
            }
            row.created_at = NOW.plus(n as i64);
            w.store.delivery_insert(row).await.unwrap();
        }
        let list = |query: DeliveryQuery| {
            let store = w.store.clone();
            async move {
                let rows = store.delivery_list(&query).await.unwrap();
                rows.into_iter().map(|row| (row.id, row.key)).collect::<Vec<_>>()
            }
        };
        let first = list(DeliveryQuery { limit: 12, ..DeliveryQuery::default() }).await;
        let before = first.last().unwrap().0;
        let second = list(DeliveryQuery { limit: 12, before, ..DeliveryQuery::default() }).await;
        let keys: Vec<String> = first.iter().chain(&second).map(|(_, key)| key.clone()).collect();
        assert_eq!(keys, (0..20).rev().map(|n| n.to_string()).collect::<Vec<_>>());
        let of = |channel: &str, execution: &str, state| DeliveryQuery {
            channel: channel.to_owned(),
            execution: execution.to_owned(),
            state,
            limit: 100,
            ..DeliveryQuery::default()
        };
        assert_eq!(list(of("slack", "", None)).await.len(), 10);
        assert_eq!(list(of("", "x3", None)).await.len(), 4);
        assert_eq!(list(of("", "", Some(DeliveryState::Failed))).await.len(), 5);
        assert_eq!(list(of("slack", "", Some(DeliveryState::Failed))).await.len(), 0);

        // What waits is never removed, however old.
        assert_eq!(w.store.delivery_purge(NOW.plus(9), 2).await.unwrap(), 2);
        assert_eq!(w.store.delivery_purge(NOW.plus(9), 100).await.unwrap(), 1);
        assert_eq!(list(of("", "", Some(DeliveryState::Failed))).await.len(), 2);
        assert_eq!(list(of("", "", Some(DeliveryState::Pending))).await.len(), 15);
    })
    .await;
}
