//! Posts a document of one's own to any web server, signed.

use serde_json::json;

use super::Means;
use crate::config::Channel;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::http::{Endpoint, Parts, Request};
use crate::sign::message_id;

const JSON: &str = "application/json";

#[derive(Debug)]
pub(super) struct Webhook {
    endpoint: Endpoint,
    content_type: String,
    has_body: bool,
}

/// Whether what it sends must be JSON.
pub(super) fn is_json(settings: &Channel) -> bool {
    let kind = settings.content_type.split(';').next().unwrap_or_default().trim();
    kind.is_empty() || kind.eq_ignore_ascii_case(JSON) || kind.to_lowercase().ends_with("+json")
}

impl Webhook {
    pub(super) fn new(settings: &Channel, means: &Means<'_>) -> Result<Self, String> {
        let parts = Parts {
            client: means.client,
            guard: means.guard,
            url: settings.url.expose(),
            headers: &settings.headers,
            secret: &settings.secret,
        };
        let given = &settings.content_type;
        if !given.is_empty() && !given.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err("content-type: it must be printable ASCII".to_owned());
        }
        Ok(Self {
            endpoint: Endpoint::read(&parts)?,
            content_type: if given.is_empty() { JSON.to_owned() } else { given.clone() },
            has_body: !settings.body.is_empty(),
        })
    }

    pub(super) fn shown(&self) -> String {
        self.endpoint.shown()
    }

    /// Sends the channel's own document, made by `body`, or the default one.
    pub(super) async fn send(
        &self,
        key: &str,
        facts: &Facts,
        body: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let body = if self.has_body {
            body()?
        } else {
            let kind = format!("execution.{}", facts.phase.to_lowercase());
            json!({ "type": kind, "timestamp": facts.ended_at, "data": facts }).to_string()
        };
        let request = Request {
            id: message_id([key]),
            content_type: self.content_type.clone(),
            headers: Vec::new(),
            body: body.into_bytes(),
        };
        self.endpoint.send(&request).await
    }
}
