//! Holds the settings of the API.

use config::Size;
use serde::{Deserialize, Serialize};

/// Limits of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Largest request message. Default 32 MiB.
    pub max_request_size: Size,
    /// Inputs and outputs up to this size are part of a reply; larger ones are given as a signed URL. Default 2 MiB,
    /// because clients take replies of 20 MiB at most.
    pub max_inline_size: Size,
    /// Most nodes of a workflow, its sub-workflows included. Default 100000.
    pub max_workflow_nodes: usize,
    /// Whether the server describes its services to tools such as grpcurl. Default true.
    pub reflection: bool,
    /// Names beside `localhost` under which clients may call, such as `pinion.example` or `*.example`; `*` is any.
    /// IP addresses always may be used. Empty, the default, checks names only where the server listens on this machine
    /// alone: any web page could otherwise point its own name at it and call it as its own. Holds for the API and the
    /// S3 endpoint.
    pub hosts: Vec<String>,
    /// Which web pages of other origins may use the REST API.
    pub cors: Cors,
}

/// Which web pages of other origins may use the REST API. Pages of this server's own origin always may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cors {
    /// Allowed origins such as `http://localhost:3000`, or `*` for any. Empty, the default, allows none: without
    /// authentication any page in a browser could otherwise run tasks on this machine.
    pub origins: Vec<String>,
    /// Headers that those pages may send. Default `Content-Type` and `flyte-authorization`.
    pub headers: Vec<String>,
    /// Whether those pages may send cookies. Without effect for `*`: browsers refuse the two together. Default
    /// true.
    pub credentials: bool,
}

impl Default for Cors {
    fn default() -> Self {
        let headers = ["Content-Type", "flyte-authorization"];
        Self { origins: Vec::new(), headers: headers.map(str::to_owned).to_vec(), credentials: true }
    }
}

impl Cors {
    /// Whether any origin is allowed.
    pub(crate) fn allows_any(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }

    fn validate(&self) -> Result<(), String> {
        for origin in self.origins.iter().filter(|origin| *origin != "*") {
            let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
                matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '*'])
            });
            if !is_origin {
                return Err(format!(
                    "cors.origins: `{origin}` is no origin; write `https://host` or `http://host:port`, without a path"
                ));
            }
        }
        match self.headers.iter().find(|name| http::HeaderName::try_from(name.as_str()).is_err()) {
            Some(name) => Err(format!("cors.headers: `{name}` is no name of a header")),
            None => Ok(()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_request_size: Size::from_mib(32),
            max_inline_size: Size::from_mib(2),
            max_workflow_nodes: 100_000,
            reflection: true,
            hosts: Vec::new(),
            cors: Cors::default(),
        }
    }
}

impl Config {
    /// Refuses settings under which nothing works.
    ///
    /// # Errors
    /// A sentence about the first contradiction.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_request_size < Size::from_kib(64) {
            return Err(format!(
                "max-request-size: {} is too small to register a task",
                self.max_request_size
            ));
        }
        if self.max_inline_size > Size::from_mib(8) {
            let found = self.max_inline_size;
            return Err(format!(
                "max-inline-size: with {found}, inputs and outputs together may exceed 20 MiB"
            ));
        }
        if self.max_workflow_nodes == 0 {
            return Err("max-workflow-nodes: 0 would refuse every workflow".to_owned());
        }
        crate::http::hosts::validate(&self.hosts)?;
        self.cors.validate()
    }
}
