//! Posts to a Slack incoming webhook.

use std::collections::BTreeMap;

use config::Secret;
use serde_json::json;

use super::Means;
use crate::config::Channel;
use crate::failure::Failure;
use crate::http::{Endpoint, Parts, Request};
use crate::sign::message_id;

#[derive(Debug)]
pub(super) struct Slack {
    endpoint: Endpoint,
}

impl Slack {
    pub(super) fn new(settings: &Channel, means: &Means<'_>) -> Result<Self, String> {
        let parts = Parts {
            client: means.client,
            guard: means.guard,
            url: settings.url.expose(),
            headers: &BTreeMap::new(),
            secret: &Secret::default(),
        };
        Ok(Self { endpoint: Endpoint::read(&parts)? })
    }

    pub(super) fn shown(&self) -> String {
        self.endpoint.shown()
    }

    pub(super) async fn send(&self, key: &str, text: &str) -> Result<(), Failure> {
        let request = Request {
            id: message_id([key]),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            body: json!({ "text": text }).to_string().into_bytes(),
        };
        self.endpoint.send(&request).await
    }
}
