//! Defines what the host and its supervisor process say to each other, and how it is framed.
//!
//! A frame is a little-endian `u32` length and that many bytes of JSON. The same framing is spoken between the
//! supervisor and the warm parents (`warm/parent.py`), whose words are [`ToParent`] and [`FromParent`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Identifies a process for as long as the host lives; process ids are re-used by the kernel, these are not.
pub(crate) type ProcessId = u64;

/// No honest frame comes near this; a longer one means that the two sides lost step.
const FRAME_LIMIT: usize = 64 << 20;

/// Everything that is needed to start a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub id: ProcessId,
    /// Absolute path of the executable.
    pub program: String,
    pub argv: Vec<String>,
    /// The whole environment, nothing is inherited.
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    /// File that standard output and standard error are appended to.
    pub log: String,
}

/// What the host asks of the supervisor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToSupervisor {
    /// Start a process.
    Spawn(Launch),
    /// Start a warm parent: a process that gets a socket as descriptor 3 and speaks [`ToParent`] on it.
    Parent(Launch),
    /// Have a warm parent fork a process.
    Fork { parent: ProcessId, launch: Launch },
    /// Send a signal to the process, its group and all its descendants.
    Kill { id: ProcessId, signal: i32 },
    /// Have a warm parent end once its children have.
    Retire { parent: ProcessId },
}

/// What the supervisor tells the host.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FromSupervisor {
    /// The previous supervisor is gone and this one takes orders.
    Ready { pid: i32 },
    /// The process runs.
    Started { id: ProcessId, pid: i32 },
    /// The process never ran.
    Failed { id: ProcessId, errno: i32, reason: String },
    /// The process ended and its leftovers were killed.
    Exited { id: ProcessId, exit: Exit },
    /// A warm parent reports on itself.
    Report { parent: ProcessId, report: ParentReport },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// Processor time of it and the descendants it waited for, in seconds.
    pub cpu_seconds: f64,
    /// Largest resident set, in bytes.
    pub max_rss: u64,
}

impl Exit {
    /// Reads a status as `wait(2)` returns it.
    pub(crate) fn from_wait_status(status: i32) -> Exit {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            Exit { code: 128 + signal, signal, ..Exit::default() }
        } else {
            Exit { code: libc::WEXITSTATUS(status), ..Exit::default() }
        }
    }
}

/// What a warm parent tells about itself once, when it is ready or knows that it never will be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct ParentReport {
    /// Whether it can fork.
    pub ready: bool,
    /// Why it can not, or can no longer.
    pub reason: String,
    /// The module at fault, if one is.
    pub culprit: Option<String>,
    /// Environment variables that were read while it imported: children must agree on them.
    pub env_read: Vec<String>,
    /// Number of modules it holds.
    pub modules: usize,
    /// How long the imports took, in seconds.
    pub seconds: f64,
}

/// What the supervisor asks of a warm parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToParent {
    /// Fork a child that becomes this process.
    Fork(Launch),
    /// End once the children have.
    Retire,
}

/// What a warm parent tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FromParent {
    Report(ParentReport),
    Started { id: ProcessId, pid: i32 },
    Refused { id: ProcessId, reason: String },
    Exited { id: ProcessId, status: i32, cpu_seconds: f64, max_rss: u64 },
}

/// Why a stream of bytes cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(usize),
    #[error("a frame is no known message")]
    Unknown(#[from] serde_json::Error),
}

/// Appends a message as one frame.
pub(crate) fn write_frame<T: Serialize>(out: &mut Vec<u8>, message: &T) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *out, message)
        .expect("invariant: messages are plain data and a Vec takes all");
    let length = u32::try_from(out.len() - start - 4).expect("invariant: messages are far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Takes the first whole frame off the front of `buffer`; `None` if it has not all arrived.
pub(crate) fn read_frame<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    let Some(header) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > FRAME_LIMIT {
        return Err(FrameError::TooLong(length));
    }
    let Some(body) = buffer.get(4..4 + length) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let messages: Vec<ToSupervisor> = vec![
            ToSupervisor::Kill { id: 7, signal: 15 },
            ToSupervisor::Spawn(Launch { id: 8, argv: vec!["a".into(), String::new()], ..Launch::default() }),
        ];
        let mut bytes = Vec::new();
        for message in &messages {
            write_frame(&mut bytes, message);
        }
        for cut in 0..bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            let mut read = Vec::new();
            while let Some(message) = read_frame::<ToSupervisor>(&mut buffer).unwrap() {
                read.push(message);
            }
            buffer.extend_from_slice(&bytes[cut..]);
            while let Some(message) = read_frame::<ToSupervisor>(&mut buffer).unwrap() {
                read.push(message);
            }
            assert_eq!(read, messages, "cut at {cut}");
        }
    }

    #[test]
    fn lost_step_is_an_error() {
        assert!(read_frame::<ToSupervisor>(&mut vec![255; 16]).is_err());
        assert!(read_frame::<ToSupervisor>(&mut vec![2, 0, 0, 0, b'{', b'}']).is_err());
    }

    #[test]
    fn signals_count_from_128() {
        assert_eq!(Exit::from_wait_status(9).code, 137);
        assert_eq!(Exit::from_wait_status(3 << 8).code, 3);
    }
}
