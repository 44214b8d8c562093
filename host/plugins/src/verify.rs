//! Checks one plugin file as thoroughly as possible without trusting it: statically, then in a process of its own.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use plugin_api::testing::{Sample, Transport as Wire, conformance, handshake};
use prost::Message;
use proto::pinion::plugin::v1::{HandleRequest, Status};
use serde::Serialize;

use crate::config::Config;
use crate::fault::Fault;
use crate::process::Process;
use crate::services::{HostServices, status, unimplemented};
use crate::start::Room;
use crate::transport::Transport;
use crate::{file, inspect, schema};

/// What was checked, in order. Checks after a failed one are not made.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// SHA-256 of the file, if it could be read.
    pub sha256: Option<String>,
    /// The checks that were made.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What is wrong, if anything.
    pub problem: Option<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.problem.is_none())
    }

    /// Notes a check; says whether to go on.
    fn note<T, E: std::fmt::Display>(&mut self, name: &'static str, result: Result<T, E>) -> Option<T> {
        let (value, problem) = match result {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(error.to_string())),
        };
        self.checks.push(Check { name, problem });
        value
    }
}

/// Verifies a plugin file: permissions, format, interface, settings, and its manners in a plugin process.
///
/// Without a `sample` no attempt is started. With one, the whole conformance suite runs on it, which calls `handle` many
/// times: right for tests, wrong for a plugin that starts paid jobs.
pub async fn verify(path: &Path, config: Config, sample: Option<HandleRequest>) -> VerifyReport {
    let mut report = VerifyReport { sha256: None, checks: Vec::new() };
    let _ = run(path, config, sample, &mut report).await;
    report
}

async fn run(
    path: &Path,
    config: Config,
    sample: Option<HandleRequest>,
    report: &mut VerifyReport,
) -> Option<()> {
    report.note("only its owner can change the file", file::check_permissions(path))?;
    let bytes = report.note("the file can be read", file::read(path))?;
    let sha256 = file::digest(&bytes);
    report.sha256 = Some(sha256.clone());
    let metadata = report.note("the library is a plugin for this host", inspect::metadata(&bytes))?;
    let plugin = config.plugin(&metadata.id);
    report.note("its settings match its schema", schema::check(&metadata, &plugin.config))?;
    let copy = file::private_copy(&config.cache_dir, &sha256, &bytes);
    let copy = report.note("a private copy can be made", copy)?;
    let limit = config.deadlines.init.get();
    let room = Room::new(config, Arc::new(NoServices));
    let process =
        report.note("a plugin process can be described", room.process(&copy, &metadata, &plugin))?;
    let started = process.declared().await;
    report.note("it starts in a process of its own", started)?;
    let mut caller = Caller { process: &process, limit };
    let config_json = plugin.config.to_string().into_bytes();
    let violations = match sample {
        Some(start) => conformance(&mut caller, &Sample { config_json, start }).await,
        None => handshake(&mut caller, &Sample { config_json, ..Sample::default() }).await,
    };
    let broken: Vec<String> =
        violations.iter().map(|violation| format!("{}: {}", violation.rule, violation.found)).collect();
    let manners = if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) };
    report.note("it keeps the contract", manners);
    process.shutdown().await;
    Some(())
}

struct Caller<'a> {
    process: &'a Process,
    limit: std::time::Duration,
}

impl Wire for Caller<'_> {
    async fn call(&mut self, method: u32, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        match self.process.call(method, request, self.limit).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Status::decode(error.as_slice()).unwrap_or_default()),
            Err(fault) => Err(status(13, Fault::code(&fault), fault.to_string())),
        }
    }
}

/// A file that is only looked at gets nothing from the host.
struct NoServices;

#[async_trait]
impl HostServices for NoServices {
    async fn call(&self, _plugin_id: &str, method: u32, _request: Bytes) -> Result<Vec<u8>, Status> {
        Err(unimplemented(method))
    }
}
