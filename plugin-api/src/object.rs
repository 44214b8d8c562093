//! Holds a Kubernetes-shaped object as JSON, with the few accessors that plugins need.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::PluginError;
use crate::wire::ObjectRef;

/// A Kubernetes-shaped object: `apiVersion`, `kind`, `metadata`, `spec`, `status`.
///
/// A plugin fills `apiVersion`, `kind` and `spec` (and labels and annotations of its own); the SDK adds name, namespace,
/// and the labels and annotations of the task execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(Value);

impl Object {
    /// An object with only `apiVersion` and `kind`.
    pub fn new(api_version: &str, kind: &str) -> Self {
        Self(serde_json::json!({ "apiVersion": api_version, "kind": kind, "metadata": {} }))
    }

    /// Takes a JSON value; anything but a JSON object is an error.
    pub fn from_value(value: Value) -> Result<Self, PluginError> {
        match value {
            Value::Object(_) => Ok(Self(value)),
            _ => Err(PluginError::bug("an object must be a JSON object")),
        }
    }

    /// Reads the JSON text of an object.
    pub fn from_slice(json: &[u8]) -> Result<Self, PluginError> {
        let value = serde_json::from_slice(json)
            .map_err(|error| PluginError::bug(format!("cannot read an object: {error}")))?;
        Self::from_value(value)
    }

    /// Serializes any type that prints as a JSON object.
    pub fn from_serialize(value: &impl Serialize) -> Result<Self, PluginError> {
        let value = serde_json::to_value(value)
            .map_err(|error| PluginError::bug(format!("cannot print an object: {error}")))?;
        Self::from_value(value)
    }

    /// Reads the object as a typed value.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        T::deserialize(&self.0)
            .map_err(|error| PluginError::bug(format!("{} has an unexpected form: {error}", self.kind())))
    }

    /// The JSON text of the object.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// The JSON value.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// The JSON value, to be changed.
    pub fn as_value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// Takes the JSON value out.
    pub fn into_value(self) -> Value {
        self.0
    }

    /// The value at an RFC 6901 pointer, for example `/status/phase`.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// The text at an RFC 6901 pointer; empty when it is not there or no text.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// Whether somebody asked for the deletion of the object.
    pub fn is_being_deleted(&self) -> bool {
        !self.text("/metadata/deletionTimestamp").is_empty()
    }

    /// The name of the object as the host knows it.
    pub fn reference(&self, cluster: &str) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version().into(),
            kind: self.kind().into(),
            namespace: self.namespace().into(),
            name: self.name().into(),
            cluster: cluster.into(),
        }
    }

    /// Sets one text in `metadata` if it is empty or absent.
    pub fn default_metadata(&mut self, key: &str, value: &str) {
        let metadata = self.metadata_mut();
        let absent = metadata.get(key).and_then(Value::as_str).unwrap_or_default().is_empty();
        if absent && !value.is_empty() {
            metadata.insert(key.into(), value.into());
        }
    }

    /// Merges entries into `metadata.labels` or `metadata.annotations`; the given entries win.
    pub fn merge_metadata(&mut self, key: &str, entries: &BTreeMap<String, String>) {
        if entries.is_empty() {
            return;
        }
        let slot = self.metadata_mut().entry(key).or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        if let Value::Object(map) = slot {
            map.extend(entries.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        }
    }

    fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        let Value::Object(root) = &mut self.0 else {
            unreachable!("invariant: an Object holds a JSON object")
        };
        let slot = root.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(metadata) = slot else { unreachable!("invariant: made an object just above") };
        metadata
    }
}
