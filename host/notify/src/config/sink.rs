//! Settings of a sink.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Secret, Size};
use serde::{Deserialize, Serialize};

/// A receiver of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sink {
    /// `cloudevents-http`, `file` or `stdout`.
    pub r#type: Option<SinkType>,
    /// Kinds of events: `workflow`, `node`, `task`. Default all.
    pub kinds: Vec<Kind>,
    /// Projects, `*` stands for any text. Default all.
    pub projects: Vec<String>,
    /// Domains, `*` stands for any text. Default all.
    pub domains: Vec<String>,
    /// How often an event is tried before it goes to the delivery log as failed and the next one is sent. Default 0:
    /// for ever, so that nothing is lost and everything behind it waits.
    pub max_attempts: u32,
    /// HTTP: where to send events. A secret, because it may hold a token.
    pub url: Secret,
    /// HTTP: `structured` (one JSON document), `binary` (attributes as headers) or `batch` (a list of documents).
    /// Default structured.
    pub mode: Mode,
    /// HTTP: `json` (proto3 JSON) or `protobuf`. Default json.
    pub encoding: Encoding,
    /// HTTP: most events in one request of mode `batch`. Default 100.
    pub batch_size: u32,
    /// HTTP: how many executions' events are sent at once; those of one execution never are. Default 8.
    pub concurrency: u32,
    /// HTTP: further headers, such as `authorization`. Default none.
    pub headers: BTreeMap<String, Secret>,
    /// HTTP: key of the signature that every request carries (Standard Webhooks), as `whsec_` and base64, or as
    /// text. Default none: requests are not signed.
    pub secret: Secret,
    /// File: where the lines of JSON go.
    pub path: PathBuf,
    /// File: size at which the file is put aside as `<path>.1` and a new one begun. Default 64Mi.
    pub max_size: Size,
    /// File: how many files put aside are kept. Default 8.
    pub keep: u32,
}

/// Where a sink's events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkType {
    /// CloudEvents 1.0 over HTTP.
    #[serde(rename = "cloudevents-http")]
    CloudeventsHttp,
    /// Lines of JSON in a file.
    File,
    /// Lines of JSON on the standard output of the host.
    Stdout,
}

/// A kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Executions.
    Workflow,
    /// Nodes.
    Node,
    /// Attempts of tasks.
    Task,
}

/// How CloudEvents are put into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One JSON document per request.
    #[default]
    Structured,
    /// Attributes as headers, data as body.
    Binary,
    /// A list of JSON documents per request.
    Batch,
}

/// What the data of CloudEvents is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Proto3 JSON.
    #[default]
    Json,
    /// The message's bytes.
    Protobuf,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            r#type: None,
            kinds: Vec::new(),
            projects: Vec::new(),
            domains: Vec::new(),
            max_attempts: 0,
            url: Secret::default(),
            mode: Mode::default(),
            encoding: Encoding::default(),
            batch_size: 100,
            concurrency: 8,
            headers: BTreeMap::new(),
            secret: Secret::default(),
            path: PathBuf::new(),
            max_size: Size::from_mib(64),
            keep: 8,
        }
    }
}

impl Sink {
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}
