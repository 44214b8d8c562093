//! A bare gRPC client, for what stock clients do not say.

use anyhow::{Context, Result};
use proto::flyteidl::service::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;

/// Connects to the API on a port.
pub async fn admin(port: u16) -> Result<AdminServiceClient<Channel>> {
    let channel =
        Channel::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await.context("no server")?;
    Ok(AdminServiceClient::new(channel)
        .max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20))
}
