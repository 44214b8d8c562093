//! Says how a plugin process ended, and sees to it that it did.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::fault::Fault;

/// How long a process that closed its socket may take to end by itself.
const END_GRACE: Duration = Duration::from_millis(500);

/// How a process ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) signal: Option<i32>,
    pub(super) reason: String,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        Self::Crashed { signal: end.signal, reason: end.reason }
    }
}

/// Waits for the end of a process that closed its socket, and ends it if need be.
pub(super) async fn reap(mut child: Child, group: Pid) -> End {
    let step = Duration::from_millis(5);
    let mut left = END_GRACE;
    loop {
        match child.try_wait() {
            Ok(Some(ended)) => {
                // What the plugin started must not outlive it.
                let _ = killpg(group, Signal::SIGKILL);
                return end_of(ended);
            }
            Err(error) => return End { signal: None, reason: error.to_string() },
            Ok(None) if left.is_zero() => {
                let _ = killpg(group, Signal::SIGKILL);
            }
            Ok(None) => left = left.saturating_sub(step),
        }
        sleep(step).await;
    }
}

fn end_of(status: ExitStatus) -> End {
    let signal = status.signal();
    let reason = match (signal, status.code()) {
        (Some(signal), _) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            format!("killed by signal {signal} ({name})")
        }
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".into(),
    };
    End { signal, reason }
}
