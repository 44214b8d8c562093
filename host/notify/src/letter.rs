//! Makes rows of the delivery log, and reads what they carry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use store::{DeliveryKind, DeliveryRow, DeliveryState, EventKind, ExecutionKey, OutboxCursor, OutboxRow};

use crate::config::Kind;
use crate::event::Event;
use crate::facts::Facts;
use crate::failure::Failure;

/// What a delivery carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "carries", rename_all = "kebab-case")]
pub(crate) enum Letter {
    /// That an execution ended.
    Execution(Box<Facts>),
    /// An event that a sink did not take.
    Event(Lost),
    /// How many events a sink lost.
    Gap {
        /// How many.
        events: u32,
    },
}

/// An event that a sink did not take, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    execution: i64,
    kind: Kind,
    phase: i32,
    occurred_at: i64,
    tx: i64,
    seq: i64,
    id: String,
    message: String,
}

impl Letter {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A tree of texts and numbers always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl Lost {
    /// The event as it stood in the outbox.
    pub(crate) fn event(&self) -> Result<Event, String> {
        let message = STANDARD.decode(&self.message).map_err(|error| error.to_string())?;
        let kind = match self.kind {
            Kind::Workflow => EventKind::Workflow,
            Kind::Node => EventKind::Node,
            Kind::Task => EventKind::Task,
        };
        let row = OutboxRow {
            execution: ExecutionKey(self.execution),
            kind,
            phase: self.phase,
            occurred_at: Timestamp(self.occurred_at),
            id: self.id.clone(),
            message,
        };
        Event::read(OutboxCursor { tx: self.tx, seq: self.seq }, row).map_err(|error| error.to_string())
    }
}

/// A row with everything that most have in common.
fn row(key: String, kind: DeliveryKind, channel: &str, recipient: &str, now: Timestamp) -> DeliveryRow {
    DeliveryRow {
        id: 0,
        key,
        kind,
        channel: channel.to_owned(),
        recipient: recipient.to_owned(),
        project: String::new(),
        domain: String::new(),
        execution: String::new(),
        event_id: String::new(),
        phase: String::new(),
        state: DeliveryState::Pending,
        attempts: 0,
        created_at: now,
        due_at: Some(now),
        ended_at: None,
        last_error: String::new(),
        payload: Vec::new(),
    }
}

/// A notification that waits to be sent. One person gets one message per channel and event.
pub(crate) fn notification_row(
    event_id: &str,
    channel: &str,
    recipient: &str,
    facts: &Facts,
    now: Timestamp,
) -> DeliveryRow {
    DeliveryRow {
        project: facts.project.clone(),
        domain: facts.domain.clone(),
        execution: facts.name.clone(),
        event_id: event_id.to_owned(),
        phase: facts.phase.clone(),
        payload: Letter::Execution(Box::new(facts.clone())).encode(),
        ..row(
            format!("{event_id}>{channel}>{recipient}"),
            DeliveryKind::Notification,
            channel,
            recipient,
            now,
        )
    }
}

/// A row about something that has ended already.
pub(crate) fn ended(row: DeliveryRow, attempts: u32, error: Option<&str>, now: Timestamp) -> DeliveryRow {
    let state = if error.is_some() { DeliveryState::Failed } else { DeliveryState::Sent };
    let last_error = error.unwrap_or_default().to_owned();
    DeliveryRow { state, attempts, due_at: None, ended_at: Some(now), last_error, ..row }
}

/// A try of a channel.
pub(crate) fn test_row(
    key: &str,
    channel: &str,
    recipient: &str,
    facts: &Facts,
    now: Timestamp,
) -> DeliveryRow {
    DeliveryRow {
        kind: DeliveryKind::Test,
        event_id: String::new(),
        ..notification_row(key, channel, recipient, facts, now)
    }
}

/// An event that a sink did not take.
pub(crate) fn lost_row(
    sink: &str,
    recipient: &str,
    event: &Event,
    (failure, attempts): (&Failure, u32),
    now: Timestamp,
) -> DeliveryRow {
    let lost = Lost {
        execution: event.execution.0,
        kind: event.kind,
        phase: event.number,
        occurred_at: event.time.0,
        tx: event.cursor.tx,
        seq: event.cursor.seq,
        id: event.id.clone(),
        message: STANDARD.encode(&event.message),
    };
    let row = DeliveryRow {
        project: event.project.clone(),
        domain: event.domain.clone(),
        execution: event.name.clone(),
        event_id: event.id.clone(),
        phase: event.phase.to_owned(),
        payload: Letter::Event(lost).encode(),
        ..row(format!("{}>{sink}", event.id), DeliveryKind::Event, sink, recipient, now)
    };
    ended(row, attempts, Some(&failure.reason), now)
}

/// That a sink lost events.
pub(crate) fn gap_row(
    sink: &str,
    recipient: &str,
    events: u32,
    (from, to): (OutboxCursor, OutboxCursor),
    now: Timestamp,
) -> DeliveryRow {
    let key = format!("gap {}.{}..{}.{}>{sink}", from.tx, from.seq, to.tx, to.seq);
    let text =
        format!("{events} events were given up, because more than `notify.max-backlog` waited for the sink");
    let row = DeliveryRow {
        payload: Letter::Gap { events }.encode(),
        ..row(key, DeliveryKind::Gap, sink, recipient, now)
    };
    ended(row, 0, Some(&text), now)
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::core::workflow_execution::Phase;

    use super::*;
    use crate::event::tests::workflow;

    #[test]
    fn a_lost_event_comes_back_as_it_was() {
        let event = workflow("x", Phase::Failed, 9);
        let row = lost_row("s", "there", &event, (&Failure::passing("down"), 3), Timestamp(5));
        assert_eq!((row.state, row.attempts, row.last_error.as_str()), (DeliveryState::Failed, 3, "down"));
        let Letter::Event(lost) = Letter::decode(&row.payload).unwrap() else { panic!() };
        let again = lost.event().unwrap();
        assert_eq!((again.id, again.sequence, again.message), (event.id, event.sequence, event.message));
    }

    #[test]
    fn a_person_gets_one_message_per_channel_and_event() {
        let facts = Facts::sample(Phase::Failed);
        let key = |channel, to| notification_row("e", channel, to, &facts, Timestamp(1)).key;
        assert_eq!(key("mail", "a@b"), key("mail", "a@b"));
        assert_ne!(key("mail", "a@b"), key("mail", "c@d"));
        assert_ne!(key("mail", "a@b"), key("other", "a@b"));
    }
}
