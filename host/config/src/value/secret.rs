//! Keeps a secret out of logs, dumps and error texts.
//!
//! Invariant: the value leaves only through [`Secret::expose`]. `Debug` and `Serialize` print a mask; there is
//! no `Display`.

use std::{cell::Cell, fmt};

use serde::{Deserialize, Serialize, Serializer};

/// What stands where a secret was.
pub(crate) const MASK: &str = "********";

/// A text that must not be shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The text itself. Each call is a place to check that it goes nowhere visible.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(unset)" } else { MASK })
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self.0.is_empty() || REVEAL.get();
        serializer.serialize_str(if shown { &self.0 } else { MASK })
    }
}

thread_local! {
    static REVEAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with secrets serialised in clear on this thread: the loader needs the default values themselves.
pub(crate) fn reveal_during<R>(body: impl FnOnce() -> R) -> R {
    struct Guard(bool);
    impl Drop for Guard {
        fn drop(&mut self) {
            REVEAL.set(self.0);
        }
    }
    let _guard = Guard(REVEAL.replace(true));
    body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canary_never_shows() {
        let secret = Secret::new("canary");
        assert!(!format!("{secret:?} {:#?}", Some(&secret)).contains("canary"));
        assert!(!serde_json::to_string(&secret).unwrap().contains("canary"));
        assert_eq!(secret.expose(), "canary");
    }

    #[test]
    fn revealing_ends_with_the_scope() {
        let secret = Secret::new("canary");
        assert!(reveal_during(|| serde_json::to_string(&secret).unwrap()).contains("canary"));
        assert!(!serde_json::to_string(&secret).unwrap().contains("canary"));
    }
}
