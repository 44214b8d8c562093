//! Writes the metadata of a plugin as JSON at compile time, and reads it back.

use serde::{Deserialize, Serialize};

/// Version of this SDK.
pub const SDK: &str = env!("CARGO_PKG_VERSION");
/// Compiler that built this SDK.
pub const RUSTC: &str = env!("PINION_RUSTC");
/// Target triple that this SDK was built for.
pub const TARGET: &str = env!("PINION_TARGET");
/// ELF section that holds the metadata.
pub const SECTION: &str = ".pinion_plugin";

/// What a plugin says about itself; read by the host without running any of its code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginMetadata {
    /// Unique name of the plugin; also the key of its configuration.
    pub id: String,
    /// Version of the plugin, by the rules of semver.
    pub version: String,
    /// Binary interfaces that the library offers.
    pub abi: Vec<Abi>,
    /// Version of the SDK it was built with; empty for plugins without SDK.
    #[serde(default)]
    pub sdk: String,
    /// Compiler it was built with.
    #[serde(default)]
    pub rustc: String,
    /// Target triple it was built for.
    pub target: String,
    /// `unwind` or `abort`: what a panic does.
    #[serde(default = "unwind")]
    pub panic: String,
    /// Task types it can serve; `*` stands for every type that no other plugin names.
    pub task_types: Vec<String>,
    /// Task types it claims by default; all it can serve when empty.
    #[serde(default)]
    pub default_for: Vec<String>,
    /// Capability strings.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// SPDX expression of its licence.
    #[serde(default)]
    pub license: String,
    /// Where it runs unless the configuration says otherwise: `in-process` or `process`.
    #[serde(default)]
    pub isolation: String,
    /// Whether it runs a Tokio runtime of its own.
    #[serde(default)]
    pub own_runtime: bool,
    /// JSON Schema of its configuration.
    #[serde(default)]
    pub config_schema: serde_json::Value,
}

/// A binary interface that a library offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abi {
    /// `abi_stable` or `c`.
    pub kind: String,
    /// Major version of the interface.
    pub major: u32,
}

fn unwind() -> String {
    "unwind".into()
}

/// A piece of the JSON text, for `export_plugin!`.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Copied as it is.
    Raw(&'a str),
    /// Printed as a JSON string.
    Text(&'a str),
    /// Printed as an array of JSON strings.
    List(&'a [&'a str]),
    /// Printed as `true` or `false`.
    Flag(bool),
}

/// Number of bytes that [`render`] writes.
pub const fn length(parts: &[Part<'_>]) -> usize {
    let mut counter = Writer::<0> { bytes: [], at: 0 };
    counter.write(parts);
    counter.at
}

/// The JSON text of the parts; `N` is their [`length`].
pub const fn render<const N: usize>(parts: &[Part<'_>]) -> [u8; N] {
    let mut writer = Writer::<N> { bytes: [0; N], at: 0 };
    writer.write(parts);
    writer.bytes
}

struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn write(&mut self, parts: &[Part<'_>]) {
        let mut at = 0;
        while at < parts.len() {
            match parts[at] {
                Part::Raw(text) => self.raw(text.as_bytes()),
                Part::Text(text) => self.text(text.as_bytes()),
                Part::List(list) => self.list(list),
                Part::Flag(true) => self.raw(b"true"),
                Part::Flag(false) => self.raw(b"false"),
            }
            at += 1;
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.at < N {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
    }

    const fn raw(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            self.byte(text[at]);
            at += 1;
        }
    }

    const fn text(&mut self, text: &[u8]) {
        self.byte(b'"');
        let mut at = 0;
        while at < text.len() {
            assert!(text[at] >= b' ', "control characters are not allowed in plugin metadata");
            if text[at] == b'"' || text[at] == b'\\' {
                self.byte(b'\\');
            }
            self.byte(text[at]);
            at += 1;
        }
        self.byte(b'"');
    }

    const fn list(&mut self, list: &[&str]) {
        self.byte(b'[');
        let mut at = 0;
        while at < list.len() {
            if at > 0 {
                self.byte(b',');
            }
            self.text(list[at].as_bytes());
            at += 1;
        }
        self.byte(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_print_as_json() {
        const PARTS: &[Part<'_>] = &[
            Part::Raw("{\"a\":"),
            Part::Text("x\"\\y"),
            Part::Raw(",\"b\":"),
            Part::List(&["1", "2"]),
            Part::Raw("}"),
        ];
        const TEXT: [u8; length(PARTS)] = render(PARTS);
        let value: serde_json::Value = serde_json::from_slice(&TEXT).unwrap();
        assert_eq!(value, serde_json::json!({"a": "x\"\\y", "b": ["1", "2"]}));
    }
}
