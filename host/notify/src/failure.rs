//! Says why something was not taken, and whether to try again.

use std::time::Duration;

/// Why a receiver did not take what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened, for the delivery log. Never holds a secret.
    pub(crate) reason: String,
    /// The same thing will be refused again.
    pub(crate) is_final: bool,
    /// How long the receiver asks to be left alone.
    pub(crate) pause: Option<Duration>,
}

impl Failure {
    pub(crate) fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false, pause: None }
    }

    pub(crate) fn last(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: true, pause: None }
    }
}

/// An error with its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
