//! Says why a plugin file is not loaded: what was found, what is needed, what to do.

use serde::Serialize;

/// Why a file or plugin is refused. Every part is a text for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{kind}: found {found}; needed: {needed}; {remedy}")]
pub struct Refusal {
    /// The rule that was broken.
    pub kind: RefusalKind,
    /// What was found.
    pub found: String,
    /// What is needed instead.
    pub needed: String,
    /// What to do about it.
    pub remedy: String,
}

/// The rules a plugin file can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The file can not be read, or is no regular file.
    Unreadable,
    /// Others can change the file.
    UnsafePermissions,
    /// The file is no complete ELF shared library.
    NotALibrary,
    /// The library is for another machine.
    WrongArchitecture,
    /// The library is no plugin, or its metadata can not be read.
    NotAPlugin,
    /// The plugin and this host have no binary interface in common.
    IncompatibleInterface,
    /// The plugin can not run where it should.
    IncompatibleIsolation,
    /// The file is not the one that the configuration names.
    WrongDigest,
    /// The file has no digest in the configuration, which demands one.
    NotPinned,
    /// Another file already is this plugin.
    Duplicate,
    /// The plugin's own settings are wrong.
    BadConfig,
    /// Loading the library failed.
    LoadFailed,
    /// The plugin refused to start.
    InitFailed,
    /// The plugin crashed or hung too often.
    Unstable,
}

impl std::fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "file can not be read",
            Self::UnsafePermissions => "unsafe permissions",
            Self::NotALibrary => "not a shared library",
            Self::WrongArchitecture => "wrong architecture",
            Self::NotAPlugin => "not a plugin",
            Self::IncompatibleInterface => "incompatible plugin interface",
            Self::IncompatibleIsolation => "incompatible isolation",
            Self::WrongDigest => "wrong digest",
            Self::NotPinned => "not pinned",
            Self::Duplicate => "duplicate",
            Self::BadConfig => "wrong configuration",
            Self::LoadFailed => "loading failed",
            Self::InitFailed => "initialisation failed",
            Self::Unstable => "unstable",
        })
    }
}

impl Refusal {
    /// A refusal from its four parts.
    pub fn new(
        kind: RefusalKind,
        found: impl Into<String>,
        needed: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { kind, found: found.into(), needed: needed.into(), remedy: remedy.into() }
    }
}
