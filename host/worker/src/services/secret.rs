//! Finds secrets for plugins: in the environment of the host, then in files.

use plugins::status;
use proto::pinion::plugin::v1::{SecretGetRequest, SecretGetResponse, Status};

use super::{INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE};
use crate::config::Secrets;

/// Reads a secret. Its value is in the answer and nowhere else.
pub(super) async fn get(
    config: &Secrets,
    plugin_id: &str,
    request: SecretGetRequest,
) -> Result<SecretGetResponse, Status> {
    let (group, key) = (request.group.as_str(), request.key.as_str());
    for part in [group, key] {
        let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !plain || part.starts_with('.') || key.is_empty() {
            let message = format!("{part:?} is no name of a secret: letters, digits, '-', '_' and '.' only");
            return Err(status(INVALID_ARGUMENT, "InvalidSecretName", message));
        }
    }
    tracing::debug!(plugin_id, group, key, "a plugin asks for a secret");
    let name = if group.is_empty() { key.to_owned() } else { format!("{group}_{key}") };
    let variable = format!("{}{}", config.env_prefix, name.to_uppercase());
    if let Ok(value) = std::env::var(&variable) {
        return Ok(SecretGetResponse { value: value.into_bytes() });
    }
    let path = config.dir.join(group).join(key);
    match tokio::fs::read(&path).await {
        Ok(value) => Ok(SecretGetResponse { value }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message =
                format!("secret {group}/{key} is neither in variable {variable} nor in {}", path.display());
            Err(status(NOT_FOUND, "SecretNotFound", message))
        }
        Err(error) => Err(status(UNAVAILABLE, "SecretUnreadable", format!("{}: {error}", path.display()))),
    }
}
