//! Tells, at the start of a server, where everything is and how to point a client at it.

use std::fmt::Write;
use std::net::IpAddr;

use plugins::{PluginReport, PluginState};

use crate::settings::Settings;

/// The banner.
pub(crate) fn text(settings: &Settings, plugins: &[PluginReport], known: &str) -> String {
    let server = &settings.server;
    let mut out = format!("Pinion {} (flyteidl 1.16)\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<9} {text}");
    };
    line(
        "API",
        format!(
            "{}  gRPC and REST (/api/v1); /readyz, /metrics and uploads over HTTP",
            address(server.bind, server.port)
        ),
    );
    match &settings.blob.s3 {
        None => line(
            "Objects",
            format!(
                "http://{}  S3 endpoint, bucket {}",
                address(server.bind, server.s3_port),
                settings.blob.bucket
            ),
        ),
        Some(s3) => line("Objects", format!("s3://{} at {}", settings.blob.bucket, s3.endpoint)),
    }
    line("Data", format!("{}  ({known})", settings.data_dir.display()));
    let (loaded, other): (Vec<_>, Vec<_>) =
        plugins.iter().partition(|report| report.state == PluginState::Loaded);
    let mut names: Vec<String> = loaded.iter().map(|report| name(report)).collect();
    if !other.is_empty() {
        names.push(format!("{} not loaded (see `pinion plugin list`)", other.len()));
    }
    line("Plugins", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    line("Client", client(settings));
    out
}

fn client(settings: &Settings) -> String {
    let server = &settings.server;
    if server.port == 30080 && server.s3_port == 30002 && settings.blob.s3.is_none() {
        return "pyflyte run --remote FILE.py WORKFLOW  (an unconfigured flytekit finds this server)"
            .to_owned();
    }
    let mut text =
        format!("export FLYTE_PLATFORM_URL=localhost:{} FLYTE_PLATFORM_INSECURE=true", server.port);
    if settings.blob.s3.is_none() {
        let _ = write!(text, " FLYTE_AWS_ENDPOINT=http://localhost:{}", server.s3_port);
    }
    text
}

fn address(bind: IpAddr, port: u16) -> String {
    if bind.is_loopback() {
        format!("localhost:{port}")
    } else {
        std::net::SocketAddr::new(bind, port).to_string()
    }
}

fn name(report: &PluginReport) -> String {
    format!("{} {}", report.id.as_deref().unwrap_or("?"), report.version.as_deref().unwrap_or("?"))
}
