//! Talks to a running server for the commands that look and steer.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use proto::flyteidl::core::{NodeExecutionIdentifier, WorkflowExecutionIdentifier};
use proto::flyteidl::service::admin_service_client::AdminServiceClient;
use tonic::transport::{Channel, Endpoint};

/// The most a client accepts in one message.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Which server and which project.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Server to talk to, as host:port.
    #[arg(long, env = "PINION_ENDPOINT", default_value = "localhost:30080", global = true)]
    pub(crate) endpoint: String,
    /// Project.
    #[arg(short, long, env = "PINION_PROJECT", default_value = "flytesnacks", global = true)]
    pub(crate) project: String,
    /// Domain.
    #[arg(short, long, env = "PINION_DOMAIN", default_value = "development", global = true)]
    pub(crate) domain: String,
}

impl Target {
    /// Connects to the server.
    pub(crate) async fn connect(&self) -> Result<AdminServiceClient<Channel>> {
        let url = if self.endpoint.contains("://") {
            self.endpoint.clone()
        } else {
            format!("http://{}", self.endpoint.trim_start_matches("dns:///"))
        };
        let channel = Endpoint::from_shared(url)
            .with_context(|| format!("`{}` is not a host and port", self.endpoint))?
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .await
            .with_context(|| {
                format!(
                    "no server answers at {}; start one with `pinion dev` or name one with --endpoint",
                    self.endpoint
                )
            })?;
        Ok(AdminServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// The full name of an execution of this project and domain.
    pub(crate) fn execution(&self, name: &str) -> WorkflowExecutionIdentifier {
        WorkflowExecutionIdentifier {
            project: self.project.clone(),
            domain: self.domain.clone(),
            name: name.to_owned(),
            ..Default::default()
        }
    }

    /// The full name of a node of an execution.
    pub(crate) fn node(&self, execution: &str, node: &str) -> NodeExecutionIdentifier {
        NodeExecutionIdentifier { node_id: node.to_owned(), execution_id: Some(self.execution(execution)) }
    }
}

/// What a gRPC status says to a person.
pub(crate) fn explain(status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{} ({})", status.message(), status.code().description().to_lowercase())
}
