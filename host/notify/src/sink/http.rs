//! Sends CloudEvents in the three modes of the HTTP binding.

use std::sync::Arc;

use reqwest::Client;
use serde_json::Value;

use crate::config::{self, Encoding, Mode};
use crate::event::{Event, PROTOBUF};
use crate::failure::Failure;
use crate::guard::Guard;
use crate::http::{Endpoint, Parts, Request};
use crate::sign::message_id;

/// A web server that takes CloudEvents.
#[derive(Debug)]
pub(super) struct Http {
    endpoint: Endpoint,
    mode: Mode,
    encoding: Encoding,
    source: String,
}

impl Http {
    pub(super) fn new(
        settings: &config::Sink,
        source: &str,
        client: &Client,
        guard: &Guard,
    ) -> Result<Self, String> {
        let parts = Parts {
            client,
            guard,
            url: settings.url.expose(),
            headers: &settings.headers,
            secret: &settings.secret,
        };
        Ok(Self {
            endpoint: Endpoint::read(&parts)?,
            mode: settings.mode,
            encoding: settings.encoding,
            source: source.to_owned(),
        })
    }

    pub(super) fn shown(&self) -> String {
        self.endpoint.shown()
    }

    pub(super) async fn send(&self, events: &[Arc<Event>]) -> Result<(), Failure> {
        match self.mode {
            Mode::Batch => self.endpoint.send(&self.batch(events)).await,
            Mode::Structured | Mode::Binary => {
                for event in events {
                    self.endpoint.send(&self.request(event)).await?;
                }
                Ok(())
            }
        }
    }

    fn batch(&self, events: &[Arc<Event>]) -> Request {
        let documents = events.iter().map(|event| event.structured(&self.source, self.encoding)).collect();
        Request {
            id: message_id(events.iter().map(|event| event.id.as_str())),
            content_type: "application/cloudevents-batch+json; charset=utf-8".to_owned(),
            headers: Vec::new(),
            body: Value::Array(documents).to_string().into_bytes(),
        }
    }

    fn request(&self, event: &Event) -> Request {
        let id = message_id([event.id.as_str()]);
        if self.mode != Mode::Binary {
            return Request {
                id,
                content_type: "application/cloudevents+json; charset=utf-8".to_owned(),
                headers: Vec::new(),
                body: event.structured(&self.source, self.encoding).to_string().into_bytes(),
            };
        }
        let mut headers = vec![("ce-specversion", "1.0".to_owned())];
        let attributes = event.attributes(&self.source);
        headers
            .extend(attributes.into_iter().filter_map(|(name, value)| Some((header(name)?, coded(&value)))));
        let (content_type, body) = match (self.encoding, event.json()) {
            (Encoding::Json, Ok(data)) => ("application/json", data.to_string().into_bytes()),
            (Encoding::Json, Err(_)) | (Encoding::Protobuf, _) => (PROTOBUF, event.message.clone()),
        };
        Request { id, content_type: content_type.to_owned(), headers, body }
    }
}

/// The header of an attribute.
fn header(attribute: &str) -> Option<&'static str> {
    Some(match attribute {
        "id" => "ce-id",
        "source" => "ce-source",
        "type" => "ce-type",
        "subject" => "ce-subject",
        "time" => "ce-time",
        "sequence" => "ce-sequence",
        "partitionkey" => "ce-partitionkey",
        "project" => "ce-project",
        "domain" => "ce-domain",
        "phase" => "ce-phase",
        _ => return None,
    })
}

/// A value as it stands in a header: what is not printable ASCII, and quotes and percent signs, percent-encoded.
fn coded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | 0..=0x20 | 0x7f..=0xff => out.push_str(&format!("%{byte:02X}")),
            other => out.push(char::from(other)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::core::workflow_execution::Phase;

    use super::*;
    use crate::event::tests::workflow;

    #[test]
    fn header_values_are_coded_as_the_binding_says() {
        assert_eq!(coded("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(coded("a\"b%c\n"), "a%22b%25c%0A");
    }

    #[test]
    fn every_attribute_has_a_header() {
        let event = workflow("x", Phase::Running, 1);
        for (name, _) in event.attributes("s") {
            assert_eq!(header(name).map(|header| header.trim_start_matches("ce-")), Some(name));
        }
    }
}
