//! Writes events as lines of JSON on the standard output.

use std::io::Write as _;
use std::sync::Arc;

use crate::config::Encoding;
use crate::event::Event;
use crate::failure::Failure;

pub(super) async fn send(events: &[Arc<Event>], source: &str) -> Result<(), Failure> {
    let mut lines = String::new();
    for event in events {
        lines.push_str(&event.structured(source, Encoding::Json).to_string());
        lines.push('\n');
    }
    let write = move || {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(lines.as_bytes())?;
        stdout.flush()
    };
    let failed = |error: &dyn std::fmt::Display| Failure::passing(format!("cannot write to stdout: {error}"));
    let written = tokio::task::spawn_blocking(write).await.map_err(|error| failed(&error))?;
    written.map_err(|error| failed(&error))
}
