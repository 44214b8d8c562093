//! Finds out how an attempt ended whose plugin says that it succeeded (execution.md A18).
//!
//! A container exits with 0 after user code failed, so the files it left decide: `futures.pb`, then `error.pb`, then
//! `outputs.pb`, whose values are checked against the interface.

use bytes::Bytes;
use prost::Message;
use proto::flyteidl::core::container_error::Kind;
use proto::flyteidl::core::execution_error::ErrorKind;
use proto::flyteidl::core::{ContainerError, ErrorDocument, ExecutionError, LiteralMap, VariableMap};
use proto::pinion::plugin::v1::{Outputs, outputs};

use crate::files::{self, Files};

const MAX_ERROR_TEXT: usize = 100 * 1024;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Outputs are where the interface wants them; the URIs are empty where there is nothing.
    Succeeded { output_uri: String, deck_uri: String },
    /// It wrote a workflow to run.
    Expanded { spec_uri: String, deck_uri: String },
    /// It failed after all.
    Failed { error: ExecutionError, recoverable: bool },
}

/// What the files of an attempt are measured by.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// The output directory of the attempt.
    pub(crate) prefix: &'a str,
    /// The declared outputs.
    pub(crate) declared: Option<&'a VariableMap>,
    /// What the task says about decks.
    pub(crate) generates_deck: Option<bool>,
}

impl Expected<'_> {
    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix.trim_end_matches('/'))
    }

    fn declares_outputs(&self) -> bool {
        self.declared.is_some_and(|declared| !declared.variables.is_empty())
    }
}

/// Settles a success. An error means that storage gave no answer.
pub(crate) async fn settle(
    files: &Files,
    expected: Expected<'_>,
    outputs: Option<Outputs>,
) -> Result<Outcome, files::Error> {
    match outputs.and_then(|outputs| outputs.value) {
        Some(outputs::Value::Files(_)) => of_files(files, expected).await,
        Some(outputs::Value::Inline(bytes)) => of_inline(files, expected, bytes.into()).await,
        Some(outputs::Value::ErrorDocument(bytes)) => Ok(of_document(&bytes)),
        None if expected.declares_outputs() => Ok(failed(
            ErrorKind::System,
            "OutputsNotGenerated",
            "the plugin reported success without outputs, but the task declares some".to_owned(),
            true,
        )),
        None => Ok(Outcome::Succeeded { output_uri: String::new(), deck_uri: String::new() }),
    }
}

async fn of_inline(files: &Files, expected: Expected<'_>, bytes: Bytes) -> Result<Outcome, files::Error> {
    let map = match LiteralMap::decode(bytes.clone()) {
        Ok(map) => map,
        Err(error) => {
            let message = format!("the plugin's outputs are not a literal map: {error}");
            return Ok(failed(ErrorKind::System, "OutputsBadFormat", message, false));
        }
    };
    if !expected.declares_outputs() {
        return Ok(Outcome::Succeeded { output_uri: String::new(), deck_uri: String::new() });
    }
    if let Some(refused) = check(expected, &map) {
        return Ok(refused);
    }
    let output_uri = expected.file("outputs.pb");
    files.write(&output_uri, bytes).await?;
    files.remember_map(&output_uri, map.into());
    Ok(Outcome::Succeeded { output_uri, deck_uri: String::new() })
}

async fn of_files(files: &Files, expected: Expected<'_>) -> Result<Outcome, files::Error> {
    let (futures_uri, error_uri, output_uri) =
        (expected.file("futures.pb"), expected.file("error.pb"), expected.file("outputs.pb"));
    let (has_futures, error, outputs) = futures::join!(
        files.exists(&futures_uri),
        files.read_if_there(&error_uri),
        files.read_if_there(&output_uri)
    );
    if has_futures? {
        return Ok(Outcome::Expanded { spec_uri: futures_uri, deck_uri: deck(files, expected).await? });
    }
    match error {
        Ok(Some(document)) => return Ok(of_document(&document)),
        Ok(None) => {}
        Err(error) => match Files::too_large(&error) {
            Some((size, max)) => {
                let message = format!("{error_uri} has {size} bytes, more than the limit of {max}");
                return Ok(failed(ErrorKind::User, "ErrorFileTooLarge", message, false));
            }
            None => return Err(error),
        },
    }
    let bytes = match outputs {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return without_outputs(files, expected).await,
        Err(error) => match Files::too_large(&error) {
            Some((size, max)) => {
                let message = format!("{output_uri} has {size} bytes, more than the limit of {max}");
                return Ok(failed(ErrorKind::User, "OutputSizeExceeded", message, false));
            }
            None => return Err(error),
        },
    };
    let deck_uri = deck(files, expected).await?;
    if !expected.declares_outputs() {
        return Ok(Outcome::Succeeded { output_uri: String::new(), deck_uri });
    }
    let map = match LiteralMap::decode(bytes) {
        Ok(map) => map,
        Err(error) => {
            let message = format!("{output_uri} is not a literal map: {error}");
            return Ok(failed(ErrorKind::User, "OutputsBadFormat", message, false));
        }
    };
    if let Some(refused) = check(expected, &map) {
        return Ok(refused);
    }
    files.remember_map(&output_uri, map.into());
    Ok(Outcome::Succeeded { output_uri, deck_uri })
}

/// No outputs and no error under their usual names: distributed workers write one error each, under names of their own.
async fn without_outputs(files: &Files, expected: Expected<'_>) -> Result<Outcome, files::Error> {
    let mut documents = Vec::new();
    for uri in files.list(expected.prefix).await? {
        let name = uri.rsplit('/').next().unwrap_or_default();
        if name.starts_with("error-") && name.ends_with(".pb") {
            documents.extend(files.read_if_there(&uri).await?);
        }
    }
    let errors = documents.iter().filter_map(|bytes| ErrorDocument::decode(bytes.clone()).ok()?.error);
    let time = |error: &ContainerError| error.timestamp.map_or((i64::MAX, 0), |t| (t.seconds, t.nanos));
    if let Some(earliest) = errors.min_by_key(time) {
        return Ok(of_container_error(earliest));
    }
    if let Some(document) = documents.first() {
        return Ok(of_document(document));
    }
    if expected.declares_outputs() {
        let message = format!("the task ended without writing {}", expected.file("outputs.pb"));
        return Ok(failed(ErrorKind::User, "OutputsNotFound", message, true));
    }
    Ok(Outcome::Succeeded { output_uri: String::new(), deck_uri: deck(files, expected).await? })
}

async fn deck(files: &Files, expected: Expected<'_>) -> Result<String, files::Error> {
    let uri = expected.file("deck.html");
    let there = match expected.generates_deck {
        Some(known) => known,
        None => files.exists(&uri).await?,
    };
    Ok(if there { uri } else { String::new() })
}

fn check(expected: Expected<'_>, outputs: &LiteralMap) -> Option<Outcome> {
    let error = engine::inputs::check_outputs(expected.declared?, outputs).err()?;
    let recoverable = error.code == "OutputsNotFound";
    Some(Outcome::Failed { error, recoverable })
}

/// Reads an `error.pb`.
fn of_document(bytes: &[u8]) -> Outcome {
    match ErrorDocument::decode(bytes).ok().and_then(|document| document.error) {
        Some(error) => of_container_error(error),
        None => failed(
            ErrorKind::System,
            "ErrorFileBadFormat",
            "the task left an error document without an error".to_owned(),
            true,
        ),
    }
}

fn of_container_error(error: ContainerError) -> Outcome {
    let recoverable = error.kind() == Kind::Recoverable;
    Outcome::Failed {
        error: ExecutionError {
            code: error.code,
            message: cut(error.message),
            kind: error.origin,
            timestamp: error.timestamp,
            worker: error.worker,
            ..ExecutionError::default()
        },
        recoverable,
    }
}

fn failed(kind: ErrorKind, code: &str, message: String, recoverable: bool) -> Outcome {
    Outcome::Failed { error: execution_error(kind, code, message), recoverable }
}

/// An error with its text cut to what Flyte keeps.
pub(crate) fn execution_error(kind: ErrorKind, code: &str, message: String) -> ExecutionError {
    ExecutionError {
        code: code.to_owned(),
        message: cut(message),
        kind: kind.into(),
        ..ExecutionError::default()
    }
}

/// The beginning of a text, as long as rows keep a reason.
pub(crate) fn short(text: &str) -> String {
    const MAX_REASON: usize = 1024;
    text.chars().take(MAX_REASON).collect()
}

/// Cuts an error text to what Flyte keeps.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > MAX_ERROR_TEXT {
        let end = (0..=MAX_ERROR_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
