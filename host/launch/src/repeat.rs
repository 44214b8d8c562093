//! Starts executions again: from the beginning, or from where they failed.

use blob::DataReference;
use model::ExecutionId;
use proto::flyteidl::admin::{ExecutionMetadata, ExecutionSpec};
use proto::flyteidl::core::{LiteralMap, NodeExecutionIdentifier};
use store::ExecutionRow;

use crate::{Error, Launcher, Parent, Request, launcher::decode};

impl Launcher {
    /// Starts an execution again with the inputs its caller gave.
    ///
    /// # Errors
    /// As [`Launcher::create`], and an unknown original.
    pub async fn relaunch(
        &self,
        original: &ExecutionId,
        name: String,
        overwrite_cache: bool,
        principal: &str,
    ) -> Result<ExecutionId, Error> {
        let (row, mut spec, inputs, bytes) = self.original(original).await?;
        spec.overwrite_cache = overwrite_cache;
        let mut request = Request::relaunch(&row, spec, inputs, name, principal)?;
        request.arrived.inputs = bytes;
        Box::pin(self.create(request)).await
    }

    /// Starts an execution again with the inputs its caller gave, so that what succeeded in the original need not run
    /// again. The original need not have ended. `metadata` is what a client says about the new one; of it only the
    /// node that starts it is taken.
    ///
    /// # Errors
    /// As [`Launcher::create`], and an unknown original.
    pub async fn recover(
        &self,
        original: &ExecutionId,
        name: String,
        metadata: Option<&ExecutionMetadata>,
        principal: &str,
    ) -> Result<ExecutionId, Error> {
        let node = metadata.and_then(|metadata| metadata.parent_node_execution.clone());
        self.recover_for(original, name, node, None, principal).await
    }

    /// The same for the node of an execution that is itself recovered.
    ///
    /// # Errors
    /// As [`Launcher::recover`]; [`Error::UnknownExecution`] says that the original never was and the child is to be
    /// started afresh.
    pub async fn recover_child(
        &self,
        original: &ExecutionId,
        name: String,
        parent: Parent,
        principal: &str,
    ) -> Result<ExecutionId, Error> {
        self.recover_for(original, name, None, Some(parent), principal).await
    }

    async fn recover_for(
        &self,
        original: &ExecutionId,
        name: String,
        node: Option<NodeExecutionIdentifier>,
        parent: Option<Parent>,
        principal: &str,
    ) -> Result<ExecutionId, Error> {
        let (row, spec, inputs, bytes) = self.original(original).await?;
        let mut request = Request::recover(&row, spec, inputs, name, principal)?;
        request.arrived.inputs = bytes;
        if let Some(metadata) = &mut request.spec.metadata {
            metadata.parent_node_execution = node;
        }
        request.parent = parent;
        Box::pin(self.create(request)).await
    }

    /// An execution with its spec and the inputs its caller gave, read and as bytes.
    async fn original(
        &self,
        id: &ExecutionId,
    ) -> Result<(ExecutionRow, ExecutionSpec, LiteralMap, Vec<u8>), Error> {
        let row = self.store().execution_get(id).await?;
        let row = row.ok_or_else(|| Error::UnknownExecution(id.clone()))?;
        let spec: ExecutionSpec = decode(&row.spec, "spec", id)?;
        let bytes = self.blob().get(&DataReference::parse(row.user_inputs_uri.as_str())?).await?;
        let inputs: LiteralMap = decode(&bytes, "user inputs", id)?;
        Ok((row, spec, inputs, bytes.to_vec()))
    }
}
