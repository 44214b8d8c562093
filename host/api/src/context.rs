//! Holds what every call needs, once.

use blob::Blob;
use catalog::Catalog;
use launch::Launcher;
use model::{EntityId, EntityKind, ExecutionId, NodeExecutionId};
use prost::Message;
use proto::flyteidl::core;
use store::{ExecutionRow, NodeExecutionRow, Store};

use crate::{Config, Error, VersionInfo, error::Result};

/// The rooms a call may enter.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) blob: Blob,
    pub(crate) launcher: Launcher,
    pub(crate) catalog: Catalog,
    pub(crate) version: VersionInfo,
}

impl Context {
    /// Refuses to register or start anything where nothing may be.
    pub(crate) async fn check_place(&self, project: &str, domain: &str) -> Result<()> {
        launch::place::check(self.launcher.config(), &self.store, project, domain).await?;
        Ok(())
    }

    pub(crate) async fn execution(&self, id: &ExecutionId) -> Result<ExecutionRow> {
        let row = self.store.execution_get(id).await?;
        row.ok_or_else(|| Error::not_found("execution", id))
    }

    /// A node and the execution it belongs to.
    pub(crate) async fn node(&self, id: &NodeExecutionId) -> Result<(ExecutionRow, NodeExecutionRow)> {
        let execution = self.execution(&id.execution).await?;
        let node = self.store.node_execution_get(execution.key, &id.node).await?;
        let node = node.ok_or_else(|| Error::not_found("node execution", id))?;
        Ok((execution, node))
    }
}

/// Reads a registered entity's id.
pub(crate) fn entity_id(kind: EntityKind, id: Option<&core::Identifier>) -> Result<EntityId> {
    let id = id.ok_or(Error::Missing("id"))?;
    EntityId::from_proto(kind, id).map_err(|source| Error::Id { field: "id", source })
}

/// Reads an execution's id. Names are kept in lower case.
pub(crate) fn execution_id(
    field: &'static str,
    id: Option<&core::WorkflowExecutionIdentifier>,
) -> Result<ExecutionId> {
    let id = id.ok_or(Error::Missing(field))?;
    let id = ExecutionId::from_proto(id).map_err(|source| Error::Id { field, source })?;
    Ok(ExecutionId { name: id.name.to_ascii_lowercase().into(), ..id })
}

/// Reads a node execution's id.
pub(crate) fn node_id(
    field: &'static str,
    id: Option<&core::NodeExecutionIdentifier>,
) -> Result<NodeExecutionId> {
    let id = id.ok_or(Error::Missing(field))?;
    let execution = execution_id("execution_id", id.execution_id.as_ref())?;
    if id.node_id.is_empty() {
        return Err(Error::Missing("node_id"));
    }
    Ok(NodeExecutionId { execution, node: id.node_id.as_str().into() })
}

/// Reads a stored message.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], what: &'static str, id: impl ToString) -> Result<M> {
    M::decode(bytes).map_err(|source| Error::Decode { what, id: id.to_string(), source })
}
