//! Logs what plugin processes print.

use prost::Message;
use proto::pinion::plugin::v1::{EmitKind, LogLevel, LogRecord};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use crate::services::Upstream;

/// Longer lines are cut into several records.
const LONGEST: usize = 8 << 10;

/// What a plugin process prints, which only careless plugins do.
pub(super) enum Output {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

impl Output {
    /// Turns what is printed into log records, line by line, until the process ends.
    pub(super) async fn log(self, upstream: &dyn Upstream) {
        match self {
            Self::Out(out) => match tokio::process::ChildStdout::from_std(out) {
                Ok(out) => log_lines(out, upstream).await,
                Err(error) => tracing::warn!(%error, "cannot read the output of a plugin process"),
            },
            Self::Err(err) => match tokio::process::ChildStderr::from_std(err) {
                Ok(err) => log_lines(err, upstream).await,
                Err(error) => tracing::warn!(%error, "cannot read the output of a plugin process"),
            },
        }
    }
}

async fn log_lines(output: impl AsyncRead + Unpin, upstream: &dyn Upstream) {
    let mut output = BufReader::with_capacity(LONGEST, output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut output).take(LONGEST as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let record = LogRecord {
                    level: LogLevel::Info.into(),
                    target: "output".into(),
                    message: String::from_utf8_lossy(&line).trim_end().to_owned(),
                    ..Default::default()
                };
                upstream.emit(EmitKind::Log as u32, &record.encode_to_vec());
            }
        }
    }
}
