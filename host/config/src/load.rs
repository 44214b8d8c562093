//! Puts the layers together and reads the settings from them.

use std::collections::BTreeMap;

use figment::value::Value;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Errors, Origin, Problem, Sources, read, show, tree::Node, value::reveal_during};

/// Settings, and where each came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub value: T,
    origins: BTreeMap<String, Origin>,
}

/// Loads settings: defaults, then files, then other providers, then environment, then flags.
///
/// Keys are known from the type itself: every struct at any depth refuses keys that it does not have, and takes
/// each in camelCase, kebab-case or snake_case; maps and free-form values take any key as it is. Maps and sections
/// of several layers are merged, lists and scalars replaced. All problems are reported together.
///
/// A struct under `#[serde(flatten)]`, or inside an untagged or internally tagged enum, is read by serde itself:
/// there keys must be spelled as declared.
pub fn load<T: DeserializeOwned + Serialize + Default>(sources: &Sources) -> Result<Loaded<T>, Errors> {
    let defaults = reveal_during(|| Value::serialize(T::default()).map_err(|error| error.to_string()));
    let defaults = defaults.map_err(|error| Problem::Invalid {
        key: String::new(),
        message: format!("the default settings can't be written down: {error}"),
        origin: Origin::Default,
    })?;
    let mut problems = Vec::new();
    let mut layers = vec![Node::from_value(defaults, &Origin::Default)];
    layers.extend(sources.layers(&mut problems));
    let reading = read::read::<T>(&layers, problems)?;
    Ok(Loaded { value: reading.value, origins: reading.origins })
}

impl<T> Loaded<T> {
    /// Where a setting came from, by its whole key (`section.key`). A section has no origin of its own.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The settings that someone set, with their origin.
    pub fn changed(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.origins
            .iter()
            .filter(|(_, origin)| **origin != Origin::Default)
            .map(|(key, origin)| (key.as_str(), origin))
    }
}

impl<T: Serialize> Loaded<T> {
    /// The effective settings as YAML, with the origin of each as a comment. Secrets are masked.
    pub fn show(&self) -> String {
        match Value::serialize(&self.value) {
            Ok(value) => show::render(&Node::from_value(value, &Origin::Default), &self.origins),
            Err(error) => format!("# the settings can't be written down: {error}\n"),
        }
    }
}
