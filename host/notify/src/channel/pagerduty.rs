//! Raises PagerDuty incidents (Events API v2). An execution is one incident however often it is told.

use std::collections::BTreeMap;

use config::Secret;
use serde_json::json;

use super::Means;
use crate::config::Channel;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::http::{Endpoint, Parts, Request};
use crate::sign::message_id;

/// Where the public service takes events.
const PUBLIC: &str = "https://events.pagerduty.com/v2/enqueue";

/// Most characters of a summary that the service takes.
const MAX_SUMMARY: usize = 1024;

const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

#[derive(Debug)]
pub(super) struct Pagerduty {
    endpoint: Endpoint,
    routing_key: Secret,
    severity: String,
}

impl Pagerduty {
    pub(super) fn new(settings: &Channel, means: &Means<'_>) -> Result<Self, String> {
        if settings.routing_key.is_empty() {
            return Err("routing-key: the integration key of a service is needed".to_owned());
        }
        let severity = settings.severity.to_lowercase();
        if !severity.is_empty() && !SEVERITIES.contains(&severity.as_str()) {
            return Err(format!("severity: `{severity}` is none of {}", SEVERITIES.join(", ")));
        }
        let url = if settings.url.is_empty() { PUBLIC } else { settings.url.expose() };
        let parts = Parts {
            client: means.client,
            guard: means.guard,
            url,
            headers: &BTreeMap::new(),
            secret: &Secret::default(),
        };
        let endpoint = Endpoint::read(&parts)?.hiding(&settings.routing_key);
        Ok(Self { endpoint, routing_key: settings.routing_key.clone(), severity })
    }

    pub(super) fn shown(&self) -> String {
        self.endpoint.shown()
    }

    pub(super) async fn send(&self, key: &str, summary: &str, facts: &Facts) -> Result<(), Failure> {
        let severity = match (self.severity.as_str(), facts.succeeded, facts.aborted) {
            ("", true, _) => "info",
            ("", _, true) => "warning",
            ("", ..) => "error",
            (own, ..) => own,
        };
        let links = if facts.url.is_empty() {
            json!([])
        } else {
            json!([{ "href": facts.url, "text": "Execution" }])
        };
        let summary: String = summary.chars().take(MAX_SUMMARY).collect();
        let body = json!({
            "routing_key": self.routing_key.expose(),
            "event_action": "trigger",
            "dedup_key": format!("{}/{}/{}", facts.project, facts.domain, facts.name),
            "client": "Pinion",
            "client_url": facts.url,
            "links": links,
            "payload": {
                "summary": summary,
                "source": format!("{}/{}", facts.project, facts.domain),
                "severity": severity,
                "timestamp": facts.ended_at,
                "component": facts.title,
                "class": facts.phase,
                "custom_details": facts,
            },
        });
        let request = Request {
            id: message_id([key]),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            body: body.to_string().into_bytes(),
        };
        self.endpoint.send(&request).await
    }
}
