//! Reads events from the outbox and writes them as CloudEvents 1.0.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use proto::flyteidl::core::{node_execution, task_execution, workflow_execution};
use proto::flyteidl::event::{NodeExecutionEvent, TaskExecutionEvent, WorkflowExecutionEvent};
use serde_json::{Value, json};
use store::{EventKind, ExecutionKey, OutboxCursor, OutboxRow};

use crate::config::{Encoding, Kind};

/// An event on its way to sinks.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) execution: ExecutionKey,
    pub(crate) kind: Kind,
    /// Its place in the outbox.
    pub(crate) cursor: OutboxCursor,
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) domain: String,
    pub(crate) name: String,
    /// What it is about: the execution, its node, its attempt.
    pub(crate) subject: String,
    /// The phase that was entered, by name.
    pub(crate) phase: &'static str,
    /// The same as a number of its enum.
    pub(crate) number: i32,
    pub(crate) time: model::Timestamp,
    /// Text that grows from event to event.
    pub(crate) sequence: String,
    /// The message.
    pub(crate) message: Vec<u8>,
}

/// Why an event cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("event {id} cannot be read")]
pub(crate) struct Unreadable {
    id: String,
    #[source]
    source: prost::DecodeError,
}

impl Event {
    /// Reads a row of the outbox.
    pub(crate) fn read(cursor: OutboxCursor, row: OutboxRow) -> Result<Self, Unreadable> {
        let unreadable = |source| Unreadable { id: row.id.clone(), source };
        let bytes = row.message.as_slice();
        let (kind, execution, tail, phase) = match row.kind {
            EventKind::Workflow => {
                let event = WorkflowExecutionEvent::decode(bytes).map_err(unreadable)?;
                let phase = workflow_execution::Phase::try_from(row.phase).unwrap_or_default();
                (Kind::Workflow, event.execution_id, String::new(), phase.as_str_name())
            }
            EventKind::Node => {
                let event = NodeExecutionEvent::decode(bytes).map_err(unreadable)?;
                let id = event.id.unwrap_or_default();
                let phase = node_execution::Phase::try_from(row.phase).unwrap_or_default();
                (Kind::Node, id.execution_id, format!("/{}", id.node_id), phase.as_str_name())
            }
            EventKind::Task => {
                let event = TaskExecutionEvent::decode(bytes).map_err(unreadable)?;
                let node = event.parent_node_execution_id.unwrap_or_default();
                let phase = task_execution::Phase::try_from(row.phase).unwrap_or_default();
                let tail = format!("/{}/{}", node.node_id, event.retry_attempt);
                (Kind::Task, node.execution_id, tail, phase.as_str_name())
            }
        };
        let id = execution.unwrap_or_default();
        Ok(Self {
            execution: row.execution,
            kind,
            cursor,
            id: row.id,
            subject: format!("{}/{}/{}{tail}", id.project, id.domain, id.name),
            project: id.project,
            domain: id.domain,
            name: id.name,
            phase,
            number: row.phase,
            time: row.occurred_at,
            sequence: format!("{:019}.{:019}", cursor.tx, cursor.seq),
            message: row.message,
        })
    }

    /// The full name of its message, which is the type of the CloudEvent.
    pub(crate) fn type_name(&self) -> &'static str {
        type_name(self.kind)
    }

    /// The attributes of the CloudEvent, besides `specversion` and those that depend on the data's form.
    pub(crate) fn attributes(&self, source: &str) -> [(&'static str, String); 10] {
        [
            ("id", self.id.clone()),
            ("source", source.to_owned()),
            ("type", self.type_name().to_owned()),
            ("subject", self.subject.clone()),
            ("time", rfc3339(self.time)),
            ("sequence", self.sequence.clone()),
            ("partitionkey", format!("{}/{}/{}", self.project, self.domain, self.name)),
            ("project", self.project.clone()),
            ("domain", self.domain.clone()),
            ("phase", self.phase.to_owned()),
        ]
    }

    /// The event as one JSON document (structured mode).
    pub(crate) fn structured(&self, source: &str, encoding: Encoding) -> Value {
        let mut document = json!({ "specversion": "1.0" });
        for (name, value) in self.attributes(source) {
            document[name] = value.into();
        }
        match (encoding, self.json()) {
            (Encoding::Json, Ok(data)) => {
                document["datacontenttype"] = "application/json".into();
                document["data"] = data;
            }
            // A message that has no JSON form goes as it is.
            (Encoding::Json, Err(_)) | (Encoding::Protobuf, _) => {
                document["datacontenttype"] = PROTOBUF.into();
                document["data_base64"] = STANDARD.encode(&self.message).into();
            }
        }
        document
    }

    /// The message as proto3 JSON.
    pub(crate) fn json(&self) -> Result<Value, String> {
        let descriptor = descriptor(self.kind).ok_or("its type is unknown")?;
        let message = DynamicMessage::decode(descriptor, self.message.as_slice());
        let message = message.map_err(|error| error.to_string())?;
        message
            .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
            .map_err(|error| error.to_string())
    }
}

/// Content type of a message's bytes.
pub(crate) const PROTOBUF: &str = "application/protobuf";

/// A time as RFC 3339 with microseconds.
pub(crate) fn rfc3339(time: model::Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| format!("{time:.6}")).unwrap_or_default()
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Workflow => "flyteidl.event.WorkflowExecutionEvent",
        Kind::Node => "flyteidl.event.NodeExecutionEvent",
        Kind::Task => "flyteidl.event.TaskExecutionEvent",
    }
}

fn descriptor(kind: Kind) -> Option<MessageDescriptor> {
    static ALL: LazyLock<[Option<MessageDescriptor>; 3]> = LazyLock::new(|| {
        let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).ok();
        [Kind::Workflow, Kind::Node, Kind::Task]
            .map(|kind| pool.as_ref().and_then(|pool| pool.get_message_by_name(type_name(kind))))
    });
    let [workflow, node, task] = &*ALL;
    match kind {
        Kind::Workflow => workflow.clone(),
        Kind::Node => node.clone(),
        Kind::Task => task.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{ExecutionId, Timestamp};

    use super::*;

    /// An event of an execution that entered a phase.
    pub(crate) fn workflow(name: &str, phase: workflow_execution::Phase, seq: i64) -> Event {
        let id = ExecutionId::new("p", "d", name);
        let row = OutboxRow::of_workflow(
            ExecutionKey(7),
            &id,
            phase as i32,
            Timestamp(1_700_000_000_000_001),
            None,
        );
        Event::read(OutboxCursor { tx: 0, seq }, row).unwrap()
    }

    #[test]
    fn a_structured_event_has_every_attribute() {
        let event = workflow("x1", workflow_execution::Phase::Failed, 5);
        let want = json!({
            "specversion": "1.0",
            "id": "p/d/x1:FAILED@1700000000000001",
            "source": "http://here",
            "type": "flyteidl.event.WorkflowExecutionEvent",
            "subject": "p/d/x1",
            "time": "2023-11-14T22:13:20.000001Z",
            "sequence": "0000000000000000000.0000000000000000005",
            "partitionkey": "p/d/x1",
            "project": "p",
            "domain": "d",
            "phase": "FAILED",
            "datacontenttype": "application/json",
            "data": {
                "executionId": { "project": "p", "domain": "d", "name": "x1" },
                "producerId": "pinion",
                "phase": "FAILED",
                "occurredAt": "2023-11-14T22:13:20.000001Z",
            },
        });
        assert_eq!(event.structured("http://here", Encoding::Json), want);
    }

    #[test]
    fn protobuf_data_is_the_message_itself() {
        let event = workflow("x1", workflow_execution::Phase::Running, 1);
        let document = event.structured("s", Encoding::Protobuf);
        assert_eq!(document["datacontenttype"], PROTOBUF);
        let bytes = STANDARD.decode(document["data_base64"].as_str().unwrap()).unwrap();
        let message = WorkflowExecutionEvent::decode(bytes.as_slice()).unwrap();
        assert_eq!(message.execution_id.unwrap().name, "x1");
        assert!(document.get("data").is_none());
    }
}
