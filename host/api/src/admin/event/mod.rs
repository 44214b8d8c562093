//! Takes events of engines outside about the executions they drive: those placed in one of the
//! `launch.external-clusters`.
//!
//! Invariant: an execution has one driver. Events about one that this host's workers drive are refused, as are events
//! of a cluster that does not own the execution; workers never claim an execution of an external cluster.

mod node;
mod task;
mod workflow;

use blob::DataReference;
use model::{EntityId, ExecutionId, Timestamp};
use prost::Message;
use proto::flyteidl::core::{ExecutionError, LiteralMap, execution_error::ErrorKind};
use store::{EventKind, ExecutionRow, OutboxRow, Report, Reported, ReportedState};

pub(super) use node::create as create_node;
pub(super) use task::create as create_task;
pub(super) use workflow::create as create_workflow;

use crate::{Error, context::Context, error::Result, read::execution::is_terminal};

/// What engines called themselves before clusters had names.
const ANY_PRODUCER: &str = "propeller";

/// When something happened; required.
fn occurred_at(time: Option<&prost_types::Timestamp>) -> Result<Timestamp> {
    time.map(Timestamp::from_proto).ok_or(Error::Missing("event.occurred_at"))
}

/// When something was reported, or else when it happened.
fn reported_at(time: Option<&prost_types::Timestamp>, occurred: Timestamp) -> Timestamp {
    time.map(Timestamp::from_proto).filter(|time| time.0 != 0).unwrap_or(occurred)
}

/// Refuses events about executions that this host drives, or that another cluster owns.
fn check_driver(row: &ExecutionRow, producer: &str) -> Result<()> {
    let is_own = row.live && !is_terminal(row.phase);
    if is_own || !(producer.is_empty() || producer == ANY_PRODUCER || producer == row.cluster) {
        let owner = match row.cluster.as_str() {
            _ if is_own => "this host".to_owned(),
            "" => "no cluster".to_owned(),
            cluster => format!("cluster `{cluster}`"),
        };
        let (id, producer) = (row.id.to_string(), producer.to_owned());
        return Err(Error::ForeignEvent { id, owner, producer, cluster: row.cluster.clone() });
    }
    Ok(())
}

/// Lets the store write what follows from an event.
async fn report<F>(cx: &Context, about: Reported, decide: F) -> Result<()>
where
    F: FnOnce(ReportedState) -> Result<Report> + Send + 'static,
{
    let id = about.execution.clone();
    match cx.store.execution_report(about, decide).await? {
        None => Err(Error::not_found("execution", &id)),
        Some(outcome) => outcome,
    }
}

/// The outputs that came with an event: where they are, or after they are put there.
async fn outputs(cx: &Context, key: String, data: Option<LiteralMap>) -> Result<String> {
    let Some(data) = data else { return Ok(String::new()) };
    let at: DataReference = cx.blob.metadata_root().join(&key);
    cx.blob.put(&at, data.encode_to_vec().into()).await?;
    Ok(at.as_str().to_owned())
}

/// The columns of an error.
fn error_columns(error: Option<&ExecutionError>) -> (Vec<u8>, String, String) {
    let Some(error) = error else { return Default::default() };
    let kind = match error.kind() {
        ErrorKind::Unknown => String::new(),
        kind @ (ErrorKind::User | ErrorKind::System) => kind.as_str_name().to_owned(),
    };
    (error.encode_to_vec(), kind, error.code.clone())
}

/// The event as it goes on to whoever listens. It has the same id in every repeat.
fn outbox_row(
    row: &ExecutionRow,
    kind: EventKind,
    id: String,
    (phase, at): (i32, Timestamp),
    message: &impl Message,
) -> OutboxRow {
    OutboxRow { execution: row.key, kind, phase, occurred_at: at, id, message: message.encode_to_vec() }
}

/// Reads an execution's id out of an event.
fn execution_id(
    field: &'static str,
    id: Option<&proto::flyteidl::core::WorkflowExecutionIdentifier>,
) -> Result<ExecutionId> {
    crate::context::execution_id(field, id)
}

fn task_id(id: Option<&proto::flyteidl::core::Identifier>) -> Result<EntityId> {
    let id = id.ok_or(Error::Missing("event.task_id"))?;
    EntityId::from_proto(model::EntityKind::Task, id)
        .map_err(|source| Error::Id { field: "event.task_id", source })
}
